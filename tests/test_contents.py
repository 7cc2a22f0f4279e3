"""Models that answer alike have the same contents, and others do not."""

import pickle

import pytest
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from tools import small

from sklearn_colearn import load_model, save_model
from sklearn_colearn.contents import contents

tokenize = pytest.importorskip("dask.base").tokenize


class Wrapped(BaseEstimator):
    """Somebody's estimator around one of ours."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        self.fitted_ = self.estimator.fit(X, y)
        return self


def token(model):
    return tokenize(contents(model))


@pytest.mark.parametrize(
    "model",
    [
        small(cv=2, max_epochs=1),
        CalibratedClassifierCV(small(max_epochs=1), cv=2),
        Wrapped(small(max_epochs=1)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_copies_are_equal_and_other_fits_differ(sensors, model):
    X, y = sensors[0].select(["S1", "terrain"]), sensors[1]
    first = token(model.fit(X, y))
    copies = [pickle.loads(pickle.dumps(model)) for _ in range(2)]
    assert [token(copy) for copy in copies] == [first, first]
    assert token(model.fit(X, y[::-1])) != first


def test_changes_of_predictions_change_the_contents(sensors, tmp_path):
    X, y = sensors[0].select(["S1", "terrain"]), sensors[1]
    model = small(cv=2, max_epochs=1).fit(X, y)
    first = token(model)
    save_model(model, tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert token(loaded) == first
    loaded.predict_set(X)  # which keeps what it learnt from the held-out rows
    assert token(loaded.set_params(n_jobs=2, batch_size=7)) == first
    assert token(loaded.set_params(predict_modality="S1")) != first
    exported = {token(model.export(m)) for m in model.modalities_}
    assert len({*exported, first}) == 1 + len(model.modalities_)
    assert token(model.export("S1")) in exported
