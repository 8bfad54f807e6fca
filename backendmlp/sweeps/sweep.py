"""The runs of a sweep, several at a time, each in a folder of its own, and what they came to.

A sweep that was interrupted goes on where it stood: runs that are finished are read, others go on
from their checkpoints.  Each run has the bits that it has by itself, whoever computes it.
"""

from __future__ import annotations

import filecmp
import importlib.util
import multiprocessing
import os
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from backendmlp import backend as backends
from backendmlp.data import Dataset, load_sample
from backendmlp.errors import DataWarning, InputError, warn
from backendmlp.extras import install
from backendmlp.files import StrPath, writable_folder
from backendmlp.network.schedules import FORESEEN
from backendmlp.ranks import processors
from backendmlp.runs import record as records
from backendmlp.runs.folder import data_of, named_place, resume_run, train_run
from backendmlp.runs.parsing import Data
from backendmlp.runs.record import Record
from backendmlp.runs.stored import (
    CHECKPOINT,
    MODEL,
    RECORD,
    check_same,
    require_agreement,
    stored,
)
from backendmlp.runs.verification import checked
from backendmlp.sweeps.grid import Point, grid
from backendmlp.sweeps.table import Row, rows_of, says_all_of, write_table
from backendmlp.training.epochs import nothing
from backendmlp.training.trainer import DivergenceError

TABLE = "sweep.csv"
PICTURE = "sweep.png"


@dataclass(frozen=True)
class Swept:
    """A run of a sweep: its ``folder`` and receipt.

    ``warned`` is what the training warned of, with the kinds of warnings.
    """

    point: Point
    folder: Path
    record: Record
    warned: tuple[tuple[type[Warning], str], ...] = ()

    @property
    def diverged(self) -> str | None:
        """How, if it did."""
        return self.record.diverged


@dataclass(frozen=True)
class Sweep:
    """All ``runs`` of a sweep, in the order of their choices, and a row for each kind of them.

    ``others`` are the names of runs of former sweeps in ``folder``, which the table does not count;
    ``former`` is where the table before it is kept, if that said of them what this one does not.
    """

    folder: Path
    runs: list[Swept]
    rows: list[Row]
    others: list[str] = field(default_factory=list)
    former: Path | None = None


@dataclass(frozen=True)
class _Work:
    """What all runs of a sweep share; ``process`` is the number of the one that asks for them."""

    process: int
    dataset: Dataset
    data: Data
    backend: str
    device: str | None
    keep_epochs: bool


def sweep(
    folder: StrPath,
    over: Mapping[str, Sequence[Any]],
    dataset: Dataset | None = None,
    *,
    jobs: int | None = None,
    backend: str = "numpy",
    device: str | None = None,
    keep_epochs: bool = False,
    on_run: Callable[[Swept], None] = nothing,
    **choices: Any,
) -> Sweep:
    """Train a network for each combination of the values in ``over``, as ``backendmlp sweep`` does.

    >>> sweep("runs/rates", {"lr": [0.1, 0.05], "seed": range(5)}, epochs=20)  # doctest: +SKIP

    ``over`` and ``choices`` name the choices of :class:`backendmlp.Config`.  Up to ``jobs`` runs
    are trained at a time, by default one for each processor, in processes of joblib, or wherever a
    ``joblib.parallel_config`` around the call says, as on a cluster of Dask's.  Each run has a
    folder below ``folder``, as :func:`train_run` leaves it, and ``folder`` gets ``sweep.csv``: for
    each combination of choices but the seed, the mean and the standard deviation over its runs.
    A table of a former sweep that says more is kept beside it, as ``sweep-1.csv`` and so on.
    Called again, it goes on where it was interrupted, trains what is new in ``over``, and with more
    ``epochs`` trains on.
    ``on_run`` is told each run when it is done.

    A run that diverges ends none of the others, and is not tried again.  Raises :class:`InputError`
    where something asked for cannot be had.
    """
    points = grid(over, choices)
    backends.select(backend, device)  # refused here rather than by each run
    dataset = load_sample() if dataset is None else checked(dataset)
    dataset.outputs(points[0].config.regression)
    jobs = _jobs(jobs, len(points))
    place = named_place(folder)
    if any((place / name).exists() for name in (RECORD, CHECKPOINT)):
        raise InputError(
            f"folder {str(place)!r} holds a run; choose another --out for the runs of a sweep"
        )
    writable_folder(place)
    work = _Work(os.getpid(), dataset, data_of(dataset), backend, device, keep_epochs)
    found: dict[str, Swept] = {}
    told: set[str] = set()
    for swept in _each(jobs, work, place, points):
        found[swept.point.name] = swept
        _warn_once(swept, told)
        on_run(swept)
    runs = [found[point.name] for point in points]
    rows = rows_of((run.point.kind, run.record) for run in runs)
    former = _put_away(place, rows)
    write_table(place / TABLE, rows)
    return Sweep(place, runs, rows, _others(place, found), former)


