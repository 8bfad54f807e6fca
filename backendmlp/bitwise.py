"""The arithmetic under the network as a library of its own: the same bits from every array library.

Build another model than ours on these functions and on ``+ - * /``, comparison and selection,
which IEEE 754 settles, and it gives the same bits on NumPy, CuPy, PyTorch, JAX and
array-api-strict, with any BLAS and any number of threads.  ``docs/bitwise.md`` has an example.

Arguments are arrays of any of these libraries, of floats or whole numbers; float64 comes back, on
the same device.  uint8 is exact as it stands and leaves more bits to what stands beside it.  What
is no array raises :class:`backendmlp.InputError`.

What is left to the caller: do not compile several of these operations into one (``jit``,
``torch.compile``), which may contract a product and a sum; divide by an array, not by a number;
on JAX switch 64 bits on.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.backend import namespace
from backendmlp.errors import InputError

Array = Any

_BITWISE = Bitwise()

__all__ = [
    "exp",
    "log",
    "logistic",
    "matmul",
    "mean",
    "round_to_grid",
    "softmax",
    "sqrt",
    "sum",
    "tanh",
]


def matmul(a: Array, b: Array) -> Array:
    """The matrix product, whose bits no order of summation can change.

    Parameters
    ----------
    a : array (m, k)
    b : array (k, n)

    Returns
    -------
    array (m, n), float64
        Each row of ``a`` and each column of ``b`` is first rounded to about ``(53 - log2(k)) / 2``
        bits below its largest entry, beside uint8 to ``45 - log2(k)``; the sums are then exact.
        A row or column whose largest entry is beyond 2**450 or not finite gives NaN.
    """
    a, b = _operand("a", a), _operand("b", b)
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0] or 0 in a.shape:
        raise InputError(
            f"the factors have the shapes {tuple(a.shape)} and {tuple(b.shape)}; give (m, k) and "
            "(k, n), with m and k at least 1"
        )
    return _BITWISE.matmul(a, b) + 0.0  # of a zero whose terms are all zero, libraries disagree


def sum(x: Array, axis: int | None = None) -> Array:
    """The sum over ``axis``, or of all entries; its bits depend on no order.

    Addends are first rounded to ``53 - log2(count)`` bits below the largest of their line; one
    beyond 2**450, or not finite, makes the sum NaN.
    """
    x, axis = _line(x, axis)
    return _BITWISE.sum(_float(x), axis)


def mean(x: Array, axis: int | None = None) -> Array:
    """:func:`sum` times the reciprocal of the count."""
    x, axis = _line(x, axis)
    return _BITWISE.sum(_float(x), axis) * (1.0 / x.shape[axis])


def exp(x: Array) -> Array:
    """The exponential of each entry.

    Within 2 ulp for ``x <= 0`` and 3 ulp above; zero below -707.7, infinite above 707.7.
    """
    x = _float(_operand("x", x))
    xp = namespace(x)
    below = _BITWISE.exp(-xp.abs(x))
    above = xp.where(below == 0.0, math.inf, 1.0 / xp.where(below == 0.0, 1.0, below))
    return xp.where(x > 0.0, above, below)


def log(x: Array) -> Array:
    """The natural logarithm of each entry, within 2 ulp; NaN outside 2**-1020 to 2**1020."""
    return _BITWISE.log(_float(_operand("x", x)))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent of each entry, within 4 ulp; zero is +0, and from 20 on it is 1."""
    return _BITWISE.tanh(_float(_operand("x", x)))


def logistic(x: Array) -> Array:
    """``1 / (1 + exp(-x))`` of each entry, within 3 ulp; zero below -707.7."""
    return _BITWISE.logistic(_float(_operand("x", x)))


def sqrt(x: Array) -> Array:
    """The square root of each entry, correctly rounded; PyTorch's own is not on every CPU.

    NaN below zero.
    """
    return _BITWISE.sqrt(_float(_operand("x", x)))


def softmax(x: Array) -> Array:
    """Each row of ``x`` (n, c) as shares that sum to one: exponentials of it less its maximum."""
    x = _float(_operand("x", x))
    if len(x.shape) != 2:
        raise InputError(f"x has shape {tuple(x.shape)}; give rows, as (n, c)")
    xp = namespace(x)
    exponentials = _BITWISE.exp(x - xp.max(x, axis=1, keepdims=True))
    return exponentials * (1.0 / _BITWISE.sum(exponentials, 1))[:, None]


def round_to_grid(x: Array) -> Array:
    """Each entry as the nearest multiple of 2**-29, half to even; to be kept below 2**22 in size.

    Weights that live on a grid lose nothing when they are added up, saved and restored.
    """
    return _BITWISE.settle(_float(_operand("x", x)))


def _operand(name: str, x: Array) -> Array:
    """``x``, checked: uint8 as it is, everything else as float64."""
    if not array_api_compat.is_array_api_obj(x):
        raise InputError(f"{name} is {type(x).__name__}; give an array, as of numpy.asarray")
    xp = namespace(x)
    if not xp.isdtype(x.dtype, ("real floating", "integral")):
        raise InputError(f"{name} has dtype {x.dtype}; give floats or whole numbers")
    return x if x.dtype == xp.uint8 else _float(x)


def _float(x: Array) -> Array:
    xp = namespace(x)
    return xp.astype(x, xp.float64, copy=False)


def _line(x: Array, axis: int | None) -> tuple[Array, int]:
    """``x`` and the axis to sum over, flat where there is none."""
    x = _operand("x", x)
    if axis is None:
        x, axis = namespace(x).reshape(x, (-1,)), 0
    if not -len(x.shape) <= axis < len(x.shape) or x.shape[axis] == 0:
        raise InputError(f"x has shape {tuple(x.shape)} and no entries along axis {axis}")
    return x, axis % len(x.shape)


def __dir__() -> list[str]:
    return __all__
