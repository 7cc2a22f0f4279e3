"""Scorers of single modalities for co-learning estimators, also wrapped ones."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, check_scoring, log_loss, make_scorer
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from sklearn_colearn._compat import num_samples, safe_indexing
from sklearn_colearn.base import CoLearn, SingleModalityWarning
from sklearn_colearn.inputs import Array
from sklearn_colearn.modality_dict import (
    ModalityDict,
    equal_to,
    is_named,
    read_named,
    restrict,
    row_labels,
    sentinels_of,
)
from sklearn_colearn.targets import labelled_part, labelled_rows, matched
from sklearn_colearn.times import time_entries

__all__ = ["modality_scorers"]

Scorer = Callable[..., Any]
Scoring = str | Scorer | Iterable[str] | Mapping[str, str | Scorer]

#: Proper scores, best for true probabilities or means; reports show them first.
PROPER = {
    *("neg_log_loss", "neg_brier_score", "d2_log_loss_score", "d2_brier_score"),
    *("r2", "neg_mean_squared_error", "neg_root_mean_squared_error"),
    *("neg_mean_poisson_deviance", "neg_mean_gamma_deviance"),
}
#: Losses that need to know all classes.
_LOSSES = {"neg_log_loss": log_loss}
if "labels" in inspect.signature(brier_score_loss).parameters:  # scikit-learn >= 1.7
    _LOSSES["neg_brier_score"] = brier_score_loss


def modality_scorers(
    scoring: Scoring, modalities: str | Iterable[str]
) -> dict[str, Scorer]:
    """Make scorers that each see a single modality.

    Pass them as ``scoring=`` to scikit-learn's ``cross_validate`` and searches; a
    search also needs one of the keys as ``refit=``. X must name its modalities. Scorers
    skip rows that lack their modality or a label, and warn once of each class that
    training rows lack.

    Parameters
    ----------
    scoring : str, callable, iterable of str, or dict of str to str or callable
        Scorers or their names, as in scikit-learn. A list of scorers raises a
        TypeError; unknown names and metric functions raise a ValueError.
    modalities : str or iterable of str
        Modalities to score from.

    Returns
    -------
    dict of str to callable
        Scorers by modality, or ``"<modality>_<scoring>"`` for several metrics.

    Examples
    --------
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn_colearn import CoLearnClassifier, modality_scorers
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=2, cv=2, random_state=0)
    >>> scorers = modality_scorers("accuracy", ["S1", "S2"])
    >>> sorted(cross_validate(clf, X, y, scoring=scorers, cv=2))
    ['fit_time', 'score_time', 'test_S1', 'test_S2']
    """
    several = not isinstance(scoring, str) and not callable(scoring)
    metrics = named_metrics(scoring)
    told: set[Any] = set()
    return {
        f"{m}_{name}" if several else m: ModalityScorer(
            m, check_scoring(scoring=one), told
        )
        for m in ([modalities] if isinstance(modalities, str) else modalities)
        for name, one in metrics.items()
    }


def named_metrics(scoring: Any) -> dict[str, str | Scorer]:
    """Validate `scoring` and return it as a dict by name."""
    if isinstance(scoring, str) or callable(scoring):
        scoring = {str(getattr(scoring, "__name__", scoring)): scoring}
    elif not isinstance(scoring, Mapping):
        scoring = {name: name for name in scoring or [None]}
    for name, one in scoring.items():
        if not isinstance(name, str):
            raise TypeError(
                "scoring= must be a scorer or its name, a list of names, or a dict of "
                f"scorers or names; got {name!r}."
            )
        check_scoring(scoring=one)  # raises for unknown names and metric functions
    return dict(scoring)


def joint_scorer(metrics: Mapping[str, str | Scorer], model: Any, classes: Any) -> Any:
    """Return one scorer of all metrics, with losses over all `classes` unless None.

    The model may not have seen all classes, and scikit-learn's losses otherwise use
    only those in y.
    """
    scorers = dict(metrics)
    for name, one in metrics.items():
        loss = _LOSSES.get(str(one))
        if loss and classes is not None:
            scorers[name] = make_scorer(
                _loss_of_all_classes,
                response_method="predict_proba",
                greater_is_better=False,
                **{"loss": loss, "known": model.classes_, "classes": classes},
            )
    return check_scoring(scoring=scorers)


def _loss_of_all_classes(
    y: Array, proba: Array, loss: Scorer, known: Array, classes: Array
) -> float:
    if proba.ndim == 1:  # for two classes, scikit-learn passes only the second
        proba = np.column_stack([1 - proba, proba])
    classes = np.union1d(classes, known)  # a wrapper may treat -1 as a class
    full = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
    full[:, np.searchsorted(classes, known)] = proba
    return loss(y, full, labels=classes)


@dataclass(frozen=True, eq=False)
class ModalityScorer:
    """Score labelled rows from one modality.

    Not a subclass of scikit-learn's scorers, which would reuse the predictions from one
    modality for another.
    """

    modality: str
    scorer: Scorer
    #: Classes already warned of, shared by the scorers of one call.
    told: set[Any] = field(default_factory=set)

    def __call__(self, estimator: Any, X: Any, y: Any, **kwargs: Any) -> float:
        """Return the score from this modality."""
        X = read_named(X) if is_named(X) else X
        ids = row_labels(X)
        modality = self._held(estimator, X)
        absent = gaps(restrict(X, modality), sentinels(estimator, modality)).all(axis=1)
        y = dense(matched(y, ids))
        has_label = labelled(estimator, y)
        rows = np.flatnonzero(~absent & has_label)
        for name, value in kwargs.items():
            if np.shape(value)[:1] == (len(X),):
                kwargs[name] = safe_indexing(matched(value, ids, name), rows)
        X = X.select([modality, *time_names(estimator, [modality])])[rows]
        y = labels_of(y, rows, has_label)
        self._warn_of_unknown_classes(estimator, y)
        return self.scorer(estimator, X, y, **kwargs)

    def _warn_of_unknown_classes(self, estimator: Any, y: Any) -> None:
        """Warn of classes in y that the classifier was not trained on."""
        known = getattr(estimator, "classes_", None)
        if known is None or np.ndim(y) != 1:
            return
        unknown = {*np.asarray(y).tolist()} - {*np.asarray(known).tolist()} - self.told
        if unknown:
            self.told.update(unknown)
            warnings.warn(
                f"Training rows lack the classes {sorted(unknown, key=str)}, so their "
                "test rows count as wrong. StratifiedKFold and StratifiedGroupKFold "
                "spread classes over the folds; merge classes that are too rare for "
                "that.",
                UserWarning,
                stacklevel=3,
            )

    def _held(self, estimator: Any, X: Any) -> str:
        """Return the modality, or the only one that X was restricted to."""
        learners = co_learners(estimator)
        trained = any(self.modality in getattr(m, "modalities_", ()) for m in learners)
        if self.modality not in getattr(X, "dropped", ()) or trained:
            return self.modality
        times = time_names(estimator, X)
        held = [name for name in X if name not in times]
        if len(held) > 1:
            return self.modality  # restrict() raises, as X lacks it
        warnings.warn(
            f"X was selected without modality {self.modality!r}, so the score is from "
            f"{held[0]!r}, the only modality in X.",
            SingleModalityWarning,
            stacklevel=3,
        )
        return held[0]

    def get_metadata_routing(self) -> Any:
        """Return the routing of the wrapped scorer, so that weights reach it."""
        return get_routing_for_object(self.scorer)


def tuned_for(estimator: Any) -> list[str]:
    """Return the modalities from which searches inside an estimator are scored."""
    scorers: list[Any] = []
    for part in parts(estimator):
        scoring = getattr(part, "scoring", None)
        scorers += scoring.values() if isinstance(scoring, Mapping) else [scoring]
    return [one.modality for one in scorers if isinstance(one, ModalityScorer)]


def dense(y: Any) -> Any:
    """Return the target as a dense array if it is sparse."""
    return y.toarray() if hasattr(y, "toarray") else y


# -- estimators inside another, and how they read rows -------------------------------


def parts(estimator: Any) -> list[Any]:
    """Return an estimator and those inside it; of a pipeline, only the last step."""
    found, seen, waiting = [], set(), [estimator]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or isinstance(part, type):
            continue
        seen.add(id(part))  # an estimator may contain itself
        if isinstance(part, list | tuple):
            waiting += part
        elif hasattr(part, "fit") or hasattr(part, "predict_proba"):
            found.append(part)
            if isinstance(part, Pipeline):
                waiting += part.steps[-1:]
            elif not isinstance(part, CoLearn):
                waiting += getattr(part, "__dict__", {}).values()
    return found


def co_learners(estimator: Any) -> list[CoLearn]:
    """Return the co-learning estimators inside, only the fitted ones if any are."""
    found = [part for part in parts(estimator) if isinstance(part, CoLearn)]
    return [one for one in found if one.__sklearn_is_fitted__()] or found


def sentinels(estimator: Any, modality: str) -> set[float]:
    """Return the sentinels of a modality, without NaN."""
    values: list[Any] = [one.missing_value for one in co_learners(estimator)]
    given = [v.get(modality) if isinstance(v, Mapping) else v for v in values]
    numbers = [float(v) for value in given for v in sentinels_of(value)]
    return {number for number in numbers if not np.isnan(number)}


def time_names(estimator: Any, modalities: Iterable[str]) -> list[str]:
    """Return the entries of X that hold the times of the given modalities."""
    chosen = list(modalities)
    found = [time_entries(one.times, chosen) for one in co_learners(estimator)]
    return list(dict.fromkeys(name for names in found for name in names))


def gaps(X: ModalityDict, missing_values: Iterable[float]) -> Array:
    """Return a mask of missing values in the flat form, (n_samples, n_features)."""
    flat = np.asarray(X)
    missing = np.asarray(pd.isna(flat), dtype=bool)
    hits = [np.asarray(equal_to(flat, v) & ~missing, bool) for v in missing_values]
    return np.logical_or.reduce([missing, *hits])


def labelled(estimator: Any, y: Any) -> Array:
    """Return a mask of labelled rows, (n_samples,)."""
    learners = co_learners(estimator)
    if not learners:  # other estimators may interpret None or NaN themselves
        return np.ones(num_samples(y), dtype=bool)
    unlabeled = [getattr(one, "unlabeled", None) for one in learners]
    return np.all([labelled_rows(y, value) for value in unlabeled], axis=0)


def labels_of(y: Any, rows: Array, labelled: Array) -> Any:
    """Return the target of some rows, with the dtype of their labels."""
    if labelled.all() or not labelled[rows].all():
        return safe_indexing(y, rows)
    return labelled_part(y, rows)
