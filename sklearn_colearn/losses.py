"""The terms of the co-learning loss, each a plain function.

All functions take tensors by modality name, and say by `present` which rows have the
modality at all: a row that lacks it adds nothing to that modality's part of a term.

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

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from sklearn_colearn.network import NetworkOutput

__all__ = [
    "TASK_LOSSES",
    "CoLearnLoss",
    "auxiliary_term",
    "contrastive_term",
    "discriminative_term",
    "distillation_term",
    "main_term",
    "nt_xent",
    "teacher_term",
]

Present = Mapping[str, Tensor] | None
TaskLoss = Callable[[Tensor, Tensor], Tensor]


def nt_xent(a: Tensor, b: Tensor, temperature: float = 0.1) -> Tensor:
    """Symmetric normalised-temperature cross-entropy (NT-Xent) of paired rows.

    Of the 2B rows of `a` and `b` together, the positive of a row is the same sample in
    the other tensor and the other 2B - 2 rows are negatives; similarity is the cosine
    over `temperature`. Memory and time are quadratic in B.

    Parameters
    ----------
    a, b : Tensor of shape (B, D)
        Paired embeddings: row i of both belongs to sample i.
    temperature : float, default=0.1
        Positive; small values make the nearest negatives count most.

    Returns
    -------
    Tensor of shape ()
        The mean over the 2B rows. Zero for one row or none, which has no negative.

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
            f"nt_xent compares rows in pairs, so both tensors need the same shape; got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    n = len(a)
    if n == 0:
        return a.sum() + b.sum()
    # A zero vector (all of a ReLU's outputs off) gets similarity 0 to everything.
    z = F.normalize(torch.cat([a, b]), dim=1, eps=1e-8)  # (2B, D)
    z = z / temperature**0.5  # here, so that the large matrix is made once
    similarity = z @ z.T  # (2B, 2B)
    similarity.fill_diagonal_(-torch.inf)
    positive = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, positive)


def _cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(output, target, reduction="none")


def _binary_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    loss = F.binary_cross_entropy_with_logits(output, target, reduction="none")
    return loss.mean(dim=1)


def _squared_error(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target, reduction="none").mean(dim=1)


#: Task losses by name: (B, n_outputs) and the target give one loss per row, (B,).
TASK_LOSSES: dict[str, TaskLoss] = {
    "cross_entropy": _cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "squared_error": _squared_error,
}


def _weighted_mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of weight times loss over the rows of positive weight.

    Not over the sum of the weights: that would undo the weights in small batches, and
    all of them in a batch of one.
    """
    if weight is None:
        return losses.mean()
    counted = weight > 0
    weighted = torch.where(counted, losses * weight, 0.0)
    return weighted.sum() / counted.sum().clamp_min(1)


def _row_weight(
    modality: str, present: Present, sample_weight: Tensor | None
) -> Tensor | None:
    if present is None:
        return sample_weight
    here = present[modality]
    return here.to(torch.float32) if sample_weight is None else sample_weight * here


def _mean_over_modalities(parts: list[Tensor], weights: list[Tensor | None]) -> Tensor:
    """Mean over the modalities of which the batch has any weighted row."""
    stacked = torch.stack(parts)
    if all(weight is None for weight in weights):
        return stacked.mean()
    counts = torch.stack(
        [
            torch.ones((), device=stacked.device)
            if w is None
            else (w.sum() > 0).float()
            for w in weights
        ]
    )
    return (stacked * counts).sum() / counts.sum().clamp_min(1)


def main_term(
    predictions: Mapping[str, Tensor],
    target: Tensor,
    task_loss: TaskLoss,
    present: Present = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Task loss of each modality's own prediction, mean over modalities.

    Parameters
    ----------
    predictions : mapping of str to Tensor of shape (B, n_outputs)
        What each modality's head says.
    target : Tensor of shape (B,) or (B, n_outputs)
        Class numbers, label indicators, or standardised values.
    task_loss : callable
        One of ``TASK_LOSSES``: gives a loss per row.
    present : mapping of str to bool Tensor of shape (B,), optional
        Which rows have the modality; all by default.
    sample_weight : Tensor of shape (B,), optional
        Weight of each row, 1 by default. The mean of weight times loss is over the
        rows of positive weight, so weights are relative to 1.

    Returns
    -------
    Tensor of shape ()
        The term; zero if no row has any weight.
    """
    weights = [_row_weight(m, present, sample_weight) for m in predictions]
    parts = [
        _weighted_mean(task_loss(output, target), weight)
        for output, weight in zip(predictions.values(), weights, strict=True)
    ]
    return _mean_over_modalities(parts, weights)


