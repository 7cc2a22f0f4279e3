"""Rows as tensors, and batches of them: labelled rows, and unlabelled pairs beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sklearn_colearn.inputs import Array
from sklearn_colearn.modality_dict import (
    ModalityDict,
    is_data_array,
    is_dataset,
    is_frame,
    is_named,
    own_sample_dim,
    read_named,
)
from sklearn_colearn.network import CoLearnNetwork
from sklearn_colearn.sensor import Rows, Scaler, step_inputs

__all__ = [
    "BatchIterator",
    "PairedBatches",
    "Pairs",
    "StepDropout",
    "TensorRows",
    "each",
    "tensor_rows",
]

#: Unlabelled rows, and values, up to which they are read once and kept.
FEW, FEW_VALUES = 2**16, 2**26
#: Beyond that, rows of a block, which is read at once, and blocks of a buffer, whose
#: rows are shuffled. Blocks of large images have fewer rows.
BLOCK, N_BLOCKS = 2**12, 8
#: Limits of the share that the held-out rows have of the unlabelled rows in a step.
LEAST_SHARE, MOST_SHARE = 0.1, 0.5


@dataclass(frozen=True)
class TensorRows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Standardised modalities and targets of the same rows."""

    #: (n, ...), float32, without NaN: the modalities.
    inputs: dict[str, Tensor]
    #: (n,) or (n, n_outputs): class numbers, label indicators, or standardised values;
    #: anything finite where a row has no label.
    target: Tensor
    #: (n,), bool: which rows have the modality; None if all have all.
    present: dict[str, Tensor] | None = None
    #: (n,): weights in all terms but the contrastive and the discriminative one.
    sample_weight: Tensor | None = None
    #: (n,), bool: which rows have a label; None if all have one.
    labelled: Tensor | None = None
    #: What the encoders of a modality take beside the values: ``times`` and ``mask``,
    #: (n, T), and ``observed``, (n, T, n_bands).
    steps: dict[str, dict[str, Tensor]] | None = None
    #: (n, n_outputs): what another teacher says of the rows: probabilities of the
    #: classes or labels, or standardised values; NaN where it says nothing.
    lesson: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Any) -> tuple[dict[str, Any], Tensor]:
        """Return ``(X, y)`` of some rows, as skorch's steps want them."""
        given = {name: part for name, part in vars(self).items() if part is not None}
        X = each(given, itemgetter(rows))
        return X, X.pop("target")

    def with_steps_for(self, network: CoLearnNetwork) -> TensorRows:
        """Leave out times and masks that the encoders of a network do not take."""
        steps = {}
        for m, own in (self.steps or {}).items():
            takes = network.network(m).takes
            if kept := {kind: own[kind] for kind in takes if kind in own}:
                steps[m] = kept
        return replace(self, steps=steps or None)

    def unlabelled(self) -> TensorRows:
        """Return the rows that two sensors or more have, without their labels."""
        rows = self
        if self.present is not None:
            several = torch.stack(list(self.present.values())).sum(dim=0) > 1
            rows = self.take(several.nonzero().squeeze(1).numpy())
        nothing = torch.zeros(len(rows), dtype=torch.bool)
        target = torch.zeros_like(rows.target)
        return replace(rows, target=target, labelled=nothing, sample_weight=None)

    def take(self, rows: Array) -> TensorRows:
        """Return some rows, or all of them uncopied."""
        if len(rows) == len(self):
            return self
        X, target = self[torch.from_numpy(rows)]
        return TensorRows(target=target, **X)


