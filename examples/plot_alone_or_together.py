"""
Alone or together: does co-learning help?
=========================================

Does a sensor predict better after training with the others, or is the difference noise?

:func:`~sklearn_colearn.evaluate_modalities` trains the same network on all sensors and
on each sensor alone, on the same folds, and compares their predictions from that sensor
only. One generated data set lets co-learning help; the other does not.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import RepeatedKFold

from sklearn_colearn import CoLearnRegressor, evaluate_modalities
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.plotting import ModalityScoresDisplay

# %%
# Two data sets
# -------------
#
# In both, radar ``S1`` is noisy, optical ``S2`` is clear, and 100 of 500 plots are
# labelled; NaN marks the others. In the first, the target depends on two factors that
# both sensors see, so S2 can teach S1. In the second, it depends on two factors that
# only S1 sees.

settings = {
    "n_samples": 500,
    "modalities": {"S1": (12, 6), "S2": (12, 4)},
    "task": "regression",
    "noise": {"S1": 3.0, "S2": 0.2},
    "target_noise": 0.1,
    "random_state": 0,
}
data = {
    "The target is in what both sensors see": make_multisensor(
        specific_signal=0, **settings
    ),
    "The target is in what S1 alone sees": make_multisensor(
        shared_signal=0, specific_signal={"S1": 1, "S2": 0}, **settings
    ),
}

# %%
# The same folds, the same number of steps
# ----------------------------------------
#
# S1 is the sensor that will be available. Alone it trains on the labelled plots, with
# S2 on all plots. With small batches the co-learned model would take more training
# steps per epoch and might gain only by that, so one batch holds all plots. ``cv=None``
# trains one network per fit, for a fixed number of epochs, which is quick.

reg = CoLearnRegressor(
    encoder="mlp",
    encoder_params={"hidden_dims": (32,)},
    embedding_dim=32,
    batch_size=500,
    cv=None,
    max_epochs=40,
    random_state=0,
)

reports = {}
for title, (X, y) in data.items():
    y[100:] = np.nan
    reports[title] = evaluate_modalities(
        reg,
        X,
        y,
        cv=RepeatedKFold(n_splits=5, n_repeats=2, random_state=0),
        scoring="r2",
        modalities="S1",
    )
    print(title)
    print(reports[title], end="\n\n")

# %%
# How to read it
# --------------
#
# ``difference`` is the mean over the folds of co-learned minus alone. The interval from
# ``low`` to ``high`` accounts for training rows that folds share. If it contains 0, the
# difference may be noise.
#
# The displays show the folds: scores on the left, differences with intervals on the
# right. Row ``all`` is the co-learned model predicting from both sensors; it has no
# counterpart trained alone.

figure = plt.figure(figsize=(7, 4.4), layout="constrained")
rows = figure.subfigures(2, 1)
right = []
for row, (title, report) in zip(rows, reports.items(), strict=True):
    axes = row.subplots(1, 2)
    ModalityScoresDisplay.from_report(report, ax=axes)
    row.suptitle(title, fontsize=10)
    right.append(axes[1])
limits = np.array([ax.get_xlim() for ax in right])
for ax in right:
    ax.set_xlim(limits.min(), limits.max())
plt.show()

# %%
# Where S2 has something to teach, S1 gains in every fold and the interval excludes 0.
# Where it has not, S1 gains in some folds and loses in others, and the interval
# contains 0. It is wide, so a small gain cannot be ruled out. Row ``all`` warns of the
# opposite mistake: without members, both sensors are averaged equally, and averaging
# with an uninformative sensor is worse than S1 alone.
#
# The first data set was made to show a gain. Other random numbers change it, and with
# all plots labelled it is mostly small; :doc:`/results` has measurements on real data.
#
# With your own data, choose folds that match the use: by place if the map covers new
# places (:doc:`/evaluating`). Before you trust a gain, check that the sensor alone was
# trained for as many steps.
