"""Training of one member; the only module that uses skorch."""

from __future__ import annotations

import copy
import inspect
import json
import math
import re
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter, methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import BatchScoring, Callback, EarlyStopping, EpochScoring
from threadpoolctl import threadpool_limits
from torch import Tensor
from tqdm.auto import tqdm

from sklearn_colearn._compat import foreach_copy_, foreach_lerp_
from sklearn_colearn.batches import (
    BatchIterator,
    PairedBatches,
    Pairs,
    StepDropout,
    TensorRows,
    each,
)
from sklearn_colearn.files import read_tensors, write_tensors
from sklearn_colearn.inputs import Array
from sklearn_colearn.lessons import Lesson
from sklearn_colearn.losses import TASK_LOSSES, CoLearnLoss
from sklearn_colearn.network import TEACHER, CoLearnNetwork, NetworkOutput
from sklearn_colearn.processes import average, check_same, from_first, rank, several
from sklearn_colearn.sensor import Scaler

__all__ = [
    "CoLearnNet",
    "Teaching",
    "Trained",
    "TrainingInterrupted",
    "follow",
    "make_net",
    "one_thread",
    "resolve_device",
    "train_member",
]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


#: Training stops after PATIENCE epochs in which no sensor's held-out loss has fallen by
#: the share GAIN.
PATIENCE, GAIN = 8, 1e-3
#: Minimum steps of an epoch with pairs, and its patience.
STEPS, PATIENCE_WITH_PAIRS = 20, 10
#: Prior of the relative fall of a sensor's loss by pairs: mean and standard deviation.
#: It matters where held-out rows are few.
EXPECTED, SPREAD = 0.05, 0.025
#: A rise by this many standard errors rejects the pairs, whatever the prior.
CLEAR = 2.0
#: Batch size of held-out rows.
HELD_OUT_AT_ONCE = 1024


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


#: Learning-rate schedules, from the completed share of training to a share of `lr`.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": _cosine}


def _float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def lr_scales(module: torch.nn.Module) -> dict[torch.nn.Parameter, float]:
    """Return the parameters with their own learning rate, as a share of `lr`.

    The share is the attribute ``lr_scale`` of the innermost submodule that has one.
    """
    scales = {}
    for part in module.modules():  # outer ones first
        scale: Any = getattr(part, "lr_scale", None)
        if scale is not None:
            scales.update(dict.fromkeys(part.parameters(), float(scale)))
    return scales


class TrainingInterrupted(ConvergenceWarning):  # type: ignore[misc]
    """Warning that Ctrl-C ended training."""


