"""Maps: a fitted model on every pixel of a raster cube."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from sklearn_colearn.modalities import ModalityDict
from sklearn_colearn.prediction import Predictor
from sklearn_colearn.schema import numeric_values, present_rows

__all__ = ["predict_raster"]

Array = np.ndarray[Any, Any]
Cube: TypeAlias = Any  # xarray is not imported until it is needed
Bands: TypeAlias = "Sequence[Hashable] | Mapping[str, Sequence[Hashable]] | None"

#: Pixels that are read into rows at once: many batches of the network, little memory.
PIXELS_AT_ONCE = 2**13
#: What the answers are called, by what was asked for.
NAMES = {
    "predict": "prediction",
    "predict_proba": "probability",
    "transform": "embedding",
}
#: Attributes of a band that are not true of a map of answers.
OF_A_BAND = {
    *("units", "long_name", "standard_name", "_FillValue", "missing_value", "nodata"),
    *("scale_factor", "add_offset", "valid_min", "valid_max", "valid_range", "dtype"),
    *("flag_values", "flag_meanings", "flag_masks", "cell_methods", "band_names"),
}


def predict_raster(
    model: Predictor,
    cube: Cube | Mapping[str, Cube],
    *,
    bands: Bands = None,
    nodata: float | Mapping[str, float] | None = None,
    chunks: Any = None,
    what: str = "predict",
) -> Cube:
    """Predict every pixel of a raster cube.

    Parameters
    ----------
    model : SingleModalityClassifier, SingleModalityRegressor, CoLearnClassifier or \
            CoLearnRegressor
        Fitted. The first two, from `export`, use one sensor; the others use the
        sensors that a pixel has, or the one that ``predict_modality`` says.
    cube : xarray.Dataset, xarray.DataArray, or mapping of str to either
        A Dataset whose variables are bands, or a DataArray with a dimension of bands
        (``"band"``, ``"bands"`` or ``"variable"``); one for all sensors, or one for
        each by the name of its modality, all on the same grid. Time series have a
        dimension ``"time"`` or ``"t"`` too, with as many steps as in training. All
        other dimensions are of space, ``y`` and ``x`` say; their order does not
        matter. In memory, or chunked by dask.
    bands : list of hashable, or mapping of str to list of hashable, default=None
        The bands of the sensor in the order of training, by name; by modality if the
        model has several, of which some may be left out. None: the names that the
        model saw in training, if it saw names, or else all that a DataArray has.
    nodata : float, mapping of str to float, or None, default=None
        What stands for a missing value in the cube, beside NaN and the model's own
        ``missing_value``; for all sensors or by modality.
    chunks : int, 'auto', mapping or None, default=None
        Chunks of space to compute one by one, as :meth:`xarray.Dataset.chunk` takes
        them, such as ``{"y": 512, "x": 512}``. None: the cube's own, or the whole if
        it is in memory.
    what : {'predict', 'predict_proba', 'transform'}, default='predict'
        Classes or values, probabilities, or representations.

    Returns
    -------
    xarray.DataArray
        Over the dimensions of space, in the cube's order, with its coordinates,
        attributes and reference system; computed if the cube is in memory and
        `chunks` is None, else lazy. A pixel in which all values of all sensors are
        missing has no data. What there is depends on `what`:

        - classes: integer labels as they are, others as numbers from 0, in the
          smallest integer type; no data is its largest number, ``_FillValue``. The
          attributes ``flag_values`` and ``flag_meanings`` say which is which.
        - the labels of a multi-label classifier: 0 or 1 along ``label``, no data 255.
        - values of a regressor: float32, along ``output`` if there are several.
        - probabilities: float32, along ``class`` (or ``label``).
        - representations: float32, along ``feature``.

    Raises
    ------
    ValueError
        If the bands, steps or dimensions are not those of the model, the grids of
        sensors differ, or values are infinite.
    ImportError
        If xarray is not installed, or dask where chunks are asked for.

    Notes
    -----
    Memory is bounded by the chunks under way: dask works on as many at a time as it
    has threads. In its threads torch uses one thread each; in this process as many as
    it had. Distributed, each worker gets the model once.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn_colearn import CoLearnClassifier, predict_raster
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
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
    if not isinstance(model, Predictor):
        raise TypeError(
            "predict_raster takes an estimator of this package, or what its export "
            f"gives; got {type(model).__name__}."
        )
    check_is_fitted(model)
    if what not in NAMES or not hasattr(model, what):
        valid = [name for name in NAMES if hasattr(model, name)]
        raise ValueError(f"what={what!r} is none of {valid}.")
    sensors = _read_sensors(model, cube, bands, nodata)
    grid = sensors[0].layers[0]
    space = tuple(dim for dim in grid.dims if dim != sensors[0].time)
    _check_grids(sensors, space)
    answers = _Answers.of(model, what, sensors)
    if chunks is not None or any(
        layer.chunks for sensor in sensors for layer in sensor.layers
    ):
        data = _lazily(model, sensors, space, answers, chunks)
    else:
        arrays = [layer.values for s in sensors for layer in s.ordered(space)]
        data = answers.of_pixels(model, *arrays)
    return _map_of(data, cube, grid, space, answers)


