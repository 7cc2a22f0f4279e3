"""Displays: figures of fitted estimators and of their evaluation.

They work as scikit-learn's do: a class method computes and draws, the object keeps the
numbers, and its ``plot`` draws them again. matplotlib is needed for drawing only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import precision_recall_fscore_support
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_colearn.base import CoLearn
from sklearn_colearn.evaluation import evaluate_modalities, partner_gain
from sklearn_colearn.labels import labelled_part, labelled_rows
from sklearn_colearn.prediction import Array
from sklearn_colearn.report import ALL, ALONE, ModalityReport, PartnerReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "ClassScoresDisplay",
    "EmbeddingDisplay",
    "ModalityScoresDisplay",
    "PartnerGainDisplay",
    "TrainingHistoryDisplay",
]

#: The colours of Okabe and Ito, which colour-blind readers can tell apart.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#e69f00", "#56b4e9", "#000000", "#f0e442"),
)
#: As many as share no divisor with the colours: 88 pairs before one comes again.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")

#: Widths of a journal's column and page in inches, and font sizes in points for them.
COLUMN, PAGE = 3.5, 7.0
LABEL, SMALL = 8, 7
#: A character of the default font at SMALL, in points.
CHARACTER = 4.5

METHODS = {"tsne": "t-SNE", "pca": "PCA"}
REPRESENTATIONS = ("specific", "shared")
METRICS = ("precision", "recall", "f1")


# -- what the displays share ---------------------------------------------------------


def _pyplot(caller: str) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib; install it by "
            "`pip install sklearn_colearn[plot]`."
        ) from error
    return plt


def _panels(
    display: Any, ax: Any, n: int, n_columns: int, figsize: tuple[float, float]
) -> Array:
    """Return n Axes: those given, or those of a new figure."""
    caller = f"{type(display).__name__}.plot"
    plt = _pyplot(caller)
    if ax is None:
        grid = plt.subplots(
            -(-n // n_columns),
            n_columns,
            figsize=figsize,
            layout="constrained",
            squeeze=False,
        )[1].ravel()
        for unused in grid[n:]:
            unused.remove()
        axes: Array = grid[:n]
    else:
        axes = np.array(ax, dtype=object).ravel()
        if len(axes) != n:
            raise ValueError(
                f"{caller} draws {n} panel(s), so ax= takes {n} Axes; got {len(axes)}."
            )
    for one in axes:
        one.tick_params(labelsize=SMALL)
    return axes


def _colearn(estimator: Any) -> CoLearn:
    if not isinstance(estimator, CoLearn):
        raise TypeError(
            "estimator is a fitted CoLearnClassifier or CoLearnRegressor; got "
            f"{type(estimator).__name__}. Of a Pipeline pass the last step and a "
            "transformed X, of a search its best_estimator_."
        )
    check_is_fitted(estimator)
    return estimator


def _of_all_modalities(estimator: Any) -> CoLearn:
    """Return the estimator as one that answers from all modalities of X."""
    every = copy(_colearn(estimator))
    every.predict_modality = None
    return every


def _style(i: int) -> dict[str, Any]:
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}


def _points_wide(ax: Axes) -> float:
    """Return the width in points, after the labels so far have taken their room."""
    figure: Any = ax.figure
    engine = getattr(figure, "get_layout_engine", lambda: None)()
    if engine is not None and figure is figure.figure:  # no SubFigure
        engine.execute(figure)
    return float(ax.get_window_extent().width / figure.dpi * 72)


def _legend(ax: Axes, labels: Sequence[str], *, above: bool) -> None:
    """Put the legend outside the axes, in as many columns as fit its width."""
    widths = [len(label) * CHARACTER + 3 * SMALL for label in labels]
    room = _points_wide(ax)

    def taken(ncols: int) -> float:
        n_rows = -(-len(labels) // ncols)
        return sum(max(widths[i : i + n_rows]) for i in range(0, len(labels), n_rows))

    fitting = (n for n in range(len(labels), 1, -1) if taken(n) < room)
    ax.legend(
        loc="lower left" if above else "upper left",
        bbox_to_anchor=(0, 1) if above else (0, 0),
        ncols=next(fitting, 1),
        markerscale=1.0 if above else 1.8,
        fontsize=SMALL,
        frameon=False,
        borderaxespad=0.3,
        handlelength=1.5,
        handletextpad=0.4,
        columnspacing=1.0,
    )


def _heat_map(
    ax: Axes,
    values: pd.DataFrame,
    texts: Array,
    bold: Array,
    *,
    cmap: str,
    limits: tuple[float, float],
    label: str,
) -> None:
    """Draw a table in colours, with a text in each cell."""
    numbers = values.to_numpy(dtype=float)
    image = ax.imshow(
        np.ma.masked_invalid(numbers),
        aspect="auto",
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
    )
    ax.set_facecolor("0.9")
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=30)
    bar.set_label(label, fontsize=LABEL)
    bar.ax.tick_params(labelsize=SMALL)
    for i, j in np.ndindex(numbers.shape):
        # Black and white stand out alike from a relative luminance of 0.18.
        red, green, blue = np.array(image.to_rgba(numbers[i, j])[:3]) ** 2.2
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18
        ax.text(
            j,
            i,
            str(texts[i, j]),
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if bold[i, j] else "normal",
            color="white" if dark else "black",
        )
    ax.set_yticks(range(len(values)), [str(name) for name in values.index])
    columns = [str(name) for name in values.columns]
    room = _points_wide(ax) / len(columns)
    fits = max(map(len, columns)) * CHARACTER < room
    ax.set_xticks(
        range(len(columns)),
        columns,
        rotation=0 if fits else 45,
        ha="center" if fits else "right",
        rotation_mode="anchor",
        va="top" if fits else "center",
    )
    ax.tick_params(length=0)


# -- training ------------------------------------------------------------------------


class TrainingHistoryDisplay:
    """The loss and its terms over the epochs of training.

    A panel for the loss and for each of its terms, unweighted, as ``history_`` has
    them; with early stopping also those of the rows held back.

    Parameters
    ----------
    history : pandas.DataFrame
        A row per epoch; columns ``train_<term>``, perhaps ``valid_<term>`` and
        ``epoch``. Others are ignored.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        A panel per term, in the order of the columns.
    figure_ : matplotlib Figure
        The figure that holds them.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import TrainingHistoryDisplay
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> display = TrainingHistoryDisplay.from_estimator(clf)
    >>> [ax.get_ylabel() for ax in display.axes_[:3]]
    ['loss', 'main term', 'auxiliary term']
    """

    axes_: Array
    figure_: Figure | SubFigure

    def __init__(self, history: pd.DataFrame) -> None:
        self.history = history

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Any = None
    ) -> TrainingHistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : CoLearnClassifier or CoLearnRegressor
            Fitted.
        ax : array-like of matplotlib Axes, default=None
            As many as there are panels. A new figure by default.

        Returns
        -------
        TrainingHistoryDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        return cls(_colearn(estimator).history_).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> TrainingHistoryDisplay:
        """Draw the history.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            As many as there are panels. A new figure by default.

        Returns
        -------
        TrainingHistoryDisplay
            Itself.
        """
        terms = [
            name.removeprefix("train_")
            for name in self.history.columns
            if name.startswith("train_")
        ]
        if not terms:
            raise ValueError(
                "history has no column that begins with train_; it has "
                f"{list(self.history.columns)}."
            )
        n_columns = min(3, len(terms))
        n_rows = -(-len(terms) // n_columns)
        axes = _panels(
            self, ax, len(terms), n_columns, (PAGE * n_columns / 3, 1.7 * n_rows + 0.3)
        )
        n_epochs = len(self.history)
        epochs = self.history.get("epoch", pd.Series(np.arange(1, n_epochs + 1)))
        sides = {"train": "training", "valid": "held back"}
        for panel, term in zip(axes, terms, strict=True):
            for i, (side, label) in enumerate(sides.items()):
                if f"{side}_{term}" in self.history:
                    panel.plot(
                        epochs,
                        self.history[f"{side}_{term}"],
                        color=COLORS[i],
                        linestyle=("-", "--")[i],
                        linewidth=1.2,
                        marker=MARKERS[i] if n_epochs <= 20 else None,
                        markersize=2.5,
                        label=label,
                    )
            panel.set_ylabel(
                "loss" if term == "loss" else f"{term} term", fontsize=LABEL
            )
            panel.set_xlabel("epoch", fontsize=LABEL)
            panel.locator_params(axis="x", integer=True, nbins=5)
        if any(name.startswith("valid_") for name in self.history.columns):
            _legend(axes[0], list(sides.values()), above=True)
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


# -- evaluation ----------------------------------------------------------------------


class ModalityScoresDisplay:
    """What each modality scores by each method, and how far that is from the reference.

    On the left the score: a faint mark per fold and a strong one at the mean. On the
    right the paired difference on the same folds, its mean and the interval of that.
    A modality is a row; ``all``, all modalities together, has nothing to be compared
    with.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row per modality, method, repeat and fold, with the column ``score``.
    summary : pandas.DataFrame
        With the index (modality, method) and the columns ``mean``, ``difference``,
        ``low`` and ``high``.
    differences : pandas.DataFrame
        The same with the column ``difference``, without the method `reference`.
    reference : str, default='alone'
        The method that the others are compared with.
    scoring : str, default=None
        Name of the score, for the axis.
    confidence : float, default=0.95
        Of the intervals, for the axis.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        Left and right panel.
    figure_ : matplotlib Figure
        The figure that holds them.

    See Also
    --------
    sklearn_colearn.evaluate_modalities : Makes the report that is drawn here.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, evaluate_modalities
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import ModalityScoresDisplay
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, random_state=0)
    >>> report = evaluate_modalities(clf, X, y, cv=2)
    >>> display = ModalityScoresDisplay.from_report(report)
    >>> display.axes_[1].get_xlabel()
    'difference to alone: folds, mean, 95% interval'
    """

    axes_: Array
    figure_: Figure | SubFigure

    def __init__(
        self,
        scores: pd.DataFrame,
        summary: pd.DataFrame,
        differences: pd.DataFrame,
        *,
        reference: str = ALONE,
        scoring: str | None = None,
        confidence: float = 0.95,
    ) -> None:
        self.scores = scores
        self.summary = summary
        self.differences = differences
        self.reference = reference
        self.scoring = scoring
        self.confidence = confidence

    @classmethod
    def from_report(
        cls,
        report: ModalityReport,
        *,
        reference: str | None = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> ModalityScoresDisplay:
        """Draw what `evaluate_modalities` found.

        Parameters
        ----------
        report : ModalityReport
            The result of :func:`~sklearn_colearn.evaluate_modalities`.
        reference : str, default=None
            The method that the others are compared with; the report's by default.
        confidence : float, default=0.95
            Of the intervals of the differences.
        ax : array-like of 2 matplotlib Axes, default=None
            Left and right panel, side by side. A new figure by default.

        Returns
        -------
        ModalityScoresDisplay
        """
        reference = report.reference if reference is None else reference
        return cls(
            report.scores,
            report.summary(reference=reference, confidence=confidence),
            report.differences(reference),
            reference=reference,
            scoring=report.scoring,
            confidence=confidence,
        ).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        cv: Any = None,
        scoring: Any = None,
        groups: Any = None,
        baselines: Mapping[str, Any] | None = None,
        n_jobs: int | None = None,
        ax: Any = None,
    ) -> ModalityScoresDisplay:
        """Cross-validate and draw.

        Parameters
        ----------
        estimator, X, y, cv, scoring, groups, baselines, n_jobs
            As in :func:`~sklearn_colearn.evaluate_modalities`.
        ax : array-like of 2 matplotlib Axes, default=None
            Left and right panel, side by side. A new figure by default.

        Returns
        -------
        ModalityScoresDisplay
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        report = evaluate_modalities(
            estimator,
            X,
            y,
            cv=cv,
            scoring=scoring,
            groups=groups,
            baselines=baselines,
            n_jobs=n_jobs,
        )
        return cls.from_report(report, ax=ax)

    def plot(self, *, ax: Any = None) -> ModalityScoresDisplay:
        """Draw scores and differences.

        Parameters
        ----------
        ax : array-like of 2 matplotlib Axes, default=None
            Left and right panel, side by side. A new figure by default.

        Returns
        -------
        ModalityScoresDisplay
            Itself.
        """
        names = self.summary.index
        modalities = list(names.get_level_values(0).unique())
        # The reference first: the same colour in every figure.
        methods = sorted(
            names.get_level_values(1).unique(), key=lambda name: name != self.reference
        )
        step = 0.75 / len(methods)
        height = len(modalities) * (0.13 * len(methods) + 0.14) + 0.9
        left, right = _panels(self, ax, 2, 2, (PAGE, height))
        for i, method in enumerate(methods):
            style = _style(i)
            faint = {"s": 9, "alpha": 0.35, "linewidth": 0, **style}
            offset = (i - (len(methods) - 1) / 2) * step
            for row, modality in enumerate(modalities):
                if (modality, method) not in names:
                    continue
                y = row + offset
                shown = self.summary.loc[(modality, method)]
                folds = _folds(self.scores, modality, method)["score"]
                left.scatter(folds, [y] * len(folds), **faint)
                left.scatter(shown["mean"], y, s=26, zorder=3, **style)
                if np.isnan(shown["difference"]):
                    continue
                folds = _folds(self.differences, modality, method)["difference"]
                # Below the interval, which would hide them.
                right.scatter(folds, [y + 0.35 * step] * len(folds), **faint)
                right.hlines(
                    y, shown["low"], shown["high"], style["color"], linewidth=1.5
                )
                right.scatter(shown["difference"], y, s=26, zorder=3, **style)
            left.scatter([], [], s=26, label=method, **style)
        _legend(left, methods, above=True)
        right.axvline(0, color="0.4", linewidth=0.8, zorder=0)
        left.set_yticks(range(len(modalities)), modalities)
        right.set_yticks(range(len(modalities)), [])
        for panel in (left, right):
            panel.set_ylim(len(modalities) - 0.5, -0.5)
            panel.locator_params(axis="x", nbins=6)
            panel.tick_params(axis="y", length=0)
            panel.set_yticks(np.arange(1, len(modalities)) - 0.5, minor=True)
            panel.grid(axis="y", which="minor", color="0.85", linewidth=0.6)
            panel.tick_params(which="minor", length=0)
        left.set_xlabel(f"{self.scoring or 'score'}: folds, mean", fontsize=LABEL)
        right.set_xlabel(
            f"difference to {self.reference}: folds, mean, "
            f"{100 * self.confidence:g}% interval",
            fontsize=LABEL,
        )
        self.axes_, self.figure_ = np.array([left, right]), left.figure
        return self


