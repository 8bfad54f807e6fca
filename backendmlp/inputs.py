"""Images and labels as a caller gives them: checked, flattened, and on their device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np

from backendmlp.backend import Backend, detached, namespace, to_numpy
from backendmlp.data.checks import MAX_CLASSES, is_name, repeated
from backendmlp.errors import InputError

Array = Any

# Of a row: sums of such numbers, and products with rates, leave no range.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-30, 1e30


def images(
    backend: Backend, x: Array, dtype: str, features: int | None = None, which: str = ""
) -> Array:
    """``x`` (N, ...) as (N, F): uint8 pixels as they are, floats and booleans as ``dtype``.

    Raises :class:`InputError` for another kind, no images, NaN, infinity, or another F than
    ``features``; it calls the images as ``which`` of several says, as "test".
    """
    return finite(backend, flat(backend, x, features, which), dtype, _named(which, called(x)))


def flat(backend: Backend, x: Array, features: int | None = None, which: str = "") -> Array:
    """``x`` (N, ...) as (N, F), on the device: pixels, floats or booleans as they are.

    Raises :class:`InputError` for another kind, no images, or another F than ``features``.
    """
    what = _named(which, called(x))
    given, x = x, _as_array(backend, what, x)
    width = _checked_width(what, tuple(x.shape), features)
    xp = namespace(x)
    if not (x.dtype == xp.uint8 or xp.isdtype(x.dtype, ("real floating", "bool"))):
        raise InputError(_conversions(what, x, given))
    return backend.asarray(_of_usual_width(xp.reshape(x, (x.shape[0], width))))


def finite(backend: Backend, x: Array, dtype: str, what: str) -> Array:
    """``x``, as :func:`flat` has it: pixels as they are, all else as finite ``dtype``.

    Raises :class:`InputError` for NaN and infinity in what is called ``what``.
    """
    return x if x.dtype == backend.xp.uint8 else _finite(backend, x, dtype, what)


def labels(
    backend: Backend,
    y: Array,
    count: int,
    classes: int | None = None,
    names: Sequence[str] = (),
    which: str = "",
) -> Array:
    """``y`` (N,) or (N, 1) as int64 (N,) on the device, from 0 to ``classes`` - 1 if that is known.

    Whole numbers of any dtype, booleans, or texts that are among the classes' ``names``.  Raises
    :class:`InputError` for another shape, kind or count, or a label outside the classes.
    """
    what = _named(which, "labels")
    y = _column(_as_array(backend, what, y), count)
    if tuple(y.shape) != (count,):
        raise InputError(
            f"the {what} have shape {tuple(y.shape)}; give one for each of the {count} rows"
            + _flatter(tuple(y.shape), count)
        )
    one = f"a {what.removesuffix('s')} is"
    y = _numbers_of(one, y, names) if is_text(y) else _whole(what, one, y)
    low, high = _ends(y)
    if low < 0 or high >= (2**63 if classes is None else classes):
        wrong = low if low < 0 else high
        known = f"0 to {classes - 1}" if classes is not None else "whole numbers from 0"
        if which == "training" and classes is not None:
            known += ", or the names of all classes in class_names, from the first call on"
        raise InputError(f"{one} {wrong}, outside the classes; give {known}")
    return backend.asarray(y, "int64")


def targets(
    backend: Backend, y: Array, count: int, dtype: str, outputs: int | None = None, which: str = ""
) -> Array:
    """``y`` (N,) or (N, C) as (N, C) reals of ``dtype``; C is ``outputs`` where that is known.

    Raises :class:`InputError` for another shape, kind or count, NaN or infinity.
    """
    what = _named(which, "targets")
    y = _as_array(backend, what, y)
    if is_text(y):
        raise InputError(
            f"the {what} hold text, as {y.flat[0]:.80}; a squared error needs numbers; give some, "
            "or choose loss='cross_entropy' to tell classes apart"
        )
    shape = tuple(y.shape)
    if len(shape) not in (1, 2) or shape[0] != count or 0 in shape:
        raise InputError(
            f"the {what} have shape {shape}; give ({count},) or ({count}, outputs), one for "
            "each row of the inputs"
        )
    width = 1 if len(shape) == 1 else shape[1]
    if outputs is not None and width != outputs:
        raise InputError(f"the {what} have {width} values each; the model has {outputs} outputs")
    y = _reals(backend, what, y, dtype)
    return backend.xp.reshape(y, (count, width))


def weights(backend: Backend, w: Array, count: int, dtype: str) -> Array:
    """``w`` (N,) or (N, 1) as reals (N,) of ``dtype``, none negative, not all zero."""
    if isinstance(w, str | Mapping):
        raise InputError(
            f"sample_weight is {w!r:.80}; give a number for each row, or class_weight={w!r:.80}"
        )
    w = _column(_as_array(backend, "sample weights", w), count)
    if tuple(w.shape) != (count,):
        raise InputError(
            f"the sample weights have shape {tuple(w.shape)}; give one for each of {count} rows"
        )
    w = _reals(backend, "sample weights", w, dtype)
    low, high = float(backend.xp.min(w)), float(backend.xp.max(w))
    if low == high == 0:
        raise InputError(
            "the sample weights are all zero, so that no row counts; give some above zero, or "
            "leave such rows out"
        )
    if low < 0 or high == 0:
        raise InputError(
            f"the sample weights go from {low:g} to {high:g}; give numbers of at least zero, some "
            "of them above"
        )
    least = float(backend.xp.min(backend.xp.where(w > 0, w, high)))
    if least < _LEAST_WEIGHT or high > _MOST_WEIGHT:
        raise InputError(
            f"the sample weights that are not zero go from {least:g} to {high:g}; give numbers "
            f"from {_LEAST_WEIGHT:g} to {_MOST_WEIGHT:g}, as these divided by their mean"
        )
    return w


def class_names(names: Any, y: Array, which: str = "") -> tuple[str, ...]:
    """The classes' names: those given, or the sorted texts in the labels ``y``, or ().

    Raises :class:`InputError` for names that are not at least two different printable texts.
    """
    if names is None:
        if not is_text(y := _as_numpy(_named(which, "labels"), y)):
            return ()
        names = np.unique(y).tolist()
        if len(names) == 1:
            raise InputError(
                f"the {_named(which, 'labels')} are all {names[0]!r:.80}; give at least two classes"
            )
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f"class_names is {names!r:.80}; give a list of printable texts")
    found = list(names)
    if not all(map(is_name, found)):
        wrong = next(name for name in found if not is_name(name))
        raise InputError(f"a class is called {wrong!r:.80}; give a list of printable texts")
    if (twice := repeated(found)) is not None:
        raise InputError(f"two classes are called {twice!r:.80}; give a name of its own to each")
    if not 2 <= len(found) <= MAX_CLASSES:
        raise InputError(
            f"{len(found):,} classes are named; give from two to {MAX_CLASSES:,} different names, "
            "one for each class"
        )
    return tuple(map(str, found))


def columns(x: Any) -> tuple[str, ...] | None:
    """The names of the columns of ``x``, a table; None of anything else."""
    names = getattr(x, "columns", None)
    return None if names is None or isinstance(x, np.ndarray) else tuple(map(str, names))


def require_columns(x: Any, known: tuple[str, ...] | None, which: str = "") -> None:
    """Refuse a table with the ``known`` columns in another order, which would confuse them."""
    found = None if known is None else columns(x)
    if found is None or known is None or sorted(found) != sorted(known):
        return
    for here, there in zip(found, known, strict=True):
        if here != there:
            raise InputError(
                f"the {_named(which, 'inputs')} have the columns that the model learned from in "
                f"another order: {here!r:.80} stands where {there!r:.80} stood; give them in that "
                "order"
            )


def called(x: Any) -> str:
    """What errors call inputs ``x`` as they are given: "images" where they may be some."""
    kind = getattr(x, "dtype", "")
    pixels = kind.char == "B" if isinstance(kind, np.dtype) else str(kind).endswith("uint8")
    return "images" if pixels or getattr(x, "ndim", 2) > 2 else "inputs"


def is_text(y: Array) -> bool:
    """Whether the labels are names of classes."""
    return isinstance(y, np.ndarray) and y.dtype.kind == "U"


def count_classes(backend: Backend, y: Array, which: str = "") -> int:
    """The number of classes in the training labels ``y``: the largest plus one."""
    (low, high), what = _ends(y), _named(which, "labels")
    if low == high:
        raise InputError(
            f"the {what} are all {low}, one class alone; give at least two, numbered from 0, or "
            "name all classes in class_names"
        )
    count = high + 1
    if count > MAX_CLASSES:
        raise InputError(
            f"the {what} end at {count - 1}; number the classes from 0, at least two and "
            f"at most {MAX_CLASSES:,} of them"
        )
    return count


def _named(which: str, what: str) -> str:
    return f"{which} {what}" if which else what


def _column(x: Array, count: int) -> Array:
    """``x`` (N,) where it is (N, 1), as a table of one column is."""
    return namespace(x).reshape(x, (count,)) if tuple(x.shape) == (count, 1) else x


def _ends(y: Array) -> tuple[int, int]:
    """The least and the largest of whole numbers of any dtype, also beyond int64."""
    if str(y.dtype).endswith(("uint16", "uint32", "uint64")):  # which not every library compares
        y = to_numpy(y)
    xp = namespace(y)
    return int(xp.min(y)), int(xp.max(y))


def _reals(backend: Backend, what: str, x: Array, dtype: str) -> Array:
    """``x`` as finite ``dtype`` on the device."""
    xp = namespace(x)
    if not xp.isdtype(x.dtype, ("real floating", "integral", "bool")):
        raise InputError(f"the {what} have dtype {x.dtype}; give numbers")
    return _finite(backend, backend.asarray(_of_usual_width(x)), dtype, what)


def _finite(backend: Backend, x: Array, dtype: str, what: str) -> Array:
    """``x``, an array of the backend, as finite ``dtype``."""
    xp = backend.xp
    x = xp.astype(x, getattr(xp, dtype), copy=False)
    known = xp.isfinite(x)
    if bool(xp.all(known)):
        return x
    row, *column = np.argwhere(~to_numpy(known))[0].tolist()
    place = f"row {row}, column {column[0]}" if column else f"row {row}"
    raise InputError(f"the {what} hold NaN or infinity, first in {place}; give finite numbers")


def _of_usual_width(x: Array) -> Array:
    """``x``; float64 where it holds host floats of a width that some libraries lack."""
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f" or x.dtype.itemsize in (4, 8):
        return x
    with np.errstate(over="ignore"):  # what float64 does not hold is infinite, and refused as such
        return x.astype(np.float64)


def _checked_width(what: str, shape: tuple[int, ...], features: int | None) -> int:
    """How many values an image of ``shape`` has."""
    if features is not None and math.prod(shape) == features and len(shape[:1]) and shape[0] > 1:
        raise InputError(
            f"the {what} have shape {shape}, that of a single one; give (count, ...), as "
            f"{_variable(what)}[:1]"
        )
    if len(shape) < 2 or shape[0] == 0:
        raise InputError(
            f"the {what} have shape {shape}; give at least one, as (count, features) or (count, "
            f"rows, columns); a single one is {_variable(what)}[:1]"
        )
    width = math.prod(shape[1:])
    if width == 0 or (features is not None and width != features):
        raise InputError(
            f"the {what} have {width} values each; the model takes {features or 'at least 1'}"
        )
    return width


def _conversions(what: str, x: Array, given: Any) -> str:
    """What to write where it cannot be known whether numbers are pixels or features."""
    xp, kind = namespace(x), str(x.dtype).rpartition(".")[2]
    if is_text(x):
        return (
            f"the {what} hold text{_in_column(given) or f', as {str(x.flat[0])!r:.80}'}; leave it "
            "out, or make numbers of it, as with pandas.get_dummies"
        )
    if isinstance(x, np.ndarray) and x.dtype.kind in "mM":
        return f"the {what} hold dates or times{_in_column(given)}; make numbers of them, as days"
    if not xp.isdtype(x.dtype, "integral"):
        return f"the {what} have dtype {kind}; give uint8 pixels from 0 to 255, or floats"
    variable, (low, high) = _variable(what), _ends(x)
    return (
        f"the {what} have dtype {kind} and go from {low} to {high}, pixels or "
        f'features; write np.asarray({variable}).astype("uint8") for pixels from 0 to 255, or '
        f"np.asarray({variable}) / 255, or standardise them, for features"
    )


def no_numbers(x: Any) -> str | None:
    """In words, the texts, dates or times that ``x``, an array or a table, holds; None for none."""
    entries = x
    for name in getattr(x, "columns", ()):
        entries = np.asarray(x[name])
        if told := _kind_of(entries):
            return f"{told[0]} in column {name!r:.80}, as {told[1]}"
    told = _kind_of(np.asarray(entries))
    return told and f"{told[0]}, as {told[1]}"


def _kind_of(entries: np.ndarray) -> tuple[str, str] | None:
    """Text or dates, where ``entries`` hold any, and the first of them."""
    if entries.dtype.kind in "mM":
        return "dates or times", f"{entries.flat[0]!s:.80}"
    if entries.dtype.kind not in "OUST":
        return None
    texts = (entry for entry in entries.flat if isinstance(entry, str | bytes))
    first = next(texts, None)
    return None if first is None else ("text", f"{str(first)!r:.80}")


def _in_column(table: Any) -> str:
    """In words, the first column of a ``table`` that holds no numbers; "" of anything else."""
    for name in getattr(table, "columns", ()):
        column = np.asarray(table[name])
        if column.dtype == object:
            column = np.asarray(column.tolist())
        if column.dtype.kind not in "biuf":
            return f" in column {name!r:.80}, as {str(column.flat[0])!r:.80}"
    return ""


def _flatter(shape: tuple[int, ...], count: int) -> str:
    if len(shape) == 2 and shape[0] == count:
        return ", as labels.argmax(axis=1) where each row marks one class"
    return ""


def _numbers_of(one: str, y: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The classes' numbers, int64, of labels that are their names."""
    numbers = {name: number for number, name in enumerate(names)}
    found, inverse = np.unique(y, return_inverse=True)
    for name in found.tolist():
        if name not in numbers:
            known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
            raise InputError(f"{one} {name!r:.80}, which is none of the classes {known:.300}")
    return np.asarray([numbers[name] for name in found.tolist()], np.int64)[inverse]


