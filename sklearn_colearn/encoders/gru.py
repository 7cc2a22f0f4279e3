"""A gated recurrent unit, for time series."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["GRUEncoder"]


class GRUEncoder(nn.Module):
    """GRU: the state after the last time step, then a linear layer.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_timesteps, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    hidden_dim : int, default=128
        Size H of the state.
    n_layers : int, default=1
        Number of stacked recurrent layers.
    dropout : float, default=0.2
        Share of values set to zero in training, between layers and before the linear
        layer.

    Notes
    -----
    Shape: ``(B, n_timesteps, n_bands)`` to ``(B, D)``.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", EMNLP 2014, doi:10.3115/v1/D14-1179.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        hidden_dim: int = 128,
        n_layers: int = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(
            input_shape[1],
            hidden_dim,
            num_layers=n_layers,
            batch_first=True,
            dropout=dropout if n_layers > 1 else 0.0,
        )
        self.head = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(hidden_dim, embedding_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        states, _ = self.gru(x)  # (B, T, bands) -> (B, T, H)
        return self.head(states[:, -1])  # (B, D)
