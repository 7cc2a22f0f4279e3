"""The displays: what is drawn is what was measured, on the axes that were given."""

import sys
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from tools import refused, small

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.collections import LineCollection, PathCollection

from sklearn_colearn import (
    CoLearnClassifier,
    CoLearnRegressor,
    ModalityDict,
    map_accuracy,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.evaluation import ModalityReport, PartnerReport
from sklearn_colearn.plotting import (
    EmbeddingDisplay,
    ImportanceDisplay,
    MapAccuracyDisplay,
    ModalityScoresDisplay,
    PartnerGainDisplay,
    plot_map,
)

LONG = [
    *("temperature_2m_mean", "precipitation_sum", "sentinel_1_descending", "S2"),
    *("surface_elevation", "soil_laboratory", "wind_speed_10m_max", "landsat_thermal"),
]


@pytest.fixture(autouse=True)
def _no_figure_and_no_setting_left():
    settings = dict(matplotlib.rcParams)
    yield
    plt.close("all")
    assert dict(matplotlib.rcParams) == settings


@pytest.fixture(scope="module")
def fitted(sensors):
    return small().fit(*sensors)


@pytest.fixture(scope="module")
def gappy(sensors):
    """S2 is absent in the first ten rows, terrain in the last five."""
    X, y = sensors
    X = ModalityDict({name: np.array(values) for name, values in X.items()})
    X["S2"][:10] = np.nan
    X["terrain"][-5:] = np.nan
    return X, y


def report_of(modalities=("S1", "S2"), methods=("alone", "co-learned", "trees"), n=4):
    rng = np.random.default_rng(0)
    keys = [(m, method, k) for m in modalities for method in methods for k in range(n)]
    keys += [("all", "co-learned", k) for k in range(n)]
    scores = pd.DataFrame(keys, columns=["modality", "method", "fold"]).assign(
        repeat=0, fit_time=1.0, predict_time=0.1, n_train=80, n_test=20
    )
    scores["score"] = rng.uniform(0.4, 0.9, len(scores))
    return ModalityReport(scores, scoring="f1_macro")


def partners_of(modalities=("S1", "S2", "soil"), scale=0.05, n=4):
    rng = np.random.default_rng(0)
    keys = [
        (m, partner, k)
        for m in modalities
        for partner in [*modalities, "all"]
        if m != partner
        for k in range(n)
    ]
    scores = pd.DataFrame(keys, columns=["modality", "partner", "fold"]).assign(
        repeat=0, score=0.5, alone=0.4, n_train=80, n_test=20
    )
    means = scores["modality"].map({m: i - 1 for i, m in enumerate(modalities)})
    scores["gain"] = scale * (means + rng.normal(0, 0.3, len(scores)))
    return PartnerReport(scores, scoring="r2")


def points_of(ax):
    return [
        np.asarray(drawn.get_offsets())
        for drawn in ax.collections
        if isinstance(drawn, PathCollection) and len(drawn.get_offsets())
    ]


def texts_of(ax):
    return [text.get_text().replace("\N{MINUS SIGN}", "-") for text in ax.texts]


def ticks_of(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def assert_all_inside(figure):
    """Nothing is cut off, and no tick label lies on its neighbour."""
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= 0
    assert tight.y0 >= 0
    assert tight.x1 <= width
    assert tight.y1 <= height
    for ax in figure.axes:
        assert all(
            text.get_fontsize() >= 7
            for text in [*ax.get_xticklabels(), *ax.get_yticklabels(), *ax.texts]
        )
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            places = zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
            shown = [t for t, at in places if t.get_text() and low <= at <= high]
            if not any(label.get_rotation() for label in shown):
                boxes = [label.get_window_extent() for label in shown]
                assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


# matplotlib


def test_error_without_matplotlib(monkeypatch, fitted, sensors):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    remedy = r"needs matplotlib; run `pip install sklearn_colearn\[plot\]`"
    with pytest.raises(ImportError, match=f"ModalityScoresDisplay.plot {remedy}"):
        ModalityScoresDisplay.from_report(report_of())
    # Before anything is computed.
    with pytest.raises(ImportError, match=f"EmbeddingDisplay.from_estimator {remedy}"):
        EmbeddingDisplay.from_estimator(fitted, None)


@pytest.mark.parametrize("kind", ["scores", "gain", "embedding"])
@pytest.mark.parametrize("sub", [False, True], ids=["figure", "subfigure"])
def test_given_axes_are_used(fitted, sensors, kind, sub):
    figure = matplotlib.figure.Figure(layout="constrained")
    home = figure.subfigures(1, 2)[1] if sub else figure
    ax = home.subplots(*{"scores": (1, 2), "gain": (1, 1), "embedding": (2, 2)}[kind])
    if kind == "scores":
        display = ModalityScoresDisplay.from_report(report_of(), ax=ax)
    elif kind == "gain":
        display = PartnerGainDisplay.from_report(partners_of(), ax=ax)
    else:
        options = {"method": "pca", "ax": ax}
        display = EmbeddingDisplay.from_estimator(fitted, *sensors, **options)
    used = display.ax_ if kind == "gain" else display.axes_
    assert np.ravel(used).tolist() == np.ravel(ax).tolist()
    assert display.figure_ is home
    assert all(one.has_data() for one in np.ravel(used))
    assert plt.get_fignums() == []
    figure.draw_without_rendering()


def test_plot_draws_again():
    display = ModalityScoresDisplay.from_report(report_of())
    first = display.figure_
    assert display.plot() is display
    assert display.figure_ is not first


def test_wrong_number_of_axes_is_refused():
    ax = matplotlib.figure.Figure().subplots()
    with pytest.raises(ValueError, match=r"ax= needs 2 Axes; got 1"):
        ModalityScoresDisplay.from_report(report_of(), ax=ax)
    with pytest.raises(ValueError, match=r"ax= needs 1 Axes; got 2"):
        PartnerGainDisplay.from_report(partners_of(), ax=[ax, ax])


# Scores


def test_scores_are_drawn():
    report = report_of()
    display = ModalityScoresDisplay.from_report(report, confidence=0.9)
    summary = report.summary(confidence=0.9)
    left, right = display.axes_
    drawn = points_of(left)
    assert len(drawn) == 2 * len(summary)  # the folds and their mean
    for folds, mean in zip(drawn[::2], drawn[1::2], strict=True):
        assert np.unique(folds[:, 1]) == mean[0, 1]
        row = ["S1", "S2", "all"][round(float(mean[0, 1]))]
        of_row = summary.loc[row]
        (method,) = of_row.index[of_row["mean"] == mean[0, 0]]
        chosen = (report.scores["modality"] == row) & (
            report.scores["method"] == method
        )
        np.testing.assert_array_equal(folds[:, 0], report.scores.loc[chosen, "score"])
    compared = summary.dropna(subset="difference")
    drawn = points_of(right)
    np.testing.assert_allclose(
        [place[0, 0] for place in drawn[1::2]], compared["difference"]
    )
    by_fold = report.differences().groupby(["modality", "method"])["difference"]
    for folds, key in zip(drawn[::2], compared.index, strict=True):
        np.testing.assert_allclose(folds[:, 0], by_fold.get_group(key))
    intervals = [
        line.get_segments()[0][:, 0]
        for line in right.collections
        if isinstance(line, LineCollection)
    ]
    np.testing.assert_allclose(intervals, compared[["low", "high"]])
    assert right.lines[0].get_xdata() == [0, 0]
    assert ticks_of(left.yaxis) == ["S1", "S2", "all"]
    assert left.get_ylim() == right.get_ylim() == (2.5, -0.5)
    assert left.get_xlabel() == "f1_macro: folds, mean"
    assert right.get_xlabel() == "difference to alone: folds, mean, 90% interval"
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert names == ["alone", "co-learned", "trees"]


def test_scores_by_another_reference():
    report = report_of()
    display = ModalityScoresDisplay.from_report(report, reference="trees")
    left, right = display.axes_
    assert right.get_xlabel() == "difference to trees: folds, mean, 95% interval"
    assert left.get_legend().get_texts()[0].get_text() == "trees"
    assert len(points_of(right)) == 8
    by_default = ModalityReport(report.scores, reference="co-learned")
    display = ModalityScoresDisplay.from_report(by_default)
    assert display.axes_[0].get_xlabel() == "score: folds, mean"
    assert (
        display.axes_[1].get_xlabel()
        == "difference to co-learned: folds, mean, 95% interval"
    )


@pytest.mark.slow
def test_confidence_is_not_rounded_to_certainty():
    scores = ModalityScoresDisplay.from_report(report_of(), confidence=0.999)
    assert "99.9% interval" in scores.axes_[1].get_xlabel()
    gains = PartnerGainDisplay.from_report(partners_of(), confidence=0.999)
    assert "99.9% interval" in gains.ax_.get_title()


def test_scores_of_one_fold_have_no_interval():
    display = ModalityScoresDisplay.from_report(report_of(n=1))
    assert len(points_of(display.axes_[1])) == 8
    display.figure_.draw_without_rendering()


def test_many_long_names_fit_into_the_scores():
    methods = ("alone", "co-learned", "extra trees", "logistic regression")
    display = ModalityScoresDisplay.from_report(report_of(LONG, methods))
    assert_all_inside(display.figure_)


# Gains


def test_gains_are_drawn():
    report = partners_of()
    display = PartnerGainDisplay.from_report(report)
    ax = display.ax_
    matrix, summary = report.matrix(), report.summary()
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array().filled(np.nan), matrix)
    assert ticks_of(ax.xaxis) == list(matrix.columns) == ["S1", "S2", "soil", "all"]
    assert ticks_of(ax.yaxis) == list(matrix.index)
    low, high = image.get_clim()
    assert -low == high == pytest.approx(np.nanmax(np.abs(matrix)))
    texts = iter(ax.texts)
    for modality in matrix.index:
        for partner in matrix.columns:
            if modality == partner:
                continue
            text = next(texts)
            cell = summary.loc[(modality, partner)]
            numbers = text.get_text().replace("\N{MINUS SIGN}", "-").split("\n", 1)
            assert numbers[0] == f"{cell['gain']:+.3f}"
            assert numbers[1].replace("\n", " ") == (
                f"[{cell['low']:.3f}, {cell['high']:.3f}]"
            )
            sure = cell["low"] > 0 or cell["high"] < 0
            assert text.get_fontweight() == ("bold" if sure else "normal")
    assert next(texts, None) is None  # no text on the diagonal
    assert {text.get_fontweight() for text in ax.texts} == {"bold", "normal"}
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("predict from", "trained with")
    assert ax.get_title() == "gain [95% interval], bold if the interval excludes 0"
    assert display.figure_.axes[1].get_ylabel() == "gain in r2"
    assert_all_inside(display.figure_)


@pytest.mark.parametrize(
    ("scale", "pattern"),
    [(30.0, r"[+-]\d+"), (0.0, r"[+-]0\.0"), (0.004, r"[+-]0\.\d{4}")],
)
def test_gains_have_two_digits_in_any_unit(scale, pattern):
    display = PartnerGainDisplay.from_report(partners_of(scale=scale))
    drawn = [text.partition("\n")[0] for text in texts_of(display.ax_) if text]
    assert pd.Series(drawn).str.fullmatch(pattern).all(), drawn


def test_gains_of_one_fold_have_no_interval():
    display = PartnerGainDisplay.from_report(partners_of(n=1))
    assert not any("[" in text for text in texts_of(display.ax_))


def test_many_long_names_fit_into_the_gains():
    display = PartnerGainDisplay.from_report(partners_of(LONG))
    assert_all_inside(display.figure_)
    width = display.ax_.get_window_extent().width / (len(LONG) + 1)
    assert max(text.get_window_extent().width for text in display.ax_.texts) < width


# Representations


def test_embedding_is_drawn(fitted, gappy):
    X, y = gappy
    display = EmbeddingDisplay.from_estimator(fitted, X, y, method="pca")
    n_points = {"S1": 90, "S2": 80, "terrain": 85}
    assert pd.Series(display.modality).value_counts().to_dict() == n_points
    np.testing.assert_array_equal(display.target, [*y, *y[10:], *y[:-5]])
    for row, representation in enumerate(["specific", "shared"]):
        by_modality, by_class = display.axes_[row]
        points = display.points[representation]
        drawn = points_of(by_modality)
        assert [len(one) for one in drawn] == list(n_points.values())
        np.testing.assert_allclose(np.concatenate(drawn), points)
        for label, one in enumerate(points_of(by_class)):
            np.testing.assert_allclose(one, points[display.target == label])
        assert by_modality.get_ylabel() == f"{representation} representation\n(PCA)"
    assert [ax.get_title() for ax in display.axes_[0]] == ["by modality", "by class"]
    legends = [
        [text.get_text() for text in ax.get_legend().get_texts()]
        for ax in display.axes_[1]
    ]
    assert legends == [["S1", "S2", "terrain"], ["0", "1", "2"]]
    assert_all_inside(display.figure_)


def test_embedding_projects_what_embed_gives(fitted, gappy):
    X, _ = gappy
    display = EmbeddingDisplay.from_estimator(fitted, X, method="pca")
    for representation in ["specific", "shared"]:
        wide = fitted.embed(X, representation)
        values = np.concatenate(np.split(wide, 3, axis=1))
        values = values[~np.isnan(values).any(axis=1)]
        if representation == "shared":
            values /= np.linalg.norm(values, axis=1, keepdims=True)
        values -= values.mean(axis=0)
        # Distances in the plane of the two first components, whatever their signs.
        left, spread, _ = np.linalg.svd(values, full_matrices=False)
        expected = np.abs(left[:, :2] * spread[:2])
        got = np.abs(display.points[representation])
        np.testing.assert_allclose(got, expected, atol=1e-3)
    assert display.axes_.shape == (2, 1)


def test_embedding_subsamples_to_max_samples(fitted, sensors):
    X, y = sensors
    picky = small(predict_modality="S1").fit(X, y)
    displays = [
        EmbeddingDisplay.from_estimator(picky, X, y, max_samples=20) for _ in range(2)
    ]
    for representation in ["specific", "shared"]:
        first, second = (display.points[representation] for display in displays)
        assert first.shape == (60, 2)  # of three modalities
        np.testing.assert_array_equal(first, second)
    assert picky.predict_modality == "S1"
    assert displays[0].axes_[0, 0].get_ylabel() == "specific representation\n(t-SNE)"


def test_embedding_of_values_has_a_colour_bar(sensors_regression):
    X, y = sensors_regression
    reg = small(CoLearnRegressor, max_epochs=1).fit(X, y)
    whole = np.round(y).astype(int)  # whole numbers are values to a regressor
    display = EmbeddingDisplay.from_estimator(reg, X, whole[:, None], method="pca")
    drawn = display.axes_[1, 1].collections[0]
    np.testing.assert_array_equal(drawn.get_array(), np.tile(whole, 3))
    assert display.axes_[1, 1].get_legend() is None
    (bar,) = display.axes_[1, 1].child_axes
    assert bar.get_xlabel() == "target"
    assert_all_inside(display.figure_)
    with pytest.raises(ValueError, match=r"y has shape \(90, 2\).*single column"):
        EmbeddingDisplay.from_estimator(reg, X, np.stack([y, y], axis=1))


def test_embedding_of_labels_shows_their_number():
    X, y = make_multisensor(60, task="multilabel", random_state=0)
    display = EmbeddingDisplay.from_estimator(small().fit(X, y), X, y, method="pca")
    np.testing.assert_array_equal(display.target, np.tile(y.sum(axis=1), 3))
    assert display.axes_[0, 1].get_title() == "by number of labels"


def test_embedding_of_many_classes_and_long_names():
    X, y = make_multisensor(
        120, modalities=dict.fromkeys(LONG, (3,)), n_classes=12, random_state=0
    )
    names = np.array([f"permanent grassland {i:02d}" for i in range(12)])
    clf = small(max_epochs=1).fit(X, names[y])
    display = EmbeddingDisplay.from_estimator(clf, X, names[y], method="pca")
    assert_all_inside(display.figure_)
    for ax in display.axes_[1]:
        looks = {
            (tuple(drawn.get_facecolor()[0]), len(drawn.get_paths()[0].vertices))
            for drawn in ax.collections
        }
        assert len(looks) == len(ax.collections)


def test_embedding_draws_only_the_modalities_that_rows_have(fitted, gappy):
    X, _ = gappy
    X = X.select(["terrain", "S2", "S1"])
    X["S2"] = np.full_like(X["S2"], np.nan)
    display = EmbeddingDisplay.from_estimator(fitted, X, method="pca")
    assert list(pd.unique(pd.Series(display.modality))) == ["S1", "terrain"]
    display = EmbeddingDisplay.from_estimator(fitted, X["S1"], method="pca")
    assert display.points["shared"].shape == (90, 2)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (small(), NotFittedError, "not fitted"),
        ("clf", TypeError, "got str.*best_estimator_"),
    ],
)
def test_embedding_refuses_other_estimators(sensors, estimator, error, message):
    with pytest.raises(error, match=message):
        EmbeddingDisplay.from_estimator(estimator, *sensors)


