"""Accuracy, size and time of each encoder, on series of 12 and of 4 steps.

For each data set (algae blooms, 12 steps; live fuel moisture, 4 steps), number of
training rows, encoder and seed, on 3 folds: the co-learned estimator, asked from one
sensor at a time. Macro-F1 for algae, R2 for moisture. A few encoders are run with
share_encoder=True too. What is finished is a row of OUTPUT and is not run again;
`--report` only prints the tables. Times are seconds of the processor, in all threads of
this process.

    python benchmarks/encoders.py DATA [--output encoders.csv] [--seeds 3] [--only lfmc]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import data_sets
import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.encoders import ENCODERS

# Those that read time series.
NAMES = [name for name in ENCODERS if name != "resnet"]
SHARED = ["mlp", "tempcnn", "gru", "ltae"]
# All training rows of a fold (0), or so many: which encoder is for few rows?
N_TRAIN = [0, 200]
N_FOLDS = 3
RUN = ["data", "n_train", "encoder", "shared", "seed", "fold"]


def algae(folder):
    return data_sets.algae(folder)[:2]


def lfmc(folder):
    return data_sets.lfmc(folder)[:2]


DATA = {"algae": algae, "lfmc": lfmc}


def folds(y, seed, n_train):
    """Return the training rows, cut to `n_train`, and the test rows of each fold."""
    kind = KFold if y.dtype.kind == "f" else StratifiedKFold
    rng = np.random.default_rng(seed)
    splits = kind(N_FOLDS, shuffle=True, random_state=seed).split(y, y)
    return [
        (rng.permutation(train)[:n_train] if n_train else train, test)
        for train, test in splits
    ]


def run(X, y, train, test, *, encoder, shared, seed):
    """Fit once; return a row for each sensor."""
    is_regression = y.dtype.kind == "f"
    kind = CoLearnRegressor if is_regression else CoLearnClassifier
    estimator = kind(encoder=encoder, share_encoder=shared, random_state=seed)
    start = process_time()
    estimator.fit(X[train], y[train])
    fit_time = process_time() - start
    rows = []
    for modality in X:
        values = X[test].select(modality)
        start = process_time()
        answer = estimator.predict(values)
        predict_time = process_time() - start
        score = (
            r2_score(y[test], answer)
            if is_regression
            else f1_score(y[test], answer, average="macro")
        )
        network = estimator.net_.module_.network(modality)
        rows.append(
            {
                "modality": modality,
                "score": score,
                "parameters": sum(p.numel() for p in network.parameters()),
                "fit_time": fit_time,
                "predict_time": predict_time * 1000 / len(test),
            }
        )
    return rows


def print_report(table):
    """Print a table for each data set: a row for each encoder, best first."""
    keys = ["n_train", "encoder", "shared"]
    for name, of_data in table.groupby("data"):
        # The spread is that of seeds: folds of one seed share most of their rows.
        by_seed = of_data.groupby([*keys, "modality", "seed"])["score"].mean()
        by_seed = by_seed.unstack("modality")
        mean, spread = (by_seed.groupby(keys).agg(f) for f in ("mean", "std"))
        shown = mean.map("{:.3f}".format) + spread.map(" ± {:.3f}".format).replace(
            " ± nan", ""
        )
        # A fold is a fit, and has a row for each sensor.
        per_fit = of_data.groupby([*keys, "seed", "fold"])
        size = per_fit["parameters"].sum().groupby(keys).mean() / 1000
        shown["parameters, thousand"] = size.map("{:.0f}".format)
        fit_time = per_fit["fit_time"].first().groupby(keys).mean()
        shown["fit, s"] = fit_time.map("{:.1f}".format)
        predict_time = per_fit["predict_time"].mean().groupby(keys).mean() * 1000
        shown["predict 1000 rows, ms"] = predict_time.map("{:.0f}".format)
        shown.insert(0, "mean", mean.mean(axis=1))
        shown = shown.sort_values(["n_train", "mean"], ascending=[True, False])
        shown["mean"] = shown["mean"].map("{:.3f}".format)
        shown = shown.rename(index={0: "all"}, level="n_train")
        n_seeds = of_data["seed"].nunique()
        n_fits = of_data.groupby(["seed", "fold"]).ngroups
        print(f"\n{name}, {n_fits} fits of {n_seeds} seed(s)\n")
        print(shown.reset_index().to_markdown(index=False, disable_numparse=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the npz files")
    parser.add_argument("--output", type=Path, default=Path("encoders.csv"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=N_FOLDS, help="how many to run")
    parser.add_argument("--only", default="", help="data sets whose name begins so")
    parser.add_argument("--encoders", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    done = set()
    if arguments.output.exists():
        table = pd.read_csv(arguments.output)
        done = set(table[RUN].itertuples(index=False, name=None))
    data = {
        name: load(arguments.data)
        for name, load in DATA.items()
        if name.startswith(arguments.only) and not arguments.report
    }
    runs = [
        (name, n_train, encoder, shared, seed)
        for seed in range(arguments.seeds)
        for name in data
        for n_train in N_TRAIN
        for shared in (False, True)
        for encoder in arguments.encoders
        if encoder in SHARED or not shared
    ]
    for name, n_train, encoder, shared, seed in runs:
        X, y = data[name]
        for fold, (train, test) in enumerate(
            folds(y, seed, n_train)[: arguments.folds]
        ):
            key = (name, n_train, encoder, shared, seed, fold)
            if key in done:
                continue
            rows = run(X, y, train, test, encoder=encoder, shared=shared, seed=seed)
            labels = dict(zip(RUN, key, strict=True))
            finished = pd.DataFrame([{**labels, **row} for row in rows])
            finished.to_csv(
                arguments.output,
                mode="a",
                header=not arguments.output.exists(),
                index=False,
            )
            print("done:", *key, flush=True)
    print_report(pd.read_csv(arguments.output))


if __name__ == "__main__":
    main()
