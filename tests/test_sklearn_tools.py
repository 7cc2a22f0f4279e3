"""scikit-learn's own tools, each on several modalities."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import tools
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, log_loss, r2_score, recall_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
)
from sklearn_colearn.datasets import make_multisensor

pytestmark = pytest.mark.slow

TRAIN, TEST = slice(0, 120), slice(120, 200)
CHANCE = 1 / 3

small = partial(
    tools.small,
    encoder="linear",
    encoder_params=None,
    batch_size=60,
    lr=2e-2,
    max_epochs=6,
)


@pytest.fixture(scope="module")
def data():
    return make_multisensor(200, specific_signal=0.2, noise=0.2, random_state=0)


@pytest.fixture(scope="module")
def data_regression():
    return make_multisensor(
        200, task="regression", specific_signal=0.2, noise=0.2, random_state=0
    )


# -- splitting and cross-validation ------------------------------------------------


def test_train_test_split(data):
    X, y = data
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, stratify=y, test_size=0.3, random_state=0
    )
    assert type(X_train) is ModalityDict
    assert len(X_train) == len(y_train) == 140
    assert X_test["S2"].shape == (60, 12, 4)
    assert small().fit(X_train, y_train).score(X_test, y_test) > CHANCE + 0.2


def test_cross_validate_with_several_metrics(data):
    X, y = data
    result = cross_validate(
        small(),
        X,
        y,
        cv=2,
        scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"],
        return_train_score=True,
        return_estimator=True,
        return_indices=True,
    )
    assert (result["test_accuracy"] > CHANCE + 0.15).all()
    assert (result["test_roc_auc_ovr"] > 0.65).all()
    assert (result["test_neg_log_loss"] > -np.log(3)).all()
    for clf, rows, score in zip(
        result["estimator"],
        result["indices"]["test"],
        result["test_accuracy"],
        strict=True,
    ):
        assert score == pytest.approx(np.mean(clf.predict(X[rows]) == y[rows]))


def test_cross_val_predict(data):
    X, y = data
    predicted = cross_val_predict(small(), X, y, cv=2)
    proba = cross_val_predict(small(), X, y, cv=2, method="predict_proba")
    assert accuracy_score(y, predicted) > CHANCE + 0.2
    assert_array_equal(proba.argmax(axis=1), predicted)


def test_cross_val_score_by_groups(data):
    X, y = data
    groups = np.arange(200) // 10
    seen = []

    class Spy(CoLearnClassifier):
        def fit(self, X, y):
            seen.append(set(X["site"][:, 0].astype(int)))
            return super().fit(X, y)

    X = ModalityDict({**X, "site": groups[:, None].astype(np.float32)})
    scores = cross_val_score(small(Spy), X, y, groups=groups, cv=GroupKFold(2))
    assert (scores > CHANCE + 0.1).all()
    assert [len(sites) for sites in seen] == [10] * 2
    assert set.intersection(*seen) == set()


def test_learning_curve(data):
    X, y = data
    sizes, train, test = learning_curve(
        small(max_epochs=8), X, y, train_sizes=[12, 100], cv=2
    )
    assert sizes.tolist() == [12, 100]
    assert train.shape == test.shape == (2, 2)
    assert test[1].mean() > test[0].mean()


# -- searches ----------------------------------------------------------------------


def test_grid_search_over_weights_and_modality(data):
    X, y = data
    grid = {
        "contrastive_weight": [0.0, 1.0],
        "auxiliary_weight": [0.5],
        "predict_modality": [None, "terrain"],
    }
    search = GridSearchCV(small(), grid, cv=2).fit(X[TRAIN], y[TRAIN])
    for name, value in search.best_params_.items():
        assert value in grid[name]
    scores = pd.DataFrame(search.cv_results_["params"])
    scores["score"] = search.cv_results_["mean_test_score"]
    assert len(scores) == 4
    assert search.best_score_ == scores.score.max() > CHANCE + 0.2
    # All three sensors together say more than the one with few bands.
    scores["predict_modality"] = scores["predict_modality"].fillna("all")
    by_modality = scores.groupby("predict_modality").score.mean()
    assert by_modality["all"] > by_modality["terrain"]
    assert search.score(X[TEST], y[TEST]) > CHANCE + 0.2
    assert search.predict(X["S2"]).shape == (200,)  # bare, known by its shape
    assert "train_auxiliary" in search.best_estimator_.history_


def test_halving_grid_search(data):
    X, y = data
    search = HalvingGridSearchCV(
        small(),
        {"lr": [1e-9, 2e-2]},
        cv=2,
        factor=2,
        random_state=0,
    ).fit(X, y)
    assert search.best_params_ == {"lr": 2e-2}
    assert search.best_score_ > CHANCE + 0.15
    assert len(search.n_resources_) > 1


def test_halving_by_epochs(data):
    X, y = data
    search = HalvingGridSearchCV(
        small(),
        {"lr": [1e-9, 2e-2]},
        resource="max_epochs",
        max_resources=8,
        min_resources=4,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X, y)
    assert search.best_params_ == {"lr": 2e-2, "max_epochs": 8}
    assert search.best_estimator_.n_iter_ == 8


# -- pipelines ---------------------------------------------------------------------


def test_pipeline_with_a_transformer_per_modality(data):
    X, y = data
    raw = ModalityDict({name: 1000 * values + 5 for name, values in X.items()})
    pipeline = make_pipeline(PerModality(StandardScaler()), small(standardize=False))
    pipeline.fit(raw[TRAIN], y[TRAIN])
    assert pipeline.score(raw[TEST], y[TEST]) > CHANCE + 0.2
    for modality in X:
        alone = pipeline.predict_proba(raw[TEST].select(modality))
        inside = pipeline[-1].predict_proba(pipeline[0].transform(raw[TEST]), modality)
        assert_allclose(alone, inside, atol=1e-6)
    assert_array_equal(
        pipeline.predict(raw["S2"][TEST]), pipeline.predict(raw[TEST].select("S2"))
    )
    fewer = make_pipeline(PerModality({"S2": PCA(2)}), small()).fit(X[TRAIN], y[TRAIN])
    assert fewer[-1].input_shapes_ == {"S1": (12, 2), "S2": (12, 2), "terrain": (6,)}
    assert fewer.score(X[TEST], y[TEST]) > CHANCE + 0.15


def test_pipeline_with_memory(data, tmp_path):
    X, y = data
    steps = [("scale", PerModality(StandardScaler())), ("clf", small())]
    cached = Pipeline(steps, memory=str(tmp_path)).fit(X, y)
    again = Pipeline(steps, memory=str(tmp_path)).fit(X, y)
    plain = Pipeline(steps).fit(X, y)
    assert any(tmp_path.rglob("output.pkl"))
    assert_array_equal(cached.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(again.predict_proba(X), plain.predict_proba(X))
    # Other data are no hit.
    other = ModalityDict({**X, "S2": 3 * X["S2"]})
    cached.fit(other, y)
    assert_allclose(
        cached.named_steps["scale"].transformers_["S2"].scale_,
        3 * plain.named_steps["scale"].transformers_["S2"].scale_,
        rtol=1e-5,
    )


def test_search_over_a_pipeline(data):
    X, y = data
    pipeline = make_pipeline(PerModality(StandardScaler()), small())
    grid = {
        "permodality__transformer__with_mean": [True],
        "colearnclassifier__lr": [1e-9, 2e-2],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["colearnclassifier__lr"] == 2e-2
    assert search.best_score_ > CHANCE + 0.15


def test_as_a_transformer_before_another_model(data):
    X, y = data
    pipeline = make_pipeline(small(), LogisticRegression()).fit(X[TRAIN], y[TRAIN])
    assert pipeline.score(X[TEST], y[TEST]) > CHANCE + 0.2
    assert pipeline[-1].coef_.shape == (3, 48)


def test_set_output(data):
    X, y = data
    pipeline = make_pipeline(small(), StandardScaler()).set_output(transform="pandas")
    frame = pipeline.fit(X, y).transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == pipeline[0].get_feature_names_out().tolist()
    assert frame.shape == (200, 48)
    assert_array_equal(pipeline.get_feature_names_out(), frame.columns)


# -- ensembles and wrappers --------------------------------------------------------


def test_calibration(data):
    X, y = data
    calibrated = CalibratedClassifierCV(small(), cv=2).fit(X[TRAIN], y[TRAIN])
    proba = calibrated.predict_proba(X[TEST])
    assert log_loss(y[TEST], proba) < np.log(3)
    assert calibrated.score(X[TEST], y[TEST]) > CHANCE + 0.2
    alone = calibrated.predict_proba(X[TEST].select("S1"))
    assert alone.shape == (80, 3)
    assert not np.allclose(alone, proba)


def test_voting_of_seeds(data):
    X, y = data
    seeds = [(f"seed{i}", small(random_state=i)) for i in range(2)]
    voting = VotingClassifier(seeds, voting="soft").fit(X[TRAIN], y[TRAIN])
    mean = np.mean([e.predict_proba(X[TEST]) for e in voting.estimators_], axis=0)
    assert_allclose(voting.predict_proba(X[TEST]), mean, rtol=1e-5)
    assert voting.score(X[TEST], y[TEST]) > CHANCE + 0.2
    assert voting.predict(X[TEST].select("S2")).shape == (80,)


def test_stacking_of_modalities(data_regression):
    X, y = data_regression
    stacking = StackingRegressor(
        [
            (name, small(CoLearnRegressor, predict_modality=name, max_epochs=15))
            for name in X
        ],
        final_estimator=Ridge(),
        cv=2,
    ).fit(X[TRAIN], y[TRAIN])
    assert stacking.transform(X[TEST]).shape == (80, 3)
    assert stacking.final_estimator_.coef_.shape == (3,)
    assert stacking.score(X[TEST], y[TEST]) > 0.4


def test_stacking_classifier(data):
    X, y = data
    stacking = StackingClassifier(
        [("S1", small(predict_modality="S1")), ("S2", small(predict_modality="S2"))],
        cv=2,
    ).fit(X[TRAIN], y[TRAIN])
    assert stacking.score(X[TEST], y[TEST]) > CHANCE + 0.2


def test_bagging_of_the_flat_form(data, data_regression):
    X, y = data
    bagging = BaggingClassifier(
        small(modalities=X.layout), n_estimators=2, random_state=0
    ).fit(X[TRAIN], y[TRAIN])
    assert bagging.score(X[TEST], y[TEST]) > CHANCE + 0.2
    assert bagging.estimators_[0].modalities_ == ["S1", "S2", "terrain"]
    assert bagging.estimators_[0].input_shapes_["S2"] == (12, 4)
    X, y = data_regression
    bagging = BaggingRegressor(
        small(CoLearnRegressor, modalities=X.layout, max_epochs=15),
        n_estimators=2,
        random_state=0,
    ).fit(X[TRAIN], y[TRAIN])
    assert r2_score(y[TEST], bagging.predict(X[TEST])) > 0.4


def test_tuned_threshold():
    X, y = make_multisensor(
        200, n_classes=2, weights=[0.8, 0.2], specific_signal=0.2, random_state=0
    )
    clf = small(max_epochs=4)
    tuned = TunedThresholdClassifierCV(clf, scoring="balanced_accuracy", cv=2)
    tuned.fit(X[TRAIN], y[TRAIN])
    assert 0 < tuned.best_threshold_ < 1
    assert tuned.best_score_ > 0.6
    before = recall_score(y[TEST], clf.fit(X[TRAIN], y[TRAIN]).predict(X[TEST]))
    assert recall_score(y[TEST], tuned.predict(X[TEST])) > before
    assert tuned.predict(X[TEST].select("S1")).shape == (80,)


# -- inspection --------------------------------------------------------------------


def test_permutation_importance_finds_the_modality_that_answers(data):
    X, y = data
    flat = pd.DataFrame(np.asarray(X), columns=[f"c{i}" for i in range(78)])
    clf = small(modalities=X.layout, predict_modality="terrain", max_epochs=10)
    clf.fit(flat[TRAIN], y[TRAIN])
    importance = permutation_importance(
        clf, flat[TEST], y[TEST], n_repeats=1, random_state=0
    ).importances_mean
    assert importance.shape == (78,)
    assert_array_equal(importance[:72], 0)  # S1 and S2 do not answer
    assert importance[72:].max() > 0.02


def test_permutation_importance_of_a_fit_on_named_modalities(data):
    X, y = data
    clf = small(predict_modality="terrain", max_epochs=10).fit(X[TRAIN], y[TRAIN])
    importance = permutation_importance(
        clf, X[TEST], y[TEST], n_repeats=1, random_state=0
    ).importances_mean
    assert importance.shape == (78,)
    assert_array_equal(importance[:72], 0)  # S1 and S2 do not answer
    assert importance[72:].max() > 0.02


# -- parameters --------------------------------------------------------------------

OTHER_VALUES = {
    "encoder": {"S1": "gru", "S2": "mlp"},
    "encoder_params": {"S1": {"n_layers": 2}},
    "embedding_dim": 8,
    "dropout": 0.5,
    "auxiliary_weight": 0.3,
    "contrastive_weight": 0.3,
    "discriminative_weight": 0.3,
    "distillation_weight": 0.3,
    "unlabeled_weight": 0.3,
    "teacher": None,
    "temperature": 0.3,
    "extra_terms": [],
    "modalities": {"S1": slice(0, 3), "S2": ["a"]},
    "times": {"S1": "dates"},
    "share_encoder": False,
    "predict_modality": "S1",
    "fusion": "teacher",
    "standardize": False,
    "missing_value": {"S1": -1.0},
    "drop_steps": 0.3,
    "class_weight": {0: 2.0, 1: 1.0},
    "max_epochs": 7,
    "max_steps": 7,
    "batch_size": 7,
    "unlabeled_batch_size": 7,
    "lr": 0.7,
    "weight_decay": 0.7,
    "optimizer": "sgd",
    "lr_schedule": abs,
    "weight_averaging": 0.3,
    "unlabeled": -1,
    "cv": 3,
    "n_jobs": 2,
    "callbacks": [],
    "device": "cpu",
    "precision": "bf16",
    "warm_start": True,
    "random_state": 7,
    "verbose": 2,
}


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_every_parameter_is_set_and_cloned(estimator):
    default = estimator()
    values = {name: OTHER_VALUES[name] for name in default.get_params()}
    assert ("class_weight" in values) == (estimator is CoLearnClassifier)
    changed = estimator().set_params(**values)
    for name, value in values.items():
        assert default.get_params()[name] != value
        assert changed.get_params()[name] is value  # stored as it is given
    again = clone(changed)
    assert again.get_params() == changed.get_params()
    assert estimator(**values).get_params() == changed.get_params()
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rate'"):
        changed.set_params(learning_rate=1)


def test_clone_is_not_fitted(data):
    X, y = data
    clf = small(max_epochs=1).fit(X, y)
    again = clone(clf)
    assert not hasattr(again, "net_")
    assert_array_equal(again.fit(X, y).predict_proba(X), clf.predict_proba(X))


def test_kind_of_estimator():
    assert is_classifier(CoLearnClassifier())
    assert is_regressor(CoLearnRegressor())


def test_representations(data):
    X, y = data
    clf = small(max_epochs=1)
    assert repr(clf).startswith("CoLearnClassifier(batch_size=60, cv=None,")
    for model in (clf, make_pipeline(PerModality(StandardScaler()), clf)):
        for fitted in (False, True):
            if fitted:
                model.fit(X, y)
            html = model._repr_html_()
            assert "CoLearnClassifier" in html
            assert "embedding_dim" in html


# -- metadata routing --------------------------------------------------------------


def half_weights(y):
    """Weights under which the first class teaches nothing."""
    return np.where(y == 0, 1e-6, 1.0)


def test_sample_weight_is_routed_through_cross_validate(data):
    X, y = data
    weight = half_weights(y)
    cv = StratifiedKFold(2)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = small().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        result = cross_validate(
            clf,
            X,
            y,
            cv=cv,
            params={"sample_weight": weight},
            return_estimator=True,
        )
    for fold, (train, test) in enumerate(cv.split(X, y)):
        by_hand = small().fit(X[train], y[train], sample_weight=weight[train])
        expected = by_hand.score(X[test], y[test], sample_weight=weight[test])
        assert result["test_score"][fold] == pytest.approx(expected)
        predicted = result["estimator"][fold].predict(X[test])
        assert np.mean(predicted == 0) < 0.05
    unweighted = cross_val_predict(small(), X, y, cv=cv)
    assert np.mean(unweighted == 0) > 0.2


def test_sample_weight_is_routed_through_a_pipeline(data):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        clf = small().set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(PerModality(scaler), clf)
        pipeline.fit(X, y, sample_weight=half_weights(y))
        predicted = pipeline.predict(X)
    assert np.mean(predicted == 0) < 0.05


def test_sample_weight_through_a_pipeline_without_routing(data):
    X, y = data
    pipeline = make_pipeline(PerModality(StandardScaler()), small())
    pipeline.fit(X, y, colearnclassifier__sample_weight=half_weights(y))
    assert np.mean(pipeline.predict(X) == 0) < 0.05


def test_modality_is_routed_to_predict(data):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        clf = small(max_epochs=2).set_predict_request(modality=True)
        pipeline = make_pipeline(PerModality(StandardScaler()), clf).fit(X, y)
        predicted = pipeline.predict(X, modality="S1")
    assert_array_equal(predicted, pipeline.predict(X.select("S1")))


def test_folds_hold_the_rows_they_should(data):
    """What a fold's estimator saw is what plain arrays would have given it."""
    X, y = data
    flat = np.asarray(X)
    cv = KFold(2, shuffle=True, random_state=0)
    named = cross_val_score(small(max_epochs=3), X, y, cv=cv)
    plain = cross_val_score(small(max_epochs=3, modalities=X.layout), flat, y, cv=cv)
    assert_allclose(named, plain, atol=0.011)  # up to one row by rounding
