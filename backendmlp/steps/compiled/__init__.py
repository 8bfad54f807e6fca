"""Many steps as one compiled function, on NumPy's arrays: the bits of the definition, soonest.

A replacement for :class:`backendmlp.steps.definition.Step`, where the library was compiled when the
package was installed, or came with it, and there is an OpenBLAS: NumPy's own or scipy-openblas64's.
Every thread owns some of the units of each hidden layer, whose weights then never leave its core's
cache, and meets the others twice a batch (three times in bitwise numerics); with more than one
hidden layer once more, and twice for each of the others. Of large batches the rows are divided
instead, or too where there are more cores than units to share out, for two or three more meetings:
then no row is made real numbers by every thread, and products are not as narrow. The products
remain OpenBLAS's, called with one thread each; in native numerics the order of operations differs
from the definition's within rounding, and from one division to another.
``BACKENDMLP_COMPILED=0`` in the environment leaves it out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.arithmetic.bitwise import product_bits, rounded
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Descent
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.blas import openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.held import possible
from backendmlp.steps.compiled.scoring import CompiledScorer
from backendmlp.steps.compiled.steps import CompiledBitwiseStep, CompiledStep
from backendmlp.steps.stepper import Rows, Stepper

Array = Any


def stepper(recipe: Recipe, learned: Learned, rows: Rows) -> Stepper | None:
    """The compiled step for ``recipe`` and this kind of rows; None where there is none."""
    return (
        _make(recipe, learned, rows) if possible(recipe, learned.parameters, rows.inputs) else None
    )


def _make(
    recipe: Recipe, learned: Learned, rows: Rows, division: tuple[int, int] | None = None
) -> CompiledStep:
    kind = CompiledBitwiseStep if recipe.arithmetic.name == "bitwise" else CompiledStep
    return kind(recipe, learned, rows, division)


def scorer(
    recipe: Recipe, parameters: Parameters, inputs: Array, unsettled: bool = False
) -> CompiledScorer | None:
    """What scores this kind of inputs, as often as asked; None where nothing compiled can.

    Features that are ``unsettled`` it settles.
    """
    if not possible(recipe, parameters, inputs, unsettled):
        return None
    shown = replace(recipe, optimizer=Descent(), l2=0.0, clip_norm=None)  # nothing is learned
    if recipe.arithmetic.name == "bitwise":
        parameters = _rounded(parameters)
    return CompiledScorer(shown, Learned.begin(shown, parameters), inputs, unsettled)


def _rounded(parameters: Parameters) -> Parameters:
    """The weights as bitwise products round them, of the first layer in the features' unit."""
    first, *rest = parameters.weights
    unit = parameters.unit
    kind = {"beside_pixels": unit is None, "beside_features": unit is not None}
    with np.errstate(over="ignore", invalid="ignore"):  # the definition, asked instead, tells
        first = first if unit is None else first * unit[:, None]
        first = rounded(first, 0, product_bits(len(first), **kind)[1])
        rest = [rounded(W, 0, product_bits(len(W))[1]) for W in rest]
    return replace(parameters, weights=(first, *rest))


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
