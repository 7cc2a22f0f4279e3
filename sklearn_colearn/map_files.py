"""Maps as files: cloud-optimised GeoTIFF or Zarr, written block by block."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_colearn.inputs import Array
from sklearn_colearn.map_samples import class_names

__all__ = ["COLORS", "check_zarr", "class_colors", "spatial_dims", "write_map"]

#: The color-blind safe palette of Okabe and Ito, and two of Tol's, of classes and
#: groups in order; after ten they begin anew.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#f0e442", "#882255", "#bbbbbb", "#000000"),
)
#: Pixels of a tile of a GeoTIFF, along each side.
TILE = 512


def write_map(
    map: Any,
    path: str | os.PathLike[str],
    *,
    colors: Mapping[Any, str] | Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> None:
    """Write a map to a file, block by block if it is lazy.

    A run that was cut off resumes if it is started again: finished blocks are kept
    beside the file, in the folder ``path + ".part"``. Blocks of another model, of
    another cube or of other options are refused.

    Parameters
    ----------
    map : xarray.DataArray
        A map over two dimensions of space, with or without a third, as
        :func:`predict_raster` gives it. In memory, or chunked by dask.
    path : path-like
        ``"*.tif"`` for a cloud-optimised GeoTIFF, with overviews, or ``"*.zarr"`` for
        a Zarr store. What is there is replaced once all is written.
    colors : dict of label to str, or list of str, default=None
        Colors of the classes of a map of 8 bits, such as ``"#228833"``, by class or in
        their order. Classes without one take from ten that the color-blind can tell.
    n_jobs : int, default=None
        Chunks to compute side by side. None takes one for each core.

    Raises
    ------
    ValueError
        If the map is not over two dimensions of space, `path` has another ending, a
        color is no color or of no class, or what is kept beside the file is of another
        map.
    ImportError
        If rioxarray (GeoTIFF) or zarr is not installed, or xarray is older than 2024.11
        (Zarr).

    Warns
    -----
    UserWarning
        If the map has no reference system.

    Notes
    -----
    A GeoTIFF has the classes' colors, and their names as the tag ``flag_meanings`` of
    the band. Bands are called by the labels of the third dimension. Until a run ends it
    takes the map's size on disk once more, uncompressed.

    Blocks are known by the name that dask gives the map, which follows from the model
    and the cube. A cube has the same name in each run if it is read with ``chunks=``
    (:func:`xarray.open_zarr`, :func:`xarray.open_dataset`,
    ``rioxarray.open_rasterio``) from files that have not changed, or is in memory. If
    it is read without ``chunks=`` and chunked later, a new process cannot resume.
    """
    import xarray as xr

    if not isinstance(map, xr.DataArray):
        raise TypeError(
            f"map= has to be an xarray.DataArray; got {type(map).__name__}."
        )
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".tif", ".tiff", ".zarr"):
        raise ValueError(f"path= ends with .tif or .zarr; got {str(path)!r}.")
    if map.ndim not in (2, 3):
        raise ValueError(
            f"A map has two dimensions of space, or one more; got {map.dims}."
        )
    if map.name is None:
        map = map.rename("map")
    if kind == ".zarr":
        check_zarr("write_map to .zarr")
    else:
        map, table = _for_geotiff(map, colors)
    part = path.with_name(path.name + ".part")
    part.mkdir(exist_ok=True)
    done = _Done(part, map)
    if kind == ".zarr":
        store = part / "map.zarr"
        if not done.blocks:
            _plain(map).to_zarr(store, mode="w", compute=False, zarr_format=2)
        for block, values in _blocks(map, done, n_jobs):
            region = dict(zip(map.dims, block, strict=True))
            _variable(map, values).to_zarr(store, region=region)
            done.add(block)
    else:
        store = part / "map.tif"
        for block, values in _blocks(map, done, n_jobs):
            # Opened anew each time, so that it takes no memory between.
            kept = done.values()
            kept[block] = values
            kept.flush()
            del kept
            done.add(block)
        _write_geotiff(done.values, map, store, table)
    if path.is_dir():
        shutil.rmtree(path)
    os.replace(store, path)
    shutil.rmtree(part)


# -- what is done --------------------------------------------------------------------

Block = tuple[slice, ...]


class _Done:
    """The blocks that are written, which survive a run that is cut off."""

    def __init__(self, folder: Path, map: Any) -> None:
        self.path = folder / "done.json"
        self.folder = folder
        self.blocks: set[str] = set()
        self.map: dict[str, Any] = {
            "shape": list(map.shape),
            "dtype": str(map.dtype),
            "chunks": [list(c) for c in map.chunks] if map.chunks else None,
            "dims": [str(dim) for dim in map.dims],
            "coordinates": zlib.crc32(
                repr(
                    [map[d].values.tolist() for d in map.dims if d in map.coords]
                ).encode()
            ),
            "values": map.data.name if map.chunks else _checksum(map.values),
        }
        if not self.path.exists():
            return
        told = json.loads(self.path.read_text())
        if told["map"] != self.map:
            same = {**told["map"], "values": None} == {**self.map, "values": None}
            what = "a map of another model, cube or option" if same else "another map"
            raise ValueError(
                f"{str(folder)!r} holds the blocks of {what}, whose writing was cut "
                "off. Delete it, or write this map to another path."
            )
        self.blocks = set(told["blocks"])

    def values(self) -> Any:
        """Open the array on disk that holds the blocks which are written."""
        path = self.folder / "values.npy"
        if self.blocks or path.exists():
            return np.lib.format.open_memmap(path, "r+")
        shape = tuple(self.map["shape"])
        return np.lib.format.open_memmap(path, "w+", self.map["dtype"], shape)

    def add(self, block: Block) -> None:
        """Note that a block is written."""
        self.blocks.add(_key(block))
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"map": self.map, "blocks": sorted(self.blocks)}))
        os.replace(new, self.path)


def _checksum(values: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


def _key(block: Block) -> str:
    return ",".join(f"{part.start}:{part.stop}" for part in block)


def _blocks(map: Any, done: _Done, n_jobs: int | None) -> Iterator[tuple[Block, Array]]:
    """Compute the blocks that are not written, several side by side."""
    chunks = map.chunks or tuple((size,) for size in map.shape)
    edges = [np.cumsum([0, *sizes]).tolist() for sizes in chunks]
    every = product(*[_slices(own) for own in edges])
    left = [block for block in every if _key(block) not in done.blocks]
    if not map.chunks:
        yield from ((block, map.values[block]) for block in left)
        return
    from dask.base import compute

    at_once = n_jobs or os.cpu_count() or 1
    for start in range(0, len(left), at_once):
        some = left[start : start + at_once]
        found = compute(*(map.data[block] for block in some))  # type: ignore[no-untyped-call]
        yield from zip(some, found, strict=True)


def _slices(edges: Sequence[int]) -> list[slice]:
    """Return the slices between edges, (0, 2, 4) say."""
    return [slice(*pair) for pair in pairwise(edges)]


# -- Zarr ----------------------------------------------------------------------------


def check_zarr(what: str) -> None:
    """Refuse to write Zarr by an xarray that cannot choose its format."""
    import xarray as xr

    if "zarr_format" not in inspect.signature(xr.Dataset.to_zarr).parameters:
        raise ImportError(f"{what} needs xarray 2024.11 or newer.")


def _plain(map: Any) -> Any:
    """Return a Dataset of a map, with its nodata value where xarray wants it."""
    map = map.copy()
    map.encoding = {}
    fill = map.attrs.pop("_FillValue", None)
    if fill is not None:
        map.encoding["_FillValue"] = fill
    return map.to_dataset()


def _variable(map: Any, values: Array) -> Any:
    """Return a block alone, without coordinates, which are written already."""
    import xarray as xr

    return xr.Dataset({map.name: (map.dims, values)})


# -- GeoTIFF -------------------------------------------------------------------------


def _for_geotiff(map: Any, colors: Any) -> tuple[Any, Any]:
    """Return a map with bands first and north up, and its color table."""
    try:
        import rioxarray  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "write_map writes GeoTIFFs by rioxarray; install it, or write a .zarr."
        ) from error
    x, y = spatial_dims(map)
    map = map.transpose(..., y, x)
    map = map.rio.set_spatial_dims(x, y)
    # GDAL wants the first row in the north, and the first column in the west.
    for dim, step in ((y, -1), (x, 1)):
        if dim in map.coords and map.sizes[dim] > 1:
            own = map[dim].values
            if np.sign(float(own[1]) - float(own[0])) != step:
                map = map.isel({dim: slice(None, None, -1)})
    if map.rio.crs is None:
        warnings.warn(
            "The map has no reference system, so programs cannot place it. Give it one "
            "by map.rio.write_crs('EPSG:...').",
            UserWarning,
            stacklevel=3,
        )
    return map, _color_table(map, colors)


def spatial_dims(map: Any) -> tuple[Hashable, Hashable]:
    """Return the names of the dimensions of space, x and y."""
    for x, y in (("x", "y"), ("lon", "lat"), ("longitude", "latitude")):
        if x in map.dims and y in map.dims:
            return x, y
    raise ValueError(
        "The dimensions of space are called x and y, lon and lat, or longitude and "
        f"latitude; got {map.dims}."
    )


def _color_table(map: Any, colors: Any) -> dict[int, tuple[int, ...]] | None:
    """Return RGBA by the number of each class; None without classes of 8 bits."""
    numbers = map.attrs.get("flag_values")
    if numbers is None or map.dtype != np.uint8:
        if colors is not None:
            raise ValueError("colors= is for maps of classes of 8 bits (uint8).")
        return None
    table = {n: _rgb(color) for n, (_, color) in class_colors(map, colors).items()}
    fill = map.attrs.get("_FillValue")
    return table if fill is None else {**table, int(fill): (0, 0, 0, 0)}


def class_colors(map: Any, colors: Any = None) -> dict[int, tuple[str, str]]:
    """Return the name and the color of each class of a map, by its number."""
    by_number = class_names(map)
    numbers, names = list(by_number), [str(name) for name in by_number.values()]
    some = {n: COLORS[i % len(COLORS)] for i, n in enumerate(numbers)}
    if isinstance(colors, Mapping):
        known: dict[Any, int] = dict(zip(names, numbers, strict=True))
        known |= {n: n for n in numbers}
        if unknown := [name for name in colors if name not in known]:
            raise ValueError(
                f"colors= names {unknown}, which are no classes of the map; these are "
                f"{names}."
            )
        some |= {known[name]: color for name, color in colors.items()}
    elif colors is not None:
        some = {n: colors[i % len(colors)] for i, n in enumerate(numbers)}
    pairs = zip(names, numbers, strict=True)
    return {number: (name, some[number]) for name, number in pairs}


def _rgb(color: str) -> tuple[int, ...]:
    digits = str(color).removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits)
    except ValueError:
        raise ValueError(f"A color is like '#228833'; got {color!r}.") from None
    return red, green, blue, 255


def _write_geotiff(
    values: Callable[[], Array], map: Any, path: Path, table: Any
) -> None:
    """Write values from disk as a cloud-optimised GeoTIFF."""
    import rasterio
    from rasterio.shutil import copy as copy_raster
    from rasterio.windows import Window

    n_layers, height, width = map.shape if map.ndim == 3 else (1, *map.shape)
    fill = map.attrs.get("_FillValue")
    if fill is None and map.dtype.kind == "f":
        fill = np.nan
    plain = path.with_name("plain.tif")
    profile = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": n_layers,
        "dtype": map.dtype,
        "nodata": fill,
        "crs": map.rio.crs,
        "transform": map.rio.transform(),
        **{"tiled": True, "blockxsize": TILE, "blockysize": TILE},
        **{"compress": "deflate", "bigtiff": "if_safer"},
    }
    with rasterio.open(plain, "w", **profile) as file:
        for row in range(0, height, TILE):
            layers = values().reshape(n_layers, height, width)
            for column in range(0, width, TILE):
                block = layers[:, row : row + TILE, column : column + TILE]
                window = Window(column, row, block.shape[2], block.shape[1])
                file.write(block, window=window)
        told = ("flag_values", "flag_meanings", "units", "long_name")
        tags = {
            name: " ".join(np.ravel(map.attrs[name]).astype(str))
            for name in told
            if name in map.attrs
        }
        lead = map.dims[0] if map.ndim == 3 else None
        names = map[lead].values if lead in map.coords else [map.name]
        for number, name in zip(range(1, n_layers + 1), names, strict=True):
            file.set_band_description(number, str(name))
            file.update_tags(number, **tags)
        if table is not None:
            file.write_colormap(1, table)
    # Classes must not be averaged in the overviews.
    resampling = "nearest" if map.dtype.kind in "iu" else "average"
    copy_raster(
        plain,
        path,
        driver="COG",
        compress="deflate",
        blocksize=TILE,
        overview_resampling=resampling,
        bigtiff="if_safer",
    )
    plain.unlink()
