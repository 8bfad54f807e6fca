"""Processes under mpiexec that go a path together: started once, and asked again and again."""

from __future__ import annotations

import atexit
import base64
import pickle
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from together import environment, mpiexec

RANKED = Path(__file__).with_name("ranked.py")
LARGEST = 5  # ranks; smaller numbers of them leave the others waiting
_PATIENCE = 300.0  # seconds for a case; longer means that ranks wait for one another


class Group:
    """The end of it that asks; a group that fails is gone, and the next question starts another."""

    def __init__(self, program: Path = RANKED) -> None:
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        atexit.register(self.close)

    def went(self, case: Any, path: Any) -> Any:
        """What :func:`fuzzing.going.went` gives there; raises RuntimeError where they fail."""
        process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(_PATIENCE, process.kill)
        timer.start()
        with suppress(BrokenPipeError):  # it has ended: the answer, none, says so
            process.stdin.write(packed((case, path)))
            process.stdin.flush()
        answer = process.stdout.readline()
        timer.cancel()
        if not answer:
            raise RuntimeError(f"the ranks ended: {self.close()[-2000:]}")
        return unpacked(answer)

    def close(self) -> str:
        """End it; what its processes said on stderr."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with suppress(subprocess.TimeoutExpired), suppress(BrokenPipeError):
            process.communicate(timeout=10.0)  # of the end of its input they end
        process.kill()
        process.wait()
        with self._errors as errors:
            errors.seek(0)
            return errors.read().decode(errors="replace").strip()

    def _started(self) -> subprocess.Popen[str]:
        at = mpiexec()
        assert at is not None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [str(at), "-n", str(LARGEST), sys.executable, str(self._program)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        return self._process


@cache
def group() -> Group:
    """That of this process."""
    return Group()


def packed(message: Any) -> str:
    return base64.b64encode(pickle.dumps(message)).decode() + "\n"


def unpacked(line: str) -> Any:
    return pickle.loads(base64.b64decode(line))
