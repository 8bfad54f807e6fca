"""Hand-written backpropagation against finite differences, and against a pencil."""

from __future__ import annotations

import numpy as np
import pytest

from backendmlp.arithmetic import choose
from backendmlp.backend import Backend, to_numpy
from backendmlp.network import model

STEP = 1e-5  # the central difference is then off by about STEP**2 and 1e-16 / STEP
NATIVE = choose("native", "float64")


def problem(kind: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Inputs (7, 6), labels and parameters with no pre-activation near the ReLU's kink."""
    rng = np.random.default_rng(3)
    if kind == "uint8":
        x = rng.integers(0, 256, (7, 6)).astype(np.uint8)
        scaled = x / 255.0
    else:
        x = scaled = rng.normal(size=(7, 6))
    parameters = {
        "W1": rng.normal(size=(6, 5)),
        "b1": rng.normal(size=5),
        "W2": rng.normal(size=(5, 4)),
        "b2": rng.normal(size=4),
    }
    z1 = scaled @ parameters["W1"] + parameters["b1"]
    assert np.abs(z1).min() > 100 * STEP * max(1.0, np.abs(scaled).max())
    assert (z1 > 0).any()
    assert (z1 < 0).any()
    return x, rng.integers(0, 4, 7), parameters


def loss(backend: Backend, parameters: dict[str, np.ndarray], x, y) -> float:
    p = model.Parameters(**{k: backend.asarray(v, "float64") for k, v in parameters.items()})
    f = model.forward(NATIVE, p, x)
    losses = model.cross_entropy(NATIVE, f.totals, model.picked(f, y))
    return float(model.mean(NATIVE, losses))


def gradients(backend: Backend, parameters, x, y, rate: float = 1.0) -> dict[str, np.ndarray]:
    p = model.Parameters(**{k: backend.asarray(v, "float64") for k, v in parameters.items()})
    change = model.gradients(NATIVE, p, x, y, model.forward(NATIVE, p, x), rate)
    return {name: to_numpy(value) for name, value in change.as_dict().items()}


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_gradients_agree_with_central_differences(backend, kind):
    images, labels, parameters = problem(kind)
    x, y = backend.asarray(images), backend.asarray(labels, "int64")
    found = gradients(backend, parameters, x, y)
    for name, value in parameters.items():
        expected = np.empty_like(value)
        for at in np.ndindex(value.shape):
            moved = value.copy()
            sides = []
            for step in (STEP, -STEP):
                moved[at] = value[at] + step
                sides.append(loss(backend, {**parameters, name: moved}, x, y))
            expected[at] = (sides[0] - sides[1]) / (2 * STEP)
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_the_rate_scales_the_gradient(backend):
    images, labels, parameters = problem("uint8")
    x, y = backend.asarray(images), backend.asarray(labels, "int64")
    once, tenfold = (gradients(backend, parameters, x, y, rate) for rate in (1.0, 10.0))
    for name in once:
        np.testing.assert_allclose(tenfold[name], 10 * once[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("numerics", ["native", "bitwise"])
def test_one_image_by_hand(backend, numerics):
    """x = 2; hidden units 1.5 and, shut, -1.5; both logits 0, so each class has one half."""
    arithmetic = choose(numerics, "float64")
    parameters = {
        "W1": np.array([[0.5, -1.0]]),
        "b1": np.array([0.5, 0.5]),
        "W2": np.array([[1.0, -1.0], [3.0, 4.0]]),
        "b2": np.array([-1.5, 1.5]),
    }
    p = model.Parameters(**{k: backend.asarray(v) for k, v in parameters.items()})
    x, y = backend.asarray(np.array([[2.0]])), backend.asarray(np.array([0]))
    f = model.forward(arithmetic, p, x)
    assert to_numpy(f.hidden).tolist() == [[1.5, 0.0]]
    assert to_numpy(model.probabilities(f)).tolist() == [[0.5, 0.5]]
    losses = model.cross_entropy(arithmetic, f.totals, model.picked(f, y))
    assert float(losses[0]) == pytest.approx(np.log(2), rel=1e-15)

    change = model.gradients(arithmetic, p, x, y, f)
    expected = {
        "W1": [[-2.0, 0.0]],
        "b1": [-1.0, 0.0],
        "W2": [[-0.75, 0.75], [0.0, 0.0]],
        "b2": [-0.5, 0.5],
    }
    found = {name: to_numpy(value).tolist() for name, value in change.as_dict().items()}
    assert found == expected
