"""Tables and coefficients of the bitwise arithmetic, the same on every machine.

No libm function is called: logarithms and roots come from :mod:`decimal` with digits to spare,
and a Decimal becomes the nearest float by Python's own correctly rounded conversion.
"""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from functools import lru_cache

import numpy as np

# 1.5 * 2**52: adding and subtracting it rounds to the nearest integer, half to even.
ROUND = 1.5 * 2.0**52

# Powers of two a row may be scaled by; the widest window in which no product of two factors,
# however rounded, leaves the normal numbers.
WINDOW = 450

# Parameters live on this grid: with 8-bit pixels and 784 of them, 35 bits fit beside a pixel, so
# a weight up to 64 enters its product as it stands, unrounded.
GRID = 2.0**-29

# What an optimiser keeps lies on this one: the averages of a unit that died would fade into
# subnormal numbers, on which some libraries disagree, and with which all processors are slow.
KEPT = 2.0**-452

EXP_STEPS = 64  # table entries per octave
EXP_OCTAVES = 1021  # below exp(-707.7) a result would be subnormal: it underflows to zero
SPLITTER = 2.0**27 + 1.0  # splits a float64 into two of 26 bits: Veltkamp (1968)
TO_NEXT = 2.0**-53 * (1.0 + 2.0**-52)  # a number times this leads to its neighbours: Rump (2009)
LOG_STEPS = 64
LOG_OCTAVES = 1020

_DIGITS = Context(prec=50)
_SPLIT = 2.0**-32  # the high part of a split constant is a multiple of this


def split(value: Decimal, unit: float = _SPLIT) -> tuple[float, float]:
    """``value`` as high + low, the high part a multiple of ``unit``."""
    with localcontext(_DIGITS):
        high = (value / Decimal(unit)).to_integral_value() * Decimal(unit)
        return float(high), float(value - high)


LN2 = Decimal(2).ln(_DIGITS)
LN2_HIGH, LN2_LOW = split(LN2)
# x = k * (ln 2 / 64) + r, with k below 2**17: 36 bits in the high part make its product exact.
EXP_HIGH, EXP_LOW = split(LN2 / EXP_STEPS, 2.0**-42)
EXP_INVERSE = float(EXP_STEPS / LN2)
EXP_LOWEST = -707.7
TANH_ONE = 20.0  # from 19.1 on tanh is 1
EXP_OFFSET = EXP_STEPS * EXP_OCTAVES  # the place of exp(0) in the table
# Arguments whose k are the next two after the last in the table: stand-ins for what has no entry.
EXP_TO_ZERO = -(EXP_OFFSET + 1) / EXP_INVERSE
EXP_TO_NAN = -(EXP_OFFSET + 2) / EXP_INVERSE


def powers_of_two(window: int) -> np.ndarray:
    """2**-window ... 2**window, and NaN for what lies beyond; shape (2 * window + 2,), float64."""
    return np.array([*(math.ldexp(1.0, k) for k in range(-window, window + 1)), np.nan])


@lru_cache(maxsize=1)
def exp_table() -> np.ndarray:
    """2**(i / 64) for i = -64 * 1021 ... 0; shape (64 * 1021 + 1,), float64; made once."""
    with localcontext(_DIGITS):
        roots = [float(Decimal(2) ** (Decimal(j) / EXP_STEPS)) for j in range(EXP_STEPS)]
    octaves = np.array([math.ldexp(1.0, -m) for m in range(EXP_OCTAVES, 0, -1)])
    table = (octaves[:, None] * np.array(roots)[None, :]).reshape(-1)  # exact: powers of two
    return np.concatenate([table, [1.0]])


@lru_cache(maxsize=1)
def tanh_table() -> np.ndarray:
    """(1 - 2**(-k / 64)) / 2, correctly rounded, for k = 0 ... 3694; shape (3695,), float64.

    Tabulated, because near k = 0 the rounded power would leave the difference few right bits.
    """
    last = round(TANH_ONE * 2.0 * EXP_INVERSE) + 1
    with localcontext(_DIGITS):
        powers = [Decimal(2) ** (Decimal(-k) / EXP_STEPS) for k in range(last + 1)]
        return np.array([float((1 - power) / 2) for power in powers])


def log_table() -> tuple[np.ndarray, np.ndarray]:
    """log(1 + j / 64) for j = 0 ... 64 as high and low parts; two of shape (65,), float64."""
    parts = []
    for j in range(LOG_STEPS + 1):
        with localcontext(_DIGITS):
            parts.append(split((1 + Decimal(j) / LOG_STEPS).ln()))
    high, low = np.array(parts).T
    return high.copy(), low.copy()
