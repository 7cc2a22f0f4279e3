"""Observation times of the steps of a time series.

Times are dates, or days since a usual epoch. Networks take days since the first time in
training, which float32 holds precisely.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
import pandas as pd

from sklearn_colearn.inputs import Array, Schema, label_index, match_steps, rows_text
from sklearn_colearn.modality_dict import ModalityDict, is_frame

__all__ = ["Calendar", "fit_calendar", "fit_calendars", "time_entries"]


#: Plausible days: of the year, since 1900 or 1970, modified Julian; ordinal, MATLAB;
#: Julian.
EPOCHS = ((-1e5, 1e5), (6.9e5, 7.7e5), (2.41e6, 2.49e6))
#: Days that times at prediction may lie outside those of training without a warning.
MARGIN = 31
#: Ranges of other numbers, their likely meaning, and arguments of pd.to_datetime.
LOOKS = (
    (190001, 210012, "YYYYMM", "texts, format='%Y%m'"),
    (1900001, 2100366, "YYYYDDD", "texts, format='%Y%j'"),
    (19000101, 21001231, "YYYYMMDD", "texts, format='%Y%m%d'"),
    (3e7, 4.2e9, "seconds since 1970", "values, unit='s'"),
    (3e10, 4.2e12, "milliseconds since 1970", "values, unit='ms'"),
    (3e16, 4.2e18, "nanoseconds since 1970", "values, unit='ns'"),
)


def time_entries(
    times: Any, modalities: Iterable[str] | None = None
) -> tuple[str, ...]:
    """Return the entries of X that hold the times of modalities."""
    if not isinstance(times, Mapping):
        return ()
    found = [times.get(m) for m in (times if modalities is None else modalities)]
    return tuple(dict.fromkeys(entry for entry in found if isinstance(entry, str)))


@dataclass(frozen=True)
class Calendar:
    """Observation times of one modality."""

    modality: str
    entry: str | None  # of X, with the times of each row; None if rows share times
    steps: Array | None  # shared times in days since `reference`, float32
    dates: bool  # whether times are dates, not numbers
    reference: float  # first time in training, in whole days
    last: float | None = None  # last one, in days since `reference`; None if unknown

    @property
    def labels(self) -> tuple[Any, ...] | None:
        """Shared times as step labels: dates, or numbers of days."""
        if self.steps is None:
            return None
        days = self.steps.astype(np.float64) + self.reference
        return tuple(pd.to_datetime(days, unit="D") if self.dates else days.tolist())

    def days(
        self, X: Mapping[str, Any], values: Array, present: Array, warn: bool = False
    ) -> Array:
        """Return times as float32 days since the reference, with 0 where missing.

        If `warn`, warn of times far outside those of training.
        Their shape is (n_timesteps,) if rows share times, else (n_present,
        n_timesteps), like the `values` of the `present` rows.
        """
        if self.entry is None:
            assert self.steps is not None
            return self.steps
        where = _where(self.modality, self.entry)
        days, dates = _as_days(_as_array(X[self.entry]), where)
        if dates not in (self.dates, None):
            before, now = ("dates", "numbers") if self.dates else ("numbers", "dates")
            raise ValueError(f"{where} are {now}, but were {before} in fit.")
        observed = np.zeros(days.shape, dtype=bool)
        observed[present] = ~np.isnan(values).all(axis=2)
        self._check(days, observed)
        if warn:
            self._warn_if_outside(days[observed] - self.reference)
        return np.nan_to_num(days[present] - self.reference).astype(np.float32)

    def _warn_if_outside(self, days: Array) -> None:
        if self.last is None or not days.size:
            return
        beyond = max(float(days.max()) - self.last, -float(days.min()))
        if beyond > MARGIN:
            warnings.warn(
                f"{_where(self.modality, self.entry)} are up to {beyond:.0f} days "
                "outside those in training, which the encoder has not seen. To predict "
                "other years, fit with days of the year.",
                UserWarning,
                stacklevel=2,
            )

    def _check(self, days: Array, observed: Array) -> None:
        """Refuse missing or implausible times of observed steps."""
        where = _where(self.modality, self.entry)
        missing = observed & np.isnan(days)
        if missing.any():
            raise ValueError(
                f"{where} are missing{_in_rows(missing)} for steps that have values."
            )
        usual = np.any([(low <= days) & (days <= high) for low, high in EPOCHS], axis=0)
        if (wrong := observed & ~usual).any() and not self.dates:
            raise ValueError(
                f"{where} are neither numbers of days nor dates{_in_rows(wrong)}: "
                f"{days[wrong][0]:.15g} {_looks(days[wrong])}"
            )
        seen = days[observed]
        if self.dates and seen.size and ((seen >= 0) & (seen < 1)).all():
            raise ValueError(
                f"{where} are all on 1970-01-01. Pass unit= or format= to "
                "pd.to_datetime, which reads numbers as nanoseconds by default."
            )
        wrong = observed & (abs(days - self.reference) > 36525)
        if wrong.any():
            raise ValueError(
                f"{where} are more than 100 years from the first time in training"
                f"{_in_rows(wrong)}: {days[wrong][0] - self.reference:.0f} days."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values and the array of steps for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], n_timesteps: int, entries: Collection[str]
    ) -> Self:
        """Check plain values and make a calendar; `entries` may hold times."""
        saved: Any = map(
            given.get, ("modality", "entry", "steps", "dates", "reference", "last")
        )
        modality, entry, steps, dates, first, last = saved
        if entry is None:
            fits = isinstance(steps, np.ndarray) and steps.dtype == np.float32
            fits = fits and steps.shape == (n_timesteps,) and np.isfinite(steps).all()
        else:
            fits = entry in entries and steps is None
        # The first files have no last time.
        finite = all(_is_number(x) and np.isfinite(x) for x in (first, last or 0))
        if not (fits and finite and isinstance(dates, bool) and "modality" in given):
            raise ValueError(f"The calendar of {modality!r} is wrong.")
        last = None if last is None else float(last)
        return cls(modality, entry, steps, dates, float(first), last)


def fit_calendars(
    times: Mapping[str, Any],
    X: ModalityDict,
    schema: Schema,
    before: Mapping[str, Calendar] | None = None,
    values: Mapping[str, Array] | None = None,
) -> dict[str, Calendar]:
    """Read the ``times=`` of an estimator at fit."""
    if unknown := [m for m in times if m not in schema.modalities]:
        reason = "holds times" if unknown[0] in schema.times else "X lacks"
        raise ValueError(
            f"times= names {unknown[0]!r}, which {reason}; the modalities are "
            f"{list(schema.modalities)}."
        )
    if before is not None and set(before) != set(times):
        raise ValueError(
            "warm_start=True needs times= for the same modalities: before "
            f"{list(before)}, now {list(times)}."
        )
    known, arrays, calendars = before or {}, values or {}, {}
    for m, given in times.items():
        entry = schema.entries[m]
        calendar = fit_calendar(m, given, X, entry.shape, known.get(m), arrays.get(m))
        _check_labels(calendar, entry.axes[0])
        calendars[m] = calendar
    return calendars


def _check_labels(calendar: Calendar, steps: Any) -> None:
    """Refuse shared dates that contradict the step labels of X."""
    told = calendar.labels
    if told is None or steps is None or not calendar.dates:
        return
    if label_index(steps)[0] == "dates":
        places, _ = match_steps(calendar.modality, steps, told, "times=")
        if not isinstance(places, slice) and (np.diff(places) < 0).any():
            raise ValueError(
                f"{_where(calendar.modality, None)} have another order than the steps "
                f"of X: {told[0]} to {told[-1]}, but X has {steps[0]} to {steps[-1]}. "
                "Put both in one order."
            )


def fit_calendar(
    modality: str,
    given: Any,
    X: Mapping[str, Any],
    shape: tuple[int, ...],
    before: Calendar | None = None,
    values: Array | None = None,
) -> Calendar:
    """Read the times of one modality at fit; warn if they decrease.

    Times of steps that are missing in `values` are ignored. The reference of an earlier
    calendar, `before`, is kept.
    """
    if len(shape) != 2:
        raise ValueError(
            "times= needs time series (n_samples, n_timesteps, n_bands), but modality "
            f"{modality!r} has shape ({', '.join(['n', *map(str, shape)])})."
        )
    entry = given if isinstance(given, str) else None
    where = _where(modality, entry)
    array = _as_array(given if entry is None else X[entry])
    expected = shape[:1] if entry is None else (len(X[entry]), shape[0])
    if array.shape != expected:
        each = " of each row" if entry else ""
        hint = "" if entry else " Pass times of each row as an entry of X."
        raise ValueError(
            f"{where} have shape {array.shape}; expected {expected}, one per step"
            f"{each}.{hint}"
        )
    days, dates = _as_days(array, where)
    if dates is None:
        raise ValueError(f"{where} are all missing.")
    if before is not None and (before.entry, before.dates) != (entry, dates):
        raise ValueError(
            f"{where} differ from the fit that warm_start=True continues. Use the same "
            "entry, and dates or numbers as before."
        )
    known: Array = ~np.isnan(days)
    observed: Array = np.ones(days.shape, dtype=bool)
    if entry is not None:
        observed = known if values is None else np.any(~np.isnan(values), axis=2)
    if (known & observed).any():
        known = known & observed
    first = float(np.floor(days[known].min())) if before is None else before.reference
    steps = None if entry is not None else (days - first).astype(np.float32)
    last = float(days[known].max()) - first
    if before is not None:
        last = max(last, before.last or 0)
    calendar = Calendar(modality, entry, steps, dates, first, last)
    calendar._check(days, observed)
    seen = np.where(observed, days, -np.inf)
    back = observed & (days < np.maximum.accumulate(seen, axis=-1))
    if back.any():
        warnings.warn(
            f"{where} decrease along the steps{_in_rows(back)}. Sort the steps by "
            "time; continue days of the year past the new year (366, 367).",
            stacklevel=2,
        )
    return calendar


def _where(modality: str, entry: str | None) -> str:
    place = "in times=" if entry is None else f"in the entry {entry!r} of X"
    return f"The times of modality {modality!r} {place}"


def _in_rows(wrong: Array) -> str:
    return "" if wrong.ndim == 1 else f" in {rows_text(np.flatnonzero(wrong.any(1)))}"


def _looks(numbers: Array) -> str:
    """Say what implausible numbers look like and how to convert them."""
    for low, high, what, call in LOOKS:
        if ((numbers >= low) & (numbers <= high)).all():
            return f"looks like {what}. Use pd.to_datetime({call})."
    return "is neither. Pass dates, or numbers of days since a usual epoch."


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _as_array(times: Any) -> Array:
    if is_frame(times):
        return times.to_numpy()
    return np.asarray(times, dtype=None if hasattr(times, "__array__") else object)


def _as_days(array: Array, where: str) -> tuple[Array, bool | None]:
    """Return days, NaN where missing, and whether these are dates (None if unknown)."""
    neither = f"{where} are neither numbers of days nor dates such as '2021-05-30'"
    missing = np.asarray(pd.isna(array))
    if array.dtype.kind in "OUT":
        there = array[~missing].astype(object)
        odd = [t for t in there if _is_number(t)]
        if len(odd) == len(there):
            array = np.where(missing, np.nan, array).astype(np.float64)
        else:
            odd += [t for t in there if isinstance(t, str) and t.isdecimal()]
            if any(not isinstance(t, str) or len(t) != 8 for t in odd):
                looks = _looks(np.array(odd, dtype=np.float64))
                raise ValueError(f"{neither}: {odd[0]!r} {looks}")
            flat = pd.Series(array.astype(object).ravel())
            try:
                parsed = pd.to_datetime(flat, format="ISO8601", utc=True)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{neither}: {str(error).splitlines()[0]}") from error
            array = parsed.dt.tz_localize(None).to_numpy().reshape(array.shape)
    if array.dtype.kind == "M":
        since_1970 = array.astype("datetime64[us]") - np.datetime64(0, "us")
        return since_1970 / np.timedelta64(1, "D"), None if missing.all() else True
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{neither}; got dtype {array.dtype}.")
    if np.isinf(array).any():
        raise ValueError(f"{where} contain infinity.")
    return array.astype(np.float64), None if missing.all() else False
