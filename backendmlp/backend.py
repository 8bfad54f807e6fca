"""Where arrays are born and where they leave: NumPy, CuPy, PyTorch, JAX, array-api-strict.

The one file that knows a library by name.  A library is imported when it is selected, never
before.  Everything between the two doors, :meth:`Backend.asarray` and :func:`to_numpy`, infers
its namespace from its arguments with :func:`namespace`.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Protocol

import array_api_compat
import array_api_compat.numpy
import numpy as np

from backendmlp.errors import InputError
from backendmlp.extras import install

Array = Any  # an array of whichever library; the standard has no type for it yet

device_of = array_api_compat.device

PIECE = 1 << 25  # bytes of host memory that a transfer to a device takes at a time
_TORCH_GRAIN = 1 << 15  # numbers that are worth a thread to PyTorch
_EMULATION = "CUBLAS_EMULATE_DOUBLE_PRECISION"


def namespace(*arrays: Array) -> Any:
    """The Array API namespace of ``arrays``; NumPy's own at once, which is asked for most."""
    if len(arrays) == 1 and type(arrays[0]) is np.ndarray:
        return array_api_compat.numpy
    return array_api_compat.array_namespace(*arrays)


class Kernels(Protocol):
    """What a GPU does with a source of CUDA C++."""

    @property
    def blocks(self) -> int:
        """Of a launch: all of them are on the device at a time."""

    @property
    def memory(self) -> int:
        """Bytes that a block can share."""

    def compile(self, source: str, options: tuple[str, ...]) -> Any:
        """What ``source`` is compiled to, with ``options`` beside our own; kept for next time."""

    def launch(
        self, module: Any, name: str, arguments: tuple[Any, ...], threads: int, memory: int
    ) -> None:
        """Start a kernel of a module, with so many threads in a block and bytes that it shares."""

    def address(self, x: Array) -> int:
        """Where an array of the device begins."""

    def ordered(self, x: Array) -> Array:
        """``x`` with its numbers one behind the other in C's order: a copy where they are not."""

    def send(self, x: np.ndarray) -> Array:
        """A copy of ``x`` on the device, without waiting for what the device does."""

    def wait(self) -> None:
        """Until the device has done what it was given."""


