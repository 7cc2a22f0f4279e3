"""Data sets: a generator with known factors, and loaders of field data."""

from sklearn_colearn.datasets.forest_plots import load_forest_plots
from sklearn_colearn.datasets.lfmc import fetch_lfmc
from sklearn_colearn.datasets.multisensor import make_multisensor

__all__ = ["fetch_lfmc", "load_forest_plots", "make_multisensor"]
