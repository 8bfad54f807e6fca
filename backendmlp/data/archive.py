"""Arrays of numbers, or names of classes, in ``.npz`` files: never unpickled, read with suspicion.

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
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

import numpy as np

from backendmlp.data.checks import MAX_CLASSES, Array
from backendmlp.data.idx import DEFLATE_RATIO, INFLATED_LIMIT
from backendmlp.digests import read_only
from backendmlp.errors import InputError
from backendmlp.files import StrPath, open_regular, shown

_PIECE = 2**17  # bytes: more than an archive's list of contents needs, or its comment
_LOCAL_HEADER = 30  # bytes before a member's name and data
_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 10_000  # bytes, as in NumPy's own reader
_SHAPE = rb"\(\s*(?:\d{1,12}L?\s*,\s*){0,8}(?:\d{1,12}L?\s*)?\)"  # Python 2 wrote 60000L
_ITEM = rb"""\s*['"]([a-z_]+)['"]\s*:\s*(['"][^'"]*['"]|True|False|""" + _SHAPE + rb")\s*"
_HEADER = re.compile(rb"\{" + rb",".join([_ITEM] * 3) + rb",?\s*\}\s*")
_NUMBER = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248])")
_TEXT = re.compile(r"[<>|=]?[US](\d{1,4})")
_LONGEST_TEXT = 1000  # characters: names of classes are shorter by far


@dataclass(frozen=True)
class Texts:
    """An array of texts: the different ones, as they came, and the number of each entry's."""

    values: tuple[str, ...]
    numbers: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape


def read_arrays(
    path: StrPath,
    choose: Callable[[Sequence[str]], Sequence[str]],
    pixels: Collection[str] = (),
    texts: Collection[str] = (),
) -> dict[str, Any]:
    """The arrays in ``path`` that ``choose`` picks from the names of all, by name.

    Integers, booleans (as uint8) and floats of any byte order and layout; half precision becomes
    float32.  Integers in arrays called as in ``pixels`` are images, (n, rows, columns) or more, of
    0 to 255, and become uint8.  Those called as in ``texts`` may hold texts, or bytes in UTF-8, and
    come as :class:`Texts`.  An array may take up to 4 GiB in the file.  Raises
    :class:`InputError` where the file is missing, damaged or hostile, or for other arrays.
    """
    with open_regular(path) as file, _explained(path), _archive(file) as archive:
        present = [entry.filename for entry in archive.infolist()]
        names = choose([name.removesuffix(".npy") for name in present if name.endswith(".npy")])
        members = _find_members(archive, names, path)
        return {
            name: _read_member(
                archive, member, f"{name} in {shown(path)}", name in pixels, name in texts
            )
            for name, member in zip(names, members, strict=True)
        }


def read_array(path: StrPath) -> Array:
    """The array of inputs in the ``.npy`` file at ``path``, as :func:`read_arrays` reads one."""
    with open_regular(path) as file, _explained(path):
        size = os.fstat(file.fileno()).st_size
        return _read_array(file, size, shown(path), pixels=True, texts=False)


def _archive(file: BinaryIO) -> zipfile.ZipFile:
    pieces = _Pieces(file)
    if pieces.size == 0:
        raise zipfile.BadZipFile("it is empty")
    return zipfile.ZipFile(pieces)


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


def _find_members(
    archive: zipfile.ZipFile, names: Sequence[str], path: StrPath
) -> list[zipfile.ZipInfo]:
    """The arrays' places, none of them twice and none inside another."""
    members = []
    for part in names:
        found = [entry for entry in archive.infolist() if entry.filename == f"{part}.npy"]
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


def _read_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, part: str, pixels: bool, texts: bool
) -> Any:
    """The array in ``member``, of the shape that its header tells."""
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
        return _read_array(stream, member.file_size, part, pixels, texts)


def _read_array(
    stream: IO[bytes] | BinaryIO, file_size: int, part: str, pixels: bool, texts: bool
) -> Any:
    """The array in a ``stream`` of so many bytes."""
    dtype, fortran_order, shape, offset = _read_header(stream, part, texts)
    size = file_size - offset
    expected = math.prod(shape) * dtype.itemsize
    if size != expected:
        raise InputError(
            f"{part} {'is truncated' if size < expected else 'goes on after its data'}: its "
            f"header promises {expected:,} bytes, and it has {size:,}; fetch it again"
        )
    if dtype.kind in "US":
        numbered = _Numbered(part)
        array = _read_values(stream, size, dtype, numbered, part)
        return Texts(numbered.values, array.reshape(shape, order="F" if fortran_order else "C"))
    array = _read_values(stream, size, dtype, _converter(dtype, len(shape), part, pixels), part)
    if fortran_order:
        array = np.ascontiguousarray(array.reshape(shape[::-1]).T)
    return read_only(array.reshape(shape))


