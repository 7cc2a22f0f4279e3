"""The study behind an evaluation: its folds, its rows, its fits and their scores."""

from __future__ import annotations

import inspect
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from numbers import Real
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _num_samples
from tqdm.auto import tqdm

from sklearn_colearn.labels import labelled_part, labelled_rows
from sklearn_colearn.modalities import (
    ModalityDict,
    is_frame,
    is_named,
    read_named,
    restrict,
)
from sklearn_colearn.report import ALL, ALONE
from sklearn_colearn.schema import equal_to, rows_text
from sklearn_colearn.times import time_entries

#: The method name of an estimator that is passed without one.
CO_LEARNED = "co-learned"

Array = np.ndarray[Any, Any]
Scorer = Callable[..., float]


# -- scorers -------------------------------------------------------------------------


def as_scorer(scoring: str | Scorer) -> Scorer:
    """Return the scorer that scikit-learn knows by this name, or a callable itself."""
    if str(getattr(scoring, "__module__", "")).startswith(
        "sklearn.metrics."
    ) and inspect.isfunction(scoring):
        raise TypeError(
            f"{scoring.__name__} is a metric function, not a scorer; use its name, or "
            "sklearn.metrics.make_scorer."
        )
    scorer: Scorer = get_scorer(scoring)
    return scorer


class ModalityScorer:
    """Restrict X to one modality and the labelled rows that have it, then score.

    No subclass of scikit-learn's scorers: those share their predictions by the name of
    the response method, and would be handed the predictions of another modality.
    """

    def __init__(self, modality: str, scorer: Scorer) -> None:
        self.modality = modality
        self.scorer = scorer

    def __call__(self, estimator: Any, X: Any, y: Any, **kwargs: Any) -> float:
        """Return the score from this modality."""
        whole, X = X, restrict(X, self.modality)
        y = _dense(y)
        labelled = _labelled(estimator, y)
        scored = ~_gaps(X, _sentinels(estimator, self.modality)).all(axis=1) & labelled
        if entries := _entries(estimator, [self.modality]):
            X = read_named(whole).select([self.modality, *entries])
        if not scored.all():
            rows = np.flatnonzero(scored)
            n = len(X)
            X, y = X[rows], _labels_of(y, rows, labelled)
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


# -- what is missing -----------------------------------------------------------------


def _sentinels(estimator: Any, modality: str) -> set[float]:
    """Return the numbers that stand for a missing value in a modality."""
    found: set[float] = set()
    for name, value in _parameters(estimator).items():
        if name.rpartition("__")[2] == "missing_value":
            number = value.get(modality) if isinstance(value, Mapping) else value
            if isinstance(number, Real) and not np.isnan(float(number)):
                found.add(float(number))
    return found


def _entries(estimator: Any, modalities: Sequence[str]) -> tuple[str, ...]:
    """Return the entries of X that hold the times of some modalities."""
    found = [
        time_entries(value, modalities)
        for name, value in _parameters(estimator).items()
        if name.rpartition("__")[2] == "times"
    ]
    return tuple(dict.fromkeys(entry for entries in found for entry in entries))


def _gaps(X: ModalityDict, sentinels: Iterable[float]) -> Array:
    """Tell which values of the flat form are missing: (n_samples, n_features), bool."""
    flat = np.asarray(X)
    missing = np.asarray(pd.isna(flat))
    hits = [equal_to(flat, sentinel) & ~missing for sentinel in sentinels]
    return np.logical_or.reduce([missing, *hits]).astype(bool)


def _labelled(estimator: Any, y: Any) -> Array:
    """Tell which rows have a label, by what the estimator says stands for none."""
    parameters = _parameters(estimator)
    leaves = {name.rpartition("__")[2]: value for name, value in parameters.items()}
    if "predict_modality" not in leaves:  # others may read None or NaN as they like
        return np.ones(_num_samples(y), dtype=bool)
    return labelled_rows(y, leaves.get("unlabeled"))


def _labels_of(y: Any, rows: Array, labelled: Array) -> Any:
    """Return the target of some rows."""
    if labelled.all() or not labelled[rows].all():
        return _safe_indexing(y, rows)
    return labelled_part(y, rows)  # not of the type that None made it


