"""Steps of plain descent at one rate, by the definition or compiled, in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import Backend
from backendmlp.network import model
from backendmlp.network.evaluation import Scores
from backendmlp.network.initial import initial
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps import choose, compiled
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows, Stepper

Array = Any


class Descent:
    """``step`` with one ``rate``."""

    def __init__(self, step: Stepper, recipe: Recipe, rate: float) -> None:
        self.step, self.recipe, self.rate = step, recipe, rate

    @property
    def parameters(self) -> Parameters:
        return self.step.learned.parameters

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, ...]:
        steps = -(-order.shape[0] // max(size, 1))
        numbers = self.recipe.optimizer.coefficients(np.full(steps, self.rate), 0, 0.0)
        return self.step.advance(Rows(images, labels), order, size, numbers)

    def score(self, images: Array, labels: Array) -> Scores:
        return self.step.score(images, labels)


def defined(arithmetic: Arithmetic, p: Parameters, rate: float) -> Descent:
    recipe = Recipe(arithmetic)
    return Descent(Step(recipe, Learned.begin(recipe, p)), recipe, rate)


def quick(
    arithmetic: Arithmetic,
    p: Parameters,
    rate: float,
    images: Array,
    division: tuple[int, int] | None = None,
) -> Descent:
    """Compiled, in a ``division`` if one is given."""
    recipe = Recipe(arithmetic)
    assert compiled.possible(recipe, p, images)
    rows = Rows(images, np.zeros(len(images), np.int64))
    step = compiled._make(recipe, Learned.begin(recipe, p), rows, division)
    return Descent(step, recipe, rate)


def chosen(
    backend: Backend, arithmetic: Arithmetic, p: Parameters, rate: float, images: Array
) -> Descent:
    recipe = Recipe(arithmetic)
    step = choose.stepper(backend, recipe, Learned.begin(recipe, p), Rows(images, None))
    return Descent(step, recipe, rate)


def start(features: int, hidden: int, classes: int, seed: int) -> dict[str, np.ndarray]:
    return initial((features, hidden, classes), "relu", seed)


def with_arrays(p: Parameters, **changed: Array) -> Parameters:
    """``p`` with other arrays in the place of those named."""
    return Parameters.of({**p.as_dict(), **changed}, p.unit)


__all__ = ["Coefficients", "Descent", "chosen", "defined", "model", "quick", "start", "with_arrays"]
