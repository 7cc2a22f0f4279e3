"""
Regression: tree cover from one sensor
======================================

How are continuous targets predicted from each sensor, how far off is that in the
target's own unit, and did training run its course? For users with measured quantities:
biomass, cover, moisture, yield.

The data are real: 3,005 forest plots of southwest Oregon with their tree cover in
percent, each with Landsat bands, climate and terrain
(:func:`~sklearn_colearn.datasets.load_forest_plots`, of the package ``sknnr``; install
it by ``pip install "sklearn-colearn[demo]"``). Every third plot is used, which keeps
the example quick.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnRegressor
from sklearn_colearn.datasets import load_forest_plots

X, y = load_forest_plots(target="cover", return_X_y=True)
X, y = X[::3], y[::3]
for sensor, table in X.items():
    print(f"{sensor}: {', '.join(table.columns)}")
print(f"cover: {y.min():.0f} to {y.max():.0f} %, mean {y.mean():.0f} %")

# %%
# Cover is summed over species whose crowns overlap, so it may exceed 100 %. The target
# needs no scaling: it is standardised inside, and predictions are in percent again.

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
reg = CoLearnRegressor(random_state=0).fit(X_train, y_train)

# %%
# Predicted against measured
# --------------------------
#
# Each sensor is asked alone, then all together, in two ways: by the mean of the three
# answers, and as the estimator does it, by weights learnt on held-out rows, with a
# teacher that sees all sensors among them. The last line predicts the training mean for
# every plot.

predictions = {sensor: reg.predict(X_test.select(sensor)) for sensor in X}
predictions["all, mean"] = np.mean(list(predictions.values()), axis=0)
predictions["all, weighted"] = reg.predict(X_test)
predictions["training mean"] = np.full(len(y_test), y_train.mean())

print(f"{'':14s}     R2  RMSE in %")
for name, predicted in predictions.items():
    r2 = r2_score(y_test, predicted)
    rmse = root_mean_squared_error(y_test, predicted)
    print(f"{name:14s} {r2:+.3f}  {rmse:.1f}")

# %%
# R² is the share of the variance that is explained; the root mean squared error (RMSE)
# says in percent cover how far off a prediction typically is, and is read against the
# last line. Climate alone is the best sensor, landsat alone knows least. The mean of
# the three is worse than climate: it lets the weak sensors speak as loudly. The weights
# tell which are to be believed:

print(reg.fusion_weights_.round(2))

# %%

shown = ["landsat", "climate", "terrain", "all, weighted"]
limits = (0, y_test.max() + 5)
figure, axes = plt.subplots(
    2, 2, figsize=(6, 6.2), sharex=True, sharey=True, layout="constrained"
)
for ax, name in zip(axes.flat, shown, strict=True):
    predicted = predictions[name]
    rmse = root_mean_squared_error(y_test, predicted)
    ax.scatter(y_test, predicted, s=10, alpha=0.4, linewidth=0, color="#0072b2")
    ax.plot(limits, limits, color="#777777", linewidth=1)
    ax.set_title(f"{name}: RMSE {rmse:.1f} % cover", fontsize=10)
    ax.set(xlim=limits, ylim=limits)
    ax.set_aspect("equal")
figure.supxlabel("measured cover (%)")
figure.supylabel("predicted cover (%)")
figure.suptitle("The less a sensor knows, the closer it stays to the mean")
plt.show()

# %%
# On the grey line predicted and measured are equal. Landsat answers nearly the same
# cover for most plots; climate and all together spread their answers along the line.
# None reaches the extremes: dense plots are predicted too low and most open ones too
# high, as by every model of squared error that does not know all. So do not read the
# area of the densest stands off a map of such predictions.

# %%
# Training
# --------
#
# ``history_`` has a row for each member and epoch and a column for each term of the
# loss, not yet multiplied by its weight, and for the main term of the held-out rows.
# The target is standardised, so for the main, auxiliary and teacher terms 1 is what the
# mean would give. Here is the first member.

history = reg.history_[reg.history_["member"] == 0].set_index("epoch")
print(history.filter(like="held_out_").idxmin())  # the epoch that each sensor keeps

losses = history.filter(regex="train_|held_out_")
losses.plot(
    subplots=True, layout=(-1, 3), figsize=(7, 7), legend=False, title=list(losses)
)
plt.tight_layout()
plt.show()

# %%
# What to look for:
#
# - The main term still falls at the end, on the rows that it is trained on. On held-out
#   rows each sensor has its best epoch earlier, and that is the one it keeps. Training
#   ends when none has become better for ten epochs.
# - The contrastive term falls as the network learns which rows of two sensors are of
#   the same plot. Its value has no unit, and 0 is out of reach.
# - The discriminative term is near 0 after a few epochs: a table of climate is easily
#   told from one of terrain.
# - The teacher's term is below the main one, as it sees all sensors. The distillation
#   term, the distance to the teacher's answers, need not fall: the teacher moves on.
#
# For your own data: one split, as here, shows what the predictions look like. For
# figures to report, and for the question whether co-learning helped, use
# :func:`~sklearn_colearn.evaluate_modalities` on all plots.
