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
# generator is asked for the factors themselves, to compare with later. ``cv=None``
# trains one network, as each of several members would have axes of its own.

X, y, factors = make_multisensor(800, return_factors=True, random_state=0)
train, test = train_test_split(np.arange(len(X)), stratify=y, random_state=0)

clf = CoLearnClassifier(encoder="mlp", cv=None, max_epochs=40, random_state=0)
clf.fit(X[train], y[train])

# %%
# In the plane
# ------------
#
# t-SNE of both representations of the test plots, which were not trained on. A point is
# one plot seen by one sensor.

display = EmbeddingDisplay.from_estimator(clf, X[test], y[test])
display.figure_.suptitle("Specific: a cloud for each sensor. Shared: one for all.")
plt.show()

# %%
# The specific representations (top) lie apart by sensor, as the discriminative term
# asks. The shared ones (bottom) of all sensors are mixed. Each specific cloud is
# ordered by class for itself. The shared cloud is ordered once, class 0 towards one end
# and class 2 towards the other, so what one sensor's shared representation says of the
# class holds for another's.

# %%
# Side by side
# ------------
#
# t-SNE keeps neighbours, not distances: the gaps between the clouds mean nothing. So
# look at the representations themselves. ``embed`` returns them, here for S1 and S2 of
# the same plots in the same order. How alike, by the cosine, is what the two sensors
# say of the same plot, and of two different plots?

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
    ax.set(title=representation, xlabel="cosine of S1 and S2", xlim=(-0.6, 1))
axes[0].set_ylabel("density")
axes[0].legend()
plt.show()

for representation, values in similarity.items():
    nearer = (values > values[same][:, np.newaxis]).sum(axis=1)
    print(f"{representation}: {np.median(nearer):.0f} other plots are nearer (median)")

# %%
# Shared, the two sensors agree on the same plot far better than on different ones, and
# few others are nearer; the plot itself is seldom the very nearest, as many plots are
# alike in two factors. Specific, a plot is hardly nearer to itself than to any other.
#
# What do they hold?
# ------------------
#
# Only generated data can answer this. Ridge regression reads the hidden factors off
# each representation, fitted on the training plots; the figures are R² on the test
# plots.

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

# %%
# The shared representation holds the shared factors better than the sensor's own, as
# it should. The specific one holds no less of the shared factors than of its own. So
# the separation is a matter of degree: a factor that helps the prediction is welcome in
# either representation, and no term keeps shared information out of the specific one.
#
# For your own data
# -----------------
#
# - Shared representations that lie apart by sensor, even on training rows, say that the
#   contrastive term has not done its work: the sensors have little in common, the
#   batches are small, or ``contrastive_weight`` is low.
# - Mixed clouds show that the terms did what they ask for. They do not show that the
#   predictions got better: measure that, as in
#   :ref:`sphx_glr_gallery_plot_alone_or_together.py`.
# - ``transform`` gives specific and shared side by side, as features for any other
#   estimator; :class:`~sklearn_colearn.plotting.EmbeddingDisplay` also takes
#   ``method="pca"``, which does keep distances.
