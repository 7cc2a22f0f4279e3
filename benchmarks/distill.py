"""Compare one small network with the five members it imitates, on real data by place.

One of three folds of places is the test fold. `export(distill=)` trains the small
network on the training rows that the model keeps (`True`), or on the sensor's rows of
all folds, without labels (`rows`). Prints accuracy and log loss, or R2.

    python benchmarks/distill.py DATA [--only algae lfmc ...]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import data_sets
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.model_selection import GroupKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor

SETS = ("algae", "flanders", "france", "lfmc", "forest_cover", "cube")
REGRESSION = ("lfmc", "forest_cover", "cube")


def rows_of(name, folder):
    X, y, groups = getattr(data_sets, name)(folder)
    groups = np.arange(len(y)) if groups is None else groups
    folds = GroupKFold(3, shuffle=True, random_state=0)
    train, test = next(folds.split(y, groups=groups))
    estimator = CoLearnRegressor if name in REGRESSION else CoLearnClassifier
    model = estimator(random_state=0).fit(X[train], y[train], groups=groups[train])
    for sensor in X:
        flat = np.asarray(X[sensor]).reshape(len(y), -1)
        own = test[~np.isnan(flat[test].astype(float)).all(axis=1)]
        models = {
            "members": model.export(sensor),
            "small, True": model.export(sensor, distill=True),
            "small, rows": model.export(sensor, distill=X),
        }
        for which, one in models.items():
            scores = {}
            if name in REGRESSION:
                scores["R2"] = r2_score(y[own], one.predict(X[own]))
            else:
                p = one.predict_proba(X[own])
                known = np.isin(y[own], one.classes_)
                truth = y[own][known]
                scores["accuracy"] = accuracy_score(truth, one.predict(X[own])[known])
                scores["log loss"] = log_loss(truth, p[known], labels=one.classes_)
            yield {"set": name, "sensor": sensor, "model": which, **scores}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", default=SETS, choices=SETS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    found = []
    for name in arguments.only:
        for row in rows_of(name, arguments.data):
            print(row, flush=True)
            found.append(row)
    table = pd.DataFrame(found).set_index(["set", "sensor", "model"]).unstack("model")
    print(table.dropna(axis=1, how="all").round(3).to_string())
    for metric in table.columns.levels[0]:
        members = table[metric, "members"]
        for small in ("small, True", "small, rows"):
            lost = members - table[metric, small]
            lost = -lost if metric == "log loss" else lost
            print(f"{metric} lost by {small}: {lost.mean():.4f} on average")


if __name__ == "__main__":
    main()
