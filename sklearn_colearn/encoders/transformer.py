"""A transformer with a class token, for time series."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps


class TransformerEncoder(nn.Module):
    """Transformer: all steps attend to each other; a class token gives the embedding.

    Positions are sinusoidal, and each layer normalizes its input. Attention skips
    unobserved steps.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    model_dim : int, default=64
        Size C of a step after a linear layer, a multiple of `n_heads`.
    n_heads : int, default=4
        Number H of attention heads.
    n_layers : int, default=2
    hidden_dim : int, default=128
        Width of the dense layers after attention.
    dropout : float, default=0.2
        After attention and in the dense layers.

    References
    ----------
    Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.
    The class token: Devlin et al., "BERT: Pre-training of deep bidirectional
    transformers for language understanding", NAACL 2019, doi:10.18653/v1/N19-1423.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        model_dim: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        hidden_dim: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        steps.check_heads(model_dim, n_heads)
        self.step = nn.Linear(input_shape[1], model_dim)
        self.class_token = nn.Parameter(torch.randn(1, 1, model_dim).mul_(0.02))
        self.layers = nn.ModuleList(
            _Layer(model_dim, n_heads, hidden_dim, dropout) for _ in range(n_layers)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(model_dim), nn.Linear(model_dim, embedding_dim)
        )

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        when = steps.positions(x, times, mask)
        x = self.step(steps.without_gaps(x, mask))  # (B, T, C)
        x = x + steps.sinusoids(when, x.shape[2])
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], dim=1)
        if mask is not None:  # the class token always counts as observed
            mask = F.pad(mask, (1, 0), value=True)
        for layer in self.layers:
            x = layer(x, steps.attention_mask(mask))  # (B, 1 + T, C)
        return self.head(x[:, 0])  # (B, D)


class _Layer(nn.Module):
    def __init__(
        self, model_dim: int, n_heads: int, hidden_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm = nn.LayerNorm(model_dim)
        self.query_key_value = nn.Linear(model_dim, 3 * model_dim)
        self.out = nn.Linear(model_dim, model_dim)
        self.dropout = steps.Dropout(dropout)
        dense = steps.feed_forward(model_dim, hidden_dim, nn.GELU(), dropout)
        self.dense = nn.Sequential(nn.LayerNorm(model_dim), *dense)

    def forward(self, x: Tensor, attended: Tensor | None) -> Tensor:
        query_key_value = self.query_key_value(self.norm(x))
        query, key, value = steps.heads(query_key_value, self.n_heads)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=attended)
        x = x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))  # (B, T, C)
        return x + self.dense(x)
