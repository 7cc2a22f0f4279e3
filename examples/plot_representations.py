"""
What is shared and what is specific
===================================

Did the network find what the sensors have in common, and what each one sees alone?

The network turns each sensor into two representations. The contrastive term makes the
*shared* one alike in all sensors of the same plot; the discriminative term makes the
*specific* one reveal its sensor. The prediction of a sensor uses both.
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
# Two hidden factors show in all three sensors and two in each sensor alone. The
# generator also returns these factors, for comparison at the end. ``cv=None`` trains
# one network; several members would each have different axes.

X, y, factors = make_multisensor(800, return_factors=True, random_state=0)
train, test = train_test_split(np.arange(len(X)), stratify=y, random_state=0)

clf = CoLearnClassifier(encoder="mlp", cv=None, max_epochs=40, random_state=0)
clf.fit(X[train], y[train])

# %%
# In the plane
# ------------
#
# t-SNE of both representations of the test plots. Each point is one plot seen by one
# sensor.

display = EmbeddingDisplay.from_estimator(clf, X[test], y[test])
display.figure_.suptitle("Specific: a cloud for each sensor. Shared: one for all.")
plt.show()

# %%
# The specific representations (top) separate by sensor, as the discriminative term
# demands. The shared ones (bottom) are mixed. Each specific cloud orders the classes in
# its own way. The shared cloud has one order, from class 0 to class 2, so a position
# means the same class for every sensor.

# %%
# Side by side
# ------------
#
# t-SNE keeps neighbors, not distances: the gaps between clouds mean nothing. So we
# compare the representations themselves, which ``embed`` returns. How similar, by the
# cosine, are S1 and S2 for the same plot, and for two different plots?

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
# In the shared representation, the two sensors agree far better on the same plot than
# on different plots. The plot itself is seldom the nearest, as many plots resemble each
# other in two factors. In the specific representation, a plot is hardly nearer to
# itself than to any other.
#
# What do they contain?
# ---------------------
#
# Only generated data can answer this. Ridge regression, fitted on the training plots,
# predicts the hidden factors from each representation; the table has R² on the test
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
# The shared representation contains more of the shared factors than of the sensor's
# own, as intended. The specific one contains no less of the shared factors than of its
# own: no term keeps shared information out of it, and any factor that helps the
# prediction may enter either representation.
#
# With your own data
# ------------------
#
# - If shared representations separate by sensor, even on training rows, the contrastive
#   term failed: the sensors have little in common, the batches are small, or
#   ``contrastive_weight`` is low.
# - Mixed clouds show that the terms worked, not that predictions improved: measure
#   this, as in :ref:`sphx_glr_gallery_plot_alone_or_together.py`.
# - ``transform`` returns specific and shared representations side by side, as features
#   for any other estimator.
# - :class:`~sklearn_colearn.plotting.EmbeddingDisplay` also takes ``method="pca"``,
#   which keeps distances.
