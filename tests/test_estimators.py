"""What the estimators do, seen from outside."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import tools
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import DataConversionWarning
from sklearn.metrics import r2_score, recall_score
from tools import refused

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.sensor import Sensor

TRAIN, TEST = slice(0, 240), slice(240, 400)

#: Adam divides by the gradient's size, so that rounding alone can turn a weight; plain
#: gradient descent keeps nearly equal data at nearly equal answers.
SMOOTH = {"optimizer": "sgd", "lr": 1e-3}

small = partial(tools.small, contrastive_weight=1.0)


@pytest.fixture(scope="module")
def fitted(sensors):
    return small(CoLearnClassifier).fit(*sensors)


def as_frame(X):
    """Return a frame with column levels (modality, time step, band)."""
    columns, parts = [], []
    for name, value in X.items():
        parts.append(value.reshape(len(X), -1))
        if value.ndim == 2:
            columns += [(name, f"f{i}", "") for i in range(value.shape[1])]
        else:
            steps, bands = value.shape[1:]
            columns += [(name, t, f"b{b}") for t in range(steps) for b in range(bands)]
    return pd.DataFrame(np.hstack(parts), columns=pd.MultiIndex.from_tuples(columns))


def as_dataset(X):
    xarray = pytest.importorskip("xarray")
    return xarray.Dataset(
        {
            name: (("sample", *(f"{name}_{i}" for i in range(value.ndim - 1))), value)
            for name, value in X.items()
        }
    )


def flat_names(X):
    return [f"c{i}" for i in range(X.shape[1])]


# -- learning ----------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.slow
def test_each_sensor_alone_classifies(n_classes):
    X, y = make_multisensor(
        400, n_classes=n_classes, specific_signal=0.3, noise=0.3, random_state=0
    )
    y = np.array(["wheat", "maize", "grass"])[y]
    clf = small(CoLearnClassifier, batch_size=30, max_epochs=8)
    clf.set_params(share_encoder=False).fit(X[TRAIN], y[TRAIN])
    assert clf.classes_.tolist() == sorted(set(y))
    chance = 1 / n_classes
    scores = {m: clf.score(X[TEST].select(m), y[TEST]) for m in X}
    assert scores["S1"] > chance + 0.3
    assert scores["S2"] > chance + 0.3
    assert scores["terrain"] > chance + 0.12  # few bands, so much noise
    proba = clf.predict_proba(X[TEST])
    assert proba.shape == (160, n_classes)
    assert proba.dtype == np.float32
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert_allclose(clf.predict_log_proba(X[TEST]), np.log(proba), rtol=1e-5)
    predicted = clf.predict(X[TEST])
    assert predicted.dtype.kind == "U"
    assert_array_equal(predicted, clf.classes_[proba.argmax(axis=1)])
    assert clf.n_outputs_ == 1


@pytest.mark.slow
def test_multilabel_dense_sparse_and_frame_agree():
    X, y = make_multisensor(400, task="multilabel", specific_signal=0.3, random_state=0)
    targets = {
        "dense": y[TRAIN],
        "bool": y[TRAIN].astype(bool),
        "sparse": sparse.csr_matrix(y[TRAIN]),
        "frame": pd.DataFrame(y[TRAIN], columns=["forest", "water", "urban"]),
    }
    answers = {}
    for name, target in targets.items():
        clf = small(max_epochs=1).fit(X[TRAIN], target)
        answers[name] = clf.predict_proba(X[TEST])
        assert clf.n_outputs_ == 3
    for name in targets:
        assert_array_equal(answers[name], answers["dense"])
    clf.set_params(max_epochs=8).fit(X[TRAIN], y[TRAIN])
    predicted = clf.predict(X[TEST])
    assert predicted.shape == y[TEST].shape
    assert_array_equal(predicted, clf.predict_proba(X[TEST]) >= 0.5)
    for modality in X:
        right = clf.predict(X[TEST].select(modality)) == y[TEST]
        assert right.mean() > 0.65, modality  # chance is a half
    assert clf.score(X[TEST], y[TEST]) > 0.3  # all three right: chance is 1 / 8


def test_pandas_target(sensors):
    X, y = sensors
    expected = small(CoLearnClassifier).fit(X, y).predict_proba(X)
    series = pd.Series(y, index=np.arange(90)[::-1])
    assert_array_equal(
        small(CoLearnClassifier).fit(X, series).predict_proba(X), expected
    )
    with pytest.warns(DataConversionWarning, match="column-vector y"):
        clf = small(CoLearnClassifier).fit(X, series.to_frame())
    assert_array_equal(clf.predict_proba(X), expected)
    categories = pd.Series(pd.Categorical.from_codes(y, ["a", "b", "c"]))
    assert small(CoLearnClassifier).fit(X, categories).classes_.tolist() == [*"abc"]


@pytest.mark.slow
def test_regression_from_each_sensor_in_any_unit():
    X, y = make_multisensor(
        400, task="regression", specific_signal=0.3, noise=0.3, random_state=0
    )
    y = 1e4 * y + 1e6
    reg = small(CoLearnRegressor, max_epochs=15).fit(X[TRAIN], y[TRAIN])
    for modality in X:
        predicted = reg.predict(X[TEST].select(modality))
        assert predicted.shape == (160,)
        assert predicted.dtype == np.float64
        assert r2_score(y[TEST], predicted) > 0.4, modality


@pytest.mark.slow
def test_regression_of_several_outputs():
    X, y = make_multisensor(
        400, task="regression", n_outputs=2, specific_signal=0.3, random_state=0
    )
    y = y * [1, 1000]
    frame = pd.DataFrame(y, columns=["height", "biomass"])
    reg = small(CoLearnRegressor, max_epochs=15).fit(X[TRAIN], frame[TRAIN])
    assert reg.n_outputs_ == 2
    predicted = reg.predict(X[TEST])
    assert predicted.shape == (160, 2)
    assert (r2_score(y[TEST], predicted, multioutput="raw_values") > 0.4).all()


def test_shape_of_a_single_output_is_that_of_y(sensors_regression):
    X, y = sensors_regression
    flat = small(CoLearnRegressor).fit(X, y).predict(X)
    column = small(CoLearnRegressor).fit(X, y[:, None]).predict(X)
    assert flat.shape == (90,)
    assert column.shape == (90, 1)
    assert_allclose(flat, column[:, 0], atol=1e-6)


# -- forms of X --------------------------------------------------------------------

NAMED = {
    "dict": dict,
    "ModalityDict": ModalityDict,
    "MultiIndex frame": as_frame,
    "Dataset": as_dataset,
}


@pytest.mark.parametrize("form", NAMED.values(), ids=NAMED)
def test_every_named_form_gives_the_same_answers(sensors, fitted, form):
    X, y = sensors
    expected = fitted.predict_proba(X)
    clf = small(CoLearnClassifier).fit(form(X), y)
    assert clf.modalities_ == ["S1", "S2", "terrain"]
    assert clf.input_shapes_ == {"S1": (12, 2), "S2": (12, 4), "terrain": (6,)}
    assert clf.n_features_in_ == 78
    assert_allclose(clf.predict_proba(form(X)), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(dict(X)), expected, atol=1e-6)
    assert_allclose(fitted.predict_proba(form(X)), expected, atol=1e-6)
    part = X.select(["S2", "terrain"])
    assert_allclose(
        clf.predict_proba(form(part)), fitted.predict_proba(part), atol=1e-6
    )


@pytest.mark.parametrize("named", [False, True])
def test_flat_forms_give_the_same_answers(sensors, fitted, named):
    X, y = sensors
    flat = np.asarray(X)
    if named:
        flat = pd.DataFrame(flat, columns=flat_names(X))
    clf = small(CoLearnClassifier, modalities=X.layout).fit(flat, y)
    expected = fitted.predict_proba(X)
    assert_allclose(clf.predict_proba(flat), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    for modality, values in X.items():
        expected = fitted.predict_proba({modality: values})
        assert_allclose(clf.predict_proba(values), expected, atol=1e-6)  # bare
        assert_allclose(clf.predict_proba(flat, modality), expected, atol=1e-6)
    assert hasattr(clf, "feature_names_in_") == named


def test_layout_by_column_names_and_shuffled_columns(sensors, fitted):
    X, y = sensors
    names = flat_names(X)
    frame = pd.DataFrame(np.asarray(X), columns=names)
    layout = {
        "S1": (names[:24], (12, 2)),
        "S2": (names[24:72], (12, 4)),
        "terrain": names[72:],
    }
    shuffled = frame[np.random.default_rng(0).permutation(names)]
    clf = small(CoLearnClassifier, modalities=layout).fit(shuffled, y)
    assert_allclose(clf.predict_proba(shuffled), fitted.predict_proba(X), atol=1e-6)
    # A frame of one modality is known by its names, in any order.
    terrain = frame[names[72:][::-1]]
    assert_allclose(
        clf.predict_proba(terrain), fitted.predict_proba(X.select("terrain")), atol=1e-6
    )


def test_layout_may_leave_columns_out(sensors):
    X, y = sensors
    flat = np.hstack([np.asarray(X), np.full((90, 2), 1e9)])
    clf = small(CoLearnClassifier, modalities=X.layout).fit(flat, y)
    before = clf.predict_proba(flat)
    flat[:, -2:] = 0
    assert_allclose(clf.predict_proba(flat), before, atol=1e-6)


def test_bare_array_is_known_by_its_shape(sensors, fitted):
    X, _ = sensors
    for modality, values in X.items():
        expected = fitted.predict_proba({modality: values})
        assert_allclose(fitted.predict_proba(values), expected, atol=1e-6)
        assert_allclose(fitted.predict_proba(values.tolist()), expected, atol=1e-6)
        assert_allclose(fitted.predict_proba(values, modality), expected, atol=1e-6)


def test_bare_frame_is_known_by_its_columns(sensors):
    X, y = sensors
    soil = pd.DataFrame(X["terrain"], columns=[*"abcdef"])
    other = pd.DataFrame(X["S1"][:, :3].reshape(90, 6), columns=[*"ghijkl"])
    clf = small(CoLearnClassifier).fit({"soil": soil, "other": other}, y)
    expected = clf.predict_proba({"soil": soil.to_numpy()})
    assert_allclose(clf.predict_proba(soil), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(soil[[*"fbcdea"]]), expected, atol=1e-6)
    assert_allclose(clf.predict_proba({"soil": soil[[*"fbcdea"]]}), expected, atol=1e-6)


def test_order_of_modalities_at_prediction_does_not_matter(sensors, fitted):
    X, _ = sensors
    turned = X.select(["terrain", "S2", "S1"])
    assert_allclose(fitted.predict_proba(turned), fitted.predict_proba(X), atol=1e-6)
    assert_allclose(fitted.transform(turned), fitted.transform(X), atol=1e-6)


def test_images():
    X, y = make_multisensor(
        90, modalities={"rgb": (4, 4, 3), "S1": (6, 2)}, random_state=0
    )
    clf = small(CoLearnClassifier, encoder={"rgb": "linear", "S1": "mlp"})
    clf.set_params(encoder_params={"S1": {"hidden_dims": (8,)}}, max_epochs=10)
    clf.fit(X, y)
    assert clf.score(X["rgb"], y) > 0.5
    assert_array_equal(clf.predict(X["rgb"]), clf.predict(X, modality="rgb"))


def test_integer_and_wide_types_agree_with_float32(sensors):
    X, y = sensors
    whole = {name: np.round(values * 50) for name, values in X.items()}
    answers = []
    for dtype in (np.float32, np.int16, np.int64, np.float64):
        typed = {name: values.astype(dtype) for name, values in whole.items()}
        clf = small(CoLearnClassifier, **SMOOTH).fit(typed, y)
        answers.append(clf.predict_proba(typed))
    for other in answers[1:]:
        assert_allclose(other, answers[0], atol=1e-4)


# -- which modality answers --------------------------------------------------------


def test_without_predict_modality_the_mean_answers(sensors, fitted):
    X, _ = sensors
    alone = [fitted.predict_proba(X.select(modality)) for modality in X]
    assert not np.allclose(alone[0], alone[1], atol=0.01)
    assert_allclose(fitted.predict_proba(X), np.mean(alone, axis=0), atol=1e-6)
    two = X.select(["terrain", "S1"])
    assert_allclose(fitted.predict_proba(two), (alone[0] + alone[2]) / 2, atol=1e-6)


def test_the_teacher_answers_where_all_are_there(sensors, fitted):
    X, _ = sensors
    network = fitted.net_.module_
    parts = [
        fitted.embed(X, representation, modality)
        for representation in ("specific", "shared")
        for modality in X
    ]
    with torch.no_grad():
        logits = network.teacher_head(torch.from_numpy(np.hstack(parts)))
    clf = clone(fitted).set_params(fusion="teacher").fit(*sensors)
    assert_allclose(clf.predict_proba(X), logits.softmax(1), atol=1e-6)
    two = X.select(["terrain", "S1"])
    assert_allclose(clf.predict_proba(two), fitted.predict_proba(two), atol=1e-6)


def test_without_a_teacher_the_mean_answers(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier, distillation_weight=0, fusion="teacher").fit(X, y)
    alone = [clf.predict_proba(X.select(modality)) for modality in X]
    assert_allclose(clf.predict_proba(X), np.mean(alone, axis=0), atol=1e-6)


def test_predictions_do_not_hold_the_representations(sensors, fitted, monkeypatch):
    """They take several times the memory of the input."""
    held = []
    run = Sensor.run

    def watched(self, *args, **kwargs):
        output = run(self, *args, **kwargs)
        held.append({name for name, z in output._asdict().items() if z.shape[1]})
        return output

    monkeypatch.setattr(Sensor, "run", watched)
    X, _ = sensors
    fitted.predict(X.select("S1"))
    fitted.embed(X.select("S1"), "shared")
    fitted.transform(X.select("S1"))
    assert held == [
        {"prediction"},
        {"prediction", "shared"},
        {"prediction", "specific", "shared"},
    ]


@pytest.mark.parametrize("fusion", ["teacher", "mean"])
def test_regression_from_several(sensors_regression, fusion):
    X, y = sensors_regression
    y = 100 * y + 1000
    settings = {"share_encoder": False, "batch_size": 30, "max_epochs": 15}
    reg = small(CoLearnRegressor, fusion=fusion, **settings).fit(X, y)
    alone = [reg.predict(X.select(modality)) for modality in X]
    if fusion == "mean":
        assert_allclose(reg.predict(X), np.mean(alone, axis=0), rtol=1e-6)
    assert r2_score(y, reg.predict(X)) > 0.6


@pytest.mark.slow
def test_a_teacher_of_all_sensors_beats_their_mean():
    """Each sensor has a part of its own in the target, which a mean halves."""
    X, y = make_multisensor(
        500, task="regression", shared_signal=0.3, noise=0.3, random_state=0
    )
    reg = small(CoLearnRegressor, max_epochs=20, batch_size=60, lr=2e-2)
    scores = {
        fusion: clone(reg)
        .set_params(fusion=fusion)
        .fit(X[:300], y[:300])
        .score(X[300:], y[300:])
        for fusion in ("teacher", "mean")
    }
    assert scores["teacher"] > scores["mean"] + 0.1


def test_which_modalities_answered(sensors, fitted):
    X, _ = sensors
    gaps = ModalityDict({name: values.copy() for name, values in X.items()})
    gaps["S1"][:4] = np.nan
    gaps["terrain"][2:6] = np.nan
    labels, answered = fitted.predict(gaps, return_modalities=True)
    assert_array_equal(labels, fitted.predict(gaps))
    assert answered.columns.tolist() == ["S1", "S2", "terrain"]
    assert answered.dtypes.astype(str).eq("bool").all()
    assert answered["S1"].tolist() == [False] * 4 + [True] * 86
    assert answered["S2"].all()
    assert answered["terrain"].tolist() == [True] * 2 + [False] * 4 + [True] * 84
    probabilities, answered = fitted.predict_proba(
        X.select(["terrain", "S1"]), return_modalities=True
    )
    assert probabilities.shape == (90, 3)
    assert answered.all().to_dict() == {"S1": True, "S2": False, "terrain": True}
    _, answered = fitted.predict(X, "S2", return_modalities=True)
    assert answered.sum(axis=1).eq(1).all()
    assert answered["S2"].all()


def test_which_modalities_answered_a_regression(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, predict_modality="terrain").fit(X, y)
    values, answered = reg.predict(X[:5], return_modalities=True)
    assert_allclose(values, reg.predict(X[:5]), atol=1e-6)
    assert answered.to_numpy().tolist() == [[False, False, True]] * 5


def test_predict_modality_picks_one_of_several(sensors, fitted):
    X, y = sensors
    expected = fitted.predict_proba(X.select("S2"))
    clf = small(CoLearnClassifier, predict_modality="S2").fit(X, y)
    assert_array_equal(clf.predict_proba(X), expected)
    assert_array_equal(clf.predict_proba(X, modality="S2"), expected)
    # Said outright, another modality answers; so does the only one there is.
    for X_terrain in (X, X.select("terrain"), X["terrain"]):
        assert_array_equal(
            clf.predict_proba(X_terrain, modality="terrain"),
            fitted.predict_proba(X.select("terrain")),
        )
    assert_array_equal(
        clf.predict_proba(X.select("terrain")),
        fitted.predict_proba(X.select("terrain")),
    )
    assert clf.score(X, y) == pytest.approx(fitted.score(X.select("S2"), y))


def test_predict_modality_holds_for_a_single_row(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier, predict_modality="S2").fit(X, y)
    assert_allclose(
        clf.predict_proba(X[:1]), clf.predict_proba(X[:1].select("S2")), atol=1e-6
    )
    assert clf.transform(X[:1]).shape == (1, 16)


def test_predict_modality_settles_an_ambiguous_bare_array():
    X, y = make_multisensor(60, modalities={"a": (5,), "b": (5,)}, random_state=0)
    clf = small(CoLearnClassifier, predict_modality="b").fit(X, y)
    assert_allclose(
        clf.predict_proba(X["b"]), clf.predict_proba({"b": X["b"]}), atol=1e-6
    )


def test_prediction_runs_two_encoders_of_its_modality_and_nothing_else(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier, share_encoder=False).fit(X, y)
    calls = []
    for name, module in clf.net_.module_.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    clf.predict({"S2": X["S2"]})
    assert {call.split(".")[1] for call in calls} == {"1"}  # networks.1 is S2's
    calls.clear()
    clf.predict({"S2": X["S2"]})
    assert calls.count("networks.1.unique_encoder") == 1
    assert calls.count("networks.1.common_encoder") == 1
    calls.clear()
    clf.set_params(predict_modality="terrain").predict(X)
    assert {call.split(".")[1] for call in calls} == {"2"}


def test_other_modalities_never_change_an_answer(sensors, fitted):
    X, _ = sensors
    expected = fitted.predict_proba(X, modality="S1")
    for garbage in (1e6, np.nan, np.inf):
        changed = X.copy()
        changed["S2"] = np.full_like(X["S2"], garbage)
        assert_allclose(
            fitted.predict_proba(changed, modality="S1"), expected, atol=1e-6
        )


def test_batch_mates_and_order_do_not_change_answers(sensors, fitted):
    X, _ = sensors
    expected = fitted.predict_proba(X)
    order = np.random.default_rng(0).permutation(90)
    assert_allclose(fitted.predict_proba(X[order]), expected[order], atol=1e-6)
    for row in (0, 17, 89):
        one = fitted.predict_proba(X[row : row + 1])
        assert_allclose(one, expected[row : row + 1], atol=1e-6)


def test_more_rows_than_go_through_at_once(sensors, fitted):
    X, _ = sensors
    rows = np.arange(3000) % 90
    assert_allclose(
        fitted.predict_proba(X[rows]), fitted.predict_proba(X)[rows], atol=1e-6
    )


def test_prediction_changes_neither_the_data_nor_the_estimator(sensors, fitted):
    X, _ = sensors
    gaps = {name: values.astype(np.float32) for name, values in X.items()}
    gaps["S1"][3, 2, 1] = np.nan
    before = copy.deepcopy(gaps)
    first = fitted.predict_proba(gaps)
    assert_array_equal(fitted.predict_proba(gaps), first)
    for name in gaps:
        assert_array_equal(gaps[name], before[name])


# -- missing values ----------------------------------------------------------------


def with_gaps(X, value=np.nan):
    """Return X with single values, and whole rows of S1 and S2, set to `value`."""
    by_modality = value if isinstance(value, dict) else dict.fromkeys(X, value)
    gaps = ModalityDict({name: values.copy() for name, values in X.items()})
    rng = np.random.default_rng(0)
    for name, values in gaps.items():
        values[rng.random(values.shape) < 0.1] = by_modality[name]
    gaps["S1"][5:20] = by_modality["S1"]
    gaps["S2"][40:60] = by_modality["S2"]
    return gaps


@pytest.mark.parametrize(
    "missing",
    [-9999, 65535.0, -np.inf, {"S1": -9999, "S2": 65535.0, "terrain": np.inf}],
    ids=str,
)
@pytest.mark.slow
def test_missing_value_is_as_nan(sensors, missing):
    X, y = sensors
    nan = with_gaps(X)
    marked = with_gaps(X, missing)
    clf = small(CoLearnClassifier).fit(nan, y)
    other = small(CoLearnClassifier, missing_value=missing).fit(marked, y)
    expected = clf.predict_proba(nan)
    assert np.isfinite(expected).all()
    assert_array_equal(other.predict_proba(marked), expected)
    assert_array_equal(other.predict_proba(nan), expected)
    assert_array_equal(other.transform(marked), clf.transform(nan))


def test_missing_value_of_one_modality_leaves_the_others_alone(sensors):
    X, y = sensors
    X = X.copy()
    X["terrain"] = np.where(X["terrain"] > 0, 7.0, X["terrain"])
    plain = small(CoLearnClassifier).fit(X, y)
    other = small(CoLearnClassifier, missing_value={"S1": 7.0}).fit(X, y)
    assert_array_equal(other.predict_proba(X), plain.predict_proba(X))


def test_missing_value_in_unsigned_integers():
    X, y = make_multisensor(60, random_state=0)
    coded = {
        name: (values * 100 + 5000).astype(np.uint16) for name, values in X.items()
    }
    gaps = {name: values.astype(float) for name, values in coded.items()}
    coded["S1"][:4], gaps["S1"][:4] = 65535, np.nan
    answers = [
        small(CoLearnClassifier, missing_value=65535, **SMOOTH)
        .fit(data, y)
        .predict_proba(data)
        for data in (coded, gaps)
    ]
    assert_allclose(answers[0], answers[1], atol=1e-5)


def test_masked_values_are_missing(sensors, fitted):
    """rasterio and xarray mask what is not there; what is below means nothing."""
    X, _ = sensors
    here = X["S1"] <= 0.5
    nan = np.where(here, X["S1"], np.nan)
    masked = np.ma.masked_array(np.where(here, X["S1"], -9999), mask=~here)
    expected = fitted.predict_proba({"S1": nan})
    assert_allclose(fitted.predict_proba({"S1": masked}), expected, atol=1e-6)
    assert_allclose(fitted.predict_proba(masked), expected, atol=1e-6)
    assert_allclose(
        fitted.predict_proba(ModalityDict(S1=masked)[:5]), expected[:5], atol=1e-6
    )


def test_missing_values_of_pandas_are_missing(sensors, fitted):
    X, _ = sensors
    nan = np.where(X["terrain"] <= 0.5, X["terrain"], np.nan)
    frame = pd.DataFrame(nan).astype("Float64")
    assert frame.isna().any().any()
    assert_allclose(
        fitted.predict_proba({"terrain": frame}),
        fitted.predict_proba({"terrain": nan}),
        atol=1e-6,
    )


def test_row_without_a_modality_is_answered_by_the_others(sensors, fitted):
    X, _ = sensors
    lacking = ModalityDict({name: values.copy() for name, values in X.items()})
    lacking["S1"][:10] = np.nan
    lacking["S2"][5:15] = np.nan
    alone = {m: fitted.predict_proba(X.select(m)) for m in X}
    answers = fitted.predict_proba(lacking)
    assert_allclose(answers[:5], (alone["S2"] + alone["terrain"])[:5] / 2, atol=1e-6)
    assert_allclose(answers[5:10], alone["terrain"][5:10], atol=1e-6)
    assert_allclose(
        answers[10:15], (alone["S1"] + alone["terrain"])[10:15] / 2, atol=1e-6
    )
    assert_allclose(answers[15:], fitted.predict_proba(X)[15:], atol=1e-6)


def test_partly_missing_row_is_filled_with_the_mean_of_the_band(sensors, fitted):
    X, _ = sensors
    gaps = X["terrain"].copy()
    gaps[:, 2] = np.nan
    filled = X["terrain"].copy()
    filled[:, 2] = X["terrain"][:, 2].mean()
    assert_allclose(
        fitted.predict_proba({"terrain": gaps}),
        fitted.predict_proba({"terrain": filled}),
        atol=1e-5,
    )


def test_rows_without_a_modality_do_not_touch_its_network(sensors):
    """A modality's network sees its own rows only, its running statistics too."""
    X, y = sensors
    has = np.arange(90) < 60
    lacking = X.copy()
    lacking["S1"] = np.where(has[:, None, None], X["S1"], np.nan)
    # The teacher and the common heads see other modalities' rows.
    terms = ("auxiliary", "contrastive", "discriminative", "distillation")
    weights = {f"{term}_weight": 0 for term in terms}
    clf = small(CoLearnClassifier, batch_size=90, **weights).fit(lacking, y)
    scaler = clf._sensors["S1"].scaler
    assert_allclose(scaler.shift, X["S1"][has].mean(axis=(0, 1)), rtol=1e-4)
    assert_allclose(scaler.scale**2, X["S1"][has].var(axis=(0, 1)), rtol=1e-4)
    # The labels of rows that S1 lacks cannot reach S1's answers.
    other = small(CoLearnClassifier, batch_size=90, **weights).fit(
        lacking, np.where(has, y, (y + 1) % 3)
    )
    S1, S2 = ({m: X[m]} for m in ("S1", "S2"))
    assert_allclose(clf.predict_proba(S1), other.predict_proba(S1), atol=1e-6)
    assert not np.allclose(clf.predict_proba(S2), other.predict_proba(S2), atol=1e-3)


