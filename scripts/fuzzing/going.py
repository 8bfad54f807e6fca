"""How a path is gone: where a training takes place, what makes its steps, and all that comes of it.

A path is a list of [implementation, advances]: after so many calls of ``advance`` the training is
killed, and goes on from its state on the next one.  A warm start goes the whole path again.  An
implementation for each of several ranks, as "compiled+torch", is a training on these together.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from threadpoolctl import ThreadpoolController

from backendmlp import backend as backends
from backendmlp import features
from backendmlp.arithmetic import demands
from backendmlp.arithmetic.bitwise import Bitwise
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config
from backendmlp.distributed.compiled import SharedCompiledStep
from backendmlp.distributed.step import SharedStep
from backendmlp.errors import DataWarning, InputError
from backendmlp.network import evaluation
from backendmlp.network.losses import classes
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import ALONE, Ranks
from backendmlp.steps import choose, compiled, kernels
from backendmlp.steps.compiled import held
from backendmlp.steps.compiled import scoring as compiled_scoring
from backendmlp.steps.definition import Step
from backendmlp.steps.kernels import scoring
from backendmlp.steps.kernels.step import KernelStep
from backendmlp.steps.scoring import Scorer
from backendmlp.steps.stepper import Rows, Stepper
from backendmlp.training import balance
from backendmlp.training.given import shown_soon
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import DivergenceError, Start, State, Trainer
from fuzzing.group import group, mpiexec
from fuzzing.making import LAYOUTS, ORDERS, Case, Problem, problem, rng_of

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from kernels import on_cpu

Make = Callable[..., Stepper]
Entry = tuple[str, Any]  # what a number is called, and its bits or text


@dataclass(frozen=True)
class Implementation:
    """Where a training takes place, and what makes its steps; ``flushes`` subnormals to zero."""

    backend: str
    make: Make
    device: str | None = None
    flushes: bool = False


def defined(case: Case, backend: Backend, recipe: Recipe, learned: Learned, rows: Rows) -> Stepper:
    return Step(recipe, learned)


def chosen(case: Case, backend: Backend, recipe: Recipe, learned: Learned, rows: Rows) -> Stepper:
    """What a user gets; or divided among more threads than a user gets for so small a network."""
    if case["division"] and backend.in_memory and compiled.stepper(recipe, learned, rows):
        return compiled._make(recipe, learned, rows, tuple(case["division"]))
    return choose.stepper(backend, recipe, learned, rows)


def launched(case: Case, backend: Backend, recipe: Recipe, learned: Learned, rows: Rows) -> Stepper:
    """The kernels of a GPU on a processor."""
    if not kernels.possible(recipe, learned.parameters, rows.inputs):
        return Step(recipe, learned)
    device, apart = _processor(case)
    return KernelStep(device, recipe, learned, rows, apart)


def _processor(case: Case) -> tuple[on_cpu.OnCpu, bool]:
    """What runs a case's kernels, and whether each phase apart.

    Few libraries, for each takes seconds to compile.
    """
    turn, layers = case["seed"] % 2, len(case["shape"]) - 1
    blocks, threads = 1 + case["threads"] % 3, 1 + case["seed"] // 2 % 3
    device = on_cpu.OnCpu(blocks, threads, shape=(layers + 2 * turn) % 4)
    return device, (layers + turn) % 2 == 0


@contextmanager
def _scoring(case: Case) -> Iterator[None]:
    """Scores of few rows or of many at a time, also of a loaded network, and by all threads."""
    turn = case["seed"] // 6 % 4
    kept = patch.multiple(
        scoring, _FEWEST=1, _BATCH=(1024, 1, 16, 100)[turn], _STEPS=(64, 7, 1, 2)[turn]
    )
    divided = patch.multiple(
        compiled_scoring, _WORTH_A_THREAD=1, _ALONE=1, _PIECE=(512, 1, 16, 100)[turn]
    )
    said = {"BACKENDMLP_KERNELS": "apart" if _processor(case)[1] else "1"}
    with kept, divided, patch.dict(os.environ, said):
        yield


MOST_THREADS = 12  # of all ranks, as they wait for one another


def shared(
    case: Case,
    make: Make,
    backend: Backend,
    recipe: Recipe,
    learned: Learned,
    rows: Rows,
    ranks: Ranks,
) -> Stepper:
    """As a user gets it; as defined, where that is what any rank is to have."""
    able = make is chosen and backend.in_memory
    able = able and held.possible(recipe, learned.parameters, rows.inputs)
    if ranks.most(not able):
        return SharedStep(backend, recipe, learned, ranks)
    division = None
    if case["division"] and math.prod(case["division"]) * ranks.size <= MOST_THREADS:
        division = tuple(case["division"][:: 1 - ranks.rank % 2 * 2])  # each divides as it likes
    return SharedCompiledStep(backend, recipe, learned, rows, ranks, division)


IMPLEMENTATIONS = {
    "definition": Implementation("numpy", defined),
    "compiled": Implementation("numpy", chosen),
    "kernels": Implementation("numpy", launched),
    "torch": Implementation("torch", chosen),
    "strict": Implementation("array-api-strict", chosen),
    "jax": Implementation("jax", chosen, flushes=True),
    "cupy": Implementation("cupy", chosen),
    "torch-cuda": Implementation("torch", chosen, device="cuda"),
    "ranks": Implementation("numpy", shared),  # of those above, in processes of their own
}
DEFINITION = [["definition", None]]


def possible(path: list[list[Any]], implementations: Mapping[str, Implementation]) -> bool:
    """Whether each implementation on the path is wanted and can run here."""
    members = {member for name, _ in path for member in members_of(name)}
    return all(
        name in implementations and _opened(implementations[name]) is not None for name in members
    )


def members_of(name: str) -> set[str]:
    """The implementations that ``name`` needs, of one process or of several ranks."""
    members = name.split("+")
    return {*members, "ranks"} if len(members) > 1 else {name}


def _opened(one: Implementation) -> Backend | None:
    if one.make is chosen and one.backend == "numpy" and not compiled.available():
        return None
    if one.make is launched and on_cpu.COMPILER is None:
        return None
    if one.make is shared and (importlib.util.find_spec("mpi4py") is None or mpiexec() is None):
        return None
    return _open(one.backend, one.device)


@cache
def _open(name: str, device: str | None) -> Backend | None:
    """The backend; None where it is not here, or cannot do exact arithmetic and says so."""
    try:
        backend = backends.select(name, device)
        with backend.scope():
            demands.require(backend, Bitwise())
    except InputError as error:
        print(f"left out: {error}", file=sys.stderr)
        return None
    return backend


class Steered(Trainer):
    """A trainer whose steps are those of one implementation."""

    def __init__(self, case: Case, make: Make, *given: Any) -> None:
        self._case, self._make = case, make
        super().__init__(*given)

    def _new_stepper(self, learned: Learned) -> Stepper:
        common = self.backend, self.recipe, learned, self.rows
        if self.ranks.size > 1:
            return shared(self._case, self._make, *common, self.ranks)
        return self._make(self._case, *common)


class Place:
    """A case as it lies on one implementation's device."""

    def __init__(
        self,
        case: Case,
        one: Implementation,
        given: Problem,
        start: Start | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """From the case's own start, or from ``start``, where another training ended."""
        backend = _opened(one)
        assert backend is not None
        self.case, self.one, self.backend = case, one, backend
        config = config_of(case)
        self.settled: list[Entry] = []
        x, later, unit = self._inputs(given)
        kind = config.dtype if config.regression else "int64"
        y, later_y = (backend.asarray(t, kind) for t in (given.targets, given.scored_targets))
        weights = None if given.weights is None else backend.asarray(given.weights, config.dtype)
        self.scored = later, later_y
        both = balance.split(config.seed, case["count"], config.validation_split)
        self.validation = self.scored if case.get("validated") else None
        if both is not None:
            held = backend.asarray(both[1], "int64")
            self.validation = tuple(backend.xp.take(part, held, axis=0) for part in (x, y))
        self.count = case["count"] if both is None else len(both[0])
        self.trainer = Steered(
            case,
            one.make,
            backend,
            config,
            start or Start(given.start),
            Rows(x, y, weights),
            self._order,
            unit,
            None if both is None else both[0],
            ranks,
        )
        if start is None and not case["start"]["settled"]:
            self.trainer.restore(State(0, 0, given.start, {}))

    def _inputs(self, given: Problem) -> tuple[Any, Any, Any]:
        """Inputs as they lie in memory, those to be scored, and the unit of features."""
        layout, at = LAYOUTS[self.case["layout"]], self.backend
        if given.raw.dtype == np.uint8:
            return at.asarray(layout(given.raw)), at.asarray(layout(given.scored)), None
        self.raw = layout(_spoilt(given.scored, self.case.get("shown")))
        raw = at.asarray(given.raw)
        unit = features.feature_unit(raw)
        whole = [features.settled(x, unit) for x in (raw, at.asarray(given.scored))]
        self.settled = [("unit", bits(unit)), *(("settled features", bits(x)) for x in whole)]
        x, later = (at.asarray(layout(to_numpy(x))) for x in whole)
        return x, later, unit

    def _order(self, epoch: int) -> np.ndarray:
        return ORDERS[self.case["order"]](rng_of(self.case, 3 + epoch), self.count)

    def loaded(self) -> Scorer:
        """A network with these weights, as it comes from a file."""
        trainer, at = self.trainer, self.backend
        if self.one.make is launched:
            at = replace(at, in_memory=False, kernels=_processor(self.case)[0])
        return Scorer(at, trainer.recipe, trainer.weights(), trainer._unit)


def _spoilt(x: np.ndarray, shown: dict[str, Any] | None) -> np.ndarray:
    """Features (N, F) in a dtype, one of them perhaps no number."""
    if shown is None:
        return x
    x = x.astype(shown["dtype"])
    if shown["spoilt"] is not None:
        x[len(x) // 2, -1] = float(shown["spoilt"])
    return x


def config_of(case: Case) -> Config:
    choices = case.get("choices", {})
    hidden = tuple(case["shape"][1:-1])
    return Config(hidden, case["epochs"], case["batch"], case["lr"], **choices)


class Company:
    """Who goes a path: this process, by itself."""

    def part(self, name: str) -> tuple[str, Ranks] | None:
        """This process's implementation in a hop, and its ranks; None where it has no part."""
        return name, ALONE

    def share(self, value: Any) -> Any:
        """``value``, as the first process has it."""
        return value


@dataclass
class Gone:
    """A training so far: all that came of it, its epochs' records, and its state.

    ``by`` says whether this process had part in its last hop.
    """

    found: list[Entry] = field(default_factory=list)
    records: list[EpochRecord] = field(default_factory=list)
    state: State | None = None
    over: bool = False
    refused: bool = False
    by: bool = True


def went(
    case: Case,
    path: list[list[Any]],
    implementations: Mapping[str, Implementation],
    company: Company | None = None,
) -> list[Entry]:
    """All that comes of the training on this path, in order, with its name."""
    if company is None and any("+" in name for name, _ in path):
        found: list[Entry] = group().went(case, path)
        return found
    company, given = company or Company(), problem(case)
    settings = _threads(case["threads"]), _scoring(case), np.errstate(all="ignore")
    with ExitStack() as stack, warnings.catch_warnings():
        for setting in settings:
            stack.enter_context(setting)
        warnings.simplefilter("ignore")
        gone, last = _one_training(case, path, implementations, given, None, company)
        if case.get("warm") is None or gone.refused:
            return gone.found
        warm = {**case, **case["warm"]}
        start = company.share(last and _where_it_ended(last.trainer, gone.records, warm))
        again, _ = _one_training(warm, path, implementations, given, start, company)
        return gone.found + again.found


def _one_training(
    case: Case,
    path: list[list[Any]],
    implementations: Mapping[str, Implementation],
    given: Problem,
    start: Start | None,
    company: Company,
) -> tuple[Gone, Place | None]:
    """All that comes of one, and where this process had part in it last, if anywhere."""
    places: dict[str, Place] = {}
    gone, place = Gone(), None
    for name, advances in path:
        part = company.part(name)
        gone.by = part is not None
        if part is not None:
            one, ranks = implementations[part[0]], part[1]
            with _opened(one).scope():  # type: ignore[union-attr]
                try:
                    place = places[name] = places.get(name) or Place(case, one, given, start, ranks)
                except InputError as error:  # of weights that leave no row, or of too few rows
                    gone.found.append(("refused", str(error)))
                    gone.over = gone.refused = True
                else:
                    _hop(place, advances, gone)
        gone = company.share(gone)
        if gone.over:
            break
    return gone, place


def _hop(place: Place, advances: int | None, gone: Gone) -> None:
    if gone.state is None:
        gone.found += place.settled
    else:
        place.trainer.restore(gone.state)
        place.trainer.replay(gone.records)
    gone.over = _go(place, advances, gone.found, gone.records)
    if not gone.over:
        gone.state = place.trainer.state()
        _go(place, 1, [], [])  # what comes after a state was taken is lost


def _where_it_ended(last: Trainer, records: list[EpochRecord], warm: Case) -> Start:
    """Where a warm start begins, as ``MLP.fit`` has it."""
    course = None
    if last.config.schedule == "adaptive" and config_of(warm) == last.config:
        course = replace(last.course, ended=False)
    return Start(last.fetched(), len(records), last.steps, True, course)


def _threads(threads: int) -> Any:
    return _controller(_open.cache_info().currsize).limit(limits=threads)


@cache
def _controller(opened: int) -> ThreadpoolController:
    """What limits the threads of all that is loaded after so many libraries were opened."""
    return ThreadpoolController()


def _go(place: Place, advances: int | None, found: list[Entry], records: list[EpochRecord]) -> bool:
    """Advance so often, or to the end; whether the training is over."""
    trainer = place.trainer
    while advances is None or advances > 0:
        if trainer.through:
            return True
        through = trainer.advance(place.case["batches"])
        advances = advances if advances is None else advances - 1
        if through and not _finish(place, found, records):
            return True
    return False


def _finish(place: Place, found: list[Entry], records: list[EpochRecord]) -> bool:
    """End an epoch; False where the training diverged in it."""
    trainer = place.trainer
    at = f"epoch {trainer.epoch + 1}: "
    state = trainer.state()
    found += [(at + name, bits(value)) for name, value in state.parts.items()]
    found += [(at + name, bits(value)) for name, value in state.learned.items()]
    try:
        loss = trainer.finish_epoch()
    except DivergenceError as error:
        found.append((at + "divergence", str(error)))
        found += [(at + "kept " + name, bits(v)) for name, v in trainer.fetched().items()]
        return False
    found.append((at + "loss", bits(np.array([loss]))))
    records.append(_record(place, loss))
    trainer.follow(records[-1])
    found += _scores(trainer, at + "scored ", trainer.score(*place.scored), place)
    if trainer.through:
        trainer.take_best()
        found += [(at + "ended with " + name, bits(v)) for name, v in trainer.weights().items()]
        alone = place.one.make is defined and trainer.ranks.size == 1
        loaded = trainer.score if alone else place.loaded().score
        found += _scores(trainer, at + "loaded, scored ", loaded(*place.scored), place)
        if place.trainer._unit is not None and "shown" in place.case:
            found += [(at + "shown, " + name, value) for name, value in _shown(place, alone)]
    return True


def _shown(place: Place, alone: bool) -> list[Entry]:
    """What a network makes of features before they are settled, and what is said of them.

    ``alone``: as defined, after they were settled.
    """
    trainer, targets = place.trainer, place.scored[1]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            sizes = trainer.parameters.sizes
            x = shown_soon(place.backend, place.raw, "float64", sizes, False, trainer._unit)
            if alone:
                scores = trainer.score(x.settled, targets)
            else:
                scores = place.loaded().score(x, targets)
        except InputError as error:
            return [("refused", str(error))]
    words = [str(one.message) for one in said if issubclass(one.category, DataWarning)]
    return [("told", "; ".join(words)), *_scores(trainer, "", scores, place)]


def _record(place: Place, loss: float) -> EpochRecord:
    """That of the epoch just ended, with what ends a training early, or makes an epoch the best."""
    trainer, shown = place.trainer, place.validation
    record = EpochRecord(trainer.epoch, loss, None, None, 0.0, "", {}, None)
    if shown is None:
        return record
    recipe = trainer.recipe
    seen = evaluation.evaluate(recipe.arithmetic, recipe.loss, trainer.score(*shown), shown[1])
    name = "validation_r2" if trainer.config.regression else "validation_accuracy"
    return replace(record, validation_loss=seen.loss, **{name: seen.score})


def _scores(trainer: Trainer, what: str, scores: Any, place: Place) -> list[Entry]:
    recipe = trainer.recipe
    result = evaluation.evaluate(recipe.arithmetic, recipe.loss, scores, place.scored[1])
    parts = zip(recipe.loss.parts, scores.parts, strict=True)
    found = [(what + name, bits(value)) for name, value in parts]
    found += [(what + "outputs", bits(scores.outputs))]
    if not trainer.config.regression:
        found.append((what + "classes", bits(classes(scores.outputs))))
    return [
        *found,
        (what + "loss", bits(np.array([result.loss]))),
        (what + "score", bits(np.array([result.score]))),
    ]


def bits(x: Any) -> np.ndarray:
    """An array of one's own, in which every NaN is the same."""
    x = np.array(to_numpy(x))
    if x.dtype == np.float64:
        x[np.isnan(x)] = math.nan
    return x
