"""Compare scores of cross-validation with scores at new places, for growing blocks.

The training rows of the algae data are split at random and by blocks of several sizes.
The cross-validated score of S2 stands beside the score of the same models on the
official test rows, which are from other lakes.

    python benchmarks/folds.py DATA [--seeds 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import data_sets
import numpy as np
import pandas as pd
import verde
from pyproj import Transformer
from scipy.spatial import KDTree
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_validate,
)

from sklearn_colearn import CoLearnClassifier, modality_scorers

SIZES = (10, 50, 100, 200, 400)  # km
SCORERS = modality_scorers(["neg_log_loss", "accuracy"], "S2")


def protocols(place, y, seed):
    """Yield the name, folds and groups of each way to split."""
    random = StratifiedKFold(5, shuffle=True, random_state=seed)
    yield "random", list(random.split(place, y)), None
    whole = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for size in SIZES:
        block = verde.block_split(place.T, spacing=size)[1]
        yield f"blocks of {size} km", list(whole.split(place, y, block)), block


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()

    X, y, _ = data_sets.algae(arguments.data)
    with np.load(arguments.data / "algae_blooms.npz") as file:
        latitude, longitude = file["latlon"].T.astype(float)
        test = file["is_test"]
    albers = Transformer.from_crs("EPSG:4326", "EPSG:5070", always_xy=True)
    place = np.column_stack(albers.transform(longitude, latitude)) / 1000
    X_new, y_new, X, y = X[test], y[test], X[~test], y[~test]
    new, place = place[test], place[~test]

    rows = []
    for seed in range(arguments.seeds):
        clf = CoLearnClassifier(encoder="mlp", random_state=seed)
        for name, folds, block in protocols(place, y, seed):
            found = cross_validate(
                *(clf, X, y),
                cv=folds,
                scoring=SCORERS,
                params={} if block is None else {"groups": block},
                return_estimator=True,
            )
            far = [KDTree(place[a]).query(place[b])[0] for a, b in folds]
            row = {"folds": name, "km": np.median(np.concatenate(far))}
            for key, scorer in SCORERS.items():
                at_new = [scorer(one, X_new, y_new) for one in found["estimator"]]
                row[key] = found[f"test_{key}"].mean()
                row[f"{key}, new lakes"] = np.mean(at_new)
            rows.append(row)
            print(seed, row, flush=True)
    table = pd.DataFrame(rows).groupby("folds", sort=False).mean()
    print(table.round(3).to_string())
    print("km to new lakes:", np.median(KDTree(place).query(new)[0]).round())


if __name__ == "__main__":
    main()
