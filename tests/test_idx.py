"""IDX files: what is read, and how everything else is refused without harm."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backendmlp.data import idx, read_idx, write_idx
from backendmlp.errors import InputError

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + bytes(range(24))


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def refused(path: os.PathLike[str] | str, ndim: int = 3) -> str:
    """The sentence that reading ``path`` ends in."""
    with pytest.raises(InputError) as caught:
        read_idx(path, ndim)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_plain_file_is_mapped_read_only(tmp_path):
    array = read_idx(put(tmp_path, "images", PLAIN), 3)
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert type(array) is np.ndarray
    assert not array.flags.writeable
    assert not array.flags.owndata


def test_gzipped_file_reads_the_same(tmp_path):
    array = read_idx(put(tmp_path, "images.gz", zipped(PLAIN)), 3)
    np.testing.assert_array_equal(array, IMAGES)
    assert not array.flags.writeable


def test_gzip_of_several_members_and_zero_padding_is_gzip(tmp_path):
    data = zipped(PLAIN[:9]) + zipped(b"") + zipped(PLAIN[9:]) + b"\0" * 7
    np.testing.assert_array_equal(read_idx(put(tmp_path, "images.gz", data), 3), IMAGES)


def test_plain_file_larger_than_memory_is_readable(tmp_path):
    path = put(tmp_path, "images", idx.idx_header((2**22, 256, 256)))
    os.truncate(path, 16 + 2**38)  # sparse: 256 GiB that take no room
    array = read_idx(path, 3)
    assert array.shape == (2**22, 256, 256)
    assert array[-1, -1, -1] == 0


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.sampled_from(["array", "array.gz"]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_written_arrays_come_back(tmp_path_factory, shape, name, random):
    array = np.frombuffer(random.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)
    path = tmp_path_factory.mktemp("idx") / name
    write_idx(path, array.T)
    np.testing.assert_array_equal(read_idx(path, len(shape)), array.T)


def test_written_bytes_are_the_format_and_do_not_vary(tmp_path):
    write_idx(tmp_path / "a", IMAGES)
    assert (tmp_path / "a").read_bytes() == PLAIN
    write_idx(tmp_path / "a.gz", IMAGES)
    write_idx(tmp_path / "b.gz", IMAGES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[3:8] == bytes(5)  # no name, no time


@pytest.mark.parametrize("bad", [IMAGES.astype(np.int64), np.uint8(3) * np.ones((), np.uint8)])
def test_only_arrays_of_bytes_are_written(tmp_path, bad):
    with pytest.raises(InputError, match="give an array of uint8"):
        write_idx(tmp_path / "a", bad)
    assert not (tmp_path / "a").exists()


def test_unwritable_place_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.a cannot be written: no such file"):
        write_idx(tmp_path / "nowhere" / "a", IMAGES)


def test_digest_is_of_the_plain_file_whatever_the_layout(tmp_path):
    expected = hashlib.sha256(PLAIN).hexdigest()
    assert idx.idx_sha256(IMAGES) == expected
    assert idx.idx_sha256(np.asfortranarray(IMAGES)) == expected
    assert idx.idx_sha256(read_idx(put(tmp_path, "images", PLAIN), 3)) == expected
    assert idx.idx_sha256(np.repeat(IMAGES, 2, 0)[::2]) == expected


@pytest.mark.parametrize(
    ("kind", "code"), [("i1", 9), ("i2", 11), ("i4", 12), ("f4", 13), ("f8", 14)]
)
def test_digest_of_other_numbers_is_that_of_their_file(kind, code):
    for order in "<>":
        array = np.arange(-6, 6).reshape(4, 3).astype(order + kind)
        file = struct.pack(">HBBII", 0, code, 2, 4, 3) + array.astype(">" + kind).tobytes()
        assert idx.idx_sha256(array) == hashlib.sha256(file).hexdigest()


def test_digest_does_not_depend_on_the_pieces(monkeypatch):
    expected = idx.idx_sha256(IMAGES)
    for chunk in (1, 12, 13, 24):
        monkeypatch.setattr(idx, "CHUNK", chunk)
        assert idx.idx_sha256(IMAGES) == expected


HEADER = PLAIN[:16]
FAULTS = {
    "nothing": (b"", "is empty (0 bytes)"),
    "text": (b"<html>404</html>", "is not an IDX file"),
    "one byte": (b"\0", "is not an IDX file"),
    "cut magic": (PLAIN[:3], "is not an IDX file"),
    "cut header": (PLAIN[:13], "is truncated in its header"),
    "header only": (HEADER, "is truncated: its header promises 2 x 3 x 4 bytes"),
    "one byte short": (PLAIN[:-1], "is truncated"),
    "one byte long": (PLAIN + b"x", "goes on after its data"),
    "twice": (PLAIN * 2, "goes on after its data"),
    "floats": (b"\0\0\x0d" + PLAIN[3:], "holds numbers of type 0x0d"),
    "signed": (b"\0\0\x09" + PLAIN[3:], "only unsigned bytes (0x08) are read"),
    "no images": (b"\0\0\x08\x03" + struct.pack(">3I", 0, 28, 28), "holds nothing"),
    "no rows": (b"\0\0\x08\x03" + struct.pack(">3I", 5, 0, 28), "dimensions are 5 x 0 x 28"),
    "labels": (
        b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\1\2",
        "is mislabelled: it holds labels (1 dimension), images (3 dimensions) were expected",
    ),
    "matrix": (b"\0\0\x08\x02" + struct.pack(">2I", 1, 1) + b"\1", "an array (2 dimensions)"),
    "255 dimensions": (b"\0\0\x08\xff", "(255 dimensions)"),
    "2^31 images": (b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 28, 28) + b"abc", "is truncated"),
    "more than 2^64": (b"\0\0\x08\x03" + b"\xff" * 12 + b"abc", "is truncated"),
}


@pytest.mark.parametrize(("data", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_bad_contents_are_refused_plain_and_gzipped(tmp_path, data, fault):
    plain = put(tmp_path, "data", data)
    sentence = refused(plain)
    assert sentence.startswith(str(plain))
    assert fault in sentence
    packed = put(tmp_path, "data.gz", zipped(data) if data else b"")
    sentence = refused(packed)
    assert sentence.startswith(str(packed))
    assert fault.split(":")[0] in sentence or "promises" in sentence


def test_images_in_place_of_labels_are_mislabelled(tmp_path):
    assert "holds images (3 dimensions), labels (1 dimension)" in refused(
        put(tmp_path, "labels", PLAIN), 1
    )


def test_name_and_contents_have_to_agree_on_gzip(tmp_path):
    assert "is not gzipped; take .gz off" in refused(put(tmp_path, "images.gz", PLAIN))
    assert "is gzipped; add .gz" in refused(put(tmp_path, "images", zipped(PLAIN)))


def test_every_cut_and_every_flipped_byte_of_gzip_is_refused_or_harmless(tmp_path):
    data = zipped(PLAIN)
    for cut in range(len(data)):
        refused(put(tmp_path, "images.gz", data[:cut]))
    for at in range(len(data)):
        path = put(tmp_path, "images.gz", data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        try:
            array = read_idx(path, 3)
        except InputError:
            continue
        np.testing.assert_array_equal(array, IMAGES)  # the time and such may be flipped


@given(st.binary(max_size=64), st.sampled_from(["a", "a.gz"]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, tail, name, pack):
    path = tmp_path_factory.getbasetemp() / name
    data = b"\0\0\x08\x01" + tail
    path.write_bytes(zipped(data) if pack else data)
    try:
        array = read_idx(path, 1)
    except InputError:
        return
    assert array.tobytes() == tail[4:]


def test_garbage_after_gzip_is_refused(tmp_path):
    assert "is damaged gzip" in refused(put(tmp_path, "images.gz", zipped(PLAIN) + b"garbage"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as on Linux")
@pytest.mark.parametrize(
    ("shape", "zeros"),
    [
        pytest.param((2**31, 28, 28), 0, id="promises 2^31 images"),
        pytest.param((5_000_000, 28, 28), 0, id="promises 3.7 GiB"),
        pytest.param((9, 9, 9), 2**28, id="holds 256 MiB more"),
        pytest.param(None, 2**28, id="256 MiB of zeros"),
    ],
)
def test_bombs_are_refused_without_memory(tmp_path, shape, zeros):
    import resource  # not on Windows

    header = b"" if shape is None else idx.idx_header(shape)
    path = put(tmp_path, "images.gz", zipped(header + bytes(zeros)))
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
    try:
        refused(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_gzip_beyond_the_limit_is_refused_and_plain_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(idx, "INFLATED_LIMIT", 23)
    assert "a .gz file may hold 23" in refused(put(tmp_path, "images.gz", zipped(PLAIN)))
    assert read_idx(put(tmp_path, "images", PLAIN), 3).size == 24


def test_lack_of_memory_is_told(tmp_path, monkeypatch):
    def fail(stream: object, expected: int) -> bytearray:
        raise MemoryError

    monkeypatch.setattr(idx, "_inflate", fail)
    path = put(tmp_path, "images.gz", zipped(PLAIN))
    assert "does not fit into memory; gunzip it" in refused(path)


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_things_that_are_no_files_are_refused(tmp_path, name):
    path = tmp_path / name
    assert "no such file or folder; check the path" in refused(path)
    path.mkdir()
    assert "is a folder" in refused(path)
    path.rmdir()
    path.symlink_to(path)
    assert "lead round in a circle" in refused(path)
    path.unlink()
    assert "a part of the path is a file" in refused(put(tmp_path, "f", b"x") / name)
    assert "its name is too long" in refused(tmp_path / (name * 100))
    assert "this cannot be a path" in refused(f"{tmp_path}/\0{name}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_pipes_and_devices_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.gz")
    sentences: list[str] = []
    thread = threading.Thread(
        target=lambda: sentences.append(refused(tmp_path / "pipe.gz")), daemon=True
    )
    thread.start()
    thread.join(5)
    assert "it is not a regular file" in sentences[0]
    assert "it is not a regular file" in refused("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_unreadable_file_is_refused(tmp_path):
    path = put(tmp_path, "images", PLAIN)
    path.chmod(0)
    assert "permission denied; change its permissions" in refused(path)


def test_failing_disk_is_told(tmp_path, monkeypatch):
    def fail(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(idx, "_read_header", fail)
    for name in ("images", "images.gz"):
        assert "input/output error" in refused(put(tmp_path, name, zipped(PLAIN)))


def test_unprintable_names_are_escaped(tmp_path):
    assert r"a\nb" in refused(put(tmp_path, "a\nb", b"x"))
    assert refused(tmp_path / "\udcff").isascii()
