"""Encoders: networks that turn one modality into an embedding.

An encoder is made by ``factory(input_shape, embedding_dim, **encoder_params)``, where
``input_shape`` is the trailing shape of the modality (``(n_features,)``,
``(n_timesteps, n_bands)``, ``(height, width, n_bands)``), and is a
:class:`torch.nn.Module` that maps a float32 batch ``(B, *input_shape)``, standardised
and with 0 where a value is missing, to ``(B, embedding_dim)``. A class of that
signature is such a factory, so is a function. A factory that has a parameter named
``dropout`` is given the estimator's.

A modality gets two encoders of the same kind, so a factory is called twice and has to
return a new module each time.

Examples
--------
A user's own encoder, the mean over time and one layer:

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
from typing import Any

import torch
from torch import nn

from sklearn_colearn.encoders.gru import GRUEncoder
from sklearn_colearn.encoders.linear import LinearEncoder
from sklearn_colearn.encoders.mlp import MLPEncoder
from sklearn_colearn.encoders.tempcnn import TempCNNEncoder

__all__ = [
    "ENCODERS",
    "GRUEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "TempCNNEncoder",
    "choose_encoder",
    "make_encoder",
]

EncoderFactory = Callable[..., nn.Module]

#: The encoders that have a name.
ENCODERS: dict[str, EncoderFactory] = {
    "linear": LinearEncoder,
    "mlp": MLPEncoder,
    "tempcnn": TempCNNEncoder,
    "gru": GRUEncoder,
}

#: Encoders that read ``(n_timesteps, n_bands)`` and nothing else.
_TIME_SERIES = ("tempcnn", "gru")


def choose_encoder(input_shape: tuple[int, ...]) -> str:
    """Return the encoder that ``"auto"`` stands for.

    Parameters
    ----------
    input_shape : tuple of int
        Trailing shape of the modality.

    Returns
    -------
    {'mlp', 'tempcnn'}
        ``'mlp'`` for a table, ``'tempcnn'`` for a time series.

    Raises
    ------
    ValueError
        If the shape is of another rank, for which there is no default.

    Examples
    --------
    >>> from sklearn_colearn.encoders import choose_encoder
    >>> choose_encoder((12, 3)), choose_encoder((8,))
    ('tempcnn', 'mlp')
    """
    if len(input_shape) == 1:
        return "mlp"
    if len(input_shape) == 2:
        return "tempcnn"
    raise ValueError(
        "encoder='auto' is for tables (n_samples, n_features) and time series "
        f"(n_samples, n_timesteps, n_bands); for the shape (n_samples, "
        f"{', '.join(map(str, input_shape))}) give an encoder: 'mlp', 'linear', or a "
        "torch.nn.Module class."
    )


def make_encoder(
    encoder: str | EncoderFactory,
    input_shape: tuple[int, ...],
    embedding_dim: int,
    *,
    dropout: float = 0.2,
    encoder_params: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Make one encoder.

    Parameters
    ----------
    encoder : {'auto', 'linear', 'mlp', 'tempcnn', 'gru'} or callable
        A name, or a class or factory as this module's text says.
    input_shape : tuple of int
        Trailing shape of the modality.
    embedding_dim : int
        Size D of the embedding.
    dropout : float, default=0.2
        Given to factories that have a parameter of this name.
    encoder_params : mapping, optional
        More arguments of the factory.

    Returns
    -------
    torch.nn.Module
        Maps ``(B, *input_shape)`` to ``(B, embedding_dim)``.

    Raises
    ------
    ValueError
        If the name is unknown, a parameter is unknown, the encoder cannot read the
        shape, or what it gives is not of shape ``(B, embedding_dim)``.
    TypeError
        If `encoder` is a module instead of a class or factory, or makes no module.

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
        if name not in ENCODERS:
            raise ValueError(
                f"Unknown encoder {encoder!r}; valid names are "
                f"{['auto', *ENCODERS]}, or give a torch.nn.Module class or factory."
            )
        if name in _TIME_SERIES and len(input_shape) != 2:
            raise ValueError(
                f"Encoder {name!r} reads time series (n_samples, n_timesteps, n_bands);"
                f" the modality has the shape (n_samples, "
                f"{', '.join(map(str, input_shape))})."
            )
        factory = ENCODERS[name]
    elif isinstance(encoder, nn.Module) or not callable(encoder):
        raise TypeError(
            "An encoder is a name, or a class or factory that makes a torch.nn.Module "
            f"(a modality needs two of them); got {encoder!r}."
        )
    else:
        name, factory = getattr(encoder, "__name__", repr(encoder)), encoder
    params = _factory_params(name, factory, dropout, dict(encoder_params or {}))
    module = factory(input_shape, embedding_dim, **params)
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"Encoder {name!r} has to make a torch.nn.Module; it made {module!r}."
        )
    _check_output(name, module, input_shape, embedding_dim)
    return module


def _factory_params(
    name: str, factory: EncoderFactory, dropout: float, params: dict[str, Any]
) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    valid = [key for key in parameters if key not in ("input_shape", "embedding_dim")]
    unknown = [key for key in params if key not in valid]
    if unknown and not takes_any:
        raise ValueError(
            f"Unknown encoder_params {unknown} for the encoder {name!r}; valid are "
            f"{valid}."
        )
    return {"dropout": dropout, **params} if "dropout" in parameters else params


def _check_output(
    name: str, module: nn.Module, input_shape: tuple[int, ...], embedding_dim: int
) -> None:
    training = module.training
    module.eval()
    with torch.no_grad():
        try:
            output = module(torch.zeros(2, *input_shape))
        except RuntimeError as error:
            raise ValueError(
                f"Encoder {name!r} cannot read a batch of shape "
                f"{(2, *input_shape)}: {error}"
            ) from error
    module.train(training)
    if getattr(output, "shape", None) != (2, embedding_dim):
        raise ValueError(
            f"Encoder {name!r} has to map (B, {', '.join(map(str, input_shape))}) to "
            f"(B, {embedding_dim}); for B = 2 it gave "
            f"{tuple(getattr(output, 'shape', ())) or type(output).__name__}."
        )
