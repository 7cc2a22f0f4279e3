"""How much accuracy is lost where sensors are missing? A curve on three data sets.

For each data set, share, seed and fold, this share of the training rows lacks sensors,
drawn among all ways to lack some but not all. Each sensor alone is scored on complete
rows of the test fold, by R2 for moisture and macro-F1 for classes. The methods are
co-learning on all rows, and the same encoder and a forest, each alone on the rows that
have its sensor.

Finished runs are stored in OUTPUT, one file each, and not repeated; `--report` only
prints the tables and draws OUTPUT/sensors.png. pairs.py measures the effect of
unlabelled rows.

    python benchmarks/missing.py DATA [--output missing] [--seeds 3] [--only lfmc]

Reported seeds start at 0. All tuning used seeds from 100.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from time import perf_counter

import data_sets
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.evaluation import ModalityReport

SHARES = (0.0, 0.3, 0.6, 0.9)
OURS, ALONE, FOREST = "co-learned", "alone", "forest"
RUN = ["data", "share"]


def algae(folder):
    return data_sets.algae(folder)[:2]


def lfmc(folder):
    return data_sets.lfmc(folder)[:2]


def generated(folder):
    # Shared factors determine the label; S1 is noisy.
    return make_multisensor(
        900,
        specific_signal=0.0,
        target_noise=0.5,
        noise={"S1": 2.0, "terrain": 1.0},
        random_state=0,
    )


DATA = {"algae": algae, "lfmc": lfmc, "generated": generated}


# -- what is missing ---------------------------------------------------------------


def without_sensors(X, share, rng):
    """Blank one or more sensors, but not all, in a share of the rows."""
    names = list(X)
    ways = np.arange(1, 2 ** len(names) - 1)  # bit i: sensor i is missing
    way = np.where(rng.random(len(X)) < share, rng.choice(ways, len(X)), 0)
    blanked = {}
    for i, name in enumerate(names):
        values = np.array(X[name], dtype=np.float32)
        values[(way >> i) & 1 == 1] = np.nan
        blanked[name] = values
    return ModalityDict(blanked)


# -- one run -----------------------------------------------------------------------


def run(X, y, train, test, *, share, seed, encoder):
    """Fit every method once and return one row per method and sensor."""
    is_regression = y.dtype.kind == "f"
    kind = CoLearnRegressor if is_regression else CoLearnClassifier
    trees = RandomForestRegressor if is_regression else RandomForestClassifier
    rng = np.random.default_rng([seed, round(1000 * share)])
    target = y[train]
    held = without_sensors(X[train], share, rng)
    encoders = {m: encoder if np.ndim(x) > 2 else "mlp" for m, x in X.items()}
    together = kind(encoder=encoders, random_state=seed)

    figures = []

    def note(method, modality, model, values, n_train, fit_time):
        start = perf_counter()
        answer = model.predict(values)
        score = (
            r2_score(y[test], answer)
            if is_regression
            else f1_score(y[test], answer, average="macro")
        )
        figures.append(
            {
                "modality": modality,
                "method": method,
                "score": score,
                "fit_time": fit_time,
                "predict_time": perf_counter() - start,
                "n_train": n_train,
                "n_test": len(test),
            }
        )

    there = {
        m: np.flatnonzero(~np.isnan(np.asarray(x)).reshape(len(x), -1).all(axis=1))
        for m, x in held.items()
    }
    start = perf_counter()
    together.fit(held, target)
    fit_time = perf_counter() - start
    for m in X:
        note(OURS, m, together, X[test].select(m), len(there[m]), fit_time)
    for m, used in there.items():
        start = perf_counter()
        alone = kind(encoder=encoders[m], random_state=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X holds one modality", UserWarning)
            alone.fit(held[used].select(m), target[used])
        note(ALONE, m, alone, X[test].select(m), len(used), perf_counter() - start)
        start = perf_counter()
        forest = trees(300, random_state=seed)
        forest.fit(np.asarray(held[used].select(m)), target[used])
        table = np.asarray(X[test].select(m))
        note(FOREST, m, forest, table, len(used), perf_counter() - start)
    return pd.DataFrame(figures)


# -- the report --------------------------------------------------------------------


def summarize(scores):
    """Return one row per data set, curve, share, sensor and method."""
    parts = {
        key: ModalityReport(of_point.drop(columns=RUN)).summary()
        for key, of_point in scores.groupby(RUN, sort=False)
    }
    return pd.concat(parts, names=RUN).sort_index(level=RUN, sort_remaining=False)


def print_report(table):
    for data, part in table.groupby(level="data", sort=False):
        part = part.droplevel("data")
        means = part["mean"].unstack("method")
        shown = means[[m for m in METHODS if m in means]].map("{:.3f}".format)
        shown = shown.replace("nan", "")
        shown[f"{OURS} - alone"] = [
            ""
            if np.isnan(row.difference)
            else f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in part.xs(OURS, level="method").reindex(means.index).itertuples()
        ]
        print(
            f"\n{data}, share of rows that lack sensors; n = {int(part['n'].max())}\n"
        )
        print(shown.reset_index().to_markdown(index=False))


#: Line styles of the methods, in the order of the tables.
METHODS = {
    OURS: {"color": "#0072b2", "marker": "o"},
    ALONE: {"color": "#d55e00", "marker": "^"},
    FOREST: {"color": "#777777", "marker": "x", "linestyle": ":"},
}


def draw(table, path):
    """Draw one row of panels per data set, one panel per sensor."""
    from matplotlib.figure import Figure

    names = {
        data: list(of_data.index.get_level_values("modality").unique())
        for data, of_data in table.groupby(level="data", sort=False)
    }
    n_columns = max(map(len, names.values()))
    figure = Figure((2.6 * n_columns, 2.2 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), n_columns, squeeze=False)
    for row, (data, modalities) in zip(axes, names.items(), strict=True):
        for panel in row[len(modalities) :]:
            panel.set_axis_off()
        for panel, modality in zip(row, modalities, strict=False):
            of_sensor = table.loc[data].xs(modality, level="modality")
            for method, style in METHODS.items():
                if method not in of_sensor.index.get_level_values("method"):
                    continue
                line = of_sensor.xs(method, level="method")
                x, y = 100 * line.index, line["mean"]
                panel.plot(x, y, label=method, linewidth=1.3, markersize=4, **style)
                low, high = y - line["std"], y + line["std"]
                panel.fill_between(
                    x, low, high, color=style["color"], alpha=0.12, linewidth=0
                )
            panel.set_title(f"{data}: {modality}", fontsize=9)
            panel.tick_params(labelsize=7)
        row[0].set_ylabel("R2" if data == "lfmc" else "macro-F1", fontsize=8)
    figure.supxlabel("training rows that lack sensors, %", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the npz files")
    parser.add_argument("--output", type=Path, default=Path("missing"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3, help="how many of 3 to run")
    parser.add_argument("--only", default="", help="data sets whose name begins so")
    parser.add_argument("--shares", type=float, nargs="*", help="some of the shares")
    parser.add_argument("--encoder", default="tempcnn", help="of time series")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    names = [name for name in DATA if name.startswith(arguments.only)]
    loaded = {} if arguments.report else {m: DATA[m](arguments.data) for m in names}
    runs = [
        (seed, fold, data, share)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for fold in range(arguments.folds)
        for data in names
        for share in arguments.shares or SHARES
    ]
    parts = []
    for seed, fold, data, share in runs:
        name = f"{data}; {share:g}; {arguments.encoder}; {seed}; {fold}"
        path = arguments.output / f"{name}.csv"
        if not path.exists() and not arguments.report:
            X, y = loaded[data]
            splitter = KFold if y.dtype.kind == "f" else StratifiedKFold
            splits = list(splitter(3, shuffle=True, random_state=seed).split(y, y))
            settings = {"share": share, "seed": seed}
            scores = run(X, y, *splits[fold], encoder=arguments.encoder, **settings)
            unfinished = path.with_suffix(".part")
            scores.to_csv(unfinished, index=False)
            unfinished.rename(path)
            print(f"done: {name}", flush=True)
        if path.exists():
            scores = pd.read_csv(path)
            labels = {"data": data, "share": share}
            parts.append(scores.assign(repeat=seed, fold=fold, **labels))
    if not parts:
        parser.error("nothing has been run yet")
    table = summarize(pd.concat(parts))
    print_report(table)
    draw(table, arguments.output / "sensors.png")


if __name__ == "__main__":
    main()
