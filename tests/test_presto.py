"""Presto: parity with the published network, bands, units, months and gaps."""

from __future__ import annotations

import hashlib
import math
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from tools import refused, small

from sklearn_colearn import (
    ModalityDict,
    PerModality,
    load_model,
    save_model,
)
from sklearn_colearn.encoders import Bands, PrestoEmbedding, presto, wants_bands
from sklearn_colearn.encoders.bands import limits_of
from sklearn_colearn.encoders.presto import PrestoEncoder, month_of
from sklearn_colearn.encoders.presto_bands import BANDS, SCALES, band_of, read_names
from sklearn_colearn.sensor import step_inputs

PARITY = Path(__file__).parent / "data" / "presto_parity.npz"
WEIGHTS = "presto_default_model.pt"
OPTICS = ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12", "NDVI"]
GROUPS = {
    "S1": ["VV", "VH"],
    "S2": OPTICS,
    "S2nob8a": [band for band in OPTICS if band != "B8A"],
    "ERA5": ["temperature_2m", "total_precipitation"],
    "all": [*BANDS[:12], *BANDS[12:16], "NDVI"],
}


def encoder(names, n_steps=4, seed=0, month=1, weights="random", **options):
    """Return an encoder that reads raw values."""
    torch.manual_seed(seed)
    shape = (n_steps, len(names))
    options = {"band_names": names, "month": month, "weights": weights, **options}
    return PrestoEncoder(shape, 6, **options).eval()


def raw(names, n=5, n_steps=4, seed=0):
    """Return values in the units of bands, as a float32 tensor."""
    rng = np.random.default_rng(seed)
    scaled = rng.uniform(0.1, 0.9, (n, n_steps, len(names)))
    add, divide = np.transpose([SCALES[name] for name in names])
    return torch.from_numpy((scaled * divide - add).astype(np.float32))


# Parity


@pytest.mark.parametrize("group", GROUPS)
def test_parity(real_data, group):
    """By way of standardized values, with and without a mask of all values."""
    known, names = np.load(PARITY), GROUPS[group]
    add, divide = np.transpose([SCALES[name] for name in names])
    for n_steps in (1, 3, 12, 24):
        x, latlon, month, expected = (
            known[f"{group}/T{n_steps}/{key}"]
            for key in ("x", "latlon", "month", "embedding")
        )
        latlon = np.repeat(latlon[:, None], n_steps, axis=1)
        x = np.concatenate([x * divide - add, latlon], axis=2)
        shift, scale = x.mean(axis=(0, 1)), x.std(axis=(0, 1))
        bands = Bands((*names, "lat", "lon"), shift, scale)
        network = PrestoEncoder(
            x.shape[1:],
            6,
            weights=real_data(WEIGHTS),
            month=int(month) + 1,
            bands=bands,
        )
        scaled = torch.from_numpy(((x - shift) / scale).astype(np.float32))
        seen = torch.ones(scaled.shape, dtype=torch.bool)
        for observed in (None, seen):
            found = network.embed(scaled, observed=observed).detach().numpy()
            assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_tables_are_the_published_ones(real_data):
    given = torch.load(real_data(WEIGHTS), map_location="cpu", weights_only=True)
    network = encoder(["VV", "VH"]).network
    for own, name in (("position", "pos_embed"), ("season", "month_embed.weight")):
        published = given[f"encoder.{name}"].reshape(getattr(network, own).shape)
        torch.testing.assert_close(getattr(network, own), published)


# Bands


@pytest.mark.parametrize(
    ("name", "band"),
    [
        *(("VV", "VV"), ("vh", "VH"), ("B2", "B2"), ("B02", "B2"), ("b8a", "B8A")),
        *(("S2-L2A-B02", "B2"), ("S2_B8A", "B8A"), ("B12", "B12"), ("ndvi", "NDVI")),
        *(("S1-SIGMA0-VH", "VH"), ("Sentinel-2 B11", "B11"), ("era5.t2m", BANDS[12])),
        *(("red", "B4"), ("nir", "B8"), ("nir08", "B8A"), ("swir22", "B12")),
        *(("total_precipitation", "total_precipitation"), ("Slope", "slope")),
        *(("lat", "latitude"), ("longitude", "longitude"), ("B09", "B9")),
        # What was done to a band, or another band before it, makes it another one.
        *(("vh_vv", None), ("B8-B4", None), ("mean_VV", None), ("VV_mean", None)),
        *(("swir", None), ("B13", None), ("B22", None), (4, None), ("", None)),
    ],
)
def test_names(name, band):
    assert band_of(name) == band


