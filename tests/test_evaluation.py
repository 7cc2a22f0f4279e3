"""Scorers of one modality, and what each modality gains from the others."""

from __future__ import annotations

import pickle
import warnings
from copy import deepcopy
from functools import partial
from itertools import combinations

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import tools
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, log_loss, make_scorer, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    ShuffleSplit,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
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
TRAIN, TEST = np.arange(60), np.arange(60, 90)
SPLIT = [(TRAIN, TEST)]
FOLDS = list(KFold(3).split(range(90)))
TIMES = ["fit_time", "predict_time"]
METRICS = ["accuracy", "neg_log_loss"]
FOREST, DUMMY = RandomForestClassifier(5, random_state=0), DummyClassifier()

small = partial(
    tools.small, encoder="linear", encoder_params=None, weight_decay=0.3, max_epochs=1
)


@pytest.fixture(scope="module")
def data():
    """Sensors of very different worth: S2 is nearly noise."""
    noise = {"S1": 0.1, "S2": 20.0, "terrain": 0.3}
    return make_multisensor(90, specific_signal=0.2, noise=noise, random_state=0)


@pytest.fixture(scope="module")
def fitted(data):
    return small(max_epochs=16).fit(*data)


@pytest.fixture(scope="module")
def dataset(data):
    xarray = pytest.importorskip("xarray")
    dims = {
        m: ("row", *(f"{m}{i}" for i in range(x.ndim - 1))) for m, x in data[0].items()
    }
    return xarray.Dataset({m: (dims[m], x) for m, x in data[0].items()})


def always_one(estimator, X, y):
    return 1.0


def by_hand(model, X, y, on=SENSORS, of=None, *, fold=SPLIT[0], metric="accuracy"):
    """Train on some modalities and score from some, by default the same."""
    train, test = fold
    model = clone(model).fit(X[train].select(on), y[train])
    if of is None and len(on) > 1 and isinstance(model, CoLearnClassifier):
        model.set_params(predict_modality=None)
    return get_scorer(metric)(model, X[test].select(of or on), y[test])


# -- modality_scorers ----------------------------------------------------------------


def test_keys():
    assert list(modality_scorers("accuracy", SENSORS)) == SENSORS
    assert list(modality_scorers("accuracy", "S1")) == ["S1"]
    assert list(modality_scorers(always_one, iter(["S1", "S2"]))) == ["S1", "S2"]
    several = modality_scorers(iter(["accuracy", "r2"]), ["S1", "S2"])
    assert list(several) == ["S1_accuracy", "S1_r2", "S2_accuracy", "S2_r2"]
    assert list(modality_scorers(["accuracy"], ["S1"])) == ["S1_accuracy"]
    for scoring in ("acuracy", ["accuracy", "acuracy"]):
        with pytest.raises(ValueError, match="Got 'acuracy' instead"):
            modality_scorers(scoring, SENSORS)


def test_scorers_match_scores_by_hand(data, fitted):
    X, y = data
    names = ["accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro"]
    scorers = modality_scorers(names, SENSORS)
    again = pickle.loads(pickle.dumps(scorers))
    for modality in SENSORS:
        for name in names:
            expected = get_scorer(name)(fitted, X.select(modality), y)
            for made in (scorers, again):
                score = made[f"{modality}_{name}"](fitted, X, y)
                assert score == pytest.approx(expected)
    # Unlike each other, so no scorer can stand in for another.
    assert len({scorer(fitted, X, y) for scorer in scorers.values()}) > 8
    assert scorers["S1_accuracy"](fitted, X, y) > 0.6


def test_scorer_that_is_a_callable(data, fitted):
    X, y = data
    recall = make_scorer(recall_score, average="macro")
    expected = recall_score(y, fitted.predict(X, modality="S1"), average="macro")
    assert modality_scorers(recall, ["S1"])["S1"](fitted, X, y) == expected
    sees = modality_scorers(lambda est, X, y: list(X), SENSORS)
    assert [scorer(fitted, X, y) for scorer in sees.values()] == [[m] for m in SENSORS]


def test_scorer_matches_labels(data, fitted):
    X, y = data
    scorer = modality_scorers("accuracy", "S1")["S1"]
    right = (fitted.predict(X["S1"]) == y).astype(float)
    assert scorer(fitted, X, y, sample_weight=right) == 1.0
    names = np.array([f"plot {i:03d}" for i in range(90)])
    named = ModalityDict.align({m: (names, values) for m, values in X.items()})
    order = np.random.default_rng(0).permutation(90)
    shuffled = pd.Series(y, names).iloc[order]
    assert scorer(fitted, named, shuffled) == scorer(fitted, X, y)
    weight = pd.Series(right, names).iloc[order]
    assert scorer(fitted, named, shuffled, sample_weight=weight) == 1.0


class Counting(CoLearnClassifier):
    calls = []  # noqa: RUF012

    def predict(self, X, modality=None):
        self.calls.append(list(X))
        return super().predict(X, modality)


def test_cross_validate_scores_each_modality(data):
    X, y = data
    # A mixture of both kinds, as scikit-learn takes names in a dict.
    scorers = modality_scorers(METRICS, SENSORS) | {"all": "accuracy"}
    Counting.calls.clear()
    result = cross_validate(
        small(Counting), X, y, scoring=scorers, cv=FOLDS[:2], return_estimator=True
    )
    # scikit-learn caches answers by method; those of two modalities are not shared.
    assert Counting.calls == [["S1"], ["S2"], ["terrain"], SENSORS] * 2
    for fold, clf in enumerate(result["estimator"]):
        part, target = X[FOLDS[fold][1]], y[FOLDS[fold][1]]
        assert result["test_all"][fold] == clf.score(part, target)
        for m in SENSORS:
            for name in METRICS:
                expected = get_scorer(name)(clf, part.select(m), target)
                assert result[f"test_{m}_{name}"][fold] == pytest.approx(expected)


