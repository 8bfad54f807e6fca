"""Train the same network on every implementation, and compare all that comes of it as raw bits.

    python scripts/fuzz_bits.py --seconds 3600
    python scripts/fuzz_bits.py --replay FILE

A case is a small dict that JSON can hold: sizes, how images, labels, order and starting weights are
made, the rate, the threads, and the paths on which the training is taken.  A path is a list of
[implementation, advances]: after so many calls of ``advance`` the training is killed, and goes on
from its state on the next one.  The definition on NumPy, undisturbed, is what each path is compared
with.  ``tests/test_fuzz_bits.py`` replays kept cases and draws some hundred.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import random
import shlex
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Threads that wait by spinning starve one another; read by OpenMP when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from backendmlp import backend as backends  # noqa: E402
from backendmlp import features  # noqa: E402
from backendmlp.arithmetic import demands  # noqa: E402
from backendmlp.arithmetic.bitwise import Bitwise  # noqa: E402
from backendmlp.backend import Backend, to_numpy  # noqa: E402
from backendmlp.config import LARGEST_COUNT, Config  # noqa: E402
from backendmlp.errors import InputError  # noqa: E402
from backendmlp.network import evaluation, model  # noqa: E402
from backendmlp.steps import choose, compiled  # noqa: E402
from backendmlp.steps.definition import Step, Stepper  # noqa: E402
from backendmlp.steps.scoring import Scorer  # noqa: E402
from backendmlp.training.trainer import DivergenceError, State, Trainer  # noqa: E402

Case = dict[str, Any]
Make = Callable[..., Stepper]
Entry = tuple[str, Any]  # what a number is called, and its bits or text

WORK = 1 << 25  # products of a case, at most
BATCHES = 60  # of an epoch, about
SMALLEST_NORMAL = 2.0**-1022
TRY_SECONDS = 20.0  # to make a case smaller


@dataclass(frozen=True)
class Implementation:
    """Where a training takes place, and what makes its steps; ``flushes`` subnormals to zero."""

    backend: str
    make: Make
    device: str | None = None
    flushes: bool = False


def defined(case: Case, backend: Backend, arithmetic: Any, p: Any, rate: float, x: Any) -> Stepper:
    return Step(arithmetic, p, rate)


def chosen(case: Case, backend: Backend, arithmetic: Any, p: Any, rate: float, x: Any) -> Stepper:
    """What a user gets; or divided among more threads than a user gets for so small a network."""
    if case["division"] and backend.in_memory and compiled.available():
        groups, fellows = min(case["division"][0], p.shape[1]), case["division"][1]
        found = compiled._make(arithmetic, p, rate, x, division=(groups, fellows))
        return found or Step(arithmetic, p, rate)
    return choose.stepper(backend, arithmetic, p, rate, x)


IMPLEMENTATIONS = {
    "definition": Implementation("numpy", defined),
    "compiled": Implementation("numpy", chosen),
    "torch": Implementation("torch", chosen),
    "strict": Implementation("array-api-strict", chosen),
    "jax": Implementation("jax", chosen, flushes=True),
    "cupy": Implementation("cupy", chosen),
    "torch-cuda": Implementation("torch", chosen, device="cuda"),
}
DEFINITION = [["definition", None]]


def possible(path: list[list[Any]], implementations: Mapping[str, Implementation]) -> bool:
    """Whether each implementation on the path is wanted and can run here."""
    return all(
        name in implementations and _opened(implementations[name]) is not None for name, _ in path
    )


def _opened(one: Implementation) -> Backend | None:
    if one.make is chosen and one.backend == "numpy" and not compiled.available():
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


# What is drawn.


def draw(seed: int) -> Case:
    """The case of this number: the same on every machine."""
    rng = random.Random(seed)
    pixels = rng.random() < 0.65
    shape = [_size(rng), _size(rng), rng.choice((2, 2, 3, 4, 5, 8, 10, 10, 17, 33, 100))]
    count = rng.choice((1, 2, 3, 7, 16, 50, 64, 65, 100, 200, 300, 500))
    if rng.random() < 0.04:  # a batch much larger than the network
        shape, count = [rng.randint(1, 3), rng.randint(1, 4), 2], rng.randint(1000, 5000)
    epochs = rng.choice((1, 1, 2, 3))
    while count > 1 and count * shape[0] * shape[1] * epochs > WORK:
        count //= 2
    batch = _batch(rng, count)
    return {
        "seed": seed,
        "shape": shape,
        "count": count,
        "batch": batch,
        "epochs": epochs,
        "lr": _rate(rng),
        "inputs": "pixels" if pixels else "features",
        "fill": rng.choice(tuple(PIXELS if pixels else FEATURES)),
        "labels": rng.choice(tuple(LABELS)),
        "start": _drawn_start(rng),
        "order": rng.choice(tuple(ORDERS)),
        "layout": rng.choice(("rows", "rows", "rows", *LAYOUTS)),
        "scored": rng.choice((1, 2, 10, 50, 100, 257)) if rng.random() < 0.97 else 2050,
        "threads": rng.choice((1, 2, 3, 5, 8)),
        "division": rng.choice((None, None, *DIVISIONS)),  # of hidden units, and of rows
        "batches": rng.choice((1, 2, 3, 7, LARGEST_COUNT)),  # of each advance
        "paths": _drawn_paths(rng, -(-count // batch)),
    }


def _size(rng: random.Random) -> int:
    small = rng.choice((1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 24, 25))
    return small if rng.random() < 0.6 else rng.choice((31, 37, 64, 65, 100, 129, 200, 256, 300))


def _batch(rng: random.Random, count: int) -> int:
    fewest = max(1, count // BATCHES)
    drawn = (fewest, min(2, count), 7, 64, count // 2, count - 1, count, count + 1, 2**31, 2**53)
    return max(fewest, rng.choice((*drawn, rng.randint(1, count), rng.randint(1, count))))


def _rate(rng: random.Random) -> float:
    drawn = rng.random()
    if drawn < 0.45:
        return rng.choice((0.01, 0.1, 0.1, 0.5, 1.0, 3.0, 10.0, 1e3, 3e3))
    if drawn < 0.6:
        return 10.0 ** rng.uniform(-5, 12)
    if drawn < 0.7:
        return rng.choice((1e29, 1e138, 1e139, 1e140, 1e141, 1e300, 1e-300, 5e-324))
    return 10.0 ** rng.uniform(-300, 300)


def _drawn_start(rng: random.Random) -> dict[str, Any]:
    kind = rng.choice(("he", "he", "he", *STARTS))
    return {
        "kind": kind,
        "names": [name for name in model.TRAINED if rng.random() < 0.6] or ["W2"],
        "power": rng.choice((-40, -10, -1, 0, 1, 5, 7, 20, 23, 31, 60, 99, 300, 900)),
        "biases": rng.random() < 0.5,
        "settled": rng.random() < 0.6,  # or as they are: what is restored is not settled again
        "scaled": rng.random() < 0.5,  # W1 divided by how large its features are
    }


def _drawn_paths(rng: random.Random, batches: int) -> list[list[list[Any]]]:
    names, weights = zip(*WEIGHTS.items(), strict=True)
    paths: list[list[list[Any]]] = [[["compiled", None]]]
    paths += [[[name, None]] for name in ("torch", "strict", "cupy") if rng.random() < 0.2]
    paths += [[[name, None]] for name in ("jax", "torch-cuda") if rng.random() < 0.02]
    if rng.random() < 0.5:
        hops = [[*rng.choices(names, weights), rng.randint(0, batches + 1)]]
        while rng.random() < 0.5:
            hops.append([*rng.choices(names, weights), rng.randint(1, batches + 1)])
        paths.append([*hops, [*rng.choices(names, weights), None]])
    return paths


DIVISIONS = [[1, 1], [2, 1], [3, 1], [8, 1], [1, 2], [1, 5], [2, 2], [3, 3]]
WEIGHTS = {"definition": 3, "compiled": 6, "torch": 2, "strict": 1, "cupy": 0.5, "jax": 0.05}


# What a case is made of.


@dataclass(frozen=True)
class Problem:
    """``raw`` pixels or floats (N, F) and those to be scored; labels of both; starting weights."""

    raw: np.ndarray
    scored: np.ndarray
    labels: np.ndarray
    scored_labels: np.ndarray
    start: dict[str, np.ndarray]


def problem(case: Case) -> Problem:
    count, scored = case["count"], case["scored"]
    fill = (PIXELS if case["inputs"] == "pixels" else FEATURES)[case["fill"]]
    x = fill(_rng(case, 0), (count + scored, case["shape"][0]))
    y = LABELS[case["labels"]](_rng(case, 1), count + scored, case["shape"][2])
    factor = case["seed"] % 3 * 5  # 0, 5 or 10 times as large as in training: clipped beyond 8
    later = x[count:] if x.dtype == np.uint8 else x[count:] * factor
    start = starts(case)
    if case["start"]["scaled"] and x.dtype == np.float64:
        top = np.abs(x[:count]).max(axis=0)
        start["W1"] /= np.where(top > 1e-9, top, 1.0)[:, None]
    return Problem(x[:count], later, y[:count], y[count:], start)


def _rng(case: Case, purpose: int) -> np.random.Generator:
    return np.random.default_rng([case["seed"], purpose])


def _random_pixels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    x[:, rng.random(shape[1]) < 0.2] = 0
    return x


def _sparse_pixels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.05, _random_pixels(rng, shape), np.uint8(0))


PIXELS: dict[str, Callable[..., np.ndarray]] = {
    "random": _random_pixels,
    "sparse": _sparse_pixels,
    "zeros": lambda rng, shape: np.zeros(shape, np.uint8),
    "full": lambda rng, shape: np.full(shape, 255, np.uint8),
    "black or white": lambda rng, shape: rng.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255),
    "one row": lambda rng, shape: np.repeat(_random_pixels(rng, (1, shape[1])), shape[0], axis=0),
}


def _columns(powers: float) -> Callable[..., np.ndarray]:
    def fill(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        scale = 10.0 ** rng.uniform(-powers, powers, shape[1])
        scale[rng.random(shape[1]) < 0.1] = 0.0
        return rng.normal(size=shape) * scale

    return fill


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "units apart": _columns(5.0),
    "units far apart": _columns(11.0),
    "units of all sizes": _columns(130.0),
    "zeros": lambda rng, shape: np.zeros(shape),
    "negative zeros": lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.0, 1.0),
    "whole": lambda rng, shape: rng.integers(-3, 4, shape).astype(np.float64),
    "subnormal": lambda rng, shape: rng.normal(size=shape) * 1e-310,
}

LABELS: dict[str, Callable[..., np.ndarray]] = {
    "any": lambda rng, count, classes: rng.integers(0, classes, count),
    "missing": lambda rng, count, classes: rng.integers(0, max(1, classes // 2), count),
    "last": lambda rng, count, classes: np.full(count, classes - 1),
    "in turn": lambda rng, count, classes: np.arange(count) % classes,
    "halves": lambda rng, count, classes: np.repeat([1, 0], [count // 2, count - count // 2]),
}

ORDERS: dict[str, Callable[..., np.ndarray]] = {
    "shuffled": lambda rng, count: rng.permutation(count),
    "forwards": lambda rng, count: np.arange(count),
    "backwards": lambda rng, count: np.arange(count)[::-1],
    "repeating": lambda rng, count: rng.integers(0, count, count),
    "by kind": lambda rng, count: np.argsort(np.arange(count) % 3, kind="stable").astype(np.int32),
}


def _padded(x: np.ndarray) -> np.ndarray:
    wide = np.full((len(x), x.shape[1] + 3), 77, x.dtype)
    wide[:, 1:-2] = x
    return wide[:, 1:-2]


def _unaligned(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\x01" + x.tobytes(), x.dtype, x.size, 1).reshape(x.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "from below": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "from the right": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "padded": _padded,
    "unaligned, read-only": _unaligned,
    "one row for all": lambda x: np.broadcast_to(x[:1], x.shape),
}


def starts(case: Case) -> dict[str, np.ndarray]:
    """The starting weights; ``given`` ones, lists of numbers, in the place of others."""
    start, rng = case["start"], _rng(case, 2)
    p = model.he_normal(*case["shape"], seed=case["seed"])
    if start["biases"]:
        for name in ("b1", "b2"):
            p[name] = rng.normal(size=p[name].shape)
    for name in start["names"]:
        p[name] = STARTS[start["kind"]](rng, p[name], 2.0 ** start["power"])
    p.update({name: np.array(v, np.float64) for name, v in start.get("given", {}).items()})
    return p


def _one_huge(rng: np.random.Generator, x: np.ndarray, scale: float) -> np.ndarray:
    x = x.copy()
    x.flat[rng.integers(x.size)] = scale
    return x


def _some_off_grid(rng: np.random.Generator, x: np.ndarray, scale: float) -> np.ndarray:
    return np.where(rng.random(x.shape) < 0.2, np.round(x) + 2.0**-30, x)


STARTS: dict[str, Callable[..., np.ndarray]] = {
    "he": lambda rng, x, scale: x,
    "scaled": lambda rng, x, scale: x * scale,
    "zeros": lambda rng, x, scale: np.zeros_like(x),
    "negative zeros": lambda rng, x, scale: np.where(rng.random(x.shape) < 0.7, -0.0, x),
    "ties": lambda rng, x, scale: np.full_like(x, 0.5),
    "large ties": lambda rng, x, scale: np.full_like(x, scale),
    "one huge": _one_huge,
    "off the grid": _some_off_grid,
    "beyond 2**22": lambda rng, x, scale: rng.normal(size=x.shape) * 2.0**24,
    "subnormal": lambda rng, x, scale: rng.integers(-3, 4, x.shape) * 5e-324,
    "dead": lambda rng, x, scale: -np.abs(x) - 1e4,
}


# How a path is gone.


class Steered(Trainer):
    """A trainer whose steps are those of one implementation."""

    def __init__(self, case: Case, make: Make, *given: Any) -> None:
        self._case, self._make = case, make
        super().__init__(*given)

    def _new_stepper(self, parameters: Any) -> Stepper:
        given = self.arithmetic, parameters, self.config.lr, self.images
        return self._make(self._case, self.backend, *given)


class Place:
    """A case as it lies on one implementation's device."""

    def __init__(self, case: Case, one: Implementation, given: Problem) -> None:
        backend = _opened(one)
        assert backend is not None
        self.case, self.one, self.backend = case, one, backend
        config = Config(case["shape"][1], case["epochs"], case["batch"], case["lr"])
        self.settled: list[Entry] = []
        x, later, unit = self._inputs(given)
        self.scored = later, backend.asarray(given.scored_labels, "int64")
        self.trainer = Steered(
            case, one.make, backend, config, given.start, x,
            backend.asarray(given.labels, "int64"), self._order, unit,
        )  # fmt: skip
        if not case["start"]["settled"]:
            nothing = np.empty(0)
            self.trainer.restore(State(0, 0, given.start, nothing, nothing))

    def _inputs(self, given: Problem) -> tuple[Any, Any, Any]:
        """Images as they lie in memory, those to be scored, and the unit of features."""
        layout, at = LAYOUTS[self.case["layout"]], self.backend
        if given.raw.dtype == np.uint8:
            return at.asarray(layout(given.raw)), at.asarray(layout(given.scored)), None
        raw = at.asarray(given.raw)
        unit = features.feature_unit(raw)
        whole = [features.settled(x, unit) for x in (raw, at.asarray(given.scored))]
        self.settled = [("unit", _bits(unit)), *(("settled features", _bits(x)) for x in whole)]
        x, later = (at.asarray(layout(to_numpy(x))) for x in whole)
        return x, later, unit

    def _order(self, epoch: int) -> np.ndarray:
        return ORDERS[self.case["order"]](_rng(self.case, 3 + epoch), self.case["count"])

    def loaded(self) -> Scorer:
        """A network with these weights, as it comes from a file."""
        trainer = self.trainer
        return Scorer(self.backend, trainer.arithmetic, trainer.fetched(), trainer._unit)