def _folds(table: pd.DataFrame, modality: Any, method: Any) -> pd.DataFrame:
    return table[(table["modality"] == modality) & (table["method"] == method)]


class PartnerGainDisplay:
    """What each modality gains from each partner in training.

    A row is the modality that predicts, a column the one it was trained with; ``all``
    is training with all others. A cell has the mean gain and its interval, in bold
    where the interval excludes 0.

    Parameters
    ----------
    summary : pandas.DataFrame
        With the index (modality, partner) and the columns ``gain``, ``low`` and
        ``high``.
    scoring : str, default=None
        Name of the score, for the colour bar.
    confidence : float, default=0.95
        Of the intervals, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The heat map.
    figure_ : matplotlib Figure
        The figure that holds it.

    See Also
    --------
    sklearn_colearn.partner_gain : Makes the report that is drawn here.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, partner_gain
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import PartnerGainDisplay
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, random_state=0)
    >>> report = partner_gain(clf, X, y, cv=2)
    >>> display = PartnerGainDisplay.from_report(report)
    >>> display.ax_.get_ylabel()
    'predict from'
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        summary: pd.DataFrame,
        *,
        scoring: str | None = None,
        confidence: float = 0.95,
    ) -> None:
        self.summary = summary
        self.scoring = scoring
        self.confidence = confidence

    @classmethod
    def from_report(
        cls, report: PartnerReport, *, confidence: float = 0.95, ax: Axes | None = None
    ) -> PartnerGainDisplay:
        """Draw what `partner_gain` found.

        Parameters
        ----------
        report : PartnerReport
            The result of :func:`~sklearn_colearn.partner_gain`.
        confidence : float, default=0.95
            Of the intervals.
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        PartnerGainDisplay
        """
        return cls(
            report.summary(confidence=confidence),
            scoring=report.scoring,
            confidence=confidence,
        ).plot(ax=ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        cv: Any = None,
        scoring: Any = None,
        groups: Any = None,
        n_jobs: int | None = None,
        ax: Axes | None = None,
    ) -> PartnerGainDisplay:
        """Cross-validate and draw.

        Parameters
        ----------
        estimator, X, y, cv, scoring, groups, n_jobs
            As in :func:`~sklearn_colearn.partner_gain`.
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        PartnerGainDisplay
        """
        _pyplot(f"{cls.__name__}.from_estimator")
        report = partner_gain(
            estimator, X, y, cv=cv, scoring=scoring, groups=groups, n_jobs=n_jobs
        )
        return cls.from_report(report, ax=ax)

    def plot(self, *, ax: Axes | None = None) -> PartnerGainDisplay:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        PartnerGainDisplay
            Itself.
        """
        modalities, partners = (
            list(self.summary.index.get_level_values(level).unique())
            for level in (0, 1)
        )
        partners.sort(
            key=lambda name: modalities.index(name) if name in modalities else np.inf
        )
        gains, low, high = (
            self.summary[column].unstack().reindex(index=modalities, columns=partners)
            for column in ("gain", "low", "high")
        )
        n_columns = len(partners)
        figsize = (
            COLUMN if n_columns <= 4 else PAGE,
            0.45 * len(modalities) + (1.1 if n_columns <= 4 else 1.6),
        )
        (panel,) = _panels(self, ax, 1, 1, figsize)
        limit = float(np.nanmax(np.abs(gains.to_numpy()), initial=0)) or 1.0
        digits = max(0, 1 - int(np.floor(np.log10(limit))))
        one_line = _points_wide(panel) / n_columns > (9 + 2 * digits) * CHARACTER
        texts = np.full(gains.shape, "", dtype=object)
        for i, j in np.argwhere(np.isfinite(gains.to_numpy())):
            texts[i, j] = f"{gains.iloc[i, j]:+.{digits}f}"
            if np.isfinite(low.iloc[i, j]):
                ends = [f"{end.iloc[i, j]:.{digits}f}" for end in (low, high)]
                texts[i, j] += "\n[" + (", " if one_line else ",\n").join(ends) + "]"
        _heat_map(
            panel,
            gains,
            np.char.replace(texts.astype(str), "-", "\N{MINUS SIGN}"),
            ((low > 0) | (high < 0)).to_numpy(),
            cmap="PuOr",
            limits=(-limit, limit),
            label=f"gain in {self.scoring or 'score'}",
        )
        panel.set_xlabel("trained with", fontsize=LABEL)
        panel.set_ylabel("predict from", fontsize=LABEL)
        panel.set_title(
            f"gain [{100 * self.confidence:g}% interval], "
            "bold if the interval excludes 0",
            fontsize=SMALL,
        )
        self.ax_, self.figure_ = panel, panel.figure
        return self


