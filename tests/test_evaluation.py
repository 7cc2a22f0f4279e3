"""Scorers of one modality, and what each modality gains from the others."""

from __future__ import annotations

import pickle
import warnings
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
import tools
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, make_scorer, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    evaluate_modalities,
    modality_scorers,
    partner_gain,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.evaluation import ModalityReport, PartnerReport, corrected_interval

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
            score = scorers[f"{modality}_{name}"](fitted, X, y)
            assert score == pytest.approx(expected)
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


@pytest.mark.slow
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
        np.testing.assert_allclose(one[f"test_{name}"], two[f"test_{name}"], atol=0.05)


def test_through_a_pipeline(data):
    X, y = data
    clf = small(standardize=False, max_epochs=12)
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
        np.testing.assert_allclose(from_frame[key], from_arrays[key])
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
        with pytest.raises(TypeError, match=f"modality 'S1' out of a {kind}"):
            scorer(fitted, flat, y)


def test_modality_that_X_lacks(data, fitted):
    X, y = data
    scorer = modality_scorers("accuracy", "S9")["S9"]
    with pytest.raises(ValueError, match=r"lacks the modality 'S9'.*'terrain'\]"):
        scorer(fitted, X, y)


def test_scoring_that_scikit_learn_does_not_know():
    for scoring in ("acuracy", ["accuracy", "acuracy"]):
        with pytest.raises(ValueError, match="'acuracy' is not a valid scoring value"):
            modality_scorers(scoring, SENSORS)


# -- evaluate_modalities -------------------------------------------------------------


@pytest.fixture(scope="module")
def report(data):
    X, y = data
    forest = RandomForestClassifier(5, random_state=0)
    return evaluate_modalities(small(), X, y, cv=KFold(3), baselines={"forest": forest})


def column(report, modality, method, name="score"):
    scores = report.scores.set_index(["modality", "method"]).sort_index()
    return scores.loc[[(modality, method)], name].to_numpy()


def series(X, names):
    return ModalityDict({name: X[name] for name in names})


def test_scores_are_those_by_hand(data, report):
    X, y = data
    forest = RandomForestClassifier(5, random_state=0)
    by_hand = cross_validate(
        small(),
        X,
        y,
        cv=KFold(3),
        scoring={**modality_scorers("accuracy", SENSORS), "all": "accuracy"},
    )
    for m in SENSORS:
        np.testing.assert_allclose(
            column(report, m, "co-learned"), by_hand[f"test_{m}"]
        )
        alone = [
            small().fit(X[train].select(m), y[train]).score(X[test].select(m), y[test])
            for train, test in KFold(3).split(X)
        ]
        np.testing.assert_allclose(column(report, m, "alone"), alone)
        table = X[m].reshape(160, -1)
        np.testing.assert_allclose(
            column(report, m, "forest"), cross_val_score(forest, table, y, cv=KFold(3))
        )
    np.testing.assert_allclose(column(report, "all", "co-learned"), by_hand["test_all"])


def test_table_is_tidy_and_in_order(report):
    scores = report.scores
    assert list(scores) == [
        *("modality", "method", "repeat", "fold", "score"),
        *("fit_time", "predict_time", "n_train", "n_test"),
    ]
    assert list(scores.index) == list(range(30))
    pairs = [(m, k) for m in SENSORS for k in ("alone", "co-learned", "forest")]
    pairs.append(("all", "co-learned"))
    assert list(zip(scores["modality"], scores["method"], strict=True))[::3] == pairs
    assert list(report.summary().index) == pairs
    assert scores["fold"].tolist() == [0, 1, 2] * 10
    assert (scores["repeat"] == 0).all()
    assert scores["n_test"].tolist() == [54, 53, 53] * 10
    assert (scores["n_train"] + scores["n_test"] == 160).all()
    assert (scores[["fit_time", "predict_time"]] > 0).all(axis=None)
    # One fit on all modalities, so one time.
    joint = scores[scores["method"] == "co-learned"]
    assert joint.groupby("fold")["fit_time"].nunique().eq(1).all()


def test_nothing_that_was_passed_is_fitted(data):
    X, y = data
    clf, forest = small(max_epochs=1), RandomForestClassifier(2)
    evaluate_modalities(clf, X, y, cv=2, baselines={"forest": forest}, modalities="S1")
    assert not hasattr(clf, "net_")
    assert not hasattr(forest, "estimators_")


def test_summary_by_hand(report):
    summary = report.summary()
    alone, joint = (column(report, "S1", k) for k in ("alone", "co-learned"))
    row = summary.loc[("S1", "co-learned")]
    assert row["mean"] == pytest.approx(joint.mean())
    assert row["std"] == pytest.approx(joint.std(ddof=1))
    assert row["difference"] == pytest.approx((joint - alone).mean())
    assert row["wins"] == (joint > alone).sum() + (joint == alone).sum() / 2
    assert row["n"] == 3
    low, high = corrected_interval(
        joint - alone, np.mean([54 / 106, 53 / 107, 53 / 107])
    )
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    for key in (("S1", "alone"), ("all", "co-learned")):
        assert summary.loc[key, ["difference", "low", "high", "wins"]].isna().all()
        assert summary.loc[key, "n"] == 3
    # Against another reference the signs turn, and nothing else.
    turned = report.summary("co-learned").loc[("S1", "alone")]
    assert turned["difference"] == pytest.approx(-row["difference"])
    assert (turned["low"], turned["high"]) == pytest.approx((-high, -low))
    assert turned["wins"] == 3 - row["wins"]
    differences = report.differences()
    assert list(differences) == ["modality", "method", "repeat", "fold", "difference"]
    assert len(differences) == 18
    one = differences.query("modality == 'S1' and method == 'co-learned'")
    np.testing.assert_allclose(one["difference"], joint - alone)


