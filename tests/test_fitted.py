"""A fitted estimator stays what it is, in memory and in files."""

from __future__ import annotations

import copy
import io
import pickle
import random
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
import tools
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EarlyStopping,
    EpochScoring,
    EpochTimer,
    LRScheduler,
)
from tools import refused

import sklearn_colearn
from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    load_model,
    save_model,
)

DATA = Path(__file__).parent / "data"
KINDS = (CoLearnClassifier, CoLearnRegressor)

small = partial(tools.small, max_epochs=2)


@pytest.fixture(scope="module")
def data(sensors, sensors_regression):
    return {CoLearnClassifier: sensors, CoLearnRegressor: sensors_regression}


@pytest.fixture(scope="module")
def fitted(data):
    return {kind: small(kind, fusion="teacher").fit(*data[kind]) for kind in KINDS}


def by_file(model):
    path = Path(pytest.tmp) / "model.safetensors"
    save_model(model, path)
    return load_model(path)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest, "tmp", tmp_path, raising=False)


def by_skops(model):
    content = skops.io.dumps(model)
    types = skops.io.get_untrusted_types(data=content)
    return skops.io.loads(content, trusted=types)


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


WAYS = (by_file, by_skops, by_pickle)


def answers(model, X, y=None):
    """Return all that a model says of X."""
    given = [model.predict(X), model.transform(X), model.embed(X, "unused")]
    if hasattr(model, "predict_proba"):
        given.append(model.predict_proba(X))
    if not hasattr(model, "export"):
        return given
    given += [model.predict(X, modality="S1"), model.export("S2").predict(X)]
    names = model.get_feature_names_out().tolist()
    return [*given, names, np.array([] if y is None else model.score(X, y))]


def same(one, other):
    for a, b in zip(one, other, strict=True):
        assert_array_equal(a, b)


# -- networks ----------------------------------------------------------------------


def network_of(model):
    return model.net_.module_ if hasattr(model, "net_") else model.networks_[0]


@pytest.mark.parametrize(
    ("kind", "exported"), [*zip(KINDS, [False, True], strict=True)]
)
def test_networks_are_in_evaluation_mode_and_stay_as_they_are(
    data, fitted, kind, exported
):
    X, y = data[kind]
    batch = {m: torch.from_numpy(x[:8]).float() for m, x in X.items()}
    model = small(kind, dropout=0.5, cv=2, max_epochs=1).fit(X, y)
    model = model.export("S1") if exported else model
    batch = batch["S1"] if exported else batch
    for one in (model, *(way(model) for way in WAYS)):
        network = network_of(one)
        assert not any(layer.training for layer in network.modules())
        before = copy.deepcopy(network.state_dict())
        first = network(batch)
        answers(one, X)
        assert not any(layer.training for layer in network.modules())
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name])
        second = network(batch)
        a, b = first[0], second[0]
        assert torch.equal(a, b) if exported else torch.equal(a["S1"], b["S1"])


def test_networks_are_in_evaluation_mode_after_interruption_and_pretraining(sensors):
    class CtrlC(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    X, y = sensors
    clf = small(callbacks=[CtrlC()])
    with pytest.warns(UserWarning, match="interrupted"):
        clf.fit(X, y)
    assert not clf.net_.module_.training
    clf = small(warm_start=True, max_epochs=1).pretrain(X).fit(X, y)
    assert not clf.net_.module_.training


# -- set_params after fit ----------------------------------------------------------


def own_encoder(input_shape, embedding_dim):
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(int(np.prod(input_shape)), embedding_dim)
    )


