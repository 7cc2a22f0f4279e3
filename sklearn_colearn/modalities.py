"""Modalities: their container, and reading and checking every form of ``X``.

A *modality* is what one sensor measured for every sample: an array of shape
``(n_samples, n_features)`` for a table, ``(n_samples, n_timesteps, n_bands)`` for a
time series, ``(n_samples, height, width, n_bands)`` for images. Row ``i`` of every
modality belongs to the same sample.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["ModalityDict"]

#: What a modality may hold: arrays are kept as they are, frames keep their names.
Values = Any


class ModalityDict(dict[str, Values]):
    """A dict of modality arrays that scikit-learn can slice by rows.

    A plain dict has the number of modalities as its length, so scikit-learn's
    cross-validation refuses it. This one has the number of samples as its length, and
    a ``shape``, so every tool that slices rows works.

    Parameters
    ----------
    modalities : mapping of str to array-like of shape (n_samples, ...), optional
        The modalities by name. DataFrames stay DataFrames (their column names are
        used to recognise a modality at prediction); everything else becomes an array.
    **named : array-like of shape (n_samples, ...)
        More modalities, by keyword.

    Attributes
    ----------
    shape : tuple of int
        ``(n_samples, n_features)`` of the flat form, all modalities side by side.
    ndim : int
        Always 2, as ``shape``.
    dtype : numpy.dtype
        The dtype of the flat form.
    layout : dict
        Where each modality sits in the flat form; see :attr:`layout`.

    Raises
    ------
    ValueError
        If the modalities differ in their number of rows, or one has fewer than two
        axes.
    TypeError
        If a name is not a string.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_colearn import ModalityDict
    >>> X = ModalityDict(S1=np.zeros((5, 12, 2)), weather=np.zeros((5, 3)))
    >>> len(X), X.shape
    (5, (5, 27))
    >>> X[1:3]
    ModalityDict(S1: (2, 12, 2) float64, weather: (2, 3) float64)
    >>> X["S1"].shape
    (5, 12, 2)
    >>> np.asarray(X).shape
    (5, 27)
    """

    def __init__(
        self, modalities: Mapping[str, Values] | None = None, /, **named: Values
    ) -> None:
        super().__init__()
        # A container of no rows is false, so `modalities or {}` would lose its names.
        modalities = {} if modalities is None else modalities
        if not isinstance(modalities, Mapping) or _is_sparse(modalities):
            raise TypeError(
                "A ModalityDict is made of a mapping {name: array}; got "
                f"{type(modalities).__name__}, which does not name its modalities."
            )
        self.update(modalities, **named)

    # -- the flat form ---------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_samples, n_features)`` of the flat form."""
        return len(self), sum(int(np.prod(v.shape[1:])) for v in self.values())

    @property
    def ndim(self) -> int:
        """Number of axes of the flat form: 2."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the flat form."""
        # Without rows, so that pandas says what a frame of mixed columns becomes.
        return np.asarray(self[:0]).dtype

    @property
    def layout(self) -> dict[str, slice | tuple[slice, tuple[int, ...]]]:
        """Where each modality sits in the flat form ``numpy.asarray(X)``.

        A slice of columns for a table, ``(slice, shape)`` for a time series or images.
        It can be given as ``modalities=`` to an estimator that is fed the flat form.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_colearn import ModalityDict
        >>> ModalityDict(S1=np.zeros((5, 4, 2)), soil=np.zeros((5, 3))).layout
        {'S1': (slice(0, 8, None), (4, 2)), 'soil': slice(8, 11, None)}
        """
        layout: dict[str, slice | tuple[slice, tuple[int, ...]]] = {}
        start = 0
        for name, value in self.items():
            trailing = tuple(value.shape[1:])
            columns = slice(start, start + int(np.prod(trailing)))
            layout[name] = columns if len(trailing) == 1 else (columns, trailing)
            start = columns.stop
        return layout

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("The flat form of a ModalityDict is always a copy.")
        # Sizes by name: -1 cannot be told where there is no row.
        flat = [
            np.asarray(v).reshape(len(v), int(np.prod(v.shape[1:])))
            for v in self.values()
        ]
        if not flat:
            return np.empty((0, 0), dtype=dtype)
        joined = np.concatenate(flat, axis=1)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    # -- rows and names --------------------------------------------------------------

    def __len__(self) -> int:
        for name in self:
            return int(dict.__getitem__(self, name).shape[0])
        return 0

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise KeyError(
                    f"There is no modality {key!r}; the modalities are {list(self)}."
                )
            return super().__getitem__(key)
        if isinstance(key, tuple):
            if len(key) == 2 and key[1] is Ellipsis:
                return self[key[0]]
            return np.asarray(self)[key]
        if isinstance(key, Integral | np.bool_) or (
            isinstance(key, np.ndarray) and key.ndim == 0
        ):
            row = int(key)
            raise TypeError(
                "A ModalityDict is sliced by rows or indexed by a modality's name; "
                f"for row {row} use X[{row}:{'' if row == -1 else row + 1}]."
            )
        rows = key if isinstance(key, slice) else _as_row_index(key)
        return self._with({name: _take(value, rows) for name, value in self.items()})

    def __setitem__(self, name: str, value: Values) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"The name of a modality is a string; got {name!r} "
                f"({type(name).__name__})."
            )
        if not _is_frame(value):
            if _is_sparse(value):
                raise TypeError(
                    f"Modality {name!r} is a sparse matrix; a dense array is needed: "
                    "use its toarray()."
                )
            value = _as_array(value)
        if value.ndim < 2:
            raise ValueError(
                f"Modality {name!r} has shape {value.shape}; expected "
                "(n_samples, n_features), (n_samples, n_timesteps, n_bands) or "
                "(n_samples, height, width, n_bands). A single feature is "
                "array.reshape(-1, 1)."
            )
        others = {n: v.shape[0] for n, v in self.items() if n != name}
        if others and value.shape[0] != next(iter(others.values())):
            lengths = {**others, name: value.shape[0]}
            raise ValueError(
                "All modalities need the same number of rows, one per sample; got "
                + ", ".join(f"{n!r}: {length}" for n, length in lengths.items())
                + "."
            )
        for other, frame in self.items():
            if (
                other != name
                and _is_frame(value)
                and _is_frame(frame)
                and not value.index.equals(frame.index)
            ):
                raise ValueError(
                    f"The frames of modalities {other!r} and {name!r} have different "
                    "row labels, but rows are matched by position: bring them into the "
                    "same order, or drop the labels by reset_index(drop=True)."
                )
        super().__setitem__(name, value)

    def update(self, other: Any = (), /, **named: Values) -> None:
        """Set several modalities, each checked as by ``X[name] = array``."""
        for name, value in dict(other, **named).items():
            self[name] = value

    def setdefault(self, name: str, default: Values = None) -> Values:
        """Return a modality, setting it to `default` (checked) where it is absent."""
        if name not in self:
            self[name] = default
        return self[name]

    def __or__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        return self._with(other) | self

    def __ior__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        self.update(other)
        return self

    def copy(self) -> ModalityDict:
        """Return a new container of the same arrays."""
        return self._with(self)

    def select(self, names: str | Iterable[str]) -> ModalityDict:
        """Return only the named modalities, in the order of `names`.

        Parameters
        ----------
        names : str or iterable of str
            The modalities to keep.

        Returns
        -------
        ModalityDict
            The same arrays, not copied.

        Raises
        ------
        KeyError
            If a modality is not there.
        """
        names = [names] if isinstance(names, str) else list(names)
        return self._with({name: self[name] for name in names})

    def __repr__(self) -> str:
        parts = []
        for name, value in self.items():
            kind = "DataFrame" if _is_frame(value) else value.dtype
            parts.append(f"{name}: {tuple(value.shape)} {kind}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _with(self, modalities: Mapping[str, Values]) -> ModalityDict:
        return type(self)(modalities)

    # -- other containers ------------------------------------------------------------

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> ModalityDict:
        """Read a DataFrame whose column MultiIndex begins with the modality.

        Parameters
        ----------
        frame : pandas.DataFrame of shape (n_samples, n_columns)
            Columns of two levels ``(modality, feature)`` give tables, of three levels
            ``(modality, time step, band)`` give time series; every time step of a
            modality then needs the same bands. With three levels, a modality whose
            last level is always ``""`` is a table.

        Returns
        -------
        ModalityDict
            Tables as DataFrames with their feature names, time series as arrays of
            shape (n_samples, n_timesteps, n_bands), in the order of the columns.

        Raises
        ------
        ValueError
            If the columns are no such MultiIndex, or a time step lacks a band.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> columns = pd.MultiIndex.from_product([["S1"], ["vv", "vh"]])
        >>> ModalityDict.from_frame(pd.DataFrame([[1.0, 2.0]], columns=columns))
        ModalityDict(S1: (1, 2) DataFrame)
        """
        if not _is_modality_frame(frame) or frame.columns.nlevels > 3:
            raise ValueError(
                "A DataFrame of several modalities needs columns of two levels "
                "(modality, feature) or three (modality, time step, band); got "
                f"{frame.columns.nlevels} level(s)."
            )
        modalities: dict[str, Values] = {}
        for name in frame.columns.get_level_values(0).unique():
            # Not frame[name], which is a Series for a lone column ("height", "").
            table = frame.loc[:, frame.columns.get_level_values(0) == name]
            table = table.droplevel(0, axis=1)
            if table.columns.nlevels == 2:
                steps, bands = (
                    table.columns.get_level_values(i).unique() for i in (0, 1)
                )
                if list(bands) == [""]:
                    table = table.droplevel(1, axis=1)
                else:
                    table = _time_series(name, table, steps, bands)
            modalities[name] = table
        return cls(modalities)

    @classmethod
    def from_xarray(cls, dataset: Any, sample_dim: Hashable = None) -> ModalityDict:
        """Read an ``xarray.Dataset``: each of its variables is a modality.

        Parameters
        ----------
        dataset : xarray.Dataset
            Variables with the sample dimension and one (features), two (time, band)
            or three (y, x, band) more, kept in the order they have. A variable with
            the sample dimension alone is a table of one feature.
        sample_dim : hashable, default=None
            The dimension that counts the samples. By default ``"sample"`` if there is
            one, else the only dimension that all variables share.

        Returns
        -------
        ModalityDict
            Arrays with the sample dimension first.

        Raises
        ------
        ValueError
            If there is no sample dimension, or it is not clear which one it is.
        """
        variables = dict(dataset.data_vars)
        shared = [
            dim
            for dim in dataset.dims
            if all(dim in variable.dims for variable in variables.values())
        ]
        if sample_dim is None:
            sample_dim = "sample" if "sample" in shared else None
            if sample_dim is None and len(shared) == 1:
                sample_dim = shared[0]
        if sample_dim not in shared:
            raise ValueError(
                "One dimension of the Dataset has to count the samples of every "
                "variable: call it 'sample', or use "
                "ModalityDict.from_xarray(dataset, sample_dim=...). Dimensions that "
                f"all variables share: {shared}; asked for: {sample_dim!r}."
            )
        modalities = {}
        for name, variable in variables.items():
            values = variable.transpose(sample_dim, ...).values
            modalities[name] = values.reshape(-1, 1) if values.ndim == 1 else values
        return cls(modalities)


def _is_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame)


