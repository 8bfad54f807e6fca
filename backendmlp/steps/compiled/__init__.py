"""Many steps as one compiled function, on NumPy's arrays: the bits of the definition, soonest.

A replacement for :class:`backendmlp.steps.definition.Step`, where the library was compiled when the
package was installed, or came with it, and there is an OpenBLAS: NumPy's own or scipy-openblas64's.
Every thread owns some of the hidden units, whose weights then never leave its core's cache, and
meets the others twice a batch (three times in bitwise numerics). Where there are more cores than
units to share out, the rows of large batches are divided too, for two or three more meetings. The
products remain OpenBLAS's, called with one thread each; in native numerics the order of operations
differs from the definition's within rounding, and from one division to another.
``BACKENDMLP_COMPILED=0`` in the environment leaves it out.
"""

from __future__ import annotations

from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.network.model import Parameters
from backendmlp.steps.blas import openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.scoring import CompiledScorer
from backendmlp.steps.compiled.steps import CompiledBitwiseStep, CompiledStep
from backendmlp.steps.definition import Stepper

Array = Any

_LARGEST_UNIT = 2.0**40


def stepper(
    arithmetic: Arithmetic, parameters: Parameters, rate: float, images: Array
) -> Stepper | None:
    """The compiled step for ``arithmetic`` and this kind of images; None where there is none."""
    if not available():
        return None
    return _make(arithmetic, parameters, rate, images)


def scorer(arithmetic: Arithmetic, parameters: Parameters, images: Array) -> CompiledScorer | None:
    """What scores this kind of images, as often as asked; None where nothing compiled can."""
    made = _make(arithmetic, parameters, 0.0, images, division=(1, 1)) if available() else None
    return None if made is None else CompiledScorer(made)


def _make(
    arithmetic: Arithmetic,
    parameters: Parameters,
    rate: float,
    images: Array,
    division: tuple[int, int] | None = None,
) -> CompiledStep | None:
    kind, unit = str(images.dtype.newbyteorder("=")), parameters.unit
    given = arithmetic, parameters, rate, images, division
    if arithmetic.name == "native":
        known = kind in ("uint8", arithmetic.dtype) and unit is None
        return CompiledStep(*given) if known else None
    known = kind == "uint8" if unit is None else kind == "int32" and _sane(unit)
    return CompiledBitwiseStep(*given) if known else None


def _sane(unit: Array) -> bool:
    """Whether products of features' units leave no range: others are left to the definition."""
    return bool(((unit >= 1.0 / _LARGEST_UNIT) & (unit <= _LARGEST_UNIT)).all())


def available() -> bool:
    """Whether compiled steps can run here."""
    return library.library() is not None and openblas() is not None


def describe() -> str:
    """In words: whether steps on NumPy are compiled, and what is missing where they are not."""
    if not library.wanted():
        return "not compiled: BACKENDMLP_COMPILED is 0"
    if library.library() is None:
        return "not compiled: install backendmlp again where a C compiler is at hand"
    blas = openblas()
    if blas is None:
        return "not compiled: they need an OpenBLAS (pip install scipy-openblas64)"
    return f"compiled, with {blas.name}"