def test_columns_of_bands():
    found = read_names(["B09", "VH", None, "VV", "B8"])
    assert found == {"VH": 1, "VV": 3, "B8": 4}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["VV", "VH", "VV-VH"],
            f"Presto has no band 'VV-VH'; it reads {', '.join(BANDS)}. Pass "
            "band_names= with these names, and None for bands to ignore.",
        ),
        (
            ["VV", "VH", "S1-VV"],
            "'VV' and 'S1-VV' are both the band VV. Pass band_names= with None for one "
            "of them.",
        ),
        (
            ["VV", "B11"],
            "Presto needs a complete group of bands; ['VV', 'B11'] contains none of: "
            "VV with VH; B2 with B3 with B4; B5 with B6 with B7; B8; B8A; B11 with "
            "B12; temperature_2m with total_precipitation; elevation with slope; NDVI.",
        ),
        (
            ["VV", "VH", "swir16", "lat"],
            "Presto cannot use swir16, lat without B12, longitude: it reads them "
            "together. Add the missing bands, or ignore the others with None in "
            "band_names=.",
        ),
        (
            ["B4", "B3", "B8"],
            "Presto cannot use B3 without B2: it reads them together. Add the missing "
            "bands, or ignore the others with None in band_names=.",
        ),
    ],
)
def test_refused_names(names, message):
    assert refused(encoder, names, says="") == message


def test_bands_need_names():
    options = {"weights": "random", "month": 1}
    message = refused(PrestoEncoder, (3, 2), 6, **options, says="")
    assert message == (
        "Presto needs band names, and X has none. Pass "
        "encoder_params={'band_names': ['VV', 'VH']}, a DataArray or a DataFrame."
    )
    for names in (["VV"], "VV"):
        refused(
            *(PrestoEncoder, (3, 2), 6),
            **{**options, "band_names": names},
            says=f"band_names={names!r} must name all 2 bands of X.",
        )


def test_a_long_series_is_refused():
    assert refused(encoder, ["VV", "VH"], n_steps=25, says="") == (
        "Presto reads at most 24 steps; the series has 25. Average it by month, or "
        "select steps."
    )


# Units


@pytest.mark.parametrize(
    ("names", "low", "high", "message"),
    [
        (
            *(["VV", "VH"], 0.01, 0.3),
            "The values of 'VV' range from 0.01 to 0.3 (1st and 99th percentile), but "
            "Presto reads VV in dB. Convert linear power by 10 * log10(x).",
        ),
        (
            *(["s2-b8"], 0.01, 0.6),
            "The values of 's2-b8' range from 0.01 to 0.6 (1st and 99th percentile), "
            "but Presto reads B8 in reflectance x 10,000. Multiply reflectance of 0 to "
            "1 by 10,000.",
        ),
        (
            *(["temperature_2m", "total_precipitation"], -3, 28),
            "The values of 'temperature_2m' range from -3 to 28 (1st and 99th "
            "percentile), but Presto reads temperature_2m in kelvin. Add 273.15 to "
            "degrees Celsius, or divide hundredths by 100.",
        ),
        (
            *(["elevation", "slope"], -9999, 20000),
            "The values of 'elevation' range from -9999 to 2e+04 (1st and 99th "
            "percentile), but Presto reads elevation in metres. Divide centimetres by "
            "100.",
        ),
        (
            *(["NDVI"], -500, 9000),
            "The values of 'NDVI' range from -500 to 9000 (1st and 99th percentile), "
            "but Presto reads NDVI in values from -1 to 1. Undo its scaling, or leave "
            "it out: it is computed from B4 and B8.",
        ),
    ],
)
def test_units(names, low, high, message):
    ranges = np.tile([[low], [high]], len(names))
    shift = np.zeros(len(names))

    def bands(limits):
        return Bands(tuple(names), shift, shift + 1, limits)

    options = {"weights": "random", "month": 1}
    refused_one = {**options, "bands": bands(ranges)}
    assert refused(PrestoEncoder, (3, len(names)), 6, **refused_one, says="") == message
    # A network that takes weights from a file was checked before.
    for limits in (None, np.full((2, len(names)), np.nan)):
        PrestoEncoder((3, len(names)), 6, **options, bands=bands(limits))


