"""Recurrent networks, for time series."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from sklearn_colearn.encoders.steps import Dropout


class RNNEncoder(nn.Module):
    """Plain recurrent network: its last state, then a linear layer.

    Unobserved steps are skipped.
    Shape: ``(B, T, n_bands)`` to ``(B, embedding_dim)``; mask: ``(B, T)``.

    Parameters
    ----------
    input_shape : tuple of int ``(n_timesteps, n_bands)``
    embedding_dim : int
    hidden_dim : int, default=128
        Size H of the hidden state.
    n_layers : int, default=1
        Number of stacked recurrent layers.
    bidirectional : bool, default=False
        Whether to also read the series backwards.
    dropout : float, default=0.2
        Between layers and before the linear layer.

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14(2):179, 1990,
    doi:10.1207/s15516709cog1402_1.
    """

    _kind: ClassVar[type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]] = nn.RNN

    def __init__(
        self,
        input_shape: tuple[int, ...],
        embedding_dim: int,
        *,
        hidden_dim: int = 128,
        n_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_directions = 2 if bidirectional else 1
        self.recurrent = self._kind(
            input_shape[1],
            hidden_dim,
            num_layers=n_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if n_layers > 1 else 0.0,
        )
        linear = nn.Linear(self.n_directions * hidden_dim, embedding_dim)
        self.head = nn.Sequential(Dropout(dropout), linear)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode a batch."""
        series: Any = x
        if mask is not None:
            # Move the observed steps to the front, in order, and pack them.
            order = (~mask).int().argsort(dim=1, stable=True)  # (B, T)
            x = x.gather(1, order[..., None].expand_as(x))
            series = pack_padded_sequence(
                x, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False
            )
        _, last = self.recurrent(series)
        last = last[0] if isinstance(last, tuple) else last  # LSTM: (state, cell)
        last = torch.cat([*last[-self.n_directions :]], dim=1)  # (B, H or 2 H)
        return self.head(last)  # (B, D)


class LSTMEncoder(RNNEncoder):
    """Long short-term memory: its last state, then a linear layer.

    Parameters and shapes are those of :class:`RNNEncoder`.

    References
    ----------
    Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9(8):1735,
    1997, doi:10.1162/neco.1997.9.8.1735.
    """

    _kind = nn.LSTM


class GRUEncoder(RNNEncoder):
    """Gated recurrent unit: its last state, then a linear layer.

    Parameters and shapes are those of :class:`RNNEncoder`.

    References
    ----------
    Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", EMNLP 2014, doi:10.3115/v1/D14-1179.
    """

    _kind = nn.GRU
