"""How much memory a training takes, said before it runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.errors import InputError

_COPIES = 7  # of the parameters: current, last good, change, initial, a checkpoint's two, a spare
_ACTIVATIONS = 6  # of each layer in a step: values, deltas, rounded values, masks
_EVALUATED = 1000  # rows of a pass in an evaluation
Shape = tuple[int, int, int]


def parameter_count(features: int, hidden: int, classes: int) -> int:
    return (features + 1) * hidden + (hidden + 1) * classes


def estimate(config: Config, shape: Shape, images: int, tests: int, *, data: bool) -> int:
    """The bytes that a training takes on its device, roughly; ``data``: the images included."""
    features, hidden, classes = shape
    size = np.dtype(config.dtype).itemsize
    rows = max(min(config.batch_size, images), min(_EVALUATED, tests))
    step = rows * (2 * features + _ACTIVATIONS * (hidden + classes)) * size
    weights = _COPIES * parameter_count(*shape) * size
    labels_and_losses = (images + tests) * (8 + 8 + 3 * size)
    return step + weights + labels_and_losses + ((images + tests) * features if data else 0)


def check(backend: Backend, config: Config, shape: Shape, images: int, tests: int) -> None:
    """Raise :class:`InputError` where a training on ``backend`` is sure to run out of memory."""
    # On the host the images are where the reader left them, perhaps in a map of the file.
    needed = estimate(config, shape, images, tests, data=not backend.in_memory)
    free = _free(backend)
    if free is not None and needed > free:
        raise InputError(_sentence(backend, config, needed, free))


@contextmanager
def explained(
    backend: Backend, config: Config, shape: Shape | None = None, images: int = 0
) -> Iterator[None]:
    """Turn running out of memory into an :class:`InputError` with the sizes and what helps.

    Without a ``shape``, which is not known before the data are, it says nothing of the need.
    """
    try:
        yield
    except Exception as error:
        if not backend.ran_out(error):
            raise
        needed = None
        if shape is not None:
            needed = estimate(config, shape, images, images, data=not backend.in_memory)
        raise InputError(_sentence(backend, config, needed, _free(backend))) from error


@contextmanager
def explained_use(backend: Backend) -> Iterator[None]:
    """:func:`explained` for a network that is shown images and not trained."""
    try:
        yield
    except Exception as error:
        if not backend.ran_out(error):
            raise
        raise InputError(
            f"device {backend.label} has too little memory for so many images at once"
            f"{_there(_free(backend))}; give fewer at a time{_other(backend)}"
        ) from error


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
    if backend.label.startswith("cuda"):
        return free
    return min((size for size in (free, *_allowed()) if size is not None), default=None)


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
    return (
        f"device {backend.label} has too little memory{run}{_there(free)}; choose a smaller batch "
        f"size (now {config.batch_size:,}), fewer hidden units (now {config.hidden:,})"
        f"{_other(backend)}"
    )


def _there(free: int | None) -> str:
    return "" if free is None else f", and {readable(free)} are free"


def _other(backend: Backend) -> str:
    return "" if backend.name == "numpy" else ", or --backend numpy"
