"""Targets: matched to the rows of X by their own labels, and what is no label."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tools import small

from sklearn_colearn import CoLearnRegressor, ModalityDict
from sklearn_colearn.targets import as_labels, labelled_part, labelled_rows, matched

ROWS = [4, 2, 0, 5, 1, 3]


def tuples(pairs):
    made = np.empty(len(pairs), dtype=object)
    made[:] = pairs
    return made


IDS = {
    "text": np.array(["p3", "p1", "p2", "p6", "p5", "p4"]),
    "objects": np.array(["p3", "p1", "p2", "p6", "p5", "p4"], dtype=object),
    "numbers": np.array([30, 10, 20, 60, 50, 40]),
    "dates": np.array(["2021-04-03"], "M8[ns]") + np.arange(6) * np.timedelta64(1, "D"),
    "levels": tuples([(f"p{i}", 2020 + i % 2) for i in range(6)]),
}


def index_of(ids):
    if isinstance(ids[0], tuple):
        return pd.MultiIndex.from_tuples(ids, names=["plot", "year"])
    return pd.Index(ids)


# Matching by ids


@pytest.mark.parametrize("kind", IDS)
def test_values_with_ids_are_reordered_to_X(kind):
    ids = IDS[kind]
    y = pd.Series(range(6), index=index_of(ids))
    assert matched(y, ids) is y
    assert matched(y.iloc[ROWS], ids).tolist() == list(range(6))
    frame = pd.DataFrame({"a": y, "b": -y})
    assert_array_equal(matched(frame.iloc[ROWS], ids), frame)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_permutation_is_undone(data):
    ids = data.draw(st.lists(st.text(), min_size=2, max_size=8, unique=True))
    rows = data.draw(st.permutations(range(len(ids))))
    y = pd.Series(range(len(ids)), index=ids).iloc[rows]
    assert matched(y, np.array(ids, dtype=object)).tolist() == list(range(len(ids)))


@pytest.mark.parametrize(
    "dtype", ["category", "Int64", "float32", "boolean", "string", "int64[pyarrow]"]
)
def test_values_of_any_type_keep_it(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    y = pd.Series([1, 0, 1, 0, 0, 1], index=IDS["text"]).astype(dtype)
    if dtype == "Int64":
        y.iloc[2] = pd.NA
    pd.testing.assert_series_equal(matched(y.iloc[ROWS], IDS["text"]), y)


def test_data_arrays_follow_their_coordinate():
    xarray = pytest.importorskip("xarray")
    ids = IDS["text"]
    y = xarray.DataArray(np.arange(6), coords={"plot": ids}, dims="plot")
    assert matched(y[ROWS], ids).values.tolist() == list(range(6))
    assert matched(y[ROWS].drop_vars("plot"), ids).values.tolist() == ROWS
    stacked = y.to_series().set_axis(index_of(IDS["levels"])).to_frame("y").to_xarray()
    long = stacked["y"].stack(sample=("plot", "year")).dropna("sample")
    assert matched(long, IDS["levels"]).values.tolist() == list(range(6))


@pytest.mark.parametrize(
    "y",
    [
        list(range(6)),
        np.arange(6),
        pd.Series(range(6)),
        pd.Series(range(6), index=pd.Index(list(range(6)))),
        pd.DataFrame({"a": range(6)}),
        pd.Series(range(5), index=list("abcde")),  # another length: not said here
    ],
    ids=["list", "array", "Series", "counted", "frame", "length"],
)
def test_values_without_ids_go_by_position(y):
    assert matched(y, IDS["text"]) is y


def test_X_without_ids_goes_by_position():
    y = pd.Series([1, 2], index=["b", "a"])
    assert matched(y, None) is y


def test_polars_has_no_ids():
    polars = pytest.importorskip("polars")
    y = polars.Series([1, None, 3, 4, 5, 6])
    assert matched(y, IDS["text"]) is y
    assert labelled_rows(y).tolist() == [True, False, True, True, True, True]


@pytest.mark.parametrize(
    ("ids", "index", "message"),
    [
        (["p1", "p2"], ["p7", "p2"], r"row 0 is 'p1' in X and 'p7' in y.*such as 'p1'"),
        (["p1", "p2"], ["P1", "P2"], "row 0 is 'p1' in X and 'P1' in y"),
        (["p1", "p2"], [5, 3], "row 0 is 'p1' in X and 5 in y"),
        ([1, 2], ["1", "2"], "row 0 is 1 in X and '1' in y"),
        (["p1", "p2"], ["p1", "p1"], r"row 1 is 'p2' in X and 'p1' in y.*repeat in y"),
        (["p1", "p1"], ["p1", "p2"], r"row 1 is 'p1' in X and 'p2' in y.*repeat in X"),
        (tuples([("a", 1), ("b", 1)]), ["a", "b"], r"row 0 is \('a', 1\) in X and 'a'"),
    ],
)
def test_ids_that_contradict_are_refused(ids, index, message):
    with pytest.raises(ValueError, match=message + r".*reindex.*to_numpy"):
        matched(pd.Series([0, 1], index=index), np.asarray(ids))


def test_repeated_ids_in_the_same_order_agree():
    y = pd.Series([0, 1, 2], index=["a", "a", "b"])
    assert matched(y, np.array(["a", "a", "b"])) is y


def test_message_names_the_argument():
    weight = pd.Series([1.0, 2.0], index=["a", "c"])
    with pytest.raises(ValueError, match="'b' in X and 'c' in sample_weight"):
        matched(weight, np.array(["a", "b"]), name="sample_weight")


# Labels


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([10.0, np.nan, 20.0], [10, 20]),
        (pd.Series({"a": 10, "b": 20}).reindex(["a", "x", "b"]), [10, 20]),
        (pd.Series([10, None, 20], dtype="Int64"), [10, 20]),
        (pd.Series([10, None, 20], dtype="category"), [10, 20]),
        (np.array([10, None, 20], dtype=object), [10, 20]),
        ([[10.0], [None], [20.0]], [[10], [20]]),
        (pd.Series([4300000000, 1101070000, None]), [4300000000, 1101070000]),
        (pd.Series([True, False]).reindex([0, 5, 1]), [True, False]),
        (pd.Series([True, None, False], dtype="boolean"), [True, False]),
    ],
    ids=str,
)
def test_float_labels_become_integers(y, expected):
    part = labelled_part(as_labels(y), labelled_rows(y))
    assert part.dtype.kind == ("b" if expected[0] is True else "i")
    assert part.tolist() == expected


@pytest.mark.parametrize(
    "y",
    [
        np.array([10.0, 20.0]),  # nothing is missing
        np.array([10.5, np.nan]),
        np.array([1e300, np.nan]),
        np.array([np.inf, np.nan]),
        np.array(["a", None], dtype=object),
        np.array([1, 2]),
    ],
    ids=str,
)
def test_other_labels_are_unchanged(y):
    assert as_labels(y) is y


def test_classes_are_integers_despite_missing_labels(sensors):
    X, y = sensors
    labels = pd.Series((y + 1) * 10, index=range(90)).reindex(range(-1, 89))
    clf = small(max_epochs=1).fit(X, labels.to_numpy())
    assert clf.classes_.dtype.kind == "i"
    assert clf.classes_.tolist() == [10, 20, 30]
    assert clf.predict(X).dtype.kind == "i"


@pytest.mark.parametrize("estimator", [None, CoLearnRegressor])
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (torch.arange(90) % 2, TypeError, r"torch.*y\.numpy\(\)"),
        (list(torch.arange(90) % 2), TypeError, "torch"),
        (pd.date_range("2021-01-01", periods=90), ValueError, r"dates \(datetime64"),
        (pd.Series([dt.date(2021, 1, 1), None] * 45), ValueError, r"dates \(date\)"),
        (pd.period_range("2021", periods=90, freq="D"), ValueError, "dates"),
        ([[1, 0], [1]] * 45, ValueError, r"ragged: \[1, 0\]"),
        ([{"a"}, {"b"}] * 45, ValueError, r"ragged: \{'a'\}"),
    ],
    ids=["torch", "list of torch", "dates", "date", "periods", "ragged", "sets"],
)
def test_invalid_targets_are_refused(sensors, estimator, y, error, message):
    X = ModalityDict(sensors[0])
    clf = small(max_epochs=1) if estimator is None else small(estimator, max_epochs=1)
    with pytest.raises(error, match=message):
        clf.fit(X, y)


def test_targets_are_reordered_by_the_ids_of_X(sensors):
    X, y = sensors
    ids = np.array([f"p{i}" for i in range(90)])
    X = ModalityDict.align({m: (ids, X[m]) for m in X})
    rows = np.random.default_rng(0).permutation(90)
    expected = small().fit(X, y)
    shuffled = pd.Series(y, index=ids).iloc[rows]
    weight = pd.Series(np.arange(90.0), index=ids)
    assert_array_equal(
        small().fit(X, shuffled).predict_proba(X), expected.predict_proba(X)
    )
    assert_array_equal(
        small().fit(X, shuffled, sample_weight=weight.iloc[rows]).predict_proba(X),
        small().fit(X, y, sample_weight=weight).predict_proba(X),
    )
    assert expected.score(X, shuffled) == expected.score(X, y)
    with pytest.raises(ValueError, match="row 0 is 'p0' in X and 'q0' in y"):
        small().fit(X, pd.Series(y, index=[f"q{i}" for i in range(90)]))
