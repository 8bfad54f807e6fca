"""What many runs came to, kind by kind: each run a dot, their mean, and its spread."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from backendmlp.drawing.course import Score

_BLUE, _GRAY = "#0072b2", "#555555"
_SHOWN = 40  # kinds that have room in a picture


def kinds(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    score: Score,
    of: str,
    diverged: int = 0,
    lost: Sequence[str] = (),
) -> Figure:
    """A line for each kind, the best on top; ``of`` says of which data the score is.

    So many runs ``diverged`` and are not in ``values``; of the kinds that are ``lost`` all did.
    """
    order = sorted(range(len(names)), key=lambda i: -np.mean(values[i]))[:_SHOWN]
    figure = Figure(figsize=(8, 1.2 + 0.25 * len(order)))
    axes = figure.subplots()
    for line, i in enumerate(order):
        found = np.array(values[i]) * score.factor
        axes.plot(found, [line] * len(found), "o", color=_GRAY, ms=3, alpha=0.5, zorder=2)
        spread = found.std(ddof=1) if len(found) > 1 else None
        axes.errorbar(found.mean(), line, xerr=spread, fmt="D", color=_BLUE, ms=4, capsize=3)
        text = score.form.format(found.mean())
        text += "" if not spread else f" ± {score.form.format(spread)}"
        axes.annotate(text, (1, line), (4, 0), ("axes fraction", "data"), "offset points",
                      va="center", fontsize=7.5, color=_BLUE)  # fmt: skip
    axes.set_yticks(
        range(len(order)), [textwrap.shorten(names[i], 70, placeholder=" …") for i in order]
    )
    axes.invert_yaxis()
    axes.set_xlabel(f"{of} {score.title}")
    axes.grid(axis="x", lw=0.3)
    notes = "diamonds: means, with one standard deviation; dots: runs"
    if len(names) > _SHOWN:
        notes += f"; the best {_SHOWN} of {len(names)} kinds"
    if diverged:
        notes += f"\n{diverged} run{'s' * (diverged > 1)} diverged and are left out"
    if lost:
        notes += textwrap.shorten(f", among them all of {'; '.join(lost)}", 120, placeholder=" …")
    figure.supxlabel(notes, x=0.01, ha="left", color=_GRAY, fontsize=7.5)
    return figure
