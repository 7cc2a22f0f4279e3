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
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils.parallel import Parallel, delayed
from tqdm.auto import tqdm

from sklearn_colearn._compat import num_samples
from sklearn_colearn.base import SingleModalityWarning
from sklearn_colearn.evaluation.reports import ALL
from sklearn_colearn.evaluation.scorers import (
    Scorer,
    as_scorer,
    co_learners,
    dense,
    gaps,
    labelled,
    labels_of,
    sentinels,
    time_names,
)
from sklearn_colearn.inputs import Array, rows_text
from sklearn_colearn.modality_dict import (
    ModalityDict,
    is_frame,
    is_named,
    read_named,
    row_labels,
)
from sklearn_colearn.targets import labelled_part, matched
from sklearn_colearn.training import TrainingInterrupted

COLUMNS = ["modality", "method", "repeat", "fold", "score", "fit_time", "predict_time"]
COLUMNS += ["n_train", "n_test", "trained_on"]


@dataclass(frozen=True)
class Fold:
    """The positions of the training and test rows, and which fold it is."""

    repeat: int
    fold: int
    train: Array
    test: Array

    def __str__(self) -> str:
        return f"fold {self.fold} of repeat {self.repeat}"


@dataclass(frozen=True)
class Fit:
    """One fit on the training rows of a fold, and the modalities to score from."""

    fold: Fold
    method: str
    estimator: Any
    train_on: tuple[str, ...]
    score_from: tuple[str, ...]
    flat: bool = False


