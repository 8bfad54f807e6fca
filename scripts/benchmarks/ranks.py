"""Ranks beside threads: what an epoch takes, what travels, and what to expect of more of them.

Each number of ranks, of one thread, is beside a single process of as many threads.  Two processes
measure what an allreduce takes, and a model tells from that, and from what steps of one thread
take, how many processors' worth of work larger numbers of ranks would do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from benchmarks.goals import Results, Verdict
from benchmarks.report import aligned
from benchmarks.rounds import Outcome, Worker, compete
from benchmarks.task import Task

COUNTS, BATCH_SIZES = (1, 2, 4), (64, 1024, 8192)
EXPECTED, LARGE = (8, 64, 1024), (64, 1024, 8192, 65_536)  # ranks and batches of the model
SIZES = (8, 512, 65_536, 1 << 19, 1 << 20, 1 << 23)  # bytes of an allreduce
_LIMIT = 1.15  # times as long as threads that two ranks may take
_ALONE, _RANKED = "ours-bitwise-float64", "ours-ranks"


@dataclass(frozen=True)
class Network:
    """A message takes ``latency`` seconds and a second for each ``bandwidth`` bytes."""

    name: str
    latency: float
    bandwidth: float

    def allreduce(self, ranks: int, size: float) -> float:
        """Seconds: by halving and doubling or, of few bytes, by doubling alone."""
        rounds, sent = math.ceil(math.log2(ranks)), size / self.bandwidth
        halving = 2 * rounds * self.latency + 2 * (ranks - 1) / ranks * sent
        return min(halving, rounds * (self.latency + sent))


# Between the furthest nodes, as the machine was to have it; Brightwell and others, "Portals 3.3 on
# the Sandia/Cray Red Storm System", 2005.
PUBLISHED = Network("Red Storm, as published", 5e-6, 1.5e9)


@dataclass(frozen=True)
class Work:
    """What one thread takes: seconds a step, whatever its rows, and seconds a row."""

    step: float
    row: float

    def seconds(self, rows: float) -> float:
        return self.step + self.row * rows


def tasks(task: Task) -> dict[str, Task]:
    """By name, "threads N" and "ranks N"."""
    alone = {f"threads {n}": replace(task, contestant=_ALONE, threads=n) for n in COUNTS}
    ranked = {
        f"ranks {n}": replace(task, contestant=_RANKED, threads=1, ranks=n) for n in COUNTS[1:]
    }
    return alone | ranked


def cell(task: Task, rounds: int, say: Callable[[str], None]) -> Outcome:
    """All of them at one batch size, and what travelled."""

    def turn(worker: Worker) -> None:
        worker.run(1)
        if worker.task.ranks and "traffic" not in worker.result.measured:
            worker.measure("traffic")
            for size in SIZES:
                worker.measure(f"allreduce {size}")

    return compete(tasks(task), rounds, say, turn)


def table(results: Results) -> str:
    """Seconds an epoch, and how many times as long as as many threads."""
    rows = [("", "median s", "min-max s", "x threads")]
    for name, result in results.items():
        beside = results.get(name.replace("ranks", "threads"))
        times = median(result.seconds) / median(beside.seconds) if beside else None
        rows.append(
            (
                name,
                f"{median(result.seconds):.4f}",
                f"{min(result.seconds):.4f}-{max(result.seconds):.4f}",
                "" if times is None or "threads" in name else f"{times:.2f}",
            )
        )
    return aligned(rows)


def of_other_bits(results: Results) -> list[str]:
    """Whose losses are not those of one thread."""
    first = next(iter(results.values()), None)
    return [name for name, result in results.items() if first and result.losses != first.losses]


def traffic_text(results: Results, steps: int) -> str:
    """In words, what a rank handed over in an epoch, as the seam counted it."""
    lines = []
    for name, result in results.items():
        for what, (calls, size) in result.measured.get("traffic", {}).items():
            each = f"{calls / steps:.2f} a step, {size / calls:,.0f} bytes each"
            lines.append(f"{name}: {what} {calls:,} times an epoch ({each})")
    return "\n".join(lines)


def measured(results: Results) -> Network | None:
    """What allreduces of two ranks say of this machine; None where there were none."""
    found = results["ranks 2"].measured if "ranks 2" in results else {}
    if f"allreduce {SIZES[0]}" not in found:
        return None
    latency, whole = (found[f"allreduce {size}"]["seconds"] for size in (SIZES[0], SIZES[-1]))
    return Network("this machine's memory", latency, SIZES[-1] / max(whole - 2 * latency, 1e-9))


def allreduce_table(results: Results) -> str:
    """Microseconds by bytes and ranks."""
    found = {name: result.measured for name, result in results.items() if result.measured}
    rows = [("bytes", *found)]
    for size in SIZES:
        cells = (f"{1e6 * told[f'allreduce {size}']['seconds']:,.1f} us" for told in found.values())
        rows.append((f"{size:,}", *cells))
    return aligned(rows)


def work(seconds: Mapping[int, float], images: int) -> Work:
    """From the seconds an epoch of ``images`` of one thread, the least seen, by batch size."""
    steps = np.array([-(-images // size) for size in seconds], np.float64)
    took = np.array(list(seconds.values()))
    # Of relative errors: the longest is not to have all the say.
    left = np.stack([steps, np.full(len(steps), float(images))], axis=1) / took[:, None]
    step, row = np.linalg.lstsq(left, np.ones(len(steps)), rcond=None)[0]
    if len(seconds) < 2 or step < 0 or row < 0:
        return Work(0.0, float(np.median(took)) / images)
    return Work(float(step), float(row))


def efficiency(
    work: Work, network: Network, sizes: Iterable[float], ranks: int, rows: int
) -> float:
    """The share of ``ranks`` processors' work that is not lost, of steps of ``rows`` rows."""
    meetings = sum(network.allreduce(ranks, size) for size in sizes)
    return work.seconds(rows) / (ranks * (work.seconds(math.ceil(rows / ranks)) + meetings))


