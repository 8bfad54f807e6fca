"""The processes that train together: what they agree on, and what they add up.

A single process is :data:`ALONE`, for which nothing here does anything.  The others speak MPI
(:mod:`backendmlp.distributed.mpi`); everything above takes either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import numpy as np

T = TypeVar("T")


class Ranks(Protocol):
    """All ranks call the same methods in the same order."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    @property
    def library(self) -> str:
        """In words, what they speak by: its name and version."""

    def largest(self, x: np.ndarray) -> None:
        """Put the largest of all ranks into each entry of ``x``, whole numbers."""

    def total(self, x: np.ndarray) -> None:
        """Put the sum over all ranks into each entry of ``x``, float64, of exact sums."""

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows (n_r, ...) of all ranks r, which have ``counts`` of them, rank after rank."""

    def all(self, value: T) -> list[T]:
        """Every rank's ``value``, by rank."""

    def first(self, find: Callable[[], T]) -> T:
        """What rank 0 finds; it alone is asked, and its :class:`InputError` is everyone's."""

    def most(self, value: float) -> float:
        """The largest ``value``; of truth values, whether any is true."""

    def beside(self) -> list[set[int]]:
        """For each rank of this machine, the processors that it may run on."""


class Alone:
    """A process that trains by itself."""

    rank, size, library = 0, 1, ""

    def largest(self, x: np.ndarray) -> None:
        pass

    def total(self, x: np.ndarray) -> None:
        pass

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        return mine

    def all(self, value: T) -> list[T]:
        return [value]

    def first(self, find: Callable[[], T]) -> T:
        return find()

    def most(self, value: float) -> float:
        return value

    def beside(self) -> list[set[int]]:
        return [processors()]


ALONE = Alone()


def processors() -> set[int]:
    """Those that this process may run on, by number."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def bounds(count: int, size: int) -> list[int]:
    """Where each of ``size`` shares of ``count`` rows begins, and the last one ends."""
    return [count * rank // size for rank in range(size + 1)]
