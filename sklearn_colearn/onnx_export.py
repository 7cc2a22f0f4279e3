"""ONNX files of one sensor: scaling, imputation and networks in one graph."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sklearn_colearn.encoders import RNNEncoder
from sklearn_colearn.files import replacing
from sklearn_colearn.members import Pool
from sklearn_colearn.modality_dict import sentinels_of
from sklearn_colearn.sensor import Sensor, Target

__all__ = ["RawToAnswers", "write_onnx"]

#: Oldest ONNX opset with all operators that torch's exporter writes.
OPSET = 18


class RawToAnswers(nn.Module):
    """Sensor with all members, from raw values to probabilities or target values.

    Shape: ``(B, *input_shape)`` and, if each row has its own times, ``(B,
    n_timesteps)``; to ``(B, n_outputs)``. `to_onnx` describes the values.
    """

    shift: Tensor
    scale: Tensor
    fill: Tensor
    steps: Tensor | None
    mean: Tensor
    spread: Tensor
    weight: Tensor | None
    bias: Tensor

    def __init__(self, sensor: Sensor, target: Target, pool: Pool | None) -> None:
        super().__init__()
        self.networks = nn.ModuleList(copy.deepcopy(sensor.networks)).cpu()
        for network in self.networks:
            for name, encoder in network.named_children():
                if type(encoder).forward is RNNEncoder.forward:
                    assert isinstance(encoder, RNNEncoder)
                    setattr(network, name, _WithoutPacking(encoder))
        self.takes = sensor.networks[0].takes
        self.sentinels, self.task = sentinels_of(sensor.missing_value), target.task
        scaler, calendar = sensor.scaler, sensor.calendar
        self.indicator = scaler.indicator
        arrays = {
            "shift": scaler.shift,
            "scale": scaler.scale,
            "fill": scaler.fill,
            "steps": None if calendar is None else calendar.steps,
            "mean": target.mean,
            "spread": target.scale,
            "weight": None if pool is None else pool.weights[sensor.name],
            "bias": None if pool is None else pool.bias,
        }
        for name, array in arrays.items():
            buffer = None if array is None else torch.tensor(array, dtype=torch.float32)
            self.register_buffer(name, buffer)
        self.eval()

    def forward(self, x: Tensor, times: Tensor | None = None) -> Tensor:
        """Scale and impute values, and predict."""
        missing = x.isnan()
        for number in self.sentinels:
            missing = missing | (x == number)
        scaled = (x - self.shift) / self.scale
        scaled = torch.where(missing | scaled.isnan(), self.fill, scaled)
        if self.indicator:
            share = missing.to(x.dtype).mean(dim=-1, keepdim=True)
            scaled = torch.cat([scaled, share], dim=-1)
        if times is None and self.steps is not None:
            times = self.steps.expand(x.shape[0], -1)  # len would fix the batch size
        unanswered = missing.flatten(1).all(dim=1, keepdim=True)  # (B, 1)
        mask = (~missing).any(dim=2) | unanswered if "mask" in self.takes else None
        observed = ~missing if "observed" in self.takes else None
        members = [
            self._answer(network(scaled, times, mask, observed).prediction)
            for network in self.networks
        ]
        answers = torch.stack(members).mean(dim=0)
        return torch.where(unanswered, torch.nan, answers)

    def _answer(self, logits: Tensor) -> Tensor:
        if self.weight is not None:
            logits = logits * self.weight + self.bias
        if self.task == "cross_entropy":
            return logits.softmax(dim=1)
        if self.task == "binary_cross_entropy":
            return logits.sigmoid()
        return logits * self.spread + self.mean


class _WithoutPacking(nn.Module):
    """Recurrent encoder without packed sequences, which torch cannot export.

    Observed steps are moved to the front, so that missing steps do not affect them.
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
        end = mask.sum(dim=1, keepdim=True) - 1  # (B, 1): last observed step
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
    """Gather steps of each series: (B, T, C) and (B, S) to (B, S, C)."""
    return x.gather(1, places[..., None].expand(-1, -1, x.shape[2]))


def write_onnx(
    path: str | os.PathLike[str],
    graph: RawToAnswers,
    example: tuple[Tensor, ...],
    names: Mapping[str, Any],
    quantize: bool,
) -> None:
    """Write a graph as an ONNX file, atomically.

    The file takes inputs like `example` with any number of rows, and stores the JSON
    values `names` as metadata. `quantize` stores weights of linear layers as 8-bit
    integers.
    """
    import onnx

    rows = torch.export.Dim("rows")
    with warnings.catch_warnings():
        # The exporter's warnings concern its internals.
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
            "Tracing fixes the number of rows in the encoder; use x.shape[0] instead "
            "of len(x) in its forward."
        )
    with replacing(path) as temporary:
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
