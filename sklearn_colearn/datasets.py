"""Data to learn from: a generator with known factors, and loaders of real plots."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import tempfile
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray
from sklearn.datasets import get_data_home
from sklearn.utils import Bunch, check_random_state, check_scalar

from sklearn_colearn.modalities import ModalityDict

__all__ = ["fetch_lfmc", "load_forest_plots", "make_multisensor"]

Array = NDArray[Any]
Shape = tuple[int, ...]

DEFAULT_SENSORS = {"S1": (12, 2), "S2": (12, 4), "terrain": (6,)}
TASKS = ("classification", "multilabel", "regression")

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
package sknnr (sknnr.datasets.load_swo_ecoplot). All data were collected in 2000;
tree cover was estimated by eye, per species, in percent, so that the covers of
overlapping crowns may add up to more than 100. Landsat values were extracted with the
CCDC algorithm for the same year.

Modalities: landsat (tasselled cap 1-3 and NBR), climate, terrain.
Targets: 'species', the code of the species with the largest cover (the first in
alphabetical order if several tie; NOTALY marks the 9 plots without any tallied tree),
or 'cover', the summed cover of all species in percent (0 for those 9 plots).

The database is managed by Patricia Hochhalter (USFS Region 6 Ecology Program) and used
by permission.

References
----------
Atzet, T, DE White, LA McCrimmon, PA Martinez, PR Fong, and VD Randall. 1996. Field
guide to the forested plant associations of southwestern Oregon. USDA Forest Service.
Pacific Northwest Region, Technical Paper R6-NR-ECOL-TP-17-96.
"""

LFMC_FILENAME = "lstm_input_data_pure+all_same_28_may_2019_res_1M_gap_3M"
LFMC_URL = (
    "https://raw.githubusercontent.com/kkraoj/lfmc_from_sar/"
    "de32223fe98c81363fdada028d17d5cced71b1a1/input_data/"
    + LFMC_FILENAME.replace("+", "%2B")
)
LFMC_SHA256 = "1ab538398efc1108a85c6fc56ed28ae52d9c43c9fa564e324401a81e35af2a89"
LFMC_TIMEOUT = 60  # seconds without an answer
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
Monthly field measurements at named sites, each with the four months of satellite
observations that end at it, oldest first. Values are as published: nothing is scaled
or filled in.

Target: moisture in percent.
Modalities: S1 (vv, vh in dB, and vh_vv = vh - vv); S2 (red, green, blue, swir, nir
reflectance x 10,000, ndvi, ndwi, nirv). S2 is the name that the co-learning
benchmark gives to the optical bands; Rao et al. took them from Landsat 8.
Static: topography (slope in degrees, elevation in m), soil (silt, sand, clay in
percent; -999 or all zero where unknown), canopy_height (m), forest_cover (a category:
the code of a GlobCover 2009 land cover class).
Groups: site. Rows of one site resemble each other, so a random split flatters a model.

Source: https://github.com/kkraoj/lfmc_from_sar; its README has the terms of use.

References
----------
Rao et al. SAR-enhanced mapping of live fuel moisture content.
Remote Sensing of Environment 245 (2020). doi:10.1016/j.rse.2020.111797