def test_learns_from_gappy_sensors():
    X, y = make_multisensor(
        400,
        specific_signal=0.3,
        missing_rows={"S1": 0.4, "S2": 0.4},
        missing_steps=0.2,
        random_state=0,
    )
    clf = small(CoLearnClassifier, max_epochs=8).fit(X[TRAIN], y[TRAIN])
    for modality in X:
        rows = np.flatnonzero(
            ~np.isnan(X[modality]).all(axis=tuple(range(1, X[modality].ndim)))
        )
        rows = rows[rows >= 240]
        assert clf.score(X[rows].select(modality), y[rows]) > 0.45, modality
    assert clf.score(X[TEST], y[TEST]) > 0.5


def test_constant_and_empty_bands_are_harmless(sensors):
    X, y = sensors
    X = ModalityDict({name: values.copy() for name, values in X.items()})
    X["S1"][..., 1] = 3.7
    X["terrain"][:, 0] = np.nan
    clf = small(CoLearnClassifier, batch_size=30, max_epochs=10).fit(X, y)
    assert np.isfinite(clf.history_.to_numpy()).all()
    answers = clf.predict_proba(X)
    assert np.isfinite(answers).all()
    assert clf.score(X, y) > 0.5
    # Training never saw the empty band, so what it holds later changes nothing.
    later = X.copy()
    later["terrain"] = np.where(np.arange(6) == 0, 1e3, X["terrain"])
    assert_allclose(clf.predict_proba(later), answers, atol=1e-6)