#: What may be set after fit, right, wrong or misspelt, and must not matter.
LATER = {
    "modalities": [{"a": slice(0, 2)}, 3],
    "times": [{"S1": list(range(12))}, {"S9": "dates"}],
    "missing_value": [0.0, {"S1": 1.0, "S9": 2.0}, "none"],
    "standardize": [False, "no"],
    "encoder": ["linear", "lienar", own_encoder, partial(own_encoder), {"S9": "mlp"}],
    "encoder_params": [None, {"hidden_dims": (3,)}, {"depth": 2}, 3],
    "share_encoder": [True, "yes"],
    "embedding_dim": [8, 7, 0, "wide"],
    "dropout": [0.9, 7],
    "auxiliary_weight": [0.0, -1],
    "contrastive_weight": [0.0, -1],
    "discriminative_weight": [0.0, -1],
    "distillation_weight": [0.0, -1],
    "unlabeled_weight": [0.0, -1],
    "teacher": [None, "forest", 3, int],
    "temperature": [9.0, 0],
    "class_weight": ["balanced", {9: 1.0}, "blanced"],
    "unlabeled": [1, "?"],
    "max_epochs": [9, 0],
    "max_steps": [9, 0],
    "batch_size": [1, -1],
    "unlabeled_batch_size": [1, -1],
    "lr": [1e9, -1],
    "weight_decay": [0.0, -1],
    "optimizer": ["sgd", "sdg", torch.optim.SGD],
    "lr_schedule": ["constant", "cosin", np.cos],
    "weight_averaging": [0.0, 0.7],
    "cv": [3, "yes"],
    "n_jobs": [2, "all"],
    "tol": [1.0, -1],
    "drop_steps": [0.5, 2],
    "callbacks": [[("score", EpochScoring("accuracy"))], 3],
    "warm_start": [True, "yes"],
    "fusion": ["mean", "meen"],
    "device": ["meta", "quantum"],
    "precision": ["bf16", "half"],
    "random_state": [7, "x"],
    "verbose": [0, -1],
    "extra_terms": [[3], 3],
}


