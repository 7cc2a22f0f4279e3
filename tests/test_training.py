"""Training: its history, batches, schedules, early stopping, and how it ends."""

from __future__ import annotations

import math
import pickle
from functools import partial
from itertools import chain

import numpy as np
import pytest
import tools
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.batches import BatchIterator, TensorRows
from sklearn_colearn.datasets import make_multisensor

# What is tested are epochs and batches: three of each.
small = partial(tools.small, share_encoder=False, batch_size=32, max_epochs=3)

TERMS = [
    "main",
    "auxiliary",
    "contrastive",
    "discriminative",
    "teacher",
    "distillation",
]


class Recorder(Callback):
    """Records what training does."""

    def initialize(self):
        self.calls = []
        self.batches = []  # the row numbers of each training batch
        self.rates = []
        return self

    def on_train_begin(self, net, **kwargs):
        self.calls.append("train begins")

    def on_epoch_begin(self, net, **kwargs):
        self.calls.append("epoch begins")
        self.batches.append([])

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        inputs = batch[0]["inputs"]
        if training and "number" in inputs:
            self.batches[-1].append(inputs["number"][:, 0].int().tolist())

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            self.rates.append(net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("epoch ends")

    def on_train_end(self, net, **kwargs):
        self.calls.append("train ends")


class Interrupt(Callback):
    """Presses Ctrl-C, before a batch of an epoch or at the end of an epoch."""

    def __init__(self, epoch, batch=None):
        self.epoch = epoch
        self.batch = batch

    def on_epoch_begin(self, net, **kwargs):
        self.done = 0

    def on_batch_begin(self, net, training=None, **kwargs):
        here = (net.history[-1]["epoch"], self.done)
        if training and here == (self.epoch, self.batch):
            raise KeyboardInterrupt
        self.done += 1

    def on_epoch_end(self, net, **kwargs):
        if self.batch is None and net.history[-1]["epoch"] == self.epoch:
            raise KeyboardInterrupt


# -- history -----------------------------------------------------------------------

WEIGHTS = {
    "auxiliary_weight": 0.5,
    "contrastive_weight": 0.25,
    "discriminative_weight": 2.0,
    "distillation_weight": 3.0,
}


@pytest.mark.parametrize("estimator", [CoLearnClassifier, CoLearnRegressor])
def test_history_has_a_row_per_epoch_and_a_column_per_term(
    sensors, sensors_regression, estimator
):
    X, y = sensors if estimator is CoLearnClassifier else sensors_regression
    clf = small(estimator, **WEIGHTS).fit(X, y)
    history = clf.history_
    assert history.epoch.tolist() == [1, 2, 3]
    assert clf.n_iter_ == 3
    expected = {f"train_{term}" for term in ["loss", *TERMS]}
    assert set(history) == {"epoch", "lr", "dur", *expected}
    assert np.isfinite(history.to_numpy(dtype=float)).all()
    assert (history.dur > 0).all()
    total = history["train_main"] + history["train_teacher"]
    total += sum(
        weight * history[f"train_{name.removesuffix('_weight')}"]
        for name, weight in WEIGHTS.items()
    )
    assert_allclose(history["train_loss"], total, rtol=1e-5)
    assert len({round(history[f"train_{term}"][0], 6) for term in TERMS}) == 6


@pytest.mark.parametrize("parameter", WEIGHTS)
def test_term_of_weight_zero_is_not_computed(sensors, parameter):
    clf = small(**{parameter: 0}).fit(*sensors)
    gone = {parameter.removesuffix("_weight")}
    if gone == {"distillation"}:
        gone |= {"teacher"}  # which has nobody to teach
    shown = {name for name in clf.history_ if name.startswith("train_")}
    assert shown == {f"train_{term}" for term in ["loss", *TERMS] if term not in gone}


def test_without_distillation_there_is_no_teacher(sensors):
    taught, paper = (small(distillation_weight=w).fit(*sensors) for w in (1, 0))
    assert taught.net_.module_.teacher_head is not None
    assert paper.net_.module_.teacher_head is None
    a, b = (clf.predict_proba(sensors[0], "S1") for clf in (taught, paper))
    assert np.abs(a - b).max() > 1e-3


def test_main_term_falls(sensors):
    for encoder in ("linear", "mlp"):
        clf = small(encoder=encoder, encoder_params=None, max_epochs=12).fit(*sensors)
        main = clf.history_.train_main
        assert main.iloc[-1] < 0.8 * main.iloc[0]


def test_history_is_the_mean_over_rows_not_over_batches(sensors):
    """With a learning rate of nearly nothing, all batchings give the same means."""
    X, y = sensors
    settings = {
        "encoder": "linear",
        "encoder_params": None,
        "contrastive_weight": 0,  # depends on the batch
        "auxiliary_weight": 0,  # so does the batch normalisation before it
        "discriminative_weight": 1,
        "lr": 1e-12,
        "max_epochs": 1,
    }
    whole, parts = (
        small(batch_size=size, **settings).fit(X, y).history_ for size in (90, 7)
    )
    assert_allclose(whole.train_discriminative, parts.train_discriminative, rtol=1e-4)


# -- batches -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch_size"), [(33, 32), (90, 32), (64, 32), (5, 32), (7, 1), (90, 500)]
)
def test_every_row_is_seen_once_per_epoch(n, batch_size):
    X, y = make_multisensor(n, task="regression", random_state=0)
    X["number"] = np.arange(float(n))[:, None]
    recorder = Recorder()
    reg = small(
        CoLearnRegressor,
        standardize=False,
        batch_size=batch_size,
        callbacks=[recorder],
    ).fit(X, y)
    assert len(recorder.batches) == 3
    for batches in recorder.batches:
        sizes = [len(batch) for batch in batches]
        assert len(sizes) == math.ceil(n / batch_size)
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert sorted(row for batch in batches for row in batch) == list(range(n))
    if n > 5:  # shuffled, anew in every epoch
        assert recorder.batches[0] != recorder.batches[1]
        assert list(chain(*recorder.batches[0])) != list(range(n))
    assert np.isfinite(reg.predict(X)).all()


