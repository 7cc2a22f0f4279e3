"""Files of models: the same answers afterwards, and nothing that a file can do."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import resource
import struct
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import skops.io
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tools import refused, small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    load_model,
    save_model,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.encoders import ENCODERS
from sklearn_colearn.files import LONGEST_HEADER, read_tensors, write_tensors
from sklearn_colearn.prediction import SingleModalityClassifier

DATA = Path(__file__).parent / "data"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def fitted(sensors):
    X, y = sensors
    return small(max_epochs=1).fit(X, np.array(["forest", "grass", "water"])[y])


def again(model, path):
    save_model(model, path)
    return load_model(path)


def same(a, b, where="model"):
    """Compare what two models hold, all of it but torch's and skorch's own."""
    assert type(a) is type(b), where
    if isinstance(a, torch.nn.Module):
        for name, tensor in a.state_dict().items():
            assert torch.equal(tensor, b.state_dict()[name]), f"{where}.{name}"
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        assert_array_equal(a, b, where)
    elif isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif type(a).__name__ == "CoLearnNet":
        same(a.module_, b.module_, f"{where}.module_")
    elif type(a).__name__ == "StandardScaler":  # the rest of it is of fitting
        same([a.mean_, a.scale_], [b.mean_, b.scale_], where)
    elif hasattr(a, "__dict__") and not callable(a):
        assert set(vars(a)) == set(vars(b)), where
        for key in set(vars(a)) - {"crosses"}:  # made anew when it is needed
            same(vars(a)[key], vars(b)[key], f"{where}.{key}")
    else:
        assert a is b or a == b, where


# -- the same afterwards -----------------------------------------------------------


def test_estimator(sensors, fitted, path):
    loaded = again(fitted, path)
    same(fitted, loaded)
    X, _ = sensors
    for modality in (None, "S1", "S2", "terrain"):
        expected = fitted.predict_proba(X, modality)
        assert_array_equal(loaded.predict_proba(X, modality), expected)
    same(fitted.export("S1"), loaded.export("S1"))


@pytest.mark.parametrize("modality", ["S1", "terrain"])
def test_exported_model(sensors, fitted, path, modality):
    exported = fitted.export(modality)
    loaded = again(exported, path)
    assert isinstance(loaded, SingleModalityClassifier)
    same(exported, loaded)
    values = sensors[0][modality]
    assert_array_equal(loaded.predict_proba(values), exported.predict_proba(values))
    assert_array_equal(loaded.predict(values), exported.predict(values))
    assert_array_equal(loaded.transform(values), exported.transform(values))


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_regressor(sensors_regression, path, n_outputs):
    X, y = sensors_regression
    y = y if n_outputs == 1 else np.stack([y, 5 * y + 3], axis=1)
    reg = small(CoLearnRegressor, max_epochs=1, cv=2).fit(X, y)
    for model, rows in ((reg, X), (reg.export("S2"), X["S2"])):
        loaded = again(model, path)
        same(model, loaded)
        assert_array_equal(loaded.predict(rows), model.predict(rows))


def test_sentinels_fusion_and_unlabelled_rows(sensors, path):
    X, y = sensors
    S1 = X["S1"].copy()
    S1[::3, 2] = np.nan
    gaps = ModalityDict(X | {"S1": S1})
    clf = small(fusion="teacher", unlabeled=-1, max_epochs=1)
    clf.fit(gaps, np.where(np.arange(len(y)) % 4 == 0, -1, y))
    loaded = again(clf, path)
    same(clf, loaded)
    assert_array_equal(loaded.predict_proba(gaps), clf.predict_proba(gaps))
    alone = again(clf.export("S1"), path)
    expected, answered = clf.predict_proba(gaps, "S1", return_modalities=True)
    assert answered["S1"].all()
    assert_array_equal(alone.predict_proba(S1), expected)
    assert not np.array_equal(alone.predict_proba(X["S1"]), expected)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.slow
def test_every_encoder(path, encoder):
    rng = np.random.default_rng(0)
    if encoder == "resnet":
        X = ModalityDict(a=rng.random((20, 6, 6, 3)), b=rng.random((20, 6, 6, 2)))
    elif encoder in ("linear", "mlp"):
        X = ModalityDict(a=rng.random((20, 5)), b=rng.random((20, 4)))
    else:
        X = ModalityDict(a=rng.random((20, 6, 2)), b=rng.random((20, 8, 3)))
        X["a"][:5, 2] = np.nan
    params = None
    if encoder == "presto":
        ndvi = {"weights": "random", "month": 1}
        names = {"a": ["NDVI", None], "b": ["NDVI", None, None]}
        params = {m: {**ndvi, "band_names": own} for m, own in names.items()}
    clf = small(encoder=encoder, encoder_params=params, max_epochs=1)
    clf.fit(X, np.arange(20) % 2)
    loaded = again(clf, path)
    same(clf, loaded)
    assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    assert_array_equal(by_skops(clf).predict_proba(X), clf.predict_proba(X))
    alone = again(clf.export("a"), path)
    assert_array_equal(alone.predict_proba(X), clf.predict_proba(X, "a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"standardize": False, "share_encoder": False, "distillation_weight": 0.0},
        {"missing_value": {"S1": 65535, "S2": -np.inf}, "class_weight": "balanced"},
        {"class_weight": {0: 1.0, 1: 2.5, 2: 1.0}, "predict_modality": "S2"},
        {"encoder_params": {"S1": {"hidden_dims": (8, 4)}}, "random_state": None},
        {"encoder": {"S1": "gru", "S2": "auto", "terrain": "linear"}, "n": None},
    ],
    ids=lambda changes: ",".join(changes),
)
def test_parameters(sensors, path, changes):
    if changes.pop("n", 0) is None:
        changes["encoder_params"] = None
    clf = small(max_epochs=1, **changes).fit(*sensors)
    loaded = again(clf, path)
    same(clf, loaded)
    assert loaded.get_params() == clf.get_params()


def test_flat_frame_with_layout(sensors, path):
    X, y = sensors
    frame = pd.DataFrame(np.asarray(X), columns=[f"c{i}" for i in range(X.shape[1])])
    layout = dict(X.layout, terrain=[f"c{i}" for i in range(72, 78)])
    clf = small(modalities=layout, max_epochs=1).fit(frame, y)
    loaded = again(clf, path)
    same(clf, loaded)
    assert_array_equal(loaded.predict_proba(frame), clf.predict_proba(frame))
    turned = loaded.predict_proba(frame[frame.columns[::-1]])
    assert_array_equal(turned, clf.predict_proba(frame))


def test_labels_of_bands_and_steps(sensors, path):
    xr = pytest.importorskip("xarray")
    X, y = sensors
    steps = pd.date_range("2021-01-01", periods=12)
    dataset = xr.Dataset(
        {
            "S1": (("sample", "time", "band"), X["S1"]),
            "weather": (("sample", "time", "kind"), X["S2"]),
        },
        coords={"time": steps, "band": ["vv", "vh"], "kind": [1, 2, 3, 4]},
    )
    clf = small(max_epochs=1).fit(dataset, y)
    for model in (clf, clf.export("S1")):
        loaded = again(model, path)
        same(model, loaded)
        assert_array_equal(loaded.predict(dataset), model.predict(dataset))
        turned = dataset[["S1"]].isel(band=[1, 0], time=slice(None, None, -1))
        turned = turned.transpose("time", "band", "sample")
        expected = model.predict(dataset[["S1"]])
        assert_array_equal(loaded.predict(turned), expected)


@pytest.mark.parametrize("by_row", [False, True])
def test_times(path, by_row):
    rng = np.random.default_rng(0)
    dates = pd.date_range("2021-03-01", periods=6, freq="20D")
    X = ModalityDict(S1=rng.random((40, 6, 2)), S2=rng.random((40, 6, 3)))
    times = {"S1": [1, 5, 9, 13, 17, 21], "S2": dates}
    if by_row:
        X["dates"] = np.tile(dates.to_numpy(), (40, 1))
        times["S2"] = "dates"
    params = {"encoder": "ltae", "encoder_params": None, "max_epochs": 1}
    clf = small(times=times, **params).fit(X, np.arange(40) % 2)
    loaded = again(clf, path)
    assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    exported = clf.export("S2")
    alone = again(exported, path)
    same(exported, alone)
    assert_array_equal(alone.predict_proba(X), exported.predict_proba(X))


@pytest.mark.parametrize(
    "labels",
    [["a", "bb", "ccc"], [7, 11, 300], [1.0, 2.0, 9.0], [-1, 0, 1]],
    ids=str,
)
def test_kinds_of_classes(sensors, path, labels):
    X, y = sensors
    clf = small(max_epochs=1).fit(X, np.array(labels)[y])
    assert_array_equal(again(clf, path).classes_, clf.classes_)
    assert_array_equal(again(clf.export("S1"), path).predict(X), clf.predict(X, "S1"))


def test_classes_that_are_objects(sensors, path):
    X, y = sensors
    clf = small(max_epochs=1).fit(X, np.array(["a", "bb", "ccc"], dtype=object)[y])
    same(clf, again(clf, path))


def test_multilabel(sensors, path):
    X, y = sensors
    clf = small(max_epochs=1).fit(X, np.stack([y > 0, y > 1], axis=1).astype(int))
    for model in (clf, clf.export("S1")):
        assert_array_equal(again(model, path).predict(X), model.predict(X))


def test_training_goes_on_after_loading(sensors, path):
    X, y = sensors
    clf = small(warm_start=True, max_epochs=2).fit(X, y)
    loaded = again(clf, path)
    expected = clf.fit(X, y).predict_proba(X)
    assert_array_equal(loaded.fit(X, y).predict_proba(X), expected)
    assert loaded.n_iter_ == 4
    again(clf, path).set_params(warm_start=False, encoder="linear", encoder_params=None)


class Mean(torch.nn.Module):
    def __init__(self, input_shape, embedding_dim, factor=1.0):
        super().__init__()
        self.linear = torch.nn.Linear(input_shape[-1], embedding_dim)
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, x):
        return self.linear(self.factor * x.mean(dim=1))


def test_encoder_of_the_user(sensors, path):
    X, y = sensors
    params = {"S1": {"factor": 2.0}}
    encoder = {"S1": Mean, "S2": "mlp", "terrain": "linear"}
    clf = small(encoder=encoder, encoder_params=params, max_epochs=1).fit(X, y)
    for model in (clf, clf.export("S1")):
        save_model(model, path)
        loaded = load_model(path, encoders={"Mean": Mean})
        same(model, loaded)
        assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        with pytest.raises(ValueError, match="cannot be read") as caught:
            load_model(path)
        assert str(caught.value) == (
            f"The model in {str(path)!r} cannot be read: its encoder 'Mean' is your "
            "own code; pass it as encoders={'Mean': Mean}."
        )


def test_buffers_that_are_not_in_the_state_dict_are_refused(sensors, path):
    class Hidden(Mean):
        def __init__(self, input_shape, embedding_dim):
            super().__init__(input_shape, embedding_dim)
            self.register_buffer("two", torch.tensor(2.0), persistent=False)

    X, y = sensors
    encoder = {"S1": Hidden, "S2": "mlp", "terrain": "linear"}
    clf = small(encoder=encoder, encoder_params=None, share_encoder=False, max_epochs=1)
    clf.fit(X, y)
    save_model(clf.export("S1"), path)
    buffers = r"buffers \['unique_encoder.two', .* persistent"
    with pytest.raises(ValueError, match=buffers):
        load_model(path, encoders={"Hidden": Hidden})


def test_parameters_that_hold_code_are_left_out(sensors, path):
    def schedule(progress):
        return 1 - progress

    random_state = np.random.RandomState(0)
    clf = small(max_epochs=1, lr_schedule=schedule, random_state=random_state)
    clf.fit(*sensors)
    with pytest.warns(UserWarning, match="contain code") as caught:
        save_model(clf, path)
    assert str(caught[0].message) == (
        "The parameters ['lr_schedule', 'random_state'] contain code and are not "
        "saved; the loaded estimator gets their defaults. Its predictions are the same."
    )
    loaded = load_model(path)
    assert loaded.lr_schedule == "constant"
    assert loaded.random_state is None
    assert_array_equal(loaded.predict(sensors[0]), clf.predict(sensors[0]))


def test_size(sensors, path):
    """The file of one of two modalities is at most .6 of the whole's."""
    X, y = sensors
    clf = CoLearnClassifier(max_epochs=1, cv=None).fit(X.select(["S1", "S2"]), y)
    save_model(clf, path)
    whole = path.stat().st_size
    save_model(clf.export("S1"), path)
    assert path.stat().st_size < 0.6 * whole