def test_interval_in_plain_loops():
    rng = np.random.default_rng(0)
    for n, ratio, confidence in ((2, 1.0, 0.9), (5, 0.25, 0.95), (30, 1 / 9, 0.99)):
        values = rng.normal(size=n)
        mean = sum(values) / n
        variance = sum((value - mean) ** 2 for value in values) / (n - 1)
        half = stats.t.ppf(1 - (1 - confidence) / 2, n - 1)
        half *= (variance * (1 / n + ratio)) ** 0.5
        found = corrected_interval(values, ratio, confidence)
        assert found == pytest.approx((mean - half, mean + half))


def test_interval_by_hand():
    # Mean 3, variance 2.5, sqrt(2.5 * (1/5 + 1/4)) = 1.0607, t(0.975, 4) = 2.7764.
    low, high = corrected_interval([1, 2, 3, 4, 5], 0.25)
    assert low == pytest.approx(3 - 2.7764 * 1.0607, abs=1e-3)
    assert high == pytest.approx(3 + 2.7764 * 1.0607, abs=1e-3)
    assert corrected_interval([2, 2, 2], 0.5) == (2, 2)
    assert np.isnan(corrected_interval([1.0], 0.25)).all()
    assert np.isnan(corrected_interval([], 0.25)).all()


def test_one_fold_has_no_interval(data):
    X, y = data
    split = [(np.arange(100), np.arange(100, 160))]
    report = evaluate_modalities(
        small(max_epochs=1), X, y, cv=split, modalities=["S2", "S1"]
    )
    summary = report.summary()
    assert list(summary.index.get_level_values(0)) == ["S2", "S2", "S1", "S1", "all"]
    assert summary["std"].isna().all()
    row = summary.loc[("S2", "co-learned")]
    assert row[["low", "high"]].isna().all()
    alone = summary.loc[("S2", "alone"), "mean"]
    assert row["difference"] == pytest.approx(row["mean"] - alone)
    assert "1 fold\n" in repr(report)
    # The same rows as booleans.
    masks = [(np.arange(160) < 100, np.arange(160) >= 100)]
    again = evaluate_modalities(
        small(max_epochs=1), X, y, cv=masks, modalities=["S2", "S1"]
    )
    np.testing.assert_allclose(again.scores["score"], report.scores["score"])


def test_repeats_begin_where_rows_are_tested_again(data):
    X, y = data
    clf = small(max_epochs=1)

    def folds(cv):
        report = evaluate_modalities(clf, X, y, cv=cv, modalities="S1")
        one = report.scores[report.scores["method"] == "alone"]
        return list(zip(one["repeat"], one["fold"], strict=True))

    repeated = RepeatedKFold(n_splits=2, n_repeats=2, random_state=0)
    assert folds(repeated) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    shuffled = ShuffleSplit(3, test_size=0.6, random_state=0)
    assert folds(shuffled) == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.slow
def test_groups_stay_together(data):
    X, y = data
    groups = np.arange(160) % 8
    seen = []

    def spy(estimator, X, y):
        seen.append(y)
        return 0.0

    evaluate_modalities(
        small(max_epochs=1), X, groups % 2, cv=GroupKFold(4), groups=groups, scoring=spy
    )
    assert len(seen) == 4 * (3 + 3 + 1)
    report = evaluate_modalities(
        small(max_epochs=2), X, y, cv=GroupKFold(4), groups=groups, modalities="S1"
    )
    expected = cross_validate(
        small(max_epochs=2),
        X,
        y,
        cv=GroupKFold(4),
        groups=groups,
        scoring=modality_scorers("accuracy", "S1"),
    )
    np.testing.assert_allclose(column(report, "S1", "co-learned"), expected["test_S1"])


@pytest.mark.slow
def test_several_estimators_and_reports_put_together(data):
    X, y = data
    weak, strong = small(max_epochs=1), small(max_epochs=4)
    both = evaluate_modalities(
        {"weak": weak, "strong": strong}, X, y, cv=2, scoring="f1_macro"
    )
    one = evaluate_modalities(strong, X, y, cv=2, scoring="f1_macro")
    other = evaluate_modalities(weak, X, y, cv=2, scoring="f1_macro")
    np.testing.assert_allclose(
        column(both, "S1", "strong"), column(one, "S1", "co-learned")
    )
    np.testing.assert_allclose(
        column(both, "S1", "alone"), column(other, "S1", "alone")
    )
    renamed = other.scores.replace({"alone": "weak alone", "co-learned": "weak"})
    joined = ModalityReport(pd.concat([one.scores, renamed]), scoring="f1_macro")
    assert list(joined.summary().loc["S1"].index) == [
        *("alone", "co-learned", "weak alone", "weak")
    ]
    again = one.scores.assign(repeat=1)
    twice = ModalityReport(pd.concat([one.scores, again])).summary()
    assert twice.loc[("S1", "co-learned"), "n"] == 4
    np.testing.assert_allclose(twice["mean"], one.summary()["mean"])


def test_folds_that_lack_one_side_do_not_count(report):
    scores = report.scores
    dropped = (scores["fold"] == 0) & (scores["method"] == "alone")
    summary = ModalityReport(scores[~dropped]).summary()
    alone, joint = (column(report, "S1", k)[1:] for k in ("alone", "co-learned"))
    row = summary.loc[("S1", "co-learned")]
    assert row["n"] == 2
    assert row["difference"] == pytest.approx((joint - alone).mean())
    lost = scores.assign(score=scores["score"].mask(dropped))
    pd.testing.assert_series_equal(ModalityReport(lost).summary()["n"], summary["n"])


