"""Measurements of whole commands: memory, start-up; and of growth with the number of images."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from backendmlp.data import Dataset, write_idx
from backendmlp.data.dataset import FILES
from benchmarks.rounds import Worker, compete, environment, pinned
from benchmarks.task import Data, Task, sized, store

Say = Callable[[str], None]
GROWTH = (6_000, 20_000, 60_000, 200_000, 600_000)
_GROWING = ("ours-native-float32", "ours-bitwise-float64")
_PEAK = """
def peak():
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line[:5] == "VmHWM")
    except (OSError, StopIteration):
        import resource, sys
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
"""
_CLI = """
from backendmlp.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    if end.code:
        raise
"""
_LIBRARY = """
import backendmlp
data = backendmlp.load_folder({data!r})
mlp = backendmlp.MLP(epochs=1, numerics={numerics!r})
mlp.fit(data.train_images, data.train_labels, test=(data.test_images, data.test_labels))
"""
_FIRST_BATCH = """
import os, time
from backendmlp.training.trainer import Trainer
def first(*_):
    print(time.time(), flush=True)
    os._exit(0)
Trainer.advance = first
"""


def growth(
    task: Task, dataset: Dataset, folder: Path, rounds: int, say: Say
) -> dict[str, dict[int, float]]:
    """Seconds for each image, by contestant and number of images, in alternating rounds."""
    tasks = {}
    for count in GROWTH:
        store(sized(dataset, count), folder / str(count))
        for key in _GROWING:
            tasks[f"{key} {count}"] = replace(task, contestant=key, folder=str(folder / str(count)))

    def turn(worker: Worker) -> None:
        """As many epochs as make a round's time long enough to be read."""
        worker.run(max(1, 60_000 // int(worker.result.key.split()[1])))

    found = compete(tasks, rounds, say, turn).results
    return {
        key: {
            count: median(result.seconds) / count
            for count in GROWTH
            if (result := found.get(f"{key} {count}"))
        }
        for key in _GROWING
    }


def has_cli(say: Say) -> bool:
    """Whether the command line is there; said aloud where it is not."""
    if importlib.util.find_spec("backendmlp.cli") is not None:
        return True
    say("LEFT OUT: there is no command line (backendmlp.cli); the library's fit stands in")
    return False


def write_folder(data: Data, folder: Path) -> Path:
    """``data`` as a folder of IDX files, which the command line reads."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (
        data.images.reshape(-1, 28, 28), data.labels.astype("uint8"),
        data.test_images.reshape(-1, 28, 28), data.test_labels.astype("uint8"),
    )  # fmt: skip
    for file, array in zip(FILES, arrays, strict=True):
        write_idx(folder / file, array)
    return folder


def _train(idx: Path, numerics: str, out: Path, cli: bool) -> str:
    """Code that trains for one epoch as a user would."""
    arguments = [
        "train", "--data", str(idx), "--epochs", "1", "--numerics", numerics, "--quiet",
        "--out", str(out),
    ]  # fmt: skip
    if cli:
        return _CLI.format(arguments=arguments)
    return _LIBRARY.format(data=str(idx), numerics=numerics)


def memory(idx: Path, folder: Path, threads: int, say: Say) -> dict[str, float]:
    """Peak resident megabytes of a training beyond those of a bare interpreter with NumPy."""
    cli = has_cli(say)
    bare = float(_python(f"{_PEAK}\nimport numpy\nprint(peak())", threads))
    found = {}
    for numerics in ("native", "bitwise"):
        code = _train(idx, numerics, folder / f"memory-{numerics}", cli)
        peak = float(_python(f"{_PEAK}\n{code}\nprint(peak())", threads).split()[-1])
        found[numerics] = (peak - bare) / 1e6
        say(f"memory: {numerics} training peaks {found[numerics]:.0f} MB over {bare / 1e6:.0f} MB")
    return found


def startup(idx: Path, folder: Path, rounds: int, threads: int, say: Say) -> dict[str, float]:
    """Median seconds of whole commands, in alternating rounds."""
    cli = has_cli(say)
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        train = _train(idx, "bitwise", folder / f"start-{number}", cli)
        commands = {
            "bare python": ["-c", "pass"],
            "import numpy": ["-c", "import numpy"],
            "import backendmlp": ["-c", "import backendmlp"],
            "first batch": ["-c", _FIRST_BATCH + train],
        }
        if cli:
            commands["--help"] = ["-m", "backendmlp", "--help"]
        for name, command in commands.items():
            took = _command_seconds(command, threads, until_printed=name == "first batch")
            if number:  # the first round warms the file cache
                seconds.setdefault(name, []).append(took)
    found = {name: median(values) for name, values in seconds.items()}
    for name, value in found.items():
        say(f"start: {name}: {value:.3f} s")
    return found


def _command_seconds(command: list[str], threads: int, until_printed: bool) -> float:
    """From the start of a Python to its end, or to the moment that it prints."""
    started = time.time()
    output = _run(command, threads)
    return (float(output.split()[-1]) if until_printed else time.time()) - started


def _python(code: str, threads: int) -> str:
    return _run(["-c", code], threads)


def _run(command: list[str], threads: int) -> str:
    with pinned(threads):
        done = subprocess.run(
            [sys.executable, *command],
            env=environment(threads),
            capture_output=True,
            text=True,
            timeout=600,
        )
    if done.returncode:
        raise RuntimeError(f"{command[:2]} failed: {done.stderr[-600:]}")
    return done.stdout
