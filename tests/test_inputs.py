import copy

import numpy as np
import pandas as pd
import pytest
from test_modality_dict import columns_frame, refused

from sklearn_colearn import ModalityDict
from sklearn_colearn.inputs import Schema, numeric_values, present_rows, rows_text


@pytest.fixture
def X():
    return ModalityDict(
        S1=np.arange(5 * 3 * 2, dtype=np.float32).reshape(5, 3, 2),
        soil=pd.DataFrame({"clay": np.arange(5) * 10, "sand": np.arange(5) * 100}),
    )


# Schema: what comes at prediction


@pytest.fixture
def schema(X):
    return Schema.of(X)


def test_schema_of_a_container(schema):
    assert schema.shapes == {"S1": (3, 2), "soil": (2,)}
    assert schema.entries["soil"].bands == ("clay", "sand")
    assert not schema.is_flat


def test_read_some_modalities_in_any_form(schema, X):
    assert list(schema.read(X)) == ["S1", "soil"]
    assert list(schema.read({"soil": X["soil"]})) == ["soil"]
    frame = columns_frame([("soil", "clay"), ("soil", "sand")])
    assert list(schema.read(frame)) == ["soil"]


def test_read_a_bare_array_by_its_shape(schema):
    assert list(schema.read(np.zeros((4, 3, 2)))) == ["S1"]
    assert list(schema.read([[1, 2]])) == ["soil"]


def test_read_a_bare_frame_by_its_columns():
    schema = Schema.of(
        ModalityDict(
            A=pd.DataFrame({"a": [1], "b": [2]}), B=pd.DataFrame({"c": [1], "d": [2]})
        )
    )
    read = schema.read(pd.DataFrame({"d": [1.0], "c": [2.0]}))
    assert list(read) == ["B"]
    np.testing.assert_array_equal(read["B"], [[2, 1]])  # in the order of fit


def test_read_orders_the_columns_of_a_frame(schema):
    swapped = pd.DataFrame({"sand": [1], "extra": [9], "clay": [2]})
    np.testing.assert_array_equal(schema.read({"soil": swapped})["soil"], [[2, 1]])


def test_read_two_modalities_of_one_shape():
    schema = Schema.of(ModalityDict(A=np.zeros((1, 3)), B=np.zeros((1, 3))))
    bare = np.zeros((2, 3))
    with refused(ValueError, "shape (n, 3)", "['A', 'B']", "modality="):
        schema.read(bare)
    assert list(schema.read(bare, modality="B")) == ["B"]
    assert list(schema.read(bare, prefer="B")) == ["B"]
    assert list(schema.read(bare, modality="A", prefer="B")) == ["A"]


def test_read_a_modality_whose_name_is_empty():
    schema = Schema.of(ModalityDict({"": np.zeros((1, 3)), "B": np.zeros((1, 3))}))
    assert list(schema.read(np.zeros((2, 3)), modality="")) == [""]


def test_a_shape_of_no_modality_is_refused(schema):
    with refused(ValueError, "(n, 5) matches none", "'S1': (n, 3, 2), 'soil': (n"):
        schema.read(np.zeros((4, 5)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"S3": np.zeros((1, 2))}, ["modality 'S3'", "['S1', 'soil']"]),
        ({"S1": np.zeros((1, 4, 2))}, ["'S1' has shape (n, 4, 2)", "saw (n, 3, 2)"]),
        ({"soil": pd.DataFrame({"clay": [1], "silt": [2]})}, ["lacks the", "['sand']"]),
        ({}, ["X has no modalities or no rows", "['S1', 'soil']"]),
        ({"soil": np.zeros((0, 2))}, ["X has no modalities or no rows"]),
    ],
    ids=["name", "shape", "columns", "nothing", "no row"],
)
def test_input_unlike_fit_is_refused(schema, given, message):
    with refused(ValueError, *message):
        schema.read(given)


# Values


