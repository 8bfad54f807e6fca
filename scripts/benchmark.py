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

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

sys.path.append(str(Path(__file__).resolve().parents[1]))  # unless it is installed

from benchmarks import report
from benchmarks.contestants import BACKENDS, ENTRIES, chosen
from benchmarks.instead import MODES, Asked
from benchmarks.rounds import environment, pinned
from benchmarks.session import Session, say, write
from benchmarks.task import DISCIPLINES, Discipline, open_dataset, sized, store

_QUICK = 10_000  # images


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
    ranks: bool,
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
    given = zip(MODES, (device_name, scaling, ranks, estimators), strict=True)
    modes = [mode for mode, wanted in given if wanted]
    if len(modes) > 1:
        raise click.UsageError(f"{' and '.join(modes)} are each instead of all; give one")
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
        for mode in modes:
            asked = Asked(batch_sizes, hiddens, only, seconds, quick, json_file)
            MODES[mode](session, asked)
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
        write(json_file, session.as_dict())
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
