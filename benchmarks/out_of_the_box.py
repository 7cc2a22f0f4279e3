"""Default parameters on awkward real data: macro-F1 of each sensor.

algae_blooms (cyanobacteria severity, official test split; classes 4 and 5 merged, since
class 5 has six rows; one weather band is constant) and flanders2018 (land cover,
5-fold by location), the estimator as it comes.

    python benchmarks/out_of_the_box.py DATA [--seeds 3]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import data_sets
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold

from sklearn_colearn import CoLearnClassifier


def algae(folder):
    X, y, data = data_sets.algae(folder)
    train, test = np.flatnonzero(~data["is_test"]), np.flatnonzero(data["is_test"])
    return X, y, [(train, test)]


def flanders(folder):
    X, y, data = data_sets.flanders(folder)
    return X, y, list(GroupKFold(5).split(X, y, data["location"]))


def predict_fold(X, y, train, test, seed):
    """Return the predictions of the test rows by (modality, method)."""
    predictions = {}
    together = CoLearnClassifier(random_state=seed).fit(X[train], y[train])
    for modality in X:
        one = X.select(modality)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X holds one modality", UserWarning)
            alone = CoLearnClassifier(random_state=seed).fit(one[train], y[train])
        flat = np.asarray(one)
        forest = ExtraTreesClassifier(300, random_state=seed)
        predictions[modality, "alone"] = alone.predict(one[test])
        predictions[modality, "co-learned"] = together.predict(one[test])
        forest.fit(flat[train], y[train])
        predictions[modality, "extra trees"] = forest.predict(flat[test])
    return predictions


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the npz files")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    for load in (algae, flanders):
        X, y, folds = load(arguments.data)
        with parallel_config("loky", n_jobs=arguments.n_jobs, inner_max_num_threads=1):
            parts = Parallel()(
                delayed(predict_fold)(X, y, train, test, seed)
                for seed in range(arguments.seeds)
                for train, test in folds
            )
        tested = np.concatenate([test for _, test in folds])
        scores = []
        for seed in range(arguments.seeds):
            of_seed = parts[seed * len(folds) : (seed + 1) * len(folds)]
            scores.append(
                {
                    key: f1_score(
                        y[tested],
                        np.concatenate([part[key] for part in of_seed]),
                        average="macro",
                    )
                    for key in of_seed[0]
                }
            )
        table = pd.DataFrame(scores)
        table.columns = pd.MultiIndex.from_tuples(table.columns)
        mean, spread = table.mean().unstack(), table.std().unstack()
        shown = mean.map("{:.3f}".format) + " ± " + spread.map("{:.3f}".format)
        print(f"\n{load.__name__}: {X}, {len(np.unique(y))} classes")
        print(f"macro-F1, mean ± standard deviation of {arguments.seeds} seeds")
        print(shown[["alone", "co-learned", "extra trees"]].to_string())


if __name__ == "__main__":
    main()
