import hashlib
import importlib.util
import os
import pickle
import socket
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.model_selection import cross_val_score
from tools import refused

from sklearn_colearn.datasets import (
    fetch_lfmc,
    lfmc,
    load_forest_plots,
    make_multisensor,
)
from sklearn_colearn.modality_dict import ModalityDict

TWO_SENSORS = {"A": (10, 2), "B": (8,)}


def flat(X, name):
    return X[name].reshape(len(X), -1)


def r2(features, target):
    return cross_val_score(LinearRegression(), features, target, cv=3).mean()


# make_multisensor: the factors


def test_default_shapes_and_types():
    X, y = make_multisensor(random_state=0)
    assert isinstance(X, ModalityDict)
    assert {name: X[name].shape for name in X} == {
        "S1": (1000, 12, 2),
        "S2": (1000, 12, 4),
        "terrain": (1000, 6),
    }
    assert {X[name].dtype for name in X} == {np.dtype("float32")}
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [333, 334, 333]


@pytest.mark.parametrize("shape", [(12, 3), (8,), (5, 4, 2)])
def test_a_sensor_reveals_only_its_factors(shape):
    X, _, factors = make_multisensor(
        modalities={"A": shape, "B": shape},
        noise=0.01,
        return_factors=True,
        random_state=0,
    )
    assert factors["shared"].shape == (1000, 2)
    assert list(factors["specific"]) == ["A", "B"]
    for name, other in (("A", "B"), ("B", "A")):
        assert r2(flat(X, name), factors["shared"]) > 0.95
        assert r2(flat(X, name), factors["specific"][name]) > 0.95
        assert r2(flat(X, name), factors["specific"][other]) < 0.05


def test_a_noisier_sensor_predicts_worse():
    X, _, factors = make_multisensor(
        modalities={"A": (12, 3), "B": (12, 3)},
        noise={"A": 0.1, "B": 5.0},
        return_factors=True,
        random_state=0,
    )
    strong, weak = (r2(flat(X, name), factors["shared"]) for name in "AB")
    assert strong > 0.9
    assert weak < strong - 0.2


def test_dict_leaves_the_default_for_other_sensors():
    options = {"modalities": TWO_SENSORS, "random_state": 0}
    X, _ = make_multisensor(noise={"A": 3.0}, **options)
    default, _ = make_multisensor(**options)
    np.testing.assert_array_equal(X["B"], default["B"])
    assert not np.array_equal(X["A"], default["A"])


def test_time_series_are_smooth():
    X, _ = make_multisensor(modalities={"A": (48, 2)}, noise=0, random_state=0)
    centred = X["A"] - X["A"].mean(axis=1, keepdims=True)
    jumps = np.diff(centred, axis=1).var()
    # White noise would give twice the variance.
    assert jumps < 0.2 * centred.var()


def test_signal_of_a_sensor_has_unit_deviation():
    X, _ = make_multisensor(20_000, noise=0, n_shared=1, n_specific=3, random_state=0)
    for name in X:
        spread = np.sqrt(X[name].var(axis=0).mean())
        assert spread == pytest.approx(1, abs=0.03)


def test_no_factors_at_all():
    X, y, factors = make_multisensor(
        50, n_shared=0, n_specific=0, noise=0, return_factors=True, random_state=0
    )
    assert factors["shared"].shape == (50, 0)
    assert np.ptp(X["S1"], axis=0).max() == 0
    assert np.bincount(y).tolist() == [17, 16, 17]


# make_multisensor: the target


def scores_from(factors, y):
    columns = [factors["shared"], *factors["specific"].values()]
    return r2(np.hstack(columns), y), r2(factors["shared"], y)


def test_regression_target_is_made_of_the_factors():
    _, y, factors = make_multisensor(
        task="regression", return_factors=True, random_state=0
    )
    assert y.shape == (1000,)
    assert y.dtype == np.float64
    everything, shared = scores_from(factors, y)
    assert everything > 0.98
    assert shared == pytest.approx(0.5, abs=0.08)


def test_only_shared_factors_carry_the_target():
    _, y, factors = make_multisensor(
        task="regression", specific_signal=0, return_factors=True, random_state=0
    )
    assert scores_from(factors, y)[1] > 0.98
    specific = np.hstack(list(factors["specific"].values()))
    assert r2(specific, y) < 0.05


