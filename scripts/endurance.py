"""Trials of what must never be lost, at full size; each prints one line and exits 1 on failure.

    python scripts/endurance.py kills               100 trainings killed by SIGKILL and resumed
    python scripts/endurance.py kills --train "--hidden 64,32 --optimizer adam --patience 30
        --validation-split 0.2 --class-weight balanced" --checkpoint-every 0.001m
    python scripts/endurance.py together            20 trainings at once
    python scripts/endurance.py soak                1000 epochs: memory and time stay flat
    python scripts/endurance.py larger-than-memory  data of three times a memory limit

They start real processes, ``backendmlp train`` on a part of the embedded sample.  psutil is needed.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np

try:
    import psutil
except ImportError:
    sys.exit("Error: psutil is not installed; install it with: pip install '.[test]'")

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from endurance_limits import memory_limit

from backendmlp.data import load_folder, load_sample, write_idx
from backendmlp.data.dataset import FILES
from backendmlp.digests import digest
from backendmlp.runs.modelfile import load_model

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 3600  # seconds that a process may live


@click.group(help=__doc__.split("\n")[0])
def cli() -> None:
    pass


@cli.command()
@click.option("--count", default=100, show_default=True)
@click.option("--epochs", default=30, show_default=True)
@click.option("--seed", default=None, type=int, help="Of the moments; printed, so they come again.")
@click.option("--train", default="", help="More options of the trainings.")
@click.option("--checkpoint-every", default="1", show_default=True, help="Of those to be killed.")
def kills(count: int, epochs: int, seed: int | None, train: str, checkpoint_every: str) -> None:
    """Kill trainings at random moments, writing included; resume each to the same digest."""
    seed = random.randrange(2**32) if seed is None else seed
    moments, began = random.Random(seed), time.monotonic()
    with workplace() as place:
        options = ("--data", str(data(place / "data", 1000, 200)), "--epochs", str(epochs))
        options += tuple(shlex.split(train))
        expected, lasting = reference(place / "reference", options)
        writing, early, done = 0, 0, 0
        while done < count:
            folder = place / f"run{done}"
            process = start("--out", str(folder), *options, "--checkpoint-every", checkpoint_every)
            while not folder.exists() and process.poll() is None:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, lasting))
            if process.poll() is not None:
                early += 1  # it was through already: another try
                shutil.rmtree(folder)
                continue
            process.kill()
            process.wait(LIMIT)
            writing += bool(leftovers(folder))
            finish("--resume", str(folder), *options)
            check(folder, expected, f"kill {done} of seed {seed}")
            shutil.rmtree(folder)
            done += 1
    click.echo(
        f"kills: {count} of {count} resumed to weights sha256 {expected}, no leftover file; "
        f"{writing} fell while a file was being written; seed {seed}, {minutes(began)}"
    )


@cli.command()
@click.option("--count", default=20, show_default=True)
@click.option("--epochs", default=10, show_default=True)
def together(count: int, epochs: int) -> None:
    """Train in as many processes at once; all reach the digest of one alone."""
    began = time.monotonic()
    with workplace() as place:
        options = ("--data", str(data(place / "data", 1000, 200)), "--epochs", str(epochs))
        expected, _ = reference(place / "reference", options)
        folders = [place / f"run{number}" for number in range(count)]
        processes = [start("--out", str(folder), *options) for folder in folders]
        for folder, process in zip(folders, processes, strict=True):
            process.wait(LIMIT)
            check(folder, expected, folder.name)
    click.echo(f"together: {count} of {count} reached weights sha256 {expected}, {minutes(began)}")


@cli.command()
@click.option("--epochs", default=1000, show_default=True, type=click.IntRange(min=20))
@click.option("--images", default=1000, show_default=True)
@click.option("--train", default="", help="More options of the trainings.")
def soak(epochs: int, images: int, train: str) -> None:
    """Train long; from a tenth of the epochs to the last, memory and time per epoch stay flat."""
    began = time.monotonic()
    with workplace() as place:
        options = ("--data", str(data(place / "data", images, 200)), "--epochs", str(epochs))
        options += tuple(shlex.split(train))
        memory, times = watched(("--out", str(place / "first"), *options))
        expected = json.loads((place / "first" / "run.json").read_text())["weights_sha256"]
        finish("--out", str(place / "second"), *options)
        check(place / "second", expected, "the second run")
    tenth = epochs // 10
    early, late = memory[tenth : 2 * tenth], memory[-tenth:]
    growth = max(late) / statistics.median(early) - 1
    slowing = statistics.median(times[-tenth:]) / statistics.median(times[tenth : 2 * tenth]) - 1
    line = (
        f"soak: {epochs} epochs, resident memory {statistics.median(early) / 1e6:.1f} MB at epoch "
        f"{tenth}, at most {max(late) / 1e6:.1f} MB at the end ({growth:+.1%}), time per epoch "
        f"{statistics.median(times[tenth:]) * 1e3:.1f} ms ({slowing:+.1%}), weights sha256 "
        f"{expected} twice, {minutes(began)}"
    )
    if growth > 0.05 or slowing > 0.25:
        fail(line)
    click.echo(line)


@cli.command()
@click.option("--images", default=1_600_000, show_default=True, help="784 bytes each.")
@click.option("--limit", default=400, show_default=True, help="MiB of memory.")
def larger_than_memory(images: int, limit: int) -> None:
    """Train on a map of a file larger than the memory limit, and on the same data in memory."""
    began = time.monotonic()
    with workplace() as place:
        folder = data(place / "data", images, 200)
        options = ("--data", str(folder), "--epochs", "1", "--batch-size", "1000")
        with memory_limit(limit << 20) as (kind, enter, peak):
            start("--out", str(place / "run"), *options, preexec_fn=enter).wait(LIMIT)
            used = peak()
        check(place / "run", in_memory(folder), f"the run under {kind}")
        size = (folder / FILES[0]).stat().st_size
    click.echo(
        f"larger than memory: {size / 1e6:,.0f} MB of data, {kind} of {(limit << 20) / 1e6:,.0f} "
        f"MB{used}, the same digest as in memory, {minutes(began)}"
    )


@contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="backendmlp-endurance-") as name:
        yield Path(name)


def data(folder: Path, train: int, test: int) -> Path:
    """A folder of plain IDX files: the sample's images, from the first on and over again."""
    folder.mkdir()
    arrays, counts = load_sample().arrays, (train, train, test, test)
    for file, array, count in zip(FILES, arrays, counts, strict=True):
        write_idx(folder / file, np.resize(array, (count, *array.shape[1:])))
    return folder


