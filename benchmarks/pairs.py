"""Measure what unlabelled pairs of the new places bring to each sensor.

For each data set, share of labels and seed, there are three folds of whole places. The
pairs are half the rows of the test places, and the training rows whose label is
removed. All methods are scored on the other half of the test places.

- alone: each sensor alone (members, defaults);
- own rows: each sensor with only its own rows of the pairs, co-learned with a copy of
  itself, the control for the effect of the other sensors;
- co-learned: all sensors, without pairs;
- pairs: with pairs; pairs, no trees: only the networks teach;
- trees: 300 extremely randomized trees of each sensor; trees, taught: the same trees,
  trained on the labels and on soft labels of the pairs from trees on all sensors.

Where rows start in different months, networks get the days of the steps as `times`, and
trees the first day.

Finished runs are stored in OUTPUT, one file each, and not repeated; `--report` only
prints the tables.

    python benchmarks/pairs.py DATA [--output pairs] [--seeds 3] [--only algae]
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path
from time import process_time

import data_sets
import numpy as np
import pandas as pd
from accuracy import answers_of, flat, scores
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.base import SingleModalityWarning
from sklearn_colearn.evaluation import corrected_interval

CASES = {
    "fuel moisture": data_sets.lfmc,
    "algae": data_sets.algae,
    "crops": data_sets.france,
    "greenness": data_sets.cube,
    "generated": data_sets.places,
}
MONTHS = {"fuel moisture": data_sets.lfmc_months, "algae": data_sets.algae_months}
SHARES = (1.0, 0.3, 0.1)
METHODS = ["alone", "own rows", "co-learned", "pairs", "pairs, no trees"]
METHODS += ["trees", "trees, taught"]
ALL = "all"
#: Beginnings of warnings that say what is known of these data.
IGNORED = (
    "Some folds would hold out",
    "There are .* too few for cv",
    "Most values of the bands",
    "No member holds out a row",
)


def labelled_rows(y, share, rng):
    """Return the rows that keep their label: a share, stratified by class."""
    keeps = np.zeros(len(y), dtype=bool)
    classes = np.zeros(len(y)) if y.dtype.kind == "f" else y
    for label in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == label))
        keeps[rows[: int(np.ceil(share * len(rows)))]] = True
    return keeps


class Run:
    """One fold of one data set with one share of the labels.

    `times` names the entries of X that hold the days of a sensor.
    """

    def __init__(self, X, y, groups, share, seed, fold, times=None):
        self.groups, self.times = groups, times or {}
        self.X = ModalityDict({m: np.asarray(x, dtype=float) for m, x in X.items()})
        self.y = y = np.asarray(y)
        self.classes = None if y.dtype.kind == "f" else np.unique(y)
        self.truth = y
        if self.classes is not None:
            self.truth = np.searchsorted(self.classes, y)
        kind = GroupKFold if self.classes is None else StratifiedGroupKFold
        splits = kind(3, shuffle=True, random_state=seed).split(y, y, groups)
        train, test = list(splits)[fold]
        rng = np.random.default_rng([seed, fold])
        order = rng.permutation(test)
        self.test, near = order[: len(test) // 2], order[len(test) // 2 :]
        keeps = labelled_rows(y[train], share, rng)
        self.train = train[keeps]
        self.has = self.rows_with(self.X)
        several = np.sum(list(self.has.values()), axis=0) > 1
        pairs = np.concatenate([near, train[~keeps]])
        self.pairs = pairs[several[pairs]]
        self.seed, self.rows = seed, []

    def rows_with(self, X):
        """Return which rows have each sensor."""
        sensors = [m for m in X if m not in self.times.values()]
        return {m: ~np.isnan(flat(X.select(m))).all(axis=1) for m in sensors}

    def only(self, sensors):
        """Return some sensors, with their days."""
        days = [self.times[m] for m in sensors if m in self.times]
        return self.X.select([*sensors, *days])

    def note(self, method, sensor, answers, test, fit, **more):
        """Store the scores of predictions and the seconds of the fit."""
        self.rows.append(
            {
                **{"method": method, "sensor": sensor, "fit": fit},
                **scores(answers, self.truth[test], self.classes),
                **more,
            }
        )

    def co_learned(self, method, X, score_from, pairs=False, **settings):
        """Fit the estimator and score it from some sensors."""
        kind = CoLearnRegressor if self.classes is None else CoLearnClassifier
        here = self.rows_with(X)
        times = {m: days for m, days in self.times.items() if m in here} or None
        model = kind(random_state=self.seed, times=times, **settings)
        known = self.train[np.any([rows[self.train] for rows in here.values()], axis=0)]
        given = {"X_unlabeled": X[self.pairs]} if pairs else {}
        start = process_time()
        model.fit(X[known], self.y[known], groups=self.groups[known], **given)
        fit = process_time() - start
        for sensor in score_from:
            test = self.test
            rest = X[test]
            if sensor != ALL:
                test = test[here[sensor][test]]
                days = [times[sensor]] if times and sensor in times else []
                rest = X[test].select([sensor, *days])
            more = self.trust(model, rest, test, sensor)
            if pairs and sensor in model.pairs_.index:
                more |= model.pairs_.loc[sensor].to_dict()
            self.note(
                method, sensor, answers_of(model, rest, self.classes)[0], test, fit,
                **more,
            )  # fmt: skip

    def trust(self, model, X, test, sensor):
        """Return the held-out score and the coverage of 90 % intervals or sets."""
        row = model.held_out_scores_.iloc[-1]
        if sensor != ALL:
            row = model.held_out_scores_.loc[sensor]
        held_out = row["r2" if self.classes is None else "log_loss"]
        if row["n_rows"] < 9:  # too few for intervals and sets of 90 %
            return {"held out": held_out}
        if self.classes is None:
            low, high = model.predict_interval(X).T
            holds = (low <= self.y[test]) & (self.y[test] <= high)
        else:
            # Classes without a training row are in no set.
            sets = pd.DataFrame(model.predict_set(X), columns=model.classes_)
            sets = sets.reindex(columns=self.classes, fill_value=False).to_numpy()
            holds = sets[np.arange(len(test)), self.truth[test]]
        return {"held out": held_out, "coverage": holds.mean()}

    def trees(self):
        """Score trees, and trees taught by trees on all sensors."""
        fill = SimpleImputer(keep_empty_features=True)
        settings = {"n_estimators": 300, "random_state": self.seed}
        classifies = self.classes is not None
        kind = ExtraTreesClassifier if classifies else ExtraTreesRegressor
        values = {m: fill.fit_transform(self.flat(m)) for m in self.has}
        values[ALL] = np.concatenate(list(values.values()), axis=1)
        has = {**self.has, ALL: np.ones(len(self.y), dtype=bool)}
        known = {m: self.train[has[m][self.train]] for m in has}
        start = process_time()
        teacher = kind(**settings).fit(values[ALL][known[ALL]], self.y[known[ALL]])
        said = self.says(teacher, values[ALL][self.pairs])
        teaching = process_time() - start
        for m, x in values.items():
            test = self.test[has[m][self.test]]
            start = process_time()
            model = kind(**settings).fit(x[known[m]], self.y[known[m]])
            fit = process_time() - start
            self.note("trees", m, self.says(model, x[test]), test, fit)
            if m == ALL:
                continue
            own = has[m][self.pairs]
            hard = self.y[known[m]]
            if classifies:
                hard = np.eye(len(self.classes))[self.truth[known[m]]]
            start = process_time()
            student = ExtraTreesRegressor(**settings).fit(
                np.concatenate([x[known[m]], x[self.pairs[own]]]),
                np.concatenate([hard, said[own]]),
            )
            fit = process_time() - start + teaching / len(self.has)
            self.note("trees, taught", m, student.predict(x[test]), test, fit)

    def flat(self, sensor):
        """Return the values of a sensor side by side, after its first day."""
        values = flat(self.X.select(sensor))
        if sensor in self.times:
            values = np.column_stack([self.X[self.times[sensor]][:, 0], values])
        return values

    def says(self, model, x):
        """Return values, or probabilities of all classes."""
        if self.classes is None:
            return model.predict(x)
        p = np.zeros((len(x), len(self.classes)))
        p[:, np.searchsorted(self.classes, model.classes_)] = model.predict_proba(x)
        return p


def evaluate(name, folder, share, seed, fold, methods):
    """Return a row for each method and sensor."""
    X, y, places = CASES[name](folder)
    sensors, times = list(X), {}
    if name in MONTHS:
        times = {m: f"{m} days" for m in sensors}
        X = {**X, **data_sets.days_of(X, sensors, MONTHS[name](folder))}
    run = Run(X, y, places, share, seed, fold, times)
    run.trees()
    X, every = run.X, [*sensors, ALL]
    for m in sensors:
        if "alone" in methods:
            run.co_learned("alone", run.only([m]), [m])
        if "own rows" in methods:
            twice = ModalityDict({**run.only([m]), "copy": X[m]})
            run.co_learned("own rows", twice, [m], pairs=True)
    if "co-learned" in methods:
        run.co_learned("co-learned", X, every)
    if "pairs" in methods:
        run.co_learned("pairs", X, every, pairs=True)
    if "pairs, no trees" in methods:
        run.co_learned("pairs, no trees", X, every, pairs=True, teacher=None)
    return pd.DataFrame(run.rows)


def add_loss(table):
    """Add a loss: the log loss, or the unexplained share of the variance."""
    for what in ("log loss", "R2"):
        if what not in table:
            table[what] = np.nan
    table["loss"] = table["log loss"].fillna(1 - table["R2"])


def kept(path, run, told, only_read):
    """Return the rows of a run from its file, written first unless `only_read`.

    A list of one table, or of none. `told` are columns that the file lacks.
    """
    if not path.exists() and not only_read:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SingleModalityWarning)
            for text in IGNORED:
                warnings.filterwarnings("ignore", text)
            table = run()
        table.to_csv(path, index=False)
        print(f"done: {path.stem}", flush=True)
    return [pd.read_csv(path).assign(**told)] if path.exists() else []


def report(table):
    """Print a table per share, and the number of sensors that meet each goal."""
    add_loss(table)
    table["right"] = table.get("accuracy", table["R2"]).fillna(table["R2"])
    keys = ["share", "data", "sensor"]
    for share, part in table.groupby("share", sort=False):
        means = part.groupby(["data", "sensor", "method"], sort=False)
        shown = means[["right", "log loss"]].mean()
        text = [
            f"{right:.3f}" + ("" if np.isnan(loss) else f" / {loss:.2f}")
            for right, loss in shown.to_numpy()
        ]
        wide = pd.Series(text, shown.index).unstack("method", fill_value="")
        wide = wide[[method for method in METHODS if method in wide]]
        n = part.groupby(["seed", "fold"]).ngroups
        print(
            f"\n{share:.0%} of the labels, up to {n} folds: accuracy / log loss, or R2"
            f"\n\n{wide.reset_index().to_markdown(index=False)}"
        )
    wide = table.pivot_table(
        index=[*keys, "seed", "fold"], columns="method", values="loss", sort=False
    )
    gains = []
    for key, part in wide.groupby(keys, sort=False):
        if key[-1] == ALL:
            continue
        row = dict(zip(keys, key, strict=True), **part.mean())
        for other in METHODS:
            if other in part:
                both = part[[other, "pairs"]].dropna()
                difference = (both["pairs"] - both[other]).to_numpy()
                row[f"{other}, high"] = corrected_interval(difference, 0.25)[1]
                row[f"{other}, low"] = corrected_interval(difference, 0.25)[0]
        gains.append(row)
    gains = pd.DataFrame(gains)
    print()
    for share, part in gains.groupby("share", sort=False):
        print(f"{share:.0%} of the labels, {len(part)} sensors, loss with pairs:")
        for other in METHODS:
            if other == "pairs" or other not in part or part[other].isna().all():
                continue
            some = part.dropna(subset=other)
            better = (some["pairs"] < some[other]).sum()
            ratio = (some["pairs"] / some[other] - 1).mean()
            worse = some[some[f"{other}, low"] > 0]
            names = ", ".join(worse["data"] + " " + worse["sensor"]) or "none"
            print(
                f"- lower than {other}'s on {better} of {len(some)}, {ratio:+.1%} in "
                f"the mean; higher beyond the interval: {names}"
            )
    ours = table[table["method"].isin(["co-learned", "pairs"])]
    score = ours["log loss"].fillna(ours["R2"])
    ours = ours.assign(**{"test places": score})
    shown = ours.groupby(["share", "data", "sensor", "method"], sort=False)
    shown = shown[["held out", "test places", "coverage"]].mean().unstack().round(2)
    shown.columns = [", ".join(names) for names in shown.columns]
    print("\nLog loss or R2, and share of intervals or sets of 90 % that hold\n")
    print(shown.reset_index().to_markdown(index=False))
    fits = table.groupby(["data", "share", "seed", "fold", "method", "sensor"])["fit"]
    fits = fits.mean().unstack("method")
    ours = fits["pairs"].groupby(["data", "share", "seed", "fold"]).max()
    theirs = fits["trees, taught"].groupby(["data", "share", "seed", "fold"]).sum()
    ratio = (ours / theirs).groupby(["data", "share"], sort=False).median()
    print("\nProcessor time of a fit with pairs over that of the taught trees\n")
    print(ratio.unstack("share").round(1).reset_index().to_markdown(index=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data")
    parser.add_argument("--output", type=Path, default=Path("pairs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3, help="how many of 3 to run")
    parser.add_argument(
        "--one-fold", action="store_true", help="of each seed, another each time"
    )
    parser.add_argument("--only", default="", help="data sets whose name begins so")
    parser.add_argument("--shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    if "pairs" not in arguments.methods:
        parser.error("--methods must include pairs")
    arguments.output.mkdir(exist_ok=True)
    runs = [
        (name, share, seed, fold)
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for fold in range(arguments.folds)
        for share in arguments.shares
        for name in CASES
        if name.startswith(arguments.only)
        and (not arguments.one_fold or fold == seed % arguments.folds)
    ]
    parts = []
    for name, share, seed, fold in runs:
        path = arguments.output / f"{name}; {share:g}; {seed}; {fold}.csv"
        run = partial(
            evaluate, name, arguments.data, share, seed, fold, arguments.methods
        )
        told = {"data": name, "share": share, "seed": seed, "fold": fold}
        parts += kept(path, run, told, arguments.report)
    report(pd.concat(parts))


if __name__ == "__main__":
    main()
