"""A linear layer, the smallest encoder."""

import math

from torch import Tensor, nn


class LinearEncoder(nn.Module):
    """One linear layer on the flattened modality.

    Shape: ``(B, *input_shape)`` to ``(B, embedding_dim)``.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample, of any rank.
    embedding_dim : int
    """

    def __init__(self, input_shape: tuple[int, ...], embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), embedding_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        return self.linear(x.flatten(1))
