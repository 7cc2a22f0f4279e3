"""Every mistake is answered by a message that says what came and what to do."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tools
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.training import resolve_device

SHAPES = "'S1': (n, 12, 2), 'S2': (n, 12, 4), 'terrain': (n, 6)"
NAMES = "['S1', 'S2', 'terrain']"

small = partial(tools.small, weight_decay=0.3, max_epochs=2)


def refusal(function, *args, error=ValueError, **kwargs):
    """Return the whole message of the error, which is of that very class."""
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    assert caught.type is error
    return str(caught.value)


@pytest.fixture(scope="module")
def fitted(sensors):
    return small().fit(*sensors)


@pytest.fixture
def flat(sensors):
    return np.asarray(sensors[0])


def changed(X, **values):
    return {**X, **values}


def set_rows(values, rows, value):
    values = values.copy()
    values[rows] = value
    return values


# -- names of modalities -----------------------------------------------------------


def test_unknown_modality_at_prediction(sensors, fitted):
    X, _ = sensors
    expected = f"Unknown modality 'S9'; fit saw {NAMES}."
    assert refusal(fitted.predict, {"S9": X["S1"]}) == expected
    assert refusal(fitted.predict, X, modality="S9") == expected
    assert refusal(fitted.predict, X["S1"], modality="S9") == expected
    assert refusal(fitted.transform, changed(X, S9=X["S1"])) == expected
    assert refusal(fitted.embed, X, modality="S9") == expected


def test_modality_asked_for_is_not_in_X(sensors, fitted):
    X, y = sensors
    two = X.select(["S1", "terrain"])
    expected = "The prediction is to be from modality 'S2', but X holds "
    assert refusal(fitted.predict, X.select("S1"), "S2") == (
        expected + "['S1']; pass 'S2', or name another by modality=."
    )
    clf = small(predict_modality="S2").fit(X, y)
    assert refusal(clf.predict, two) == (
        expected + "['S1', 'terrain']; pass 'S2', or name another by modality=."
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"predict_modality": "S9"},
            f"predict_modality= names the unknown modality 'S9'; X holds {NAMES}.",
        ),
        (
            {"missing_value": {"S1": 0, "S9": 0}},
            f"missing_value= names the unknown modality 'S9'; X holds {NAMES}.",
        ),
        (
            {"modalities": {"S1": slice(0, 2), "S9": slice(2, 3)}},
            f"modalities= names ['S1', 'S9'], but X holds {NAMES}.",
        ),
        (
            {"encoder": dict.fromkeys(["S1", "S2", "terrain", "S9"], "mlp")},
            "encoder= by modality names ['S9'], but there is no such modality; fit got "
            f"{NAMES}.",
        ),
        (
            {"encoder_params": {"S1": {"hidden_dims": (4,)}, "S9": {}}},
            "encoder_params= by modality names ['S9'], but there is no such modality; "
            f"fit got {NAMES}.",
        ),
        (
            {"encoder_params": {"S9": {"hidden_dims": (4,)}}},
            "encoder_params= by modality names ['S9'], but there is no such modality; "
            f"fit got {NAMES}.",
        ),
    ],
)
def test_parameter_names_a_modality_that_X_lacks(sensors, parameters, expected):
    assert refusal(small(**parameters).fit, *sensors) == expected


def test_name_is_no_string(sensors):
    X, y = sensors
    data = {1: X["S1"], 2: X["S2"]}
    expected = "The name of a modality is a string; got 1 (int)."
    assert refusal(small().fit, data, y, error=TypeError) == expected


# -- shapes ------------------------------------------------------------------------


def test_lengths_differ(sensors, fitted):
    X, y = sensors
    short = {"S1": X["S1"], "S2": X["S2"][:-1]}
    expected = (
        "All modalities need the same number of rows, one per sample; got 'S1': 90, "
        "'S2': 89."
    )
    assert refusal(small().fit, short, y) == expected
    assert refusal(fitted.predict, short) == expected


def test_wrong_bands_or_time_steps(sensors, fitted):
    X, _ = sensors
    S1, S2 = X["S1"], X["S2"]
    assert (
        refusal(fitted.predict, {"S1": S1[..., :1]})
        == "Modality 'S1' has shape (n, 12, 1); fit saw (n, 12, 2), and "
        "the time steps and bands have to be the same."
    )
    assert (
        refusal(fitted.predict, changed(X, S2=S2[:, :5]))
        == "Modality 'S2' has shape (n, 5, 4); fit saw (n, 12, 4), and "
        "the time steps and bands have to be the same."
    )
    assert (
        refusal(fitted.predict, S1, modality="S2")
        == "Modality 'S2' has shape (n, 12, 2); fit saw (n, 12, 4), and "
        "the time steps and bands have to be the same."
    )


def test_modality_of_one_axis(sensors):
    X, y = sensors
    expected = (
        "Modality 'terrain' has shape (90,); expected (n_samples, n_features), "
        "(n_samples, n_timesteps, n_bands) or (n_samples, height, width, n_bands). A "
        "single feature is array.reshape(-1, 1)."
    )
    data = changed(X, terrain=X["terrain"][:, 0])
    assert refusal(small().fit, data, y) == expected


def test_bare_array_fits_several_modalities():
    X, y = make_multisensor(40, modalities={"a": (5,), "b": (5,)}, random_state=0)
    clf = small().fit(X, y)
    assert refusal(clf.predict, X["a"]) == (
        "X of shape (n, 5) fits the modalities ['a', 'b']; say which one by modality=, "
        "or pass {name: array}."
    )


def test_bare_array_fits_no_modality(fitted, flat):
    several = "Several modalities are passed as a dict {name: array}."
    for X in (np.zeros((4, 9)), pd.DataFrame(np.zeros((4, 9)))):
        assert refusal(fitted.predict, X) == (
            f"X of shape (n, 9) fits no modality that fit saw ({SHAPES}). {several}"
        )
    frame = pd.DataFrame(flat)  # which need not be in the order of fit
    assert refusal(fitted.predict, frame) == (
        f"X of shape (n, 78) fits no modality that fit saw ({SHAPES}). {several}"
    )


@pytest.mark.parametrize(
    "X", [np.zeros(4), 3.0, None, "S1"], ids=["one axis", "number", "None", "string"]
)
def test_what_is_no_array_of_rows_fits_no_modality(fitted, X):
    """The message shows what came, not rows that are not there."""
    message = refusal(fitted.predict, X)
    assert "(n)" not in message
    assert SHAPES in message


def test_list_of_arrays_is_no_dict(sensors, fitted):
    X, y = sensors
    for function, args in ((small().fit, (y,)), (fitted.predict, ())):
        message = refusal(function, [X["S1"], X["S2"]], *args)
        assert "{name: array}" in message


def test_bare_array_of_three_axes_at_fit(sensors):
    X, y = sensors
    assert refusal(small().fit, X["S1"], y) == (
        "X is a bare array of shape (90, 12, 2); fit needs to know the modalities by "
        "name: pass a dict {name: array}, even for one."
    )


def test_columns_of_a_frame_are_others(sensors):
    X, y = sensors
    soil = pd.DataFrame(X["terrain"], columns=[*"abcdef"])
    clf = small().fit({"S1": X["S1"], "soil": soil}, y)
    assert (
        refusal(clf.predict, soil.rename(columns={"a": "z"}))
        == "Modality 'soil' lacks the columns ['a'] that fit saw."
    )
    assert (
        refusal(clf.predict, {"soil": soil[["a", "b", "c", "d"]]})
        == "Modality 'soil' lacks the columns ['e', 'f'] that fit saw."
    )


def test_columns_of_several_modalities(sensors):
    X, y = sensors
    radar = pd.DataFrame(X["S1"][:, 0], columns=["vv", "vh"])
    soil = pd.DataFrame(X["terrain"][:, :3], columns=["clay", "sand", "ph"])
    clf = small().fit({"radar": radar, "soil": soil, "S2": X["S2"]}, y)
    frame = radar.join(soil)
    seen = "'radar': ['vv', 'vh'], 'soil': ['clay', 'sand', 'ph'], 'S2': (n, 12, 4)"
    for columns in (["clay", "vv"], ["clay", "sand"], [*frame]):
        assert refusal(clf.predict, frame[columns]) == (
            f"The columns {columns} of X fit no modality that fit saw ({seen}). "
            "Several modalities are passed as a dict {name: frame}."
        )


@pytest.mark.parametrize("levels", [2, 3])
def test_one_modality_of_a_frame_without_its_name(sensors, levels):
    X, y = sensors
    names = [("S1", 0, "vv"), ("S1", 0, "vh"), ("soil", "clay", "")]
    columns = [name[:levels] if levels == 3 else (name[0], name[2]) for name in names]
    values = np.column_stack([X["S1"][:, 0], X["terrain"][:, 0]])
    frame = pd.DataFrame(values, columns=pd.MultiIndex.from_tuples(columns))
    clf = small().fit(frame, y)
    clf.predict(frame[["soil"]])
    if levels == 2:  # a frame of the features, as bare frames are
        assert_array_equal(clf.predict(frame["S1"]), clf.predict(frame[["S1"]]))
        return
    frame["soil", "sand", ""] = 1.0
    for model in (clf, clf.export("S1")):
        for name, begins in (("soil", "['clay', 'sand']"), ("S1", "[0]")):
            assert refusal(model.predict, frame[name]) == (
                f"The columns of X begin with {begins}, none of which is a modality; "
                f"fit saw {model.modalities_}. frame[[name]] keeps the modality in the "
                "columns, where frame[name] leaves it out."
            )


def test_one_sample(sensors, fitted):
    X, _ = sensors
    for name, shape in (("S1", "(12, 2)"), ("terrain", "(6,)")):
        expected = (
            f"X of shape {shape} is one sample of modality {name!r}, without an axis "
            "of samples; pass array[:1] in the place of array[0]."
        )
        one = X[name][0]
        assert refusal(fitted.predict, one) == expected
        assert refusal(fitted.export(name).predict, one) == expected
    assert refusal(fitted.predict, {"S1": X["S1"][0]}) == expected.replace(
        "'terrain'", "'S1'"
    ).replace("(6,)", "(12, 2)")
    assert refusal(fitted.predict, X["S1"][0], modality="S1") == refusal(
        fitted.predict, X["S1"][0]
    )


def test_torch_without_the_device(monkeypatch):
    def zeros(*_, **__):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "zeros", zeros)
    assert refusal(resolve_device, "cuda") == (
        "device='cuda' cannot be used here: Torch not compiled with CUDA enabled. Use "
        "'auto' or 'cpu'."
    )


def test_empty_X(sensors, fitted):
    X, y = sensors
    expected = (
        "X is empty: a dict of at least one modality with at least one row is needed."
    )
    assert refusal(small().fit, {}, y) == expected
    assert refusal(small().fit, ModalityDict(), y) == expected
    assert refusal(small().fit, X[:0], y[:0]) == expected
    expected = (
        f"X holds no modality or no row; expected one or more of {NAMES} with at least "
        "one row."
    )
    assert refusal(fitted.predict, {}) == expected
    assert refusal(fitted.predict, X[:0]) == expected
    assert refusal(fitted.predict, X["S1"][:0]) == expected
    assert (
        refusal(small().fit, changed(X, S2=np.zeros((90, 0))), y)
        == "Modality 'S2' has shape (90, 0): an axis is empty."
    )


# -- values ------------------------------------------------------------------------


def test_row_without_any_value(sensors, fitted):
    X, y = sensors
    nowhere = {name: set_rows(values, [3, 7], np.nan) for name, values in X.items()}
    assert refusal(small().fit, nowhere, y) == (
        "All values of all modalities are missing in rows 3, 7; drop them before fit."
    )
    rest = (
        ", so nothing can answer there; drop these rows, or pass another modality for "
        "them."
    )
    assert refusal(fitted.predict, nowhere) == (
        "All values of 'S1' and 'S2' and 'terrain' are missing in rows 3, 7" + rest
    )
    one = {"S1": nowhere["S1"][3:6]}
    assert refusal(fitted.predict, one) == (
        "All values of 'S1' are missing in row 0" + rest
    )
    many = changed(X, S1=set_rows(X["S1"], slice(0, 30), np.nan))
    assert refusal(fitted.transform, many["S1"]) == (
        "All values of 'S1' are missing in rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (and 20 "
        "more)" + rest
    )
    assert refusal(fitted.predict, many, modality="S1").startswith(
        "All values of 'S1' are missing in rows 0, 1,"
    )


def test_missing_value_makes_a_row_missing(sensors):
    X, y = sensors
    marked = {name: set_rows(values, [11], -9999) for name, values in X.items()}
    assert refusal(small(missing_value=-9999).fit, marked, y) == (
        "All values of all modalities are missing in row 11; drop them before fit."
    )


def test_infinite_values(sensors, fitted):
    X, y = sensors
    infinite = changed(X, S2=set_rows(X["S2"], [1, 4, 5], -np.inf))
    expected = (
        "Modality 'S2' contains infinity in rows 1, 4, 5. Missing values are given as "
        "NaN, or named by missing_value=."
    )
    assert refusal(small().fit, infinite, y) == expected
    assert refusal(fitted.predict, infinite) == expected


def test_values_that_are_no_numbers(sensors, fitted):
    X, y = sensors
    encode = (
        "Encode categories first, for example with sklearn.preprocessing.OneHotEncoder."
    )
    forest = np.full((90, 6), "forest")
    strings = (
        "Modality 'terrain' has dtype <U6 with values that are no numbers (could not "
        f"convert string to float: 'forest'). {encode}"
    )
    assert refusal(small().fit, changed(X, terrain=forest), y) == strings
    assert refusal(fitted.predict, {"terrain": forest}) == strings
    objects = changed(X, terrain=np.full((90, 6), object()))
    assert refusal(small().fit, objects, y) == (
        "Modality 'terrain' has dtype object with values that are no numbers (float() "
        f"argument must be a string or a real number, not 'object'). {encode}"
    )
    assert (
        refusal(small().fit, changed(X, S1=X["S1"] * 1j), y)
        == "Complex data not supported: modality 'S1'."
    )


def test_sparse_matrix(sensors, flat):
    X, y = sensors
    message = refusal(small().fit, sparse.csr_matrix(flat), y, error=TypeError)
    assert message == (
        "Sparse data was passed for X, but dense data is required. Use '.toarray()' to "
        "convert to a dense numpy array."
    )
    data = changed(X, terrain=sparse.csr_matrix(X["terrain"]))
    assert refusal(small().fit, data, y, error=TypeError) == (
        "Modality 'terrain' is a sparse matrix; a dense array is needed: use its "
        "toarray()."
    )


@pytest.mark.parametrize("standardize", [True, False])
def test_modality_without_any_value(sensors, standardize):
    X, y = sensors
    never = changed(X, S1=np.full((90, 12, 2), np.nan))
    assert refusal(small(standardize=standardize).fit, never, y) == (
        "Modality 'S1' has no value in any training row, so there is nothing to learn "
        "from."
    )


# -- the target --------------------------------------------------------------------


def test_one_class(sensors):
    X, y = sensors
    expected = "y has only one class, 0; a classifier needs at least 2."
    assert refusal(small().fit, X, 0 * y) == expected
    expected = "y has only one class, 'maize'; a classifier needs at least 2."
    assert refusal(small().fit, X, np.full(90, "maize")) == expected


def test_length_of_y(sensors, sensors_regression):
    X, y = sensors
    expected = "X and y need the same number of rows; X has 90 and y has 89."
    assert refusal(small().fit, X, y[:-1]) == expected
    X, y = sensors_regression
    assert refusal(small(CoLearnRegressor).fit, X, y[:-1]) == expected


def test_no_y(sensors):
    X, _ = sensors
    for estimator in (CoLearnClassifier, CoLearnRegressor):
        assert refusal(small(estimator).fit, X, None) == (
            f"{estimator.__name__} requires y to be passed, but the target y is None."
        )


def test_y_with_infinity(sensors, sensors_regression):
    expected = "Input y contains infinity or a value too large for dtype('float64')."
    X, y = sensors
    assert refusal(small().fit, X, set_rows(y.astype(float), 4, np.inf)) == expected
    X, y = sensors_regression
    for reg_y in (set_rows(y, 4, np.inf), set_rows(set_rows(y, 4, np.inf), 5, np.nan)):
        assert refusal(small(CoLearnRegressor).fit, X, reg_y) == expected


def test_no_labelled_row(sensors):
    X, y = sensors
    rest = ". Label some; pretrain(X) is what learns without any."
    expected = "y has no labelled row: all are None, NaN"
    nothing = np.full(90, np.nan)
    assert refusal(small().fit, X, nothing) == expected + rest
    assert refusal(small().fit, X, [None] * 90) == expected + rest
    assert refusal(small(CoLearnRegressor).fit, X, nothing) == expected + rest
    assert refusal(small(unlabeled=-1).fit, X, 0 * y - 1) == expected + ", -1" + rest


def test_one_class_among_the_labelled_rows(sensors):
    X, y = sensors
    assert refusal(small(unlabeled="?").fit, X, np.where(y == 1, "maize", "?")) == (
        "y has only one class, 'maize' among the labelled rows; a classifier needs at "
        "least 2."
    )


def test_row_of_which_some_labels_are_missing(sensors):
    X, y = sensors
    several = np.eye(3)[y]
    several[4] = np.nan  # all: unlabelled
    several[[3, 7], 1] = np.nan
    expected = (
        "y lacks some of its columns, but not all, in rows 3, 7. A row has a value in "
        "every column, or in none, which makes it unlabelled."
    )
    for estimator in (CoLearnClassifier, CoLearnRegressor):
        assert refusal(small(estimator).fit, X, several) == expected


def test_modality_that_no_labelled_row_has(sensors):
    X, y = sensors
    S1 = set_rows(X["S1"], slice(0, 45), np.nan)
    target = set_rows(y.astype(float), slice(45, 90), np.nan)
    assert refusal(small().fit, changed(X, S1=S1), target) == (
        "Modality 'S1' has no value in any labelled training row, so nothing teaches "
        "it the labels."
    )


def test_class_of_one_labelled_row_with_early_stopping(sensors):
    X, y = sensors
    y = np.where(y == 2, -1, y)
    y[7] = 2
    clf = small(unlabeled=-1, early_stopping=True)
    assert refusal(clf.fit, X, y) == (
        "early_stopping=True holds back rows of every class, but class 2 has one "
        "labelled row; label more, leave the class out, or train without early "
        "stopping."
    )
    assert clf.set_params(early_stopping=False).fit(X, y).classes_.tolist() == [0, 1, 2]


def test_too_few_labelled_rows_for_early_stopping(sensors_regression):
    X, y = sensors_regression
    y = set_rows(y, slice(1, None), np.nan)
    assert refusal(small(CoLearnRegressor, early_stopping=True).fit, X, y) == (
        "early_stopping=True needs labelled rows to train on and rows to validate on; "
        "X has 1."
    )


def test_pretrain_that_cannot_be_of_use(sensors):
    X, _ = sensors
    assert refusal(small().pretrain, X) == (
        "pretrain is of use to a fit that goes on from it; set warm_start=True."
    )
    warm = small(warm_start=True)
    assert refusal(warm.pretrain, X.select("S2")) == (
        "X holds one modality, 'S2'; pretrain learns what several have in common."
    )
    never = changed(X, S1=np.full((90, 12, 2), np.nan))
    assert refusal(warm.pretrain, never) == (
        "Modality 'S1' has no value in any row, so there is nothing to learn from."
    )
    warm.set_params(contrastive_weight=0, discriminative_weight=0)
    assert refusal(warm.pretrain, X) == (
        "pretrain has nothing to train by, as contrastive_weight and "
        "discriminative_weight are zero."
    )


def test_continuous_y_for_a_classifier(sensors_regression):
    assert refusal(small().fit, *sensors_regression) == (
        "Unknown label type: continuous. A classifier takes labels of shape "
        "(n_samples,) or a 0/1 indicator of shape (n_samples, n_labels); for "
        "continuous targets there is CoLearnRegressor."
    )


def test_y_of_three_axes(sensors):
    X, _ = sensors
    message = refusal(small(CoLearnRegressor).fit, X, np.zeros((90, 2, 2)))
    assert message == "Found array with dim 3, while dim <= 2 is required."


def test_class_weight_of_unseen_labels(sensors):
    X, y = sensors
    assert refusal(small(class_weight={0: 1, 7: 3}).fit, X, y) == (
        "class_weight names the labels [7], which are not in y; y has [0, 1, 2]."
    )
    labels = np.array(["wheat", "maize", "grass"])[y]
    assert refusal(small(class_weight={"rice": 2}).fit, X, labels) == (
        "class_weight names the labels ['rice'], which are not in y; y has ['grass', "
        "'maize', 'wheat']."
    )


def test_sample_weight(sensors):
    X, y = sensors

    def message(weight):
        return refusal(small().fit, X, y, sample_weight=weight)

    assert message(-np.ones(90)) == "Negative values in data passed to `sample_weight`."
    assert message(np.ones(89)) == "sample_weight.shape == (89,), expected (90,)!"
    assert message(np.full(90, np.nan)) == "Input sample_weight contains NaN."
    assert message(np.zeros(90)) in (
        "Sample weights must contain at least one non-zero number.",  # scikit-learn's
        "Every sample_weight is zero; nothing is left to fit.",
    )


# -- the layout of a flat X --------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (
            {"a": slice(0, 10), "b": [9, 11]},
            "modalities= overlaps: column 9 is in both 'a' and 'b'.",
        ),
        (
            {"a": slice(0, 10), "b": [-69]},
            "modalities= overlaps: column 9 is in both 'a' and 'b'.",
        ),
        (
            {"a": [0, 99], "b": [1]},
            "modalities['a'] names the columns [99], but X has 78 columns.",
        ),
        (
            {"a": slice(0, 99), "b": [1]},
            "modalities['a'] reaches to column 99, but X has 78 columns.",
        ),
        (
            {"a": ["clay"], "b": ["sand"]},
            "modalities['a'] names the columns ['clay'], but X has no column names.",
        ),
        (
            {"a": (slice(0, 10), (3, 2)), "b": [20]},
            "modalities['a'] gives 10 columns for the shape (3, 2), which needs 6.",
        ),
        ({"a": [], "b": [20]}, "modalities['a'] names no column."),
    ],
)
def test_layout_does_not_fit_the_array(sensors, flat, layout, expected):
    assert refusal(small(modalities=layout).fit, flat, sensors[1]) == expected


def test_layout_does_not_fit_the_frame(sensors):
    y = sensors[1]
    frame = pd.DataFrame({"clay": y, "sand": 2.0 * y})
    assert refusal(small(modalities={"a": ["silt"], "b": ["sand"]}).fit, frame, y) == (
        "modalities['a'] names the columns ['silt'], but X lacks them."
    )
    assert refusal(small(modalities={"a": ["clay"], "b": ["clay"]}).fit, frame, y) == (
        "modalities= overlaps: column 'clay' is in both 'a' and 'b'."
    )


def test_layout_of_another_kind(sensors, flat):
    expected = (
        "modalities['b'] is a slice, a list of columns, or a pair (columns, shape) "
        "with shape a tuple; got "
    )
    for place in ("clay", 3, (1, 2, 3)):
        clf = small(modalities={"a": [0, 1], "b": place})
        message = refusal(clf.fit, flat, sensors[1], error=TypeError)
        assert message == f"{expected}{place!r}."
    clf = small(modalities={"a": [0, 1], "b": slice("clay", "sand")})
    assert refusal(clf.fit, flat, sensors[1], error=TypeError) == (
        "modalities['b'] is a slice of column names; give a slice of positions, or a "
        "list of names."
    )


def test_flat_X_has_other_columns_than_in_fit(sensors, flat):
    X, y = sensors
    clf = small(modalities=X.layout).fit(flat, y)
    assert refusal(clf.predict, flat[:, :-1]) == (
        f"X of shape (n, 77) fits no modality that fit saw ({SHAPES}). Several "
        "modalities are passed as a dict {name: array}."
    )
    frame = pd.DataFrame(flat, columns=[f"c{i}" for i in range(78)])
    clf.fit(frame, y)
    assert refusal(clf.predict, frame.iloc[:, ::-1]).startswith(
        "The feature names should match those that were passed during fit."
    )


# -- fits that go on ---------------------------------------------------------------


@pytest.fixture
def warm(sensors):
    return small(warm_start=True).fit(*sensors)


def test_warm_start_with_another_target(sensors, warm):
    X, y = sensors
    expected = (
        "warm_start=True continues the earlier fit, so the target has to be of the "
        "same kind; "
    )
    assert refusal(warm.fit, X, y + 1) == (
        expected + "classes_ was array([0, 1, 2]) and would be array([1, 2, 3])."
    )
    assert refusal(warm.fit, X, np.eye(3, dtype=int)[y]) == (
        expected + "n_outputs_ was 1 and would be 3."
    )


def test_warm_start_with_other_modalities(sensors, warm):
    X, y = sensors
    assert refusal(warm.fit, X.select(["S1", "S2"]), y) == (
        "warm_start=True continues the earlier fit, so the modalities have to be the "
        "same; before {'S1': (12, 2), 'S2': (12, 4), 'terrain': (6,)}, now {'S1': (12, "
        "2), 'S2': (12, 4)}."
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_dim": 8},
        {"encoder": "linear", "encoder_params": None},
        {"share_encoder": True},
    ],
)
def test_warm_start_with_another_network(sensors, warm, changes):
    """Short: torch's list of every weight that does not fit helps nobody."""
    answers = warm.predict_proba(sensors[0])
    message = refusal(warm.set_params(**changes).fit, *sensors)
    assert message.startswith(
        "warm_start=True continues the earlier fit, so encoder, encoder_params, "
        "share_encoder and embedding_dim have to be the same"
    )
    assert len(message) < 300
    assert_array_equal(warm.predict_proba(sensors[0]), answers)


