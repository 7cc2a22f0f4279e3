"""A small residual network, for images."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_colearn.encoders.steps import Dropout


class ResNetEncoder(nn.Module):
    """ResNet: residual blocks of 3 x 3 convolutions, then the mean over the pixels.

    Each block but the first halves height and width. The network is small and reads
    chips of any size, such as 9 x 9 pixels around a plot.
    Shape: ``(B, height, width, n_bands)`` to ``(B, embedding_dim)``.

    Parameters
    ----------
    input_shape : tuple of int ``(height, width, n_bands)``
    embedding_dim : int
    n_channels : sequence of int, default=(32, 64, 128)
        Channels of each block.
    dropout : float, default=0.2
        Before the linear layer.

    References
    ----------
    He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016,
    doi:10.1109/CVPR.2016.90.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        n_channels: Sequence[int] = (32, 64, 128),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not n_channels:
            raise ValueError(
                "n_channels must list the channels of one or more blocks; got "
                f"{n_channels!r}."
            )
        width = n_channels[0]
        layers: list[nn.Module] = [
            nn.Conv2d(input_shape[2], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for number, out in enumerate(n_channels):
            layers.append(_Block(width, out, stride=1 if number == 0 else 2))
            width = out
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Sequential(Dropout(dropout), nn.Linear(width, embedding_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        x = self.blocks(x.permute(0, 3, 1, 2))  # (B, n_channels[-1], h, w)
        return self.head(x.mean(dim=(2, 3)))  # (B, D)


class _Block(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(width, out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolutions(x) + self.shortcut(x))
