"""One small network for a sensor: what it answers, keeps and refuses."""

import re

import numpy as np
import pytest

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    load_model,
    save_model,
)
from sklearn_colearn import distillation as module
from sklearn_colearn.datasets import make_multisensor


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(module, "N_STEPS", 20)
    monkeypatch.setattr(module, "N_ROWS", 1_000)


@pytest.fixture
def enough_steps(monkeypatch):
    """Steps after which the small network has learnt."""
    monkeypatch.setattr(module, "N_STEPS", 300)
    monkeypatch.setattr(module, "N_ROWS", 3_000)


@pytest.fixture(scope="module")
def data():
    return make_multisensor(400, random_state=0)


@pytest.fixture(scope="module")
def clf(data):
    X, y = data
    X = X | {"S1": X["S1"].copy()}
    X["S1"][:9, 3] = np.nan
    return CoLearnClassifier(encoder="mlp", cv=2, max_epochs=8, random_state=0).fit(
        X, y
    )


@pytest.mark.usefixtures("enough_steps")
@pytest.mark.parametrize("sensor", ["S1", "terrain"])
@pytest.mark.parametrize("own", [True, False])
def test_student_predicts_as_the_members(clf, data, sensor, own):
    X, _ = data
    small = clf.export(sensor, distill=True if own else X[:200])
    expected = clf.export(sensor).predict_proba(X[sensor][200:])
    found = small.predict_proba(X[sensor][200:])
    assert np.abs(found - expected).mean() < 0.03
    prior = expected.mean(axis=0)
    assert np.abs(found - expected).mean() < 0.3 * np.abs(prior - expected).mean()
    assert len(small.networks_) == 1
    assert list(small.classes_) == list(clf.classes_)


def test_missing_values_of_kept_rows_are_restored(clf):
    rows = module.kept_rows(clf._sensors["S1"])
    gaps = np.isnan(rows)
    assert gaps.sum() == gaps[:, 3].sum() == 9 * rows.shape[2]


def test_random_state_of_the_estimator_seeds_the_student(clf, data):
    X, _ = data
    one, other = (clf.export("S2", distill=X[:50]) for _ in range(2))
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))


@pytest.mark.usefixtures("enough_steps")
def test_regression_is_in_the_unit_of_the_target(data):
    X, y = data
    y = np.stack([1000 + 50.0 * y, -3.0 * y], axis=1)
    reg = CoLearnRegressor(encoder="mlp", cv=2, max_epochs=10, random_state=0)
    reg.fit(X, y)
    found = reg.export("S2", distill=X).predict(X)
    expected = reg.export("S2").predict(X)
    assert found.shape == expected.shape
    error = np.abs(found - expected).mean(axis=0)
    assert (error < 0.2 * expected.std(axis=0)).all()


@pytest.mark.usefixtures("enough_steps")
def test_several_labels(data):
    X, y = data
    labels = np.stack([y == 0, y < 2], axis=1).astype(int)
    clf = CoLearnClassifier(encoder="mlp", cv=2, max_epochs=5, random_state=0)
    clf.fit(X, labels)
    found = clf.export("S2", distill=True).predict_proba(X)
    assert np.abs(found - clf.export("S2").predict_proba(X)).mean() < 0.03


def test_saved_student_keeps_its_applicability(clf, data, tmp_path):
    X, _ = data
    small = clf.export("S1", distill=X[:50])
    save_model(small, tmp_path / "small.colearn")
    read = load_model(tmp_path / "small.colearn")
    np.testing.assert_allclose(read.predict_proba(X), small.predict_proba(X))
    assert np.array_equal(read.applicability(X), clf.applicability(X, "S1"))


def test_student_has_no_intervals(data):
    X, y = data
    reg = CoLearnRegressor(encoder="mlp", cv=2, max_epochs=1, random_state=0)
    small = reg.fit(X, y).export("S2", distill=X[:50])
    says = (
        "Intervals and sets need held-out rows. Models have none with cv=None or after "
        "export(distill=...): fit with folds, such as cv=5, and export without "
        "distill=."
    )
    with pytest.raises(ValueError, match=re.escape(says)):
        small.predict_interval(X)


@pytest.mark.parametrize(
    ("shape", "cv", "says"),
    [
        (
            (3,),
            None,
            "distill=True has no training rows of 'b': the model stores no training "
            "rows if fit held none out. Pass rows of this modality as distill= "
            "instead; they need no labels.",
        ),
        (
            (4, 4, 2),
            2,
            "distill=True has no training rows of 'b': the model stores only summaries "
            "of training images. Pass rows of this modality as distill= instead; they "
            "need no labels.",
        ),
    ],
)
def test_distilling_without_training_rows_is_refused(shape, cv, says):
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(40, 2)), "b": rng.normal(size=(40, *shape))}
    clf = CoLearnClassifier(encoder="mlp", cv=cv, max_epochs=1, random_state=0)
    clf.fit(X, np.arange(40) % 2)
    with pytest.raises(ValueError, match=re.escape(says)):
        clf.export("b", distill=True)
    small = clf.export("b", distill=X["b"])
    assert small.predict(X["b"]).shape == (40,)


def test_rows_without_the_sensor_teach_nothing(clf, data):
    X, _ = data
    gappy = X | {"S1": X["S1"].copy()}
    gappy["S1"][50:] = np.nan
    found = clf.export("S1", distill=gappy).predict_proba(X)
    assert np.array_equal(found, clf.export("S1", distill=X[:50]).predict_proba(X))
    says = "'S1' is missing in all rows of distill=. Pass rows that have it."
    with pytest.raises(ValueError, match=re.escape(says)):
        clf.export("S1", distill=gappy[50:])


def test_times_of_each_row_are_refused():
    rng = np.random.default_rng(0)
    days = np.datetime64("2020-01-01") + np.sort(rng.integers(0, 300, (40, 5)))
    X = {
        "a": rng.normal(size=(40, 5, 2)),
        "b": rng.normal(size=(40, 2)),
        "days": days,
    }
    clf = CoLearnClassifier(times={"a": "days"}, cv=2, max_epochs=1, random_state=0)
    clf.fit(X, np.arange(40) % 2)
    says = (
        "distill= cannot be used for 'a': its times vary by row, and the small network "
        "takes no times. Export it without distill=."
    )
    with pytest.raises(ValueError, match=re.escape(says)):
        clf.export("a", distill=True)
