"""What bitwise numerics asks of a device, tried out on it once before the first result.

IEEE 754 settles it, but a device need not keep to it: a library may compute a product of float64
matrices from several of fewer bits, and a maximum may pass over a NaN.  Each trial compares with
NumPy on results that are exact, so that no order of operations is an excuse.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import MANTISSA, PIXEL_BITS, product_bits, sum_bits
from backendmlp.backend import Backend, fetch
from backendmlp.errors import InputError

Array = Any

# Large enough for what a library keeps for large products alone; odd numbers of odd terms, so
# that the last bit of a sum counts as the first one does.
_ROWS = _TERMS = 1023
_COLUMNS = 128

_FULFILLED: set[tuple[str, str]] = set()

_ONE_AND_TIE = [1.0, 2.0**-53]  # in a list, so that Python does not compute with them ahead


def require(backend: Backend, arithmetic: Arithmetic) -> None:
    """Raise :class:`InputError` where ``backend`` cannot do ``arithmetic``'s exact operations.

    To be called within the backend's scope; a device is tried once in a process.
    """
    if arithmetic.name != "bitwise":
        return
    if not _rounds_to_nearest():
        raise InputError(
            "this process does not round to nearest, as bitwise results need it: something else in "
            "it, a library perhaps, has changed the processor's rounding mode; call C's "
            "fesetround(FE_TONEAREST) first, or start anew without it"
        )
    if backend.divided is not None and not _threads_round_to_nearest(backend, backend.divided()):
        raise InputError(
            f"threads of backend {backend.name!r} do not round to nearest, as bitwise results need "
            "it: something else in this process has changed the processor's rounding mode before "
            "they began; start anew without it, or use backend='numpy'"
        )
    if backend.altered is not None:
        raise InputError(_sentence(backend, f"{backend.altered} is set"))
    if (backend.name, backend.label) in _FULFILLED:
        return
    # NumPy's own arrays are what the others are compared with.
    for what, holds in {} if backend.in_memory else _TRIALS.items():
        if not holds(backend):
            raise InputError(_sentence(backend, f"{what} on it"))
    _FULFILLED.add((backend.name, backend.label))


def _rounds_to_nearest() -> bool:
    """Of this thread, whose mode may change at any time: ties that each other mode breaks."""
    one, tie = _ONE_AND_TIE
    return one + tie == one and -one - tie == -one and one - tie * 0.5 == one


def _threads_round_to_nearest(backend: Backend, count: int) -> bool:
    """Likewise, of a library's own threads, which keep the mode of whoever made them.

    In float32, of which ``count`` numbers take less memory: the mode is that of float64 too.
    """
    ties, rounded = _ties(backend.xp, backend.device, count)
    return bool(backend.xp.all(ties + 2.0**-24 == rounded))


@lru_cache(maxsize=1)
def _ties(xp: Any, device: Any, count: int) -> tuple[Array, Array]:
    """So many numbers, and what they are, to the nearest, with half a unit more."""
    pair = [1.0, 1.0 + 2.0**-23], [1.0, 1.0 + 2.0**-22]
    both = (xp.asarray(x, dtype=xp.float32, device=device) for x in pair)
    ties, rounded = (xp.tile(x, (count // 2,)) for x in both)
    return ties, rounded


def _sentence(backend: Backend, reason: str) -> str:
    return (
        f"device {backend.label} of backend {backend.name!r} cannot give bitwise results: "
        f"{reason}; {backend.remedy}, or choose native numerics or another backend"
    )


def _products_are_exact(backend: Backend) -> bool:
    """Products that need all 53 bits, of two float factors and beside pixels."""
    shapes = (_ROWS, _TERMS), (_TERMS, _COLUMNS)
    return all(
        _agree(backend, backend.xp.matmul, np.matmul, *map(_whole_numbers, shapes, bits))
        for bits in (
            product_bits(_TERMS),
            (PIXEL_BITS, product_bits(_TERMS, beside_pixels=True)[1]),
        )
    )


def _products_keep_nan(backend: Backend) -> bool:
    """Of NaN and zero too, which a library may be tempted to leave out."""
    nan, zeros = np.full((3, 5), np.nan), np.zeros((5, 4))
    pairs = (nan, zeros), (nan, zeros[:, :1]), (nan[:1], zeros), (zeros.T, nan.T)
    return all(_agree(backend, backend.xp.matmul, np.matmul, a, b) for a, b in pairs)


def _sums_are_exact(backend: Backend) -> bool:
    xp = backend.xp
    addends = _whole_numbers((_ROWS, _COLUMNS), sum_bits(_ROWS))
    return _agree(backend, lambda x: xp.sum(x, axis=0), lambda x: x.sum(axis=0), addends)


def _operations_are_rounded(backend: Backend) -> bool:
    """Division, and the addition that rounds to whole numbers, which no kernel may shorten."""
    x = _whole_numbers((_ROWS, 1), MANTISSA)

    def operations(x: Array) -> Array:
        return (1.0 / x) * 3.0 + ((x * 2.0**-5 + const.ROUND) - const.ROUND)

    return _agree(backend, operations, operations, x)


def _quotients_are_rounded(backend: Backend) -> bool:
    return _agree(backend, operator.truediv, operator.truediv, *_of_all_sizes())


def _roots_are_near(backend: Backend) -> bool:
    """Within one unit in the last place: the arithmetic's own root does the rest."""
    x, _ = _of_all_sizes()
    found = fetch({"found": backend.xp.sqrt(backend.asarray(x, "float64"))})["found"]
    return bool((np.abs(found - np.sqrt(x)) <= np.spacing(np.sqrt(x))).all())


