"""Training: the only file that knows skorch."""

from __future__ import annotations

import inspect
import math
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from skorch.callbacks import BatchScoring, Callback, EarlyStopping, EpochScoring
from skorch.helper import predefined_split
from torch import Tensor
from tqdm.auto import tqdm

from sklearn_colearn.losses import CoLearnLoss
from sklearn_colearn.network import CoLearnNetwork, NetworkOutput

__all__ = [
    "CoLearnNet",
    "Gaps",
    "TensorRows",
    "make_net",
    "resolve_device",
    "seeded",
    "train",
]

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


#: Learning-rate schedules: the share of training done gives the share of `lr`.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {"cosine": _cosine}


#: Least share of labelled rows in a training batch. Where they are fewer, they are
#: drawn several times in an epoch. 0 keeps the share that the data have.
LABELLED_SHARE = 0.0


@dataclass(frozen=True)
class TensorRows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Standardised modalities and targets of the same rows, sliced a batch at a time.

    Attributes
    ----------
    inputs : dict of str to Tensor of shape (n, ...)
        The modalities, float32, without NaN.
    target : Tensor of shape (n,) or (n, n_outputs)
        Class numbers, label indicators, or standardised values; anything finite where
        a row has no label.
    present : dict of str to bool Tensor of shape (n,), or None
        Which rows have the modality; None if all have all.
    sample_weight : Tensor of shape (n,), or None
        Weights in all terms but the contrastive and the discriminative one.
    labelled : bool Tensor of shape (n,), or None
        Which rows have a label; None if all have one.
    steps : dict of str to dict of {'times', 'mask'} to Tensor of shape (n, T), or None
        By modality, what its encoders take beside the values.
    """

    inputs: dict[str, Tensor]
    target: Tensor
    present: dict[str, Tensor] | None = None
    sample_weight: Tensor | None = None
    labelled: Tensor | None = None
    steps: dict[str, dict[str, Tensor]] | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Any) -> tuple[dict[str, Any], Tensor]:
        """Return ``(X, y)`` of some rows, as skorch's steps want them."""
        X: dict[str, Any] = {"inputs": {m: x[rows] for m, x in self.inputs.items()}}
        if self.present is not None:
            X["present"] = {m: here[rows] for m, here in self.present.items()}
        if self.sample_weight is not None:
            X["sample_weight"] = self.sample_weight[rows]
        if self.labelled is not None:
            X["labelled"] = self.labelled[rows]
        if self.steps:
            X["steps"] = {
                m: {name: t[rows] for name, t in own.items()}
                for m, own in self.steps.items()
            }
        return X, self.target[rows]


class BatchIterator:
    """Iterates over whole batches of :class:`TensorRows`, on the device of choice.

    A DataLoader collates row by row, which costs more than the network does here. The
    batches of an epoch differ by one row at most, so that none is a small remainder.

    For training, labelled and other rows are spread over the batches each by
    themselves, so that every batch has its share of both. Where there are fewer
    labelled rows than batches, they repeat, and a batch may have one row more than
    asked for. Each other row is seen once in an epoch.
    """

    def __init__(
        self, dataset: TensorRows, batch_size: int, device: str, shuffle: bool = False
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.device = device
        self.shuffle = shuffle

        rows = torch.arange(len(dataset))
        labelled = dataset.labelled
        if labelled is None or labelled.all() or not labelled.any() or not shuffle:
            labelled = torch.ones(len(dataset), dtype=torch.bool)
        self.labelled, self.others = rows[labelled], rows[~labelled]

    def __len__(self) -> int:
        return math.ceil((self._least_draws() + len(self.others)) / self.batch_size)

    def _least_draws(self) -> int:
        """Return how many labelled rows an epoch has, unless batches need more."""
        wanted = LABELLED_SHARE / (1 - LABELLED_SHARE) * len(self.others)
        return max(len(self.labelled), math.ceil(wanted))

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        drawn, n = [], max(self._least_draws(), len(self))
        while n > 0:
            drawn.append(self._in_order(self.labelled)[:n])
            n -= len(drawn[-1])
        labelled = torch.tensor_split(torch.cat(drawn), len(self))
        # The longer parts come first: turned round, they meet the shorter ones.
        others = torch.tensor_split(self._in_order(self.others), len(self))[::-1]
        for rows in map(torch.cat, zip(labelled, others, strict=True)):
            yield _to(self.dataset[rows], self.device)

    def _in_order(self, rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows))] if self.shuffle else rows


def _to(value: Any, device: str) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _to(item, device) for key, item in value.items()}
    return tuple(_to(item, device) for item in value)


