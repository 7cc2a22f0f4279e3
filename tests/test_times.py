"""Real dates and gaps, from the estimator's parameters to the encoders."""

import functools
import pickle
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import tools
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback
from torch import nn

from sklearn_colearn import (
    CoLearnClassifier,
    ModalityDict,
    PerModality,
    evaluate_modalities,
    load_model,
    modality_scorers,
    partner_gain,
    save_model,
)
from sklearn_colearn.datasets import make_multisensor
from sklearn_colearn.times import Calendar, fit_calendar, time_entries

LTAE = {"model_dim": 16, "n_heads": 4, "hidden_dim": 16}
MODALITIES = {"S1": (5, 2), "S2": (4, 3), "soil": (3,)}
DAYS = {"S1": [18700, 18712, 18715, 18760, 18800], "S2": [100.5, 130, 131, 200]}

small = functools.partial(
    tools.small,
    encoder={"S1": "ltae", "S2": "ltae", "soil": "mlp"},
    encoder_params={"S1": LTAE, "S2": LTAE, "soil": {"hidden_dims": (8,)}},
)


@pytest.fixture(scope="module")
def data():
    return make_multisensor(60, modalities=MODALITIES, random_state=0)


@pytest.fixture(scope="module")
def dated(data):
    """The same rows, each with dates of its own for S2."""
    X, y = data
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 300, size=(60, 4)), axis=1)
    dates = np.datetime64("2021-01-01") + days.astype("timedelta64[D]")
    return X | {"S2_dates": dates}, y


def answers(X, y, **changes):
    return small(**changes).fit(X, y).predict_proba(X.select(["S1", "S2", "soil"]))


def refusal(call, *args, error=ValueError, **options):
    with pytest.raises(error) as caught:
        call(*args, **options)
    return str(caught.value)


# Times of all rows


def as_timestamps(days):
    return [pd.Timestamp(0) + pd.Timedelta(days=day) for day in days]


FORMS = {
    "numbers": np.array,
    "Timestamps": as_timestamps,
    "zone": lambda days: pd.DatetimeIndex(as_timestamps(days)).tz_localize("UTC"),
    "Series": lambda days: pd.Series(as_timestamps(days)),
    "strings": lambda days: [f"{day:%Y-%m-%d}" for day in as_timestamps(days)],
    "D": lambda days: np.array(days).astype("M8[D]"),
    "ns": lambda days: np.array(days).astype("M8[D]").astype("M8[ns]"),
    "date": lambda days: [day.to_pydatetime().date() for day in as_timestamps(days)],
    "digits": lambda days: [f"{day:%Y%m%d}" for day in as_timestamps(days)],
    "Int64": lambda days: pd.array(days, dtype="Int64"),
    "ordinal": lambda days: np.array(days) + 719163,
    "Julian": lambda days: np.array(days) + 2440588,
}


@pytest.fixture(scope="module")
def expected(data):
    return answers(*data, times={"S1": DAYS["S1"]})


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms_of_times(data, form, expected):
    assert_array_equal(answers(*data, times={"S1": form(DAYS["S1"])}), expected)


def test_times_change_the_answers(data):
    without = answers(*data)
    given = [answers(*data, times={m: DAYS[m]}) for m in ("S1", "S2")]
    both = answers(*data, times=DAYS)
    for a, b in [(without, given[0]), (without, given[1]), (given[0], both)]:
        assert np.abs(a - b).max() > 1e-4
    # The index is what serves without.
    indexed, plain = (
        # Adam would make much of roundings.
        answers(*data, times=times, optimizer="sgd")
        for times in ({"S1": range(5)}, None)
    )
    assert_allclose(indexed, plain, atol=1e-5)


def test_encoders_get_times_and_masks(data):
    seen = {}

    class Mean(nn.Module):
        def __init__(self, input_shape, embedding_dim):
            super().__init__()
            self.linear = nn.Linear(input_shape[-1], embedding_dim)

        def forward(self, x, times=None, mask=None):
            seen[x.shape[2]] = (times, mask)
            return self.linear(x.mean(dim=1))

    X, y = data
    gappy = X["S2"].copy()
    gappy[:, 1, 0] = np.nan  # one band of three: a step that was observed
    gappy[::2, 3] = np.nan
    X = X | {"S2": gappy}
    clf = small(
        encoder={"S1": Mean, "S2": Mean, "soil": "mlp"},
        encoder_params=None,
        times={"S2": DAYS["S2"]},
    ).fit(X, y)
    assert clf.encoders_ == {"S1": Mean, "S2": Mean, "soil": "mlp"}
    assert seen[2] == (None, None)
    clf.predict(X[4:6])
    times, mask = seen[3]
    assert times.dtype == torch.float32
    # Since the first whole day of training, for all rows.
    assert times.tolist() == [[0.5, 30.0, 31.0, 100.0]] * 2
    assert mask.tolist() == [[True, True, True, False], [True] * 4]
    clf.predict(X[5:6])
    assert seen[3][1] is None


