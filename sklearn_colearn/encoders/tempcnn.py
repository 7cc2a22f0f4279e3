"""Temporal convolutions, for time series."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["TempCNNEncoder"]


class TempCNNEncoder(nn.Module):
    """TempCNN: convolutions along time, then a dense layer on all time steps.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_timesteps, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    n_channels : int, default=128
        Channels C of each convolution; the dense layer has ``4 * n_channels``.
    n_layers : int, default=2
        Number of convolutions.
    kernel_size : int, default=5
        Time steps that a convolution sees.
    dropout : float, default=0.2
        Share of values set to zero in training, after every layer.

    Notes
    -----
    Shape: ``(B, n_timesteps, n_bands)`` to ``(B, D)``. The defaults are those of the
    co-learning paper; the architecture's own paper uses three layers and dropout 0.5.

    References
    ----------
    Pelletier, Webb, Petitjean, "Temporal convolutional neural network for the
    classification of satellite image time series", Remote Sensing 11(5):523, 2019,
    doi:10.3390/rs11050523.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        n_channels: int = 128,
        n_layers: int = 2,
        kernel_size: int = 5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        n_timesteps, width = input_shape
        layers: list[nn.Module] = []
        for _ in range(n_layers):
            layers += [
                nn.Conv1d(width, n_channels, kernel_size, padding="same"),
                nn.BatchNorm1d(n_channels),
                nn.ReLU(),
                nn.Dropout(dropout),
            ]
            width = n_channels
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(width * n_timesteps, 4 * n_channels),
            nn.BatchNorm1d(4 * n_channels),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4 * n_channels, embedding_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = x.transpose(1, 2)  # (B, T, bands) -> (B, bands, T)
        x = self.convolutions(x)  # (B, C, T)
        return self.dense(x)  # (B, D)
