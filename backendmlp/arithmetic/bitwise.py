"""The same bits from every library: exact products and sums, functions in a fixed order.

IEEE 754 settles one ``+ - * /``, a comparison, a selection and a product by a power of two.  What
it leaves open is the order of a sum and each library's own exp, log and tanh.  Here a sum is
exact, so its order cannot matter: both factors of a product are first rounded to integers of so
few bits that every partial sum is an integer of at most 53 bits, which float64 holds without
rounding (the error-free splitting of Ozaki, Ogita, Oishi and Rump, 2012, with one slice).

Only functions of the Array API standard are called, and every call is one operation: no compiled
kernel holds a product beside the sum that uses it, so no compiler can contract the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic import elementary
from backendmlp.arithmetic.tables import tables

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

    Sign of zero: where all terms of a product are zero, libraries disagree on it, and it is not
    settled here.  It shows nowhere: to what a layer gives a bias is added, which is never -0
    (:func:`backendmlp.network.model.entering`), and whatever else becomes of a product is rounded,
    which makes +0 of either.
    """

    name: ClassVar[str] = "bitwise"
    dtype: ClassVar[str] = "float64"

    def inputs(self, x: Array) -> Array | Whole:
        """Pixels and settled features as :class:`Whole`, converted once; floats as float64."""
        return _operand(x)

    def matmul(self, a: Array | Whole, b: Array) -> Array:
        left, right = _operand(a), _operand(b)
        left_bits, right_bits = bits_of_factors(a.shape[1], left, right)
        factor = rounded(right, 0, right_bits)
        return tables(factor).xp.matmul(rounded(left, 1, left_bits), factor)

    def gradients(self, pairs: Sequence[tuple[Array | Whole, Array]]) -> list[tuple[Array, Array]]:
        return [self.transposed_matmul_and_sum(x, d) for x, d in pairs]

    def transposed_matmul_and_sum(self, x: Array | Whole, d: Array) -> tuple[Array, Array]:
        """``d`` is rounded once, column by column, for the product and the sum alike."""
        left, right = _operand(x), _operand(d)
        left_bits, right_bits = bits_of_factors(x.shape[0], left, right)
        addends = rounded(right, 0, right_bits)
        xp = tables(addends).xp
        product = xp.matmul(rounded(left, 0, left_bits).T, addends)
        return product, xp.sum(addends, axis=0)

    def sum(self, x: Array, axis: int, top: float | None = None) -> Array:
        """Never -0, because no rounded addend is."""
        addends = rounded(_operand(x), axis, sum_bits(x.shape[axis]), top)
        return tables(addends).xp.sum(addends, axis=axis)

    def sum_of_squares(self, x: Array) -> Array:
        """The squares are rounded as any addends are: NaN where an entry is beyond 2**225."""
        return self.sum(tables(x).xp.reshape(x * x, (-1,)), 0)

    def exp(self, x: Array) -> Array:
        return elementary.exp(x)

    def log(self, x: Array) -> Array:
        return elementary.log(x)

    def tanh(self, x: Array) -> Array:
        return elementary.tanh(x)

    def logistic(self, x: Array) -> Array:
        return elementary.logistic(x)

    def sqrt(self, x: Array) -> Array:
        return elementary.sqrt(x)

    def update(self, parameter: Array, change: Array) -> Array:
        """``parameter - change`` with the change on the grid of 2**-29."""
        return parameter - self.settle(change)

    def settle(self, parameter: Array) -> Array:
        """``parameter`` rounded to a multiple of 2**-29 (beyond 2**22: of what float64 holds)."""
        return on_grid(_float64(tables(parameter).xp, parameter), const.ROUND * const.GRID)

    def keep(self, state: Array) -> Array:
        """``state`` rounded to a multiple of 2**-452 (beyond 2**-400: of what float64 holds)."""
        return on_grid(state, const.ROUND * const.KEPT)


def power_of_two(top: Array) -> Array:
    """The power of two at or above each of ``top`` >= 0, at least 2**-450; NaN beyond 2**450."""
    t = tables(top)
    return t.powers[t.xp.searchsorted(t.bounds, top, side="left")]


def _operand(x: Array | Whole) -> Array | Whole:
    """``x`` as float64, with a note of how many bits its whole numbers have, if it is of such."""
    if isinstance(x, Whole):
        return x
    xp = tables(x).xp
    if x.dtype == xp.float64:
        return x
    if x.dtype == xp.uint8:
        return Whole(xp.astype(x, xp.float64), PIXEL_BITS)
    if x.dtype == xp.int32:
        return Whole(xp.astype(x, xp.float64), FEATURE_BITS)
    return xp.astype(x, xp.float64)


def bits_of_factors(terms: int, left: Array | Whole, right: Array | Whole) -> tuple[int, int]:
    """Bits of two factors with inner length ``terms``, of which some may be whole numbers."""
    whole = [x.bits for x in (left, right) if isinstance(x, Whole)]
    return product_bits(
        terms, beside_pixels=PIXEL_BITS in whole, beside_features=FEATURE_BITS in whole
    )


def rounded(x: Array | Whole, axis: int, bits: int, top: float | None = None) -> Array:
    """``x`` of few bits: each line along ``axis`` in multiples of 2**-bits of a power of two.

    That power is ``top``, or else the one at or above the largest entry of the line; a line beyond
    the range, or with a NaN, comes out as NaN throughout.  Whole numbers are taken as they stand.
    The search only compares, so every library finds the same place; infinity and NaN lie behind
    the table (:mod:`backendmlp.arithmetic.demands` tries that out).
    """
    if isinstance(x, Whole):
        return x.values
    if top is not None:
        return on_grid(x, top * 2.0**-bits * const.ROUND)
    t = tables(x)
    largest = t.xp.max(t.xp.abs(x), axis=axis, keepdims=True)
    return on_grid(x, t.rounding(bits)[t.xp.searchsorted(t.bounds, largest, side="left")])


def on_grid(x: Array, grid: Array | float) -> Array:
    """``x`` rounded, half to even, to multiples of a power of two; ``grid`` is 1.5 * 2**52 of it.

    The sum is too large to hold what is finer than the grid.
    """
    rounded = x + grid
    rounded -= grid  # memory of our own
    return rounded


def _float64(xp: Any, x: Array) -> Array:
    return x if x.dtype == xp.float64 else xp.astype(x, xp.float64)
