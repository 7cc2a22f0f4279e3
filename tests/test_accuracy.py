"""Accuracy of maps: published examples, plain loops, samples of a known map."""

import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
from tools import refused

from sklearn_colearn import draw_points, map_accuracy, sample_design

# Olofsson et al. 2014, table 8: pixels of 30 m, and samples by map and reference class.
LAND = ["Deforestation", "Forest gain", "Stable forest", "Stable nonforest"]
PIXELS = pd.Series([200_000, 150_000, 3_200_000, 6_450_000], LAND)
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
#: Half-widths of the paper are 1.96 standard errors.
Z = 1.96

# Stehman 2014, table 2.
STRATA = [*"A" * 10, *"B" * 10, *"C" * 10, *"D" * 10]
MAPPED = [*"A" * 7, *"B" * 3, "A", *"B" * 11, *"C" * 6, *"BB", *"D" * 10]
REFERENCE = [*"AAAAACBABC", *"ABBBBBAABB", *"CCCCCDDBBA", *"DDDDDDDCCB"]
SIZES = {"A": 40_000, "B": 30_000, "C": 20_000, "D": 10_000}


def samples_of(counts, names):
    """Return y_true and y_pred that have these counts."""
    mapped, reference = np.indices(counts.shape)
    names = np.array(names)
    return tuple(
        names[np.repeat(codes.ravel(), counts.ravel())] for codes in (reference, mapped)
    )


@pytest.fixture(scope="module")
def olofsson():
    return map_accuracy(*samples_of(COUNTS, LAND), areas=PIXELS)


@pytest.fixture(scope="module")
def stehman():
    return map_accuracy(REFERENCE, MAPPED, strata=STRATA, areas=SIZES)


# -- published examples ----------------------------------------------------------------


def test_olofsson_accuracies(olofsson):
    assert olofsson.overall["estimate"].round(3) == 0.947
    assert (Z * olofsson.overall["standard_error"]).round(3) == 0.018
    users, producers = olofsson.users.round(2), olofsson.producers.round(2)
    assert users["estimate"].tolist() == [0.88, 0.73, 0.93, 0.96]
    assert producers["estimate"].tolist() == [0.75, 0.85, 0.93, 0.96]
    assert (Z * olofsson.users["standard_error"]).round(2).tolist() == [
        *(0.07, 0.10, 0.04, 0.02)
    ]
    # The paper prints 0.23 for forest gain and 0.01 for stable nonforest, which
    # contradicts its own equation 7: that gives 0.254 and 0.018, as other programs do.
    assert (Z * olofsson.producers["standard_error"]).round(3).tolist() == [
        *(0.213, 0.254, 0.034, 0.018)
    ]


def test_olofsson_areas(olofsson):
    assert olofsson.areas["estimate"].round()["Deforestation"] == 235_086
    # "S = 34,097 pixels" in the paper transposes digits: 1.96 * 34,907 = 68,418.
    assert olofsson.areas["standard_error"].round()["Deforestation"] == 34_907
    hectares = 0.09 * olofsson.areas
    assert hectares["estimate"].round().tolist() == [21_158, 11_686, 285_770, 581_386]
    # With the finite population correction the last would be 16,281.
    assert (Z * hectares["standard_error"]).round().tolist() == [
        *(6_158, 3_756, 15_510, 16_282)
    ]


