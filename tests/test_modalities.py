import copy
import pickle
import re

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from sklearn_colearn import ModalityDict
from sklearn_colearn.modalities import is_named, read_named, restrict
from sklearn_colearn.schema import (
    Schema,
    numeric_values,
    present_rows,
    rows_text,
)

# Names that torch's ModuleDict, keyword arguments or a path would trip over.
ODD_NAMES = ["S.1", "", "type", "input_ids", "self", "modalities", "keys", "a/b", "é"]


def error_of(error, call, *args, **options):
    """Return the text of the error that a call raises, to compare it whole."""
    with pytest.raises(error) as caught:
        call(*args, **options)
    return str(caught.value)


def key_error_of(call, *args):
    # str(KeyError) is the repr of its message.
    with pytest.raises(KeyError) as caught:
        call(*args)
    return caught.value.args[0]


@pytest.fixture
def X():
    return ModalityDict(
        S1=np.arange(5 * 3 * 2, dtype=np.float32).reshape(5, 3, 2),
        soil=pd.DataFrame(
            {"clay": np.arange(5) * 10, "sand": np.arange(5) * 100},
            index=[7, 7, 3, 1, 0],  # labels that are no positions, one of them twice
        ),
    )


def columns_frame(columns, n=2):
    values = np.arange(n * len(columns), dtype=float).reshape(n, -1)
    return pd.DataFrame(values, columns=pd.MultiIndex.from_tuples(columns))


# ModalityDict: the flat form


def test_shape_length_and_repr(X):
    assert (len(X), X.shape, X.ndim) == (5, (5, 8), 2)
    assert list(X) == ["S1", "soil"]
    assert repr(X) == "ModalityDict(S1: (5, 3, 2) float32, soil: (5, 2) DataFrame)"


def test_flat_form_puts_modalities_side_by_side(X):
    flat = np.asarray(X)
    assert flat.dtype == X.dtype == np.float64  # float32 and int64 together
    np.testing.assert_array_equal(flat[:, :6], X["S1"].reshape(5, 6))
    np.testing.assert_array_equal(flat[:, 6:], X["soil"])


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3), np.uint8),
        np.array([["a"], ["bc"]]),
        pd.DataFrame({"a": np.float32([1, 2]), "b": [1.0, 2.0]}),
        pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}),
        pd.DataFrame({"a": pd.Categorical(["x", "y"])}),
        pd.DataFrame({"a": [True, False], "b": [1, 2]}),
    ],
    ids=lambda value: str(
        list(value.dtypes) if hasattr(value, "dtypes") else value.dtype
    ),
)
def test_dtype_is_the_dtype_of_the_flat_form(value):
    assert ModalityDict(A=value).dtype == np.asarray(ModalityDict(A=value)).dtype


def test_flat_form_is_a_copy(X):
    flat = np.asarray(X)
    flat[:] = -1
    assert X["S1"].min() == 0
    alone = X.select("S1")
    np.asarray(alone)[:] = -1
    assert alone["S1"].min() == 0


def test_flat_form_with_a_dtype(X):
    assert np.asarray(X, dtype=np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array(X, dtype=int), np.asarray(X).astype(int))


def test_flat_form_without_a_copy_is_refused(X):
    message = "The flat form of a ModalityDict is always a copy."
    assert error_of(ValueError, np.array, X, copy=False) == message
    assert error_of(ValueError, X.__array__, copy=False) == message


def test_flat_form_of_no_rows(X):
    assert np.asarray(X[:0]).shape == X[:0].shape == (0, 8)
    assert X[:0].dtype == X.dtype


def test_layout_finds_each_modality_in_the_flat_form(X):
    assert X.layout == {"S1": (slice(0, 6), (3, 2)), "soil": slice(6, 8)}
    flat = np.asarray(X)
    columns, shape = X.layout["S1"]
    np.testing.assert_array_equal(flat[:, columns].reshape(-1, *shape), X["S1"])
    np.testing.assert_array_equal(flat[:, X.layout["soil"]], X["soil"])


def test_layout_reads_the_flat_form_back(X):
    schema = Schema.of_layout(X.layout, X.shape[1], None)
    parts = schema.split(np.asarray(X))
    assert list(parts) == ["S1", "soil"]
    np.testing.assert_array_equal(parts["S1"], X["S1"])
    np.testing.assert_array_equal(parts["soil"], X["soil"])


def test_empty_container():
    X = ModalityDict()
    assert (len(X), X.shape, X.dtype, X.layout) == (0, (0, 0), np.float64, {})
    assert np.asarray(X).shape == (0, 0)
    assert repr(X) == "ModalityDict()"


# ModalityDict: rows


