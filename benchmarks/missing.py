"""How much is lost where sensors or labels are missing? Two curves, on three data sets.

For each data set, share, seed and fold, from each sensor by itself, on complete rows of
the test fold; R2 for moisture, macro-F1 for classes:

- `sensors`: so many of the training rows lack sensors, drawn among all ways to lack
  some but not all. Compared are co-learning on all rows, the same encoder alone on the
  rows that have its sensor, and a forest on these.
- `labels`: so many of the training rows have a label, at least one of each class.
  Co-learning on all rows, the others being unlabelled, and on the labelled rows only;
  alone and the forest on the labelled rows.

What is finished is kept in OUTPUT, a file for each run, and not run again; `--report`
only prints the tables and draws the figures, OUTPUT/sensors.png and OUTPUT/labels.png.

    python benchmarks/missing.py DATA [--output missing] [--seeds 3] [--only lfmc]

Reported are seeds from 0 on; whatever was tuned, was tuned on seeds from 100 on.
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

SHARES = {
    "sensors": (0.0, 0.3, 0.6, 0.9),
    "labels": (0.02, 0.05, 0.1, 0.15, 0.3, 1.0),
}
OURS, LABELLED, ALONE, FOREST = "co-learned", "labelled only", "alone", "forest"
RUN = ["data", "curve", "share"]


def algae(folder):
    return data_sets.algae(folder)[:2]


def lfmc(folder):
    return data_sets.lfmc(folder)[:2]


def generated(folder):
    # The label is in what the sensors share, and S1 is a poor sensor of it.
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
    """Blank some sensors, but not all, in a share of the rows."""
    names = list(X)
    ways = np.arange(1, 2 ** len(names) - 1)  # bit i: sensor i is lacking
    way = np.where(rng.random(len(X)) < share, rng.choice(ways, len(X)), 0)
    blanked = {}
    for i, name in enumerate(names):
        values = np.array(X[name], dtype=np.float32)
        values[(way >> i) & 1 == 1] = np.nan
        blanked[name] = values
    return ModalityDict(blanked)


def without_labels(y, share, rng):
    """Tell which rows keep their label: a share, of each class by itself."""
    keeps = np.zeros(len(y), dtype=bool)
    classes = np.zeros(len(y)) if y.dtype.kind == "f" else y
    for label in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == label))
        keeps[rows[: int(np.ceil(share * len(rows)))]] = True
    return keeps


# -- one run -----------------------------------------------------------------------


def run(X, y, train, test, *, curve, share, seed, encoder):
    """Fit every method once; return a row for each and each sensor."""
    is_regression = y.dtype.kind == "f"
    kind = CoLearnRegressor if is_regression else CoLearnClassifier
    trees = RandomForestRegressor if is_regression else RandomForestClassifier
    rng = np.random.default_rng([seed, round(1000 * share)])
    target = y[train].astype(float)
    rows = np.ones(len(train), dtype=bool)
    held = X[train]
    if curve == "sensors":
        held = without_sensors(held, share, rng)
    else:
        rows = without_labels(y[train], share, rng)
        target[~rows] = np.nan
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
        m: np.flatnonzero(
            rows & ~np.isnan(np.asarray(x)).reshape(len(x), -1).all(axis=1)
        )
        for m, x in held.items()
    }
    fits = {OURS: np.arange(len(train))}
    if not rows.all():
        fits[LABELLED] = np.flatnonzero(rows)
    for method, used in fits.items():
        start = perf_counter()
        together.fit(held[used], target[used])
        fit_time = perf_counter() - start
        for m in X:
            note(method, m, together, X[test].select(m), len(there[m]), fit_time)
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
    """Return a row for each data set, curve, share, sensor and method."""
    parts = {
        key: ModalityReport(of_point.drop(columns=RUN)).summary()
        for key, of_point in scores.groupby(RUN, sort=False)
    }
    return pd.concat(parts, names=RUN).sort_index(level=RUN, sort_remaining=False)


def print_report(table):
    for (data, curve), part in table.groupby(level=["data", "curve"], sort=False):
        part = part.droplevel(["data", "curve"])
        means = part["mean"].unstack("method")
        shown = means[[m for m in METHODS if m in means]].map("{:.3f}".format)
        shown = shown.replace("nan", "")
        for method in (OURS, LABELLED):
            if method in means:
                of_method = part.xs(method, level="method")
                shown[f"{method} - alone"] = [
                    ""
                    if np.isnan(row.difference)
                    else f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
                    for row in of_method.reindex(means.index).itertuples()
                ]
        print(f"\n{data}, share of rows by {curve}; n = {int(part['n'].max())}\n")
        print(shown.reset_index().to_markdown(index=False))
    few = table.loc[
        (table.index.get_level_values("curve") == "labels")
        & table.index.get_level_values("share").isin((0.1, 0.15))
    ]
    if len(few):
        ours, alone = (few.xs(m, level="method") for m in (OURS, ALONE))
        print(
            f"\nAt 10 and 15 % of the labels, {len(ours)} points: mean score "
            f"{ours['mean'].mean():.3f} with the unlabelled rows, "
            f"{alone['mean'].mean():.3f} alone, "
            f"{ours['mean'].mean() / alone['mean'].mean() - 1:+.1%}; "
            f"{(ours['difference'] > 0).sum()} better, {(ours['low'] > 0).sum()} "
            f"beyond the interval, {(ours['high'] < 0).sum()} worse beyond it."
        )


#: In the order of the tables, with the line of each in the figures.
METHODS = {
    OURS: {"color": "#0072b2", "marker": "o"},
    LABELLED: {"color": "#56b4e9", "marker": "s", "linestyle": "--"},
    ALONE: {"color": "#d55e00", "marker": "^"},
    FOREST: {"color": "#777777", "marker": "x", "linestyle": ":"},
}


def draw(table, curve, path):
    """Draw a row of panels for each data set, a panel for each sensor."""
    from matplotlib.figure import Figure

    part = table.xs(curve, level="curve")
    names = {
        data: list(of_data.index.get_level_values("modality").unique())
        for data, of_data in part.groupby(level="data", sort=False)
    }
    n_columns = max(map(len, names.values()))
    figure = Figure((2.6 * n_columns, 2.2 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), n_columns, squeeze=False)
    for row, (data, modalities) in zip(axes, names.items(), strict=True):
        for panel in row[len(modalities) :]:
            panel.set_axis_off()
        for panel, modality in zip(row, modalities, strict=False):
            of_sensor = part.loc[data].xs(modality, level="modality")
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
            if curve == "labels":
                panel.set_xscale("log")
                shares = [100 * share for share in SHARES["labels"]]
                panel.set_xticks(shares, [f"{share:g}" for share in shares])
                panel.minorticks_off()
            panel.set_title(f"{data}: {modality}", fontsize=9)
            panel.tick_params(labelsize=7)
        row[0].set_ylabel("R2" if data == "lfmc" else "macro-F1", fontsize=8)
    what = {"sensors": "training rows that lack sensors, %", "labels": "labels, %"}
    figure.supxlabel(what[curve], fontsize=9)
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
    parser.add_argument("--curve", choices=SHARES, help="one of the two")
    parser.add_argument("--shares", type=float, nargs="*", help="some of the shares")
    parser.add_argument("--encoder", default="tempcnn", help="of time series")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    names = [name for name in DATA if name.startswith(arguments.only)]
    loaded = {} if arguments.report else {m: DATA[m](arguments.data) for m in names}
    points = [
        (curve, share)
        for curve, shares in SHARES.items()
        for share in shares
        if arguments.curve in (None, curve)
        and (arguments.shares is None or share in arguments.shares)
    ]
    runs = [
        (seed, fold, data, curve, share)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for fold in range(arguments.folds)
        for data in names
        for curve, share in points
    ]
    parts = []
    for seed, fold, data, curve, share in runs:
        name = f"{data}; {curve} {share:g}; {arguments.encoder}; {seed}; {fold}"
        path = arguments.output / f"{name}.csv"
        if not path.exists() and not arguments.report:
            X, y = loaded[data]
            splitter = KFold if y.dtype.kind == "f" else StratifiedKFold
            splits = list(splitter(3, shuffle=True, random_state=seed).split(y, y))
            settings = {"curve": curve, "share": share, "seed": seed}
            scores = run(X, y, *splits[fold], encoder=arguments.encoder, **settings)
            unfinished = path.with_suffix(".part")
            scores.to_csv(unfinished, index=False)
            unfinished.rename(path)
            print(f"done: {name}", flush=True)
        if path.exists():
            scores = pd.read_csv(path)
            labels = {"data": data, "curve": curve, "share": share}
            parts.append(scores.assign(repeat=seed, fold=fold, **labels))
    if not parts:
        parser.error("nothing has been run yet")
    table = summarize(pd.concat(parts))
    print_report(table)
    for curve in table.index.get_level_values("curve").unique():
        draw(table, curve, arguments.output / f"{curve}.png")


if __name__ == "__main__":
    main()