def test_olofsson_confusion_matrix(olofsson):
    assert olofsson.confusion_matrix.to_numpy().round(4).tolist() == [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    assert olofsson.counts.to_numpy().tolist() == COUNTS.tolist()


def test_stehman_estimates(stehman):
    assert stehman.areas["estimate"].tolist() == pytest.approx(
        [35_000, 34_000, 20_000, 11_000]
    )
    assert stehman.overall["estimate"] == pytest.approx(0.63)
    assert stehman.users["estimate"].round(3)["B"] == 0.574
    assert stehman.producers["estimate"].round(3)["B"] == 0.794
    assert stehman.confusion_matrix.loc["B", "C"] == pytest.approx(0.08)


def test_stehman_standard_errors(stehman):
    areas = stehman.areas["standard_error"] / 100_000
    assert areas.round(3)[["A", "C"]].tolist() == [0.082, 0.064]
    assert stehman.overall["standard_error"].round(3) == 0.085
    # These of all classes are the figures that EnMAP-Box tests for the same example
    # (0.1248 is the paper's 0.125). A 0.114 that is quoted for the producer's accuracy
    # of B is not what equation 28 gives.
    assert stehman.users["standard_error"].tolist() == pytest.approx(
        [0.1645627, 0.1248023, 0.2151657, 0.1527525], rel=1e-3
    )
    assert stehman.producers["standard_error"].tolist() == pytest.approx(
        [0.1477318, 0.1165671, 0.1504438, 0.1623242], rel=1e-3
    )


# -- plain loops -----------------------------------------------------------------------


def looped_ratio(y, x, strata, sizes):
    """Return the ratio estimator of Stehman 2014, equations 27 to 29, as written."""
    top = bottom = variance = 0.0
    for h, size in sizes.items():
        rows = [i for i, stratum in enumerate(strata) if stratum == h]
        top += size * sum(y[i] for i in rows) / len(rows)
        bottom += size * sum(x[i] for i in rows) / len(rows)
    ratio = top / bottom
    for h, size in sizes.items():
        rows = [i for i, stratum in enumerate(strata) if stratum == h]
        n = len(rows)
        y_mean, x_mean = sum(y[i] for i in rows) / n, sum(x[i] for i in rows) / n
        yy = sum((y[i] - y_mean) ** 2 for i in rows) / (n - 1)
        xx = sum((x[i] - x_mean) ** 2 for i in rows) / (n - 1)
        xy = sum((y[i] - y_mean) * (x[i] - x_mean) for i in rows) / (n - 1)
        variance += size**2 * (yy + ratio**2 * xx - 2 * ratio * xy) / n
    return ratio, variance**0.5 / bottom


@pytest.mark.parametrize("seed", range(3))
def test_estimates_are_those_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    sizes = dict(zip("pqr", rng.uniform(1, 9, 3), strict=True))
    strata = rng.choice(list("pqr"), 90).tolist()
    true, mapped = rng.integers(4, size=(2, 90)).tolist()
    found = map_accuracy(true, mapped, strata=strata, areas=sizes)
    total = sum(sizes.values())
    ones = [1] * 90

    def same(row, y, x, unit=1.0):
        ratio, error = looped_ratio(y, x, strata, sizes)
        assert row["estimate"] == pytest.approx(unit * ratio)
        assert row["standard_error"] == pytest.approx(unit * error)

    right = [t == m for t, m in zip(true, mapped, strict=True)]
    same(found.overall, right, ones)
    for k in range(4):
        is_true, is_mapped = [t == k for t in true], [m == k for m in mapped]
        both = [t and m for t, m in zip(is_true, is_mapped, strict=True)]
        same(found.users.loc[k], both, is_mapped)
        same(found.producers.loc[k], both, is_true)
        same(found.areas.loc[k], is_true, ones, total)
    for i, j in itertools.product(range(4), range(4)):
        cell = [m == i and t == j for t, m in zip(true, mapped, strict=True)]
        share = looped_ratio(cell, ones, strata, sizes)[0]
        assert found.confusion_matrix.loc[i, j] == pytest.approx(share)
        assert found.counts.loc[i, j] == sum(cell)


def test_a_simple_random_sample_counts_each_sample_alike():
    true, mapped = samples_of(np.array([[30, 10], [5, 55]]), ["a", "b"])
    found = map_accuracy(true, mapped)
    assert found.overall["estimate"] == pytest.approx(0.85)
    assert found.overall["standard_error"] == pytest.approx((0.85 * 0.15 / 99) ** 0.5)
    assert found.areas["estimate"].tolist() == pytest.approx([0.35, 0.65])
    # Agreement by chance is 0.4 * 0.35 + 0.6 * 0.65.
    assert found.kappa == pytest.approx((0.85 - 0.53) / (1 - 0.53))


# -- a known map, sampled again and again ----------------------------------------------


def test_estimates_are_unbiased_and_intervals_cover():
    rng = np.random.default_rng(0)
    # Pixels of a map by stratum, map class and reference class.
    population = np.array([[[400, 40], [60, 100]], [[150, 150], [200, 1500]]])
    cells = population.sum(axis=0)
    total = cells.sum()
    truth = {
        ("overall", "all"): cells.trace() / total,
        ("users", 0): cells[0, 0] / cells[0].sum(),
        ("producers", 0): cells[0, 0] / cells[:, 0].sum(),
        ("areas", 0): cells[:, 0].sum(),
    }
    sizes = dict(enumerate(population.sum(axis=(1, 2))))
    n = 150
    strata = np.repeat([0, 1], n)
    frames = []
    for _ in range(200):
        drawn = [rng.choice(4, n, p=own.ravel() / own.sum()) for own in population]
        mapped, true = np.divmod(np.concatenate(drawn), 2)
        found = map_accuracy(true, mapped, strata=strata, areas=sizes)
        frames.append(found.to_frame().loc[list(truth)])
    estimates = np.array([frame["estimate"] for frame in frames])
    errors = np.array([frame["standard_error"] for frame in frames])
    low = np.array([frame["lower"] for frame in frames])
    high = np.array([frame["upper"] for frame in frames])
    right = np.array(list(truth.values()))
    spread = estimates.std(axis=0)
    assert np.all(np.abs(estimates.mean(axis=0) - right) < 0.25 * spread)
    assert errors.mean(axis=0) == pytest.approx(spread, rel=0.15)
    coverage = ((low <= right) & (right <= high)).mean(axis=0)
    assert np.all(coverage > 0.90)
    assert np.all(coverage < 0.99)


# -- what comes out --------------------------------------------------------------------


def test_tables_are_named_and_in_the_order_of_unique(olofsson):
    assert olofsson.users.index.tolist() == LAND
    assert olofsson.confusion_matrix.index.name == "map class"
    assert olofsson.confusion_matrix.columns.name == "reference class"
    assert olofsson.confusion_matrix.to_numpy().sum() == pytest.approx(1)
    numbers = map_accuracy([10, 2, 2, 10, 2], [2, 10, 2, 10, 2])
    assert numbers.areas.index.tolist() == [2, 10]
    assert numbers.confidence_level == 0.95


def test_to_frame_holds_all_estimates(olofsson):
    frame = olofsson.to_frame()
    assert frame.index.names == ["measure", "class"]
    assert len(frame) == 13
    for measure in ("users", "producers", "areas"):
        pd.testing.assert_frame_equal(frame.loc[measure], getattr(olofsson, measure))
    assert frame.loc[("overall", "all")].tolist() == olofsson.overall.tolist()


def test_the_text_shows_half_widths(olofsson):
    text = str(olofsson)
    assert text == repr(olofsson)
    assert "640 samples, ± 95% interval" in text
    assert "overall accuracy: 0.947 ± 0.018, kappa: 0.889" in text
    assert "235,086 ± 68,417" in text
    assert "..." not in text


def test_a_result_cannot_be_changed_and_can_be_pickled(olofsson):
    with pytest.raises(AttributeError):
        olofsson.kappa = 1.0
    assert str(pickle.loads(pickle.dumps(olofsson))) == str(olofsson)


def test_a_wider_confidence_level_widens_intervals():
    true, mapped = samples_of(COUNTS, LAND)
    narrow, wide = (
        map_accuracy(true, mapped, areas=PIXELS, confidence_level=level)
        for level in (0.5, 0.99)
    )
    assert narrow.users["standard_error"].equals(wide.users["standard_error"])
    assert (narrow.areas["lower"] > wide.areas["lower"]).all()
    assert wide.producers["upper"].max() == 1  # cut off
    assert "± 99% interval" in str(wide)


def test_a_class_that_is_never_mapped_or_never_there_is_nan():
    found = map_accuracy(["a", "a", "b", "c"], ["a", "a", "b", "d"])
    assert found.users["estimate"].isna().tolist() == [False, False, True, False]
    assert found.producers["estimate"].isna().tolist() == [False, False, False, True]
    assert found.producers.loc["c", "estimate"] == 0
    assert found.areas.loc["d", "estimate"] == 0
    assert "-" in str(found)


def test_a_map_of_one_class_has_no_kappa():
    assert np.isnan(map_accuracy([1, 1, 1], [1, 1, 1]).kappa)


@pytest.mark.parametrize("form", [list, np.array, pd.Series, pd.Categorical])
def test_labels_come_in_any_form(form, stehman):
    labels = [form(values) for values in (REFERENCE, MAPPED, STRATA)]
    found = map_accuracy(*labels[:2], strata=labels[2], areas=pd.Series(SIZES))
    assert str(found) == str(stehman)


def test_the_order_of_areas_does_not_matter(stehman):
    backwards = dict(reversed(SIZES.items()))
    found = map_accuracy(REFERENCE, MAPPED, strata=STRATA, areas=backwards)
    pd.testing.assert_frame_equal(found.to_frame(), stehman.to_frame())


def test_a_stratum_without_area_needs_no_sample(stehman):
    found = map_accuracy(REFERENCE, MAPPED, strata=STRATA, areas={**SIZES, "sea": 0})
    pd.testing.assert_frame_equal(found.to_frame(), stehman.to_frame())


# -- what is refused -------------------------------------------------------------------

FOUR = ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("y_true", "options", "says"),
    [
        (["a", "b"], {}, "inconsistent numbers of samples ... 2, 4"),
        (FOUR, {"strata": [1, 1], "areas": {1: 1}}, "inconsistent ... 4, 4, 2"),
        (["a", None, "b", "b"], {}, "y_true lacks 1 of 4 labels ... position 1"),
        (["a", "a", np.nan, None], {}, "y_true lacks 2 of 4 labels ... position 2"),
        (
            FOUR,
            {"strata": [1, 1, pd.NA, 1], "areas": {1: 1}},
            "strata lacks 1 of 4 labels",
        ),
        ([["a"]] * 4, {}, "y_true must contain one label per sample ... (4, 1)"),
        (["a", 1, "b", "b"], {}, "y_true mixes text with other labels"),
        ([0, 0, 1, 1], {}, "text or both numbers; got 0 and 'a' ... flag_meanings"),
        (FOUR, {"strata": FOUR}, "strata= requires areas="),
        (
            FOUR,
            {"areas": {"a": 1}},
            "lacks the sampled strata ['b'] ... classes of y_p",
        ),
        (
            FOUR,
            {"areas": {"a": 1, "b": 1, "c": 1}},
            "strata ['c'] of areas= have no samples",
        ),
        (FOUR, {"areas": {"a": 1, "b": 0}}, "strata ['b'] have samples but area 0"),
        (FOUR, {"areas": {"a": 1, "b": -1}}, "not negative; got {'b': -1.0}"),
        (FOUR, {"areas": {"a": np.inf, "b": 1}}, "finite ... got {'a': inf}"),
        (FOUR, {"areas": {"a": np.nan, "b": 1}}, "finite ... got {'a': nan}"),
        (FOUR, {"areas": {"a": 0, "b": 0}}, "a positive area; all areas are 0"),
        (
            FOUR,
            {"areas": pd.Series([1, 2, 3], list("aab"))},
            "strata ['a'] more than once",
        ),
        (
            FOUR,
            {"strata": [1, 1, 1, 2], "areas": {1: 1, 2: 1}},
            "strata [2] have a single sample ... merge",
        ),
        (FOUR, {"confidence_level": 1}, "must be between 0 and 1; got 1"),
        (FOUR, {"confidence_level": 0.0}, "must be between 0 and 1; got 0"),
    ],
)
def test_wrong_input_is_refused(y_true, options, says):
    refused(map_accuracy, y_true, FOUR, says=says, **options)


