"""Members: folds, best epochs, calibration, held-out tables, intervals and sets."""

import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    r2_score,
)
from sklearn.model_selection import (
    GroupKFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedKFold,
    cross_validate,
)
from skorch.callbacks import Callback
from tools import refused, small

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    load_model,
    save_model,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.members import HeldOut
from sklearn_colearn.sensor import Target

KINDS = [CoLearnClassifier, CoLearnRegressor]
FILES = Path(__file__).parent / "data"
members = partial(small, cv=3, max_epochs=4, batch_size=80)


@pytest.fixture(scope="module")
def data():
    tasks = {CoLearnClassifier: "classification", CoLearnRegressor: "regression"}
    return {
        kind: make_multisensor(120, task=task, random_state=0)
        for kind, task in tasks.items()
    }


@pytest.fixture(scope="module")
def fitted(data):
    return {kind: members(kind).fit(*data[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def gaps(data):
    """A third of the rows lacks S1, another S2; terrain is everywhere."""
    X, y = data[CoLearnClassifier]
    X = {m: x.copy() for m, x in X.items()}
    X["S1"][::3], X["S2"][1::3] = np.nan, np.nan
    X = ModalityDict(X)
    return X, y, members().fit(X, y)


def answers(model, X, **kwargs):
    classifies = hasattr(model, "classes_")
    return (model.predict_proba if classifies else model.predict)(X, **kwargs)


def by_file(model, tmp_path):
    save_model(model, tmp_path / "model.safetensors")
    return load_model(tmp_path / "model.safetensors")


def fold_rows(model):
    held_out = model._members.held_out
    return [held_out.rows[held_out.folds == k] for k in np.unique(held_out.folds)]


# -- folds -------------------------------------------------------------------------


class Seen(Callback):
    """Records the rows that each member is trained on, by a band that counts them."""

    rows: list[set[int]]

    def on_train_begin(self, net, **kwargs):
        Seen.rows.append(set())

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        Seen.rows[-1] |= set(batch[0]["inputs"]["number"][:, 0].int().tolist())


def trained_rows(X, y, groups=None, estimator=CoLearnClassifier, **changes):
    Seen.rows = []
    X = ModalityDict(S1=X["S1"], number=np.arange(float(len(y)))[:, None])
    settings = {"callbacks": [Seen()], "standardize": False, "max_epochs": 1}
    model = members(estimator, **settings, **changes).fit(X, y, groups=groups)
    return model, Seen.rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_is_held_out_by_one_member(data, kind):
    X, y = data[kind]
    model, seen = trained_rows(X, y, estimator=kind, cv=4)
    held_out = fold_rows(model)
    assert sorted(np.concatenate(held_out)) == list(range(120))
    for rows, training in zip(held_out, seen, strict=True):
        assert len(rows) == 30
        assert training == set(range(120)) - set(rows)
    if kind is CoLearnClassifier:
        assert all(np.ptp(np.bincount(y[rows])) <= 1 for rows in held_out)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_whole(data, kind):
    X, y = data[kind]
    groups = np.repeat(list("abcdefghijkl"), 10)
    model = members(kind, max_epochs=1)
    rows = fold_rows(clone(model).fit(X, y, groups=groups))
    assert sum(len(set(groups[held_out])) for held_out in rows) == 12
    turned = pd.Series(groups, [f"p{i}" for i in range(120)])
    named = ModalityDict.align({m: (turned.index, X[m]) for m in X})
    again = model.fit(named, y, groups=turned.iloc[::-1])
    for a, b in zip(rows, fold_rows(again), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(2),
        LeaveOneGroupOut(),
        ShuffleSplit(2, test_size=0.2, random_state=0),
        [(np.arange(60), np.arange(60, 120)), (np.arange(40, 120), np.arange(40))],
    ],
    ids=lambda cv: type(cv).__name__,
)
def test_splitters_and_pairs(data, cv):
    X, y = data[CoLearnClassifier]
    groups = np.repeat(np.arange(3), 40)
    groups = groups if "Group" in type(cv).__name__ else None
    rows = fold_rows(members(cv=cv, max_epochs=1).fit(X, y, groups=groups))
    pairs = cv if isinstance(cv, list) else cv.split(y, y, groups)
    expected = [np.sort(held_out) for _, held_out in pairs]
    assert len(rows) == len(expected)
    for own, other in zip(rows, expected, strict=True):
        assert_array_equal(own, other)


def test_rows_without_a_label_are_trained_on_and_never_held_out(data):
    X, y = data[CoLearnClassifier]
    labelled = np.arange(120) % 2 == 0
    model, seen = trained_rows(X, np.where(labelled, y, -1), unlabeled=-1)
    assert set(np.concatenate(fold_rows(model))) == set(np.flatnonzero(labelled))
    assert all(set(np.flatnonzero(~labelled)) < rows for rows in seen)
    assert (
        model.held_out_.isna().all(axis=1).to_numpy().tolist() == (~labelled).tolist()
    )


def test_every_member_sees_every_class(data):
    X, y = data[CoLearnClassifier]
    y = y.copy()
    y[5] = 7  # one row of its own class
    with pytest.warns(UserWarning, match="all rows of class 7") as caught:
        model, seen = trained_rows(X, y)
    assert len(caught) == 1
    assert all(5 in rows for rows in seen)
    assert 5 not in np.concatenate(fold_rows(model))
    assert model.classes_.tolist() == [0, 1, 2, 7]


def test_a_warning_lists_ten_classes(data):
    X, y = data[CoLearnClassifier]
    y = y.copy()
    y[:13] = np.arange(10, 23)  # thirteen classes of one row each
    with pytest.warns(UserWarning, match="and 3 more") as caught:
        trained_rows(X, y)
    names = ", ".join(f"class {number}" for number in range(10, 20))
    assert str(caught[0].message) == (
        f"Some folds would hold out all rows of {names} (and 3 more). These rows stay "
        "in training, so that every member sees them; the fit has 3 members."
    )


def test_a_class_of_one_group_stays_in_training_with_its_group(data):
    X, y = data[CoLearnClassifier]
    groups = np.arange(120) // 12
    y = np.where(groups == 4, 2, y % 2)
    with pytest.warns(UserWarning, match="all rows of class 2"):
        model, seen = trained_rows(X, y, groups)
    assert all(set(range(48, 60)) <= rows for rows in seen)
    assert not set(range(48, 60)) & set(np.concatenate(fold_rows(model)))


def test_every_member_sees_every_sensor(data):
    X, y = data[CoLearnClassifier]
    S1 = np.full_like(X["S1"], np.nan)
    S1[:2] = X["S1"][:2]
    pairs = [(np.arange(60, 120), np.arange(60)), (np.arange(60), np.arange(60, 120))]
    with pytest.warns(UserWarning, match="modality 'S1'"):
        model, seen = trained_rows({"S1": S1}, y, cv=pairs)
    assert all({0, 1} <= rows for rows in seen)
    assert model.held_out_["S1"].isna().all(axis=None)
    assert "S1" not in model.held_out_scores_.index
    assert np.isfinite(model.predict_proba({"S1": S1[:2]})).all()


def test_every_member_sees_a_positive_of_every_label(data):
    X, y = data[CoLearnClassifier]
    indicator = np.eye(3, dtype=int)[y]
    indicator[:, 2] = 0
    indicator[11, 2] = 1
    with pytest.warns(UserWarning, match="all rows of class 2"):
        _, seen = trained_rows(X, indicator)
    assert all(11 in rows for rows in seen)


def one_warning(function, *args, **kwargs):
    """Return the message of the only warning of a call, which points at this file."""
    with pytest.warns(UserWarning, match="class") as caught:
        function(*args, **kwargs)
    (warning,) = caught
    assert warning.filename == __file__
    return str(warning.message)


def labels_of_both_kinds(y):
    return {"class": y, "label": np.eye(3, dtype=int)[y]}


@pytest.mark.parametrize("kind", ["class", "label"])
def test_classes_never_held_out_are_warned_of(data, kind):
    X, y = data[CoLearnClassifier]
    rare, others = np.flatnonzero(y == 2), np.flatnonzero(y != 2)
    pairs = [(np.r_[others[k::2], rare], others[1 - k :: 2]) for k in range(2)]
    model = members(cv=pairs, max_epochs=1)
    assert one_warning(model.fit, X, labels_of_both_kinds(y)[kind]) == (
        "No member holds out a row of class 2, so held_out_scores_ and the calibration "
        "leave them out. Use StratifiedKFold or StratifiedGroupKFold, which hold out "
        "every row once and spread the classes, or merge rare classes."
    )
    pairs[0] = (pairs[0][0][:-1], np.r_[pairs[0][1], rare[-1]])  # one member does
    model.set_params(cv=pairs).fit(X, labels_of_both_kinds(y)[kind])


@pytest.mark.parametrize("groups", [None, np.arange(120) // 10])
def test_classes_unseen_with_a_sensor_are_warned_of(data, groups):
    X, y = data[CoLearnClassifier]
    X = ModalityDict({m: X[m].copy() for m in ("S1", "terrain")})
    X["S1"][np.flatnonzero(y == 2)[1:]] = np.nan
    fit = partial(members(max_epochs=1).fit, groups=groups)
    assert one_warning(fit, X, y) == (
        "Some members train on no row of class 2 with modality 'S1', because one fold "
        "holds out all of them. These members cannot learn the class from that "
        "modality; label more such rows, or merge rare classes."
    )
    X["S1"][y == 2] = np.nan  # no fold could change that
    fit(X, y)


def test_a_class_of_fewer_rows_than_members_is_held_out(data):
    X, y = data[CoLearnClassifier]
    y = np.where(y == 2, 0, y)
    y[[7, 80]] = 2
    held_out = fold_rows(members(max_epochs=1).fit(X, y))
    assert sum(2 in y[rows] for rows in held_out) == 2


def test_fewer_groups_or_rows_than_folds(data):
    X, y = data[CoLearnClassifier]
    groups = np.arange(120) % 2
    with pytest.warns(UserWarning, match=r"cv=5.*2 groups.*2 members"):
        model = members(cv=5, max_epochs=1).fit(X, y, groups=groups)
    assert len(model._members.nets) == 2
    with pytest.warns(UserWarning, match=r"3 labelled rows of the largest class"):
        members(cv=5, max_epochs=1).fit(X[:9], np.arange(9) % 3)
    says = "cv=3 ... 2 groups ... got 1 ... cv=None"
    refused(members().fit, X, y, groups=np.zeros(120), says=says)
    says = "class 0 ... cv=None"
    one_each = np.arange(120) // 60
    refused(members(cv=2).fit, X, one_each, groups=one_each, says=says)


def test_invalid_cv_and_groups_are_refused(data):
    X, y = data[CoLearnClassifier]
    every = np.arange(120)
    for cv, says in {
        "both": (
            [(every, every[:5])],
            "cv= ... training and held-out rows ... overlap",
        ),
        "beyond": ([(every[:50], [120])], "cv= ... below 120"),
        "fractions": ([(every[:50], [0.5])], "cv= ... row numbers"),
        "class": ([(every[y != 2], every[y == 1][:0])], "no rows of class 2"),
    }.values():
        refused(members(cv=cv).fit, X, y, says=says)
    refused(members().fit, X, y, groups=every[:5], says="groups= ... (5,) ... (120,)")
    missing = np.where(every == 3, np.nan, every // 10)
    refused(members().fit, X, y, groups=missing, says="groups= ... row 3")
    for name in ("teacher", "all sensors"):
        refused(members().fit, {**X, name: X["S1"]}, y, says=name)


def test_groups_with_a_splitter_that_ignores_them_warn(data):
    X, y = data[CoLearnClassifier]
    with pytest.warns(UserWarning, match="groups parameter is ignored"):
        members(cv=StratifiedKFold(2), max_epochs=1).fit(X, y, groups=np.arange(120))


def test_groups_of_any_type(data):
    X, y = data[CoLearnClassifier]
    groups = np.array([*"abc", 4, 5.5, pd.Timestamp("2021-01-01")] * 20, dtype=object)
    rows = fold_rows(members(max_epochs=1).fit(X, y, groups=groups))
    numbers = np.tile(np.arange(6), 20)
    assert sum(len(set(numbers[own])) for own in rows) == 6


def test_groups_through_metadata_routing(data):
    X, y = data[CoLearnClassifier]
    groups = np.repeat(np.arange(12), 10)
    with sklearn.config_context(enable_metadata_routing=True):
        results = cross_validate(
            members(max_epochs=1).set_fit_request(groups=True),
            *(X, y),
            cv=GroupKFold(2),
            params={"groups": groups},
            return_estimator=True,
            return_indices=True,
        )
    for model, rows in zip(
        results["estimator"], results["indices"]["train"], strict=True
    ):
        held_out = [set(groups[rows[own]]) for own in fold_rows(model)]
        assert sum(map(len, held_out)) == len(set(groups[rows]))


# -- training ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_held_out_logits_equal_predictions_of_the_member(data, fitted, kind):
    """So each sensor has the weights of its best epoch, and the teacher its own."""
    X, _ = data[kind]
    inside = fitted[kind]._members
    held_out = inside.held_out
    prepared = fitted[kind]._prepare(X, None)
    own = (held_out.folds, held_out.rows)
    for m, rows in prepared.items():
        logits = inside.sensors[m].run(rows, ()).prediction.numpy()
        assert_allclose(logits[own], held_out.logits[m], atol=1e-4)
    if inside.teachers:
        assert_allclose(
            inside._teach(prepared)[own], held_out.logits["teacher"], atol=1e-4
        )


def test_each_sensor_stops_at_its_best_epoch_and_training_soon_after():
    X, y = make_multisensor(90, random_state=0)
    y = np.random.default_rng(0).permutation(y)  # nothing to learn
    model = small(cv=2, max_epochs=100, lr_schedule="constant").fit(X, y)
    held_out = model._members.held_out
    history = model.history_
    assert history.groupby("member")["epoch"].max().max() == model.n_iter_ < 100
    for number, own in history.groupby("member"):
        columns = ["held_out_S1", "held_out_S2", "held_out_terrain", "held_out_teacher"]
        losses = own[columns].to_numpy()
        latest, before = 0, np.full(4, np.inf)
        for epoch, now in enumerate(losses, start=1):
            much_better = now < 0.999 * before
            before = np.where(much_better, now, before)
            latest = epoch if much_better.any() else latest
        assert len(own) == latest + 8
        rows = held_out.folds == number
        for name, least in zip(columns, own[columns].min(), strict=True):
            z = held_out.logits[name.removeprefix("held_out_")][rows].astype(float)
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            loss = log_loss(held_out.truth[rows], p, labels=[0, 1, 2])
            assert loss == pytest.approx(least, rel=1e-4)


@pytest.mark.slow  # two processes start
def test_members_are_the_same_in_parallel(data, fitted):
    X, y = data[CoLearnClassifier]
    parallel = members(n_jobs=2).fit(X, y)
    one = fitted[CoLearnClassifier]
    assert_allclose(parallel.predict_proba(X), one.predict_proba(X), atol=1e-5)
    assert len(parallel.history_) == len(one.history_)


def test_members_differ_and_a_seed_makes_them_again(data, fitted):
    X, y = data[CoLearnClassifier]
    one = fitted[CoLearnClassifier]
    each = one._members.answers(one._prepare(X, "S1"))
    assert each.shape == (3, 120, 3)
    assert not np.allclose(each[0], each[1], atol=1e-2)
    assert_allclose(one.predict_proba(X, "S1"), each.mean(axis=0), atol=1e-6)
    assert_array_equal(clone(one).fit(X, y).predict_proba(X), one.predict_proba(X))


def test_ctrl_c_keeps_the_members_so_far(data):
    class CtrlC(Callback):
        n = 0

        def on_epoch_begin(self, net, **kwargs):
            CtrlC.n += 1
            if CtrlC.n == 6:  # the second epoch of the second member
                raise KeyboardInterrupt

    X, y = data[CoLearnClassifier]
    with pytest.warns(ConvergenceWarning, match="interrupted after 1 of 4 epochs"):
        model = members(callbacks=[CtrlC()]).fit(X, y)
    assert model.history_.member.tolist() == [0, 0, 0, 0, 1]
    assert np.isfinite(model.predict_proba(X)).all()
    assert model.held_out_["S1"].notna().all(axis=1).sum() == 80


def test_warm_start_continues_every_member(data):
    X, y = data[CoLearnClassifier]
    model = members(warm_start=True, max_epochs=1).fit(X, y)
    first = model.predict_proba(X)
    model.fit(X, y)
    assert model.history_.groupby("member").epoch.max().tolist() == [2, 2, 2]
    assert model.n_iter_ == 2
    assert not np.allclose(model.predict_proba(X), first, atol=1e-3)
    says = "warm_start=True ... cv ... 3 ... 2"
    refused(model.set_params(cv=2).fit, X, y, says=says)


def test_every_member_starts_from_pretraining(data):
    X, y = data[CoLearnClassifier]
    model = members(warm_start=True, lr=1e-9, max_epochs=1).pretrain(X)
    before = model._pretrained.nets[0].module_.state_dict()
    model.fit(X, y)
    for net in model._members.nets:
        weights = net.module_.state_dict()
        name = "networks.0.unique_encoder.0.weight"
        name = name if name in weights else next(iter(weights))
        assert_allclose(weights[name], before[name], atol=1e-4)


def test_a_bar_counts_members(data, capfd):
    X, y = data[CoLearnClassifier]
    members(verbose=1, max_epochs=1).fit(X, y)
    shown = capfd.readouterr().err
    assert "3/3" in shown
    assert "member" in shown
    assert "epoch" not in shown


# -- calibration and fusion --------------------------------------------------------


def held_out_of(task, logits, truth, n_outputs=1):
    classes = None if task == "squared_error" else np.arange(3)
    unit = np.ones(3) if classes is None else None
    target = Target(task, n_outputs, classes, None if unit is None else 0 * unit, unit)
    n = len(truth)
    prior = None
    if task == "cross_entropy":
        prior = np.bincount(truth, minlength=3) / n
    row = np.arange(n)
    shown = np.zeros(n, dtype=bool)
    return HeldOut(target, row, row % 3, truth, np.ones(n), shown, logits, prior)


@pytest.fixture(scope="module")
def noisy():
    """Logits of two sensors that each know something, and are too sure."""
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 600, p=[0.6, 0.3, 0.1])
    signal = np.eye(3)[truth] + np.log([0.6, 0.3, 0.1])
    return truth, {
        "good": (4 * (signal + rng.normal(0, 0.7, signal.shape))).astype(np.float32),
        "poor": (4 * (signal + rng.normal(0, 2.0, signal.shape))).astype(np.float32),
        "blind": (4 * rng.normal(0, 1.0, signal.shape)).astype(np.float32),
    }


def loss_of(z, truth):
    z = z.astype(float) - z.max(axis=1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return log_loss(truth, p, labels=[0, 1, 2])


def test_probabilities_become_no_worse_than_the_class_shares(noisy):
    truth, logits = noisy
    held_out = held_out_of("cross_entropy", logits, truth)
    shares = np.tile(np.log(held_out.prior), (600, 1))
    assert loss_of(logits["blind"], truth) > 2 * loss_of(shares, truth)
    for name in logits:
        pool = held_out.pool((name,))
        assert 0 <= pool.weights[name] < 0.6  # they were too sure
        pooled = loss_of(pool(logits), truth)
        assert pooled <= loss_of(shares, truth) + 1e-3
        assert pooled <= loss_of(logits[name], truth)
    assert held_out.pool(("blind",)).weights["blind"] < 0.02


def test_a_pool_minimises_the_loss(noisy):
    """Among those with other weights, by trial."""
    truth, logits = noisy
    held_out = held_out_of("cross_entropy", logits, truth)
    names = ("good", "poor", "blind")
    pool = held_out.pool(names)
    best = loss_of(pool(logits), truth)
    assert all(weight >= 0 for weight in pool.weights.values())
    assert pool.weights["good"] > pool.weights["poor"] > pool.weights["blind"]
    for name in names:
        assert best <= loss_of(held_out.pool((name,))(logits), truth) + 1e-3
        for factor in (0.5, 2.0):
            other = {**pool.weights, name: pool.weights[name] * factor}
            worse = pool._replace(weights=other)(logits)
            assert best <= loss_of(worse, truth) + 1e-3


def test_values_get_a_slope_and_an_intercept():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(500, 3))
    logits = {
        "S": np.stack([2 * truth[:, 0] + 1, -truth[:, 1], 5 * truth[:, 2] - 3], axis=1)
    }
    logits["S"] += rng.normal(0, 0.1, (500, 3))
    held_out = held_out_of("squared_error", logits, truth, 3)
    pool = held_out.pool(("S",))
    # A sensor that errs in the wrong direction says nothing.
    assert_allclose(pool.weights["S"], [0.5, 0, 0.2], atol=0.01)
    assert_allclose(pool.bias, [-0.5, truth[:, 1].mean(), 0.6], atol=0.02)
    assert_allclose(held_out.crossed(("S",))[:, [0, 2]], truth[:, [0, 2]], atol=0.3)


def test_labels_are_calibrated_one_by_one():
    rng = np.random.default_rng(0)
    truth = (rng.random((900, 3)) < [0.5, 0.2, 0.8]).astype(np.float32)
    signal = 2 * truth - 1 + rng.normal(0, 1, truth.shape)
    logits = {"S": (signal * [1, 4, 0.25]).astype(np.float32)}
    pool = held_out_of("binary_cross_entropy", logits, truth, 3).pool(("S",))
    # The best logit of this signal is 2 * signal + log odds.
    assert_allclose(pool.weights["S"], [2, 0.5, 8], rtol=0.3)
    assert_allclose(pool.bias, [0, np.log(0.25), np.log(4)], atol=0.35)


def test_held_out_rows_are_pooled_without_their_own_fold(noisy):
    truth, logits = noisy
    held_out = held_out_of("cross_entropy", logits, truth)
    crossed = held_out.crossed(("good", "poor"))
    other = truth.copy()
    other[held_out.folds == 1] = 0
    changed = held_out_of("cross_entropy", logits, other)
    changed = replace(changed, prior=held_out.prior)
    again = changed.crossed(("good", "poor"))
    same = held_out.folds == 1
    assert_allclose(again[same], crossed[same], atol=1e-5)
    assert not np.allclose(again[~same], crossed[~same], atol=1e-2)


def test_all_sensors_are_at_least_as_good_as_the_best(fitted, gaps):
    for model in (*fitted.values(), gaps[-1]):
        scores = model.held_out_scores_
        metric = "log_loss" if "log_loss" in scores else "rmse"
        assert scores.loc["all sensors", metric] <= scores[metric].min() * 1.05


def test_fusion_of_rows_that_lack_sensors(gaps):
    X, _, model = gaps
    together = model.predict_proba(X)
    kinds = (["S2", "terrain"], ["S1", "terrain"], ["S1", "S2", "terrain"])
    for first, names in enumerate(kinds):
        rows = slice(first, None, 3)
        there = X[rows].select(names)
        assert_allclose(model.predict_proba(there), together[rows], atol=1e-5)
    weights = model.fusion_weights_
    assert list(weights.columns) == ["S1", "S2", "terrain", "teacher"]
    assert len(weights) == 7
    assert weights.loc["S1 + terrain"].notna().tolist() == [True, False, True, False]
    assert (weights.fillna(0) >= 0).all(axis=None)


def test_a_member_whose_held_out_rows_all_lack_a_sensor(data, tmp_path):
    X, y = data[CoLearnClassifier]
    S1 = X["S1"].copy()
    S1[:40] = np.nan
    X = ModalityDict({**X, "S1": S1})
    thirds = np.split(np.arange(120), 3)
    pairs = [(np.setdiff1d(np.arange(120), own), own) for own in thirds]
    for fusion in ("weighted", "teacher"):
        model = members(cv=pairs, fusion=fusion, max_epochs=2).fit(X, y)
        assert len(model._members.teachers) in (0, 3)
        assert np.isfinite(model.predict_proba(X)).all()
        again = by_file(model, tmp_path)
        assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
        assert model.held_out_["S1"].notna().all(axis=1).sum() == 80


@pytest.mark.parametrize("fusion", ["mean", "teacher"])
def test_other_fusions(data, fusion):
    X, y = data[CoLearnClassifier]
    model = members(fusion=fusion, max_epochs=1).fit(X, y)
    two = X.select(["S1", "terrain"])
    alone = [model.predict_proba(X, m) for m in X]
    assert_allclose(model.predict_proba(two), (alone[0] + alone[2]) / 2, atol=1e-6)
    if fusion == "mean":
        assert_allclose(model.predict_proba(X), np.mean(alone, axis=0), atol=1e-6)
    else:
        mean = np.mean(alone, axis=0)
        assert not np.allclose(model.predict_proba(X), mean, atol=0.01)


def test_without_folds_nothing_is_calibrated(data, tmp_path):
    X, y = data[CoLearnClassifier]
    model = members(cv=None, max_epochs=1).fit(X, y)
    for name in ("held_out_", "held_out_scores_", "fusion_weights_"):
        assert not hasattr(model, name)
    refused(model.predict_set, X, says="cv=None ... cv=5")
    model.set_params(cv=2).fit(X, y)
    assert hasattr(model, "held_out_")
    model.set_params(cv=None).fit(X, y)
    assert not hasattr(model, "held_out_")


# -- tables ------------------------------------------------------------------------


def test_held_out_table_of_a_classifier(gaps):
    _, y, model = gaps
    table, scores = model.held_out_, model.held_out_scores_
    assert table.shape == (120, 12)
    assert list(table.columns.unique(0)) == ["S1", "S2", "terrain", "all sensors"]
    assert list(table["S1"].columns) == [0, 1, 2]
    assert table["S1"].isna().all(axis=1).to_numpy().nonzero()[0].tolist() == list(
        range(0, 120, 3)
    )
    for name, row in scores.iterrows():
        p = table[name].to_numpy()
        there = ~np.isnan(p[:, 0])
        p, truth = p[there], y[there]
        assert_allclose(p.sum(axis=1), 1, atol=1e-5)
        assert row["n_rows"] == there.sum()
        decided = p.argmax(axis=1)
        one_hot = np.eye(3)[truth]
        expected = {
            "log_loss": log_loss(truth, p / p.sum(axis=1, keepdims=True)),
            "brier": ((p - one_hot) ** 2).sum(axis=1).mean(),
            "accuracy": accuracy_score(truth, decided),
            "f1_macro": f1_score(truth, decided, average="macro"),
        }
        for metric, value in expected.items():
            assert row[metric] == pytest.approx(value, abs=1e-4)
        by_fold = [
            accuracy_score(y[rows], table[name].loc[rows].to_numpy().argmax(axis=1))
            for all_rows in fold_rows(model)
            if len(rows := all_rows[there[all_rows]])
        ]
        assert row["accuracy_std"] == pytest.approx(np.std(by_fold, ddof=1))


def test_held_out_table_of_a_regressor(data):
    X, y = data[CoLearnRegressor]
    ids = pd.Index([f"plot {i}" for i in range(120)])
    named = ModalityDict.align({m: (ids, X[m]) for m in X})
    several = np.stack([y, 10 * y + 5], axis=1)
    model = members(CoLearnRegressor, max_epochs=2).fit(named, several)
    table, scores = model.held_out_, model.held_out_scores_
    assert table.index.equals(ids)
    assert table["S2"].shape == (120, 2)
    expected = r2_score(several, table["S2"])
    assert scores.loc["S2", "r2"] == pytest.approx(expected)
    rmse = np.sqrt(((several - table["S2"].to_numpy()) ** 2).mean())
    assert scores.loc["S2", "rmse"] == pytest.approx(rmse)


def test_held_out_tables_of_labels(data):
    X, y = data[CoLearnClassifier]
    indicator = np.stack([y > 0, y == 1], axis=1).astype(int)
    model = members(max_epochs=2).fit(X, indicator)
    p = model.held_out_["terrain"].to_numpy()
    losses = [log_loss(indicator[:, i], p[:, i]) for i in range(2)]
    briers = [brier_score_loss(indicator[:, i], p[:, i]) for i in range(2)]
    row = model.held_out_scores_.loc["terrain"]
    assert row["log_loss"] == pytest.approx(np.mean(losses), abs=1e-5)
    assert row["brier"] == pytest.approx(np.mean(briers), abs=1e-5)
    refused(model.predict_set, X, says="predict_set ... multi-label")


def test_rows_held_out_twice_or_never(data):
    X, y = data[CoLearnClassifier]
    every = np.arange(120)
    pairs = [(every[40:], every[:30]), (every[30:], every[:20])]
    model = members(cv=pairs, max_epochs=1).fit(X, y)
    assert model.held_out_.notna().all(axis=1).to_numpy().nonzero()[0].tolist() == list(
        range(30)
    )
    assert model.held_out_scores_.loc["S1", "n_rows"] == 50


# -- intervals and sets ------------------------------------------------------------


def test_intervals_equal_plain_loops(data, fitted):
    X, y = data[CoLearnRegressor]
    model = fitted[CoLearnRegressor]
    inside = model._members
    held_out = inside.held_out
    errors = np.abs(y[held_out.rows] - inside.held_out_answers(("S1",))[:, 0])
    each = inside.answers(model._prepare(X[:5], "S1"))[:, :, 0]
    intervals = model.predict_interval(X[:5], "S1", confidence_level=0.8)
    rank = int(np.ceil(0.8 * 121))
    for row, (low, high) in enumerate(intervals):
        above = sorted(each[k, row] + e for k, e in zip(held_out.folds, errors))  # noqa: B905
        below = sorted(each[k, row] - e for k, e in zip(held_out.folds, errors))  # noqa: B905
        assert high == pytest.approx(above[rank - 1])
        assert low == pytest.approx(below[-rank])


def test_sets_equal_plain_loops(data, fitted):
    X, _ = data[CoLearnClassifier]
    model = fitted[CoLearnClassifier]
    inside = model._members
    held_out = inside.held_out
    p = inside.held_out_answers(("S1",))[np.arange(120), held_out.truth]
    each = inside.answers(model._prepare(X[:20], "S1"))
    sets = model.predict_set(X[:20], "S1", confidence_level=0.7)
    for row in range(20):
        for c in range(3):
            more = sum(p[i] > each[k, row, c] for i, k in enumerate(held_out.folds))
            best = each[:, row].mean(axis=0).argmax() == c
            assert sets[row, c] == (more < 0.7 * 121 or best)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_coverage_of_new_rows(kind):
    task = "regression" if kind is CoLearnRegressor else "classification"
    X, y = make_multisensor(1500, task=task, target_noise=0.5, random_state=1)
    settings = {"cv": 3, "max_epochs": 5, "batch_size": 100, "lr": 2e-2}
    model = small(kind, share_encoder=False, **settings).fit(X[:500], y[:500])
    for level in (0.8, 0.9):
        for m in ("S1", None):
            rows = X[500:] if m is None else X[500:].select(m)
            if kind is CoLearnRegressor:
                low, high = model.predict_interval(rows, confidence_level=level).T
                covered = (low <= y[500:]) & (y[500:] <= high)
            else:
                sets = model.predict_set(rows, confidence_level=level)
                covered = sets[np.arange(1000), y[500:]]
            assert covered.mean() == pytest.approx(level, abs=0.06)


def test_forms_of_intervals_and_sets(data, fitted, gaps):
    X, y = data[CoLearnRegressor]
    reg = fitted[CoLearnRegressor]
    narrow, wide = (reg.predict_interval(X, confidence_level=c) for c in (0.5, 0.95))
    assert narrow.shape == (120, 2)
    assert (wide[:, 0] < narrow[:, 0]).all()
    assert (wide[:, 1] > narrow[:, 1]).all()
    two = members(CoLearnRegressor, max_epochs=1).fit(X, np.stack([y, y], axis=1))
    assert two.predict_interval(X).shape == (120, 2, 2)
    X, _, clf = gaps
    sets = clf.predict_set(X)
    assert sets.shape == (120, 3)
    assert sets.dtype == bool
    decided = clf.predict_proba(X).argmax(axis=1)
    assert sets[np.arange(120), decided].all()
    alone = clf.predict_set(X[::3].select(["S2", "terrain"]))
    assert_array_equal(alone, sets[::3])
    refused(clf.predict_set, X, confidence_level=0.999, says="0.999 ... 999 held-out")
    refused(
        clf.predict_set, X, confidence_level=1.5, says="confidence_level ... got 1.5"
    )
    few = members(cv=3, max_epochs=1).fit(X[:9], np.arange(9) % 3)
    says = "0.95 ... 19 held-out rows ... 9"
    refused(few.predict_set, X, confidence_level=0.95, says=says)
    assert few.predict_set(X[2::3], confidence_level=0.5).shape == (40, 3)


# -- where members go --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "way"), [*zip(KINDS * 2, ["pickle", "file", "file", "skops"], strict=True)]
)
def test_copies_from_pickle_file_and_skops_predict_alike(
    data, fitted, kind, way, tmp_path
):
    X, _ = data[kind]
    model = fitted[kind]
    ranged = "predict_interval" if kind is CoLearnRegressor else "predict_set"
    for one, rows in ((model, X), (model.export("S1"), X["S1"])):
        if way == "pickle":
            again = pickle.loads(pickle.dumps(one))
        elif way == "file":
            again = by_file(one, tmp_path)
        else:
            skops = pytest.importorskip("skops.io")
            dumped = skops.dumps(one)
            again = skops.loads(dumped, skops.get_untrusted_types(data=dumped))
        assert_allclose(answers(again, rows), answers(one, rows), atol=1e-6)
        assert_allclose(getattr(again, ranged)(rows), getattr(one, ranged)(rows))
        assert_allclose(again.transform(rows), one.transform(rows), atol=1e-6)
    again = pickle.loads(pickle.dumps(model)) if way == "pickle" else None
    again = by_file(model, tmp_path) if way == "file" else again
    if again is not None:
        for name in ("held_out_", "held_out_scores_", "fusion_weights_"):
            own = getattr(again, name)
            assert own.columns.equals(getattr(model, name).columns)
            assert own.dtypes.equals(getattr(model, name).dtypes)
            assert_allclose(own, getattr(model, name), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_predicts_as_the_estimator(data, fitted, kind):
    X, _ = data[kind]
    model = fitted[kind]
    for m in X:
        exported = model.export(m)
        assert len(exported.networks_) == 3
        assert_array_equal(answers(exported, X[m]), answers(model, {m: X[m]}))
    ranged = "predict_interval" if kind is CoLearnRegressor else "predict_set"
    own = getattr(model, ranged)({"S2": X["S2"]})
    assert_array_equal(getattr(model.export("S2"), ranged)(X["S2"]), own)


def test_embeddings_of_members(data, fitted):
    X, _ = data[CoLearnClassifier]
    model = fitted[CoLearnClassifier]
    first, third = (model.embed(X, modality="S1", member=k) for k in (0, 2))
    assert first.shape == (120, 8)
    every = model.embed(X, modality="S1", member=None)
    assert every.shape == (120, 24)
    assert_array_equal(every[:, :8], first)
    assert_array_equal(every[:, 16:], third)
    assert_array_equal(model.transform(X.select("S1"))[:, 8:], first)
    refused(model.embed, X, member=3, says="member 3 ... 3")


def test_onnx_graphs_have_all_members_and_their_calibration(data, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    X, y = data[CoLearnClassifier]
    few = partial(members, cv=2, max_epochs=1)
    labels = np.eye(3, dtype=int)[y]
    for target, m in ((y, "S1"), (labels, "terrain")):
        exported = few().fit(X.select(["S1", "terrain"]), target).export(m)
        exported.to_onnx(tmp_path / "model.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        (found,) = session.run(None, {"X": X[m].astype(np.float32)})
        assert_allclose(found, exported.predict_proba(X[m]), atol=1e-5)
    X, y = data[CoLearnRegressor]
    exported = few(CoLearnRegressor).fit(X.select(["S2", "terrain"]), y).export("S2")
    exported.to_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"X": X["S2"].astype(np.float32)})
    assert_allclose(found[:, 0], exported.predict(X["S2"]), rtol=1e-4, atol=1e-4)


# -- files for ever ----------------------------------------------------------------


def test_files_of_format_3_are_readable_for_ever():
    """Written by the first version of format 3; never to be written anew.

    Two members of a classifier of S1 (missing in row 7) and soil, and soil of a
    regressor.
    """
    stored = dict(np.load(FILES / "format3_answers.npz"))
    X = {m: stored[m] for m in ("S1", "soil")}
    close = partial(assert_allclose, rtol=1e-4, atol=1e-5)
    clf = load_model(FILES / "format3_classifier.safetensors")
    assert len(clf._members.nets) == 2
    close(clf.predict_proba(X), stored["classifier"])
    close(clf.predict_proba({"soil": X["soil"]}), stored["classifier_soil"])
    assert (clf.predict_set(X) != stored["sets"]).mean() < 0.02
    close(clf.held_out_, stored["held_out"])
    close(clf.held_out_scores_["log_loss"], stored["log_loss"])
    assert list(clf.classes_) == ["barley", "maize", "wheat"]
    assert clf.cv == 2
    soil = load_model(FILES / "format3_regressor_soil.safetensors")
    close(soil.predict(X["soil"]), stored["regressor_soil"])
    bounds = soil.predict_interval(X["soil"], confidence_level=0.8)
    assert_allclose(bounds, stored["interval"], rtol=1e-3)