class BatchIterator:
    """Iterates over whole batches of :class:`TensorRows`, on the device of choice.

    A DataLoader collates row by row, which costs more than the network does here. The
    batches of an epoch differ by one row at most, so that none is a small remainder.
    Training spreads labelled and other rows over the batches separately, so that every
    batch has its share of both. If there are fewer labelled rows than batches, they
    repeat, and a batch may have one row more than asked for.
    """

    def __init__(
        self, dataset: TensorRows, batch_size: int, device: str, shuffle: bool = False
    ) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.device, self.shuffle = device, shuffle
        rows = torch.arange(len(dataset))
        labelled = dataset.labelled
        if labelled is None or labelled.all() or not labelled.any() or not shuffle:
            labelled = torch.ones(len(dataset), dtype=torch.bool)
        self.labelled, self.others = rows[labelled], rows[~labelled]

    def __len__(self) -> int:
        return math.ceil((len(self.labelled) + len(self.others)) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        move = _to(self.device)
        for rows in self.parts():
            X, y = self.dataset[rows]
            yield each(X, move), move(y)

    def parts(self) -> Iterator[Tensor]:
        """Iterate over the rows of each batch of an epoch."""
        drawn, n = [], max(len(self.labelled), len(self))
        while n > 0:
            drawn.append(self._in_order(self.labelled)[:n])
            n -= len(drawn[-1])
        labelled = torch.tensor_split(torch.cat(drawn), len(self))
        # The longer parts come first: reversed, they meet the shorter ones.
        others = torch.tensor_split(self._in_order(self.others), len(self))[::-1]
        return map(torch.cat, zip(labelled, others, strict=True))

    def _in_order(self, rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows))] if self.shuffle else rows


def _to(device: str) -> Callable[[Tensor], Tensor]:
    """Return what moves a tensor; to a GPU it goes from pinned memory, unawaited."""
    if torch.device(device).type == "cuda":
        return lambda tensor: tensor.pin_memory().to(device, non_blocking=True)
    return methodcaller("to", device)


def each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a tensor, or to all tensors of a dict of dicts."""
    if isinstance(value, dict):
        return {key: each(item, function) for key, item in value.items()}
    return function(value) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class StepDropout:
    """Drops steps of time series at random in training."""

    #: Of dropping each observed step. One step of a row always stays.
    probability: float
    #: (n_bands,): by time series, what the network sees at a missing step.
    blank: dict[str, Tensor]
    #: The time series whose encoders take a mask.
    masked: tuple[str, ...]

    def drop(self, X: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch without some of its steps."""
        inputs, steps = dict(X["inputs"]), dict(X.get("steps", {}))
        for m, blank in self.blank.items():
            x, own = inputs[m], steps.get(m, {})
            blank = blank.to(x.device)
            observed = own.get("mask")  # (B, T)
            if observed is None:
                # All steps, where the encoders take masks and there is none.
                observed = (x != blank).any(dim=2) | (m in self.masked)
            left = _at_random(observed, self.probability)
            inputs[m] = torch.where(left[..., None], x, blank)
            if m in self.masked:
                steps[m] = {**own, "mask": left}
        return {**X, "inputs": inputs, "steps": steps}


def _at_random(there: Tensor, probability: float) -> Tensor:
    """Drop each step that is there with some probability, but never all of a row."""
    chance = torch.rand(there.shape, device=there.device)
    last = chance.masked_fill(~there, -1.0).argmax(dim=1, keepdim=True)
    return (chance >= probability).scatter(1, last, True) & there


def tensor_rows(
    values: Mapping[str, Array],
    here: Mapping[str, Array],
    days: Mapping[str, Array],
    scalers: Mapping[str, Scaler],
    target: Tensor,
) -> TensorRows:
    """Standardise rows.

    Parameters
    ----------
    values : mapping of str to ndarray of shape (n, ...)
        By modality, NaN where missing.
    here : mapping of str to ndarray of shape (n,), bool
        By modality, which rows have it.
    days : mapping of str to ndarray of shape (n_timesteps,) or (n, n_timesteps)
        Of modalities whose times are known.
    scalers : mapping of str to Scaler
        By modality.
    target : Tensor of shape (n, ...)
    """
    present = None
    if not all(rows.all() for rows in here.values()):
        present = {m: torch.from_numpy(rows) for m, rows in here.items()}
    steps = {m: step_inputs(x, days.get(m)) for m, x in values.items()}
    return TensorRows(
        {m: scalers[m].scaled(x) for m, x in values.items()},
        target,
        present,
        steps={m: own for m, own in steps.items() if own} or None,
    )


# -- unlabelled pairs ----------------------------------------------------------------


