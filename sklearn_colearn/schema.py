"""What fit saw of ``X``, and reading and checking what comes at prediction."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from sklearn_colearn.modalities import (
    ModalityDict,
    Values,
    as_array,
    is_data_array,
    is_frame,
    is_named,
    read_named,
    rows_first,
)

__all__ = ["Schema", "equal_to", "numeric_values", "present_rows", "rows_text"]

#: The largest number that the networks can take.
FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Schema:
    """What fit saw of the modalities: their shapes, names and places.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        The trailing shape of each modality: ``(n_timesteps, n_bands)``, say.
    names : dict of str to tuple of str, or None
        The column names of the modalities that came as frames.
    columns : dict of str to array of int, or None
        Where each modality sits in a flat ``X``; None where `X` names its modalities.
    labels : dict of str to tuple
        Names of the axes' entries, as :attr:`ModalityDict.labels`.
    dims : dict of str to tuple
        Names of the dimensions, as :attr:`ModalityDict.dims`.
    sample_dim : hashable
        The dimension that counts the samples, where xarray gave `X`.
    times : tuple of str
        Those of the above that are no modality, but hold the times of each row.
    """

    shapes: dict[str, tuple[int, ...]]
    names: dict[str, tuple[Any, ...] | None]
    columns: dict[str, np.ndarray[Any, Any]] | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, tuple[Hashable, ...]] = field(default_factory=dict)
    sample_dim: Hashable = None
    times: tuple[str, ...] = ()

    @property
    def modalities(self) -> list[str]:
        """The names of the modalities, in order."""
        return [name for name in self.shapes if name not in self.times]

    @classmethod
    def of(cls, X: ModalityDict, sample_dim: Hashable = None) -> Schema:
        """Describe a container of named modalities."""
        return cls(
            shapes={name: tuple(value.shape[1:]) for name, value in X.items()},
            names={
                name: tuple(value.columns) if is_frame(value) else None
                for name, value in X.items()
            },
            labels=dict(X.labels),
            dims=dict(X.dims),
            sample_dim=sample_dim,
        )

    def with_layout(self, layout: Mapping[str, Any], n_features: int) -> Schema:
        """Say where the modalities sit in a flat form that may come at prediction.

        `layout` is what the user gave as ``modalities=`` beside an X that names its
        modalities. Column names are of a flat frame and say nothing here.
        """
        if set(layout) != set(self.shapes):
            raise ValueError(
                f"modalities= names {list(layout)}, but X holds {list(self.shapes)}."
            )
        picked = [_split_place(m, place)[0] for m, place in layout.items()]
        if any(
            isinstance(column, str)
            for columns in picked
            if isinstance(columns, Iterable)
            for column in columns
        ):
            return self
        flat = Schema.of_layout(layout, n_features, None)
        if flat.shapes != self.shapes:
            raise ValueError(
                f"modalities= gives the shapes {flat.shapes}, but X has {self.shapes}; "
                "X.layout of a ModalityDict has the right form."
            )
        return replace(self, columns=flat.columns)

    @classmethod
    def of_layout(
        cls, layout: Mapping[str, Any], n_features: int, names: Sequence[Any] | None
    ) -> Schema:
        """Describe a flat ``X`` by what the user gave as ``modalities=``."""
        if not layout:
            raise ValueError(
                "modalities= is empty; it says which columns are whose, as "
                "{'S1': slice(0, 24), 'soil': ['clay', 'sand']}."
            )
        shapes, columns = {}, {}
        for modality, place in layout.items():
            picked, shape = _split_place(modality, place)
            columns[modality] = _positions(modality, picked, n_features, names)
            shapes[modality] = shape or (len(columns[modality]),)
            needed = int(np.prod(shapes[modality]))
            if needed != len(columns[modality]):
                raise ValueError(
                    f"modalities[{modality!r}] gives {len(columns[modality])} columns "
                    f"for the shape {shape}, which needs {needed}."
                )
        _check_disjoint(columns, names)
        return cls(
            shapes=shapes,
            names={
                modality: None if names is None else tuple(names[i] for i in place)
                for modality, place in columns.items()
            },
            columns=columns,
        )

    def only(self, modality: str, entry: str | None = None) -> Schema:
        """Describe one modality, and the entry that holds its times, if any.

        Its rows may come flat.
        """
        kept = [modality, *([entry] if entry is not None else [])]
        return Schema(
            shapes={name: self.shapes[name] for name in kept},
            names={name: self.names[name] for name in kept},
            columns={modality: np.arange(int(np.prod(self.shapes[modality])))},
            labels={name: self.labels[name] for name in kept if name in self.labels},
            dims={name: self.dims[name] for name in kept if name in self.dims},
            sample_dim=self.sample_dim,
            times=tuple(kept[1:]),
        )

    @property
    def places(self) -> dict[str, np.ndarray[Any, Any]]:
        """Where each modality sits in a flat `X`, by default as in `X.layout`."""
        if self.columns is not None:
            return self.columns
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        every = np.split(np.arange(ends[-1]), ends[:-1])
        return dict(zip(self.shapes, every, strict=True))

    def split(self, X: np.ndarray[Any, Any]) -> ModalityDict:
        """Cut a flat array into its modalities."""
        return ModalityDict(
            {
                modality: X[:, place].reshape(len(X), *self.shapes[modality])
                for modality, place in self.places.items()
            }
        )

    def read(
        self, X: Any, modality: str | None = None, prefer: str | None = None
    ) -> ModalityDict:
        """Read an X at prediction: one modality or several, named or bare.

        A bare array is the `modality`, or else told by its shape or column names.
        """
        if is_named(X):
            return self.check(self.named(X))
        bare = self.bare(X)
        name = self.find(bare, prefer) if modality is None else modality
        return self.check(ModalityDict({name: bare}))

    def named(self, X: Any) -> ModalityDict:
        """Read what names its modalities."""
        if is_frame(X):
            begins = list(X.columns.get_level_values(0).unique())
            if not any(name in self.shapes for name in begins):
                raise ValueError(
                    f"The columns of X begin with {_first(begins)}, none of which is a "
                    f"modality; fit saw {self.modalities}. frame[[name]] keeps the "
                    "modality in the columns, where frame[name] leaves it out."
                )
        return read_named(X, self.sample_dim)

    def bare(self, X: Any) -> Any:
        """Return one array or frame as it is read: its rows along the first axis."""
        if is_data_array(X):
            return rows_first({"X": X}, self.sample_dim)["X"]
        return X if is_frame(X) else as_array(X)

    def check(self, X: ModalityDict) -> ModalityDict:
        """Check names and shapes at prediction; frames have their columns ordered."""
        if not X or all(name in self.times for name in X):
            raise ValueError(
                "X holds no modality or no row; expected one or more of "
                f"{self.modalities} with at least one row."
            )
        checked = {}
        for modality, value in X.items():
            if modality not in self.shapes:
                raise ValueError(
                    f"Unknown modality {modality!r}; fit saw {self.modalities}."
                )
            names = self.names[modality]
            if is_frame(value) and names is None:
                # Those that xarray gave; a frame without them is read by position.
                names = self.labels.get(modality, (None,))[-1]
                if names is not None and not set(names) <= set(value.columns):
                    names = None
            if is_frame(value) and names is not None:
                absent = [name for name in names if name not in value.columns]
                if absent:
                    raise ValueError(
                        f"Modality {modality!r} lacks the columns {absent} that fit "
                        "saw."
                    )
                value = value[list(names)]
            self._check_dims(modality, X.dims.get(modality))
            checked[modality] = self._shaped(modality, value)
            self._check_labels(modality, X.labels.get(modality))
        return ModalityDict(checked)

    def _shaped(self, modality: str, value: Values) -> Values:
        """Check the shape; flat columns of a series get its steps and bands."""
        expected, came = self.shapes[modality], tuple(value.shape[1:])
        if came == expected:
            return value
        if self.columns is not None and came == (int(np.prod(expected)),):
            return as_array(value).reshape(len(value), *expected)
        if tuple(value.shape) == expected:
            raise ValueError(_one_sample(expected, modality))
        what = {1: "features", 2: "time steps and bands"}.get(len(expected), "axes")
        raise ValueError(
            f"Modality {modality!r} has shape {_n(came)}; fit saw {_n(expected)}, and "
            f"the {what} have to be the same."
        )

    def _check_dims(self, modality: str, dims: tuple[Hashable, ...] | None) -> None:
        """Refuse the dimensions of fit in another order; they may have other names."""
        seen = self.dims.get(modality)
        if dims is None or seen is None:
            return
        if any(d in seen and seen.index(d) != i for i, d in enumerate(dims)):
            raise ValueError(
                f"Modality {modality!r} has the dimensions {list(dims)}; fit saw "
                f"{list(seen)}, in this order."
            )

    def _check_labels(self, modality: str, labels: Any) -> None:
        """Refuse bands of another name or order than in fit, and steps out of order."""
        seen = self.labels.get(modality) or (self.names[modality],)
        if labels is None or len(labels) != len(seen):  # flat columns of a series
            return
        for axis, (now, before) in enumerate(zip(labels, seen, strict=True)):
            if now is None or before is None or now == before:
                continue
            is_bands = axis == len(seen) - 1
            if is_bands or set(now) == set(before):
                what = "bands" if is_bands else "steps"
                raise ValueError(
                    f"Modality {modality!r} has the {what} {list(now)}; fit saw "
                    f"{list(before)}, in this order."
                )

    def find(self, X: Any, prefer: str | None) -> str:
        """Tell the modality of a bare array from its trailing shape or column names.

        `prefer` settles it where several fit.
        """
        names = tuple(X.columns) if is_frame(X) else None
        matches = [
            modality
            for modality in self.modalities
            if names is not None
            and (expected := self.names[modality]) is not None
            and set(expected) == set(names)
        ]
        if not matches:
            trailing = tuple(np.shape(X)[1:])
            matches = [
                m
                for m in self.modalities
                if (
                    (shape := self.shapes[m]) == trailing
                    or (self.columns is not None and (int(np.prod(shape)),) == trailing)
                )
                and not self._of_others(m, names or ())
            ]
        if prefer in matches:
            return str(prefer)
        if len(matches) == 1:
            return matches[0]
        own = [m for m in self.modalities if self.shapes[m] == np.shape(X)]
        if own and not matches:
            raise ValueError(_one_sample(np.shape(X), *own))
        seen = ", ".join(f"{m!r}: {_n(self.shapes[m])}" for m in self.modalities)
        if np.ndim(X) < 2:
            came = f"shape {np.shape(X)}" if np.ndim(X) else repr(X.item())
            raise ValueError(
                f"X is no array of rows (got {came}); fit saw {seen}. Several "
                "modalities are passed as a dict {name: array}."
            )
        if matches:
            raise ValueError(
                f"X of shape {_n(np.shape(X)[1:])} fits the modalities {matches}; say "
                "which one by modality=, or pass {name: array}."
            )
        if names is not None and self._of_others(None, names):
            columns = ", ".join(
                f"{m!r}: {_n(self.shapes[m]) if own is None else _first(own)}"
                for m in self.modalities
                for own in [self.names[m]]
            )
            raise ValueError(
                f"The columns {_first(names)} of X fit no modality that fit saw "
                f"({columns}). Several modalities are passed as a dict {{name: frame}}."
            )
        raise ValueError(
            f"X of shape {_n(np.shape(X)[1:])} fits no modality that fit saw ({seen}). "
            "Several modalities are passed as a dict {name: array}."
        )

    def _of_others(self, modality: str | None, columns: Iterable[Any]) -> bool:
        """Whether some columns have names that fit saw in other modalities."""
        others = [self.names[m] or () for m in self.modalities if m != modality]
        return not set(columns).isdisjoint(chain(*others))


def _one_sample(shape: tuple[int, ...], *modalities: str) -> str:
    return (
        f"X of shape {shape} is one sample of modality "
        f"{' or '.join(map(repr, modalities))}, without an axis of samples; pass "
        "array[:1] in the place of array[0]."
    )


def _first(names: Iterable[Any], limit: int = 10) -> str:
    names = list(names)
    shown = ", ".join(map(repr, names[:limit]))
    return f"[{shown}{', ...' if len(names) > limit else ''}]"


def _n(trailing: Iterable[int]) -> str:
    return f"({', '.join(['n', *map(str, trailing)])})"


def _split_place(modality: str, place: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Cut one entry of ``modalities=`` into its columns and its shape, if given."""
    if isinstance(place, tuple):
        if len(place) == 2 and isinstance(place[1], tuple):
            return place
        raise TypeError(
            f"modalities[{modality!r}] is a slice, a list of columns, or a pair "
            f"(columns, shape) with shape a tuple; got {place!r}."
        )
    return place, None


