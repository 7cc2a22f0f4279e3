"""Content of fitted models that determines their predictions, for hashing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from sklearn_colearn.prediction import Predictor

__all__ = ["contents"]

#: Fields of `HeldOut` that are computed from the others on request.
_CACHES = ("pools", "crosses")


def contents(value: Any) -> Any:
    """Return a fitted model as plain values that are equal for all copies.

    Unlike pickles of networks, they do not differ between copies and processes. A
    network becomes its weights, a model of this package its sensors and held-out rows,
    and a scikit-learn estimator its attributes. :func:`dask.base.tokenize` takes the
    result.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    if isinstance(value, nn.Module):
        return type(value), contents(value.state_dict())
    if isinstance(value, Predictor) and value.__sklearn_is_fitted__():
        members = value._members
        parts = (members.sensors, members.target, members.teachers, members.held_out)
        plain = (value.predict_modality, members.fusion)
        return type(value), plain, tuple(contents(part) for part in parts)
    if isinstance(value, Mapping):
        return {name: contents(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return tuple(contents(own) for own in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.name not in _CACHES]
        return type(value), {name: contents(getattr(value, name)) for name in names}
    inside = type(value).__module__.startswith("sklearn.") and hasattr(
        value, "__dict__"
    )
    if inside or isinstance(value, BaseEstimator):
        return type(value), contents(vars(value))
    return value
