"""The lightweight temporal attention encoder, for time series."""

import torch
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps


class LTAEEncoder(nn.Module):
    """L-TAE: each head attends to its own channels of the steps with a learned query.

    Unobserved steps are left out. Each step is normalized by itself.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    model_dim : int, default=128
        Size C of a step after a linear layer; a multiple of `n_heads`.
    n_heads : int, default=16
        Number H of attention heads, each with ``C / H`` channels.
    key_dim : int, default=8
        Size K of keys and queries.
    hidden_dim : int, default=128
        Width of the dense layer.
    dropout : float, default=0.2
        Dropout probability, before and after the dense layer.

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
        # In place; otherwise torch loads its compiler when a model is read from a file.
        self.query = nn.Parameter(torch.randn(n_heads, 1, key_dim))
        self.key = nn.Parameter(torch.randn(n_heads, width, key_dim).div_(width**0.5))
        self.dense = steps.dense_head(model_dim, hidden_dim, embedding_dim, dropout)

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        n_heads, width, key_dim = self.key.shape
        when = steps.sinusoids(steps.positions(x, times, mask), width, longest=1000.0)
        x = self.step(steps.without_gaps(x, mask))  # (B, T, C)
        value = x + when.repeat(1, 1, n_heads)
        # One query for all rows: it meets the keys before these meet the values. The
        # heads' own channels are told by matrices, which are faster than views.
        of_head = torch.eye(n_heads, device=x.device).repeat_interleave(width, dim=0)
        query = (self.key @ self.query.mT).flatten() / key_dim**0.5  # (C,)
        score = value @ (of_head * query[:, None])  # (B, T, H)
        if mask is not None:
            score = score.masked_fill(~mask[..., None], -torch.inf)
        seen = (score.softmax(dim=1) @ of_head.mT * value).sum(dim=1)  # (B, C)
        return self.dense(seen)  # (B, D)
