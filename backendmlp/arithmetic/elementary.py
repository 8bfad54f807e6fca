"""exp, log, tanh, the logistic function and the square root, in float64, in a fixed order.

Every operation written here is one call and one rounding, so it can be repeated in any language,
operation by operation, with the same bits; constants that are combined are powers of two apart.
"""

from __future__ import annotations

import math
from typing import Any

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.tables import tables

Array = Any


def exp(x: Array) -> Array:
    """2**(-k/64) from a table times a polynomial on ``|r| <= ln 2 / 128``; NaN for ``x`` > 0.

    Cody and Waite's reduction; the remainder of the degree-5 Taylor polynomial is below
    2**-54.  Below -707.7, where results would be subnormal, it is zero.
    """
    t = tables(x)
    xp = t.xp
    # What is out of range goes to the entries behind the table: zero, and NaN.
    x = xp.where(x <= 0.0, xp.where(x >= const.EXP_LOWEST, x, const.EXP_TO_ZERO), const.EXP_TO_NAN)
    k = x * -const.EXP_INVERSE + const.ROUND
    k -= const.ROUND
    r = (x + k * const.EXP_HIGH) + k * const.EXP_LOW
    polynomial = _horner(r, (1 / 120, 1 / 24, 1 / 6, 0.5, 1.0, 1.0))
    return t.exp[xp.astype(k, xp.int64)] * polynomial


def log(x: Array) -> Array:
    """log(2**k c (1 + f)) with c from a table; NaN outside [2**-1020, 2**1020].

    ``|f| <= 1 / 128``: the remainder of the degree-8 Taylor polynomial is below 2**-64.
    """
    t = tables(x)
    xp = t.xp
    inside = (x >= 2.0**-const.LOG_OCTAVES) & (x <= 2.0**const.LOG_OCTAVES)
    x = xp.where(inside, x, 1.0)
    index = xp.searchsorted(t.octaves, xp.reshape(x, (-1,)), side="right") - 1
    index = xp.reshape(index, x.shape)
    k = xp.astype(index, xp.float64) - const.LOG_OCTAVES
    m = x * t.octaves[2 * const.LOG_OCTAVES - index]
    coarse = const.ROUND / const.LOG_STEPS
    c = (m + coarse) - coarse
    f = (m - c) / c
    tail = f * f * _horner(f, (-1 / 8, 1 / 7, -1 / 6, 1 / 5, -1 / 4, 1 / 3, -1 / 2))
    step = xp.astype((c - 1.0) * const.LOG_STEPS, xp.int64)
    high = k * const.LN2_HIGH + t.log_high[step]
    low = k * const.LN2_LOW + t.log_low[step]
    return xp.where(inside, high + (low + (f + tail)), math.nan)


def tanh(x: Array) -> Array:
    """v / (1 - v) with v = (1 - exp(-2|x|)) / 2, and the sign of ``x``; within 4 ulp.

    |x| = k ln 2 / 128 - h with ``|h| <= ln 2 / 256``, so exp(-2|x|) is 2**(-k/64) (1 + 2p), where
    p is exp(2h) - 1, halved: h + h**2 + ... of Taylor's series, whose remainder after h**6 is below
    2**-57 of p.  Then v = (1 - 2**(-k/64)) / 2 - 2**(-k/64) p.  The first term is tabulated, so
    nothing cancels near zero, where k = 0 and v = -p.  Either zero gives +0; from 20 on it is 1.
    """
    t = tables(x)
    xp = t.xp
    size = xp.abs(x)
    size = xp.where(size < const.TANH_ONE, size, const.TANH_ONE)  # NaN goes there too, for now
    k = size * (2.0 * const.EXP_INVERSE) + const.ROUND
    k -= const.ROUND
    h = (k * (0.5 * const.EXP_HIGH) - size) + k * (0.5 * const.EXP_LOW)
    p = h + (h * h) * _horner(h, (2 / 45, 2 / 15, 1 / 3, 2 / 3, 1.0))
    index = xp.astype(k, xp.int64)
    v = t.tanh[index] - t.exp[index] * p
    y = v / (1.0 - v)
    return xp.where(x > 0.0, y, xp.where(x <= 0.0, 0.0 - y, math.nan))


def logistic(x: Array) -> Array:
    """1 / (1 + e) for ``x`` >= 0 and e / (1 + e) below, with e = exp(-|x|); within 3 ulp.

    Zero below -707.7, as exp is.
    """
    xp = tables(x).xp
    e = exp(0.0 - xp.abs(x))
    return xp.where(x < 0.0, e, 1.0) / (e + 1.0)


def sqrt(x: Array) -> Array:
    """The correctly rounded square root, as IEEE 754 asks; NaN below zero, +0 of either zero.

    A library's own may be one unit in the last place off: PyTorch's on a CPU, which takes MKL's, is
    for 1.3 % of arguments.  Tuckerman's test puts it right: s is the root if and only if
    s (s - u) < x <= s (s + u) with the next numbers s - u and s + u (Markstein, "Computation of
    elementary functions on the IBM RISC System/6000 processor", 1990).  A language whose square
    root is correctly rounded, as C's is, need not repeat these operations.
    """
    xp = tables(x).xp
    small = x < 2.0**-500  # scaled up, so that no part of a square is subnormal
    x = xp.where(small, x * 2.0**500, x)
    s = xp.sqrt(x)
    rest = _less_square(x, s)
    step = s * const.TO_NEXT
    above, below = s + step, s - step
    too_large = rest <= s * (below - s)
    root = xp.where(rest > s * (above - s), above, xp.where(too_large, below, s))
    return xp.where(small, root * 2.0**-250, root)


def _less_square(x: Array, s: Array) -> Array:
    """x - s**2, where s is near the root of x: s**2 as a sum of two numbers, by Dekker (1971)."""
    square = s * s
    high = s * const.SPLITTER
    high = high - (high - s)
    low = s - high
    error = ((high * high - square) + (high * low) * 2.0) + low * low
    return (x - square) - error


def _horner(x: Array, coefficients: tuple[float, ...]) -> Array:
    """The polynomial with ``coefficients``, highest power first, each step one operation."""
    result = x * coefficients[0]
    result += coefficients[1]
    for coefficient in coefficients[2:]:
        result *= x
        result += coefficient
    return result
