"""The network, written once: affine layers, an activation between them, and their derivatives.

Pure functions of arrays.  The namespace comes from the arguments, the arithmetic is handed in,
and nothing here knows which library or which numerics it runs on.  The formulas are those of
Goodfellow, Bengio and Courville, *Deep Learning* (2016), sections 6.2 and 6.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import namespace
from backendmlp.network.activations import Activation

Array = Any

PIXEL_LEVELS = 255.0  # uint8 inputs are pixels worth 1/255 each; floats stand for themselves


@dataclass(frozen=True)
class Parameters:
    """Weights ``W1`` (F, H1), ``W2`` (H1, H2) ... ``Wn`` (Hm, C), and biases (H1,) ... (C,).

    ``unit`` (F,), powers of two, is what one of each column of int32 inputs is worth; it is not
    trained.  None: the inputs are pixels or floats.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    unit: Array | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, Array], unit: Array | None = None) -> Parameters:
        """The parameters that :meth:`as_dict` named; other names are passed over."""
        layers = range(1, 1 + sum(name[0] == "W" and name[1:].isdigit() for name in arrays))
        weights, biases = (tuple(arrays[f"{kind}{i}"] for i in layers) for kind in "Wb")
        return cls(weights, biases, unit)

    def as_dict(self) -> dict[str, Array]:
        """What is trained, by name: "W1", "b1", "W2" and so on."""
        found: dict[str, Array] = {}
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            found |= {f"W{layer}": W, f"b{layer}": b}
        return found

    @property
    def sizes(self) -> tuple[int, ...]:
        """(features, units of each hidden layer ..., outputs)."""
        return (self.weights[0].shape[0], *(b.shape[0] for b in self.biases))


@dataclass(frozen=True)
class Forward:
    """``values``: what entered each layer, (n, ...) each; ``z`` (n, C): what the last one gave."""

    values: tuple[Any, ...]
    z: Array


def shapes(sizes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters of a network with ``sizes``, by name."""
    found: dict[str, tuple[int, ...]] = {}
    for layer, (rows, columns) in enumerate(pairwise(sizes), 1):
        found |= {f"W{layer}": (rows, columns), f"b{layer}": (columns,)}
    return found


def settle(
    arithmetic: Arithmetic, parameters: Mapping[str, Array], unit: Array | None = None
) -> Parameters:
    """Parameters from outside, as ``arithmetic`` stores them, for inputs in ``unit``."""
    return Parameters.of({k: arithmetic.settle(v) for k, v in parameters.items()}, unit)


def entering(parameters: Parameters) -> Parameters:
    """Parameters from outside that were settled where they were born, without a bias of -0.

    It would leave the sign of a product's zero, on which libraries disagree, in what is shown; that
    of a weight is rounded away.
    """
    biases = tuple(namespace(b).where(b == 0.0, 0.0, b) for b in parameters.biases)
    return replace(parameters, biases=biases)


def forward(arithmetic: Arithmetic, activation: Activation, p: Parameters, x: Array) -> Forward:
    """One pass over ``x`` (n, F): uint8 pixels, int32 features in ``p.unit``, or floats.

    A row's results don't depend, in exact arithmetic, on the rows beside it.
    """
    values = [arithmetic.inputs(x)]
    z = _worth(arithmetic, p, x, values[0]) + p.biases[0]
    for W, b in zip(p.weights[1:], p.biases[1:], strict=True):
        values.append(activation.value(arithmetic, z))
        z = arithmetic.matmul(values[-1], W) + b
    return Forward(tuple(values), z)


def back(
    arithmetic: Arithmetic,
    activation: Activation,
    p: Parameters,
    x: Array,
    f: Forward,
    deltas: Array,
) -> Parameters:
    """The gradient by each parameter, of ``deltas`` (n, C), those by ``f.z``.

    All of it is linear in the deltas: whoever scales them scales what comes back.
    """
    pairs = []
    for value, W in zip(f.values[:0:-1], p.weights[:0:-1], strict=True):
        pairs.append((value, deltas))
        deltas = activation.back(value, arithmetic.matmul(deltas, W.T))
    pixels = is_pixels(x)
    pairs.append((f.values[0], deltas * (1.0 / PIXEL_LEVELS) if pixels else deltas))
    weights, biases = zip(*reversed(arithmetic.gradients(pairs)), strict=True)
    if pixels:
        biases = (biases[0] * PIXEL_LEVELS, *biases[1:])
    elif p.unit is not None:
        weights = (weights[0] * p.unit[:, None], *weights[1:])
    return Parameters(weights, biases, p.unit)


def _worth(arithmetic: Arithmetic, p: Parameters, x: Array, inputs: Any) -> Array:
    """What the inputs stand for times W1, (n, H1)."""
    if p.unit is not None:
        return arithmetic.matmul(inputs, p.weights[0] * p.unit[:, None])
    product = arithmetic.matmul(inputs, p.weights[0])
    return product * (1.0 / PIXEL_LEVELS) if is_pixels(x) else product


def levels(x: Array) -> float:
    """The value that stands for 1.0 in pixels ``x``; floats stand for themselves."""
    return PIXEL_LEVELS if is_pixels(x) else 1.0


def is_pixels(x: Array) -> bool:
    return x.dtype == namespace(x).uint8
