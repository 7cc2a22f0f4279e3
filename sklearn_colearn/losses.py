"""Terms of the co-learning loss, as plain functions.

Terms take tensors by modality and return a tensor of shape (). They ignore rows that
lack the modality according to `present`, and are 0 without rows of positive weight.

References
----------
.. [1] Mena, Ienco, Dantas, Interdonato, Dengel, "Multi-modal co-learning for Earth
   observation: enhancing single-modality models via modality collaboration", Machine
   Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
.. [2] Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning
   of visual representations", ICML 2020, arXiv:2002.05709.
.. [3] Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015,
   arXiv:1503.02531.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from sklearn_colearn.network import NetworkOutput

__all__ = [
    "TASK_LOSSES",
    "Batch",
    "CoLearnLoss",
    "Term",
    "auxiliary_term",
    "contrastive_term",
    "discriminative_term",
    "distillation_term",
    "lesson_term",
    "main_term",
    "nt_xent",
    "teacher_term",
]

Present = Mapping[str, Tensor] | None
TaskLoss = Callable[[Tensor, Tensor], Tensor]


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the symmetric NT-Xent (contrastive) loss of paired rows.

    The positive of each of the 2B rows is the same sample in the other tensor; the
    other 2B - 2 rows are negatives. Similarity is the cosine over `temperature`. The
    loss is the mean over the rows, and 0 if B < 2. Memory and time are quadratic in B.

    Parameters
    ----------
    a, b : Tensor of shape (B, D)
        Embeddings of the same samples.
    temperature : float, default=0.1
        Positive. Small values emphasise the nearest negatives.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import torch
    >>> from sklearn_colearn.losses import nt_xent
    >>> nt_xent(torch.eye(3), torch.eye(3), temperature=0.1) < 0.001
    tensor(True)
    """
    if a.shape != b.shape:
        raise ValueError(
            "Both tensors of nt_xent must have the same shape; got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    return _nt_xents(torch.stack([a, b]), [(0, 1)], temperature)


def _nt_xents(
    z: Tensor, pairs: Sequence[tuple[int, int]], temperature: float
) -> Tensor:
    """Return the mean NT-Xent of P pairs of the M embeddings (M, B, D)."""
    n = z.shape[1]
    if n == 0:
        return z.sum()
    # A zero vector, possible after a ReLU, has similarity 0 to every row.
    z = F.normalize(z, dim=2, eps=1e-8)
    z = z / temperature**0.5  # cheaper than dividing the (2B, 2B) matrices
    z = z[torch.tensor(pairs, device=z.device)].flatten(1, 2)  # (P, 2B, D)
    similarity = z @ z.mT  # (P, 2B, 2B)
    similarity.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    positive = torch.arange(2 * n, device=z.device).roll(n).repeat(len(pairs))
    return F.cross_entropy(similarity.flatten(0, 1), positive)


_cross_entropy = partial(F.cross_entropy, reduction="none")


def _mean_over_outputs(
    loss: Callable[..., Tensor], output: Tensor, target: Tensor
) -> Tensor:
    return loss(output, target, reduction="none").mean(dim=1)


#: Task losses by name, from outputs (B, n_outputs) and a target to losses (B,).
TASK_LOSSES: dict[str, TaskLoss] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": partial(
        _mean_over_outputs, F.binary_cross_entropy_with_logits
    ),
    "squared_error": partial(_mean_over_outputs, F.mse_loss),
}


def _weight_of(rows: Tensor | None, sample_weight: Tensor | None) -> Tensor | None:
    if rows is None:
        return sample_weight
    return rows.to(torch.float32) if sample_weight is None else sample_weight * rows


def _weighted_mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    """Average weight times loss over the rows of positive weight."""
    # Division by the sum of weights would cancel them in small batches.
    if weight is None:
        return losses.mean()
    counted = weight > 0
    weighted = torch.where(counted, losses * weight, 0.0)
    return weighted.sum() / counted.sum().clamp_min(1)


def _mean_over_modalities(
    losses: Tensor, present: Sequence[Tensor] | None, sample_weight: Tensor | None
) -> Tensor:
    """Average losses (M, B) over rows, then over modalities with any weighted row."""
    if present is None and sample_weight is None:
        return losses.mean()
    rows = None if present is None else torch.stack([*present])
    weight = _weight_of(rows, sample_weight)
    assert weight is not None
    counted = (weight > 0).expand_as(losses)
    means = torch.where(counted, losses * weight, 0.0).sum(1)
    n_rows = counted.sum(1)
    n_modalities = (n_rows > 0).sum().clamp_min(1)
    return (means / n_rows.clamp_min(1)).sum() / n_modalities


