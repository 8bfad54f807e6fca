"""One step of gradient descent: as the model defines it, or a faster one with the same bits.

A step owns the parameters while it runs.  :class:`Step` is the definition, on any backend;
where the backend's operations write into given memory, :mod:`backendmlp.buffered` replaces it.
"""

from __future__ import annotations

from typing import Any, Protocol

from backendmlp import model
from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import Backend, namespace
from backendmlp.model import Parameters

Array = Any


class Stepper(Protocol):
    """What the trainer asks of a step."""

    @property
    def parameters(self) -> Parameters: ...

    def advance(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        """Descend on the rows ``index`` (n,) of ``images`` (N, F) and ``labels`` (N,).

        Returns the softmax totals and the picked logits, (n,) each, of before the step: what
        :func:`backendmlp.model.cross_entropy` takes.  Nothing is fetched from the device.
        """


class Step:
    """The definition: gather, forward, gradients, descend; each a pure function."""

    def __init__(self, arithmetic: Arithmetic, parameters: Parameters, rate: float) -> None:
        self.arithmetic = arithmetic
        self.parameters = parameters
        self.rate = rate

    def advance(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        xp = namespace(images)
        x, y = xp.take(images, index, axis=0), xp.take(labels, index, axis=0)
        f = model.forward(self.arithmetic, self.parameters, x)
        change = model.gradients(self.arithmetic, self.parameters, x, y, f, self.rate)
        self.parameters = model.descend(self.arithmetic, self.parameters, change)
        return f.totals, model.picked(f, y)


def stepper(
    backend: Backend, arithmetic: Arithmetic, parameters: Parameters, rate: float, images: Array
) -> Stepper:
    """The fastest step there is for this backend, arithmetic and kind of input."""
    if backend.buffered:
        from backendmlp import buffered

        return buffered.stepper(arithmetic, parameters, rate, images)
    return Step(arithmetic, parameters, rate)