@pytest.mark.parametrize("standardize", [True, False])
def test_gaps_reach_the_encoder(standardize):
    """A step that is missing is as one that was never there."""
    shapes = {"S1": (6, 2), "soil": (3,)}
    X, y = make_multisensor(60, modalities=shapes, random_state=0)
    settings = {
        "encoder": {"S1": "transformer", "soil": "linear"},
        "encoder_params": {"S1": {"model_dim": 8, "n_heads": 2, "hidden_dim": 8}},
        "standardize": standardize,
        "dropout": 0.0,
        "optimizer": "sgd",  # Adam makes much of a rounding error where nothing else is
    }
    there = [0, 2, 3, 5]
    gappy = X["S1"].copy()
    gappy[:, [1, 4]] = np.nan
    short = X | {"S1": X["S1"][:, there]}
    long = small(**settings, times={"S1": range(6)}).fit(X | {"S1": gappy}, y)
    expected = small(**settings, times={"S1": there}).fit(short, y)
    assert_allclose(
        long.predict_proba({"S1": gappy}),
        expected.predict_proba(short.select("S1")),
        atol=1e-4,
    )


def test_masks_are_made_only_for_encoders_that_take_them(data):
    X, y = data
    holes = X["S1"].copy()
    holes[:, 2] = np.nan
    for encoder, X_train, taken in (
        ("tempcnn", X | {"S1": holes}, None),
        ("ltae", X, None),
        ("ltae", X | {"S1": holes}, {"S1": {"mask"}}),
    ):
        given = []

        class Watch(Callback):
            def on_batch_begin(self, net, batch=None, given=given, **kwargs):
                given.append(batch[0].get("steps"))

        small(
            encoder={"S1": encoder, "S2": "mlp", "soil": "mlp"},
            encoder_params=None,
            max_epochs=1,
            callbacks=[Watch()],
        ).fit(X_train, y)
        kinds = [steps and {m: set(own) for m, own in steps.items()} for steps in given]
        assert kinds == [taken] * len(kinds)
        assert kinds


def test_missing_rows_beside_rows_with_gaps(dated):
    X, y = dated
    holes, dates = X["S2"].copy(), X["S2_dates"].copy()
    holes[:20] = np.nan
    dates[:20] = np.datetime64("NaT")
    holes[20:40, 1] = np.nan
    dates[20:40, 1] = np.datetime64("NaT")
    X = X | {"S2": holes, "S2_dates": dates}
    clf = small(times={"S2": "S2_dates"}).fit(X, y)
    assert np.isfinite(clf.history_.to_numpy()).all()
    some = clf.predict_proba(X[15:45].select(["S2", "S2_dates", "S1"]))
    assert_allclose(some, clf.predict_proba(X.select(["S1", "S2", "S2_dates"]))[15:45])
    # A time where there is no step is of no use, whatever it is.
    dates[20:40, 1] = np.datetime64("2030-01-01")
    again = clf.predict_proba(X.select(["S1", "S2"]) | {"S2_dates": dates})
    assert_array_equal(again[15:45], some)


# Times of each row


def test_times_of_each_row(dated):
    X, y = dated
    clf = small(times={"S2": "S2_dates"}).fit(X, y)
    assert clf.modalities_ == ["S1", "S2", "soil"]
    assert list(clf.input_shapes_) == ["S1", "S2", "soil"]
    whole = clf.predict_proba(X)
    assert clf.transform(X).shape == (60, 3 * 16)
    assert len(clf.get_feature_names_out()) == 3 * 16
    # Days count from the first one of training, not of the rows at hand.
    assert_allclose(clf.predict_proba(X[30:]), whole[30:], atol=1e-6)
    pair = {"S2": X["S2"], "S2_dates": X["S2_dates"]}
    of_pair = clf.predict_proba(pair)
    assert_array_equal(clf.predict_proba(X, modality="S2"), of_pair)
    later = {**pair, "S2_dates": X["S2_dates"] + np.timedelta64(20, "D")}
    assert np.abs(clf.predict_proba(later) - of_pair).max() > 1e-4
    # The others need no dates.
    assert clf.predict(X["S1"]).shape == (60,)
    assert clf.predict(X.select(["S1", "soil"])).shape == (60,)