def _jobs(jobs: int | None, runs: int) -> int:
    """How many runs at a time; refuses several where joblib is not installed."""
    if jobs is not None and (type(jobs) is not int or jobs < 1):
        raise InputError(f"jobs is {jobs!r:.80}; give a whole number above zero")
    found = min(len(processors()) if jobs is None else jobs, runs)
    if found > 1 and importlib.util.find_spec("joblib") is None:
        if jobs is None:
            return 1
        raise InputError(
            f"the package 'joblib' is not installed; install it with: {install('sweep')}, or leave "
            "jobs= out to train one run at a time"
        )
    return found


def _others(place: Path, names: Collection[str]) -> list[str]:
    """The runs in the folders of ``place`` that have none of ``names``."""
    found = {path.parent.name for name in (RECORD, CHECKPOINT) for path in place.glob(f"*/{name}")}
    return sorted(found.difference(names))


def _put_away(place: Path, rows: Sequence[Row]) -> Path | None:
    """Where the table in ``place`` is moved to, with its picture, if ``rows`` say less than it."""
    table = place / TABLE
    if not table.is_file() or says_all_of(table, rows):
        return None
    for number in count(1):
        kept = table.with_stem(f"{table.stem}-{number}")
        picture = place / f"{kept.stem}{Path(PICTURE).suffix}"
        if kept.is_file() and filecmp.cmp(kept, table, shallow=False):
            return kept  # put away before
        if not any(map(os.path.lexists, (kept, picture))):
            os.replace(table, kept)
            if (place / PICTURE).is_file():
                os.replace(place / PICTURE, picture)
            return kept
    raise AssertionError


def _each(jobs: int, work: _Work, place: Path, points: list[Point]) -> Iterator[Swept]:
    """Every run, when it is done."""
    if jobs == 1:
        yield from (_trained(work, place / point.name, point) for point in points)
        return
    from joblib import Parallel, delayed

    # Threads of each process are joblib's business: the processors, divided by the jobs.
    try:
        several = Parallel(n_jobs=jobs, return_as="generator_unordered")
    except ValueError as error:  # so joblib speaks of those that it keeps for old programs
        raise InputError(
            "joblib's backend of parallel_config cannot hand over runs as they end; choose 'loky', "
            "'threading' or 'dask' there, or leave it out"
        ) from error
    yield from several(delayed(_trained)(work, place / point.name, point) for point in points)


def _trained(work: _Work, folder: Path, point: Point) -> Swept:
    """The run of ``point``, in whatever state it was found."""
    _leave_if_orphaned(work)
    if (record := _finished(work, folder, point)) is not None:
        return Swept(point, folder, record)
    with warnings.catch_warnings(record=True) as heard, suppress(DivergenceError):
        warnings.simplefilter("always")
        _train(work, folder, point)
    _leave_if_orphaned(work)
    warned = tuple((entry.category, str(entry.message)) for entry in heard)
    return Swept(point, folder, records.read(folder / RECORD), warned)


def _orphaned(work: _Work) -> bool:
    """Whether this process was started for the sweep, and whoever asks for runs was killed.

    Workers of a cluster were started by others, and are left to them.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != work.process:
        return False
    try:
        return not parent.is_alive()
    except ValueError:  # one of loky's, which knows of its parent the number alone
        return os.getppid() != work.process


def _leave_if_orphaned(work: _Work) -> None:
    """Nobody is there to be told, and another sweep may go on from the checkpoint."""
    if _orphaned(work):
        os._exit(1)


def _train(work: _Work, folder: Path, point: Point) -> None:
    common = {
        "backend": work.backend,
        "device": work.device,
        "keep_epochs": work.keep_epochs,
        "should_stop": lambda: _orphaned(work),
    }
    if _begun(work, folder, point):
        resume_run(folder, work.dataset, epochs=point.config.epochs, **common)  # type: ignore[arg-type]
    else:
        train_run(folder, work.dataset, point.config, **common)  # type: ignore[arg-type]


def _warn_once(swept: Swept, told: set[str]) -> None:
    """What a run warned of: of its own course by its name, and of data, which all share, once."""
    for category, text in swept.warned:
        said = text if issubclass(category, DataWarning) else f"{swept.point.name}: {text}"
        if said not in told:
            told.add(said)
            warn(said, category)


def _finished(work: _Work, folder: Path, point: Point) -> Record | None:
    """The receipt of a run that is done, or would diverge again, and is this one."""
    present = {name for name in (RECORD, MODEL, CHECKPOINT) if os.path.lexists(folder / name)}
    if not {RECORD, MODEL} <= present:
        return None
    record = records.read(folder / RECORD)
    if CHECKPOINT in present and record.diverged is None:
        return None
    require_agreement(folder, record)
    config, through = record.config, len(record.epochs)
    if through < config.epochs and config.schedule not in FORESEEN:  # early: more change nothing
        config = replace(config, epochs=max(through, point.config.epochs))
    same = config == point.config and record.data.sha256 == work.data.sha256
    ended = record.through if record.diverged is None else point.config.epochs > through
    return record if same and ended else None


def _begun(work: _Work, folder: Path, point: Point) -> bool:
    """Whether a run is there to go on with; refuses another than this one."""
    if not folder.is_dir() or (found := stored(folder)) is None:
        return False
    try:
        check_same(found, point.config, work.data)
    except InputError as error:
        raise InputError(f"in {str(folder)!r} {error}") from error
    return True
