"""TreeSatAI: tree genera in Lower Saxony, in satellite and aerial images."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_scalar
from tqdm import tqdm

from sklearn_colearn.datasets.downloads import (
    File,
    extra,
    fetch_files,
    kept_arrays,
    members,
)
from sklearn_colearn.files import data_folder
from sklearn_colearn.modality_dict import ModalityDict

__all__ = ["fetch_treesatai"]

Array = NDArray[Any]
RECORD = "https://zenodo.org/records/6780578/files/"
SERIES_RECORD = (
    "https://huggingface.co/datasets/IGNF/TreeSatAI-Time-Series/resolve/main/"
)


def _files(record: str, algorithm: str, sums: Mapping[str, str]) -> dict[str, File]:
    return {n: File(f"{record}{n}", f"{algorithm}:{own}") for n, own in sums.items()}


#: Names, labels and locations of the plots.
PLOT_FILES = _files(
    RECORD,
    "md5",
    {
        "labels.zip": "656f1b68ec9ab70afd02bb127b75bb24",
        "train_filenames.lst": "a1a0148e8120b0268f76d2e98a68436f",
        "test_filenames.lst": "2166903d947f0025f61e342da466f917",
        "geojson.zip": "aa749718f3cb76c1dfc9cddc2ed201db",
    },
)
CHIP_FILES = _files(
    RECORD,
    "md5",
    {
        "s1.zip": "bed4fc8cb65da46a24ec1bc6cea2763c",
        "s2.zip": "453ba69056aa33a3c6b97afb7b6afadb",
    },
)
SERIES_FILES = _files(
    SERIES_RECORD,
    "sha256",
    {
        "sentinel-ts.zip": "06648ae998ec185c39747a06a8957e31"
        "1e8df854af8a1fa59329b6a2c7db48d7",
    },
)
AERIAL_FILES = _files(
    RECORD,
    "md5",
    {
        f"aerial_60m_{species}.zip": own
        for species, own in {
            "abies_alba": "4298b1c9fbf6d0d85f7aa208ff5fe0c9",
            "acer_pseudoplatanus": "7c31d7ddea841f6509deece8f984a79e",
            "alnus_spec": "34ea107f43c6172c6d2652dbf26306af",
            "betula_spec": "69de9373739a027692a823846434fa0c",
            "cleared": "8dffbb2f6aad17ef83721cffa5b52d96",
            "fagus_sylvatica": "77b277e69e90bfbd3c5fd15a73d228fe",
            "fraxinus_excelsior": "9a88a8e6821f8a54ded950de9238831f",
            "larix_decidua": "aa0bc5b091b099018a078536ef429031",
            "larix_kaempferi": "429df073f69f8bbf60aef765e1c925ba",
            "picea_abies": "edb9b1bc9a5a7b405f4cbb0d71cedf54",
            "pinus_nigra": "96bf1798ef82f712ea46c2963ddb7083",
            "pinus_strobus": "0ff818c6d31f59b8488880e49b300c7a",
            "pinus_sylvestris": "298cbaac4d9f07a204e1e74e8446798d",
            "populus_spec": "46fcff76b119cc24f3caf938a0bb433a",
            "prunus_spec": "fb1c570d3ea925a049630224ccb354bc",
            "pseudotsuga_menziesii": "2d05511ceabf4037b869eca928f3c04e",
            "quercus_petraea": "31f573fb0419b2b453ed7da1c4d2a298",
            "quercus_robur": "bcd90506509de26692c043f4c8d73af0",
            "quercus_rubra": "71d8495725ed1b4f27d9e382409fcc5e",
            "tilia_spec": "f81558c9c7189ac8a257d041ee43c1c9",
        }.items()
    },
)
GENERA = [
    *("Abies", "Acer", "Alnus", "Betula", "Cleared", "Fagus", "Fraxinus", "Larix"),
    *("Picea", "Pinus", "Populus", "Prunus", "Pseudotsuga", "Quercus", "Tilia"),
]
#: A genus is present if its share of the plot is larger.
MIN_SHARE = 0.07
#: Pixels along a side of a plot of 60 m, and of an aerial image.
SIDE, AERIAL_SIDE = 6, 304
#: Bands of a series, in the order of the files.
SERIES_BANDS = {
    "S1_asc": ["VV", "VH"],
    "S1_des": ["VV", "VH"],
    "S2": ["B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12"],
}
SERIES_KEYS = {"S1_asc": "sen-1-asc", "S1_des": "sen-1-des", "S2": "sen-2"}
#: The first two of ten planes; the others are empty.
MASKS = ["snow", "cloud"]
#: -50 dB as linear power, far below the noise of Sentinel-1.
MIN_POWER = 1e-5
#: Bands of an image as published (here) and as returned (below).
PUBLISHED_S2 = [
    *("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9")
]
CHIP_BANDS = {
    "S1": ["VV", "VH"],
    "S2": [
        *("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
    ],
}
AERIAL_BANDS = ["IR", "G", "B", "R"]
#: Increase when the stored arrays change.
VERSION = 1
DESCR = """\
TreeSatAI: tree genera in Lower Saxony, Germany
-----------------------------------------------
Plots of 60 m by 60 m from the forest inventory. The labels are the genera, of 15, that
cover more than 7 % of a plot (multi-label; 'Cleared' marks plots without trees). Plots
without any such genus are excluded. The official test plots are marked.

