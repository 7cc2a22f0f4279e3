"""Files of fitted models that run no code when they are loaded.

A file contains weights as tensors (`files.py`) and a description of the model as JSON.
Classes and functions are stored by name. Names resolve only to this package's encoders
and estimators, and to encoders passed to `load_model`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sklearn_colearn._compat import register_module_parameter_registration_hook
from sklearn_colearn.base import CoLearn, n_epochs
from sklearn_colearn.encoders import ENCODERS, EncoderFactory
from sklearn_colearn.estimators import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.files import read_tensors, write_tensors
from sklearn_colearn.held_out import held_out_table, scores_table, weights_table
from sklearn_colearn.inputs import Entry, Schema
from sklearn_colearn.members import FUSIONS, HeldOut, Members
from sklearn_colearn.network import TEACHER, CoLearnNetwork, per_modality
from sklearn_colearn.plain_values import Unreadable, need, pack, unpack
from sklearn_colearn.prediction import (
    ClassifierPredictor,
    Predictor,
    SingleModalityClassifier,
    SingleModalityModel,
    SingleModalityRegressor,
)
from sklearn_colearn.sensor import Sensor, Target
from sklearn_colearn.training import make_net, resolve_device

__all__ = ["load_model", "save_model"]

#: Raise when older versions cannot read the files of a new one.
FORMAT = 3

_KINDS: dict[str, type[Predictor]] = {
    kind.__name__: kind
    for kind in (
        *(CoLearnClassifier, CoLearnRegressor),
        *(SingleModalityClassifier, SingleModalityRegressor),
    )
}
#: Exceptions from reading a corrupt description.
_CORRUPTION_ERRORS = (
    *(ArithmeticError, AttributeError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
#: Parameters of earlier formats that were removed.
_REMOVED_PARAMS = (
    *("missing_indicator", "drop_modalities", "compile"),
    *("early_stopping", "validation_fraction", "n_iter_no_change", "tol"),
)


def save_model(model: Any, path: str | os.PathLike[str]) -> None:
    """Save a fitted model to a file that runs no code when it is loaded.

    Parameters
    ----------
    model : CoLearnClassifier, CoLearnRegressor or exported model
    path : str or path-like
        File in the safetensors format. An existing file is replaced atomically.

    Raises
    ------
    TypeError
        If `model` is of another class, or has names or parameters other than numbers,
        strings and lists of them.
    NotFittedError
        If `model` is not fitted.

    Warns
    -----
    UserWarning
        If training parameters contain code, such as callbacks or an optimizer class.
        They are not saved, and the loaded estimator gets their defaults.

    Notes
    -----
    The file contains weights, scalers, names, shapes, times, classes, parameters,
    training history, library versions and, for `applicability`, standardised values of
    at most 2,000 training rows of each modality, but only the names of your own
    encoders.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn_colearn import CoLearnClassifier, load_model, save_model
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, cv=2, random_state=0).fit(X, y)
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
    """Return the tensors and the description of a model."""
    kind = type(model).__name__
    if _KINDS.get(kind) is not type(model):
        raise TypeError(
            f"save_model expects one of {', '.join(_KINDS)}; got {kind}."
            f"{_savable_part(model)} Use joblib for other objects."
        )
    check_is_fitted(model)
    schema: Schema = model._schema
    members: Members = model._members
    tensors: dict[str, Tensor] = {}
    target, arrays = members.target.to_dict()
    tensors |= _prefixed("target.", arrays)
    sensors = []
    for i, sensor in enumerate(members.sensors.values()):
        plain, arrays = sensor.to_dict(_encoder_name)
        tensors |= _prefixed(f"sensor.{i}.", arrays)
        sensors.append(plain)
    description: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind,
        "versions": _versions(),
        "target": target,
        "sensors": sensors,
        "times": [schema.entries[name].to_dict() for name in schema.times],
        "order": list(schema.entries),
        "sample_dim": pack(schema.sample_dim),
    }
    if members.held_out is not None:
        description["held_out"], arrays = members.held_out.to_dict()
        tensors |= _prefixed("held_out.", arrays)
    networks: list[Any]
    if isinstance(model, SingleModalityModel):
        networks = model.networks_
    else:
        networks = [net.module_ for net in members.nets]
        own = () if members.held_out is None else members.teachers
        for i, teacher in enumerate(own):
            tensors |= _prefixed(f"teacher.{i}.", teacher.state_dict())
        description["estimator"] = {
            "params": _pack_params(model),
            "fusion": members.fusion,
            "teacher": networks[0].teacher_head is not None,
            "n_teachers": len(own),
            "history": pack(model.history_.to_dict("list")),
            "n_features_in": model.n_features_in_,
            "feature_names_in": pack(getattr(model, "feature_names_in_", None)),
        }
        if hasattr(model, "pairs_"):
            description["estimator"]["pairs"] = pack(model.pairs_.to_dict("index"))
        if members.held_out is not None:
            table = model.held_out_
            tensors["table"] = torch.from_numpy(table.to_numpy(copy=True))
            description["estimator"]["table"] = {
                "ids": pack(table.index.tolist()),
                "scores": pack(model.held_out_scores_.to_dict("index")),
            }
    description["n_members"] = len(networks)
    for i, network in enumerate(networks):
        tensors |= _prefixed(f"member.{i}.", network.state_dict())
    return tensors, json.dumps(description)


