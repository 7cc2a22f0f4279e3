"""Labels decide which row, step, band and column is which, not position."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.model_selection import GroupKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tools import refused, small

from sklearn_colearn import (
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    evaluate_modalities,
    load_model,
    modality_scorers,
    predict_raster,
    save_model,
)

N = 120
IDS = [f"p{row}" for row in range(N)]
DATES = pd.date_range("2021-03-01", periods=6, freq="MS")
BANDS = {"S1": ["VV", "VH"], "S2": ["B2", "B3", "B8"], "soil": ["clay", "sand", "ph"]}
SERIES = ("S1", "S2")
TURNED = np.random.default_rng(1).permutation(N)


def drawn(seed):
    """Return rows of three classes, each with patterns of its own."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(N) % 3
    patterns = np.random.default_rng(5)
    X = {}
    for name, bands in BANDS.items():
        shape = (len(bands),) if name == "soil" else (len(DATES), len(bands))
        means = patterns.normal(size=(3, *shape))
        X[name] = means[y] + 0.3 * rng.normal(size=(N, *shape))
    return X, y


X, Y = drawn(0)
CODES = 10 * (Y + 1)


def fit(X, y=Y, **changes):
    """Fit a model that answers by what it is given, without learning much."""
    return small(**{"max_epochs": 1, "batch_size": N, **changes}).fit(X, y)


def learnt(X, y=Y, **changes):
    return fit(X, y, **{"max_epochs": 15, "lr": 3e-2, **changes})


def frames(names=BANDS, rows=None, columns=slice(None)):
    """Return modalities as tables with named columns: VV_2021-03-01, ..., clay, ..."""
    made = {}
    for name in names:
        own = BANDS[name]
        if name in SERIES:
            own = [f"{band}_{date:%Y-%m-%d}" for date in DATES for band in own]
        flat = X[name].reshape(N, -1)
        made[name] = pd.DataFrame(flat, rows, own).iloc[:, columns]
    return made


def table():
    """Return all columns side by side."""
    return pd.concat(frames().values(), axis=1)


LAYOUT = {
    name: (list(frame.columns), X[name].shape[1:]) if name in SERIES else list(frame)
    for name, frame in frames().items()
}


def data_arrays(dates=DATES, ids=IDS, **attrs):
    xr = pytest.importorskip("xarray")
    made = {}
    for name, bands in BANDS.items():
        dims = ("sample", "time", "band") if name in SERIES else ("sample", "variable")
        coords = {"sample": ids, dims[-1]: bands}
        if name in SERIES:
            coords["time"] = dates
        coords = {dim: own for dim, own in coords.items() if own is not None}
        made[name] = xr.DataArray(X[name], coords, dims, name, attrs)
    return made


def levelled(rows=IDS, order=("sensor", "time", "band")):
    """Return a frame whose columns are a MultiIndex (sensor, time, band)."""
    columns = [
        (name, date, band) for name in SERIES for date in DATES for band in BANDS[name]
    ]
    columns = pd.MultiIndex.from_tuples(columns, names=["sensor", "time", "band"])
    flat = np.concatenate([X[name].reshape(N, -1) for name in SERIES], axis=1)
    frame = pd.DataFrame(flat, rows, columns)
    return frame.reorder_levels(list(order), axis=1)


def cube(dates=DATES, names=SERIES, step=10.0, **attrs):
    """Return the rows as pixels, 10 x 12: bands by the name of the sensor."""
    xr = pytest.importorskip("xarray")
    coords = {"y": np.arange(10) * -step, "x": 5e5 + np.arange(12) * step}
    made = {}
    for name in names:
        own = (
            dict(coords)
            if name == "soil" or dates is None
            else {**coords, "time": dates}
        )
        dims = ("y", "x", "time") if name in SERIES else ("y", "x")
        made[name] = xr.Dataset(
            {
                band: (
                    dims,
                    X[name][..., i].reshape(10, 12, *X[name].shape[1:-1]),
                    attrs,
                )
                for i, band in enumerate(BANDS[name])
            },
            own,
        )
    return made


def mapped(model, cubes, **options):
    return (
        np.asarray(predict_raster(model, cubes, what="predict_proba", **options))
        .reshape(-1, N)
        .T
    )


@pytest.fixture(scope="module")
def plain():
    """A model of arrays: nothing but names of modalities."""
    model = learnt(X)
    assert model.score(X, Y) > 0.95
    assert all(model.score({m: x}, Y) > 0.6 for m, x in X.items())
    return model


@pytest.fixture(scope="module")
def expected():
    """What a quick fit on unlabelled rows in order answers."""
    return fit(X).predict_proba(X)


@pytest.fixture(scope="module")
def labelled():
    """A model of xarray objects: dates, bands and ids are known."""
    return fit(data_arrays())


@pytest.fixture(scope="module")
def flat():
    """A model of a flat frame with a layout."""
    return fit(table(), modalities=LAYOUT)


def loaded(model, tmp_path):
    save_model(model, tmp_path / "model")
    return load_model(tmp_path / "model")


# -- steps ---------------------------------------------------------------------------


