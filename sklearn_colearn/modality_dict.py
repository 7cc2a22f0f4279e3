"""The container of modalities, and readers of X with named modalities."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_colearn.frames import Parts, read_long, read_wide

__all__ = ["ModalityDict"]

#: An array or a DataFrame.
Values = Any
AxisLabels = tuple[tuple[Hashable, ...] | None, ...]

#: The largest number that the networks accept.
FLOAT32_MAX = float(np.finfo(np.float32).max)

#: Attributes that declare a nodata value.
NODATA = ("_FillValue", "nodata", "missing_value", "fill_value")

#: Lower-case names of dimensions and column levels that hold bands or time steps.
BAND_NAMES = {"band", "bands", "channel", "channels", "variable", "variables"}
TIME_NAMES = {
    *("time", "times", "t", "date", "dates", "datetime", "step", "steps", "timestep"),
    *("timesteps", "time_step", "day", "doy", "week", "month", "months", "season"),
    *("year", "years"),
}


class _Read(NamedTuple):
    values: Values
    rows: pd.Index[Any] | None = None  # row labels; may be a default index
    labels: AxisLabels | None = None
    dims: tuple[Hashable, ...] | None = None


class ModalityDict(dict[str, Values]):
    """A dict of modality arrays that scikit-learn can slice by rows.

    A modality is a table (n_samples, n_features), time series (n_samples, n_timesteps,
    n_bands) or images (n_samples, height, width, n_bands). Row ``i`` of every modality
    belongs to the same sample, and ``len(X)`` is the number of samples.

    Parameters
    ----------
    modalities : mapping of str to array-like of shape (n_samples, ...), optional
        Modalities by name. DataFrames, also of polars and pyarrow, become pandas
        DataFrames, other values arrays, and None in a list of rows a row of NaN.
        ``xarray`` objects are transposed by dimension name to (sample, time, band) or
        (sample, y, x, band), and their nodata values become NaN. The variables of a
        Dataset are bands. The sample dimension is ``"sample"``, else the only one that
        all objects share, else the first.
    **named : array-like of shape (n_samples, ...)
        More modalities.

    Attributes
    ----------
    shape, ndim, dtype, layout
        Form of the flat array, with all modalities side by side.
    ids : ndarray of shape (n_samples,), or None
        Row labels: ids from :meth:`align`, a DataFrame's non-default index, or xarray's
        sample coordinate. Labels with several levels are tuples.
    labels : dict of str to tuple
        Names of steps and bands: an entry for each axis after the first, None for
        unnamed axes.
    dims : dict of str to tuple
        Names of xarray dimensions.
    dropped : tuple of str
        Modalities left out by :meth:`select`.

    Raises
    ------
    ValueError
        If modalities differ in their number of rows or row labels, or one has fewer
        than two axes, ragged rows or duplicate columns.
    TypeError
        If a name is not a string, or a value is sparse or a frame of another library.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_colearn import ModalityDict
    >>> X = ModalityDict(S1=np.zeros((5, 12, 2)), weather=np.zeros((5, 3)))
    >>> len(X), X.shape
    (5, (5, 27))
    >>> X[1:3]
    ModalityDict(S1: (2, 12, 2) float64, weather: (2, 3) float64)
    >>> X.layout
    {'S1': (slice(0, 24, None), (12, 2)), 'weather': slice(24, 27, None)}
    """

    labels: dict[str, AxisLabels]
    dims: dict[str, tuple[Hashable, ...]]
    ids: np.ndarray[Any, Any] | None = None
    dropped: tuple[str, ...] = ()
    ndim = 2  # of the flat form

    def __init__(
        self, modalities: Mapping[str, Values] | None = None, /, **named: Values
    ) -> None:
        super().__init__()
        self.labels, self.dims = {}, {}
        # Not `modalities or {}`: a ModalityDict without rows is falsy.
        modalities = {} if modalities is None else modalities
        if not isinstance(modalities, Mapping) or _is_sparse(modalities):
            raise TypeError(
                "ModalityDict expects a mapping {name: array}, got "
                f"{type(modalities).__name__}."
            )
        self.update(modalities, **named)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_samples, n_features)`` of the flat form."""
        return len(self), sum(math.prod(v.shape[1:]) for v in self.values())

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the flat form."""
        return np.asarray(self[:0]).dtype  # pandas decides for mixed columns

    @property
    def layout(self) -> dict[str, slice | tuple[slice, tuple[int, ...]]]:
        """Columns of each modality in the flat form ``numpy.asarray(X)``.

        Tables have a slice, others ``(slice, shape)``. Pass it as ``modalities=`` to an
        estimator that reads the flat form.
        """
        layout, start = {}, 0
        for name, value in self.items():
            trailing = tuple(value.shape[1:])
            columns = slice(start, start := start + math.prod(trailing))
            layout[name] = columns if len(trailing) == 1 else (columns, trailing)
        return layout

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError(
                "Cannot convert a ModalityDict to an array without a copy."
            )
        if not self.keys():
            return np.empty((0, 0), dtype=dtype)
        # reshape(n, -1) would be ambiguous without rows.
        flat = [
            np.asarray(v).reshape(len(v), math.prod(v.shape[1:])) for v in self.values()
        ]
        joined = np.concatenate(flat, axis=1)
        return joined if dtype is None else joined.astype(dtype, copy=False)

    def __len__(self) -> int:
        return next((int(value.shape[0]) for value in self.values()), 0)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self:
                raise KeyError(f"Unknown modality {key!r}; X contains {list(self)}.")
            return super().__getitem__(key)
        if isinstance(key, tuple):
            if len(key) == 2 and key[1] is Ellipsis:
                return self[key[0]]
            return np.asarray(self)[key]
        rows = key
        if not isinstance(key, slice):
            rows = np.asarray(key)
            if rows.ndim == 0 and rows.dtype.kind in "iub":
                row = int(rows)
                raise TypeError(
                    "Cannot index a ModalityDict by a single row number. Use "
                    f"X[{row}:{'' if row == -1 else row + 1}] for row {row}, or the "
                    "name of a modality."
                )
            if rows.size == 0 and rows.dtype != bool:
                rows = rows.astype(np.intp)
            if rows.dtype.kind not in "iub" or rows.ndim != 1:
                raise TypeError(
                    f"Rows must be a slice, integers or booleans; got {key!r}. Use "
                    "X.select([...]) for several modalities."
                )
        taken = self._with(
            {m: v.iloc[rows] if is_frame(v) else v[rows] for m, v in self.items()}
        )
        taken.ids = None if self.ids is None else self.ids[rows]
        return taken

    def __setitem__(self, name: str, value: Values) -> None:
        self._put(name, _read(name, rows_first({name: value})[name]))

    def _put(self, name: str, read: _Read) -> None:
        """Check a modality against the others and set it."""
        if not isinstance(name, str):
            kind = type(name).__name__
            raise TypeError(f"Modality names must be strings; got {name!r} ({kind}).")
        value, rows = read.values, read.rows
        others = {n: v.shape[0] for n, v in self.items() if n != name}
        if others and value.shape[0] != next(iter(others.values())):
            lengths = {**others, name: value.shape[0]}
            raise ValueError(
                "All modalities must have the same number of rows, one per sample; got "
                f"{str(lengths)[1:-1]}."
            )
        if others and (clash := _clash(self._index(), rows)):
            pairs = ", ".join(f"{n!r}: ..." for n in (*others, name))
            row, own, new = clash
            raise ValueError(
                f"The row labels of modality {name!r} differ from "
                f"{str(list(others))[1:-1]}: row {row} is {new!r} instead of {own!r}. "
                f"Use ModalityDict.align({{{pairs}}}) to match rows by label."
            )
        if not others and (name not in self or len(self) != value.shape[0]):
            self.ids = None  # all rows are replaced
        super().__setitem__(name, value)
        if rows is not None and not _is_default(rows):
            self.ids = rows.to_numpy()
        known: Any
        for known, given in ((self.labels, read.labels), (self.dims, read.dims)):
            known.pop(name, None)
            if given is not None:
                known[name] = given
        self.dropped = tuple(n for n in self.dropped if n != name)

    def _index(self) -> pd.Index[Any] | None:
        """Return the row labels, else a frame's default index, else None."""
        if self.ids is not None:
            return pd.Index(self.ids, tupleize_cols=False)
        frames = [v for v in self.values() if is_frame(v) and _is_default(v.index)]
        return frames[0].index if frames else None

    def update(self, other: Any = (), /, **named: Values) -> None:
        """Set several modalities, each checked like ``X[name] = array``."""
        reads, dropped = {}, self.dropped
        if isinstance(other, ModalityDict):
            rows = other._index()  # the index of a sliced frame may differ
            for m, value in other.items():
                reads[m] = _Read(value, rows, other.labels.get(m), other.dims.get(m))
            other, dropped = {}, dropped + other.dropped
        given = rows_first(dict(other, **named))
        reads |= {name: _read(name, value) for name, value in given.items()}
        for name, read in reads.items():
            self._put(name, read)
        self.dropped = tuple(n for n in dict.fromkeys(dropped) if n not in self)

    def setdefault(self, name: str, default: Values = None) -> Values:
        """Return a modality; if absent, check and set `default`."""
        if name not in self:
            self[name] = default
        return self[name]

    def __or__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        joined = self.copy()
        joined.update(other)
        return joined

    def __ror__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        return type(self)(other) | self

    def __ior__(self, other: Mapping[str, Values]) -> ModalityDict:  # type: ignore[override]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, pickle sets items one by one, which checks frames against ids.
        return _restored, (type(self), dict(self), self.__dict__)

    def copy(self) -> ModalityDict:
        """Return a shallow copy."""
        return self._with(self)

    __copy__ = copy

    def select(self, names: str | Iterable[str]) -> ModalityDict:
        """Return only the named modalities, without copying.

        Parameters
        ----------
        names : str or iterable of str
            Modalities to keep, in this order. Absent names raise a KeyError; `dropped`
            lists the others.
        """
        names = [names] if isinstance(names, str) else list(names)
        chosen = self._with({name: self[name] for name in names})
        chosen.dropped += tuple(name for name in self if name not in chosen)
        return chosen

    def __repr__(self) -> str:
        kinds = ("DataFrame" if is_frame(v) else v.dtype for v in self.values())
        parts = zip(self.items(), kinds, strict=True)
        texts = [f"{name}: {tuple(v.shape)} {kind}" for (name, v), kind in parts]
        return f"{type(self).__name__}({', '.join(texts)})"

    def _with(self, modalities: Mapping[str, Values]) -> ModalityDict:
        """Return a container of some of the modalities or rows."""
        made = _restored(type(self), modalities, self.__dict__)
        made.labels = {m: v for m, v in self.labels.items() if m in modalities}
        made.dims = {m: v for m, v in self.dims.items() if m in modalities}
        return made

    def with_values(self, modalities: Mapping[str, Values]) -> ModalityDict:
        """Return new values of the same rows, keeping `ids` and `dropped`.

        Parameters
        ----------
        modalities : mapping of str to array-like of shape (n_samples, ...)
            New values by modality.
        """
        made = type(self)()
        for name, value in modalities.items():
            made._put(name, _read(name, value)._replace(rows=None))
        made.ids, made.dropped = self.ids, self.dropped
        return made

    @classmethod
    def align(
        cls, archives: Mapping[str, Any], ids: Any = None, *, drop_others: bool = False
    ) -> ModalityDict:
        """Join archives with different rows by id.

        Parameters
        ----------
        archives : mapping of str to labelled values or tuple (ids, values)
            For each modality, a DataFrame or xarray object with row labels, or a pair
            of shapes (n_rows,) and (n_rows, ...). Ids must be unique within an archive.
            Several levels, such as (plot, year), are a MultiIndex or tuples.
        ids : array-like of shape (n_samples,), default=None
            Ids of the result, in order. By default all, in order of first appearance.
        drop_others : bool, default=False
            Whether to drop rows whose id is not in `ids` instead of raising an error.

        Returns
        -------
        ModalityDict
            NaN (NaT for dates) in rows that an archive lacks.

        Raises
        ------
        ValueError
            If an id is missing or duplicated, is in `ids` but no archive or vice versa,
            or contradicts row labels.
        TypeError
            If an archive has no ids, or ids mix numbers and strings.

        Warns
        -----
        UserWarning
            If an archive shares no id with any other.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> S1 = ["p1", "p2", "p3"], np.ones((3, 12, 2))
        >>> soil = pd.DataFrame({"clay": [0.2, 0.3]}, index=["p3", "p4"])
        >>> X = ModalityDict.align({"S1": S1, "soil": soil})
        >>> X
        ModalityDict(S1: (4, 12, 2) float64, soil: (4, 1) DataFrame)
        >>> pd.Series({"p4": 1.0, "p1": 0.0}).reindex(X.ids).tolist()  # labels
        [0.0, nan, nan, 1.0]
        """
        if not archives:
            raise ValueError("Expected at least one archive to align, got none.")
        reads = {name: _archive(name, archive) for name, archive in archives.items()}
        indexes = {name: index for name, (index, _) in reads.items()}
        first, *others = indexes.values()
        wanted = everything = first.append(others).unique()
        given = {f"archive {name!r}": index for name, index in indexes.items()}
        if ids is not None:
            given["ids="] = wanted = _as_ids("ids=", ids)
        _check_same_kind(given)
        _warn_of_strangers(indexes)
        nowhere = wanted.difference(everything, sort=False)
        if len(nowhere):
            raise ValueError(
                f"ids= contains {listed('the id', nowhere)}, absent from every archive."
            )
        made = cls()
        for name, (index, read) in reads.items():
            more = index.difference(wanted, sort=False)
            if len(more) and not drop_others:
                raise ValueError(
                    f"Archive {name!r} contains {listed('the id', more)}, absent from "
                    "ids=. Pass drop_others=True to drop such rows. To keep them "
                    "unlabelled, omit ids= and pass "
                    "pandas.Series(y, ids).reindex(X.ids) as y."
                )
            values = with_blanks(read.values, index.get_indexer(wanted), wanted)
            made._put(name, read._replace(values=values, rows=wanted))
        return made

    @classmethod
    def from_frame(cls, frame: Any) -> ModalityDict:
        """Read a DataFrame whose first column level is the modality.

        Parameters
        ----------
        frame : DataFrame of shape (n_samples, n_columns)
            Columns ``(modality, feature)`` become tables. Columns
            ``(modality, time step, band)`` become time series, or tables if the last
            level is always ``""``. Band and step may be swapped if their levels are
            named (``"band"``, ``"time"``), or one holds dates or numbers and the other
            text.

        Returns
        -------
        ModalityDict
            DataFrames, and arrays (n_samples, n_timesteps, n_bands), in column order.

        Raises
        ------
        ValueError
            If the columns have other levels or duplicates, or a time step lacks a band.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> columns = pd.MultiIndex.from_product([["S1"], ["vv", "vh"]])
        >>> ModalityDict.from_frame(pd.DataFrame([[1.0, 2.0]], columns=columns))
        ModalityDict(S1: (1, 2) DataFrame)
        """
        frame = as_frame(frame)
        levels = frame.columns.nlevels if is_frame(frame) else 0
        if levels not in (2, 3):
            raise ValueError(
                "Expected column levels (modality, feature) or (modality, time step, "
                f"band); got {levels} level(s)."
            )
        made = cls()
        modalities = frame.columns.get_level_values(0)
        for name in modalities.unique():
            # For a single column ("height", ""), frame[name] is a Series.
            table = frame.loc[:, modalities == name].droplevel(0, axis=1)
            _check_columns(name, table)
            labels = None
            if table.columns.nlevels == 2:
                if set(table.columns.get_level_values(1)) == {""}:
                    table = table.droplevel(1, axis=1)
                else:
                    table, labels = _time_series(name, table)
            read = _read(name, table)
            made._put(name, read._replace(rows=frame.index, labels=labels))
        return made

    @classmethod
    def from_long(
        cls,
        table: Any,
        *,
        id: Hashable,
        date: Hashable,
        bands: Mapping[str, Hashable | Sequence[Hashable]],
        static: Mapping[str, Hashable | Sequence[Hashable]] | None = None,
        freq: str | None = None,
        how: str | Mapping[str, str] = "mean",
        start: Any = None,
        end: Any = None,
        repeated: str = "raise",
        nodata: float | Sequence[float] | Mapping[str, Any] | None = None,
    ) -> ModalityDict:
        """Read a long table: one row per plot and date, or per plot, date and sensor.

        Parameters
        ----------
        table : pandas, polars or pyarrow DataFrame
            Rows in any order.
        id, date : hashable
            Columns of plot ids and of dates: datetimes, ISO 8601 strings or days.
        bands : dict of str to str or list of str
            Columns of each time series.
        static : dict of str to str or list of str, default=None
            Columns of each table of constants, such as terrain.
        freq : str, default=None
            Period of composites in pandas, such as ``"MS"`` (months) or ``"10D"``. By
            default, dates are kept.
        how : str or dict, default='mean'
            ``"mean"``, ``"median"``, ``"min"``, ``"max"``, ``"sum"``, ``"first"`` or
            ``"last"`` of each period, or a dict by modality or column; others use the
            mean.
        start, end : date-like, default=None
            First and last date; by default, those of the table. Pass both with `freq`
            to read new plots with the same steps.
        repeated : {'raise', 'mean'}, default='raise'
            Whether to refuse or average rows of the same plot and date, without `freq`.
        nodata : float, list of float, or dict of str to either, default=None
            Nodata values besides NaN, for all or by modality.

        Returns
        -------
        ModalityDict
            Float64 time series (n_samples, n_timesteps, n_bands) and tables, with plots
            in order of first appearance as `ids`. With `freq` or shared dates, steps
            are labelled by date. Otherwise series are padded with NaN, and the entry
            ``"S1_times"`` has the dates of ``"S1"``: pass ``times={"S1": "S1_times"}``
            to the estimators.

        Raises
        ------
        ValueError
            If a column is absent or not numeric, an id is missing, a date is invalid or
            repeated, or a static value changes.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> table = pd.DataFrame({
        ...     "plot": ["a", "a", "b", "b"],
        ...     "date": ["2021-05-02", "2021-06-11", "2021-05-09", "2021-06-30"],
        ...     "VV": [-9.0, -8.5, -11.0, -12.0],
        ...     "slope": [3.0, 3.0, 5.0, 5.0],
        ... })
        >>> ModalityDict.from_long(
        ...     table, id="plot", date="date", bands={"S1": "VV"},
        ...     static={"terrain": "slope"}, freq="MS",
        ... )
        ModalityDict(S1: (2, 2, 1) float64, terrain: (2, 1) DataFrame)
        """
        parts = read_long(
            _needed_frame(table),
            id=id,
            date=date,
            bands=bands,
            static=static,
            freq=freq,
            how=how,
            start=start,
            end=end,
            repeated=repeated,
            nodata=nodata,
        )
        return cls._of_parts(parts)

    @classmethod
    def from_wide(
        cls,
        table: Any,
        pattern: str,
        *,
        bands: Mapping[str, Hashable | Sequence[Hashable]] | None = None,
        static: Mapping[str, Hashable | Sequence[Hashable]] | None = None,
        id: Hashable = None,
        nodata: float | Sequence[float] | Mapping[str, Any] | None = None,
    ) -> ModalityDict:
        """Read a wide table: one row per plot and one column per band and step.

        Parameters
        ----------
        table : pandas, polars or pyarrow DataFrame
        pattern : str
            Column names with ``{band}``, ``{step}`` and optionally ``{modality}``:
            ``"{band}_ts{step}"`` matches ``B02_ts0``. Steps, numbers or dates such as
            ``20210701``, are sorted. Other columns are ignored.
        bands : dict of str to str or list of str, default=None
            Bands of each modality. The default, all that match, needs ``{modality}``.
        static : dict of str to str or list of str, default=None
            Columns of each table of constants.
        id : hashable, default=None
            Column of plot ids. By default, the index of the table.
        nodata : float, list of float, or dict of str to either, default=None
            Nodata values besides NaN, for all or by modality.

        Returns
        -------
        ModalityDict
            Float64 time series (n_samples, n_timesteps, n_bands) and tables.

        Raises
        ------
        ValueError
            If no column matches, a band lacks a step, or a column is not numeric.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> table = pd.DataFrame({"B2_ts1": [2.0], "B2_ts0": [1.0], "crop": ["rye"]})
        >>> X = ModalityDict.from_wide(table, "{band}_ts{step}", bands={"S2": "B2"})
        >>> X["S2"].tolist()
        [[[1.0], [2.0]]]
        """
        parts = read_wide(
            _needed_frame(table),
            pattern,
            bands=bands,
            static=static,
            id=id,
            nodata=nodata,
        )
        return cls._of_parts(parts)

    @classmethod
    def _of_parts(cls, parts: Parts) -> ModalityDict:
        made = cls()
        for name, part in parts.entries.items():
            read = _read(name, part.values)
            made._put(name, read._replace(rows=parts.ids, labels=part.labels))
        return made

    def join_labels(
        self,
        table: Any,
        label: Any,
        *,
        id: Hashable = None,
    ) -> tuple[ModalityDict, np.ndarray[Any, Any]]:
        """Return the labelled rows and their labels.

        Parameters
        ----------
        table : pandas, polars or pyarrow DataFrame
            Labels by id; several rows of an id must agree.
        label : hashable or list of hashable
            Columns of labels.
        id : hashable, default=None
            Column of ids. By default, the index of the table.

        Returns
        -------
        X : ModalityDict
            Rows with a label, in their order.
        y : ndarray of shape (n_labelled,) or (n_labelled, n_columns)
            Their labels, in the type of the column. Whole numbers become integers.

        Raises
        ------
        ValueError
            If X has no ids, a column is absent, an id has two labels, or none has a
            label.
        TypeError
            If ids mix numbers and strings.

        Warns
        -----
        UserWarning
            If rows of X are unlabelled, or labels have no row in X.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn_colearn import ModalityDict
        >>> soil = pd.DataFrame({"clay": [0.2, 0.3]}, index=["a", "b"])
        >>> table = pd.DataFrame({"plot": ["b", "a"], "crop": [7, 5]})
        >>> X, y = ModalityDict(soil=soil).join_labels(table, "crop", id="plot")
        >>> y.tolist()
        [5, 7]
        """
        if self.ids is None:
            raise ValueError(
                "X has no ids to join labels by. Make it with from_long or align, or "
                "from frames with an index."
            )
        table = _needed_frame(table)
        columns = list(label) if isinstance(label, list) else [label]
        absent = [c for c in (*columns, id) if c is not None and c not in table.columns]
        if absent:
            raise ValueError(
                f"The table lacks the columns {absent}; it contains "
                f"{list(table.columns)}."
            )
        where = table.index if id is None else pd.Index(table[id])
        labels = table[columns].set_axis(where.to_flat_index())
        labels = labels[~(labels.isna().any(axis=1) | labels.index.isna())]
        labels = labels.reset_index(names="").drop_duplicates().set_index("")
        twice = labels.index[labels.index.duplicated()]
        if len(twice):
            found = labels.loc[[twice[0]]].to_numpy().tolist()[:2]
            raise ValueError(
                f"The table has different labels for {listed('the id', twice.unique())}"
                f": {twice[0]!r} has {found[0]} and {found[1]}."
            )
        ids = pd.Index(self.ids, tupleize_cols=False)
        _check_same_kind({"X": ids, "the table": labels.index})
        places = labels.index.get_indexer(ids)
        known = places >= 0
        if not known.any():
            raise ValueError(
                f"No id of X has a label: X has {listed('the id', ids[:3])}, the table "
                f"has {listed('the id', labels.index[:3])}."
            )
        without = ids[~known].unique()
        unused = labels.index.difference(ids, sort=False)
        told = [
            f"{what}: {len(some)} ({listed('the id', some, 3)})"
            for what, some in (
                ("Dropped ids of X without a label", without),
                ("Ids of the table that X lacks", unused),
            )
            if len(some)
        ]
        if told:
            warnings.warn(f"{'. '.join(told)}.", UserWarning, stacklevel=2)
        y = labels.iloc[places[known]].apply(_without_gaps)
        return self[known], (y if isinstance(label, list) else y[label]).to_numpy()

    @classmethod
    def from_xarray(cls, dataset: Any, sample_dim: Hashable = None) -> ModalityDict:
        """Read an ``xarray.Dataset`` whose variables are modalities.

        Parameters
        ----------
        dataset : xarray.Dataset
            Variables with the sample dimension and none (one feature), one (features),
            two (time, band) or three (y, x, band) others.
        sample_dim : hashable, default=None
            By default, ``"sample"``, else the only dimension that all variables share.

        Raises
        ------
        ValueError
            If the sample dimension is absent or ambiguous.
        """
        made = cls()
        sample_dim = sample_dimension(dataset, sample_dim)
        for name, variable in rows_first(_variables(dataset), sample_dim).items():
            made._put(name, _read(name, variable))
        return made