@pytest.mark.filterwarnings("ignore:.*contain code:UserWarning")
@pytest.mark.parametrize(
    ("kind", "way"), [*zip(KINDS * 2, [copy.copy, *WAYS], strict=True)]
)
@pytest.mark.slow
def test_set_params_after_fit_changes_no_answer_and_breaks_no_file(
    data, fitted, kind, way
):
    X, y = data[kind]
    X, y = X[:9], y[:9]
    model = fitted[kind]
    expected = answers(model, X, y)
    names = model.get_params().keys() - {"predict_modality"}
    assert names <= LATER.keys()
    for turn in range(max(map(len, LATER.values()))):
        later = {name: LATER[name][turn % len(LATER[name])] for name in names}
        same(answers(way(copy.copy(model).set_params(**later)), X, y), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_modality_is_read_at_prediction_also_from_files(data, fitted, kind):
    X, _ = data[kind]
    model = fitted[kind]
    chosen = copy.copy(model).set_params(predict_modality="S1", missing_value=0.0)
    for one in (chosen, *(way(chosen) for way in WAYS)):
        assert_array_equal(one.predict(X), model.predict(X, modality="S1"))


def test_the_sentinel_of_fit_stays(data):
    X, y = data[CoLearnClassifier]
    S1 = X["S1"].copy()
    S1[:5, 2] = -9999
    gaps = ModalityDict(X | {"S1": S1})
    clf = small(missing_value=-9999, max_epochs=1).fit(gaps, y)
    expected = clf.predict_proba(gaps)
    for later in (None, {"S2": 3}):
        clf.set_params(missing_value=later)
        for one in (clf, clf.export("S1"), *(way(clf) for way in WAYS)):
            own = expected if one is clf else clf.predict_proba(gaps)
            if not hasattr(one, "export"):
                own = clf.predict_proba(gaps, modality="S1")
            assert_array_equal(one.predict_proba(gaps), own)
    assert_array_equal(clf.predict_proba(gaps), expected)


def test_a_file_keeps_valid_parameters_and_training_goes_on_from_it(data, fitted):
    X, y = data[CoLearnClassifier]
    wrong = copy.copy(fitted[CoLearnClassifier]).set_params(fusion="techer")
    loaded = by_file(wrong)
    assert loaded.fusion == "techer"
    refused(loaded.fit, X, y, says="'fusion' ... 'techer'", error=_invalid())
    loaded.set_params(fusion="teacher", warm_start=True, max_epochs=1).fit(X, y)
    assert loaded.n_iter_ == wrong.n_iter_ + 1


def _invalid():
    from sklearn.utils._param_validation import InvalidParameterError

    return InvalidParameterError


def test_the_fusion_of_fit_and_its_teacher_stay(data, fitted):
    X, y = data[CoLearnRegressor]
    mean = small(CoLearnRegressor).fit(X, y)
    teacher = fitted[CoLearnRegressor]
    assert not np.allclose(mean.predict(X), teacher.predict(X))
    for model, other in ((mean, "teacher"), (teacher, "mean")):
        changed = copy.copy(model).set_params(fusion=other, distillation_weight=0.0)
        for one in (changed, *(way(changed) for way in WAYS)):
            assert_array_equal(one.predict(X), model.predict(X))


def test_score_leaves_out_the_rows_that_fit_left_out(data):
    X, y = data[CoLearnClassifier]
    y = np.where(np.arange(len(y)) % 4 == 0, -1, y)
    clf = small(unlabeled=-1, max_epochs=1).fit(X, y)
    expected = clf.score(X, y)
    labelled = y != -1
    assert expected == (clf.predict(X)[labelled] == y[labelled]).mean()
    clf.set_params(unlabeled=None)
    for one in (clf, *(way(clf) for way in WAYS)):
        assert one.score(X, y) == expected


@pytest.mark.parametrize("name", ["format1_classifier", "format1_regressor_S1"])
def test_set_params_changes_nothing_in_files_of_format_1(name):
    stored = np.load(DATA / "format1_answers.npz")
    X = ModalityDict({m: stored[m] for m in ("S1", "S2")})
    model = load_model(DATA / f"{name}.safetensors")
    expected = answers(model, X)
    if hasattr(model, "export"):
        later = {"embedding_dim": 4, "missing_value": 0.0, "fusion": "meen"}
        model.set_params(**later, distillation_weight=0.0, encoder="lienar")
        with pytest.warns(UserWarning, match=r"\['encoder'\] contain code"):
            again = [way(model) for way in WAYS[:1]]
    else:
        again = [way(model) for way in WAYS]
    for one in (model, *again):
        same(answers(one, X), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["names", "frame"])
def test_a_sensor_from_a_file_takes_the_forms_that_it_took(
    data, fitted, framed, kind, source
):
    X, _ = data[kind]
    model = fitted[kind] if source == "names" else framed[kind]
    for name in ("S1", "S2"):
        sensor = model.export(name)
        flat = X[name].reshape(len(X), -1)
        forms = [X, X[name], {name: X[name]}, {name: flat}, flat]
        if source == "frame":
            columns = dict(zip(_columns(X), np.asarray(X).T, strict=True))
            whole = pd.DataFrame(columns)
            forms += [whole.iloc[:, X.layout[name][0]], {name: whole}]
        else:
            forms += [pd.DataFrame(flat)]
        for one in (sensor, *(way(sensor) for way in WAYS)):
            for form in forms:
                got = one.predict(form)
                assert_array_equal(got, model.predict(X, modality=name))


# -- a refit that fails ------------------------------------------------------------


class Fails(Callback):
    """Raises in the middle of training."""

    def __init__(self, error):
        self.error = error

    def on_batch_end(self, net, **kwargs):
        if len(net.history) > 1:
            raise self.error


class Twice(Exception):
    """Cannot be made from its message alone."""

    def __init__(self, message, *, code):
        super().__init__(message)
        self.code = code


def _raising(*_, **__):
    raise Twice("no weights", code=3)


FAILURES = {
    "target": ({}, lambda X, y: (X, y[:-1]), ValueError),
    "nothing": ({}, lambda X, y: (X, None), ValueError),
    "values": ({}, lambda X, y: (X | {"S1": X["S1"] + np.inf}, y), ValueError),
    "text": ({}, lambda X, y: (X | {"S1": np.full(X["S1"].shape, "x")}, y), ValueError),
    "flat": (
        {"modalities": {"a": [0, 999]}},
        lambda X, y: (np.asarray(X)[:, :50], y),
        ValueError,
    ),
    "shape": ({}, lambda X, y: (X | {"S1": X["S1"][:, :0]}, y), ValueError),
    "encoder": ({"encoder": _raising, "encoder_params": None}, None, Twice),
    "divergence": ({"lr": 1e30, "optimizer": "sgd"}, None, ValueError),
    "callback": ({"callbacks": [Fails(OSError("full"))]}, None, OSError),
    "exit": ({"callbacks": [Fails(SystemExit(3))]}, None, SystemExit),
    "parameter": ({"fusion": "meen"}, None, ValueError),
}


@pytest.fixture(scope="module")
def framed(data):
    """Fits on flat frames."""
    made = {}
    for kind, (X, y) in data.items():
        frame = pd.DataFrame(np.asarray(X), columns=_columns(X))
        made[kind] = small(kind, modalities=X.layout).fit(frame, y)
    return made


def _columns(X):
    return [f"c{i}" for i in range(X.shape[1])]


@pytest.mark.parametrize(("kind", "warm_start"), [*zip(KINDS, [0, 1], strict=True)])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_refit_that_fails_leaves_the_old_fit_whole(
    data, framed, kind, failure, warm_start
):
    X, y = data[kind]
    params, change, error = FAILURES[failure]
    model = copy.deepcopy(framed[kind]).set_params(warm_start=bool(warm_start))
    before, expected = vars(model).copy(), answers(model, X, y)
    history = model.history_.copy()
    with pytest.raises(error):
        model.set_params(**params).fit(*(change(X, y) if change else (X, y)))
    model.set_params(**{name: before[name] for name in params})
    assert vars(model).keys() == before.keys()
    same(answers(model, X, y), expected)
    pd.testing.assert_frame_equal(model.history_, history)
    assert list(model.feature_names_in_) == _columns(X)
    assert not model.net_.module_.training


@pytest.mark.parametrize("failure", FAILURES)
def test_a_first_fit_that_fails_leaves_none(data, failure):
    X, y = data[CoLearnClassifier]
    params, change, error = FAILURES[failure]
    clf = small(**params)
    before = set(vars(clf))
    with pytest.raises(error):
        clf.fit(*(change(X, y) if change else (X, y)))
    assert set(vars(clf)) == before
    with pytest.raises(NotFittedError):
        clf.predict(X)


def test_a_pretraining_that_fails_leaves_the_old_fit_whole(data):
    X, y = data[CoLearnClassifier]
    clf = small(warm_start=True).fit(X, y)
    expected = answers(clf, X)
    clf.set_params(callbacks=[Fails(OSError("full"))])
    with pytest.raises(OSError, match="full"):
        clf.pretrain(X)
    same(answers(clf.set_params(callbacks=None), X), expected)


# -- an encoder's own exception ----------------------------------------------------


class Faulty(torch.nn.Module):
    """An encoder that fails as it is made, or as it is tried."""

    def __init__(self, input_shape, embedding_dim, when, error):
        super().__init__()
        self.when, self.error = when, error
        if when == "made":
            raise error

    def forward(self, x):
        raise self.error


ERRORS = [
    Twice("no weights", code=3),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
    KeyError("depth"),
    FileNotFoundError(2, "No such file", "weights.pt"),
    AttributeError("nope"),
    ExceptionGroup("both", [OSError("one"), OSError("other")]),
]


@pytest.mark.parametrize("when", ["made", "tried"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_exception_of_an_encoder_comes_through(sensors, when, error):
    error = copy.copy(error) if not isinstance(error, Twice) else Twice("x", code=3)
    params = {"S2": {"when": when, "error": error}, "S1": {"hidden_dims": (4,)}}
    clf = small(encoder={"S1": "mlp", "S2": Faulty}, encoder_params=params)
    with pytest.raises(type(error)) as caught:
        clf.fit(*sensors)
    assert caught.value is error
    assert any("'S2'" in note for note in caught.value.__notes__)


# -- callbacks ---------------------------------------------------------------------


@pytest.mark.parametrize("scoring", [EpochScoring, BatchScoring])
def test_callbacks_that_score_are_refused_however_they_are_given(sensors, scoring):
    one = scoring("r2")
    for given in (one, ("score", one), ["score", one], scoring, ("score", scoring)):
        model = small(callbacks=[EpochTimer(), given])
        refused(model.fit, *sensors, says=f"callbacks= ... {scoring.__name__}")


@pytest.mark.parametrize("given", [3, "EpochTimer", ("timer", 3), partial(EpochTimer)])
def test_what_is_no_callback_is_refused(sensors, given):
    model = small(callbacks=[given])
    refused(model.fit, *sensors, says="callbacks= ... skorch", error=TypeError)


def test_callbacks_that_do_not_score_work_named_or_not(sensors):
    schedule = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    stop = EarlyStopping("train_loss", patience=5)
    given = [("schedule", schedule), EpochTimer, ("stop", stop)]
    clf = small(lr_schedule="constant", callbacks=given).fit(*sensors)
    assert_allclose(clf.history_["lr"], [0.01, 0.005])


# -- threads and random state ------------------------------------------------------


class Slow(Callback):
    """Lets other threads in after every batch."""

    def on_batch_end(self, net, **kwargs):
        time.sleep(0.002)


def test_fits_in_threads_do_not_disturb_each_others_draws(sensors):
    X, y = sensors
    models = [small(random_state=seed, callbacks=[Slow()]) for seed in range(2)]
    expected = [clone(model).fit(X, y).predict(X) for model in models]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda model: model.fit(X, y).predict(X), models))
    same(got, expected)
    assert torch.equal(torch.get_rng_state(), state)


def test_pretraining_loading_and_fitting_in_threads(data, fitted):
    X, y = data[CoLearnClassifier]
    clf = small(callbacks=[Slow()])
    early = small(callbacks=[Slow()], warm_start=True)
    expected = clone(clf).fit(X, y).predict_proba(X)
    after = clone(early).pretrain(X).fit(X, y).predict_proba(X)
    asked = fitted[CoLearnClassifier].predict_proba(X)
    works = [
        lambda: clf.fit(X, y).predict_proba(X),
        lambda: early.pretrain(X).fit(X, y).predict_proba(X),
        *[lambda: by_skops(fitted[CoLearnClassifier]).predict_proba(X)] * 3,
        *[lambda: fitted[CoLearnClassifier].predict_proba(X)] * 3,
    ]
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda work: work(), works))
    same(got, [expected, after, *[asked] * 6])


