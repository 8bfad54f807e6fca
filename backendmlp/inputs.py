"""Images and labels as a caller gives them: checked, flattened, and on their device."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from backendmlp.backend import Backend, namespace, to_numpy
from backendmlp.errors import InputError

Array = Any

MAX_CLASSES = 1 << 16


def images(backend: Backend, x: Array, dtype: str, features: int | None = None) -> Array:
    """``x`` (N, ...) as (N, F): uint8 pixels as they are, floats and booleans as ``dtype``.

    Raises :class:`InputError` for another kind, no images, NaN, infinity, or another F than
    ``features``.
    """
    x = _as_array(backend, "images", x)
    width = _checked_width(tuple(x.shape), features)
    xp = namespace(x)
    if x.dtype == xp.uint8:
        return backend.asarray(xp.reshape(x, (x.shape[0], width)))
    if not xp.isdtype(x.dtype, ("real floating", "bool")):
        raise InputError(_conversions(x))
    x = backend.asarray(xp.reshape(x, (x.shape[0], width)))
    x = backend.xp.astype(x, getattr(backend.xp, dtype), copy=False)
    if not bool(backend.xp.all(backend.xp.isfinite(x))):
        raise InputError("the images hold NaN or infinity; give finite numbers")
    return x


def labels(
    backend: Backend,
    y: Array,
    count: int,
    classes: int | None = None,
    names: Sequence[str] = (),
) -> Array:
    """``y`` (N,) as int64 on the device; each is from 0 to ``classes`` - 1 where that is known.

    Whole numbers of any dtype, booleans, or texts that are among the classes' ``names``.  Raises
    :class:`InputError` for another shape, kind or count, or a label outside the classes.
    """
    y = _as_array(backend, "labels", y)
    if tuple(y.shape) != (count,):
        raise InputError(
            f"the labels have shape {tuple(y.shape)}; give one for each of the {count} images"
            + _flatter(tuple(y.shape), count)
        )
    y = _numbers_of(y, names) if is_text(y) else _whole(y)
    y = backend.asarray(y, "int64")
    low, high = int(backend.xp.min(y)), int(backend.xp.max(y))
    if low < 0 or (classes is not None and high >= classes):
        wrong = low if low < 0 else high
        known = f"0 to {classes - 1}" if classes is not None else "whole numbers from 0"
        raise InputError(f"a label is {wrong}, outside the classes; give {known}")
    return y


def targets(
    backend: Backend, y: Array, count: int, dtype: str, outputs: int | None = None
) -> Array:
    """``y`` (N,) or (N, C) as (N, C) reals of ``dtype``; C is ``outputs`` where that is known.

    Raises :class:`InputError` for another shape, kind or count, NaN or infinity.
    """
    y = _as_array(backend, "targets", y)
    shape = tuple(y.shape)
    if len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
        raise InputError(
            f"the targets have shape {shape}; give ({count},) or ({count}, outputs), one row for "
            "each image"
        )
    width = 1 if len(shape) == 1 else shape[1]
    if outputs is not None and width != outputs:
        raise InputError(f"the targets have {width} values each; the model has {outputs} outputs")
    y = _reals(backend, "targets", y, dtype)
    return backend.xp.reshape(y, (count, width))


def weights(backend: Backend, w: Array, count: int, dtype: str) -> Array:
    """``w`` (N,) as reals of ``dtype``, none negative, not all zero."""
    w = _as_array(backend, "sample weights", w)
    if tuple(w.shape) != (count,):
        raise InputError(
            f"the sample weights have shape {tuple(w.shape)}; give one for each of {count} images"
        )
    w = _reals(backend, "sample weights", w, dtype)
    low, high = float(backend.xp.min(w)), float(backend.xp.max(w))
    if low < 0 or high == 0:
        raise InputError(
            f"the sample weights go from {low:g} to {high:g}; give numbers of at least zero, some "
            "of them above"
        )
    return w


def class_names(names: Sequence[str] | None, y: Array) -> tuple[str, ...]:
    """The classes' names: those given, or the sorted texts in the labels ``y``, or ().

    Raises :class:`InputError` for names that are not at least two different printable texts.
    """
    if names is None:
        if not is_text(y := _as_numpy("labels", y)):
            return ()
        names = np.unique(y).tolist()
    found = names.split() if isinstance(names, str) else list(names)
    if isinstance(names, str) or not all(map(is_name, found)):
        wrong = next((name for name in found if not is_name(name)), names)
        raise InputError(f"a class is called {wrong!r:.80}; give a list of printable texts")
    if not 2 <= len(found) <= MAX_CLASSES or len(set(found)) < len(found):
        raise InputError(
            f"{len(found):,} classes are named, {len(set(found)):,} of them differently; give from "
            f"two to {MAX_CLASSES:,} different names, one for each class"
        )
    return tuple(map(str, found))


def is_name(name: Any) -> bool:
    """Text that a terminal may be shown: no control characters, no halves of surrogate pairs."""
    text = name.strip() if isinstance(name, str) else ""
    return text != "" and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def is_text(y: Array) -> bool:
    """Whether the labels are names of classes."""
    return isinstance(y, np.ndarray) and y.dtype.kind in "UT"


def count_classes(backend: Backend, y: Array) -> int:
    """The number of classes in the training labels ``y``: the largest plus one."""
    count = int(backend.xp.max(y)) + 1
    if not 2 <= count <= MAX_CLASSES:
        raise InputError(
            f"the training labels end at {count - 1}; number the classes from 0, at least two and "
            f"at most {MAX_CLASSES:,} of them"
        )
    return count


def _reals(backend: Backend, what: str, x: Array, dtype: str) -> Array:
    """``x`` as finite ``dtype`` on the device."""
    xp = namespace(x)
    if not xp.isdtype(x.dtype, ("real floating", "integral", "bool")):
        raise InputError(f"the {what} have dtype {x.dtype}; give numbers")
    x = backend.asarray(x)
    x = backend.xp.astype(x, getattr(backend.xp, dtype), copy=False)
    if not bool(backend.xp.all(backend.xp.isfinite(x))):
        raise InputError(f"the {what} hold NaN or infinity; give finite numbers")
    return x


def _checked_width(shape: tuple[int, ...], features: int | None) -> int:
    """How many values an image of ``shape`` has."""
    if features is not None and math.prod(shape) == features and len(shape[:1]) and shape[0] > 1:
        raise InputError(
            f"the images have shape {shape}, that of a single one; give (count, ...), as images[:1]"
        )
    if len(shape) < 2 or shape[0] == 0:
        raise InputError(
            f"the images have shape {shape}; give at least one, as (count, features) or (count, "
            "rows, columns); a single one is images[:1]"
        )
    width = math.prod(shape[1:])
    if width == 0 or (features is not None and width != features):
        raise InputError(
            f"the images have {width} values each; the model takes {features or 'at least 1'}"
        )
    return width


def _conversions(x: Array) -> str:
    """What to write where it cannot be known whether numbers are pixels or features."""
    xp, kind = namespace(x), str(x.dtype).rpartition(".")[2]
    if not xp.isdtype(x.dtype, "integral"):
        return f"the images have dtype {kind}; give uint8 pixels from 0 to 255, or floats"
    return (
        f"the images have dtype {kind} and go from {int(xp.min(x))} to {int(xp.max(x))}, pixels or "
        'features; write np.asarray(images).astype("uint8") for pixels from 0 to 255, or '
        "np.asarray(images) / 255, or standardise them, for features"
    )


def _flatter(shape: tuple[int, ...], count: int) -> str:
    if shape == (count, 1):
        return ", as labels.ravel()"
    if len(shape) == 2 and shape[0] == count:
        return ", as labels.argmax(axis=1) where each row marks one class"
    return ""


def _numbers_of(y: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The classes' numbers, int64, of labels that are their names."""
    numbers = {name: number for number, name in enumerate(names)}
    found, inverse = np.unique(y, return_inverse=True)
    for name in found.tolist():
        if name not in numbers:
            known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
            raise InputError(f"a label is {name!r:.80}, which is none of the classes {known:.300}")
    return np.asarray([numbers[name] for name in found.tolist()], np.int64)[inverse]


