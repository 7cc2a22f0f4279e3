"""The fitted sensor: everything one modality needs to predict."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_colearn.answering import answering
from sklearn_colearn.applicability import Area, in_space
from sklearn_colearn.encoders import Bands, wants_bands
from sklearn_colearn.inputs import Array, Entry, numeric_values, present_rows
from sklearn_colearn.modality_dict import ModalityDict
from sklearn_colearn.network import (
    ModalityNetwork,
    ModalityOutput,
    make_modality_network,
)
from sklearn_colearn.plain_values import need, pack, unpack
from sklearn_colearn.times import Calendar

__all__ = ["Rows", "Scaler", "Sensor", "Target", "fit_scaler", "step_inputs"]

#: Rows per batch: enough for all cores, few enough for activations to stay in cache.
ROWS_AT_ONCE = 1024
#: Standard deviations from the training mean that suggest another unit or offset.
FAR_OFF = 10
#: Encoders that read the date itself. Others read the season, no times, or are unknown.
READ_DATES = ("tae", "ltae", "transformer", "convtran")


@dataclass(frozen=True)
class Target:
    """Target of the network, and the conversion of logits to answers."""

    #: Task loss: 'cross_entropy', 'binary_cross_entropy' or 'squared_error'.
    task: str
    #: Number of targets, or of labels of a multi-label target.
    n_outputs: int
    #: (n_classes,): labels of a classifier.
    classes: Array | None = None
    #: (n_outputs,), float64: mean and standard deviation of a regression target.
    mean: Array | None = None
    scale: Array | None = None
    #: Whether a regression target had one dimension.
    flat: bool = False
    #: Label of unlabelled rows, besides None and NaN.
    unlabeled: Any = None

    @property
    def n_logits(self) -> int:
        """Output size of a prediction head."""
        return self.n_outputs if self.classes is None else len(self.classes)

    def answers(self, logits: Tensor) -> Array:
        """Convert logits to probabilities, or to values in the target's unit."""
        if self.task == "cross_entropy":
            return logits.softmax(dim=-1).numpy()
        if self.task == "binary_cross_entropy":
            return logits.sigmoid().numpy()
        assert self.mean is not None
        assert self.scale is not None
        values: Array = logits.numpy().astype(np.float64) * self.scale + self.mean
        return values

    def decide(self, answers: Array) -> Array:
        """Convert answers to labels, or to values in the shape of `y`."""
        if self.task == "binary_cross_entropy":
            return (answers >= 0.5).astype(int)
        if self.classes is not None:
            labels: Array = self.classes[answers.argmax(axis=1)]
            return labels
        return answers.ravel() if self.flat else answers

    def to_dict(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return plain values and arrays for `from_dict`."""
        plain = {"task": self.task, "n_outputs": self.n_outputs, "flat": self.flat}
        if self.mean is None or self.scale is None:
            own = {"classes": self.classes, "unlabeled": self.unlabeled}
            return {**plain, **{name: pack(value) for name, value in own.items()}}, {}
        return plain, {
            "mean": torch.from_numpy(self.mean),
            "scale": torch.from_numpy(self.scale),
        }

    @classmethod
    def from_dict(
        cls, given: Mapping[str, Any], arrays: Mapping[str, Tensor], classifies: bool
    ) -> Target:
        """Check plain values and make a target."""
        task, n_outputs = given["task"], given["n_outputs"]
        tasks = ("cross_entropy", "binary_cross_entropy")
        need(task in (tasks if classifies else ("squared_error",)), "the task")
        need(type(n_outputs) is int and n_outputs > 0, "n_outputs")
        if classifies:
            classes = unpack(given["classes"])
            need(isinstance(classes, np.ndarray) and classes.ndim == 1, "classes")
            expected = 1 if task == "cross_entropy" else len(classes)
            need(n_outputs == expected and len(classes), "the number of classes")
            unlabeled = unpack(given.get("unlabeled"))
            mark = isinstance(unlabeled, bool | int | float | str | None)
            need(mark, "the label of unlabelled rows")
            return cls(task, n_outputs, classes, unlabeled=unlabeled)
        flat = given["flat"]
        need(isinstance(flat, bool) and (n_outputs == 1 or not flat), "y's shape")
        mean, scale = (
            checked_array(arrays, name, n_outputs) for name in ("mean", "scale")
        )
        return cls(task, n_outputs, None, mean, scale, flat)


@dataclass(frozen=True)
class Scaler:
    """Scaling of bands to ``(value - shift) / scale``, and imputation."""

    #: (n_bands,), float64.
    shift: Array
    scale: Array
    #: (n_bands,), float32: scaled means, which replace missing values.
    fill: Array
    #: Whether to append the share of missing bands (models of version 0.1).
    indicator: bool = False

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of scaled rows."""
        return (*shape[:-1], shape[-1] + self.indicator)

    def scaled(self, values: Array) -> Tensor:
        """Return scaled and imputed values as float32."""
        scaled = values - self.shift.astype(values.dtype)
        scaled /= self.scale.astype(values.dtype)
        scaled = scaled.astype(np.float32, copy=False)
        missing = np.isnan(scaled)
        if missing.any():
            np.copyto(scaled, self.fill, where=missing)
        if self.indicator:
            missing = np.isnan(values).mean(axis=-1, keepdims=True, dtype=np.float32)
            scaled = np.concatenate([scaled, missing], axis=-1)
        return torch.from_numpy(scaled)


def fit_scaler(values: Array, standardize: bool) -> Scaler:
    """Fit the scaling of each band over rows, steps and pixels.

    `values` (n_samples, ..., n_bands) are training rows, NaN where missing. Constant
    bands have scale 1; bands without values are filled with 0. Without `standardize`,
    only the mean is imputed.
    """
    # Bands without values divide by 0.
    with np.errstate(invalid="ignore", divide="ignore"):
        fitted = StandardScaler().fit(values.reshape(-1, values.shape[-1]))
    mean = np.atleast_1d(fitted.mean_)
    nothing = np.zeros_like(mean)
    if standardize:
        return Scaler(mean, fitted.scale_, nothing.astype(np.float32))
    return Scaler(nothing, nothing + 1, np.nan_to_num(mean).astype(np.float32))


def step_inputs(
    values: Array,
    days: Any = None,
    takes: Collection[str] = ("times", "mask", "observed"),
) -> dict[str, Tensor]:
    """Return the inputs of a time-series encoder besides its values, if it takes them.

    ``times`` and ``mask`` have shape (n_samples, n_timesteps), ``observed`` has the
    shape of `values`. ``mask`` is omitted if all steps are observed, ``observed`` if no
    step lacks only some bands.
    """
    steps: dict[str, Tensor] = {}
    if values.ndim != 3:
        return steps
    if days is not None and "times" in takes:
        steps["times"] = torch.from_numpy(days).expand(values.shape[:2])
    if {"mask", "observed"} & {*takes}:
        there = ~np.isnan(values)
        observed = np.asarray(there.any(axis=2))
        if "observed" in takes and (observed != there.all(axis=2)).any():
            steps["observed"] = torch.from_numpy(there)
        observed |= ~observed.any(axis=1, keepdims=True)  # empty rows are not run
        if "mask" in takes and not observed.all():
            steps["mask"] = torch.from_numpy(observed)
    return steps


class Rows(NamedTuple):
    """Checked rows of one modality, ready for its network."""

    #: (n_present, *shape), float: rows with any value, NaN where missing.
    values: Array
    #: (n_samples,), bool: which rows are in `values`.
    present: Array
    #: (n_timesteps,) or (n_present, n_timesteps), float32: times, if known.
    days: Array | None

    def take(self, some: Array) -> Rows:
        """Select rows by a mask of bool (n_present,)."""
        if some.all():
            return self
        days = self.days
        if days is not None and days.ndim == 2:
            days = days[some]
        present = self.present.copy()
        present[present] = some
        return Rows(self.values[some], present, days)


@dataclass(frozen=True, eq=False)
class Sensor:
    """Everything one modality needs to predict."""

    entry: Entry
    #: Sentinels for missing values besides NaN.
    missing_value: float | tuple[float, ...] | None
    scaler: Scaler
    #: Observation times, if known.
    calendar: Calendar | None
    #: Encoders and head of each member.
    networks: list[ModalityNetwork]
    #: Arguments of `make_modality_network`.
    made_with: dict[str, Any]
    #: Training rows, if any rows were held out.
    area: Area | None = None

    @property
    def name(self) -> str:
        """Name of the modality."""
        return self.entry.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a row, such as ``(n_timesteps, n_bands)``."""
        return self.entry.shape

    @property
    def bands(self) -> Bands | None:
        """Description of bands and times, if the encoder takes one."""
        if not wants_bands(self.made_with["encoder"]):
            return None
        scaler, calendar = self.scaler, self.calendar
        origin: float | np.datetime64 | None = None
        if calendar is not None:
            origin = calendar.reference
            if calendar.dates:
                origin = np.datetime64(int(origin), "D")
        return Bands(self.entry.bands, scaler.shift, scaler.scale, origin=origin)

    @property
    def times_entry(self) -> str | None:
        """Entry of X with the times of each row, if any."""
        return None if self.calendar is None else self.calendar.entry

    def prepare(self, X: ModalityDict, warn: bool = True) -> Rows:
        """Check raw values in the order of fit, and select the rows that have any.

        X includes the entry of times. If `warn`, warn of what is far from training.
        """
        values = numeric_values(self.name, X[self.name], self.missing_value)
        present = present_rows(values)
        if not present.all():
            values = values[present]
        if warn:
            self._warn_if_far_off(values)
        days = None
        if self.calendar is not None:
            warn = warn and self.made_with["encoder"] in READ_DATES
            days = self.calendar.days(X, values, present, warn)
        return Rows(values, present, days)

    def _warn_if_far_off(self, values: Array) -> None:
        if not self.scaler.shift.any():  # without standardising, no spread is known
            return
        some = values[:: max(1, len(values) // ROWS_AT_ONCE)]
        some = some.reshape(-1, some.shape[-1])
        far = np.abs(some - self.scaler.shift) > FAR_OFF * self.scaler.scale
        n_values = (~np.isnan(some)).sum(axis=0)
        bands = np.flatnonzero(2 * far.sum(axis=0) > n_values)
        if len(bands):
            names = self.entry.bands or range(self.shape[-1])
            warnings.warn(
                f"Most values of the bands {[names[b] for b in bands]} of modality "
                f"{self.name!r} are more than {FAR_OFF} standard deviations from the "
                "training mean. Check their unit, scale and offset.",
                UserWarning,
                stacklevel=2,
            )

    def run(
        self, rows: Rows, keep: Collection[str] = ModalityOutput._fields
    ) -> ModalityOutput:
        """Run the networks of all members; refuse infinite and NaN predictions.

        Return CPU tensors of shape (n_members, n_present, ...). Only representations in
        `keep` have rows: all together are several times larger than the input.
        """
        values, days = rows.values, rows.days
        n = len(values)
        if n == 0:  # some layers refuse empty batches
            one = np.zeros((1, *values.shape[1:]), dtype=np.float32)
            return ModalityOutput(*(z[:, :0] for z in self.run(Rows(one, one, None))))
        device = next(self.networks[0].parameters()).device
        kept = {"prediction", *keep}
        for network in self.networks:
            network.eval()
        answers: list[Callable[..., Tensor]] = []
        whole: ModalityOutput | None = None
        with torch.inference_mode():
            for start in range(0, n, ROWS_AT_ONCE):
                some = slice(start, start + ROWS_AT_ONCE)
                own = days[some] if days is not None and days.ndim == 2 else days
                steps = step_inputs(values[some], own, self.networks[0].takes)
                steps = {name: t.to(device) for name, t in steps.items()}
                scaled = self.scaler.scaled(values[some]).to(device)
                if not keep and not answers:
                    answers = [answering(n, scaled, steps) for n in self.networks]
                for member, network in enumerate(self.networks):
                    if keep:
                        output = network(scaled, **steps)
                    else:
                        answer = answers[member](scaled, **steps)
                        output = ModalityOutput(answer, *[answer[:, :0]] * 3)
                    if whole is None:
                        # Allocated once: keeping each batch would fragment the heap.
                        whole = ModalityOutput(
                            *(
                                torch.empty(
                                    len(self.networks),
                                    n if name in kept else 0,
                                    *z.shape[1:],
                                    dtype=z.dtype,
                                )
                                for name, z in output._asdict().items()
                            )
                        )
                    for name in kept:
                        getattr(whole, name)[member, some] = getattr(output, name)
        assert whole is not None
        if not torch.isfinite(whole.prediction).all():
            raise ValueError(
                f"Predictions from modality {self.name!r} are infinite or NaN. Either "
                "training diverged (try a smaller lr), or the values have another "
                "scale than in fit."
            )
        return whole

    def points(self, values: Array) -> Tensor:
        """Map raw values (n, *shape) to points (n, D) of `area`."""
        if len(values) <= ROWS_AT_ONCE:
            return in_space(self.scaler.scaled(values))
        starts = range(0, len(values), ROWS_AT_ONCE)
        return torch.cat([self.points(values[i : i + ROWS_AT_ONCE]) for i in starts])

    # -- files -----------------------------------------------------------------------

    def to_dict(
        self, name_encoder: Callable[[Any], Any]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return plain values and arrays for `from_dict`, without weights."""
        scaler, made = self.scaler, dict(self.made_with)
        arrays = {
            name: torch.from_numpy(getattr(scaler, name))
            for name in ("shift", "scale", "fill")
        }
        times = None
        if self.calendar is not None:
            times = self.calendar.to_dict()
            steps = times.pop("steps")
            if steps is not None:
                arrays["steps"] = torch.from_numpy(steps)
        if self.area is not None:
            arrays |= self.area.to_arrays()
        plain = {
            "entry": self.entry.to_dict(),
            "missing_value": pack(self.missing_value),
            "indicator": scaler.indicator,
            "times": times,
            "encoder": name_encoder(made.pop("encoder")),
            "made_with": pack(made),
        }
        return plain, arrays

    @classmethod
    def from_dict(
        cls,
        given: Mapping[str, Any],
        arrays: Mapping[str, Tensor],
        find_encoder: Callable[[Any], Any],
    ) -> Sensor:
        """Check plain values and make a sensor without networks."""
        entry = Entry.from_dict(given["entry"])
        n_bands, indicator = entry.shape[-1], given["indicator"]
        need(isinstance(indicator, bool), "the indicator of missing values")
        scaler = Scaler(
            checked_array(arrays, "shift", n_bands),
            checked_array(arrays, "scale", n_bands),
            checked_array(arrays, "fill", n_bands, np.float32),
            indicator,
        )
        missing_value = unpack(given["missing_value"])
        several = (
            missing_value if isinstance(missing_value, tuple) else (missing_value,)
        )
        numbers = all(isinstance(number, int | float) for number in several)
        need(missing_value is None or numbers, "missing_value")
        times, calendar = given["times"], None
        if times is not None:
            need(len(entry.shape) == 2, f"the times of {entry.name!r}")
            steps = arrays["steps"].numpy() if "steps" in arrays else None
            told = {**times, "modality": entry.name, "steps": steps}
            calendar = Calendar.from_dict(told, entry.shape[0], [times["entry"]])
        encoder = find_encoder(given["encoder"])
        made = {"encoder": encoder, **unpack(given["made_with"])}
        params = made["encoder_params"]
        named = isinstance(params, dict) and all(isinstance(n, str) for n in params)
        need(params is None or named, f"encoder_params of {entry.name!r}")
        area = None  # absent in early files
        if "area.rows" in arrays:
            area = Area.from_arrays(arrays, scaler.input_shape(entry.shape))
        return cls(entry, missing_value, scaler, calendar, [], made, area)

    def new_network(self, n_logits: int) -> ModalityNetwork:
        """Return an untrained network like those of the sensor."""
        return make_modality_network(
            input_shape=self.scaler.input_shape(self.shape),
            n_outputs=n_logits,
            bands=self.bands,
            **{**self.made_with, "encoder_params": self.safe_encoder_params},
        )

    @property
    def safe_encoder_params(self) -> dict[str, Any]:
        """Encoder arguments that download no pretrained weights."""
        params = dict(self.made_with["encoder_params"] or {})
        encoder = self.made_with["encoder"]
        if isinstance(encoder, str) and encoder.startswith("pretrained:"):
            params["pretrained"] = False
        return params


def checked_array(
    arrays: Mapping[str, Tensor], name: str, size: int, dtype: Any = np.float64
) -> Array:
    """Return an array after checking its size and type."""
    values = arrays[name].numpy()
    need(values.shape == (size,) and values.dtype == dtype, f"the array {name!r}")
    return values
