"""The step on a GPU as the trainer sees it: everything stays on the device."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.tables import tables
from backendmlp.backend import Kernels, device_of, namespace
from backendmlp.network import evaluation, model, recipe
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.kernels import job, source
from backendmlp.steps.stepper import Rows

Array = Any

_KINDS = {"W": ("W", "first_W", "second_W"), "b": ("b", "first_b", "second_b")}


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
        self.recipe, self._kernels = recipe, kernels
        self._apart = apart
        self.sizes, self._unit = learned.parameters.sizes, learned.parameters.unit
        self._kind = str(np.dtype(rows.inputs.dtype))
        self._levels = model.levels(rows.inputs)
        xp = namespace(rows.inputs)
        self._xp, self._device = xp, device_of(rows.inputs)
        self._real = getattr(xp, recipe.arithmetic.dtype)
        bitwise = recipe.arithmetic.name == "bitwise"
        self._exact = not bitwise or _on_grid(learned.parameters.weights[0])
        self._arrays = {k: self._held(v) for k, v in learned.as_dict(recipe).items()}
        self._room = _Room()
        self._ordered: dict[str, tuple[Array, Array]] = {}

    @property
    def learned(self) -> Learned:
        found = {}
        for name, shape in recipe.names(self.recipe, self.sizes).items():
            value = self._arrays[name]
            value = value if len(shape) == 1 else value[:, : shape[1]]
            found[name] = self._xp.asarray(value, copy=True)
        return Learned.of(self.recipe, found, self._unit)

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        count = order.shape[0]
        parts = tuple(self._empty((count,)) for _ in self.recipe.loss.parts)
        if count == 0:
            return parts
        weighted = rows.weights is not None
        batch = min(size, max(rows.inputs.shape[0], count))  # the same while there are as many
        if (batch, weighted) != self._room.made_for:
            self._make_room(batch, weighted)
        given, steps = self._room.job, -(-count // size)
        sent = self._kernels.send(np.stack(coefficients.columns))
        order = self._kernels.ordered(order)
        given["inputs"] = self._address(self._in_order("inputs", rows.inputs))
        given["targets"] = self._address(self._in_order("targets", rows.targets))
        if weighted:
            given["weights"] = self._address(self._in_order("weights", rows.weights))
        given["order"], given["coefficients"] = self._address(order), self._address(sent)
        for number, part in enumerate(parts):
            given[f"part_{number}"] = self._address(part)
        given["count"], given["steps"] = count, steps
        self._launch("gather_first")
        if self._apart:
            self._launch_apart(steps)
        else:
            self._launch("steps")
        given["first"] += steps
        return parts

    def score(self, inputs: Array, targets: Array) -> Scores:
        return evaluation.score(self.recipe, self.learned.parameters, inputs, targets)

    def _launch_apart(self, steps: int) -> None:
        layers = len(self.sizes) - 1
        for step in range(steps):
            self._launch("phase_prepare", step)
            for layer in range(layers):
                self._launch("phase_forward", step, layer)
            self._launch("phase_lose", step)
            for layer in range(layers - 1, 0, -1):
                self._launch("phase_back", step, layer)
            self._launch("phase_learn", step)
            if self.recipe.clip_norm is not None:
                self._launch("phase_square", step)
                self._launch("phase_use", step)

    def _launch(self, name: str, *numbers: int) -> None:
        given, memory = (self._room.job, *map(np.int64, numbers)), job.memory(self._kernels)
        self._kernels.launch(self._room.module, name, given, job.LANES, memory)

    def _make_room(self, batch: int, weighted: bool) -> None:
        """Compile for this size of batches, and make room for what lies between phases."""
        layers = len(self.sizes) - 1
        found = job.choices(self.recipe, self._kind, weighted)
        blocks = self._kernels.blocks
        options = job.options(self.recipe, self.sizes, batch, found, self._kernels, self._apart)
        room = _Room((batch, weighted), self._kernels.compile(source.text(), options))
        room.job = given = np.zeros(1, job.structure(layers))
        given["batch"], given["widths"] = batch, self.sizes
        numbers = job.numbers(self.recipe, self._levels, self.sizes)
        for name, value in (found | numbers).items():
            given[name] = value
        if not self._exact:
            given["exact"] = -1.0
        room.keep = {
            "rows": self._lines((2, batch), self.sizes[0], beside=1.0),
            "row_weights": self._empty((2, batch)),
            "row_targets": self._targets(batch),
            "sums": self._empty((batch, self.sizes[-1])),
            "partial": self._empty((2, 2 * layers, blocks)),
            "total_weight": self._empty((1,)),
            "meetings": self._zeros((1,), "uint32"),
        }
        if self._unit is not None:
            room.keep["unit"] = self._xp.astype(self._unit, self._real)
        if self.recipe.arithmetic.name == "bitwise":
            found_tables = tables(self._arrays["W1"])
            room.keep |= {"exp_table": found_tables.exp, "tanh_table": found_tables.tanh}
        self._place_layers(room, batch)
        for name, value in room.keep.items():
            given[name] = self._address(value)
        self._room = room
        self._launch("begin")

    def _place_layers(self, room: _Room, batch: int) -> None:
        """Where each layer's numbers lie, and its tops among all of them."""
        at = 0
        for layer, (rows, columns) in enumerate(pairwise(self.sizes)):
            given = room.job["layers"][:, layer]
            for kind, names in _KINDS.items():
                for name, key in zip(names, self._names(f"{kind}{layer + 1}"), strict=False):
                    given[name] = self._address(self._arrays[key])
            between = {
                "values": self._lines((batch,), columns, beside=1.0),
                "deltas": self._lines((batch,), columns),
            }
            if self.recipe.clip_norm is not None:
                between["gradient_W"] = self._lines((rows,), columns)
                between["gradient_b"] = self._empty((columns,))
            for name, own in between.items():
                room.more.append(own)
                given[name] = self._address(own)
            counts = (rows, columns, batch, columns, batch, columns, *(1,) * len(job.SINGLE_TOPS))
            for name, count in zip((*job.TOPS, *job.SINGLE_TOPS), counts, strict=True):
                given[name] = at
                at += count
        room.job["tops_count"] = at
        room.keep["tops"] = self._zeros((2, at), "uint64")

    def _names(self, parameter: str) -> tuple[str, ...]:
        """A parameter's key, and those of its slots."""
        return (parameter, *(f"{slot}.{parameter}" for slot in self.recipe.optimizer.slots))

    def _targets(self, batch: int) -> Array:
        if self.recipe.loss.name == "cross_entropy":
            return self._zeros((2, batch), "int64")
        return self._empty((2, batch, self.sizes[-1]))

    def _in_order(self, what: str, x: Array) -> Array:
        """``x`` with its numbers one behind the other: where it has them otherwise, copied once."""
        if what not in self._ordered or self._ordered[what][0] is not x:
            self._ordered[what] = x, self._kernels.ordered(x)
        return self._ordered[what][1]

    def _address(self, x: Array) -> int:
        return self._kernels.address(x)

    def _held(self, x: Array) -> Array:
        """A copy of what is learned, where the kernels change it; of a matrix, its lines."""
        if len(x.shape) == 1:
            return self._xp.asarray(x, dtype=self._real, copy=True, device=self._device)
        lines = self._lines(x.shape[:1], x.shape[1])
        lines[:, : x.shape[1]] = x
        return lines

    def _lines(self, shape: tuple[int, ...], width: int, beside: float = 0.0) -> Array:
        """Room for lines of ``width`` numbers, all zero but for the one beside them."""
        pitch = job.pitch(width, self.recipe.arithmetic.dtype)
        lines = self._xp.zeros((*shape, pitch), dtype=self._real, device=self._device)
        if beside:
            lines[..., width] = beside
        return lines

    def _empty(self, shape: tuple[int, ...]) -> Array:
        return self._xp.empty(shape, dtype=self._real, device=self._device)

    def _zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self._xp.zeros(shape, dtype=getattr(self._xp, dtype), device=self._device)


def _on_grid(W: Array) -> bool:
    """Whether all are multiples of the weights' grid, as they stay then: not if put in by hand."""
    rounder = const.ROUND * const.GRID
    return bool(namespace(W).all((W + rounder) - rounder == W))


class _Room:
    """What a size of batches needs: the compiled kernels, their job and the memory it points to."""

    def __init__(self, made_for: tuple[int, bool] | None = None, module: Any = None) -> None:
        self.made_for, self.module = made_for, module
        self.job: Any = None
        self.keep: dict[str, Array] = {}
        self.more: list[Array] = []
