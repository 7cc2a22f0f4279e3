"""Simulated sensors with known shared and specific factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils import check_random_state, check_scalar

from sklearn_colearn.modality_dict import ModalityDict

__all__ = ["make_multisensor"]

Array = NDArray[Any]
Shape = tuple[int, ...]

DEFAULT_SENSORS = {"S1": (12, 2), "S2": (12, 4), "terrain": (6,)}
TASKS = ("classification", "multilabel", "regression")


def _check_sensors(modalities: Mapping[str, Sequence[int]]) -> dict[str, Shape]:
    if not isinstance(modalities, Mapping) or not modalities:
        raise ValueError(
            "modalities must be a dict of one or more names and shapes, such as "
            f"{{'S1': (12, 2), 'terrain': (6,)}}; got {modalities!r}."
        )
    for name, shape in modalities.items():
        sizes = shape if isinstance(shape, tuple | list) else ()
        whole = all(isinstance(n, int | np.integer) and n >= 1 for n in sizes)
        if not whole or not 1 <= len(sizes) <= 3:
            raise ValueError(
                f"the shape of modality {name!r} must be (features,), (time, bands) or "
                f"(height, width, bands), each at least 1; got {shape!r}."
            )
    return {name: tuple(shape) for name, shape in modalities.items()}


def _check_amount(value: float, name: str) -> None:
    check_scalar(value, name, Real, min_val=0)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value}.")


def _per_modality(
    value: float | Mapping[str, float],
    name: str,
    sensors: Mapping[str, Shape],
    default: float,
) -> dict[str, float]:
    """Expand one value, or a dict of some, to a dict of all modalities."""
    if not isinstance(value, Mapping):
        _check_amount(value, name)
        return dict.fromkeys(sensors, value)
    unknown = [key for key in value if key not in sensors]
    if unknown:
        raise ValueError(
            f"{name} names {unknown}, but the modalities are {list(sensors)}."
        )
    for key, number in value.items():
        _check_amount(number, f"{name}[{key!r}]")
    return {key: value.get(key, default) for key in sensors}


def _check_weights(weights: Sequence[float] | None, n_classes: int) -> Array:
    if weights is None:
        return np.full(n_classes, 1 / n_classes)
    shares = np.asarray(weights, dtype=float)
    if shares.shape != (n_classes,) or not (shares > 0).all():
        raise ValueError(
            f"weights must be {n_classes} positive numbers, one per class; got "
            f"{weights!r}."
        )
    return shares / shares.sum()


def _check_gaps(
    rows: Mapping[str, float], steps: Mapping[str, float], sensors: Mapping[str, Shape]
) -> None:
    """Refuse shares that would leave a row without modalities or steps."""
    if sum(rows.values()) > len(sensors) - 1 + 1e-9 or max(rows.values()) > 1:
        raise ValueError(
            "missing_rows must leave every row at least one modality. For "
            f"{len(sensors)} modalities, each share must be at most 1 and their sum at "
            f"most {len(sensors) - 1}; got {dict(rows)}."
        )
    for name, share in steps.items():
        n_steps = _n_steps(sensors[name])
        if share * n_steps > n_steps - 1 + 1e-9:
            raise ValueError(
                f"missing_steps of modality {name!r} must leave one of the {n_steps} "
                f"step(s) of its shape {sensors[name]}: expected at most "
                f"{(n_steps - 1) / n_steps:.3g}, got {share}."
            )


def _n_steps(shape: Shape) -> int:
    """Count the units that can be missing: time steps, pixels, or table values."""
    return int(np.prod(shape[:-1])) if len(shape) > 1 else shape[0]


def _smooth_curves(rng: np.random.Generator, shape: Shape, length: int) -> Array:
    """Draw seasonal curves (*shape, length) from a level and three damped harmonics."""
    time = np.arange(length) / length
    curves = np.repeat(rng.normal(size=(*shape, 1)), length, axis=-1)
    for harmonic in (1, 2, 3):
        phase = rng.uniform(0, 2 * np.pi, size=(*shape, 1))
        height = rng.normal(size=(*shape, 1)) / harmonic
        curves += height * np.cos(2 * np.pi * harmonic * time + phase)
    return curves


def _responses(rng: np.random.Generator, count: int, shape: Shape) -> Array:
    """Draw a sensor's responses to factors, (count, *shape), with mean square 1."""
    *lengths, n_bands = shape
    if lengths:
        curves = [_smooth_curves(rng, (count, n_bands), length) for length in lengths]
        answers = np.einsum(["fbt->ftb", "fbh,fbw->fhwb"][len(curves) - 1], *curves)
    else:
        answers = rng.normal(size=(count, n_bands))
    axes = tuple(range(1, len(shape) + 1))
    return answers / np.sqrt(np.mean(answers**2, axis=axes, keepdims=True))


