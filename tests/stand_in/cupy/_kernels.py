"""Kernels of CUDA C++ on the stand-in: the project's own, compiled by g++ for threads of the CPU.

As strict as CuPy 14.2 about how a module is made, a kernel is had, and a launch is given.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import _device
from ._array import ndarray
from ._device import counted

sys.path.append(str(Path(__file__).resolve().parents[2]))
from kernels import on_cpu

if on_cpu.COMPILER is None:
    os.environ["BACKENDMLP_KERNELS"] = "0"  # else what needs no compiler could not be tried

PROCESSORS, SHARED, SHARED_AT_MOST = 3, 48 << 10, 99 << 10
THREADS = 1  # of the CPU, for a block


def properties(ordinal: int) -> dict[str, Any]:
    """What is known of a device."""
    return {
        "name": b"a stand-in for a GPU",
        "multiProcessorCount": PROCESSORS,
        "sharedMemPerBlock": SHARED,
        "sharedMemPerBlockOptin": SHARED_AT_MOST,
        "maxThreadsPerBlock": 1024,
        "warpSize": 32,
    }


class CompileException(Exception): ...  # noqa: N818 (CuPy's name)


class RawModule:
    """A source, compiled when a kernel of it is first asked for."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        if (code is None) == (path is None):
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given.")
        if not isinstance(code, str) or backend != "nvrtc" or name_expressions or jitify:
            raise NotImplementedError("the stand-in compiles text by NVRTC")
        if not isinstance(options, tuple) or not all(isinstance(x, str) for x in options):
            raise TypeError("compiler options must be a tuple of strings")
        self._options, self._cooperative = options, enable_cooperative_groups
        self._library: ctypes.CDLL | None = None

    def get_function(self, name: str) -> RawKernel:
        if self._library is None:
            if "no-nvrtc" in _device.wrong:
                raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: cannot open it")
            counted["compiled"] += 1
            try:
                defined = tuple(x for x in self._options if x.startswith("-D"))
                self._library = on_cpu.compiled(defined, flags=("-DSHAPE=1",))
            except AssertionError as error:
                raise CompileException(str(error)) from None
        if self._library.has(name.encode()) != 1:
            raise _device.CUDADriverError("CUDA_ERROR_NOT_FOUND: named symbol not found")
        return RawKernel(self._library, name, self._cooperative)


class RawKernel:
    """One kernel.  It is at its end when a call returns: nothing here runs beside the host."""

    def __init__(self, library: ctypes.CDLL, name: str, cooperative: bool) -> None:
        self._library, self._name, self._cooperative = library, name, cooperative
        self._device = _device.current()
        self._most = SHARED

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > SHARED_AT_MOST:
            raise _device.CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        self._most = size

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        *,
        shared_mem: int = 0,
    ) -> None:
        for what in (grid, block, args):
            if not isinstance(what, tuple):
                raise TypeError(f"Argument has incorrect type (expected tuple, got {type(what)})")
        blocks, threads = (_product(x) for x in (grid, block))
        if threads > 1024 or blocks < 1 or threads < 1:
            raise _device.CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if shared_mem > self._most:
            raise _device.CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        if self._cooperative and blocks > PROCESSORS:  # CuPy takes fewer, with a warning
            raise _device.CUDADriverError("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE")
        if self._device != _device.current():
            raise _device.CUDADriverError("CUDA_ERROR_INVALID_HANDLE: invalid resource handle")
        job, *numbers = map(_argument, args)
        counted["launches"] += 1
        on_cpu.start(self._library, self._name, job, [int(x) for x in numbers], blocks, THREADS)


def _product(sizes: tuple[int, ...]) -> int:
    if not 1 <= len(sizes) <= 3 or not all(isinstance(x, int) for x in sizes):
        raise ValueError("sizes of a grid and of a block are one to three whole numbers")
    return int(np.prod(sizes))


def _argument(x: Any) -> Any:
    """What goes by value: NumPy's numbers, and structures as its arrays of size one."""
    if isinstance(x, ndarray):
        if x._device != _device.current():
            raise ValueError("Array device must be same as the current device")
        raise NotImplementedError("the stand-in gives kernels addresses, within a structure")
    if isinstance(x, np.ndarray):
        if x.size != 1 or not x.flags.c_contiguous:
            raise TypeError("Passed NumPy array does not consist of a single element")
        return x
    if isinstance(x, (np.generic, int)) and not isinstance(x, bool):
        return x
    raise TypeError(f"Unsupported type {type(x)}")
