"""
Encoders for irregular time series
==================================

Which network should read the time series, if every plot was observed on other days and
clouds took some of them? For those who wonder whether to leave the default.

An encoder turns a sensor's series into the numbers that the prediction is made of
(:doc:`/encoders`). Some read *when* each step was observed and leave out the missing
ones; others see step 3, whatever its date, and the band's mean in a gap.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sklearn_colearn import CoLearnClassifier, ModalityDict
from sklearn_colearn.datasets import make_multisensor

# %%
# Plots with calendars of their own
# ---------------------------------
#
# The generator gives radar and optical series of 36 steps of ten days. Of the optical
# series each plot keeps 12 steps of its own, on days of its own, and one in five of
# these is lost to clouds. Radar keeps every third step, the same for all plots.

X_full, y = make_multisensor(
    1100,
    modalities={"S1": (36, 2), "S2": (36, 4)},
    noise={"S1": 1.0, "S2": 0.3},
    target_noise=0.2,
    random_state=0,
)
rng = np.random.default_rng(0)
kept = np.sort(rng.random((1100, 36)).argsort(axis=1)[:, :12], axis=1)
S2 = np.take_along_axis(X_full["S2"], kept[:, :, np.newaxis], axis=1)
S2[rng.random((1100, 12)) < 0.2] = np.nan

X = ModalityDict({"S1": X_full["S1"][:, ::3], "S2": S2, "S2_days": 10 * kept})
train, test = slice(0, 600), slice(600, None)

# %%
# ``times`` says where the days of S2 are: in an entry of X, as each row has its own.
# With them ``encoder="auto"`` takes one that reads days, and ``encoders_`` says which.

auto = CoLearnClassifier(times={"S2": "S2_days"}, max_epochs=1, random_state=0)
print(auto.fit(X[train], y[train]).encoders_)

# %%
# Five encoders for S2
# --------------------
#
# Each is trained twice, with other random numbers, S1 being read by an ``"mlp"``; the
# attention encoder with and without the days, to see what these are worth. Asked is S2
# by itself, on plots that were not trained on.

days = {"times": {"S2": "S2_days"}}
candidates = {
    "mlp": ("mlp", {}),
    "tempcnn": ("tempcnn", {}),
    "gru": ("gru", {}),
    "inceptiontime": ("inceptiontime", {}),
    "ltae": ("ltae", {}),
    "ltae, days": ("ltae", days),
}
only_S2 = {"S2": X["S2"][test], "S2_days": X["S2_days"][test]}

rows = []
for name, (encoder, settings) in candidates.items():
    seen = X if settings else X.select(["S1", "S2"])
    asked = only_S2 if settings else {"S2": only_S2["S2"]}
    for seed in range(2):
        clf = CoLearnClassifier(
            encoder={"S1": "mlp", "S2": encoder},
            max_epochs=12,
            random_state=seed,
            **settings,
        ).fit(seen[train], y[train])
        network = clf.net_.module_.network("S2")
        size = sum(weights.numel() for weights in network.parameters())
        score = clf.score(asked, y[test])
        rows.append(
            {"encoder": name, "accuracy": score, "thousand weights": size / 1e3}
        )

table = pd.DataFrame(rows).groupby("encoder", sort=False).mean()
print(table.round({"accuracy": 3, "thousand weights": 0}))

# %%
# Bars are means, dots the two fits. The recurrent network leads, which takes the steps
# in their order and leaves out the gaps. Attention follows, a little better with the
# days than without. Those that know a step by its place, or convolve over gaps, come
# last.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
colors = ["#d55e00" if "days" in name else "#0072b2" for name in table.index]
place = np.arange(len(table))
ax.barh(place, table["accuracy"], color=colors, alpha=0.8)
each = pd.DataFrame(rows)
ax.plot(
    each["accuracy"],
    [table.index.get_loc(name) for name in each["encoder"]],
    "o",
    color="black",
    markersize=4,
)
chance = np.bincount(y[test]).max() / len(y[test])
ax.axvline(chance, color="black", ls="--", lw=1)
ax.text(chance + 0.005, -0.55, "most frequent class", fontsize=8, va="bottom")
ax.set(
    yticks=place,
    yticklabels=table.index,
    xlabel="accuracy from S2 alone",
    title="Twelve steps on days of each plot's own",
)
ax.invert_yaxis()
plt.show()

# %%
# On series of the same steps for every plot the order is another one:
# :doc:`/encoders` has a table for two real data sets. Try two or three on yours.