def _whole(what: str, one: str, y: Array) -> Array:
    """Labels that are numbers, as integers."""
    xp = namespace(y)
    if xp.isdtype(y.dtype, "integral"):
        return y
    if xp.isdtype(y.dtype, "real floating"):
        y = xp.astype(y, xp.float64)  # few libraries compute with all of theirs
        small = xp.abs(y) < 2.0**53  # false for a NaN
        wrong = y[~(small & (xp.floor(y) == y))]
        if wrong.shape[0]:
            raise InputError(
                f"{one} {float(wrong[0]):g}; give whole numbers from 0, or names, or choose "
                "loss='squared_error' for a regression"
            )
    elif not xp.isdtype(y.dtype, "bool"):
        raise InputError(
            f"the {what} have dtype {y.dtype}; give whole numbers from 0, or the names of classes"
        )
    return xp.astype(y, xp.int64)


def _as_array(backend: Backend, what: str, x: Array) -> Array:
    """``x`` as it is where it is an array of the backend, else in host memory."""
    if type(x) is np.ndarray and x.ndim and x.dtype.kind in "uif":
        return x  # at once: what is asked most often
    if backend.owns(x) and not isinstance(x, np.ndarray):
        if "strided" not in str(getattr(x, "layout", "strided")):
            raise InputError(f"the {what} are sparse; give {_variable(what)}.to_dense()")
        if getattr(x, "is_nested", False):
            raise InputError(f"the {what} are nested; give one array with rows of one length")
        return detached(x)
    return _as_numpy(what, x)