def test_a_single_sample_and_none_are_refused():
    refused(map_accuracy, ["a"], ["a"], says="The map has a single sample")
    says = "y_true must contain one label per sample ... (0,)"
    refused(map_accuracy, [], [], says=says)


def test_areas_of_another_type_are_refused():
    says = "areas= must be a mapping or Series ... list"
    refused(map_accuracy, FOUR, FOUR, areas=[1, 2], says=says, error=TypeError)


# -- plans of samples ------------------------------------------------------------------

EXPECTED = dict(zip(LAND, [0.7, 0.6, 0.9, 0.95], strict=True))


def test_olofsson_sample_size():
    # Section 5.1: 641 samples for a standard error of 0.01, and table 5.
    plan = sample_design(PIXELS, expected=EXPECTED, standard_error=0.01, minimum=2)
    assert plan["n"].sum() == 641
    assert plan["weight"].tolist() == [0.02, 0.015, 0.32, 0.645]
    proportional = sample_design(PIXELS, 641, allocation="proportional", minimum=2)
    assert proportional["n"].tolist() == [13, 10, 205, 413]
    equal = sample_design(PIXELS, 640, allocation="equal")
    assert equal["n"].tolist() == [160] * 4


@pytest.mark.parametrize("allocation", ["neyman", "proportional", "equal"])
@pytest.mark.parametrize("minimum", [2, 50])
def test_a_plan_reaches_the_standard_error(allocation, minimum):
    plan = sample_design(
        PIXELS,
        expected=EXPECTED,
        standard_error=0.012,
        allocation=allocation,
        minimum=minimum,
    )
    variance = plan["weight"] ** 2 * plan["expected"] * (1 - plan["expected"])
    assert (variance / plan["n"]).sum() ** 0.5 == pytest.approx(0.012, rel=0.1)
    assert (variance / plan["n"]).sum() ** 0.5 < 0.01201
    assert plan["n"].min() >= minimum


