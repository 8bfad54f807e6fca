"""The kernels on a CPU: compiled by g++, a thread of the processor for each thread of a block."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.steps.kernels import source

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
COMPILED = HERE / "compiled"  # kept from one process to the next, by what they were made of
SIZES = ("-DWIDTHS=", "-DBATCH=")  # constants, without which the source reads them from its job
CHOICES = (
    "KIND",
    "ACTIVATION",
    "LOSS",
    "OPTIMIZER",
    "WEIGHTED",
    "PULLS",
    "CLIPS",
    "SMOOTH",
    "LEARNS",
)
_COMMAND = ("-std=c++20", "-O1", "-ffp-contract=off", "-fno-math-errno", "-w", "-shared", "-fPIC")
_MEETING = re.compile(r"^#line 1 \"([^\"]+)\"$|(?<=[ \t])(__syncthreads\(\)|meet\(job\));")


class OnCpu:
    """:class:`backendmlp.backend.Kernels` on NumPy's arrays.

    ``fixed``: sizes and choices are constants, as on a GPU; else one library serves them all.
    ``shape``: the number of the tiles that every product is divided into.
    """

    def __init__(
        self,
        blocks: int = 1,
        threads: int = 1,
        fixed: bool = False,
        flags: tuple[str, ...] = (),
        shape: int | None = None,
    ) -> None:
        self.memory = 99 << 10
        self.blocks, self.threads, self.fixed = blocks, threads, fixed
        self.flags = flags if shape is None else (*flags, f"-DSHAPE={shape}")

    def compile(self, text: str, options: tuple[str, ...]) -> ctypes.CDLL:
        return compiled(options, self.fixed, self.flags)

    def launch(
        self, module: Any, name: str, arguments: tuple[Any, ...], threads: int, memory: int
    ) -> None:
        job, *numbers = arguments
        start(module, name, job, [int(x) for x in numbers], self.blocks, self.threads)

    def address(self, x: np.ndarray) -> int:
        return x.ctypes.data

    def ordered(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x)

    def send(self, x: np.ndarray) -> np.ndarray:
        return x.copy()

    def wait(self) -> None: ...


def compiled(
    options: tuple[str, ...], fixed: bool = False, flags: tuple[str, ...] = ()
) -> ctypes.CDLL:
    """The kernels as a library, for the options that a GPU's are compiled with."""
    if not fixed:
        variable = (*SIZES, *(f"-D{name}=" for name in CHOICES))
        options = tuple(x for x in options if not x.startswith(variable))
    return ctypes.CDLL(str(library((*options, *flags))))


def start(
    module: ctypes.CDLL, name: str, job: np.ndarray, numbers: list[int], blocks: int, threads: int
) -> None:
    """Run one kernel on ``job``, with its step and layer in ``numbers``, to its end."""
    assert job.nbytes == module.job_bytes()
    step, layer = ([*numbers, 0, 0])[:2]
    missing = module.run(
        name.encode(),
        ctypes.c_void_p(job.ctypes.data),
        ctypes.c_int64(step),
        ctypes.c_int64(layer),
        blocks,
        threads,
    )
    assert not missing, f"no kernel {name}"


@lru_cache
def library(options: tuple[str, ...]) -> Path:
    """What g++ makes of the source with these options."""
    text = source.text(HERE / "device.h") + (HERE / "host.h").read_text()
    if "-DNUMBERED" in options:
        text = numbered(text)[0]
    made_of = "\n".join([*_COMMAND, *options, text])
    found = COMPILED / f"{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.so"
    if not found.exists():
        _compile(text, options, found)
    return found


def _compile(text: str, options: tuple[str, ...], to: Path) -> None:
    assert COMPILER is not None
    COMPILED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=COMPILED) as folder:
        file, made = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
        file.write_text(text)
        command = [COMPILER, *_COMMAND, "-pthread", *options, str(file), "-o", str(made)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[:4000]
        os.replace(made, to)  # another process may do the same


def numbered(text: str) -> tuple[str, list[str]]:
    """The source whose meetings, of a block or of all, can be left out; and where they are."""
    places: list[str] = []
    lines, file, number = text.split("\n"), "", 0
    for i, line in enumerate(lines):
        number += 1
        found = _MEETING.search(line)
        if found is None:
            continue
        if found[1] is not None:
            file, number = found[1], 0
        elif file != "device.h":
            call = f"if (is_there({len(places)})) {found[2]};"
            lines[i] = line[: found.start(2)] + call + line[found.end() :]
            places.append(f"{file}:{number} {found[2]}")
    return "\n".join(lines), places
