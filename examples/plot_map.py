"""
A map from the sensor that each pixel has
=========================================

A season of radar (S1) and optical (S2) images, with clouds that never left a third of
the area. The model is trained on plots in the west and maps the east three times: from
radar alone, from optical images alone, and from whatever each pixel has. For readers
who want to go from training plots to a raster; :doc:`the guide on maps </map>` has
the details.
"""

# %%
# A landscape
# -----------
# The scene is generated: parcels with a crop or grass, woods and a river, on 100 x 200
# pixels of 10 m.

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

names = np.array(["grassland", "maize", "water", "wheat", "woods"])
GRASS, MAIZE, WATER, WHEAT, WOODS = range(5)
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

truth = rng.choice([GRASS, MAIZE, WHEAT], size=260, p=[0.4, 0.3, 0.3])[parcel]
truth[smooth(8) > 0.8] = WOODS
truth[np.abs(rows - 45 - 0.1 * columns - 9 * smooth(14)) < 2.5] = WATER
clouds = smooth(12) > 0.45

# %%
# Each pixel gets the time series of a generated sample of its class, none of them
# twice. Generated classes lie in a row, each alike to its neighbours: water, grass, the
# two crops, woods. Radar is noisier than optical, and both say things that the other
# does not. Under clouds no optical image of the season is usable: all of S2 is NaN.

import xarray as xr

from sklearn_colearn.datasets import make_multisensor

in_a_row = np.array([WATER, GRASS, MAIZE, WHEAT, WOODS])
X, y = make_multisensor(
    30_000,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    n_classes=5,
    weights=[(truth == c).mean() for c in in_a_row],
    noise={"S1": 0.5, "S2": 0.2},
    specific_signal=0.4,
    target_noise=0.0,
    random_state=0,
)
sample = np.empty(truth.shape, dtype=int)
for c in range(5):
    sample[truth == c] = rng.choice(
        np.flatnonzero(in_a_row[y] == c), (truth == c).sum(), False
    )

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
# 500 plots of the western half. Those under clouds lack S2 and train the rest of the
# network all the same.

from sklearn_colearn import CoLearnClassifier, ModalityDict

west, east = cube.isel(x=slice(0, 100)), cube.isel(x=slice(100, None))
plots = np.unravel_index(rng.choice(height * 100, 500, replace=False), (height, 100))
X_plots = ModalityDict(
    {
        sensor: np.stack([west[band].values[plots] for band in bands[sensor]], axis=-1)
        for sensor in bands
    }
)
clf = CoLearnClassifier(fusion="teacher", max_epochs=30, random_state=0)
clf.fit(X_plots, names[truth[plots]])
print(X_plots, "of which without S2:", int(clouds[plots].sum()))

# %%
# Map the east
# ------------
# ``export`` takes out one sensor, and the whole estimator answers from what a pixel
# has: here the teacher where it has both, and radar where it has no more.

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
# The picture
# -----------
# The same four panels would come of your own rasters: the map is an
# :class:`xarray.DataArray`, and pixels without an answer hold its ``_FillValue``.

import matplotlib.pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

colors = ListedColormap(["#b2df8a", "#f0c419", "#1f78b4", "#e07b39", "#1b5e20"])
panels = {"truth": east_truth}
for title, found in maps.items():
    right = (found.values == east_truth).mean()
    panels[f"{title}\n{right:.0%} of the pixels right"] = np.ma.masked_equal(
        found.values, found.attrs["_FillValue"]
    )

figure, axes = plt.subplots(2, 2, figsize=(7, 7.6), layout="constrained")
for ax, (title, panel) in zip(axes.flat, panels.items(), strict=True):
    ax.set_facecolor("white")
    ax.imshow(panel, cmap=colors, vmin=-0.5, vmax=4.5, interpolation="nearest")
    ax.contour(east_clouds, levels=[0.5], colors="black", linewidths=0.8)
    if np.ma.is_masked(panel):
        nothing = np.ma.getmaskarray(panel).astype(float)
        ax.contourf(nothing, levels=[0.5, 1], colors="none", hatches=["///"])
    ax.set(title=title, xticks=[], yticks=[])
axes[0, 0].plot([5, 25], [95, 95], color="black", linewidth=3)
axes[0, 0].text(15, 92, "200 m", ha="center", fontsize=9)
handles = [Patch(color=colors(i), label=name) for i, name in enumerate(names)]
handles.append(Patch(facecolor="white", edgecolor="black", label="under clouds"))
figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
plt.show()
