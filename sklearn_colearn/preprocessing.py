"""Preprocessing with scikit-learn transformers, one per modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from sklearn_colearn.inputs import Schema
from sklearn_colearn.modality_dict import ModalityDict, own_sample_dim, read_named

__all__ = ["PerModality"]


class PerModality(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Apply a scikit-learn transformer to each modality.

    Time series and images are reshaped to a row per time step or pixel and a column per
    band: ``PCA(3)`` makes three new bands. Transformers with the ``three_d_array`` tag
    (:class:`sklearn.utils.InputTags`), such as
    :class:`~sklearn_colearn.encoders.PrestoEmbedding`, take whole series and may return
    a table.

    Parameters
    ----------
    transformer : transformer, or dict of str to transformer
        Transformer to clone for every modality, or transformers by modality. Modalities
        that a dict omits or maps to ``"passthrough"`` are unchanged. Omit entries that
        hold times.

    Attributes
    ----------
    transformers_ : dict of str to transformer
        Fitted transformers, or ``"passthrough"``, by modality.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_colearn import ModalityDict, PerModality
    >>> X = ModalityDict(S1=np.arange(24.0).reshape(4, 3, 2), soil=np.eye(4))
    >>> X = PerModality(StandardScaler()).fit_transform(X)
    >>> X["S1"].mean(axis=(0, 1)).round(6)
    array([0., 0.])
    """

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def fit(self, X: Any, y: Any = None) -> PerModality:
        """Fit one transformer per modality.

        Parameters
        ----------
        X : ModalityDict, dict, MultiIndex DataFrame or xarray.Dataset
            Training data.
        y : array-like of shape (n_samples,), default=None
            Target, passed only to transformers of tables.

        Raises
        ------
        ValueError
            If `transformer` names a modality that X lacks.
        """
        sample_dim = own_sample_dim(X)
        X = read_named(X, sample_dim)
        transformers = self.transformer
        if not isinstance(transformers, Mapping):
            transformers = dict.fromkeys(X, transformers)
        unknown = [m for m in transformers if m not in (*X, *X.dropped)]
        if unknown:
            raise ValueError(f"transformer= names {unknown}, but X contains {list(X)}.")
        self._schema = Schema.of(X, sample_dim)
        self.transformers_ = {}
        for modality, values in X.items():
            transformer = transformers.get(modality, "passthrough")
            if not isinstance(transformer, str):
                target = y if values.ndim == 2 else None
                table = _as_table(transformer, values)
                transformer = clone(transformer).fit(table, target)
            elif transformer != "passthrough":
                raise ValueError(
                    f"The transformer of modality {modality!r} must be an estimator or "
                    f"'passthrough'; got {transformer!r}."
                )
            self.transformers_[modality] = transformer
        return self

    def transform(self, X: Any) -> ModalityDict:
        """Transform the modalities of X.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset, or array
            Some or all modalities of `fit`, as in `predict`.

        Raises
        ------
        ValueError, NotFittedError
            If a modality is unknown or differs in bands or steps from `fit`, or `fit`
            was not called.
        """
        check_is_fitted(self)
        X = self._schema.read(X)
        transformed = dict(X.items())
        for modality, values in X.items():
            transformer = self.transformers_[modality]
            if not isinstance(transformer, str):
                before = _as_table(transformer, values)
                table = transformer.transform(before)
                if before.ndim < values.ndim:
                    table = np.asarray(table).reshape(*values.shape[:-1], -1)
                transformed[modality] = table
        return X.with_values(transformed)


def _as_table(transformer: Any, values: Any) -> Any:
    """Return values as the transformer takes them: a table, or whole series."""
    whole = values.ndim == 3 and get_tags(transformer).input_tags.three_d_array
    if values.ndim == 2 or whole:
        return values
    return values.reshape(-1, values.shape[-1])
