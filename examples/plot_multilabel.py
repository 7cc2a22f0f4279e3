"""
Multi-label: several yes-or-no predictions from one sensor
==========================================================

How do I predict plots that have several labels at once, or none, and at which
probability does a label count as present?

The target is an indicator matrix: one row per plot, one column per label, 1 where the
label is present. The data are generated. Each label has a score that depends on hidden
factors shared by all sensors and on factors of each sensor. It is present where the
score is high: in half of the plots, or in only a few.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import f1_score, precision_recall_curve
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import make_multisensor

X, scores = make_multisensor(
    1500, task="regression", n_outputs=4, target_noise=0.3, random_state=0
)
share = {"oak": 0.5, "pine": 0.3, "yew": 0.15, "orchid": 0.07}
bounds = [np.quantile(scores[:, j], 1 - s) for j, s in enumerate(share.values())]
y = pd.DataFrame((scores > bounds).astype(int), columns=list(share))

print(y.head())
print("Labels of a plot, number of plots:")
print(y.sum(axis=1).value_counts().sort_index().to_string(header=False))

# %%
# ``make_multisensor(task="multilabel")`` returns an indicator matrix directly, but each
# of its labels is present in half of the plots. Thresholds matter for rare labels.
#
# Fit and predict
# ---------------
#
# The rows are split three ways: to train, to choose thresholds, and to test.

X_rest, X_test, y_rest, y_test = train_test_split(X, y, test_size=400, random_state=0)
X_train, X_choose, y_train, y_choose = train_test_split(
    X_rest, y_rest, test_size=400, random_state=0
)
clf = CoLearnClassifier(encoder="mlp", cv=3, random_state=0).fit(X_train, y_train)

proba = clf.predict_proba(X_test.select("S1"))
print(proba.shape)
print(proba[:3].round(2))

# %%
# Each column is the probability of one label, so rows need not sum to 1. ``predict``
# marks a label as present where its probability exceeds 0.5.

at_half = {sensor: clf.predict(X_test.select(sensor)) for sensor in X}
at_half["all"] = clf.predict(X_test)

# %%
# Thresholds
# ----------
#
# A rare label seldom reaches 0.5, so it is seldom predicted. For every sensor and
# label, we take the threshold with the best F1 on the rows set aside for this. Choosing
# it on the test rows would give scores that are too good.


def best_threshold(present, probability):
    """Return the threshold of the highest F1."""
    precision, recall, thresholds = precision_recall_curve(present, probability)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, where=total > 0, out=0 * total)
    return thresholds[f1[:-1].argmax()]


thresholds, chosen = {}, {}
for name in [*X, "all"]:
    sensors = list(X) if name == "all" else [name]
    proba = clf.predict_proba(X_choose.select(sensors))
    thresholds[name] = [
        best_threshold(y_choose[label], proba[:, j]) for j, label in enumerate(y)
    ]
    proba = clf.predict_proba(X_test.select(sensors))
    chosen[name] = (proba >= thresholds[name]).astype(int)

print(pd.DataFrame(thresholds, index=y.columns).round(2))

# %%
# F1 of each label
# ----------------


def f1_by_label(predictions):
    """Return a table with a row per label and a column per sensor."""
    scores = {
        sensor: f1_score(y_test, predicted, average=None)
        for sensor, predicted in predictions.items()
    }
    counts = [f"{label}\n(n={n})" for label, n in y_test.sum().items()]
    return pd.DataFrame(scores, index=counts)


colors = ["#0072b2", "#d55e00", "#009e73", "#777777"]
figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
tables = {
    "threshold 0.5": f1_by_label(at_half),
    "thresholds chosen on other rows": f1_by_label(chosen),
}
for ax, (title, table) in zip(axes, tables.items(), strict=True):
    table.plot.bar(ax=ax, rot=0, ylabel="F1", legend=False, color=colors)
    ax.set_title(title, fontsize=9)
    means = ", ".join(f"{name} {value:.2f}" for name, value in table.mean().items())
    print(f"mean F1 of the labels, {title}: {means}")
axes[1].legend(loc="upper left", bbox_to_anchor=(1, 1))
figure.suptitle("Thresholds of their own help the rare labels", fontsize=10)
plt.show()

# %%
# - Each group of bars is a label, from frequent to rare, with the number of test plots
#   that have it; each color is a sensor. F1 falls as labels become rare, whatever the
#   predictions, so compare within a group.
# - At 0.5 (left) single sensors never predict the rarest label: they are calibrated and
#   never that sure. All sensors together are.
# - With chosen thresholds (right) the rare labels gain most, from every sensor, and all
#   sensors together remain the best.
# - The thresholds differ by sensor, so keep one set for each sensor that you will
#   predict from.
#
# With your own data
# ------------------
#
# A threshold chosen from few positives is uncertain: count the positives in the rows
# set aside. :meth:`~sklearn_colearn.CoLearnClassifier.score` of a multi-label target is
# the share of plots with *all* labels right, a strict measure; prefer F1 or average
# precision of each label.