def test_missing_rows_are_left_out():
    X, y = make_multisensor(90, missing_rows={"S1": 0.4}, random_state=0)
    missing = np.isnan(X["S1"]).all(axis=(1, 2))
    forest = RandomForestClassifier(5, random_state=0)
    report = evaluate_modalities(
        small(), X, y, cv=KFold(2), baselines={"forest": forest}
    )
    for fold, (train, test) in enumerate(KFold(2).split(X)):
        train_1, test_1 = train[~missing[train]], test[~missing[test]]
        joint = small().fit(X[train], y[train])
        alone = small().fit(X[train_1].select("S1"), y[train_1])
        for method, model in (("co-learned", joint), ("alone", alone)):
            expected = model.score(X[test_1].select("S1"), y[test_1])
            assert column(report, "S1", method)[fold] == expected
        table = X["S1"].reshape(90, -1)
        expected = clone(forest).fit(table[train_1], y[train_1])
        expected = expected.score(table[test_1], y[test_1])
        assert column(report, "S1", "forest")[fold] == expected
        assert column(report, "S1", "alone", "n_train")[fold] == len(train_1)
        assert column(report, "S1", "co-learned", "n_test")[fold] == len(test_1)
        assert column(report, "S2", "alone", "n_train")[fold] == len(train)
        expected = joint.score(X[test], y[test])
        assert column(report, "all", "co-learned")[fold] == expected


@pytest.mark.parametrize("by_modality", [False, True])
@pytest.mark.slow
def test_missing_values_that_are_numbers(by_modality):
    X, y = make_multisensor(90, missing_rows={"S1": 0.4}, random_state=0)
    sentinel = -3.4e38 if by_modality else 65535  # one that float32 has to round
    coded = X.copy()
    coded["S1"] = np.nan_to_num(X["S1"], nan=sentinel)
    value = {"S1": sentinel} if by_modality else sentinel
    forest = {"forest": RandomForestClassifier(5, random_state=0)}
    report = evaluate_modalities(small(), X, y, cv=2, baselines=forest)
    again = evaluate_modalities(
        small(missing_value=value), coded, y, cv=2, baselines=forest
    )
    times = ["fit_time", "predict_time"]
    pd.testing.assert_frame_equal(
        again.scores.drop(columns=times), report.scores.drop(columns=times)
    )
    # The scorers of one modality leave these rows out, too.
    clf = small(missing_value=value).fit(coded, y)
    scorer = modality_scorers("accuracy", "S1")["S1"]
    has = ~np.isnan(X["S1"]).all(axis=(1, 2))
    assert scorer(clf, coded, y) == clf.score(coded[has].select("S1"), y[has])


def test_frames_and_missing_values_in_them(data):
    X, y = data
    frames = {m: pd.DataFrame(X[m].reshape(160, -1)).add_prefix("f") for m in SENSORS}
    frames["S1"].iloc[:20] = -9999.0
    seen = []

    class Spy(DummyClassifier):
        def fit(self, X, y):
            seen.append((type(X).__name__, X.shape, int(X.isna().sum().sum())))
            return super().fit(X, y)

    clf = small(missing_value=-9999, max_epochs=1)
    joined = pd.concat(frames, axis=1)
    joined.iloc[30, 0] = -9999.0
    report = evaluate_modalities(
        clf, joined, y, cv=[(range(100), range(100, 160))], baselines={"spy": Spy()}
    )
    assert seen[0] == ("DataFrame", (80, 24), 1)
    assert column(report, "S1", "alone", "n_train").tolist() == [80]
    assert column(report, "S2", "alone", "n_train").tolist() == [100]


def test_parameters_by_modality(data):
    X, y = data
    clf = small(
        encoder={"S1": "linear", "S2": "mlp"},
        encoder_params={"S2": {"hidden_dims": (8,)}},
        missing_value={"S1": -9999.0},
        predict_modality="S1",
        modalities=X.layout,
    )
    report = evaluate_modalities(clf, X, y, cv=KFold(2))
    train, test = next(KFold(2).split(X))
    one = {
        "S1": small(encoder="linear"),
        "S2": small(encoder="mlp", encoder_params={"hidden_dims": (8,)}),
        "terrain": small(encoder="mlp"),
    }
    for m, alone in one.items():
        alone.fit(X[train].select(m), y[train])
        expected = alone.score(X[test].select(m), y[test])
        assert column(report, m, "alone")[0] == pytest.approx(expected)
    joint = clone(clf).fit(X[train], y[train])
    assert column(report, "all", "co-learned")[0] == joint.set_params(
        predict_modality=None
    ).score(X[test], y[test])
    assert clf.predict_modality == "S1"


def test_pipeline_with_transformers_by_modality(data):
    X, y = data
    clf = small(predict_modality="S2")

    def pipeline(transformers, clf):
        return make_pipeline(PerModality(transformers), clf)

    both = pipeline({"S1": StandardScaler(), "terrain": PCA(2)}, clf)
    report = evaluate_modalities(both, X, y, cv=KFold(2))
    train, test = next(KFold(2).split(X))
    alone = {"S1": {"S1": StandardScaler()}, "S2": {}, "terrain": {"terrain": PCA(2)}}
    for m, transformers in alone.items():
        model = pipeline(transformers, small()).fit(X[train].select(m), y[train])
        expected = model.score(X[test].select(m), y[test])
        assert column(report, m, "alone")[0] == pytest.approx(expected)
    model = pipeline(both[0].transformer, small()).fit(X[train], y[train])
    expected = model.score(X[test], y[test])
    assert column(report, "all", "co-learned")[0] == pytest.approx(expected)


