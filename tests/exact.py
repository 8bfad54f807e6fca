"""Rational arithmetic with nothing lost: what the bitwise products are measured against."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

SCALE = 2**600  # every float64 the tests use, from 1e-150 up, is a whole multiple of 1 / SCALE
CANONICAL_NAN = np.frombuffer(np.float64(np.nan).tobytes(), np.uint64)[0]


def bits(x: np.ndarray) -> list:
    """``x`` (float64) as its bit patterns; every NaN counts as the same, whatever its payload."""
    assert x.dtype == np.float64
    patterns = np.ascontiguousarray(x).view(np.uint64).reshape(x.shape)
    return np.where(np.isnan(x), CANONICAL_NAN, patterns).tolist()


def integers(x: np.ndarray) -> np.ndarray:
    """``x`` times SCALE, as Python's whole numbers in an object array."""
    result = np.empty(x.shape, object)
    for at, value in np.ndenumerate(x):
        scaled = Fraction(float(value)) * SCALE
        assert scaled.denominator == 1
        result[at] = scaled.numerator
    return result


def errors(product: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How far ``product`` is from ``a @ b``, entry by entry, relative to ``abs(a) @ abs(b)``."""
    left, right = integers(a), integers(b)
    exact, size = left @ right, abs(left) @ abs(right)
    result = np.empty(product.shape)
    for at, value in np.ndenumerate(product):
        finite = np.isfinite(value)
        distance = abs(Fraction(float(value)) * SCALE**2 - exact[at]) if finite else size[at]
        result[at] = distance / Fraction(size[at])
    return result


def rounded(line: np.ndarray, bits: int) -> list[Fraction]:
    """The documented rounding of a line: by the power of two at or above its largest entry,
    to the nearest multiple of 2**-bits of it, half to even."""
    values = [Fraction(float(value)) for value in line]
    top = max(map(abs, values))
    power = Fraction(2) ** -450
    while power < top:
        power *= 2
    unit = power / 2**bits
    return [round(value / unit) * unit for value in values]


def bitwise_product(a: np.ndarray, b: np.ndarray, left: int, right: int) -> list[list[Fraction]]:
    """What a bitwise product is by definition: the exact product of the rounded factors."""
    rows = [rounded(row, left) for row in a]
    columns = [rounded(column, right) for column in b.T]
    return [
        [sum((x * y for x, y in zip(r, c, strict=True)), Fraction(0)) for c in columns]
        for r in rows
    ]


def fractions(x: np.ndarray) -> list[list[Fraction]]:
    return [[Fraction(float(value)) for value in row] for row in x]
