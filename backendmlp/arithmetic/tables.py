"""The tables of :mod:`backendmlp.arithmetic.constants` on a device, each sent there once."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.backend import device_of, namespace
from backendmlp.once import once

Array = Any


class Tables:
    """What the bitwise arithmetic looks up, float64 on ``device``; and its namespace, ``xp``."""

    def __init__(self, xp: Any, device: Any) -> None:
        self.xp = xp
        self._device = device
        self._rounding: dict[int, Array] = {}

    @once
    def bounds(self) -> Array:
        """The powers of two, to be searched: infinity and NaN lie behind them."""
        return self._sent(const.powers_of_two(const.WINDOW)[:-1])

    @once
    def powers(self) -> Array:
        """The powers of two, and NaN for what lies beyond."""
        return self._sent(const.powers_of_two(const.WINDOW))

    def rounding(self, bits: int) -> Array:
        """For each of :attr:`powers`, what rounds to ``bits`` bits below it: see ``on_grid``."""
        if bits not in self._rounding:
            grids = const.powers_of_two(const.WINDOW) * (const.ROUND * 2.0**-bits)
            self._rounding[bits] = self._sent(grids)
        return self._rounding[bits]

    @once
    def exp(self) -> Array:
        """2**(-k / 64) at k = 0, 1, ...; then the zero and the NaN of what exp does not reach."""
        return self._sent(np.append(const.exp_table()[::-1], [0.0, np.nan]))

    @once
    def tanh(self) -> Array:
        """(1 - 2**(-k / 64)) / 2 at k = 0, 1, ..."""
        return self._sent(const.tanh_table())

    @once
    def octaves(self) -> Array:
        return self._sent(const.powers_of_two(const.LOG_OCTAVES)[:-1])

    @once
    def log_high(self) -> Array:
        return self._sent(const.log_table()[0])

    @once
    def log_low(self) -> Array:
        return self._sent(const.log_table()[1])

    def _sent(self, table: np.ndarray) -> Array:
        return self.xp.asarray(table, dtype=self.xp.float64, device=self._device)


_KEPT: dict[tuple[type, Any], Tables] = {}


def tables(like: Array) -> Tables:
    """The tables where ``like`` lies: one look-up, which is cheaper than asking for a namespace."""
    device = getattr(like, "device", None)
    key = type(like), getattr(device, "id", device)  # CuPy's devices are not hashable
    if key not in _KEPT:
        _KEPT[key] = Tables(namespace(like), device_of(like))
    return _KEPT[key]
