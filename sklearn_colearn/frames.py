"""Readers of long and wide tables."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

__all__ = ["Part", "Parts", "read_long", "read_wide"]

Array = np.ndarray[Any, Any]
#: A column, or a list of columns.
Names = Any

#: Ways to composite the values of a period.
COMPOSITES = ("mean", "median", "min", "max", "sum", "first", "last")


class Part(NamedTuple):
    """An entry that was read: a modality, or its times."""

    #: (n_samples, n_timesteps, n_bands), (n_samples, n_timesteps), or a frame.
    values: Any
    #: Labels of the steps and bands.
    labels: tuple[tuple[Any, ...] | None, ...] | None = None


class Parts(NamedTuple):
    """All entries and their row ids."""

    ids: pd.Index[Any]
    entries: dict[str, Part]


def _columns(table: pd.DataFrame, wanted: Iterable[Hashable], parameter: str) -> None:
    absent = [name for name in wanted if name not in table.columns]
    if absent:
        raise ValueError(
            f"The table lacks the columns {absent} of {parameter}; it contains "
            f"{_few(table.columns)}."
        )


def _few(items: Iterable[Any], limit: int = 8) -> str:
    items = list(items)
    shown = ", ".join(map(repr, items[:limit]))
    return f"[{shown}{', ...' if len(items) > limit else ''}]"


def _listed(names: Names) -> list[Hashable]:
    return [names] if isinstance(names, str) else list(names)


def _numbers(
    table: pd.DataFrame, columns: Sequence[Hashable], nodata: Iterable[float]
) -> Array:
    """Return columns as float64 (n_rows, n_columns) with NaN where missing."""
    parts = []
    for column in columns:
        cells = table[column]
        if not (
            pd.api.types.is_numeric_dtype(cells.dtype) or cells.isna().all()
        ) or pd.api.types.is_complex_dtype(cells.dtype):
            raise ValueError(
                f"Column {column!r} must be numeric, got {cells.dtype}. Convert it, "
                "for example with pandas.to_numeric."
            )
        parts.append(cells.to_numpy(dtype=np.float64, na_value=np.nan))
    values = np.stack(parts, axis=1)
    for number in nodata:
        values[values == number] = np.nan
    return values


def _nodata(nodata: Any, name: str) -> tuple[float, ...]:
    own = nodata.get(name) if isinstance(nodata, Mapping) else nodata
    if own is None:
        return ()
    return tuple(float(number) for number in np.ravel(own))


def _ids(cells: pd.Series[Any]) -> tuple[Array, pd.Index[Any]]:
    """Return the plot number of each row, and plot ids in order of appearance."""
    missing = np.flatnonzero(cells.isna())
    if len(missing):
        raise ValueError(
            f"Rows of the table without an id: {len(missing)}, the first at position "
            f"{missing[0]}."
        )
    numbers, ids = pd.factorize(cells)
    return numbers, pd.Index(ids)


def _dates(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Return dates as datetime64 and numbers of days as float64."""
    kind = cells.dtype
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        found = pd.Series(cells.to_numpy(dtype=np.float64, na_value=np.nan))
    else:
        try:
            found = pd.to_datetime(cells, format="ISO8601", errors="coerce")
        except (TypeError, ValueError):  # mixed time zones, say
            found = pd.to_datetime(cells, format="ISO8601", errors="coerce", utc=True)
        if getattr(found.dtype, "tz", None) is not None:
            found = found.dt.tz_convert("UTC").dt.tz_localize(None)
        found = found.reset_index(drop=True)
    wrong = np.flatnonzero(found.isna())
    if len(wrong):
        raise ValueError(
            f"Column {cells.name!r} has invalid dates in {len(wrong)} rows, the first "
            f"at position {wrong[0]}: {cells.iloc[wrong[0]]!r}. Use datetimes, ISO "
            "8601 strings such as '2021-07-01', or numbers of days."
        )
    return found


# -- long tables ---------------------------------------------------------------------