@pytest.mark.parametrize(
    ("at", "low", "high", "remedy"),
    [
        (
            1,
            0.0,
            180.0,
            "in metres a day, the mean of each step. Divide millimetres a ",
        ),
        (3, 0.0, 300.0, "in degrees. Convert a slope in percent by degrees(arctan(x "),
        (
            4,
            5e5,
            6e5,
            "in degrees north. Transform projected coordinates to EPSG:4326.",
        ),
        (5, 4e6, 5e6, "in degrees east. Transform projected coordinates to EPSG:4326."),
    ],
)
def test_units_of_weather_terrain_and_place(at, low, high, remedy):
    names = BANDS[12:16] + BANDS[-2:]
    usual = np.array([[270, 0, 10, 0, 40, -5], [300, 0.01, 900, 20, 50, 10]], float)
    shift = np.zeros(6)
    options = {"weights": "random", "month": 1}
    PrestoEncoder((3, 6), 6, **options, bands=Bands(names, shift, shift + 1, usual))
    usual[:, at] = low, high
    options["bands"] = Bands(names, shift, shift + 1, usual)
    refused(PrestoEncoder, (3, 6), 6, **options, says=f"{names[at]!r} ... {remedy}")


def test_limits_are_percentiles_of_known_values():
    values = np.zeros((30_000, 2, 3))
    values[..., 1] = np.arange(30_000)[:, None]
    values[:100, 0, 0] = np.nan
    values[..., 2] = np.nan
    values[0, 0, 1] = 1e9  # an outlier says nothing of the unit
    low, high = limits_of(values)
    assert_allclose(low[:2], [0, 300], atol=5)
    assert_allclose(high[:2], [0, 29_700], atol=5)
    assert np.isnan([low[2], high[2]]).all()


# What it does with bands


def test_ndvi_is_computed_from_red_and_infrared():
    names = ["B4", "B8"]
    computing, given = encoder(names), encoder(["B8", "NDVI"])
    state = given.state_dict()
    own = computing.state_dict()
    assert {k for k in own if k not in ("gain", "offset")} == {
        k for k in state if k not in ("gain", "offset")
    }
    for key in ("gain", "offset"):
        state[key] = own[key]
    x = raw(names)
    x[0, 1] = 0.0  # no light, no ratio
    red, infrared = x.unbind(dim=2)
    ndvi = ((infrared - red) / (infrared + red)).nan_to_num(0.0)
    expected = given.embed(torch.stack([infrared, ndvi], dim=2))
    computing.network.load_state_dict(given.network.state_dict())
    torch.testing.assert_close(computing.embed(x), expected)


def test_a_missing_band_masks_its_group_at_that_step():
    names = ["VV", "VH", "B8"]
    both, radar = encoder(names), encoder(["VV", "VH"])
    shared = both.network.state_dict()
    radar.network.load_state_dict(
        {name: shared[name] for name in radar.network.state_dict()}
    )
    x = raw(names)
    observed = torch.ones(x.shape, dtype=torch.bool)
    observed[0, :, 2] = False  # no optics at all
    observed[1, 1:, :2] = False  # radar of the first step
    observed[1, :, 2] = False
    observed[2, 2, 0] = False  # half of the radar
    embedding = both.embed(x.masked_fill(~observed, math.nan), observed=observed)
    torch.testing.assert_close(embedding[:1], radar.embed(x[:1, :, :2]))
    first = torch.tensor([True, False, False, False])[None]
    torch.testing.assert_close(
        embedding[1:2], radar.embed(x[1:2, :, :2], mask=first), rtol=1e-4, atol=1e-5
    )
    observed[2, 2, 1] = False  # the other half says no more
    torch.testing.assert_close(embedding[2:3], both.embed(x, observed=observed)[2:3])
    torch.testing.assert_close(embedding[3:], both.embed(x)[3:])
    # A mask of steps is one of all of their bands.
    mask = torch.rand(x.shape[:2]) < 0.7
    mask[:, 0] = True
    expected = both.embed(x, observed=observed & mask[..., None])
    assert torch.equal(both.embed(x, mask=mask, observed=observed), expected)


