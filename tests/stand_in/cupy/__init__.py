"""CuPy's interface on NumPy, as strict as CuPy about what it takes.

It shows, where there is no GPU, that backendmlp asks of CuPy only what CuPy has, and nothing of a
GPU's bits or speed.  After CuPy 14.2: an array does not turn into a NumPy array by itself, nor mix
with one; a reduction is an array of no dimensions, never a number; keywords that CuPy lacks are
refused; there are two devices, arrays of one are refused while the other is current, and a device
is not hashable.  What is not here does not exist for the code under test.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np

from . import _array, _device, _kernels
from ._array import ndarray as ndarray
from ._kernels import RawModule as RawModule

__version__ = "14.2.0-stand-in"

for _name in ("arange", "array", "asarray", "ascontiguousarray", "concatenate", "empty", "matmul",
              "ones", "reshape", "searchsorted", "squeeze", "take", "where", "zeros",
              "zeros_like"):  # fmt: skip
    globals()[_name] = getattr(_array, _name)

# array_api_compat gives these the standard's names and keywords.
abs, exp, floor, isfinite, log, sqrt, tanh = map(
    _array.elementwise, (np.abs, np.exp, np.floor, np.isfinite, np.log, np.sqrt, np.tanh)
)
all, any, max, min, sum = _array._all, _array._any, _array._max, _array._min, _array._sum
isdtype = np.isdtype
for _name in ("bool_", "int64", "int32", "uint8", "float32", "float64", "complex64", "complex128",
              "int8", "int16", "uint16", "uint32", "uint64", "integer", "issubdtype"):  # fmt: skip
    globals()[_name] = getattr(np, _name)


def _absent(name: str) -> Any:
    def call(*_: object, **__: object) -> Any:
        raise NotImplementedError(f"the stand-in for CuPy has no {name}: add it if CuPy has it")

    return call


def _other(name: str) -> Any:
    """Other names exist, so that array_api_compat can be imported; none can be called."""
    if name.startswith("__"):
        raise AttributeError(name)
    return _absent(name)


__getattr__ = _other


def _module(name: str, **names: Any) -> types.ModuleType:
    module = types.ModuleType(f"cupy.{name}")
    module.__dict__.update(names)
    sys.modules[f"cupy.{name}"] = module
    return module


cuda = _module(
    "cuda",
    Device=_device.Device,
    runtime=types.SimpleNamespace(
        CUDARuntimeError=_device.CUDARuntimeError,
        getDeviceCount=_device.device_count,
        getDeviceProperties=_kernels.properties,
    ),
    memory=types.SimpleNamespace(OutOfMemoryError=_device.OutOfMemoryError),
    Event=_device.Event,
    get_elapsed_time=lambda started, ended: 1e3 * (ended.time - started.time),
    get_current_stream=lambda: types.SimpleNamespace(synchronize=lambda: None),
)
cuda.__path__ = []
cuda.device = _module("cuda.device", Device=_device.Device)
linalg = _module("linalg", lstsq=_absent("linalg.lstsq"))
fft = _module("fft")
fft.__getattr__ = linalg.__getattr__ = _other


def get_default_memory_pool() -> Any:
    return types.SimpleNamespace(free_bytes=lambda: 0)
