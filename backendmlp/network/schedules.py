"""Learning rates of steps, found on the host with operations that IEEE 754 settles alone.

Steps are counted from 0 over the whole training.  ``warmup`` steps climb to the full rate in equal
parts; the schedule begins behind them.  A new one is a function and a row in :data:`SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

ADAPTED = 5.0  # what an adaptive rate is divided by where the loss stalls, as in scikit-learn
LEAST_ADAPTED = 1e-6  # a rate of this or less ends the training instead
_ENDLESS = 1 << 62  # steps: more than any training makes, and still an int64


@dataclass(frozen=True)
class Course:
    """What a training's schedule depends on: its steps, and those of one epoch."""

    steps: int
    per_epoch: int
    warmup: int = 0
    decay: float = 1.0
    decay_every: int = 1  # epochs


def course(
    epochs: int, per_epoch: int, warmup: float, decay: float | None, decay_every: int | None
) -> Course:
    """That of a training of ``epochs`` epochs; ``warmup`` is in epochs too."""
    climbing = math.ceil(min(warmup * per_epoch, _ENDLESS))
    return Course(epochs * per_epoch, per_epoch, climbing, decay or 1.0, decay_every or 1)


def constant(step: np.ndarray, course: Course) -> np.ndarray:
    return np.ones(len(step))


def stepwise(step: np.ndarray, course: Course) -> np.ndarray:
    """Times ``decay`` after each ``decay_every`` epochs."""
    often = step // min(course.per_epoch * course.decay_every, _ENDLESS)
    factors = np.multiply.accumulate(np.full(int(often.max(initial=0)) + 1, course.decay))
    return np.where(often > 0, factors[often - 1], 1.0)


def linear(step: np.ndarray, course: Course) -> np.ndarray:
    """From one to nothing, in a straight line."""
    return 1.0 - _share(step, course)


def cosine(step: np.ndarray, course: Course) -> np.ndarray:
    """(1 + cos(pi u)) / 2 of the share u gone by: Loshchilov and Hutter, "SGDR" (2017)."""
    half = _cosine(_share(step, course) * (np.pi / 2))
    return half * half


SCHEDULES: dict[str, Callable[[np.ndarray, Course], np.ndarray]] = {
    "constant": constant,
    "step": stepwise,
    "linear": linear,
    "cosine": cosine,
    "adaptive": constant,  # but for what the losses make of it: see backendmlp.training.stopping
}
FORESEEN = ("linear", "cosine")  # those that depend on how many steps there are in all


def rates(name: str, rate: float, first: int, count: int, course: Course) -> np.ndarray:
    """The rates of ``count`` steps from number ``first`` on, float64 (count,)."""
    step = np.arange(first, first + count, dtype=np.int64)
    behind = np.maximum(step - course.warmup, 0)
    found = rate * SCHEDULES[name](behind, course)
    if course.warmup:
        found *= np.minimum(step + 1, course.warmup) / course.warmup
    return found


def _share(step: np.ndarray, course: Course) -> np.ndarray:
    """How much of what is behind the warm-up has gone by, from 0 to below 1."""
    return np.minimum(step / float(max(course.steps - course.warmup, 1)), 1.0)


def _cosine(x: np.ndarray) -> np.ndarray:
    """cos x for 0 <= x <= pi / 2 by its Taylor polynomial: no libm's; within 2**-52."""
    square, result = x * x, np.zeros(len(x))
    for coefficient in _cosine_coefficients():
        result = result * square + coefficient
    return result


@lru_cache(maxsize=1)
def _cosine_coefficients() -> tuple[float, ...]:
    """1 / 24!, -1 / 22! ... -1 / 2!, 1: the next term is below 2**-70."""
    factorial, found = 1, [1.0]
    for n in range(1, 13):
        factorial *= (2 * n - 1) * (2 * n)
        found.append((-1) ** n / factorial)
    return tuple(reversed(found))
