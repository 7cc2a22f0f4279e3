"""Folds: which rows each member trains on, and which it does not see."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from sklearn_colearn.inputs import Array
from sklearn_colearn.sensor import Target

__all__ = ["Fold", "make_folds"]


class Fold(NamedTuple):
    """Rows that one member trains on, and labelled rows that it does not see."""

    training: Array
    held_out: Array


def make_folds(
    cv: Any,
    target: Target,
    values: Array,
    labelled: Array,
    groups: Array | None,
    present: Mapping[str, Array],
    seed: int,
) -> list[Fold]:
    """Return the folds of the members.

    Every member trains on all rows without a label, and on at least one row of each
    class and of each sensor: where a fold would hold all of them back, they are moved
    into its training rows, with their groups.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As of the estimators. None gives one fold that holds nothing out.
    target : Target
        What y is.
    values : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers, label indicators or values; anything where there is no label.
    labelled : ndarray of shape (n_samples,), bool
        Which rows have a label.
    groups : ndarray of shape (n_samples,) or None
        An integer `cv` keeps rows of the same group together.
    present : mapping of str to ndarray of shape (n_samples,), bool
        Which rows have each sensor.
    seed : int
        Of the shuffling before an integer `cv`.

    Warns
    -----
    UserWarning
        If there are fewer groups or rows than folds, rows cannot be held out, no member
        holds out a class, or a member trains on no row of a class with a sensor.

    Raises
    ------
    ValueError
        If no row can be held out, or a fold is not as said above.
    """
    everything, rows = np.arange(len(labelled)), np.flatnonzero(labelled)
    if cv is None:
        return [Fold(everything, rows[:0])]
    of_classes = target.task == "cross_entropy"
    y = values[rows]
    inner = None if groups is None else groups[rows]
    is_number = isinstance(cv, int | np.integer)
    if is_number:
        cv = _splitter(int(cv), y if of_classes else None, len(rows), inner, seed)
    elif not hasattr(cv, "split"):  # (training, held-out) pairs of rows of X
        pairs = [tuple(map(_positions(len(labelled)), pair)) for pair in cv]
        return _sound(
            [Fold(*p) for p in pairs], target, values, labelled, None, present
        )
    splitter = check_cv(cv, y, classifier=of_classes)
    with warnings.catch_warnings():
        if is_number:  # they warn of rare classes, which `_sound` takes care of
            warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(len(rows)), y, inner))
    folds = []
    for training, held_out in parts:
        in_training = ~labelled
        in_training[rows[training]] = True
        folds.append(Fold(np.flatnonzero(in_training), np.sort(rows[held_out])))
    return _sound(folds, target, values, labelled, groups, present)


def _splitter(
    cv: int, classes: Array | None, n_rows: int, groups: Array | None, seed: int
) -> Any:
    """Return the splitter that an integer stands for."""
    n, units = (n_rows, "labelled rows") if groups is None else (0, "groups")
    if groups is not None:
        n = len(pd.unique(groups))
    elif classes is not None and (most := np.bincount(classes).max()) < cv:
        n, units = most, "labelled rows of the largest class"
    if n < 2:
        raise ValueError(
            f"cv={cv} needs at least 2 {units} to train on one part and hold out "
            f"another; there are {n} (n_samples={n_rows}). cv=None trains one network "
            "without holding anything out."
        )
    if n < cv:
        warnings.warn(
            f"There are {n} {units}, too few for cv={cv}, so there will be {n} "
            "members.",
            UserWarning,
            stacklevel=6,
        )
    shuffled: dict[str, Any] = {
        "n_splits": min(n, cv),
        "shuffle": True,
        "random_state": seed,
    }
    if groups is None:
        return (KFold if classes is None else StratifiedKFold)(**shuffled)
    return (GroupKFold if classes is None else StratifiedGroupKFold)(**shuffled)


def _positions(n_rows: int) -> Callable[[Any], Array]:
    """Return a reader of one side of a pair of `cv`."""

    def read(side: Any) -> Array:
        side = np.asarray(side)
        if side.dtype == bool and side.shape == (n_rows,):
            return np.flatnonzero(side)
        whole = side.ndim == 1 and (side.dtype.kind in "iu" or not side.size)
        if not whole or (
            side.size and not -n_rows <= side.min() <= side.max() < n_rows
        ):
            raise ValueError(
                f"cv= holds pairs of row numbers of X, below {n_rows}; got {side!r}."
            )
        return np.unique(np.arange(n_rows)[side.astype(int)])

    return read


def _sound(
    folds: list[Fold],
    target: Target,
    values: Array,
    labelled: Array,
    groups: Array | None,
    present: Mapping[str, Array],
) -> list[Fold]:
    """Let every member see every class and every sensor with a label."""
    kinds = {f"modality {m!r}": here & labelled for m, here in present.items()}
    classes = _classes(target, values, labelled)
    kinds |= classes
    units = np.arange(len(labelled)) if groups is None else groups
    sound, moved = [], {}
    for training, held_out in folds:
        if np.intersect1d(training, held_out).size:
            raise ValueError("cv= has rows that are both trained on and held out.")
        held_out = held_out[labelled[held_out]]
        for kind, rows in kinds.items():
            if rows.any() and not rows[training].any():
                own = np.isin(units[held_out], units[held_out[rows[held_out]]])
                if not own.any():
                    raise ValueError(f"cv= has a fold without any row of {kind}.")
                moved[kind] = rows
                training = np.union1d(training, held_out[own])
                held_out = held_out[~own]
        if len(held_out):
            sound.append(Fold(training, held_out))
    if not sound:
        raise ValueError(
            "cv= leaves no row to hold out, as each member has to see every class and "
            f"every sensor, and {' and '.join(sorted(moved)) or 'no row'} cannot be "
            f"split (n_samples={len(labelled)}). cv=None trains one network without "
            "holding anything out."
        )
    if moved:
        text = "groups" if groups is not None else "rows"
        warnings.warn(
            f"Some folds would hold out all rows of {', '.join(sorted(moved))}. Their "
            f"{text} stay in training there, so that every member sees them; there are "
            f"{len(sound)} members.",
            UserWarning,
            stacklevel=6,
        )
    kept = {kind: rows for kind, rows in classes.items() if kind not in moved}
    _warn_of_classes(sound, kept, present)
    return sound


def _classes(target: Target, values: Array, labelled: Array) -> dict[str, Array]:
    """Return which rows are of each class, or have each label."""
    if target.classes is None:
        return {}
    numbers = np.arange(len(target.classes))
    several = target.task == "binary_cross_entropy"
    positive = values > 0 if several else values[:, None] == numbers
    names = [f"class {name!r}" for name in target.classes.tolist()]
    return dict(zip(names, (positive & labelled[:, None]).T, strict=True))


def _warn_of_classes(
    folds: list[Fold], classes: Mapping[str, Array], present: Mapping[str, Array]
) -> None:
    """Warn of classes that no member holds out, or does not see with some sensor."""
    held_out = np.unique(np.concatenate([fold.held_out for fold in folds]))
    never = [kind for kind, rows in classes.items() if not rows[held_out].any()]
    if never:
        warnings.warn(
            f"No member holds out a row of {', '.join(never)}, so held_out_scores_ and "
            "the calibration leave them out. StratifiedKFold and StratifiedGroupKFold "
            "hold out every row once and spread the classes; merge classes that are "
            "too rare for that.",
            UserWarning,
            stacklevel=7,
        )
    unseen = [
        f"{kind} with modality {m!r}"
        for kind, rows in classes.items()
        for m, here in present.items()
        if (both := rows & here).any()
        and not all(both[fold.training].any() for fold in folds)
    ]
    if unseen:
        warnings.warn(
            f"Some members train on no row of {', '.join(unseen)}, because all of them "
            "are held out together. Their answers from that modality say little of "
            "the class; label more of its rows that have the modality, or merge rare "
            "classes.",
            UserWarning,
            stacklevel=7,
        )
