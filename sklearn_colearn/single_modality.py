"""The fitted model of one modality: its scaler, two encoders and head."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sklearn_colearn.network import ModalityNetwork, ModalityOutput
from sklearn_colearn.schema import numeric_values, present_rows

__all__ = ["Scaler", "SingleModality", "fit_scaler", "standardized", "step_inputs"]

Array = np.ndarray[Any, Any]

#: Rows that go through the network at once: large enough to keep the cores busy, small
#: enough that what is between the layers stays in the cache.
ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Scaler:
    """How the raw values of each band become what the network takes.

    Attributes
    ----------
    shift, scale : ndarray of shape (n_bands,), float64
        A value is scaled to ``(value - shift) / scale``.
    fill : ndarray of shape (n_bands,), float32
        What stands for a missing value, after scaling: the mean of the band.
    indicator : bool
        Whether the network gets one band more, the share of the bands that are missing.
    """

    shift: Array
    scale: Array
    fill: Array
    indicator: bool = False

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that the network sees of rows of some shape."""
        return (*shape[:-1], shape[-1] + self.indicator)


def fit_scaler(values: Array, standardize: bool, indicator: bool = False) -> Scaler:
    """Learn the mean, and standard deviation, per band over rows, steps and pixels.

    Parameters
    ----------
    values : ndarray of shape (n_samples, ..., n_bands)
        Training rows, NaN where missing. A constant band has scale 1; one without any
        value has no mean and is filled with 0.
    standardize : bool
        Whether to standardise, or only to fill what is missing with the mean.
    indicator : bool, default=False
        Whether the network is told what was missing, if anything is in a row that has
        the modality.
    """
    indicator = indicator and bool(np.isnan(values[present_rows(values)]).any())
    # numpy divides by the number of values, which is 0 for a band without any.
    with np.errstate(invalid="ignore", divide="ignore"):
        fitted = StandardScaler().fit(values.reshape(-1, values.shape[-1]))
    mean = np.atleast_1d(fitted.mean_)
    nothing = np.zeros_like(mean)
    if standardize:
        return Scaler(mean, fitted.scale_, nothing.astype(np.float32), indicator)
    fill = np.nan_to_num(mean).astype(np.float32)
    return Scaler(nothing, nothing + 1, fill, indicator)


def standardized(values: Array, scaler: Scaler) -> Tensor:
    """Return a modality as the network wants it: float32, the mean where missing."""
    scaled = values - scaler.shift.astype(values.dtype)
    scaled /= scaler.scale.astype(values.dtype)
    scaled = scaled.astype(np.float32, copy=False)
    np.copyto(scaled, scaler.fill, where=np.isnan(scaled))
    if scaler.indicator:
        missing = np.isnan(values).mean(axis=-1, keepdims=True, dtype=np.float32)
        scaled = np.concatenate([scaled, missing], axis=-1)
    return torch.from_numpy(scaled)


def step_inputs(
    network: ModalityNetwork, values: Array, days: Any = None
) -> dict[str, Tensor]:
    """Return what the encoders of a time series take beside its values.

    Parameters
    ----------
    network : ModalityNetwork
        Its encoders say what they take.
    values : ndarray of shape (n_samples, n_timesteps, n_bands)
        NaN where missing.
    days : ndarray of shape (n_timesteps,) or (n_samples, n_timesteps), float32, or None
        The times.

    Returns
    -------
    dict of {'times', 'mask'} to Tensor of shape (n_samples, n_timesteps)
        No ``mask`` where every step was observed.
    """
    steps: dict[str, Tensor] = {}
    if values.ndim != 3:
        return steps
    if days is not None and "times" in network.takes:
        steps["times"] = torch.from_numpy(days).expand(values.shape[:2])
    if "mask" in network.takes:
        observed = np.asarray(~np.isnan(values).all(axis=2))
        observed |= ~observed.any(axis=1, keepdims=True)  # no such row is run
        if not observed.all():
            steps["mask"] = torch.from_numpy(observed)
    return steps


@dataclass(frozen=True)
class SingleModality:
    """The fitted model of one modality, on arrays.

    Attributes
    ----------
    modality : str
        Its name.
    scaler : Scaler
        Per band.
    network : ModalityNetwork
        Two encoders and a head.
    missing_value : float or None
        What stands for NaN.
    """

    modality: str
    scaler: Scaler
    network: ModalityNetwork
    missing_value: float | None

    def read(self, values: Any) -> tuple[Array, Array]:
        """Check a modality and say which rows have it.

        Parameters
        ----------
        values : array-like of shape (n_samples, *input_shape)
            Raw values, as the user has them.

        Returns
        -------
        array : ndarray of shape (n_present, *input_shape)
            The rows that have any value, NaN where one is missing.
        present : ndarray of shape (n_samples,), bool
            Which rows these are.
        """
        array = numeric_values(self.modality, values, self.missing_value)
        present = present_rows(array)
        return (array if present.all() else array[present]), present

    def run(
        self,
        array: Array,
        days: Array | None = None,
        keep: Collection[str] = ModalityOutput._fields,
    ) -> ModalityOutput:
        """Run the two encoders and the head; the answers are on the CPU.

        Parameters
        ----------
        array : ndarray of shape (n_samples, *input_shape)
            From :meth:`read`.
        days : ndarray of shape (n_timesteps,) or (n_samples, n_timesteps), optional
            When the steps were, from :meth:`Calendar.days`.
        keep : collection of {'specific', 'unused', 'shared'}, default=all
            The representations to return beside the prediction. Of the others there
            are no rows: all of them are several times larger than the input.
        """
        if len(array) == 0:  # not every layer takes an empty batch
            one = self.run(np.zeros((1, *array.shape[1:]), dtype=np.float32))
            return ModalityOutput(*(z[:0] for z in one))
        device = next(self.network.parameters()).device
        self.network.eval()
        kept = {"prediction", *keep}
        whole: ModalityOutput | None = None
        with torch.inference_mode():
            for start in range(0, len(array), ROWS_AT_ONCE):
                some = slice(start, start + ROWS_AT_ONCE)
                x = standardized(array[some], self.scaler)
                own = days[some] if days is not None and days.ndim == 2 else days
                steps = step_inputs(self.network, array[some], own)
                output = self.network(
                    x.to(device), **{m: t.to(device) for m, t in steps.items()}
                )
                if whole is None:
                    # Made at once: batches kept between the network's temporaries
                    # would leave the heap with holes.
                    whole = ModalityOutput(
                        *(
                            torch.empty(
                                (len(array) if name in kept else 0, *z.shape[1:]),
                                dtype=z.dtype,
                            )
                            for name, z in output._asdict().items()
                        )
                    )
                for name in kept:
                    getattr(whole, name)[some] = getattr(output, name)
        assert whole is not None
        if not torch.isfinite(whole.prediction).all():
            raise ValueError(
                f"The predictions from modality {self.modality!r} are infinite or NaN: "
                "training has diverged (a smaller lr may help), or the values are of "
                "another scale than in fit."
            )
        return whole
