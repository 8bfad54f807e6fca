"""Where a step's time goes, beside the bare products: the compiled steps' phases, or each line."""

from __future__ import annotations

import linecache
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.ours import Ours
from benchmarks.plain import Products
from benchmarks.report import aligned
from benchmarks.task import Data, Task, load

Place = tuple[str, int]


class LineClock:
    """Adds up the time between the lines of the model and of methods in ``package``.

    Helpers count to their caller; the clock's own time is between the lines.
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
        return (
            self.package in code.co_filename
            and (code.co_varnames[:1] == ("self",) or Path(code.co_filename).name == "model.py")
            and "/arithmetic/" not in code.co_filename.replace("\\", "/")
            and code.co_name not in self.skipped
        )


def profile(task: Task, data: Data, numerics: str, dtype: str) -> str:
    """A table of a step's operations: microseconds, share, source."""
    ours, products = Ours(task, data, numerics, dtype), Products(task, data, dtype)
    steps = -(-len(data.images) // task.batch_size)
    for contestant in (ours, products):
        contestant.run()
    bare = min(products.run() for _ in range(3)) / steps
    plain = min(ours.run() for _ in range(3)) / steps
    seconds = _phases(ours) if hasattr(ours.trainer.stepper, "watch") else _lines(ours)
    rows = [("µs", "share", f"{numerics} {dtype}, batch {task.batch_size}, {task.hidden} hidden")]
    total = sum(seconds.values())
    for name, value in seconds.items():
        if value >= 0.001 * total:
            rows.append((f"{1e6 * value / steps:.1f}", f"{value / total:.1%}", name))
    rows.append((f"{1e6 * total / steps:.1f}", "", "all of it, under the clock"))
    rows.append((f"{1e6 * plain:.1f}", "", "a step without the clock"))
    rows.append((f"{1e6 * bare:.1f}", f"{bare / plain:.1%}", "its bare products"))
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

    x, h, z, d2, d1 = products.steps[0]
    calls = {
        "X W1": (x, products.W1, h),
        "H W2": (h, products.W2, z),
        "H^T D2": (h.T, d2, products.G2),
        "D2 W2^T": (d2, products.W2.T, d1),
        "X^T D1": (x.T, d1, products.G1),
    }
    rows = [("µs", "bare product")]
    for name, (a, b, out) in calls.items():
        rows.append(
            (f"{1e6 * _repeat(lambda a=a, b=b, out=out: np.matmul(a, b, out=out)):.1f}", name)
        )
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
