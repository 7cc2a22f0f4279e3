"""Forest plots: each sensor alone, and whether co-learning helps.

3,005 real forest plots of southwest Oregon, each with Landsat bands, climate and
terrain. Every sensor predicts alone, by a network trained on that sensor only and by
one trained on all three. Extra trees are the baseline.

    python examples/forest_plots.py [--target cover] [--output demo]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.model_selection import KFold, StratifiedKFold

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, evaluate_modalities
from sklearn_colearn.datasets import load_forest_plots
from sklearn_colearn.plotting import ModalityScoresDisplay


def main() -> None:
    """Print the table and save the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=["cover", "species"], default="cover")
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--n-jobs", type=int, default=2)
    arguments = parser.parse_args()

    X, y = load_forest_plots(target=arguments.target, return_X_y=True)
    if arguments.target == "cover":
        estimator, scoring = CoLearnRegressor(random_state=0), "r2"
        trees = ExtraTreesRegressor(300, random_state=0)
        folds = KFold(3, shuffle=True, random_state=0)
    else:
        estimator, scoring = CoLearnClassifier(random_state=0), "neg_log_loss"
        trees = ExtraTreesClassifier(300, random_state=0)
        folds = StratifiedKFold(3, shuffle=True, random_state=0)

    report = evaluate_modalities(
        estimator,
        X,
        y,
        cv=folds,
        scoring=scoring,
        baselines={"extra trees": trees},
        n_jobs=arguments.n_jobs,
    )
    print(f"Forest plots, {arguments.target}")
    print(report)

    display = ModalityScoresDisplay.from_report(report)
    arguments.output.mkdir(exist_ok=True)
    path = arguments.output / f"forest_plots_{arguments.target}.png"
    display.figure_.savefig(path, dpi=150)
    print(f"Figure: {path}")


if __name__ == "__main__":
    main()