def test_a_row_without_a_complete_group_is_filled_by_band_means():
    network, x = encoder(["VV", "VH"]), raw(["VV", "VH"])
    observed = torch.ones(x.shape, dtype=torch.bool)
    observed[0, :, 0] = False
    embedding = network.embed(x, observed=observed)
    expected = x[:1].clone()
    expected[..., 0] = 0.0
    torch.testing.assert_close(embedding[:1], network.embed(expected))
    observed[0] = False
    torch.testing.assert_close(
        network.embed(x, observed=observed)[:1], network.embed(0 * x[:1])
    )


def test_terrain_and_place_come_from_their_first_observed_step():
    names = ["VV", "VH", "elevation", "slope", "lat", "lon"]
    network = encoder(names)
    x = raw(["VV", "VH", *BANDS[14:16], *BANDS[-2:]])
    changed = x.clone()
    changed[:, 1:, 2:] += 5
    torch.testing.assert_close(network.embed(x), network.embed(changed))
    assert not torch.allclose(network.embed(x), network.embed(x + 1), atol=1e-4)
    observed = torch.ones(x.shape, dtype=torch.bool)
    observed[:, :2, 2:] = False
    shifted = x.clone()
    shifted[:, 2:, 2:] = x[:, :1, 2:]
    torch.testing.assert_close(
        network.embed(shifted, observed=observed), network.embed(x)
    )
    # Round the world.
    shifted = x.clone()
    shifted[..., 5] += 360
    torch.testing.assert_close(
        network.embed(shifted), network.embed(x), rtol=1e-4, atol=1e-4
    )


# Months


def test_months_of_days():
    days = np.arange(np.datetime64("1899-12-01"), np.datetime64("2101-03-02"), 1)
    expected = days.astype("datetime64[M]").astype(int) % 12
    found = month_of(torch.from_numpy(days.astype(np.int64)))
    assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(
    ("month", "months"), [(11, [10, 11, 0, 1]), ([3, 3, 6, 12], [2, 2, 5, 11])]
)
def test_months_by_number(month, months):
    network = encoder(["VV", "VH"], month=month)
    assert network.months.tolist() == months


@pytest.mark.parametrize("month", [0, 13, [1], [1, 2], [1, 2, 3, 0], 1.5, "May"])
def test_refused_months(month):
    assert refused(encoder, ["VV", "VH"], month=month, says="") == (
        f"month={month!r} must be the month of the first step, 1 to 12, or a list "
        "with the month of each of the 4 steps."
    )


def with_origin(origin, seed=0):
    torch.manual_seed(seed)
    bands = Bands(("VV", "VH"), np.zeros(2), np.ones(2), origin=origin)
    return PrestoEncoder((4, 2), 6, weights="random", bands=bands).eval()