def _dense(y: Any) -> Any:
    return y.toarray() if hasattr(y, "toarray") else y


# -- from arguments to folds ---------------------------------------------------------


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
class Study:
    """What all fits of an evaluation share; picklable.

    `X` may hold times of the rows beside the modalities, which are `everything`; those
    to score from are `modalities`.
    """

    X: ModalityDict
    y: Any
    everything: tuple[str, ...]
    modalities: tuple[str, ...]
    present: dict[str, Array]
    labelled: Array
    sentinels: dict[str, set[float]]
    scorer: Scorer
    scoring: str
    folds: tuple[Fold, ...]

    @classmethod
    def of(
        cls,
        estimators: Mapping[str, Any],
        X: Any,
        y: Any,
        cv: Any,
        scoring: str | Scorer | None,
        groups: Any,
        modalities: str | Iterable[str] | None,
    ) -> Study:
        """Read and check what the user passed; the estimators share all of it."""
        first = next(iter(estimators.values()))
        for one in estimators.values():
            _check_estimator(one)
        X, everything = _read(X, estimators.values())
        for name, rows in (("y", y), ("groups", groups)):
            if rows is not None and _num_samples(rows) != len(X):
                raise ValueError(
                    f"X and {name} need the same number of rows; X has {len(X)} and "
                    f"{name} has {_num_samples(rows)}."
                )
        if y is None:
            raise ValueError("y is None; an evaluation needs the target.")
        y = _dense(y)
        chosen = _chosen(modalities, everything)
        sentinels = {m: _sentinels(first, m) for m in everything}
        for name, one in estimators.items():
            if any(_sentinels(one, m) != sentinels[m] for m in everything):
                raise ValueError(
                    "The estimators need the same missing_value=, so that all are "
                    f"scored on the same rows; that of {name!r} differs from that of "
                    f"{next(iter(estimators))!r}."
                )
        present = {
            m: np.asarray(~_gaps(X.select(m), sentinels[m]).all(axis=1))
            for m in everything
        }
        nowhere = ~np.any(list(present.values()), axis=0)
        if nowhere.any():
            raise ValueError(
                "All values of all modalities are missing in "
                f"{rows_text(np.flatnonzero(nowhere))}; drop them first."
            )
        labelled = _labelled(first, y)
        for name, one in estimators.items():
            if not np.array_equal(_labelled(one, y), labelled):
                raise ValueError(
                    "The estimators need the same unlabeled=, so that all are scored "
                    f"on the same rows; that of {name!r} differs from that of "
                    f"{next(iter(estimators))!r}."
                )
        if scoring is None:
            scoring = "accuracy" if is_classifier(first) else "r2"
        if not isinstance(scoring, str) and not callable(scoring):
            raise TypeError(
                f"scoring= is the name of one scorer, or a scorer; got {scoring!r}."
            )
        name = getattr(scoring, "__name__", str(scoring))
        classifier = is_classifier(first)
        split_by = _for_splitter(y, labelled) if classifier else y
        study = cls(
            X=X,
            y=y,
            everything=everything,
            modalities=chosen,
            present=present,
            labelled=labelled,
            sentinels=sentinels,
            scorer=as_scorer(scoring),
            scoring=name,
            folds=_folds(cv, X, split_by, groups, classifier),
        )
        study._check_folds()
        return study

    def _check_folds(self) -> None:
        kind = "" if self.labelled.all() else "labelled "
        for fold in self.folds:
            # All modalities are trained on, whichever are asked for.
            parts = [("training", m, fold.train) for m in self.everything]
            parts += [("test", m, fold.test) for m in self.modalities]
            for what, m, rows in parts:
                n_rows = len(self.rows([m], rows))
                if n_rows == 0:
                    raise ValueError(
                        f"In {fold} no {kind}{what} row has modality {m!r}; use fewer "
                        "folds, or others that spread its rows."
                    )
                if what == "test" and n_rows == 1 and self.scoring == "r2":
                    raise ValueError(
                        f"In {fold} one {kind}test row has modality {m!r}, and R2 "
                        "needs two at least; use fewer folds, or another score, as by "
                        "scoring='neg_mean_absolute_error'."
                    )

    def rows(
        self, modalities: Iterable[str], among: Array, *, unlabelled: bool = False
    ) -> Array:
        """Return those of some rows that have any of the modalities, and a label."""
        chosen = np.any([self.present[m] for m in modalities], axis=0)
        if not unlabelled:
            chosen &= self.labelled
        rows: Array = among[chosen[among]]
        return rows

    def take(self, modalities: Sequence[str], rows: Array, flat: bool) -> Any:
        """Return rows of some modalities; flat: of one, as a table for a baseline."""
        X = self.X.select(modalities)[rows]
        if not flat:
            return X
        (m,) = modalities
        gaps = _gaps(X, self.sentinels[m]) if self.sentinels[m] else None
        if is_frame(X[m]):
            return X[m] if gaps is None else X[m].mask(gaps)
        table = np.asarray(X)
        return table if gaps is None else np.where(gaps, np.nan, table)


