"""NumPy's ``.npz`` in the layout of Keras's ``mnist.npz``: four arrays, read without unpickling.

The file is a zip archive of ``.npy`` files.  :mod:`zipfile` walks the archive, given no more than
:data:`_PIECE` bytes at once, and each array's header is held against a pattern, never evaluated.
As with gzip, nothing is allocated on the word of a header alone.
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

import numpy as np

from backendmlp.data.dataset import NDIMS, Dataset
from backendmlp.data.idx import DEFLATE_RATIO, INFLATED_LIMIT, Bytes
from backendmlp.errors import InputError
from backendmlp.files import StrPath, open_regular, shown

NAMES = ("x_train", "y_train", "x_test", "y_test")

_PIECE = 2**17  # bytes: more than an archive's list of contents needs, or its comment
_LOCAL_HEADER = 30  # bytes before a member's name and data
_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 10_000  # bytes, as in NumPy's own reader
_SHAPE = rb"\(\s*(?:\d{1,12}L?\s*,\s*){0,8}(?:\d{1,12}L?\s*)?\)"  # Python 2 wrote 60000L
_ITEM = rb"""\s*['"]([a-z_]+)['"]\s*:\s*(['"][^'"]*['"]|True|False|""" + _SHAPE + rb")\s*"
_HEADER = re.compile(rb"\{" + rb",".join([_ITEM] * 3) + rb",?\s*\}\s*")
_INTEGER = re.compile(r"[<>|][iu][1248]")


def load_file(
    path: StrPath, *, name: str | None = None, class_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set in an ``.npz`` file with ``x_train``, ``y_train``, ``x_test`` and ``y_test``.

    Images are (n, rows, cols) or (n, rows, cols, 1), labels (n,) or (n, 1): whole numbers from 0 to
    255 of any integer dtype, byte order and layout.  They become uint8 in memory, with the digest
    of the same images in IDX files.  An array may take up to 4 GiB in the file.

    :param name: what to call the set; the name of the file without ``.npz`` if None.
    :raises InputError: the file is missing, damaged or hostile, or the arrays do not fit together.
    """
    with open_regular(path) as file, _explained(path), zipfile.ZipFile(_Pieces(file)) as archive:
        members = _find_members(archive, path)
        parts = tuple(f"{name} in {shown(path)}" for name in NAMES)
        arrays = [
            _without_last(_read_member(archive, member, part), ndim, part)
            for member, ndim, part in zip(members, NDIMS, parts, strict=True)
        ]
    stem = os.path.basename(os.path.abspath(path)).removesuffix(".npz")
    return Dataset(
        name or stem or "data",
        os.fspath(path),
        *(arrays[0], arrays[1], arrays[2], arrays[3]),
        class_names=class_names,
        parts=parts,
    )


class _Pieces(io.RawIOBase):
    """A file that hands out at most :data:`_PIECE` bytes at once and knows where it ends."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.file.tell(), os.SEEK_END: self.size}[whence]
        if not 0 <= start + offset <= self.size:
            raise zipfile.BadZipFile("it points outside the file")
        return self.file.seek(start + offset)

    def read(self, size: int | None = -1) -> bytes:
        wanted = self.size - self.file.tell() if size is None or size < 0 else size
        if wanted > _PIECE:
            raise zipfile.BadZipFile(f"its list of contents takes {wanted:,} bytes")
        return self.file.read(wanted)


@contextmanager
def _explained(path: StrPath) -> Iterator[None]:
    """Turn what :mod:`zipfile` and zlib raise about the file's contents into our sentence."""
    try:
        yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{shown(path)} does not fit into memory; give IDX files") from error
    except (
        *(EOFError, NotImplementedError, OverflowError, RuntimeError, ValueError),
        *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    ) as error:
        raise InputError(
            f"{shown(path)} is no .npz file or a damaged one ({str(error)[:200]!a}); fetch it "
            "again, or name a folder of IDX files"
        ) from error


def _find_members(archive: zipfile.ZipFile, path: StrPath) -> list[zipfile.ZipInfo]:
    """The four arrays' places, none of them twice and none inside another."""
    members = []
    for part in NAMES:
        found = [entry for entry in archive.infolist() if entry.filename == f"{part}.npy"]
        if not found:
            raise InputError(
                f"{shown(path)} lacks {part}; write it with numpy.savez(FILE, x_train=..., "
                "y_train=..., x_test=..., y_test=...)"
            )
        if len(found) > 1:
            raise InputError(f"{shown(path)} holds {part} more than once; write it again")
        members.append(found[0])
    end = 0
    for entry in sorted(members, key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise InputError(f"{shown(path)} has arrays that overlap; fetch it again")
        end = entry.header_offset + _LOCAL_HEADER + len(entry.filename) + entry.compress_size
    if end > archive.start_dir:
        raise InputError(f"{shown(path)} has arrays that overlap its list; fetch it again")
    return members


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, part: str) -> Bytes:
    """The array in ``member`` as uint8, of the shape that its header tells."""
    if member.flag_bits & 1:
        raise InputError(f"{part} is encrypted; write it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{part} is compressed in an unusual way; write it with numpy.savez_compressed"
        )
    if member.file_size > INFLATED_LIMIT:
        raise InputError(
            f"{part} promises {member.file_size:,} bytes, and an array in an .npz file may have "
            f"{INFLATED_LIMIT:,}; give IDX files"
        )
    if member.file_size > DEFLATE_RATIO * member.compress_size:
        raise InputError(
            f"{part} is truncated: it promises {member.file_size:,} bytes, which "
            f"{member.compress_size:,} cannot hold; fetch it again"
        )
    with archive.open(member) as stream:
        dtype, fortran_order, shape, offset = _read_header(stream, part)
        size = member.file_size - offset
        expected = math.prod(shape) * dtype.itemsize
        if size != expected:
            raise InputError(
                f"{part} {'is truncated' if size < expected else 'goes on after its data'}: its "
                f"header promises {expected:,} bytes, the archive {size:,}; fetch it again"
            )
        data = _read_values(stream, size, dtype, part)
    array = np.frombuffer(data, np.uint8)
    if fortran_order:
        array = np.ascontiguousarray(array.reshape(shape[::-1]).T)
    array.flags.writeable = False
    return array.reshape(shape)


def _read_header(stream: IO[bytes], part: str) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """The dtype, whether the order is Fortran's, the shape, and how many bytes told all this."""
    start = stream.read(8)
    if start[:6] != _MAGIC or start[6:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise InputError(f"{part} is not an array that NumPy wrote; write it with numpy.savez")
    counted = stream.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(counted, "little")
    text = stream.read(length) if length <= _HEADER_LIMIT else b""
    matched = _HEADER.fullmatch(text)
    found = dict(zip(*[iter(matched.groups())] * 2, strict=True)) if matched else {}
    shape, order, kind = (found.get(key, b"") for key in (b"shape", b"fortran_order", b"descr"))
    if shape[:1] != b"(" or order not in (b"True", b"False") or kind[:1] not in (b"'", b'"'):
        raise InputError(
            f"{part} has a header that cannot be read; only plain arrays are: write it again with "
            ".astype('uint8')"
        )
    sizes = tuple(map(int, re.findall(rb"\d+", shape)))
    dtype = _integer(kind[1:-1].decode("latin-1"), part)
    return dtype, order == b"True", sizes, len(start + counted + text)


def _integer(kind: str, part: str) -> np.dtype:
    if kind.lstrip("<>|=") == "O":
        raise InputError(
            f"{part} holds pickled objects, which could run code and are never read; write it "
            "again with .astype('uint8')"
        )
    if not _INTEGER.fullmatch(kind):
        raise InputError(
            f"{part} holds numbers of type {kind[:20]!a}; only integers are read: write it again "
            "as whole numbers from 0 to 255 with .astype('uint8')"
        )
    return np.dtype(kind)


def _read_values(stream: IO[bytes], size: int, dtype: np.dtype, part: str) -> bytearray:
    """``size`` bytes of integers, checked and made uint8 piece by piece."""
    data = bytearray()
    for start in range(0, size, _PIECE):
        piece = stream.read(min(_PIECE, size - start))
        if len(piece) < min(_PIECE, size - start):
            raise InputError(f"{part} is truncated: its data end too early; fetch it again")
        if dtype != np.uint8:
            values = np.frombuffer(piece, dtype)
            if values.min() < 0 or values.max() > 255:
                raise InputError(
                    f"{part} holds numbers from {values.min()} to {values.max()}; whole numbers "
                    "from 0 to 255 are read: write it again with others"
                )
            piece = values.astype(np.uint8).tobytes()
        data += piece
    return data


def _without_last(array: Bytes, ndim: int, part: str) -> Bytes:
    """``array`` without a last dimension of 1, which some writers add."""
    if array.ndim == ndim + 1 and array.shape[-1] == 1:
        return array.reshape(array.shape[:-1])
    if ndim == 3 and array.ndim != 3:
        raise InputError(f"{part} has shape {array.shape}; give gray images as (n, rows, columns)")
    return array