def _positions(
    modality: str, picked: Any, n_features: int, names: Sequence[Any] | None
) -> np.ndarray[Any, Any]:
    if isinstance(picked, slice):
        if any(isinstance(end, str) for end in (picked.start, picked.stop)):
            raise TypeError(
                f"modalities[{modality!r}] is a slice of column names; give a slice "
                "of positions, or a list of names."
            )
        positions = np.arange(n_features)[picked]
        if picked.stop is not None and picked.stop > n_features:
            raise ValueError(
                f"modalities[{modality!r}] reaches to column {picked.stop}, but X has "
                f"{n_features} columns."
            )
    elif isinstance(picked, str) or not isinstance(picked, Iterable):
        raise TypeError(
            f"modalities[{modality!r}] is a slice, a list of columns, or a pair "
            f"(columns, shape) with shape a tuple; got {picked!r}."
        )
    else:
        picked = list(picked)
        if any(isinstance(column, str) for column in picked):
            known = {} if names is None else {n: i for i, n in enumerate(names)}
            absent = [column for column in picked if column not in known]
            if absent:
                where = "X has no column names" if names is None else "X lacks them"
                raise ValueError(
                    f"modalities[{modality!r}] names the columns {absent}, but {where}."
                )
            positions = np.array([known[column] for column in picked])
        else:
            positions = np.asarray(picked)
            numbers = positions.dtype.kind in "iub" or positions.size == 0
            if positions.ndim != 1 or not numbers:
                raise TypeError(
                    f"modalities[{modality!r}] is a slice, a list of columns, or a "
                    "pair (columns, shape) with shape a tuple; got "
                    f"{picked!r}."
                )
            if positions.dtype == bool:
                if len(positions) != n_features:
                    raise ValueError(
                        f"modalities[{modality!r}] gives {len(positions)} booleans, "
                        f"but X has {n_features} columns."
                    )
                positions = np.flatnonzero(positions)
            absent = [
                int(p) for p in positions if not -n_features <= int(p) < n_features
            ]
            if absent:
                raise ValueError(
                    f"modalities[{modality!r}] names the columns {absent}, but X has "
                    f"{n_features} columns."
                )
            positions = positions.astype(np.intp) % n_features
    if len(positions) == 0:
        raise ValueError(f"modalities[{modality!r}] names no column.")
    return positions


