"""A network that does not change, shown images again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backendmlp import evaluation, model
from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import Backend
from backendmlp.evaluation import Scores

Array = Any


class Scorer:
    """What a network with ``parameters`` makes of images on ``backend``; threads may share it.

    ``unit`` (F,) is what one of each column is worth, where the images are settled features.
    """

    def __init__(
        self,
        backend: Backend,
        arithmetic: Arithmetic,
        parameters: Mapping[str, Array],
        unit: Array | None = None,
    ) -> None:
        self.arithmetic = arithmetic
        self.unit = None if unit is None else backend.asarray(unit, arithmetic.dtype)
        on_device = {k: backend.asarray(v, arithmetic.dtype) for k, v in parameters.items()}
        self._parameters = model.settle(arithmetic, on_device, self.unit)

    def probabilities(self, images: Array) -> Array:
        """Softmax probabilities, (N, C), of ``images`` (N, F)."""
        return evaluation.probabilities(self.arithmetic, self._parameters, images)

    def score(self, images: Array, labels: Array) -> Scores:
        """The scores of ``images`` (N, F) with ``labels`` (N,)."""
        return evaluation.score(self.arithmetic, self._parameters, images, labels)