def in_memory(folder: Path) -> str:
    """The digest of :func:`larger_than_memory`'s training on arrays in memory."""
    from backendmlp import MLP

    found = load_folder(folder)
    mlp = MLP(epochs=1, batch_size=1000).fit(np.array(found.train_images), found.train_labels)
    return digest(mlp.parameters)


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """``backendmlp train`` on one thread: the trials are many, or share the machine."""
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    options.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.Popen(
        [sys.executable, "-m", "backendmlp", "train", *arguments],
        text=True,
        env={**os.environ, **environment},
        **options,
    )


def finish(*arguments: str) -> None:
    process = start(*arguments)
    if process.wait(LIMIT):
        fail(f"{' '.join(arguments)} ended with exit code {process.returncode}")


def reference(folder: Path, options: tuple[str, ...]) -> tuple[str, float]:
    """The digest of an undisturbed training, and how long its process lives."""
    began = time.monotonic()
    finish("--out", str(folder), *options)
    return receipt(folder)["weights_sha256"], time.monotonic() - began


def receipt(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def check(folder: Path, expected: str, what: str) -> None:
    """The receipt and the model hold the expected weights, and nothing is left behind."""
    parameters, _ = load_model(folder / "model.safetensors")
    if not receipt(folder)["weights_sha256"] == digest(parameters) == expected:
        fail(f"{what}: other weights than {expected}")
    if leftovers(folder):
        fail(f"{what}: left behind {leftovers(folder)}")


def leftovers(folder: Path) -> list[str]:
    """Temporary files, which only a process that was killed leaves."""
    return [path.name for path in folder.rglob(".*")]


def watched(arguments: tuple[str, ...]) -> tuple[list[float], list[float]]:
    """Resident memory at each epoch's end, and each epoch's seconds, as told by the output."""
    process = start(*arguments, stdout=subprocess.PIPE)
    resident, memory = psutil.Process(process.pid), []
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch"):
            memory.append(float(resident.memory_info().rss))
    if process.wait(LIMIT):
        fail(f"the training ended with exit code {process.returncode}")
    folder = Path(arguments[arguments.index("--out") + 1])
    return memory, [epoch["seconds"] for epoch in receipt(folder)["epochs"]]


def minutes(began: float) -> str:
    return f"{(time.monotonic() - began) / 60:.1f} minutes"


def fail(line: str) -> NoReturn:
    click.echo(f"FAILED {line}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    cli()
