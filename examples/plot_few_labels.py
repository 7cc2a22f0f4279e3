"""
Few labels, many plots
======================

Most plots in an archive have no label. Do they help to train a sensor that has to
answer alone? For everyone whose labels are dear and whose images are cheap.

Rows without a label (NaN in ``y``) take part in training where several sensors saw
them: the sensors learn to agree, and a teacher that sees all sensors teaches each.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import make_multisensor

# %%
# Generated plots: a noisy radar series ``S1``, a clear optical series ``S2``, and what
# decides the class shows in both. 800 plots to train on, 700 to test.

X, y = make_multisensor(
    1500,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    specific_signal=0.0,
    noise={"S1": 1.5, "S2": 0.5},
    target_noise=0.2,
    random_state=0,
)
train, test = slice(0, 800), slice(800, None)

# %%
# Three ways to train with a share of the labels, asked from S1 alone each time:
#
# - co-learned on all 800 plots, most of them unlabelled,
# - co-learned on the labelled plots only,
# - S1 alone on the labelled plots.
#
# Four draws of the labelled plots for each share.

# Training on one sensor warns that there is nothing to learn together: meant, here.
warnings.filterwarnings("ignore", "X holds one modality", UserWarning)

shares = [0.02, 0.05, 0.1, 0.3, 1.0]
clf = CoLearnClassifier(
    encoder="mlp", encoder_params={"hidden_dims": (32,)}, embedding_dim=32
)
clf.set_params(max_epochs=15, random_state=0)
only_S1 = {"S1": X["S1"][test]}

scores = []
for draw in range(4):
    order = np.random.default_rng(draw).permutation(800)
    for share in shares:
        labelled = order[: round(share * 800)]
        y_part = np.full(800, np.nan)
        y_part[labelled] = y[labelled]
        ways = {
            "co-learned, all plots": (X[train], y_part),
            "co-learned, labelled plots": (X[labelled], y[labelled]),
            "alone, labelled plots": (X[labelled].select("S1"), y[labelled]),
        }
        for way, (X_way, y_way) in ways.items():
            accuracy = clf.fit(X_way, y_way).score(only_S1, y[test])
            scores.append({"share": share, "way": way, "accuracy": accuracy})

table = pd.DataFrame(scores).pivot_table(
    index="share", columns="way", values="accuracy", aggfunc=["mean", "std"], sort=False
)
print(table["mean"].round(3))

# %%
# Lines are means over the four draws, bands their standard deviation.

styles = {
    "co-learned, all plots": {"color": "#0072b2", "marker": "o"},
    "co-learned, labelled plots": {"color": "#009e73", "marker": "s", "ls": "--"},
    "alone, labelled plots": {"color": "#d55e00", "marker": "^"},
}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for way, style in styles.items():
    mean, std = table["mean"][way], table["std"][way]
    ax.plot(100 * mean.index, mean, label=way, **style)
    ax.fill_between(
        100 * mean.index, mean - std, mean + std, color=style["color"], alpha=0.15, lw=0
    )
ax.set(
    xscale="log",
    xticks=[100 * share for share in shares],
    xticklabels=[f"{share:.0%}" for share in shares],
    xlabel="plots with a label",
    ylabel="accuracy from S1 alone",
    title="Unlabelled plots stand in for labels",
)
ax.minorticks_off()
ax.legend()
plt.show()

# %%
# With few labels the unlabelled plots are worth as much as several times the labels;
# with all of them there is nothing left to gain. Without them co-learning gains little:
# what helps are plots that both sensors saw.
#
# That needs sensors with something in common, which these have by construction. On real
# data sets the gain was smaller, but it was there (:doc:`/missing`).
