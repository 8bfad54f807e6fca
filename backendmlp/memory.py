"""How much memory a training takes, said before it runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.errors import InputError

_COPIES = 6  # of the parameters: current, last good, change, initial, a checkpoint's, a spare
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
    needed = estimate(config, shape, images, tests, data=not backend.buffered)
    free = backend.free_memory()
    if free is not None and needed > free:
        raise InputError(_sentence(backend, config, needed, free))


@contextmanager
def explained(backend: Backend, config: Config, shape: Shape, images: int) -> Iterator[None]:
    """Turn running out of memory into an :class:`InputError` with the sizes and what helps."""
    try:
        yield
    except backend.out_of_memory as error:
        needed = estimate(config, shape, images, images, data=not backend.buffered)
        raise InputError(_sentence(backend, config, needed, backend.free_memory())) from error


def _sentence(backend: Backend, config: Config, needed: int, free: int | None) -> str:
    have = "what there is" if free is None else f"the {free:,} free"
    other = "" if backend.name == "numpy" else ", or --backend numpy"
    return (
        f"device {backend.label} has too little memory: the run needs about {needed:,} bytes, more "
        f"than {have}; choose a smaller batch size (now {config.batch_size:,}), fewer hidden "
        f"units (now {config.hidden:,}){other}"
    )
