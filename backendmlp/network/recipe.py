"""What a step is made of, and what it learns: everything that does not change, and what does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import namespace
from backendmlp.network import model
from backendmlp.network.activations import ACTIVATIONS, Activation
from backendmlp.network.losses import CrossEntropy, Loss
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Descent, Optimizer, Slots

Array = Any


@dataclass(frozen=True)
class Recipe:
    """How a network computes and learns; ``l2`` and ``clip_norm`` as in :class:`.Config`."""

    arithmetic: Arithmetic
    activation: Activation = ACTIVATIONS["relu"]
    loss: Loss = CrossEntropy()  # noqa: RUF009 (it holds nothing)
    optimizer: Optimizer = Descent()  # noqa: RUF009
    l2: float = 0.0
    clip_norm: float | None = None


@dataclass(frozen=True)
class Learned:
    """The parameters, and the optimiser's ``slots`` for each of them, by the parameter's name."""

    parameters: Parameters
    slots: Mapping[str, Slots]

    @classmethod
    def begin(cls, recipe: Recipe, parameters: Parameters) -> Learned:
        """Before the first step: all slots are zero."""
        names = recipe.optimizer.slots
        slots = {
            name: tuple(namespace(value).zeros_like(value) for _ in names)
            for name, value in parameters.as_dict().items()
        }
        return cls(parameters, slots)

    @classmethod
    def of(cls, recipe: Recipe, arrays: Mapping[str, Array], unit: Array | None = None) -> Learned:
        """What :meth:`as_dict` named; without any slots, those of before the first step."""
        parameters = Parameters.of(arrays, unit)
        names = recipe.optimizer.slots
        if not all(f"{slot}.W1" in arrays for slot in names):
            return cls.begin(recipe, parameters)
        slots = {p: tuple(arrays[f"{slot}.{p}"] for slot in names) for p in parameters.as_dict()}
        return cls(parameters, slots)

    def as_dict(self, recipe: Recipe) -> dict[str, Array]:
        """All arrays by name: "W1", "b1" ..., and "velocity.W1" ... for the slots."""
        found = self.parameters.as_dict()
        for parameter, slots in self.slots.items():
            for slot, value in zip(recipe.optimizer.slots, slots, strict=True):
                found[f"{slot}.{parameter}"] = value
        return found


def names(recipe: Recipe, sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of everything that is learned, by name, for a network of ``sizes``."""
    found = model.shapes(sizes)
    slots = {f"{slot}.{p}": s for slot in recipe.optimizer.slots for p, s in found.items()}
    return found | slots
