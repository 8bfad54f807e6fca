"""Bitwise code uses operations on an allow-list only, and sums only what sums exactly."""

from __future__ import annotations

import audit
import exact
import numpy as np
import pytest
from audit import ForbiddenError, audited

import backendmlp
from backendmlp import features
from backendmlp.arithmetic import bitwise, choose, tables
from backendmlp.backend import namespace
from backendmlp.network import evaluation, model
from backendmlp.steps.definition import Step

RATE = 0.5


def train_and_evaluate(arithmetic, wrap, unwrap, images, labels) -> list[np.ndarray]:
    """Two steps, a mean loss and an evaluation: every operation that a run's bits come from."""
    start = model.he_normal(images.shape[1], 16, 10, seed=1)
    x, y = wrap(images), wrap(labels.astype(np.int64))
    unit = None
    if arithmetic.name == "bitwise" and images.dtype != np.uint8:
        unit = features._unit(x)
        x = features._whole(features._in_units(x, unit))
    p = model.settle(arithmetic, {name: wrap(value) for name, value in start.items()}, unit)
    step = Step(arithmetic, p, RATE)
    for index in (np.arange(40), np.arange(40, 70)):
        totals, picked = step.advance(x, y, wrap(index), len(index))
    losses = model.cross_entropy(arithmetic, totals, picked)
    mean = model.mean(arithmetic, losses)
    scores = evaluation.score(arithmetic, step.parameters, x, y)
    loss, shares = evaluation.loss(arithmetic, scores), scores.probabilities
    squares = arithmetic.sum_of_squares(step.parameters.W1)
    functions = arithmetic.tanh(totals - 3.0), arithmetic.logistic(picked)
    norm = arithmetic.sqrt(squares)
    found = [
        *functions,
        norm,
        *step.parameters.as_dict().values(),
        mean,
        loss,
        shares,
        evaluation.classes(shares),
    ]
    return [np.asarray(unwrap(value), np.float64) for value in found]


def under_audit(arithmetic, images, labels) -> list[np.ndarray]:
    return train_and_evaluate(arithmetic, audited, lambda x: x.array, images, labels)


@pytest.fixture
def numbers(small) -> tuple[np.ndarray, np.ndarray]:
    return small["images"][:70, ::4].copy(), small["labels"][:70]


def standardised(images: np.ndarray) -> np.ndarray:
    return (images - images.mean(0)) / (images.std(0) + 1e-3)


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_a_run_passes_the_audit_and_keeps_its_bits(kind, numbers):
    images, labels = numbers
    images = images if kind == "uint8" else standardised(images)
    bits = choose("bitwise")
    numpy = backendmlp.select("numpy")
    expected = train_and_evaluate(bits, numpy.asarray, lambda x: x, images, labels)
    found = under_audit(bits, images, labels)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


def test_the_list_holds_nothing_that_is_not_needed(numbers):
    tables._KEPT.clear()
    audit.NAMESPACE.used.clear()
    images, labels = numbers
    under_audit(choose("bitwise"), images, labels)
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
    expected = train_and_evaluate(bits, numpy.asarray, lambda x: x, *numbers)
    found = under_audit(bits, *numbers)
    assert list(map(exact.bits, found)) != list(map(exact.bits, expected))


@pytest.mark.parametrize("forbidden", ["exp", "mean", "std"])
def test_a_model_that_strays_is_refused(forbidden, numbers, monkeypatch):
    def stray(arithmetic, values):
        return getattr(namespace(values), forbidden)(values)

    monkeypatch.setattr(model, "mean", stray)
    with pytest.raises(ForbiddenError, match=forbidden):
        under_audit(choose("bitwise"), *numbers)


@pytest.mark.parametrize(("numerics", "calls"), [("bitwise", 125), ("native", 49)])
def test_a_step_takes_few_calls(numerics, calls, numbers, monkeypatch):
    """Each is a launch on a GPU; 241 and 56 at first, then 196 and 53."""
    monkeypatch.setattr(audit, "check_product", lambda *_: None)
    monkeypatch.setattr(audit, "check_sum", lambda *_: None)
    monkeypatch.setitem(audit.FUNCTIONS, "exp", "native")
    images, labels = numbers
    arithmetic = choose(numerics, "float64")
    start = model.he_normal(images.shape[1], 16, 10, seed=1)
    p = model.settle(arithmetic, {name: audited(value) for name, value in start.items()})
    given = audited(images), audited(labels.astype(np.int64)), audited(np.arange(70)), 70
    step = Step(arithmetic, p, RATE)
    step.advance(*given)  # sends the tables
    audit.NAMESPACE.used.clear()
    step.advance(*given)
    counted = {k: v for k, v in audit.NAMESPACE.used.items() if k not in audit.DTYPES}
    assert sum(counted.values()) <= calls, counted