@pytest.mark.parametrize(
    "rows",
    [
        slice(1, 4),
        slice(None, None, -2),
        np.array([3, 0, 0]),
        np.array([1, 2], np.uint8),
        np.array([-1, -5]),
        np.array([True, False, False, True, False]),
        [4, 1],
        [True, False, True, False, False],
        pd.Index([2, 3]),
        pd.Series([False, True, False, False, True], index=[9, 8, 7, 6, 5]),
        range(2),
        [],
        np.zeros(5, bool),
    ],
    ids=repr,
)
@pytest.mark.parametrize("unwrap", [False, True], ids=["rows", "rows, Ellipsis"])
def test_slicing_takes_the_same_rows_of_every_modality(X, rows, unwrap):
    positions = np.arange(5)[
        rows
        if isinstance(rows, slice)
        else np.asarray(list(rows), dtype=None if len(rows) else int)
    ]
    part = X[rows, ...] if unwrap else X[rows]
    assert type(part) is ModalityDict
    assert len(part) == len(positions)
    np.testing.assert_array_equal(part["S1"], X["S1"][positions])
    pd.testing.assert_frame_equal(part["soil"], X["soil"].iloc[positions])


def test_rows_and_columns_index_the_flat_form(X):
    flat = np.asarray(X)
    np.testing.assert_array_equal(X[1:3, [0, 6]], flat[1:3, [0, 6]])
    np.testing.assert_array_equal(X[:, 7], flat[:, 7])
    assert X[4, 7] == 400


@pytest.mark.parametrize(
    ("key", "row"),
    [(2, 2), (np.int64(2), 2), (np.uint8(0), 0), (np.array(3), 3), (-2, -2)],
    ids=repr,
)
def test_one_row_is_refused_with_the_way_to_take_it(X, key, row):
    message = (
        "A ModalityDict is sliced by rows or indexed by a modality's name; "
        f"for row {row} use X[{row}:{row + 1}]."
    )
    assert error_of(TypeError, X.__getitem__, key) == message
    assert error_of(TypeError, X.__getitem__, (key, ...)) == message


@pytest.mark.parametrize("row", [0, 4, -1])
def test_the_way_to_take_one_row_takes_that_row(X, row):
    text = error_of(TypeError, X.__getitem__, row)
    advised = re.search(r"use (X\[.*\])\.$", text).group(1)
    part = eval(advised, {"X": X})
    np.testing.assert_array_equal(part["S1"], X["S1"][[row]])


@pytest.mark.parametrize("key", [["S1"], None, 1.0, [0.0, 1.0], ["S1", "soil"]])
def test_keys_that_are_no_rows(X, key):
    assert error_of(TypeError, X.__getitem__, key) == (
        "Rows are given by a slice, integers or booleans; "
        f"got {key!r}. Several modalities are taken by X.select([...])."
    )


@pytest.mark.parametrize("key", [[[0, 1], [2, 3]], np.True_, np.array(1.5)], ids=repr)
def test_keys_of_another_rank_are_refused(X, key):
    """Otherwise numpy adds an axis, and the container has other samples."""
    with pytest.raises(TypeError, match=r"^(Rows are given by|A ModalityDict is)"):
        X[key]


def test_rows_beyond_the_end_and_masks_of_another_length(X):
    with pytest.raises(IndexError):
        X[[5]]
    with pytest.raises(IndexError):
        X[[True, False]]
    with pytest.raises(IndexError):
        X.select("soil")[[True, False]]


@pytest.mark.parametrize(
    "indices",
    [
        slice(1, 3),
        np.array([1, 2]),
        [1, 2],
        np.array([False, True, True, False, False]),
    ],
    ids=repr,
)
def test_safe_indexing(X, indices):
    part = _safe_indexing(X, indices)
    assert type(part) is ModalityDict
    np.testing.assert_array_equal(part["S1"], X["S1"][1:3])


def test_train_test_split_keeps_rows_together(X):
    train, test, y_train, y_test = train_test_split(X, np.arange(5), random_state=0)
    for part, y in [(train, y_train), (test, y_test)]:
        np.testing.assert_array_equal(part["S1"][:, 0, 0], y * 6)
        np.testing.assert_array_equal(part["soil"]["clay"], y * 10)


# ModalityDict: names


def test_unknown_name(X):
    message = "There is no modality 'S3'; the modalities are ['S1', 'soil']."
    assert key_error_of(X.__getitem__, "S3") == message
    assert key_error_of(X.select, ["S1", "S3"]) == message