def test_a_single_row_trains():
    X, y = make_multisensor(1, task="regression", random_state=0)
    reg = small(CoLearnRegressor, max_epochs=2).fit(X, y)
    assert_allclose(reg.predict(X), y, atol=3)
    assert reg.n_iter_ == 2


def test_batch_without_any_row_of_a_modality():
    X, y = make_multisensor(40, random_state=0)
    X["S1"][3:] = np.nan
    clf = small(batch_size=4, max_epochs=2).fit(X, y)
    assert np.isfinite(clf.history_.to_numpy(dtype=float)).all()
    assert np.isfinite(clf.predict_proba(X)).all()


def test_iterator_keeps_rows_together():
    n = 10
    numbers = torch.arange(float(n))
    rows = TensorRows(
        inputs={"a": numbers[:, None], "b": numbers[:, None, None] + 100},
        target=numbers + 200,
        present={"a": numbers > 3, "b": numbers > 5},
        sample_weight=numbers + 300,
    )
    iterator = BatchIterator(rows, batch_size=4, device="cpu", shuffle=True)
    assert len(iterator) == 3
    seen = []
    for X, target in iterator:
        row = X["inputs"]["a"][:, 0]
        assert_array_equal(X["inputs"]["b"][:, 0, 0], row + 100)
        assert_array_equal(X["present"]["a"], row > 3)
        assert_array_equal(X["present"]["b"], row > 5)
        assert_array_equal(X["sample_weight"], row + 300)
        assert_array_equal(target, row + 200)
        seen += row.int().tolist()
    assert sorted(seen) == list(range(n))


# -- learning rate and optimizer ---------------------------------------------------


def half_then_tenth(progress):
    return 0.5 if progress < 0.5 else 0.1


@pytest.mark.parametrize("schedule", ["constant", "cosine", half_then_tenth])
def test_learning_rate_follows_the_schedule(sensors, schedule):
    recorder = Recorder()
    clf = small(
        lr_schedule=schedule, callbacks=[recorder], max_epochs=4, batch_size=30
    ).fit(*sensors)
    rates = np.array(recorder.rates) / 1e-2
    assert len(rates) == 12  # set before every batch
    progress = np.arange(12) / 12
    expected = {
        "constant": np.ones(12),
        "cosine": (1 + np.cos(np.pi * progress)) / 2,
    }.get(schedule, [0.5] * 6 + [0.1] * 6)
    assert_allclose(rates, expected)
    if schedule == "cosine":
        assert rates[0] == 1
        assert rates[-1] < 0.05
    # What the history shows is what the last batch of the epoch was trained with.
    assert_allclose(clf.history_.lr, np.array(recorder.rates)[2::3])