def test_months_from_times():
    """Of dates, of days of the year, of each row, and in a gap."""
    x = raw(["VV", "VH"])
    expected = encoder(["VV", "VH"], month=[11, 12, 2, 2]).embed(x)
    start = pd.Timestamp("2023-11-30")
    dates = pd.to_datetime(["2023-11-30", "2023-12-01", "2024-02-01", "2024-02-28"])
    days = torch.tensor((dates - start).days.to_numpy(), dtype=torch.float32)
    dated = with_origin(np.datetime64(start, "D"))
    torch.testing.assert_close(dated.embed(x, days.expand(5, 4)), expected)
    torch.testing.assert_close(dated.embed(x, days[None]), expected)
    of_year = with_origin(float(start.day_of_year))
    torch.testing.assert_close(of_year.embed(x, days.expand(5, 4)), expected)
    each = days.repeat(5, 1)
    each[0] += 31
    embedding = dated.embed(x, each)
    torch.testing.assert_close(embedding[1:], expected[1:])
    assert not torch.allclose(embedding[0], expected[0], atol=1e-4)
    mask = torch.tensor([True, True, False, True]).expand(5, 4)
    gap = days.clone()
    gap[2] = math.nan
    torch.testing.assert_close(
        dated.embed(x, gap.expand(5, 4), mask), dated.embed(x, days.expand(5, 4), mask)
    )


def test_unknown_months_are_refused():
    assert refused(with_origin, None, says="") == (
        "Presto needs the months of the steps. Pass dates as times=, or the month of "
        "the first step as encoder_params={'month': 1}."
    )
    assert refused(with_origin, 18262.0, says="") == (
        "The times begin with 18262, which is not a day of the year, so the months are "
        "unknown. Pass dates as times=."
    )


# Weights


def weights_file(path, **changes):
    """Write random weights as the published file has them."""
    network = encoder([*BANDS[:12], *BANDS[12:16], "NDVI", "lat", "lon"]).network
    names = {"position": "pos_embed", "season": "month_embed.weight"}
    state = {
        f"encoder.{names.get(k, k)}": v.clone() for k, v in network.state_dict().items()
    }
    torch.save({**state, **changes}, path)
    return path


def test_weights_by_path(tmp_path):
    path = weights_file(tmp_path / "weights.pt")
    one, other = (
        encoder(["VV", "VH"], weights=given, seed=1) for given in (path, str(path))
    )
    same = encoder(["VV", "VH"], weights="random", seed=1)
    x = raw(["VV", "VH"])
    assert torch.equal(one.embed(x), other.embed(x))
    assert not torch.allclose(one.embed(x), same.embed(x))


def test_files_without_weights_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    for content in (b"", b"no weights", b"PK\3\4 and more"):
        path.write_bytes(content)
        refused(
            *(encoder, ["VV", "VH"]),
            weights=path,
            says=f"weights={str(path)!r} does not hold Presto's weights ... Pass the "
            f"path of {presto.PRESTO_URL}, or None to download it.",
        )
    for changes in ({"encoder.norm.bias": torch.zeros(3)}, {"encoder.norm.bias": 1}):
        weights_file(path, **changes)
        refused(encoder, ["VV", "VH"], weights=path, says="does not hold Presto's")
    torch.save({"other": torch.zeros(1)}, path)
    message = refused(encoder, ["VV", "VH"], weights=path, says="KeyError")
    assert message == (
        f"weights={str(path)!r} does not hold Presto's weights (KeyError: "
        "'encoder.position'). Pass the path of "
        f"{presto.PRESTO_URL}, or None to download it."
    ).replace("encoder.position", "encoder.pos_embed")
    path.unlink()
    refused(
        encoder, ["VV", "VH"], weights=path, says=str(path), error=FileNotFoundError
    )


def test_weights_that_run_code_are_refused(tmp_path):
    path, touched = tmp_path / "weights.pt", tmp_path / "touched"

    class Malicious:
        def __reduce__(self):
            return Path.touch, (touched,)

    torch.save({"encoder.norm.bias": Malicious()}, path)
    refused(encoder, ["VV", "VH"], weights=path, says="does not hold Presto's weights")
    assert not touched.exists()


def test_weights_are_downloaded_once(tmp_path, monkeypatch):
    home, source = tmp_path / "home", weights_file(tmp_path / "source.pt")
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))
    monkeypatch.setattr(presto, "PRESTO_URL", source.as_uri())
    kept = home / "sklearn_colearn" / "presto_default_model.pt"
    refused(
        *(encoder, ["VV", "VH"]),
        weights=None,
        says=f"{source.as_uri()} has SHA-256 ... not 559c9d76 ... discarded",
    )
    assert not kept.exists()
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(presto, "PRESTO_SHA256", digest)
    x = raw(["VV", "VH"])
    first = encoder(["VV", "VH"], weights=None).embed(x)
    source.unlink()
    assert torch.equal(encoder(["VV", "VH"], weights=None).embed(x), first)
    kept.unlink()
    message = refused(
        encoder, ["VV", "VH"], weights=None, says=source.as_uri(), error=OSError
    )
    assert message.endswith(
        "Without a network, save that file as presto_default_model.pt in "
        f"{kept.parent}."
    )