form='series': all images of a year, with separate dates for each plot, padded at the
end with NaN and NaT. Sentinel-1 has ascending (S1_asc) and descending (S1_des) orbits:
VV, VH in dB, from the mean of the published linear power. Power of 0 or below -50 dB is
missing. Sentinel-2 (S2): ten bands of L2A reflectance x 10,000. Images of one day are
averaged.
form='chips': one image of each sensor, 6 by 6 pixels of 10 m. S1: VV, VH in dB. S2:
twelve bands of reflectance x 10,000. Nodata values are NaN.
aerial: 304 by 304 pixels of .2 m; near infrared, green, blue, red, from 0 to 255.

Sources: https://zenodo.org/records/6780578 and
https://huggingface.co/datasets/IGNF/TreeSatAI-Time-Series. Licence: CC BY 4.0.

References
----------
Ahlswede et al., Earth System Science Data 15, 2023, doi:10.5194/essd-15-681-2023.
Astruc et al., "OmniSat: self-supervised modality fusion for Earth observation", ECCV
2024, arXiv:2404.08351.
Mena et al., Machine Learning 114:279, 2025, doi:10.1007/s10994-025-06903-0.
"""


# -- plots -----------------------------------------------------------------------------


def _json_of(archive: Path, wanted: str) -> Any:
    """Return the content of the only JSON file whose name matches in an archive."""
    found = dict(members(archive, wanted))
    if len(found) != 1:
        raise ValueError(
            f"Expected one file in {archive} that matches {wanted}; got {len(found)}."
        )
    try:
        return json.loads(next(iter(found.values())))
    except ValueError as error:
        raise ValueError(f"{next(iter(found))} in {archive}: {error}") from error


def _shares(labels: Mapping[str, Any], names: Sequence[str]) -> Array:
    """Return the share of each genus, (n_plots, n_genera)."""
    shares = np.zeros((len(names), len(GENERA)), dtype=np.float64)
    for row, name in enumerate(names):
        for genus, share in labels.get(f"{name}.tif", []):
            if genus not in GENERA:
                raise ValueError(
                    f"Plot {name!r} has the unknown genus {genus!r}; expected one of "
                    f"{GENERA}."
                )
            shares[row, GENERA.index(genus)] += share
    return shares


def _latlon(boxes: Mapping[str, Any], names: Sequence[str]) -> Array:
    """Return the latitude and longitude of the plots' centres in degrees."""
    extra("rasterio")
    from rasterio.warp import transform

    corners = {
        feature["properties"]["IMG_ID"].removesuffix(".tif"): _corners(
            feature["geometry"]["coordinates"]
        )
        for feature in boxes["features"]
    }
    if lost := [name for name in names if name not in corners]:
        raise ValueError(
            f"bb_60m.GeoJSON lacks {len(lost)} of {len(names)} plots, such as "
            f"{lost[0]!r}."
        )
    centres = np.array(
        [(corners[n].min(axis=0) + corners[n].max(axis=0)) / 2 for n in names]
    )
    # Without a member "crs", GeoJSON is in degrees.
    crs = boxes.get("crs", {}).get("properties", {}).get("name", "EPSG:4326")
    longitude, latitude = transform(crs, "EPSG:4326", *centres.T)
    return np.column_stack([latitude, longitude])


