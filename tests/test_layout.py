"""Where each modality sits in a flat table, by positions or by column names."""

import re

import numpy as np
import pandas as pd
import pytest
import tools
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_colearn.layout import read_layout

small = tools.small
DATES = ["2021-04-01", "2021-04-13", "2021-05-07"]
MONTHS = ["Oct", "Nov", "Dec", "Jan", "Feb"]


def place_of(place, n_features=6, names=None):
    return read_layout({"A": place}, n_features, names)["A"]


def read(names, shape):
    """Return the order in which a series of all columns takes them, by name."""
    return list(place_of((slice(None), shape), len(names), list(names)).names)


# By position or name


@pytest.mark.parametrize(
    ("place", "columns", "shape"),
    [
        (slice(1, 3), [1, 2], (2,)),
        (slice(None), [0, 1, 2, 3, 4, 5], (6,)),
        (slice(-2, None), [4, 5], (2,)),
        (slice(0, 6, 2), [0, 2, 4], (3,)),
        ([3, 0], [3, 0], (2,)),
        (np.array([1, 2], np.uint8), [1, 2], (2,)),
        (range(2, 4), [2, 3], (2,)),
        ([-1, -6], [5, 0], (2,)),
        ([True, False, False, True, False, False], [0, 3], (2,)),
        (np.array([False] * 5 + [True]), [5], (1,)),
        ((slice(0, 6), (3, 2)), [0, 1, 2, 3, 4, 5], (3, 2)),
        (([5, 4, 1, 0], (1, 2, 2)), [5, 4, 1, 0], (1, 2, 2)),
    ],
    ids=repr,
)
def test_columns_by_position(place, columns, shape):
    found = place_of(place)
    assert found.columns.tolist() == columns
    assert (found.shape, found.names, found.labels) == (shape, None, None)


@pytest.mark.parametrize(
    ("place", "columns"),
    [(["z", "x"], [2, 0]), (pd.Index(["y"]), [1]), (slice(1, 3), [1, 2]), ([-1], [2])],
    ids=repr,
)
def test_columns_by_name(place, columns):
    found = place_of(place, 3, ["x", "y", "z"])
    assert found.columns.tolist() == columns
    assert found.names == tuple("xyz"[i] for i in columns)


@pytest.mark.parametrize(
    "place",
    [
        *(0, "x", None, (0, 1), ([0, 1], [1, 2]), ([0, 1], (1, 2), 3), ([0, 1],)),
        *([0.0, 1.7], [None], [[0, 1], [2, 3]], [[0], [1, 2]], [0, True]),
        *(slice("a", "c"), slice(0, 2.0)),
    ],
    ids=repr,
)
def test_columns_of_another_form_are_refused(place):
    with pytest.raises(TypeError, match=r"modalities\['A'\] must be a slice"):
        place_of(place, names=list("abcdef"))


@pytest.mark.parametrize(
    ("place", "names", "message"),
    [
        ([6], None, r"\[6\], which X lacks; it has 6 unnamed columns"),
        ([5, -7], None, r"\[-7\], which X lacks; it has 6 unnamed columns"),
        (slice(4, 8), None, "stops at 8, but X has 6 columns"),
        (["b"], None, r"\['b'\], .* 6 unnamed columns"),
        (["a", "g"], "abcdef", r"\['g'\], .* 6 columns"),
        ([], None, "no columns"),
        (slice(3, 3), None, "no columns"),
        ([False] * 6, None, "no columns"),
        ([True, False], None, "2 booleans, but X has 6"),
        ((slice(0, 6), (4, 2)), None, r"6 columns, .* \(4, 2\) needs 8"),
        (([0, 1], (3,)), None, r"2 columns, .* \(3,\) needs 3"),
        (["a"], "abcaef", "'a', but X has 2 columns of this name"),
        (slice(2, 5), "abcaef", "'a', but X has 2 columns of this name"),
    ],
)
def test_columns_that_do_not_fit_the_table_are_refused(place, names, message):
    with pytest.raises(ValueError, match=r"modalities\['A'\] .*" + message):
        place_of(place, 6, names and list(names))