def test_scale_and_offset_of_a_band_do_not_matter(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier, **SMOOTH).fit(X, y)
    scaled = {name: 1e4 * values.astype(float) - 500 for name, values in X.items()}
    other = small(CoLearnClassifier, **SMOOTH).fit(scaled, y)
    assert_allclose(other.predict_proba(scaled), clf.predict_proba(X), atol=1e-4)
    raw = small(CoLearnClassifier, standardize=False, **SMOOTH).fit(X, y)
    assert not np.allclose(raw.predict_proba(X), clf.predict_proba(X), atol=1e-2)


# -- weights -----------------------------------------------------------------------


def test_rows_of_weight_zero_teach_no_label(sensors):
    X, y = sensors
    weight = (np.arange(90) < 60).astype(float)
    wrong = np.where(weight > 0, y, (y + 1) % 3)
    clf = small(CoLearnClassifier, max_epochs=6)
    fit = [
        clf.fit(X, target, sample_weight=weight).predict_proba(X)
        for target in (y, wrong)
    ]
    assert_allclose(fit[0], fit[1], atol=1e-6)
    unweighted = clf.fit(X, wrong).predict_proba(X)
    assert not np.allclose(unweighted, fit[1], atol=1e-2)


def test_rows_of_weight_zero_teach_no_value(sensors_regression):
    X, y = sensors_regression
    weight = (np.arange(90) < 60).astype(float)
    wrong = np.where(weight > 0, y, 1e3)
    fit = [
        small(CoLearnRegressor).fit(X, target, sample_weight=weight).predict(X)
        for target in (y, wrong)
    ]
    assert_allclose(fit[0], fit[1], rtol=1e-5)


