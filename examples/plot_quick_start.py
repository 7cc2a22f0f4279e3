"""
Quick start: train on three sensors, predict with one
=====================================================

How do I train on every sensor that I have and predict with the one that is available?

Three generated sensors see the same 800 plots: a radar series ``S1``, an optical series
``S2`` and a terrain table. Two hidden factors show in all sensors, two more in each
sensor alone, and the class of a plot depends on all of them. So every sensor knows
something about the class, and none knows everything.
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
# can split by rows. Row ``i`` of every sensor is the same plot. The axes of a time
# series are plots, steps and bands.
#
# Fit once
# --------
#
# One fit trains the networks of all sensors together, and standardizes the bands. Each
# of five members holds out a fifth of the rows. The table scores the predictions on
# these held-out rows: an estimate for each sensor, without a test set.

X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.4, stratify=y, random_state=0
)
clf = CoLearnClassifier(random_state=0).fit(X_train, y_train)
print(clf.held_out_scores_[["log_loss", "accuracy", "f1_macro"]].round(2))

# %%
# Predict from one sensor
# -----------------------
#
# Pass the sensor that is available. The others are not needed.

radar_only = {"S1": X_test["S1"]}
print(clf.predict(radar_only)[:5])

# %%
# On the test rows, we score each sensor alone. The baseline is chance: the accuracy of
# always predicting the most frequent class.

predictions = {sensor: clf.predict(X_test.select(sensor)) for sensor in X}
accuracy = {name: accuracy_score(y_test, p) for name, p in predictions.items()}
chance = DummyClassifier().fit(X_train, y_train).score(X_test, y_test)

for sensor, value in accuracy.items():
    print(f"{sensor:8s} {value:.2f}")
print(f"{'chance':8s} {chance:.2f}")

# %%
# Rows of the matrices are true classes, columns are predictions. The classes are
# consecutive ranges of one quantity. The middle class has two neighbors and is the
# hardest for every sensor. S2 has the least noise and seldom confuses "low" with
# "high"; S1 and terrain do so more often.

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
# Predict rows with missing sensors
# ---------------------------------
#
# Often some rows lack some sensors. Mark the gaps with NaN and pass everything: each
# row is predicted from the sensors that it has, and ``return_modalities=True`` tells
# which. Here clouds remove the optical series of every second plot.

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
# With your own data: ``fit`` also takes a plain dict of arrays, and
# ``clf.export("S1")`` returns the model of one sensor. The accuracies above show how
# well each sensor predicts after joint training, not whether joint training made it
# better; :ref:`sphx_glr_gallery_plot_alone_or_together.py` tests that.