def test_select_keeps_the_order_asked_for_and_the_arrays(X):
    part = X.select(["soil", "S1"])
    assert type(part) is ModalityDict
    assert list(part) == ["soil", "S1"]
    assert part["S1"] is X["S1"]
    assert part["soil"] is X["soil"]
    assert list(X.select("soil")) == ["soil"]
    assert list(X.select(name for name in ["S1"])) == ["S1"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(name):
    array = np.arange(6.0).reshape(3, 2)
    for X in [ModalityDict({name: array}), ModalityDict(**{name: array})]:
        assert list(X[1:]) == list(X.copy()) == list(X.layout) == [name]
        np.testing.assert_array_equal(X[1:][name], array[1:])
        assert X.select(name)[name] is X[name]


def test_the_mapping_is_not_changed():
    modalities = {"A": [[1, 2]], "B": [[3]]}
    X = ModalityDict(modalities, C=[[4]])
    X["D"] = [[5]]
    assert modalities == {"A": [[1, 2]], "B": [[3]]}
    assert list(X) == ["A", "B", "C", "D"]


def test_lists_and_series_become_arrays_and_frames_stay(X):
    assert isinstance(ModalityDict(A=[[1, 2], [3, 4]])["A"], np.ndarray)
    assert isinstance(X["soil"], pd.DataFrame)


@pytest.mark.parametrize("name", [1, None, ("S1", "vv"), b"S1"], ids=repr)
def test_names_are_strings(name):
    message = (
        f"The name of a modality is a string; got {name!r} ({type(name).__name__})."
    )
    array = np.zeros((2, 1))
    assert error_of(TypeError, ModalityDict, {name: array}) == message
    assert error_of(TypeError, ModalityDict().__setitem__, name, array) == message
    assert error_of(TypeError, ModalityDict().setdefault, name, array) == message


UNEQUAL = (
    "All modalities need the same number of rows, one per sample; got "
    "'S1': 5, 'soil': 5, 'dem': 4."
)
TO_MANY = [
    lambda X, value: X.__setitem__("dem", value),
    lambda X, value: X.update(dem=value),
    lambda X, value: X.update({"dem": value}),
    lambda X, value: X.update([("dem", value)]),
    lambda X, value: X.setdefault("dem", value),
    lambda X, value: X | {"dem": value},
    lambda X, value: X.__ior__({"dem": value}),
    lambda X, value: ModalityDict(X, dem=value),
    lambda X, value: ModalityDict({**X, "dem": value}),
]
TO_MANY_NAMES = [
    *("assignment", "update keyword", "update dict", "update pairs", "setdefault"),
    *("|", "|=", "constructor keyword", "constructor"),
]


@pytest.mark.parametrize("add", TO_MANY, ids=TO_MANY_NAMES)
def test_every_way_to_add_a_modality_checks_its_length(X, add):
    assert error_of(ValueError, add, X, np.zeros((4, 2))) == UNEQUAL
    assert list(X) == ["S1", "soil"]


@pytest.mark.parametrize("add", TO_MANY, ids=TO_MANY_NAMES)
@pytest.mark.parametrize("shape", [(5,), ()], ids=str)
def test_every_way_to_add_a_modality_checks_its_axes(X, add, shape):
    assert error_of(ValueError, add, X, np.zeros(shape)) == (
        f"Modality 'dem' has shape {shape}; expected (n_samples, n_features), "
        "(n_samples, n_timesteps, n_bands) or (n_samples, height, width, n_bands). A "
        "single feature is array.reshape(-1, 1)."
    )


@pytest.mark.parametrize("add", TO_MANY, ids=TO_MANY_NAMES)
@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.dok_array])
def test_every_way_to_add_a_modality_refuses_sparse(X, add, kind):
    assert error_of(TypeError, add, X, kind(np.eye(5))) == (
        "Modality 'dem' is a sparse matrix; a dense array is needed: use its toarray()."
    )


@pytest.mark.parametrize("add", TO_MANY, ids=TO_MANY_NAMES)
def test_every_way_to_add_a_modality_adds_it(X, add):
    dem = np.arange(5.0).reshape(5, 1)
    added = add(X, dem)
    container = added if isinstance(added, ModalityDict) else X
    assert list(container) == ["S1", "soil", "dem"]
    np.testing.assert_array_equal(container["dem"], dem)


@pytest.mark.parametrize(
    "bare",
    [np.zeros((3, 2)), pd.DataFrame({"a": [1, 2]}), [np.zeros((3, 2))]],
    ids=["array", "frame", "list"],
)
def test_a_bare_array_is_no_container(bare):
    with pytest.raises(TypeError, match="name"):
        ModalityDict(bare)


def test_the_only_modality_may_change_its_length():
    X = ModalityDict(A=np.zeros((3, 1)))
    X["A"] = np.zeros((4, 1))
    assert len(X) == 4


def test_or_leaves_its_operands(X):
    joined = X | {"S1": np.zeros((5, 1))}
    assert type(joined) is ModalityDict
    assert joined["S1"].shape == (5, 1)
    assert X["S1"].shape == (5, 3, 2)


def test_ior_keeps_the_object(X):
    before = X
    X |= {"dem": np.zeros((5, 1))}
    assert X is before
    assert list(before) == ["S1", "soil", "dem"]


