"""
Prediction intervals for one sensor
===================================

How far off may a prediction from radar alone be, and how much narrower is the interval
from optical images?

``predict_interval`` turns the errors of each member on its held-out rows into intervals
that contain the true value as often as requested. They need no separate calibration
rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnRegressor
from sklearn_colearn.datasets import make_multisensor

# %%
# Train
# -----
#
# The plots are generated and the target has no unit; yours may be tons per hectare.
# Each of the five members holds out a fifth of the training rows.

X, y = make_multisensor(
    1500,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    task="regression",
    noise={"S1": 1.5, "S2": 0.3},
    target_noise=0.2,
    random_state=0,
)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=500, random_state=0)
reg = CoLearnRegressor(encoder="mlp", random_state=0).fit(X_train, y_train)
print(reg.held_out_scores_.round(2))

# %%
# Intervals for each sensor
# -------------------------
#
# The same call works for one sensor or several, and for exported models.

found = {}
for sensor in X:
    one = X_test.select(sensor)
    low, high = reg.predict_interval(one, confidence_level=0.9).T
    found[sensor] = reg.predict(one), low, high
    covered = np.mean((low <= y_test) & (y_test <= high))
    print(f"{sensor}: {covered:.1%} covered, mean width {np.mean(high - low):.2f}")

chance = np.sqrt(0.9 * 0.1 * (1 / len(y_train) + 1 / len(y_test)))
print(f"standard deviation of a coverage of 90 % by chance: {chance:.1%}")

# %%
# Both sensors reach the requested 90 %, within the chance of one draw of rows. The
# guarantee holds on average over such draws.
#
# The picture
# -----------
#
# Fifty test plots, sorted by prediction. S2 knows more, so its intervals are shorter at
# the same coverage.

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
# The difference in width is the value of the optical images, in the unit of the target:
# compare it before you decide which sensor to map with.
#
# Two limits apply. The intervals are about equally wide for all plots, easy or hard,
# because the method uses absolute errors. And the coverage holds for rows like the
# held-out ones: where plots share a site, pass ``groups=`` to ``fit``, or the intervals
# are too short for new sites. :doc:`/trust` lists the other assumptions.
