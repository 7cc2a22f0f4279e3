"""Distillation of all members of a sensor into one small network.

References
----------
.. [1] Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015,
   arXiv:1503.02531.
.. [2] Zhang, Cisse, Dauphin, Lopez-Paz, "mixup: beyond empirical risk minimization",
   ICLR 2018, arXiv:1710.09412.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sklearn_colearn.inputs import Array
from sklearn_colearn.losses import TASK_LOSSES
from sklearn_colearn.members import Members
from sklearn_colearn.network import make_modality_network
from sklearn_colearn.sensor import Rows, Sensor
from sklearn_colearn.training import one_thread, seeded

__all__ = ["distilled", "kept_rows"]

#: Settings of the small network.
STUDENT: dict[str, Any] = {
    "encoder": "mlp",
    "encoder_params": {"hidden_dims": (64, 64)},
    "embedding_dim": 32,
    "dropout": 0.0,
    "share_encoder": True,
}
#: Number of rows to train on, with mixtures of rows if there are fewer.
N_ROWS = 30_000
#: Maximum number of values in these rows, for large images.
N_VALUES = 2**26
#: Number of training steps, and of rows per step.
N_STEPS, BATCH_SIZE = 4_000, 256
LEARNING_RATE = 3e-3


def kept_rows(sensor: Sensor) -> Array:
    """Return the raw training rows (n_kept, *shape) that a sensor stores.

    Stored means of the band are reset to NaN. Raise ValueError if there are no rows, or
    only summaries of images.
    """
    if sensor.area is None or len(sensor.shape) > 2:
        why = (
            "the model stores only summaries of training images"
            if sensor.area is not None
            else "the model stores no training rows if fit held none out"
        )
        raise ValueError(
            f"distill=True has no training rows of {sensor.name!r}: {why}. Pass rows "
            "of this modality as distill= instead; they need no labels."
        )
    scaler = sensor.scaler
    rows = sensor.area.rows.reshape(-1, *scaler.input_shape(sensor.shape))
    rows = rows[..., : sensor.shape[-1]]
    values: Array = rows * scaler.scale + scaler.shift
    values[rows == scaler.fill] = np.nan
    return values


def distilled(members: Members, values: Array, seed: int) -> Members:
    """Return one sensor with a single small network that imitates its members.

    `members` have one sensor without times by row; `values` (n, *shape) are raw, NaN
    where missing.
    """
    ((name, sensor),) = members.sensors.items()
    target = members.target
    values = _with_mixtures(values, np.random.default_rng(seed))
    days = None if sensor.calendar is None else sensor.calendar.steps
    rows = Rows(values, np.ones(len(values), dtype=bool), days)
    answers = members.answers({name: rows}).mean(axis=0)
    if target.mean is not None:
        answers = (answers - target.mean) / target.scale
    taught = torch.from_numpy(answers.astype(np.float32))
    x = sensor.scaler.scaled(values)
    with one_thread(), seeded(seed, "cpu"):
        network = make_modality_network(
            input_shape=tuple(x.shape[1:]), n_outputs=target.n_logits, **STUDENT
        )
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, fused=True
        )
        loss = TASK_LOSSES[target.task]
        for step in range(N_STEPS):
            rate = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / N_STEPS))
            optimizer.param_groups[0]["lr"] = rate
            some = torch.randint(len(x), (BATCH_SIZE,))
            optimizer.zero_grad()
            off = loss(network(x[some]).prediction, taught[some]).mean()
            off.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    small = replace(sensor, networks=[network.eval()], made_with=dict(STUDENT))
    return Members({name: small}, target)


def _with_mixtures(values: Array, rng: np.random.Generator) -> Array:
    """Return rows and mixtures of two rows, `N_ROWS` in all.

    A mixture is NaN where its first row is.
    """
    n = len(values)
    n_rows = min(N_ROWS, max(n, N_VALUES // values[0].size))
    values = values.astype(np.float32, copy=False)
    if n >= n_rows:
        return values[rng.permutation(n)[:n_rows]]
    one, other = values[rng.integers(n, size=(2, n_rows - n))]
    share = rng.random((len(one), *[1] * (values.ndim - 1)), dtype=np.float32)
    mixed = one + share * (np.where(np.isnan(other), one, other) - one)
    return np.concatenate([values, mixed])