def test_no_other_allocation_has_a_smaller_standard_error_than_neymans():
    plan = sample_design(PIXELS, 400, expected=EXPECTED, minimum=2)
    variance = plan["weight"] ** 2 * plan["expected"] * (1 - plan["expected"])
    best = (variance / plan["n"]).sum()
    for i, j in itertools.permutations(range(4), 2):
        n = plan["n"].to_numpy().copy()
        n[i] += 2
        n[j] -= 2
        assert (variance / n).sum() > best


@pytest.mark.parametrize("seed", range(20))
def test_allocations_sum_to_n_and_keep_the_minimum(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    areas = dict(enumerate(rng.lognormal(0, 3, k)))
    expected = dict(enumerate(rng.choice([0.0, 0.6, 0.9, 1.0], k)))
    n = int(rng.integers(30 * k, 2000))
    for allocation in ("neyman", "proportional", "equal"):
        options = {"expected": expected, "allocation": allocation, "minimum": 30}
        plan = sample_design(areas, n, **options)
        assert plan["n"].sum() == n
        assert plan["n"].min() >= 30
        pd.testing.assert_frame_equal(plan, sample_design(areas, n, **options))


def test_strata_without_area_are_left_out():
    assert sample_design({"a": 5, "b": 0}, 60).index.tolist() == ["a"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either n= or standard_error=; got neither."),
        ({"n": 500, "standard_error": 0.01}, "either n= or standard_error=; got both."),
        ({"n": 199}, "n=199 is too small: minimum=50 in each of 4 strata ... 200"),
        ({"n": 500, "allocation": "best"}, "'best' ... neyman"),
        ({"n": 500, "minimum": 1}, "minimum == 1"),
        ({"n": 500, "expected": 1.2}, "between 0 and 1 ... 1.2"),
        ({"n": 500, "expected": {"a": 0.5}}, "expected= has the strata ['a']"),
        ({"standard_error": 0.0}, "standard_error == 0.0"),
    ],
)
def test_impossible_plans_are_refused(options, says):
    refused(sample_design, PIXELS, says=says, **options)


