"""backendmlp on the ranks that mpiexec started, with a seam that counts what goes through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, TextIO, TypeVar

import numpy as np
from mpi4py import MPI

from backendmlp.distributed.mpi import world
from backendmlp.ranks import Ranks
from benchmarks.ours import Ours
from benchmarks.task import Data, Task

T = TypeVar("T")

_LOOK = 0.0005  # seconds between two looks of those who wait, or they take others' processors
_SECONDS, _MOST = 0.3, 2000  # of an allreduce's calls


class Counted:
    """Ranks that count calls, and the bytes that this one hands over."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.rank, self.size, self.library = ranks.rank, ranks.size, ranks.library
        self.seen: dict[str, list[int]] = {}

    def _note(self, what: str, size: int) -> None:
        seen = self.seen.setdefault(what, [0, 0])
        seen[0] += 1
        seen[1] += size

    def largest(self, x: np.ndarray) -> None:
        self._note("largest", x.nbytes)
        self._ranks.largest(x)

    def total(self, x: np.ndarray) -> None:
        self._note("total", x.nbytes)
        self._ranks.total(x)

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        self._note("gather", mine.nbytes)
        return self._ranks.gather(mine, counts)

    def all(self, value: T) -> list[T]:
        return self._ranks.all(value)

    def first(self, find: Callable[[], T]) -> T:
        return self._ranks.first(find)

    def most(self, value: float) -> float:
        self._note("most", 8)
        return self._ranks.most(value)

    def beside(self) -> list[set[int]]:
        return self._ranks.beside()


class OnRanks(Ours):
    """All do the same, at the same time; the first is asked, and answers."""

    def __init__(self, task: Task, data: Data, **options: Any) -> None:
        self.ranks = Counted(world())
        self.speaks = self.ranks.rank == 0
        super().__init__(task, data, **options)

    def lines(self, given: TextIO) -> Iterator[str]:
        while True:
            line = given.readline() if self.ranks.rank == 0 else ""
            request = MPI.COMM_WORLD.Ibarrier()
            while not request.Test():
                time.sleep(_LOOK)
            line = MPI.COMM_WORLD.bcast(line)
            if not line:
                return
            yield line

    def epoch(self) -> None:
        self.ranks.seen.clear()
        super().epoch()

    def measure(self, what: str) -> dict[str, Any]:
        """Of "traffic" calls and bytes of the last epoch, of "allreduce BYTES" the seconds."""
        if what == "traffic":
            return dict(self.ranks.seen)
        return {"seconds": self._allreduce(int(what.split()[1]))}

    def _allreduce(self, size: int) -> float:
        """The median of many calls of the seam's sum."""
        x = np.zeros(size // 8)
        took = median(self._timed(x) for _ in range(5))
        calls = int(self.ranks.most(max(5, min(_MOST, _SECONDS / took))))
        return median(self._timed(x) for _ in range(calls))

    def _timed(self, x: np.ndarray) -> float:
        started = time.perf_counter()
        self.ranks.total(x)
        return time.perf_counter() - started
