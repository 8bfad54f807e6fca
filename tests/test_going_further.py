"""What an adversary found: trainings that go on, and numbers at the ends of their ranges."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import open_or_skip

from backendmlp import MLP, Config, Dataset, DataWarning, InputError, digest, train_run

IMAGES = (np.arange(90 * 12) * 37 % 251).astype(np.uint8).reshape(90, 12)
LABELS = np.arange(90) * 7 % 3


def test_an_adaptive_rate_goes_on_with_a_warm_start():
    choices = {"schedule": "adaptive", "patience": 1, "tol": 0.3, "lr": 0.2}
    twice = MLP(5, epochs=6, warm_start=True, **choices)
    twice.fit(IMAGES, LABELS).fit(IMAGES, LABELS)
    once = MLP(5, epochs=12, **choices).fit(IMAGES, LABELS)
    assert twice._course[1].rate < 0.2
    assert digest(twice.parameters) == digest(once.parameters)


def test_steps_that_are_taken_back_do_not_count():
    mlp = MLP(5, epochs=2, batch_size=40, optimizer="adam", warm_start=True).fit(IMAGES, LABELS)
    assert mlp._steps == 6  # of 40, 40 and 10 rows
    usual = mlp.config
    mlp.config = dataclasses.replace(usual, lr=1e300)
    with pytest.raises(InputError, match="diverged"):
        mlp.fit(IMAGES, LABELS)
    mlp.config = usual
    mlp.fit(IMAGES, LABELS)
    assert mlp._steps == 12
    straight = MLP(5, epochs=4, batch_size=40, optimizer="adam").fit(IMAGES, LABELS)
    assert digest(mlp.parameters) == digest(straight.parameters)


def test_no_epsilon_of_a_step_is_subnormal():
    """JAX takes such numbers for zero, and zero by zero for no number."""
    coefficients = (
        Config(optimizer="adam", epsilon=5e-324)
        .recipe()
        .optimizer.coefficients(np.array([0.1, 0.1]), 0, 0.0)
    )
    assert (coefficients.epsilon >= np.finfo(np.float64).tiny).all()


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_arrays_of_either_byte_order_are_taken(name):
    open_or_skip(name)
    floats, weights = IMAGES / 255.0, np.ones(len(LABELS))
    usual, other = (
        MLP(4, epochs=1, backend=name).fit(
            floats.astype(order + "f8"),
            LABELS.astype(order + "i4"),
            sample_weight=weights.astype(order + "f8"),
        )
        for order in "<>"
    )
    assert digest(usual.parameters) == digest(other.parameters)


def test_a_measure_that_is_no_number_ends_a_run_in_a_sentence(tmp_path):
    features = IMAGES / 255.0
    targets, tests = features[:, 0], np.full(10, 4.5e67)
    tests[0] = -4.5e67
    data = Dataset("d", "made", features, targets, features[:10], tests)
    with pytest.raises(InputError, match="R2 is not finite"):
        train_run(tmp_path / "run", data, Config(4, epochs=2, loss="squared_error", lr=0.01))
    assert (tmp_path / "run" / "run.json").exists()


def test_views_of_what_can_change_are_not_relied_upon():
    mlp = MLP(4, epochs=1).fit(IMAGES, LABELS)
    owners = {name: value.copy() for name, value in mlp.parameters.items()}
    views = {name: value.view() for name, value in owners.items()}
    for view in views.values():
        view.flags.writeable = False
    mlp.parameters = views
    before = mlp.predict_proba(IMAGES)
    owners["b2"] += 1.0 * np.arange(3)
    assert not np.array_equal(mlp.predict_proba(IMAGES), before)


@pytest.mark.parametrize("weight", [1e-160, 1e140])
def test_sample_weights_out_of_range_are_called_so(weight):
    with pytest.raises(InputError, match="sample weights"):
        MLP(4, epochs=1).fit(IMAGES, LABELS, sample_weight=np.full(len(LABELS), weight))


def test_a_warm_start_on_other_features_is_refused_in_a_sentence():
    mlp = MLP(4, epochs=1, warm_start=True).fit(IMAGES / 255.0, LABELS)
    with pytest.raises(InputError, match="5 values each, and those that the model learned from 12"):
        mlp.fit(IMAGES[:, :5] / 255.0, LABELS)


def test_targets_of_a_regression_are_no_classes():
    with pytest.warns(DataWarning, match="loss='squared_error'"):
        MLP(4, epochs=1).fit(IMAGES, np.arange(len(IMAGES)))
