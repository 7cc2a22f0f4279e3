"""
Rows that lack a sensor
=======================

Should rows that lack a sensor be dropped from training, and how are they predicted
later? Archives hold different plots, and at prediction each plot has different gaps.
"""

# sphinx_gallery_thumbnail_number = 2

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from sklearn_colearn import CoLearnClassifier, ModalityDict
from sklearn_colearn.datasets import make_multisensor

# %%
# Two archives
# ------------
#
# The generated plots have a radar series ``S1`` and an optical series ``S2``. Each
# archive lacks some of 600 plots. ``align`` matches the archives by their ids and fills
# NaN where a sensor lacks a plot. 1,000 more plots, with both sensors, are for testing.

X, y = make_multisensor(
    1600,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    noise={"S1": 0.5, "S2": 0.3},
    target_noise=0.1,
    random_state=0,
)
X_test, y_test = X[600:], y[600:]

ids = np.array([f"plot {i}" for i in range(600)])
labels = pd.Series(y[:600], index=ids)


def draw_archives(seed):
    """Draw which plots each archive holds, and align them with their labels."""
    random = np.random.default_rng(seed).random((2, 600))
    S1, S2 = np.flatnonzero(random[0] < 0.7), np.flatnonzero(random[1] < 0.6)
    archives = {"S1": (ids[S1], X["S1"][S1]), "S2": (ids[S2], X["S2"][S2])}
    X_train = ModalityDict.align(archives)
    return X_train, labels[X_train.ids].to_numpy()


X_train, y_train = draw_archives(0)
print(X_train)
has = pd.DataFrame(
    {sensor: ~np.isnan(X_train[sensor]).all(axis=(1, 2)) for sensor in X_train}
)
print(has.value_counts())

# %%
# Drop the rows with gaps?
# ------------------------
#
# A row that lacks a sensor still trains the networks of the others. We compare training
# on all rows, training on the rows that have both sensors, and each sensor alone on its
# rows. Each sensor stops at its best epoch on held-out rows. The archives are drawn
# three times.

# Training on one sensor warns that it has no partner; this is intended here.
warnings.filterwarnings("ignore", "X holds one modality", UserWarning)


clf = CoLearnClassifier(encoder="mlp", cv=3, random_state=0)

scores = []
for draw in range(3):
    X_draw, y_draw = draw_archives(draw)
    there = {s: ~np.isnan(X_draw[s]).all(axis=(1, 2)) for s in X_draw}
    both = there["S1"] & there["S2"]
    ways = {
        "co-learned, all rows": slice(None),
        "co-learned, complete rows": both,
    }
    for way, rows in ways.items():
        clf.fit(X_draw[rows], y_draw[rows])
        for asked in (["S1"], ["S2"], ["S1", "S2"]):
            accuracy = clf.score(X_test.select(asked), y_test)
            scores.append((" and ".join(asked), way, accuracy))
    for sensor, rows in there.items():
        clf.fit(X_draw[rows].select(sensor), y_draw[rows])
        accuracy = clf.score(X_test.select(sensor), y_test)
        scores.append((sensor, "alone, its rows", accuracy))

scores = pd.DataFrame(scores, columns=["asked", "way", "accuracy"])
table = scores.pivot_table("accuracy", "asked", "way", sort=False)
print(table.round(3))

# %%

styles = {
    "co-learned, all rows": ("#0072b2", "o"),
    "co-learned, complete rows": ("#009e73", "s"),
    "alone, its rows": ("#d55e00", "^"),
}
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for i, (way, (color, marker)) in enumerate(styles.items()):
    for row, asked in enumerate(table.index):
        chosen = (scores["asked"] == asked) & (scores["way"] == way)
        values = scores.loc[chosen, "accuracy"]
        height = row + 0.22 * (i - 1)
        ax.plot(values, [height] * len(values), marker, color=color, alpha=0.4, ms=5)
        ax.plot(values.mean(), height, marker, color=color, ms=9)
    ax.plot([], [], marker, color=color, label=way)