@pytest.mark.slow
def test_search_tuned_for_one_modality(data):
    X, y = data
    search = GridSearchCV(
        small(max_epochs=2),
        {
            "encoder": [{"S1": "linear", "S2": "linear", "terrain": "mlp"}],
            "predict_modality": ["S1"],
            "lr": [1e-2, 1e-9],
        },
        scoring=modality_scorers(["accuracy", "neg_log_loss"], SENSORS),
        refit="S1_accuracy",
        cv=2,
    )
    split = [(np.arange(100), np.arange(100, 160))]
    report = evaluate_modalities(search, X, y, cv=split, modalities=["S1", "terrain"])
    train, test = split[0]
    joint = clone(search).fit(X[train], y[train]).best_estimator_
    scorers = modality_scorers("accuracy", SENSORS)
    for m, encoder in (("S1", "linear"), ("terrain", "mlp")):
        expected = scorers[m](joint, X[test], y[test])
        assert column(report, m, "co-learned").tolist() == [expected]
        alone = GridSearchCV(
            small(max_epochs=2, encoder=encoder), {"lr": [1e-2, 1e-9]}, cv=2
        ).fit(X[train].select(m), y[train])
        expected = alone.score(X[test].select(m), y[test])
        assert column(report, m, "alone").tolist() == [expected]
    joint.set_params(predict_modality=None)
    expected = joint.score(X[test], y[test])
    assert column(report, "all", "co-learned").tolist() == [expected]
    with pytest.raises(ValueError, match=r"scored from modality 'terrain'.*'S1', 'S2'"):
        partner_gain(search, X, y, cv=split)


class Clipped(TransformerMixin, BaseEstimator):
    """A transformer that holds itself once it is fitted."""

    def fit(self, X, y=None):
        self.self_ = self.selves_ = [self]
        return self

    def transform(self, X):
        clipped = X.copy()
        for m in clipped:
            clipped[m] = np.clip(X[m], -2, 2)
        return clipped


class Wrapper(ClassifierMixin, BaseEstimator):
    """A classifier around another that holds itself once it is fitted."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y):
        self.self_ = self
        self.model_ = clone(self.model).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


def test_estimators_that_hold_themselves_are_evaluated(data):
    X, y = data
    clf = small(predict_modality="S2", max_epochs=1)
    estimators = {
        "transformer": make_pipeline(Clipped(), clf),
        "wrapper": Wrapper(clf),
        "plain": clf,
    }
    split = [(np.arange(100), np.arange(100, 160))]
    report = evaluate_modalities(estimators, X, y, cv=split)
    for m in (*SENSORS, "all"):
        assert column(report, m, "wrapper") == column(report, m, "plain")
    clipped = Clipped().transform(X)
    expected = evaluate_modalities(clf, clipped, y, cv=split)
    assert column(report, "all", "transformer") == column(expected, "all", "co-learned")


@pytest.mark.slow
def test_wrapped_estimator_answers_from_all_modalities(data):
    X, y = data
    clf = small(predict_modality="S2", max_epochs=6)
    split = [(np.arange(100), np.arange(100, 160))]
    train, test = split[0]
    joint = clone(clf).fit(X[train], y[train]).set_params(predict_modality=None)
    expected = joint.score(X[test], y[test])
    assert expected != joint.score(X[test].select("S2"), y[test])
    for wrapped in (
        make_pipeline("passthrough", clf),
        GridSearchCV(clf, {"lr": [1e-2]}, cv=2),
        Wrapper(make_pipeline(clf)),
        VotingClassifier([("one", clf)]),
    ):
        report = evaluate_modalities(wrapped, X, y, cv=split, modalities="S1")
        assert column(report, "all", "co-learned") == expected
    calibrated = CalibratedClassifierCV(clf, cv=2, ensemble=False)
    report = evaluate_modalities(calibrated, X, y, cv=split, modalities="S1")
    calibrated.fit(X[train], y[train])
    inner = calibrated.calibrated_classifiers_[0].estimator
    from_one = calibrated.score(X[test], y[test])
    inner.set_params(predict_modality=None)
    expected = calibrated.score(X[test], y[test])
    assert expected != from_one
    assert column(report, "all", "co-learned") == expected


def test_regressor_under_a_transformed_target():
    X, y = make_multisensor(90, task="regression", random_state=0)
    y = np.exp(y / np.abs(y).max())
    X["S1"][:30] = -9999.0
    reg = small(CoLearnRegressor, missing_value={"S1": -9999.0}, predict_modality="S1")
    logged = TransformedTargetRegressor(reg, func=np.log, inverse_func=np.exp)
    report = evaluate_modalities(logged, X, y, cv=KFold(2))
    train, test = next(KFold(2).split(X))
    alone = clone(logged).set_params(regressor__predict_modality=None)
    alone.set_params(regressor__missing_value=None).fit(X[train].select("S2"), y[train])
    expected = alone.score(X[test].select("S2"), y[test])
    assert column(report, "S2", "alone")[0] == pytest.approx(expected)
    assert column(report, "S1", "alone", "n_train").tolist() == [45, 15]


@pytest.mark.slow
def test_search_over_parameters_by_modality_in_a_pipeline(data):
    """Alone, each modality ignores what is said of the others, in the grid too."""
    X, y = data
    pipeline = make_pipeline(
        PerModality({"S1": StandardScaler(), "terrain": PCA(2)}),
        small(
            encoder={"S1": "linear", "S2": "mlp", "terrain": "linear"},
            missing_value={"S2": -9999.0},
            predict_modality="S2",
            max_epochs=2,
        ),
    )
    grid = {
        "permodality__transformer": [{"S1": StandardScaler(), "terrain": PCA(2)}],
        "colearnclassifier__encoder_params": [
            {"S2": {"hidden_dims": (8,)}},
            {"S2": {"hidden_dims": (4,)}},
        ],
        "colearnclassifier__lr": [1e-2, 1e-9],
    }
    search = GridSearchCV(
        pipeline,
        grid,
        scoring=modality_scorers("accuracy", ["S2", "terrain"]),
        refit="S2",
        cv=2,
    )
    split = [(np.arange(100), np.arange(100, 160))]
    train, test = split[0]
    report = evaluate_modalities(search, X, y, cv=split)
    joint = clone(search).fit(X[train], y[train])
    assert column(report, "S1", "co-learned") == joint.best_estimator_.score(
        X[test].select("S1"), y[test]
    )
    # A search of S1 by itself, whose parameters say nothing by modality.
    one = make_pipeline(
        PerModality(StandardScaler()), small(encoder="linear", max_epochs=2)
    )
    lr = {"colearnclassifier__lr": [1e-2, 1e-9]}
    one = GridSearchCV(one, lr, cv=2).fit(X[train].select("S1"), y[train])
    expected = one.score(X[test].select("S1"), y[test])
    assert column(report, "S1", "alone") == expected


def test_what_a_typing_error_names_is_refused_in_every_training(data):
    X, y = data
    for wrong in ({"encoder": {"S9": "mlp"}}, {"predict_modality": "S9"}):
        for function in (evaluate_modalities, partner_gain):
            with pytest.raises(ValueError, match="S9"):
                function(small(max_epochs=1, **wrong), X, y, cv=2)


@pytest.mark.slow
def test_preferred_modality_that_a_pair_lacks(data):
    """A search that scores a pair by the estimator's own score asks both of it."""
    X, y = data
    clf = small(max_epochs=1, predict_modality="terrain")
    search = GridSearchCV(clf, {"lr": [1e-2]}, cv=2, error_score="raise")
    report = partner_gain(search, X, y, cv=2)
    expected = partner_gain(clf.set_params(predict_modality=None), X, y, cv=2)
    np.testing.assert_allclose(report.scores["score"], expected.scores["score"])