class CoLearnNet(NeuralNet):  # type: ignore[misc]
    """skorch net that trains on whole batches of several modalities.

    It logs every loss term. Ctrl-C ends training with a warning.
    """

    step_dropout: StepDropout | None = None
    #: Training batches with pairs, which replace those of `get_iterator`.
    paired: PairedBatches | None = None
    #: Whether Ctrl-C ended training.
    interrupted = False
    #: Sums of the terms over the rows of an epoch, number of rows, names of the terms.
    sums: Tensor
    n_rows: int
    logged: tuple[str, ...]

    def __init__(self, *args: Any, precision: str = "float32", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.precision = precision

    def get_iterator(self, dataset: TensorRows, training: bool = False) -> Any:
        """Return whole batches, shuffled for training."""
        if training and self.paired is not None:
            return self.paired
        return BatchIterator(dataset, self.batch_size, self.device, shuffle=training)

    def get_params_for_optimizer(
        self, prefix: str, named_parameters: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Add a parameter group per ``lr_scale``."""
        args, kwargs = super().get_params_for_optimizer(prefix, named_parameters)
        scales = lr_scales(self.module_)
        groups = []
        for group in args[0] if scales else ():
            for scale in (1.0, *sorted({*scales.values()} - {1.0})):
                own = [p for p in group["params"] if scales.get(p, 1.0) == scale]
                more = {"lr": self.lr * scale, "lr_scale": scale}
                groups.append({**group, "params": own, **more})
        return ((groups,) if scales else args), kwargs

    def infer(self, x: Mapping[str, Any], **fit_params: Any) -> NetworkOutput:
        """Run the network on a batch; drop time steps in training."""
        if self.step_dropout is not None and self.module_.training:
            x = self.step_dropout.drop(x)
        mixed, kind = self.precision == "bf16", torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=mixed):
            output = self.module_(x["inputs"], x.get("present"), x.get("steps"))
        if mixed:
            output = NetworkOutput(*(each(part, _float32) for part in output))
        return output

    def get_loss(
        self,
        y_pred: NetworkOutput,
        y_true: Tensor,
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """Return the weighted sum of the terms, and add the terms to `sums`."""
        weight, labelled = X.get("sample_weight"), X.get("labelled")
        lesson = X.get("lesson")
        terms = self.criterion_.terms(y_pred, y_true, weight, labelled, lesson)
        loss: Tensor = self.criterion_.total(terms)
        self.logged = (*terms, "loss")
        values = torch.stack([term.detach() for term in (*terms.values(), loss)])
        self.sums = self.sums + len(y_true) * values
        self.n_rows += len(y_true)
        return loss

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the loss of a batch and its gradients, in training mode."""
        if not self.module_.training:  # a user's callback may have called eval()
            self.module_.train()
        X, y = batch
        y_pred = self.infer(X, **fit_params)
        loss = self.get_loss(y_pred, y, X=X, training=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss, "y_pred": y_pred}

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **kwargs: Any
    ) -> None:
        """Run an epoch and record its mean terms, reading the device once."""
        if iterator is None:
            return
        self.sums, self.n_rows = torch.zeros((), device=self.device), 0
        self.module_.train(training)
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **kwargs)
            self.notify("on_batch_end", batch=batch, training=training, **step)
        if self.n_rows:
            means = (self.sums / self.n_rows).tolist()
            for name, value in zip(self.logged, means, strict=True):
                self.history.record(f"{prefix}_{name}", value)

    def fit_loop(self, X: Any, y: Any = None, epochs: Any = None, **kwargs: Any) -> Any:
        """Train; on Ctrl-C keep the weights and warn."""
        try:
            return super().fit_loop(X, y, epochs, **kwargs)
        except KeyboardInterrupt:
            if not self._stopped():
                self.interrupted = True
                n_complete = sum("train_loss" in epoch for epoch in self.history)
                message = (
                    f"Training was interrupted after {n_complete} of {self.max_epochs} "
                    "epochs. The estimator keeps the weights learned so far."
                )
                warnings.warn(message, TrainingInterrupted, stacklevel=2)
            raise  # skorch catches it and ends training

    def _stopped(self) -> bool:
        # skorch and `_BestEpochs` raise KeyboardInterrupt to stop early.
        return any(
            getattr(callback, "stopped_", False)
            or (
                isinstance(callback, EarlyStopping)
                and getattr(callback, "misses_", None) == callback.patience
            )
            for _, callback in self.callbacks_
        )


class _Terms(Callback):  # type: ignore[misc]
    """Log the learning rate; raise if a term is not finite."""

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        for name in net.logged:
            value = net.history[-1][f"train_{name}"]
            if not math.isfinite(value):
                _diverged(net, f"the train_{name} term became {value}")
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])

    def on_train_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        for name, weights in net.module_.state_dict().items():
            if not torch.isfinite(weights).all():
                _diverged(net, f"the weights {name} became infinite or NaN")


def _diverged(net: CoLearnNet, what: str) -> None:
    raise ValueError(
        f"Training diverged in epoch {len(net.history)}: {what}. Use a smaller lr (now "
        f"{net.lr}) or a larger temperature. Very large target or input values without "
        "standardize=True can also cause this."
    )


class _Best(NamedTuple):
    """State of a sensor or the teacher at its lowest held-out loss."""

    loss: float
    #: Weights of the sensor's network, or of the whole network for the teacher.
    weights: dict[str, Tensor]
    #: (n_held_out, n_logits), float32, NaN in rows that lack the sensor.
    logits: Array


