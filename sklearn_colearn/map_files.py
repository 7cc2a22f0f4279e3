"""Write maps to cloud-optimised GeoTIFF or Zarr, block by block."""

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

#: Color-blind safe palette of Okabe and Ito, with two colors of Tol's.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"),
    *("#56b4e9", "#f0e442", "#882255", "#bbbbbb", "#000000"),
)
#: Side of a GeoTIFF tile in pixels.
TILE = 512


def write_map(
    map: Any,
    path: str | os.PathLike[str],
    *,
    colors: Mapping[Any, str] | Sequence[str] | None = None,
    n_jobs: int | None = None,
) -> None:
    """Write a map to a file, block by block if it is lazy.

    An interrupted run resumes when called again: finished blocks are kept next to the
    file, in the folder ``path + ".part"``.

    Parameters
    ----------
    map : xarray.DataArray
        Map over two spatial dimensions and at most one more, as returned by
        :func:`predict_raster`.
    path : path-like
        ``"*.tif"`` for a cloud-optimised GeoTIFF with overviews, or ``"*.zarr"`` for a
        Zarr store. An existing file is replaced at the end.
    colors : dict of label to str, or list of str, default=None
        Colors of the classes of an 8-bit map, such as ``"#228833"``, by class or in
        class order. Other classes get one of ten color-blind safe colors.
    n_jobs : int, default=None
        Number of chunks to compute at a time. None means one per core.

    Raises
    ------
    ValueError
        If the map does not have two spatial dimensions, `path` has another suffix, a
        color is invalid or its class unknown, or the folder holds blocks of another
        model, cube or option.
    ImportError
        If rioxarray (GeoTIFF) or zarr is not installed, or xarray is older than 2024.11
        (Zarr).

    Warns
    -----
    UserWarning
        If the map has no coordinate reference system.

    Notes
    -----
    A GeoTIFF has class names in the band tag ``flag_meanings``, and bands named after
    the labels of the third dimension. The folder holds an uncompressed copy of the map
    until the run ends.

    Blocks are recognised by the dask name of the map. It is the same in each run if the
    cube is in memory, or read with ``chunks=`` (:func:`xarray.open_zarr`,
    :func:`xarray.open_dataset`, ``rioxarray.open_rasterio``) from unchanged files. A
    new process cannot resume a cube that is chunked only after reading.
    """
    import xarray as xr

    if not isinstance(map, xr.DataArray):
        raise TypeError(f"map= must be an xarray.DataArray; got {type(map).__name__}.")
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in (".tif", ".tiff", ".zarr"):
        raise ValueError(f"path= must end with .tif or .zarr; got {str(path)!r}.")
    if map.ndim not in (2, 3):
        raise ValueError(
            "map= must have two spatial dimensions and at most one more; got "
            f"{map.dims}."
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
            # Reopen the file for each block, so that it takes no memory in between.
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


# -- finished blocks -----------------------------------------------------------------

Block = tuple[slice, ...]


class _Done:
    """The finished blocks, recorded on disk so that a run can resume."""

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
                f"{str(folder)!r} contains blocks of {what} from an interrupted run. "
                "Delete it, or write this map to another path."
            )
        self.blocks = set(told["blocks"])

    def values(self) -> Any:
        """Open the array of finished blocks on disk."""
        path = self.folder / "values.npy"
        if self.blocks or path.exists():
            return np.lib.format.open_memmap(path, "r+")
        shape = tuple(self.map["shape"])
        return np.lib.format.open_memmap(path, "w+", self.map["dtype"], shape)

    def add(self, block: Block) -> None:
        """Record a finished block."""
        self.blocks.add(_key(block))
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({"map": self.map, "blocks": sorted(self.blocks)}))
        os.replace(new, self.path)


def _checksum(values: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(values).view(np.uint8).data)


def _key(block: Block) -> str:
    return ",".join(f"{part.start}:{part.stop}" for part in block)


