"""Steps on a GPU: contestants keep their processes, and go with them from cell to cell.

A cell is a network and a batch size.  In each, all get ready at the same time, and then take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.contestants import ENTRIES, ON_DEVICE
from benchmarks.goals import Results
from benchmarks.rounds import AbsentError, BrokenError, Worker
from benchmarks.task import DISCIPLINES, Discipline, Task

HIDDEN, BATCH_SIZES = ((100,), (1024,)), (64, 1024, 256, 8192)  # what matters most comes first
READY = 90.0  # seconds for a contestant to get ready for a cell, all of them at the same time
_SETTLE = 0.02  # seconds between two turns
_STEPS, _MOST_EPOCHS = 400, 16  # a turn has about so many steps, in whole epochs

# Compiling takes half a minute anew for each, and all the others would wait.
_COMPILING = 60.0  # seconds for that
_COMPILED = {"torch-compile": [((100,), 64), ((100,), 1024)]}

Cell = tuple[Discipline, int]


def cells(hiddens: list[tuple[int, ...]], batch_sizes: tuple[int, ...]) -> list[Cell]:
    """Every network with every batch size, one after the other."""
    sgd = DISCIPLINES["sgd"]
    return [
        (replace(sgd, hidden=hidden), size)
        for size in batch_sizes or BATCH_SIZES
        for hidden in hiddens or HIDDEN
    ]


def epochs(images: int, batch_size: int) -> int:
    """How many epochs a turn has."""
    return max(1, min(_MOST_EPOCHS, round(_STEPS / -(-images // batch_size))))


@dataclass
class Race:
    """``keys`` are the contestants; ``task`` is theirs but for name, network and batch size."""

    task: Task
    images: int
    rounds: int
    say: Callable[[str], None]
    keys: list[str] = field(default_factory=lambda: list(ON_DEVICE))
    left_out: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    _workers: dict[str, Worker] = field(default_factory=dict)

    def __enter__(self) -> Race:
        return self

    def __exit__(self, *_: Any) -> None:
        for worker in self._workers.values():
            worker.close()

    def run(self, cell: Cell) -> Results:
        """All rounds of a cell, in alternation."""
        self._get_ready(cell)
        for _ in range(self.rounds):
            for key in list(self._workers):
                time.sleep(_SETTLE)
                try:
                    self._turn(self._workers[key], cell[1])
                except BrokenError as error:
                    self._lose(key, error)
        return {key: worker.result for key, worker in self._workers.items()}

    def _turn(self, worker: Worker, batch_size: int) -> None:
        """Of those who say what an epoch takes without going through it, one such figure."""
        of_many = worker.result.key.endswith(("-fit", "-tested"))
        once = worker.result.steps == "definition" or of_many
        worker.run(1 if once else epochs(self.images, batch_size))

    def _get_ready(self, cell: Cell) -> None:
        """Start who is not there yet or any more, and give everybody the cell's task."""
        here = cell[0].hidden, cell[1]
        keys = [
            key
            for key in self.keys
            if key not in self.left_out and here in _COMPILED.get(key, [here])
        ]
        for key in set(self._workers) - set(keys):
            self._drop(key)
        with ThreadPoolExecutor(max(1, len(keys))) as pool:
            waited = {key: pool.submit(self._ready, key, cell) for key in keys}
        for key, future in waited.items():
            try:
                self._workers[key] = future.result()
            except AbsentError as error:
                self.left_out[key] = str(error)
                self.say(f"LEFT OUT: {ENTRIES[key].label}: {error}")
                self._drop(key)
            except BrokenError as error:
                self._lose(key, error)
        self._workers = {key: self._workers[key] for key in keys if key in self._workers}

    def _ready(self, key: str, cell: Cell) -> Worker:
        task = replace(self.task, contestant=key, discipline=cell[0], batch_size=cell[1])
        limit = _COMPILING if key in _COMPILED else READY
        if key in self._workers:
            self._workers[key].begin(task, limit)
            return self._workers[key]
        if not ENTRIES[key].installed:
            raise AbsentError(f"the package {ENTRIES[key].package!r} is not installed")
        return Worker(key, task, limit)

    def _lose(self, key: str, error: BrokenError) -> None:
        """It may start anew in the next cell."""
        self.broken[key] = str(error)
        self.say(f"BROKEN: {ENTRIES[key].label}: {error}")
        self._drop(key)

    def _drop(self, key: str) -> None:
        if key in self._workers:
            self._workers.pop(key).close()


def of_other_bits(results: Results) -> list[str]:
    """Of our bitwise contestants that ran the same epochs: those whose losses differ at all."""
    found = {
        key: result.losses
        for key, result in results.items()
        if key.startswith("device-bitwise") and result.losses
    }
    first = next(iter(found.values()), None)
    return [key for key, losses in found.items() if losses != first]
