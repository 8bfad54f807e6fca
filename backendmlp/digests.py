"""One SHA-256 for a set of arrays, simple enough for anybody to recompute."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping

import numpy as np

from backendmlp.errors import InputError

_CHUNK = 1 << 16  # elements converted at a time: half a megabyte of float64


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of named arrays, as 64 hexadecimal digits.

    ``arrays`` maps names to real arrays (booleans, integers, floats) of any shape, layout and byte
    order.  Two sets have the same digest when their names, their shapes and the bits of their
    values as float64 are the same: the dtype does not count, the sign of a zero does.

    For each array, in the order of the sorted names, the hash takes in the name as UTF-8 and a
    zero byte; the number of dimensions and each dimension as little-endian uint64; the values as
    little-endian float64 in C order.  These lines do the same::

        sha = hashlib.sha256()
        for name in sorted(arrays):
            a = numpy.asarray(arrays[name])
            sha.update(name.encode() + b"\\0" + struct.pack(f"<{a.ndim + 1}Q", a.ndim, *a.shape))
            sha.update(a.astype("<f8").tobytes())

    Raises :class:`InputError` for what is not named, for a name with a zero byte in it, and for
    values that are not real numbers or that float64 does not hold.
    """
    sha = hashlib.sha256()
    for name in sorted(_checked_names(arrays)):
        array = _real(name, arrays[name])
        sha.update(name.encode() + b"\0")
        sha.update(struct.pack(f"<{array.ndim + 1}Q", array.ndim, *array.shape))
        # Never a second copy of the whole; a piece of ``flat`` is copied more slowly than hashed.
        values = array.reshape(-1) if array.flags.c_contiguous else array.flat
        for start in range(0, array.size, _CHUNK):
            piece = values[start : start + _CHUNK]
            _require_kept(name, piece)
            sha.update(piece.astype("<f8", copy=False).data)
    return sha.hexdigest()


def _checked_names(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    if not isinstance(arrays, Mapping):
        own = isinstance(getattr(arrays, "parameters", None), Mapping)
        example = "model.parameters" if own else "{'name': array}"
        raise InputError(
            f"arrays is of type {type(arrays).__name__}; give arrays by their names, as {example}"
        )
    for name in arrays:
        if not isinstance(name, str):
            raise InputError(f"an array is called {name!r:.80}, which is no text; give it a name")
        if "\0" in name:  # the zero byte ends the name; another would make two inputs look alike
            raise InputError(f"array name {name!r} contains a zero byte; choose another name")
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise InputError(f"array name {name!r} is no valid text; choose another name")
    return arrays


def _real(name: str, value: object) -> np.ndarray:
    """``value`` as an array of real numbers in host memory, none of them masked."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise InputError(f"array {name!r} has masked values, which have no digest; fill them first")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"array {name!r} is no array in host memory ({error!s:.200}); convert it to one first"
        ) from error
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"array {name!r} has dtype {array.dtype}, which has no digest; "
            "convert it to real numbers first"
        )
    return array


def _require_kept(name: str, values: np.ndarray) -> None:
    """Refuse numbers that float64 does not hold, and whose digest would be that of others."""
    if values.dtype.itemsize <= 4 or values.dtype == np.float64:
        return
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            lost = values.astype(np.float64).astype(values.dtype) != values
        lost &= ~np.isnan(values)
    else:
        far = np.flatnonzero((values > 2**53) | (values < -(2**53)))
        lost = np.zeros(values.shape, bool)
        lost[far] = [int(float(number)) != number for number in values[far].tolist()]
    if lost.any():
        raise InputError(
            f"array {name!r} holds {values[lost][0]}, which float64 does not; give such numbers "
            "in parts, as the high and the low 32 bits"
        )


def may_change(x: object) -> bool:
    """Whether somebody can write to the array ``x``, or to what it is a view of."""
    while isinstance(x, np.ndarray) and not x.flags.writeable and x.base is not None:
        x = x.base
    if isinstance(x, np.ndarray):
        return x.flags.writeable
    try:  # bytes, a map of a file
        return not memoryview(x).readonly  # type: ignore[arg-type]
    except TypeError:
        return True


def read_only(x: np.ndarray) -> np.ndarray:
    """``x``, which nobody else holds, so that nobody can write to it or what it is a view of."""
    part: object = x
    while isinstance(part, np.ndarray):
        part.flags.writeable = False
        part = part.base
    return x