def test_only_one_sensors_specific_factors_carry_the_target():
    _, y, factors = make_multisensor(
        task="regression",
        modalities=TWO_SENSORS,
        shared_signal=0,
        specific_signal={"A": 1.0, "B": 0.0},
        return_factors=True,
        random_state=0,
    )
    assert r2(factors["specific"]["A"], y) > 0.97
    assert r2(factors["specific"]["B"], y) < 0.05


@pytest.mark.parametrize("target_noise", [0.0, 0.1])
def test_without_signal_the_target_cannot_be_predicted(target_noise):
    options = {
        "shared_signal": 0,
        "specific_signal": 0,
        "target_noise": target_noise,
        "noise": 0.01,
        "return_factors": True,
        "random_state": 0,
    }
    X, y, factors = make_multisensor(task="regression", **options)
    assert scores_from(factors, y)[0] < 0.05
    assert y.std() > 0
    ridge = RidgeCV(alphas=np.logspace(-2, 4, 7))
    assert cross_val_score(ridge, flat(X, "S2"), y).mean() < 0.05

    X, y, _ = make_multisensor(task="classification", **options)
    accuracy = cross_val_score(LogisticRegression(C=0.1), flat(X, "S2"), y).mean()
    assert accuracy == pytest.approx(1 / 3, abs=0.06)


def test_classes_can_be_learned():
    X, y = make_multisensor(noise=0.1, n_classes=4, specific_signal=0, random_state=0)
    model = LogisticRegression(max_iter=2000)
    assert cross_val_score(model, flat(X, "S2"), y).mean() > 0.8
    assert cross_val_score(DummyClassifier(), flat(X, "S2"), y).mean() < 0.3


def test_weights_give_the_class_shares():
    _, y = make_multisensor(200, weights=[7, 2, 1], random_state=0)
    assert np.bincount(y).tolist() == [140, 40, 20]


def test_multilabel_target():
    _, y, factors = make_multisensor(
        task="multilabel", n_classes=4, return_factors=True, random_state=0
    )
    assert y.shape == (1000, 4)
    assert y.sum(axis=0).tolist() == [500] * 4
    assert scores_from(factors, y[:, 0])[0] > 0.5
    assert len(np.unique(y, axis=0)) > 4


def test_several_regression_outputs():
    _, y = make_multisensor(50, task="regression", n_outputs=2, random_state=0)
    assert y.shape == (50, 2)


# make_multisensor: gaps


@pytest.mark.parametrize("share", [0.2, 2 / 3])
def test_missing_rows_have_the_share_asked_for(share):
    X, _ = make_multisensor(300, missing_rows=share, random_state=0)
    absent = np.column_stack([np.isnan(flat(X, name)).all(axis=1) for name in X])
    assert absent.sum(axis=0).tolist() == [round(300 * share)] * 3
    assert not absent.all(axis=1).any()
    for column, name in enumerate(X):
        assert not np.isnan(X[name][~absent[:, column]]).any()


def test_missing_rows_of_one_sensor_only():
    X, _ = make_multisensor(100, missing_rows={"S2": 1.0}, random_state=0)
    assert np.isnan(X["S2"]).all()
    assert not np.isnan(X["S1"]).any()


@pytest.mark.parametrize("shape", [(12, 3), (8,), (5, 4, 2)])
@pytest.mark.parametrize("share", [0.1, 0.75])
def test_missing_steps_have_the_share_asked_for(shape, share):
    X, _ = make_multisensor(
        2000, modalities={"A": shape}, missing_steps=share, random_state=0
    )
    gaps = np.isnan(X["A"])
    assert gaps.mean() == pytest.approx(share, abs=0.01)
    assert not gaps.reshape(2000, -1).all(axis=1).any()
    if len(shape) > 1:
        # All bands of a step or pixel are missing together.
        np.testing.assert_array_equal(gaps.all(axis=-1), gaps.any(axis=-1))


@pytest.mark.parametrize("gaps", ["missing_rows", "missing_steps"])
def test_gaps_leave_the_other_values_and_the_target_as_they_were(gaps):
    options = {"n_samples": 60, "modalities": TWO_SENSORS, "random_state": 0}
    whole, y_whole = make_multisensor(**options)
    holes, y_holes = make_multisensor(**{gaps: 0.4}, **options)
    np.testing.assert_array_equal(y_whole, y_holes)
    for name in TWO_SENSORS:
        there = ~np.isnan(holes[name])
        assert not there.all()
        np.testing.assert_array_equal(holes[name][there], whole[name][there])