class ClassScoresDisplay:
    """The score of each class, or label, from each modality and from all.

    A row is a class with the number of its rows in y, a column is what predicts. A
    cell is empty where no row of the class has the modality.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row per class, a column per modality; ``"all"`` for all together.
    support : pandas.Series
        Number of rows of each class.
    metric : {'f1', 'precision', 'recall'}, default='f1'
        What the scores are.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The heat map.
    figure_ : matplotlib Figure
        The figure that holds it.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import ClassScoresDisplay
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X[:80], y[:80])
    >>> display = ClassScoresDisplay.from_estimator(clf, X[80:], y[80:])
    >>> list(display.scores.columns)
    ['S1', 'S2', 'terrain', 'all']
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self, scores: pd.DataFrame, support: pd.Series[Any], *, metric: str = "f1"
    ) -> None:
        self.scores = scores
        self.support = support
        self.metric = metric

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        metric: str = "f1",
        ax: Axes | None = None,
    ) -> ClassScoresDisplay:
        """Predict from each modality of X by itself, and from all.

        Parameters
        ----------
        estimator : CoLearnClassifier
            Fitted.
        X : any form that `predict` takes
            Rows that were not trained on. A modality is scored on the rows that have
            it.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            The true labels. Rows without one are left out.
        metric : {'f1', 'precision', 'recall'}, default='f1'
            What is scored; 0 for a class that is never predicted.
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        ClassScoresDisplay

        Raises
        ------
        TypeError
            If the estimator is no classifier.
        NotFittedError
            If the estimator is not fitted.
        """
        model = _of_all_modalities(estimator)
        if not is_classifier(model):
            raise TypeError(
                f"ClassScoresDisplay is for classifiers; got {type(model).__name__}."
            )
        _check_metric(metric)
        _pyplot(f"{cls.__name__}.from_estimator")
        every = model._read_prediction(X, None)
        check_consistent_length(every, y)
        labelled = labelled_rows(
            y.toarray() if hasattr(y, "toarray") else y, model.unlabeled
        )
        if not labelled.all():
            every, y = every[labelled], labelled_part(y, labelled)
        of_all = model.predict(every)  # refuses a row that has none
        predictions = {}
        for modality in model._modalities_of(every):
            _, present = model._single_modality(modality).read(every[modality])
            rows = np.flatnonzero(present)
            predicted = model.predict(every[rows], modality)
            predictions[modality] = (rows, predicted)
        if len(predictions) > 1:
            predictions[ALL] = (np.arange(len(every)), of_all)
        return cls._of_predictions(y, predictions, metric).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Mapping[str, Any],
        *,
        metric: str = "f1",
        ax: Axes | None = None,
    ) -> ClassScoresDisplay:
        """Score given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,) or (n_samples, n_labels)
            The true labels.
        y_pred : dict of str to array-like of the same shape
            Predicted labels by the name of what predicts.
        metric : {'f1', 'precision', 'recall'}, default='f1'
            What is scored; 0 for a class that is never predicted.
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        ClassScoresDisplay
        """
        _check_metric(metric)
        if not isinstance(y_pred, Mapping):
            raise TypeError(
                "y_pred is a dict {modality: predicted labels}; got "
                f"{type(y_pred).__name__}."
            )
        check_consistent_length(y_true, *y_pred.values())
        rows = np.arange(len(y_true))
        predictions = {name: (rows, labels) for name, labels in y_pred.items()}
        return cls._of_predictions(y_true, predictions, metric).plot(ax=ax)

    @classmethod
    def _of_predictions(
        cls, y: Any, predictions: Mapping[str, tuple[Array, Any]], metric: str
    ) -> ClassScoresDisplay:
        """Score the predicted labels of some rows each."""
        names = list(y.columns) if hasattr(y, "columns") else None
        y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if type_of_target(y, input_name="y") == "multilabel-indicator":
            classes = np.arange(y.shape[1])
            index = pd.Index(names or classes, name="label")
            total = y.sum(axis=0)
        else:
            y = y.ravel()
            classes, total = np.unique(y, return_counts=True)
            index = pd.Index(classes, name="class")
        scores = {}
        for name, (rows, predicted) in predictions.items():
            *values, support = precision_recall_fscore_support(
                y[rows],
                np.asarray(predicted),
                labels=classes,
                average=None,
                zero_division=0.0,
            )
            scores[name] = np.where(support > 0, values[METRICS.index(metric)], np.nan)
        return cls(
            pd.DataFrame(scores, index=index),
            pd.Series(total.astype(int), index=index),
            metric=metric,
        )

    def plot(self, *, ax: Axes | None = None) -> ClassScoresDisplay:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. A new figure by default.

        Returns
        -------
        ClassScoresDisplay
            Itself.
        """
        n_rows, n_columns = self.scores.shape
        wide = n_columns > 5
        figsize = (PAGE if wide else COLUMN, 0.24 * n_rows + (1.4 if wide else 0.9))
        (panel,) = _panels(self, ax, 1, 1, figsize)
        shown = self.scores.set_axis(
            [f"{name} (n={self.support[name]})" for name in self.scores.index]
        )
        texts = np.array(
            [
                ["" if np.isnan(score) else f"{score:.2f}" for score in row]
                for row in self.scores.to_numpy()
            ]
        )
        _heat_map(
            panel,
            shown,
            texts,
            np.zeros(shown.shape, dtype=bool),
            cmap="cividis",
            limits=(0.0, 1.0),
            label="F1" if self.metric == "f1" else self.metric,
        )
        panel.set_xlabel("predicted from", fontsize=LABEL)
        panel.set_ylabel(str(self.scores.index.name or "class"), fontsize=LABEL)
        self.ax_, self.figure_ = panel, panel.figure
        return self


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"Unknown metric {metric!r}; valid are {list(METRICS)}.")


