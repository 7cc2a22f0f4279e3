"""The folds of an evaluation: their rows, the fits on them, and the scores."""

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

#: Says that half the rows of each test fold, without labels, are pairs.
TEST_PLACES = "test places"
COLUMNS = ["metric", "modality", "method", "repeat", "fold", "score", "fit_time"]
COLUMNS += ["predict_time", "n_train", "n_test", "trained_on"]


@dataclass(frozen=True)
class Fold:
    """The positions of training and test rows, of pairs, and which fold it is."""

    repeat: int
    fold: int
    train: Array
    test: Array
    pairs: Array | None = None

    def __str__(self) -> str:
        return f"fold {self.fold} of repeat {self.repeat}"


@dataclass(frozen=True)
class Fit:
    """What to fit in each fold, on which modalities, and those to score from.

    With `pairs`, a flat estimator is taught by one like it that sees all modalities.
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
    says which rows have them, a column each. `codes` are the classes of the rows as
    positions in `classes`, -1 without a label.
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
            raise ValueError("y is None; an evaluation needs the target.")
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
                    f"The estimators need the same {differs}= to be scored on the same "
                    f"rows; that of {name!r} differs from that of {first_name!r}."
                )
        self.present = pd.DataFrame(
            {m: ~gaps(X.select(m), v).all(axis=1) for m, v in self.sentinels.items()}
        )
        nowhere = np.flatnonzero(~self.present.any(axis=1))
        if len(nowhere):
            raise ValueError(
                f"All values of all modalities are missing in {rows_text(nowhere)}; "
                "drop them first."
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
                    f"X_unlabeled={X_unlabeled!r} is unknown; it is {TEST_PLACES!r} or "
                    "pairs in any form of X."
                )
            self.folds = [_halved(fold) for fold in self.folds]
        self._check_folds(self._kinds() if classifier else {})

    def _chosen(self, modalities: str | Iterable[str] | None) -> tuple[str, ...]:
        held = list(self.everything)
        if len(held) < 2:
            raise ValueError(f"X holds the modalities {held}; at least two are needed.")
        if ALL in self.X:
            raise ValueError(f"A modality is called {ALL!r}; give it another name.")
        if modalities is None:
            return self.everything
        chosen = [modalities] if isinstance(modalities, str) else list(modalities)
        unknown = [m for m in chosen if m not in held]
        if unknown or not chosen:
            raise ValueError(
                f"modalities= names {unknown or 'no modality'}; X holds {held}."
            )
        return tuple(dict.fromkeys(chosen))

    def _kinds(self) -> dict[Any, Array]:
        """Return which rows are of each class, or have each label by its number."""
        if self.classes is None:
            return dict(enumerate(self.codes.T > 0))
        return {name: self.codes == i for i, name in enumerate(self.classes.tolist())}

    def _check_folds(self, kinds: Mapping[Any, Array]) -> None:
        kind = "" if self.labelled.all() else "labelled "
        # Training is on all modalities, whichever are asked for.
        sides = [("training", m) for m in self.everything]
        sides += [("test", m) for m in self.modalities]
        lacking: dict[Any, str] = {}
        for fold in self.folds:
            for side, m in sides:
                rows = self.rows([m], fold.test if side == "test" else fold.train)
                if len(rows) == 0:
                    raise ValueError(
                        f"In {fold} no {kind}{side} row has modality {m!r}; use fewer "
                        "folds, or others that spread its rows."
                    )
                for name, of_kind in kinds.items():
                    if not of_kind[rows].any():
                        lacking.setdefault(name, f"{side} rows of {m!r} in {fold}")
        if lacking:
            places = "; ".join(
                f"{name!r}, first in the {at}" for name, at in lacking.items()
            )
            warnings.warn(
                f"Some folds lack classes: {places}. Their scores say little of these "
                "classes; StratifiedKFold and StratifiedGroupKFold spread them.",
                stacklevel=4,
            )

    def rows(
        self, modalities: Sequence[str], among: Array, *, unlabelled: bool = False
    ) -> Array:
        """Return the given rows that have any of the modalities, and a label."""
        chosen = self.present[[*modalities]].any(axis=1) & (self.labelled | unlabelled)
        return among[chosen.to_numpy()[among]]

    def take(self, fit: Fit, modalities: Sequence[str], rows: Array) -> tuple[Any, Any]:
        """Return X and y of some rows, as the estimator of a fit takes them."""
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
        """Return the flat values of a modality, NaN where missing."""
        own = X.select(modality)
        return np.where(gaps(own, self.sentinels[modality]), np.nan, np.asarray(own))

    def pairs(self, fit: Fit, fold: Fold) -> Any:
        """Return the pairs of a fold, as the estimator of a fit takes them."""
        if fold.pairs is None:
            return self.X_unlabeled
        times = time_names(fit.estimator, self.everything)
        return self.X.select([*self.everything, *times])[fold.pairs]

    def pair_tables(self, fold: Fold) -> dict[str, Array]:
        """Return the flat pairs of a fold by modality, NaN where missing."""
        X, tables = self.X, {}
        X = Schema.of(X).read(self.X_unlabeled) if fold.pairs is None else X[fold.pairs]
        for m in self.everything:
            if m in X:
                tables[m] = self._table(X, m)
            else:
                tables[m] = np.full((len(X), self.X.select(m).shape[1]), np.nan)
        return tables


def _halved(fold: Fold) -> Fold:
    """Make pairs of half the test rows, drawn by the number of the fold."""
    order = np.random.default_rng([fold.repeat, fold.fold]).permutation(fold.test)
    half = len(order) // 2
    return replace(fold, test=np.sort(order[half:]), pairs=np.sort(order[:half]))


def _check_estimator(estimator: Any) -> None:
    learners = co_learners(estimator)
    # A frozen one is not trained again, so it would be scored on its training rows.
    if not learners or {*map(id, learners)} & {*map(id, co_learners(clone(estimator)))}:
        raise TypeError(
            "estimator= is a CoLearnClassifier or CoLearnRegressor, a pipeline that "
            f"ends in one, or a search around one; got {estimator!r}. Pass others as "
            "baselines= of evaluate_modalities."
        )


def _class_codes(y: Any, labelled: Array) -> tuple[Any, Array]:
    """Return the classes and those of each row; no classes for several labels a row."""
    known, classes = np.asarray(labelled_part(y, labelled)), None
    if known.size > len(known):  # scikit-learn's splitters read one column only
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
        raise ValueError(f"cv={cv!r} gives no fold.")
    folds: list[Fold] = []
    tested = np.zeros(len(X), dtype=bool)
    repeat = fold = 0
    for split in splits:
        # As positions, where masks came.
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
    # Fitted weights need not go to other processes.
    fits = [replace(fit, estimator=clone(fit.estimator)) for fit in fits]
    tasks = [(fit, fold) for fit in fits for fold in study.folds]
    study = copy(study)
    study.folds = []  # each task has its own
    # Not every backend of joblib returns a generator.
    return_as = "generator" if verbose else "list"
    with _warnings_of_fits():  # here too, for threads
        parallel = Parallel(n_jobs=n_jobs, return_as=return_as)
        done = parallel(delayed(_run)(study, *task) for task in tasks)
        if verbose:
            done = tqdm(done, total=len(tasks), unit="fit", desc="evaluation")
        scores = pd.DataFrame([row for rows in done for row in rows], columns=COLUMNS)
    metrics = list(scores["metric"].unique())
    # A metric by a name of the user's own may stand for one of scikit-learn's.
    metrics.sort(key=lambda name: str(study.metrics.get(name, name)) not in PROPER)
    order = {"metric": metrics, "modality": [*study.modalities, ALL]}
    # Stable: methods and folds stay in the order of the tasks.
    return scores.sort_values([*order], key=lambda c: c.map(order[str(c.name)].index))


def _run(study: Study, fit: Fit, fold: Fold) -> list[tuple[Any, ...]]:
    """Fit once and score from each modality: rows of COLUMNS."""
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
            if len(scores) == 1:  # one callable may return several
                (only,) = scores.values()
                scores = only if isinstance(only, Mapping) else scores
            for name, score in scores.items():
                if np.isnan(score):
                    raise ValueError(
                        f"scoring={name!r} gave NaN, which cannot be compared. R2, for "
                        "one, needs two test rows, so LeaveOneOut cannot give it."
                    )
                numbers = float(score), *seconds, *n_rows
                figures.append((name, *key, *numbers, fit.train_on))
    except BaseException as error:
        error.add_note(note)
        raise
    return figures


def _groups(study: Study, model: Any, rows: Array) -> dict[str, Any]:
    """Return the groups of training rows for the fit of a model that takes them."""
    name = _fit_parameter(model, "groups")
    if study.groups is None or name is None:
        return {}
    return {name: safe_indexing(study.groups, rows)}


def _fit_parameter(model: Any, name: str) -> str | None:
    """Return what a parameter of the last step's fit is called in the whole model."""
    if get_config()["enable_metadata_routing"] and isinstance(model, Pipeline):
        takes = get_routing_for_object(model).consumes("fit", [name])
        return name if takes else None
    prefix, last = "", model
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        prefix += f"{step}__"
    if isinstance(last, BaseSearchCV) and name != "groups":  # it splits by its own
        inner = _fit_parameter(last.estimator, name)
        return inner and prefix + inner
    return prefix + name if has_fit_parameter(last, name) else None