# make_multisensor: seeds and errors


def test_seed_decides_everything():
    first, second, other = (
        make_multisensor(30, missing_rows=0.2, missing_steps=0.1, random_state=seed)
        for seed in (0, 0, 1)
    )
    for name in first[0]:
        np.testing.assert_array_equal(first[0][name], second[0][name])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0]["S1"], other[0]["S1"])


def test_random_state_instance_is_advanced():
    rng = np.random.RandomState(0)
    X, _ = make_multisensor(30, random_state=rng)
    again, _ = make_multisensor(30, random_state=rng)
    seeded, _ = make_multisensor(30, random_state=0)
    assert not np.array_equal(X["S1"], again["S1"])
    np.testing.assert_array_equal(X["S1"], seeded["S1"])


@pytest.mark.parametrize("random_state", [None, 0])
def test_global_random_state_is_left_alone(random_state):
    before = np.random.get_state()[1:3]  # noqa: NPY002
    first, _ = make_multisensor(30, random_state=random_state)
    second, _ = make_multisensor(30, random_state=random_state)
    after = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_array_equal(before[0], after[0])
    assert before[1] == after[1]
    assert np.array_equal(first["S1"], second["S1"]) == (random_state == 0)


def test_float64_on_request():
    X, _ = make_multisensor(10, dtype="float64", random_state=0)
    assert X["S1"].dtype == np.float64


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"modalities": {}}, ValueError, "modalities ... {'S1': (12, 2)"),
        ({"modalities": {"A": (0, 2)}}, ValueError, "'A' ... (time, bands) ... (0, 2)"),
        ({"modalities": {"A": 3}}, ValueError, "'A' ... (time, bands) ... 3"),
        (
            {"task": "ranking"},
            ValueError,
            "['classification', 'multilabel', 'regression'] ... 'ranking'",
        ),
        ({"dtype": "int64"}, ValueError, "dtype ... float32 ... 'int64'"),
        ({"n_samples": 2}, ValueError, "n_samples ... 2 ... 3"),
        ({"n_classes": 1}, ValueError, "n_classes ... 1 ... 2"),
        ({"n_shared": -1}, ValueError, "n_shared ... -1 ... 0"),
        ({"shared_signal": "strong"}, TypeError, "shared_signal ... str"),
        ({"noise": np.nan}, ValueError, "noise ... nan"),
        ({"noise": -1.0}, ValueError, "noise ... -1.0"),
        ({"noise": {"A": -1.0}}, ValueError, "noise['A'] ... -1.0"),
        ({"noise": {"C": 1.0}}, ValueError, "noise ... ['C'] ... ['A', 'B']"),
        ({"weights": [1, 2]}, ValueError, "weights ... 3 ... [1, 2]"),
        ({"missing_rows": 0.6}, ValueError, "missing_rows ... {'A': 0.6, 'B': 0.6}"),
        (
            {"missing_steps": {"B": 0.9}},
            ValueError,
            "missing_steps ... 'B' ... 0.9 ... (8,) ... 0.875",
        ),
    ],
)
def test_wrong_parameters(options, error, message):
    options = {"n_samples": 20, "modalities": TWO_SENSORS, **options}
    refused(make_multisensor, **options, says=message, error=error)


# load_forest_plots

needs_sknnr = pytest.mark.skipif(
    importlib.util.find_spec("sknnr") is None, reason="the demo extra is not installed"
)


@needs_sknnr
def test_forest_species():
    plots = load_forest_plots()
    assert {name: plots.data[name].shape for name in plots.data} == {
        "landsat": (3005, 4),
        "climate": (3005, 9),
        "terrain": (3005, 5),
    }
    for name, columns in plots.feature_names.items():
        assert list(plots.data[name].columns) == columns
    assert pd.Series(plots.target).value_counts().to_dict() == {
        "PSME": 2016,
        "TSHE": 230,
        "ABGRC": 224,
        "LIDE3": 178,
        "other": 123,
        "ABPRSH": 105,
        "QUCH2": 56,
        "CADE27": 40,
        "CHLA": 33,
    }
    assert plots.target_names == sorted(set(plots.target))
    assert "Atzet" in plots.DESCR
    psme = plots.species_cover["PSME"].to_numpy()
    assert (psme == plots.species_cover.max(axis=1))[plots.target == "PSME"].all()