def test_random_state_and_threads_stay(fitted, path):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    again(fitted, path)
    again(fitted.export("S1"), path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_a_loaded_model_can_be_pickled_small(fitted, path):
    """Its weights are no views of the whole file."""
    save_model(fitted, path)
    assert len(pickle.dumps(load_model(path).export("S1"))) < path.stat().st_size


# -- skops -------------------------------------------------------------------------


def by_skops(model):
    data = skops.io.dumps(model)
    kind = type(model)
    trusted = skops.io.get_untrusted_types(data=data)
    assert trusted == [f"{kind.__module__}.{kind.__name__}"]
    return skops.io.loads(data, trusted=trusted)


@pytest.mark.parametrize("exported", [False, True])
def test_skops(sensors, fitted, exported):
    model = fitted.export("S1") if exported else fitted
    loaded = by_skops(model)
    same(model, loaded)
    X = sensors[0].select("S1")
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_skops_of_a_regressor(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, max_epochs=1).fit(X, np.column_stack([y, -y]))
    for model in (reg, reg.export("S1")):
        loaded = by_skops(model)
        same(model, loaded)
        assert_array_equal(loaded.predict(X), model.predict(X))


def test_skops_before_fit_and_training_after(sensors):
    X, y = sensors
    clf = by_skops(small(warm_start=True, max_epochs=2)).fit(X, y)
    loaded = by_skops(clf)
    expected = clf.fit(X, y).predict_proba(X)
    assert_array_equal(loaded.fit(X, y).predict_proba(X), expected)


def test_skops_of_a_pipeline(sensors, fitted):
    model = FrozenEstimator(fitted.export("S1"))
    data = skops.io.dumps(make_pipeline(FunctionTransformer(), model))
    loaded = skops.io.loads(data, trusted=[SingleModalityClassifier])
    X = sensors[0]["S1"]
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_skops_refuses_code(sensors):
    encoder = {"S1": Mean, "S2": "mlp", "terrain": "linear"}
    clf = small(encoder=encoder, encoder_params=None, max_epochs=1).fit(*sensors)
    for model in (clf, clf.export("S1")):
        with pytest.raises(TypeError, match=r"\['S1'\] are your own code.* save_model"):
            skops.io.dumps(model)


def test_invalid_skops_states_are_refused(fitted):
    state = fitted.export("S1").__getstate__()
    cases = {
        "it describes a SingleModalityClassifier": (CoLearnClassifier, state),
        "is not valid JSON": (SingleModalityClassifier, state | {"description": "{"}),
        "the weights 'head.weight'": (
            SingleModalityClassifier,
            state | {"arrays": state["arrays"] | {"member.0.head.weight": np.ones(3)}},
        ),
    }
    for message, (kind, lie) in cases.items():
        with pytest.raises(ValueError, match=message):
            kind.__new__(kind).__setstate__(lie)


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, through_pickle])
def test_copies_and_pickles_keep_code(sensors, copied):
    encoder = {"S1": Mean, "S2": "mlp", "terrain": "linear"}
    clf = small(encoder=encoder, encoder_params=None, lr_schedule=np.cos, max_epochs=1)
    for model in (clf, clf.fit(*sensors)):
        other = copied(model)
        assert vars(other).keys() == vars(model).keys()
        assert other.lr_schedule is np.cos
        assert other.encoder["S1"] is Mean