def _as_numpy(what: str, x: Array) -> np.ndarray:
    """``x``, perhaps nested lists, a table or an array of another library, in host memory."""
    kind = type(x).__name__
    _refuse_other_holders(what, x)
    try:
        found = to_numpy(x)
        if (found.dtype == object and found.ndim) or found.dtype.kind == "T":
            # Of a table: numbers and texts, one by one; or texts, or what may stand in their place.
            found = np.asarray(found.tolist())
    except (TypeError, ValueError, OverflowError) as error:
        if "inhomogeneous" in str(error):
            raise InputError(
                f"the {what} have rows of different lengths; give rows of one length"
            ) from error
        raise InputError(f"the {what} are no array ({error!s:.200}); give one") from error
    if found.ndim == 0:
        raise InputError(
            f"the {what} are of type {kind}, which is no array; give one array that holds them all"
        )
    if found.dtype == object:
        usual = (Number, str) if _variable(what) == "labels" else Number
        raise InputError(f"the {what} hold {_first_odd(x, found, usual)}, none of them missing")
    if found.dtype.kind == "S":
        found = _decoded(what, found)
    if _variable(what) == "labels" and is_text(found) and not is_text(x):
        # NumPy makes texts of all that stands beside a text, of a missing one too.
        entries = np.asarray(x, dtype=object)
        if not all(isinstance(entry, str | bytes) for entry in entries.flat):
            raise InputError(
                f"the {what} hold {_first_odd(x, entries, str)}, or texts alone, none of them "
                "missing"
            )
    return found