@needs_sknnr
def test_forest_keeps_rare_species_on_request():
    _, y = load_forest_plots(min_count=1, return_X_y=True)
    counts = pd.Series(y).value_counts()
    assert len(counts) == 24
    assert counts["PIBR"] == 1
    assert counts["NOTALY"] == 9
    assert "other" not in counts


@needs_sknnr
def test_forest_cover():
    plots = load_forest_plots(target="cover")
    assert plots.target_names == ["cover"]
    assert plots.target.dtype == np.float64
    assert "NOTALY" not in plots.species_cover
    np.testing.assert_allclose(plots.target, plots.species_cover.sum(axis=1))
    assert (plots.target == 0).sum() == 9
    X, y = load_forest_plots(target="cover", return_X_y=True)
    np.testing.assert_array_equal(y, plots.target)
    assert len(X) == 3005


def test_forest_without_sknnr(monkeypatch):
    monkeypatch.setitem(sys.modules, "sknnr.datasets", None)
    monkeypatch.setitem(sys.modules, "sknnr", None)
    expected = "sknnr ... sklearn-colearn[demo]"
    refused(load_forest_plots, says=expected, error=ImportError)


def test_forest_wrong_target():
    expected = "'species' ... 'cover' ... 'height'"
    refused(load_forest_plots, target="height", says=expected)


# fetch_lfmc

SITES = ["Blackstone", "Wells"]


def lfmc_table():
    """Build a table like the published one, with extra columns, in shuffled order."""
    rng = np.random.default_rng(0)
    groups = [*lfmc.LFMC_BANDS.values(), *lfmc.LFMC_STATIC.values()]
    names = [name for group in groups for name in group]
    table = {
        f"{name}({step})": rng.normal(size=6)
        for name in [*names, "vv_red"]
        for step in ("t", "t-2", "t-1", "t-3")
    }
    table["forest_cover(t)"] = np.array([70.0, 130, 70, 14, 160, 70])
    table["percent(t)"] = rng.uniform(50, 200, size=6)
    table["site"] = np.array(SITES * 3, dtype=object)
    table["date"] = pd.to_datetime([f"2015-{month:02}-30" for month in range(6, 12)])
    return pd.DataFrame(table, index=[3, 1, 4, 15, 9, 2])


def lfmc_arrays(table):
    """Convert the table in plain loops."""
    arrays = {}
    for name, bands in lfmc.LFMC_BANDS.items():
        arrays[name] = np.empty((len(table), 4, len(bands)), dtype=np.float32)
        for step, suffix in enumerate(["(t-3)", "(t-2)", "(t-1)", "(t)"]):
            for band, column in enumerate(bands):
                arrays[name][:, step, band] = table[column + suffix]
    for name, columns in lfmc.LFMC_STATIC.items():
        arrays[name] = np.column_stack([table[f"{c}(t)"] for c in columns])
        arrays[name] = arrays[name].astype("int16" if name == "forest_cover" else "f4")
    arrays["y"] = table["percent(t)"].to_numpy("float32")
    arrays["site"] = np.array(list(table["site"]))
    arrays["date"] = np.array([str(date.date()) for date in table["date"]])
    return arrays


def assert_same_bunch(bunch, arrays):
    assert list(bunch.data) == ["S1", "S2"]
    assert list(bunch.static) == list(lfmc.LFMC_STATIC)
    found = {**bunch.data, **bunch.static, "y": bunch.target, "site": bunch.site}
    for name, values in found.items():
        np.testing.assert_array_equal(values, arrays[name], err_msg=name)
        assert values.dtype.kind == arrays[name].dtype.kind, name
    assert bunch.date.dtype == "datetime64[D]"
    assert bunch.date.astype(str).tolist() == arrays["date"].tolist()
    assert bunch.feature_names["soil"] == ["silt", "sand", "clay"]
    assert "10.1016/j.rse.2020.111797" in bunch.DESCR
    assert "10.1007/s10994-025-06903-0" in bunch.DESCR


