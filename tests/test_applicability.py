"""Where a model may be trusted: rows that are unlike the training rows stand out."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import StandardScaler
from tools import refused, small

from sklearn_colearn import (
    CoLearnRegressor,
    ModalityDict,
    load_model,
    predict_raster,
    save_model,
)
from sklearn_colearn.applicability import Area, in_space
from sklearn_colearn.datasets import make_multisensor

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def fitted(sensors):
    return small(cv=3).fit(*sensors)


def again(model, path):
    save_model(model, path / "model.safetensors")
    return load_model(path / "model.safetensors")


# -- the index ---------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["S1", "S2", "terrain"])
def test_index_is_relative_to_the_distance_of_held_out_rows(sensors, fitted, modality):
    X, _ = sensors
    new = make_multisensor(40, random_state=1)[0]
    scaler = StandardScaler().fit(X[modality].reshape(-1, X[modality].shape[-1]))
    known, rows = (
        scaler.transform(x.reshape(-1, x.shape[-1])).reshape(len(x), -1)
        for x in (X[modality], new[modality])
    )
    held_out, nearest = fitted._members.held_out, []
    for member in range(3):
        out = np.isin(np.arange(90), held_out.rows[held_out.folds == member])
        nearest.append(pairwise_distances(known[out], known[~out]).min(axis=1))
    nearest = np.concatenate(nearest) / (scale := np.median(np.concatenate(nearest)))
    found = fitted.applicability(new, modality)
    assert found.shape == (40,)
    assert found.dtype == np.float32
    expected = pairwise_distances(rows, known).min(axis=1) / scale
    assert_allclose(found, expected, rtol=1e-4)
    lower, upper = np.quantile(nearest, [0.25, 0.75])
    threshold = fitted.applicability_threshold_[modality]
    assert threshold == pytest.approx(upper + 1.5 * (upper - lower), rel=1e-4)
    assert_array_equal(fitted.score_samples(new, modality), -found)


def test_training_rows_are_near_and_shifted_ones_are_far(sensors, fitted):
    X, _ = sensors
    for modality, threshold in fitted.applicability_threshold_.items():
        own = X.select(modality)
        assert_array_equal(fitted.applicability(own), 0)
        shift = 14 * fitted._sensors[modality].scaler.scale
        far = ModalityDict({modality: own[modality] + shift})
        with pytest.warns(UserWarning, match="Check their unit"):
            index = fitted.applicability(far)
        assert index.min() > 3 * threshold


def test_unlabelled_and_weightless_rows_are_left_out(sensors):
    X, y = sensors
    y = y.astype(float)
    y[:10] = np.nan
    weight = np.ones(90)
    weight[10:20] = 0
    rows = np.arange(90)
    folds = [(np.r_[rows[:20], rows[30:]], rows[20:30])]
    clf = small(cv=folds).fit(X, y, sample_weight=weight)
    index = clf.applicability(X, "S1")
    assert index[:30].min() > 0.1
    assert_array_equal(index[30:], 0)


def test_order_and_batches_do_not_matter(sensors, fitted):
    X, _ = sensors
    whole, order = fitted.applicability(X, "S2"), np.random.default_rng(0).permutation
    rows = order(90)
    assert_allclose(fitted.applicability(X[rows], "S2"), whole[rows], rtol=1e-4)
    one_by_one = [fitted.applicability(X[i : i + 1], "S2")[0] for i in range(20)]
    assert_allclose(one_by_one, whole[:20], rtol=1e-4)
    many = np.resize(np.arange(90), 2500)
    assert_allclose(fitted.applicability(X[many], "S2"), whole[many], rtol=1e-4)


def test_many_training_rows_are_thinned(sensors, monkeypatch):
    monkeypatch.setattr("sklearn_colearn.base.ENOUGH_ROWS", 20)
    clf = small(cv=2).fit(*sensors)
    other = clone(clf).fit(*sensors)
    assert {len(s.area.rows) for s in clf._sensors.values()} == {20}
    assert_array_equal(clf.applicability(sensors[0]), other.applicability(sensors[0]))


# -- sensors -----------------------------------------------------------------------


def test_several_sensors_give_the_largest_index(sensors, fitted):
    X, _ = sensors
    each = {m: fitted.applicability(X, m) for m in X}
    assert_array_equal(fitted.applicability(X), np.max(list(each.values()), axis=0))
    gaps = X.copy()
    gaps["S1"] = X["S1"].copy()
    gaps["S1"][:5] = np.nan
    others = np.maximum(each["S2"], each["terrain"])
    found = fitted.applicability(gaps)
    assert_allclose(found[:5], others[:5], rtol=1e-5)
    refused(fitted.applicability, gaps, "S1", says="'S1' ... rows 0, 1, 2")
    picky = clone(fitted).set_params(predict_modality="S2").fit(*sensors)
    assert_array_equal(picky.applicability(X), picky.applicability(X, "S2"))


def test_index_ignores_other_sensors(sensors, fitted):
    X, _ = sensors
    spoilt = X.copy()
    spoilt["S2"] = X["S2"] * -3
    assert_array_equal(
        fitted.applicability(spoilt, "S1"), fitted.applicability(X, "S1")
    )


def test_a_sensor_without_held_out_rows(sensors):
    X, y = sensors
    gaps = X.copy()
    gaps["S1"] = X["S1"].copy()
    gaps["S1"][:30] = np.nan
    rows = np.arange(90)
    clf = small(cv=[(rows[30:], rows[:30])]).fit(gaps, y)
    assert set(clf.applicability_threshold_) == {"S2", "terrain"}
    assert clf.score_samples(X, "S2").shape == (90,)
    refused(clf.applicability, X, "S1", says="no training rows of 'S1' ... held out")


def test_copies_of_training_rows_set_no_scale():
    known = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    held_out = torch.cat([known, known[:3] + 1])
    area = Area.learn(known, [(known, held_out)])
    assert area.scale > 0.5
    assert_array_equal(area.index(known), 0)
    same = Area.learn(known, [(known, known)])  # nothing but copies
    assert np.isfinite(same.index(known + 5)).all()
    constant = Area.learn(known * 0, [(known * 0, known * 0)])
    assert_array_equal(constant.index(known * 0), 0)
    assert Area.learn(known, [(known, known[:0])]) is None


def test_images_are_compared_by_bands():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 5, 4, 2))
    points = in_space(torch.from_numpy(images))
    expected = np.c_[images.mean(axis=(1, 2)), images.std(axis=(1, 2))]
    assert_allclose(points, expected)


def test_gaps_count_as_the_mean(sensors, fitted):
    S1 = sensors[0]["S1"].copy()
    S1[:, 3] = np.nan
    filled = S1.copy()
    filled[:, 3] = fitted._sensors["S1"].scaler.shift
    expected = fitted.applicability({"S1": filled})
    assert_allclose(fitted.applicability({"S1": S1}), expected, rtol=1e-5)


# -- files, copies and maps --------------------------------------------------------


def test_files_exports_and_pickles_agree(sensors, fitted, tmp_path):
    X, _ = sensors
    expected, threshold = fitted.applicability(X, "S1"), fitted.applicability_threshold_
    exported = fitted.export("S1")
    for model in (
        *(again(fitted, tmp_path), pickle.loads(pickle.dumps(fitted))),
        *(exported, again(exported, tmp_path), pickle.loads(pickle.dumps(exported))),
    ):
        assert_array_equal(model.applicability({"S1": X["S1"]}), expected)
        assert model.applicability_threshold_["S1"] == threshold["S1"]
    assert list(exported.applicability_threshold_) == ["S1"]
    assert_array_equal(exported.score_samples(X["S1"]), -expected)


def test_regressor_of_a_table(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, cv=2).fit(X, y)
    index = reg.export("terrain").applicability(X["terrain"])
    assert_array_equal(index, reg.applicability(X, "terrain"))


@pytest.mark.parametrize("change", ["scale", "size", "no rows", "type"])
def test_damaged_files_are_refused(fitted, tmp_path, change):
    model = fitted.export("S1")
    area = model._sensors["S1"].area
    changed = {
        "scale": replace(area, scale=-1.0),
        "size": replace(area, rows=area.rows[:, 1:]),
        "no rows": replace(area, rows=area.rows[:0]),
        "type": replace(area, rows=area.rows.astype(float)),
    }[change]
    object.__setattr__(model._sensors["S1"], "area", changed)
    refused(again, model, tmp_path, says="cannot be read ... is wrong or absent")


def test_maps(sensors, fitted):
    xr = pytest.importorskip("xarray")
    X, _ = sensors
    S1 = X["S1"].copy()
    S1[3] = np.nan
    cube = xr.Dataset(
        {
            band: (("y", "x", "time"), S1[:, :, i].reshape(9, 10, -1))
            for i, band in enumerate(["vv", "vh"])
        }
    )
    radar = fitted.export("S1")
    layer = predict_raster(radar, cube, bands=["vv", "vh"], what="applicability")
    assert layer.dims == ("y", "x")
    assert layer.dtype == np.float32
    assert layer.name == "applicability"
    found = layer.values.ravel()
    assert_array_equal(np.isnan(found), np.arange(90) == 3)
    expected = radar.applicability(X["S1"])
    assert_allclose(np.delete(found, 3), np.delete(expected, 3), rtol=1e-4)


# -- errors ------------------------------------------------------------------------


def test_a_model_without_held_out_rows(sensors):
    xr = pytest.importorskip("xarray")
    clf = small().fit(*sensors)
    refused(clf.applicability, sensors[0], says="cv=None ... cv=5")
    assert clf.applicability_threshold_ == {}
    assert not hasattr(clf, "score_samples")
    flat = sensors[0]["terrain"].T.reshape(-1, 9, 10)
    cube = xr.DataArray(flat, dims=("band", "y", "x")).chunk()
    terrain = clf.export("terrain")
    refused(predict_raster, terrain, cube, what="applicability", says="cv=None")


def test_files_of_earlier_versions():
    for name in ("format3_classifier", "format3_regressor_soil"):
        model = load_model(DATA / f"{name}.safetensors")
        shapes = model.input_shapes_
        X = {m: np.zeros((2, *shape)) for m, shape in shapes.items()}
        assert model.applicability_threshold_ == {}
        assert not hasattr(model, "score_samples")
        says = "earlier version of sklearn_colearn ... Fit it again"
        refused(model.applicability, X, next(iter(shapes)), says=says)


def test_not_fitted_and_unknown(sensors, fitted):
    with pytest.raises(NotFittedError):
        small().applicability(sensors[0])
    with pytest.raises(NotFittedError):
        small().score_samples(sensors[0])
    assert not hasattr(small(), "applicability_threshold_")
    refused(fitted.applicability, sensors[0], "S9", says="'S9' ... 'S1', 'S2'")
