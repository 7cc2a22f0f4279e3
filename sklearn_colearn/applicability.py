"""Area of applicability of a sensor: the distance of rows to its training rows.

References
----------
Meyer, Pebesma, Methods in Ecology and Evolution 12(9), 2021,
doi:10.1111/2041-210X.13650.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sklearn_colearn.inputs import Array
from sklearn_colearn.plain_values import need

__all__ = ["ENOUGH_ROWS", "Area", "in_space"]

#: Maximum number of training rows to keep, and of rows in each part of a fold.
ENOUGH_ROWS = 2_000
#: Number of rows whose distances are computed at once.
BLOCK = 1024
#: Rows closer than this share of the training rows' spread count as copies.
SAME = 1e-3


def in_space(scaled: Tensor) -> Tensor:
    """Return scaled inputs (n, ..., n_bands) as points (n, D) for distances.

    Tables and series are flattened; images become the mean and the standard deviation
    of each band.
    """
    if scaled.ndim < 4:
        return scaled.flatten(start_dim=1)
    pixels = scaled.flatten(start_dim=1, end_dim=-2)  # (n, n_pixels, n_bands)
    return torch.cat([pixels.mean(dim=1), pixels.std(dim=1, correction=0)], dim=1)


@dataclass(frozen=True, eq=False)
class Area:
    """Training rows of a sensor, and the distances of held-out rows to them.

    Attributes
    ----------
    rows : ndarray of shape (n_kept, D), float32
        Training rows as points, or a subsample.
    scale : float
        Median distance of a held-out row to the nearest training row.
    threshold : float
        Upper whisker of the held-out rows' indices.
    """

    rows: Array
    scale: float
    threshold: float

    @classmethod
    def learn(cls, rows: Tensor, folds: Sequence[tuple[Tensor, Tensor]]) -> Area | None:
        """Learn scale and threshold from points.

        Parameters
        ----------
        rows : Tensor of shape (n_kept, D)
            Training rows.
        folds : sequence of (Tensor, Tensor)
            Training and held-out rows of each member.

        Returns
        -------
        Area or None
            None if no row was held out.
        """
        folds = [fold for fold in folds if all(map(len, fold))]
        if not folds:
            return None
        distance = torch.cat([_nearest(*fold) for fold in folds]).numpy()
        spread = float((rows - rows.mean(dim=0)).norm(dim=1).mean()) or 1.0
        # Copies, such as samples in one cell of weather data, would shrink the scale.
        distance = distance[distance > SAME * spread].astype(np.float64)
        if not len(distance):
            distance = np.array([spread])
        scale = float(np.median(distance))
        lower, upper = np.quantile(distance / scale, [0.25, 0.75])
        return cls(rows.numpy(), scale, float(upper + 1.5 * (upper - lower)))

    def index(self, points: Tensor) -> Array:
        """Return the dissimilarity index (n,), float32, of points (n, D)."""
        distance = _nearest(torch.from_numpy(self.rows), points)
        index: Array = (distance / self.scale).numpy()
        return index

    def to_arrays(self) -> dict[str, Tensor]:
        """Return arrays for `from_arrays`."""
        numbers = np.array([self.scale, self.threshold])
        rows = np.ascontiguousarray(self.rows)
        return {
            "area.rows": torch.from_numpy(rows),
            "area.numbers": torch.from_numpy(numbers),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], shape: tuple[int, ...]) -> Area:
        """Make an area from a file's arrays; `shape` is the network's input shape."""
        rows, numbers = (arrays[f"area.{k}"].numpy() for k in ("rows", "numbers"))
        size = in_space(torch.empty(1, *shape)).shape[1]
        need(rows.dtype == np.float32 and rows.ndim == 2, "the training rows")
        need(rows.shape[1] == size and len(rows), "the training rows")
        need(numbers.shape == (2,) and (numbers > 0).all(), "the scale of distances")
        return cls(rows, *map(float, numbers))


def _nearest(known: Tensor, points: Tensor) -> Tensor:
    """Return the distance of each point to the nearest known point."""
    distances = torch.empty(len(points))
    for start in range(0, len(points), BLOCK):
        some = points[start : start + BLOCK]
        nearest = torch.cdist(some, known).argmin(dim=1)
        # cdist is inexact for close points.
        distances[start : start + BLOCK] = (some - known[nearest]).norm(dim=1)
    return distances