def _read_header(
    stream: IO[bytes], part: str, texts: bool
) -> tuple[np.dtype, bool, tuple[int, ...], int]:
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
            f"{part} has a header that cannot be read; only plain arrays of numbers are: write it "
            "again with .astype('uint8') or .astype('float32')"
        )
    sizes = tuple(map(int, re.findall(rb"\d+", shape)))
    dtype = _number(kind[1:-1].decode("latin-1"), part, texts)
    return dtype, order == b"True", sizes, len(start + counted + text)


def _number(kind: str, part: str, texts: bool) -> np.dtype[Any]:
    text = _TEXT.fullmatch(kind) if texts else None
    if text is not None:
        if not 0 < int(text[1]) <= _LONGEST_TEXT:
            raise InputError(
                f"{part} holds texts of {text[1]} characters; give shorter ones, from 1 to "
                f"{_LONGEST_TEXT:,}"
            )
        return np.dtype(kind)
    letter = kind.lstrip("<>|=")[:1]
    if letter == "O":
        again = ".astype('uint8') for pixels or .astype('float32') for features"
        if part.startswith("y_"):
            again = ".astype(str) for the names of classes, or .astype('int64') for numbers"
        raise InputError(
            f"{part} holds pickled objects, which could run code and are never read; write it "
            f"again with {again}"
        )
    if letter in ("U", "S"):
        raise InputError(f"{part} holds texts; make numbers of them, or leave them out")
    if not _NUMBER.fullmatch(kind):
        raise InputError(
            f"{part} holds numbers of type {kind[:20]!a}; write it again with .astype('uint8') or "
            ".astype('float32')"
        )
    return np.dtype(kind)


def _converter(
    dtype: np.dtype[Any], ndim: int, part: str, pixels: bool
) -> Callable[[Array], Array]:
    """What makes of a piece of the values what is kept of them."""
    if pixels and dtype.kind in "iu" and dtype != np.uint8:
        if ndim < 3:
            raise InputError(
                f"{part} holds whole numbers of type {dtype}, pixels or features; write it again "
                "with .astype('uint8') for pixels from 0 to 255, or with .astype('float32') for "
                "features"
            )
        return lambda values: _bytes(values, part)
    if dtype.kind == "b":
        return lambda values: (values.view(np.uint8) != 0).astype(np.float32 if pixels else "u1")
    kept = np.dtype(np.float32) if dtype.str[1:] == "f2" else dtype.newbyteorder("=")
    return lambda values: values.astype(kept, copy=False)


def _bytes(values: Array, part: str) -> Array:
    if values.min() < 0 or values.max() > 255:
        raise InputError(
            f"{part} holds numbers from {values.min()} to {values.max()}; as pixels whole numbers "
            "from 0 to 255 are read: write it again with others, or with .astype('float32')"
        )
    return values.astype(np.uint8)


class _Numbered:
    """Makes of pieces of texts the numbers of their values, which it gathers."""

    def __init__(self, part: str) -> None:
        self.part = part
        self._numbers: dict[str, int] = {}

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def __call__(self, texts: Array) -> Array:
        if not len(texts):
            return np.empty(0, np.int32)
        if texts.dtype.kind == "U" and _points(texts).max() > sys.maxunicode:
            raise InputError(f"{self.part} holds texts that are no Unicode; write it again")
        found, inverse = np.unique(texts, return_inverse=True)
        names = [text.decode() if isinstance(text, bytes) else text for text in found.tolist()]
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        if len(self._numbers) > MAX_CLASSES:
            raise InputError(
                f"{self.part} holds more than {MAX_CLASSES:,} different texts, too many for names "
                "of classes; give numbers"
            )
        return np.asarray(numbers, np.int32)[inverse]


def _points(texts: Array) -> Array:
    """The code points of texts, which NumPy hands to Python whatever they are."""
    return texts.view(np.dtype(np.uint32).newbyteorder(texts.dtype.byteorder))


def _read_values(
    stream: IO[bytes],
    size: int,
    dtype: np.dtype[Any],
    convert: Callable[[Array], Array],
    part: str,
) -> Array:
    """``size`` bytes of values, converted piece by piece."""
    data = bytearray()
    kept = convert(np.zeros(0 if dtype.kind in "US" else 1, dtype)).dtype
    whole = _PIECE // dtype.itemsize * dtype.itemsize
    for start in range(0, size, whole):
        piece = stream.read(min(whole, size - start))
        if len(piece) < min(whole, size - start):
            raise InputError(f"{part} is truncated: its data end too early; fetch it again")
        data += convert(np.frombuffer(piece, dtype)).tobytes()
    return np.frombuffer(memoryview(data).toreadonly(), kept)
