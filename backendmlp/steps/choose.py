"""Which step does the work: it stands above the steps, so that none of them knows another."""

from __future__ import annotations

from typing import Any

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import Backend
from backendmlp.network.model import Parameters
from backendmlp.steps import compiled
from backendmlp.steps.definition import Step, Stepper

Array = Any


def stepper(
    backend: Backend, arithmetic: Arithmetic, parameters: Parameters, rate: float, images: Array
) -> Stepper:
    """The fastest step there is for this backend, arithmetic and kind of input."""
    found = None
    if backend.in_memory:
        found = compiled.stepper(arithmetic, parameters, rate, images)
    return found or Step(arithmetic, parameters, rate)
