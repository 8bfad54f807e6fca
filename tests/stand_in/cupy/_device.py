"""The machine under the stand-in: devices with memory of their own, and a count of what crosses.

``STAND_IN_CUPY`` in the environment says what is wrong with it, in words with commas between:
``float32-products``, ``max-drops-nan``, ``no-blas``, ``no-nvrtc``, ``no-headers``, ``old-driver``,
``old-gpu``, ``blas-without-memory``, and ``memory=BYTES`` for the size of a device.
"""

from __future__ import annotations

import os
import time
from collections import Counter

DEVICES = 2
wrong = dict(entry.partition("=")[::2] for entry in os.environ.get("STAND_IN_CUPY", "").split(","))
emulation = os.environ.get("CUBLAS_EMULATE_DOUBLE_PRECISION")  # as cuBLAS will see it
MEMORY = int(wrong.get("memory", 1 << 34))

# "to host", "to device" (copies), "allocations", "compiled" (modules), "launches" (of our kernels)
counted: Counter[str] = Counter()
used = [0] * DEVICES  # bytes
pinned = [0]  # bytes of host memory that the pool of pinned memory keeps
failing = [0]  # the how-manieth allocation from now on fails; 0 for none
_current = [0]


class CUDARuntimeError(RuntimeError): ...


class CUDADriverError(RuntimeError): ...


class CUBLASError(RuntimeError): ...


class OutOfMemoryError(MemoryError): ...


def current() -> int:
    return _current[-1]


def allocate(size: int) -> None:
    """Take ``size`` bytes of the current device's memory."""
    counted["allocations"] += 1
    failing[0] -= 1
    if failing[0] == 0 or used[current()] + size > MEMORY:
        raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes")
    used[current()] += size


def free(size: int, device: int) -> None:
    used[device] -= size


class Device:
    """Entering it makes it current, as often as one likes."""

    __hash__ = None

    def __init__(self, device: Device | int | None = None) -> None:
        self.id = current() if device is None else int(device)
        if not 0 <= self.id < DEVICES:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        _current.append(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        _current.pop()

    def synchronize(self) -> None: ...

    @property
    def mem_info(self) -> tuple[int, int]:
        return MEMORY - used[self.id], MEMORY


class Event:
    """The time of the clock, since nothing here is done later than it is asked for."""

    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None: ...


def device_count() -> int:
    if "old-driver" in wrong:
        raise CUDARuntimeError(
            "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime "
            "version"
        )
    return DEVICES