def _corners(coordinates: Any) -> Array:
    """Return the points of a (multi)polygon, (n_points, 2)."""
    while not isinstance(coordinates[0][0], int | float):
        coordinates = list(chain.from_iterable(coordinates))
    return np.array(coordinates, dtype=np.float64)[:, :2]


def _make_plots(paths: Mapping[str, Path], folder: Path) -> None:
    names, is_test = [], []
    for part in ("train", "test"):
        text = paths[f"{part}_filenames.lst"].read_text(encoding="utf-8")
        listed = [Path(line).stem for line in text.split()]
        names += listed
        is_test += [part == "test"] * len(listed)
    labels = _json_of(
        paths["labels.zip"], r"(?:.*/)?(TreeSatBA_v9_60m_multi_labels\.json)"
    )
    boxes = _json_of(paths["geojson.zip"], r"(?i)(?:.*/)?(bb_60m\.geojson)")
    shares = _shares(labels, names)
    labelled = (shares > MIN_SHARE).any(axis=1)
    ids = np.array(names)[labelled]
    if not ids.size:
        raise ValueError("None of the listed plots has a label.")
    np.save(folder / "ids.npy", ids)
    np.save(folder / "is_test.npy", np.array(is_test)[labelled])
    np.save(folder / "shares.npy", shares[labelled])
    np.save(folder / "latlon.npy", _latlon(boxes, ids.tolist()))


def _by_row(
    paths: Sequence[Path], wanted: str, ids: Array, what: str
) -> Iterator[tuple[int, str, bytes]]:
    """Yield the row, name and content of every plot's file."""
    rows = {name: row for row, name in enumerate(ids.tolist())}
    seen: set[str] = set()
    for name, content in tqdm(
        chain.from_iterable(members(path, wanted) for path in paths),
        total=len(ids),
        desc=f"TreeSatAI {what}",
        disable=None,
    ):
        stem = name if name in rows else re.sub(r"_\d{4}$", "", name)
        if stem in seen:
            raise ValueError(f"Plot {stem!r} has two files; one is {name!r}.")
        if stem in rows:
            seen.add(stem)
            yield rows[stem], name, content
    if lost := [name for name in rows if name not in seen]:
        where = ", ".join(path.name for path in paths)
        raise ValueError(
            f"{where} lacks {len(lost)} of {len(rows)} plots, such as {lost[0]!r}."
        )


# -- series ----------------------------------------------------------------------------


def _days(products: Sequence[str]) -> Array:
    """Return the days of products, read from their names."""
    found = [re.search(r"_(\d{4})(\d\d)(\d\d)T\d{6}_", name) for name in products]
    dates = ["-".join(match.groups()) if match else "" for match in found]
    if "" in dates:
        raise ValueError(f"no date in the name {products[dates.index('')]!r}")
    return np.array(dates, dtype="datetime64[D]")


