"""Targets: find labelled rows, and match y, weights and groups to X by row labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from sklearn_colearn.inputs import Array, rows_text
from sklearn_colearn.modality_dict import is_data_array, is_frame

__all__ = ["as_labels", "labelled_part", "labelled_rows", "matched", "matched_beside"]


def matched(values: Any, ids: Any, name: str = "y") -> Any:
    """Reorder a target, weights or groups to the rows of X by their labels.

    Labels are the index of a frame or Series, or the coordinate of a DataArray's first
    dimension, unless they count from 0. Values are returned as they are if only one
    side has labels or the lengths differ; other labels raise ValueError.
    """
    labels = _row_labels(values)
    if ids is None or labels is None or len(labels) != len(ids):
        return values
    # Tuples stay tuples, so that both sides have the same type.
    own, wanted = (pd.Index(of, tupleize_cols=False) for of in (labels, ids))
    if own.equals(wanted) or own.tolist() == wanted.tolist():
        return values
    if _is_default(own) or (isinstance(ids, pd.RangeIndex) and _is_default(wanted)):
        # A default index labels no row, but shows that the other side was shuffled.
        if not set(own) == set(wanted) == set(range(len(own))):
            return values
        what = f"either X or {name} was shuffled and renumbered"
    elif own.is_unique and wanted.is_unique:
        rows = own.get_indexer(wanted)
        if (rows >= 0).all():
            if is_data_array(values):
                return values.isel({values.dims[0]: rows})
            return values.iloc[rows]
        lacking = wanted[rows < 0].tolist()
        what = f"{name} lacks {len(lacking)} ids of X, such as {lacking[0]!r}"
    else:
        what = f"ids repeat in {'X' if own.is_unique else name}"
    first = next(i for i, (a, b) in enumerate(zip(wanted, own, strict=True)) if a != b)
    raise ValueError(
        f"The rows of X and {name} have different ids: row {first} is "
        f"{wanted.tolist()[first]!r} in X and {own.tolist()[first]!r} in {name}, and "
        f"{what}. Match them by id with {name}.reindex(X.ids), or by position with "
        f"{name}.to_numpy()."
    )


def matched_beside(
    values: Any, ids: Any, moved: bool, name: str = "sample_weight"
) -> Any:
    """Reorder weights or groups to the rows of X, as `matched` does with y.

    Raise ValueError if their labels are missing although y was reordered (`moved`).
    """
    labels = _row_labels(values)
    if moved and values is not None and (labels is None or _is_default(labels)):
        raise ValueError(
            f"y was reordered to X by its labels, so {name} must have labels too. Pass "
            "a Series with the index of y."
        )
    return matched(values, ids, name)


def _is_default(labels: Any) -> bool:
    """Tell whether labels merely count the rows from 0."""
    return pd.Index(labels, tupleize_cols=False).equals(pd.RangeIndex(len(labels)))


def _row_labels(values: Any) -> Array | None:
    if is_data_array(values):
        dim = values.dims[0] if values.ndim else None
        return values.indexes[dim].to_numpy() if dim in values.indexes else None
    labelled = is_frame(values) or isinstance(values, pd.Series)
    return values.index.to_numpy() if labelled else None


def as_labels(y: Any) -> Any:
    """Return integer labels and None for a float y of integers and missing values."""
    values = _as_values(y)
    missing = pd.isna(values)
    there = values[~missing]
    if not missing.any() or not all(isinstance(v, float | np.floating) for v in there):
        return y
    floats = there.astype(np.float64)
    # Above 2**53, not every integer is a float.
    if not ((floats == np.floor(floats)) & (abs(floats) <= 2**53)).all():
        return y
    labels = np.full(values.shape, None, dtype=object)
    labels[~missing] = floats.astype(np.int64)
    return labels


def labelled_rows(y: Any, unlabeled: Any = None) -> Array:
    """Return which rows of a target have a label, bool of shape (n_samples,).

    None, NaN, ``pandas.NA`` and `unlabeled` mark unlabelled rows. Raise ValueError if a
    row lacks some, but not all, of several targets.
    """
    values = _as_values(y)
    missing = np.asarray(pd.isna(values)).astype(bool)
    if unlabeled is not None:
        # pandas.NA cannot be compared.
        there = ~missing
        missing[there] = values.astype(object)[there] == unlabeled
    if missing.ndim < 2:
        return np.atleast_1d(~missing)
    missing = missing.reshape(len(missing), -1)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        raise ValueError(
            "y is missing in some columns, but not all, in "
            f"{rows_text(np.flatnonzero(partly))}. A row must have values in all "
            "columns, or in none if it is unlabelled."
        )
    return ~missing[:, 0]


def _as_values(y: Any) -> Array:
    """Return a target as an array."""
    if isinstance(y, torch.Tensor):
        raise TypeError("y is a torch tensor; pass y.numpy() (y.cpu().numpy()).")
    if isinstance(y, list | tuple) and any(isinstance(v, torch.Tensor) for v in y):
        raise TypeError("y contains torch tensors; pass torch.stack(y).numpy().")
    values = np.asarray(y, dtype=None if hasattr(y, "__array__") else object)
    kind = str(values.dtype)
    if values.dtype == object:
        kind = pd.api.types.infer_dtype(values.ravel(), skipna=True)
        for value in values.flat:
            if isinstance(value, list | tuple | set | np.ndarray):
                raise ValueError(
                    f"y is ragged: {value!r}. Expected shape (n_samples,) or "
                    "(n_samples, n_outputs); use MultiLabelBinarizer for sets."
                )
    if kind.startswith(("date", "timedelta", "period")):
        raise ValueError(
            f"y contains dates ({kind}); expected labels or numbers, such as "
            "y.dt.dayofyear."
        )
    return values


def labelled_part(y: Any, rows: Array) -> Any:
    """Return labelled rows of a target, with the dtype inferred from them alone."""
    if rows.dtype == bool and rows.all():
        return y
    kept = np.asarray(y)[rows]
    if kept.dtype != object:
        return kept
    # Without None, objects may become numbers again.
    inferred = pd.DataFrame(kept.reshape(len(kept), -1)).infer_objects().to_numpy()
    return inferred.reshape(kept.shape)
