"""Conversion of names, parameters and tables to JSON: values, never code."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["Unreadable", "need", "pack", "unpack"]


class Unreadable(Exception):
    """Error for a corrupt model description; the message says where."""


def need(condition: Any, what: str) -> None:
    """Raise `Unreadable` unless a condition holds."""
    if not condition:
        raise Unreadable(f"{what} is wrong or absent")


DATES: dict[str, Callable[[str], Any]] = {
    "timestamp": pd.Timestamp,
    "datetime": datetime.fromisoformat,
    "datetime64": np.datetime64,
}


def pack(value: Any) -> Any:
    """Return a value as JSON; types that JSON lacks become ``{kind: ...}``."""
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list):
        return [pack(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [pack(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[pack(key), pack(item)] for key, item in value.items()]}
    if isinstance(value, slice):
        return {"slice": [pack(end) for end in (value.start, value.stop, value.step)]}
    if isinstance(value, datetime):
        kind = "timestamp" if isinstance(value, pd.Timestamp) else "datetime"
        return {kind: value.isoformat()}
    if isinstance(value, np.datetime64):
        return {"datetime64": str(value)}
    if isinstance(value, pd.Index | pd.Series):
        value = value.to_numpy()
    if isinstance(value, np.ndarray):
        kind = value.dtype.kind
        items = value.astype(str) if kind == "M" else value
        if kind in "biufMUO":
            return {"array": [pack(items.tolist()), value.dtype.str]}
    raise TypeError(
        f"Cannot save {value!r} in a file without code. Use numbers, strings, dates, "
        "or lists, dicts and arrays of these."
    )


def unpack(value: Any) -> Any:
    """Return the original of a packed value; raise TypeError or ValueError."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(unpack(item) for item in content)
    if kind == "dict":
        return {unpack(key): unpack(item) for key, item in content}
    if kind == "slice":
        return slice(*map(unpack, content))
    if kind in DATES:
        return DATES[kind](content)
    if kind == "array":
        items, dtype = content[0], np.dtype(content[1])
        if dtype.kind not in "biufMUO":
            raise ValueError(f"an array of the type {dtype}")
        # A string dtype of the file could claim any amount of memory.
        return np.array(unpack(items), dtype=str if dtype.kind == "U" else dtype)
    raise ValueError(f"a value of the unknown kind {kind!r}")
