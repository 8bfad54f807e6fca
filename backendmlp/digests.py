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

    Raises :class:`InputError` for a name with a zero byte in it and for values that are not real
    numbers.
    """
    sha = hashlib.sha256()
    for name in sorted(arrays):
        if "\0" in name:  # the zero byte ends the name; another would make two inputs look alike
            raise InputError(f"array name {name!r} contains a zero byte; choose another name")
        array = np.asarray(arrays[name])
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"array {name!r} has dtype {array.dtype}, which has no digest; "
                "convert it to real numbers first"
            )
        sha.update(name.encode() + b"\0")
        sha.update(struct.pack(f"<{array.ndim + 1}Q", array.ndim, *array.shape))
        for start in range(0, array.size, _CHUNK):  # never a second copy of the whole
            sha.update(array.flat[start : start + _CHUNK].astype("<f8").data)
    return sha.hexdigest()