def _direction(rng: np.random.Generator, n_factors: int, n_outputs: int) -> Array:
    weights = rng.normal(size=(n_factors, n_outputs))
    return weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)


def _target(rng: np.random.Generator, scores: Array, task: str, shares: Array) -> Array:
    if task == "multilabel":
        return (scores > np.median(scores, axis=0)).astype(np.int64)
    if task == "regression":
        return scores[:, 0] if scores.shape[1] == 1 else scores
    ranks = scores[:, 0].argsort().argsort()
    # Half a rank keeps rounding errors from moving a row to the next class.
    return np.searchsorted(np.cumsum(shares[:-1]) * len(ranks), ranks + 0.5)


def _draw_missing_rows(
    rng: np.random.Generator, n_samples: int, shares: Sequence[float]
) -> Array:
    """Draw a mask (n_samples, n_modalities) that leaves every row a modality."""
    missing = np.zeros((n_samples, len(shares)), dtype=bool)
    for column, share in enumerate(shares):
        missing[rng.permutation(n_samples)[: int(share * n_samples + 1e-9)], column] = 1
    empty = np.flatnonzero(missing.all(axis=1))
    # Rows with several modalities each give one to an empty row, so shares stay exact.
    spare = np.repeat(np.arange(n_samples), np.maximum((~missing).sum(axis=1) - 1, 0))
    for row, donor in zip(empty, rng.permutation(spare), strict=False):
        column = rng.choice(np.flatnonzero(~missing[donor]))
        missing[row, column], missing[donor, column] = False, True
    return missing


def _blank_steps(rng: np.random.Generator, values: Array, share: float) -> None:
    """Set a share of each row's steps to NaN in place, but never all of them."""
    n_samples, n_steps = len(values), _n_steps(values.shape[1:])
    # Random rounding makes the share right on average.
    counts = np.floor(share * n_steps + rng.random(n_samples)).astype(int)
    counts = np.minimum(counts, n_steps - 1)
    order = rng.random((n_samples, n_steps)).argsort(axis=1).argsort(axis=1)
    gaps = order < counts[:, np.newaxis]
    values[gaps.reshape(values.shape[: max(values.ndim - 1, 2)])] = np.nan


