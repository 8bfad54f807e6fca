"""Bitwise arithmetic: exact by definition, whatever the order, layout and library."""

from __future__ import annotations

import math
from fractions import Fraction

import exact
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backendmlp
from backendmlp import bitwise
from backendmlp.arithmetic.bitwise import FEATURE_BITS, PIXEL_BITS, Bitwise, product_bits, sum_bits
from backendmlp.backend import to_numpy
from backendmlp.config import Config
from backendmlp.network import evaluation, model
from backendmlp.steps.scoring import Scorer

BITWISE = Bitwise()
NUMPY = backendmlp.select("numpy")
quick = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 40)


def matrix(seed: int, shape: tuple[int, int], spread: int = 0) -> np.ndarray:
    """Random entries whose rows and columns are of sizes up to 2**spread apart."""
    rng = np.random.default_rng(seed)
    exponents = rng.integers(-spread, spread + 1, (shape[0], 1))
    exponents = exponents + rng.integers(-spread, spread + 1, (1, shape[1]))
    return np.ldexp(rng.normal(size=shape), exponents)


def pixels(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def whole_features(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Settled features, the largest of either sign among them."""
    x = np.random.default_rng(seed).integers(-(2**20), 2**20, shape, np.int32, endpoint=True)
    x[0, 0], x[-1, -1] = 2**20, -(2**20)
    return x


def test_no_sum_of_rounded_factors_exceeds_53_bits():
    """The worst case, every entry at its largest and of one sign, in Python's whole numbers."""
    for terms in range(1, 70_001):
        addend, (left, right) = sum_bits(terms), product_bits(terms)
        beside, again = product_bits(terms, beside_pixels=True)
        assert terms * 2**addend <= 2**53
        assert terms * 2**left * 2**right <= 2**53
        assert terms * (2**PIXEL_BITS - 1) * 2**beside <= 2**53
        assert beside == again
        of_features, again = product_bits(terms, beside_features=True)
        assert terms * 2**FEATURE_BITS * 2**of_features <= 2**53
        assert of_features == again
        assert terms < 3 or terms * 2 ** (left + right + 1) > 2**53  # and no bit is wasted


@quick
@given(seeds, sizes, sizes, sizes, st.sampled_from([0, 8, 60]))
def test_a_product_is_the_exact_product_of_its_rounded_factors(seed, m, k, n, spread):
    a, b = matrix(seed, (m, k), spread), matrix(seed + 1, (k, n), spread)
    expected = exact.bitwise_product(a, b, *product_bits(k))
    assert exact.fractions(BITWISE.matmul(a, b)) == expected
    product, total = BITWISE.transposed_matmul_and_sum(a.T.copy(), b)
    assert exact.fractions(product) == expected
    columns = [exact.rounded(column, product_bits(k)[1]) for column in b.T]
    assert [Fraction(value) for value in total.tolist()] == list(map(sum, columns))


@quick
@given(seeds, sizes, sizes, sizes)
def test_pixels_are_exact_as_they_stand(seed, m, k, n):
    a, b = pixels(seed, (m, k)), matrix(seed, (k, n), 20)
    bits = product_bits(k, beside_pixels=True)[1]
    columns = [exact.rounded(column, bits) for column in b.T]
    expected = [[sum(int(p) * w for p, w in zip(r, c, strict=True)) for c in columns] for r in a]
    assert exact.fractions(BITWISE.matmul(a, b)) == expected
    assert exact.fractions(BITWISE.transposed_matmul_and_sum(a.T, b)[0]) == expected


@pytest.mark.slow
@settings(deadline=None, max_examples=8)  # whole numbers as Python's own are slow
@given(seeds, sizes, st.integers(1, 300), sizes)
def test_settled_features_are_exact_as_they_stand(seed, m, k, n):
    a, b = whole_features(seed, (m, k)), matrix(seed, (k, n), 20)
    bits = product_bits(k, beside_features=True)[1]
    columns = [exact.rounded(column, bits) for column in b.T]
    expected = [[sum(int(q) * w for q, w in zip(r, c, strict=True)) for c in columns] for r in a]
    assert exact.fractions(BITWISE.matmul(a, b)) == expected
    product, total = BITWISE.transposed_matmul_and_sum(a.T, b)
    assert exact.fractions(product) == expected
    assert [Fraction(value) for value in total.tolist()] == list(map(sum, columns))


@quick
@given(seeds, st.integers(1, 300))
def test_a_sum_is_the_exact_sum_of_its_rounded_addends(seed, terms):
    x = matrix(seed, (terms, 3), 10)
    expected = [sum(exact.rounded(column, sum_bits(terms))) for column in x.T]
    assert [Fraction(value) for value in BITWISE.sum(x, 0).tolist()] == expected
    assert exact.bits(BITWISE.sum(x.T, 1)) == exact.bits(BITWISE.sum(x, 0))
    assert exact.bits(BITWISE.sum(-x, 0) + 0.0) == exact.bits(-BITWISE.sum(x, 0) + 0.0)


@quick
@given(seeds, sizes, st.integers(2, 300), sizes, st.booleans())
def test_the_order_of_the_inner_dimension_does_not_matter(seed, m, k, n, of_pixels):
    a = pixels(seed, (m, k)) if of_pixels else matrix(seed, (m, k), 5)
    b = matrix(seed + 1, (k, n), 5)
    order = np.random.default_rng(seed).permutation(k)
    assert exact.bits(BITWISE.matmul(a[:, order], b[order])) == exact.bits(BITWISE.matmul(a, b))
    one = BITWISE.transposed_matmul_and_sum(a.T, b)
    two = BITWISE.transposed_matmul_and_sum(a.T[order], b[order])
    assert list(map(exact.bits, one)) == list(map(exact.bits, two))
    assert exact.bits(BITWISE.sum(b[order], 0)) == exact.bits(BITWISE.sum(b, 0))


@quick
@given(seeds, sizes, st.integers(2, 300), sizes, st.data())
def test_rounded_factors_may_be_split_anywhere_and_added_up(seed, m, k, n, data):
    """As micro-batches or workers do: partial products are exact, and so is adding them."""
    bits = product_bits(k, beside_pixels=True)[1]
    rng = np.random.default_rng(seed)
    x = pixels(seed, (k, m))
    d = np.ldexp(rng.integers(-(2**bits), 2**bits, (k, n), endpoint=True).astype(float), -bits)
    cuts = sorted(data.draw(st.sets(st.integers(1, k - 1), max_size=4)))
    parts = zip(np.split(x, cuts), np.split(d, cuts), strict=True)
    pieces = [BITWISE.transposed_matmul_and_sum(*part) for part in parts]
    whole = BITWISE.transposed_matmul_and_sum(x, d)
    for found, expected in zip(zip(*pieces, strict=True), whole, strict=True):
        assert exact.bits(sum(found)) == exact.bits(expected)


@quick
@given(seeds, sizes, sizes, sizes)
def test_memory_layout_does_not_matter(seed, m, k, n):
    a, b = matrix(seed, (m, k), 5), matrix(seed + 1, (k, n), 5)
    wide, tall = np.zeros((2 * m, 3 * k)), np.zeros((k, n))[::-1]
    wide[::2, ::3], tall[...] = a, b
    expected = BITWISE.matmul(a, b)
    for left in (a, np.asfortranarray(a), wide[::2, ::3]):
        for right in (b, np.asfortranarray(b), tall):
            assert exact.bits(BITWISE.matmul(left, right)) == exact.bits(expected)
    upright = BITWISE.transposed_matmul_and_sum(np.ascontiguousarray(a.T), b)
    lying = BITWISE.transposed_matmul_and_sum(wide[::2, ::3].T, tall)
    assert list(map(exact.bits, lying)) == list(map(exact.bits, upright))
    assert exact.bits(BITWISE.sum(wide[::2, ::3], 1)) == exact.bits(BITWISE.sum(a, 1))
    assert exact.bits(BITWISE.exp(-np.abs(wide[::2, ::3]))) == exact.bits(BITWISE.exp(-np.abs(a)))


SPECIAL = [0.0, -0.0, 5e-324, -2.2e-308, 1e-200, 2.0**-450, 1.0, -3.5, 2.0**22, 2.0**450,
           -(2.0**451), 1e300, -np.inf, np.inf, np.nan]  # fmt: skip


def special_matrix() -> np.ndarray:
    """A row for each special value beside ordinary ones, one of zeros, one of subnormals."""
    rows = [[value, 0.75, -1.25, 0.1] for value in SPECIAL]
    rows += [[value] * 4 for value in SPECIAL]
    return np.array([*rows, [0.0, -0.0, 0.0, -0.0], [5e-324, -1e-310, 0.0, 3e-320]])


def seen_by(at, x: np.ndarray) -> np.ndarray:
    """``x`` as ``at`` sees it: JAX on a CPU takes a subnormal number for zero."""
    flushed = np.where(np.abs(x) < np.finfo(np.float64).tiny, x * 0.0, x)
    return flushed if at.name == "jax" and x.dtype == np.float64 else x


def results(at, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> dict[str, list]:
    """Every operation of the seam on every kind of operand, as bits."""
    a, b, x = (at.asarray(seen_by(at, value)) for value in (a, b, x))
    flat = at.xp.reshape(a, (-1,))
    product, total = BITWISE.transposed_matmul_and_sum(a, a)
    of_pixels, beside = BITWISE.transposed_matmul_and_sum(x, a)
    q = at.xp.astype(x, at.xp.int32) * 4000
    of_features, beside_features = BITWISE.transposed_matmul_and_sum(q, a)
    found = {
        "matmul": BITWISE.matmul(a, b),
        "matmul, columns": BITWISE.matmul(b.T, a.T),
        "matmul, pixels": BITWISE.matmul(x.T, a),
        "product": product,
        "total": total,
        "product, pixels": of_pixels,
        "total beside pixels": beside,
        "product, features": of_features,
        "total beside features": beside_features,
        "matmul, features": BITWISE.matmul(q.T, a),
        "sum over rows": BITWISE.sum(a, 0),
        "sum over columns": BITWISE.sum(a, 1),
        "sum of a vector": BITWISE.sum(flat, 0),
        "exp": BITWISE.exp(flat),
        "log": BITWISE.log(at.xp.abs(flat)),
        "tanh": BITWISE.tanh(a),
        "tanh of any size": BITWISE.tanh(b),
        "logistic": BITWISE.logistic(a),
        "logistic of any size": BITWISE.logistic(b * 10.0),
        "sqrt": BITWISE.sqrt(a),
        "sum of squares": BITWISE.sum_of_squares(b),
        "sum of all squares": BITWISE.sum_of_squares(a),
        "sum below a known top": BITWISE.sum(b * 2.0**-5, 0, top=1.0),
        "matmul, inputs": BITWISE.matmul(BITWISE.inputs(x.T), a),
        "log of anything": BITWISE.log(a),
        "settle": BITWISE.settle(a),
        "update": BITWISE.update(a, a * 0.5),
    }
    for name in found:  # the sign of a zero is left open
        if name.startswith(("matmul", "product")):
            found[name] = found[name] + 0.0
    return {name: exact.bits(to_numpy(value)) for name, value in found.items()}


@pytest.mark.parametrize("kind", ["special", "random", "ill-scaled"])
def test_the_same_bits_on_every_backend(other, kind):
    rng = np.random.default_rng(1)
    spread = {"random": 0, "ill-scaled": 40}
    a = special_matrix() if kind == "special" else matrix(2, (64, 4), spread[kind])
    x = rng.integers(0, 256, (len(a), 6), dtype=np.uint8)
    b = rng.normal(size=(4, 5))
    with np.errstate(all="ignore"):
        found, expected = results(other, a, b, x), results(NUMPY, seen_by(other, a), b, x)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_what_lies_outside_the_range_becomes_nan_and_only_that(backend):
    with np.errstate(all="ignore"):
        product = bitwise.matmul(backend.asarray(special_matrix()), backend.asarray(np.eye(4)))
    product = to_numpy(product)
    for value, row in zip(SPECIAL, product[: len(SPECIAL)], strict=True):
        assert np.isnan(row).all() == (not abs(value) <= 2.0**450), value
    np.testing.assert_array_equal(product[-2:], np.zeros((2, 4)))
    assert not np.signbit(product[-2:]).any()


def test_exp_and_log_outside_their_range(backend):
    exponents = np.array([0.0, -0.0, 5e-324, 1.0, np.inf, np.nan, -5e-324, -707.8, -1e300, -np.inf])
    numbers = np.array([1.0, 0.0, -0.0, 5e-324, -1.0, 2.0**1021, np.inf, -np.inf, np.nan])
    powers = to_numpy(BITWISE.exp(backend.asarray(exponents)))
    nan = np.nan
    smallest = 1 if backend.name == "jax" else nan  # there it is zero
    np.testing.assert_array_equal(powers, [1, 1, smallest, nan, nan, nan, 1, 0, 0, 0])
    logarithms = to_numpy(BITWISE.log(backend.asarray(numbers)))
    np.testing.assert_array_equal(logarithms, [0, *[nan] * 8])


def test_tanh_and_logistic_at_their_ends(backend):
    x = backend.asarray(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300, -707.8, 20.0]))
    tanh, logistic = to_numpy(BITWISE.tanh(x)), to_numpy(BITWISE.logistic(x))
    assert exact.bits(tanh) == exact.bits(np.array([0, 0, 1, -1, np.nan, 1, -1, -1, 1.0]))
    np.testing.assert_array_equal(logistic[:-1], [0.5, 0.5, 1, 0, np.nan, 1, 0, 0])


@quick
@given(seeds, sizes, sizes)
def test_a_sum_of_squares_is_the_exact_sum_of_rounded_squares(seed, m, n):
    x = matrix(seed, (m, n), 20)
    total = BITWISE.sum_of_squares(x)
    assert total.shape == ()
    squares = exact.rounded((x * x).reshape(-1), sum_bits(m * n))
    assert Fraction(float(total)) == sum(squares)
    assert exact.bits(BITWISE.sum_of_squares(x.T[::-1])) == exact.bits(total)
    assert np.isnan(BITWISE.sum_of_squares(np.array([[1.0], [2.0**226]])))


@quick
@given(seeds, sizes, st.integers(1, 300), sizes, st.sampled_from(["pixels", "features", "floats"]))
def test_inputs_converted_once_give_the_bits_of_inputs_as_they_come(seed, m, k, n, kind):
    given_ = {"pixels": pixels, "features": whole_features, "floats": matrix}[kind](seed, (m, k))
    b, d = matrix(seed, (k, n), 20), matrix(seed + 1, (m, n), 20)
    inputs = BITWISE.inputs(given_)
    assert inputs.shape == given_.shape
    assert exact.bits(BITWISE.matmul(inputs, b)) == exact.bits(BITWISE.matmul(given_, b))
    found = BITWISE.transposed_matmul_and_sum(inputs, d)
    expected = BITWISE.transposed_matmul_and_sum(given_, d)
    assert list(map(exact.bits, found)) == list(map(exact.bits, expected))


@quick
@given(seeds, sizes, sizes)
def test_a_known_top_need_not_be_looked_for(seed, m, n):
    x = np.abs(matrix(seed, (m, n)))
    x = BITWISE.exp(x.min(axis=1, keepdims=True) - x)
    assert (x.max(axis=1) == 1.0).all()
    assert exact.bits(BITWISE.sum(x, 1, top=1.0)) == exact.bits(BITWISE.sum(x, 1))


def test_parameters_live_on_their_grid(backend):
    values = np.array([1.0, -0.0, 2.0**-30, 3 * 2.0**-30, 2.0**-31, np.pi, 2.0**22, 1e300, -np.inf])
    settled = to_numpy(BITWISE.settle(backend.asarray(values)))
    pi = float(round(Fraction(np.pi) * 2**29) / Fraction(2**29))
    expected = np.array([1.0, 0.0, 0.0, 2.0**-28, 0.0, pi, 2.0**22, 1e300, -np.inf])
    assert exact.bits(settled) == exact.bits(expected)
    again = to_numpy(BITWISE.settle(backend.asarray(settled)))
    assert exact.bits(again) == exact.bits(settled)


def test_no_probability_is_subnormal(backend):
    """JAX on a CPU takes such numbers for zero; a quarter of exp(-707.6) is one."""
    logits = np.array([0.0, 0.0, 0.0, 0.0, -707.6])
    start = {"W1": np.zeros((1, 1)), "b1": np.zeros(1), "W2": np.zeros((1, 5)), "b2": logits}
    assert 0.0 < math.exp(-707.6) / 4 < np.finfo(np.float64).tiny
    recipe = Config().recipe()
    scorer = Scorer(backend, recipe, start)  # compiled where it can be
    p = model.settle(BITWISE, {name: backend.asarray(value) for name, value in start.items()})
    images = backend.asarray(np.zeros((2, 1), np.uint8))
    labels = backend.asarray(np.zeros(2, np.int64))
    for found in (
        scorer.outputs(images),
        scorer.score(images, labels).outputs,
        evaluation.outputs(recipe, p, images),
        evaluation.score(recipe, p, images, labels).outputs,
    ):
        np.testing.assert_array_equal(to_numpy(found), [[0.25, 0.25, 0.25, 0.25, 0.0]] * 2)