@pytest.mark.slow
def test_grid_search_refits_the_best_for_one_modality(data):
    search = GridSearchCV(
        small(max_epochs=12),
        {"lr": [1e-2, 1e-9]},
        scoring=modality_scorers("accuracy", ["S1", "S2"]),
        refit="S1",
        cv=2,
    ).fit(*data)
    assert search.best_params_ == {"lr": 1e-2}
    results = search.cv_results_
    assert search.best_score_ == results["mean_test_S1"][0] > 0.45
    assert search.best_score_ > results["mean_test_S2"].max()
    assert search.predict(data[0].select("S1")).shape == (90,)


def test_scorers_through_a_pipeline(data):
    X, y = data
    model = make_pipeline(PerModality(StandardScaler()), small()).fit(X, y)
    for modality, scorer in modality_scorers("accuracy", SENSORS).items():
        expected = np.mean(model.predict(X.select(modality)) == y)
        assert scorer(model, X, y) == expected


def test_every_form_that_names_its_modalities(data, dataset, fitted):
    X, y = data
    tables = {m: pd.DataFrame(X[m].reshape(90, -1)).add_prefix("f") for m in SENSORS}
    frame = pd.concat(tables, axis=1)
    framed = small(max_epochs=16).fit(frame, y)
    for modality, scorer in modality_scorers("accuracy", SENSORS).items():
        for form in (X, dict(X), dataset):
            assert scorer(fitted, form, y) == fitted.score(X[modality], y)
        assert scorer(framed, frame, y) == framed.score(frame[[modality]], y)
    scorer = modality_scorers("accuracy", "S1")["S1"]
    for flat in (np.asarray(X), pd.DataFrame(np.asarray(X))):
        with pytest.raises(TypeError, match=f"'S1' from a {type(flat).__name__}"):
            scorer(fitted, flat, y)
    expected, *found = (
        evaluate_modalities(small(), form, list(y), cv=SPLIT).scores["score"]
        for form in (X, dict(X), dataset)
    )
    for one in found:
        np.testing.assert_allclose(one, expected)


def test_estimator_with_another_predict_modality(data, fitted):
    X, y = data
    clf = deepcopy(fitted).set_params(predict_modality="S2")
    for modality, scorer in modality_scorers("accuracy", SENSORS).items():
        assert scorer(clf, X, y) == fitted.score(X[modality], y)


def test_scorer_of_a_modality_that_was_left_out(data, fitted):
    X, y = data
    scorers = modality_scorers("accuracy", [*SENSORS, "S9"])
    with pytest.raises(ValueError, match=r"lacks the modality 'S9'.*'terrain'\]"):
        scorers["S9"](fitted, X, y)
    # The estimator knows S2, which X lacks: no other answers for it.
    with pytest.raises(ValueError, match="lacks the modality 'S2'"):
        scorers["S2"](fitted, X.select("S1"), y)
    one = X.select("S1")
    alone = small().fit(one, y)
    with pytest.warns(UserWarning, match="without modality 'S2'.*from 'S1'"):
        assert scorers["S2"](alone, one[:60], y[:60]) == alone.score(one[:60], y[:60])
    two = X.select(["S1", "terrain"])
    with pytest.raises(ValueError, match="lacks the modality 'S2'"):
        scorers["S2"](small().fit(two, y), two, y)


# -- evaluate_modalities -------------------------------------------------------------


@pytest.fixture(scope="module")
def both(data):
    """A report of two metrics."""
    forest = {"forest": FOREST}
    return evaluate_modalities(
        small(), *data, cv=KFold(3), baselines=forest, scoring=METRICS
    )


@pytest.fixture(scope="module")
def report(both):
    return both.select("accuracy")


def column(report, modality, method, name="score"):
    scores = report.scores.set_index(["modality", "method"]).sort_index()
    return scores.loc[[(modality, method)], name].to_numpy()


def test_scores_are_those_by_hand(data, both):
    X, y = data
    parts = {m: [m] for m in SENSORS} | {"all": SENSORS}
    for i, (train, test) in enumerate(FOLDS):
        joint = small().fit(X[train], y[train])
        for m, part in parts.items():
            held, table = X.select(part), np.asarray(X.select(part))
            models = {
                "co-learned": (joint, held),
                "forest": (clone(FOREST).fit(table[train], y[train]), table),
            }
            if m != "all":
                models["alone"] = (small().fit(held[train], y[train]), held)
            for method, (model, form) in models.items():
                for name in METRICS:
                    expected = get_scorer(name)(model, form[test], y[test])
                    found = column(both.select(name), m, method)[i]
                    assert found == pytest.approx(expected)


def test_table_is_tidy_and_in_order(both, report):
    scores = report.scores
    columns = ["modality", "method", "repeat", "fold", "score"]
    columns += [*TIMES, "n_train", "n_test"]
    assert list(scores) == columns
    assert list(scores.index) == list(range(33))
    pairs = [(m, k) for m in SENSORS for k in ("alone", "co-learned", "forest")]
    pairs += [("all", "co-learned"), ("all", "forest")]
    assert list(zip(scores["modality"], scores["method"], strict=True))[::3] == pairs
    assert list(report.summary().index) == pairs
    assert scores["fold"].tolist() == [0, 1, 2] * 11
    assert (scores[["repeat", "n_test", "n_train"]] == [0, 30, 60]).all(axis=None)
    assert (scores[TIMES] > 0).all(axis=None)
    # One fit on all modalities, so one time.
    joint = scores[scores["method"] == "co-learned"]
    assert joint.groupby("fold")["fit_time"].nunique().eq(1).all()
    # Proper scores come first.
    assert list(both.scores) == ["metric", *columns]
    triples = [(name, *pair) for name in ("neg_log_loss", "accuracy") for pair in pairs]
    assert list(both.summary().index) == triples
    assert both.summary().index.names == ["metric", "modality", "method"]