def _refuse_other_holders(what: str, x: Any) -> None:
    """Refuse what holds arrays in another way than an array does, and say how to get at them."""
    kind, variable = type(x).__name__, _variable(what)
    if hasattr(x, "toarray"):
        raise InputError(f"the {what} are a sparse {kind}; give {variable}.toarray()")
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise InputError(
            f"{np.ma.count_masked(x)} of the {what} or their values are masked; fill them, as with "
            f"{variable}.filled(0), or leave such rows out"
        )
    if hasattr(x, "tensors"):
        raise InputError(
            f"the {what} are of type {kind}; give what it holds, as {variable}.tensors[0]"
        )
    if hasattr(x, "batch_size") and hasattr(x, "dataset"):
        raise InputError(
            f"the {what} are of type {kind}, which is no array; give all of its batches in one, as "
            f"torch.cat([batch[0] for batch in {variable}])"
        )


def _first_odd(x: Any, entries: np.ndarray, usual: Any) -> str:
    """The first of ``entries`` that is not of the ``usual`` type, and what to give instead."""
    wide = entries.size // max(1, entries.shape[0]) if entries.ndim else 1
    for at, entry in enumerate(entries.flat):
        if not isinstance(entry, usual) or entry != entry:
            return f"{entry!r:.80} in row {at // max(1, wide)}{_in_column(x)}; give numbers"
    inner = type(entries.flat[0]).__name__ if entries.size else "no"
    return f"{inner} objects; give numbers"


def _decoded(what: str, x: np.ndarray) -> np.ndarray:
    """Bytes as the texts that they are in UTF-8."""
    try:
        return np.char.decode(x, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"the {what} hold bytes that are no UTF-8; give texts") from error


def _variable(what: str) -> str:
    """What a caller probably calls it: the last word of its description."""
    return what.rpartition(" ")[2]