def test_only_the_proportions_of_the_weights_matter(sensors):
    X, y = sensors
    weight = np.random.default_rng(0).random(90) + 0.1

    def answers(sample_weight):
        clf = small(CoLearnClassifier, max_epochs=6, **SMOOTH)
        return clf.fit(X, y, sample_weight=sample_weight).predict_proba(X)

    assert_allclose(answers(weight), answers(1000 * weight), atol=1e-4)
    assert_allclose(answers(np.ones(90)), answers(None), atol=1e-4)
    assert not np.allclose(answers(np.where(y, 1, 100)), answers(None), atol=1e-3)


@pytest.mark.slow
def test_balanced_class_weight_raises_recall_of_the_minority():
    X, y = make_multisensor(
        400, n_classes=2, weights=[0.9, 0.1], specific_signal=0.3, random_state=0
    )
    recall = {}
    for class_weight in (None, "balanced"):
        clf = small(CoLearnClassifier, class_weight=class_weight, max_epochs=5)
        clf.fit(X[TRAIN], y[TRAIN])
        recall[class_weight] = recall_score(y[TEST], clf.predict(X[TEST]))
    assert recall["balanced"] > recall[None] + 0.1


def test_class_weight_and_sample_weight_multiply(sensors):
    X, y = sensors
    weight = np.random.default_rng(0).random(90) + 0.1
    both = small(CoLearnClassifier, class_weight={0: 5, 1: 1, 2: 1}, **SMOOTH)
    both.fit(X, y, sample_weight=weight)
    one = small(CoLearnClassifier, **SMOOTH)
    one.fit(X, y, sample_weight=weight * np.where(y == 0, 5, 1))
    assert_allclose(both.predict_proba(X), one.predict_proba(X), atol=1e-5)


