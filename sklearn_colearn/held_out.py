"""Tables, intervals and sets of classes from held-out rows.

`predict_interval` and `predict_set` cite their sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, r2_score

from sklearn_colearn.inputs import Array
from sklearn_colearn.members import HeldOut, Members, patterns
from sklearn_colearn.network import TEACHER
from sklearn_colearn.sensor import Target

__all__ = [
    "ALL",
    "class_sets",
    "held_out_table",
    "intervals",
    "scores_table",
    "tables",
    "weights_table",
]

#: Name in tables of predictions from all sensors of a row.
ALL = "all sensors"
#: Maximum number of errors for an interval; values computed at once.
ENOUGH_ERRORS, BLOCK = 1_000, 10_000_000


# -- tables --------------------------------------------------------------------------


def tables(members: Members, ids: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the held-out answers and their scores.

    Answers have a row per row of X, labelled by `ids`, and columns for each sensor and,
    if there are several, ``"all sensors"``; NaN where no row was held out. Scores cover
    all held-out rows that have the sensor; columns ``..._std`` hold the standard
    deviation over members.
    """
    held_out, target = members.held_out, members.target
    assert held_out is not None
    answers = _answers_by_sensor(members, held_out)
    truth = held_out.truth
    if target.mean is not None and target.scale is not None:
        truth = truth * target.scale + target.mean
    scores = {}
    for name, own in answers.items():
        there = ~np.isnan(own).any(axis=1)
        if there.any():
            parts = (there & (held_out.folds == k) for k in np.unique(held_out.folds))
            by_member = pd.DataFrame(
                [_scores(target, truth[p], own[p]) for p in parts if p.any()]
            )
            whole = _scores(target, truth[there], own[there])
            spread = by_member.std().add_suffix("_std")
            scores[name] = {"n_rows": int(there.sum()), **whole, **spread}
    first = pd.DataFrame(np.concatenate(list(answers.values()), axis=1))
    table = first.groupby(held_out.rows).mean()  # several members may hold out a row
    values = table.reindex(range(len(ids))).to_numpy()
    return held_out_table(members, values, ids), scores_table(scores)


def held_out_table(members: Members, values: Array, ids: Any) -> pd.DataFrame:
    """Label the rows and columns of held-out answers."""
    target, sensors = members.target, list(members.sensors)
    within = target.classes if target.classes is not None else range(target.n_outputs)
    names = sensors if len(sensors) == 1 else [*sensors, ALL]
    columns = pd.MultiIndex.from_product([names, list(within)])
    return pd.DataFrame(values, index=pd.Index(ids), columns=columns)