def test_equal_times_of_each_row_act_as_shared_times(data):
    X, y = data
    of_all = small(times=DAYS).fit(X, y)
    each = {f"t{m}": np.tile(days, (60, 1)) for m, days in DAYS.items()}
    X_each = X | each
    of_each = small(times={"S1": "tS1", "S2": "tS2"}).fit(X_each, y)
    expected = of_all.predict_proba(X)
    assert_allclose(of_each.predict_proba(X_each), expected, atol=1e-6)
    frame = X_each | {"tS1": pd.DataFrame(each["tS1"])}
    assert_allclose(of_each.predict_proba(frame), expected, atol=1e-6)


@pytest.mark.slow
def test_real_dates_help_where_the_calendar_is_irregular():
    """The class is the day of a peak that each row sees on days of its own."""
    rng = np.random.default_rng(0)
    n, n_timesteps = 500, 10
    y = rng.integers(0, 3, size=n)
    days = np.sort(
        rng.uniform(0, 1, size=(n, n_timesteps)) ** rng.uniform(0.3, 3, (n, 1))
    )
    days = days * 180
    peak = (60 + 30 * y)[:, None]
    x = np.exp(-(((days - peak) / 25) ** 2))[..., None]
    X = ModalityDict(S2=x, noise=rng.normal(size=(n, 2)), days=days)
    scores = {}
    for times in (None, {"S2": "days"}):
        names = ["S2", "noise", *time_entries(times)]
        clf = CoLearnClassifier(
            encoder={"S2": "ltae", "noise": "linear"},
            embedding_dim=32,
            times=times,
            batch_size=50,
            cv=None,
            max_epochs=15,
            weight_decay=0.01,
            random_state=0,
        ).fit(X[:350].select(names), y[:350])
        scores[times is None] = clf.score(X[350:].select(names[::2]), y[350:])
    assert scores[False] > scores[True] + 0.1


# scikit-learn's tools


@pytest.fixture
def timed():
    return small(times={"S1": DAYS["S1"], "S2": "S2_dates"}, max_epochs=2)


def test_clone_and_pickle(dated, timed):
    X, y = dated
    expected = timed.fit(X, y).predict_proba(X)
    assert_array_equal(clone(timed).fit(X, y).predict_proba(X), expected)
    assert_array_equal(pickle.loads(pickle.dumps(timed)).predict_proba(X), expected)


def test_search_and_cross_validation(dated, timed):
    X, y = dated
    scorers = modality_scorers("accuracy", ["S1", "S2"])
    scores = cross_validate(timed, X, y, scoring=scorers, cv=2)
    assert len(scores["test_S2"]) == 2
    grid = {
        "encoder_params": [{"S2": {"n_heads": 2}}, {"S2": {"n_heads": 4}}],
        "times": [{"S2": "S2_dates"}],
    }
    search = GridSearchCV(timed, grid, cv=2, scoring=scorers, refit="S2").fit(X, y)
    assert search.predict(X).shape == (60,)
    heads = search.best_params_["encoder_params"]["S2"]["n_heads"]
    network = search.best_estimator_.net_.module_.network("S2")
    assert len(network.unique_encoder.query) == heads


def test_evaluation(dated, timed):
    X, y = dated
    without = clone(timed).set_params(times=None)
    report = evaluate_modalities({"dates": timed, "index": without}, X, y, cv=2)
    scores = report.scores
    assert set(scores["modality"]) == {"S1", "S2", "soil", "all"}
    assert set(scores["method"]) == {"alone", "dates", "index"}
    assert set(partner_gain(timed, X, y, cv=2).scores["modality"]) == {
        "S1",
        "S2",
        "soil",
    }
    baseline = {"bagging": BaggingClassifier(n_estimators=2, random_state=0)}
    report = evaluate_modalities(timed, X, y, cv=2, baselines=baseline)
    assert "bagging" in set(report.scores["method"])


