import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tools import refused

from sklearn_colearn import ModalityDict, PerModality


class Recorder(TransformerMixin, BaseEstimator):
    """Keeps what it gets."""

    def fit(self, X, y=None):
        self.X_, self.y_ = X, y
        return self

    def transform(self, X):
        return X


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return ModalityDict(
        S1=rng.normal([5.0, -3.0], [1.0, 10.0], (8, 4, 2)),
        soil=pd.DataFrame(rng.normal(2, 3, (8, 3)), columns=["clay", "sand", "ph"]),
        image=rng.normal(7, 2, (8, 3, 5, 2)),
    )


Y = np.arange(8) % 2


def test_bands_of_series_and_images_and_columns_of_tables(X):
    result = PerModality(StandardScaler()).fit_transform(X)
    assert type(result) is ModalityDict
    for name, axes in {"S1": (0, 1), "soil": 0, "image": (0, 1, 2)}.items():
        values, raw = np.asarray(result[name]), np.asarray(X[name])
        assert values.shape == raw.shape
        np.testing.assert_allclose(
            values, (raw - raw.mean(axes)) / raw.std(axes), atol=1e-12
        )


def test_transform_uses_what_fit_saw(X):
    scaler = PerModality(StandardScaler()).fit(X[:6])
    result = scaler.transform(X[6:])
    raw, seen = X["S1"][6:], X["S1"][:6]
    np.testing.assert_allclose(
        result["S1"], (raw - seen.mean((0, 1))) / seen.std((0, 1)), atol=1e-12
    )


def test_number_of_bands_may_change(X):
    result = PerModality({"S1": PCA(1), "image": PCA(1)}).fit_transform(X)
    assert result["S1"].shape == (8, 4, 1)
    assert result["image"].shape == (8, 3, 5, 1)
    rows = X["S1"].reshape(-1, 2)
    np.testing.assert_allclose(
        result["S1"].reshape(-1, 1), PCA(1).fit_transform(rows), atol=1e-12
    )


def test_one_transformer_for_each_and_the_rest_passes_through(X):
    steps = PerModality({"soil": StandardScaler(), "image": "passthrough"}).fit(X)
    assert list(steps.transformers_) == ["S1", "soil", "image"]
    assert steps.transformers_["S1"] == steps.transformers_["image"] == "passthrough"
    result = steps.transform(X)
    assert list(result) == ["S1", "soil", "image"]
    assert result["S1"] is X["S1"]
    assert result["image"] is X["image"]
    np.testing.assert_allclose(result["soil"].mean(axis=0), 0, atol=1e-12)


def test_passthrough_for_all(X):
    result = PerModality("passthrough").fit_transform(X)
    assert result["S1"] is X["S1"]
    assert result["image"] is X["image"]
    pd.testing.assert_frame_equal(result["soil"], X["soil"])


def test_frames_keep_their_names(X):
    steps = PerModality(StandardScaler()).fit(X)
    assert list(steps.transformers_["soil"].feature_names_in_) == ["clay", "sand", "ph"]
    assert not hasattr(steps.transformers_["S1"], "feature_names_in_")
    # The columns are put in the order of fit before they are transformed.
    swapped = X["soil"][["ph", "clay", "sand"]]
    np.testing.assert_array_equal(
        steps.transform({"soil": swapped})["soil"], steps.transform(X)["soil"]
    )
    frames = PerModality(StandardScaler().set_output(transform="pandas"))
    result = frames.fit_transform(X)
    assert list(result["soil"].columns) == ["clay", "sand", "ph"]
    assert isinstance(result["S1"], np.ndarray)
    np.testing.assert_array_equal(result["S1"], steps.transform(X)["S1"])


def test_only_tables_get_the_target(X):
    steps = PerModality(Recorder()).fit(X, Y)
    assert steps.transformers_["soil"].y_ is Y
    assert steps.transformers_["soil"].X_ is X["soil"]
    assert steps.transformers_["S1"].y_ is None
    assert steps.transformers_["S1"].X_.shape == (32, 2)
    assert steps.transformers_["image"].y_ is None


def test_supervised_transformer(X):
    X["soil"].loc[:, "sand"] += Y * 1000
    result = PerModality({"soil": SelectKBest(f_classif, k=1)}).fit(X, Y).transform(X)
    np.testing.assert_array_equal(result["soil"], X["soil"][["sand"]])


def test_fit_transform_passes_the_target(X):
    X["soil"].loc[:, "ph"] += Y * 1000
    steps = PerModality({"soil": SelectKBest(f_classif, k=1)})
    result = steps.fit_transform(X, Y)
    np.testing.assert_array_equal(result["soil"], X["soil"][["ph"]])


def test_missing_values_reach_the_transformer(X):
    X["S1"][0, 0, 0] = np.nan
    result = PerModality({"S1": SimpleImputer()}).fit_transform(X)
    assert result["S1"][0, 0, 0] == pytest.approx(np.nanmean(X["S1"][..., 0]))


