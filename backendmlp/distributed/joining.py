"""Who trains together: found when a training begins, and ended together if one of them fails."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.extras import install
from backendmlp.ranks import ALONE, Ranks
from backendmlp.training.trainer import DivergenceError

# What launchers tell each process they start: how many there are, and which of them it is.
_LAUNCHED = {
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "PMI_SIZE": "PMI_RANK",
    "MV2_COMM_WORLD_SIZE": "MV2_COMM_WORLD_RANK",
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
}
# Who sets one of these knows how many threads a rank is to have.
_THREADS = {
    "openmp": ("OMP_NUM_THREADS",),
    "blas": ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
}


@dataclass(frozen=True)
class Launched:
    """That a launcher started ``size`` processes at once, of which this is number ``rank``.

    ``variable`` is the one of the environment that says so.
    """

    variable: str
    size: int
    rank: int


def launched() -> Launched | None:
    """What started this process among others; None where it is a single one.

    Within an allocation of Slurm's it is, unless ``srun`` started this very process: in a script,
    or a shell (``srun --pty``), whose variables are inherited, one is meant.
    """
    step = os.environ.get("SLURM_STEP_NUM_TASKS")
    inherited = os.environ.get("SLURM_TASK_PID") != str(os.getpid())
    for size, rank in _LAUNCHED.items():
        text = os.environ.get(size, "")
        if _count(text) > 1 and not (inherited and text == step):
            return Launched(size, int(text), _count(os.environ.get(rank, "")))
    return None


@contextmanager
def joined(distributed: bool) -> Iterator[Ranks]:
    """The ranks of MPI, if ``distributed``; a rank that fails within ends them all.

    Raises :class:`InputError` where MPI is not at hand, or was started by another MPI's launcher.
    """
    if not distributed:
        yield ALONE
        return
    ranks = _world()
    try:
        yield ranks
    except DivergenceError:  # all find it at the same time, and the results are written
        raise
    except BaseException as error:
        if ranks.size > 1 and not ranks.all_failed():
            print(f"Error: {_sentence(ranks.rank, error)}", file=sys.stderr, flush=True)
            ranks.abort(_code(error))
        raise


def begin(ranks: Ranks, config: Config, facts: Callable[[], Mapping[str, Any]]) -> None:
    """Agree on what is to be trained, and share out the processors.

    ``facts`` finds what must be the same beside the ``config``, by what it is called.  Raises
    :class:`InputError` on every rank where one differs from rank 0, in words.
    """
    if ranks.size == 1:
        return
    _share_processors(ranks)
    if config.numerics != "bitwise":
        raise InputError(
            f"numerics is {config.numerics!r}, whose bits would depend on the number of ranks; "
            "choose 'bitwise', or a single process"
        )
    first, *others = ranks.all({**config.as_dict(), **facts()})
    for rank, other in enumerate(others, 1):
        for name, value in first.items():
            if other[name] != value:
                raise InputError(
                    f"{name} is {str(other[name])[:80]} on rank {rank} and {str(value)[:80]} on "
                    "rank 0; start all ranks with the same"
                )


def _world() -> Any:
    if importlib.util.find_spec("mpi4py") is None:
        raise InputError(
            f"the package 'mpi4py' is not installed; install it with: {install('mpi')}"
        )
    try:
        with warnings.catch_warnings():  # of another launcher: refused below, in a sentence
            warnings.filterwarnings("ignore", message="suspicious MPI")
            from backendmlp.distributed.mpi import world
    except (ImportError, RuntimeError) as error:  # mpi4py is there, and no MPI to load
        raise InputError(
            f"MPI cannot be loaded ({str(error).strip().splitlines()[0]:.200}); load the cluster's "
            f"module, or install MPICH with: {install('mpi')}"
        ) from error
    ranks = world()
    started = max((_count(os.environ.get(name, "")) for name in _LAUNCHED), default=1)
    if started > ranks.size:
        raise InputError(
            f"{started} processes were started and this one sees {ranks.size}: the launcher is of "
            f"another MPI than the {ranks.library} that mpi4py loads; use that one's mpiexec"
        )
    return ranks


def _count(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _share_processors(ranks: Ranks) -> None:
    """Let the ranks of a machine share out its processors, unless somebody has said otherwise.

    More threads than processors wait for one another, by spinning.
    """
    beside = ranks.beside()
    threads = max(1, len(set().union(*beside)) // len(beside))
    limits = {
        kind: threads
        for kind, names in _THREADS.items()
        if not any(name in os.environ for name in names)
    }
    threadpool_limits(limits)  # type: ignore[arg-type]


def _code(error: BaseException) -> int:
    """With which all ranks end."""
    return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 2


def _sentence(rank: int, error: BaseException) -> str:
    """What ends a training on one rank alone, in one sentence."""
    if isinstance(error, InputError):
        return f"rank {rank}: {error}"
    if isinstance(error, KeyboardInterrupt):
        return f"rank {rank} was interrupted"
    said = next(iter(str(error).strip().splitlines()), "")
    return f"rank {rank} failed: {type(error).__name__}{f': {said[:300]}' if said else ''}"
