"""Score each sensor at new places, beside scikit-learn's methods, on eight data sets.

Each data set and seed has three folds, of whole places where the data have places. The
methods, all with defaults, are members (``cv=5``) of each sensor alone and co-learned,
one network (``cv=None``), and scikit-learn's methods on the flattened sensor. Each
sensor predicts alone, and all together. Finished runs are stored in OUTPUT, one file
each, and not repeated; `--report` only prints the tables.

    python benchmarks/accuracy.py DATA [--output accuracy] [--seeds 3] [--only lfmc]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from time import process_time

import data_sets
import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor
from sklearn_colearn.base import SingleModalityWarning

CASES = {
    "fuel moisture": data_sets.lfmc,
    "algae": data_sets.algae,
    "crops": data_sets.france,
    "land cover": data_sets.flanders,
    "forest cover": data_sets.forest_cover,
    "forest species": data_sets.forest_species,
    "digits": data_sets.digits,
    "generated": data_sets.generated,
}
OURS = ["members, alone", "members, co-learned", "one network"]
THEIRS = ["extra trees", "boosting", "SVM", "linear"]
ALL = "all"


def baselines(classifies, seed):
    """Return scikit-learn's methods with their preprocessing."""
    scale = (SimpleImputer(keep_empty_features=True), StandardScaler())
    fill = SimpleImputer(keep_empty_features=True)
    if classifies:
        kinds = (
            make_pipeline(fill, ExtraTreesClassifier(300, random_state=seed)),
            HistGradientBoostingClassifier(random_state=seed),
            make_pipeline(*scale, SVC(probability=True, random_state=seed)),
            make_pipeline(*scale, LogisticRegression(max_iter=1000)),
        )
    else:
        kinds = (
            make_pipeline(fill, ExtraTreesRegressor(300, random_state=seed)),
            HistGradientBoostingRegressor(random_state=seed),
            make_pipeline(*scale, SVR()),
            make_pipeline(*scale, RidgeCV(np.logspace(-2, 4, 13))),
        )
    return dict(zip(THEIRS, kinds, strict=True))


def folds(name, y, groups, seed):
    """Return three folds, of whole places if the data have places."""
    classifies = y.dtype.kind != "f"
    if name == "digits":  # few training rows, or every method is perfect
        splitter = StratifiedShuffleSplit(3, train_size=400, random_state=seed)
    elif groups is None:
        kind = StratifiedKFold if classifies else KFold
        splitter = kind(3, shuffle=True, random_state=seed)
    else:
        kind = StratifiedGroupKFold if classifies else GroupKFold
        splitter = kind(3, shuffle=True, random_state=seed)
    return splitter.split(np.zeros(len(y)), y, groups)


def calibration_error(p, truth, n_bins=15):
    """Return the expected calibration error of the most probable class."""
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    bins = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    parts = [right[bins == b].sum() - sure[bins == b].sum() for b in np.unique(bins)]
    return np.abs(parts).sum() / len(truth)


def scores(answers, truth, classes):
    """Score values, or probabilities of all classes."""
    if classes is None:
        return {"R2": r2_score(truth, answers)}
    p = np.clip(answers, 1e-7, 1)
    p /= p.sum(axis=1, keepdims=True)
    decided = p.argmax(axis=1)
    return {
        "log loss": -np.log(p[np.arange(len(p)), truth]).mean(),
        "accuracy": (decided == truth).mean(),
        "macro-F1": f1_score(truth, decided, average="macro"),
        "calibration error": calibration_error(p, truth),
    }


def answers_of(model, X, classes):
    """Return values, or probabilities of all classes, and the seconds of prediction."""
    start = process_time()
    if classes is None:
        return np.ravel(model.predict(X)), process_time() - start
    known = model.predict_proba(X)
    seconds = process_time() - start
    p = np.zeros((len(known), len(classes)))
    p[:, np.searchsorted(classes, model.classes_)] = known
    return p, seconds


def uncalibrated(model, X, classes):
    """Return the mean probabilities of the members before calibration."""
    sensor = model._sensors[next(iter(X))]
    logits = sensor.run(sensor.prepare(X), ()).prediction.numpy()
    p = np.zeros((logits.shape[1], len(classes)))
    known = softmax(logits, axis=2).mean(axis=0)
    p[:, np.searchsorted(classes, model.classes_)] = known
    return p


