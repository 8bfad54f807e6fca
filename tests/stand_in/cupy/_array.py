"""An array on a device of the stand-in, and the functions that take it.

After the sources of CuPy 14.2.  Every function asks that its arrays lie on the current device;
what leaves a device, or comes to it, is counted; and what is new takes of the device's memory.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _device
from ._device import counted, wrong

_SCALARS = (bool, int, float, complex, np.generic)


class ndarray:  # noqa: N801
    """NumPy's array in disguise; it neither turns into one by itself nor mixes with one."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, array: np.ndarray, owner: ndarray | None = None) -> None:
        assert type(array) is np.ndarray
        self._array, self._owner = array, owner
        self._device = _device.current() if owner is None else owner._device
        if owner is not None and owner._owner is not None:
            self._owner = owner._owner
        if owner is None:
            _device.allocate(array.nbytes)
            weakref.finalize(self, _device.free, array.nbytes, self._device).atexit = False

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, *_: object, **__: object) -> Any:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")

    def __repr__(self) -> str:
        return repr(self._array)

    @property
    def device(self) -> _device.Device:
        return _device.Device(self._device)

    @property
    def T(self) -> ndarray:  # noqa: N802
        return ndarray(self._array.T, self)

    def get(self) -> np.ndarray:
        """A copy in host memory, in C's order; the device is waited for."""
        counted["to host"] += 1
        return self._array.copy()

    def set(self, arr: np.ndarray) -> None:
        """Copy from host memory, past the pool of pinned memory."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._array.flags.c_contiguous or self._array.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        counted["to device"] += 1
        self._array[...] = arr

    def item(self) -> Any:
        return self.get().item()

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        _on_current(self)
        if not copy and self.dtype == dtype:
            return self
        return ndarray(self._array.astype(dtype))

    def __len__(self) -> int:
        return len(self._array)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __index__(self) -> int:
        return self.get().__index__()

    def __getitem__(self, key: Any) -> ndarray:
        _on_current(self)
        if isinstance(key, ndarray) and key.dtype == np.int64:  # as take: it wraps and never fails
            return _new(np.take(self._array, _bare(key), axis=0, mode="wrap"))
        if isinstance(key, ndarray) and key.dtype == bool:  # how many there are, the host must know
            counted["to host"] += 1
            return _new(self._array[_bare(key)])
        for part in key if isinstance(key, tuple) else (key,):
            if not (part is None or part is Ellipsis or isinstance(part, (int, slice))):
                raise NotImplementedError(f"the stand-in indexes by no {type(part)}")
        return ndarray(np.asarray(self._array[key]), self)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Filled on the device, by one of its arrays or by a number."""
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self[key]._array[...] = _bare(value)

    @property
    def data(self) -> Any:
        """Where its numbers begin in the device's memory."""
        return types.SimpleNamespace(ptr=self._array.ctypes.data, device_id=self._device)


for _name in ("shape", "dtype", "ndim", "size", "nbytes"):
    setattr(ndarray, _name, property(lambda self, _name=_name: getattr(self._array, _name)))


def _on_current(*arrays: Any) -> None:
    for array in arrays:
        if isinstance(array, ndarray) and array._device != _device.current():
            raise ValueError(
                f"The device where the array resides ({array._device}) is different from the "
                f"current device ({_device.current()}). Peer access is unavailable between these "
                "devices."
            )


def _bare(x: Any) -> Any:
    """What a kernel is given: arrays of the current device, or numbers."""
    if isinstance(x, ndarray):
        _on_current(x)
        return x._array
    if isinstance(x, _SCALARS):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def _array_alone(x: Any) -> np.ndarray:
    if not isinstance(x, ndarray):
        raise TypeError(f"Argument has incorrect type (expected cupy.ndarray, got {type(x)})")
    return _bare(x)


def _new(x: Any) -> ndarray:
    """A result is an array, of no dimensions rather than a number, and in C's order."""
    return ndarray(np.array(x, order="C"))


def elementwise(function: Any) -> Callable[..., ndarray]:
    """One compiled kernel for one operation on arrays and numbers."""

    def call(*args: Any) -> ndarray:
        if "no-nvrtc" in wrong:
            raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: cannot open it")
        if "no-headers" in wrong:
            raise RuntimeError("Failed to find CUDA headers. Please install CUDA toolkit")
        if "old-gpu" in wrong:
            raise CUDA_NO_IMAGE
        bare = [_bare(x) for x in args]
        with np.errstate(all="ignore"):
            return _new(function(*bare))

    return call


