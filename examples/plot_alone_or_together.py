"""
Alone or together: does co-learning help?
=========================================

Is a sensor better for having been trained with the others, and could the difference be
noise? For everyone who is about to rely on it.

:func:`~sklearn_colearn.evaluate_modalities` trains the same network on all sensors and
on each sensor alone, on the same folds, and compares the two when only that sensor is
there to answer. Two generated data sets show a case where training together can help,
and one where it cannot.
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
# In both, radar ``S1`` is noisy and optical ``S2`` is clear, and 100 of 500 plots have
# a label; NaN marks the others. In the first the target depends on two factors that
# both sensors see: the clear one can teach the noisy one how these look. In the second
# it depends on two factors that S1 alone sees: S2 has nothing to teach.

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
# S1 is the sensor that will be there. Trained alone it sees the labelled plots; trained
# with S2 it sees all. In batches of fixed size that makes more batches in an epoch, and
# a gain could be no more than longer training. Here one batch holds all plots: an epoch
# is one step of training, together and alone. ``cv=None`` trains one network for each
# fit, for as many epochs as it is told, which also keeps the example quick.

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
# ``difference`` is the mean over the folds of co-learned minus alone. The folds share
# most of their training rows, so their differences are less independent than they
# look: the interval from ``low`` to ``high`` makes up for that. If it holds 0, the
# difference may be noise.
#
# The displays show the folds themselves: on the left the scores, on the right the
# differences with their intervals, here on one scale for both data sets. Row ``all`` is
# the co-learned model asked from both sensors, for which there is no counterpart alone.

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
# Where S2 has something to teach, S1 gains in every fold and the interval leaves out 0.
# Where it has nothing, S1 is better in some folds and worse in others, and the interval
# holds 0. It is wide: that no gain was shown does not prove that there is none. Row
# ``all`` warns of the opposite mistake: without members the answer of both is their
# mean, and the mean with a sensor that knows nothing is worse than S1 by itself.
#
# The first data set was made to show a gain: a noisy sensor, a clear partner, few
# labels and many plots without one. With other random numbers the gain is of another
# size and its interval may hold 0. With all plots labelled the gain is mostly small;
# see :doc:`/method` for what was measured on real data.
#
# For your own plots, use folds that are like the use: by place if the map goes to new
# places (:doc:`/evaluating`). And before you believe in a gain, see that the sensor
# alone was trained for as many steps.
