"""Evaluation: what each modality alone can do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import get_scorer
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object

from sklearn_colearn.modalities import restrict

__all__ = ["modality_scorers"]


def modality_scorers(
    scoring: str
    | Callable[..., float]
    | Sequence[str]
    | Mapping[str, str | Callable[..., float]],
    modalities: str | Iterable[str],
) -> dict[str, Callable[..., float]]:
    """Make scorers that each see one modality only.

    For ``scoring=`` of scikit-learn's ``cross_validate`` and searches, with X a
    :class:`~sklearn_colearn.ModalityDict` or a DataFrame with a column MultiIndex.
    With a search, ``refit=`` names one of the keys. Rows in which the modality is all
    NaN are left out of its score.

    Parameters
    ----------
    scoring : str, callable, sequence of str, or mapping of str to either
        A name of a scorer as in scikit-learn or a scorer; several names; or several of
        both by names of your own.
    modalities : str or iterable of str
        The modalities to score from, one at a time.

    Returns
    -------
    dict of str to callable
        With one scorer the keys are the modalities, with several
        ``"<modality>_<scoring>"``.

    Raises
    ------
    ValueError
        If scikit-learn knows no such scorer.
    TypeError
        If `scoring` holds something else than names and scorers.

    Examples
    --------
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_colearn import CoLearnClassifier, modality_scorers
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=2, random_state=0)
    >>> scorers = modality_scorers("accuracy", ["S1", "S2"])
    >>> sorted(cross_validate(clf, X, y, scoring=scorers, cv=2))
    ['fit_time', 'score_time', 'test_S1', 'test_S2']
    """
    modalities = [modalities] if isinstance(modalities, str) else list(modalities)
    if isinstance(scoring, str) or callable(scoring):
        scorer = _scorer(scoring)
        return {modality: _ModalityScorer(modality, scorer) for modality in modalities}
    if isinstance(scoring, Mapping):
        named = dict(scoring)
    else:
        names = [scoring] if scoring is None else list(scoring)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(
                "scoring= is the name of a scorer, a scorer, a list of names, or a "
                f"dict of names of your own to either; got {scoring!r}."
            )
        named = {name: name for name in names}
    return {
        f"{modality}_{name}": _ModalityScorer(modality, _scorer(one))
        for modality in modalities
        for name, one in named.items()
    }


def _scorer(scoring: str | Callable[..., float]) -> Callable[..., float]:
    if str(getattr(scoring, "__module__", "")).startswith(
        "sklearn.metrics."
    ) and inspect.isfunction(scoring):
        raise TypeError(
            f"{scoring.__name__} is a metric function, not a scorer; use its name, or "
            "sklearn.metrics.make_scorer."
        )
    scorer: Callable[..., float] = get_scorer(scoring)
    return scorer


class _ModalityScorer:
    """Restrict X to one modality and the rows that have it, then score as usual.

    No subclass of scikit-learn's scorers: those share their predictions by the name of
    the response method, and would be handed the predictions of another modality.
    """

    def __init__(self, modality: str, scorer: Callable[..., float]) -> None:
        self.modality = modality
        self.scorer = scorer

    def __call__(self, estimator: Any, X: Any, y: Any, **kwargs: Any) -> float:
        X = restrict(X, self.modality)
        missing = pd.isna(np.asarray(X)).all(axis=1)
        if missing.any():
            rows = np.flatnonzero(~missing)
            n = len(X)
            X, y = X[rows], _safe_indexing(y, rows)
            kwargs = {
                name: value if np.shape(value)[:1] != (n,) else np.asarray(value)[rows]
                for name, value in kwargs.items()
            }
        return self.scorer(estimator, X, y, **kwargs)

    def get_metadata_routing(self) -> Any:
        """Return what the wrapped scorer asks for, so that weights reach it."""
        return get_routing_for_object(self.scorer)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.modality!r}, {self.scorer!r})"
