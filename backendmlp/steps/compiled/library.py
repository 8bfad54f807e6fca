"""The compiled library: what it was compiled to, and the structure that its functions take."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import lru_cache
from pathlib import Path

_POINTERS = ("images", "labels", "order")
_COUNTS = ("count", "batch", "kind", "features", "hidden", "classes", "threads", "groups")
_MEMORY = ("W1", "b1", "W2", "b2", "totals", "picked", "probabilities", "gemm", "workspace")
_REALS = ("rate", "levels")
_BITS = ("input_bits",)
_BITWISE = (
    "grid",
    "exact",
    "limit",
    "exp_inverse",
    "exp_high",
    "exp_low",
    "exp_lowest",
    "exp_offset",
)
_OUTER = ("exp_table", "unit", "seconds")

OWN, PIXELS, FEATURES = range(3)  # of job.h: kinds of images

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

PHASES = (  # of job.h
    "images fetched, as real numbers",
    "X W1",
    "bias and ReLU",
    "waiting for other threads",
    "H W2",
    "softmax",
    "D2 W2^T, mask, b1",
    "H^T D2, off W2 and b2",
    "X^T D1 (native: off W1)",
    "off W1",
)


class Job(ctypes.Structure):
    """``struct job`` of job.h."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _COUNTS),
        *((name, ctypes.c_void_p) for name in _MEMORY),
        *((name, ctypes.c_double) for name in _REALS),
        *((name, ctypes.c_int64) for name in _BITS),
        *((name, ctypes.c_double) for name in _BITWISE),
        *((name, ctypes.c_void_p) for name in _OUTER),
        ("done", ctypes.c_int64),
    )


def wanted() -> bool:
    return os.environ.get("BACKENDMLP_COMPILED") != "0"


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
