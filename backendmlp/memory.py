"""How much memory a training takes, said before it runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from backendmlp.backend import PIECE, Backend, free_host_memory
from backendmlp.config import Config
from backendmlp.errors import InputError

_COPIES = 7  # of the parameters: current, last good, change, initial, a checkpoint's two, a spare
_KEPT = 5  # of an optimiser's state: current, last good, next, a checkpoint's two
_BEST = 2  # of the best epoch's parameters, where they may be kept: now, and in a checkpoint
# Where a device has memory of its own, of parameters and of an optimiser's state in the host's:
# fetched, last good, a checkpoint's two and its file's two; the parameters also initial.
_FETCHED = 6
_ACTIVATIONS = 6  # of each layer in a step: values, deltas, rounded values, masks
_MANY_BYTES = 1 << 28  # of predictions
_EVALUATED = 1024  # rows of a pass in an evaluation
Sizes = tuple[int, ...]  # (features, units of each hidden layer ..., outputs)


def parameter_count(sizes: Sizes) -> int:
    return sum((rows + 1) * columns for rows, columns in pairwise(sizes))


def estimate(config: Config, sizes: Sizes, images: int, tests: int, value: int) -> int:
    """The bytes that a training takes on its device, roughly.

    ``value`` is what each value of an input takes there: nothing where it is not copied.
    """
    size, slots = np.dtype(config.dtype).itemsize, len(config.recipe().optimizer.slots)
    rows = min(config.batch_size, images) + min(_EVALUATED, tests)
    step = rows * (2 * sizes[0] + _ACTIVATIONS * sum(sizes[1:])) * size
    copies = _COPIES + _KEPT * slots + _BEST * (config.patience is not None)
    weights = copies * parameter_count(sizes) * size
    labels_and_losses = (images + tests) * (8 + 8 + 3 * size)
    if config.regression:
        labels_and_losses += (images + tests) * sizes[-1] * size
    held = int(config.validation_split * images) * sizes[0] * (value or 1)
    return step + weights + labels_and_losses + held + (images + tests) * sizes[0] * value


def host_estimate(config: Config, sizes: Sizes, images: int, tests: int) -> int:
    """The bytes of the host's memory that a training on a device takes besides its data, roughly.

    What is learned comes back after each epoch, and goes into checkpoints; the order of the rows is
    drawn here, and what is sent goes in pieces.
    """
    size, slots = np.dtype(config.dtype).itemsize, len(config.recipe().optimizer.slots)
    copies = 1 + _FETCHED * (1 + slots) + 3 * (config.patience is not None)
    weights = copies * parameter_count(sizes) * size
    rows = images * (3 * 8 + 2 * 3 * size)  # their order while it is drawn, losses in a checkpoint
    outputs = tests * (sizes[-1] * size + 8)
    return weights + rows + outputs + 2 * min(PIECE, images * sizes[0] * size)


def check(
    backend: Backend, config: Config, sizes: Sizes, images: int, tests: int, pixels: bool = True
) -> None:
    """Raise :class:`InputError` where a training on ``backend`` is sure to run out of memory."""
    needed = estimate(config, sizes, images, tests, _value(backend, config, pixels))
    free = _free(backend)
    if free is not None and needed > free:
        raise InputError(_sentence(backend, config, needed, free))
    if backend.put is None:
        return
    needed, free = host_estimate(config, sizes, images, tests), _free_on_host()
    if free is not None and needed > free:
        raise InputError(_host_sentence(backend, config, needed, free))


def _value(backend: Backend, config: Config, pixels: bool) -> int:
    """The bytes that a value of an input takes on the device."""
    if pixels:  # on the host they are where the reader left them, perhaps in a map of the file
        return 0 if backend.in_memory else 1
    return np.dtype(config.dtype).itemsize + (4 if config.numerics == "bitwise" else 0)


@contextmanager
def explained(
    backend: Backend,
    config: Config,
    sizes: Sizes | None = None,
    images: int = 0,
    pixels: bool = True,
) -> Iterator[None]:
    """Turn running out of memory into an :class:`InputError` with the sizes and what helps.

    Without ``sizes``, which are not known before the data are, it says nothing of the need.
    """
    try:
        yield
    except Exception as error:
        if not backend.ran_out(error):
            raise
        if _of_the_host(backend, error):
            raise InputError(_host_sentence(backend, config, None, _free_on_host())) from error
        needed = None
        if sizes is not None:
            value = _value(backend, config, pixels)
            needed = estimate(config, sizes, images, images, value)
        raise InputError(_sentence(backend, config, needed, _free(backend))) from error


def check_use(backend: Backend, rows: int, features: int, outputs: int) -> None:
    """Refuse to show a network so many ``rows`` that what comes of them is sure not to fit.

    Of each row it keeps ``outputs`` numbers, and ``features`` of them where they are settled first.
    Few are let pass without a look at what is free, which takes longer than to predict them.
    """
    needed = rows * (8 * outputs + 4 * features)
    if needed < _MANY_BYTES:
        return
    free = _free(backend)
    if free is not None and needed > free:
        raise InputError(_too_many(backend, free))


@contextmanager
def explained_use(backend: Backend) -> Iterator[None]:
    """:func:`explained` for a network that is shown images and not trained."""
    try:
        yield
    except Exception as error:
        if not backend.ran_out(error):
            raise
        raise InputError(_too_many(backend, _free(backend))) from error


def _too_many(backend: Backend, free: int | None) -> str:
    return (
        f"device {backend.label} has too little memory for so many images at once{_there(free)}; "
        f"give fewer at a time{_other(backend)}"
    )


def readable(size: int) -> str:
    """``size`` bytes in words, as in 1.5 GB."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            value = size / one
            return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{size} bytes"