class Study:
    """The checked data, folds and scorer of an evaluation.

    `everything` are the modalities of X, `modalities` those to score from. `present`
    says which rows have them, a column each.
    """

    def __init__(
        self,
        estimators: Mapping[str, Any],
        X: Any,
        y: Any,
        cv: Any,
        scoring: str | Scorer | None,
        groups: Any,
        modalities: str | Iterable[str] | None,
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
        self.y = dense(_matched("y", y, X))
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
        if not isinstance(scoring, str) and not callable(scoring):
            raise TypeError(
                f"scoring= is the name of one scorer, or a scorer; got {scoring!r}."
            )
        self.scorer = as_scorer(scoring)
        self.scoring = str(getattr(scoring, "__name__", scoring))
        groups = None if groups is None else _matched("groups", groups, X)
        split_by = _for_splitter(self.y, self.labelled) if classifier else self.y
        self.folds = _folds(cv, classifier, X, split_by, groups)
        self._check_folds()

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

    def _check_folds(self) -> None:
        kind = "" if self.labelled.all() else "labelled "
        for fold in self.folds:
            # Training is on all modalities, whichever are asked for.
            sides = [("training", m, fold.train) for m in self.everything]
            sides += [("test", m, fold.test) for m in self.modalities]
            for side, m, among in sides:
                n_rows = len(self.rows([m], among))
                if n_rows == 0:
                    raise ValueError(
                        f"In {fold} no {kind}{side} row has modality {m!r}; use fewer "
                        "folds, or others that spread its rows."
                    )
                if side == "test" and n_rows == 1 and self.scoring == "r2":
                    raise ValueError(
                        f"In {fold} one {kind}test row has modality {m!r}, and R2 "
                        "needs two; use fewer folds, or another scoring=, such as "
                        "'neg_mean_absolute_error'."
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
        (m,) = modalities  # of a baseline
        X = self.X.select(m)[rows]
        table: Any = X[m] if is_frame(X[m]) else np.asarray(X)
        if self.sentinels[m]:
            gone, isframe = gaps(X, self.sentinels[m]), is_frame(table)
            table = table.mask(gone) if isframe else np.where(gone, np.nan, table)
        return table, y


def _check_estimator(estimator: Any) -> None:
    learners = co_learners(estimator)
    # A frozen one is not trained again, so it would be scored on its training rows.
    if not learners or {*map(id, learners)} & {*map(id, co_learners(clone(estimator)))}:
        raise TypeError(
            "estimator= is a CoLearnClassifier or CoLearnRegressor, a pipeline that "
            f"ends in one, or a search around one; got {estimator!r}. Pass others as "
            "baselines= of evaluate_modalities."
        )


def _matched(name: str, values: Any, X: ModalityDict) -> Any:
    values = matched(values, row_labels(X), name)
    if (n := num_samples(values)) != len(X):
        rows = f"X has {len(X)} and {name} has {n}"
        raise ValueError(f"X and {name} need the same number of rows; {rows}.")
    return values


def _folds(
    cv: Any, classifier: bool, X: ModalityDict, y: Any, groups: Any
) -> list[Fold]:
    splitter = check_cv(cv, y, classifier=classifier)
    try:
        splits = list(splitter.split(X, y, groups))
    except ValueError as error:
        if groups is None and "'groups'" in str(error):
            raise ValueError(
                f"cv={splitter!r} splits by groups; pass groups=, one for each row."
            ) from error
        raise
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


def _for_splitter(y: Any, labelled: Array) -> Any:
    """Return y for a splitter by class, with unlabelled rows as the class -1."""
    if labelled.all():
        return y
    known = np.asarray(labelled_part(y, labelled))
    if known.size > len(known):  # scikit-learn's splitters read one column only
        filled = np.zeros((len(labelled), known.shape[1]), dtype=known.dtype)
    else:
        filled = np.full(len(labelled), -1)
        known = np.unique(known, return_inverse=True)[1].ravel()
    filled[labelled] = known
    return filled


def run_all(
    study: Study, fits: Sequence[Fit], n_jobs: int | None, verbose: int
) -> pd.DataFrame:
    """Run the fits; return a row for each modality that one is scored from."""
    study = copy(study)
    study.folds = []  # each fit has its own
    # Fitted weights need not go to other processes.
    fits = [replace(fit, estimator=clone(fit.estimator)) for fit in fits]
    # Not every backend of joblib returns a generator.
    return_as = "generator_unordered" if verbose else "list"
    with _warnings_of_fits():  # here too, for threads
        parallel = Parallel(n_jobs=n_jobs, return_as=return_as)
        done = parallel(delayed(_run)(study, fit) for fit in fits)
        if verbose:
            done = tqdm(done, total=len(fits), unit="fit", desc="evaluation")
        return pd.DataFrame([row for rows in done for row in rows], columns=COLUMNS)


def _run(study: Study, fit: Fit) -> list[tuple[Any, ...]]:
    """Fit once and score from each modality: a row of COLUMNS for each."""
    model, fold = fit.estimator, fit.fold
    where = f"{fold}, method {fit.method!r}"
    note = f"In the fit of {where}, on {' and '.join(map(repr, fit.train_on))}."
    # One modality alone learns nothing from unlabelled rows.
    several = len(fit.train_on) > 1
    rows = study.rows(fit.train_on, fold.train, unlabelled=several)
    figures: list[tuple[Any, ...]] = []
    try:
        start = perf_counter()
        _train(model, *study.take(fit, fit.train_on, rows))
        fit_time = perf_counter() - start
        if ALL in fit.score_from:
            for one in co_learners(model):
                one.set_params(predict_modality=None)
        for m in fit.score_from:
            note = f"In the score of {where}, from {m!r}."
            inputs = fit.train_on if m == ALL else (m,)
            rows = study.rows(inputs, fold.test)
            X, y = study.take(fit, inputs, rows)
            start = perf_counter()
            score = _as_number(study.scorer(model, X, y), study.scoring)
            seconds = fit_time, perf_counter() - start
            n_rows = len(study.rows(inputs, fold.train)), len(rows)
            key = m, fit.method, fold.repeat, fold.fold
            figures.append((*key, score, *seconds, *n_rows, fit.train_on))
    except BaseException as error:
        error.add_note(note)
        raise
    return figures


def _as_number(score: Any, scoring: str) -> float:
    try:
        number = float(score)
    except TypeError as error:
        kind = type(score).__name__
        raise TypeError(f"scoring= has to give one number; got {kind}.") from error
    if np.isnan(number):
        raise ValueError(
            f"scoring={scoring!r} gave NaN, which cannot be compared. R2, for one, "
            "needs two test rows, so LeaveOneOut cannot give it."
        )
    return number


def _train(model: Any, X: Any, y: Any) -> None:
    # The filters belong to the process: threads have those of run_all.
    in_thread = threading.current_thread() is not threading.main_thread()
    with nullcontext() if in_thread else _warnings_of_fits():
        try:
            model.fit(X, y)
        except TrainingInterrupted as warning:
            raise KeyboardInterrupt from warning


@contextmanager
def _warnings_of_fits() -> Iterator[None]:
    with warnings.catch_warnings():
        # The scores of a half-trained estimator are worth nothing.
        warnings.simplefilter("error", TrainingInterrupted)
        warnings.simplefilter("ignore", SingleModalityWarning)
        yield