def test_setdefault_gives_what_is_there(X):
    assert X.setdefault("S1", np.zeros((9, 9))) is X["S1"]


def test_copy_is_a_new_container_of_the_same_arrays(X):
    for other in [X.copy(), copy.copy(X)]:
        assert type(other) is ModalityDict
        assert other["S1"] is X["S1"]
        del other["soil"]
    assert list(X) == ["S1", "soil"]


def test_copies_of_no_rows_keep_the_modalities(X):
    """Such a container is false, as its length is 0, but it is not empty."""
    none = X[:0]
    assert none.shape == (0, 8)
    for other in [none.copy(), copy.copy(none), none | {}, ModalityDict(none)]:
        assert list(other) == ["S1", "soil"]
        assert other.shape == (0, 8)


@pytest.mark.parametrize(
    "again",
    [lambda X: pickle.loads(pickle.dumps(X)), copy.deepcopy],
    ids=["pickle", "deepcopy"],
)
def test_pickling_and_deep_copies(X, again):
    other = again(X)
    assert type(other) is ModalityDict
    assert other["S1"] is not X["S1"]
    np.testing.assert_array_equal(other["S1"], X["S1"])
    pd.testing.assert_frame_equal(other["soil"], X["soil"])
    # It still checks what is added.
    assert error_of(ValueError, other.update, dem=np.zeros((4, 2))) == UNEQUAL


def test_joblib_hash_follows_the_values(X):
    same = copy.deepcopy(X)
    assert joblib.hash(same) == joblib.hash(X)
    same["S1"][0, 0, 0] += 1
    assert joblib.hash(same) != joblib.hash(X)


# ModalityDict.from_frame


def test_from_frame_with_two_levels():
    frame = columns_frame([("S1", "vv"), ("soil", "ph"), ("S1", "vh")])
    X = ModalityDict.from_frame(frame)
    assert list(X) == ["S1", "soil"]
    assert list(X["S1"].columns) == ["vv", "vh"]
    np.testing.assert_array_equal(X["S1"], [[0, 2], [3, 5]])
    np.testing.assert_array_equal(X["soil"], [[1], [4]])


def test_from_frame_with_three_levels_in_any_order():
    columns = [
        *[("S1", "t1", "vh"), ("S1", "t0", "vv"), ("soil", "ph", "")],
        *[("S1", "t0", "vh"), ("S1", "t1", "vv"), ("soil", "clay", "")],
    ]
    X = ModalityDict.from_frame(columns_frame(columns))
    assert list(X) == ["S1", "soil"]
    # Steps and bands come in the order in which the columns name them first.
    np.testing.assert_array_equal(X["S1"][0], [[0, 4], [3, 1]])
    assert X["S1"].shape == (2, 2, 2)
    assert list(X["soil"].columns) == ["ph", "clay"]
    np.testing.assert_array_equal(X["soil"], [[2, 5], [8, 11]])


@pytest.mark.parametrize(
    "columns",
    [
        [("S1", "vv"), ("S1", "vh"), ("height", "")],
        [("S1", 0, "vv"), ("S1", 0, "vh"), ("height", "", "")],
    ],
    ids=["two levels", "three levels"],
)
def test_from_frame_with_a_feature_without_a_name(columns):
    """Pandas fills levels with "" where a frame of fewer levels is joined."""
    X = ModalityDict.from_frame(columns_frame(columns))
    assert list(X) == ["S1", "height"]
    np.testing.assert_array_equal(np.asarray(X["height"]), [[2], [5]])


def test_from_frame_keeps_the_index():
    frame = columns_frame([("S1", "vv")])
    frame.index = [30, 10]
    assert list(ModalityDict.from_frame(frame)["S1"].index) == [30, 10]


def test_from_frame_with_a_lacking_band():
    frame = columns_frame([("S1", 0, "vv"), ("S1", 0, "vh"), ("S1", 1, "vv")])
    assert error_of(ValueError, ModalityDict.from_frame, frame) == (
        "Modality 'S1' needs every band at every time step once; absent: [(1, 'vh')]."
    )


def test_from_frame_shortens_a_long_list_of_lacking_bands():
    frame = columns_frame([("S1", i, f"b{i}") for i in range(3)])
    assert error_of(ValueError, ModalityDict.from_frame, frame) == (
        "Modality 'S1' needs every band at every time step once; absent: "
        "[(0, 'b1'), (0, 'b2'), (1, 'b0'), (1, 'b2'), (2, 'b0')] ...."
    )


def test_from_frame_with_a_band_twice():
    frame = columns_frame([("S1", 0, "vv"), ("S1", 0, "vv")])
    with pytest.raises(
        ValueError, match=r"Modality 'S1' needs every band at every time step once"
    ):
        ModalityDict.from_frame(frame)


