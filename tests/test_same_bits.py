"""One property of everything that can be chosen: the definition's bits, from every implementation.

A case draws one row of each table below.  A new activation, loss, optimiser or schedule is one more
row.  What is compared is all that is learned, each row's loss, and what the network makes of rows
that it is shown; between the definition on NumPy and that on every other library, and compiled
steps in several divisions of threads; without a break and through a kill within an epoch, behind
which another implementation goes on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Any

import numpy as np
import pytest
from conftest import open_or_skip

from backendmlp import Config
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import OPTIMIZERS
from backendmlp.features import feature_unit, settled
from backendmlp.network import evaluation
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.initial import initial
from backendmlp.network.losses import LOSSES
from backendmlp.network.recipe import Learned
from backendmlp.network.schedules import SCHEDULES
from backendmlp.steps import choose, compiled
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows, Stepper
from backendmlp.training.trainer import DivergenceError, Start, Trainer

Table = dict[str, dict[str, Any]]

# Each table has its rows by name, and a row what it chooses of a Config.
CHOICES: dict[str, Table] = {
    "layers": {
        "none": {"hidden": ()},
        "one": {"hidden": (12,)},
        "one unit": {"hidden": (1,)},
        "two": {"hidden": (33, 7)},
        "three": {"hidden": (9, 17, 5)},
        "five": {"hidden": (6, 5, 4, 3, 2)},
    },
    "activation": {
        "relu": {"activation": "relu"},
        "tanh": {"activation": "tanh"},
        "logistic": {"activation": "logistic"},
        "identity": {"activation": "identity"},
    },
    "loss": {
        "cross-entropy": {"loss": "cross_entropy"},
        "smoothed": {"loss": "cross_entropy", "label_smoothing": 0.15},
        "squared error": {"loss": "squared_error"},
    },
    "optimizer": {
        "descent": {"optimizer": "sgd", "lr": 0.3},
        "momentum": {"optimizer": "momentum", "lr": 0.05},
        "momentum, other": {"optimizer": "momentum", "lr": 0.2, "momentum": 0.37},
        "nesterov": {"optimizer": "nesterov", "lr": 0.05},
        "adam": {"optimizer": "adam", "lr": 0.01},
        "adam, other": {
            "optimizer": "adam", "lr": 1e-4, "beta_1": 0.0, "beta_2": 0.9, "epsilon": 1e-3,
        },
        "adamw": {"optimizer": "adamw", "lr": 0.02, "weight_decay": 0.1},
        "descent with decay": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.03},
    },
    "l2": {"none": {}, "some": {"l2": 0.01}, "much": {"l2": 7.0}},
    "clip": {"none": {}, "often": {"clip_norm": 0.02}, "seldom": {"clip_norm": 0.5}},
    "schedule": {
        "constant": {"schedule": "constant"},
        "step": {"schedule": "step", "decay": 0.3, "decay_every": 1},
        "linear": {"schedule": "linear"},
        "cosine": {"schedule": "cosine"},
        "cosine, warmed up": {"schedule": "cosine", "warmup": 0.7},
        "adaptive": {"schedule": "adaptive", "warmup": 1},
    },
    "class weights": {
        "none": {},
        "given": {"class_weight": (1.0, 0.0, 2.5, 0.3)},
        "balanced": {"class_weight": "balanced"},
    },
    "batch": {
        "one row": {"batch_size": 1},
        "a short last one": {"batch_size": 16},
        "a last one of one row": {"batch_size": 39},
        "no short one": {"batch_size": 20},
        "all": {"batch_size": 40},
        "more than all": {"batch_size": 1000},
    },
}  # fmt: skip
# What is trained on.
INPUTS = ("pixels", "features", "features of all sizes", "floats, not settled")
WEIGHTS = ("none", "some", "some of them zero")
ROWS, SCORED, FEATURES, OUTPUTS, EPOCHS = 40, 13, 11, 4, 2
TABLES: dict[str, tuple[str, ...]] = {
    **{name: tuple(table) for name, table in CHOICES.items()},
    "inputs": INPUTS,
    "weights": WEIGHTS,
    "kill": ("in the first epoch", "between two", "in the second epoch"),
}
DIVISIONS = ((1, 1), (2, 1), (1, 2), (3, 1), (5, 1), (1, 3), (2, 2))  # of units, and of their rows


@dataclass(frozen=True)
class Case:
    """The rows drawn of each table, by its name, and the number they were drawn by."""

    number: int
    drawn: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.number}: " + ", ".join(f"{k} {v!r}" for k, v in self.drawn.items())

    def config(self) -> Config:
        choices: dict[str, Any] = {}
        for name, table in CHOICES.items():
            choices |= table[self.drawn[name]]
        if choices["loss"] == "squared_error":
            choices.pop("class_weight", None)
        return Config(epochs=EPOCHS, seed=self.number, **choices)

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.number, purpose])

    def inputs(self) -> np.ndarray:
        """(ROWS + SCORED, FEATURES), pixels or floats."""
        rng, kind, shape = self.rng(0), self.drawn["inputs"], (ROWS + SCORED, FEATURES)
        if kind == "pixels":
            return rng.integers(0, 256, shape, dtype=np.uint8)
        scale = 10.0 ** rng.uniform(-9, 9, FEATURES) if "sizes" in kind else 1.0
        return rng.normal(size=shape) * scale

    def targets(self) -> np.ndarray:
        if self.config().regression:
            return self.rng(1).normal(size=(ROWS + SCORED, OUTPUTS)) * [1.0, 3.0, 0.01, 100.0]
        return self.rng(1).integers(0, OUTPUTS, ROWS + SCORED)

    def weights(self) -> np.ndarray | None:
        if self.drawn["weights"] == "none":
            return None
        rng = self.rng(2)
        zero = rng.random(ROWS) < (0.3 if "zero" in self.drawn["weights"] else 0.0)
        return np.where(zero, 0.0, rng.exponential(size=ROWS))


def cases(first: int, count: int) -> Iterator[Case]:
    """Each dozen of them has every row of every table at least once."""
    for number in range(first, first + count):
        dozen, at = divmod(number, 12)
        drawn = {}
        for name, rows in TABLES.items():
            rng = random.Random(f"{name} {dozen}")
            deck = [*rows, *rng.choices(rows, k=12 - len(rows))]
            rng.shuffle(deck)
            drawn[name] = deck[at]
        yield Case(number, drawn)


class Divided:
    """What makes compiled steps in this division of threads."""

    def __init__(self, division: tuple[int, int]) -> None:
        self.division = division

    def __call__(self, backend: Backend, recipe: Any, learned: Learned, rows: Rows) -> Stepper:
        assert compiled.stepper(recipe, learned, rows) is not None
        return compiled._make(recipe, learned, rows, self.division)


def defined(backend: Backend, recipe: Any, learned: Learned, rows: Rows) -> Stepper:
    return Step(recipe, learned)


class Steered(Trainer):
    """A trainer whose steps are made by ``make``."""

    def __init__(self, make: Any, *given: Any) -> None:
        self.make = make
        super().__init__(*given)

    def _new_stepper(self, learned: Learned) -> Stepper:
        return self.make(self.backend, self.recipe, learned, self.rows)


class Place:
    """A case where its arrays lie on one backend, and its steps are made in one way."""

    def __init__(self, case: Case, at: Backend, make: Any) -> None:
        config, x, y, w = case.config(), case.inputs(), case.targets(), case.weights()
        unit, on_device = None, at.asarray(x)
        if case.drawn["inputs"].startswith("features"):
            unit = feature_unit(on_device[:ROWS, :])
            on_device = settled(on_device, unit)
        y = at.asarray(y, config.dtype if config.regression else "int64")
        rows = Rows(on_device[:ROWS, :], y[:ROWS, ...], None if w is None else at.asarray(w))
        self.scored = on_device[ROWS:, :], y[ROWS:, ...]
        start = initial(config.sizes(FEATURES, OUTPUTS), config.activation, config.seed)
        if "sizes" in case.drawn["inputs"]:
            start["W1"] /= np.abs(x).max(axis=0)[:, None]
        self.at, self.start = at, Start(start)
        self.trainer = Steered(make, at, config, self.start, rows, None, unit)

    def finish_epoch(self) -> dict[str, np.ndarray | str]:
        """Close the epoch, and give all that is to be compared at its end."""
        trainer, (x, y) = self.trainer, self.scored
        state = trainer.state()
        found: dict[str, Any] = {**state.learned}
        found |= {f"part {name}": value for name, value in state.parts.items()}
        try:
            found["loss"] = trainer.finish_epoch().hex()
        except DivergenceError:  # as everywhere else then, with these bits
            found["loss"] = "diverged"
            return found
        scores, recipe = trainer.score(x, y), trainer.recipe
        for i, part in enumerate(scores.parts):
            found[f"scored part {i}"] = to_numpy(part)
        found["outputs"] = to_numpy(scores.outputs)
        found["score"] = str(evaluation.evaluate(recipe.arithmetic, recipe.loss, scores, y))
        return found


def batches_before_the_kill(case: Case) -> int:
    per_epoch = -(-ROWS // case.config().batch_size)
    within = (per_epoch + 1) // 2
    kill = case.drawn["kill"]
    return within if "first" in kill else per_epoch + (within if "second" in kill else 0)


def trained(case: Case, at: Backend, make: Any, on: tuple[Backend, Any] | None = None) -> list[Any]:
    """What each epoch comes to; ``on`` goes on from a state that a kill leaves behind."""
    left = None if on is None else batches_before_the_kill(case)
    found = []
    with at.scope():
        place = Place(case, at, make)
        while place.trainer.epoch < EPOCHS and left != 0 and not ended(found):
            through = place.trainer.advance(1)
            left = None if left is None else left - 1
            if through:
                found.append(place.finish_epoch())
        state = place.trainer.state()
    if on is None or ended(found):
        return found
    with on[0].scope():
        place = Place(case, *on)
        place.trainer.restore(state)
        while place.trainer.epoch < EPOCHS and not ended(found):
            if place.trainer.advance(3):
                found.append(place.finish_epoch())
    return found


def ended(found: list[Any]) -> bool:
    """Whether the last epoch diverged."""
    return bool(found) and found[-1]["loss"] == "diverged"


def assert_same(case: Case, found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    assert len(found) == EPOCHS or ended(found)
    for epoch, (one, other) in enumerate(zip(expected, found, strict=True), 1):
        assert list(one) == list(other), str(case)
        for name, value in one.items():
            there = other[name]
            where = f"{name} after epoch {epoch} of case {case}"
            if isinstance(value, str):
                assert there == value, where
            else:
                assert (there.dtype, there.shape) == (value.dtype, value.shape), where
                assert there.tobytes() == value.tobytes(), where


def makers(at: Backend, case: Case, divisions: int) -> list[Any]:
    """The ways in which steps are made there, in so many divisions of threads."""
    if not at.in_memory:
        return [choose.stepper]
    place = Place(case, at, defined)
    turned = islice(cycle(DIVISIONS), 2 * case.number, None)
    one = compiled.stepper(place.trainer.recipe, place.trainer.stepper.learned, place.trainer.rows)
    return [defined] if one is None else [choose.stepper, *map(Divided, islice(turned, divisions))]


def numpy() -> Backend:
    return open_or_skip("numpy")


@cache
def expected_of(number: int) -> list[Any]:
    """What the definition on NumPy makes of a case."""
    (case,) = cases(number, 1)
    return trained(case, numpy(), defined)


@pytest.mark.filterwarnings("ignore:feature column")  # which vary little beside their size
@pytest.mark.filterwarnings("ignore:.*were clipped")
class TestTheSameBits:
    """Of whatever is drawn."""

    def compare(self, at: Backend, case: Case, divisions: int = len(DIVISIONS)) -> None:
        expected = expected_of(case.number)
        for make in makers(at, case, divisions):
            assert_same(case, trained(case, at, make), expected)
            # Killed here to go on there, and the other way round.
            assert_same(case, trained(case, at, make, (numpy(), defined)), expected)
            assert_same(case, trained(case, numpy(), defined, (at, make)), expected)

    @pytest.mark.parametrize("number", range(12))
    @pytest.mark.parametrize("place", ["numpy", "torch", "strict-device1"])
    def test_of_a_dozen(self, place, number):
        (case,) = cases(number, 1)
        self.compare(open_or_skip(place), case, divisions=2)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "first",
        [12, 24, *(pytest.param(first, marks=pytest.mark.long) for first in range(36, 120, 12))],
    )
    @pytest.mark.parametrize("place", ["numpy", "torch", "strict", "cupy", "torch-cuda"])
    def test_of_many(self, place, first):
        at = open_or_skip(place)
        for case in cases(first, 12):
            self.compare(at, case)

    @pytest.mark.slow
    def test_of_a_dozen_on_jax(self):
        """It compiles each operation for each shape, which takes its time."""
        at = open_or_skip("jax")
        for case in cases(0, 12):
            assert_same(case, trained(case, at, choose.stepper), expected_of(case.number))


def test_every_row_of_every_table_is_drawn_in_each_dozen():
    for first in (0, 12, 60):
        drawn = [case.drawn for case in cases(first, 12)]
        for name, rows in TABLES.items():
            assert {one[name] for one in drawn} == set(rows), name


@pytest.mark.parametrize(
    ("table", "choice", "known"),
    [
        ("activation", "activation", ACTIVATIONS),
        ("loss", "loss", LOSSES),
        ("optimizer", "optimizer", OPTIMIZERS),
        ("schedule", "schedule", SCHEDULES),
    ],
)
def test_everything_that_can_be_chosen_is_in_a_table(table, choice, known):
    assert {row[choice] for row in CHOICES[table].values()} == set(known)


def test_every_choice_changes_bits():
    """Else a table would have a row that tests nothing."""
    plain = {name: next(iter(table)) for name, table in CHOICES.items()}
    plain |= {"layers": "two", "inputs": "pixels", "weights": "none", "kill": "between two"}
    plain |= {"batch": "a short last one"}

    def bits(**drawn: str) -> Any:
        return trained(Case(5, {**plain, **drawn}), numpy(), defined)[-1]["W1"].tobytes()

    for name, table in CHOICES.items():
        found = {row: bits(**{name: row}) for row in table if row != "more than all"}  # as "all"
        assert len(set(found.values())) == len(found), name
    assert len({bits(weights=row) for row in WEIGHTS}) == len(WEIGHTS)
