"""An Array API namespace that lets through an allow-list of operations, each for a reason.

It wraps array-api-strict.  What is not on the lists does not exist for the code under audit; a
sum or a matrix product is let through only where the operands at hand make it exact.
"""

from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import array_api_strict as strict
import numpy as np

FUNCTIONS = {
    "asarray": "moves or converts constants and tables; no arithmetic",
    "arange": "whole numbers",
    "zeros_like": "zeros",
    "astype": "between uint8, int32, int64 and float64, where every value is exact",
    "reshape": "moves entries",
    "concat": "moves entries",
    "take": "moves entries",
    "where": "selects entries",
    "abs": "clears the sign bit",
    "max": "selects an entry; order cannot matter",
    "min": "selects an entry; order cannot matter",
    "sqrt": "within one unit in the last place; here always one off, which must be put right",
    "searchsorted": "compares only",
    "matmul": "exact for factors of few bits, which is checked at every call",
    "sum": "exact for addends of few bits, which is checked at every call",
}
DTYPES = {
    "float64": "the one dtype of bitwise arithmetic",
    "int64": "indices and labels",
    "uint8": "pixels",
    "int32": "settled features, whole numbers of at most 20 bits and their sign",
}
OPERATORS = {
    "__add__": "one rounding, settled by IEEE 754",
    "__sub__": "one rounding, settled by IEEE 754",
    "__mul__": "one rounding, settled by IEEE 754",
    "__truediv__": "one rounding, of two arrays: by a number, some libraries multiply instead",
    "__rsub__": "as __sub__",
    "__rtruediv__": "of one alone: another number some multiply by the reciprocal",
    "__lt__": "a comparison",
    "__le__": "a comparison",
    "__gt__": "a comparison",
    "__ge__": "a comparison",
    "__eq__": "a comparison",
    "__and__": "of truth values",
    "__getitem__": "selects entries",
}
ATTRIBUTES = ("shape", "dtype", "device", "ndim")


class ForbiddenError(AssertionError):
    """Code under audit used what bitwise code must not."""


class Audited:
    """An array that knows the operators on the list and no others."""

    __hash__ = None

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    @property
    def T(self) -> Audited:  # noqa: N802
        return Audited(self.array.T)


def _operator(name: str) -> Any:
    def method(self: Audited, *others: Any) -> Any:
        NAMESPACE.used[name] += 1
        if name == "__truediv__" and not isinstance(others[0], Audited):
            raise ForbiddenError(f"a division by the number {others[0]}")
        if name == "__rtruediv__" and others[0] != 1.0:
            raise ForbiddenError(f"a division of the number {others[0]}")
        return _wrapped(getattr(self.array, name)(*map(_bare, others)))

    return method


def _attribute(name: str) -> property:
    return property(lambda self: getattr(self.array, name))


for _name in OPERATORS:
    setattr(Audited, _name, _operator(_name))
for _name in ATTRIBUTES:
    setattr(Audited, _name, _attribute(_name))


class Namespace:
    """What ``array_namespace`` finds for :class:`Audited` arrays; counts what is used of it."""

    def __init__(self) -> None:
        self.__name__ = "audit"  # array_namespace asks for it
        self.used: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in DTYPES:
            self.used[name] += 1
            return getattr(strict, name)
        if name not in FUNCTIONS:
            raise ForbiddenError(f"{name} is not on the list")

        def function(*args: Any, **kwargs: Any) -> Any:
            self.used[name] += 1
            args = tuple(map(_bare, args))
            if name == "matmul":
                check_product(*map(np.asarray, args))
            if name == "sum":
                check_sum(np.asarray(args[0]), kwargs.get("axis"))
            if name == "sqrt":
                return audited(one_off(np.sqrt(np.asarray(args[0]))))
            return _wrapped(getattr(strict, name)(*args, **kwargs))

        return function


NAMESPACE = Namespace()


def audited(x: np.ndarray) -> Audited:
    return Audited(strict.asarray(np.array(x)))


def one_off(x: np.ndarray) -> np.ndarray:
    """``x`` with every number one unit in the last place too large, or too small."""
    upwards = x.view(np.uint64) & np.uint64(2) == 0
    return np.nextafter(x, np.where(upwards, np.inf, 0.0))


def check_product(a: np.ndarray, b: np.ndarray) -> None:
    """Raise unless every partial sum of ``a @ b`` is a whole number below 2**53 of some unit.

    An entry is the sum over one row and one column, and each of these may have a unit of its own.
    """
    if a.dtype != np.float64 or b.dtype != np.float64:
        raise ForbiddenError(f"a product of {a.dtype} and {b.dtype}")
    if a.shape[1] * _largest(a, 1) * _largest(b, 0) > 2**53:
        raise ForbiddenError(f"a product over {a.shape[1]} terms that is not exact")


def check_sum(x: np.ndarray, axis: int | None) -> None:
    """Raise unless every partial sum is exact: whole numbers, or one term that is not zero."""
    if x.dtype == np.int64 or np.all(np.count_nonzero(x, axis=axis) <= 1):
        return
    terms = x.size if axis is None else x.shape[axis]
    if x.dtype != np.float64 or terms * _largest(x, axis) > 2**53:
        raise ForbiddenError(f"a sum over axis {axis} of shape {x.shape} that is not exact")


def _largest(x: np.ndarray, axis: int | None) -> float:
    """The largest entry of any line along ``axis``, in units of the finest bit of its line."""
    counts = np.isfinite(x) & (x != 0)
    if not counts.any():
        return 0.0
    mantissas, exponents = np.frexp(np.where(counts, np.abs(x), 1.0))
    whole = (mantissas * 2.0**53).astype(np.int64)
    lowest_bits = np.ldexp((whole & -whole).astype(np.float64), exponents - 53)
    unit = np.min(np.where(counts, lowest_bits, np.inf), axis=axis)
    return float(np.max(np.max(np.where(counts, np.abs(x), 0.0), axis=axis) / unit))


def _bare(x: Any) -> Any:
    if isinstance(x, Audited):
        return x.array
    if isinstance(x, (tuple, list)):
        return type(x)(map(_bare, x))
    return x


def _wrapped(x: Any) -> Any:
    return Audited(x) if isinstance(x, type(strict.zeros(()))) else x


def names_beyond_the_list() -> set[str]:
    """Array operators that Python knows and the list does not."""
    known = {name for name in dir(operator) if name.startswith("__")}
    return {name for name in known & set(dir(strict.zeros(()))) if name not in OPERATORS}
