"""
Search the weights of the terms
===============================

Which weights of the contrastive and the distillation term suit my data, and is the best
setting of a search really better?

scikit-learn's tools can search any parameter of the estimator. Only the sensor must be
chosen: :func:`~sklearn_colearn.modality_scorers` makes a scorer for each, and ``refit``
names the one to optimize.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, RepeatedKFold

from sklearn_colearn import CoLearnRegressor, modality_scorers
from sklearn_colearn.datasets import make_multisensor

# %%
# The generated sensors are a noisy radar series ``S1`` and a clear optical series
# ``S2``. The search uses 300 rows. 2,000 more rows, which real data would not offer,
# show afterwards what the search was worth.

X, y = make_multisensor(
    2300,
    modalities={"S1": (12, 2), "S2": (12, 4)},
    task="regression",
    noise={"S1": 1.5, "S2": 0.3},
    random_state=0,
)
X_ours, y_ours = X[:300], y[:300]
X_new, y_new = X[300:], y[300:]

# %%
# The search
# ----------
#
# S1 is the sensor that will be available. Both sensors are scored from the same fits,
# so the scores of S2 cost nothing extra. ``cv=None`` trains one network per fit, which
# keeps the example quick.

reg = CoLearnRegressor(
    encoder="mlp",
    encoder_params={"hidden_dims": (32,)},
    embedding_dim=32,
    cv=None,
    max_epochs=10,
    random_state=0,
)
search = GridSearchCV(
    reg,
    {"contrastive_weight": [0, 0.05, 0.2, 1], "distillation_weight": [0, 1, 3]},
    scoring=modality_scorers("r2", ["S1", "S2"]),
    refit="S1",
    cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
)
search.fit(X_ours, y_ours)
print(search.best_params_)

# %%
# Is the lead real?
# -----------------
#
# Scores differ mostly because some folds are harder than others. What counts is the
# lead of each setting over the defaults *on the same fold*.

folds = np.arange(6)
settings = search.cv_results_["params"]
default = settings.index({"contrastive_weight": 0.2, "distillation_weight": 3})
ahead, ahead_new = {}, {}
for sensor in X:
    scores = np.stack(
        [search.cv_results_[f"split{fold}_test_{sensor}"] for fold in folds], axis=1
    )
    ahead[sensor] = scores - scores[default]  # (n_settings, n_folds)

# %%
# For the true lead, every setting is trained on all 300 rows and scored on the new
# ones.

scores = {sensor: [] for sensor in X}
for setting in settings:
    reg.set_params(**setting).fit(X_ours, y_ours)
    for sensor in X:
        scores[sensor].append(reg.score({sensor: X_new[sensor]}, y_new))
for sensor in X:
    ahead_new[sensor] = np.array(scores[sensor]) - scores[sensor][default]

for sensor in X:
    means = ahead[sensor].mean(axis=1)
    best = means.argmax()
    print(f"{sensor}: best {settings[best]}")
    print(f"    ahead of the defaults in the search   {means[best]:+.3f}")
    print(f"    ahead of the defaults on new rows     {ahead_new[sensor][best]:+.3f}")
    print(f"    most that any is ahead on new rows    {ahead_new[sensor].max():+.3f}")

# %%
# The picture
# -----------

figure, axes = plt.subplots(1, 2, figsize=(7, 4.4), sharey=True, layout="constrained")
place = np.arange(len(settings))
for ax, sensor in zip(axes, X, strict=True):
    means = ahead[sensor].mean(axis=1)
    ax.axhspan(means.argmax() - 0.5, means.argmax() + 0.5, color="#fdebd0")
    ax.axvline(0, color="black", lw=0.8)
    ax.plot(ahead[sensor], place, ".", color="#999999", ms=5)
    ax.plot(means, place, "o", color="#0072b2", label="mean of the folds")
    ax.plot(
        ahead_new[sensor], place, "D", color="#d55e00", mfc="none", label="new rows"
    )
    ax.set(title=f"from {sensor}", xlabel="R² ahead of the defaults")
axes[0].set(
    ylabel="contrastive weight, distillation weight",
    yticks=place,
    yticklabels=[", ".join(f"{value:g}" for value in one.values()) for one in settings],
)
axes[0].invert_yaxis()
figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
plt.show()

# %%
# Each row is a setting; small dots are folds, and the shaded row is the best setting of
# the search. Its lead over the defaults shrinks or vanishes on new rows: the largest of
# twelve means is large partly by luck, so ``best_score_`` is optimistic.
#
# With your own data:
#
# - Do not report ``best_score_``. Pass the search to ``cross_validate`` or
#   :func:`~sklearn_colearn.evaluate_modalities`, which score each fold by a search that
#   has not seen it.
# - Look at the lead over the defaults fold by fold. Keep the defaults unless a setting
#   leads in all folds. Even such a lead may be luck, because the folds share their 300
#   rows.
# - The encoder matters more; search it first (:doc:`/scikit_learn`).