def test_the_published_file():
    assert presto.PRESTO_URL == (
        "https://raw.githubusercontent.com/nasaharvest/presto/"
        "13173d028f035abcbcc3b13829314323a5c15d02/data/default_model.pt"
    )
    assert presto.PRESTO_SHA256 == (
        "559c9d76f525bdf2dd3774da8b1e7f1510769b73baacac12e9e4d8d5c67fbe65"
    )


# In an estimator

RANDOM = {"weights": "random"}
DATES = pd.date_range("2021-03-01", periods=6, freq="MS")


@pytest.fixture(scope="module")
def data():
    """Radar and optics with names of bands and gaps of every kind, and a label."""
    xarray = pytest.importorskip("xarray")
    rng, n = np.random.default_rng(0), 30
    y = np.arange(n) % 3
    s1 = rng.normal(-14, 3, (n, 6, 2)) + 4 * y[:, None, None]
    s2 = rng.normal(2500, 600, (n, 6, 4)) + 900 * y[:, None, None]
    s1[:10, 2], s2[5:20, 1, 2], s2[3] = np.nan, np.nan, np.nan
    dims, names = ("row", "time", "band"), ["S2-L2A-B02", "B03", "red", "nir"]
    return {
        "S1": xarray.DataArray(s1, dims=dims, coords={"band": ["VV", "VH"]}),
        "S2": xarray.DataArray(s2, dims=dims, coords={"band": names}),
    }, y


def of_presto(**changes):
    given = {
        "encoder": "presto",
        "encoder_params": RANDOM,
        "times": {"S1": DATES, "S2": DATES},
        "share_encoder": True,
        "max_epochs": 1,
    }
    return small(**{**given, **changes})


@pytest.fixture(scope="module")
def fitted(data):
    return of_presto().fit(*data)


def test_an_estimator_saved_without_its_file_of_weights(data, tmp_path, monkeypatch):
    X, y = data
    weights = weights_file(tmp_path / "weights.pt")
    clf = of_presto(encoder_params={"weights": weights}).fit(X, y)
    weights.unlink()
    expected = clf.predict_proba(X)
    for model in (clf, clf.export("S2")):
        save_model(model, tmp_path / "model")
        loaded = load_model(tmp_path / "model")
        assert pickle.loads(pickle.dumps(loaded)).encoders_ == model.encoders_
        assert_array_equal(
            loaded.predict_proba(X["S2"][:3]), model.predict_proba(X["S2"][:3])
        )
    assert_array_equal(clf.predict_proba(X), expected)


def test_bands_are_matched_by_name_and_counted_once(data, fitted):
    X, _ = data
    turned = X["S2"].isel(band=[2, 0, 3, 1])
    assert_array_equal(
        fitted.predict_proba(turned[5:9]), fitted.predict_proba(X["S2"][5:9])
    )
    unique = fitted.net_.module_.network("S2").unique_encoder
    assert unique.groups == ["S2_RGB", "S2_NIR_10m", "NDVI"]
    assert unique.origin.item() == (DATES[0] - pd.Timestamp(0)).days


def test_share_encoder(data):
    X, y = data
    one, two = (of_presto(share_encoder=share).fit(X, y) for share in (True, False))
    assert one.net_.module_.network("S1").common_encoder is None
    common = two.net_.module_.network("S1").common_encoder
    assert isinstance(common, PrestoEncoder)


