"""Exported models answer as the estimator that they came from."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tools import small

from sklearn_colearn import CoLearnRegressor, ModalityDict, load_model, save_model
from sklearn_colearn.prediction import SingleModalityClassifier, SingleModalityRegressor

assert_close = partial(assert_allclose, rtol=1e-5, atol=1e-6)

REPRESENTATIONS = ("shared", "specific", "unused", "joint")


def same_answers(est, exported, X, modality):
    """Compare all that both can say from one modality."""
    own = X if isinstance(X, dict) else {modality: X}
    same = assert_array_equal if is_classifier(est) else assert_close
    same(exported.predict(own), est.predict(own, modality))
    for representation in REPRESENTATIONS:
        z = est.embed(own, representation, modality)
        assert_close(exported.embed(own, representation), z)
    assert_close(exported.transform(own), est.embed(own, "joint", modality))
    if is_classifier(est):
        probabilities = est.predict_proba(own, modality)
        assert_close(exported.predict_proba(own), probabilities)
        assert_close(exported.predict_log_proba(own), np.log(probabilities))


@pytest.fixture(scope="module")
def fitted(sensors):
    X, y = sensors
    return small().fit(X, np.array(["forest", "grass", "water"])[y])


@pytest.mark.parametrize("modality", ["S1", "S2", "terrain"])
def test_classifier(sensors, fitted, modality):
    X, _ = sensors
    exported = fitted.export(modality)
    assert isinstance(exported, SingleModalityClassifier)
    assert is_classifier(exported)
    assert_array_equal(exported.classes_, fitted.classes_)
    assert exported.modality_ == modality
    assert exported.modalities_ == [modality]
    assert exported.input_shape_ == X[modality].shape[1:]
    assert exported.n_features_in_ == np.prod(X[modality].shape[1:])
    assert exported.n_outputs_ == 1
    same_answers(fitted, exported, X[modality], modality)


@pytest.mark.parametrize("flat", [True, False])
def test_regressor(sensors_regression, flat):
    X, y = sensors_regression
    reg = small(CoLearnRegressor).fit(X, y if flat else np.stack([y, 3 - y], axis=1))
    exported = reg.export("S2")
    assert isinstance(exported, SingleModalityRegressor)
    assert is_regressor(exported)
    assert exported.predict(X["S2"]).shape == ((90,) if flat else (90, 2))
    same_answers(reg, exported, X["S2"], "S2")
    if flat:
        score = reg.score(X.select("S2"), y)
        assert exported.score(X["S2"], y) == pytest.approx(score)


def test_multilabel(sensors):
    X, y = sensors
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    clf = small().fit(X, labels)
    same_answers(clf, clf.export("S1"), X["S1"], "S1")


@pytest.mark.parametrize(
    "changes",
    [
        {"standardize": False},
        {"share_encoder": False},
        {"missing_value": {"S1": -1.0}},
        {"encoder": "ltae", "encoder_params": None},
        {"predict_modality": "S2"},
    ],
    ids=str,
)
def test_settings(changes):
    rng = np.random.default_rng(0)
    X = ModalityDict(S1=rng.random((40, 6, 2)), S2=rng.random((40, 6, 3)))
    X["S1"][::3, 2:4] = -1.0 if "missing_value" in changes else np.nan
    clf = small(**changes).fit(X, np.arange(40) % 2)
    same_answers(clf, clf.export("S1"), X["S1"], "S1")


def test_more_rows_than_go_through_the_network_at_once(sensors, fitted):
    rows = np.resize(np.arange(90), 2500)
    S1 = sensors[0]["S1"][rows]
    same_answers(fitted, fitted.export("S1"), S1, "S1")


def test_forms_of_X(sensors, fitted):
    X, _ = sensors
    exported, S1 = fitted.export("S1"), X["S1"]
    expected = fitted.predict_proba(X.select("S1"))
    flat = S1.reshape(90, -1)
    for form in (
        *(S1, flat, pd.DataFrame(flat), {"S1": S1}, {"S1": flat}),
        *(X, X.select(["terrain", "S1"])),  # others may come along
    ):
        assert_close(exported.predict_proba(form), expected)
    assert_close(exported.predict_proba(S1, modality="S1"), expected)
    # Standardised in float64, which a list becomes.
    assert_allclose(exported.predict_proba(S1.tolist()), expected, atol=1e-6)


def test_frame_columns_are_found_by_name(sensors):
    X, y = sensors
    names = [f"t{i}" for i in range(6)]
    frame = pd.DataFrame(X["terrain"], columns=names)
    clf = small().fit({"S1": X["S1"], "terrain": frame}, y)
    exported = clf.export("terrain")
    assert_array_equal(exported.feature_names_in_, names)
    same_answers(clf, exported, frame[names[::-1]], "terrain")
    with pytest.raises(ValueError, match=r"'terrain'.*\['t2'\]"):
        exported.predict({"terrain": frame.drop(columns="t2")})


def test_flat_estimator(sensors):
    X, y = sensors
    frame = pd.DataFrame(np.asarray(X), columns=[f"c{i}" for i in range(X.shape[1])])
    clf = small(modalities=X.layout).fit(frame, y)
    exported = clf.export("S2")
    columns = [f"c{i}" for i in range(24, 72)]
    expected = clf.predict_proba({"S2": X["S2"]})
    for form in (frame[columns], frame[columns[::-1]], X["S2"]):
        assert_close(exported.predict_proba(form), expected)


@pytest.mark.parametrize("by_row", [False, True])
def test_times_travel_along(by_row):
    rng = np.random.default_rng(0)
    dates = pd.date_range("2021-03-01", periods=6, freq="20D").to_numpy()
    X = ModalityDict(S1=rng.random((40, 6, 2)), S2=rng.random((40, 6, 3)))
    times = {"S2": dates}
    if by_row:
        X["dates"] = dates + rng.integers(0, 9, (40, 6)).astype("timedelta64[D]")
        times = {"S2": "dates"}
    params = {"encoder": "ltae", "encoder_params": None, "max_epochs": 1}
    clf = small(times=times, **params).fit(X, np.arange(40) % 2)
    exported = clf.export("S2")
    own = {m: X[m] for m in (["S2", "dates"] if by_row else ["S2"])}
    same_answers(clf, exported, own, "S2")
    if by_row:
        later = own | {"dates": X["dates"] + np.timedelta64(30, "D")}
        assert not np.allclose(exported.transform(later), exported.transform(own))
        with pytest.raises(ValueError, match="S2"):
            exported.predict(X["S2"])


def test_rows_without_any_value_are_named(sensors, fitted):
    S1 = sensors[0]["S1"][:4].copy()
    S1[[1, 3]] = np.nan
    with pytest.raises(ValueError, match=r"'S1'.*missing in rows 1, 3"):
        fitted.export("S1").predict(S1)


def test_errors(sensors, fitted):
    X, _ = sensors
    with pytest.raises(ValueError, match=r"'S9'.*\['S1', "):
        fitted.export("S9")
    with pytest.raises(NotFittedError):
        small().export("S1")
    exported = fitted.export("S1")
    unknown = r"'S2'.*\['S1'\]"
    misfit = r"\(n, 12, 4\).*'S1': \(n, 12, 2\)"
    for what in ("predict", "predict_proba", "transform", "fit"):
        with pytest.raises(NotFittedError):
            getattr(SingleModalityClassifier(), what)(X["S1"])
    with pytest.raises(ValueError, match=unknown):
        exported.predict({"S2": X["S2"]})
    with pytest.raises(ValueError, match=misfit):
        exported.predict(X["S2"])
    with pytest.raises(ValueError, match="at least one row"):
        exported.predict(X["S1"][:0])


def test_an_export_is_a_copy(sensors):
    X, y = sensors
    clf = small(warm_start=True).fit(X, y)
    exported = clf.export("S1")
    before = exported.predict_proba(X["S1"])
    exported_weights = {id(p) for p in exported.networks_[0].parameters()}
    assert not exported_weights & {id(p) for p in clf.net_.module_.parameters()}
    clf.fit(X, y)
    assert_array_equal(exported.predict_proba(X["S1"]), before)
    assert not np.allclose(clf.predict_proba({"S1": X["S1"]}), before)


def test_compiled_estimator(sensors):
    clf = small().fit(*sensors)
    clf.net_.module_.compile(backend="eager")
    same_answers(clf, clf.export("S1"), sensors[0]["S1"], "S1")


def test_within_scikit_learn(sensors, fitted):
    X, y = sensors
    S1, y = X["S1"], fitted.classes_[y]
    exported = fitted.export("S1")
    assert clone(exported) is exported
    assert exported.fit(S1, y) is exported
    assert exported.get_params() == {}
    scores = cross_val_score(exported, S1, y, cv=2)
    halves = StratifiedKFold(2).split(S1, y)
    expected = [exported.score(S1[rows], y[rows]) for _, rows in halves]
    assert_allclose(scores, expected)
    pipeline = make_pipeline(FunctionTransformer(), exported).fit(S1.reshape(90, -1), y)
    assert_array_equal(pipeline.predict(S1.reshape(90, -1)), exported.predict(S1))
    calibrated = CalibratedClassifierCV(exported, cv=2).fit(S1, y)
    assert calibrated.predict_proba(S1).shape == (90, 3)
    frame = exported.set_output(transform="pandas").transform(S1)
    assert list(frame) == list(exported.get_feature_names_out())
    assert frame.columns[0] == "S1_specific0"


def test_repr_names_modality_and_shape(fitted):
    assert repr(fitted.export("S1")) == "SingleModalityClassifier of 'S1' (n, 12, 2)"
    assert repr(SingleModalityRegressor()) == "SingleModalityRegressor()"


def test_threads_and_random_state_stay(sensors, fitted):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    fitted.export("S1").predict(sensors[0]["S1"])
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
def test_score_ignores_unlabelled_rows_and_matches_ids(sensors, tmp_path, kind):
    X, y = sensors
    estimator, mark = (CoLearnRegressor, None) if kind == "regressor" else (None, -1)
    clf = small(unlabeled=-1) if estimator is None else small(estimator)
    y = y if estimator is None else y.astype(float)
    exported = clf.fit(X, y).export("S2")
    save_model(exported, tmp_path / "S2.safetensors")
    ids = [f"plot {i}" for i in range(len(y))]
    frame = pd.DataFrame(X["S2"].reshape(len(y), -1), index=ids)
    some = pd.Series(y, index=ids).astype(object)
    some.iloc[:30] = mark
    for model in (exported, load_model(tmp_path / "S2.safetensors")):
        expected = model.score(X["S2"][30:], y[30:])
        assert model.score(frame, some.iloc[::-1]) == pytest.approx(expected)
