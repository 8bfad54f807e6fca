"""A command on the processes that mpiexec started, of which the first alone speaks."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable

from backendmlp.distributed.joining import joined, launched
from backendmlp.errors import InputError
from backendmlp.ranks import ALONE, Ranks


def refuse_others() -> None:
    """Refuse one training that several processes, started at once, would each do by themselves."""
    if (found := launched()) is not None:
        raise InputError(
            f"{found.size} processes were started at once ({found.variable} is {found.size}), and "
            "each would train by itself; add --distributed to train one network together, or unset "
            f"{found.variable} where each is to train another"
        )


def note_others(remedy: str) -> None:
    """Say, once, that several processes do the same work, and the ``remedy``."""
    found = launched()
    if found is not None and found.rank == 0:
        print(
            f"Warning: {found.size} processes were started at once ({found.variable} is "
            f"{found.size}), and each does all of the work by itself; {remedy}",
            file=sys.stderr,
            flush=True,
        )


def together(distributed: bool, work: Callable[[Ranks], int]) -> int:
    """The exit code that ``work`` returns; what ends all is the first rank's to tell."""
    ranks: Ranks = ALONE
    try:
        with joined(distributed) as ranks, warnings.catch_warnings():
            if ranks.rank > 0:
                warnings.simplefilter("ignore")
            return work(ranks)
    except InputError:  # every rank has come to it, or is ended
        if ranks.rank == 0:
            raise
        return 2
    except KeyboardInterrupt:
        if ranks.rank == 0:
            raise
        return 128 + signal.SIGINT
