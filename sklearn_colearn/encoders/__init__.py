"""Encoders: networks that turn one modality into an embedding.

A class or function ``factory(input_shape, embedding_dim, **encoder_params)`` makes an
encoder: a :class:`torch.nn.Module` that maps a float32 batch ``(B, *input_shape)``,
standardized and with missing values set to 0, to ``(B, embedding_dim)``. `input_shape`
is ``(n_features,)``, ``(n_timesteps, n_bands)`` or ``(height, width, n_bands)``. A
factory with a parameter `dropout` receives the estimator's. One with a parameter
`bands` receives :class:`Bands`: the names and scaling of the bands, and the origin of
the times. A submodule with an attribute ``lr_scale`` multiplies the learning rate of
its parameters by it.

The ``forward`` of a time series encoder may take three keywords, None by default:

``times``
    float32 tensor ``(B, n_timesteps)``: days since the first time in training. None
    unless the estimator's ``times=`` names the modality.
``mask``
    bool tensor ``(B, n_timesteps)``: True where a step has an observed band. Each row
    has at least one such step. None if all steps are observed.
``observed``
    bool tensor ``(B, n_timesteps, n_bands)``: True where a value is observed. None if
    no step has only some of its bands.

A factory must return a new module at each call. It is called once per member for an
embedding of twice ``embedding_dim``, or twice with ``share_encoder=False``.

Examples
--------
A custom encoder, the mean over time followed by one layer:

>>> import torch
>>> from sklearn_colearn import CoLearnClassifier
>>> class MeanEncoder(torch.nn.Module):
...     def __init__(self, input_shape, embedding_dim):
...         super().__init__()
...         self.linear = torch.nn.Linear(input_shape[-1], embedding_dim)
...
...     def forward(self, x):  # (B, n_timesteps, n_bands) -> (B, embedding_dim)
...         return self.linear(x.mean(dim=1))
>>> clf = CoLearnClassifier(encoder={"S1": MeanEncoder, "S2": "tempcnn"})
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from sklearn_colearn.encoders.bands import Bands
from sklearn_colearn.encoders.convtran import ConvTranEncoder
from sklearn_colearn.encoders.inceptiontime import InceptionTimeEncoder
from sklearn_colearn.encoders.linear import LinearEncoder
from sklearn_colearn.encoders.ltae import LTAEEncoder
from sklearn_colearn.encoders.mlp import MLPEncoder
from sklearn_colearn.encoders.presto import PrestoEncoder
from sklearn_colearn.encoders.presto_embedding import PrestoEmbedding
from sklearn_colearn.encoders.pretrained import PretrainedEncoder
from sklearn_colearn.encoders.recurrent import GRUEncoder, LSTMEncoder, RNNEncoder
from sklearn_colearn.encoders.resnet import ResNetEncoder
from sklearn_colearn.encoders.tae import TAEEncoder
from sklearn_colearn.encoders.tempcnn import TempCNNEncoder
from sklearn_colearn.encoders.transformer import TransformerEncoder

__all__ = [
    "ENCODERS",
    "Bands",
    "ConvTranEncoder",
    "GRUEncoder",
    "InceptionTimeEncoder",
    "LSTMEncoder",
    "LTAEEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "PrestoEmbedding",
    "PrestoEncoder",
    "PretrainedEncoder",
    "RNNEncoder",
    "ResNetEncoder",
    "TAEEncoder",
    "TempCNNEncoder",
    "TransformerEncoder",
    "choose_encoder",
    "make_encoder",
    "takes",
    "wants_bands",
]

EncoderFactory = Callable[..., nn.Module]

#: Encoders by name.
ENCODERS: dict[str, EncoderFactory] = {
    "linear": LinearEncoder,
    "mlp": MLPEncoder,
    "tempcnn": TempCNNEncoder,
    "rnn": RNNEncoder,
    "lstm": LSTMEncoder,
    "gru": GRUEncoder,
    "tae": TAEEncoder,
    "ltae": LTAEEncoder,
    "transformer": TransformerEncoder,
    "convtran": ConvTranEncoder,
    "inceptiontime": InceptionTimeEncoder,
    "presto": PrestoEncoder,
    "resnet": ResNetEncoder,
}

#: Modality shapes by the rank of `input_shape`.
_FORMS = {
    1: "tables (n_samples, n_features)",
    2: "time series (n_samples, n_timesteps, n_bands)",
    3: "images (n_samples, height, width, n_bands)",
}
#: Rank that an encoder reads; None for any. Encoders not listed read time series.
_RANKS = {"linear": None, "mlp": None, "resnet": 3, "pretrained": 3}


def choose_encoder(input_shape: tuple[int, ...]) -> str:
    """Return the encoder that ``"auto"`` selects.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of a row.

    Returns
    -------
    {'mlp', 'ltae', 'resnet'}
        The choice for tables, time series and images, respectively.

    Raises
    ------
    ValueError
        If the shape has more than three axes, or none.

    Examples
    --------
    >>> from sklearn_colearn.encoders import choose_encoder
    >>> choose_encoder((12, 3)), choose_encoder((8,)), choose_encoder((9, 9, 4))
    ('ltae', 'mlp', 'resnet')
    """
    rank = len(input_shape)
    if rank not in _FORMS:
        raise ValueError(
            f"encoder='auto' reads {', '.join(_FORMS.values())}. For the shape "
            f"{_with_samples(input_shape)}, pass an encoder: 'mlp', 'linear', or a "
            "torch.nn.Module class."
        )
    return {1: "mlp", 2: "ltae", 3: "resnet"}[rank]


def takes(encoder: nn.Module) -> frozenset[str]:
    """Return which of ``'times'``, ``'mask'`` and ``'observed'`` ``forward`` takes.

    Parameters
    ----------
    encoder : torch.nn.Module
    """
    parameters = inspect.signature(encoder.forward).parameters
    return frozenset({"times", "mask", "observed"} & {*parameters})


def wants_bands(encoder: str | EncoderFactory) -> bool:
    """Return whether a factory has a parameter `bands`.

    Parameters
    ----------
    encoder : str or callable
        Name or factory, as in :func:`make_encoder`.
    """
    factory = ENCODERS.get(encoder) if isinstance(encoder, str) else encoder
    return factory is not None and "bands" in inspect.signature(factory).parameters


def make_encoder(
    encoder: str | EncoderFactory,
    input_shape: tuple[int, ...],
    embedding_dim: int,
    *,
    dropout: float = 0.2,
    bands: Bands | None = None,
    encoder_params: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make an encoder.

    Parameters
    ----------
    encoder : str or callable
        ``'auto'``, a key of :data:`ENCODERS`, ``'pretrained:<timm name>'``, or a class
        or factory as described in :mod:`sklearn_colearn.encoders`.
    input_shape : tuple of int
        Shape of a row.
    embedding_dim : int
        Size of the embedding.
    dropout : float, default=0.2
        Passed to factories that have this parameter.
    bands : Bands, optional
        Names and scaling of the bands, passed likewise.
    encoder_params : mapping, optional
        Other arguments of the factory.

    Returns
    -------
    torch.nn.Module
        Encoder from ``(B, *input_shape)`` to ``(B, embedding_dim)``.

    Raises
    ------
    ValueError
        If the encoder or a parameter is unknown, or the encoder cannot read the shape
        or does not return ``(B, embedding_dim)``.
    TypeError
        If `encoder` is a module, or a factory that does not return one.
    ImportError
        If the encoder needs timm and it is not installed.

    Examples
    --------
    >>> import torch
    >>> from sklearn_colearn.encoders import make_encoder
    >>> encoder = make_encoder("tempcnn", (12, 3), 64, encoder_params={"n_layers": 3})
    >>> encoder(torch.zeros(5, 12, 3)).shape
    torch.Size([5, 64])
    """
    if isinstance(encoder, str):
        name = choose_encoder(input_shape) if encoder == "auto" else encoder
        factory = _named_factory(name, input_shape)
    elif isinstance(encoder, nn.Module) or not callable(encoder):
        raise TypeError(
            "encoder must be a name, or a class or factory that returns a new "
            f"torch.nn.Module; got {encoder!r}."
        )
    else:
        name, factory = getattr(encoder, "__name__", repr(encoder)), encoder
    common = {"dropout": dropout, "bands": bands}
    params = _factory_params(name, factory, common, dict(encoder_params or {}))
    module = factory(input_shape, embedding_dim, **params)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"Encoder {name!r} must return a torch.nn.Module; got {module!r}."
        )
    _check_output(name, module, input_shape, embedding_dim)
    return module


