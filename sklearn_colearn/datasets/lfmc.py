"""Live fuel moisture content, a benchmark of the co-learning paper."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_colearn.files import data_folder, published
from sklearn_colearn.modality_dict import ModalityDict

__all__ = ["fetch_lfmc"]

Array = NDArray[Any]
LFMC_FILENAME = "lstm_input_data_pure+all_same_28_may_2019_res_1M_gap_3M"
LFMC_URL = (
    "https://raw.githubusercontent.com/kkraoj/lfmc_from_sar/"
    "de32223fe98c81363fdada028d17d5cced71b1a1/input_data/"
    + LFMC_FILENAME.replace("+", "%2B")
)
LFMC_SHA256 = "1ab538398efc1108a85c6fc56ed28ae52d9c43c9fa564e324401a81e35af2a89"
LFMC_STEPS = ("t-3", "t-2", "t-1", "t")
LFMC_BANDS = {
    "S1": ["vv", "vh", "vh_vv"],
    "S2": ["red", "green", "blue", "swir", "nir", "ndvi", "ndwi", "nirv"],
}
LFMC_STATIC = {
    "topography": ["slope", "elevation"],
    "soil": ["silt", "sand", "clay"],
    "canopy_height": ["canopy_height"],
    "forest_cover": ["forest_cover"],
}
LFMC_DESCR = """\
Live fuel moisture content (LFMC), western USA, 2015-2019
---------------------------------------------------------
Monthly field measurements at named sites, each with four months of satellite
observations up to the measurement, oldest first. Values are as published, neither
scaled nor filled.

Target: moisture in percent.
Modalities: S1 (vv, vh in dB, and vh_vv = vh - vv); S2 (red, green, blue, swir, nir
reflectance x 10,000, ndvi, ndwi, nirv). The co-learning benchmark calls the optical
bands S2; Rao et al. took them from Landsat 8.
Static: topography (slope in degrees, elevation in m), soil (silt, sand, clay in
percent; -999 or all zero where unknown), canopy_height (m), forest_cover (a category:
the code of a GlobCover 2009 land cover class).
Groups: site. Rows of one site resemble each other, so random splits are optimistic.

Source: https://github.com/kkraoj/lfmc_from_sar; its README has the terms of use.

