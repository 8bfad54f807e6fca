"""Where arrays are born and where they leave: NumPy, CuPy, PyTorch, JAX, array-api-strict.

The one file that knows a library by name.  A library is imported when it is selected, never
before.  Everything between the two doors, :meth:`Backend.asarray` and :func:`to_numpy`, infers
its namespace from its arguments with :func:`namespace`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import array_api_compat
import numpy as np

from backendmlp.errors import InputError

Array = Any  # an array of whichever library; the standard has no type for it yet

namespace = array_api_compat.array_namespace
device_of = array_api_compat.device


@dataclass(frozen=True)
class Backend:
    """An array library and one of its devices.

    ``xp`` is the library's Array API namespace, ``device`` what that namespace takes for
    ``device=``.  ``in_memory`` says that its arrays lie in the host's memory as NumPy's do, which
    the steps of :mod:`backendmlp.compiled` and :mod:`backendmlp.buffered` build upon.
    ``packages`` are the distributions whose versions matter to a run; work on the device happens
    within ``scope()``; ``ran_out`` tells whether an exception means that memory ran out.
    """

    name: str
    xp: Any
    device: Any
    label: str  # the device in words
    in_memory: bool = False
    packages: tuple[str, ...] = ()
    scope: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext, repr=False)
    synchronize: Callable[[], None] = field(default=lambda: None, repr=False)
    free_memory: Callable[[], int | None] = field(default=lambda: _free_host_memory(), repr=False)
    ran_out: Callable[[Exception], bool] = field(
        default=lambda error: isinstance(error, MemoryError), repr=False
    )

    def asarray(self, x: Array, dtype: str | None = None) -> Array:
        """The door in: ``x`` on this backend's device, copied only where it must be."""
        wanted = None if dtype is None else getattr(self.xp, dtype)
        if not self.owns(x):
            x = to_numpy(x)
        if isinstance(x, np.ndarray) and self.name != "numpy":
            # Foreign libraries want writable memory in native order; a read-only map is neither.
            x = np.array(x, dtype=dtype)
        return self.xp.asarray(x, dtype=wanted, device=self.device)

    def owns(self, x: Array) -> bool:
        """Whether ``x`` is an array of this backend's library."""
        return array_api_compat.is_array_api_obj(x) and _library(x) == self.name


def select(name: str, device: str | None = None) -> Backend:
    """The backend called ``name``, on ``device`` (``"cpu"``, ``"cuda"``, ``"cuda:1"``...).

    Raises :class:`InputError` that says what is missing, the package or a GPU, and what to install.
    """
    if name not in _OPENERS:
        known = ", ".join(repr(known) for known in _OPENERS)
        raise InputError(f"backend {name!r} is unknown; choose one of {known}")
    return _OPENERS[name](device)


def names() -> tuple[str, ...]:
    """Every backend's name, installed or not."""
    return tuple(_OPENERS)


def of(x: Array) -> Backend:
    """The backend on whose device the array ``x`` already lies."""
    if isinstance(x, np.ndarray) or not array_api_compat.is_array_api_obj(x):
        return select("numpy")
    device, library = device_of(x), _library(x)
    if library == "jax":
        return select(library, device.platform)
    ordinal = getattr(device, "id", None)  # CuPy's devices print differently from PyTorch's
    return select(library, f"cuda:{ordinal}" if ordinal is not None else str(device))


def to_numpy(x: Array) -> np.ndarray:
    """The door out: ``x`` as a NumPy array in host memory, whatever its library."""
    if isinstance(x, np.ndarray):
        return np.asarray(x)
    if array_api_compat.is_cupy_array(x):
        return x.get()
    if array_api_compat.is_torch_array(x):
        return x.detach().cpu().numpy()
    if array_api_compat.is_jax_array(x):
        return np.asarray(x)
    if array_api_compat.is_array_api_obj(x):
        return np.asarray(array_api_compat.to_device(x, _host(x)))
    return np.asarray(x)


def _host(x: Array) -> Any:
    """The CPU device of an array-api-strict array (its other devices refuse NumPy)."""
    return importlib.import_module("array_api_strict").Device("CPU_DEVICE")


def _library(x: Array) -> str:
    if isinstance(x, np.ndarray):
        return "numpy"
    if array_api_compat.is_cupy_array(x):
        return "cupy"
    if array_api_compat.is_torch_array(x):
        return "torch"
    if array_api_compat.is_jax_array(x):
        return "jax"
    return type(x).__module__.partition(".")[0].replace("_", "-")


def _open_numpy(device: str | None) -> Backend:
    if device not in (None, "cpu"):
        raise InputError(f"device {device!r} does not exist for backend 'numpy'; it has only 'cpu'")
    xp = importlib.import_module("array_api_compat.numpy")
    return Backend("numpy", xp, "cpu", "cpu", in_memory=True, scope=_without_warnings)


