"""InceptionTime: convolutions of several lengths, for time series."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sklearn_colearn.encoders.steps import (
    mean_over_steps,
    normalized,
    without_gaps,
)

__all__ = ["InceptionTimeEncoder"]


class InceptionTimeEncoder(nn.Module):
    """InceptionTime: convolutions of several lengths side by side, then the mean.

    A module takes all channels to a few (the bottleneck), then goes along time with a
    kernel of each length, and, beside them, with a maximum of three steps; three
    modules have a connection past them. The mean over time and a linear layer give
    the embedding. Steps that were not observed are 0 to the first convolutions, and
    have no weight in normalisation and mean.

    Parameters
    ----------
    input_shape : tuple of int
        ``(n_timesteps, n_bands)``.
    embedding_dim : int
        Size D of the embedding.
    n_channels : int, default=32
        Channels C of each convolution; a module has one more than there are kernels,
        side by side.
    n_layers : int, default=3
        Number of modules.
    kernel_sizes : sequence of int, default=(9, 19, 39)
        Odd. What of a kernel is longer than the series is left out.
    dropout : float, default=0.2
        Share of values set to zero in training, before the linear layer.

    Notes
    -----
    Shape: ``(B, n_timesteps, n_bands)`` to ``(B, D)``; ``mask`` of
    ``(B, n_timesteps)``.
    The paper has six modules, kernels of 10, 20 and 40, no dropout, and the mean of
    five such networks.

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
        even = [size for size in kernel_sizes if size % 2 == 0]
        if even or not kernel_sizes:
            raise ValueError(
                f"kernel_sizes are odd numbers, one at least; got {list(kernel_sizes)}."
            )
        n_timesteps, width = input_shape
        # Further out there is nothing but padding.
        sizes = [min(size, 2 * n_timesteps - 1) for size in kernel_sizes]
        n_out = n_channels * (len(sizes) + 1)
        self.inceptions = nn.ModuleList()
        self.shortcuts = nn.ModuleList()
        past = width
        for number in range(1, n_layers + 1):
            self.inceptions.append(_Inception(width, n_channels, sizes))
            width = n_out
            if number % 3 == 0:
                self.shortcuts.append(_Normed(nn.Conv1d(past, n_out, 1, bias=False)))
                past = n_out
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_out, embedding_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch."""
        x = without_gaps(x, mask).transpose(1, 2)  # (B, T, bands) -> (B, bands, T)
        past = x
        for number, module in enumerate(self.inceptions):
            x = module(x, mask)  # (B, 4 C, T)
            if number % 3 == 2:
                x = F.relu(x + self.shortcuts[number // 3](past, mask))
                past = x
        pooled = mean_over_steps(x.transpose(1, 2), mask)  # (B, 4 C)
        return self.head(self.dropout(pooled))  # (B, D)


class _Normed(nn.Module):
    """A convolution and the normalisation by what was observed."""

    def __init__(self, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm1d(convolution.out_channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return normalized(self.norm, self.convolution(x), mask)


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
        narrow = self.bottleneck(x)
        parts = [convolution(narrow) for convolution in self.convolutions]
        parts.append(self.pooled(F.max_pool1d(x, 3, stride=1, padding=1)))
        return F.relu(normalized(self.norm, torch.cat(parts, dim=1), mask))
