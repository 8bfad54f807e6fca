"""The command line as a user runs it, in this process or in one of its own, on a little real data.

The training of :data:`GOLDEN` is the case "sample" of ``golden.json``: ``backendmlp train --data``
on :func:`write_data`'s folder with ``--epochs 2`` and the defaults.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from backendmlp.cli import main
from backendmlp.data import load_sample, write_idx
from backendmlp.data.dataset import FILES
from backendmlp.runs import record as records
from backendmlp.tensorfile import load_tensors, save_tensors

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads((ROOT / "tests" / "golden.json").read_text())["sample"]
DIGEST = GOLDEN["weights_sha256"][-1]
SECONDS = 60  # the longest a process of these tests may live


class Result(NamedTuple):
    code: int
    out: str
    err: str


def one_thread() -> AbstractContextManager[Any]:
    """For these small products a BLAS library's threads do little but wait for one another."""
    return threadpool_limits(1)


def call(*arguments: Any) -> Result:
    """The command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), one_thread():
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
    return Result(code, out.getvalue(), err.getvalue())


def unseal(path: Path, change: Callable[[dict[str, np.ndarray]], Any] = len) -> None:
    """Write a checkpoint as older versions did, without a digest of it; ``change`` its tensors."""
    limits = 1 << 32, records.LIMIT
    tensors, metadata = load_tensors(path, "backendmlp-checkpoint", *limits)
    change(tensors)
    save_tensors(path, tensors, "backendmlp-checkpoint", metadata, *limits)


def train(*arguments: Any) -> Result:
    return call("train", *arguments)


def start(*arguments: Any, kilobytes: int | None = None, **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own, which ``with`` waits for and :func:`end` reads.

    With at most ``kilobytes`` of memory, which its shell sees to: a limit set between fork and exec
    would be no good where the tests' own process has threads.
    """
    limit = ["sh", "-c", 'ulimit -v "$0" && exec "$@"', str(kilobytes)] if kilobytes else []
    return subprocess.Popen(
        [*limit, sys.executable, "-m", "backendmlp", *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=options.pop("stderr", subprocess.PIPE),
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
        **options,
    )


def end(process: subprocess.Popen[str]) -> Result:
    """What the process printed and how it ended; one that does not end is killed and an error."""
    with process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except BaseException:
            process.kill()
            raise
    return Result(process.returncode, out, err)


def write_data(folder: Path, train: int = 1000, test: int = 200) -> Path:
    """The first images of the sample as a folder of plain IDX files."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, array, count in zip(FILES, _sample(), (train, train, test, test), strict=True):
        write_idx(folder / file, array[:count])
    return folder


@cache
def _sample() -> tuple[np.ndarray, ...]:
    return load_sample().arrays


def receipt(folder: Path) -> dict[str, Any]:
    """What it says; without its digest, so that it can be written again with a change."""
    said = json.loads((folder / "run.json").read_text())
    said.pop("sha256", None)
    return said


def weights_digest(path: Path) -> str:
    """The digest of the tensors in a file by the lines that the documentation gives."""
    arrays = load_file(path)
    sha = hashlib.sha256()
    for name in sorted(arrays):
        a = np.asarray(arrays[name])
        sha.update(name.encode() + b"\0" + struct.pack(f"<{a.ndim + 1}Q", a.ndim, *a.shape))
        sha.update(a.astype("<f8").tobytes())
    return sha.hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Files of ``folder`` that are not those of a finished run."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    wanted = {"model.safetensors", "run.json"}
    return sorted(name for name in files - wanted if not name.startswith("epochs" + os.sep + "0"))
