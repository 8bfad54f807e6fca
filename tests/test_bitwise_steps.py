"""Compiled bitwise steps have the bits of the definition, where they apply and elsewhere."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import exact
import numpy as np
import pytest
import stepping
from compiled_cases import draw
from hypothesis import given, settings
from hypothesis import strategies as st

import backendmlp
from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.backend import to_numpy
from backendmlp.network import evaluation, model
from backendmlp.network.recipe import Recipe
from backendmlp.steps import compiled
from backendmlp.steps.definition import Step

BITWISE = Bitwise()
NUMPY = backendmlp.select("numpy")


def problem(seed: int, features: int, hidden: int, classes: int, count: int):
    """Pixels (some units and pixels dead, as in real images), labels and starting parameters."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, features), dtype=np.uint8)
    images[:, rng.random(features) < 0.2] = 0
    start = stepping.start(features, hidden, classes, seed)
    start["b1"] = np.where(rng.random(hidden) < 0.2, -1e4, rng.normal(size=hidden))
    return images, rng.integers(0, classes, count), start


def settled(backend, start: dict[str, np.ndarray], scale: float = 1.0) -> model.Parameters:
    scaled = {name: backend.asarray(value * scale) for name, value in start.items()}
    return model.settle(BITWISE, scaled)


def trace(step, backend, images, labels, batches: list[np.ndarray], size=10**9) -> list:
    """The bits of everything a step returns and leaves behind, call by call."""
    x, y = backend.asarray(images), backend.asarray(labels, "int64")
    found = []
    with np.errstate(all="ignore"):  # learning rates that diverge are part of the test
        for index in batches:
            returned = step.advance(x, y, backend.asarray(index, "int64"), size)
            left = step.parameters.as_dict().values()
            found.append([exact.bits(to_numpy(value)) for value in (*returned, *left)])
    return found


