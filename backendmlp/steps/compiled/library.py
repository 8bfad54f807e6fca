"""The compiled library: what it was compiled to, and the structure that its functions take."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.steps.asked import asked

_ROWS = ("inputs", "targets", "weights", "order")
_NETWORK = ("widths", "learned")
_COUNTS = ("count", "batch", "layers", "threads", "groups")
_KINDS = ("kind", "activation", "loss", "optimizer")
_MEMORY = ("part_0", "part_1", "outputs", "gemm", "workspace")
_STEPS = ("scale", "size", "epsilon", "decay")
_REALS = ("levels", "smoothing", "l2", "clip", "keep_1", "keep_2")
_TABLES = ("exp_table", "tanh_power", "tanh_half")
_CONSTANTS = ("exp_inverse", "exp_high", "exp_low", "exp_lowest", "tanh_highest")

# As job.h numbers them.
OWN, PIXELS, FEATURES, DOUBLES, SINGLES, UNREAD = range(6)
MOST_LAYERS = 65

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_PAGE = 4096

PHASES = (  # of job.h
    "inputs fetched, as real numbers",
    "X W1",
    "biases and activations",
    "waiting for other threads",
    "products of the layers above",
    "loss and its deltas",
    "deltas of the layers below",
    "gradients of the layers above",
    "X^T D1",
    "what the optimiser does",
)


def _fields(names: tuple[str, ...], kind: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((name, kind) for name in names)


# What processes that share a batch call for all of them to meet; nonzero where that failed.
MEETING = ctypes.CFUNCTYPE(ctypes.c_int)


class Job(ctypes.Structure):
    """``struct job`` of job.h."""

    _fields_ = (
        *_fields((*_ROWS, *_NETWORK), ctypes.c_void_p),
        *_fields((*_COUNTS, *_KINDS), ctypes.c_int64),
        *_fields((*_MEMORY, *_STEPS), ctypes.c_void_p),
        *_fields(_REALS, ctypes.c_double),
        ("seconds", ctypes.c_void_p),
        ("done", ctypes.c_int64),
        *_fields(_TABLES, ctypes.c_void_p),
        *_fields(_CONSTANTS, ctypes.c_double),
        ("exp_offset", ctypes.c_int64),
        *_fields(("unit", "inverse"), ctypes.c_void_p),
        ("input_bits", ctypes.c_int64),
        ("exact", ctypes.c_double),
        ("rounded", ctypes.c_int64),
        ("bounds", ctypes.c_void_p),
        ("whole", ctypes.c_int64),
        *_fields(("mass", "places", "sums"), ctypes.c_void_p),
        *_fields(("agree", "add"), MEETING),
        ("clipped", ctypes.c_int64),
        ("largest", ctypes.c_double),
    )


def wanted() -> bool:
    """Whether the environment leaves compiled code in."""
    meaning = "to 0 (nothing compiled), to 1 (as without it)"
    return asked("BACKENDMLP_COMPILED", ("0", "1"), meaning) == "1"


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """What ``step.c`` was compiled to; None where it was not, or not for this version."""
    if not wanted():
        return None
    try:
        loaded = ctypes.CDLL(str(Path(__file__).with_name(f"libstep{_SUFFIX}")))
    except OSError:  # not built, or for another machine
        return None
    return loaded if loaded.job_bytes() == ctypes.sizeof(Job) else None


def functions(numerics: str) -> tuple[Callable[[Any], int], Callable[[Any], int]]:
    """What does a job in ``numerics``, nonzero where it cannot; and the workspace it needs."""
    loaded = library()
    assert loaded is not None
    steps, workspace = (getattr(loaded, f"{name}_{numerics}") for name in ("steps", "workspace"))
    workspace.restype = ctypes.c_int64
    return steps, workspace


def scores(numerics: str) -> Callable[[Any, int, int], None]:
    """What does an array of so many jobs, a piece of so many rows at one time."""
    loaded = library()
    assert loaded is not None
    found = getattr(loaded, f"scores_{numerics}")
    found.restype = None
    found.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
    return found


def address(x: np.ndarray) -> int:
    return x.ctypes.data


def aligned(size: int) -> np.ndarray:
    """``size`` bytes that begin with a page: its memory is touched where it is used."""
    memory = np.empty(size + _PAGE, np.uint8)
    start = -address(memory) % _PAGE
    return memory[start : start + size]


class Workspace:
    """Memory for a job, as large as the largest that it was asked for."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def give(self, job: Job, numerics: str) -> None:
        """Let ``job``, but for its workspace complete, have as much as it needs."""
        needed = functions(numerics)[1](ctypes.byref(job))
        if len(self._memory) < needed:
            self._memory = aligned(needed)
        job.workspace = address(self._memory)