def read_long(
    table: pd.DataFrame,
    *,
    id: Hashable,
    date: Hashable,
    bands: Mapping[str, Names],
    static: Mapping[str, Names] | None,
    freq: str | None,
    how: str | Mapping[str, str],
    start: Any,
    end: Any,
    repeated: str,
    nodata: Any,
) -> Parts:
    """Read a table of one row per plot and date; see ``ModalityDict.from_long``."""
    if repeated not in ("raise", "mean"):
        raise ValueError(f"repeated= must be 'raise' or 'mean'; got {repeated!r}.")
    series = {name: _listed(own) for name, own in bands.items()}
    tables = {name: _listed(own) for name, own in (static or {}).items()}
    if both := series.keys() & tables.keys():
        raise ValueError(f"{min(both)!r} is in both bands= and static=; rename one.")
    _columns(table, [id], "id=")
    _columns(table, [date], "date=")
    for parameter, groups in (("bands=", series), ("static=", tables)):
        for name, own in groups.items():
            if not own:
                raise ValueError(f"{parameter} lists no columns for {name!r}.")
            _columns(table, own, parameter)
    if not len(table):
        raise ValueError("The table has no rows.")
    plots, ids = _ids(table[id])
    dates = _dates(table[date])
    steps: pd.DatetimeIndex | None = None
    if freq is not None:
        steps = _periods(freq, dates, start, end)
    elif start is not None or end is not None:
        inside = pd.Series(True, dates.index)
        if start is not None:
            inside &= dates >= _like(dates, start)
        if end is not None:
            inside &= dates <= _like(dates, end)
        table, plots, dates = table[inside.to_numpy()], plots[inside], dates[inside]
        if not len(dates):
            raise ValueError("The table has no dates between start= and end=.")
    entries: dict[str, Part] = {}
    for name, own in series.items():
        values = _numbers(table, own, _nodata(nodata, name))
        if steps is not None:
            ways = [_way(how, name, band) for band in own]
            values = _composites(values, plots, dates, steps, len(ids), ways)
            entries[name] = Part(values, (tuple(steps.tolist()), tuple(own)))
            continue
        days, values = _by_date(
            name, values, plots, dates, ids, repeated == "mean", tuple(own)
        )
        if isinstance(days, tuple):
            entries[name] = Part(values, (days, tuple(own)))
        else:
            entries[name] = Part(values, (None, tuple(own)))
            entries[f"{name}_times"] = Part(days)
    for name, own in tables.items():
        values = _numbers(table, own, _nodata(nodata, name))
        entries[name] = Part(_constant(name, values, own, plots, ids))
    return Parts(ids, entries)


def _like(dates: pd.Series[Any], limit: Any) -> Any:
    return pd.Timestamp(limit) if dates.dtype.kind == "M" else float(limit)


def _way(how: Any, name: str, band: Hashable) -> str:
    way = how
    if isinstance(how, Mapping):
        way = how.get(band, how.get(name, "mean"))
    if way not in COMPOSITES:
        raise ValueError(f"how= must be one of {list(COMPOSITES)}; got {way!r}.")
    return str(way)


def _periods(freq: str, dates: pd.Series[Any], start: Any, end: Any) -> Any:
    """Return the first day of each period from `start` to `end`."""
    if dates.dtype.kind != "M":
        raise ValueError(f"freq={freq!r} needs dates, but got numbers of days.")
    offset = pd.tseries.frequencies.to_offset(freq)
    if type(offset).__name__.endswith("End"):
        raise ValueError(
            f"freq={freq!r} labels periods by their end. Use a frequency that labels "
            "them by their start, such as 'MS' for months."
        )
    first = dates.min() if start is None else pd.Timestamp(start)
    last = dates.max() if end is None else pd.Timestamp(end)
    first = offset.rollback(first.normalize())
    steps = pd.date_range(first, last, freq=offset)
    if not len(steps):
        raise ValueError(f"freq={freq!r} has no periods from {first} to {last}.")
    return steps


