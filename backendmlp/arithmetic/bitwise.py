"""The same bits from every library: exact products and sums, exp and log in a fixed order.

IEEE 754 settles one ``+ - * /``, a comparison, a selection and a product by a power of two.  What
it leaves open is the order of a sum and each library's own exp and log.  Here a sum is exact, so
its order cannot matter: both factors of a product are first rounded to integers of so few bits
that every partial sum is an integer of at most 53 bits, which float64 holds without rounding
(the error-free splitting of Ozaki, Ogita, Oishi and Rump, 2012, with one slice).

Only functions of the Array API standard are called, and every call is one operation: no compiled
kernel holds a product beside the sum that uses it, so no compiler can contract the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.backend import device_of, namespace

Array = Any

MANTISSA = 53
# Operands of whole numbers are exact as they stand: uint8 pixels, below 2**8 in size, and int32
# features, settled once by backendmlp.features, of at most 2**20.
PIXEL_BITS = 8
FEATURE_BITS = 20


def sum_bits(terms: int) -> int:
    """Bits of an addend, so that a sum of ``terms`` of them is exact: 53 - ceil(log2(terms)).

    51 at most: beyond, adding and subtracting 1.5 * 2**52 no longer rounds to the nearest.
    """
    return min(MANTISSA - (terms - 1).bit_length(), 51)


def product_bits(
    terms: int, *, beside_pixels: bool = False, beside_features: bool = False
) -> tuple[int, int]:
    """Bits of a left and a right factor, so that a product with inner length ``terms`` is exact.

    Two float factors share what the sum leaves; beside whole numbers, the 8 bits of pixels or the
    20 of settled features, a factor gets all the rest.
    """
    bits = sum_bits(terms)
    if beside_pixels or beside_features:
        rest = bits - (FEATURE_BITS if beside_features else PIXEL_BITS)
        return rest, rest
    return bits - bits // 2, bits // 2


@dataclass(frozen=True)
class Bitwise:
    """Arithmetic in float64 whose results are the same to the last bit on every backend.

    Range: a row of a left factor or a column of a right one whose largest entry exceeds 2**450, or
    is not finite, turns its results into NaN.  Below 2**-450 a row is no longer scaled up: it is
    rounded on the grid of 2**-450, where products underflow to zero.
    """

    name: ClassVar[str] = "bitwise"
    dtype: ClassVar[str] = "float64"

    def matmul(self, a: Array, b: Array) -> Array:
        xp, terms = namespace(a, b), a.shape[1]
        left_bits, right_bits = product_bits(terms, **_beside(a, b))
        left, left_scale = _factor(a, 1, left_bits)
        right, right_scale = _factor(b, 0, right_bits)
        return _settled(xp.matmul(left, right)) * left_scale * right_scale

    def transposed_matmul_and_sum(self, x: Array, d: Array) -> tuple[Array, Array]:
        """``d`` is rounded once, column by column, for the product and the sum alike."""
        xp, terms = namespace(x, d), x.shape[0]
        left_bits, right_bits = product_bits(terms, **_beside(x))
        left, left_scale = _factor(x, 0, left_bits)
        right, right_scale = _factor(d, 0, right_bits)
        product = _settled(xp.matmul(left.T, right)) * left_scale.T * right_scale
        return product, (_settled(xp.sum(right, axis=0, keepdims=True)) * right_scale)[0, :]

    def sum(self, x: Array, axis: int) -> Array:
        xp = namespace(x)
        addends, scale = _factor(x, axis, sum_bits(x.shape[axis]))
        return xp.squeeze(_settled(xp.sum(addends, axis=axis, keepdims=True)) * scale, axis=axis)

    def exp(self, x: Array) -> Array:
        """2**k/64 from a table times a polynomial on ``|r| <= ln 2 / 128``; NaN for ``x`` > 0.

        Cody and Waite's reduction; the remainder of the degree-5 Taylor polynomial is below
        2**-54.  Below -707.7, where results would be subnormal, it is zero.
        """
        xp = namespace(x)
        zero = _constant(xp, x, 0.0)
        inside = (x >= const.EXP_LOWEST) & (x <= 0)
        t = xp.where(inside, x, zero)
        k = (t * const.EXP_INVERSE + const.ROUND) - const.ROUND
        r = (t - k * const.EXP_HIGH) - k * const.EXP_LOW
        polynomial = _horner(r, (1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))
        result = _take(_table(xp, device_of(x), "exp"), k + const.EXP_OFFSET) * polynomial
        outside = xp.where(x <= 0, zero, _constant(xp, x, float("nan")))
        return xp.where(inside, result, outside)

    def log(self, x: Array) -> Array:
        """log(2**k c (1 + f)) with c from a table; NaN outside [2**-1020, 2**1020].

        ``|f| <= 1 / 128``: the remainder of the degree-8 Taylor polynomial is below 2**-64.
        """
        xp, device = namespace(x), device_of(x)
        inside = (x >= 2.0**-const.LOG_OCTAVES) & (x <= 2.0**const.LOG_OCTAVES)
        t = xp.where(inside, x, _constant(xp, x, 1.0))
        octaves = _table(xp, device, "octaves")
        index = xp.searchsorted(octaves, xp.reshape(t, (-1,)), side="right") - 1
        index = xp.reshape(index, t.shape)
        k = xp.astype(index, xp.float64) - const.LOG_OCTAVES
        m = t * _take(octaves, 2 * const.LOG_OCTAVES - index)
        coarse = const.ROUND / const.LOG_STEPS
        c = (m + coarse) - coarse
        f = (m - c) / c
        tail = f * f * _horner(f, (-1 / 8, 1 / 7, -1 / 6, 1 / 5, -1 / 4, 1 / 3, -1 / 2))
        step = (c - 1.0) * const.LOG_STEPS
        high = k * const.LN2_HIGH + _take(_table(xp, device, "log_high"), step)
        low = k * const.LN2_LOW + _take(_table(xp, device, "log_low"), step)
        return xp.where(inside, high + (low + (f + tail)), _constant(xp, x, float("nan")))

    def update(self, parameter: Array, change: Array) -> Array:
        """``parameter - change`` with the change on the grid of 2**-29."""
        return parameter - self.settle(change)

    def settle(self, parameter: Array) -> Array:
        """``parameter`` rounded to a multiple of 2**-29 (beyond 2**22: of what float64 holds)."""
        xp = namespace(parameter)
        offset = const.ROUND * const.GRID
        return (xp.astype(parameter, xp.float64, copy=False) + offset) - offset


def _factor(x: Array, axis: int, bits: int) -> tuple[Array, Array]:
    """``x`` as integers times 2**-bits, at most 1 in size, and the powers of two to scale back by.

    Each line of ``x`` along ``axis`` is divided by the power of two at or above its largest entry.
    The search compares only, so every library finds the same power; a NaN is sent where infinity
    goes, behind the table, because libraries need not agree on its order.
    """
    xp = namespace(x)
    if _is_whole(x):
        return xp.astype(x, xp.float64), xp.ones((1, 1), dtype=xp.float64, device=device_of(x))
    x = xp.astype(x, xp.float64, copy=False)
    scale, inverse = _powers(xp.max(xp.abs(x), axis=axis, keepdims=True))
    offset = const.ROUND * 2.0**-bits
    return (x * inverse + offset) - offset, scale


def power_of_two(top: Array) -> Array:
    """The power of two at or above each of ``top`` >= 0, at least 2**-450; NaN beyond 2**450."""
    return _powers(top)[0]


def _powers(top: Array) -> tuple[Array, Array]:
    """:func:`power_of_two` and its inverse."""
    xp, device = namespace(top), device_of(top)
    infinity = _constant(xp, top, float("inf"))
    flat = xp.reshape(xp.where(top < infinity, top, infinity), (-1,))
    index = xp.searchsorted(_table(xp, device, "bounds"), flat, side="left")
    scale = xp.reshape(xp.take(_table(xp, device, "powers"), index, axis=0), top.shape)
    inverse = xp.reshape(xp.take(_table(xp, device, "inverses"), index, axis=0), top.shape)
    return scale, inverse


def _is_whole(x: Array) -> bool:
    return any(_beside(x).values())


def _beside(*operands: Array) -> dict[str, bool]:
    """Which whole numbers are among the operands, as :func:`product_bits` takes it."""
    xp = namespace(*operands)
    return {
        "beside_pixels": any(x.dtype == xp.uint8 for x in operands),
        "beside_features": any(x.dtype == xp.int32 for x in operands),
    }


def _settled(x: Array) -> Array:
    """``x`` without negative zeros, which libraries disagree on where all terms are zero."""
    return x + 0.0


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The polynomial with ``coefficients``, highest power first, each step one operation."""
    result = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        result = result * x + coefficient
    return result


