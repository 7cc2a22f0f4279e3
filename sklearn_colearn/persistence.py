"""Files of fitted models that run no code when they are loaded.

One file holds everything: the weights as tensors (`tensor_file.py`), and as JSON what
says how to put them together. Of classes and functions it holds names only, and the
names that are looked up are those of this package's encoders and estimators, or what
the caller of `load_model` gives.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from sklearn_colearn.base import CoLearn
from sklearn_colearn.encoders import ENCODERS, EncoderFactory
from sklearn_colearn.estimators import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.export import (
    SingleModalityClassifier,
    SingleModalityModel,
    SingleModalityRegressor,
)
from sklearn_colearn.network import make_modality_network, per_modality
from sklearn_colearn.plain_values import pack, unpack
from sklearn_colearn.prediction import ClassifierPredictor, Predictor
from sklearn_colearn.schema import Schema
from sklearn_colearn.single_modality import Scaler
from sklearn_colearn.tensor_file import read_tensors, write_tensors
from sklearn_colearn.times import Calendar
from sklearn_colearn.training import resolve_device

__all__ = ["load_model", "save_model"]

#: Goes up when an older version could not read what a newer one writes.
FORMAT = 1

_KINDS: dict[str, type[Predictor]] = {
    kind.__name__: kind
    for kind in (
        *(CoLearnClassifier, CoLearnRegressor),
        *(SingleModalityClassifier, SingleModalityRegressor),
    )
}
_TASKS = {True: ("cross_entropy", "binary_cross_entropy"), False: ("squared_error",)}
#: What a damaged description can make of the code that reads it.
_MISFITS = (
    *(ArithmeticError, AttributeError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
#: Values of a row: an image of 2,000 x 2,000 pixels and four bands.
LARGEST_ROW = 2**24


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted model to one file that runs no code when it is loaded.

    Parameters
    ----------
    model : CoLearnClassifier, CoLearnRegressor, or what their `export` gives
        Fitted.
    path : str or path-like
        Where to. What is there is replaced, in one step: whoever reads it meanwhile
        gets the one or the other. The format is that of safetensors, whose usual
        extension is ``.safetensors``.

    Raises
    ------
    TypeError
        If `model` is of another kind, or has names or parameters that are neither
        numbers, texts nor lists of them.
    NotFittedError
        If it is not fitted.

    Warns
    -----
    UserWarning
        If parameters of training hold code, such as callbacks or an optimizer's class:
        the file does not, and the loaded estimator has their defaults.

    Notes
    -----
    The file has the weights, the scalers, the names, shapes and times of the
    modalities, the classes, the parameters, the history of training, and the versions
    that wrote it. Of encoders of your own it has the name.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_colearn import CoLearnClassifier, load_model, save_model
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "radar.safetensors"
    ...     save_model(clf.export("S1"), path)
    ...     radar = load_model(path)
    >>> bool((radar.predict(X["S1"]) == clf.predict(X["S1"])).all())
    True
    """
    tensors, description = _describe(model)
    write_tensors(path, tensors, description)


def _describe(model: Any) -> tuple[dict[str, Tensor], str]:
    """Return the numbers of a model, and what says how to put them together."""
    kind = type(model).__name__
    if _KINDS.get(kind) is not type(model):
        raise TypeError(
            f"save_model is for {', '.join(_KINDS)}; got {kind}. joblib keeps anything."
        )
    check_is_fitted(model)
    schema: Schema = model._schema
    tensors: dict[str, Tensor] = {}
    modalities: list[dict[str, Any]] = []
    for modality in model.modalities_:
        scaler = model._scalers[modality]
        place = f"modality.{len(modalities)}"
        for name in ("shift", "scale", "fill"):
            tensors[f"{place}.{name}"] = torch.from_numpy(getattr(scaler, name))
        calendar = model._calendars.get(modality)
        times = None
        if calendar is not None:
            times = {
                "entry": calendar.entry,
                "dates": calendar.dates,
                "reference": calendar.reference,
            }
            if calendar.steps is not None:
                tensors[f"{place}.steps"] = torch.from_numpy(calendar.steps)
        modalities.append(
            {
                "name": modality,
                "encoder": _encoder_name(model.encoders_[modality]),
                "indicator": scaler.indicator,
                "times": times,
            }
        )
    description: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "versions": _versions(),
        "modalities": modalities,
        "schema": {
            "shapes": {m: list(shape) for m, shape in schema.shapes.items()},
            "times": list(schema.times),
            **{
                name: pack(getattr(schema, name))
                for name in ("names", "labels", "dims", "columns", "sample_dim")
            },
        },
        "target": _describe_target(model, tensors),
    }
    if isinstance(model, SingleModalityModel):
        network: nn.Module = model.network_
        encoder = model.network_.common_encoder
        description["network"] = {
            "encoder_params": pack(model.encoder_params),
            "embedding_dim": model.network_.head.in_features,
            "dropout": model.dropout,
            "share_encoder": encoder is None,
            "missing_value": pack(model._missing_value(model.modality_)),
        }
    else:
        network = model.net_.module_
        description["estimator"] = {
            "params": _pack_params(model),
            "history": pack(model.history_.to_dict("list")),
            "n_features_in": model.n_features_in_,
            "feature_names_in": pack(getattr(model, "feature_names_in_", None)),
        }
    tensors |= {f"network.{name}": t for name, t in network.state_dict().items()}
    return tensors, json.dumps(description)


