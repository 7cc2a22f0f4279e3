"""Reports: what the figures of an evaluation say, and how far they may be noise."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

__all__ = ["ALL", "ALONE", "ModalityReport", "PartnerReport", "corrected_interval"]

#: The method that trains on one modality only.
ALONE = "alone"
#: Stands for all modalities together.
ALL = "all"

_FOLD = ["repeat", "fold"]
_DIFFERENCE = ("difference", "low", "high", "wins", "n")


def corrected_interval(
    differences: Any, ratio: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the corrected resampled t interval of a mean difference over folds.

    The folds of a cross-validation share most of their training rows, so their
    differences vary less than those of independent samples would. The correction adds
    the ratio of test to training rows to ``1 / n_folds``.

    Parameters
    ----------
    differences : array-like of shape (n_folds,)
        A paired difference for each fold.
    ratio : float
        Test rows of a fold by its training rows, ``n_test / n_train``.
    confidence : float, default=0.95
        Probability that the interval is to hold, between 0 and 1.

    Returns
    -------
    low, high : float
        In the unit of the differences; NaN for fewer than two folds.

    Raises
    ------
    ValueError
        If `confidence` is not between 0 and 1.

    References
    ----------
    Nadeau, Bengio, "Inference for the generalization error", Machine Learning 52:239,
    2003, doi:10.1023/A:1024068626366.

    Examples
    --------
    >>> from sklearn_colearn.report import corrected_interval
    >>> low, high = corrected_interval([0.01, 0.03, 0.02, 0.04, 0.05], ratio=0.25)
    >>> round(low, 4), round(high, 4)
    (0.0006, 0.0594)
    """
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence= is between 0 and 1, such as 0.95; got {confidence!r}."
        )
    values = np.asarray(differences, dtype=float)
    n = len(values)
    if n < 2:
        return np.nan, np.nan
    spread = np.sqrt(values.var(ddof=1) * (1 / n + ratio))
    half = student_t.ppf((1 + confidence) / 2, n - 1) * spread
    return float(values.mean() - half), float(values.mean() + half)


class _Report:
    """What both reports share: checked figures, and how they are shown."""

    _keys: tuple[str, ...]
    _numbers: tuple[str, ...]

    def __init__(self, scores: pd.DataFrame, *, scoring: str | None = None) -> None:
        name = type(self).__name__
        if not isinstance(scores, pd.DataFrame):
            raise TypeError(
                f"{name} takes the table of scores, a DataFrame; got "
                f"{type(scores).__name__}."
            )
        keys = [*self._keys, *_FOLD]
        absent = [c for c in (*keys, *self._numbers) if c not in scores.columns]
        if absent:
            raise ValueError(f"The scores of a {name} lack the columns {absent}.")
        if len(scores) == 0:
            raise ValueError(f"The scores of a {name} have no row.")
        twice = scores.duplicated(keys)
        if twice.any():
            raise ValueError(
                f"The scores hold {scores.loc[twice, keys].iloc[0].to_dict()} twice. "
                "Runs on other folds are put together by scores.assign(repeat="
                f"scores['repeat'] + {scores['repeat'].nunique()}) of one of them; of "
                f"one and the same fit keep one row, by scores.drop_duplicates({keys})."
            )
        self.scores = scores.reset_index(drop=True)
        self.scoring = scoring

    def summary(self, *, confidence: float = 0.95) -> pd.DataFrame:
        raise NotImplementedError

    def _title(self) -> str:
        sizes = self.scores[_FOLD].drop_duplicates()["repeat"].value_counts()
        n_folds = sizes.sum()
        # Test rows drawn at random overlap or not, which makes no repeats.
        repeated = len(sizes) > 1 and sizes.nunique() == 1
        repeats = f" in {len(sizes)} repeats" if repeated else ""
        folds = f"{n_folds} fold{'s' if n_folds > 1 else ''}"
        return f"{self.scoring or 'Score'}, larger is better; {folds}{repeats}"

    def _notes(self) -> list[str]:
        raise NotImplementedError

    def _text(self) -> pd.DataFrame:
        """Return the summary as rounded text, empty where there is no figure."""
        summary = self.summary()
        by = self.scores[self._keys[1]]
        largest = self.scores["score"].abs().groupby(by).max()
        # Of the middle method: a wild one takes no decimals from the others.
        middle = largest.quantile(interpolation="lower")
        unit = np.log10(middle) if middle > 0 else 0
        decimals = int(np.clip(2 - np.floor(unit), 0, 9))
        plain, signed = f"{{:.{decimals}f}}", f"{{:+.{decimals}f}}"
        forms = {"mean": plain, "std": plain, "wins": "{:g}", "n": "{:g}"}
        columns = {
            name: [
                "" if pd.isna(value) else forms.get(str(name), signed).format(value)
                for value in column
            ]
            for name, column in summary.items()
        }
        return pd.DataFrame(columns, index=summary.index)

    def __repr__(self) -> str:
        with pd.option_context("display.width", None, "display.max_colwidth", None):
            table = self._text().to_string()
        return "\n".join([self._title(), "", table, "", *self._notes()])

    def _repr_html_(self) -> str:
        notes = "<br>".join(map(escape, self._notes()))
        table = self._text().to_html()
        return f"<p>{escape(self._title())}</p>{table}<p><small>{notes}</small></p>"