def test_several_metrics_read_as_one_each(both, report):
    loss = both.select("neg_log_loss")
    assert both.metrics == ["neg_log_loss", "accuracy"]
    assert (both.scoring, loss.scoring, report.scoring) == (None, *both.metrics)
    for whole, part in (
        (both.summary("forest"), loss.summary("forest")),
        (both.differences().set_index("metric"), loss.differences()),
    ):
        found = whole.loc["neg_log_loss"].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, part.reset_index(drop=True))
    lines = repr(both).splitlines()
    assert lines[0] == "Score, larger is better; 3 folds"
    assert lines[4].split()[:3] == ["neg_log_loss", "S1", "alone"]
    rows = [line.split() for line in repr(report).splitlines()[4:15]]
    assert [line.split() for line in lines[15:26]] == [
        ["accuracy", *rows[0]],
        *rows[1:],
    ]
    assert report.select() is report.select("accuracy") is report
    for one, name in ((both, None), (both, "r2"), (report, "neg_log_loss")):
        with pytest.raises(ValueError, match=r"metrics \[.*'accuracy'\].*select\('"):
            one.select(name)
    by_forest = ModalityReport(both.scores, reference="forest").select("accuracy")
    assert by_forest.reference == "forest"
    plotting = pytest.importorskip("sklearn_colearn.plotting")
    with pytest.raises(ValueError, match=r"Choose one, .* report.select\("):
        plotting.ModalityScoresDisplay.from_report(both)


def several(estimator, X, y):
    return {"hits": 1.0, "r2": 2.0}


@pytest.mark.parametrize(
    ("scoring", "metrics"),
    [
        (["accuracy"], []),
        ({"mine": "accuracy"}, []),
        (always_one, []),
        (("accuracy", "f1_macro"), ["accuracy", "f1_macro"]),
        ({"hits": "accuracy", "loss": "neg_log_loss"}, ["loss", "hits"]),
        ({"one": always_one, "hits": "accuracy"}, ["one", "hits"]),
        (several, ["r2", "hits"]),
    ],
)
def test_forms_of_scoring(data, scoring, metrics):
    fits = []

    class Once(DummyClassifier):
        def fit(self, X, y):
            fits.append(X.shape)
            return super().fit(X, y)

    clf, once = small(), Once()
    arguments = {"cv": SPLIT, "scoring": scoring, "modalities": "S1"}
    report = evaluate_modalities(clf, *data, **arguments, baselines={"once": once})
    assert report.metrics == metrics
    assert len(report.scores) == 5 * max(len(metrics), 1)
    assert fits == [(60, 24), (60, 78)]  # one for all metrics, of clones
    assert not hasattr(clf, "net_")
    assert not hasattr(once, "classes_")
    assert ("metric" in report.scores) == bool(metrics)
    if scoring is several:
        gains = partner_gain(small(), *data, **arguments)
        assert list(gains.matrix().index) == [(name, "S1") for name in metrics]
        assert gains.select(metrics[0]).matrix().shape == (1, 3)
    if not metrics:
        assert report.scoring in ("accuracy", "mine", "always_one")


class Grouped(GaussianNB):
    """A classifier that takes groups, for folds of its own."""

    seen = []  # noqa: RUF012

    def fit(self, X, y, groups=None):
        self.seen.append(groups)
        return super().fit(X, y)


class GroupedLearner(CoLearnClassifier):
    def fit(self, X, y, *, sample_weight=None, groups=None):
        Grouped.seen.append(groups)
        return super().fit(X, y, sample_weight=sample_weight, groups=groups)


@pytest.mark.parametrize("routed", [False, True])
def test_groups_are_handed_on_to_fits(data, routed):
    X, y = data
    X, groups = without(X, range(0, 90, 3), "S1"), np.arange(90) // 5
    fold, *_ = folds = list(GroupKFold(2).split(X, y, groups))
    train = fold[0]
    evaluate = partial(evaluate_modalities, X=X, y=y, cv=[fold], groups=groups)
    with sklearn.config_context(enable_metadata_routing=routed):
        learner, bayes = small(GroupedLearner), Grouped()
        if routed:
            learner.set_fit_request(groups=True)
            bayes.set_fit_request(groups=True)
        piped = make_pipeline(make_pipeline("passthrough", learner))
        for estimator in (learner, piped):
            Grouped.seen.clear()
            evaluate(estimator, modalities=["S1", "S2"])
            expected = [train[train % 3 > 0], train, train]
            for found, rows in zip(Grouped.seen, expected, strict=True):
                np.testing.assert_array_equal(found, groups[rows])
        Grouped.seen.clear()
        evaluate = partial(evaluate, X=X.select(["S2", "terrain"]), modalities="S2")
        piped = make_pipeline("passthrough", bayes)
        baselines = {"bayes": bayes, "piped": piped, "dummy": DUMMY}
        evaluate(small(), baselines=baselines)
        assert [len(found) for found in Grouped.seen] == [len(train)] * 4
        Grouped.seen.clear()
        evaluate(learner, groups=None, baselines={"bayes": bayes})
        assert Grouped.seen == [None] * 4
    # The folds are those of the splitter.
    one, other = (
        evaluate(small(), cv=cv).scores["score"] for cv in (GroupKFold(2), folds)
    )
    np.testing.assert_allclose(one, other)


@pytest.mark.parametrize("lacking", ["training", "test"])
def test_losses_count_classes_that_a_fold_lacks(data, lacking):
    X, y = data
    y, classes = np.array(["a", "b", "rare"])[y], ["a", "b", "rare"]
    common, rare = np.flatnonzero(y != "rare"), np.flatnonzero(y == "rare")
    train, test = common[:40], np.r_[common[40:], rare]
    if lacking == "test":
        train, test = test, train
    metrics = ["neg_log_loss", "accuracy"]
    if hasattr(sklearn.metrics, "d2_brier_score"):  # Brier's of several classes
        metrics.append("neg_brier_score")
    evaluate = partial(evaluate_modalities, cv=[(train, test)] * 2, scoring=metrics)
    with pytest.warns(UserWarning, match="lack classes") as caught:
        report = evaluate(small(), X, y, baselines={"prior": DUMMY})
    (warning,) = (w for w in caught if "lack classes" in str(w.message))
    first = f"'rare', first in the {lacking} rows of 'S1' in fold 0 of repeat 0."
    assert first in str(warning.message)
    assert warning.filename == __file__
    models = {"co-learned": small().fit(X[train], y[train])}
    models["prior"] = clone(DUMMY).fit(X[train], y[train])
    for method, model in models.items():
        proba = model.predict_proba(X[test])
        proba = np.pad(proba, [(0, 0), (0, 3 - proba.shape[1])])
        onehot = y[test][:, None] == classes
        expected = [-log_loss(y[test], proba, labels=classes)]
        expected += [-((proba - onehot) ** 2).sum(axis=1).mean()]
        for name, one in zip(metrics[::2], expected, strict=False):
            found = column(report.select(name), "all", method)
            np.testing.assert_allclose(found, one, rtol=1e-5)


