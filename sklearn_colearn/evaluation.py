"""Evaluation: what each modality alone can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sklearn.metrics import get_scorer

from sklearn_colearn.modalities import restrict

__all__ = ["modality_scorers"]


def modality_scorers(
    scoring: str | Callable[..., float] | Sequence[str],
    modalities: str | Iterable[str],
) -> dict[str, Callable[..., float]]:
    """Make scorers that each see one modality only.

    For ``scoring=`` of scikit-learn's ``cross_validate`` and searches, with X a
    :class:`~sklearn_colearn.ModalityDict` or a DataFrame with a column MultiIndex.
    With a search, ``refit=`` names one of the keys.

    Parameters
    ----------
    scoring : str, callable, or sequence of str
        Names of scorers as in scikit-learn, or one scorer.
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
        scorer = get_scorer(scoring)
        return {modality: _ModalityScorer(modality, scorer) for modality in modalities}
    return {
        f"{modality}_{name}": _ModalityScorer(modality, get_scorer(name))
        for modality in modalities
        for name in scoring
    }


class _ModalityScorer:
    """Restrict X to one modality, then score as usual.

    No subclass of scikit-learn's scorers: those share their predictions by the name of
    the response method, and would be handed the predictions of another modality.
    """

    def __init__(self, modality: str, scorer: Callable[..., float]) -> None:
        self.modality = modality
        self.scorer = scorer

    def __call__(self, estimator: Any, X: Any, y: Any, **kwargs: Any) -> float:
        return self.scorer(estimator, restrict(X, self.modality), y, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.modality!r}, {self.scorer!r})"