STEP_LABELS = {
    "dates": DATES,
    "texts of dates": [f"{date:%Y-%m-%d}" for date in DATES],
    "names": ["march", "april", "may", "june", "july", "august"],
    "numbers": [60, 91, 121, 152, 182, 213],
}


@pytest.mark.parametrize("dates", STEP_LABELS.values(), ids=list(STEP_LABELS))
@pytest.mark.parametrize(
    "order", [range(5, -1, -1), (2, 0, 1, 5, 4, 3)], ids=["back", "mixed"]
)
def test_maps_find_the_steps_by_their_labels(dates, order):
    arrays = {m: a for m, a in data_arrays(dates).items() if m in SERIES}
    model = fit(arrays)
    expected = model.predict_proba(arrays)
    right = cube(dates)
    assert_allclose(mapped(model, right), expected, atol=1e-5)
    wrong = {m: c.isel(time=list(order)) for m, c in right.items()}
    assert_allclose(mapped(model, wrong), expected, atol=1e-5)
    one = mapped(model.export("S2"), wrong["S2"])
    assert_allclose(one, model.predict_proba({"S2": X["S2"]}), atol=1e-5)


@pytest.mark.parametrize("form", ["dataset", "array", "dask", "loaded"])
def test_a_cube_whose_time_runs_backwards_gives_the_same_map(labelled, form, tmp_path):
    model, cubes = labelled, cube(names=BANDS)
    expected = model.predict_proba(X)
    cubes = {
        m: c.isel(time=slice(None, None, -1)) if m in SERIES else c
        for m, c in cubes.items()
    }
    if form == "array":
        cubes = {m: c.to_dataarray("band") for m, c in cubes.items()}
    if form == "dask":
        pytest.importorskip("dask")
        cubes = {m: c.chunk({"x": 5}) for m, c in cubes.items()}
    if form == "loaded":
        model = loaded(model, tmp_path)
    assert_allclose(mapped(model, cubes), expected, atol=1e-5)


def test_prediction_finds_the_steps_by_their_labels(labelled):
    expected = labelled.predict_proba(X)
    back = {
        m: a.isel(time=slice(None, None, -1)) if m in SERIES else a
        for m, a in data_arrays().items()
    }
    for form in (back, ModalityDict(back)):
        assert_allclose(labelled.predict_proba(form), expected, atol=1e-5)
    one = labelled.predict_proba({"S1": X["S1"]})
    assert_allclose(labelled.predict_proba(back["S1"]), one, atol=1e-5)
    assert_allclose(labelled.export("S1").predict_proba(back["S1"]), one, atol=1e-5)
    assert labelled.score(back, Y) == labelled.score(X, Y)


def test_frames_with_steps_in_another_order_give_the_same_answers():
    model = fit(levelled())
    back = levelled().sort_index(axis=1, ascending=False)
    expected = model.predict_proba(levelled())
    assert_allclose(model.predict_proba(back), expected, atol=1e-5)
    one = model.predict_proba({"S2": X["S2"]})
    assert_allclose(model.export("S2").predict_proba(back[["S2"]]), one, atol=1e-5)


@pytest.mark.parametrize("side", ["predict", "map"])
def test_steps_that_contradict_those_of_fit_are_refused(labelled, side):
    later = DATES + pd.DateOffset(months=1)  # April where fit had March
    says = "'S1' ... step 0 is 2021-04-01"
    if side == "map":
        refused(
            predict_raster,
            labelled,
            cube(later[::-1] + pd.DateOffset(years=1)),
            says="'S1' ... step",
        )
        refused(predict_raster, labelled, cube(later), says=says)
    else:
        refused(labelled.predict, {"S1": data_arrays(later)["S1"]}, says=says)


def test_the_same_days_of_another_year_are_taken_in_their_order(labelled):
    next_year = DATES + pd.DateOffset(years=1)
    expected = labelled.predict_proba({m: X[m] for m in SERIES})
    arrays = {m: data_arrays(next_year)[m] for m in SERIES}
    assert_allclose(labelled.predict_proba(arrays), expected, atol=1e-5)
    assert_allclose(mapped(labelled, cube(next_year)), expected, atol=1e-5)


@pytest.mark.parametrize("side", ["predict", "map", "export", "frame"])
def test_unordered_steps_give_a_warning_if_fit_had_no_labels(plain, side):
    back = cube(DATES[::-1], ["S1"])
    call = {
        "predict": lambda: plain.predict({"S1": data_arrays(DATES[::-1])["S1"]}),
        "export": lambda: plain.export("S1").predict(data_arrays(DATES[::-1])["S1"]),
        "frame": lambda: plain.predict(
            levelled()[["S1"]].sort_index(axis=1, ascending=False)
        ),
        "map": lambda: predict_raster(plain.export("S1"), back, bands=BANDS["S1"]),
    }[side]
    with pytest.warns(
        UserWarning, match=r"increase.*fit saw no (comparable labels|dates)"
    ) as caught:
        call()
    assert len(caught) == 1


# -- rows ----------------------------------------------------------------------------


