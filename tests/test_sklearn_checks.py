"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_colearn import CoLearnClassifier, CoLearnRegressor

pytestmark = pytest.mark.slow

#: Checks that cannot pass, each with its reason.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "training is stochastic: a repeated row is in other batches than a weighted one"
    ),
}


def close(x, y, rtol=1e-7, atol=1e-9, err_msg="", **options):
    """Compare as float32 allows: batches of another size are summed otherwise."""
    tolerances = {"rtol": max(rtol, 1e-5), "atol": max(atol, 1e-5)}
    assert_allclose_dense_sparse(x, y, **tolerances, err_msg=err_msg)


def quick(estimator, cv):
    # Small networks: the checks are about the interface.
    return estimator(
        encoder_params={"hidden_dims": (16,)},
        embedding_dim=16,
        batch_size=100,
        lr=5e-2,
        max_epochs=6,
        cv=cv,
    )


@parametrize_with_checks(
    [quick(CoLearnClassifier, None), quick(CoLearnRegressor, 2)],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
@pytest.mark.filterwarnings("ignore:X holds one modality:UserWarning")
def test_scikit_learn_check(estimator, check, monkeypatch):
    for name in ("assert_allclose", "assert_allclose_dense_sparse"):
        monkeypatch.setattr(estimator_checks, name, close)
    check(estimator)