class _BestEpochs(Callback):  # type: ignore[misc]
    """Keep the weights of each sensor and the teacher at its lowest held-out loss.

    Training stops once no loss has fallen by the share GAIN for `patience` epochs.
    """

    def __init__(self, rows: TensorRows, patience: int) -> None:
        self.rows, self.patience = rows, patience

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.best_: dict[str, _Best] = {}
        self.stopped_ = False
        self.epoch_ = self.latest_ = 0
        self.before_: dict[str, float] = {}

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.epoch_ += 1
        for name, logits in self._logits(net).items():
            loss = self._loss(net, logits)
            if loss is None:
                continue
            net.history.record(f"held_out_{name}", loss)
            if not loss >= (self.best_[name].loss if name in self.best_ else math.inf):
                module = net.module_
                part = module if name == TEACHER else module.network(name)
                weights = {k: w.clone() for k, w in part.state_dict().items()}
                self.best_[name] = _Best(loss, weights, logits.numpy())
            if not loss >= self.before_.get(name, math.inf) * (1 - GAIN):
                self.before_[name], self.latest_ = loss, self.epoch_
        if self.epoch_ - self.latest_ >= self.patience:
            self.stopped_ = True
            raise KeyboardInterrupt  # skorch catches it and ends training

    def _logits(self, net: CoLearnNet) -> dict[str, Tensor]:
        """Return the logits of each sensor and the teacher for the held-out rows."""
        net.module_.eval()
        parts: dict[str, list[Tensor]] = {}
        with torch.inference_mode():
            for X, _ in BatchIterator(self.rows, HELD_OUT_AT_ONCE, net.device):
                present = X.get("present")
                output = net.module_(X["inputs"], present, X.get("steps"))
                found = dict(output.predictions)
                if output.teacher is not None:
                    found[TEACHER] = output.teacher
                for name, logits in found.items():
                    if present is not None:
                        lacking = ~_present(present, name)
                        logits = logits.masked_fill(lacking[:, None], math.nan)
                    parts.setdefault(name, []).append(logits.cpu())
        return {name: torch.cat(logits) for name, logits in parts.items()}

    def _loss(self, net: CoLearnNet, logits: Tensor) -> float | None:
        """Return the mean task loss of rows with logits; None without such rows."""
        given = logits, self.rows.target, self.rows.sample_weight
        losses, weights = _row_losses(*given, net.criterion_.task)
        if not len(losses):
            return None
        return float(from_first(np.average(losses, weights=weights)))


def _row_losses(
    logits: Tensor, target: Tensor, weight: Tensor | None, task: str
) -> tuple[Array, Array]:
    """Return losses and weights (n,) of the rows with logits and positive weight."""
    if weight is None:
        weight = torch.ones(len(logits))
    there = ~logits[:, 0].isnan() & (weight > 0)
    losses = TASK_LOSSES[task](logits[there], target[there])
    return losses.numpy(), weight[there].numpy()


def _present(present: Mapping[str, Tensor], name: str) -> Tensor:
    """Return which rows have a sensor, or all sensors for the teacher."""
    if name != TEACHER:
        return present[name]
    return torch.stack(list(present.values())).all(dim=0)