# -- representations ---------------------------------------------------------------


def test_embed_gives_each_representation(sensors, fitted):
    X, _ = sensors
    parts = {
        name: fitted.embed(X, name, modality="S2")
        for name in ("specific", "shared", "unused", "joint")
    }
    for name in ("specific", "shared", "unused"):
        assert parts[name].shape == (90, 8)
        assert parts[name].dtype == np.float32
        assert parts[name].std() > 0
    assert_array_equal(parts["joint"], np.hstack([parts["specific"], parts["shared"]]))
    assert (parts["shared"] >= 0).all()  # a ReLU ends it
    assert (parts["specific"] < 0).any()
    assert (parts["unused"] < 0).any()
    assert_allclose(fitted.embed(X["S2"]), parts["shared"], atol=1e-6)
    # The head of the modality makes its prediction of the joint representation.
    head = fitted.net_.module_.network("S2").head
    with torch.no_grad():
        logits = head(torch.from_numpy(parts["joint"]))
    assert_allclose(logits.softmax(1), fitted.predict_proba({"S2": X["S2"]}), atol=1e-6)


def test_transform_puts_modalities_side_by_side(sensors, fitted):
    X, _ = sensors
    alone = [fitted.transform(X.select(m)) for m in X]
    assert [z.shape for z in alone] == [(90, 16)] * 3
    assert_allclose(fitted.transform(X), np.hstack(alone), atol=1e-6)
    assert_allclose(fitted.embed(X, "joint"), np.hstack(alone), atol=1e-6)


