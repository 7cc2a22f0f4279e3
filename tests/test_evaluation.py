"""Scorers that each see one modality only."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tools
from sklearn.metrics import get_scorer, make_scorer, recall_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    modality_scorers,
)
from sklearn_colearn.datasets import make_multisensor

SENSORS = ["S1", "S2", "terrain"]

small = partial(tools.small, encoder="linear", encoder_params=None, weight_decay=0.3)


@pytest.fixture(scope="module")
def data():
    """Sensors of very different worth: S2 is nearly noise."""
    return make_multisensor(
        160,
        specific_signal=0.2,
        noise={"S1": 0.1, "S2": 20.0, "terrain": 0.3},
        random_state=0,
    )


@pytest.fixture(scope="module")
def fitted(data):
    return small(max_epochs=8).fit(*data)


def always_one(estimator, X, y):
    return 1.0


def test_keys():
    assert list(modality_scorers("accuracy", SENSORS)) == SENSORS
    assert list(modality_scorers("accuracy", "S1")) == ["S1"]
    assert list(modality_scorers(always_one, iter(["S1", "S2"]))) == ["S1", "S2"]
    assert list(modality_scorers(["accuracy", "neg_log_loss"], ["S1", "S2"])) == [
        "S1_accuracy",
        "S1_neg_log_loss",
        "S2_accuracy",
        "S2_neg_log_loss",
    ]
    assert list(modality_scorers(["accuracy"], ["S1"])) == ["S1_accuracy"]


def test_same_figure_as_by_hand(data, fitted):
    X, y = data
    names = ["accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro"]
    scorers = modality_scorers(names, SENSORS)
    assert len(scorers) == 12
    for modality in SENSORS:
        for name in names:
            expected = get_scorer(name)(fitted, X.select(modality), y)
            assert scorers[f"{modality}_{name}"](fitted, X, y) == expected
    # Unlike each other, so no scorer can stand in for another.
    assert len({scorer(fitted, X, y) for scorer in scorers.values()}) > 8
    assert scorers["S1_accuracy"](fitted, X, y) > 0.6


def test_scorer_that_is_a_callable(data, fitted):
    X, y = data
    recall = make_scorer(recall_score, average="macro")
    scorer = modality_scorers(recall, ["S1"])["S1"]
    expected = recall_score(y, fitted.predict(X, modality="S1"), average="macro")
    assert scorer(fitted, X, y) == expected
    sees = modality_scorers(lambda est, X, y: list(X), SENSORS)
    assert [scorer(fitted, X, y) for scorer in sees.values()] == [
        ["S1"],
        ["S2"],
        ["terrain"],
    ]


def test_every_form_that_names_its_modalities(data, fitted):
    X, y = data
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset(
        {
            name: (("sample", *(f"{name}{i}" for i in range(value.ndim - 1))), value)
            for name, value in X.items()
        }
    )
    for modality, scorer in modality_scorers("accuracy", SENSORS).items():
        expected = fitted.score(X[modality], y)
        for form in (X, dict(X), dataset):
            assert scorer(fitted, form, y) == expected


def test_sample_weight_reaches_the_scorer(data, fitted):
    X, y = data
    right = fitted.predict(X["S1"]) == y
    scorer = modality_scorers("accuracy", "S1")["S1"]
    assert scorer(fitted, X, y, sample_weight=right.astype(float)) == 1.0


def test_cross_validate_scores_each_modality(data):
    X, y = data
    cv = KFold(3)
    scorers = modality_scorers(["accuracy", "neg_log_loss"], SENSORS)
    scorers["all"] = "accuracy"
    # A mixture of both kinds, as scikit-learn takes names in a dict.
    result = cross_validate(
        small(max_epochs=6), X, y, scoring=scorers, cv=cv, return_estimator=True
    )
    assert {key for key in result if key.startswith("test_")} == {
        f"test_{name}" for name in scorers
    }
    for fold, (_, test) in enumerate(cv.split(X)):
        clf = result["estimator"][fold]
        assert result["test_all"][fold] == clf.score(X[test], y[test])
        for modality in SENSORS:
            part = X[test].select(modality)
            accuracy = result[f"test_{modality}_accuracy"][fold]
            assert accuracy == clf.score(part, y[test])
            loss = result[f"test_{modality}_neg_log_loss"][fold]
            assert loss == pytest.approx(get_scorer("neg_log_loss")(clf, part, y[test]))
    assert result["test_S1_accuracy"].mean() > 0.55
    assert result["test_S2_accuracy"].mean() < 0.5


def test_scorers_of_two_modalities_share_no_predictions(data, fitted):
    """In scikit-learn's multi-metric scoring, which caches by response method."""
    X, y = data

    class Counting(CoLearnClassifier):
        calls = []  # noqa: RUF012

        def predict(self, X, modality=None):
            self.calls.append(list(X))
            return super().predict(X, modality)

    clf = small(Counting)
    cross_validate(clf, X, y, scoring=modality_scorers("accuracy", SENSORS), cv=2)
    assert sorted(Counting.calls) == [["S1"]] * 2 + [["S2"]] * 2 + [["terrain"]] * 2


