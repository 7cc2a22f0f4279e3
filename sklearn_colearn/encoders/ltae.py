"""The lightweight temporal attention encoder, for time series."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_colearn.encoders.steps import (
    attention_mask,
    check_heads,
    positions,
    sinusoids,
    without_gaps,
)

__all__ = ["LTAEEncoder"]


class LTAEEncoder(nn.Module):
    """L-TAE: each head weighs its own channels of all steps by one learnt query.

    Steps that were not observed have no weight.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_timesteps, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    model_dim : int, default=128
        Size C of a step, after a linear layer on its bands; a multiple of `n_heads`.
    n_heads : int, default=16
        Number H of heads, each with ``C / H`` channels.
    key_dim : int, default=8
        Size K of keys and queries.
    hidden_dim : int, default=128
        Width of the dense layer.
    dropout : float, default=0.2
        Share of values set to zero in training, before and after the dense layer.

    Notes
    -----
    Shape: ``(B, n_timesteps, n_bands)`` to ``(B, D)``; ``times`` and ``mask`` of
    ``(B, n_timesteps)``. Steps are normalised one by one.

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
        check_heads(model_dim, n_heads)
        self.step = nn.Sequential(
            nn.Linear(input_shape[1], model_dim), nn.LayerNorm(model_dim)
        )
        width = model_dim // n_heads
        # In place: otherwise torch loads its compiler when a model is read from a file.
        self.query = nn.Parameter(torch.randn(n_heads, 1, key_dim))
        self.key = nn.Parameter(torch.randn(n_heads, width, key_dim).div_(width**0.5))
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(model_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, embedding_dim),
        )

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        n_heads, width, _ = self.key.shape
        when = sinusoids(positions(x, times, mask), width, longest=1000.0)
        x = self.step(without_gaps(x, mask))  # (B, T, bands) -> (B, T, C)
        value = x.view(*x.shape[:2], n_heads, width).transpose(1, 2)  # (B, H, T, C / H)
        value = value + when[:, None]
        seen = F.scaled_dot_product_attention(
            self.query.expand(x.shape[0], -1, -1, -1),  # (B, H, 1, K)
            value @ self.key,  # (B, H, T, K)
            value,
            attn_mask=attention_mask(mask),
        )  # (B, H, 1, C / H)
        return self.dense(seen.flatten(1))  # (B, D)
