"""The step on a GPU as the trainer sees it: everything stays on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.backend import Kernels
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.kernels.held import Held
from backendmlp.steps.kernels.room import Room
from backendmlp.steps.kernels.scoring import HeldScorer
from backendmlp.steps.stepper import Rows

Array = Any


class KernelStep:
    """Steps by kernels of our own, for inputs of the kind of ``rows.inputs``.

    ``apart``: each phase of a step is a launch of its own, instead of one for all steps of a call.
    """

    name = "kernels"

    def __init__(
        self,
        kernels: Kernels,
        recipe: Recipe,
        learned: Learned,
        rows: Rows,
        apart: bool = False,
    ) -> None:
        self.recipe, self._kernels, self._apart = recipe, kernels, apart
        self._held = Held(kernels, recipe, learned, rows.inputs)
        self._scorer = HeldScorer(self._held, apart)
        self._room: tuple[tuple[int, bool], Room] | None = None  # the last, and what it is for
        self._ordered: dict[str, tuple[Array, Array]] = {}

    @property
    def learned(self) -> Learned:
        return self._held.learned()

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        count = order.shape[0]
        parts = tuple(self._held.empty((count,)) for _ in self.recipe.loss.parts)
        if count == 0:
            return parts
        batch = min(size, max(rows.inputs.shape[0], count))  # the same while there are as many
        room, address = self._room_for(batch, rows.weights is not None), self._kernels.address
        sent = self._kernels.send(np.stack(coefficients.columns))
        order, given = self._kernels.ordered(order), room.job
        given["inputs"] = address(self._in_order("inputs", rows.inputs))
        given["targets"] = address(self._in_order("targets", rows.targets))
        if rows.weights is not None:
            given["weights"] = address(self._in_order("weights", rows.weights))
        given["order"], given["coefficients"] = address(order), address(sent)
        for number, part in enumerate(parts):
            given[f"part_{number}"] = address(part)
        given["count"] = count
        self._held.changes += 1
        room.go(-(-count // size))
        return parts

    def score(self, inputs: Array, targets: Array) -> Scores:
        return self._scorer.score(inputs, targets)

    def _room_for(self, batch: int, weighted: bool) -> Room:
        if self._room is None or self._room[0] != (batch, weighted):
            self._room = None  # its memory is free before there is another
            room = Room(self._held, self.recipe, batch, weighted=weighted, apart=self._apart)
            self._room = (batch, weighted), room
        return self._room[1]

    def _in_order(self, what: str, x: Array) -> Array:
        """``x`` with its numbers one behind the other: where it has them otherwise, copied once."""
        if what not in self._ordered or self._ordered[what][0] is not x:
            self._ordered[what] = x, self._kernels.ordered(x)
        return self._ordered[what][1]
