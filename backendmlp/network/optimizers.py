"""Optimisers: what a gradient changes a parameter by.  One parameter, its change, its state.

An optimiser is elementwise, so that it needs nothing of the network; each operation is rounded on
its own, in the order written here, which ``steps/compiled`` repeats.  A new one is a class with
these methods and a row in :data:`OPTIMIZERS`, and one loop in ``steps/compiled``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np

from backendmlp.arithmetic import Arithmetic

_LEAST_EPSILON = 2.0**-1000  # of a step: less is subnormal, which some libraries take for zero

Array = Any
Slots = tuple[Array, ...]


@dataclass(frozen=True)
class Coefficients:
    """The numbers of each of some steps, float64 (steps,) each, found on the host.

    ``scale`` is what gradients are multiplied by at the outputs, where they are smallest; ``size``
    and ``epsilon`` are an optimiser's own; of ``decay`` times itself each weight gets smaller.
    """

    scale: np.ndarray
    size: np.ndarray
    epsilon: np.ndarray
    decay: np.ndarray

    def at(self, step: int) -> Numbers:
        return Numbers(*(float(x[step]) for x in self.columns))

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        return self.scale, self.size, self.epsilon, self.decay


@dataclass(frozen=True)
class Numbers:
    """Those of :class:`Coefficients`, of one step."""

    scale: float
    size: float
    epsilon: float
    decay: float


class Optimizer(Protocol):
    """``slots`` names the arrays, of a parameter's shape and at first zero, that it keeps."""

    @property
    def name(self) -> str: ...

    @property
    def slots(self) -> tuple[str, ...]: ...

    def coefficients(self, rates: np.ndarray, first: int, decay: float) -> Coefficients:
        """For steps with the learning ``rates`` (steps,), the first of which is number ``first``.

        Steps are counted from 0 over the whole training; ``decay`` is the decoupled weight decay.
        """

    def change(
        self, arithmetic: Arithmetic, gradient: Array, slots: Slots, numbers: Numbers
    ) -> tuple[Array, Slots]:
        """What to take off the parameter, and what to keep for the next step."""


@dataclass(frozen=True)
class Descent:
    """Plain gradient descent: Goodfellow and others (2016), algorithm 8.1."""

    name: ClassVar[str] = "sgd"
    slots: ClassVar[tuple[str, ...]] = ()

    def coefficients(self, rates: np.ndarray, first: int, decay: float) -> Coefficients:
        return _scaled_by(rates, decay)

    def change(
        self, arithmetic: Arithmetic, gradient: Array, slots: Slots, numbers: Numbers
    ) -> tuple[Array, Slots]:
        return gradient, ()


@dataclass(frozen=True)
class Momentum:
    """Velocity v = momentum v + rate g, taken off as it is: Goodfellow, algorithm 8.2.

    With ``nesterov`` momentum v + rate g is taken off, of the new velocity: Sutskever and others,
    "On the importance of initialization and momentum" (2013), in the form of scikit-learn's.
    """

    momentum: float
    nesterov: bool = False
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    @property
    def name(self) -> str:
        return "nesterov" if self.nesterov else "momentum"

    def coefficients(self, rates: np.ndarray, first: int, decay: float) -> Coefficients:
        return _scaled_by(rates, decay)

    def change(
        self, arithmetic: Arithmetic, gradient: Array, slots: Slots, numbers: Numbers
    ) -> tuple[Array, Slots]:
        velocity = arithmetic.keep(slots[0] * self.momentum + gradient)
        change = velocity * self.momentum + gradient if self.nesterov else velocity
        return change, (velocity,)


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1.

    Its corrections of bias are put into the step's size and epsilon, as the end of its section 2
    says; with epsilon, as in algorithm 1, beside the corrected root.
    """

    beta_1: float
    beta_2: float
    epsilon: float
    name: ClassVar[str] = "adam"
    slots: ClassVar[tuple[str, ...]] = ("mean", "square")

    def coefficients(self, rates: np.ndarray, first: int, decay: float) -> Coefficients:
        last = first + len(rates)
        left_1, left_2 = (1.0 - _powers(b, last)[first:] for b in (self.beta_1, self.beta_2))
        root = np.sqrt(left_2)  # correctly rounded, as IEEE 754 has it
        epsilon = np.maximum(root * self.epsilon, _LEAST_EPSILON)
        return Coefficients(np.ones(len(rates)), rates * root / left_1, epsilon, rates * decay)

    def change(
        self, arithmetic: Arithmetic, gradient: Array, slots: Slots, numbers: Numbers
    ) -> tuple[Array, Slots]:
        mean = arithmetic.keep(slots[0] * self.beta_1 + gradient * (1.0 - self.beta_1))
        squares = gradient * gradient
        square = arithmetic.keep(slots[1] * self.beta_2 + squares * (1.0 - self.beta_2))
        root = arithmetic.sqrt(square) + numbers.epsilon
        return (mean / root) * numbers.size, (mean, square)


def _scaled_by(rates: np.ndarray, decay: float) -> Coefficients:
    """The rate is applied at the outputs, where the matrices are smallest; all else is linear."""
    nothing = np.zeros(len(rates))
    return Coefficients(rates, nothing, nothing, rates * decay)


def _powers(base: float, count: int) -> np.ndarray:
    """base**1 ... base**count, (count,): running products, since ``pow`` is each libm's own."""
    return _kept_powers(base, 1 << max(count - 1, 1).bit_length())[:count]


@lru_cache(maxsize=4)
def _kept_powers(base: float, count: int) -> np.ndarray:
    return np.multiply.accumulate(np.full(count, base))