@pytest.mark.parametrize(
    ("values", "missing_value", "expected", "dtype"),
    [
        (np.array([[1, 65535]], np.uint16), 65535, [[1, np.nan]], "float32"),
        (np.array([[1, 65535]], np.uint16), -9999, [[1, 65535]], "float32"),
        (np.array([[1, 65535]], np.uint16), None, [[1, 65535]], "float32"),
        (np.array([[1, -9999]], np.int16), -9999, [[1, np.nan]], "float32"),
        (np.array([[1, -9999]], np.int32), -9999.0, [[1, np.nan]], "float64"),
        (np.array([[16777217]]), None, [[16777217]], "float64"),
        (np.array([[0.1, -9999]], np.float32), -9999, [[0.1, np.nan]], "float32"),
        (np.array([[0.1, np.nan]], np.float64), None, [[0.1, np.nan]], "float64"),
        (np.array([[0.1]], np.float16), None, [[0.1]], "float32"),
        (np.array([[True, False]]), None, [[1, 0]], "float32"),
        (np.array([[-np.inf, 2.0]]), -np.inf, [[np.nan, 2]], "float64"),
        (np.array([[1, None]], object), None, [[1, np.nan]], "float64"),
        (np.array([[1, None, -1]], object), -1, [[1, np.nan, np.nan]], "float64"),
        (np.array([[1, pd.NA]], object), None, [[1, np.nan]], "float64"),
        (np.array([["1.5", "2"]]), None, [[1.5, 2]], "float64"),
        (pd.DataFrame({"a": [1], "b": [None]}), None, [[1, np.nan]], "float64"),
        (pd.DataFrame({"a": [True], "b": [2]}), None, [[1, 2]], "float64"),
        (
            pd.DataFrame(
                {"a": pd.array([pd.NA], "Int64"), "b": pd.array([3], "Int64")}
            ),
            None,
            [[np.nan, 3]],
            "float64",
        ),
        (
            pd.DataFrame({"a": pd.array([pd.NA], "Int64"), "b": [3.5]}),
            None,
            [[np.nan, 3.5]],
            "float64",
        ),
        (pd.DataFrame({"a": pd.Categorical([3])}), None, [[3]], "float64"),
        (pd.DataFrame({"a": np.float32([2])}), None, [[2]], "float32"),
    ],
)
def test_numeric_values(values, missing_value, expected, dtype):
    before = copy.deepcopy(values)
    array = numeric_values("S1", values, missing_value)
    assert array.dtype == dtype
    np.testing.assert_allclose(array, expected, rtol=1e-3 if dtype == "float32" else 0)
    # What the user has is not written to.
    pd.testing.assert_frame_equal(pd.DataFrame(values), pd.DataFrame(before))


def test_missing_values_inside_a_time_series():
    series = np.arange(12, dtype=np.uint16).reshape(2, 3, 2)
    array = numeric_values("S1", series, 5)
    assert np.argwhere(np.isnan(array)).tolist() == [[0, 2, 1]]
    assert array.shape == (2, 3, 2)


def test_objects_keep_the_axes_of_a_time_series():
    series = np.arange(12).reshape(2, 3, 2).astype(object)
    series[1, 0, 1] = None
    array = numeric_values("S1", series, None)
    expected = np.arange(12.0).reshape(2, 3, 2)
    expected[1, 0, 1] = np.nan
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("values", "where", "reason"),
    [
        (pd.DataFrame({"a": pd.Categorical(["oak"])}), " in column 'a'", "oak"),
        (pd.DataFrame({"a": [1.0], "b": ["fir"]}), " in column 'b'", "fir"),
        (np.array([["a", "b"]]), "", "a"),
    ],
    ids=["categories", "text column", "text array"],
)
def test_non_numeric_values_are_refused(values, where, reason):
    with refused(ValueError, f"not numbers{where} (", repr(reason), "OneHotEncoder"):
        numeric_values("soil", values, None)


def test_dates_are_refused_as_values():
    dates = np.array([["2020-01-01"]], "datetime64[D]")
    with refused(ValueError, "'S1' contains dates", "times="):
        numeric_values("S1", dates, None)


def test_complex_values():
    with refused(ValueError, "Complex data not supported: modality 'S1'"):
        numeric_values("S1", np.array([[1j]]), None)


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([1], "row 1"),
        ([0, 3], "rows 0, 3"),
        (range(12), "rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (and 2 more)"),
    ],
)
@pytest.mark.parametrize("shape", [(12, 2), (12, 3, 2)], ids=str)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_names_its_rows(rows, text, shape, value):
    values = np.zeros(shape)
    values[list(rows), ..., -1] = value
    with refused(ValueError, f"'S1' contains infinity in {text}.", "missing_value="):
        numeric_values("S1", values, None)


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2), (4, 2, 3, 2)], ids=str)
def test_present_rows_hold_any_value(shape):
    array = np.zeros(shape)
    array[0] = np.nan
    array[1, ..., 0] = np.nan
    array[2].flat[1:] = np.nan
    present = present_rows(array)
    assert present.dtype == bool
    assert present.tolist() == [False, True, True, True]


def test_rows_text():
    assert rows_text([3]) == "row 3"
    assert rows_text(np.array([0, 1, 2])) == "rows 0, 1, 2"
    assert rows_text(range(5), limit=2) == "rows 0, 1 (and 3 more)"
