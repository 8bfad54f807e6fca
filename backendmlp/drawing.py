"""The drawing behind :mod:`backendmlp.plots`; importing this imports matplotlib.

Every function returns a figure of its own: no pyplot, no windows, no state.  Colours are of Okabe
and Ito's palette or of colour maps that colour-blind readers can tell apart.  Without ``titles``
a figure says nothing that a caption below it would say better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from backendmlp.findings import Mistake
    from backendmlp.training.epochs import EpochRecord

MAX_UNITS = 100
MAX_NUMBERED_CLASSES = 60  # with more of them, nobody could read a number in a cell

_MAX_WEIGHTS = 100 * 28 * 28  # of the hidden units that are shown
_BLUE, _ORANGE = "#0072b2", "#d55e00"
GROUP_COLOURS = (_BLUE, _ORANGE, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_Group = Sequence[Sequence["EpochRecord"]]  # runs that differ in nothing but chance


def curves(groups: Mapping[str, _Group], titles: bool = True) -> Figure:
    """Loss and accuracy over the epochs, side by side.

    ``groups`` has the epochs of one or more runs under each name, which is shown where there are
    several.  The runs of a group are drawn as their mean, with a band of one standard deviation.
    """
    alone = len(groups) == 1
    figure = Figure(figsize=(8, 3.5 if alone else 3.6 + 0.2 * len(groups)))
    left, right = figure.subplots(1, 2)
    ends = []
    for runs, colour in zip(groups.values(), GROUP_COLOURS, strict=False):
        train, test = _columns(runs, "train_loss"), _columns(runs, "test_loss")
        accuracy = [100 * values for values in _columns(runs, "test_accuracy")]
        upper = _last(train) > _last(test)
        if alone:
            _draw(left, train, _BLUE, "{:.3f}", "train {}", upper)
            _draw(left, test, _ORANGE, "{:.3f}", "test {}", not upper)
            _draw(right, accuracy, _ORANGE, "{:.2f}", "test {} %")
        else:
            _draw(left, train, colour, "{:.3f}", style=":")
            _draw(left, test, colour, "{:.3f}")
            reached = min(map(len, runs))
            end = _draw(right, accuracy, colour, "{:.2f}")
            ends.append(f"test accuracy {end} % after epoch {reached}")
    most = max(len(epochs) for runs in groups.values() for epochs in runs)
    _set_epochs(left, most)
    _set_epochs(right, most)
    notes = ["train: mean over the epoch, while the weights moved; test: at its end"]
    if max(map(len, groups.values())) > 1:
        notes.append(
            "line: mean of the runs, over the epochs that all have; band: one standard deviation "
            "either way"
        )
    if titles:
        notes += _add_titles(left, right, groups, most)
    else:
        left.set_ylabel("cross-entropy loss")
        right.set_ylabel("test accuracy in %")
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", color="#555555", fontsize=7.5)
    if not alone:
        _add_legends(figure, left, groups, ends)
    return figure


def _add_titles(left: Axes, right: Axes, groups: Mapping[str, _Group], most: int) -> list[str]:
    """What the panels show, and for a single run its best; what has to be noted of that."""
    left.set_title("Cross-entropy loss")
    right.set_title("Test accuracy in %")
    runs = [run for group in groups.values() for run in group]
    if len(runs) > 1 or most == 1:
        return []
    lowest = _best([-_number(epoch.test_loss) for epoch in runs[0]])
    highest = _best([_number(epoch.test_accuracy) for epoch in runs[0]])
    left.set_title(f"Cross-entropy loss: lowest test loss in epoch {lowest}")
    right.set_title(f"Test accuracy in %: best in epoch {highest}")
    return [
        "lowest and best epoch: chosen on the test images themselves, so that new images may "
        "well do worse"
    ]


def _columns(runs: _Group, name: str) -> list[np.ndarray]:
    return [np.array([_number(getattr(epoch, name)) for epoch in epochs]) for epochs in runs]


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


def _last(runs: Sequence[np.ndarray]) -> float:
    """The last number of the first run, by which labels are put above one another."""
    finite = runs[0][np.isfinite(runs[0])]
    return float(finite[-1]) if finite.size else -math.inf


def _draw(
    axes: Axes,
    runs: Sequence[np.ndarray],
    colour: str,
    form: str,
    label: str = "",
    upper: bool | None = None,
    style: str = "-",
) -> str:
    """The mean of ``runs`` with its spread, over the epochs that all have; its last value in words.

    That stands at the line's right end within ``label``, so that no legend is needed.
    """
    reached = min(map(len, runs))
    values = np.stack([run[:reached] for run in runs])
    epochs, mean = np.arange(1, reached + 1), values.mean(axis=0)
    if len(runs) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        for run in runs:
            axes.plot(np.arange(1, len(run) + 1), run, color=colour, lw=0.5, alpha=0.5, ls=style)
    axes.plot(epochs, mean, color=colour, ls=style, marker="o", ms=3 if reached < 40 else 0)
    # A training that diverged ends in NaN; its line stops earlier, and there its label stands.
    finite = np.flatnonzero(np.isfinite(mean))
    if not finite.size:
        return "no number"
    end = finite[-1]
    text = form.format(mean[end])
    if len(runs) > 1:
        text += f" ± {form.format(spread[end])}"
    if label:
        axes.annotate(
            label.format(text),
            (float(epochs[end]), float(mean[end])),
            (6, 0),
            textcoords="offset points",
            color=colour,
            # Lines may end in one point: the label of the upper one grows up, the other's down.
            va="center" if upper is None else "bottom" if upper else "top",
        )
    return text


def _set_epochs(axes: Axes, most: int) -> None:
    """An axis from epoch 1 to the last, ``most``, both with their numbers."""
    margin = max(0.02 * (most - 1), 0.5 if most == 1 else 0.05)
    axes.set_xlim(1 - margin, most + margin)
    nice = MaxNLocator(nbins=6, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    inner = nice.tick_values(1, most)
    gap = 0.06 * (most - 1)  # so that no number touches the first or the last
    kept = [int(tick) for tick in inner if 1 + gap < tick < most - gap]
    axes.set_xticks(sorted({1, *kept, most}))
    axes.set_xlabel("epoch")
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)


def _best(values: Sequence[float]) -> int:
    """The epoch with the largest value, were some NaN too."""
    return 1 + int(np.argmax(np.nan_to_num(values, nan=-np.inf)))


def _add_legends(
    figure: Figure, left: Axes, groups: Mapping[str, _Group], ends: Sequence[str]
) -> None:
    """What the colours and the line styles of several groups mean."""
    kinds = [Line2D([], [], color="0.3", ls=style) for style in (":", "-")]
    left.legend(kinds, ["train", "test"], frameon=False)
    lines = [Line2D([], [], color=c) for c, _ in zip(GROUP_COLOURS, groups, strict=False)]
    names = [
        f"{name} ({len(runs)} run{'s' * (len(runs) > 1)}): {end}"
        for (name, runs), end in zip(groups.items(), ends, strict=True)
    ]
    figure.legend(lines, names, loc="outside upper left", frameon=False)


def confusion(counts: np.ndarray, names: Sequence[str], titles: bool = True) -> Figure:
    """Counts (C, C) in cells coloured by their share of the row, the true class."""
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
    return f"{text}\nmost frequent mistake ({often}):\n{names[true]} → {names[predicted]}"


def hidden_units(W1: np.ndarray, image_shape: Sequence[int], titles: bool = True) -> Figure:
    """The weights (F, H) into each hidden unit as an image, all on one scale around zero."""
    rows, columns = image_shape
    number = min(MAX_UNITS, max(1, _MAX_WEIGHTS // W1.shape[0]))
    shown = np.argsort(-np.linalg.norm(W1, axis=0), kind="stable")[:number]
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
        aspect=_aspect(rows / columns),
        interpolation="nearest",  # a smooth picture takes five times the space, and invents
    )
    axes.set_axis_off()
    bar = figure.colorbar(image, extend="both", shrink=0.7, pad=0.02, label="weight")
    bar.outline.set_visible(False)
    if titles:
        hidden = W1.shape[1]
        which = f"all {hidden}" if len(shown) == hidden else f"{len(shown)} of {hidden}"
        units = "the one hidden unit" if hidden == 1 else f"{which} hidden units"
        figure.suptitle(f"Weights into {units}" + ", largest norm first" * (len(shown) > 1))
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


def mistakes(
    items: Sequence[Mistake], counts: np.ndarray, names: Sequence[str], titles: bool = True
) -> Figure:
    """Mistakes as pictures, the most confident first; ``counts`` is the confusion matrix."""
    names = [short(name) for name in names]
    shown = sorted(items, key=lambda item: -item.probability)
    if not shown:
        return _message(f"No mistakes to show for {int(counts.sum()):,} test images")
    ratio = shown[0].image.shape[0] / shown[0].image.shape[1]
    across = math.ceil(math.sqrt(len(shown)))
    down = math.ceil(len(shown) / across)
    height = 0.5 + 1.25 * min(max(ratio, 0.25), 2)
    figure = Figure(figsize=(max(5.5, 1.7 * across), 0.7 + height * down))
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, item in zip(grid.flat, shown, strict=False):
        axes.imshow(item.image, cmap="gray_r", vmin=0, vmax=255, aspect=_aspect(ratio))
        caption = f"{names[item.true]}\n→ {names[item.predicted]} ({item.probability:.2f})"
        axes.set_title(caption, loc="center", fontsize=7.5)
    if titles:
        wrong = int(counts.sum() - np.trace(counts))
        some = f"All {wrong}" if len(shown) == wrong else f"{len(shown)} of {wrong:,}"
        which = f"{some} mistakes, most confident first" if wrong > 1 else "The only mistake"
        figure.suptitle(f"{which}\n(true → predicted class and its probability)")
    return figure


def short(name: str) -> str:
    """A class name that leaves room for the picture, on one line."""
    line = " ".join(name.split())
    return line if len(line) <= 18 else f"{line[:17].rstrip()}…"


def _message(text: str) -> Figure:
    figure = Figure(figsize=(5.5, 1.5))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _aspect(ratio: float) -> Any:
    """Square pixels, unless an image would become a hair: then it fills its place."""
    return "equal" if 1 / 8 <= ratio <= 8 else "auto"