@pytest.mark.parametrize(
    ("columns", "levels"),
    [(["a"], 1), (pd.MultiIndex.from_tuples([("S1", 0, 0, "vv")]), 4)],
)
def test_from_frame_with_other_columns(columns, levels):
    frame = pd.DataFrame([[1.0]], columns=columns)
    assert error_of(ValueError, ModalityDict.from_frame, frame) == (
        "A DataFrame of several modalities needs columns of two levels (modality, "
        "feature) or three (modality, time step, band); got "
        f"{levels} level(s)."
    )


# ModalityDict.from_xarray


@pytest.fixture(scope="module")
def xr():
    return pytest.importorskip("xarray")


def test_from_xarray(xr):
    S1 = np.arange(24.0).reshape(4, 3, 2)
    dataset = xr.Dataset(
        {
            "S1": (("sample", "time", "band"), S1),
            "height": (("sample",), np.arange(4)),
            "image": (("sample", "y", "x", "rgb"), np.zeros((4, 5, 6, 3))),
        },
        coords={"time": [1, 2, 3], "site": ("sample", list("abcd"))},
    )
    X = ModalityDict.from_xarray(dataset)
    assert {name: X[name].shape for name in X} == {
        "S1": (4, 3, 2),
        "height": (4, 1),
        "image": (4, 5, 6, 3),
    }
    np.testing.assert_array_equal(X["S1"], S1)
    np.testing.assert_array_equal(X["height"][:, 0], np.arange(4))
    assert repr(read_named(dataset)) == repr(X)


def test_from_xarray_takes_the_dimension_that_is_called_sample(xr):
    values = np.arange(24.0).reshape(3, 2, 4)
    dataset = xr.Dataset({"S1": (("time", "band", "sample"), values)})
    X = ModalityDict.from_xarray(dataset)
    np.testing.assert_array_equal(X["S1"], values.transpose(2, 0, 1))


def test_from_xarray_finds_the_only_shared_dimension(xr):
    dataset = xr.Dataset(
        {
            "S1": (("time", "pixel", "band"), np.arange(24.0).reshape(3, 4, 2)),
            "soil": (("pixel", "feature"), np.zeros((4, 5))),
        }
    )
    X = ModalityDict.from_xarray(dataset)
    assert X["soil"].shape == (4, 5)
    # The sample dimension goes first, the others keep their order.
    np.testing.assert_array_equal(
        X["S1"], np.arange(24.0).reshape(3, 4, 2).transpose(1, 0, 2)
    )


def test_from_xarray_with_a_named_dimension(xr):
    dims = ("time", "pixel", "band")
    dataset = xr.Dataset({"S1": (dims, np.arange(24.0).reshape(3, 4, 2))})
    X = ModalityDict.from_xarray(dataset, sample_dim="pixel")
    np.testing.assert_array_equal(X["S1"], dataset["S1"].values.transpose(1, 0, 2))


@pytest.mark.parametrize("asked", [None, "sample", "band2"])
def test_from_xarray_without_a_clear_sample_dimension(xr, asked):
    dataset = xr.Dataset(
        {
            "S1": (("pixel", "time", "band"), np.zeros((4, 3, 2))),
            "S2": (("pixel", "time", "band2"), np.zeros((4, 3, 5))),
        }
    )
    assert error_of(ValueError, ModalityDict.from_xarray, dataset, asked) == (
        "One dimension of the Dataset has to count the samples of every variable: "
        "call it 'sample', or use ModalityDict.from_xarray(dataset, sample_dim=...). "
        "Dimensions that all variables share: ['pixel', 'time']; asked for: "
        f"{asked!r}."
    )


# Reading X


def test_what_is_named():
    assert is_named({"S1": 1})
    assert is_named(ModalityDict())
    assert is_named(columns_frame([("S1", "vv")]))
    assert not is_named(np.zeros((2, 2)))
    assert not is_named(pd.DataFrame({"a": [1]}))
    assert not is_named([[1]])
    assert not is_named(sparse.dok_array((2, 2)))  # a dict of scipy's


def test_read_named(X):
    assert read_named(X) is X
    assert type(read_named({"S1": [[1]]})) is ModalityDict
    assert repr(read_named(columns_frame([("S1", "vv")]))) == (
        "ModalityDict(S1: (2, 1) DataFrame)"
    )


def test_restrict(X):
    assert list(restrict(X, "soil")) == ["soil"]
    assert list(restrict(dict(X.items()), "soil")) == ["soil"]
    frame = columns_frame([("S1", "vv"), ("soil", "ph")])
    assert list(restrict(frame, "soil")) == ["soil"]
    assert error_of(TypeError, restrict, np.zeros((2, 2)), "soil") == (
        "Cannot take modality 'soil' out of a ndarray: only a ModalityDict, dict, "
        "xarray.Dataset or a DataFrame with a column MultiIndex says which modality is "
        "which."
    )


# Schema: layouts of a flat X