# -- what comes in -------------------------------------------------------------------


@dataclass(frozen=True)
class _Sensor:
    """The bands of one modality, and how to make rows of them."""

    modality: str
    layers: list[Any]  # DataArrays over time, if it is a series, and space
    time: Hashable
    missing: tuple[float | None, ...]  # what stands for NaN
    entry: str | None
    times: Array | None

    def ordered(self, space: Sequence[Hashable]) -> list[Any]:
        order = space if self.time is None else (self.time, *space)
        return [layer.transpose(*order) for layer in self.layers]

    def rows(self, arrays: Sequence[Array], pixels: slice) -> Array:
        """Return pixels as rows: (n, n_timesteps, n_bands) or (n, n_bands)."""
        flat = [array[..., pixels].T for array in arrays]
        rows = np.stack(flat, axis=-1)
        for value in self.missing:
            rows = numeric_values(self.modality, rows, value)
        return rows


def _read_sensors(
    model: Predictor,
    cube: Cube | Mapping[str, Cube],
    bands: Bands,
    nodata: float | Mapping[str, float] | None,
) -> list[_Sensor]:
    import xarray as xr

    is_cube = isinstance(cube, xr.Dataset | xr.DataArray)
    if not is_cube and not (
        isinstance(cube, Mapping)
        and all(isinstance(c, xr.Dataset | xr.DataArray) for c in cube.values())
    ):
        raise TypeError(
            "The cube is an xarray.Dataset or DataArray, or a dict of these by "
            f"modality; got {type(cube).__name__}."
        )
    chosen: dict[str, Any]
    if isinstance(bands, Mapping):
        chosen = dict(bands)
    elif len(model.modalities_) == 1:
        chosen = {model.modalities_[0]: bands}
    elif bands is None:
        chosen = dict.fromkeys(model.modalities_ if is_cube else cube)
    else:
        raise ValueError(
            f"The model has the modalities {model.modalities_}; give bands= by "
            "modality: {'S1': ['vv', 'vh'], ...}."
        )
    unknown = [m for m in chosen if m not in model.modalities_]
    if unknown:
        raise ValueError(
            f"Unknown modality {unknown[0]!r}; fit saw {model.modalities_}."
        )
    if model.predict_modality is not None:
        if model.predict_modality not in chosen:
            raise ValueError(
                f"The prediction is to be from modality {model.predict_modality!r}, "
                f"but the bands are of {list(chosen)}."
            )
        chosen = {model.predict_modality: chosen[model.predict_modality]}
    sensors = []
    for modality in sorted(chosen, key=model.modalities_.index):
        if not is_cube and modality not in cube:
            raise ValueError(f"There is no cube of modality {modality!r}.")
        own = cube if is_cube else cube[modality]
        value = nodata.get(modality) if isinstance(nodata, Mapping) else nodata
        sensors.append(_read_sensor(model, modality, own, chosen[modality], value))
    return sensors


