"""Reading any form of X: the schema of fit, and how prediction matches it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from sklearn_colearn.layout import read_layout
from sklearn_colearn.modality_dict import (
    FLOAT32_MAX,
    AxisLabels,
    ModalityDict,
    Values,
    as_array,
    as_frame,
    equal_to,
    is_data_array,
    is_frame,
    is_named,
    listed,
    read_named,
    rows_first,
    sentinels_of,
)
from sklearn_colearn.plain_values import need, pack, unpack

__all__ = [
    "Array",
    "Entry",
    "Schema",
    "label_index",
    "match_steps",
    "numeric_values",
    "places_of",
    "present_rows",
    "rows_text",
]

Array = np.ndarray[Any, Any]

#: Maximum size of a row: an image of 2,000 x 2,000 pixels with four bands.
LARGEST_ROW = 2**24
#: Tolerance of dates, in days: some metadata are rounded to seconds.
MINUTE = 1 / 1440


# -- labels --------------------------------------------------------------------------


def label_index(labels: Any) -> tuple[str, pd.Index[Any]]:
    """Return the kind of labels and a comparable index, with dates as days."""
    index = pd.Index(labels, tupleize_cols=False)
    if pd.api.types.is_numeric_dtype(index.dtype):
        if index.dtype.kind != "i" or index.min() < 10**15:
            return "numbers", index.astype(np.float64)
        index = index.astype("datetime64[ns]")  # tolist() made them integers
    try:
        dates = pd.to_datetime(
            index if isinstance(index, pd.DatetimeIndex) else index.astype(str),
            format="ISO8601",
            utc=True,
        )
    except ValueError:
        return "names", index
    since_1970 = dates.as_unit("us") - pd.Timestamp(0, tz="UTC")
    return "dates", since_1970 / pd.Timedelta(days=1)


def places_of(wanted: pd.Index[Any], came: pd.Index[Any], tolerance: float = 0) -> Any:
    """Return the places of wanted labels, or None if any is absent or ambiguous."""
    if wanted.equals(came):
        return slice(None)  # no copy
    if not (wanted.is_unique and came.is_unique):
        return None
    found = came.get_indexer(wanted)
    if tolerance and (found < 0).any():
        order = came.argsort()[: int(np.sum(came.notna()))]
        near = came[order].get_indexer(wanted, method="nearest", tolerance=tolerance)
        found = np.where(near < 0, -1, order[near])
    known = set(found.tolist()) - {-1}
    return found if len(known) == len(wanted) else None


def match_steps(
    modality: str, came: Any, fitted: Any, source: str = "fit"
) -> tuple[Any, bool]:
    """Return the places of the fitted steps in `came`, and whether to warn.

    Labels of another year are matched by position. So are labels of another kind, or
    without fitted labels; then warn if they do not increase. Raise ValueError if a
    fitted label is at another step, or the steps are reversed.
    """
    kind, now = label_index(came)
    known, wanted = (None, now) if fitted is None else label_index(fitted)
    if kind != known:
        # Names have no order.
        return slice(None), kind != "names" and not now.is_monotonic_increasing
    places = places_of(wanted, now, MINUTE if kind == "dates" else 0)
    if places is not None:
        return places, False
    if len(now) == len(wanted):
        # New labels must not be fitted labels of other steps, nor reverse the order.
        wrong = np.asarray(((now != wanted) & now.isin(wanted)) | now.isna())
        if kind != "names":
            wrong[1:] |= np.sign(np.diff(now)) * np.sign(np.diff(wanted)) < 0
        if wrong.any():
            step = int(np.argmax(wrong))
            raise ValueError(
                f"The steps of modality {modality!r} contradict {source}: step {step} "
                f"is {came[step]} instead of {fitted[step]}. Order them as in "
                f"{source}, or drop their labels to match by position."
            )
    return slice(None), False


# -- what fit saw --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Entry:
    """Fitted shape and labels of a modality or its times."""

    name: str
    shape: tuple[int, ...]  # of a row, such as (n_timesteps, n_bands)
    columns: tuple[Any, ...] | None = None  # of its frame
    labels: AxisLabels | None = None  # as ModalityDict.labels
    dims: tuple[Hashable, ...] | None = None  # as ModalityDict.dims
    places: Array | None = None  # of its columns in a flat X

    @property
    def size(self) -> int:
        """Number of columns in a flat X."""
        return math.prod(self.shape)

    @property
    def axes(self) -> AxisLabels:
        """Labels of each axis of a row, which may be columns."""
        if self.labels is not None:
            return self.labels
        return (self.columns,) if len(self.shape) == 1 else (None,) * len(self.shape)

    @property
    def bands(self) -> tuple[Hashable, ...] | None:
        """Band names, if known."""
        return self.axes[-1]

    @property
    def source(self) -> str:
        """Origin of the entry, for messages."""
        return "fit"

    @property
    def saw(self) -> str:
        """Subject and verb for messages."""
        return "fit saw"

    def read(
        self,
        value: Values,
        labels: AxisLabels | None = None,
        dims: tuple[Hashable, ...] | None = None,
    ) -> Values:
        """Reorder a value as in fit, by labels if both sides have them.

        Raise ValueError if its shape or labels differ from fit.
        """
        if is_frame(value):
            value = self._by_columns(value)
        elif dims is not None and self.dims is not None:
            value, labels = self._by_dims(value, labels, dims)
        if labels is not None and len(labels) == len(self.shape):
            value = self._by_labels(value, labels)
        return self._shaped(value)

    def _by_columns(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = self.columns
        if columns is None:
            # Band names may come from xarray; frames without them match by position.
            columns = self.bands if len(self.shape) == 1 else None
            if columns is None or not set(columns) <= set(frame.columns):
                return frame
        if absent := [name for name in columns if name not in frame.columns]:
            raise self.lacks(absent)
        return frame[list(columns)]

    def lacks(self, columns: list[Any]) -> ValueError:
        """Return the error for missing columns."""
        return ValueError(
            f"Modality {self.name!r} lacks the columns {columns}, which {self.saw}."
        )

    def _by_dims(self, value: Values, labels: Any, dims: Any) -> tuple[Values, Any]:
        assert self.dims is not None
        if set(dims) == set(self.dims) and dims[0] == self.dims[0]:
            order = [dims.index(dim) for dim in self.dims]
            labels = labels and tuple(labels[i - 1] for i in order[1:])
            return value.transpose(order), labels
        if any(d in self.dims and self.dims.index(d) != i for i, d in enumerate(dims)):
            raise ValueError(
                f"Modality {self.name!r} has the dimensions {list(dims)}, but "
                f"{self.saw} {list(self.dims)}."
            )
        return value, labels

    def _by_labels(self, value: Values, labels: AxisLabels) -> Values:
        for axis, (now, before) in enumerate(zip(labels, self.axes, strict=True)):
            if now is None or now == before:
                continue
            places: Any = slice(None)
            if axis < len(self.shape) - 1:
                places, unsure = match_steps(self.name, now, before, self.source)
                if unsure and len(self.shape) == 2:
                    warnings.warn(
                        f"The steps of modality {self.name!r} do not increase, and "
                        f"{self.saw} no comparable labels. Steps are matched by "
                        "position.",
                        UserWarning,
                        stacklevel=2,
                    )
            elif before is not None:
                places = places_of(pd.Index(before), pd.Index(now))
                if places is None:
                    raise ValueError(
                        f"Modality {self.name!r} has the bands {_first(now)}, but "
                        f"{self.saw} {_first(before)}{_contradiction(now, before)}."
                    )
            if not isinstance(places, slice):
                value = np.take(value, places, axis=axis + 1)
        return value

    def _shaped(self, value: Values) -> Values:
        """Check the shape; unflatten the columns of a time series."""
        came = tuple(value.shape[1:])
        if came == self.shape:
            return value
        if self.places is not None and came == (self.size,):
            return as_array(value).reshape(len(value), *self.shape)
        if tuple(value.shape) == self.shape:
            raise ValueError(_one_sample(self.shape, self.name))
        what = {1: "features", 2: "time steps and bands"}.get(len(self.shape), "axes")
        raise ValueError(
            f"Modality {self.name!r} has shape {_n(came)}, but {self.saw} "
            f"{_n(self.shape)}. The {what} must be the same."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `from_dict`."""
        packed = {part.name: pack(getattr(self, part.name)) for part in fields(self)}
        return {**packed, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Entry:
        """Check plain values and make an entry."""
        shape, name = tuple(given["shape"]), str(given["name"])
        whole = all(type(size) is int and size > 0 for size in shape)
        fits = shape and whole and math.prod(shape) <= LARGEST_ROW
        need(fits, f"the shape of {name!r}")
        parts = ("columns", "labels", "dims", "places")
        columns, labels, dims, places = (unpack(given[part]) for part in parts)
        need(isinstance(columns, tuple | None), f"the columns of {name!r}")
        need(isinstance(dims, tuple | None), f"the dimensions of {name!r}")
        fits = isinstance(labels, tuple) and len(labels) == len(shape)
        need(labels is None or fits, f"the labels of {name!r}")
        if places is not None:
            fits = places.shape == (math.prod(shape),) and places.dtype.kind == "i"
            need(fits, f"the place of {name!r}")
        return cls(name, shape, columns, labels, dims, places)


@dataclass(frozen=True, eq=False)
class Schema:
    """Form of the X of `fit`."""

    entries: dict[str, Entry] = field(default_factory=dict)
    times: tuple[str, ...] = ()  # entries that hold the times of each row
    sample_dim: Hashable = None  # of xarray objects
    dropped: tuple[str, ...] = ()  # by ModalityDict.select

    @property
    def modalities(self) -> list[str]:
        """Names of the entries that are modalities."""
        return [name for name in self.entries if name not in self.times]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Row shape of each entry."""
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def is_flat(self) -> bool:
        """Whether X may be flat."""
        return any(entry.places is not None for entry in self.entries.values())

    @classmethod
    def of(cls, X: ModalityDict, sample_dim: Hashable = None) -> Schema:
        """Describe a container of modalities."""
        entries = {
            name: Entry(
                name,
                tuple(value.shape[1:]),
                columns=tuple(value.columns) if is_frame(value) else None,
                labels=X.labels.get(name),
                dims=X.dims.get(name),
            )
            for name, value in X.items()
        }
        return cls(entries, sample_dim=sample_dim, dropped=X.dropped)

    @classmethod
    def of_layout(
        cls, layout: Mapping[str, Any], n_features: int, names: Sequence[Any] | None
    ) -> Schema:
        """Describe a flat X by ``modalities=``."""
        places = read_layout(layout, n_features, names)
        return cls(
            {
                name: Entry(name, p.shape, p.names, p.labels, places=p.columns)
                for name, p in places.items()
            }
        )

    def with_layout(self, layout: Mapping[str, Any], n_features: int) -> Schema:
        """Add the places of a flat X at prediction.

        A layout by column names is ignored: the X of fit had none.
        """
        if set(layout) != set(self.entries):
            raise ValueError(
                f"modalities= names {list(layout)}, but X contains "
                f"{list(self.entries)}."
            )
        picked = [p[0] if isinstance(p, tuple) else p for p in layout.values()]
        columns = chain(*(p for p in picked if isinstance(p, Iterable)))
        if any(isinstance(column, str) for column in columns):
            return self
        flat = Schema.of_layout(layout, n_features, None)
        if flat.shapes != self.shapes:
            raise ValueError(
                f"modalities= has the shapes {flat.shapes}, but X has {self.shapes}. "
                "Use the layout attribute of a ModalityDict."
            )
        return self._placed({name: e.places for name, e in flat.entries.items()})

    def _placed(self, places: Mapping[str, Array | None]) -> Schema:
        entries = {n: replace(e, places=places[n]) for n, e in self.entries.items()}
        return replace(self, entries=entries)

    def only(self, modality: str, times: str | None = None) -> Schema:
        """Describe one modality, possibly flat, and its times."""
        entry = self.entries[modality]
        kept = {modality: replace(entry, places=np.arange(entry.size))}
        if times is not None:
            kept[times] = self.entries[times]
        return Schema(kept, tuple(kept)[1:], self.sample_dim)

    def with_steps(self, labels: Mapping[str, Any]) -> Schema:
        """Label the steps of modalities without step labels."""
        entries = dict(self.entries)
        for name, steps in labels.items():
            entry = entries[name]
            if steps is not None and entry.axes[0] is None:
                entries[name] = replace(entry, labels=(steps, *entry.axes[1:]))
        return replace(self, entries=entries)

    def narrowed(self) -> tuple[Schema, Array]:
        """Return the schema of only the used columns, and these columns."""
        places = {name: np.asarray(e.places) for name, e in self.entries.items()}
        columns = np.unique(np.concatenate(list(places.values())))
        narrow = {name: np.searchsorted(columns, own) for name, own in places.items()}
        return self._placed(narrow), columns

    def is_like(self, other: Schema) -> bool:
        """Return whether another X has the same entries and flat places."""
        if self.shapes != other.shapes or not (self.is_flat and other.is_flat):
            return self.shapes == other.shapes
        return all(
            np.array_equal(np.asarray(e.places), np.asarray(other.entries[n].places))
            for n, e in self.entries.items()
        )

    # -- reading ---------------------------------------------------------------------

    def split(self, X: Any) -> ModalityDict:
        """Split a flat X into modalities, by default in order."""
        made, end = {}, 0
        for name, entry in self.entries.items():
            places = entry.places
            if places is None:
                places = np.arange(end, end + entry.size)
            end += entry.size
            own = X.iloc[:, places] if is_frame(X) else X[:, places]
            if len(entry.shape) > 1:
                own = np.asarray(own).reshape(len(X), *entry.shape)
            made[name] = own
        return ModalityDict(made)

    def read(
        self, X: Any, modality: str | None = None, prefer: str | None = None
    ) -> ModalityDict:
        """Read the X of a prediction: named modalities, or one bare array.

        A bare array is `modality`, else identified by shape or column names.
        """
        if is_named(X):
            return self.check(self.named(X))
        bare = self.bare(X)
        if is_frame(bare) and self.is_flat and modality is None:
            held = [m for m in self.modalities if self._holds(bare, m)]
            if len(held) > 1:  # but not all: callers split a whole flat X
                return self.check(ModalityDict(dict.fromkeys(held, bare)))
        name = self.find(bare, prefer) if modality is None else modality
        return self.check(ModalityDict({name: bare}))

    def _holds(self, frame: pd.DataFrame, modality: str) -> bool:
        """Return whether a frame has the columns of a modality; refuse a subset."""
        columns = self.entries[modality].columns or ()
        absent = [name for name in columns if name not in frame.columns]
        if self.is_flat and 0 < len(absent) < len(columns):
            raise self.entries[modality].lacks(absent)
        return bool(columns) and not absent

    def named(self, X: Any) -> ModalityDict:
        """Read an X that names its modalities."""
        if is_frame(X):
            begins = list(X.columns.get_level_values(0).unique())
            if not any(name in self.entries for name in begins):
                raise ValueError(
                    f"The first column level of X is {_first(begins)}, but fit saw the "
                    f"modalities {self.modalities}. Select a modality with "
                    "frame[[name]], which keeps its name; frame[name] drops it."
                )
        return read_named(X, self.sample_dim)

    def bare(self, X: Any) -> Any:
        """Return one array or frame with samples first."""
        if is_data_array(X):
            return rows_first({"X": X}, self.sample_dim)["X"]
        X = as_frame(X)
        return X if is_frame(X) else as_array(X)

    def check(self, X: ModalityDict) -> ModalityDict:
        """Check the entries of X and order them as in fit."""
        if not X or all(name in self.times for name in X):
            raise ValueError(
                f"X has no modalities or no rows. Pass at least one of "
                f"{self.modalities}, with at least one row."
            )
        checked = {}
        for name, value in X.items():
            if name not in self.entries:
                raise ValueError(
                    f"Unknown modality {name!r}; fit saw {self.modalities}."
                )
            checked[name] = self.entries[name].read(
                value, X.labels.get(name), X.dims.get(name)
            )
        return X.with_values(checked)

    def find(self, X: Any, prefer: str | None) -> str:
        """Identify a bare array by shape or column names; `prefer` breaks ties."""
        shape, trailing = X.shape, tuple(X.shape[1:])
        columns = list(X.columns) if is_frame(X) else []
        modalities = [self.entries[m] for m in self.modalities]
        held = [e for e in modalities if columns and self._holds(X, e.name)]
        exact = [e.name for e in held if set(e.columns or ()) == set(columns)]
        matches = exact or [e.name for e in held if self.is_flat]
        if not matches:
            matches = [
                e.name
                for e in modalities
                if (
                    e.shape == trailing
                    or (e.places is not None and (e.size,) == trailing)
                )
                and not self._of_others(e.name, columns)
            ]
        if prefer in matches:
            return str(prefer)
        if len(matches) == 1:
            return matches[0]
        own = [e.name for e in modalities if e.shape == shape]
        if own and not matches:
            raise ValueError(_one_sample(shape, *own))
        seen = ", ".join(f"{e.name!r}: {_n(e.shape)}" for e in modalities)
        if X.ndim < 2:
            came = f"shape {shape}" if X.ndim else repr(X.item())
            raise ValueError(
                f"X must have samples along its first axis, got {came}; fit saw "
                f"{seen}. Pass several modalities as a dict {{name: array}}."
            )
        came = f"shape {_n(trailing)}"
        if matches:
            raise ValueError(
                f"X of {came} matches several modalities: {matches}. Choose one with "
                "modality=, or pass {name: array}."
            )
        if self._of_others(None, columns):
            came = f"the columns {_first(columns)}"
            seen = ", ".join(
                f"{e.name!r}: {_first(e.columns) if e.columns else _n(e.shape)}"
                for e in modalities
            )
        raise ValueError(
            f"X of {came} matches none of the modalities of fit ({seen}). Pass several "
            "modalities as a dict {name: array}."
        )

    def _of_others(self, modality: str | None, columns: Iterable[Any]) -> bool:
        """Return whether some of the columns belong to other modalities."""
        others = [self.entries[m].columns for m in self.modalities if m != modality]
        return not set(columns).isdisjoint(chain(*filter(None, others)))


def _one_sample(shape: tuple[int, ...], *modalities: str) -> str:
    return (
        f"X of shape {shape} is one sample of modality "
        f"{' or '.join(map(repr, modalities))}, without a sample axis. Pass array[:1] "
        "instead of array[0]."
    )


def _contradiction(now: Sequence[Any], before: Sequence[Any]) -> str:
    for place, (one, other) in enumerate(zip(now, before, strict=False)):
        if one != other:
            return f"; band {place} is {one!r} instead of {other!r}"
    return ""


def _first(names: Iterable[Any], limit: int = 10) -> str:
    names = list(names)
    shown = ", ".join(map(repr, names[:limit]))
    return f"[{shown}{', ...' if len(names) > limit else ''}]"


def _n(trailing: Iterable[int]) -> str:
    return f"({', '.join(['n', *map(str, trailing)])})"


# -- values --------------------------------------------------------------------------


def numeric_values(modality: str, values: Values, missing_value: Any) -> Array:
    """Return a modality as float32 or float64, with NaN for missing values.

    Raise ValueError if values are not numbers, or exceed the range of float32.
    """
    array = values.to_numpy() if is_frame(values) else values
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: modality {modality!r}.")
    if array.dtype.kind == "M":
        raise ValueError(
            f"Modality {modality!r} contains dates ({array.dtype}), not numbers. If "
            "they are the times of another modality, pass "
            f"times={{name: {modality!r}}}."
        )
    if array.dtype.kind not in "biuf":
        columns = values.columns if is_frame(values) else None
        array = _to_float(modality, array, columns)
    missing: Any = False
    for number in sentinels_of(missing_value):
        missing = missing | equal_to(array, number)
    some_missing = bool(np.any(missing))
    # float32 represents small types exactly; others stay float64 until scaled.
    small = array.dtype == np.float32 or array.dtype.itemsize <= 2
    array = array.astype(np.float32 if small else np.float64, copy=some_missing)
    if some_missing:
        array[missing] = np.nan
    # fmin and fmax ignore NaN and allocate nothing.
    extremes = [ufunc.reduce(array, axis=None) for ufunc in (np.fmin, np.fmax)]
    if np.abs(extremes).max() > FLOAT32_MAX:
        too_large = np.abs(array) > FLOAT32_MAX
        rows = np.flatnonzero(too_large.reshape(len(array), -1).any(axis=1))
        raise ValueError(
            f"Modality {modality!r} contains infinity in {rows_text(rows)}. Mark "
            "missing values as NaN, or set missing_value=."
        )
    return np.asarray(array)


def _to_float(modality: str, array: Any, columns: Any) -> Array:
    if array.dtype == object:  # may hold None and pd.NA
        array = np.where(pd.isna(array), np.nan, array)
    # numpy would convert dates to numbers; pandas refuses.
    table = pd.DataFrame(array.reshape(len(array), -1), columns=columns)
    made = np.empty(table.shape)
    for place, (name, column) in enumerate(table.items()):
        try:
            made[:, place] = column.astype(np.float64)
        except (TypeError, ValueError) as error:
            where = "" if columns is None else f" in column {name!r}"
            raise ValueError(
                f"Modality {modality!r} ({array.dtype}) contains values that are not "
                f"numbers{where} ({error}). Encode categories first, for example with "
                "sklearn.preprocessing.OneHotEncoder."
            ) from error
    return made.reshape(array.shape)


def present_rows(array: Array) -> Array:
    """Return which rows of a modality have any value, as bool (n_samples,)."""
    axes = tuple(range(1, array.ndim))
    return np.asarray(~np.isnan(array).all(axis=axes))


def rows_text(rows: Iterable[int], limit: int = 10) -> str:
    """Format rows for a message: ``row 3`` or ``rows 0, 1, 2 (and 7 more)``."""
    return listed("row", [*map(int, rows)], limit)
