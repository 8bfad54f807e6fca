"""The step as it is defined, on several ranks: each computes some rows of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.backend import Backend, fetch
from backendmlp.distributed.arithmetic import SharedBitwise
from backendmlp.network import evaluation
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import Ranks, bounds
from backendmlp.steps.definition import learn, mass, taken
from backendmlp.steps.stepper import Rows

Array = Any


class SharedStep:
    """Behind :class:`backendmlp.steps.stepper.Stepper`; what is learned, every rank has."""

    def __init__(self, backend: Backend, recipe: Recipe, learned: Learned, ranks: Ranks) -> None:
        self.backend, self.recipe, self.ranks = backend, recipe, ranks
        self._learned = learned

    @property
    def learned(self) -> Learned:
        return self._learned

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        found, places = [], [[] for _ in range(self.ranks.size)]  # type: ignore[var-annotated]
        for step, start in enumerate(range(0, order.shape[0], size)):
            index = order[start : min(start + size, order.shape[0])]
            shares = bounds(index.shape[0], self.ranks.size)
            for rank, own in enumerate(places):
                own.append(np.arange(start + shares[rank], start + shares[rank + 1]))
            mine = index[shares[self.ranks.rank] : shares[self.ranks.rank + 1]]
            self._learned, parts = learn(
                self._recipe(index.shape[0]),
                self._learned,
                taken(rows, mine),
                coefficients.at(step),
                self._mass(rows, index),
            )
            found.append(parts)
        names = range(len(self.recipe.loss.parts))
        xp = self.backend.xp
        mine = {str(i): xp.concat([parts[i] for parts in found]) for i in names} if found else {}
        return self._gathered(mine, [np.concatenate(own) for own in places] if found else None)

    def score(self, inputs: Array, targets: Array) -> Scores:
        count, ranks = inputs.shape[0], self.ranks
        shares = bounds(count, ranks.size)
        own = slice(shares[ranks.rank], shares[ranks.rank + 1])
        found: dict[str, np.ndarray] = {}
        if own.start < own.stop:
            p = self._learned.parameters
            scores = evaluation.score(self.recipe, p, inputs[own, :], targets[own, ...])
            parts = {str(i): x for i, x in enumerate(scores.parts)}
            found = fetch({**parts, "outputs": scores.outputs})
        width = self._learned.parameters.sizes[-1]
        counts = np.diff(shares).tolist()
        parts = [self._all(found.get(str(i)), (), counts) for i in range(len(self.recipe.loss.parts))]
        return Scores(tuple(parts), self._all(found.get("outputs"), (width,), counts))

    def _recipe(self, count: int) -> Recipe:
        return replace(self.recipe, arithmetic=SharedBitwise(self.backend, self.ranks, count))

    def _mass(self, rows: Rows, index: Array) -> Array | int:
        """Of the whole batch: every rank has all weights, and reads only its own rows' inputs."""
        if rows.weights is None:
            return index.shape[0]
        return mass(self.recipe, taken(Rows(rows.weights, rows.weights, rows.weights), index))

    def _gathered(self, mine: dict[str, Array], places: list[np.ndarray] | None) -> Parts:
        """The parts of all rows, in their order, of each rank's."""
        if places is None:
            nothing = self.backend.asarray(np.empty(0), self.recipe.arithmetic.dtype)
            return (nothing,) * len(self.recipe.loss.parts)
        fetched, order = fetch(mine), np.argsort(np.concatenate(places))
        counts = [len(own) for own in places]
        return tuple(
            self.backend.asarray(self.ranks.gather(x, counts)[order]) for x in fetched.values()
        )

    def _all(self, mine: np.ndarray | None, shape: Sequence[int], counts: list[int]) -> Array:
        dtype = self.recipe.arithmetic.dtype
        mine = np.empty((0, *shape), dtype) if mine is None else mine
        return self.backend.asarray(self.ranks.gather(mine, counts), dtype)
