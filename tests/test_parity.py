"""Native numerics agree across backends within the one table of tolerances."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

import backendmlp
from backendmlp.arithmetic import choose
from backendmlp.backend import of, to_numpy
from backendmlp.network import model
from backendmlp.network.initial import initial
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows

DTYPES = ["float32", "float64"]
NUMPY = backendmlp.select("numpy")
RATE = 0.1


def learned(backend, recipe, hidden=(20,)):
    start = initial((784, *hidden, 10), recipe.activation.name, 5)
    arrays = {k: backend.asarray(v) for k, v in start.items()}
    return Learned.begin(recipe, model.settle(recipe.arithmetic, arrays))


def rates(recipe, steps=1):
    return recipe.optimizer.coefficients(np.full(steps, RATE), 0, 0.0)


def backwards(recipe, p, x, y) -> tuple[model.Parameters, np.ndarray]:
    """The gradients, and what the last layer gave."""
    f = model.forward(recipe.arithmetic, recipe.activation, p, x)
    _, deltas = recipe.loss.step(recipe.arithmetic, f.z, y)
    deltas = deltas * (1.0 / x.shape[0])
    return model.back(recipe.arithmetic, recipe.activation, p, x, f, deltas), f.z


def device(at) -> str:
    """What a caller asks for to get this backend's device: "cpu", "cuda:0", "device1"."""
    return at.label.partition(" ")[0]


def as_numpy(p: model.Parameters) -> dict[str, np.ndarray]:
    return {name: to_numpy(value) for name, value in p.as_dict().items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_operations(other, dtype):
    rng = np.random.default_rng(0)
    native = choose("native", dtype)
    a, b = rng.normal(size=(30, 784)).astype(dtype), rng.normal(size=(784, 20)).astype(dtype)
    pixels = rng.integers(0, 256, (30, 784)).astype(np.uint8)
    negative = -rng.exponential(10, (30, 10)).astype(dtype)
    positive = rng.uniform(1, 10, 300).astype(dtype)

    def results(at):
        d = at.asarray(a[:, :10].copy())
        ((product, total),) = native.gradients([(at.asarray(pixels), d)])
        return {
            "matmul": ("operation", native.matmul(at.asarray(a), at.asarray(b))),
            "pixels": ("operation", native.matmul(at.asarray(pixels), at.asarray(b))),
            "product": ("operation", product),
            "total": ("operation", total),
            "rows": ("operation", native.sum(at.asarray(a), 1)),
            "columns": ("operation", native.sum(at.asarray(a), 0)),
            "exp": ("function", native.exp(at.asarray(negative))),
            "log": ("function", native.log(at.asarray(positive))),
            "tanh": ("function", native.tanh(at.asarray(negative))),
            "logistic": ("function", native.logistic(at.asarray(negative))),
            "sqrt": ("function", native.sqrt(at.asarray(positive))),
            "squares": ("operation", native.sum_of_squares(at.asarray(a))),
        }

    expected = results(NUMPY)
    for name, (kind, found) in results(other).items():
        assert other.owns(found), name
        assert_close(to_numpy(found), expected[name][1], dtype, kind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_and_one_step(other, dtype, small):
    recipe = Recipe(choose("native", dtype))

    def results(at):
        start = learned(at, recipe)
        x, y = at.asarray(small["images"]), at.asarray(small["labels"], "int64")
        change, _ = backwards(recipe, start.parameters, x, y)
        step = Step(recipe, start)
        step.advance(Rows(x, y), at.asarray(np.arange(64)[::-1].copy()), 64, rates(recipe))
        return as_numpy(change), as_numpy(step.learned.parameters)

    (gradients, after), (expected_gradients, expected_after) = results(other), results(NUMPY)
    for name, value in expected_gradients.items():
        assert_close(gradients[name], value, dtype, "gradients")
        assert_close(after[name], expected_after[name], dtype, "step")


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_runs(other, dtype, small):
    test = small["test_images"], small["test_labels"]

    def run(at):
        mlp = backendmlp.MLP(
            20,
            epochs=2,
            numerics="native",
            dtype=dtype,
            backend=at.name,
            device=device(at),
        )
        mlp.fit(small["images"], small["labels"], test=test)
        return mlp, mlp.predict_proba(test[0])

    (found, shares), (expected, expected_shares) = run(other), run(NUMPY)
    for name, value in expected.parameters.items():
        assert_close(found.parameters[name], value, dtype, "run")
    assert_close(shares, expected_shares, dtype, "run")
    for here, there in zip(found.history, expected.history, strict=True):
        losses = np.array([here.train_loss, here.test_loss])
        assert_close(losses, np.array([there.train_loss, there.test_loss]), dtype, "run")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["uint8", "float"])
@pytest.mark.parametrize("batch", [1, 44, 300])
def test_compiled_steps_do_what_the_definition_does(steps, dtype, kind, batch, small):
    recipe = Recipe(choose("native", dtype))
    images = small["images"] if kind == "uint8" else small["images"].astype(dtype) / 255
    rows = Rows(images, small["labels"].astype(np.int64))
    defined = Step(recipe, learned(NUMPY, recipe))
    fast = steps.stepper(recipe, learned(NUMPY, recipe), rows)
    assert type(fast) is not Step
    for start in range(3):
        index = (np.arange(batch) * 7 + start) % 300
        expected, found = (
            step.advance(rows, index, batch, rates(recipe)) for step in (defined, fast)
        )
        for one, two in zip(found, expected, strict=True):
            assert_close(one, two, dtype, "gradients")
    expected = as_numpy(defined.learned.parameters)
    for name, value in as_numpy(fast.learned.parameters).items():
        assert_close(value, expected[name], dtype, "step")


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_bitwise_gradients_are_as_near_to_float64_as_float32s(backend, kind, small):
    images = small["images"] if kind == "uint8" else small["images"] / 255
    found = {}
    for numerics in ("bitwise", "native"):
        recipe = Recipe(choose(numerics, "float64"))
        p = learned(backend, recipe).parameters
        x, y = backend.asarray(images), backend.asarray(small["labels"], "int64")
        change, z = backwards(recipe, p, x, y)
        found[numerics] = {**as_numpy(change), "z": to_numpy(z)}
    for name, value in found["native"].items():
        kind = "operation" if name == "z" else "gradients"
        assert_close(found["bitwise"][name], value, "bitwise", kind)


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_arrays_of_a_device_come_back_as_arrays_of_that_device(other, numerics, small):
    images = other.asarray(small["images"])
    labels = other.asarray(small["labels"], "int64")
    mlp = backendmlp.MLP(8, epochs=1, numerics=numerics)  # its own backend is NumPy
    mlp.fit(images, labels, test=(images, labels))
    loss = mlp.loss(images, labels)
    for result in (mlp.predict(images), mlp.predict_proba(images), loss):
        assert other.owns(result)
        assert of(result).label == other.label
    assert loss.shape == ()
    assert mlp.predict(images).dtype == other.xp.int64
    assert all(isinstance(value, np.ndarray) for value in mlp.parameters.values())
    assert isinstance(mlp.predict(small["images"]), np.ndarray)


def test_numpy_arrays_come_back_as_numpy_arrays(backend, small):
    mlp = backendmlp.MLP(8, epochs=1, backend=backend.name, device=device(backend))
    mlp.fit(small["images"], small["labels"])
    images = small["test_images"]
    for result in (mlp.predict(images), mlp.predict_proba(images)):
        assert isinstance(result, np.ndarray)
    loss = mlp.loss(images, small["test_labels"])
    assert isinstance(loss, (np.ndarray, np.floating))  # NumPy's 0-d results are its scalars