def load(name, folder):
    """Return X, y, groups, the classes, y as class numbers, and the estimator."""
    X, y, groups = CASES[name](folder)
    y = np.asarray(y)
    if y.dtype.kind == "f":
        return X, y, groups, None, y, CoLearnRegressor
    classes = np.unique(y)
    return X, y, groups, classes, np.searchsorted(classes, y), CoLearnClassifier


def evaluate(name, folder, seed):
    """Return one row per method, sensor and fold."""
    X, y, groups, classes, truth, kind = load(name, folder)
    rows = []
    has = {m: ~np.isnan(flat(X.select(m))).all(axis=1) for m in X}
    has[ALL] = np.any(list(has.values()), axis=0)
    for fold, (train, every) in enumerate(folds(name, y, groups, seed)):
        # All methods are scored on the same rows, which have the sensor.
        tests = {sensor: every[own[every]] for sensor, own in has.items()}

        def add(method, sensor, answers, seconds, fold=fold, tests=tests, **more):
            rows.append(
                {
                    **{"method": method, "sensor": sensor, "fold": fold},
                    **scores(answers, truth[tests[sensor]], classes),
                    **dict(zip(("fit", "predict"), seconds, strict=True)),
                    **more,
                }
            )

        if classes is None:
            shares = np.mean(y[train])
        else:
            shares = np.bincount(truth[train], minlength=len(classes)) / len(train)
        for sensor, test in tests.items():
            add("class shares", sensor, np.repeat([shares], len(test), axis=0), (0, 0))
        for method, sets in {
            OURS[0]: [[m] for m in X],
            OURS[1]: [list(X)],
            OURS[2]: [list(X)],
        }.items():
            single = {"cv": None, "max_epochs": 40} if method == OURS[2] else {}
            for names in sets:
                known = train[np.any([has[m][train] for m in names], axis=0)]
                start = process_time()
                model = kind(random_state=seed, **single)
                own = None if groups is None else groups[known]
                model.fit(X.select(names)[known], y[known], groups=own)
                fitted = process_time() - start
                for sensor in names if len(names) == 1 else [*names, ALL]:
                    test = tests[sensor]
                    rest = X[test] if sensor == ALL else X[test].select(sensor)
                    found, seconds = answers_of(model, rest, classes)
                    more = {} if single else coverage(model, rest, y[test])
                    if sensor != ALL and classes is not None and not single:
                        raw = uncalibrated(model, rest, classes)
                        error = calibration_error(raw, truth[test])
                        more["before temperature"] = error
                    add(method, sensor, found, (fitted, seconds), **more)
        for sensor, test in tests.items():
            values = flat(X if sensor == ALL else X.select(sensor))
            known = train[has[sensor][train]]
            for method, model in baselines(classes is not None, seed).items():
                start = process_time()
                model.fit(values[known], y[known])
                fitted = process_time() - start
                found, seconds = answers_of(model, values[test], classes)
                add(method, sensor, found, (fitted, seconds))
    return pd.DataFrame(rows)


def flat(X):
    """Return the modalities side by side, one row per sample."""
    return np.asarray(X, dtype=float).reshape(len(X), -1)


def coverage(model, X, y):
    """Return the coverage and mean size of 90 % intervals or sets."""
    if hasattr(model, "predict_interval"):
        low, high = model.predict_interval(X).T
        return {"coverage": ((low <= y) & (y <= high)).mean()}
    sets = model.predict_set(X)
    place = np.searchsorted(model.classes_, y).clip(max=len(model.classes_) - 1)
    known = model.classes_[place] == y
    held = sets[np.arange(len(y)), place] & known
    return {"coverage": held.mean(), "classes in a set": sets.sum(axis=1).mean()}


