"""ONNX files answer as the models that they come from, on raw rows."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tools
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import balanced_accuracy_score

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.encoders import ENCODERS
from sklearn_colearn.prediction import SingleModalityClassifier

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

small = partial(tools.small, max_epochs=1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(path, **inputs):
    (out,) = session(path).run(None, inputs)
    return out


# Small, as it is the operations that are tested.
PARAMS = {
    "rnn": {"hidden_dim": 6},
    "lstm": {"hidden_dim": 6},
    "gru": {"hidden_dim": 6, "bidirectional": True, "n_layers": 2},
    "transformer": {"n_layers": 1},
    "inceptiontime": {"n_channels": 8, "n_layers": 3},
    "resnet": {"n_channels": (8, 16)},
}


# "mlp" and "tempcnn" are those of the tests below; tests/test_presto.py has "presto".
OTHERS = ENCODERS.keys() - {"mlp", "tempcnn", "presto"}


@pytest.mark.parametrize("encoder", sorted(OTHERS))
def test_every_other_encoder_with_gaps_of_every_kind(path, encoder):
    rng = np.random.default_rng(0)
    shape = {"resnet": (6, 6, 3), "linear": (5,)}.get(encoder, (3, 2))
    a = rng.normal(3, 2, (60, *shape)).astype(np.float32)
    a[rng.random(a.shape[:-1] if len(shape) == 2 else a.shape) < 0.4] = np.nan
    a[4:20, ..., 1] = np.nan
    a[0], a[1, 1:], a[2, :-1], a[3] = 1, np.nan, np.nan, np.nan
    there = ~np.isnan(a).reshape(60, -1).all(axis=1)
    X = ModalityDict(a=a, b=rng.random((60, 4)))
    encoders = {"a": encoder, "b": "linear"}
    params = {"a": PARAMS.get(encoder, {})}
    clf = small(encoder=encoders, encoder_params=params)
    model = clf.fit(X, np.arange(60) % 3).export("a")
    model.to_onnx(path)
    result, expected = answers(path, X=a), model.predict_proba(a[there])
    assert result.dtype == np.float32
    assert not there[3]
    assert np.isnan(result[~there]).all()
    assert_allclose(result[there], expected, atol=1e-5)
    assert_allclose(answers(path, X=a[:1]), expected[:1], atol=1e-5)
    assert np.ptp(expected, axis=0).min() > 1e-3


def test_sentinels_and_rows_without_any_value(sensors, path):
    X, y = sensors
    S2 = X["S2"].copy()
    S2[::5, 3] = -9999
    S2[7] = -9999
    clf = small(missing_value=-9999, standardize=False)
    clf.set_params(encoder="tempcnn", encoder_params={"n_channels": 8})
    clf.fit({"S1": X["S1"], "S2": S2}, np.array(["a", "bb", "c"])[y])
    clf.export("S2").to_onnx(path)
    result = answers(path, X=S2)
    assert np.isnan(result[7]).all()
    there = np.arange(90) != 7
    expected = clf.predict_proba({"S2": S2[there]})
    assert_allclose(result[there], expected, atol=1e-5)
    metadata = session(path).get_modelmeta().custom_metadata_map
    assert {name: json.loads(text) for name, text in metadata.items()} == {
        "modality": "S2",
        "classes": ["a", "bb", "c"],
    }


def test_regression_and_names_of_bands(sensors_regression, path):
    X, y = sensors_regression
    frame = pd.DataFrame(X["terrain"], columns=[f"t{i}" for i in range(6)])
    y = 7 + 3 * np.c_[y, -y]
    reg = small(CoLearnRegressor, share_encoder=False)
    model = reg.fit({"S1": X["S1"], "terrain": frame}, y).export("terrain")
    model.to_onnx(path)
    assert_allclose(answers(path, X=X["terrain"]), model.predict(frame), rtol=1e-5)
    bands = session(path).get_modelmeta().custom_metadata_map["bands"]
    assert json.loads(bands) == list(frame)


DATES = pd.date_range("2021-03-01", periods=6, freq="20D").to_numpy()
TIMED = {"encoder": {"S1": "linear", "S2": "ltae"}, "encoder_params": None}


def test_times_of_all_rows_and_several_labels(path):
    rng = np.random.default_rng(0)
    X = {"S1": rng.random((40, 6, 2)), "S2": rng.random((40, 6, 3)).astype("f4")}
    labels = rng.integers(0, 2, (40, 2))
    clf = small(times={"S2": DATES}, **TIMED).fit(X, labels)
    clf.export("S2").to_onnx(path)
    expected = clf.predict_proba(X, "S2")
    assert_allclose(answers(path, X=X["S2"]), expected, atol=1e-5)


def test_times_of_each_row_and_one_value(path):
    rng = np.random.default_rng(0)
    X = {"S1": rng.random((40, 6, 2)), "S2": rng.random((40, 6, 3)).astype("f4")}
    X["dates"] = DATES + rng.integers(0, 9, (40, 6)).astype("timedelta64[D]")
    reg = small(CoLearnRegressor, times={"S2": "dates"}, **TIMED)
    model = reg.fit(X, np.arange(40) % 7).export("S2")
    model.to_onnx(path)
    metadata = session(path).get_modelmeta().custom_metadata_map
    since_1970 = (X["dates"] - np.datetime64(0, "D")) / np.timedelta64(1, "D")
    days = (since_1970 - json.loads(metadata["times_reference"])).astype(np.float32)
    result = answers(path, X=X["S2"], times=days)
    assert result.shape == (40, 1)
    assert_allclose(result[:, 0], model.predict(X), rtol=1e-5)


class FixesRows(torch.nn.Module):
    def __init__(self, input_shape, embedding_dim):
        super().__init__()
        self.token = torch.nn.Parameter(torch.zeros(1, embedding_dim))
        self.linear = torch.nn.Linear(input_shape[0], embedding_dim)

    def forward(self, x):
        return self.linear(x) + self.token.expand(len(x), -1)


def test_an_encoder_that_fixes_the_rows_is_refused(path):
    rng = np.random.default_rng(0)
    X = {"a": rng.random((20, 3)), "b": rng.random((20, 2))}
    clf = small(encoder=FixesRows, encoder_params=None)
    model = clf.fit(X, np.arange(20) % 2).export("a")
    with pytest.raises(ValueError, match=r"x\.shape\[0\].*len\(x\)"):
        model.to_onnx(path)
    assert not list(path.parent.iterdir())


def test_not_fitted(path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        SingleModalityClassifier().to_onnx(path)


def test_real_rows_and_what_eight_bits_cost(real_data, path):
    """Eight bits: half of the file, probabilities within .05, accuracy within .02."""
    data = np.load(real_data("algae_blooms.npz"))
    some = np.random.default_rng(0).permutation(len(data["y"]))[:900]
    X = ModalityDict(S1=data["S1"], S2=data["S2"].astype("f4"))[some]
    y = data["y"][some]
    test = np.arange(len(y)) % 4 == 0
    clf = CoLearnClassifier(
        encoder={"S1": "linear", "S2": "tempcnn"},
        encoder_params={"S2": {"n_channels": 32}},
        max_epochs=8,
        cv=None,
        random_state=0,
    ).fit(X[~test], y[~test])
    model, rows = clf.export("S2"), X["S2"][test]
    expected = model.predict_proba(rows)
    model.to_onnx(path)
    assert_allclose(answers(path, X=rows), expected, atol=1e-5)
    size = path.stat().st_size
    model.to_onnx(path, quantize=True)
    quantized = answers(path, X=rows)
    assert path.stat().st_size < 0.6 * size
    assert np.abs(quantized - expected).max() < 0.05
    scores = [
        balanced_accuracy_score(y[test], model.classes_[p.argmax(axis=1)])
        for p in (expected, quantized)
    ]
    assert abs(scores[0] - scores[1]) < 0.02
