"""Cases in which implementations once disagreed, or well might; drawn ones; and planted faults.

``scripts/fuzz_bits.py`` draws and compares; an hour of it stands in ``docs/robustness.md``.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from conftest import import_or_skip

from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.arithmetic.constants import GRID
from backendmlp.config import MONITORS, OPTIMIZERS
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.losses import LOSSES
from backendmlp.network.model import Parameters, settle
from backendmlp.network.schedules import SCHEDULES
from backendmlp.steps.compiled.scoring import CompiledScorer
from backendmlp.steps.definition import Step

sys.path.append(str(Path(__file__).resolve().parents[1] / "scripts"))

import fuzz_bits
from fuzzing import comparing, going, making
from fuzzing.comparing import disagreements
from fuzzing.drawing import draw
from fuzzing.group import Group

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus" / "bits.json"
CASES = {case["name"]: case for case in json.loads(CORPUS.read_text())}
DRAWN = 60
RANKED = ("definition", "compiled", "torch", "strict", "ranks")


def on(case, *names: str):
    """``case`` on the paths that need none but these."""
    needed = [set().union(*(going.members_of(name) for name, _ in p)) for p in case["paths"]]
    paths = [p for p, those in zip(case["paths"], needed, strict=True) if those <= set(names)]
    return {**case, "paths": paths}


@pytest.mark.parametrize("name", CASES)
def test_a_kept_case(name):
    assert disagreements(CASES[name]) == []


@pytest.mark.parametrize(
    "first", [0, 10, *(pytest.param(n, marks=pytest.mark.slow) for n in range(20, DRAWN, 10))]
)
def test_drawn_cases(first):
    for seed in range(first, first + 10):
        case = draw(seed)
        assert disagreements(on(case, "definition", "compiled")) == [], json.dumps(case)


def test_drawn_cases_on_other_libraries():
    for seed in range(DRAWN, DRAWN + 8):
        case = on(draw(seed), "definition", "compiled", "torch", "strict")  # JAX is slow
        assert disagreements(case) == [], json.dumps(case)


def test_a_case_is_the_same_from_its_number_and_from_json():
    for seed in range(50):
        case = draw(seed)
        assert json.loads(json.dumps(case)) == case == draw(seed)


def test_every_choice_is_drawn():
    cases = [draw(seed) for seed in range(2000)]
    for key, choices in {
        "fill": {*making.PIXELS, *making.FEATURES},
        "labels": set(making.LABELS),
        "targets": set(making.TARGETS),
        "weights": set(making.WEIGHTS),
        "order": set(making.ORDERS),
        "layout": set(making.LAYOUTS),
        "threads": {1, 2, 3, 5, 8},
    }.items():
        assert {case[key] for case in cases} == choices
    for key, choices in {
        "dtype": {"float32", "float64"},
        "spoilt": {None, "nan", "inf", "-inf"},
    }.items():
        assert {case["shown"][key] for case in cases} == choices
    for name, known in {
        "activation": ACTIVATIONS,
        "loss": LOSSES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
    }.items():
        drawn = {going.config_of(case).as_dict()[name] for case in cases}
        assert drawn == set(known), name
    assert {len(case["shape"]) for case in cases} == set(range(2, 11))
    assert max(case["shape"][-1] for case in cases) > 300
    assert min(case["choices"].get("epsilon") or 1.0 for case in cases) == 5e-324
    assert {case["choices"].get("monitor") for case in cases} == {None, *MONITORS}
    assert sum(case["validated"] for case in cases) > 200
    assert sum(case["warm"] is not None for case in cases) > 200
    assert {case["start"]["kind"] for case in cases} == set(making.STARTS)
    hops = {name for case in cases for path in case["paths"] for name, _ in path}
    assert set().union(*map(going.members_of, hops)) == set(going.IMPLEMENTATIONS)
    assert {name.count("+") + 1 for name in hops} == {1, 2, 3, 4, 5}
    assert min(case["lr"] for case in cases) < 1e-290
    assert max(case["lr"] for case in cases) > 1e290
    assert max(case["batch"] - case["count"] for case in cases) > 2**40


def ranked(case):
    """``case`` on its paths of several ranks alone."""
    return {**case, "paths": [path for path in case["paths"] if "+" in str(path)]}


@pytest.mark.slow
def test_drawn_cases_on_ranks():
    import_or_skip("mpi4py")
    drawn = [case for case in map(ranked, map(draw, range(40))) if case["paths"]]
    assert len(drawn) > 5
    for case in drawn:
        assert disagreements(on(case, *RANKED)) == [], json.dumps(case)
    going.group().close()


def test_ranks_go_where_no_other_process_is_started(monkeypatch):
    """A path of ranks is the group's, and of a group that was not asked for nobody's."""
    asked = []

    class Told:
        def went(self, case, path):
            asked.append(path)
            return [("loss", "one bit more")]

    monkeypatch.setattr(going, "group", Told)
    monkeypatch.setattr(going, "mpiexec", lambda: "mpiexec")
    monkeypatch.setattr(going.importlib.util, "find_spec", lambda name: True)
    paths = [["definition+definition", 2], ["definition", None]], [["definition", None]]
    case = ordinary(paths=list(paths))
    (found,) = disagreements(case)
    assert asked == [paths[0]]
    assert found.what.startswith("loss where the definition has ")
    assert disagreements(case, FAULTY) == []


@pytest.mark.slow
def test_ranks_that_fail_are_told_of_and_others_follow():
    import_or_skip("mpi4py")
    case = ordinary(paths=[[["definition+definition", None]]])
    with pytest.raises(RuntimeError, match=r"the ranks ended: (.|\n)*KeyError: 'nothing'"):
        going.went(case, [["definition+nothing", None]], going.IMPLEMENTATIONS)
    assert disagreements(case) == []
    going.group().close()


FAULTY_RANKS = """
import sys
sys.path.insert(0, {scripts!r})
from backendmlp.distributed.mpi import MpiRanks
from fuzzing import ranked
total = MpiRanks.total
def wrong(self, x):
    total(self, x)
    if self.rank >= {first}:
        x += 2.0**-20
