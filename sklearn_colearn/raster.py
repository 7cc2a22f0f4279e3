"""Predict maps from raster cubes."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import entr
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from sklearn_colearn.contents import contents
from sklearn_colearn.inputs import (
    Array,
    Entry,
    match_steps,
    numeric_values,
    places_of,
    present_rows,
)
from sklearn_colearn.modality_dict import (
    NODATA,
    ModalityDict,
    declared_nodata,
    equal_to,
    sentinels_of,
)
from sklearn_colearn.prediction import Predictor
from sklearn_colearn.preprocessing import PerModality
from sklearn_colearn.times import Calendar
from sklearn_colearn.training import one_thread

__all__ = [
    "RasterSensor",
    "layers_of",
    "on_one_grid",
    "places_on_grid",
    "predict_raster",
    "read_cubes",
]

Cube: TypeAlias = Any  # xarray is not imported until it is needed
Bands: TypeAlias = "Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None"

#: Pixels to predict at a time: many batches of the network, but little memory.
PIXELS_AT_ONCE = 2**13
#: Values in the image windows to cut at a time: 8 MiB of float32.
VALUES_AT_ONCE = 2**21
#: Names of dimensions that index image rows and columns.
ROW_DIMS, COLUMN_DIMS = ("y", "lat", "latitude"), ("x", "lon", "longitude")
#: Name of the map and method that computes it, by `what`.
NAMES = {
    "predict": ("prediction", "predict"),
    "predict_proba": ("probability", "predict_proba"),
    "transform": ("embedding", "transform"),
    "interval": ("interval", "predict_interval"),
    "entropy": ("entropy", "predict_proba"),
    "predict_set_size": ("predict_set_size", "predict_set"),
    "applicability": ("applicability", "applicability"),
}
#: Parameters of glibc's mallopt (malloc.h). `MMAP_BYTES` is the default of the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
MMAP_BYTES, KEPT_BYTES = 2**17, 2**25
#: Attributes of a band that do not apply to a map of predictions.
BAND_ATTRIBUTES = {
    *(*NODATA, "units", "long_name", "standard_name", "dtype", "cell_methods"),
    *("scale_factor", "add_offset", "valid_min", "valid_max", "valid_range"),
    *("flag_values", "flag_meanings", "flag_masks", "band_names"),
}


def predict_raster(
    model: Any,
    cube: Cube | Mapping[str, Cube],
    *,
    bands: Bands = None,
    nodata: float | Sequence[float] | Mapping[str, Any] | None = None,
    chunks: Any = None,
    what: str = "predict",
    confidence_level: float = 0.9,
) -> Cube:
    """Predict every pixel of a raster cube.

    Parameters
    ----------
    model : CoLearnClassifier, CoLearnRegressor, or an exported sensor
        Fitted estimator, or a search around one. It uses all sensors that a pixel has,
        or only ``predict_modality``. Other scikit-learn estimators that take a
        ModalityDict can map classes, probabilities or values.
    cube : xarray.Dataset, xarray.DataArray, or mapping of str to either
        A Dataset of bands, or a DataArray with a dimension ``"band"``, ``"bands"`` or
        ``"variable"``; one for all sensors, or one per modality. Time series also need
        ``"time"`` or ``"t"``. All other dimensions are spatial; images need two.
    bands : list of hashable, or mapping of str to list of hashable, default=None
        Band names in the cube, in the order of training, by modality if the model has
        several. Modalities that a mapping omits are not used. None takes the names of
        training; a DataArray is read by position if it or the model has no names.
    nodata : float, list of float, mapping of str to either, or None, default=None
        Nodata values besides NaN, the model's ``missing_value``, and the
        ``_FillValue``, ``missing_value``, ``fill_value`` and ``nodata`` that the cube
        declares.
    chunks : int, 'auto', mapping or None, default=None
        Spatial chunks, as for :meth:`xarray.Dataset.chunk`, such as
        ``{"y": 512, "x": 512}``. None keeps the cube's own.
    what : {'predict', 'predict_proba', 'transform', 'interval', 'entropy', \
            'predict_set_size', 'applicability'}, default='predict'
        Classes or values, probabilities, representations, bounds of `predict_interval`,
        entropy of the probabilities, number of classes in `predict_set`, or
        `applicability`.
    confidence_level : float, default=0.9
        Confidence level of intervals and sets.

    Returns
    -------
    xarray.DataArray
        Map with the spatial coordinates, attributes and reference system of the first
        cube. Lazy if the cube is, or with `chunks`. Pixels without any value are
        nodata. Depending on `what`:

        - Classes: integer labels (also 10.0) are kept, others numbered from 0, in the
          smallest of uint8, int16, int32 and int64. ``_FillValue`` is the largest
          number of the type, or 2**53 for int64. ``flag_values`` and
          ``flag_meanings`` list the classes.
        - Multi-label classes: 0 or 1 along ``label``, nodata 255.
        - Set sizes: integers, nodata 0.
        - Others: float32; regression values along ``output`` if there are several,
          probabilities along ``label``, representations along ``feature``, intervals
          of a single output along ``bound`` (lower, upper), and entropy in nats,
          along ``label`` for multi-label.

    Raises
    ------
    ValueError
        If bands, steps or dimensions do not match the model, sensors are on different
        grids, or values are infinite.

    Warns
    -----
    UserWarning
        If time does not increase and the model has no step labels, or if a band of a
        cube in memory is empty while others of its sensor are not.

    Notes
    -----
    Steps are matched by dates or names, else position; additional ones are ignored. New
    dates, such as another year's, must run in the same direction. A model trained with
    the dates of each row uses those of the cube, at most as many as in training.
    Sensors are aligned by coordinates, to a hundredth of a pixel, or else by position.

    Images (height, width, n_bands) are windows with the pixel at
    ``[height // 2, width // 2]``, padded with NaN. A pixel is nodata if its whole
    window is. Rows and columns follow the dimension names of the training images. If
    these differ from the cube's, rows follow ``"y"``, ``"lat"`` or ``"latitude"``, or
    else the first spatial dimension. They must run in the direction of training, such
    as north to south.

    Pipelines that begin with :class:`PerModality`, and scikit-learn estimators that
    pass X on unchanged (``CalibratedClassifierCV``, voting, stacking,
    ``TransformedTargetRegressor``, ``FrozenEstimator`` and the threshold classifiers),
    also match bands and steps by name. Others need a mapping of cubes with all bands in
    the order of training, or named in that order by `bands`.

    dask computes one chunk per thread at a time, which bounds memory. Chunks smaller
    than half a window are merged.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn_colearn import CoLearnClassifier, predict_raster
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, cv=2, random_state=0).fit(X, y)
    >>> cube = xr.Dataset(
    ...     {
    ...         band: (("y", "x", "time"), X["S1"][:, :, i].reshape(10, 20, 12))
    ...         for i, band in enumerate(["vv", "vh"])
    ...     }
    ... )
    >>> prediction = predict_raster(clf.export("S1"), cube, bands=["vv", "vh"])
    >>> dict(prediction.sizes), prediction.dtype
    ({'y': 10, 'x': 20}, dtype('uint8'))
    >>> prediction.attrs["flag_meanings"]
    '0 1 2'
    """
    if not hasattr(model, "predict"):
        raise TypeError(
            "model= must be a fitted estimator of sklearn_colearn, or one that wraps "
            f"it; got {type(model).__name__}."
        )
    check_is_fitted(model)
    model = getattr(model, "best_estimator_", model)
    answers: Callable[[list[RasterSensor]], _Answers]
    if isinstance(model, Predictor):
        only = model.predict_modality
        valid = [name for name, (_, method) in NAMES.items() if hasattr(model, method)]
        answers = partial(_Answers.of, model, what, level=confidence_level)
    else:
        only = None
        valid = [w for w in ("predict", "predict_proba") if hasattr(model, w)]
        answers = partial(_Answers.of_other, model, what)
    if what not in valid:
        raise ValueError(
            f"{type(model).__name__} cannot map what={what!r}; use one of {valid}."
        )
    if what == "interval" and model.n_outputs_ > 1:
        raise ValueError(
            "what='interval' maps a single output, but the model has "
            f"{model.n_outputs_}."
        )
    if seen := _seen_by(model):
        if not isinstance(model, Predictor):
            bands = _by_position(seen, cube, bands)
        sensors = _read_sensors(seen, only, cube, bands, nodata)
        space = _space_of(sensors)
        sensors = on_one_grid(sensors, space)
        if not isinstance(model, Predictor):
            entries = {m: one.entry for m, one in seen.items()}
            sensors = [
                replace(s, columns=entries[s.modality].columns)
                if len(entries[s.modality].shape) == 1
                else s
                for s in sensors
            ]
    else:
        sensors, space = read_cubes(cube, bands, nodata)
    if unsure := [sensor for sensor in sensors if sensor.unsure]:
        warnings.warn(
            f"Time does not increase in the cube of {[s.modality for s in unsure]}, "
            "and fit saw no dates to compare with, so steps are matched by position. "
            "If time increased in fit, sort the cube with "
            f"cube.sortby({unsure[0].time!r}).",
            stacklevel=2,
        )
    found = answers(sensors)
    if chunks is not None or any(x.chunks for s in sensors for x in s.layers):
        data = _lazily(model, sensors, space, found, chunks)
    else:
        arrays: list[Array] = []
        for sensor in sensors:
            own = [layer.values for layer in sensor.ordered(space)]
            if empty := sensor.empty_bands(own, seen.get(sensor.modality)):
                warnings.warn(
                    f"The bands {empty} of modality {sensor.modality!r} have no values "
                    "in the cube, so they count as missing in every pixel. Check the "
                    "source files and their nodata value.",
                    stacklevel=2,
                )
            arrays += sensor.with_edges(own) if sensor.window else own
        data = found.of_pixels(model, *arrays)
    source = cube if hasattr(cube, "attrs") else cube[sensors[0].modality]
    return _map_of(data, source, sensors[0].layers[0], space, found)


# -- what fit saw --------------------------------------------------------------------


class Seen(NamedTuple):
    """Properties of a modality in training, as far as known."""

    entry: Entry
    missing_value: float | tuple[float, ...] | None = None
    calendar: Calendar | None = None
    empty: tuple[int, ...] = ()  # bands without any value


def _seen_by(model: Any) -> dict[str, Seen]:
    """Return what fit saw of each modality, or {} if unknown.

    For other estimators, look at the inner ones that receive the same X.
    """
    if isinstance(model, Predictor):
        found = {}
        for m in model.modalities_:
            sensor = model._sensors[m]
            empty = tuple(np.flatnonzero(np.isnan(sensor.scaler.shift)).tolist())
            found[m] = Seen(sensor.entry, sensor.missing_value, sensor.calendar, empty)
        return found
    if isinstance(model, PerModality):
        return {m: Seen(entry) for m, entry in model._schema.entries.items()}
    parts = [_seen_by(part) for part in _estimators_of_same_X(model)]
    joined = {}
    for m in dict.fromkeys(name for seen in parts for name in seen):
        own = [seen[m] for seen in parts if m in seen]
        most = max(own, key=lambda one: sum(x is not None for x in one.entry.axes))
        # Do not mask a sentinel that only some of them treat as missing.
        agreed = len({one.missing_value for one in own}) == 1 and len(own) == len(parts)
        joined[m] = most if agreed else most._replace(missing_value=None)
    return joined


def _estimators_of_same_X(model: Any) -> list[Any]:
    """Return the inner estimators to which a scikit-learn estimator passes its X."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import (
        StackingClassifier,
        StackingRegressor,
        VotingClassifier,
        VotingRegressor,
    )
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import (
        FixedThresholdClassifier,
        TunedThresholdClassifierCV,
    )
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline):
        steps = [step for _, step in model.steps if step not in (None, "passthrough")]
        return steps[:1]
    if isinstance(model, CalibratedClassifierCV):
        return [one.estimator for one in model.calibrated_classifiers_]
    ensembles = (VotingClassifier, VotingRegressor, StackingClassifier)
    if isinstance(model, (*ensembles, StackingRegressor)):
        return list(model.estimators_)
    if isinstance(model, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return [model.estimator_]
    if isinstance(model, TransformedTargetRegressor):
        return [model.regressor_]
    if isinstance(model, FrozenEstimator):
        return [model.estimator]
    return [model.best_estimator_] if hasattr(model, "best_estimator_") else []


def _by_position(seen: Mapping[str, Seen], cubes: Any, bands: Any) -> Any:
    """Use all bands of a Dataset, in its order, if fit saw no band names."""
    if not isinstance(cubes, Mapping) or hasattr(cubes, "data_vars"):
        return bands
    if not isinstance(bands, Mapping | None):
        return bands
    named = dict.fromkeys(cubes) if bands is None else dict(bands)
    for m, own in named.items():
        cube: Any = cubes.get(m)
        unknown = own is None and m in seen and seen[m].entry.bands is None
        if unknown and hasattr(cube, "data_vars"):
            named[m] = list(cube.data_vars)
    return named


# -- what comes in -------------------------------------------------------------------


@dataclass(frozen=True)
class RasterSensor:
    """The bands of one modality, and how to turn pixels into rows."""

    modality: str
    layers: list[Any]  # DataArrays over space, and over time for a series
    missing: list[set[float]]  # nodata values of each layer
    time: Hashable = None
    padding: int = 0  # steps that the cube lacks at the end
    entry: str | None = None  # entry of X that holds the times of each row
    times: Array | None = None
    unsure: bool = False  # whether the order of the steps is in doubt
    window: dict[Hashable, int] = field(default_factory=dict)  # image size by dimension
    row_dim: Hashable = None  # dimension that indexes image rows
    columns: tuple[Any, ...] | None = None  # column names of a table in training

    def ordered(self, space: Sequence[Hashable]) -> list[Any]:
        """Return the layers with time first, then space."""
        order = space if self.time is None else (self.time, *space)
        return [layer.transpose(*order) for layer in self.layers]

    def rows(self, arrays: Sequence[Array], pixels: slice) -> Array:
        """Return pixels as rows: (n, n_timesteps, n_bands) or (n, n_bands)."""
        bands = [array[..., pixels].T for array in arrays]
        rows = np.stack(self.floats(bands), axis=-1)
        if not self.padding:
            return rows
        widths = ((0, 0), (0, self.padding), (0, 0))
        return np.pad(rows, widths, constant_values=np.nan)

    def floats(self, bands: Iterable[Array]) -> list[Array]:
        """Return the values of the bands as floats, NaN where missing."""
        pairs = zip(bands, self.missing, strict=True)
        return [floats(band, self.modality, missing) for band, missing in pairs]

    def empty_bands(self, bands: Sequence[Array], seen: Seen | None) -> list[Hashable]:
        """Return the empty bands, unless all are empty or fit saw them empty too."""
        pairs = zip(bands, self.missing, strict=True)
        empty = [i for i, pair in enumerate(pairs) if not _has_any_value(*pair)]
        if len(empty) == len(bands):
            return []
        names: Sequence[Hashable] = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            names = range(len(names))
        if seen is not None:
            names = seen.entry.bands or names
            empty = [i for i in empty if i not in seen.empty]
        return [names[i] for i in empty]

    # -- image chips, the windows around pixels

    @property
    def edges(self) -> list[int]:
        """Number of pixels by which windows extend beyond the cube, by dimension."""
        return [size // 2 for size in self.window.values()]

    def with_edges(
        self, arrays: Sequence[Array], widths: Sequence[tuple[int, int]] | None = None
    ) -> list[Array]:
        """Return the bands as floats, padded with NaN."""
        if widths is None:
            widths = [(n, n) for n in self.edges]
        made = self.floats(arrays)
        return [np.pad(band, widths, constant_values=np.nan) for band in made]

    def chips(self, arrays: Sequence[Array], places: tuple[Array, ...]) -> Array:
        """Return the windows around pixels: (n, height, width, n_bands).

        `arrays` are padded by `edges`; `places` do not count the padding.
        """
        sizes = tuple(self.window.values())
        bands = [sliding_window_view(array, sizes)[places] for array in arrays]
        chips = np.stack(bands, axis=-1)
        return (
            chips if next(iter(self.window)) == self.row_dim else chips.swapaxes(1, 2)
        )


def floats(band: Array, modality: str, missing: Iterable[float]) -> Array:
    """Return values as floats, NaN where missing."""
    # Compare in the band's own type, before conversion.
    gone = np.any([equal_to(band, value) for value in missing], axis=0)
    band = np.where(gone, 0, band) if np.any(gone) else band
    band = numeric_values(modality, band, None)
    return np.where(gone, np.nan, band) if np.any(gone) else band


def _has_any_value(band: Array, missing: Iterable[float]) -> bool:
    """Return whether a band has any value, reading no further than needed."""
    for part in band:
        gone = np.any([equal_to(part, value) for value in missing], axis=0)
        if not np.all(gone | pd.isna(part)):
            return True
    return False


def _read_sensors(
    seen: Mapping[str, Seen],
    only: str | None,
    cube: Cube | Mapping[str, Cube],
    bands: Bands,
    nodata: Any,
) -> list[RasterSensor]:
    import xarray as xr

    fit_saw, types = list(seen), (xr.Dataset, xr.DataArray)
    cubes = dict.fromkeys(fit_saw, cube) if isinstance(cube, types) else cube
    values = list(cubes.values()) if isinstance(cubes, Mapping) else [cubes]
    if not all(isinstance(own, types) for own in values):
        raise TypeError(
            "cube= must be an xarray.Dataset or DataArray, or a dict of these by "
            f"modality; got {type(cube).__name__}."
        )
    chosen: dict[str, Any]
    if isinstance(bands, Mapping):
        chosen = dict(bands)
    elif bands is not None and len(fit_saw) > 1:
        raise ValueError(
            f"The model has several modalities, {fit_saw}; pass bands= by modality, "
            "such as {'S1': ['vv', 'vh'], ...}."
        )
    else:
        chosen = dict.fromkeys(fit_saw if len(fit_saw) == 1 else cubes, bands)
    if not isinstance(nodata, Mapping):
        nodata = {} if nodata is None else dict.fromkeys(fit_saw, nodata)
    if unknown := [m for m in (*chosen, *nodata) if m not in fit_saw]:
        raise ValueError(f"Unknown modality {unknown[0]!r}; fit saw {fit_saw}.")
    if only is not None and only not in chosen:
        raise ValueError(
            f"Cannot predict from {only!r}: bands= contains only {list(chosen)}."
        )
    sensors: list[RasterSensor] = []
    shared: dict[str, pd.Index[Any]] = {}
    for m in [m for m in fit_saw if m in chosen and only in (m, None)]:
        if m not in cubes:
            raise ValueError(
                f"No cube for modality {m!r}; cube= contains only {list(cubes)}."
            )
        sensor = _read_sensor(seen[m], m, cubes[m], chosen[m], nodata.get(m))
        times = pd.Index([] if sensor.times is None else sensor.times)
        if sensor.entry and not shared.setdefault(sensor.entry, times).equals(times):
            raise ValueError(
                f"The cube of {m!r} has other times than another cube, but the model "
                f"takes the times of both from the same entry, {sensor.entry!r}."
            )
        sensors.append(sensor)
    return sensors


def _read_sensor(
    fitted: Seen,
    modality: str,
    cube: Cube,
    bands: Sequence[Hashable] | None,
    nodata: Any,
) -> RasterSensor:
    shape = fitted.entry.shape
    if len(shape) > 3:
        raise ValueError(
            f"Rows of modality {modality!r} have shape {shape}; predict_raster takes "
            "only tables, time series and images (height, width, n_bands)."
        )
    layers = layers_of(modality, fitted.entry.bands, cube, bands)
    marks = [*sentinels_of(nodata), *sentinels_of(fitted.missing_value)]
    sensor = raster_sensor(modality, cube, layers, marks)
    if len(shape) != 2 and sensor.time is not None:
        still = [_without_time(layer, sensor.time) for layer in layers]
        if any(layer is None for layer in still):
            raise ValueError(
                f"Modality {modality!r} has no time steps, but its bands in the cube "
                f"do. Pick one step, for example with cube.isel({sensor.time}=0)."
            )
        sensor = replace(sensor, layers=still, time=None)
    if len(shape) == 2 and sensor.time is None:
        raise ValueError(
            f"Modality {modality!r} is a time series of {shape[0]} steps, but its "
            f"bands in the cube have the dimensions {layers[0].dims}; expected 'time' "
            "or 't' among them."
        )
    steps: Sequence[int] = ()
    if sensor.time is not None:
        sensor = _with_steps(sensor, fitted)
        steps = (sensor.layers[0].sizes[sensor.time] + sensor.padding,)
    if len(shape) == 3:
        sensor = _with_window(sensor, fitted)
        steps = shape[:2]
    if (came := (*steps, len(layers))) != shape:
        axes = ("bands", "time steps and bands", "pixels and bands")[len(shape) - 1]
        raise ValueError(
            f"Modality {modality!r} has {came} {axes} in the cube; fit saw {shape}."
        )
    return sensor


def _with_window(sensor: RasterSensor, fitted: Seen) -> RasterSensor:
    """Set the window of an image sensor and the dimension of its rows."""
    entry, dims = fitted.entry, sensor.layers[0].dims
    if len(dims) != 2:
        raise ValueError(
            f"Modality {sensor.modality!r} holds images {entry.shape}, which need a "
            f"cube of two spatial dimensions; got {list(dims)}."
        )
    own = () if entry.dims is None else entry.dims[1:3]
    named = set(own) == set(dims)
    rows = own[0] if named else _row_dim(dims)
    columns = dims[1 - dims.index(rows)]
    window = dict(zip((rows, columns), entry.shape, strict=False))
    for dim, labels in zip((rows, columns), entry.axes, strict=False):
        if not named or labels is None or dim not in sensor.layers[0].coords:
            continue
        if _direction(labels) * _direction(sensor.layers[0].coords[dim].values) < 0:
            raise ValueError(
                f"The images of modality {sensor.modality!r} and the cube run in "
                f"opposite directions along {dim!r}. Flip the cube with "
                f"cube.isel({dim}=slice(None, None, -1)), or fit on images without "
                f"labels along {dim!r}."
            )
    return replace(sensor, window=window, row_dim=rows)


def _row_dim(dims: Sequence[Hashable]) -> Hashable:
    first, second = dims
    turned = str(first).lower() in COLUMN_DIMS or str(second).lower() in ROW_DIMS
    return second if turned else first


def _direction(labels: Any) -> int:
    """Return 1 if the labels are increasing numbers, -1 if decreasing, else 0."""
    index = pd.Index(labels, tupleize_cols=False)
    if index.dtype.kind not in "iuf":
        return 0
    return int(index.is_monotonic_increasing) - int(index.is_monotonic_decreasing)


def _without_time(layer: Any, time: Hashable) -> Any:
    """Return a constant layer without its time; None if it varies or is lazy."""
    if time not in layer.dims:
        return layer
    first = layer.isel({time: 0}, drop=True)
    if layer.chunks is not None:
        return None
    same = (layer == first) | (layer.isnull() & first.isnull())
    return first if bool(same.all()) else None


def read_cubes(
    cubes: Any,
    bands: Any,
    nodata: Any,
    chips: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[list[RasterSensor], tuple[Hashable, ...]]:
    """Return sensors on one grid and its spatial dimensions, without a model.

    `chips` has the (height, width) of images by modality.
    """
    import xarray as xr

    if not isinstance(cubes, Mapping) or isinstance(cubes, xr.Dataset):
        raise TypeError(
            "cubes= must be a dict of xarray objects by modality; got "
            f"{type(cubes).__name__}."
        )
    bands = {} if bands is None else bands
    marks = nodata if isinstance(nodata, Mapping) else dict.fromkeys(cubes, nodata)
    if unknown := [m for m in (*bands, *marks) if m not in cubes]:
        raise ValueError(
            f"Unknown modality {unknown[0]!r}; cubes= contains {list(cubes)}."
        )
    sensors = []
    for m, cube in cubes.items():
        if not isinstance(cube, xr.Dataset | xr.DataArray):
            raise TypeError(
                f"The cube of {m!r} must be an xarray object; got "
                f"{type(cube).__name__}."
            )
        own = bands.get(m)
        if own is None and isinstance(cube, xr.Dataset):
            # A variable without dimensions describes the reference system.
            own = [band for band, layer in cube.data_vars.items() if layer.dims]
        layers = layers_of(m, None, cube, own)
        sensor = raster_sensor(m, cube, layers, sentinels_of(marks.get(m)))
        if chips and m in chips:
            dims = layers[0].dims
            if len(dims) != 2:
                raise ValueError(
                    f"Images need a cube of two spatial dimensions; the cube of {m!r} "
                    f"has {list(dims)}. Pick a time step with cube.isel."
                )
            rows = _row_dim(dims)
            window = {dim: chips[m][dim != rows] for dim in dims}
            sensor = replace(sensor, window=window, row_dim=rows)
        sensors.append(sensor)
    space = _space_of(sensors)
    return on_one_grid(sensors, space), space


def _space_of(sensors: Sequence[RasterSensor]) -> tuple[Hashable, ...]:
    first = sensors[0]
    return tuple(dim for dim in first.layers[0].dims if dim != first.time)


def raster_sensor(
    modality: str, cube: Cube, layers: list[Any], marks: Iterable[float]
) -> RasterSensor:
    """Return a sensor of the given bands, with nodata values and time dimension."""
    known = set(map(float, marks))
    missing = [known.union(declared_nodata(x) or declared_nodata(cube)) for x in layers]
    times = [dim for dim in layers[0].dims if str(dim).lower() in ("time", "t")]
    return RasterSensor(modality, layers, missing, times[0] if times else None)


def layers_of(
    modality: str,
    known: Sequence[Hashable] | None,
    cube: Cube,
    bands: Sequence[Hashable] | None,
) -> list[Any]:
    """Return the bands of a cube, in the order of training."""
    if isinstance(bands, str):
        raise ValueError(f"bands= must be a list of names; got {bands!r}.")
    names = bands
    if bands is None or (known is not None and set(bands) == set(known)):
        names = known
    if hasattr(cube, "data_vars"):
        held = list(cube.data_vars)
    else:
        dims = (dim for dim in cube.dims if dim in ("band", "bands", "variable"))
        if (along := next(dims, None)) is None:
            if len(names or [None]) == 1:
                return [cube]
            raise ValueError(
                f"The cube has the dimensions {cube.dims}; expected 'band', 'bands' or "
                "'variable' among them."
            )
        held = cube.coords[along].values.tolist() if along in cube.coords else []
        if names is None or (bands is None and not held):
            places = range(cube.sizes[along])
            return [cube.isel({along: place}, drop=True) for place in places]
    if names is None:
        raise ValueError(
            f"The model has no band names for {modality!r}; pass them as bands=, in "
            "the order of training."
        )
    if absent := [band for band in names if band not in held]:
        raise ValueError(
            f"The cube lacks the bands {absent} of {modality!r}; it contains {held}."
        )
    for band in names:
        if held.count(band) > 1 or list(names).count(band) > 1:
            raise ValueError(
                f"The band {band!r} of {modality!r} is not unique: the cube contains "
                f"{held}, and the bands to read are {list(names)}."
            )
    if hasattr(cube, "data_vars"):
        return [cube[band] for band in names]
    return [cube.isel({along: held.index(band)}, drop=True) for band in names]


# -- matching steps and pixels by label ------------------------------------------------


def _with_steps(sensor: RasterSensor, fitted: Seen) -> RasterSensor:
    """Match the steps to those of training."""
    modality, time, layer = sensor.modality, sensor.time, sensor.layers[0]
    calendar, shape = fitted.calendar, fitted.entry.shape
    entry = None if calendar is None else calendar.entry
    if time not in layer.coords:
        if entry is None:
            return sensor
        raise ValueError(
            f"Modality {modality!r} was trained with the times of each row, so the "
            f"cube must have them as the coordinate {time!r}."
        )
    values = layer.coords[time].values
    if calendar is not None and entry is not None:
        n_steps = shape[0]
        if len(values) > n_steps:
            raise ValueError(
                f"The cube has {len(values)} dates for modality {modality!r}, but rows "
                f"have only {n_steps} in fit. Pick some with cube.isel({time}=[...])."
            )
        times = pd.Series(values).reindex(range(n_steps)).to_numpy()
        nothing = np.full((1, *shape), np.nan)
        one = {entry: times[np.newaxis]}
        calendar.days(one, nothing, np.ones(1, dtype=bool))  # raises on invalid times
        padding = n_steps - len(values)
        unsure = match_steps(modality, values, None)[1]
        return replace(sensor, padding=padding, entry=entry, times=times, unsure=unsure)
    places, unsure = match_steps(modality, values, fitted.entry.axes[0])
    # A layer without time passes here; on_one_grid raises for it.
    layers = [x.isel({time: places}, missing_dims="ignore") for x in sensor.layers]
    return replace(sensor, layers=layers, unsure=unsure)


def places_on_grid(grid: pd.Index[Any], came: pd.Index[Any]) -> Any:
    """Return the positions of a grid's pixels in `came`, to 1/100 pixel, or None."""
    is_float = len(grid) > 1 and "f" in grid.dtype.kind + came.dtype.kind
    pixel = np.abs(np.diff(grid)).min() if is_float else 0.0
    return places_of(grid, came, pixel / 100)


def on_one_grid(
    sensors: Sequence[RasterSensor], space: Sequence[Hashable]
) -> list[RasterSensor]:
    """Put the pixels of all sensors in the order of the first sensor."""
    sizes = [sensors[0].layers[0].sizes[dim] for dim in space]
    known: dict[Hashable, tuple[str, pd.Index[Any]]] = {}
    placed = []
    for sensor in sensors:
        dims = {*space, *([] if sensor.time is None else [sensor.time])}
        for layer in sensor.layers:
            same = [layer.sizes.get(dim) for dim in space] == sizes
            if not space or not same or set(layer.dims) != dims:
                raise ValueError(
                    f"The bands of {sensor.modality!r}, of sizes {dict(layer.sizes)}, "
                    f"are not all on one grid over {list(space)}. Resample them first."
                )
        coords, moves = sensor.layers[0].coords, {}
        for dim in [dim for dim in space if dim in coords]:
            own = pd.Index(coords[dim].values, tupleize_cols=False)
            name, one = known.setdefault(dim, (sensor.modality, own))
            moves[dim] = places_on_grid(one, own)
            if moves[dim] is None:
                at = int(np.argmax(one != own))
                raise ValueError(
                    f"{name!r} and {sensor.modality!r} are not on one grid, to a "
                    f"hundredth of a pixel: {dim}[{at}] is {one[at]} and {own[at]}. "
                    "Resample them to one grid first."
                )
            in_order = np.arange(len(own))
            if sensor.window and not np.array_equal(in_order[moves[dim]], in_order):
                raise ValueError(
                    f"The cube of {sensor.modality!r}, from which images are cut, has "
                    f"another order along {dim!r} than the cube of {name!r}. Reorder "
                    f"the cube of {name!r}, for example with "
                    f"cube.sel({dim}=other.{dim}, method='nearest')."
                )
        layers = [layer.isel(moves) for layer in sensor.layers]
        window = {dim: sensor.window[dim] for dim in space if dim in sensor.window}
        placed.append(replace(sensor, layers=layers, window=window))
    return placed


# -- from pixels to predictions ------------------------------------------------------


@dataclass(frozen=True)
class _Answers:
    """The content of a map, and how to compute a block of it from pixels."""

    what: str
    sensors: list[RasterSensor]  # without their layers
    dtype: np.dtype[Any]
    fill: Any
    numbers: Array | None  # map value of each class, for a map of classes
    axis: tuple[str, Any] | None  # name and coordinate of the axis before space
    attrs: dict[str, Any]
    level: float = 0.9

    @classmethod
    def of(
        cls, model: Any, what: str, sensors: Sequence[RasterSensor], level: float
    ) -> _Answers:
        """Describe the map of a co-learning model."""
        kept = [replace(s, layers=[]) for s in sensors]
        classes: Any = getattr(model, "classes_", None)
        if what == "predict" and model._target.task == "cross_entropy":
            return cls._of_classes(classes, kept)
        axis: tuple[str, Any] | None = None
        single = model._target.task == "cross_entropy"
        if what == "predict_set_size":
            fill = np.min_scalar_type(len(classes)).type(0)
            attrs = {"_FillValue": fill}
            return cls(what, kept, fill.dtype, fill, None, axis, attrs, level)
        if what == "interval":
            axis = ("bound", np.array(["lower", "upper"]))
        elif what == "transform":
            modalities = list(model._names_modalities())
            names = np.reshape(model.get_feature_names_out(), (len(modalities), -1))
            places = [modalities.index(s.modality) for s in sensors]
            axis = ("feature", names[places].ravel().astype(str))
        elif what == "applicability":
            model._check_areas([s.modality for s in sensors])
        elif classes is not None and not (single and what == "entropy"):
            axis = ("label", classes)
        elif classes is None and not model._target.flat:
            axis = ("output", np.arange(model.n_outputs_))
        if what == "predict" and classes is not None:
            fill, attrs = np.uint8(255), {"_FillValue": np.uint8(255)}
            return cls(what, kept, fill.dtype, fill, None, axis, attrs)
        nan = np.float32("nan")
        return cls(what, kept, nan.dtype, nan, None, axis, {}, level)

    @classmethod
    def _of_classes(cls, classes: Array, kept: list[RasterSensor]) -> _Answers:
        numbers, fill = _numbers(classes)
        attrs = {
            "flag_values": numbers.astype(fill.dtype),
            "flag_meanings": " ".join(str(c).replace(" ", "_") for c in classes),
            "_FillValue": fill,
        }
        return cls("predict", kept, fill.dtype, fill, numbers, None, attrs)

    @classmethod
    def of_other(
        cls, model: Any, what: str, sensors: Sequence[RasterSensor]
    ) -> _Answers:
        """Describe the map of another estimator, with one label or value per pixel."""
        kept = [replace(s, layers=[]) for s in sensors]
        classes = model.classes_ if is_classifier(model) else None
        if what == "predict" and classes is not None:
            return cls._of_classes(classes, kept)
        nan = np.float32("nan")
        axis = None if classes is None else ("label", classes)
        return cls(what, kept, nan.dtype, nan, None, axis, {})

    def of_pixels(self, model: Any, *arrays: Array) -> Array:
        """Return predictions ([n_answers,] ...) from bands ([n_timesteps,] ...)."""
        # glibc keeps freed memory up to the size of the largest block freed so far.
        # Free a large one, which is never touched, so that batches reuse memory.
        np.empty(2**24, dtype=np.uint8)
        first, given = self.sensors[0], iter(arrays)
        split = [list(islice(given, len(sensor.missing))) for sensor in self.sensors]
        space = arrays[0].shape[first.time is not None :]
        if first.window:
            sides = zip(space, first.edges, strict=True)
            space = tuple(size - 2 * edge for size, edge in sides)
        for sensor, own in zip(self.sensors, split, strict=True):
            if not sensor.window:
                own[:] = [a.reshape(*a.shape[: a.ndim - len(space)], -1) for a in own]
        lead = () if self.axis is None else (len(self.axis[1]),)
        out = np.full((*lead, math.prod(space)), self.fill, self.dtype)
        at_once = PIXELS_AT_ONCE
        for sensor in self.sensors:
            of_a_row = math.prod(sensor.window.values()) * len(sensor.missing)
            if sensor.window:
                at_once = min(at_once, max(1, VALUES_AT_ONCE // of_a_row))
        for start in range(0, out.shape[-1], at_once):
            pixels = slice(start, start + at_once)
            some = np.arange(*pixels.indices(out.shape[-1]))
            places = np.unravel_index(some, space)
            values = {
                sensor.modality: sensor.chips(own, places)
                if sensor.window
                else sensor.rows(own, pixels)
                for sensor, own in zip(self.sensors, split, strict=True)
            }
            there = np.any([present_rows(rows) for rows in values.values()], axis=0)
            if there.any():
                if not there.all():
                    values = {m: rows[there] for m, rows in values.items()}
                X = ModalityDict(values)
                for sensor in self.sensors:
                    if sensor.columns is not None:
                        own = X[sensor.modality]
                        X[sensor.modality] = pd.DataFrame(own, columns=sensor.columns)
                    if sensor.entry is not None and sensor.times is not None:
                        X[sensor.entry] = np.tile(sensor.times, (len(X), 1))
                out[..., pixels][..., there] = self._found(model, X).T
        return out.reshape(*lead, *space)

    def _found(self, model: Any, X: ModalityDict) -> Array:
        """Return the predictions (n,) or (n, n_answers) for rows."""
        if self.numbers is not None and not isinstance(model, Predictor):
            # The predicted class need not be the most probable one.
            places = np.searchsorted(model.classes_, model.predict(X))
            return np.asarray(self.numbers[places])
        if self.numbers is not None:
            numbers: Array = self.numbers[model.predict_proba(X).argmax(axis=1)]
            return numbers
        level = {"confidence_level": self.level}
        if self.what == "interval":
            return np.reshape(model.predict_interval(X, **level), (len(X), 2))
        if self.what == "predict_set_size":
            return np.asarray(model.predict_set(X, **level).sum(axis=1))
        found: Array = getattr(model, NAMES[self.what][1])(X)
        if self.what != "entropy":
            return found
        if self.axis is None:
            return np.asarray(entr(found).sum(axis=1))
        return np.asarray(entr(found) + entr(1 - found))


def _numbers(classes: Array) -> tuple[Array, Any]:
    """Return the map value of each class, and the nodata value in the map's type."""
    values = np.asarray(classes.tolist())  # integers may have dtype object
    numbers = values.astype(np.int64) if values.dtype.kind in "iubf" else values
    if (numbers != values).any() or numbers is values:
        numbers = np.arange(len(classes))
    for dtype in (np.uint8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        if numbers.min() >= limits.min and numbers.max() < limits.max:
            return numbers, dtype(limits.max)
    # GeoTIFF stores nodata values as text of a double, exact up to 2**53.
    return numbers, np.int64(next(n for n in count(2**53, -1) if n not in numbers))


def _predict_block(*arrays: Array, model: Any, answers: _Answers) -> Array:
    """Compute a block with one torch thread, as dask has a thread for each core."""
    with one_thread(), _keep_freed_memory():
        return answers.of_pixels(model, *arrays)


@contextmanager
def _keep_freed_memory() -> Iterator[None]:
    """Let a dask worker keep freed memory while it computes a block.

    Workers run with MALLOC_TRIM_THRESHOLD_=65536, so glibc would return each tensor's
    memory, and allocating it again would dominate the run time.
    """
    limit = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    mallopt = None
    if sys.platform == "linux" and limit.isdecimal():
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(M_TRIM_THRESHOLD, min(int(limit), KEPT_BYTES))
            mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)


def _lazily(
    model: Any,
    sensors: Sequence[RasterSensor],
    space: Sequence[Hashable],
    answers: _Answers,
    chunks: Any,
) -> Any:
    import dask.array as da
    from dask.array.core import unify_chunks
    from dask.base import tokenize
    from dask.delayed import delayed

    arguments: list[Any] = []
    for i, sensor in enumerate(sensors):
        time = [] if sensor.time is None else [f"time{i}"]
        own = chunks if isinstance(chunks, Mapping) else dict.fromkeys(space, chunks)
        own = {dim: own[dim] for dim in space if own.get(dim) is not None}
        if sensor.time is not None:
            own[sensor.time] = -1  # a row needs all steps
        for layer in sensor.ordered(space):
            arguments += [layer.chunk(own).data, (*time, *space)]
    sizes, arrays = unify_chunks(*arguments)  # type: ignore[no-untyped-call]
    edges = [dict(zip(s.window, s.edges, strict=True)) for s in sensors]
    blocks = {
        dim: _merge_small_chunks(max(own.get(dim, 0) for own in edges), sizes[dim])
        for dim in space
    }
    arguments[::2] = [
        array.rechunk(tuple(blocks.get(dim, -1) for dim in dims))
        for array, dims in zip(arrays, arguments[1::2], strict=True)
    ]
    wanted = [(s, missing) for s in sensors for missing in s.missing]
    for i, (sensor, missing) in enumerate(wanted):
        if sensor.window:
            arguments[2 * i] = _with_lazy_edges(sensor, arguments[2 * i], missing)
    axes = {} if answers.axis is None else {answers.axis[0]: len(answers.axis[1])}
    token = tokenize(contents(model))
    return da.blockwise(  # type: ignore[no-untyped-call]
        _predict_block,
        (*axes, *space),
        *arguments,
        # Delayed, so that each worker receives the model once. The name lets
        # `write_map` recognise the same map in another run.
        model=delayed(model, name=f"model-{token}", traverse=False),
        answers=answers,
        new_axes=axes,
        adjust_chunks=blocks,
        align_arrays=False,
        concatenate=True,
        dtype=answers.dtype,
        meta=np.empty((0,) * (len(axes) + len(space)), answers.dtype),
    )


def _merge_small_chunks(edge: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Merge chunks smaller than the edge that neighbouring windows need."""
    from dask.array.overlap import ensure_minimum_chunksize

    if sum(sizes) <= edge:
        return (sum(sizes),)
    made = ensure_minimum_chunksize(edge, sizes)  # type: ignore[no-untyped-call]
    return tuple(made)


def _with_lazy_edges(sensor: RasterSensor, band: Any, missing: Iterable[float]) -> Any:
    """Return a band as floats, with chunks that overlap by the edges."""
    import dask.array as da
    from dask.array.overlap import overlap

    known = (sensor.modality, sorted(missing))
    empty = floats(np.zeros((1, 1), band.dtype), *known)[:0]
    band = band.map_blocks(floats, *known, dtype=empty.dtype, meta=empty)
    depth = {0: 0, 1: 0}
    for axis, edge in enumerate(sensor.edges):
        if band.numblocks[axis] > 1:
            depth[axis] = edge
        else:  # the only chunk may be smaller than the edge
            widths = [(0, 0), (0, 0)]
            widths[axis] = (edge, edge)
            band = da.pad(band, widths, constant_values=np.nan).rechunk({axis: -1})
    if not any(depth.values()):
        return band
    return overlap(band, depth, dict.fromkeys(depth, np.nan))  # type: ignore[no-untyped-call]


# -- what comes out ------------------------------------------------------------------


def _map_of(
    data: Any, source: Any, grid: Any, space: Sequence[Hashable], answers: _Answers
) -> Any:
    import xarray as xr

    attrs = {k: v for k, v in source.attrs.items() if k not in BAND_ATTRIBUTES}
    coords = {k: c for k, c in grid.coords.items() if set(c.dims) <= set(space)}
    mapping = grid.attrs.get("grid_mapping", grid.encoding.get("grid_mapping"))
    if mapping is not None:
        attrs["grid_mapping"] = mapping
        if mapping not in coords and mapping in getattr(source, "variables", ()):
            coords[mapping] = source[mapping]
    dims = list(space)
    if answers.axis is not None:
        dims.insert(0, answers.axis[0])
        coords[answers.axis[0]] = answers.axis[1]
    attrs |= answers.attrs
    return xr.DataArray(data, coords, dims, NAMES[answers.what][0], attrs)
