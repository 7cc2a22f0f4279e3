"""Awkward real data: constant bands, a class of six rows, sentinels, few time steps."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import GroupKFold

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    predict_raster,
    write_map,
)
from sklearn_colearn.datasets import fetch_lfmc, load_forest_plots

pytestmark = pytest.mark.slow

#: Quick to train: it is the data that are awkward.
QUICK = {"cv": 2, "max_epochs": 6, "batch_size": 64, "random_state": 0}
SERIES = {"encoder": "tempcnn", "encoder_params": {"n_channels": 16, "n_layers": 1}}


def test_algae_with_a_constant_band_and_a_class_of_six_rows(real_data):
    data = np.load(real_data("algae_blooms.npz"))
    X = ModalityDict({name: data[name] for name in ("S1", "S2", "weather")})
    X["weather"][:, :, 1] = 0  # precipitation of a dry year
    y = data["y"]
    test = np.arange(len(y)) % 4 == 0
    assert (y == 5).sum() == 6
    clf = CoLearnClassifier(**QUICK, **SERIES).fit(X[~test], y[~test])
    for modality in X:
        answers = clf.predict(X[test].select(modality))
        # A fifth is what guessing among the five classes gives.
        assert balanced_accuracy_score(y[test], answers) > 0.25


def test_a_sentinel_for_no_data_changes_nothing(real_data):
    data = np.load(real_data("algae_blooms.npz"))
    rows = slice(0, 100)
    s2 = data["S2"][rows].clip(0, 60000).astype(np.uint16)
    rng = np.random.default_rng(0)
    gaps = rng.random(s2.shape) < 0.1
    sentinel = np.where(gaps, np.uint16(65535), s2)
    nan = np.where(gaps, np.float32("nan"), s2.astype(np.float32))
    y = data["y"][rows] > 2
    options = {"encoder": "mlp", "max_epochs": 1, "cv": None, "random_state": 0}
    clf = CoLearnClassifier(missing_value={"S2": 65535}, **options)
    clf.fit({"S1": data["S1"][rows], "S2": sentinel}, y)
    other = CoLearnClassifier(**options).fit({"S1": data["S1"][rows], "S2": nan}, y)
    np.testing.assert_allclose(
        clf.predict_proba(sentinel), other.predict_proba(nan), rtol=1e-4, atol=1e-6
    )


def test_flanders_tables_by_location(real_data):
    data = np.load(real_data("flanders2018.npz"))
    X = ModalityDict({name: data[name] for name in ("optical", "SAR", "DEM")})
    y, location = data["landcover"], data["location"]
    train, test = next(GroupKFold(5).split(X, y, location))
    clf = CoLearnClassifier(**QUICK).fit(X[train], y[train])
    known = np.isin(y[test], clf.classes_)
    for modality in ("optical", "SAR"):
        answers = clf.predict(X[test].select(modality))
        assert np.mean(answers[known] == y[test][known]) > 0.3  # nine classes


def test_lfmc_each_sensor_explains_moisture(real_data):
    data = fetch_lfmc(data_home=real_data("lfmc.npz").parent)
    X, y = data.data, data.target
    test = np.arange(len(y)) % 5 == 0
    reg = CoLearnRegressor(**QUICK, **SERIES).fit(X[~test], y[~test])
    assert r2_score(y[test], reg.predict({"S1": X["S1"][test]})) > 0.1
    assert r2_score(y[test], reg.predict({"S2": X["S2"][test]})) > 0.3
    together = r2_score(y[test], reg.predict(X[test]))
    assert together > r2_score(y[test], reg.predict({"S1": X["S1"][test]}))


def test_a_long_table_of_parcels_becomes_a_table_of_scores(real_data):
    pytest.importorskip("pyarrow")
    table = pd.read_parquet(real_data("france2022_long.parquet"))
    S2 = [f"S2-L2A-B{band:02}" for band in (2, 3, 4, 5, 6, 7, 8, 11, 12)]
    bands = {"S1": ["S1-SIGMA0-VH", "S1-SIGMA0-VV"], "S2": S2}
    X = ModalityDict.from_long(
        table, id="sample_id", date="timestamp", bands=bands, nodata=65535
    )
    X, y = X.join_labels(table, "ewoc_code", id="sample_id")
    assert X.shape == (500, 17 * 11)
    assert y.dtype == np.int64
    assert y.max() > 2**31
    common = pd.Series(y).map(pd.Series(y).value_counts()).to_numpy() > 20
    clf = CoLearnClassifier(cv=2, max_epochs=3, encoder="mlp", random_state=0)
    clf.fit(X[common], y[common])
    assert clf.held_out_scores_.loc["S2", "accuracy"] > 0.2


def test_rasters_of_the_forest_become_a_geotiff(real_data, tmp_path):
    xr = pytest.importorskip("xarray")
    rioxarray = pytest.importorskip("rioxarray")
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("sknnr")
    with zipfile.ZipFile(real_data("swo_ecoplot_128x128.zip")) as archive:
        archive.extractall(tmp_path)
    X, y = load_forest_plots(target="cover", return_X_y=True)
    reg = CoLearnRegressor(encoder="mlp", cv=2, max_epochs=2, random_state=0)
    reg.fit(X[::4], y[::4])
    # As docs/map.md shows it.
    files = sorted(tmp_path.rglob("*.tif"))
    bands = {
        f.stem: rioxarray.open_rasterio(f).squeeze("band", drop=True) for f in files
    }
    cube = xr.Dataset(bands)
    whats = ["predict", "applicability"]
    layers = [predict_raster(reg, cube, what=what) for what in whats]
    made = xr.concat(layers, xr.Variable("layer", whats))
    write_map(made, tmp_path / "cover.tif")
    with rasterio.open(tmp_path / "cover.tif") as file, rasterio.open(files[0]) as one:
        assert file.crs == one.crs
        assert file.transform == one.transform
        assert np.isnan(file.nodata)
        assert file.descriptions == tuple(whats)
        written = file.read()
    np.testing.assert_array_equal(written, made)
    pixel = {m: [[cube[b].values[60, 70] for b in x.columns]] for m, x in X.items()}
    np.testing.assert_allclose(written[0, 60, 70], reg.predict(pixel)[0], rtol=1e-5)
    assert (written[1] > 0).all()
