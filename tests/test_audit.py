"""Bitwise code uses operations on an allow-list only, and sums only what sums exactly."""

from __future__ import annotations

import dataclasses

import audit
import exact
import numpy as np
import pytest
from audit import ForbiddenError, audited

import backendmlp
from backendmlp import Config, features
from backendmlp.arithmetic import bitwise, choose, tables
from backendmlp.backend import namespace
from backendmlp.config import OPTIMIZERS
from backendmlp.network import evaluation, model
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.initial import initial
from backendmlp.network.losses import LOSSES, classes
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows

RATE = 0.5


# Between them they take every activation, loss and optimiser, and all that a step can be told.
RECIPES = {
    "plain": {},
    "momentum": {"activation": "tanh", "optimizer": "momentum", "label_smoothing": 0.1},
    "nesterov": {
        "loss": "squared_error", "optimizer": "nesterov", "l2": 0.1, "clip_norm": 0.1,
        "weighted": True,
    },
    "adam": {
        "hidden": (16, 8), "activation": "logistic", "optimizer": "adam", "l2": 0.1,
        "clip_norm": 0.1,
    },
    "adamw": {"hidden": (), "activation": "identity", "optimizer": "adamw", "weighted": True},
}  # fmt: skip


def recipe_of(name: str, arithmetic) -> tuple[Config, Recipe, bool]:
    choices = {"hidden": 16, **RECIPES[name]}
    weighted = choices.pop("weighted", False)
    config = Config(**choices)
    return config, dataclasses.replace(config.recipe(), arithmetic=arithmetic), weighted


def learned_from(config: Config, recipe: Recipe, wrap, features: int, unit=None) -> Learned:
    start = initial(config.sizes(features, 10), config.activation, 1)
    arrays = {name: wrap(value) for name, value in start.items()}
    return Learned.begin(recipe, model.settle(recipe.arithmetic, arrays, unit))


def rows_of(config: Config, wrap, x, labels: np.ndarray, weighted: bool) -> Rows:
    targets = np.eye(10)[labels] * 3.0 if config.regression else labels.astype(np.int64)
    weights = wrap(np.where(labels == 3, 0.0, labels + 0.7)) if weighted else None
    return Rows(x, wrap(targets), weights)


def train_and_evaluate(arithmetic, wrap, unwrap, images, labels, name="plain") -> list[np.ndarray]:
    """Two steps, a mean loss and an evaluation: every operation that a run's bits come from."""
    config, recipe, weighted = recipe_of(name, arithmetic)
    x, unit = wrap(images), None
    if arithmetic.name == "bitwise" and images.dtype != np.uint8:
        unit = features._unit(namespace(x).max(namespace(x).abs(x), axis=0))
        x = features._whole(features._in_units(x, unit))
    rows = rows_of(config, wrap, x, labels, weighted)
    step = Step(recipe, learned_from(config, recipe, wrap, images.shape[1], unit))
    rates = recipe.optimizer.coefficients(np.full(2, RATE), 0, config.weight_decay)
    both = [rates.at(0), rates.at(1)]
    for index, numbers in ((np.arange(40), both[0]), (np.arange(40, 70), both[1])):
        one = Coefficients(*(np.array([x]) for x in dataclasses.astuple(numbers)))
        parts = step.advance(rows, wrap(index), len(index), one)
    losses = recipe.loss.rows(arithmetic, parts)
    weights = None if rows.weights is None else rows.weights[40:70]
    scores = step.score(rows.inputs, rows.targets)
    loss = evaluation.loss(arithmetic, recipe.loss, scores)
    measures = recipe.loss.measures(arithmetic, scores.outputs, rows.targets)
    found = [
        *step.learned.as_dict(recipe).values(),
        evaluation.mean(arithmetic, losses, weights),
        loss,
        scores.outputs,
        *measures.values(),
        *([] if config.regression else [classes(scores.outputs)]),
    ]
    return [np.asarray(unwrap(value), np.float64) for value in found]


def under_audit(arithmetic, images, labels, name="plain") -> list[np.ndarray]:
    return train_and_evaluate(arithmetic, audited, lambda x: x.array, images, labels, name)


@pytest.fixture
def numbers(small) -> tuple[np.ndarray, np.ndarray]:
    return small["images"][:70, ::4].copy(), small["labels"][:70]


def standardised(images: np.ndarray) -> np.ndarray:
    return (images - images.mean(0)) / (images.std(0) + 1e-3)


def test_everything_that_can_be_chosen_is_audited():
    configs = [recipe_of(name, None)[0] for name in RECIPES]
    for choice, known in {
        "activation": ACTIVATIONS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
    }.items():
        assert {getattr(config, choice) for config in configs} == set(known)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_a_run_passes_the_audit_and_keeps_its_bits(kind, name, numbers):
    images, labels = numbers
    images = images if kind == "uint8" else standardised(images)
    bits = choose("bitwise")
    numpy = backendmlp.select("numpy")
    expected = train_and_evaluate(bits, numpy.asarray, lambda x: x, images, labels, name)
    found = under_audit(bits, images, labels, name)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


