"""Every mistake raises an error that says what came and what to do."""

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
from tools import refused

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.training import resolve_device

SHAPES = "'S1': (n, 12, 2), 'S2': (n, 12, 4), 'terrain': (n, 6)"
NAMES = "['S1', 'S2', 'terrain']"

small = partial(tools.small, weight_decay=0.3, max_epochs=2)


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
    expected = f"'S9' ... {NAMES}"
    refused(fitted.predict, {"S9": X["S1"]}, says=expected)
    refused(fitted.predict, X, modality="S9", says=expected)
    refused(fitted.predict, X["S1"], modality="S9", says=expected)
    refused(fitted.transform, changed(X, S9=X["S1"]), says=expected)
    refused(fitted.embed, X, modality="S9", says=expected)


def test_modality_asked_for_is_not_in_X(sensors, fitted):
    X, y = sensors
    two = X.select(["S1", "terrain"])
    refused(fitted.predict, X.select("S1"), "S2", says="'S2' ... ['S1']")
    clf = small(predict_modality="S2").fit(X, y)
    refused(clf.predict, two, says="'S2' ... ['S1', 'terrain']")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"predict_modality": "S9"}, f"predict_modality= ... 'S9' ... {NAMES}"),
        ({"missing_value": {"S1": 0, "S9": 0}}, f"missing_value= ... 'S9' ... {NAMES}"),
        (
            {"modalities": {"S1": slice(0, 2), "S9": slice(2, 3)}},
            f"modalities= ... ['S1', 'S9'] ... {NAMES}",
        ),
        (
            {"encoder": dict.fromkeys(["S1", "S2", "terrain", "S9"], "mlp")},
            f"encoder= ... ['S9'] ... {NAMES}",
        ),
        (
            {"encoder_params": {"S1": {"hidden_dims": (4,)}, "S9": {}}},
            f"encoder_params= ... ['S9'] ... {NAMES}",
        ),
        (
            {"encoder_params": {"S9": {"hidden_dims": (4,)}}},
            "encoder_params ... ['S9'] ... hidden_dims",
        ),
    ],
)
def test_parameter_names_a_modality_that_X_lacks(sensors, parameters, expected):
    refused(small(**parameters).fit, *sensors, says=expected)


def test_name_is_no_string(sensors):
    X, y = sensors
    data = {1: X["S1"], 2: X["S2"]}
    refused(small().fit, data, y, says="string ... 1 (int)", error=TypeError)


# -- shapes ------------------------------------------------------------------------


def test_lengths_differ(sensors, fitted):
    X, y = sensors
    short = {"S1": X["S1"], "S2": X["S2"][:-1]}
    expected = "'S1' ... 90 ... 'S2' ... 89"
    refused(small().fit, short, y, says=expected)
    refused(fitted.predict, short, says=expected)


def test_wrong_bands_or_time_steps(sensors, fitted):
    X, _ = sensors
    S1, S2 = X["S1"], X["S2"]
    expected = "'S1' ... (n, 12, 1) ... (n, 12, 2)"
    refused(fitted.predict, {"S1": S1[..., :1]}, says=expected)
    expected = "'S2' ... (n, 5, 4) ... (n, 12, 4)"
    refused(fitted.predict, changed(X, S2=S2[:, :5]), says=expected)
    expected = "'S2' ... (n, 12, 2) ... (n, 12, 4)"
    refused(fitted.predict, S1, modality="S2", says=expected)


def test_modality_of_one_axis(sensors):
    X, y = sensors
    expected = "'terrain' ... (90,) ... (n_samples, n_features) ... reshape(-1, 1)"
    data = changed(X, terrain=X["terrain"][:, 0])
    refused(small().fit, data, y, says=expected)


def test_bare_array_fits_several_modalities():
    X, y = make_multisensor(40, modalities={"a": (5,), "b": (5,)}, random_state=0)
    clf = small().fit(X, y)
    refused(clf.predict, X["a"], says="(n, 5) ... ['a', 'b'] ... {name: array}")


