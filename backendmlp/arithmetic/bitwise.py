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
class Whole:
    """Whole numbers of at most ``bits`` bits and a sign, (n, F), float64: a left factor, exact."""

    values: Array
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


@dataclass(frozen=True)
class Bitwise:
    """Arithmetic in float64 whose results are the same to the last bit on every backend.

    Range: a row of a left factor or a column of a right one whose largest entry exceeds 2**450, or
    is not finite, turns its results into NaN.  Below 2**-450 a row is no longer scaled up: it is
    rounded on the grid of 2**-450, where products underflow to zero.
    """

    name: ClassVar[str] = "bitwise"
    dtype: ClassVar[str] = "float64"

    def inputs(self, x: Array) -> Array | Whole:
        """Pixels and settled features as :class:`Whole`, converted once; floats as float64."""
        xp = namespace(x)
        return _whole_or_float(xp, x)

    def matmul(self, a: Array | Whole, b: Array) -> Array:
        xp = namespace(b)
        left, right = _whole_or_float(xp, a), _whole_or_float(xp, b)
        left_bits, right_bits = _bits_beside(a.shape[1], left, right)
        left, left_zero = _rounded(xp, left, 1, left_bits)
        right, right_zero = _rounded(xp, right, 0, right_bits)
        return xp.matmul(left, right) + (left_zero + right_zero)

    def transposed_matmul_and_sum(self, x: Array | Whole, d: Array) -> tuple[Array, Array]:
        """``d`` is rounded once, column by column, for the product and the sum alike."""
        xp = namespace(d)
        left, right = _whole_or_float(xp, x), _whole_or_float(xp, d)
        left_bits, right_bits = _bits_beside(x.shape[0], left, right)
        left, left_zero = _rounded(xp, left, 0, left_bits)
        right, right_zero = _rounded(xp, right, 0, right_bits)
        product = xp.matmul(left.T, right) + (left_zero.T + right_zero)
        return product, xp.sum(right, axis=0) + xp.squeeze(right_zero, axis=0)

    def sum(self, x: Array, axis: int) -> Array:
        xp = namespace(x)
        addends, zero = _rounded(xp, x, axis, sum_bits(x.shape[axis]))
        return xp.squeeze(xp.sum(addends, axis=axis, keepdims=True) + zero, axis=axis)

    def sum_of_squares(self, x: Array) -> Array:
        """The squares are rounded as any addends are: NaN where an entry is beyond 2**225."""
        return self.sum(namespace(x).reshape(x * x, (-1,)), 0)

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

    def tanh(self, x: Array) -> Array:
        """v / (1 - v) with v = (1 - exp(-2 abs(x))) / 2, and the sign of ``x``; within 4 ulp.

        exp(-2 abs(x)) is 2**(-k/64) (1 + 2p): k the nearest whole number, h half of what is left,
        abs(h) <= ln 2 / 256, and p of the Taylor polynomial of degree 6, whose remainder is below
        2**-57 of it.  Then v = (1 - 2**(-k/64)) / 2 - 2**(-k/64) p, of which the first is
        tabulated: nothing cancels near zero, where k = 0 and v = -p.  Either zero gives +0.
        """
        xp = namespace(x)
        size = xp.abs(x)
        a = xp.where(size < const.TANH_HIGHEST, size, const.TANH_HIGHEST)
        k = (a * (2.0 * const.EXP_INVERSE) + const.ROUND) - const.ROUND
        h = (k * (0.5 * const.EXP_HIGH) - a) + k * (0.5 * const.EXP_LOW)
        p = h + (h * h) * _horner(h, (2 / 45, 2 / 15, 1 / 3, 2 / 3, 1.0))
        power, half = _table(xp, x, "tanh_power"), _table(xp, x, "tanh_half")
        v = _take(half, k) - _take(power, k) * p
        t = v / (1.0 - v)
        return xp.where(x > 0.0, t, xp.where(x <= 0.0, 0.0 - t, math.nan))

    def logistic(self, x: Array) -> Array:
        """1 / (1 + e) for ``x`` >= 0, e / (1 + e) below, with e = exp(-abs(x)); within 3 ulp.

        Below -707.7 it is zero, as exp is.
        """
        xp = namespace(x)
        e = self.exp(0.0 - xp.abs(x))
        return xp.where(x < 0.0, e, 1.0) / (1.0 + e)

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


def _whole_or_float(xp: Any, x: Array | Whole) -> Array | Whole:
    """``x`` as float64, with a note of how many bits its whole numbers have, if it is of such."""
    if isinstance(x, Whole):
        return x
    if x.dtype == xp.uint8:
        return Whole(xp.astype(x, xp.float64), PIXEL_BITS)
    if x.dtype == xp.int32:
        return Whole(xp.astype(x, xp.float64), FEATURE_BITS)
    return _float64(xp, x)


def _bits_beside(terms: int, left: Array | Whole, right: Array | Whole) -> tuple[int, int]:
    """Bits of two factors with inner length ``terms``, of which some may be whole numbers."""
    whole = [x.bits for x in (left, right) if isinstance(x, Whole)]
    return product_bits(
        terms, beside_pixels=PIXEL_BITS in whole, beside_features=FEATURE_BITS in whole
    )


def _rounded(xp: Any, x: Array | Whole, axis: int, bits: int) -> tuple[Array, Array]:
    """``x`` of few bits, and zeros to be added to a product or sum of it, one for each line.

    Each line of ``x`` along ``axis`` is rounded to multiples of 2**-bits of the power of two at or
    above its largest entry.  Whole numbers are taken as they stand.  To add zero settles the sign
    of a zero, on which libraries disagree where all terms are zero; where a line is beyond the
    range it is NaN, whatever a library makes of NaN times zero.
    """
    if isinstance(x, Whole):
        return x.values, _table(xp, x.values, "zero")
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
    "tanh_power": lambda: const.tanh_table()[0],
    "tanh_half": lambda: const.tanh_table()[1],
    "log_high": lambda: const.log_table()[0],
    "log_low": lambda: const.log_table()[1],
}