class Pairs:
    """Unlabelled rows that several sensors have seen, read in blocks.

    Parameters
    ----------
    X : ModalityDict, mapping, DataFrame, xarray.Dataset or array
        The rows, in memory or not: a memory map, Zarr, dask or xarray is read block by
        block. ``len`` is how many there are.
    prepare : callable
        From a block of X to checked rows by sensor; ``warn`` tells whether to warn of
        far values.
    scalers : dict of str to Scaler
        By sensor, in order.
    shapes : dict of str to tuple of int
        Of a row, by sensor.
    target : Tensor of shape (n_labelled, ...)
        What the target of labelled rows is like.
    """

    #: The rows, if they are few.
    whole: TensorRows | None = None

    def __init__(
        self,
        X: Any,
        prepare: Callable[..., dict[str, Rows]],
        scalers: Mapping[str, Scaler],
        shapes: Mapping[str, tuple[int, ...]],
        target: Tensor,
    ) -> None:
        self.X, self.prepare, self.target = X, prepare, target[:0]
        self.scalers, self.shapes = dict(scalers), dict(shapes)
        self.n = n_rows(X)
        if _is_small(X, self.n):
            self.whole, self.X = self.read(), None
            if not len(self.whole):
                raise _no_pair(self.n)
        else:
            self.block = _block_size(X)
            self.read(0, self.block)  # what is wrong with all rows shows now

    def __len__(self) -> int:
        return self.n

    def read(
        self, start: int = 0, stop: int | None = None, warn: bool = True
    ) -> TensorRows:
        """Return the rows from `start` to `stop` that two sensors or more have."""
        stop = self.n if stop is None else min(stop, self.n)
        whole = start == 0 and stop == self.n
        try:
            X = self.X if whole else block_of(self.X, start, stop)
            prepared = self.prepare(X, warn=warn)
        except Exception as error:
            error.add_note(f"This is about X_unlabeled, rows {start} to {stop - 1}.")
            raise
        n, values, here, days = stop - start, {}, {}, {}
        for m, shape in self.shapes.items():
            values[m] = np.full((n, *shape), np.nan, dtype=np.float32)
            here[m] = np.zeros(n, dtype=bool)
            if m not in prepared:
                continue
            own = prepared[m]
            values[m], here[m] = _placed(own.values, own.present), own.present
            if own.days is not None:
                days[m] = own.days
                if own.days.ndim == 2:
                    days[m] = np.nan_to_num(_placed(own.days, own.present))
        several = np.sum(list(here.values()), axis=0) > 1
        if not several.all():
            values = {m: x[several] for m, x in values.items()}
            here = {m: rows[several] for m, rows in here.items()}
            days = {m: d[several] if d.ndim == 2 else d for m, d in days.items()}
        target = self.target.new_zeros(int(several.sum()), *self.target.shape[1:])
        rows = tensor_rows(values, here, days, self.scalers, target)
        return replace(rows, labelled=torch.zeros(len(target), dtype=torch.bool))

    def buffers(self, seed: int) -> Iterator[TensorRows]:
        """Iterate without end over shuffled blocks; over the same rows if few.

        Raises
        ------
        ValueError
            If two sensors have no row in common.
        """
        while self.whole is not None:
            yield self.whole
        rng = np.random.default_rng(seed)
        starts = np.arange(0, self.n, self.block)
        while True:
            found = False
            order = rng.permutation(starts)
            for some in np.array_split(order, math.ceil(len(order) / N_BLOCKS)):
                # The first block has warned.
                rows = joined([self.read(i, i + self.block, warn=False) for i in some])
                if len(rows):
                    found = True
                    yield rows
            if not found:
                raise _no_pair(self.n)


def _placed(values: Array, present: Array) -> Array:
    """Put the rows that are present in their places, NaN elsewhere."""
    if present.all():
        return values
    placed = np.full((len(present), *values.shape[1:]), np.nan, dtype=values.dtype)
    placed[present] = values
    return placed


def _no_pair(n: int) -> ValueError:
    return ValueError(
        f"None of the {n} rows of X_unlabeled was seen by two sensors, so no sensor "
        "can learn from another. Check missing_value, and that row i of every sensor "
        "is the same place."
    )


