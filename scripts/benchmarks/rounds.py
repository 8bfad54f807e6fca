"""Measuring: a process for each contestant, and rounds in which each runs once in its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import backendmlp

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from together import mpi_path, mpiexec

from benchmarks.contestants import ENTRIES
from benchmarks.task import Task

SCRIPTS = Path(__file__).resolve().parents[1]
_SETTLE = 0.2  # seconds between two turns: until the threads of the one before stop spinning
_THREADS = ("OPENBLAS", "OMP", "MKL", "BLIS", "VECLIB", "NUMEXPR")


class AbsentError(Exception):
    """What a contestant needs is not on this machine."""


class BrokenError(Exception):
    """A contestant failed at its work."""


@dataclass
class Result:
    """A contestant's rounds: seconds an epoch, and the accuracy and test loss after each.

    ``predictions`` are the seconds of a call by its number of images.  ``steps`` says which of
    backendmlp's steps did the work, and ``measured`` what else it told, where that was asked for.
    """

    key: str
    warm_up: float
    seconds: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    predictions: dict[int, list[float]] = field(default_factory=dict)
    steps: str = ""
    measured: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def environment(threads: int, gpu: bool = False, checkout: Path | None = None) -> dict[str, str]:
    """The variables under which every library uses ``threads`` threads; ours is ``checkout``'s."""
    ours = Path(backendmlp.__file__).parents[1] if checkout is None else checkout
    before = os.environ.get("PYTHONPATH")
    here = os.pathsep.join([str(_scripts(checkout)), str(ours), *([before] if before else [])])
    limits = {f"{name}_NUM_THREADS": str(threads) for name in _THREADS}
    limits["VECLIB_MAXIMUM_THREADS"] = limits["NPROC"] = str(threads)  # NPROC: XLA's pool
    eigen = "true" if threads > 1 else "false"
    limits["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen}"
    limits["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # leave the GPU's memory to the others
    if not gpu:
        limits["JAX_PLATFORMS"] = "cpu"
    return {**os.environ, **limits, **mpi_path(), "PYTHONPATH": here}


def _scripts(checkout: Path | None) -> Path:
    return SCRIPTS if checkout is None else checkout / "scripts"


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Processes started within have as many cores as threads, where the system can see to it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def launcher(ranks: int) -> list[str]:
    """What starts so many processes of the command behind it; nothing for 0."""
    if ranks == 0:
        return []
    at = mpiexec()
    if at is None:
        raise AbsentError("there is no mpiexec")
    return [str(at), "-n", str(ranks)]


class Worker:
    """The parent's end of a contestant's process."""

    def __init__(self, name: str, task: Task, limit: float | None = None) -> None:
        """Start the process and its work, which is to be ready for it within ``limit`` seconds."""
        checkout = Path(task.checkout) if task.checkout else None
        entry = ENTRIES[task.contestant]
        self._late, self.task = False, task
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        with pinned(task.threads * max(1, task.ranks)):
            self.process = subprocess.Popen(
                [*launcher(task.ranks), sys.executable, "-m", "benchmarks.worker", task.encode()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**environment(task.threads, entry.gpu, checkout), **entry.environment},
                cwd=_scripts(checkout),
                text=True,
            )
        try:
            with self._at_most(limit):
                self._ready(name, self._answer())
        except BaseException:
            self.close()
            raise

    def begin(self, task: Task, limit: float | None = None) -> None:
        """Go on to another task, of the same contestant, in the same process."""
        with self._at_most(limit):
            self._ready(self.result.key, self._asked(f"task {task.encode()}"))

    def _ready(self, name: str, answer: dict[str, Any]) -> None:
        self.result = Result(name, answer["warm_up"], steps=answer.get("steps", ""))

    @contextmanager
    def _at_most(self, limit: float | None) -> Iterator[None]:
        """End the process if it takes longer than ``limit`` seconds."""
        if limit is None:
            yield
            return

        def end() -> None:
            self._late = True
            self.process.kill()

        timer = threading.Timer(limit, end)
        timer.start()
        try:
            yield
        except BrokenError as error:
            if self._late:
                raise AbsentError(f"not ready within {limit:.0f} s") from error
            raise
        finally:
            timer.cancel()

    def run(self, epochs: int) -> None:
        """Run ``epochs`` epochs and note the seconds each took."""
        answer = self._asked(f"epochs {epochs}")
        self.result.seconds.append(answer["seconds"] / epochs)
        self._note(answer)

    def predict(self, images: int) -> None:
        """Predict so many images and note the seconds of a call."""
        answer = self._asked(f"predict {images}")
        self.result.predictions.setdefault(images, []).append(answer["seconds"])
        self._note(answer)

    def measure(self, what: str) -> None:
        """Note what the contestant tells of itself by this word."""
        self.result.measured[what] = self._asked(f"measure {what}")

    def _note(self, answer: dict[str, Any]) -> None:
        for name, values in (("accuracy", self.result.accuracies), ("loss", self.result.losses)):
            if answer.get(name) is not None:
                values.append(answer[name])

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # what was written to one that has ended
                stream.close()
        self.process.kill()
        self.process.wait()

    def _asked(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended: the answer, none, says so
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise BrokenError(self.errors.read().decode(errors="replace")[-600:] or "it ended")
        answer = json.loads(line)
        if "error" in answer:
            raise (AbsentError if answer["absent"] else BrokenError)(answer["error"])
        return answer


@dataclass
class Outcome:
    """The results by contestant, and why the others have none."""

    results: dict[str, Result] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


Turn = Callable[[Worker], None]  # what a contestant does in a round


def one_epoch(worker: Worker) -> None:
    worker.run(1)


def compete(
    tasks: dict[str, Task],
    rounds: int,
    say: Callable[[str], None],
    turn: Turn = one_epoch,
) -> Outcome:
    """Run ``tasks``, by name, in alternating rounds; one process works at a time."""
    outcome = Outcome()
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, task in tasks.items():
            _start(name, task, workers, outcome, say)
            if name in workers:
                stack.callback(workers[name].close)
        for _ in range(rounds):
            for name in list(workers):
                time.sleep(_SETTLE)
                try:
                    turn(workers[name])
                except BrokenError as error:
                    outcome.broken[name] = str(error)
                    say(f"BROKEN: {name}: {error}")
                    del workers[name]
    outcome.results = {name: worker.result for name, worker in workers.items()}
    return outcome


def _start(
    name: str, task: Task, workers: dict[str, Worker], outcome: Outcome, say: Callable[[str], None]
) -> None:
    entry = ENTRIES[task.contestant]
    try:
        if not entry.installed:
            raise AbsentError(f"the package {entry.package!r} is not installed")
        workers[name] = Worker(name, task)
    except AbsentError as error:
        outcome.absent[name] = str(error)
        say(f"LEFT OUT: {entry.label}: {error}")
    except BrokenError as error:
        outcome.broken[name] = str(error)
        say(f"BROKEN: {entry.label}: {error}")