MpiRanks.total = wrong
ranked.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first", "what"), [(0, "where the definition has"), (1, "rank 1 found")])
def test_a_fault_of_ranks_is_found(first, what, tmp_path, monkeypatch):
    """Of all of them, or of one that the first knows nothing of."""
    import_or_skip("mpi4py")
    program = tmp_path / "ranked.py"
    program.write_text(FAULTY_RANKS.format(scripts=str(ROOT / "scripts"), first=first))
    faulty = Group(program)
    monkeypatch.setattr(going, "group", lambda: faulty)
    (found,) = disagreements(ordinary(paths=[[["definition+definition", None]]]))
    faulty.close()
    assert what in found.what


# Faults, planted where no more than the bits would tell.


class OneUnitOff(Step):
    """Where more than one row makes a batch, a weight changes by a unit of the grid too much."""

    def advance(self, rows, order, size, coefficients):
        found = super().advance(rows, order, size, coefficients)
        if len(order) > 1:
            arrays = self.learned.parameters.as_dict()
            last = f"W{len(arrays) // 2}"
            arrays[last] = arrays[last].copy()
            arrays[last][0, 0] += GRID
            p = Parameters.of(arrays, self.learned.parameters.unit)
            self._learned = dataclasses.replace(self.learned, parameters=p)
        return found


def planted(case, backend, recipe, learned, rows):
    return OneUnitOff(recipe, learned)


FAULTY = {
    "definition": going.IMPLEMENTATIONS["definition"],
    "compiled": going.Implementation("numpy", planted),
}


def test_a_planted_fault_is_found_made_smaller_and_replayed(tmp_path, capsys):
    search = fuzz_bits.Search(tmp_path, FAULTY, Counter())
    assert fuzz_bits.run(search, map(draw, [0])) == 1
    said = capsys.readouterr().out
    file = tmp_path / "disagreement-1.json"
    assert "W" in said
    assert f"--replay {file}" in said
    (case,) = json.loads(file.read_text())
    assert case["shape"] == [1, 2]  # no hidden layer at all
    assert case["choices"] == {}
    assert case["count"] == 2
    assert disagreements(case, FAULTY) != []
    assert disagreements(case) == []
    with mock.patch.object(fuzz_bits, "IMPLEMENTATIONS", FAULTY):
        arguments = ["--replay", str(file), "--found", str(tmp_path / "again")]
        assert fuzz_bits.main(arguments) == 1


