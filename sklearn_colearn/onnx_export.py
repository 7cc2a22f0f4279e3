"""ONNX files of one modality: scaling, missing values and network in one graph."""

from __future__ import annotations

import copy
import json
import os
import secrets
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_colearn.encoders import RNNEncoder
from sklearn_colearn.network import ModalityNetwork
from sklearn_colearn.single_modality import Scaler

__all__ = ["RawToAnswers", "write_onnx"]

#: Of ONNX; the oldest that has all that torch's exporter writes.
OPSET = 18


class RawToAnswers(nn.Module):
    """What an exported model does between raw values and answers, as one network.

    Parameters
    ----------
    network : ModalityNetwork
        A copy is made.
    scaler : Scaler
        Of the modality.
    missing_value : float or None
        What stands for NaN.
    steps : ndarray of shape (n_timesteps,), float32, or None
        The times of all rows, if all have the same.
    task : {'cross_entropy', 'binary_cross_entropy', 'squared_error'}
        Says what is made of the network's numbers: probabilities or values.
    target : tuple of two ndarray of shape (n_outputs,), optional
        Mean and scale of the target of a regression.

    Notes
    -----
    Shape: ``(B, *input_shape)``, float32 with NaN or `missing_value` where missing, and
    ``(B, n_timesteps)``, float32 days, if times come with each row; to
    ``(B, n_outputs)``, float32, NaN in rows without any value.
    """

    shift: Tensor
    scale: Tensor
    fill: Tensor
    steps: Tensor | None
    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        network: ModalityNetwork,
        scaler: Scaler,
        missing_value: float | None,
        steps: np.ndarray[Any, Any] | None,
        task: str,
        target: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu()
        for name, encoder in self.network.named_children():
            if type(encoder).forward is RNNEncoder.forward:
                assert isinstance(encoder, RNNEncoder)
                setattr(self.network, name, _WithoutPacking(encoder))
        self.missing_value = missing_value
        self.task = task
        mean, spread = target or (None, None)
        arrays = {
            "shift": scaler.shift,
            "scale": scaler.scale,
            "fill": scaler.fill,
            "steps": steps,
            "mean": mean,
            "spread": spread,
        }
        self.indicator = scaler.indicator
        for name, array in arrays.items():
            buffer = None if array is None else torch.tensor(array, dtype=torch.float32)
            self.register_buffer(name, buffer)
        self.eval()

    def forward(self, x: Tensor, times: Tensor | None = None) -> Tensor:
        """Scale, fill, run and answer."""
        missing = x.isnan()
        if self.missing_value is not None:
            missing = missing | (x == self.missing_value)
        scaled = (x - self.shift) / self.scale
        scaled = torch.where(missing | scaled.isnan(), self.fill, scaled)
        if self.indicator:
            share = missing.to(x.dtype).mean(dim=-1, keepdim=True)
            scaled = torch.cat([scaled, share], dim=-1)
        given: dict[str, Tensor] = {}
        if "times" in self.network.takes:
            if times is None and self.steps is not None:
                times = self.steps.expand(x.shape[0], -1)  # len would fix the size
            if times is not None:
                given["times"] = times
        unanswered = missing.flatten(1).all(dim=1, keepdim=True)  # (B, 1)
        if "mask" in self.network.takes:
            given["mask"] = (~missing).any(dim=2) | unanswered  # (B, T)
        answers = self.network(scaled, **given).prediction
        if self.task == "cross_entropy":
            answers = answers.softmax(dim=1)
        elif self.task == "binary_cross_entropy":
            answers = answers.sigmoid()
        else:
            answers = answers * self.spread + self.mean
        return torch.where(unanswered, torch.nan, answers)


class _WithoutPacking(nn.Module):
    """What a recurrent encoder does, without series of several lengths in a batch.

    torch's exporter has none. The observed steps come first; what is behind them is
    run too, and changes nothing in front of it.
    """

    def __init__(self, encoder: RNNEncoder) -> None:
        super().__init__()
        whole = encoder.recurrent
        self.layers, self.head = nn.ModuleList(), encoder.head
        n_bands = whole.input_size
        for layer in range(whole.num_layers):
            directions = nn.ModuleList()
            for suffix in ("", "_reverse")[: encoder.n_directions]:
                one: Any = type(whole)(n_bands, whole.hidden_size, batch_first=True)
                for name, weight in one.named_parameters():  # weight_ih_l0, ...
                    own = getattr(whole, name.replace("0", f"{layer}{suffix}"))
                    weight.data.copy_(own.data)
                directions.append(one)
            self.layers.append(directions)
            n_bands = encoder.n_directions * whole.hidden_size

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1])
        end = mask.sum(dim=1, keepdim=True) - 1  # (B, 1): the last observed step
        x = _steps_of(x, (steps + x.shape[1] * ~mask).argsort(dim=1))
        backwards = (end - steps).clamp(min=0)  # (B, T)
        last: list[Tensor] = []
        for layer in self.layers:
            ways = [
                one(x if i == 0 else _steps_of(x, backwards))[0]
                for i, one in enumerate(layer.children())
            ]
            last = [_steps_of(way, end)[:, 0] for way in ways]
            ways[1:] = [_steps_of(way, backwards) for way in ways[1:]]
            x = torch.cat(ways, dim=2)
        return self.head(torch.cat(last, dim=1))


def _steps_of(x: Tensor, places: Tensor) -> Tensor:
    """Return other steps of each series: (B, T, C) and (B, S) to (B, S, C)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def write_onnx(
    path: str | os.PathLike[str],
    graph: RawToAnswers,
    example: tuple[Tensor, ...],
    names: Mapping[str, Any],
    quantize: bool,
) -> None:
    """Write a network as an ONNX file, in one step.

    Parameters
    ----------
    path : str or path-like
        Where to.
    graph : RawToAnswers
        The network.
    example : tuple of Tensor
        What goes in; the number of rows is free in the file.
    names : mapping of str to values that JSON has
        Kept as metadata of the file.
    quantize : bool
        Whether weights of linear layers are kept as 8-bit integers.
    """
    import onnx

    rows = torch.export.Dim("rows")
    with warnings.catch_warnings():
        # The exporter warns of its own insides; what matters is checked below.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["X", "times"][: len(example)],
            output_names=["answers"],
            dynamic_shapes=tuple({0: rows} for _ in example),
            verbose=False,
        )
    assert program is not None
    if not program.model_proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ValueError(
            "The encoder fixes the number of rows when it is traced; in its forward, "
            "use x.shape[0] in the place of len(x)."
        )
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        model = program.model_proto
        if quantize:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            quantize_dynamic(
                model,
                temporary,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Gemm"],
            )
            model = onnx.load(temporary)
        for key, value in names.items():
            model.metadata_props.add(key=key, value=json.dumps(value))
        onnx.checker.check_model(model)
        onnx.save(model, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
