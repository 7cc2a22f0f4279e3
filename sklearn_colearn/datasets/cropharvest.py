"""CropHarvest: labelled pixels of crops and other land from all over the world."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from sklearn_colearn.datasets.downloads import (
    File,
    extra,
    fetch_files,
    kept_arrays,
    members,
)
from sklearn_colearn.files import data_folder
from sklearn_colearn.modality_dict import ModalityDict

__all__ = ["fetch_cropharvest"]

Array = NDArray[Any]
RECORD = "https://zenodo.org/record/10251170/files/"
FILES = {
    "labels.geojson": File(
        f"{RECORD}labels.geojson?download=1", "md5:54a5070f103bc3e635afba27c139ac8d"
    ),
    "features.tar.gz": File(
        f"{RECORD}features.tar.gz?download=1", "md5:d757e6c32cb6d65aa517f003607f6f81"
    ),
}
#: Columns of the published arrays.
BANDS = [
    *("VV", "VH", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"),
    *("temperature_2m", "total_precipitation", "elevation", "slope", "NDVI"),
]
STEPS, DAYS_PER_STEP = 12, 30
SERIES = {
    "S1": BANDS[:2],
    "S2": [*BANDS[2:13], "NDVI"],
    "weather": ["temperature_2m", "total_precipitation"],
}
TERRAIN = ["elevation", "slope"]
COLUMNS = (
    *("index", "dataset", "is_crop", "is_test", "lat", "lon"),
    *("classification_label", "collection_date", "export_end_date"),
)
#: Increase when the stored arrays change.
VERSION = 1
DESCR = """\
CropHarvest: crops of the world, one pixel per row
--------------------------------------------------
Labels from many sources, each with the twelve 30-day steps that end at its export date,
oldest first. Rows that the authors reserve for testing and labels without satellite
data are excluded.

Tasks: 'crop' (crop or not) and 'multicrop' (rows with a label of the FAO's indicative
crop classification: nine groups of crops, and non_crop).
Modalities: S1 (VV, VH in dB), S2 (top-of-atmosphere reflectance x 10,000, and NDVI),
weather (temperature in kelvin, precipitation in metres).
Static: terrain (elevation in m, slope in degrees).
Groups: dataset (the source of a label), latlon. Rows of one place resemble each other.

