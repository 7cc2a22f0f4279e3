"""Write a lazy map of 20,000 x 20,000 pixels as a GeoTIFF, interrupt it and resume.

One process writes the map without interruption; another is killed and started again.
Prints the time and peak memory of each, and whether the files are equal.

    python benchmarks/large_map.py [--size 20000] [--folder large_map]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

CHUNK = 1000


def write(size, path):
    """Write a lazily computed map of three classes."""
    import dask.array as da
    import rioxarray  # noqa: F401
    import xarray as xr

    from sklearn_colearn import write_map

    def block(block_info):
        (top, below), (left, right) = block_info[None]["array-location"]
        rows, columns = np.arange(top, below)[:, None], np.arange(left, right)
        wave = np.sin(rows / 97) + np.cos(columns / 131) + np.sin(rows * columns / 1e4)
        return np.digitize(wave, [-0.5, 0.5]).astype(np.uint8)

    chunks = (CHUNK,) * (size // CHUNK)
    values = da.map_blocks(block, chunks=(chunks, chunks), dtype=np.uint8)
    coords = {"y": 5e6 - 10.0 * np.arange(size), "x": 4e5 + 10.0 * np.arange(size)}
    attrs = {"flag_values": np.arange(3, dtype=np.uint8), "flag_meanings": "a b c"}
    cover = xr.DataArray(values, coords, ("y", "x"), "cover", attrs)
    write_map(cover.rio.write_crs("EPSG:32631"), path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path("large_map"))
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.size, arguments.write)
        return
    folder = arguments.folder
    folder.mkdir(exist_ok=True)
    whole, cut = folder / "whole.tif", folder / "cut.tif"
    command = [sys.executable, __file__, "--size", str(arguments.size), "--write"]
    start = time.perf_counter()
    done = subprocess.run([*command, str(whole)], check=True, capture_output=True)
    print(f"at once: {time.perf_counter() - start:.0f} s, {done.stdout.decode()}")
    process = subprocess.Popen([*command, str(cut)])
    values = folder / "cut.tif.part" / "done.json"
    n_blocks = (arguments.size // CHUNK) ** 2
    while not values.exists() or values.read_text().count(",") < n_blocks:
        time.sleep(0.05)  # wait until about half is written
    process.kill()
    process.wait()
    print(f"killed with {values.read_text().count(':') // 2} of {n_blocks} blocks")
    start = time.perf_counter()
    done = subprocess.run([*command, str(cut)], check=True, capture_output=True)
    print(f"gone on: {time.perf_counter() - start:.0f} s, {done.stdout.decode()}")
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(whole) as one, rasterio.open(cut) as other:
        equal = all(
            np.array_equal(
                *(f.read(window=Window(0, row, f.width, CHUNK)) for f in (one, other))
            )
            for row in range(0, arguments.size, CHUNK)
        )
    print(f"equal: {equal}; {whole.stat().st_size / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