def test_transform_marks_a_lacking_modality_by_nan(sensors, fitted):
    X, _ = sensors
    full = fitted.transform(X)
    lacking = X.copy()
    lacking["S2"] = X["S2"].copy()
    lacking["S2"][3:7] = np.nan
    z = fitted.transform(lacking)
    assert np.isnan(z[3:7, 16:32]).all()
    assert_allclose(z[:, :16], full[:, :16], atol=1e-6)
    assert_allclose(z[7:], full[7:], atol=1e-6)


def test_transform_has_as_many_columns_whatever_the_rows_lack(sensors, fitted):
    X, _ = sensors
    lacking = X.copy()
    lacking["S2"] = np.full_like(X["S2"], np.nan)
    z = fitted.transform(lacking)
    assert z.shape == (90, 48)
    assert np.isnan(z[:, 16:32]).all()


def test_names_of_the_transformed_columns(sensors, fitted):
    X, y = sensors
    names = fitted.get_feature_names_out()
    assert len(names) == fitted.transform(X).shape[1] == 48
    assert names[[0, 7, 8, 16, 47]].tolist() == [
        "S1_specific0",
        "S1_specific7",
        "S1_shared0",
        "S2_specific0",
        "terrain_shared7",
    ]
    clf = small(CoLearnClassifier, predict_modality="S2").fit(X, y)
    assert clf.get_feature_names_out()[0] == "S2_specific0"
    assert len(clf.get_feature_names_out()) == clf.transform(X).shape[1] == 16