def _is_sparse(X: Any) -> bool:
    return hasattr(X, "toarray")


def _as_array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray):  # from rasterio, say
        floats = value.astype(np.result_type(value.dtype, np.float32))
        return np.ma.filled(floats, np.nan)
    return np.asarray(value)


def _is_modality_frame(X: Any) -> bool:
    return _is_frame(X) and X.columns.nlevels > 1


def _as_row_index(key: Any) -> np.ndarray[Any, Any]:
    rows = np.asarray(key)
    if rows.size == 0 and rows.dtype != bool:
        rows = rows.astype(np.intp)
    if rows.dtype.kind not in "iub" or rows.ndim != 1:
        raise TypeError(
            "Rows are given by a slice, integers or booleans; "
            f"got {key!r}. Several modalities are taken by X.select([...])."
        )
    return rows


def _take(value: Values, rows: Any) -> Values:
    return value.iloc[rows] if _is_frame(value) else value[rows]


def _time_series(
    name: str, table: pd.DataFrame, steps: pd.Index[Any], bands: pd.Index[Any]
) -> np.ndarray[Any, Any]:
    grid = pd.MultiIndex.from_product([steps, bands])
    if len(grid) != table.shape[1] or len(table.columns.difference(grid)):
        lacking = list(grid.difference(list(table.columns)))
        raise ValueError(
            f"Modality {name!r} needs every band at every time step once; absent: "
            f"{lacking[:5]}{' ...' if len(lacking) > 5 else ''}."
        )
    values: np.ndarray[Any, Any] = table[grid].to_numpy()
    return values.reshape(len(table), len(steps), len(bands))


