"""How fast backendmlp is beside other libraries and beside its bare matrix products.

    python scripts/benchmark.py --quick
    python scripts/benchmark.py --growth --memory --startup --json figures.json --plot pictures

Everyone runs in a process of their own, in alternating rounds, with equally many threads.  Exit
code 1 means that a contestant did not learn what the others did, or broke; no figure is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

sys.path.append(str(Path(__file__).resolve().parents[1]))  # unless it is installed

from benchmarks import goals, report
from benchmarks.contestants import BACKENDS, ENTRIES, chosen
from benchmarks.rounds import compete, environment, pinned
from benchmarks.task import Task, open_dataset, sized, store

from backendmlp.data import Dataset


@dataclass
class Session:
    """One call of the benchmark: what was asked for, and what has been found."""

    threads: int
    rounds: int
    images: int
    keys: list[str]
    dataset: Dataset
    folder: Path
    cells: goals.Cells = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    startup: dict[str, float] = field(default_factory=dict)
    failed: bool = False

    def task(self, contestant: str, batch_size: int, hidden: int) -> Task:
        return Task(contestant, str(self.folder / "data"), batch_size, hidden, self.threads)

    def measure(self, hidden: int, batch_size: int) -> None:
        """One table: everyone at this batch size and number of hidden units."""
        tasks = {
            key: self.task(key, batch_size, hidden) for key in self.keys if key not in self.left_out
        }
        outcome = compete(tasks, self.rounds, say)
        self.left_out |= outcome.absent
        self.cells[hidden, batch_size] = outcome.results
        self.failed |= bool(outcome.broken or goals.off(outcome.results))
        say(f"\nbatch {batch_size}, {hidden} hidden units, {self.images:,} images; an epoch takes")
        say(report.table(outcome.results))
        say("\nratios of medians (and the median of the rounds' ratios)")
        say(report.ratio_table(outcome.results))
        say("\n" + report.accuracy_text(outcome.results))

    def verdicts(self) -> list[goals.Verdict]:
        pixels = self.images * self.dataset.features
        return [
            *goals.ratio_verdicts(self.cells),
            *goals.startup_verdicts(self.startup),
            *goals.memory_verdicts(self.memory, pixels),
            *goals.growth_verdicts(self.growth),
        ]

    def as_dict(self) -> dict[str, Any]:
        cells = [
            {"hidden": hidden, "batch_size": size, "results": [r.as_dict() for r in found.values()]}
            for (hidden, size), found in self.cells.items()
        ]
        return {
            "machine": report.machine(self.threads),
            "data": self.dataset.name,
            "images": self.images,
            "rounds": self.rounds,
            "labels": {key: ENTRIES[key].label for key in self.keys},
            "left_out": self.left_out,
            "cells": cells,
            "growth": self.growth,
            "memory": self.memory,
            "startup": self.startup,
            "goals": [{**asdict(verdict), "met": verdict.met} for verdict in self.verdicts()],
        }


def say(text: str) -> None:
    click.echo(text)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@click.command()
@click.option(
    "--batch-size", "batch_sizes", type=int, multiple=True, help="Default: 64, 256, 1024."
)
@click.option("--hidden", "hiddens", type=int, multiple=True, help="Default: 100.")
@click.option("--images", type=int, default=60_000, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=_threads, help="Default: all cores.")
@click.option(
    "--backend",
    "backends",
    type=click.Choice(BACKENDS),
    multiple=True,
    help="Ours there too; with a GPU, its peers as well.",
)
@click.option(
    "--only",
    "only",
    multiple=True,
    type=click.Choice(list(ENTRIES)),
    help="These contestants alone.",
)
@click.option("--quick", is_flag=True, help="Batch 64, 10,000 images, 3 rounds: a minute.")
@click.option("--growth", is_flag=True, help="Time per image from 6,000 to 600,000 images.")
@click.option("--memory", is_flag=True, help="Peak memory of a training.")
@click.option("--startup", is_flag=True, help="Imports, help, and the way to the first batch.")
@click.option("--profile", is_flag=True, help="A step's time, operation by operation; no peers.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="All figures.")
@click.option("--plot", type=click.Path(path_type=Path), help="A folder for the pictures.")
def main(
    batch_sizes: tuple[int, ...],
    hiddens: tuple[int, ...],
    images: int,
    rounds: int,
    threads: int,
    backends: tuple[str, ...],
    only: tuple[str, ...],
    quick: bool,
    growth: bool,
    memory: bool,
    startup: bool,
    profile: bool,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Time backendmlp beside its peers, in one alternating run."""
    if quick:
        batch_sizes, images, rounds = batch_sizes or (64,), min(images, 10_000), min(rounds, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        session = Session(
            threads,
            rounds,
            images,
            list(only) or chosen(backends),
            open_dataset(quick, say),
            Path(folder),
        )
        say(report.machine_text(report.machine(threads)))
        say("peers get the order of the images for nothing; backendmlp shuffles within its time")
        store(sized(session.dataset, images), session.folder / "data")
        sizes = [(h, b) for h in hiddens or (100,) for b in batch_sizes or (64, 256, 1024)]
        if profile:
            _profile(session, sizes)
            return
        for hidden, batch_size in sizes:
            session.measure(hidden, batch_size)
        _measure_whole(session, growth, memory, startup)
        say("\n" + report.checklist(session.verdicts()))
        _keep(session, json_file, plot)
    sys.exit(1 if session.failed else 0)  # fmt: skip


def _measure_whole(session: Session, growth: bool, memory: bool, startup: bool) -> None:
    from benchmarks import whole

    if memory or startup:
        data = sized(session.dataset, session.images)
        idx = whole.write_folder(data, session.folder / "idx")
        common = idx, session.folder
        if memory:
            session.memory = whole.memory(*common, session.threads, say)
        if startup:
            session.startup = whole.startup(*common, session.rounds, session.threads, say)
    if growth:
        session.growth = whole.growth(
            session.task("", 64, 100), session.dataset, session.folder, session.rounds, say
        )


def _profile(session: Session, sizes: list[tuple[int, int]]) -> None:
    """In a process of its own, so that BLAS obeys the number of threads."""
    for hidden, batch_size in sizes:
        for numerics, dtype in (("native", "float32"), ("bitwise", "float64")):
            task = session.task("", batch_size, hidden)
            command = [sys.executable, "-m", "benchmarks.profiling", task.encode(), numerics, dtype]
            with pinned(session.threads):
                subprocess.run(command, env=environment(session.threads), check=True)


def _keep(session: Session, json_file: Path | None, plot: Path | None) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(session.as_dict(), indent=1) + "\n", encoding="utf-8")
        say(f"written: {json_file}")
    if plot is not None:
        from benchmarks import plots

        plot.mkdir(parents=True, exist_ok=True)
        plots.plot_ratios(session.cells, plot / "benchmark_ratios.png")
        if session.growth:
            plots.plot_growth(session.growth, plot / "benchmark_growth.png")
        say(f"pictures in: {plot}")


if __name__ == "__main__":
    main()
