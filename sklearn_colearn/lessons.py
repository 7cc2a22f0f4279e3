"""Second teacher of unlabelled pairs: a scikit-learn estimator on all sensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.utils.validation import has_fit_parameter
from torch import Tensor

from sklearn_colearn.batches import TensorRows
from sklearn_colearn.inputs import Array

__all__ = ["check_teacher", "fit_lesson"]

#: Fitted teacher, a function from rows to predictions (n, n_outputs).
Lesson = Callable[[TensorRows], Tensor]


def check_teacher(teacher: Any, classifies: bool) -> None:
    """Raise TypeError or ValueError if the parameter `teacher` is invalid."""
    if teacher is None or teacher == "trees":
        return
    if isinstance(teacher, str):
        raise ValueError(
            f"Unknown teacher={teacher!r}; expected 'trees', a scikit-learn estimator, "
            "or None for the networks alone."
        )
    if isinstance(teacher, type) or not hasattr(teacher, "fit"):
        raise TypeError(
            "teacher= must be 'trees', a scikit-learn estimator, or None; got "
            f"{teacher!r}."
        )
    answers = "predict_proba" if classifies else "predict"
    if not hasattr(teacher, answers):
        raise TypeError(
            f"teacher= must have the method {answers}; {teacher!r} does not have it."
        )


def fit_lesson(
    teacher: Any, rows: TensorRows, task: str, n_outputs: int, seed: int
) -> Lesson:
    """Fit a teacher to the flat values of all sensors; return its predictions.

    The values are standardised, and missing ones replaced by the band's mean.
    Unlabelled rows are left out; a class without rows raises ValueError. An estimator
    is cloned; `seed` is for ``"trees"``.
    """
    if isinstance(teacher, str):
        trees = ExtraTreesRegressor if task == "squared_error" else ExtraTreesClassifier
        teacher = trees(n_estimators=300, random_state=seed)
    else:
        teacher = clone(teacher)
    target, weight = rows.target.numpy(), rows.sample_weight
    known = np.ones(len(target), dtype=bool)
    if rows.labelled is not None:
        known = rows.labelled.numpy().copy()
    if weight is not None:
        known &= weight.numpy() > 0
    target = target[known]
    if task != "cross_entropy":
        target = target.astype(np.float64 if task == "squared_error" else np.int64)
        target = target[:, 0] if target.shape[1] == 1 else target
    given = {}
    if weight is not None and has_fit_parameter(teacher, "sample_weight"):
        given["sample_weight"] = weight.numpy()[known]
    teacher.fit(_flat(rows)[known], target, **given)
    numbers = np.arange(n_outputs)
    classes = getattr(teacher, "classes_", numbers)
    if task == "cross_entropy" and not np.array_equal(classes, numbers):
        raise ValueError(
            f"teacher= was fitted to {n_outputs} classes but predicts {len(classes)}. "
            "Use an estimator that keeps all classes."
        )
    return _Answer(teacher, task, n_outputs)


class _Answer:
    """Predictions of a fitted teacher."""

    def __init__(self, teacher: Any, task: str, n_outputs: int) -> None:
        self.teacher, self.task, self.n_outputs = teacher, task, n_outputs

    def __call__(self, rows: TensorRows) -> Tensor:
        values = _flat(rows)
        if self.task == "squared_error":
            said = self.teacher.predict(values)
        else:
            said = self.teacher.predict_proba(values)
            if isinstance(said, list):  # by label; training may lack its 0 or its 1
                by_label = zip(said, self.teacher.classes_, strict=True)
                present = [
                    own[:, classes == 1].sum(axis=1) for own, classes in by_label
                ]
                said = np.stack(present, axis=1)
        said = np.asarray(said, dtype=np.float32).reshape(len(values), -1)
        if said.shape[1] != self.n_outputs:
            raise ValueError(
                f"teacher= must predict {self.n_outputs} columns; got {said.shape[1]}."
            )
        if not np.isfinite(said).all():
            raise ValueError(
                "teacher= predicts NaN or infinity; use another estimator."
            )
        return torch.from_numpy(said)


def _flat(rows: TensorRows) -> Array:
    return torch.cat([x.flatten(1) for x in rows.inputs.values()], dim=1).numpy()
