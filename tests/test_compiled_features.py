"""Compiled bitwise steps on settled features: the bits of the definition, or its work."""

from __future__ import annotations

import exact
import numpy as np
import pytest
import stepping
import threadpoolctl

import backendmlp
from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.network import evaluation, model
from backendmlp.network.recipe import Recipe

BITWISE = Bitwise()
NUMPY = backendmlp.select("numpy")


def problem(features: int, hidden: int, powers: tuple[int, int] = (-20, -10), scale: float = 1.0):
    rng = np.random.default_rng(features)
    x = rng.integers(-(2**17), 2**17, (300, features)).astype(np.int32)
    x[::7] *= 8  # later values may be that much larger
    x[:, rng.random(features) < 0.2] = 0
    unit = 2.0 ** rng.integers(*powers, features)
    start = stepping.start(features, hidden, 5, seed=1)
    start["W1"] = start["W1"] * scale
    return x, rng.integers(0, 5, 300), model.settle(BITWISE, start, unit)


def after(step, x, labels, size: int) -> list:
    order = np.random.default_rng(0).permutation(300)
    with np.errstate(all="ignore"):
        found = [*step.advance(x, labels, order, size), *step.parameters.as_dict().values()]
    return list(map(exact.bits, found))


@pytest.mark.parametrize(("features", "hidden"), [(1, 1), (3, 7), (30, 50), (784, 30)])
@pytest.mark.parametrize("size", [1, 64, 299, 300])
@pytest.mark.parametrize("rate", [0.1, 100.0])
def test_the_bits_are_those_of_the_definition(steps, features, hidden, size, rate):
    x, labels, p = problem(features, hidden)
    step = stepping.quick(BITWISE, p, rate, x)
    assert after(step, x, labels, size) == after(
        stepping.defined(BITWISE, p, rate), x, labels, size
    )
    assert step.parameters.unit.tobytes() == p.unit.tobytes()


@pytest.mark.parametrize("powers", [(-40, -39), (-40, 40), (30, 40)])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 2.0**40, 2.0**99, 2.0**200])
def test_also_with_units_and_weights_far_apart(steps, powers, scale):
    x, labels, p = problem(20, 10, powers, scale)
    for rate in (1e-9, 0.1, 1e40):
        step = stepping.quick(BITWISE, p, rate, x)
        assert after(step, x, labels, 100) == after(
            stepping.defined(BITWISE, p, rate), x, labels, 100
        )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_and_rows_for_scores(steps, threads):
    x, labels, p = problem(40, 100)
    with threadpoolctl.threadpool_limits(threads, "blas"):
        step = stepping.quick(BITWISE, p, 0.1, x)
        found = step.score(x, labels)
        assert after(step, x, labels, 64) == after(stepping.defined(BITWISE, p, 0.1), x, labels, 64)
    expected = evaluation.score(Recipe(BITWISE), p, x, labels)
    assert exact.bits(found.outputs) == exact.bits(expected.outputs)


def test_units_out_of_range_and_weights_off_the_grid_are_the_definitions(steps):
    x, labels, p = problem(20, 10)
    far = model.Parameters.of(p.as_dict(), p.unit * 2.0**-440)
    one, two = stepping.quick(BITWISE, far, 0.1, x), stepping.defined(BITWISE, far, 0.1)
    assert after(one, x, labels, 100) == after(two, x, labels, 100)
    for value in (1 / 3, 5e-324, np.nan):
        p.weights[0][3, 3] = value
        step = stepping.quick(BITWISE, p, 0.1, x)
        assert after(step, x, labels, 100) == after(
            stepping.defined(BITWISE, p, 0.1), x, labels, 100
        )