def _check_disjoint(
    columns: Mapping[str, np.ndarray[Any, Any]], names: Sequence[Any] | None
) -> None:
    owner: dict[int, str] = {}
    for modality, positions in columns.items():
        for position in map(int, positions):
            if position in owner:
                label = position if names is None else names[position]
                where = (
                    f"twice in {modality!r}"
                    if owner[position] == modality
                    else f"in both {owner[position]!r} and {modality!r}"
                )
                raise ValueError(f"modalities= overlaps: column {label!r} is {where}.")
            owner[position] = modality


# -- values --------------------------------------------------------------------------


def numeric_values(
    modality: str, values: Values, missing_value: float | None
) -> np.ndarray[Any, Any]:
    """Return a modality as float32 or float64, with NaN for what is missing.

    Raises
    ------
    ValueError
        If there are values that are no numbers, or infinite ones (or too large for
        float32).
    """
    array = values.to_numpy() if is_frame(values) else values
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: modality {modality!r}.")
    if array.dtype.kind == "M":
        raise ValueError(
            f"Modality {modality!r} has dtype {array.dtype} with values that are no "
            "numbers but dates. If they are when the steps of another modality were, "
            f"say so by times={{name: {modality!r}}}."
        )
    if array.dtype.kind not in "biuf":
        array = _to_float(modality, array)
    missing = None
    if missing_value is not None:
        missing = equal_to(array, missing_value)
    # Sixteen bits and float32 lose nothing in float32; wider types stay precise until
    # they are standardised.
    small = array.dtype == np.float32 or array.dtype.itemsize <= 2
    array = array.astype(
        np.float32 if small else np.float64, copy=missing is not None and missing.any()
    )
    if missing is not None and missing.any():
        array[missing] = np.nan
    # The extremes first, which need no array of their own and pass over NaN.
    extremes = [ufunc.reduce(array, axis=None) for ufunc in (np.fmin, np.fmax)]
    largest = FLOAT32_MAX
    if np.abs(extremes).max() > largest:
        too_large = np.abs(array) > largest
        rows = np.flatnonzero(too_large.reshape(len(array), -1).any(axis=1))
        raise ValueError(
            f"Modality {modality!r} contains infinity in {rows_text(rows)}. Missing "
            "values are given as NaN, or named by missing_value=."
        )
    return np.asarray(array)