@pytest.fixture
def server(web, monkeypatch):
    """Let the module ask the server of the tests and nowhere else."""
    monkeypatch.setattr(lfmc, "LFMC_URL", f"{web.url}/table")
    return web


@pytest.fixture
def serve(server, monkeypatch):
    """Return a function that serves an object as a pickle of the known hash."""

    def serve(item):
        content = pickle.dumps(item)
        server.files["/table"] = content
        digest = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(lfmc, "LFMC_SHA256", digest)
        return content

    return serve


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_url_and_hash_are_the_published_ones():
    assert lfmc.LFMC_URL == (
        "https://raw.githubusercontent.com/kkraoj/lfmc_from_sar/"
        "de32223fe98c81363fdada028d17d5cced71b1a1/input_data/"
        "lstm_input_data_pure%2Ball_same_28_may_2019_res_1M_gap_3M"
    )
    assert lfmc.LFMC_SHA256 == (
        "1ab538398efc1108a85c6fc56ed28ae52d9c43c9fa564e324401a81e35af2a89"
    )


def test_lfmc_download_then_cache(serve, server, tmp_path):
    content = serve(lfmc_table())
    home = tmp_path / "new" / "home"
    bunch = fetch_lfmc(data_home=home)
    assert_same_bunch(bunch, lfmc_arrays(lfmc_table()))
    assert [path.name for path in home.iterdir()] == [lfmc.LFMC_FILENAME]
    assert (home / lfmc.LFMC_FILENAME).read_bytes() == content

    X, y = fetch_lfmc(data_home=str(home), download_if_missing=False, return_X_y=True)
    assert server.requests == 1
    np.testing.assert_array_equal(X["S2"], bunch.data["S2"])
    np.testing.assert_array_equal(y, bunch.target)


def test_lfmc_default_home(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path))
    serve(lfmc_table())
    fetch_lfmc()
    assert (tmp_path / "sklearn_colearn" / lfmc.LFMC_FILENAME).exists()


def test_lfmc_wrong_hash_is_neither_read_nor_kept(server, tmp_path):
    touched, home = tmp_path / "touched", tmp_path / "home"
    content = pickle.dumps(Malicious(touched))
    server.files["/table"] = content
    expected = f"{lfmc.LFMC_URL} ... {digest(content)} ... {lfmc.LFMC_SHA256}"
    refused(fetch_lfmc, data_home=home, says=expected)
    assert not touched.exists()
    assert not home.exists()
    pickle.loads(content)
    assert touched.exists(), "the pickle must be one that does harm when read"


def refused_offline(home, reason, error=OSError):
    expected = f"{lfmc.LFMC_URL} ... {reason} ... lfmc.npz ... {home}"
    refused(fetch_lfmc, data_home=home, says=expected, error=error)


def test_lfmc_not_found(server, tmp_path):
    refused_offline(tmp_path, "404")
    assert list(tmp_path.iterdir()) == []


