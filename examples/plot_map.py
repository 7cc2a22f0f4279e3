"""
A map from the sensors that each pixel has
==========================================

How do I get from labelled points to a map if clouds hide part of the scene from the
optical sensor?

One model is trained on plots in the west of a scene. It maps the east three times: from
radar (S1) alone, from optical images (S2) alone, and from the sensors that each pixel
has. The guide to :doc:`maps </map>` covers files, chunks and dates.
"""

# %%
# A landscape
# -----------
#
# The scene is generated: parcels of grassland, maize and wheat, woods and a river, on
# 100 x 200 pixels of 10 m. Clouds cover a third of it.

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

colors = {
    "water": "#0072b2",
    "grassland": "#8fce9b",
    "maize": "#d98e04",
    "wheat": "#fbeaa0",
    "woods": "#14532d",
}
WATER, GRASSLAND, MAIZE, WHEAT, WOODS = range(5)
height, width = 100, 200
rng = np.random.default_rng(2)


def smooth(scale):
    """Draw a smooth random field of standard deviation 1."""
    field = gaussian_filter(rng.normal(size=(height, width)), scale)
    return (field - field.mean()) / field.std()


rows, columns = np.mgrid[:height, :width]
turned = np.stack([rows + 0.35 * columns, 0.6 * (columns - 0.35 * rows)], axis=-1)
corners = turned[rng.integers(height, size=260), rng.integers(width, size=260)]
parcel = cKDTree(corners).query(turned, p=np.inf)[1]

truth = rng.choice([GRASSLAND, MAIZE, WHEAT], size=260, p=[0.4, 0.3, 0.3])[parcel]
truth[smooth(8) > 0.8] = WOODS
truth[np.abs(rows - 45 - 0.1 * columns - 9 * smooth(14)) < 2.5] = WATER
clouds = smooth(12) > 0.45

# %%
# Each pixel gets the time series of a different sample of its class from
# :func:`~sklearn_colearn.datasets.make_multisensor`. S1 has more noise than S2, and
# each sees something that the other does not. Under clouds all of S2 is NaN.

import xarray as xr

from sklearn_colearn.datasets import make_multisensor

X, y = make_multisensor(
    30_000,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    n_classes=5,
    weights=np.bincount(truth.ravel()) / truth.size,
    n_shared=1,
    n_specific=1,
    shared_signal=3.0,
    specific_signal={"S1": 0.6, "S2": 0.9},
    noise={"S1": 0.5, "S2": 0.2},
    target_noise=0.05,
    random_state=0,
)
sample = np.empty(truth.shape, dtype=int)
for c in range(5):
    sample[truth == c] = rng.choice(np.flatnonzero(y == c), (truth == c).sum(), False)

bands = {"S1": ["VV", "VH"], "S2": ["B02", "B04", "B08", "B11"]}
cube = xr.Dataset(
    {
        band: (("y", "x", "time"), X[sensor][sample, :, i])
        for sensor in bands
        for i, band in enumerate(bands[sensor])
    },
    coords={"y": -10.0 * np.arange(height), "x": 10.0 * np.arange(width)},
)
for band in bands["S2"]:
    cube[band] = cube[band].where(~clouds[:, :, np.newaxis])

# %%
# Train in the west
# -----------------
#
# The plots are 500 pixels of the western half. Those under clouds lack S2 but still
# train the network of S1. The classes are numbers here, and the map uses the same
# numbers; text labels would be numbered from 0.

from sklearn_colearn import CoLearnClassifier, ModalityDict

west, east = cube.isel(x=slice(0, 100)), cube.isel(x=slice(100, None))
plots = np.unravel_index(rng.choice(height * 100, 500, replace=False), (height, 100))
X_plots = ModalityDict(
    {
        sensor: np.stack([west[band].values[plots] for band in bands[sensor]], axis=-1)
        for sensor in bands
    }
)
clf = CoLearnClassifier(encoder="mlp", random_state=0)
clf.fit(X_plots, truth[plots])
print(X_plots)
print("plots without S2:", clouds[plots].sum())

