"""The temporal attention encoder, for time series."""

import torch.nn.functional as F
from torch import Tensor, nn

import sklearn_colearn.encoders.steps as steps


class TAEEncoder(nn.Module):
    """TAE: each head attends to the steps with a query computed from the series.

    All heads share the values, which are the steps with their positions. The master
    query is computed from the mean of the steps' queries. Both skip unobserved steps.
    Each step is normalized separately. The paper encodes sets of pixels; here each row
    is one series, encoded by a linear layer.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; times and mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    model_dim : int, default=64
        Size C of a step after a linear layer.
    n_heads : int, default=4
        Number H of attention heads; the dense layer has ``n_heads * model_dim`` inputs.
    key_dim : int, default=16
        Size K of keys and queries.
    hidden_dim : int, default=128
        Width of the dense layer.
    dropout : float, default=0.2
        Before and after the dense layer.

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
        self.n_heads, width = n_heads, n_heads * key_dim
        self.step = nn.Sequential(
            nn.Linear(input_shape[1], model_dim), nn.LayerNorm(model_dim)
        )
        self.query = nn.Linear(model_dim, width)
        # A bias would shift all steps of a head equally, which softmax cancels.
        self.key = nn.Linear(model_dim, width, bias=False)
        self.master = nn.Linear(width, width)
        values = n_heads * model_dim
        self.dense = steps.dense_head(values, hidden_dim, embedding_dim, dropout)

    def forward(
        self, x: Tensor, times: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Encode a batch."""
        when = steps.positions(x, times, mask)
        x = self.step(steps.without_gaps(x, mask))  # (B, T, C)
        x = x + steps.sinusoids(when, x.shape[2], longest=1000.0)
        query = self.master(steps.mean_over_steps(self.query(x), mask))  # (B, H * K)
        query = query.unflatten(1, (self.n_heads, 1, -1))  # (B, H, 1, K)
        key = self.key(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
        value = x[:, None].expand(-1, self.n_heads, -1, -1)  # (B, H, T, C)
        seen = F.scaled_dot_product_attention(  # (B, H, 1, C)
            query, key, value, attn_mask=steps.attention_mask(mask)
        )
        return self.dense(seen.flatten(1))  # (B, D)
