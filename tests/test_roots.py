"""Square roots and quotients are correctly rounded in every library, by whole-number arithmetic.

PyTorch's own square root on a CPU is not, for 1.3 % of numbers; the arithmetic puts it right.
"""

from __future__ import annotations

import math

import exact
import numpy as np

from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.backend import to_numpy

BITWISE = Bitwise()
COUNT = 200_000


def numbers(seed: int, lowest: int = -1022, highest: int = 1023) -> np.ndarray:
    """Normal numbers of all exponents; squares and their neighbours among them."""
    rng = np.random.default_rng(seed)
    x = np.ldexp(rng.uniform(1, 2, COUNT), rng.integers(lowest, highest, COUNT))
    whole = rng.integers(1, 2**26, COUNT // 10).astype(np.float64) ** 2
    x[: len(whole)] = whole
    x[len(whole) : 2 * len(whole)] = np.nextafter(whole, 0.0)
    x[2 * len(whole) : 3 * len(whole)] = np.nextafter(whole, np.inf)
    return x


def root(x: float) -> float:
    """The nearest float64 to the root of a normal number, by :func:`math.isqrt`."""
    mantissa, exponent = math.frexp(x)
    odd = exponent % 2
    scaled = int(mantissa * 2.0**53) << (55 + odd)  # its root has 54 or 55 bits
    floor = math.isqrt(scaled)
    doubled = 2 * floor + (floor * floor != scaled)  # what was cut off leaves its mark
    return math.ldexp(doubled, (exponent - odd - 108) // 2 - 1)  # rounds once, half to even


def test_the_host_rounds_roots_and_quotients_correctly():
    """What the other libraries are compared with, on fewer numbers: whole numbers are slow."""
    x = numbers(1)[:: COUNT // 20_000]
    assert [root(value) for value in x.tolist()] == np.sqrt(x).tolist()
    with np.errstate(over="ignore"):  # of a scaled number that is not selected
        assert exact.bits(BITWISE.sqrt(x)) == exact.bits(np.sqrt(x))
    a, b = numbers(2, -500, 500)[::30], numbers(3, -500, 500)[::30]
    exactly = [quotient(*pair) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    assert exactly == (a / b).tolist()


def quotient(a: float, b: float) -> float:
    """The nearest float64: Python divides whole numbers of any size correctly rounded."""
    (p, q), (r, s) = a.as_integer_ratio(), b.as_integer_ratio()
    return (p * s) / (q * r)


def test_every_library_gives_the_same_roots_and_quotients(other):
    x, y = numbers(4), numbers(5)
    with np.errstate(all="ignore"):
        quotients = x / y
        normal = (abs(quotients) >= 2.0**-1022) & (abs(quotients) <= 2.0**1023)
        on_device = other.asarray(x), other.asarray(y)
        found = to_numpy(BITWISE.sqrt(on_device[0])), to_numpy(on_device[0] / on_device[1])
    assert np.array_equal(found[0], np.sqrt(x))
    assert np.array_equal(found[1][normal], quotients[normal])


def test_lengths_and_layouts_do_not_matter(backend):
    x, y = numbers(6, -400, 400)[:20_200], numbers(7, -400, 400)[:20_200]
    a, b = backend.asarray(x), backend.asarray(y)
    lengths = 1, 3, 8, 17  # JAX compiles each anew
    for count in range(1, 101) if backend.name != "jax" else lengths:  # the tails of vectors
        at = slice(count * 100, count * 101)
        assert np.array_equal(to_numpy(BITWISE.sqrt(a[at])), np.sqrt(x[at])), count
        assert np.array_equal(to_numpy(a[at] / b[at]), x[at] / y[at]), count
    for cut in (np.s_[:, ::3], np.s_[::2, :], np.s_[1:, 5:]):
        tall, tall_y = x.reshape(200, 101).T[cut], y.reshape(200, 101).T[cut]
        xp = backend.xp
        left, right = (xp.reshape(each, (200, 101)).T[cut] for each in (a, b))
        assert np.array_equal(to_numpy(BITWISE.sqrt(left)), np.sqrt(tall))
        assert np.array_equal(to_numpy(left / right), tall / tall_y)


def test_a_root_at_its_ends(backend):
    x = [0.0, -0.0, np.inf, -1.0, np.nan, 1.0 - 2.0**-53, 4.0 - 2.0**-51, 2.0**-1022, 1e308]
    with np.errstate(all="ignore"):
        found = to_numpy(BITWISE.sqrt(backend.asarray(np.array(x))))
        assert exact.bits(found) == exact.bits(np.sqrt(np.array(x)) + 0.0)
