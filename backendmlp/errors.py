"""The user's mistakes: the one exception, and the one warning, that this package raises itself."""

from __future__ import annotations

import sys
import warnings


class InputError(ValueError):
    """Bad input: one sentence that names the argument or file, what is wrong and what to do.

    The command line prints the sentence and leaves with exit code 2.
    """


class DataWarning(UserWarning):
    """Data that can be used and are probably not meant so: what was seen, and what to write."""


def warn(text: str, category: type[Warning] = DataWarning) -> None:
    """Issue a warning that points at the line from which the package was called."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "backendmlp":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