def test_scorer_of_a_modality_that_was_left_out(data, fitted):
    X, y = data
    scorers = modality_scorers("accuracy", SENSORS)
    # The estimator knows S2, which X lacks: no other answers for it.
    with pytest.raises(ValueError, match="lacks the modality 'S2'"):
        scorers["S2"](fitted, X.select("S1"), y)
    one = X.select("S1")
    with pytest.warns(UserWarning, match="one modality"):
        alone = small().fit(one, y)
    with pytest.warns(UserWarning, match="without modality 'S2'.*from 'S1'"):
        assert scorers["S2"](alone, one[:90], y[:90]) == alone.score(one[:90], y[:90])
    two = X.select(["S1", "terrain"])
    with pytest.raises(ValueError, match="lacks the modality 'S2'"):
        scorers["S2"](small(max_epochs=1).fit(two, y), two, y)


@pytest.mark.slow
def test_labels_of_y_and_groups_are_matched_to_those_of_X(data):
    X, y = data
    names = np.array([f"plot {i:03d}" for i in range(160)])
    named = ModalityDict.align({m: (names, values) for m, values in X.items()})
    order = np.random.default_rng(0).permutation(160)
    shuffled = pd.Series(y, names).iloc[order]
    clf, cv = small(max_epochs=4), GroupKFold(2)
    groups = np.arange(160) % 7
    expected = evaluate_modalities(clf, X, y, cv=cv, groups=groups)
    found = evaluate_modalities(
        clf, named, shuffled, cv=cv, groups=pd.Series(groups, names).iloc[order]
    )
    np.testing.assert_allclose(found.scores["score"], expected.scores["score"])
    fitted = clf.fit(X, y)
    scorer = modality_scorers("accuracy", "S1")["S1"]
    right = (fitted.predict(X["S1"]) == y).astype(float)
    assert scorer(fitted, named, shuffled) == scorer(fitted, X, y)
    weight = pd.Series(right, names).iloc[order]
    assert scorer(fitted, named, shuffled, sample_weight=weight) == 1.0


@pytest.mark.parametrize(
    ("estimator", "task", "scoring", "n_outputs"),
    [
        (CoLearnClassifier, "multilabel", None, 1),
        (CoLearnClassifier, "multilabel", "roc_auc", 1),
        (CoLearnRegressor, "regression", None, 1),
        (CoLearnRegressor, "regression", "neg_mean_absolute_error", 2),
    ],
)
def test_other_targets(estimator, task, scoring, n_outputs):
    X, y = make_multisensor(60, task=task, n_outputs=n_outputs, random_state=0)
    target = pd.DataFrame(y) if n_outputs == 2 else y
    report = evaluate_modalities(
        small(estimator), X, target, cv=KFold(2), scoring=scoring, modalities="S1"
    )
    assert report.scoring == (scoring or ("r2" if task == "regression" else "accuracy"))
    score = get_scorer(report.scoring)
    for fold, (train, test) in enumerate(KFold(2).split(X)):
        joint = small(estimator).fit(X[train], y[train])
        expected = score(joint, X[test].select("S1"), y[test])
        assert column(report, "S1", "co-learned")[fold] == pytest.approx(expected)
        if scoring is None:
            own = joint.score(X[test].select("S1"), y[test])
            assert own == pytest.approx(expected)


def test_every_form_of_X(data):
    X, y = data
    xarray = pytest.importorskip("xarray")
    dataset = xarray.Dataset(
        {
            name: (("sample", *(f"{name}{i}" for i in range(value.ndim - 1))), value)
            for name, value in X.items()
        }
    )
    clf, split = small(max_epochs=1), [(np.arange(100), np.arange(100, 160))]
    expected = evaluate_modalities(clf, X, y, cv=split).scores["score"]
    for form in (dict(X), dataset):
        found = evaluate_modalities(clf, form, list(y), cv=split).scores["score"]
        np.testing.assert_allclose(found, expected)