def test_transform_to_pandas(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier).fit(X, y)
    expected = clf.transform(X)
    frame = clf.set_output(transform="pandas").transform(X)
    assert frame.columns.tolist() == clf.get_feature_names_out().tolist()
    assert_allclose(frame.to_numpy(), expected, atol=1e-6)


def test_transform_of_one_modality_to_pandas(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier).fit(X, y).set_output(transform="pandas")
    expected = "['S1', 'S2', 'terrain'] ... ['S2'] ... predict_modality"
    refused(clf.transform, {"S2": X["S2"]}, says=expected)
    frame = clf.set_params(predict_modality="S2").transform({"S2": X["S2"]})
    assert frame.shape == (90, 16)
    assert frame.columns[0] == "S2_specific0"


@pytest.mark.slow
def test_shared_representations_of_a_sample_are_alike():
    """The contrastive term brings a sample's sensors together, on new rows too."""
    X, y = make_multisensor(400, random_state=0)

    def margin(weight):
        clf = small(CoLearnClassifier, contrastive_weight=weight, max_epochs=10)
        clf.fit(X[TRAIN], y[TRAIN])
        a, b = (
            z / np.linalg.norm(z, axis=1, keepdims=True).clip(1e-8)
            for z in (clf.embed(X[TEST], modality=m) for m in ("S1", "S2"))
        )
        similarity = a @ b.T
        same = np.trace(similarity) / len(similarity)
        return same - similarity.mean()

    assert margin(1.0) > margin(0.0) + 0.1


def test_modality_can_be_told_from_the_specific_representation(sensors):
    X, y = sensors
    clf = small(CoLearnClassifier, max_epochs=15).fit(X, y)
    head = clf.net_.module_.specific_modality_head
    for number, modality in enumerate(X):
        with torch.no_grad():
            z = clf.embed(X, "specific", modality=modality)
            told = head(torch.from_numpy(z)).argmax(1).numpy()
        assert np.mean(told == number) > 0.8, modality


# -- randomness --------------------------------------------------------------------


def test_random_state(sensors):
    X, y = sensors

    def embedded(seed, **changes):
        clf = small(random_state=seed, max_epochs=1, **changes)
        return clf.fit(X, y).transform(X)

    assert_array_equal(embedded(3), embedded(3))
    assert not np.allclose(embedded(3), embedded(4), atol=1e-2)
    assert not np.allclose(embedded(None), embedded(None), atol=1e-2)
    assert_array_equal(
        embedded(np.random.RandomState(5)), embedded(np.random.RandomState(5))
    )
    assert_array_equal(embedded(3, cv=2), embedded(3, cv=2))


# -- encoders and numbers of modalities --------------------------------------------


class BandMean(torch.nn.Module):
    """A user's encoder: the mean over time and one layer."""

    def __init__(self, input_shape, embedding_dim, bias=True):
        super().__init__()
        self.linear = torch.nn.Linear(input_shape[-1], embedding_dim, bias=bias)

    def forward(self, x):
        return self.linear(x.mean(dim=1))


@pytest.mark.slow
def test_encoder_of_the_user():
    X, y = make_multisensor(400, specific_signal=0.3, random_state=0)
    clf = small(
        CoLearnClassifier,
        encoder={"S1": BandMean, "S2": "gru", "terrain": "linear"},
        encoder_params={"S1": {"bias": False}, "S2": {"hidden_dim": 8}},
        share_encoder=False,
        max_epochs=10,
    ).fit(X[TRAIN], y[TRAIN])
    network = clf.net_.module_.network("S1")
    for encoder in (network.unique_encoder, network.common_encoder):
        assert isinstance(encoder, BandMean)
        assert encoder.linear.bias is None
    assert network.unique_encoder is not network.common_encoder
    assert clf.score(X[TEST].select("S2"), y[TEST]) > 0.5
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict(X["S1"]), clf.predict(X["S1"]))


def test_one_modality_learns_and_says_that_it_is_alone():
    X, y = make_multisensor(400, specific_signal=0.3, random_state=0)
    clf = small(CoLearnClassifier, max_epochs=8)
    with pytest.warns(UserWarning, match="one modality.*'S2'.*modalities=") as caught:
        clf.fit({"S2": X["S2"][TRAIN]}, y[TRAIN])
    assert [warning.filename for warning in caught] == [__file__]
    assert "train_contrastive" not in clf.history_
    assert "train_discriminative" not in clf.history_
    assert clf.score(X["S2"][TEST], y[TEST]) > 0.5


def test_plain_table_is_one_modality(sensors):
    X, y = sensors
    with pytest.warns(UserWarning, match="one modality.*'X'"):
        clf = small(CoLearnClassifier).fit(X["terrain"], y)
    assert clf.modalities_ == ["X"]
    assert_allclose(
        clf.predict_proba(X["terrain"]),
        clf.predict_proba({"X": X["terrain"]}),
        atol=1e-6,
    )


@pytest.mark.parametrize("names", [("S.1", "type"), ("", "_"), ("a b", "a_b")])
def test_any_string_is_a_name(names):
    X, y = make_multisensor(60, modalities={"a": (4, 2), "b": (5,)}, random_state=0)
    X = dict(zip(names, X.values(), strict=True))
    clf = small(CoLearnClassifier, predict_modality=names[0]).fit(X, y)
    first = X[names[0]]
    assert_allclose(clf.predict_proba(X), clf.predict_proba(first), atol=1e-6)
    assert_allclose(
        clf.predict_proba(X, names[1]),
        clf.predict_proba({names[1]: X[names[1]]}),
        atol=1e-6,
    )


# -- copies and further fits -------------------------------------------------------