@dataclass(frozen=True)
class Gaps:
    """Gaps that training makes at random: steps and modalities of a row are left out.

    Attributes
    ----------
    steps, modalities : float
        Probability that one is left out. Of those that a row has, one always is left.
    blank : dict of str to Tensor of shape (n_bands,)
        By time series, what the network sees at a step that was not observed.
    masked : tuple of str
        The time series of which the encoders take a mask.
    """

    steps: float
    modalities: float
    blank: dict[str, Tensor]
    masked: tuple[str, ...]

    def make(self, X: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with gaps in it."""
        made = dict(X)
        if self.steps:
            made["inputs"], made["steps"] = self._without_steps(X)
        if self.modalities and len(X["inputs"]) > 1:
            made["present"] = self._without_modalities(X)
        return made

    def _without_steps(self, X: Mapping[str, Any]) -> tuple[Any, Any]:
        inputs, steps = dict(X["inputs"]), dict(X.get("steps", {}))
        for m, blank in self.blank.items():
            x, own = inputs[m], steps.get(m, {})
            blank = blank.to(x.device)
            observed = own.get("mask")  # (B, T)
            if observed is None:
                # All steps, where the encoders take masks and there is none.
                observed = (x != blank).any(dim=2) | (m in self.masked)
            left = _at_random(observed, self.steps)
            inputs[m] = torch.where(left[..., None], x, blank)
            if m in self.masked:
                steps[m] = {**own, "mask": left}
        return inputs, steps

    def _without_modalities(self, X: Mapping[str, Any]) -> dict[str, Tensor]:
        names = list(X["inputs"])
        first = X["inputs"][names[0]]
        here = X.get("present") or {
            m: torch.ones(len(first), dtype=torch.bool, device=first.device)
            for m in names
        }
        left = _at_random(torch.stack([here[m] for m in names], dim=1), self.modalities)
        return dict(zip(names, left.unbind(dim=1), strict=True))


def _at_random(there: Tensor, probability: float) -> Tensor:
    """Leave each of what is there out with some probability, but one in each row.

    A row in which nothing is there has nothing left either.
    """
    chance = torch.rand(there.shape, device=there.device)
    last = chance.masked_fill(~there, -1.0).argmax(dim=1, keepdim=True)
    left = (chance >= probability).scatter(1, last, True)
    return left & there


def _to_float32(value: Any) -> Any:
    """Return the numbers of an output as the losses take them."""
    if isinstance(value, dict):
        return {key: _to_float32(item) for key, item in value.items()}
    is_float = isinstance(value, Tensor) and value.is_floating_point()
    return value.float() if is_float else value


class CoLearnNet(NeuralNet):  # type: ignore[misc]
    """skorch's training loop on batches of several modalities.

    Logs every term of the loss, lets a Ctrl-C end training with a warning, and takes
    whole batches.
    """

    #: What training leaves out of its batches.
    gaps: Gaps | None = None

    def get_iterator(self, dataset: TensorRows, training: bool = False) -> Any:
        """Return whole batches, shuffled for training."""
        return BatchIterator(dataset, self.batch_size, self.device, shuffle=training)

    def __init__(self, *args: Any, precision: str = "float32", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.precision = precision

    def infer(self, x: Mapping[str, Any], **fit_params: Any) -> NetworkOutput:
        """Run the network on a batch, with gaps in training."""
        if self.gaps is not None and self.module_.training:
            x = self.gaps.make(x)
        mixed = self.precision == "bf16"
        with torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=mixed
        ):
            output: NetworkOutput = self.module_(
                x["inputs"], x.get("present"), x.get("steps")
            )
        return NetworkOutput(*map(_to_float32, output)) if mixed else output

    def torch_compile(self, module: torch.nn.Module, name: str) -> torch.nn.Module:
        """Compile in place, so that the keys of the state are the plain network's."""
        if self.compile and name == "module":
            module.compile(**self.get_params_for("compile"))
        return module

    def get_loss(
        self,
        y_pred: NetworkOutput,
        y_true: Tensor,
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        """Return the weighted sum of the terms and log each of them."""
        terms = self.criterion_.terms(
            y_pred, y_true, X.get("sample_weight"), X.get("labelled")
        )
        prefix = "train" if training else "valid"
        # One transfer from the device for all terms.
        values = torch.stack([term.detach() for term in terms.values()]).tolist()
        for name, value in zip(terms, values, strict=True):
            self.history.record_batch(f"{prefix}_{name}", value)
        loss: Tensor = self.criterion_.total(terms)
        return loss

    def fit_loop(self, X: Any, y: Any = None, epochs: Any = None, **kwargs: Any) -> Any:
        """Train; a Ctrl-C leaves what was learnt and warns."""
        try:
            return super().fit_loop(X, y, epochs, **kwargs)
        except KeyboardInterrupt:
            if not self._early_stopped():
                warnings.warn(
                    f"Training was interrupted after {_n_complete(self)} of "
                    f"{self.max_epochs} epochs; the estimator keeps what it had "
                    "learnt by then.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            raise  # skorch ends training on it

    def _early_stopped(self) -> bool:
        # skorch's EarlyStopping ends training by a KeyboardInterrupt of its own.
        return any(
            isinstance(callback, EarlyStopping)
            and getattr(callback, "misses_", None) == callback.patience
            for _, callback in self.callbacks_
        )


class _Terms(Callback):  # type: ignore[misc]
    """Averages the terms over each epoch and stops when one is not finite."""

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        for name, value in _epoch_means(net.history[-1]["batches"]).items():
            if name not in net.history[-1]:
                net.history.record(name, value)
            if not math.isfinite(value):
                _refuse(net, f"the {name} term became {value}")

    def on_train_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        for name, weights in net.module_.state_dict().items():
            if not torch.isfinite(weights).all():
                _refuse(net, f"the weights {name} became infinite or NaN")


def _refuse(net: CoLearnNet, what: str) -> None:
    raise ValueError(
        f"Training diverged in epoch {len(net.history)}: {what}. A smaller lr (now "
        f"{net.lr}) or a larger temperature may help; very large target or input "
        "values without standardize=True are another cause."
    )


def _epoch_means(batches: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every logged value over an epoch's batches, by rows."""
    means = {}
    for prefix in ("train", "valid"):
        parts = [batch for batch in batches if f"{prefix}_batch_size" in batch]
        sizes = [batch[f"{prefix}_batch_size"] for batch in parts]
        for name in parts[0] if parts else ():
            if name.startswith(prefix) and not name.endswith("batch_size"):
                # A modality that no row of a batch has leaves out no term, so every
                # batch has every term.
                values = [batch[name] for batch in parts]
                means[name] = float(np.average(values, weights=sizes))
    return means


class _WeightAverage(Callback):  # type: ignore[misc]
    """Averages the weights over the latest part of training; see `share`.

    Polynomial-decay averaging [1]_: after t steps the average has a mean age of about
    ``share * t`` steps, whatever t will be in the end. The network holds the average
    whenever it is looked at (validation, the end of an epoch, after training), and
    its own weights while it trains.

    References
    ----------
    .. [1] Shamir, Zhang, "Stochastic gradient descent for non-smooth optimization:
       convergence results and optimal averaging schemes", ICML 2013, arXiv:1212.1824.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        # Batch normalisation's running statistics are averaged along.
        self.live_ = [
            t for t in net.module_.state_dict().values() if t.is_floating_point()
        ]
        self.other_ = [t.clone() for t in self.live_]
        self.averaged_ = False
        self.step_ = 0

    def on_batch_begin(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        self.show(average=not training)

    def on_batch_end(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        if training:
            self.step_ += 1
            power = 1 / self.share - 2
            torch._foreach_lerp_(
                self.other_, self.live_, (power + 1) / (self.step_ + power)
            )

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.show(average=True)

    def on_train_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.show(average=True)
        del self.live_, self.other_

    def show(self, average: bool) -> None:
        """Put the average, or the weights in training, into the network."""
        if average != self.averaged_ and self.step_ > 0:
            live = [tensor.clone() for tensor in self.live_]
            torch._foreach_copy_(self.live_, self.other_)
            torch._foreach_copy_(self.other_, live)
            self.averaged_ = average


class _LogLearningRate(Callback):  # type: ignore[misc]
    """Logs the learning rate of each epoch's end."""

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])


class _LearningRate(Callback):  # type: ignore[misc]
    """Sets the learning rate before each batch, by the share of training done."""

    def __init__(self, schedule: Callable[[float], float]) -> None:
        self.schedule = schedule

    def on_train_begin(self, net: CoLearnNet, X: Any = None, **kwargs: Any) -> None:
        self.step_ = 0
        self.n_steps_ = net.max_epochs * len(net.get_iterator(X, training=True))

    def on_batch_begin(self, net: CoLearnNet, training: bool, **kwargs: Any) -> None:
        if not training:
            return
        lr = net.lr * self.schedule(self.step_ / self.n_steps_)
        for group in net.optimizer_.param_groups:
            group["lr"] = lr
        self.step_ += 1


class _ProgressBar(Callback):  # type: ignore[misc]
    """One bar over the epochs, with the latest losses."""

    def on_train_begin(self, net: CoLearnNet, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", desc="co-learning")

    def on_epoch_end(self, net: CoLearnNet, **kwargs: Any) -> None:
        latest = net.history[-1]
        shown = ("train_main", "valid_main")
        self.bar_.set_postfix({k: f"{latest[k]:.3g}" for k in shown if k in latest})
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
    early_stopping: Mapping[str, Any] | None,
    callbacks: Iterable[Any] | None,
    device: str,
    precision: str,
    compile: bool,
    verbose: int,
) -> CoLearnNet:
    """Make the skorch net; its weights are drawn here, from torch's generator.

    Parameters
    ----------
    network, loss : mapping
        Arguments of :class:`CoLearnNetwork` and of :class:`CoLearnLoss`.
    early_stopping : mapping or None
        ``patience`` and ``threshold`` of skorch's EarlyStopping on the main term of
        the validation rows.

    Other parameters are those of the estimators.
    """
    for callback in callbacks or ():
        if isinstance(callback, EpochScoring | BatchScoring):
            raise ValueError(
                f"callbacks= holds a {type(callback).__name__}, which scores a network "
                "of one output. The terms of the loss are in history_; other scores "
                "are those of scikit-learn after fit."
            )
    every: list[Any] = []
    if weight_averaging:
        every.append(("weight_average", _WeightAverage(weight_averaging)))
    every += [("terms", _Terms()), ("log_learning_rate", _LogLearningRate())]
    if lr_schedule != "constant":  # else it is free for a user's LRScheduler
        schedule = (
            LR_SCHEDULES[lr_schedule] if isinstance(lr_schedule, str) else lr_schedule
        )
        every.append(("learning_rate", _LearningRate(schedule)))
    if verbose == 1:
        every.append(("progress_bar", _ProgressBar()))
    if early_stopping is not None:
        stop = EarlyStopping(
            monitor="valid_main", load_best=True, threshold_mode="abs", **early_stopping
        )
        every.append(("early_stopping", stop))
    optimizer_class = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
    options: dict[str, Any] = {"weight_decay": weight_decay}
    knows = inspect.signature(optimizer_class).parameters
    if not weight_decay and "weight_decay" not in knows:
        del options["weight_decay"]  # LBFGS and Rprop have none; AdamW's own is .01
    if optimizer in ("adam", "adamw") and torch.device(device).type in ("cpu", "cuda"):
        options["fused"] = True  # a tenth of a step on a CPU
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
        callbacks=[*every, *(callbacks or ())],
        device=device,
        precision=precision,
        compile=compile,
        verbose=int(verbose > 1),
        **{f"module__{key}": value for key, value in network.items()},
        **{f"criterion__{key}": value for key, value in loss.items()},
        **{f"optimizer__{key}": value for key, value in options.items()},
    )
    return net.initialize()


def train(
    net: CoLearnNet,
    rows: TensorRows,
    validation: TensorRows | None,
    gaps: Gaps | None = None,
) -> None:
    """Train an initialised net for its ``max_epochs``."""
    net.gaps = gaps
    net.train_split = None if validation is None else predefined_split(validation)
    try:
        net.partial_fit(rows)
    finally:
        net.train_split = None  # or it would be pickled with its rows
        net.gaps = None


def history_frame(net: CoLearnNet) -> pd.DataFrame:
    """Return a row per complete epoch and a column per logged value."""
    rows = [
        {
            name: value
            for name, value in epoch.items()
            if name != "batches" and not name.endswith(("_best", "_batch_count"))
        }
        for epoch in net.history
        if "train_loss" in epoch
    ]
    return pd.DataFrame(rows)


def _n_complete(net: CoLearnNet) -> int:
    return sum("train_loss" in epoch for epoch in net.history)


def resolve_device(device: str) -> str:
    """Return the device that ``"auto"`` stands for: CUDA, then MPS, then the CPU."""
    if device != "auto":
        try:
            torch.zeros(1, device=device)
        # torch raises an AssertionError where it was built without CUDA.
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"device={device!r} cannot be used here: {reason}. Use 'auto' or 'cpu'."
            ) from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


#: torch's generators belong to the process: of two fits in threads, one waits.
_generators = threading.RLock()


@contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch inside the block and leave its generators as they were."""
    # Generator by generator: torch.manual_seed would seed every device, and fork_rng
    # knows no MPS.
    kind = torch.device(device).type
    cuda = list(range(torch.cuda.device_count())) if kind == "cuda" else []
    with _generators, torch.random.fork_rng(devices=cuda):
        mps_state = torch.mps.get_rng_state() if kind == "mps" else None
        torch.default_generator.manual_seed(seed)
        if kind == "cuda":
            torch.cuda.manual_seed_all(seed)
        elif kind == "mps":
            torch.mps.manual_seed(seed)
        try:
            yield
        finally:
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
