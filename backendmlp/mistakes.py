"""The classic mistakes with training data, each told by one warning; nothing is changed."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.backend import namespace, to_numpy
from backendmlp.errors import warn

Array = Any

_LOOKED_AT = 1000  # rows whose size is taken: enough to see what the numbers are
_USUAL = 30.0  # features of about one never have a root mean square beyond it
_DARK = 16  # pixels that end here or below are black to the eye


def look_at_images(x: Array) -> None:
    """Warn where training inputs ``x`` (N, F), uint8 or floats, are not of the size they should."""
    if x.dtype == namespace(x).uint8:
        _look_at_pixels(x)
    else:
        _look_at_floats(to_numpy(x[:: max(1, x.shape[0] // _LOOKED_AT), :]))


def look_at_targets(y: Array) -> None:
    """Warn where the targets (N, C) of a regression are not of the size they should be."""
    found = to_numpy(y)
    size = float(np.sqrt(np.mean(np.square(found, dtype=np.float64))))
    if size > _USUAL:
        warn(
            f"the targets go from {found.min():g} to {found.max():g}, too large to train well; "
            "standardise them: (targets - targets.mean(axis=0)) / targets.std(axis=0)"
        )


def look_at_labels(y: Array, classes: int) -> None:
    """Warn where training labels ``y`` (N,), from 0, leave classes without a single image."""
    found = np.flatnonzero(np.bincount(to_numpy(y), minlength=classes))
    first = int(found[0])
    if len(found) * 2 < classes:
        warn(
            f"the training labels are {len(found)} different numbers up to {classes - 1}, so that "
            f"{classes - len(found)} of {classes} outputs have nothing to learn; number the "
            "classes from 0, as with: values, labels = np.unique(labels, return_inverse=True)"
        )
    elif first > 0:
        warn(
            f"the training labels start at {first}, so that the network has {classes} outputs for "
            f"{len(found)} classes; write labels - {first}"
        )


def _look_at_pixels(x: Array) -> None:
    top = int(namespace(x).max(x))
    if 0 < top <= _DARK:
        warn(
            f"the images are uint8 and none exceeds {top}: as pixels, worth 1/255 a level, all of "
            f"them are nearly black; write images / {top} to give them as floats from 0 to 1"
        )


def _look_at_floats(rows: np.ndarray) -> None:
    low, high = float(rows.min()), float(rows.max())
    size = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64))))
    if not size > _USUAL:
        return
    if low >= 0 and high <= 255:
        warn(
            f"the images are floats from {low:g} to {high:g}, as pixels are: floats are taken as "
            'they are, and so large ones hardly train; write images.astype("uint8"), or '
            "images / 255"
        )
    else:
        warn(
            f"the inputs are floats from {low:g} to {high:g}, too large to train well; standardise "
            "them: (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)"
        )
