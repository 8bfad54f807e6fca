"""Which step does the work: it stands above the steps, so that none of them knows another."""

from __future__ import annotations

from backendmlp.backend import Backend
from backendmlp.distributed.compiled import SharedCompiledStep
from backendmlp.distributed.step import SharedStep
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import ALONE, Ranks
from backendmlp.steps import compiled, kernels
from backendmlp.steps.compiled.held import possible
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows, Stepper


def stepper(
    backend: Backend, recipe: Recipe, learned: Learned, rows: Rows, ranks: Ranks = ALONE
) -> Stepper:
    """The fastest step there is for this backend, recipe and kind of rows."""
    if ranks.size > 1:
        return _shared(backend, recipe, learned, rows, ranks)
    if backend.in_memory:
        found = compiled.stepper(recipe, learned, rows)
    else:
        found = kernels.stepper(backend, recipe, learned, rows)
    return found or Step(recipe, learned)


def _shared(
    backend: Backend, recipe: Recipe, learned: Learned, rows: Rows, ranks: Ranks
) -> Stepper:
    """Compiled where every rank has it so, else the definition on all: they meet alike."""
    able = backend.in_memory and possible(recipe, learned.parameters, rows.inputs)
    if ranks.most(not able):
        return SharedStep(backend, recipe, learned, ranks)
    return SharedCompiledStep(backend, recipe, learned, rows, ranks)
