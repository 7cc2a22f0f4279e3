"""Reports of evaluation scores, with paired differences and their intervals."""

from __future__ import annotations

from copy import copy
from html import escape
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

__all__ = ["ALL", "ALONE", "ModalityReport", "PartnerReport", "corrected_interval"]

#: Method that trains on one modality, and name of all modalities together.
ALONE, ALL = "alone", "all"

_FOLD = ["repeat", "fold"]


def corrected_interval(
    differences: Any, ratio: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the corrected resampled t interval of a mean difference over folds.

    Folds share training rows, so their differences vary too little; the correction adds
    `ratio` to ``1 / n_folds`` (Nadeau, Bengio, "Inference for the generalization
    error", Machine Learning 52:239, 2003, doi:10.1023/A:1024068626366).

    Parameters
    ----------
    differences : array-like of shape (n_folds,)
        Paired difference of each fold.
    ratio : float
        ``n_test / n_train`` of a fold.
    confidence : float, default=0.95
        Nominal coverage, between 0 and 1; others raise a ValueError.

    Returns
    -------
    low, high : float
        NaN for fewer than two folds.

    Examples
    --------
    >>> from sklearn_colearn.evaluation import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.03, 0.02, 0.04, 0.05], ratio=0.25)
    >>> round(low, 4), round(high, 4)
    (0.0006, 0.0594)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence= must be between 0 and 1; got {confidence!r}.")
    values = np.asarray(differences, dtype=float)
    n = len(values)
    if n < 2:
        return np.nan, np.nan
    spread = np.sqrt(values.var(ddof=1) * (1 / n + ratio))
    half = student_t.ppf((1 + confidence) / 2, n - 1) * spread
    return float(values.mean() - half), float(values.mean() + half)