@pytest.mark.parametrize("several_labels", [False, True])
def test_partner_gain_warns_of_classes_that_a_fold_lacks(data, several_labels):
    X, y = data
    common, rare = np.flatnonzero(y != 2), np.flatnonzero(y == 2)
    folds = [(common[:40], np.r_[common[40:], rare])] * 2
    y = np.eye(3, dtype=int)[y] if several_labels else y
    gain = partial(partner_gain, small(), cv=folds, scoring=always_one)
    with pytest.warns(UserWarning, match="lack classes") as caught:
        gain(X.select(SENSORS[:2]), y)
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "Some folds lack classes: 2, first in the training rows of 'S1' in fold 0 of "
        "repeat 0. Their scores say little about these classes. StratifiedKFold and "
        "StratifiedGroupKFold spread classes over the folds."
    )


def test_scorers_warn_once_of_classes_that_training_lacked(data):
    X, y = data
    y = np.array(["grass", "oats", "rye"])[y]
    rare = np.flatnonzero(y == "rye")
    train, test = np.setdiff1d(np.arange(90), rare)[:40], np.r_[TEST, rare]
    scorers = modality_scorers("accuracy", ["S1", "S2"])
    validate = partial(cross_validate, small(), X, y, scoring=scorers)
    with pytest.warns(UserWarning, match="rye") as caught:
        validate(cv=[(train, test)] * 2)
    (warning,) = caught
    assert str(warning.message) == (
        "Training rows lack the classes ['rye'], so their test rows count as wrong. "
        "StratifiedKFold and StratifiedGroupKFold spread classes over the folds; merge "
        "classes that are too rare for that."
    )
    validate(cv=[(test, train)])  # test rows may be of fewer classes


def test_summary_by_hand(report):
    summary = report.summary()
    alone, joint = (column(report, "S1", k) for k in ("alone", "co-learned"))
    row = summary.loc[("S1", "co-learned")]
    assert row["mean"] == pytest.approx(joint.mean())
    assert row["std"] == pytest.approx(joint.std(ddof=1))
    assert row["difference"] == pytest.approx((joint - alone).mean())
    assert row["wins"] == (joint > alone).sum() + (joint == alone).sum() / 2
    assert row["n"] == 3
    low, high = corrected_interval(joint - alone, 0.5)
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    for key in (("S1", "alone"), ("all", "co-learned"), ("all", "forest")):
        assert summary.loc[key, ["difference", "low", "high", "wins"]].isna().all()
        assert summary.loc[key, "n"] == 3
    # Against another reference the signs turn, and nothing else.
    turned = report.summary("co-learned").loc[("S1", "alone")]
    assert turned["difference"] == pytest.approx(-row["difference"])
    assert (turned["low"], turned["high"]) == pytest.approx((-high, -low))
    assert turned["wins"] == 3 - row["wins"]
    of_all = column(report, "all", "forest") - column(report, "all", "co-learned")
    turned = report.summary("co-learned").loc[("all", "forest")]
    assert turned["difference"] == pytest.approx(of_all.mean())
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
    assert corrected_interval([2, 2, 2], 0.5) == (2, 2)
    assert np.isnan(corrected_interval([1.0], 0.25)).all()
    assert np.isnan(corrected_interval([], 0.25)).all()


def test_one_fold_has_no_interval(data):
    masks = [(np.arange(90) < 60, np.arange(90) >= 60)]  # as good as positions
    report, again = (
        evaluate_modalities(small(), *data, cv=cv, modalities=["S2", "S1"])
        for cv in (SPLIT, masks)
    )
    np.testing.assert_allclose(again.scores["score"], report.scores["score"])
    summary = report.summary()
    assert list(summary.index.get_level_values(0)) == ["S2", "S2", "S1", "S1", "all"]
    assert summary["std"].isna().all()
    row = summary.loc[("S2", "co-learned")]
    assert row[["low", "high"]].isna().all()
    alone = summary.loc[("S2", "alone"), "mean"]
    assert row["difference"] == pytest.approx(row["mean"] - alone)
    assert "1 fold\n" in repr(report)


def test_repeats_begin_where_rows_are_tested_again(data):
    for cv, folds in (
        (RepeatedKFold(n_splits=2, n_repeats=2), [(0, 0), (0, 1), (1, 0), (1, 1)]),
        (ShuffleSplit(3, test_size=0.6), [(0, 0), (1, 0), (2, 0)]),
    ):
        scores = evaluate_modalities(small(), *data, cv=cv, modalities="S1").scores
        alone = scores[scores["method"] == "alone"]
        assert list(zip(alone["repeat"], alone["fold"], strict=True)) == folds


def test_several_estimators_and_reports_put_together(data):
    weak, strong = small(), small(max_epochs=2)
    evaluate = partial(evaluate_modalities, X=data[0], y=data[1], cv=2, modalities="S1")
    both = evaluate({"weak": weak, "strong": strong})
    one, other = evaluate(strong), evaluate(weak)
    for method, expected in {
        "strong": column(one, "S1", "co-learned"),
        "weak": column(other, "S1", "co-learned"),
        "alone": column(other, "S1", "alone"),
    }.items():
        np.testing.assert_allclose(column(both, "S1", method), expected)
    renamed = other.scores.replace({"alone": "weak alone", "co-learned": "weak"})
    joined = ModalityReport(pd.concat([one.scores, renamed]))
    methods = ["alone", "co-learned", "weak alone", "weak"]
    assert list(joined.summary().loc["S1"].index) == methods
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


