"""The step as it is defined, on several ranks: each computes some rows of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.backend import Backend, fetch, to_numpy
from backendmlp.distributed.arithmetic import SharedBitwise
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

    def __init__(self, backend: Backend, recipe: Recipe, learned: Learned, ranks: Ranks) -> None:
        self.backend, self.recipe, self.ranks = backend, recipe, ranks
        self._learned = learned

    @property
    def learned(self) -> Learned:
        return self._learned

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        count, found = order.shape[0], []
        starts = range(0, count, size)
        for step, start in enumerate(starts):
            index = order[start : min(start + size, count)]
            shares = bounds(index.shape[0], self.ranks.size)
            mine = index[shares[self.ranks.rank] : shares[self.ranks.rank + 1]]
            self._learned, parts = learn(
                self._recipe(index.shape[0]),
                self._learned,
                taken(rows, mine),
                coefficients.at(step),
                self._mass(rows, index),
            )
            found.append(parts)
        xp, names = self.backend.xp, self.recipe.loss.parts
        mine = {n: xp.concat([p[i] for p in found]) for i, n in enumerate(names)} if found else {}
        counts = [min(size, count - start) for start in starts]
        return self._in_order({n: to_numpy(x) for n, x in mine.items()}, counts)

    def score(self, inputs: Array, targets: Array) -> Scores:
        """Each rank scores some rows, by compiled code where there is some: the same bits."""
        shares = bounds(inputs.shape[0], self.ranks.size)
        own = slice(shares[self.ranks.rank], shares[self.ranks.rank + 1])
        found: dict[str, np.ndarray] = {}
        if own.start < own.stop:
            p = self._learned.parameters
            scorer = Scorer(self.backend, self.recipe, p.as_dict(), p.unit)
            scores = scorer.score(inputs[own, :], targets[own, ...])
            named = dict(zip(self.recipe.loss.parts, scores.parts, strict=True))
            found = fetch({**named, "outputs": scores.outputs})
        counts = np.diff(shares).tolist()
        parts = [self._gathered(found.get(n), counts) for n in self.recipe.loss.parts]
        outputs = self._gathered(found.get("outputs"), counts, self._learned.parameters.sizes[-1])
        return Scores(tuple(map(self._back, parts)), self._back(outputs))

    def _recipe(self, count: int) -> Recipe:
        return replace(self.recipe, arithmetic=SharedBitwise(self.backend, self.ranks, count))

    def _mass(self, rows: Rows, index: Array) -> Array | int:
        """Of the whole batch: every rank has all weights, and reads only its own rows' inputs."""
        if rows.weights is None:
            return index.shape[0]
        return mass(self.recipe, taken(Rows(rows.weights, rows.weights, rows.weights), index))

    def _in_order(self, mine: dict[str, np.ndarray], batches: list[int]) -> Parts:
        """Every row's parts, of each rank's, whose rows of the ``batches`` follow one another."""
        ranks, places = self.ranks.size, [np.empty(0, np.int64)]
        shares = [bounds(rows, ranks) for rows in batches]
        starts = np.cumsum([0, *batches])
        for rank in range(ranks):
            places += [
                start + np.arange(b[rank], b[rank + 1])
                for start, b in zip(starts[:-1], shares, strict=True)
            ]
        order = np.argsort(np.concatenate(places))
        counts = [sum(b[rank + 1] - b[rank] for b in shares) for rank in range(ranks)]
        names = self.recipe.loss.parts
        return tuple(self._back(self._gathered(mine.get(n), counts)[order]) for n in names)

    def _gathered(
        self, mine: np.ndarray | None, counts: Sequence[int], width: int | None = None
    ) -> np.ndarray:
        """The rows of all ranks, which have ``counts`` of them, (n,) or (n, width)."""
        if mine is None:
            mine = np.empty((0,) if width is None else (0, width), self.recipe.arithmetic.dtype)
        return self.ranks.gather(mine, counts)

    def _back(self, x: np.ndarray) -> Array:
        return self.backend.asarray(x, self.recipe.arithmetic.dtype)
