"""Temporal convolutions, for time series."""

from torch import Tensor, nn

from sklearn_colearn.encoders.steps import Dropout, convolved, hidden_layer, normalized


class TempCNNEncoder(nn.Module):
    """TempCNN: convolutions along time, then a dense layer on all time steps.

    The defaults follow the co-learning paper; the TempCNN paper uses three layers and
    dropout 0.5.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    n_channels : int, default=128
        Channels of each convolution; the dense layer is ``4 * n_channels`` wide.
    n_layers : int, default=2
        Number of convolutions.
    kernel_size : int, default=5
        Kernel size in time steps.
    dropout : float, default=0.2
        After every layer.

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
                Dropout(dropout),
            ]
            width = n_channels
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(),
            *hidden_layer(width * n_timesteps, 4 * n_channels, dropout),
            nn.Linear(4 * n_channels, embedding_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        for layer in self.convolutions:  # (B, T, C)
            if isinstance(layer, nn.Conv1d):
                x = convolved(layer, x)
            elif isinstance(layer, nn.BatchNorm1d):
                x = normalized(layer, x, None)
            else:
                x = layer(x)
        if x.requires_grad:
            # Gradients that are not contiguous would slow all earlier layers.
            x.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
        return self.dense(x.mT)  # (B, D)