def _of_all_sizes() -> tuple[np.ndarray, np.ndarray]:
    """Two of (31713,), float64 of all bits; an odd number, so that a vector's tail is tried too."""
    mantissas = _whole_numbers((_ROWS, 31), MANTISSA).reshape(-1)
    # Down to 1.0: other divisors than those of nearly two.
    y = mantissas * np.linspace(0.5, 1.0, mantissas.size)
    return np.ldexp(mantissas, np.arange(mantissas.size) % 901 - 450), y


def _searches_find_nan_behind(backend: Backend) -> bool:
    xp = backend.xp
    x = np.array([[np.nan, np.inf, 0.0], [2.0, -1.0, np.nan]])

    def search(table: Array, x: Array) -> Array:
        return xp.astype(xp.searchsorted(table, x, side="left"), xp.float64)

    def known(table: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.searchsorted(table, x, side="left").astype(np.float64)

    return _agree(backend, search, known, np.array([1.0, 2.0, 4.0]), x)


def _maxima_keep_nan(backend: Backend) -> bool:
    xp = backend.xp
    x = np.ones((_ROWS, _COLUMNS))
    np.fill_diagonal(x, np.nan)
    return all(
        _agree(
            backend,
            lambda x, axis=axis: xp.max(x, axis=axis, keepdims=True),
            lambda x, axis=axis: x.max(axis=axis, keepdims=True),
            x,
        )
        for axis in (0, 1)
    )


_TRIALS: dict[str, Callable[[Backend], bool]] = {
    "products of float64 matrices are not exact": _products_are_exact,
    "sums of float64 are not exact": _sums_are_exact,
    "float64 is not rounded as IEEE 754 says": _operations_are_rounded,
    "quotients of float64 are not correctly rounded": _quotients_are_rounded,
    "square roots of float64 are off by more than a unit": _roots_are_near,
    "a maximum passes over NaN": _maxima_keep_nan,
    "a product passes over NaN": _products_keep_nan,
    "a search does not find NaN behind all numbers": _searches_find_nan_behind,
}


def _agree(
    backend: Backend,
    there: Callable[..., Array],
    here: Callable[..., np.ndarray],
    *operands: np.ndarray,
) -> bool:
    found = fetch({"found": there(*(backend.asarray(x, "float64") for x in operands))})["found"]
    return np.array_equal(found, here(*operands), equal_nan=True)


def _whole_numbers(shape: tuple[int, int], bits: int) -> np.ndarray:
    """Odd whole numbers in the uppermost eighth of those of ``bits`` bits, float64."""
    # Weyl's sequence, by the golden ratio: spread out evenly, and the same everywhere.
    count = np.arange(1, shape[0] * shape[1] + 1, dtype=np.uint64)
    spread = (count * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits + 3)
    return ((2**bits - 1) - (spread & ~np.uint64(1)).astype(np.float64)).reshape(shape)
