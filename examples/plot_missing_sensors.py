"""
Rows that lack a sensor
=======================

Archives hold different plots, and at use time each plot has other gaps. How do such
rows take part in training, and who answers for them? For everyone whose sensors do not
line up.
"""

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
# Generated plots with a radar series ``S1`` and an optical series ``S2``. Each archive
# has ids and lacks some plots. ``align`` puts them side by side: NaN where a sensor has
# no such plot.

X, y = make_multisensor(
    1000,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    noise={"S1": 0.5, "S2": 0.3},
    target_noise=0.1,
    random_state=0,
)
ids = np.array([f"plot {i}" for i in range(1000)])
rng = np.random.default_rng(0)
held = {
    sensor: rng.random(1000) < share for sensor, share in {"S1": 0.9, "S2": 0.5}.items()
}

archives = {sensor: (ids[rows], X[sensor][rows]) for sensor, rows in held.items()}
X_both = ModalityDict.align(archives)
y_both = pd.Series(y, index=ids).reindex(X_both.ids).to_numpy()
print(X_both)

# %%
# Who answers
# -----------
#
# Each row is answered by the sensors that it has, and ``return_modalities=True`` says
# which those were.

train, test = slice(0, 500), slice(500, None)
clf = CoLearnClassifier(encoder="mlp", max_epochs=20, random_state=0)
clf.fit(X_both[train], y_both[train])

answers, answered = clf.predict(X_both[test], return_modalities=True)
right = pd.Series(answers == y_both[test])
print(right.groupby([answered["S1"], answered["S2"]]).agg(["size", "mean"]).round(2))

# %%
# Where a row has both, the answer is the mean of the two by default.
# ``fusion="teacher"`` asks a head that was trained on both together.

has_both = answered.all(axis=1).to_numpy()
X_two, y_two = X_both[test][has_both], y_both[test][has_both]
for fusion in ["mean", "teacher"]:
    print(f"{fusion:8s}{clf.set_params(fusion=fusion).score(X_two, y_two):.2f}")

# %%
# Ever more gaps
# --------------
#
# Now ever more rows to be predicted lack S2, from none to all. Beside the estimator: S1
# by itself, which does not care, and what one would do without this package, a random
# forest on the columns of both sensors with gaps filled by the column's mean. All have
# the training rows from above. Five draws of the gaps.

forest = make_pipeline(
    SimpleImputer(), RandomForestClassifier(300, n_jobs=1, random_state=0)
)
forest.fit(np.asarray(X_both[train]), y_both[train])
clf.set_params(fusion="teacher")

complete, y_test = X[500:], y[500:]
scores = []
for draw in range(5):
    random = np.random.default_rng(draw).random(500)
    for share in [0.0, 0.25, 0.5, 0.75, 1.0]:
        gappy = complete.copy()
        gappy["S2"] = np.where((random < share)[:, None, None], np.nan, complete["S2"])
        answers = {
            "from what each row has": clf.predict(gappy),
            "from S1 alone": clf.predict({"S1": gappy["S1"]}),
            "forest, gaps filled by the mean": forest.predict(np.asarray(gappy)),
        }
        for way, answer in answers.items():
            accuracy = np.mean(answer == y_test)
            scores.append({"share": share, "way": way, "accuracy": accuracy})

table = pd.DataFrame(scores).pivot_table(
    index="share", columns="way", values="accuracy", aggfunc=["mean", "std"]
)
print(table["mean"].round(3))

# %%
# Lines are means over the draws, bands their standard deviation. The estimator falls
# from what both sensors say to what S1 says, and no lower. The forest, which was
# trained on rows with such gaps, loses about as much.

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
for way, color, marker in [
    ("from what each row has", "#0072b2", "o"),
    ("from S1 alone", "#009e73", "s"),
    ("forest, gaps filled by the mean", "#d55e00", "^"),
]:
    mean, std = table["mean"][way], table["std"][way]
    ax.plot(100 * mean.index, mean, color=color, marker=marker, label=way)
    ax.fill_between(
        100 * mean.index, mean - std, mean + std, color=color, alpha=0.15, lw=0
    )
ax.set(
    xlabel="rows to be predicted that lack S2 (%)",
    ylabel="accuracy",
    title="Gaps cost what the missing sensor knew, and no more",
)
ax.legend()
plt.show()

# %%
# Training on rows with gaps is no reason to expect that a sensor gets better: with all
# rows labelled, sensors trained together and alone suffered alike from gaps in training
# (:doc:`/method`). What the package saves is a model for every set of sensors.