class _Report:
    """Base class of reports: validates, compares and shows scores."""

    _key: str  # column that, with the modality, identifies a comparison
    _numbers: tuple[str, ...]
    #: Name and meaning of the compared column, and what counts as a win.
    _compared: tuple[str, str, str]

    def __init__(self, scores: pd.DataFrame, *, scoring: str | None = None) -> None:
        name = type(self).__name__
        if not isinstance(scores, pd.DataFrame):
            raise TypeError(
                f"The scores of a {name} must be a DataFrame; got "
                f"{type(scores).__name__}."
            )
        if "metric" in scores and scores["metric"].nunique(dropna=False) == 1:
            scoring = scores["metric"].iloc[0] if scoring is None else scoring
            scores = scores.drop(columns="metric")
        self.metrics = list(scores["metric"].unique()) if "metric" in scores else []
        self._modality = ["metric"] * bool(self.metrics) + ["modality"]
        self._keys = [*self._modality, self._key]
        keys = [*self._keys, *_FOLD]
        absent = [c for c in (*keys, *self._numbers) if c not in scores.columns]
        if absent:
            raise ValueError(f"The scores of a {name} lack the columns {absent}.")
        if len(scores) == 0:
            raise ValueError(f"The scores of a {name} have no rows.")
        twice = scores.duplicated(keys)
        if twice.any():
            raise ValueError(
                f"The scores contain {scores.loc[twice, keys].iloc[0].to_dict()} "
                "twice. To join runs on different folds, renumber one of them with "
                "scores.assign(repeat=scores['repeat'] + "
                f"{scores['repeat'].nunique()}). To drop copies of one fit, use "
                f"scores.drop_duplicates({keys})."
            )
        self.scores = scores.reset_index(drop=True)
        self.scoring = scoring

    def select(self, metric: str | None = None) -> Self:
        """Return the report of one metric.

        Parameters
        ----------
        metric : str, default=None
            One of ``metrics``. None returns a report of a single metric unchanged.
        """
        if not self.metrics and metric in (None, self.scoring):
            return self
        known = self.metrics or [self.scoring]
        if metric not in known:
            raise ValueError(
                f"The report has the metrics {known}; got {metric!r}. Choose one, for "
                f"example with report.select({known[0]!r})."
            )
        one = copy(self)
        _Report.__init__(one, self.scores[self.scores["metric"] == metric])
        return one

    def summary(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Return the mean gain of each modality from each partner, with its interval.

        Parameters
        ----------
        confidence : float, default=0.95
            Nominal coverage, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            A row per (metric,) modality and partner: ``gain``, the mean over folds;
            ``low`` and ``high``, its :func:`corrected_interval`; ``wins``, the number
            of folds with a gain (ties count half); ``n``, the number of folds.
        """
        return self._compare(self.scores, confidence)

    def _compare(self, table: pd.DataFrame, confidence: float) -> pd.DataFrame:
        """Summarise paired differences, without folds that lack one side."""
        column, rows = self._compared[0], {}
        blocks = table[self._modality].apply(lambda c: pd.factorize(c)[0])
        order = blocks.sort_values(self._modality, kind="stable").index
        for key, group in table.loc[order].groupby(self._keys, sort=False):
            paired = group.dropna(subset=column)
            values = paired[column]
            ratio = float((paired["n_test"] / paired["n_train"]).mean())
            interval = corrected_interval(values, ratio, confidence)
            wins = ((values > 0) + (values == 0) / 2).sum(min_count=1)
            rows[key] = [values.mean(), *interval, wins, len(paired)]
        index = pd.MultiIndex.from_tuples(rows, names=self._keys)
        columns = [column, "low", "high", "wins", "n"]
        return pd.DataFrame(list(rows.values()), index, columns)

    def _title(self) -> str:
        sizes = self.scores[_FOLD].drop_duplicates()["repeat"].value_counts()
        folds = f"{sizes.sum()} fold{'s' if sizes.sum() > 1 else ''}"
        # Random test sets overlap by chance, which makes repeats of unequal size.
        if len(sizes) > 1 and sizes.nunique() == 1:
            folds += f" in {len(sizes)} repeats"
        return f"{self.scoring or 'Score'}, larger is better; {folds}"

    def _notes(self) -> str:
        name, meaning, win = self._compared
        return (
            f"{name}: {meaning.format(**vars(self))}, mean over the same folds and "
            f"rows.\nlow, high: 95% interval of the {name} (corrected resampled t); if "
            f"it contains 0,\n  the {name} may be noise.\n"
            f"wins: number of the n folds in which {win}; ties count half."
        )

    def _text(self) -> pd.DataFrame:
        """Return the summary as rounded text, empty for NaN."""
        if self.metrics:
            blocks = {metric: self.select(metric)._text() for metric in self.metrics}
            return pd.concat(blocks, names=["metric"])
        largest = self.scores["score"].abs().groupby(self.scores[self._key]).max()
        # Use the median method, so that an outlier does not cost the others decimals.
        middle = largest.quantile(interpolation="lower")
        unit = np.log10(middle) if middle > 0 else 0
        decimals = int(np.clip(2 - np.floor(unit), 0, 9))
        forms = dict.fromkeys(["mean", "std"], f"{{:.{decimals}f}}")
        forms |= dict.fromkeys(["wins", "n"], "{:g}")
        signed, summary = f"{{:+.{decimals}f}}", self.summary()
        text = summary.apply(lambda c: c.map(forms.get(str(c.name), signed).format))
        return text.where(summary.notna(), "")

    def __repr__(self) -> str:
        with pd.option_context("display.width", None, "display.max_colwidth", None):
            table = self._text().to_string()
        return "\n".join([self._title(), "", table, "", self._notes()])

    def _repr_html_(self) -> str:
        notes = escape(self._notes()).replace("\n", "<br>")
        table = self._text().to_html()
        return f"<p>{escape(self._title())}</p>{table}<p><small>{notes}</small></p>"


class ModalityReport(_Report):
    """Scores of every modality by every method, fold by fold.

    Returned by :func:`~sklearn_colearn.evaluate_modalities`. Prints its summary.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``modality``, ``method``, ``repeat``, ``fold`` (within the repeat),
        ``score`` (larger is better), ``fit_time`` and ``predict_time`` (seconds),
        ``n_train`` and ``n_test`` (labelled rows with the modality), and, for several
        metrics, ``metric``. Join tables with :func:`pandas.concat`.
    reference : str, default='alone'
        Method to compare with.
    scoring : str, default=None
        Name of the score, for display.

    Attributes
    ----------
    metrics : list of str
        Names of the metrics; empty for a single one.

    Raises
    ------
    ValueError, TypeError
        If a column is absent, a row is duplicated, the reference has no rows, or
        `scores` is not a DataFrame.
    """

    _key = "method"
    _numbers = ("score", "fit_time", "predict_time", "n_train", "n_test")
    _compared = ("difference", "method minus {reference!r}", "the method is better")

    def __init__(
        self,
        scores: pd.DataFrame,
        *,
        reference: str = ALONE,
        scoring: str | None = None,
    ) -> None:
        super().__init__(scores, scoring=scoring)
        self._paired(reference)  # raises if unknown
        self.reference = reference

    def _paired(self, reference: str | None) -> pd.DataFrame:
        """Return the scores with their difference from the reference."""
        reference = self.reference if reference is None else reference
        methods = list(self.scores["method"].unique())
        if reference not in methods:
            raise ValueError(
                f"Unknown reference {reference!r}; the scores have methods {methods}."
            )
        keys = [*self._modality, *_FOLD]
        is_reference = self.scores["method"] == reference
        score = self.scores[is_reference].set_index(keys)["score"]
        other = score.reindex(pd.MultiIndex.from_frame(self.scores[keys])).to_numpy()
        difference = (self.scores["score"] - other).mask(is_reference)
        return self.scores.assign(difference=difference)

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Return ``difference``, method minus reference, for folds that have both.

        Parameters
        ----------
        reference : str, default=None
            Method to compare with; None means the report's.

        Returns
        -------
        pandas.DataFrame
            Columns (``metric``,) ``modality``, ``method``, ``repeat``, ``fold`` and
            ``difference``.
        """
        table = self._paired(reference)[[*self._keys, *_FOLD, "difference"]]
        return table.dropna(subset="difference").reset_index(drop=True)

    def summary(
        self, reference: str | None = None, *, confidence: float = 0.95
    ) -> pd.DataFrame:
        """Return mean scores and the difference of each method from the reference.

        Parameters
        ----------
        reference : str, default=None
            Method to compare with; None means the report's.
        confidence : float, default=0.95
            Nominal coverage, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            A row per (metric,) modality and method, in the order of `scores`: ``mean``
            and ``std`` of the score; ``difference``, the mean of method minus
            reference; ``low`` and ``high``, its :func:`corrected_interval`; ``wins``,
            the number of folds in which the method is better (ties count half); ``n``,
            the number of folds compared. NaN without a comparison; then ``n`` counts
            all folds.
        """
        table = self._paired(reference)
        summary = self._compare(table, confidence)
        score = table.groupby(self._keys)["score"]
        summary.insert(0, "mean", score.mean())
        summary.insert(1, "std", score.std())
        summary["n"] = summary["n"].where(summary["n"] > 0, score.count())
        return summary


class PartnerReport(_Report):
    """Gain of each modality from each training partner, fold by fold.

    Returned by :func:`~sklearn_colearn.partner_gain`. Prints its summary.

    Parameters
    ----------
    scores : pandas.DataFrame
        As for :class:`ModalityReport`, with the same errors, but with ``partner``
        (``"all"`` for all others together) instead of ``method``, and ``alone`` (the
        score without a partner) and ``gain`` (score minus alone) instead of times.
    scoring : str, default=None
        Name of the score, for display.
    """

    _key = "partner"
    _numbers = ("score", "alone", "gain", "n_train", "n_test")
    _compared = (
        *("gain", "trained with the partner minus trained alone"),
        "there is a gain",
    )

    def matrix(self) -> pd.DataFrame:
        """Return the mean gain of each modality from each partner.

        Returns
        -------
        pandas.DataFrame
            A row per (metric,) modality and a column per partner, ``"all"`` last; NaN
            if both are the same.
        """
        gain = self.summary()["gain"]
        rows = gain.groupby(self._modality, sort=False).size().index
        modalities, partners = (self.scores[c] for c in ("modality", "partner"))
        columns = dict.fromkeys([*modalities, *partners[partners != ALL], ALL])
        table = gain.unstack("partner").loc[rows]
        return table[[name for name in columns if name in table]]
