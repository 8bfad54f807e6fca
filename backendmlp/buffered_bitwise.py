"""The bitwise step for NumPy and uint8 pixels: the bits of :class:`backendmlp.step.Step`, sooner.

Four things make it faster than the definition, and none can change a bit:

- results go into memory that is kept;
- rounding adds and subtracts ``1.5 * 2**52`` times the grid of the line, where the definition
  scales a line to one, rounds, and scales back: the powers of two are exact either way;
- the first layer is kept in units of its grid, 2**-29, as whole numbers, so one ``rint`` puts its
  change on the grid;
- while no weight of it exceeds the limit under which the definition's rounding leaves such numbers
  alone, it enters its product as it stands.  A bound on the weights, grown by what each step can
  add at most, tells without looking at them; where it fails, the definition does the step.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import Bitwise, product_bits, sum_bits
from backendmlp.buffered import Buffered, Workspace
from backendmlp.model import PIXEL_LEVELS, Parameters
from backendmlp.step import Step

Array = Any

_POWERS = const.powers_of_two(const.WINDOW)
_UNITS = 1.0 / const.GRID
_FORWARD = const.GRID * (1.0 / PIXEL_LEVELS)  # from units and pixel levels to real numbers
_BACKWARD = _UNITS * (1.0 / PIXEL_LEVELS)
_SETTLE = const.ROUND * const.GRID
_EXACT_RINT = 2.0**51  # below it, rint and the definition's rounding agree


class BitwiseStep(Buffered):
    """Bitwise numerics on pixels; ``W1`` is held in units of 2**-29."""

    arithmetic: Bitwise

    def _load(self, parameters: Parameters) -> None:
        super()._load(parameters)
        self.W1 *= _UNITS
        self.W1_change = np.empty_like(self.W1)
        # 2**bits in units: the definition's rounding to that many bits is then the identity.
        features, hidden, classes = self._shape
        self._limit = 2.0 ** product_bits(features, beside_pixels=True)[1]
        self._bound = math.inf
        self._hidden_grid, self._W2_grid = map(_grid, product_bits(hidden))
        self._d2_grid, self._W2_back_grid = map(_grid, product_bits(classes))
        self._total_grid = const.ROUND * 2.0 ** -sum_bits(classes)

    @property
    def parameters(self) -> Parameters:
        return Parameters(self.W1 * const.GRID, self.b1.copy(), self.W2.copy(), self.b2.copy())

    def _step(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        if not self._bound <= self._limit:  # also where it is NaN
            self._bound = float(np.max(np.abs(self.W1)))
        if not self._bound <= self._limit:
            return self._defined(images, labels, index)
        w = self._workspace(len(index), images.dtype)
        w.gather(images, labels, index)
        totals, picked = self._forward(w)
        tops = self._backward(w)
        # What a weight can change by: the sum over the rows of the largest pixel times a delta.
        growth = float(tops.max()) * PIXEL_LEVELS * w.n
        if not growth < _EXACT_RINT:
            return self._defined(images, labels, index)
        self._descend(w, tops)
        self._bound += growth + 1.0
        return totals, picked

    def _defined(self, images: Array, labels: Array, index: Array) -> tuple[Array, Array]:
        step = Step(self.arithmetic, self.parameters, self.rate)
        result = step.advance(images, labels, index, len(index))
        self._load(step.parameters)
        return result

    def _forward(self, w: Workspace) -> tuple[Array, Array]:
        """Leaves the hidden units in ``w.hidden``, softmax less one-hot times rate in ``w.d2``."""
        np.matmul(w.x, self.W1, out=w.hidden)
        w.hidden *= _FORWARD
        w.hidden += self.b1
        np.maximum(w.hidden, 0.0, out=w.hidden)
        _round(w.hidden, w.hidden.max(axis=1)[:, None], self._hidden_grid, out=w.scratch)
        np.abs(self.W2, out=self.W2_change)
        W2 = _round(self.W2, self.W2_change.max(axis=0), self._W2_grid)
        np.matmul(w.scratch, W2, out=w.logits)
        w.logits += self.b2
        w.logits -= w.logits.max(axis=1)[:, None]
        _exp(self.arithmetic, w.flat(w.logits), out=w.flat(w.d2))
        np.add(w.d2, self._total_grid, out=w.small)
        w.small -= self._total_grid
        totals, picked = w.small.sum(axis=1), w.flat(w.logits)[w.own]
        w.d2 *= (1.0 / totals)[:, None]
        w.flat(w.d2)[w.own] -= 1.0
        w.d2 *= self.rate / w.n
        return totals, picked

    def _backward(self, w: Workspace) -> Array:
        """Leaves the hidden units' deltas in ``w.d1``, in units; returns each unit's largest."""
        np.abs(w.d2, out=w.small)
        d2 = _round(w.d2, w.small.max(axis=1)[:, None], self._d2_grid)
        W2 = _round(self.W2, self.W2_change.max(axis=1)[:, None], self._W2_back_grid)
        np.matmul(d2, W2.T, out=w.d1)
        np.greater(w.hidden, 0.0, out=w.active)
        w.d1 *= w.active
        w.d1 *= _BACKWARD
        np.abs(w.d1, out=w.scratch)
        return w.scratch.max(axis=0)

    def _descend(self, w: Workspace, tops: Array) -> None:
        hidden_grid, d2_grid = map(_grid, product_bits(w.n))
        _, d1_grid = map(_grid, product_bits(w.n, beside_pixels=True))
        hidden = _round(w.hidden, w.hidden.max(axis=0), hidden_grid, out=w.hidden)
        d2 = _round(w.d2, w.small.max(axis=0), d2_grid, out=w.d2)
        np.matmul(hidden.T, d2, out=self.W2_change)
        self.W2 -= _settle(self.W2_change)
        self.b2 -= _settle(w.ones @ d2)
        d1 = _round(w.d1, tops, d1_grid, out=w.d1)
        self.b1 -= _settle((w.ones @ d1) * (PIXEL_LEVELS * const.GRID))
        np.matmul(w.x.T, d1, out=self.W1_change)
        np.rint(self.W1_change, out=self.W1_change)
        self.W1 -= self.W1_change


def _settle(change: Array) -> Array:
    """:meth:`Bitwise.settle` in place."""
    change += _SETTLE
    change -= _SETTLE
    return change


@lru_cache(maxsize=32)
def _grid(bits: int) -> Array:
    """What rounds a line to ``bits`` bits, for each power of two its largest entry may reach."""
    return const.ROUND * 2.0**-bits * _POWERS


def _round(x: Array, tops: Array, grid: Array, out: Array | None = None) -> Array:
    """``x`` with each line rounded relative to the power of two at or above its entry of tops."""
    offset = grid.take(_POWERS.searchsorted(tops))
    out = np.add(x, offset, out=out)
    return np.subtract(out, offset, out=out)


_EXP_TABLE = const.exp_table()


def _exp(arithmetic: Bitwise, x: Array, out: Array) -> None:
    """:meth:`Bitwise.exp`, without its care for what lies outside the table where nothing does."""
    if not x.min() >= const.EXP_LOWEST:
        out[:] = arithmetic.exp(x)
        return
    k = x * const.EXP_INVERSE
    k += const.ROUND
    k -= const.ROUND
    r = x - k * const.EXP_HIGH
    r -= k * const.EXP_LOW
    np.multiply(r, 1 / 120, out=out)
    out += 1 / 24
    for coefficient in (1 / 6, 0.5, 1.0, 1.0):
        out *= r
        out += coefficient
    k += const.EXP_OFFSET
    out *= _EXP_TABLE.take(k.astype(np.intp))