def test_bare_array_fits_no_modality(fitted, flat):
    several = "{name: array}"
    for X in (np.zeros((4, 9)), pd.DataFrame(np.zeros((4, 9)))):
        refused(fitted.predict, X, says=f"(n, 9) ... {SHAPES} ... {several}")
    frame = pd.DataFrame(flat)  # which need not be in the order of fit
    refused(fitted.predict, frame, says=f"(n, 78) ... {SHAPES} ... {several}")


@pytest.mark.parametrize(
    "X", [np.zeros(4), 3.0, None, "S1"], ids=["one axis", "number", "None", "string"]
)
def test_what_is_no_array_of_rows_fits_no_modality(fitted, X):
    """The message shows what came, not rows that are not there."""
    assert "(n)" not in refused(fitted.predict, X, says=SHAPES)


def test_list_of_arrays_is_no_dict(sensors, fitted):
    X, y = sensors
    for function, args in ((small().fit, (y,)), (fitted.predict, ())):
        refused(function, [X["S1"], X["S2"]], *args, says="{name: array}")


def test_bare_array_of_three_axes_at_fit(sensors):
    X, y = sensors
    refused(small().fit, X["S1"], y, says="(90, 12, 2) ... {name: array}")


def test_columns_of_a_frame_are_others(sensors):
    X, y = sensors
    soil = pd.DataFrame(X["terrain"], columns=[*"abcdef"])
    clf = small().fit({"S1": X["S1"], "soil": soil}, y)
    refused(clf.predict, soil.rename(columns={"a": "z"}), says="'soil' ... ['a']")
    refused(clf.predict, {"soil": soil[[*"abcd"]]}, says="'soil' ... ['e', 'f']")


def test_columns_of_several_modalities(sensors):
    X, y = sensors
    radar = pd.DataFrame(X["S1"][:, 0], columns=["vv", "vh"])
    soil = pd.DataFrame(X["terrain"][:, :3], columns=["clay", "sand", "ph"])
    clf = small().fit({"radar": radar, "soil": soil, "S2": X["S2"]}, y)
    frame = radar.join(soil)
    seen = "'radar': ['vv', 'vh'], 'soil': ['clay', 'sand', 'ph'], 'S2': (n, 12, 4)"
    for columns in (["clay", "vv"], ["clay", "sand"], [*frame]):
        refused(clf.predict, frame[columns], says=f"{columns} ... {seen}")


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
            expected = f"{begins} ... {model.modalities_} ... frame[[name]]"
            refused(model.predict, frame[name], says=expected)


def test_one_sample(sensors, fitted):
    X, _ = sensors
    for name, shape in (("S1", "(12, 2)"), ("terrain", "(6,)")):
        expected = f"{shape} ... {name!r} ... array[:1]"
        one = X[name][0]
        refused(fitted.predict, one, says=expected)
        refused(fitted.export(name).predict, one, says=expected)
    expected = "(12, 2) ... 'S1' ... array[:1]"
    refused(fitted.predict, {"S1": X["S1"][0]}, says=expected)
    refused(fitted.predict, X["S1"][0], modality="S1", says=expected)


def test_torch_without_the_device(monkeypatch):
    def zeros(*_, **__):
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr(torch, "zeros", zeros)
    refused(resolve_device, "cuda", says="device='cuda' ... 'auto' ... 'cpu'")


def test_empty_X(sensors, fitted):
    X, y = sensors
    expected = "at least one row"
    refused(small().fit, {}, y, says=expected)
    refused(small().fit, ModalityDict(), y, says=expected)
    refused(small().fit, X[:0], y[:0], says=expected)
    expected = f"{NAMES} ... at least one row"
    refused(fitted.predict, {}, says=expected)
    refused(fitted.predict, X[:0], says=expected)
    refused(fitted.predict, X["S1"][:0], says=expected)
    empty = changed(X, S2=np.zeros((90, 0)))
    refused(small().fit, empty, y, says="'S2' ... (90, 0) ... empty")


# -- values ------------------------------------------------------------------------