Mena, Ienco, Dantas, Interdonato, Dengel. Multi-modal co-learning for Earth
observation: enhancing single-modality models via modality collaboration. Machine
Learning 114:279 (2025). doi:10.1007/s10994-025-06903-0
"""


def _check_sensors(modalities: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(
            "modalities must be a dict of at least one name and shape, such as "
            f"{{'S1': (12, 2), 'terrain': (6,)}}; got {modalities!r}."
        )
    for name, shape in modalities.items():
        if (
            not isinstance(shape, tuple | list)
            or not 1 <= len(shape) <= 3
            or not all(
                isinstance(size, int | np.integer) and size >= 1 for size in shape
            )
        ):
            raise ValueError(
                f"the shape of modality {name!r} must be (features,), (time, bands) or "
                f"(height, width, bands), each at least 1; got {shape!r}."
            )
    return {name: tuple(shape) for name, shape in modalities.items()}


def _check_amount(value: float, name: str) -> None:
    check_scalar(value, name, Real, min_val=0)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}.")


def _per_modality(
    value: float | Mapping[str, float],
    name: str,
    sensors: Mapping[str, Shape],
    default: float,
) -> dict[str, float]:
    """Spread a number, or a dict with gaps, over all modalities."""
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in sensors]
        if unknown:
            raise ValueError(
                f"{name} names {unknown}, but the modalities are {list(sensors)}."
            )
        values = {key: value.get(key, default) for key in sensors}
    else:
        values = dict.fromkeys(sensors, value)
    for key, number in values.items():
        label = f"{name}[{key!r}]" if isinstance(value, Mapping) else name
        _check_amount(number, label)
    return values


def _check_weights(weights: Sequence[float] | None, n_classes: int) -> Array:
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    shares = np.asarray(weights, dtype=float)
    if shares.shape != (n_classes,) or not (shares > 0).all():
        raise ValueError(
            f"weights must be {n_classes} positive shares, one per class; "
            f"got {weights!r}."
        )
    return shares / shares.sum()


def _check_gaps(
    rows: Mapping[str, float],
    steps: Mapping[str, float],
    sensors: Mapping[str, Shape],
) -> None:
    """Refuse shares that would leave a row, or a sensor's row, with nothing."""
    if sum(rows.values()) > len(sensors) - 1 + 1e-9 or max(rows.values()) > 1:
        raise ValueError(
            "missing_rows must leave every row at least one modality: each share must "
            f"be at most 1 and their sum at most {len(sensors) - 1} for {len(sensors)} "
            f"modalities; got {dict(rows)}."
        )
    for name, share in steps.items():
        n_steps = _n_steps(sensors[name])
        if share * n_steps > n_steps - 1 + 1e-9:
            raise ValueError(
                f"missing_steps of modality {name!r} is {share}, but its shape "
                f"{sensors[name]} has {n_steps} step(s) and one must be left: at most "
                f"{(n_steps - 1) / n_steps:.3g}."
            )


def _n_steps(shape: Shape) -> int:
    """Count what one gap takes away: time steps, pixels, or values of a table."""
    return int(np.prod(shape[:-1])) if len(shape) > 1 else shape[0]


def _generator(random_state: int | np.random.RandomState | None) -> np.random.Generator:
    # check_random_state(None) is numpy's global state, which is not ours to advance.
    if random_state is None:
        return np.random.default_rng()
    return np.random.default_rng(
        check_random_state(random_state).randint(2**31, size=4)
    )


def _smooth_curves(rng: np.random.Generator, shape: Shape, length: int) -> Array:
    """Draw seasonal curves (*shape, length): a level and three fading harmonics."""
    time = np.arange(length) / length
    curves = np.repeat(rng.normal(size=(*shape, 1)), length, axis=-1)
    for harmonic in (1, 2, 3):
        phase = rng.uniform(0, 2 * np.pi, size=(*shape, 1))
        height = rng.normal(size=(*shape, 1)) / harmonic
        curves += height * np.cos(2 * np.pi * harmonic * time + phase)
    return curves


def _responses(rng: np.random.Generator, count: int, shape: Shape) -> Array:
    """Draw how a sensor answers each factor: (count, *shape), of mean square 1."""
    *lengths, n_bands = shape
    if lengths:
        curves = [_smooth_curves(rng, (count, n_bands), length) for length in lengths]
        product = "fbt->ftb" if len(lengths) == 1 else "fbh,fbw->fhwb"
        answers = np.einsum(product, *curves)
    else:
        answers = rng.normal(size=(count, n_bands))
    axes = tuple(range(1, len(shape) + 1))
    return answers / np.sqrt(np.mean(answers**2, axis=axes, keepdims=True))


def _direction(rng: np.random.Generator, n_factors: int, n_outputs: int) -> Array:
    weights = rng.normal(size=(n_factors, n_outputs))
    return weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)


def _target(rng: np.random.Generator, scores: Array, task: str, shares: Array) -> Array:
    if task == "multilabel":
        return (scores > np.median(scores, axis=0)).astype(np.int64)
    if task == "regression":
        return scores[:, 0] if scores.shape[1] == 1 else scores
    ranks = scores[:, 0].argsort().argsort()
    # Half a rank in, so that rounding of the sums never moves a row to the next class.
    return np.searchsorted(np.cumsum(shares[:-1]) * len(ranks), ranks + 0.5)


