"""All of scikit-learn's ``check_estimator``, in both numerics, without an expected failure."""

from __future__ import annotations

import pytest
from conftest import import_or_skip

import backendmlp

import_or_skip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

# scikit-learn's checks train on raw numbers and for few epochs, and say so to nobody.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::backendmlp.DataWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]


@parametrize_with_checks(
    [
        kind(max_iter=50, numerics=numerics)
        for kind in (backendmlp.MLPClassifier, backendmlp.MLPRegressor)
        for numerics in ("bitwise", "native")
    ]
)
def test_every_check_of_scikit_learn(estimator, check):
    check(estimator)