# -- parameters --------------------------------------------------------------------


def test_encoder_and_embedding(sensors):
    assert refusal(small(embedding_dim=15).fit, *sensors) == (
        "embedding_dim=15 has to be even: the unique encoder's embedding is cut in "
        "halves."
    )
    assert refusal(small(encoder="vgg").fit, *sensors) == (
        "Modality 'S1': Unknown encoder 'vgg'; valid names are ['auto', 'linear', "
        "'mlp', 'tempcnn', 'rnn', 'lstm', 'gru', 'tae', 'ltae', 'transformer', "
        "'convtran', 'inceptiontime', 'resnet'] and 'pretrained:<timm name>', or give "
        "a torch.nn.Module class or factory."
    )
    module = torch.nn.Linear(2, 2)
    assert refusal(small(encoder=module).fit, *sensors, error=TypeError) == (
        "Modality 'S1': An encoder is a name, or a class or factory that makes a "
        "torch.nn.Module (a modality needs two of them); got Linear(in_features=2, "
        "out_features=2, bias=True)."
    )
    assert refusal(small(encoder_params={"width": 4}).fit, *sensors) == (
        "Modality 'S1': Unknown encoder_params ['width'] for the encoder 'mlp'; valid "
        "are ['hidden_dims', 'dropout']."
    )
    assert refusal(small(encoder="gru", encoder_params=None).fit, *sensors) == (
        "Modality 'terrain': Encoder 'gru' reads time series (n_samples, n_timesteps, "
        "n_bands); the modality has the shape (n_samples, 6)."
    )