class Halved(torch.optim.SGD):
    """An optimizer of the user."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, lr=lr / 2, weight_decay=weight_decay)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        (torch.optim.RMSprop, torch.optim.RMSprop),
        (Halved, Halved),
    ],
)
def test_optimizer(sensors, optimizer, expected):
    X, y = sensors
    clf = small(optimizer=optimizer, weight_decay=0.02, max_epochs=12).fit(X, y)
    assert type(clf.net_.optimizer_) is expected
    [group] = clf.net_.optimizer_.param_groups
    assert group["weight_decay"] == 0.02
    if optimizer == "sgd":
        assert group["momentum"] == 0.9
    main = clf.history_.train_main
    assert main.iloc[-1] < main.iloc[0]


def test_weight_decay_shrinks_the_weights(sensors):
    norms = []
    for weight_decay in (0.0, 5.0):
        clf = small(weight_decay=weight_decay, max_epochs=10).fit(*sensors)
        weight = clf.net_.module_.network("S2").head.weight
        norms.append(weight.detach().norm().item())
    assert norms[1] < 0.8 * norms[0]


def test_model_keeps_no_rows():
    """The size of the pickle does not depend on the number of rows."""
    sizes = []
    for n in (100, 1000):
        X, y = make_multisensor(n, random_state=0)
        clf = small(max_epochs=1, batch_size=n).fit(X, y)
        sizes.append(len(pickle.dumps(clf)))
    assert sizes[1] - sizes[0] < 1000


# -- callbacks and Ctrl-C ----------------------------------------------------------


def test_callbacks_of_the_user_are_called(sensors):
    recorder = Recorder()
    clf = small(callbacks=[recorder], max_epochs=2).fit(*sensors)
    epoch = ["epoch begins", "epoch ends"]
    assert recorder.calls == ["train begins", *epoch, *epoch, "train ends"]
    assert len(recorder.rates) == 6
    # They change nothing.
    plain = small(max_epochs=2).fit(*sensors)
    assert_array_equal(clf.predict_proba(sensors[0]), plain.predict_proba(sensors[0]))


def test_ctrl_c_in_an_epoch_leaves_a_fitted_estimator(sensors):
    X, y = sensors
    clf = small(callbacks=[Interrupt(epoch=3, batch=1)], max_epochs=10)
    with pytest.warns(ConvergenceWarning, match="after 2 of 10 epochs") as caught:
        clf.fit(X, y)
    assert len(caught) == 1
    assert clf.n_iter_ == 2
    assert clf.history_.epoch.tolist() == [1, 2]
    assert clf.predict(X).shape == (90,)
    assert np.isfinite(clf.transform(X)).all()
    again = pickle.loads(pickle.dumps(clf))
    assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_ctrl_c_at_the_end_of_an_epoch(sensors):
    X, y = sensors
    clf = small(callbacks=[Interrupt(epoch=2)], max_epochs=10)
    with pytest.warns(ConvergenceWarning, match="after 2 of 10 epochs"):
        clf.fit(X, y)
    assert clf.n_iter_ == 2
    assert clf.score(X, y) > 0.4


def test_ctrl_c_in_the_first_epoch(sensors):
    X, y = sensors
    clf = small(callbacks=[Interrupt(epoch=1, batch=1)])
    with pytest.warns(ConvergenceWarning, match="after 0 of 3 epochs"):
        clf.fit(X, y)
    assert clf.n_iter_ == 0
    assert len(clf.history_) == 0
    assert np.isfinite(clf.predict_proba(X)).all()


def test_training_continues_after_ctrl_c(sensors):
    X, y = sensors
    clf = small(callbacks=[Interrupt(epoch=2, batch=1)], warm_start=True)
    with pytest.warns(ConvergenceWarning, match="after 1 of 3 epochs"):
        clf.fit(X, y)
    clf.set_params(callbacks=None).fit(X, y)
    assert clf.history_.epoch.tolist() == [1, 2, 3, 4]


class Fail(Callback):
    """Raises an error of its own in the second epoch."""

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 2:
            raise OSError("the disk is full")


def test_error_of_a_callback_is_raised(sensors):
    with pytest.raises(OSError, match="the disk is full"):
        small(callbacks=[Fail()]).fit(*sensors)


# -- warm start --------------------------------------------------------------------


def test_warm_start_continues_training(sensors):
    X, y = sensors
    clf = small(warm_start=True, max_epochs=4, lr_schedule="constant").fit(X, y)
    first = clf.history_
    scaler_mean = clf._sensors["S1"].scaler.shift.copy()
    clf.set_params(max_epochs=6).fit(X, y)
    assert clf.n_iter_ == 10
    assert clf.history_.epoch.tolist() == list(range(1, 11))
    assert_array_equal(clf.history_.train_loss[:4], first.train_loss)
    assert clf.history_.train_main[4] < first.train_main[0]
    assert clf.history_.train_main[9] < first.train_main[3]
    # The scalers stay those of the first fit, or the weights would not fit.
    shifted = {name: values + 100 for name, values in X.items()}
    clf.set_params(max_epochs=1).fit(shifted, y)
    assert_array_equal(clf._sensors["S1"].scaler.shift, scaler_mean)


def test_warm_start_starts_from_the_previous_weights(sensors):
    X, y = sensors
    clf = small(warm_start=True, standardize=False).fit(X, y)
    answers = clf.predict_proba(X)
    head = clf.net_.module_.network("S1").head.weight.detach().clone()
    clf.set_params(lr=1e-12, max_epochs=1, weight_decay=0.0).fit(X, y)
    assert_allclose(clf.net_.module_.network("S1").head.weight.detach(), head)
    # Batch normalisation's running statistics move on.
    assert_allclose(clf.predict_proba(X), answers, atol=0.15)
    cold = small(lr=1e-12, max_epochs=1).fit(X, y)
    assert not np.allclose(cold.net_.module_.network("S1").head.weight.detach(), head)


def test_without_warm_start_fit_starts_anew(sensors):
    X, y = sensors
    clf = small().fit(X, y)
    answers = clf.predict_proba(X)
    clf.fit(X, y)
    assert clf.n_iter_ == 3
    assert_array_equal(clf.predict_proba(X), answers)


def test_warm_start_of_a_regressor_keeps_the_unit_of_the_target(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, warm_start=True, max_epochs=10).fit(X, 1000 * y)
    before = reg.score(X, 1000 * y)
    reg.fit(X[:45], 1000 * y[:45] + 50)
    assert reg.score(X, 1000 * y) > before - 0.2


# -- what is shown -----------------------------------------------------------------


def test_silent_by_default(sensors, capfd):
    small(verbose=0, cv=2).fit(*sensors)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_verbose_shows_a_bar(sensors, capfd):
    small(verbose=1).fit(*sensors)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "co-learning: 100%" in captured.err
    assert "3/3" in captured.err
    assert "train_main=" in captured.err


def test_verbose_2_prints_a_table(sensors, capfd):
    clf = small(verbose=2).fit(*sensors)
    captured = capfd.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    for column in ("epoch", "train_loss", "train_main", "train_contrastive"):
        assert column in lines[0]
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert f"{clf.history_.train_main[2]:.4f}" in lines[4]


@pytest.mark.parametrize("weight_decay", [0, 0.3])
def test_weight_decay_reaches_the_optimizer(sensors, weight_decay):
    clf = small(max_epochs=1, weight_decay=weight_decay).fit(*sensors)
    # AdamW's own default is not 0.
    assert clf.net_.optimizer_.param_groups[0]["weight_decay"] == weight_decay


def test_optimizer_without_weight_decay(sensors):
    clf = small(max_epochs=1, weight_decay=0, optimizer=torch.optim.Rprop)
    assert clf.fit(*sensors).n_iter_ == 1


# -- precision ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "params"),
    [
        ("mlp", None),
        ("tempcnn", {"n_channels": 8}),
        ("gru", {"hidden_dim": 16}),
        ("ltae", None),
        ("inceptiontime", {"n_channels": 4, "n_layers": 2}),
    ],
)
@pytest.mark.slow
def test_mixed_precision_learns_the_same(encoder, params):
    X, y = make_multisensor(120, missing_steps=0.1, random_state=0)
    X = X.select(["S1", "S2"])
    settings = {"encoder": encoder, "encoder_params": params}
    full = small(**settings).fit(X, y)
    mixed = small(precision="bf16", **settings).fit(X, y)
    assert_allclose(mixed.history_.train_main, full.history_.train_main, rtol=0.1)
    assert not np.array_equal(mixed.history_.train_main, full.history_.train_main)
    weights = mixed.net_.module_.parameters()
    assert all(weight.dtype == torch.float32 for weight in weights)
    probabilities = mixed.predict_proba(X)
    assert probabilities.dtype == np.float32
    assert_allclose(probabilities, full.predict_proba(X), atol=0.2)


def test_precision_has_two_values(sensors):
    with pytest.raises(ValueError, match=r"'precision'.*'bf16'"):
        small(precision="fp8").fit(*sensors)