def _whole(y: Array) -> Array:
    """Labels that are numbers, as integers."""
    xp = namespace(y)
    if xp.isdtype(y.dtype, "integral"):
        return y
    if xp.isdtype(y.dtype, "real floating"):
        small = xp.abs(y) < 2.0**53  # false for a NaN
        wrong = y[~(small & (xp.floor(y) == y))]
        if wrong.shape[0]:
            raise InputError(f"a label is {float(wrong[0]):g}; give whole numbers from 0, or names")
    elif not xp.isdtype(y.dtype, "bool"):
        raise InputError(
            f"the labels have dtype {y.dtype}; give whole numbers from 0, or the names of classes"
        )
    return xp.astype(y, xp.int64)


def _as_array(backend: Backend, what: str, x: Array) -> Array:
    """``x`` as it is where it is an array of the backend, else in host memory."""
    if backend.owns(x) and not isinstance(x, np.ndarray):
        if getattr(x, "is_sparse", False):
            raise InputError(f"the {what} are sparse; give {what}.to_dense()")
        return x
    return _as_numpy(what, x)


def _as_numpy(what: str, x: Array) -> np.ndarray:
    """``x``, perhaps nested lists, a table or an array of another library, in host memory."""
    kind = type(x).__name__
    if hasattr(x, "toarray"):
        raise InputError(f"the {what} are a sparse {kind}; give {what}.toarray()")
    try:
        found = to_numpy(x)
        if found.dtype == object and found.ndim:  # of a table: numbers and texts, one by one
            found = np.asarray(found.tolist())
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the {what} are no array ({error!s:.200}); give one") from error
    if found.ndim == 0:
        raise InputError(
            f"the {what} are of type {kind}, which is no array; give one array that holds them all"
        )
    if found.dtype == object:
        inner = type(found.flat[0]).__name__ if found.size else "no"
        raise InputError(f"the {what} hold {inner} objects; give numbers, none of them missing")
    return found
