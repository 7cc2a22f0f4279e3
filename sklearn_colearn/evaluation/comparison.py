"""Compare training on all modalities with training on fewer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from sklearn_colearn.evaluation.folds import Fit, Study, run_all
from sklearn_colearn.evaluation.reports import ALL, ALONE, ModalityReport, PartnerReport
from sklearn_colearn.evaluation.scorers import Scoring, tuned_for

__all__ = ["evaluate_modalities", "partner_gain"]

#: Method name of a single estimator.
CO_LEARNED = "co-learned"
#: Method name with pairs, and suffix of baselines trained on labelled pairs.
WITH_PAIRS, TAUGHT = "with pairs", ", taught"


def evaluate_modalities(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    scoring: Scoring | None = None,
    groups: Any = None,
    baselines: Mapping[str, Any] | None = None,
    modalities: str | Iterable[str] | None = None,
    X_unlabeled: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> ModalityReport:
    """Compare training on all modalities with training on one, for each modality.

    On the same folds and rows, these methods are scored from each modality:

    - ``"co-learned"``: the estimator trained on all modalities, once per fold;
    - ``"alone"``: the same estimator trained on this modality only;
    - each baseline, trained on the flat values of this modality.

    `X_unlabeled` adds:

    - ``"with pairs"``: the estimator trained on all modalities and the pairs;
    - ``"<baseline>, taught"``: the baseline trained on labelled rows and on pairs that
      a clone of it, trained on all modalities, has labelled.

    Modality ``"all"`` predicts from all modalities at once. Only labelled rows are
    scored. Unlabelled rows only enter co-learning; stratified splitters treat them as
    one class.

    Parameters
    ----------
    estimator : estimator, or dict of str to estimator
        A :class:`~sklearn_colearn.CoLearnClassifier` or
        :class:`~sklearn_colearn.CoLearnRegressor`, a pipeline that ends in one, or a
        search around one. A dict compares several by name; the first is also trained
        ``"alone"``.
    X : ModalityDict, dict, DataFrame with a column MultiIndex, or xarray.Dataset
        At least two modalities of shape (n_samples, ...), besides entries named by the
        estimator's ``times``. A row lacks a modality if all its values are missing.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target, matched to X as in `fit`.
    cv : int, splitter or iterable of (train, test), default=None
        Folds, as in scikit-learn. None means 5, stratified for classifiers. An integer
        keeps `groups` whole.
    scoring : str, callable, list of str, or dict of str to scorer, default=None
        One or more metrics, as in scikit-learn's ``cross_validate``. None means
        accuracy or R2. All metrics share one fit. ``"neg_log_loss"`` and
        ``"neg_brier_score"`` count all classes of y, also those that a fold lacks.
    groups : array-like of shape (n_samples,), default=None
        Groups that `cv` keeps together, such as sites. Also passed to ``fit`` of
        estimators that take ``groups``, but not of a search.
    baselines : dict of str to estimator, default=None
        Other estimators by name, such as ``{"forest": RandomForestClassifier()}``. They
        read flat tables, with NaN for missing values and modalities.
    modalities : str or iterable of str, default=None
        Modalities to score from; None means all.
    X_unlabeled : "test places" or any form of X, default=None
        Pairs, as in `fit`. ``"test places"`` uses a random half of each test fold as
        pairs and scores on the other half. If folds hold whole places, this measures a
        model for places without labels. Baselines read pairs into memory.
    n_jobs : int, default=None
        Number of parallel fits.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    ModalityReport
        Report whose ``scores`` have a row per modality, method and fold, and whose
        ``summary()`` has means, differences and intervals; of several metrics, proper
        scores come first.

    Raises
    ------
    ValueError
        If X has fewer than two modalities or other rows than y or groups, a name is
        taken or unknown, a row lacks all modalities, or a fold has no row to train or
        test a modality.
    TypeError
        If X does not name its modalities, the estimator does not co-learn, or a
        baseline is not an estimator.

    Warns
    -----
    UserWarning
        If the training or test rows of a fold lack a class.

    Notes
    -----
    Training on one modality ignores parameters and search scorers of the others, based
    on ``X.dropped``. Custom transformers preserve it by editing an ``X.copy()``.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, evaluate_modalities
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, cv=None)
    >>> report = evaluate_modalities(clf, X, y, cv=2, modalities="S1")
    >>> report.summary().index.tolist()
    [('S1', 'alone'), ('S1', 'co-learned'), ('all', 'co-learned')]
    """
    several = isinstance(estimator, Mapping)
    estimators = dict(estimator) if several else {CO_LEARNED: estimator}
    baselines = {} if baselines is None else baselines
    _check_methods(estimators, baselines)
    study = Study(estimators, X, y, cv, scoring, groups, modalities, X_unlabeled)
    each, everything = [(m,) for m in study.modalities], study.everything
    fits = [Fit(ALONE, next(iter(estimators.values())), m, m) for m in each]
    for name, one in estimators.items():
        answers = everything, (*study.modalities, ALL)
        fits += [Fit(name, one, *answers)]
        if X_unlabeled is not None:
            fits += [Fit(_with_pairs(name), one, *answers, pairs=True)]
    for name, one in baselines.items():
        fits += [Fit(name, one, m, m, flat=True) for m in each]
        fits += [Fit(name, one, everything, (ALL,), flat=True)]
        if X_unlabeled is not None:
            taught = f"{name}{TAUGHT}"
            fits += [Fit(taught, one, m, m, flat=True, pairs=True) for m in each]
    scores = run_all(study, fits, n_jobs, verbose)
    return ModalityReport(scores.drop(columns="trained_on"))


def partner_gain(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    scoring: Scoring | None = None,
    groups: Any = None,
    modalities: str | Iterable[str] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> PartnerReport:
    """Measure which modality gains from which partner in training.

    The gain is the score after training on the pair, or on all modalities, minus the
    score after training alone, on the same folds and rows.

    Parameters
    ----------
    estimator : estimator
        As in :func:`evaluate_modalities`, but no dict.
    X, y, cv, scoring, groups, n_jobs, verbose
        As in :func:`evaluate_modalities`. A pair is trained on the rows that have at
        least one of the two.
    modalities : str or iterable of str, default=None
        Modalities to score from; all are partners.

    Returns
    -------
    PartnerReport
        Report; its ``matrix()`` has the mean gains.

    Raises
    ------
    ValueError, TypeError
        As in :func:`evaluate_modalities`; also if a search is scored from a modality
        that a pair lacks.

    Notes
    -----
    M modalities take M (M - 1) / 2 + M + 1 fits per fold.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, partner_gain
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, cv=None)
    >>> report = partner_gain(clf, X, y, cv=2)
    >>> report.matrix().shape
    (3, 4)
    """
    study = Study({CO_LEARNED: estimator}, X, y, cv, scoring, groups, modalities)
    everything, answering = study.everything, study.modalities
    pairs = [p for p in combinations(everything, 2) if set(p) & set(answering)]
    several = [*pairs, everything] if len(everything) > 2 else pairs
    for names in several:
        lacking = [m for m in tuned_for(estimator) if m not in names]
        if lacking:
            raise ValueError(
                f"The search is scored from modality {lacking[0]!r}, but the pair "
                f"{list(names)} lacks it. Pass search.best_estimator_ instead."
            )
    fits = [Fit(ALONE, estimator, (m,), (m,)) for m in answering]
    for names in several:
        asked = tuple(m for m in answering if m in names)
        fits += [Fit(CO_LEARNED, estimator, names, asked)]
    scores = run_all(study, fits, n_jobs, verbose)
    keys = ["metric", "modality", "repeat", "fold"]
    alone = scores[scores["method"] == ALONE].set_index(keys)["score"].rename("alone")
    scores = scores[scores["method"] != ALONE].join(alone, on=keys)
    scores["gain"] = scores["score"] - scores["alone"]
    scores["partner"] = [
        ALL if len(on) > 2 else on[on[0] == m]
        for on, m in zip(scores["trained_on"], scores["modality"], strict=True)
    ]
    columns = ["metric", "modality", "partner", "repeat", "fold", "score", "alone"]
    return PartnerReport(scores[[*columns, "gain", "n_train", "n_test"]])


def _with_pairs(name: str) -> str:
    return WITH_PAIRS if name == CO_LEARNED else f"{name}, {WITH_PAIRS}"


def _check_methods(estimators: Mapping[str, Any], baselines: Any) -> None:
    given = baselines.values() if isinstance(baselines, Mapping) else [None]
    if any(isinstance(one, type) or not hasattr(one, "fit") for one in given):
        raise TypeError(
            "baselines= must be a dict of estimators, such as {'forest': "
            f"RandomForestClassifier()}}; got {baselines!r}."
        )
    if not estimators:
        raise ValueError("estimator= is an empty dict; pass at least one estimator.")
    names = [ALONE, ALL, *estimators, *baselines]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"The name {name!r} in estimator= or baselines= is already in use; "
                "choose another."
            )
