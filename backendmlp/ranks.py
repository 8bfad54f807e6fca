"""The processes that train together: what they agree on, and what they add up.

A single process is :data:`ALONE`, for which nothing here does anything.  The others speak MPI
(:mod:`backendmlp.distributed.mpi`); everything above takes either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Ranks(Protocol):
    """All ranks call the same methods in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def largest(self, x: np.ndarray) -> None:
        """Put the largest of all ranks into each entry of ``x``, whole numbers."""

    def total(self, x: np.ndarray) -> None:
        """Put the sum over all ranks into each entry of ``x``, float64, of exact sums."""

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows (n_r, ...) of all ranks r, which have ``counts`` of them, rank after rank."""

    def all(self, value: Any) -> list[Any]:
        """Every rank's ``value``, by rank."""


class Alone:
    """A process that trains by itself."""

    rank, size = 0, 1

    def largest(self, x: np.ndarray) -> None:
        pass

    def total(self, x: np.ndarray) -> None:
        pass

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        return mine

    def all(self, value: Any) -> list[Any]:
        return [value]


ALONE = Alone()


def bounds(count: int, size: int) -> list[int]:
    """Where each of ``size`` shares of ``count`` rows begins, and the last one ends."""
    return [count * rank // size for rank in range(size + 1)]
