"""The step as it is defined, on several ranks: each computes some rows of every batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.backend import Backend, to_numpy
from backendmlp.distributed.arithmetic import SharedBitwise
from backendmlp.distributed.gathering import parts_of_all, scores_of_all
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import Ranks, bounds
from backendmlp.steps.definition import learn, mass, taken
from backendmlp.steps.scoring import Scorer
from backendmlp.steps.stepper import Rows

Array = Any


class SharedStep:
    """Behind :class:`backendmlp.steps.stepper.Stepper`; what is learned, every rank has."""

    name = "definition"

    def __init__(self, backend: Backend, recipe: Recipe, learned: Learned, ranks: Ranks) -> None:
        self.backend, self.recipe, self.ranks = backend, recipe, ranks
        self._learned = learned

    @property
    def learned(self) -> Learned:
        return self._learned

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        count = order.shape[0]
        batches = [min(size, count - start) for start in range(0, count, size)]
        found = []
        for step, rows_of_batch in enumerate(batches):
            index = order[step * size : step * size + rows_of_batch]
            shares = bounds(rows_of_batch, self.ranks.size)
            mine = index[shares[self.ranks.rank] : shares[self.ranks.rank + 1]]
            arithmetic = SharedBitwise(self.backend, self.ranks, rows_of_batch)
            self._learned, parts = learn(
                replace(self.recipe, arithmetic=arithmetic),
                self._learned,
                taken(rows, mine),
                coefficients.at(step),
                whole_mass(self.recipe, rows, index),
            )
            found.append(parts)
        if not found:
            nothing = self._back(np.empty(0))
            return (nothing,) * len(self.recipe.loss.parts)
        joined = [to_numpy(self.backend.xp.concat(parts)) for parts in zip(*found, strict=True)]
        return tuple(map(self._back, parts_of_all(self.ranks, joined, batches)))

    def score(self, inputs: Array, targets: Array) -> Scores:
        """Each rank scores some rows, by compiled code where there is some: the same bits."""
        p = self._learned.parameters
        scorer = Scorer(self.backend, self.recipe, p.as_dict(), p.unit)
        found = scores_of_all(self.ranks, self.recipe, inputs, targets, scorer.score)
        return Scores(tuple(map(self._back, found.parts)), self._back(found.outputs))

    def _back(self, x: np.ndarray) -> Array:
        return self.backend.asarray(x, self.recipe.arithmetic.dtype)


def whole_mass(recipe: Recipe, rows: Rows, index: Array) -> Array | int:
    """Of the rows ``index``, all of a batch: every rank has all weights, and its own inputs."""
    if rows.weights is None:
        return index.shape[0]
    return mass(recipe, taken(Rows(rows.weights, rows.weights, rows.weights), index))
