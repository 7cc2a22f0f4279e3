"""
A map of a new place, with unlabelled pairs
===========================================

What do unlabelled pairs bring if the map is made from radar alone? A model trained on a
few places must map a new one, where radar and optical images exist but no labels.

The guide to :doc:`unlabelled pairs </pairs>` explains how they are used and what they
bring on real data.
"""

# %%
# Places
# ------
#
# There are nine generated places. In each, radar (S1) sees the same classes with a
# different offset, as from other soils and rain; optical (S2) is clearer and nearly the
# same everywhere. Eight places have 40 labelled samples each. The ninth, to be mapped,
# has 2,000 pixels that both sensors have seen.

import numpy as np

from sklearn_colearn.datasets import make_multisensor

X, y, place = make_multisensor(
    27_000,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    n_classes=4,
    n_specific=0,
    noise={"S1": 1.0, "S2": 0.5},
    target_noise=0.1,
    n_places=9,
    place_shift={"S1": 1.5, "S2": 0.3},
    random_state=0,
)
rng = np.random.default_rng(0)
known = [rng.choice(np.flatnonzero(place == p), 40, replace=False) for p in range(8)]
known = np.concatenate(known)
new = rng.permutation(np.flatnonzero(place == 8))
pairs, rest = new[:2000], new[2000:]

# %%
# The scene of the ninth place consists of parcels, each of one class. Its pixels are
# samples that are not among the pairs.

from scipy.spatial import cKDTree

height, width = 60, 90
rows, columns = np.mgrid[:height, :width]
turned = np.stack([rows + 0.4 * columns, 0.7 * (columns - 0.4 * rows)], axis=-1)
corners = turned[rng.integers(height, size=90), rng.integers(width, size=90)]
parcel = cKDTree(corners).query(turned, p=np.inf)[1]
truth = rng.integers(4, size=90)[parcel]
sample = np.empty(truth.shape, dtype=int)
for c in range(4):
    sample[truth == c] = rng.choice(rest[y[rest] == c], (truth == c).sum())

# %%
# With and without pairs
# ----------------------
#
# The same estimator is trained twice on the same labels.

from sklearn_colearn import CoLearnClassifier

clf = CoLearnClassifier(cv=3, max_steps=300, random_state=0)
labels = {"y": y[known], "groups": place[known]}
without = clf.fit(X[known], **labels).export("S1")
clf.fit(X[known], **labels, X_unlabeled=X[pairs])
with_pairs = clf.export("S1")

# %%
# The table has the loss of each sensor on held-out labelled rows, before and after the
# pairs, and whether the sensor keeps the update.

clf.pairs_.round(3)

# %%
# The maps from radar alone
# -------------------------

radar = X["S1"][sample.ravel()]
maps = {
    "truth": truth,
    "radar, without pairs": without.predict(radar).reshape(truth.shape),
    "radar, with pairs": with_pairs.predict(radar).reshape(truth.shape),
}

import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap

colors = ListedColormap(["#8fce9b", "#d98e04", "#fbeaa0", "#14532d"])
figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
for panel, (name, shown) in zip(axes, maps.items(), strict=True):
    panel.imshow(shown, cmap=colors, interpolation="nearest")
    panel.set_axis_off()
    right = "" if name == "truth" else f": {(shown == truth).mean():.0%} right"
    panel.set_title(name + right, fontsize=10)
plt.show()

# %%
# The probabilities improve as well. This is the log loss on the scene's pixels:

from sklearn.metrics import log_loss

{
    name: round(log_loss(truth.ravel(), model.predict_proba(radar)), 3)
    for name, model in {"without": without, "with pairs": with_pairs}.items()
}
