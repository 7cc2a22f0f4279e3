"""Sample pixels of raster cubes as unlabelled pairs."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state, check_scalar

from sklearn_colearn.batches import BLOCK
from sklearn_colearn.inputs import Array, present_rows
from sklearn_colearn.map_files import check_zarr
from sklearn_colearn.modality_dict import ModalityDict
from sklearn_colearn.raster import (
    RasterSensor,
    places_on_grid,
    read_cubes,
)

__all__ = ["sample_pixels"]

#: Side in pixels of the tiles in which cubes without chunks are read.
SIDE = 512


def sample_pixels(
    cubes: Mapping[str, Any],
    n: int,
    *,
    bands: Mapping[str, Sequence[Hashable]] | None = None,
    chip_size: Mapping[str, int | tuple[int, int]] | None = None,
    where: Any = None,
    nodata: float | Sequence[float] | Mapping[str, Any] | None = None,
    random_state: int | np.random.RandomState | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw pixels with values of at least two sensors, for ``X_unlabeled`` of `fit`.

    Parameters
    ----------
    cubes : dict of str to xarray.Dataset or xarray.DataArray
        Cubes by modality, as for :func:`predict_raster`, on one grid.
    n : int
        Number of pixels.
    bands : dict of str to list of hashable, default=None
        Band names by modality, in the order of training. None takes all bands.
    chip_size : dict of str to int or (int, int), default=None
        Height and width in pixels of images around each pixel, as in
        :func:`predict_raster`. Other modalities have single pixels.
    where : xarray.DataArray of bool, default=None
        Mask of the pixels that may be drawn, over the spatial dimensions or one of
        them, such as ``cube.x < 664_500``. None allows all.
    nodata : float, list of float, or dict of str to either, default=None
        Nodata values besides NaN and those that the cubes declare.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.
    out : path-like, default=None
        Zarr store for more pixels than fit in memory. An existing one is replaced at
        the end.

    Returns
    -------
    ModalityDict or xarray.Dataset
        Float32 arrays in random order, NaN where missing: (n, n_timesteps, n_bands),
        (n, n_bands) for cubes without time, or (n, height, width, n_bands) for
        modalities in `chip_size`. ``ids`` are the pixel coordinates, in the order of
        the dimensions. With `out`, a lazy Dataset of the store.

    Raises
    ------
    ValueError
        If there are fewer than two cubes, they are on different grids, no pixel has
        values of two sensors, a band is absent, or images would be cut from series.
    TypeError
        If a cube is not an xarray object.
    ImportError
        If `out` is given, and zarr is not installed or xarray is older than 2024.11.

    Warns
    -----
    UserWarning
        If fewer than `n` pixels have values of two sensors; all of them are returned.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn_colearn import sample_pixels
    >>> radar = xr.Dataset({b: (("time", "y", "x"), np.ones((6, 9, 9)))
    ...                     for b in ("VV", "VH")})
    >>> terrain = xr.Dataset({"slope": (("y", "x"), np.ones((9, 9)))})
    >>> sample_pixels({"S1": radar, "terrain": terrain}, 20, random_state=0)
    ModalityDict(S1: (20, 6, 2) float32, terrain: (20, 1) float32)
    """
    check_scalar(n, "n", Integral, min_val=1)
    if out is not None:
        check_zarr("sample_pixels(..., out=)")
    chips = {m: _height_and_width(m, size) for m, size in (chip_size or {}).items()}
    sensors, space = read_cubes(cubes, bands, nodata, chips)
    if unknown := [m for m in chips if m not in cubes]:
        raise ValueError(
            f"chip_size= contains {unknown}, but cubes= only {list(cubes)}."
        )
    if len(cubes) < 2:
        raise ValueError(
            f"cubes= must contain at least two modalities; got {list(cubes)}."
        )
    grid = sensors[0].layers[0]
    sizes = tuple(grid.sizes[dim] for dim in space)
    allowed = _allowed(where, grid, space)
    seed = None if random_state is None else check_random_state(random_state)
    rng = np.random.default_rng(None if seed is None else seed.randint(2**31, size=4))
    with ExitStack() as stack:
        folder = None
        if out is not None:  # on the disk of the store, which has room for it
            parent = Path(out).absolute().parent
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
        values = {}
        for i, sensor in enumerate(sensors):
            steps = [sensor.layers[0].sizes[sensor.time]] if sensor.time else []
            steps += chips.get(sensor.modality, ())
            shape = (n, *steps, len(sensor.layers))
            values[sensor.modality] = (
                np.empty(shape, np.float32)
                if folder is None
                else np.memmap(folder / str(i), np.float32, "w+", shape=shape)
            )
        pixels = np.empty(n, dtype=np.int64)
        found = _fill(sensors, space, sizes, allowed, rng, values, pixels)
        if not found:
            raise ValueError(
                f"No pixel has values of two of {list(cubes)}. Check nodata=, where= "
                "and that the cubes overlap."
            )
        if found < n:
            warnings.warn(
                f"Only {found} pixels have values of two sensors, fewer than n={n}; "
                "all of them are returned.",
                UserWarning,
                stacklevel=2,
            )
            # The drawn pixels are in random rows.
            kept = np.flatnonzero(pixels >= 0)
            pixels = pixels[kept]
            values = {m: x[kept] for m, x in values.items()}
        dataset = _dataset(values, pixels, sensors, space, sizes)
        if out is None:
            index = pd.MultiIndex.from_arrays(
                [dataset.coords[f"{dim}"].to_numpy() for dim in space]
            )
            X = ModalityDict(dict(dataset.data_vars))
            X.ids = index.to_flat_index().to_numpy()
            return X
        chunks = {m: (BLOCK, *x.shape[1:]) for m, x in values.items()}
        encoding = {m: {"chunks": size} for m, size in chunks.items()}
        assert folder is not None
        made = folder / "store"
        # Zarr format 3 has no string type yet, which band names need.
        dataset.to_zarr(made, encoding=encoding, zarr_format=2)
        if Path(out).exists():
            Path(out).rename(folder / "before")
        made.rename(out)
    import xarray as xr

    return xr.open_zarr(out, chunks=None)