def load_model(
    path: str | os.PathLike[str],
    device: str = "auto",
    *,
    encoders: Mapping[str, EncoderFactory] | None = None,
) -> Any:
    """Read a model that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str, default='auto'
        Where it is to compute: ``'auto'`` (CUDA, then MPS, then CPU), or a torch
        device.
    encoders : mapping of str to callable, optional
        Encoder classes or factories of your own, by their name: of those the file has
        the name only. They are first made on torch's meta device, so tensors other
        than parameters and persistent buffers have to be made in ``forward``.

    Returns
    -------
    CoLearnClassifier, CoLearnRegressor, or what their `export` gives
        With the answers of the one that was saved.

    Raises
    ------
    ValueError
        If the file is none of this kind, was written by a version with a newer format,
        is damaged or was changed, or has an encoder of your own that was not given.
    ImportError
        If an encoder needs a package that is not installed.
    OSError
        If the file cannot be read.

    Notes
    -----
    No code in the file is run, and no more memory is taken than a few times its size.
    It is not signed: who can change the file can change the answers.
    """
    tensors, text = read_tensors(path)
    return _put_together(repr(os.fspath(path)), tensors, text, device, encoders or {})


def _put_together(
    where: str,
    tensors: dict[str, Tensor],
    text: str,
    device: str,
    encoders: Mapping[str, EncoderFactory],
) -> Any:
    """Do the opposite of `_describe`; messages say where the model was."""
    try:
        description = json.loads(text)
        newer = description["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        _refuse(where, "its description is no JSON")
    if newer:
        raise ValueError(
            f"{where} has the format {description['format']} of a newer "
            f"sklearn_colearn; this one reads formats up to {FORMAT}. Update it."
        )
    device, own = resolve_device(device), dict(encoders)
    model: Predictor
    try:
        _need(description["kind"] in _KINDS, f"its kind, {description['kind']!r},")
        kind = _KINDS[description["kind"]]
        parts = _read_parts(kind, description, tensors, own)
        if issubclass(kind, SingleModalityModel):
            model = _build_single(kind, parts, description["network"])
            model.network_.to(device)
        else:
            assert issubclass(kind, CoLearn)
            given = description["estimator"]
            model = _build_estimator(kind, parts, given, own, device)
    except _Unreadable as error:
        _refuse(where, str(error))
    except _MISFITS as error:
        _refuse(where, f"its description cannot be followed ({error!r})")
    return model


def _to_plain(model: Predictor) -> dict[str, Any]:
    """Return a fitted model as text and arrays."""
    own = [m for m, encoder in model.encoders_.items() if not isinstance(encoder, str)]
    if own:
        raise TypeError(
            f"The encoders of {own} are your own, and code cannot be kept as plain "
            "values: use save_model, or joblib."
        )
    tensors, description = _describe(model)
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return {"description": description, "arrays": arrays}


def _from_plain(model: Predictor, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a model of that text and those arrays."""
    arrays, where = state["arrays"], f"a state of {type(model).__name__}"
    tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}
    made: Predictor
    made = _put_together(where, tensors, state["description"], "auto", {})
    if type(made) is not type(model):
        _refuse(where, f"it is of {type(made).__name__}")
    return dict(vars(made))


# The classes of models are above this module, which knows all of them.
Predictor._to_plain = _to_plain
Predictor._from_plain = _from_plain


class _Unreadable(Exception):
    """What is wrong with a description."""


def _refuse(where: str, why: str) -> NoReturn:
    raise ValueError(f"The model in {where} cannot be read: {why}.")


def _need(condition: Any, what: str) -> None:
    if not condition:
        raise _Unreadable(f"{what} is wrong or absent")


def _versions() -> dict[str, str]:
    return {
        # Not imported: the package imports this module before it has a version.
        "sklearn_colearn": sys.modules["sklearn_colearn"].__version__,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


# -- parameters and encoders ---------------------------------------------------------


def _pack_params(model: CoLearn) -> dict[str, Any]:
    """Return the parameters of an estimator, without those that hold code."""
    packed, dropped = {}, []
    for name, value in model.get_params(deep=False).items():
        try:
            packed[name] = pack(_with_names(value) if name == "encoder" else value)
        except TypeError:
            dropped.append(name)
    if dropped:
        warnings.warn(
            f"The parameters {dropped} hold code, which is not written to the file: "
            "the loaded estimator has their defaults. It predicts the same.",
            UserWarning,
            stacklevel=3,
        )
    return packed


def _encoder_name(encoder: str | EncoderFactory) -> dict[str, str]:
    """Name an encoder: one of the package's, or one of the user's own."""
    if isinstance(encoder, str):
        return {"name": encoder}
    name = getattr(encoder, "__name__", None)
    if name is None:
        raise TypeError(
            f"The encoder {encoder!r} has no __name__ by which load_model could be "
            "given it; use a class or a function."
        )
    return {"own": name}


def _with_names(encoder: Any) -> Any:
    if isinstance(encoder, Mapping):
        return {name: _with_names(item) for name, item in encoder.items()}
    return _encoder_name(encoder)


def _named_encoder(
    named: Any, own: Mapping[str, EncoderFactory]
) -> str | EncoderFactory:
    """Return the encoder of a name; none is imported or downloaded."""
    _need(isinstance(named, dict) and len(named) == 1, "the name of an encoder")
    ((kind, name),) = named.items()
    _need(kind in ("name", "own") and isinstance(name, str), "the name of an encoder")
    if kind == "own":
        if name not in own:
            raise _Unreadable(
                f"its encoder {name!r} is one of your own; pass it as "
                f"encoders={{{name!r}: {name}}}"
            )
        return own[name]
    # A colon or slash would make timm look for files or on the net.
    known = name in {"auto", *ENCODERS} or re.fullmatch(r"pretrained:[\w.]+", name)
    _need(known, f"the encoder {name!r}")
    return str(name)


def _from_names(named: Any, own: Mapping[str, EncoderFactory]) -> Any:
    """Return a parameter `encoder` of names."""
    if isinstance(named, dict) and set(named) not in ({"name"}, {"own"}):
        return {m: _named_encoder(item, own) for m, item in named.items()}
    return _named_encoder(named, own)


@contextmanager
def _on_paper(n_tensors: int) -> Iterator[None]:
    """Make networks without memory for weights, and no more layers than there can be.

    Sizes and numbers of layers are the file's word, and may lie.
    """
    thread, left = threading.get_ident(), 2 * n_tensors

    def count(*_: Any) -> None:
        nonlocal left
        left -= threading.get_ident() == thread
        if left < 0:
            raise _Unreadable("its network has more weights than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _fill(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a network made on paper its weights."""
    prefix = "network."
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    own = network.state_dict()
    for name, tensor in own.items():
        given = weights.get(name)
        fits = given is not None and given.shape == tensor.shape
        _need(fits and given.dtype == tensor.dtype, f"the weights {name!r}")  # type: ignore[union-attr]
    _need(len(own) == len(weights), "the number of weights")
    network.load_state_dict(weights, assign=True)
    lacking = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if lacking:
        raise _Unreadable(
            f"its encoder has the buffers {lacking} that are not in its state_dict; "
            "make them persistent"
        )


# -- parts ---------------------------------------------------------------------------


def _describe_target(model: Predictor, tensors: dict[str, Tensor]) -> dict[str, Any]:
    target: dict[str, Any] = {"task": model._task, "n_outputs": model.n_outputs_}
    if isinstance(model, ClassifierPredictor):
        target["classes"] = pack(model.classes_)
    else:
        scaler = model._target_scaler
        target["flat"] = model._flat_target
        tensors["target.mean"] = torch.from_numpy(scaler.mean_)
        tensors["target.scale"] = torch.from_numpy(scaler.scale_)
    return target


def _read_target(
    kind: type[Predictor], given: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    task, n_outputs = given["task"], given["n_outputs"]
    is_classifier = issubclass(kind, ClassifierPredictor)
    _need(task in _TASKS[is_classifier], "the task")
    _need(type(n_outputs) is int and n_outputs > 0, "n_outputs")
    target = {"_task": task, "n_outputs_": n_outputs}
    if is_classifier:
        classes = unpack(given["classes"])
        _need(isinstance(classes, np.ndarray) and classes.ndim == 1, "classes")
        expected = 1 if task == "cross_entropy" else len(classes)
        _need(n_outputs == expected and len(classes), "the number of classes")
        return target | {"classes_": classes}
    scaler = StandardScaler()
    for name in ("mean", "scale"):
        setattr(scaler, f"{name}_", _floats(tensors, f"target.{name}", n_outputs))
    scaler.var_, scaler.n_features_in_ = scaler.scale_**2, n_outputs
    scaler.set_output(transform="default")
    flat = given["flat"]
    _need(isinstance(flat, bool) and (n_outputs == 1 or not flat), "the target's shape")
    return target | {"_target_scaler": scaler, "_flat_target": flat}


def _floats(
    tensors: Mapping[str, Tensor], name: str, size: int, dtype: Any = np.float64
) -> np.ndarray[Any, Any]:
    values = tensors[name].numpy()
    _need(values.shape == (size,) and values.dtype == dtype, f"the array {name!r}")
    return values


def _read_schema(given: Mapping[str, Any]) -> Schema:
    shapes = {str(name): tuple(shape) for name, shape in given["shapes"].items()}
    for name, shape in shapes.items():
        whole = all(type(size) is int and size > 0 for size in shape)
        fits = shape and whole and math.prod(shape) <= LARGEST_ROW
        _need(fits, f"the shape of {name!r}")
    times = tuple(given["times"])
    _need(set(times) < set(shapes), "the entries of times")
    parts = {
        name: unpack(given[name])
        for name in ("names", "labels", "columns", "sample_dim")
    }
    parts["dims"] = (
        unpack(given["dims"]) if "dims" in given else {}
    )  # older files have none
    _need(
        set(parts["dims"]) <= set(shapes)
        and all(isinstance(dims, tuple) for dims in parts["dims"].values()),
        "the dimensions of the modalities",
    )
    names, labels, columns = parts["names"], parts["labels"], parts["columns"]
    _need(set(names) == set(shapes) >= set(labels), "the names of the modalities")
    for name, shape in shapes.items():
        own = names[name]
        _need(own is None or isinstance(own, tuple), f"the columns of {name!r}")
        axes = labels.get(name, (None,) * len(shape))
        _need(
            isinstance(axes, tuple) and len(axes) == len(shape),
            f"the labels of {name!r}",
        )
    if columns is not None:
        for name, places in columns.items():
            fits = places.shape == (math.prod(shapes[name]),)
            _need(fits and places.dtype.kind == "i", f"the columns of {name!r}")
    return Schema(shapes=shapes, times=times, **parts)


def _read_calendar(
    modality: str,
    place: str,
    given: Mapping[str, Any] | None,
    schema: Schema,
    tensors: Mapping[str, Tensor],
) -> Calendar | None:
    if given is None:
        return None
    shape, entry = schema.shapes[modality], given["entry"]
    _need(len(shape) == 2 and (entry is None or entry in schema.times), "an entry")
    _need(isinstance(given["dates"], bool), "the kind of times")
    steps = None
    if entry is None:
        steps = _floats(tensors, f"{place}.steps", shape[0], np.float32)
    reference = float(given["reference"])
    return Calendar(modality, entry, steps, given["dates"], reference)


@dataclass(frozen=True)
class _Parts:
    """What whole estimators and exported models are both put together from."""

    schema: Schema
    target: dict[str, Any]
    scalers: dict[str, Scaler]
    calendars: dict[str, Calendar]
    encoders: dict[str, str | EncoderFactory]
    tensors: dict[str, Tensor]

    def encoder_params(self, given: Any) -> dict[str, dict[str, Any]]:
        """Return the arguments of each modality's encoder, checked."""
        by_modality = per_modality("encoder_params", given, tuple(self.encoders))
        safe = {}
        for modality, encoder in self.encoders.items():
            params = by_modality[modality] or {}
            names = isinstance(params, dict) and all(isinstance(n, str) for n in params)
            _need(names, f"encoder_params of {modality!r}")
            safe[modality] = dict(params)
            if isinstance(encoder, str) and encoder.startswith("pretrained:"):
                safe[modality]["pretrained"] = False  # weights come from the file alone
        return safe


def _read_parts(
    kind: type[Predictor],
    description: Mapping[str, Any],
    tensors: dict[str, Tensor],
    own: Mapping[str, EncoderFactory],
) -> _Parts:
    schema = _read_schema(description["schema"])
    target = _read_target(kind, description["target"], tensors)
    parts = _Parts(schema, target, {}, {}, {}, tensors)
    for i, given in enumerate(description["modalities"]):
        modality, place = given["name"], f"modality.{i}"
        _need(modality in schema.modalities, "the name of a modality")
        n_bands = schema.shapes[modality][-1]
        indicator = given.get("indicator", False)  # not in the first files
        _need(isinstance(indicator, bool), "the indicator of missing values")
        parts.scalers[modality] = Scaler(
            shift=_floats(tensors, f"{place}.shift", n_bands),
            scale=_floats(tensors, f"{place}.scale", n_bands),
            fill=_floats(tensors, f"{place}.fill", n_bands, np.float32),
            indicator=indicator,
        )
        parts.encoders[modality] = _named_encoder(given["encoder"], own)
        calendar = _read_calendar(modality, place, given["times"], schema, tensors)
        if calendar is not None:
            parts.calendars[modality] = calendar
    _need(list(parts.scalers) == schema.modalities, "the list of modalities")
    return parts


def _build_single(
    kind: type[SingleModalityModel], parts: _Parts, given: Mapping[str, Any]
) -> SingleModalityModel:
    (modality,) = parts.schema.modalities
    params = unpack(given["encoder_params"])
    missing_value = unpack(given["missing_value"])
    _need(missing_value is None or isinstance(missing_value, Real), "missing_value")
    with _on_paper(len(parts.tensors)):
        network = make_modality_network(
            parts.encoders[modality],
            parts.scalers[modality].input_shape(parts.schema.shapes[modality]),
            len(parts.target.get("classes_", ())) or parts.target["n_outputs_"],
            encoder_params=parts.encoder_params(params)[modality],
            embedding_dim=given["embedding_dim"],
            dropout=given["dropout"],
            share_encoder=given["share_encoder"],
        )
    _fill(network, parts.tensors)
    return kind.make(
        schema=parts.schema,
        scaler=parts.scalers[modality],
        network=network,
        calendar=parts.calendars.get(modality),
        encoder=parts.encoders[modality],
        encoder_params=params,
        dropout=given["dropout"],
        missing_value=missing_value,
        target=parts.target,
    )


def _build_estimator(
    kind: type[CoLearn],
    parts: _Parts,
    given: Mapping[str, Any],
    own: Mapping[str, EncoderFactory],
    device: str,
) -> CoLearn:
    params = {name: unpack(value) for name, value in given["params"].items()}
    params["encoder"] = _from_names(params["encoder"], own)
    model = kind(**params)
    model._validate_params()
    for name, value in parts.target.items():
        setattr(model, name, value)
    schema = parts.schema
    model._schema, model._scalers = schema, parts.scalers
    model._calendars, model.encoders_ = parts.calendars, parts.encoders
    model.modalities_ = schema.modalities
    model.input_shapes_ = {m: schema.shapes[m] for m in schema.modalities}
    model.encoder_params = parts.encoder_params(model.encoder_params)
    with _on_paper(len(parts.tensors)):
        net = model._make_net("meta", 1, parts.encoders, taught=True)
    model.encoder_params = params["encoder_params"]
    _fill(net.module_, parts.tensors)
    net.device = device
    net.module_.to(device)
    net.initialize_optimizer()  # of the weights, not of those on paper
    model.net_ = net
    model.history_ = pd.DataFrame(unpack(given["history"]))
    model.n_iter_ = len(model.history_)
    _need(type(given["n_features_in"]) is int, "n_features_in")
    model.n_features_in_ = given["n_features_in"]
    names = unpack(given["feature_names_in"])
    if names is not None:
        _need(np.shape(names) == (model.n_features_in_,), "feature_names_in")
        model.feature_names_in_ = names
    return model