def _read_sensor(
    model: Predictor,
    modality: str,
    cube: Cube,
    bands: Sequence[Hashable] | None,
    nodata: float | None,
) -> _Sensor:
    shape = model.input_shapes_[modality]
    if len(shape) > 2:
        raise ValueError(
            f"Modality {modality!r} is of images {shape}; predict_raster is for models "
            "of single pixels."
        )
    layers = _layers(model, modality, cube, bands)
    time = None
    if len(shape) == 2:
        names = [dim for dim in layers[0].dims if str(dim).lower() in ("time", "t")]
        if not names:
            raise ValueError(
                f"Modality {modality!r} is a time series of {shape[0]} steps, but its "
                f"bands have the dimensions {layers[0].dims}, none of which is 'time' "
                "or 't'."
            )
        time = names[0]
    elif any(str(dim).lower() in ("time", "t") for dim in layers[0].dims):
        raise ValueError(
            f"Modality {modality!r} has no time steps, but its bands have: pick one, "
            "as by cube.isel(time=0)."
        )
    came = (*([] if time is None else [layers[0].sizes[time]]), len(layers))
    if came != shape:
        what = ("time steps and bands", "bands")[len(shape) == 1]
        raise ValueError(
            f"Modality {modality!r} has {came} {what} in the cube; fit saw {shape}."
        )
    entry, times = None, None
    if modality in model._calendars:
        calendar = model._calendars[modality]
        entry = calendar.entry
        if entry is not None and time not in layers[0].coords:
            raise ValueError(
                f"Modality {modality!r} was trained with the times of each row, so the "
                f"cube needs them as the coordinate {time!r}."
            )
    if entry is not None:
        times = layers[0].coords[time].values
        one = ModalityDict({entry: times[np.newaxis]})
        calendar.days(one, np.zeros((1, *shape)), np.ones(1, dtype=bool))  # or refuse
    missing = (nodata, model._missing_value(modality))
    return _Sensor(modality, layers, time, missing, entry, times)


def _layers(
    model: Predictor, modality: str, cube: Cube, bands: Sequence[Hashable] | None
) -> list[Any]:
    """Return the bands, in the order of training."""
    if isinstance(bands, str):
        raise ValueError(f"bands= is a list of names; got {bands!r}.")
    if bands is None:
        labels = model._schema.labels.get(modality) or [model._schema.names[modality]]
        bands = labels[-1]
    if hasattr(cube, "data_vars"):
        if bands is None:
            raise ValueError(
                f"The model does not know the names of the bands of {modality!r}; give "
                "them by bands=, in the order of training."
            )
        absent = [band for band in bands if band not in cube.data_vars]
        if absent:
            raise ValueError(
                f"The cube lacks the bands {absent} of {modality!r}; it has "
                f"{list(cube.data_vars)}."
            )
        return [cube[band] for band in bands]
    names = [d for d in cube.dims if d in ("band", "bands", "variable")]
    if not names:
        raise ValueError(
            f"The cube has the dimensions {cube.dims}, none of which is 'band', "
            "'bands' or 'variable'."
        )
    dim = names[0]
    if bands is None:
        places = list(range(cube.sizes[dim]))
    elif dim not in cube.coords:
        raise ValueError(f"The bands along {dim!r} have no names to find {bands} by.")
    else:
        held = cube.coords[dim].values.tolist()
        absent = [band for band in bands if band not in held]
        if absent:
            raise ValueError(
                f"The cube lacks the bands {absent} of {modality!r}; it has {held}."
            )
        places = [held.index(band) for band in bands]
    return [cube.isel({dim: place}, drop=True) for place in places]


def _check_grids(sensors: Sequence[_Sensor], space: Sequence[Hashable]) -> None:
    """Refuse layers that are not all on the grid of the first."""
    first = sensors[0].layers[0]
    for sensor in sensors:
        for layer in sensor.layers:
            dims = [dim for dim in layer.dims if dim != sensor.time]
            same = set(dims) == set(space) and all(
                layer.sizes[dim] == first.sizes[dim]
                and (
                    dim not in layer.coords
                    or dim not in first.coords
                    or np.array_equal(layer.coords[dim], first.coords[dim])
                )
                for dim in space
            )
            if not space or not same:
                raise ValueError(
                    f"The bands of {sensor.modality!r}, of sizes {dict(layer.sizes)}, "
                    "are not all on one grid, with the same coordinates of "
                    f"{list(space)}; resample them first."
                )


