"""Missing sensors and missing steps: nothing that is not there changes an answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from tools import refused, small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    load_model,
    save_model,
)
from sklearn_colearn.batches import StepDropout, _drop_at_random
from sklearn_colearn.datasets import make_multisensor


@pytest.fixture(scope="module")
def gappy():
    """Rows that lack sensors, and sensors that lack steps: 120 rows."""
    return make_multisensor(
        120, missing_rows={"S1": 0.3, "S2": 0.3}, missing_steps=0.2, random_state=0
    )


def present(values):
    return ~np.isnan(values).all(axis=tuple(range(1, values.ndim)))


# -- what must not change an answer ------------------------------------------------


@pytest.mark.parametrize(("encoder", "fusion"), [("mlp", "teacher"), ("ltae", "mean")])
@pytest.mark.slow
def test_what_stands_for_missing_changes_nothing(gappy, encoder, fusion):
    """A lacking sensor or step is lacking, by NaN or by whatever number."""
    X, y = gappy
    coded = {m: np.where(np.isnan(x), -7.5e4, x) for m, x in X.items()}
    settings = {
        "encoder": {"S1": encoder, "S2": encoder, "terrain": "mlp"},
        "encoder_params": None,
        "fusion": fusion,
        "max_epochs": 1,
    }
    clf = small(**settings).fit(X, y)
    other = small(**settings, missing_value=-7.5e4).fit(coded, y)
    assert_array_equal(other.predict_proba(coded), clf.predict_proba(X))
    # An absent sensor is the same as one that is not passed at all.
    lacking = np.flatnonzero(~present(X["S1"]))
    assert_allclose(
        clf.predict_proba(X[lacking]),
        clf.predict_proba(X[lacking].select(["S2", "terrain"])),
        atol=1e-6,
    )


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_order_and_company_of_rows_change_nothing(gappy, estimator):
    """Rows that lack one sensor or another, and complete ones, each answer alone."""
    X, y = gappy
    clf = small(estimator).fit(X, y.astype(float))
    method = "predict_proba" if estimator is CoLearnClassifier else "predict"
    answers, answered = getattr(clf, method)(X, return_modalities=True)
    assert 0 < answered.all(axis=1).mean() < 1
    order = np.random.default_rng(0).permutation(120)
    assert_allclose(getattr(clf, method)(X[order]), answers[order], atol=1e-5)
    for start in range(0, 120, 7):
        some = getattr(clf, method)(X[start : start + 7])
        assert_allclose(some, answers[start : start + 7], atol=1e-5)


@pytest.mark.slow
def test_a_modality_that_few_rows_have_still_learns():
    """Five in a hundred: better than alone on those, and no harm to the others."""
    X, y = make_multisensor(900, specific_signal=0.3, noise=0.3, random_state=0)
    few = np.random.default_rng(0).permutation(600)[:30]
    S1 = np.full_like(X["S1"], np.nan)
    S1[few] = X["S1"][few]
    model = small(max_epochs=15)
    clf = clone(model).fit(ModalityDict(X, S1=S1)[:600], y[:600])
    with pytest.warns(UserWarning, match="one modality"):
        alone = clone(model).fit(X[few].select("S1"), y[few])
    test = X[600:].select("S1"), y[600:]
    assert clf.score(*test) > alone.score(*test) + 0.02
    assert clf.score(X[600:].select("S2"), y[600:]) > 0.75


@pytest.mark.slow
def test_archives_of_different_plots_train_and_answer():
    """From align to an answer for each plot, by whatever saw it."""
    X, y = make_multisensor(300, specific_signal=0.3, noise=0.3, random_state=0)
    names = np.array([f"plot {i}" for i in range(300)])
    rng = np.random.default_rng(0)
    archives = {}
    for m, values in X.items():
        rows = rng.permutation(300)[:200]
        archives[m] = names[rows], values[rows]
    aligned = ModalityDict.align(archives)
    rows = np.array([int(name.removeprefix("plot ")) for name in aligned.ids])
    clf = small(max_epochs=15).fit(aligned[:200], y[rows[:200]])
    labels, answered = clf.predict(aligned[200:], return_modalities=True)
    assert np.mean(labels == y[rows[200:]]) > 0.6
    for m in X:
        assert_array_equal(answered[m], np.isin(aligned.ids[200:], archives[m][0]))


# -- gaps that training makes ------------------------------------------------------


def seeded_rows(function, *args):
    with torch.random.fork_rng():
        torch.manual_seed(1)  # other numbers than those of the data
        return function(*args)


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.99])
def test_one_is_always_left(probability):
    there = torch.rand(5000, 6, generator=torch.Generator().manual_seed(0)) < 0.7
    there[:10] = False
    left = seeded_rows(_drop_at_random, there, probability)
    assert not (left & ~there).any()
    assert (left.any(1) == there.any(1)).all()
    if probability < 0.9:
        share = (left.sum() / there.sum()).item()
        assert share == pytest.approx(1 - probability, abs=0.03)


def batch(**more):
    x = torch.randn(400, 5, 3, generator=torch.Generator().manual_seed(0)) + 10
    return {"inputs": {"a": x, "b": torch.ones(400, 2)}, **more}


def test_steps_are_left_out():
    blank = {"a": torch.tensor([0.0, 1.0, 2.0])}
    X = batch()
    X["inputs"]["a"][:, 4] = blank["a"]  # not observed
    made = seeded_rows(StepDropout(0.4, blank, ()).drop, X)
    a = made["inputs"]["a"]
    gone = (a == blank["a"]).all(2)
    assert gone[:, 4].all()
    assert gone[:, :4].float().mean().item() == pytest.approx(0.4, abs=0.05)
    assert not gone[:, :4].all(1).any()
    assert_array_equal(a[~gone], X["inputs"]["a"][~gone])
    assert_array_equal(made["inputs"]["b"], X["inputs"]["b"])
    assert made["steps"] == {}
    assert "present" not in made


def test_steps_that_are_left_out_are_masked():
    blank = {"a": torch.zeros(3)}
    times = torch.arange(5.0).expand(400, 5)
    observed = torch.ones(400, 5, dtype=torch.bool)
    observed[:, 0] = False
    for own in ({"times": times}, {"times": times, "mask": observed}):
        X = batch(steps={"a": own})
        made = seeded_rows(StepDropout(0.7, blank, ("a",)).drop, X)
        mask = made["steps"]["a"]["mask"]
        assert_array_equal(made["steps"]["a"]["times"], times)
        assert_array_equal(mask, (made["inputs"]["a"] != 0).any(2))
        assert mask.any(1).all()
        assert mask[:, 0].any() == ("mask" not in own)
        assert own.get("mask") is None or own["mask"] is observed  # left as it was


def test_a_constant_series_keeps_its_mask():
    """Its steps look like gaps, but are none."""
    X = {"inputs": {"a": torch.zeros(50, 4, 1), "b": torch.ones(50, 2)}}
    made = seeded_rows(StepDropout(0.9, {"a": torch.zeros(1)}, ("a",)).drop, X)
    assert made["steps"]["a"]["mask"].any(1).all()


@pytest.mark.parametrize("encoder", ["tempcnn", "ltae"])  # without and with a mask
def test_training_with_gaps(gappy, encoder):
    X, y = gappy
    clf = small(
        encoder={"S1": encoder, "S2": "linear", "terrain": "linear"},
        encoder_params=None,
        drop_steps=0.5,
        max_epochs=1,
    ).fit(X, y)
    assert clf.net_.step_dropout is None  # nothing of it is left for prediction
    assert np.isfinite(clf.history_.to_numpy()).all()
    assert_array_equal(clf.predict_proba(X), clf.predict_proba(X))


def test_gaps_change_training_and_nothing_else(sensors):
    X, y = sensors
    plain = small().fit(X, y).predict_proba(X)
    clf = small(drop_steps=0.3).fit(X, y)
    assert np.abs(clf.predict_proba(X) - plain).max() > 1e-3
    assert_array_equal(small(drop_steps=0.3).fit(X, y).transform(X), clf.transform(X))


@pytest.mark.slow
def test_gaps_in_training_help_with_gaps_at_prediction():
    X, y = make_multisensor(
        700, task="regression", specific_signal=0.3, noise=0.3, random_state=0
    )
    S2 = X["S2"][400:].copy()
    gone = np.random.default_rng(0).random(S2.shape[:2]) < 0.7
    gone[gone.all(1), 0] = False
    S2[gone] = np.nan
    scores = [
        small(CoLearnRegressor, drop_steps=share, max_epochs=15, batch_size=100)
        .fit(X[:400], y[:400])
        .score({"S2": S2}, y[400:])
        for share in (0.0, 0.5)
    ]
    assert scores[1] > scores[0] + 0.03


def test_nothing_answers_before_fit(sensors):
    with pytest.raises(NotFittedError):
        small().predict(sensors[0], return_modalities=True)


def test_several_sentinels_are_as_nan(tmp_path):
    X, y = make_multisensor(60, random_state=0)
    X = X.select(["S1", "terrain"])
    rng = np.random.default_rng(0)
    gaps = rng.random(X["S1"].shape) < 0.2
    nan = X | {"S1": np.where(gaps, np.nan, X["S1"])}
    marks = rng.choice(np.array([-9999, 65535], X["S1"].dtype), size=gaps.shape)
    marked = X | {"S1": np.where(gaps, marks, X["S1"])}
    settings = {"encoder": "mlp", "cv": 2, "max_epochs": 2, "random_state": 0}
    expected = CoLearnClassifier(**settings).fit(nan, y).predict_proba(nan)
    for value in ([-9999, 65535], {"S1": (-9999, 65535)}):
        clf = CoLearnClassifier(missing_value=value, **settings).fit(marked, y)
        assert_array_equal(clf.predict_proba(marked), expected)
    radar = clf.export("S1")
    answers = radar.predict_proba(marked["S1"])
    assert_array_equal(answers, radar.predict_proba(nan["S1"]))
    save_model(radar, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert_array_equal(loaded.predict_proba(marked["S1"]), answers)
    says = (
        "missing_value= of modality 'S1' must be a number or a list of numbers; got "
        "'none'."
    )
    other = CoLearnClassifier(missing_value={"S1": "none"}, **settings)
    refused(other.fit, marked, y, says=says, error=TypeError)
