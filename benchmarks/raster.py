"""Measure maps: pixels per second and peak memory as the cube grows.

Each size runs in its own process: a generated cube (12 steps, 2 bands, uint16) is
written to zarr in chunks, opened, predicted from one sensor and written to zarr again.
Then one process compares, in turn, the map of an array in memory with the bare network
on this array, and two workers of a local cluster with one process. Last come the file
size of an exported model and the time to its first prediction, against the whole
estimator.

    python benchmarks/raster.py [--side 256] [--chunk 256] [--sizes 1 4 16 64]
    python benchmarks/raster.py --growing  # the first part alone
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask
import numpy as np
import torch
import xarray as xr

from sklearn_colearn import (
    CoLearnClassifier,
    ModalityDict,
    load_model,
    predict_raster,
    save_model,
)

STEPS = 12
BANDS = {"S1": ["vv", "vh"], "S2": ["b2", "b4", "b8"]}
NODATA = 65535


def make_model():
    rng = np.random.default_rng(0)
    X = ModalityDict(
        {m: rng.integers(0, 5000, (600, STEPS, len(b))) for m, b in BANDS.items()}
    )
    y = rng.integers(0, 5, 600)
    return CoLearnClassifier(max_epochs=1, missing_value=NODATA, random_state=0).fit(
        X, y
    )


def make_cube(height, width, chunk):
    """Return a lazy cube of random bands."""
    import dask.array as da

    space = da.core.normalize_chunks(chunk, (height, width))
    chunks = ((STEPS,), *space)

    def block(block_info=None):
        place = block_info[None]
        rng = np.random.default_rng(place["chunk-location"])
        return rng.integers(0, 5000, place["chunk-shape"], dtype="u2")

    return xr.Dataset(
        {
            band: (("time", "y", "x"), da.map_blocks(block, chunks=chunks, dtype="u2"))
            for band in BANDS["S1"]
        }
    )


def peak():
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def map_from_disk(folder, threads):
    """Map the cube in `folder` into it; print seconds, pixels and memory as JSON."""
    model = load_model(folder / "radar.safetensors", device="cpu")
    cube = xr.open_zarr(folder / "cube.zarr", consolidated=False)
    before, start = peak(), time.perf_counter()
    result = predict_raster(model, cube, bands=BANDS["S1"])
    with dask.config.set(scheduler="threads", num_workers=threads):
        result.to_dataset(name="map").to_zarr(
            folder / "map.zarr", mode="w", consolidated=False
        )
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "before": before, "peak": peak()}))


def growing(model, arguments):
    rows = []
    for size in arguments.sizes:
        width = arguments.side * size
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            save_model(model.export("S1"), folder / "radar.safetensors")
            make_cube(arguments.side, width, arguments.chunk).to_zarr(
                folder / "cube.zarr", consolidated=False
            )
            done = run("--map", name, "--threads", str(arguments.threads))
        pixels = arguments.side * width
        rows.append((size, pixels, done))
        print(
            f"{size:4d} x: {pixels:10,} pixels in {done['seconds']:7.1f} s, "
            f"{pixels / done['seconds']:9,.0f} a second, peak {done['peak']:6.0f} MiB "
            f"({done['peak'] - done['before']:5.0f} over what the imports took)",
            flush=True,
        )
    first, last = rows[0], rows[-1]
    times = last[2]["seconds"] / first[2]["seconds"] * first[1] / last[1]
    print(
        f"time per pixel {times:.2f} and peak memory "
        f"{last[2]['peak'] / first[2]['peak']:.2f} of the smallest's (linear, flat: 1)"
    )


def run(*options):
    command = [sys.executable, __file__, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def against_the_bare_network(model, arguments):
    """Compare the map of an array in memory with the bare network on it."""
    radar = model.export("S1")
    cube = make_cube(arguments.side, arguments.side, -1).load()
    rows = np.stack([cube[b].values.reshape(STEPS, -1).T for b in BANDS["S1"]], axis=-1)
    x = torch.from_numpy(rows.astype(np.float32))
    network = radar.networks_[0].eval()

    def bare():
        with torch.inference_mode():
            for batch in x.split(1024):
                network(batch)

    def library():
        predict_raster(radar, cube, bands=BANDS["S1"])

    ratios = in_turn(bare, library, arguments.repeats)
    report("throughput of an array in memory, of the bare network's", ratios)


def on_a_cluster(model, arguments):
    from distributed import Client, LocalCluster

    radar = model.export("S1")
    cube = make_cube(arguments.side, arguments.cluster_width, arguments.chunk)
    lazy = predict_raster(radar, cube, bands=BANDS["S1"])
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, Client(cluster) as client:
        client.compute(lazy.data[:1, :1]).result()  # warm up: imports, the model

        def threads(n):
            with dask.config.set(scheduler="threads", num_workers=n):
                lazy.compute(scheduler="threads")

        ratios = {
            "two workers of a local cluster": lambda: client.compute(lazy).result(),
            "two threads of one process": lambda: threads(2),
        }
        for name, other in ratios.items():
            ratios[name] = in_turn(lambda: threads(1), other, arguments.repeats)
    values = arguments.side * arguments.cluster_width * STEPS * len(BANDS["S1"])
    for name, found in ratios.items():
        report(f"{values:,} values: {name}, of one thread", found)


def in_turn(reference, other, repeats):
    """Return the speed-up of the second function in each of several rounds."""
    reference(), other()
    ratios = []
    for _ in range(repeats):
        seconds = []
        for function in (reference, other):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - start)
        ratios.append(seconds[0] / seconds[1])
    return ratios


def report(what, ratios):
    print(
        f"{what}: {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def cold_start(path):
    """Load and predict once, and print both times as JSON."""
    start = time.perf_counter()
    model = load_model(path, device="cpu")
    loaded = time.perf_counter() - start
    model.predict({"S1": np.ones((1, STEPS, 2), np.float32)})
    first = time.perf_counter() - start
    print(json.dumps({"load": loaded, "first": first}))


def exported_against_whole(model, repeats):
    with tempfile.TemporaryDirectory() as name:
        paths = {kind: str(Path(name) / kind) for kind in ("exported S1", "whole")}
        save_model(model.export("S1"), paths["exported S1"])
        save_model(model, paths["whole"])
        for kind, path in paths.items():
            runs = [run("--cold", path) for _ in range(repeats)]
            load, first = (1e3 * np.median([r[k] for r in runs]) for k in runs[0])
            size = os.path.getsize(path) / 2**20
            print(
                f"{kind}: {size:.2f} MiB, load {load:.0f} ms, with the first "
                f"prediction {first:.0f} ms"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--cluster-width", type=int, default=10_240)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of dask, from disk")
    parser.add_argument("--growing", action="store_true", help="the first part alone")
    parser.add_argument("--map", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cold", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.map:
        return map_from_disk(arguments.map, arguments.threads)
    if arguments.cold:
        return cold_start(arguments.cold)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    model = make_model()
    growing(model, arguments)
    if arguments.growing:
        return None
    against_the_bare_network(model, arguments)
    on_a_cluster(model, arguments)
    exported_against_whole(model, arguments.repeats)
    return None


if __name__ == "__main__":
    main()
