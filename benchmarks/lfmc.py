"""The paper's LFMC benchmark: what each sensor alone can do, by itself and co-learned.

Live fuel moisture content (regression) from Sentinel-1 and optical series of four
months. Two protocols: random 10-fold, as in the paper, and 10-fold by site. The random
one has other dates of the same sites among its training rows, which flatters every
model; the grouped one says what to expect at a new site.

Out-of-fold predictions are pooled and give one R2 per seed. No test fold is looked at
before it is predicted: the settings are the defaults, or those given here.

    python benchmarks/lfmc.py DATA_HOME [--seeds 3] [--encoder tempcnn]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold

from sklearn_colearn import CoLearnRegressor
from sklearn_colearn.datasets import fetch_lfmc

METHODS = ("alone", "co-learned", "extra trees")


def predict_fold(estimator, X, y, groups, train, test):
    """Return the predictions of the test rows by (modality, method)."""
    own = None if groups is None else groups[train]
    predictions = {}
    together = clone(estimator).fit(X[train], y[train], groups=own)
    for modality in X:
        one = X.select(modality)
        predictions[modality, "co-learned"] = together.predict(one[test])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X holds one modality", UserWarning)
            alone = clone(estimator).fit(one[train], y[train], groups=own)
        predictions[modality, "alone"] = alone.predict(one[test])
        flat = np.asarray(one)
        forest = ExtraTreesRegressor(300, random_state=estimator.random_state)
        forest.fit(flat[train], y[train])
        predictions[modality, "extra trees"] = forest.predict(flat[test])
    return predictions


def pooled_r2(estimator, X, y, groups, folds):
    """Return the R2 of the pooled out-of-fold predictions by (modality, method)."""
    parts = Parallel()(
        delayed(predict_fold)(estimator, X, y, groups, *fold) for fold in folds
    )
    tested = np.concatenate([test for _, test in folds])
    return {
        key: r2_score(y[tested], np.concatenate([part[key] for part in parts]))
        for key in parts[0]
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data_home", help="folder that holds the data, or gets it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoder", default="ltae")
    parser.add_argument("--protocols", nargs="+", choices=["random", "site"])
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()

    data = fetch_lfmc(data_home=arguments.data_home)
    X, y, site = data.data, data.target, data.site
    print(f"LFMC: {len(y)} rows, {len(np.unique(site))} sites, {X}")
    protocols = {"random 10-fold": (KFold, None), "10-fold by site": (GroupKFold, site)}
    for name, (splitter, groups) in protocols.items():
        if arguments.protocols and not any(p in name for p in arguments.protocols):
            continue
        start = time.perf_counter()
        scores = []
        for seed in range(arguments.seeds):
            estimator = CoLearnRegressor(encoder=arguments.encoder, random_state=seed)
            splits = splitter(10, shuffle=True, random_state=seed)
            folds = list(splits.split(np.zeros(len(y)), y, groups))
            with parallel_config(
                "loky", n_jobs=arguments.n_jobs, inner_max_num_threads=1
            ):
                scores.append(pooled_r2(estimator, X, y, groups, folds))
            of_seed = {" ".join(key): round(r2, 3) for key, r2 in scores[-1].items()}
            print(f"{name}, seed {seed}: {of_seed}", flush=True)
        table = pd.DataFrame(scores)
        table.columns = pd.MultiIndex.from_tuples(table.columns)
        mean, spread = table.mean().unstack(), table.std().unstack()
        shown = mean.map("{:.3f}".format) + " ± " + spread.map("{:.3f}".format)
        seconds = time.perf_counter() - start
        print(
            f"\n{name}: pooled R2, mean ± standard deviation of {arguments.seeds} "
            f"seeds ({seconds:.0f} s)"
        )
        print(shown[list(METHODS)].to_string())


if __name__ == "__main__":
    main()
