"""Communication of the processes that train one network.

These are the processes of torch's default group, as torchrun starts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

__all__ = ["average", "check_same", "from_first", "rank", "several"]


def several() -> bool:
    """Tell whether this process is one of several."""
    ready = distributed.is_available() and distributed.is_initialized()
    return ready and distributed.get_world_size() > 1


def rank() -> int:
    """Return the number of this process, 0 for a single one."""
    return distributed.get_rank() if several() else 0


def from_first(value: Any) -> Any:
    """Return the value of the first process."""
    held = [value]
    if several():
        distributed.broadcast_object_list(held)
    return held[0]


def check_same(numbers: Tensor) -> None:
    """Raise ValueError if `numbers` (n,), which identify the rows, differ."""
    both = torch.stack([numbers, -numbers])
    distributed.all_reduce(both, distributed.ReduceOp.MAX)
    if not torch.allclose(both[0], -both[1], rtol=1e-4):
        raise ValueError(
            "The processes received different rows. Pass the same X, y and X_unlabeled "
            "to each; every process draws different batches from them."
        )


def average(tensors: Sequence[Tensor]) -> None:
    """Average tensors over the processes in place, in one message."""
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))
