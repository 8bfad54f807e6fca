"""How many bits exactness costs: bitwise results beside float32's and float64's."""

from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction

import exact
import numpy as np
import pytest

from backendmlp.arithmetic import choose
from backendmlp.arithmetic.bitwise import Bitwise, product_bits

BITWISE = Bitwise()
DIGITS = Context(prec=40)


def products(a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):  # what leaves float32's range, and infinity times zero
        single = a.astype(np.float32) @ b.astype(np.float32)
    return {"bitwise": BITWISE.matmul(a, b), "float32": single, "float64": a @ b}


def worst(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Each product's largest error against rational arithmetic, relative to abs(a) @ abs(b)."""
    return {name: exact.errors(c, a, b).max() for name, c in products(a, b).items()}


@pytest.mark.parametrize("inner", [2, 10, 100, 784])
def test_random_matrices(inner):
    rng = np.random.default_rng(inner)
    found = worst(rng.normal(size=(12, inner)), rng.normal(size=(inner, 10)))
    assert found["bitwise"] <= 4 * found["float32"], found
    assert found["float64"] < found["bitwise"], found


def test_rows_and_columns_of_any_scale_keep_their_accuracy():
    """Each row and column has a scale of its own; in float32 most entries are lost altogether."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 100)), rng.normal(size=(100, 10))
    even = worst(a, b)
    found = worst(
        a * 10.0 ** rng.uniform(-60, 60, (12, 1)), b * 10.0 ** rng.uniform(-60, 60, (1, 10))
    )
    assert found["bitwise"] <= 4 * even["float32"], found
    assert found["float32"] == 1.0, found


def test_scales_that_vary_within_a_row_cost_bits_and_the_bound_says_how_many():
    """The honest case: one grid for each row. The error is bounded by the row's largest entry."""
    rng = np.random.default_rng(0)
    inner = 100
    scales = 10.0 ** rng.uniform(-4, 4, inner)
    a, b = rng.normal(size=(12, inner)) * scales, rng.normal(size=(inner, 10)) / scales[:, None]
    found = worst(a, b)
    assert found["bitwise"] > found["float32"], found

    exactly = exact.integers(a) @ exact.integers(b)
    tops = np.abs(a).max(axis=1)[:, None] * np.abs(b).max(axis=0)
    bound = tops * inner * 4 * 2.0 ** -min(product_bits(inner))
    for at, value in np.ndenumerate(BITWISE.matmul(a, b)):
        distance = abs(Fraction(value) - Fraction(exactly[at], exact.SCALE**2))
        assert distance <= bound[at]


def test_pixels_leave_their_factor_nearly_all_of_its_bits():
    rng = np.random.default_rng(0)
    pixels, weights = rng.integers(0, 256, (12, 784), dtype=np.uint8), rng.normal(size=(784, 10))
    error = exact.errors(BITWISE.matmul(pixels, weights), pixels.astype(float), weights).max()
    assert error < 2.0**-33


def ulps(found: np.ndarray, exactly: list[Decimal]) -> float:
    """The largest distance in units in the last place."""
    return max(
        float(abs(Decimal(value) - true) / Decimal(math.ulp(float(true))))
        for value, true in zip(found.tolist(), exactly, strict=True)
    )


@pytest.mark.parametrize("lowest", [1e-9, 0.1, 1.0, 40.0, 707.0])
def test_exp_is_within_two_units_in_the_last_place(lowest):
    x = -np.random.default_rng(1).uniform(0, lowest, 1500)
    exactly = [DIGITS.exp(Decimal(value)) for value in x.tolist()]
    assert ulps(BITWISE.exp(x), exactly) <= 2


@pytest.mark.parametrize("within", ["classes", "near one", "everything"])
def test_log_is_within_one_unit_in_the_last_place(within):
    rng = np.random.default_rng(2)
    x = {
        "classes": rng.uniform(1, 1000, 1500),
        "near one": 1 + rng.normal(size=1500) * 10.0 ** rng.uniform(-15, -1, 1500),
        "everything": np.exp2(rng.uniform(-1019, 1019, 1500)),
    }[within]
    x = x[(x > 0) & (x != 1)]
    exactly = [DIGITS.ln(Decimal(value)) for value in x.tolist()]
    assert ulps(BITWISE.log(x), exactly) <= 1


def points(kind: str) -> np.ndarray:
    """Where tanh and the logistic function could go wrong: positive arguments, 1,200 or so."""
    rng = np.random.default_rng(3)
    edges = (np.arange(400) + 0.5) * math.log(2) / 128  # between two entries of the table
    return {
        "tiny": np.exp2(rng.uniform(-1021, -9, 1200)),
        "table edges": np.concatenate([edges, np.nextafter(edges, 0.0), np.nextafter(edges, 9.0)]),
        "every scale": np.exp2(rng.uniform(-9, 5, 1200)),
        "near zero": rng.uniform(0, 0.05, 1200),
        "large": rng.uniform(5, 21, 1200),
    }[kind]


KINDS = ["tiny", "table edges", "every scale", "near zero", "large"]


def exact_tanh(x: float) -> Decimal:
    """By digits enough for the difference; of a tiny number by two terms of the series."""
    x = Decimal(x)
    if x < Decimal("1e-12"):
        return DIGITS.subtract(x, DIGITS.divide(DIGITS.power(x, 3), 3))
    power = DIGITS.exp(-2 * x)
    return DIGITS.divide(DIGITS.subtract(1, power), DIGITS.add(1, power))


@pytest.mark.parametrize("kind", KINDS)
def test_tanh_is_within_four_units_in_the_last_place(kind):
    x = points(kind)
    found = BITWISE.tanh(x)
    assert ulps(found, [exact_tanh(value) for value in x.tolist()]) <= 4
    assert exact.bits(BITWISE.tanh(-x)) == exact.bits(-found)
    assert (found <= 1.0).all()
    assert kind != "table edges" or (np.diff(found.reshape(3, -1), axis=1) > 0.0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("scale", [1.0, 22.0])
def test_logistic_is_within_three_units_in_the_last_place(kind, sign, scale):
    x = points(kind) * sign * scale
    exactly = [DIGITS.divide(1, 1 + DIGITS.exp(Decimal(-value))) for value in x.tolist()]
    assert ulps(BITWISE.logistic(x), exactly) <= 3


def test_the_native_functions_are_right_too():
    x = np.concatenate([-points("every scale"), points("every scale"), [-1e4, 1e4]])
    for dtype in ("float32", "float64"):
        arithmetic, given = choose("native", dtype), x.astype(dtype)
        with np.errstate(all="raise", under="ignore"):
            found = arithmetic.tanh(given), arithmetic.logistic(given)
            total, root = arithmetic.sum_of_squares(given), arithmetic.sqrt(abs(given))
        tolerance = 4 * np.finfo(dtype).eps
        for values, expected in zip(found, (BITWISE.tanh(x), BITWISE.logistic(x)), strict=True):
            assert values.dtype == dtype
            np.testing.assert_allclose(values, expected, tolerance * 40, tolerance)
        np.testing.assert_allclose(total, BITWISE.sum_of_squares(x), tolerance + 1e-9)
        np.testing.assert_allclose(root, BITWISE.sqrt(abs(x)), tolerance)
