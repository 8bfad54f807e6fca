"""The compiled steps under sanitizers: no race, no stray access, nothing undefined.

``tests/steps.c`` drives them: six networks, one to four threads in every division, pixels and
features, in all numerics; in bitwise ones also as one of several processes, which stop where they
cannot meet.  Slow: the sanitizers make it so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

from building import compiler

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "backendmlp/steps/compiled"
OPTIONS = ["-std=gnu11", "-O1", "-ffp-contract=off", "-pthread", "-g"]
SETTINGS = {"TSAN_OPTIONS": "halt_on_error=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
KINDS = {"bitwise": "double", "native_float64": "double", "native_float32": "float"}
SANITIZERS = ("thread", "address,undefined")

pytestmark = pytest.mark.slow


def built(made, sanitizer, arguments):
    """``made``, compiled under the ``sanitizer``."""
    command = [*compiler.command(), *OPTIONS, f"-fsanitize={sanitizer}"]
    command += ["-fno-sanitize-recover=all", *arguments, "-o", str(made), "-lm", "-ldl"]
    if subprocess.run(command, check=False).returncode:
        pytest.skip(f"the C compiler has no -fsanitize={sanitizer}")
    return made


def library(folder, sources, sanitizer):
    shared = ["-DCLONED=", "-fPIC", "-shared", str(sources / "step.c")]
    return built(folder / "libstep.so", sanitizer, shared)


def ran(folder, library, sanitizer, numerics):
    """What becomes of the driver with the ``library``, both under the ``sanitizer``."""
    kind = [f"-I{SOURCES}", f"-DNUMERICS={numerics}", f"-DREAL={KINDS[numerics]}"]
    program = built(folder / "steps", sanitizer, [*kind, str(ROOT / "tests/steps.c")])
    return subprocess.run(
        [str(program), str(library)],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(autouse=True, scope="module")
def at_hand():
    if sys.platform != "linux" or compiler.command() is None:
        pytest.skip("there is no C compiler at hand, or this is not Linux")


@pytest.fixture(scope="module", params=SANITIZERS)
def made(request, at_hand, tmp_path_factory):
    """A sanitizer, and the library as it is, under it."""
    return request.param, library(tmp_path_factory.mktemp("made"), SOURCES, request.param)


@pytest.mark.parametrize("numerics", KINDS)
def test_nothing_is_found(tmp_path, made, numerics):
    """Nor does the caller go on taking subnormal numbers for zero: that hashes to 0."""
    sanitizer, path = made
    found = ran(tmp_path, path, sanitizer, numerics)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    lines = [line.split()[1:] for line in found.stdout.splitlines()]
    assert len(lines) == 8
    assert all(int(digest, 16) for line in lines for digest in line)


@pytest.mark.parametrize(
    ("sanitizer", "file", "right", "wrong"),
    [
        ("thread", "team.h", "    if (team->size == 1)\n        return;\n", "    return;\n"),
        (
            "thread",
            "ranks.h",
            "        own->shared->failed = 1;\n    meet(&own->shared->team);\n",
            "        own->shared->failed = 1;\n",
        ),
        (
            "thread",
            "helpers.h",
            "(states >> atomic_load(&helper->state))",
            "(states >> atomic_load_explicit(&helper->state, memory_order_relaxed))",
        ),
        ("address,undefined", "job.h", "return count * part / parts;", "return count * part;"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, sanitizer, file, right, wrong):
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources)
    text = (sources / file).read_text()
    assert text.count(right) == 1
    (sources / file).write_text(text.replace(right, wrong))
    found = ran(tmp_path, library(tmp_path, sources, sanitizer), sanitizer, "bitwise")
    assert found.returncode != 0
    assert "Sanitizer" in found.stderr or "runtime error" in found.stderr