def _restored(
    cls: type[ModalityDict], modalities: Mapping[str, Values], known: dict[str, Any]
) -> ModalityDict:
    """Make a container without checking its values."""
    made = cls()
    dict.update(made, modalities)
    made.__dict__.update(known)
    return made


# -- reading one modality --------------------------------------------------------------


def is_frame(X: Any) -> bool:
    return isinstance(X, pd.DataFrame)


def as_frame(value: Any) -> Any:
    """Return a polars or pyarrow frame as a pandas DataFrame, others unchanged."""
    if is_frame(value) or not hasattr(type(value), "columns"):
        return value
    library = type(value).__module__.partition(".")[0]
    if library == "polars" and hasattr(value, "get_columns"):
        # The to_pandas of polars needs pyarrow.
        return pd.DataFrame({c.name: c.to_numpy() for c in value.get_columns()})
    if library == "pyarrow":
        return value.to_pandas(date_as_object=False)
    raise TypeError(
        f"Cannot read a {type(value).__name__} of {library}. Collect or compute it as "
        "a pandas DataFrame."
    )


def _without_gaps(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a complete column with a plain numpy type."""
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        column = column.astype(kind.categories.dtype)
    elif hasattr(kind, "numpy_dtype"):  # Int64, boolean
        column = column.astype(kind.numpy_dtype)
    elif kind.kind == "f" and (column == column.round()).all():
        column = column.astype(np.int64)
    return column


def _needed_frame(table: Any) -> pd.DataFrame:
    table = as_frame(table)
    if not is_frame(table):
        raise TypeError(
            "Expected a pandas, polars or pyarrow DataFrame; got "
            f"{type(table).__name__}."
        )
    if table.columns.has_duplicates:
        twice = table.columns[table.columns.duplicated()].unique()
        raise ValueError(f"The table has {listed('the column', twice)} more than once.")
    return table


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


def _read(name: str, value: Any) -> _Read:
    """Read and check a modality whose first axis is the samples."""
    value = as_frame(value)
    if isinstance(value, pd.Series):
        value = value.to_frame()
    if is_dataset(value) or is_data_array(value):
        read = _unpacked(name, value)
        if read.values.ndim == 1:
            read = read._replace(values=read.values.reshape(-1, 1), labels=(None,))
    elif is_frame(value):
        _check_columns(name, value)
        read = _Read(value, value.index)
    elif _is_sparse(value):
        raise TypeError(f"Modality {name!r} is a sparse matrix; pass its toarray().")
    else:
        value = _stacked(name, value) if isinstance(value, list | tuple) else value
        read = _Read(as_array(value))
        _check_cells(f"Modality {name!r}", read.values)
    if read.values.ndim < 2:
        raise ValueError(
            f"Modality {name!r} has shape {read.values.shape}; expected (n_samples, "
            "n_features), (n_samples, n_timesteps, n_bands) or (n_samples, height, "
            "width, n_bands). For a single feature, pass array.reshape(-1, 1)."
        )
    return read


def _check_columns(name: str, frame: pd.DataFrame) -> None:
    twice = frame.columns[frame.columns.duplicated()].tolist()
    if twice:
        raise ValueError(
            f"Modality {name!r} has the column {twice[0]!r} more than once; drop one."
        )
    for column, cells in frame.items():
        _check_cells(f"Column {column!r} of modality {name!r}", cells.to_numpy())


def _check_cells(where: str, values: np.ndarray[Any, Any]) -> None:
    if values.dtype == object and any(map(pd.api.types.is_list_like, values.flat)):
        raise ValueError(
            f"{where} contains arrays instead of numbers; use np.stack(list(values))."
        )


def _stacked(name: str, rows: Any) -> Values:
    """Stack a list of rows, with a blank row for each None."""
    if not any(row is None or isinstance(row, np.ma.MaskedArray) for row in rows):
        try:
            return np.asarray(rows)
        except ValueError as ragged:
            if "inhomogeneous" not in str(ragged):
                raise
    there = [i for i, row in enumerate(rows) if row is not None]
    if not there:
        raise ValueError(
            f"Modality {name!r} contains only None ({len(rows)} rows); leave it out."
        )
    for i in there:
        try:
            same = np.shape(rows[i]) == np.shape(rows[there[0]])
        except ValueError:
            same = False
        if not same:
            raise ValueError(
                f"All rows of modality {name!r} must have one shape; row {i} is ragged "
                f"or differs from row {there[0]}. Pad rows with NaN."
            )
    positions = np.full(len(rows), -1)
    positions[there] = np.arange(len(there))
    return with_blanks(np.stack([as_array(rows[i]) for i in there]), positions)


def with_blanks(value: Values, positions: Any, index: Any = None) -> Values:
    """Take rows by position, blank rows at -1; `index` relabels a frame."""
    if is_frame(value):
        taken = value.reset_index(drop=True).reindex(positions)
        return taken.set_axis(pd.Index(index.to_numpy()), axis=0)
    if (positions < 0).any():
        blank: Any = np.nan
        if value.dtype.kind in "biuf":
            value = value.astype(np.result_type(value.dtype, np.float16), copy=False)
        elif value.dtype.kind in "mM":
            blank = "NaT"
        else:
            value, blank = value.astype(object), None
        row = np.full((1, *value.shape[1:]), blank, dtype=value.dtype)
        value = np.concatenate([value, row])  # so that -1 takes the blank row
    return value[positions]


# -- row labels ------------------------------------------------------------------------


def _is_default(index: pd.Index[Any]) -> bool:
    """Return whether an index only counts the rows."""
    counted = isinstance(index, pd.RangeIndex) and index.name is None
    return counted and index.equals(pd.RangeIndex(len(index)))


def row_labels(X: Any, sample_dim: Hashable = None) -> pd.Index[Any] | None:
    """Return the row labels of any X, or a default index."""
    if is_data_array(X):
        X = {"X": X}
    if is_named(X):
        return read_named(X, sample_dim)._index()
    return X.index if is_frame(X) else None


def _clash(
    own: pd.Index[Any] | None, new: pd.Index[Any] | None
) -> tuple[int, Any, Any] | None:
    """Return the first row with different labels, and both labels."""
    if own is None or new is None or own.equals(new):
        return None
    for one, other in ((own, new), (new, own)):
        # A default index is not compared, unless the other is a shuffle of it.
        if _is_default(one) and not (
            other.inferred_type == "integer" and other.sort_values().equals(one)
        ):
            return None
    # None equals itself, unlike NaN.
    plain = ([None if pd.isna(v) else v for v in index] for index in (own, new))
    pairs = enumerate(zip(*plain, strict=True))
    return next(((row, a, b) for row, (a, b) in pairs if a != b), None)


def _archive(name: str, archive: Any) -> tuple[pd.Index[Any], _Read]:
    """Return the ids and the values of an archive."""
    pair = isinstance(archive, tuple | list) and len(archive) == 2
    given, value = archive if pair else (None, archive)
    read = _read(name, rows_first({name: value})[name])
    own = None if read.rows is None or _is_default(read.rows) else read.rows
    if not pair and own is None:
        raise TypeError(
            f"Archive {name!r} must be a pair (ids, values), or a frame or xarray "
            f"object with row labels; got {type(archive).__name__} without row labels."
        )
    ids = _as_ids(f"Archive {name!r}", given if pair else own)
    if len(ids) != read.values.shape[0]:
        raise ValueError(
            f"Archive {name!r} has {len(ids)} ids but {len(read.values)} rows."
        )
    clashes = [] if own is None else [_clash(ids, own)]
    if isinstance(given, pd.Series) and not _is_default(given.index):
        clashes.append(_clash(given.index, read.rows))  # a column of the same frame
    if clashes and (clash := clashes[0]) and all(clashes):
        raise ValueError(
            f"The ids of archive {name!r} contradict its row labels: "
            + "row {} is {!r} in the ids and {!r} in the archive. ".format(*clash)
            + "Pass the archive without ids, or drop its row labels with "
            "reset_index(drop=True)."
        )
    return ids, read


def _as_ids(where: str, ids: Any) -> pd.Index[Any]:
    """Return ids as a flat index; those with several levels become tuples."""
    if hasattr(ids, "to_index"):  # a coordinate
        ids = ids.to_index()
    index = ids if isinstance(ids, pd.Index) else pd.Index(ids, tupleize_cols=False)
    missing = np.flatnonzero(index.to_frame().isna().any(axis=1))
    index = index.to_flat_index()
    if n := len(missing):
        raise ValueError(
            f"{where} has {n} missing ids, the first at position {missing[0]}."
        )
    twice = index[index.duplicated()].unique()
    if len(twice):
        raise ValueError(f"{where} has {listed('the id', twice)} more than once.")
    return index


def listed(noun: str, items: Any, limit: int = 5) -> str:
    """Format items: ``id 3`` or ``ids 0, 1 (and 7 more)``."""
    return f"{noun}{'s' if len(items) > 1 else ''} {first_few(items, limit, repr)}"


def first_few(items: Any, limit: int = 10, text: Callable[[Any], str] = str) -> str:
    """Join at most `limit` items, and count the others: ``a, b (and 7 more)``."""
    more = f" (and {len(items) - limit} more)" if len(items) > limit else ""
    return ", ".join(map(text, items[:limit])) + more


def _check_same_kind(given: Mapping[str, pd.Index[Any]]) -> None:
    """Refuse a mix of numbers and strings, which never match."""
    kinds = {"integer": "numbers", "floating": "numbers", "string": "strings"}
    of = {kinds.get(index.inferred_type): where for where, index in given.items()}
    if {"numbers", "strings"} <= of.keys():
        raise TypeError(
            f"The ids of {of['numbers']} are numbers, but the ids of {of['strings']} "
            "are strings. Convert them to one type."
        )


def _warn_of_strangers(indexes: Mapping[str, pd.Index[Any]]) -> None:
    filled = {name: index for name, index in indexes.items() if len(index)}
    for name, index in filled.items():
        others = [other for other in filled if other != name]
        if others and not any(index.isin(filled[other]).any() for other in others):
            warnings.warn(
                f"Archive {name!r} shares no id with any other: {name!r} has "
                f"{index[0]!r}, {others[0]!r} has {filled[others[0]][0]!r}. Check the "
                "ids: sensors without common samples cannot learn from each other.",
                stacklevel=3,
            )
            return


# -- frames with several modalities ----------------------------------------------------


def _time_series(
    name: str, table: pd.DataFrame
) -> tuple[np.ndarray[Any, Any], AxisLabels]:
    """Return columns by step and band as a time series and its labels."""
    if _bands_first(table.columns):
        table = table.swaplevel(axis=1)
    steps, bands = (table.columns.get_level_values(i).unique() for i in (0, 1))
    grid = pd.MultiIndex.from_product([steps, bands])
    if lacking := list(grid.difference(list(table.columns))):
        raise ValueError(
            f"Modality {name!r} must have every band at every time step; missing: "
            f"{lacking[:5]}{' ...' if len(lacking) > 5 else ''}."
        )
    values = table[grid].to_numpy().reshape(len(table), len(steps), len(bands))
    return values, (tuple(steps), tuple(bands))


def _bands_first(columns: pd.Index[Any]) -> bool:
    """Return whether columns are (band, step), judged by level names, else entries."""

    def is_time(entry: Any) -> bool:  # a date, a number, or an ISO string
        iso = r"\d{4}-?\d\d(-?\d\d)?(\D|$)"
        return not isinstance(entry, str) or re.match(iso, entry) is not None

    order = [_rank(name) for name in columns.names]
    if order == [0, 0]:
        order = [-all(map(is_time, level)) for level in zip(*columns, strict=True)]
    return order[0] > order[1]


def _rank(name: Hashable) -> int:
    """Rank an axis by its name: -1 for time, 1 for bands, 0 for others."""
    name = str(name).lower()
    return (name in BAND_NAMES) - (name in TIME_NAMES)


# -- xarray ----------------------------------------------------------------------------


def canonical_dims(dims: Iterable[Hashable]) -> tuple[Hashable, ...]:
    """Keep the first dimension and put bands last; put time second of three."""
    dims = tuple(dims)
    rank = _rank if len(dims) == 3 else lambda dim: max(0, _rank(dim))
    return (*dims[:1], *sorted(dims[1:], key=rank))


def declared_nodata(variable: Any) -> tuple[float, ...]:
    """Return the nodata values in the attributes or encoding of a DataArray."""
    known = [variable.attrs]
    # With a scale or offset, the encoding describes values before decoding.
    if not {"scale_factor", "add_offset"} & set(variable.encoding):
        known.append(variable.encoding)
    told = [np.ravel(place[k]) for place in known for k in NODATA if k in place]
    numbers = [pd.to_numeric(value, errors="coerce") for part in told for value in part]
    return tuple(dict.fromkeys(float(n) for n in numbers if not np.isnan(n)))


def sentinels_of(missing_value: Any) -> tuple[float, ...]:
    """Return the sentinels of a ``missing_value`` as a tuple."""
    return () if missing_value is None else tuple(np.ravel(missing_value).tolist())


def equal_to(array: np.ndarray[Any, Any], missing_value: float) -> np.ndarray[Any, Any]:
    """Compare values with a sentinel in the type of the array."""
    # A float64 array may hold a sentinel rounded to float32.
    number = float(missing_value)
    single = float(np.float32(number)) if abs(number) <= FLOAT32_MAX else number
    if array.dtype == np.float64 and single != number:
        return (array == number) | (array == single)
    if array.dtype.kind == "f" and abs(number) <= np.finfo(array.dtype).max:
        return array == array.dtype.type(number)
    if array.dtype.kind in "biuf":
        array = array.astype(np.float64)
    return array == number


def _variables(dataset: Any) -> dict[str, Any]:
    """Return the variables of a Dataset, with its nodata values by default."""
    inherited = {name: dataset.attrs[name] for name in NODATA if name in dataset.attrs}
    return {
        name: variable
        if declared_nodata(variable)
        else variable.assign_attrs(inherited)
        for name, variable in dict(dataset.data_vars).items()
    }


def _with_gaps(variable: Any) -> np.ndarray[Any, Any]:
    """Return the values of a DataArray, with nodata as NaN."""
    values: np.ndarray[Any, Any] = variable.values
    if values.dtype.kind in "iuf":
        found = [equal_to(values, number) for number in declared_nodata(variable)]
        missing = np.any(found, axis=0)
        if np.any(missing):
            values = values.astype(np.result_type(values.dtype, np.float32))
            values[missing] = np.nan
    return values


def _unpacked(name: str, value: Any) -> _Read:
    """Read a DataArray or Dataset whose first dimension is the samples."""
    if is_dataset(value):
        return _unpacked_dataset(name, value)
    value = value.transpose(*canonical_dims(value.dims))
    indexes = [
        value.coords[dim].to_index() if dim in value.coords else None
        for dim in value.dims
    ]
    rows, *others = indexes or [None]
    labels = tuple(None if own is None else tuple(own.tolist()) for own in others)
    return _Read(_with_gaps(value), rows, labels, tuple(value.dims))


def _unpacked_dataset(name: str, dataset: Any) -> _Read:
    """Read a Dataset whose variables are the bands of one modality."""
    bands = _variables(dataset)
    dims = {band: tuple(variable.dims) for band, variable in bands.items()}
    if len(set(dims.values())) != 1 or any(_rank(d) > 0 for d in chain(*dims.values())):
        raise ValueError(
            f"Modality {name!r} is a Dataset, so its variables are bands and must have "
            f"the same dimensions, without a band dimension; got {dims}."
        )
    dates = [band for band, v in bands.items() if v.dtype.kind in "mM"]
    if 0 < len(dates) < len(bands):
        raise ValueError(
            f"Modality {name!r} contains dates in variable {dates[0]!r}; drop it."
        )
    first, *others = (_unpacked(name, variable) for variable in bands.values())
    return first._replace(
        values=np.stack([first.values, *(read.values for read in others)], axis=-1),
        labels=(*(first.labels or ()), tuple(bands)),
        dims=(*(first.dims or ()), "variable"),
    )


# -- reading X -----------------------------------------------------------------------


def is_named(X: Any) -> bool:
    """Return whether `X` names its modalities."""
    if isinstance(X, list | tuple) and any(getattr(x, "ndim", 0) > 1 for x in X):
        raise ValueError(
            f"X is a {type(X).__name__} of arrays. Pass several modalities as a dict "
            "{name: array}."
        )
    # scipy's dok_array is a dict too.
    mapping = isinstance(X, Mapping) and not _is_sparse(X)
    return mapping or is_dataset(X) or _is_modality_frame(X)


def _is_modality_frame(X: Any) -> bool:
    return is_frame(X) and X.columns.nlevels > 1


def is_dataset(X: Any) -> bool:
    # Check attributes, to avoid importing xarray.
    return hasattr(X, "data_vars") and hasattr(X, "dims")


def is_data_array(X: Any) -> bool:
    return hasattr(X, "coords") and hasattr(X, "dims") and not is_dataset(X)


def sample_dimension(dataset: Any, sample_dim: Hashable = None) -> Hashable:
    """Return the sample dimension of an xarray.Dataset."""
    variables = dict(dataset.data_vars)
    shared = [d for d in dataset.dims if all(d in v.dims for v in variables.values())]
    if sample_dim is None and "sample" in shared:
        return "sample"
    if sample_dim is None and len(shared) == 1:
        return shared[0]
    if sample_dim not in shared:
        scalars = [name for name, variable in variables.items() if not variable.dims]
        hint = f" Drop the variables without dimensions: {scalars}." if scalars else ""
        raise ValueError(
            f"Cannot find the sample dimension of the Dataset: all variables share "
            f"{shared}, and sample_dim is {sample_dim!r}. Name a dimension 'sample', "
            "or use ModalityDict.from_xarray(dataset, sample_dim=...), with a "
            f"dimension of every variable.{hint}"
        )
    return sample_dim


def own_sample_dim(X: Any) -> Hashable:
    """Return the sample dimension of an X with xarray objects, else None."""
    if is_dataset(X):
        return sample_dimension(X)
    return shared_sample_dim(X) if isinstance(X, Mapping) else None


def shared_sample_dim(X: Mapping[str, Any]) -> Hashable:
    """Return the sample dimension of the xarray objects in X, or None if unclear."""
    dims = [tuple(v.dims) for v in X.values() if is_data_array(v) or is_dataset(v)]
    shared = [dim for dim in (dims[0] if dims else ()) if all(dim in d for d in dims)]
    if shared and _rank(shared[0]) > 0:  # to_dataarray() puts the bands first
        others = [dim for dim in shared if _rank(dim) == 0]
        shared = others if len(others) == 1 else shared
    return shared[0] if len(shared) == 1 else "sample" if "sample" in shared else None


def rows_first(X: Mapping[str, Any], sample_dim: Hashable = None) -> Mapping[str, Any]:
    """Move the sample dimension of all xarray objects in a mapping to the front."""
    known = shared_sample_dim(X) if sample_dim is None else sample_dim
    turned = dict(X)
    for name, value in X.items():
        if is_data_array(value) or is_dataset(value):
            if sample_dim is not None and sample_dim not in value.dims:
                raise ValueError(
                    f"Modality {name!r} has the dimensions {list(value.dims)}, but "
                    f"the samples were along {sample_dim!r} in fit."
                )
            own = shared_sample_dim({name: value}) if known is None else known
            turned[name] = value if own is None else value.transpose(own, ...)
    return turned


def labelled_columns(X: Any) -> Any:
    """Return a flat X as a DataFrame if it has column names."""
    X = as_frame(X)
    if not is_data_array(X) or X.ndim != 2:
        return X
    X = rows_first({"X": X})["X"]
    read = _unpacked("X", X)
    if not read.labels or read.labels[0] is None:
        return X.copy(data=read.values)
    return pd.DataFrame(read.values, read.rows, list(read.labels[0]))


def read_named(X: Any, sample_dim: Hashable = None) -> ModalityDict:
    """Read a mapping, ``xarray.Dataset`` or MultiIndex frame as a ModalityDict."""
    X = as_frame(X)
    if isinstance(X, ModalityDict):
        return X
    if is_dataset(X):
        return ModalityDict.from_xarray(X, sample_dim)
    if _is_modality_frame(X):
        return ModalityDict.from_frame(X)
    return ModalityDict(rows_first(X, sample_dim) if isinstance(X, Mapping) else X)


def restrict(X: Any, modality: str) -> ModalityDict:
    """Return only one modality of an `X` that names its modalities."""
    if not is_named(X):
        raise TypeError(
            f"Cannot select modality {modality!r} from a {type(X).__name__}. Pass a "
            "ModalityDict, dict, xarray.Dataset or DataFrame with a column MultiIndex."
        )
    X = read_named(X)
    if modality not in X:
        raise ValueError(f"X lacks the modality {modality!r}; it contains {list(X)}.")
    return X.select(modality)
