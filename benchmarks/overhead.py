"""What the library adds to bare PyTorch: time of training and prediction, memory.

Ratios of the same work in the same run, medians over repeats: a co-learning epoch
against a plain loop over the same network, loss and optimizer, and the prediction of
one modality against the bare forward of that modality's encoders and head. A fit with
unlabelled pairs, of default encoders, is set against trees that are taught by trees, in
processor time.

    python benchmarks/overhead.py [--repeats 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.losses import CoLearnLoss
from sklearn_colearn.network import CoLearnNetwork

N_ROWS = 2578  # as many as LFMC has, of the same shapes
SHAPES = {"S1": (4, 3), "S2": (4, 8)}


def make_data(n_rows):
    rng = np.random.default_rng(0)
    X = ModalityDict(
        {
            name: rng.normal(size=(n_rows, *shape)).astype(np.float32)
            for name, shape in SHAPES.items()
        }
    )
    return X, rng.normal(size=n_rows)


def bare_epochs(X, y, n_epochs, batch_size):
    """Train the same network by a plain loop; return the seconds of each epoch."""
    torch.manual_seed(0)
    network = CoLearnNetwork(SHAPES, 1, encoder="tempcnn")
    loss = CoLearnLoss("squared_error")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    inputs = {name: torch.from_numpy(array) for name, array in X.items()}
    target = torch.from_numpy(y.astype(np.float32))[:, None]
    seconds = []
    for _ in range(n_epochs):
        start = time.perf_counter()
        for rows in torch.randperm(len(y)).split(batch_size):
            optimizer.zero_grad()
            output = network({m: x[rows] for m, x in inputs.items()})
            loss(output, target[rows]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def library_epochs(X, y, n_epochs, batch_size):
    """Train by the estimator; return the seconds per epoch, and the estimator."""
    estimator = CoLearnRegressor(
        encoder="tempcnn",
        max_epochs=n_epochs,
        batch_size=batch_size,
        lr=1e-3,
        random_state=0,
    )
    start = time.perf_counter()
    estimator.fit(X, y)
    # The whole of fit, standardisation and set-up too, spread over its epochs.
    return (time.perf_counter() - start) / n_epochs, estimator


def median_time(function, repeats):
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def import_ratio(repeats):
    """Time `import sklearn_colearn` against `import skorch`, in fresh processes."""
    ratios = []
    for _ in range(repeats):
        seconds = [
            median_time(
                lambda name=name: subprocess.run(
                    [sys.executable, "-c", f"import {name}"], check=True
                ),
                1,
            )
            for name in ("sklearn_colearn", "skorch")
        ]
        ratios.append(seconds[0] / seconds[1])
    return ratios


def peak_memory():
    """Train one epoch at batch 2,048 in this process; print its peak in GiB."""
    X, y = make_data(4096)
    CoLearnRegressor(
        encoder="tempcnn", max_epochs=1, batch_size=2048, random_state=0
    ).fit(X, y)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def pairs_over_trees():
    """Print the processor time of a fit with pairs, over that of the taught trees."""
    X, y = make_multisensor(6000, target_noise=0.5, random_state=0)
    labelled, pairs = X[:2000], X[2000:]
    y = y[:2000]
    start = time.process_time()
    teacher = ExtraTreesClassifier(300).fit(np.asarray(labelled), y)
    soft = teacher.predict_proba(np.asarray(pairs))
    for m in X:
        ExtraTreesRegressor(300).fit(
            np.concatenate([x.reshape(len(x), -1) for x in (labelled[m], pairs[m])]),
            np.concatenate([np.eye(3)[y], soft]),
        )
    trees = time.process_time() - start
    took = {}
    for name, settings, given in [
        ("without pairs", {}, {}),
        ("with one step", {"max_steps": 1}, {"X_unlabeled": pairs}),
        ("whole", {}, {"X_unlabeled": pairs}),
    ]:
        start = time.process_time()
        model = CoLearnClassifier(random_state=0, **settings).fit(labelled, y, **given)
        took[name] = time.process_time() - start
    epochs = model.history_["pairs"].groupby(model.history_["member"]).sum()
    print(
        f"fit with pairs, 2,000 rows, 4,000 pairs, three sensors, "
        f"{20 * epochs.mean():.0f} steps a member: {took['whole']:.0f} s of processor "
        f"time, {took['whole'] / trees:.1f} times the taught trees' {trees:.0f} s; "
        f"of it without pairs {took['without pairs']:.0f} s, trees that teach "
        f"{took['with one step'] - took['without pairs']:.0f} s"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--peak-memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory:
        return peak_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")

    X, y = make_data(N_ROWS)
    bare_epochs(X, y, 1, 128)  # warm up
    ratios, bare, library = [], [], []
    for _ in range(arguments.repeats):  # in turn, so that drift hits both
        bare.append(np.median(bare_epochs(X, y, 3, 128)))
        seconds, estimator = library_epochs(X, y, 3, 128)
        library.append(seconds)
        ratios.append(library[-1] / bare[-1])
    print(
        f"epoch, batch 128, {N_ROWS} rows, tempcnn: bare {np.median(bare):.3f} s, "
        f"library {np.median(library):.3f} s, ratio {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )

    X, _ = make_data(5000)
    network = estimator.net_.module_.network("S2").eval()
    x = torch.from_numpy(X["S2"])

    def bare_forward():
        with torch.inference_mode():
            network(x)

    def predict():
        estimator.predict(X["S2"], modality="S2")

    ratios, bare, library = [], [], []
    for _ in range(arguments.repeats):
        bare.append(median_time(bare_forward, 3))
        library.append(median_time(predict, 3))
        ratios.append(library[-1] / bare[-1])
    print(
        f"predict S2, 5,000 rows: bare forward {1e3 * np.median(bare):.1f} ms, "
        f"library {1e3 * np.median(library):.1f} ms, ratio {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )

    ratios = import_ratio(arguments.repeats)
    print(
        f"import sklearn_colearn / import skorch: ratio {np.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )

    pairs_over_trees()

    command = [sys.executable, __file__, "--peak-memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(
        f"fit at batch 2,048: peak memory of the process {float(done.stdout):.2f} GiB"
    )
    return None


if __name__ == "__main__":
    main()