@dataclass(frozen=True)
class Backend:
    """An array library and one of its devices.

    ``xp`` is the library's Array API namespace, ``device`` what that namespace takes for
    ``device=``.  ``in_memory`` says that its arrays lie in the host's memory as NumPy's do, which
    the steps of :mod:`backendmlp.steps.compiled` build upon.
    ``packages`` are the distributions whose versions matter to a run; work on the device happens
    within ``scope()``, without which CuPy makes arrays on another device; ``ran_out`` tells whether
    an exception means that memory ran out.  A device with memory of its own has ``put``, which
    fills an array there with a host array of its shape and dtype.  ``altered`` names a setting that
    makes the library compute float64 otherwise than IEEE 754 says, ``remedy`` what may help then.
    ``divided`` tells how many numbers the library divides among all threads of its own, if it does.
    ``kernels``, where there are some, compile and launch those of :mod:`backendmlp.steps.kernels`.
    """

    name: str
    xp: Any
    device: Any
    label: str  # the device in words
    in_memory: bool = False
    packages: tuple[str, ...] = ()
    scope: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext, repr=False)
    synchronize: Callable[[], None] = field(default=lambda: None, repr=False)
    free_memory: Callable[[], int | None] = field(default=lambda: free_host_memory(), repr=False)
    ran_out: Callable[[Exception], bool] = field(
        default=lambda error: isinstance(error, MemoryError), repr=False
    )
    put: Callable[[Array, np.ndarray], None] | None = field(default=None, repr=False)
    altered: str | None = None
    divided: Callable[[], int] | None = field(default=None, repr=False)
    kernels: Kernels | None = field(default=None, repr=False)
    remedy: str = "unset CUBLAS_EMULATE_DOUBLE_PRECISION and CUPY_ACCELERATORS if they are set"

    def asarray(self, x: Array, dtype: str | None = None) -> Array:
        """The door in: ``x`` on this backend's device, copied only where it must be."""
        if self.in_memory and isinstance(x, np.ndarray):
            return np.asarray(x, dtype)
        wanted = None if dtype is None else getattr(self.xp, dtype)
        x = detached(x) if self.owns(x) else to_numpy(x)
        if isinstance(x, np.ndarray) and self.put is not None and x.ndim:
            return self._in_pieces(x, np.dtype(dtype or x.dtype.name))
        if isinstance(x, np.ndarray) and self.name != "numpy":
            # Foreign libraries want writable memory in native order; a read-only map is neither.
            x = np.array(x, dtype=dtype or x.dtype.newbyteorder("="))
        return self.xp.asarray(x, dtype=wanted, device=self.device)

    def _in_pieces(self, x: np.ndarray, dtype: np.dtype) -> Array:
        """``x`` on the device, without a second copy of the whole in the host's memory."""
        assert self.put is not None
        result = self.xp.empty(x.shape, dtype=getattr(self.xp, dtype.name), device=self.device)
        rows = max(1, PIECE // max(1, math.prod(x.shape[1:]) * dtype.itemsize))
        for start in range(0, x.shape[0], rows):
            stop = min(start + rows, x.shape[0])
            # A copy: foreign libraries want writable memory in native order.
            self.put(result[start:stop, ...], np.array(x[start:stop], dtype, order="C"))
        return result

    def owns(self, x: Array) -> bool:
        """Whether ``x`` is an array of this backend's library."""
        return array_api_compat.is_array_api_obj(x) and _library(x) == self.name


def select(name: str, device: str | None = None) -> Backend:
    """The backend called ``name``, on ``device`` (``"cpu"``, ``"cuda"``, ``"cuda:1"``...).

    Raises :class:`InputError` that says what is missing, the package or a GPU, and what to install.
    """
    if not isinstance(name, str):
        raise InputError(f"backend is {name!r:.80}; give its name, as 'numpy' or 'torch'")
    if not isinstance(device, str | None):
        raise InputError(f"device is {device!r:.80}; give its name, as 'cpu' or 'cuda:0'")
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


def detached(x: Array) -> Array:
    """``x`` without a record of how it came about, which would grow with each step.

    Or of a sign that PyTorch has yet to change, which not all of its functions know of.
    """
    return x.detach().resolve_neg() if array_api_compat.is_torch_array(x) else x


def to_numpy(x: Array) -> np.ndarray:
    """The door out: ``x`` as a NumPy array in host memory, whatever its library.

    Numbers of a kind that NumPy does not have, as bfloat16, are float64.
    """
    if isinstance(x, (np.ndarray, np.generic)):
        return np.asarray(x)
    if array_api_compat.is_cupy_array(x):
        return x.get()
    if array_api_compat.is_torch_array(x):
        return _torch_to_numpy(x.detach().cpu().resolve_neg())
    if array_api_compat.is_jax_array(x):
        found = np.asarray(x)
        return found.astype(np.float64) if found.dtype.kind == "V" else found
    if array_api_compat.is_array_api_obj(x):
        return np.asarray(array_api_compat.to_device(x, _host(x)))
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return _by_dlpack(x)
    return np.asarray(x)


def _torch_to_numpy(x: Any) -> np.ndarray:
    try:
        return x.numpy()
    except TypeError:
        if not x.dtype.is_floating_point:
            raise
        return x.double().numpy()


def fetch(arrays: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """:func:`to_numpy` for many arrays of one device: they leave it together, once a dtype."""
    fetched = {}
    alike = defaultdict(list)
    for name, x in arrays.items():
        if isinstance(x, (np.ndarray, np.generic)):
            fetched[name] = np.asarray(x)
        else:
            alike[x.dtype].append(name)
    for names in alike.values():
        xp = namespace(arrays[names[0]])
        joined = to_numpy(xp.concat([xp.reshape(arrays[name], (-1,)) for name in names]))
        start = 0
        for name in names:
            shape = tuple(arrays[name].shape)
            size = math.prod(shape)
            fetched[name] = joined[start : start + size].reshape(shape)
            start += size
    return {name: fetched[name] for name in arrays}


def _by_dlpack(x: Any) -> np.ndarray:
    """An array of any other library that speaks DLPack, without a copy where it lies in memory."""
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError) as error:
        raise InputError(
            f"an array of type {type(x).__name__} cannot be had by DLPack ({_first(error)}); move "
            "it to the host's memory first"
        ) from error


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


@lru_cache  # a prediction of one image asks for it
def _open_numpy(device: str | None) -> Backend:
    if device not in (None, "cpu"):
        raise InputError(f"device {device!r} does not exist for backend 'numpy'; it has only 'cpu'")
    xp = importlib.import_module("array_api_compat.numpy")
    return Backend("numpy", xp, "cpu", "cpu", in_memory=True, scope=_without_warnings)


def _open_cupy(device: str | None) -> Backend:
    # Before cuBLAS is loaded: it may compute float64 in pieces of integers.
    os.environ.setdefault(_EMULATION, "0")
    cupy = _import("cupy", _either_cuda)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise InputError(
            f"backend 'cupy' needs a CUDA GPU, and none can be used here ({error}); "
            "install or update the NVIDIA driver, or use backend='numpy'"
        ) from error
    ordinal = _ordinal("cupy", device or "cuda", count)
    gpu = cupy.cuda.Device(ordinal)
    model = cupy.cuda.runtime.getDeviceProperties(ordinal)["name"].decode()
    backend = Backend(
        "cupy",
        importlib.import_module("array_api_compat.cupy"),
        gpu,
        f"cuda:{ordinal} ({model})",
        packages=("cupy-cuda12x", "cupy-cuda13x", "cupy"),
        scope=lambda: cupy.cuda.Device(ordinal),
        synchronize=gpu.synchronize,
        free_memory=lambda: gpu.mem_info[0] + cupy.get_default_memory_pool().free_bytes(),
        ran_out=_cuda_ran_out,
        put=lambda array, values: _put_by_cupy(cupy, array, values),
        altered=_altered(),
        kernels=_CupyKernels(cupy, ordinal),
    )
    _try_once(cupy, backend)
    return backend


def _put_by_cupy(cupy: Any, array: Array, values: np.ndarray) -> None:
    """``ndarray.set``, which takes none of the pinned memory that CuPy keeps for itself."""
    array.set(values)
    cupy.cuda.get_current_stream().synchronize()  # before the caller lets go of ``values``


class _CupyKernels:
    """:class:`Kernels` by NVRTC, whose results CuPy keeps in the user's cache."""

    # No product is joined with a sum but where the source says so; nothing of it is the host's.
    _OPTIONS = ("--std=c++17", "--fmad=false", "-default-device")

    def __init__(self, cupy: Any, ordinal: int) -> None:
        self._cupy = cupy
        properties = cupy.cuda.runtime.getDeviceProperties(ordinal)
        self.blocks = int(properties["multiProcessorCount"])
        self.memory = int(properties["sharedMemPerBlockOptin"])
        self._modules: dict[tuple[str, tuple[str, ...]], Any] = {}

    def compile(self, source: str, options: tuple[str, ...]) -> Any:
        key = source, options
        if key not in self._modules:
            self._modules[key] = _CupyModule(
                self._cupy.RawModule(
                    code=source, options=self._OPTIONS + options, enable_cooperative_groups=True
                )
            )
        return self._modules[key]

    def launch(
        self, module: Any, name: str, arguments: tuple[Any, ...], threads: int, memory: int
    ) -> None:
        module.function(name, memory)((self.blocks,), (threads,), arguments, shared_mem=memory)

    def address(self, x: Array) -> int:
        return x.data.ptr

    def ordered(self, x: Array) -> Array:
        return self._cupy.ascontiguousarray(x)

    def send(self, x: np.ndarray) -> Array:
        return self._cupy.asarray(x)

    def wait(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()


class _CupyModule:
    """The kernels of one source; asking CuPy for one takes longer than to launch it."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._functions: dict[tuple[str, int], Any] = {}

    def function(self, name: str, memory: int) -> Any:
        """The kernel ``name``, allowed to share ``memory`` bytes in a block."""
        if (name, memory) not in self._functions:
            try:
                found = self._module.get_function(name)
                found.max_dynamic_shared_size_bytes = memory  # beyond 48 KiB it must be asked for
            except Exception as error:
                if _cuda_ran_out(error):
                    raise
                raise InputError(
                    f"the kernels cannot be compiled for this GPU ({_first(error)}); set "
                    "BACKENDMLP_KERNELS=0 in the environment to train without them, more slowly"
                ) from error
            self._functions[name, memory] = found
        return self._functions[name, memory]


_TRIED: set[str] = set()


def _try_once(cupy: Any, backend: Backend) -> None:
    """Run one kernel and one product on a device: what is missing shows here, in a sentence.

    CuPy loads CUDA's libraries, and compiles its kernels, when they are first needed.
    """
    if backend.label in _TRIED:
        return
    try:
        with backend.scope():
            ones = cupy.ones((2, 2))
            cupy.matmul(ones + ones, ones).get()
    except Exception as error:
        if backend.ran_out(error):
            raise InputError(
                f"device {backend.label} has too little memory to begin with ({_first(error)}); "
                "end other programs that use it, or use backend='numpy'"
            ) from error
        if _first(error).startswith(("cudaError", "CUDA_ERROR")):
            raise InputError(
                f"backend 'cupy' finds {backend.label} but cannot compute on it "
                f"({_first(error)}); update the NVIDIA driver, or install the CuPy that fits it "
                f"and the GPU: {_either_cuda()}, not both"
            ) from error
        raise InputError(
            f"backend 'cupy' finds {backend.label} but not all that it computes with "
            f"({_first(error)}); install CUDA's libraries with: {_either_cuda()}, "
            "as CuPy's own version is"
        ) from error
    _TRIED.add(backend.label)


def _either_cuda() -> str:
    return f"{install('cuda12')}, or {install('cuda13')}"


def _first(error: Exception) -> str:
    """What ``error`` says in its first line that says anything, or else its name."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line[:200] for line in lines if line), type(error).__name__)


def _altered() -> str | None:
    setting = os.environ.get(_EMULATION, "0")
    return None if setting == "0" else f"{_EMULATION}={setting}"


def _open_torch(device: str | None) -> Backend:
    os.environ.setdefault(_EMULATION, "0")  # as for CuPy
    torch = _import("torch", lambda: install("torch"))
    xp = importlib.import_module("array_api_compat.torch")
    if device in (None, "cpu"):
        return Backend(
            "torch",
            xp,
            torch.device("cpu"),
            "cpu",
            packages=("torch",),
            ran_out=_torch_ran_out,
            divided=lambda: torch.get_num_threads() * _TORCH_GRAIN,
        )
    if device.partition(":")[0] != "cuda":
        raise InputError(
            f"device {device!r} is not for backend 'torch', which computes here on 'cpu' and on "
            "CUDA GPUs ('cuda', 'cuda:1'); leave device= out, or choose one of these"
        )
    if not torch.cuda.is_available():
        raise InputError(
            f"device {device!r} needs a CUDA GPU and a CUDA build of PyTorch, and torch finds "
            "none; install them, or leave device= out"
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
        ran_out=lambda error: _torch_ran_out(error) or _cuda_ran_out(error),
        put=lambda array, values: array.copy_(torch.from_numpy(values)),
        altered=_altered(),
    )


def _open_jax(device: str | None) -> Backend:
    _keep_maxima_of_jax()
    jax = _import("jax", lambda: install("jax"))
    if device not in (None, "cpu"):
        raise InputError(
            f"device {device!r} is not for backend 'jax', whose other devices nobody has tried "
            "here; leave device= out, or use backend='cupy'"
        )
    return Backend(
        "jax",
        jax.numpy,
        jax.devices("cpu")[0],
        "cpu",
        packages=("jax", "jaxlib"),
        scope=lambda: _as_needed_by_us(jax),
        remedy=f"start Python with XLA_FLAGS={_MAXIMA}",
    )


@contextmanager
def _as_needed_by_us(jax: Any) -> Iterator[None]:
    """Whatever somebody has switched on for a program of their own, and we would stumble over."""
    with ExitStack() as stack:
        stack.enter_context(jax.enable_x64(True))  # else it turns float64 into float32
        stack.enter_context(jax.debug_nans(False))  # where there is one, a selection passes it over
        stack.enter_context(jax.debug_infs(False))
        stack.enter_context(jax.numpy_rank_promotion("allow"))
        stack.enter_context(jax.transfer_guard("allow"))
        yield


# XLA takes maxima of large arrays by a library that passes over NaN: seen of jaxlib 0.10 and 0.11.
_MAXIMA = "--xla_cpu_experimental_ynn_fusion_type="


def _keep_maxima_of_jax() -> None:
    """Have XLA take maxima itself; it reads its flags when it is first used."""
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA ends the process over a flag that it does not know.
    if _MAXIMA not in flags and _known_to_jaxlib(_MAXIMA.strip("-=")):
        os.environ["XLA_FLAGS"] = f"{flags} {_MAXIMA}".strip()


@lru_cache(maxsize=1)
def _known_to_jaxlib(flag: str) -> bool:
    """Whether the name stands in jaxlib's libraries: versions come and go, and none lists flags."""
    spec = importlib.util.find_spec("jaxlib")
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = (file for folder in folders for file in Path(folder).iterdir())
    return any(_holds(file, flag.encode()) for file in files if file.suffix in _LIBRARIES)


_LIBRARIES = (".so", ".dylib", ".dll", ".pyd")


def _holds(file: Path, text: bytes) -> bool:
    if not file.stat().st_size:  # which no map can be made of
        return False
    with file.open("rb") as opened, mmap(opened.fileno(), 0, access=ACCESS_READ) as content:
        return content.find(text) >= 0


def _open_strict(device: str | None) -> Backend:
    xp = _import("array_api_strict", lambda: "pip install array-api-strict")
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


# cuBLAS makes its handle, and CUDA loads a kernel, in memory of the device too.
_CUDA_RAN_OUT = (
    "cudaErrorMemoryAllocation",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)


def _cuda_ran_out(error: Exception) -> bool:
    """Whether CuPy or PyTorch means by ``error`` that the memory of a GPU is full."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in _CUDA_RAN_OUT)
    )


def _without_warnings() -> AbstractContextManager[Any]:
    """NumPy's warnings of overflow and NaN off: a training that diverges is told in a sentence."""
    return np.errstate(all="ignore")


def free_host_memory() -> int | None:
    """Bytes of host memory that are available, None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _import(package: str, remedy: Callable[[], str]) -> Any:
    """Import ``package``, telling one that is absent from one that is broken."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"the package {package!r} is not installed; install it with: {remedy()}"
            ) from error
        raise InputError(
            f"the package {package!r} is installed but cannot be imported ({error}); "
            f"install it again with: {remedy()}"
        ) from error


def _ordinal(backend: str, device: str, count: int) -> int:
    """The GPU's number in ``"cuda"`` or ``"cuda:1"``, checked against how many there are."""
    kind, _, number = device.partition(":")
    if count == 0:
        raise InputError(
            f"backend {backend!r} needs a CUDA GPU, and this machine shows none; "
            "check the NVIDIA driver and CUDA_VISIBLE_DEVICES, or use backend='numpy'"
        )
    if kind != "cuda" or not (number or "0").isdecimal() or int(number or 0) >= count:
        have = ", ".join(f"'cuda:{i}'" for i in range(count))
        raise InputError(f"device {device!r} does not exist for backend {backend!r}; it has {have}")
    return int(number or 0)
