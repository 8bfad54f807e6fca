"""``backendmlp plot`` and the pictures of ``backendmlp train --plot``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.plots import draw, require_matplotlib, save_figures
from backendmlp.runs.run import Run

__all__ = ["plot", "plot_run", "require_matplotlib"]


def plot(
    runs: Sequence[Path],
    *,
    out: Path | None,
    form: str,
    titles: bool,
    data: Path | None,
    dataset: str | None,
) -> None:
    """Draw one run into its folder, or several into one picture in the current folder."""
    require_matplotlib()
    given = data is not None or dataset is not None
    if given and len(runs) > 1:
        raise InputError(
            "several runs are drawn from their receipts alone; leave --data and --dataset out"
        )
    figures, missing = draw(runs, origin(data, dataset).open() if given else None, titles)
    if missing is not None:
        print(f"Warning: {missing}", file=sys.stderr, flush=True)
    if out is None and len(runs) == 1:
        out = runs[0] if runs[0].is_dir() else runs[0].parent
    for path in save_figures(out or Path(), figures, form):
        print(f"written to {path}")


def plot_run(run: Run) -> None:
    """Draw a training that has just ended into its folder."""
    # Features lie on the device as they were settled, which only the trainer understands.
    images = run.test[0] if run.dataset.pixels else None
    figures, _ = draw([run.folder], run.dataset, images=images)
    save_figures(run.folder, figures)
