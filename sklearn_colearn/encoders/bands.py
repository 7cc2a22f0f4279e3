"""What fit knows of a modality's bands, for encoders that want their raw values."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bands"]

#: Rows whose values are enough to know the range of a band.
ENOUGH_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Bands:
    """What fit knows of a modality's bands and steps.

    Parameters
    ----------
    names : tuple of str or None
        Of the bands, if X names them.
    shift, scale : ndarray of shape (n_bands,)
        How the batches are standardized: raw values are ``x * scale + shift``.
    limits : ndarray of shape (2, n_bands) or None, default=None
        The 1st and the 99th percentile of the raw training values, NaN of a band
        without any. None where a network is made for weights from a file.
    origin : numpy.datetime64, float or None, default=None
        The time from which ``times`` counts: a date, or a number of days if times came
        as numbers. None without ``times=``.
    """

    names: tuple[Hashable, ...] | None
    shift: NDArray[Any]
    scale: NDArray[Any]
    limits: NDArray[Any] | None = None
    origin: np.datetime64 | float | None = None


def limits_of(values: NDArray[Any]) -> NDArray[Any]:
    """Return the 1st and the 99th percentile of each band, (2, n_bands).

    Parameters
    ----------
    values : ndarray of shape (n_samples, ..., n_bands)
        NaN where missing; a sample of many rows is enough.
    """
    some = values[:: max(1, len(values) // ENOUGH_ROWS)]
    some = some.reshape(-1, some.shape[-1])
    limits = np.full((2, some.shape[1]), np.nan)
    for band, own in enumerate(some.T):
        known = own[~np.isnan(own)]
        if known.size:
            limits[:, band] = np.percentile(known, (1, 99))
    return limits
