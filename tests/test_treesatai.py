"""fetch_treesatai, on files in the published forms and on one real plot."""

import hashlib
import io
import json
import zipfile

import h5py
import numpy as np
import pyproj
import pytest
import rasterio
from tools import refused, small

from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import fetch_treesatai, treesatai
from sklearn_colearn.datasets.downloads import File

TRAIN = ["Abies_alba_1_1005_WEFL_NLF", "Alnus_spec._5_13114_WEFL_NLF", "Cleared_1_7_BI"]
TEST = ["Fagus_sylvatica_9_29995_WEFL_NLF"]
#: Cleared_1_7_BI has no genus above .07.
PLOTS = [*TRAIN[:2], *TEST]
LABELS = {
    "Abies_alba_1_1005_WEFL_NLF.tif": [["Abies", 0.93], ["Quercus", 0.07]],
    "Alnus_spec._5_13114_WEFL_NLF.tif": [["Alnus", 0.5], ["Betula", 0.0701]],
    "Fagus_sylvatica_9_29995_WEFL_NLF.tif": [["Fagus", 1.0]],
    "Cleared_1_7_BI.tif": [["Cleared", 0.05]],
    "Pinus_nigra_1_2_BI.tif": [["Pinus", 1.0]],
}
#: Lower left corners of the boxes in metres, EPSG:25832.
PLACES = dict(zip([*TRAIN, *TEST], [565642, 552245, 600000, 420000], strict=True))


def boxes(degrees=False):
    """Return bb_60m.GeoJSON: boxes of 60 m, in metres or degrees."""
    features = []
    for number, (name, east) in enumerate(PLACES.items()):
        size = 0.001 if degrees else 60
        x, y = (9.5 + number, 52.25) if degrees else (east, 5770920)
        ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
        shape = {"type": "Polygon", "coordinates": [ring]}
        if number == 1:
            shape = {"type": "MultiPolygon", "coordinates": [[ring]]}
        features.append(
            {"type": "Feature", "properties": {"IMG_ID": name}, "geometry": shape}
        )
    made = {"type": "FeatureCollection", "features": features}
    if not degrees:
        name = "urn:ogc:def:crs:EPSG::25832"
        made["crs"] = {"type": "name", "properties": {"name": name}}
    return made