def _read_series(
    content: bytes, pixels: str, masks: str, max_probability: float
) -> dict[str, tuple[Array, Array]]:
    """Return the days and the values, (n_days, n_bands), of each sensor of a plot."""
    series = {}
    with extra("h5py").File(io.BytesIO(content), "r") as file:
        for sensor, key in SERIES_KEYS.items():
            values = np.asarray(file[f"{key}-data"][()], dtype=np.float64)
            days = _days(file[f"{key}-products"].asstr()[()].tolist())
            expected = (len(days), len(SERIES_BANDS[sensor]), SIDE, SIDE)
            if values.shape != expected:
                raise ValueError(
                    f"{key}-data has shape {values.shape}; expected {expected}"
                )
            if sensor == "S2":
                valid = ~(values == 0).all(axis=1, keepdims=True)
                planes = np.asarray(file["sen-2-masks"][:, : len(MASKS)], np.float64)
                if masks == "bands":
                    values = np.concatenate([values, planes], axis=1)
                else:
                    valid &= (planes <= max_probability).all(axis=1, keepdims=True)
            else:
                valid = values >= MIN_POWER
            days, values = _daily_means(
                days, values, valid & np.isfinite(values), pixels
            )
            series[sensor] = days, values if sensor == "S2" else 10 * np.log10(values)
    return series


