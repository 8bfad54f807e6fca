"""A command on the processes that mpiexec started, of which the first alone speaks."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable

from backendmlp.distributed.joining import joined
from backendmlp.errors import InputError
from backendmlp.ranks import ALONE, Ranks


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
