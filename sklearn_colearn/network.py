"""Co-learning network: two encoders and a head per modality, and common heads.

It follows Mena et al. 2025, doi:10.1007/s10994-025-06903-0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sklearn_colearn._compat import BatchNorm
from sklearn_colearn.encoders import (
    Bands,
    EncoderFactory,
    choose_encoder,
    make_encoder,
    takes,
)

__all__ = [
    "TEACHER",
    "CoLearnNetwork",
    "ModalityNetwork",
    "ModalityOutput",
    "NetworkOutput",
    "make_modality_network",
]


#: Name of the teacher among the names of modalities.
TEACHER = "teacher"


class ModalityOutput(NamedTuple):
    """Outputs of one modality's network for a batch; D is the embedding size."""

    #: (B, n_outputs): logits, or standardised values for regression.
    prediction: Tensor
    #: (B, D / 2): unique information that the prediction uses.
    specific: Tensor
    #: (B, D / 2): unique information that the prediction does not use.
    unused: Tensor
    #: (B, D / 2): information that all modalities share.
    shared: Tensor

    @property
    def joint(self) -> Tensor:
        """(B, D): the representations that the prediction uses."""
        return torch.cat([self.specific, self.shared], dim=1)


class NetworkOutput(NamedTuple):
    """Outputs of the whole network for a batch, by modality name.

    For rows that lack a modality, prediction and representations are zeros, and the
    outputs of the common heads are meaningless.
    """

    predictions: dict[str, Tensor]
    specific: dict[str, Tensor]
    unused: dict[str, Tensor]
    shared: dict[str, Tensor]
    #: (B, n_outputs): predictions of the auxiliary head from one representation.
    auxiliary_from_specific: dict[str, Tensor]
    auxiliary_from_shared: dict[str, Tensor]
    #: (B, n_modalities): logits of the two modality heads.
    modality_from_specific: dict[str, Tensor]
    modality_from_unused: dict[str, Tensor]
    #: (B,), bool: which rows have the modality; None if none is missing.
    present: dict[str, Tensor] | None
    #: (B, n_outputs): predictions of the teacher from all modalities, if there is one.
    teacher: Tensor | None = None


class ModalityNetwork(nn.Module):
    """Two encoders and the prediction head of one modality.

    Encoders map a batch to ``(B, embedding_dim)``. Without a common encoder, the unique
    one returns both embeddings, ``(B, 2 * embedding_dim)``. `takes` names the arguments
    of the encoders besides the values: ``times``, ``mask`` and ``observed``.

    Shape: ``(B, *input_shape)`` to a :class:`ModalityOutput`. ``times`` and ``mask``
    have shape ``(B, n_timesteps)``; ``observed`` has the shape of the values.
    """

    def __init__(
        self,
        unique_encoder: nn.Module,
        common_encoder: nn.Module | None,
        embedding_dim: int,
        n_outputs: int,
    ) -> None:
        super().__init__()
        half = embedding_dim // 2
        self.unique_encoder = unique_encoder
        self.common_encoder = common_encoder
        self.takes = tuple(sorted(takes(unique_encoder)))
        self.shared = nn.Sequential(
            nn.Linear(embedding_dim, half), nn.BatchNorm1d(half), nn.ReLU()
        )
        self.head = nn.Linear(embedding_dim, n_outputs)

    def forward(
        self,
        x: Tensor,
        times: Tensor | None = None,
        mask: Tensor | None = None,
        observed: Tensor | None = None,
    ) -> ModalityOutput:
        """Run both encoders and the head."""
        given = {"times": times, "mask": mask, "observed": observed}
        steps = {name: given[name] for name in self.takes}
        if self.common_encoder is None:
            unique, common = self.unique_encoder(x, **steps).chunk(2, dim=1)
        else:
            unique = self.unique_encoder(x, **steps)  # (B, D)
            common = self.common_encoder(x, **steps)  # (B, D)
        specific, unused = unique.chunk(2, dim=1)  # (B, D / 2) each
        shared = self.shared(common)  # (B, D / 2)
        prediction = self.head(torch.cat([specific, shared], dim=1))
        return ModalityOutput(prediction, specific, unused, shared)


def make_modality_network(
    encoder: str | EncoderFactory,
    input_shape: tuple[int, ...],
    n_outputs: int,
    *,
    encoder_params: Mapping[str, Any] | None,
    embedding_dim: int,
    dropout: float,
    share_encoder: bool,
    bands: Bands | None = None,
) -> ModalityNetwork:
    """Make the network of one modality; see :class:`CoLearnNetwork`."""
    size = 2 * embedding_dim if share_encoder else embedding_dim
    options: Any = {
        "dropout": dropout,
        "bands": bands,
        "encoder_params": encoder_params,
    }
    make = partial(make_encoder, encoder, input_shape, size, **options)
    unique, common = make(), None if share_encoder else make()
    if unique is common:
        raise ValueError(
            "The encoder factory returned the same module twice; it must return a new "
            "one each time."
        )
    return ModalityNetwork(unique, common, embedding_dim, n_outputs)