def test_duplicate_names_of_unused_columns_are_ignored():
    assert place_of(["b", "c"], 6, list("abcaef")).columns.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("places", "names", "message"),
    [
        ({"A": slice(0, 3), "B": [4, -4]}, None, "2 to both 'A' and 'B'"),
        ({"A": slice(0, 3), "B": [4, -4]}, "abcdef", "'c' to both 'A' and 'B'"),
        ({"A": ["b", "a", "b"]}, "abcdef", "'b' to both 'A' and 'A'"),
        ({}, None, "is empty"),
    ],
)
def test_overlapping_or_empty_layouts_are_refused(places, names, message):
    with pytest.raises(ValueError, match="modalities= .*" + message):
        read_layout(places, 6, names and list(names))


# Steps and bands in the names


FORMS = {
    "band_ts": (["B02", "B8A"], ["ts0", "ts1", "ts2"], "{band}_{step}"),
    "ts_band": (["B02", "B8A"], ["ts9", "ts10", "ts11"], "{step}_{band}"),
    "glued": (["B02", "B03"], ["ts0", "ts1", "ts2"], "{band}{step}"),
    "number": (["VV", "VH"], ["8", "9", "10"], "{band}{step}"),
    "dates": (["VV", "VV_VH_ratio"], DATES, "{step}_{band}"),
    "dates last": (["VV", "VV-VH"], DATES, "{band}.{step}"),
    "reducers": (
        ["mean", "std"],
        ["20210401", "20211001", "20220101"],
        "S2_{step}_{band}",
    ),
    "in the middle": (["mean", "std"], ["1", "2", "10"], "B02_{step}_{band}"),
    "toBands": (["B2", "B3"], ["0", "1", "2"], "{step}_{band}"),
    "scene": (
        ["B2", "B3"],
        [f"2021040{i}T103021_2021040{i}T103021_T32UME" for i in (1, 6, 9)],
        "{step}_{band}",
    ),
    "months": (["VV", "VH"], ["apr", "may", "jun"], "{band} {step}"),
    "winter": (["VV", "VH"], MONTHS, "{band}_{step}"),
    "winter in numbers": (["VV", "VH"], ["11", "12", "01", "02"], "{band}_{step}"),
    "month and year": (
        ["VV", "VH"],
        ["Nov2020", "Jan2021", "Mar2021"],
        "{step}_{band}",
    ),
    "wavelengths": (["490", "560"], DATES, "{band}_{step}"),
    "words": (["red", "nir"], ["early", "mid", "late"], "{band}_{step}"),
}


@pytest.mark.parametrize("by_band", [False, True], ids=["by step", "by band"])
@pytest.mark.parametrize(
    ("form", "square"),
    # Two early and late steps of two bands red and nir: nobody can tell which is which.
    [(form, square) for square in (False, True) for form in FORMS][:-1],
)
def test_either_order_of_an_export_is_read_alike(form, by_band, square):
    bands, steps, text = FORMS[form]
    if square:
        steps = steps[:2]
    cells = [(step, band) for step in steps for band in bands]
    given = sorted(cells, key=lambda c: bands.index(c[1])) if by_band else cells
    names = [text.format(step=step, band=band) for step, band in given]
    expected = [text.format(step=step, band=band) for step, band in cells]
    shape = (len(steps), len(bands))
    assert read(names, shape) == expected
    place = place_of((names, shape), len(names) + 2, [*names[::-1], "id", "label"])
    assert place.names == tuple(expected)
    assert place.columns.tolist() == [names[::-1].index(name) for name in expected]


def test_names_label_steps_and_bands():
    names = [f"{band}_ts{i}" for band in ("B02", "B8A") for i in (10, 9)]
    place = place_of((names, (2, 2)), 4, names)
    assert place.labels == (("ts9", "ts10"), ("B02", "B8A"))


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_order_of_columns_is_read_alike(data):
    expected = [f"{band}_{date}" for date in DATES for band in ("VV", "VH", "angle")]
    names = data.draw(st.permutations(expected))
    found = read(names, (3, 3))
    bands = list(dict.fromkeys(name.split("_")[0] for name in names))
    assert found == [f"{band}_{date}" for date in DATES for band in bands]