def _parameters(estimator: Any) -> dict[str, Any]:
    if isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        return {}
    parameters: dict[str, Any] = estimator.get_params(deep=True)
    return parameters


def _check_estimator(estimator: Any) -> None:
    names = {name.rpartition("__")[2] for name in _parameters(estimator)}
    if "predict_modality" not in names:
        raise TypeError(
            "estimator= is a CoLearnClassifier or CoLearnRegressor, a pipeline that "
            f"ends in one, or a search around one; got {estimator!r}. Other estimators "
            "can be compared as baselines= of evaluate_modalities."
        )


def check_names(estimators: Mapping[str, Any], baselines: Mapping[str, Any]) -> None:
    """Refuse names of methods that stand for something else."""
    if not estimators:
        raise ValueError("estimator= is an empty dict; it needs at least one.")
    for argument, names, taken in (
        ("estimator", estimators, {ALONE, ALL}),
        ("baselines", baselines, {ALONE, ALL, CO_LEARNED, *estimators}),
    ):
        clash = [name for name in names if name in taken]
        if clash:
            raise ValueError(
                f"{argument}= has the name {clash[0]!r}, which is taken; give it "
                "another."
            )


def check_baselines(baselines: Any) -> None:
    """Refuse what cannot be fitted, before the first fit."""
    example = "such as {'forest': RandomForestClassifier()}"
    if not isinstance(baselines, Mapping):
        raise TypeError(
            f"baselines= is a dict of estimators by names of your own, {example}; got "
            f"{type(baselines).__name__}."
        )
    for name, one in baselines.items():
        if isinstance(one, type) or not hasattr(one, "fit"):
            raise TypeError(
                f"The baseline {name!r} is no estimator, {example}; got {one!r}."
            )


def _read(X: Any, estimators: Iterable[Any]) -> tuple[ModalityDict, tuple[str, ...]]:
    if not is_named(X):
        raise TypeError(
            f"X is of type {type(X).__name__}, which does not name its modalities; "
            "pass a ModalityDict, such as ModalityDict(S1=X[:, :24], soil=X[:, 24:])."
        )
    X = read_named(X)
    entries = {entry for one in estimators for entry in _entries(one, list(X))}
    everything = tuple(name for name in X if name not in entries)
    if len(everything) < 2:
        raise ValueError(
            f"X holds the modalities {list(everything)}; at least two are needed to "
            "compare training on all with training on one."
        )
    if ALL in X:
        raise ValueError(
            f"A modality is called {ALL!r}, which stands for all modalities together; "
            "give it another name."
        )
    return X, everything


def _chosen(
    modalities: str | Iterable[str] | None, everything: tuple[str, ...]
) -> tuple[str, ...]:
    if modalities is None:
        return everything
    chosen = [modalities] if isinstance(modalities, str) else list(modalities)
    unknown = [m for m in chosen if m not in everything]
    if unknown or not chosen:
        raise ValueError(
            f"modalities= names {unknown or 'no modality'}; X holds {list(everything)}."
        )
    return tuple(dict.fromkeys(chosen))