def joblib_copy(estimator, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(estimator, path)
    return joblib.load(path)


COPIES = {
    "pickle": lambda estimator, _: pickle.loads(pickle.dumps(estimator)),
    "joblib": joblib_copy,
    "deepcopy": lambda estimator, _: copy.deepcopy(estimator),
}


def test_copies_give_the_same_answers_and_go_on(sensors, tmp_path):
    X, y = sensors
    clf = small(CoLearnClassifier, warm_start=True, cv=2, max_epochs=1).fit(X, y)
    answers = clf.predict_proba(X)
    copies = [duplicate(clf, tmp_path) for duplicate in COPIES.values()]
    for again in copies:
        assert_array_equal(again.predict_proba(X), answers)
        assert_array_equal(again.transform(X), clf.transform(X))
        pd.testing.assert_frame_equal(again.history_, clf.history_)
        again.fit(X, y)
        assert len(again.history_) > len(clf.history_)
        assert_array_equal(clf.predict_proba(X), answers)  # its weights are its own
    clf.fit(X, y)
    for again in copies:
        assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_refit_on_other_data_forgets_the_first():
    X, y = make_multisensor(60, task="multilabel", random_state=0)
    clf = small(CoLearnClassifier).fit(X, y)
    X, y = make_multisensor(
        50, modalities={"new": (4,), "S1": (3, 2)}, n_classes=2, random_state=1
    )
    labels = np.array(["no", "yes"])[y]
    clf.fit(X, labels)
    fresh = small(CoLearnClassifier).fit(X, labels)
    assert_array_equal(clf.predict_proba(X), fresh.predict_proba(X))
    assert_array_equal(clf.predict(X), fresh.predict(X))
    assert clf.modalities_ == ["new", "S1"]
    assert clf.input_shapes_ == {"new": (4,), "S1": (3, 2)}
    assert clf.classes_.tolist() == ["no", "yes"]
    assert clf.n_outputs_ == 1
    assert clf.n_features_in_ == 10
    assert clf.n_iter_ == len(clf.history_) == clf.max_epochs


def test_refit_forgets_column_names(sensors):
    X, y = sensors
    frame = pd.DataFrame(np.asarray(X), columns=flat_names(X))
    clf = small(CoLearnClassifier, modalities=X.layout).fit(frame, y)
    assert clf.feature_names_in_.tolist() == flat_names(X)
    clf.fit(X, y)
    assert not hasattr(clf, "feature_names_in_")
    clf.fit(frame.to_numpy(), y)
    assert not hasattr(clf, "feature_names_in_")
    assert_array_equal(clf.predict(frame.to_numpy()), clf.predict(X))


def test_refit_from_one_target_to_several(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor).fit(X, y)
    reg.fit(X, np.column_stack([y, -y, 5 * y]))
    assert reg.predict(X).shape == (90, 3)
    assert reg.fit(X, y).predict(X).shape == (90,)


def test_failed_refit_leaves_the_earlier_fit_usable(sensors):
    """A fit that is refused before training changes no answer."""
    X, y = sensors
    clf = small(CoLearnClassifier).fit(X, y)
    answers = clf.predict_proba(X)
    infinite = X.copy()
    infinite["S1"] = np.full_like(X["S1"], np.inf)
    for bad_X, bad_y in ((infinite, y), (X, y[:-1]), (X.select(["S1", "S2"]), y * 0)):
        with pytest.raises(ValueError, match=r"infinity|89|one class"):
            clf.fit(bad_X, bad_y)
        assert_array_equal(clf.predict_proba(X), answers)


def test_fit_does_not_change_data_or_parameters(sensors):
    X, y = sensors
    gaps = with_gaps(X, -9999.0)
    before = {name: values.copy() for name, values in gaps.items()}
    clf = small(CoLearnClassifier, missing_value=-9999.0)
    parameters = clf.get_params()
    clf.fit(gaps, y)
    assert clf.get_params() == parameters
    for name, values in gaps.items():
        assert_array_equal(values, before[name])


# -- devices -----------------------------------------------------------------------


def test_auto_is_the_cpu_where_there_is_no_other(sensors, fitted, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    X, y = sensors
    auto = small(CoLearnClassifier, device="auto").fit(X, y)
    assert next(auto.net_.module_.parameters()).device.type == "cpu"
    cpu = small(CoLearnClassifier, device="cpu").fit(X, y)
    assert_array_equal(auto.predict_proba(X), cpu.predict_proba(X))


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_accelerator_agrees_with_the_cpu(sensors, device):
    backend = torch.cuda if device == "cuda" else torch.backends.mps
    if not backend.is_available():
        pytest.skip(f"no {device} device here")
    X, y = sensors
    cpu = small(CoLearnClassifier, device="cpu").fit(X, y)
    clf = small(CoLearnClassifier, device=device).fit(X, y)
    assert next(clf.net_.module_.parameters()).device.type == device
    assert_allclose(clf.predict_proba(X), cpu.predict_proba(X), atol=0.05)
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_encoder(sensors, shared):
    X, y = sensors
    clf = small(CoLearnClassifier, share_encoder=shared).fit(X, y)
    for own in clf.net_.module_.networks:
        assert (own.common_encoder is None) == shared
    assert clf.transform(X.select("S1")).shape == (90, 16)
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_the_encoders_that_were_picked():
    shapes = {"S1": (6, 2), "long": (70, 1), "image": (4, 4, 3), "soil": (3,)}
    X, y = make_multisensor(60, modalities=shapes, random_state=0)
    clf = CoLearnClassifier(max_epochs=1, cv=2, random_state=0).fit(X, y)
    assert clf.encoders_ == {
        "S1": "ltae",
        "long": "ltae",
        "image": "resnet",
        "soil": "mlp",
    }
    clf.set_params(encoder="linear").fit(X, y)
    assert clf.encoders_ == dict.fromkeys(shapes, "linear")