def zipped(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


# files of a plot


def days_of(plot, sensor):
    """Return days of the year, differing in number among plots and sensors."""
    number = PLOTS.index(plot)
    first, step, count = {
        "sen-1-asc": (3, 30, 5),
        "sen-1-des": (6, 20, 7),
        "sen-2": (2, 10, 9),
    }[sensor]
    return [first + number + step * i for i in range(count - number)]


def products_of(sensor, days):
    dates = [np.datetime64("2020-01-01") + day for day in days]
    stamps = [str(date).replace("-", "") for date in dates]
    if sensor == "sen-2":
        return [f"S2A_MSIL2A_{d}T102421_N0213_R065_T32UNC_{d}T115419" for d in stamps]
    return [
        f"S1B_IW_GRDH_1SDV_{d}T053252_{d}T053317_019692_025399_6B7A" for d in stamps
    ]


def series_of(plot):
    """Return what the HDF5 file of a plot holds, by key."""
    rng = np.random.default_rng(PLOTS.index(plot))
    made = {}
    for sensor, bands in (("sen-1-asc", 2), ("sen-1-des", 2), ("sen-2", 10)):
        days = days_of(plot, sensor)
        shape = (len(days), bands, 6, 6)
        values = rng.uniform(0.01, 0.4, size=shape)
        if sensor == "sen-2":
            values = np.round(rng.uniform(1, 5000, size=shape))
            masks = np.zeros((len(days), 10, 6, 6))
            masks[:, :2] = rng.integers(0, 40, size=(len(days), 2, 6, 6))
            made["sen-2-masks"] = masks.astype("float32")
        made[f"{sensor}-data"] = values.astype("float32")
        made[f"{sensor}-products"] = products_of(sensor, days)
    return made


def hdf5(contents):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in contents.items():
            kind = h5py.string_dtype() if isinstance(values, list) else None
            file.create_dataset(name, data=values, dtype=kind)
    return buffer.getvalue()


def geotiff(bands):
    n_bands, height, width = bands.shape
    options = {
        **{"driver": "GTiff", "dtype": bands.dtype, "count": n_bands},
        **{"height": height, "width": width, "crs": "EPSG:32632"},
        "transform": rasterio.Affine(10, 0, 552241.7, 0, -10, 5728211.6),
    }
    with rasterio.MemoryFile() as file:
        with file.open(**options) as image:
            image.write(bands)
        return file.read()


def chips_of(plot):
    rng = np.random.default_rng(PLOTS.index(plot))
    s1 = rng.uniform(-20, -5, size=(3, 6, 6)).astype("float32")
    return {"s1": s1, "s2": rng.integers(1, 9000, (12, 6, 6)).astype("uint16")}


@pytest.fixture
def serve(web, monkeypatch):
    """Return a function that serves archives under their true checksums."""

    def serve(**changes):
        """Serve archives; `changes` replace some, by the names of their tables."""
        lists = {"train_filenames.lst": TRAIN, "test_filenames.lst": TEST}
        labels = "labels/TreeSatBA_v9_60m_multi_labels.json"
        tables = {
            "PLOT_FILES": {
                "labels.zip": zipped({labels: json.dumps(LABELS)}),
                "geojson.zip": zipped({"geojson/bb_60m.GeoJSON": json.dumps(boxes())}),
                **{
                    name: "".join(f"{plot}.tif\n" for plot in plots).encode()
                    for name, plots in lists.items()
                },
            },
            "SERIES_FILES": {
                "sentinel-ts.zip": zipped(
                    {
                        f"sentinel-ts/{plot}_2020.h5": hdf5(series_of(plot))
                        for plot in PLOTS
                    }
                )
            },
            "CHIP_FILES": {
                f"{sensor}.zip": zipped(
                    {
                        f"{sensor}/{size}/{plot}.tif": geotiff(chips_of(plot)[sensor])
                        if size == "60m"
                        else b"not looked at"
                        for size in ("200m", "60m")
                        for plot in PLOTS
                    }
                )
                for sensor in ("s1", "s2")
            },
        }
        for table, contents in tables.items():
            contents |= changes.get(table, {})
        if "AERIAL_FILES" in changes:
            tables["AERIAL_FILES"] = changes["AERIAL_FILES"]
        for table, contents in tables.items():
            web.files |= {f"/{name}": content for name, content in contents.items()}
            files = {
                name: File(
                    f"{web.url}/{name}", "sha256:" + hashlib.sha256(c).hexdigest()
                )
                for name, c in contents.items()
            }
            monkeypatch.setattr(treesatai, table, files)

    return serve


def changed_series(**changes):
    """Return an archive of series; `changes` alter what the first plot holds."""
    contents = {plot: series_of(plot) for plot in PLOTS}
    for key, change in changes.items():
        key = key.replace("_", "-")
        contents[PLOTS[0]][key] = change(contents[PLOTS[0]][key])
    files = {f"{plot}_2020.h5": hdf5(held) for plot, held in contents.items()}
    return {"sentinel-ts.zip": zipped(files)}


# plots


def test_urls_and_checksums_are_the_published_ones():
    zenodo = "https://zenodo.org/records/6780578/files"
    assert treesatai.PLOT_FILES["labels.zip"] == (
        f"{zenodo}/labels.zip",
        "md5:656f1b68ec9ab70afd02bb127b75bb24",
    )
    sums = {n: f.checksum[4:] for n, f in treesatai.PLOT_FILES.items()}
    assert sums["train_filenames.lst"] == "a1a0148e8120b0268f76d2e98a68436f"
    assert sums["test_filenames.lst"] == "2166903d947f0025f61e342da466f917"
    chips = {name: file.checksum for name, file in treesatai.CHIP_FILES.items()}
    assert chips == {
        "s1.zip": "md5:bed4fc8cb65da46a24ec1bc6cea2763c",
        "s2.zip": "md5:453ba69056aa33a3c6b97afb7b6afadb",
    }
    assert treesatai.SERIES_FILES["sentinel-ts.zip"] == (
        "https://huggingface.co/datasets/IGNF/TreeSatAI-Time-Series/resolve/main/"
        "sentinel-ts.zip",
        "sha256:06648ae998ec185c39747a06a8957e311e8df854af8a1fa59329b6a2c7db48d7",
    )
    assert len(treesatai.AERIAL_FILES) == 20


def test_plots_labels_and_split(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(data_home=tmp_path)
    # In the order of the lists, without the plot of which no genus covers enough.
    assert bunch.data.ids.tolist() == PLOTS
    assert bunch.is_test.tolist() == [False, False, True]
    assert bunch.target.shape == bunch.shares.shape == (3, 15)
    named = [
        [name for name, there in zip(bunch.target_names, row, strict=True) if there]
        for row in bunch.target
    ]
    # A share of .07 is not above .07.
    assert named == [["Abies"], ["Alnus", "Betula"], ["Fagus"]]
    assert bunch.shares[0, bunch.target_names.index("Quercus")] == 0.07
    assert "CC BY 4.0" in bunch.DESCR


def test_places_from_metres(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(data_home=tmp_path)
    to_degrees = pyproj.Transformer.from_crs(25832, 4326)  # latitude comes first
    expected = [to_degrees.transform(PLACES[p] + 30, 5770950) for p in PLOTS]
    np.testing.assert_allclose(bunch.latlon, expected, atol=1e-6)
    assert bunch.latlon[0] == pytest.approx([52.084, 9.958], abs=0.01)


def test_places_from_degrees(serve, tmp_path):
    held = zipped({"bb_60m.geojson": json.dumps(boxes(degrees=True))})
    serve(PLOT_FILES={"geojson.zip": held})
    bunch = fetch_treesatai(data_home=tmp_path)
    expected = [[52.2505, 9.5005], [52.2505, 10.5005], [52.2505, 12.5005]]
    np.testing.assert_allclose(bunch.latlon, expected, atol=1e-9)


# series


def test_series_with_own_dates(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(data_home=tmp_path)
    X = bunch.data
    assert {name: X[name].shape for name in X} == {
        "S1_asc": (3, 5, 2),
        "S1_des": (3, 7, 2),
        "S2": (3, 9, 10),
        "S1_asc_times": (3, 5),
        "S1_des_times": (3, 7),
        "S2_times": (3, 9),
    }
    assert bunch.times == {name: f"{name}_times" for name in ("S1_asc", "S1_des", "S2")}
    for name, key in (
        ("S1_asc", "sen-1-asc"),
        ("S1_des", "sen-1-des"),
        ("S2", "sen-2"),
    ):
        assert X.labels[name] == (None, tuple(bunch.feature_names[name]))
        assert X[name].dtype == np.float32
        assert X[f"{name}_times"].dtype == "datetime64[D]"
        for row, plot in enumerate(PLOTS):
            days = np.datetime64("2020-01-01") + np.array(days_of(plot, key))
            n = len(days)
            assert X[f"{name}_times"][row, :n].tolist() == days.tolist()
            assert np.isnat(X[f"{name}_times"][row, n:]).all()
            values = series_of(plot)[f"{key}-data"].mean(axis=(2, 3))
            if name != "S2":
                values = 10 * np.log10(values)
            np.testing.assert_allclose(X[name][row, :n], values, rtol=1e-5)
            assert np.isnan(X[name][row, n:]).all()


def test_bands_of_a_series_have_the_published_order(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(data_home=tmp_path)
    expected = ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"]
    assert bunch.feature_names["S2"] == expected
    assert bunch.feature_names["S1_des"] == ["VV", "VH"]


def test_estimators_take_the_dates(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(data_home=tmp_path, lazy=True)
    clf = small(encoder="ltae", encoder_params={}, times=bunch.times, max_epochs=1)
    clf.fit(bunch.data, bunch.target)
    assert list(clf.modalities_) == ["S1_asc", "S1_des", "S2"]
    assert clf.predict(bunch.data, modality="S1_des").shape == (3, 15)


def test_power_is_averaged_before_it_becomes_decibels(serve, tmp_path):
    def two_powers(data):
        data[1] = 0.02
        data[1, :, :, :3] = 0.2
        return data

    serve(SERIES_FILES=changed_series(sen_1_asc_data=two_powers))
    X, _ = fetch_treesatai(data_home=tmp_path, return_X_y=True)
    np.testing.assert_allclose(X["S1_asc"][0, 1], 10 * np.log10(0.11), rtol=1e-5)


def test_no_power_is_missing(serve, tmp_path):
    def some_zeros(data):
        data[0, 0, :2] = [[0], [1.6e-12]]  # VV of twelve pixels
        data[1, 1] = 0  # VH of a whole image
        data[2] = 0  # a whole image
        data[3, :, 0, 0] = np.nan
        return data

    serve(SERIES_FILES=changed_series(sen_1_asc_data=some_zeros))
    X, _ = fetch_treesatai(data_home=tmp_path, return_X_y=True)
    power = series_of(PLOTS[0])["sen-1-asc-data"]
    found = 10 ** (X["S1_asc"][0] / 10)
    np.testing.assert_allclose(found[0, 0], power[0, 0, 2:].mean(), rtol=1e-5)
    assert np.isnan(found[1, 1])
    np.testing.assert_allclose(found[1, 0], power[1, 0].mean(), rtol=1e-5)
    # The third image is none; the fourth takes its place.
    days = np.datetime64("2020-01-01") + np.array(days_of(PLOTS[0], "sen-1-asc"))
    assert X["S1_asc_times"][0, :4].tolist() == days[[0, 1, 3, 4]].tolist()
    rest = power[3].reshape(2, 36)[:, 1:].mean(axis=1)
    np.testing.assert_allclose(found[2], rest, rtol=1e-5)
    assert X["S1_asc"].shape == (3, 4, 2)


def cloudy(masks):
    masks[0, 1, :3] = 51  # clouds over half of an image
    masks[1, 0] = 100  # snow all over
    masks[2, 1] = 50  # at the limit
    masks[3, 2:] = 100  # planes that do not count
    return masks


def test_snow_and_clouds_are_left_out(serve, tmp_path):
    serve(SERIES_FILES=changed_series(sen_2_masks=cloudy))
    X, _ = fetch_treesatai(data_home=tmp_path, return_X_y=True)
    values = series_of(PLOTS[0])["sen-2-data"]
    days = np.datetime64("2020-01-01") + np.array(days_of(PLOTS[0], "sen-2"))
    assert X["S2_times"][0, :8].tolist() == days[[0, *range(2, 9)]].tolist()
    np.testing.assert_allclose(X["S2"][0, 0], values[0, :, 3:].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(X["S2"][0, 1], values[2].mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(X["S2"][0, 2], values[3].mean((1, 2)), rtol=1e-5)
    # Other limits have arrays of their own.
    X, _ = fetch_treesatai(data_home=tmp_path, max_probability=100, return_X_y=True)
    np.testing.assert_allclose(X["S2"][0], values.mean((2, 3)), rtol=1e-5)


def test_snow_and_clouds_as_bands(serve, tmp_path):
    serve(SERIES_FILES=changed_series(sen_2_masks=cloudy))
    bunch = fetch_treesatai(data_home=tmp_path, masks="bands")
    held = series_of(PLOTS[0])
    assert bunch.feature_names["S2"][-2:] == ["snow", "cloud"]
    assert bunch.data.labels["S2"][-1][-2:] == ("snow", "cloud")
    masks = cloudy(held["sen-2-masks"])[:, :2]
    expected = np.concatenate([held["sen-2-data"], masks], axis=1).mean((2, 3))
    np.testing.assert_allclose(bunch.data["S2"][0], expected, rtol=1e-5)


def test_pixels_without_data_are_left_out(serve, tmp_path):
    def no_data(data):
        data[0, :, 0] = 0
        return data

    serve(SERIES_FILES=changed_series(sen_2_data=no_data))
    X, _ = fetch_treesatai(data_home=tmp_path, return_X_y=True)
    values = series_of(PLOTS[0])["sen-2-data"]
    np.testing.assert_allclose(X["S2"][0, 0], values[0, :, 1:].mean((1, 2)), rtol=1e-5)


def test_the_centre_of_a_plot(serve, tmp_path):
    serve()
    X, _ = fetch_treesatai(data_home=tmp_path, pixels="centre", return_X_y=True)
    held = series_of(PLOTS[1])
    middle = held["sen-2-data"][..., 2:4, 2:4].mean((2, 3))
    np.testing.assert_allclose(X["S2"][1, :8], middle, rtol=1e-5)
    power = held["sen-1-des-data"][..., 2:4, 2:4].mean((2, 3))
    np.testing.assert_allclose(X["S1_des"][1, :6], 10 * np.log10(power), rtol=1e-5)


def test_images_of_a_day_are_put_together_and_days_in_order(serve, tmp_path):
    def shuffled(products):
        return [products[3], products[1], *products[:1] * 2, *products[4:]]

    serve(SERIES_FILES=changed_series(sen_1_des_products=shuffled))
    X, _ = fetch_treesatai(data_home=tmp_path, return_X_y=True)
    days = np.datetime64("2020-01-01") + np.array(days_of(PLOTS[0], "sen-1-des"))
    assert X["S1_des_times"][0, :6].tolist() == days[[0, 1, 3, 4, 5, 6]].tolist()
    power = series_of(PLOTS[0])["sen-1-des-data"].mean((2, 3))
    expected = [power[2:4].mean(axis=0), power[1], power[0], *power[4:]]
    np.testing.assert_allclose(X["S1_des"][0, :6], 10 * np.log10(expected), rtol=1e-5)


# chips and aerial images


def test_chips(serve, tmp_path):
    serve()
    bunch = fetch_treesatai(form="chips", data_home=tmp_path)
    X = bunch.data
    assert {name: X[name].shape for name in X} == {
        "S1": (3, 6, 6, 2),
        "S2": (3, 6, 6, 12),
    }
    assert bunch.times == {}
    assert X.labels["S1"] == (None, None, ("VV", "VH"))
    assert bunch.feature_names["S2"] == [
        *("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
    ]
    published = [
        *("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9")
    ]
    for row, plot in enumerate(PLOTS):
        chips = chips_of(plot)
        np.testing.assert_array_equal(X["S1"][row].transpose(2, 0, 1), chips["s1"][:2])
        for place, band in enumerate(bunch.feature_names["S2"]):
            expected = chips["s2"][published.index(band)]
            np.testing.assert_array_equal(X["S2"][row, ..., place], expected)


def test_no_data_of_chips(serve, tmp_path):
    chips = {plot: chips_of(plot) for plot in PLOTS}
    chips[PLOTS[0]]["s1"][0, 2, 3] = -9999
    chips[PLOTS[0]]["s2"][:, 1, 4] = 0
    chips[PLOTS[0]]["s2"][0, 0, 0] = 0  # one band alone may be 0
    archives = {
        f"{sensor}.zip": zipped(
            {f"60m/{plot}.tif": geotiff(own[sensor]) for plot, own in chips.items()}
        )
        for sensor in ("s1", "s2")
    }
    serve(CHIP_FILES=archives)
    X, _ = fetch_treesatai(form="chips", data_home=tmp_path, return_X_y=True)
    assert np.argwhere(np.isnan(X["S1"])).tolist() == [[0, 2, 3, 0]]
    gaps = np.isnan(X["S2"])
    assert np.argwhere(gaps.all(axis=-1)).tolist() == [[0, 1, 4]]
    assert gaps.sum() == 12


def test_lazily_read_chips_are_learned_from(serve, tmp_path):
    serve()
    X, y = fetch_treesatai(form="chips", lazy=True, data_home=tmp_path, return_X_y=True)
    assert isinstance(X["S2"].base, np.memmap)
    in_memory, _ = fetch_treesatai(form="chips", data_home=tmp_path, return_X_y=True)
    assert not isinstance(in_memory["S2"].base, np.memmap)
    np.testing.assert_array_equal(X["S2"], in_memory["S2"])
    clf = CoLearnClassifier(encoder="mlp", cv=None, max_epochs=1).fit(X, y)
    assert clf.predict(X.select("S1")).shape == (3, 15)


def test_aerial_images(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(treesatai, "AERIAL_SIDE", 5)
    rng = np.random.default_rng(0)
    images = {p: rng.integers(0, 255, (4, 5, 5)).astype("uint8") for p in PLOTS}
    archives = {
        f"aerial_60m_{number}.zip": zipped({f"{plot}.tif": geotiff(image)})
        for number, (plot, image) in enumerate(images.items())
    }
    serve(AERIAL_FILES=archives)
    bunch = fetch_treesatai(form="chips", aerial=True, data_home=tmp_path)
    assert bunch.feature_names["aerial"] == ["IR", "G", "B", "R"]
    assert list(bunch.data) == ["S1", "S2", "aerial"]
    aerial = bunch.data["aerial"]
    assert aerial.shape == (3, 5, 5, 4)
    assert aerial.dtype == np.uint8
    assert isinstance(aerial.base, np.memmap)
    for row, plot in enumerate(PLOTS):
        np.testing.assert_array_equal(aerial[row].transpose(2, 0, 1), images[plot])


# the real plot


def test_real_plot(serve, tmp_path, real_data, monkeypatch):
    folder = real_data("treesatai_ts")
    plot = PLOTS[0]
    files = {
        "PLOT_FILES": {
            "train_filenames.lst": f"{plot}.tif\n".encode(),
            "test_filenames.lst": b"",
        },
        "SERIES_FILES": {
            "sentinel-ts.zip": zipped(
                {f"sentinel-ts/{plot}_2020.h5": (folder / f"{plot}.h5").read_bytes()}
            )
        },
        "AERIAL_FILES": {
            "aerial_60m_abies_alba.zip": zipped(
                {f"{plot}.tif": (folder / f"{plot}.tif").read_bytes()}
            )
        },
    }
    serve(**files)
    X = fetch_treesatai(aerial=True, data_home=tmp_path).data
    with h5py.File(folder / f"{plot}.h5") as file:
        held = {name: file[name][()] for name in file}
    days = [name.decode().split("_")[2][:8] for name in held["sen-2-products"]]
    clear = held["sen-2-masks"][:, :2].max(axis=1) <= 50  # (T, 6, 6)
    row = 0
    for day, values, seen in zip(days, held["sen-2-data"], clear, strict=True):
        if seen.any():
            assert str(X["S2_times"][0, row]).replace("-", "") == day
            expected = values[:, seen].mean(axis=1)
            np.testing.assert_allclose(X["S2"][0, row], expected, rtol=1e-4)
            row += 1
    assert X["S2"].shape == (1, row, 10)
    assert 50 < row < len(days) == 146
    # Vegetation: more infrared than red in summer.
    summer = (X["S2_times"][0] > np.datetime64("2020-06-01")) & (
        X["S2_times"][0] < np.datetime64("2020-09-01")
    )
    assert np.median(X["S2"][0, summer, 6] / X["S2"][0, summer, 2]) > 3
    # 86 images of 61 days; two values next to nothing are left out.
    assert X["S1_asc"].shape == (1, 60, 2)
    assert X["S1_des"].shape == (1, 61, 2)
    assert -25 < X["S1_des"].min() < X["S1_des"].max() < 0
    assert (X["S1_des"][..., 0] > X["S1_des"][..., 1]).mean() > 0.9  # VV above VH
    aerial = X["aerial"]
    assert aerial.shape == (1, 304, 304, 4)
    with rasterio.open(folder / f"{plot}.tif") as image:
        np.testing.assert_array_equal(aerial[0, ..., 0], image.read(1))
    assert aerial[..., 0].mean() > 1.5 * aerial[..., 1:].mean()  # infrared


# kept files and errors


def test_archives_are_not_needed_once_read(serve, web, tmp_path):
    serve()
    first = fetch_treesatai(data_home=tmp_path)
    folder = tmp_path / "treesatai"
    left = {path.name for path in folder.iterdir()}
    assert left == {
        *treesatai.PLOT_FILES,
        "sentinel-ts.zip",
        "plots",
        "series-mean-drop50",
    }
    for name in [*treesatai.PLOT_FILES, "sentinel-ts.zip"]:
        (folder / name).unlink()
    again = fetch_treesatai(data_home=tmp_path, download_if_missing=False)
    assert web.requests == 5
    for name in first.data:
        np.testing.assert_array_equal(again.data[name], first.data[name])
    np.testing.assert_array_equal(again.latlon, first.latlon)


def test_missing_files_without_download(tmp_path):
    options = {"data_home": tmp_path, "download_if_missing": False}
    expected = f"labels.zip is not in {tmp_path / 'treesatai'}"
    refused(fetch_treesatai, **options, says=expected, error=OSError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"form": "x"}, ValueError, "form must be 'series' or 'chips'; got 'x'."),
        ({"pixels": "x"}, ValueError, "pixels must be 'mean' or 'centre'; got 'x'."),
        ({"masks": "x"}, ValueError, "masks must be 'drop' or 'bands'; got 'x'."),
        ({"max_probability": 101}, ValueError, "max_probability ... 101 ... 100"),
        ({"max_probability": "50"}, TypeError, "max_probability ... str"),
    ],
)
def test_wrong_parameters(tmp_path, options, error, expected):
    refused(fetch_treesatai, data_home=tmp_path, **options, says=expected, error=error)


def labels_zip(labels, name="TreeSatBA_v9_60m_multi_labels.json"):
    content = labels if isinstance(labels, str) else json.dumps(labels)
    return {"labels.zip": zipped({name: content})}


def boxes_without(plot):
    made = boxes()
    made["features"] = [
        feature
        for feature in made["features"]
        if feature["properties"]["IMG_ID"] != plot
    ]
    return {"geojson.zip": zipped({"bb_60m.GeoJSON": json.dumps(made)})}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            labels_zip(LABELS, "other.json"),
            "Expected one file in ... labels.zip ... got 0.",
        ),
        (labels_zip("{"), "multi_labels.json in ... labels.zip"),
        (labels_zip({}), "None of the listed plots has a label."),
        (
            labels_zip({f"{PLOTS[0]}.tif": [["Oak", 1.0]]}),
            f"Plot {PLOTS[0]!r} has the unknown genus 'Oak'; expected one of ['Abies'",
        ),
        (
            boxes_without(PLOTS[1]),
            f"bb_60m.GeoJSON lacks 1 of 3 plots, such as {PLOTS[1]!r}.",
        ),
    ],
)
def test_malformed_plots(serve, tmp_path, files, expected):
    serve(PLOT_FILES=files)
    refused(fetch_treesatai, data_home=tmp_path, says=expected)
    assert set(path.name for path in (tmp_path / "treesatai").iterdir()) == set(
        treesatai.PLOT_FILES
    )


def series_zip(names):
    held = hdf5(series_of(PLOTS[0]))
    return {"sentinel-ts.zip": zipped(dict.fromkeys(names, held))}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            series_zip([f"{PLOTS[0]}_2020.h5", f"{PLOTS[2]}.h5"]),
            f"sentinel-ts.zip lacks 1 of 3 plots, such as {PLOTS[1]!r}.",
        ),
        (
            series_zip([f"{PLOTS[0]}_2020.h5", f"{PLOTS[0]}_2019.h5"]),
            f"Plot {PLOTS[0]!r} has two files; one is '{PLOTS[0]}_2019'.",
        ),
        (
            {"sentinel-ts.zip": zipped({f"{PLOTS[0]}.h5": b"rubbish"})},
            f"{PLOTS[0]}.h5 in ... sentinel-ts.zip cannot be read",
        ),
        (
            changed_series(sen_2_products=lambda names: [*names[:-1], "S2A_no_date"]),
            "cannot be read: no date in the name 'S2A_no_date'",
        ),
        (
            changed_series(sen_2_data=lambda data: data[:, :9]),
            "sen-2-data has shape (9, 9, 6, 6); expected (9, 10, 6, 6)",
        ),
        ({"sentinel-ts.zip": zipped({"../a.h5": b""})}, "'../a.h5' has an unsafe path"),
    ],
)
def test_malformed_series(serve, tmp_path, files, expected):
    serve(SERIES_FILES=files)
    refused(fetch_treesatai, data_home=tmp_path, says=expected)
    left = {path.name for path in (tmp_path / "treesatai").iterdir()}
    assert left == {*treesatai.PLOT_FILES, "sentinel-ts.zip", "plots"}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"rubbish", f"{PLOTS[0]}.tif cannot be read"),
        (
            geotiff(np.ones((2, 6, 6), "float32")),
            f"{PLOTS[0]}.tif has shape (6, 6, 2); expected (6, 6, 3).",
        ),
    ],
)
def test_malformed_chips(serve, tmp_path, image, expected):
    serve(CHIP_FILES={"s1.zip": zipped({f"60m/{PLOTS[0]}.tif": image})})
    refused(fetch_treesatai, form="chips", data_home=tmp_path, says=expected)