class _WeightAverage(Callback):  # type: ignore[misc]
    """Average the weights over the latest part of training.

    In polynomial-decay averaging [1]_ the mean age of the average after t steps is
    about ``share * t``. The network holds it in validation and after training.

    References
    ----------
    .. [1] Shamir, Zhang, "Stochastic gradient descent for non-smooth optimization:
       convergence results and optimal averaging schemes", ICML 2013, arXiv:1212.1824.
    """

    #: Whether to keep the average in a network that can run during training.
    as_network = False

    def __init__(self, share: float) -> None:
        self.share = share

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        # Includes the running statistics of batch normalisation.
        self.live_ = _floats(net.module_)
        if self.as_network:
            self.network_ = copy.deepcopy(net.module_).eval().requires_grad_(False)
            self.other_ = _floats(self.network_)
        else:  # makes a small fit a tenth faster
            self.other_ = [t.clone() for t in self.live_]
        self.averaged_ = False
        self.step_ = 0

    def on_batch_begin(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        self.show(average=not training)

    def on_batch_end(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        if training:
            self.step_ += 1
            power = 1 / self.share - 2
            foreach_lerp_(self.other_, self.live_, (power + 1) / (self.step_ + power))

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.show(average=True)

    def on_train_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.show(average=True)
        del self.live_, self.other_
        if self.as_network:
            del self.network_

    def show(self, average: bool) -> None:
        """Swap the averaged or the current weights into the network."""
        if average != self.averaged_ and self.step_ > 0:
            live = [tensor.clone() for tensor in self.live_]
            foreach_copy_(self.live_, self.other_)
            foreach_copy_(self.other_, live)
            self.averaged_ = average


def _floats(module: torch.nn.Module) -> list[Tensor]:
    return [t for t in module.state_dict().values() if t.is_floating_point()]


class _Lessons(Callback):  # type: ignore[misc]
    """Set the soft targets of the unlabelled rows of each batch, ``X["lesson"]``.

    They are predictions of the averaged network [1]_ without dropout: of its teacher
    where a row has all sensors, otherwise the mean over its sensors. Predictions of a
    second teacher are mixed in with the share `other`.

    References
    ----------
    .. [1] Tarvainen, Valpola, "Mean teachers are better role models", NeurIPS 2017,
       arXiv:1703.01780.
    """

    def __init__(self, other: float, average: _WeightAverage | None) -> None:
        self.other, self.average = other, average

    def on_batch_begin(
        self, net: CoLearnNet, batch: Any = None, training: bool = True, **kwargs: Any
    ) -> None:
        if not training:
            return
        X, _ = batch
        taught = ~X["labelled"]
        if X.get("present") is not None:
            taught &= torch.stack(list(X["present"].values())).sum(dim=0) > 1
        rows = taught.nonzero().squeeze(1)
        some = each(X, itemgetter(rows))
        said = self._predict(net, some)
        given = some.get("lesson")
        if given is not None:
            mixed = torch.lerp(said, given, self.other)
            said = torch.where(given.isnan(), said, mixed)
        lesson = said.new_full((len(taught), said.shape[1]), math.nan)
        X["lesson"] = lesson.index_copy(0, rows, said)

    def _predict(self, net: CoLearnNet, X: Mapping[str, Any]) -> Tensor:
        """Return predictions (n, n_outputs) of the averaged network."""
        network = net.module_ if self.average is None else self.average.network_
        answers, present = ANSWERS[net.criterion_.task], X.get("present")
        training = network.training
        if training:
            network.eval()
        with torch.no_grad():
            output = network(X["inputs"], present, X.get("steps"))
            said = answers(output.teacher)
            if present is not None:
                whole = _present(present, TEACHER)
                if not whole.all():
                    there = torch.stack([*present.values()])[..., None]
                    each_one = torch.stack(
                        [answers(output.predictions[m]) for m in present]
                    )
                    mean = (each_one * there).sum(dim=0) / there.sum(dim=0)
                    said = torch.where(whole[:, None], said, mean)
        if training:
            network.train()
        return said


#: Functions from logits to soft targets, by task.
ANSWERS: dict[str, Callable[[Tensor], Tensor]] = {
    "cross_entropy": methodcaller("softmax", dim=1),
    "binary_cross_entropy": torch.sigmoid,
    "squared_error": lambda logits: logits,
}


class _Processes(Callback):  # type: ignore[misc]
    """Synchronise the networks of several processes that draw different batches.

    Gradients are averaged before each step, and the statistics of batch normalisation
    after each epoch. `fingerprint` (n,) identifies the rows.
    """

    def __init__(self, fingerprint: Tensor) -> None:
        self.fingerprint = fingerprint

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        check_same(self.fingerprint.to(net.device))
        average(_floats(net.module_))

    def on_grad_computed(self, net: CoLearnNet, **kwargs: Any) -> None:
        own = [p for p in net.module_.parameters() if p.requires_grad]
        for p in own:
            if p.grad is None:  # the sensor is missing in the whole batch
                p.grad = torch.zeros_like(p)
        average([p.grad for p in own if p.grad is not None])

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        average(_floats(net.module_))


class _LearningRate(Callback):  # type: ignore[misc]
    """Set the learning rate before each batch by the schedule."""

    def __init__(self, schedule: Callable[[float], float]) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: CoLearnNet, X: Any = None, **kwargs: Any) -> None:
        self.step_ = 0
        self.n_steps_ = net.max_epochs * len(net.get_iterator(X, training=True))

    def on_batch_begin(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        if training:
            lr = net.lr * self.schedule(self.step_ / self.n_steps_)
            for group in net.optimizer_.param_groups:
                group["lr"] = lr * group.get("lr_scale", 1.0)
            self.step_ += 1


class _Checkpoint(Callback):  # type: ignore[misc]
    """Save training with pairs to a file after each epoch, and resume from it.

    A resumed training draws other random numbers than an uninterrupted one.
    """

    def __init__(
        self,
        path: Path,
        paired: PairedBatches,
        scalers: Mapping[str, Scaler],
        seed: int,
    ) -> None:
        self.path, self.paired, self.seed = path, paired, seed
        self.scalers = {
            f"scaler.{i}.{name}": torch.from_numpy(getattr(scaler, name))
            for i, scaler in enumerate(scalers.values())
            for name in ("shift", "scale")
        }

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.total_, self.done_ = self.paired.n_left, 0
        if self.path.exists():
            self._load(net)

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.done_ = self.total_ - self.paired.n_left
        if rank() > 0:
            return
        average = dict(net.callbacks_).get("weight_average")
        tensors = dict(self.scalers)
        if average is not None:
            average.show(average=False)
            tensors |= _with_prefix("average", average.network_.state_dict())
        tensors |= _with_prefix("module", net.module_.state_dict())
        for i, state in net.optimizer_.state_dict()["state"].items():
            state = {k: torch.as_tensor(v) for k, v in state.items() if v is not None}
            tensors |= _with_prefix(f"optimizer.{i}", state)
        history = history_frame(net).to_dict("list")
        text = json.dumps({"done": self.done_, "history": history})
        write_tensors(self.path, tensors, text)
        if average is not None:
            average.show(average=True)

    def _load(self, net: CoLearnNet) -> None:
        tensors, text = read_tensors(self.path)
        callbacks = dict(net.callbacks_)
        average = callbacks.get("weight_average")
        try:
            told = json.loads(text)
            self.done_ = int(told["done"])
            rows = pd.DataFrame(told["history"]).to_dict("records")
            same = all(
                torch.allclose(tensors[name], own, rtol=1e-4)
                for name, own in self.scalers.items()
            )
            net.module_.load_state_dict(_without_prefix("module", tensors))
            if average is not None:
                average.network_.load_state_dict(_without_prefix("average", tensors))
            state = net.optimizer_.state_dict()
            for i in chain(*(group["params"] for group in state["param_groups"])):
                state["state"][i] = _without_prefix(f"optimizer.{i}", tensors)
            net.optimizer_.load_state_dict(state)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another network or training "
                f"run ({str(error).splitlines()[0]}). Set the parameters that it was "
                "made with, or use another path."
            ) from error
        if not same:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another X: its bands have "
                "other means or scales. Use another path."
            )
        for row in rows:
            net.history.new_epoch()
            for name, value in row.items():
                net.history.record(name, value)
        if average is not None:
            average.step_ = self.done_
        schedule = callbacks.get("learning_rate")
        if schedule is not None:
            schedule.step_, schedule.n_steps_ = self.done_, self.total_
        self.paired.skip(self.done_, self.seed)
        net.max_epochs = math.ceil(self.paired.n_left / len(self.paired))
        torch.default_generator.manual_seed(self.seed + self.done_)


