"""
Encoders for irregular time series
==================================

Which network should read a time series if every plot has its own dates and clouds
remove some of them?

An encoder turns a sensor's series into an embedding (:doc:`/encoders`). Some encoders
read *when* each step was observed and skip missing steps; others see only the step's
number, and the band's mean in a gap.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import mean_absolute_error

from sklearn_colearn import CoLearnRegressor, ModalityDict

# %%
# Plots with different calendars
# ------------------------------
#
# The target is the day of year on which a field is greenest. The generated fields have
# a bell-shaped season of random height and length. Radar ``S1`` sees it every 20 days,
# on the same days for all fields, with strong noise. Optical ``S2`` is clearer, but
# each field has its own 12 days and loses one in five to clouds.

rng = np.random.default_rng(0)
n_fields = 1400
peak = rng.uniform(130, 220, size=(n_fields, 1))
length = rng.uniform(20, 35, size=(n_fields, 1))
height = rng.uniform(0.4, 0.8, size=(n_fields, 1))


def greenness(days):
    """Return the greenness of each field on the given days."""
    return height * np.exp(-(((days - peak) / length) ** 2) / 2)


regular = np.arange(70, 310, 20)
S1 = np.stack([6 * greenness(regular) - 18, 2 * greenness(regular) - 11], axis=-1)
S1 += rng.normal(size=S1.shape)  # decibels

calendar = np.tile(np.arange(60, 300, 5), (n_fields, 1))
days = np.sort(rng.permuted(calendar, axis=1)[:, :12], axis=1)
green = greenness(days)
S2 = np.stack([0.15 - 0.12 * green, 0.2 + 0.4 * green, 0.2 - 0.1 * green], axis=-1)
S2 += 0.03 * rng.normal(size=S2.shape)  # reflectances
S2[rng.random(days.shape) < 0.2] = np.nan

X, y = ModalityDict(S1=S1, S2=S2, S2_days=days), peak.ravel()
train, test = slice(0, 400), slice(400, None)

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
for field, color in enumerate(["#0072b2", "#d55e00", "#009e73"]):
    seen = ~np.isnan(S2[field, :, 1])
    ax.plot(days[field, seen], S2[field, seen, 1], "o-", lw=0.8, color=color)
    ax.axvline(peak[field], color=color, ls="--", lw=1)
ax.set(
    xlabel="day of year",
    ylabel="near infrared",
    title="S2 of three fields: dots are observed, dashed is the target",
)
plt.show()

# %%
# Each row has its own days, so ``times`` names the entry of X that holds them.
# ``encoder="auto"`` then picks an encoder that reads days; ``encoders_`` shows which.

auto = CoLearnRegressor(times={"S2": "S2_days"}, cv=None, max_epochs=1)
print(auto.fit(X[train], y[train]).encoders_)

# %%
# Encoders for S2
# ---------------
#
# Each encoder is trained twice, with different random numbers, beside an ``"mlp"`` for
# S1; ``"ltae"`` is trained with and without the days. The score is the error from S2
# alone on test fields. ``cv=None`` trains one network per fit, which keeps the example
# quick; ``net_`` holds it, so its weights can be counted.

with_days = {"times": {"S2": "S2_days"}}
candidates = {
    "mlp": ("mlp", {}),
    "tempcnn": ("tempcnn", {}),
    "gru": ("gru", {}),
    "inceptiontime": ("inceptiontime", {}),
    "ltae": ("ltae", {}),
    "ltae, days": ("ltae", with_days),
    "tae, days": ("tae", with_days),
}

fits, error_S1 = [], []
for name, (encoder, settings) in candidates.items():
    # Encoders that cannot read days warn about them.
    given = X if settings else X.select(["S1", "S2"])
    asked = ["S2", "S2_days"] if settings else ["S2"]
    for seed in range(2):
        reg = CoLearnRegressor(
            encoder={"S1": "mlp", "S2": encoder},
            cv=None,
            max_epochs=8,
            random_state=seed,
            **settings,
        ).fit(given[train], y[train])
        network = reg.net_.module_.network("S2")
        fits.append(
            {
                "encoder": name,
                "error": mean_absolute_error(
                    y[test], reg.predict(given[test].select(asked))
                ),
                "weights": sum(weights.numel() for weights in network.parameters()),
            }
        )
        from_S1 = reg.predict({"S1": X["S1"][test]})
        error_S1.append(mean_absolute_error(y[test], from_S1))

fits = pd.DataFrame(fits)
table = fits.groupby("encoder", sort=False).mean()
print(table.round({"error": 1, "weights": 0}))
print(f"S1, on one calendar: {np.mean(error_S1):.1f} days")
guess = mean_absolute_error(y[test], np.full(len(y[test]), np.median(y[train])))
print(f"the same day for all fields: {guess:.1f} days")

# %%
# Large marks are means, small marks single fits.

kinds = {
    "sees the mean in gaps": ("#777777", "s", ["mlp", "tempcnn"]),
    "leaves gaps out": ("#0072b2", "o", ["gru", "inceptiontime", "ltae"]),
    "leaves gaps out, reads days": ("#d55e00", "D", ["ltae, days", "tae, days"]),
}
nudged = {"mlp": 5, "ltae": -7, "ltae, days": 8, "tae, days": -9}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for kind, (color, marker, names) in kinds.items():
    for name in names:
        error, size = table.loc[name]
        both = fits.loc[fits["encoder"] == name, "error"]
        ax.plot([size, size], both, marker, color=color, ms=3)
        ax.plot(size, error, marker, color=color, ms=9, alpha=0.6)
        offset = (9, nudged.get(name, 0))
        ax.annotate(
            name, (size, error), offset, textcoords="offset points", va="center"
        )
    ax.plot([], [], marker, color=color, ms=9, alpha=0.6, label=kind)
for error, label in [
    (guess, "one day for all fields"),
    (np.mean(error_S1), "S1, whose days are the same for all"),
]:
    ax.axhline(error, color="black", ls=":", lw=1)
    ax.text(5.5e6, error + 0.2, label, ha="right", va="bottom", fontsize=9)
ax.set(
    xscale="log",
    xlim=(4e4, 6e6),
    ylim=(0, 26),
    xlabel="weights of the network of S2",
    ylabel="mean absolute error (days)",
    title="To say when, an encoder has to read the days",
)
ax.legend(loc="lower right", fontsize=9)
plt.show()

# %%
# Without the days all encoders are about equally good, even the largest: no number of
# weights replaces the missing dates. With the days, the error of ``"ltae"`` falls to
# little more than half. S1 is noisy but needs no days: all fields share one calendar,
# so step 3 is a date.
#
# With your own data:
#
# - If rows differ in their days, pass ``times=`` and leave ``encoder="auto"``.
# - If all rows have the same days, any encoder knows a step by its position.
#   :doc:`/encoders` compares them on real data.
# - Here the target is a date. Days may matter less for an amount or a class: compare
#   with and without them on your folds.
