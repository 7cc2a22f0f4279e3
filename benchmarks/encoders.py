"""Score every encoder of time series with members, from one sensor at a time.

Log loss for algae and crops, R2 for fuel moisture, on the folds of `accuracy.py`, and
processor seconds of a fit. Finished runs are stored in OUTPUT and not repeated.

    python benchmarks/encoders.py DATA [--output encoders] [--encoders mlp ltae]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from accuracy import answers_of, folds, load, scores

DATA = ("fuel moisture", "algae", "crops")
ENCODERS = (
    *("linear", "mlp", "tempcnn", "gru", "tae", "ltae"),
    *("transformer", "convtran", "inceptiontime"),
)


def evaluate(name, folder, encoder):
    """Return one row per sensor and fold."""
    X, y, groups, classes, truth, kind = load(name, folder)
    rows = []
    for train, every in folds(name, y, groups, seed=0):
        start = process_time()
        model = kind(encoder=encoder, random_state=0)
        model.fit(X[train], y[train], groups=groups[train])
        seconds = process_time() - start
        for sensor in X:
            test = every[~np.isnan(X[sensor][every]).all(axis=(1, 2))]
            found, _ = answers_of(model, X[test].select(sensor), classes)
            scored = scores(found, truth[test], classes)
            score = scored["R2"] if classes is None else scored["log loss"]
            rows.append({"sensor": sensor, "score": score, "seconds": seconds})
    return pd.DataFrame(rows).groupby("sensor", sort=False).mean().reset_index()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data")
    parser.add_argument("--output", type=Path, default=Path("encoders"))
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    parts = []
    for encoder in arguments.encoders:
        for name in DATA:
            path = arguments.output / f"{name}; {encoder}.csv"
            if not path.exists():
                evaluate(name, arguments.data, encoder).to_csv(path, index=False)
                print(f"done: {path.stem}", flush=True)
            parts.append(pd.read_csv(path).assign(data=name, encoder=encoder))
    table = pd.concat(parts)
    shown = table.pivot(index="encoder", columns=["data", "sensor"], values="score")
    seconds = table.groupby(["encoder", "data"])["seconds"].first().unstack()
    shown = shown.round(3).loc[list(arguments.encoders)]
    for name in DATA:
        shown[f"{name}, s"] = seconds[name].round(0)
    shown.columns = [" ".join(filter(None, np.atleast_1d(c))) for c in shown.columns]
    print(shown.reset_index().to_markdown(index=False))


if __name__ == "__main__":
    main()