def test_cross_validation_in_threads_scores_as_in_turn(data):
    X, y = data[CoLearnClassifier]
    clf = small(callbacks=[Slow()])
    expected = cross_val_score(clf, X, y, cv=3)
    with joblib.parallel_backend("threading"):
        assert_array_equal(cross_val_score(clf, X, y, cv=3, n_jobs=3), expected)


def test_a_fit_inside_a_fit_draws_on_its_own(data):
    X, y = data[CoLearnClassifier]

    class Nested(Callback):
        def on_epoch_end(self, net, **kwargs):
            small(random_state=9, max_epochs=1).fit(X, y)

    expected = small(random_state=3).fit(X, y).predict_proba(X)
    clf = small(random_state=3, callbacks=[Nested()]).fit(X, y)
    assert_array_equal(clf.predict_proba(X), expected)


def other_states():
    """Return the global states of numpy and of Python."""
    kind, keys, *place = np.random.get_state()  # noqa: NPY002
    return (kind, keys.tolist(), *place), random.getstate()


class Looks(Callback):
    """Keeps the global states in the middle of training."""

    seen: list[object]

    def on_batch_end(self, net, **kwargs):
        Looks.seen.append(other_states())


@pytest.mark.parametrize(
    ("kind", "random_state"), [*zip(KINDS, [0, None], strict=True)]
)
def test_global_random_state_is_as_promised(data, kind, random_state):
    X, y = data[kind]
    torch.manual_seed(1)
    Looks.seen = []
    state, others = torch.get_rng_state(), other_states()
    model = small(kind, random_state=random_state, callbacks=[Looks()], dropout=0.5)
    model.set_params(cv=2, drop_steps=0.3)
    answers(by_pickle(model.fit(X, y)), X)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(lr=1e30, optimizer="sgd").fit(X, y)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(Looks.seen) > 3
    assert all(seen == others for seen in [*Looks.seen, other_states()])


