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

import math
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
        xp = namespace(a, b)
        left_bits, right_bits = product_bits(a.shape[1], **_beside(xp, a, b))
        left, left_zero = _rounded(xp, a, 1, left_bits)
        right, right_zero = _rounded(xp, b, 0, right_bits)
        return xp.matmul(left, right) + (left_zero + right_zero)

    def transposed_matmul_and_sum(self, x: Array, d: Array) -> tuple[Array, Array]:
        """``d`` is rounded once, column by column, for the product and the sum alike."""
        xp = namespace(x, d)
        left_bits, right_bits = product_bits(x.shape[0], **_beside(xp, x))
        left, left_zero = _rounded(xp, x.T, 1, left_bits)
        right, right_zero = _rounded(xp, d, 0, right_bits)
        product = xp.matmul(left, right) + (left_zero + right_zero)
        return product, xp.sum(right, axis=0) + xp.squeeze(right_zero, axis=0)

    def sum(self, x: Array, axis: int) -> Array:
        xp = namespace(x)
        addends, zero = _rounded(xp, x, axis, sum_bits(x.shape[axis]))
        return xp.squeeze(xp.sum(addends, axis=axis, keepdims=True) + zero, axis=axis)

    def exp(self, x: Array) -> Array:
        """2**k/64 from a table times a polynomial on ``|r| <= ln 2 / 128``; NaN for ``x`` > 0.

        Cody and Waite's reduction; the remainder of the degree-5 Taylor polynomial is below
        2**-54.  Below -707.7, where results would be subnormal, it is zero.
        """
        xp = namespace(x)
        above, below = x >= const.EXP_LOWEST, x <= 0.0
        t = xp.where(above & below, x, 0.0)
        k = (t * const.EXP_INVERSE + const.ROUND) - const.ROUND
        r = (t - k * const.EXP_HIGH) - k * const.EXP_LOW
        polynomial = _horner(r, (1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))
        result = _take(_table(xp, x, "exp"), k + const.EXP_OFFSET) * polynomial
        return xp.where(below, xp.where(above, result, 0.0), math.nan)

    def log(self, x: Array) -> Array:
        """log(2**k c (1 + f)) with c from a table; NaN outside [2**-1020, 2**1020].

        ``|f| <= 1 / 128``: the remainder of the degree-8 Taylor polynomial is below 2**-64.
        """
        xp = namespace(x)
        inside = (x >= 2.0**-const.LOG_OCTAVES) & (x <= 2.0**const.LOG_OCTAVES)
        t = xp.where(inside, x, 1.0)
        octaves = _table(xp, x, "octaves")
        index = xp.searchsorted(octaves, xp.reshape(t, (-1,)), side="right") - 1
        index = xp.reshape(index, t.shape)
        k = xp.astype(index, xp.float64) - const.LOG_OCTAVES
        m = t * _take(octaves, 2 * const.LOG_OCTAVES - index)
        coarse = const.ROUND / const.LOG_STEPS
        c = (m + coarse) - coarse
        f = (m - c) / c
        tail = f * f * _horner(f, (-1 / 8, 1 / 7, -1 / 6, 1 / 5, -1 / 4, 1 / 3, -1 / 2))
        step = (c - 1.0) * const.LOG_STEPS
        high = k * const.LN2_HIGH + _take(_table(xp, x, "log_high"), step)
        low = k * const.LN2_LOW + _take(_table(xp, x, "log_low"), step)
        return xp.where(inside, high + (low + (f + tail)), math.nan)

    def update(self, parameter: Array, change: Array) -> Array:
        """``parameter - change`` with the change on the grid of 2**-29."""
        return parameter - self.settle(change)

    def settle(self, parameter: Array) -> Array:
        """``parameter`` rounded to a multiple of 2**-29 (beyond 2**22: of what float64 holds)."""
        xp = namespace(parameter)
        return _on_grid(_float64(xp, parameter), const.ROUND * const.GRID)


