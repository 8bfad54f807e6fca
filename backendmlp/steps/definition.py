"""Steps of gradient descent: what the trainer asks of one, and how the model defines it.

A step owns the parameters while it runs.  :class:`Step` is the definition, on any backend; where
arrays are NumPy's, :mod:`backendmlp.steps.compiled` replaces it, by the choice of
:mod:`backendmlp.steps.choose`.
"""

from __future__ import annotations

from typing import Any, Protocol

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import device_of, namespace
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Scores
from backendmlp.network.model import Parameters

Array = Any


class Stepper(Protocol):
    """What the trainer asks of a step."""

    @property
    def parameters(self) -> Parameters: ...

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        """Descend on the rows ``order`` (n,) of ``images`` (N, F) and ``labels`` (N,).

        A step for each ``size`` of them, the last perhaps shorter.  Returns the softmax totals and
        the picked logits, (n,) each, of before each step: what
        :func:`backendmlp.network.model.cross_entropy` takes.  Nothing is fetched from the device.
        """

    def score(self, images: Array, labels: Array) -> Scores:
        """What the network as it stands makes of ``images`` (N, F) and ``labels`` (N,)."""


class Step:
    """The definition: gather, forward, gradients, descend; each a pure function."""

    def __init__(self, arithmetic: Arithmetic, parameters: Parameters, rate: float) -> None:
        self.arithmetic = arithmetic
        self._parameters = parameters
        self.rate = rate

    @property
    def parameters(self) -> Parameters:
        return self._parameters

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        xp, count = namespace(order), order.shape[0]
        if count == 0:
            dtype = getattr(xp, self.arithmetic.dtype)
            nothing = xp.zeros((0,), dtype=dtype, device=device_of(order))
            return nothing, nothing
        batches = (order[start : min(start + size, count)] for start in range(0, count, size))
        totals, picked = zip(*(self._step(images, labels, index) for index in batches), strict=True)
        if len(totals) == 1:
            return totals[0], picked[0]
        return xp.concat(totals), xp.concat(picked)

    def score(self, images: Array, labels: Array) -> Scores:
        return evaluation.score(self.arithmetic, self.parameters, images, labels)

    def _step(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        """One step on the rows ``index``: its totals and picked logits."""
        xp = namespace(images)
        x, y = xp.take(images, index, axis=0), xp.take(labels, index, axis=0)
        f = model.forward(self.arithmetic, self._parameters, x)
        own = model.one_hot(y, f.shifted)
        change = model.gradients(self.arithmetic, self._parameters, x, y, f, self.rate, own)
        self._parameters = model.descend(self.arithmetic, self._parameters, change)
        return f.totals, model.picked(f, y, own)
