"""Train on ten million unlabelled pairs from a Zarr store: memory and waiting time.

A store of pairs of 12 x 2 and 12 x 10 values is written once, in chunks. Then
`pretrain`, and `fit` with labelled rows and the pairs, run in one process each. Prints
the peak memory above that of the imports, the seconds, and the share of the training
steps' time that is spent on loading batches.

    python benchmarks/archive.py [FOLDER] [--pairs 10000000] [--steps 2000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import numpy as np

SHAPES = {"S1": (12, 2), "S2": (12, 10)}
CHUNK = 2**16
N_LABELLED, N_PLACES = 2000, 50


def make_store(path, n):
    """Write a store of sensors with two shared factors, chunk by chunk."""
    import zarr

    rng = np.random.default_rng(0)
    responses = {m: rng.normal(size=(2, *shape)) for m, shape in SHAPES.items()}
    group = zarr.open_group(path, mode="w", zarr_format=2)
    arrays = {
        m: group.create_array(
            m, shape=(n, *shape), chunks=(4096, *shape), dtype="float32"
        )
        for m, shape in SHAPES.items()
    }
    for start in range(0, n, CHUNK):
        size = min(CHUNK, n - start)
        for m, values in draw(rng, size, responses)[0].items():
            arrays[m][start : start + size] = values
        if start % (16 * CHUNK) == 0:
            print(f"{start:,} of {n:,} pairs written", flush=True)
    return responses


def draw(rng, size, responses):
    """Return the sensors and classes of some rows."""
    factors = rng.normal(size=(size, 2)).astype(np.float32)
    values = {}
    for m, response in responses.items():
        signal = np.tensordot(factors, response.astype(np.float32), axes=1)
        noise = rng.standard_normal(signal.shape, dtype=np.float32)
        values[m] = signal + 2 * noise
    y = np.digitize(factors[:, 0] + 0.5 * factors[:, 1], [-0.5, 0.5])
    return values, y


def run(path, what, n_steps):
    """Train once and print memory and times."""
    import zarr

    import sklearn_colearn.batches as batches
    from sklearn_colearn import CoLearnClassifier

    waited, steps = 0.0, 0
    plain = batches.PairedBatches.__iter__

    def timed(self):
        nonlocal waited, steps
        iterator = plain(self)
        while True:
            start = perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            waited, steps = waited + perf_counter() - start, steps + 1
            yield batch

    batches.PairedBatches.__iter__ = timed
    group = zarr.open_group(path, mode="r")
    store = {m: group[m] for m in SHAPES}
    rng = np.random.default_rng(0)
    responses = {m: rng.normal(size=(2, *shape)) for m, shape in SHAPES.items()}
    X, y = draw(np.random.default_rng(1), N_LABELLED, responses)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = perf_counter()
    if what == "pretrain":
        model = CoLearnClassifier(warm_start=True, random_state=0)
        model.pretrain(store, n_steps=n_steps)
        history = model.pretrain_history_
    else:
        model = CoLearnClassifier(random_state=0)
        groups = np.arange(N_LABELLED) % N_PLACES
        model.fit(X, y, groups=groups, X_unlabeled=store)
        history = model.history_[model.history_["pairs"]]
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "seconds": round(seconds),
                "steps": steps,
                "peak memory, GiB": round(peak, 2),
                "of it imports, GiB": round(base, 2),
                "waits for data": round(waited / history["dur"].sum(), 3),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("archive"))
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=2000, help="of pretrain")
    parser.add_argument("--run", choices=["pretrain", "fit"], help="in this process")
    arguments = parser.parse_args()
    path = arguments.folder / f"{arguments.pairs}.zarr"
    if arguments.run:
        run(path, arguments.run, arguments.steps)
        return
    if not path.exists():
        arguments.folder.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".part")
        make_store(unfinished, arguments.pairs)
        unfinished.rename(path)
    for what in ("pretrain", "fit"):
        command = [sys.executable, __file__, str(arguments.folder), "--run", what]
        command += ["--pairs", str(arguments.pairs), "--steps", str(arguments.steps)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        print(what, done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
