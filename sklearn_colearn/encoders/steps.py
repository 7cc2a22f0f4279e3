"""What several encoders share: dense layers, positions of steps, gaps among them."""

import torch
from torch import Tensor, nn


def hidden_layer(width: int, out: int, dropout: float) -> list[nn.Module]:
    """Return a dense layer: linear, batch normalisation, ReLU and dropout."""
    return [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU(), nn.Dropout(dropout)]


def check_heads(model_dim: int, n_heads: int) -> None:
    """Refuse a size that the heads cannot share evenly."""
    if model_dim % n_heads:
        raise ValueError(
            f"model_dim={model_dim} must be a multiple of n_heads={n_heads}."
        )


def positions(x: Tensor, times: Tensor | None, mask: Tensor | None) -> Tensor:
    """Return the times of the steps of a series (B, T, ...), or else their indices.

    The result has the shape (B, T) or (1, T). Steps that were not observed are at 0.
    """
    if times is None:
        return torch.arange(x.shape[1], dtype=torch.float32, device=x.device)[None]
    return times if mask is None else times.masked_fill(~mask, 0.0)


def sinusoids(positions: Tensor, dim: int, longest: float = 10000.0) -> Tensor:
    """Encode positions by sines and cosines: (B, T) to (B, T, dim).

    The periods are spaced geometrically from 2 pi to 2 pi times `longest`.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.
    """
    even = torch.arange(0, dim, 2, device=positions.device)
    angles = positions.float()[..., None] * longest ** (-even / dim)  # (B, T, dim / 2)
    encoding = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
    return encoding[..., :dim]  # an odd size leaves out the last cosine


def without_gaps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Set the steps of a series (B, T, ...) that were not observed to 0."""
    return x if mask is None else x.masked_fill(~mask[..., None], 0.0)


def attention_mask(mask: Tensor | None) -> Tensor | None:
    """Let every head and query attend to the observed steps: (B, T) to (B, 1, 1, T)."""
    return None if mask is None else mask[:, None, None]


def mean_over_steps(x: Tensor, mask: Tensor | None) -> Tensor:
    """Average the observed steps: (B, T, C) to (B, C)."""
    if mask is None:
        return x.mean(dim=1)
    return without_gaps(x, mask).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def normalized(norm: nn.BatchNorm1d, x: Tensor, mask: Tensor | None) -> Tensor:
    """Normalise (B, C, T) by the statistics of the observed steps; the others are 0."""
    if mask is None:
        return norm(x)
    if not norm.training:
        return norm(x).masked_fill(~mask[:, None], 0.0)
    steps = x.transpose(1, 2)  # (B, T, C)
    observed = norm(steps[mask])  # (number of observed steps, C)
    return torch.zeros_like(steps).masked_scatter(mask[..., None], observed).mT
