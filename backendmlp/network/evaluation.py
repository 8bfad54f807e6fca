"""Losses, outputs and measures of a trained network on inputs it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import fetch, namespace
from backendmlp.network import model
from backendmlp.network.losses import Loss, Parts
from backendmlp.network.model import Parameters
from backendmlp.network.recipe import Recipe

Array = Any

_ROWS = 1000  # rows in one pass: bounds the memory, and in bitwise numerics cannot change a bit


@dataclass(frozen=True)
class Evaluation:
    """The mean ``loss``; of classes the ``accuracy``, of other targets ``r2``, R squared."""

    loss: float
    accuracy: float | None = None
    r2: float | None = None

    @property
    def score(self) -> float:
        """The accuracy, or R squared: what is to be large."""
        found = self.r2 if self.accuracy is None else self.accuracy
        assert found is not None
        return found


@dataclass(frozen=True)
class Scores:
    """What a network makes of N inputs with targets, on their device.

    The ``parts`` of each row's loss, (N,) each, and the ``outputs`` (N, C).
    """

    parts: Parts
    outputs: Array


def outputs(recipe: Recipe, p: Parameters, inputs: Array) -> Array:
    """What the network shows, (N, C), for ``inputs`` (N, F)."""
    xp = namespace(inputs)
    found = [recipe.loss.outputs(recipe.arithmetic, z) for _, z in _passes(recipe, p, inputs)]
    return xp.concat(found)


def score(recipe: Recipe, p: Parameters, inputs: Array, targets: Array) -> Scores:
    """The scores of ``inputs`` (N, F) with ``targets`` (N,) or (N, C)."""
    xp = namespace(inputs)
    parts, shown = [], []
    for rows, z in _passes(recipe, p, inputs):
        found, out = recipe.loss.score(recipe.arithmetic, z, targets[rows, ...])
        parts.append(found)
        shown.append(out)
    return Scores(tuple(map(xp.concat, zip(*parts, strict=True))), xp.concat(shown))


def mean(arithmetic: Arithmetic, values: Array, weights: Array | None = None) -> Array:
    """The mean of ``values`` (n,), weighted perhaps, as a 0-d array: it stays on its device."""
    if weights is None:
        return arithmetic.sum(values, 0) * (1.0 / values.shape[0])
    return arithmetic.sum(values * weights, 0) * (1.0 / arithmetic.sum(weights, 0))


def loss(arithmetic: Arithmetic, criterion: Loss, scores: Scores) -> Array:
    """The mean loss, a 0-d array: it stays on its device."""
    return mean(arithmetic, criterion.rows(arithmetic, scores.parts))


def evaluate(arithmetic: Arithmetic, criterion: Loss, scores: Scores, targets: Array) -> Evaluation:
    """The evaluation of inputs with ``scores`` and ``targets``."""
    return evaluate_and_fetch(arithmetic, criterion, scores, targets, outputs=False)[0]


def evaluate_and_fetch(
    arithmetic: Arithmetic, criterion: Loss, scores: Scores, targets: Array, outputs: bool = True
) -> tuple[Evaluation, np.ndarray | None]:
    """:func:`evaluate`, and the outputs (N, C), which leave the device together with it."""
    wanted = criterion.measures(arithmetic, scores.outputs, targets)
    wanted["loss"] = loss(arithmetic, criterion, scores)
    if outputs:
        wanted["outputs"] = scores.outputs
    fetched = fetch(wanted)
    measured = criterion.measured(fetched, targets.shape[0])
    return Evaluation(float(fetched["loss"]), **measured), fetched.get("outputs")


def _passes(recipe: Recipe, p: Parameters, inputs: Array) -> Iterator[tuple[slice, Array]]:
    """What the last layer gives for ``inputs`` (N, F), in order, each with its rows."""
    for start in range(0, inputs.shape[0], _ROWS):
        rows = slice(start, min(start + _ROWS, inputs.shape[0]))
        yield rows, model.forward(recipe.arithmetic, recipe.activation, p, inputs[rows, :]).z