def n_rows(X: Any) -> int:
    """Return the number of rows of an X in any form, without reading it."""
    if is_dataset(X):
        return int(X.sizes[own_sample_dim(X)])
    if not isinstance(X, Mapping) or isinstance(X, ModalityDict):
        return _length(X)
    dim = own_sample_dim(X)
    lengths = {
        m: int(v.sizes[dim]) if dim in getattr(v, "dims", ()) else _length(v)
        for m, v in X.items()
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(
            "All modalities need the same number of rows, one per sample; got "
            f"{str(lengths)[1:-1]} in X_unlabeled."
        )
    return next(iter(lengths.values()), 0)


def _length(X: Any) -> int:
    shape = getattr(X, "shape", None)  # Zarr's arrays have no len
    return len(X) if shape is None else int(shape[0])


def _is_small(X: Any, n: int) -> bool:
    """Whether the rows of an X are read at once."""
    return _in_frames(X) or (n <= FEW and n * _row_size(X) <= FEW_VALUES)


def _block_size(X: Any) -> int:
    """Return how many rows are read at once of an X that is large."""
    return max(1, min(BLOCK, FEW_VALUES // N_BLOCKS // max(_row_size(X), 1)))


def _row_size(X: Any) -> int:
    """Return the values of a row of an X in any form, without reading it."""
    return _n_values(X) // max(n_rows(X), 1)


def _n_values(X: Any) -> int:
    if is_dataset(X):
        X = dict(X.data_vars)
    if isinstance(X, Mapping):
        return sum(map(_n_values, X.values()))
    return math.prod(X.shape) if hasattr(X, "shape") else int(np.size(X))


def _in_frames(X: Any) -> bool:
    """Whether X holds frames, which are in memory and labelled as a whole."""
    return is_frame(X) or (
        isinstance(X, Mapping) and any(is_frame(v) for v in X.values())
    )


def block_of(X: Any, start: int, stop: int) -> Any:
    """Return the rows from `start` to `stop` of an X in any form but frames."""
    some = slice(start, stop)
    if is_dataset(X):
        return X.isel({own_sample_dim(X): some})
    if isinstance(X, Mapping) and not isinstance(X, ModalityDict):
        dim = own_sample_dim(X)
        return {
            m: v.isel({dim: some}) if is_data_array(v) or is_dataset(v) else v[some]
            for m, v in X.items()
        }
    return X[some]


def sample_of(X: Any) -> Any:
    """Return an X in any form if it is small, else blocks spread over it, in memory."""
    n = n_rows(X)
    if _is_small(X, n):
        return X
    block = _block_size(X)
    starts = np.linspace(0, max(n - block, 0), max(FEW // BLOCK, 1)).astype(int)
    blocks = [block_of(X, start, start + block) for start in np.unique(starts)]
    if not is_named(X):
        return np.concatenate([np.asarray(block) for block in blocks])
    read = [read_named(block) for block in blocks]
    sample = read[0].with_values(
        {m: np.concatenate([block[m] for block in read]) for m in read[0]}
    )
    sample.ids = None
    return sample


def joined(parts: Sequence[TensorRows]) -> TensorRows:
    """Put rows one after another; where only some parts tell a thing, it is filled in.

    Rows without anything said are present, labelled, observed, of weight 1 and without
    a lesson.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]

    present = steps = None
    sizes = [len(part) for part in parts]
    if any(part.present is not None for part in parts):
        present = {
            m: _column([p.present and p.present[m] for p in parts], sizes, True)
            for m in first.inputs
        }
    if any(part.steps is not None for part in parts):
        told = [part.steps or {} for part in parts]
        steps = {
            m: {
                kind: _column([own.get(m, {}).get(kind) for own in told], sizes, True)
                for kind in {k for own in told for k in own.get(m, {})}
            }
            for m in first.inputs
        }
        steps = {m: own for m, own in steps.items() if own}
    return TensorRows(
        {m: torch.cat([part.inputs[m] for part in parts]) for m in first.inputs},
        torch.cat([part.target for part in parts]),
        present,
        _column([part.sample_weight for part in parts], sizes, 1.0),
        _column([part.labelled for part in parts], sizes, True),
        steps,
        _column([part.lesson for part in parts], sizes, math.nan),
    )


def _column(given: list[Any], sizes: list[int], blank: float) -> Any:
    """Join tensors, with a blank one in place of each None; None if all are."""
    like = next((tensor for tensor in given if tensor is not None), None)
    if like is None:
        return None
    return torch.cat(
        [
            like.new_full((n, *like.shape[1:]), blank) if tensor is None else tensor
            for tensor, n in zip(given, sizes, strict=True)
        ]
    )


class PairedBatches:
    """Iterates over batches of labelled rows, each with a batch of pairs behind it.

    Both begin anew when they are through, each at its own pace.

    Parameters
    ----------
    batches : BatchIterator or None
        Of the training rows; without them pairs are alone.
    pairs : Pairs
        The unlabelled ones.
    n_pairs : int
        Of these rows in a step.
    n_steps, n_epochs : int
        Steps of all epochs together, and epochs; the last one may be shorter.
    answer : callable or None
        What another teacher says of rows, (n, n_outputs).
    network : CoLearnNetwork
        Which trains on them.
    device : str
        Where the batches are to be.
    seed : int
        Of the order of blocks.
    more : TensorRows, optional
        Other unlabelled rows, which have a part in each step.
    """

    def __init__(
        self,
        batches: BatchIterator | None,
        pairs: Pairs,
        *,
        n_pairs: int,
        n_steps: int,
        n_epochs: int,
        answer: Callable[[TensorRows], Tensor] | None,
        network: CoLearnNetwork,
        device: str,
        seed: int,
        more: TensorRows | None = None,
    ) -> None:
        self.network, self.device = network, device
        self.n_left, self._per_epoch = n_steps, math.ceil(n_steps / n_epochs)
        n_more = 0
        if more is not None and len(more):
            share = len(more) / (len(more) + len(pairs))
            n_more = round(n_pairs * min(max(share, LEAST_SHARE), MOST_SHARE))
        self._pairs = partial(
            _pair_batches, pairs.buffers, size=max(n_pairs - n_more, 1), answer=answer
        )
        self._rows = [self._pairs(seed=seed)]
        if n_more:
            held_out = partial(repeat, more)
            self._rows.insert(
                0, _pair_batches(lambda _: held_out(), n_more, answer, seed)
            )
        if batches is not None:
            dataset = batches.dataset
            if answer is not None and dataset.labelled is not None:
                batches.dataset = replace(dataset, lesson=answer(dataset))
            self._rows.insert(0, _endless(batches))

    def __len__(self) -> int:
        return self._per_epoch

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        move = _to(self.device)
        for _ in range(min(self._per_epoch, self.n_left)):
            rows = joined([next(source) for source in self._rows])
            X, y = rows.with_steps_for(self.network)[:]
            yield each(X, move), move(y)
            self.n_left -= 1

    def skip(self, n_steps: int, seed: int) -> None:
        """Leave out steps that were done before, and draw pairs in another order."""
        self.n_left = max(self.n_left - n_steps, 0)
        self._rows[-1] = self._pairs(seed=seed + n_steps)


def _endless(batches: BatchIterator) -> Iterator[TensorRows]:
    while True:
        for rows in batches.parts():
            X, y = batches.dataset[rows]
            yield TensorRows(target=y, **X)


def _ahead(source: Iterable[TensorRows]) -> Iterator[TensorRows]:
    """Read the next rows of an endless source while the latest are used."""
    items = iter(source)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items)
        while True:
            item = coming.result()
            coming = reader.submit(next, items)
            yield item


def _taught(
    buffers: Iterable[TensorRows], answer: Callable[[TensorRows], Tensor] | None
) -> Iterator[TensorRows]:
    """Add what another teacher says of the rows."""
    known: TensorRows | None = None
    rows: TensorRows
    for buffer in buffers:
        if buffer is not known:
            known = rows = buffer
            if answer is not None:
                rows = replace(buffer, lesson=answer(buffer))
        yield rows


def _pair_batches(
    buffers: Callable[[int], Iterable[TensorRows]],
    size: int,
    answer: Callable[[TensorRows], Tensor] | None,
    seed: int,
) -> Iterator[TensorRows]:
    for rows in _ahead(_taught(buffers(seed), answer)):
        # All batches are of one size; what is left over comes with the next order.
        n = max(1, len(rows) // size)
        order = torch.randperm(len(rows))
        for start in range(0, n * size, size):
            X, y = rows[order[start : start + size]]
            yield TensorRows(target=y, **X)
