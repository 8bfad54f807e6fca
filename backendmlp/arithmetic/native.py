"""The library's own operations: the fastest, and not the same bits on two machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backendmlp.backend import namespace

Array = Any


@dataclass(frozen=True)
class Native:
    """Each operation as the array's own library does it, in float32 or float64."""

    dtype: str = "float32"
    name: str = "native"

    def inputs(self, x: Array) -> Array:
        return self._float(namespace(x), x)

    def matmul(self, a: Array, b: Array) -> Array:
        xp = namespace(a, b)
        return xp.matmul(self._float(xp, a), self._float(xp, b))

    def gradients(self, pairs: Sequence[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
        return [(self.matmul(x.T, d), self.sum(d, 0)) for x, d in pairs]

    def sum(self, x: Array, axis: int, top: float | None = None) -> Array:
        return namespace(x).sum(x, axis=axis)

    def sum_of_squares(self, x: Array) -> Array:
        return namespace(x).sum(x * x)

    def exp(self, x: Array) -> Array:
        return namespace(x).exp(x)

    def log(self, x: Array) -> Array:
        return namespace(x).log(x)

    def tanh(self, x: Array) -> Array:
        return namespace(x).tanh(x)

    def logistic(self, x: Array) -> Array:
        """By the exponential of ``-abs(x)``, which cannot overflow."""
        xp = namespace(x)
        e = xp.exp(0.0 - xp.abs(x))
        return xp.where(x < 0.0, e, 1.0) / (1.0 + e)

    def sqrt(self, x: Array) -> Array:
        return namespace(x).sqrt(x)

    def update(self, parameter: Array, change: Array) -> Array:
        return parameter - change

    def settle(self, parameter: Array) -> Array:
        return self._float(namespace(parameter), parameter)

    def keep(self, state: Array) -> Array:
        return state

    def _float(self, xp: Any, x: Array) -> Array:
        return xp.astype(x, getattr(xp, self.dtype), copy=False)