# -- representations -----------------------------------------------------------------


class EmbeddingDisplay:
    """The specific and the shared representations of all modalities in the plane.

    Where co-learning did what it is for, the specific representations (top) lie apart
    by modality, and the shared ones (bottom) of all modalities mix and order
    themselves by class or target. Each row is a projection of its own. The shared
    representations are brought to length 1 first, as the contrastive term compares
    their directions.

    Parameters
    ----------
    points : dict of str to ndarray of shape (n_points, 2)
        The projections by representation, ``"specific"`` and ``"shared"``.
    modality : ndarray of str of shape (n_points,)
        The modality of each point.
    target : ndarray of shape (n_points,), default=None
        The class, value, or number of labels of each point. None: one column only.
    target_kind : {'class', 'target', 'number of labels'}, default='class'
        What the target is: classes have a legend, the others a colour bar.
    method : {'tsne', 'pca'}, default='tsne'
        What made the projections.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2, 2) or (2, 1)
        Rows: specific, shared. Columns: by modality, by target.
    figure_ : matplotlib Figure
        The figure that holds them.

    Notes
    -----
    t-SNE keeps neighbours, not distances: sizes of groups and gaps between them mean
    nothing. It takes some seconds for a thousand rows of three modalities.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import EmbeddingDisplay
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> display = EmbeddingDisplay.from_estimator(clf, X, y, method="pca")
    >>> display.points["shared"].shape
    (360, 2)
    """

    axes_: Array
    figure_: Figure | SubFigure

    def __init__(
        self,
        points: Mapping[str, Array],
        modality: Array,
        target: Array | None = None,
        *,
        target_kind: str = "class",
        method: str = "tsne",
    ) -> None:
        self.points = points
        self.modality = modality
        self.target = target
        self.target_kind = target_kind
        self.method = method

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        method: str = "tsne",
        max_samples: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> EmbeddingDisplay:
        """Embed X by all its modalities and project.

        Parameters
        ----------
        estimator : CoLearnClassifier or CoLearnRegressor
            Fitted.
        X : any form that `predict` takes
            The samples; a modality that a row lacks gives no point.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Colours the second column: classes, values, or how many labels a row has.
        method : {'tsne', 'pca'}, default='tsne'
            The projection.
        max_samples : int, default=1000
            Of more rows than that, so many are drawn at random.
        random_state : int, RandomState instance or None, default=0
            Seed of the choice of rows and of t-SNE.
        ax : array-like of matplotlib Axes, default=None
            Four, or two without y, row by row. A new figure by default.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ValueError
            If the method is unknown, or y has several columns that are no labels.
        NotFittedError
            If the estimator is not fitted.
        """
        model = _of_all_modalities(estimator)
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}; valid are {list(METHODS)}.")
        _pyplot(f"{cls.__name__}.from_estimator")
        outputs = model._outputs(X, None, REPRESENTATIONS)
        n = len(outputs[0][1])
        target, kind = None, "class"
        if y is not None:
            check_consistent_length(np.empty(n), y)
            target, kind = _target_of(model, y)
        random = check_random_state(random_state)
        chosen = np.ones(n, dtype=bool)
        if n > max_samples:
            chosen[random.choice(n, n - max_samples, replace=False)] = False
        rows = [np.flatnonzero(present & chosen) for _, present, _ in outputs]
        points = {}
        for representation in REPRESENTATIONS:
            values = np.concatenate(
                [
                    getattr(output, representation).numpy()[chosen[present]]
                    for _, present, output in outputs
                ]
            )
            if representation == "shared":
                lengths = np.linalg.norm(values, axis=1, keepdims=True)
                values = values / np.where(lengths > 0, lengths, 1)
            points[representation] = _project(values, method, random)
        return cls(
            points,
            np.repeat([name for name, _, _ in outputs], [len(r) for r in rows]),
            None if target is None else target[np.concatenate(rows)],
            target_kind=kind,
            method=method,
        ).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> EmbeddingDisplay:
        """Draw the projections.

        Parameters
        ----------
        ax : array-like of matplotlib Axes, default=None
            Four, or two without a target, row by row. A new figure by default.

        Returns
        -------
        EmbeddingDisplay
            Itself.
        """
        n_columns = 1 if self.target is None else 2
        axes = _panels(
            self, ax, 2 * n_columns, n_columns, (COLUMN * n_columns, 6.0)
        ).reshape(2, n_columns)
        for panel in axes.ravel():
            panel.set_xticks([])
            panel.set_yticks([])
        n_modalities = len(pd.unique(pd.Series(self.modality)))
        for row, representation in enumerate(REPRESENTATIONS):
            points = np.asarray(self.points[representation])
            below = row == 1
            _scatter_groups(axes[row, 0], points, self.modality, legend=below)
            if self.target is not None and self.target_kind == "class":
                _scatter_groups(
                    axes[row, 1],
                    points,
                    self.target,
                    legend=below,
                    first_style=n_modalities,
                )
            elif self.target is not None:
                _scatter_values(
                    axes[row, 1], points, self.target, self.target_kind, bar=below
                )
            axes[row, 0].set_ylabel(
                f"{representation} representation\n({METHODS[self.method]})",
                fontsize=LABEL,
            )
        titles = ("by modality", f"by {self.target_kind}")
        for panel, title in zip(axes[0], titles, strict=False):
            panel.set_title(title, fontsize=LABEL)
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        return self


