"""The same steps in NumPy, without an allocation: every result is written into memory kept.

They serve where no compiled steps (:mod:`backendmlp.compiled`) can run.

A replacement for :class:`backendmlp.step.Step`, which defines what these compute.  In bitwise
numerics the bits are the same and the tests compare them; in native numerics the order of
operations differs within rounding.  In float64 the activations (n, H) lie unit after unit in memory
(Fortran's order), in float32 image after image: each is what its wide products are fastest with.
"""

from __future__ import annotations

from itertools import cycle
from typing import Any, Literal

import numpy as np

from backendmlp import model
from backendmlp.arithmetic import Arithmetic
from backendmlp.model import Parameters
from backendmlp.step import BatchByBatch, Step, Stepper

Array = Any

_RING, _RING_BYTES = 4, 1 << 21


def stepper(arithmetic: Arithmetic, parameters: Parameters, rate: float, images: Array) -> Stepper:
    """The buffered step for ``arithmetic``; the definition where none applies."""
    if arithmetic.name == "native":
        return NativeStep(arithmetic, parameters, rate, model.levels(images))
    if images.dtype == np.uint8:
        from backendmlp.buffered_bitwise import BitwiseStep

        return BitwiseStep(arithmetic, parameters, rate)
    return Step(arithmetic, parameters, rate)


class Workspace:
    """Memory for steps on ``n`` rows: features F, hidden units H, classes C."""

    def __init__(self, n: int, shape: tuple[int, int, int], kind: np.dtype, dtype: str) -> None:
        features, hidden, classes = shape
        self.n = n
        self._order: Literal["C", "F"] = "C" if dtype == "float32" else "F"
        self._gathered = np.empty((n, features), kind)
        # In turn, while that is small: memory that other cores' caches let go of is written faster.
        ring = max(1, min(_RING, _RING_BYTES // (n * features * np.dtype(dtype).itemsize)))
        self._ring = cycle([np.empty((n, features), dtype) for _ in range(ring)])
        self.x = next(self._ring)
        # The place of row i and class c in flat memory is i * row + c * column.
        row, self._column = (classes, 1) if self._order == "C" else (1, n)
        self._rows = np.arange(n) * row
        self.own = np.empty(n, np.int64)
        self.hidden, self.d1, self.scratch = (self._empty(hidden, dtype) for _ in range(3))
        self.ones = np.ones(n, dtype)
        self.active = self._empty(hidden, "bool")
        self.logits, self.d2, self.small = (self._empty(classes, dtype) for _ in range(3))

    def gather(self, images: Array, labels: Array, index: Array) -> None:
        """Rows ``index`` as floats in ``x``; the places of their own classes, flat, in ``own``."""
        self.x = next(self._ring)
        # 'clip' only because NumPy buffers ``out`` otherwise.
        np.take(images, index, axis=0, out=self._gathered, mode="clip")
        np.copyto(self.x, self._gathered)
        np.multiply(labels.take(index), self._column, out=self.own)
        self.own += self._rows

    def flat(self, x: Array) -> Array:
        """The memory of ``x`` (n, width) as it lies, a view."""
        return x.reshape(-1, order=self._order)

    def _empty(self, width: int, dtype: str) -> Array:
        return np.empty((self.n, width), dtype, self._order)


class Buffered(BatchByBatch):
    """What both steps share: one workspace for each size of batch, of which there are two."""

    def __init__(self, arithmetic: Arithmetic, parameters: Parameters, rate: float) -> None:
        self.arithmetic, self.rate = arithmetic, rate
        self._shape = parameters.shape
        self._workspaces: dict[int, Workspace] = {}
        self._load(parameters)

    def _load(self, parameters: Parameters) -> None:
        self.W1, self.b1, self.W2, self.b2 = (np.array(v) for v in parameters.as_dict().values())
        self.W2_change = np.empty_like(self.W2)

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.W1.copy(), self.b1.copy(), self.W2.copy(), self.b2.copy())

    def _workspace(self, n: int, kind: np.dtype) -> Workspace:
        if n not in self._workspaces:
            self._workspaces[n] = Workspace(n, self._shape, kind, self.arithmetic.dtype)
        return self._workspaces[n]


class NativeStep(Buffered):
    """Native numerics, float32 or float64; ``levels`` is the value that stands for 1.0."""

    def __init__(
        self, arithmetic: Arithmetic, parameters: Parameters, rate: float, levels: float
    ) -> None:
        super().__init__(arithmetic, parameters, rate)
        self._unit = self.W1.dtype.type(1.0 / levels)
        self.W1_change = np.empty_like(self.W1)

    def _step(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        w = self._workspace(len(index), images.dtype)
        w.gather(images, labels, index)
        np.matmul(w.x, self.W1, out=w.hidden)
        w.hidden *= self._unit
        w.hidden += self.b1
        np.maximum(w.hidden, 0, out=w.hidden)
        np.matmul(w.hidden, self.W2, out=w.logits)
        w.logits += self.b2
        w.logits -= w.logits.max(axis=1, keepdims=True)
        np.exp(w.logits, out=w.d2)
        totals, picked = w.d2.sum(axis=1), w.flat(w.logits)[w.own]
        scale = self.W1.dtype.type(self.rate / w.n)
        w.d2 *= (scale / totals)[:, None]
        w.flat(w.d2)[w.own] -= scale
        np.matmul(w.hidden.T, w.d2, out=self.W2_change)
        np.matmul(w.d2, self.W2.T, out=w.d1)
        np.greater(w.hidden, 0, out=w.active)
        w.d1 *= w.active
        self.b1 -= w.ones @ w.d1
        self.b2 -= w.ones @ w.d2
        self.W2 -= self.W2_change
        w.d1 *= self._unit
        np.matmul(w.x.T, w.d1, out=self.W1_change)
        self.W1 -= self.W1_change
        return totals, picked