def _draw_missing_rows(
    rng: np.random.Generator, n_samples: int, shares: Sequence[float]
) -> Array:
    """Draw a mask (n_samples, n_modalities) that leaves every row a modality."""
    missing = np.zeros((n_samples, len(shares)), dtype=bool)
    for column, share in enumerate(shares):
        missing[rng.permutation(n_samples)[: int(share * n_samples + 1e-9)], column] = 1
    empty = np.flatnonzero(missing.all(axis=1))
    # Rows with modalities to spare give one to each empty row: the shares stay exact.
    spare = np.repeat(np.arange(n_samples), np.maximum((~missing).sum(axis=1) - 1, 0))
    for row, donor in zip(empty, rng.permutation(spare), strict=False):
        column = rng.choice(np.flatnonzero(~missing[donor]))
        missing[row, column], missing[donor, column] = False, True
    return missing


def _blank_steps(rng: np.random.Generator, values: Array, share: float) -> None:
    """Set a share of the steps of each row to NaN, in place, never all of a row."""
    n_samples, n_steps = len(values), _n_steps(values.shape[1:])
    # Rounded up or down at random, so that the share is right on average.
    counts = np.floor(share * n_steps + rng.random(n_samples)).astype(int)
    counts = np.minimum(counts, n_steps - 1)
    order = rng.random((n_samples, n_steps)).argsort(axis=1).argsort(axis=1)
    gaps = order < counts[:, np.newaxis]
    values[gaps.reshape(values.shape[: max(values.ndim - 1, 2)])] = np.nan


