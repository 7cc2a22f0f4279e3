"""Where a sensor may be trusted: how far rows lie from those that it learnt from.

References
----------
Meyer, Pebesma, "Predicting into unknown space? Estimating the area of applicability of
spatial prediction models", Methods in Ecology and Evolution 12(9), 2021,
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

__all__ = ["ENOUGH_ROWS", "Area"]

#: Training rows that are kept of each member, and held-out rows that set its scale.
ENOUGH_ROWS = 1_000
#: Rows whose distances are computed at once.
BLOCK = 1024
#: Rows closer than this share of the training rows' spread are copies of each other.
SAME = 5e-3


@dataclass(frozen=True, eq=False)
class Area:
    """The training rows of a sensor, as each member represents them.

    Attributes
    ----------
    rows : list of ndarray of shape (n_kept, D), float16
        Of each member: ``[specific, shared]`` of its training rows, or of some. Half
        the precision changes no distance that matters, and halves the files.
    scale : ndarray of shape (n_members,), float64
        The median distance of held-out rows to the nearest of these. NaN for a member
        that held out no row with the sensor: it does not count.
    threshold : float
        The upper whisker of the held-out rows' indices.
    """

    rows: list[Array]
    scale: Array
    threshold: float

    @classmethod
    def learn(cls, members: Sequence[tuple[Tensor, Tensor]]) -> Area | None:
        """Learn from what each member makes of its training and held-out rows.

        Parameters
        ----------
        members : sequence of (Tensor, Tensor)
            Representations (n_kept, D) and (n_held_out, D).

        Returns
        -------
        Area or None
            None if no member held out a row.
        """
        scale, indices = np.full(len(members), np.nan), []
        largest = torch.finfo(torch.float16).max
        rows = [known.clamp(-largest, largest).half() for known, _ in members]
        for i, (_, held_out) in enumerate(members):
            known = rows[i].float()
            if len(known) and len(held_out):
                spread = float((known - known.mean(dim=0)).norm(dim=1).mean()) or 1.0
                distance = _nearest(known, held_out).numpy().astype(np.float64)
                # Copies of training rows, as of one pixel of weather, are no measure.
                distance = distance[distance > SAME * spread]
                scale[i] = np.median(distance) if len(distance) else spread
                indices.append(distance / scale[i])
        if not indices:
            return None
        together = np.concatenate(indices)
        lower, upper = np.quantile(together if len(together) else [1.0], [0.25, 0.75])
        kept = [own.numpy() for own in rows]
        return cls(kept, scale, float(upper + 1.5 * (upper - lower)))

    def index(self, representations: Tensor) -> Array:
        """Return how far rows lie from the training rows, the mean over members.

        Parameters
        ----------
        representations : Tensor of shape (n_members, n, D)
            What each member makes of the rows.

        Returns
        -------
        ndarray of shape (n,), float32
            1 is the distance of a typical held-out row.
        """
        counting = np.flatnonzero(np.isfinite(self.scale))
        total = torch.zeros(representations.shape[1], dtype=torch.float64)
        for i in counting:
            known = torch.from_numpy(self.rows[i]).float()
            total += _nearest(known, representations[i]) / float(self.scale[i])
        index: Array = (total / len(counting)).to(torch.float32).numpy()
        return index

    def to_arrays(self) -> dict[str, Tensor]:
        """Return arrays that `from_arrays` takes."""
        arrays = {f"area.{i}": rows for i, rows in enumerate(self.rows)}
        arrays["area.scale"] = self.scale
        arrays["area.threshold"] = np.array([self.threshold])
        return {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Tensor], size: int) -> Area | None:
        """Make it of a file's arrays; None if they hold none, as the first files.

        `size` is that of the representations.
        """
        if "area.scale" not in arrays:
            return None
        scale, threshold = (arrays[f"area.{k}"].numpy() for k in ("scale", "threshold"))
        need(scale.ndim == 1 and scale.dtype == np.float64, "the area's scale")
        counts = ~np.isnan(scale)
        need(counts.any() and (scale[counts] > 0).all(), "the area's scale")
        need(threshold.shape == (1,) and threshold[0] >= 0, "the area's threshold")
        rows = [arrays[f"area.{i}"].numpy() for i in range(len(scale))]
        for own, counted in zip(rows, counts, strict=True):
            need(own.ndim == 2 and own.dtype == np.float16, "the training rows")
            need(own.shape[1] == size and len(own) >= counted, "the training rows")
        return cls(rows, scale, float(threshold[0]))


def _nearest(known: Tensor, rows: Tensor) -> Tensor:
    """Return the distance of each row to the nearest known one."""
    distances = torch.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        nearest = torch.cdist(some, known).argmin(dim=1)
        # What cdist makes of products is inexact for close rows.
        distances[start : start + BLOCK] = (some - known[nearest]).norm(dim=1)
    return distances
