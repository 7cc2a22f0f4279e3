"""A multi-layer perceptron, for tables."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from sklearn_colearn.encoders.steps import hidden_layer


class MLPEncoder(nn.Module):
    """Fully connected layers on the flattened modality.

    A hidden layer consists of a linear layer, batch normalization, ReLU and dropout. A
    linear layer gives the embedding.
    Shape: ``(B, *input_shape)`` to ``(B, embedding_dim)``.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample, of any rank.
    embedding_dim : int
    hidden_dims : sequence of int, default=(128, 128)
        Widths of the hidden layers.
    dropout : float, default=0.2
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
        widths = [math.prod(input_shape), *hidden_dims]
        hidden = [m for pair in pairwise(widths) for m in hidden_layer(*pair, dropout)]
        self.layers = nn.Sequential(
            nn.Flatten(), *hidden, nn.Linear(widths[-1], embedding_dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch."""
        return self.layers(x)
