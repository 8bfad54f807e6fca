"""Many steps as one compiled function, on NumPy's arrays: the bits of the definition, soonest.

A replacement for :class:`backendmlp.step.Step`, where a C compiler was at hand when the package was
installed and NumPy multiplies with the OpenBLAS of its wheels.  Every thread owns some of the
hidden units, whose weights then never leave its core's cache, and meets the others twice a batch
(three times in bitwise numerics).  The products remain OpenBLAS's, called with one thread each; in
native numerics the order of operations differs from the definition's within rounding.
``BACKENDMLP_COMPILED=0`` in the environment leaves it out.
"""

from __future__ import annotations

from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.blas import openblas
from backendmlp.compiled import library
from backendmlp.compiled.scoring import CompiledScorer
from backendmlp.compiled.steps import CompiledBitwiseStep, CompiledStep
from backendmlp.model import Parameters
from backendmlp.step import Stepper

Array = Any


def stepper(
    arithmetic: Arithmetic, parameters: Parameters, rate: float, images: Array
) -> Stepper | None:
    """The compiled step for ``arithmetic`` and this kind of images; None where there is none."""
    kinds = ("uint8",) if arithmetic.name == "bitwise" else ("uint8", arithmetic.dtype)
    if not available() or str(images.dtype) not in kinds or not images.flags.c_contiguous:
        return None
    return _make(arithmetic, parameters, rate, images)


def scorer(arithmetic: Arithmetic, parameters: Parameters, images: Array) -> CompiledScorer | None:
    """What scores this kind of images, as often as asked; None where nothing compiled can."""
    if stepper(arithmetic, parameters, 0.0, images[:1]) is None:
        return None
    return CompiledScorer(_make(arithmetic, parameters, 0.0, images, 1))


def _make(arithmetic: Arithmetic, *others: Any) -> CompiledStep:
    make = CompiledBitwiseStep if arithmetic.name == "bitwise" else CompiledStep
    return make(arithmetic, *others)


def available() -> bool:
    """Whether compiled steps can run here."""
    return library.library() is not None and openblas() is not None


def describe() -> str:
    """In words: whether steps on NumPy are compiled, and what is missing where they are not."""
    if not library.wanted():
        return "not compiled: BACKENDMLP_COMPILED is 0"
    if library.library() is None:
        return "not compiled: install backendmlp again where a C compiler is at hand"
    if openblas() is None:
        return "not compiled: they need the OpenBLAS of NumPy's own wheels (pip install numpy)"
    return "compiled"