def test_cases_that_agree_end_well(tmp_path, capsys):
    assert fuzz_bits.main(["--cases", "2", "--only", "compiled", "--found", str(tmp_path)]) == 0
    assert "2 cases" in capsys.readouterr().out


def test_what_is_settled_again_when_resumed_is_found():
    """The fault of a training resumed with a weight beyond 2**22."""
    case = on(CASES["resumed with weights beyond 2**22, grown"], "definition")
    case["paths"] = [[["definition", 20], ["definition", None]]]
    assert disagreements(case) == []
    on_device = going.Steered._on_device

    def settled(self, arrays):
        learned = on_device(self, arrays)
        p = learned.parameters
        return dataclasses.replace(learned, parameters=settle(Bitwise(), p.as_dict(), p.unit))

    with mock.patch.object(going.Steered, "_on_device", settled):
        assert disagreements(case) != []


def test_weights_of_before_the_epoch_that_are_lost_are_found():
    """The fault of a training that diverges after it was resumed within an epoch."""
    case = on(CASES["divergence after a resume within the epoch"], "definition")
    case["paths"] = [[["definition", 2], ["definition", None]]]
    assert disagreements(case) == []
    state = going.Steered.state
    without = lambda self: dataclasses.replace(state(self), before=None)  # noqa: E731
    with mock.patch.object(going.Steered, "state", without):
        (found,) = disagreements(case)
    assert "divergence" in found.what


def test_only_flushed_subnormals_are_told_apart():
    one, two = np.array([1.0, 1e-310]), np.array([1.0, 0.0])
    assert comparing.only_flushed(one, two)
    assert not comparing.only_flushed(two, one)
    assert not comparing.only_flushed(one, np.array([1.0 + 2**-52, 0.0]))


def ordinary(**changes):
    """A case with nothing odd about it, but for what is changed."""
    usual = {"kind": "he", "settled": True, "scaled": False}
    plain = {"inputs": "features", "fill": "normal", "labels": "any", "weights": "none"}
    sizes = {"shape": [3, 4, 2], "count": 20, "batch": 5, "batches": 1}
    case = draw(0)
    return {**case, **plain, **sizes, "start": {**case["start"], **usual}, **changes}


def test_a_best_epoch_that_is_lost_in_a_resume_is_found():
    kept = {"patience": 9, "monitor": "validation_loss", "validation_split": 0.3}
    path = [["definition", 11], ["definition", None]]
    case = ordinary(seed=9, epochs=4, lr=3.0, choices=kept, warm=None, paths=[path])
    assert disagreements(case) == []
    state = going.Steered.state
    without = lambda self: dataclasses.replace(state(self), best=None)  # noqa: E731
    with mock.patch.object(going.Steered, "state", without):
        (found,) = disagreements(case)
    assert "epoch 4: ended with" in found.what


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_settled_wrongly_while_they_are_read_are_found(steps, dtype):
    shown = {"dtype": dtype, "spoilt": None}
    case = ordinary(seed=1, lr=0.1, epochs=1, choices={}, warm=None, shown=shown)
    case["paths"] = [[["compiled", None]]]
    assert disagreements(case) == []
    read = CompiledScorer.read

    def doubled(self, inputs, targets):
        return read(self, inputs * (2 if inputs.dtype == dtype else 1), targets)

    with mock.patch.object(CompiledScorer, "read", doubled):
        (found,) = disagreements(case)
    assert "shown, " in found.what


class Forgetful(going.Steered):
    """A warm start on array-api-strict that counts its steps from the first again."""

    def _first_step(self, epoch, position):
        forgets = self.backend.name == "array-api-strict"
        return super()._first_step(epoch, position) - forgets * self._start.steps


def test_a_warm_start_that_forgets_its_steps_is_found():
    adam = {"optimizer": "adam"}
    case = ordinary(epochs=2, lr=0.01, choices=adam, warm={}, paths=[[["strict", None]]])
    assert disagreements(case) == []
    with mock.patch.object(going, "Steered", Forgetful):
        (found,) = disagreements(case)
    assert "epoch 3: " in found.what  # the first whose steps are not counted from the first