@pytest.mark.slow
def test_processes_give_the_same(data, capsys):
    X, y = data
    clf = small(max_epochs=2)
    times = ["fit_time", "predict_time"]
    one = evaluate_modalities(clf, X, y, cv=2).scores.drop(columns=times)
    for backend in ("threading", "loky"):
        with joblib.parallel_backend(backend):
            two = evaluate_modalities(clf, X, y, cv=2, n_jobs=2, verbose=1).scores
        pd.testing.assert_frame_equal(two.drop(columns=times), one, atol=0.05)
    assert "14/14" not in capsys.readouterr().out  # the bar is on stderr
    with pytest.raises(ValueError, match="max_epochs") as caught:
        evaluate_modalities(small(max_epochs=0), X, y, cv=2, n_jobs=2)
    assert caught.value.__notes__[0].startswith("In the fit of fold 0 of repeat 0, ")


@pytest.mark.slow
def test_threads_leave_the_filters_of_warnings_as_they_were(data):
    X, y = data
    before = list(warnings.filters)
    with (
        joblib.parallel_config("threading"),
        warnings.catch_warnings(record=True) as caught,
    ):
        for _ in range(3):
            inside = list(warnings.filters)
            evaluate_modalities(small(max_epochs=1), X, y, cv=4, n_jobs=3)
            assert warnings.filters == inside
    assert warnings.filters == before
    assert not [w for w in caught if "one modality" in str(w.message)]


def test_progress_bar(data, capsys):
    X, y = data
    evaluate_modalities(small(max_epochs=1), X, y, cv=2, verbose=1)
    assert "8/8" in capsys.readouterr().err
    evaluate_modalities(small(max_epochs=1), X, y, cv=2)
    assert capsys.readouterr().err == ""


def test_report_reads_well(report):
    text = repr(report)
    lines = text.splitlines()
    assert str(report) == text
    assert lines[0] == "accuracy, larger is better; 3 folds"
    assert lines[2].split() == [
        *("mean", "std", "difference", "low", "high", "wins", "n")
    ]
    assert lines[-4:] == [
        "difference: method minus 'alone', mean over the same folds and rows.",
        "low, high: 95% interval of the difference (corrected resampled t); if it "
        "holds 0,",
        "  the difference may be noise.",
        "wins: in how many of the n folds the method is better; a tie counts half.",
    ]
    mean = report.summary().loc[("S1", "alone"), "mean"]
    assert lines[4].split() == ["S1", "alone", f"{mean:.3f}", *lines[4].split()[3:]]
    html = report._repr_html_()
    assert "<table" in html
    assert "corrected resampled t" in html
    large = ModalityReport(report.scores.assign(score=lambda t: t["score"] * -1000))
    assert f" {-1000 * mean:.0f} " in repr(large)


def test_title_counts_repeats_of_equal_size_only(report):
    again = report.scores.assign(repeat=1)
    twice = ModalityReport(pd.concat([report.scores, again]))
    assert repr(twice).startswith("Score, larger is better; 6 folds in 2 repeats\n")
    drawn = ModalityReport(pd.concat([report.scores, again[again["fold"] < 2]]))
    assert repr(drawn).startswith("Score, larger is better; 5 folds\n")


def test_wild_baseline_takes_no_decimals_from_the_others(report):
    scores = report.scores
    wild = scores["score"].where(scores["method"] != "forest", -4e5)
    mean = report.summary().loc[("S1", "alone"), "mean"]
    assert f" {mean:.3f} " in repr(ModalityReport(scores.assign(score=wild)))
    for nothing in (0.0, np.nan):
        assert "0.000000" not in repr(ModalityReport(scores.assign(score=nothing)))


def test_method_whose_name_is_markup(report):
    scores = report.scores.replace({"alone": "<b>"})
    html = ModalityReport(scores, reference="<b>")._repr_html_()
    assert "<b>" not in html


# -- partner_gain --------------------------------------------------------------------


@pytest.mark.slow
def test_partners_by_hand(data):
    X, y = data
    report = partner_gain(small(), X, y, cv=KFold(2))
    scores = report.scores
    assert list(scores) == [
        *("modality", "partner", "repeat", "fold", "score", "alone", "gain"),
        *("n_train", "n_test"),
    ]
    assert len(scores) == 2 * 3 * 3
    alone = evaluate_modalities(small(), X, y, cv=KFold(2))
    found = scores.set_index(["modality", "partner", "fold"]).sort_index()
    for fold, (train, test) in enumerate(KFold(2).split(X)):
        for one, other in (("S1", "S2"), ("S1", "terrain"), ("S2", "terrain")):
            pair = small().fit(X[train].select([one, other]), y[train])
            for m, partner in ((one, other), (other, one)):
                row = found.loc[(m, partner, fold)]
                expected = pair.score(X[test].select(m), y[test])
                assert row["score"] == pytest.approx(expected)
                assert row["alone"] == pytest.approx(column(alone, m, "alone")[fold])
                assert row["gain"] == pytest.approx(row["score"] - row["alone"])
        for m in SENSORS:
            row = found.loc[(m, "all", fold)]
            assert row["score"] == pytest.approx(column(alone, m, "co-learned")[fold])
    matrix = report.matrix()
    assert list(matrix.index) == SENSORS
    assert list(matrix) == [*SENSORS, "all"]
    assert np.isnan(np.diag(matrix)).all()
    assert matrix.isna().to_numpy().sum() == 3
    assert matrix.loc["S2", "S1"] == pytest.approx(
        found.loc[("S2", "S1"), "gain"].mean()
    )
    summary = report.summary()
    assert list(summary) == ["gain", "low", "high", "wins", "n"]
    gains = found.loc[("S2", "S1"), "gain"].to_numpy()
    expected = corrected_interval(gains, 1.0)
    row = summary.loc[("S2", "S1")]
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["wins"] == (gains > 0).sum() + (gains == 0).sum() / 2
    text = repr(report).splitlines()
    assert text[0] == "accuracy, larger is better; 2 folds"
    assert text[-4].startswith("gain: trained with the partner minus trained alone")
    assert "<table" in report._repr_html_()


