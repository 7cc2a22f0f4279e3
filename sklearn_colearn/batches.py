"""Rows as tensors, and batches of labelled rows and unlabelled pairs."""

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

#: Maximum unlabelled rows, and values, that are read once and kept in memory.
FEW, FEW_VALUES = 2**16, 2**26
#: Otherwise, rows of a block and blocks of a shuffled buffer. Blocks of large images
#: have fewer rows.
BLOCK, N_BLOCKS = 2**12, 8
#: Limits of the share of held-out rows among the unlabelled rows of a step.
LEAST_SHARE, MOST_SHARE = 0.1, 0.5


@dataclass(frozen=True)
class TensorRows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Standardised modalities and targets of the same rows."""

    #: (n, ...), float32, without NaN, by modality.
    inputs: dict[str, Tensor]
    #: (n,) or (n, n_outputs): class numbers, label indicators, or standardised values;
    #: any finite value in unlabelled rows.
    target: Tensor
    #: (n,), bool: which rows have the modality; None if none is missing.
    present: dict[str, Tensor] | None = None
    #: (n,): weights in all terms except the contrastive and the discriminative one.
    sample_weight: Tensor | None = None
    #: (n,), bool: which rows have a label; None if all have.
    labelled: Tensor | None = None
    #: Further arguments of the encoders, by modality: ``times`` and ``mask``, (n, T),
    #: and ``observed``, (n, T, n_bands).
    steps: dict[str, dict[str, Tensor]] | None = None
    #: (n, n_outputs): soft targets of a second teacher: probabilities of classes or
    #: labels, or standardised values. NaN in rows without.
    lesson: Tensor | None = None

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, rows: Any) -> tuple[dict[str, Any], Tensor]:
        """Return ``(X, y)`` of some rows, as skorch expects."""
        given = {name: part for name, part in vars(self).items() if part is not None}
        X = each(given, itemgetter(rows))
        return X, X.pop("target")

    def with_steps_for(self, network: CoLearnNetwork) -> TensorRows:
        """Drop times and masks that the encoders of a network do not take."""
        steps = {}
        for m, own in (self.steps or {}).items():
            takes = network.network(m).takes
            if kept := {kind: own[kind] for kind in takes if kind in own}:
                steps[m] = kept
        return replace(self, steps=steps or None)

    def paired(self) -> Array:
        """Return the numbers of the rows with at least two sensors."""
        if self.present is None:
            return np.arange(len(self))
        several = torch.stack(list(self.present.values())).sum(dim=0) > 1
        numbers: Array = several.nonzero().squeeze(1).numpy()
        return numbers

    def unlabelled(self) -> TensorRows:
        """Return the rows with at least two sensors, without labels."""
        rows = self.take(self.paired())
        nothing = torch.zeros(len(rows), dtype=torch.bool)
        target = torch.zeros_like(rows.target)
        return replace(rows, target=target, labelled=nothing, sample_weight=None)

    def take(self, rows: Array) -> TensorRows:
        """Return some rows; all rows without a copy."""
        if len(rows) == len(self):
            return self
        X, target = self[torch.from_numpy(rows)]
        return TensorRows(target=target, **X)


class BatchIterator:
    """Iterator over whole batches of :class:`TensorRows`, on a device.

    A DataLoader would collate row by row, which costs more than the network. Batch
    sizes differ by at most one. Training spreads labelled and unlabelled rows evenly.
    If there are fewer labelled rows than batches, they repeat, and a batch may exceed
    `batch_size` by one.
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
        """Iterate over the row numbers of each batch of an epoch."""
        drawn, n = [], max(len(self.labelled), len(self))
        while n > 0:
            drawn.append(self._in_order(self.labelled)[:n])
            n -= len(drawn[-1])
        labelled = torch.tensor_split(torch.cat(drawn), len(self))
        # tensor_split puts longer parts first; reversal evens out the batches.
        others = torch.tensor_split(self._in_order(self.others), len(self))[::-1]
        return map(torch.cat, zip(labelled, others, strict=True))

    def _in_order(self, rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows))] if self.shuffle else rows


def _to(device: str) -> Callable[[Tensor], Tensor]:
    """Return a function that moves a tensor, to a GPU asynchronously."""
    if torch.device(device).type == "cuda":
        return lambda tensor: tensor.pin_memory().to(device, non_blocking=True)
    return methodcaller("to", device)


