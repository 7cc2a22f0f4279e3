"""The co-learning network: two encoders and a head per modality, and common heads.

References
----------
Mena, Ienco, Dantas, Interdonato, Dengel, "Multi-modal co-learning for Earth
observation: enhancing single-modality models via modality collaboration", Machine
Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_colearn.encoders import (
    EncoderFactory,
    choose_encoder,
    make_encoder,
    takes,
)

__all__ = [
    "CoLearnNetwork",
    "ModalityNetwork",
    "ModalityOutput",
    "NetworkOutput",
    "make_modality_network",
]


class ModalityOutput(NamedTuple):
    """What the network of one modality gives for a batch; D is the embedding's size."""

    #: (B, n_outputs): logits, or standardised values for regression.
    prediction: Tensor
    #: (B, D / 2): unique information that the prediction uses.
    specific: Tensor
    #: (B, D / 2): unique information that it does not use.
    unused: Tensor
    #: (B, D / 2): information that the modalities have in common.
    shared: Tensor

    @property
    def joint(self) -> Tensor:
        """(B, D): what the prediction is made of."""
        return torch.cat([self.specific, self.shared], dim=1)


class NetworkOutput(NamedTuple):
    """What the whole network gives for a batch, each by modality name.

    Predictions and representations of rows that lack a modality are zero, and the
    common heads' answers there mean nothing.
    """

    predictions: dict[str, Tensor]
    specific: dict[str, Tensor]
    unused: dict[str, Tensor]
    shared: dict[str, Tensor]
    #: (B, n_outputs): the auxiliary head's answers from each representation alone.
    auxiliary_from_specific: dict[str, Tensor]
    auxiliary_from_shared: dict[str, Tensor]
    #: (B, n_modalities): logits of the two modality heads.
    modality_from_specific: dict[str, Tensor]
    modality_from_unused: dict[str, Tensor]
    #: (B,), bool: which rows have the modality; None if all rows have all.
    present: dict[str, Tensor] | None
    #: (B, n_outputs): the teacher's answers from all modalities; None without one.
    teacher: Tensor | None = None


