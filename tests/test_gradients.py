"""Hand-written backpropagation against finite differences, and against a pencil."""

from __future__ import annotations

import numpy as np
import pytest

import backendmlp
from backendmlp.arithmetic import choose
from backendmlp.backend import Backend, to_numpy
from backendmlp.network import evaluation, model
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.losses import CrossEntropy, Loss, SquaredError
from backendmlp.network.optimizers import Descent
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.definition import Step, learn, mass
from backendmlp.steps.stepper import Rows

STEP = 1e-5  # the central difference is then off by about STEP**2 and 1e-16 / STEP
NATIVE = choose("native", "float64")
ONE = Descent().coefficients(np.ones(1), 0, 0.0)  # a step of the gradient itself

Arrays = dict[str, np.ndarray]

LOSSES: dict[str, Loss] = {
    "cross-entropy": CrossEntropy(),
    "smoothed": CrossEntropy(0.3),
    "squared error": SquaredError(),
}


def problem(kind: str, loss: Loss, hidden: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Inputs (7, 6), targets, weights of rows and parameters, of a network with four outputs.

    No sum of a hidden unit is near the ReLU's kink.
    """
    rng = np.random.default_rng(4 if len(hidden) > 1 else 3)
    if kind == "uint8":
        x = rng.integers(0, 256, (7, 6)).astype(np.uint8)
        scaled = x / 255.0
    else:
        x = scaled = rng.normal(size=(7, 6))
    parameters = {k: rng.normal(size=v) for k, v in model.shapes((6, *hidden, 4)).items()}
    values = scaled
    for layer in range(1, 1 + len(hidden)):
        z = values @ parameters[f"W{layer}"] + parameters[f"b{layer}"]
        assert np.abs(z).min() > 100 * STEP * max(1.0, np.abs(values).max())
        assert (z > 0).any()
        assert (z < 0).any()
        values = np.maximum(z, 0.0)
    labels = rng.integers(0, 4, 7)
    targets = labels if isinstance(loss, CrossEntropy) else rng.normal(size=(7, 4))
    weights = np.array([0.5, 0.0, 2.0, 1.0, 1.0, 0.1, 3.0])
    return x, targets, weights, parameters


def rows_on(backend: Backend, x, targets, weights) -> Rows:
    kind = "float64" if targets.ndim == 2 else "int64"
    on_device = None if weights is None else backend.asarray(weights)
    return Rows(backend.asarray(x), backend.asarray(targets, kind), on_device)


def on(backend: Backend, recipe: Recipe, parameters: Arrays) -> Learned:
    arrays = {k: backend.asarray(v, "float64") for k, v in parameters.items()}
    return Learned.begin(recipe, model.settle(recipe.arithmetic, arrays))


def loss_of(backend: Backend, recipe: Recipe, parameters: Arrays, rows: Rows) -> float:
    """The mean loss, penalty and all, that a step reports."""
    _, parts = learn(recipe, on(backend, recipe, parameters), rows, ONE.at(0), mass(recipe, rows))
    losses = recipe.loss.rows(NATIVE, parts)
    return float(evaluation.mean(NATIVE, losses, rows.weights))


def gradients(backend: Backend, recipe: Recipe, parameters: Arrays, rows: Rows) -> Arrays:
    """What a step of plain descent at the rate 1 takes off."""
    learned, _ = learn(recipe, on(backend, recipe, parameters), rows, ONE.at(0), mass(recipe, rows))
    after = learned.parameters.as_dict()
    return {name: value - to_numpy(after[name]) for name, value in parameters.items()}


def differences(backend: Backend, recipe: Recipe, parameters: Arrays, rows: Rows) -> Arrays:
    """The gradient by central differences of the loss."""
    found = {}
    for name, value in parameters.items():
        found[name] = np.empty_like(value)
        for at in np.ndindex(value.shape):
            moved = value.copy()
            sides = []
            for step in (STEP, -STEP):
                moved[at] = value[at] + step
                sides.append(loss_of(backend, recipe, {**parameters, name: moved}, rows))
            found[name][at] = (sides[0] - sides[1]) / (2 * STEP)
    return found


def assert_derivative(backend: Backend, recipe: Recipe, parameters: Arrays, rows: Rows) -> None:
    found = gradients(backend, recipe, parameters, rows)
    for name, expected in differences(backend, recipe, parameters, rows).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=2e-9, err_msg=name)


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_gradients_agree_with_central_differences(backend, kind):
    recipe = Recipe(NATIVE)
    x, targets, _, parameters = problem(kind, recipe.loss, (5,))
    assert_derivative(backend, recipe, parameters, rows_on(backend, x, targets, None))


@pytest.mark.parametrize("penalised", ["plain", "l2, weights"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)], ids=str)
def test_each_activation_and_loss(activation, loss, hidden, penalised, numpy):
    recipe = Recipe(NATIVE, ACTIVATIONS[activation], LOSSES[loss], l2=0.7 * (penalised != "plain"))
    x, targets, weights, parameters = problem("float64", recipe.loss, hidden)
    rows = rows_on(numpy, x, targets, None if penalised == "plain" else weights)
    assert_derivative(numpy, recipe, parameters, rows)


@pytest.fixture
def numpy() -> Backend:
    """Alone: what is the same on the others is for other tests."""
    return backendmlp.select("numpy")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_goes_back_by_its_derivative(activation):
    one = ACTIVATIONS[activation]
    z = np.linspace(-4.0, 4.0, 80)  # not at the kink
    value = one.value(NATIVE, z)
    slope = (one.value(NATIVE, z + STEP) - one.value(NATIVE, z - STEP)) / (2 * STEP)
    np.testing.assert_allclose(one.back(value, 3.0 + z), slope * (3.0 + z), rtol=1e-6, atol=1e-9)


def test_a_clipped_gradient_has_the_norm_that_it_may_have(backend):
    recipe = Recipe(NATIVE)
    x, targets, _, parameters = problem("float64", recipe.loss, (5,))
    rows = rows_on(backend, x, targets, None)
    free = gradients(backend, recipe, parameters, rows)
    norm = float(np.sqrt(sum(np.square(g).sum() for g in free.values())))
    for limit, factor in ((norm / 3, 1 / 3), (norm * 3, 1.0)):
        found = gradients(backend, Recipe(NATIVE, clip_norm=limit), parameters, rows)
        for name, g in free.items():
            np.testing.assert_allclose(found[name], g * factor, rtol=1e-12, atol=1e-14)


def test_a_gradient_of_zero_is_not_clipped(backend):
    recipe = Recipe(NATIVE, loss=SquaredError(), clip_norm=1e-300)
    parameters = {"W1": np.zeros((2, 1)), "b1": np.zeros(1)}
    rows = rows_on(backend, np.ones((3, 2)), np.zeros((3, 1)), None)
    found = gradients(backend, recipe, parameters, rows)
    assert all((g == 0.0).all() for g in found.values())


def test_a_norm_that_is_not_known_is_not_passed_over(backend):
    """Its squares are beyond bitwise numerics: the step must not go on as if it were short."""
    recipe = Recipe(choose("bitwise"), loss=SquaredError(), clip_norm=1.0)
    parameters = {"W1": np.zeros((2, 1)), "b1": np.zeros(1)}
    rows = rows_on(backend, np.ones((3, 2)), np.full((3, 1), 2.0**300), None)
    with np.errstate(all="ignore"):
        learned, _ = learn(
            recipe, on(backend, recipe, parameters), rows, ONE.at(0), mass(recipe, rows)
        )
    assert not np.isfinite(to_numpy(learned.parameters.weights[0])).any()


def test_the_rate_scales_the_gradient(backend):
    recipe = Recipe(NATIVE)
    x, targets, _, parameters = problem("uint8", recipe.loss, (5,))
    rows = rows_on(backend, x, targets, None)
    once, tenfold = {}, {}
    for rate, found in ((1.0, once), (10.0, tenfold)):
        step = Step(recipe, on(backend, recipe, parameters))
        numbers = Descent().coefficients(np.full(1, rate), 0, 0.0)
        step.advance(rows, backend.asarray(np.arange(7)), 7, numbers)
        for name, value in step.learned.parameters.as_dict().items():
            found[name] = parameters[name] - to_numpy(value)
    for name in once:
        np.testing.assert_allclose(tenfold[name], 10 * once[name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("numerics", ["native", "bitwise"])
def test_one_image_by_hand(backend, numerics):
    """x = 2; hidden units 1.5 and, shut, -1.5; both logits 0, so each class has one half."""
    recipe = Recipe(choose(numerics, "float64"))
    parameters = {
        "W1": np.array([[0.5, -1.0]]),
        "b1": np.array([0.5, 0.5]),
        "W2": np.array([[1.0, -1.0], [3.0, 4.0]]),
        "b2": np.array([-1.5, 1.5]),
    }
    rows = rows_on(backend, np.array([[2.0]]), np.array([0]), None)
    p = on(backend, recipe, parameters).parameters
    f = model.forward(recipe.arithmetic, recipe.activation, p, rows.inputs)
    assert to_numpy(f.values[1]).tolist() == [[1.5, 0.0]]
    assert to_numpy(recipe.loss.outputs(recipe.arithmetic, f.z)).tolist() == [[0.5, 0.5]]
    parts, deltas = recipe.loss.step(recipe.arithmetic, f.z, rows.targets)
    losses = recipe.loss.rows(recipe.arithmetic, parts)
    assert float(losses[0]) == pytest.approx(np.log(2), rel=1e-15)

    change = model.back(recipe.arithmetic, recipe.activation, p, rows.inputs, f, deltas)
    expected = {
        "W1": [[-2.0, 0.0]],
        "b1": [-1.0, 0.0],
        "W2": [[-0.75, 0.75], [0.0, 0.0]],
        "b2": [-0.5, 0.5],
    }
    found = {name: to_numpy(value).tolist() for name, value in change.as_dict().items()}
    assert found == expected