def scores_table(scores: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return a table of scores with one row per sensor."""
    table = pd.DataFrame.from_dict(dict(scores), orient="index")
    return table.rename_axis("sensor")


def _answers_by_sensor(members: Members, held_out: HeldOut) -> dict[str, Array]:
    """Return answers (n, n_answers) of each sensor and of all sensors of a row."""
    answers = {m: members.held_out_answers((m,)) for m in members.sensors}
    if len(answers) == 1:
        return answers
    together = np.full_like(next(iter(answers.values())), np.nan)
    for names, rows in patterns({m: held_out.has([m]) for m in answers}):
        if names:
            together[rows] = members.held_out_answers(names)[rows]
    return {**answers, ALL: together}


def _scores(target: Target, truth: Array, answers: Array) -> dict[str, float]:
    if target.classes is None:
        return {
            "r2": r2_score(truth, answers) if len(truth) > 1 else np.nan,
            "rmse": float(np.sqrt(((truth - answers) ** 2).mean())),
        }
    tiny = np.finfo(np.float32).eps
    p = np.clip(answers.astype(np.float64), tiny, 1 - tiny)
    if target.task == "cross_entropy":
        one_hot = np.arange(p.shape[1]) == truth[:, np.newaxis]
        decided, labels = p.argmax(axis=1), np.arange(p.shape[1])
        log_loss = -np.log(p[one_hot]).mean()
        brier = ((answers - one_hot) ** 2).sum(axis=1).mean()
    else:
        decided, labels = (answers >= 0.5).astype(int), None
        log_loss = -np.where(truth > 0, np.log(p), np.log1p(-p)).mean()
        brier = ((answers - truth) ** 2).mean()
    macro = f1_score(truth, decided, labels=labels, average="macro", zero_division=0)
    return {
        "log_loss": float(log_loss),
        "brier": float(brier),
        "accuracy": float(accuracy_score(truth, decided)),
        "f1_macro": float(macro),
    }


def weights_table(members: Members) -> pd.DataFrame:
    """Return the mean weight over labels or outputs of each sensor in each pool."""
    assert members.held_out is not None
    names = list(dict.fromkeys([*members.sensors, *members.held_out.logits]))
    rows = {
        " + ".join(m for m in pool if m != TEACHER): {
            m: float(weight.mean()) for m, weight in found.weights.items()
        }
        for pool, found in members.held_out.pools.items()
        if found is not None and pool != (TEACHER,)
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


# -- intervals and sets --------------------------------------------------------------


def intervals(
    members: Members, names: tuple[str, ...], answers: Array, level: float
) -> Array:
    """Return CV+ intervals (n, n_outputs, 2), the jackknife+ over members.

    `answers` (n_members, n, n_outputs) are values from the sensors `names`; `level` is
    the share of intervals that should contain the true value.
    """
    held_out = _held_out(members)
    assert members.target.mean is not None
    assert members.target.scale is not None
    truth = held_out.truth * members.target.scale + members.target.mean
    errors = np.abs(truth - members.held_out_answers(names))
    there = ~np.isnan(errors).any(axis=1)
    n = int(there.sum())
    above = _rank(n, level, names)
    bounds = np.empty((*answers.shape[1:], 2))
    for output in range(answers.shape[2]):
        own, folds = _thinned(errors[there, output], held_out.folds[there])
        # Rank among the thinned errors.
        place = min(len(own) - 1, math.ceil(above / n * len(own)) - 1)
        step = max(1, BLOCK // len(own))
        for start in range(0, answers.shape[1], step):
            block = slice(start, start + step)
            each = answers[folds, block, output]  # (errors, rows)
            errors_of = own[:, np.newaxis]
            upper = np.partition(each + errors_of, place, axis=0)[place]
            lower = -np.partition(errors_of - each, place, axis=0)[place]
            bounds[block, output] = np.stack([lower, upper], axis=1)
    return bounds


def _thinned(errors: Array, folds: Array) -> tuple[Array, Array]:
    """Return at most `ENOUGH_ERRORS` errors, evenly spaced quantiles of each member."""
    if len(errors) <= ENOUGH_ERRORS:
        return errors, folds
    every = -(-len(errors) // ENOUGH_ERRORS)
    order = np.lexsort([errors, folds])[every // 2 :: every]
    return errors[order], folds[order]


def class_sets(
    members: Members, names: tuple[str, ...], answers: Array, level: float
) -> Array:
    """Return sets of classes (n, n_classes) that held-out rows do not rule out.

    A class is left out if the true class was more probable in a share `level` of the
    held-out rows. The most probable class always is in the set. `answers` (n_members,
    n, n_classes) are probabilities.
    """
    held_out = _held_out(members)
    probability = members.held_out_answers(names)
    there = ~np.isnan(probability).any(axis=1)
    rank = _rank(int(there.sum()), level, names)
    of_truth = probability[np.arange(len(probability)), held_out.truth]
    n_worse: Any = 0  # held-out rows whose true class was more probable
    for member, own in enumerate(answers):
        known = np.sort(of_truth[there & (held_out.folds == member)])
        n_worse = n_worse + len(known) - np.searchsorted(known, own, side="right")
    sets: Array = n_worse < rank
    mean = answers.mean(axis=0)
    sets[np.arange(len(sets)), mean.argmax(axis=1)] = True
    return sets


def _rank(n: int, level: float, names: tuple[str, ...]) -> int:
    """Return the rank among n scores that bounds a share `level` of new scores."""
    # Rounded, as 0.9 * 10 may slightly exceed 9.
    rank = math.ceil(round(level * (n + 1), 9))
    if rank > n:
        least = math.ceil(round(level / (1 - level), 9))
        raise ValueError(
            f"confidence_level={level} needs at least {least} held-out rows with "
            f"{' and '.join(map(repr, names))}, got {n}; use a lower level."
        )
    return rank


def _held_out(members: Members) -> HeldOut:
    if members.held_out is None:
        raise ValueError(
            "Intervals and sets need held-out rows. Models have none with cv=None or "
            "after export(distill=...): fit with folds, such as cv=5, and export "
            "without distill=."
        )
    return members.held_out