# -- the file ----------------------------------------------------------------------


def test_the_safetensors_library_reads_it(fitted, path):
    save_model(fitted.export("S1"), path)
    tensors, text = read_tensors(path)
    with safetensors.safe_open(path, framework="pt") as file:
        assert set(file.keys()) == set(tensors)
        assert file.metadata()["model"] == text
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)
    description = json.loads(text)
    assert description["kind"] == "SingleModalityClassifier"
    assert description["versions"]["torch"] == torch.__version__
    (sensor,) = description["sensors"]
    assert (sensor["entry"]["name"], sensor["entry"]["shape"]) == ("S1", [12, 2])


def test_tensors_of_every_type_and_of_none(path):
    tensors = {
        str(dtype): torch.ones(3, 2).to(dtype)
        for dtype in (
            *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
            *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
            torch.bool,
        )
    } | {"scalar": torch.tensor(3), "empty": torch.zeros(0, 4)}
    write_tensors(path, tensors, "täxt")
    read, text = read_tensors(path)
    assert text == "täxt"
    assert {n: (t.dtype, t.tolist()) for n, t in read.items()} == {
        n: (t.dtype, t.tolist()) for n, t in tensors.items()
    }


def test_tensors_that_share_memory_or_are_strided_come_back_on_their_own(path):
    grid = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "grid": grid,
        "same": grid,
        "turned": grid.T,
        "row": grid[0].expand(9, 4),
    }
    write_tensors(path, tensors, "")
    read, _ = read_tensors(path)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].untyped_storage().nbytes() == 4 * tensor.numel()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2, dtype=torch.complex128),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.uint16),
        torch.ones(2).to_sparse(),
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tensor.layout}",
)
def test_unsupported_tensors_are_refused(path, tensor):
    with pytest.raises(TypeError, match=r"Cannot save .*'phase' \(torch\."):
        write_tensors(path, {"phase": tensor}, "")
    assert not path.exists()


