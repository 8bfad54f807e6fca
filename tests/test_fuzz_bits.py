"""Cases in which implementations once disagreed, or well might; drawn ones; and planted faults.

``scripts/fuzz_bits.py`` draws and compares; an hour of it stands in ``docs/robustness.md``.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.arithmetic.constants import GRID
from backendmlp.network.model import settle
from backendmlp.steps.definition import Step

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus" / "bits.json"
CASES = {case["name"]: case for case in json.loads(CORPUS.read_text())}
DRAWN = 60

specification = importlib.util.spec_from_file_location("fuzz_bits", ROOT / "scripts/fuzz_bits.py")
fuzz = importlib.util.module_from_spec(specification)
sys.modules["fuzz_bits"] = fuzz  # where its dataclasses look themselves up
specification.loader.exec_module(fuzz)


def on(case, *names: str):
    """``case`` on the paths that need none but these."""
    return {**case, "paths": [p for p in case["paths"] if {name for name, _ in p} <= set(names)]}


@pytest.mark.parametrize("name", CASES)
def test_a_kept_case(name):
    assert fuzz.disagreements(CASES[name]) == []


@pytest.mark.parametrize("first", range(0, DRAWN, 10))
def test_drawn_cases(first):
    for seed in range(first, first + 10):
        case = fuzz.draw(seed)
        assert fuzz.disagreements(on(case, "definition", "compiled")) == [], json.dumps(case)


def test_drawn_cases_on_other_libraries():
    for seed in range(DRAWN, DRAWN + 15):
        case = on(fuzz.draw(seed), "definition", "compiled", "torch", "strict")  # JAX is slow
        assert fuzz.disagreements(case) == [], json.dumps(case)


def test_a_case_is_the_same_from_its_number_and_from_json():
    for seed in range(50):
        case = fuzz.draw(seed)
        assert json.loads(json.dumps(case)) == case == fuzz.draw(seed)


def test_every_choice_is_drawn():
    cases = [fuzz.draw(seed) for seed in range(2000)]
    for key, choices in {
        "fill": {*fuzz.PIXELS, *fuzz.FEATURES},
        "labels": set(fuzz.LABELS),
        "order": set(fuzz.ORDERS),
        "layout": set(fuzz.LAYOUTS),
        "threads": {1, 2, 3, 5, 8},
    }.items():
        assert {case[key] for case in cases} == choices
    assert {case["start"]["kind"] for case in cases} == set(fuzz.STARTS)
    assert {name for c in cases for path in c["paths"] for name, _ in path} == set(
        fuzz.IMPLEMENTATIONS
    )
    assert min(case["lr"] for case in cases) < 1e-290
    assert max(case["lr"] for case in cases) > 1e290
    assert max(case["batch"] - case["count"] for case in cases) > 2**40


# Faults, planted where no more than the bits would tell.


class OneUnitOff(Step):
    """Where more than one image makes a batch, W2 changes by a unit of the grid too much."""

    def advance(self, images, labels, order, size):
        found = super().advance(images, labels, order, size)
        if len(order) > 1:
            W2 = self._parameters.W2.copy()
            W2[0, 0] += GRID
            self._parameters = dataclasses.replace(self._parameters, W2=W2)
        return found


def planted(case, backend, *given):
    return OneUnitOff(*given[:3])


FAULTY = {
    "definition": fuzz.IMPLEMENTATIONS["definition"],
    "compiled": fuzz.Implementation("numpy", planted),
}


def test_a_planted_fault_is_found_made_smaller_and_replayed(tmp_path, capsys):
    search = fuzz.Search(tmp_path, FAULTY, Counter())
    assert fuzz.run(search, map(fuzz.draw, [0])) == 1
    said = capsys.readouterr().out
    file = tmp_path / "disagreement-1.json"
    assert "W2" in said
    assert f"--replay {file}" in said
    (case,) = json.loads(file.read_text())
    assert case["shape"] == [1, 1, 2]
    assert case["count"] == 2
    assert fuzz.disagreements(case, FAULTY) != []
    assert fuzz.disagreements(case) == []
    with mock.patch.object(fuzz, "IMPLEMENTATIONS", FAULTY):
        arguments = ["--replay", str(file), "--found", str(tmp_path / "again")]
        assert fuzz.main(arguments) == 1


def test_cases_that_agree_end_well(tmp_path, capsys):
    assert fuzz.main(["--cases", "2", "--only", "compiled", "--found", str(tmp_path)]) == 0
    assert "2 cases" in capsys.readouterr().out


def test_what_is_settled_again_when_resumed_is_found():
    """The fault of a training resumed with a weight beyond 2**22."""
    case = on(CASES["resumed with weights beyond 2**22, grown"], "definition")
    case["paths"] = [[["definition", 20], ["definition", None]]]
    assert fuzz.disagreements(case) == []
    on_device = fuzz.Steered._on_device

    def settled(self, parameters):
        p = on_device(self, parameters)
        return settle(Bitwise(), p.as_dict(), p.unit)

    with mock.patch.object(fuzz.Steered, "_on_device", settled):
        assert fuzz.disagreements(case) != []


def test_weights_of_before_the_epoch_that_are_lost_are_found():
    """The fault of a training that diverges after it was resumed within an epoch."""
    case = on(CASES["divergence after a resume within the epoch"], "definition")
    case["paths"] = [[["definition", 2], ["definition", None]]]
    assert fuzz.disagreements(case) == []
    state = fuzz.Steered.state
    without = lambda self: dataclasses.replace(state(self), before=None)  # noqa: E731
    with mock.patch.object(fuzz.Steered, "state", without):
        (found,) = fuzz.disagreements(case)
    assert "divergence" in found.what


def test_only_flushed_subnormals_are_told_apart():
    one, two = np.array([1.0, 1e-310]), np.array([1.0, 0.0])
    assert fuzz._only_flushed(one, two)
    assert not fuzz._only_flushed(two, one)
    assert not fuzz._only_flushed(one, np.array([1.0 + 2**-52, 0.0]))
