"""
Regression: tree cover from one sensor
======================================

How do I predict a measured quantity from each sensor, how large is the error in its
unit, and did training converge?

The data are real: 3,005 forest plots of southwest Oregon with their tree cover in
percent, each with Landsat bands, climate and terrain
(:func:`~sklearn_colearn.datasets.load_forest_plots`, from the package ``sknnr``;
install it with ``pip install "sklearn-colearn[demo]"``). Every third plot is used to
keep the example quick.
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
# Cover is summed over species with overlapping crowns, so it may exceed 100 %. The
# target needs no scaling: it is standardized internally, and predictions are in
# percent.

X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
reg = CoLearnRegressor(random_state=0).fit(X_train, y_train)

# %%
# Predicted against measured
# --------------------------
#
# Each sensor predicts alone. All together predict by the mean of the three predictions,
# and by the estimator's own combination, which weights sensors and teacher by held-out
# rows. The last line predicts the training mean for every plot.

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
# R² is the share of the variance that is explained. The root mean squared error (RMSE)
# is a typical error in percent cover. Climate is the best single sensor, landsat the
# weakest. The mean of the three is worse than climate alone, because weak sensors count
# as much as strong ones. The learned weights correct this:

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
# On the gray line predictions equal measurements. Landsat predicts nearly the same
# cover for most plots; climate and all sensors together follow the line. None reaches
# the extremes, as with every imperfect model of squared error: dense plots are
# predicted too low, most open ones too high. So do not read the area of the densest
# stands off such a map.

# %%
# Training
# --------
#
# ``history_`` has one row per member and epoch, and one column per term of the loss,
# before weighting. ``held_out_`` columns are the main term on held-out rows. The target
# is standardized, so predicting the mean would give 1 for the main, auxiliary and
# teacher terms. Here is the first member.

history = reg.history_[reg.history_["member"] == 0].set_index("epoch")
print(history.filter(like="held_out_").idxmin())  # the epoch that each sensor keeps

losses = history.filter(regex="train_|held_out_")
losses.plot(
    subplots=True, layout=(-1, 3), figsize=(7, 7), legend=False, title=list(losses)
)
plt.tight_layout()
plt.show()

# %%
# Look for these patterns:
#
# - On training rows the main term still falls at the end. On held-out rows each sensor
#   has its best epoch earlier, and keeps that one. Training ends when no sensor has
#   improved for ten epochs.
# - The contrastive term falls as the network learns which rows of two sensors belong to
#   the same plot. It has no unit and cannot reach 0.
# - The discriminative term is soon near 0: climate and terrain are easy to tell apart.
# - The teacher sees all sensors, so its term is below the main one. The distillation
#   term, the distance to its predictions, need not fall, because the teacher keeps
#   changing.
#
# With your own data: to report scores and to test whether co-learning helped, use
# :func:`~sklearn_colearn.evaluate_modalities` on all plots instead of one split.
