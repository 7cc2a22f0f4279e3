"""Modalities: their container, and every form of ``X`` that names them.

A *modality* is what one sensor measured for every sample: an array of shape
``(n_samples, n_features)`` for a table, ``(n_samples, n_timesteps, n_bands)`` for a
time series, ``(n_samples, height, width, n_bands)`` for images. Row ``i`` of every
modality belongs to the same sample.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
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
        The rows of an ``xarray.DataArray`` are along its dimension ``"sample"``, else
        along the only one that all DataArrays share, else along its first. In a list
        of rows, None is a row that lacks the modality: all NaN.
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
    labels : dict of str to tuple
        Names of the steps and bands of modalities that a DataFrame, xarray.Dataset
        or DataArray gave: a tuple for each axis but the first, None where an axis has
        no names. The estimators refuse bands of another order than in fit.
    dims : dict of str to tuple
        Names of the dimensions of modalities that xarray gave, the samples' first. The
        estimators refuse those of fit in another order.
    ids : ndarray of shape (n_samples,), or None
        What the rows are called, if :meth:`align` made the container; it goes with
        them when rows are taken.

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

    labels: dict[str, tuple[tuple[Hashable, ...] | None, ...]]
    dims: dict[str, tuple[Hashable, ...]]
    ids: np.ndarray[Any, Any] | None = None

    def __init__(
        self, modalities: Mapping[str, Values] | None = None, /, **named: Values
    ) -> None:
        super().__init__()
        self.labels = {}
        self.dims = {}
        # A container of no rows is false, so `modalities or {}` would lose its names.
        modalities = {} if modalities is None else modalities
        if not isinstance(modalities, Mapping) or _is_sparse(modalities):
            raise TypeError(
                "A ModalityDict is made of a mapping {name: array}; got "
                f"{type(modalities).__name__}, which does not name its modalities."
            )
        self.update(modalities, **named)
        if isinstance(modalities, ModalityDict):
            self._keep_axes(modalities, [m for m in modalities if m not in named])

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
        taken = self._with({name: _take(value, rows) for name, value in self.items()})
        taken.ids = None if self.ids is None else self.ids[rows]
        return taken

    def __setitem__(self, name: str, value: Values) -> None:
        if not isinstance(name, str):
            raise TypeError(
                f"The name of a modality is a string; got {name!r} "
                f"({type(name).__name__})."
            )
        labels: tuple[tuple[Hashable, ...] | None, ...] | None = None
        dims: tuple[Hashable, ...] | None = None
        if is_data_array(value):
            value, labels, dims = _unpacked(rows_first({name: value})[name])
        if not is_frame(value):
            if _is_sparse(value):
                raise TypeError(
                    f"Modality {name!r} is a sparse matrix; a dense array is needed: "
                    "use its toarray()."
                )
            value = as_array(_filled_up(name, value))
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
                and is_frame(value)
                and is_frame(frame)
                and not value.index.equals(frame.index)
            ):
                raise ValueError(
                    f"The frames of modalities {other!r} and {name!r} have different "
                    "row labels, but rows are matched by position: bring them into the "
                    "same order, or drop the labels by reset_index(drop=True)."
                )
        super().__setitem__(name, value)
        if self.ids is not None and len(self.ids) != value.shape[0]:
            self.ids = None  # the only modality was replaced by other rows
        # Pickle sets items before attributes.
        self.__dict__.get("labels", {}).pop(name, None)
        self.__dict__.get("dims", {}).pop(name, None)
        if labels is not None and dims is not None:
            self.labels[name], self.dims[name] = labels, dims

    def update(self, other: Any = (), /, **named: Values) -> None:
        """Set several modalities, each checked as by ``X[name] = array``."""
        ids = other.ids if isinstance(other, ModalityDict) else None
        own = self.ids
        if ids is not None and own is not None and not np.array_equal(ids, own):
            raise ValueError(
                "The rows of the two containers have different ids, but rows are "
                "matched by position: make one of all archives by ModalityDict.align."
            )
        for name, value in rows_first(dict(other, **named)).items():
            self[name] = value
        if ids is not None:
            self.ids = ids

    def setdefault(self, name: str, default: Values = None) -> Values:
        """Return a modality, setting it to `default` (checked) where it is absent."""
        if name not in self:
            self[name] = default
        return self[name]

    def __or__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        joined = self.copy()
        joined |= other
        return joined

    def __ror__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        return type(self)(other) | self

    def __ior__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        self.update(other)
        if isinstance(other, ModalityDict):
            self._keep_axes(other, other)
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
            kind = "DataFrame" if is_frame(value) else value.dtype
            parts.append(f"{name}: {tuple(value.shape)} {kind}")
        return f"{type(self).__name__}({', '.join(parts)})"

    def _with(self, modalities: Mapping[str, Values]) -> ModalityDict:
        """Make a container of some of these modalities, or of some of their rows."""
        made = type(self)(modalities)
        made._keep_axes(self, made)
        made.ids = self.ids
        return made

    def _keep_axes(self, other: ModalityDict, names: Iterable[str]) -> None:
        """Take over what another container knows of the axes of some modalities."""
        self.labels |= {m: other.labels[m] for m in names if m in other.labels}
        self.dims |= {m: other.dims[m] for m in names if m in other.dims}

    # -- other containers ------------------------------------------------------------

    @classmethod
    def align(
        cls,
        archives: Mapping[str, tuple[Any, Values]],
        ids: Any = None,
        *,
        drop_others: bool = False,
    ) -> ModalityDict:
        """Put archives of different rows side by side, matched by ids.

        Parameters
        ----------
        archives : mapping of str to tuple (ids, values)
            By modality: array-like of shape (n_rows,), what its rows are called, each
            once, and an array-like or DataFrame of shape (n_rows, ...), its rows.
        ids : array-like of shape (n_samples,), default=None
            The rows to make, in this order: those that have a label, say. By default
            all that any archive has, in order of first appearance.
        drop_others : bool, default=False
            Whether rows that `ids` does not name are left out. By default they are an
            error.

        Returns
        -------
        ModalityDict
            NaN (NaT for dates) in the rows that an archive lacks. Its ``ids`` says
            what the rows are called.

        Raises
        ------
        ValueError
            If an id is there twice or missing, `ids` has one that no archive has, or
            an archive has one that `ids` lacks.
        TypeError
            If an archive is no pair, or ids are numbers here and strings there.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> S1 = ["p1", "p2", "p3"], np.ones((3, 12, 2))
        >>> S2 = ["p3", "p4"], np.ones((2, 10, 4))
        >>> X = ModalityDict.align({"S1": S1, "S2": S2})
        >>> X, X.ids.tolist()
        (ModalityDict(S1: (4, 12, 2) float64, S2: (4, 10, 4) float64),
         ['p1', 'p2', 'p3', 'p4'])

        Labels come into the same order, NaN where there is none:

        >>> labels = pd.Series({"p4": 1.0, "p1": 0.0})
        >>> labels.reindex(X.ids).tolist()
        [0.0, nan, nan, 1.0]
        """
        indexes: dict[str, pd.Index[Any]] = {}
        archived: dict[str, ModalityDict] = {}
        for name, pair in archives.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(
                    f"Archive {name!r} is a pair (ids, values); got "
                    f"{type(pair).__name__}."
                )
            where = f"Archive {name!r}"
            indexes[name] = _as_ids(where, pair[0])
            archived[name] = cls({name: pair[1]})  # checked
            n_rows = len(archived[name])
            if n_rows != len(indexes[name]):
                raise ValueError(
                    f"{where} has {len(indexes[name])} ids and {n_rows} rows."
                )
        given = {f"archive {name!r}": index for name, index in indexes.items()}
        if ids is not None:
            given["ids="] = wanted = _as_ids("ids=", ids)
        _check_same_kind(given)
        if not indexes:
            raise ValueError("There is no archive to align.")
        first, *others = indexes.values()
        everything = first.append(others).unique()
        if ids is None:
            wanted = everything
        else:
            nowhere = wanted.difference(everything, sort=False)
            if len(nowhere):
                raise ValueError(
                    f"ids= names {_ids_text(nowhere)} that no archive has; leave "
                    f"{'it' if len(nowhere) == 1 else 'them'} out."
                )
            for name, index in indexes.items():
                more = index.difference(wanted, sort=False)
                if len(more) and not drop_others:
                    raise ValueError(
                        f"Archive {name!r} has {_ids_text(more)} that ids= does not "
                        "name. To leave such rows out, say drop_others=True; to keep "
                        "them, give no ids= and bring the labels into the order of the "
                        "rows, pandas.Series(y, ids).reindex(X.ids): the others then "
                        "are unlabelled."
                    )
        made = cls(
            {
                name: _spread(one[name], indexes[name].get_indexer(wanted), wanted)
                for name, one in archived.items()
            }
        )
        for one in archived.values():
            made._keep_axes(one, one)
        made.ids = wanted.to_numpy()
        return made

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
        labels: dict[str, tuple[tuple[Hashable, ...] | None, ...]] = {}
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
                    labels[name] = (tuple(steps), tuple(bands))
            modalities[name] = table
        made = cls(modalities)
        made.labels = labels
        return made

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
        sample_dim = sample_dimension(dataset, sample_dim)
        modalities, labels, dims = {}, {}, {}
        for name, variable in dataset.data_vars.items():
            modalities[name], labels[name], dims[name] = _unpacked(
                variable.transpose(sample_dim, ...)
            )
        made = cls(modalities)
        made.labels, made.dims = labels, dims
        return made


def is_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame)


def _is_sparse(X: Any) -> bool:
    return hasattr(X, "toarray")


def as_array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray):  # from rasterio, say
        if value.dtype.kind == "M":
            return np.ma.filled(value, np.datetime64("NaT"))
        if value.dtype.kind not in "biuf":
            return np.ma.filled(value.astype(object), None)
        floats = value.astype(np.result_type(value.dtype, np.float32))
        return np.ma.filled(floats, np.nan)
    return np.asarray(value)


def _filled_up(name: str, value: Any) -> Any:
    """Stack a list of rows, with a blank row in the place of each None."""
    if not isinstance(value, list | tuple) or not any(row is None for row in value):
        return value
    there = [i for i, row in enumerate(value) if row is not None]
    if not there:
        raise ValueError(
            f"Modality {name!r} is a list of {len(value)} None, which does not tell "
            "the shape of a row; leave the modality out."
        )
    rows = [as_array(value[i]) for i in there]
    other = [
        i for i, row in zip(there, rows, strict=True) if row.shape != rows[0].shape
    ]
    if other:
        raise ValueError(
            f"Modality {name!r} needs rows of one shape; row {there[0]} has "
            f"{rows[0].shape} and row {other[0]} has {as_array(value[other[0]]).shape}."
        )
    positions = np.full(len(value), -1)
    positions[there] = np.arange(len(there))
    return _spread(np.stack(rows), positions)


def _spread(value: Values, positions: Any, index: Any = None) -> Values:
    """Take rows by their positions, blank where the position is -1.

    `index` names the rows of a frame.
    """
    if is_frame(value):
        taken = value.reset_index(drop=True).reindex(positions)
        return taken.set_axis(index, axis=0)
    lacking = positions < 0
    if not lacking.any():
        return value[positions]
    kind = value.dtype.kind
    dtype: np.dtype[Any]
    blank: Any
    if kind in "biuf":
        dtype, blank = np.result_type(value.dtype, np.float16), np.nan
    elif kind in "mM":
        dtype, blank = value.dtype, np.array("NaT", value.dtype)
    else:
        dtype, blank = np.dtype(object), None
    spread = np.full((len(positions), *value.shape[1:]), blank, dtype=dtype)
    spread[~lacking] = value[positions[~lacking]]
    return spread


def _as_ids(where: str, ids: Any) -> pd.Index[Any]:
    index = ids if isinstance(ids, pd.Index) else pd.Index(ids, tupleize_cols=False)
    missing = np.flatnonzero(index.isna())
    if len(missing):
        raise ValueError(
            f"{where} has {len(missing)} missing ids, the first at position "
            f"{missing[0]}."
        )
    twice = index[index.duplicated()].unique()
    if len(twice):
        raise ValueError(f"{where} has {_ids_text(twice)} more than once.")
    return index


def _ids_text(ids: pd.Index[Any], limit: int = 5) -> str:
    shown = ", ".join(map(repr, ids[:limit].tolist()))
    more = f" (and {len(ids) - limit} more)" if len(ids) > limit else ""
    return f"the id{'s' if len(ids) > 1 else ''} {shown}{more}"


def _check_same_kind(given: Mapping[str, pd.Index[Any]]) -> None:
    """Refuse numbers here and strings there, which never match."""
    kinds: dict[str, str] = {}
    for where, index in given.items():
        kind = "numbers" if index.inferred_type in ("integer", "floating") else ""
        kind = "strings" if index.inferred_type == "string" else kind
        if kind and len(index):
            kinds.setdefault(kind, where)
    if len(kinds) > 1:
        raise TypeError(
            f"The ids of {kinds['numbers']} are numbers and those of "
            f"{kinds['strings']} are strings, which never match; make them of one type."
        )


def _is_modality_frame(X: Any) -> bool:
    return is_frame(X) and X.columns.nlevels > 1


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
    return value.iloc[rows] if is_frame(value) else value[rows]


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
    return mapping or is_dataset(X) or _is_modality_frame(X)


def is_dataset(X: Any) -> bool:
    # Told by its attributes so that xarray need not be imported.
    return hasattr(X, "data_vars") and hasattr(X, "dims")


def sample_dimension(dataset: Any, sample_dim: Hashable = None) -> Hashable:
    """Return the dimension of an xarray.Dataset that counts the samples."""
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
        scalars = [name for name, variable in variables.items() if not variable.dims]
        hint = f" Drop the variables without dimensions: {scalars}." if scalars else ""
        raise ValueError(
            "One dimension of the Dataset has to count the samples of every "
            "variable: call it 'sample', or use "
            "ModalityDict.from_xarray(dataset, sample_dim=...). Dimensions that "
            f"all variables share: {shared}; asked for: {sample_dim!r}.{hint}"
        )
    return sample_dim


def is_data_array(X: Any) -> bool:
    return hasattr(X, "coords") and hasattr(X, "dims") and not is_dataset(X)


def shared_sample_dim(X: Mapping[str, Any]) -> Hashable:
    """Return the dimension of the DataArrays in a mapping that counts the samples.

    None if there is no DataArray, or it is not clear which one it is.
    """
    dims = [value.dims for value in X.values() if is_data_array(value)]
    shared = [dim for dim in (dims[0] if dims else ()) if all(dim in d for d in dims)]
    return shared[0] if len(shared) == 1 else "sample" if "sample" in shared else None


def rows_first(X: Mapping[str, Any], sample_dim: Hashable = None) -> Mapping[str, Any]:
    """Bring the sample dimension of the DataArrays in a mapping to the front.

    It is `sample_dim` if that is given; else ``"sample"`` if there is one, else the
    only dimension that all DataArrays share, else the first.
    """
    if not any(map(is_data_array, X.values())):
        return X
    known = shared_sample_dim(X) if sample_dim is None else sample_dim
    turned: dict[str, Any] = {}
    for name, value in X.items():
        if is_data_array(value):
            if sample_dim is not None and sample_dim not in value.dims:
                raise ValueError(
                    f"Modality {name!r} has the dimensions {list(value.dims)}; that "
                    f"which counts the samples was {sample_dim!r} in fit."
                )
            own = "sample" if known is None and "sample" in value.dims else known
            value = value if own is None else value.transpose(own, ...)
        turned[name] = value
    return turned


def labelled_columns(X: Any) -> Any:
    """Return a flat DataArray whose columns have names as a frame, others as they are.

    scikit-learn knows names of frames only.
    """
    if not is_data_array(X):
        return X
    X = rows_first({"X": X})["X"]
    if X.ndim != 2 or X.dims[1] not in X.coords:
        return X
    return pd.DataFrame(X.values, columns=X.coords[X.dims[1]].values)


def _unpacked(
    variable: Any,
) -> tuple[
    np.ndarray[Any, Any],
    tuple[tuple[Hashable, ...] | None, ...],
    tuple[Hashable, ...],
]:
    """Return the values of a DataArray, the names along its axes, and its dimensions.

    The samples are along its first dimension, which has no names here.
    """
    labels = tuple(
        tuple(variable.coords[dim].values.tolist()) if dim in variable.coords else None
        for dim in variable.dims[1:]
    )
    values, dims = variable.values, tuple(variable.dims)
    if values.ndim == 1:
        return values.reshape(-1, 1), (None,), dims
    return values, labels, dims


def read_named(X: Any, sample_dim: Hashable = None) -> ModalityDict:
    """Read a mapping, ``xarray.Dataset`` or MultiIndex frame as a ModalityDict."""
    if isinstance(X, ModalityDict):
        return X
    if is_dataset(X):
        return ModalityDict.from_xarray(X, sample_dim)
    if _is_modality_frame(X):
        return ModalityDict.from_frame(X)
    if isinstance(X, Mapping) and sample_dim is not None:
        X = rows_first(X, sample_dim)
    return ModalityDict(X)


def restrict(X: Any, modality: str) -> ModalityDict:
    """Return the one named modality of an `X` that names its modalities."""
    if not is_named(X):
        raise TypeError(
            f"Cannot take modality {modality!r} out of a {type(X).__name__}: only a "
            "ModalityDict, dict, xarray.Dataset or a DataFrame with a column "
            "MultiIndex says which modality is which."
        )
    X = read_named(X)
    if modality not in X:
        raise ValueError(f"X lacks the modality {modality!r}; it holds {list(X)}.")
    return X.select(modality)
