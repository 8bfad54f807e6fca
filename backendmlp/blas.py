"""``C -= A.T @ B`` in one call of the BLAS that NumPy brought along.

NumPy multiplies into memory of its own; BLAS can also add to what is there.  That spares a pass
over the gradient and, worse with several threads, its way from one core's cache to another's.
Where NumPy's BLAS is not the one its wheels bring, or does not answer as expected, two calls of
NumPy do the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

Subtract = Callable[[np.ndarray, np.ndarray, np.ndarray], None]

_ROW_MAJOR, _PLAIN, _TRANSPOSED = 101, 111, 112  # of CBLAS
_LETTERS = {"float32": ("s", ctypes.c_float), "float64": ("d", ctypes.c_double)}


def subtract_product(shape: tuple[int, int], dtype: str) -> Subtract:
    """A function of ``c`` (m, n), ``a`` (k, m) and ``b`` (k, n) that takes ``a.T @ b`` off ``c``.

    ``shape`` is that of ``c``; ``a`` and ``c`` are C-contiguous, ``b`` in C's or Fortran's order;
    all are of ``dtype``.
    """
    gemm = _gemm(dtype)
    if gemm is None:
        return _InTwoCalls(np.empty(shape, dtype))
    return gemm


class _InTwoCalls:
    def __init__(self, memory: np.ndarray) -> None:
        self._memory = memory

    def __call__(self, c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        np.matmul(a.T, b, out=self._memory)
        np.subtract(c, self._memory, out=c)


@lru_cache(maxsize=2)
def _gemm(dtype: str) -> Subtract | None:
    """NumPy's own gemm, None if there is none or it fails a small trial."""
    letter, real = _LETTERS[dtype]
    try:
        function = getattr(_library(), f"scipy_cblas_{letter}gemm64_")
    except (AttributeError, LookupError, OSError):
        return None
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [
        *[ctypes.c_int] * 3,
        *[integer] * 3,
        *[real, pointer, integer, pointer, integer],
        *[real, pointer, integer],
    ]
    function.restype = None

    def subtract(c: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
        (k, m), n = a.shape, b.shape[1]
        b_as_it_lies = (_PLAIN, n) if b.flags.c_contiguous else (_TRANSPOSED, k)
        at_a, at_b, at_c = (array.ctypes.data for array in (a, b, c))
        function(
            *(_ROW_MAJOR, _TRANSPOSED, b_as_it_lies[0], m, n, k),
            *(-1.0, at_a, m, at_b, b_as_it_lies[1]),
            *(1.0, at_c, n),
        )

    return subtract if _passes(subtract, dtype) else None


def _library() -> Any:
    """The OpenBLAS in NumPy's wheel; another library's would have threads of its own."""
    from threadpoolctl import threadpool_info

    loaded = (entry["filepath"] for entry in threadpool_info() if entry["user_api"] == "blas")
    return ctypes.CDLL(next((path for path in loaded if "numpy" in path), None) or _missing())


def _missing() -> str:
    raise LookupError("NumPy has no BLAS of its own")


def _passes(subtract: Subtract, dtype: str) -> bool:
    a, b = np.arange(6, dtype=dtype).reshape(3, 2), np.arange(12, dtype=dtype).reshape(3, 4)
    for order in ("C", "F"):
        c = np.ones((2, 4), dtype)
        expected = c - a.T @ b
        subtract(c, a, np.array(b, order=order))  # type: ignore[call-overload]
        if not np.array_equal(c, expected):
            return False
    return True
