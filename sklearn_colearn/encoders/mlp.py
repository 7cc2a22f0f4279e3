"""A multi-layer perceptron, for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["MLPEncoder"]


class MLPEncoder(nn.Module):
    """Fully connected layers on the flattened modality.

    Each hidden layer is linear, batch normalisation, ReLU, dropout; a linear layer
    gives the embedding.

    Parameters
    ----------
    input_shape : tuple of int
        Trailing shape of the modality, of any rank.
    embedding_dim : int
        Size D of the embedding.
    hidden_dims : sequence of int, default=(128, 128)
        Width of each hidden layer.
    dropout : float, default=0.2
        Share of hidden values set to zero in training.

    Notes
    -----
    Shape: ``(B, *input_shape)`` to ``(B, D)``.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        hidden_dims: Sequence[int] = (128, 128),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        width = math.prod(input_shape)
        for hidden_dim in hidden_dims:
            layers += [
                nn.Linear(width, hidden_dim),
                nn.BatchNorm1d(hidden_dim),
                nn.ReLU(),
                nn.Dropout(dropout),
            ]
            width = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(width, embedding_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        return self.layers(x)