def _daily_means(
    days: Array, values: Array, valid: Array, pixels: str
) -> tuple[Array, Array]:
    """Return the days with a valid pixel, and the mean of their valid pixels.

    `values` and `valid` have shape (n_images, n_bands, 6, 6).
    """
    if pixels == "centre":
        middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
        values, valid = values[..., middle, middle], valid[..., middle, middle]
    days, places = np.unique(days, return_inverse=True)
    sums = np.zeros((len(days), values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, places, np.where(valid, values, 0).sum(axis=(2, 3)))
    np.add.at(counts, places, valid.sum(axis=(2, 3)))
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    seen = ~np.isnan(means).all(axis=1)
    return days[seen], means[seen]


def _make_series(
    ids: Array,
    paths: Mapping[str, Path],
    folder: Path,
    *,
    pixels: str,
    masks: str,
    max_probability: float,
) -> None:
    archive = paths["sentinel-ts.zip"]
    read: list[dict[str, tuple[Array, Array]]] = [{} for _ in ids]
    for row, name, content in _by_row([archive], r"(?:.*/)?([^/]+)\.h5", ids, "series"):
        try:
            own = _read_series(content, pixels, masks, max_probability)
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(
                f"{name}.h5 in {archive} cannot be read: {error}"
            ) from error
        read[row] = {n: (d, v.astype(np.float32)) for n, (d, v) in own.items()}
    for sensor in SERIES_KEYS:
        steps = max(len(plot[sensor][0]) for plot in read)
        n_bands = read[0][sensor][1].shape[1]
        values = np.full((len(ids), steps, n_bands), np.nan, dtype=np.float32)
        days = np.full((len(ids), steps), "NaT", dtype="datetime64[D]")
        for row, plot in enumerate(read):
            own_days, own_values = plot[sensor]
            days[row, : len(own_days)] = own_days
            values[row, : len(own_days)] = own_values
        np.save(folder / f"{sensor}.npy", values)
        np.save(folder / f"{sensor}_times.npy", days)


# -- images ----------------------------------------------------------------------------


def _read_image(name: str, content: bytes, shape: tuple[int, ...]) -> Array:
    """Return a GeoTIFF as (height, width, n_bands)."""
    rasterio = extra("rasterio")
    try:
        with rasterio.MemoryFile(content) as file, file.open() as image:
            values = image.read()
    except rasterio.RasterioIOError as error:
        raise ValueError(f"{name}.tif cannot be read: {error}") from error
    values = values.transpose(1, 2, 0)
    if values.shape != shape:
        raise ValueError(f"{name}.tif has shape {values.shape}; expected {shape}.")
    return values


def _make_chips(ids: Array, paths: Mapping[str, Path], folder: Path) -> None:
    # The archives also hold images of 200 m.
    wanted = r"(?:.*/)?60m/([^/]+)\.tif"
    for sensor, n_bands in (("S1", 3), ("S2", len(PUBLISHED_S2))):
        kept = CHIP_BANDS[sensor]
        order = [
            (kept if sensor == "S1" else PUBLISHED_S2).index(band) for band in kept
        ]
        made = np.empty((len(ids), SIDE, SIDE, len(kept)), dtype=np.float32)
        archive = paths[f"{sensor.lower()}.zip"]
        for row, name, content in _by_row([archive], wanted, ids, sensor):
            values = _read_image(name, content, (SIDE, SIDE, n_bands))
            values = values[..., order].astype(np.float32)
            if sensor == "S1":
                values[values == -9999] = np.nan
            else:
                values[(values == 0).all(axis=-1)] = np.nan
            made[row] = values
        np.save(folder / f"{sensor}.npy", made)


def _make_aerial(ids: Array, paths: Mapping[str, Path], folder: Path) -> None:
    shape = (AERIAL_SIDE, AERIAL_SIDE, len(AERIAL_BANDS))
    # Too large for memory: 18 GB.
    made = np.lib.format.open_memmap(
        folder / "aerial.npy", "w+", np.uint8, (len(ids), *shape)
    )
    archives = list(paths.values())
    for row, name, content in _by_row(archives, r"(?:.*/)?([^/]+)\.tif", ids, "aerial"):
        made[row] = _read_image(name, content, shape)
    made.flush()


# -- the loader ------------------------------------------------------------------------


def fetch_treesatai(
    *,
    form: str = "series",
    pixels: str = "mean",
    masks: str = "drop",
    max_probability: float = 50,
    aerial: bool = False,
    lazy: bool = False,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[ModalityDict, Array]:
    """Fetch TreeSatAI: 15 tree genera from radar, optical and aerial images.

    A benchmark of the co-learning paper [1]_: the archive of [2]_, and its time series
    by [3]_. Archives are downloaded once, checked and converted to arrays. You may
    delete them afterwards. Needs ``pip install "sklearn-colearn[datasets]"``.

    Parameters
    ----------
    form : {'series', 'chips'}, default='series'
        All images of a year, one value per plot and day (6.1 GB to download; 1 GB of
        arrays), or one image of 6 by 6 pixels per sensor (about 800 MB).
    pixels : {'mean', 'centre'}, default='mean'
        Pixels of a series to average: all valid ones, or those of the central four.
        Radar is averaged as linear power.
    masks : {'drop', 'bands'}, default='drop'
        Use of snow and cloud probabilities in Sentinel-2 series. ``'drop'`` removes
        pixels above `max_probability`, and days without pixels. ``'bands'`` keeps all
        pixels and adds both as bands, as in the paper.
    max_probability : float, default=50
        Largest probability of snow, and of cloud, in percent.
    aerial : bool, default=False
        Whether to add the aerial images (20 more files, about 16 GB).
    lazy : bool, default=False
        Whether to memory-map the arrays. Aerial images always are.
    data_home : str or path-like, default=None
        Folder to store in; by default `sklearn_colearn` in
        :func:`sklearn.datasets.get_data_home`. Files are in its folder `treesatai`.
    download_if_missing : bool, default=True
        Whether to download missing or damaged files.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        data : ModalityDict
            Series: `S1_asc`, `S1_des` (n, days, 2) and `S2` (n, days, 10 or 12),
            float32, and their dates `S1_asc_times`, `S1_des_times`, `S2_times`,
            datetime64[D]. Rows start at their first day and are padded with NaN and
            NaT. Chips: `S1` (n, 6, 6, 2) and `S2` (n, 6, 6, 12), float32. With
            ``aerial=True``, `aerial` (n, 304, 304, 4), uint8. Bands have names, and
            `ids` are the names of the plots.
        target : ndarray of shape (n, 15), int64
            1 for genera that cover more than 7 % of a plot.
        shares : ndarray of shape (n, 15), float64
            Share of each genus, from 0 to 1.
        is_test : ndarray of shape (n,), bool
            True for the official test plots.
        latlon : ndarray of shape (n, 2), float64
            Latitude and longitude in degrees.
        times : dict of str to str
            Date entries by series, for ``times=`` of an estimator. Empty for chips.
        feature_names : dict of str to list of str
            Band names of each modality.
        target_names : list of str
            Names of the genera.
        DESCR : str
            Description and citations.

    Raises
    ------
    ImportError
        If pooch, h5py or rasterio is not installed.
    OSError
        If a file is missing and cannot or may not be downloaded.
    TypeError, ValueError
        If a parameter is invalid, a checksum does not match or a file is malformed.

    References
    ----------
    .. [1] Mena et al., "Multi-modal co-learning for Earth observation: enhancing
       single-modality models via modality collaboration", Machine Learning 114:279,
       2025, doi:10.1007/s10994-025-06903-0.
    .. [2] Ahlswede et al., "TreeSatAI Benchmark Archive: a multi-sensor, multi-label
       dataset for tree species classification in remote sensing", Earth System Science
       Data 15, 2023, doi:10.5194/essd-15-681-2023.
    .. [3] Astruc, Gonthier, Mallet, Landrieu, "OmniSat: self-supervised modality fusion
       for Earth observation", ECCV 2024, arXiv:2404.08351.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import fetch_treesatai
    >>> trees = fetch_treesatai()  # doctest: +SKIP
    >>> train = ~trees.is_test  # doctest: +SKIP
    >>> clf = CoLearnClassifier(encoder="ltae", times=trees.times)  # doctest: +SKIP
    >>> clf.fit(trees.data[train], trees.target[train])  # doctest: +SKIP
    """
    for name, given, allowed in (
        ("form", form, ("series", "chips")),
        ("pixels", pixels, ("mean", "centre")),
        ("masks", masks, ("drop", "bands")),
    ):
        if given not in allowed:
            raise ValueError(
                f"{name} must be {allowed[0]!r} or {allowed[1]!r}; got {given!r}."
            )
    check_scalar(max_probability, "max_probability", Real, min_val=0, max_val=100)
    folder = data_folder(data_home) / "treesatai"

    def arrays_of(
        name: str,
        files: Mapping[str, File],
        make: Callable[[dict[str, Path], Path], None],
        lazy: bool,
    ) -> dict[str, Array]:
        sums = {name: file.checksum for name, file in {**PLOT_FILES, **files}.items()}
        return kept_arrays(
            folder / name,
            {"version": VERSION, **sums},
            lambda: fetch_files(files, folder, download_if_missing),
            make,
            lazy=lazy,
        )

    plots = arrays_of("plots", PLOT_FILES, _make_plots, lazy=False)
    ids = plots["ids"]
    if form == "series":
        bands = dict(SERIES_BANDS)
        how = f"drop{max_probability:g}"
        if masks == "bands":
            bands["S2"] = [*bands["S2"], *MASKS]
            how = "bands"
        make = partial(
            _make_series,
            ids,
            pixels=pixels,
            masks=masks,
            max_probability=max_probability,
        )
        arrays = arrays_of(f"series-{pixels}-{how}", SERIES_FILES, make, lazy)
    else:
        bands = dict(CHIP_BANDS)
        arrays = arrays_of("chips", CHIP_FILES, partial(_make_chips, ids), lazy)
    if aerial:
        bands["aerial"] = AERIAL_BANDS
        make = partial(_make_aerial, ids)
        arrays |= arrays_of("aerial", AERIAL_FILES, make, lazy=True)
    times = {name: f"{name}_times" for name in bands if f"{name}_times" in arrays}
    data = ModalityDict({name: arrays[name] for name in (*bands, *times.values())})
    data.labels = {
        name: (*[None] * (data[name].ndim - 2), tuple(own))
        for name, own in bands.items()
    }
    data.ids = ids
    y = (plots["shares"] > MIN_SHARE).astype(np.int64)
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        shares=plots["shares"],
        is_test=plots["is_test"],
        latlon=plots["latlon"],
        times=times,
        feature_names={name: list(own) for name, own in bands.items()},
        target_names=list(GENERA),
        DESCR=DESCR,
    )