def test_lfmc_connection_refused(server, tmp_path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setattr(lfmc, "LFMC_URL", f"http://127.0.0.1:{port}/table")
    refused_offline(tmp_path, "refused")


def test_lfmc_connection_lost_halfway(serve, server, tmp_path):
    content = serve(lfmc_table())
    server.lost = 10
    refused_offline(tmp_path, f"{len(content)} bytes read, 10 more expected")
    assert list(tmp_path.iterdir()) == []


def test_lfmc_failed_write_leaves_nothing(serve, tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError("disk full")

    serve(lfmc_table())
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"^disk full$"):
        fetch_lfmc(data_home=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lfmc_missing_without_download(server, tmp_path):
    expected = f"lfmc.npz ... {lfmc.LFMC_FILENAME} ... {tmp_path}"
    options = {"data_home": tmp_path, "download_if_missing": False}
    refused(fetch_lfmc, **options, says=expected, error=OSError)
    assert server.requests == 0


def test_lfmc_damaged_cache_is_replaced(serve, server, tmp_path):
    content = serve(lfmc_table())
    touched, cached = tmp_path / "touched", tmp_path / lfmc.LFMC_FILENAME
    damaged = pickle.dumps(Malicious(touched))
    cached.write_bytes(damaged)
    damage = f"{cached} ... {digest(damaged)} ... {lfmc.LFMC_SHA256}"
    options = {"data_home": tmp_path, "download_if_missing": False}
    refused(fetch_lfmc, **options, says=f"{damage} ... download_if_missing=True")
    assert server.requests == 0

    with pytest.warns(UserWarning, match=digest(damaged)):
        bunch = fetch_lfmc(data_home=tmp_path)
    assert_same_bunch(bunch, lfmc_arrays(lfmc_table()))
    assert cached.read_bytes() == content
    assert not touched.exists()


def test_lfmc_converted_file_is_preferred(server, tmp_path):
    arrays = lfmc_arrays(lfmc_table())
    np.savez(tmp_path / "lfmc.npz", **arrays)
    (tmp_path / lfmc.LFMC_FILENAME).write_bytes(b"not looked at")
    assert_same_bunch(fetch_lfmc(data_home=tmp_path), arrays)
    assert server.requests == 0


def without(arrays, *names):
    return {name: values for name, values in arrays.items() if name not in names}


def test_lfmc_converted_file_lacks_arrays(tmp_path):
    path = tmp_path / "lfmc.npz"
    np.savez(path, **without(lfmc_arrays(lfmc_table()), "S2", "site"))
    refused(fetch_lfmc, data_home=tmp_path, says=f"{path} ... ['S2', 'site']")


def test_lfmc_converted_file_has_another_shape(tmp_path):
    path = tmp_path / "lfmc.npz"
    arrays = lfmc_arrays(lfmc_table())
    np.savez(path, **{**arrays, "S1": arrays["S1"][:, :3]})
    expected = f"S1 ... {path} ... (6, 3, 3) ... (6, 4, 3)"
    refused(fetch_lfmc, data_home=tmp_path, says=expected)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04rubbish"])
def test_lfmc_converted_file_is_damaged(tmp_path, content):
    path = tmp_path / "lfmc.npz"
    path.write_bytes(content)
    refused(fetch_lfmc, data_home=tmp_path, says=f"{path} ... npz file")


def test_lfmc_table_lacks_columns(serve, tmp_path):
    missing = ["vh(t-2)", "clay(t)", "site"]
    serve(lfmc_table().drop(columns=missing))
    refused(fetch_lfmc, data_home=tmp_path, says=f"columns {missing}")


def test_lfmc_table_is_none(serve, tmp_path):
    serve([1, 2])
    refused(fetch_lfmc, data_home=tmp_path, says="DataFrame ... list")


class Outdated:
    """Unpickles as a table of a pandas that is too old would: not at all."""

    def __reduce__(self):
        return (int, ("pandas 0.24",))


def test_lfmc_table_of_a_pandas_too_old(serve, tmp_path):
    serve(Outdated())
    expected = f"pandas {pd.__version__} ... 'pandas 0.24' ... lfmc.npz ... {tmp_path}"
    refused(fetch_lfmc, data_home=tmp_path, says=expected)


def test_lfmc_published_values(real_data):
    path = real_data("lfmc.npz")
    bunch = fetch_lfmc(data_home=path.parent, download_if_missing=False)
    assert bunch.data["S1"].shape == (2578, 4, 3)
    assert bunch.data["S2"].shape == (2578, 4, 8)
    assert {name: bunch.static[name].shape[1] for name in bunch.static} == {
        "topography": 2,
        "soil": 3,
        "canopy_height": 1,
        "forest_cover": 1,
    }
    # The figures of the co-learning paper's own configuration.
    assert bunch.target.mean() == pytest.approx(103.9868, abs=1e-3)
    assert bunch.target.std() == pytest.approx(39.5623, abs=1e-3)
    assert len(np.unique(bunch.site)) == 150
    vv, vh, vh_vv = np.moveaxis(bunch.data["S1"], -1, 0)
    np.testing.assert_allclose(vh - vv, vh_vv, atol=1e-5)
    red, nir, ndvi = (bunch.data["S2"][..., band] for band in (0, 4, 5))
    assert np.median(np.abs((nir - red) / (nir + red) - ndvi)) < 1e-3
    silt, sand, clay = bunch.static["soil"].T
    known = silt > 0
    np.testing.assert_array_equal((silt + sand + clay)[known], 100)
    assert bunch.date.min() == np.datetime64("2015-06-30")
