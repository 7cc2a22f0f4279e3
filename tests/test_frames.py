"""Long and wide tables, labels by id, and rows of several containers."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from tools import refused

from sklearn_colearn import CoLearnClassifier, ModalityDict, concat

NAN = np.nan
#: As pandas 2.2 and its predecessors call it.
MONTH_END = pd.offsets.MonthEnd().freqstr
TEXT = pd.Series(list("123456"), dtype="str")


@pytest.fixture
def long():
    """Two plots by three dates, rows out of order."""
    return pd.DataFrame(
        {
            "plot": ["b", "a", "a", "b", "a", "b"],
            "date": [
                "2021-05-02",
                "2021-06-11",
                "2021-05-02",
                "2021-06-11",
                "2021-05-20",
                "2021-05-20",
            ],
            "VV": [1.0, 2, 3, 4, 5, 6],
            "VH": [10.0, 20, 30, 40, 50, 60],
            "rain": [0, 1, 2, 3, 4, 5],
            "slope": [7, 8, 8, 7, 8, 7],
        }
    )


def read(table, bands=None, **kwargs):
    bands = {"S1": ["VV", "VH"]} if bands is None else bands
    return ModalityDict.from_long(table, id="plot", date="date", bands=bands, **kwargs)


def test_long_table_with_the_same_dates_everywhere(long):
    X = read(long, static={"terrain": "slope"})
    assert X.ids.tolist() == ["b", "a"]
    assert X["S1"][0].tolist() == [[1, 10], [6, 60], [4, 40]]
    assert X["S1"][1].tolist() == [[3, 30], [5, 50], [2, 20]]
    steps, bands = X.labels["S1"]
    dates = ["2021-05-02", "2021-05-20", "2021-06-11"]
    assert list(steps) == [pd.Timestamp(date) for date in dates]
    assert bands == ("VV", "VH")
    assert X["terrain"]["slope"].tolist() == [7, 8]
    # The order of the rows does not matter, but for the order of the plots.
    again = read(long.iloc[::-1])
    assert_array_equal(again["S1"], X["S1"])


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_long_tables_of_other_libraries(long, library):
    module = pytest.importorskip(library)
    long["date"] = pd.to_datetime(long["date"])
    if library == "polars":
        table = module.DataFrame({name: long[name].to_numpy() for name in long})
    else:
        table = module.Table.from_pandas(long)
    assert_array_equal(read(table)["S1"], read(long)["S1"])


def test_own_dates_of_each_plot_become_times(long):
    X = read(long.drop(index=3))  # b lacks June
    assert list(X) == ["S1", "S1_times"]
    assert X.ids.tolist() == ["b", "a"]
    assert_array_equal(X["S1"][0], [[1, 10], [6, 60], [NAN, NAN]])
    assert_array_equal(X["S1"][1], [[3, 30], [5, 50], [2, 20]])
    days = X["S1_times"].astype("datetime64[D]").astype(str).tolist()
    assert days == [
        ["2021-05-02", "2021-05-20", "NaT"],
        ["2021-05-02", "2021-05-20", "2021-06-11"],
    ]


def test_a_table_of_own_dates_is_fitted_with_them():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "plot": rng.integers(40, size=400),
            "date": pd.Timestamp("2021-03-01") + pd.to_timedelta(np.arange(400), "D"),
            "VV": rng.normal(size=400),
        }
    )
    X = read(table, {"S1": "VV"})
    settings = {"cv": None, "max_epochs": 1, "random_state": 0}
    model = CoLearnClassifier(times={"S1": "S1_times"}, **settings)
    model.fit(X, np.arange(len(X)) % 2)
    assert model.modalities_ == ["S1"]
    assert len(model.predict(X)) == len(X)


def test_sensors_may_have_rows_of_their_own(long):
    radar = long.drop(columns="rain")
    weather = long[["plot", "date", "rain"]].assign(date="2021-05-03").iloc[[0, 1]]
    X = read(pd.concat([radar, weather]), {"S1": ["VV", "VH"], "weather": "rain"})
    assert_array_equal(X["S1"], read(long)["S1"])
    assert X["weather"].tolist() == [[[0]], [[1]]]
    assert X.labels["weather"][0] == (pd.Timestamp("2021-05-03"),)


def test_numbers_of_days_are_dates(long):
    table = long.assign(date=[4, 9, 4, 9, 6, 6])
    X = read(table)
    assert X.labels["S1"][0] == (4, 6, 9)
    own = read(table.drop(index=3))
    assert_array_equal(own["S1_times"], [[4, 6, NAN], [4, 6, 9]])


def test_composites_of_periods(long):
    X = read(long, freq="MS")
    assert_array_equal(X["S1"][..., 0], [[3.5, 4], [4, 2]])
    assert X.labels["S1"][0] == (pd.Timestamp("2021-05-01"), pd.Timestamp("2021-06-01"))
    bands = {"S1": ["VV", "VH"], "weather": "rain"}
    how = {"weather": "sum", "VH": "max"}
    X = read(long, bands, freq="MS", how=how)
    assert_array_equal(X["S1"][0], [[3.5, 60], [4, 40]])
    assert_array_equal(X["weather"][..., 0], [[5, 3], [6, 1]])
    assert_array_equal(
        read(long, freq="MS", how="last")["S1"][..., 0], [[6, 4], [5, 2]]
    )
    assert_array_equal(read(long, freq="MS", how="first")["S1"][0, 0], [1, 10])


def test_composites_by_loops():
    rng = np.random.default_rng(1)
    days = pd.Timestamp("2020-01-15") + pd.to_timedelta(
        rng.integers(100, size=300), "D"
    )
    table = pd.DataFrame({"plot": rng.integers(5, size=300), "date": days})
    table["VV"] = rng.normal(size=300)
    table.loc[rng.random(300) < 0.3, "VV"] = NAN
    X = read(table, {"S1": "VV"}, freq="10D", how="median", start="2020-01-10")
    steps = X.labels["S1"][0]
    assert steps[0] == pd.Timestamp("2020-01-10")
    for row, plot in enumerate(X.ids):
        for i, step in enumerate(steps):
            inside = (table["date"] >= step) & (
                table["date"] < step + pd.Timedelta(days=10)
            )
            some = table.loc[inside & (table["plot"] == plot), "VV"].dropna()
            expected = np.median(some) if len(some) else NAN
            np.testing.assert_allclose(X["S1"][row, i, 0], expected)


def test_start_and_end_fix_the_steps(long):
    X = read(long, freq="MS", start="2021-04-01", end="2021-07-31")
    assert X["S1"].shape == (2, 4, 2)
    assert np.isnan(X["S1"][:, [0, 3]]).all()
    X = read(long, start="2021-05-10", end="2021-05-31")
    assert X["S1"][..., 0].tolist() == [[6], [5]]


def test_repeated_dates(long):
    twice = pd.concat([long, long.iloc[[0]].assign(VV=3.0)])
    says = (
        "Modality 'S1' has several rows for the id 'b' and the date 2021-05-02 "
        "00:00:00. Keep one, or average them with repeated='mean'."
    )
    refused(read, twice, says=says)
    X = read(twice, repeated="mean")
    assert_array_equal(X["S1"][0], [[2, 10], [6, 60], [4, 40]])


def test_nodata(long):
    table = long.assign(VV=[-9999, 2, 3, 65535, 5, 6])
    X = read(table, nodata=[-9999, 65535])
    assert_array_equal(X["S1"][0, :, 0], [NAN, 6, NAN])
    X = read(table, {"S1": "VV", "weather": "rain"}, nodata={"S1": 65535})
    assert_array_equal(X["S1"][0, :, 0], [-9999, 6, NAN])
    assert X["weather"][0, 0, 0] == 0


def faults():
    def case(says, **kwargs):
        return pytest.param(kwargs, says, id=says[:40])

    date = ["2021-05-02", "soon", "2021-05-02", "2021-06-11", "x", "2021-05-20"]
    return [
        case(
            "The table lacks the columns ['B2'] of bands=; it contains ['plot', "
            "'date', 'VV', 'VH', 'rain', 'slope'].",
            bands={"S2": ["B2"]},
        ),
        case(
            "Column 'date' has invalid dates in 2 rows, the first at position 1: "
            "'soon'. Use datetimes, ISO 8601 strings such as '2021-07-01', or numbers "
            "of days.",
            date=date,
        ),
        case(
            "Rows of the table without an id: 1, the first at position 0.",
            plot=[None, "a", "a", "b", "a", "b"],
        ),
        case(
            f"Column 'VV' must be numeric, got {TEXT.dtype}. Convert it, for example "
            "with pandas.to_numeric.",
            VV=TEXT,
        ),
        case(
            "Column 'slope' of static= 'terrain' must be constant for an id, but 'b' "
            "has 7 and 9. List it in bands= if it changes over time.",
            slope=[9, 8, 8, 7, 8, 7],
            static={"terrain": ["slope"]},
        ),
        case("'S1' is in both bands= and static=; rename", static={"S1": "slope"}),
        case("repeated= must be 'raise' or 'mean'; got 'drop'.", repeated="drop"),
        case(
            "how= must be one of ['mean', 'median', 'min', 'max', 'sum', 'first', "
            "'last']; got 'best'.",
            freq="MS",
            how="best",
        ),
        case(
            f"freq={MONTH_END!r} labels periods by their end. Use a frequency that "
            "labels them by their start, such as 'MS' for months.",
            freq=MONTH_END,
        ),
        case(
            "freq='MS' needs dates, but got numbers of days.",
            freq="MS",
            date=range(6),
        ),
        case("The table has no dates between start= and end=.", start="2030-01-01"),
        case("All values of modality 'S1' are missing in the t", VV=NAN, VH=NAN),
    ]


@pytest.mark.parametrize(("kwargs", "says"), faults())
def test_invalid_long_tables_are_refused(long, kwargs, says):
    changed = {name: kwargs.pop(name) for name in list(kwargs) if name in long}
    refused(read, long.assign(**changed), says=says, **kwargs)


def test_other_types_and_duplicate_columns_are_refused():
    with pytest.raises(TypeError, match="polars or pyarrow DataFrame; got dict"):
        ModalityDict.from_long({}, id="i", date="d", bands={})
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(ValueError, match="has the column 'a' more than once"):
        ModalityDict.from_wide(twice, "{band}_{step}", bands={"S1": "a"})


# -- wide tables ---------------------------------------------------------------------


def test_wide_tables_in_either_order():
    table = pd.DataFrame(
        {
            "B2_ts10": [5.0],
            "B2_ts2": [4.0],
            "B3_ts2": [6.0],
            "B3_ts10": [7.0],
            "crop": ["rye"],
            "slope": [2.0],
        },
        index=["p"],
    )
    X = ModalityDict.from_wide(
        table,
        "{band}_ts{step}",
        bands={"S2": ["B3", "B2"]},
        static={"terrain": "slope"},
    )
    assert X["S2"].tolist() == [[[6, 4], [7, 5]]]
    assert X.labels["S2"] == ((2, 10), ("B3", "B2"))
    assert X.ids.tolist() == ["p"]
    assert X["terrain"]["slope"].tolist() == [2]
    turned = table.rename(columns=lambda c: "_".join(reversed(c.split("_ts"))))
    again = ModalityDict.from_wide(turned, "{step}_{band}", bands={"S2": ["B3", "B2"]})
    assert_array_equal(again["S2"], X["S2"])


def test_wide_tables_tell_modalities_and_dates():
    columns = [
        f"{m}_{band}_{date}"
        for date in ("20210601", "20210501")
        for m, band in (("S1", "VV_dB"), ("S2", "B2"))
    ]
    table = pd.DataFrame([range(4)], columns=columns).assign(plot=9)
    X = ModalityDict.from_wide(table, "{modality}_{band}_{step}", id="plot")
    assert X.ids.tolist() == [9]
    assert X["S1"].tolist() == [[[2], [0]]]
    may, june = pd.Timestamp("2021-05-01"), pd.Timestamp("2021-06-01")
    assert X.labels["S1"] == ((may, june), ("VV_dB",))


@pytest.mark.parametrize(
    ("pattern", "bands", "says"),
    [
        (
            "B{step}",
            None,
            "pattern= must contain {band} and {step} once, and {modality} unless "
            "bands= is given; got 'B{step}'.",
        ),
        (
            "{band}_{step}",
            {"S2": ["B2", "B9"]},
            "No columns match the pattern '{band}_{step}' for the bands ['B9']; the "
            "table contains ['B2_0', 'B2_1', 'B3_1'].",
        ),
        (
            "{band}_{step}",
            {"S2": ["B2", "B3"]},
            "Modality 'S2' must have every band at every step; missing: [('B3', '0')].",
        ),
        (
            "{modality}-{band}_{step}",
            None,
            "No columns match the pattern '{modality}-{band}_{step}'; the table "
            "contains ['B2_0', 'B2_1', 'B3_1'].",
        ),
    ],
)
def test_invalid_wide_tables_are_refused(pattern, bands, says):
    table = pd.DataFrame([[1.0, 2, 3]], columns=["B2_0", "B2_1", "B3_1"])
    refused(ModalityDict.from_wide, table, pattern, bands=bands, says=says)


# -- labels --------------------------------------------------------------------------


def soil(*ids):
    return ModalityDict(soil=pd.DataFrame({"clay": np.arange(len(ids))}, index=ids))


def test_labels_are_joined_by_id():
    X = soil("c", "a", "b")
    table = pd.DataFrame({"plot": ["a", "b", "c", "a"], "crop": [7, 8, 9, 7]})
    some, y = X.join_labels(table, "crop", id="plot")
    assert y.tolist() == [9, 7, 8]
    assert y.dtype.kind == "i"
    assert some.ids.tolist() == ["c", "a", "b"]
    _, both = X.join_labels(
        table.assign(area=[1.5, 2, 3, 1.5]), ["crop", "area"], id="plot"
    )
    assert both.tolist() == [[9, 3], [7, 1.5], [8, 2]]


@pytest.mark.parametrize("kind", ["float", "Int64", "category", "string"])
def test_labels_keep_their_type(kind):
    labels = pd.Series([7, None, 9], index=["a", "b", "c"], name="crop")
    if kind in ("category", "string"):
        labels = labels.map({7: "rye", 9: "oats"})
    table = labels.astype(kind).to_frame()
    with pytest.warns(UserWarning, match=r"^Dropped ids of .* 1 \(the id 'b'\)\.$"):
        X, y = soil("a", "b", "c").join_labels(table, "crop")
    assert X.ids.tolist() == ["a", "c"]
    assert y.tolist() == (["rye", "oats"] if kind in ("category", "string") else [7, 9])
    assert kind in ("category", "string") or y.dtype == np.int64


def test_unmatched_ids_give_a_warning():
    table = pd.DataFrame({"crop": [1, 2, 3]}, index=["a", "x", "y"])
    says = (
        "Dropped ids of X without a label: 1 (the id 'b'). Ids of the table that X "
        "lacks: 2 (the ids 'x', 'y')."
    )
    with pytest.warns(UserWarning, match=re.escape(says)):
        X, y = soil("b", "a").join_labels(table, "crop")
    assert (X.ids.tolist(), y.tolist()) == (["a"], [1])


@pytest.mark.parametrize(
    ("table", "error", "says"),
    [
        (
            pd.DataFrame({"crop": [1, 2, 3]}, index=["a", "a", "b"]),
            ValueError,
            "The table has different labels for the id 'a': 'a' has [1] and [2].",
        ),
        (
            pd.DataFrame({"crop": [1]}, index=["z"]),
            ValueError,
            "No id of X has a label: X has the ids 'a', 'b', the table has the id 'z'.",
        ),
        (
            pd.DataFrame({"crop": [1]}, index=[5]),
            TypeError,
            "The ids of the table are numbers, but the ids of X are strings. Convert "
            "them to one type.",
        ),
        (
            pd.DataFrame({"code": [1]}, index=["a"]),
            ValueError,
            "The table lacks the columns ['crop']; it contains ['code'].",
        ),
    ],
)
def test_invalid_labels_are_refused(table, error, says):
    refused(soil("a", "b").join_labels, table, "crop", says=says, error=error)
    with pytest.raises(ValueError, match="X has no ids to join labels by"):
        ModalityDict(S1=np.ones((2, 3))).join_labels(table, "crop")


# -- rows of several containers ------------------------------------------------------


def test_concat_keeps_ids_and_matches_bands(long):
    first = read(long, {"S1": ["VV", "VH"]}, static={"terrain": "slope"})
    second = read(long.assign(plot=long["plot"] + "2"), {"S1": ["VH", "VV"]})
    X = concat([first, second])
    assert X.ids.tolist() == ["b", "a", "b2", "a2"]
    assert_array_equal(X["S1"][2:], first["S1"])
    assert X.labels["S1"] == first.labels["S1"]
    assert X["terrain"]["slope"].tolist()[:2] == [7, 8]
    assert X["terrain"]["slope"].isna().tolist() == [False, False, True, True]


def test_concat_of_years_matches_steps_by_position(long):
    years = long.assign(
        date=[date.replace("2021", "2022") for date in long["date"]],
        plot=long["plot"] + "2",
    )
    X = concat([read(long), read(years)])
    assert_array_equal(X["S1"][2:], X["S1"][:2])
    turned = read(long)
    turned["S1"] = turned["S1"][:, ::-1]
    turned.labels["S1"] = (read(long).labels["S1"][0][::-1], ("VV", "VH"))
    assert_array_equal(concat([read(long), turned])["S1"][2:], read(long)["S1"])


def test_concat_pads_series_with_dates_of_their_own(long):
    one = read(long.drop(index=3))
    other = read(long.drop(index=[1, 3, 5]).assign(plot=["c", "d", "d"]))
    X = concat([one, other])
    assert X["S1"].shape == (4, 3, 2)
    assert np.isnan(X["S1"][2:, 2]).all()
    assert np.isnat(X["S1_times"][2, 2])


def test_concat_of_arrays():
    X = concat([{"S1": np.ones((2, 3), int)}, {"S1": np.zeros((1, 3)), "a": [[1]]}])
    assert X["S1"].sum() == 6
    assert X.ids is None
    assert_array_equal(X["a"], [[NAN], [NAN], [1]])


def test_incompatible_parts_are_refused(long):
    with pytest.raises(ValueError, match="at least one part to concatenate, got none"):
        concat([])
    with pytest.raises(ValueError, match="Part 0 has row ids, but part 1 has none"):
        concat([read(long), {"S1": np.ones((1, 3, 2))}])
    other = read(long.rename(columns={"VV": "HH"}), {"S1": ["HH", "VH"]})
    first = read(long)
    says = (
        "Part 1: Modality 'S1' has the bands ['HH', 'VH'], but part 0 has ['VV', "
        "'VH']; band 0 is 'HH' instead of 'VV'."
    )
    assert refused(concat, [first, other], says=says) == says
    says = (
        "Part 2: Modality 'S2' has shape (n, 3, 1), but part 1 has (n, 3, 2). The "
        "time steps and bands must be the same."
    )
    arrays = [{"a": np.ones((1, 1))}, *({"S2": np.ones((1, 3, n))} for n in (2, 1))]
    assert refused(concat, arrays, says=says) == says
    tables = [{"a": pd.DataFrame({name: [1]})} for name in ("clay", "sand")]
    says = "Part 1: Modality 'a' lacks the columns ['clay'], which part 0 has."
    assert refused(concat, tables, says=says) == says
    turned = read(long)
    steps = first.labels["S1"][0]
    turned.labels["S1"] = ((steps[1], *steps[1:]), ("VV", "VH"))
    says = "Part 1: The steps of modality 'S1' contradict part 0: step 0 is"
    message = refused(concat, [first, turned], says=says)
    assert message.endswith(
        "Order them as in part 0, or drop their labels to match by position."
    )


def test_a_pipeline_of_tables_gives_no_warning(long):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, y = read(long, freq="MS").join_labels(long, "slope", id="plot")
    assert y.tolist() == [7, 8]
