"""The script for a machine with a GPU: what it does with steps, and all of it on a stand-in."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from kernels import on_cpu
from test_cupy_path import python

pytest.importorskip("threadpoolctl")
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from evidence import steps, summary  # noqa: E402
from evidence.steps import Step  # noqa: E402


def step(name: str, code: str, limit: float = 60.0, missing: str | None = None) -> Step:
    return Step(name, f"the {name} one", [sys.executable, "-uc", code], limit, missing)


def ran(one: Step, folder: Path, seconds: float = 60.0) -> Step:
    return one.run(folder, time.monotonic() + seconds)


def test_what_a_step_comes_to(tmp_path):
    right = ran(step("right", "print('{\"a\": 1}'); print('and more')"), tmp_path)
    wrong = ran(step("wrong", "import sys; print('said'); sys.exit(3)"), tmp_path)
    assert (right.outcome, right.failed, right.found()) == ("passed", False, {"a": 1})
    assert (wrong.outcome, wrong.failed, wrong.note) == ("FAILED", True, "exit code 3")
    assert wrong.said() == "said\n"
    assert wrong.found() == {}
    absent = ran(step("absent", "1/0", missing="no such thing"), tmp_path)
    assert (absent.outcome, absent.failed, absent.said()) == ("left out", False, "")


@pytest.mark.slow
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    code = "import subprocess as s, sys; print('begun'); s.run([sys.executable, '-c', '{}'])"
    code = code.format("import time; time.sleep(60)")
    one = step("long", code, limit=3.0)
    before = time.monotonic()
    ran(one, tmp_path)
    assert time.monotonic() - before < 30
    assert (one.outcome, one.failed, one.said()) == ("out of time", True, "begun\n")
    late = ran(step("late", "print()"), tmp_path, seconds=0.0)
    assert (late.outcome, late.note) == ("out of time", "not begun")


def test_the_page_says_what_failed_and_what_is_still_to_come(tmp_path):
    machine = Step("machine", "what the machine is", [], 1)
    failed = ran(step("wrong", "import sys; sys.exit('the | reason')"), tmp_path)
    summary.write(tmp_path, [machine, failed, step("next", "")])
    page = (tmp_path / "summary.md").read_text()
    assert "| the wrong one | FAILED |" in page
    assert "| the next one | not reached |" in page
    assert "## wrong: FAILED\n\n```\nthe | reason\n```" in page
    outcomes = json.loads((tmp_path / "results.json").read_text())
    assert [one["outcome"] for one in outcomes] == ["not reached", "FAILED", "not reached"]


def test_a_machine_without_a_gpu_leaves_out_what_needs_one(tmp_path):
    machine = {"missing": {"cupy": "no CuPy", "torch": "no CUDA"}, "steps": {}}
    found = {one.name: one.missing for one in steps.checks(tmp_path, machine, quick=False)}
    assert found["golden-kernels"] == found["memcheck"] == "no CuPy"
    assert found["golden-torch"] == "no CUDA"
    assert found["parity"] is None
    machine = {"missing": {}, "steps": {"kernels": "definition", "apart": "kernels"}}
    found = {one.name: one.missing for one in steps.checks(tmp_path, machine, quick=False)}
    assert found["golden-kernels"] == "no kernels here: the steps are by the definition"
    assert found["golden-apart"] is found["golden-definition"] is None


@pytest.mark.slow
def test_all_of_it_on_a_stand_in(tmp_path):
    done = python(SCRIPTS / "gpu_evidence.py", "--quick", "--out", tmp_path / "found", limit=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "nothing failed"
    outcomes = json.loads((tmp_path / "found" / "results.json").read_text())
    passed = {one["name"] for one in outcomes if one["outcome"] == "passed"}
    assert {"machine", "golden-definition", "benchmark", "scaling", "tests"} <= passed
    if on_cpu.COMPILER is not None:
        assert {"golden-kernels", "golden-apart"} <= passed
    page = (tmp_path / "found" / "summary.md").read_text()
    for part in ("cuda:0 (a stand-in for a GPU)", "us a step", "times as fast", " passed"):
        assert part in page
    found = json.loads((tmp_path / "found" / "benchmark.json").read_text())
    assert len(found["cells"]) == 1
    assert found["broken"] == {}


@pytest.mark.slow
def test_what_a_gpu_computes_wrongly_fails(tmp_path):
    wrong = {"STAND_IN_CUPY": "float32-products"}
    done = python(SCRIPTS / "gpu_evidence.py", "--quick", "--out", tmp_path, limit=600, **wrong)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1].startswith("FAILED: tests, golden-definition")
    assert "products of float64 matrices are not exact" in (tmp_path / "summary.md").read_text()
