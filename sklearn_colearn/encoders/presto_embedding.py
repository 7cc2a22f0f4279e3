"""Presto's embedding of a series, as a scikit-learn transformer."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted

from sklearn_colearn.encoders.bands import Bands, limits_of
from sklearn_colearn.encoders.presto import WIDTH, PrestoEncoder
from sklearn_colearn.inputs import (
    Array,
    Schema,
    label_index,
    numeric_values,
    present_rows,
)
from sklearn_colearn.modality_dict import own_sample_dim, read_named

__all__ = ["PrestoEmbedding"]

BATCH_SIZE = 1024


class PrestoEmbedding(
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Embed monthly series by Presto, without training: 128 numbers per row.

    :class:`~sklearn_colearn.encoders.PrestoEncoder` lists the bands and their units.
    Use it in :class:`~sklearn_colearn.PerModality` to turn the series of one modality
    into a table.

    Parameters
    ----------
    weights : str, path-like or None, default=None
        As in :class:`~sklearn_colearn.encoders.PrestoEncoder`.
    month : int, sequence of int or None, default=None
        As in the encoder. None takes the months from the dates of a DataArray.
    band_names : sequence of str or None, default=None
        As in the encoder. None takes the names from a DataArray.

    Attributes
    ----------
    encoder_ : PrestoEncoder
        The network.

    References
    ----------
    Tseng et al., "Lightweight, pre-trained transformers for remote sensing timeseries",
    2023, arXiv:2304.14065.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_colearn.encoders import PrestoEmbedding
    >>> X = np.random.default_rng(0).normal(-12, 3, (5, 12, 2))  # dB
    >>> embedding = PrestoEmbedding("random", month=1, band_names=["VV", "VH"])
    >>> embedding.fit_transform(X).shape
    (5, 128)
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | None = None,
        *,
        month: int | Sequence[int] | None = None,
        band_names: Sequence[Hashable | None] | None = None,
    ) -> None:
        self.weights = weights
        self.month = month
        self.band_names = band_names

    @property
    def _n_features_out(self) -> int:
        return WIDTH

    def fit(self, X: Any, y: Any = None) -> Self:
        """Load the weights and check the names and units of the bands.

        Parameters
        ----------
        X : array-like or DataArray of shape (n_samples, n_timesteps, n_bands)
            Series, NaN where missing.
        y : object, default=None
            Ignored.

        Raises
        ------
        ValueError
            If X is not a series, or
            :class:`~sklearn_colearn.encoders.PrestoEncoder` cannot read it.
        OSError
            If the weights cannot be downloaded.
        """
        sample_dim = own_sample_dim({"X": X})
        named = read_named({"X": X}, sample_dim)
        values = numeric_values("X", named["X"], None)
        if values.ndim != 3:
            raise ValueError(
                "Presto reads series (n_samples, n_timesteps, n_bands); got the shape "
                f"{values.shape}."
            )
        self._schema = Schema.of(named, sample_dim)
        entry = self._schema.entries["X"]
        month, steps = self.month, entry.axes[0]
        if month is None and steps is not None:
            kind, days = label_index(steps)
            if kind == "dates":
                dates = np.floor(np.asarray(days)).astype("datetime64[D]")
                month = (dates.astype("datetime64[M]").astype(int) % 12 + 1).tolist()
        nothing = np.zeros(values.shape[2])
        limits = limits_of(values)
        self.encoder_ = PrestoEncoder(
            values.shape[1:],
            1,
            weights=self.weights,
            month=month,
            band_names=self.band_names,
            freeze=True,
            bands=Bands(entry.bands, nothing, nothing + 1, limits),
        ).eval()
        return self

    def transform(self, X: Any) -> Array:
        """Embed series.

        Parameters
        ----------
        X : array-like or DataArray of shape (n_samples, n_timesteps, n_bands)
            Series with the steps and bands of fit, matched by label if both have
            labels.

        Returns
        -------
        ndarray of shape (n_samples, 128), float32
            NaN in rows without values.

        Raises
        ------
        ValueError
            If the steps or bands of X differ from those of fit.
        NotFittedError
            If the transformer is not fitted.
        """
        check_is_fitted(self)
        values = numeric_values("X", self._schema.read({"X": X})["X"], None)
        embedding = np.full((len(values), WIDTH), np.nan, dtype=np.float32)
        rows = np.flatnonzero(present_rows(values))
        with torch.inference_mode():
            for start in range(0, len(rows), BATCH_SIZE):
                some = rows[start : start + BATCH_SIZE]
                x = torch.from_numpy(values[some].astype(np.float32))
                seen = ~x.isnan()
                known = None if seen.all() else seen
                embedding[some] = self.encoder_.embed(x, observed=known).numpy()
        return embedding

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags
