"""Which rows of a target have a label: what is missing in y, and what stands for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sklearn_colearn.schema import rows_text

__all__ = ["labelled_part", "labelled_rows"]

Array = np.ndarray[Any, Any]


def labelled_rows(y: Any, unlabeled: Any = None) -> Array:
    """Tell which rows of a target have a label.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The target. None, NaN and ``pandas.NA`` are no labels.
    unlabeled : scalar, default=None
        A value that is no label either.

    Returns
    -------
    ndarray of shape (n_samples,), bool

    Raises
    ------
    ValueError
        If a row of several targets has some of them only.
    """
    values = y if hasattr(y, "__array__") else np.asarray(y, dtype=object)
    missing = np.asarray(pd.isna(values)).astype(bool)
    if unlabeled is not None:
        # Only there: pandas.NA cannot be compared.
        there = ~missing
        objects = np.asarray(values, dtype=object)
        missing[there] = objects[there] == unlabeled
    if missing.ndim < 2:
        return np.atleast_1d(~missing)
    missing = missing.reshape(len(missing), -1)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        raise ValueError(
            "y lacks some of its columns, but not all, in "
            f"{rows_text(np.flatnonzero(partly))}. A row has a value in every column, "
            "or in none, which makes it unlabelled."
        )
    return ~missing[:, 0]


def labelled_part(y: Any, rows: Array) -> Any:
    """Return labelled rows of a target, of the type that they have by themselves.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The target.
    rows : ndarray of bool or int
        Rows that have a label. Where a mask names all of them, `y` is returned.
    """
    if rows.dtype == bool and rows.all():
        return y
    kept = np.asarray(y)[rows]
    if kept.dtype != object:
        return kept
    # Without the None among them, numbers are numbers again.
    inferred = pd.DataFrame(kept.reshape(len(kept), -1)).infer_objects().to_numpy()
    return inferred.reshape(kept.shape)