NDVI is (B8 - B4) / (B8 + B4), and 0 where B8 + B4 is 0. The published files contain
(B7 - B3) / (B7 + B3), because of wrong band indices
(https://github.com/nasaharvest/openmapflow/pull/129). All other values are as
published, as float32; the authors filled gaps with the mean of the other steps.

Source: https://zenodo.org/record/10251170. Licence: CC BY-SA 4.0.

References
----------
Tseng, Zvonkov, Nakalembe, Kerner, "CropHarvest: a global dataset for crop-type
classification", NeurIPS Datasets and Benchmarks, 2021.
Mena et al., Machine Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
"""


def _read_labels(path: Path) -> pd.DataFrame:
    """Return the rows of labels.geojson that are not reserved for testing."""
    try:
        features = json.loads(path.read_bytes())["features"]
        table = pd.DataFrame([feature["properties"] for feature in features])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not GeoJSON with features: {error!r}.") from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path} lacks the columns {missing}.")
    for name in ("is_crop", "is_test"):
        if len(odd := table[name][~table[name].isin([0, 1])]):
            raise ValueError(
                f"The column {name!r} of {path} must be true or false; got "
                f"{odd.tolist()[0]!r}."
            )
    table = table[~table["is_test"].astype(bool)].copy()
    table["id"] = table["index"].astype(str) + "_" + table["dataset"].astype(str)
    return table


def _read_features(path: Path, wanted: set[str]) -> dict[str, Array]:
    """Return the published arrays by id."""
    h5py = extra("h5py")
    arrays = {}
    for name, content in members(path, r"features/arrays/([^/]+)\.h5"):
        if name not in wanted:
            continue
        try:
            with h5py.File(io.BytesIO(content), "r") as file:
                array = file["array"][()]
        except (KeyError, OSError) as error:
            raise ValueError(f"{name}.h5 in {path} cannot be read: {error}") from error
        if array.shape != (STEPS, len(BANDS)):
            raise ValueError(
                f"{name}.h5 in {path} has shape {array.shape}; expected "
                f"{(STEPS, len(BANDS))}."
            )
        arrays[name] = array
    return arrays


def _ndvi(values: Array) -> Array:
    red, infrared = (values[..., BANDS.index(band)] for band in ("B4", "B8"))
    total = red + infrared
    known = ~(total <= 0)
    return np.divide(infrared - red, total, out=np.zeros_like(total), where=known)


def _dates(column: pd.Series[Any]) -> Array:
    dates = pd.to_datetime(column, format="ISO8601", utc=True).dt.tz_localize(None)
    return dates.to_numpy().astype("datetime64[D]")


def _make_arrays(paths: Mapping[str, Path], folder: Path) -> None:
    """Store labels and features of the rows that have both, one file per array."""
    labels, features = paths["labels.geojson"], paths["features.tar.gz"]
    table = _read_labels(labels)
    arrays = _read_features(features, set(table["id"]))
    table = table[table["id"].isin(arrays.keys())]
    if table.empty:
        raise ValueError(f"None of the labels in {labels} has an array in {features}.")
    values = np.stack([arrays[name] for name in table["id"]])
    values[..., BANDS.index("NDVI")] = _ndvi(values)
    kept = {
        "values": values.astype(np.float32),
        "ids": table["id"].to_numpy(dtype=str),
        "dataset": table["dataset"].to_numpy(dtype=str),
        "is_crop": table["is_crop"].to_numpy().astype(np.int64),
        "group": table["classification_label"].fillna("").to_numpy(dtype=str),
        "latlon": table[["lat", "lon"]].to_numpy(np.float64),
        "date": _dates(table["collection_date"]),
        "end": _dates(table["export_end_date"]),
    }
    for name, array in kept.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def fetch_cropharvest(
    *,
    task: str = "crop",
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[ModalityDict, Array]:
    """Fetch CropHarvest: crop or not, or ten groups of crops, all over the world.

    Two benchmarks of the co-learning paper [1]_, published by [2]_. Two files of 160 MB
    are downloaded once, checked and converted to arrays. Needs
    ``pip install "sklearn-colearn[datasets]"``.

    Parameters
    ----------
    task : {'crop', 'multicrop'}, default='crop'
        ``'crop'`` separates crops from other land. ``'multicrop'`` separates ten
        groups, on the rows that have a group.
    data_home : str or path-like, default=None
        Folder to store in; by default `sklearn_colearn` in
        :func:`sklearn.datasets.get_data_home`. Files are in its folder `cropharvest`.
    download_if_missing : bool, default=True
        Whether to download missing or damaged files.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        data : ModalityDict of float32
            `S1` of shape (n, 12, 2), `S2` of shape (n, 12, 12) and `weather` of shape
            (n, 12, 2), with band names and, as `ids`, row names. The paper uses S1 and
            S2.
        target : ndarray of shape (n,)
            1 for crops and 0 (int64), or names of groups of crops (str).
        static : ModalityDict
            `terrain` of shape (n, 2), float32.
        latlon : ndarray of shape (n, 2), float64
            Latitude and longitude in degrees.
        dataset : ndarray of shape (n,), str
            Source of each label, for splits by group.
        date : ndarray of shape (n,), datetime64[D]
            Collection date of each label.
        step_dates : ndarray of shape (n, 12), datetime64[D]
            First day of each step.
        feature_names : dict of str to list of str
            Band names of each modality, including the static one.
        target_names : list of str
            ``['non_crop', 'crop']``, or the names of the groups.
        DESCR : str
            Description and citations.

    Raises
    ------
    ImportError
        If pooch or h5py is not installed.
    OSError
        If a file is missing and cannot or may not be downloaded.
    ValueError
        If `task` is unknown, a checksum does not match or a file is malformed.

    References
    ----------
    .. [1] Mena et al., "Multi-modal co-learning for Earth observation: enhancing
       single-modality models via modality collaboration", Machine Learning 114:279,
       2025, doi:10.1007/s10994-025-06903-0.
    .. [2] Tseng, Zvonkov, Nakalembe, Kerner, "CropHarvest: a global dataset for
       crop-type classification", NeurIPS Datasets and Benchmarks, 2021.

    Examples
    --------
    >>> from sklearn_colearn.datasets import fetch_cropharvest
    >>> crops = fetch_cropharvest(task="multicrop")  # doctest: +SKIP
    >>> crops.data["S2"].shape[1:]  # doctest: +SKIP
    (12, 12)
    """
    if task not in ("crop", "multicrop"):
        raise ValueError(f"task must be 'crop' or 'multicrop'; got {task!r}.")
    folder = data_folder(data_home) / "cropharvest"
    arrays = kept_arrays(
        folder / "arrays",
        {"version": VERSION, **{name: file.checksum for name, file in FILES.items()}},
        lambda: fetch_files(FILES, folder, download_if_missing),
        _make_arrays,
    )
    if task == "crop":
        y, target_names = arrays["is_crop"], ["non_crop", "crop"]
    else:
        known = arrays["group"] != ""
        arrays = {name: array[known] for name, array in arrays.items()}
        y, target_names = arrays["group"], np.unique(arrays["group"]).tolist()

    def bands(names: list[str]) -> Array:
        return arrays["values"].take([BANDS.index(name) for name in names], axis=-1)

    data = ModalityDict({name: bands(own) for name, own in SERIES.items()})
    data.labels = {name: (None, tuple(own)) for name, own in SERIES.items()}
    data.ids = arrays["ids"]
    if return_X_y:
        return data, y
    steps = DAYS_PER_STEP * (np.arange(STEPS) - STEPS)
    return Bunch(
        data=data,
        target=y,
        static=ModalityDict(terrain=bands(TERRAIN)[:, 0]),
        latlon=arrays["latlon"],
        dataset=arrays["dataset"],
        date=arrays["date"],
        step_dates=arrays["end"][:, None] + steps,
        feature_names={
            n: list(own) for n, own in {**SERIES, "terrain": TERRAIN}.items()
        },
        target_names=target_names,
        DESCR=DESCR,
    )