def auxiliary_term(
    from_specific: Mapping[str, Tensor],
    from_shared: Mapping[str, Tensor],
    target: Tensor,
    task_loss: TaskLoss,
    present: Present = None,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Task loss of the head that all modalities share, on each representation alone.

    Parameters
    ----------
    from_specific, from_shared : mapping of str to Tensor of shape (B, n_outputs)
        The common head's answers from the specific and from the shared representation.
    target, task_loss, present, sample_weight
        As in :func:`main_term`.

    Returns
    -------
    Tensor of shape ()
        Mean of the two representations, mean over modalities.
    """
    rest = (target, task_loss, present, sample_weight)
    return (main_term(from_specific, *rest) + main_term(from_shared, *rest)) / 2


def contrastive_term(
    shared: Mapping[str, Tensor], temperature: float = 0.1, present: Present = None
) -> Tensor:
    """NT-Xent between the shared representations, summed over ordered pairs.

    Parameters
    ----------
    shared : mapping of str to Tensor of shape (B, D)
        The shared representation of each modality.
    temperature : float, default=0.1
        As in :func:`nt_xent`.
    present : mapping of str to bool Tensor of shape (B,), optional
        Which rows have the modality; a pair uses the rows that have both.

    Returns
    -------
    Tensor of shape ()
        The term; zero for a single modality.
    """
    total = next(iter(shared.values())).new_zeros(())
    for first, second in combinations(shared, 2):
        a, b = shared[first], shared[second]
        if present is not None:
            both = present[first] & present[second]
            a, b = a[both], b[both]
        # NT-Xent is symmetric: the pair counts once in each order.
        total = total + 2 * nt_xent(a, b, temperature)
    return total


def discriminative_term(
    from_specific: Mapping[str, Tensor],
    from_unused: Mapping[str, Tensor],
    present: Present = None,
) -> Tensor:
    """Cross-entropy of telling the modality from its unique representations.

    Parameters
    ----------
    from_specific, from_unused : mapping of str to Tensor of shape (B, n_modalities)
        What the two modality heads say, from the specific and from the unused
        representation. The modality's number is its place in the mapping.
    present : mapping of str to bool Tensor of shape (B,), optional
        Which rows have the modality.

    Returns
    -------
    Tensor of shape ()
        Mean of the two heads, mean over modalities.
    """
    parts, weights = [], []
    for number, (modality, specific) in enumerate(from_specific.items()):
        label = torch.full((len(specific),), number, device=specific.device)
        unused = from_unused[modality]
        losses = (_cross_entropy(specific, label) + _cross_entropy(unused, label)) / 2
        weights.append(_row_weight(modality, present, None))
        parts.append(_weighted_mean(losses, weights[-1]))
    return _mean_over_modalities(parts, weights)


def teacher_term(
    teacher: Tensor,
    target: Tensor,
    task_loss: TaskLoss,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Task loss of the teacher, which sees all modalities.

    Parameters
    ----------
    teacher : Tensor of shape (B, n_outputs)
        What the teacher says.
    target, task_loss, sample_weight
        As in :func:`main_term`.

    Returns
    -------
    Tensor of shape ()
        The term; zero if no row has any weight.
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
    """How far each modality's own prediction is from the teacher's, mean over them.

    Cross-entropy to the softened probabilities of the teacher, times the temperature
    squared (Hinton et al. 2015); for regression the squared error to its values. The
    teacher is not drawn to the modalities: no gradient reaches it from here.

    Parameters
    ----------
    predictions : mapping of str to Tensor of shape (B, n_outputs)
        What each modality's head says.
    teacher : Tensor of shape (B, n_outputs)
        What the teacher says, from all modalities.
    task : {'cross_entropy', 'binary_cross_entropy', 'squared_error'}
        The task loss.
    temperature : float, default=2.0
        Divides the logits of both; no use for regression.
    present, sample_weight
        As in :func:`main_term`.

    Returns
    -------
    Tensor of shape ()
        The term; zero if no row has any weight.
    """
    answers = teacher.detach()
    if task == "squared_error":
        scale = 1.0
    else:
        scale = temperature
        answers = answers / scale
        answers = (
            answers.softmax(dim=1) if task == "cross_entropy" else answers.sigmoid()
        )
    softened = {m: output / scale for m, output in predictions.items()}
    # All task losses take probabilities, or values, as targets too.
    loss = main_term(softened, answers, TASK_LOSSES[task], present, sample_weight)
    return scale**2 * loss


class CoLearnLoss(nn.Module):
    """The co-learning loss: its terms by name, and their weighted sum.

    Parameters
    ----------
    task : {'cross_entropy', 'binary_cross_entropy', 'squared_error'}
        The task loss: multi-class, multi-label, regression.
    main_weight, auxiliary_weight, contrastive_weight, discriminative_weight : \
            float, default=1.0
        Weights of the terms. A term of weight 0 is not computed.
    distillation_weight : float, default=0.0
        Weight of the distillation term, for a network with a teacher; the teacher's own
        task loss has weight 1. The paper has no such term.
    temperature : float, default=0.1
        Of the contrastive term.
    distillation_temperature : float, default=2.0
        Of the distillation term.

    References
    ----------
    Mena et al. 2025, doi:10.1007/s10994-025-06903-0.
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
    ) -> None:
        super().__init__()
        if task not in TASK_LOSSES:
            raise ValueError(f"Unknown task {task!r}; valid are {list(TASK_LOSSES)}.")
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

    def terms(
        self,
        output: NetworkOutput,
        target: Tensor,
        sample_weight: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the terms, unweighted, by name.

        Parameters
        ----------
        output : NetworkOutput
            What :class:`~sklearn_colearn.network.CoLearnNetwork` gave for a batch.
        target : Tensor of shape (B,) or (B, n_outputs)
            Class numbers, label indicators, or standardised values.
        sample_weight : Tensor of shape (B,), optional
            Weights of the rows in all terms but the contrastive and the
            discriminative one.
        labelled : bool Tensor of shape (B,), optional
            Which rows have a label; all by default. The others have no part in the
            main, the auxiliary and the teacher's term, whatever their target; the
            teacher teaches there too.
        """
        task_loss = TASK_LOSSES[self.task]
        present = output.present
        supervised = sample_weight
        if labelled is not None:
            supervised = labelled.to(torch.float32)
            if sample_weight is not None:
                supervised = supervised * sample_weight
        terms = {}
        if self.weights["main"]:
            terms["main"] = main_term(
                output.predictions, target, task_loss, present, supervised
            )
        if self.weights["auxiliary"]:
            terms["auxiliary"] = auxiliary_term(
                output.auxiliary_from_specific,
                output.auxiliary_from_shared,
                target,
                task_loss,
                present,
                supervised,
            )
        if len(output.shared) > 1:  # Nothing to contrast, or to tell apart, in one.
            if self.weights["contrastive"]:
                terms["contrastive"] = contrastive_term(
                    output.shared, self.temperature, present
                )
            if self.weights["discriminative"]:
                terms["discriminative"] = discriminative_term(
                    output.modality_from_specific, output.modality_from_unused, present
                )
        if output.teacher is not None and self.weights["distillation"]:
            terms["teacher"] = teacher_term(
                output.teacher, target, task_loss, supervised
            )
            terms["distillation"] = distillation_term(
                output.predictions,
                output.teacher,
                self.task,
                self.distillation_temperature,
                present,
                sample_weight,
            )
        return terms

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the terms.

        Parameters
        ----------
        terms : mapping of str to Tensor of shape ()
            The terms by name, as of :meth:`terms`.
        """
        weighted = [self.weights[name] * term for name, term in terms.items()]
        return torch.stack(weighted).sum()

    def forward(
        self,
        output: NetworkOutput,
        target: Tensor,
        sample_weight: Tensor | None = None,
        labelled: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted sum of the terms of a batch."""
        return self.total(self.terms(output, target, sample_weight, labelled))