def _savable_part(model: Any) -> str:
    """Return a sentence on the part of a search or pipeline that can be saved."""
    names = ("best_estimator_", "regressor_")
    parts = {f"model.{name}": getattr(model, name, None) for name in names}
    if getattr(model, "steps", None):
        parts["model[-1]"] = model.steps[-1][-1]
    found = [name for name, own in parts.items() if type(own).__name__ in _KINDS]
    return f" It can save {found[0]}." if found else ""


def load_model(
    path: str | os.PathLike[str],
    device: str = "auto",
    *,
    encoders: Mapping[str, EncoderFactory] | None = None,
) -> Any:
    """Load a model that :func:`save_model` wrote.

    Parameters
    ----------
    path : str or path-like
        File to read.
    device : str, default='auto'
        Device of the model: ``'auto'`` (CUDA, then MPS, then CPU) or a torch device.
    encoders : mapping of str to callable, optional
        Your own encoder classes or factories by name. They are first created on torch's
        meta device, so other tensors than parameters and persistent buffers must be
        created in ``forward``.

    Returns
    -------
    CoLearnClassifier, CoLearnRegressor or exported model
        Model with the predictions of the saved one.

    Raises
    ------
    ValueError
        If the file is not a saved model, has a newer format, was damaged or changed,
        or needs an encoder that is not in `encoders`.
    ImportError
        If an encoder needs a package that is not installed.
    OSError
        If the file cannot be read.

    Notes
    -----
    Loading runs no code from the file. Memory is limited to a few times the file's
    size. Files are not signed: anyone who can change one can change predictions.
    """
    tensors, text = read_tensors(path)
    return _restore(repr(os.fspath(path)), tensors, text, device, encoders or {})


def _restore(
    where: str,
    tensors: dict[str, Tensor],
    text: str,
    device: str,
    encoders: Mapping[str, EncoderFactory],
) -> Any:
    """Invert `_describe`; `where` names the source in messages."""
    try:
        description = json.loads(text)
        newer = description["format"] > FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        _refuse(where, "its description is not valid JSON")
    if newer:
        raise ValueError(
            f"{where} has format {description['format']} of a newer sklearn_colearn; "
            f"this version reads formats up to {FORMAT}. Update sklearn_colearn."
        )
    device, own = resolve_device(device), dict(encoders)
    try:
        need(description["kind"] in _KINDS, f"its class {description['kind']!r}")
        if description["format"] == 1:
            description, tensors = _from_format_1(description, tensors)
        if description["format"] <= 2:
            description, tensors = _from_format_2(description, tensors)
        return _build(description, tensors, own, device)
    except Unreadable as error:
        _refuse(where, str(error))
    except _CORRUPTION_ERRORS as error:
        _refuse(where, f"its description is inconsistent ({error!r})")