@pytest.mark.parametrize(
    ("names", "shape", "expected"),
    [
        (["VV", "VH", "VV_1", "VH_1", "VV_2", "VH_2"], (3, 2), None),
        (["VV", "VV_1", "VV_2", "VH", "VH_1", "VH_2"], (3, 2), [0, 3, 1, 4, 2, 5]),
        (["ndvi_1", "ndvi_10", "ndvi_2"], (3, 1), [0, 2, 1]),
        (["t2", "t1", "t0"], (3, 1), [2, 1, 0]),
        (["feb", "jan", "mar"], (3, 1), [1, 0, 2]),
        (["x_01-02-2021", "x_05-01-2021"], (2, 1), None),  # of which month?
        (["red", "green", "blue"], (1, 3), None),
        (["B02", "B03", "B04", "B05"], (1, 4), None),
        (["B02", "B03", "B04", "B05"], (2, 2), None),
        (["a", "b", "c", "d"], (2, 2), None),
        (["p_a", "p_b", "q_a", "q_b"], (2, 2), None),
        (["p_a", "q_a", "p_b", "q_b"], (2, 2), None),
        (["B02_ts0", "B02_ts1", "B03_ts0", "B04_ts1"], (2, 2), None),  # no grid
        (["_", "__", "-", "."], (2, 2), None),
    ],
    ids=str,
)
def test_columns_by_name_or_else_by_position(names, shape, expected):
    order = range(len(names)) if expected is None else expected
    assert read(names, shape) == [names[i] for i in order]


@pytest.mark.parametrize(
    ("names", "shape", "right"),
    [
        ([f"B{b}_ts{t}" for b in (2, 3, 4) for t in (0, 1)], (3, 2), (2, 3)),
        ([f"B{b}_ts{t}" for t in (0, 1) for b in (2, 3, 4)], (3, 2), (2, 3)),
        ([f"{t}_B{b}" for b in (2, 3, 4) for t in (0, 1)], (3, 2), (2, 3)),
        ([f"ndvi_{d}" for d in DATES], (1, 3), (3, 1)),
        ([f"{b}_{d}" for b in ("VV", "VH") for d in DATES], (6, 1), (3, 2)),
    ],
)
def test_a_shape_that_the_names_contradict_is_refused(names, shape, right):
    with pytest.raises(
        ValueError, match=rf"'A'\].*Use the shape {re.escape(str(right))}"
    ):
        read(names, shape)


def test_ambiguous_names_are_refused():
    with pytest.raises(ValueError, match=r"'A'\].*cannot tell .* such as 'q_b'"):
        read(["q_b", "p_a", "q_a", "p_b"], (2, 2))


def test_images_are_taken_by_position():
    names = [f"B{b}_ts{t}" for b in (2, 3) for t in (0, 1)]
    assert read(names, (2, 2, 1)) == names


# Through the estimator


@pytest.mark.parametrize(
    ("prefix", "by_slice"), [("B{band}_ts{step}", True), ("ts{step}_B{band}", False)]
)
def test_wide_exports_give_the_answers_of_the_series(sensors, prefix, by_slice):
    X, y = sensors
    n_steps, n_bands = X["S2"].shape[1:]
    series = X.select(["S2", "terrain"])
    expected = small(max_epochs=1).fit(series, y).predict_proba(series)
    # One column after the other, as a database or Earth Engine gives them.
    wide = pd.DataFrame(
        {
            prefix.format(band=band, step=step): X["S2"][:, step, band]
            for band in range(n_bands)
            for step in range(n_steps)
        }
    )
    columns = slice(0, wide.shape[1]) if by_slice else list(wide.columns)
    table = pd.DataFrame(X["terrain"]).add_prefix("relief")
    frame = pd.concat([wide, table], axis=1)
    layout = {"S2": (columns, (n_steps, n_bands)), "terrain": list(table.columns)}
    clf = small(max_epochs=1, modalities=layout).fit(frame, y)
    np.testing.assert_allclose(clf.predict_proba(frame), expected, atol=1e-4)
    assert_array_equal(clf.predict(frame), expected.argmax(axis=1))