def test_the_list_holds_nothing_that_is_not_needed(numbers):
    tables._KEPT.clear()
    audit.NAMESPACE.used.clear()
    images, labels = numbers
    for name in RECIPES:
        under_audit(choose("bitwise"), images, labels, name)
    under_audit(choose("bitwise"), standardised(images), labels)
    lists = {*audit.FUNCTIONS, *audit.DTYPES, *audit.OPERATORS}
    assert lists - set(audit.NAMESPACE.used) == set()


@pytest.mark.parametrize(
    "name",
    ["exp", "log", "expm1", "log2", "pow", "mean", "std", "var", "prod", "cumulative_sum",
     "vecdot", "tensordot", "linalg", "fft", "round", "sin", "tanh", "float32"],
)  # fmt: skip
def test_other_functions_are_refused(name):
    assert namespace(audited(np.ones(3))) is audit.NAMESPACE
    with pytest.raises(ForbiddenError, match=name):
        getattr(audit.NAMESPACE, name)


def test_other_operators_are_refused():
    x = audited(np.ones((2, 2)))
    for forbidden in (lambda: x**2, lambda: x @ x, lambda: x // x, lambda: x % x):
        with pytest.raises(TypeError, match="unsupported operand"):
            forbidden()
    with pytest.raises(TypeError):
        float(x)
    assert {"__pow__", "__matmul__", "__mod__", "__floordiv__"} <= audit.names_beyond_the_list()
    assert not audit.names_beyond_the_list() & set(dir(audit.Audited)) - set(dir(object))


def test_divisions_that_libraries_take_for_products_are_refused():
    """PyTorch has the reciprocal times the number for one, and on CUDA likewise for the other."""
    x = audited(np.ones(3))
    for forbidden in (lambda: x / 3.0, lambda: 3.0 / x):
        with pytest.raises(ForbiddenError, match="a division"):
            forbidden()
    assert np.asarray((1.0 / x / x).array).tolist() == [1.0, 1.0, 1.0]


def test_native_arithmetic_is_refused(numbers):
    with pytest.raises(ForbiddenError, match="not exact"):
        under_audit(choose("native", "float64"), *numbers)


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_one_bit_too_many_is_refused(kind, numbers, monkeypatch):
    """The check sees through to the operands: a single bit more, and a partial sum may round."""
    images, labels = numbers
    images = images if kind == "uint8" else standardised(images)
    monkeypatch.setattr(bitwise, "MANTISSA", bitwise.MANTISSA + 2)
    with pytest.raises(ForbiddenError, match="not exact"):
        under_audit(choose("bitwise"), images, labels)


def test_a_root_that_is_not_put_right_is_found(numbers, monkeypatch):
    """Under audit every root comes one unit off, as some of PyTorch's do."""
    bits, numpy = choose("bitwise"), backendmlp.select("numpy")
    monkeypatch.setattr(type(bits), "sqrt", lambda _, x: namespace(x).sqrt(x))
    expected = train_and_evaluate(bits, numpy.asarray, lambda x: x, *numbers, "adam")
    found = under_audit(bits, *numbers, "adam")
    assert list(map(exact.bits, found)) != list(map(exact.bits, expected))


@pytest.mark.parametrize("forbidden", ["exp", "mean", "std"])
def test_a_model_that_strays_is_refused(forbidden, numbers, monkeypatch):
    def stray(arithmetic, values, weights=None):
        return getattr(namespace(values), forbidden)(values)

    monkeypatch.setattr(evaluation, "mean", stray)
    with pytest.raises(ForbiddenError, match=forbidden):
        under_audit(choose("bitwise"), *numbers)


@pytest.mark.parametrize(("numerics", "calls"), [("bitwise", 120), ("native", 49)])
def test_a_step_takes_few_calls(numerics, calls, numbers, monkeypatch):
    """Each is a launch on a GPU; 241 and 56 at first, then 196 and 53, 125 and 49."""
    monkeypatch.setattr(audit, "check_product", lambda *_: None)
    monkeypatch.setattr(audit, "check_sum", lambda *_: None)
    monkeypatch.setitem(audit.FUNCTIONS, "exp", "native")
    images, labels = numbers
    arithmetic = choose(numerics, "float64")
    config, recipe, _ = recipe_of("plain", arithmetic)
    rows = rows_of(config, audited, audited(images), labels, weighted=False)
    step = Step(recipe, learned_from(config, recipe, audited, images.shape[1]))
    rates = recipe.optimizer.coefficients(np.full(1, RATE), 0, 0.0)
    given = rows, audited(np.arange(70)), 70, rates
    step.advance(*given)  # sends the tables
    audit.NAMESPACE.used.clear()
    step.advance(*given)
    counted = {k: v for k, v in audit.NAMESPACE.used.items() if k not in audit.DTYPES}
    assert sum(counted.values()) <= calls, counted