LABELLED = {
    "DataArrays": data_arrays,
    "Dataset": lambda: __import__("xarray").Dataset(data_arrays()),
    "frames": lambda: frames(rows=IDS),
    "MultiIndex": levelled,
    "aligned": lambda: ModalityDict.align({m: (IDS, x) for m, x in X.items()}),
    "one frame among arrays": lambda: {**X, **frames(["soil"], rows=IDS)},
    "one DataArray among arrays": lambda: {**X, "soil": data_arrays()["soil"]},
}


@pytest.mark.parametrize("form", LABELLED)
def test_y_is_matched_by_the_labels_of_the_rows(form):
    if "D" in form:
        pytest.importorskip("xarray")
    rows = LABELLED[form]()
    y = pd.Series(Y, IDS)
    expected = fit(rows, y)
    turned = fit(rows, y.iloc[TURNED])
    assert_allclose(turned.predict_proba(rows), expected.predict_proba(rows), atol=1e-5)
    assert turned.score(rows, y.iloc[TURNED]) == expected.score(rows, Y)
    refused(small().fit, rows, y.rename({"p7": "q7"}), says="ids ... 'p7'")


def test_y_is_matched_with_the_index_of_a_flat_frame(flat):
    y = pd.Series(Y, IDS)
    rows = table().set_axis(IDS)
    turned = fit(rows, y.iloc[TURNED], modalities=LAYOUT)
    assert_allclose(
        turned.predict_proba(table()), flat.predict_proba(table()), atol=1e-5
    )
    assert turned.score(rows, y.iloc[TURNED]) == flat.score(table(), Y)
    one = frames(rows=IDS)["soil"]
    assert turned.score(one, y.iloc[TURNED]) == turned.score(one, Y)


def test_y_of_several_columns_is_matched():
    rows = data_arrays()
    y = pd.DataFrame({"a": X["S1"][:, 0, 0], "b": X["soil"][:, 1]}, IDS)
    expected = small(CoLearnRegressor).fit(rows, y)
    turned = small(CoLearnRegressor).fit(rows, y.iloc[TURNED])
    assert_allclose(turned.predict(rows), expected.predict(rows), atol=1e-5)
    assert turned.score(rows, y.iloc[TURNED]) == pytest.approx(expected.score(rows, y))
    xr = pytest.importorskip("xarray")
    array = xr.DataArray(Y, {"sample": IDS}, ("sample",))[TURNED]
    turned = fit(rows, array)
    assert_allclose(
        turned.predict_proba(rows), fit(rows).predict_proba(rows), atol=1e-5
    )
    assert turned.score(rows, array) == fit(rows).score(rows, Y)


def test_weights_are_matched_with_the_rows_too():
    rows = frames(rows=IDS)
    weight = pd.Series(np.where(Y == 0, 50.0, 1.0), IDS)
    y = pd.Series(Y, IDS)
    expected = small().fit(rows, y, sample_weight=weight)
    turned = small().fit(rows, y.iloc[TURNED], sample_weight=weight.iloc[TURNED[::-1]])
    assert_allclose(turned.predict_proba(rows), expected.predict_proba(rows), atol=1e-5)
    half = small().fit(rows, y.iloc[TURNED], sample_weight=weight)
    assert_allclose(half.predict_proba(rows), expected.predict_proba(rows), atol=1e-5)
    score = expected.score(rows, y, weight)
    assert expected.score(rows, y, weight.iloc[TURNED]) == pytest.approx(score)
    says = "sample_weight ... labels"
    refused(
        small().fit, rows, y.iloc[TURNED], sample_weight=weight.to_numpy(), says=says
    )