CUDA_NO_IMAGE = _device.CUDARuntimeError(
    "cudaErrorNoKernelImageForDevice: no kernel image is available for execution on the device"
)

_OPERATORS = (
    "add", "sub", "mul", "truediv", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "neg", "abs",
    "invert", "radd", "rsub", "rmul", "rtruediv",
)  # fmt: skip
for _name in _OPERATORS:
    setattr(ndarray, f"__{_name}__", elementwise(getattr(np.ndarray, f"__{_name}__")))


def matmul(a: Any, b: Any) -> ndarray:
    a, b = _array_alone(a), _array_alone(b)
    if "no-blas" in wrong:
        raise RuntimeError("CuPy failed to load libcublas.so.13: OSError: cannot open it")
    if "blas-without-memory" in wrong:
        raise _device.CUBLASError("CUBLAS_STATUS_ALLOC_FAILED")
    if "float32-products" in wrong and a.dtype == np.float64:
        return _new((a.astype(np.float32) @ b.astype(np.float32)).astype(np.float64))
    with np.errstate(all="ignore"):
        return _new(a @ b)


ndarray.__matmul__ = matmul


def asarray(a: Any, dtype: Any = None) -> ndarray:
    """From the host by way of pinned memory, of which the pool keeps the largest piece."""
    if isinstance(a, ndarray):
        if a._device != _device.current():
            return ndarray(a._array.astype(dtype or a.dtype))
        return a.astype(dtype or a.dtype, copy=False)
    host = np.array(a, dtype=dtype)
    if host.ndim:
        counted["to device"] += 1
        _device.pinned[0] = max(_device.pinned[0], host.nbytes)
    return ndarray(host)


def array(obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K") -> ndarray:
    if not isinstance(obj, ndarray):
        return asarray(obj, dtype)
    return obj.astype(dtype or obj.dtype, copy=bool(copy))


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """The array itself where its numbers lie in C's order already."""
    if not isinstance(a, ndarray):
        return asarray(a, dtype)
    if _bare(a).flags.c_contiguous and dtype in (None, a.dtype):
        return a
    return _new(_bare(a).astype(dtype or a.dtype))


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(np.empty(shape, dtype, order))


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(np.zeros(shape, dtype, order))


def zeros_like(a: Any, dtype: Any = None) -> ndarray:
    return _new(np.zeros_like(_array_alone(a), dtype))


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(np.ones(shape, dtype, order))


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    numbers = (start,) if stop is None else (start, stop, step)
    return ndarray(np.arange(*numbers, dtype=dtype))


def _reduction(function: Any) -> Callable[..., ndarray]:
    def call(a: Any, axis: Any = None, *, keepdims: bool = False) -> ndarray:
        with np.errstate(all="ignore"):
            return _new(function(_array_alone(a), axis=axis, keepdims=keepdims))

    return call


_all, _any, _min = map(_reduction, (np.all, np.any, np.min))
_max = _reduction(np.fmax.reduce if "max-drops-nan" in wrong else np.max)


def _sum(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> ndarray:
    return _new(np.sum(_array_alone(a), axis=axis, dtype=dtype, keepdims=keepdims))


ndarray.sum = _sum


def where(condition: Any, x: Any, y: Any) -> ndarray:
    return elementwise(np.where)(condition.astype("?", copy=False), x, y)


def take(a: Any, indices: Any, axis: int | None = None) -> ndarray:
    a, indices = _array_alone(a), _array_alone(indices)
    return _new(np.take(a, indices, axis=axis, mode="wrap"))


def searchsorted(a: Any, v: Any, side: str = "left", sorter: None = None) -> ndarray:
    if not isinstance(a, ndarray) or not isinstance(v, (ndarray, int, float)):
        raise NotImplementedError("Only python scalars or ndarrays are supported")
    if a.ndim != 1 or sorter is not None:
        raise ValueError("object too deep for desired array")
    return _new(np.searchsorted(_bare(a), _bare(v), side))


def concatenate(tup: Any, axis: int | None = 0) -> ndarray:
    return _new(np.concatenate([_array_alone(x) for x in tup], axis))


def reshape(a: Any, newshape: Any) -> ndarray:
    shaped = _array_alone(a).reshape(newshape)
    if np.shares_memory(shaped, a._array):
        return ndarray(shaped, a)
    return ndarray(shaped)


def squeeze(a: Any, axis: Any = None) -> ndarray:
    return ndarray(np.squeeze(_array_alone(a), axis), a)
