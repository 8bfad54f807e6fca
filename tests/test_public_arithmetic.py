"""The arithmetic as a library: the documented example's digest, accuracy, and what is refused."""

from __future__ import annotations

import contextlib
import io
import re
from decimal import Decimal, localcontext
from pathlib import Path

import exact
import numpy as np
import pytest

from backendmlp import InputError, bitwise
from backendmlp.backend import to_numpy

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.search(
    r"```python\n(.*?)```", (ROOT / "docs/bitwise.md").read_text(encoding="utf-8"), re.DOTALL
)[1]
DIGEST = "48e7065aa75090626ebd899996b7f59453027c00836443f0cb5373f0cce11d2b"


def test_the_example_gives_its_digest_on_every_backend(backend):
    code = EXAMPLE.replace("xp = np  #", "xp = given.xp  #")
    assert code != EXAMPLE
    if backend.name != "numpy":  # a GPU's arrays do not turn into NumPy's by themselves
        code = code.replace("np.asarray(weights)", "numpy_of(weights)")
    if backend.name == "array-api-strict":
        code = code.replace("int(right.sum())", "int(xp.sum(xp.astype(right, xp.int64)))")
    if backend.name == "array-api-strict" or backend.put is not None:  # another device than usual
        code = code.replace("dtype=xp.float64)", "dtype=xp.float64, device=given.device)")
        code = re.sub(r"xp\.asarray\((.*)\)  #", r"given.asarray(\1)  #", code)
        code = code.replace("boots = xp.asarray", "boots = given.asarray")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/bitwise.md", "exec"), {"given": backend, "numpy_of": to_numpy})
    assert printed.getvalue() == f"500 of 500, weights {DIGEST}\n"
    assert DIGEST[:12] in (ROOT / "docs/bitwise.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("function", "name", "low", "high", "ulps"),
    [("exp", "exp", -700, 0, 2), ("exp", "exp", 0, 700, 3), ("log", "ln", 1e-300, 1e300, 2)],
)
def test_within_a_few_ulp(function, name, low, high, ulps):
    rng = np.random.default_rng(5)
    x = rng.uniform(low, high, 300) if function == "exp" else np.exp(rng.uniform(-690, 690, 300))
    x = np.append(x, rng.uniform(0.5, 2.0, 100) if function == "log" else low + (high - low) / 1e9)
    found = getattr(bitwise, function)(x)
    with localcontext() as context:
        context.prec = 40
        for one, value in zip(x.tolist(), found.tolist(), strict=True):
            true = getattr(Decimal(one), name)()
            assert abs(Decimal(value) - true) <= ulps * Decimal(float(np.spacing(abs(value)))), one


def test_exp_at_its_ends():
    x = np.array([-np.inf, -708.0, -0.0, 0.0, 708.0, np.inf, np.nan])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(bitwise.exp(x), [0, 0, 1, 1, np.inf, np.inf, np.nan])


def test_the_same_functions_on_every_backend(backend):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(40, 7)) * 10.0 ** rng.integers(-9, 3, (40, 7))
    for name in ("tanh", "logistic"):
        found = to_numpy(getattr(bitwise, name)(backend.asarray(x)))
        assert exact.bits(found) == exact.bits(getattr(bitwise, name)(x)), name
    np.testing.assert_allclose(bitwise.tanh(x), np.tanh(x), rtol=1e-15)
    np.testing.assert_allclose(2.0 * bitwise.logistic(2.0 * x) - 1.0, np.tanh(x), atol=1e-15)
    root = to_numpy(bitwise.sqrt(backend.asarray(np.abs(x))))
    assert exact.bits(root) == exact.bits(np.sqrt(np.abs(x)))
    for name in ("tanh", "logistic", "sqrt"):
        whole = backend.asarray(np.asarray(4, np.uint8))
        assert to_numpy(getattr(bitwise, name)(whole)).shape == ()


def test_sums_and_products_do_not_depend_on_order():
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(40, 301)) * 10.0 ** rng.integers(-6, 6, (40, 301)), rng.normal(size=301)
    order = rng.permutation(301)
    assert exact.bits(bitwise.sum(x, 1)) == exact.bits(bitwise.sum(x[:, order], -1))
    assert exact.bits(bitwise.sum(x)) == exact.bits(bitwise.sum(x.T))
    assert exact.bits(bitwise.mean(x, 0)) == exact.bits(bitwise.sum(x, 0) * (1.0 / 40))
    product = bitwise.matmul(x, w[:, None])
    assert exact.bits(product) == exact.bits(bitwise.matmul(x[:, order], w[order, None]))
    np.testing.assert_allclose(bitwise.sum(x, 1), x.sum(axis=1), rtol=1e-9)
    np.testing.assert_allclose(bitwise.softmax(x[:, :5]).sum(axis=1), 1.0, rtol=1e-12)


def test_whole_numbers_are_taken():
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for kind in ("uint8", "int16", "int32", "int64", "float32"):
        product = bitwise.matmul(pixels.astype(kind), pixels.T.astype(kind))
        np.testing.assert_array_equal(product, pixels.astype(int) @ pixels.T.astype(int))
        assert product.dtype == bitwise.sum(pixels.astype(kind)).dtype == np.float64
    assert float(bitwise.round_to_grid(np.asarray(2.0**-31))) == 0.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bitwise.exp([1.0]), "x is list"),
        (lambda: bitwise.log(np.array(["a"])), "dtype <U1"),
        (lambda: bitwise.sum(np.array([True])), "dtype bool"),
        (lambda: bitwise.matmul(np.ones((2, 3)), np.ones((2, 3))), "(2, 3) and (2, 3)"),
        (lambda: bitwise.matmul(np.ones(3), np.ones(3)), "(3,)"),
        (lambda: bitwise.sum(np.ones((2, 0)), 1), "no entries along axis 1"),
        (lambda: bitwise.mean(np.ones(3), 1), "axis 1"),
        (lambda: bitwise.softmax(np.ones(3)), "(n, c)"),
    ],
)
def test_what_is_refused(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