def power_of_two(top: Array) -> Array:
    """The power of two at or above each of ``top`` >= 0, at least 2**-450; NaN beyond 2**450."""
    xp = namespace(top)
    return _looked_up(xp, _table(xp, top, "powers"), top)


def _rounded(xp: Any, x: Array, axis: int, bits: int) -> tuple[Array, Array]:
    """``x`` of few bits, and zeros to be added to a product or sum of it, one for each line.

    Each line of ``x`` along ``axis`` is rounded to multiples of 2**-bits of the power of two at or
    above its largest entry.  Whole numbers are taken as they stand.  To add zero settles the sign
    of a zero, on which libraries disagree where all terms are zero; where a line is beyond the
    range it is NaN, whatever a library makes of NaN times zero.
    """
    if _is_whole(xp, x):
        return xp.astype(x, xp.float64), _table(xp, x, "zero")
    x = _float64(xp, x)
    top = xp.max(xp.abs(x), axis=axis, keepdims=True)
    grid = _looked_up(xp, _rounding_table(xp, x, bits), top)
    return _on_grid(x, grid), grid - grid


def _on_grid(x: Array, grid: Array | float) -> Array:
    """``x`` rounded, half to even, to multiples of a power of two; ``grid`` is 1.5 * 2**52 of it.

    The sum is too large to hold what is finer than the grid.
    """
    rounded = x + grid
    rounded -= grid  # memory of our own
    return rounded


def _looked_up(xp: Any, table: Array, top: Array) -> Array:
    """From a table over the powers of two, what stands for the one at or above each of ``top``.

    The search compares only, so every library finds the same; a NaN is sent where infinity goes,
    behind the table, because libraries need not agree on its order.
    """
    flat = xp.reshape(xp.where(top < math.inf, top, math.inf), (-1,))
    index = xp.searchsorted(_table(xp, top, "bounds"), flat, side="left")
    return xp.reshape(xp.take(table, index, axis=0), top.shape)


def _float64(xp: Any, x: Array) -> Array:
    return x if x.dtype == xp.float64 else xp.astype(x, xp.float64)


def _is_whole(xp: Any, x: Array) -> bool:
    return x.dtype == xp.uint8 or x.dtype == xp.int32


def _beside(xp: Any, *operands: Array) -> dict[str, bool]:
    """Which whole numbers are among the operands, as :func:`product_bits` takes it."""
    return {
        "beside_pixels": any(x.dtype == xp.uint8 for x in operands),
        "beside_features": any(x.dtype == xp.int32 for x in operands),
    }


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The polynomial with ``coefficients``, highest power first, each step one operation."""
    result = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        result *= x
        result += coefficient
    return result


def _take(table: Array, index: Array) -> Array:
    """``table[index]`` for an index of any shape, whole numbers in any dtype."""
    xp = namespace(table)
    flat = xp.reshape(xp.astype(index, xp.int64, copy=False), (-1,))
    return xp.reshape(xp.take(table, flat, axis=0), index.shape)


def _table(xp: Any, like: Array, name: str) -> Array:
    """A table of :mod:`backendmlp.arithmetic.constants` where ``like`` lies."""
    return _kept(xp, device_of(like), name, _HOST_TABLES[name])


def _rounding_table(xp: Any, like: Array, bits: int) -> Array:
    """For each power of two, what :func:`_on_grid` rounds with to ``bits`` bits below it."""

    def make() -> np.ndarray:
        return const.powers_of_two(const.WINDOW) * (const.ROUND * 2.0**-bits)

    return _kept(xp, device_of(like), f"rounding to {bits} bits", make)


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
    "zero": lambda: np.zeros((1, 1)),
    "octaves": lambda: const.powers_of_two(const.LOG_OCTAVES)[:-1],
    "exp": const.exp_table,
    "log_high": lambda: const.log_table()[0],
    "log_low": lambda: const.log_table()[1],
}
