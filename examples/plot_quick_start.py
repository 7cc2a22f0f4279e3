"""
Quick start: train on three sensors, predict with one
=====================================================

How do I train on every sensor that I have and predict with the one that is there? For
readers who know scikit-learn and see this library for the first time.

The sensors are generated: a radar series ``S1``, an optical series ``S2`` and a terrain
table see the same 800 plots. Two hidden factors show in all three sensors, two more in
each sensor alone, and the class of a plot depends on all of them. So every sensor knows
something about the class, and none knows all of it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.metrics import ConfusionMatrixDisplay, accuracy_score
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import make_multisensor

X, y = make_multisensor(800, noise={"S1": 1.5, "S2": 0.3}, random_state=0)
classes = np.array(["low", "middle", "high"])
y = classes[y]  # labels may be numbers or strings

for sensor, values in X.items():
    print(f"{sensor}: {values.shape}")

# %%
# ``X`` is a :class:`~sklearn_colearn.ModalityDict`, a dict of arrays that scikit-learn
# can split by rows. Row ``i`` of every sensor is the same plot. The first axis of a
# time series is the plot, then come the steps, then the bands.
#
# Fit once
# --------
#
# One fit trains the sensors' networks together. Bands are standardised inside. Five
# members each hold out a fifth of the rows, and the table says how well they predict
# it: what to expect of each sensor, before any other row is seen.

X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
clf = CoLearnClassifier(random_state=0).fit(X_train, y_train)
print(clf.held_out_scores_[["log_loss", "accuracy", "f1_macro"]].round(2))

# %%
# Predict from one sensor
# -----------------------
#
# Hand over the sensor that is there. No other sensor is asked for.

radar_only = {"S1": X_test["S1"]}
print(clf.predict(radar_only)[:5])

# %%
# On the test rows each sensor is asked by itself. The yardstick is chance: the
# accuracy of always saying the most frequent class.

predictions = {sensor: clf.predict(X_test.select(sensor)) for sensor in X}
accuracy = {name: accuracy_score(y_test, p) for name, p in predictions.items()}
chance = DummyClassifier().fit(X_train, y_train).score(X_test, y_test)

for sensor, value in accuracy.items():
    print(f"{sensor:8s} {value:.2f}")
print(f"{'chance':8s} {chance:.2f}")

# %%
# A row of each matrix is a true class, a column what was predicted. The classes are
# consecutive ranges of one quantity: the middle one has two neighbours to be taken for
# and is the hardest from every sensor. S2, which has the least noise, seldom takes
# "low" for "high" or the reverse; S1 and terrain do so more often.

figure, axes = plt.subplots(1, 3, figsize=(7, 3.2), sharey=True, layout="constrained")
for ax, (sensor, predicted) in zip(axes, predictions.items(), strict=True):
    ConfusionMatrixDisplay.from_predictions(
        y_test,
        predicted,
        labels=classes,
        normalize="true",
        values_format=".0%",
        cmap="Blues",
        im_kw={"vmin": 0, "vmax": 1},
        colorbar=False,
        ax=ax,
    )
    ax.set(title=f"from {sensor}\naccuracy {accuracy[sensor]:.2f}", xlabel="predicted")
    ax.set_ylabel("true class" if ax is axes[0] else "")
figure.suptitle(f"One fit answers from every sensor; chance is {chance:.2f}")
plt.show()

# %%
# Predict from what is there
# --------------------------
#
# Often some rows lack some sensors. Mark them by NaN and hand over everything: each
# row is answered by the sensors that it has, and ``return_modalities=True`` says which
# those were. Here clouds take the optical series of every second plot.

X_clouds = X_test.copy()  # a new dict of the same arrays
X_clouds["S2"] = X_test["S2"].copy()
X_clouds["S2"][::2] = np.nan

predicted, answered = clf.predict(X_clouds, return_modalities=True)
print(answered.head(4))

cloudy = ~answered["S2"].to_numpy()
in_clear_sky = clf.predict(X_test[cloudy])
without_s2 = accuracy_score(y_test[cloudy], predicted[cloudy])
with_s2 = accuracy_score(y_test[cloudy], in_clear_sky)
print(f"accuracy on the cloudy plots, without S2: {without_s2:.2f}")
print(f"the same plots, had the sky been clear:   {with_s2:.2f}")

# %%
# For your own data: ``fit`` also takes a plain dict of arrays, and the network of one
# sensor can be taken out by ``clf.export("S1")``. The accuracies above say what each
# sensor can do after training together. They do not say that training together made
# it better; that question has an example of its own,
# :ref:`sphx_glr_gallery_plot_alone_or_together.py`.
