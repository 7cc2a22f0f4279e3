"""Score Presto with pairs: as an encoder, and as a sensor that only training has.

At places that no training row is from, S1 and S2 answer by themselves. As in
`pairs.py`, half the rows of the test places, and the training rows whose label is
taken away, are pairs; all methods are scored on the other half. The days of the steps
are `times`, and three members are trained.

- alone: each sensor by itself;
- sensors: S1, S2 and, where there is one, weather;
- added: these and "embedding", the table of 128 numbers that frozen Presto makes of
  them together;
- instead: one sensor and "embedding", in place of the other sensors;
- presto: the sensors, with Presto as the encoder of S2, fine-tuned.

All but the first also with pairs. What is finished is kept in OUTPUT, a file for each
fit, and not run again; `--report` only prints the tables.

    python benchmarks/embeddings.py DATA [WEIGHTS] [--output embeddings] [--seeds 3]
"""

from __future__ import annotations

import argparse
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from data_sets import days_of
from pairs import ALL, Run, add_loss, kept
from presto import CASES

from sklearn_colearn.encoders import PrestoEmbedding
from sklearn_colearn.evaluation import corrected_interval

SHARES = (1.0, 0.1)
SENSORS = ("S1", "S2")
PAIRS = ", pairs"
METHODS = ("alone", "sensors", "added", "instead")
METHODS += tuple(method + PAIRS for method in METHODS[1:])
METHODS += ("presto", "presto" + PAIRS)
#: Who is compared with whom in the report.
RIVALS = {
    "sensors": "alone",
    "added": "sensors",
    "instead": "sensors",
    "sensors, pairs": "sensors",
    "added, pairs": "sensors, pairs",
    "instead, pairs": "sensors, pairs",
    "presto": "sensors",
    "presto, pairs": "sensors, pairs",
}


@cache
def data(name, folder, weights):
    """Return sensors with their days and the embedding; labels, places, bands."""
    X, y, places, bands, months = CASES[name](folder)
    series = np.concatenate([X[m] for m in bands], axis=2)
    names = [band for own in bands.values() for band in own]
    embedding = np.empty((len(y), 128))
    for month in np.unique(months):
        rows = months == month
        presto = PrestoEmbedding(weights, month=int(month) + 1, band_names=names)
        embedding[rows] = presto.fit_transform(series[rows])
    days = days_of(X, bands, months)
    return {**X, "embedding": embedding, **days}, y, places, bands


def evaluate(name, folder, weights, method, share, seed, fold):
    """Return a row for each sensor."""
    X, y, places, bands = data(name, folder, weights)
    times = {m: f"{m} days" for m in bands}
    run = Run(X, y, places, share, seed, fold, times)
    kind = method.removesuffix(PAIRS)
    settings = {"cv": 3, "pairs": method != kind}
    if kind == "presto":
        settings["encoder"] = {"S2": "presto"}
        settings["encoder_params"] = {
            "S2": {"weights": weights, "band_names": bands["S2"]}
        }
    if kind in ("alone", "instead"):
        for m in SENSORS:
            sensors = [m] if kind == "alone" else [m, "embedding"]
            run.co_learned(method, run.only(sensors), [m], **settings)
    else:
        sensors = [*bands, "embedding"] if kind == "added" else [*bands]
        run.co_learned(method, run.only(sensors), [*sensors, ALL], **settings)
    return pd.DataFrame(run.rows)


def report(table):
    """Print means, differences with their intervals, and processor time."""
    add_loss(table)
    table["score"] = table["log loss"].fillna(table["R2"])
    keys = ["data", "share", "sensor"]
    table = table[table["sensor"].isin([*SENSORS, ALL])]
    methods = [method for method in METHODS if method in set(table["method"])]
    told = table.groupby([*keys, "method"], sort=False)["score"].agg(
        lambda x: f"{x.mean():.3f} ± {x.std():.3f} ({len(x)})"
    )
    told = told.unstack(fill_value="")[methods].reset_index()
    print("R2 or log loss: mean, standard deviation and number of the folds\n")
    print(told.to_markdown(index=False))
    losses = table.pivot_table(
        index=[*keys, "seed", "fold"], columns="method", values="loss", sort=False
    )
    rows = []
    for key, part in losses.groupby(keys, sort=False):
        for method, rival in RIVALS.items():
            if method not in part or rival not in part:
                continue
            less = (part[rival] - part[method]).dropna()
            if len(less) > 1:
                low, high = corrected_interval(less, 0.25)
                row = {**dict(zip(keys, key, strict=True)), "method": method}
                row |= {"against": rival, "saved": less.mean(), "low": low}
                better = (less > 0).sum()
                rows.append({**row, "high": high, "better": better, "of": len(less)})
    if rows:  # of two folds at least
        told = pd.DataFrame(rows).sort_values([*keys[:2], "method"]).round(3)
        print("\nLoss that a method saves, its interval of 95 %; in how many folds\n")
        print(told.to_markdown(index=False))
    fits = table.drop_duplicates([*keys[:2], "seed", "fold", "method", "fit"])
    fits = fits.groupby([*keys[:2], "seed", "fold", "method"])["fit"].sum()
    fits = fits.groupby([*keys[:2], "method"], sort=False).mean().unstack()
    fits = fits[methods].round(0).reset_index()
    print(f"\nProcessor seconds\n\n{fits.to_markdown(index=False)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data")
    parser.add_argument("weights", nargs="?", help="if they are not to be downloaded")
    parser.add_argument("--output", type=Path, default=Path("embeddings"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=3, help="how many of 3 to run")
    parser.add_argument("--only", nargs="+", default=CASES)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    runs = [
        (name, method, share, seed, fold)
        for seed in range(arguments.seeds)
        for fold in range(arguments.folds)
        for share in arguments.shares
        for name in arguments.only
        for method in arguments.methods
    ]
    parts = []
    for name, method, share, seed, fold in runs:
        path = arguments.output / f"{name}; {method}; {share:g}; {seed}; {fold}.csv"
        given = (name, arguments.data, arguments.weights, method, share, seed, fold)
        told = {"data": name, "share": share, "seed": seed, "fold": fold}
        parts += kept(path, partial(evaluate, *given), told, arguments.report)
    report(pd.concat(parts))


if __name__ == "__main__":
    main()