def _pairs(model: Any, X: Any, y: Any, pairs: Any) -> dict[str, Any]:
    """Return pairs for the fit of a model, through the steps before the last one."""
    name = _fit_parameter(model, "X_unlabeled")
    if name is None:
        raise ValueError(
            f"The fit of {model!r} takes no X_unlabeled. In a search around a "
            "pipeline, metadata routing hands it on, with "
            "transform_input=['X_unlabeled'] of the pipeline."
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
    """Fit a model to labelled rows and to pairs that one on all modalities answers.

    A pair counts once for each class, by the probability of it as a weight; for the
    most probable one if the model takes no weights.
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
    """Return rows with the names of the columns of a table, if it has any."""
    return pd.DataFrame(values, columns=table.columns) if is_frame(table) else values


def _train(model: Any, X: Any, y: Any, given: Mapping[str, Any]) -> None:
    # The filters belong to the process: threads have those of run_all.
    in_thread = threading.current_thread() is not threading.main_thread()
    with nullcontext() if in_thread else _warnings_of_fits():
        try:
            model.fit(X, y, **given)
        except TrainingInterrupted as warning:
            raise KeyboardInterrupt from warning


@contextmanager
def _warnings_of_fits() -> Iterator[None]:
    with warnings.catch_warnings():
        # The scores of a half-trained estimator are worth nothing.
        warnings.simplefilter("error", TrainingInterrupted)
        warnings.simplefilter("ignore", SingleModalityWarning)
        yield