def went(
    case: Case, path: list[list[Any]], implementations: Mapping[str, Implementation]
) -> list[Entry]:
    """All that comes of the training on this path, in order, with its name."""
    given = problem(case)
    places: dict[str, Place] = {}
    found: list[Entry] = []
    state = None
    with _threads(case["threads"]), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, advances in path:
            one = implementations[name]
            with _opened(one).scope():  # type: ignore[union-attr]
                if name not in places:
                    places[name] = Place(case, one, given)
                place = places[name]
                if state is None:
                    found += place.settled
                else:
                    place.trainer.restore(state)
                if _go(place, advances, found):
                    break
                state = place.trainer.state()
                _go(place, 1, [])  # what comes after a state was taken is lost, and changes nothing
    return found


def _threads(threads: int) -> Any:
    return _controller(_open.cache_info().currsize).limit(limits=threads)


@cache
def _controller(opened: int) -> ThreadpoolController:
    """What limits the threads of all that is loaded after so many libraries were opened."""
    return ThreadpoolController()


def _go(place: Place, advances: int | None, found: list[Entry]) -> bool:
    """Advance so often, or to the end; whether the training is over."""
    trainer = place.trainer
    while advances is None or advances > 0:
        if trainer.epoch == trainer.config.epochs:
            return True
        through = trainer.advance(place.case["batches"])
        advances = advances if advances is None else advances - 1
        if through and not _finish(place, found):
            return True
    return False


