"""CuPy's interface on NumPy, as strict as CuPy about what it takes.

It shows, where there is no GPU, that backendmlp asks of CuPy only what CuPy has, and nothing of a
GPU's bits or speed.  After CuPy 14: an array does not turn into a NumPy array by itself, nor mix
with one; a reduction is an array of no dimensions, never a scalar; a device is not hashable, and
its context manager is not reentrant.  What is not here does not exist for the code under test.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np

__version__ = "14.0.0-stand-in"


class Device:
    __hash__ = None

    def __init__(self, device: Device | int | None = None) -> None:
        self.id = 0 if device is None else int(device)
        self._entered = False

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        assert not self._entered, "a device was entered twice"
        self._entered = True
        return self

    def __exit__(self, *_: object) -> None:
        self._entered = False

    def synchronize(self) -> None: ...

    @property
    def mem_info(self) -> tuple[int, int]:
        return 1 << 34, 1 << 34


class ndarray:  # noqa: N801
    __array_priority__ = 100

    def __init__(self, array: np.ndarray) -> None:
        assert type(array) is np.ndarray
        self._array = array

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, *_: object, **__: object) -> Any:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")

    __hash__ = None

    def get(self) -> np.ndarray:
        return self._array.copy()

    def item(self) -> Any:
        return self._array.item()

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return ndarray(self._array.astype(dtype, copy=copy))

    @property
    def device(self) -> Device:
        return Device(0)

    @property
    def T(self) -> ndarray:  # noqa: N802
        return ndarray(self._array.T)

    def __repr__(self) -> str:
        return repr(self._array)


def _bare(x: Any) -> Any:
    if isinstance(x, ndarray):
        return x._array
    if isinstance(x, (tuple, list)):
        return type(x)(map(_bare, x))
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x


def _wrapped(x: Any) -> Any:
    return ndarray(np.asarray(x)) if isinstance(x, (np.ndarray, np.generic)) else x


def _function(function: Any) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs = {name: _bare(value) for name, value in kwargs.items()}
        return _wrapped(function(*map(_bare, args), **kwargs))

    return call


for _name in ("add", "sub", "mul", "truediv", "matmul", "lt", "le", "gt", "ge", "eq", "ne", "and",
              "or", "neg", "abs", "getitem", "radd", "rsub", "rmul", "rtruediv"):  # fmt: skip
    setattr(ndarray, f"__{_name}__", _function(getattr(np.ndarray, f"__{_name}__")))


def _of_the_bare(name: str) -> Any:
    method = getattr(np.ndarray, name)
    return lambda self: method(self._array)


for _name in ("bool", "int", "float", "index", "len"):
    setattr(ndarray, f"__{_name}__", _of_the_bare(f"__{_name}__"))
for _name in ("shape", "dtype", "ndim", "size", "nbytes"):
    setattr(ndarray, _name, property(lambda self, _name=_name: getattr(self._array, _name)))


def asarray(a: Any, dtype: Any = None) -> ndarray:
    return ndarray(np.array(a._array if isinstance(a, ndarray) else a, dtype=dtype))


# array_api_compat gives these the standard's names and keywords.
_TAKEN = (
    "abs", "all", "any", "arange", "concatenate", "empty", "exp", "isfinite", "log", "matmul",
    "max", "min", "ones", "searchsorted", "sqrt", "squeeze", "sum", "take", "where", "zeros",
)  # fmt: skip
for _name in _TAKEN:
    globals()[_name] = _function(getattr(np, _name))
reshape = _function(np.reshape)
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


class _RuntimeError(RuntimeError): ...


class _OutOfMemoryError(MemoryError): ...


cuda = _module(
    "cuda",
    Device=Device,
    runtime=types.SimpleNamespace(
        CUDARuntimeError=_RuntimeError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda ordinal: {"name": b"a stand-in for a GPU"},
    ),
    memory=types.SimpleNamespace(OutOfMemoryError=_OutOfMemoryError),
)
cuda.__path__ = []
cuda.device = _module("cuda.device", Device=Device)
linalg = _module("linalg", lstsq=_absent("linalg.lstsq"))
fft = _module("fft")
fft.__getattr__ = linalg.__getattr__ = _other


def get_default_memory_pool() -> Any:
    return types.SimpleNamespace(free_bytes=lambda: 0)