@pytest.mark.parametrize("names", [["S1"], ["soil"], ["image", "S1"]], ids=str)
def test_some_of_the_modalities(X, names):
    steps = PerModality(StandardScaler()).fit(X)
    result, expected = steps.transform(X.select(names)), steps.transform(X)
    assert list(result) == names
    for name in names:
        np.testing.assert_array_equal(result[name], expected[name])


def test_a_bare_array_is_found_by_its_shape(X):
    steps = PerModality(StandardScaler()).fit(X)
    expected = steps.transform(X)
    for name in X:
        result = steps.transform(X[name])
        assert list(result) == [name]
        np.testing.assert_array_equal(result[name], expected[name])


def test_other_forms_of_named_modalities(X):
    columns = pd.MultiIndex.from_tuples([("A", "a"), ("A", "b"), ("B", "c")])
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=columns)
    result = PerModality(StandardScaler()).fit_transform(frame)
    assert {name: result[name].shape for name in result} == {"A": (4, 2), "B": (4, 1)}
    plain = PerModality(StandardScaler()).fit_transform(dict(X.items()))
    assert list(plain) == list(X)


def test_input_is_not_changed(X):
    before, transformer = X["S1"].copy(), StandardScaler()
    steps = PerModality({"S1": transformer})
    steps.fit_transform(X)
    np.testing.assert_array_equal(X["S1"], before)
    assert not hasattr(transformer, "mean_")  # clones are fitted
    assert steps.transformer == {"S1": transformer}


def test_each_modality_gets_its_own_clone(X):
    steps = PerModality(StandardScaler()).fit(X)
    assert len({id(t) for t in steps.transformers_.values()}) == 3
    assert steps.transformers_["S1"].mean_.shape == (2,)


def test_clone_and_parameters(X):
    steps = PerModality(StandardScaler(with_mean=False)).fit(X)
    copy = clone(steps)
    assert not hasattr(copy, "transformers_")
    assert copy.transformer.with_mean is False
    steps.set_params(transformer__with_std=False)
    np.testing.assert_array_equal(steps.fit_transform(X)["S1"], X["S1"])
    by_name = clone(PerModality({"S1": StandardScaler()}))
    np.testing.assert_allclose(
        by_name.fit_transform(X)["S1"].mean((0, 1)), 0, atol=1e-12
    )


def test_in_a_pipeline(X):
    pipeline = make_pipeline(PerModality(StandardScaler()), PerModality({"S1": PCA(1)}))
    result = pipeline.fit(X, Y).transform(X[:2])
    assert {name: result[name].shape for name in result} == {
        "S1": (2, 4, 1),
        "soil": (2, 3),
        "image": (2, 3, 5, 2),
    }


# Errors


def test_transformer_of_an_unknown_modality(X):
    steps = PerModality({"S2": StandardScaler(), "S1": "passthrough"})
    refused(steps.fit, X, says="transformer ... ['S2'] ... ['S1', 'soil', 'image']")


def test_transformers_must_be_estimators(X):
    refused(
        PerModality({"S1": "drop"}).fit, X, says="'S1' ... 'passthrough' ... 'drop'"
    )


def test_not_fitted(X):
    unfitted = PerModality(StandardScaler())
    refused(unfitted.transform, X, says="PerModality", error=NotFittedError)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"S2": np.zeros((2, 2))},
            "'S2' ... ['S1', 'soil', 'image']",
        ),
        (
            {"S1": np.zeros((2, 4, 3))},
            "'S1' ... (n, 4, 3) ... (n, 4, 2)",
        ),
        (
            {"soil": pd.DataFrame({"clay": [1.0], "silt": [1.0], "ph": [1.0]})},
            "'soil' ... ['sand']",
        ),
        (
            np.zeros((2, 9)),
            "(n, 9) ... 'soil': (n, 3) ... {name: array}",
        ),
    ],
    ids=["name", "bands", "columns", "bare"],
)
def test_input_unlike_fit_is_refused(X, other, message):
    steps = PerModality(StandardScaler()).fit(X)
    refused(steps.transform, other, says=message)


def test_sparse_result_of_a_table():
    X = ModalityDict(cover=np.array([["oak"], ["fir"]]))
    encode = PerModality(OneHotEncoder()).fit_transform
    refused(encode, X, says="'cover' ... sparse", error=TypeError)
    dense = PerModality(OneHotEncoder(sparse_output=False)).fit_transform(X)
    np.testing.assert_array_equal(dense["cover"], [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "bare", [np.zeros((4, 2)), pd.DataFrame({"a": [1.0, 2.0]})], ids=["array", "frame"]
)
def test_fit_on_a_bare_array(bare):
    with pytest.raises(TypeError, match="name"):
        PerModality(StandardScaler()).fit(bare)