def layout(place, n_features=6, names=None):
    return Schema.of_layout({"A": place}, n_features, names)


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
def test_layout_by_positions(place, columns, shape):
    schema = layout(place)
    assert schema.columns["A"].tolist() == columns
    assert schema.shapes == {"A": shape}
    assert schema.names == {"A": None}
    X = np.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(
        schema.split(X)["A"], X[:, columns].reshape(2, *shape)
    )


@pytest.mark.parametrize(
    ("place", "columns"),
    [(["z", "x"], [2, 0]), (pd.Index(["y"]), [1]), (slice(1, 3), [1, 2]), ([-1], [2])],
    ids=repr,
)
def test_layout_of_named_columns(place, columns):
    schema = layout(place, 3, ["x", "y", "z"])
    assert schema.columns["A"].tolist() == columns
    assert schema.names == {"A": tuple("xyz"[i] for i in columns)}


FORMS = (
    "modalities['A'] is a slice, a list of columns, or a pair (columns, shape) with "
    "shape a tuple; got {!r}."
)


@pytest.mark.parametrize(
    "place",
    [0, "x", None, (0, 1), ([0, 1], [1, 2]), ([0, 1], (1, 2), 3), ([0, 1],)],
    ids=repr,
)
def test_layout_of_another_form(place):
    assert error_of(TypeError, layout, place) == FORMS.format(place)


@pytest.mark.parametrize(
    ("place", "n_names", "message"),
    [
        ([6], 0, "modalities['A'] names the columns [6], but X has 6 columns."),
        ([5, -7], 0, "modalities['A'] names the columns [-7], but X has 6 columns."),
        (slice(4, 8), 0, "modalities['A'] reaches to column 8, but X has 6 columns."),
        (
            ["b"],
            0,
            "modalities['A'] names the columns ['b'], but X has no column names.",
        ),
        (["a", "g"], 6, "modalities['A'] names the columns ['g'], but X lacks them."),
        ([], 0, "modalities['A'] names no column."),
        (slice(3, 3), 0, "modalities['A'] names no column."),
        ([False] * 6, 0, "modalities['A'] names no column."),
        (
            (slice(0, 6), (4, 2)),
            0,
            "modalities['A'] gives 6 columns for the shape (4, 2), which needs 8.",
        ),
        (
            ([0, 1], (3,)),
            0,
            "modalities['A'] gives 2 columns for the shape (3,), which needs 3.",
        ),
    ],
)
def test_layout_of_absent_columns_or_another_size(place, n_names, message):
    names = list("abcdef")[:n_names] or None
    assert error_of(ValueError, layout, place, 6, names) == message


def test_layout_by_a_slice_of_names():
    assert error_of(TypeError, layout, slice("a", "c"), 3, ["a", "b", "c"]) == (
        "modalities['A'] is a slice of column names; give a slice of positions, or a "
        "list of names."
    )


@pytest.mark.parametrize(
    "place", [[True, False], np.array([True] * 6 + [False])], ids=["short", "long"]
)
def test_layout_of_booleans_of_another_length(place):
    with pytest.raises(ValueError, match=r"modalities\['A'\].*6 columns"):
        layout(place)


@pytest.mark.parametrize("place", [[0.0, 1.7], [None], [[0, 1], [2, 3]]], ids=repr)
def test_layout_of_what_is_no_column(place):
    with pytest.raises((TypeError, ValueError), match=r"modalities\['A'\]"):
        layout(place)


def test_layout_with_an_overlap():
    places = {"A": slice(0, 3), "B": [4, -4]}
    assert error_of(ValueError, Schema.of_layout, places, 6, None) == (
        "modalities= overlaps: column 2 is in both 'A' and 'B'."
    )
    assert error_of(ValueError, Schema.of_layout, places, 6, list("abcdef")) == (
        "modalities= overlaps: column 'c' is in both 'A' and 'B'."
    )


# Schema: what comes at prediction


@pytest.fixture
def schema(X):
    return Schema.of(X)


def test_schema_of_a_container(schema):
    assert schema.shapes == {"S1": (3, 2), "soil": (2,)}
    assert schema.names == {"S1": None, "soil": ("clay", "sand")}
    assert schema.columns is None


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
    assert error_of(ValueError, schema.read, bare) == (
        "X of shape (n, 3) fits the modalities ['A', 'B']; say which one by modality=, "
        "or pass {name: array}."
    )
    assert list(schema.read(bare, modality="B")) == ["B"]
    assert list(schema.read(bare, prefer="B")) == ["B"]
    assert list(schema.read(bare, modality="A", prefer="B")) == ["A"]


def test_read_a_modality_whose_name_is_empty():
    schema = Schema.of(ModalityDict({"": np.zeros((1, 3)), "B": np.zeros((1, 3))}))
    assert list(schema.read(np.zeros((2, 3)), modality="")) == [""]


