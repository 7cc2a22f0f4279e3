"""How the default settings of training compare with others, on several data sets.

One run each (seed 100) on a few folds, scored from one sensor at a time: R2 for LFMC
and forest plots, macro-F1 for algae and Flanders. Differences below .01 are noise; the
table is to see what matters, not to rank.

    python benchmarks/defaults.py DATA
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data_sets
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.datasets import fetch_lfmc, load_forest_plots

SEED = 100
PAPER = {
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0,
    "weight_averaging": 0,
    "contrastive_weight": 1.0,
    "distillation_weight": 0,
}
SETTINGS = {
    "defaults": {},
    "no teacher": {"distillation_weight": 0},
    "distillation 2": {"distillation_weight": 2.0},
    "contrastive 1": {"contrastive_weight": 1.0},
    "no averaging": {"weight_averaging": 0},
    "no averaging, cosine": {"weight_averaging": 0, "lr_schedule": "cosine"},
    "lr 1e-3, decay .01": {"lr": 1e-3, "weight_decay": 0.01},
    "decay 1": {"weight_decay": 1.0},
    "80 epochs": {"max_epochs": 80},
    "paper, 25 epochs, cosine": {**PAPER, "max_epochs": 25, "lr_schedule": "cosine"},
    "paper, early stopping": {**PAPER, "max_epochs": 200, "early_stopping": True},
}


def load(folder):
    """Return name -> (estimator, X, y, folds)."""
    lfmc = fetch_lfmc(data_home=folder)
    algae_X, algae_y, _ = data_sets.algae(folder)
    flanders_X, landcover, places = data_sets.flanders(folder)
    forest_X, cover = load_forest_plots(target="cover", return_X_y=True)
    shuffled = {"shuffle": True, "random_state": SEED}
    n_lfmc, n_algae = np.zeros(len(lfmc.target)), np.zeros(len(algae_y))
    return {
        "lfmc": (
            CoLearnRegressor,
            lfmc.data,
            lfmc.target,
            list(KFold(5, **shuffled).split(n_lfmc))[:2],
        ),
        "forest": (
            CoLearnRegressor,
            forest_X,
            cover,
            list(KFold(5, **shuffled).split(cover))[:2],
        ),
        "algae": (
            CoLearnClassifier,
            algae_X,
            algae_y,
            list(StratifiedKFold(5, **shuffled).split(n_algae, algae_y))[:2],
        ),
        "flanders": (
            CoLearnClassifier,
            flanders_X,
            landcover,
            list(GroupKFold(5).split(landcover, groups=places)),
        ),
    }


def score(kind, X, y, folds, setting):
    """Return the pooled score of each modality."""
    answers = {modality: [] for modality in X}
    for train, test in folds:
        estimator = kind(random_state=SEED, **setting).fit(X[train], y[train])
        for modality in X:
            answers[modality].append(estimator.predict(X[test].select(modality)))
    truth = np.concatenate([y[test] for _, test in folds])
    return {
        modality: r2_score(truth, np.concatenate(parts))
        if kind is CoLearnRegressor
        else f1_score(truth, np.concatenate(parts), average="macro")
        for modality, parts in answers.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the npz files")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    data = load(arguments.data)
    jobs = [(name, setting) for setting in SETTINGS for name in data]
    with parallel_config("loky", n_jobs=arguments.n_jobs, inner_max_num_threads=1):
        scores = Parallel()(
            delayed(score)(*data[name], SETTINGS[setting]) for name, setting in jobs
        )
    columns = {}
    for (name, setting), of_modality in zip(jobs, scores, strict=True):
        for modality, value in of_modality.items():
            columns.setdefault((name, modality), {})[setting] = value
    table = pd.DataFrame(columns)
    print(table.map("{:.3f}".format).to_string())


if __name__ == "__main__":
    main()