def test_partners_of_some_modalities(data):
    X, y = data
    report = partner_gain(small(max_epochs=1), X, y, cv=2, modalities=["terrain"])
    assert report.matrix().shape == (1, 3)
    assert list(report.matrix()) == ["S1", "S2", "all"]
    two = series(X, ["S1", "S2"])
    report = partner_gain(small(max_epochs=1), two, y, cv=2)
    assert list(report.matrix()) == ["S1", "S2"]
    joint = evaluate_modalities(small(max_epochs=1), two, y, cv=2)
    np.testing.assert_allclose(
        report.scores.query("modality == 'S2'")["score"],
        column(joint, "S2", "co-learned"),
    )


def test_partners_with_missing_rows():
    X, y = make_multisensor(
        90, missing_rows={"S1": 0.4, "S2": 0.4, "terrain": 0.1}, random_state=0
    )
    has = {m: ~np.isnan(X[m].reshape(90, -1)).all(axis=1) for m in X}
    report = partner_gain(small(), X, y, cv=KFold(2), modalities="S1")
    found = report.scores.set_index(["partner", "fold"])
    for fold, (train, test) in enumerate(KFold(2).split(X)):
        either = train[(has["S1"] | has["S2"])[train]]
        assert len(either) < len(train)
        rows = test[has["S1"][test]]
        pair = small().fit(X[either].select(["S1", "S2"]), y[either])
        expected = pair.score(X[rows].select("S1"), y[rows])
        assert found.loc[("S2", fold), "score"] == pytest.approx(expected)
        assert found.loc[("S2", fold), "n_train"] == has["S1"][train].sum()
        assert found.loc[("S2", fold), "n_test"] == len(rows)


# -- what the figures say of data whose truth is known -------------------------------


@pytest.mark.slow
def test_no_gain_from_noise():
    X, y = make_multisensor(
        150, shared_signal=0, specific_signal=0, n_classes=2, random_state=0
    )
    cv = RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)
    report = evaluate_modalities(small(), X, y, cv=cv, modalities=["S1", "terrain"])
    summary = report.summary().xs("co-learned", level="method").loc[["S1", "terrain"]]
    assert (summary["low"] < 0).all()
    assert (summary["high"] > 0).all()


@pytest.mark.slow
def test_noisy_sensor_gains_from_a_clean_partner():
    # Only what both sensors see carries the target, and 60 noisy columns of 80 rows
    # are too many to learn from alone.
    X, y = make_multisensor(
        100,
        modalities={"noisy": (60,), "clean": (60,)},
        task="regression",
        n_specific=0,
        specific_signal=0,
        noise={"noisy": 2.0, "clean": 0.1},
        random_state=0,
    )
    report = evaluate_modalities(
        small(CoLearnRegressor, max_epochs=30, contrastive_weight=1.0),
        X,
        y,
        cv=RepeatedKFold(n_splits=5, n_repeats=3, random_state=0),
        modalities="noisy",
    )
    row = report.summary().loc[("noisy", "co-learned")]
    assert row["low"] > 0
    assert row["difference"] > 0.04
    assert row["wins"] >= 13


# -- refusals ------------------------------------------------------------------------


def unanswering(estimator, X, y):
    return float("nan")


