"""Score Presto against the default encoder and trees, with all labels and with few.

At places that no training row is from (the folds of `accuracy.py`), members are trained
on all sensors and asked from one at a time: Presto fine-tuned, on all sensors or on S2
alone, and frozen, the default encoder with the same times and without, and extremely
randomised trees on the sensor, with its first month and without. R2 of fuel moisture,
log loss of algae and crops; processor seconds of a fit. What is finished is kept in
OUTPUT and not run again.

    python benchmarks/presto.py DATA [WEIGHTS] [--output presto] [--folds 3] [--cv 3]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from accuracy import answers_of, baselines, folds, scores
from data_sets import MONTH, algae_months, days_of, lfmc_months

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import fetch_lfmc

SHARES = (1.0, 0.3, 0.1)


def algae(folder):
    """Twelve months that end with a measurement in a lake."""
    data = np.load(folder / "algae_blooms.npz")
    X = {name: data[name] for name in ("S1", "S2", "weather")}
    squares = np.unique(np.round(data["latlon"]), axis=0, return_inverse=True)[1]
    bands = {
        "S1": ["VV", "VH"],
        # The stored NDVI was computed from other bands.
        "S2": [*(f"B{n}" for n in (2, 3, 4, 5, 6, 7, 8, "8A", 9, 11, 12)), None],
        "weather": ["temperature_2m", "total_precipitation"],
    }
    y = np.minimum(data["y"], 4).astype(str)
    return X, y, squares.ravel(), bands, algae_months(folder)


def moisture(folder):
    """Four months that end with a field measurement; optics are of Landsat.

    Of one band of short-wave infrared where Presto has two, of differences and of NDWI
    and NIRv it has no counterpart.
    """
    data = fetch_lfmc(data_home=folder)
    bands = {
        "S1": ["VV", "VH", None],
        "S2": ["red", "green", "blue", None, "nir", "NDVI", None, None],
    }
    X = {name: data.data[name] for name in bands}
    y = data.target.astype(float)
    return X, y, data["site"], bands, lfmc_months(folder)


def crops(folder):
    """Twelve months of parcels in France, in Presto's units."""
    table = pd.read_parquet(folder / "france2022_long.parquet")
    table = table[table["timestamp"].between("2022-01-01", "2022-12-31")]
    n_parcels = table.groupby("ewoc_code")["sample_id"].transform("nunique")
    table = table[n_parcels >= 20].sort_values(["sample_id", "timestamp"])
    parcels = table.groupby("sample_id").first()

    def series(columns):
        values = table[columns].to_numpy(dtype=float).copy()
        values[values == 65535] = np.nan
        return values.reshape(len(parcels), -1, len(columns))

    bands = {
        "S1": ["VV", "VH"],
        "S2": [f"B{n}" for n in (2, 3, 4, 5, 6, 7, 8, 11, 12)],
        "weather": ["temperature_2m", "total_precipitation"],
    }
    radar = series(["S1-SIGMA0-VV", "S1-SIGMA0-VH"])
    optics = [f"S2-L2A-B{n:02}" for n in (2, 3, 4, 5, 6, 7, 8, 11, 12)]
    weather = series(["AGERA5-TMEAN", "AGERA5-PRECIP"]) / 100  # kelvin, mm a month
    X = {
        "S1": 20 * np.log10(radar) - 83,
        "S2": series(optics),
        "weather": weather / [1, 1000 * MONTH],
    }
    cells = (4 * parcels[["lon", "lat"]]).round().astype(int).astype(str)
    places = (cells.lon + " " + cells.lat).to_numpy()
    y = parcels["ewoc_code"].to_numpy().astype(str)
    return X, y, places, bands, np.zeros(len(y), dtype=int)


CASES = {"moisture": moisture, "algae": algae, "crops": crops}
NO_DATES = ", no dates"
#: The sensors that have Presto, and whether it is frozen; the others the default.
METHODS = {
    "default": ((), False),
    "default" + NO_DATES: ((), False),
    "presto, frozen": (("S1", "S2", "weather"), True),
    "presto, fine-tuned": (("S1", "S2", "weather"), False),
    "presto on S2, fine-tuned": (("S2",), False),
    "trees": None,
    "trees" + NO_DATES: None,
}


