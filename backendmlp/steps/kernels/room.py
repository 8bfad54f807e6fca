"""What a size of batches needs: compiled kernels, their job, and the memory that it points to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from backendmlp.arithmetic.tables import tables
from backendmlp.network.recipe import Recipe
from backendmlp.steps.kernels import job, source
from backendmlp.steps.kernels.held import Held

Array = Any

_KINDS = {"W": ("W", "first_W", "second_W"), "b": ("b", "first_b", "second_b")}


class Room:
    """For steps of ``recipe`` on ``batch`` rows of what is ``held``; ``job`` is given to kernels.

    ``weighted``: rows have weights.  ``learns``: not if rows are only shown.  ``apart``: each phase
    of a step is a launch of its own, instead of one for all steps of a call.
    """

    def __init__(
        self,
        held: Held,
        recipe: Recipe,
        batch: int,
        *,
        weighted: bool = False,
        learns: bool = True,
        apart: bool = False,
    ) -> None:
        self._held, self._recipe, self._apart, self._learns = held, recipe, apart, learns
        self._layers, kernels = len(held.sizes) - 1, held.kernels
        found = job.choices(recipe, held.kind, weighted, learns)
        options = job.options(recipe, held.sizes, batch, found, kernels, apart)
        self._module = kernels.compile(source.text(), options)
        self.job = np.zeros(1, job.structure(self._layers))
        self.job["batch"], self.job["widths"] = batch, held.sizes
        for name, value in (found | job.numbers(recipe, held.levels, held.sizes)).items():
            self.job[name] = value
        if not held.on_grid:
            self.job["exact"] = -1.0
        self._keep = self._between(batch) | self._tables()
        for name, value in self._keep.items():
            self.job[name] = kernels.address(value)
        self._more: list[Array] = []
        self._place_layers(batch)
        self.launch("begin")

    def begin_anew(self) -> None:
        """Take in the weights as they stand: others than the kernels of this room left."""
        self._keep["tops"][...] = 0
        self.launch("begin")

    def go(self, steps: int) -> None:
        """Launch so many steps, as the job has them."""
        self.job["steps"] = steps
        self.launch("gather_first")
        if self._apart:
            self._go_apart(steps)
        else:
            self.launch("steps")
        self.job["first"] += steps

    def launch(self, name: str, *numbers: int) -> None:
        kernels = self._held.kernels
        given = (self.job, *map(np.int64, numbers))
        kernels.launch(self._module, name, given, job.LANES, job.memory(kernels))

    def _go_apart(self, steps: int) -> None:
        for step in range(steps):
            self.launch("phase_prepare", step)
            for layer in range(self._layers):
                self.launch("phase_forward", step, layer)
            self.launch("phase_lose", step)
            if self._learns:
                self._learn_apart(step)

    def _learn_apart(self, step: int) -> None:
        for layer in range(self._layers - 1, 0, -1):
            self.launch("phase_back", step, layer)
        self.launch("phase_learn", step)
        if self._recipe.clip_norm is not None:
            self.launch("phase_square", step)
            self.launch("phase_use", step)

    def _between(self, batch: int) -> dict[str, Array]:
        """Room for what lies between phases, but for the layers' own."""
        held = self._held
        return {
            "rows": held.lines((2, batch), held.sizes[0], beside=1.0),
            "row_weights": held.empty((2, batch)),
            "row_targets": self._targets(batch),
            "sums": held.empty((batch, held.sizes[-1])),
            "partial": held.empty((2, 2 * self._layers, held.kernels.blocks)),
            "total_weight": held.empty((1,)),
            "meetings": held.zeros((1,), "uint32"),
        }

    def _targets(self, batch: int) -> Array:
        if self._recipe.loss.name == "cross_entropy":
            return self._held.zeros((2, batch), "int64")
        return self._held.empty((2, batch, self._held.sizes[-1]))

    def _tables(self) -> dict[str, Array]:
        held, found = self._held, {}
        if held.unit is not None:
            found["unit"] = held.xp.astype(held.unit, held.real)
        if self._recipe.arithmetic.name == "bitwise":
            known = tables(held.arrays["W1"])
            found |= {"exp_table": known.exp, "tanh_table": known.tanh}
        return found

    def _place_layers(self, batch: int) -> None:
        """Where each layer's numbers lie, and its tops among all of them: first the weights'."""
        held, address = self._held, self._held.kernels.address
        for layer, (rows, columns) in enumerate(pairwise(held.sizes)):
            given = self.job["layers"][:, layer]
            for kind, names in _KINDS.items():
                for name, key in zip(names, self._names(f"{kind}{layer + 1}"), strict=False):
                    given[name] = address(held.arrays[key])
            for name, own in self._of_layer(batch, rows, columns).items():
                self._more.append(own)
                given[name] = address(own)
        at = self._place_tops(job.WEIGHT_TOPS, batch, 0)
        self.job["passing_tops"] = 0 if self._learns else at
        at = self._place_tops(job.TOPS, batch, at)
        self.job["tops_count"] = at
        self._keep["tops"] = held.zeros((2, at), "uint64")
        self.job["tops"] = address(self._keep["tops"])

    def _of_layer(self, batch: int, rows: int, columns: int) -> dict[str, Array]:
        """Room for what a layer computes."""
        held = self._held
        found = {"values": held.lines((batch,), columns, beside=1.0)}
        if self._learns:
            found["deltas"] = held.lines((batch,), columns)
        if self._recipe.clip_norm is not None:
            found["gradient_W"] = held.lines((rows,), columns)
            found["gradient_b"] = held.empty((columns,))
        return found

    def _place_tops(self, names: dict[str, str], batch: int, at: int) -> int:
        """Give the layers' tops of these names their places from ``at`` on; returns the next."""
        for layer, (rows, columns) in enumerate(pairwise(self._held.sizes)):
            counts = {"rows": rows, "columns": columns, "batch": batch, "one": 1}
            for name, count in names.items():
                self.job["layers"][:, layer][name] = at
                at += counts[count]
        return at

    def _names(self, parameter: str) -> tuple[str, ...]:
        """A parameter's key, and those of its slots."""
        return (parameter, *(f"{slot}.{parameter}" for slot in self._recipe.optimizer.slots))
