"""
Which sensor teaches which
==========================

Which other sensor is worth having for training, if prediction is from one? For those
who decide what to collect, buy or process for the training plots.

:func:`~sklearn_colearn.partner_gain` trains every pair of sensors and compares each
sensor with itself trained alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import RepeatedKFold

from sklearn_colearn import CoLearnRegressor, partner_gain
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.plotting import PartnerGainDisplay

# %%
# Sensors of known kinship
# ------------------------
#
# Two sensors are generated together: ``optical`` sees two hidden factors almost
# without noise, ``radar`` sees the same two under heavy noise.

X, y = make_multisensor(
    500,
    modalities={"radar": (12, 6), "optical": (12, 4)},
    task="regression",
    specific_signal=0,
    target_noise=0.1,
    noise={"radar": 3.0, "optical": 0.2},
    random_state=0,
)

# %%
# ``weather`` is generated apart from them: it sees two other factors, which have no
# part in the target and nothing to do with what the others see.

X["weather"] = make_multisensor(
    500, modalities={"weather": (12, 2)}, n_shared=0, random_state=50
)[0]["weather"]

# %%
# Labels are rare: 100 of the 500 plots have one. The others teach all the same, as all
# sensors saw them.

y[100:] = np.nan

# %%
# Gains
# -----
#
# Two repeats of five folds: every gain is a mean of ten. A batch holds all plots, so an
# epoch is one step of training for a pair and for a sensor alone; with smaller batches
# a pair, which also sees the plots without a label, would be trained for longer.
# ``cv=None`` trains one network for each fit and keeps the example quick.

reg = CoLearnRegressor(
    encoder="mlp",
    encoder_params={"hidden_dims": (32,)},
    embedding_dim=32,
    batch_size=500,
    cv=None,
    max_epochs=25,
    random_state=0,
)
report = partner_gain(
    reg,
    X,
    y,
    cv=RepeatedKFold(n_splits=5, n_repeats=2, random_state=0),
    modalities=["radar", "optical"],
    scoring="r2",
)
print(report)

# %%
# What each sensor scores alone puts the gains in proportion.

print(report.scores.groupby("modality", sort=False)["alone"].mean().round(3))

# %%
# Read the picture by rows: what does this sensor, asked alone, gain in R² from the
# partner of each column? Radar gains from optical, and the interval leaves out 0.
# From weather it gains nothing here, and that interval holds 0, as does the one with
# both partners (``all``). Optical knows nearly everything alone, so nobody can teach it
# much.

figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
PartnerGainDisplay.from_report(report, ax=ax)
plt.show()

# %%
# The data were made to show a gain: a noisy sensor, a clear partner that sees the same
# factors, few labels. With other random numbers the gain is of another size and its
# interval may hold 0, and with all plots labelled there may be no gain. On other data a
# partner like weather can seem to help a little: look at the interval before the mean.
# So run it on your plots before you buy a sensor.
