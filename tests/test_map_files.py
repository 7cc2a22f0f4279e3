"""Maps as files, and runs that are cut off."""

import inspect
from functools import partial

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import RobustScaler, StandardScaler
from tools import refused, small

xr = pytest.importorskip("xarray")
da = pytest.importorskip("dask.array")
pytest.importorskip("rioxarray")
rasterio = pytest.importorskip("rasterio")

from sklearn_colearn import (  # noqa: E402
    PerModality,
    load_model,
    map_files,
    predict_raster,
    save_model,
    write_map,
)

SHAPE = (700, 900)


def map_of(values, **attrs):
    """Return a map of UTM zone 31, whose first row is in the north."""
    n_rows, n_columns = values.shape[-2:]
    coords = {
        "y": 5e6 - 10.0 * np.arange(n_rows),
        "x": 4e5 + 10.0 * np.arange(n_columns),
    }
    dims = ("label", "y", "x")[-values.ndim :]
    made = xr.DataArray(values, coords, dims, "cover", attrs)
    return made.rio.write_crs("EPSG:32631")


@pytest.fixture
def classes():
    values = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    values[:5] = 255
    attrs = {"flag_values": np.array([0, 1, 2], np.uint8), "_FillValue": np.uint8(255)}
    return map_of(values, flag_meanings="crops forest water", **attrs)


def test_a_map_of_classes_as_a_geotiff(classes, tmp_path):
    path = tmp_path / "map.tif"
    write_map(classes.chunk(y=300, x=400), path, colors={"forest": "#228833"})
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.crs.to_epsg() == 32631
        assert file.transform[:6] == (10, 0, 399995, 0, -10, 5000005)
        assert file.nodata == 255
        assert file.overviews(1)
        assert file.tags(1)["flag_meanings"] == "crops forest water"
        colors = file.colormap(1)
    assert colors[1] == (0x22, 0x88, 0x33, 255)
    assert colors[255][3] == 0
    assert list(tmp_path.iterdir()) == [path]
    write_map(classes, path)  # in memory, over the first
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert len({file.colormap(1)[number] for number in range(3)}) == 3


def test_a_map_that_begins_in_the_south(classes, tmp_path):
    write_map(classes[::-1, ::-1], tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), classes)
        assert file.transform[4] == -10


def test_a_map_of_several_layers(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 60, 80)).astype(np.float32)
    values[:, 0] = np.nan
    proba = map_of(values).assign_coords(label=["crops", "forest"])
    write_map(proba.transpose("y", "x", "label").chunk(y=30), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.descriptions == ("crops", "forest")
        assert np.isnan(file.nodata)


def skip_without_new_zarr():
    pytest.importorskip("zarr")
    if "zarr_format" not in inspect.signature(xr.Dataset.to_zarr).parameters:
        pytest.skip("this xarray cannot choose the format of Zarr")


def test_a_map_as_zarr(classes, tmp_path):
    skip_without_new_zarr()
    path = tmp_path / "map.zarr"
    write_map(classes.chunk(y=300, x=400), path)
    with xr.open_zarr(path, mask_and_scale=False) as opened:
        np.testing.assert_array_equal(opened["cover"], classes)
        assert opened["cover"].attrs["flag_meanings"] == "crops forest water"
        assert opened.rio.crs.to_epsg() == 32631
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["map.tif", "map.zarr"])
def test_an_interrupted_run_resumes(name, tmp_path):
    if name == "map.zarr":
        skip_without_new_zarr()
    computed, falls_out = [], True

    def block(block_info):
        where = block_info[None]["array-location"]
        if falls_out and len(computed) == 4:
            raise OSError("the disk is full")
        computed.append(str(where))
        (top, below), (left, right) = where
        return np.arange(top, below)[:, None] * 1000.0 + np.arange(left, right)

    lazy = da.map_blocks(block, chunks=((250, 250, 200), (450, 450)), dtype=float)
    path = tmp_path / name
    with pytest.raises(OSError, match="the disk is full"):
        write_map(map_of(lazy), path, n_jobs=1)
    assert not path.exists()
    falls_out = False
    write_map(map_of(lazy), path)
    assert len(computed) == len(set(computed)) == 6
    if name == "map.tif":
        with rasterio.open(path) as file:
            written = file.read(1)
    else:
        with xr.open_zarr(path) as opened:
            written = opened["cover"].values
    rows, columns = np.mgrid[:700, :900]
    np.testing.assert_array_equal(written, rows * 1000.0 + columns)