class ModalityReport(_Report):
    """Scores of every modality by every method, fold by fold.

    What :func:`~sklearn_colearn.evaluate_modalities` returns. Printing it shows
    :meth:`summary`, rounded.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row for each modality, method and fold, with the columns ``modality``,
        ``method``, ``repeat``, ``fold`` (counted within the repeat), ``score`` (larger
        is better), ``fit_time`` and ``predict_time`` (seconds; of the fit, which
        co-learned modalities share, and of predicting and scoring), ``n_train`` and
        ``n_test`` (labelled training and test rows with the modality). The tables of
        several reports can be put together by :func:`pandas.concat`.
    reference : str, default='alone'
        The method that the others are compared with.
    scoring : str or None, default=None
        Name of the score, to be shown.

    Attributes
    ----------
    scores : pandas.DataFrame
        The table.
    reference, scoring : str
        As given.

    Raises
    ------
    ValueError
        If a column is absent, a row is there twice, or no row is of the reference.
    TypeError
        If `scores` is no DataFrame.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_colearn.report import ModalityReport
    >>> scores = pd.DataFrame(
    ...     {
    ...         "modality": "S1",
    ...         "method": ["alone", "alone", "co-learned", "co-learned"],
    ...         "repeat": 0,
    ...         "fold": [0, 1, 0, 1],
    ...         "score": [0.50, 0.60, 0.55, 0.62],
    ...         "fit_time": 1.0,
    ...         "predict_time": 0.1,
    ...         "n_train": 50,
    ...         "n_test": 50,
    ...     }
    ... )
    >>> ModalityReport(scores).differences()
      modality      method  repeat  fold  difference
    0       S1  co-learned       0     0        0.05
    1       S1  co-learned       0     1        0.02
    """

    _keys = ("modality", "method")
    _numbers = ("score", "fit_time", "predict_time", "n_train", "n_test")

    def __init__(
        self,
        scores: pd.DataFrame,
        *,
        reference: str = ALONE,
        scoring: str | None = None,
    ) -> None:
        super().__init__(scores, scoring=scoring)
        self.reference = self._known(reference)

    def _known(self, reference: str | None) -> str:
        if reference is None:
            return self.reference
        methods = list(self.scores["method"].unique())
        if reference not in methods:
            raise ValueError(
                f"Unknown reference {reference!r}; the methods are {methods}."
            )
        return reference

    def _paired(self, reference: str) -> pd.Series[float]:
        """Return score minus the reference's on the same fold; NaN without one."""
        keys = ["modality", *_FOLD]
        is_reference = self.scores["method"] == reference
        of_reference = self.scores[is_reference].set_index(keys)["score"]
        partner = of_reference.reindex(pd.MultiIndex.from_frame(self.scores[keys]))
        difference = self.scores["score"] - partner.to_numpy()
        return difference.mask(is_reference)

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        """Return the paired differences of every method from the reference.

        Parameters
        ----------
        reference : str, default=None
            The method to compare with; by default the report's.

        Returns
        -------
        pandas.DataFrame
            Columns ``modality``, ``method``, ``repeat``, ``fold`` and ``difference``
            (method minus reference, on the same rows); only folds that have both.

        Raises
        ------
        ValueError
            If no method has the name of the reference.
        """
        difference = self._paired(self._known(reference))
        table = self.scores[[*self._keys, *_FOLD]].assign(difference=difference)
        return table.dropna(subset="difference").reset_index(drop=True)

    def summary(
        self, reference: str | None = None, *, confidence: float = 0.95
    ) -> pd.DataFrame:
        """Return mean scores, and how far each method is from the reference.

        Parameters
        ----------
        reference : str, default=None
            The method to compare with; by default the report's.
        confidence : float, default=0.95
            Probability that the interval is to hold, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            A row for each modality and method, in their order in `scores`. ``mean``
            and ``std`` of the score over the folds; ``difference``, the mean of method
            minus reference on the same folds and rows; ``low`` and ``high``, its
            corrected resampled t interval (:func:`corrected_interval`), NaN for a
            single fold; ``wins``, the folds in which the method is better (a tie
            counts half); ``n``, the folds compared. The reference itself and modality
            ``"all"`` are compared with nothing: NaN, and ``n`` is the number of their
            folds.

        Raises
        ------
        ValueError
            If no method has the name of the reference, or `confidence` is not between
            0 and 1.
        """
        table = self.scores.assign(difference=self._paired(self._known(reference)))
        rows = {}
        for modality in table["modality"].unique():
            of_modality = table[table["modality"] == modality]
            for method in of_modality["method"].unique():
                rows_of_method = of_modality[of_modality["method"] == method]
                score = rows_of_method["score"]
                compared = _compare(rows_of_method, "difference", confidence)
                if not compared["n"]:
                    compared["n"] = int(score.count())
                rows[modality, method] = {
                    "mean": score.mean(),
                    "std": score.std(),
                    **compared,
                }
        return _table(rows, self._keys, ("mean", "std", *_DIFFERENCE))

    def _notes(self) -> list[str]:
        return [
            f"difference: method minus {self.reference!r}, mean over the same folds "
            "and rows.",
            "low, high: 95% interval of the difference (corrected resampled t); if it "
            "holds 0,",
            "  the difference may be noise.",
            "wins: in how many of the n folds the method is better; a tie counts half.",
        ]