def test_names_as_long_as_the_file_system_allows(path):
    longest = path.with_name("x" * 255)
    write_tensors(longest, {"a": torch.ones(2)}, "text")
    assert read_tensors(longest)[1] == "text"


def test_descriptions_longer_than_can_be_read_are_not_written(path):
    with pytest.raises(ValueError, match=str(LONGEST_HEADER)):
        write_tensors(path, {"a": torch.ones(2)}, "x" * LONGEST_HEADER)
    assert not path.exists()


def test_every_changed_byte_and_every_cut_is_refused(path):
    write_tensors(path, {"a": torch.ones(2), "b": torch.zeros(0, 3)}, "{}")
    raw = path.read_bytes()
    for place in range(len(raw)):
        other = raw[place] ^ 1 << place % 8
        flipped = raw[:place] + bytes([other]) + raw[place + 1 :]
        for damaged in (flipped, raw[:place]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="save_model"):
                read_tensors(path)


def test_written_as_a_whole_or_not_at_all(fitted, path, monkeypatch):
    save_model(fitted.export("S1"), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save_model(fitted, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_other_objects_are_refused(sensors, path):
    from sklearn.exceptions import NotFittedError
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(NotFittedError):
        save_model(small(), path)
    kinds = "^save_model expects one of CoLearnClassifier, .*; got LogisticRegression"
    with pytest.raises(TypeError, match=kinds):
        save_model(LogisticRegression(), path)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["classifier", "regressor_S1"])
def test_file_of_format_1_is_readable_for_ever(kind):
    """Written by version 0.1; never to be written anew."""
    model = load_model(DATA / f"format1_{kind}.safetensors")
    expected = np.load(DATA / "format1_answers.npz")
    X = {m: expected[m] for m in ("S1", "S2")}
    answers = model.predict_proba(X) if kind == "classifier" else model.predict(X)
    assert_allclose(answers, expected[kind], rtol=1e-4, atol=1e-5)
    assert_allclose(model.embed(X, "joint"), expected[f"{kind}_joint"], atol=1e-4)
    if kind == "classifier":
        assert_array_equal(model.classes_, ["barley", "maize", "wheat"])
        assert list(model.predict(X)) == list(model.classes_[answers.argmax(axis=1)])


# -- hostile files -----------------------------------------------------------------


def parts_of(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def forge(path, header, data):
    """Write a file whose checksum fits what it says."""
    header["__metadata__"].pop("sha256", None)
    table = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    header["__metadata__"]["sha256"] = hashlib.sha256(table + data).hexdigest()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def refusal(path, **options):
    with pytest.raises(ValueError, match="model") as caught:
        load_model(path, **options)
    assert caught.type is ValueError
    message = str(caught.value)
    assert str(path) in message
    return message


@pytest.fixture
def saved(fitted, path):
    save_model(fitted.export("S1"), path)
    return path


def test_pickles_are_not_loaded(tmp_path, path):
    witness = tmp_path / "witness"

    class Exploit:
        def __reduce__(self):
            return (Path.touch, (witness,))

    for write in (
        lambda: path.write_bytes(pickle.dumps(Exploit())),
        lambda: joblib.dump(Exploit(), path),
        lambda: torch.save(Exploit(), path),
    ):
        write()
        refusal(path)
        assert not witness.exists()


def test_unknown_kinds_are_refused(saved):
    header, data = parts_of(saved)
    description = json.loads(header["__metadata__"]["model"])
    description["kind"] = "builtins.eval"
    header["__metadata__"]["model"] = json.dumps(description)
    forge(saved, header, data)
    assert refusal(saved) == (
        f"The model in {str(saved)!r} cannot be read: its class 'builtins.eval' is "
        "wrong or absent."
    )


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "../../etc/passwd",
        "pretrained:hf-hub:a/b",
        "pretrained:/tmp/x",
    ],
)
def test_unknown_encoder_names_are_refused(saved, name):
    header, data = parts_of(saved)
    description = json.loads(header["__metadata__"]["model"])
    description["sensors"][0]["encoder"] = {"name": name}
    header["__metadata__"]["model"] = json.dumps(description)
    forge(saved, header, data)
    assert f"the encoder {name!r} is wrong or absent" in refusal(saved)