def test_grid_search_refits_the_best_for_one_modality(data):
    X, y = data
    search = GridSearchCV(
        small(max_epochs=6),
        {"lr": [1e-2, 1e-9]},
        scoring=modality_scorers("accuracy", ["S1", "S2"]),
        refit="S1",
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"lr": 1e-2}
    results = search.cv_results_
    assert search.best_score_ == results["mean_test_S1"][0] > 0.55
    assert {"mean_test_S1", "mean_test_S2"} <= set(results)
    assert search.best_score_ > results["mean_test_S2"].max() + 0.1
    assert search.predict(X.select("S1")).shape == (160,)


@pytest.mark.slow
def test_processes_take_the_scorers(data):
    X, y = data
    scorers = modality_scorers(["accuracy", "neg_log_loss"], SENSORS)
    again = pickle.loads(pickle.dumps(scorers))
    assert list(again) == list(scorers)
    one, two = (
        cross_validate(small(), X, y, scoring=scorers, cv=2, n_jobs=n_jobs)
        for n_jobs in (1, 2)
    )
    for name in scorers:
        np.testing.assert_allclose(one[f"test_{name}"], two[f"test_{name}"], atol=1e-6)


def test_through_a_pipeline(data):
    X, y = data
    clf = small(standardize=False, max_epochs=6)
    pipeline = make_pipeline(PerModality(StandardScaler()), clf)
    scorers = modality_scorers("accuracy", SENSORS)
    result = cross_validate(
        pipeline, X, y, scoring=scorers, cv=KFold(2), return_estimator=True
    )
    for fold, (_, test) in enumerate(KFold(2).split(X)):
        for modality in SENSORS:
            model = result["estimator"][fold]
            expected = np.mean(model.predict(X[test].select(modality)) == y[test])
            assert result[f"test_{modality}"][fold] == expected
    assert result["test_S1"].mean() > 0.5


def test_frames_with_a_column_multiindex(data):
    X, y = data
    frame = pd.concat(
        {
            "S1": pd.DataFrame(X["S1"].reshape(160, -1)),
            "terrain": pd.DataFrame(X["terrain"]),
        },
        axis=1,
    )
    frame.columns = pd.MultiIndex.from_tuples([(m, f"f{i}") for m, i in frame.columns])
    tables = ModalityDict(S1=X["S1"].reshape(160, -1), terrain=X["terrain"])
    scorers = modality_scorers("accuracy", ["S1", "terrain"])
    from_frame, from_arrays = (
        cross_validate(small(), form, y, scoring=scorers, cv=2)
        for form in (frame, tables)
    )
    for key in ("test_S1", "test_terrain"):
        np.testing.assert_array_equal(from_frame[key], from_arrays[key])
    assert not np.array_equal(from_frame["test_S1"], from_frame["test_terrain"])


def test_estimator_with_another_predict_modality(data):
    X, y = data
    clf = small(predict_modality="S2", max_epochs=8).fit(X, y)
    plain = small(max_epochs=8).fit(X, y)
    for modality, scorer in modality_scorers("accuracy", SENSORS).items():
        assert scorer(clf, X, y) == plain.score(X[modality], y)


def test_regression():
    X, y = make_multisensor(
        160, task="regression", noise={"S1": 0.1, "S2": 8.0}, random_state=0
    )
    result = cross_validate(
        small(CoLearnRegressor, max_epochs=10),
        X,
        y,
        scoring=modality_scorers("r2", ["S1", "S2"]),
        cv=2,
    )
    assert result["test_S1"].mean() > 0.3
    assert result["test_S2"].mean() < result["test_S1"].mean() - 0.2


# -- refusals ----------------------------------------------------------------------


def test_flat_X_does_not_say_which_modality_is_which(data, fitted):
    X, y = data
    scorer = modality_scorers("accuracy", "S1")["S1"]
    for flat, kind in (
        (np.asarray(X), "ndarray"),
        (pd.DataFrame(np.asarray(X)), "DataFrame"),
    ):
        with pytest.raises(TypeError) as caught:
            scorer(fitted, flat, y)
        assert str(caught.value) == (
            f"Cannot take modality 'S1' out of a {kind}: only a ModalityDict, dict, "
            "xarray.Dataset or a DataFrame with a column MultiIndex says which "
            "modality is which."
        )


def test_modality_that_X_lacks(data, fitted):
    X, y = data
    scorer = modality_scorers("accuracy", "S9")["S9"]
    with pytest.raises(ValueError, match="S9") as caught:
        scorer(fitted, X, y)
    assert str(caught.value) == (
        "X lacks the modality 'S9'; it holds ['S1', 'S2', 'terrain']."
    )


def test_scoring_that_scikit_learn_does_not_know():
    for scoring in ("acuracy", ["accuracy", "acuracy"]):
        with pytest.raises(ValueError, match="'acuracy' is not a valid scoring value"):
            modality_scorers(scoring, SENSORS)
