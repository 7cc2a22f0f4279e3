"""The place of each modality in a flat table, from ``modalities=``."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from numbers import Integral
from typing import Any

import numpy as np

__all__ = ["Place", "read_layout", "split_place"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """Columns and shape of one modality in a flat table."""

    columns: Array  # positions, in the order that fills the shape
    shape: tuple[int, ...]  # (n_features,), or (n_timesteps, n_bands)
    names: tuple[Any, ...] | None = None  # of the columns
    labels: tuple[tuple[str, ...], ...] | None = None  # steps and bands, from names


def read_layout(
    layout: Mapping[str, Any], n_features: int, names: Sequence[Any] | None = None
) -> dict[str, Place]:
    """Find the columns of each modality in a flat table of `n_features` columns.

    Columns fill the shape in the given order, step by step, unless their names tell
    the steps and bands of a time series (``B02_ts0``, ``2021-04-01_VV``).
    """
    if not layout:
        raise ValueError(
            "modalities= is empty. List the columns of each modality, such as "
            "{'S1': slice(0, 24), 'soil': ['clay', 'sand']}."
        )
    names = None if names is None else list(names)
    counts = Counter(names)
    places: dict[str, Place] = {}
    for modality, given in layout.items():
        where = f"modalities[{modality!r}]"
        picked, shape = split_place(modality, given)
        columns = _positions(where, picked, n_features, names)
        shape = shape or (len(columns),)
        needed = math.prod(shape)
        if len(columns) == 0 or needed != len(columns):
            raise ValueError(
                f"{where} has {len(columns) or 'no'} columns, but the shape {shape} "
                f"needs {needed or 'some'}."
            )
        own = None if names is None else tuple(names[i] for i in columns)
        for name in own or ():
            if counts[name] > 1:
                raise ValueError(
                    f"{where} names the column {name!r}, but X has {counts[name]} "
                    "columns of this name. Rename them."
                )
        places[modality] = Place(columns, shape, own)
        if len(shape) == 2 and own and all(isinstance(name, str) for name in own):
            places[modality] = _by_names(where, places[modality], own)
    owner: dict[int, str] = {}
    for modality, i in ((m, i) for m, p in places.items() for i in p.columns.tolist()):
        if i in owner:
            raise ValueError(
                f"modalities= assigns column {i if names is None else names[i]!r} to "
                f"both {owner[i]!r} and {modality!r}. Assign it to only one."
            )
        owner[i] = modality
    return places


def split_place(modality: str, given: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Split an entry of ``modalities=`` into its columns and shape (or None)."""
    if not isinstance(given, tuple):
        return given, None
    if len(given) == 2 and isinstance(given[1], tuple):
        return given
    raise _wrong_form(f"modalities[{modality!r}]", given)


def _wrong_form(where: str, given: Any) -> TypeError:
    return TypeError(
        f"{where} must be a slice of positions, a list of positions or column names, "
        f"or a pair (columns, shape) with shape a tuple; got {given!r}."
    )


def _positions(
    where: str, picked: Any, n_features: int, names: list[Any] | None
) -> Array:
    if isinstance(picked, slice):
        ends = (picked.start, picked.stop, picked.step)
        if not all(end is None or isinstance(end, Integral) for end in ends):
            raise _wrong_form(where, picked)
        if picked.stop is not None and picked.stop > n_features:
            raise ValueError(
                f"{where} stops at {picked.stop}, but X has {n_features} columns."
            )
        return np.arange(n_features)[picked]
    if isinstance(picked, str) or not isinstance(picked, Iterable):
        raise _wrong_form(where, picked)
    columns = list(picked)
    if columns and all(isinstance(column, bool | np.bool_) for column in columns):
        if len(columns) != n_features:
            raise ValueError(
                f"{where} has {len(columns)} booleans, but X has {n_features} columns."
            )
        return np.flatnonzero(columns)
    if any(isinstance(column, str) for column in columns):
        known = {name: i for i, name in enumerate(names or ())}
    elif all(isinstance(c, Integral) and not isinstance(c, bool) for c in columns):
        known = {i: i % n_features for i in range(-n_features, n_features)}
    else:
        raise _wrong_form(where, picked)
    if absent := [column for column in columns if column not in known]:
        raise ValueError(
            f"{where} names the columns {absent}, which X lacks; it has {n_features} "
            f"{'unnamed ' if names is None else ''}columns."
        )
    return np.array([known[column] for column in columns], dtype=np.intp)


# -- steps and bands in the names of columns -----------------------------------------

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
#: Names that are certainly time steps, and names that may be.
_SURELY_STEP = re.compile(
    r"(ts?|time|timestep|step|date|doy|day|week|month|year|scene)[-_. ]?\d+([-_. ].*)?"
    r"|(19|20)\d\d(\d\d(\d\d?)?)?([-_. t].*)?|\d\d?[-_. ]\d\d?[-_. ](19|20)\d\d"
    rf"|(\d+[-_. ]?)?({_MONTHS})[a-z]*([-_. ]?\d+)*|spring|summer|autumn|winter"
)
_MAYBE_STEP = re.compile(r"[dmpqwy]?[-_. ]?\d+")
#: Parts of a name: between separators, else runs of letters or digits.
_PARTS = (re.compile(r"[^-_. ]+"), re.compile(r"[^\W\d_]+|\d+"))


