"""Members (one network per fold) and their held-out predictions.

Held-out predictions calibrate each sensor, set the weights of several sensors, and
give intervals and sets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

from sklearn_colearn.inputs import Array
from sklearn_colearn.network import TEACHER, CoLearnNetwork
from sklearn_colearn.plain_values import need
from sklearn_colearn.sensor import Rows, Sensor, Target

__all__ = ["FUSIONS", "HeldOut", "Members", "Pool", "patterns", "spread"]

#: Largest number of sensors for which fit learns the weights of every subset.
MANY_SENSORS = 6
#: Maximum number of held-out rows to learn weights from.
ENOUGH_ROWS = 20_000
#: Number of held-out rows at which the penalty of a pool is worth 1.5 rows.
FEW_ROWS = 100


# -- held-out rows -------------------------------------------------------------------


class Pool(NamedTuple):
    """Weighted sum of the logits of some sensors, plus a bias.

    For classes, the bias is a multiple of the log class shares, so that an
    uninformative sensor predicts the class shares.
    """

    #: (1,) or (n_logits,), by sensor.
    weights: dict[str, Array]
    #: (n_logits,).
    bias: Array

    def __call__(self, logits: Mapping[str, Array]) -> Array:
        """Return the pooled logits (..., n_logits)."""
        total: Any = 0
        for name, weight in self.weights.items():
            if name in logits:  # sensors of zero weight may be absent
                total = total + logits[name] * weight.astype(logits[name].dtype)
        pooled: Array = total + self.bias.astype(total.dtype)
        return pooled


def _loss(task: str, u: Array, truth: Array, weight: Array) -> tuple[float, Array]:
    """Return the weighted mean task loss of logits (n, n_logits), and its gradient."""
    if task == "cross_entropy":
        log_p = log_softmax(u, axis=1)
        loss = -log_p[np.arange(len(u)), truth]
        gradient = np.exp(log_p)
        gradient[np.arange(len(u)), truth] -= 1
    elif task == "binary_cross_entropy":
        loss = (np.logaddexp(0, u) - truth * u).sum(axis=1)
        gradient = expit(u) - truth
    else:
        loss = ((u - truth) ** 2).sum(axis=1)
        gradient = 2 * (u - truth)
    share = weight / weight.sum()
    return float(share @ loss), gradient * share[:, np.newaxis]


def _fit_pool(
    task: str,
    logits: Mapping[str, Array],
    truth: Array,
    weight: Array,
    log_prior: Array | None,
    few: int,
) -> Pool:
    """Learn the pool with the least held-out loss and no negative weights.

    A penalty worth ``0.5 + few / n`` rows favours equal weights, as few held-out rows
    may lack most classes.
    """
    z = np.stack(list(logits.values())).astype(np.float64)  # (sensors, n, n_logits)
    n_sensors, n, n_logits = z.shape
    width = n_logits if log_prior is None else 1
    size = n_sensors * width
    start = np.r_[np.full(size, 1 / n_sensors), np.zeros(width)]
    penalty = (0.5 + few / n) / n

    def parts(theta: Array) -> tuple[Array, Array]:
        bias = theta[size:]
        return theta[:size].reshape(n_sensors, width), (
            bias if log_prior is None else bias * log_prior
        )

    def objective(theta: Array) -> tuple[float, Array]:
        weights, bias = parts(theta)
        u = (z * weights[:, np.newaxis]).sum(axis=0) + bias
        loss, gradient = _loss(task, u, truth, weight)
        of_weights = np.einsum("snl,nl->sl", z, gradient)
        of_bias = gradient.sum(axis=0)
        if log_prior is not None:
            of_weights = of_weights.sum(axis=1)
            of_bias = of_bias @ log_prior
        own = theta - start
        slope = np.r_[of_weights.ravel(), of_bias] + 2 * penalty * own
        return loss + penalty * float(own @ own), slope

    bounds = [(0, None)] * size + [(None, None)] * width
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds)
    weights, bias = parts(found.x)
    return Pool(dict(zip(logits, weights, strict=True)), bias)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Predictions of members for rows that they did not train on.

    Attributes
    ----------
    rows, folds : ndarray of shape (n,), int64
        Row numbers in X, and member numbers.
    truth : ndarray of shape (n,) or (n, n_outputs)
        Class numbers, label indicators or standardised values.
    shown : ndarray of shape (n,), bool
        Rows that served as pairs, without their labels. They help to calibrate, but
        give no scores, intervals and sets: their predictions are too good.
    logits : dict of str to ndarray of shape (n, n_logits), float32
        Logits of each sensor and of the teacher; NaN where a row lacks the sensor.
    prior : ndarray of shape (n_classes,) or None
        Weighted class shares in training.
    few : int
        Additional penalty of pools, see `_fit_pool`.
    """

    target: Target
    rows: Array
    folds: Array
    truth: Array
    weight: Array
    shown: Array
    logits: dict[str, Array]
    prior: Array | None = None
    few: int = FEW_ROWS
    #: Caches of `pool` and of `crossed`, by names of sensors.
    pools: dict[tuple[str, ...], Pool | None] = field(default_factory=dict)
    crosses: dict[tuple[str, ...], Array] = field(default_factory=dict)

    def has(self, names: Sequence[str]) -> Array:
        """Return a mask (n,) of rows with all named sensors."""
        there: Array = np.all(
            [np.isfinite(self.logits[m][:, 0]) for m in names], axis=0
        )
        return there

    def pool(self, names: tuple[str, ...]) -> Pool | None:
        """Return the pool of sensors; None if no held-out row has them all."""
        if names not in self.pools:
            self.pools[names] = self._pool(names, self.has(names))
        return self.pools[names]

    def _pool(self, names: tuple[str, ...], chosen: Array) -> Pool | None:
        rows = np.flatnonzero(chosen & (self.weight > 0))
        if len(rows) == 0:
            return None
        rows = rows[:: -(-len(rows) // ENOUGH_ROWS)]
        return _fit_pool(
            self.target.task,
            {m: self.logits[m][rows] for m in names},
            self.truth[rows],
            self.weight[rows],
            None if self.prior is None else np.log(self.prior),
            self.few,
        )

    def crossed(self, names: tuple[str, ...]) -> Array:
        """Return logits (n, n_logits) pooled by weights of the other members' rows.

        NaN where a row lacks one of the sensors or served as a pair.
        """
        if names in self.crosses:
            return self.crosses[names]
        chosen = self.has(names)
        n_logits = next(iter(self.logits.values())).shape[1]
        pooled = np.full((len(chosen), n_logits), np.nan, dtype=np.float32)
        for fold in np.unique(self.folds):
            own = self.folds == fold
            here = chosen & own & ~self.shown
            pool = self._pool(names, chosen & ~own) or self.pool(names)
            if pool is not None and here.any():
                pooled[here] = pool({m: self.logits[m][here] for m in names})
        self.crosses[names] = pooled
        return pooled

    def only(self, name: str) -> HeldOut:
        """Return the part of one sensor."""
        rows = self.has([name])
        kept: Any = {part: getattr(self, part)[rows] for part in _ARRAYS}
        pools: Any = {(name,): self.pool((name,))}
        return replace(
            self,
            **kept,
            logits={name: self.logits[name][rows]},
            pools=pools,
            crosses={(name,): self.crossed((name,))[rows]},
        )

    # -- files -----------------------------------------------------------------------

    def to_dict(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return plain values and arrays for `from_dict`."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.prior is not None:
            arrays["prior"] = self.prior
        arrays |= {f"logits.{i}": z for i, z in enumerate(self.logits.values())}
        pools = {names: pool for names, pool in self.pools.items() if pool is not None}
        for i, pool in enumerate(pools.values()):
            arrays[f"pool.{i}.weights"] = np.stack(list(pool.weights.values()))
            arrays[f"pool.{i}.bias"] = pool.bias
        plain: dict[str, Any] = {
            "names": list(self.logits),
            "pools": [list(names) for names in pools],
            "few": self.few,
        }
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
        }
        return plain, tensors

    @classmethod
    def from_dict(
        cls,
        given: Mapping[str, Any],
        arrays: Mapping[str, torch.Tensor],
        target: Target,
        n_members: int,
    ) -> HeldOut:
        """Check plain values and arrays, and make held-out rows from them."""
        # Absent from the first files.
        arrays = {"shown": torch.zeros(len(arrays["rows"]), dtype=torch.bool), **arrays}
        parts: Any = {name: arrays[name].numpy() for name in _ARRAYS}
        need(parts["shown"].dtype.kind == "b", "held-out rows")
        n, n_logits = len(parts["rows"]), target.n_logits
        classifies = target.task == "cross_entropy"
        whole = parts["truth"].dtype.kind == "i" if classifies else True
        need(whole and all(len(part) == n for part in parts.values()), "held-out rows")
        folds, truth = parts["folds"], parts["truth"]
        need(n > 0 and 0 <= folds.min() <= folds.max() < n_members, "held-out rows")
        inside = truth.shape == (n, n_logits)
        if classifies:
            inside = truth.shape == (n,) and 0 <= truth.min() <= truth.max() < n_logits
        need(inside, "the truth of held-out rows")
        logits = {
            m: arrays[f"logits.{i}"].numpy() for i, m in enumerate(given["names"])
        }
        shapes = {z.shape for z in logits.values()}
        need(shapes == {(n, n_logits)}, "the logits of held-out rows")
        prior = arrays["prior"].numpy() if "prior" in arrays else None
        need((prior is not None) == classifies, "the class shares")
        pools: dict[tuple[str, ...], Pool | None] = {}
        for i, names in enumerate(given["pools"]):
            weights = arrays[f"pool.{i}.weights"].numpy()
            bias = arrays[f"pool.{i}.bias"].numpy()
            need(set(names) <= set(logits) and bias.shape == (n_logits,), "a pool")
            need(weights.shape == (len(names), 1 if classifies else n_logits), "a pool")
            pools[tuple(names)] = Pool(dict(zip(names, weights, strict=True)), bias)
        # Absent from the first files, whose pools had a smaller penalty.
        few = given.get("few", 0)
        need(isinstance(few, int) and few >= 0, "the pools of held-out rows")
        return cls(target, **parts, logits=logits, prior=prior, few=few, pools=pools)


#: Arrays of `HeldOut` with one entry per held-out row.
_ARRAYS = ("rows", "folds", "truth", "weight", "shown")


# -- members -------------------------------------------------------------------------

Names = tuple[str, ...]


def _mean(members: Members, names: Names) -> list[Names]:
    return [(m,) for m in names]


def _teacher(members: Members, names: Names) -> list[Names]:
    teaches = members.teachers and len(names) == len(members.sensors)
    return [(TEACHER,)] if teaches else _mean(members, names)


def _weighted(members: Members, names: Names) -> list[Names]:
    if len(names) == 1 or members.held_out is None:
        return _mean(members, names)
    everybody = names
    if TEACHER in members.held_out.logits and len(names) == len(members.sensors):
        everybody = (*names, TEACHER)
    if members.held_out.pool(everybody) is None:
        return _mean(members, names)
    return [everybody]


#: Ways to combine the sensors of a row: return the pools whose answers are averaged.
FUSIONS: dict[str, Callable[[Members, Names], list[Names]]] = {
    "weighted": _weighted,
    "mean": _mean,
    "teacher": _teacher,
}


@dataclass(eq=False)
class Members:
    """Result of fit: the networks of all members by sensor, and held-out predictions.

    `sensors` are in order of the modalities; each has one network per member. `fusion`
    is a key of ``FUSIONS``. `nets` is empty for an exported sensor, and `teachers` if
    predictions do not need them; these have the weights of their best epoch. `held_out`
    is None with ``cv=None``.
    """

    sensors: dict[str, Sensor]
    target: Target
    fusion: str = "mean"
    nets: list[Any] = field(default_factory=list)
    teachers: list[CoLearnNetwork] = field(default_factory=list)
    held_out: HeldOut | None = None

    def link(self) -> None:
        """Use the networks of `nets` in the sensors and, without folds, as teachers."""
        self.sensors = {
            m: replace(sensor, networks=[net.module_.network(m) for net in self.nets])
            for m, sensor in self.sensors.items()
        }
        if self.held_out is None and self.fusion == "teacher":
            modules = [net.module_ for net in self.nets]
            self.teachers = [own for own in modules if own.teacher_head is not None]

    def __getstate__(self) -> dict[str, Any]:
        # The nets already pickle the networks.
        state = vars(self).copy()
        if self.nets:
            state["sensors"] = {
                m: replace(sensor, networks=[]) for m, sensor in self.sensors.items()
            }
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.nets:
            self.link()

    def only(self, name: str) -> Members:
        """Return the part of one sensor."""
        held_out = None if self.held_out is None else self.held_out.only(name)
        return Members({name: self.sensors[name]}, self.target, held_out=held_out)

    def pool(self, names: Names) -> Pool | None:
        """Return the pool of sensors; None if nothing was held out."""
        return None if self.held_out is None else self.held_out.pool(names)

    def drop_idle_teachers(self) -> None:
        """Drop the teachers if they have no weight in any prediction."""
        pools = self.parts(tuple(self.sensors))
        if not any(TEACHER in self._counting(names) for names in pools):
            self.teachers = []

    # -- answers ---------------------------------------------------------------------

    def answers(self, prepared: Mapping[str, Rows]) -> Array:
        """Return answers (n_members, n, n_answers) from the sensors of each row."""
        present = {m: rows.present for m, rows in prepared.items()}
        parts = [(self.parts(names), rows) for names, rows in patterns(present)]
        counting = {
            m for pools, _ in parts for names in pools for m in self._counting(names)
        }
        logits = {
            m: spread(self.sensors[m].run(rows, ()).prediction, rows.present)
            for m, rows in prepared.items()
            if m in counting
        }
        if TEACHER in counting:
            logits[TEACHER] = self._teach(prepared)
        first = next(iter(logits.values()))
        if len(parts) == 1:
            return self._pooled(parts[0][0], logits)
        dtype = np.float64 if self.target.classes is None else first.dtype
        answers = np.empty(first.shape, dtype=dtype)
        for pools, rows in parts:
            some = {m: z[:, rows] for m, z in logits.items()}
            answers[:, rows] = self._pooled(pools, some)
        return answers

    def parts(self, names: Names) -> list[Names]:
        """Return the pools for rows with these sensors."""
        return FUSIONS[self.fusion](self, names)

    def _counting(self, names: Names) -> list[str]:
        """Return the sensors of a pool with a weight, at least one."""
        pool = self.pool(names)
        weights = {} if pool is None else pool.weights
        return [m for m, weight in weights.items() if weight.any()] or [names[0]]

    def _pooled(self, parts: list[Names], logits: Mapping[str, Array]) -> Array:
        answers: list[Array] = []
        for names in parts:
            pool = self.pool(names)
            z = logits[names[0]] if pool is None else pool(logits)
            answers.append(self.target.answers(torch.from_numpy(z)))
        return _average(answers)

    def _teach(self, prepared: Mapping[str, Rows]) -> Array:
        """Return the teachers' logits (n_members, n, n_logits); NaN without them."""
        complete = np.all([rows.present for rows in prepared.values()], axis=0)
        outputs = {}
        for m, rows in prepared.items():
            networks = [teacher.network(m) for teacher in self.teachers]
            sensor = replace(self.sensors[m], networks=networks)
            some = rows.take(complete[rows.present])
            outputs[m] = sensor.run(some, ("specific", "shared"))
        logits = []
        for i, teacher in enumerate(self.teachers):
            device = next(teacher.parameters()).device
            specific, shared = (
                {
                    m: getattr(output, kind)[i].to(device)
                    for m, output in outputs.items()
                }
                for kind in ("specific", "shared")
            )
            with torch.inference_mode():
                logits.append(teacher.teach(specific, shared).cpu())
        return spread(torch.stack(logits), complete)

    # -- held-out rows ---------------------------------------------------------------

    def held_out_answers(self, names: Names) -> Array:
        """Return answers (n, n_answers), calibrated on rows of the other members.

        NaN in rows that lack a sensor.
        """
        assert self.held_out is not None
        crossed = map(self.held_out.crossed, self.parts(names))
        return _average([self.target.answers(torch.from_numpy(z)) for z in crossed])

    def subsets(self, present: Mapping[str, Array]) -> list[Names]:
        """Return the subsets of sensors that rows have, or all if sensors are few."""
        every = tuple(self.sensors)
        if len(every) <= MANY_SENSORS:
            sizes = range(1, len(every) + 1)
            return [names for size in sizes for names in combinations(every, size)]
        found = {names for names, _ in patterns(present)}
        return sorted(
            {*found, *((m,) for m in every), every}, key=lambda s: (len(s), s)
        )


def patterns(present: Mapping[str, Array]) -> Iterator[tuple[Names, Any]]:
    """Iterate over combinations of sensors and their rows, from a mask per sensor."""
    has = np.stack(list(present.values()), axis=1)
    if has.all():
        yield tuple(present), slice(None)
        return
    kinds, which = np.unique(has, axis=0, return_inverse=True)
    for number, kind in enumerate(kinds):
        names = tuple(m for m, there in zip(present, kind, strict=True) if there)
        yield names, np.flatnonzero(which.ravel() == number)


def _average(answers: Sequence[Array]) -> Array:
    # A mean would copy a single array.
    return answers[0] if len(answers) == 1 else np.mean(answers, axis=0)


def spread(values: torch.Tensor, present: Array) -> Array:
    """Scatter values (n_members, n_present, ...) to present rows; NaN elsewhere."""
    if present.all():
        return values.numpy()
    shape = (len(values), len(present), *values.shape[2:])
    placed = np.full(shape, np.nan, dtype=np.float32)
    placed[:, present] = values.numpy()
    return placed
