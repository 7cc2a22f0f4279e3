"""Convolutions followed by attention with time lags, for time series."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps

#: Dates are encoded as in a daily series of this length. Longer lags are clipped.
DAYS = 365


class ConvTranEncoder(nn.Module):
    """ConvTran: convolutions over time, then over bands, then attention.

    Positions are added to the steps (tAPE). Attention weights get a learned bias per
    head and lag (eRPE), interpolated between whole days and constant beyond 365. The
    mean over time and a linear layer give the embedding. The convolution over time
    ignores dates and reads unobserved steps as 0; normalization, attention and mean
    skip them. The paper uses ``model_dim=16``, 8 heads and kernels of size 8.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    model_dim : int, default=32
        Size C of a step, a multiple of `n_heads`. There are ``4 * model_dim`` filters.
    n_heads : int, default=4
        Number H of attention heads.
    kernel_size : int, default=7
        Kernel size of the convolution over time, in steps.
    hidden_dim : int, default=128
        Width of the dense layer after attention.
    dropout : float, default=0.2

    References
    ----------
    Foumani, Tan, Webb, Salehi, "Improving position encoding of transformers for
    multivariate time series classification", Data Mining and Knowledge Discovery
    38:22, 2024 (online 2023), doi:10.1007/s10618-023-00948-2.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        model_dim: int = 32,
        n_heads: int = 4,
        kernel_size: int = 7,
        hidden_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        steps.check_heads(model_dim, n_heads)
        n_bands, filters = input_shape[1], 4 * model_dim
        self.along_time = nn.Conv1d(1, filters, kernel_size, padding="same", bias=False)
        self.time_norm = nn.BatchNorm1d(filters)
        self.across_bands = nn.Conv1d(n_bands * filters, model_dim, 1, bias=False)
        self.band_norm = nn.BatchNorm1d(model_dim)
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(model_dim, 3 * model_dim)
        self.lag_weights = nn.Parameter(torch.zeros(n_heads, 2 * DAYS + 1))
        self.attention_norm = nn.LayerNorm(model_dim)
        self.dropout = steps.Dropout(dropout)
        self.dense = steps.feed_forward(model_dim, hidden_dim, nn.ReLU(), dropout)
        self.dense_norm = nn.LayerNorm(model_dim)
        self.head = nn.Linear(model_dim, embedding_dim)

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        when = steps.positions(x, times, mask)
        x = self._convolved(steps.without_gaps(x, mask), mask)  # (B, T, C)
        n_timesteps, dim = x.shape[1:]
        length = n_timesteps if times is None else DAYS
        x = x + self.dropout(steps.sinusoids(when * dim / length, dim))
        x = self.attention_norm(x + self.dropout(self._attended(x, when, mask)))
        x = self.dense_norm(x + self.dense(x))
        return self.head(steps.mean_over_steps(x, mask))  # (B, D)

    def _convolved(self, x: Tensor, mask: Tensor | None) -> Tensor:
        n, _, n_bands = x.shape
        band_mask = None if mask is None else mask.repeat_interleave(n_bands, dim=0)
        x = x.mT.flatten(0, 1)[..., None]  # (B * bands, T, 1)
        x = steps.convolved(self.along_time, x)  # (B * bands, T, filters)
        x = F.gelu(steps.normalized(self.time_norm, x, band_mask))
        x = x.view(n, n_bands, *x.shape[1:]).transpose(1, 2).flatten(2)
        x = steps.convolved(self.across_bands, x)  # (B, T, C)
        return F.gelu(steps.normalized(self.band_norm, x, mask))

    def _attended(self, x: Tensor, when: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = steps.heads(self.query_key_value(x), self.n_heads)
        if mask is not None:
            value = value.masked_fill(~mask[:, None, :, None], 0.0)
        attended = steps.attention_mask(mask)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        # As in the paper, lag weights are added after the softmax.
        seen = seen + self._lag_bias(when) @ value  # (B, H, T, C / H)
        return seen.transpose(1, 2).flatten(2)  # (B, T, C)

    def _lag_bias(self, when: Tensor) -> Tensor:
        lags = when[:, :, None] - when[:, None, :]  # (B or 1, T, T)
        place = lags.clamp(-DAYS, DAYS) + DAYS
        below = place.floor().clamp(max=2 * DAYS - 1)
        share = (place - below)[:, None].transpose(0, 1)  # (1, B or 1, T, T)
        low, high = (self.lag_weights[:, below.long() + i] for i in (0, 1))
        return torch.lerp(low, high, share).transpose(0, 1)  # (B or 1, H, T, T)