def test_unknown_representation(sensors, fitted):
    assert refusal(fitted.embed, sensors[0], "common") == (
        "Unknown representation 'common'; valid are ['joint', 'specific', 'shared', "
        "'unused']."
    )


@pytest.mark.parametrize(
    ("parameters", "range_"),
    [
        ({"embedding_dim": 0}, "an int in the range [2, inf)"),
        ({"dropout": 1.0}, "a float in the range [0.0, 1.0)"),
        ({"temperature": 0}, "a float in the range (0.0, inf)"),
        ({"contrastive_weight": -1}, "a float in the range [0.0, inf)"),
        ({"max_epochs": 0}, "an int in the range [1, inf)"),
        ({"batch_size": 1.5}, "an int in the range [1, inf)"),
        ({"lr": 0}, "a float in the range (0.0, inf)"),
        ({"validation_fraction": 1.0}, "a float in the range (0.0, 1.0)"),
        ({"n_iter_no_change": 0}, "an int in the range [1, inf)"),
        ({"modalities": ["S1"]}, "an instance of 'collections.abc.Mapping' or None"),
        (
            {"class_weight": "even"},
            "an instance of 'dict', an instance of 'list', a str among {'balanced'} or "
            "None",
        ),
        ({"device": 0}, "an instance of 'str'"),
    ],
    ids=str,
)
def test_invalid_parameter(sensors, parameters, range_):
    [(name, value)] = parameters.items()
    message = refusal(small(**parameters).fit, *sensors, error=InvalidParameterError)
    assert message == (
        f"The {name!r} parameter of CoLearnClassifier must be {range_}. Got {value!r} "
        "instead."
    )


