"""Forest plots from the package sknnr."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_scalar

from sklearn_colearn.modality_dict import ModalityDict

__all__ = ["load_forest_plots"]

Array = NDArray[Any]
FOREST_FEATURES = {
    "landsat": ["TC1", "TC2", "TC3", "NBR"],
    "climate": [
        *("ANNPRE", "ANNTMP", "AUGMAXT", "CONTPRE", "CVPRE"),
        *("DECMINT", "DIFTMP", "SMRTMP", "SMRTP"),
    ],
    "terrain": ["ASPTR", "DEM", "PRR", "SLPPCT", "TPI450"],
}
FOREST_DESCR = """\
Forest plots of southwest Oregon
--------------------------------
3,005 plots of the USDA Forest Service Region 6 Ecoplot database, as shipped by the
package sknnr (sknnr.datasets.load_swo_ecoplot). All data were collected in 2000. Tree
cover was estimated by eye, per species, in percent; overlapping crowns may sum to more
than 100. Landsat values were extracted with the CCDC algorithm for the same year.

Modalities: landsat (tasselled cap 1-3 and NBR), climate, terrain.
Targets: 'species', the code of the species with the largest cover (ties: first in
alphabetical order; NOTALY marks the 9 plots without tallied trees), or 'cover', the
summed cover of all species in percent (0 for those 9 plots).

The database is managed by Patricia Hochhalter (USFS Region 6 Ecology Program) and used
by permission.

References
----------
Atzet, T, DE White, LA McCrimmon, PA Martinez, PR Fong, and VD Randall. 1996. Field
guide to the forested plant associations of southwestern Oregon. USDA Forest Service.
Pacific Northwest Region, Technical Paper R6-NR-ECOL-TP-17-96.
"""


def load_forest_plots(
    *, target: str = "species", min_count: int = 30, return_X_y: bool = False
) -> Bunch | tuple[ModalityDict, Array]:
    """Load 3,005 forest plots of southwest Oregon: satellite, climate and terrain.

    The plots [1]_ come with the package sknnr, so nothing is downloaded.

    Parameters
    ----------
    target : {'species', 'cover'}, default='species'
        `'species'` is the code of the species with the largest cover (classification).
        `'cover'` is the tree cover of all species in percent (regression), above 100
        where crowns overlap.
    min_count : int, default=30
        Species that dominate fewer plots become `'other'`. 1 keeps all species.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        data : ModalityDict of DataFrames, float64, 3005 rows
            `landsat` (4 columns), `climate` (9) and `terrain` (5), indexed by plot
            number.
        target : ndarray of shape (3005,)
            Species codes (str), or cover (float64).
        feature_names : dict of str to list of str
            Column names per modality.
        target_names : list of str
            Class names, or `['cover']`.
        species_cover : DataFrame of shape (3005, 24)
            Cover of each species in percent.
        DESCR : str
            Description and citation.

    Raises
    ------
    ImportError
        If sknnr is not installed.
    TypeError, ValueError
        If a parameter is invalid.

    References
    ----------
    .. [1] Atzet et al. Field guide to the forested plant associations of southwestern
       Oregon. USDA Forest Service, Technical Paper R6-NR-ECOL-TP-17-96, 1996.

    Examples
    --------
    >>> from sklearn_colearn.datasets import load_forest_plots
    >>> plots = load_forest_plots()
    >>> plots.data["landsat"].shape
    (3005, 4)
    >>> plots.target_names
    ['ABGRC', 'ABPRSH', 'CADE27', 'CHLA', 'LIDE3', 'PSME', 'QUCH2', 'TSHE', 'other']
    """
    if target not in ("species", "cover"):
        raise ValueError(f"target must be 'species' or 'cover'; got {target!r}.")
    check_scalar(min_count, "min_count", Integral, min_val=1)
    try:
        from sknnr.datasets import load_swo_ecoplot
    except ImportError as error:
        raise ImportError(
            "load_forest_plots needs the package sknnr. Install it with: "
            'pip install "sklearn-colearn[demo]"'
        ) from error

    source = load_swo_ecoplot(as_frame=True)
    cover = source.target.rename(columns=lambda name: name.removesuffix("_COV"))
    # NOTALY flags plots without tallied trees (1.0); it is not a cover.
    species_cover = cover.drop(columns="NOTALY")
    if target == "species":
        dominant = cover.idxmax(axis=1)
        counts = dominant.map(dominant.value_counts())
        y = dominant.where(counts >= min_count, "other").to_numpy(dtype=str)
        target_names = np.unique(y).tolist()
    else:
        y = species_cover.sum(axis=1).to_numpy()
        target_names = ["cover"]
    features = {name: list(columns) for name, columns in FOREST_FEATURES.items()}
    data = ModalityDict({name: source.data[own] for name, own in features.items()})
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        feature_names=features,
        target_names=target_names,
        species_cover=species_cover,
        DESCR=FOREST_DESCR,
    )