def _height_and_width(modality: str, size: Any) -> tuple[int, int]:
    sizes = np.ravel((size, size) if np.ndim(size) == 0 else size)
    if len(sizes) != 2 or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(
            f"chip_size= of {modality!r} must be one or two positive numbers of "
            f"pixels; got {size!r}."
        )
    return int(sizes[0]), int(sizes[1])


def _allowed(where: Any, grid: Any, space: Sequence[Hashable]) -> Array | None:
    """Return the flat indices of the pixels that may be drawn; None means all."""
    if where is None:
        return None
    if not hasattr(where, "dims") or not set(where.dims) <= set(space):
        raise ValueError(
            f"where= must be a DataArray over {list(space)}, or some of them; got "
            f"{getattr(where, 'dims', type(where).__name__)}."
        )
    sizes = {dim: grid.sizes[dim] for dim in space if dim not in where.dims}
    where = where.expand_dims(sizes).transpose(*space)
    for dim in space:
        same = where.sizes[dim] == grid.sizes[dim]
        if same and dim in where.coords and dim in grid.coords:
            labels = (pd.Index(x.coords[dim].values) for x in (grid, where))
            found, in_order = places_on_grid(*labels), np.arange(grid.sizes[dim])
            same = found is not None and np.array_equal(in_order[found], in_order)
        if not same:
            raise ValueError(
                f"where= is not on the grid of the cubes along {dim!r}. Resample it "
                "first."
            )
    return np.flatnonzero(where.values.astype(bool))


def _fill(
    sensors: Sequence[RasterSensor],
    space: Sequence[Hashable],
    sizes: tuple[int, ...],
    allowed: Array | None,
    rng: np.random.Generator,
    values: Mapping[str, Array],
    pixels: Array,
) -> int:
    """Draw pixels with values of two sensors into random rows; return their number.

    Each pass reads the cubes once. Unused rows have pixel -1.
    """
    n, total = len(pixels), int(np.prod(sizes)) if allowed is None else len(allowed)
    places = rng.permutation(n)
    pixels[:] = -1
    drawn = np.empty(0, dtype=np.int64)
    found, wanted = 0, n
    while found < n and len(drawn) < total:
        wanted = min(wanted, total - len(drawn))
        if 4 * (len(drawn) + wanted) > total:
            left = np.setdiff1d(np.arange(total), drawn, assume_unique=True)
            some = rng.choice(left, wanted, replace=False)
        else:
            some = np.unique(rng.integers(total, size=wanted))
            some = some[~np.isin(some, drawn)]
        drawn = np.concatenate([drawn, some])
        before = found
        numbers = some if allowed is None else allowed[some]
        for own, rows in _read(sensors, space, sizes, numbers, rng):
            there = np.sum([present_rows(x) for x in rows.values()], axis=0) > 1
            good = np.flatnonzero(there)[: n - found]
            at = places[found : found + len(good)]
            pixels[at] = own[good]
            for m, x in rows.items():
                values[m][at] = x[good]
            found += len(good)
        share = max((found - before) / max(len(some), 1), 0.01)
        wanted = int((n - found) / share * 1.1) + 10
    return found