def test_global_seeds_do_not_matter(sensors):
    X, y = sensors
    given = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002, the legacy state is what is tested
        given.append(small(max_epochs=1).fit(X, y).predict_proba(X))
    assert_array_equal(*given)


# -- pickles -----------------------------------------------------------------------


def by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    return lambda: joblib.load(io.BytesIO(file.getvalue()))


def by_plain_pickle(model):
    content = pickle.dumps(model)
    return lambda: pickle.loads(content)


@pytest.mark.parametrize(
    ("kind", "kept"), [*zip(KINDS, [by_joblib, by_plain_pickle], strict=True)]
)
def test_pickles_of_another_version_warn(data, fitted, kind, kept, monkeypatch):
    X, _ = data[kind]
    model, here = fitted[kind], sklearn_colearn.__version__
    models = {
        type(model).__name__: [model, clone(model), make_pipeline(model)],
        type(model.export("S1")).__name__: [model.export("S1")],
    }
    kept_models = [(n, one, kept(one)) for n, ones in models.items() for one in ones]
    for _, one, load in kept_models:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = load()
        if one is model:
            same(answers(again, X), answers(model, X))
    monkeypatch.setattr(sklearn_colearn, "__version__", "9.9")
    for name, one, load in kept_models:
        with pytest.warns(UserWarning, match=rf"{name} was pickled .*{here}.* 9\.9"):
            again = load()
        if one is model:
            same(answers(again, X), answers(model, X))
            load = kept(again)  # carries the version that wrote it
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                load()


