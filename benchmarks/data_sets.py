"""The real data sets that several benchmarks read, from a folder of npz files."""

from __future__ import annotations

import numpy as np

from sklearn_colearn import ModalityDict
from sklearn_colearn.datasets import fetch_lfmc


def algae(folder):
    """Severity of cyanobacteria in lakes: X, y and the file, which has the places."""
    data = np.load(folder / "algae_blooms.npz")
    X = ModalityDict({name: data[name] for name in ("S1", "S2", "weather")})
    # Class 5 has six rows.
    return X, np.minimum(data["y"], 4), data


def flanders(folder):
    """Land cover of field samples: X, y and the file, which has the places."""
    data = np.load(folder / "flanders2018.npz")
    X = ModalityDict({name: data[name] for name in ("optical", "SAR", "DEM")})
    return X, data["landcover"], data


def lfmc(folder):
    """Live fuel moisture: X of two series, y, and all of it, which has the sites."""
    data = fetch_lfmc(data_home=folder)
    return data.data.select(["S1", "S2"]), data.target, data
