"""Where a step's time goes, beside the bare products: the compiled steps' phases, or each line."""

from __future__ import annotations

import linecache
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.ours import Ours
from benchmarks.plain import Products, ProductsAndPass
from benchmarks.report import aligned
from benchmarks.task import Data, Task, load

Place = tuple[str, int]


class LineClock:
    """Adds up the time between lines of the network, of the steps and of methods in ``package``.

    Helpers and the arithmetic count to their caller; the clock's own time is between the lines.
    """

    def __init__(self, package: str, skipped: tuple[str, ...] = ()) -> None:
        self.package, self.skipped = package, skipped
        self.seconds: dict[Place, float] = defaultdict(float)
        self._stack: list[Place] = []
        self._since = 0.0

    def __enter__(self) -> LineClock:
        self._since = time.perf_counter()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._wanted(frame.f_code):
            return None
        self._credit()
        self._stack.append((frame.f_code.co_filename, frame.f_lineno))
        self._since = time.perf_counter()
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event != "exception":
            self._credit()
            if event == "line":
                self._stack[-1] = (frame.f_code.co_filename, frame.f_lineno)
            else:
                self._stack.pop()
        self._since = time.perf_counter()
        return self._line

    def _credit(self) -> None:
        if self._stack:
            self.seconds[self._stack[-1]] += time.perf_counter() - self._since

    def _wanted(self, code: CodeType) -> bool:
        file = Path(code.co_filename).as_posix()
        inner = any(f"{self.package}{part}/" in file for part in ("network", "steps"))
        return (
            self.package in file
            and (inner or code.co_varnames[:1] == ("self",))
            and "/arithmetic/" not in file
            and code.co_name not in self.skipped
        )


def profile(task: Task, data: Data, numerics: str, dtype: str) -> str:
    """A table of a step's operations: microseconds, share, source."""
    ours, products = Ours(task, data, numerics, dtype), Products(task, data, dtype)
    both = ProductsAndPass(task, data, dtype)
    steps = -(-len(data.images) // task.batch_size)
    for contestant in (ours, products, both):
        contestant.run()
    plain, bare, least = (
        min(contestant.run() for _ in range(3)) / steps for contestant in (ours, products, both)
    )
    seconds = _phases(ours) if hasattr(ours.trainer.stepper, "watch") else _lines(ours)
    title = f"{numerics} {dtype}, batch {task.batch_size}, {task.discipline.title}"
    rows = [("µs", "share", title)]
    total = sum(seconds.values())
    for name, value in seconds.items():
        if value >= 0.001 * total:
            rows.append((f"{1e6 * value / steps:.1f}", f"{value / total:.1%}", name))
    rows.append((f"{1e6 * total / steps:.1f}", "", "all of it, under the clock"))
    rows.append((f"{1e6 * plain:.1f}", "", "a step without the clock"))
    rows.append((f"{1e6 * bare:.1f}", f"{bare / plain:.1%}", "its bare products"))
    rows.append((f"{1e6 * least:.1f}", f"{least / plain:.1%}", "these and a pass"))
    return aligned(rows, left=(2,)) + "\n\n" + _products(products)


def _phases(ours: Ours) -> dict[str, float]:
    """Seconds of an epoch by what one thread of the compiled steps is at."""
    from backendmlp.steps.compiled.library import PHASES

    watch = ours.trainer.stepper.watch()
    whole = ours.run()
    found = dict(zip(PHASES, map(float, watch), strict=True))
    return {**found, "between the calls: shuffle, loss, threads begun": whole - sum(found.values())}


def _lines(ours: Ours) -> dict[str, float]:
    """Seconds of an epoch by the lines of the definition."""
    with LineClock("backendmlp/", ("finish_epoch", "_begin")) as clock:
        ours.run()
    return {
        f"{linecache.getline(file, line).strip()}  # {Path(file).name}:{line}": seconds
        for (file, line), seconds in clock.seconds.items()
    }


def _products(products: Products) -> str:
    """The bare products one by one."""
    import numpy as np

    rows = [("µs", "bare product")]
    for name, factors in products.steps[0].items():
        rows.append((f"{1e6 * _repeat(partial(np.matmul, *factors)):.1f}", name))
    return aligned(rows, left=(1,))


def _repeat(work: Any, times: int = 200) -> float:
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            work()
        rounds.append((time.perf_counter() - started) / times)
    return min(rounds)


def main() -> None:
    task = Task.decode(sys.argv[1])
    print("\n" + profile(task, load(task.folder), *sys.argv[2:4]), flush=True)


if __name__ == "__main__":
    main()
