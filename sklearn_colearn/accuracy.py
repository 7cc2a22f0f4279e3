"""Estimate map accuracy and class areas from a probability sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils.validation import check_consistent_length

from sklearn_colearn.inputs import Array

__all__ = ["MapAccuracy", "checked_areas", "map_accuracy"]

COLUMNS = ["estimate", "standard_error", "lower", "upper"]


@dataclass(frozen=True, eq=False, repr=False)
class MapAccuracy:
    """Estimated accuracy of a map and areas of its classes, with uncertainty.

    Returned by :func:`map_accuracy`. Estimates have the columns ``estimate``,
    ``standard_error``, ``lower`` and ``upper``.

    Parameters
    ----------
    confusion_matrix : pandas.DataFrame of shape (n_classes, n_classes)
        Proportions of the map's area. Rows are map classes, columns reference classes.
    counts : pandas.DataFrame of shape (n_classes, n_classes)
        Numbers of samples, in the same layout.
    overall : pandas.Series of shape (4,)
        Overall accuracy.
    users : pandas.DataFrame of shape (n_classes, 4)
        User's accuracy (precision) by map class; NaN without samples mapped to it.
    producers : pandas.DataFrame of shape (n_classes, 4)
        Producer's accuracy (recall) by reference class; NaN without samples of it.
    areas : pandas.DataFrame of shape (n_classes, 4)
        Area of each reference class, in the given unit, or as a proportion.
    kappa : float
        Cohen's kappa; NaN with a single class.
    confidence_level : float
        Nominal coverage of the intervals.
    """

    confusion_matrix: pd.DataFrame
    counts: pd.DataFrame
    overall: pd.Series[float]
    users: pd.DataFrame
    producers: pd.DataFrame
    areas: pd.DataFrame
    kappa: float
    confidence_level: float

    def to_frame(self) -> pd.DataFrame:
        """Return a table of all estimates.

        Returns
        -------
        pandas.DataFrame of shape (1 + 3 * n_classes, 4)
            Indexed by measure (``"overall"``, ``"users"``, ``"producers"``,
            ``"areas"``) and class (``"all"`` for the overall accuracy).
        """
        parts = {
            "overall": self.overall.to_frame("all").T,
            "users": self.users,
            "producers": self.producers,
            "areas": self.areas,
        }
        return pd.concat(parts, names=["measure", "class"])

    def __repr__(self) -> str:
        z = norm.ppf((1 + self.confidence_level) / 2)

        def shown(table: pd.DataFrame, decimals: int = 3) -> list[str]:
            return [
                "-"
                if np.isnan(estimate)
                else f"{estimate:,.{decimals}f} ± {z * error:,.{decimals}f}"
                for estimate, error in table[COLUMNS[:2]].to_numpy()
            ]

        total = self.areas["estimate"].sum()
        decimals = max(0, 3 - int(np.floor(np.log10(total * 1.001))))
        table = pd.DataFrame(
            {
                "mapped": self.counts.sum(axis=1),
                "reference": self.counts.sum(),
                "user's accuracy": shown(self.users),
                "producer's accuracy": shown(self.producers),
                "area": shown(self.areas, decimals),
            }
        )
        return (
            f"Map accuracy from {self.counts.to_numpy().sum():,} samples, "
            f"± {100 * self.confidence_level:g}% interval\n"
            f"overall accuracy: {shown(self.overall.to_frame().T)[0]}, "
            f"kappa: {self.kappa:.3f}\n\n{table.to_string()}"
        )


def map_accuracy(
    y_true: Any,
    y_pred: Any,
    *,
    strata: Any = None,
    areas: Mapping[Any, float] | pd.Series[Any] | None = None,
    confidence_level: float = 0.95,
) -> MapAccuracy:
    """Estimate the accuracy of a map and the areas of its classes from a sample.

    Samples must be drawn at random, from the whole map or within strata (see
    :func:`sample_design`). Strata are weighted by area, not by number of samples.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Reference class of each sample, as numbers or text.
    y_pred : array-like of shape (n_samples,)
        Map class of each sample.
    strata : array-like of shape (n_samples,), default=None
        Stratum of each sample. None means the map classes if `areas` is given, else a
        simple random sample.
    areas : mapping or pandas.Series of float, default=None
        Area of each stratum in any unit, such as pixels. Required with `strata`;
        without it, by class of `y_pred`.
    confidence_level : float, default=0.95
        Nominal coverage of the intervals, between 0 and 1.

    Returns
    -------
    MapAccuracy
        Estimates for the classes in `y_true` and `y_pred`, sorted.

    Raises
    ------
    TypeError
        If `areas` is neither a mapping nor a Series.
    ValueError
        If lengths differ, labels are missing or fractions, or text and numbers are
        mixed; if areas are negative, not finite or all zero; if a stratum has an area
        but no sample, a sample but no area, or a single sample; or if
        `confidence_level` is out of range.

    Notes
    -----
    Proportions are stratified means, and user's and producer's accuracies are ratios of
    two such means [1]_. With map classes as strata, these are the estimators of [2]_.
    `areas` with a simple random sample post-stratify it by map class, which usually
    narrows the intervals. For areas in hectares without this, pass a single stratum:
    ``strata=["map"] * n, areas={"map": hectares}``.

    As in [2]_, variances omit the finite population correction of [1]_, because areas
    need not be pixel counts.

    Intervals are normal, clipped to [0, 1] (or the map's area), and rough for few
    samples. If all samples of a class are correct, its standard error is 0.

    References
    ----------
    .. [1] Stehman, "Estimating area and map accuracy for stratified random sampling
           when the strata are different from the map classes", International Journal
           of Remote Sensing 35:4923, 2014, doi:10.1080/01431161.2014.930207.
    .. [2] Olofsson et al., "Good practices for estimating area and assessing accuracy
           of land change", Remote Sensing of Environment 148:42, 2014,
           doi:10.1016/j.rse.2014.02.015.

    Examples
    --------
    >>> from sklearn_colearn import map_accuracy
    >>> y_true = ["crops"] * 45 + ["forest"] * 5 + ["forest"] * 49 + ["crops"]
    >>> y_pred = ["crops"] * 50 + ["forest"] * 50
    >>> map_accuracy(y_true, y_pred, areas={"crops": 1000, "forest": 9000})
    Map accuracy from 100 samples, ± 95% interval
    overall accuracy: 0.972 ± 0.036, kappa: 0.850
    <BLANKLINE>
            mapped  reference user's accuracy producer's accuracy         area
    crops       50         46   0.900 ± 0.084       0.833 ± 0.273  1,080 ± 363
    forest      50         54   0.980 ± 0.039       0.989 ± 0.009  8,920 ± 363
    """
    if not 0 < confidence_level < 1:
        raise ValueError(
            f"confidence_level= must be between 0 and 1; got {confidence_level!r}."
        )
    if strata is not None and areas is None:
        raise ValueError("strata= requires areas=, the area of each stratum.")
    check_consistent_length(y_true, y_pred, strata)
    reference, mapped = _labels("y_true", y_true), _labels("y_pred", y_pred)
    for name, labels in (("y_true", reference), ("y_pred", mapped)):
        fractions = (v for v in labels if isinstance(v, Real) and v % 1)
        if (value := next(fractions, None)) is not None:
            raise ValueError(
                f"{name} must contain classes; got {float(value):g}. Score a map of "
                "values with sklearn.metrics, for example r2_score."
            )
    if isinstance(reference[0], str) != isinstance(mapped[0], str):
        raise ValueError(
            "y_true and y_pred must both contain text or both numbers; got "
            f"{reference[0]!r} and {mapped[0]!r}. A map's flag_values and "
            "flag_meanings relate numbers to class names."
        )
    both = np.concatenate([reference, mapped]).tolist()
    classes, codes = np.unique(both, return_inverse=True)
    true, predicted = np.split(codes, 2)
    sample, total = _sample(mapped, strata, areas)
    return _estimated(sample, true, predicted, classes, total, confidence_level)


def checked_areas(areas: Any) -> pd.Series[float]:
    """Validate the areas of strata and return them as a Series."""
    if not isinstance(areas, Mapping | pd.Series):
        raise TypeError(
            "areas= must be a mapping or Series from stratum to area; got "
            f"{type(areas).__name__}."
        )
    found = pd.Series(areas, dtype=float)
    if not found.index.is_unique:
        twice = list(found.index[found.index.duplicated()].unique())
        raise ValueError(f"areas= contains the strata {twice} more than once.")
    wrong = found[~(np.isfinite(found) & (found >= 0))]
    if len(wrong):
        raise ValueError(
            f"areas= must be finite and not negative; got {wrong.to_dict()}."
        )
    if not found.sum() > 0:
        raise ValueError("areas= must contain a positive area; all areas are 0.")
    return found


@dataclass(frozen=True)
class _Sample:
    """A stratified random sample."""

    strata: Array  # (n_samples,), index of each sample's stratum
    weights: Array  # (n_strata,), share of each stratum in the map

    def _by_stratum(self, values: Array) -> tuple[Array, Array]:
        """Return the mean and the number of samples of each stratum."""
        n = np.bincount(self.strata)
        return np.bincount(self.strata, values) / n, n

    def mean(self, values: Array) -> float:
        """Return the estimated mean over the map."""
        return float(self.weights @ self._by_stratum(values)[0])

    def variance(self, values: Array) -> float:
        """Return the estimated variance of the mean over the map."""
        means, n = self._by_stratum(values)
        spread = self._by_stratum((values - means[self.strata]) ** 2)[0] / (n - 1)
        return float(self.weights**2 @ spread)

    def ratio(self, part: Array, whole: Array) -> tuple[float, float]:
        """Return the estimated ratio of two means and its standard error."""
        size = self.mean(whole)
        if size == 0:
            return np.nan, np.nan
        ratio = self.mean(part) / size
        return ratio, np.sqrt(self.variance(part - ratio * whole)) / size


def _labels(name: str, values: Any) -> Array:
    """Validate labels and return them as an array of objects."""
    labels = np.asarray(values, dtype=object)  # otherwise ["a", nan] becomes text
    if labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"{name} must contain one label per sample, shape (n_samples,); got shape "
            f"{labels.shape}."
        )
    missing = np.flatnonzero(pd.isna(labels))
    if len(missing):
        raise ValueError(
            f"{name} lacks {len(missing)} of {len(labels)} labels (None or NaN), the "
            f"first at position {missing[0]}. Drop such samples only if labels are "
            "missing independently of class."
        )
    if len({isinstance(label, str) for label in labels}) > 1:
        raise ValueError(
            f"{name} mixes text with other labels; use only text or only numbers."
        )
    return labels


def _sample(mapped: Array, strata: Any, areas: Any) -> tuple[_Sample, float]:
    """Return the sample and the area of the map."""
    if areas is None:
        drawn, known = np.zeros(len(mapped), dtype=int), pd.Series([1.0])
    else:
        drawn = mapped if strata is None else _labels("strata", strata)
        known = checked_areas(areas)
    names, numbers = np.unique(drawn.tolist(), return_inverse=True)
    places = known.index.get_indexer(pd.Index(names))
    hint = "" if strata is not None else " Without strata=, they are classes of y_pred."
    if (places < 0).any():
        raise ValueError(
            f"areas= lacks the sampled strata {names[places < 0].tolist()}; it "
            f"contains {known.index.tolist()}.{hint}"
        )
    unseen = known.drop(known.index[places])
    if (unseen > 0).any():
        raise ValueError(
            f"The strata {unseen.index[unseen > 0].tolist()} of areas= have no "
            "samples. Draw samples from them, or remove them from areas= to assess "
            f"only the rest of the map.{hint}"
        )
    sizes = known.to_numpy()[places]
    if (sizes == 0).any():
        raise ValueError(
            f"The strata {names[sizes == 0].tolist()} have samples but area 0 in "
            f"areas=.{hint}"
        )
    single = np.bincount(numbers) == 1
    if single.any():
        which = (
            f"strata {names[single].tolist()} have" if areas is not None else "map has"
        )
        raise ValueError(
            f"The {which} a single sample, so the variance is unknown. Draw more "
            "samples, or merge strata in strata= and areas=."
        )
    return _Sample(numbers, sizes / sizes.sum()), float(sizes.sum())


def _estimated(
    sample: _Sample,
    true: Array,
    predicted: Array,
    classes: Array,
    total: float,
    confidence_level: float,
) -> MapAccuracy:
    """Estimate all measures from class indices."""
    k = len(classes)
    counts = np.zeros((k, k), dtype=int)
    np.add.at(counts, (predicted, true), 1)
    # Each sample represents an equal share of its stratum.
    shares = (sample.weights / np.bincount(sample.strata))[sample.strata]
    cells = np.zeros((k, k))
    np.add.at(cells, (predicted, true), shares)
    everything = np.ones(len(true))
    right = (true == predicted).astype(float)
    in_map = [(predicted == i).astype(float) for i in range(k)]
    in_reference = [(true == i).astype(float) for i in range(k)]
    z = norm.ppf((1 + confidence_level) / 2)
    axis = pd.Index(classes, name="class")

    def table(found: list[tuple[float, float]], index: Any, unit: float = 1.0) -> Any:
        estimate, error = unit * np.array(found).T
        low = np.clip(estimate - z * error, 0, unit)
        high = np.clip(estimate + z * error, 0, unit)
        rows = np.stack([estimate, error, low, high], axis=1)
        return pd.DataFrame(rows, index, COLUMNS)

    def matrix(values: Array) -> pd.DataFrame:
        rows, columns = axis.rename("map class"), axis.rename("reference class")
        return pd.DataFrame(values, rows, columns)

    overall = table([sample.ratio(right, everything)], ["overall"]).loc["overall"]
    agreement, chance = cells.trace(), cells.sum(axis=0) @ cells.sum(axis=1)
    return MapAccuracy(
        confusion_matrix=matrix(cells),
        counts=matrix(counts),
        overall=overall,
        users=table([sample.ratio(x * right, x) for x in in_map], axis),
        producers=table([sample.ratio(x * right, x) for x in in_reference], axis),
        areas=table([sample.ratio(x, everything) for x in in_reference], axis, total),
        kappa=float((agreement - chance) / (1 - chance)) if k > 1 else np.nan,
        confidence_level=confidence_level,
    )