def _named_factory(name: str, input_shape: tuple[int, ...]) -> EncoderFactory:
    kind, _, timm_name = name.partition(":")
    if name not in ENCODERS and not (kind == "pretrained" and timm_name):
        raise ValueError(
            f"Unknown encoder {name!r}. Use one of {['auto', *ENCODERS]}, "
            "'pretrained:<timm name>', or a torch.nn.Module class or factory."
        )
    rank = _RANKS.get(kind, 2)
    if rank is not None and len(input_shape) != rank:
        raise ValueError(
            f"Encoder {name!r} reads {_FORMS[rank]}; got the shape "
            f"{_with_samples(input_shape)}."
        )
    return partial(PretrainedEncoder, timm_name) if timm_name else ENCODERS[name]


def _with_samples(input_shape: tuple[int, ...]) -> str:
    return f"(n_samples, {', '.join(map(str, input_shape))})"


def _factory_params(
    name: str, factory: EncoderFactory, common: dict[str, Any], params: dict[str, Any]
) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    valid = [key for key in parameters if key not in ("input_shape", "embedding_dim")]
    unknown = [key for key in params if key not in valid]
    if unknown and not takes_any:
        raise ValueError(
            f"Unknown encoder_params {unknown} for the encoder {name!r}; valid names "
            f"are {valid}."
        )
    return {k: v for k, v in common.items() if k in parameters} | params


def _check_output(
    name: str, module: nn.Module, input_shape: tuple[int, ...], embedding_dim: int
) -> None:
    if torch.get_default_device().type == "meta":
        return  # the caller needs only the shapes of the weights
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            output = module(torch.zeros(2, *input_shape))
    except RuntimeError as error:
        raise ValueError(
            f"Encoder {name!r} cannot read the shape {(2, *input_shape)}: {error}"
        ) from error
    module.train(training)
    if getattr(output, "shape", None) != (2, embedding_dim):
        raise ValueError(
            f"Encoder {name!r} must map (B, {', '.join(map(str, input_shape))}) to "
            f"(B, {embedding_dim}); for B = 2 it returned "
            f"{tuple(getattr(output, 'shape', ())) or type(output).__name__}."
        )
