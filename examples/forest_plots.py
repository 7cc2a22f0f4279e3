"""Forest plots: what each sensor alone can say, and whether co-learning helps.

3,005 real forest plots of southwest Oregon, each with Landsat bands, climate and
terrain. For every one of the three the same network is cross-validated twice: trained
on that sensor alone, and trained on all three with the others absent at prediction.

    python examples/forest_plots.py [--target cover] [--output demo]
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from joblib import parallel_config
from sklearn.model_selection import KFold, StratifiedKFold, cross_validate

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, modality_scorers
from sklearn_colearn.datasets import load_forest_plots


def score_sensors(target: str) -> tuple[pd.DataFrame, str]:
    """Cross-validate; return a row per (sensor, method) and a column per fold."""
    X, y = load_forest_plots(target=target, return_X_y=True)
    if target == "cover":
        estimator, scoring = CoLearnRegressor(random_state=0), "r2"
        folds = KFold(5, shuffle=True, random_state=0)
    else:
        estimator, scoring = CoLearnClassifier(random_state=0), "f1_macro"
        folds = StratifiedKFold(5, shuffle=True, random_state=0)

    # Trained once on all sensors, each fold is scored from one sensor at a time.
    together = cross_validate(
        estimator, X, y, cv=folds, scoring=modality_scorers(scoring, X)
    )
    scores = {}
    warnings.filterwarnings("ignore", "X holds one modality", UserWarning)  # intended
    for sensor in X:
        alone = cross_validate(
            estimator, X.select(sensor), y, cv=folds, scoring=scoring
        )
        scores[sensor, "alone"] = alone["test_score"]
        scores[sensor, "co-learned"] = together[f"test_{sensor}"]
    return pd.DataFrame(scores).T, scoring


def draw(scores: pd.DataFrame, scoring: str, path: Path) -> None:
    """Draw the folds of each sensor: alone on the left, co-learned on the right."""
    sensors = list(scores.index.get_level_values(0).unique())
    figure, axes = plt.subplots(
        1, len(sensors), figsize=(7.2, 3.0), layout="constrained"
    )
    for ax, sensor in zip(axes, sensors, strict=True):
        pairs = scores.loc[sensor]
        ax.plot([0, 1], pairs.to_numpy(), color="0.7", linewidth=1, zorder=1)
        for x, (method, color) in enumerate(
            [("alone", "#0072b2"), ("co-learned", "#d55e00")]
        ):
            values = pairs.loc[method]
            ax.scatter([x] * len(values), values, color=color, s=18, zorder=2)
            ax.hlines(values.mean(), x - 0.2, x + 0.2, color=color, linewidth=3)
        ax.set_xticks([0, 1], ["alone", "co-learned"])
        ax.set_xlim(-0.45, 1.45)
        ax.set_title(sensor)
    axes[0].set_ylabel({"r2": "R²", "f1_macro": "macro-F1"}[scoring])
    figure.suptitle("Predicted from one sensor: a line per fold, a bar per mean")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Print the table and save the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=["cover", "species"], default="cover")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()
    with parallel_config("loky", n_jobs=arguments.n_jobs):
        scores, scoring = score_sensors(arguments.target)
    table = scores.agg(["mean", "std"], axis=1).unstack()
    shown = (
        table["mean"].map("{:.3f}".format) + " ± " + table["std"].map("{:.3f}".format)
    )
    print(f"{scoring} of {arguments.target}, mean ± standard deviation of 5 folds")
    print(shown.to_string())
    arguments.output.mkdir(exist_ok=True)
    figure = arguments.output / f"forest_plots_{arguments.target}.png"
    draw(scores, scoring, figure)
    print(f"Figure: {figure}")


if __name__ == "__main__":
    main()
