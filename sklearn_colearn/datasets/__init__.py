"""Data sets: a generator with known factors and loaders of field data."""

from sklearn_colearn.datasets.cropharvest import fetch_cropharvest
from sklearn_colearn.datasets.forest_plots import load_forest_plots
from sklearn_colearn.datasets.lfmc import fetch_lfmc
from sklearn_colearn.datasets.multisensor import make_multisensor
from sklearn_colearn.datasets.treesatai import fetch_treesatai

__all__ = [
    "fetch_cropharvest",
    "fetch_lfmc",
    "fetch_treesatai",
    "load_forest_plots",
    "make_multisensor",
]