def test_row_without_any_value(sensors, fitted):
    X, y = sensors
    nowhere = {name: set_rows(values, [3, 7], np.nan) for name, values in X.items()}
    refused(small().fit, nowhere, y, says="missing in rows 3, 7")
    three = "'S1' ... 'S2' ... 'terrain' ... rows 3, 7"
    refused(fitted.predict, nowhere, says=three)
    refused(fitted.predict, {"S1": nowhere["S1"][3:6]}, says="'S1' ... row 0")
    many = changed(X, S1=set_rows(X["S1"], slice(0, 30), np.nan))
    expected = "'S1' ... rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 (and 20 more)"
    refused(fitted.transform, many["S1"], says=expected)
    refused(fitted.predict, many, modality="S1", says="'S1' ... rows 0, 1,")


def test_missing_value_makes_a_row_missing(sensors):
    X, y = sensors
    marked = {name: set_rows(values, [11], -9999) for name, values in X.items()}
    refused(small(missing_value=-9999).fit, marked, y, says="row 11")


def test_infinite_values(sensors, fitted):
    X, y = sensors
    infinite = changed(X, S2=set_rows(X["S2"], [1, 4, 5], -np.inf))
    expected = "'S2' ... rows 1, 4, 5 ... NaN ... missing_value"
    refused(small().fit, infinite, y, says=expected)
    refused(fitted.predict, infinite, says=expected)


def test_values_that_are_no_numbers(sensors, fitted):
    X, y = sensors
    encode = "OneHotEncoder"
    forest = np.full((90, 6), "forest")
    strings = f"'terrain' ... <U6 ... 'forest' ... {encode}"
    refused(small().fit, changed(X, terrain=forest), y, says=strings)
    refused(fitted.predict, {"terrain": forest}, says=strings)
    objects = changed(X, terrain=np.full((90, 6), object()))
    refused(small().fit, objects, y, says=f"'terrain' ... object ... {encode}")
    refused(small().fit, changed(X, S1=X["S1"] * 1j), y, says="Complex ... 'S1'")


def test_sparse_matrix(sensors, flat):
    X, y = sensors
    matrix, expected = sparse.csr_matrix(flat), "X ... toarray()"
    refused(small().fit, matrix, y, says=expected, error=TypeError)
    data = changed(X, terrain=sparse.csr_matrix(X["terrain"]))
    expected = "'terrain' ... sparse ... toarray()"
    refused(small().fit, data, y, says=expected, error=TypeError)


@pytest.mark.parametrize("standardize", [True, False])
def test_modality_without_any_value(sensors, standardize):
    X, y = sensors
    never = changed(X, S1=np.full((90, 12, 2), np.nan))
    refused(small(standardize=standardize).fit, never, y, says="'S1' ... missing")


# -- the target --------------------------------------------------------------------


def test_one_class(sensors):
    X, y = sensors
    refused(small().fit, X, 0 * y, says="one class, 0")
    refused(small().fit, X, np.full(90, "maize"), says="one class, 'maize'")


def test_length_of_y(sensors, sensors_regression):
    X, y = sensors
    expected = "90 ... 89"
    refused(small().fit, X, y[:-1], says=expected)
    X, y = sensors_regression
    refused(small(CoLearnRegressor).fit, X, y[:-1], says=expected)


def test_no_y(sensors):
    X, _ = sensors
    for estimator in (CoLearnClassifier, CoLearnRegressor):
        refused(small(estimator).fit, X, None, says="requires y")


def test_y_with_infinity(sensors, sensors_regression):
    expected = "y contains infinity"
    X, y = sensors
    refused(small().fit, X, set_rows(y.astype(float), 4, np.inf), says=expected)
    X, y = sensors_regression
    for reg_y in (set_rows(y, 4, np.inf), set_rows(set_rows(y, 4, np.inf), 5, np.nan)):
        refused(small(CoLearnRegressor).fit, X, reg_y, says=expected)


def test_no_labelled_row(sensors):
    X, y = sensors
    nothing = np.full(90, np.nan)
    expected = "no labelled row ... pretrain"
    refused(small().fit, X, nothing, says=expected)
    refused(small().fit, X, [None] * 90, says=expected)
    refused(small(CoLearnRegressor).fit, X, nothing, says=expected)
    refused(small(unlabeled=-1).fit, X, 0 * y - 1, says=expected + " ... -1")