def test_newer_format(saved):
    header, data = parts_of(saved)
    description = json.loads(header["__metadata__"]["model"])
    description["format"] = 4
    header["__metadata__"]["model"] = json.dumps(description)
    forge(saved, header, data)
    assert refusal(saved) == (
        f"{str(saved)!r} has format 4 of a newer sklearn_colearn; this version reads "
        "formats up to 3. Update sklearn_colearn."
    )


def test_damaged_files_say_what_is_wrong(saved, tmp_path):
    raw = saved.read_bytes()
    kind = "is not a file of save_model, or was damaged or changed: "

    def after(content):
        saved.write_bytes(content)
        message = refusal(saved)
        assert "joblib.load" in message
        return message.partition(kind)[2]

    no_length, no_model = (
        "not start with the length of a header",
        "its header describes no model",
    )
    assert no_length in after(b"")
    assert no_length in after(raw[:100])
    assert no_length in after(struct.pack("<Q", 2**63) + raw[8:])
    assert no_length in after(
        struct.pack("<Q", LONGEST_HEADER + 1) + b" " * (LONGEST_HEADER + 1)
    )
    for header in (b"\0" * 100, b"[" * 200_000, b"[]", b'{"__metadata__": 3}', b"\xff"):
        assert no_model in after(struct.pack("<Q", len(header)) + header)
    assert "safetensors cannot read it" in after(raw[:-5])
    assert "checksum" in after(raw[:-1] + bytes([raw[-1] ^ 1]))
    assert no_model in after(safetensors.torch.save({"a": torch.ones(3)}))
    foreign = safetensors.torch.save({"a": torch.ones(3)}, {"model": "x"})
    assert "checksum" in after(foreign)
    saved.unlink()
    os.mkfifo(saved)
    assert "it is not a regular file" in refusal(saved)
    assert "it is not a regular file" in refusal(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "nowhere")