def assert_same_steps(steps, seed, features, hidden, classes, batch, rate, scale) -> None:
    images, labels, start = problem(seed, features, hidden, classes, 100)
    order = np.random.default_rng(seed).permutation(100)
    batches = [order[:batch], order[-batch:], order[: batch // 2 + 1], order[1 : batch + 1]]
    p = settled(NUMPY, start, scale)
    both = stepping.defined(BITWISE, p, rate), stepping.quick(BITWISE, p, rate, images)
    expected, found = (trace(step, NUMPY, images, labels, batches) for step in both)
    for number, (one, two) in enumerate(zip(found, expected, strict=True)):
        names = ("totals", "picked", "W1", "b1", "W2", "b2")
        differ = [name for name, a, b in zip(names, one, two, strict=True) if a != b]
        assert differ == [], f"step {number}"


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    features=st.integers(1, 50),
    hidden=st.integers(1, 30),
    classes=st.integers(2, 12),
    batch=st.integers(1, 70),
    rate=st.integers(-6, 12).map(lambda power: 10.0**power) | st.floats(1e-6, 10.0),
    scale=st.sampled_from([1.0, 1.0, 100.0, 2.0**23, 2.0**40, 1e-8, 0.0]),
)
def test_the_bits_are_those_of_the_definition(steps, **drawn):
    assert_same_steps(steps, **drawn)


@pytest.mark.parametrize("scale", [2.0**100, 2.0**440, 2.0**600, 2.0**980])
def test_also_far_beyond_all_limits(steps, scale):
    assert_same_steps(steps, 3, 20, 10, 5, 16, 0.1, scale)


@pytest.mark.parametrize("rate", [1e100, 1e200, 1e300])
def test_also_where_one_step_leads_far_beyond_all_limits(steps, rate):
    assert_same_steps(steps, 3, 20, 10, 5, 16, rate, 1.0)


def assert_same_bits(both, images, labels, batches) -> None:
    expected, *found = (trace(step, NUMPY, images, labels, batches) for step in both)
    for one in found:
        assert one == expected


@pytest.mark.parametrize("rate", [1e29, 1e32, 1e120, 1e140, 1e300, 1e-300, 1e-310, 5e-324])
@pytest.mark.parametrize("scale", [0.0, 1e-300, 2.0**-30, 1.0])
def test_also_at_any_rate_however_small_the_output_weights(steps, rate, scale):
    """A rate of 1e140 passed where W2 is zero, and the weights stayed finite."""
    images, labels, _ = problem(3, 5, 5, 3, 50)
    rng = np.random.default_rng(3)
    W1, W2 = rng.normal(size=(5, 5)), rng.normal(size=(5, 3)) * scale
    p = model.Parameters((BITWISE.settle(W1), W2), (np.ones(5), np.zeros(3)))
    both = stepping.defined(BITWISE, p, rate), stepping.quick(BITWISE, p, rate, images)
    assert_same_bits(both, images, labels, [np.arange(50), np.arange(20), np.arange(50)])


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
@pytest.mark.parametrize("power", [98, 100, 101, 449, 451])
def test_also_where_one_weight_alone_is_huge(steps, name, power):
    images, labels, start = problem(3, 5, 4, 3, 50)
    for rate in (0.1, 2.0**99, 2.0**300):
        changed = {**start, name: start[name].copy()}
        changed[name].flat[1] = 2.0**power
        p = settled(NUMPY, changed)
        both = stepping.defined(BITWISE, p, rate), stepping.quick(BITWISE, p, rate, images)
        assert_same_bits(both, images, labels, [np.arange(50), np.arange(20)])


@pytest.mark.parametrize("value", [2.0**-30, -0.0, 5e-324, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
def test_also_with_a_weight_that_is_not_on_the_grid(steps, name, value):
    images, labels, start = problem(4, 20, 10, 5, 100)
    p = settled(NUMPY, start)
    p.as_dict()[name].flat[3] = value
    both = stepping.defined(BITWISE, p, 0.1), stepping.quick(BITWISE, p, 0.1, images)
    assert_same_bits(both, images, labels, [np.arange(50), np.arange(50, 100)])


def test_also_where_no_weight_is_on_the_grid(steps):
    """As a file may hold them: they pass the definition's rounding, and are rounded there."""
    images, labels, start = problem(4, 784, 10, 5, 100)
    p = model.Parameters.of(start)
    both = stepping.defined(BITWISE, p, 0.1), stepping.quick(BITWISE, p, 0.1, images)
    assert_same_bits(both, images, labels, [np.arange(50), np.arange(50, 100)])


def test_also_where_the_batch_is_much_larger_than_the_features(steps):
    """What rounding the deltas adds to the weights was once left out of their bound."""
    n = 2052
    images, labels = np.full((2 * n, 1), 255, np.uint8), np.repeat([1, 0], n)
    p = model.Parameters(
        (np.array([[0.0]]), np.array([[0.0, 1089.4800415039062]])),
        (np.array([1.0004859250038862]), np.array([2.0**16, 0.0])),
    )
    rate = 15.038366354070604
    expected, found = (
        [list(map(exact.bits, step.advance(images, labels, np.arange(2 * n), n)))]
        + [exact.bits(value) for value in step.parameters.as_dict().values()]
        for step in (stepping.defined(BITWISE, p, rate), stepping.quick(BITWISE, p, rate, images))
    )
    assert found == expected


@pytest.mark.parametrize("scale", [1.0, 2.0**30, 2.0**980])
def test_parameters_come_back_as_they_went_in(steps, scale):
    images, _, start = problem(3, 20, 40, 5, 1)
    p = settled(NUMPY, start, scale)
    kept = stepping.quick(BITWISE, p, 0.1, images).parameters
    for name, value in p.as_dict().items():
        assert exact.bits(kept.as_dict()[name]) == exact.bits(value), name


def test_also_at_784_pixels(steps):
    assert_same_steps(steps, 3, 784, 100, 10, 64, 0.1, 1.0)
    assert_same_steps(steps, 3, 784, 30, 10, 64, 3.0, 60.0)  # at the limit of 64, and over it


@pytest.mark.parametrize(("scale", "defined"), [(1.0, 0), (2.0**23, 0), (2.0**104, 7)])
def test_the_definition_steps_in_only_where_a_weight_is_beyond_all_compiled_steps(
    steps, scale, defined
):
    """At 784 pixels weights of up to 64 enter their product unrounded, others rounded."""
    images, labels, start = problem(1, 784, 10, 10, 100)
    step = stepping.quick(BITWISE, settled(NUMPY, start, scale), 0.1, images)
    with mock.patch.object(step.step, "_define", wraps=step.step._define) as counted:
        assert step.advance(images, labels, np.arange(84), 12)[0].shape == (84,)
    assert sum(len(call.args[1]) for call in counted.call_args_list) >= 12 * defined
    assert counted.called == (defined > 0)


@pytest.mark.parametrize("rate", [10.0, 1e3, 1e8, 1e20, 1e29, 1e40])
@pytest.mark.parametrize("hidden", [10, 60])
def test_trainings_that_go_wild_have_the_same_bits(steps, rate, hidden):
    """Their steps were nearly all left to the definition, each after a compiled attempt: 25 ms."""
    images, labels, start = problem(hidden, 784, hidden, 10, 400)
    orders = np.array_split(np.random.default_rng(0).permutation(400), 3)
    p = settled(NUMPY, start)
    with np.errstate(all="ignore"):
        expected, found = (
            trace(step, NUMPY, images, labels, [*orders, *orders], 16)
            for step in (
                stepping.defined(BITWISE, p, rate),
                stepping.quick(BITWISE, p, rate, images),
            )
        )
    assert found == expected


def test_a_rate_at_which_weights_outgrow_the_pixels_needs_no_definition(steps):
    images, labels, start = problem(1, 784, 30, 10, 400)
    step = stepping.quick(BITWISE, settled(NUMPY, start), 1e3, images)
    with mock.patch.object(step.step, "_define", side_effect=AssertionError):
        step.advance(images, labels, np.arange(400), 16)
    assert np.abs(step.parameters.weights[0]).max() > 1e3


def test_what_never_fits_is_seldom_tried_and_may_fit_again(steps):
    images, labels, start = problem(1, 20, 10, 5, 1000)
    start["b2"][0] = 2.0**101
    step = stepping.quick(BITWISE, settled(NUMPY, start), 0.1, images)
    with mock.patch.object(step.step, "_compute", wraps=step.step._compute) as tried:
        step.advance(images, labels, np.arange(1000), 10)
        assert 3 < tried.call_count < 10
        before = step.parameters
        both = step, stepping.defined(BITWISE, before, 0.1)
        one, two = (exact.bits(each.score(images, labels).outputs) for each in both)
        assert one == two
        assert all(np.array_equal(step.parameters.as_dict()[k], v)
                   for k, v in before.as_dict().items())  # fmt: skip


def test_every_backend_takes_the_same_steps(backend):
    images, labels, start = problem(5, 30, 12, 4, 80)
    batches = [np.arange(40), np.arange(40, 80), np.arange(7)]
    expected = trace(
        stepping.defined(BITWISE, settled(NUMPY, start), 0.3), NUMPY, images, labels, batches
    )
    step = stepping.chosen(backend, BITWISE, settled(backend, start), 0.3, backend.asarray(images))
    quick = backend.kernels is not None or (backend.in_memory and compiled.available())
    assert (type(step.step) is Step) is not quick
    assert trace(step, backend, images, labels, batches) == expected


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_every_backend_takes_the_same_steps_on_float_images(other, scale):
    images, labels, start = problem(6, 30, 12, 4, 80)
    images = images / 255 * scale
    batches = [np.arange(40), np.arange(40, 80)]
    expected, found = (
        trace(stepping.defined(BITWISE, settled(at, start), 0.1), at, images, labels, batches)
        for at in (NUMPY, other)
    )
    assert found == expected
    assert type(stepping.chosen(NUMPY, BITWISE, settled(NUMPY, start), 0.1, images).step) is Step


def test_a_row_does_not_depend_on_the_rows_beside_it(backend):
    images, _, start = problem(7, 30, 12, 4, 80)
    p = settled(backend, start)

    def shares(rows):
        return exact.bits(to_numpy(evaluation.outputs(Recipe(BITWISE), p, backend.asarray(rows))))

    together = shares(images)
    assert [shares(images[i : i + 1])[0] for i in range(80)] == together
    assert shares(images[::-1].copy()) == together[::-1]


class Contrary(Bitwise):
    """A library whose sums of zeros alone are -0."""

    def matmul(self, a, b):
        return turned(super().matmul(a, b))

    def gradients(self, pairs):
        return [(turned(product), total) for product, total in super().gradients(pairs)]


def turned(product: np.ndarray) -> np.ndarray:
    return np.where(product == 0.0, -0.0, product)


def test_the_sign_of_a_zero_that_libraries_disagree_on_shows_nowhere():
    for seed in range(30):
        case = draw(seed, "bitwise", wild=seed % 3 == 0)
        expected = case.after(Step(case.recipe, case.learned))
        contrary = replace(case.recipe, arithmetic=Contrary())
        found = case.after(Step(contrary, case.learned))
        for name, value in expected.items():
            assert exact.bits(found[name]) == exact.bits(value), (seed, name, case.described)
