"""Sample designs for map assessment: sample sizes per class, and random points."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state, check_scalar

from sklearn_colearn.accuracy import checked_areas
from sklearn_colearn.inputs import Array
from sklearn_colearn.modality_dict import declared_nodata

__all__ = ["draw_points", "sample_design"]

ALLOCATIONS = ("neyman", "proportional", "equal")


def sample_design(
    areas: Any,
    n: int | None = None,
    *,
    expected: float | Mapping[Any, float] | pd.Series[Any] | None = None,
    standard_error: float | None = None,
    allocation: str = "neyman",
    minimum: int = 50,
) -> pd.DataFrame:
    r"""Plan a stratified random sample for assessing a map.

    Parameters
    ----------
    areas : mapping, pandas.Series or xarray.DataArray
        Area or number of pixels of each stratum, or a map of classes as returned by
        :func:`predict_raster`. Pixels of a map are counted by class, without nodata;
        ``flag_meanings`` names the strata.
    n : int, default=None
        Number of samples. None derives it from `standard_error`.
    expected : float, mapping or pandas.Series of float, default=None
        Expected user's accuracy, between 0 and 1, overall or by stratum, such as the
        precision on held-out rows. None means 0.5, which needs the most samples.
    standard_error : float, default=None
        Standard error of the overall accuracy, instead of `n`.
    allocation : {'neyman', 'proportional', 'equal'}, default='neyman'
        Allocation of samples to strata: by area and standard deviation, which minimises
        the standard error of the overall accuracy; by area; or equally.
    minimum : int, default=50
        Minimum number of samples per stratum, at least 2. Map strata with fewer pixels
        are sampled completely.

    Returns
    -------
    pandas.DataFrame
        A row per stratum with an area: ``area``, ``weight`` (its share), ``expected``
        (user's accuracy) and ``n`` (number of samples, summing to `n`).

    Raises
    ------
    TypeError
        If `areas` has another type.
    ValueError
        If areas or expected accuracies are out of range or lack a stratum, `n` is too
        small for `minimum` or exceeds the pixels of the map, not exactly one of `n` and
        `standard_error` is given, or the map has values that are not classes.

    Notes
    -----
    A stratum of weight :math:`W_i` and expected accuracy :math:`U_i` has the standard
    deviation :math:`S_i = \sqrt{U_i (1 - U_i)}`. Neyman's allocation is proportional to
    :math:`W_i S_i` and needs :math:`n = (\sum_i W_i S_i / S(O))^2` samples for a
    standard error :math:`S(O)` (equation 5.25 of [1]_ without its small last term;
    equation 13 of [2]_). Other allocations, with shares :math:`a_i`, need more:
    :math:`n = \sum_i (W_i S_i)^2 / a_i / S(O)^2`. Samples for `minimum` are added with
    `standard_error`, and taken from other strata with `n`.

    References
    ----------
    .. [1] Cochran, "Sampling Techniques", 3rd edition, Wiley, 1977.
    .. [2] Olofsson et al., "Good practices for estimating area and assessing accuracy
           of land change", Remote Sensing of Environment 148:42, 2014,
           doi:10.1016/j.rse.2014.02.015.

    Examples
    --------
    >>> from sklearn_colearn import sample_design
    >>> areas = {"burnt": 500, "forest": 6000, "grass": 3500}
    >>> expected = {"burnt": 0.7, "forest": 0.95, "grass": 0.9}
    >>> sample_design(areas, 400, expected=expected)
               area  weight  expected    n
    stratum
    burnt     500.0    0.05      0.70   50
    forest   6000.0    0.60      0.95  194
    grass    3500.0    0.35      0.90  156
    """
    if allocation not in ALLOCATIONS:
        raise ValueError(
            f"Unknown allocation {allocation!r}; use one of {list(ALLOCATIONS)}."
        )
    check_scalar(minimum, "minimum", Integral, min_val=2)
    if (n is None) == (standard_error is None):
        raise ValueError(
            "Pass either n= or standard_error=; got "
            f"{'neither' if n is None else 'both'}."
        )
    if hasattr(areas, "dims"):
        known = checked_areas(_pixels_by_class(areas))
        most = known.to_numpy()
    else:
        known = checked_areas(areas)
        known = known[known > 0]
        most = np.full(len(known), np.inf)
    known = known.rename_axis("stratum")
    weight = known.to_numpy() / known.sum()
    accuracy = _expected(expected, known.index)
    deviation = weight * np.sqrt(accuracy * (1 - accuracy))
    share = {
        # The small term ranks strata of expected accuracy 0 or 1 last, by area.
        "neyman": deviation + 1e-9 * weight,
        "proportional": weight,
        "equal": np.ones(len(weight)),
    }[allocation]
    share = share / share.sum()
    fewest = np.minimum(minimum, most)
    if standard_error is not None:
        check_scalar(
            standard_error,
            "standard_error",
            Real,
            min_val=0,
            include_boundaries="neither",
        )
        needed = int(np.ceil((deviation**2 / share).sum() / standard_error**2 - 1e-9))
        needed = int(min(needed, most.sum()))
        allotted = np.maximum(_allocate(share, needed, 0 * fewest, most), fewest)
    else:
        check_scalar(n, "n", Integral, min_val=1)
        assert n is not None
        if n < fewest.sum():
            raise ValueError(
                f"n={n} is too small: minimum={minimum} in each of {len(known)} strata "
                f"requires {fewest.sum():.0f} samples. Raise n or lower minimum=."
            )
        if n > most.sum():
            raise ValueError(f"n={n} exceeds the {most.sum():.0f} pixels of the map.")
        allotted = _allocate(share, n, fewest, most)
    columns = {"area": known, "weight": weight, "expected": accuracy}
    return pd.DataFrame(columns, index=known.index).assign(n=allotted.astype(int))


def draw_points(
    classes: Any,
    n: Mapping[Any, int] | pd.Series[Any],
    *,
    random_state: int | np.random.RandomState | None = None,
) -> pd.DataFrame:
    """Draw random pixels of each class of a map.

    Parameters
    ----------
    classes : xarray.DataArray
        Map of classes, as returned by :func:`predict_raster`. A lazy map is computed
        twice; write a slow one to a file first.
    n : mapping or pandas.Series of int
        Number of pixels of each class, such as ``n`` of :func:`sample_design`.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    pandas.DataFrame
        Coordinates of each pixel, named after the map's dimensions, and its
        ``map_class``, in random order.

    Raises
    ------
    TypeError
        If `classes` is not a DataArray.
    ValueError
        If the map has too few pixels of a class.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from sklearn_colearn import draw_points
    >>> land_cover = xr.DataArray(np.arange(200).reshape(10, 20) % 3, dims=("y", "x"))
    >>> points = draw_points(land_cover, {0: 5, 2: 10}, random_state=0)
    >>> points.shape, points["map_class"].value_counts().to_dict()
    ((15, 3), {2: 10, 0: 5})
    """
    values, counts, origins = _counts_by_block(classes)
    names = _names(classes, values)
    value_of = {name: value for value, name in names.items()}
    wanted = dict(n)
    ends = dict(zip(values, np.cumsum(counts, axis=0).T, strict=True))
    for name, number in wanted.items():
        there = ends[value_of[name]][-1] if name in value_of else 0
        if not 0 <= number <= there or number != int(number):
            raise ValueError(
                f"Cannot draw {number} pixels of {name!r}; the map contains {there}."
            )
    seed = check_random_state(random_state).randint(2**31, size=4)
    rng = np.random.default_rng(seed)
    # For each block, the drawn pixels of each value, by their rank among its pixels.
    ranks: list[dict[int, Array]] = [{} for _ in origins]
    for name, number in wanted.items():
        if number == 0:
            continue
        end = ends[value_of[name]]
        drawn = np.sort(rng.choice(end[-1], int(number), replace=False, shuffle=False))
        block = np.searchsorted(end, drawn, side="right")
        for i in np.unique(block):
            before = end[i - 1] if i else 0
            ranks[i][value_of[name]] = drawn[block == i] - before
    found = _each_block(classes, _places, [(own,) for own in ranks])
    rows = []
    for origin, by_value in zip(origins, found, strict=True):
        for value, places in by_value.items():
            columns = {
                f"{dim}": _coordinate(classes, dim, start + inside)
                for dim, start, inside in zip(classes.dims, origin, places, strict=True)
            }
            rows.append(pd.DataFrame(columns).assign(map_class=names[value]))
    if not rows:
        return pd.DataFrame(columns=[*map(str, classes.dims), "map_class"])
    points = pd.concat(rows, ignore_index=True)
    return points.iloc[rng.permutation(len(points))].reset_index(drop=True)


def _pixels_by_class(classes: Any) -> dict[Any, int]:
    """Return the number of pixels of each class, by name."""
    values, counts, _ = _counts_by_block(classes)
    names = _names(classes, values)
    return {names[v]: n for v, n in zip(values, counts.sum(axis=0), strict=True)}


def _expected(expected: Any, strata: pd.Index[Any]) -> Array:
    if expected is None or isinstance(expected, Real):
        found = pd.Series(0.5 if expected is None else expected, strata, dtype=float)
    else:
        found = pd.Series(expected, dtype=float)
        if set(found.index) != set(strata):
            raise ValueError(
                f"expected= has the strata {found.index.tolist()}, but areas= has "
                f"{strata.tolist()}."
            )
        found = found.loc[strata]
    wrong = found[~found.between(0, 1)]
    if len(wrong):
        raise ValueError(f"expected= must be between 0 and 1; got {wrong.to_dict()}.")
    return found.to_numpy()


def _allocate(share: Array, n: int, fewest: Array, most: Array) -> Array:
    """Divide n in proportion to shares, within bounds, into integers that sum to n."""
    low, high = 0.0, n / share.min() + 1
    for _ in range(200):  # bisect to machine precision
        factor = (low + high) / 2
        quota = np.clip(factor * share, fewest, most)
        low, high = (factor, high) if quota.sum() < n else (low, factor)
    whole = np.floor(quota + 1e-6)
    largest = np.argsort(whole - quota, kind="stable")
    whole[largest[: int(n - whole.sum())]] += 1
    return whole


# -- maps ------------------------------------------------------------------------------


def _each_block(
    classes: Any, function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
) -> list[Any]:
    """Call a function on each block of a map, in order."""
    if classes.chunks is None:
        return [function(classes.values, *own) for own in arguments]
    from dask.base import compute
    from dask.delayed import delayed

    blocks = classes.data.to_delayed().ravel()
    task = delayed(function)
    calls = [task(b, *own) for b, own in zip(blocks, arguments, strict=True)]
    return list(compute(*calls))  # type: ignore[no-untyped-call]


def _counts_by_block(classes: Any) -> tuple[list[int], Array, list[tuple[int, ...]]]:
    """Return the values, their counts (n_blocks, n_values), and the block origins."""
    if not hasattr(classes, "dims") or hasattr(classes, "data_vars"):
        raise TypeError(
            "The map of classes must be an xarray.DataArray; got "
            f"{type(classes).__name__}."
        )
    chunks = classes.chunks or [(size,) for size in classes.shape]
    starts = [np.cumsum([0, *sizes[:-1]]).tolist() for sizes in chunks]
    origins = list(product(*starts))
    found = _each_block(classes, _count, [()] * len(origins))
    values = sorted(set().union(*found) - set(declared_nodata(classes)))
    if not values:
        raise ValueError("The map contains only nodata; expected pixels with a class.")
    counts = [[own.get(value, 0) for value in values] for own in found]
    return values, np.array(counts), origins


def _count(block: Array) -> dict[Any, int]:
    if block.dtype.kind not in "biuf":
        raise ValueError(
            f"The map of classes must contain integers; got {block.dtype}."
        )
    values, counts = np.unique(block[~np.isnan(block)], return_counts=True)
    if (values != np.floor(values)).any():
        raise ValueError(
            "The map of classes must contain integers; got fractions. For a map of "
            "values, pass map.notnull().astype('uint8') to draw points from all of it."
        )
    return dict(zip(values.astype(np.int64).tolist(), counts.tolist(), strict=True))


def _places(block: Array, ranks: Mapping[Any, Array]) -> dict[Any, tuple[Array, ...]]:
    """Return the positions of each value's pixels that have the given ranks."""
    return {
        value: np.unravel_index(np.flatnonzero(block == value)[own], block.shape)
        for value, own in ranks.items()
    }


def _coordinate(classes: Any, dim: Any, places: Array) -> Array:
    coords = classes.coords
    return np.asarray(coords[dim].values[places] if dim in coords else places)


def class_names(map: Any) -> dict[int, Any]:
    """Return the class names of a map by number, or {} without ``flag_values``.

    Names that are numbers stay numbers, so that they equal the labels in y.
    """
    if "flag_values" not in map.attrs:
        return {}
    numbers = np.ravel(map.attrs["flag_values"]).tolist()
    names: list[Any] = str(map.attrs.get("flag_meanings", "")).split() or numbers
    if len(numbers) != len(names):
        raise ValueError(
            f"The map has flag_values {numbers} but flag_meanings {names}. Expected "
            "one meaning per value."
        )
    if (pd.to_numeric(names, errors="coerce") == np.array(numbers)).all():
        names = numbers
    return dict(zip(numbers, names, strict=True))


def _names(classes: Any, values: Iterable[int]) -> dict[int, Any]:
    """Return the name of each value of a map, or the value itself without names."""
    names = class_names(classes) or {value: value for value in values}
    if unknown := sorted(set(values) - set(names)):
        raise ValueError(
            f"The map contains {unknown} besides its classes {names}. If these are "
            "nodata values, declare them as _FillValue."
        )
    return {value: names[value] for value in values}
