"""Where a model may be trusted: rows that are unlike the training rows stand out."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import pairwise_distances
from tools import refused, small

from sklearn_colearn import (
    CoLearnRegressor,
    ModalityDict,
    load_model,
    predict_raster,
    save_model,
)
from sklearn_colearn.applicability import Area
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
def test_it_is_the_distance_over_that_of_held_out_rows(sensors, fitted, modality):
    X, _ = sensors
    new = make_multisensor(40, random_state=1)[0]
    held_out, expected, indices = fitted._members.held_out, [], []
    for member in range(3):
        known = fitted.embed(X, "joint", modality, member=member)
        is_held = np.isin(np.arange(90), held_out.rows[held_out.folds == member])
        nearest = pairwise_distances(known[is_held], known[~is_held]).min(axis=1)
        z = fitted.embed(new, "joint", modality, member=member)
        distance = pairwise_distances(z, known[~is_held]).min(axis=1)
        expected.append(distance / np.median(nearest))
        indices.append(nearest / np.median(nearest))
    found = fitted.applicability(new, modality)
    assert found.shape == (40,)
    assert found.dtype == np.float32
    assert_allclose(found, np.mean(expected, axis=0), rtol=1e-3)
    lower, upper = np.quantile(indices, [0.25, 0.75])
    threshold = fitted.applicability_threshold_[modality]
    assert threshold == pytest.approx(upper + 1.5 * (upper - lower), rel=1e-3)
    assert_array_equal(fitted.score_samples(new, modality), -found)


def test_training_rows_are_near_and_shifted_ones_are_far(sensors, fitted):
    X, _ = sensors
    for modality, threshold in fitted.applicability_threshold_.items():
        own = X.select(modality)
        # Two members of three trained on each row, and one held it out.
        assert np.median(fitted.applicability(own)) < 0.5
        shift = 14 * fitted._sensors[modality].scaler.scale
        far = ModalityDict({modality: own[modality] + shift})
        with pytest.warns(UserWarning, match="Check their unit") as caught:
            index = fitted.applicability(far)
        assert len(caught) == 1
        assert (index > threshold).all()


def test_a_training_row_of_every_member_has_index_0(sensors):
    X, y = sensors
    rows = np.arange(90)
    clf = small(cv=[(rows[30:], rows[:10]), (rows[30:], rows[10:30])]).fit(X, y)
    assert clf.applicability(X[30:], "S1").max() < 5e-3
    assert clf.applicability(X[:30], "S1").min() > 1e-2


def test_rows_without_a_label_or_weight_are_no_training_rows(sensors):
    X, y = sensors
    y = y.astype(float)
    y[:10] = np.nan
    weight = np.ones(90)
    weight[10:20] = 0
    clf = small(cv=2).fit(X, y, sample_weight=weight)
    assert clf.applicability(X[:20], "S1").min() > 1e-2
    assert sum(map(len, clf._sensors["S1"].area.rows)) == 70


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
    for sensor in clf._sensors.values():
        assert [len(rows) for rows in sensor.area.rows] == [20, 20]
    assert_array_equal(clf.applicability(sensors[0]), other.applicability(sensors[0]))


# -- sensors -----------------------------------------------------------------------


def test_several_sensors_answer_with_the_largest(sensors, fitted):
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


def test_a_sensor_knows_nothing_of_the_others(sensors, fitted):
    X, _ = sensors
    spoilt = X.copy()
    spoilt["S2"] = X["S2"] * -3
    assert_array_equal(
        fitted.applicability(spoilt, "S1"), fitted.applicability(X, "S1")
    )


def test_a_member_that_held_out_no_row_of_a_sensor_does_not_count(sensors):
    X, y = sensors
    gaps = X.copy()
    gaps["S1"] = X["S1"].copy()
    gaps["S1"][::2] = np.nan
    rows = np.arange(90)
    folds = [(rows[30:], rows[:30:2]), (rows[:60], rows[60:])]
    clf = small(cv=folds).fit(gaps, y)
    scale = clf._sensors["S1"].area.scale
    assert_array_equal(np.isnan(scale), [True, False])
    assert np.isfinite(clf.applicability(X, "S1")).all()
    clf = small(cv=folds[:1]).fit(gaps, y)
    assert set(clf.applicability_threshold_) == {"S2", "terrain"}
    refused(clf.applicability, X, "S1", says="No training rows of 'S1' ... held out")


def test_copies_of_training_rows_set_no_scale():
    known = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    held_out = torch.cat([known, known[:3] + 1])
    area = Area.learn([(known, held_out)])
    assert area.threshold > 0.5
    assert_allclose(area.index(known[None]), 0, atol=2e-3)
    same = Area.learn([(known, known)])  # nothing but copies
    assert np.isfinite(same.index(known[None] + 5)).all()
    constant = Area.learn([(known * 0, known * 0)])
    assert_array_equal(constant.index(known[None] * 0), 0)
    assert Area.learn([(known, known[:0])]) is None


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


@pytest.mark.parametrize("change", ["scale", "size", "members", "no rows"])
def test_damaged_files_are_refused(fitted, tmp_path, change):
    model = fitted.export("S1")
    area = model._sensors["S1"].area
    changed = {
        "scale": Area(area.rows, -area.scale, area.threshold),
        "size": Area([r[:, 1:] for r in area.rows], area.scale, area.threshold),
        "members": Area(area.rows[:2], area.scale[:2], area.threshold),
        "no rows": Area([r[:0] for r in area.rows], area.scale, area.threshold),
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


def test_nothing_held_out(sensors):
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