def _finish(place: Place, found: list[Entry]) -> bool:
    """End an epoch; False where the training diverged in it."""
    trainer = place.trainer
    at = f"epoch {trainer.epoch + 1}: "
    state = trainer.state()
    found += [(at + name, _bits(getattr(state, name))) for name in ("totals", "picked")]
    found += [(at + name, _bits(value)) for name, value in state.parameters.items()]
    try:
        found.append((at + "loss", _bits(np.array([trainer.finish_epoch()]))))
    except DivergenceError as error:
        found.append((at + "divergence", str(error)))
        found += [(at + "kept " + name, _bits(v)) for name, v in trainer.fetched().items()]
        return False
    found += _scores(trainer, at + "scored ", trainer.score(*place.scored), place)
    if place.case["epochs"] == trainer.epoch:
        loaded = place.loaded().score if place.one.make is not defined else trainer.score
        found += _scores(trainer, at + "loaded, scored ", loaded(*place.scored), place)
    return True


def _scores(trainer: Trainer, what: str, scores: Any, place: Place) -> list[Entry]:
    names = ("totals", "picked", "probabilities")
    result = evaluation.evaluate(trainer.arithmetic, scores, place.scored[1])
    return [
        *((what + name, _bits(getattr(scores, name))) for name in names),
        (what + "classes", _bits(evaluation.classes(scores.probabilities))),
        (what + "loss", _bits(np.array([result.loss]))),
        (what + "accuracy", _bits(np.array([result.accuracy]))),
    ]


