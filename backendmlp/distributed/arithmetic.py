"""Bitwise arithmetic of a batch whose rows lie on several ranks.

What the rows of a batch share is, of each column that is summed over them, the power of two at or
above its largest entry, and the exact sums themselves.  The powers travel as their places in a
table, in int16: infinity and NaN have the last place, so that their largest is well defined.  The
sums are exact, so that no order of ranks can change a bit.  All layers go together: one MAX and one
SUM a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic.bitwise import Bitwise, Whole, bits_of_factors, on_grid
from backendmlp.arithmetic.tables import tables
from backendmlp.backend import Backend, fetch
from backendmlp.ranks import Ranks

Array = Any


@dataclass(frozen=True)
class SharedBitwise(Bitwise):
    """:class:`Bitwise` for this rank's rows of a batch of ``count`` rows."""

    backend: Backend
    ranks: Ranks
    count: int

    def gradients(self, pairs: Sequence[tuple[Array | Whole, Array]]) -> list[tuple[Array, Array]]:
        factors = [x for pair in pairs for x in pair if not isinstance(x, Whole)]
        places = iter(self._agreed(factors))
        found = []
        for x, d in pairs:
            left_bits, right_bits = bits_of_factors(self.count, x, d)
            left = x.values if isinstance(x, Whole) else _rounded(x, next(places), left_bits)
            right = _rounded(d, next(places), right_bits)
            xp = tables(right).xp
            found += [xp.matmul(left.T, right), xp.sum(right, axis=0)]
        added = self._added(found)
        return list(zip(added[::2], added[1::2], strict=True))

    def _agreed(self, factors: list[Array]) -> list[Array]:
        """Of each column of each factor the place of its power of two, in all of the batch."""
        widths = [x.shape[1] for x in factors]
        flat = np.zeros(sum(widths), np.int16)
        if factors[0].shape[0]:  # a rank without rows has no largest entry
            seen = fetch({str(i): _places(x) for i, x in enumerate(factors)})
            flat[:] = np.concatenate([seen[str(i)] for i in range(len(factors))])
        self.ranks.largest(flat)
        cuts = np.cumsum(widths)[:-1]
        return [self.backend.asarray(x.astype(np.int64), "int64") for x in np.split(flat, cuts)]

    def _added(self, parts: list[Array]) -> list[Array]:
        """Each of ``parts``, summed over all ranks."""
        fetched = fetch({str(i): x for i, x in enumerate(parts)})
        shapes = [tuple(x.shape) for x in parts]
        flat = np.concatenate([fetched[str(i)].reshape(-1) for i in range(len(parts))])
        self.ranks.total(flat)
        cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        return [
            self.backend.asarray(x.reshape(shape), self.dtype)
            for x, shape in zip(np.split(flat, cuts), shapes, strict=True)
        ]


def _places(x: Array) -> Array:
    t = tables(x)
    return t.xp.searchsorted(t.bounds, t.xp.max(t.xp.abs(x), axis=0), side="left")


def _rounded(x: Array, places: Array, bits: int) -> Array:
    return on_grid(x, tables(x).rounding(bits)[places])