def _composites(
    values: Array,
    plots: Array,
    dates: pd.Series[Any],
    steps: pd.DatetimeIndex,
    n_plots: int,
    ways: Sequence[str],
) -> Array:
    """Return composites (n_plots, n_steps, n_bands) with NaN where missing."""
    assert steps.freq is not None
    after = steps[-1] + steps.freq
    step = steps.searchsorted(dates, side="right") - 1
    inside = (step >= 0) & (dates < after).to_numpy()
    order = np.argsort(dates[inside].to_numpy(), kind="stable")  # for first and last
    cell = (plots[inside] * len(steps) + step[inside])[order]
    filled = np.full((n_plots * len(steps), len(ways)), np.nan)
    for band, way in enumerate(ways):
        groups = pd.Series(values[inside, band][order]).groupby(cell)
        found = groups.sum(min_count=1) if way == "sum" else groups.agg(way)
        filled[found.index, band] = found
    return filled.reshape(n_plots, len(steps), len(ways))


def _by_date(
    name: str,
    values: Array,
    plots: Array,
    dates: pd.Series[Any],
    ids: pd.Index[Any],
    average: bool,
    bands: tuple[Hashable, ...],
) -> tuple[Any, Array]:
    """Return the dates of a time series, and its values (n_plots, n_steps, n_bands).

    Dates are a tuple if all plots share them, else a padded array (n_plots, n_steps).
    """
    days = dates.to_numpy()
    every, step = np.unique(days, return_inverse=True)
    # In a table of several sensors, rows may lack this one.
    seen = ~np.isnan(values).all(axis=1)
    cells = plots * len(every) + step
    _, counts = np.unique(cells[seen], return_counts=True)
    if (counts > 1).any():
        if not average:
            twice = pd.Series(cells[seen]).duplicated().to_numpy()
            row = np.flatnonzero(seen)[twice][0]
            raise ValueError(
                f"Modality {name!r} has several rows for the id {ids[plots[row]]!r} "
                f"and the date {dates.iloc[row]}. Keep one, or average them with "
                "repeated='mean'."
            )
        frame = pd.DataFrame(values[seen]).groupby(cells[seen]).mean()
        cells, values = frame.index.to_numpy(), frame.to_numpy()
        seen = np.ones(len(cells), dtype=bool)
        plots, step = np.divmod(cells, len(every))
    grid = np.unique(cells)
    n = len(ids)
    if len(grid) == n * len(every):
        filled = np.full((len(grid), len(bands)), np.nan)
        filled[cells[seen]] = values[seen]
        cube = filled.reshape(n, len(every), len(bands))
        some = ~np.isnan(cube).all(axis=(0, 2))
        if some.any():
            return tuple(pd.Index(every[some]).tolist()), cube[:, some]
    plots, step, values = plots[seen], step[seen], values[seen]
    if not len(plots):
        raise ValueError(f"All values of modality {name!r} are missing in the table.")
    order = np.lexsort((step, plots))
    plots, step, values = plots[order], step[order], values[order]
    sizes = np.bincount(plots, minlength=n)
    place = np.arange(len(plots)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    padded = np.full((n, sizes.max(), len(bands)), np.nan)
    padded[plots, place] = values
    blank = np.datetime64("NaT") if days.dtype.kind == "M" else np.nan
    times = np.full((n, sizes.max()), blank, dtype=days.dtype)
    times[plots, place] = every[step]
    if sizes.min() == sizes.max() and (times == times[0]).all():
        return tuple(pd.Index(times[0]).tolist()), padded
    return times, padded


def _constant(
    name: str,
    values: Array,
    columns: Sequence[Any],
    plots: Array,
    ids: pd.Index[Any],
) -> pd.DataFrame:
    """Return the constant value of each plot and column."""
    groups = pd.DataFrame(values, columns=pd.Index(columns)).groupby(plots)
    least, most = groups.min(), groups.max()
    differ = (least != most) & least.notna()
    if differ.to_numpy().any():
        plot, column = np.argwhere(differ.to_numpy())[0]
        raise ValueError(
            f"Column {columns[column]!r} of static= {name!r} must be constant for an "
            f"id, but {ids[least.index[plot]]!r} has {least.iloc[plot, column]:g} and "
            f"{most.iloc[plot, column]:g}. List it in bands= if it changes over time."
        )
    return least.reindex(range(len(ids))).set_axis(ids)


# -- wide tables ---------------------------------------------------------------------

#: Regular expressions for the fields of a pattern.
FIELDS = {
    "modality": r"(?P<modality>.+?)",
    "band": r"(?P<band>.+)",
    "step": r"(?P<step>\d+(?:[-_.:T]\d+)*)",
}


def read_wide(
    table: pd.DataFrame,
    pattern: str,
    *,
    bands: Mapping[str, Names] | None,
    static: Mapping[str, Names] | None,
    id: Hashable,
    nodata: Any,
) -> Parts:
    """Read a table of one row per plot; see ``ModalityDict.from_wide``."""
    parts = re.split(r"\{(\w+)\}", pattern)
    fields = parts[1::2]
    if (
        not {"band", "step"} <= set(fields) <= set(FIELDS)
        or len(set(fields)) < len(fields)
        or ("modality" not in fields and bands is None)
    ):
        raise ValueError(
            "pattern= must contain {band} and {step} once, and {modality} unless "
            f"bands= is given; got {pattern!r}."
        )
    text = "".join(
        FIELDS[part] if i % 2 else re.escape(part) for i, part in enumerate(parts)
    )
    found: dict[str, dict[tuple[Any, str], Hashable]] = {}
    owners = {
        band: name for name, own in (bands or {}).items() for band in _listed(own)
    }
    for column in table.columns:
        match = re.fullmatch(text, column) if isinstance(column, str) else None
        if match is None:
            continue
        told = match.groupdict()
        name: Any = told.get("modality", owners.get(told["band"]))
        wanted = bands is None or told["band"] in _listed(bands.get(name, ()))
        if name is not None and wanted:
            found.setdefault(name, {})[told["band"], told["step"]] = column
    absent = [
        band
        for name, own in (bands or {}).items()
        for band in _listed(own)
        if not any(band == has for has, _ in found.get(name, {}))
    ]
    if absent or not found:
        bands_text = f" for the bands {absent}" if absent else ""
        raise ValueError(
            f"No columns match the pattern {pattern!r}{bands_text}; the table contains "
            f"{_few(table.columns)}."
        )
    if id is None:
        ids = table.index
    else:
        _columns(table, [id], "id=")
        ids = pd.Index(table[id])
    entries = {}
    for name, columns in found.items():
        own = _listed(bands[name]) if bands else list({band: 0 for band, _ in columns})
        steps = _in_order({step for _, step in columns})
        grid = [(band, step) for step in steps for band in own]
        if lacking := [cell for cell in grid if cell not in columns]:
            raise ValueError(
                f"Modality {name!r} must have every band at every step; missing: "
                f"{_few(lacking, 5)}."
            )
        values = _numbers(table, [columns[c] for c in grid], _nodata(nodata, name))
        values = values.reshape(len(table), len(steps), len(own))
        entries[name] = Part(values, (tuple(steps.values()), tuple(own)))
    for name, chosen in (static or {}).items():
        own = _listed(chosen)
        _columns(table, own, "static=")
        values = _numbers(table, own, _nodata(nodata, name))
        entries[name] = Part(pd.DataFrame(values, ids, pd.Index(own)))
    return Parts(ids, entries)


def _in_order(steps: set[str]) -> dict[str, Any]:
    """Return step labels as numbers or dates, sorted."""
    labels: dict[str, Any] = {}
    for step in steps:
        digits = re.sub(r"\D", "", step)
        date = None
        if len(digits) in (8, 14) or digits != step:
            date = pd.to_datetime(step.replace("_", "-"), errors="coerce")
        labels[step] = int(step) if date is None or pd.isna(date) else date
    if len({type(label) for label in labels.values()}) > 1:
        raise ValueError(
            f"Steps must be all dates or all numbers; got {_few(sorted(steps))}."
        )
    return dict(sorted(labels.items(), key=lambda item: item[1]))