def _blocks(map: Any, done: _Done, n_jobs: int | None) -> Iterator[tuple[Block, Array]]:
    """Compute the remaining blocks, several at a time."""
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
    return [slice(*pair) for pair in pairwise(edges)]


# -- Zarr ----------------------------------------------------------------------------


def check_zarr(what: str) -> None:
    """Raise if xarray is too old to choose the Zarr format."""
    import xarray as xr

    if "zarr_format" not in inspect.signature(xr.Dataset.to_zarr).parameters:
        raise ImportError(f"{what} requires xarray 2024.11 or newer.")


def _plain(map: Any) -> Any:
    """Return a map as a Dataset, with its nodata value in the encoding."""
    map = map.copy()
    map.encoding = {}
    fill = map.attrs.pop("_FillValue", None)
    if fill is not None:
        map.encoding["_FillValue"] = fill
    return map.to_dataset()


def _variable(map: Any, values: Array) -> Any:
    """Return a block without coordinates, which are already written."""
    import xarray as xr

    return xr.Dataset({map.name: (map.dims, values)})


# -- GeoTIFF -------------------------------------------------------------------------


def _for_geotiff(map: Any, colors: Any) -> tuple[Any, Any]:
    """Return the map with bands first and north up, and its color table."""
    try:
        import rioxarray  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "write_map needs rioxarray to write GeoTIFF. Install it, or write .zarr."
        ) from error
    x, y = spatial_dims(map)
    map = map.transpose(..., y, x)
    map = map.rio.set_spatial_dims(x, y)
    # GDAL expects the first row in the north and the first column in the west.
    for dim, step in ((y, -1), (x, 1)):
        if dim in map.coords and map.sizes[dim] > 1:
            own = map[dim].values
            if np.sign(float(own[1]) - float(own[0])) != step:
                map = map.isel({dim: slice(None, None, -1)})
    if map.rio.crs is None:
        warnings.warn(
            "The map has no coordinate reference system, so programs cannot place it. "
            "Set it with map.rio.write_crs('EPSG:...').",
            UserWarning,
            stacklevel=3,
        )
    return map, _color_table(map, colors)


def spatial_dims(map: Any) -> tuple[Hashable, Hashable]:
    """Return the names of the spatial dimensions, x and y."""
    for x, y in (("x", "y"), ("lon", "lat"), ("longitude", "latitude")):
        if x in map.dims and y in map.dims:
            return x, y
    raise ValueError(
        "The spatial dimensions must be x and y, lon and lat, or longitude and "
        f"latitude; got {map.dims}."
    )


def _color_table(map: Any, colors: Any) -> dict[int, tuple[int, ...]] | None:
    """Return the RGBA color by class number, or None for other than 8-bit classes."""
    numbers = map.attrs.get("flag_values")
    if numbers is None or map.dtype != np.uint8:
        if colors is not None:
            raise ValueError(
                "colors= applies only to maps of classes in 8 bits (uint8, with "
                f"flag_values); got {map.dtype}."
            )
        return None
    table = {n: _rgb(color) for n, (_, color) in class_colors(map, colors).items()}
    fill = map.attrs.get("_FillValue")
    return table if fill is None else {**table, int(fill): (0, 0, 0, 0)}


def class_colors(map: Any, colors: Any = None) -> dict[int, tuple[str, str]]:
    """Return the name and color of each class of a map, by number."""
    by_number = class_names(map)
    numbers, names = list(by_number), [str(name) for name in by_number.values()]
    some = {n: COLORS[i % len(COLORS)] for i, n in enumerate(numbers)}
    if isinstance(colors, Mapping):
        known: dict[Any, int] = dict(zip(names, numbers, strict=True))
        known |= {n: n for n in numbers}
        if unknown := [name for name in colors if name not in known]:
            raise ValueError(
                f"colors= contains {unknown}, but the classes of the map are {names}."
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
        raise ValueError(
            f"Colors must be hex codes such as '#228833'; got {color!r}."
        ) from None
    return red, green, blue, 255


def _write_geotiff(
    values: Callable[[], Array], map: Any, path: Path, table: Any
) -> None:
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