class ModalityNetwork(nn.Module):
    """Two encoders and the prediction head of one modality.

    Parameters
    ----------
    unique_encoder, common_encoder : torch.nn.Module
        Map a batch of the modality to ``(B, embedding_dim)``. Without a common encoder
        the other one gives both embeddings, ``(B, 2 * embedding_dim)``.
    embedding_dim : int
        Size D of the embeddings, even.
    n_outputs : int
        Classes, labels or targets.

    Attributes
    ----------
    takes : tuple of {'mask', 'times'}
        What the encoders take beside the values of a time series.

    Notes
    -----
    Shape: ``(B, *input_shape)`` to a :class:`ModalityOutput`; ``times`` and ``mask`` of
    ``(B, n_timesteps)``.
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
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> ModalityOutput:
        """Run both encoders and the head."""
        given = {"times": times, "mask": mask}
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
) -> ModalityNetwork:
    """Make the network of one modality; parameters as of :class:`CoLearnNetwork`."""
    made = [
        make_encoder(
            encoder,
            input_shape,
            2 * embedding_dim if share_encoder else embedding_dim,
            dropout=dropout,
            encoder_params=encoder_params,
        )
        for _ in range(1 if share_encoder else 2)
    ]
    if made[0] is made[-1] and not share_encoder:
        raise ValueError(
            "The encoder is one module given twice; a factory has to make a new module "
            "each time."
        )
    common_encoder = None if share_encoder else made[1]
    return ModalityNetwork(made[0], common_encoder, embedding_dim, n_outputs)


class CoLearnNetwork(nn.Module):
    """The networks of all modalities, and the heads that they have in common.

    Parameters
    ----------
    input_shapes : mapping of str to tuple of int
        Trailing shape of each modality, in order.
    n_outputs : int
        Classes (logits; also 2 for binary), labels or targets.
    encoder : str, callable, or mapping of str to either, default='auto'
        One for all modalities or one per modality; see
        :func:`sklearn_colearn.encoders.make_encoder`.
    encoder_params : mapping, or mapping of str to mapping, optional
        Arguments of the encoders, for all or by modality.
    embedding_dim : int, default=128
        Size D of the embeddings, even.
    dropout : float, default=0.2
        Given to encoders that have a parameter of this name.
    share_encoder : bool, default=False
        Whether one encoder of twice the width gives both embeddings of a modality.
    teacher : bool, default=False
        Whether there is a teacher: a linear head on the specific and shared
        representations of all modalities together. Two modalities at least.

    Attributes
    ----------
    modalities : tuple of str
        The names, in order.
    networks : torch.nn.ModuleList of ModalityNetwork
        One per modality, in that order.
    auxiliary_head, specific_modality_head, unused_modality_head : torch.nn.Linear
        The heads that all modalities share.
    teacher_head : torch.nn.Linear or None
        The teacher.

    Notes
    -----
    Shape: a mapping of ``(B, *input_shape)`` to a :class:`NetworkOutput`.

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
        teacher: bool = False,
    ) -> None:
        super().__init__()
        if embedding_dim % 2:
            raise ValueError(
                f"embedding_dim={embedding_dim} has to be even: the unique encoder's "
                "embedding is cut in halves."
            )
        self.modalities = tuple(input_shapes)
        encoders = per_modality("encoder", encoder, self.modalities)
        params = per_modality("encoder_params", encoder_params, self.modalities)

        # A list, not a ModuleDict: that one refuses names such as "S.1" or "type".
        self.networks = nn.ModuleList()
        for modality, input_shape in input_shapes.items():
            try:
                network = make_modality_network(
                    encoders[modality],
                    input_shape,
                    n_outputs,
                    encoder_params=params[modality],
                    embedding_dim=embedding_dim,
                    dropout=dropout,
                    share_encoder=share_encoder,
                )
            except (TypeError, ValueError) as error:
                if (
                    params[modality] is encoder_params is not None
                    and str(error).startswith("Unknown encoder_params")
                    and all(isinstance(p, Mapping) for p in encoder_params.values())
                ):  # no arguments, then, but those of a modality that is not there
                    _refuse_names("encoder_params", encoder_params, self.modalities)
                raise type(error)(f"Modality {modality!r}: {error}") from error
            self.networks.append(network)
        half = embedding_dim // 2
        self.auxiliary_head = nn.Linear(half, n_outputs)
        self.specific_modality_head = nn.Linear(half, len(self.modalities))
        self.unused_modality_head = nn.Linear(half, len(self.modalities))
        self.teacher_head = None
        if teacher and len(self.modalities) > 1:  # One alone has nothing to teach.
            self.teacher_head = nn.Linear(
                embedding_dim * len(self.modalities), n_outputs
            )

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
            All modalities, whatever stands in the rows that lack one.
        present : mapping of str to bool Tensor of shape (B,), optional
            Which rows have the modality. The others are not run, so that they do not
            touch the statistics of batch normalisation.
        steps : mapping of str to mapping of {'times', 'mask'} to Tensor, optional
            By modality, what its encoders take beside the values, each (B, T); see
            :mod:`sklearn_colearn.encoders`.
        """
        outputs: dict[str, ModalityOutput] = {}
        for modality in self.modalities:
            network = self.network(modality)
            x = inputs[modality]
            own = {} if steps is None else steps.get(modality, {})
            if present is None:
                outputs[modality] = _run(network, x, own)
            else:
                outputs[modality] = _run_present(network, x, own, present[modality])
        specific = {m: output.specific for m, output in outputs.items()}
        unused = {m: output.unused for m, output in outputs.items()}
        shared = {m: output.shared for m, output in outputs.items()}
        teacher = None
        if self.teacher_head is not None:
            teacher = self.teach(specific, shared)
        return NetworkOutput(
            predictions={m: output.prediction for m, output in outputs.items()},
            specific=specific,
            unused=unused,
            shared=shared,
            auxiliary_from_specific=_apply(self.auxiliary_head, specific),
            auxiliary_from_shared=_apply(self.auxiliary_head, shared),
            modality_from_specific=_apply(self.specific_modality_head, specific),
            modality_from_unused=_apply(self.unused_modality_head, unused),
            present=present,
            teacher=teacher,
        )

    def teach(
        self, specific: Mapping[str, Tensor], shared: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the teacher's answers.

        Parameters
        ----------
        specific, shared : mapping of str to Tensor of shape (B, D / 2)
            The representations of all modalities.

        Returns
        -------
        Tensor of shape (B, n_outputs)
        """
        assert self.teacher_head is not None
        everything = [z[m] for z in (specific, shared) for m in self.modalities]
        answers: Tensor = self.teacher_head(torch.cat(everything, dim=1))
        return answers


