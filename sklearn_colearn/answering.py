"""Faster networks of one modality for prediction.

Prediction reads three quarters of an embedding, through linear layers only. These fold
into the encoder's last layer, and batch normalization folds into the layer before it.
Outputs are the same up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from sklearn_colearn._compat import BatchNorm
from sklearn_colearn.network import ModalityNetwork

__all__ = ["answering"]

#: Largest difference from the original network, relative to its largest output.
TOLERANCE = 1e-4
#: State and faster network of each original network.
_cache: WeakKeyDictionary[ModalityNetwork, tuple[Any, nn.Module]] = WeakKeyDictionary()


def answering(
    network: ModalityNetwork, x: Tensor, steps: Mapping[str, Tensor]
) -> nn.Module:
    """Return a network that maps a batch to predictions (B, n_outputs) only.

    A network with linear last layers is folded, and compared with the original on the
    batch `x`; `steps` holds further inputs of the encoders.
    """
    state = tuple(
        # Tensors from inference mode have no version.
        (t.data_ptr(), 0 if t.is_inference() else t._version)
        for t in network.state_dict().values()
    )
    if network in _cache and _cache[network][0] == state:
        return _cache[network][1]
    found: nn.Module = _Whole(network)
    expected = found(x, **steps)
    encoders = [network.unique_encoder]
    if network.common_encoder is not None:
        encoders.append(network.common_encoder)
    found_tails = [_tail(encoder, x, steps, network.takes) for encoder in encoders]
    tails = [tail for tail in found_tails if tail is not None]
    if len(tails) == len(encoders):
        folded = _Folded(network, encoders, tails)
        off = (folded(x, **steps) - expected).abs().max()
        if off <= TOLERANCE * expected.abs().max().clamp_min(1.0):
            found = folded
    _cache[network] = state, found
    return found


def _tail(
    encoder: nn.Module, x: Tensor, steps: Mapping[str, Tensor], takes: tuple[str, ...]
) -> str | None:
    """Return the name of the linear layer that gives the encoder's output, or None."""
    outputs: list[tuple[str, Tensor]] = []
    hooks = [
        layer.register_forward_hook(
            lambda layer, x, y, name=name: outputs.append((name, y))
        )
        for name, layer in encoder.named_modules()
        if type(layer) is nn.Linear
    ]
    try:
        embedding = encoder(x, **{name: steps.get(name) for name in takes})
    finally:
        for hook in hooks:
            hook.remove()
    own = [name for name, y in outputs if y is embedding]
    return own[0] if len(own) == 1 else None


class _Whole(nn.Module):
    def __init__(self, network: ModalityNetwork) -> None:
        super().__init__()
        self.forward_all = network.forward

    def forward(self, x: Tensor, **steps: Tensor) -> Tensor:
        return self.forward_all(x, **steps).prediction


class _Folded(nn.Module):
    def __init__(
        self,
        network: ModalityNetwork,
        encoders: Sequence[nn.Module],
        tails: Sequence[str],
    ) -> None:
        super().__init__()
        linear, norm, _ = network.shared
        assert isinstance(linear, nn.Linear)
        assert isinstance(norm, nn.BatchNorm1d)
        shared, head = fuse_linear_bn_eval(linear, norm), network.head
        half = shared.out_features
        specific = _linear(head.weight[:, :half], head.bias)
        self.takes, self.n_outputs = network.takes, head.out_features
        self.head = head.weight[:, half:].detach()
        # For each encoder: the layers on it, and the part of the embedding they read.
        parts = [{specific: slice(0, half)}, {shared: slice(0, 2 * half)}]
        if len(encoders) == 1:
            parts = [{specific: slice(0, half), shared: slice(2 * half, 4 * half)}]
        self.encoders = nn.ModuleList(map(_with_last_layer, encoders, tails, parts))

    def forward(self, x: Tensor, **steps: Tensor) -> Tensor:
        steps = {name: steps[name] for name in self.takes if name in steps}
        z = torch.cat([encoder(x, **steps) for encoder in self.encoders], dim=1)
        direct, shared = z[:, : self.n_outputs], z[:, self.n_outputs :]
        return direct + F.linear(F.relu(shared), self.head)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Make a layer from weights without drawing random ones first."""
    n_out, n_in = weight.shape
    layer = nn.Linear(n_in, n_out, device="meta")
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


def _with_last_layer(
    encoder: nn.Module, tail: str, parts: Mapping[nn.Linear, slice]
) -> nn.Module:
    """Return a copy of an encoder with layers on its embedding folded into its last."""
    encoder = copy.deepcopy(encoder)
    last = encoder.get_submodule(tail)
    assert isinstance(last, nn.Linear)
    bias = torch.zeros(last.out_features).to(last.weight)
    bias = bias if last.bias is None else last.bias
    weights = [layer.weight @ last.weight[some] for layer, some in parts.items()]
    biases = [layer.weight @ bias[some] + layer.bias for layer, some in parts.items()]
    folded = _linear(torch.cat(weights), torch.cat(biases))
    if not tail:
        return folded
    parent, _, name = tail.rpartition(".")
    setattr(encoder.get_submodule(parent), name, folded)
    for block in [m for m in encoder.modules() if isinstance(m, nn.Sequential)]:
        for (name, layer), (after, norm) in pairwise([*block.named_children()]):
            if not (isinstance(norm, BatchNorm) and norm.track_running_stats):
                continue
            if type(layer) is nn.Linear:
                setattr(block, name, fuse_linear_bn_eval(layer, norm))
            elif isinstance(layer, nn.Conv1d | nn.Conv2d):
                setattr(block, name, fuse_conv_bn_eval(layer, norm))
            else:
                continue
            setattr(block, after, nn.Identity())
    return encoder
