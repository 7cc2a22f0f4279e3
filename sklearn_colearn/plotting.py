"""Displays of fitted estimators and their evaluation, in the style of scikit-learn.

A class method computes and draws; ``plot`` draws again. Only drawing needs matplotlib.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from sklearn.base import is_regressor
from sklearn.metrics import check_scoring
from sklearn.preprocessing import normalize
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from sklearn_colearn.accuracy import MapAccuracy
from sklearn_colearn.base import CoLearn
from sklearn_colearn.evaluation import ModalityReport, PartnerReport
from sklearn_colearn.evaluation.reports import ALONE
from sklearn_colearn.evaluation.scorers import time_names
from sklearn_colearn.inputs import Array
from sklearn_colearn.map_files import COLORS, class_colors, spatial_dims
from sklearn_colearn.modality_dict import ModalityDict, row_labels
from sklearn_colearn.targets import matched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "EmbeddingDisplay",
    "ImportanceDisplay",
    "MapAccuracyDisplay",
    "ModalityScoresDisplay",
    "PartnerGainDisplay",
    "plot_map",
]

#: 11 markers, coprime with the 10 colors, so that 110 pairs are distinct.
MARKERS = "os^DvP<X>p*"

#: Widths of a journal column and page in inches, and font sizes in points.
COLUMN, PAGE = 3.5, 7.0
LABEL, SMALL = 8, 7
#: Width of a character at size SMALL, in points.
CHARACTER = 4.5

#: Maximum side of a drawn map in pixels.
PIXELS = 2000

METHODS = {"tsne": "t-SNE", "pca": "PCA"}
REPRESENTATIONS = ("specific", "shared")


def _pyplot(caller: str) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib; run `pip install sklearn_colearn[plot]`."
        ) from error
    return plt


class _Display:
    """Base class of displays; ``_draw`` draws on the Axes from ``_panels``."""

    figure_: Figure | SubFigure

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the figure and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of them, default=None
            One Axes per panel, row by row; another number raises a ValueError. None
            creates a new figure.
        """
        self._draw(ax)
        return self

    def _draw(self, ax: Any) -> None:
        raise NotImplementedError

    def _panels(
        self, ax: Any, shape: tuple[int, int], figsize: tuple[float, float]
    ) -> Array:
        """Return a grid of the given or new Axes."""
        caller = f"{type(self).__name__}.plot"
        plt = _pyplot(caller)
        if ax is None:
            ax = plt.subplots(*shape, figsize=figsize, layout="constrained")[1]
        axes = np.array(ax, dtype=object)
        n = shape[0] * shape[1]
        if axes.size != n:
            raise ValueError(
                f"{caller} draws {n} panel(s), so ax= needs {n} Axes; got {axes.size}."
            )
        for one in axes.ravel():
            one.tick_params(labelsize=SMALL)
            one.xaxis.label.set_size(LABEL)
            one.yaxis.label.set_size(LABEL)
            self.figure_ = one.figure
        return axes.reshape(shape)


def _style(i: int) -> dict[str, Any]:
    return {"color": COLORS[i % len(COLORS)], "marker": MARKERS[i % len(MARKERS)]}


def _points_wide(ax: Axes) -> float:
    """Return the width of the axes in points, after layout."""
    figure: Any = ax.figure
    engine = getattr(figure, "get_layout_engine", lambda: None)()
    if engine is not None and figure is figure.figure:  # not a SubFigure
        engine.execute(figure)
    return float(ax.get_window_extent().width / figure.dpi * 72)


def _legend(ax: Axes, labels: Sequence[str], *, above: bool) -> None:
    """Put the legend outside the axes, in as many columns as fit their width."""
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


