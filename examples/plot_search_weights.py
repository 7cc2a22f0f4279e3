"""
Search the weights of the terms
===============================

Which weights of the contrastive and the distillation term suit my data? For those who
have set up everything else and want the last bit.

Any parameter of the estimator can be searched by scikit-learn's tools. The one thing to
add is *for which sensor*: :func:`~sklearn_colearn.modality_scorers` makes a scorer for
each, and ``refit`` names the one that will be there.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, RepeatedKFold, train_test_split

from sklearn_colearn import CoLearnRegressor, modality_scorers
from sklearn_colearn.datasets import make_multisensor

X, y = make_multisensor(
    400,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    task="regression",
    noise={"S1": 1.5, "S2": 0.3},
    random_state=0,
)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# The search
# ----------
#
# S1 is the sensor that will be there. Both sensors are scored from the same fits, so
# that what S2 would have wanted costs nothing more.

reg = CoLearnRegressor(
    encoder="mlp",
    encoder_params={"hidden_dims": (32,)},
    embedding_dim=32,
    max_epochs=10,
    random_state=0,
)
search = GridSearchCV(
    reg,
    {"contrastive_weight": [0, 0.05, 0.2, 1], "distillation_weight": [0, 1, 3]},
    scoring=modality_scorers("r2", ["S1", "S2"]),
    refit="S1",
    cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
)
search.fit(X_train, y_train)
print(search.best_params_)

# %%
# What it found
# -------------
#
# A panel for each sensor: the mean R² over the six folds and, small, its standard
# deviation over them. The best cell is framed.

results = pd.DataFrame(search.cv_results_)
figure, axes = plt.subplots(1, 2, figsize=(7, 3), sharey=True, layout="constrained")
for ax, sensor in zip(axes, ["S1", "S2"], strict=True):
    mean, std = (
        results.pivot_table(
            index="param_contrastive_weight",
            columns="param_distillation_weight",
            values=f"{statistic}_test_{sensor}",
        )
        for statistic in ("mean", "std")
    )
    ax.imshow(mean, cmap="Blues", aspect="auto")
    middle = (mean.min().min() + mean.max().max()) / 2
    for (row, column), value in np.ndenumerate(mean.to_numpy()):
        color = "white" if value > middle else "black"
        text = f"{value:.3f}\n± {std.iloc[row, column]:.3f}"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
    row, column = np.unravel_index(mean.to_numpy().argmax(), mean.shape)
    ax.add_patch(
        plt.Rectangle(
            (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#d55e00", lw=2.5
        )
    )
    ax.set(
        title=f"R² from {sensor}",
        xlabel="distillation_weight",
        xticks=range(3),
        xticklabels=mean.columns,
        yticks=range(4),
        yticklabels=mean.index,
    )
axes[0].set_ylabel("contrastive_weight")
plt.show()

# %%
# The spread over folds is larger than the differences between cells: the best cell is
# first by a small margin, partly by luck. Its score is therefore optimistic. The rows
# that the search has not seen say what is left of it, beside the defaults:

default = reg.fit(X_train, y_train)
only_S1 = {"S1": X_test["S1"]}
print(f"best cell, in the search      {search.cv_results_['mean_test_S1'].max():.3f}")
print(
    f"best cell, on new rows        {search.best_estimator_.score(only_S1, y_test):.3f}"
)
print(f"defaults, on new rows         {default.score(only_S1, y_test):.3f}")

# %%
# Expect more of the encoder and of the length of training, and search these first
# (:doc:`/tuning`).
