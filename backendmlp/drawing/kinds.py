"""What many runs came to, kind by kind: each run a dot, their mean, and its spread."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backendmlp.drawing.course import LOWEST, R2, Score

_BLUE, _ORANGE, _GRAY = "#0072b2", "#d55e00", "#555555"
_SHOWN = 40  # kinds that have room in a picture


def kinds(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    score: Score,
    of: str,
    diverged: Sequence[int],
) -> Figure:
    """A line for each kind, the best on top; ``of`` says of which data the score is.

    So many runs of each kind ``diverged`` and are not among its ``values``, of which at least one
    kind has some.
    """
    scaled = [np.array(runs) * score.factor for runs in values]
    order = sorted(range(len(names)), key=lambda i: -_mean(scaled[i]))[:_SHOWN]
    shown = [scaled[i] for i in order]
    floor = _floor(np.concatenate(shown), score)
    figure = Figure(figsize=(8, 1.5 + 0.25 * len(order)))
    axes = figure.subplots()
    for line, i in enumerate(order):
        _draw(axes, line, scaled[i], floor)
        text = _came_to(scaled[i], score, diverged[i])
        there = len(scaled[i]) and _mean(scaled[i]) >= floor
        axes.annotate(text, (1, line), (4, 0), ("axes fraction", "data"), "offset points",
                      va="center", fontsize=7.5, color=_BLUE if there else _ORANGE)  # fmt: skip
    axes.set_yticks(
        range(len(order)), [textwrap.shorten(names[i], 70, placeholder=" …") for i in order]
    )
    axes.set_ylim(len(order) - 0.5, -0.5)
    if floor > -math.inf:
        axes.set_xlim(_limits(shown, floor))
    axes.set_xlabel(f"{of} {score.title}")
    axes.grid(axis="x", lw=0.3)
    several = f"of {len(names)} kinds of runs, the best on top" if len(names) > 1 else "of all runs"
    figure.suptitle(f"{of.capitalize()} {score.name} {several}", x=0.01, ha="left")
    notes = _notes(shown, floor)
    if len(names) > _SHOWN:
        notes += f"; the best {_SHOWN} of {len(names)} kinds"
    if lost := sum(diverged):
        left = "runs diverged and are left out" if lost > 1 else "run diverged and is left out"
        notes += f"\n{lost} {left}"
    figure.supxlabel(notes, x=0.01, ha="left", color=_GRAY, fontsize=7.5)
    return figure


def _mean(found: np.ndarray) -> float:
    """The mean of a kind's runs; less than any other where all diverged."""
    return float(found.mean()) if len(found) else -math.inf


def _spread(found: np.ndarray) -> float | None:
    """The standard deviation of a sample; None of less than two runs."""
    with np.errstate(over="ignore"):
        return float(found.std(ddof=1)) if len(found) > 1 else None


def _floor(found: np.ndarray, score: Score) -> float:
    """What is less is not on the scale: a lost regression, beside which all others look alike."""
    return LOWEST if score is R2 and found.min() < LOWEST <= found.max() else -math.inf


def _limits(shown: Sequence[np.ndarray], floor: float) -> tuple[float, float]:
    """The scale for all runs and means that are not below ``floor``."""
    marks = np.concatenate([*shown, [_mean(found) for found in shown]])
    marks = marks[marks >= floor]
    margin = 0.05 * float(np.ptp(marks)) or 0.05
    return float(marks.min()) - margin, float(marks.max()) + margin


def _draw(axes: Axes, line: int, found: np.ndarray, floor: float) -> None:
    """The runs of a kind and their mean; an arrow at the edge for those below ``floor``."""
    kept = found[found >= floor]
    axes.plot(kept, [line] * len(kept), "o", color=_GRAY, ms=3, alpha=0.5, zorder=2)
    if len(kept) and (mean := _mean(found)) >= floor:
        axes.errorbar(mean, line, xerr=_spread(found), fmt="D", color=_BLUE, ms=4, capsize=3)
    if len(kept) < len(found):
        edge = axes.get_yaxis_transform()
        axes.plot(0.012, line, "<", color=_ORANGE, ms=6, transform=edge, zorder=3)


def _came_to(found: np.ndarray, score: Score, diverged: int) -> str:
    """A kind's mean and spread in words, and how many runs are not in them."""
    parts = []
    if len(found):
        spread = _spread(found)
        several = f" ± {_number(spread, score)}" if spread else ""
        parts.append(f"{_number(_mean(found), score)}{several}")
    if diverged:
        parts.append(f"{diverged} diverged")
    return ", ".join(parts)


def _number(value: float, score: Score) -> str:
    return score.form.format(value) if abs(value) < 1e6 else f"{value:.3g}"


def _notes(shown: Sequence[np.ndarray], floor: float) -> str:
    """What the marks mean, of those that there are."""
    most, least = (what(len(found) for found in shown if len(found)) for what in (max, min))
    if most == 1:
        text = "diamonds: one run of each kind"
    else:
        spread = "with one standard deviation" + " where there are several runs" * (least == 1)
        text = f"diamonds: means, {spread}; dots: runs"
    arrows = f"; arrows: runs with R² below {floor:g}, which is off the scale"
    return text + arrows * (floor > -math.inf)
