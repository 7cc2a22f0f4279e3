"""Preprocessing: any scikit-learn transformer, one for each modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from sklearn_colearn.modalities import ModalityDict, read_named
from sklearn_colearn.schema import Schema

__all__ = ["PerModality"]


class PerModality(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Apply a scikit-learn transformer to each modality by itself.

    A table is given to the transformer as it is. Of a time series or an image, every
    time step or pixel of every sample becomes a row and the bands are the columns, so
    that ``StandardScaler()`` works per band, and ``PCA(3)`` makes three new bands.

    Parameters
    ----------
    transformer : transformer, or dict of str to transformer
        One that is cloned for every modality, or one for each; a modality that the
        dict leaves out, or gives ``"passthrough"``, is left as it is. So are entries of
        X that hold times: give a dict that leaves them out.

    Attributes
    ----------
    transformers_ : dict of str to transformer
        The fitted transformers; ``"passthrough"`` where there is none.

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
            The modalities.
        y : array-like of shape (n_samples,), default=None
            Given to transformers of tables; time steps and pixels have no target.

        Returns
        -------
        PerModality
            Itself, fitted.

        Raises
        ------
        ValueError
            If the dict of transformers names a modality that X does not hold.
        """
        X = read_named(X)
        transformers = self.transformer
        if not isinstance(transformers, Mapping):
            transformers = dict.fromkeys(X, transformers)
        unknown = [modality for modality in transformers if modality not in X]
        if unknown:
            raise ValueError(
                f"transformer= names the modalities {unknown}; X holds {list(X)}."
            )
        self._schema = Schema.of(X)
        self.transformers_ = {}
        for modality, values in X.items():
            transformer = transformers.get(modality, "passthrough")
            if not isinstance(transformer, str):
                target = y if values.ndim == 2 else None
                transformer = clone(transformer).fit(_as_table(values), target)
            elif transformer != "passthrough":
                raise ValueError(
                    f"The transformer of modality {modality!r} is an estimator or "
                    f"'passthrough'; got {transformer!r}."
                )
            self.transformers_[modality] = transformer
        return self

    def transform(self, X: Any) -> ModalityDict:
        """Transform the modalities that X holds: all, or only some.

        Parameters
        ----------
        X : ModalityDict, dict, DataFrame, xarray.Dataset, or array
            One modality or several; a bare array or DataFrame is recognised by its
            shape or column names.

        Returns
        -------
        ModalityDict
            The transformed modalities.

        Raises
        ------
        ValueError
            If a modality is unknown or has other bands or time steps than in fit.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        X = self._schema.read(X)
        return ModalityDict(
            {
                modality: self._transform_one(self.transformers_[modality], values)
                for modality, values in X.items()
            }
        )

    @staticmethod
    def _transform_one(transformer: Any, values: Any) -> Any:
        if isinstance(transformer, str):
            return values
        table = transformer.transform(_as_table(values))
        if values.ndim == 2:
            return table
        return np.asarray(table).reshape(*values.shape[:-1], -1)


def _as_table(values: Any) -> Any:
    if isinstance(values, pd.DataFrame):
        return values
    return values.reshape(-1, values.shape[-1])
