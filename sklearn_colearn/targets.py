"""Targets: which rows have a label, and matching what is given beside X by its ids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from sklearn_colearn.inputs import Array, rows_text
from sklearn_colearn.modality_dict import is_data_array, is_frame

__all__ = ["as_labels", "labelled_part", "labelled_rows", "matched", "matched_beside"]


def matched(values: Any, ids: Any, name: str = "y") -> Any:
    """Bring a target, weights or groups into the order of the rows of X, by labels.

    The index of a frame and the coordinate of a DataArray's first dimension are labels,
    unless they count from 0. Values stay as they are where only one side has labels or
    the lengths differ; labels that are not those of X are refused.
    """
    labels = _row_labels(values)
    if ids is None or labels is None or len(labels) != len(ids):
        return values
    # Tuples stay tuples, so that both sides are of one kind.
    own, wanted = (pd.Index(of, tupleize_cols=False) for of in (labels, ids))
    if own.equals(wanted) or own.tolist() == wanted.tolist():
        return values
    if _counts(own) or (isinstance(ids, pd.RangeIndex) and _counts(wanted)):
        # It labels no row, but shows when the other was shuffled.
        if not set(own) == set(wanted) == set(range(len(own))):
            return values
        what = f"either X or {name} was shuffled and numbered anew"
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
        f"{what}. Match them by {name}.reindex(X.ids), or by position with "
        f"{name}.to_numpy()."
    )


def matched_beside(
    values: Any, ids: Any, moved: bool, name: str = "sample_weight"
) -> Any:
    """Bring weights or groups into the order of the rows of X, as `matched` did with y.

    Raises
    ------
    ValueError
        If their labels are not those of X, or they have none although y was `moved`.
    """
    labels = _row_labels(values)
    if moved and values is not None and (labels is None or _counts(labels)):
        raise ValueError(
            f"y was brought into the order of X by its labels; {name} needs labels "
            "too, as a Series with the index of y."
        )
    return matched(values, ids, name)


def _counts(labels: Any) -> bool:
    """Whether labels merely count the rows from 0."""
    return pd.Index(labels, tupleize_cols=False).equals(pd.RangeIndex(len(labels)))


def _row_labels(values: Any) -> Array | None:
    if is_data_array(values):
        dim = values.dims[0] if values.ndim else None
        return values.indexes[dim].to_numpy() if dim in values.indexes else None
    labelled = is_frame(values) or isinstance(values, pd.Series)
    return values.index.to_numpy() if labelled else None


def as_labels(y: Any) -> Any:
    """Return class labels as integers and None where missing ones made them floats."""
    values = _as_values(y)
    missing = pd.isna(values)
    there = values[~missing]
    if not missing.any() or not all(isinstance(v, float | np.floating) for v in there):
        return y
    floats = there.astype(np.float64)
    # Beyond 2**53, floats skip integers.
    if not ((floats == np.floor(floats)) & (abs(floats) <= 2**53)).all():
        return y
    labels = np.full(values.shape, None, dtype=object)
    labels[~missing] = floats.astype(np.int64)
    return labels


def labelled_rows(y: Any, unlabeled: Any = None) -> Array:
    """Tell which rows of a target have a label: bool of shape (n_samples,).

    None, NaN, ``pandas.NA`` and `unlabeled` mark the others. A row that lacks some of
    several targets is refused.
    """
    values = _as_values(y)
    missing = np.asarray(pd.isna(values)).astype(bool)
    if unlabeled is not None:
        # Only there: pandas.NA cannot be compared.
        there = ~missing
        missing[there] = values.astype(object)[there] == unlabeled
    if missing.ndim < 2:
        return np.atleast_1d(~missing)
    missing = missing.reshape(len(missing), -1)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        raise ValueError(
            "y lacks some of its columns, but not all, in "
            f"{rows_text(np.flatnonzero(partly))}. A row needs all of them, "
            "or none to be unlabelled."
        )
    return ~missing[:, 0]


def _as_values(y: Any) -> Array:
    """Return a target as an array, of objects if it holds None."""
    if isinstance(y, torch.Tensor):
        raise TypeError("y is a torch tensor; pass y.numpy() (y.cpu().numpy()).")
    if isinstance(y, list | tuple) and any(isinstance(v, torch.Tensor) for v in y):
        raise TypeError("y holds torch tensors; pass torch.stack(y).numpy().")
    values = np.asarray(y, dtype=None if hasattr(y, "__array__") else object)
    kind = str(values.dtype)
    if values.dtype == object:
        kind = pd.api.types.infer_dtype(values.ravel(), skipna=True)
        for value in values.flat:
            if isinstance(value, list | tuple | set | np.ndarray):
                raise ValueError(
                    f"y is ragged: {value!r}. Expected shape (n_samples,) or "
                    "(n_samples, n_outputs); see MultiLabelBinarizer for sets."
                )
    if kind.startswith(("date", "timedelta", "period")):
        raise ValueError(
            f"y holds dates ({kind}); expected labels or numbers, as y.dt.dayofyear."
        )
    return values


def labelled_part(y: Any, rows: Array) -> Any:
    """Return labelled rows of a target, of the type that they have by themselves."""
    if rows.dtype == bool and rows.all():
        return y
    kept = np.asarray(y)[rows]
    if kept.dtype != object:
        return kept
    # Without the None among them, numbers are numbers again.
    inferred = pd.DataFrame(kept.reshape(len(kept), -1)).infer_objects().to_numpy()
    return inferred.reshape(kept.shape)