def test_embedding_refuses_unknown_methods(fitted, sensors):
    with pytest.raises(ValueError, match=r"method 'umap'; use one of.*tsne.*pca"):
        EmbeddingDisplay.from_estimator(fitted, *sensors, method="umap")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        EmbeddingDisplay.from_estimator(fitted, sensors[0], sensors[1][:-1])


# -- accuracy of a map


def accuracy_of_a_map():
    y_true = ["a"] * 8 + ["b"] * 3 + ["a"] * 2 + ["b"] * 9 + ["c"]
    y_pred = ["a"] * 11 + ["b"] * 12
    areas = {"a": 1.0, "b": 4.0}
    return map_accuracy(y_true, y_pred, areas=areas, confidence_level=0.9)


def test_accuracies_of_a_map_are_drawn_with_their_intervals():
    accuracy = accuracy_of_a_map()
    display = MapAccuracyDisplay.from_accuracy(accuracy)
    panel = display.ax_
    assert display.figure_ is panel.figure
    assert panel.get_xlabel() == "accuracy, 90% interval"
    assert [text.get_text() for text in panel.get_yticklabels()] == ["a", "b", "c"]
    points = [c for c in panel.collections if isinstance(c, PathCollection)]
    intervals = [c for c in panel.collections if isinstance(c, LineCollection)]
    tables = (accuracy.users, accuracy.producers)
    for table, drawn, lines in zip(tables, points, intervals, strict=True):
        values = table.dropna()
        x = np.ma.filled(drawn.get_offsets()[:, 0].astype(float), np.nan)
        np.testing.assert_allclose(x[: len(values)], values["estimate"])
        assert np.isnan(x[len(values) :]).all()  # no sample is mapped to c
        ends = [segment[:, 0] for segment in lines.get_segments() if len(segment)]
        ends = [pair for pair in ends if not np.isnan(pair).any()]
        np.testing.assert_allclose(ends, values[["lower", "upper"]])
    line = panel.lines[0].get_xdata()
    assert line == [accuracy.overall["estimate"]] * 2