def test_pipeline(dated, timed):
    X, y = dated
    scaled = dict.fromkeys(["S1", "S2"], StandardScaler())
    pipeline = make_pipeline(PerModality(scaled), timed).fit(X, y)
    report = evaluate_modalities(pipeline, X, y, cv=2, modalities="S2")
    assert set(report.scores["modality"]) == {"S2", "all"}


def test_flat_form(dated):
    """Tools that know one flat array only take the times along, as numbers."""
    X, y = dated
    days = (X["S2_dates"] - np.datetime64("2021-01-01")) / np.timedelta64(1, "D")
    X = X | {"S2_dates": days, **{m: X[m].astype(float) for m in MODALITIES}}
    clf = small(times={"S2": "S2_dates"}, max_epochs=2)
    expected = clone(clf).fit(X, y)
    flat = clone(clf).set_params(modalities=X.layout).fit(np.asarray(X), y)
    for fitted in (flat, expected):
        answers = fitted.predict_proba(np.asarray(X))
        assert_allclose(answers, expected.predict_proba(X))
    assert flat.modalities_ == ["S1", "S2", "soil"]
    bagged = BaggingClassifier(flat, n_estimators=2, random_state=0)
    assert bagged.fit(X, y).predict(X).shape == (60,)


def test_warm_start_goes_on_with_the_first_reference(dated):
    X, y = dated
    clf = small(times={"S2": "S2_dates"}, warm_start=True).fit(X, y)
    before = clf._sensors["S2"].calendar.reference
    clf.fit(X | {"S2_dates": X["S2_dates"] + np.timedelta64(9, "D")}, y)
    assert clf._sensors["S2"].calendar.reference == before
    # Of all rows: the steps count from the first fit's reference too.
    days = np.array(DAYS["S1"])
    clf = small(times={"S1": days}, warm_start=True).fit(
        X.select(["S1", "S2", "soil"]), y
    )
    clf.set_params(times={"S1": days + 9}).fit(X.select(["S1", "S2", "soil"]), y)
    assert clf._sensors["S1"].calendar.steps.tolist() == [9, 21, 24, 69, 109]


# Errors


def test_dates_without_times_parameter_are_refused(dated):
    text = refusal(small().fit, *dated)
    assert "'S2_dates' contains dates (datetime64[D])" in text
    assert "times={name: 'S2_dates'}" in text


def message_of_times(dated, times):
    return refusal(small(times=times).fit, *dated)


def test_unknown_modality_or_entry(data, dated):
    assert message_of_times(data, {"S3": [1, 2]}) == (
        "times= names 'S3', which X lacks; the modalities are ['S1', 'S2', 'soil']."
    )
    assert message_of_times(dated, {"S2": "dates"}) == (
        "times= names the entry 'dates' as the times of each row, but X contains only "
        "['S1', 'S2', 'soil', 'S2_dates']."
    )
    assert message_of_times(dated, {"S2": "S2_dates", "S1": "S2"}) == (
        "times= names 'S2', which holds times; the modalities are ['S1', 'soil']."
    )
    X, y = dated
    only = ModalityDict({name: X[name] for name in ("S2", "S2_dates")})
    assert refusal(small(times={"S2": "S2_dates", "S1": "S2"}).fit, only, y) == (
        "times= uses all entries of X, ['S2', 'S2_dates'], as times. X must also "
        "contain a modality."
    )


def test_times_of_a_table(data):
    text = message_of_times(data, {"soil": [1, 2, 3]})
    assert "modality 'soil' has shape (n, 3)" in text


