"""An OpenBLAS at hand, NumPy's own before another: its products, and how many threads it takes."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_PRODUCTS = {"float32": "scipy_cblas_sgemm64_", "float64": "scipy_cblas_dgemm64_"}
_GET_THREADS, _SET_THREADS = (f"scipy_openblas_{verb}_num_threads64_" for verb in ("get", "set"))


class OpenBLAS:
    """``library`` with the names that NumPy's wheels give its functions; AttributeError else.

    ``name`` says in words whose it is.
    """

    def __init__(self, library: ctypes.CDLL, name: str = "an OpenBLAS") -> None:
        self.name = name
        self._products = {dtype: getattr(library, name) for dtype, name in _PRODUCTS.items()}
        self._get_threads = getattr(library, _GET_THREADS)
        self._set_threads = getattr(library, _SET_THREADS)
        self._within: set[int] = set()  # who wants single threads
        self._before = 0  # threads, where anybody does
        self._lock = threading.RLock()  # objects may go, and leave, at any time
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(
                before=self._lock.acquire,
                after_in_parent=self._lock.release,
                after_in_child=self._forked,
            )

    def _forked(self) -> None:
        """In a child process only the thread that forked lives on: no other is in here any more."""
        if self._within:
            self._within.clear()
            self._set_threads(self._before)
        self._lock.release()

    @property
    def threads(self) -> int:
        """How many threads a product may take, for whoever asks outside :meth:`single_threaded`."""
        with self._lock:
            return self._before if self._within else int(self._get_threads())

    def address(self, dtype: str) -> int:
        """The address of ``cblas_?gemm`` for ``dtype``, with 64-bit integers."""
        address = ctypes.cast(self._products[dtype], ctypes.c_void_p).value
        assert address is not None
        return address

    def single_threaded(self) -> SingleThreaded:
        """Products take one thread each within it; several may be in there at a time."""
        return SingleThreaded(self)

    def enter(self, who: int) -> None:
        """Single threads from now on, until all have left that entered."""
        with self._lock:
            if not self._within:
                self._before = int(self._get_threads())
            self._within.add(who)
            self._set_threads(1)

    def leave(self, who: int) -> None:
        """Threads as they were before, where nobody else is within; again, nothing."""
        with self._lock:
            try:
                if self._within == {who}:
                    self._set_threads(self._before)
            finally:
                self._within.discard(who)


class SingleThreaded:
    """What :meth:`OpenBLAS.single_threaded` is.

    An interruption may come after any call, also between an entry and the ``with`` that is to
    leave again: what was not left is left when this object goes.
    """

    def __init__(self, blas: OpenBLAS) -> None:
        self._blas = blas

    def __enter__(self) -> None:
        self._blas.enter(id(self))

    def __exit__(self, *error: object) -> None:
        self._blas.leave(id(self))

    def __del__(self) -> None:
        self._blas.leave(id(self))


@lru_cache(maxsize=1)
def openblas() -> OpenBLAS | None:
    """NumPy's own OpenBLAS, else that of the package scipy-openblas64; None where neither is.

    NumPy's comes first since it is there already, as fast, and with one pool of threads the fewer:
    scripts/benchmark.md.  Of either, ``OPENBLAS_NUM_THREADS``, the processors that the process may
    use, and threadpoolctl decide the threads.
    """
    for name, paths in (("NumPy's OpenBLAS", _numpys), ("scipy-openblas64", _packaged)):
        for path in paths():
            with suppress(AttributeError, OSError):
                return OpenBLAS(ctypes.CDLL(str(path)), name)
    return None


def _numpys() -> Iterator[str]:
    """What NumPy multiplies with, as the system knows it."""
    from threadpoolctl import threadpool_info

    for entry in threadpool_info():
        # Another package may have brought one too, with threads of its own.
        if entry["user_api"] == "blas" and "numpy" in entry["filepath"]:
            yield entry["filepath"]


def _packaged() -> list[Path]:
    """The library of scipy-openblas64, where it is installed; its name's end is the system's."""
    try:
        from scipy_openblas64 import get_lib_dir
    except ImportError:
        return []
    suffixes = (".so", ".dylib", ".dll")
    found = Path(get_lib_dir()).glob("libscipy_openblas64_*")
    return [path for path in found if path.suffix in suffixes]
