"""Fit and score estimators in the folds of an evaluation."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_consistent_length, has_fit_parameter
from tqdm.auto import tqdm

from sklearn_colearn._compat import BaseSearchCV, safe_indexing
from sklearn_colearn.base import SingleModalityWarning
from sklearn_colearn.evaluation.reports import ALL
from sklearn_colearn.evaluation.scorers import (
    PROPER,
    Scoring,
    co_learners,
    dense,
    gaps,
    joint_scorer,
    labelled,
    labels_of,
    named_metrics,
    sentinels,
    time_names,
)
from sklearn_colearn.inputs import Array, Schema, rows_text
from sklearn_colearn.modality_dict import (
    ModalityDict,
    is_frame,
    is_named,
    read_named,
    row_labels,
)
from sklearn_colearn.targets import labelled_part, matched
from sklearn_colearn.training import TrainingInterrupted

#: Value of `X_unlabeled` that uses half the rows of each test fold as pairs.
TEST_PLACES = "test places"
COLUMNS = ["metric", "modality", "method", "repeat", "fold", "score", "fit_time"]
COLUMNS += ["predict_time", "n_train", "n_test", "trained_on"]


@dataclass(frozen=True)
class Fold:
    """Positions of the training rows, test rows and pairs of a fold."""

    repeat: int
    fold: int
    train: Array
    test: Array
    pairs: Array | None = None

    def __str__(self) -> str:
        return f"fold {self.fold} of repeat {self.repeat}"


@dataclass(frozen=True)
class Fit:
    """An estimator to fit in each fold, with modalities to train on and score from.

    With `pairs`, a flat estimator is taught by a clone that sees all modalities.
    """

    method: str
    estimator: Any
    train_on: tuple[str, ...]
    score_from: tuple[str, ...]
    flat: bool = False
    pairs: bool = False


class Study:
    """The checked data, folds and metrics of an evaluation.

    `everything` are the modalities of X, `modalities` those to score from. `present`
    has a bool column per modality. `codes` index `classes`, -1 for unlabelled rows.
    """

    def __init__(
        self,
        estimators: Mapping[str, Any],
        X: Any,
        y: Any,
        cv: Any,
        scoring: Scoring | None,
        groups: Any,
        modalities: str | Iterable[str] | None,
        X_unlabeled: Any = None,
    ) -> None:
        for one in estimators.values():
            _check_estimator(one)
        if not is_named(X):
            raise TypeError(
                f"X is of type {type(X).__name__}, which does not name its modalities; "
                "pass a ModalityDict, such as "
                "ModalityDict(S1=X[:, :24], soil=X[:, 24:])."
            )
        self.X = X = read_named(X)
        times = {name for one in estimators.values() for name in time_names(one, X)}
        self.everything = tuple(m for m in X if m not in times)
        self.modalities = self._chosen(modalities)
        if y is None:
            raise ValueError("y is None; an evaluation requires a target.")
        check_consistent_length(X, y, groups)
        self.y = dense(matched(y, row_labels(X)))
        self.groups = matched(groups, row_labels(X), "groups")
        (first_name, first), *others = estimators.items()
        self.sentinels = {m: sentinels(first, m) for m in self.everything}
        self.labelled = labelled(first, self.y)
        for name, one in others:
            differs = ""
            if not np.array_equal(labelled(one, self.y), self.labelled):
                differs = "unlabeled"
            if any(sentinels(one, m) != known for m, known in self.sentinels.items()):
                differs = "missing_value"
            if differs:
                raise ValueError(
                    f"All estimators must have the same {differs}= to be scored on the "
                    f"same rows; {name!r} differs from {first_name!r}."
                )
        self.present = pd.DataFrame(
            {m: ~gaps(X.select(m), v).all(axis=1) for m, v in self.sentinels.items()}
        )
        nowhere = np.flatnonzero(~self.present.any(axis=1))
        if len(nowhere):
            raise ValueError(
                f"All values of all modalities are missing in {rows_text(nowhere)}. "
                "Drop these rows first."
            )
        classifier = is_classifier(first)
        if scoring is None:
            scoring = "accuracy" if classifier else "r2"
        self.metrics = named_metrics(scoring)
        self.classes, self.codes = None, self.y
        if classifier:
            self.classes, self.codes = _class_codes(self.y, self.labelled)
        split_by = self.y if self.labelled.all() else self.codes
        self.folds = _folds(cv, classifier, X, split_by, self.groups)
        self.X_unlabeled = X_unlabeled
        if isinstance(X_unlabeled, str):
            if X_unlabeled != TEST_PLACES:
                raise ValueError(
                    f"Unknown X_unlabeled={X_unlabeled!r}; expected {TEST_PLACES!r} or "
                    "pairs in any form of X."
                )
            self.folds = [_halved(fold) for fold in self.folds]
        self._check_folds(self._kinds() if classifier else {})

    def _chosen(self, modalities: str | Iterable[str] | None) -> tuple[str, ...]:
        held = list(self.everything)
        if len(held) < 2:
            raise ValueError(
                f"X contains the modalities {held}; expected at least two."
            )
        if ALL in self.X:
            raise ValueError(
                f"The modality name {ALL!r} is reserved; rename the modality."
            )
        if modalities is None:
            return self.everything
        chosen = [modalities] if isinstance(modalities, str) else list(modalities)
        unknown = [m for m in chosen if m not in held]
        if unknown or not chosen:
            raise ValueError(
                f"modalities= contains {unknown or 'no modality'}; X has {held}."
            )
        return tuple(dict.fromkeys(chosen))

    def _kinds(self) -> dict[Any, Array]:
        """Return masks of the rows of each class, or of each label by its number."""
        if self.classes is None:
            return dict(enumerate(self.codes.T > 0))
        return {name: self.codes == i for i, name in enumerate(self.classes.tolist())}

    def _check_folds(self, kinds: Mapping[Any, Array]) -> None:
        kind = "" if self.labelled.all() else "labelled "
        # All modalities are trained, even if only some are scored.
        sides = [("training", m) for m in self.everything]
        sides += [("test", m) for m in self.modalities]
        lacking: dict[Any, str] = {}
        for fold in self.folds:
            for side, m in sides:
                rows = self.rows([m], fold.test if side == "test" else fold.train)
                if len(rows) == 0:
                    raise ValueError(
                        f"In {fold}, no {kind}{side} row has modality {m!r}. Use fewer "
                        "folds, or folds that spread its rows."
                    )
                for name, of_kind in kinds.items():
                    if not of_kind[rows].any():
                        lacking.setdefault(name, f"{side} rows of {m!r} in {fold}")
        if lacking:
            places = "; ".join(
                f"{name!r}, first in the {at}" for name, at in lacking.items()
            )
            warnings.warn(
                f"Some folds lack classes: {places}. Their scores say little about "
                "these classes. StratifiedKFold and StratifiedGroupKFold spread "
                "classes over the folds.",
                stacklevel=4,
            )

    def rows(
        self, modalities: Sequence[str], among: Array, *, unlabelled: bool = False
    ) -> Array:
        """Return those of the rows that have any of the modalities and a label."""
        chosen = self.present[[*modalities]].any(axis=1) & (self.labelled | unlabelled)
        return among[chosen.to_numpy()[among]]

    def take(self, fit: Fit, modalities: Sequence[str], rows: Array) -> tuple[Any, Any]:
        """Return X and y of some rows, flat if the fit is."""
        y = labels_of(self.y, rows, self.labelled)
        if not fit.flat:
            held = [*modalities, *time_names(fit.estimator, modalities)]
            return self.X.select(held)[rows], y
        X = self.X.select(modalities)[rows]
        table = np.concatenate([self._table(X, m) for m in modalities], axis=1)
        if not all(is_frame(X[m]) for m in modalities):
            return table, y
        several = len(modalities) > 1
        names = [f"{m}_{c}" if several else c for m in modalities for c in X[m]]
        return pd.DataFrame(table, columns=names), y

    def _table(self, X: ModalityDict, modality: str) -> Array:
        """Return the flat values of a modality, with NaN where missing."""
        own = X.select(modality)
        return np.where(gaps(own, self.sentinels[modality]), np.nan, np.asarray(own))

    def pairs(self, fit: Fit, fold: Fold) -> Any:
        """Return the pairs of a fold for a co-learning fit."""
        if fold.pairs is None:
            return self.X_unlabeled
        times = time_names(fit.estimator, self.everything)
        return self.X.select([*self.everything, *times])[fold.pairs]

    def pair_tables(self, fold: Fold) -> dict[str, Array]:
        """Return the flat pairs of a fold by modality, with NaN where missing."""
        X, tables = self.X, {}
        X = Schema.of(X).read(self.X_unlabeled) if fold.pairs is None else X[fold.pairs]
        for m in self.everything:
            if m in X:
                tables[m] = self._table(X, m)
            else:
                tables[m] = np.full((len(X), self.X.select(m).shape[1]), np.nan)
        return tables


def _halved(fold: Fold) -> Fold:
    """Turn a random half of the test rows into pairs, seeded by the fold."""
    order = np.random.default_rng([fold.repeat, fold.fold]).permutation(fold.test)
    half = len(order) // 2
    return replace(fold, test=np.sort(order[half:]), pairs=np.sort(order[:half]))


def _check_estimator(estimator: Any) -> None:
    learners = co_learners(estimator)
    # A frozen estimator is not retrained, so it would be scored on its training rows.
    if not learners or {*map(id, learners)} & {*map(id, co_learners(clone(estimator)))}:
        raise TypeError(
            "estimator= must be a CoLearnClassifier or CoLearnRegressor, a pipeline "
            f"that ends in one, or a search around one; got {estimator!r}. Pass other "
            "estimators as baselines= of evaluate_modalities."
        )


def _class_codes(y: Any, labelled: Array) -> tuple[Any, Array]:
    """Return the classes (None if multi-label) and the class index of each row."""
    known, classes = np.asarray(labelled_part(y, labelled)), None
    if known.size > len(known):
        codes = np.zeros((len(labelled), known.shape[1]), dtype=known.dtype)
    else:
        codes = np.full(len(labelled), -1)
        classes, known = np.unique(known, return_inverse=True)
    codes[labelled] = known.reshape(codes[labelled].shape)
    return classes, codes


def _folds(
    cv: Any, classifier: bool, X: ModalityDict, y: Any, groups: Any
) -> list[Fold]:
    if groups is not None and (cv is None or isinstance(cv, int | np.integer)):
        stratified = classifier and np.ndim(y) == 1
        cv = (StratifiedGroupKFold if stratified else GroupKFold)(cv or 5)
    splits = list(check_cv(cv, y, classifier=classifier).split(X, y, groups))
    if not splits:
        raise ValueError(f"cv={cv!r} yields no folds.")
    folds: list[Fold] = []
    tested = np.zeros(len(X), dtype=bool)
    repeat = fold = 0
    for split in splits:
        # Turn masks into positions.
        train, test = (np.arange(len(X))[np.asarray(rows)] for rows in split)
        if tested[test].any():
            repeat, fold, tested = repeat + 1, 0, np.zeros_like(tested)
        tested[test] = True
        folds.append(Fold(repeat, fold, train, test))
        fold += 1
    return folds


def run_all(
    study: Study, fits: Sequence[Fit], n_jobs: int | None, verbose: int
) -> pd.DataFrame:
    """Run the fits in all folds; return a table of COLUMNS, proper metrics first."""
    # Do not send fitted weights to other processes.
    fits = [replace(fit, estimator=clone(fit.estimator)) for fit in fits]
    tasks = [(fit, fold) for fit in fits for fold in study.folds]
    study = copy(study)
    study.folds = []  # each task carries its own fold
    # Not every joblib backend can return a generator.
    return_as = "generator" if verbose else "list"
    with _warnings_of_fits():  # applies to threads; processes set their own
        parallel = Parallel(n_jobs=n_jobs, return_as=return_as)
        done = parallel(delayed(_run)(study, *task) for task in tasks)
        if verbose:
            done = tqdm(done, total=len(tasks), unit="fit", desc="evaluation")
        scores = pd.DataFrame([row for rows in done for row in rows], columns=COLUMNS)
    metrics = list(scores["metric"].unique())
    # A user's name may stand for a proper scikit-learn metric.
    metrics.sort(key=lambda name: str(study.metrics.get(name, name)) not in PROPER)
    order = {"metric": metrics, "modality": [*study.modalities, ALL]}
    # The sort is stable: methods and folds stay in the order of the tasks.
    return scores.sort_values([*order], key=lambda c: c.map(order[str(c.name)].index))


def _run(study: Study, fit: Fit, fold: Fold) -> list[tuple[Any, ...]]:
    """Fit once and score from each modality; return rows of COLUMNS."""
    model = clone(fit.estimator)
    where = f"{fold}, method {fit.method!r}"
    note = f"In the fit of {where}, on {' and '.join(map(repr, fit.train_on))}."
    # Only co-learning learns from unlabelled rows.
    unlabelled = len(fit.train_on) > 1 and not fit.flat
    rows = study.rows(fit.train_on, fold.train, unlabelled=unlabelled)
    figures: list[tuple[Any, ...]] = []
    try:
        start = perf_counter()
        X, y = study.take(fit, fit.train_on, rows)
        given = _groups(study, model, rows)
        if fit.pairs and fit.flat:
            _teach(study, fit, fold, model, X, y)
        else:
            if fit.pairs:
                given |= _pairs(model, X, y, study.pairs(fit, fold))
            _train(model, X, y, given)
        fit_time = perf_counter() - start
        if ALL in fit.score_from:
            for one in co_learners(model):
                one.set_params(predict_modality=None)
        scorer = joint_scorer(study.metrics, model, study.classes)
        for m in fit.score_from:
            note = f"In the score of {where}, from {m!r}."
            inputs = fit.train_on if m == ALL else (m,)
            rows = study.rows(inputs, fold.test)
            X, y = study.take(fit, inputs, rows)
            start = perf_counter()
            scores = scorer(model, X, y)
            seconds = fit_time, perf_counter() - start
            n_rows = len(study.rows(inputs, fold.train)), len(rows)
            key = m, fit.method, fold.repeat, fold.fold
            if len(scores) == 1:  # a single callable may return several scores
                (only,) = scores.values()
                scores = only if isinstance(only, Mapping) else scores
            for name, score in scores.items():
                if np.isnan(score):
                    raise ValueError(
                        f"scoring={name!r} returned NaN, which cannot be compared. R2, "
                        "for example, needs at least two test rows, so LeaveOneOut "
                        "does not work with it."
                    )
                numbers = float(score), *seconds, *n_rows
                figures.append((name, *key, *numbers, fit.train_on))
    except BaseException as error:
        error.add_note(note)
        raise
    return figures


def _groups(study: Study, model: Any, rows: Array) -> dict[str, Any]:
    """Return the groups of training rows as a fit argument, if fit takes them."""
    name = _fit_parameter(model, "groups")
    if study.groups is None or name is None:
        return {}
    return {name: safe_indexing(study.groups, rows)}


def _fit_parameter(model: Any, name: str) -> str | None:
    """Return the name by which the model passes a fit parameter to its last step."""
    if get_config()["enable_metadata_routing"] and isinstance(model, Pipeline):
        takes = get_routing_for_object(model).consumes("fit", [name])
        return name if takes else None
    prefix, last = "", model
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        prefix += f"{step}__"
    if isinstance(last, BaseSearchCV) and name != "groups":  # its cv splits by groups
        inner = _fit_parameter(last.estimator, name)
        return inner and prefix + inner
    return prefix + name if has_fit_parameter(last, name) else None


def _pairs(model: Any, X: Any, y: Any, pairs: Any) -> dict[str, Any]:
    """Return pairs as a fit argument, transformed by the steps before the last."""
    name = _fit_parameter(model, "X_unlabeled")
    if name is None:
        raise ValueError(
            f"The fit of {model!r} does not accept X_unlabeled. For a search around a "
            "pipeline, enable metadata routing and set "
            "transform_input=['X_unlabeled'] on the pipeline."
        )
    routed = get_config()["enable_metadata_routing"]
    if isinstance(model, Pipeline) and len(model) > 1 and not routed:
        pairs = clone(model[:-1]).fit(X, y).transform(pairs)
    return {name: pairs}


def _teach(
    study: Study,
    fit: Fit,
    fold: Fold,
    model: Any,
    X: Any,
    y: Any,
) -> None:
    """Fit a model to labelled rows and to pairs that a teacher labels.

    The teacher is a clone trained on all modalities. A pair counts once per class,
    weighted by the class's probability, or as the predicted class if the model takes
    no weights.
    """
    everything = study.everything
    rows = study.rows(everything, fold.train)
    teacher, (X_all, y_all) = clone(fit.estimator), study.take(fit, everything, rows)
    _train(teacher, X_all, y_all, _groups(study, teacher, rows))
    tables, (m,) = study.pair_tables(fold), fit.train_on
    there = {name: ~np.isnan(table).all(axis=1) for name, table in tables.items()}
    some = there[m] & (np.sum(list(there.values()), axis=0) > 1)
    own = tables[m][some]
    pairs = _like(X_all, np.concatenate(list(tables.values()), axis=1)[some])
    given = {}
    weights = _fit_parameter(model, "sample_weight")
    if study.classes is None or weights is None:
        said = teacher.predict(pairs)
    else:
        proba = teacher.predict_proba(pairs)
        row, column = np.nonzero(proba > 0.01)
        own, said = own[row], teacher.classes_[column]
        given[weights] = np.concatenate([np.ones(len(y)), proba[row, column]])
    X = _like(X, np.concatenate([np.asarray(X), own]))
    _train(model, X, np.concatenate([np.asarray(y), said]), given)


def _like(table: Any, values: Array) -> Any:
    """Return values as a frame with the columns of `table`, if that is a frame."""
    return pd.DataFrame(values, columns=table.columns) if is_frame(table) else values


def _train(model: Any, X: Any, y: Any, given: Mapping[str, Any]) -> None:
    # Warning filters are per process: threads use those of run_all.
    in_thread = threading.current_thread() is not threading.main_thread()
    with nullcontext() if in_thread else _warnings_of_fits():
        try:
            model.fit(X, y, **given)
        except TrainingInterrupted as warning:
            raise KeyboardInterrupt from warning


@contextmanager
def _warnings_of_fits() -> Iterator[None]:
    with warnings.catch_warnings():
        # An interrupted training must not be scored.
        warnings.simplefilter("error", TrainingInterrupted)
        warnings.simplefilter("ignore", SingleModalityWarning)
        yield