def _take(table: Array, index: Array) -> Array:
    """``table[index]`` for an index of any shape, whole numbers in any dtype."""
    xp = namespace(table)
    flat = xp.reshape(xp.astype(index, xp.int64, copy=False), (-1,))
    return xp.reshape(xp.take(table, flat, axis=0), index.shape)


def _constant(xp: Any, like: Array, value: float) -> Array:
    return _kept(xp, device_of(like), str(value), lambda: value)


def _table(xp: Any, device: Any, name: str) -> Array:
    """A table of :mod:`backendmlp.arithmetic.constants` on ``device``."""
    return _kept(xp, device, name, _HOST_TABLES[name])


_KEPT: dict[tuple[Any, str, str], Array] = {}


def _kept(xp: Any, device: Any, name: str, make: Callable[[], Any]) -> Array:
    """What ``make`` makes, float64 on ``device``, sent there once."""
    key = xp, repr(device), name  # a CuPy device is not hashable
    if key not in _KEPT:
        _KEPT[key] = xp.asarray(make(), dtype=xp.float64, device=device)
    return _KEPT[key]


_HOST_TABLES: dict[str, Callable[[], np.ndarray]] = {
    # Searched without the NaN at its end, beside which libraries place infinity as they like.
    "bounds": lambda: const.powers_of_two(const.WINDOW)[:-1],
    "powers": lambda: const.powers_of_two(const.WINDOW),
    "inverses": lambda: 1.0 / const.powers_of_two(const.WINDOW),
    "octaves": lambda: const.powers_of_two(const.LOG_OCTAVES)[:-1],
    "exp": const.exp_table,
    "log_high": lambda: const.log_table()[0],
    "log_low": lambda: const.log_table()[1],
}
