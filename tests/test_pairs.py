"""Unlabelled pairs: what they teach, how they are read, and what is refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from skorch.callbacks import Callback
from tools import refused, small

import sklearn_colearn.batches as batches
from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    PerModality,
    evaluate_modalities,
    load_model,
    save_model,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.evaluation.folds import _fit_parameter
from sklearn_colearn.losses import lesson_term
from sklearn_colearn.training import follow

DUMMY = DummyClassifier()


def taught(estimator=CoLearnClassifier, **changes):
    """Return an estimator that trains in a blink, with pairs too."""
    changes = {"max_steps": 3, "teacher": DUMMY, "unlabeled_batch_size": 16, **changes}
    if estimator is CoLearnRegressor and changes["teacher"] is DUMMY:
        changes["teacher"] = DummyRegressor()
    return small(estimator, **changes)


@pytest.fixture(scope="module")
def data():
    """Sixty labelled rows and forty pairs."""
    X, y = make_multisensor(100, random_state=0)
    return X[:60], y[:60], X[60:]


# -- what pairs teach ----------------------------------------------------------------


def test_lesson_term_against_loops():
    rng = np.random.default_rng(0)
    lesson = rng.dirichlet(np.ones(3), size=5).astype(np.float32)
    lesson[[1, 3]] = np.nan
    logits = {m: rng.normal(size=(5, 3)).astype(np.float32) for m in "ab"}
    present = {"a": [True, True, False, True, True], "b": [True] * 5}
    means = []
    for m, z in logits.items():
        losses = []
        for i in range(5):
            if present[m][i] and not np.isnan(lesson[i, 0]):
                log_p = z[i] - np.log(np.exp(z[i]).sum())
                losses.append(-(lesson[i] * log_p).sum())
        means.append(np.mean(losses))
    found = lesson_term(
        {m: torch.from_numpy(z) for m, z in logits.items()},
        torch.from_numpy(lesson),
        torch.nn.CrossEntropyLoss(reduction="none"),
        {m: torch.tensor(rows) for m, rows in present.items()},
    )
    assert_allclose(found, np.mean(means), rtol=1e-5)


class Lessons(Callback):
    """Keeps what the batches with lessons hold."""

    def __init__(self):
        self.batches = []

    def on_batch_end(self, net, batch=None, training=None, **kwargs):
        if training and "lesson" in batch[0]:
            self.batches.append({k: batch[0][k] for k in ("labelled", "lesson")})


@pytest.mark.parametrize("share_of_labels", [1.0, 0.5])
def test_only_rows_without_a_label_have_a_lesson(data, share_of_labels):
    X, y, pairs = data
    y = np.where(np.arange(60) < 60 * share_of_labels, y, -1)
    seen = Lessons()
    taught(callbacks=[seen], unlabeled=-1).fit(X, y, X_unlabeled=pairs)
    assert len(seen.batches) == 3
    for batch in seen.batches:
        assert_array_equal(batch["labelled"], batch["lesson"][:, 0].isnan())
        assert int((~batch["labelled"]).sum()) >= 16
        assert_allclose(batch["lesson"][~batch["labelled"]].sum(dim=1), 1, rtol=1e-5)


class Memory(ClassifierMixin, BaseEstimator):
    """Says what it was fitted to, and answers the same of every row."""

    fits: list[tuple[np.ndarray, np.ndarray]]

    def __init__(self, answer=(0.2, 0.3, 0.5)):
        self.answer = answer

    def fit(self, X, y):
        Memory.fits.append((X, y))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(self.answer, (len(X), 1))


def test_the_teacher_sees_the_training_rows_of_its_member_only(data):
    X, y, pairs = data
    Memory.fits = []
    number = np.arange(60.0)[:, None]
    X = ModalityDict(X.select("S1"), number=number)
    pairs = ModalityDict(pairs.select("S1"), number=number[:40])
    folds = list(KFold(3).split(number))
    model = taught(teacher=Memory(), cv=folds, standardize=False)
    model.fit(X, y, X_unlabeled=pairs)
    for (values, labels), (training, _) in zip(Memory.fits, folds, strict=True):
        assert_array_equal(values[:, -1], training)
        assert_array_equal(labels, y[training])
        assert values.shape == (40, 25)


def test_the_teacher_has_a_share_of_one_half(data):
    X, y, pairs = data
    lessons = {}
    for answer in [(0.2, 0.3, 0.5), (0.6, 0.3, 0.1)]:
        Memory.fits, seen = [], Lessons()
        model = taught(teacher=Memory(answer), callbacks=[seen], max_steps=1)
        model.fit(X, y, X_unlabeled=pairs)
        (batch,) = seen.batches
        lessons[answer] = batch["lesson"][~batch["labelled"]]
    first, second = lessons.values()
    expected = np.tile([0.2, 0.0, -0.2], (16, 1))
    assert_allclose(second - first, expected, atol=1e-6)


def test_without_a_teacher_the_network_teaches(data):
    X, y, pairs = data
    seen = Lessons()
    taught(teacher=None, callbacks=[seen]).fit(X, y, X_unlabeled=pairs)
    lesson = seen.batches[0]["lesson"][~seen.batches[0]["labelled"]]
    assert lesson.std(dim=0).min() > 0


def test_pairs_without_lessons_are_in_the_other_terms(data):
    X, y, pairs = data
    model = taught(unlabeled_weight=0, distillation_weight=0)
    model.fit(X, y, X_unlabeled=pairs)
    steps = model.history_[model.history_["pairs"]]
    assert "train_distillation" not in steps.dropna(axis=1)
    moved = ModalityDict(pairs, S1=pairs["S1"][::-1].copy())
    other = clone(model).fit(X, y, X_unlabeled=moved)
    assert not np.allclose(other.predict_proba(X), model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("cv", [None, 2])
def test_steps_are_counted(data, cv):
    X, y, pairs = data
    model = taught(max_steps=45, cv=cv).fit(X, y, X_unlabeled=pairs)
    history = model.history_
    before = history[~history["pairs"]]
    n_members = 1 if cv is None else cv
    assert len(before) == 2 * n_members
    # Epochs of 20 steps.
    assert len(history) - len(before) == 3 * n_members
    counted = history if cv is None else history[history["member"] == 0]
    assert counted["epoch"].tolist() == [1, 2, 3, 4, 5]
    assert history["train_distillation"].notna().all()


@pytest.mark.parametrize(
    ("estimator", "teacher"),
    [
        (CoLearnClassifier, "trees"),
        (CoLearnRegressor, "trees"),
        (CoLearnClassifier, None),
    ],
)
def test_members_with_pairs(estimator, teacher, tmp_path):
    task = "regression" if estimator is CoLearnRegressor else "classification"
    X, y = make_multisensor(100, task=task, random_state=0)
    model = taught(estimator, cv=2, teacher=teacher)
    model.fit(X[:60], y[:60], X_unlabeled=X[60:])
    table = model.pairs_
    assert table.index.tolist() == ["S1", "S2", "terrain", "teacher"]
    assert table["follows"].dtype == bool
    again = clone(model).fit(X[:60], y[:60], X_unlabeled=X[60:])
    answers = model.predict(X)
    assert_array_equal(again.predict(X), answers)
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert_array_equal(loaded.predict(X), answers)
    assert_frame_equal(loaded.pairs_, table)
    model.fit(X[:60], y[:60])
    assert not hasattr(model, "pairs_")


def test_members_side_by_side(data):
    X, y, pairs = data
    tables = [
        taught(cv=2, n_jobs=n_jobs).fit(X, y, X_unlabeled=pairs).held_out_
        for n_jobs in (None, 2)
    ]
    assert_allclose(*tables, rtol=1e-3)


def test_several_labels_and_several_values():
    X, y = make_multisensor(100, task="multilabel", random_state=0)
    model = taught(teacher="trees").fit(X[:60], y[:60], X_unlabeled=X[60:])
    assert model.predict_proba(X).shape == (100, 3)
    X, y = make_multisensor(100, task="regression", n_outputs=2, random_state=0)
    model = taught(CoLearnRegressor, teacher="trees")
    assert model.fit(X[:60], y[:60], X_unlabeled=X[60:]).predict(X).shape == (100, 2)


def test_trees_teach_that_a_label_never_seen_is_absent():
    X, y = make_multisensor(100, task="multilabel", random_state=0)
    y[:60, 0], y[:60, 1] = 0, 1
    lessons = {}
    for teacher in ("trees", None):
        seen = Lessons()
        model = taught(teacher=teacher, callbacks=[seen], max_steps=1)
        model.fit(X[:60], y[:60], X_unlabeled=X[60:])
        (batch,) = seen.batches
        lessons[teacher] = batch["lesson"][~batch["labelled"]]
    # Half of what the trees say beside half of what the network says.
    said_by_trees = 2 * lessons["trees"] - lessons[None]
    assert_allclose(said_by_trees[:, 0], 0, atol=1e-5)
    assert_allclose(said_by_trees[:, 1], 1, atol=1e-5)


def test_weights_reach_the_teacher(data):
    X, y, pairs = data
    weight = np.ones(60)
    weight[y == 2] = 0
    weight[np.flatnonzero(y == 2)[:2]] = 1
    model = taught(
        teacher=DummyClassifier(strategy="prior"), callbacks=[s := Lessons()]
    )
    model.fit(X, y, sample_weight=weight, X_unlabeled=pairs)
    assert len(s.batches) == 3


#: Weights of a network after each stage.
WITHOUT, WITH_PAIRS = 1.0, 2.0


class Stage:
    """A trained member, as far as `follow` looks at one."""

    def __init__(self, logits, name, rows):
        self.held_out = rows
        self.shown = np.full(len(rows), name == WITH_PAIRS)
        self.logits, self.history = {"S": logits}, pd.DataFrame({"epoch": [1, 2]})
        self.teacher, self.net, self.module_ = None, self, self
        self.inner = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.inner.weight, name)

    def network(self, name):
        return self.inner


@pytest.mark.parametrize(
    ("n", "change", "expected"),
    [
        (2000, -0.02, True),  # clearly better
        (2000, 0.05, False),  # clearly worse
        (40, 0.05, True),  # worse, but so few rows say little
        (40, 6.0, False),  # so much worse that few rows are enough
    ],
)
def test_a_sensor_follows_unless_its_held_out_loss_rises(n, change, expected):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n, 1)).astype(np.float32)
    rows = batches.TensorRows({"S": torch.zeros(n, 1)}, torch.from_numpy(truth))
    folds = [np.flatnonzero(np.arange(n) % 2 == k) for k in (1, 0)]
    noise = rng.normal(0, 0.7, (n, 1)).astype(np.float32)
    other = rng.normal(0, 0.3, (n, 1)).astype(np.float32)
    factor = (1 + change - other.var() / noise.var()) ** 0.5
    more = factor * noise + other
    stages = [
        [Stage((truth + off)[own], name, own) for own in folds]
        for name, off in ((WITHOUT, noise), (WITH_PAIRS, more))
    ]
    chosen, table = follow(*stages, rows, "squared_error")
    assert table.loc["S", "follows"] == expected
    assert_allclose(table.loc["S", "before"], (noise**2).mean(), rtol=1e-4)
    assert_allclose(table.loc["S", "after"], (more**2).mean(), rtol=1e-4)
    for member, own in zip(chosen, folds, strict=True):
        assert float(member.inner.weight.detach()) == (
            WITH_PAIRS if expected else WITHOUT
        )
        off = more if expected else noise
        assert_allclose(member.logits["S"], (truth + off)[own])
        assert member.shown.any() == expected
        assert member.history["pairs"].tolist() == [False, False, True, True]


def test_follow_takes_the_better_of_the_two(data):
    X, y, pairs = data
    model = taught(cv=2, max_steps=20, unlabeled_weight=100.0, teacher=DUMMY)
    model.fit(X, y, X_unlabeled=pairs)
    alone = clone(model).fit(X, y)._members.held_out
    now = model._members.held_out
    for m in X:
        same = np.allclose(now.logits[m], alone.logits[m], atol=1e-4)
        assert same != model.pairs_.loc[m, "follows"]


# -- rows and forms ------------------------------------------------------------------


def test_rows_of_one_sensor_teach_nothing(data):
    X, y, pairs = data
    more = {m: np.concatenate([x, x[:9]]) for m, x in pairs.items()}
    for m in ("S1", "terrain"):
        more[m][40:] = np.nan
    answers = [
        taught().fit(X, y, X_unlabeled=given).predict_proba(X)
        for given in (pairs, more)
    ]
    assert_array_equal(*answers)


def test_pairs_may_lack_sensors_and_steps(data):
    X, y, pairs = data
    gappy = {m: x.copy() for m, x in pairs.items()}
    gappy["S1"][::3] = np.nan
    gappy["S2"][1::3, 4:9] = np.nan
    gappy["terrain"][2::3] = np.nan
    model = small(encoder="auto", encoder_params=None, max_epochs=1, max_steps=2)
    for given in (gappy, pairs.select(["S2", "S1"])):
        for rows in (X, ModalityDict({m: x.copy() for m, x in X.items()})):
            model.fit(rows, y, X_unlabeled=given)
            assert np.isfinite(model.predict_proba(X)).all()


def as_dataset(X):
    xarray = pytest.importorskip("xarray")
    dims = {2: ("sample", "feature"), 3: ("sample", "time", "band")}
    return xarray.Dataset(
        {
            m: ([f"{d}_{m}" if d != "sample" else d for d in dims[x.ndim]], x)
            for m, x in X.items()
        }
    )


def as_zarr(X):
    zarr = pytest.importorskip("zarr")
    return {m: zarr.array(x, chunks=(7, *x.shape[1:])) for m, x in X.items()}


def as_dask(X):
    dask_array = pytest.importorskip("dask.array")
    return {m: dask_array.from_array(x, chunks=(7, *x.shape[1:])) for m, x in X.items()}


FORMS = {
    "dict": dict,
    "lists": lambda X: {m: x.tolist() for m, x in X.items()},
    "flat": np.asarray,
    "dataset": as_dataset,
    "zarr": as_zarr,
    "dask": as_dask,
    "lazy dataset": lambda X: as_dataset(X).chunk(sample=7),
    "tables": lambda X: {**X, "terrain": pd.DataFrame(X["terrain"])},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(data, form):
    X, y, pairs = data
    model = taught(modalities=X.layout)
    expected = clone(model).fit(X, y, X_unlabeled=pairs).predict_proba(X)
    given = FORMS[form](pairs)
    found = model.fit(X, y, X_unlabeled=given).predict_proba(X)
    # Lists are float64, and Adam makes more of what rounding does.
    assert_allclose(found, expected, atol=0.02 if form == "lists" else 0)


def test_memory_maps(data, tmp_path):
    X, y, pairs = data
    mapped = {}
    for m, x in pairs.items():
        np.save(tmp_path / f"{m}.npy", x)
        mapped[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    expected = taught().fit(X, y, X_unlabeled=pairs).predict_proba(X)
    assert_array_equal(
        taught().fit(X, y, X_unlabeled=mapped).predict_proba(X), expected
    )


def test_bands_are_matched_by_name(data):
    X, y, pairs = data
    names = list("abcdef")
    frame = pd.DataFrame(pairs["terrain"], columns=names)
    X = ModalityDict(X, terrain=pd.DataFrame(X["terrain"], columns=names))
    answers = [
        taught().fit(X, y, X_unlabeled={**pairs, "terrain": terrain}).predict_proba(X)
        for terrain in (frame, frame[names[::-1]])
    ]
    assert_array_equal(*answers)
    short = {**pairs, "terrain": frame[names[:4]]}
    refused(
        taught().fit, X, y, X_unlabeled=short, says="terrain ... 'e' ... X_unlabeled"
    )


@pytest.fixture
def blocks(monkeypatch):
    """Reads eight rows at a time, sixteen before they are shuffled."""
    monkeypatch.setattr(batches, "FEW", 10)
    monkeypatch.setattr(batches, "BLOCK", 8)
    monkeypatch.setattr(batches, "N_BLOCKS", 2)


class Counted:
    """An array on disk, that notes what is read of it."""

    def __init__(self, values):
        self.values, self.shape, self.reads = values, values.shape, []
        self.ndim, self.dtype = values.ndim, values.dtype

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        self.reads.append((rows.start, rows.stop))
        return self.values[rows]


def test_many_pairs_are_read_in_blocks(data, blocks):
    X, y, pairs = data
    given = {m: Counted(x) for m, x in pairs.items()}
    model = taught(max_steps=10, unlabeled_batch_size=4)
    model.fit(X, y, X_unlabeled=given)
    for array in given.values():
        assert set(array.reads) == {(i, i + 8) for i in range(0, 40, 8)}
    answers = model.predict_proba(X)
    again = clone(model).fit(X, y, X_unlabeled=as_zarr(pairs))
    assert_array_equal(again.predict_proba(X), answers)
    dataset = clone(model).fit(X, y, X_unlabeled=as_dataset(pairs))
    assert_array_equal(dataset.predict_proba(X), answers)


def test_every_pair_is_used(data, blocks):
    X, y, pairs = data

    class Seen(Callback):
        rows: list[int] = []  # noqa: RUF012

        def on_batch_begin(self, net, batch=None, **kwargs):
            X = batch[0]
            if "labelled" in X:
                numbers = X["inputs"]["number"][~X["labelled"], 0]
                Seen.rows += numbers.int().tolist()

    number = np.arange(100.0)[:, None]
    X = ModalityDict(X.select("S1"), number=number[:60])
    pairs = ModalityDict(pairs.select("S1"), number=number[60:])
    model = taught(
        callbacks=[Seen()], max_steps=20, unlabeled_batch_size=4, standardize=False
    )
    model.fit(X, y, X_unlabeled=pairs)
    first, second = Seen.rows[:40], Seen.rows[40:]
    assert sorted(first) == sorted(second) == list(range(60, 100))
    assert first != second


def test_half_the_held_out_rows_are_pairs_and_the_other_half_scores(data):
    X, y, pairs = data

    class Seen(Callback):
        rows: list[set[int]] = []  # noqa: RUF012

        def on_train_begin(self, net, **kwargs):
            Seen.rows.append(set())

        def on_batch_begin(self, net, batch=None, **kwargs):
            X, y = batch
            if "labelled" in X:
                numbers = X["inputs"]["number"][~X["labelled"], 0]
                Seen.rows[-1] |= set(numbers.int().tolist())
                assert not y[~X["labelled"]].any()

    number = np.arange(100.0)[:, None]
    X = ModalityDict(X.select("S1"), number=number[:60])
    pairs = ModalityDict(pairs.select("S1"), number=number[60:])
    folds = list(KFold(3).split(number[:60]))
    model = taught(cv=folds, callbacks=[Seen()], max_steps=40, standardize=False)
    model.fit(X, y, X_unlabeled=pairs)
    assert model.pairs_["follows"].any()
    there = model.held_out_["S1"].notna().all(axis=1).to_numpy()
    for (_, held_out), seen in zip(folds, Seen.rows[3:], strict=True):
        shown = np.sort(list(seen - {*range(60, 100)}))
        assert_array_equal(np.setdiff1d(held_out, shown), held_out[there[held_out]])
        shares = np.bincount(y[shown]) / np.bincount(y[held_out])
        assert_allclose(shares, 0.5, atol=0.1)


def test_stores_of_unequal_length_are_refused(data, blocks):
    X, y, pairs = data
    short = {**as_zarr(pairs), "S2": as_zarr(pairs)["S2"][:33]}
    says = "same number of rows ... 'S2': 33 ... X_unlabeled"
    refused(taught().fit, X, y, X_unlabeled=short, says=says)
    cube = pytest.importorskip("xarray").Dataset({"VV": (("y", "x"), np.ones((4, 5)))})
    says = (
        "The Datasets ['S1', 'S2'] of X_unlabeled have no sample dimension. "
        "sample_pixels draws rows from raster cubes."
    )
    cubes = {"S1": cube, "S2": cube}
    assert refused(taught().fit, X, y, X_unlabeled=cubes, says=says) == says
    alone = {"S2": as_zarr(pairs)["S2"]}
    refused(taught(max_steps=40).fit, X, y, X_unlabeled=alone, says="two sensors")


# -- what is refused -----------------------------------------------------------------


class OneClass(Memory):
    """Forgets all classes but the first two."""

    def fit(self, X, y):
        self.classes_ = np.arange(2)
        return self


@pytest.mark.parametrize(
    ("changes", "X_unlabeled", "error", "says"),
    [
        ({}, {"S9": np.ones((3, 2))}, ValueError, "'S9' ... X_unlabeled"),
        ({}, {"S1": np.ones((3, 9, 2)), "S2": np.ones((3, 12, 4))}, ValueError,
         "'S1' ... (n, 9, 2) ... X_unlabeled"),
        ({}, {"S1": np.ones((3, 12, 2))}, ValueError, "3 rows ... two sensors"),
        ({}, {"S1": np.ones((3, 12, 2)), "S2": np.full((3, 12, 4), np.nan)},
         ValueError, "3 rows ... two sensors"),
        ({}, {"S1": np.ones((3, 12, 2)), "S2": np.full((3, 12, 4), np.inf)},
         ValueError, "infinity ... X_unlabeled"),
        ({}, {}, ValueError, "X_unlabeled"),
        ({"teacher": "forest"}, None, ValueError, "'forest' ... 'trees'"),
        ({"teacher": ExtraTreesClassifier}, None, TypeError, "teacher="),
        ({"teacher": 3}, None, TypeError, "teacher="),
        ({"teacher": LinearSVC()}, None, TypeError, "predict_proba"),
        ({"teacher": OneClass()}, ..., ValueError, "teacher= ... 3 classes ... 2"),
        ({"teacher": Memory((np.nan,) * 3)}, ..., ValueError,
         "teacher= predicts NaN or infinity; use another estimator."),
        ({"teacher": Memory((0.5, 0.5))}, ..., ValueError,
         "teacher= must predict 3 columns; got 2."),
        ({"max_steps": 0}, ..., ValueError, "max_steps"),
        ({"unlabeled_weight": -1}, ..., ValueError, "unlabeled_weight"),
        ({"unlabeled_batch_size": 0}, ..., ValueError, "unlabeled_batch_size"),
    ],
    ids=str,
)  # fmt: skip
def test_invalid_arguments_are_refused(data, changes, X_unlabeled, error, says):
    X, y, pairs = data
    Memory.fits = []
    given = pairs if X_unlabeled is ... else X_unlabeled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        error_type = error
        try:
            taught(**changes).fit(X, y, X_unlabeled=given)
        except error_type as caught:
            text = "\n".join([str(caught), *getattr(caught, "__notes__", ())])
            for part in says.split(" ... "):
                assert part in text, text
        else:
            pytest.fail("it was not refused")


def test_pairs_in_other_units_warn(data):
    X, y, pairs = data
    far = ModalityDict(pairs, S2=pairs["S2"] * 1e4)
    with pytest.warns(UserWarning, match="'S2' are more than 10 standard deviations"):
        taught().fit(X, y, X_unlabeled=far)


@pytest.mark.parametrize("cv", [2, None])
def test_labelled_rows_among_the_pairs_warn(data, cv):
    X, y, pairs = data
    model = taught(cv=cv)
    more = {m: np.concatenate([x, X[m][:9]]) for m, x in pairs.items()}
    if cv is None:
        model.fit(X, y, X_unlabeled=more)  # scores no row
        return
    says = (
        "X_unlabeled contains 9 of the labelled rows, so held_out_scores_, intervals "
        "and sets will be too optimistic. Leave them out."
    )
    with pytest.warns(UserWarning, match=says) as caught:
        model.fit(X, y, X_unlabeled=more)
    assert [w.filename for w in caught] == [__file__]


def test_one_modality_has_no_pairs(data):
    X, y, pairs = data
    refused(taught().fit, X.select("S1"), y, X_unlabeled=pairs, says="two modalities")


# -- scikit-learn's tools --------------------------------------------------------------


def test_cross_validation_and_searches_pass_them_whole(data):
    X, y, pairs = data
    params = {"X_unlabeled": pairs}
    scores = cross_validate(taught(), X, y, cv=2, params=params, error_score="raise")
    assert np.isfinite(scores["test_score"]).all()
    search = GridSearchCV(taught(), {"unlabeled_weight": [1.0, 10.0]}, cv=2)
    search.fit(X, y, X_unlabeled=pairs)
    assert search.best_estimator_.history_["pairs"].any()


def test_through_a_pipeline(data):
    X, y, pairs = data
    scaled = PerModality(StandardScaler()).fit(X)
    expected = taught(standardize=False)
    expected.fit(scaled.transform(X), y, X_unlabeled=scaled.transform(pairs))
    with sklearn.config_context(enable_metadata_routing=True):
        last = taught(standardize=False).set_fit_request(X_unlabeled=True)
        pipe = make_pipeline(
            PerModality(StandardScaler()), last, transform_input=["X_unlabeled"]
        )
        pipe.fit(X, y, X_unlabeled=pairs)
    assert_allclose(
        pipe.predict_proba(X),
        expected.predict_proba(scaled.transform(X)),
        atol=1e-6,
    )


def test_evaluation_at_test_places(data):
    X, y, _ = data
    report = evaluate_modalities(
        taught(),
        X,
        y,
        cv=2,
        scoring=["accuracy", "neg_log_loss"],
        baselines={"trees": ExtraTreesClassifier(5, random_state=0)},
        X_unlabeled="test places",
    )
    methods = ["alone", "co-learned", "with pairs", "trees", "trees, taught"]
    assert report.scores["method"].unique().tolist() == methods
    assert (report.scores["n_test"] == 15).all()
    assert np.isfinite(report.scores["score"]).all()


def test_evaluation_with_pairs_of_elsewhere(data):
    X, y, pairs = data
    models = {
        "plain": taught(),
        "scaled": make_pipeline(PerModality(StandardScaler()), taught()),
    }
    trees = {"trees": make_pipeline(ExtraTreesClassifier(5, random_state=0))}
    report = evaluate_modalities(
        models, X, y, cv=2, X_unlabeled=pairs, baselines=trees, modalities="S1"
    )
    of_S1 = report.scores.query("modality == 'S1'")
    assert of_S1["method"].unique().tolist() == [
        *("alone", "plain", "plain, with pairs", "scaled", "scaled, with pairs"),
        *("trees", "trees, taught"),
    ]
    search = GridSearchCV(taught(), {"lr": [0.01]}, cv=2)
    report = evaluate_modalities(search, X, y, cv=2, X_unlabeled=pairs, modalities="S1")
    assert "with pairs" in set(report.scores["method"])


def test_taught_baselines_know_columns_by_name(data):
    X, y, pairs = data
    names = list("abcdef")
    X = ModalityDict(X, terrain=pd.DataFrame(X["terrain"], columns=names))
    X = X.select(["terrain", "S2"])
    frame = pd.DataFrame(pairs["terrain"], columns=names)
    scores = [
        evaluate_modalities(
            taught(),
            X,
            y,
            cv=2,
            baselines={"trees": ExtraTreesClassifier(5, random_state=0)},
            X_unlabeled={"S2": pairs["S2"], "terrain": own},
            scoring="neg_log_loss",
            modalities="terrain",
        ).scores.query("method == 'trees, taught'")["score"]
        for own in (frame, frame[names[::-1]])
    ]
    assert_array_equal(*scores)


def test_a_search_splits_by_its_own_groups_and_gets_pairs():
    search = GridSearchCV(taught(), {"lr": [0.01]}, cv=KFold(2))
    model = make_pipeline(search)
    assert _fit_parameter(search, "groups") is None
    assert _fit_parameter(search, "X_unlabeled") == "X_unlabeled"
    assert _fit_parameter(model, "X_unlabeled") == "gridsearchcv__X_unlabeled"
    assert _fit_parameter(make_pipeline(taught()), "groups").endswith("__groups")


def test_evaluation_of_values():
    X, y = make_multisensor(60, task="regression", random_state=0)
    report = evaluate_modalities(
        taught(CoLearnRegressor),
        X,
        y,
        cv=2,
        baselines={"mean": DummyRegressor()},
        X_unlabeled="test places",
        modalities="S1",
    )
    assert "mean, taught" in set(report.scores["method"])
    says = "'elsewhere' ... 'test places'"
    refused(
        evaluate_modalities, taught(CoLearnRegressor), X, y, X_unlabeled="elsewhere",
        says=says,
    )  # fmt: skip


# -- pretraining -----------------------------------------------------------------------


def early(**changes):
    return taught(warm_start=True, **changes)


def weights_of(model):
    (net,) = model._pretrained.nets
    return torch.cat([w.detach().ravel() for w in net.module_.parameters()]).numpy()


def test_pretraining_counts_steps(data):
    X, y, pairs = data
    model = early().pretrain(pairs, n_steps=250)
    assert len(model.pretrain_history_) == 3
    model.fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    for n_steps, error in [(0, ValueError), (2.5, TypeError)]:
        refused(early().pretrain, X, n_steps=n_steps, says="n_steps", error=error)


@pytest.mark.filterwarnings("ignore:The modalities")
def test_errors_of_pretraining_name_its_argument(data):
    X, _, _ = data
    apart = ModalityDict(X.select(["S1", "S2"]))
    apart["S1"], apart["S2"] = apart["S1"].copy(), apart["S2"].copy()
    apart["S1"][:30], apart["S2"][30:] = np.nan, np.nan
    with pytest.raises(ValueError, match="None of the 60 rows of X has two sensors"):
        early().pretrain(apart)


@pytest.mark.parametrize("form", ["zarr", "dask", "dataset", "flat"])
def test_large_archives_are_pretrained_on_in_blocks(data, blocks, form):
    X, y, pairs = data
    model = early(modalities=X.layout)
    expected = weights_of(clone(model).pretrain(pairs, n_steps=12))
    found = model.pretrain(FORMS[form](pairs), n_steps=12)
    assert_allclose(weights_of(found), expected, atol=1e-6)
    assert np.isfinite(found.fit(X, y).predict_proba(X)).all()


def test_scalers_of_a_large_archive_are_those_of_a_sample(data, blocks):
    pairs = data[2]
    model = early().pretrain(as_zarr(pairs), n_steps=1)
    shift = model._pretrained.sensors["S1"].scaler.shift
    # Ten rows in blocks of eight: one block.
    assert_allclose(shift, pairs["S1"][:8].mean(axis=(0, 1)), rtol=1e-4)


class Killed(Callback):
    """Ends training as a lack of memory would."""

    def __init__(self, at):
        self.at = at

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) > self.at:
            raise MemoryError


@pytest.mark.parametrize(
    ("weight_averaging", "optimizer"), [(0.125, "adamw"), (0, "sgd")]
)
def test_pretraining_resumes_after_a_kill(data, tmp_path, weight_averaging, optimizer):
    pairs = data[2]
    path = tmp_path / "early.safetensors"
    settings = {
        "weight_averaging": weight_averaging,
        "optimizer": optimizer,
        "lr": 1e-3,
    }
    with pytest.raises(MemoryError):
        early(callbacks=[Killed(1)], **settings).pretrain(
            pairs, n_steps=120, checkpoint=path
        )
    whole = early(**settings).pretrain(pairs, n_steps=120)
    model = early(**settings).pretrain(pairs, n_steps=120, checkpoint=path)
    assert len(model.pretrain_history_) == 2
    first = [m.pretrain_history_["train_loss"].iloc[0] for m in (whole, model)]
    assert_allclose(*first, rtol=1e-5)
    moved = np.abs(weights_of(model) - weights_of(whole)).mean()
    assert moved < 0.1 * np.abs(weights_of(whole)).mean()
    # All steps are done: nothing more is learnt.
    again = early(**settings).pretrain(pairs, n_steps=120, checkpoint=path)
    assert_allclose(weights_of(again), weights_of(model), atol=1e-7)


def test_checkpoints_of_another_run_are_refused(data, tmp_path):
    pairs = data[2]
    path = tmp_path / "early.safetensors"
    early().pretrain(pairs, n_steps=2, checkpoint=path)
    other = early(embedding_dim=8)
    refused(other.pretrain, pairs, n_steps=2, checkpoint=path, says="another network")
    moved = {m: x + 1 for m, x in pairs.items()}
    refused(early().pretrain, moved, n_steps=2, checkpoint=path, says="another X")
    save_model(taught(teacher=None).fit(*data[:2]), path)
    refused(early().pretrain, pairs, n_steps=2, checkpoint=path, says="another")
    path.write_bytes(b"no tensors at all")
    refused(early().pretrain, pairs, n_steps=2, checkpoint=path, says=str(path))


def test_large_images_are_read_in_small_blocks(monkeypatch):
    monkeypatch.setattr(batches, "FEW_VALUES", 2**14)  # sixteen rows of both sensors
    rng = np.random.default_rng(0)
    images = {m: rng.normal(size=(60, 16, 16, 2)).astype(np.float32) for m in "AB"}
    given = {m: Counted(x[40:]) for m, x in images.items()}
    model = taught(max_steps=40, unlabeled_batch_size=4)
    train = {m: x[:40] for m, x in images.items()}
    model.fit(train, np.arange(40) % 2, X_unlabeled=given)
    assert set(given["A"].reads) == {(i, i + 2) for i in range(0, 20, 2)}


def test_times_and_sentinels_come_with_pairs(data):
    X, y, pairs = data
    rng = np.random.default_rng(0)
    dates = np.sort(rng.uniform(0, 365, (100, 12)), axis=1)
    marked = pairs["S2"].copy()
    marked[::4, 3] = -99
    blank = np.where(marked == -99, np.nan, marked)
    model = taught(
        encoder={"S1": "ltae"},
        encoder_params=None,
        times={"S1": "dates"},
        missing_value=-99,
    )
    train = ModalityDict(X, dates=dates[:60])
    answers = [
        clone(model)
        .fit(train, y, X_unlabeled={**pairs, "S2": S2, "dates": dates[60:]})
        .predict_proba(train)
        for S2 in (marked, blank)
    ]
    assert_array_equal(*answers)
    says = "'dates' ... X_unlabeled"
    refused(clone(model).fit, train, y, X_unlabeled=pairs, says=says)


def test_datasets_of_bands_are_read_alike(data, blocks):
    xarray = pytest.importorskip("xarray")
    X, y, pairs = data
    expected = taught(max_steps=20).fit(X, y, X_unlabeled=as_zarr(pairs))
    bands = {f"b{i}": (("sample", "time"), pairs["S2"][:, :, i]) for i in range(4)}
    given = {**as_zarr(pairs), "S2": xarray.Dataset(bands)}
    found = taught(max_steps=20).fit(X, y, X_unlabeled=given)
    assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