# -- from pixels to answers ----------------------------------------------------------


@dataclass(frozen=True)
class _Answers:
    """What the map holds, and how a block of pixels becomes a block of it."""

    what: str
    sensors: list[_Sensor]  # without their layers
    dtype: np.dtype[Any]
    fill: Any
    #: The numbers of the classes on the map, where it shows one class for each pixel.
    numbers: Array | None
    #: The name and coordinate of the dimension before those of space, if any.
    axis: tuple[str, Any] | None
    attrs: dict[str, Any]

    @classmethod
    def of(cls, model: Any, what: str, sensors: Sequence[_Sensor]) -> _Answers:
        """Tell what the map of a model holds."""
        kept = [replace(s, layers=[None] * len(s.layers)) for s in sensors]
        classes: Any = getattr(model, "classes_", None)
        if what == "predict" and model._task == "cross_entropy":
            numbers, dtype = _numbers(classes)
            attrs = {
                "flag_values": numbers.astype(dtype),
                "flag_meanings": " ".join(str(c).replace(" ", "_") for c in classes),
            }
            fill = dtype.type(np.iinfo(dtype).max)
            attrs["_FillValue"] = fill
            return cls(what, kept, dtype, fill, numbers, None, attrs)
        axis: tuple[str, Any] | None = None
        if what == "transform":
            names = np.reshape(
                model.get_feature_names_out(), (len(model._names_modalities()), -1)
            )
            places = [model._names_modalities().index(s.modality) for s in sensors]
            axis = ("feature", names[places].ravel().astype(str))
        elif classes is not None:
            axis = ("class" if model._task == "cross_entropy" else "label", classes)
        elif not model._flat_target:
            axis = ("output", np.arange(model.n_outputs_))
        if what == "predict" and classes is not None:
            fill = np.uint8(255)
            return cls(
                what, kept, np.dtype("u1"), fill, None, axis, {"_FillValue": fill}
            )
        return cls(what, kept, np.dtype("f4"), np.float32("nan"), None, axis, {})

    def of_pixels(self, model: Any, *arrays: Array) -> Array:
        """Return the answers for a block of space.

        Parameters
        ----------
        model : Predictor
            The model.
        *arrays : ndarray of shape (n_timesteps, ...) or (...)
            All bands of all sensors, over the same space.

        Returns
        -------
        ndarray of shape (n_answers, ...) or (...)
        """
        _keep_freed_memory()
        split, start = [], 0
        for sensor in self.sensors:
            own = arrays[start : start + len(sensor.layers)]
            start += len(sensor.layers)
            split.append([_flat(array, sensor.time is not None) for array in own])
        first = self.sensors[0].time is not None
        space = arrays[0].shape[1:] if first else arrays[0].shape
        lead = () if self.axis is None else (len(self.axis[1]),)
        out = np.full((*lead, int(np.prod(space))), self.fill, self.dtype)
        for start in range(0, out.shape[-1], PIXELS_AT_ONCE):
            pixels = slice(start, start + PIXELS_AT_ONCE)
            values = {
                sensor.modality: sensor.rows(own, pixels)
                for sensor, own in zip(self.sensors, split, strict=True)
            }
            there = np.any([present_rows(rows) for rows in values.values()], axis=0)
            if there.any():
                if not there.all():
                    values = {m: rows[there] for m, rows in values.items()}
                out[..., pixels][..., there] = self._ask(model, values).T
        return out.reshape(*lead, *space)

    def _ask(self, model: Any, values: dict[str, Array]) -> Array:
        X = _with_times(self.sensors, values)
        if self.numbers is None:
            answers: Array = getattr(model, self.what)(X)
            return answers
        places = model.predict_proba(X).argmax(axis=1)
        numbers: Array = self.numbers[places]
        return numbers