def some(rows, truth, share, classes, seed):
    """Return a share of the rows, and of each class two at least."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(rows)
    if classes is None:
        return np.sort(order[: round(share * len(rows))])
    parts = [order[truth[order] == number] for number in range(len(classes))]
    return np.sort(np.concatenate([p[: max(2, round(share * len(p)))] for p in parts]))


def evaluate(name, folder, weights, method, share, n_folds, cv):
    """Return a row for each sensor and fold."""
    X, y, groups, bands, months = CASES[name](folder)
    classes = np.unique(y) if y.dtype.kind == "U" else None
    truth = y if classes is None else np.searchsorted(classes, y)
    whole = ModalityDict({**X, **days_of(X, bands, months)})
    dated = not method.endswith(NO_DATES)
    settings = {"cv": cv, "random_state": 0}
    if dated:
        settings["times"] = {m: f"{m} days" for m in bands}
    given = METHODS[method]
    if given is not None:
        sensors, freeze = given
        settings["encoder"] = {m: "presto" for m in bands if m in sensors}
        settings["encoder_params"] = {
            m: {"weights": weights, "band_names": bands[m], "freeze": freeze}
            for m in settings["encoder"]
        }
    kind = CoLearnRegressor if classes is None else CoLearnClassifier
    rows = []
    has = {m: ~np.isnan(X[m]).all(axis=(1, 2)) for m in bands}
    has["all"] = np.any(list(has.values()), axis=0)
    for fold, (train, every) in enumerate(folds(name, y, groups, seed=0)):
        if fold == n_folds:
            break
        train = some(train, truth, share, classes, seed=fold)
        start = process_time()
        if given is not None:
            read = whole if dated else whole.select([*bands])
            model = kind(**settings).fit(read[train], y[train], groups=groups[train])
            fitted = process_time() - start
        for m in [*bands, "all"]:
            names, test = bands if m == "all" else [m], every[has[m][every]]
            if given is None:
                parts = [X[own].reshape(len(y), -1) for own in names]
                flat = np.column_stack([months, *parts] if dated else parts)
                start = process_time()
                trees = baselines(classes is not None, 0)["extra trees"]
                trees.fit(flat[train], y[train])
                fitted = process_time() - start
                found, _ = answers_of(trees, flat[test], classes)
            else:
                keys = [*names, *(f"{own} days" for own in names if dated)]
                found, _ = answers_of(model, whole[test].select(keys), classes)
            scored = scores(found, truth[test], classes)
            score = scored["R2"] if classes is None else scored["log loss"]
            row = {"sensor": m, "fold": fold, "score": score, "seconds": fitted}
            rows.append({**row, "macro-F1": scored.get("macro-F1", np.nan)})
    return pd.DataFrame(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data")
    parser.add_argument("weights", nargs="?", help="if they are not to be downloaded")
    parser.add_argument("--output", type=Path, default=Path("presto"))
    parser.add_argument("--folds", type=int, default=3, help="the first of three")
    parser.add_argument("--cv", type=int, default=3, help="members")
    parser.add_argument("--only", nargs="+", default=CASES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    parts = []
    for share in sorted(arguments.shares):  # the quick ones first
        for method in arguments.methods:
            for name in arguments.only:
                path = arguments.output / f"{name}; {method}; {share}.csv"
                if not path.exists():
                    found = evaluate(
                        name,
                        arguments.data,
                        arguments.weights,
                        method,
                        share,
                        arguments.folds,
                        arguments.cv,
                    )
                    found.to_csv(path, index=False)
                    print(f"done: {path.stem}", flush=True)
                told = {"data": name, "method": method, "labels": f"{share:.0%}"}
                parts.append(pd.read_csv(path).assign(**told))
    table = pd.concat(parts).query(f"fold < {arguments.folds}")
    means = table.groupby(["data", "labels", "method", "sensor"], sort=False)
    for column in ("score", "macro-F1"):
        shown = means[column].mean().unstack().round(3)
        print(shown.reset_index().to_markdown(index=False))
    seconds = table.groupby(["data", "labels", "method"], sort=False)["seconds"].mean()
    print(seconds.unstack("method").round(0).reset_index().to_markdown(index=False))


if __name__ == "__main__":
    main()