def expected(work: Work, network: Network, sizes: list[float]) -> dict[int, dict[int, float]]:
    """The efficiency by ranks and batch size."""
    return {
        n: {rows: efficiency(work, network, sizes, n, rows) for rows in LARGE} for n in EXPECTED
    }


def expected_table(found: Mapping[int, Mapping[int, float]]) -> str:
    rows = [("ranks", *(f"batch {rows:,}" for rows in LARGE))]
    for ranks, by_rows in found.items():
        rows.append((f"{ranks:,}", *(f"{100 * share:.0f} %" for share in by_rows.values())))
    return aligned(rows)


def assumptions(work: Work, network: Network, sizes: list[float]) -> str:
    each = " and ".join(f"{size:,.0f}" for size in sizes)
    return (
        f"{network.name}: {1e6 * network.latency:.1f} us and {network.bandwidth / 1e9:.2f} GB/s a "
        f"message, allreduces of {each} bytes a step by halving and doubling, ranks alike and "
        f"never waiting, {1e6 * work.row:.2f} us a row and {1e6 * work.step:.0f} us a step besides"
    )


def meetings(results: Results) -> list[float]:
    """The bytes of each allreduce of a step."""
    traffic = next(r.measured["traffic"] for r in results.values() if r.measured.get("traffic"))
    return [traffic[what][1] / traffic[what][0] for what in ("largest", "total")]


def verdicts(cells: Mapping[int, Results]) -> list[Verdict]:
    """The goal, at each batch size that has it."""
    found = []
    for size in BATCH_SIZES[1:]:
        results: Any = cells.get(size, {})
        pair = [results[name].seconds for name in ("ranks 2", "threads 2") if name in results]
        figure = median(pair[0]) / median(pair[1]) if len(pair) == 2 else None
        found.append(Verdict(f"two ranks / two threads, batch {size}", figure, _LIMIT))
    return found