def make_multisensor(
    n_samples: int = 1000,
    *,
    modalities: Mapping[str, Sequence[int]] | None = None,
    task: str = "classification",
    n_classes: int = 3,
    weights: Sequence[float] | None = None,
    n_outputs: int = 1,
    n_shared: int = 2,
    n_specific: int = 2,
    shared_signal: float = 1.0,
    specific_signal: float | Mapping[str, float] = 1.0,
    target_noise: float = 0.1,
    noise: float | Mapping[str, float] = 0.5,
    missing_rows: float | Mapping[str, float] = 0.0,
    missing_steps: float | Mapping[str, float] = 0.0,
    dtype: DTypeLike = np.float32,
    return_factors: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Generate sensors that see known shared and known specific factors.

    Every row has `n_shared` factors that all sensors see and, per sensor,
    `n_specific` factors that only this one sees, all independent and standard normal.
    A sensor's values are a baseline plus each factor times the sensor's own response
    to it (a smooth seasonal curve per band for a time series) plus white noise. The
    target is a linear score of the factors, plus noise.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    modalities : dict of str to tuple of int, default=None
        Shape of each sensor without the rows: `(features,)`, `(time, bands)` or
        `(height, width, bands)`. None means two time series and a table,
        `{"S1": (12, 2), "S2": (12, 4), "terrain": (6,)}`.
    task : {'classification', 'multilabel', 'regression'}, default='classification'
        Classes are consecutive ranges of one score; labels are scores above their
        median; regression gives the scores themselves.
    n_classes : int, default=3
        Number of classes, or of labels if `task='multilabel'`; at least 2.
    weights : sequence of float, default=None
        Shares of the rows that belong to each class, rescaled to sum to 1; None means
        equal shares. Used if `task='classification'`.
    n_outputs : int, default=1
        Number of targets if `task='regression'`.
    n_shared, n_specific : int, default=2
        Number of shared factors, and of specific factors per sensor; 0 is allowed.
    shared_signal : float, default=1.0
        Standard deviation of the shared factors' part of the score.
    specific_signal : float or dict of str to float, default=1.0
        Standard deviation of the specific factors' part, of which each sensor holds
        an equal share of the variance. A dict scales the share of each sensor.
        With both signals 0 the target is pure noise; with only this one 0, nothing
        but the shared factors carries the target.
    target_noise : float, default=0.1
        Standard deviation of the noise of the score (1 if there is no signal at all
        and this is 0).
    noise : float or dict of str to float, default=0.5
        Standard deviation of the noise of a sensor, whose signal has a standard
        deviation of 1.
    missing_rows : float or dict of str to float, default=0.0
        Share of the rows in which the whole sensor is NaN. Every row keeps at least
        one sensor.
    missing_steps : float or dict of str to float, default=0.0
        Share of the time steps (of the pixels of an image, of the values of a table)
        that are NaN where the sensor is there. At least one step of each row is left.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Type of the sensors' values.
    return_factors : bool, default=False
        Whether to return the factors too.
    random_state : int, RandomState instance or None, default=None
        Seed. With None each call differs; numpy's global state is never used.

    Returns
    -------
    X : ModalityDict
        One array per sensor, `(n_samples, *shape)`.
    y : ndarray
        Classes `(n_samples,)` of int64, labels `(n_samples, n_classes)` of 0 and 1,
        or float64 of `(n_samples,)`, or `(n_samples, n_outputs)` if there are several.
    factors : dict
        `"shared"`: array `(n_samples, n_shared)`; `"specific"`: a dict of one array
        `(n_samples, n_specific)` per sensor. Only with `return_factors=True`.

    Raises
    ------
    TypeError
        If a number is of the wrong type.
    ValueError
        If a parameter is out of range, a dict names a sensor that is not there, or
        the gaps would leave nothing.

    Notes
    -----
    In `specific_signal`, `noise`, `missing_rows` and `missing_steps` a dict may leave
    sensors out: these keep the default.

    Examples
    --------
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(100, missing_rows={"S2": 0.2}, random_state=0)
    >>> X["S1"].shape, X["S2"].shape, X["terrain"].shape, y.shape
    ((100, 12, 2), (100, 12, 4), (100, 6), (100,))
    """
    sensors = _check_sensors(DEFAULT_SENSORS if modalities is None else modalities)
    if task not in TASKS:
        raise ValueError(f"task must be one of {list(TASKS)}; got {task!r}.")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {dtype!r}.")
    check_scalar(n_classes, "n_classes", Integral, min_val=2)
    least = n_classes if task == "classification" else 1
    check_scalar(n_samples, "n_samples", Integral, min_val=least)
    check_scalar(n_outputs, "n_outputs", Integral, min_val=1)
    check_scalar(n_shared, "n_shared", Integral, min_val=0)
    check_scalar(n_specific, "n_specific", Integral, min_val=0)
    _check_amount(shared_signal, "shared_signal")
    _check_amount(target_noise, "target_noise")
    shares = _check_weights(weights, n_classes)
    signals = _per_modality(specific_signal, "specific_signal", sensors, 1.0)
    noises = _per_modality(noise, "noise", sensors, 0.5)
    rows = _per_modality(missing_rows, "missing_rows", sensors, 0.0)
    steps = _per_modality(missing_steps, "missing_steps", sensors, 0.0)
    _check_gaps(rows, steps, sensors)

    rng = _generator(random_state)
    # Gaps are drawn apart, so that asking for them changes no value and no target.
    gap_rng = np.random.default_rng(rng.integers(2**31, size=4))
    shared = rng.normal(size=(n_samples, n_shared))
    specific = {name: rng.normal(size=(n_samples, n_specific)) for name in sensors}

    width = {"classification": 1, "multilabel": n_classes, "regression": n_outputs}
    scores = shared_signal * (shared @ _direction(rng, n_shared, width[task]))
    for name, signal in signals.items():
        part = specific[name] @ _direction(rng, n_specific, width[task])
        scores += signal / np.sqrt(len(sensors)) * part
    spread = target_noise if target_noise or scores.any() else 1.0
    scores += spread * rng.normal(size=scores.shape)
    y = _target(rng, scores, task, shares)

    arrays = {}
    absent = _draw_missing_rows(gap_rng, n_samples, list(rows.values()))
    for column, (name, shape) in enumerate(sensors.items()):
        factors = np.hstack([shared, specific[name]])
        n_factors = factors.shape[1]
        # Divided so that the signal keeps a deviation of 1 with any number of factors.
        responses = _responses(rng, n_factors, shape) / max(n_factors, 1) ** 0.5
        values = np.tensordot(factors, responses, axes=1)
        values += _responses(rng, 1, shape)
        values += noises[name] * rng.normal(size=values.shape)
        _blank_steps(gap_rng, values, steps[name])
        values[absent[:, column]] = np.nan
        arrays[name] = values.astype(dtype)
    X = ModalityDict(arrays)
    if return_factors:
        return X, y, {"shared": shared, "specific": specific}
    return X, y


def load_forest_plots(
    *, target: str = "species", min_count: int = 30, return_X_y: bool = False
) -> Bunch | tuple[ModalityDict, Array]:
    """Load forest plots of southwest Oregon: satellite, climate and terrain.

    The 3,005 plots come with the package sknnr; nothing is downloaded.

    Parameters
    ----------
    target : {'species', 'cover'}, default='species'
        `'species'` is the code of the species with the largest cover (classification),
        `'cover'` the tree cover of all species in percent (regression), which
        overlapping crowns can bring above 100.
    min_count : int, default=30
        A species that is dominant in fewer plots becomes `'other'`; 1 keeps them all.
        Used if `target='species'`.
    return_X_y : bool, default=False
        Whether to return `(data, target)` instead of a Bunch.

    Returns
    -------
    bunch : Bunch
        data : ModalityDict of DataFrames, float64, 3005 rows
            `landsat` (4 columns), `climate` (9) and `terrain` (5), by plot number.
        target : ndarray of shape (3005,)
            Species codes (str), or cover (float64).
        feature_names : dict of str to list of str
            Column names per modality.
        target_names : list of str
            The classes, or `['cover']`.
        species_cover : DataFrame of shape (3005, 24)
            Cover of each species in percent.
        DESCR : str
            Description, source and citation.
    data, target : tuple
        If `return_X_y=True`.

    Raises
    ------
    ImportError
        If sknnr is not installed.
    TypeError, ValueError
        If `target` or `min_count` is not among the allowed values.

    References
    ----------
    Atzet, T, DE White, LA McCrimmon, PA Martinez, PR Fong, and VD Randall. 1996.
    Field guide to the forested plant associations of southwestern Oregon. USDA Forest
    Service. Pacific Northwest Region, Technical Paper R6-NR-ECOL-TP-17-96.

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
            "load_forest_plots reads data of the package sknnr, which is not "
            'installed. Install it with: pip install "sklearn-colearn[demo]"'
        ) from error

    source = load_swo_ecoplot(as_frame=True)
    cover = source.target.rename(columns=lambda name: name.removesuffix("_COV"))
    # NOTALY is a mark (1.0) of plots where no tree was tallied, not a cover.
    species_cover = cover.drop(columns="NOTALY")
    if target == "species":
        dominant = cover.idxmax(axis=1)
        counts = dominant.map(dominant.value_counts())
        y = dominant.where(counts >= min_count, "other").to_numpy(dtype=str)
        target_names = np.unique(y).tolist()
    else:
        y = species_cover.sum(axis=1).to_numpy()
        target_names = ["cover"]
    data = ModalityDict(
        {name: source.data[columns] for name, columns in FOREST_FEATURES.items()}
    )
    if return_X_y:
        return data, y
    return Bunch(
        data=data,
        target=y,
        feature_names={name: list(names) for name, names in FOREST_FEATURES.items()},
        target_names=target_names,
        species_cover=species_cover,
        DESCR=FOREST_DESCR,
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_atomically(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own on the same disk: removed with what it holds if writing fails.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        part = Path(folder) / path.name
        part.write_bytes(content)
        os.replace(part, path)


def _download_lfmc(path: Path) -> bytes:
    """Download, verify, and only then store the published table."""
    try:
        with urllib.request.urlopen(LFMC_URL, timeout=LFMC_TIMEOUT) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # It holds the connection.
        raise OSError(
            f"could not download {LFMC_URL} ({error}). Without a network, put that "
            f"file, or lfmc.npz converted from it, into {path.parent}."
        ) from error
    if _sha256(content) != LFMC_SHA256:
        raise ValueError(
            f"what {LFMC_URL} sent has SHA-256 {_sha256(content)}, expected "
            f"{LFMC_SHA256}. It was neither read nor kept."
        )
    _write_atomically(path, content)
    return content


def _verified_lfmc(path: Path, download_if_missing: bool) -> bytes:
    """Return the published table's bytes, which have the known hash."""
    if path.exists():
        content = path.read_bytes()
        if _sha256(content) == LFMC_SHA256:
            return content
        damage = f"{path} has SHA-256 {_sha256(content)}, expected {LFMC_SHA256}"
        if not download_if_missing:
            raise ValueError(
                f"{damage}. It was not read: delete it, or pass "
                "download_if_missing=True to replace it."
            )
        warnings.warn(f"{damage}: it is downloaded again.", UserWarning, stacklevel=3)
    elif not download_if_missing:
        raise OSError(
            f"neither lfmc.npz nor {path.name} is in {path.parent}, and "
            "download_if_missing is False."
        )
    return _download_lfmc(path)


def _lfmc_from_pickle(content: bytes, folder: Path) -> dict[str, Array]:
    try:
        with warnings.catch_warnings():
            # What a file of 2019 holds may be deprecated, but no user can change it.
            warnings.simplefilter("ignore")
            table = pd.read_pickle(io.BytesIO(content))
    except (
        *(AttributeError, EOFError, ImportError, IndexError, KeyError),
        *(NotImplementedError, TypeError, ValueError, pickle.UnpicklingError),
    ) as error:
        raise ValueError(
            f"pandas {pd.__version__} cannot read the published table, a pickle of an "
            f"older pandas ({type(error).__name__}: {error}). Convert it with an older "
            f"pandas and put the arrays as lfmc.npz into {folder}."
        ) from error
    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"the LFMC table must be a DataFrame; got {type(table).__name__}."
        )
    series = {
        name: [f"{band}({step})" for step in LFMC_STEPS for band in bands]
        for name, bands in LFMC_BANDS.items()
    }
    static = {name: [f"{n}(t)" for n in names] for name, names in LFMC_STATIC.items()}
    needed = [c for columns in (series | static).values() for c in columns]
    needed += ["percent(t)", "site", "date"]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise ValueError(f"the LFMC table lacks the columns {missing}.")
    arrays: dict[str, Array] = {
        name: table[columns].to_numpy(np.float32)
        for name, columns in (series | static).items()
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
        # Opened here, as numpy leaves its own handle open if the file is damaged.
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
                f"{name} in {path} has shape {arrays[name].shape}, expected {expected}."
            )
    return arrays


def fetch_lfmc(
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
) -> Bunch | tuple[ModalityDict, Array]:
    """Fetch live fuel moisture of the western USA, with radar and optical series.

    A benchmark of the co-learning paper [1]_, published by [2]_. The table is
    downloaded once (2.9 MB) and, as it is a pickle, read only if its SHA-256 is the
    known one. An `lfmc.npz` in the same folder, with the arrays of the same names as
    below (`y` for the target), is preferred and needs no pickle.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder to read from and to store in. None means the folder `sklearn_colearn` in
        :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        Whether to download a file that is missing or damaged, or to raise an error.
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
            What does not change with time: `topography` (2578, 2), `soil` (2578, 3),
            `canopy_height` (2578, 1) and `forest_cover` (2578, 1), a category.
        site : ndarray of shape (2578,), str
            Names of 150 sites, for a split by groups.
        date : ndarray of shape (2578,), datetime64[D]
            End of the month of the measurement.
        feature_names : dict of str to list of str
            Band names of each modality, the static ones too.
        target_names : list of str
            `['lfmc']`.
        DESCR : str
            Description, source and citations.
    data, target : tuple
        If `return_X_y=True`.

    Raises
    ------
    OSError
        If the file is missing and cannot or may not be downloaded.
    ValueError
        If the file has another hash than the published one, cannot be read by this
        pandas, or does not hold what it should.

    References
    ----------
    .. [1] Mena, Ienco, Dantas, Interdonato, Dengel. "Multi-modal co-learning for Earth
       observation: enhancing single-modality models via modality collaboration".
       Machine Learning 114:279 (2025). doi:10.1007/s10994-025-06903-0
    .. [2] Rao et al. "SAR-enhanced mapping of live fuel moisture content". Remote
       Sensing of Environment 245 (2020). doi:10.1016/j.rse.2020.111797

    Examples
    --------
    >>> from sklearn_colearn.datasets import fetch_lfmc
    >>> lfmc = fetch_lfmc()  # doctest: +SKIP
    >>> lfmc.data["S1"].shape  # doctest: +SKIP
    (2578, 4, 3)
    """
    if data_home is None:
        folder = Path(get_data_home()) / "sklearn_colearn"
    else:
        folder = Path(data_home).expanduser()
    converted = folder / "lfmc.npz"
    if converted.exists():
        arrays = _lfmc_from_npz(converted)
    else:
        content = _verified_lfmc(folder / LFMC_FILENAME, download_if_missing)
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
