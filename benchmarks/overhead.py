"""Cost of training, maps and imports, as ratios within one run.

Times are processor time of one thread, so other load matters little; medians over
repeats that alternate between the compared programs.

- Training step: against its arithmetic at the speed of one large matrix product. An
  epoch: against a plain loop over the same network, loss and optimizer.
- Fit with defaults: against ExtraTrees(300) on each sensor.
- Map of one sensor, by all members and by `export(distill=)`: against ExtraTrees(300)
  on the same pixels, with the accuracy that the small network loses.
- Imports: against torch alone, and torch with scikit-learn.
- Fit with unlabelled pairs: against trees taught by trees.
- Training and prediction with each encoder of time series: against the MLP.
- Growth: training with twice as many rows, steps, bands, sensors, members.

    python benchmarks/overhead.py [--repeats 5] [--only step fit map import pairs]
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
from sklearn.metrics import accuracy_score, log_loss
from torch.utils.flop_counter import FlopCounterMode

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor, ModalityDict
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.encoders import ENCODERS
from sklearn_colearn.losses import CoLearnLoss
from sklearn_colearn.network import CoLearnNetwork

BATCH_SIZE = 128
N_ROWS = 20 * BATCH_SIZE
#: Cases: encoder, and shapes of LFMC or of twelve months.
STEPS = {
    "LFMC, tempcnn": ("tempcnn", {"S1": (4, 3), "S2": (4, 8)}),
    "LFMC, inceptiontime": ("inceptiontime", {"S1": (4, 3), "S2": (4, 8)}),
    "12 steps, ltae": ("ltae", {"S1": (12, 2), "S2": (12, 10)}),
    "12 steps, tempcnn": ("tempcnn", {"S1": (12, 2), "S2": (12, 10)}),
    "12 steps, inceptiontime": ("inceptiontime", {"S1": (12, 2), "S2": (12, 10)}),
}


def seconds(function, times=1):
    start = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - start) / times


def told(ratios):
    return f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def steps(repeats):
    """Compare a training step with its arithmetic, and an epoch with a plain loop."""
    rng = np.random.default_rng(0)
    matrix = torch.randn(1024, 1024)
    for name, (encoder, shapes) in STEPS.items():
        X = ModalityDict(
            {
                m: rng.normal(size=(N_ROWS, *shape)).astype(np.float32)
                for m, shape in shapes.items()
            }
        )
        y = rng.normal(size=len(X))
        network, loss = (
            CoLearnNetwork(shapes, 1, encoder=encoder),
            CoLearnLoss("squared_error"),
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
        inputs = {m: torch.from_numpy(x) for m, x in X.items()}
        target = torch.from_numpy(y.astype(np.float32))[:, None]

        def step(rows, network=network, loss=loss, inputs=inputs, target=target):
            output = network({m: x[rows] for m, x in inputs.items()})
            loss(output, target[rows]).backward()

        def bare(optimizer=optimizer, step=step):
            for rows in torch.randperm(N_ROWS).split(BATCH_SIZE):
                optimizer.zero_grad()
                step(rows)
                optimizer.step()

        def library(n_epochs, X=X, y=y, encoder=encoder):
            reg = CoLearnRegressor(
                encoder=encoder,
                share_encoder=False,
                distillation_weight=0,
                cv=None,
                max_epochs=n_epochs,
                batch_size=BATCH_SIZE,
                random_state=0,
            )
            return seconds(lambda: reg.fit(X, y))

        bare()
        with FlopCounterMode(display=False) as counter:
            step(torch.arange(BATCH_SIZE))
        arithmetic, loops = [], []
        for _ in range(repeats):
            speed = 2 * 1024**3 / seconds(lambda: matrix @ matrix, 5)
            took = seconds(bare)
            arithmetic.append(took / (20 * counter.get_total_flops() / speed))
            loops.append((library(3) - library(1)) / 2 / took)
        print(
            f"step, {name}: over its arithmetic at matrix speed {told(arithmetic)}; "
            f"library over bare loop {told(loops)}",
            flush=True,
        )


def trees_of(x, y):
    flat = x.reshape(len(x), -1)
    return ExtraTreesClassifier(300, random_state=0).fit(flat, y)


def fits(repeats):
    """Compare a fit with defaults with trees on each sensor."""
    X, y = make_multisensor(2000, target_noise=0.5, random_state=0)
    ratios = []
    for seed in range(min(repeats, 3)):
        trees = seconds(lambda: [trees_of(x, y) for x in X.values()])
        clf = CoLearnClassifier(random_state=seed)
        ratios.append(seconds(lambda clf=clf: clf.fit(X, y)) / trees)
    print(
        f"fit of the defaults, 2,000 rows, three sensors, five members, over three "
        f"ExtraTrees(300): {told(ratios)}",
        flush=True,
    )


def maps(repeats):
    """Compare pixels per second of a sensor, full and distilled, with trees."""
    X, y = make_multisensor(6000, target_noise=0.5, random_state=0)
    clf = CoLearnClassifier(random_state=0).fit(X[:2000], y[:2000])
    for m, x in X.items():
        trees, whole = trees_of(x[:2000], y[:2000]), clf.export(m)
        small = clf.export(m, distill=x[2000:4000])
        pixels = np.concatenate([x[4000:]] * 10).astype(np.float32)
        flat = pixels.reshape(len(pixels), -1)
        ratios = {"members": [], "small": []}
        for _ in range(repeats):
            reference = seconds(
                lambda trees=trees, flat=flat: trees.predict_proba(flat)
            )
            for name, model in (("members", whole), ("small", small)):
                took = seconds(lambda: model.predict_proba(pixels))  # noqa: B023
                ratios[name].append(reference / took)
        truth, answers = y[4000:], {}
        for name, model in (("members", whole), ("small", small)):
            p = model.predict_proba(x[4000:])
            answers[name] = (accuracy_score(truth, p.argmax(1)), log_loss(truth, p))
        print(
            f"map, {m} {x.shape[1:]}: pixels a second over ExtraTrees(300): five "
            f"members {told(ratios['members'])}, export(distill=) "
            f"{told(ratios['small'])}; accuracy {answers['members'][0]:.3f} and "
            f"{answers['small'][0]:.3f}, log loss {answers['members'][1]:.3f} and "
            f"{answers['small'][1]:.3f}",
            flush=True,
        )


def imports(repeats):
    """Compare imports in new processes."""
    times = {"torch": [], "torch, sklearn.base": [], "sklearn_colearn": []}
    for _ in range(repeats):
        for modules, taken in times.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            taken.append(
                after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            )
    ours = np.array(times.pop("sklearn_colearn"))
    for modules, taken in times.items():
        print(f"import sklearn_colearn over import {modules}: {told(ours / taken)}")


def pairs():
    """Compare a fit with pairs with trees taught by trees."""
    X, y = make_multisensor(6000, target_noise=0.5, random_state=0)
    labelled, unlabelled = X[:2000], X[2000:]
    y = y[:2000]

    def taught_trees():
        teacher = ExtraTreesClassifier(300).fit(np.asarray(labelled), y)
        soft = teacher.predict_proba(np.asarray(unlabelled))
        for m in X:
            both = [x.reshape(len(x), -1) for x in (labelled[m], unlabelled[m])]
            targets = np.concatenate([np.eye(3)[y], soft])
            ExtraTreesRegressor(300).fit(np.concatenate(both), targets)

    trees, took = seconds(taught_trees), {}
    for name, settings, given in [
        ("without pairs", {}, {}),
        ("with one step", {"max_steps": 1}, {"X_unlabeled": unlabelled}),
        ("whole", {}, {"X_unlabeled": unlabelled}),
    ]:
        model = CoLearnClassifier(random_state=0, **settings)
        fit = model.fit
        took[name] = seconds(lambda: fit(labelled, y, **given))  # noqa: B023
    epochs = model.history_["pairs"].groupby(model.history_["member"]).sum()
    print(
        f"fit with pairs, 2,000 rows, 4,000 pairs, three sensors, "
        f"{20 * epochs.mean():.0f} steps a member: {took['whole']:.0f} s of processor "
        f"time, {took['whole'] / trees:.1f} times the taught trees' {trees:.0f} s; "
        f"of it without pairs {took['without pairs']:.0f} s, trees that teach "
        f"{took['with one step'] - took['without pairs']:.0f} s",
        flush=True,
    )


def year(n_rows=1000, n_steps=12, n_bands=4, n_sensors=2, encoder="auto"):
    """Make series of given sizes and a matching one-network estimator."""
    rng = np.random.default_rng(0)
    X = ModalityDict(
        {
            f"S{i}": rng.normal(size=(n_rows, n_steps, n_bands)).astype(np.float32)
            for i in range(n_sensors)
        }
    )
    clf = CoLearnClassifier(encoder=encoder, cv=None, random_state=0)
    return clf, X, rng.integers(0, 4, n_rows)


def training(clf, X, y):
    """Return the seconds of an epoch, without the fixed cost of fit."""
    short, long = (
        seconds(lambda n=n: clf.set_params(max_epochs=n).fit(X, y)) for n in (1, 4)
    )
    return (long - short) / 3


def encoders(repeats):
    """Compare the encoders of time series in training and prediction."""
    names = [name for name in ENCODERS if name != "resnet"]
    took = {name: ([], []) for name in names}
    for _ in range(repeats):
        for name, (fit, predict) in took.items():
            clf, X, y = year(encoder=name)
            fit.append(training(clf, X, y))
            predict.append(seconds(lambda: clf.predict_proba(X), 3))  # noqa: B023
    mlp = [np.array(own) for own in took["mlp"]]
    for name, own in took.items():
        fit, predict = (np.median(o / m) for o, m in zip(own, mlp, strict=True))
        print(
            f"{name:14s} training {fit:5.1f}  prediction {predict:5.1f}  of the MLP's"
        )


def growth(repeats):
    """Compare training times when a size doubles."""
    doubled = {
        "rows": {"n_rows": 2000},
        "steps": {"n_steps": 24},
        "bands": {"n_bands": 8},
        "sensors": {"n_sensors": 4},
    }
    for encoder in ("ltae", "tempcnn"):
        ratios = {name: [] for name in doubled}
        for _ in range(repeats):
            base = training(*year(encoder=encoder))
            for name, sizes in doubled.items():
                ratios[name].append(training(*year(encoder=encoder, **sizes)) / base)
        grown = ", ".join(f"{name} {told(own)}" for name, own in ratios.items())
        print(f"an epoch with twice as many, {encoder}: {grown}", flush=True)


def memory():
    """Print how far `fit` raises the memory of a process, by the dtype of X."""
    for dtype in ("float32", "float64", "int16"):
        command = [sys.executable, __file__, "--peak-memory", dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(f"fit of 28.8 million values, {dtype}: {done.stdout.strip()}")


def peak_memory(dtype):
    """Print the size of X, and the peak memory of `fit` above the memory before it."""
    rng = np.random.default_rng(0)
    S1 = np.empty((240_000, 12, 10), dtype=dtype)
    for block in np.array_split(S1, 100):  # no temporary array of the size of X
        block[:] = rng.integers(0, 10_000, size=block.shape)
    X, y = ModalityDict(S1=S1), rng.normal(size=len(S1))
    settings = {"encoder": "mlp", "cv": 2, "max_epochs": 1, "batch_size": 2048}
    few = X[:4096]
    CoLearnRegressor(**settings).fit(few, y[:4096])  # loads and allocates the rest
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    CoLearnRegressor(**settings).fit(X, y)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"X {S1.nbytes / 2**20:.0f} MiB, fit {more / 2**10:.0f} MiB more")


def main():
    parts = ("step", "fit", "map", "encoders", "growth", "import", "pairs", "memory")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--peak-memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_memory:
        return peak_memory(arguments.peak_memory)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread")
    of_repeats = {
        "step": steps,
        "fit": fits,
        "map": maps,
        "encoders": encoders,
        "growth": growth,
        "import": imports,
    }
    for part in arguments.only:
        if part in of_repeats:
            of_repeats[part](arguments.repeats)
        else:
            {"pairs": pairs, "memory": memory}[part]()
    return None


if __name__ == "__main__":
    main()
