"""A network that does not change, shown images again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic, demands
from backendmlp.backend import Backend
from backendmlp.network import evaluation
from backendmlp.network.evaluation import Scores
from backendmlp.network.model import Parameters
from backendmlp.steps import compiled
from backendmlp.steps.compiled import CompiledScorer

Array = Any


class Scorer:
    """What a network with ``parameters`` makes of images on ``backend``; threads may share it.

    ``unit`` (F,) is what one of each column is worth, where the images are settled features.
    Compiled code answers where there is some, else the definition: in bitwise numerics the same.
    """

    def __init__(
        self,
        backend: Backend,
        arithmetic: Arithmetic,
        parameters: Mapping[str, Array],
        unit: Array | None = None,
    ) -> None:
        demands.require(backend, arithmetic)
        self.arithmetic, self._in_memory = arithmetic, backend.in_memory
        self.unit = None if unit is None else backend.asarray(unit, arithmetic.dtype)
        on_device = {k: backend.asarray(v, arithmetic.dtype) for k, v in parameters.items()}
        self._parameters = Parameters(**on_device, unit=self.unit)  # settled where they were born
        self._compiled: dict[Any, CompiledScorer | None] = {}  # for each kind of images

    def classes(self, images: Array) -> Array:
        """The most probable class of each of ``images`` (N, F), int64 (N,)."""
        found = self.probabilities(images)
        if self._in_memory:  # as the definition: of equal ones the first
            return np.argmax(found, axis=1).astype(np.int64, copy=False)
        return evaluation.classes(found)

    def probabilities(self, images: Array) -> Array:
        """Softmax probabilities, (N, C), of ``images`` (N, F)."""
        found = self._by_compiled(images, None)
        if found is not None:
            return found.probabilities
        return evaluation.probabilities(self.arithmetic, self._parameters, images)

    def score(self, images: Array, labels: Array) -> Scores:
        """The scores of ``images`` (N, F) with ``labels`` (N,)."""
        found = self._by_compiled(images, labels)
        if found is not None:
            return found
        return evaluation.score(self.arithmetic, self._parameters, images, labels)

    def _by_compiled(self, images: Array, labels: Array | None) -> Scores | None:
        if not self._in_memory:
            return None
        kind = images.dtype
        if kind not in self._compiled:
            self._compiled[kind] = compiled.scorer(self.arithmetic, self._parameters, images)
        scorer = self._compiled[kind]
        return None if scorer is None else scorer.score(images, labels)
