"""Whatever comes at prediction: an answer of the right shape, or a clear error."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from tools import small

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

#: What an error may be of, by the contract of the estimators.
REFUSALS = (ValueError, TypeError)

DTYPES = st.sampled_from(
    ["f2", "f4", "f8", "i1", "u2", "i8", "?", "c8", "M8[D]", "m8[D]", "U3", "O", "S2"]
)
SHAPES = st.one_of(
    st.sampled_from([(4, 12, 2), (4, 24), (1, 12, 2), (0, 12, 2), (4, 12, 4), (4, 6)]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=13),
)
ARRAYS = st.builds(
    lambda *how: _array(*how),
    *(DTYPES, SHAPES, st.integers(0, 99)),
    st.sampled_from([None, np.nan, np.inf, -np.inf, 1e300, 65535, "x", b"x", [1]]),
)
VALUES = st.one_of(
    ARRAYS,
    ARRAYS.map(lambda a: a.tolist()),
    ARRAYS.map(lambda a: np.ma.masked_array(a, mask=a == a)),
    ARRAYS.map(lambda a: pd.DataFrame(a) if a.ndim == 2 else pd.Series([1.0])),
    st.sampled_from([None, 3, "S1", object(), np.float32(1), pd.NaT, {1, 2}, range(4)]),
)
NAMES = st.sampled_from(["S1", "S2", "terrain", "S9", "", 1, None])
INPUTS = st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=3), st.lists(VALUES))


def _array(dtype, shape, seed, odd):
    rng = np.random.default_rng(seed)
    array = rng.integers(0, 5, shape).astype("O" if dtype == "O" else dtype)
    if odd is not None and array.size and dtype in ("f4", "f8", "O"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 1e300 is infinite in float32
            array.flat[rng.integers(array.size)] = odd if dtype == "O" else _number(odd)
    return array


def _number(odd):
    return odd if isinstance(odd, float | int) else 1.0


@pytest.fixture(scope="module")
def models(sensors):
    clf = small(max_epochs=1).fit(*sensors)
    return [clf, clf.export("S1"), clf.export("terrain")]


def check(models, X):
    for model in models:
        for ask in (model.predict, model.predict_proba, model.transform):
            try:
                answers = ask(X)
            except REFUSALS as error:
                answers = error
            if isinstance(answers, Exception):
                # No subclass, such as those of numpy: its message is of its own.
                assert type(answers) in REFUSALS, repr(answers)
                continue
            assert answers.shape[0] == n_rows(X)
            if ask == model.predict:
                assert set(answers) <= set(model.classes_)
            elif ask == model.predict_proba:
                assert np.isfinite(answers).all()
                np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)


def n_rows(X):
    return len(next(iter(X.values())) if isinstance(X, dict) else X)


# numpy's, of a list of masked numbers, and of numbers beyond float32.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Warning. converting a masked element to nan",
)


@given(INPUTS)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
def test_malformed_inputs(models, X):
    check(models, X)