def per_modality(
    parameter: str, value: Any, modalities: tuple[str, ...]
) -> dict[str, Any]:
    """Spread a parameter over the modalities: one for all, or a dict by modality.

    A mapping of encoders is by modality, one of ``encoder_params`` if the name of a
    modality is among its keys. Then it names no other. A modality that it leaves out
    has the encoder ``'auto'``, or no parameters of its own.
    """
    by_modality = isinstance(value, Mapping) and (
        parameter == "encoder" or set(value) & set(modalities)
    )
    if not by_modality:
        return dict.fromkeys(modalities, value)
    if not set(value) <= set(modalities):
        _refuse_names(parameter, value, modalities)
    default = "auto" if parameter == "encoder" else None
    return {modality: value.get(modality, default) for modality in modalities}


def choose_encoders(
    encoder: Any,
    input_shapes: Mapping[str, tuple[int, ...]],
    n_samples: Mapping[str, int],
    *,
    timed: Container[str] = (),
    before: Mapping[str, str | EncoderFactory] | None = None,
) -> dict[str, str | EncoderFactory]:
    """Return the encoder of each modality, with a name in the place of ``'auto'``.

    Parameters
    ----------
    encoder : str, callable, or mapping of str to either
        As the network takes it.
    input_shapes : mapping of str to tuple of int
        Trailing shape of each modality.
    n_samples : mapping of str to int
        Number of training rows that have the modality, so that it gets the same encoder
        as if it was trained alone.
    timed : container of str
        The modalities of which the times are known.
    before : mapping of str to str or callable, optional
        What was chosen in an earlier fit that this one continues.
    """
    chosen = per_modality("encoder", encoder, tuple(input_shapes))
    for modality, shape in input_shapes.items():
        if chosen[modality] == "auto" and before is not None:
            chosen[modality] = before[modality]
        elif chosen[modality] == "auto":
            try:
                chosen[modality] = choose_encoder(
                    shape, n_samples[modality], times=modality in timed
                )
            except ValueError as error:
                raise ValueError(f"Modality {modality!r}: {error}") from error
    return chosen


def _refuse_names(
    parameter: str, value: Mapping[str, Any], modalities: tuple[str, ...]
) -> NoReturn:
    unknown = [name for name in value if name not in modalities]
    raise ValueError(
        f"{parameter}= by modality names {unknown}, but there is no such modality; fit "
        f"got {list(modalities)}."
    )


def _apply(head: nn.Module, by_modality: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {modality: head(z) for modality, z in by_modality.items()}


def _run(
    network: ModalityNetwork, x: Tensor, steps: Mapping[str, Tensor]
) -> ModalityOutput:
    if len(x) == 1 and network.training:
        with _batch_norm_by_running_statistics(network):
            return network(x, **steps)
    return network(x, **steps)


def _run_present(
    network: ModalityNetwork, x: Tensor, steps: Mapping[str, Tensor], present: Tensor
) -> ModalityOutput:
    """Run the rows that have the modality; the others get zeros."""
    rows = present.nonzero().squeeze(1)
    if len(rows) == len(x):
        return _run(network, x, steps)
    if len(rows) == 0:
        # No row to learn sizes from, so ask one by shape alone: zeros of that width.
        widths = [network.head.out_features, *[network.head.in_features // 2] * 3]
        return ModalityOutput(*(x.new_zeros(len(x), width) for width in widths))
    compact = _run(network, x[rows], {name: t[rows] for name, t in steps.items()})
    return ModalityOutput(
        *(z.new_zeros(len(x), z.shape[1]).index_copy(0, rows, z) for z in compact)
    )


@contextmanager
def _batch_norm_by_running_statistics(network: nn.Module) -> Iterator[None]:
    """Let one row through batch normalisation, which has no variance of its own."""
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()
