"""What is asked of the machine, in which order, and for how long at most."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS, TESTS = ROOT / "scripts", ROOT / "tests"
Machine = dict[str, Any]
_BEFORE = filter(None, [os.environ.get("PYTHONPATH")])
_PATH = {"PYTHONPATH": os.pathsep.join([*map(str, (SCRIPTS, TESTS, ROOT)), *_BEFORE])}

# By the environment's word for them: which steps do the work on CuPy.
KINDS = {"definition": "0", "kernels": "", "apart": "apart"}
_TOOLS = ("memcheck", "racecheck", "synccheck")
_SANITIZED = "features"  # the golden case that the sanitizer sees: of 16 steps


@dataclass
class Step:
    """A command of at most ``limit`` seconds, or ``missing``: why this machine cannot run it."""

    name: str
    title: str
    command: list[str]
    limit: float
    missing: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    outcome: str = "not reached"
    seconds: float = 0.0
    note: str = ""
    file: Path | None = None

    @property
    def failed(self) -> bool:
        return self.outcome not in ("passed", "left out")

    def run(self, folder: Path, ends: float) -> Step:
        """Run it, until the clock says ``ends`` at the latest; what it says goes to a file."""
        self.file = folder / f"{self.name}.txt"
        limit = min(self.limit, ends - time.monotonic())
        if self.missing is not None:
            self.outcome, self.note = "left out", self.missing
        elif limit <= 0:
            self.outcome, self.note = "out of time", "not begun"
        else:
            self._run(limit)
        return self

    def _run(self, limit: float) -> None:
        assert self.file is not None
        started = time.monotonic()
        with self.file.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                self.command,
                stdout=said,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self.environment},
                cwd=ROOT,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                _end(process)
                self.outcome, self.note = "out of time", f"ended after {limit:.0f} s"
            else:
                self.outcome = "passed" if code == 0 else "FAILED"
                self.note = "" if code == 0 else f"exit code {code}"
        self.seconds = time.monotonic() - started

    def said(self) -> str:
        """All that it said, "" of one that has not run."""
        if self.file is None or not self.file.exists():
            return ""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def found(self) -> dict[str, Any]:
        """The last line that is a JSON object, {} where there is none."""
        for line in reversed(self.said().splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        return {}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def machine() -> Step:
    """What the machine is, and what can run on it."""
    command = [sys.executable, "-m", "evidence.machine"]
    return Step("machine", "what the machine is", command, 90, environment=_PATH)


def checks(folder: Path, machine: Machine, quick: bool) -> list[Step]:
    """Where nothing is timed, and so several may run at one time."""
    table = [str(folder.resolve() / "parity.json"), "--jobs", "4"]
    parity = _python(SCRIPTS / "parity.py", "--json", *table)
    found = [
        *(_golden(machine, kind, quick) for kind in KINDS),
        Step(
            "golden-torch",
            "golden digests, PyTorch on CUDA",
            _python(TESTS / "golden.py", *_wide(quick), "--backend", "torch", "--device", "cuda"),
            120,
            _missing(machine, "torch"),
        ),
        Step("parity", "the parity table", parity, 200, "only in a whole run" if quick else None),
    ]
    return [_tests(machine, quick), *found, *(_sanitizer(machine, tool) for tool in _TOOLS)]


def timed(folder: Path, machine: Machine, quick: bool, seconds: float) -> list[Step]:
    """The benchmarks, which want the machine for themselves; the first for about ``seconds``."""
    small = ("--quick", "--images", "160", "--rounds", "1", "--hidden", "20")
    script, folder = SCRIPTS / "benchmark.py", folder.resolve()
    device = "--device", "cuda", "--json", folder / "benchmark.json"
    scaling = "--scaling", "--json", folder / "scaling.json"
    whole = "--rounds", "5", "--seconds", f"{seconds:.0f}"
    return [
        Step(
            "benchmark",
            "steps on the GPU, beside its peers",
            _python(script, *device, *(small if quick else whole)),
            seconds + 70,
            _missing(machine, "cupy"),
        ),
        Step(
            "scaling",
            "steps on the CPU, with more and more threads",
            _python(script, *scaling, *(small if quick else ("--rounds", "3"))),
            80,
        ),
    ]


def _tests(machine: Machine, quick: bool) -> Step:
    """The tests that take a GPU's arrays; those on the stand-in are for machines without."""
    on_gpu = "(cupy or cuda) and not cupy_path and not stand_in"
    which = "cupy and golden and features" if quick else on_gpu
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", which]
    needs = {"BACKENDMLP_REQUIRE": "cupy"}
    tests = [str(TESTS / "test_golden.py")] if quick else []
    return Step(
        "tests", "the tests on a GPU", command + tests, 300, _missing(machine, "cupy"), needs
    )


def _golden(machine: Machine, kind: str, quick: bool) -> Step:
    missing = _missing(machine, "cupy")
    runs = machine.get("steps", {}).get(kind)
    if missing is None and kind != "definition" and runs != "kernels":
        missing = f"no kernels here: the steps are by the {runs}"
    return Step(
        f"golden-{kind}",
        f"golden digests, CuPy, {kind}",
        _python(TESTS / "golden.py", *_wide(quick), "--backend", "cupy"),
        120,
        missing,
        {"BACKENDMLP_KERNELS": KINDS[kind]},
    )


def _sanitizer(machine: Machine, tool: str) -> Step:
    program = shutil.which("compute-sanitizer") or "compute-sanitizer"
    missing = _missing(machine, "cupy")
    if missing is None and shutil.which(program) is None:
        missing = "compute-sanitizer is not on the PATH"
    watched = [sys.executable, "-m", "evidence.sanitized", _SANITIZED]
    command = [program, "--tool", tool, "--error-exitcode", "9", *watched]
    return Step(tool, f"compute-sanitizer, {tool}", command, 120, missing, _PATH)


def _python(script: Path, *arguments: object) -> list[str]:
    return [sys.executable, str(script), *map(str, arguments)]


def _wide(quick: bool) -> tuple[str, ...]:
    return ("--check",) if quick else ("--wide", "--check")


def _missing(machine: Machine, backend: str) -> str | None:
    """Why ``backend`` cannot run on a GPU here."""
    if not machine:
        return "the machine did not say what it has"
    return machine["missing"].get(backend)