def _read(
    sensors: Sequence[RasterSensor],
    space: Sequence[Hashable],
    sizes: tuple[int, ...],
    numbers: Array,
    rng: np.random.Generator,
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """Yield pixels and their rows, piece by piece of the cubes in any order."""
    places = np.unravel_index(numbers, sizes)
    edges, pieces = [], []
    for dim, size, own in zip(space, sizes, places, strict=True):
        chunks = sensors[0].layers[0].chunksizes.get(dim)
        ends = np.cumsum(chunks) if chunks else np.arange(SIDE, size + SIDE, SIDE)
        edges.append(np.concatenate([[0], np.minimum(ends, size)]))
        pieces.append(np.searchsorted(edges[-1], own, side="right") - 1)
    piece = np.ravel_multi_index(pieces, [len(e) - 1 for e in edges])
    order = np.argsort(piece, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(piece[order])) + 1)
    for i in rng.permutation(len(groups)):
        group = groups[i]
        lows = [e[p[group[0]]] for e, p in zip(edges, pieces, strict=True)]
        highs = [e[p[group[0]] + 1] for e, p in zip(edges, pieces, strict=True)]
        part = {
            dim: slice(int(low), int(high))
            for dim, low, high in zip(space, lows, highs, strict=True)
        }
        inside = tuple(p[group] - low for p, low in zip(places, lows, strict=True))
        rows = {}
        for sensor in sensors:
            if sensor.window:
                wide, widths = {}, []
                bounds = zip(space, lows, highs, sizes, sensor.edges, strict=True)
                for dim, low, high, size, edge in bounds:
                    wide[dim] = slice(max(0, int(low) - edge), int(high) + edge)
                    beyond = int(high) + edge - size
                    widths.append((max(0, edge - int(low)), max(0, beyond)))
                arrays = [layer.isel(wide).values for layer in sensor.ordered(space)]
                arrays = sensor.with_edges(arrays, widths)
                rows[sensor.modality] = sensor.chips(arrays, inside)
                continue
            arrays = [
                layer.isel(part).values[(..., *inside)]
                for layer in sensor.ordered(space)
            ]
            rows[sensor.modality] = sensor.rows(arrays, slice(None))
        yield numbers[group], rows


def _dataset(
    values: Mapping[str, Array],
    pixels: Array,
    sensors: Sequence[RasterSensor],
    space: Sequence[Hashable],
    sizes: tuple[int, ...],
) -> Any:
    """Return the rows as a Dataset with step labels, band names and coordinates."""
    import xarray as xr

    places = np.unravel_index(pixels, sizes)
    grid = sensors[0].layers[0]
    coords: dict[Any, Any] = {}
    for dim, own in zip(space, places, strict=True):
        coordinate = grid.coords[dim].values[own] if dim in grid.coords else own
        coords[f"{dim}"] = ("sample", coordinate)
    variables = {}
    for sensor in sensors:
        m, layer = sensor.modality, sensor.layers[0]
        dims: list[Hashable] = ["sample"]
        if sensor.time is not None:
            dims.append(f"{sensor.time}_{m}")
            if sensor.time in layer.coords:
                coords[dims[-1]] = layer.coords[sensor.time].values
        if sensor.window:
            columns = next(dim for dim in sensor.window if dim != sensor.row_dim)
            dims += [f"{sensor.row_dim}_{m}", f"{columns}_{m}"]
        dims.append(f"band_{m}")
        names = [own.name for own in sensor.layers]
        if None not in names and len(set(names)) == len(names):
            coords[dims[-1]] = [str(name) for name in names]
        variables[m] = (dims, values[m])
    return xr.Dataset(variables, coords)
