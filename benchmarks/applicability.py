"""Relate `applicability` to the error, at new places and in altered rows.

Each of five folds by place is predicted by a model of the others, for each sensor. The
first table has the rank correlation of the index with the error (log loss or squared
error), the mean error by fifths of the index, and the share of rows above the
threshold. The second has this share and the mean error for the same rows with noise of
one standard deviation, with 1.5 standard deviations added to each value, and with the
bands in reverse order.

    python benchmarks/applicability.py DATA [--data algae france lfmc] [--encoder auto]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import data_sets
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.model_selection import GroupKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor


def spoilt(values, rng):
    """Yield the names of alterations and the altered values of a sensor."""
    scale = np.nanstd(values, axis=tuple(range(values.ndim - 1)))
    yield "new places", values
    yield "noise", values + scale * rng.normal(size=values.shape)
    yield "offset", values + 1.5 * scale
    yield "reversed", values[..., ::-1]


def errors(model, X, y):
    """Return the squared error or the log loss of each row."""
    if isinstance(model, CoLearnRegressor):
        return (model.predict(X) - y) ** 2
    p = model.predict_proba(X).astype(float)
    of_truth = p[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    return -np.log(np.clip(of_truth, 1e-7, None))


def measure(X, y, groups, settings):
    """Return one row per row of X, sensor and alteration."""
    values = y.dtype.kind == "f"
    folds = GroupKFold(5, shuffle=True, random_state=0).split(y, y, groups)
    tables = []
    for fold, (train, test) in enumerate(folds):
        estimator = CoLearnRegressor if values else CoLearnClassifier
        model = estimator(**settings, random_state=fold)
        model.fit(X[train], y[train], groups=groups[train])
        if not values:
            test = test[np.isin(y[test], model.classes_)]
        rng = np.random.default_rng(fold)
        for m in X:
            there = test[np.isfinite(X[m][test]).reshape(len(test), -1).any(axis=1)]
            limit = model.applicability_threshold_[m]
            for kind, changed in spoilt(X[m][there], rng):
                given = {m: changed}
                index = model.applicability(given)
                own = {"sensor": m, "kind": kind, "fold": fold, "index": index}
                own |= {
                    "outside": index > limit,
                    "error": errors(model, given, y[there]),
                }
                tables.append(pd.DataFrame(own))
    return pd.concat(tables)


def summarise(table):
    """Return the two tables."""
    rows = {}
    for m, own in table[table["kind"] == "new places"].groupby("sensor"):
        fifth = pd.qcut(own["index"].rank(method="first"), 5, labels=False)
        means = own["error"].groupby(fifth).mean()
        within = [spearmanr(t["index"], t["error"])[0] for _, t in own.groupby("fold")]
        rows[m] = {
            "spearman": np.mean(within),
            **{f"fifth {k + 1}": mean for k, mean in means.items()},
            "outside": own["outside"].mean(),
            "error inside": own["error"][~own["outside"]].mean(),
            "error outside": own["error"][own["outside"]].mean(),
        }
    kinds = table.groupby(["sensor", "kind"], sort=False)[["outside", "error"]].mean()
    return pd.DataFrame(rows).T, kinds.unstack()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the real data")
    parser.add_argument("--data", nargs="+", default=["algae", "france", "lfmc"])
    parser.add_argument("--encoder", default="auto")
    parser.add_argument("--cv", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    settings = {"encoder": arguments.encoder, "cv": arguments.cv}
    for name in arguments.data:
        X, y, groups = getattr(data_sets, name)(arguments.folder)
        groups = pd.factorize(groups)[0]
        for table in summarise(measure(X, y, groups, settings)):
            print(f"\n{name}\n{table.round(3).to_string()}", flush=True)


if __name__ == "__main__":
    main()