def _target_of(model: CoLearn, y: Any) -> tuple[Array, str]:
    """Return a number or class per row, and what it is."""
    y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return y.sum(axis=1), "number of labels"
    if y.ndim != 1:
        raise ValueError(
            f"y has shape {y.shape}; pass the one column that the points are to be "
            "coloured by."
        )
    if is_regressor(model) or kind == "continuous":
        return y.astype(float), "target"
    return y, "class"


def _project(values: Array, method: str, random: np.random.RandomState) -> Array:
    if method == "pca":
        from sklearn.decomposition import PCA  # here: a twentieth of the import

        projection = PCA(2, random_state=random)
    else:
        perplexity = min(30.0, max(1.0, (len(values) - 1) / 3))
        from sklearn.manifold import TSNE

        projection = TSNE(2, perplexity=perplexity, random_state=random)
    projected: Array = projection.fit_transform(values)
    return projected


def _scatter_groups(
    ax: Axes, points: Array, groups: Array, *, legend: bool, first_style: int = 0
) -> None:
    """Scatter each group in a colour and marker of its own."""
    # Classes are sorted, modalities keep their order.
    names = np.unique(groups) if first_style else pd.Series(groups).unique()
    for i, name in enumerate(names, start=first_style):
        x, y = points[groups == name].T
        ax.scatter(x, y, s=7, alpha=0.7, linewidth=0, label=str(name), **_style(i))
    if legend:
        _legend(ax, [str(name) for name in names], above=False)


def _scatter_values(
    ax: Axes, points: Array, values: Array, label: str, *, bar: bool
) -> None:
    x, y = points.T
    drawn = ax.scatter(x, y, s=7, linewidth=0, c=values, cmap="cividis")
    if bar:
        below = ax.inset_axes((0, -0.07, 1, 0.04))
        scale = ax.figure.colorbar(drawn, cax=below, orientation="horizontal")
        scale.set_label(label, fontsize=LABEL)
        below.tick_params(labelsize=SMALL)
        if values.dtype.kind in "iu":
            below.locator_params(axis="x", integer=True)
