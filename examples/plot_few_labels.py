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
# An epoch of few plots has few batches. To be fair, each way trains one network
# (``cv=None``) for as many epochs as make the same number of steps. Three draws of the
# labelled plots for each share.

# Training on one sensor warns that there is nothing to learn together: meant, here.
warnings.filterwarnings("ignore", "X holds one modality", UserWarning)

clf = CoLearnClassifier(
    encoder="mlp",
    encoder_params={"hidden_dims": (32,)},
    embedding_dim=32,
    cv=None,
    random_state=0,
)
only_S1 = {"S1": X["S1"][test]}


def accuracy_of_S1(X_train, y_train):
    """Train for 84 steps and score S1 on the test plots."""
    n_batches = -(-len(X_train) // clf.batch_size)
    clf.set_params(max_epochs=round(84 / n_batches))
    return clf.fit(X_train, y_train).score(only_S1, y[test])


scores = []
for draw in range(3):
    order = np.random.default_rng(draw).permutation(800)
    for share in [0.025, 0.05, 0.1, 0.3, 1.0]:
        labelled = order[: round(share * 800)]
        y_part = np.full(800, np.nan)
        y_part[labelled] = y[labelled]
        ways = {
            "co-learned, all plots": (X[train], y_part),
            "co-learned, labelled plots": (X[labelled], y[labelled]),
            "alone, labelled plots": (X[labelled].select("S1"), y[labelled]),
        }
        for way, (X_way, y_way) in ways.items():
            accuracy = accuracy_of_S1(X_way, y_way)
            scores.append({"share": share, "way": way, "accuracy": accuracy})

table = pd.DataFrame(scores).pivot_table(
    index="share", columns="way", values="accuracy", aggfunc=["mean", "std"], sort=False
)
print(table["mean"].round(3))

# %%
# Lines are means over the three draws, bars their standard deviation.

styles = {
    "co-learned, all plots": {"color": "#0072b2", "marker": "o"},
    "co-learned, labelled plots": {"color": "#009e73", "marker": "s", "ls": "--"},
    "alone, labelled plots": {"color": "#d55e00", "marker": "^"},
}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for i, (way, style) in enumerate(styles.items()):
    shares = 100 * table.index * (0.97 + 0.03 * i)  # side by side, to be told apart
    ax.errorbar(
        shares, table["mean"][way], table["std"][way], label=way, capsize=3, **style
    )
ax.set(
    xscale="log",
    xticks=100 * table.index,
    xticklabels=[f"{share:.3g} %" for share in 100 * table.index],
    xlabel="plots with a label",
    ylabel="accuracy from S1 alone",
    title="Plots without a label make up for labels, where those are few",
)
ax.minorticks_off()
ax.legend()
plt.show()

# %%
# With the unlabelled plots, 5 % of the labels are worth about as much as 30 % without
# them; with all of the labels there is nothing left to gain. On labelled plots only,
# co-learned and alone are level: what helps are more plots that both sensors saw.
#
# For your own data: before you pay for labels, put the images of all plots that two or
# more sensors saw into ``X``, with NaN in ``y``. That needs sensors with something in
# common that decides the label, as these have by construction. Of two real data sets,
# one gained less than here. The other gained more, since its networks failed on the
# labelled rows alone, and a forest on those was nearly as good: put one beside it
# (:doc:`/missing`).
