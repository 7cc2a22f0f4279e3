"""fetch_cropharvest, on files in the published form."""

import hashlib
import io
import json
import tarfile

import h5py
import numpy as np
import pytest
from tools import refused, small

from sklearn_colearn.datasets import cropharvest, fetch_cropharvest
from sklearn_colearn.datasets.downloads import File

BANDS = [
    *("VV", "VH", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"),
    *("temperature_2m", "total_precipitation", "elevation", "slope", "NDVI"),
]
#: Index, data set, is_crop, is_test, group; index 3 has no features.
ROWS = [
    (0, "togo", True, True, None),
    (0, "kenya", True, False, "cereals"),
    (1, "kenya", False, False, None),
    (2, "kenya", False, False, "non_crop"),
    (3, "kenya", True, False, "oilseeds"),
    (7, "lem-brazil", True, False, None),
    (8, "lem-brazil", True, False, "cereals"),
]
IDS = ["0_kenya", "1_kenya", "2_kenya", "7_lem-brazil", "8_lem-brazil"]


def published_array(seed):
    """Return an array as the authors' code makes it, its NDVI of B7 and B3."""
    rng = np.random.default_rng(seed)
    array = rng.uniform(100, 4000, size=(12, 18))
    array[:, :2] = rng.uniform(-25, -5, size=(12, 2))
    array[:, 13] = rng.uniform(270, 300, size=12)
    array[:, 14] = rng.uniform(0, 0.01, size=12)
    array[:, 15:17] = rng.uniform(0, 30, size=2)
    of = {band: array[:, column] for column, band in enumerate(BANDS)}
    of["NDVI"][:] = (of["B7"] - of["B3"]) / (of["B7"] + of["B3"])
    return array


ARRAYS = {
    f"{index}_{name}": published_array(seed)
    for seed, (index, name, *_) in enumerate(ROWS)
    if index != 3
}
ARRAYS["0_kenya"][5, [4, 8]] = 0  # B4 and B8


def feature(index, name, is_crop, is_test, group):
    lat, lon = 1.5 + index, -40.25 - index
    return {
        "type": "Feature",
        "properties": {
            "harvest_date": None,
            "planting_date": None,
            "label": "maize" if group == "cereals" else None,
            "classification_label": group,
            "index": index,
            "is_crop": int(is_crop),
            "lat": lat,
            "lon": lon,
            "dataset": name,
            "collection_date": f"2020-03-{10 + index}T00:00:00",
            "export_end_date": "2021-02-01T00:00:00",
            "is_test": is_test,
            "externally_contributed_dataset": False,
        },
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
    }


def hdf5(**arrays):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return content.getvalue()


def features_archive(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        folder = tarfile.TarInfo("features/arrays")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(f"features/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


LABELS = {"type": "FeatureCollection", "features": [feature(*row) for row in ROWS]}
FEATURES = {
    "normalizing_dict.h5": hdf5(mean=np.zeros(18), std=np.ones(18)),
    **{f"arrays/{name}.h5": hdf5(array=array) for name, array in ARRAYS.items()},
}


@pytest.fixture
def serve(web, monkeypatch):
    """Return a function that serves files under their true checksums."""

    def serve(labels=LABELS, features=FEATURES):
        if not isinstance(labels, bytes):
            labels = json.dumps(labels).encode()
        contents = {
            "labels.geojson": labels,
            "features.tar.gz": features_archive(features),
        }
        web.files |= {f"/{name}": content for name, content in contents.items()}
        files = {
            name: File(f"{web.url}/{name}", f"md5:{hashlib.md5(content).hexdigest()}")
            for name, content in contents.items()
        }
        monkeypatch.setattr(cropharvest, "FILES", files)

    return serve


def column(name):
    return np.stack([ARRAYS[row][:, BANDS.index(name)] for row in IDS])


def test_urls_and_checksums_are_the_published_ones():
    record = "https://zenodo.org/record/10251170/files/"
    published = {
        "labels.geojson": "54a5070f103bc3e635afba27c139ac8d",
        "features.tar.gz": "d757e6c32cb6d65aa517f003607f6f81",
    }
    found = dict(cropharvest.FILES)
    assert found == {
        name: (f"{record}{name}?download=1", f"md5:{own}")
        for name, own in published.items()
    }


def test_crop_or_not(serve, tmp_path):
    serve()
    bunch = fetch_cropharvest(data_home=tmp_path)
    # Without the test row, and the row without features.
    assert bunch.data.ids.tolist() == IDS
    assert bunch.target.tolist() == [1, 0, 0, 1, 1]
    assert bunch.target_names == ["non_crop", "crop"]
    assert bunch.dataset.tolist() == ["kenya"] * 3 + ["lem-brazil"] * 2
    assert bunch.latlon.tolist() == [[1.5 + i, -40.25 - i] for i in (0, 1, 2, 7, 8)]
    assert bunch.date.astype(str).tolist() == [
        f"2020-03-{10 + i}" for i in (0, 1, 2, 7, 8)
    ]
    assert bunch.step_dates.dtype == bunch.date.dtype == "datetime64[D]"
    assert bunch.step_dates[0].astype(str).tolist()[::11] == [
        "2020-02-07",
        "2021-01-02",
    ]
    shapes = {name: bunch.data[name].shape for name in bunch.data}
    assert shapes == {"S1": (5, 12, 2), "S2": (5, 12, 12), "weather": (5, 12, 2)}
    assert bunch.data.labels["S1"] == (None, ("VV", "VH"))
    for name in bunch.data:
        assert bunch.data[name].dtype == np.float32
        assert bunch.data.labels[name] == (None, tuple(bunch.feature_names[name]))
        for place, band in enumerate(bunch.feature_names[name]):
            if band != "NDVI":
                published = column(band).astype(np.float32)
                np.testing.assert_array_equal(bunch.data[name][..., place], published)
    terrain = np.stack([column("elevation"), column("slope")], axis=-1)[:, 0]
    np.testing.assert_array_equal(bunch.static["terrain"], terrain.astype(np.float32))
    assert "CC BY-SA 4.0" in bunch.DESCR


def test_ndvi_is_of_the_right_bands(serve, tmp_path):
    serve()
    bunch = fetch_cropharvest(data_home=tmp_path)
    assert bunch.feature_names["S2"][-1] == "NDVI"
    ndvi = bunch.data["S2"][..., -1]
    red, infrared = column("B4"), column("B8")
    total = np.where(red + infrared == 0, 1, red + infrared)
    np.testing.assert_allclose(ndvi, (infrared - red) / total, rtol=1e-5, atol=1e-6)
    assert ndvi[0, 5] == 0  # where both bands are
    assert np.abs(ndvi - column("NDVI")).mean() > 0.1


def test_groups_of_crops(serve, tmp_path):
    serve()
    fetch_cropharvest(data_home=tmp_path)
    bunch = fetch_cropharvest(task="multicrop", data_home=tmp_path)
    assert bunch.target.tolist() == ["cereals", "non_crop", "cereals"]
    assert bunch.target_names == ["cereals", "non_crop"]
    assert bunch.data.ids.tolist() == ["0_kenya", "2_kenya", "8_lem-brazil"]
    assert bunch.latlon.shape == (3, 2)
    expected = column("VH")[[0, 2, 4]].astype(np.float32)
    np.testing.assert_array_equal(bunch.data["S1"][..., 1], expected)


def test_files_are_read_once_and_then_not_needed(serve, web, tmp_path):
    serve()
    first = fetch_cropharvest(data_home=tmp_path)
    folder = tmp_path / "cropharvest"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("arrays", "features.tar.gz", "labels.geojson")
    ]
    for name in cropharvest.FILES:
        (folder / name).unlink()
    X, y = fetch_cropharvest(
        data_home=str(tmp_path), download_if_missing=False, return_X_y=True
    )
    assert web.requests == 2
    np.testing.assert_array_equal(X["S2"], first.data["S2"])
    np.testing.assert_array_equal(y, first.target)


def test_an_estimator_learns_from_it(serve, tmp_path):
    serve()
    X, y = fetch_cropharvest(data_home=tmp_path, return_X_y=True)
    clf = small(max_epochs=1).fit(X, y)
    assert clf.predict(X.select("S1")).shape == (5,)


def test_unknown_task(tmp_path):
    expected = "task must be 'crop' or 'multicrop'; got 'maize'."
    message = refused(fetch_cropharvest, task="maize", data_home=tmp_path, says="")
    assert message == expected


def test_missing_files_without_download(tmp_path):
    options = {"data_home": tmp_path, "download_if_missing": False}
    expected = f"labels.geojson is not in {tmp_path / 'cropharvest'}"
    refused(fetch_cropharvest, **options, says=expected, error=OSError)
    assert list(tmp_path.iterdir()) == []


def labels_with(**changes):
    changed = json.loads(json.dumps(LABELS))
    for name, value in changes.items():
        changed["features"][1]["properties"][name] = value
    return changed


def labels_without(*names):
    changed = json.loads(json.dumps(LABELS))
    for row in changed["features"]:
        for name in names:
            del row["properties"][name]
    return changed


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (b"{", "labels.geojson is not GeoJSON with features"),
        ({"features": [{}]}, "labels.geojson is not GeoJSON with features"),
        (labels_without("is_test", "lat"), "lacks the columns ['is_test', 'lat']"),
        (labels_with(is_crop=2), "'is_crop' ... must be true or false; got 2."),
        (labels_with(is_test=None), "'is_test' ... must be true or false; got None."),
        (
            {"features": [feature(*ROWS[4])]},
            "None of the labels in ... features.tar.gz",
        ),
    ],
)
def test_malformed_labels(serve, tmp_path, labels, expected):
    serve(labels=labels)
    refused(fetch_cropharvest, data_home=tmp_path, says=expected)
    assert not (tmp_path / "cropharvest" / "arrays").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"rubbish", "cannot be read"),
        (hdf5(array=np.zeros((12, 18)))[:-900], "cannot be read"),
        (hdf5(x=np.zeros((12, 18))), "cannot be read"),
        (hdf5(array=np.zeros((11, 18))), "has shape (11, 18); expected (12, 18)."),
    ],
)
def test_malformed_features(serve, tmp_path, content, expected):
    serve(features={**FEATURES, "arrays/0_kenya.h5": content})
    archive = tmp_path / "cropharvest" / "features.tar.gz"
    expected = f"0_kenya.h5 in {archive} {expected}"
    refused(fetch_cropharvest, data_home=tmp_path, says=expected)


def test_hostile_archive(serve, tmp_path):
    serve(features={**FEATURES, "../../evil.h5": b""})
    expected = "member 'features/../../evil.h5' has an unsafe path"
    refused(fetch_cropharvest, data_home=tmp_path / "home", says=expected)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_wrong_checksum(serve, web, tmp_path):
    serve()
    web.files["/features.tar.gz"] += b"x"
    refused(fetch_cropharvest, data_home=tmp_path, says="features.tar.gz")
    left = [path.name for path in (tmp_path / "cropharvest").iterdir()]
    assert left == ["labels.geojson"]