def _to_plain(model: Predictor) -> dict[str, Any]:
    """Return a fitted model as text and arrays."""
    own = [m for m, encoder in model.encoders_.items() if not isinstance(encoder, str)]
    if own:
        raise TypeError(
            f"The encoders of {own} are your own code, which cannot be stored as text "
            "and arrays; use save_model or joblib."
        )
    tensors, description = _describe(model)
    arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
    return {"description": description, "arrays": arrays}


def _from_plain(model: Predictor, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a model from text and arrays."""
    arrays, where = state["arrays"], f"a state of {type(model).__name__}"
    tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}
    made: Predictor
    made = _restore(where, tensors, state["description"], "auto", {})
    if type(made) is not type(model):
        _refuse(where, f"it describes a {type(made).__name__}")
    return dict(vars(made))


# `prediction.py` cannot import this module.
Predictor._to_plain = _to_plain
Predictor._from_plain = _from_plain


def _refuse(where: str, why: str) -> NoReturn:
    raise ValueError(f"The model in {where} cannot be read: {why}.")


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
    """Return the parameters of an estimator, without those that contain code."""
    packed, dropped = {}, []
    fitted = {
        getattr(encoder, "__name__", ""): encoder
        for encoder in model.encoders_.values()
        if not isinstance(encoder, str)
    }
    for name, value in model.get_params(deep=False).items():
        try:
            if name == "encoder":
                value = _encoder_names(value)
                _named_encoders(value, fitted)  # may differ from fit after set_params
            packed[name] = pack(value)
        except (TypeError, Unreadable):
            dropped.append(name)
    if dropped:
        warnings.warn(
            f"The parameters {dropped} contain code and are not saved; the loaded "
            "estimator gets their defaults. Its predictions are the same.",
            UserWarning,
            stacklevel=3,
        )
    return packed


def _encoder_name(encoder: str | EncoderFactory) -> dict[str, str]:
    """Return the name of an encoder of the package or of the user."""
    if isinstance(encoder, str):
        return {"name": encoder}
    name = getattr(encoder, "__name__", None)
    if name is None:
        raise TypeError(
            f"The encoder {encoder!r} has no __name__, which load_model needs; use a "
            "class or a function."
        )
    return {"own": name}


def _encoder_names(encoder: Any) -> Any:
    if isinstance(encoder, Mapping):
        return {name: _encoder_names(item) for name, item in encoder.items()}
    return _encoder_name(encoder)


def _named_encoder(
    named: Any, own: Mapping[str, EncoderFactory]
) -> str | EncoderFactory:
    """Return the encoder of a name without importing or downloading anything."""
    need(isinstance(named, dict) and len(named) == 1, "the name of an encoder")
    ((kind, name),) = named.items()
    need(kind in ("name", "own") and isinstance(name, str), "the name of an encoder")
    if kind == "own":
        if name not in own:
            raise Unreadable(
                f"its encoder {name!r} is your own code; pass it as "
                f"encoders={{{name!r}: {name}}}"
            )
        return own[name]
    # With a colon or slash, timm would look for files or on the network.
    known = name in {"auto", *ENCODERS} or re.fullmatch(r"pretrained:[\w.]+", name)
    need(known, f"the encoder {name!r}")
    return str(name)


def _named_encoders(named: Any, own: Mapping[str, EncoderFactory]) -> Any:
    """Return the parameter `encoder` from names."""
    if isinstance(named, dict) and set(named) not in ({"name"}, {"own"}):
        return {m: _named_encoder(item, own) for m, item in named.items()}
    return _named_encoder(named, own)


@contextmanager
def _without_memory(n_tensors: int) -> Iterator[None]:
    """Create networks on the meta device, with at most two parameters per tensor.

    A hostile file may claim any sizes and numbers of layers.
    """
    thread, left = threading.get_ident(), 2 * n_tensors

    def count(*_: Any) -> None:
        nonlocal left
        left -= threading.get_ident() == thread
        if left < 0:
            raise Unreadable("its network has more weights than the file")

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()


def _fill(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load the weights of a network on the meta device."""
    own = network.state_dict()
    for name, tensor in own.items():
        given = weights.get(name)
        fits = given is not None and given.shape == tensor.shape
        need(fits and given.dtype == tensor.dtype, f"the weights {name!r}")  # type: ignore[union-attr]
    need(len(own) == len(weights), "the number of weights")
    network.load_state_dict(weights, assign=True)
    lacking = [name for name, buffer in network.named_buffers() if buffer.is_meta]
    if lacking:
        raise Unreadable(
            f"its encoder has buffers {lacking} outside its state_dict; make them "
            "persistent"
        )


# -- parts ---------------------------------------------------------------------------


def _build(
    given: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    own: Mapping[str, EncoderFactory],
    device: str,
) -> Predictor:
    kind = _KINDS[given["kind"]]
    target = Target.from_dict(
        given["target"],
        _below("target.", tensors),
        issubclass(kind, ClassifierPredictor),
    )
    sensors = {}
    for i, one in enumerate(given["sensors"]):
        sensor = Sensor.from_dict(
            one,
            _below(f"sensor.{i}.", tensors),
            lambda named: _named_encoder(named, own),
        )
        sensors[sensor.name] = sensor
    entries = {m: sensor.entry for m, sensor in sensors.items()}
    times = [Entry.from_dict(one) for one in given["times"]]
    entries |= {entry.name: entry for entry in times}
    order = given["order"]
    need(sorted(order) == sorted(entries), "the list of entries")
    need(len(entries) == len(sensors) + len(times), "the names of entries")
    need(all(s.times_entry in (None, *entries) for s in sensors.values()), "an entry")
    schema = Schema(
        {name: entries[name] for name in order},
        tuple(entry.name for entry in times),
        unpack(given["sample_dim"]),
    )
    need(list(sensors) == schema.modalities, "the list of modalities")
    n = given["n_members"]
    need(type(n) is int and 0 < n <= len(tensors), "the number of members")
    held_out = None
    if given.get("held_out") is not None:
        arrays = _below("held_out.", tensors)
        held_out = HeldOut.from_dict(given["held_out"], arrays, target, n)
        need(set(held_out.logits) - {TEACHER} == set(sensors), "the held-out logits")
    members = Members(sensors, target, held_out=held_out)
    if issubclass(kind, SingleModalityModel):
        (sensor,) = sensors.values()
        for i in range(n):
            with _without_memory(len(tensors)):
                network = sensor.new_network(target.n_logits)
            _fill(network, _below(f"member.{i}.", tensors))
            sensor.networks.append(network.to(device))
        schema = schema.only(sensor.name, sensor.times_entry)
        return kind.of(members, schema)
    assert issubclass(kind, CoLearn)
    return _build_estimator(
        kind, schema, members, given["estimator"], tensors, own, device, n
    )


def _build_estimator(
    kind: type[CoLearn],
    schema: Schema,
    members: Members,
    given: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    own: Mapping[str, EncoderFactory],
    device: str,
    n_members: int,
) -> CoLearn:
    sensors, target = members.sensors, members.target
    # Not checked until the next fit, as set_params may have stored anything.
    params = {name: unpack(value) for name, value in given["params"].items()}
    if "encoder" in params:
        params["encoder"] = _named_encoders(params["encoder"], own)
    model = kind(**params)
    need(given["fusion"] in FUSIONS, "fusion")
    need(isinstance(given["teacher"], bool), "the teacher")
    common = next(iter(sensors.values())).made_with
    network = {
        "input_shapes": {m: s.scaler.input_shape(s.shape) for m, s in sensors.items()},
        "n_outputs": target.n_logits,
        "encoder": {m: s.made_with["encoder"] for m, s in sensors.items()},
        "encoder_params": {m: s.safe_encoder_params for m, s in sensors.items()},
        "bands": {m: b for m, s in sensors.items() if (b := s.bands) is not None},
        "teacher": given["teacher"],
        **{k: common[k] for k in ("share_encoder", "embedding_dim", "dropout")},
    }
    settings = {**kind()._settings(network, target.task, 1, True), "device": "meta"}
    for i in range(n_members):
        with _without_memory(len(tensors)):
            net = make_net(**settings)
        _fill(net.module_, _below(f"member.{i}.", tensors))
        net.device = device
        net.module_.to(device).eval()
        net.initialize_optimizer()  # for the loaded weights
        members.nets.append(net)
    need(given["n_teachers"] in (0, n_members), "the number of teachers")
    for i in range(given["n_teachers"]):
        with _without_memory(len(tensors)):
            teacher = CoLearnNetwork(**network)
        _fill(teacher, _below(f"teacher.{i}.", tensors))
        members.teachers.append(teacher.to(device).eval())
    members.fusion = given["fusion"]
    members.link()
    model._remember(schema, members)
    model.history_ = pd.DataFrame(unpack(given["history"]))
    model.n_iter_ = n_epochs(model.history_)
    need(type(given["n_features_in"]) is int, "n_features_in")
    model.n_features_in_ = given["n_features_in"]
    names = unpack(given["feature_names_in"])
    if names is not None:
        need(np.shape(names) == (model.n_features_in_,), "feature_names_in")
        model.feature_names_in_ = names
    if members.held_out is not None:
        table = tensors["table"].numpy()
        model.held_out_ = held_out_table(members, table, unpack(given["table"]["ids"]))
        scores = unpack(given["table"]["scores"])
        model.held_out_scores_ = scores_table(scores)
        model.fusion_weights_ = weights_table(members)
    if "pairs" in given:
        model.pairs_ = pd.DataFrame.from_dict(unpack(given["pairs"]), orient="index")
    return model


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _from_format_2(
    given: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a description and tensors of format 2, with one network, to format 3."""
    given = {**given, "n_members": 1}
    if given.get("estimator") is not None:
        one = given["estimator"]
        params = {k: v for k, v in one["params"].items() if k not in _REMOVED_PARAMS}
        given["estimator"] = {**one, "params": {**params, "cv": None}, "n_teachers": 0}
    renamed = {re.sub(r"^network\.", "member.0.", k): t for k, t in tensors.items()}
    return given, renamed


def _from_format_1(
    given: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a description and tensors of format 1 (version 0.1) to format 2."""
    schema, target = given["schema"], given["target"]
    parts = {
        new: unpack(schema[old]) if old in schema else {}
        for new, old in (
            *(("columns", "names"), ("labels", "labels")),
            *(("dims", "dims"), ("places", "columns")),
        )
    }
    entries = {
        name: {
            "name": name,
            "shape": shape,
            **{part: pack((parts[part] or {}).get(name)) for part in parts},
        }
        for name, shape in schema["shapes"].items()
    }
    estimator = given.get("estimator")
    if estimator is None:
        made, missing = (
            dict(given["network"]),
            unpack(given["network"]["missing_value"]),
        )
        del made["missing_value"]
        made["encoder_params"] = unpack(made["encoder_params"])
    else:
        params = estimator["params"]
        target = {**target, "unlabeled": params.get("unlabeled")}
        names = ("encoder_params", "embedding_dim", "dropout", "share_encoder")
        made = {name: unpack(params[name]) for name in names}
        missing = unpack(params["missing_value"])
        several = len(given["modalities"]) > 1
        teacher = several and unpack(params["distillation_weight"]) > 0
        estimator = {
            **estimator,
            "fusion": params.get("fusion", "mean"),  # absent from the first files
            "teacher": teacher,
        }
    modalities = [one["name"] for one in given["modalities"]]
    by_modality = per_modality(
        "encoder_params", made.pop("encoder_params"), tuple(modalities)
    )
    sensors = [
        {
            "entry": entries[one["name"]],
            "missing_value": missing.get(one["name"])
            if isinstance(missing, Mapping)
            else missing,
            "indicator": one.get("indicator", False),
            "times": one["times"],
            "encoder": one["encoder"],
            "made_with": pack({"encoder_params": by_modality[one["name"]], **made}),
        }
        for one in given["modalities"]
    ]
    made_of = {
        "format": 1,
        "kind": given["kind"],
        "target": {"flat": False, **target},
        "sensors": sensors,
        "times": [entries[name] for name in schema["times"]],
        "order": list(schema["shapes"]),
        "sample_dim": schema["sample_dim"],
        "estimator": estimator,
    }
    renamed = {re.sub(r"^modality\.", "sensor.", k): t for k, t in tensors.items()}
    return made_of, renamed