def without(X, rows, *modalities):
    """Return X with gaps in some rows of some modalities."""
    gone = np.isin(np.arange(90), rows)
    return X | {m: np.where(gone, np.nan, X[m].T).T for m in modalities}


def test_missing_rows_are_left_out(data):
    X, y = without(data[0], range(0, 90, 3), "S1"), data[1]
    evaluate = partial(evaluate_modalities, cv=SPLIT, baselines={"forest": FOREST})
    report = evaluate(small(), X, y)
    train, test = (rows[rows % 3 > 0] for rows in SPLIT[0])
    expected = by_hand(small(), X, y, ["S1"], fold=(train, test))
    assert column(report, "S1", "alone") == expected
    for of, rows in (("S1", test), ("S2", TEST)):
        expected = by_hand(small(), X, y, SENSORS, [of], fold=(TRAIN, rows))
        assert column(report, of, "co-learned") == expected
    assert column(report, "all", "co-learned") == by_hand(small(), X, y)
    # All rows have some modality; what they lack is NaN to a baseline.
    for m, of, fold in (("S1", ["S1"], (train, test)), ("all", SENSORS, SPLIT[0])):
        table = np.asarray(X.select(of))
        forest = clone(FOREST).fit(table[fold[0]], y[fold[0]])
        expected = forest.score(table[fold[1]], y[fold[1]])
        assert column(report, m, "forest") == expected
    scores = report.scores.groupby("modality", sort=False)
    assert scores["n_train"].unique().tolist() == [40, 60, 60, 60]
    assert scores["n_test"].unique().tolist() == [20, 30, 30, 30]
    # A number may stand for missing; the second one float32 has to round.
    for value, by_modality in ((65535, False), (-3.4e38, True)):
        coded = X | {"S1": np.nan_to_num(X["S1"], nan=value)}
        clf = small(missing_value={"S1": value} if by_modality else value)
        again = evaluate(clf, coded, y)
        pd.testing.assert_frame_equal(
            again.scores.drop(columns=TIMES), report.scores.drop(columns=TIMES)
        )
        # The scorers of one modality leave these rows out, too.
        scorer = modality_scorers("accuracy", "S1")["S1"]
        has = np.arange(90) % 3 > 0
        expected = clf.fit(coded, y).score(coded[has].select("S1"), y[has])
        assert scorer(clf, coded, y) == expected


def test_frames_and_missing_values_in_them(data):
    X, y = data
    frames = {m: pd.DataFrame(X[m].reshape(90, -1)).add_prefix("f") for m in SENSORS}
    frames["S1"].iloc[:20] = -9999.0
    seen = []

    class Spy(DummyClassifier):
        def fit(self, X, y):
            seen.append((list(X)[-1], X.shape, int(X.isna().to_numpy().sum())))
            return super().fit(X, y)

    joined = pd.concat(frames, axis=1)
    joined.iloc[30, 0] = -9999.0
    report = evaluate_modalities(
        small(missing_value=-9999), joined, y, cv=SPLIT, baselines={"spy": Spy()}
    )
    assert seen[0] == ("f23", (40, 24), 1)
    assert seen[-1] == ("terrain_f5", (60, 78), 20 * 24 + 1)
    assert column(report, "S1", "alone", "n_train").tolist() == [40]
    assert column(report, "S2", "alone", "n_train").tolist() == [60]


def test_parameters_and_transformers_by_modality(data):
    X, y = data
    clf = small(
        encoder={"S1": "linear", "S2": "mlp"},
        encoder_params={"S2": {"hidden_dims": (8,)}},
        missing_value={"S1": -9999.0},
        predict_modality="S1",
    )
    scaled = PerModality({"S1": StandardScaler(), "terrain": PCA(2)})
    model = make_pipeline(scaled, clf)
    report = evaluate_modalities(model, X, y, cv=SPLIT, scoring="neg_log_loss")
    one = {
        "S1": make_pipeline(PerModality(StandardScaler()), small()),
        "S2": small(encoder="mlp", encoder_params={"hidden_dims": (8,)}),
        "terrain": make_pipeline(PerModality(PCA(2)), small(encoder="mlp")),
    }
    for m, alone in one.items():
        expected = by_hand(alone, X, y, [m], metric="neg_log_loss")
        assert column(report, m, "alone") == pytest.approx(expected)
    clf.set_params(predict_modality=None)
    expected = by_hand(model, X, y, metric="neg_log_loss")
    assert column(report, "all", "co-learned") == pytest.approx(expected)
    # A layout names modalities, too.
    clf.set_params(modalities=X.layout)
    scores = evaluate_modalities(clf, X, y, cv=SPLIT, modalities="S2").scores
    assert len(scores) == 3


@pytest.mark.slow
def test_search_over_parameters_by_modality_in_a_pipeline(data):
    """Alone, each modality ignores what is said of the others, in the grid too."""
    X, y = data
    lr = {"colearnclassifier__lr": [1e-2, 1e-9]}
    search = GridSearchCV(
        make_pipeline(
            PerModality({"S1": StandardScaler(), "terrain": PCA(2)}),
            small(missing_value={"S2": -9999.0}, predict_modality="S2"),
        ),
        {
            "permodality__transformer": [{"S1": StandardScaler(), "terrain": PCA(2)}],
            "colearnclassifier__encoder": [{"S1": "linear", "S2": "mlp"}],
            "colearnclassifier__encoder_params": [{"S2": {"hidden_dims": (8,)}}],
            "colearnclassifier__predict_modality": ["S1"],
            **lr,
        },
        scoring=modality_scorers(METRICS, ["S2", "terrain"]),
        refit="S2_accuracy",
        cv=2,
    )
    report = evaluate_modalities(search, X, y, cv=SPLIT, modalities=["S1", "S2"])
    assert column(report, "S1", "co-learned") == by_hand(search, X, y, SENSORS, ["S1"])
    joint = clone(search).fit(X[TRAIN], y[TRAIN]).best_estimator_
    joint[-1].set_params(predict_modality=None)
    assert column(report, "all", "co-learned") == joint.score(X[TEST], y[TEST])
    # Searches of one modality, whose parameters say nothing by modality.
    scaled = make_pipeline(PerModality(StandardScaler()), small())
    assert column(report, "S1", "alone") == by_hand(
        GridSearchCV(scaled, lr, cv=2), X, y, ["S1"]
    )
    mlp = make_pipeline(
        PerModality("passthrough"),
        small(encoder="mlp", encoder_params={"hidden_dims": (8,)}),
    )
    assert column(report, "S2", "alone") == by_hand(
        GridSearchCV(mlp, lr, cv=2), X, y, ["S2"]
    )
    with pytest.raises(ValueError, match=r"scored from modality 'terrain'.*'S1', 'S2'"):
        partner_gain(search, X, y, cv=SPLIT)


