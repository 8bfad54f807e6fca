"""Images and labels as a caller gives them: checked, flattened, and on their device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backendmlp.backend import Backend, namespace, to_numpy
from backendmlp.errors import InputError

Array = Any

MAX_CLASSES = 1 << 16


def images(backend: Backend, x: Array, dtype: str, features: int | None = None) -> Array:
    """``x`` (N, ...) as (N, F): uint8 pixels as they are, floats as ``dtype``.

    Raises :class:`InputError` for another kind, no images, NaN, infinity, or another F than
    ``features``.
    """
    x = x if backend.owns(x) else _as_numpy("images", x)
    if len(x.shape) < 2 or x.shape[0] == 0:
        raise InputError(
            f"the images have shape {tuple(x.shape)}; give at least one, as (count, features) or "
            "(count, rows, columns)"
        )
    width = math.prod(x.shape[1:])
    if width == 0 or (features is not None and width != features):
        raise InputError(
            f"the images have {width} values each; the model takes {features or 'at least 1'}"
        )
    xp = namespace(x)
    if x.dtype != xp.uint8 and not xp.isdtype(x.dtype, "real floating"):
        raise InputError(
            f"the images have dtype {x.dtype}; give uint8 pixels from 0 to 255, or floats"
        )
    x = backend.asarray(xp.reshape(x, (x.shape[0], width)), None if x.dtype == xp.uint8 else dtype)
    if x.dtype != backend.xp.uint8 and not bool(backend.xp.all(backend.xp.isfinite(x))):
        raise InputError("the images hold NaN or infinity; give finite numbers")
    return x


def labels(backend: Backend, y: Array, count: int, classes: int | None = None) -> Array:
    """``y`` (N,) as int64 on the device; each is from 0 to ``classes`` - 1 where that is known.

    Raises :class:`InputError` for another shape, kind or count, or a label outside the classes.
    """
    y = y if backend.owns(y) else _as_numpy("labels", y)
    if tuple(y.shape) != (count,):
        raise InputError(
            f"the labels have shape {tuple(y.shape)}; give one for each of the {count} images"
        )
    if not namespace(y).isdtype(y.dtype, "integral"):
        raise InputError(f"the labels have dtype {y.dtype}; give whole numbers from 0")
    y = backend.asarray(y, "int64")
    low, high = int(backend.xp.min(y)), int(backend.xp.max(y))
    if low < 0 or (classes is not None and high >= classes):
        wrong = low if low < 0 else high
        known = f"0 to {classes - 1}" if classes is not None else "whole numbers from 0"
        raise InputError(f"a label is {wrong}, outside the classes; give {known}")
    return y


def count_classes(backend: Backend, y: Array) -> int:
    """The number of classes in the training labels ``y``: the largest plus one."""
    count = int(backend.xp.max(y)) + 1
    if not 2 <= count <= MAX_CLASSES:
        raise InputError(
            f"the training labels end at {count - 1}; number the classes from 0, at least two and "
            f"at most {MAX_CLASSES:,} of them"
        )
    return count


def _as_numpy(what: str, x: Array) -> np.ndarray:
    """``x``, perhaps nested lists or an array of another library, in host memory."""
    try:
        return to_numpy(x)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} are no array ({error!s:.200}); give one") from error
