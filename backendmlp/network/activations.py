"""What a hidden unit does with its sum: each activation, and the way back through it.

Pure functions of arrays; the derivative is written in terms of the value, which is at hand.  A new
one is two functions and a row in :data:`ACTIVATIONS`, and two loops in ``steps/compiled``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import namespace

Array = Any


@dataclass(frozen=True)
class Activation:
    """``value`` of z (n, H), and ``back``: the gradient by z, of the value and its gradient."""

    name: str
    value: Callable[[Arithmetic, Array], Array]
    back: Callable[[Array, Array], Array]


def relu(arithmetic: Arithmetic, z: Array) -> Array:
    """max(z, 0); written so that zero is +0 and a NaN stays one in every library."""
    return namespace(z).where(z <= 0.0, 0.0, z)


def relu_back(value: Array, gradient: Array) -> Array:
    return namespace(value).where(value > 0.0, gradient, 0.0)


def tanh(arithmetic: Arithmetic, z: Array) -> Array:
    return arithmetic.tanh(z)


def tanh_back(value: Array, gradient: Array) -> Array:
    """``gradient * (1 - value**2)``."""
    return gradient * (1.0 - value * value)


def logistic(arithmetic: Arithmetic, z: Array) -> Array:
    """1 / (1 + exp(-z))."""
    return arithmetic.logistic(z)


def logistic_back(value: Array, gradient: Array) -> Array:
    """``gradient * (value * (1 - value))``."""
    return gradient * (value * (1.0 - value))


def identity(arithmetic: Arithmetic, z: Array) -> Array:
    return z


def identity_back(value: Array, gradient: Array) -> Array:
    return gradient


ACTIVATIONS = {
    activation.name: activation
    for activation in (
        Activation("relu", relu, relu_back),
        Activation("tanh", tanh, tanh_back),
        Activation("logistic", logistic, logistic_back),
        Activation("identity", identity, identity_back),
    )
}