def test_times_of_another_shape(data, dated):
    X, y = dated
    text = message_of_times(data, {"S1": [1, 2, 3]})
    assert "'S1' in times= have shape (3,); expected (5,)" in text
    text = message_of_times(data, {"S1": [[1], [2, 3]]})
    assert "'S1' in times= have shape (2,); expected (5,)" in text
    X = X | {"S2_dates": X["S2_dates"][:, :3]}
    text = message_of_times((X, y), {"S2": "S2_dates"})
    assert "'S2_dates' of X have shape (60, 3); expected (60, 4)" in text
    clf = small(times={"S2": "S2_dates"}, max_epochs=1).fit(*dated)
    assert "'S2_dates' has shape (n, 3), but fit saw (n, 4)" in refusal(clf.predict, X)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (["30.05.2021", "x", "2", "3", "4"], "neither .*: '2' is neither"),
        (["30.05.2021", "x", "y", "z", ""], "neither .*: .*30.05.2021"),
        ([True] * 5, "neither .*: .*True"),
        (np.ones(5, bool), "neither .*; got dtype bool"),
        (pd.to_timedelta(range(5), unit="D"), "neither .*; got dtype timedelta"),
        ([1, 2, 3, 4, np.inf], "contain infinity"),
        ([1, 2, 3, np.nan, None], "are missing"),
        ([None] * 5, "are all missing"),
        ([pd.Timestamp("2021-04-03"), 18700, 2, 3, 4], "neither .*: 18700 is neither"),
        (["2021-04-03", 20210415, "2021-05-03"] + ["x"] * 2, "20210415 looks like"),
        (["100", "112", "124", "136", "148"], "neither .*: '100' is neither"),
    ],
    ids=str,
)
def test_invalid_times_are_refused(data, times, message):
    with pytest.raises(ValueError, match=r"'S1' in times= .*" + message):
        fit_calendar("S1", times, {}, (5, 2))


DATES = ["2021-04-03", "2021-04-15", "2021-05-09"]
DAY = pd.to_datetime(DATES)


@pytest.mark.parametrize("kind", [int, float, "Int64", str], ids=str)
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (DAY.strftime("%Y%m%d").astype(int), "YYYYMMDD.*format='%Y%m%d'"),
        (DAY.strftime("%Y%j").astype(int), "YYYYDDD.*format='%Y%j'"),
        (DAY.strftime("%Y%m").astype(int), "YYYYMM.*format='%Y%m'"),
        (DAY.as_unit("s").astype(int), "seconds since 1970.*unit='s'"),
        (DAY.as_unit("ms").astype(int), "milliseconds since 1970.*unit='ms'"),
        (DAY.as_unit("ns").astype(int), "nanoseconds since 1970.*unit='ns'"),
        (DAY.as_unit("s").astype(int) // 3600, "is neither. Pass dates"),
    ],
    ids=["YYYYMMDD", "YYYYDDD", "YYYYMM", "s", "ms", "ns", "hours"],
)
def test_numbers_that_are_not_days_are_refused(numbers, message, kind):
    given = pd.Series(numbers).astype(kind)
    if kind is str and "MMDD" in message:
        expected = fit_calendar("S1", DATES, {}, (3, 1))
        assert_array_equal(fit_calendar("S1", given, {}, (3, 1)).steps, expected.steps)
        return
    with pytest.raises(ValueError, match="'S1' in times= .*" + message):
        fit_calendar("S1", given, {}, (3, 1))
    rows = {"dates": np.stack([np.arange(3), numbers]).astype(given.to_numpy().dtype)}
    if kind is not str:
        with pytest.raises(ValueError, match="'dates' of X .* in row 1: .*" + message):
            fit_calendar("S1", "dates", rows, (3, 1))


@pytest.mark.parametrize("epoch", [0, 18720, 44300, 59310, 737888, 738254, 2459307.5])
def test_days_since_any_usual_epoch_are_taken(epoch):
    calendar = fit_calendar("S1", epoch + np.array([0, 12, 30.25]), {}, (3, 1))
    assert_allclose(calendar.steps - calendar.steps[0], [0, 12, 30.25])


def test_dates_that_pandas_made_of_numbers_are_refused():
    with pytest.raises(ValueError, match=r"'S1' .* 1970-01-01.*unit=.*nanoseconds"):
        fit_calendar("S1", pd.to_datetime([20210403, 20210415]), {}, (2, 1))


def test_times_a_century_apart_are_refused():
    with pytest.raises(ValueError, match=r"'S1' in times= .*more than 100 years"):
        fit_calendar("S1", ["1821-04-03", "2021-04-15"], {}, (2, 1))
    rows = {"days": np.array([[100, 101], [100, 40000]])}
    with pytest.raises(ValueError, match=r"'days' of X .* 100 years .* in row 1"):
        fit_calendar("S1", "days", rows, (2, 1))


def test_numbers_that_are_not_days_are_refused_at_prediction(data):
    X, y = data
    days = np.tile([18700, 18712, 18720, 18730], (60, 1))
    X = X | {"days": days}
    clf = small(times={"S2": "days"}, max_epochs=1).fit(X, y)
    for wrong in (days * 86400, days + 2440588 - 18700, days + 3 * 36525):
        mixed = days.copy()
        mixed[4:6] = wrong[4:6]
        for rows in (slice(None), slice(2, 8)):
            pair = {"S2": X["S2"][rows], "days": mixed[rows]}
            first = 4 - (rows.start or 0)
            with pytest.raises(ValueError, match=rf"'S2' .*'days'.* in rows {first}, "):
                clf.predict(pair)


