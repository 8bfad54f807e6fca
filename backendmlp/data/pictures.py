"""Pictures to classify: PNG files, or the images in IDX files."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from backendmlp.data.idx import CHUNK, GZIP_MAGIC, Bytes, read_idx
from backendmlp.errors import InputError
from backendmlp.files import StrPath, open_regular, shown

if TYPE_CHECKING:
    from PIL import Image

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_METADATA_LIMIT = 2**22  # bytes of texts, profiles and whatever else Pillow holds in memory
_PIXEL_LIMIT = 16  # bytes: twice the largest pixel, since bad compression makes them grow


def read_pictures(
    paths: Sequence[StrPath], image_shape: tuple[int, int]
) -> tuple[Bytes, list[str]]:
    """All pictures in ``paths`` and what to call each of them.

    A file is a PNG (made 8-bit grayscale, with what is transparent made black) or holds IDX
    images, plain or ``.gz``; its contents tell which.

    :param image_shape: (rows, cols) that every picture must have.
    :returns: uint8 (n, rows, cols), read-only if it is a memory map; and n names, such as
        ``shoe.png`` or ``t10k-images-idx3-ubyte[3]``.
    :raises InputError: there are no paths, or a file is neither, is damaged, or has another size.
    """
    if not paths:
        raise InputError("no pictures are named; name PNG or IDX files")
    parts: list[Bytes] = []
    names: list[str] = []
    for path in paths:
        part, part_names = _read_file(path, image_shape)
        parts.append(part)
        names += part_names
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)), names


def _read_file(path: StrPath, image_shape: tuple[int, int]) -> tuple[Bytes, list[str]]:
    with open_regular(path) as file:
        head = file.read(24)
        if head.startswith(_SIGNATURE):
            _check_size(_png_shape(head, path), image_shape, path)
            return _read_png(file, path, image_shape)[np.newaxis], [shown(path)]
    if head and not head.startswith((b"\0\0", GZIP_MAGIC)):
        raise InputError(f"{shown(path)} is neither a PNG nor an IDX file; convert it to PNG")
    images = read_idx(path, 3)
    _check_size(images.shape[1:], image_shape, path)
    return images, [f"{shown(path)}[{i}]" for i in range(len(images))]


def _png_shape(head: bytes, path: StrPath) -> tuple[int, ...]:
    # Read here, so that Pillow only ever sees a picture of a size that is wanted: a picture that
    # would fill the memory is refused before anything is unpacked.
    if len(head) < 24 or head[12:16] != b"IHDR":
        raise _damaged(path, "its header is cut off")
    cols, rows = struct.unpack(">2I", head[16:24])
    return rows, cols


def _check_size(shape: tuple[int, ...], image_shape: tuple[int, int], path: StrPath) -> None:
    if shape != image_shape:
        raise InputError(
            f"{shown(path)} has {shape[0]} x {shape[1]} pixels (rows x columns), "
            f"{image_shape[0]} x {image_shape[1]} were expected; scale it"
        )


def _read_png(file: BinaryIO, path: StrPath, image_shape: tuple[int, int]) -> Bytes:
    from PIL import Image  # slow to import

    allowed = _METADATA_LIMIT + _PIXEL_LIMIT * image_shape[0] * image_shape[1]
    if (size := os.fstat(file.fileno()).st_size) > allowed:
        raise InputError(
            f"{shown(path)} has {size:,} bytes, and a picture of its size may have {allowed:,}; "
            "save it again without metadata"
        )
    _check_chunks(file, path)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns of oddities that do not touch the pixels, such as a broken animation.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=["PNG"]) as image:
                # A second header inside the file may have changed the size.
                _check_size((image.height, image.width), image_shape, path)
                return _gray(image)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders promise no particular ones
        raise _damaged(path, "it cannot be decoded") from error


def _check_chunks(file: BinaryIO, path: StrPath) -> None:
    """Compare the checksum of every chunk, most of which Pillow skips, up to the end mark."""
    file.seek(len(_SIGNATURE))
    kind = b""
    while kind != b"IEND":
        head = file.read(8)
        if len(head) < 8:
            raise _damaged(path, "its end is cut off")
        length, kind = struct.unpack(">I4s", head)
        checksum = zlib.crc32(kind)
        while length and (piece := file.read(min(CHUNK, length))):
            checksum = zlib.crc32(piece, checksum)
            length -= len(piece)
        if file.read(4) != struct.pack(">I", checksum):
            raise _damaged(path, "a checksum differs or its end is cut off")


def _gray(image: Image.Image) -> Bytes:
    from PIL import Image

    if image.mode.startswith("I"):
        # 16 bits: Pillow would clip them at 255 instead of dropping the lower eight.
        return (np.asarray(image) >> 8).astype(np.uint8)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.array(image.convert("L"))


def _damaged(path: StrPath, why: str) -> InputError:
    return InputError(f"{shown(path)} is a damaged PNG ({why}); save it again")
