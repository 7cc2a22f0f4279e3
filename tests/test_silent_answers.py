"""What must not be answered silently: orders, weights and forms that mislead."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import cross_validate
from tools import refused

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    modality_scorers,
)
from sklearn_colearn.datasets import make_multisensor

QUICK = {
    **{"encoder": "linear", "embedding_dim": 16, "max_epochs": 2},
    **{"cv": None, "random_state": 0},
}


@pytest.fixture(scope="module")
def data():
    return make_multisensor(60, random_state=0)


def test_warm_start_keeps_each_sensors_weights_whatever_the_order(data):
    X, y = data
    a, b = X["S1"], X["S2"][..., :2]  # of one shape
    clf = CoLearnClassifier(**QUICK, warm_start=True).fit({"S1": a, "S2": b}, y)
    before = clf.predict_proba({"S1": a})
    clf.set_params(max_epochs=1, lr=1e-12, weight_decay=0).fit({"S2": b, "S1": a}, y)
    assert clf.modalities_ == ["S1", "S2"]
    # Only the running statistics of batch normalisation move.
    assert_allclose(clf.predict_proba({"S1": a}), before, atol=0.02)


@pytest.mark.parametrize(("batch_size", "max_epochs"), [(1, 2), (60, 20)])
@pytest.mark.slow
def test_weights_count_whatever_the_batch_size(data, batch_size, max_epochs):
    X, y = data
    settings = {**QUICK, "batch_size": batch_size, "max_epochs": max_epochs}
    clf = CoLearnClassifier(**settings)
    weight = np.where(y == 0, 1000.0, 1.0)
    share = [
        np.mean(clf.fit(X, y, sample_weight=w).predict(X) == 0) for w in (None, weight)
    ]
    assert share[1] > 0.9
    assert share[1] > share[0] + 0.3


def test_global_pandas_output_changes_no_answer(data):
    X, y = data
    expected = CoLearnClassifier(**QUICK).fit(X, y).predict_proba(X)
    target = y.astype(float)
    values = CoLearnRegressor(**QUICK, standardize=False).fit(X, target).predict(X)
    with sklearn.config_context(transform_output="pandas"):
        clf = CoLearnClassifier(**QUICK).fit(X, y)
        assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
        reg = CoLearnRegressor(**QUICK, standardize=False).fit(X, target)
        assert_allclose(reg.predict(X), values, atol=1e-6)


def test_modality_scorers_ask_for_sample_weight_when_routed(data):
    X, y = data
    weight = np.where(y == 0, 5.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = CoLearnClassifier(**QUICK).set_fit_request(sample_weight=True)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        results = cross_validate(
            clf,
            X,
            y,
            cv=2,
            scoring=modality_scorers(scorer, ["S1"]),
            params={"sample_weight": weight},
            return_estimator=True,
            return_indices=True,
        )
    for estimator, test, score in zip(
        results["estimator"],
        results["indices"]["test"],
        results["test_S1"],
        strict=True,
    ):
        answers = estimator.predict(X[test].select("S1"))
        expected = accuracy_score(y[test], answers, sample_weight=weight[test])
        assert score == pytest.approx(expected)


def test_modality_scorers_by_names_of_ones_own(data):
    X, y = data
    clf = CoLearnClassifier(**QUICK).fit(X, y)
    scorers = modality_scorers({"acc": "accuracy"}, "S1")
    assert scorers["S1_acc"](clf, X, y) == pytest.approx(clf.score(X.select("S1"), y))
    with pytest.raises(ValueError, match="metric function rather than a scorer"):
        modality_scorers(accuracy_score, "S1")
    with pytest.raises(TypeError, match="got None"):
        modality_scorers(None, "S1")


def series_frame(X, bands=("vv", "vh")):
    columns = pd.MultiIndex.from_product([["S1"], range(12), list(bands)])
    frame = pd.DataFrame(X["S1"].reshape(len(X), -1), columns=columns)
    frame["soil", 0, ""] = X["terrain"][:, 0]
    return frame


def test_bands_of_a_frame_are_matched_by_name(data):
    X, y = data
    frame = series_frame(X)
    clf = CoLearnClassifier(**QUICK).fit(frame, y)
    turned = frame.sort_index(axis=1)
    assert turned.columns[0] == ("S1", 0, "vh")
    assert_allclose(clf.predict_proba(turned), clf.predict_proba(frame), atol=1e-6)
    refused(clf.predict, series_frame(X, ("vv", "hh")), says="'S1' ... bands ... 'hh'")


def test_datasets_keep_their_bands_and_sample_dimension(data):
    xr = pytest.importorskip("xarray")
    X, y = data
    dataset = xr.Dataset(
        {
            "S1": (("plot", "time", "band"), X["S1"], {}),
            "soil": (("plot", "layer"), X["terrain"]),
        },
        coords={"band": ["vv", "vh"]},
    )
    clf = CoLearnClassifier(**QUICK).fit(dataset, y)
    one = clf.predict_proba(dataset[["S1"]])  # alone, every dimension is shared
    assert_allclose(one, clf.predict_proba({"S1": X["S1"]}), atol=1e-6)
    turned = clf.predict_proba(dataset.sel(band=["vh", "vv"]))
    assert_allclose(turned, clf.predict_proba(dataset), atol=1e-6)


@pytest.fixture(scope="module")
def dataset(data):
    xr = pytest.importorskip("xarray")
    X, _ = data
    return xr.Dataset(
        {
            "S1": (("sample", "time", "band"), X["S1"]),
            "soil": (("sample", "layer"), X["terrain"][:, :3]),
        },
        coords={"band": ["VV", "VH"], "layer": ["clay", "sand", "ph"]},
    )


def by_array(dataset):
    return {name: dataset[name] for name in dataset}


@pytest.fixture(scope="module")
def fitted_on_xarray(data, dataset):
    return CoLearnClassifier(**QUICK).fit(dataset, data[1])


@pytest.mark.parametrize("read", [dict, ModalityDict, lambda arrays: arrays["S1"]])
def test_bands_of_data_arrays_are_matched_or_refused(
    fitted_on_xarray, data, dataset, read
):
    clf = fitted_on_xarray
    S1 = dataset["S1"]
    expected = clf.predict_proba(read({"S1": S1}))
    turned = clf.predict_proba(read({"S1": S1.isel(band=[1, 0])}))
    assert_allclose(turned, expected, atol=1e-6)
    other = read({"S1": S1.assign_coords(band=["VV", "HH"])})
    refused(clf.predict, other, says="'S1' ... bands ... ['VV', 'HH'] ... ['VV', 'VH']")


@pytest.mark.parametrize("form", [by_array, ModalityDict, lambda d: d])
def test_fit_on_data_arrays_knows_what_a_dataset_knows(
    fitted_on_xarray, data, dataset, form
):
    clf = CoLearnClassifier(**QUICK).fit(form(dataset), data[1])
    assert_allclose(
        clf.predict_proba(dataset), fitted_on_xarray.predict_proba(dataset), atol=1e-6
    )
    one = clf.predict_proba(dataset["soil"])
    turned = clf.predict_proba(dataset["soil"].isel(layer=[1, 0, 2]))
    assert_allclose(turned, one, atol=1e-6)
    swapped = dataset["soil"].to_pandas()[["ph", "sand", "clay"]]
    assert_allclose(clf.predict_proba({"soil": swapped}), one, atol=1e-6)
    assert_allclose(clf.export("soil").predict_proba({"soil": swapped}), one, atol=1e-6)


def test_the_rows_of_a_data_array_are_along_its_sample_dimension(
    fitted_on_xarray, data, dataset
):
    clf, turned = fitted_on_xarray, dataset["S1"].transpose("time", "sample", "band")
    expected = clf.predict_proba({"S1": data[0]["S1"]})
    for X in (turned, {"S1": turned}, ModalityDict(S1=turned), turned.to_dataset()):
        assert_allclose(clf.predict_proba(X), expected, atol=1e-6)
    assert_allclose(clf.export("S1").predict_proba(turned), expected, atol=1e-6)


def test_the_only_shared_dimension_of_data_arrays_counts_the_samples(data, dataset):
    plots = by_array(dataset.rename(sample="plot"))
    turned = plots["S1"].transpose("time", "plot", "band")
    clf = CoLearnClassifier(**QUICK).fit({**plots, "S1": turned}, data[1])
    expected = clf.predict_proba({"S1": data[0]["S1"]})
    assert_allclose(clf.predict_proba(turned), expected, atol=1e-6)
    assert_allclose(clf.predict_proba({"S1": turned}), expected, atol=1e-6)
    for X in (dataset["S1"], by_array(dataset)):
        name = "S1" if isinstance(X, dict) else "X"
        expected = f"{name!r} ... ['sample', 'time', 'band'] ... 'plot'"
        refused(clf.predict, X, says=expected)


@pytest.mark.parametrize("read", [lambda S1: S1.to_dataset(), lambda S1: S1])
def test_dimensions_are_matched_by_name(data, read):
    xr = pytest.importorskip("xarray")
    square = data[0]["S1"][:, :2]  # as many steps as bands
    S1 = xr.DataArray(square, dims=("sample", "time", "band"), name="S1")
    X = {"S1": S1, "soil": data[0]["terrain"]}
    clf = CoLearnClassifier(**QUICK).fit(X, data[1])
    clf.predict(read(S1.rename(time="month")))
    turned = read(S1.transpose("sample", "band", "time"))
    expected = clf.predict_proba(read(S1))
    assert_allclose(clf.predict_proba(turned), expected, atol=1e-6)


def test_a_data_array_after_a_fit_on_frames(data, dataset):
    frame = dataset["soil"].to_pandas()
    X = {"S1": data[0]["S1"], "soil": frame}
    clf = CoLearnClassifier(**QUICK).fit(X, data[1])
    one = clf.predict_proba({"soil": dataset["soil"]})
    assert_allclose(one, clf.predict_proba({"soil": frame}), atol=1e-6)
    turned = clf.predict_proba({"soil": dataset["soil"].isel(layer=[1, 0, 2])})
    assert_allclose(turned, one, atol=1e-6)


def test_flat_data_arrays_have_the_names_of_their_columns(data, dataset):
    layout = {"rock": ["clay", "sand"], "water": ["ph"]}
    soil, y = dataset["soil"], data[1]
    clf = CoLearnClassifier(**QUICK, modalities=layout).fit(soil, y)
    assert clf.feature_names_in_.tolist() == ["clay", "sand", "ph"]
    expected = clf.predict_proba(soil.to_pandas())
    assert_allclose(clf.predict_proba(soil.T), expected, atol=1e-6)
    turned = clf.predict_proba(soil.isel(layer=[1, 0, 2]))
    assert_allclose(turned, expected, atol=1e-6)


def test_archives_keep_the_bands_that_xarray_gave(dataset):
    ids = np.arange(60)
    X = ModalityDict.align({"S1": (ids, dataset["S1"])}, ids[::-1])
    assert X.labels["S1"] == (None, ("VV", "VH"))
    assert X[:3].dims["S1"] == ("sample", "time", "band")


def test_labels_follow_slices_and_copies_and_go_with_a_new_array(data):
    X = ModalityDict.from_frame(series_frame(data[0]))
    for same in (X[:5], X.copy(), X.select("S1")):
        assert same.labels["S1"][1] == ("vv", "vh")
    assert "S1" not in X.select("soil").labels
    assert "S1" not in ModalityDict(X, S1=X["S1"] * 2).labels
    X["S1"] = X["S1"] * 2
    assert "S1" not in X.labels


def test_one_sensor_of_a_flat_layout_with_steps(data):
    X, y = data
    names = [f"{step}_{band}" for step in range(12) for band in ("vv", "vh")]
    table = pd.DataFrame(X["S1"].reshape(len(X), -1), columns=names)
    table["clay"] = X["terrain"][:, 0]
    layout = {"S1": (names, (12, 2)), "soil": ["clay"]}
    clf = CoLearnClassifier(**QUICK, modalities=layout).fit(table, y)
    expected = clf.predict_proba({"S1": X["S1"]})
    assert_allclose(clf.predict_proba(table[names]), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(table[names[::-1]]), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(table[names].to_numpy()), expected, atol=1e-6)
    assert_allclose(clf.predict_proba(table, modality="S1"), expected, atol=1e-6)


def test_named_fit_with_a_layout_reads_the_flat_form(data):
    X, y = data
    clf = CoLearnClassifier(**QUICK, modalities=X.layout).fit(X, y)
    assert_allclose(clf.predict_proba(np.asarray(X)), clf.predict_proba(X), atol=1e-6)
    wrong = {name: slice(i, i + 1) for i, name in enumerate(X)}
    with pytest.raises(ValueError, match="modalities"):
        CoLearnClassifier(**QUICK, modalities=wrong).fit(X, y)
    overlap = {**X.layout, "terrain": slice(0, 6)}
    with pytest.raises(ValueError, match=r"'S1'.*'terrain'"):
        CoLearnClassifier(**QUICK, modalities=overlap).fit(X, y)


@pytest.mark.parametrize("form", [dict, ModalityDict])
def test_the_flat_form_of_what_fit_saw_by_name(data, form):
    X, y = data
    gaps = X.copy()
    S1 = X["S1"].copy()
    S1[:5], S1[5:9, 3] = -3.4e38, -3.4e38  # float32, beside float64
    gaps["S1"], gaps["terrain"] = S1.astype(np.float32), X["terrain"].astype(float)
    clf = CoLearnClassifier(**QUICK, missing_value=-3.4e38).fit(form(gaps), y)
    flat = np.asarray(gaps)
    assert flat.dtype == np.float64
    _, answered = clf.predict(flat, return_modalities=True)
    assert answered["S1"].tolist() == [False] * 5 + [True] * 55
    expected = clf.predict_proba(gaps)
    assert_allclose(clf.predict_proba(flat), expected, atol=1e-5)
    masked = np.ma.masked_equal(flat, flat[0, 0])
    assert_allclose(clf.predict_proba(masked), expected, atol=1e-5)
    assert clf.score(flat, y) == clf.score(gaps, y)
    one = clf.predict_proba(gaps, modality="S2")
    assert_allclose(clf.predict_proba(flat, modality="S2"), one, atol=1e-5)


def test_missing_value_of_another_float_type(data):
    X, y = data
    S1 = X["S1"].copy()
    S1[:20, 3] = -3.4e38
    nan = np.where(S1 < -1e38, np.float32("nan"), S1)
    options = {**QUICK, "missing_value": np.float64(-3.4e38)}
    clf = CoLearnClassifier(**options).fit({**X, "S1": S1}, y)
    other = CoLearnClassifier(**QUICK).fit({**X, "S1": nan}, y)
    assert_allclose(
        clf.predict_proba({"S1": S1}), other.predict_proba({"S1": nan}), atol=1e-6
    )


def test_missing_values_are_the_bands_mean_without_standardisation(data):
    X, y = data
    clf = CoLearnClassifier(**QUICK, standardize=False).fit(X, y)
    gap, mean = X["terrain"].copy(), X["terrain"].copy()
    gap[:, 2] = np.nan
    mean[:, 2] = X["terrain"][:, 2].mean()
    assert_allclose(
        clf.predict_proba({"terrain": gap}),
        clf.predict_proba({"terrain": mean}),
        atol=1e-6,
    )


def test_class_weights_of_zero_or_below_are_refused(data):
    X, y = data
    zero = CoLearnClassifier(**QUICK, class_weight=dict.fromkeys(range(3), 0))
    refused(zero.fit, X, y, says="zero ... class_weight")
    negative = CoLearnClassifier(**QUICK, class_weight={0: -1})
    refused(negative.fit, X, y, says="negative ... row")


def test_callbacks_that_schedule_work_and_those_that_score_are_refused(data):
    from skorch.callbacks import EpochScoring, LRScheduler

    X, y = data
    schedule = LRScheduler(policy="StepLR", step_size=1, gamma=0.1)
    clf = CoLearnClassifier(**QUICK, callbacks=[schedule]).fit(X, y)
    assert clf.history_["lr"].iloc[-1] < 0.2 * clf.lr
    with pytest.raises(ValueError, match=r"callbacks.*EpochScoring"):
        CoLearnClassifier(**QUICK, callbacks=[EpochScoring("accuracy")]).fit(X, y)


def test_several_names_as_modality(data):
    X, y = data
    clf = CoLearnClassifier(**QUICK).fit(X, y)
    expected = "modality= ... ['S1', 'S2'] ... select"
    refused(clf.predict, X, modality=["S1", "S2"], says=expected, error=TypeError)