def test_read_what_fits_no_modality(schema):
    assert error_of(ValueError, schema.read, np.zeros((4, 5))) == (
        "X of shape (n, 5) fits no modality that fit saw ('S1': (n, 3, 2), 'soil': "
        "(n, 2)). Several modalities are passed as a dict {name: array}."
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"S3": np.zeros((1, 2))},
            "Unknown modality 'S3'; fit saw ['S1', 'soil'].",
        ),
        (
            {"S1": np.zeros((1, 4, 2))},
            "Modality 'S1' has shape (n, 4, 2); fit saw (n, 3, 2), and "
            "the time steps and bands have to be the same.",
        ),
        (
            {"soil": pd.DataFrame({"clay": [1], "silt": [2]})},
            "Modality 'soil' lacks the columns ['sand'] that fit saw.",
        ),
        (
            {},
            "X holds no modality or no row; expected one or more of ['S1', 'soil'] "
            "with at least one row.",
        ),
        (
            {"soil": np.zeros((0, 2))},
            "X holds no modality or no row; expected one or more of ['S1', 'soil'] "
            "with at least one row.",
        ),
    ],
    ids=["name", "shape", "columns", "nothing", "no row"],
)
def test_read_what_fit_did_not_see(schema, given, message):
    assert error_of(ValueError, schema.read, given) == message


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
    ("values", "dtype", "reason"),
    [
        (pd.DataFrame({"a": pd.Categorical(["oak"])}), "object", "oak"),
        (pd.DataFrame({"a": [1.0], "b": ["fir"]}), "object", "fir"),
        (np.array([["a", "b"]]), "<U1", "a"),
    ],
    ids=["categories", "text column", "text array"],
)
def test_values_that_are_no_numbers(values, dtype, reason):
    assert error_of(ValueError, numeric_values, "soil", values, None) == (
        f"Modality 'soil' has dtype {dtype} with values that are no numbers (could not "
        f"convert string to float: {reason!r}). Encode categories first, for example "
        "with sklearn.preprocessing.OneHotEncoder."
    )


def test_dates_are_no_numbers():
    dates = np.array([["2020-01-01"]], "datetime64[D]")
    with pytest.raises(
        ValueError,
        match=r"^Modality 'S1' has dtype datetime64\[D\] with values that are no numb",
    ):
        numeric_values("S1", dates, None)


def test_complex_values():
    assert error_of(ValueError, numeric_values, "S1", np.array([[1j]]), None) == (
        "Complex data not supported: modality 'S1'."
    )


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
    assert error_of(ValueError, numeric_values, "S1", values, None) == (
        f"Modality 'S1' contains infinity in {text}. Missing values are given as NaN, "
        "or named by missing_value=."
    )


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


# -- rows matched by ids -----------------------------------------------------------


@pytest.fixture
def archives():
    return {
        "S1": (["b", "a", "c"], np.arange(12.0).reshape(3, 2, 2)),
        "S2": (["d", "a"], np.array([[7], [8]], dtype=np.int16)),
        "soil": (
            np.array(["a", "d"]),
            pd.DataFrame({"clay": [1, 2], "kind": ["x", "y"]}, index=[5, 6]),
        ),
        "dates": (["a"], np.array([["2021-05-01", "2021-06-01"]], dtype="M8[D]")),
    }


def test_align_makes_all_rows_in_order_of_appearance(archives):
    X = ModalityDict.align(archives)
    assert X.ids.tolist() == ["b", "a", "c", "d"]
    assert_array_equal(X["S1"][:3], archives["S1"][1])
    assert np.isnan(X["S1"][3]).all()
    assert_array_equal(X["S2"][:, 0], [np.nan, 8, np.nan, 7])
    assert X["S2"].dtype == np.float32
    assert list(X["soil"].columns) == ["clay", "kind"]
    assert X["soil"].index.tolist() == X.ids.tolist()
    assert X["soil"]["clay"].tolist()[1::2] == [1, 2]
    assert X["soil"]["kind"].isna().tolist() == [True, False, True, False]
    assert X["dates"].dtype.kind == "M"
    assert np.isnat(X["dates"]).all(axis=1).tolist() == [True, False, True, True]


def test_align_makes_the_rows_asked_for(archives):
    X = ModalityDict.align(archives, ids=pd.Index(["d", "b"]), drop_others=True)
    assert X.ids.tolist() == ["d", "b"]
    assert_array_equal(X["S1"][1], archives["S1"][1][0])
    assert_array_equal(X["S2"][:, 0], [7, np.nan])
    one = ModalityDict.align({"S2": archives["S2"]}, ids=["a", "d"])
    assert one["S2"].dtype == np.int16  # nothing is lacking
    assert_array_equal(one["S2"], [[8], [7]])