def test_wrong_sizes_are_refused(saved):
    """Neither the table's sizes nor the description's take memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    header, data = parts_of(saved)
    name = max(header, key=lambda n: header[n].get("data_offsets", [0, 0])[1])
    for change in (
        {"shape": [2**40]},
        {"shape": [2**47, 0], "data_offsets": [0, 0]},
        {"data_offsets": [0, 2**45]},
        {"data_offsets": [5, 1]},
        {"dtype": "F128"},
        {"shape": "x"},
    ):
        forged = json.loads(json.dumps(header))
        forged[name] |= change
        forge(saved, forged, data)
        refusal(saved)
    for key, value in (
        ("embedding_dim", 2**40),
        ("embedding_dim", 2**63),
        ("embedding_dim", -2),
        ("encoder_params", {"dict": [["hidden_dims", [2**30] * 4]]}),
        ("encoder_params", {"dict": [["hidden_dims", [1] * 10**6]]}),
    ):
        forged = json.loads(json.dumps(header))
        description = json.loads(forged["__metadata__"]["model"])
        made_with = dict(description["sensors"][0]["made_with"]["dict"])
        made_with[key] = value
        description["sensors"][0]["made_with"] = {"dict": [*made_with.items()]}
        forged["__metadata__"]["model"] = json.dumps(description)
        forge(saved, forged, data)
        refusal(saved)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300_000  # KiB


def leaves(value, place=()):
    """Yield the places of all values in a description."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield (*place, key)
            yield from leaves(item, (*place, key))