def _with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): t for k, t in tensors.items() if k.startswith(start)}


class _ProgressBar(Callback):  # type: ignore[misc]
    """Show a progress bar over the epochs with the latest main loss."""

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", desc="co-learning")

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        latest = net.history[-1]
        if "train_main" in latest:
            self.bar_.set_postfix(train_main=f"{latest['train_main']:.3g}")
        self.bar_.update()

    def on_train_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


def make_net(
    network: Mapping[str, Any],
    loss: Mapping[str, Any],
    *,
    optimizer: str | type[torch.optim.Optimizer],
    lr: float,
    weight_decay: float,
    lr_schedule: str | Callable[[float], float],
    weight_averaging: float,
    max_epochs: int,
    batch_size: int,
    callbacks: Iterable[Any] | None,
    device: str,
    precision: str,
    verbose: int,
) -> CoLearnNet:
    """Make the skorch net and draw its weights from torch's generator.

    `network` and `loss` hold arguments of :class:`CoLearnNetwork` and
    :class:`CoLearnLoss`; the other parameters are those of the estimators.
    """
    for callback in callbacks or ():
        callback = callback[-1] if isinstance(callback, tuple | list) else callback
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise TypeError(
                "callbacks= must contain skorch callbacks or (name, callback) pairs; "
                f"got {callback!r}."
            )
        if issubclass(kind, EpochScoring | BatchScoring):
            raise ValueError(
                f"callbacks= contains {kind.__name__}, which cannot score a network "
                "with several outputs. See history_ for the loss terms, or score the "
                "fitted estimator with scikit-learn."
            )
    every: list[Any] = [("terms", _Terms())]
    if weight_averaging:  # first, so that other callbacks see the average
        every.insert(0, ("weight_average", _WeightAverage(weight_averaging)))
    if lr_schedule != "constant":  # "constant" leaves lr to a user's LRScheduler
        if isinstance(lr_schedule, str):
            lr_schedule = LR_SCHEDULES[lr_schedule]
        every.append(("learning_rate", _LearningRate(lr_schedule)))
    if verbose == 1:
        every.append(("progress_bar", _ProgressBar()))
    optimizer_class = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    options: dict[str, Any] = {"weight_decay": weight_decay}
    knows = inspect.signature(optimizer_class).parameters
    if not weight_decay and "weight_decay" not in knows:
        del options["weight_decay"]  # LBFGS and Rprop have none; AdamW's default is .01
    if optimizer in ("adam", "adamw") and torch.device(device).type in ("cpu", "cuda"):
        options["fused"] = True  # saves a tenth of a step on a CPU
    if optimizer == "sgd":
        options["momentum"] = 0.9
    net = CoLearnNet(
        CoLearnNetwork,
        CoLearnLoss,
        optimizer=optimizer_class,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=None,
        callbacks__train_loss=None,
        callbacks__valid_loss=None,
        callbacks=[*every, *(callbacks or ())],
        device=device,
        precision=precision,
        verbose=int(verbose > 1),
        **{f"module__{key}": value for key, value in network.items()},
        **{f"criterion__{key}": value for key, value in loss.items()},
        **{f"optimizer__{key}": value for key, value in options.items()},
    )
    return net.initialize()


