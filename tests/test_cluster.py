"""The calls that docs/map.md shows, on a local cluster of one process."""

from __future__ import annotations

import joblib
import pytest
from numpy.testing import assert_allclose
from sklearn.model_selection import GridSearchCV
from tools import small

from sklearn_colearn import (
    evaluate_modalities,
    load_model,
    modality_scorers,
    predict_raster,
    save_model,
)

distributed = pytest.importorskip("distributed")
xr = pytest.importorskip("xarray")

pytestmark = [
    pytest.mark.slow,
    # distributed's, when it closes.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


#: Two of the 45 rows of a fold: training elsewhere may round otherwise.
ROUNDING = 2 / 45 + 1e-9


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def fitted(sensors):
    return small(max_epochs=2).fit(*sensors)


def cube_of(X, chunks=None):
    bands = {
        f"{m}_{i}": (("y", "x", "time"), X[m][:, :, i].reshape(9, 10, 12))
        for m in ("S1", "S2")
        for i in range(X[m].shape[2])
    }
    cube = xr.Dataset(bands)
    return cube if chunks is None else cube.chunk(chunks)


BANDS = {"S1": ["S1_0", "S1_1"], "S2": [f"S2_{i}" for i in range(4)]}


def test_predict_raster(sensors, fitted, client):
    X, _ = sensors
    lazy = predict_raster(
        fitted, cube_of(X, {"y": 2}), bands=BANDS, what="predict_proba"
    )
    expected = fitted.predict_proba(X.select(["S1", "S2"])).T.reshape(3, 9, 10)
    assert_allclose(lazy.compute(), expected, atol=1e-6)  # the client's workers


def test_a_worker_can_load_the_model_itself(sensors, fitted, client, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(fitted.export("S1"), path)
    X = {"S1": sensors[0]["S1"]}
    answers = client.submit(lambda p, X: load_model(p).predict_proba(X), str(path), X)
    assert_allclose(answers.result(), fitted.predict_proba(X), atol=1e-5)


def test_grid_search(sensors, client):
    X, y = sensors
    search = GridSearchCV(
        small(max_epochs=2),
        {"contrastive_weight": [0.0, 1.0]},
        scoring=modality_scorers("accuracy", ["S1", "S2"]),
        refit="S1",
        cv=2,
    )
    here = search.fit(X, y).cv_results_
    search.set_params(n_jobs=2)
    with joblib.parallel_backend("dask"):
        there = search.fit(X, y).cv_results_
    for name in here:
        if name.startswith("split"):
            assert_allclose(there[name], here[name], atol=ROUNDING)


def test_evaluate_modalities(sensors, client):
    X, y = sensors
    model = small(max_epochs=2)
    here = evaluate_modalities(model, X, y, cv=2).scores
    with joblib.parallel_backend("dask"):
        there = evaluate_modalities(model, X, y, cv=2, n_jobs=2).scores
    assert_allclose(there["score"], here["score"], atol=ROUNDING)
