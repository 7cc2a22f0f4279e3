"""
Intervals for the answer of one sensor
======================================

How far off may a prediction from radar alone be, and how much narrower is that from
optical images? For those who have to report an uncertainty with each number.

Conformal prediction turns the errors on rows set aside into intervals that cover the
true value as often as asked, whatever the model. MAPIE does that for any fitted
scikit-learn regressor, and what ``export`` takes out for one sensor is one
(``pip install mapie``).
"""

import matplotlib.pyplot as plt
import numpy as np
from mapie.regression import SplitConformalRegressor
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnRegressor
from sklearn_colearn.datasets import make_multisensor

# %%
# Three parts
# -----------
#
# Generated plots: one part trains, one sets the width of the intervals, one tests. What
# is predicted is of no unit; yours may be tons per hectare.

X, y = make_multisensor(
    1500,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    task="regression",
    noise={"S1": 1.5, "S2": 0.3},
    target_noise=0.2,
    random_state=0,
)
X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=500, random_state=0)
X_train, X_width, y_train, y_width = train_test_split(
    X_rest, y_rest, test_size=300, random_state=0
)
reg = CoLearnRegressor(encoder="mlp", max_epochs=30, random_state=0)
reg.fit(X_train, y_train)

# %%
# One model for each sensor
# -------------------------
#
# MAPIE wants a table, so each sensor is handed over in its flat form: a row for each
# plot, steps and bands side by side. An exported model takes that too.

found = {}
for sensor in X:
    conformal = SplitConformalRegressor(
        reg.export(sensor), confidence_level=0.9, prefit=True
    )
    conformal.conformalize(X_width[sensor].reshape(300, -1), y_width)
    values, intervals = conformal.predict_interval(X_test[sensor].reshape(500, -1))
    low, high = intervals[:, :, 0].T
    found[sensor] = values, low, high
    covered = np.mean((low <= y_test) & (y_test <= high))
    print(f"{sensor}: {covered:.0%} covered, mean width {np.mean(high - low):.2f}")

# %%
# The picture
# -----------
#
# Fifty test plots, sorted by what was predicted. Nine in ten of the true values should
# lie within their bars. Both sensors keep that promise; S2 keeps it with shorter bars,
# as it knows more.

figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), sharey=True, layout="constrained")
for ax, (sensor, (values, low, high)) in zip(axes, found.items(), strict=True):
    rows = np.argsort(values[:50])
    inside = ((low <= y_test) & (y_test <= high))[rows]
    place = np.arange(50)
    ax.vlines(
        place, low[rows], high[rows], color="#56b4e9", lw=3, label="90 % interval"
    )
    truth = y_test[rows]
    ax.plot(
        place[inside], truth[inside], "o", color="black", ms=3, label="true, within"
    )
    ax.plot(place[~inside], truth[~inside], "X", color="#d55e00", label="true, outside")
    covered = np.mean((low <= y_test) & (y_test <= high))
    ax.set(
        title=f"{sensor}: {covered:.0%} covered\nmean width {np.mean(high - low):.1f}",
        xlabel="test plots, by prediction",
        xticks=[],
    )
axes[0].set_ylabel("target")
axes[0].legend(fontsize=8, loc="upper left")
plt.show()

# %%
# Two limits. The intervals are of one width for all plots, since that is what this
# method makes of absolute errors. And the promise holds for rows like those set aside:
# where plots share a site, set whole sites aside (:doc:`/evaluating`), or the intervals
# are too short for new places.