def test_the_scale_of_the_inputs_is_prestos_own(data):
    X, y = data
    values, inputs = X["S2"].values[20:25], []
    for standardize in (True, False):
        clf = of_presto(standardize=standardize).fit(X, y)
        network = clf.net_.module_.network("S2").unique_encoder
        inputs.append(clf._sensors["S2"].scaler.scaled(values))
        found = inputs[-1] * network.gain + network.offset
        assert_allclose(found, values / 1e4, rtol=1e-5)
    assert not torch.allclose(*inputs)


def test_units_are_refused_with_the_modality(data):
    X, y = data
    linear = {**X, "S1": 10 ** (X["S1"] / 10)}
    refused(
        *(of_presto().fit, linear, y),
        says="'VV' range from ... reads VV in dB ... Convert linear power by 10 * ... "
        "about the encoder of modality 'S1'",
    )
    # Or by a name that is wrong.
    params = {"S1": {**RANDOM, "band_names": ["B8", "B8A"]}, "S2": RANDOM}
    refused(
        *(of_presto(encoder_params=params).fit, X, y),
        says="reads B8 in reflectance x 10,000",
    )


def test_frozen_weights_stay_and_the_others_learn_at_their_rate(data):
    X, y = data
    torch.manual_seed(0)
    settings = {"optimizer": "sgd", "lr_schedule": "cosine", "weight_averaging": 0.1}
    clf = of_presto(**settings)
    clf.set_params(encoder_params={**RANDOM, "freeze": True})
    clf.fit(X, y)
    encoder = clf.net_.module_.network("S1").unique_encoder
    assert not any(p.requires_grad for p in encoder.network.parameters())
    assert all(p.requires_grad for p in encoder.head.parameters())
    before = clone(clf).set_params(lr=1e-12).fit(X, y)
    start = before.net_.module_.network("S1").unique_encoder
    for name, weight in start.network.state_dict().items():
        assert torch.equal(encoder.network.state_dict()[name], weight), name
    assert not torch.allclose(encoder.head[1].weight, start.head[1].weight)

    free = of_presto(**settings, encoder_params={**RANDOM, "lr_scale": 0.25})
    groups = free.fit(X, y).net_.optimizer_.param_groups
    assert [group["lr_scale"] for group in groups] == [1.0, 0.25]
    assert groups[1]["lr"] == pytest.approx(groups[0]["lr"] / 4)
    network = free.net_.module_
    encoders = [network.network(m).unique_encoder for m in X]
    slow = {p for one in encoders for p in one.network.parameters()}
    assert set(groups[1]["params"]) == slow
    assert set(groups[0]["params"]) == {*network.parameters()} - slow
    moved = free.net_.module_.network("S1").unique_encoder.network.norm.weight
    assert not torch.equal(moved, torch.ones(128))


@pytest.mark.parametrize("lr_scale", [0, -1.0, math.nan])
def test_refused_rates(lr_scale):
    assert refused(encoder, ["VV", "VH"], lr_scale=lr_scale, says="") == (
        f"lr_scale={lr_scale} must be positive. To keep Presto's weights fixed, use "
        "freeze=True."
    )


def test_dropped_steps_and_pairs(data):
    X, y = data
    clf = of_presto(drop_steps=0.3, teacher=None, max_steps=2, unlabeled_batch_size=8)
    clf.fit(X, y, X_unlabeled=X)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_pretraining_goes_on_from_a_checkpoint(data, tmp_path):
    """Also of what learns at two rates."""
    X, _ = data
    path = tmp_path / "checkpoint"
    clf = of_presto(warm_start=True, batch_size=15, lr_schedule="constant")
    clf.pretrain(X, n_steps=2, checkpoint=path)
    steps = of_presto(warm_start=True, batch_size=15, lr_schedule="constant")
    steps.pretrain(X, n_steps=3, checkpoint=path)
    net = steps._pretrained.nets[0]
    states = [own for own in net.optimizer_.state.values() if own]
    assert {int(own["step"]) for own in states} == {3}
    assert len(states) > len(net.optimizer_.param_groups[0]["params"])