@dataclass(eq=False, repr=False)
class ModalityScoresDisplay(_Display):
    """Scores of each modality by method, and their differences from a reference.

    The left panel shows the score of each fold (faint) and the mean (strong), the right
    panel paired differences on the same folds, their mean and its interval. The row
    ``all`` (all modalities together) has no difference.

    Parameters
    ----------
    scores : pandas.DataFrame
        A row per modality, method, repeat and fold, with the column ``score``.
    summary : pandas.DataFrame
        Index (modality, method); columns ``mean``, ``difference``, ``low``, ``high``.
    differences : pandas.DataFrame
        Like `scores`, with the column ``difference`` and without `reference`.
    reference : str, default='alone'
        Method to compare with.
    scoring : str, default=None
        Name of the score, for the axis.
    confidence : float, default=0.95
        Confidence level of the intervals, for the axis.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2,)
        Left and right panel.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, evaluate_modalities
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import ModalityScoresDisplay
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, cv=None)
    >>> report = evaluate_modalities(clf, X, y, cv=2)
    >>> display = ModalityScoresDisplay.from_report(report)
    >>> display.axes_[1].get_xlabel()
    'difference to alone: folds, mean, 95% interval'
    """

    scores: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    _: KW_ONLY
    reference: str = ALONE
    scoring: str | None = None
    confidence: float = 0.95

    @classmethod
    def from_report(
        cls,
        report: ModalityReport,
        *,
        reference: str | None = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> Self:
        """Draw a report of `evaluate_modalities`.

        Parameters
        ----------
        report : ModalityReport
            Report of one metric, such as ``report.select("accuracy")``.
        reference : str, default=None
            Method to compare with; by default, the report's.
        confidence : float, default=0.95
            Confidence level, between 0 and 1.
        ax : array-like of 2 matplotlib Axes, default=None
            Left and right panel. None creates a new figure.
        """
        report = report.select()
        reference = report.reference if reference is None else reference
        return cls(
            report.scores,
            report.summary(reference=reference, confidence=confidence),
            report.differences(reference),
            reference=reference,
            scoring=report.scoring,
            confidence=confidence,
        ).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        modalities: list[Any] = list(self.summary.index.unique(0))
        methods: list[Any] = list(self.summary.index.unique(1))
        # The reference comes first, to have the same color in every figure.
        methods.sort(key=lambda name: name != self.reference)
        step = 0.75 / len(methods)
        height = len(modalities) * (0.13 * len(methods) + 0.14) + 0.9
        self.axes_ = left, right = self._panels(ax, (1, 2), (PAGE, height))[0]
        keys = ["modality", "method"]
        scores: Any = self.scores.set_index(keys)["score"]
        differences: Any = self.differences.set_index(keys)["difference"]
        for key in self.summary.index:
            shown = self.summary.loc[key]
            i = methods.index(key[1])
            y = modalities.index(key[0]) + (i - (len(methods) - 1) / 2) * step
            style = _style(i)
            faint = {"s": 9, "alpha": 0.35, "linewidth": 0, **style}
            strong = {"s": 26, "zorder": 3, **style}
            folds = scores.loc[[key]]
            left.scatter(folds, [y] * len(folds), **faint)
            left.scatter(shown["mean"], y, **strong)
            if np.isnan(shown["difference"]):
                continue
            folds = differences.loc[[key]]
            # Drawn below the interval, which would cover them.
            right.scatter(folds, [y + 0.35 * step] * len(folds), **faint)
            right.hlines(y, shown["low"], shown["high"], style["color"], linewidth=1.5)
            right.scatter(shown["difference"], y, **strong)
        for i, method in enumerate(methods):
            left.scatter([], [], s=26, label=method, **_style(i))
        _legend(left, methods, above=True)
        right.axvline(0, color="0.4", linewidth=0.8, zorder=0)
        for panel, labels in ((left, modalities), (right, [])):
            panel.set_ylim(len(modalities) - 0.5, -0.5)
            panel.set_yticks(range(len(modalities)), labels)
            panel.set_yticks(np.arange(1, len(modalities)) - 0.5, minor=True)
            panel.tick_params(axis="y", which="both", length=0)
            panel.grid(axis="y", which="minor", color="0.85", linewidth=0.6)
            panel.locator_params(axis="x", nbins=6)
        left.set_xlabel(f"{self.scoring or 'score'}: folds, mean")
        interval = f"{100 * self.confidence:g}% interval"
        right.set_xlabel(f"difference to {self.reference}: folds, mean, {interval}")


@dataclass(eq=False, repr=False)
class PartnerGainDisplay(_Display):
    """Heat map of the gain of each modality from each training partner.

    Rows predict, columns are training partners (``all``: all others). A cell shows the
    mean gain and its interval, in bold if it excludes 0.

    Parameters
    ----------
    summary : pandas.DataFrame
        Index (modality, partner); columns ``gain``, ``low`` and ``high``.
    scoring : str, default=None
        Name of the score, for the color bar.
    confidence : float, default=0.95
        Confidence level of the intervals, for the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier, partner_gain
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import PartnerGainDisplay
    >>> X, y = make_multisensor(n_samples=90, random_state=0)
    >>> clf = CoLearnClassifier(encoder="linear", max_epochs=2, cv=None)
    >>> report = partner_gain(clf, X, y, cv=2)
    >>> display = PartnerGainDisplay.from_report(report)
    >>> display.ax_.get_ylabel()
    'predict from'
    """

    summary: pd.DataFrame
    _: KW_ONLY
    scoring: str | None = None
    confidence: float = 0.95

    @classmethod
    def from_report(
        cls, report: PartnerReport, *, confidence: float = 0.95, ax: Axes | None = None
    ) -> Self:
        """Draw a report of `partner_gain`.

        Parameters
        ----------
        report : PartnerReport
        confidence : float, default=0.95
            Confidence level, between 0 and 1.
        ax : matplotlib Axes, default=None
            None creates a new figure.
        """
        report = report.select()
        summary = report.summary(confidence=confidence)
        display = cls(summary, scoring=report.scoring, confidence=confidence)
        return display.plot(ax=ax)

    def _draw(self, ax: Axes | None) -> None:
        modalities: list[Any] = list(self.summary.index.unique(0))
        partners: list[Any] = list(self.summary.index.unique(1))
        partners.sort(key=[*modalities, *partners].index)
        width, margin = (PAGE, 1.6) if len(partners) > 4 else (COLUMN, 1.1)
        size = (width, 0.45 * len(modalities) + margin)
        self.ax_ = panel = self._panels(ax, (1, 1), size)[0, 0]
        cells = pd.MultiIndex.from_product([modalities, partners])
        table = self.summary[["gain", "low", "high"]].reindex(cells)
        shape = 3, len(modalities), len(partners)
        gain, low, high = table.to_numpy(dtype=float).T.reshape(shape)
        limit = float(np.nanmax(np.abs(gain), initial=0)) or 1.0
        image = panel.imshow(gain, "PuOr", aspect="auto", vmin=-limit, vmax=limit)
        panel.set_facecolor("0.9")
        bar = panel.figure.colorbar(image, ax=panel, pad=0.02, aspect=30)
        bar.set_label(f"gain in {self.scoring or 'score'}", fontsize=LABEL)
        bar.ax.tick_params(labelsize=SMALL)
        panel.set(xlabel="trained with", ylabel="predict from")
        interval = f"{100 * self.confidence:g}% interval"
        title = f"gain [{interval}], bold if the interval excludes 0"
        panel.set_title(title, fontsize=SMALL)
        panel.set_yticks(range(len(modalities)), modalities)
        room = _points_wide(panel) / len(partners)
        ticks: dict[str, Any] = {"rotation": 0, "ha": "center", "va": "top"}
        if max(map(len, partners)) * CHARACTER >= room:
            ticks = {"rotation": 45, "ha": "right", "va": "center"}
        ticks["rotation_mode"] = "anchor"
        panel.set_xticks(range(len(partners)), partners, **ticks)
        panel.tick_params(length=0)
        digits = max(0, 1 - int(np.floor(np.log10(limit))))
        comma = ", " if room > (9 + 2 * digits) * CHARACTER else ",\n"
        for i, j in np.argwhere(np.isfinite(gain)):
            text = f"{gain[i, j]:+.{digits}f}"
            if np.isfinite(low[i, j]):
                text += f"\n[{low[i, j]:.{digits}f}{comma}{high[i, j]:.{digits}f}]"
            # Black and white have equal contrast at a relative luminance of 0.18.
            red, green, blue = np.array(image.to_rgba(gain[i, j])[:3]) ** 2.2
            dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.18
            sure = low[i, j] > 0 or high[i, j] < 0
            style = {"color": "white" if dark else "black", "fontsize": SMALL}
            style |= {"fontweight": "bold" if sure else "normal"}
            text = text.replace("-", "\N{MINUS SIGN}")
            panel.text(j, i, text, ha="center", va="center", **style)


@dataclass(eq=False, repr=False)
class MapAccuracyDisplay(_Display):
    """User's and producer's accuracy of each class of a map, with intervals.

    The vertical line is the overall accuracy, the band its interval. NaN is not drawn.

    Parameters
    ----------
    users : pandas.DataFrame of shape (n_classes, n_columns)
        User's accuracy by class; columns ``estimate``, ``lower`` and ``upper``.
    producers : pandas.DataFrame of shape (n_classes, n_columns)
        Producer's accuracy, in the same layout.
    overall : pandas.Series
        Overall accuracy: ``estimate``, ``lower`` and ``upper``.
    confidence_level : float, default=0.95
        Coverage of the intervals, for the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn_colearn import map_accuracy
    >>> from sklearn_colearn.plotting import MapAccuracyDisplay
    >>> y_true = ["crops"] * 45 + ["forest"] * 5 + ["forest"] * 49 + ["crops"]
    >>> y_pred = ["crops"] * 50 + ["forest"] * 50
    >>> accuracy = map_accuracy(y_true, y_pred, areas={"crops": 1000, "forest": 9000})
    >>> display = MapAccuracyDisplay.from_accuracy(accuracy)
    >>> display.ax_.get_xlabel()
    'accuracy, 95% interval'
    """

    users: pd.DataFrame
    producers: pd.DataFrame
    overall: pd.Series[float]
    _: KW_ONLY
    confidence_level: float = 0.95

    @classmethod
    def from_accuracy(cls, accuracy: MapAccuracy, *, ax: Axes | None = None) -> Self:
        """Draw a result of :func:`~sklearn_colearn.map_accuracy`.

        Parameters
        ----------
        accuracy : MapAccuracy
        ax : matplotlib Axes, default=None
            None creates a new figure.
        """
        return cls(
            accuracy.users,
            accuracy.producers,
            accuracy.overall,
            confidence_level=accuracy.confidence_level,
        ).plot(ax=ax)

    def _draw(self, ax: Axes | None) -> None:
        classes = list(self.users.index)
        height = 0.3 * len(classes) + 0.9
        self.ax_ = panel = self._panels(ax, (1, 1), (COLUMN, height))[0, 0]
        low, high = self.overall["lower"], self.overall["upper"]
        panel.axvspan(low, high, color="0.9", linewidth=0, zorder=0)
        panel.axvline(self.overall["estimate"], color="0.4", linewidth=0.8, zorder=0)
        tables = {"user's": self.users, "producer's": self.producers}
        for i, (name, table) in enumerate(tables.items()):
            style = _style(i)
            y = np.arange(len(classes)) + 0.3 * (i - 0.5)
            interval = {"color": style["color"], "linewidth": 1.5}
            panel.hlines(y, table["lower"], table["upper"], **interval)
            panel.scatter(table["estimate"], y, s=22, zorder=3, label=name, **style)
        _legend(panel, list(tables), above=True)
        panel.set_ylim(len(classes) - 0.5, -0.5)
        panel.set_yticks(range(len(classes)), [str(name) for name in classes])
        panel.set_yticks(np.arange(1, len(classes)) - 0.5, minor=True)
        panel.tick_params(axis="y", which="both", length=0)
        panel.grid(axis="y", which="minor", color="0.85", linewidth=0.6)
        panel.set_xlabel(f"accuracy, {100 * self.confidence_level:g}% interval")


@dataclass(eq=False, repr=False)
class EmbeddingDisplay(_Display):
    """Specific and shared representations of all modalities, projected to 2-D.

    If co-learning works, specific representations (top) separate by modality, and
    shared ones (bottom) mix across modalities and follow the target. Shared
    representations are scaled to length 1, because the contrastive term compares
    directions.

    Parameters
    ----------
    points : dict of str to ndarray of shape (n_points, 2)
        Separate projections of ``"specific"`` and ``"shared"`` representations.
    modality : ndarray of str of shape (n_points,)
        Modality of each point.
    target : ndarray of shape (n_points,), default=None
        Class, value, or number of labels of each point. None omits the second column.
    target_kind : {'class', 'target', 'number of labels'}, default='class'
        Classes get a legend, others a color bar.
    method : {'tsne', 'pca'}, default='tsne'

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (2, 2) or (2, 1)
        Rows: specific, shared. Columns: by modality, by target.
    figure_ : matplotlib Figure

    Notes
    -----
    t-SNE preserves neighbors, not distances: sizes of groups and gaps between them mean
    nothing.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import EmbeddingDisplay
    >>> X, y = make_multisensor(n_samples=120, random_state=0)
    >>> clf = CoLearnClassifier(max_epochs=3, cv=2).fit(X, y)
    >>> display = EmbeddingDisplay.from_estimator(clf, X, y, method="pca")
    >>> display.points["shared"].shape
    (360, 2)
    """

    points: Mapping[str, Array]
    modality: Array
    target: Array | None = None
    _: KW_ONLY
    target_kind: str = "class"
    method: str = "tsne"

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
    ) -> Self:
        """Embed X with all its modalities and draw the projections.

        Parameters
        ----------
        estimator : CoLearnClassifier or CoLearnRegressor
            Fitted estimator.
        X : any form that `predict` takes
            Rows; modalities that they lack are left out.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Classes, values, or labels (shown by their number).
        method : {'tsne', 'pca'}, default='tsne'
        max_samples : int, default=1000
            Number of rows to which larger inputs are subsampled.
        random_state : int, RandomState instance or None, default=0
            Seed of the subsample and the projection.
        ax : array-like of matplotlib Axes, default=None
            Four Axes, or two without y, row by row. None creates a new figure.

        Raises
        ------
        TypeError, NotFittedError
            If `estimator` is not a fitted co-learning estimator.
        ValueError
            If the method is unknown, or y has several columns that are not labels.
        """
        if not isinstance(estimator, CoLearn):
            raise TypeError(
                "estimator= must be a fitted CoLearnClassifier or CoLearnRegressor; "
                f"got {type(estimator).__name__}. For a Pipeline, pass its last step "
                "and a transformed X; for a search, its best_estimator_."
            )
        check_is_fitted(estimator)
        if method not in METHODS:
            raise ValueError(f"Unknown method {method!r}; use one of {list(METHODS)}.")
        _pyplot(f"{cls.__name__}.from_estimator")
        joint = _joint_by_modality(estimator, X)
        n = len(next(iter(joint.values())))
        target, kind = None, "class"
        if y is not None:
            check_consistent_length(np.empty(n), y)
            y = matched(y, row_labels(X))
            target, kind = _target_of(estimator, y)
        random = check_random_state(random_state)
        chosen = np.arange(n)
        if n > max_samples:
            chosen = np.sort(random.choice(n, max_samples, replace=False))
        rows = {m: chosen[~np.isnan(z[chosen, 0])] for m, z in joint.items()}
        values = np.concatenate([z[rows[m]] for m, z in joint.items()])
        specific, shared = np.split(values, 2, axis=1)
        points = {
            "specific": _project(specific, method, random),
            "shared": _project(normalize(shared), method, random),
        }
        modality = np.repeat(list(rows), list(map(len, rows.values())))
        if target is not None:
            target = target[np.concatenate(list(rows.values()))]
        display = cls(points, modality, target, target_kind=kind, method=method)
        return display.plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        n_columns = 1 if self.target is None else 2
        self.axes_ = axes = self._panels(ax, (2, n_columns), (COLUMN * n_columns, 6.0))
        modalities = list(pd.unique(pd.Series(self.modality)))
        for row, representation in zip(axes, REPRESENTATIONS, strict=True):
            points = np.asarray(self.points[representation])
            keyed = representation == REPRESENTATIONS[-1]  # one legend per column
            kind = f"{representation} representation"
            row[0].set_ylabel(f"{kind}\n({METHODS[self.method]})")
            for panel in row:
                panel.set(xticks=[], yticks=[])
            _scatter_groups(row[0], points, self.modality, modalities, 0, keyed)
            if self.target is None:
                continue
            if self.target_kind == "class":
                classes = list(np.unique(self.target))
                first = len(modalities)  # to use other styles than the modalities
                _scatter_groups(row[1], points, self.target, classes, first, keyed)
            else:
                _scatter_values(row[1], points, self.target, self.target_kind, keyed)
        titles = ("by modality", f"by {self.target_kind}")
        for panel, title in zip(axes[0], titles, strict=False):
            panel.set_title(title, fontsize=LABEL)


