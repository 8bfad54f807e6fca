"""The weights of a network that sees pictures, as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

MAX_UNITS = 100
HIDDEN, OUTPUT = "hidden unit", "output"

_MAX_WEIGHTS = 100 * 28 * 28  # of the units that are shown


def hidden_units(
    W1: np.ndarray, image_shape: Sequence[int], titles: bool = True, kind: str = HIDDEN
) -> Figure:
    """The weights (F, H) into each unit, of that ``kind``, as an image, one scale around zero.

    Hidden units stand in the order of their norms, outputs in their own.
    """
    rows, columns = image_shape
    number = min(MAX_UNITS, max(1, _MAX_WEIGHTS // W1.shape[0]))
    order = -np.linalg.norm(W1, axis=0) if kind != OUTPUT else np.arange(W1.shape[1])
    shown = np.argsort(order, kind="stable")[:number]
    across = min(len(shown), max(1, round(math.sqrt(len(shown) * rows / columns))))
    mosaic = _mosaic(W1[:, shown].T.reshape(-1, rows, columns), across)
    # A few extreme weights would make all others pale: the scale ends where 99.5 % of them do.
    limit = float(np.percentile(np.abs(W1[:, shown]), 99.5)) or 1.0
    ratio = mosaic.shape[0] / mosaic.shape[1]
    figure = Figure(figsize=(7, 0.5 + min(max(5.6 * ratio, 2), 7)))
    axes = figure.add_subplot()
    image = axes.imshow(
        mosaic,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        aspect=aspect(rows / columns),
        interpolation="nearest",  # a smooth picture takes five times the space, and invents
    )
    axes.set_axis_off()
    bar = figure.colorbar(image, extend="both", shrink=0.7, pad=0.02, label="weight")
    bar.outline.set_visible(False)
    if titles:
        hidden = W1.shape[1]
        which = f"all {hidden}" if len(shown) == hidden else f"{len(shown)} of {hidden}"
        units = f"the one {kind}" if hidden == 1 else f"{which} {kind}s"
        first = "in their order" if kind == OUTPUT else "largest norm first"
        figure.suptitle(f"Weights into {units}" + f", {first}" * (len(shown) > 1))
    return figure


def _mosaic(tiles: np.ndarray, across: int) -> np.ndarray:
    """``tiles`` (n, rows, columns) in one array, row by row, with NaN between them."""
    number, rows, columns = tiles.shape
    gap = max(1, round(0.08 * min(rows, columns)))
    down = math.ceil(number / across)
    mosaic = np.full((down * (rows + gap) - gap, across * (columns + gap) - gap), np.nan)
    for place, tile in enumerate(tiles):
        y, x = (place // across) * (rows + gap), (place % across) * (columns + gap)
        mosaic[y : y + rows, x : x + columns] = tile
    return mosaic


def aspect(ratio: float) -> Any:
    """Square pixels, unless an image would become a hair: then it fills its place."""
    return "equal" if 1 / 8 <= ratio <= 8 else "auto"