class Clipped(TransformerMixin, BaseEstimator):
    """A transformer that holds itself once it is fitted."""

    def fit(self, X, y=None):
        self.self_ = self.selves_ = [self]
        return self

    def transform(self, X):
        return X | {m: np.clip(X[m], -2, 2) for m in X}


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


def test_wrapped_estimators_answer_from_all_modalities(data):
    X, y = data
    clf = small(predict_modality="S2", max_epochs=3)
    wrapped = {
        "pipeline": make_pipeline("passthrough", clf),
        "search": GridSearchCV(clf, {"lr": [1e-2]}, cv=2),
        "wrapper": Wrapper(make_pipeline(clf)),
        "voting": VotingClassifier([("one", clf)]),
        "clipped": make_pipeline(Clipped(), clf),
        "calibrated": CalibratedClassifierCV(clf, cv=2, ensemble=False),
    }
    report = evaluate_modalities(wrapped, X, y, cv=SPLIT, modalities="S1")
    expected = by_hand(clf, X, y)
    assert expected != by_hand(clf, X, y, SENSORS, ["S2"])
    for name in ("pipeline", "search", "wrapper", "voting"):
        assert column(report, "all", name) == expected
        assert column(report, "S1", name) == by_hand(clf, X, y, SENSORS, ["S1"])
    clipped = Clipped().transform(X)
    assert column(report, "all", "clipped") == by_hand(clf, clipped, y)
    calibrated = wrapped["calibrated"].fit(X[TRAIN], y[TRAIN])
    inner = calibrated.calibrated_classifiers_[0].estimator
    inner.set_params(predict_modality=None)
    assert column(report, "all", "calibrated") == calibrated.score(X[TEST], y[TEST])


def test_regressor_under_a_transformed_target():
    X, y = make_multisensor(90, task="regression", random_state=0)
    y = np.exp(y / np.abs(y).max())
    X["S1"][:30] = -9999.0
    reg = small(CoLearnRegressor, missing_value={"S1": -9999.0}, predict_modality="S1")
    logged = TransformedTargetRegressor(reg, func=np.log, inverse_func=np.exp)
    report = evaluate_modalities(logged, X, y, cv=SPLIT)
    plain = clone(logged).set_params(
        regressor__predict_modality=None, regressor__missing_value=None
    )
    expected = by_hand(plain, X, y, ["S2"], metric="r2")
    assert column(report, "S2", "alone") == pytest.approx(expected)
    assert column(report, "S1", "alone", "n_train").tolist() == [30]


def test_unknown_modalities_in_parameters_are_refused(data):
    for wrong in ({"encoder": {"S9": "mlp"}}, {"predict_modality": "S9"}):
        for function in (evaluate_modalities, partner_gain):
            with pytest.raises(ValueError, match="S9"):
                function(small(**wrong), *data, cv=2)


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
    X, y = make_multisensor(90, task=task, n_outputs=n_outputs, random_state=0)
    target = pd.DataFrame(y) if n_outputs == 2 else y
    report = evaluate_modalities(
        small(estimator), X, target, cv=SPLIT, scoring=scoring, modalities="S1"
    )
    assert report.scoring == (scoring or ("r2" if task == "regression" else "accuracy"))
    clf = small(estimator).fit(X[TRAIN], y[TRAIN])
    expected = get_scorer(report.scoring)(clf, X[TEST].select("S1"), y[TEST])
    assert column(report, "S1", "co-learned") == pytest.approx(expected)
    scorer = modality_scorers(report.scoring, "S1")["S1"]
    assert scorer(clf, X[TEST], y[TEST]) == pytest.approx(expected)
    if scoring is None:
        assert clf.score(X[TEST].select("S1"), y[TEST]) == pytest.approx(expected)


def test_threads_give_the_same(data, capsys):
    """Processes are those of tests/test_cluster.py; starting them takes long."""
    evaluate = partial(evaluate_modalities, X=data[0], y=data[1], cv=2)
    one = evaluate(small()).scores.drop(columns=TIMES)
    assert capsys.readouterr().err == ""
    with (
        joblib.parallel_config("threading", n_jobs=2),
        warnings.catch_warnings(record=True) as caught,
    ):
        filters = list(warnings.filters)
        two = evaluate(small(), verbose=1).scores
        assert warnings.filters == filters
        with pytest.raises(ValueError, match="max_epochs") as error:
            evaluate(small(max_epochs=0))
    pd.testing.assert_frame_equal(two.drop(columns=TIMES), one, atol=0.05)
    assert not [w for w in caught if "one modality" in str(w.message)]
    again = pickle.loads(pickle.dumps(error.value))  # as it leaves a process
    assert again.__notes__[0].startswith("In the fit of fold ")
    printed = capsys.readouterr()
    assert "8/8" in printed.err
    assert printed.out == ""