def put(value, place, new):
    for key in place[:-1]:
        value = value[key]
    value[place[-1]] = new


ODD = [
    *(None, True, 0, -1, 7, 10**9, 2**63, 1e308, "", "x", "../x", [], {}, [[]], [1, 2]),
    *(
        {"x": 1},
        {"float": "nan"},
        {"array": [[1], "O"]},
        {"array": [["a"], "<U999999999"]},
    ),
    *({"tuple": [1]}, {"dict": [[[], 1]]}, {"dict": []}),
]


def damaged(kind, rng, path, other):
    """Damage a file in one of several ways."""
    raw = path.read_bytes()
    header, data = parts_of(path)
    if kind == "bytes":
        content = bytearray(raw)
        for _ in range(rng.integers(1, 9)):
            # Mostly in the header, where it matters more.
            end = len(raw) if rng.random() < 0.3 else len(raw) - len(data)
            content[rng.integers(end)] = rng.integers(256)
        path.write_bytes(content)
    elif kind == "cut":
        path.write_bytes(raw[: rng.integers(len(raw))])
    elif kind == "grafted":
        cut = rng.integers(len(raw))
        path.write_bytes(raw[:cut] + other[cut:])
    elif kind == "table":
        name = rng.choice([n for n in header if n != "__metadata__"])
        put(header[name], (rng.choice(["dtype", "shape", "data_offsets"]),), _odd(rng))
        forge(path, header, data)
    else:
        description = json.loads(header["__metadata__"]["model"])
        places = list(leaves(description))
        put(description, places[rng.integers(len(places))], _odd(rng))
        header["__metadata__"]["model"] = json.dumps(description)
        forge(path, header, data)


def _odd(rng):
    return ODD[rng.integers(len(ODD))]


# torch's, of layers without weights.
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
@pytest.mark.parametrize("exported", [False, True])
def test_damaged_and_hostile_files(sensors, fitted, path, exported):
    """100 files each: a clear error, or a model that answers in its right shape."""
    X, _ = sensors
    rows = {"S1": X["S1"][:5]}
    save_model(fitted.export("S1") if exported else fitted, path)
    whole = path.read_bytes()
    save_model(fitted if exported else fitted.export("S1"), path)
    other = path.read_bytes()
    rng = np.random.default_rng(int(exported))
    refused = answered = 0
    kinds = ["bytes"] * 20 + ["cut"] * 10 + ["grafted"] * 5 + ["table"] * 15
    for kind in kinds + ["description"] * 50:
        path.write_bytes(whole)
        damaged(kind, rng, path, other)
        try:
            model = load_model(path)
        except ValueError as error:
            refused += str(path) in str(error)
        else:
            answered += answers_or_refuses(model, rows)
    assert refused + answered == 100
    assert refused > 70


def answers_or_refuses(model, rows):
    try:
        answers = model.predict(rows)
    except ValueError:
        return True
    return answers.shape == (5,)


def test_searches_and_pipelines_name_the_part_to_save(tmp_path):
    X, y = make_multisensor(40, random_state=0)
    model = small(max_epochs=1, cv=None)
    search = GridSearchCV(model, {"lr": [1e-3]}, cv=2).fit(X, y)
    pipeline = make_pipeline(PerModality(StandardScaler()), model).fit(X, y)
    path = tmp_path / "m.safetensors"
    for holder, part in ((search, "best_estimator_"), (pipeline, "model[-1]")):
        says = f"got {type(holder).__name__}. ... {part}. Use joblib for other objects."
        refused(save_model, holder, path, says=says, error=TypeError)
    save_model(search.best_estimator_, path)
    assert (load_model(path).predict(X) == search.predict(X)).all()