def test_times_of_missing_steps_may_be_anything(data):
    X, y = data
    padded, days = X["S2"].copy(), np.tile([100.0, 110, 120, 130], (60, 1))
    padded[5:, 3] = np.nan
    X = X | {"S2": padded, "days": days}
    expected = small(times={"S2": "days"}, max_epochs=1).fit(X, y).predict_proba(X)
    for filler in (0, -9999, np.iinfo(np.int64).min, 20210403, np.nan):
        odd = days.copy()
        odd[5:, 3] = filler
        X["days"] = odd
        clf = small(times={"S2": "days"}, max_epochs=1).fit(X, y)
        assert_allclose(clf.predict_proba(X), expected, atol=1e-5)


# Order


def test_decreasing_times_give_a_warning(data, dated):
    with pytest.warns(UserWarning, match="'S1' in times= decrease along the steps"):
        small(times={"S1": DAYS["S1"][::-1]}, max_epochs=1).fit(*data)
    X, y = dated
    dates = X["S2_dates"].copy()
    dates[7] = dates[7, ::-1]
    with pytest.warns(UserWarning, match="'S2_dates' of X decrease .* in row 7"):
        clf = small(times={"S2": "S2_dates"}, max_epochs=1).fit(
            X | {"S2_dates": dates}, y
        )
    clf.predict(X | {"S2_dates": dates})  # once is enough


def test_equal_times_do_not_decrease():
    assert fit_calendar("S1", [5, 5, 7], {}, (3, 1)).steps.tolist() == [0, 0, 2]


def test_missing_times_do_not_decrease():
    rows = {"days": np.array([[3, np.nan, 4, np.nan], [np.nan, 1, 1, 2]])}
    assert fit_calendar("S1", "days", rows, (4, 1)).reference == 1


# Forms, files


@pytest.mark.parametrize("library", ["xarray", "polars", "pyarrow", "index"])
def test_times_of_any_library(library):
    if library == "index":
        times = pd.DatetimeIndex(DATES)
    else:
        module = pytest.importorskip(library)
        make = {"xarray": "DataArray", "polars": "Series", "pyarrow": "array"}[library]
        times = getattr(module, make)(DAY.to_numpy())
    expected = fit_calendar("S1", DATES, {}, (3, 1))
    calendar = fit_calendar("S1", times, {}, (3, 1))
    assert_array_equal(calendar.steps, expected.steps)
    assert (calendar.dates, calendar.reference) == (True, expected.reference)


@pytest.mark.parametrize("by_row", [False, True])
def test_calendars_come_back_from_plain_values(by_row):
    X = {"dates": np.array([DATES, DATES], dtype="M8[D]")}
    calendar = fit_calendar("S1", "dates" if by_row else DATES, X, (3, 1))
    given = calendar.to_dict()
    again = Calendar.from_dict(given, 3, ["dates"])
    assert_array_equal(again.steps, calendar.steps)
    assert again.to_dict() | {"steps": 0} == given | {"steps": 0}
    wrong = {
        "entry": ["other", 5],
        "steps": [np.zeros(3), np.zeros(4, np.float32), np.full(3, np.nan, np.float32)],
        "dates": [1, None],
        "reference": ["0", None, np.inf, True],
    }
    for name, values in wrong.items():
        for value in values:
            with pytest.raises(ValueError, match="calendar of 'S1'"):
                Calendar.from_dict(given | {name: value}, 3, ["dates"])
    with pytest.raises(ValueError, match="calendar of 'S1'"):
        Calendar.from_dict({"modality": "S1"}, 3, ["dates"])


# Gaps


