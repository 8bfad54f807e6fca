"""``backendmlp plot`` and the pictures of ``backendmlp train --plot``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from backendmlp.commands.spelling import as_options
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.files import shown
from backendmlp.plots import FORMATS, PICTURES, draw, require_matplotlib, save_figures
from backendmlp.runs.run import Run

__all__ = ["plot", "plot_run", "replot_run", "require_matplotlib"]


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
        print(f"Warning: {as_options(missing)}", file=sys.stderr, flush=True)
    if out is None and len(runs) == 1:
        out = runs[0] if runs[0].is_dir() else runs[0].parent
    for path in save_figures(out or Path(), figures, form):
        print(f"written to {path}")


def plot_run(run: Run) -> None:
    """Draw a training that has just ended into its folder."""
    _draw(run, {**_held(run.folder), "png": list(PICTURES)})


def replot_run(run: Run) -> str | None:
    """Draw anew the pictures that the folder holds of before a run went on; a sentence of that.

    They get titles, whatever they had.  None where there are none.
    """
    if not (old := _held(run.folder)):
        return None
    try:
        require_matplotlib()
        paths = _draw(run, old)
    except InputError as error:
        text = f"the pictures in {shown(run.folder)} are of before the run went on: {error}"
        print(f"Warning: {text}", file=sys.stderr, flush=True)
        return None
    return f"drawn anew: {', '.join(path.name for path in paths)}" if paths else None


def _held(folder: Path) -> dict[str, list[str]]:
    """The pictures of a run that ``folder`` holds, by their format."""
    found = {
        form: [name for name in PICTURES if (folder / f"{name}.{form}").is_file()]
        for form in FORMATS
    }
    return {form: names for form, names in found.items() if names}


def _draw(run: Run, wanted: Mapping[str, Sequence[str]]) -> list[Path]:
    """Draw those of the ``wanted`` pictures, by their format, that there are of ``run``."""
    # Features lie on the device as they were settled, which only the trainer understands.
    images = run.test[0] if run.dataset.pixels else None
    figures, _ = draw([run.folder], run.dataset, images=images)
    paths = []
    for form, names in wanted.items():
        chosen = {name: figures[name] for name in names if name in figures}
        paths += save_figures(run.folder, chosen, form)
    return paths
