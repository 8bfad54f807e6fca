"""Which step does the work: it stands above the steps, so that none of them knows another."""

from __future__ import annotations

from backendmlp.backend import Backend
from backendmlp.distributed.step import SharedStep
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import ALONE, Ranks
from backendmlp.steps import compiled
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows, Stepper


def stepper(
    backend: Backend, recipe: Recipe, learned: Learned, rows: Rows, ranks: Ranks = ALONE
) -> Stepper:
    """The fastest step there is for this backend, recipe and kind of rows."""
    if ranks.size > 1:
        return SharedStep(backend, recipe, learned, ranks)
    found = compiled.stepper(recipe, learned, rows) if backend.in_memory else None
    return found or Step(recipe, learned)
