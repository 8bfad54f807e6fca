"""Random networks, recipes and rows, from a seed: what compiled steps are tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic import choose
from backendmlp.network import model
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.initial import initial
from backendmlp.network.losses import CrossEntropy, SquaredError
from backendmlp.network.optimizers import Adam, Coefficients, Descent, Momentum
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.stepper import Rows

OPTIMIZERS = {
    "sgd": Descent(),
    "momentum": Momentum(0.9),
    "nesterov": Momentum(0.8, nesterov=True),
    "adam": Adam(0.9, 0.999, 1e-8),
}


@dataclass
class Case:
    """A training to make: ``described`` says what was drawn."""

    described: dict[str, Any]
    recipe: Recipe
    learned: Learned
    rows: Rows
    order: np.ndarray
    size: int
    coefficients: Coefficients
    division: tuple[int, int]

    def after(self, step: Any) -> dict[str, np.ndarray]:
        """All that is there to compare after two calls."""
        half = len(self.order) // (2 * self.size) * self.size
        columns = self.coefficients.columns
        with np.errstate(all="ignore"):
            parts = []
            for piece in (slice(0, half), slice(half, None)):
                steps = slice(piece.start // self.size, piece.stop and piece.stop // self.size)
                some = Coefficients(*(x[steps] for x in columns))
                parts.append(step.advance(self.rows, self.order[piece], self.size, some))
            scores = step.score(self.rows.inputs, self.rows.targets)
        found = {f"part {i}": np.concatenate(x) for i, x in enumerate(zip(*parts, strict=True))}
        found |= {f"score {i}": x for i, x in enumerate(scores.parts)}
        return {**found, "outputs": scores.outputs, **step.learned.as_dict(self.recipe)}


def draw(seed: int, numerics: str, dtype: str | None = None, wild: bool = False) -> Case:
    """``wild``: rates, weights and targets that go beyond what compiled steps can."""
    rng = np.random.default_rng(seed)
    pick = rng.choice
    sizes = (
        int(pick([1, 5, 40, 300])),
        *rng.integers(1, 40, int(pick([0, 1, 1, 2, 3, 5]))).tolist(),
        int(pick([1, 2, 10])),
    )
    name, activation = str(pick(list(OPTIMIZERS))), str(pick(list(ACTIVATIONS)))
    regression = bool(pick([False, False, True]))
    smoothing = float(pick([0.0, 0.1]))
    described = {
        "sizes": sizes,
        "optimizer": name,
        "activation": activation,
        "regression": regression,
        "smoothing": smoothing,
        "l2": float(pick([0.0, 0.0, 1e-2])),
        "clip": [None, None, 0.1, 10.0][int(rng.integers(4))],
        "decay": float(pick([0.0, 0.1])),
        "inputs": str(
            pick(["pixels", "pixels", "features" if numerics == "bitwise" else "floats"])
        ),
        "weighted": bool(pick([False, True])),
        "size": int(pick([1, 3, 16, 64, 150])),
        "scale": float(pick([1.0, 1e3, 1e40, 1e120, 1e-200]) if wild else 1.0),
        "rate": float(pick([0.1, 1e3, 1e30, 1e200]) if wild else 0.05),
        "division": [(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (5, 1), (1, 3)][int(rng.integers(7))],
    }
    recipe = Recipe(
        choose(numerics, dtype),
        ACTIVATIONS[activation],
        SquaredError() if regression else CrossEntropy(smoothing),
        OPTIMIZERS[name],
        described["l2"],
        described["clip"],
    )
    real = recipe.arithmetic.dtype
    count = int(rng.integers(1, 170))
    inputs: np.ndarray = rng.integers(0, 256, (count, sizes[0]), dtype=np.uint8)
    unit = None
    if described["inputs"] == "features":
        inputs = rng.integers(-(2**20), 2**20 + 1, inputs.shape).astype(np.int32)
        unit = 2.0 ** rng.integers(-20, -10, sizes[0])
    elif described["inputs"] == "floats":
        inputs = rng.normal(size=inputs.shape).astype(real)
    targets = rng.integers(0, sizes[-1], count)
    if regression:
        targets = (rng.normal(size=(count, sizes[-1])) * described["scale"]).astype(real)
    weights = pick([0.0, 1.0, 0.3, 2.5], count).astype(real) if described["weighted"] else None
    start = initial(sizes, activation, seed)
    if wild:
        start = {k: v * described["scale"] for k, v in start.items()}
    with np.errstate(all="ignore"):
        parameters = model.settle(recipe.arithmetic, start, unit)
    order = rng.integers(0, count, min(4 * described["size"] + int(rng.integers(40)), 400))
    steps = -(-len(order) // described["size"])
    rates = described["rate"] * rng.uniform(0.5, 1.0, steps)
    coefficients = recipe.optimizer.coefficients(rates, int(rng.integers(50)), described["decay"])
    return Case(
        described,
        recipe,
        Learned.begin(recipe, parameters),
        Rows(inputs, targets, weights),
        order,
        described["size"],
        coefficients,
        described["division"],
    )
