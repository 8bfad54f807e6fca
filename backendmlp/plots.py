"""Trainings as pictures for a report: what each shows is in :mod:`backendmlp.drawing`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backendmlp.data import Dataset
from backendmlp.errors import InputError
from backendmlp.extras import install
from backendmlp.files import StrPath, shown, writable_folder, write_atomically
from backendmlp.findings import (
    picture_shape,
    read_network,
    require_epochs,
    require_same,
    try_network,
    try_regression,
)
from backendmlp.runs.parsing import Data
from backendmlp.runs.record import Record, read
from backendmlp.runs.stored import receipt_of
from backendmlp.sweeps.table import Row, deciding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = Any

FORMATS = ("png", "svg", "pdf")
PICTURES = ("curves", "confusion", "predictions", "hidden_units", "mistakes")
"""What a run's pictures may be; each run has some of them."""

_CHANCE = ("seed", "epochs")  # of a configuration: runs that differ in these alone are averaged
# Choices that only some others have a use for: by themselves they say nothing new.
_FOLLOWING = frozenset({"momentum", "beta_1", "beta_2", "epsilon", "decay", "decay_every", "tol"})
_MAX_GROUPS = 7  # colours that can be told apart
_STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, hence the same picture everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "figure.titlesize": 10,
    "figure.dpi": 150,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
    "text.parse_math": False,  # a class may be called "$5"
    "svg.hashsalt": "backendmlp",  # names inside the file that are the same each time
}
_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
}


def figures(
    *runs: StrPath, dataset: Dataset | None = None, titles: bool = True
) -> dict[str, Figure]:
    """The pictures of ``backendmlp plot`` as matplotlib figures, by name.

    Of one run, a folder that ``backendmlp train`` wrote: ``curves``; of classes ``confusion``, of
    a regression ``predictions``; and where the inputs are gray pictures ``hidden_units`` (the
    weights of the first layer), and of classes ``mistakes``.  Of several runs ``curves`` alone:
    those that differ in nothing but the seed and the number of epochs as their mean with one
    standard deviation, over the epochs that all of them have; others beside them, up to seven
    kinds; those that diverged are left out, and a :class:`UserWarning` names them.

    ``dataset`` is the run's; if None, it is opened where the receipt says it came from.  Where it,
    or the run's model, is not at hand, a :class:`UserWarning` says so, and what needs it is left
    out.  ``titles=False`` leaves room for a caption of your own.

    Raises :class:`InputError` where matplotlib is missing, a run cannot be read or has no epoch, a
    run is named twice, ``dataset`` is not the run's, or runs are of more than seven kinds.
    """
    result, missing = draw(runs, dataset, titles)
    if missing is not None:
        warnings.warn(missing, stacklevel=2)
    return result


def draw(
    runs: Sequence[StrPath],
    dataset: Dataset | None = None,
    titles: bool = True,
    images: Array = None,
) -> tuple[dict[str, Figure], str | None]:
    """The figures of ``runs``, as :func:`figures` says, and a sentence where some are missing.

    ``images`` are the test images of ``dataset`` where they lie on a device, which does the work.
    """
    require_matplotlib()
    places = [os.path.realpath(receipt_of(run)) for run in runs]
    if not runs:
        raise InputError("name the folder of a run, or of several")
    for number, place in enumerate(places):
        if place in places[:number]:
            raise InputError(f"run {shown(runs[number])} is named twice; name each once")
    records, missing = _drawable(runs)
    groups = _groups(records)
    if len(runs) > 1 and dataset is not None:
        raise InputError("several runs are drawn from their receipts alone; give no data")
    with _style():
        from backendmlp import drawing

        score = drawing.R2 if _is_regression(records) else drawing.ACCURACY
        epochs = {name: [record.epochs for record in group] for name, group in groups.items()}
        result = {"curves": drawing.curves(epochs, titles, score, _kept(groups))}
        if len(runs) == 1:
            others, missing = _draw_network(runs[0], records[0].data, dataset, titles, images)
            result.update(others)
        for figure in result.values():
            figure.draw_without_rendering()  # what is made late is made now, in this style
    return result, missing


def sweep_figure(rows: Sequence[Row]) -> Figure:
    """What the kinds of runs of a sweep came to, as a matplotlib figure, the best on top.

    Of the score of validation data, else of test data.  Raises :class:`InputError` where matplotlib
    is missing, or every run diverged.
    """
    require_matplotlib()
    if (name := deciding(rows)) is None:
        raise InputError("every run of the sweep diverged; lower the learning rate")
    with _style():
        from backendmlp import drawing

        score = drawing.R2 if name.endswith("_r2") else drawing.ACCURACY
        values = [row.found.get(name, []) for row in rows]
        names, diverged = [row.name for row in rows], [row.diverged for row in rows]
        figure = drawing.kinds(names, values, score, name.partition("_")[0], diverged)
        figure.draw_without_rendering()
    return figure


def _draw_network(
    run: StrPath, data: Data, dataset: Dataset | None, titles: bool, images: Array
) -> tuple[dict[str, Figure], str | None]:
    """The figures that need the network of ``run``, and why some cannot be had."""
    from backendmlp import drawing

    if dataset is not None:
        require_same(dataset, data)
    try:
        mlp = read_network(run)
    except InputError as error:
        return {}, f"the curves alone are drawn, since there is no model: {error}"
    weights = {}
    if (shape := picture_shape(mlp.image_shape)) is not None:
        kind = drawing.HIDDEN if mlp.config.hidden else drawing.OUTPUT
        weights["hidden_units"] = drawing.hidden_units(mlp.parameters["W1"], shape, titles, kind)
    if dataset is None:
        try:
            dataset = data.origin.open()
            require_same(dataset, data)
        except InputError as error:
            return weights, (
                f"{'curves and hidden units' if weights else 'the curves'} alone are drawn, since "
                f"the run's test data are not at hand: {error}; name them with dataset="
            )
    if mlp.config.regression:
        true, predicted = try_regression(mlp, dataset, images)
        return {"predictions": drawing.predictions(true, predicted, titles), **weights}, None
    counts, wrong = try_network(mlp, dataset, images)
    matrix = drawing.confusion(counts, mlp.class_names, titles, dataset.counted_as)
    result = {"confusion": matrix, **weights}
    if shape is not None:
        result["mistakes"] = drawing.mistakes(wrong, counts, mlp.class_names, titles)
    return result, None


def _is_regression(records: Sequence[Record]) -> bool:
    """Whether the runs are regressions; refuses a picture of both kinds."""
    kinds = {record.config.regression for record in records}
    if len(kinds) > 1:
        raise InputError(
            "some of the runs are regressions and others are of classes, which no one scale "
            "serves; plot them apart"
        )
    return kinds.pop()


def _drawable(runs: Sequence[StrPath]) -> tuple[list[Record], str | None]:
    """The receipts of ``runs``; where some diverged and some did not, of these, and a warning."""
    records = [read(receipt_of(run)) for run in runs]
    lost = [shown(run) for run, record in zip(runs, records, strict=True) if record.diverged]
    if lost and len(lost) < len(runs):
        names = ", ".join(lost[:10]) + ", ..." * (len(lost) > 10)
        missing = f"left out, since {'it' if len(lost) == 1 else 'they'} diverged: {names}"
    else:
        missing = None
    kept = [
        (run, record)
        for run, record in zip(runs, records, strict=True)
        if missing is None or not record.diverged
    ]
    for run, record in kept:
        require_epochs(run, record)
    return [record for _, record in kept], missing


def _kept(groups: Mapping[str, Sequence[Record]]) -> dict[str, list[int]]:
    """The epochs whose weights runs ended with, of the groups that watched for their best ones."""
    return {
        name: [record.ending.epoch for record in group if record.ending is not None]
        for name, group in groups.items()
        if group[0].config.patience is not None
    }


def _groups(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The runs of one kind, under a name that says what makes the kind different."""
    kinds: dict[tuple[Any, ...], list[Record]] = {}
    names = {record.data.sha256: record.data.origin.name for record in records}
    alike = len(set(names.values())) < len(names)
    keys = [key for key in asdict(records[0].config) if key not in _CHANCE]
    for record in records:
        config = asdict(record.config)
        kind = (record.data.sha256, *(config[key] for key in keys))
        kinds.setdefault(kind, []).append(record)
    if len(kinds) > _MAX_GROUPS:
        raise InputError(
            f"the runs are of {len(kinds)} kinds, and one picture holds {_MAX_GROUPS}; name fewer"
        )
    differing = [
        _differs(key, column)
        for key, column in zip(("", *keys), zip(*kinds, strict=True), strict=True)
    ]
    result = {}
    for kind, runs in kinds.items():
        name = names[kind[0]] + f" {kind[0][:8]}" * alike
        values = zip(keys, kind[1:], strict=True)
        words = [name, *(_words(key, value) for key, value in values)]
        shown_words = [word for word, differs in zip(words, differing, strict=True) if differs]
        result[", ".join(filter(None, shown_words))] = runs
    return result


def _differs(key: str, column: Sequence[Any]) -> bool:
    """Whether the choice ``key`` is to be named, which runs of several kinds made in ``column``."""
    followed = {value for value in column if value is not None} if key in _FOLLOWING else column
    return len(set(followed)) > 1


def _words(key: str, value: Any) -> str:
    """A choice in words, short enough for a legend."""
    if value is None or (isinstance(value, float) and value == 0.0):
        return "" if key in _FOLLOWING else f"no {key}"
    text = ",".join(f"{x:g}" for x in value) or "none" if isinstance(value, tuple) else str(value)
    return f"{key} {text}" if len(text) <= 40 else f"{key} {text[:39]}…"


def save_figures(folder: StrPath, figures: Mapping[str, Figure], form: str = "png") -> list[Path]:
    """Write each figure to ``folder`` (created where missing); returns the files' paths.

    ``form`` is one of :data:`FORMATS`; a PNG has 150 dpi.  The same figure gives the same bytes.
    Every figure is drawn before the first file is written.  Raises :class:`InputError` where the
    folder cannot be written.
    """
    target = writable_folder(folder)
    with _style():
        pictures = {f"{name}.{form}": _drawn(figure, form) for name, figure in figures.items()}
    for name, data in pictures.items():
        write_atomically(target / name, data)
    return [target / name for name in pictures]


def require_matplotlib() -> None:
    """Refuse before the work rather than after it, without importing matplotlib, which is slow."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError(f"plots need matplotlib; install it: {install('plot')}")


@contextmanager
def _any_backend() -> Iterator[None]:
    """Import matplotlib in here, whatever backend the environment names.

    One that is missing, as a notebook's own is in another environment, would forbid the import.
    Figures are drawn without any; the caller's own work finds the named one if it is there.
    """
    name = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        if name is not None:
            os.environ["MPLBACKEND"] = name
            with contextlib.suppress(ImportError, ValueError):
                import matplotlib

                matplotlib.rcParams["backend"] = name


@contextmanager
def _style() -> Iterator[None]:
    """Our style, for the process while we draw; it makes us deaf to the user's own settings."""
    try:
        with _any_backend():
            from matplotlib import style
    except ImportError as error:
        raise InputError(
            f"plots need matplotlib, which cannot be imported ({error}); "
            f"install it with: {install('plot')}"
        ) from error
    with warnings.catch_warnings(), style.context(_STYLE, after_reset=True):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box says it well enough
        yield


def _drawn(figure: Figure, form: str) -> bytes:
    """The figure as a file's bytes, which name no version of the software that drew it."""
    buffer = io.BytesIO()
    if form != "png":
        figure.savefig(buffer, format=form, metadata=_METADATA[form])
        return buffer.getvalue()
    from PIL import Image  # matplotlib needs it too

    figure.savefig(buffer, format="png")
    with Image.open(buffer) as image:
        # In 256 colours, none further than 2 % from what was drawn, a file has a third of the size.
        few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    buffer = io.BytesIO()
    few.save(buffer, "PNG", optimize=True, dpi=(figure.dpi, figure.dpi))
    return buffer.getvalue()
