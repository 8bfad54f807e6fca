"""Loss and score over the epochs of trainings, of one or of several in one picture."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from backendmlp.drawing.labels import Label, put_labels

if TYPE_CHECKING:
    from backendmlp.training.records import EpochRecord

_BLUE, _ORANGE, _GREEN, _GRAY = "#0072b2", "#d55e00", "#009e73", "#555555"
GROUP_COLOURS = (_BLUE, _ORANGE, _GREEN, "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_COLOURS = {"train": _BLUE, "validation": _GREEN, "test": _ORANGE}
_STYLES = {"train": ":", "validation": "--", "test": "-"}
_MARKERS = {":": "x", "--": "s", "-": "o"}
_LETTERS = 105  # of a legend's line
_DECADES = 1e3  # losses that differ by more are drawn on a logarithmic scale
LOWEST = -1.0  # R squared shown: what is worse would hide how good it became

_Group = Sequence[Sequence["EpochRecord"]]  # runs that differ in nothing but chance


@dataclass(frozen=True)
class Score:
    """What a score is called, in which field of a record, times what, and how it is written."""

    name: str
    field: str
    factor: float
    form: str
    unit: str

    @property
    def title(self) -> str:
        return self.name + (f" in {self.unit}" if self.unit else "")


ACCURACY = Score("accuracy", "accuracy", 100, "{:.2f}", "%")
R2 = Score("R²", "r2", 1, "{:.4f}", "")
_LOSSES = {"accuracy": "cross-entropy loss", "r2": "squared-error loss"}


def curves(
    groups: Mapping[str, _Group],
    titles: bool = True,
    score: Score = ACCURACY,
    kept: Mapping[str, Sequence[int]] | None = None,
) -> Figure:
    """Loss and score over the epochs, side by side.

    ``groups`` has the epochs of one or more runs under each name, which is shown where there are
    several.  The runs of a group are drawn as their mean, with a band of one standard deviation.
    ``kept`` has, of groups that watched for their best epochs, those whose weights each run ended
    with, from 1: what such a group came to is told of these.
    """
    kept = kept or {}
    alone = len(groups) == 1
    shown = _shown_data(groups)
    width = 8 if len(shown) == 1 else 9  # titles and labels are longer with validation data
    figure = Figure(figsize=(width, 3.5))
    panels = figure.subplots(1, 2)
    lasts, labels = _draw_lines(panels, groups, score, shown)
    bests = {name: _best_end(groups[name], kept[name], score, shown) for name in kept}
    most = max(len(epochs) for runs in groups.values() for epochs in runs)
    for axes in panels:
        _set_epochs(axes, most)
    notes = _notes(groups, shown)
    if alone:
        notes += _mark_kept(panels, groups, kept, bests)
    if score is R2 and panels[1].get_ylim()[0] < LOWEST:
        panels[1].set_ylim(bottom=LOWEST)
        notes.append(f"R² below {LOWEST:g} is not shown")
    if _is_wide(groups, shown):
        panels[0].set_yscale("log")
        # In plain figures: formulas are not read.
        panels[0].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panels[0].yaxis.set_minor_formatter(NullFormatter())
        notes.append("the loss on a logarithmic scale")
    if titles:
        notes += _add_titles(panels, groups, most, score, shown)
    else:
        panels[0].set_ylabel(_LOSSES[score.field])
        panels[1].set_ylabel(_of(shown, score.title))
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", color=_GRAY, fontsize=7.5)
    if alone:
        for axes, found in zip(panels, labels, strict=True):
            put_labels(axes, found)
    else:
        ends = [bests.get(name, last) for name, last in zip(groups, lasts, strict=True)]
        _add_legends(figure, panels[0], groups, ends, shown)
    return figure


def _best_end(runs: _Group, kept: Sequence[int], score: Score, shown: Sequence[str]) -> str:
    """What ``runs`` came to in the epochs that they ``kept``, in words."""
    columns = _columns(runs, f"{shown[-1]}_{score.field}")
    values = np.array([column[epoch - 1] for column, epoch in zip(columns, kept, strict=True)])
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    text = _value(score.factor * values.mean(), score.factor * spread, score.form, score.unit)
    low, high = min(kept), max(kept)
    epochs = f"epoch {low}" if low == high else f"the epochs kept, {low} to {high}"
    return f"{shown[-1]} {score.name} {text} after {epochs}"


def _mark_kept(
    panels: Sequence[Axes],
    groups: Mapping[str, _Group],
    kept: Mapping[str, Sequence[int]],
    bests: Mapping[str, str],
) -> list[str]:
    """Show which epochs the runs of the only group ended with, where those are not the last."""
    ((name, runs),) = groups.items()
    if all(epoch == len(run) for run, epoch in zip(runs, kept.get(name, ()), strict=False)):
        return []
    if len(runs) > 1:
        return [f"weights kept: {bests[name]}"]
    (epoch,) = kept[name]
    for axes in panels:
        axes.axvline(epoch, color=_GRAY, lw=0.8, ls=(0, (4, 3)), zorder=1)
    return [f"vertical line: epoch {epoch}, whose weights the run ended with"]


def _draw_lines(
    panels: Sequence[Axes], groups: Mapping[str, _Group], score: Score, shown: Sequence[str]
) -> tuple[list[str], list[list[Label]]]:
    """All lines; what each group came to, in words, and the labels of both panels."""
    alone = len(groups) == 1
    ends: list[str] = []
    labels: list[list[Label]] = [[], []]
    for runs, colour in zip(groups.values(), GROUP_COLOURS, strict=False):
        for data in ("train", *shown):
            own, style = (_COLOURS[data], "-") if alone else (colour, _STYLES[data])
            losses = _columns(runs, f"{data}_loss")
            labels[0].append(_draw(panels[0], losses, own, "{:.3f}", data, style))
            if data in shown:
                values = [score.factor * x for x in _columns(runs, f"{data}_{score.field}")]
                label = _draw(panels[1], values, own, score.form, data, style, score.unit)
                labels[1].append(label)
        end = f"{shown[-1]} {score.name} {labels[1][-1].value}"
        ends.append(f"{end} after epoch {min(map(len, runs))}")
    return ends, labels


def _shown_data(groups: Mapping[str, _Group]) -> list[str]:
    """ "validation" where a run has such data, and "test"."""
    records = [record for runs in groups.values() for epochs in runs for record in epochs]
    validated = any(record.validation_loss is not None for record in records)
    return ["validation"] * validated + ["test"]


def _is_wide(groups: Mapping[str, _Group], shown: Sequence[str]) -> bool:
    """Whether losses are of such different sizes that a linear scale shows the largest alone."""
    names = [f"{data}_loss" for data in ("train", *shown)]
    losses = np.concatenate(
        [run for runs in groups.values() for name in names for run in _columns(runs, name)]
    )
    positive = losses[losses > 0]
    return positive.size > 0 and bool(positive.max() > _DECADES * positive.min())


def _notes(groups: Mapping[str, _Group], shown: Sequence[str]) -> list[str]:
    others = " and ".join(shown)
    notes = [f"train: mean over the epoch, while the weights moved; {others}: at its end"]
    if max(map(len, groups.values())) > 1:
        notes.append(
            "line: mean of the runs, over the epochs that all have; band: one standard deviation "
            "either way"
        )
    return notes


def _add_titles(
    panels: Sequence[Axes],
    groups: Mapping[str, _Group],
    most: int,
    score: Score,
    shown: Sequence[str],
) -> list[str]:
    """What the panels show, and for a single run its best; what has to be noted of that."""
    loss, title = _capital(_LOSSES[score.field]), _capital(_of(shown, score.title))
    runs = [run for group in groups.values() for run in group]
    if len(runs) > 1 or most == 1:
        panels[0].set_title(loss)
        panels[1].set_title(title)
        return []
    by = shown[0]
    losses = _columns(runs, f"{by}_loss")[0]
    scores = score.factor * _columns(runs, f"{by}_{score.field}")[0]
    lowest, highest = _best(-losses), _best(scores)
    best = (lowest, f": lowest {by} loss in epoch"), (highest, f": {_best_of(shown)} epoch")
    texts, ringed = [], False
    for axes, values, (epoch, words) in zip(panels, (losses, scores), best, strict=True):
        alike = bool(np.nanmax(values) == np.nanmin(values)) if np.isfinite(values).any() else True
        texts.append("" if alike else f"{words} {epoch}")
        if alike:
            continue  # none of them is the best
        ringed = True
        (ring,) = axes.plot([epoch], [values[epoch - 1]], "o", ms=9, mfc="none", clip_on=False)
        ring.set(mew=1.2, mec=_COLOURS[by])
    panels[0].set_title(loss + texts[0])
    panels[1].set_title(title + texts[1])
    if not ringed:
        return []
    chosen = f"rings: lowest and best epoch, chosen on the {by} data"
    if by == "test":
        return [f"{chosen} themselves, so that new data may well do worse"]
    return [chosen]


def _best_of(shown: Sequence[str]) -> str:
    return f"best {shown[0]} in" if len(shown) > 1 else "best in"


def _of(shown: Sequence[str], title: str) -> str:
    """A score's title, of one kind of data where there is only one."""
    return title if len(shown) > 1 else f"{shown[0]} {title}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _columns(runs: _Group, name: str) -> list[np.ndarray]:
    return [np.array([_number(getattr(epoch, name)) for epoch in epochs]) for epochs in runs]


