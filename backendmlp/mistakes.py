"""The classic mistakes, most of them with data, each told by one warning; nothing is changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backendmlp.backend import namespace, to_numpy
from backendmlp.errors import warn
from backendmlp.features import TRAINING_BITS

Array = Any

_LOOKED_AT = 1000  # rows whose size is taken: enough to see what the numbers are
_USUAL = 30.0  # features of about one never have a root mean square beyond it
_LONGEST = 100.0  # a rate times a row's squared length; beyond it plain descent leaps about
_CENTRED = 3.0  # a root mean square below which it is not the scale that is wrong
_SHORTEST = 0.01  # a row's squared length, below which a step changes next to nothing
_MANY, _FEW_EACH = 30, 4  # classes with fewer rows each are more likely targets of a regression
_DARK = 16  # pixels that end here or below are black to the eye
_FEW_COLUMNS = 16  # of whole numbers, below which they are rather ages and counts than pixels
_FEW_ROWS = 16  # that may be dark by chance
_FAR_BELOW = 1 << (TRAINING_BITS - 6)  # in a column's units: 64 times below what was trained on


def look_at_images(x: Array, shape: tuple[int, ...] = (), lr: float = 0.0) -> None:
    """Warn where training inputs ``x`` (N, F), uint8 or floats, are not of the size they should.

    ``shape`` is that of one of them before it was flattened, ``lr`` the learning rate.
    """
    some = x[:: max(1, x.shape[0] // _LOOKED_AT), :]
    if x.dtype == namespace(x).uint8:
        _look_at_pixels(x, some)
    else:
        _look_at_floats(to_numpy(some), shape, lr)


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
    if len(found) > _MANY and y.shape[0] < _FEW_EACH * len(found):
        warn(
            f"the training labels are {len(found)} different numbers in {y.shape[0]} rows, as "
            "targets of a regression are: for one give loss='squared_error'"
        )
    elif len(found) * 2 < classes:
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


def look_at_steps(decay_every: int | None, epochs: int, lr: float) -> None:
    """Warn where a rate that is to fall in steps comes to none of them."""
    if decay_every is not None and decay_every >= epochs:
        warn(
            f"the rate falls after every {decay_every} epochs and the training has {epochs}, in "
            f"which it stays at {lr:g}; give a smaller decay_every, or train for longer",
            UserWarning,
        )


def look_at_warmup(warmup: float, epochs: int, lr: float) -> None:
    """Warn where the rate climbs through the whole training, and never gets to ``lr``."""
    if warmup > epochs:
        warn(
            f"warmup is {warmup:g} epochs and the training has {epochs}, in which the rate climbs "
            f"to {lr * epochs / warmup:.3g} and never to {lr:g}; give fewer, or train for longer",
            UserWarning,
        )


def look_at_shown(x: Array, pixels: bool | None, unit: np.ndarray | None) -> None:
    """Warn where inputs ``x`` (N, F) are of another scale than those that a network learned from.

    Those were ``pixels`` or not, None where nobody knows, and settled in ``unit`` (F,) perhaps.
    """
    xp = namespace(x)
    if x.dtype == xp.uint8:
        if unit is not None and (top := _top(unit)) > 2.0:
            remedy = 'images.astype("float64")' if top == 256.0 else "them scaled as those were"
            warn(
                "the images are uint8 pixels, which count as 0 to 1, and the model has learned "
                f"from floats of up to about {top:g}; give {remedy}"
            )
    elif pixels and (top := float(xp.max(xp.abs(xp.astype(x, xp.float64))))) > 2.0:
        warn(
            f"the images are floats of up to {top:g}, and the model has learned from uint8 pixels, "
            "the brightest of which counts as 1.0; give uint8 pixels, or floats from 0 to 1"
        )


def look_at_settled(largest: int, raw: Array, unit: Array) -> None:
    """Warn where features ``raw`` (N, F) are tiny beside those that were trained on.

    The ``largest`` of them in size counts so many of a column's ``unit`` (F,).
    """
    xp = namespace(raw)
    if raw.dtype == xp.uint8 or raw.shape[0] < _FEW_ROWS or largest >= _FAR_BELOW:
        return
    if bool(xp.any(raw != 0)):
        top = float(xp.max(xp.abs(raw)))
        warn(
            f"the inputs are floats of at most {top:g}, and the model has learned from floats of "
            f"up to about {_top(unit):g}; scale them as the training features were"
        )


def _top(unit: np.ndarray) -> float:
    """The power of two that the largest training feature did not exceed."""
    return float(np.max(to_numpy(unit))) * 2.0**TRAINING_BITS


def _look_at_pixels(x: Array, some: Array) -> None:
    xp = namespace(x)
    if int(xp.max(some)) > _DARK:  # so much of a map of a file is read at no price
        return
    top = int(xp.max(x))
    if 0 < top <= _DARK:
        warn(
            f"the images are uint8 and none exceeds {top}: as pixels, worth 1/255 a level, all of "
            f"them are nearly black; write images / {top} to give them as floats from 0 to 1"
        )


def _look_at_floats(rows: np.ndarray, shape: tuple[int, ...], lr: float) -> None:
    low, high = float(rows.min()), float(rows.max())
    squares = float(np.mean(np.square(rows, dtype=np.float64)))
    size, length = math.sqrt(squares), squares * rows.shape[1]
    top = max(-low, high)
    if top > 0.0 and length < _SHORTEST:
        warn(
            f"the inputs are floats of at most {top:g}, too small to train well; write inputs / "
            f"{top:g}, or standardise them"
        )
    elif size > _USUAL:
        warn(f"the {_remedied(rows, low, high, shape, 'too large to train well')}")
    elif size > _CENTRED and lr * length > _LONGEST:
        what = f"too large to train well at a learning rate of {lr:g}"
        warn(f"the {_remedied(rows, low, high, shape, what)}")


def _remedied(rows: np.ndarray, low: float, high: float, shape: tuple[int, ...], what: str) -> str:
    """What large floats are, and what to write: of pixels, or of features of any other kind."""
    whole = bool((np.floor(rows) == rows).all())
    counted = whole and low == 0.0 and rows.shape[1] >= _FEW_COLUMNS
    if low < 0 or high > 255 or not (counted or len(shape) > 1):
        return (
            f"inputs are floats from {low:g} to {high:g}, {what}; standardise them: "
            "(inputs - inputs.mean(axis=0)) / (inputs.std(axis=0) + 1e-9)"
        )
    bright = high > 127
    remedy = f"images / {255.0 if bright else high:g}"
    if whole and bright:
        remedy += ', or images.astype("uint8")'
    return (
        f"images are floats from {low:g} to {high:g}, as pixels are: floats are taken as they "
        f"are, and these are {what}; write {remedy}"
    )
