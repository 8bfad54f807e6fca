"""How fast backendmlp is beside other libraries and beside its bare matrix products.

    python scripts/benchmark.py --quick --predict
    python scripts/benchmark.py --discipline adam --batch-size 64
    python scripts/benchmark.py --predict --growth --memory --startup --json figures.json
    python scripts/benchmark.py --device cuda --json figures.json
    python scripts/benchmark.py --scaling
    python scripts/benchmark.py --ranks --json figures.json
    python scripts/benchmark.py --estimators

Everyone runs in a process of their own, in alternating rounds, with equally many threads.  Exit
code 1 means that a contestant did not learn what the others did, or broke; no figure is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import click

sys.path.append(str(Path(__file__).resolve().parents[1]))  # unless it is installed

from benchmarks import device, goals, ranks, report
from benchmarks.contestants import BACKENDS, BEFORE, ENTRIES, PREDICTING, chosen
from benchmarks.rounds import Turn, Worker, compete, environment, one_epoch, pinned
from benchmarks.task import DISCIPLINES, Discipline, Task, open_dataset, sized, store

from backendmlp.data import Dataset

_QUICK = 10_000  # images
_PREDICTED = (1, 100, 1000, 60_000)  # images of a call


@dataclass
class Session:
    """One call of the benchmark: what was asked for, and what has been found."""

    threads: int
    rounds: int
    images: int
    keys: list[str]
    dataset: Dataset
    folder: Path
    before: Path | None = None
    cells: goals.Cells = field(default_factory=dict)
    predictions: goals.Predictions = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    startup: dict[str, float] = field(default_factory=dict)
    failed: bool = False

    def task(self, contestant: str, batch_size: int, discipline: Discipline) -> Task:
        """What ``contestant`` is to do; one of before goes by its present name there."""
        checkout = str(self.before) if contestant in BEFORE else ""
        name = BEFORE.get(contestant, contestant)
        data = str(self.folder / "data")
        return Task(name, data, batch_size, discipline, self.threads, checkout=checkout)

    def measure(self, discipline: Discipline, batch_size: int) -> None:
        """One table: everyone at this discipline and batch size."""
        results = self.compete(self.keys, discipline, batch_size)
        self.cells[discipline, batch_size] = results
        say(f"\nbatch {batch_size}, {discipline.title}, {self.images:,} images; an epoch takes")
        say(report.table(results))
        say("\nratios of medians (and the median of the rounds' ratios)")
        say(report.ratio_table(results))
        say("\n" + report.agreement_text(results))

    def predict(self, discipline: Discipline) -> None:
        """One table: predictions by networks that everyone has trained for an epoch."""
        counts = sorted({min(count, self.images) for count in _PREDICTED})

        def turn(worker: Worker) -> None:
            for count in counts:
                worker.predict(count)

        keys = [key for key in self.keys if key in PREDICTING]
        results = self.compete(keys, discipline, 64, turn)
        self.predictions[discipline.hidden] = results
        say(f"\npredictions, {discipline.title}; a call takes (beside the faster peer)")
        say(report.prediction_table(results))
        say("\n" + report.agreement_text(results))

    def compete(
        self, keys: list[str], discipline: Discipline, batch_size: int, turn: Turn = one_epoch
    ) -> goals.Results:
        tasks = {
            key: self.task(key, batch_size, discipline)
            for key in keys
            if key not in self.left_out and ENTRIES[key].takes_part(discipline)
        }
        outcome = compete(tasks, self.rounds, say, turn)
        self.left_out |= outcome.absent
        self.failed |= bool(outcome.broken or goals.off(outcome.results))
        return outcome.results

    def verdicts(self) -> list[goals.Verdict]:
        pixels = self.images * self.dataset.features
        return [
            *goals.ratio_verdicts(self.cells),
            *goals.prediction_verdicts(self.predictions),
            *goals.startup_verdicts(self.startup),
            *goals.memory_verdicts(self.memory, pixels),
            *goals.growth_verdicts(self.growth),
        ]

    def as_dict(self) -> dict[str, Any]:
        cells = [
            {
                "discipline": asdict(discipline),
                "batch_size": size,
                "results": [result.as_dict() for result in found.values()],
            }
            for (discipline, size), found in self.cells.items()
        ]
        predictions = [
            {"hidden": hidden, "results": [result.as_dict() for result in found.values()]}
            for hidden, found in self.predictions.items()
        ]
        return {
            "machine": report.machine(self.threads),
            "data": self.dataset.name,
            "images": self.images,
            "rounds": self.rounds,
            "labels": {key: ENTRIES[key].label for key in self.keys},
            "left_out": self.left_out,
            "cells": cells,
            "predictions": predictions,
            "growth": self.growth,
            "memory": self.memory,
            "startup": self.startup,
            "goals": [{**asdict(verdict), "met": verdict.met} for verdict in self.verdicts()],
        }


def say(text: str) -> None:
    click.echo(text)


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hidden(context: click.Context, option: click.Parameter, texts: Any) -> list[tuple[int, ...]]:
    try:
        return [tuple(int(units) for units in text.split(",")) for text in texts]
    except ValueError as error:
        raise click.BadParameter(f"give numbers with commas between: {error}") from error


@click.command()
@click.option(
    "--discipline",
    "names",
    type=click.Choice(list(DISCIPLINES)),
    multiple=True,
    help="What is trained.  Default: all; with --hidden sgd.",
)
@click.option(
    "--batch-size", "batch_sizes", type=int, multiple=True, help="Default: 64, 256, 1024."
)
@click.option(
    "--hidden",
    "hiddens",
    multiple=True,
    callback=_hidden,
    help="Other hidden layers, as 1024 or 256,128.",
)
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
@click.option(
    "--device",
    "device_name",
    type=click.Choice(["cuda"]),
    help="Instead of all that: steps on a GPU, of ours and of its peers, in microseconds.",
)
@click.option(
    "--scaling", is_flag=True, help="Instead of all that: ours on 1, 2, 4 ... all of the cores."
)
@click.option(
    "--ranks",
    "on_ranks",
    is_flag=True,
    help="Instead of all that: 1, 2, 4 ranks beside threads, and what to expect of more.",
)
@click.option(
    "--estimators",
    is_flag=True,
    help="Instead of all that: MLPClassifier of both libraries, on three sets.",
)
@click.option("--seconds", type=float, help="With --device: no new cell once these are over.")
@click.option("--quick", is_flag=True, help="Batch 64, 10,000 images, 3 rounds: minutes.")
@click.option("--predict", is_flag=True, help="Predictions of 1 to 60,000 images.")
@click.option(
    "--before",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    help="Another checkout, built: its library beside this one, in plain descent.",
)
@click.option("--growth", is_flag=True, help="Time per image from 6,000 to 600,000 images.")
@click.option("--memory", is_flag=True, help="Peak memory of a training.")
@click.option("--startup", is_flag=True, help="Imports, help, and the way to the first batch.")
@click.option("--profile", is_flag=True, help="A step's time, operation by operation; no peers.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="All figures.")
@click.option("--plot", type=click.Path(path_type=Path), help="A folder for the pictures.")
def main(
    names: tuple[str, ...],
    batch_sizes: tuple[int, ...],
    hiddens: list[tuple[int, ...]],
    images: int,
    rounds: int,
    threads: int,
    backends: tuple[str, ...],
    only: tuple[str, ...],
    device_name: str | None,
    scaling: bool,
    on_ranks: bool,
    estimators: bool,
    seconds: float | None,
    quick: bool,
    predict: bool,
    before: Path | None,
    growth: bool,
    memory: bool,
    startup: bool,
    profile: bool,
    json_file: Path | None,
    plot: Path | None,
) -> None:
    """Time backendmlp beside its peers, in one alternating run."""
    if (device_name is not None) + scaling + on_ranks + estimators > 1:
        modes = "--device, --scaling, --ranks and --estimators"
        raise click.UsageError(f"{modes} are each instead of all; give one")
    if quick:
        batch_sizes, images, rounds = batch_sizes or (64,), min(images, _QUICK), min(rounds, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        session = Session(
            threads,
            rounds,
            images,
            list(only) or chosen(backends, before is not None),
            open_dataset(quick, say),
            Path(folder),
            before,
        )
        say(report.machine_text(report.machine(threads)))
        say("peers get the order of the images for nothing; backendmlp shuffles within its time")
        store(sized(session.dataset, images), session.folder / "data")
        if device_name is not None:
            keys = list(only) or list(device.ON_DEVICE)
            small = [(100,)] if quick else []
            _race(session, keys, device.cells(hiddens or small, batch_sizes), seconds, json_file)
            sys.exit(1 if session.failed else 0)
        if scaling:
            _scale(session, batch_sizes or (64, 1024), json_file)
            sys.exit(1 if session.failed else 0)
        if on_ranks:
            _rank(session, batch_sizes or ranks.BATCH_SIZES, json_file)
            sys.exit(1 if session.failed else 0)
        if estimators:
            _estimate(session, quick, json_file)
            sys.exit(1 if session.failed else 0)
        disciplines = _disciplines(names, hiddens)
        cells = [(d, size) for d in disciplines for size in batch_sizes or d.batch_sizes]
        if profile:
            _profile(session, cells)
            return
        for discipline, batch_size in cells:
            session.measure(discipline, batch_size)
        if predict:
            for hidden in dict.fromkeys(discipline.hidden for discipline in disciplines):
                session.predict(next(d for d in disciplines if d.hidden == hidden))
        _measure_whole(session, growth, memory, startup)
        say("\n" + report.checklist(session.verdicts()))
        _keep(session, json_file, plot)
    sys.exit(1 if session.failed else 0)  # fmt: skip


def _disciplines(names: tuple[str, ...], hiddens: list[tuple[int, ...]]) -> list[Discipline]:
    """What is to be trained, with other hidden layers where those are asked for."""
    if not hiddens:
        return [DISCIPLINES[name] for name in names or DISCIPLINES]
    found = [DISCIPLINES[name] for name in names or ("sgd",)]
    return [replace(discipline, hidden=hidden) for discipline in found for hidden in hiddens]


def _race(
    session: Session,
    keys: list[str],
    cells: list[device.Cell],
    seconds: float | None,
    json_file: Path | None,
) -> None:
    """A table for each cell; the file has every one of them as soon as it is known."""
    started, found = time.monotonic(), []
    machine = report.machine(session.threads)
    task = session.task("", 64, DISCIPLINES["sgd"])
    with device.Race(task, session.images, session.rounds, say, keys) as race:
        for discipline, size in cells:
            if seconds is not None and time.monotonic() - started > seconds:
                say(f"LEFT OUT: batch {size}, {discipline.title}: no time left")
                continue
            results, steps = race.run((discipline, size)), -(-session.images // size)
            agreement, table = _agreement(session, results), ""
            if results:
                table = report.device_table(results, steps)
            say(f"\nbatch {size}, {discipline.title}, {session.images:,} images\n{table}")
            say(agreement)
            found.append(
                {
                    "hidden": discipline.hidden,
                    "batch_size": size,
                    "steps": steps,
                    "epochs_a_turn": device.epochs(session.images, size),
                    "table": table,
                    "agreement": agreement,
                    "results": [result.as_dict() for result in results.values()],
                }
            )
            session.failed |= bool(race.broken) or not results
            kept = {"machine": machine, "data": session.dataset.name, "images": session.images}
            kept |= {"rounds": session.rounds, "left_out": race.left_out, "broken": race.broken}
            _write(json_file, {**kept, "cells": found})


def _agreement(session: Session, results: goals.Results) -> str:
    """In words, whether all learn the same; and the bitwise ones to the bit."""
    others = device.of_other_bits(results)
    session.failed |= bool(others or goals.off(results))
    bits = [f"WRONG BITS: {ENTRIES[key].label}" for key in others]
    return "\n".join([report.agreement_text(results), *bits])


def _scale(session: Session, batch_sizes: tuple[int, ...], json_file: Path | None) -> None:
    """Ours on the CPU with more and more threads, in one alternating run."""
    counts = [2**power for power in range(20) if 2**power <= session.threads]
    found = []
    for size in batch_sizes:
        tasks = {
            f"{key} {count}": replace(session.task(key, size, DISCIPLINES["sgd"]), threads=count)
            for key in ("ours-native-float32", "ours-bitwise-float64")
            for count in counts
        }
        outcome = compete(tasks, session.rounds, say)
        session.failed |= bool(outcome.broken)
        steps = -(-session.images // size)
        table = report.scaling_table(outcome.results, steps)
        say(f"\nbatch {size}, steps on NumPy: {report.machine(1)['steps']}\n{table}")
        results = [result.as_dict() for result in outcome.results.values()]
        found.append({"batch_size": size, "steps": steps, "table": table, "results": results})
        _write(json_file, {"machine": report.machine(session.threads), "cells": found})


def _rank(session: Session, batch_sizes: tuple[int, ...], json_file: Path | None) -> None:
    """Ours on ranks beside threads; the bits of both are the same, or it failed."""
    cells: dict[int, goals.Results] = {}
    found: dict[str, Any] = {"machine": report.machine(session.threads), "images": session.images}
    for size in batch_sizes:
        outcome = ranks.cell(session.task("", size, DISCIPLINES["sgd"]), session.rounds, say)
        cells[size] = results = outcome.results
        others = ranks.of_other_bits(results)
        session.failed |= bool(outcome.broken or others)
        say(f"\nbatch {size}, an epoch of {session.images:,} images takes\n{ranks.table(results)}")
        say(ranks.traffic_text(results, -(-session.images // size)))
        for name in others:
            say(f"WRONG BITS: {name}")
        kept = {name: result.as_dict() for name, result in results.items()}
        found.setdefault("cells", []).append({"batch_size": size, "results": kept})
        _write(json_file, found)
    _write(json_file, {**found, **_expect(cells, session.images)})
    say("\n" + report.checklist(ranks.verdicts(cells)))


def _expect(cells: dict[int, goals.Results], images: int) -> dict[str, Any]:
    """What is to be expected of more ranks than there are here."""
    last = list(cells.values())[-1]
    if (here := ranks.measured(last)) is None:
        say("nothing is expected of more ranks, since two were not measured")
        return {}
    seconds = {size: min(results["threads 1"].seconds) for size, results in cells.items()}
    work, sizes = ranks.work(seconds, images), ranks.meetings(last)
    say(f"\nan allreduce takes\n{ranks.allreduce_table(last)}")
    found = {}
    for network in (here, ranks.PUBLISHED):
        found[network.name] = shares = ranks.expected(work, network, sizes)
        say(f"\nefficiency to expect: {ranks.assumptions(work, network, sizes)}")
        say(ranks.expected_table(shares))
    return {"work": asdict(work), "network": asdict(here), "expected": found}


def _estimate(session: Session, quick: bool, json_file: Path | None) -> None:
    """Both libraries' classifiers, a table for each set."""
    from benchmarks import estimators

    found, verdicts = [], []
    for one in estimators.sets(session.dataset, session.images, quick):
        task = session.task("", 0, DISCIPLINES["sgd"])
        results, outcome = estimators.race(task, one, session.rounds, say)
        session.failed |= bool(outcome.broken or goals.off(outcome.results))
        say(f"\n{results.title}\n{results.table()}\n{report.agreement_text(outcome.results)}")
        found.append(results.as_dict())
        verdicts += results.verdicts()
        _write(json_file, {"machine": report.machine(session.threads), "sets": found})
    say("\n" + report.checklist(verdicts))


def _write(json_file: Path | None, found: dict[str, Any]) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


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
        task = session.task("", 64, DISCIPLINES["sgd"])
        session.growth = whole.growth(task, session.dataset, session.folder, session.rounds, say)


def _profile(session: Session, cells: list[tuple[Discipline, int]]) -> None:
    """In a process of its own, so that BLAS obeys the number of threads."""
    for discipline, batch_size in cells:
        for numerics, dtype in (("native", "float32"), ("bitwise", "float64")):
            task = session.task("", batch_size, discipline)
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
