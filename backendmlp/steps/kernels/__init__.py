"""The step as kernels for a GPU: the bits of the definition, without its many launches.

A replacement for :class:`backendmlp.steps.definition.Step` on a backend that compiles and launches
kernels.  All steps of a call are one launch, within which the blocks meet between the phases of a
step; what is learned, the rows and their order never leave the device.  They are compiled when they
are first needed, for the sizes at hand, and kept in the user's cache by CuPy.
``BACKENDMLP_KERNELS`` in the environment: ``0`` leaves them out, ``apart`` launches each phase
alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.backend import Backend
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Descent
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps import known
from backendmlp.steps.asked import asked
from backendmlp.steps.kernels import job
from backendmlp.steps.kernels.scoring import KernelScorer
from backendmlp.steps.kernels.step import KernelStep
from backendmlp.steps.stepper import Rows, Stepper

Array = Any


def stepper(backend: Backend, recipe: Recipe, learned: Learned, rows: Rows) -> Stepper | None:
    """The step by kernels for ``recipe`` and this kind of rows; None where there is none."""
    if backend.kernels is None or (asked := _asked()) == "0":
        return None
    if not possible(recipe, learned.parameters, rows.inputs):
        return None
    return KernelStep(backend.kernels, recipe, learned, rows, apart=asked == "apart")


def scorer(
    backend: Backend, recipe: Recipe, parameters: Parameters, inputs: Array
) -> KernelScorer | None:
    """What scores this kind of inputs, as often as asked; None where there are no kernels."""
    if backend.kernels is None or (asked := _asked()) == "0":
        return None
    if not possible(recipe, parameters, inputs):
        return None
    shown = replace(recipe, optimizer=Descent(), l2=0.0, clip_norm=None)  # nothing is learned
    learned = Learned.begin(shown, parameters)
    return KernelScorer(backend.kernels, shown, learned, inputs, apart=asked == "apart")


def describe() -> str:
    """In words: whether steps on CuPy are kernels."""
    if _asked() == "0":
        return "as defined: BACKENDMLP_KERNELS is 0"
    return f"kernels, where there is a GPU; networks of up to {job.MOST_LAYERS} layers"


def _asked() -> str:
    return asked(
        "BACKENDMLP_KERNELS",
        ("0", "1", "apart"),
        "to 0 (no kernels), to 1 (as without it) or to apart (a launch for each phase of a step)",
    )


def possible(recipe: Recipe, parameters: Parameters, inputs: Array) -> bool:
    """Whether the kernels know such a network and such inputs."""
    bitwise = recipe.arithmetic.name == "bitwise"
    if parameters.unit is not None:
        kinds = {"int32"} if bitwise else set()
    else:
        kinds = {"uint8"} if bitwise else {"uint8", recipe.arithmetic.dtype}
    return (
        known.knows(recipe)
        and len(parameters.weights) <= job.MOST_LAYERS
        and parameters.sizes[-1] <= job.MOST_OUTPUTS
        and str(np.dtype(inputs.dtype)) in kinds
    )