@pytest.mark.slow
def test_onnx(data, tmp_path, monkeypatch):
    monkeypatch.setattr(presto, "N_BLOCKS", 1)  # the exporter takes seconds for each
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    X, y = data
    days = np.tile((DATES - DATES[0]).days, (30, 1)).astype(np.float32)
    X = {**{m: x.values.astype(np.float32) for m, x in X.items()}, "days": days}
    names = {"S1": ["VV", "VH"], "S2": ["B2", "B3", "B4", "B8"]}
    params = {m: {**RANDOM, "band_names": own} for m, own in names.items()}
    times = {"S1": DATES, "S2": "days"}
    clf = of_presto(encoder_params=params, times=times).fit(X, y)
    clf.export("S2").to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"X": X["S2"], "times": days})
    assert np.isnan(found[3]).all()
    there = np.arange(30) != 3
    rows = {name: X[name][there] for name in ("S2", "days")}
    assert_allclose(found[there], clf.predict_proba(rows), atol=1e-5)


# What any encoder may have


def test_partly_observed_steps():
    values = np.ones((3, 2, 2), dtype=np.float32)
    assert step_inputs(values) == {}
    values[0, 1] = np.nan
    assert set(step_inputs(values)) == {"mask"}
    values[1, 0, 1] = np.nan
    steps = step_inputs(values)
    assert steps["mask"].tolist() == [[True, False], [True, True], [True, True]]
    assert_array_equal(steps["observed"].numpy(), ~np.isnan(values))
    assert set(step_inputs(values, takes=("mask",))) == {"mask"}
    assert set(step_inputs(values, takes=("observed",))) == {"observed"}


def test_wants_bands():
    assert wants_bands("presto")
    assert wants_bands(PrestoEncoder)
    assert not wants_bands("ltae")
    assert not wants_bands("pretrained:resnet18")


# The embedding


def test_embedding(data):
    X, _ = data
    embedding = PrestoEmbedding("random")
    torch.manual_seed(0)
    dated = X["S2"].assign_coords(time=DATES)
    table = embedding.fit(dated).transform(dated)
    assert table.shape == (30, 128)
    assert table.dtype == np.float32
    assert np.isnan(table[3]).all()
    values = torch.from_numpy(X["S2"].values.astype(np.float32))
    by_hand = encoder(["B2", "B3", "B4", "B8"], n_steps=6, month=3)
    by_hand.network.load_state_dict(embedding.encoder_.network.state_dict())
    expected = by_hand.embed(values, observed=~values.isnan()).detach().numpy()
    there = np.arange(30) != 3
    assert_allclose(table[there], expected[there], rtol=1e-4, atol=1e-4)
    turned = dated.isel(band=[1, 0, 3, 2])
    assert_array_equal(embedding.transform(turned), table)
    names = embedding.get_feature_names_out()
    assert names[[0, -1]].tolist() == ["prestoembedding0", "prestoembedding127"]


def test_embedding_as_a_modality(data):
    X, y = data
    arrays = ModalityDict({m: x.values for m, x in X.items()})
    radar = PrestoEmbedding("random", month=3, band_names=["VV", "VH"])
    pipe = make_pipeline(
        PerModality({"S1": radar}),
        small(max_epochs=1, encoder="auto", encoder_params=None),
    )
    pipe.fit(arrays, y)
    assert pipe[-1].input_shapes_ == {"S1": (128,), "S2": (6, 4)}
    assert pipe.predict({"S1": arrays["S1"][:4]}).shape == (4,)


def test_embedding_refuses_other_shapes(data):
    X, _ = data
    options = {"month": 1, "band_names": ["VV", "VH"]}
    assert refused(
        PrestoEmbedding("random", **options).fit, np.ones((4, 2)), says=""
    ) == (
        "Presto reads series (n_samples, n_timesteps, n_bands); got the shape (4, 2)."
    )
    refused(PrestoEmbedding("random").fit, X["S1"], says="needs the months")
    refused(
        PrestoEmbedding("random", month=1).fit, np.ones((4, 3, 2)), says="band names"
    )
    refused(
        PrestoEmbedding("random", **options).fit, np.ones((4, 3, 2)), says="VV in dB"
    )
    refused(
        PrestoEmbedding().transform, X["S1"], says="not fitted", error=NotFittedError
    )
