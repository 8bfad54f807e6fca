"""What the kernels are compiled for, and the structure that they are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import product_bits
from backendmlp.backend import Kernels
from backendmlp.network.recipe import Recipe
from backendmlp.steps import known
from backendmlp.steps.definition import LEAST_LIMIT

# As job.h numbers them.
KINDS = {"uint8": 1, "int32": 2}  # others are numbers of the step's own type: 0
MOST_LAYERS = 16  # with as many the structure still fits among a kernel's arguments
MOST_OUTPUTS = 2000  # a row of them fits in a block's memory
LANES = 256
MOST_MEMORY = 96 << 10  # bytes that a block shares; with fewer, less is on its way at a time
_BESIDE = 2 << 10  # of them beside a tile of a product
PACK_BYTES = 16  # every line in memory begins with so many that are copied together

_MEMORY = ("inputs", "targets", "weights", "order", "coefficients", "unit")
_RESULTS = ("part_0", "part_1", "outputs")
_SCRATCH = ("rows", "row_weights", "row_targets", "sums", "partial", "total_weight")
_TABLES = ("tops", "meetings", "exp_table", "tanh_table")
_COUNTS = ("count", "batch", "first", "steps", "tops_count", "passing_tops")
_CHOICES = (
    "kind", "activation", "loss", "optimizer", "weighted", "pulls", "clips", "smooth", "learns",
)  # fmt: skip
_REALS = ("level", "levels", "elsewhere", "own", "kept", "l2", "clip")
_KEPT = ("keep_1", "keep_2", "take_1", "take_2", "grid", "kept_grid")
_CONSTANTS = ("exp_inverse", "exp_high", "exp_low", "exp_lowest", "tanh_one")
_LIMITS = ("smallest_norm", "exact")

TENSORS = ("W", "b", "first_W", "first_b", "second_W", "second_b")
ROOM = ("gradient_W", "gradient_b", "values", "deltas")
# Of a layer's largest entries, how many there are: of its weights, and of what passes with a step.
WEIGHT_TOPS = {"W_rows": "rows", "W_columns": "columns", "top_W": "one"}
TOPS = {
    "value_rows": "batch",
    "value_columns": "columns",
    "delta_rows": "batch",
    "delta_columns": "columns",
    "gradient_W_top": "one",
    "gradient_b_top": "one",
}


def structure(layers: int) -> np.dtype:
    """``struct job`` of job.h."""
    layer = [(name, "i8") for name in (*TENSORS, *ROOM, *WEIGHT_TOPS, *TOPS)]
    whole = (*_MEMORY, *_RESULTS, *_SCRATCH, *_TABLES, *_COUNTS, *_CHOICES)
    return np.dtype(
        [
            *((name, "i8") for name in whole),
            ("widths", "i8", (layers + 1,)),
            *((name, "f8") for name in (*_REALS, *_KEPT, *_CONSTANTS, *_LIMITS)),
            ("layers", layer, (layers,)),
        ]
    )


def memory(kernels: Kernels) -> int:
    """Bytes that a block shares."""
    return min(MOST_MEMORY, kernels.memory)


def pitch(width: int, dtype: str) -> int:
    """Numbers from one line of ``width`` to the next, as product.h has it."""
    pack = PACK_BYTES // np.dtype(dtype).itemsize
    return (width + pack) // pack * pack


def choices(recipe: Recipe, kind: str, weighted: bool, learns: bool) -> dict[str, int]:
    """What the code depends on, but for the sizes."""
    return {
        "kind": KINDS.get(kind, 0),
        **known.numbers(recipe),
        "weighted": int(weighted),
        "pulls": int(recipe.l2 != 0.0),
        "clips": int(recipe.clip_norm is not None),
        "smooth": int(known.smoothing(recipe) != 0.0),
        "learns": int(learns),
    }


def numbers(recipe: Recipe, levels: float, sizes: tuple[int, ...]) -> dict[str, float]:
    """The numbers that every step uses."""
    smoothing = known.smoothing(recipe)
    elsewhere = smoothing / sizes[-1]
    keep_1, keep_2 = known.kept(recipe)
    return {
        "level": 1.0 / levels,
        "levels": levels,
        "elsewhere": elsewhere,
        "own": 1.0 - smoothing + elsewhere,
        "kept": 1.0 - smoothing,
        "l2": recipe.l2,
        "clip": recipe.clip_norm or 0.0,
        "keep_1": keep_1,
        "keep_2": keep_2,
        "take_1": 1.0 - keep_1,
        "take_2": 1.0 - keep_2,
        "grid": const.ROUND * const.GRID,
        "kept_grid": const.ROUND * const.KEPT,
        "exp_inverse": const.EXP_INVERSE,
        "exp_high": const.EXP_HIGH,
        "exp_low": const.EXP_LOW,
        "exp_lowest": const.EXP_LOWEST,
        "tanh_one": const.TANH_ONE,
        "smallest_norm": LEAST_LIMIT,
        "exact": 2.0 ** product_bits(sizes[0], beside_pixels=True)[1] * const.GRID,
    }


def options(
    recipe: Recipe,
    sizes: tuple[int, ...],
    batch: int,
    found: dict[str, int],
    kernels: Kernels,
    apart: bool,
) -> tuple[str, ...]:
    """What the source is compiled with for ``found`` choices: all sizes are constants."""
    defined: dict[str, Any] = {
        "BITWISE": int(recipe.arithmetic.name == "bitwise"),
        "REAL": {"float32": "float", "float64": "double"}[recipe.arithmetic.dtype],
        "LAYERS": len(sizes) - 1,
        "LANES": LANES,
        "BLOCK_BYTES": memory(kernels),
        "TILE_BYTES": memory(kernels) - _BESIDE,
        "MOST_OUTPUTS": MOST_OUTPUTS,
        "TOGETHER": int(not apart),
        "FEW": max(1, kernels.blocks * 3 // 5),
        "WIDTHS": ",".join(map(str, sizes)),
        "BATCH": batch,
        **{name.upper(): value for name, value in found.items()},
    }
    return tuple(f"-D{name}={value}" for name, value in defined.items())