def _bits(x: Any) -> np.ndarray:
    """An array of one's own, in which every NaN is the same."""
    x = np.array(to_numpy(x))
    if x.dtype == np.float64:
        x[np.isnan(x)] = math.nan
    return x


# How two are compared.


@dataclass(frozen=True)
class Disagreement:
    path: list[list[Any]]
    what: str
    flushed: bool = False  # a subnormal number became zero, and nothing else

    def __str__(self) -> str:
        way = " -> ".join(f"{name}" + (f" ({n})" if n is not None else "") for name, n in self.path)
        return f"{way}: {self.what}"


def disagreements(
    case: Case, implementations: Mapping[str, Implementation] = IMPLEMENTATIONS
) -> list[Disagreement]:
    """Where the paths of ``case`` that can be gone here differ from the definition."""
    expected = went(case, DEFINITION, implementations)
    found = []
    for path in case["paths"]:
        if not possible(path, implementations):
            continue
        flushes = any(implementations[name].flushes for name, _ in path)
        if flushes and _starts_subnormal(case):
            continue
        try:
            one = _difference(path, expected, went(case, path, implementations), flushes)
        except Exception as error:  # whatever it is, the definition did not raise it
            one = Disagreement(path, f"{type(error).__name__}: {error}")
        found += [one] if one else []
    return found


