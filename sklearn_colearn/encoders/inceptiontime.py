"""Parallel convolutions of several lengths, for time series."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_colearn.encoders.steps import (
    Dropout,
    convolved,
    max_of_three,
    mean_over_steps,
    normalized,
    without_gaps,
)


class InceptionTimeEncoder(nn.Module):
    """InceptionTime: parallel convolutions of several lengths, then the mean over time.

    Each module reduces the channels (the bottleneck), then runs one convolution per
    length and a max pooling over three steps in parallel. Residual connections span
    three modules. A linear layer gives the embedding. The first convolutions read
    unobserved steps as 0; normalization and mean skip them. The paper uses six modules,
    kernels of 10, 20 and 40, no dropout, and averages five networks.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    n_channels : int, default=32
        Channels C of each convolution and of the max pooling.
    n_layers : int, default=3
        Number of modules.
    kernel_sizes : sequence of int, default=(9, 19, 39)
        Odd kernel sizes. Larger kernels are cropped to ``2 * n_timesteps - 1``.
    dropout : float, default=0.2
        Before the linear layer.

    References
    ----------
    Ismail Fawaz et al., "InceptionTime: finding AlexNet for time series
    classification", Data Mining and Knowledge Discovery 34:1936, 2020,
    doi:10.1007/s10618-020-00710-y.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        n_channels: int = 32,
        n_layers: int = 3,
        kernel_sizes: Sequence[int] = (9, 19, 39),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not kernel_sizes or any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(
                "kernel_sizes must hold one or more odd numbers; got "
                f"{[*kernel_sizes]}."
            )
        n_timesteps, width = input_shape
        # Longer kernels would see only more padding.
        sizes = [min(size, 2 * n_timesteps - 1) for size in kernel_sizes]
        n_out = n_channels * (len(sizes) + 1)
        self.inceptions, self.shortcuts = nn.ModuleList(), nn.ModuleList()
        past = width
        for number in range(1, n_layers + 1):
            self.inceptions.append(_Inception(width, n_channels, sizes))
            width = n_out
            if number % 3 == 0:
                self.shortcuts.append(_Normed(nn.Conv1d(past, n_out, 1, bias=False)))
                past = n_out
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(n_out, embedding_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch."""
        x = past = without_gaps(x, mask)
        for number, module in enumerate(self.inceptions):
            x = module(x, mask)  # (B, T, 4 C)
            if number % 3 == 2:
                x = past = F.relu(x + self.shortcuts[number // 3](past, mask))
        pooled = mean_over_steps(x, mask)  # (B, 4 C)
        return self.head(self.dropout(pooled))  # (B, D)


class _Normed(nn.Module):
    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm1d(convolution.out_channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return normalized(self.norm, convolved(self.convolution, x), mask)


class _Inception(nn.Module):
    def __init__(self, width: int, n_channels: int, sizes: Sequence[int]) -> None:
        super().__init__()
        self.bottleneck = nn.Conv1d(width, n_channels, 1, bias=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(n_channels, n_channels, size, padding="same", bias=False)
            for size in sizes
        )
        self.pooled = nn.Conv1d(width, n_channels, 1, bias=False)
        self.norm = nn.BatchNorm1d(n_channels * (len(sizes) + 1))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        narrow = convolved(self.bottleneck, x)
        parts = [convolved(convolution, narrow) for convolution in self.convolutions]
        parts.append(convolved(self.pooled, max_of_three(x)))
        return F.relu(normalized(self.norm, torch.cat(parts, dim=2), mask))
