"""What a network has learned, as the kernels have it on a device, and room for more there."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.backend import Kernels, device_of, namespace
from backendmlp.network import model, recipe
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.kernels import job

Array = Any


class Held:
    """Copies of ``learned``, for inputs of the kind of ``inputs``: of a matrix, its lines.

    ``changes`` counts how often the kernels have changed them.
    """

    def __init__(self, kernels: Kernels, recipe: Recipe, learned: Learned, inputs: Array) -> None:
        self.kernels, self.recipe = kernels, recipe
        self.sizes, self.unit = learned.parameters.sizes, learned.parameters.unit
        self.kind, self.levels = str(np.dtype(inputs.dtype)), model.levels(inputs)
        self.xp, self._device = namespace(inputs), device_of(inputs)
        self.real = getattr(self.xp, recipe.arithmetic.dtype)
        bitwise = recipe.arithmetic.name == "bitwise"
        self.on_grid = not bitwise or _on_grid(learned.parameters.weights[0])
        self.arrays = {k: self._copied(v) for k, v in learned.as_dict(recipe).items()}
        self.changes = 0

    def learned(self) -> Learned:
        """Copies of all that is learned."""
        found = {}
        for name, shape in recipe.names(self.recipe, self.sizes).items():
            value = self.arrays[name]
            value = value if len(shape) == 1 else value[:, : shape[1]]
            found[name] = self.xp.asarray(value, copy=True)
        return Learned.of(self.recipe, found, self.unit)

    def lines(self, shape: tuple[int, ...], width: int, beside: float = 0.0) -> Array:
        """Room for lines of ``width`` numbers, all zero but for the one beside them."""
        pitch = job.pitch(width, self.recipe.arithmetic.dtype)
        lines = self.zeros((*shape, pitch), self.recipe.arithmetic.dtype)
        if beside:
            lines[..., width] = beside
        return lines

    def empty(self, shape: tuple[int, ...]) -> Array:
        return self.xp.empty(shape, dtype=self.real, device=self._device)

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        return self.xp.zeros(shape, dtype=getattr(self.xp, dtype), device=self._device)

    def _copied(self, x: Array) -> Array:
        if len(x.shape) == 1:
            return self.xp.asarray(x, dtype=self.real, copy=True, device=self._device)
        lines = self.lines(x.shape[:1], x.shape[1])
        lines[:, : x.shape[1]] = x
        return lines


def _on_grid(W: Array) -> bool:
    """Whether all are multiples of the weights' grid, as they stay then: not if put in by hand."""
    rounder = const.ROUND * const.GRID
    return bool(namespace(W).all((W + rounder) - rounder == W))