def test_pickles_without_a_version_warn(sensors):
    clf = small()
    with pytest.warns(UserWarning, match="pickled by .* unknown version"):
        clone(clf).__setstate__(vars(clf).copy())


def test_copies_clones_and_searches_carry_no_version_about(sensors, fitted):
    clf = fitted[CoLearnClassifier]
    for one in (copy.copy(clf), copy.deepcopy(clf), by_pickle(clf), by_skops(clf)):
        assert vars(one).keys() == vars(clf).keys()
    search = GridSearchCV(small(max_epochs=1), {"lr": [1e-2]}, cv=2)
    search.fit(*sensors)
    assert vars(search.best_estimator_).keys() == vars(clf).keys()
    piped = by_pickle(make_pipeline(FunctionTransformer(), clf))
    assert vars(piped[-1]).keys() == vars(clf).keys()


# -- a term of one's own -----------------------------------------------------------


class Small:
    """Keeps the shared representations small."""

    def __init__(self, weight=1.0, name="small", returns=None):
        self.weight, self.name, self.returns = weight, name, returns

    def __call__(self, output, batch):
        if self.returns is not None:
            return self.returns
        assert len(batch.target) == len(next(iter(output.shared.values())))
        return torch.stack([z.square().mean() for z in output.shared.values()]).mean()


def size(model, X):
    return np.square(model.embed(X, "shared")).mean()


@pytest.mark.slow
def test_an_extra_term_is_logged_and_trained_by(sensors):
    X, y = sensors
    plain = small(random_state=1, max_epochs=8).fit(X, y)
    without = clone(plain).set_params(extra_terms=[Small(0)]).fit(X, y)
    assert "train_small" not in without.history_
    assert_array_equal(without.predict(X), plain.predict(X))
    model = clone(plain).set_params(extra_terms=[Small(100.0), Small(0.1, "other")])
    model.fit(X, y)
    columns = set(model.history_) - set(plain.history_)
    assert columns == {"train_small", "train_other"}
    small_ones = model.history_["train_small"]
    assert_allclose(small_ones, model.history_["train_other"], rtol=1e-6)
    assert small_ones.iloc[-1] < 0.5 * small_ones.iloc[0]
    assert size(model, X) < 0.5 * size(plain, X)
    terms = model.history_.iloc[-1]
    weights = {"small": 100, "other": 0.1, "contrastive": 0.2, "distillation": 3}
    total = sum(
        weights.get(name.removeprefix("train_"), 1) * value
        for name, value in terms.items()
        if name.startswith("train_") and name != "train_loss"
    )
    assert_allclose(terms["train_loss"], total, rtol=1e-4)