def test_accuracies_of_a_map_go_on_given_axes():
    ax = plt.subplots()[1]
    display = MapAccuracyDisplay.from_accuracy(accuracy_of_a_map(), ax=ax)
    assert display.ax_ is ax
    assert display.plot().ax_ is not ax


# -- importance ------------------------------------------------------------------------


def test_importance_finds_the_informative_band_and_step():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 2
    S1 = rng.normal(size=(300, 4, 3))
    S1[:, 2, 1] += 3 * y
    X = ModalityDict(S1=S1, soil=pd.DataFrame({"clay": rng.normal(size=300), "ph": y}))
    X.labels["S1"] = (("a", "b", "c", "d"), ("VV", "VH", "HH"))
    settings = {"encoder": "mlp", "cv": None, "max_epochs": 25, "random_state": 0}
    clf = CoLearnClassifier(**settings).fit(X[:200], y[:200])
    rest, truth = X[200:], y[200:]
    display = ImportanceDisplay.from_estimator(
        clf.export("S1"), rest.select("S1"), truth, random_state=0
    )
    bands, steps = display.bands.loc["S1", "mean"], display.steps.loc["S1", "mean"]
    assert bands.idxmax() == "VH"
    assert bands["VH"] > 0.2
    assert bands.drop("VH").abs().max() < 0.1
    assert steps.idxmax() == "c"
    assert display.axes_.shape == (1, 2)
    plt.close(display.figure_)
    # All sensors together; a table has no steps.
    both = ImportanceDisplay.from_estimator(
        clf, rest, truth, scoring="neg_log_loss", n_repeats=2, random_state=0
    )
    assert both.bands.loc["soil", "mean"].idxmax() == "ph"
    assert "soil" not in both.steps.index.unique("modality")
    assert not both.axes_[1, 1].axison
    plt.close(both.figure_)
    images = {"im": np.zeros((4, 3, 3, 1))}
    says = (
        "Modality 'im' contains images; importance is available only for tables and "
        "time series."
    )
    model = small(max_epochs=1, cv=None).fit(images, [0, 1, 0, 1])
    refused(ImportanceDisplay.from_estimator, model, images, [0, 1, 0, 1], says=says)