def test_invalid_maps_paths_and_colors_are_refused(classes, tmp_path):
    path = tmp_path / "map.tif"
    refused(write_map, classes, "map.png", says="path= must end with .tif or .zarr")
    refused(
        write_map, classes.values, path, error=TypeError, says="DataArray; got ndarray"
    )
    says = "map= must have two spatial dimensions and at most one more; got ('y',)."
    refused(write_map, classes[:, 0], path, says=says)
    says = "The spatial dimensions must be x and y ... got ('row', 'x')."
    refused(write_map, classes.rename(y="row"), path, says=says)
    says = (
        "colors= contains ['sea'], but the classes of the map are ['crops', 'forest', "
        "'water']."
    )
    refused(write_map, classes, path, colors={"sea": "#000000"}, says=says)
    says = "Colors must be hex codes such as '#228833'; got 'blue'."
    refused(write_map, classes, path, colors={"water": "blue"}, says=says)
    says = (
        "colors= applies only to maps of classes in 8 bits (uint8, with flag_values); "
        "got float64."
    )
    refused(write_map, classes * 1.0, path, colors=["#000000"], says=says)
    says = (
        "The map has flag_values [0, 1, 2] but flag_meanings ['a', 'b']. Expected one "
        "meaning per value."
    )
    unclear = classes.assign_attrs(flag_meanings="a b")
    assert refused(write_map, unclear, path, says=says) == says
    assert list(tmp_path.iterdir()) == []


def test_a_map_without_a_reference_system(classes, tmp_path):
    lost = classes.drop_vars("spatial_ref")
    with pytest.warns(UserWarning, match="The map has no coordinate reference system"):
        write_map(lost, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs is None


def test_blocks_of_another_map_are_not_mixed_in(classes, tmp_path):
    bad = map_of(da.map_blocks(lambda: 1 / 0, chunks=((9,), (9,)), dtype=float))
    with pytest.raises(ZeroDivisionError):
        write_map(bad, tmp_path / "map.tif")
    (tmp_path / "map.tif.part" / "done.json").write_text(
        '{"map": {"shape": [9, 8]}, "blocks": []}'
    )
    refused(write_map, bad, tmp_path / "map.tif", says="blocks of another map")


# -- maps of models --------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene():
    """A cube of one sensor, two bands, and rows of it with labels."""
    values = np.random.default_rng(0).normal(size=(6, 8, 2)).astype(np.float32)
    coords = {"y": 5e6 - 10.0 * np.arange(6), "x": 4e5 + 10.0 * np.arange(8)}
    cube = xr.DataArray(values, coords, ("y", "x", "band")).rio.write_crs("EPSG:32631")
    X = {"a": values.reshape(-1, 2), "b": values.reshape(-1, 2)[:, :1]}
    return X, np.arange(48) % 2, cube


def cut_off(map, path, monkeypatch):
    """Write a map until its second block, where the disk is full."""

    class Full(OSError):
        pass

    def add(self, block, added=map_files._Done.add):
        if self.blocks:
            raise Full
        added(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(map_files._Done, "add", add)
        with pytest.raises(Full):
            write_map(map, path, n_jobs=1)


@pytest.mark.parametrize("kind", ["ours", "pipeline"])
def test_a_run_resumes_with_a_copy_of_the_model_only(
    scene, kind, tmp_path, monkeypatch
):
    X, y, cube = scene
    kept, path = tmp_path / "model", tmp_path / "map.tif"
    if kind == "ours":
        model, other = (small(random_state=i).fit(X, y).export("a") for i in (0, 1))
        save_model(model, kept)
        copy = load_model(kept)
    else:
        model, other = (
            make_pipeline(PerModality(scaler), small()).fit(X, y)
            for scaler in (StandardScaler(), RobustScaler())
        )
        joblib.dump(model, kept)
        copy = joblib.load(kept)
    show = partial(predict_raster, what="predict_proba", chunks={"y": 2})
    cubes = {"a": cube}
    whole = show(model, cubes)
    cut_off(whole, path, monkeypatch)
    says = (
        f"{str(path) + '.part'!r} contains blocks of a map of another model, cube or "
        "option from an interrupted run. Delete it, or write this map to another path."
    )
    changed = {"a": cube.copy(data=cube.values + 1)}
    for lazy in (show(other, cubes), show(model, changed)):
        assert refused(write_map, lazy, path, says=says) == says
    written, add = [], map_files._Done.add
    monkeypatch.setattr(
        map_files._Done, "add", lambda self, b: (written.append(b), add(self, b))
    )
    write_map(show(copy, cubes), path)
    assert len(written) == 2  # of three
    with rasterio.open(path) as file:
        np.testing.assert_allclose(file.read(), whole, atol=1e-6)


def test_names_of_maps_differ_by_what_they_show(scene):
    X, y, cube = scene
    clf = small(cv=2, max_epochs=1).fit(X, y)
    cubes = {"a": cube, "b": cube.isel(band=[0])}

    def name(model=clf, **options):
        return predict_raster(model, cubes, chunks={"y": 2}, **options).data.name

    sizes = {"what": "predict_set_size"}
    again = clone(clf).fit(X, y)
    names = [
        name(),
        name(nodata=0),
        name(what="predict_proba"),
        name(**sizes),
        name(**sizes, confidence_level=0.8),
    ]
    assert name() == names[0] == name(again)
    names.append(name(again.set_params(predict_modality="a")))
    assert len(set(names)) == len(names)


def test_a_map_in_memory_is_not_mixed_with_another(classes, tmp_path, monkeypatch):
    path = tmp_path / "map.tif"

    def fails(*args):
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(map_files, "_write_geotiff", fails)
        with pytest.raises(OSError, match="disk is full"):
            write_map(classes, path)
    other = classes.copy(data=classes.values[::-1])
    refused(write_map, other, path, says="another model, cube or option")
    write_map(classes, path)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), classes)