def _folds(
    cv: Any, X: ModalityDict, y: Any, groups: Any, classifier: bool
) -> tuple[Fold, ...]:
    splitter = check_cv(cv, y, classifier=classifier)
    try:
        splits = list(splitter.split(X, y, groups))
    except ValueError as error:
        if groups is None and "'groups'" in str(error):
            raise ValueError(
                f"cv={splitter!r} splits by groups; pass groups=, one for each row."
            ) from error
        raise
    folds = []
    repeat = fold = 0
    tested = np.zeros(len(X), dtype=bool)
    for train, test in (map(_as_positions, split) for split in splits):
        if tested[test].any():
            repeat, fold = repeat + 1, 0
            tested[:] = False
        tested[test] = True
        folds.append(Fold(repeat, fold, train, test))
        fold += 1
    if not folds:
        raise ValueError(f"cv={cv!r} gives no fold.")
    return tuple(folds)


def _for_splitter(y: Any, labelled: Array) -> Any:
    """Return y for a splitter by class: those without a label are a class, -1.

    In several columns, which no splitter of scikit-learn looks at, they are 0.
    """
    if labelled.all():
        return y
    known = np.asarray(labelled_part(y, labelled))
    if known.ndim == 1 or known.shape[1] == 1:
        filled = np.full(len(labelled), -1)
        filled[labelled] = np.unique(known.ravel(), return_inverse=True)[1]
        return filled
    filled = np.zeros((len(labelled), known.shape[1]), dtype=known.dtype)
    filled[labelled] = known
    return filled


def _as_positions(rows: Any) -> Array:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


# -- an estimator for fewer modalities -----------------------------------------------


def restricted(estimator: Any, kept: Sequence[str], names: Sequence[str]) -> Any:
    """Clone an estimator, with what it says by modality cut down to those kept."""
    estimator = clone(estimator)
    if len(kept) == len(names):
        return estimator
    changes = {
        name: _cut(name, value, kept, names)
        for name, value in _parameters(estimator).items()
    }
    before = _parameters(estimator)
    return estimator.set_params(
        **{name: value for name, value in changes.items() if value is not before[name]}
    )


def _cut(name: str, value: Any, kept: Sequence[str], names: Sequence[str]) -> Any:
    """Cut one parameter down; what says nothing by modality is returned as it is."""
    leaf = name.rpartition("__")[2]
    if leaf == "predict_modality":
        return value if value in kept else None
    if leaf == "modalities" and isinstance(value, Mapping):
        return None  # the layout of a flat X, and X has its names
    if leaf == "scoring":
        return _cut_scoring(value, kept)
    if leaf in ("param_grid", "param_distributions"):
        if isinstance(value, Mapping):
            return {
                one: [_cut_option(one, option, kept, names) for option in options]
                if isinstance(options, list | tuple)
                else options
                for one, options in value.items()
            }
        return [_cut(leaf, grid, kept, names) for grid in value]
    if (
        leaf != "class_weight"
        and isinstance(value, Mapping)
        and set(value) & set(names)
    ):
        return {m: one for m, one in value.items() if m in kept or m not in names}
    return value


def _cut_option(
    name: str, option: Any, kept: Sequence[str], names: Sequence[str]
) -> Any:
    if _parameters(option):
        return restricted(option, kept, names)
    return _cut(name, option, kept, names)


def _cut_scoring(scoring: Any, kept: Sequence[str]) -> Any:
    """Let a search that is tuned for another modality be tuned for the one kept."""
    if isinstance(scoring, Mapping):
        return {name: _cut_scoring(one, kept) for name, one in scoring.items()}
    if not isinstance(scoring, ModalityScorer) or scoring.modality in kept:
        return scoring
    if len(kept) == 1:
        return ModalityScorer(kept[0], scoring.scorer)
    raise ValueError(
        f"The search is scored from modality {scoring.modality!r}, which the pair "
        f"{list(kept)} lacks; pass the estimator that it found, search.best_estimator_."
    )


def _answer_from_all(part: Any) -> None:
    """Let the mean over all modalities answer, wherever the fitted estimator sits."""
    if hasattr(part, "predict_modality"):
        part.predict_modality = None
        return
    if hasattr(part, "get_params") and not isinstance(part, type):
        part = vars(part)
    if isinstance(part, Mapping):
        part = part.values()
    elif not isinstance(part, list | tuple):
        return
    for inner in part:
        _answer_from_all(inner)


# -- fits ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fit:
    """One fit on the training rows of a fold, and the modalities to score from."""

    fold: Fold
    method: str
    estimator: Any
    train_on: tuple[str, ...]
    score_from: tuple[str, ...]
    flat: bool = False


