"""Races between the kernels' threads: ThreadSanitizer sees none, and sees one where none meet.

The library that it watches divides work among threads in an order of its own, so that what one
thread leaves to itself in the usual order comes to light.  Each meeting, of a block's threads or of
all blocks, is left out in turn: only one stays unseen, of which reading shows that the others are
enough.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from conftest import needs_kernels
from kernels import on_cpu, race

from backendmlp.steps.kernels import source

pytestmark = [needs_kernels, pytest.mark.slow]

PLACES = on_cpu.numbered(source.text(on_cpu.HERE / "device.h"))[1]
# Products whose sums do not fit in memory at one time; and those whose sums do.
SHAPES = (2, 1)
OPTIONS = (
    "-DBITWISE=1", "-DREAL=double", "-DTOGETHER=1", "-DFEW=1", f"-DLAYERS={len(race.SIZES) - 1}",
    "-DLANES=256", "-DBLOCK_BYTES=65536", "-DTILE_BYTES=63488",
    "-DMOST_OUTPUTS=60",  # few rows are judged at one time
)  # fmt: skip


def redundant() -> int:
    """What ends a round of `lose`: the next one writes z and labels, which nobody reads since the
    meeting before, and e only behind its own first; and rows that are gathered lie where z was."""
    return max(n for n, place in enumerate(PLACES) if place.startswith("loss.h"))


@cache
def sanitizer() -> str:
    """Where the library is that a process must begin with."""
    assert on_cpu.COMPILER is not None
    asked = [on_cpu.COMPILER, "-print-file-name=libtsan.so"]
    found = Path(subprocess.check_output(asked, text=True, timeout=180).strip())
    if not found.is_absolute():
        pytest.skip("g++ has no ThreadSanitizer here")
    return str(found.resolve())


def watched(shape: int, left_out: int = -1) -> str:
    """What it says of steps in which a meeting is left out; nothing if it sees no race."""
    library = on_cpu.library((*OPTIONS, f"-DSHAPE={shape}", *race.FLAGS))
    done = subprocess.run(
        [sys.executable, race.__file__, str(library), str(left_out)],
        env={
            **os.environ,
            "LD_PRELOAD": sanitizer(),
            "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
            "OPENBLAS_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run where addresses are as random as here")
    if done.returncode == 66:
        assert "data race" in done.stderr
        return done.stderr
    assert done.returncode == 0, done.stderr
    return ""


@pytest.mark.parametrize("shape", SHAPES)
def test_no_race_is_seen(shape):
    assert watched(shape) == ""


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=place, marks=pytest.mark.long if number % 6 else ())
        for number, place in enumerate(PLACES)
    ],
)
def test_a_meeting_that_is_left_out_is_missed(number):
    seen = any(watched(shape, number) for shape in SHAPES)
    assert seen == (number != redundant()), PLACES[number]
