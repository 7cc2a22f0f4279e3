"""Evaluation: what each modality alone can do, and what it gains from the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sklearn_colearn.report import ALL, ALONE, ModalityReport, PartnerReport
from sklearn_colearn.study import (
    CO_LEARNED,
    Fit,
    ModalityScorer,
    Scorer,
    Study,
    as_scorer,
    check_baselines,
    check_names,
    in_order,
    restricted,
    run_all,
)

__all__ = ["evaluate_modalities", "modality_scorers", "partner_gain"]


def evaluate_modalities(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    scoring: str | Scorer | None = None,
    groups: Any = None,
    baselines: Mapping[str, Any] | None = None,
    modalities: str | Iterable[str] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> ModalityReport:
    """Compare training on all modalities with training on one, for each modality.

    Does training with the other sensors make one sensor better, by how much, and is
    that noise? On the same folds and rows are compared

    - ``"co-learned"``: the estimator trained on all modalities, once per fold, and
      asked from each modality by itself;
    - ``"alone"``: the same estimator trained on this modality only, by the rows that
      have it;
    - each baseline, trained on the flattened columns of this modality, by the same
      rows as ``"alone"``.

    Rows of `y` without a label (None, NaN, and the estimator's ``unlabeled``) are
    trained on together with other modalities, where they teach something; ``"alone"``
    and the baselines are trained on labelled rows, and only these are scored. A
    splitter by class sees them as one class more.

    Modality ``"all"`` is the co-learned estimator asked from all modalities at once:
    its teacher, or the mean, as ``fusion`` of the estimator says.

    Parameters
    ----------
    estimator : estimator, or dict of str to estimator
        A :class:`~sklearn_colearn.CoLearnClassifier` or
        :class:`~sklearn_colearn.CoLearnRegressor`, a pipeline that ends in one, or a
        search around one. Several settings by names of your own are compared with each
        other; the first one's settings also train ``"alone"``. Only clones are fitted.
    X : ModalityDict, dict, DataFrame with a column MultiIndex, or xarray.Dataset
        At least two modalities of shape (n_samples, ...). A modality whose row is all
        missing (NaN, or the estimator's ``missing_value``) is neither trained alone on
        this row nor scored on it. Entries that `times=` of the estimator names are
        no modalities and go along with theirs.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The target.
    cv : int, splitter or iterable of (train, test), default=None
        As in scikit-learn; None means 5 folds, stratified for a classifier. A repeated
        one gives narrower intervals.
    scoring : str, callable or None, default=None
        One scorer as in scikit-learn, larger is better. None is accuracy for a
        classifier and R2 for a regressor, also where a search has a scoring of its
        own.
    groups : array-like of shape (n_samples,), default=None
        Groups that `cv` keeps together, such as sites.
    baselines : dict of str to estimator, default=None
        Other scikit-learn estimators by names of your own, such as ``{"forest":
        RandomForestClassifier()}``. Each is cloned for each modality and fed its
        columns, of shape (n_rows, n_features), with NaN for missing values.
    modalities : str or iterable of str, default=None
        The modalities to score from; all by default. Training always is on all.
    n_jobs : int, default=None
        Number of fits at a time, as in joblib, whose backends also work.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    ModalityReport
        Print it for a summary. ``scores`` is a table with a row for each modality,
        method and fold, ``summary()`` the means, differences and their intervals,
        ``differences()`` the paired differences.

    Raises
    ------
    ValueError
        If there are fewer than two modalities, X, y and groups differ in their rows, a
        name is taken or unknown, a row holds no modality, or a fold has no row to
        train or test a modality. What a fit or a scorer raises goes through, with a
        note that names the fold, the method and the modality.
    TypeError
        If X does not name its modalities, the estimator is none of co-learning, or a
        baseline is no estimator.

    See Also
    --------
    partner_gain : Which modality gains from which.
    modality_scorers : The same scores in scikit-learn's own tools.

    Notes
    -----
    Parameters given by modality are cut down to the one modality for ``"alone"``, and
    a search that is tuned for another modality is tuned for this one. `groups` are for
    `cv` only: a search splits by its own.

    The time of a fit of a co-learned modality is that of the fit on all of them.

    References
    ----------
    Nadeau, Bengio, "Inference for the generalization error", Machine Learning 52:239,
    2003, doi:10.1023/A:1024068626366.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, evaluate_modalities
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, random_state=0)
    >>> report = evaluate_modalities(clf, X, y, cv=2)
    >>> report.summary().index.tolist()
    [('S1', 'alone'), ('S1', 'co-learned'), ('S2', 'alone'), ('S2', 'co-learned'),
     ('terrain', 'alone'), ('terrain', 'co-learned'), ('all', 'co-learned')]
    >>> report.differences().columns.tolist()
    ['modality', 'method', 'repeat', 'fold', 'difference']
    """
    named = isinstance(estimator, Mapping)
    estimators = dict(estimator) if named else {CO_LEARNED: estimator}
    baselines = {} if baselines is None else baselines
    check_baselines(baselines)
    check_names(estimators, baselines)
    study = Study.of(estimators, X, y, cv, scoring, groups, modalities)
    everything, first = study.everything, next(iter(estimators.values()))
    alone = {m: restricted(first, [m], everything) for m in study.modalities}
    fits = []
    for fold in study.folds:
        fits += [Fit(fold, ALONE, alone[m], (m,), (m,)) for m in study.modalities]
        fits += [
            Fit(fold, name, one, everything, (*study.modalities, ALL))
            for name, one in estimators.items()
        ]
        fits += [
            Fit(fold, name, one, (m,), (m,), flat=True)
            for name, one in baselines.items()
            for m in study.modalities
        ]
    scores = run_all(study, fits, n_jobs, verbose).drop(columns="trained_on")
    scores = in_order(
        scores,
        modality=(*study.modalities, ALL),
        method=(ALONE, *estimators, *baselines),
    )
    return ModalityReport(scores, scoring=study.scoring)


def partner_gain(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    scoring: str | Scorer | None = None,
    groups: Any = None,
    modalities: str | Iterable[str] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> PartnerReport:
    """Measure which modality gains from which partner in training.

    For each modality that answers and each partner, the score after training on the
    two minus the score after training alone, on the same folds and rows; and, with
    more than two modalities, after training on all. One fit of a pair serves both
    directions.

    Parameters
    ----------
    estimator : estimator
        A co-learning estimator, a pipeline that ends in one, or a search around one.
        Only clones are fitted.
    X, y, cv, scoring, groups, n_jobs, verbose
        As in :func:`evaluate_modalities`. A pair is trained on the rows that have
        either of the two.
    modalities : str or iterable of str, default=None
        The modalities that answer; all by default. Each modality of X is a partner.

    Returns
    -------
    PartnerReport
        Print it for a summary. ``matrix()`` has the mean gains, modality by partner;
        ``scores`` a row for each modality, partner and fold; ``summary()`` the
        intervals.

    Raises
    ------
    ValueError, TypeError
        As in :func:`evaluate_modalities`.

    See Also
    --------
    evaluate_modalities : All partners together, with baselines.

    Notes
    -----
    With M modalities that is M (M - 1) / 2 + M + 1 fits for each fold.

    References
    ----------
    Nadeau, Bengio, "Inference for the generalization error", Machine Learning 52:239,
    2003, doi:10.1023/A:1024068626366.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, partner_gain
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, random_state=0)
    >>> report = partner_gain(clf, X, y, cv=2)
    >>> report.matrix().shape
    (3, 4)
    """
    study = Study.of({CO_LEARNED: estimator}, X, y, cv, scoring, groups, modalities)
    everything, answering = study.everything, study.modalities
    trained: list[tuple[str, ...]] = [(m,) for m in answering]
    trained += [
        (one, other)
        for i, one in enumerate(everything)
        for other in everything[i + 1 :]
        if one in answering or other in answering
    ]
    trained += [everything] if len(everything) > 2 else []
    cut = {names: restricted(estimator, names, everything) for names in trained}
    fits = [
        Fit(
            fold,
            ALONE if len(names) == 1 else CO_LEARNED,
            cut[names],
            names,
            tuple(m for m in answering if m in names),
        )
        for fold in study.folds
        for names in trained
    ]
    scores = run_all(study, fits, n_jobs, verbose)
    keys = ["modality", "repeat", "fold"]
    is_alone = scores["method"] == ALONE
    alone = scores[is_alone].set_index(keys)["score"].rename("alone")
    scores = scores[~is_alone].join(alone, on=keys)
    scores["gain"] = scores["score"] - scores["alone"]
    scores["partner"] = [
        ALL if len(names) > 2 else names[names[0] == m]
        for names, m in zip(scores["trained_on"], scores["modality"], strict=True)
    ]
    columns = ["modality", "partner", "repeat", "fold", "score", "alone", "gain"]
    scores = in_order(
        scores[[*columns, "n_train", "n_test"]],
        modality=answering,
        partner=(*everything, ALL),
    )
    return PartnerReport(scores, scoring=study.scoring)


def modality_scorers(
    scoring: str | Scorer | Sequence[str] | Mapping[str, str | Scorer],
    modalities: str | Iterable[str],
) -> dict[str, Scorer]:
    """Make scorers that each see one modality only.

    For ``scoring=`` of scikit-learn's ``cross_validate`` and searches, with X a
    :class:`~sklearn_colearn.ModalityDict` or a DataFrame with a column MultiIndex.
    With a search, ``refit=`` names one of the keys. Rows in which the modality is all
    NaN are left out of its score, and so are rows without a label.

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
        scorer = as_scorer(scoring)
        return {modality: ModalityScorer(modality, scorer) for modality in modalities}
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
        f"{modality}_{name}": ModalityScorer(modality, as_scorer(one))
        for modality in modalities
        for name, one in named.items()
    }
