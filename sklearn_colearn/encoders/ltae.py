"""The lightweight temporal attention encoder, for time series."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps


class LTAEEncoder(nn.Module):
    """L-TAE: each head attends to its own channels of the steps with a learned query.

    Unobserved steps are skipped. Each step is normalized separately.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    model_dim : int, default=128
        Size C of a step after a linear layer, a multiple of `n_heads`.
    n_heads : int, default=16
        Number H of attention heads, each with ``C / H`` channels.
    key_dim : int, default=8
        Size K of keys and queries.
    hidden_dim : int, default=128
        Width of the dense layer.
    dropout : float, default=0.2
        Before and after the dense layer.

    References
    ----------
    Garnot, Landrieu, "Lightweight temporal self-attention for classifying satellite
    images time series", AALTD 2020, doi:10.1007/978-3-030-65742-0_12.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        model_dim: int = 128,
        n_heads: int = 16,
        key_dim: int = 8,
        hidden_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        steps.check_heads(model_dim, n_heads)
        self.step = nn.Sequential(
            nn.Linear(input_shape[1], model_dim), nn.LayerNorm(model_dim)
        )
        width = model_dim // n_heads
        # In place: a division would load torch's compiler when a model is loaded.
        self.query = nn.Parameter(torch.randn(n_heads, 1, key_dim))
        self.key = nn.Parameter(torch.randn(n_heads, width, key_dim).div_(width**0.5))
        self.dense = steps.dense_head(model_dim, hidden_dim, embedding_dim, dropout)

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        n_heads, width, key_dim = self.key.shape
        x = steps.without_gaps(x, mask)
        when = steps.sinusoids(steps.positions(x, times, mask), width, longest=1000.0)
        # A step has few bands and many channels, so values per step and channel are
        # never computed. The linear layer and the normalization are applied after
        # attention has summed the steps; only the variance of a step comes before.
        linear: Any
        norm: Any
        linear, norm = self.step
        bands = F.pad(x, (0, 1), value=1.0)  # (B, T, n_bands + 1)
        weight = torch.cat([linear.weight, linear.bias[:, None]], dim=1)
        weight = weight - weight.sum(dim=0) / len(weight)  # (C, n_bands + 1)
        variance = (bands @ (weight.T @ weight / len(weight)) * bands).sum(2, True)
        bands = bands * (variance + norm.eps).rsqrt()
        n_bands = bands.shape[2]
        weight = (norm.weight[:, None] * weight).view(n_heads, width, n_bands)
        # All rows share the query, so it is multiplied with the key weights first.
        query = self.key @ self.query.mT / key_dim**0.5  # (H, C / H, 1)
        score = bands @ (query.mT @ weight)[:, 0].T + when @ query[..., 0].T
        if mask is not None:
            score = score.masked_fill(~mask[..., None], -torch.inf)
        attention = score.softmax(dim=1).mT  # (B, H, T)
        when = when.expand(x.shape[0], -1, -1)
        summed = attention @ torch.cat([bands, when], dim=2)
        bands, when = summed.split([n_bands, width], dim=2)  # (B, H, ...)
        # One block-diagonal product is faster than one product per head.
        heads = torch.eye(n_heads, device=x.device)[:, None, :, None]
        weight = (weight.mT[:, :, None] * heads).reshape(n_heads * n_bands, -1)
        seen = torch.addmm(when.flatten(1) + norm.bias, bands.flatten(1), weight)
        return self.dense(seen)  # (B, D)