def test_report_reads_well(report):
    text, scores = repr(report), report.scores
    lines = text.splitlines()
    assert str(report) == text
    assert lines[0] == "accuracy, larger is better; 3 folds"
    assert lines[2].split() == ["mean", "std", *report.summary().columns[2:]]
    assert lines[-4:] == [
        "difference: method minus 'alone', mean over the same folds and rows.",
        "low, high: 95% interval of the difference (corrected resampled t); if it "
        "contains 0,",
        "  the difference may be noise.",
        "wins: number of the n folds in which the method is better; ties count half.",
    ]
    mean = report.summary().loc[("S1", "alone"), "mean"]
    assert lines[4].split()[:3] == ["S1", "alone", f"{mean:.3f}"]
    html = report._repr_html_()
    assert "<table" in html
    assert "corrected resampled t" in html
    large = ModalityReport(scores.assign(score=scores["score"] * -1000))
    assert f" {-1000 * mean:.0f} " in repr(large)
    # A wild baseline takes no decimals from the others.
    wild = scores["score"].where(scores["method"] != "forest", -4e5)
    assert f" {mean:.3f} " in repr(ModalityReport(scores.assign(score=wild)))
    for nothing in (0.0, np.nan):
        assert "0.000000" not in repr(ModalityReport(scores.assign(score=nothing)))
    scores = scores.replace({"alone": "<b>"})
    assert "<b>" not in ModalityReport(scores, reference="<b>")._repr_html_()


def test_title_counts_repeats_of_equal_size_only(report):
    again = report.scores.assign(repeat=1)
    twice = ModalityReport(pd.concat([report.scores, again]))
    assert repr(twice).startswith("Score, larger is better; 6 folds in 2 repeats\n")
    drawn = ModalityReport(pd.concat([report.scores, again[again["fold"] < 2]]))
    assert repr(drawn).startswith("Score, larger is better; 5 folds\n")


# -- partner_gain --------------------------------------------------------------------


def test_partners_by_hand(data, report):
    X, y = data
    gains = partner_gain(small(), X, y, cv=KFold(3))
    columns = ["modality", "partner", "repeat", "fold", "score", "alone", "gain"]
    assert list(gains.scores) == [*columns, "n_train", "n_test"]
    assert len(gains.scores) == 3 * 3 * 3
    found = gains.scores.set_index(["modality", "partner"]).sort_index()
    expected = {(m, "all"): column(report, m, "co-learned") for m in SENSORS}
    for one, other in combinations(SENSORS, 2):
        pairs = [small().fit(X[f].select([one, other]), y[f]) for f, _ in FOLDS]
        for m, partner in ((one, other), (other, one)):
            expected[m, partner] = [
                pair.score(X[f].select(m), y[f])
                for pair, (_, f) in zip(pairs, FOLDS, strict=True)
            ]
    assert set(expected) == set(found.index)
    for key, scores in expected.items():
        rows = found.loc[key]
        np.testing.assert_allclose(rows["score"], scores)
        np.testing.assert_allclose(rows["alone"], column(report, key[0], "alone"))
        np.testing.assert_allclose(rows["gain"], rows["score"] - rows["alone"])
    matrix, summary = gains.matrix(), gains.summary()
    assert list(matrix.index) == SENSORS
    assert list(matrix) == [*SENSORS, "all"]
    assert np.isnan(np.diag(matrix)).all()
    assert matrix.isna().to_numpy().sum() == 3
    gain = found.loc[("S2", "S1"), "gain"].to_numpy()
    assert matrix.loc["S2", "S1"] == pytest.approx(gain.mean())
    assert list(summary) == ["gain", "low", "high", "wins", "n"]
    row = summary.loc[("S2", "S1")]
    assert (row["low"], row["high"]) == pytest.approx(corrected_interval(gain, 0.5))
    assert row["wins"] == (gain > 0).sum() + (gain == 0).sum() / 2
    text = repr(gains).splitlines()
    assert text[0] == "accuracy, larger is better; 3 folds"
    assert text[-4].startswith("gain: trained with the partner minus trained alone")
    assert "<table" in gains._repr_html_()


def test_partners_of_some_modalities_and_rows(data):
    X, y = without(data[0], range(0, 90, 3), "S1"), data[1]
    X = without(X, range(0, 90, 2), "S2")
    report = partner_gain(small(), X, y, cv=SPLIT, modalities=["S1"])
    assert list(report.matrix()) == ["S2", "terrain", "all"]
    # A pair is trained on the rows that have either of the two.
    train, test = (TRAIN[TRAIN % 6 > 0], TEST[TEST % 3 > 0])
    found = report.scores.set_index("partner").loc["S2"]
    expected = by_hand(small(), X, y, ["S1", "S2"], ["S1"], fold=(train, test))
    assert found["score"] == pytest.approx(expected)
    assert (found["n_train"], found["n_test"]) == (40, 20)
    two = partner_gain(small(), data[0].select(["S1", "S2"]), y, cv=SPLIT)
    assert list(two.matrix()) == ["S1", "S2"]


@pytest.mark.slow
def test_preferred_modality_that_a_pair_lacks(data):
    """A search that scores a pair by the estimator's own score asks both of it."""
    X, y = data
    clf = small(predict_modality="terrain")
    search = GridSearchCV(clf, {"lr": [1e-2]}, cv=2, error_score="raise")
    gain = partial(partner_gain, X=X, y=y, cv=SPLIT, modalities="S1")
    expected = gain(clone(clf).set_params(predict_modality=None))
    np.testing.assert_allclose(gain(search).scores["score"], expected.scores["score"])


# -- what the figures say of data whose truth is known -------------------------------


