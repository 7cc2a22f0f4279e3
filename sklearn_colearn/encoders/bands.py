"""Names and scaling of a modality's bands, for encoders that need raw values."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bands"]

#: Larger inputs are subsampled to about this many rows.
MAX_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class Bands:
    """Names, scaling and time origin of a modality's bands.

    Parameters
    ----------
    names : tuple of str or None
        Names of the bands, if X has them.
    shift, scale : ndarray of shape (n_bands,)
        Inverse of the standardization: raw values are ``x * scale + shift``.
    limits : ndarray of shape (2, n_bands) or None, default=None
        1st and 99th percentile of the raw training values, NaN for bands without
        values. None when a network is built for weights from a file.
    origin : numpy.datetime64, float or None, default=None
        Zero of ``times``: a date, or a number of days if times were given as numbers.
        None without ``times=``.
    """

    names: tuple[Hashable, ...] | None
    shift: NDArray[Any]
    scale: NDArray[Any]
    limits: NDArray[Any] | None = None
    origin: np.datetime64 | float | None = None


def limits_of(values: NDArray[Any]) -> NDArray[Any]:
    """Return the 1st and 99th percentile, (2, n_bands), of raw values (..., n_bands).

    NaN is missing. Many rows are subsampled.
    """
    some = values[:: max(1, len(values) // MAX_ROWS)]
    some = some.reshape(-1, some.shape[-1])
    limits = np.full((2, some.shape[1]), np.nan)
    for band, own in enumerate(some.T):
        known = own[~np.isnan(own)]
        if known.size:
            limits[:, band] = np.percentile(known, (1, 99))
    return limits