def _by_names(where: str, place: Place, names: tuple[str, ...]) -> Place:
    """Order columns by the steps and bands in their names, if any."""
    shape, every = place.shape, []
    for parts in _PARTS:
        grids = list(_grids(names, parts))
        every += grids
        best = max((_score(g) for g in grids if g.shape == shape), default=-1)
        turned = max((_score(g) for g in grids if g.shape == shape[::-1]), default=-1)
        if turned > max(best, 0) and min(shape) > 1:
            break
        if best < max(turned, 0):
            continue
        fits = [g for g in grids if g.shape == shape and _score(g) == best]
        given = [g for g in fits if g.columns.tolist() == list(range(len(names)))]
        if not given and any((g.columns != fits[0].columns).any() for g in fits):
            raise ValueError(
                f"{where}: cannot tell steps from bands in names such as {names[0]!r}. "
                "List the columns step by step, or name the steps ts0, ts1."
            )
        grid = (given or fits)[0]
        ordered = tuple(names[i] for i in grid.columns)
        return replace(grid, columns=place.columns[grid.columns], names=ordered)
    other = max(every, key=_score, default=place)
    swapped = other.shape == shape[::-1] and min(shape) > 1
    if _score(other) > 1 or (_score(other) == 1 and swapped):
        raise ValueError(
            f"{where} has the shape {shape}, but its column names show "
            f"{other.shape[0]} steps and {other.shape[1]} bands: "
            f"{', '.join(map(str, other.labels or ()))}. Use the shape {other.shape}."
        )
    return place


def _grids(names: tuple[str, ...], parts: re.Pattern[str]) -> Iterator[Place]:
    """Yield each split of the names into a full grid of steps and bands."""
    spans = [[match.span() for match in parts.finditer(name)] for name in names]
    longest = max(map(len, spans))
    # A step is `length` parts of a name; negative `first` counts from the right.
    for first, length in product(range(-longest, longest), range(1, longest + 1)):
        cells: list[tuple[str, str]] = []
        for name, own in zip(names, spans, strict=True):
            start = first if first >= 0 else len(own) + first
            if start < 0 or start + length > len(own):
                break
            begin, end = own[start][0], own[start + length - 1][1]
            around = (name[:begin].strip("-_. "), name[end:].strip("-_. "))
            cells.append((name[begin:end], "_".join(filter(None, around))))
        yield from _complete(cells, len(names))
    # Repeated names may be numbered from the second: VV, VV_1, VV_2.
    pairs = [re.fullmatch(r"(.+?)(?:[-_. ](\d+))?", name) for name in names]
    yield from _complete([(m[2] or "", m[1]) for m in pairs if m], len(names))


def _complete(cells: list[tuple[str, str]], n: int) -> Iterator[Place]:
    steps, bands = (list(dict.fromkeys(c[axis] for c in cells)) for axis in (0, 1))
    where = {cell: i for i, cell in enumerate(cells)}
    shape = (len(steps), len(bands))
    if len(where) == n == shape[0] * shape[1]:
        steps = _in_time(steps)
        order = np.array([where[cell] for cell in product(steps, bands)])
        yield Place(order, shape, labels=(tuple(steps), tuple(bands)))


def _score(grid: Place) -> int:
    """Score how much more the steps look like time steps than the bands do."""
    steps, bands = grid.labels or ((), ())
    return _looks(steps) - _looks(bands)


def _looks(labels: tuple[str, ...]) -> int:
    named = [label.lower() for label in labels if label]
    if named and all(map(_SURELY_STEP.fullmatch, named)):
        # A full date such as 2021-04-01 outranks its year or month.
        dates = [re.match(r"\d*(?:[-_. ]\d+)*", label) for label in named]
        return 2 + min(len(re.findall(r"\d+", date[0])) for date in dates if date)
    return int(bool(named) and all(map(_MAYBE_STEP.fullmatch, named)))


def _in_time(steps: list[str]) -> list[str]:
    """Sort steps by number or date, if these are unambiguous and unique."""
    moments = {step: _moment(step.lower()) for step in steps}
    if len(set(moments.values())) < len(steps) or (-1,) in moments.values():
        return steps
    ordered = sorted(steps, key=moments.__getitem__)
    start = ordered.index(steps[0])
    # Months and days of the year may cross the new year: 11, 12, 1, 2.
    turned = len(steps) > 2 and steps == ordered[start:] + ordered[:start]
    of_year = max(moments.values())[:1] <= (366,)
    return steps if turned and of_year and steps != sorted(steps) else ordered


def _moment(step: str) -> tuple[int, ...]:
    """Return the numbers of a step, year first, or (-1,) if ambiguous."""
    month = rf"(?<![a-z])({_MONTHS})[a-z]*"
    text = re.sub(month, lambda m: f"-{_MONTHS.index(m[1]) // 4 + 1}-", step)
    numbers = tuple(map(int, re.findall(r"\d+", text)))
    if len(numbers) < 2 or not numbers[0] < 1900 <= numbers[-1] <= 2100:
        return numbers
    # 04-01-2021 is in April or January.
    return (-1,) if len(numbers) > 2 and text == step else numbers[::-1]
