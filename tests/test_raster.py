"""Maps: every pixel as `predict` answers it, whatever the cube looks like."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler
from tools import small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    predict_raster,
)

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
    assert proba.dims == ("class", "y", "x")
    assert proba.dtype == np.float32
    assert list(proba["class"].values) == list(NAMES)
    flat = proba.values.reshape(3, -1).T
    assert np.isnan(flat[~there]).all()
    assert_allclose(flat[there], radar.predict_proba(rows[there]), atol=1e-6)
    z = predict_raster(radar, cube, bands=BANDS["S1"], what="transform")
    assert list(z.feature.values) == list(radar.get_feature_names_out())
    flat = z.values.reshape(len(z), -1).T
    assert_allclose(flat[there], radar.transform(rows[there]), atol=1e-5)


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_each_pixel_by_the_sensors_that_it_has(cube, fitted, chunks):
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
        with pytest.raises(ValueError, match="is to be from modality 'S2'"):
            predict_raster(fitted, cube, bands={"S1": BANDS["S1"]})
    finally:
        fitted.set_params(predict_modality=None)
    alone = predict_raster(fitted.export("S2"), cube, bands=BANDS["S2"])
    assert_array_equal(result, alone)


def test_cubes_of_their_own(cube, fitted):
    expected = predict_raster(fitted, cube, bands=BANDS)
    cubes = {"S2": cube[BANDS["S2"]], "S1": cube[BANDS["S1"]].to_dataarray("band")}
    assert_array_equal(predict_raster(fitted, cubes, bands=BANDS), expected)
    bands = {"S2": BANDS["S2"], "S1": None}  # all that the array has
    assert_array_equal(predict_raster(fitted, cubes, bands=bands), expected)
    cubes["S2"] = cubes["S2"].assign_coords(x=cube.x + 5)
    with pytest.raises(ValueError, match="are not all on one grid"):
        predict_raster(fitted, cubes, bands=BANDS)


def test_nodata_beside_the_models_own(cube, fitted):
    radar = fitted.export("S1")
    radar.missing_value = None
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
        ([1.0, 2.0, 9.0], "u1", [0, 1, 2]),
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
    with pytest.raises(ValueError, match=r"pick one, as by cube.isel\(time=0\)"):
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
    later = cube.assign_coords(time=cube.time + np.timedelta64(45, "D"))
    assert not np.allclose(predict_raster(model, later, **options), expected)
    needs = "the cube needs them as the coordinate 'time'"
    with pytest.raises(ValueError, match=needs):
        predict_raster(model, cube.drop_vars("time"), **options)
    with pytest.raises(ValueError, match="came as dates in fit and as numbers now"):
        predict_raster(model, cube.assign_coords(time=np.arange(T)), **options)


def test_errors(cube, radar, fitted):
    def refusal(*args, error=ValueError, **options):
        with pytest.raises(error) as caught:
            predict_raster(*args, **options)
        return str(caught.value)

    assert refusal(radar, cube, bands=["vv", "hh"]).startswith(
        "The cube lacks the bands ['hh'] of 'S1'; it has ['vv', "
    )
    array = cube[BANDS["S1"]].to_dataarray("band")
    assert refusal(radar, array, bands=["hh"]) == (
        "The cube lacks the bands ['hh'] of 'S1'; it has ['vv', 'vh']."
    )
    assert refusal(radar, cube) == (
        "The model does not know the names of the bands of 'S1'; give them by bands=, "
        "in the order of training."
    )
    assert refusal(radar, cube, bands="vv") == "bands= is a list of names; got 'vv'."
    assert refusal(radar, cube, bands=["vv"]) == (
        "Modality 'S1' has (5, 1) time steps and bands in the cube; fit saw (5, 2)."
    )
    assert refusal(radar, cube.isel(time=slice(3)), bands=BANDS["S1"]) == (
        "Modality 'S1' has (3, 2) time steps and bands in the cube; fit saw (5, 2)."
    )
    assert "none of which is 'time' or 't'" in refusal(
        radar, cube.rename(time="step"), bands=BANDS["S1"]
    )
    assert refusal(radar, cube, bands=BANDS["S1"], what="score") == (
        "what='score' is none of ['predict', 'predict_proba', 'transform']."
    )
    assert refusal(fitted, cube, bands=BANDS["S1"]) == (
        "The model has the modalities ['S1', 'S2']; give bands= by modality: {'S1': "
        "['vv', 'vh'], ...}."
    )
    assert refusal(fitted, cube, bands={"S9": []}) == (
        "Unknown modality 'S9'; fit saw ['S1', 'S2']."
    )
    assert "an xarray.Dataset or DataArray" in refusal(
        radar, cube["vv"].values, bands=BANDS["S1"], error=TypeError
    )
    assert "got KMeans" in refusal(KMeans(), cube, error=TypeError)
    infinite = cube[BANDS["S1"]].astype("f4")
    infinite["vv"][0, 5, 5] = np.inf
    assert "contains infinity" in refusal(radar, infinite, bands=BANDS["S1"])


def test_images_are_refused(cube):
    rng = np.random.default_rng(0)
    X = {"a": rng.random((20, 4, 4, 2)), "b": rng.random((20, 3))}
    model = small(max_epochs=1).fit(X, np.arange(20) % 2).export("a")
    with pytest.raises(ValueError, match="is for models of single pixels"):
        predict_raster(model, cube, bands=BANDS["S1"])


# -- threads, memory, other processes ----------------------------------------------


THREADS = """
import threading
import numpy as np, torch, xarray as xr
from sklearn_colearn import CoLearnClassifier, predict_raster
from sklearn_colearn.single_modality import SingleModality

torch.set_num_threads(2)  # of this process of its own
rng = np.random.default_rng(0)
X = {"a": rng.random((40, 3)), "b": rng.random((40, 2))}
clf = CoLearnClassifier(encoder="linear", max_epochs=1, random_state=0)
clf.fit(X, np.arange(40) % 2)
cube = xr.Dataset({n: (("y", "x"), rng.random((40, 40))) for n in "rgb"})
seen, run = [], SingleModality.run
def spy(self, *args):
    seen.append((threading.get_ident(), torch.get_num_threads()))
    return run(self, *args)
SingleModality.run = spy
model = clf.export("a")
predict_raster(model, cube, bands=list("rgb"))
assert seen == [(threading.get_ident(), 2)], seen
seen.clear()
predict_raster(model, cube, bands=list("rgb"), chunks={"y": 5}).compute(num_workers=2)
assert len(seen) == 8 and {n for _, n in seen} == {1}, seen
assert threading.get_ident() not in {t for t, _ in seen}
assert torch.get_num_threads() == 2
other = []
t = threading.Thread(target=lambda: other.append(torch.get_num_threads()))
t.start(); t.join()
assert other == [2], other
"""


def test_threads_of_torch_do_not_fight_those_of_dask():
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", THREADS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


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
        encoder_params={"n_channels": 32},
        max_epochs=15,
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