@pytest.mark.parametrize("years", [-1, 3])
def test_dates_of_other_years_warn(dated, years, tmp_path):
    X, y = dated
    clf = small(times={"S2": "S2_dates"}, encoder="auto", encoder_params=None)
    save_model(clf.fit(X, y), tmp_path / "model.safetensors")
    dates = X["S2_dates"] + np.timedelta64(365 * years, "D")
    seen = X["S2_dates"].max() - X["S2_dates"].min()
    beyond = abs(365 * years)
    says = (
        "The times of modality 'S2' in the entry 'S2_dates' of X are up to "
        f"{beyond} days outside those in training, which the encoder has not seen. To "
        "predict other years, fit with days of the year."
    )
    assert seen < np.timedelta64(365, "D")
    for model in (clf, clf.export("S2"), load_model(tmp_path / "model.safetensors")):
        with pytest.warns(UserWarning, match=re.escape(says)):
            model.predict({"S2": X["S2"], "S2_dates": dates})
    other = small(times={"S2": "S2_dates"}, encoder="mlp", encoder_params=None)
    with pytest.warns(UserWarning, match="times= is ignored"):
        other.fit(X, y)
    other.predict({"S2": X["S2"], "S2_dates": dates})  # no dates, no warning


def test_missing_times_of_observed_steps_are_refused(dated):
    X, y = dated
    dates = X["S2_dates"].copy()
    dates[[3, 7], 2] = np.datetime64("NaT")
    X_lacking = X | {"S2_dates": dates}
    text = message_of_times((X_lacking, y), {"S2": "S2_dates"})
    assert "'S2' in the entry 'S2_dates' of X are missing in rows 3, 7 for" in text
    clf = small(times={"S2": "S2_dates"}, max_epochs=1).fit(X, y)
    assert "missing in rows 1, 5 for" in refusal(clf.predict, X_lacking[2:])


def test_prediction_without_the_times_of_its_rows(dated):
    X, y = dated
    clf = small(times={"S2": "S2_dates"}, max_epochs=1).fit(X, y)
    message = (
        "Modality 'S2' was fitted with times for each row, so prediction needs them "
        "too: pass a dict {'S2': array, 'S2_dates': times}."
    )
    for without in (X["S2"], {"S2": X["S2"]}, X.select(["S1", "S2"])):
        assert refusal(clf.predict, without) == message
    assert refusal(clf.predict, {"S2_dates": X["S2_dates"]}) == (
        "X has no modalities or no rows. Pass at least one of ['S1', 'S2', 'soil'], "
        "with at least one row."
    )
    assert refusal(clf.predict, X, modality="S2_dates") == (
        "Unknown modality 'S2_dates'; fit saw ['S1', 'S2', 'soil']."
    )
    # A bare array is never taken for times.
    assert refusal(clf.predict, np.zeros((5, 4))) == (
        "X of shape (n, 4) matches none of the modalities of fit ('S1': (n, 5, 2), "
        "'S2': (n, 4, 3), 'soil': (n, 3)). Pass several modalities as a dict {name: "
        "array}."
    )


def test_numbers_are_refused_if_fit_saw_dates(dated):
    X, y = dated
    clf = small(times={"S2": "S2_dates"}, max_epochs=1).fit(X, y)
    numbers = X | {"S2_dates": np.ones((60, 4))}
    assert refusal(clf.predict, numbers) == (
        "The times of modality 'S2' in the entry 'S2_dates' of X are numbers, but were "
        "dates in fit."
    )
    flat = np.ones((60, X.shape[1]))
    assert refusal(clf.predict, flat) == refusal(clf.predict, numbers)


def test_warm_start_with_other_times(dated):
    clf = small(times={"S2": "S2_dates"}, warm_start=True, max_epochs=1).fit(*dated)
    clf.set_params(times={"S1": DAYS["S1"], "S2": "S2_dates"})
    expected = clf.predict_proba(dated[0])
    text = refusal(clf.fit, *dated)
    assert "warm_start=True" in text
    assert "before ['S2'], now ['S1', 'S2']" in text
    clf.set_params(times={"S2": DAYS["S2"]})
    text = refusal(clf.fit, dated[0].select(["S1", "S2", "soil"]), dated[1])
    assert "warm_start=True" in text
    assert_array_equal(clf.predict_proba(dated[0]), expected)


def test_ignored_times_give_a_warning(data):
    encoders = {"S1": "gru", "S2": "ltae", "soil": "mlp"}
    clf = small(encoder=encoders, encoder_params=None, times=DAYS, max_epochs=1)
    with pytest.warns(UserWarning, match="is ignored") as caught:
        clf.fit(*data)
    assert [str(one.message) for one in caught] == [
        "times= is ignored for modality 'S1': its encoder 'gru' takes no times. "
        "Encoders that take times: 'tae', 'ltae', 'transformer', 'convtran' and "
        "'presto'."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf.set_params(times={}).fit(*data)