class CoLearnNetwork(nn.Module):
    """Networks of all modalities and their common heads.

    Shape: a mapping of ``(B, *input_shape)`` to a :class:`NetworkOutput`.

    Parameters
    ----------
    input_shapes : mapping of str to tuple of int
        Row shape of each modality.
    n_outputs : int
        Number of classes (2 for binary), labels or targets.
    encoder : str, callable, or mapping of str to either, default='auto'
        Encoder of all modalities or by modality, as for
        :func:`sklearn_colearn.encoders.make_encoder`.
    encoder_params : mapping, or mapping of str to mapping, optional
        Arguments of the encoders.
    embedding_dim : int, default=128
        Size D of an embedding; must be even.
    dropout : float, default=0.2
        For encoders that have such a parameter.
    share_encoder : bool, default=False
        Whether one encoder of twice the width replaces the two of a modality.
    bands : mapping of str to Bands, optional
        For encoders that have such a parameter.
    teacher : bool, default=False
        Whether to add a teacher to several modalities: a linear head on all specific
        and shared representations.

    Attributes
    ----------
    modalities : tuple of str
    networks : torch.nn.ModuleList of ModalityNetwork
        Networks in the order of `modalities`.
    auxiliary_head, specific_modality_head, unused_modality_head : torch.nn.Linear
        Heads that all modalities share.
    teacher_head : torch.nn.Linear or None

    Examples
    --------
    >>> import torch
    >>> from sklearn_colearn.network import CoLearnNetwork
    >>> network = CoLearnNetwork({"S1": (12, 2), "soil": (3,)}, n_outputs=4)
    >>> output = network({"S1": torch.zeros(8, 12, 2), "soil": torch.zeros(8, 3)})
    >>> output.predictions["soil"].shape, output.shared["S1"].shape
    (torch.Size([8, 4]), torch.Size([8, 64]))
    """

    def __init__(
        self,
        input_shapes: Mapping[str, tuple[int, ...]],
        n_outputs: int,
        *,
        encoder: str | EncoderFactory | Mapping[str, str | EncoderFactory] = "auto",
        encoder_params: Mapping[str, Any] | None = None,
        embedding_dim: int = 128,
        dropout: float = 0.2,
        share_encoder: bool = False,
        bands: Mapping[str, Bands] | None = None,
        teacher: bool = False,
    ) -> None:
        super().__init__()
        if embedding_dim % 2:
            raise ValueError(
                f"embedding_dim={embedding_dim} must be even, because embeddings are "
                "split in half."
            )
        self.modalities = tuple(input_shapes)
        encoders = per_modality("encoder", encoder, self.modalities)
        params = per_modality("encoder_params", encoder_params, self.modalities)

        # nn.ModuleDict would refuse names such as "S.1" or "type".
        self.networks = nn.ModuleList()
        for modality, input_shape in input_shapes.items():
            with _naming(modality):
                network = make_modality_network(
                    encoders[modality],
                    input_shape,
                    n_outputs,
                    encoder_params=params[modality],
                    embedding_dim=embedding_dim,
                    dropout=dropout,
                    share_encoder=share_encoder,
                    bands=(bands or {}).get(modality),
                )
            self.networks.append(network)
        half, n = embedding_dim // 2, len(self.modalities)
        self.auxiliary_head = nn.Linear(half, n_outputs)
        self.specific_modality_head = nn.Linear(half, n)
        self.unused_modality_head = nn.Linear(half, n)
        self.teacher_head = None
        if teacher and n > 1:
            self.teacher_head = nn.Linear(embedding_dim * n, n_outputs)

    def network(self, modality: str) -> ModalityNetwork:
        """Return the network of one modality."""
        network = self.networks[self.modalities.index(modality)]
        assert isinstance(network, ModalityNetwork)
        return network

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        present: dict[str, Tensor] | None = None,
        steps: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> NetworkOutput:
        """Run all modalities.

        Parameters
        ----------
        inputs : mapping of str to Tensor of shape (B, ...)
            Values of all modalities, arbitrary in rows that lack one.
        present : mapping of str to bool Tensor of shape (B,), optional
            Which rows have the modality. Other rows are not run.
        steps : mapping of str to mapping of {'times', 'mask', 'observed'} to Tensor
            Further arguments, see :mod:`sklearn_colearn.encoders`.
        """
        outputs = {
            m: _run_present(
                self.network(m),
                inputs[m],
                {} if steps is None else steps.get(m, {}),
                None if present is None else present[m],
            )
            for m in self.modalities
        }
        predictions, specific, unused, shared = (
            {m: output[i] for m, output in outputs.items()} for i in range(4)
        )
        teacher = None
        if self.teacher_head is not None:
            teacher = self.teach(specific, shared)
        from_specific, from_shared = _apply(self.auxiliary_head, specific, shared)
        (which_specific,) = _apply(self.specific_modality_head, specific)
        (which_unused,) = _apply(self.unused_modality_head, unused)
        return NetworkOutput(
            predictions,
            specific,
            unused,
            shared,
            auxiliary_from_specific=from_specific,
            auxiliary_from_shared=from_shared,
            modality_from_specific=which_specific,
            modality_from_unused=which_unused,
            present=present,
            teacher=teacher,
        )

    def teach(
        self, specific: Mapping[str, Tensor], shared: Mapping[str, Tensor]
    ) -> Tensor:
        """Return predictions (B, n_outputs) from representations (B, D / 2)."""
        assert self.teacher_head is not None
        everything = [z[m] for z in (specific, shared) for m in self.modalities]
        return self.teacher_head(torch.cat(everything, dim=1))


