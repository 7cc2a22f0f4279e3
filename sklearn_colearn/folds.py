"""Folds: the training rows and the held-out rows of each member."""

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
from sklearn_colearn.modality_dict import first_few
from sklearn_colearn.sensor import Target

__all__ = ["Fold", "make_folds"]


class Fold(NamedTuple):
    """Training rows and labelled held-out rows of one member."""

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

    Every member trains on all unlabelled rows. If a fold would hold out all labelled
    rows of a class or sensor, they move to its training rows, with their groups; warn
    if no member can hold out a class. Without `cv`, one fold holds nothing out. An
    integer `cv` keeps groups whole.

    `values` (n_samples,) or (n_samples, n_outputs) are class numbers, label indicators
    or values, arbitrary in unlabelled rows. `labelled` and, by sensor, `present` are
    masks (n_samples,).
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
        return _covering(
            [Fold(*p) for p in pairs], target, values, labelled, None, present
        )
    splitter = check_cv(cv, y, classifier=of_classes)
    with warnings.catch_warnings():
        if is_number:  # the splitters warn of rare classes; `_covering` handles them
            warnings.simplefilter("ignore", UserWarning)
        parts = list(splitter.split(np.zeros(len(rows)), y, inner))
    folds = []
    for training, held_out in parts:
        in_training = ~labelled
        in_training[rows[training]] = True
        folds.append(Fold(np.flatnonzero(in_training), np.sort(rows[held_out])))
    return _covering(folds, target, values, labelled, groups, present)


def _splitter(
    cv: int, classes: Array | None, n_rows: int, groups: Array | None, seed: int
) -> Any:
    """Return the splitter for an integer `cv`."""
    n, units = (n_rows, "labelled rows") if groups is None else (0, "groups")
    if groups is not None:
        n = len(pd.unique(groups))
    elif classes is not None and (most := np.bincount(classes).max()) < cv:
        n, units = most, "labelled rows of the largest class"
    if n < 2:
        raise ValueError(
            f"cv={cv} needs at least 2 {units}, got {n} (n_samples={n_rows}). Use "
            "cv=None to train one network without held-out rows."
        )
    if n < cv:
        warnings.warn(
            f"cv={cv} exceeds the {n} {units}: training only {n} members.",
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
    """Return a function that reads one part of a fold in `cv`."""

    def read(side: Any) -> Array:
        side = np.asarray(side)
        if side.dtype == bool and side.shape == (n_rows,):
            return np.flatnonzero(side)
        whole = side.ndim == 1 and (side.dtype.kind in "iu" or not side.size)
        if not whole or (
            side.size and not -n_rows <= side.min() <= side.max() < n_rows
        ):
            raise ValueError(
                f"cv= must yield pairs of row numbers of X below {n_rows}, got "
                f"{side!r}."
            )
        return np.unique(np.arange(n_rows)[side.astype(int)])

    return read


def _covering(
    folds: list[Fold],
    target: Target,
    values: Array,
    labelled: Array,
    groups: Array | None,
    present: Mapping[str, Array],
) -> list[Fold]:
    """Move rows until every member trains on every class and sensor with labels."""
    kinds = {f"modality {m!r}": here & labelled for m, here in present.items()}
    classes = _classes(target, values, labelled)
    kinds |= classes
    units = np.arange(len(labelled)) if groups is None else groups
    sound, moved = [], {}
    for training, held_out in folds:
        if np.intersect1d(training, held_out).size:
            raise ValueError(
                "The training and held-out rows of a fold in cv= must not overlap."
            )
        held_out = held_out[labelled[held_out]]
        for kind, rows in kinds.items():
            if rows.any() and not rows[training].any():
                own = np.isin(units[held_out], units[held_out[rows[held_out]]])
                if not own.any():
                    raise ValueError(
                        f"A fold in cv= has no rows of {kind}; every fold needs some."
                    )
                moved[kind] = rows
                training = np.union1d(training, held_out[own])
                held_out = held_out[~own]
        if len(held_out):
            sound.append(Fold(training, held_out))
    if not sound:
        why = (
            ": every member must train on every class and modality, and "
            f"{' and '.join(sorted(moved))} cannot be split"
        )
        raise ValueError(
            f"cv= holds out no labelled row (n_samples={len(labelled)})"
            f"{why if moved else ''}. Use cv=None to train one network without "
            "held-out rows."
        )
    if moved:
        text = "groups" if groups is not None else "rows"
        warnings.warn(
            f"Some folds would hold out all rows of {first_few(sorted(moved))}. These "
            f"{text} stay in training, so that every member sees them; the fit has "
            f"{len(sound)} members.",
            UserWarning,
            stacklevel=6,
        )
    kept = {kind: rows for kind, rows in classes.items() if kind not in moved}
    _warn_of_classes(sound, kept, present)
    return sound


def _classes(target: Target, values: Array, labelled: Array) -> dict[str, Array]:
    """Return a mask of the labelled rows of each class or label."""
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
    """Warn of classes never held out, and of those a member lacks with a sensor."""
    held_out = np.unique(np.concatenate([fold.held_out for fold in folds]))
    never = [kind for kind, rows in classes.items() if not rows[held_out].any()]
    if never:
        warnings.warn(
            f"No member holds out a row of {first_few(never)}, so held_out_scores_ and "
            "the calibration leave them out. Use StratifiedKFold or "
            "StratifiedGroupKFold, which hold out every row once and spread the "
            "classes, or merge rare classes.",
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
            f"Some members train on no row of {first_few(unseen)}, because one fold "
            "holds out all of them. These members cannot learn the class from that "
            "modality; label more such rows, or merge rare classes.",
            UserWarning,
            stacklevel=7,
        )
