"""
Which sensor teaches which
==========================

Which other sensors are worth collecting for the training plots if prediction uses only
one?

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
# Related and unrelated sensors
# -----------------------------
#
# Two sensors are generated together: ``optical`` sees two hidden factors almost without
# noise, ``radar`` sees the same two with strong noise.

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
# ``weather`` is generated separately. It sees two other factors, which affect neither
# the target nor the other sensors.

X["weather"] = make_multisensor(
    500, modalities={"weather": (12, 2)}, n_shared=0, random_state=50
)[0]["weather"]

# %%
# Labels are rare: 100 of the 500 plots have one. The others still help co-learning,
# because all sensors saw them.

y[100:] = np.nan

# %%
# Gains
# -----
#
# Two repeats of five folds make every gain a mean of ten. One batch holds all plots, so
# a pair, which also sees the unlabelled plots, trains for as many steps as a sensor
# alone. ``cv=None`` trains one network per fit, which keeps the example quick.

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
# The score of each sensor alone puts the gains in proportion.

print(report.scores.groupby("modality", sort=False)["alone"].mean().round(3))

# %%
# Read the picture by rows: how much R² does this sensor, predicting alone, gain from
# the partner in each column? Radar gains from optical, and the interval excludes 0.
# From weather, and from both partners (``all``), the interval contains 0. Optical is
# nearly perfect alone, so no partner can teach it much.

figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
PartnerGainDisplay.from_report(report, ax=ax)
plt.show()

# %%
# The data were made to show a gain. Other random numbers change it, and with all plots
# labelled there may be none. On other data an unrelated partner can seem to help a
# little, so look at the interval before the mean. Run this on your own plots before you
# buy a sensor.
