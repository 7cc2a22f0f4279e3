"""The temporal attention encoder, for time series."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_colearn.encoders.steps import (
    attention_mask,
    mean_over_steps,
    positions,
    sinusoids,
    without_gaps,
)

__all__ = ["TAEEncoder"]


class TAEEncoder(nn.Module):
    """TAE: each head weighs all steps by one query, drawn from the series itself.

    The values are the steps with their positions, the same for all heads; the master
    query is made of the mean of the steps' queries. Steps that were not observed have
    no weight and no part in that mean.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_timesteps, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    model_dim : int, default=64
        Size C of a step, after a linear layer on its bands.
    n_heads : int, default=4
        Number H of heads; the dense layer has ``n_heads * model_dim`` inputs.
    key_dim : int, default=16
        Size K of keys and queries.
    hidden_dim : int, default=128
        Width of the dense layer.
    dropout : float, default=0.2
        Share of values set to zero in training, before and after the dense layer.

    Notes
    -----
    Shape: ``(B, n_timesteps, n_bands)`` to ``(B, D)``; ``times`` and ``mask`` of
    ``(B, n_timesteps)``. Steps are normalised one by one, and the paper's encoder of
    pixel sets is a linear layer here: a row is one series.

    References
    ----------
    Garnot, Landrieu, Giordano, Chehata, "Satellite image time series classification
    with pixel-set encoders and temporal self-attention", CVPR 2020,
    doi:10.1109/CVPR42600.2020.01234.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        model_dim: int = 64,
        n_heads: int = 4,
        key_dim: int = 16,
        hidden_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_heads, self.key_dim = n_heads, key_dim
        self.step = nn.Sequential(
            nn.Linear(input_shape[1], model_dim), nn.LayerNorm(model_dim)
        )
        self.query = nn.Linear(model_dim, n_heads * key_dim)
        # A bias would give all steps of a head the same, which softmax takes away.
        self.key = nn.Linear(model_dim, n_heads * key_dim, bias=False)
        self.master = nn.Linear(n_heads * key_dim, n_heads * key_dim)
        self.dense = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(n_heads * model_dim, hidden_dim),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, embedding_dim),
        )

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        n, n_timesteps, _ = x.shape
        x = self.step(without_gaps(x, mask))  # (B, T, bands) -> (B, T, C)
        x = x + sinusoids(positions(x, times, mask), x.shape[2], longest=1000.0)
        query = self.master(mean_over_steps(self.query(x), mask))  # (B, H * K)
        query = query.view(n, self.n_heads, 1, self.key_dim)  # (B, H, 1, K)
        key = self.key(x).view(n, n_timesteps, self.n_heads, self.key_dim)
        value = x[:, None].expand(-1, self.n_heads, -1, -1)  # (B, H, T, C)
        seen = F.scaled_dot_product_attention(
            query, key.transpose(1, 2), value, attn_mask=attention_mask(mask)
        )  # (B, H, 1, C)
        return self.dense(seen.flatten(1))  # (B, D)
