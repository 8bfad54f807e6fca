"""The network, written once: affine, ReLU, affine, softmax, cross-entropy and their derivatives.

Pure functions of arrays.  The namespace comes from the arguments, the arithmetic is handed in,
and nothing here knows which library or which numerics it runs on.  The formulas are those of
Goodfellow, Bengio and Courville, *Deep Learning* (2016), sections 6.2, 6.5 and 8.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import random
from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import device_of, namespace

Array = Any

PIXEL_LEVELS = 255.0  # uint8 inputs are pixels worth 1/255 each; floats stand for themselves
TRAINED = ("W1", "b1", "W2", "b2")
_HIDDEN_WEIGHTS, _OUTPUT_WEIGHTS = 1, 2  # the numbers of their random streams


@dataclass(frozen=True)
class Parameters:
    """Weights and biases: ``W1`` (F, H), ``b1`` (H,), ``W2`` (H, C), ``b2`` (C,).

    ``unit`` (F,), powers of two, is what one of each column of int32 inputs is worth; it is not
    trained.  None: the inputs are pixels or floats.
    """

    W1: Array
    b1: Array
    W2: Array
    b2: Array
    unit: Array | None = None

    def as_dict(self) -> dict[str, Array]:
        """What is trained, by name."""
        return {name: getattr(self, name) for name in TRAINED}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(features, hidden units, classes)."""
        return (*self.W1.shape, self.W2.shape[1])


@dataclass(frozen=True)
class Forward:
    """What a forward pass leaves for the loss and for the way back, n rows each.

    ``inputs`` (n, F) as the arithmetic takes them; ``hidden`` (n, H) after the ReLU;
    ``shifted`` (n, C) logits less their row's maximum;
    ``exponentials`` (n, C) of those and their row sums ``totals`` (n,).
    """

    inputs: Any
    hidden: Array
    shifted: Array
    exponentials: Array
    totals: Array


def he_normal(features: int, hidden: int, classes: int, seed: int) -> dict[str, np.ndarray]:
    """Initial parameters in host memory, float64: weights N(0, 2 / fan-in), biases zero.

    He, Zhang, Ren and Sun, "Delving deep into rectifiers" (2015), equation 10.
    """

    def weights(rows: int, columns: int, purpose: int) -> np.ndarray:
        variates = random.normals(random.stream(seed, purpose), rows * columns)
        return np.sqrt(2.0 / rows) * variates.reshape(rows, columns)

    return {
        "W1": weights(features, hidden, _HIDDEN_WEIGHTS),
        "b1": np.zeros(hidden),
        "W2": weights(hidden, classes, _OUTPUT_WEIGHTS),
        "b2": np.zeros(classes),
    }


def settle(
    arithmetic: Arithmetic, parameters: Mapping[str, Array], unit: Array | None = None
) -> Parameters:
    """Parameters from outside, as ``arithmetic`` stores them, for inputs in ``unit``."""
    settled = {name: arithmetic.settle(value) for name, value in parameters.items()}
    return Parameters(**settled, unit=unit)


def forward(arithmetic: Arithmetic, p: Parameters, x: Array) -> Forward:
    """One pass over ``x`` (n, F): uint8 pixels, int32 features in ``p.unit``, or floats.

    A row's results don't depend, in exact arithmetic, on the rows beside it.
    """
    xp = namespace(x)
    inputs = arithmetic.inputs(x)
    hidden = relu(_worth(arithmetic, p, x, inputs) + p.b1)
    z2 = arithmetic.matmul(hidden, p.W2) + p.b2
    shifted = z2 - xp.max(z2, axis=1, keepdims=True)
    exponentials = arithmetic.exp(shifted)
    return Forward(inputs, hidden, shifted, exponentials, arithmetic.sum(exponentials, 1, top=1.0))


def _worth(arithmetic: Arithmetic, p: Parameters, x: Array, inputs: Any) -> Array:
    """What the inputs stand for times W1, (n, H)."""
    if p.unit is not None:
        return arithmetic.matmul(inputs, p.W1 * p.unit[:, None])
    product = arithmetic.matmul(inputs, p.W1)
    return product * (1.0 / PIXEL_LEVELS) if is_pixels(x) else product


def relu(z: Array) -> Array:
    """max(z, 0); written so that zero is +0 and a NaN stays one in every library."""
    return namespace(z).where(z <= 0.0, 0.0, z)


def probabilities(f: Forward) -> Array:
    """Softmax: (n, C), each row summing to one."""
    return f.exponentials * (1.0 / f.totals)[:, None]


def picked(f: Forward, labels: Array, own: Array | None = None) -> Array:
    """Each row's shifted logit of its own class, (n,); a sum with one term is exact anywhere."""
    xp = namespace(f.shifted)
    own = one_hot(labels, f.shifted) if own is None else own
    return xp.sum(xp.where(own, f.shifted, 0.0), axis=1)


def cross_entropy(arithmetic: Arithmetic, totals: Array, picked: Array) -> Array:
    """-log softmax(z)[label] of each row, (n,), without forming a probability that may be zero."""
    return arithmetic.log(totals) - picked


def mean(arithmetic: Arithmetic, values: Array) -> Array:
    """The mean of ``values`` (n,) as a 0-d array: it stays on its device."""
    return arithmetic.sum(values, 0) * (1.0 / values.shape[0])


def gradients(
    arithmetic: Arithmetic,
    p: Parameters,
    x: Array,
    labels: Array,
    f: Forward,
    rate: float = 1.0,
    own: Array | None = None,
) -> Parameters:
    """``rate`` times the gradient of the mean cross-entropy over the rows of ``x``.

    The rate is applied where the matrices are smallest, at the logits; all that follows is linear.
    """
    xp = namespace(f.hidden)
    softmax = probabilities(f)
    own = one_hot(labels, softmax) if own is None else own
    d2 = xp.where(own, softmax - 1.0, softmax) * (rate / x.shape[0])
    W2, b2 = arithmetic.transposed_matmul_and_sum(f.hidden, d2)
    back = arithmetic.matmul(d2, p.W2.T)
    d1 = xp.where(f.hidden > 0.0, back, 0.0)
    if is_pixels(x):
        W1, b1 = arithmetic.transposed_matmul_and_sum(f.inputs, d1 * (1.0 / PIXEL_LEVELS))
        return Parameters(W1, b1 * PIXEL_LEVELS, W2, b2)
    W1, b1 = arithmetic.transposed_matmul_and_sum(f.inputs, d1)
    return Parameters(W1 if p.unit is None else W1 * p.unit[:, None], b1, W2, b2)


def descend(arithmetic: Arithmetic, p: Parameters, change: Parameters) -> Parameters:
    """The parameters after one step of gradient descent: ``p - change``."""
    steps = change.as_dict()
    after = {name: arithmetic.update(value, steps[name]) for name, value in p.as_dict().items()}
    return Parameters(**after, unit=p.unit)


def one_hot(labels: Array, like: Array) -> Array:
    """Whether a column is its row's class: bool, of the shape of ``like`` (n, C)."""
    xp = namespace(like)
    classes = xp.arange(like.shape[1], dtype=labels.dtype, device=device_of(like))
    return labels[:, None] == classes


def levels(x: Array) -> float:
    """The value that stands for 1.0 in pixels ``x``; floats stand for themselves."""
    return PIXEL_LEVELS if is_pixels(x) else 1.0


def is_pixels(x: Array) -> bool:
    return x.dtype == namespace(x).uint8
