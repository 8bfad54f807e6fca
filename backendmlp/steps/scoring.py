"""A network that does not change, shown inputs again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backendmlp.arithmetic import demands
from backendmlp.backend import Backend
from backendmlp.features import Unsettled
from backendmlp.network import evaluation
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import classes, classes_in_memory
from backendmlp.network.model import Parameters, entering
from backendmlp.network.recipe import Recipe
from backendmlp.steps import compiled, kernels
from backendmlp.steps.compiled.scoring import CompiledScorer
from backendmlp.steps.kernels.scoring import KernelScorer

Array = Any


class Scorer:
    """What a network with ``parameters`` makes of inputs on ``backend``; threads may share it.

    ``unit`` (F,) is what one of each column is worth, where the inputs are settled features.
    Compiled code or kernels answer where there are some, else the definition: in bitwise numerics
    the same.
    """

    def __init__(
        self,
        backend: Backend,
        recipe: Recipe,
        parameters: Mapping[str, Array],
        unit: Array | None = None,
    ) -> None:
        arithmetic = recipe.arithmetic
        demands.require(backend, arithmetic)
        self.recipe, self._backend = recipe, backend
        self.unit = None if unit is None else backend.asarray(unit, arithmetic.dtype)
        on_device = {k: backend.asarray(v, arithmetic.dtype) for k, v in parameters.items()}
        self._parameters = entering(Parameters.of(on_device, self.unit))
        self.sizes = self._parameters.sizes  # features, units of each hidden layer ..., outputs
        # For each kind of inputs, and of features that are not settled.
        self._faster: dict[Any, CompiledScorer | KernelScorer | None] = {}
        self._settling: dict[Any, CompiledScorer | None] = {}

    def classes(self, inputs: Array | Unsettled) -> Array:
        """The most probable class of each of ``inputs`` (N, F), int64 (N,)."""
        found = self.outputs(inputs)
        return classes_in_memory(found) if self._backend.in_memory else classes(found)

    def outputs(self, inputs: Array | Unsettled) -> Array:
        """What the network shows, (N, C), for ``inputs`` (N, F)."""
        found, inputs = self._soon(inputs, None)
        if found is not None:
            return found.outputs
        return evaluation.outputs(self.recipe, self._parameters, inputs)

    def score(self, inputs: Array | Unsettled, targets: Array) -> Scores:
        """The scores of ``inputs`` (N, F) with ``targets`` (N,) or (N, C)."""
        found, inputs = self._soon(inputs, targets)
        if found is not None:
            return found
        return evaluation.score(self.recipe, self._parameters, inputs, targets)

    def _soon(
        self, inputs: Array | Unsettled, targets: Array | None
    ) -> tuple[Scores | None, Array]:
        """By other code than the definition, None where there is none; and the settled inputs."""
        demands.require(self._backend, self.recipe.arithmetic)  # a thread can change its mode
        if isinstance(inputs, Unsettled):
            found = self._while_settling(inputs, targets)
            if found is not None:
                return found, inputs
            inputs = inputs.settled
        kind = inputs.dtype
        if kind not in self._faster:
            self._faster[kind] = self._new_faster(inputs)
        scorer = self._faster[kind]
        return None if scorer is None else scorer.score(inputs, targets), inputs

    def _while_settling(self, inputs: Unsettled, targets: Array | None) -> Scores | None:
        """By compiled code that settles what it reads; None where it cannot."""
        if not self._backend.in_memory:
            return None
        kind = inputs.values.dtype
        if kind not in self._settling:
            self._settling[kind] = compiled.scorer(
                self.recipe, self._parameters, inputs.values, unsettled=True
            )
        scorer = self._settling[kind]
        found = None if scorer is None else scorer.read(inputs.values, targets)
        if found is None:
            return None
        inputs.tell(found[1])
        return found[0]

    def _new_faster(self, inputs: Array) -> CompiledScorer | KernelScorer | None:
        if self._backend.in_memory:
            return compiled.scorer(self.recipe, self._parameters, inputs)
        return kernels.scorer(self._backend, self.recipe, self._parameters, inputs)
