"""Rows without a label: what they teach, and what they must not change."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    KFold,
    StratifiedKFold,
    cross_validate,
)
from tools import small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    evaluate_modalities,
    modality_scorers,
    partner_gain,
)
from sklearn_colearn.batches import BatchIterator, TensorRows
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.losses import CoLearnLoss
from sklearn_colearn.network import CoLearnNetwork
from sklearn_colearn.targets import labelled_part, labelled_rows

#: Every third row has a label.
LABELLED = np.arange(90) % 3 == 0


def some(y, value=np.nan):
    """Return a target with a label in every third row."""
    hidden = y.astype(float) if isinstance(value, float) else y.copy()
    hidden[~LABELLED] = value
    return hidden


# -- which rows have a label -------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "unlabeled", "expected"),
    [
        ([1, 0, 2], None, "111"),
        ([1.0, np.nan, 2.0], None, "101"),
        ([1, None, 2], None, "101"),
        (("a", None, float("nan")), None, "100"),
        (["a", "", "b"], "", "101"),
        ([1, -1, None], -1, "100"),
        ([1, -1, 0], None, "111"),
        (pd.Series([1, pd.NA, -1], dtype="Int64"), -1, "100"),
        (pd.Series(["a", None, "b"], dtype="category"), "b", "100"),
        ([[1, 0], [np.nan, np.nan], [0, 0]], None, "101"),
        (np.array([[1, 0], [-1, -1], [0, 0]]), -1, "101"),
    ],
    ids=str,
)
def test_labelled_rows(y, unlabeled, expected):
    assert_array_equal(labelled_rows(y, unlabeled), [c == "1" for c in expected])


def test_labelled_part_infers_its_own_dtype():
    mask = np.array([True, False, True])
    part = partial(labelled_part, rows=mask)
    assert part([3, None, 4]).dtype.kind == "i"
    assert part(np.array(["a", None, "b"], dtype=object)).tolist() == ["a", "b"]
    assert part(pd.Series([1, pd.NA, 0], dtype="Int64")).tolist() == [1, 0]
    assert part(np.array([[1, 0], [np.nan] * 2, [0, 1]])).tolist() == [[1, 0], [0, 1]]
    y = pd.Series([1, 2])
    assert labelled_part(y, np.ones(2, dtype=bool)) is y


FORMS = {
    "NaN": lambda y: (some(y), None),
    "None": lambda y: (some(y.astype(object), None), None),
    "list with None": lambda y: (some(y.astype(object), None).tolist(), None),
    "-1": lambda y: (some(y, -1), -1),
    "Int64 with NA": lambda y: (pd.Series(some(y), dtype="Int64"), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_all_markers_of_unlabelled_rows_agree(sensors, form):
    X, y = sensors
    hidden, unlabeled = FORMS[form](y)
    clf = small(unlabeled=unlabeled).fit(X, hidden)
    assert clf.classes_.tolist() == [0, 1, 2]
    expected = small().fit(X, some(y)).predict_proba(X)
    assert_array_equal(clf.predict_proba(X), expected)


def test_string_labels_with_a_marker_for_unlabelled_rows(sensors):
    X, y = sensors
    labels = np.array(["wheat", "maize", "grass"])[y]
    clf = small(unlabeled="?").fit(X, np.where(LABELLED, labels, "?"))
    assert clf.classes_.tolist() == ["grass", "maize", "wheat"]
    as_none = np.where(LABELLED, labels, None)
    other = small().fit(X, as_none)
    assert other.classes_.tolist() == ["grass", "maize", "wheat"]
    assert_array_equal(other.predict_proba(X), clf.predict_proba(X))


def test_minus_one_is_a_class_by_default(sensors):
    X, y = sensors
    assert small().fit(X, y - 1).classes_.tolist() == [-1, 0, 1]
    assert small(unlabeled=-1).fit(X, y - 1).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("hidden", [np.nan, -1.0])
def test_multilabel(hidden):
    X, y = make_multisensor(90, task="multilabel", random_state=0)
    target = y.astype(float)
    target[~LABELLED] = hidden
    clf = small(unlabeled=None if np.isnan(hidden) else hidden).fit(X, target)
    assert clf.n_outputs_ == 3
    assert clf.predict(X).shape == (90, 3)
    garbage = np.where(LABELLED[:, None], y, 1 - y)
    weight = LABELLED.astype(float)
    assert not np.allclose(
        small().fit(X, garbage).predict_proba(X), clf.predict_proba(X), atol=1e-3
    )
    assert np.isfinite(
        small().fit(X, garbage, sample_weight=weight).predict_proba(X)
    ).all()


def test_regression_of_several_outputs(sensors_regression):
    X, y = sensors_regression
    target = np.column_stack([y, 100 * y + 7])
    target[~LABELLED] = np.nan
    reg = small(CoLearnRegressor).fit(X, target)
    assert_allclose(reg._target.mean, target[LABELLED].mean(axis=0))
    assert reg.predict(X).shape == (90, 2)
    assert np.isfinite(reg.predict(X)).all()


# -- what they change and what they do not -----------------------------------------

UNSUPERVISED = ("contrastive_weight", "discriminative_weight", "distillation_weight")


def test_classes_are_those_of_the_labelled_rows(sensors):
    X, y = sensors
    y = np.where(LABELLED, np.minimum(y, 1), 9)
    assert small(unlabeled=9).fit(X, y).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_unlabelled_rows_teach(sensors, sensors_regression, estimator):
    """Which S1 goes with which S2 matters there, if and only if a term asks for it."""
    X, y = sensors if estimator is CoLearnClassifier else sensors_regression
    S1 = X["S1"].copy()
    S1[~LABELLED] = S1[~LABELLED][::-1]  # paired otherwise; no statistics change
    other = ModalityDict(X, S1=S1)

    def difference(term):
        weights = {**dict.fromkeys(UNSUPERVISED, 0), term: 1.0}
        settings = {"batch_size": 90, "dropout": 0, "optimizer": "sgd", "max_epochs": 9}
        clf = small(estimator, **weights, **settings)
        fits = [clf.fit(data, some(y)).transform(X) for data in (X, other)]
        return np.abs(fits[0] - fits[1]).max()

    assert difference("auxiliary_weight") < 1e-4
    assert difference("contrastive_weight") > 1e-3
    assert difference("distillation_weight") > 1e-3


def test_without_unsupervised_terms_they_teach_nothing(sensors):
    """Nothing but the statistics of batch normalisation and the scalers sees them."""
    X, y = sensors
    weights = dict.fromkeys(UNSUPERVISED, 0)
    clf = small(**weights, max_epochs=1, batch_size=90)
    clf.fit(X, some(y))
    assert set(clf.history_) == {
        "epoch",
        "lr",
        "dur",
        "train_loss",
        "train_main",
        "train_auxiliary",
    }


def test_targets_of_unlabelled_rows_are_never_read(sensors_regression):
    """Not even where it would be beyond what a float32 holds, scaled."""
    X, y = sensors_regression
    small_values = 1e-30 * y
    target = some(small_values + 1e20)
    reg = small(CoLearnRegressor).fit(X, target)
    assert np.isfinite(reg.history_.to_numpy()).all()
    assert np.isfinite(reg.predict(X)).all()


def test_scalers_use_all_rows_and_the_target_scaler_labelled_ones(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor).fit(X, some(y))
    assert_allclose(
        reg._sensors["S1"].scaler.shift,
        X["S1"].mean(axis=(0, 1), dtype=float),
        rtol=1e-4,
    )
    assert_allclose(reg._target.mean, y[LABELLED].mean())


def test_weights_are_relative_to_labelled_rows(sensors):
    """In proportion to those, an unlabelled row has what the user gave it."""
    X, y = sensors
    labelled = LABELLED.copy()
    weight = np.where(labelled, 4.0, 2.0)
    codes = np.where(labelled, y, 0)
    clf = small(class_weight={0: 5, 1: 1, 2: 1}).fit(X, some(y))
    found = clf._weigh(clf._target, codes, labelled, weight)
    assert_allclose(found[~labelled], 0.5)
    assert_allclose(found[labelled].mean(), 1)
    assert_allclose(found[labelled & (y == 0)] / found[labelled & (y == 1)][0], 5)
    plain = clf.set_params(class_weight=None)._weigh(
        clf._target, codes, labelled, weight
    )
    assert_allclose(plain, np.where(labelled, 1, 0.5))


def test_class_weights_are_of_labelled_rows(sensors):
    X, y = sensors
    hidden = some(y)
    hidden[:60][y[:60] == 2] = np.nan
    clf = small(class_weight="balanced").fit(X, hidden)
    labelled = ~np.isnan(hidden)
    codes = np.where(labelled, y, 0)
    weight = clf._weigh(clf._target, codes, labelled, None)
    totals = [weight[labelled & (y == c)].sum() for c in range(3)]
    assert_allclose(totals, totals[0])
    assert_allclose(weight[~labelled], 1)


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_weight_zero_is_absence_in_supervised_terms(
    sensors, sensors_regression, estimator
):
    X, y = sensors if estimator is CoLearnClassifier else sensors_regression
    target = some(y)
    absent = np.arange(90) % 9 == 0  # a third of the labelled rows
    weight = np.where(absent, 0.0, 1.0)
    wrong = np.where(absent, y[::-1], target)
    if estimator is CoLearnRegressor:
        wrong = np.where(absent, 1e4, target)
    answers = [
        small(estimator).fit(X, one, sample_weight=weight).transform(X)
        for one in (target, wrong)
    ]
    assert_allclose(answers[0], answers[1], atol=1e-5)


def test_weight_zero_of_an_unlabelled_row_is_no_distillation_there(sensors):
    X, y = sensors
    weights = dict.fromkeys(UNSUPERVISED[:2], 0)
    clf = small(**weights, distillation_weight=1.0, batch_size=90, max_epochs=1)
    weight = LABELLED.astype(float)
    # Of one batch, so that the term is the mean over the rows that count.
    few = clf.fit(X, some(y), sample_weight=weight).history_.train_distillation[0]
    every = clf.fit(X, some(y)).history_.train_distillation[0]
    assert few != pytest.approx(every, rel=1e-5)
    assert np.isfinite([few, every]).all()


def test_terms_of_partly_labelled_rows_in_plain_loops():
    generator = torch.Generator().manual_seed(0)
    inputs = {
        "a": torch.randn(6, 5, generator=generator),
        "b": torch.randn(6, 3, generator=generator),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CoLearnNetwork(
            {"a": (5,), "b": (3,)}, 3, encoder="linear", embedding_dim=8, teacher=True
        ).eval()
    output = network(inputs)
    target = torch.tensor([0, 2, 1, 0, 0, 0])
    labelled = torch.tensor([True, True, True, False, False, False])
    weight = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.0, 1.0])
    loss = CoLearnLoss("cross_entropy", distillation_weight=1.0)
    terms = loss.terms(output, target, weight, labelled)

    def cross_entropy(logits, row):
        return -logits[row].log_softmax(0)[target[row]]

    rows = [0, 1]  # labelled and of some weight
    main = sum(
        sum(weight[r] * cross_entropy(output.predictions[m], r) for r in rows) / 2
        for m in "ab"
    )
    assert_allclose(terms["main"].item(), main.item() / 2, rtol=1e-5)
    teacher = sum(weight[r] * cross_entropy(output.teacher, r) for r in rows) / 2
    assert_allclose(terms["teacher"].item(), teacher.item(), rtol=1e-5)
    taught = [0, 1, 3, 5]  # of some weight
    soft = (output.teacher / 2).softmax(1)
    distillation = sum(
        sum(
            -weight[r] * (soft[r] * (output.predictions[m] / 2)[r].log_softmax(0)).sum()
            for r in taught
        )
        / 4
        for m in "ab"
    )
    assert_allclose(
        terms["distillation"].item(), 4 * distillation.item() / 2, rtol=1e-5
    )
    everywhere = loss.terms(output, target)
    for name in ("contrastive", "discriminative"):
        assert terms[name] == everywhere[name]
    changed = target.clone()
    changed[~labelled] = 2
    again = loss.terms(output, changed, weight, labelled)
    assert all(terms[name] == again[name] for name in terms)


def test_single_modality_is_trained_on_its_labelled_rows(sensors):
    X, y = sensors
    with pytest.warns(UserWarning, match="one modality"):
        clf = small().fit(X.select("S2"), some(y), sample_weight=LABELLED + 1.0)
    with pytest.warns(UserWarning, match="one modality"):
        alone = small().fit(X[LABELLED].select("S2"), y[LABELLED])
    assert_array_equal(clf.predict_proba(X["S2"]), alone.predict_proba(X["S2"]))


def test_times_of_each_row_and_unlabelled_rows_of_one_modality(sensors):
    X, y = sensors
    days = np.tile(np.arange(12.0), (90, 1)) + np.arange(90)[:, None] % 5
    data = {"S1": X["S1"], "days": days}
    clf = small(encoder="ltae", encoder_params=None, times={"S1": "days"})
    with pytest.warns(UserWarning, match="one modality"):
        clf.fit(data, some(y))
    assert np.isfinite(clf.predict_proba(data)).all()


# -- batches -----------------------------------------------------------------------


def iterate(n, n_labelled, batch_size):
    numbers = torch.arange(n)
    labelled = numbers < n_labelled
    rows = TensorRows(inputs={"a": numbers[:, None]}, target=numbers, labelled=labelled)
    iterator = BatchIterator(rows, batch_size, device="cpu", shuffle=True)
    batches = [target.tolist() for _, target in iterator]
    assert len(batches) == len(iterator)
    return batches


@pytest.mark.parametrize(
    ("n", "n_labelled", "batch_size"),
    [(90, 30, 32), (91, 31, 10), (90, 89, 32), (100, 7, 10), (23, 11, 4), (5, 2, 9)],
)
def test_every_batch_has_its_share_of_labelled_rows(n, n_labelled, batch_size):
    batches = iterate(n, n_labelled, batch_size)
    assert sorted(chain(*batches))[n_labelled:][-(n - n_labelled) :] == list(
        range(n_labelled, n)
    )
    shares = [sum(row < n_labelled for row in batch) for batch in batches]
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
    sizes = [len(batch) for batch in batches]
    assert max(sizes) - min(sizes) <= 1
    if n_labelled >= len(batches):
        assert sorted(chain(*batches)) == list(range(n))
        assert max(sizes) <= batch_size
    assert set(range(n_labelled)) <= set(chain(*batches))


def test_few_labelled_rows_repeat():
    batches = iterate(100, 3, 10)
    counts = np.bincount(list(chain(*batches)))
    assert counts[:3].sum() == 10
    assert counts[:3].max() - counts[:3].min() <= 1
    assert (counts[3:] == 1).all()


def test_labelled_rows_alone_are_batched_like_plain_rows(sensors):
    X, y = sensors
    n = len(y)
    rows = TensorRows(inputs={}, target=torch.arange(n))
    plain, marked = (
        BatchIterator(one, 32, "cpu", shuffle=True)
        for one in (
            rows,
            TensorRows(
                inputs={},
                target=torch.arange(n),
                labelled=torch.ones(n, dtype=torch.bool),
            ),
        )
    )
    orders = []
    for iterator in (plain, marked):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            orders.append([target.tolist() for _, target in iterator])
    assert orders[0] == orders[1]
    assert_array_equal(
        small(unlabeled=-1).fit(X, y).predict_proba(X),
        small().fit(X, y).predict_proba(X),
    )


# -- pretraining -------------------------------------------------------------------


def test_pretrain_then_fit(sensors):
    X, y = sensors
    clf = small(warm_start=True, max_epochs=4).pretrain(X)
    assert set(clf.pretrain_history_) == {
        "epoch",
        "lr",
        "dur",
        "train_loss",
        "train_contrastive",
        "train_discriminative",
    }
    assert len(clf.pretrain_history_) == 4
    losses = clf.pretrain_history_.train_loss
    assert losses.iloc[-1] < losses.iloc[0]
    with pytest.raises(NotFittedError):
        clf.predict(X)
    encoder = copy_of(clf._pretrained.nets[0], "unique_encoder")
    scaler = clf._pretrained.sensors["S1"].scaler.shift.copy()
    shifted = {m: 2 * x + 1 for m, x in X[LABELLED].items()}
    clf.set_params(max_epochs=1, lr=1e-12, weight_decay=0.0)
    clf.fit(shifted, y[LABELLED])
    assert_allclose(copy_of(clf.net_, "unique_encoder"), encoder, atol=1e-6)
    assert_array_equal(clf._sensors["S1"].scaler.shift, scaler)
    assert len(clf.history_) == clf.n_iter_ == 1
    assert len(clf.pretrain_history_) == 4
    # From here on a fit goes on as ever.
    clf.fit(X, y)
    assert clf.n_iter_ == 2


def copy_of(net, part):
    weights = getattr(net.module_.network("S1"), part).parameters()
    return torch.cat([w.detach().ravel() for w in weights]).numpy()


def test_pretraining_is_used_by_each_kind_of_estimator(sensors, sensors_regression):
    for estimator, (X, y) in (
        (CoLearnClassifier, sensors),
        (CoLearnRegressor, sensors_regression),
    ):
        cold = small(estimator).fit(X, y).transform(X)
        pretrained = small(estimator, warm_start=True).pretrain(X)
        again = pickle.loads(pickle.dumps(pretrained))
        warm = pretrained.fit(X, y).transform(X)
        assert np.abs(warm - cold).max() > 1e-3
        assert_array_equal(again.fit(X, y).transform(X), warm)
        # A clone knows nothing of it.
        assert_array_equal(clone(pretrained).fit(X, y).transform(X), cold)


def test_pretraining_is_dropped_by_a_fit_that_begins_anew(sensors):
    X, y = sensors
    clf = small(warm_start=True).pretrain(X)
    clf.set_params(warm_start=False).fit(X, y)
    assert not hasattr(clf, "pretrain_history_")
    assert_array_equal(clf.predict_proba(X), small().fit(X, y).predict_proba(X))


def test_pretraining_of_a_fitted_estimator_is_no_fit(sensors):
    X, y = sensors
    clf = small(warm_start=True).fit(X, y).pretrain(X)
    with pytest.raises(NotFittedError):
        clf.predict(X)
    assert clf.fit(X, np.array(["a", "b", "c"])[y]).classes_.tolist() == ["a", "b", "c"]


def test_pretraining_does_not_fit_another_network(sensors):
    X, y = sensors
    clf = small(warm_start=True).pretrain(X).set_params(embedding_dim=8)
    with pytest.raises(ValueError, match=r"warm_start=True.*embedding_dim"):
        clf.fit(X, y)


def test_pretraining_with_times_and_members(sensors):
    X, y = sensors
    clf = small(
        encoder={"S1": "ltae", "S2": "mlp", "terrain": "mlp"},
        encoder_params=None,
        times={"S1": np.arange(12) * 30},
        warm_start=True,
        cv=2,
    ).pretrain(X)
    assert len(clf.pretrain_history_) == clf.max_epochs
    later = clone(clf).set_params(times={"S1": np.arange(12) * 30 + 7})
    clf.set_params(times=later.times).fit(X, y)
    assert (
        clf._sensors["S1"].calendar.steps[0] == 7
    )  # days since the first of pretraining
    assert "held_out_S1" in clf.history_


# -- evaluation --------------------------------------------------------------------


def test_evaluation_scores_labelled_rows_and_trains_alone_on_them(sensors):
    X, y = sensors
    target = some(y)
    clf = small(max_epochs=1)
    report = evaluate_modalities(
        clf, X, target, cv=3, baselines={"line": LogisticRegression()}
    )
    scores = report.scores
    assert np.isfinite(scores.score).all()
    assert scores[scores.modality == "S1"].groupby("method").n_test.sum().to_dict() == {
        "alone": 30,
        "co-learned": 30,
        "line": 30,
    }
    # Stratified: each fold has its share of labelled and of unlabelled rows.
    assert set(scores.n_test) == {10}
    assert set(scores.n_train) == {20}
    minus = evaluate_modalities(
        clone(clf).set_params(unlabeled=-1), X, some(y, -1), cv=3
    ).scores
    mine = scores[scores.method != "line"]
    assert_allclose(minus.score, mine.score)


def test_evaluation_of_a_fold_in_plain_code(sensors):
    X, y = sensors
    target = some(y)
    (train, test), *_ = splits = list(KFold(3).split(y))
    scores = evaluate_modalities(small(), X, target, cv=splits).scores
    test = test[LABELLED[test]]
    clf = small().fit(X[train], target[train])
    row = scores.query("modality == 'S2' and method == 'co-learned' and fold == 0")
    expected = clf.score(X[test].select("S2"), y[test])
    assert row.score.item() == pytest.approx(expected)
    train = train[LABELLED[train]]
    with pytest.warns(UserWarning, match="one modality"):
        alone = small().fit(X[train].select("S2"), target[train])
    row = scores.query("modality == 'S2' and method == 'alone' and fold == 0")
    expected = alone.score(X[test].select("S2"), y[test])
    assert row.score.item() == pytest.approx(expected)


@pytest.mark.parametrize("cv", [2, StratifiedKFold(2)], ids=str)
@pytest.mark.slow
def test_evaluation_of_other_targets(sensors, sensors_regression, cv):
    X, y, quick = *sensors, partial(small, max_epochs=1)
    labels = np.where(LABELLED, np.array(["a", "b", "c"])[y], None)
    assert np.isfinite(partner_gain(quick(), X, labels, cv=cv).scores.score).all()
    numbers = some(y.astype(object), None)  # which by themselves are integers
    scores = [
        evaluate_modalities(quick(), X, target, cv=cv).scores.score
        for target in (numbers, some(y))
    ]
    assert_allclose(*scores)
    clf = quick().fit(X, numbers)
    scorer = modality_scorers("f1_macro", "S1")["S1"]
    assert scorer(clf, X, numbers) == scorer(clf, X, some(y))
    if isinstance(cv, StratifiedKFold):
        return
    several = np.eye(3)[y]
    several[~LABELLED] = np.nan
    scores = evaluate_modalities(quick(), X, several, cv=cv).scores
    assert set(scores.n_test) == {15}
    X, y = sensors_regression
    scores = evaluate_modalities(quick(CoLearnRegressor), X, some(y), cv=cv).scores
    assert np.isfinite(scores.score).all()
    assert set(scores.n_test) == {15}


def test_evaluation_needs_labelled_rows_in_every_fold(sensors):
    X, y = sensors
    target = y.astype(float)
    target[:45] = np.nan
    with pytest.raises(ValueError, match=r"fold 0 .*no labelled test row .*'S1'"):
        evaluate_modalities(small(), X, target, cv=KFold(2))


def test_estimators_of_an_evaluation_agree_on_what_is_unlabelled(sensors):
    X, y = sensors
    pair = {"a": small(), "b": small(unlabeled=0)}
    with pytest.raises(ValueError, match=r"same unlabeled=.*'b'.*'a'"):
        evaluate_modalities(pair, X, y)


def test_score_is_of_labelled_rows(sensors, sensors_regression):
    X, y = sensors
    weight = 1.0 + np.arange(90) % 5
    for target, unlabeled in ((some(y), None), (some(y, -1), -1)):
        clf = small(unlabeled=unlabeled).fit(X, target)
        expected = clf.score(X[LABELLED], y[LABELLED])
        assert clf.score(X, target) == pytest.approx(expected)
        expected = clf.score(X[LABELLED], y[LABELLED], weight[LABELLED])
        assert clf.score(X, target, weight) == pytest.approx(expected)
        assert clf.score(dict(X), y) == pytest.approx(np.mean(clf.predict(X) == y))
    X, y = sensors_regression
    reg = small(CoLearnRegressor).fit(X, some(y))
    expected = reg.score(X[LABELLED], y[LABELLED])
    assert reg.score(X, some(y)) == pytest.approx(expected, rel=1e-5)
    none = [(clf, np.full(90, None)), (clf, [np.nan] * 90), (reg, np.full(90, np.nan))]
    for fitted, nothing in none:
        with pytest.raises(ValueError, match="no labelled row"):
            fitted.score(X, nothing)


def test_scorers_leave_out_unlabelled_rows(sensors):
    X, y = sensors
    clf = small(unlabeled=-1)
    scorers = modality_scorers(make_scorer(accuracy_score), ["S1", "S2"])
    result = cross_validate(clf, X, some(y, -1), cv=2, scoring=scorers)
    assert np.isfinite(result["test_S1"]).all()
    clf.fit(X, some(y, -1))
    expected = clf.score(X[LABELLED].select("S1"), y[LABELLED])
    assert scorers["S1"](clf, X, some(y, -1)) == pytest.approx(expected)
    assert scorers["S1"](clf, X, some(y)) == pytest.approx(expected)
    # -1 is a class to an estimator that does not say otherwise.
    plain = small().fit(X, some(y, -1))
    assert scorers["S1"](plain, X, some(y, -1)) == plain.score(
        X.select("S1"), some(y, -1)
    )