ax.set(
    yticks=range(3),
    yticklabels=[f"from {asked}" for asked in table.index],
    xlabel="accuracy: three draws, faint, and their mean",
    title="Rows that lack a sensor are worth keeping",
)
ax.set_ylim(2.5, -0.5)
ax.legend(fontsize=8)
plt.show()

# %%
# Dropping rows costs accuracy, from either sensor and from both. Co-learning is level
# with the sensors trained alone, which also use all of their rows: with all rows
# labelled, no more is to be expected (:doc:`/co_learning`). Its benefit here is one
# model for every set of sensors.
#
# Predict with gaps
# -----------------
#
# Now half of the test rows lack S2. Each row is predicted from the sensors that it has,
# and ``return_modalities=True`` tells which.

clf.fit(X_train, y_train)


def with_gaps(share, seed):
    """Take S2 away from a share of the test rows."""
    gone = np.random.default_rng(seed).random(len(y_test)) < share
    gappy = X_test.copy()
    gappy["S2"] = np.where(gone[:, None, None], np.nan, X_test["S2"])
    return gappy


answers, answered = clf.predict(with_gaps(0.5, 0), return_modalities=True)
right = pd.Series(answers == y_test, name="right")
print(right.groupby([answered["S1"], answered["S2"]]).agg(["size", "mean"]).round(3))

# %%
# For rows with both sensors, weights learned on held-out rows combine the predictions
# of both and of the teacher, a head trained on both together. This beats their plain
# mean:

print(clf.fusion_weights_.round(2))
of_each = [clf.predict_proba(X_test, modality=sensor) for sensor in X_test]
mean = clf.classes_[np.mean(of_each, axis=0).argmax(axis=1)]
print(f"mean      {np.mean(mean == y_test):.3f}")
print(f"weighted  {clf.score(X_test, y_test):.3f}")

# %%
# More and more gaps
# ------------------
#
# The share of test rows without S2 grows from none to all. References are S1 alone and
# a random forest on the columns of both sensors, trained on the same rows with gaps
# filled by the column mean. The gaps are drawn five times.

forest = make_pipeline(
    SimpleImputer(), RandomForestClassifier(200, n_jobs=1, random_state=0)
)
forest.fit(np.asarray(X_train), y_train)

scores = []
for draw in range(5):
    for share in [0.0, 0.25, 0.5, 0.75, 1.0]:
        gappy = with_gaps(share, draw)
        answers = {
            "from what each row has": clf.predict(gappy),
            "from S1 alone": clf.predict({"S1": gappy["S1"]}),
            "forest, gaps filled by the mean": forest.predict(np.asarray(gappy)),
        }
        for way, answer in answers.items():
            scores.append((share, way, np.mean(answer == y_test)))

scores = pd.DataFrame(scores, columns=["share", "way", "accuracy"])
table = scores.pivot_table("accuracy", "share", "way", aggfunc=["mean", "std"])
print(table["mean"].round(3))

# %%

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
for way, color, marker in [
    ("from what each row has", "#0072b2", "o"),
    ("forest, gaps filled by the mean", "#d55e00", "^"),
    ("from S1 alone", "#009e73", "s"),
]:
    mean, std = table["mean"][way], table["std"][way]
    ax.errorbar(
        100 * mean.index, mean, std, color=color, marker=marker, capsize=3, label=way
    )
ax.set(
    xlabel="rows to be predicted that lack S2 (%)",
    ylabel="accuracy: mean and standard deviation",
    title="Gaps at prediction cost what the missing sensor knew",
)
ax.legend()
plt.show()

# %%
# The estimator falls from the accuracy of both sensors to that of S1, and no lower. The
# forest, which also saw gaps in training, is behind here. On short real series trees
# are often stronger, so compare one on your own data.
#
# With your own data: keep the rows that lack a sensor, and report the score of each
# group of rows separately, as the table above does.
