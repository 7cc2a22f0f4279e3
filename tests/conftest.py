"""What the tests share: real data where it is there, and small generated data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sklearn_colearn import ModalityDict
from sklearn_colearn.datasets import make_multisensor

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("SKLEARN_COLEARN_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Return a function that gives the path of a real data file, or skips.

    Real data are not part of the project; its own CI has them and sets
    SKLEARN_COLEARN_REQUIRE_DATA, which makes their absence a failure.
    """

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            reason = f"{path} is not there; see CONTRIBUTING.md on real data"
            if os.environ.get("SKLEARN_COLEARN_REQUIRE_DATA"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture(scope="session")
def sensors() -> tuple[ModalityDict, np.ndarray]:
    """Two time series and a table with three classes: 90 rows."""
    return make_multisensor(90, random_state=0)


@pytest.fixture(scope="session")
def sensors_regression() -> tuple[ModalityDict, np.ndarray]:
    """Two time series and a table with a continuous target: 90 rows."""
    return make_multisensor(90, task="regression", random_state=0)
