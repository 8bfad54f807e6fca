"""The drawing behind :mod:`backendmlp.plots`; importing this imports matplotlib.

Every function returns a figure of its own: no pyplot, no windows, no state.  Colours are of Okabe
and Ito's palette or of colour maps that colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MAX_UNITS = 100
MAX_MISTAKES = 25
MAX_NUMBERED_CLASSES = 60  # with more of them, nobody could read a number in a cell

_BLUE, _ORANGE = "#0072b2", "#d55e00"

_Line = tuple[str, np.ndarray, str]  # label, values, colour


def curves(history: Sequence[dict[str, Any]]) -> Figure:
    """Loss and accuracy over the epochs, side by side."""
    columns = {key: np.array([float(item[key]) for item in history]) for key in history[0]}
    epochs, loss, accuracy = columns["epoch"], columns["test_loss"], 100 * columns["test_accuracy"]
    figure = Figure(figsize=(8, 3.2))
    left, right = figure.subplots(1, 2)
    both = [("train", columns["train_loss"], _BLUE), ("test", loss, _ORANGE)]
    _draw_lines(left, epochs, both, "{} {:.3f}")
    left.set_title(f"Cross-entropy loss: lowest test loss in epoch {_best(epochs, -loss)}")
    _draw_lines(right, epochs, [("test", accuracy, _ORANGE)], "{} {:.2f} %")
    right.set_title(f"Test accuracy in %: best in epoch {_best(epochs, accuracy)}")
    return figure


def _draw_lines(axes: Axes, epochs: np.ndarray, lines: list[_Line], label: str) -> None:
    """Lines with their names and last values at their right ends, so that no legend is needed."""
    # A training that diverged ends in NaN; its line stops earlier, and there its label stands.
    finite = [(line, np.flatnonzero(np.isfinite(line[1]))) for line in lines]
    ends = [(line, epochs[where[-1]], line[1][where[-1]]) for line, where in finite if where.size]
    highest = max((value for _, _, value in ends), default=0)
    for (name, values, colour), epoch, value in ends:
        axes.plot(epochs, values, color=colour, marker="o", markersize=3 if len(epochs) < 40 else 0)
        axes.annotate(
            label.format(name, value),
            (epoch, value),
            (6, 0),
            textcoords="offset points",
            color=colour,
            # Lines may end in one point: the label of the upper one grows up, the other's down.
            va="center" if len(lines) == 1 else "bottom" if value == highest else "top",
        )
    margin = max(0.4, 0.03 * (epochs[-1] - epochs[0]))
    axes.set(xlabel="epoch", xlim=(epochs[0] - margin, epochs[-1] + margin))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _best(epochs: np.ndarray, values: np.ndarray) -> int:
    """The epoch with the largest value, were some NaN too."""
    return int(epochs[np.argmax(np.where(np.isnan(values), -np.inf, values))])


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Counts (C, C) in cells coloured by their share of the row, the true class."""
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
    figure.suptitle(_findings(counts, names))
    return figure


def _findings(counts: np.ndarray, names: Sequence[str]) -> str:
    """What the confusion matrix says, in words."""
    total, right = int(counts.sum()), int(np.trace(counts))
    share = 100 * right / max(total, 1)
    text = f"{right:,} of {total:,} test images classified right ({share:.2f} %)"
    errors = counts - np.diag(np.diag(counts))
    true, predicted = divmod(int(np.argmax(errors)), len(names))
    if not errors.any():
        return text
    often = f"{errors[true, predicted]:,} of {total - right:,}"
    return f"{text}\nmost frequent mistake: {names[true]} → {names[predicted]} ({often})"


def hidden_units(W1: np.ndarray, image_shape: Sequence[int]) -> Figure:
    """The weights (F, H) into each hidden unit as an image, all on one scale around zero."""
    rows, columns = image_shape
    shown = np.argsort(-np.linalg.norm(W1, axis=0), kind="stable")[:MAX_UNITS]
    across = min(len(shown), max(1, round(math.sqrt(len(shown) * rows / columns))))
    down = math.ceil(len(shown) / across)
    # A few extreme weights would make all others pale: the scale ends where 99.5 % of them do.
    limit = float(np.percentile(np.abs(W1[:, shown]), 99.5)) or 1.0
    height = 5.6 * down * rows / (across * columns)
    figure = Figure(figsize=(7, 0.5 + min(max(height, 2), 7)))
    axes = figure.add_subplot()
    gap = max(0.3, 0.08 * min(rows, columns))
    for place, unit in enumerate(shown):
        x, y = (place % across) * (columns + gap), (place // across) * (rows + gap)
        image = axes.imshow(
            W1[:, unit].reshape(rows, columns),
            extent=(x, x + columns, y + rows, y),
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            aspect=_aspect(rows / columns),
        )
    axes.set(xlim=(0, across * (columns + gap) - gap), ylim=(down * (rows + gap) - gap, 0))
    axes.set_axis_off()
    bar = figure.colorbar(image, extend="both", shrink=0.7, pad=0.02, label="weight")
    bar.outline.set_visible(False)
    number = f"all {len(shown)}" if len(shown) == W1.shape[1] else f"{len(shown)} of {W1.shape[1]}"
    figure.suptitle(f"Weights into {number} hidden units, largest norm first")
    return figure


def mistakes(items: Sequence[dict[str, Any]], counts: np.ndarray, names: Sequence[str]) -> Figure:
    """The most confident mistakes as pictures; ``counts`` is the confusion matrix."""
    shown = sorted(items, key=lambda item: -item["probability"])[:MAX_MISTAKES]
    if not shown:
        return _message(f"No mistakes to show for {int(counts.sum()):,} test images")
    ratio = shown[0]["image"].shape[0] / shown[0]["image"].shape[1]
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    height = 0.5 + 1.25 * min(max(ratio, 0.25), 2)
    figure = Figure(figsize=(max(5.5, 1.7 * across), 0.7 + height * down))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, item in zip(grid.flat, shown, strict=False):
        axes.imshow(item["image"], cmap="gray_r", vmin=0, vmax=255, aspect=_aspect(ratio))
        caption = f"{names[item['true']]} →\n{names[item['predicted']]} {item['probability']:.2f}"
        axes.set_title(caption, loc="center", fontsize=7.5)
    wrong = int(counts.sum() - np.trace(counts))
    figure.suptitle(
        f"{len(shown)} of {wrong:,} mistakes, most confident first\n"
        "(true → predicted class and its probability)"
    )
    return figure


def short(name: str) -> str:
    """A class name that leaves room for the picture, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= 18 else f"{line[:17]}…"


def _message(text: str) -> Figure:
    figure = Figure(figsize=(5.5, 1.5))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _aspect(ratio: float) -> Any:
    """Square pixels, unless an image would become a hair: then it fills its place."""
    return "equal" if 1 / 8 <= ratio <= 8 else "auto"