@dataclass
class ImportanceDisplay(_Display):
    """Permutation importance of bands and time steps.

    The importance is the drop in score when values are shuffled across rows. A band is
    shuffled at all its steps at once, and a step in all its bands, because neighbouring
    values carry much the same information.

    Parameters
    ----------
    bands : DataFrame
        ``mean`` and standard deviation (``std``) of the drop over repeats, indexed by
        ``modality`` and ``band``.
    steps : DataFrame
        The same for time series, indexed by ``modality`` and ``step``.

    Attributes
    ----------
    figure_ : matplotlib Figure
    axes_ : ndarray of matplotlib Axes, (n_modalities, 2)

    Notes
    -----
    Bands with the same information share importance or hide each other.

    Examples
    --------
    >>> from sklearn_colearn import CoLearnClassifier
    >>> from sklearn_colearn.datasets import make_multisensor
    >>> from sklearn_colearn.plotting import ImportanceDisplay
    >>> X, y = make_multisensor(n_samples=200, random_state=0)
    >>> clf = CoLearnClassifier(encoder="mlp", max_epochs=3, cv=2, random_state=0)
    >>> clf = clf.fit(X[:150], y[:150])
    >>> display = ImportanceDisplay.from_estimator(
    ...     clf, X[150:].select("S2"), y[150:], n_repeats=2, random_state=0
    ... )
    >>> display.bands.shape, display.steps.shape
    ((4, 2), (12, 2))
    """

    bands: pd.DataFrame
    steps: pd.DataFrame

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        scoring: Any = None,
        n_repeats: int = 5,
        random_state: int | np.random.RandomState | None = None,
        ax: Any = None,
    ) -> Self:
        """Compute permutation importances and draw them.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator.
        X : ModalityDict or dict
            Held-out rows of one or several modalities.
        y : array-like of shape (n_samples,)
            True targets.
        scoring : str or callable, default=None
            Scorer, as in scikit-learn. None uses ``estimator.score``.
        n_repeats : int, default=5
            Number of shuffles of each band and step.
        random_state : int, RandomState instance or None, default=None
            Seed of the shuffles.
        ax : array-like of matplotlib Axes, default=None
            Two Axes per modality, row by row. None creates a new figure.

        Raises
        ------
        ValueError
            If X contains images.
        """
        score = check_scoring(estimator, scoring=scoring)
        X = X if isinstance(X, ModalityDict) else ModalityDict(X)
        dates = time_names(estimator, X)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        before = score(estimator, X, y)
        found: dict[str, dict[tuple[str, Any], Array]] = {"band": {}, "step": {}}
        for name, value in X.items():
            if name in dates:
                continue
            values = np.asarray(value)
            if values.ndim > 3:
                raise ValueError(
                    f"Modality {name!r} contains images; importance is available only "
                    "for tables and time series."
                )
            labels = X.labels.get(name) or (None,) * (values.ndim - 1)
            if hasattr(value, "columns"):
                labels = (tuple(value.columns),)
            for axis in range(1, values.ndim):
                kind = "band" if axis == values.ndim - 1 else "step"
                n = values.shape[axis]
                for i, label in enumerate(labels[axis - 1] or range(n)):
                    losses = np.empty(n_repeats)
                    for repeat in range(n_repeats):
                        shuffled = values.copy()
                        part = np.moveaxis(shuffled, axis, 0)[i]  # a view
                        part[:] = part[rng.permutation(len(part))]
                        other = X._with({**X, name: _like(value, shuffled)})
                        losses[repeat] = before - score(estimator, other, y)
                    found[kind][name, label] = losses
        tables = {}
        for kind, losses_of in found.items():
            index = pd.MultiIndex.from_tuples(losses_of, names=["modality", kind])
            each = np.reshape([*losses_of.values()], (len(index), n_repeats))
            table = {"mean": each.mean(axis=1), "std": each.std(axis=1)}
            tables[kind] = pd.DataFrame(table, index)
        return cls(tables["band"], tables["step"]).plot(ax=ax)

    def _draw(self, ax: Any) -> None:
        names = list(self.bands.index.unique("modality"))
        self.axes_ = axes = self._panels(ax, (len(names), 2), (PAGE, 1.9 * len(names)))
        for i, name in enumerate(names):
            left, right = axes[i]
            bands = self.bands.loc[name]
            places = np.arange(len(bands))
            left.barh(places, bands["mean"], xerr=bands["std"], color=COLORS[0])
            left.set_yticks(places, [str(band) for band in bands.index])
            left.invert_yaxis()
            left.set_title(f"{name}, bands", fontsize=LABEL)
            left.set_xlabel("loss of score")
            left.axvline(0, color="black", linewidth=0.6)
            left.locator_params(axis="x", nbins=5)
            if name not in self.steps.index.unique("modality"):
                right.set_axis_off()
                continue
            steps = self.steps.loc[name]
            at = np.arange(len(steps))
            right.errorbar(at, steps["mean"], steps["std"], capsize=2, **_style(0))
            shown = at[:: max(1, len(at) // 6)]
            texts = [_short(steps.index[k]) for k in shown]
            right.set_xticks(shown, texts)
            right.axhline(0, color="black", linewidth=0.6)
            right.set_title(f"{name}, steps", fontsize=LABEL)
            right.set_ylabel("loss of score")


def _like(value: Any, values: Array) -> Any:
    """Return values as a frame if the original is one."""
    if isinstance(value, pd.DataFrame):
        return pd.DataFrame(values, value.index, value.columns)
    return values


def _short(step: Any) -> str:
    return step.strftime("%b %d") if hasattr(step, "strftime") else str(step)


def plot_map(map: Any, *, colors: Any = None, ax: Any = None) -> Axes:
    """Draw a map with a legend of its classes or a color bar.

    Parameters
    ----------
    map : xarray.DataArray
        Map over two spatial dimensions, as from :func:`predict_raster`. Large maps are
        thinned to 2,000 pixels per side.
    colors : dict, list of str or str, default=None
        Colors of classes, as for :func:`write_map`, or a matplotlib colormap of values,
        by default ``"viridis"``.
    ax : matplotlib Axes, default=None
        None creates a new figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If the map has another dimension; use ``map.sel(label="forest")``.
    """
    plt = _pyplot("plot_map")
    x, y = spatial_dims(map)
    if map.ndim != 2:
        raise ValueError(
            f"plot_map draws one layer, but the map has the dimensions {map.dims}. "
            "Select one with map.isel or map.sel."
        )
    map = map.transpose(y, x)
    map = map[tuple(slice(None, None, max(1, -(-n // PIXELS))) for n in map.shape)]
    values = np.asarray(map.values)
    fill = map.attrs.get("_FillValue")
    gone = np.isnan(values) if values.dtype.kind == "f" else np.zeros(map.shape, bool)
    if fill is not None:
        gone |= values == fill
    if ax is None:
        ax = plt.subplots(figsize=(COLUMN + 1, COLUMN), layout="constrained")[1]
    extent = None
    if x in map.coords and y in map.coords and min(map.shape) > 1:
        half = [float(map[dim][1] - map[dim][0]) / 2 for dim in (x, y)]
        (left, right), (top, low) = (
            (float(map[dim][0]) - h, float(map[dim][-1]) + h)
            for dim, h in zip((x, y), half, strict=True)
        )
        extent = (left, right, low, top)
    shown: Any
    if "flag_values" in map.attrs:
        classes = class_colors(map, colors)
        numbers = np.array(sorted(classes))
        places = np.searchsorted(numbers, np.where(gone, numbers[0], values))
        palette = plt.matplotlib.colors.ListedColormap(
            [classes[n][1] for n in numbers.tolist()]
        )
        shown = np.ma.masked_array(places, gone)
        limits = {"vmin": -0.5, "vmax": len(numbers) - 0.5}
        ax.imshow(shown, cmap=palette, interpolation="nearest", extent=extent, **limits)
        patch = plt.matplotlib.patches.Patch
        handles = [patch(color=color, label=name) for name, color in classes.values()]
        ax.legend(
            handles=handles,
            fontsize=SMALL,
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
        )
    else:
        shown = np.ma.masked_array(values, gone)
        drawn = ax.imshow(
            shown, cmap=colors or "viridis", interpolation="nearest", extent=extent
        )
        scale = ax.figure.colorbar(drawn, ax=ax, shrink=0.6)
        units = f" ({map.attrs['units']})" if "units" in map.attrs else ""
        scale.set_label(f"{map.name or 'value'}{units}", fontsize=LABEL)
        scale.ax.tick_params(labelsize=SMALL)
    ax.tick_params(labelsize=SMALL)
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.locator_params(nbins=4)
    ax.set_xlabel(str(x), fontsize=LABEL)
    ax.set_ylabel(str(y), fontsize=LABEL)
    return ax


def _joint_by_modality(estimator: CoLearn, X: Any) -> dict[str, Array]:
    """Return ``[specific, shared]`` by modality, NaN in rows that lack it."""
    model = copy(estimator)
    model.predict_modality = None
    wide = model.embed(X, "joint")
    width = len(model.get_feature_names_out()) // len(model.modalities_)
    blocks = np.split(wide, wide.shape[1] // width, axis=1)
    _, answered = model.predict(X, return_modalities=True)
    held = [m for m in model.modalities_ if answered[m].any()]
    blocks = [block for block in blocks if not np.isnan(block).all()]
    return dict(zip(held, blocks, strict=True))


def _target_of(estimator: CoLearn, y: Any) -> tuple[Array, str]:
    """Return a class or number per row and the kind of target."""
    y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.ravel()
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        return y.sum(axis=1), "number of labels"
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}; pass a single column.")
    if is_regressor(estimator) or kind == "continuous":
        return y.astype(float), "target"
    return y, "class"


def _project(values: Array, method: str, random: np.random.RandomState) -> Array:
    # Imported here to keep the import of the package fast.
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    projection = PCA(2, random_state=random)
    if method == "tsne":
        perplexity = min(30.0, max(1.0, (len(values) - 1) / 3))
        projection = TSNE(2, perplexity=perplexity, random_state=random)
    return projection.fit_transform(values)


def _scatter_groups(
    ax: Axes, points: Array, groups: Array, names: list[Any], first: int, keyed: bool
) -> None:
    for i, name in enumerate(names, start=first):
        x, y = points[groups == name].T
        ax.scatter(x, y, s=7, alpha=0.7, linewidth=0, label=str(name), **_style(i))
    if keyed:
        _legend(ax, [str(name) for name in names], above=False)


def _scatter_values(
    ax: Axes, points: Array, values: Array, label: str, keyed: bool
) -> None:
    x, y = points.T
    drawn = ax.scatter(x, y, s=7, linewidth=0, c=values, cmap="cividis")
    if keyed:
        below = ax.inset_axes((0, -0.07, 1, 0.04))
        scale = ax.figure.colorbar(drawn, cax=below, orientation="horizontal")
        scale.set_label(label, fontsize=LABEL)
        below.tick_params(labelsize=SMALL)
        if values.dtype.kind in "iu":
            below.locator_params(axis="x", integer=True)
