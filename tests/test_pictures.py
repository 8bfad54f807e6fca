"""Pictures to classify: what is read from PNG and IDX files, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backendmlp.data import read_pictures, write_idx
from backendmlp.errors import InputError

SHAPE = (4, 6)
GRAY = np.arange(0, 240, 10, dtype=np.uint8).reshape(SHAPE)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(rows: int, cols: int, bits: int = 8, colour: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">2I5B", cols, rows, bits, colour, 0, 0, 0))


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read_one(folder: Path, data: bytes) -> np.ndarray:
    pictures, names = read_pictures([put(folder, "a.png", data)], SHAPE)
    assert (pictures.shape, pictures.dtype) == ((1, *SHAPE), np.uint8)
    assert names == [str(folder / "a.png")]
    return pictures[0]


def refused(*paths: os.PathLike[str] | str) -> str:
    with pytest.raises(InputError) as caught:
        read_pictures(paths, SHAPE)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_gray_png_is_exact(tmp_path):
    np.testing.assert_array_equal(read_one(tmp_path, png(Image.fromarray(GRAY))), GRAY)


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "LA"])
def test_gray_in_other_modes_is_the_same(tmp_path, mode):
    gray = Image.fromarray(GRAY)
    image = gray.quantize(256) if mode == "P" else gray.convert(mode)
    assert image.mode == mode
    np.testing.assert_array_equal(read_one(tmp_path, png(image)), GRAY)


def test_bits_become_black_and_white(tmp_path):
    bits = Image.fromarray(GRAY > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(read_one(tmp_path, png(bits)), (GRAY > 100) * np.uint8(255))


def test_16_bits_lose_the_lower_eight(tmp_path):
    image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_one(tmp_path, png(image)), GRAY)


def test_colours_are_weighted(tmp_path):
    image = Image.new("RGB", SHAPE[::-1], (255, 0, 0))
    assert (read_one(tmp_path, png(image)) == 76).all()


def test_transparency_is_black(tmp_path):
    alpha = np.full(SHAPE, 255, np.uint8)
    alpha[0] = 0
    alpha[1] = 128
    shade = Image.new("L", SHAPE[::-1], 200)
    image = Image.merge("LA", [shade, Image.fromarray(alpha)])
    rows = read_one(tmp_path, png(image))[:, 0]
    np.testing.assert_array_equal(rows, [0, 100, 200, 200])


def test_transparent_shade_is_black(tmp_path):
    gray = read_one(tmp_path, png(Image.fromarray(GRAY), transparency=int(GRAY[2, 3])))
    expected = GRAY.copy()
    expected[2, 3] = 0
    np.testing.assert_array_equal(gray, expected)


def test_idx_images_are_numbered(tmp_path):
    images = np.stack([GRAY, GRAY + 1, GRAY + 2])
    write_idx(tmp_path / "plain", images)
    write_idx(tmp_path / "packed.gz", images[::-1])
    single = put(tmp_path, "no-ending", png(Image.fromarray(GRAY)))
    paths = [tmp_path / "plain", str(single), tmp_path / "packed.gz"]
    pictures, names = read_pictures(paths, SHAPE)
    np.testing.assert_array_equal(pictures, [*images, GRAY, *images[::-1]])
    assert [name.removeprefix(f"{tmp_path}{os.sep}") for name in names] == [
        *(f"plain[{i}]" for i in range(3)),
        "no-ending",
        *(f"packed.gz[{i}]" for i in range(3)),
    ]


def test_other_sizes_are_refused_with_both(tmp_path):
    image = put(tmp_path, "a.png", png(Image.fromarray(GRAY.T)))
    assert "a.png has 6 x 4 pixels (rows x columns), 4 x 6 were expected" in refused(image)
    write_idx(tmp_path / "images", GRAY.T[np.newaxis])
    assert "images has 6 x 4 pixels" in refused(tmp_path / "images")


def test_bomb_is_refused_before_it_is_unpacked(tmp_path):
    data = SIGNATURE + header(60000, 60000) + chunk(b"IDAT", zlib.compress(bytes(2**20)))
    assert "60000 x 60000 pixels" in refused(put(tmp_path, "a.png", data))
    huge = SIGNATURE + header(2**31 - 1, 2**32 - 1) + chunk(b"IEND", b"")
    assert "pixels" in refused(put(tmp_path, "a.png", huge))


def test_second_header_cannot_change_the_size(tmp_path):
    pixels = chunk(b"IDAT", zlib.compress(bytes(9 * 10)))
    data = SIGNATURE + header(*SHAPE) + header(9, 9) + pixels + chunk(b"IEND", b"")
    assert refused(put(tmp_path, "a.png", data))


def test_unpacked_text_is_bounded(tmp_path):
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**24)))
    data = png(Image.fromarray(GRAY))
    assert "damaged PNG" in refused(put(tmp_path, "a.png", data[:33] + text + data[33:]))


def test_every_cut_is_refused(tmp_path):
    data = png(Image.fromarray(GRAY))
    for cut in range(len(data)):
        refused(put(tmp_path, "a.png", data[:cut]))


def test_every_flipped_byte_is_refused(tmp_path):
    data = png(Image.fromarray(GRAY))
    for at in range(len(data)):
        refused(put(tmp_path, "a.png", data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]))


@pytest.mark.parametrize("format", ["JPEG", "GIF", "BMP", "PPM", "TIFF"])
def test_other_formats_are_refused_whatever_the_name(tmp_path, format):
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, format)
    sentence = refused(put(tmp_path, "a.png", buffer.getvalue()))
    assert "is neither a PNG nor an IDX file; convert it to PNG" in sentence


def test_what_is_no_picture_file_is_refused(tmp_path):
    assert "no pictures are named" in refused()
    assert "is empty (0 bytes)" in refused(put(tmp_path, "a", b""))
    assert "cannot read" in refused(tmp_path / "nowhere.png")
    assert "is a folder" in refused(tmp_path)
    write_idx(tmp_path / "labels", np.arange(3, dtype=np.uint8))
    assert "is mislabelled: it holds labels" in refused(tmp_path / "labels")


@pytest.mark.parametrize("pixels", [b"", b"not deflated", zlib.compress(bytes(28))[:-6]])
def test_pixels_that_cannot_be_unpacked_are_refused(tmp_path, pixels):
    data = SIGNATURE + header(*SHAPE) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    assert "damaged PNG" in refused(put(tmp_path, "a.png", data))


def test_one_bad_picture_refuses_all(tmp_path):
    good = put(tmp_path, "good.png", png(Image.fromarray(GRAY)))
    assert "bad.png" in refused(good, put(tmp_path, "bad.png", SIGNATURE))


def test_no_file_is_left_open_or_changed(tmp_path):
    path = put(tmp_path, "a.png", png(Image.fromarray(GRAY)))
    read_pictures([path], SHAPE)
    path.unlink()
    assert list(tmp_path.iterdir()) == []