def report(table):
    """Print a table per question, and the number of sensors that meet each goal."""
    means = table.groupby(["data", "sensor", "method"], sort=False).mean(
        numeric_only=True
    )
    for what in ("log loss", "R2", "accuracy"):
        if what not in means:  # this metric is for other data sets
            means[what] = np.nan
    main = means["log loss"].fillna(-means["R2"])  # smaller is better
    columns = [*OURS, *THEIRS, "class shares"]
    for what in ("log loss", "R2", "accuracy", "macro-F1"):
        if what not in means or means[what].isna().all():
            continue
        part = means[what].dropna().unstack("method")[columns]
        print(f"\n{what}\n\n{part.round(3).reset_index().to_markdown(index=False)}")
    ours = means.xs(OURS[1], level="method")
    own = ours[["calibration error", "before temperature", "coverage"]]
    own = own.join(ours[["classes in a set"]])
    print(f"\nCalibration\n\n{own.round(3).reset_index().to_markdown(index=False)}")
    # For trees, the sum over sensors and all: each needs its own model.
    times = table.groupby(["data", "method", "sensor"], sort=False)[["fit", "predict"]]
    times = times.mean().unstack("sensor")
    seconds = pd.DataFrame(
        {
            "co-learned, fit": times["fit"].xs(OURS[1], level="method").max(axis=1),
            "extra trees, fit": times["fit"]
            .xs(THEIRS[0], level="method")
            .drop(columns=ALL)
            .sum(axis=1),
            "co-learned, predict": times["predict"]
            .xs(OURS[1], level="method")
            .drop(columns=ALL)
            .mean(axis=1),
            "extra trees, predict": times["predict"]
            .xs(THEIRS[0], level="method")
            .drop(columns=ALL)
            .mean(axis=1),
        }
    )
    seconds["fit, ratio"] = seconds.iloc[:, 0] / seconds.iloc[:, 1]
    seconds["predict, ratio"] = seconds.iloc[:, 2] / seconds.iloc[:, 3]
    print(
        "\nProcessor seconds: fit of all sensors; prediction from one sensor, mean\n\n"
        + seconds.round(2).reset_index().to_markdown(index=False)
    )
    main = main.unstack("method")
    single = main[main.index.get_level_values("sensor") != ALL]
    right = means["accuracy"].fillna(means["R2"]).unstack("method").loc[single.index]
    limit = single["class shares"].where(
        means["log loss"].unstack("method").loc[single.index, "class shares"].notna(),
        0.02,
    )
    together = main.xs(ALL, level="sensor")[OURS[1]]
    best = single[OURS[1]].groupby("data", sort=False).min()
    ours, trees = single[OURS[1]], single[THEIRS[0]]
    for text, met in {
        "log loss no worse than the class shares', R2 no less than -.02": ours <= limit,
        "log loss or R2 better than extra trees'": ours < trees,
        "accuracy or R2 at or above extra trees'": right[OURS[1]] >= right[THEIRS[0]],
        "log loss or R2 better than the one network's": ours < single[OURS[2]],
        "log loss or R2 better than alone": ours < single[OURS[0]],
        "all sensors at least as good as the best one": together <= best,
    }.items():
        missed = [" ".join(np.atleast_1d(key)) for key in met.index[~met]]
        print(f"- {text}: {met.sum()} of {len(met)}; not {', '.join(missed) or '-'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of the real data")
    parser.add_argument("--output", type=Path, default=Path("accuracy"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="data sets whose name begins so")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    arguments.output.mkdir(exist_ok=True)
    parts = []
    for seed in range(arguments.seeds):
        for name in [name for name in CASES if name.startswith(arguments.only)]:
            path = arguments.output / f"{name}; {seed}.csv"
            if not path.exists() and not arguments.report:
                with warnings.catch_warnings():
                    # One modality alone, and the probabilities of SVC.
                    warnings.simplefilter("ignore", SingleModalityWarning)
                    warnings.simplefilter("ignore", FutureWarning)
                    warnings.filterwarnings("ignore", "Some folds would hold out")
                    table = evaluate(name, arguments.data, seed)
                table.to_csv(path, index=False)
                print(f"done: {path.stem}", flush=True)
            if path.exists():
                parts.append(pd.read_csv(path).assign(data=name, seed=seed))
    report(pd.concat(parts))


if __name__ == "__main__":
    main()