def _starts_subnormal(case: Case) -> bool:
    """Whether weights below 2**-1022 are put in by hand, as no training leaves them."""
    return case["start"]["kind"] == "subnormal" and not case["start"]["settled"]


def _difference(
    path: list[list[Any]], expected: list[Entry], found: list[Entry], flushes: bool
) -> Disagreement | None:
    """The first thing that differs; where subnormals are flushed, the first that is not that."""
    flushed = None
    for (name, one), (other, two) in zip(expected, found, strict=False):
        if name != other:
            return Disagreement(path, f"{other} where the definition has {name}")
        if isinstance(one, str):
            if one != two:
                return Disagreement(path, f"{name}: {two!r} where the definition has {one!r}")
        elif _patterns(one) != _patterns(two):
            only = flushes and _only_flushed(one, two)
            difference = Disagreement(path, f"{name}: {_first(one, two)}", only)
            if not only:
                return difference
            flushed = flushed or difference
    if len(expected) != len(found):
        return Disagreement(path, f"{len(found)} results where the definition has {len(expected)}")
    return flushed


def _patterns(x: np.ndarray) -> tuple[Any, ...]:
    return x.dtype, x.shape, x.tobytes()


def _only_flushed(one: np.ndarray, two: np.ndarray) -> bool:
    if one.dtype != np.float64 or one.shape != two.shape:
        return False
    same = one.view(np.uint64) == two.view(np.uint64)
    return bool((same | ((np.abs(one) < SMALLEST_NORMAL) & (two == 0.0))).all())


