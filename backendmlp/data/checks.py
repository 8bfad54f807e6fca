"""What the arrays of a data set must be, each called by its ``part``: the file it came from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from backendmlp.digests import read_only
from backendmlp.errors import InputError

Array = np.ndarray[Any, Any]

MAX_CLASSES = 1 << 16
_WHOLE = (np.uint8, np.int16, np.int32)  # narrowest first, as IDX has them
_EXACT = 2**53  # whole numbers up to here are float64 as they stand


def checked_inputs(array: Any, part: str) -> Array:
    """``array`` if it holds uint8 pixels or floats, (n, ...)."""
    wanted = "give uint8 pixels or floats as a NumPy array (n, ...)"
    _require_array(array, part, wanted)
    if array.ndim < 2 or array.dtype not in (np.uint8, np.float32, np.float64):
        raise InputError(f"{part} is {array.ndim}-dimensional {array.dtype}; {wanted}")
    _require_numbers(array, part)
    return array


def checked_targets(array: Any, part: str) -> Array:
    """``array`` if it holds labels (n,), or real targets (n,) or (n, C); in the narrowest dtype.

    Whole numbers, booleans too, are uint8 where those hold them, or else int16, int32 or float64.
    """
    wanted = "give labels or targets as a NumPy array (n,), or targets (n, outputs)"
    _require_array(array, part, wanted)
    if array.ndim not in (1, 2) or array.dtype.kind not in "iubf" or array.dtype.itemsize > 8:
        raise InputError(f"{part} is {array.ndim}-dimensional {array.dtype}; {wanted}")
    _require_numbers(array, part)
    if array.dtype.kind == "f":
        return array if array.dtype.itemsize > 2 else read_only(array.astype(np.float32))
    return _narrowed(array, part)


def checked_weights(array: Any, part: str) -> Array:
    """``array`` if it says what each row counts for: (n,), none negative, not all zero; floats."""
    wanted = "give one number for each row as a NumPy array (n,)"
    _require_array(array, part, wanted)
    if array.ndim != 1 or array.dtype.kind not in "iubf" or array.dtype.itemsize > 8:
        raise InputError(f"{part} is {array.ndim}-dimensional {array.dtype}; {wanted}")
    _require_numbers(array, part)
    if array.min() < 0 or array.max() == 0:
        raise InputError(
            f"{part} holds numbers from {array.min():g} to {array.max():g}; give numbers of at "
            "least zero, some of them above"
        )
    known = array.dtype in (np.float32, np.float64)
    return array if known else read_only(array.astype(np.float64))


def require_counts(inputs: Array, inputs_part: str, targets: Array, targets_part: str) -> None:
    """Refuse inputs and targets, or weights, that are not of the same number."""
    if len(inputs) != len(targets):
        what = ("rows", "numbers") if inputs.ndim == 2 else ("images", "labels")
        raise InputError(
            f"{inputs_part} holds {len(inputs)} {what[0]}, but {targets_part} holds {len(targets)} "
            f"{what[1]}; check that they belong together"
        )


def require_alike(first: Array, first_part: str, other: Array, part: str) -> None:
    """Refuse inputs of another size or kind than the ``first``."""
    if first.shape[1:] != other.shape[1:]:
        kind, unit = ("images", " pixels") if first.ndim > 2 else ("rows", " values")
        raise InputError(
            f"{first_part} holds {kind} of {_size(first)}{unit}, {part} of {_size(other)}; give "
            f"{kind} of one size"
        )
    if (first.dtype == np.uint8) != (other.dtype == np.uint8):
        raise InputError(
            f"{first_part} holds {first.dtype}, {part} {other.dtype}; give all as uint8 pixels or "
            "all as floats"
        )


def count_classes(labels: Array, part: str) -> int:
    """How many classes the training ``labels`` ask for: the largest plus one, at least two."""
    _require_labels(labels, part)
    low, high = labels.min(), labels.max()
    if low < 0 or high >= MAX_CLASSES:
        raise InputError(
            f"{part} holds labels from {low:g} to {high:g}; number the classes from 0, at most "
            f"{MAX_CLASSES:,} of them, or train on such numbers with --loss squared_error"
        )
    if high == 0:
        raise InputError(f"{part} holds class 0 alone; give at least two classes")
    return int(high) + 1


def require_known(labels: Array, part: str, classes: int, training_part: str) -> None:
    """Refuse labels that are none of the ``classes`` that the training labels ask for."""
    _require_labels(labels, part)
    beyond = np.flatnonzero((labels < 0) | (labels >= classes))
    if beyond.size:
        where = int(beyond[0])
        raise InputError(
            f"{part} holds label {labels[where]:g} at position {where}, but the labels in "
            f"{training_part} end at {classes - 1}; check that they belong together"
        )


def is_name(name: Any) -> bool:
    """Text that a terminal may be shown: no control characters, no halves of surrogate pairs."""
    text = name.strip() if isinstance(name, str) else ""
    return text != "" and not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def repeated(names: Iterable[str]) -> str | None:
    """The first of ``names`` that is among them twice; None where all are different."""
    return next((name for name, times in Counter(names).items() if times > 1), None)


def require_names(names: Collection[str], part: str) -> None:
    """Refuse names of classes that are not at least two different printable texts."""
    wrong = [name for name in names if not is_name(name)]
    if wrong:
        raise InputError(f"{part} holds {wrong[0]!a:.80}; name classes by printable texts")
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) < len(names):
        raise InputError(
            f"{part} names {len(names):,} classes, {len(set(names)):,} of them differently; name "
            f"from two to {MAX_CLASSES:,}, each once"
        )


def _require_labels(labels: Array, part: str) -> None:
    """Refuse what is not one whole number for each row."""
    for_numbers = "real targets are for --loss squared_error"
    if labels.ndim != 1:
        raise InputError(
            f"{part} has shape {labels.shape}, and each row has one class; give labels (n,), as "
            f"labels.argmax(axis=1) where each row marks one class; {for_numbers}"
        )
    if labels.dtype.kind == "f":
        broken = labels[np.floor(labels) != labels]
        if broken.size:
            raise InputError(
                f"{part} holds {broken[0]:g}, and classes are whole numbers from 0; {for_numbers}"
            )


def _require_array(array: Any, part: str, wanted: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{part} is a {type(array).__name__}; {wanted}")
    if array.size == 0 and array.ndim:
        raise InputError(f"{part} is empty: its shape is {array.shape}; give at least one item")


def _require_numbers(array: Array, part: str) -> None:
    if array.dtype.kind != "f":
        return
    # Piece by piece, so that no array of answers as large as the data is made.
    step = max(1, (1 << 20) // max(1, array[0].size))
    for start in range(0, len(array), step):
        good = np.isfinite(array[start : start + step])
        if not good.all():
            row = start + int(np.argwhere(~good)[0][0])
            raise InputError(
                f"{part} holds NaN or infinity, first in row {row}; give finite numbers"
            )


def _narrowed(array: Array, part: str) -> Array:
    """Whole numbers in the first dtype that holds them all."""
    if array.dtype == np.uint8:
        return array
    low, high = int(array.min()), int(array.max())
    for dtype in _WHOLE:
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return read_only(array.astype(dtype))
    if max(-low, high) <= _EXACT:
        return read_only(array.astype(np.float64))
    raise InputError(f"{part} holds numbers from {low} to {high}; give smaller ones, or floats")


def _size(inputs: Array) -> str:
    return " x ".join(map(str, inputs.shape[1:]))