def each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to all tensors of a nested dict."""
    if isinstance(value, dict):
        return {key: each(item, function) for key, item in value.items()}
    return function(value) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class StepDropout:
    """Random dropping of time steps in training."""

    #: Probability of dropping an observed step. At least one step of a row stays.
    probability: float
    #: (n_bands,): network inputs at a missing step, by time series.
    blank: dict[str, Tensor]
    #: Time series whose encoders take a mask.
    masked: tuple[str, ...]

    def drop(self, X: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch with some steps dropped."""
        inputs, steps = dict(X["inputs"]), dict(X.get("steps", {}))
        for m, blank in self.blank.items():
            x, own = inputs[m], steps.get(m, {})
            blank = blank.to(x.device)
            observed = own.get("mask")  # (B, T)
            if observed is None:
                # Without a mask, encoders that take masks see all steps.
                observed = (x != blank).any(dim=2) | (m in self.masked)
            left = _drop_at_random(observed, self.probability)
            inputs[m] = torch.where(left[..., None], x, blank)
            if m in self.masked:
                steps[m] = {**own, "mask": left}
        return {**X, "inputs": inputs, "steps": steps}


def _drop_at_random(there: Tensor, probability: float) -> Tensor:
    """Drop observed steps with some probability, but never all of a row."""
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
    """Standardise rows given by modality.

    `values` (n, ...) are NaN where missing, `here` (n,) tells which rows have the
    modality, and `days`, (n_timesteps,) or (n, n_timesteps), may lack modalities.
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
    """Unlabelled rows with several sensors, read in blocks; ``len`` is their number.

    `prepare` turns a block of X into checked rows by sensor; its argument ``warn``
    tells whether to warn of values far from training. `target` gives shape and dtype,
    `name` is the name of X in messages.
    """

    #: All rows, if there are few.
    whole: TensorRows | None = None

    def __init__(
        self,
        X: Any,
        prepare: Callable[..., dict[str, Rows]],
        scalers: Mapping[str, Scaler],
        shapes: Mapping[str, tuple[int, ...]],
        target: Tensor,
        name: str,
    ) -> None:
        self.X, self.prepare, self.target, self.name = X, prepare, target[:0], name
        self.scalers, self.shapes = dict(scalers), dict(shapes)
        self.n = n_rows(X, name)
        if _is_small(X, self.n):
            self.whole, self.X = self.read(), None
            if not len(self.whole):
                raise _no_pair(self.n, self.name)
        else:
            self.block = _block_size(X)
            self.read(0, self.block)  # raises errors of all rows before training

    def __len__(self) -> int:
        return self.n

    def among(self, rows: TensorRows) -> Array:
        """Return which rows are pairs too; none if the pairs are read in blocks."""
        if self.whole is None:
            return np.zeros(len(rows), dtype=bool)
        given, known = (
            np.concatenate([x.flatten(1).numpy() for x in some.inputs.values()], axis=1)
            for some in (rows, self.whole)
        )
        pairs = {row.tobytes() for row in known}
        return np.array([row.tobytes() in pairs for row in given], dtype=bool)

    def read(
        self, start: int = 0, stop: int | None = None, warn: bool = True
    ) -> TensorRows:
        """Return the rows from `start` to `stop` with at least two sensors."""
        stop = self.n if stop is None else min(stop, self.n)
        whole = start == 0 and stop == self.n
        try:
            X = self.X if whole else block_of(self.X, start, stop)
            prepared = self.prepare(X, warn=warn)
        except Exception as error:
            error.add_note(f"This is about {self.name}, rows {start} to {stop - 1}.")
            raise
        n, values, here, days = stop - start, {}, {}, {}
        for m, shape in self.shapes.items():
            values[m] = np.full((n, *shape), np.nan, dtype=np.float32)
            here[m] = np.zeros(n, dtype=bool)
            if m not in prepared:
                continue
            own = prepared[m]
            values[m], here[m] = _fill_absent(own.values, own.present), own.present
            if own.days is not None:
                days[m] = own.days
                if own.days.ndim == 2:
                    days[m] = np.nan_to_num(_fill_absent(own.days, own.present))
        several = np.sum(list(here.values()), axis=0) > 1
        if not several.all():
            values = {m: x[several] for m, x in values.items()}
            here = {m: rows[several] for m, rows in here.items()}
            days = {m: d[several] if d.ndim == 2 else d for m, d in days.items()}
        target = self.target.new_zeros(int(several.sum()), *self.target.shape[1:])
        rows = tensor_rows(values, here, days, self.scalers, target)
        return replace(rows, labelled=torch.zeros(len(target), dtype=torch.bool))

    def buffers(self, seed: int) -> Iterator[TensorRows]:
        """Iterate endlessly over shuffled blocks, or `whole`; raise without pairs."""
        while self.whole is not None:
            yield self.whole
        rng = np.random.default_rng(seed)
        starts = np.arange(0, self.n, self.block)
        while True:
            found = False
            order = rng.permutation(starts)
            for some in np.array_split(order, math.ceil(len(order) / N_BLOCKS)):
                # The first block has already warned.
                rows = joined([self.read(i, i + self.block, warn=False) for i in some])
                if len(rows):
                    found = True
                    yield rows
            if not found:
                raise _no_pair(self.n, self.name)


def _fill_absent(values: Array, present: Array) -> Array:
    """Return all rows, with NaN where they are not present."""
    if present.all():
        return values
    placed = np.full((len(present), *values.shape[1:]), np.nan, dtype=values.dtype)
    placed[present] = values
    return placed


def _no_pair(n: int, name: str) -> ValueError:
    return ValueError(
        f"None of the {n} rows of {name} has two sensors, so no sensor can learn "
        "from another. Check missing_value, and that row i of every sensor is the "
        "same place."
    )


def n_rows(X: Any, name: str = "X") -> int:
    """Return the number of rows of an X in any form, without reading it."""
    if is_dataset(X):
        return int(X.sizes[own_sample_dim(X)])
    if not isinstance(X, Mapping) or isinstance(X, ModalityDict):
        return _length(X)
    dim = own_sample_dim(X)
    cubes = [m for m, v in X.items() if hasattr(v, "data_vars") and dim not in v.dims]
    if cubes:
        raise ValueError(
            f"The Datasets {cubes} of {name} have no sample dimension. sample_pixels "
            "draws rows from raster cubes."
        )
    lengths = {
        m: int(v.sizes[dim]) if dim in getattr(v, "dims", ()) else _length(v)
        for m, v in X.items()
    }
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"All modalities of {name} must have the same number of rows; got "
            f"{str(lengths)[1:-1]}."
        )
    return next(iter(lengths.values()), 0)


def _length(X: Any) -> int:
    shape = getattr(X, "shape", None)  # Zarr arrays have no len
    return len(X) if shape is None else int(shape[0])


def _is_small(X: Any, n: int) -> bool:
    """Tell whether to read all rows of X at once."""
    return _in_frames(X) or (n <= FEW and n * _row_size(X) <= FEW_VALUES)


def _block_size(X: Any) -> int:
    """Return the number of rows in a block of a large X."""
    return max(1, min(BLOCK, FEW_VALUES // N_BLOCKS // max(_row_size(X), 1)))


def _row_size(X: Any) -> int:
    """Return the number of values per row of X, without reading it."""
    return _n_values(X) // max(n_rows(X), 1)


def _n_values(X: Any) -> int:
    if is_dataset(X):
        X = dict(X.data_vars)
    if isinstance(X, Mapping):
        return sum(map(_n_values, X.values()))
    return math.prod(X.shape) if hasattr(X, "shape") else int(np.size(X))


def _in_frames(X: Any) -> bool:
    """Tell whether X contains frames, which are in memory and labelled as a whole."""
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
    """Return a small X as it is, or evenly spread blocks of a large X in memory."""
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
    """Concatenate rows.

    Where a part lacks an optional tensor, its rows are present, labelled, observed, of
    weight 1 and without a lesson.
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
    """Concatenate tensors, replacing None by `blank`; None if all are None."""
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
    """Iterator over batches of labelled rows followed by `n_pairs` unlabelled pairs.

    Labelled rows and pairs start over independently when exhausted. `batches` is None
    for pairs only. The last epoch may be shorter. `answer` is the second teacher, from
    rows to predictions (n, n_outputs). Rows of `more` get a share of each step.
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
        """Skip steps that were done before, and draw pairs in another order."""
        self.n_left = max(self.n_left - n_steps, 0)
        self._rows[-1] = self._pairs(seed=seed + n_steps)


def _endless(batches: BatchIterator) -> Iterator[TensorRows]:
    while True:
        for rows in batches.parts():
            X, y = batches.dataset[rows]
            yield TensorRows(target=y, **X)


def _prefetch(source: Iterable[TensorRows]) -> Iterator[TensorRows]:
    """Read the next rows of an endless source in the background."""
    items = iter(source)
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, items)
        while True:
            item = coming.result()
            coming = reader.submit(next, items)
            yield item


def _with_lessons(
    buffers: Iterable[TensorRows], answer: Callable[[TensorRows], Tensor] | None
) -> Iterator[TensorRows]:
    """Add the predictions of a second teacher to the rows."""
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
    for rows in _prefetch(_with_lessons(buffers(seed), answer)):
        # All batches have the same size; a new order includes the remainder.
        n = max(1, len(rows) // size)
        order = torch.randperm(len(rows))
        for start in range(0, n * size, size):
            X, y = rows[order[start : start + size]]
            yield TensorRows(target=y, **X)