def test_one_class_among_the_labelled_rows(sensors):
    X, y = sensors
    target = np.where(y == 1, "maize", "?")
    refused(small(unlabeled="?").fit, X, target, says="one class, 'maize' ... labelled")


def test_row_of_which_some_labels_are_missing(sensors):
    X, y = sensors
    several = np.eye(3)[y]
    several[4] = np.nan  # all: unlabelled
    several[[3, 7], 1] = np.nan
    expected = "columns ... rows 3, 7"
    for estimator in (CoLearnClassifier, CoLearnRegressor):
        refused(small(estimator).fit, X, several, says=expected)


def test_modality_that_no_labelled_row_has(sensors):
    X, y = sensors
    S1 = set_rows(X["S1"], slice(0, 45), np.nan)
    target = set_rows(y.astype(float), slice(45, 90), np.nan)
    refused(small().fit, changed(X, S1=S1), target, says="'S1' ... labelled")


def test_pretrain_without_effect_is_refused(sensors):
    X, _ = sensors
    refused(small().pretrain, X, says="warm_start=True")
    warm = small(warm_start=True)
    refused(warm.pretrain, X.select("S2"), says="two modalities ... 'S2'")
    never = changed(X, S1=np.full((90, 12, 2), np.nan))
    refused(warm.pretrain, never, says="'S1' ... missing in all rows")
    warm.set_params(contrastive_weight=0, discriminative_weight=0)
    refused(warm.pretrain, X, says="contrastive_weight ... discriminative_weight")


def test_continuous_y_for_a_classifier(sensors_regression):
    expected = "label type: continuous ... CoLearnRegressor"
    refused(small().fit, *sensors_regression, says=expected)


def test_y_of_three_axes(sensors):
    X, _ = sensors
    refused(small(CoLearnRegressor).fit, X, np.zeros((90, 2, 2)), says="dim 3")


def test_class_weight_of_unseen_labels(sensors):
    X, y = sensors
    expected = "class_weight ... [7] ... [0, 1, 2]"
    refused(small(class_weight={0: 1, 7: 3}).fit, X, y, says=expected)
    labels = np.array(["wheat", "maize", "grass"])[y]
    expected = "class_weight ... ['rice'] ... ['grass', 'maize', 'wheat']"
    refused(small(class_weight={"rice": 2}).fit, X, labels, says=expected)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (-np.ones(90), "Negative"),
        (np.ones(89), "(89,) ... (90,)"),
        (np.full(90, np.nan), "NaN"),
        (np.zeros(90), "zero"),
    ],
    ids=["negative", "length", "NaN", "zero"],
)
def test_sample_weight(sensors, weight, expected):
    message = refused(small().fit, *sensors, sample_weight=weight, says=expected)
    assert re.search("sample.weight", message, re.IGNORECASE)


# -- the layout of a flat X --------------------------------------------------------


def test_layout_does_not_fit_the_frame(sensors):
    y = sensors[1]
    frame = pd.DataFrame({"clay": y, "sand": 2.0 * y})
    clf = small(modalities={"a": ["silt"], "b": ["sand"]})
    refused(clf.fit, frame, y, says="modalities['a'] ... ['silt']")
    clf = small(modalities={"a": ["clay"], "b": ["clay"]})
    refused(clf.fit, frame, y, says="modalities= ... 'clay' ... 'a' ... 'b'")


def test_flat_X_has_other_columns_than_in_fit(sensors, flat):
    X, y = sensors
    clf = small(modalities=X.layout).fit(flat, y)
    refused(clf.predict, flat[:, :-1], says=f"(n, 77) ... {SHAPES}")
    frame = pd.DataFrame(flat, columns=[f"c{i}" for i in range(78)])
    clf.fit(frame, y)
    turned = clf.predict_proba(frame.iloc[:, ::-1])
    np.testing.assert_allclose(turned, clf.predict_proba(frame), atol=1e-6)
    refused(
        clf.predict,
        frame.rename(columns={"c0": "d0"}),
        says="'S1' ... ['c0'] ... fit saw",
    )


# -- fits that go on ---------------------------------------------------------------


@pytest.fixture
def warm(sensors):
    return small(warm_start=True).fit(*sensors)