REFUSALS = {
    "flat X": (
        lambda X, y: {"X": np.asarray(X)},
        TypeError,
        "ndarray, which does not name its modalities",
    ),
    "one modality": (
        lambda X, y: {"X": X.select("S1")},
        ValueError,
        r"modalities \['S1'\]; at least two",
    ),
    "a modality called all": (
        lambda X, y: {"X": ModalityDict(all=X["S1"], S2=X["S2"])},
        ValueError,
        "called 'all'.*another name",
    ),
    "unknown modality": (
        lambda X, y: {"modalities": ["S1", "S9"]},
        ValueError,
        r"modalities= names \['S9'\]; X holds \['S1', 'S2', 'terrain'\]",
    ),
    "no modality": (
        lambda X, y: {"modalities": []},
        ValueError,
        "modalities= names no modality",
    ),
    "other estimator": (
        lambda X, y: {"estimator": DummyClassifier()},
        TypeError,
        r"estimator= is a CoLearnClassifier.*got DummyClassifier\(\).*baselines=",
    ),
    "class": (
        lambda X, y: {"estimator": CoLearnClassifier},
        TypeError,
        "estimator= is a CoLearnClassifier.*got <class",
    ),
    "frozen estimator": (
        lambda X, y: {"estimator": FrozenEstimator(small())},
        TypeError,
        "estimator= is a CoLearnClassifier.*got FrozenEstimator",
    ),
    "co-learning in the middle of a pipeline": (
        lambda X, y: {"estimator": make_pipeline(small(), DummyClassifier())},
        TypeError,
        "a pipeline that ends in one.*got Pipeline",
    ),
    "y of other length": (
        lambda X, y: {"y": y[:-1]},
        ValueError,
        "same number of rows; X has 160 and y has 159",
    ),
    "no y": (lambda X, y: {"y": None}, ValueError, "y is None"),
    "groups of other length": (
        lambda X, y: {"groups": y[:-1]},
        ValueError,
        "same number of rows; X has 160 and groups has 159",
    ),
    "no groups": (
        lambda X, y: {"cv": GroupKFold(2)},
        ValueError,
        "GroupKFold.*splits by groups; pass groups=",
    ),
    "no fold": (lambda X, y: {"cv": []}, ValueError, r"cv=\[\] gives no fold"),
    "several scorers": (
        lambda X, y: {"scoring": ["accuracy"]},
        TypeError,
        r"scoring= is the name of one scorer.*\['accuracy'\]",
    ),
    "metric function": (
        lambda X, y: {"scoring": recall_score},
        TypeError,
        "recall_score is a metric function.*make_scorer",
    ),
    "scorer of several": (
        lambda X, y: {"scoring": lambda estimator, X, y: {"accuracy": 1.0}},
        TypeError,
        "one number; got dict",
    ),
    "scorer without an answer": (
        lambda X, y: {"scoring": unanswering},
        ValueError,
        "scoring='unanswering' gave NaN",
    ),
    "one row to test by R2": (
        lambda X, y: {
            "estimator": small(CoLearnRegressor),
            "y": y.astype(float),
            "cv": LeaveOneOut(),
        },
        ValueError,
        "fold 0 of repeat 0 one test row has modality 'S1', and R2 needs two",
    ),
    "nothing to test": (
        lambda X, y: {
            "X": X | {"S2": np.where(np.arange(160) < 80, np.nan, X["S2"].T).T},
            "cv": KFold(2),
        },
        ValueError,
        "fold 0 of repeat 0 no test row has modality 'S2'",
    ),
    "nothing to train": (
        lambda X, y: {
            "X": X | {"S2": np.where(np.arange(160) < 80, np.nan, X["S2"].T).T},
            "cv": KFold(2),
            "modalities": "S1",
        },
        ValueError,
        "fold 1 of repeat 0 no training row has modality 'S2'",
    ),
    "rows without anything": (
        lambda X, y: {
            "X": ModalityDict(
                {m: np.where(np.arange(160) == 7, np.nan, X[m].T).T for m in X}
            )
        },
        ValueError,
        "All values of all modalities are missing in row 7",
    ),
    "labels of y that X does not have": (
        lambda X, y: {
            "X": ModalityDict.align(
                {m: (np.arange(160) + 1000, values) for m, values in X.items()}
            ),
            "y": pd.Series(y, np.arange(160) + 2000),
        },
        ValueError,
        "y .*1000",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("function", [evaluate_modalities, partner_gain])
def test_refusals(data, case, function):
    X, y = data
    change, kind, message = REFUSALS[case]
    arguments = {"estimator": small(), "X": X, "y": y, **change(X, y)}
    with pytest.raises(kind, match=message):
        function(**arguments)


def test_names_that_are_taken(data):
    X, y = data
    dummy = DummyClassifier()
    for arguments, message in (
        ({"baselines": {"co-learned": dummy}}, "baselines=.*'co-learned'.*taken"),
        ({"baselines": {"forest": dummy, "all": dummy}}, "baselines=.*'all'.*taken"),
        ({"estimator": {"alone": small()}}, "estimator=.*'alone'.*taken"),
        (
            {"estimator": {"one": small()}, "baselines": {"one": dummy}},
            "baselines=.*'one'.*taken",
        ),
        ({"estimator": {}}, "empty dict"),
        (
            {"estimator": {"one": small(), "other": small(missing_value=0.0)}},
            "the same missing_value=.*'other' differs from that of 'one'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate_modalities(**{"estimator": small(), "X": X, "y": y, **arguments})


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        ([DummyClassifier()], "baselines= is a dict of estimators.*got list"),
        ({"forest": None}, "'forest' is no estimator.*got None"),
        ({"dummy": DummyClassifier}, "'dummy' is no estimator.*got <class"),
    ],
)
def test_baselines_that_are_no_estimators(data, baselines, message):
    with pytest.raises(TypeError, match=message):
        evaluate_modalities(small(), *data, cv=2, baselines=baselines)


def fails(estimator, X, y):
    raise ArithmeticError("no score today")


def test_failures_go_through_and_say_where(data):
    X, y = data
    with pytest.raises(ValueError, match="max_epochs") as caught:
        evaluate_modalities(small(max_epochs=0), X, y, cv=2)
    assert caught.value.__notes__ == [
        "In the fit of fold 0 of repeat 0, method 'alone', on 'S1'."
    ]
    with pytest.raises(ArithmeticError, match="no score today") as error:
        partner_gain(small(max_epochs=1), X, y, cv=2, scoring=fails)
    assert error.value.__notes__ == [
        "In the score of fold 0 of repeat 0, method 'alone', from 'S1'."
    ]


class Stop(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_interrupt_ends_the_evaluation(data):
    X, y = data
    with pytest.raises(KeyboardInterrupt):
        evaluate_modalities(small(callbacks=[Stop()]), X, y, cv=2)


def test_tables_that_are_no_scores(report):
    scores = report.scores
    twice_repeated = pd.concat([scores, scores.assign(repeat=1)] * 2)
    without_reference = scores[scores["method"] != "alone"]
    for table, kind, message in (
        (scores.to_dict(), TypeError, "a DataFrame; got dict"),
        (
            scores.drop(columns=["fold", "n_test"]),
            ValueError,
            r"ModalityReport lack the columns \['fold', 'n_test'\]",
        ),
        (scores[:0], ValueError, "no row"),
        (
            pd.concat([scores, scores[:1]]),
            ValueError,
            r"'S1', 'method': 'alone'.*twice.*\['repeat'\] \+ 1\).*drop_duplicates",
        ),
        (twice_repeated, ValueError, r"scores\['repeat'\] \+ 2\)"),
        (without_reference, ValueError, r"'alone'.*\['co-learned', 'forest'\]"),
    ):
        with pytest.raises(kind, match=message):
            ModalityReport(table)
    for method in (report.summary, report.differences):
        with pytest.raises(ValueError, match=r"Unknown reference 'trees'.*'forest'\]"):
            method("trees")
    with pytest.raises(ValueError, match=r"between 0 and 1.*got 95"):
        report.summary(confidence=95)
    with pytest.raises(ValueError, match=r"PartnerReport lack.*'alone', 'gain'\]"):
        PartnerReport(scores)
