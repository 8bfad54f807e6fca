"""The one table of how far two libraries may lie apart in native numerics, and why.

An entry is compared as ``|a - b| <= relative * |b| + absolute``, where ``absolute`` is in units of
the largest entry of ``b``: rounding errors of a sum are relative to its terms, not to its result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tolerance:
    relative: float
    absolute: float


# One rounding is 2**-24 (6e-8) in float32 and 2**-53 (1.1e-16) in float64.
TOLERANCES = {
    # exp and log of one number: libraries document up to 4 units in the last place each; near
    # zero a logarithm of 1 + tiny keeps its absolute error, hence the small absolute part.
    ("float32", "function"): Tolerance(1e-6, 1e-7),
    ("float64", "function"): Tolerance(2e-15, 2e-16),
    # A sum of up to 784 terms: 784 roundings at worst, sqrt(784) = 28 as a rule, of 2**-24 each
    # relative to the terms, whose sum may cancel.
    ("float32", "operation"): Tolerance(1e-6, 1e-5),
    ("float64", "operation"): Tolerance(2e-15, 2e-14),
    # Two products, a softmax and two products back: a handful of the above, one after the other.
    ("float32", "gradients"): Tolerance(1e-5, 2e-5),
    ("float64", "gradients"): Tolerance(2e-14, 4e-14),
    # The change of one step is a tenth of a gradient, beside weights that agreed.
    ("float32", "step"): Tolerance(1e-6, 1e-6),
    ("float64", "step"): Tolerance(2e-15, 2e-15),
    # Ten steps: each starts from weights that differ already, and a hidden unit within rounding
    # of its kink may be open here and shut there. Growth by two decimal digits is allowed.
    ("float32", "run"): Tolerance(1e-4, 1e-4),
    ("float64", "run"): Tolerance(1e-12, 1e-12),
    # Steps of any optimiser, some of which divide small numbers by small ones.
    ("float32", "training"): Tolerance(2e-2, 2e-2),
    ("float64", "training"): Tolerance(1e-9, 1e-9),
    # Bitwise beside native float64: a factor keeps 21 bits (784 terms) to 26, about what float32
    # has, so it may lie as far from float64 as float32 does.
    ("bitwise", "operation"): Tolerance(1e-6, 1e-5),
    ("bitwise", "gradients"): Tolerance(1e-5, 2e-5),
}


def assert_close(found: np.ndarray, expected: np.ndarray, dtype: str, kind: str) -> None:
    """Raise AssertionError where ``found`` is further from ``expected`` than the table allows."""
    assert found.dtype == expected.dtype, f"{found.dtype} is not {expected.dtype}"
    allowed = TOLERANCES[dtype, kind]
    scale = float(np.max(np.abs(expected), initial=0.0))
    np.testing.assert_allclose(
        found, expected, rtol=allowed.relative, atol=allowed.absolute * scale
    )