def _free(backend: Backend) -> int | None:
    """The bytes that a training on ``backend`` may still take, None where nobody says."""
    free = backend.free_memory()
    return free if backend.put is not None else _least(free)


def _free_on_host() -> int | None:
    return _least(free_host_memory())


def _least(free: int | None) -> int | None:
    """The least of ``free`` and what this process is allowed."""
    return min((size for size in (free, *_allowed()) if size is not None), default=None)


def _of_the_host(backend: Backend, error: Exception) -> bool:
    """Whether it is the host's memory that ran out while a device was at work.

    Python says so itself, or NumPy; an error of the device's comes from its own library.
    """
    if backend.put is None or not isinstance(error, MemoryError):
        return False
    return type(error).__module__.partition(".")[0] in ("builtins", "numpy")


def _allowed() -> Iterator[int]:
    """What the limits of this process (``ulimit -v``, ``-d``) and its container leave it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(OSError, KeyError, ValueError):
        status = _fields("/proc/self/status")
        for limit, used in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
            size = resource.getrlimit(limit)[0]
            if size != resource.RLIM_INFINITY:
                yield max(0, size - status[used] * 1024)
    with suppress(OSError, KeyError, ValueError):  # ValueError: "max", which is no limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        yield max(0, limit - _fields("/sys/fs/cgroup/memory.stat")["anon"])


def _fields(path: str) -> dict[str, int]:
    """The lines of a name and a number in one of the kernel's tables."""
    lines = (line.split() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def _sentence(backend: Backend, config: Config, needed: int | None, free: int | None) -> str:
    run = " for the training"
    if needed is not None:
        run = f": the run needs about {readable(needed)}"
    hidden = ", ".join(f"{units:,}" for units in config.hidden)
    units = f", fewer hidden units (now {hidden})" if hidden else ""
    return (
        f"device {backend.label} has too little memory{run}{_there(free)}; choose a smaller batch "
        f"size (now {config.batch_size:,}){units}{_other(backend)}"
    )


def _host_sentence(backend: Backend, config: Config, needed: int | None, free: int | None) -> str:
    there = "" if needed is None else f": it needs about {readable(needed)} there"
    hidden = ", ".join(f"{units:,}" for units in config.hidden)
    units = f", or choose fewer hidden units (now {hidden})" if hidden else ""
    return (
        f"the host has too little memory for a training on device {backend.label}{there}"
        f"{_there(free)}; end other programs{units}"
    )


def _there(free: int | None) -> str:
    return "" if free is None else f", and {readable(free)} are free"


def _other(backend: Backend) -> str:
    return "" if backend.name == "numpy" else ", or backend='numpy'"
