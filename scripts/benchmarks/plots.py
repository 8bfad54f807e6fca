"""Two pictures: how far everyone is from the bare products, and how time grows with the data."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.contestants import ENTRIES
from benchmarks.goals import Cells, Results

# Okabe and Ito's colours, told apart by colour-blind people too.
_OURS, _PEER, _PRODUCTS, _INK = "#0072B2", "#E69F00", "#999999", "#222222"
_LINES = ("#0072B2", "#D55E00", "#009E73")
_BASE = "products-float32"


def plot_ratios(cells: Cells, file: Path) -> None:
    """A panel for each cell, a row for each discipline: times over the bare float32 products'."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = {cell: results for cell, results in cells.items() if _BASE in results}
    if not shown:
        return
    rows = list(dict.fromkeys(discipline for discipline, _ in shown))
    columns = list(dict.fromkeys(batch_size for _, batch_size in shown))
    most = max(map(len, shown.values()))
    size = 5.2 * len(columns) + 1.5, (0.4 * most + 0.6) * len(rows) + 1
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for (discipline, batch_size), results in shown.items():
        axes = panels[rows.index(discipline), columns.index(batch_size)]
        axes.set_axis_on()
        _bars(axes, results)
        axes.set_title(f"batch {batch_size}, {discipline.title}", loc="left", fontsize=11)
    figure.suptitle(
        "An epoch's time, as a multiple of its\nbare float32 products; shorter is faster",
        fontsize=12,
    )
    figure.savefig(file, dpi=150)


def _bars(axes: Any, results: Results) -> None:
    base = median(results[_BASE].seconds)
    keys = sorted(results, key=lambda key: -median(results[key].seconds))
    values = [median(results[key].seconds) / base for key in keys]
    bars = axes.barh(range(len(keys)), values, color=[_colour(key) for key in keys], height=0.7)
    texts = [
        f" {v:.2f}×   {median(results[k].seconds):.3g} s" for k, v in zip(keys, values, strict=True)
    ]
    axes.bar_label(bars, texts, fontsize=9, color=_INK)
    axes.set_yticks(range(len(keys)), [ENTRIES[key].label for key in keys], fontsize=9)
    for label, key in zip(axes.get_yticklabels(), keys, strict=True):
        label.set_fontweight("bold" if key.startswith("ours-") else "normal")
    axes.set_xlim(0, max(values) * 1.35)
    axes.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    _bare(axes)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)


def _colour(key: str) -> str:
    if key.startswith("ours-"):
        return _OURS
    return _PRODUCTS if key.startswith(("products-", "pass-")) else _PEER


def plot_growth(per_image: dict[str, dict[int, float]], file: Path) -> None:
    """Seconds an epoch by the number of images, both logarithmic, beside a straight line."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    for colour, (key, times) in zip(_LINES, per_image.items(), strict=False):
        counts = sorted(times)
        middle = median(times.values())
        axes.plot(counts, [n * middle for n in counts], color=colour, linewidth=0.8, linestyle=":")
        axes.plot(counts, [n * times[n] for n in counts], color=colour, marker="o", linewidth=1.8)
        axes.annotate(
            f"{ENTRIES[key].label}\n{1e6 * middle:.2f} µs an image",
            (counts[-1], counts[-1] * times[counts[-1]]),
            xytext=(8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=9,
        )
    axes.set_xlim(counts[0] * 0.8, counts[-1] * 7)
    axes.set_xticks(counts)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("images")
    axes.set_ylabel("seconds an epoch")
    axes.set_title("An epoch's time by the number of images (dotted: in exact proportion)",
                   loc="left", fontsize=11)  # fmt: skip
    axes.grid(True, color="#dddddd", linewidth=0.6)
    _bare(axes)
    figure.savefig(file, dpi=150)


def _bare(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