def _open_cupy(device: str | None) -> Backend:
    cupy = _import(
        "cupy",
        "install it with: pip install 'backendmlp[cuda12]' (or 'backendmlp[cuda13]')",
    )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise InputError(
            f"backend 'cupy' needs a CUDA GPU, and none can be used here ({error}); "
            "install the NVIDIA driver, or use --backend numpy"
        ) from error
    ordinal = _ordinal("cupy", device or "cuda", count)
    gpu = cupy.cuda.Device(ordinal)
    model = cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
    return Backend(
        "cupy",
        importlib.import_module("array_api_compat.cupy"),
        gpu,
        f"cuda:{ordinal} ({model})",
        packages=("cupy-cuda12x", "cupy-cuda13x", "cupy"),
        # A Device object is a context manager that is not reentrant: a fresh one each time.
        scope=lambda: cupy.cuda.Device(ordinal),
        synchronize=gpu.synchronize,
        free_memory=lambda: gpu.mem_info[0] + cupy.get_default_memory_pool().free_bytes(),
        ran_out=lambda error: isinstance(error, (MemoryError, cupy.cuda.memory.OutOfMemoryError)),
    )


def _open_torch(device: str | None) -> Backend:
    torch = _import("torch", "install it with: pip install 'backendmlp[torch]'")
    xp = importlib.import_module("array_api_compat.torch")
    if device in (None, "cpu"):
        return Backend(
            "torch", xp, torch.device("cpu"), "cpu", packages=("torch",), ran_out=_torch_ran_out
        )
    if not torch.cuda.is_available():
        raise InputError(
            f"device {device!r} needs a CUDA GPU and a CUDA build of PyTorch, and torch finds "
            "none; install them, or leave --device out"
        )
    ordinal = _ordinal("torch", device, torch.cuda.device_count())
    gpu = torch.device("cuda", ordinal)
    return Backend(
        "torch",
        xp,
        gpu,
        f"cuda:{ordinal} ({torch.cuda.get_device_name(ordinal)})",
        packages=("torch",),
        scope=lambda: torch.cuda.device(gpu),
        synchronize=lambda: torch.cuda.synchronize(gpu),
        free_memory=lambda: torch.cuda.mem_get_info(gpu)[0],
        ran_out=lambda error: isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)),
    )


def _open_jax(device: str | None) -> Backend:
    jax = _import("jax", "install it with: pip install 'backendmlp[jax]'")
    if device not in (None, "cpu"):
        raise InputError(
            f"device {device!r} is not for backend 'jax', whose other devices nobody has tried "
            "here; leave --device out, or use --backend cupy"
        )
    return Backend(
        "jax",
        jax.numpy,
        jax.devices("cpu")[0],
        "cpu",
        packages=("jax", "jaxlib"),
        scope=lambda: jax.enable_x64(True),  # else it turns float64 into float32
    )


def _open_strict(device: str | None) -> Backend:
    xp = _import("array_api_strict", "install it with: pip install array-api-strict")
    label = device or "CPU_DEVICE"
    known = {"cpu": "CPU_DEVICE", "CPU_DEVICE": "CPU_DEVICE", "device1": "device1"}
    known["array_api_strict.Device('device1')"] = "device1"
    known["array_api_strict.Device('CPU_DEVICE')"] = "CPU_DEVICE"
    if label not in known:
        raise InputError(
            f"device {device!r} does not exist for backend 'array-api-strict'; "
            "it has 'cpu' and 'device1'"
        )
    device = xp.Device(known[label])
    return Backend("array-api-strict", xp, device, known[label], scope=_without_warnings)


_OPENERS: dict[str, Callable[[str | None], Backend]] = {
    "numpy": _open_numpy,
    "cupy": _open_cupy,
    "torch": _open_torch,
    "jax": _open_jax,
    "array-api-strict": _open_strict,
}


def _torch_ran_out(error: Exception) -> bool:
    """PyTorch has no exception of its own for the host's memory."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


def _without_warnings() -> AbstractContextManager[Any]:
    """NumPy's warnings of overflow and NaN off: a training that diverges is told in a sentence."""
    return np.errstate(all="ignore")


def _free_host_memory() -> int | None:
    """Bytes of host memory that are available, None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _import(package: str, remedy: str) -> Any:
    """Import ``package``, telling one that is absent from one that is broken."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"the package {package!r} is not installed; {remedy}") from error
        raise InputError(
            f"the package {package!r} is installed but cannot be imported ({error}); {remedy}"
        ) from error


def _ordinal(backend: str, device: str, count: int) -> int:
    """The GPU's number in ``"cuda"`` or ``"cuda:1"``, checked against how many there are."""
    kind, _, number = device.partition(":")
    if count == 0:
        raise InputError(
            f"backend {backend!r} needs a CUDA GPU, and this machine shows none; "
            "check the NVIDIA driver and CUDA_VISIBLE_DEVICES, or use --backend numpy"
        )
    if kind != "cuda" or not (number or "0").isdecimal() or int(number or 0) >= count:
        have = ", ".join(f"'cuda:{i}'" for i in range(count))
        raise InputError(f"device {device!r} does not exist for backend {backend!r}; it has {have}")
    return int(number or 0)
