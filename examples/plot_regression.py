"""
Regression: tree cover from one sensor
======================================

How are continuous targets predicted from each sensor, how far off is that in the
target's own unit, and did training run its course? For users with measured quantities:
biomass, cover, moisture, yield.

The data are real: 3,005 forest plots of southwest Oregon with their tree cover in
percent, each with Landsat bands, climate and terrain
(:func:`~sklearn_colearn.datasets.load_forest_plots`, of the package ``sknnr``; install
it by ``pip install "sklearn-colearn[demo]"``). Every second plot is used, which keeps
the example quick.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnRegressor
from sklearn_colearn.datasets import load_forest_plots
from sklearn_colearn.plotting import TrainingHistoryDisplay

X, y = load_forest_plots(target="cover", return_X_y=True)
X, y = X[::2], y[::2]
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
# answers, which is the default, and by the teacher, a head on all sensors that was
# trained along. The last line predicts the training mean for every plot.

predictions = {sensor: reg.predict(X_test.select(sensor)) for sensor in X}
predictions["all, mean"] = reg.predict(X_test)
predictions["all, teacher"] = reg.set_params(fusion="teacher").predict(X_test)
predictions["training mean"] = np.full(len(y_test), y_train.mean())

print(f"{'':14s}     R2  RMSE in %")
for name, predicted in predictions.items():
    r2 = r2_score(y_test, predicted)
    rmse = root_mean_squared_error(y_test, predicted)
    print(f"{name:14s} {r2:+.3f}  {rmse:.1f}")

# %%
# R² says how much of the variance is explained, the root mean squared error (RMSE) how
# far off a prediction typically is. Climate says most, and the teacher on all sensors a
# little more; the mean of the three is worse than climate by itself, as it counts the
# weak sensors in full. A sensor that knows little stays near the mean, as Landsat does
# here.

shown = ["landsat", "climate", "terrain", "all, teacher"]
limits = (0, np.percentile(y_test, 99.5))
figure, axes = plt.subplots(
    1, 4, figsize=(9, 3), sharex=True, sharey=True, layout="constrained"
)
for ax, name in zip(axes, shown, strict=True):
    predicted = predictions[name]
    ax.scatter(y_test, predicted, s=8, alpha=0.4, linewidth=0, color="#0072b2")
    ax.plot(limits, limits, color="#777777", linewidth=1)
    ax.set(
        title=f"{name}\nRMSE {root_mean_squared_error(y_test, predicted):.1f} %",
        xlabel="measured cover (%)",
        xlim=limits,
        ylim=limits,
        aspect="equal",
    )
axes[0].set_ylabel("predicted cover (%)")
plt.show()

# %%
# Training
# --------
#
# Each term of the loss by epoch, before its weight. The main term still falls slowly at
# the end, and so would be the first to overfit; the discriminative term is at 0 after
# some epochs, since tables of three sensors are told apart at once. Distillation rises
# as the teacher learns what single sensors cannot follow. Curves of training rows alone
# do not say when to stop: ``early_stopping=True`` holds rows back for that.

TrainingHistoryDisplay.from_estimator(reg)
plt.show()