References
----------
Rao et al., Remote Sensing of Environment 245, 2020, doi:10.1016/j.rse.2020.111797.
Mena et al., Machine Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
"""


def _lfmc_from_pickle(content: bytes, folder: Path) -> dict[str, Array]:
    try:
        with warnings.catch_warnings():
            # A pickle of 2019 may use deprecated features.
            warnings.simplefilter("ignore")
            table = pd.read_pickle(io.BytesIO(content))
    except Exception as error:  # a pickle can raise anything
        raise ValueError(
            f"pandas {pd.__version__} cannot read the published table, a pickle of an "
            f"older pandas ({type(error).__name__}: {error}). Convert it with an older "
            f"pandas and save the arrays as lfmc.npz in {folder}."
        ) from error
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"LFMC must be a DataFrame; got {type(table).__name__}.")
    columns = {
        name: [f"{band}({step})" for step in LFMC_STEPS for band in bands]
        for name, bands in LFMC_BANDS.items()
    } | {name: [f"{n}(t)" for n in names] for name, names in LFMC_STATIC.items()}
    needed = [*chain(*columns.values()), "percent(t)", "site", "date"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise ValueError(f"the LFMC table lacks the columns {missing}.")
    arrays: dict[str, Array] = {
        name: table[own].to_numpy(np.float32) for name, own in columns.items()
    }
    for name, bands in LFMC_BANDS.items():
        arrays[name] = arrays[name].reshape(len(table), len(LFMC_STEPS), len(bands))
    arrays["forest_cover"] = arrays["forest_cover"].astype(np.int16)
    arrays["y"] = table["percent(t)"].to_numpy(np.float32)
    arrays["site"] = table["site"].to_numpy(dtype=str)
    arrays["date"] = pd.to_datetime(table["date"]).to_numpy()
    return arrays


def _lfmc_from_npz(path: Path) -> dict[str, Array]:
    try:
        # np.load leaves its own handle open if the file is damaged.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = dict(file)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a readable npz file: {error}") from error
    needed = [*LFMC_BANDS, *LFMC_STATIC, "y", "site", "date"]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks the arrays {missing}.")
    for name, bands in LFMC_BANDS.items():
        expected = (len(arrays["y"]), len(LFMC_STEPS), len(bands))
        if arrays[name].shape != expected:
            raise ValueError(
                f"{name} in {path} has shape {arrays[name].shape}; expected {expected}."
            )
    return arrays


def fetch_lfmc(
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[ModalityDict, Array]:
    """Fetch live fuel moisture of the western USA, with radar and optical series.

    A benchmark of the co-learning paper [1]_, published by [2]_. The table, a pickle of
    2.9 MB, is downloaded once and read only if its SHA-256 matches. If the folder
    contains `lfmc.npz`, with the arrays named below (`y` for the target), it is read
    instead.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder to store in; by default `sklearn_colearn` in
        :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        Whether to download missing or damaged files.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        data : ModalityDict of float32
            `S1` of shape (2578, 4, 3) and `S2` of shape (2578, 4, 8): four months,
            oldest first.
        target : ndarray of shape (2578,), float32
            Moisture in percent.
        static : ModalityDict
            `topography` (2578, 2), `soil` (2578, 3), `canopy_height` (2578, 1) and
            `forest_cover` (2578, 1), a category.
        site : ndarray of shape (2578,), str
            Names of 150 sites, for splits by group.
        date : ndarray of shape (2578,), datetime64[D]
            Last day of the month of the measurement.
        feature_names : dict of str to list of str
            Band names of each modality, including the static ones.
        target_names : list of str
            `['lfmc']`.
        DESCR : str
            Description and citations.

    Raises
    ------
    OSError
        If the file is missing and cannot or may not be downloaded.
    ValueError
        If the hash of the file does not match, pandas cannot read it, or it lacks data.

    References
    ----------
    .. [1] Mena et al., "Multi-modal co-learning for Earth observation: enhancing
       single-modality models via modality collaboration", Machine Learning 114:279,
       2025, doi:10.1007/s10994-025-06903-0.
    .. [2] Rao et al., "SAR-enhanced mapping of live fuel moisture content", Remote
       Sensing of Environment 245, 2020, doi:10.1016/j.rse.2020.111797.

    Examples
    --------
    >>> from sklearn_colearn.datasets import fetch_lfmc
    >>> lfmc = fetch_lfmc()  # doctest: +SKIP
    >>> lfmc.data["S1"].shape  # doctest: +SKIP
    (2578, 4, 3)
    """
    folder = data_folder(data_home)
    if (folder / "lfmc.npz").exists():
        arrays = _lfmc_from_npz(folder / "lfmc.npz")
    else:
        content = published(
            folder / LFMC_FILENAME,
            LFMC_URL,
            LFMC_SHA256,
            download_if_missing,
            or_else="lfmc.npz",
        )
        arrays = _lfmc_from_pickle(content, folder)
    data = ModalityDict({name: arrays[name] for name in LFMC_BANDS})
    if return_X_y:
        return data, arrays["y"]
    names = {**LFMC_BANDS, **LFMC_STATIC}
    return Bunch(
        data=data,
        target=arrays["y"],
        static=ModalityDict({name: arrays[name] for name in LFMC_STATIC}),
        site=arrays["site"],
        date=arrays["date"].astype("datetime64[D]"),
        feature_names={name: list(bands) for name, bands in names.items()},
        target_names=["lfmc"],
        DESCR=LFMC_DESCR,
    )
