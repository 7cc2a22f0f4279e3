"""When the steps of a time series were observed: calendars, for all rows or for each.

Times are numbers (days, such as the day of year) or dates; dates become days. Whatever
they count from, the network is given days since the first time in training: small
numbers, which float32 holds exactly enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from sklearn_colearn.modalities import ModalityDict, is_frame
from sklearn_colearn.schema import Schema, rows_text

__all__ = ["Calendar", "fit_calendars", "time_entries"]

Array = np.ndarray[Any, Any]


def time_entries(times: Any, modalities: Any = None) -> tuple[str, ...]:
    """Return the entries of X that `times=` says hold the times of each row.

    Parameters
    ----------
    times : mapping or None
        What the estimator was given.
    modalities : iterable of str, optional
        Only the entries of these.
    """
    if not isinstance(times, Mapping):
        return ()
    chosen = times if modalities is None else [m for m in modalities if m in times]
    entries = [times[m] for m in chosen if isinstance(times[m], str)]
    return tuple(dict.fromkeys(entries))


@dataclass(frozen=True)
class Calendar:
    """When the steps of one modality were observed.

    Attributes
    ----------
    modality : str
        Its name.
    entry : str or None
        The entry of X that holds the times of each row; None if all rows have the
        same.
    steps : ndarray of shape (n_timesteps,), float32, or None
        The times of all rows, in days since `reference`.
    dates : bool
        Whether the times came as dates.
    reference : float
        The first time in training, whole days.
    """

    modality: str
    entry: str | None
    steps: Array | None
    dates: bool
    reference: float

    def days(self, X: ModalityDict, values: Array, present: Array) -> Array:
        """Return the times of some rows, in days since the reference.

        Parameters
        ----------
        X : ModalityDict
            Holds the entry, if there is one.
        values : ndarray of shape (n_present, n_timesteps, n_bands)
            The modality, NaN where missing.
        present : bool ndarray of shape (n_samples,)
            Which rows of `X` these are.

        Returns
        -------
        ndarray of shape (n_timesteps,) or (n_present, n_timesteps), float32
            The former if all rows have the same times. 0 for a time that is missing,
            as it may be where the step is.
        """
        if self.entry is None:
            assert self.steps is not None
            return self.steps
        where = _where(self.modality, self.entry)
        days, dates = _as_days(X[self.entry], where)
        if dates != self.dates:
            kinds = ["numbers", "dates"]
            raise ValueError(
                f"{where} came as {kinds[self.dates]} in fit and as {kinds[dates]} now."
            )
        days = days[present]
        missing = np.isnan(days)
        if missing.any():
            needed = (missing & ~np.isnan(values).all(axis=2)).any(axis=1)
            if needed.any():
                rows = np.flatnonzero(present)[needed]
                raise ValueError(
                    f"{where} are missing in {rows_text(rows)} for steps at which the "
                    "modality has values."
                )
        relative: Array = np.nan_to_num(days - self.reference).astype(np.float32)
        return relative


def fit_calendars(
    times: Mapping[str, Any],
    X: ModalityDict,
    schema: Schema,
    before: Mapping[str, Calendar] | None = None,
) -> dict[str, Calendar]:
    """Read `times=` of an estimator at fit.

    Parameters
    ----------
    times : mapping of str to array-like of shape (n_timesteps,), or str
        By modality, its times, or the entry of `X` that holds those of each row.
    X : ModalityDict
        The training rows, with such entries.
    schema : Schema
        What fit saw of `X`.
    before : mapping of str to Calendar, optional
        Those of an earlier fit that this one continues; their references stay.
    """
    known = {} if before is None else before
    calendars = {
        modality: _fit_calendar(modality, given, X, schema, known.get(modality))
        for modality, given in times.items()
    }
    kinds, kinds_before = (
        {m: (c.entry, c.dates) for m, c in of.items()} for of in (calendars, known)
    )
    if before is not None and kinds != kinds_before:
        raise ValueError(
            "warm_start=True continues the earlier fit, so times= has to be of the "
            f"same modalities and kind; before of {list(before)}, now of "
            f"{list(calendars)}."
        )
    return calendars


def _fit_calendar(
    modality: str,
    given: Any,
    X: ModalityDict,
    schema: Schema,
    before: Calendar | None,
) -> Calendar:
    if modality not in schema.modalities:
        held = " as it holds times itself" if modality in schema.times else ""
        raise ValueError(
            f"times= names the modality {modality!r}, which X does not have{held}; it "
            f"has {list(schema.modalities)}."
        )
    shape = schema.shapes[modality]
    if len(shape) != 2:
        raise ValueError(
            f"times= is for time series (n_samples, n_timesteps, n_bands); modality "
            f"{modality!r} has the shape {X[modality].shape}."
        )
    entry = given if isinstance(given, str) else None
    where = _where(modality, entry)
    came = np.shape(given if entry is None else X[entry])
    expected = shape[:1] if entry is None else (len(X), shape[0])
    if came != expected:
        raise ValueError(
            f"{where} have shape {came}; expected {expected}, one for each time step"
            + (
                " of each row."
                if entry is not None
                else ". Times of each row are an entry of X, which times= names."
            )
        )
    days, dates = _as_days(given if entry is None else X[entry], where)
    if np.isnan(days).all() or (entry is None and np.isnan(days).any()):
        raise ValueError(f"{where} are missing at {int(np.isnan(days).sum())} steps.")
    reference = float(np.floor(np.nanmin(days))) if before is None else before.reference
    steps = None if entry is not None else (days - reference).astype(np.float32)
    return Calendar(modality, entry, steps, dates, reference)


def _where(modality: str, entry: str | None) -> str:
    place = "in times=" if entry is None else f"in the entry {entry!r} of X"
    return f"The times of modality {modality!r} {place}"


def _as_days(times: Any, where: str) -> tuple[Array, bool]:
    """Return times as days, float64 with NaN where missing, and whether as dates."""
    array = times.to_numpy() if is_frame(times) else np.asarray(times)
    dates = array.dtype.kind == "M"
    if array.dtype.kind in "OUT" and not all(map(_is_number, array.flat)):
        flat = pd.Series(array.astype(object).ravel())
        try:
            parsed = pd.to_datetime(flat, format="ISO8601", utc=True)
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{where} are neither numbers of days nor dates such as '2021-05-30': "
                f"{reason}"
            ) from error
        array = parsed.dt.tz_localize(None).to_numpy().reshape(array.shape)
        dates = True
    if dates:
        since_1970 = array.astype("datetime64[us]") - np.datetime64(0, "us")
        return since_1970 / np.timedelta64(1, "D"), True
    if array.dtype.kind not in "iufO":
        raise ValueError(
            f"{where} are neither numbers of days nor dates such as '2021-05-30'; they "
            f"have dtype {array.dtype}."
        )
    days = np.where(pd.isna(array), np.nan, array).astype(np.float64)
    if np.isinf(days).any():
        raise ValueError(f"{where} contain infinity.")
    return days, False


def _is_number(value: Any) -> bool:
    return (isinstance(value, Real) and not isinstance(value, bool)) or value is None