# -- reading X -----------------------------------------------------------------------


def is_named(X: Any) -> bool:
    """Whether `X` itself says which modality is which."""
    if isinstance(X, list | tuple) and any(getattr(x, "ndim", 0) > 1 for x in X):
        raise ValueError(
            f"X is a {type(X).__name__} of arrays; several modalities are passed as a "
            "dict {name: array}."
        )
    # scipy's dok_array is a dict, of another kind.
    mapping = isinstance(X, Mapping) and not _is_sparse(X)
    return mapping or _is_dataset(X) or _is_modality_frame(X)


def _is_dataset(X: Any) -> bool:
    # Told by its attributes so that xarray need not be imported.
    return hasattr(X, "data_vars") and hasattr(X, "dims")


def read_named(X: Any) -> ModalityDict:
    """Read a mapping, ``xarray.Dataset`` or MultiIndex frame as a ModalityDict."""
    if isinstance(X, ModalityDict):
        return X
    if _is_dataset(X):
        return ModalityDict.from_xarray(X)
    if _is_modality_frame(X):
        return ModalityDict.from_frame(X)
    return ModalityDict(X)


def restrict(X: Any, modality: str) -> ModalityDict:
    """Return the one named modality of an `X` that names its modalities."""
    if not is_named(X):
        raise TypeError(
            f"Cannot take modality {modality!r} out of a {type(X).__name__}: only a "
            "ModalityDict, dict, xarray.Dataset or a DataFrame with a column "
            "MultiIndex says which modality is which."
        )
    return read_named(X).select(modality)


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
    """

    shapes: dict[str, tuple[int, ...]]
    names: dict[str, tuple[Any, ...] | None]
    columns: dict[str, np.ndarray[Any, Any]] | None = None

    @classmethod
    def of(cls, X: ModalityDict) -> Schema:
        """Describe a container of named modalities."""
        return cls(
            shapes={name: tuple(value.shape[1:]) for name, value in X.items()},
            names={
                name: tuple(value.columns) if _is_frame(value) else None
                for name, value in X.items()
            },
        )

    @classmethod
    def of_layout(
        cls, layout: Mapping[str, Any], n_features: int, names: Sequence[Any] | None
    ) -> Schema:
        """Describe a flat ``X`` by what the user gave as ``modalities=``."""
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

    def split(self, X: np.ndarray[Any, Any]) -> ModalityDict:
        """Cut a flat array into its modalities."""
        assert self.columns is not None
        return ModalityDict(
            {
                modality: X[:, place].reshape(len(X), *self.shapes[modality])
                for modality, place in self.columns.items()
            }
        )

    def read(
        self, X: Any, modality: str | None = None, prefer: str | None = None
    ) -> ModalityDict:
        """Read an X at prediction: one modality or several, named or bare.

        A bare array is the `modality`, or else told by its shape or column names.
        """
        if is_named(X):
            return self.check(read_named(X))
        bare = X if _is_frame(X) else _as_array(X)
        name = self.find(bare, prefer) if modality is None else modality
        return self.check(ModalityDict({name: bare}))

    def check(self, X: ModalityDict) -> ModalityDict:
        """Check names and shapes at prediction; frames have their columns ordered."""
        if not X:
            raise ValueError(
                "X holds no modality or no row; expected one or more of "
                f"{list(self.shapes)} with at least one row."
            )
        checked = {}
        for modality, value in X.items():
            if modality not in self.shapes:
                raise ValueError(
                    f"Unknown modality {modality!r}; fit saw {list(self.shapes)}."
                )
            names = self.names[modality]
            if _is_frame(value) and names is not None:
                absent = [name for name in names if name not in value.columns]
                if absent:
                    raise ValueError(
                        f"Modality {modality!r} lacks the columns {absent} that fit "
                        "saw."
                    )
                value = value[list(names)]
            expected = self.shapes[modality]
            if tuple(value.shape[1:]) != expected:
                raise ValueError(
                    f"Modality {modality!r} has shape {_n(value.shape[1:])}; fit saw "
                    f"{_n(expected)}."
                )
            checked[modality] = value
        return ModalityDict(checked)

    def find(self, X: Any, prefer: str | None) -> str:
        """Tell the modality of a bare array from its trailing shape or column names.

        `prefer` settles it where several fit.
        """
        names = tuple(X.columns) if _is_frame(X) else None
        matches = [
            modality
            for modality, expected in self.names.items()
            if names is not None
            and expected is not None
            and set(expected) == set(names)
        ]
        if not matches:
            trailing = tuple(np.shape(X)[1:])
            matches = [m for m, shape in self.shapes.items() if shape == trailing]
        if prefer in matches:
            return str(prefer)
        if len(matches) == 1:
            return matches[0]
        seen = ", ".join(f"{m!r}: {_n(shape)}" for m, shape in self.shapes.items())
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
        raise ValueError(
            f"X of shape {_n(np.shape(X)[1:])} fits no modality that fit saw ({seen}). "
            "Several modalities are passed as a dict {name: array}."
        )


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
                raise ValueError(
                    f"modalities= overlaps: column {label!r} is in both "
                    f"{owner[position]!r} and {modality!r}."
                )
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
    array = values.to_numpy() if _is_frame(values) else values
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: modality {modality!r}.")
    if array.dtype.kind not in "biuf":
        array = _to_float(modality, array)
    missing = None
    if missing_value is not None:
        missing = array == missing_value
    # Sixteen bits and float32 lose nothing in float32; wider types stay precise until
    # they are standardised.
    small = array.dtype == np.float32 or array.dtype.itemsize <= 2
    array = array.astype(
        np.float32 if small else np.float64, copy=missing is not None and missing.any()
    )
    if missing is not None and missing.any():
        array[missing] = np.nan
    too_large = np.abs(array) > np.finfo(np.float32).max
    if too_large.any():
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
