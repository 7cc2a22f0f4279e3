"""Pixels of cubes as unlabelled pairs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tools import refused, small

from sklearn_colearn import ModalityDict, sample_pixels

xarray = pytest.importorskip("xarray")

N_STEPS, N_Y, N_X = 3, 8, 10


def cube(dims, bands, **attrs):
    """A Dataset whose values tell the pixel: 100 y + x, with tenths for time."""
    sizes = {"time": N_STEPS, "y": N_Y, "x": N_X}
    t, y, x = np.meshgrid(*map(np.arange, sizes.values()), indexing="ij")
    values = (100 * y + x + t / 10).astype(np.float32)
    places = {"time": 0, "y": 1, "x": 2}
    if "time" not in dims:
        values = values[0]
        places = {"y": 0, "x": 1}
    values = values.transpose([places[d] for d in dims])
    coords = {"y": np.arange(N_Y)[::-1] * 10.0, "x": np.arange(N_X) * 10.0}
    return xarray.Dataset(
        {band: (dims, values + 1000 * i) for i, band in enumerate(bands)},
        coords,
        attrs,
    )


@pytest.fixture
def cubes():
    return {
        "S1": cube(("time", "y", "x"), ["VV", "VH"]),
        "terrain": cube(("x", "y"), ["slope"]),
    }


def check(X, n):
    """Check that all rows are of one pixel each, all different."""
    number = np.asarray(X["terrain"])[:, 0]
    assert len(np.unique(number)) == n
    steps = np.arange(N_STEPS) / 10
    S1 = np.asarray(X["S1"])
    np.testing.assert_allclose(S1[..., 0], number[:, None] + steps, rtol=1e-6)
    np.testing.assert_allclose(S1[..., 1], S1[..., 0] + 1000, rtol=1e-6)
    return number


@pytest.mark.parametrize("form", ["in memory", "chunked", "arrays"])
def test_pixels_of_all_sensors(cubes, form):
    if form == "chunked":
        pytest.importorskip("dask")
        cubes = {m: c.chunk(y=3, x=4) for m, c in cubes.items()}
    if form == "arrays":
        cubes["S1"] = cubes["S1"].to_dataarray("band")
    X = sample_pixels(cubes, 40, random_state=0)
    assert isinstance(X, ModalityDict)
    assert X["S1"].shape == (40, N_STEPS, 2)
    assert X["S1"].dtype == np.float32
    number = check(X, 40)
    y, x = (number // 100).astype(int), (number % 100).astype(int)
    assert_array_equal(np.stack(list(X.ids)), 10.0 * np.stack([N_Y - 1 - y, x], axis=1))
    assert not (np.diff(number) > 0).all()
    again = sample_pixels(cubes, 40, random_state=0)
    assert_array_equal(again["S1"], X["S1"])
    other = sample_pixels(cubes, 40, random_state=1)
    assert not np.array_equal(other["S1"], X["S1"])


def test_pixels_that_one_sensor_saw_are_not_drawn(cubes):
    values = cubes["terrain"]["slope"].values
    values[:7] = np.nan  # x < 7
    cubes["S1"]["VV"][:, :5] = -9999.0
    cubes["S1"]["VH"][:, :5] = -9999.0
    with pytest.warns(UserWarning, match="Only 9 pixels"):
        X = sample_pixels(cubes, 30, nodata=-9999, random_state=0)
    number = check(X, 9)
    assert set(number // 100) == {5, 6, 7}
    assert set(number % 100) == {7, 8, 9}
    values[:] = np.nan
    refused(sample_pixels, cubes, 3, says="No pixel")


def test_every_pixel_may_be_drawn(cubes):
    counts = np.zeros(800)
    cubes["terrain"]["slope"].values[::2] = np.nan
    for seed in range(60):
        X = sample_pixels(cubes, 20, random_state=seed)
        counts[check(X, 20).astype(int)] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == N_X // 2 * N_Y
    assert 0.4 < drawn.min() / drawn.mean() < drawn.max() / drawn.mean() < 2


def test_where(cubes):
    field = cubes["terrain"]["slope"] % 2 == 0
    X = sample_pixels(cubes, 40, where=field, random_state=0)
    assert (check(X, 40) % 2 == 0).all()
    with pytest.warns(UserWarning, match="Only 40 pixels"):
        sample_pixels(cubes, 41, where=field)
    moved = field.assign_coords(x=field["x"] + 5)
    refused(sample_pixels, cubes, 3, where=moved, says="where= ... 'x'")
    # Ten metres are much even where the coordinates are millions.
    far = {m: c.assign_coords(y=c["y"] + 5e6) for m, c in cubes.items()}
    north = field.assign_coords(y=field["y"] + 5e6)
    assert len(sample_pixels(far, 40, where=north)) == 40
    moved = north.assign_coords(y=north["y"] + 10)
    refused(sample_pixels, far, 3, where=moved, says="where= ... 'y'")
    refused(sample_pixels, cubes, 3, where=field[:4], says="where= ... 'x'")
    says = "where= must be a DataArray over ['y', 'x'], or some of them; got "
    assert (
        refused(sample_pixels, cubes, 3, where=field.values, says=says)
        == f"{says}ndarray."
    )
    changing = cubes["S1"]["VV"] > 0
    refused(sample_pixels, cubes, 3, where=changing, says=f"{says}('time', 'y', 'x').")


def test_where_over_one_dimension(cubes):
    X = sample_pixels(cubes, 40, where=cubes["S1"]["x"] >= 50, random_state=0)
    assert (check(X, 40) % 100 >= 5).all()


def test_variables_without_dimensions_are_no_bands(cubes):
    placed = {m: c.assign(crs=0) for m, c in cubes.items()}
    X, same = (sample_pixels(c, 9, random_state=0) for c in (cubes, placed))
    assert X.shape == same.shape
    assert_array_equal(X["S1"], same["S1"])


def test_a_zarr_store(cubes, tmp_path):
    pytest.importorskip("zarr")
    pytest.importorskip("xarray", minversion="2024.11")
    expected = sample_pixels(cubes, 40, random_state=0)
    store = tmp_path / "pairs.zarr"
    made = sample_pixels(cubes, 40, random_state=0, out=store)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.zarr"]
    for dataset in (made, xarray.open_zarr(store, chunks=None)):
        X = ModalityDict.from_xarray(dataset)
        for m in expected:
            assert_array_equal(X[m], expected[m])
    assert made["y"].dims == ("sample",)
    before = made["S1"].to_numpy()
    sample_pixels(cubes, 8, random_state=0, out=store)
    assert xarray.open_zarr(store, chunks=None).sizes["sample"] == 8
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.zarr"]
    made = sample_pixels(cubes, 40, random_state=0, out=store)
    assert_array_equal(made["S1"], before)
    y = np.arange(40) % 2
    model = small(max_steps=2, teacher=None)
    given = [model.fit(expected, y, X_unlabeled=U).predict_proba(X) for U in (X, made)]
    assert_array_equal(*given)


def test_bands_are_chosen_by_name(cubes):
    X = sample_pixels(cubes, 4, bands={"S1": ["VH"]}, random_state=0)
    assert X["S1"].shape == (4, N_STEPS, 1)
    assert X.labels["S1"][1] == ("VH",)
    assert (X["S1"] >= 1000).all()
    turned = sample_pixels(cubes, 4, bands={"S1": ["VH", "VV"]}, random_state=0)
    assert turned.labels["S1"][1] == ("VH", "VV")
    assert_array_equal(turned["S1"][..., :1], X["S1"])


@pytest.mark.parametrize("form", ["in memory", "chunked", "turned"])
def test_images_are_cut_around_each_pixel(cubes, form):
    pytest.importorskip("dask")
    still = cubes["S1"].isel(time=0, drop=True)
    wide = still.to_dataarray("band").astype(float)
    wide = wide.pad(y=(1, 1), x=(2, 2), constant_values=np.nan)
    wide = wide.transpose("y", "x", "band").values
    if form == "chunked":
        still = still.chunk(y=3, x=4)
    if form == "turned":
        still = still.transpose("x", "y").astype(np.int32)
    cubes = {"terrain": cubes["terrain"], "S1": still}
    X = sample_pixels(cubes, 80, chip_size={"S1": (3, 4)}, random_state=0)
    assert X["S1"].shape == (80, 3, 4, 2)
    number = np.asarray(X["terrain"])[:, 0].astype(int)
    assert len(np.unique(number)) == 80
    for one, (y, x) in zip(X["S1"], np.stack(divmod(number, 100), 1), strict=True):
        assert_array_equal(one, wide[y : y + 3, x : x + 4])
    assert X.dims["S1"] == ("sample", "y_S1", "x_S1", "band_S1")


def test_images_beside_series_and_on_disk(cubes, tmp_path):
    pytest.importorskip("zarr")
    pytest.importorskip("xarray", minversion="2024.11")
    sizes = {"terrain": 3}
    X = sample_pixels(cubes, 9, chip_size=sizes, random_state=0)
    assert X["terrain"].shape == (9, 3, 3, 1)
    assert_array_equal(X["terrain"][:, 1, 1, 0], X["S1"][:, 0, 0])
    out = tmp_path / "pairs.zarr"
    kept = sample_pixels(cubes, 9, chip_size=sizes, random_state=0, out=out)
    assert_array_equal(kept["terrain"], X["terrain"])
    X_labelled = {m: np.nan_to_num(np.asarray(x)) + 0.1 for m, x in X.items()}
    model = small(max_steps=2, teacher=None, cv=2).fit(
        X_labelled, np.arange(9) % 3, X_unlabeled=kept
    )
    assert model.input_shapes_["terrain"] == (3, 3, 1)


def test_images_that_cannot_be_cut_are_refused(cubes):
    says = (
        "Images need a cube of two spatial dimensions; the cube of 'S1' has ['time', "
        "'y', 'x']. Pick a time step with cube.isel."
    )
    assert refused(sample_pixels, cubes, 3, chip_size={"S1": 3}, says=says) == says
    says = (
        "chip_size= of 'S1' must be one or two positive numbers of pixels; got "
        "(3, 3, 1)."
    )
    size = {"S1": (3, 3, 1)}
    assert refused(sample_pixels, cubes, 3, chip_size=size, says=says) == says
    says = (
        "chip_size= of 'terrain' must be one or two positive numbers of pixels; got 0."
    )
    assert refused(sample_pixels, cubes, 3, chip_size={"terrain": 0}, says=says) == says
    says = "chip_size= contains ['S7'], but cubes= only ['S1', 'terrain']."
    assert refused(sample_pixels, cubes, 3, chip_size={"S7": 3}, says=says) == says


def test_invalid_arguments_are_refused(cubes):
    refused(sample_pixels, cubes["S1"], 3, says="dict", error=TypeError)
    refused(sample_pixels, {"S1": cubes["S1"]}, 3, says="two modalities")
    refused(sample_pixels, {**cubes, "S2": 3}, 3, says="'S2'", error=TypeError)
    refused(sample_pixels, cubes, 0, says="n == 0")
    refused(sample_pixels, cubes, 3, bands={"S1": ["B9"]}, says="'B9'")
    refused(sample_pixels, cubes, 3, bands={"S7": ["B9"]}, says="'S7'")
    refused(sample_pixels, cubes, 3, nodata={"S7": 0}, says="'S7'")
    moved = cubes["terrain"].assign_coords(x=cubes["terrain"]["x"] + 5)
    refused(sample_pixels, {**cubes, "terrain": moved}, 3, says="one grid")
    small_one = cubes["terrain"].isel(x=slice(4))
    refused(sample_pixels, {**cubes, "terrain": small_one}, 3, says="one grid")


def test_the_real_cube(real_data):
    pytest.importorskip("h5netcdf")
    path = real_data("worldcereal_cube.nc")
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        optical = [name for name in opened if str(name).startswith("S2")]
        cubes = {
            "S1": opened[["S1-SIGMA0-VH", "S1-SIGMA0-VV"]],
            "S2": opened[optical],
            "terrain": opened[["slope", "elevation"]],
        }
        X = sample_pixels(cubes, 500, nodata=65535, random_state=0)
    assert X["S2"].shape == (500, 12, len(optical))
    assert np.isnan(X["S2"]).any()
    assert not (X["S2"] == 65535).any()
    assert X.labels["S2"][1] == tuple(optical)
