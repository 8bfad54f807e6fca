"""IDX, the format of MNIST and its relatives: a header, then unsigned bytes in C order.

The header is two zero bytes, a type code, the number of dimensions, and each dimension as a
big-endian 32-bit integer.  A plain file is memory-mapped, so it may be larger than memory; a
``.gz`` file is inflated into memory, which makes it the one to mistrust: nothing is allocated on
the word of its header alone.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from backendmlp.errors import InputError
from backendmlp.files import StrPath, open_regular, reason, shown

Bytes: TypeAlias = npt.NDArray[np.uint8]

INFLATED_LIMIT = 4 * 2**30
"""The most bytes that are inflated into memory; a larger array has to be in a plain file."""

DEFLATE_RATIO = 1032
"""What is deflated grows at most so many times: each two bits give at most 258 bytes."""

CHUNK = 2**20
GZIP_MAGIC = b"\x1f\x8b"

_UNSIGNED_BYTE = 0x08
_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
_CONTENTS = {1: "labels", 3: "images"}


def read_idx(path: StrPath, ndim: int) -> Bytes:
    """The array in an IDX file of unsigned bytes, plain or (by its name) ``.gz``.

    :param ndim: how many dimensions are expected: 1 for labels, 3 for images.
    :returns: a read-only uint8 array with ``ndim`` dimensions, none of them 0; that of a plain
        file is a memory map, so the file must stay as it is while the array is in use.
    :raises InputError: the file cannot be read, or is anything but such a file to the last byte.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise InputError(f"{shown(path)} is empty (0 bytes); fetch it again")
        if os.fspath(path).endswith(".gz"):
            return _read_gzipped(file, size, path, ndim)
        return _read_plain(file, size, path, ndim)


def write_idx(path: StrPath, array: Bytes) -> None:
    """Write a uint8 array as an IDX file, gzipped if ``path`` ends in ``.gz``.

    The same array gives the same bytes: neither the time nor the name goes into a ``.gz`` file.

    :raises InputError: the array is not uint8 or has no dimension, or the file cannot be written.
    """
    if array.dtype != np.uint8 or not 1 <= array.ndim <= 255:
        raise InputError(
            f"{shown(path)} cannot hold {array.ndim}-dimensional {array.dtype}; "
            "give an array of uint8 with 1 to 255 dimensions"
        )
    try:
        with open(path, "wb") as file:
            if os.fspath(path).endswith(".gz"):
                with gzip.GzipFile("", "wb", 9, file, mtime=0) as stream:
                    stream.write(idx_header(array.shape))
                    stream.write(np.ascontiguousarray(array).data)
            else:
                file.write(idx_header(array.shape))
                file.write(np.ascontiguousarray(array).data)
    except OSError as error:
        raise InputError(f"{shown(path)} cannot be written: {reason(error)}") from error


def idx_header(shape: tuple[int, ...], code: int = _UNSIGNED_BYTE) -> bytes:
    """The bytes an IDX file begins with, of unsigned bytes or what else ``code`` stands for."""
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape)


def idx_sha256(array: npt.NDArray[Any]) -> str:
    """The SHA-256 (hexadecimal) of the plain IDX file that holds ``array``.

    That is of uint8, int8, int16, int32, float32 or float64, big-endian in the file.  A memory map
    is read piece by piece and never held whole.
    """
    kind = array.dtype.str[1:]
    digest = hashlib.sha256(idx_header(array.shape, _CODES[kind]))
    step = max(1, CHUNK // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), step):
        piece = np.ascontiguousarray(array[start : start + step], f">{kind}")
        digest.update(piece.view(np.uint8).data)
    return digest.hexdigest()


def _read_plain(file: BinaryIO, size: int, path: StrPath, ndim: int) -> Bytes:
    shape = _read_header(file, path, ndim)
    offset = file.tell()
    _refuse_other_size(size - offset, shape, path)
    mapped = np.memmap(file, np.uint8, "r", offset, shape)
    mapped.filename = os.fspath(path)  # for who finds the file cut short later
    return mapped.view(np.ndarray)


def _read_gzipped(file: BinaryIO, size: int, path: StrPath, ndim: int) -> Bytes:
    if file.read(2) != GZIP_MAGIC:
        raise InputError(
            f"{shown(path)} is not gzipped; take .gz off its name if it is plain IDX, "
            "or fetch it again"
        )
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            shape = _read_header(stream, path, ndim)
            _refuse_promise(shape, size, path)
            data = _inflate(stream, math.prod(shape))
    except (EOFError, gzip.BadGzipFile, zlib.error, struct.error) as error:
        raise InputError(f"{shown(path)} is damaged gzip ({error}); fetch it again") from error
    except MemoryError as error:
        raise InputError(f"{shown(path)} does not fit into memory; gunzip it") from error
    _refuse_other_size(len(data), shape, path)
    return np.frombuffer(memoryview(data).toreadonly(), np.uint8).reshape(shape)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: StrPath, ndim: int) -> tuple[int, ...]:
    magic = stream.read(4)
    if magic[:2] == GZIP_MAGIC:
        raise InputError(f"{shown(path)} is gzipped; add .gz to its name")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise InputError(f"{shown(path)} is not an IDX file (it does not begin like one)")
    if magic[2] != _UNSIGNED_BYTE:
        raise InputError(
            f"{shown(path)} holds numbers of type 0x{magic[2]:02x}; "
            "only unsigned bytes (0x08) are read: convert it"
        )
    if magic[3] != ndim:
        raise InputError(
            f"{shown(path)} is mislabelled: it holds {_described(magic[3])}, "
            f"{_described(ndim)} were expected; check which file is which"
        )
    header = stream.read(4 * ndim)
    if len(header) < 4 * ndim:
        raise InputError(f"{shown(path)} is truncated in its header; fetch it again")
    shape = struct.unpack(f">{ndim}I", header)
    if 0 in shape:
        raise InputError(f"{shown(path)} holds nothing: its dimensions are {_times(shape)}")
    return shape


def _refuse_promise(shape: tuple[int, ...], size: int, path: StrPath) -> None:
    promised = math.prod(shape)
    if promised > INFLATED_LIMIT:
        raise InputError(
            f"{shown(path)} promises {_times(shape)} bytes, and a .gz file may hold "
            f"{INFLATED_LIMIT:,}; gunzip it if that is right"
        )
    if promised > DEFLATE_RATIO * size:
        raise InputError(
            f"{shown(path)} is truncated: it promises {_times(shape)} bytes, which {size} bytes "
            "of gzip cannot hold; fetch it again"
        )


def _inflate(stream: gzip.GzipFile, expected: int) -> bytearray:
    """At most ``expected`` + 1 bytes: enough to know that there are too many."""
    data = bytearray()
    while chunk := stream.read(min(CHUNK, expected + 1 - len(data))):
        data += chunk
    return data


def _refuse_other_size(size: int, shape: tuple[int, ...], path: StrPath) -> None:
    expected = math.prod(shape)
    if size != expected:
        fault = "is truncated" if size < expected else "goes on after its data"
        raise InputError(
            f"{shown(path)} {fault}: its header promises {_times(shape)} bytes; fetch it again"
        )


def _described(ndim: int) -> str:
    contents = _CONTENTS.get(ndim, "an array")
    return f"{contents} ({ndim} dimension{'' if ndim == 1 else 's'})"


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
