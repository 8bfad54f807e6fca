"""Ranks that speak MPI: the one module that imports mpi4py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mpi4py import MPI


class MpiRanks:
    """Those of a communicator; MPI is called by one thread alone."""

    def __init__(self, communicator: Any = MPI.COMM_WORLD) -> None:
        self._comm = communicator
        self.rank, self.size = communicator.rank, communicator.size

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

    def all(self, value: Any) -> list[Any]:
        return self._comm.allgather(value)