class PartnerReport(_Report):
    """What each modality gains from each partner in training, fold by fold.

    What :func:`~sklearn_colearn.partner_gain` returns. Printing it shows
    :meth:`summary`, rounded.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row for each modality, partner and fold, with the columns ``modality`` (that
        answers), ``partner`` (that it was trained with; ``"all"`` the others
        together), ``repeat``, ``fold`` (counted within the repeat), ``score`` (larger
        is better), ``alone`` (the modality's score without a partner), ``gain`` (score
        minus alone), ``n_train`` and ``n_test`` (labelled training and test rows with
        the modality).
    scoring : str or None, default=None
        Name of the score, to be shown.

    Attributes
    ----------
    scores : pandas.DataFrame
        The table.
    scoring : str
        As given.

    Raises
    ------
    ValueError
        If a column is absent or a row is there twice.
    TypeError
        If `scores` is no DataFrame.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_colearn.report import PartnerReport
    >>> scores = pd.DataFrame(
    ...     {
    ...         "modality": ["S1", "S2"],
    ...         "partner": ["S2", "S1"],
    ...         "repeat": 0,
    ...         "fold": 0,
    ...         "score": [0.75, 0.5],
    ...         "alone": [0.5, 0.5],
    ...         "gain": [0.25, 0.0],
    ...         "n_train": 50,
    ...         "n_test": 50,
    ...     }
    ... )
    >>> PartnerReport(scores).matrix()
    partner     S1    S2
    modality
    S1         NaN  0.25
    S2         0.0   NaN
    """

    _keys = ("modality", "partner")
    _numbers = ("score", "alone", "gain", "n_train", "n_test")

    def matrix(self) -> pd.DataFrame:
        """Return the mean gain of each modality from each partner.

        Returns
        -------
        pandas.DataFrame
            A row for each modality that answers, a column for each partner, those that
            answer first and ``"all"`` last; NaN where a modality would be its own
            partner.
        """
        means = self.summary()["gain"].unstack("partner")
        modalities = list(self.scores["modality"].unique())
        others = [p for p in self.scores["partner"].unique() if p != ALL]
        in_order = dict.fromkeys([*modalities, *others, ALL])
        partners = [partner for partner in in_order if partner in means]
        return means.loc[modalities, partners]

    def summary(self, *, confidence: float = 0.95) -> pd.DataFrame:
        """Return the mean gain of each modality from each partner, with its noise.

        Parameters
        ----------
        confidence : float, default=0.95
            Probability that the interval is to hold, between 0 and 1.

        Returns
        -------
        pandas.DataFrame
            A row for each modality and partner: ``gain``, the mean over the folds of
            the score trained with the partner minus the score trained alone; ``low``
            and ``high``, its corrected resampled t interval
            (:func:`corrected_interval`), NaN for a single fold; ``wins``, the folds
            with a gain (a tie counts half); ``n``, the number of folds.

        Raises
        ------
        ValueError
            If `confidence` is not between 0 and 1.
        """
        groups = self.scores.groupby(list(self._keys), sort=False)
        rows = {key: _compare(rows, "gain", confidence) for key, rows in groups}
        return _table(rows, self._keys, ("gain", *_DIFFERENCE[1:]))

    def _notes(self) -> list[str]:
        return [
            "gain: trained with the partner minus trained alone, mean over the same "
            "folds and rows.",
            "low, high: 95% interval of the gain (corrected resampled t); if it holds "
            "0,",
            "  the gain may be noise.",
            "wins: in how many of the n folds there is a gain; a tie counts half.",
        ]


def _compare(rows: pd.DataFrame, column: str, confidence: float) -> dict[str, float]:
    """Sum up paired differences; a fold that lacks one side does not count."""
    rows = rows[rows[column].notna()]
    differences = rows[column]
    ratio = float((rows["n_test"] / rows["n_train"]).mean())
    low, high = corrected_interval(differences, ratio, confidence)
    wins = float((differences > 0).sum() + (differences == 0).sum() / 2)
    return {
        column: differences.mean(),
        "low": low,
        "high": high,
        "wins": wins if len(rows) else np.nan,
        "n": len(rows),
    }


def _table(
    rows: dict[Any, dict[str, float]], keys: Sequence[str], columns: Sequence[str]
) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(rows, names=list(keys))
    return pd.DataFrame(list(rows.values()), index=index, columns=list(columns))
