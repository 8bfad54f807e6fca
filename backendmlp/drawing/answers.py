"""What a network makes of test data: the classes it takes for one another, mistakes, numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, PowerNorm
from matplotlib.figure import Figure

from backendmlp.drawing.units import aspect

if TYPE_CHECKING:
    from backendmlp.findings import Mistake

MAX_NUMBERED_CLASSES = 60  # with more of them, nobody could read a number in a cell
MAX_PANELS = 9  # outputs of a regression that are shown

_MAX_POINTS = 3000  # of a panel: more are counted in cells
_BLUE, _GRAY = "#0072b2", "#555555"


def confusion(
    counts: np.ndarray, names: Sequence[str], titles: bool = True, counted_as: str = "images"
) -> Figure:
    """Counts (C, C) in cells coloured by their share of the row, the true class.

    The title speaks of what was classified as ``counted_as``.
    """
    names = [short(name) for name in names]
    classes = len(names)
    side = min(max(4.2, 3 + 0.36 * classes), 24)
    figure = Figure(figsize=(side + 1, side))
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A linear scale would leave errors of one percent, which are what one looks for, white.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    for row, column in np.argwhere(counts) if classes <= MAX_NUMBERED_CLASSES else ():
        colour = "white" if shares[row, column] > 0.35 else "black"
        size = 8 if classes <= 20 else 6.5
        text = str(counts[row, column])
        axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=size)
    axes.set_xticks(range(classes), names, rotation=90 if classes > 2 else 0)
    axes.set_yticks(range(classes), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    bar = figure.colorbar(image, shrink=0.7, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "100 %"])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    if titles:
        figure.suptitle(_findings(counts, names, counted_as))
    return figure


def _findings(counts: np.ndarray, names: Sequence[str], counted_as: str) -> str:
    """What the confusion matrix says, in words."""
    total, right = int(counts.sum()), int(np.trace(counts))
    share = 100 * right / max(total, 1)
    text = f"{right:,} of {total:,} test {counted_as} classified right ({share:.2f} %)"
    errors = counts - np.diag(np.diag(counts))
    true, predicted = divmod(int(np.argmax(errors)), len(names))
    if not errors.any():
        return text
    often = f"{errors[true, predicted]:,} of {total - right:,}"
    return f"{text}\nmost frequent mistake ({often}):\n{names[true]} → {names[predicted]}"


def mistakes(
    items: Sequence[Mistake], counts: np.ndarray, names: Sequence[str], titles: bool = True
) -> Figure:
    """Mistakes as pictures, the most confident first; ``counts`` is the confusion matrix."""
    names = [short(name) for name in names]
    shown = sorted(items, key=lambda item: -item.probability)
    if not shown:
        return _message(f"No mistakes to show for {int(counts.sum()):,} test images")
    ratio = shown[0].image.shape[0] / shown[0].image.shape[1]
    low, high = _range(shown)
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    height = 0.5 + 1.25 * min(max(ratio, 0.25), 2)
    figure = Figure(figsize=(max(5.5, 1.7 * across), 0.7 + height * down))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, item in zip(grid.flat, shown, strict=False):
        axes.imshow(item.image, cmap="gray_r", vmin=low, vmax=high, aspect=aspect(ratio))
        caption = f"{names[item.true]}\n→ {names[item.predicted]} ({item.probability:.2f})"
        axes.set_title(caption, loc="center", fontsize=7.5)
    if titles:
        wrong = int(counts.sum() - np.trace(counts))
        some = f"All {wrong}" if len(shown) == wrong else f"{len(shown)} of {wrong:,}"
        which = f"{some} mistakes, most confident first" if wrong > 1 else "The only mistake"
        figure.suptitle(f"{which}\n(true → predicted class and its probability)")
    return figure


def _range(items: Sequence[Mistake]) -> tuple[float, float]:
    """The values that are white and black: of pixels all there are, of floats those that occur."""
    images = [item.image for item in items]
    if images[0].dtype == np.uint8:
        return 0, 255
    return min(float(x.min()) for x in images), max(float(x.max()) for x in images)


def predictions(true: np.ndarray, predicted: np.ndarray, titles: bool = True) -> Figure:
    """What a regression predicts beside what is true, both (N, C): a panel for each output."""
    count = min(true.shape[1], MAX_PANELS)
    across = math.ceil(math.sqrt(count))
    down = math.ceil(count / across)
    side = 4.6 if count == 1 else 3.2
    figure = Figure(figsize=(side * across + 0.4, side * down + 0.4))
    grid = figure.subplots(down, across, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= count:
            axes.set_axis_off()
            continue
        _compare(axes, true[:, number], predicted[:, number])
        if titles and count > 1:
            fit = _fit(true[:, [number]], predicted[:, [number]])
            axes.set_title(f"output {number}: {fit.partition(',')[0]}")
    if len(true) > _MAX_POINTS:
        text = "the darker a cell, the more test rows fall into it, on a logarithmic scale"
        figure.supxlabel(text, x=0.01, ha="left", color=_GRAY, fontsize=7.5)
    if titles:
        some = "" if count == true.shape[1] else f"; {count} of {true.shape[1]} outputs shown"
        figure.suptitle(f"{len(true):,} test rows: {_fit(true, predicted)}{some}")
    return figure


def _compare(axes: Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    """One output: points, or counts of them where there are too many to tell apart."""
    low = float(min(true.min(), predicted.min()))
    high = float(max(true.max(), predicted.max()))
    margin = 0.04 * (high - low) or 1.0
    limits = low - margin, high + margin
    axes.plot(limits, limits, color=_GRAY, lw=0.8, ls="--")
    if len(true) <= _MAX_POINTS:
        axes.scatter(true, predicted, s=9, alpha=0.55, color=_BLUE, lw=0, rasterized=True)
    else:
        axes.hexbin(
            true,
            predicted,
            gridsize=50,
            extent=(*limits, *limits),
            mincnt=1,
            norm=LogNorm(),
            cmap="viridis_r",
            linewidths=0.1,
            zorder=0,
        )
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="true", ylabel="predicted")


def _fit(true: np.ndarray, predicted: np.ndarray) -> str:
    """How well predictions fit, in words; a mean over outputs where there are several.

    R squared is 1 - sum of squares of what is left / that of what differs from the mean.
    """
    left = np.square(predicted - true).sum(axis=0)
    spread = np.square(true - true.mean(axis=0)).sum(axis=0)
    error = math.sqrt(float(left.sum()) / true.size)
    text = f"root mean squared error {error:.3g}"
    if not spread.all():
        return text
    return f"R² {float(np.mean(1 - left / spread)):.4f}, {text}"


def short(name: str) -> str:
    """A class name that leaves room for the picture, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= 18 else f"{line[:17].rstrip()}…"


def _message(text: str) -> Figure:
    figure = Figure(figsize=(5.5, 1.5))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