# %%
# Map the east
# ------------
#
# ``export`` returns the model of one sensor. The whole estimator uses the sensors that
# each pixel has: both, weighted by held-out rows, or only S1 where S2 is missing.

from sklearn_colearn import predict_raster

maps = {
    "from S1 alone": predict_raster(clf.export("S1"), east, bands=bands["S1"]),
    "from S2 alone": predict_raster(clf.export("S2"), east, bands=bands["S2"]),
    "from what each pixel has": predict_raster(clf, east, bands=bands),
}

east_truth, east_clouds = truth[:, 100:], clouds[:, 100:]
agreement = {
    title: [
        float((found.values == east_truth)[sky].mean())
        for sky in (~east_clouds, east_clouds)
    ]
    for title, found in maps.items()
}
for title, (clear, cloudy) in agreement.items():
    print(f"{title:25} clear {clear:.2f}, under clouds {cloudy:.2f}")

# %%
# The maps
# --------
#
# Hatching marks pixels without a prediction; the line is the edge of the clouds.

import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

palette = ListedColormap(colors.values())


def draw(ax, land, title, blank=None):
    """Draw a map of classes, hatched where it is blank."""
    shown = np.ma.array(land, mask=blank)
    ax.imshow(shown, cmap=palette, vmin=-0.5, vmax=4.5, interpolation="nearest")
    if blank is not None and blank.any():
        ax.contourf(blank, [0.5, 1.5], colors="white", hatches=["/////"])
    ax.set_title(title, fontsize=9)
    ax.set(xticks=[], yticks=[])


plt.rcParams.update({"hatch.color": "#bbbbbb", "hatch.linewidth": 0.8})
figure, axes = plt.subplots(2, 3, figsize=(7, 5.3), layout="constrained")

draw(axes[0, 0], truth[:, :100], "west: truth and plots")
axes[0, 0].scatter(plots[1], plots[0], s=3, color="black", linewidth=0)
draw(axes[0, 1], east_truth, "east: truth")
for ax, (title, found) in zip(axes[1], maps.items(), strict=True):
    draw(ax, found.values, f"east: {title}", found.values == found.attrs["_FillValue"])
    ax.contour(east_clouds, [0.5], colors="white", linewidths=2.4)
    ax.contour(east_clouds, [0.5], colors="black", linewidths=0.9)

bars = axes[0, 2]
skies = {"clear sky": "#56b4e9", "under clouds": "#bbbbbb"}
for i, (sky, color) in enumerate(skies.items()):
    shares = [values[i] for values in agreement.values()]
    drawn = bars.bar(np.arange(3) + 0.4 * i, shares, 0.38, color=color)
    labels = [f"{share:.0%}" if share else "none" for share in shares]
    bars.bar_label(drawn, labels, padding=1, fontsize=8)
    bars.text(0.4 * i, 0.03, sky, rotation=90, ha="center", fontsize=8)
bars.set_xticks(np.arange(3) + 0.2, ["S1", "S2", "what it has"], fontsize=8)
bars.set(ylim=(0, 1), yticks=[])
bars.tick_params(length=0)
bars.spines[["top", "right", "left"]].set_visible(False)
bars.set_title("share of pixels that are right", fontsize=9)

figure.legend(
    handles=[Patch(color=color, label=name) for name, color in colors.items()],
    loc="outside lower center",
    ncols=5,
    fontsize=8,
    frameon=False,
)
plt.show()

# %%
# S1 covers the whole area and has the most errors. S2 is more accurate but leaves
# holes. The combined map has no holes, is the most accurate in clear sky, and is as
# accurate as S1 under clouds.
#
# With your own data:
#
# - Publish the cloud mask with such a map and score both parts separately, as above.
# - S1 takes much of the water for grassland. A
#   :class:`~sklearn.metrics.ConfusionMatrixDisplay` shows which classes a sensor
#   confuses.
# - ``what="entropy"`` and ``what="predict_set_size"`` map how sure each pixel is
#   (:doc:`/trust`).
# - Real errors come in patches, and places near training plots are easier than new
#   ones: split by place (:doc:`/evaluating`).
# - :func:`~sklearn_colearn.evaluate_modalities` shows what each sensor gains from
#   co-learning.
