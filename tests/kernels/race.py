"""Steps of the kernels that ThreadSanitizer watches: python race.py LIBRARY [LEFT OUT]

Everything that has a meeting of its own happens: three layers of several tiles, products whose sums
do not fit in a block's memory at one time, more rows than are gathered or judged at one time,
weighted rows, the L2 penalty, clipped gradients; and scores.  ``LEFT OUT`` is a meeting's number in
on_cpu.py.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kernels.on_cpu import OnCpu

from backendmlp.arithmetic import choose
from backendmlp.network import model
from backendmlp.network.initial import initial
from backendmlp.network.losses import LOSSES
from backendmlp.network.optimizers import Adam
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.definition import Step
from backendmlp.steps.kernels import scoring
from backendmlp.steps.kernels.step import KernelStep
from backendmlp.steps.stepper import Rows

THREADS = 3
FLAGS = ("-fsanitize=thread", "-g", "-DSHUFFLED", "-DNUMBERED")
SIZES, COUNT, BATCH = (40, 37, 36, 5), 300, 290


class Watched(OnCpu):
    """Of a library that is there already."""

    def __init__(self, library: str, left_out: int, blocks: int) -> None:
        super().__init__(blocks, THREADS)
        self.library = ctypes.CDLL(library)
        ctypes.c_int.in_dll(self.library, "left_out").value = left_out

    def compile(self, text: str, options: tuple[str, ...]) -> ctypes.CDLL:
        return self.library


def training(loss: str, plain: bool) -> tuple[Recipe, Learned, Rows]:
    rng = np.random.default_rng(2)
    arithmetic = choose("bitwise", "float64")
    recipe = Recipe(arithmetic, loss=LOSSES[loss](), optimizer=Adam(0.9, 0.99, 1e-8))
    if not plain:
        recipe = replace(recipe, l2=0.01, clip_norm=0.1)
    learned = Learned.begin(recipe, model.settle(arithmetic, initial(SIZES, "relu", 3), None))
    inputs = rng.integers(0, 256, (COUNT, SIZES[0]), dtype=np.uint8)
    targets: Any = rng.integers(0, SIZES[-1], COUNT)
    if loss == "squared_error":
        targets = rng.normal(size=(COUNT, SIZES[-1]))
    return recipe, learned, Rows(inputs, targets, None if plain else rng.exponential(size=COUNT))


def after(step: Any, recipe: Recipe, rows: Rows) -> list[bytes]:
    numbers = recipe.optimizer.coefficients(np.full(2, 0.01), 0, 0.001)
    parts = step.advance(rows, np.arange(COUNT), BATCH, numbers)
    scores = step.score(rows.inputs, rows.targets)
    found = (*parts, *step.learned.as_dict(recipe).values(), *scores.parts, scores.outputs)
    return [x.tobytes() for x in found]


# Loss, whether it is all there is, blocks: of three, one has no tile of a small product.
TRAININGS = (("cross_entropy", False, 2), ("squared_error", False, 2), ("cross_entropy", True, 3))


def main(library: str, left_out: str = "-1") -> None:
    scoring._BATCH = BATCH
    for loss, plain, blocks in TRAININGS:
        device = Watched(library, int(left_out), blocks)
        recipe, learned, rows = training(loss, plain)
        found = after(KernelStep(device, recipe, learned, rows, apart=False), recipe, rows)
        if left_out == "-1":
            assert found == after(Step(recipe, learned), recipe, rows), loss


if __name__ == "__main__":
    main(*sys.argv[1:])
