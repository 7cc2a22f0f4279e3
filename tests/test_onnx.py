"""ONNX files answer as the models that they come from, on raw rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import balanced_accuracy_score
from tools import small

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.encoders import ENCODERS
from sklearn_colearn.prediction import SingleModalityClassifier

pytestmark = pytest.mark.slow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

QUICK = ("mlp", "ltae")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def answers(path, **inputs):
    (out,) = session(path).run(None, inputs)
    return out


@pytest.mark.parametrize(
    "encoder",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in ENCODERS
    ],
)
def test_every_encoder(path, encoder):
    rng = np.random.default_rng(0)
    shape = (6, 6, 3) if encoder == "resnet" else (12, 2)
    shape = (5,) if encoder in ("linear", "mlp") else shape
    a = rng.normal(3, 2, (50, *shape)).astype(np.float32)
    a[10:20, 2] = np.nan
    if len(shape) > 1:
        a[:10, 3, 1] = np.nan
    X = ModalityDict(a=a, b=rng.random((50, 4)))
    clf = small(encoder={"a": encoder, "b": "mlp"}, encoder_params=None, max_epochs=1)
    model = clf.fit(X, np.arange(50) % 3).export("a")
    model.to_onnx(path)
    result = answers(path, X=a)
    expected = model.predict_proba(a)
    assert result.dtype == np.float32
    assert_allclose(result, expected, atol=1e-5)
    assert_allclose(answers(path, X=a[:1]), expected[:1], atol=1e-5)


@pytest.mark.parametrize(
    "encoder",
    ["gru", *(pytest.param(n, marks=pytest.mark.slow) for n in ("rnn", "lstm"))],
)
def test_recurrent_encoders_with_gaps_of_every_kind(path, encoder):
    rng = np.random.default_rng(0)
    a = rng.normal(3, 2, (60, 7, 2)).astype(np.float32)
    a[rng.random((60, 7)) < 0.5] = np.nan
    a[0], a[1, 1:], a[2, :6], a[3] = 1, np.nan, np.nan, np.nan
    params = {"a": {"hidden_dim": 12, "n_layers": 2, "bidirectional": True}}
    encoders = {"a": encoder, "b": "mlp"}
    clf = small(encoder=encoders, encoder_params=params, max_epochs=15)
    clf.fit({"a": a, "b": rng.random((60, 4))}, np.nan_to_num(a).sum((1, 2)) > 20)
    model = clf.export("a")
    model.to_onnx(path)
    result, there = answers(path, X=a), ~np.isnan(a).all(axis=(1, 2))
    assert not there[3]
    assert np.isnan(result[~there]).all()
    assert_allclose(result[there], model.predict_proba(a[there]), atol=1e-5)
    assert np.ptp(result[there], axis=0).min() > 0.1


def test_sentinels_and_rows_without_any_value(sensors, path):
    X, y = sensors
    S2 = X["S2"].copy()
    S2[::5, 3] = -9999
    S2[7] = -9999
    clf = small(missing_value=-9999, standardize=False, max_epochs=1)
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


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_regression_and_names_of_bands(sensors_regression, path, n_outputs):
    X, y = sensors_regression
    frame = pd.DataFrame(X["terrain"], columns=[f"t{i}" for i in range(6)])
    y = 7 + 3 * y
    reg = small(CoLearnRegressor, max_epochs=1)
    reg.fit({"S1": X["S1"], "terrain": frame}, y if n_outputs == 1 else np.c_[y, -y])
    model = reg.export("terrain")
    model.to_onnx(path)
    result = answers(path, X=X["terrain"])
    assert result.shape == (90, n_outputs)
    expected = model.predict(frame)
    assert_allclose(result.reshape(expected.shape), expected, rtol=1e-5)
    bands = session(path).get_modelmeta().custom_metadata_map["bands"]
    assert json.loads(bands) == list(frame)


@pytest.mark.slow
def test_multilabel(sensors, path):
    X, y = sensors
    clf = small(max_epochs=1).fit(X, np.stack([y > 0, y > 1], axis=1).astype(int))
    clf.export("S1").to_onnx(path)
    assert_allclose(answers(path, X=X["S1"]), clf.predict_proba(X, "S1"), atol=1e-5)


@pytest.mark.parametrize("by_row", [pytest.param(False, marks=pytest.mark.slow), True])
def test_times(path, by_row):
    rng = np.random.default_rng(0)
    dates = pd.date_range("2021-03-01", periods=6, freq="20D").to_numpy()
    X = ModalityDict(
        S1=rng.random((40, 6, 2)).astype("f4"), S2=rng.random((40, 6, 3)).astype("f4")
    )
    times = {"S2": dates}
    if by_row:
        X["dates"] = dates + rng.integers(0, 9, (40, 6)).astype("timedelta64[D]")
        times = {"S2": "dates"}
    params = {"encoder": "ltae", "encoder_params": None, "max_epochs": 1}
    model = small(times=times, **params).fit(X, np.arange(40) % 2).export("S2")
    model.to_onnx(path)
    inputs = {"X": X["S2"]}
    if by_row:
        metadata = session(path).get_modelmeta().custom_metadata_map
        since_1970 = (X["dates"] - np.datetime64(0, "D")) / np.timedelta64(1, "D")
        days = since_1970 - json.loads(metadata["times_reference"])
        inputs["times"] = days.astype(np.float32)
    assert_allclose(answers(path, **inputs), model.predict_proba(X), atol=1e-5)


class FixesRows(torch.nn.Module):
    def __init__(self, input_shape, embedding_dim):
        super().__init__()
        self.token = torch.nn.Parameter(torch.zeros(1, embedding_dim))
        self.linear = torch.nn.Linear(input_shape[0], embedding_dim)

    def forward(self, x):
        return self.linear(x) + self.token.expand(len(x), -1)


@pytest.mark.slow
def test_an_encoder_that_fixes_the_rows_is_refused(path):
    rng = np.random.default_rng(0)
    X = {"a": rng.random((20, 3)), "b": rng.random((20, 2))}
    clf = small(encoder=FixesRows, encoder_params=None, max_epochs=1)
    model = clf.fit(X, np.arange(20) % 2).export("a")
    with pytest.raises(ValueError, match=r"x\.shape\[0\].*len\(x\)"):
        model.to_onnx(path)
    assert not list(path.parent.iterdir())


def test_not_fitted(path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        SingleModalityClassifier().to_onnx(path)


@pytest.mark.slow
def test_real_rows_and_what_eight_bits_cost(real_data, path):
    """Eight bits: half of the file, probabilities within .05, accuracy within .02."""
    data = np.load(real_data("algae_blooms.npz"))
    X = ModalityDict(S1=data["S1"], S2=data["S2"].astype("f4"))
    y = data["y"]
    test = np.arange(len(y)) % 4 == 0
    clf = CoLearnClassifier(
        encoder="tempcnn",
        encoder_params={"n_channels": 32},
        max_epochs=8,
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