def per_modality(
    parameter: str, value: Any, modalities: tuple[str, ...]
) -> dict[str, Any]:
    """Return a parameter by modality, given one value for all or a dict by modality.

    A mapping of ``encoder_params`` is by modality if any key names a modality; then
    all keys must. Modalities not in the mapping get the encoder ``'auto'``, or no
    parameters.
    """
    by_modality = isinstance(value, Mapping) and (
        parameter == "encoder" or set(value) & set(modalities)
    )
    if not by_modality:
        return dict.fromkeys(modalities, value)
    unknown = [name for name in value if name not in modalities]
    if unknown:
        raise ValueError(
            f"{parameter}= names the unknown modalities {unknown}; fit got "
            f"{list(modalities)}."
        )
    default = "auto" if parameter == "encoder" else None
    return {modality: value.get(modality, default) for modality in modalities}


def choose_encoders(
    encoder: Any,
    input_shapes: Mapping[str, tuple[int, ...]],
    before: Mapping[str, str | EncoderFactory] | None = None,
) -> dict[str, str | EncoderFactory]:
    """Return the encoder of each modality, with ``'auto'`` resolved.

    `before` holds the encoders of an earlier fit that this one continues.
    """
    chosen = per_modality("encoder", encoder, tuple(input_shapes))
    for m in [m for m, kind in chosen.items() if kind == "auto"]:
        with _naming(m):
            shape = input_shapes[m]
            chosen[m] = choose_encoder(shape) if before is None else before[m]
    return chosen


@contextmanager
def _naming(modality: str) -> Iterator[None]:
    """Name the modality in errors of its encoder."""
    try:
        yield
    except Exception as error:
        error.add_note(f"This is about the encoder of modality {modality!r}.")
        raise


def _apply(
    head: nn.Module, *given: Mapping[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Apply a common head to the representations of all modalities in one call."""
    answers = iter(head(torch.stack([z for own in given for z in own.values()])))
    return ({m: next(answers) for m in own} for own in given)


def _run_present(
    network: ModalityNetwork,
    x: Tensor,
    steps: Mapping[str, Tensor],
    present: Tensor | None,
) -> ModalityOutput:
    """Run the rows that have the modality; fill the others with zeros."""
    if present is None or len(rows := present.nonzero().squeeze(1)) == len(x):
        return _run(network, x, steps)
    if len(rows) == 0:
        # Without rows to run, the head tells the sizes.
        widths = [network.head.out_features, *[network.head.in_features // 2] * 3]
        return ModalityOutput(*(x.new_zeros(len(x), width) for width in widths))
    compact = _run(network, x[rows], {name: t[rows] for name, t in steps.items()})
    return ModalityOutput(
        *(z.new_zeros(len(x), z.shape[1]).index_copy(0, rows, z) for z in compact)
    )


def _run(
    network: ModalityNetwork, x: Tensor, steps: Mapping[str, Tensor]
) -> ModalityOutput:
    """Run a batch; normalise a single training row by the running statistics."""
    modules = network.modules() if len(x) == 1 and network.training else ()
    layers = [m for m in modules if isinstance(m, BatchNorm) and m.training]
    for layer in layers:
        layer.eval()
    try:
        return network(x, **steps)
    finally:
        for layer in layers:
            layer.train()