@dataclass(eq=False)
class Trained:
    """A trained member and its predictions for held-out rows."""

    net: CoLearnNet
    #: The network at the teacher's best epoch; None without a teacher or held-out rows.
    teacher: CoLearnNetwork | None
    #: (n_held_out, n_logits), by sensor and for the teacher; only with held-out rows.
    logits: dict[str, Array]
    history: pd.DataFrame
    #: Numbers of the rows of `logits`.
    held_out: Array
    #: (n_held_out,), which rows served as pairs.
    shown: Array


@dataclass(frozen=True, eq=False)
class Teaching:
    """Unlabelled pairs of a training, and how to use them."""

    pairs: Pairs
    #: Pairs per step, and total number of steps.
    batch_size: int
    n_steps: int
    #: Second teacher, and its share of the soft targets, in [0, 1].
    answer: Lesson | None = None
    share: float = 0.0
    #: Steps per epoch of a training without labelled rows.
    alone: int | None = None
    #: File that the training state is saved to after each epoch.
    checkpoint: Path | None = None


def train_member(
    settings: Mapping[str, Any],
    rows: TensorRows,
    training: Array,
    held_out: Array,
    *,
    seed: int,
    drop_steps: float = 0.0,
    blank: Mapping[str, Tensor] | None = None,
    start: Mapping[str, Tensor] | None = None,
    heads: bool = True,
    alone: bool = False,
    teaching: Teaching | None = None,
) -> Trained:
    """Train a member and keep the best epoch of each sensor on held-out rows.

    `settings` are arguments of :func:`make_net`; `training` and `held_out` row numbers.
    Without held-out rows the network keeps its last weights. `start` holds initial
    weights, with the prediction heads if `heads`. A member that trains `alone` may use
    all threads. The number of steps of `teaching` replaces ``max_epochs``.
    """
    own = rows.take(training)
    if teaching is not None:
        batches = BatchIterator(own, settings["batch_size"], "cpu", shuffle=True)
        per_epoch = teaching.alone or max(len(batches), STEPS)
        n_epochs = math.ceil(teaching.n_steps / per_epoch)
        settings = {**settings, "max_epochs": n_epochs}
    threads = nullcontext() if alone else one_thread()
    with threads, seeded(seed, settings["device"]):
        net = make_net(**settings)
        if start is not None:
            _continue_from(net, start, heads)
        if drop_steps and blank:
            masked = tuple(m for m in blank if "mask" in net.module_.network(m).takes)
            net.step_dropout = StepDropout(drop_steps, dict(blank), masked)
        patience = PATIENCE if teaching is None else PATIENCE_WITH_PAIRS
        watched = rows.take(held_out).with_steps_for(net.module_)
        watch = [_BestEpochs(watched, patience)] if len(held_out) else []
        shown = np.zeros(len(held_out), dtype=bool)
        if teaching is not None:
            shown[_half(watched, seed)] = True
        callbacks, net.callbacks_ = net.callbacks_, list(net.callbacks_)
        if several():
            fingerprint = _fingerprint(
                own, None if teaching is None else teaching.pairs
            )
            net.callbacks_.append(("processes", _Processes(fingerprint)))
            # All processes start from the same weights and draw different batches.
            seed += rank()
            seed_all(seed, settings["device"])
        net.callbacks_ += [("best_epochs", callback) for callback in watch]
        if teaching is not None:
            average = dict(callbacks).get("weight_average")
            if average is not None:
                average.as_network = True
            teaches = net.module_.teacher_head is not None
            if teaches and settings["loss"]["distillation_weight"]:
                lessons = _Lessons(teaching.share, average)
                net.callbacks_.append(("lessons", lessons))
            net.paired = PairedBatches(
                None if teaching.alone else batches,
                teaching.pairs,
                n_pairs=teaching.batch_size,
                n_steps=teaching.n_steps,
                n_epochs=n_epochs,
                answer=teaching.answer,
                network=net.module_,
                device=settings["device"],
                seed=seed,
                # Held-out rows that are pairs show what pairs bring to their places.
                more=rows.take(held_out[shown]).unlabelled() if shown.any() else None,
            )
            if teaching.checkpoint is not None:
                scalers = teaching.pairs.scalers
                given = teaching.checkpoint, net.paired, scalers, seed
                kept = _Checkpoint(*given)
                net.callbacks_.append(("checkpoint", kept))
        try:
            net.partial_fit(own.with_steps_for(net.module_))
        finally:
            net.callbacks_ = callbacks  # drops those that hold rows
            net.step_dropout = net.paired = None
            net.module_.eval()
    best = watch[0].best_ if watch else {}
    teacher = None
    if watch and net.module_.teacher_head is not None:
        teacher = copy.deepcopy(net.module_)  # kept if no held-out row has all sensors
    if TEACHER in best:
        assert teacher is not None
        teacher.load_state_dict(best[TEACHER].weights)
        # Sensors without held-out rows keep the weights of the teacher's best epoch.
        net.module_.load_state_dict(best[TEACHER].weights)
    for name, found in best.items():
        if name != TEACHER:
            net.module_.network(name).load_state_dict(found.weights)
    logits = {name: found.logits for name, found in best.items()}
    return Trained(net, teacher, logits, history_frame(net), held_out, shown)