def _supervised(
    outputs: Sequence[Tensor],
    target: Tensor,
    task_loss: TaskLoss,
    present: Sequence[Tensor] | None,
    sample_weight: Tensor | None,
) -> Tensor:
    """Average the task loss of several outputs (B, n_outputs) for one target."""
    m, n = len(outputs), len(target)
    targets = target.repeat(m, *[1] * (target.ndim - 1))
    losses = task_loss(torch.cat([*outputs]), targets).view(m, n)
    return _mean_over_modalities(losses, present, sample_weight)


def _in_order(present: Present, modalities: Iterable[str]) -> list[Tensor] | None:
    return None if present is None else [present[m] for m in modalities]


def main_term(
    predictions: Mapping[str, Tensor],
    target: Tensor,
    task_loss: TaskLoss,
    present: Present = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the task loss of the predictions, averaged over modalities.

    Parameters
    ----------
    predictions : mapping of str to Tensor of shape (B, n_outputs)
        Outputs of each modality's head.
    target : Tensor of shape (B,) or (B, n_outputs)
        Class numbers, label indicators, or standardised values.
    task_loss : callable
        Value of ``TASK_LOSSES``.
    present : mapping of str to bool Tensor of shape (B,), optional
        Which rows have the modality; all by default.
    sample_weight : Tensor of shape (B,), optional
        Weight of each row, 1 by default. Weight times loss is averaged over rows of
        positive weight.
    """
    rows = _in_order(present, predictions)
    outputs = [*predictions.values()]
    return _supervised(outputs, target, task_loss, rows, sample_weight)


def auxiliary_term(
    from_specific: Mapping[str, Tensor],
    from_shared: Mapping[str, Tensor],
    target: Tensor,
    task_loss: TaskLoss,
    present: Present = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the task loss of the auxiliary head on each representation alone.

    It is averaged over the two representations and over modalities.

    Parameters
    ----------
    from_specific, from_shared : mapping of str to Tensor of shape (B, n_outputs)
        Outputs of the auxiliary head.
    target, task_loss, present, sample_weight
        As in :func:`main_term`.
    """
    outputs = [*from_specific.values(), *from_shared.values()]
    rows = _in_order(present, [*from_specific, *from_shared])
    return _supervised(outputs, target, task_loss, rows, sample_weight)


def contrastive_term(
    shared: Mapping[str, Tensor], temperature: float = 0.1, present: Present = None
) -> Tensor:
    """Return the NT-Xent of shared representations, summed over ordered pairs.

    Parameters
    ----------
    shared : mapping of str to Tensor of shape (B, D)
        Shared representations. The term is 0 for a single modality.
    temperature : float, default=0.1
        As in :func:`nt_xent`.
    present : mapping of str to bool Tensor of shape (B,), optional
        Which rows have the modality. A pair uses rows that have both.
    """
    total = next(iter(shared.values())).new_zeros(())
    pairs = [*combinations(range(len(shared)), 2)]
    if not pairs:
        return total
    if present is None:
        every = _nt_xents(torch.stack([*shared.values()]), pairs, temperature)
        # NT-Xent is symmetric, and each pair counts in both orders.
        return 2 * len(pairs) * every
    for first, second in combinations(shared, 2):
        both = present[first] & present[second]
        a, b = shared[first][both], shared[second][both]
        total = total + 2 * nt_xent(a, b, temperature)
    return total


def discriminative_term(
    from_specific: Mapping[str, Tensor],
    from_unused: Mapping[str, Tensor],
    present: Present = None,
) -> Tensor:
    """Return the cross-entropy of telling modalities apart by unique representations.

    It is averaged over the two modality heads and over modalities.

    Parameters
    ----------
    from_specific, from_unused : mapping of str to Tensor of shape (B, n_modalities)
        Outputs of the modality heads. The class of a modality is its position.
    present : mapping of str to bool Tensor of shape (B,), optional
        As in :func:`main_term`.
    """
    unused = [from_unused[m] for m in from_specific]
    logits = torch.stack([*from_specific.values(), *unused])  # (2M, B, M)
    label = torch.arange(len(unused), device=logits.device).repeat(2)  # (2M,)
    label = label.repeat_interleave(logits.shape[1])
    losses = _cross_entropy(logits.flatten(0, 1), label).view(len(logits), -1)
    rows = _in_order(present, [*from_specific, *from_specific])
    return _mean_over_modalities(losses, rows, None)


def teacher_term(
    teacher: Tensor,
    target: Tensor,
    task_loss: TaskLoss,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the task loss of the teacher, which sees all modalities.

    Parameters
    ----------
    teacher : Tensor of shape (B, n_outputs)
        Outputs of the teacher.
    target, task_loss, sample_weight
        As in :func:`main_term`.
    """
    return _weighted_mean(task_loss(teacher, target), sample_weight)


def distillation_term(
    predictions: Mapping[str, Tensor],
    teacher: Tensor,
    task: str,
    temperature: float = 2.0,
    present: Present = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Return the loss of the predictions against the teacher, averaged over modalities.

    Classification uses the cross-entropy to the teacher's softened probabilities, times
    the squared temperature (Hinton et al. 2015); regression uses the squared error. No
    gradient reaches the teacher.

    Parameters
    ----------
    predictions, teacher
        As in :func:`main_term` and :func:`teacher_term`.
    task : {'cross_entropy', 'binary_cross_entropy', 'squared_error'}
        Name of the task loss.
    temperature : float, default=2.0
        Divisor of all logits; ignored in regression.
    present, sample_weight
        As in :func:`main_term`.
    """
    scale = 1.0 if task == "squared_error" else temperature
    answers = teacher.detach() / scale
    if task == "cross_entropy":
        answers = answers.softmax(dim=1)
    elif task == "binary_cross_entropy":
        answers = answers.sigmoid()
    softened = {m: output / scale for m, output in predictions.items()}
    loss = main_term(softened, answers, TASK_LOSSES[task], present, sample_weight)
    return scale**2 * loss


def lesson_term(
    predictions: Mapping[str, Tensor],
    lesson: Tensor,
    task_loss: TaskLoss,
    present: Present = None,
) -> Tensor:
    """Return the task loss of the predictions for a lesson, averaged over modalities.

    Parameters
    ----------
    predictions, task_loss, present
        As in :func:`main_term`.
    lesson : Tensor of shape (B, n_outputs)
        Probabilities, or standardised values; NaN in rows without a lesson.
    """
    taught = ~lesson[:, 0].isnan()
    lesson = lesson.where(taught[:, None], 0.0)
    return main_term(predictions, lesson, task_loss, present, taught.float())


class Batch(NamedTuple):
    """Targets and weights of a batch.

    Parameters
    ----------
    target : Tensor of shape (B,) or (B, n_outputs)
        Class numbers, label indicators, or standardised values.
    sample_weight : Tensor of shape (B,), default=None
        Weights in all terms except the contrastive and the discriminative one.
    labelled : bool Tensor of shape (B,), default=None
        Which rows have a label; all by default.
    """

    target: Tensor
    sample_weight: Tensor | None = None
    labelled: Tensor | None = None

    @property
    def supervised(self) -> Tensor | None:
        """Weights (B,) in supervised terms, 0 for unlabelled rows."""
        return _weight_of(self.labelled, self.sample_weight)


class Term(Protocol):
    """Custom loss term, for ``extra_terms=`` of the estimators.

    Attributes
    ----------
    name : str
        Name of the term, logged in ``history_`` as ``train_<name>``.
    weight : float
        Weight in the sum. A term with weight 0 is not computed.
    """

    name: str
    weight: float

    def __call__(self, output: NetworkOutput, batch: Batch) -> Tensor:
        """Return the term of a batch, a tensor of shape ()."""
        ...


class CoLearnLoss(nn.Module):
    """Co-learning loss (Mena et al. 2025, doi:10.1007/s10994-025-06903-0).

    Parameters
    ----------
    task : {'cross_entropy', 'binary_cross_entropy', 'squared_error'}
        Loss of multi-class, multi-label and regression targets.
    main_weight, auxiliary_weight, contrastive_weight, discriminative_weight : \
            float, default=1.0
        Weights of the terms. A term with weight 0 is not computed.
    distillation_weight : float, default=0.0
        Weight of the distillation term, for a network with a teacher, whose task loss
        has weight 1; not in the paper. In batches with lessons, :func:`lesson_term`
        replaces the term.
    temperature : float, default=0.1
        Temperature of the contrastive term.
    distillation_temperature : float, default=2.0
        Temperature of the distillation term.
    extra_terms : sequence of Term, default=()
        Further terms, with distinct names.
    """

    def __init__(
        self,
        task: str,
        *,
        main_weight: float = 1.0,
        auxiliary_weight: float = 1.0,
        contrastive_weight: float = 1.0,
        discriminative_weight: float = 1.0,
        distillation_weight: float = 0.0,
        temperature: float = 0.1,
        distillation_temperature: float = 2.0,
        extra_terms: Sequence[Term] = (),
    ) -> None:
        super().__init__()
        if task not in TASK_LOSSES:
            raise ValueError(
                f"Unknown task {task!r}; expected one of {list(TASK_LOSSES)}."
            )
        self.task = task
        self.weights = {
            "main": main_weight,
            "auxiliary": auxiliary_weight,
            "contrastive": contrastive_weight,
            "discriminative": discriminative_weight,
            "teacher": 1.0,
            "distillation": distillation_weight,
        }
        self.temperature = temperature
        self.distillation_temperature = distillation_temperature
        self.extra_terms = tuple(extra_terms)
        for term in self.extra_terms:
            named = isinstance(getattr(term, "name", None), str)
            weighted = isinstance(getattr(term, "weight", None), Real)
            if not (callable(term) and named and weighted):
                raise TypeError(
                    "extra_terms= must contain objects with a name (str), a weight "
                    f"(number) and __call__(output, batch); got {term!r}."
                )
            # skorch logs under such names.
            taken = term.name in (*self.weights, "loss", "batch_size")
            if taken or term.name.endswith(("batch_count", "_best")):
                raise ValueError(
                    f"extra_terms= uses the reserved name {term.name!r}. Rename the "
                    "term."
                )
            self.weights[term.name] = term.weight

    def terms(
        self,
        output: NetworkOutput,
        target: Tensor,
        sample_weight: Tensor | None = None,
        labelled: Tensor | None = None,
        lesson: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the unweighted terms by name.

        Parameters
        ----------
        output : NetworkOutput
            Output of the network for a batch.
        target, sample_weight, labelled
            As in :class:`Batch`. Unlabelled rows do not enter the main, auxiliary and
            teacher terms.
        lesson : Tensor of shape (B, n_outputs), optional
            As in :func:`lesson_term`. The contrastive term then uses only rows with a
            lesson, from which the teacher learns too.
        """
        batch = Batch(target, sample_weight, labelled)
        supervised, present = batch.supervised, output.present
        labels = (target, TASK_LOSSES[self.task])
        weighs, terms = self.weights, {}
        if weighs["main"]:
            terms["main"] = main_term(output.predictions, *labels, present, supervised)
        if weighs["auxiliary"]:
            heads = (output.auxiliary_from_specific, output.auxiliary_from_shared)
            terms["auxiliary"] = auxiliary_term(*heads, *labels, present, supervised)
        several = len(output.shared) > 1
        if several and weighs["contrastive"]:
            shared, rows = output.shared, present
            if lesson is not None:  # training without pairs has compared the others
                taught = (~lesson[:, 0].isnan()).nonzero()[:, 0]
                shared = {m: z[taught] for m, z in shared.items()}
                if present is not None:
                    rows = {m: here[taught] for m, here in present.items()}
            terms["contrastive"] = contrastive_term(shared, self.temperature, rows)
        if several and weighs["discriminative"]:
            terms["discriminative"] = discriminative_term(
                output.modality_from_specific, output.modality_from_unused, present
            )
        if output.teacher is not None and weighs["distillation"]:
            terms["teacher"] = teacher_term(output.teacher, *labels, supervised)
            answers = (output.predictions, output.teacher, self.task)
            if lesson is None:
                terms["distillation"] = distillation_term(
                    *answers, self.distillation_temperature, present, sample_weight
                )
        if lesson is not None and weighs["distillation"]:
            loss = TASK_LOSSES[self.task]
            terms["distillation"] = lesson_term(
                output.predictions, lesson, loss, present
            )
            if output.teacher is not None:
                # Otherwise the teacher overfits the few labelled rows.
                whole = None
                if present is not None:
                    whole = {"": torch.stack(list(present.values())).all(dim=0)}
                own = lesson_term({"": output.teacher}, lesson, loss, whole)
                terms["teacher"] = terms["teacher"] + own
        for term in filter(lambda term: term.weight, self.extra_terms):
            value = terms[term.name] = term(output, batch)
            if not isinstance(value, Tensor) or value.ndim:
                raise TypeError(
                    f"The extra term {term.name!r} must return a tensor of shape (); "
                    f"got {value!r}."
                )
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of terms.

        Parameters
        ----------
        terms : mapping of str to Tensor of shape ()
            Result of :meth:`terms`.
        """
        weighted = [self.weights[name] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()

    def forward(
        self,
        output: NetworkOutput,
        target: Tensor,
        sample_weight: Tensor | None = None,
        labelled: Tensor | None = None,
        lesson: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum of the terms of a batch."""
        return self.total(self.terms(output, target, sample_weight, labelled, lesson))