def test_warm_start_with_another_target(sensors, warm):
    X, y = sensors
    expected = "warm_start=True ... [0, 1, 2] ... [1, 2, 3]"
    refused(warm.fit, X, y + 1, says=expected)
    expected = "warm_start=True ... n_outputs ... 1 ... 3"
    refused(warm.fit, X, np.eye(3, dtype=int)[y], says=expected)


def test_warm_start_with_other_modalities(sensors, warm):
    X, y = sensors
    expected = "warm_start=True ... 'terrain': (6,)} ... 'S2': (12, 4)}"
    refused(warm.fit, X.select(["S1", "S2"]), y, says=expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_dim": 8},
        {"encoder": "linear", "encoder_params": None},
        {"share_encoder": False},
    ],
)
def test_warm_start_with_another_network(sensors, warm, changes):
    """Short: torch's list of every weight that does not fit helps nobody."""
    answers = warm.predict_proba(sensors[0])
    expected = " ... ".join(["warm_start=True", *changes])
    message = refused(warm.set_params(**changes).fit, *sensors, says=expected)
    assert len(message) < 300
    assert_array_equal(warm.predict_proba(sensors[0]), answers)


# -- parameters --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "expected", "error"),
    [
        ({"embedding_dim": 15}, "embedding_dim=15 ... even", ValueError),
        ({"encoder": "vgg"}, "'S1' ... 'vgg' ... 'tempcnn' ... torch.nn", ValueError),
        (
            {"encoder": torch.nn.Linear(2, 2)},
            "'S1' ... class or factory ... Linear(in_features=2",
            TypeError,
        ),
        (
            {"encoder_params": {"width": 4}},
            "'S1' ... ['width'] ... 'mlp' ... ['hidden_dims', 'dropout']",
            ValueError,
        ),
        (
            {"encoder": "gru", "encoder_params": None},
            "'terrain' ... 'gru' ... time series ... (n_samples, 6)",
            ValueError,
        ),
    ],
    ids=["embedding_dim", "name", "module", "encoder_params", "shape"],
)
def test_encoder_and_embedding(sensors, parameters, expected, error):
    refused(small(**parameters).fit, *sensors, says=expected, error=error)


def test_unknown_representation(sensors, fitted):
    expected = "'common' ... ['joint', 'specific', 'shared', 'unused']"
    refused(fitted.embed, sensors[0], "common", says=expected)


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
        ({"cv": 1}, "an int in the range [2, inf)"),
        ({"n_jobs": 1.5}, "an instance of 'int' or None"),
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
    expected = f"{name!r} ... {range_} ... {value!r}"
    error = InvalidParameterError
    refused(small(**parameters).fit, *sensors, says=expected, error=error)


@pytest.mark.parametrize("name", ["optimizer", "lr_schedule"])
def test_unknown_choice(sensors, name):
    clf, expected = small(**{name: "best"}), f"{name!r} ... a callable ... 'best'"
    refused(clf.fit, *sensors, says=expected, error=InvalidParameterError)


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
    says, error = f"{estimator.__name__} ... not fitted", NotFittedError
    for method in methods:
        refused(getattr(unfitted, method), X, says=says, error=error)
    refused(unfitted.get_feature_names_out, says=says, error=error)


# -- training that diverges --------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_divergence_says_epoch_and_reason(sensors_regression, optimizer):
    reg = small(CoLearnRegressor, lr=1e6, optimizer=optimizer, max_epochs=5)
    message = refused(reg.fit, *sensors_regression, says="lr ... 1000000")
    # Which epoch, and whether infinite or NaN, is up to rounding.
    assert re.search(r"diverged in epoch [1-5]\b.*main.* (inf|nan)\b", message)


def test_divergence_from_values_that_are_not_standardized(sensors_regression):
    X, y = sensors_regression
    large = changed(X, S1=X["S1"] * np.float32(1e30))
    reg = small(
        CoLearnRegressor, encoder="linear", encoder_params=None, standardize=False
    )
    refused(reg.fit, large, y, says="diverged in epoch 1 ... main")
    reg.set_params(standardize=True).fit(large, y)
    assert np.isfinite(reg.predict(large)).all()