def _half(rows: TensorRows, seed: int) -> Array:
    """Draw half of the rows with at least two sensors, in equal shares of classes."""
    paired = rows.paired()
    order = np.random.default_rng(seed).permutation(len(paired))
    if rows.target.ndim == 1:
        order = order[np.argsort(rows.target.numpy()[paired[order]], kind="stable")]
    return paired[order[1::2]]


def _fingerprint(rows: TensorRows, pairs: Pairs | None) -> Tensor:
    """Return numbers (n,) that identify rows and pairs."""
    numbers = [float(len(rows)), float(rows.target.sum())]
    numbers += [float(x.sum()) for x in rows.inputs.values()]
    for scaler in () if pairs is None else pairs.scalers.values():
        numbers += [float(scaler.shift.sum()), float(scaler.scale.sum())]
    return torch.tensor(numbers)


def follow(
    first: Sequence[Trained],
    second: Sequence[Trained],
    rows: TensorRows,
    task: str,
) -> tuple[list[Trained], pd.DataFrame]:
    """Choose for each sensor and the teacher between training without and with pairs.

    The choice rests on the held-out losses of all members and a prior (`EXPECTED`).
    Return `second`, the members with pairs, but with the sensors and teachers of
    `first` that are better, and a table by sensor and for the teacher: held-out loss
    ``before`` and ``after``, ``standard_error`` of the difference, and whether the
    second ``follows``.
    """
    losses = {}
    answering = {name for one in second for name in one.logits}
    for name in [m for m in (*rows.inputs, TEACHER) if m in answering]:
        parts = [_held_out_losses(name, each, rows, task) for each in (first, second)]
        weight = parts[0][1]
        before, after = (np.average(part, weights=weight) for part, _ in parts)
        difference = parts[1][0] - parts[0][0]
        spread = np.average((difference - (after - before)) ** 2, weights=weight)
        error = math.sqrt(spread * (weight**2).sum()) / weight.sum()
        rise = (after - before) * before
        likely = EXPECTED * (error / SPREAD) ** 2
        follows = bool(rise <= min(likely, CLEAR * error * before))
        losses[name] = {
            "before": before,
            "after": after,
            "standard_error": error,
            "follows": follows,
        }
        if follows:
            continue
        for old, new in zip(first, second, strict=True):
            if name in old.logits:
                new.logits[name] = old.logits[name]
            if name == TEACHER:
                new.teacher = old.teacher
            else:
                weights = old.net.module_.network(name).state_dict()
                new.net.module_.network(name).load_state_dict(weights)
    none_follows = not any(row["follows"] for row in losses.values())
    for old, new in zip(first, second, strict=True):
        both = old.history.assign(pairs=False), new.history.assign(pairs=True)
        new.history = pd.concat(both, ignore_index=True)
        new.history["epoch"] = np.arange(1, len(new.history) + 1)
        if none_follows:
            new.shown = old.shown
    return list(second), pd.DataFrame.from_dict(losses, orient="index")