def _keep_freed_memory() -> None:
    """Have what a batch takes and frees ready for the next one.

    glibc learns from the largest block that was freed, up to 32 MiB, what to keep.
    Without any, it gives a network's tensors back to the system after each batch, and
    time goes into asking for them again, page by page. A block that nothing is written
    to takes no memory. Elsewhere this does nothing.
    """
    np.empty(2**24, dtype=np.uint8)


def _flat(array: Array, is_series: bool) -> Array:
    return array.reshape(len(array), -1) if is_series else array.reshape(-1)


def _with_times(
    sensors: Sequence[_Sensor], values: Mapping[str, Array]
) -> ModalityDict:
    X = ModalityDict(values)
    for sensor in sensors:
        if sensor.entry is not None and sensor.times is not None:
            times = np.broadcast_to(sensor.times, (len(X), len(sensor.times)))
            X[sensor.entry] = times
    return X


def _numbers(classes: Array) -> tuple[Array, np.dtype[Any]]:
    """Return the number of each class on a map, and the type that holds them."""
    numbers = classes if classes.dtype.kind in "iub" else np.arange(len(classes))
    numbers = numbers.astype(np.int64)
    for dtype in map(np.dtype, ("u1", "i2", "i4", "i8")):
        limits = np.iinfo(dtype)
        if numbers.min() >= limits.min and numbers.max() < limits.max:
            break
    return numbers, dtype


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use this thread alone: dask has a thread for each core."""
    # torch sets a new thread's number when first asked for it: before the limit, then.
    torch.get_num_threads()
    # Of the calling thread only, unlike torch.set_num_threads.
    with threadpool_limits(1, user_api="openmp"):
        yield


def _in_a_worker(
    *arrays: Array, model: Predictor, of_pixels: Callable[..., Array]
) -> Array:
    with _one_thread():
        return of_pixels(model, *arrays)


def _lazily(
    model: Predictor,
    sensors: Sequence[_Sensor],
    space: Sequence[Hashable],
    answers: _Answers,
    chunks: Any,
) -> Any:
    import dask.array as da
    from dask.delayed import delayed

    arguments: list[Any] = []
    for i, sensor in enumerate(sensors):
        for layer in sensor.ordered(space):
            if isinstance(chunks, Mapping):
                own = {dim: chunks[dim] for dim in space if dim in chunks}
            else:
                own = {} if chunks is None else dict.fromkeys(space, chunks)
            if sensor.time is not None:
                own[sensor.time] = -1  # a row has all steps
            time = [] if sensor.time is None else [f"time{i}"]
            arguments += [layer.chunk(own).data, (*time, *space)]
    axes = [] if answers.axis is None else [answers.axis[0]]
    return da.blockwise(  # type: ignore[no-untyped-call]
        _in_a_worker,
        (*axes, *space),
        *arguments,
        # Delayed: one task that all others take it from, so a worker has it once.
        model=delayed(model, traverse=False),
        of_pixels=answers.of_pixels,
        new_axes={} if answers.axis is None else {axes[0]: len(answers.axis[1])},
        concatenate=True,
        dtype=answers.dtype,
        meta=np.empty((0,) * (len(axes) + len(space)), answers.dtype),
    )


# -- what comes out ------------------------------------------------------------------


def _map_of(
    data: Any, cube: Any, grid: Any, space: Sequence[Hashable], answers: _Answers
) -> Any:
    import xarray as xr

    source = cube if hasattr(cube, "attrs") else next(iter(cube.values()))
    attrs = {k: v for k, v in source.attrs.items() if k not in OF_A_BAND}
    coords = {
        name: coord
        for name, coord in grid.coords.items()
        if set(coord.dims) <= set(space)
    }
    mapping = grid.attrs.get("grid_mapping", grid.encoding.get("grid_mapping"))
    if mapping is not None:
        attrs["grid_mapping"] = mapping
        if mapping not in coords and mapping in getattr(source, "variables", ()):
            coords[mapping] = source[mapping]
    dims = list(space)
    if answers.axis is not None:
        dims.insert(0, answers.axis[0])
        coords[answers.axis[0]] = answers.axis[1]
    return xr.DataArray(
        data,
        dims=dims,
        coords=coords,
        attrs={**attrs, **answers.attrs},
        name=NAMES[answers.what],
    )
