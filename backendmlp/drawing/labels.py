"""What lines are and came to, written at their right ends, so that no legend is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

_POINTS = 170.0  # the height of a panel, roughly
_LINE = 11.0  # the height of a line of text


@dataclass(frozen=True)
class Label:
    """A line's ``name`` and last ``value`` at its ``end``; without that it is not shown."""

    end: tuple[float, float] | None
    value: str
    colour: str
    name: str


def put_labels(axes: Axes, labels: Sequence[Label]) -> None:
    """Write ``labels`` beside the ends of their lines, apart from one another where those meet."""
    low, high = axes.get_ylim()
    found = [(label, label.end) for label in labels if label.end is not None]
    found.sort(key=lambda entry: entry[1][1])
    wanted = [_POINTS * (end[1] - low) / ((high - low) or 1.0) for _, end in found]
    for (label, end), place, height in zip(found, _apart(wanted), wanted, strict=True):
        axes.annotate(
            f"{label.name} {label.value}",
            end,
            (8, place - height),
            textcoords="offset points",
            color=label.colour,
            va="center",
        )


def _apart(wanted: Sequence[float]) -> list[float]:
    """Heights, ascending, no two nearer than a line of text, each as near as may be."""
    # Blocks of labels that touch: each is centred on the mean of what its labels want.
    blocks: list[list[float]] = []
    for height in wanted:
        blocks.append([height])
        while len(blocks) > 1 and _top(blocks[-2]) > _bottom(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [
        _bottom(block) + (number + 0.5) * _LINE for block in blocks for number in range(len(block))
    ]


def _bottom(block: Sequence[float]) -> float:
    return sum(block) / len(block) - len(block) * _LINE / 2


def _top(block: Sequence[float]) -> float:
    return _bottom(block) + len(block) * _LINE
