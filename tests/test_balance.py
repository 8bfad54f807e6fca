"""What rows count for, and what is said of targets and weights in which nothing varies."""

from __future__ import annotations

import numpy as np
import pytest

from backendmlp import MLP, InputError
from backendmlp.backend import to_numpy
from backendmlp.network.losses import SquaredError

X = np.random.default_rng(0).normal(size=(50, 4))
LABELS = np.arange(50) % 2


def regression(**choices) -> MLP:
    return MLP((), epochs=1, loss="squared_error", lr=1e-3, **choices)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 2019.7])
def test_r_squared_of_a_target_that_does_not_vary(value, numerics):
    """Zero, as scikit-learn's, however the mean of equal numbers is rounded; it was -1e31."""
    y = np.full(50, value)
    assert regression(numerics=numerics, dtype="float64").fit(X, y).score(X, y) == 0.0
    both = np.stack([y, X[:, 0]], axis=1)
    mlp = regression(numerics=numerics, dtype="float64").fit(X, both)
    assert -10.0 < mlp.score(X, both) < 1.0


def test_so_it_is_on_every_backend(backend):
    arithmetic = regression().config.arithmetic()
    targets = backend.asarray(np.stack([np.full(50, 0.1), X[:, 0]], axis=1))
    found = SquaredError().measures(arithmetic, targets + 1.0, targets)
    about = to_numpy(found["about"])
    assert about[0] == 0.0
    assert about[1] == pytest.approx(np.square(X[:, 0] - X[:, 0].mean()).sum(), rel=1e-12)


@pytest.mark.parametrize("weights", [None, (LABELS == 0) * 1.0])
def test_class_weights_that_leave_no_row(weights):
    """It was told as a divergence, with a rate to lower."""
    mlp = MLP(3, epochs=1, class_weight=(0, 0, 1) if weights is None else (0, 1, 1))
    with pytest.raises(InputError, match="leaves no row that counts"):
        mlp.fit(X, LABELS, class_names=list("abc"), sample_weight=weights)


def test_a_partial_fit_knows_no_warm_up():
    """A part of an epoch whose length it never learns; each call took itself for one."""
    with pytest.raises(InputError, match=r"warmup is 1\.0, and partial_fit never sees all data"):
        MLP(3, warmup=1.0).partial_fit(X, LABELS)