def test_an_extra_term_goes_where_the_estimator_goes(sensors_regression):
    X, y = sensors_regression
    term = Small(50.0)
    model = small(CoLearnRegressor, extra_terms=[term], warm_start=True).fit(X, y)
    again = clone(model)
    assert again.extra_terms[0].weight == 50.0
    assert_array_equal(again.fit(X, y).predict(X), model.predict(X))
    assert_array_equal(by_pickle(model).predict(X), model.predict(X))
    assert np.isfinite(cross_val_score(clone(model), X, y, cv=2)).all()
    with pytest.warns(UserWarning, match=r"\['extra_terms'\] contain code"):
        loaded = by_file(model)
    assert loaded.extra_terms is None
    same(answers(loaded, X), answers(model, X))
    assert "train_small" in loaded.history_
    save_model(model.export("S1"), pytest.tmp / "S1.safetensors")  # without a warning
    assert len(model.fit(X, y).history_["train_small"].dropna()) == 4
    loaded.fit(X, y)  # goes on without the term
    assert loaded.history_["train_small"].isna().sum() == 2


class Nameless:
    weight = 1.0

    def __call__(self, output, batch):
        return torch.tensor(0.0)


@pytest.mark.parametrize(
    ("terms", "error", "says"),
    [
        ([3], TypeError, "extra_terms= ... name ... weight ... 3"),
        ([Small], TypeError, "extra_terms= ... name ... weight ... Small"),
        ([Nameless()], TypeError, "extra_terms= ... name ... Nameless"),
        ([lambda *_: torch.tensor(0.0)], TypeError, "extra_terms= ... name"),
        ([Small(None)], TypeError, "extra_terms= ... weight"),
        ([Small("1")], TypeError, "extra_terms= ... weight"),
        ([Small(name=None)], TypeError, "extra_terms= ... name"),
        ([Small(np.nan)], ValueError, "diverged"),
        *[
            ([Small(name=name)], ValueError, f"extra_terms= ... {name!r}")
            for name in ("main", "teacher", "loss", "batch_size", "batch_count")
        ],
        ([Small(name="at_best")], ValueError, "extra_terms= ... 'at_best'"),
        ([Small(), Small()], ValueError, "extra_terms= ... 'small'"),
        ([Small(returns=3.0)], TypeError, "'small' ... tensor ... 3.0"),
        ([Small(returns=torch.ones(2))], TypeError, "'small' ... tensor"),
        ([Small(returns=torch.tensor(np.nan))], ValueError, "diverged ... small"),
    ],
)
def test_extra_terms_that_are_refused(sensors, terms, error, says):
    refused(small(extra_terms=terms).fit, *sensors, says=says, error=error)


def test_extra_terms_come_as_a_list(sensors):
    model = small(extra_terms=Small())
    refused(model.fit, *sensors, says="'extra_terms'", error=_invalid())


# -- files of earlier versions and of this one -------------------------------------


def test_a_file_with_the_parameters_that_are_gone_answers_alike():
    """Written by version 0.1, with S1 missing in row 3; never to be written anew.

    It has missing_indicator=True, drop_modalities=0.2, drop_steps=0.1, compile=True
    and fusion="teacher".
    """
    stored = np.load(DATA / "format1_indicator.npz")
    X = ModalityDict({m: stored[m] for m in ("S1", "S2", "soil")})
    clf = load_model(DATA / "format1_indicator.safetensors")
    assert not {"missing_indicator", "drop_modalities", "compile"} & {*clf.get_params()}
    assert clf.drop_steps == 0.1
    there = ~np.isnan(X["S1"]).all(axis=(1, 2))
    close = partial(assert_allclose, rtol=1e-4, atol=1e-5)
    expected = clf.predict_proba(X)
    for one in (clf, *(way(clf) for way in WAYS)):
        close(one.predict_proba(X), stored["together"])
        close(one.predict_proba(X[there], "S1"), stored["radar"])
        close(one.embed(X, "joint"), stored["joint"])
        assert_array_equal(one.predict_proba(X), expected)
        assert_array_equal(one.classes_, ["barley", "maize", "wheat"])
    radar = clf.export("S1")
    for one in (radar, *(way(radar) for way in WAYS)):
        close(one.predict_proba(X["S1"][there]), stored["radar"])
    # It is told what was missing: a filled gap is another answer.
    filled = np.nan_to_num(X["S1"][there], nan=0.0)
    assert not np.allclose(radar.predict_proba(filled), stored["radar"], atol=1e-3)
    y = clf.classes_[np.arange(len(X)) % 3]
    clf.set_params(warm_start=True, max_epochs=1).fit(X, y)
    assert clf.n_iter_ == 4


