"""One of the processes that :mod:`fuzzing.group` starts: ``mpiexec -n 5 python ranked.py``."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mpi4py import MPI

from backendmlp.distributed.mpi import MpiRanks
from backendmlp.ranks import ALONE
from fuzzing.going import IMPLEMENTATIONS, Company, Entry, Gone, went
from fuzzing.group import packed, unpacked

WORLD = MPI.COMM_WORLD
_LOOK = 0.001  # seconds between two looks of those who wait, or they take others' processors


class Ranked(Company):
    """The first so many of all processes have part in a hop of so many names, a name each."""

    def __init__(self) -> None:
        rank, sizes = WORLD.rank, range(1, WORLD.size + 1)
        groups = {n: WORLD.Split(0 if rank < n else MPI.UNDEFINED, rank) for n in sizes}
        self._ranks = {n: MpiRanks(groups[n]) for n in sizes if rank < n and n > 1}

    def part(self, name: str) -> tuple[str, Any] | None:
        names = name.split("+")
        if WORLD.rank >= len(names):
            return None
        return names[WORLD.rank], self._ranks.get(len(names), ALONE)

    def share(self, value: Any) -> Any:
        """The first's ``value``, which all who had part in it must have found too."""
        wait()
        own = digest(value.found) if isinstance(value, Gone) and value.by else None
        for rank, other in enumerate(WORLD.allgather(own)):
            if other is not None and other != own and WORLD.rank == 0:
                raise RuntimeError(f"rank {rank} found something else than rank 0")
        return WORLD.bcast(value)


def wait() -> None:
    """For all processes, without a processor."""
    request = WORLD.Ibarrier()
    while not request.Test():
        time.sleep(_LOOK)


def digest(found: list[Entry]) -> str:
    text = hashlib.sha256()
    for name, value in found:
        text.update(repr(name).encode())
        text.update(value.encode() if isinstance(value, str) else value.tobytes())
    return text.hexdigest()


def main() -> None:
    # Whatever a library prints must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(answers)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        WORLD.Abort(1)


def serve(answers: TextIO) -> None:
    company = Ranked()
    while True:
        asked = sys.stdin.readline() if WORLD.rank == 0 else ""
        asked = company.share(asked)
        if not asked:
            return
        found = went(*unpacked(asked), IMPLEMENTATIONS, company)
        if WORLD.rank == 0:
            print(packed(found), end="", file=answers, flush=True)


if __name__ == "__main__":
    main()
