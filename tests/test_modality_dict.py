import copy
import datetime
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
from sklearn_colearn.inputs import Schema, numeric_values
from sklearn_colearn.modality_dict import (
    as_frame,
    canonical_dims,
    declared_nodata,
    is_named,
    labelled_columns,
    read_named,
    restrict,
)

# Names that torch's ModuleDict, keyword arguments or a path would trip over.
ODD_NAMES = ["S.1", "", "type", "input_ids", "self", "modalities", "keys", "a/b", "é"]


def refused(error, *fragments):
    """Expect an error whose text has these fragments, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, fragments)))


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
    with refused(ValueError, "without a copy"):
        X.__array__(copy=False)


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
    parts = [X[rows, ...] if unwrap else X[rows]]
    if not isinstance(rows, range):
        parts.append(_safe_indexing(X, rows))
    for part in parts:
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
def test_single_row_numbers_are_refused_with_advice(X, key, row):
    for form in (key, (key, ...)):
        with refused(TypeError, f"Use X[{row}:{row + 1}] for row {row}"):
            X[form]


@pytest.mark.parametrize("row", [0, 4, -1])
def test_the_advised_slice_takes_that_row(X, row):
    with refused(TypeError, "Use X[") as caught:
        X[row]
    advised = re.search(r"Use (X\[.*\]) for row", str(caught.value)).group(1)
    part = eval(advised, {"X": X})
    np.testing.assert_array_equal(part["S1"], X["S1"][[row]])


@pytest.mark.parametrize("key", [["S1"], None, 1.0, [0.0, 1.0], ["S1", "soil"]])
def test_invalid_row_keys_are_refused(X, key):
    with refused(TypeError, "a slice, integers or booleans", repr(key), "X.select("):
        X[key]


@pytest.mark.parametrize("key", [[[0, 1], [2, 3]], np.True_, np.array(1.5)], ids=repr)
def test_keys_of_another_rank_are_refused(X, key):
    """Otherwise numpy adds an axis, and the container has other samples."""
    with pytest.raises(TypeError, match=r"^(Rows must be|Cannot index a ModalityDict)"):
        X[key]


def test_rows_beyond_the_end_and_masks_of_another_length(X):
    with pytest.raises(IndexError):
        X[[5]]
    with pytest.raises(IndexError):
        X[[True, False]]
    with pytest.raises(IndexError):
        X.select("soil")[[True, False]]


def test_train_test_split_keeps_rows_together(X):
    train, test, y_train, y_test = train_test_split(X, np.arange(5), random_state=0)
    for part, y in [(train, y_train), (test, y_test)]:
        np.testing.assert_array_equal(part["S1"][:, 0, 0], y * 6)
        np.testing.assert_array_equal(part["soil"]["clay"], y * 10)


# ModalityDict: names


def test_unknown_name(X):
    for call in (lambda: X["S3"], lambda: X.select(["S1", "S3"])):
        with refused(KeyError, "Unknown modality 'S3'", "['S1', 'soil']"):
            call()


def test_select_keeps_the_order_asked_for_and_the_arrays(X):
    part = X.select(["soil", "S1"])
    assert type(part) is ModalityDict
    assert list(part) == ["soil", "S1"]
    assert part["S1"] is X["S1"]
    assert part["soil"] is X["soil"]
    assert list(X.select("soil")) == ["soil"]
    assert list(X.select(name for name in ["S1"])) == ["S1"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_string_is_a_valid_name(name):
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
def test_names_must_be_strings(name):
    array = np.zeros((2, 1))
    for call in (
        lambda: ModalityDict({name: array}),
        lambda: ModalityDict().__setitem__(name, array),
        lambda: ModalityDict().setdefault(name, array),
    ):
        with refused(TypeError, "must be strings", repr(name), type(name).__name__):
            call()


UNEQUAL = "same number of rows", "'S1': 5, 'soil': 5, 'dem': 4"
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
def test_every_way_to_add_a_modality_checks_it(X, add):
    for value, *fragments in (
        (np.zeros((4, 2)), *UNEQUAL),
        (np.zeros(5), "'dem' has shape (5,)", "array.reshape(-1, 1)"),
        (np.zeros(()), "'dem' has shape ()"),
        (
            pd.DataFrame({"a": range(5)}, [7, 7, 3, 0, 1]),
            "'dem'",
            "row 3 is 0 instead of 1",
        ),
    ):
        with refused(ValueError, *fragments):
            add(X, value)
    for kind in (sparse.csr_matrix, sparse.dok_array):
        with refused(TypeError, "'dem' is a sparse matrix", "toarray()"):
            add(X, kind(np.eye(5)))
    assert list(X) == ["S1", "soil"]


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
def test_bare_arrays_are_refused(bare):
    with pytest.raises(TypeError, match="name"):
        ModalityDict(bare)


def test_the_only_modality_may_change_its_length():
    X = ModalityDict(A=np.zeros((3, 1)))
    X["A"] = np.zeros((4, 1))
    assert len(X) == 4


def test_or_does_not_change_its_operands(X):
    joined = X | {"S1": np.zeros((5, 1))}
    assert type(joined) is ModalityDict
    assert joined["S1"].shape == (5, 1)
    assert X["S1"].shape == (5, 3, 2)


def test_ior_updates_in_place(X):
    before = X
    X |= {"dem": np.zeros((5, 1))}
    assert X is before
    assert list(before) == ["S1", "soil", "dem"]


def test_setdefault_returns_an_existing_modality(X):
    assert X.setdefault("S1", np.zeros((9, 9))) is X["S1"]


def test_copy_is_a_new_container_of_the_same_arrays(X):
    for other in [X.copy(), copy.copy(X)]:
        assert type(other) is ModalityDict
        assert other["S1"] is X["S1"]
        del other["soil"]
    assert list(X) == ["S1", "soil"]


def test_copies_without_rows_keep_the_modalities(X):
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
    with refused(ValueError, *UNEQUAL):
        other.update(dem=np.zeros((4, 2)))


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


@pytest.mark.parametrize(
    ("columns", "absent"),
    [
        ([("S1", 0, "vv"), ("S1", 0, "vh"), ("S1", 1, "vv")], "[(1, 'vh')]."),
        (
            [("S1", i, f"b{i}") for i in range(3)],
            "[(0, 'b1'), (0, 'b2'), (1, 'b0'), (1, 'b2'), (2, 'b0')] ....",
        ),
    ],
)
def test_from_frame_refuses_a_missing_band(columns, absent):
    with refused(ValueError, "'S1' must have every band at every time step", absent):
        ModalityDict.from_frame(columns_frame(columns))


@pytest.mark.parametrize(
    ("columns", "levels"),
    [(["a"], 1), (pd.MultiIndex.from_tuples([("S1", 0, 0, "vv")]), 4)],
)
def test_from_frame_refuses_other_column_levels(columns, levels):
    frame = pd.DataFrame([[1.0]], columns=columns)
    with refused(ValueError, "(modality, feature) or", f"got {levels} level(s)"):
        ModalityDict.from_frame(frame)


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


@pytest.mark.parametrize(
    ("sample", "asked", "others"),
    [
        ("sample", None, {}),
        ("pixel", "pixel", {}),
        ("pixel", None, {"soil": (("pixel", "feature"), np.zeros((4, 5)))}),
    ],
    ids=["called sample", "named", "the only shared one"],
)
def test_from_xarray_puts_the_sample_dimension_first(xr, sample, asked, others):
    values = np.arange(24.0).reshape(3, 4, 2)
    dataset = xr.Dataset({"S1": (("time", sample, "band"), values), **others})
    X = ModalityDict.from_xarray(dataset, sample_dim=asked)
    np.testing.assert_array_equal(X["S1"], values.transpose(1, 0, 2))
    assert list(X) == ["S1", *others]


@pytest.mark.parametrize("asked", [None, "sample", "band2"])
def test_from_xarray_without_a_clear_sample_dimension(xr, asked):
    dataset = xr.Dataset(
        {
            "S1": (("pixel", "time", "band"), np.zeros((4, 3, 2))),
            "S2": (("pixel", "time", "band2"), np.zeros((4, 3, 5))),
        }
    )
    with refused(ValueError, "share ['pixel', 'time']", repr(asked), "sample_dim="):
        ModalityDict.from_xarray(dataset, asked)


# Reading X


def test_is_named():
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
    with refused(TypeError, "modality 'soil' from a ndarray"):
        restrict(np.zeros((2, 2)), "soil")


# -- rows matched by ids -----------------------------------------------------------


@pytest.fixture
def archives():
    return {
        "S1": (["b", "a", "c"], np.arange(12.0).reshape(3, 2, 2)),
        "S2": (["d", "a"], np.array([[7], [8]], dtype=np.int16)),
        "soil": (
            np.array(["a", "d"]),
            pd.DataFrame({"clay": [1, 2], "kind": ["x", "y"]}),
        ),
        "dates": (["a"], np.array([["2021-05-01", "2021-06-01"]], dtype="M8[D]")),
    }


def test_align_keeps_all_ids_in_order_of_appearance(archives):
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


def test_align_returns_the_requested_ids(archives):
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
def test_ids_of_any_type(ids):
    X = ModalityDict.align({"a": (ids, np.eye(3)), "b": (ids[:1], np.ones((1, 2)))})
    assert X.ids.tolist() == list(map(tuple, ids) if isinstance(ids[0], tuple) else ids)
    assert_array_equal(X["a"], np.eye(3))
    assert_array_equal(np.isnan(X["b"][:, 0]), [False, True, True])


def test_slices_keep_the_ids(archives):
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


THREE = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("archives", "ids", "error", "fragments"),
    [
        ({"S1": ("aba", THREE)}, None, ValueError, ["'S1' has the id 'a' more than"]),
        ({"S1": ("ab", THREE)}, None, ValueError, ["'S1' has 2 ids but 3 rows"]),
        ({"S1": (["a", None, "b"], THREE)}, None, ValueError, ["1 missing", "ion 1"]),
        ({}, None, ValueError, ["at least one archive"]),
        ({"S1": ("abc", THREE)}, "az", ValueError, ["ids= contains the id 'z'"]),
        ({"S1": ("abc", THREE)}, "aa", ValueError, ["ids= has the id 'a' more than"]),
        (
            {"S1": ("abc", THREE)},
            "a",
            ValueError,
            ["'S1' contains the ids 'b', 'c'", "drop_others=True", "reindex(X.ids)"],
        ),
        (
            {"S1": (range(9), np.zeros((9, 2)))},
            [0],
            ValueError,
            ["the ids 1, 2, 3, 4, 5 (and 3 more)"],
        ),
        (
            {"S1": ([1, 2, 3], THREE), "S2": (["1", "2", "3"], THREE)},
            None,
            TypeError,
            ["'S1' are numbers, but the ids of archive 'S2' are strings"],
        ),
    ],
)
def test_align_refuses_ids_that_do_not_fit(archives, ids, error, fragments):
    archives = {name: (list(own), values) for name, (own, values) in archives.items()}
    with refused(error, *fragments):
        ModalityDict.align(archives, ids=None if ids is None else list(ids))


def test_none_in_a_list_is_a_missing_row():
    rows = [np.ones((3, 2)), None, np.zeros((3, 2), dtype=np.float32)]
    X = ModalityDict(S1=rows, soil=[None, [1, 2], [3, 4]])
    assert X["S1"].shape == (3, 3, 2)
    assert np.isnan(X["S1"][1]).all()
    assert_array_equal(X["soil"], [[np.nan, np.nan], [1, 2], [3, 4]])
    with refused(ValueError, "'S1' contains only None (2 rows)"):
        ModalityDict(S1=[None, None])


# -- labels decide -----------------------------------------------------------------


NAMES = ["p1", "p7", "p3"]


def labelled_table(names, column="a"):
    return pd.DataFrame({column: np.arange(float(len(names)))}, index=names)


def labelled_array(names, **coords):
    xr = pytest.importorskip("xarray")
    values = np.arange(6.0 * len(names)).reshape(-1, 3, 2)
    array = xr.DataArray(values, dims=("sample", "time", "band"), coords=coords)
    if isinstance(names, pd.MultiIndex):
        names = xr.Coordinates.from_pandas_multiindex(names, "sample")
        return array.assign_coords(names)
    return array.assign_coords(sample=names)


def labelled_dataset(names):
    array = labelled_array(names, band=["vv", "vh"])
    return array.to_dataset("band")


LABELLED = [labelled_table, labelled_array, labelled_dataset]
PLOTS_AND_YEARS = pd.MultiIndex.from_tuples(
    [("a", 2020), ("b", 2020), ("a", 2021)], names=["plot", "year"]
)


@pytest.mark.parametrize("form", LABELLED)
@pytest.mark.parametrize(
    "names",
    [NAMES, [7, 7, 5], [0.5, 2.5, 1.5], [0, 1, 2], PLOTS_AND_YEARS],
    ids=["strings", "twice", "floats", "integers", "levels"],
)
def test_row_labels_become_ids(form, names):
    expected = list(names)
    X = ModalityDict(S1=form(names), S2=np.zeros((3, 2)))
    assert X.ids.shape == (3,)
    assert X.ids.tolist() == expected
    for part in (
        X[[2, 0]],
        X.select("S2")[[2, 0]],
        pickle.loads(pickle.dumps(X[::-2])),
    ):
        assert part.ids.tolist() == [expected[2], expected[0]]
    for same in (X.copy(), copy.copy(X), copy.deepcopy(X), ModalityDict(X), X | {}):
        assert same.ids.tolist() == expected


def test_named_and_offset_default_indexes_are_labels():
    frame = labelled_table(range(4))
    assert ModalityDict(S1=frame).ids is None
    assert ModalityDict(S1=frame[1:]).ids.tolist() == [1, 2, 3]
    assert ModalityDict(S1=frame.rename_axis("plot")).ids.tolist() == [0, 1, 2, 3]


def test_default_indexes_give_no_ids():
    X = ModalityDict(S1=np.zeros((4, 2)), soil=labelled_table(range(4)))
    rows = X[[3, 1]]
    for part in (rows, X[2:], rows.copy(), rows | {}, ModalityDict(rows)):
        assert part.ids is None
    assert pickle.loads(pickle.dumps(rows)).ids is None
    assert rows["soil"].index.tolist() == [3, 1]


def test_slices_of_labelled_and_plain_frames_can_be_pickled_and_read():
    X = ModalityDict(S1=labelled_table(NAMES), soil=labelled_table(range(3)))[[2, 0]]
    for same in (pickle.loads(pickle.dumps(X)), copy.deepcopy(X)):
        assert same.ids.tolist() == ["p3", "p1"]
        assert same["soil"].index.tolist() == [2, 0]
    read = Schema.of(X).read(X)
    assert_array_equal(read["soil"], [[2], [0]])


@pytest.mark.parametrize("first", LABELLED)
@pytest.mark.parametrize("second", LABELLED)
@pytest.mark.parametrize(
    ("names", "others", "row", "label"),
    [
        (NAMES, ["p7", "p1", "p3"], 0, "'p7'"),
        (NAMES, ["p1", "p7", "p9"], 2, "'p9'"),
        (NAMES, [1, 7, 3], 0, "1"),
        ([7, 7, 5], [7, 5, 7], 1, "5"),
        (PLOTS_AND_YEARS, PLOTS_AND_YEARS[::-1], 0, r"\('a', 2021\)"),
    ],
    ids=["order", "set", "kind", "twice", "levels"],
)
def test_sensors_whose_labels_differ_are_refused(
    first, second, names, others, row, label
):
    one, other = first(names), second(others)
    message = rf"'S2' .*row {row} is {label} instead of .*align\({{'S1': ..., 'S2': "
    with pytest.raises(ValueError, match=message):
        ModalityDict(S1=one, S2=other)
    X = ModalityDict(S1=one)
    joins = [
        lambda: X.update(S2=other),
        lambda: X | {"S2": other},
        lambda: X | ModalityDict(S2=other),
        lambda: X.setdefault("S2", other),
        lambda: X.__ior__(pickle.loads(pickle.dumps(ModalityDict(S2=other)))),
    ]
    for join in joins:
        with pytest.raises(ValueError, match=message):
            join()
    assert list(X) == ["S1"]
    assert list(X | {"S2": second(names)}) == ["S1", "S2"]


@pytest.mark.parametrize("shuffled_first", [True, False])
def test_a_shuffled_frame_beside_one_with_the_default_index_is_refused(shuffled_first):
    frame = labelled_table(range(4))
    frames = [frame.iloc[[2, 0, 1, 3]], frame][:: 1 if shuffled_first else -1]
    with pytest.raises(ValueError, match=r"row labels .*: row 0"):
        ModalityDict(S1=frames[0], S2=frames[1])


def test_the_only_modality_may_be_replaced_by_other_rows():
    X = ModalityDict(S1=labelled_table(NAMES))
    X["S1"] = labelled_table(NAMES[::-1])
    assert X.ids.tolist() == NAMES[::-1]
    X.clear()
    X["S1"] = np.zeros((3, 1))
    assert X.ids is None


def test_readers_keep_row_labels():
    frame = columns_frame([("S1", 0, "vv"), ("S1", 1, "vv")])
    assert ModalityDict.from_frame(frame).ids is None
    frame.index = ["p2", "p1"]
    assert ModalityDict.from_frame(frame).ids.tolist() == ["p2", "p1"]
    dataset = labelled_array(PLOTS_AND_YEARS).to_dataset(name="S1")
    assert ModalityDict.from_xarray(dataset).ids.tolist() == list(PLOTS_AND_YEARS)
    unindexed = labelled_array(NAMES).drop_indexes("sample")
    assert ModalityDict(S1=unindexed).ids.tolist() == NAMES


def test_new_values_of_the_same_rows_keep_the_ids():
    X = ModalityDict(S1=labelled_array(NAMES, band=["vv", "vh"]))
    made = X.with_values({"S1": pd.DataFrame({"pc": [1.0, 2, 3]}, index=[2, 1, 0])})
    assert (made.ids.tolist(), made.labels) == (NAMES, {})


def test_select_records_dropped_modalities():
    X = ModalityDict(A=np.zeros((3, 1)), B=np.zeros((3, 1)), C=np.zeros((3, 1)))
    assert X.dropped == ()
    part = X.select(["C", "A"]).select("A")
    for same in (part, part[1:], part.copy(), pickle.loads(pickle.dumps(part))):
        assert same.dropped == ("B", "C")
    assert (part | {"B": np.zeros((3, 1))}).dropped == ("C",)
    assert (X.select("A") | X.select(["B", "C"])).dropped == ()
    assert ({} | part).dropped == ("B", "C")


def test_a_copy_has_its_own_labels():
    X = ModalityDict(S1=labelled_array(NAMES))
    copied = copy.copy(X)
    copied["S1"] = np.zeros((3, 2))
    assert "S1" in X.labels
    assert "S1" not in copied.labels


# -- align ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", LABELLED)
@pytest.mark.parametrize("names", [NAMES, PLOTS_AND_YEARS], ids=["flat", "levels"])
def test_align_takes_labelled_archives(form, names):
    S2 = names[:0:-1], np.array([[1.0], [2.0]])
    X = ModalityDict.align({"S1": form(names), "S2": S2})
    assert X.ids.tolist() == list(names)
    assert_array_equal(X["S2"][:, 0], [np.nan, 2, 1])
    assert_array_equal(X["S1"], ModalityDict(S1=form(names))["S1"])
    y = pd.Series([10.0, 20.0, 30.0], names)[::-1]
    assert y.reindex(X.ids).tolist() == [10, 20, 30]
    chosen = ModalityDict.align({"S1": form(names), "S2": S2}, names[::-1])
    assert chosen.ids.tolist() == list(names)[::-1]


@pytest.mark.parametrize("form", LABELLED)
def test_align_refuses_ids_that_contradict_the_archive(form):
    with pytest.raises(ValueError, match=r"'S1' contradict .* row 0 is 'p3' .* 'p1'"):
        ModalityDict.align({"S1": (NAMES[::-1], form(NAMES))})
    assert ModalityDict.align({"S1": (NAMES, form(NAMES))}).ids.tolist() == NAMES


def test_a_column_of_ids_is_matched_with_its_frame():
    frame = pd.DataFrame({"plot": NAMES, "clay": [1.0, 2, 3]}).iloc[[2, 0]]
    pair = frame["plot"], frame[["clay"]]
    X = ModalityDict.align({"soil": pair})
    assert (X.ids.tolist(), X["soil"]["clay"].tolist()) == (["p3", "p1"], [3, 1])
    for ids, values in [(pair[0][::-1], pair[1]), (pair[0], pair[1][::-1])]:
        with pytest.raises(ValueError, match="contradict its row labels"):
            ModalityDict.align({"soil": (ids, values)})


def test_ids_may_be_a_permutation_beside_a_plain_frame():
    X = ModalityDict.align({"S1": ([2, 0, 1], labelled_table(range(3)))})
    assert X.ids.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "archive", [np.zeros((3, 1)), labelled_table(range(3))], ids=["array", "frame"]
)
def test_align_needs_ids(archive):
    with pytest.raises(TypeError, match=r"'S1' must be a pair .* without row labels"):
        ModalityDict.align({"S1": archive})


def test_align_warns_of_archives_that_share_no_id():
    archives = {
        "S1": labelled_table(["p1", "p2"]),
        "S2": (["p2", "p3"], np.zeros((2, 1))),
        "soil": (["P1", "P2"], np.zeros((2, 1))),
        "none": ([], np.zeros((0, 1))),
    }
    with pytest.warns(
        UserWarning, match=r"'soil' shares no id.*'P1'.*'p1'.*cannot learn"
    ):
        X = ModalityDict.align(archives)
    assert len(X) == 5
    ModalityDict.align({"soil": archives["soil"]})  # alone, it is no stranger


def test_missing_parts_of_ids_are_refused():
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", None)])
    with pytest.raises(ValueError, match="1 missing ids, the first at position 1"):
        ModalityDict.align({"S1": (index, np.zeros((2, 1)))})


# -- frames of other libraries, Datasets ---------------------------------------------


def polars_frame(**columns):
    return pytest.importorskip("polars").DataFrame(columns)


def arrow_table(**columns):
    return pytest.importorskip("pyarrow").table(columns)


@pytest.mark.parametrize("library", [polars_frame, arrow_table])
def test_frames_of_other_libraries_keep_their_columns(library):
    frame = library(b=[1, None, 3], a=[0.5, 1.5, None], kind=["x", None, "y"])
    X = ModalityDict(soil=frame)
    assert X.ids is None
    assert list(X["soil"].columns) == ["b", "a", "kind"]
    assert_array_equal(X["soil"][["b", "a"]], [[1, 0.5], [np.nan, 1.5], [3, np.nan]])
    assert X["soil"]["kind"].isna().tolist() == [False, True, False]
    aligned = ModalityDict.align({"soil": (NAMES, frame)}, ["p3", "p1", "p7"])
    assert aligned["soil"]["b"].tolist()[:2] == [3, 1]
    assert list(labelled_columns(frame).columns) == ["b", "a", "kind"]
    schema = Schema.of(ModalityDict(soil=library(a=[1.0], b=[2.0])))
    read = schema.read({"soil": library(b=[1.0], a=[2.0])})
    assert_array_equal(read["soil"], [[2, 1]])


@pytest.mark.parametrize("library", [polars_frame, arrow_table])
def test_dates_of_other_libraries_are_dates(library):
    days = [datetime.date(2021, 5, 1), None]
    assert ModalityDict(t=library(a=days))["t"]["a"].dtype.kind == "M"


def test_an_arrow_table_of_pandas_keeps_its_index():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pandas(labelled_table(NAMES))
    assert ModalityDict(S1=table).ids.tolist() == NAMES


def test_lazy_frames_are_refused():
    lazy = polars_frame(a=[1]).lazy()
    for call in (as_frame, lambda frame: ModalityDict(S1=frame)):
        with pytest.raises(TypeError, match=r"LazyFrame of polars\. Collect"):
            call(lazy)


def test_a_series_is_a_table_of_one_feature():
    X = ModalityDict(height=pd.Series([1.0, 2.0], ["p1", "p2"], name="h"))
    assert list(X["height"].columns) == ["h"]
    assert X.ids.tolist() == ["p1", "p2"]


def test_a_dataset_as_a_modality_has_its_variables_as_bands():
    dataset = labelled_dataset(NAMES)
    expected = labelled_array(NAMES)
    for given in (dataset, dataset.transpose("time", "sample")):
        X = ModalityDict({"S1": given, "S2": given[["vh"]]})
        assert_array_equal(X["S1"], expected)
        assert_array_equal(X["S2"], expected[..., 1:])
        assert X.labels["S1"] == (None, ("vv", "vh"))
    table = dataset.isel(time=0)
    assert ModalityDict(S1=table)["S1"].shape == (3, 2)


def test_datasets_with_different_dimensions_are_refused():
    dataset = labelled_dataset(NAMES)
    others = [dataset.assign(spatial_ref=0), dataset.assign(dem=dataset["vv"][:, 0])]
    others.append(dataset.expand_dims("band"))
    for other in others:
        with pytest.raises(ValueError, match=r"'S1' is a Dataset.* same dimensions"):
            ModalityDict({"S1": other})
    dates = dataset.assign(day=dataset["vv"].astype("datetime64[ns]"))
    with pytest.raises(ValueError, match=r"'S1' contains dates in variable 'day'"):
        ModalityDict({"S1": dates})


# -- dimensions and levels by name ----------------------------------------------------


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        (("sample", "band", "time"), ("sample", "time", "band")),
        (("sample", "variable", "t"), ("sample", "t", "variable")),
        (("sample", "feature", "Date"), ("sample", "Date", "feature")),
        (("sample", "time", "band"), ("sample", "time", "band")),
        (("sample", "bands", "y", "x"), ("sample", "y", "x", "bands")),
        (("sample", "y", "band", "x"), ("sample", "y", "x", "band")),
        (("band", "time"), ("band", "time")),
        (("sample", "a", "b"), ("sample", "a", "b")),
        ((), ()),
    ],
)
def test_canonical_dims(dims, expected):
    assert canonical_dims(dims) == expected


@pytest.mark.parametrize("sample", ["sample", "plot"])
def test_bands_are_moved_behind_time(sample):
    dataset = labelled_dataset(NAMES).rename(sample=sample)
    dataset = dataset.assign_coords(time=["t0", "t1", "t2"])
    array = dataset.to_dataarray()
    assert array.dims == ("variable", sample, "time")
    for X in (
        ModalityDict(S1=array),
        ModalityDict.from_xarray(xr_dataset(S1=array), sample),
        read_named({"S1": array.transpose(sample, "variable", "time")}),
    ):
        assert_array_equal(X["S1"], labelled_array(NAMES))
        assert X.dims["S1"] == (sample, "time", "variable")
        assert X.labels["S1"] == (("t0", "t1", "t2"), ("vv", "vh"))


def xr_dataset(**variables):
    return pytest.importorskip("xarray").Dataset(variables)


LEVELS = [("S1", b, t) for b in ("vv", "vh") for t in ("2021-04", "2021-05", "2021-06")]


@pytest.mark.parametrize(
    ("times", "names"),
    [
        ([0, 1, 2], None),
        (["2021-04", "2021-05-01", "2021-06-01T10:00"], None),
        (["20210401", "20210501", "20210601"], None),
        (pd.to_datetime(["2021-04-01", "2021-05-01", "2021-06-01"]).tolist(), None),
        (["a", "b", "c"], ["modality", "band", "time"]),
        (["a", "b", "c"], ["modality", None, "Date"]),
        (["a", "b", "c"], ["modality", "variable", "season of year"]),
    ],
)
def test_band_and_time_levels_are_recognised(times, names):
    columns = [("S1", band, time) for band in ("vv", "vh") for time in times]
    columns += [("soil", "ph", "")]
    frame = columns_frame(columns)
    frame.columns.names = names or [None] * 3
    X = ModalityDict.from_frame(frame)
    assert_array_equal(X["S1"][0], [[0, 3], [1, 4], [2, 5]])
    assert X.labels["S1"] == (tuple(times), ("vv", "vh"))
    assert list(X["soil"].columns) == ["ph"]


def test_names_of_levels_decide_before_their_entries():
    frame = columns_frame([("S1", s, b) for s in ("wet", "dry") for b in (490, 560)])
    frame.columns.names = ["sensor", "season", "band"]
    assert ModalityDict.from_frame(frame).labels["S1"] == (("wet", "dry"), (490, 560))


def test_a_pivoted_long_table_is_read_by_its_levels():
    frame = columns_frame(LEVELS).set_axis(["p1", "p2"])
    frame.columns.names = ["sensor", "band", "month"]
    long = frame.T.stack().rename("value").reset_index(name="value")
    long = long.rename(columns={"level_3": "plot"})
    wide = long.pivot(index="plot", columns=["sensor", "band", "month"], values="value")
    X = ModalityDict.from_frame(wide)
    assert X.ids.tolist() == ["p1", "p2"]
    assert_array_equal(X["S1"][1], [[6, 9], [7, 10], [8, 11]])


# -- values that cannot be read --------------------------------------------------------


@pytest.mark.parametrize("place", ["attrs", "encoding"])
@pytest.mark.parametrize("key", ["_FillValue", "nodata", "missing_value"])
@pytest.mark.parametrize(
    ("dtype", "number", "expected"),
    [
        ("int16", -9999, "float32"),
        ("int32", -9999, "float64"),
        ("uint8", 255, "float32"),
        ("float32", -3.4e38, "float32"),
        ("float64", -3.4e38, "float64"),
        ("int16", "-9999", "float32"),
        ("int16", [-9999, 7], "float32"),
    ],
)
def test_declared_nodata_becomes_nan(place, key, dtype, number, expected):
    fill = float(np.ravel(number)[0])
    values = np.array([[1, 2], [fill, 3], [4, fill]], dtype=dtype)
    array = labelled_array(NAMES)[:, 0].copy(data=values)
    getattr(array, place)[key] = number
    dataset = array.assign_coords(band=["b", "c"]).to_dataset("band")
    for variable in dataset.data_vars.values():
        getattr(variable, place)[key] = number
    for X in (
        ModalityDict(S1=array),
        ModalityDict.from_xarray(array.to_dataset(name="S1")),
        ModalityDict({"S1": dataset}),
        {"S1": labelled_columns(array.assign_coords(band=["b", "c"]))},
        ModalityDict({"S1": labelled_columns(array)}),
    ):
        assert_array_equal(np.isnan(X["S1"]), [[0, 0], [1, 0], [0, 1]])
        assert np.asarray(X["S1"]).dtype == expected
    assert values[1, 0] == np.dtype(dtype).type(fill)  # what was given stays


def test_undeclared_or_absent_nodata_changes_nothing():
    array = labelled_array(NAMES).astype("int16")
    array.attrs |= {"_FillValue": -9999, "nodata": None, "missing_value": "none"}
    assert declared_nodata(array) == (-9999.0,)
    assert ModalityDict(S1=array)["S1"].dtype == np.int16
    decoded = labelled_array(NAMES)
    decoded.encoding |= {"_FillValue": 3, "scale_factor": 0.1}
    assert declared_nodata(decoded) == ()
    decoded.attrs["nodata"] = np.nan
    assert not np.isnan(ModalityDict(S1=decoded)["S1"]).any()


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        ([[1, 2], [3, 4], [5]], 2),
        ([[[1], [2]], [[1], [2], [3]]], 1),
        ([[[1], [2, 3]], [[1], [2]]], 0),
        ((np.zeros(2), None, np.zeros(3)), 2),
    ],
)
def test_ragged_lists_name_the_modality_and_the_row(rows, first):
    with pytest.raises(ValueError, match=rf"'S1' must have one shape; row {first} "):
        ModalityDict(S1=rows)


def test_masked_rows_in_a_list_stay_masked():
    rows = [np.ma.array([1, -9999], mask=[False, True]), np.ma.array([3, 4])]
    assert_array_equal(ModalityDict(S1=rows)["S1"], [[1, np.nan], [3, 4]])


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_arrays_of_arrays_are_refused(shape):
    cells = np.empty(2, dtype=object)
    cells[:] = [np.zeros(3), np.zeros(2)]
    cells = cells.reshape(shape)
    with pytest.raises(ValueError, match=r"Modality 'S1' contains arrays"):
        ModalityDict(S1=cells)
    frame = pd.DataFrame({"a": [1, 2], "series": [np.zeros(3)] * 2})
    with pytest.raises(ValueError, match=r"Column 'series' of modality 'S1' contains"):
        ModalityDict(S1=frame)


def test_duplicated_columns_are_refused():
    table = pd.DataFrame(np.zeros((2, 3)), columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"'soil' has the column 'a' more than once"):
        ModalityDict(soil=table)
    for columns in ([("S1", 0, "vv")] * 2, [("S1", "vv")] * 2, [("S1", "vv", "")] * 2):
        with pytest.raises(ValueError, match=r"'S1' has the column .*'vv'.* than once"):
            ModalityDict.from_frame(columns_frame(columns))


@pytest.mark.parametrize(
    "days",
    [pd.to_datetime(["2021-05-01"] * 2), [datetime.date(2021, 5, 1)] * 2],
    ids=["datetime64", "objects"],
)
def test_a_column_of_dates_is_named(days):
    frame = pd.DataFrame({"clay": [1.0, 2.0], "seen": days})
    X = ModalityDict(soil=frame)  # PerModality may still make numbers of them
    with pytest.raises(ValueError, match=r"'soil' .*not numbers in column 'seen'"):
        numeric_values("soil", X["soil"], None)
    assert ModalityDict(times=frame[["seen"]])["times"].shape == (2, 1)