# -- maps ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def land_cover():
    """A map of 3 classes and no data, as `predict_raster` makes it."""
    xr = pytest.importorskip("xarray")
    values = np.random.default_rng(0).choice(
        np.array([0, 1, 2, 255], np.uint8), (60, 80), p=[0.6, 0.295, 0.005, 0.1]
    )
    attrs = {
        "flag_values": np.array([0, 1, 2], np.uint8),
        "flag_meanings": "crops forest water",
        "_FillValue": np.uint8(255),
    }
    coords = {"y": 100.0 - np.arange(60), "x": 5.0 + np.arange(80)}
    return xr.DataArray(values, coords, ("y", "x"), "prediction", attrs)


def chunked(array):
    pytest.importorskip("dask")
    return array.chunk({"y": 25, "x": 30})


def test_pixels_of_a_map_are_counted_without_no_data(land_cover):
    plan = sample_design(land_cover, 300, expected=0.9)
    counts = [(land_cover.values == i).sum() for i in range(3)]
    assert plan["area"].tolist() == counts
    assert plan.index.tolist() == ["crops", "forest", "water"]
    assert plan["n"].sum() == 300
    assert plan.loc["water", "n"] == counts[2] < 50  # all there are
    pd.testing.assert_frame_equal(
        plan, sample_design(chunked(land_cover), 300, expected=0.9)
    )


def test_no_data_may_be_in_the_encoding_or_nan(land_cover):
    wanted = sample_design(land_cover, 300)
    decoded = land_cover.where(land_cover != 255)  # float, with NaN
    assert sample_design(decoded, 300).equals(wanted)
    encoded = land_cover.copy()
    del encoded.attrs["_FillValue"]
    encoded.encoding["_FillValue"] = 255
    assert sample_design(encoded, 300).equals(wanted)


