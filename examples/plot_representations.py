"""
What is shared and what is specific
===================================

Did the network find what the sensors have in common, and what each sees by itself? For
those who want to look inside a fit, and to use the representations elsewhere.

The network turns each sensor into a *shared* representation, which the contrastive
term makes alike in all sensors of the same plot, and a *specific* one, from which the
sensor can be told. The prediction of a sensor is made of both.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import train_test_split

from sklearn_colearn import CoLearnClassifier
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.plotting import EmbeddingDisplay

# %%
# Two hidden factors show in all three sensors and two in each sensor alone. Here the
# generator is asked for the factors themselves, to compare with later.

X, y, factors = make_multisensor(800, return_factors=True, random_state=0)
train, test = train_test_split(np.arange(len(X)), stratify=y, random_state=0)

clf = CoLearnClassifier(encoder="mlp", random_state=0).fit(X[train], y[train])

# %%
# In the plane
# ------------
#
# t-SNE of both representations of the test plots, which were not trained on. A point is
# one plot seen by one sensor. The specific representation (above) falls apart by
# sensor, the shared one (below) does not; in both the classes lie in order.

EmbeddingDisplay.from_estimator(clf, X[test], y[test])
plt.show()

# %%
# Side by side
# ------------
#
# t-SNE keeps neighbours, not distances, so look at the representations themselves.
# ``embed`` returns them: here for S1 and S2, of the same plots in the same order. How
# alike, by the cosine, is what the two sensors say of the same plot, and of two
# different plots? The shared representation knows a plot again from the other sensor;
# the specific one hardly.

similarity = {}
for representation in ["shared", "specific"]:
    s1, s2 = (
        clf.embed(X[test].select(sensor), representation) for sensor in ["S1", "S2"]
    )
    similarity[representation] = cosine_similarity(s1, s2)

same = np.eye(len(test), dtype=bool)
figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
for ax, (representation, values) in zip(axes, similarity.items(), strict=True):
    for mask, label, color in [
        (same, "of the same plot", "#0072b2"),
        (~same, "of different plots", "#d55e00"),
    ]:
        ax.hist(
            values[mask], bins=30, density=True, alpha=0.6, color=color, label=label
        )
    ax.set(title=representation, xlabel="cosine of S1 and S2")
axes[0].set_ylabel("density")
axes[0].legend()
plt.show()

# %%
# What do they hold?
# ------------------
#
# Only generated data can answer this. Ridge regression reads the hidden factors off
# each representation, fitted on the training plots; the figures are R² on the test
# plots. In S1 and S2 the shared representation holds the shared factors best, and the
# sensor's own factors are more in the specific one. It is no clean cut: the task wants
# both kinds of factors in both, and no term forbids it.

rows = {}
for sensor in X:
    for representation in ["shared", "specific"]:
        z = clf.embed(X.select(sensor), representation)
        r2 = {}
        for name, f in {
            "shared factors": factors["shared"],
            "the sensor's own": factors["specific"][sensor],
        }.items():
            r2[name] = RidgeCV().fit(z[train], f[train]).score(z[test], f[test])
        rows[sensor, representation] = r2
print(pd.DataFrame(rows).T.round(2))