@pytest.mark.parametrize(
    "ids", [np.array([30, 10, 20]), [(1, "x"), (1, "y"), (2, "x")], [2.5, 1.5, 0.5]]
)
def test_ids_of_other_types(ids):
    X = ModalityDict.align({"a": (ids, np.eye(3)), "b": (ids[:1], np.ones((1, 2)))})
    assert X.ids.tolist() == list(map(tuple, ids) if isinstance(ids[0], tuple) else ids)
    assert_array_equal(X["a"], np.eye(3))
    assert_array_equal(np.isnan(X["b"][:, 0]), [False, True, True])


def test_ids_go_with_the_rows(archives):
    X = ModalityDict.align(archives)
    assert ModalityDict(S1=np.zeros((2, 2))).ids is None
    for rows in (slice(1, 3), [1, 2], np.array([False, True, True, False])):
        assert X[rows].ids.tolist() == ["a", "c"]
    assert X[[3, 0], ...].ids.tolist() == ["d", "b"]
    for same in (
        X.copy(),
        X.select("S1"),
        ModalityDict(X),
        ModalityDict(X, extra=np.zeros((4, 1))),
        X | {"extra": np.zeros((4, 1))},
        X.select("S1") | X.select("S2"),
        X.select("S1") | ModalityDict(extra=np.zeros((4, 1))),
        {"extra": np.zeros((4, 1))} | X,
        pickle.loads(pickle.dumps(X)),
        copy.deepcopy(X),
    ):
        assert same.ids.tolist() == X.ids.tolist()
    one = X.select("S1")
    one["S1"] = np.zeros((9, 1))
    assert one.ids is None


def test_align_what_does_not_fit(archives):
    def message(archives, error=ValueError, **options):
        with pytest.raises(error) as caught:
            ModalityDict.align(archives, **options)
        return str(caught.value)

    S1 = archives["S1"][1]
    assert message({"S1": (["a", "b", "a"], S1)}) == (
        "Archive 'S1' has the id 'a' more than once."
    )
    assert message({"S1": (["a", "b"], S1)}) == "Archive 'S1' has 2 ids and 3 rows."
    assert message({"S1": (["a", None, "b"], S1)}) == (
        "Archive 'S1' has 1 missing ids, the first at position 1."
    )
    assert message({}) == "There is no archive to align."
    assert message({"S1": S1}, TypeError) == (
        "Archive 'S1' is a pair (ids, values); got ndarray."
    )
    assert message(archives, ids=["a", "z", "d"], drop_others=True) == (
        "ids= names the id 'z' that no archive has; leave it out."
    )
    assert message(archives, ids=["a", "a"]) == "ids= has the id 'a' more than once."
    assert message(archives, ids=["a", "d"]) == (
        "Archive 'S1' has the ids 'b', 'c' that ids= does not name. To leave such rows "
        "out, say drop_others=True; to keep them, give no ids= and bring the labels "
        "into the order of the rows, pandas.Series(y, ids).reindex(X.ids): the others "
        "then are unlabelled."
    )
    numbers = {"S1": ([1, 2, 3], S1), "S2": (["1", "2"], np.zeros((2, 1)))}
    assert message(numbers, TypeError) == (
        "The ids of archive 'S1' are numbers and those of archive 'S2' are strings, "
        "which never match; make them of one type."
    )
    many = {"S1": (np.arange(9), np.zeros((9, 2)))}
    assert message(many, ids=[0]).startswith(
        "Archive 'S1' has the ids 1, 2, 3, 4, 5 (and 3 more) that ids= does not name."
    )
    a, b = (
        ModalityDict.align(archives),
        ModalityDict.align(numbers | {"S2": ([1], [[0]])}),
    )
    with pytest.raises(ValueError, match="different ids") as caught:
        a.select("S1")[:3] | b
    assert str(caught.value) == (
        "The rows of the two containers have different ids, but rows are matched by "
        "position: make one of all archives by ModalityDict.align."
    )


def test_rows_that_are_none():
    rows = [np.ones((3, 2)), None, np.zeros((3, 2), dtype=np.float32)]
    X = ModalityDict(S1=rows, soil=[None, [1, 2], [3, 4]])
    assert X["S1"].shape == (3, 3, 2)
    assert np.isnan(X["S1"][1]).all()
    assert_array_equal(X["soil"], [[np.nan, np.nan], [1, 2], [3, 4]])
    with pytest.raises(ValueError, match="rows of one shape") as caught:
        ModalityDict(S1=[None, np.ones((3, 2)), np.ones((2, 2))])
    assert str(caught.value) == (
        "Modality 'S1' needs rows of one shape; row 1 has (3, 2) and row 2 has (2, 2)."
    )
    with pytest.raises(ValueError, match="None") as caught:
        ModalityDict(S1=[None, None])
    assert str(caught.value) == (
        "Modality 'S1' is a list of 2 None, which does not tell the shape of a row; "
        "leave the modality out."
    )