def run_all(
    study: Study, fits: Sequence[Fit], n_jobs: int | None, verbose: int
) -> pd.DataFrame:
    """Run fits, in any order; return their scores in the order given."""
    study = replace(study, folds=())  # each fit has its own
    # The weights of an estimator that is fitted need not go to other processes.
    fits = [replace(fit, estimator=clone(fit.estimator)) for fit in fits]
    # Not every backend of joblib can report as it goes.
    parallel = Parallel(
        n_jobs=n_jobs, return_as="generator_unordered" if verbose else "list"
    )
    with _warnings_of_fits():  # here too, for threads
        done = parallel(delayed(_run)(study, fit, i) for i, fit in enumerate(fits))
        if verbose:
            done = tqdm(done, total=len(fits), unit="fit", desc="evaluation")
        found = sorted(done, key=lambda pair: pair[0])
    return pd.DataFrame([row for _, rows in found for row in rows])


def in_order(scores: pd.DataFrame, **orders: Sequence[str]) -> pd.DataFrame:
    """Sort by columns, each in an order of its own; folds stay as they are."""
    return scores.sort_values(
        list(orders), key=lambda column: column.map(orders[str(column.name)].index)
    )


def _run(study: Study, fit: Fit, number: int) -> tuple[int, list[dict[str, Any]]]:
    """Fit once and score from each modality: a row for each."""
    where = f"{fit.fold}, method {fit.method!r}"
    # One modality alone learns nothing from rows without a label.
    together = len(fit.train_on) > 1
    rows = study.rows(fit.train_on, fit.fold.train, unlabelled=together)
    model = fit.estimator
    start = perf_counter()
    with _noting(f"In the fit of {where}, on {' and '.join(map(repr, fit.train_on))}."):
        held = (*fit.train_on, *_entries(fit.estimator, fit.train_on))
        X = study.take(held, rows, fit.flat)
        _fit(model, X, _labels_of(study.y, rows, study.labelled))
    fit_time = perf_counter() - start
    if ALL in fit.score_from:
        _answer_from_all(model)
    figures = []
    for m in fit.score_from:
        inputs = fit.train_on if m == ALL else (m,)
        rows = study.rows(inputs, fit.fold.test)
        held = (*inputs, *_entries(fit.estimator, inputs))
        X = study.take(held, rows, fit.flat)
        y = _labels_of(study.y, rows, study.labelled)
        start = perf_counter()
        with _noting(f"In the score of {where}, from {m!r}."):
            score = _as_number(study.scorer(model, X, y), study.scoring)
        figures.append(
            {
                "modality": m,
                "method": fit.method,
                "repeat": fit.fold.repeat,
                "fold": fit.fold.fold,
                "score": score,
                "fit_time": fit_time,
                "predict_time": perf_counter() - start,
                "n_train": len(study.rows(inputs, fit.fold.train)),
                "n_test": len(rows),
                "trained_on": fit.train_on,
            }
        )
    return number, figures


def _as_number(score: Any, scoring: str) -> float:
    try:
        number = float(score)
    except TypeError as error:
        raise TypeError(
            f"scoring= has to give one number; got {type(score).__name__}."
        ) from error
    if np.isnan(number):
        raise ValueError(
            f"scoring={scoring!r} gave NaN, which cannot be compared. R2, for "
            "one, needs two test rows at least, so it cannot be had by LeaveOneOut."
        )
    return number


_INTERRUPTED = "Training was interrupted"


def _fit(model: Any, X: Any, y: Any) -> None:
    # The filters belong to the process: threads have those of run_all.
    in_thread = threading.current_thread() is not threading.main_thread()
    with nullcontext() if in_thread else _warnings_of_fits():
        try:
            model.fit(X, y)
        except ConvergenceWarning as warning:
            if _INTERRUPTED in str(warning):
                raise KeyboardInterrupt from warning
            raise


@contextmanager
def _warnings_of_fits() -> Iterator[None]:
    with warnings.catch_warnings():
        # Figures of a half-trained estimator are worth nothing.
        warnings.filterwarnings("error", _INTERRUPTED, ConvergenceWarning)
        warnings.filterwarnings("ignore", "X holds one modality", UserWarning)
        yield


@contextmanager
def _noting(note: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise
