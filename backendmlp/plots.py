"""A training as four pictures for a report; what each shows is in :mod:`backendmlp.figures`."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.files import StrPath, writable_folder, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
}


def save_plots(
    folder: StrPath,
    history: Sequence[dict[str, Any]],
    confusion: np.ndarray,
    W1: np.ndarray,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    mistakes: Sequence[dict[str, Any]],
) -> list[Path]:
    """Draw a training into ``folder`` (created where missing); returns the four files' paths.

    ``history``: one dict an epoch, with ``epoch``, ``train_loss``, ``test_loss`` and
    ``test_accuracy`` (a fraction).  ``confusion``: (C, C) counts, a row for each true class.
    ``W1``: (F, H) finite weights of the hidden units.  ``image_shape``: (rows, columns) with
    product F.  ``class_names``: C texts.  ``mistakes``: dicts with ``image`` (rows, columns)
    uint8, ``true`` and ``predicted`` class numbers and ``probability``, in any order.

    The files, 150 dpi: ``curves.png``, ``confusion.png``, ``hidden_units.png``, ``mistakes.png``.
    Raises :class:`InputError` where matplotlib is missing, the arguments do not fit one another or
    the folder cannot be written.  Every figure is drawn before the first file is written.
    """
    _check(history, confusion, W1, image_shape, class_names)
    figures = _import_figures()
    from matplotlib import style

    target = writable_folder(folder)
    names = [figures.short(name) for name in class_names]
    # The style holds for the process while we draw; it makes us deaf to the user's own settings.
    with warnings.catch_warnings(), style.context(_STYLE, after_reset=True):
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box says it well enough
        pictures = {
            "curves.png": _png(figures.curves(history)),
            "confusion.png": _png(figures.confusion(confusion, names)),
            "hidden_units.png": _png(figures.hidden_units(W1, image_shape)),
            "mistakes.png": _png(figures.mistakes(mistakes, confusion, names)),
        }
    for name, data in pictures.items():
        write_atomically(target / name, data)
    return [target / name for name in pictures]


def _check(
    history: Sequence[dict[str, Any]],
    confusion: np.ndarray,
    W1: np.ndarray,
    image_shape: Sequence[int],
    class_names: Sequence[str],
) -> None:
    if not history:
        raise InputError("history is empty; train for at least one epoch before plotting")
    if confusion.shape != (len(class_names),) * 2 or not class_names:
        raise InputError(
            f"confusion has shape {confusion.shape}; with {len(class_names)} class_names it must "
            "have as many rows and columns, and at least one"
        )
    pixels = math.prod(image_shape)
    if W1.ndim != 2 or len(image_shape) != 2 or W1.shape[0] != pixels or not W1.size:
        raise InputError(
            f"W1 has shape {W1.shape}, which does not fit image_shape {tuple(image_shape)}; "
            "it needs a row for each pixel and a column for each hidden unit"
        )
    if not np.isfinite(W1).all():
        raise InputError("W1 has NaN or infinite weights; train again with a lower learning rate")


def _import_figures() -> ModuleType:
    """The drawing itself, imported only here: matplotlib is slow to import, and optional."""
    try:
        from backendmlp import figures
    except ImportError as error:
        raise InputError(
            f"plots need matplotlib, which cannot be imported ({error}); "
            "install it with: pip install 'backendmlp[plot]'"
        ) from error
    return figures


def _png(figure: Figure) -> bytes:
    """The figure as a file's bytes, which name no version of the software that drew it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
