"""What a network is trained to make small: outputs and targets in, deltas and losses out.

A loss keeps, of each row, the *parts* that its value is made of: cheap to find in every step, and
turned into losses once an epoch.  A new one is a class with these methods and a row in
:data:`LOSSES`, and one function in ``steps/compiled``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import device_of, namespace

Array = Any
Parts = tuple[Array, ...]


class Loss(Protocol):
    """``parts`` names what is kept of each row; ``z`` (n, C) is what the last layer computed."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> tuple[str, ...]: ...

    def outputs(self, arithmetic: Arithmetic, z: Array) -> Array:
        """What the network shows for ``z``: (n, C)."""

    def score(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        """Each row's parts, and the outputs."""

    def step(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        """Each row's parts, and the gradient of its loss by ``z``, (n, C)."""

    def rows(self, arithmetic: Arithmetic, parts: Parts) -> Array:
        """Each row's loss, (n,), of its parts."""

    def penalised(self, parts: Parts, penalty: Array) -> Parts:
        """``parts`` of rows whose loss is larger by ``penalty``, a 0-d array."""

    def measures(self, arithmetic: Arithmetic, outputs: Array, targets: Array) -> dict[str, Array]:
        """What :meth:`measured` wants fetched, found on the device."""

    def measured(self, fetched: dict[str, np.ndarray], count: int) -> dict[str, float]:
        """By its name, how well outputs met ``count`` targets: the accuracy, or R squared."""


@dataclass(frozen=True)
class Softmax:
    """``shifted`` (n, C): z less its row's maximum; their ``exponentials`` and the ``totals``."""

    shifted: Array
    exponentials: Array
    totals: Array

    def probabilities(self) -> Array:
        """(n, C), each row summing to one."""
        return self.exponentials * (1.0 / self.totals)[:, None]


def softmax(arithmetic: Arithmetic, z: Array) -> Softmax:
    shifted = z - namespace(z).max(z, axis=1, keepdims=True)
    exponentials = arithmetic.exp(shifted)
    return Softmax(shifted, exponentials, arithmetic.sum(exponentials, 1, top=1.0))


@dataclass(frozen=True)
class CrossEntropy:
    """-sum_c t_c log softmax(z)_c, of a class's number (n,) or, smoothed, of nearly that.

    With ``smoothing`` e the target is 1 - e for the class, and e / C more for every one: Szegedy
    and others, "Rethinking the Inception architecture" (2016), section 7.  A row's parts are its
    softmax's total and its shifted logits, weighted by the target.
    """

    smoothing: float = 0.0
    name: ClassVar[str] = "cross_entropy"
    parts: ClassVar[tuple[str, ...]] = ("totals", "picked")

    def outputs(self, arithmetic: Arithmetic, z: Array) -> Array:
        return _shown(softmax(arithmetic, z))

    def score(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        s = softmax(arithmetic, z)
        return self._parts(arithmetic, s, one_hot(targets, z)), _shown(s)

    def step(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        s, own = softmax(arithmetic, z), one_hot(targets, z)
        shares = s.probabilities()
        elsewhere = self.smoothing / z.shape[1]
        others = shares - elsewhere if self.smoothing else shares
        deltas = namespace(z).where(own, shares - (1.0 - self.smoothing + elsewhere), others)
        return self._parts(arithmetic, s, own), deltas

    def rows(self, arithmetic: Arithmetic, parts: Parts) -> Array:
        """Without forming a probability, which may be zero."""
        totals, picked = parts
        return arithmetic.log(totals) - picked

    def penalised(self, parts: Parts, penalty: Array) -> Parts:
        totals, picked = parts
        return totals, picked - penalty

    def measures(self, arithmetic: Arithmetic, outputs: Array, targets: Array) -> dict[str, Array]:
        xp = namespace(outputs)
        return {"right": xp.sum(xp.astype(classes(outputs) == targets, xp.int64))}

    def measured(self, fetched: dict[str, np.ndarray], count: int) -> dict[str, float]:
        return {"accuracy": int(fetched["right"]) / count}

    def _parts(self, arithmetic: Arithmetic, s: Softmax, own: Array) -> Parts:
        xp = namespace(s.shifted)
        picked = xp.sum(xp.where(own, s.shifted, 0.0), axis=1)  # one term: exact anywhere
        if self.smoothing:
            everywhere = arithmetic.sum(s.shifted, 1) * (self.smoothing / s.shifted.shape[1])
            picked = picked * (1.0 - self.smoothing) + everywhere
        return s.totals, picked


@dataclass(frozen=True)
class SquaredError:
    """Half the squared distance of z from the targets (n, C): Bishop, *PRML* (2006), 5.2."""

    name: ClassVar[str] = "squared_error"
    parts: ClassVar[tuple[str, ...]] = ("squares",)

    def outputs(self, arithmetic: Arithmetic, z: Array) -> Array:
        return z

    def score(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        return self.step(arithmetic, z, targets)[0], z

    def step(self, arithmetic: Arithmetic, z: Array, targets: Array) -> tuple[Parts, Array]:
        errors = z - targets
        return (arithmetic.sum(errors * errors, 1) * 0.5,), errors

    def rows(self, arithmetic: Arithmetic, parts: Parts) -> Array:
        return parts[0]

    def penalised(self, parts: Parts, penalty: Array) -> Parts:
        return (parts[0] + penalty,)

    def measures(self, arithmetic: Arithmetic, outputs: Array, targets: Array) -> dict[str, Array]:
        """Sums of squares, (C,) each: of the errors, and of the targets about their mean.

        Of targets that are all the same the latter is zero, to which rounding adds nothing.
        """
        xp = namespace(targets)
        errors = outputs - targets
        about = targets - arithmetic.sum(targets, 0) * (1.0 / targets.shape[0])
        varies = xp.max(targets, axis=0) > xp.min(targets, axis=0)
        about = xp.where(varies, about, 0.0)
        return {
            "errors": arithmetic.sum(errors * errors, 0),
            "about": arithmetic.sum(about * about, 0),
        }

    def measured(self, fetched: dict[str, np.ndarray], count: int) -> dict[str, float]:
        """R squared, the mean over outputs; of a target that does not vary, as scikit-learn's."""
        errors, about = (np.asarray(fetched[name], np.float64) for name in ("errors", "about"))
        steady = about == 0.0
        shares = np.where(steady, np.where(errors == 0.0, 0.0, 1.0), errors / (about + steady))
        total = 0.0
        for share in (1.0 - shares).tolist():  # NumPy's sum has an order of its own
            total += share
        return {"r2": total / len(shares)}


LOSSES: dict[str, type] = {loss.name: loss for loss in (CrossEntropy, SquaredError)}


def one_hot(labels: Array, like: Array) -> Array:
    """Whether a column is its row's class: bool, of the shape of ``like`` (n, C)."""
    xp = namespace(like)
    numbers = xp.arange(like.shape[1], dtype=labels.dtype, device=device_of(like))
    return labels[:, None] == numbers


def classes(probabilities: Array) -> Array:
    """Each row's most probable class, int64 (N,); of equal ones the first, in every library.

    Of probabilities that hold a NaN, which is larger than nothing, there is none: such a row has
    the last class.
    """
    xp, device = namespace(probabilities), device_of(probabilities)
    count = probabilities.shape[1]
    columns = xp.arange(count, dtype=xp.int64, device=device)
    last = xp.asarray(count - 1, dtype=xp.int64, device=device)
    largest = xp.max(probabilities, axis=1, keepdims=True)
    return xp.min(xp.where(probabilities == largest, columns[None, :], last), axis=1)


def classes_in_memory(probabilities: np.ndarray) -> np.ndarray:
    """:func:`classes` of an array in host memory, in less time."""
    largest = np.maximum.reduce(probabilities, axis=None, initial=0.0)
    if largest != largest:  # NaN, of which argmax takes the first
        return classes(probabilities)
    return probabilities.argmax(axis=1).astype(np.int64, copy=False)


# JAX on a CPU takes smaller numbers, the subnormal ones, for zero, so they are zero everywhere;
# this one too, to which a smaller one may have been rounded.  A step needs no such care: it rounds
# softmax to a grid first, which is never finer than 2**-450 less 51 bits.
_SMALLEST = 2.0**-1022


def _shown(s: Softmax) -> Array:
    """The probabilities, with zero for what is not above the smallest normal number."""
    shares = s.probabilities()
    return namespace(shares).where(shares <= _SMALLEST, 0.0, shares)
