"""Concatenate containers along the sample axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sklearn_colearn.inputs import Entry, Schema
from sklearn_colearn.modality_dict import (
    ModalityDict,
    is_frame,
    read_named,
    with_blanks,
)

__all__ = ["concat"]


@dataclass(frozen=True, eq=False)
class _PartEntry(Entry):
    """An entry of the first part that has it; later parts are matched to it."""

    part: int = 0

    @property
    def source(self) -> str:
        return f"part {self.part}"

    @property
    def saw(self) -> str:
        return f"part {self.part} has"


def concat(parts: Iterable[Any]) -> ModalityDict:
    """Concatenate the rows of several containers, such as tiles or years.

    Bands, columns and steps of later parts are matched to the first part by name. Dates
    of another year are matched by position.

    Parameters
    ----------
    parts : iterable of ModalityDict, dict or xarray.Dataset
        A modality that a part lacks is NaN there. Series with dates of each row, such
        as ``"S1_times"`` for ``"S1"``, are padded to the same length.

    Returns
    -------
    ModalityDict
        All rows, with the ids of the parts if they have any.

    Raises
    ------
    ValueError
        If there are no parts, only some have ids, or a modality differs in shape or
        band names.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_colearn import ModalityDict, concat
    >>> west = ModalityDict(S1=np.zeros((3, 12, 2)), soil=np.zeros((3, 4)))
    >>> east = ModalityDict(S1=np.ones((2, 12, 2)))
    >>> concat([west, east])
    ModalityDict(S1: (5, 12, 2) float64, soil: (5, 4) float64)
    """
    read = [p if isinstance(p, ModalityDict) else read_named(p) for p in parts]
    if not read:
        raise ValueError("Expected at least one part to concatenate, got none.")
    if len({part.ids is None for part in read}) > 1:
        some = [part.ids is None for part in read]
        raise ValueError(
            f"Part {some.index(False)} has row ids, but part {some.index(True)} has "
            "none. Give all parts ids, or set their ids to None."
        )
    joined = ModalityDict()
    for name in dict.fromkeys(name for part in read for name in part):
        having = [part for part in read if name in part]
        first = having[0]
        entry = _PartEntry(
            **vars(Schema.of(first.select(name)).entries[name]),
            part=[name in part for part in read].index(True),
        )
        if _has_own_dates(name, first):
            longest = max(np.shape(part[name])[1] for part in having)
            entry = replace(entry, shape=(longest, *entry.shape[1:]))
        values = [_of_part(name, entry, part, i) for i, part in enumerate(read)]
        joined[name] = _stacked(values)
        for known, own in ((joined.labels, first.labels), (joined.dims, first.dims)):
            if name in own:
                known[name] = own[name]  # type: ignore[assignment]
    if read[0].ids is not None:
        joined.ids = np.concatenate([part.ids for part in read if part.ids is not None])
    return joined


def _has_own_dates(name: str, part: ModalityDict) -> bool:
    """Return whether an entry is a series with dates of each row, or these dates."""
    dates = name if name.endswith("_times") else f"{name}_times"
    series = dates.removesuffix("_times")
    if dates not in part or series not in part:
        return False
    return (
        np.ndim(part[dates]) == 2
        and np.shape(part[series])[1:2] == np.shape(part[dates])[1:2]
    )


def _of_part(name: str, entry: Entry, part: ModalityDict, number: int) -> Any:
    """Return the values of a part, ordered as in `entry`, or else its row count."""
    if name not in part:
        return len(part)
    value, n_steps = part[name], entry.shape[0]
    if n_steps > np.shape(value)[1] and _has_own_dates(name, part):
        steps = np.arange(n_steps)
        steps[np.shape(value)[1] :] = -1
        value = with_blanks(np.swapaxes(value, 0, 1), steps).swapaxes(0, 1)
    try:
        return entry.read(value, part.labels.get(name), part.dims.get(name))
    except ValueError as error:
        raise ValueError(f"Part {number}: {error}") from error


def _stacked(values: Sequence[Any]) -> Any:
    """Stack values; an integer stands for that many blank rows."""
    given = [value for value in values if not isinstance(value, int)]
    positions, n = [], 0
    for value in values:
        if isinstance(value, int):
            positions.append(np.full(value, -1))
        else:
            positions.append(np.arange(n, n := n + len(value)))
    places = np.concatenate(positions)
    if not all(is_frame(value) for value in given):
        return with_blanks(np.concatenate([np.asarray(v) for v in given]), places)
    frame = pd.concat([v for v in given if len(v)] or given, ignore_index=True)
    index = pd.RangeIndex(len(places))
    return with_blanks(frame, places, index).reset_index(drop=True)