@pytest.mark.slow
def test_evaluation_matches_y_and_cross_validation_refuses_it():
    rows = ModalityDict(frames(rows=IDS))
    y, clf = pd.Series(Y, IDS), small(max_epochs=1, batch_size=N)
    right, turned = (
        evaluate_modalities(clf, rows, own, cv=2).scores["score"]
        for own in (y, y.iloc[TURNED])
    )
    pd.testing.assert_series_equal(turned, right)
    sites = pd.Series(np.arange(N) // 10, IDS)
    right, turned = (
        evaluate_modalities(clf, rows, Y, cv=GroupKFold(2), groups=own).scores["score"]
        for own in (sites, sites.iloc[TURNED])
    )
    pd.testing.assert_series_equal(turned, right)
    # scikit-learn takes the rows of X and of y by position.
    with pytest.raises(ValueError, match="different ids"):
        cross_val_score(clf, rows, y.iloc[TURNED], cv=2, error_score="raise")
    assert np.isfinite(cross_val_score(clf, rows, y, cv=2)).all()


@pytest.mark.parametrize(
    "form", ["DataArrays", "Datasets", "frames", "arrow", "Series"]
)
def test_sensors_whose_rows_are_labelled_in_other_orders_are_refused(form, labelled):
    if form == "DataArrays":
        rows = data_arrays()
        rows["S2"] = rows["S2"][TURNED]
    elif form == "Datasets":
        rows = {
            m: a.to_dataset("band") for m, a in data_arrays().items() if m != "soil"
        }
        rows["S2"] = rows["S2"].isel(sample=TURNED)
    elif form == "arrow":
        pa = pytest.importorskip("pyarrow")
        rows = frames(rows=IDS)
        rows["S2"] = rows["S2"].iloc[TURNED]
        rows = {m: pa.Table.from_pandas(frame) for m, frame in rows.items()}
    elif form == "Series":
        rows = {"S2": X["S2"], "soil": frames(rows=IDS)["soil"]}
        rows["lone"] = rows["soil"]["clay"].iloc[TURNED]
    else:
        rows = frames(rows=IDS)
        rows["S2"] = rows["S2"].iloc[TURNED]
    says = f"row 0 ... 'p0' ... {IDS[TURNED[0]]!r} ... align"
    refused(small().fit, rows, Y, says=says)
    refused(ModalityDict, rows, says=says)
    refused(PerModality(StandardScaler()).fit, rows, says=says)
    if form == "DataArrays":
        refused(labelled.predict, rows, says=says)
        refused(labelled.score, rows, Y, says=says)
    if form != "Datasets":
        aligned = ModalityDict.align(
            {
                m: v
                for m, v in rows.items()
                if hasattr(v, "shape") and not isinstance(v, np.ndarray)
            }
        )
        assert aligned.ids.tolist() == IDS


def test_align_reads_the_labels_of_frames():
    rows = frames(rows=IDS)
    turned = {**rows, "S2": rows["S2"].iloc[TURNED]}
    aligned = ModalityDict.align(turned, IDS)
    assert_allclose(np.asarray(aligned), np.asarray(ModalityDict(rows)))
    says = f"'S2' ... row 0 is 'p0' in the ids and {IDS[TURNED[0]]!r}"
    refused(ModalityDict.align, {**rows, "S2": (IDS, turned["S2"])}, says=says)
    arrays = data_arrays()
    says = f"'S2' ... row 0 is 'p0' in the ids and {IDS[TURNED[0]]!r}"
    refused(ModalityDict.align, {"S2": (IDS, arrays["S2"][TURNED])}, says=says)


def test_readers_keep_the_labels_of_the_rows():
    assert ModalityDict.from_frame(levelled()).ids.tolist() == IDS
    dataset = pytest.importorskip("xarray").Dataset(data_arrays())
    assert ModalityDict.from_xarray(dataset).ids.tolist() == IDS


PLOT_YEARS = [(f"plot{row // 2}", 2020 + row % 2) for row in range(N)]


@pytest.mark.parametrize("form", ["frames", "MultiIndex", "aligned", "tuples"])
def test_ids_may_have_several_levels(form):
    index = pd.MultiIndex.from_tuples(PLOT_YEARS, names=["plot", "year"])
    if form == "MultiIndex":
        rows = levelled(index)
    elif form == "frames":
        rows = ModalityDict(frames(rows=index))
    elif form == "aligned":
        rows = ModalityDict.align(
            {m: f.iloc[TURNED] for m, f in frames(rows=index).items()}, index
        )
    else:
        rows = ModalityDict.align({m: (PLOT_YEARS, x) for m, x in X.items()})
    y = pd.Series(Y, index)
    expected = fit(rows, Y).predict_proba(rows)
    turned = fit(rows, y.iloc[TURNED])
    assert_allclose(turned.predict_proba(rows), expected, atol=1e-5)


def test_rows_that_were_shuffled_on_one_side_are_refused():
    y, rows = pd.Series(Y), table()
    says = "row 0 ... shuffled ... to_numpy()"
    for own, target in ((rows.iloc[TURNED], y), (rows, y.iloc[TURNED])):
        refused(small(modalities=LAYOUT).fit, own, target, says=says)
    named = ModalityDict(frames())
    refused(evaluate_modalities, small(), named, y.iloc[TURNED], cv=2, says=says)
    scorer = modality_scorers("accuracy", "soil")["soil"]
    refused(scorer, fit(named), named, y.iloc[TURNED], says=says)
    refused(fit(named).score, named, y.iloc[TURNED], says=says)


def test_rows_are_found_along_the_dimension_of_fit():
    arrays = {m: a.rename(sample="plot") for m, a in data_arrays().items()}
    y = pd.Series(Y, IDS)
    pipeline = make_pipeline(PerModality(StandardScaler()), small(max_epochs=1))
    for model in (fit(arrays), pipeline.fit(arrays, y.iloc[TURNED])):
        one = model.score({"S1": X["S1"]}, Y)
        turned = arrays["S1"].transpose("time", "plot", "band")
        for rows in ({"S1": turned}, turned.to_dataset(), turned):
            assert model.score(rows, Y) == one
            assert model.score(rows, y.iloc[TURNED]) == one


def test_sensors_without_common_rows_give_a_warning():
    upper = [name.upper() for name in IDS]
    with pytest.warns(UserWarning, match=r"'S1'.*'p0'.*'P0'|'S2'.*'P0'.*'p0'"):
        rows = ModalityDict.align({"S1": (IDS, X["S1"]), "S2": (upper, X["S2"])})
    with pytest.warns(UserWarning, match=r"shares? no row|no row"):
        fit(rows, np.tile(Y, 2))
    gaps = {"S1": X["S1"].copy(), "S2": X["S2"].copy()}
    gaps["S1"][::2], gaps["S2"][1::2] = np.nan, np.nan
    with pytest.warns(UserWarning, match="no row"):
        fit(gaps)


# -- bands, columns and axes ---------------------------------------------------------


def band_first(form):
    if form == "to_dataarray":
        xr = pytest.importorskip("xarray")
        coords = {"sample": IDS, "time": DATES}
        return {
            m: xr.Dataset(
                {b: (("sample", "time"), X[m][..., i]) for i, b in enumerate(BANDS[m])},
                coords,
            ).to_dataarray()
            for m in SERIES
        }
    if form == "transposed":
        return {m: data_arrays()[m].transpose("sample", "band", "time") for m in SERIES}
    if form == "no coordinates":
        arrays = data_arrays(None, None)
        return {
            m: arrays[m].transpose("sample", "band", "time").drop_vars("band")
            for m in SERIES
        }
    if form == "levels":
        return levelled(order=("sensor", "band", "time"))
    frame = levelled().stack(["sensor", "time", "band"], future_stack=True)
    long = (
        frame.rename_axis(["plot", "sensor", "time", "band"])
        .rename("value")
        .reset_index()
    )
    return long.pivot(
        index="plot", columns=["sensor", "band", "time"], values="value"
    ).loc[IDS]


@pytest.mark.parametrize(
    "form", ["to_dataarray", "transposed", "no coordinates", "levels", "pivoted"]
)
def test_bands_are_moved_behind_time(form):
    arrays = {m: X[m] for m in SERIES}
    model = fit(band_first(form))
    assert model.input_shapes_ == {m: X[m].shape[1:] for m in SERIES}
    expected = model.predict_proba(band_first(form))
    if form != "no coordinates":
        assert_allclose(model.predict_proba(levelled()), expected, atol=1e-5)
    if form != "pivoted":  # which sorts its columns
        assert_allclose(expected, fit(arrays).predict_proba(arrays), atol=1e-5)


@pytest.mark.parametrize(
    "form", ["to_dataarray", "transposed", "no coordinates", "levels", "pivoted"]
)
def test_bands_before_time_at_prediction(plain, labelled, form):
    given = band_first(form)
    for model in (plain, labelled):
        if form == "pivoted" and model is plain:
            continue  # its columns are sorted, and the model knows no names
        expected = model.predict_proba({m: X[m] for m in SERIES})
        assert_allclose(model.predict_proba(given), expected, atol=1e-5)


def frame_of(library, frame):
    if library == "polars":
        return pytest.importorskip("polars").DataFrame(dict(frame))
    if library == "arrow":
        return pytest.importorskip("pyarrow").Table.from_pandas(frame)
    return frame


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("form", ["flat", "named", "bare", "export", "only"])
def test_columns_of_frames_of_any_library_are_matched_by_name(library, form, flat):
    made = partial(frame_of, library)
    back = slice(None, None, -1)
    if form == "flat":
        expected = flat.predict_proba(table())
        given = made(table().iloc[:, back])
        assert_allclose(flat.predict_proba(given), expected, atol=1e-5)
        model = fit(given, modalities=LAYOUT)
        assert_allclose(model.predict_proba(table()), expected, atol=1e-5)
        return
    if form == "only":
        model = fit(made(frames()["soil"]))
        refused(
            model.predict, made(frames()["soil"].iloc[:, back]), says="feature names"
        )
        return
    model = fit({m: made(frame) for m, frame in frames().items()})
    if form == "named":
        given = {m: made(frame) for m, frame in frames(columns=back).items()}
        assert_allclose(
            model.predict_proba(given), model.predict_proba(frames()), atol=1e-5
        )
        return
    model = model.export("S1") if form == "export" else model
    expected = model.predict_proba(frames()["S1"])
    assert_allclose(
        model.predict_proba(made(frames(columns=back)["S1"])), expected, atol=1e-5
    )


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_columns_that_no_modality_names_are_ignored(flat, library, tmp_path):
    made = partial(frame_of, library)
    more = table()
    more.insert(0, "plot", IDS)
    more.insert(5, "label", Y)
    more["seen"] = pd.Timestamp("2021-05-01")
    model = fit(made(more), modalities=LAYOUT)
    expected = flat.predict_proba(table())
    for one in (model, flat, loaded(model, tmp_path)):
        assert_allclose(one.predict_proba(made(more)), expected, atol=1e-5)
        assert_allclose(one.predict_proba(table()), expected, atol=1e-5)
    one = model.predict_proba(more, modality="S1")
    assert_allclose(one, flat.predict_proba({"S1": X["S1"]}), atol=1e-5)
    scores = cross_val_score(small(modalities=LAYOUT, max_epochs=1), more, Y, cv=2)
    assert scores.shape == (2,)


def wide_names(modality, name):
    return [name(step, band) for band in BANDS[modality] for step in range(len(DATES))]


WIDE = {
    "B02_ts0": lambda step, band: f"{band}_ts{step}",
    "ts0_B02": lambda step, band: f"ts{step}_{band}",
    "B02_1": lambda step, band: f"{band}_{step + 1}",
    "B02_2021-04-01": lambda step, band: f"{band}_{DATES[step]:%Y-%m-%d}",
    "B02_20210401": lambda step, band: f"{band}_{DATES[step]:%Y%m%d}",
    "20210401_B02": lambda step, band: f"{DATES[step]:%Y%m%d}_{band}",
    "B02.mar": lambda step, band: f"{band}.{DATES[step]:%b}".lower(),
    "t01.VV": lambda step, band: f"t{step:02}.{band}",
}


@pytest.mark.parametrize("name", WIDE.values(), ids=list(WIDE))
def test_wide_exports_are_read_by_their_names(expected, name):
    parts, layout = [], {}
    for m in SERIES:
        columns = [f"{m}_{c}" if name is None else c for c in wide_names(m, name)]
        flat = X[m].transpose(0, 2, 1).reshape(N, -1)  # band by band
        parts.append(pd.DataFrame(flat, columns=columns))
        layout[m] = (columns, X[m].shape[1:])
    parts.append(frames()["soil"])
    layout["soil"] = BANDS["soil"]
    wide = pd.concat(parts, axis=1)
    model = fit(wide, modalities=layout)
    assert_allclose(model.predict_proba(X), expected, atol=1e-5)
    assert_allclose(model.predict_proba(wide), expected, atol=1e-5)
    assert_allclose(model.predict_proba(wide.iloc[:, ::-1]), expected, atol=1e-5)
    swapped = {**layout, "S1": (layout["S1"][0], (2, 6))}
    refused(
        small(modalities=swapped).fit,
        wide,
        Y,
        says="'S1' ... (2, 6) ... 6 steps and 2 bands",
    )


# -- no-data -------------------------------------------------------------------------


def holes(values, number):
    values = values.copy()
    values[:20, 2] = number
    values[25:30] = number
    return values


@pytest.mark.parametrize(
    ("place", "key"),
    [("encoding", "_FillValue"), ("attrs", "nodata"), ("attrs", "missing_value")],
)
def test_declared_nodata_is_missing_in_training_prediction_and_maps(place, key):
    nan = {m: holes(X[m], np.nan) if m == "S1" else X[m] for m in SERIES}
    expected = fit(nan)
    arrays = {m: a for m, a in data_arrays().items() if m != "soil"}
    filled = {**arrays, "S1": arrays["S1"].copy(data=holes(X["S1"], -9999.0))}
    getattr(filled["S1"], place)[key] = -9999.0
    model = fit(filled)
    answers = expected.predict_proba(nan)
    for given in (filled, ModalityDict(filled), nan):
        assert_allclose(model.predict_proba(given), answers, atol=1e-5)
    rows = PerModality(StandardScaler()).fit_transform(filled)
    assert np.nanmax(np.abs(rows["S1"])) < 10
    pixels = cube(names=SERIES)
    for i, band in enumerate(BANDS["S1"]):
        values = holes(X["S1"], -9999.0)[..., i].reshape(10, 12, 6)
        pixels["S1"][band] = pixels["S1"][band].copy(data=values)
        getattr(pixels["S1"][band], place)[key] = -9999.0
    assert_allclose(mapped(model, pixels), answers, atol=1e-5)
    alone = predict_raster(model.export("S1"), pixels["S1"])
    assert (np.ravel(alone)[25:30] == 255).all()
    assert (np.ravel(alone)[:25] < 255).all()


def test_nodata_may_be_declared_for_a_whole_dataset():
    xr = pytest.importorskip("xarray")
    arrays = data_arrays()
    arrays["S1"] = arrays["S1"].copy(data=holes(X["S1"], -9999.0))
    dataset = xr.Dataset(arrays, attrs={"_FillValue": -9999.0})
    assert np.isnan(ModalityDict.from_xarray(dataset)["S1"][25:30]).all()
    bands = arrays["S1"].to_dataset("band").assign_attrs(_FillValue=-9999.0)
    assert_allclose(ModalityDict(S1=bands)["S1"], holes(X["S1"], np.nan))


# -- labels of classes ---------------------------------------------------------------


LACKING = {
    "reindex": lambda: pd.Series(CODES, IDS).drop(IDS[:5]).reindex(IDS),
    "Int64": lambda: pd.Series(CODES, IDS, dtype="Int64").where(np.arange(N) > 4),
    "floats": lambda: np.where(np.arange(N) > 4, CODES, np.nan),
    "objects": lambda: [None if row < 5 else float(c) for row, c in enumerate(CODES)],
    "complete floats": lambda: CODES.astype(float),
}


@pytest.mark.parametrize("labels", LACKING.values(), ids=list(LACKING))
@pytest.mark.slow
def test_maps_hold_the_labels_though_some_are_missing(labels):
    model = learnt(data_arrays(), labels())
    assert model.classes_.tolist() == [10, 20, 30]
    numbers = predict_raster(model, cube(names=BANDS))
    assert numbers.dtype == np.uint8
    assert numbers.attrs["flag_values"].tolist() == [10, 20, 30]
    assert np.mean(np.ravel(numbers) == CODES) > 0.9
    assert np.mean(model.predict(X) == CODES) > 0.9


# rasterio's, of another version of affine.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("codes", [1101070000, 4300000000])
def test_class_codes_beyond_int32_are_written_to_geotiff(codes, tmp_path):
    pytest.importorskip("rioxarray")
    rasterio = pytest.importorskip("rasterio")
    model = fit(X, codes + Y).export("soil")
    pixels = cube(names=["soil"])["soil"]
    pixels = pixels.copy(deep=True)  # not of the data that all tests share
    pixels["clay"][0, 0] = pixels["sand"][0, 0] = pixels["ph"][0, 0] = np.nan
    numbers = predict_raster(model, pixels, bands=BANDS["soil"])
    numbers.rio.write_crs("EPSG:32633").rio.to_raster(tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        read = file.read(1)
        assert read[0, 0] == file.nodata
    assert read.ravel()[1:].tolist() == model.predict(X["soil"][1:]).tolist()


# -- dates ---------------------------------------------------------------------------

SECONDS = (DATES.astype("datetime64[s]").astype(np.int64)).to_numpy()
NO_DAYS = {
    "YYYYMMDD": (DATES.strftime("%Y%m%d").astype(int), "unit|format"),
    "YYYYMM": (DATES.strftime("%Y%m").astype(int), "format"),
    "YYYYDDD": (DATES.strftime("%Y%j").astype(int), "format"),
    "seconds": (SECONDS, "unit='s'"),
    "milliseconds": (SECONDS * 1000, "unit='ms'"),
    "nanoseconds": (SECONDS * 10**9, "unit='ns'"),
}


@pytest.mark.parametrize("by_row", [False, True])
@pytest.mark.parametrize("kind", NO_DAYS)
def test_numbers_that_are_not_days_are_refused(kind, by_row):
    numbers = np.asarray(NO_DAYS[kind][0])
    for own in (numbers, numbers.astype(float), numbers.tolist()):
        rows, times = X, {"S1": own}
        if by_row:
            rows, times = {**X, "days": np.tile(own, (N, 1))}, {"S1": "days"}
        clf = small(encoder="ltae", encoder_params=None, times=times)
        refused(clf.fit, rows, Y, says="'S1' ... pd.to_datetime(")


TIMED = {
    "encoder": {"S1": "ltae", "S2": "mlp", "soil": "mlp"},
    "encoder_params": None,
    "times": {"S1": DATES},
}


def test_the_times_of_the_estimator_label_the_steps(tmp_path):
    model, back = fit(X, **TIMED), data_arrays()["S1"][:, ::-1]
    expected = model.predict_proba({"S1": X["S1"]})
    for one in (model, model.export("S1"), loaded(model, tmp_path)):
        assert_allclose(one.predict_proba({"S1": back}), expected, atol=1e-5)
    pixels = cube(names=["S1"])["S1"].isel(time=slice(None, None, -1))
    answers = mapped(model.export("S1"), pixels, bands=BANDS["S1"])
    assert_allclose(answers, expected, atol=1e-5)


def test_times_that_contradict_the_dates_of_the_steps_are_refused():
    array = data_arrays()["S1"]
    later = array.assign_coords(time=DATES + pd.DateOffset(months=1))
    for wrong in (array[:, ::-1], array[:, [1, 0, 2, 3, 4, 5]], later):
        refused(small(**TIMED).fit, {**X, "S1": wrong}, Y, says="'S1' ... times=")
    middle = array.assign_coords(time=DATES + pd.DateOffset(days=14))
    for right in (array, middle):
        fit({**X, "S1": right}, **TIMED)


# -- maps ----------------------------------------------------------------------------


def test_grids_may_differ_by_less_than_a_hundredth_of_a_pixel(labelled):
    cubes = cube(names=BANDS)
    expected = mapped(labelled, cubes)
    cubes["S2"] = cubes["S2"].assign_coords(
        x=cubes["S2"].x + 0.05, y=cubes["S2"].y - 0.05
    )
    assert_allclose(mapped(labelled, cubes), expected, atol=1e-5)
    cubes["S2"] = cubes["S2"].isel(x=slice(None, None, -1))
    assert_allclose(mapped(labelled, cubes), expected, atol=1e-5)
    cubes["S2"] = cubes["S2"].assign_coords(x=cubes["S2"].x + 5)
    refused(predict_raster, labelled, cubes, says="'S1' and 'S2' ... x[0]")


def test_maps_of_models_with_the_dates_of_each_row_take_fewer_dates():
    dates = np.tile(DATES.to_numpy(), (N, 1))
    rows = {**X, "dates": dates}
    clf = small(encoder={"S1": "ltae", "S2": "mlp", "soil": "mlp"}, encoder_params=None)
    model = clf.set_params(times={"S1": "dates"}).fit(rows, Y)
    radar = model.export("S1")
    few = cube(names=["S1"])["S1"].isel(time=slice(4))
    gaps, lacking = X["S1"].copy(), dates.copy()
    gaps[:, 4:], lacking[:, 4:] = np.nan, np.datetime64("NaT")
    expected = radar.predict_proba({"S1": gaps, "dates": lacking})
    assert_allclose(mapped(radar, few, bands=BANDS["S1"]), expected, atol=1e-5)
    holed = few.isel(time=[0, 1, 2]).reindex(time=DATES[:4])
    gaps[:, 3] = np.nan
    expected = radar.predict_proba({"S1": gaps, "dates": lacking})
    assert_allclose(mapped(radar, holed, bands=BANDS["S1"]), expected, atol=1e-5)


# -- what is malformed, and what is far off ------------------------------------------


def ragged():
    return [row[: 4 + i % 2].tolist() for i, row in enumerate(X["S1"])]


@pytest.mark.parametrize("side", ["fit", "predict", "ModalityDict", "align"])
def test_malformed_modalities_are_named(plain, side):
    call = {
        "fit": lambda value: small().fit({**X, "S1": value}, Y),
        "predict": lambda value: plain.predict({"S1": value}),
        "ModalityDict": lambda value: ModalityDict(S1=value),
        "align": lambda value: ModalityDict.align({"S1": (IDS, value)}),
    }[side]
    refused(call, ragged(), says="'S1' ... row 1")
    frame = frames()["soil"]
    twice = frame.set_axis(["clay", "sand", "clay"], axis=1)
    refused(call, twice, says="'S1' ... 'clay'")
    if side in ("fit", "predict"):
        dated = frame.assign(seen=pd.Timestamp("2021-05-01"))
        call = {
            "fit": lambda: small().fit({**X, "soil": dated}, Y),
            "predict": lambda: fit({**X, "soil": frame}).predict(
                {"soil": frame.assign(clay=pd.Timestamp("2021-05-01"))}
            ),
        }[side]
        refused(
            call, says="'soil' ... 'seen'" if side == "fit" else "'soil' ... 'clay'"
        )


@pytest.mark.parametrize("wrong", ["twice", "dates", "text"])
def test_malformed_columns_of_a_layout_are_named(wrong):
    frame = table()
    if wrong == "twice":
        frame = pd.concat([frame, frame[["clay"]]], axis=1)
    else:
        frame["clay"] = pd.Timestamp("2021-05-01") if wrong == "dates" else "a lot"
    refused(small(modalities=LAYOUT).fit, frame, Y, says="'soil' ... 'clay'")


def test_a_torch_y_is_refused():
    y = torch.from_numpy(Y)
    refused(small().fit, X, y, says="y ... torch ... numpy()", error=TypeError)
    refused(
        small(CoLearnRegressor).fit, X, y.double(), says="y ... torch", error=TypeError
    )
    refused(small().fit, X, list(y), says="y ... torch", error=TypeError)


def test_values_far_from_training_give_one_warning(plain, labelled, flat):
    far = X["S2"] * [1, 1e4, 1]
    with pytest.warns(
        UserWarning, match=r"\[1\] of modality 'S2'.*standard dev"
    ) as caught:
        plain.predict({"S1": X["S1"], "S2": far})
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"\['B3'\] of modality 'S2'") as caught:
        labelled.predict_proba({"S2": far})
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="'S2'"):
        plain.export("S2").predict(far)
    with pytest.warns(UserWarning, match="'soil'") as caught:
        flat.predict(table().assign(clay=1e5))
    assert len(caught) == 1
    some = X["S2"].copy()
    some[: N // 4] = 1e5
    plain.predict({"S2": some})  # clouds, say


@pytest.mark.parametrize("chunks", [None, 6])
def test_a_map_far_outside_training_warns_once(labelled, chunks):
    pixels = cube(names=["S2"])["S2"]
    pixels["B3"] = pixels["B3"] + 1e5
    if chunks is not None:
        pytest.importorskip("dask")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predict_raster(labelled.export("S2"), pixels, chunks=chunks).load()
    # The default filter shows it once.
    assert ["'B3'" in text for text in {str(w.message) for w in caught}] == [True]


# -- legitimate use is neither refused nor warned of ---------------------------------


@pytest.mark.slow
def test_rows_split_together_are_taken_as_they_are():
    y = pd.Series(Y)
    for rows in (
        ModalityDict(frames()),
        ModalityDict(frames(rows=IDS)),
        ModalityDict(X),
    ):
        own = y.set_axis(rows.ids) if rows.ids is not None else y
        X_train, X_test, y_train, y_test = train_test_split(rows, own, random_state=0)
        model = learnt(X_train, y_train)
        assert model.score(X_test, y_test) > 0.9
    rows = table().assign(label=Y).sample(frac=1, random_state=0)
    model = learnt(rows, rows["label"], modalities=LAYOUT)
    assert model.score(rows, rows["label"]) > 0.9
    pipeline = make_pipeline(
        PerModality(StandardScaler()), small(max_epochs=15, lr=3e-2)
    )
    rows = ModalityDict(frames(rows=IDS))[TURNED]
    assert pipeline.fit(rows, pd.Series(Y, IDS)).score(rows, Y[TURNED]) > 0.9