# -- maps ------------------------------------------------------------------------------


def map_of(values, **attrs):
    xr = pytest.importorskip("xarray")
    height, width = values.shape
    coords = {"y": 5e6 - 10.0 * np.arange(height), "x": 4e5 + 10.0 * np.arange(width)}
    return xr.DataArray(values, coords, ("y", "x"), "cover", attrs)


def test_a_map_of_classes_has_a_legend():
    values = np.array([[5, 7, 255], [7, 7, 5]], np.uint8)
    attrs = {"flag_values": [5, 7], "flag_meanings": "bog reed", "_FillValue": 255}
    ax = plot_map(map_of(values, **attrs), colors={"reed": "#228833"})
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["bog", "reed"]
    (image,) = ax.images
    assert image.get_extent() == [399995, 400025, 4999985, 5000005]
    shown = image.get_array()
    assert shown.tolist() == [[0, 1, None], [1, 1, 0]]
    reed = image.cmap(image.norm(1))
    assert reed == matplotlib.colors.to_rgba("#228833")
    plt.close(ax.figure)


def test_a_map_of_values_has_a_scale():
    values = np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 6)
    values[0, 0] = np.nan
    figure, ax = plt.subplots()
    assert plot_map(map_of(values, units="%"), colors="magma", ax=ax) is ax
    assert figure.axes[-1].get_ylabel() == "cover (%)"
    assert ax.images[0].get_array().mask.sum() == 1
    plt.close(figure)
    several = map_of(values).expand_dims(label=["a"])
    says = "one layer, but the map has the dimensions ('label', ... map.isel or map.sel"
    refused(plot_map, several, says=says)


def test_a_large_map_is_thinned_before_it_is_computed():
    da = pytest.importorskip("dask.array")
    lazy = map_of(da.zeros((8001, 10), chunks=(2000, 10), dtype=np.float32))
    ax = plot_map(lazy)
    assert ax.images[0].get_array().shape == (1601, 10)
    plt.close(ax.figure)