def make_multisensor(
    n_samples: int = 1000,
    *,
    modalities: Mapping[str, Sequence[int]] | None = None,
    task: str = "classification",
    n_classes: int = 3,
    weights: Sequence[float] | None = None,
    n_outputs: int = 1,
    n_shared: int = 2,
    n_specific: int = 2,
    shared_signal: float = 1.0,
    specific_signal: float | Mapping[str, float] = 1.0,
    target_noise: float = 0.1,
    noise: float | Mapping[str, float] = 0.5,
    missing_rows: float | Mapping[str, float] = 0.0,
    missing_steps: float | Mapping[str, float] = 0.0,
    n_places: int | None = None,
    place_shift: float | Mapping[str, float] = 1.0,
    dtype: DTypeLike = np.float32,
    return_factors: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[Any, ...]:
    """Simulate sensors that observe known shared and specific factors.

    All sensors observe `n_shared` factors, and each alone observes `n_specific`
    factors, all independent and standard normal. A sensor's values are a baseline, plus
    each factor times its response (smooth seasonal curves for time series), plus white
    noise. The target is a linear score of the factors plus noise. Sensors that a dict
    omits keep the default.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    modalities : dict of str to tuple of int, default=None
        Row shape of each sensor: `(features,)`, `(time, bands)` or `(height, width,
        bands)`. None means `{"S1": (12, 2), "S2": (12, 4), "terrain": (6,)}`.
    task : {'classification', 'multilabel', 'regression'}, default='classification'
        Classes are ranges of one score, labels mark scores above their median, and
        regression targets are the scores.
    n_classes : int, default=3
        Number of classes, or of labels if `task='multilabel'`, at least 2.
    weights : sequence of float, default=None
        Relative shares of the classes. Equal by default.
    n_outputs : int, default=1
        Number of targets if `task='regression'`.
    n_shared, n_specific : int, default=2
        Number of shared factors, and of specific factors per sensor. May be 0.
    shared_signal : float, default=1.0
        Standard deviation of the score's part from shared factors.
    specific_signal : float or dict of str to float, default=1.0
        Standard deviation of the score's part from specific factors. Sensors share its
        variance equally; a dict scales their parts.
    target_noise : float, default=0.1
        Standard deviation of the score's noise (1 if it and all signals are 0).
    noise : float or dict of str to float, default=0.5
        Standard deviation of a sensor's noise. Its signal has 1.
    missing_rows : float or dict of str to float, default=0.0
        Share of rows that are all NaN in a sensor. Every row keeps at least one.
    missing_steps : float or dict of str to float, default=0.0
        Share of time steps (image pixels, table values) that are NaN in the other rows.
        Every row keeps at least one.
    n_places : int, default=None
        Number of places, drawn at random for the rows. Each place has an offset in each
        sensor, so models transfer less well to new places.
    place_shift : float or dict of str to float, default=1.0
        Root mean square of these offsets. A sensor's signal has 1.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float32
        Type of the values.
    return_factors : bool, default=False
        Whether to also return the factors.
    random_state : int, RandomState instance or None, default=None
        Seed. None gives different data at each call.

    Returns
    -------
    X : ModalityDict
        One array per sensor, `(n_samples, *shape)`.
    y : ndarray
        Classes `(n_samples,)` of int64, labels `(n_samples, n_classes)` of 0 and 1,
        or float64 values `(n_samples,)`, or `(n_samples, n_outputs)` if several.
    places : ndarray of shape (n_samples,)
        Place of each row. Only with `n_places`.
    factors : dict
        `"shared"`: array `(n_samples, n_shared)`; `"specific"`: a dict of one array
        `(n_samples, n_specific)` per sensor. Only with `return_factors=True`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, a dict names an unknown sensor, or a row would lose
        all sensors or steps.

    Examples
    --------
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> X, y = make_multisensor(100, missing_rows={"S2": 0.2}, random_state=0)
    >>> X["S1"].shape, X["S2"].shape, X["terrain"].shape, y.shape
    ((100, 12, 2), (100, 12, 4), (100, 6), (100,))
    """
    sensors = _check_sensors(DEFAULT_SENSORS if modalities is None else modalities)
    if task not in TASKS:
        raise ValueError(f"task must be one of {list(TASKS)}; got {task!r}.")
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64; got {dtype!r}.")
    check_scalar(n_classes, "n_classes", Integral, min_val=2)
    least = n_classes if task == "classification" else 1
    check_scalar(n_samples, "n_samples", Integral, min_val=least)
    check_scalar(n_outputs, "n_outputs", Integral, min_val=1)
    check_scalar(n_shared, "n_shared", Integral, min_val=0)
    check_scalar(n_specific, "n_specific", Integral, min_val=0)
    _check_amount(shared_signal, "shared_signal")
    _check_amount(target_noise, "target_noise")
    shares = _check_weights(weights, n_classes)
    signals = _per_modality(specific_signal, "specific_signal", sensors, 1.0)
    noises = _per_modality(noise, "noise", sensors, 0.5)
    rows = _per_modality(missing_rows, "missing_rows", sensors, 0.0)
    steps = _per_modality(missing_steps, "missing_steps", sensors, 0.0)
    _check_gaps(rows, steps, sensors)
    shifts = _per_modality(place_shift, "place_shift", sensors, 1.0)
    if n_places is not None:
        check_scalar(n_places, "n_places", Integral, min_val=1)

    seed = None  # check_random_state(None) would use numpy's global state
    if random_state is not None:
        seed = check_random_state(random_state).randint(2**31, size=4)
    rng = np.random.default_rng(seed)
    # Gaps have a separate generator, so they change no other value.
    gap_rng = np.random.default_rng(rng.integers(2**31, size=4))
    shared = rng.normal(size=(n_samples, n_shared))
    specific = {name: rng.normal(size=(n_samples, n_specific)) for name in sensors}

    width = {"classification": 1, "multilabel": n_classes, "regression": n_outputs}
    scores = shared_signal * (shared @ _direction(rng, n_shared, width[task]))
    for name, signal in signals.items():
        part = specific[name] @ _direction(rng, n_specific, width[task])
        scores += signal / np.sqrt(len(sensors)) * part
    spread = target_noise if target_noise or scores.any() else 1.0
    scores += spread * rng.normal(size=scores.shape)
    y = _target(rng, scores, task, shares)

    # Places too.
    place_rng = np.random.default_rng(None if seed is None else [*seed, 1])
    places = place_rng.integers(n_places or 1, size=n_samples)
    arrays = {}
    absent = _draw_missing_rows(gap_rng, n_samples, list(rows.values()))
    for column, (name, shape) in enumerate(sensors.items()):
        factors = np.hstack([shared, specific[name]])
        n_factors = factors.shape[1]
        # The signal has standard deviation 1 for any number of factors.
        responses = _responses(rng, n_factors, shape) / max(n_factors, 1) ** 0.5
        values = np.tensordot(factors, responses, axes=1)
        values += _responses(rng, 1, shape)
        values += noises[name] * rng.normal(size=values.shape)
        if n_places is not None:
            offsets = _responses(place_rng, n_places, shape)
            values += shifts[name] * offsets[places]
        _blank_steps(gap_rng, values, steps[name])
        values[absent[:, column]] = np.nan
        arrays[name] = values.astype(dtype)
    made: tuple[Any, ...] = ModalityDict(arrays), y
    if n_places is not None:
        made += (places,)
    if return_factors:
        made += ({"shared": shared, "specific": specific},)
    return made
