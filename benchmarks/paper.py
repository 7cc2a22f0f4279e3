"""Run the paper's benchmarks: each sensor alone and co-learned.

The data sets are live fuel moisture (regression), CropHarvest (crop or not; ten groups
of crops) and TreeSatAI (15 genera, multi-label), as far as they are in DATA_HOME;
`--download` fetches them. There are two protocols: the paper's, with random 10-fold or
the official test plots, and by place, which estimates the score at a new place. Random
folds train on rows next to the test rows.

Predictions of all folds are scored together. Test rows are used only for scoring: the
paper's settings (docs/results.md) stop training by a tenth of the training rows, where
the published experiments stop by the test rows. The aerial images of TreeSatAI are
excluded: fit would hold 75 GB of them.

    python benchmarks/paper.py DATA_HOME [--only "fuel moisture"] [--settings default]
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.metrics import accuracy_score, f1_score, r2_score
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.datasets import (
    fetch_cropharvest,
    fetch_lfmc,
    fetch_treesatai,
)

METHODS = ("alone", "co-learned", "extra trees")
PAPER = {
    "encoder": "tempcnn",
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0,
    "weight_averaging": 0,
    "contrastive_weight": 1.0,
    "distillation_weight": 0,
    "share_encoder": False,
    "cv": ShuffleSplit(1, test_size=0.1, random_state=0),
    "fusion": "mean",
    "max_epochs": 200,
    "batch_size": 128,
}


def squares(latlon, degrees):
    """Return the map square of each row."""
    return np.unique(np.floor(latlon / degrees), axis=0, return_inverse=True)[1].ravel()


def fuel_moisture(**options):
    """Load series of four months; places are sites."""
    data = fetch_lfmc(**options)
    return data.data, data.target, data.site, None


def crops(task, **options):
    """Load series of twelve months; places are squares of two degrees."""
    data = fetch_cropharvest(task=task, **options)
    return data.data.select(["S1", "S2"]), data.target, squares(data.latlon, 2), None


def trees(**options):
    """Load series of a year with snow and cloud bands; places are 0.1 degrees."""
    data = fetch_treesatai(masks="bands", lazy=True, **options)
    X = data.data.select(list(data.times))
    return X, data.target, squares(data.latlon, 0.1), data.is_test


BENCHMARKS = {
    "fuel moisture": fuel_moisture,
    "crop": partial(crops, "crop"),
    "multicrop": partial(crops, "multicrop"),
    "trees": trees,
}


def scores(truth, predicted):
    """Return the metrics of a task: values, classes or several labels."""
    if truth.dtype.kind == "f":
        return {"R2": r2_score(truth, predicted)}
    macro = f1_score(truth, predicted, average="macro", zero_division=0)
    if truth.ndim == 2:
        weighted = f1_score(truth, predicted, average="weighted", zero_division=0)
        return {"macro F1": macro, "weighted F1": weighted}
    return {"accuracy": accuracy_score(truth, predicted), "macro F1": macro}


def predict_fold(estimator, X, y, groups, train, test):
    """Return the predictions of the test rows by (modality, method)."""
    own = None if groups is None else groups[train]
    if not isinstance(estimator.cv, int):
        own = None  # the paper's split has no groups
    predictions = {}
    together = clone(estimator).fit(X[train], y[train], groups=own)
    forests = ExtraTreesRegressor if y.dtype.kind == "f" else ExtraTreesClassifier
    for modality in X:
        one = X.select(modality)
        predictions[modality, "co-learned"] = together.predict(one[test])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X holds one modality", UserWarning)
            alone = clone(estimator).fit(one[train], y[train], groups=own)
        predictions[modality, "alone"] = alone.predict(one[test])
        forest = forests(300, random_state=estimator.random_state)
        forest.fit(np.asarray(one[train]), y[train])
        predictions[modality, "extra trees"] = forest.predict(np.asarray(one[test]))
    return predictions


def of_seed(estimator, X, y, groups, folds):
    """Return the metrics of the pooled out-of-fold predictions."""
    parts = Parallel()(
        delayed(predict_fold)(estimator, X, y, groups, *fold) for fold in folds
    )
    truth = np.concatenate([y[test] for _, test in folds])
    return {
        (modality, metric, method): value
        for modality, method in parts[0]
        for metric, value in scores(
            truth, np.concatenate([part[modality, method] for part in parts])
        ).items()
    }


def protocols(y, places, is_test, n_folds, seed):
    """Yield the name, the groups and the folds of each protocol."""
    rows = np.zeros(len(y))
    if is_test is None:
        folds = list(KFold(n_folds, shuffle=True, random_state=seed).split(rows))
        yield "random", None, folds
    else:
        split = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        yield "official split", None, [split]
    by_place = GroupKFold(n_folds, shuffle=True, random_state=seed)
    yield "by place", places, list(by_place.split(rows, y, places))


def settings_of(arguments, name, regression):
    """Return the parameters of the estimator."""
    settings = {"encoder": "ltae"}
    if arguments.settings == "paper":
        settings = dict(PAPER)
        if name == "fuel moisture":
            settings["batch_size"] = 32
        if not regression:
            settings["class_weight"] = "balanced"
    if arguments.encoder is not None:
        settings["encoder"] = arguments.encoder
    if arguments.max_epochs is not None:
        settings["max_epochs"] = arguments.max_epochs
    return settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_home", help="folder that holds the data, or gets it")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS))
    parser.add_argument("--settings", choices=["paper", "default"], default="paper")
    parser.add_argument("--protocols", nargs="+", choices=["random", "place"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--encoder")
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--download", action="store_true")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()

    options = {
        "data_home": arguments.data_home,
        "download_if_missing": arguments.download,
    }
    for name in arguments.only or BENCHMARKS:
        try:
            X, y, places, is_test = BENCHMARKS[name](**options)
        except OSError as error:
            print(f"{name}: not there ({error})")
            continue
        print(f"{name}: {len(y)} rows, {len(np.unique(places))} places, {X}")
        regression = y.dtype.kind == "f"
        kind = CoLearnRegressor if regression else CoLearnClassifier
        settings = settings_of(arguments, name, regression)
        found, start = {}, time.perf_counter()
        for seed in range(arguments.seeds):
            estimator = kind(random_state=seed, **settings)
            for protocol, groups, folds in protocols(
                y, places, is_test, arguments.folds, seed
            ):
                wanted = arguments.protocols or ["random", "place"]
                if ("place" if groups is not None else "random") not in wanted:
                    continue
                with parallel_config(
                    "loky", n_jobs=arguments.n_jobs, inner_max_num_threads=1
                ):
                    own = of_seed(estimator, X, y, groups, folds)
                found.setdefault(protocol, []).append(own)
                shown = {" ".join(key): round(value, 3) for key, value in own.items()}
                print(f"{name}, {protocol}, seed {seed}: {shown}", flush=True)
        for protocol, of_seeds in found.items():
            table = pd.DataFrame(of_seeds)
            table.columns = pd.MultiIndex.from_tuples(table.columns)
            mean, spread = table.mean().unstack(), table.std(ddof=0).unstack()
            shown = mean.map("{:.3f}".format) + " ± " + spread.map("{:.3f}".format)
            print(
                f"\n{name}, {protocol}: mean ± standard deviation of {len(of_seeds)} "
                f"seeds, {arguments.settings} settings"
            )
            print(shown[list(METHODS)].to_string())
        print(f"({time.perf_counter() - start:.0f} s)\n")


if __name__ == "__main__":
    main()