def _to_float(modality: str, array: Any) -> np.ndarray[Any, Any]:
    try:
        if array.dtype == object:  # which may hold None and pd.NA
            array = np.where(pd.isna(array), np.nan, array)
        # pandas refuses dates, which numpy would count.
        flat = pd.DataFrame(array.reshape(len(array), -1)).astype(np.float64)
        return flat.to_numpy().reshape(array.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Modality {modality!r} has dtype {array.dtype} with values that are no "
            f"numbers ({error}). Encode categories first, for example with "
            "sklearn.preprocessing.OneHotEncoder."
        ) from error


def equal_to(array: np.ndarray[Any, Any], missing_value: float) -> np.ndarray[Any, Any]:
    """Tell which values are the number that stands for a missing one: bool."""
    # As a number of the array's own type: float64's -3.4e38 is not float32's, which may
    # have become float64 beside others in a flat X.
    number = float(missing_value)
    single = float(np.float32(number)) if abs(number) <= FLOAT32_MAX else number
    if array.dtype == np.float64 and single != number:
        return (array == number) | (array == single)
    if array.dtype.kind == "f" and abs(number) <= np.finfo(array.dtype).max:
        return array == array.dtype.type(number)
    if array.dtype.kind in "biuf":
        array = array.astype(np.float64)
    return array == number


def present_rows(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Tell which rows of a modality hold any value: shape (n_samples,), bool."""
    axes = tuple(range(1, array.ndim))
    present: np.ndarray[Any, Any] = ~np.isnan(array).all(axis=axes)
    return present


def rows_text(rows: Iterable[int], limit: int = 10) -> str:
    """Name rows in a message: ``row 3`` or ``rows 0, 1, 2 (and 7 more)``."""
    rows = [int(row) for row in rows]
    shown = ", ".join(map(str, rows[:limit]))
    more = f" (and {len(rows) - limit} more)" if len(rows) > limit else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"