def _number(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else value


def _draw(
    axes: Axes,
    runs: Sequence[np.ndarray],
    colour: str,
    form: str,
    name: str,
    style: str,
    unit: str = "",
) -> Label:
    """The mean of ``runs`` with its spread, over the epochs that all have; its label."""
    reached = min(map(len, runs))
    values = np.stack([run[:reached] for run in runs])
    epochs, mean = np.arange(1, reached + 1), values.mean(axis=0)
    if len(runs) > 1:
        spread = values.std(axis=0, ddof=1)
        axes.fill_between(epochs, mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        for run in runs if style == "-" else ():  # more thin lines would be a thicket
            axes.plot(np.arange(1, len(run) + 1), run, color=colour, lw=0.5, alpha=0.5, ls=style)
    size = 0 if reached >= 40 else 3 if reached > 1 else 5
    axes.plot(epochs, mean, color=colour, ls=style, marker=_MARKERS[style], ms=size)
    # A training that diverged ends in NaN; its line stops earlier, and there its label stands.
    finite = np.flatnonzero(np.isfinite(mean))
    if not finite.size:
        return Label(None, "no number", colour, "")
    end = finite[-1]
    text = _value(mean[end], spread[end] if len(runs) > 1 else 0.0, form, unit)
    return Label((float(epochs[end]), float(mean[end])), text, colour, name)


def _value(mean: float, spread: float, form: str, unit: str) -> str:
    text = form.format(mean)
    if spread > 0.0:
        text += f" ± {form.format(spread)}"
    return text + f" {unit}" * bool(unit)


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


def _best(values: np.ndarray) -> int:
    """The epoch with the largest value, were some NaN too."""
    return 1 + int(np.argmax(np.nan_to_num(values, nan=-np.inf)))


def _add_legends(
    figure: Figure,
    left: Axes,
    groups: Mapping[str, _Group],
    ends: Sequence[str],
    shown: Sequence[str],
) -> None:
    """What the colours and the line styles of several groups mean."""
    names = ["train", *shown]
    styles = [_STYLES[name] for name in names]
    kinds = [Line2D([], [], color="0.3", ls=s, marker=_MARKERS[s], ms=4) for s in styles]
    left.legend(kinds, names, frameon=False)
    lines = [Line2D([], [], color=c) for c, _ in zip(GROUP_COLOURS, groups, strict=False)]
    texts = [
        textwrap.fill(f"{name} ({len(runs)} run{'s' * (len(runs) > 1)}): {end}", _LETTERS)
        for (name, runs), end in zip(groups.items(), ends, strict=True)
    ]
    figure.legend(lines, texts, loc="outside upper left", frameon=False)
    rows = sum(text.count("\n") + 1 for text in texts)
    figure.set_figheight(3.6 + 0.2 * rows)
