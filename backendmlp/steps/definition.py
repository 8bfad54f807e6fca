"""The step as it is defined, on any backend: what the compiled one repeats to the bit.

Gather, forward, loss, back, and what the optimiser makes of it; each a pure function.
"""

from __future__ import annotations

from typing import Any

from backendmlp.backend import device_of, namespace
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Coefficients, Numbers
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.stepper import Rows

Array = Any

LEAST_LIMIT = 2.0**-1000  # of a norm to clip to: a smaller one may vanish on the way


class Step:
    """The definition, behind :class:`backendmlp.steps.stepper.Stepper`."""

    name = "definition"

    def __init__(self, recipe: Recipe, learned: Learned) -> None:
        self.recipe, self._learned = recipe, learned

    @property
    def learned(self) -> Learned:
        return self._learned

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        xp, count = namespace(order), order.shape[0]
        if count == 0:
            dtype = getattr(xp, self.recipe.arithmetic.dtype)
            nothing = xp.zeros((0,), dtype=dtype, device=device_of(order))
            return (nothing,) * len(self.recipe.loss.parts)
        found = []
        for step, start in enumerate(range(0, count, size)):
            index = order[start : min(start + size, count)]
            batch = taken(rows, index)
            self._learned, parts = learn(
                self.recipe, self._learned, batch, coefficients.at(step), mass(self.recipe, batch)
            )
            found.append(parts)
        if len(found) == 1:
            return found[0]
        return tuple(xp.concat(parts) for parts in zip(*found, strict=True))

    def score(self, inputs: Array, targets: Array) -> Scores:
        return evaluation.score(self.recipe, self._learned.parameters, inputs, targets)


def taken(rows: Rows, index: Array) -> Rows:
    """The rows ``index`` (n,)."""
    xp = namespace(index)
    arrays = rows.inputs, rows.targets, rows.weights
    return Rows(*(None if x is None else xp.take(x, index, axis=0) for x in arrays))


def mass(recipe: Recipe, rows: Rows) -> Array | int:
    """What the mean over ``rows`` divides by: their number, or a 0-d array of their weights' sum.

    One where all of the weights are zero.
    """
    if rows.weights is None:
        return rows.inputs.shape[0]
    total = recipe.arithmetic.sum(rows.weights, 0)
    return namespace(total).where(total > 0.0, total, 1.0)


def learn(
    recipe: Recipe, learned: Learned, rows: Rows, numbers: Numbers, mass: Array | int
) -> tuple[Learned, Parts]:
    """One step on ``rows``, of a batch with ``mass``; their losses' parts are of before it."""
    arithmetic, p = recipe.arithmetic, learned.parameters
    f = model.forward(arithmetic, recipe.activation, p, rows.inputs)
    parts, deltas = recipe.loss.step(arithmetic, f.z, rows.targets)
    deltas, share = _weighed(rows, deltas, numbers.scale, mass)
    gradient = model.back(arithmetic, recipe.activation, p, rows.inputs, f, deltas)
    if recipe.l2:
        parts = recipe.loss.penalised(parts, _penalty(recipe, p, mass))
        gradient = _with_penalty(recipe, p, gradient, share)
    if recipe.clip_norm is not None:
        gradient = _clipped(recipe, gradient, numbers.scale)
    return _descend(recipe, learned, gradient, numbers), parts


def _weighed(
    rows: Rows, deltas: Array, scale: float, mass: Array | int
) -> tuple[Array, Array | float]:
    """The deltas of the mean loss times ``scale``, and ``scale`` over what the mean divides by."""
    if isinstance(mass, int):
        share = scale / mass
        return deltas * share, share
    share = (1.0 / mass) * scale
    return deltas * (rows.weights * share)[:, None], share


def _penalty(recipe: Recipe, p: Parameters, mass: Array | int) -> Array:
    """l2 / 2 times the sum of the squares of all weights, over what the mean loss divides by."""
    squares = _squares(recipe, p.weights)
    if isinstance(mass, int):
        return squares * (recipe.l2 / (2.0 * mass))
    return squares * ((1.0 / mass) * (recipe.l2 / 2.0))


def _with_penalty(
    recipe: Recipe, p: Parameters, gradient: Parameters, share: Array | float
) -> Parameters:
    """Weights are drawn to zero, biases are not: Goodfellow and others (2016), section 7.1."""
    pull = share * recipe.l2
    both = zip(gradient.weights, p.weights, strict=True)
    return Parameters(tuple(g + W * pull for g, W in both), gradient.biases, p.unit)


def _clipped(recipe: Recipe, gradient: Parameters, scale: float) -> Parameters:
    """The gradient, shorter where its norm over all parameters exceeds what it may be.

    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    """
    limit = max(recipe.clip_norm * scale, LEAST_LIMIT)  # type: ignore[operator]
    arrays = gradient.as_dict()
    squares = _squares(recipe, tuple(arrays.values()))
    xp = namespace(squares)
    norm = recipe.arithmetic.sqrt(squares)
    # Both sides of the division are arrays: PyTorch divides a number by one as a product by its
    # reciprocal, and on CUDA one by a number.  A norm that is not known, NaN, leaves nothing known.
    size = xp.where(norm == 0.0, 1.0, norm)
    factor = xp.where(norm > limit, limit, size) / size
    return Parameters.of({name: g * factor for name, g in arrays.items()}, gradient.unit)


def _squares(recipe: Recipe, arrays: tuple[Array, ...]) -> Array:
    """The sum of the squares of all entries, array after array: a 0-d array."""
    first, *others = (recipe.arithmetic.sum_of_squares(x) for x in arrays)
    for other in others:
        first = first + other
    return first


def _descend(recipe: Recipe, learned: Learned, gradient: Parameters, numbers: Numbers) -> Learned:
    """What is learned after the step that the optimiser makes of ``gradient``."""
    before, after, slots = learned.parameters.as_dict(), {}, {}
    for name, g in gradient.as_dict().items():
        change, slots[name] = recipe.optimizer.change(
            recipe.arithmetic, g, learned.slots[name], numbers
        )
        if numbers.decay and name.startswith("W"):
            change = change + before[name] * numbers.decay
        after[name] = recipe.arithmetic.update(before[name], change)
    return Learned(Parameters.of(after, learned.parameters.unit), slots)