@pytest.fixture(scope="module")
def format_2():
    stored = dict(np.load(DATA / "format2_answers.npz"))
    columns = ["clay", "sand", "ph"]
    stored["soil"] = pd.DataFrame(stored["soil"], columns=columns)
    X = {m: stored[m] for m in ("S1", "S2", "soil", "S2_dates")}
    return X, stored


def test_classifier_of_format_2_is_readable_for_ever(format_2):
    """Written by the first version of format 2; never to be written anew.

    S1 was a DataArray with dates and the bands VV and VH, -9999 where missing, and in
    all of row 7; S2 has the dates of each row; soil is a frame. ``"?"`` marks a row
    without a label, and the teacher answers from all.
    """
    X, stored = format_2
    clf = load_model(DATA / "format2_classifier.safetensors")
    close = partial(assert_allclose, rtol=1e-4, atol=1e-5)
    there = np.arange(30) != 7
    for one in (clf, *(way(clf) for way in WAYS)):
        close(one.predict_proba(X), stored["classifier"])
        close(one.predict_proba({"S1": X["S1"][there]}), stored["classifier_S1"])
        close(one.embed(X, "joint"), stored["classifier_joint"])
        assert one.score(X, stored["y"]) == pytest.approx(float(stored["score"]))
        assert list(one.classes_) == ["barley", "maize", "wheat"]
        turned = X | {"soil": X["soil"][["ph", "clay", "sand"]]}
        assert_array_equal(one.predict_proba(turned), one.predict_proba(X))
        refused(one.predict, {"S1": X["S1"]}, says="'S1' ... row 7")
        refused(one.predict, {"S2": X["S2"]}, says="'S2' ... 'S2_dates'")
        other = X | {"soil": X["soil"].rename(columns={"ph": "pH"})}
        refused(one.predict, other, says="'soil' ... 'ph'")
        later = X | {"S2_dates": X["S2_dates"] + np.timedelta64(40, "D")}
        assert not np.allclose(one.predict_proba(later), stored["classifier"])
    y = np.asarray(stored["y"], dtype=object)
    clf.set_params(warm_start=True, max_epochs=1).fit(X, y)
    assert clf.n_iter_ == 4


def test_sensor_of_format_2_is_readable_for_ever(format_2):
    """As above: S1 of a regressor."""
    X, stored = format_2
    reg = load_model(DATA / "format2_regressor_S1.safetensors")
    S1 = X["S1"][np.arange(30) != 7]
    for one in (reg, *(way(reg) for way in WAYS)):
        values = one.predict(S1)
        assert values.shape == (29,)
        assert_allclose(values, stored["regressor_S1"], rtol=1e-4)
        joint = stored["regressor_S1_joint"]
        assert_allclose(one.transform(S1), joint, rtol=1e-4, atol=1e-5)
        refused(one.predict, X["S1"], says="'S1' ... row 7")


@pytest.mark.parametrize("name", ["format2_classifier", "format2_regressor_S1"])
def test_labels_of_bands_and_steps_in_files_of_format_2(format_2, name):
    xr = pytest.importorskip("xarray")
    X, stored = format_2
    model = load_model(DATA / f"{name}.safetensors")
    dates = pd.date_range("2021-03-05", periods=5, freq="12D")
    cube = xr.DataArray(
        X["S1"][np.arange(30) != 7],
        dims=("field", "time", "band"),
        coords={"time": dates, "band": ["VV", "VH"]},
    )
    for one in (model, by_file(model)):
        key = "classifier_S1" if hasattr(one, "predict_proba") else "regressor_S1"
        answer = one.predict_proba if hasattr(one, "predict_proba") else one.predict
        for form in (
            cube,
            cube.transpose("field", "band", "time"),
            cube.isel(band=[1, 0]),
            cube.isel(time=slice(None, None, -1)),
        ):
            assert_allclose(answer({"S1": form}), stored[key], rtol=1e-4, atol=1e-5)
        contradicts = {
            "'VV'": cube.assign_coords(band=["HH", "HV"]),
            "2021-03-17": cube.assign_coords(time=dates + pd.Timedelta("12D")),
        }
        for label, other in contradicts.items():
            refused(one.predict, {"S1": other}, says=f"'S1' ... {label}")