@pytest.mark.parametrize("name", ["optimizer", "lr_schedule"])
def test_unknown_choice(sensors, name):
    message = refusal(
        small(**{name: "best"}).fit, *sensors, error=InvalidParameterError
    )
    assert message.startswith(f"The {name!r} parameter of CoLearnClassifier must be")
    assert message.endswith("or a callable. Got 'best' instead.")


def test_missing_value_that_no_number_can_equal(sensors):
    X, y = sensors
    with pytest.raises((ValueError, TypeError), match="missing_value"):
        small(missing_value={"S1": "-9999"}).fit(X, y)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_there(sensors, device):
    with pytest.raises(ValueError, match=f"device='{device}'"):
        small(device=device).fit(*sensors)


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_not_fitted(sensors, estimator):
    X, _ = sensors
    unfitted = small(estimator)
    methods = ["predict", "transform", "embed"]
    if estimator is CoLearnClassifier:
        methods += ["predict_proba", "predict_log_proba"]
    expected = (
        f"This {estimator.__name__} instance is not fitted yet. Call 'fit' with "
        "appropriate arguments before using this estimator."
    )
    for method in methods:
        message = refusal(getattr(unfitted, method), X, error=NotFittedError)
        assert message == expected
    assert refusal(unfitted.get_feature_names_out, error=NotFittedError) == expected


