"""Ranks that speak MPI: the one module that imports mpi4py."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NoReturn, TypeVar

import numpy as np
from mpi4py import MPI

from backendmlp.errors import InputError
from backendmlp.ranks import processors

T = TypeVar("T")

_PATIENCE = 2.0  # seconds in which ranks that fail for one reason all come to it
_LOOK = 0.01  # seconds between two looks at whether they have


class MpiRanks:
    """Those of a communicator; MPI is called by one thread alone."""

    def __init__(self, communicator: Any) -> None:
        self._comm = communicator
        self._failing = communicator.Dup()  # so that a failure never meets a sum
        self.rank, self.size = communicator.rank, communicator.size

    @property
    def library(self) -> str:
        name, version = MPI.get_vendor()
        return f"{name} {'.'.join(map(str, version))}"

    def largest(self, x: np.ndarray) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, x, MPI.MAX)

    def total(self, x: np.ndarray) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, x, MPI.SUM)

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        mine = np.ascontiguousarray(mine)
        width = int(np.prod(mine.shape[1:], dtype=np.int64))
        found = np.empty((sum(counts), *mine.shape[1:]), mine.dtype)
        self._comm.Allgatherv(mine, [found, [count * width for count in counts]])
        return found

    def all(self, value: T) -> list[T]:
        found: list[T] = self._comm.allgather(value)
        return found

    def first(self, find: Callable[[], T]) -> T:
        found: T | None = None
        error: InputError | None = None
        if self.rank == 0:
            try:
                found = find()
            except InputError as mistake:  # everybody's, told once
                error = mistake
        both: tuple[T, InputError | None] = self._comm.bcast((found, error))
        if both[1] is not None:
            raise both[1]
        return both[0]

    def most(self, value: float) -> float:
        return float(self._comm.allreduce(float(value), MPI.MAX))

    def beside(self) -> list[set[int]]:
        local = self._comm.Split_type(MPI.COMM_TYPE_SHARED)
        found: list[set[int]] = local.allgather(processors())
        local.Free()
        return found

    def all_failed(self) -> bool:
        """Whether every rank has come to this call, soon enough; each does when it fails."""
        # Rank 0 has the first word.
        until = time.monotonic() + _PATIENCE * (1 if self.rank == 0 else 1.5)
        request = self._failing.Ibarrier()
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(_LOOK)
        return True

    def abort(self, code: int) -> NoReturn:
        """End all ranks with exit code ``code``, wherever they are."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._comm.Abort(code)
        os._exit(code)  # some launchers take their time


@lru_cache(maxsize=1)
def world() -> MpiRanks:
    """All that the launcher started."""
    return MpiRanks(MPI.COMM_WORLD)