def _first(one: np.ndarray, two: np.ndarray) -> str:
    if one.dtype != two.dtype or one.shape != two.shape:
        return f"{two.dtype} {two.shape} where the definition has {one.dtype} {one.shape}"
    one, two = np.atleast_1d(one), np.atleast_1d(two)
    kind = np.uint64 if one.dtype.itemsize == 8 else np.uint32
    differ = np.argwhere(one.view(kind) != two.view(kind))
    at = tuple(differ[0].tolist())
    seen = [f"{float(x[at]).hex()} ({x[at]:.17g})" for x in (two, one)]
    return (
        f"{len(differ)} of {one.size} differ, at {at} {seen[0]} where the definition has "
        + (seen[1])
    )


# How a case is made smaller.


def minimised(case: Case, bad: Callable[[Case], bool]) -> Case:
    """A smaller case that is ``bad`` too."""
    deadline, again = time.monotonic() + TRY_SECONDS, True
    while again:
        again = False
        for change in _changes(case):
            smaller = change(copy.deepcopy(case))
            if time.monotonic() > deadline:
                return case
            if smaller != case and bad(smaller):
                case, again = smaller, True
    return case


def _changes(case: Case) -> Iterator[Callable[[Case], Case]]:
    """What may make a case smaller, the most effective first."""
    for key in ("batch", "batches"):
        yield lambda c, k=key: {**c, k: min(c[k], c["count"])}
    for less in (lambda n, least: least, lambda n, least: max(least, n // 2), _one_less):
        for key, least in (("count", 1), ("batch", 1), ("scored", 1), ("batches", 1)):
            yield lambda c, k=key, m=least, f=less: {**c, k: f(c[k], m)}
        if "given" not in case["start"]:
            for at, least in enumerate((1, 1, 2)):
                yield lambda c, at=at, m=least, f=less: _with_size(c, at, f(c["shape"][at], m))
    for key, value in PLAINEST.items():
        yield lambda c, k=key, v=value: {**c, k: v}
    plain = {"settled": True, "biases": False, "scaled": False}
    for key, value in (*plain.items(), ("names", case["start"]["names"][:1])):
        yield lambda c, k=key, v=value: {**c, "start": {**c["start"], k: v}}


def _one_less(size: int, least: int) -> int:
    return max(least, size - 1)


def _with_size(case: Case, at: int, size: int) -> Case:
    case["shape"][at] = size
    return case


PLAINEST = {
    "epochs": 1,
    "layout": "rows",
    "threads": 1,
    "division": None,
    "order": "forwards",
    "labels": "in turn",
    "fill": "zeros",
    "lr": 0.1,
}


# The search.


@dataclass
class Search:
    """What a search has seen so far, and where it puts what it finds."""

    folder: Path
    implementations: Mapping[str, Implementation]
    counts: Counter[str]

    def try_one(self, case: Case) -> str | None:
        """What is to be said of ``case``; None where all agree."""
        paths = [path for path in case["paths"] if possible(path, self.implementations)]
        case = {**case, "paths": paths}
        (self.folder / "last.json").write_text(json.dumps(case))  # should the process end with it
        self.counts["cases"] += 1
        for path in case["paths"]:
            self.counts[" -> ".join(name for name, _ in path) if len(path) == 1 else "resumed"] += 1
        found = disagreements(case, self.implementations)
        self.counts["subnormals flushed to zero"] += sum(one.flushed for one in found)
        found = [one for one in found if not one.flushed]
        if not found:
            return None
        self.counts["disagreements"] += 1
        return self._said({**case, "paths": [found[0].path]}, found)

    def _said(self, case: Case, found: list[Disagreement]) -> str:
        case = minimised(case, lambda smaller: bool(self._bad(smaller)))
        path = self.folder / f"disagreement-{self.counts['disagreements']}.json"
        path.write_text(json.dumps([case]) + "\n")
        again = shlex.join(["python", "scripts/fuzz_bits.py", "--replay", str(path)])
        least = self._bad(case)
        return "\n".join([*map(str, found), f"made smaller: {least}", json.dumps(case), again])

    def _bad(self, case: Case) -> Disagreement | None:
        try:
            found = disagreements(case, self.implementations)
        except Exception:  # not a case at all
            return None
        return next((one for one in found if not one.flushed), None)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--cases", type=int, help="how many at most (no limit)")
    parser.add_argument("--seed", type=int, default=0, help="the first case's number (0)")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, help="on these alone")
    parser.add_argument("--replay", type=Path, help="the cases in this file")
    parser.add_argument("--found", type=Path, help="folder for what is found (temporary)")
    options = parser.parse_args(arguments)
    folder = options.found or Path(tempfile.mkdtemp(prefix="found-bits-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = ("definition", *(options.only or IMPLEMENTATIONS))
    used = {name: IMPLEMENTATIONS[name] for name in IMPLEMENTATIONS if name in wanted}
    search = Search(folder, used, Counter())
    names = [name for name in used if possible([[name, None]], used)]
    print(f"implementations: {', '.join(names)}; what is found: {folder}", flush=True)
    return run(search, replayed(options) if options.replay else drawn(options))


def replayed(options: argparse.Namespace) -> Iterator[Case]:
    found = json.loads(options.replay.read_text())
    yield from found if isinstance(found, list) else [found]


def drawn(options: argparse.Namespace) -> Iterator[Case]:
    deadline, number = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < deadline and number - options.seed != options.cases:
        yield draw(number)
        number += 1


def run(search: Search, cases: Iterator[Case]) -> int:
    """1 where something disagreed."""
    with tqdm(cases, unit="case", mininterval=1.0) as progress:
        for case in progress:
            said = search.try_one(case)
            if said is not None:
                progress.write(said, file=sys.stdout)
    for what, count in search.counts.items():
        print(f"{count:9,} {what}")
    return int(search.counts["disagreements"] > 0)


if __name__ == "__main__":
    sys.exit(main())
