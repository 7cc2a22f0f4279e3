"""Parts that encoders share: dense layers, attention heads, positions, masking."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout that draws 16 random bits per value on a CPU, a quarter of torch's.

    The draws dominate the time. The probability is rounded to a multiple of 2**-16.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Set random values to 0 in training, and scale up the others."""
        n_kept = round(2**16 * (1 - self.p))  # of 2**16 draws
        if not (self.training and 0 < n_kept < 2**16 and x.device.type == "cpu"):
            return super().forward(x)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64)
        draws.random_(-(2**63), None)
        draws = draws.view(torch.int16)[: x.numel()].view(x.shape)
        kept = torch.ge(draws, 2**15 - n_kept, out=torch.empty_like(x))
        return x * kept.mul_(2**16 / n_kept)


def hidden_layer(width: int, out: int, dropout: float) -> list[nn.Module]:
    """Return a dense layer: linear, batch normalization, ReLU and dropout."""
    return [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU(), Dropout(dropout)]


def dense_head(width: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
    """Return dropout, a hidden layer and a linear layer."""
    layer = hidden_layer(width, hidden, dropout)
    return nn.Sequential(Dropout(dropout), *layer, nn.Linear(hidden, out))


def feed_forward(
    width: int, hidden: int, activation: nn.Module, dropout: float
) -> nn.Sequential:
    """Return the two dense layers that follow attention."""
    wide = [nn.Linear(width, hidden), activation, Dropout(dropout)]
    return nn.Sequential(*wide, nn.Linear(hidden, width), Dropout(dropout))


def check_heads(model_dim: int, n_heads: int) -> None:
    """Refuse a `model_dim` that the heads cannot share evenly."""
    if model_dim % n_heads:
        raise ValueError(
            f"model_dim={model_dim} must be a multiple of n_heads={n_heads}."
        )


def heads(query_key_value: Tensor, n_heads: int) -> Tensor:
    """Split (B, T, 3 C) into queries, keys and values: (3, B, H, T, C / H)."""
    split = query_key_value.view(*query_key_value.shape[:2], 3, n_heads, -1)
    return split.permute(2, 0, 3, 1, 4)


def positions(x: Tensor, times: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return the times (B, T), 0 where unobserved, or else step indices (1, T)."""
    if times is None:
        return torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[None]
    return times if mask is None else times.masked_fill(~mask, 0.0)


def sinusoids(positions: Tensor, dim: int, longest: float = 10000.0) -> Tensor:
    """Encode positions by sines and cosines: (B, T) to (B, T, dim).

    Periods are spaced geometrically from 2 pi to 2 pi times `longest` (Vaswani et al.,
    "Attention is all you need", NeurIPS 2017, arXiv:1706.03762).
    """
    even = torch.arange(0, dim, 2, device=positions.device)
    angles = positions.float()[..., None] * longest ** (-even / dim)  # (B, T, dim / 2)
    encoding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return encoding[..., :dim]  # an odd size drops the last cosine


def without_gaps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set unobserved steps of a series (B, T, C) to 0."""
    return x if mask is None else x.masked_fill(~mask[..., None], 0.0)


def attention_mask(mask: Tensor | None) -> Tensor | None:
    """Broadcast a mask over heads and queries: (B, T) to (B, 1, 1, T)."""
    return None if mask is None else mask[:, None, None]


def mean_over_steps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Average the observed steps: (B, T, C) to (B, C)."""
    if mask is None:
        return x.mean(dim=1)
    return without_gaps(x, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def normalized(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor | None) -> Tensor:
    """Normalize the observed steps of (B, T, C) and set the others to 0."""
    if mask is None or not norm.training:
        return without_gaps(norm(x.flatten(0, 1)).view_as(x), mask)
    observed = norm(x[mask])  # (number of observed steps, C)
    return torch.zeros_like(x).masked_scatter(mask[..., None], observed)


def _on_plain_cpu(x: Tensor) -> bool:
    """Return whether torch runs in float32 on a CPU, without compiling."""
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()  # nor exporting
        and not torch.is_autocast_enabled("cpu")
    )


#: Largest ratio of dense to sparse products for which a convolution is one product.
MAX_DENSE_RATIO = 1.4


def convolved(convolution: Any, x: Tensor) -> Tensor:
    """Convolve a series with padding ``"same"``: (B, T, C) to (B, T, out)."""
    if convolution.kernel_size == (1,):
        return F.linear(x, convolution.weight[..., 0], convolution.bias)
    if not _on_plain_cpu(x):
        return convolution(x.mT).mT
    weight, n_steps = convolution.weight, x.shape[1]
    size = weight.shape[2]
    n_products = sum(
        last - first for first, last in _windows(n_steps, size, (size - 1) // 2)
    )
    if n_steps**2 <= MAX_DENSE_RATIO * n_products:
        y = _in_one_product(x, weight)
    else:
        y = _Convolution.apply(x, weight)  # type: ignore[no-untyped-call]
    return y if convolution.bias is None else y + convolution.bias


def _in_one_product(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve by one dense matrix from all steps to all steps."""
    n, size = x.shape[1], weight.shape[2]
    before = (size - 1) // 2
    lags = weight.permute(1, 2, 0).flip(1)  # (C, size, out)
    lags = F.pad(lags, (0, 0, n + before - size, n - 1 - before))  # (C, 2T - 1, out)
    rows = [lags[:, n - 1 - t : 2 * n - 1 - t] for t in range(n)]
    matrix = torch.stack(rows).view(n * x.shape[2], -1)  # (T * C, T * out)
    return (x.flatten(1) @ matrix).view(*x.shape[:2], -1)


class _Convolution(torch.autograd.Function):
    """A convolution over time as one matrix product per step.

    Two to three times as fast as torch on a CPU for short series: it multiplies no
    padding, and copies or reorders nothing.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return _at_each_step(x, weight.permute(2, 1, 0), (weight.shape[2] - 1) // 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        grad, size = grads[0].contiguous(), weight.shape[2]
        before = (size - 1) // 2
        grad_x = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(2).permute(2, 0, 1)
            grad_x = _at_each_step(grad, turned, size - 1 - before)
        n_in = x.shape[2]
        grad_weight = weight.new_zeros(size * n_in, weight.shape[0])
        for t, steps, lags in _columns(x.shape[1], size, before, n_in):
            grad_weight[lags].addmm_(x.flatten(1)[:, steps].T, grad[:, t])
        return grad_x, grad_weight.view(size, n_in, -1).permute(2, 1, 0)


def _at_each_step(x: Tensor, weight: Tensor, before: int) -> Tensor:
    """Multiply the window around each step by weights (size, C, out)."""
    size, n_in, n_out = weight.shape
    weight = weight.reshape(size * n_in, n_out)
    y = x.new_empty(*x.shape[:2], n_out)
    for t, steps, lags in _columns(x.shape[1], size, before, n_in):
        torch.mm(x.flatten(1)[:, steps], weight[lags], out=y[:, t])
    return y


def _windows(n_steps: int, size: int, before: int) -> Iterator[tuple[int, int]]:
    """Iterate over the window of each step: its first step, and the one after it."""
    for t in range(n_steps):
        yield max(t - before, 0), min(t - before + size, n_steps)


def _columns(
    n_steps: int, size: int, before: int, width: int
) -> Iterator[tuple[int, slice, slice]]:
    """Iterate over steps, with the columns of their windows and of the kernel."""
    for t, (first, last) in enumerate(_windows(n_steps, size, before)):
        lag = before - t
        yield (
            t,
            slice(first * width, last * width),
            slice((first + lag) * width, (last + lag) * width),
        )


def max_of_three(x: Tensor) -> Tensor:
    """Max-pool a series (B, T, C) over three steps, keeping its shape."""
    if not _on_plain_cpu(x):
        return F.max_pool1d(x.mT, 3, stride=1, padding=1).mT
    largest: Tensor = _MaxOfThree.apply(x)  # type: ignore[no-untyped-call]
    return largest


class _MaxOfThree(torch.autograd.Function):
    """Max pooling of a series with channels last, much faster than torch.

    Equal maxima share the gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        around = F.pad(x, (0, 0, 1, 1), value=-torch.inf)
        y = torch.maximum(around[:, :-2], x).maximum(around[:, 2:])
        ctx.save_for_backward(around, y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        around, y = ctx.saved_tensors
        n = y.shape[1]
        largest = [
            torch.eq(around[:, i : i + n], y, out=torch.empty_like(y)) for i in range(3)
        ]
        share = grads[0] / (largest[0] + largest[1] + largest[2])
        grad = torch.zeros_like(around)
        for i in range(3):
            grad[:, i : i + n].addcmul_(largest[i], share)
        return grad[:, 1:-1]