def test_numbers_stay_numbers(land_cover):
    same = land_cover.assign_attrs(flag_meanings="0 1 2")
    assert sample_design(same, 300).index.tolist() == [0, 1, 2]
    bare = land_cover.copy()
    del bare.attrs["flag_values"], bare.attrs["flag_meanings"]
    assert sample_design(bare, 300).index.tolist() == [0, 1, 2]


def test_points_of_a_map_of_values(land_cover):
    values = land_cover.where(land_cover != 255) * 0.5
    values.attrs.clear()
    points = draw_points(values.notnull().astype("uint8"), {1: 20}, random_state=0)
    places = points[["y", "x"]].to_xarray()
    assert values.sel(y=places["y"], x=places["x"]).notnull().all()
    says = (
        "y_pred must contain classes; got 0.5. Score a map of values with "
        "sklearn.metrics, for example r2_score."
    )
    assert refused(map_accuracy, [1, 2], [1.0, 0.5], says=says) == says


def test_other_values_and_other_maps_are_refused(land_cover):
    undeclared = land_cover.copy()
    del undeclared.attrs["_FillValue"]
    says = (
        "The map contains [255] besides its classes {0: 'crops', 1: 'forest', 2: "
        "'water'}. If these are nodata values, declare them as _FillValue."
    )
    assert refused(sample_design, undeclared, 300, says=says) == says
    says = (
        "The map of classes must contain integers; got fractions. For a map of values, "
        "pass map.notnull().astype('uint8') to draw points from all of it."
    )
    assert refused(sample_design, land_cover * 0.5, 300, says=says) == says
    refused(sample_design, land_cover.astype(str), 300, says="integers; got <U")
    empty = land_cover.where(land_cover == 7)
    refused(sample_design, empty, 300, says="The map contains only nodata")
    refused(sample_design, land_cover, 10**5, says="n=100000 exceeds the")
    dataset = land_cover.to_dataset()
    for function in (sample_design, draw_points):
        refused(function, dataset, 300, says="DataArray; got Dataset", error=TypeError)


def test_points_are_distinct_pixels_of_their_class(land_cover):
    plan = sample_design(land_cover, 300)
    points = draw_points(land_cover, plan["n"], random_state=0)
    assert points.columns.tolist() == ["y", "x", "map_class"]
    assert points["map_class"].value_counts().to_dict() == plan["n"].to_dict()
    assert not points.duplicated(["y", "x"]).any()
    codes = points["map_class"].map({"crops": 0, "forest": 1, "water": 2})
    shown = [land_cover.sel(y=y, x=x).item() for y, x in points[["y", "x"]].to_numpy()]
    assert shown == codes.tolist()
    again = draw_points(land_cover, plan["n"], random_state=0)
    pd.testing.assert_frame_equal(points, again)
    other = draw_points(land_cover, plan["n"], random_state=1)
    assert not points.equals(other)


def test_points_of_a_chunked_map_are_of_their_class(land_cover):
    points = draw_points(chunked(land_cover), {"crops": 40, "water": 5}, random_state=0)
    assert points["map_class"].value_counts().to_dict() == {"crops": 40, "water": 5}
    codes = points["map_class"].map({"crops": 0, "water": 2})
    shown = [land_cover.sel(y=y, x=x).item() for y, x in points[["y", "x"]].to_numpy()]
    assert shown == codes.tolist()
    assert points["x"].nunique() > 15  # from all blocks


def test_all_pixels_are_equally_likely(land_cover):
    forest = np.argwhere(land_cover.values == 1)
    n = len(forest) // 4
    seen = pd.concat(
        draw_points(chunked(land_cover), {"forest": n}, random_state=seed)
        for seed in range(20)
    )
    times = seen.groupby(["y", "x"]).size()
    # Binomial with 20 trials of probability 1/4, for each pixel.
    assert len(times) > 0.99 * len(forest)
    assert times.var() == pytest.approx(20 * 0.25 * 0.75, rel=0.15)


def test_more_points_than_pixels_are_refused(land_cover):
    says = "Cannot draw 99 pixels of 'water'; the map contains"
    refused(draw_points, land_cover, {"water": 99}, says=says)
    says = "Cannot draw 1 pixels of 'sea'; the map contains 0"
    refused(draw_points, land_cover, {"sea": 1}, says=says)


def test_no_points_are_an_empty_table(land_cover):
    points = draw_points(land_cover, {"crops": 0})
    assert points.columns.tolist() == ["y", "x", "map_class"]
    assert points.empty