def _held_out_losses(
    name: str, trained: Sequence[Trained], rows: TensorRows, task: str
) -> tuple[Array, Array]:
    """Return the losses and weights of all held-out rows that have a sensor."""
    parts = []
    for one in trained:
        if name in one.logits:
            own, logits = map(torch.from_numpy, (one.held_out, one.logits[name]))
            weight = None if rows.sample_weight is None else rows.sample_weight[own]
            parts.append(_row_losses(logits, rows.target[own], weight, task))
    losses, weights = map(np.concatenate, zip(*parts, strict=True))
    return losses.astype(np.float64), weights.astype(np.float64)


def _continue_from(net: CoLearnNet, state: Mapping[str, Tensor], heads: bool) -> None:
    """Load the weights of an earlier net, with its prediction heads if `heads`.

    Without labels, the earlier net has not trained its heads.
    """
    if not heads:
        own = net.module_.state_dict()
        predicts = re.compile(r"auxiliary_head|teacher_head|networks\.\d+\.head")
        state = {k: w for k, w in state.items() if not predicts.match(k)}
        state |= {k: w for k, w in own.items() if predicts.match(k)}
    try:
        net.module_.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            "With warm_start=True, encoder, encoder_params, share_encoder and "
            "embedding_dim must be the same as in the previous fit, and "
            "distillation_weight must stay zero or stay positive."
        ) from error


def history_frame(net: CoLearnNet) -> pd.DataFrame:
    """Return a row per complete epoch and a column per logged value."""
    rows = [
        {k: v for k, v in epoch.items() if k != "batches" and not k.endswith("_best")}
        for epoch in net.history
        if "train_loss" in epoch
    ]
    return pd.DataFrame(rows, columns=None if rows else ["epoch"])


def resolve_device(device: str) -> str:
    """Resolve ``"auto"`` to CUDA, MPS or the CPU; check any other device."""
    if device == "auto":
        fallback = "mps" if torch.backends.mps.is_available() else "cpu"
        return "cuda" if torch.cuda.is_available() else fallback
    try:
        torch.zeros(1, device=device)
    # torch raises AssertionError if it was built without CUDA.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(
            f"device={device!r} is not available: {reason}. Use 'auto' or 'cpu'."
        ) from error
    return device


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit torch to one thread inside the block, for the calling thread only.

    Small layers hardly gain from more, and results then do not depend on their number.
    """
    # The first call in a new thread resets its limit, so it must come before.
    torch.get_num_threads()
    # Unlike torch.set_num_threads, this affects only the calling thread.
    with threadpool_limits(1, user_api="openmp"):
        yield


#: torch's generators are global to the process, so fits in several threads take turns.
_generators = threading.RLock()


def seed_all(seed: int, device: str) -> None:
    """Seed the generators that training on a device draws from."""
    torch.default_generator.manual_seed(seed)
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif kind == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch inside the block and leave its generators as they were."""
    # torch.manual_seed would seed every device, and fork_rng does not support MPS.
    kind = torch.device(device).type
    cuda = list(range(torch.cuda.device_count())) if kind == "cuda" else []
    with _generators, torch.random.fork_rng(devices=cuda):
        mps_state = torch.mps.get_rng_state() if kind == "mps" else None
        seed_all(seed, device)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
