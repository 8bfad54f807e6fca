"""Random numbers that are the same on every NumPy version, Python version and machine.

Only the raw stream of NumPy's Philox bit generator is used, which NumPy guarantees (NEP 19); the
distributions on top of it are our own, because those of ``numpy.random.Generator`` may change.
Philox is counter-based: every purpose and every epoch has a stream of its own, found by its
number, so there is no state to carry along or to save.
"""

from __future__ import annotations

import numpy as np

from backendmlp.arithmetic.bitwise import Bitwise

_BLOCK = 1024  # uniform pairs drawn at a time: the first n variates don't depend on n


def stream(seed: int, purpose: int, epoch: int = 0) -> np.random.Philox:
    """The bit stream of one purpose in one epoch under ``seed`` (0 <= seed < 2**64)."""
    return np.random.Philox(
        key=np.array([seed, purpose], dtype=np.uint64),
        counter=np.array([0, 0, 0, epoch], dtype=np.uint64),
    )


def normals(bits: np.random.Philox, count: int) -> np.ndarray:
    """``count`` standard normal variates, float64 of shape (count,).

    Marsaglia's polar method (1964) with the bitwise logarithm: products, one division and one
    square root, each correctly rounded by IEEE 754, and no function of the C library.
    """
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < count:
        raw = (bits.random_raw(2 * _BLOCK) >> np.uint64(11)).astype(np.float64)
        uniform = raw * 2.0**-52 - 1.0  # exact, in [-1, 1)
        u, v = uniform[::2], uniform[1::2]
        square = u * u + v * v
        keep = (square > 0.0) & (square < 1.0)
        u, v, square = u[keep], v[keep], square[keep]
        radius = np.sqrt(-2.0 * Bitwise().log(square) / square)
        parts.append(np.stack([u * radius, v * radius], axis=1).reshape(-1))
    return np.concatenate(parts)[:count]


def permutation(bits: np.random.Philox, count: int) -> np.ndarray:
    """A random order of ``range(count)``, int64 of shape (count,).

    Random keys that carry their index in the low bits are sorted: all keys differ, so every
    sorting algorithm gives the same order.
    """
    mask = np.uint64((1 << max(count - 1, 1).bit_length()) - 1)
    keys = bits.random_raw(count) & ~mask
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    return (keys & mask).astype(np.int64)