# -- training that diverges --------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_divergence_says_epoch_and_reason(sensors_regression, optimizer):
    reg = small(CoLearnRegressor, lr=1e6, optimizer=optimizer, max_epochs=5)
    message = refusal(reg.fit, *sensors_regression)
    # Which epoch, and whether infinite or NaN, is up to rounding.
    assert re.fullmatch(
        r"Training diverged in epoch [1-5]: the train_main term became (inf|nan)\. A "
        r"smaller lr \(now 1000000\.0\) or a larger temperature may help; very large "
        r"target or input values without standardize=True are another cause\.",
        message,
    )


def test_divergence_from_values_that_are_not_standardized(sensors_regression):
    X, y = sensors_regression
    large = changed(X, S1=X["S1"] * np.float32(1e30))
    reg = small(
        CoLearnRegressor, encoder="linear", encoder_params=None, standardize=False
    )
    assert refusal(reg.fit, large, y).startswith(
        "Training diverged in epoch 1: the train_main term became "
    )
    reg.set_params(standardize=True).fit(large, y)
    assert np.isfinite(reg.predict(large)).all()


def test_diverged_refit_never_answers_nan(sensors_regression):
    """The earlier fit still answers, or none does."""
    X, y = sensors_regression
    reg = small(CoLearnRegressor).fit(X, y)
    before = reg.predict(X)
    with pytest.raises(ValueError, match="Training diverged"):
        reg.set_params(lr=1e6, max_epochs=5).fit(X, y)
    try:
        after = reg.predict(X)
    except NotFittedError:
        return
    assert_array_equal(after, before)


def test_diverged_first_fit_is_no_fit(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, lr=1e6, max_epochs=5)
    with pytest.raises(ValueError, match="Training diverged"):
        reg.fit(X, y)
    with pytest.raises(NotFittedError):
        reg.predict(X)