@pytest.mark.slow
def test_no_gain_from_noise():
    X, y = make_multisensor(
        90, shared_signal=0, specific_signal=0, n_classes=2, random_state=0
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
    settings = {"share_encoder": False, "batch_size": 32, "max_epochs": 30}
    reg = small(CoLearnRegressor, contrastive_weight=1.0, **settings)
    cv = KFold(5, shuffle=True, random_state=0)
    report = evaluate_modalities(reg, X, y, cv=cv, modalities="noisy")
    row = report.summary().loc[("noisy", "co-learned")]
    assert row["low"] > 0
    assert row["difference"] > 0.04
    assert row["wins"] >= 4


# -- refusals ------------------------------------------------------------------------


def unanswering(estimator, X, y):
    return float("nan")


LEARNER = "estimator= must be a CoLearnClassifier.*a pipeline that ends in one.*got "
TAKEN = "'{}' in estimator= or baselines= is already in use"
#: Error, message and arguments of calls that fail.
REFUSALS = [
    (ValueError, r"\['S9'\]; X has \['S1', 'S2', 'te", {"modalities": ["S1", "S9"]}),
    (ValueError, "modalities= contains no modality", {"modalities": []}),
    (TypeError, rf"{LEARNER}DummyC.*baselines=", {"estimator": DUMMY}),
    (TypeError, f"{LEARNER}<class", {"estimator": CoLearnClassifier}),
    (TypeError, f"{LEARNER}Frozen", {"estimator": FrozenEstimator(small())}),
    (TypeError, f"{LEARNER}Pipeline", {"estimator": make_pipeline(small(), DUMMY)}),
    (ValueError, r"inconsistent numbers of samples: \[90, 89\]", {"y": np.ones(89)}),
    (ValueError, r"inconsistent .*\[90, 90, 89\]", {"groups": np.ones(89)}),
    (ValueError, "y is None", {"y": None}),
    (ValueError, "'groups' parameter should not be None", {"cv": GroupKFold(2)}),
    (ValueError, r"cv=\[\] yields no folds", {"cv": []}),
    (TypeError, "a list of names.*got <function always", {"scoring": [always_one]}),
    (ValueError, "metric function.*make_scorer", {"scoring": {"a": recall_score}}),
    (ValueError, "scoring='unanswering' returned NaN", {"scoring": unanswering}),
]
REFUSED_METHODS = [
    (ValueError, TAKEN.format("co-learned"), {"baselines": {"co-learned": DUMMY}}),
    (ValueError, TAKEN.format("all"), {"baselines": {"dummy": DUMMY, "all": DUMMY}}),
    (ValueError, TAKEN.format("alone"), {"estimator": {"alone": small()}}),
    (
        ValueError,
        TAKEN.format("one"),
        {"estimator": {"one": small()}, "baselines": {"one": DUMMY}},
    ),
    (ValueError, "empty dict", {"estimator": {}}),
    (
        ValueError,
        "the same missing_value=.*'other' differs from 'one'",
        {"estimator": {"one": small(), "other": small(missing_value=0.0)}},
    ),
    (TypeError, r"dict of estimators.*got \[Dummy", {"baselines": [DUMMY]}),
    (TypeError, "estimators.*got {'a': None}", {"baselines": {"a": None}}),
    (TypeError, "estimators.*'a': <class", {"baselines": {"a": DummyClassifier}}),
]


@pytest.mark.parametrize("function", [evaluate_modalities, partner_gain])
def test_invalid_arguments_are_refused(data, function):
    X, y = data
    common = {"estimator": small(), "X": X, "y": y, "cv": SPLIT}
    forms = [
        (TypeError, "ndarray, which does not name its modalities", np.asarray(X)),
        (ValueError, r"modalities \['S1'\]; expected at least two", X.select("S1")),
        (
            ValueError,
            "name 'all' is reserved; rename",
            ModalityDict(all=X["S1"], S2=X["S2"]),
        ),
        (ValueError, "0, no test row has modality 'S2'", without(X, TEST, "S2")),
        (ValueError, "0, no training row has modality 'S2'", without(X, TRAIN, "S2")),
        (ValueError, "modalities are missing in row 7", without(X, 7, *SENSORS)),
    ]
    cases = REFUSALS + [(kind, message, {"X": form}) for kind, message, form in forms]
    if function is evaluate_modalities:
        cases += REFUSED_METHODS
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message):
            function(**common | arguments)
    ids = np.arange(90) + 1000
    named = ModalityDict.align({m: (ids, values) for m, values in X.items()})
    with pytest.raises(ValueError, match=r"y .*1000"):
        function(small(), named, pd.Series(y, ids + 1000))


def test_r2_needs_two_test_rows(data):
    X, y = data
    with (
        pytest.warns(UndefinedMetricWarning),
        pytest.raises(ValueError, match=r"'r2' returned NaN.*at least two test rows"),
    ):
        evaluate_modalities(small(CoLearnRegressor), X, y * 1.0, cv=LeaveOneOut())


def fails(estimator, X, y):
    raise ArithmeticError("no score today")


class Stop(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


def test_errors_get_a_note_that_names_the_fold(data):
    with pytest.raises(ValueError, match="max_epochs") as caught:
        evaluate_modalities(small(max_epochs=0), *data, cv=2)
    assert caught.value.__notes__ == [
        "In the fit of fold 0 of repeat 0, method 'alone', on 'S1'."
    ]
    with pytest.raises(ArithmeticError, match="no score today") as error:
        partner_gain(small(), *data, cv=2, scoring=fails)
    assert error.value.__notes__ == [
        "In the score of fold 0 of repeat 0, method 'alone', from 'S1'."
    ]
    with pytest.raises(KeyboardInterrupt):
        evaluate_modalities(small(callbacks=[Stop()]), *data, cv=2)


def test_invalid_score_tables_are_refused(report):
    scores = report.scores
    twice_repeated = pd.concat([scores, scores.assign(repeat=1)] * 2)
    twice = r"'S1', 'method': 'alone'.*twice.*\['repeat'\] \+ 1\).*drop_duplicates"
    lacking = r"ModalityReport lack the columns \['fold', 'n_test'\]"
    for table, kind, message in (
        (scores.to_dict(), TypeError, "must be a DataFrame; got dict"),
        (scores.drop(columns=["fold", "n_test"]), ValueError, lacking),
        (scores[:0], ValueError, "have no rows"),
        (pd.concat([scores, scores[:1]]), ValueError, twice),
        (twice_repeated, ValueError, r"scores\['repeat'\] \+ 2\)"),
        (scores[scores["method"] != "alone"], ValueError, r"'alone'.*'co-learned', "),
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


def test_an_integer_keeps_groups_whole(data):
    X, y, groups = *data, np.arange(90) // 5
    Grouped.seen.clear()
    baselines = {"bayes": Grouped()}
    settings = {"cv": 3, "groups": groups, "modalities": "S1", "baselines": baselines}
    evaluate_modalities(small(), X, y, **settings)
    seen = [set(own) for own in Grouped.seen]
    assert seen
    assert all(len(own) == 12 for own in seen)
