"""Maps: every pixel as `predict` answers it, whatever the cube looks like."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from tools import refused, small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    predict_raster,
    raster,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.raster import declared_nodata
from sklearn_colearn.sensor import Sensor

xr = pytest.importorskip("xarray")
pytest.importorskip("dask")

T, H, W = 5, 7, 11
BANDS = {"S1": ["vv", "vh"], "S2": ["b2", "b4", "b8"]}
NODATA = 65535


def make_cube():
    """Two sensors on one grid: one lacks a corner, the other a row; both a pixel."""
    rng = np.random.default_rng(0)
    cube = xr.Dataset(
        {
            band: (("time", "y", "x"), rng.integers(0, 99, (T, H, W)).astype("u2"))
            for band in (*BANDS["S1"], *BANDS["S2"])
        },
        coords={
            "time": pd.date_range("2021-03-01", periods=T, freq="30D"),
            "y": 10.0 * np.arange(H)[::-1],
            "x": 10.0 * np.arange(W),
            "area": (("y", "x"), np.ones((H, W))),
        },
        attrs={"title": "a cube"},
    )
    cube["crs"] = xr.DataArray(b"", attrs={"crs_wkt": "some projection"})
    for band in cube.data_vars:
        cube[band].attrs |= {"grid_mapping": "crs", "units": "dB"}
    for band in BANDS["S1"]:
        cube[band][:, :3, :4] = NODATA
    for band in BANDS["S2"]:
        cube[band][:, 2] = NODATA
        cube[band][1, 5] = NODATA  # one step is missing
    return cube


@pytest.fixture(scope="module")
def cube():
    return make_cube()


def rows_of(cube):
    return ModalityDict(
        {
            m: np.stack([cube[b].values.reshape(T, -1).T for b in bands], axis=-1)
            for m, bands in BANDS.items()
        }
    )


NAMES = np.array(["bare soil", "forest", "water"])


@pytest.fixture(scope="module")
def fitted(cube):
    X = rows_of(cube)
    keep = (X["S1"] != NODATA).any(axis=(1, 2)) | (X["S2"] != NODATA).any(axis=(1, 2))
    y = NAMES[np.random.default_rng(1).integers(0, 3, keep.sum())]
    return small(missing_value=NODATA, max_epochs=1).fit(X[keep], y)


@pytest.fixture(scope="module")
def radar(fitted):
    return fitted.export("S1")


def test_one_sensor(cube, radar):
    result = predict_raster(radar, cube, bands=BANDS["S1"])
    assert result.dims == ("y", "x")
    assert result.dtype == np.uint8
    assert result.name == "prediction"
    nothing = np.zeros((H, W), bool)
    nothing[:3, :4] = True
    assert_array_equal(result == result.attrs["_FillValue"], nothing)
    S1 = rows_of(cube)["S1"][~nothing.ravel()]
    expected = radar.predict(S1)
    assert_array_equal(radar.classes_[result.values[~nothing]], expected)


def test_coordinates_attributes_and_reference_system_are_kept(cube, radar):
    result = predict_raster(radar, cube, bands=BANDS["S1"])
    assert set(result.coords) == {"y", "x", "area", "crs"}
    for name in result.coords:
        xr.testing.assert_identical(result.coords[name].variable, cube[name].variable)
    flags = result.attrs.pop("flag_values")
    assert_array_equal(flags, [0, 1, 2])
    assert flags.dtype == result.dtype
    assert result.attrs == {
        "title": "a cube",
        "grid_mapping": "crs",
        "flag_meanings": "bare_soil forest water",
        "_FillValue": 255,
    }


@pytest.mark.parametrize("what", ["predict", "predict_proba", "transform"])
@pytest.mark.parametrize(
    "form", ["order", "array", "chunked", "chunks", "array, chunks", "file"]
)
def test_form_of_the_cube_does_not_matter(cube, radar, what, form, tmp_path):
    options = {"bands": BANDS["S1"], "what": what}
    expected = predict_raster(radar, cube, **options)
    if form == "order":
        other = cube.transpose("x", "time", "y")
    elif form.startswith("array"):
        array = cube[["b2", "vh", "vv"]].to_dataarray("band")
        other = array.transpose("y", "band", "x", "time")
    elif form == "chunked":
        other = cube.chunk({"time": 2, "y": 3, "x": 4})
    elif form == "file":
        pytest.importorskip("h5netcdf")
        cube.to_netcdf(tmp_path / "cube.nc", engine="h5netcdf")
        other = xr.open_dataset(
            tmp_path / "cube.nc", engine="h5netcdf", chunks={}, decode_coords="all"
        )
    else:
        other = cube
    if "chunks" in form:
        options["chunks"] = {"y": 2, "x": 5}
    result = predict_raster(radar, other, **options)
    lazy = form in ("chunked", "chunks", "array, chunks", "file")
    assert (result.chunks is not None) == lazy
    result = result.compute(scheduler="threads", num_workers=2)
    if form == "order":
        assert result.dims == (*expected.dims[:-2], "x", "y")
        result = result.transpose(*expected.dims)
    assert result.dtype == expected.dtype
    if what == "predict":
        assert_array_equal(result, expected)
    else:  # batches of other sizes
        assert_allclose(result, expected, atol=1e-6)
    assert_array_equal(result.y, cube.y)


def test_probabilities_and_representations(cube, radar):
    rows = rows_of(cube)["S1"]
    there = (rows != NODATA).any(axis=(1, 2))
    proba = predict_raster(radar, cube, bands=BANDS["S1"], what="predict_proba")
    assert proba.dims == ("label", "y", "x")
    assert proba.dtype == np.float32
    assert list(proba["label"].values) == list(NAMES)
    flat = proba.values.reshape(3, -1).T
    assert np.isnan(flat[~there]).all()
    assert_allclose(flat[there], radar.predict_proba(rows[there]), atol=1e-6)
    z = predict_raster(radar, cube, bands=BANDS["S1"], what="transform")
    assert list(z.feature.values) == list(radar.get_feature_names_out())
    flat = z.values.reshape(len(z), -1).T
    assert_allclose(flat[there], radar.transform(rows[there]), atol=1e-5)


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_each_pixel_uses_the_sensors_it_has(cube, fitted, chunks):
    cube = cube.copy(deep=True)
    for band in BANDS["S1"]:
        cube[band][:, 2, 0] = NODATA  # where S2 has nothing either
    options = {"bands": BANDS, "chunks": chunks}
    result = predict_raster(fitted, cube, what="transform", **options)
    proba = predict_raster(fitted, cube, what="predict_proba", **options)
    X = rows_of(cube)
    has = {m: (x != NODATA).any(axis=(1, 2)).reshape(H, W) for m, x in X.items()}
    assert_array_equal(np.isnan(proba[0]), ~(has["S1"] | has["S2"]))
    assert np.isnan(proba[:, 2, 0]).all()
    for y, x in ((0, 0), (2, 8), (6, 10), (5, 5)):
        row = {m: X[m][[y * W + x]] for m in X if has[m][y, x]}
        assert_allclose(proba[:, y, x], fitted.predict_proba(row)[0], atol=1e-6)
    names = list(fitted.get_feature_names_out())
    assert list(result.feature.values) == names
    of_S2 = [name.startswith("S2") for name in names]
    assert_array_equal(np.isnan(result[of_S2][0]), ~has["S2"])


def test_one_of_several_sensors_by_predict_modality(cube, fitted):
    fitted.set_params(predict_modality="S2")
    try:
        result = predict_raster(fitted, cube, bands=BANDS)
        with pytest.raises(ValueError, match="Cannot predict from 'S2'"):
            predict_raster(fitted, cube, bands={"S1": BANDS["S1"]})
    finally:
        fitted.set_params(predict_modality=None)
    alone = predict_raster(fitted.export("S2"), cube, bands=BANDS["S2"])
    assert_array_equal(result, alone)


def test_one_cube_per_modality(cube, fitted):
    expected = predict_raster(fitted, cube, bands=BANDS)
    cubes = {"S2": cube[BANDS["S2"]], "S1": cube[BANDS["S1"]].to_dataarray("band")}
    assert_array_equal(predict_raster(fitted, cubes, bands=BANDS), expected)
    bands = {"S2": BANDS["S2"], "S1": None}  # all that the array has
    assert_array_equal(predict_raster(fitted, cubes, bands=bands), expected)
    cubes["S2"] = cubes["S2"].assign_coords(x=cube.x + 5)
    with pytest.raises(ValueError, match=r"are not on one grid.*x\[0\] is 0.0 and 5.0"):
        predict_raster(fitted, cubes, bands=BANDS)


def test_nodata_adds_to_missing_value(cube, fitted):
    radar = fitted.export("S1")
    sensor = radar._sensors["S1"]
    radar._members.sensors = {"S1": replace(sensor, missing_value=None)}
    expected = predict_raster(fitted.export("S1"), cube, bands=BANDS["S1"])
    for nodata in (NODATA, {"S1": NODATA}):
        result = predict_raster(radar, cube, bands=BANDS["S1"], nodata=nodata)
        assert_array_equal(result, expected)
    floats = cube.where(cube != NODATA)
    assert_array_equal(predict_raster(radar, floats, bands=BANDS["S1"]), expected)
    everywhere = predict_raster(radar, cube, bands=BANDS["S1"])
    assert (everywhere != 255).all()


@pytest.mark.parametrize(
    ("labels", "dtype", "values"),
    [
        ([3, 7, 12], "u1", [3, 7, 12]),
        ([0, 1, 255], "i2", [0, 1, 255]),
        ([-1, 0, 1], "i2", [-1, 0, 1]),
        ([0, 1, 40000], "i4", [0, 1, 40000]),
        ([False, True, True], "u1", [0, 1]),
        ([10.0, 20.0, 30.0], "u1", [10, 20, 30]),
        ([1, 2, 1101070000], "i4", [1, 2, 1101070000]),
    ],
)
def test_integer_labels_are_kept(cube, labels, dtype, values):
    X = rows_of(cube)
    y = np.array(labels)[np.random.default_rng(1).integers(0, 3, len(X))]
    model = small(max_epochs=1).fit(X, y).export("S2")
    result = predict_raster(model, cube, bands=BANDS["S2"])
    assert result.dtype == dtype
    assert_array_equal(result.flag_values, values)
    assert set(np.unique(result)) <= set(values)
    assert result.attrs["_FillValue"] == np.iinfo(dtype).max
    assert result.flag_meanings.split() == [str(c) for c in model.classes_]


def test_multilabel_and_regression(cube):
    X = rows_of(cube)
    rng = np.random.default_rng(0)
    labels = small(max_epochs=1).fit(X, rng.integers(0, 2, (len(X), 4))).export("S1")
    options = {"bands": BANDS["S1"], "nodata": NODATA}
    result = predict_raster(labels, cube, **options)
    assert result.dims == ("label", "y", "x")
    assert result.dtype == np.uint8
    assert (result[:, :3, :4] == 255).all()
    assert set(np.unique(result[:, 3:])) <= {0, 1}
    for n_outputs in (1, 2):
        y = rng.random(len(X) if n_outputs == 1 else (len(X), 2))
        reg = small(CoLearnRegressor, max_epochs=1).fit(X, y)
        result = predict_raster(reg.export("S1"), cube, **options)
        assert result.dtype == np.float32
        assert np.isnan(result[..., :3, :4]).all()
        expected = reg.predict({"S1": X["S1"][-1:]})
        assert_allclose(result[..., -1, -1], np.squeeze(expected), rtol=1e-5)
        assert result.dims == (("y", "x") if n_outputs == 1 else ("output", "y", "x"))
        assert "flag_values" not in result.attrs


def test_tables_and_names_that_the_model_knows(cube):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((40, 2)), columns=["slope", "elevation"])
    terrain = xr.Dataset(
        {n: (("y", "x"), rng.random((H, W))) for n in ("elevation", "slope", "other")}
    )
    clf = small(max_epochs=1).fit(
        {"terrain": frame, "S1": rng.random((40, T, 2))}, np.arange(40) % 2
    )
    model = clf.export("terrain")
    result = predict_raster(model, terrain)
    rows = np.stack([terrain[n].values.ravel() for n in frame], axis=1)
    assert_array_equal(result.values.ravel(), model.predict(rows))
    with pytest.raises(ValueError, match=r"Pick one step.*cube.isel\(time=0\)"):
        predict_raster(model, cube, bands=["vv", "vh"])


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_times_of_the_cube(cube, chunks):
    X = rows_of(cube)
    X["dates"] = np.tile(cube.time.values, (len(X), 1))
    X["S3"] = X["S2"].copy()
    params = {"encoder": "ltae", "encoder_params": None, "max_epochs": 1}
    clf = small(times={"S1": "dates", "S2": cube.time.values}, **params)
    clf.fit(X, np.arange(len(X)) % 2)
    model = clf.export("S1")
    options = {"bands": BANDS["S1"], "what": "predict_proba", "chunks": chunks}
    result = predict_raster(model, cube, **options).compute()
    own = {"S1": X["S1"], "dates": X["dates"]}
    expected = model.predict_proba(own).T.reshape(2, H, W)
    assert_allclose(result, expected, atol=1e-6)
    later = cube.assign_coords(time=cube.time + np.timedelta64(20, "D"))
    assert not np.allclose(predict_raster(model, later, **options), expected)
    needs = "the cube must have them as the coordinate 'time'"
    with pytest.raises(ValueError, match=needs):
        predict_raster(model, cube.drop_vars("time"), **options)
    with pytest.raises(ValueError, match="are numbers, but were dates in fit"):
        predict_raster(model, cube.assign_coords(time=np.arange(T)), **options)


ARRAY = make_cube()[BANDS["S1"]].to_dataarray("band")


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        ({}, {"bands": ["vv", "hh"]}, r"lacks the bands \['hh'\] of 'S1'"),
        ({}, {"bands": None}, "no band names for 'S1'; pass them as bands="),
        ({}, {"bands": "vv"}, "a list of names; got 'vv'"),
        ({}, {"bands": ["vv"]}, r"\(5, 1\) time steps and bands.*saw \(5, 2\)"),
        ({}, {"bands": ["vv", "vv"]}, "'vv' of 'S1' is not unique"),
        ({"isel": {"time": slice(3)}}, {}, r"\(3, 2\) time steps.*saw \(5, 2\)"),
        ({"rename": {"time": "step"}}, {}, "expected 'time' or 't' among them"),
        (
            {},
            {"what": "score"},
            "cannot map what='score'; use .*'predict_proba'",
        ),
        ({}, {"nodata": {"S9": 0}}, "Unknown modality 'S9'"),
        ({"to": ARRAY}, {"bands": ["hh"]}, r"lacks the bands \['hh'\].*'vh'"),
        ({"to": ARRAY.assign_coords(band=["vv"] * 2)}, {}, "lacks the bands .*'vh'"),
        (
            {"to": ARRAY.isel(band=[0, 1, 1])},
            {},
            r"'vh' of 'S1' is not unique: the cube contains \['vv', 'vh', 'vh'\]",
        ),
        ({"to": ARRAY.drop_vars("band")}, {}, r"lacks the bands .*it contains \[\]"),
        ({"to": ARRAY.rename(band="b")}, {}, "expected 'band', 'bands' or 'variable'"),
        ({"to": {"S2": ARRAY}}, {}, r"No cube for modality 'S1'.*only \['S2'\]"),
    ],
)
def test_errors_of_one_sensor(cube, radar, change, options, match):
    other = change.pop("to", cube) if "to" in change else cube
    for method, argument in change.items():
        other = getattr(other, method)(argument)
    with pytest.raises(ValueError, match=match):
        predict_raster(radar, other, **{"bands": BANDS["S1"], **options})


def test_errors_of_models_and_types(cube, radar, fitted):
    with pytest.raises(ValueError, match=r"\['S1', 'S2'\]; pass bands= by modality"):
        predict_raster(fitted, cube, bands=BANDS["S1"])
    with pytest.raises(ValueError, match="Unknown modality 'S9'"):
        predict_raster(fitted, cube, bands={"S9": []})
    with pytest.raises(TypeError, match=r"an xarray.Dataset or DataArray.*got ndarray"):
        predict_raster(radar, cube["vv"].values, bands=BANDS["S1"])
    with pytest.raises(TypeError, match="got StandardScaler"):
        predict_raster(StandardScaler(), cube)
    infinite = cube[BANDS["S1"]].astype("f4")
    infinite["vv"][0, 5, 5] = np.inf
    with pytest.raises(ValueError, match="contains infinity"):
        predict_raster(radar, infinite, bands=BANDS["S1"])
    static = cube.assign(vh=cube["vh"].isel(time=0))
    with pytest.raises(ValueError, match="not all on one grid"):
        predict_raster(radar, static, bands=BANDS["S1"])


# -- images: the window around each pixel ------------------------------------------


@pytest.fixture(scope="module")
def still(cube):
    """A cube of two bands without time, of integers with nodata."""
    return cube[BANDS["S1"]].isel(time=0, drop=True)


def cut_by_hand(still, height, width):
    """Cut the window around each pixel, padded with NaN: (n, height, width, 2)."""
    bands = still.transpose("y", "x").to_dataarray("band").astype(float)
    top, left = height // 2, width // 2
    widths = {"y": (top, height), "x": (left, width)}
    wide = bands.pad(widths, constant_values=np.nan).transpose("y", "x", "band").values
    return np.stack(
        [wide[i : i + height, j : j + width] for i in range(H) for j in range(W)]
    )


def fit_images(height, width, **params):
    rng = np.random.default_rng(0)
    X = {"a": 99 * rng.random((20, height, width, 2)), "b": rng.random((20, 3))}
    settings = {"missing_value": NODATA, "max_epochs": 1, **params}
    return small(**settings).fit(X, np.arange(20) % 2).export("a")


@pytest.mark.parametrize("size", [(3, 5), (4, 2), (2 * H + 3, 3)])
def test_images_are_cut_around_each_pixel(still, size):
    model = fit_images(*size)
    rows = cut_by_hand(still, *size)
    there = ~(np.isnan(rows) | (rows == NODATA)).all(axis=(1, 2, 3))
    assert there.all() == (size[0] > 5)  # a corner has no data
    expected = np.full((H * W, 2), np.nan)
    expected[there] = model.predict_proba(rows[there])
    expected = expected.T.reshape(2, H, W)
    options = {"bands": BANDS["S1"], "what": "predict_proba"}
    turned = still.transpose("x", "y")
    for cube, chunks in (
        (still, None),
        (turned, None),
        (still, {"y": 1, "x": 4}),
        (turned, {"y": (1, 5, 1)}),
    ):
        result = predict_raster(model, cube, chunks=chunks, **options)
        assert (result.chunks is None) == (chunks is None)
        assert result.dims[1:] == cube["vv"].dims
        result = result.transpose("label", "y", "x")
        assert_allclose(result, expected, atol=1e-6)
        assert_array_equal(result.y, still.y)


def test_windows_are_cut_block_by_block(still, monkeypatch):
    from sklearn_colearn import raster

    model = fit_images(3, 5)
    options = {"bands": BANDS["S1"], "what": "transform"}
    expected = predict_raster(model, still, **options)
    sizes, chips = [], raster.RasterSensor.chips

    def spy(self, *args):
        sizes.append((found := chips(self, *args)).size)
        return found

    monkeypatch.setattr(raster.RasterSensor, "chips", spy)
    monkeypatch.setattr(raster, "VALUES_AT_ONCE", 240)
    assert_allclose(predict_raster(model, still, **options), expected, atol=1e-6)
    assert max(sizes) == 240
    assert sum(sizes) == H * W * 30


def test_images_series_and_tables_on_one_grid(still, cube):
    rng = np.random.default_rng(0)
    rows = rows_of(cube)["S2"]
    soil = rng.random((H, W, 2))
    images = cut_by_hand(still, 3, 3)
    images[images == NODATA] = np.nan
    X = ModalityDict(S1=images, S2=rows.astype(float), soil=soil.reshape(-1, 2))
    X["S2"][rows == NODATA] = np.nan
    y = rng.integers(0, 2, len(rows))
    clf = small(max_epochs=1)
    pipeline = make_pipeline(PerModality(StandardScaler()), clf).fit(X, y)
    search = GridSearchCV(clf, {"lr": [1e-2]}, cv=2).fit(X, y)
    layers = xr.DataArray(soil, dims=("y", "x", "band"))
    cubes = {"S2": cube[BANDS["S2"]], "soil": layers, "S1": still}
    bands = {"S1": BANDS["S1"], "S2": BANDS["S2"], "soil": None}
    for model in (search, pipeline):
        expected = model.predict_proba(X).T.reshape(2, H, W)
        options = {"bands": bands, "nodata": NODATA, "what": "predict_proba"}
        result = predict_raster(model, cubes, **options)
        assert_allclose(result, expected, atol=1e-6)
        lazy = predict_raster(model, cubes, chunks={"y": 2, "x": 4}, **options)
        assert_allclose(lazy, expected, atol=1e-6)
    index = predict_raster(search, cubes, bands=bands, nodata=NODATA, what="entropy")
    assert_allclose(index, -(expected * np.log(expected)).sum(axis=0), atol=0.1)


def named_images(still, *dims, **coords):
    rows = xr.DataArray(cut_by_hand(still, 3, 3), dims=("sample", "y", "x", "band"))
    rows = rows.assign_coords(band=BANDS["S1"], **coords).transpose(*dims)
    return {"a": rows, "b": xr.DataArray(np.ones((H * W, 1)), dims=("sample", "band"))}


def test_names_of_dimensions_tell_rows_from_columns(still):
    first, second = (
        fit_on(named_images(still, "sample", *dims, "band")).export("a")
        for dims in (("y", "x"), ("x", "y"))
    )
    by_hand = named_images(still, "sample", "x", "y", "band")["a"].values
    found = proba(second, still).reshape(2, -1).T
    there = ~np.isnan(found[:, 0])
    assert_allclose(found[there], second.predict_proba(by_hand[there]), atol=1e-6)
    # Other names than those of fit: rows run along x, and then along the first.
    lon = still.rename(y="lat", x="lon")
    other = still.rename(y="u", x="v")
    expected = proba(first, still)
    assert_allclose(proba(first, lon), expected, atol=1e-6)
    turned = proba(first, lon.transpose("lon", "lat")).swapaxes(1, 2)
    assert_allclose(turned, expected, atol=1e-6)
    assert_allclose(proba(first, other), expected, atol=1e-6)


def test_images_that_contradict_the_cube_are_refused(still, cube, monkeypatch):
    offsets = {"y": [10.0, 0.0, -10.0], "x": [-10.0, 0.0, 10.0]}
    named = fit_on(named_images(still, "sample", "y", "x", "band", **offsets))
    model = named.export("a")
    assert_array_equal(proba(model, still).shape, (2, H, W))  # north to south, too
    says = (
        "The images of modality 'a' and the cube run in opposite directions along 'y'. "
        "Flip the cube with cube.isel(y=slice(None, None, -1)), or fit on images "
        "without labels along 'y'."
    )
    backwards = still.isel(y=slice(None, None, -1))
    assert refused(predict_raster, model, backwards, says=says) == says
    says = (
        "Modality 'a' holds images (3, 3, 2), which need a cube of two spatial "
        "dimensions; got ['y']."
    )
    assert refused(predict_raster, model, still.isel(x=0), says=says) == says
    says = "Modality 'a' has (3, 3, 1) pixels and bands in the cube; fit saw (3, 3, 2)."
    assert refused(predict_raster, model, still, bands=["vv"], says=says) == says
    says = (
        "Modality 'a' has no time steps, but its bands in the cube do. Pick one step, "
        "for example with cube.isel(time=0)."
    )
    assert refused(predict_raster, model, cube, says=says) == says
    says = (
        "The cube of 'a', from which images are cut, has another order along 'y' than "
        "the cube of 'b'. Reorder the cube of 'b', for example with "
        "cube.sel(y=other.y, method='nearest')."
    )
    X = {"b": 50 * np.ones((20, 1)), "a": 50 * np.ones((20, 3, 3, 2))}
    both = fit_on(X, standardize=False)
    cubes = {"a": still, "b": backwards["vv"]}
    bands = {"a": BANDS["S1"], "b": ["vv"]}
    assert refused(predict_raster, both, cubes, bands=bands, says=says) == says
    cubes["b"] = cubes["b"].sel(y=still.y, method="nearest")
    predict_raster(both, cubes, bands=bands)
    X = {"a": np.ones((20, 2, 3, 3, 2)), "b": np.ones((20, 1))}
    says = (
        "Rows of modality 'a' have shape (2, 3, 3, 2); predict_raster takes only "
        "tables, time series and images (height, width, n_bands)."
    )
    films = fit_on(X).export("a")
    assert refused(predict_raster, films, still, bands=["vv"], says=says) == says


# -- labels decide -----------------------------------------------------------------


def named_rows(cube, times=None):
    """Rows of a cube as DataArrays, with the names of bands and steps."""
    times = cube.time.values if times is None else times
    return {
        m: xr.DataArray(
            rows,
            dims=("sample", "time", "band"),
            coords={"time": times, "band": BANDS[m]},
        )
        for m, rows in rows_of(cube).items()
    }


def fit_on(X, **params):
    n = len(next(iter(X.values())))
    settings = {"missing_value": NODATA, "max_epochs": 1, **params}
    return small(**settings).fit(X, np.arange(n) % 2)


@pytest.fixture(scope="module")
def whole():
    """A cube without gaps."""
    cube = make_cube()
    return cube.map(lambda x: x if x.ndim < 3 else x % 99)


@pytest.fixture(scope="module")
def dated(whole):
    return fit_on(named_rows(whole)).export("S1")


def proba(model, cube, **options):
    return predict_raster(model, cube, what="predict_proba", **options).values


def later(cube, days):
    return cube.assign_coords(time=cube.time + np.timedelta64(days, "D"))


FORMS_OF_TIME = {
    "datetime64[ns]": lambda t: t.astype("datetime64[ns]"),
    "text": lambda t: [str(x)[:10] for x in t],
    "timestamps": lambda t: np.array([pd.Timestamp(x) for x in t], dtype=object),
    "seconds off": lambda t: t + np.timedelta64(20, "s"),
}


@pytest.mark.parametrize("form", FORMS_OF_TIME)
@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_steps_are_found_by_their_dates(dated, whole, form, chunks):
    expected = proba(dated, whole)
    times = FORMS_OF_TIME[form](whole.time.values)
    backwards = whole.assign_coords(time=times).isel(time=slice(None, None, -1))
    assert_allclose(proba(dated, backwards, chunks=chunks), expected, atol=1e-6)
    backwards = whole.isel(time=slice(None, None, -1))
    more = xr.concat([later(whole, 365), backwards], "time", data_vars="minimal")
    more = more.assign_coords(time=FORMS_OF_TIME[form](more.time.values))
    assert_allclose(proba(dated, more, chunks=chunks), expected, atol=1e-6)


@pytest.mark.parametrize(
    "times",
    [
        ["sowing", "tillering", "flowering", "ripening", "harvest"],
        [1, 2, 3, 4, 5],
        np.arange(5) / 10,
        ["2021-03-01", "2021-04-01", "2021-05-01", "2021-06-01", "2021-07-01"],
        pd.date_range("2021-03-01", periods=T, freq="30D", unit="ns"),
    ],
    ids=["names", "integers", "floats", "text", "nanoseconds"],
)
def test_steps_of_any_kind_of_label_are_reordered(whole, times):
    model = fit_on(named_rows(whole, times)).export("S1")
    cube = whole.assign_coords(time=times)
    backwards = cube.isel(time=slice(None, None, -1))
    assert_allclose(proba(model, backwards), proba(model, cube), atol=1e-6)


def test_steps_are_found_by_the_times_of_the_estimator(whole):
    times = whole.time.values + np.timedelta64(37_421, "s")
    model = fit_on(
        rows_of(whole), times={"S1": times}, encoder="ltae", encoder_params={}
    )
    model = model.export("S1")
    cube = whole.assign_coords(time=times)
    options = {"bands": BANDS["S1"]}
    backwards = cube.isel(time=slice(None, None, -1))
    assert_allclose(
        proba(model, backwards, **options), proba(model, cube, **options), atol=1e-6
    )


def test_another_year_runs_the_same_way_or_is_refused(dated, whole):
    expected = proba(dated, whole)
    assert_array_equal(proba(dated, later(whole, 365)), expected)
    assert_array_equal(proba(dated, whole.drop_vars("time")), expected)
    backwards = later(whole, 365).isel(time=slice(None, None, -1))
    with pytest.raises(ValueError, match=r"step 1 is 2022-05-30.*of 2021-03-31"):
        predict_raster(dated, backwards)
    with pytest.raises(ValueError, match=r"step 0 is 2021-03-31.*of 2021-03-01"):
        predict_raster(dated, later(whole, 30))
    unknown = [np.datetime64("NaT"), *later(whole, 365).time.values[1:]]
    with pytest.raises(ValueError, match=r"step 0 is NaT"):
        predict_raster(dated, whole.assign_coords(time=unknown))
    twice = whole.assign_coords(time=whole.time.values[[0, 2, 1, 1, 4]])
    with pytest.raises(ValueError, match="step 1 is 2021-04-30"):
        predict_raster(dated, twice)


def test_decreasing_time_without_step_labels_warns_once(fitted, cube):
    backwards = cube.isel(time=slice(None, None, -1))
    for chunks in (None, {"y": 3}):
        with pytest.warns(UserWarning, match=r"not increase.*\['S1', 'S2'\]") as caught:
            predict_raster(fitted, backwards, bands=BANDS, chunks=chunks).compute()
        assert len(caught) == 1
        assert caught[0].filename == __file__
    names = cube.assign_coords(time=list("abcde"))
    predict_raster(fitted, names, bands=BANDS)  # which have no order


def test_dates_against_numbers_warn_if_time_decreases(whole):
    model = fit_on(named_rows(whole, range(T))).export("S1")
    expected = proba(model, whole.assign_coords(time=range(T)))
    assert_array_equal(proba(model, whole), expected)
    with pytest.warns(UserWarning, match="Time does not increase"):
        predict_raster(model, whole.isel(time=slice(None, None, -1)))


def test_bands_are_found_by_name_and_else_by_position(dated, whole):
    expected = proba(dated, whole)
    assert_array_equal(proba(dated, whole, bands=["vh", "vv"]), expected)
    array = whole[BANDS["S1"]].to_dataarray("band")
    assert_array_equal(proba(dated, array.isel(band=[1, 0])), expected)
    assert_array_equal(proba(dated, array.drop_vars("band")), expected)


# -- values that the cube declares missing


def without_attrs(array):
    array = array.copy()
    array.attrs = {}
    return array


@pytest.mark.parametrize("name", ["_FillValue", "missing_value", "nodata"])
@pytest.mark.parametrize("where", ["attrs", "encoding", "Dataset", "DataArray"])
def test_declared_nodata_counts_as_missing(dated, whole, name, where):
    S1 = whole[BANDS["S1"]].copy(deep=True)
    for band in S1:
        S1[band][:, :2, :2] = 77
        S1[band] = S1[band].where(S1[band] != 77, 0).where(S1[band] != 77, 77)
    places = {
        "attrs": [S1[band].attrs for band in S1],
        "encoding": [S1[band].encoding for band in S1],
        "Dataset": [S1.attrs],
    }
    if where == "DataArray":
        S1 = S1.to_dataarray("band")
        S1.attrs[name] = 77
    for place in places.get(where, []):
        place[name] = np.uint16(77)
    for chunks in (None, {"y": 3}):
        result = predict_raster(dated, S1, chunks=chunks)
        assert (result[:2, :2] == 255).all()
        own = S1.map(without_attrs) if where != "DataArray" else S1
        by_hand = predict_raster(dated, own, nodata=77)
        assert_array_equal(result, by_hand)


def test_declared_nodata_forms():
    band = xr.DataArray(np.zeros(2))
    assert declared_nodata(band) == ()
    band.attrs = {"nodata": "none", "_FillValue": np.nan, "missing_value": None}
    assert declared_nodata(band) == ()
    band.attrs = {"missing_value": [-1, -2.0], "nodata": "-9999"}
    assert set(declared_nodata(band)) == {-1, -2, -9999}
    band.attrs, band.encoding = {}, {"_FillValue": 7}
    assert declared_nodata(band) == (7,)
    band.encoding["scale_factor"] = 0.1  # the values are decoded
    assert declared_nodata(band) == ()


def test_declared_nodata_is_compared_in_the_type_of_the_band(radar, cube):
    expected = predict_raster(radar, cube, bands=BANDS["S1"])
    lowest = float(np.finfo("f4").min)
    floats = cube[BANDS["S1"]].astype("f4").where(cube["vv"] != NODATA, lowest)
    for band in BANDS["S1"]:
        floats[band].attrs["nodata"] = -3.402823466e38  # as text rounds it
    assert_array_equal(predict_raster(radar, floats, bands=BANDS["S1"]), expected)
    infinite = cube[BANDS["S1"]].astype("f4").where(cube["vv"] != NODATA, -np.inf)
    result = predict_raster(radar, infinite, bands=BANDS["S1"], nodata=-np.inf)
    assert_array_equal(result, expected)
    for fill in (-9999, 255, 1e9):  # no uint8 of these cubes has them
        small_ints = (cube[BANDS["S1"]] % 99).astype("u1")
        plain = predict_raster(radar, small_ints, bands=BANDS["S1"])
        for band in BANDS["S1"]:
            small_ints[band].attrs["_FillValue"] = fill
        assert_array_equal(predict_raster(radar, small_ints, bands=BANDS["S1"]), plain)


def test_each_band_has_its_own_nodata(radar, cube):
    S1 = cube[BANDS["S1"]].copy(deep=True)
    S1["vh"] = S1["vh"].where(S1["vh"] != NODATA, 500)
    S1["vh"].attrs["nodata"], S1["vv"][1, 5, 5] = 500, 500
    S1["vv"].attrs["nodata"] = NODATA
    expected = cube.copy(deep=True)
    expected["vv"][1, 5, 5] = 500
    assert_array_equal(
        proba(radar, S1, bands=BANDS["S1"]), proba(radar, expected, bands=BANDS["S1"])
    )


# -- bands without any value


def test_a_band_without_any_value_warns(whole):
    model = fit_on(rows_of(whole))
    cube = whole.copy(deep=True)
    cube["b4"][:] = NODATA
    message = (
        "The bands ['b4'] of modality 'S2' have no values in the cube, so they count "
        "as missing in every pixel. Check the source files and their nodata value."
    )
    with pytest.warns(UserWarning, match="have no values") as caught:
        result = proba(model, cube, bands=BANDS)
    assert [str(one.message) for one in caught] == [message]
    assert caught[0].filename == __file__
    assert not np.allclose(result, proba(model, whole, bands=BANDS), atol=1e-3)
    # Not if it is lazy, as nothing is read yet, or if the whole sensor is missing.
    proba(model, cube, bands=BANDS, chunks={"y": 3})
    for band in BANDS["S2"]:
        cube[band][:] = NODATA
    proba(model, cube, bands=BANDS)


def test_a_band_that_was_empty_in_fit_does_not_warn(whole):
    X = {m: rows.astype(float) for m, rows in rows_of(whole).items()}
    X["S2"][..., 1] = np.nan
    model = fit_on(X).export("S2")
    cube = whole.drop_vars("crs").astype(float)
    cube["b4"][:] = np.nan
    proba(model, cube, bands=BANDS["S2"])


# -- grids


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_grids_are_matched_by_their_coordinates(fitted, cube, chunks):
    options = {"bands": BANDS, "what": "predict_proba"}
    expected = predict_raster(fitted, cube, **options)
    options["chunks"] = chunks
    S1, S2 = cube[BANDS["S1"]], cube[BANDS["S2"]]
    flipped = S2.isel(y=slice(None, None, -1), x=[3, 1, 2, 0, *range(4, W)])
    for other in (
        S2.assign_coords(x=S2.x + 0.09),
        flipped,
        flipped.assign_coords(y=flipped.y.astype("f4") + 0.05),
        S2.drop_vars(["y", "x"]),
    ):
        result = predict_raster(fitted, {"S1": S1, "S2": other}, **options)
        assert_allclose(result, expected, atol=1e-6)
        assert_array_equal(result.x, cube.x)
        assert_array_equal(result.y, cube.y)
    for other, match in (
        (S2.assign_coords(x=S2.x + 0.2), r"'S1' and 'S2'.*x\[0\] is 0.0 and 0.2"),
        (S2.assign_coords(y=S2.y + 10), r"y\[0\] is 60.0 and 70.0"),
        (S2.isel(x=slice(3)), "not all on one grid"),
    ):
        with pytest.raises(ValueError, match=match):
            predict_raster(fitted, {"S1": S1, "S2": other}, **options)


def test_a_map_has_the_attributes_of_the_cube_that_gives_its_grid(fitted, cube):
    S1 = cube[[*BANDS["S1"], "crs"]]
    other = cube[BANDS["S2"]].assign_attrs(title="another")
    result = predict_raster(fitted, {"S2": other, "S1": S1}, bands=BANDS)
    assert result.attrs["title"] == "a cube"
    assert "crs" in result.coords


# -- dates of each row


@pytest.fixture(scope="module")
def by_rows(whole):
    X = rows_of(whole)
    X["dates"] = np.tile(whole.time.values, (len(X), 1))
    params = {"encoder": "ltae", "encoder_params": {}}
    return fit_on(X, times={"S1": "dates", "S2": "dates"}, **params)


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_a_cube_may_have_fewer_dates_than_the_rows_of_training(by_rows, whole, chunks):
    model = by_rows.export("S1")
    kept = [0, 2, 3]
    result = proba(model, whole.isel(time=kept), bands=BANDS["S1"], chunks=chunks)
    rows = rows_of(whole)["S1"].astype(float)
    rows[:, [1, 4]] = np.nan
    dates = np.tile(whole.time.values, (len(rows), 1))
    expected = model.predict_proba({"S1": rows, "dates": dates})
    assert_allclose(result, expected.T.reshape(2, H, W), atol=1e-5)
    gap = whole.drop_vars("crs").astype(float).copy(deep=True)
    for band in BANDS["S1"]:
        gap[band][[1, 4]] = np.nan
    unknown = whole.time.values.copy()
    unknown[[1, 4]] = np.datetime64("NaT")
    gap = gap.assign_coords(time=unknown)
    with pytest.warns(UserWarning, match="Time does not increase"):
        again = proba(model, gap, bands=BANDS["S1"], chunks=chunks)
    assert_allclose(again, result, atol=1e-5)


def test_more_dates_than_in_training_are_refused(by_rows, whole):
    more = xr.concat([whole, later(whole, 365)], "time", data_vars="minimal")
    model = by_rows.export("S1")
    with pytest.raises(ValueError, match=r"10 dates for modality 'S1', but .* only 5"):
        predict_raster(model, more, bands=BANDS["S1"])
    cubes = {"S1": whole, "S2": later(whole, 3)}
    with pytest.raises(ValueError, match=r"'S2' has other times.*entry, 'dates'"):
        predict_raster(by_rows, cubes, bands=BANDS)


# -- threads, memory, other processes ----------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("limit", ["65536", "", "0x1"])
def test_memory_limits_of_a_worker_do_not_matter(cube, radar, monkeypatch, limit):
    expected = predict_raster(radar, cube, bands=BANDS["S1"])
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", limit)
    lazy = predict_raster(radar, cube, bands=BANDS["S1"], chunks={"y": 3})
    assert_array_equal(lazy.compute(), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is asked")
def test_memory_limits_are_restored_after_a_block(monkeypatch):
    told = []
    libc = SimpleNamespace(mallopt=lambda *given: told.append(given))
    monkeypatch.setattr(raster.ctypes, "CDLL", lambda name: libc)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)  # dask may set it
    with raster._keep_freed_memory():
        pass
    assert told == []  # nobody has set a limit
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with raster._keep_freed_memory():
        assert told == [(-1, 2**25), (-3, 2**25)]
    assert told[2:] == [(-1, 65536), (-3, 2**17)]


@pytest.mark.usefixtures("two_threads")
def test_each_dask_thread_uses_one_torch_thread(cube, radar, monkeypatch):
    seen, run = [], Sensor.run

    def spy(self, *args):
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return run(self, *args)

    monkeypatch.setattr(Sensor, "run", spy)
    predict_raster(radar, cube, bands=BANDS["S1"])
    assert seen == [(threading.get_ident(), 2)]
    seen.clear()
    lazy = predict_raster(radar, cube, bands=BANDS["S1"], chunks={"y": 1})
    lazy.compute(num_workers=2)
    assert len(seen) == H
    assert {n for _, n in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}
    assert torch.get_num_threads() == 2
    other = []
    thread = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert other == [2]


def test_a_graph_holds_the_model_once(cube, radar):
    import cloudpickle

    lazy = predict_raster(radar, cube, bands=BANDS["S1"], chunks={"y": 1, "x": 1})
    model = len(cloudpickle.dumps(radar))
    arrays = len(cloudpickle.dumps(cube[BANDS["S1"]].chunk({"y": 1, "x": 1})))
    assert lazy.data.npartitions == H * W
    assert len(cloudpickle.dumps(lazy.data)) < arrays + 3 * model


def test_chunks_are_read_one_by_one(radar):
    """No more chunks are in memory at a time than there are threads."""
    import dask.array as da

    alive, most, lock = 0, 0, threading.Lock()

    class Block(np.ndarray):
        def __del__(self):
            nonlocal alive
            with lock:
                alive -= getattr(self, "counted", 0)

    def make(block_info=None):
        nonlocal alive, most
        block = np.zeros(block_info[None]["chunk-shape"], "u2").view(Block)
        block.counted = 1
        with lock:
            alive += 1
            most = max(most, alive)
        return block

    bands = {
        band: (
            ("time", "y", "x"),
            da.map_blocks(make, chunks=((T,), (8,) * 30, (8,)), dtype="u2"),
        )
        for band in BANDS["S1"]
    }
    result = predict_raster(radar, xr.Dataset(bands), bands=BANDS["S1"], nodata=-1)
    assert result.compute(scheduler="threads", num_workers=1).shape == (240, 8)
    assert most <= 8  # of 60: two bands, and what dask reads ahead


# -- GeoTIFF -----------------------------------------------------------------------


# rasterio's, of another version of affine.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_geotiff(cube, radar, tmp_path):
    rioxarray = pytest.importorskip("rioxarray")
    cube = cube.drop_vars("crs").rio.write_crs("EPSG:32631")
    result = predict_raster(radar, cube, bands=BANDS["S1"])
    assert result.rio.crs == "EPSG:32631"
    assert result.rio.nodata == 255
    result.rio.to_raster(tmp_path / "map.tif")
    back = rioxarray.open_rasterio(tmp_path / "map.tif")
    assert_array_equal(back[0], result)
    assert back.rio.crs == "EPSG:32631"
    assert back.rio.nodata == 255
    assert back.rio.bounds() == result.rio.bounds()
    back.close()


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("codes", [[1, 2, 1101070000], [2**53, -4, 4300000001]])
def test_large_class_codes_come_back_from_geotiff(cube, codes, tmp_path):
    rioxarray = pytest.importorskip("rioxarray")
    X = rows_of(cube)
    keep = (X["S1"] != NODATA).any(axis=(1, 2))
    y = np.array(codes)[np.arange(keep.sum()) % 3]
    model = small(max_epochs=1, missing_value=NODATA).fit(X[keep], y).export("S1")
    cube = cube.drop_vars("crs").rio.write_crs("EPSG:32631")
    result = predict_raster(model, cube, bands=BANDS["S1"])
    assert set(np.unique(result)) <= {*codes, result.attrs["_FillValue"]}
    result.rio.to_raster(tmp_path / "map.tif")
    with rioxarray.open_rasterio(tmp_path / "map.tif") as back:
        assert back.dtype == result.dtype
        assert_array_equal(back[0], result)
        assert back.rio.nodata == result.attrs["_FillValue"]
        assert_array_equal(
            back[0] == back.rio.nodata, np.arange(H)[:, None] < 3 * (np.arange(W) < 4)
        )


def test_netcdf(cube, fitted, tmp_path):
    pytest.importorskip("h5netcdf")
    for what in ("predict", "predict_proba"):
        result = predict_raster(fitted, cube, bands=BANDS, what=what)
        path = tmp_path / f"{what}.nc"
        result.to_netcdf(path, engine="h5netcdf")
        with xr.open_dataset(
            path, engine="h5netcdf", mask_and_scale=False, decode_coords="all"
        ) as back:
            assert_array_equal(back[result.name], result)
            assert "crs" in back.coords
            if what == "predict":
                assert_array_equal(back[result.name].attrs["flag_values"], [0, 1, 2])


# -- a real cube -------------------------------------------------------------------


@pytest.mark.slow
def test_real_cube_left_half_to_right_half(real_data):
    """Classes are k-means of the summer optical bands; maps of the half not seen.

    Either sensor alone says more of the classes than the commonest one does.
    """
    pytest.importorskip("h5netcdf")
    path = real_data("worldcereal_cube.nc")
    with xr.open_dataset(path, engine="h5netcdf", mask_and_scale=False) as opened:
        cube = opened.load()
    bands = {
        "S1": [b for b in cube if b.startswith("S1")],
        "S2": [b for b in cube if b.startswith("S2")],
    }
    summer = cube[bands["S2"]].sel(t=slice("2021-06-01", "2021-08-31"))
    summer = summer.to_dataarray("band").astype(float)
    summer = summer.where(summer != NODATA).mean("t").stack(pixel=("y", "x"))
    left = (summer.x < cube.x.mean()).values
    optical = summer.transpose("pixel", "band").values
    scaler = StandardScaler().fit(optical[left])
    kmeans = KMeans(4, n_init=3, random_state=0).fit(scaler.transform(optical[left]))
    y = kmeans.predict(scaler.transform(optical)).astype(int)

    rows = ModalityDict(
        {
            m: np.stack([cube[b].values.reshape(12, -1).T for b in names], axis=-1)
            for m, names in bands.items()
        }
    )
    train = np.flatnonzero(left)[::7]
    clf = CoLearnClassifier(
        encoder="tempcnn",
        encoder_params={"n_channels": 16, "n_layers": 1},
        max_epochs=8,
        cv=None,
        missing_value=NODATA,
        random_state=0,
    ).fit(rows[train], y[train])
    right = cube.isel(x=slice(50, 100))
    truth = y.reshape(100, 100)[:, 50:]
    common = np.bincount(truth.ravel()).max() / truth.size
    for modality in ("S1", "S2"):
        result = predict_raster(
            clf.export(modality), right, bands=bands[modality], chunks={"y": 40}
        ).compute(num_workers=1)
        assert result.shape == (100, 50)
        assert_array_equal(result.x, right.x)
        assert result.attrs["grid_mapping"] == "crs"
        assert "crs_wkt" in result.crs.attrs
        assert accuracy_score(truth.ravel(), result.values.ravel()) > common + 0.05


# -- how sure a map is -------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_maps_of_uncertainty(sensors, chunks):
    X, y = sensors
    X = X.select(["S1", "S2"])
    S1 = X["S1"].copy()
    S1[7] = np.nan
    cube = xr.Dataset(
        {
            band: (("y", "x", "time"), S1[:, :, i].reshape(9, 10, 12))
            for i, band in enumerate(["vv", "vh"])
        }
    )
    there = np.arange(90) != 7
    show = partial(predict_raster, cube=cube, bands=["vv", "vh"], chunks=chunks)

    quick = {"cv": 2, "max_epochs": 1}
    clf = small(**quick).fit(X, y).export("S1")
    p = clf.predict_proba(S1[there]).astype(float)
    entropy = show(clf, what="entropy")
    assert entropy.dims == ("y", "x")
    found = entropy.values.ravel()
    assert_allclose(found[there], -(p * np.log(p)).sum(axis=1), atol=1e-4)
    assert np.isnan(found[7])
    sizes = show(clf, what="predict_set_size", confidence_level=0.7)
    found = sizes.values.ravel()
    expected = clf.predict_set(S1[there], confidence_level=0.7).sum(axis=1)
    assert_array_equal(found[there], expected)
    assert (found[7], sizes.dtype, sizes.attrs["_FillValue"]) == (0, np.uint8, 0)

    labels = small(**quick).fit(X, np.eye(3, dtype=int)[y]).export("S1")
    p = labels.predict_proba(S1[there]).astype(float)
    entropy = show(labels, what="entropy")
    assert entropy.dims == ("label", "y", "x")
    expected = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    found = entropy.values.reshape(3, -1).T[there]
    assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="multi-label"):
        show(labels, what="predict_set_size").compute()

    reg = small(CoLearnRegressor, **quick).fit(X, y * 2.0).export("S1")
    bounds = show(reg, what="interval", confidence_level=0.8)
    assert bounds.dims == ("bound", "y", "x")
    assert bounds["bound"].values.tolist() == ["lower", "upper"]
    expected = reg.predict_interval(S1[there], confidence_level=0.8)
    assert_allclose(bounds.values.reshape(2, -1).T[there], expected, rtol=1e-5)
    refused(show, reg, what="entropy", says="'entropy' ... 'interval'")
    several = small(CoLearnRegressor, **quick).fit(X, np.stack([y, y], axis=1))
    says = "what='interval' ... 2"
    refused(show, several.export("S1"), what="interval", says=says)


# -- maps of other estimators ----------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    """Two sensors of 300 places, their classes, and the same as cubes."""
    X, y = make_multisensor(300, random_state=0)
    X = X.select(["S1", "S2"])
    dims = ("y", "x", "time", "band")
    cubes = {
        m: xr.DataArray(x.reshape(15, 20, *x.shape[1:]), dims=dims)
        for m, x in X.items()
    }
    return X, y, cubes


QUICK = {"encoder": "mlp", "cv": None, "max_epochs": 2, "random_state": 0}


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(PerModality(StandardScaler()), CoLearnClassifier(**QUICK)),
        GridSearchCV(CoLearnClassifier(**QUICK), {"lr": [1e-3, 3e-3]}, cv=2),
        CalibratedClassifierCV(CoLearnClassifier(**QUICK), cv=2),
        VotingClassifier([("a", CoLearnClassifier(**QUICK))]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_maps_of_estimators_that_wrap_a_classifier(scene, model):
    X, y, cubes = scene
    names = np.array(["reed", "bog", "open water"])[y]
    model.fit(X, names)
    result = predict_raster(model, cubes)
    shown = np.array(result.attrs["flag_meanings"].split())[result.values.ravel()]
    expected = np.char.replace(model.predict(X).astype(str), " ", "_")
    np.testing.assert_array_equal(shown, expected)
    if hasattr(model, "predict_proba"):
        proba = predict_raster(model, cubes, what="predict_proba", chunks={"y": 5})
        assert proba["label"].values.tolist() == model.classes_.tolist()
        np.testing.assert_allclose(
            proba.values.reshape(3, -1).T, model.predict_proba(X), rtol=1e-5, atol=1e-6
        )


def test_maps_of_estimators_that_wrap_a_regressor(scene):
    X, y, cubes = scene
    model = TransformedTargetRegressor(
        CoLearnRegressor(**QUICK), func=np.log1p, inverse_func=np.expm1
    ).fit(X, y + 1.0)
    result = predict_raster(model, cubes)
    np.testing.assert_allclose(result.values.ravel(), model.predict(X), rtol=1e-4)
    says = (
        "TransformedTargetRegressor cannot map what='interval'; use one of ['predict']."
    )
    assert refused(predict_raster, model, cubes, what="interval", says=says) == says


OURS = CoLearnClassifier(**QUICK)


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline("passthrough", PerModality(StandardScaler()), OURS),
        VotingClassifier(
            [
                ("a", OURS),
                ("b", make_pipeline(PerModality(FunctionTransformer(np.log1p)), OURS)),
            ]
        ),
        StackingClassifier([("a", OURS)], cv=2),
        CalibratedClassifierCV(OURS, cv=2),
        FixedThresholdClassifier(OURS),
        TransformedTargetRegressor(CoLearnRegressor(**QUICK)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_estimators_find_bands_and_steps_by_name(whole, model):
    X = ModalityDict(named_rows(whole))
    model.fit(X, np.arange(len(X)) % 2)
    result = predict_raster(model, whole.isel(time=slice(None, None, -1)))
    expected = model.predict(X).reshape(H, W)
    assert_allclose(result, expected, rtol=1e-5)
    cubes = {m: whole[bands[::-1]].to_dataarray() for m, bands in BANDS.items()}
    assert_allclose(predict_raster(model, cubes), expected, rtol=1e-5)
    cubes["S1"] = cubes["S1"].assign_coords(variable=["hh", "hv"])
    says = "The cube lacks the bands ['vv', 'vh'] of 'S1'; it contains ['hh', 'hv']."
    assert refused(predict_raster, model, cubes, says=says) == says


def test_other_estimators_take_bands_by_position_where_names_are_unknown(scene):
    X, y, cubes = scene
    named = {m: cube.to_dataset("band") for m, cube in cubes.items()}
    named = {m: own.rename({i: f"b{i}" for i in own}) for m, own in named.items()}
    first = FunctionTransformer(lambda X: X)
    for model in (make_pipeline(first, OURS), VotingClassifier([("a", OURS)])):
        model.fit(X, y)
        expected = predict_raster(model, cubes)
        assert_array_equal(predict_raster(model, named), expected)
        turned = {m: own[list(own)[::-1]] for m, own in named.items()}
        bands = {m: list(own) for m, own in named.items()}
        assert_array_equal(predict_raster(model, turned, bands=bands), expected)
    says = "cubes= must be a dict of xarray objects by modality; got DataArray."
    pipeline = make_pipeline(first, OURS).fit(X, y)
    refused(predict_raster, pipeline, cubes["S1"], says=says, error=TypeError)
    says = "Modality 'S1' has (12, 1) time steps and bands in the cube; fit saw (12, 2)"
    bands["S1"] = ["b1"]
    refused(predict_raster, model, named, bands=bands, says=says)


def test_other_estimators_get_tables_with_their_columns(scene):
    X, y, cubes = scene
    values = np.random.default_rng(0).normal(size=(300, 2))
    X = ModalityDict(S1=X["S1"], soil=pd.DataFrame(values, columns=["clay", "sand"]))
    model = make_pipeline(PerModality(StandardScaler()), OURS).fit(X, y)
    soil = xr.DataArray(values.reshape(15, 20, 2)[..., ::-1], dims=("y", "x", "band"))
    soil = soil.assign_coords(band=["sand", "clay"])
    result = predict_raster(model, {"S1": cubes["S1"], "soil": soil})
    assert_array_equal(result.values.ravel(), model.predict(X))


def test_sentinels_of_inner_estimators(cube, fitted):
    X = rows_of(cube)
    keep = (X["S1"] != NODATA).any(axis=(1, 2)) & (X["S2"] != NODATA).any(axis=(1, 2))
    one = CoLearnClassifier(**QUICK, missing_value=NODATA)
    other = make_pipeline(
        PerModality(FunctionTransformer(np.log1p)), CoLearnClassifier(**QUICK)
    )
    cube = cube.copy(deep=True)
    for band in (*BANDS["S1"], *BANDS["S2"]):
        cube[band][:, 0, 0] = NODATA
    model = VotingClassifier([("a", one)]).fit(X[keep], np.arange(keep.sum()) % 2)
    result = predict_raster(model, cube, bands=BANDS)
    nothing = (rows_of(cube)["S1"] == NODATA).all(axis=(1, 2))
    nothing &= (rows_of(cube)["S2"] == NODATA).all(axis=(1, 2))
    assert_array_equal(result == 255, nothing.reshape(H, W))
    assert nothing.sum() == 5
    # For the second it is a value like others.
    model = VotingClassifier([("a", one), ("b", other)])
    model.fit(X[keep], np.arange(keep.sum()) % 2)
    there = cube.isel(x=slice(5, None), y=slice(3, 5))
    again = predict_raster(model, there, bands=BANDS)
    assert_array_equal(again.values.ravel(), model.predict(rows_of(there)))


def test_a_cube_of_one_band_needs_no_dimension_of_bands(scene):
    X, y, cubes = scene
    X = ModalityDict(S1=X["S1"][:, :, :1], S2=X["S2"])
    model = CoLearnClassifier(**QUICK).fit(X, y).export("S1")
    result = predict_raster(model, cubes["S1"].isel(band=0))
    np.testing.assert_array_equal(result.values.ravel(), model.predict(X["S1"]))
    says = "Modality 'S1' has (12, 1) time steps and bands in the cube; fit saw (12, 2)"
    other = CoLearnClassifier(**QUICK).fit(scene[0], y).export("S1")
    refused(predict_raster, other, cubes["S1"].isel(band=0), says=says)


def test_static_layers_of_a_cube_of_series_are_a_table(scene):
    X, y, cubes = scene
    soil = np.random.default_rng(0).normal(size=(300, 2))
    X = ModalityDict(S1=X["S1"], soil=soil)
    model = CoLearnClassifier(**QUICK).fit(X, y)
    layers = xr.DataArray(soil.reshape(15, 20, 2), dims=("y", "x", "band"))
    layers[0, 0] = np.nan
    soil[0] = np.nan
    repeated = layers.expand_dims(time=12)
    result = predict_raster(model, {"S1": cubes["S1"], "soil": repeated})
    np.testing.assert_array_equal(result.values.ravel(), model.predict(X))
    moving = repeated.copy()
    moving[3, 5, 5, 1] += 1
    says = "Modality 'soil' has no time steps ... Pick one step"
    for cube in (moving, repeated.chunk(y=5)):
        refused(predict_raster, model, {"S1": cubes["S1"], "soil": cube}, says=says)
