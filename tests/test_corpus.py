"""Hostile files: kept ones, found by hand or by ``scripts/fuzz.py``, and ones too big to keep."""

from __future__ import annotations

import ast
import contextlib
import gzip
import importlib.util
import io
import json
import os
import signal
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import backendmlp

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "corpus"
FILES = [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in CORPUS.glob("*/*")]
GIB = 2**30
NPZ = ("x_train", "y_train", "x_test", "y_test")

specification = importlib.util.spec_from_file_location("fuzz", ROOT / "scripts" / "fuzz.py")
fuzz = importlib.util.module_from_spec(specification)
specification.loader.exec_module(fuzz)
READERS = fuzz.readers()

ACCEPTED = {
    "idx": "labels images labels-gzipped images-gzipped images-in-two-members zeros-after-gzip",
    "npz": "stored deflated fortran big-endian-64 last-dimension-1 version-3 python-2-header "
    "another-member behind-a-program booleans negative beyond-255 labels-beyond-bytes features "
    "features-weights-validation half-precision",
    "model": "float32 float64 features settled-features with-data deep regression",
    "checkpoint": "at-the-start within-an-epoch within-an-epoch-with-before deep-within-an-epoch",
    "receipt": "whole no-epochs deep",
    "picture": "16-bit animated bilevel gray gray-alpha idx-images interlaced palette rgba texts",
}


def refusals(target: str, path: Path) -> list[str | None]:
    """What each reader of ``target`` says of ``path``, under each name that matters to it."""
    answers = []
    for name, reader in READERS[target]:
        place = path.with_name(name)
        path = path.rename(place)
        answers.append(fuzz.refusal(reader, place))
    return answers


@contextlib.contextmanager
def limits(seconds: float = fuzz.TIME_LIMIT) -> Iterator[None]:
    """Fail after ``seconds``, or if more than MEMORY_LIMIT MiB were in use at once."""

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    alarm = hasattr(signal, "setitimer")  # not on Windows
    if alarm:
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    assert peak <= fuzz.MEMORY_LIMIT * 2**20


@pytest.mark.parametrize("kept", FILES)
def test_kept_file(kept, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(kept.read_bytes())
    with limits():
        answers = refusals(kept.parent.name, path)
    if kept.name in ACCEPTED[kept.parent.name].split():
        assert None in answers


def test_corpus_is_whole_and_small():
    for target, names in ACCEPTED.items():
        assert set(names.split()) <= {path.name for path in (CORPUS / target).iterdir()}
    assert sum(path.stat().st_size for path in CORPUS.glob("*/*")) < 10**6


def idx(*shape: int) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape)


def gzip_bomb(start: bytes) -> bytes:
    """``start``, then 4 GiB of zeros, in 4 MB."""
    return gzip.compress(start) + 4096 * gzip.compress(bytes(2**20))


def npz(body: bytes, promised: int | None = None) -> bytes:
    """An archive of four arrays with one content; the first promises what you like."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in NPZ:
            archive.writestr(f"{name}.npy", body)
    data = bytearray(stream.getvalue())
    if promised is not None:
        struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, promised)
    return bytes(data)


def npy(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header


def npz_bomb(shape: str) -> bytes:
    """Four arrays of ``shape`` by their headers, each with 4 GiB less a MiB of zeros in 4 MB."""
    start = npy(shape)
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed += 4095 * (packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH))
    data, listed = b"", b""
    for name in NPZ:
        size = len(start) + 4095 * 2**20
        fields = struct.pack("<4H3I2H", 0, 8, 0, 0, 0, len(packed), size, len(name) + 4, 0)
        entry = f"{name}.npy".encode()
        at, data = len(data), data + b"PK\3\4\x14\0" + fields + entry + packed
        listed += b"PK\1\2\x14\0\x14\0" + fields + struct.pack("<3H2I", 0, 0, 0, 0, at) + entry
    return data + listed + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 4, 4, len(listed), len(data), 0)


def npz_list(entries: int) -> bytes:
    """An archive that lists so many files and holds none."""
    entry = b"PK\1\2" + struct.pack("<4H4I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    listed = entries * (entry + b"a")
    return listed + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, len(listed), 0, 0)


def nested(before: str = "", after: str = "") -> bytes:
    return (before + 100_000 * "[" + 100_000 * "]" + after).encode()


def tensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def described(key: str, text: bytes) -> bytes:
    return tensors(json.dumps({"__metadata__": {key: text.decode()}}).encode())


def png(chunk: bytes) -> bytes:
    def whole(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    rows, cols = fuzz.PICTURE_SHAPE
    header = whole(b"IHDR", struct.pack(">2I5B", cols, rows, 8, 0, 0, 0, 0))
    return fuzz.SIGNATURE + header + chunk


GENERATED = {
    # name: target, content, and the size to which a hole makes the file grow (0: as it is)
    "labels that go on for 4 GiB of gzip": ("idx", lambda: gzip_bomb(idx(5) + b"label"), 0),
    "images that go on for 4 GiB of gzip": ("idx", lambda: gzip_bomb(idx(1, 1, 1)), 0),
    "2^31 images promised in 4 GiB of gzip": ("idx", lambda: gzip_bomb(idx(2**31, 28, 28)), 0),
    "2^31 images promised in a gzip of nothing": (
        "idx",
        lambda: gzip.compress(idx(2**31, 28, 28)),
        0,
    ),
    "2^31 images promised in nothing": ("idx", lambda: idx(2**31, 28, 28), 0),
    "2^31 images promised in 3 GiB": ("idx", lambda: idx(2**31, 28, 28), 3 * GIB),
    "arrays that go on for 4 GiB": ("npz", lambda: npz_bomb("(5,)"), 0),
    "2^31 images promised in 16 GiB of .npz": ("npz", lambda: npz_bomb(f"({2**31}, 28, 28)"), 0),
    "2^31 images promised in an .npz of nothing": ("npz", lambda: npz(npy(f"({2**31}, 9, 9)")), 0),
    "4 GiB promised in an .npz of nothing": ("npz", lambda: npz(npy("(5,)"), 2**32 - 2), 0),
    "an .npz of 100,000 files": ("npz", lambda: npz_list(100_000), 0),
    "an .npz with 5 GiB of nothing behind it": ("npz", lambda: npz(npy("(5,)")), 5 * GIB),
    "2^31 pictures promised": ("picture", lambda: idx(2**31, *fuzz.PICTURE_SHAPE), 3 * GIB),
    "a picture with a chunk of 1 GiB": ("picture", lambda: png(struct.pack(">I", GIB)), 2 * GIB),
    "a picture of 2 GiB of chunks": ("picture", lambda: png(b""), 2 * GIB),
    "a model's header of 1 GiB promised": ("model", lambda: tensors(b"{}", GIB), 0),
    "a model's header of 1 GiB": ("model", lambda: tensors(b"{", GIB - 8), GIB),
    "a model of 5 GiB": ("model", lambda: tensors(b"{}"), 5 * GIB),
    "a checkpoint's header of 1 GiB": ("checkpoint", lambda: tensors(b"{", GIB), 2 * GIB),
    "a checkpoint of 5 GiB": ("checkpoint", lambda: tensors(b"{}"), 5 * GIB),
    "a receipt of 1 GiB": ("receipt", lambda: b"{", GIB),
    "a receipt 100,000 deep": ("receipt", nested, 0),
    "a receipt's format 100,000 deep": ("receipt", lambda: nested('{"format":', "}"), 0),
    "a receipt's format of a million digits": (
        "receipt",
        lambda: b'{"format":' + b"9" * 10**6 + b"}",
        0,
    ),
    "a model's header 100,000 deep": ("model", lambda: tensors(nested('{"W1":', "}")), 0),
    "a model's metadata 100,000 deep": ("model", lambda: described("backendmlp", nested()), 0),
    "a checkpoint's metadata 100,000 deep": (
        "checkpoint",
        lambda: described("backendmlp-checkpoint", nested('{"format":1,"epochs":', "}")),
        0,
    ),
}


@pytest.mark.parametrize("case", GENERATED)
def test_huge_file_is_refused_at_once(case, tmp_path):
    target, content, size = GENERATED[case]
    path = tmp_path / "file"
    path.write_bytes(content())
    if size:
        os.truncate(path, size)
    with limits(seconds=1):
        assert None not in refusals(target, path)


SOURCES = sorted(Path(backendmlp.__file__).parent.rglob("*.py"))
UNSAFE = {"pickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "allow_pickle"}
# What sweeps need of it, and no more: nothing that reads a file.
STARTS_PROCESSES = {"joblib", "Parallel", "delayed"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_pickle(source):
    """Nothing that is read can run code: by import, by name or through ``numpy.load``."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                named = {alias.name.partition(".")[0] for alias in node.names}
            case ast.ImportFrom():
                named = {(node.module or "").partition(".")[0], *(a.name for a in node.names)}
            case ast.keyword():
                named = {node.arg}
            case ast.Constant(value=str()):
                named = {node.value}
            case ast.Attribute(value=ast.Name("np" | "numpy" | "xp"), attr="load"):
                named = {"allow_pickle"}
            case _:
                continue
        if source.name == "sweep.py" and source.parent.name == "sweeps":
            named -= STARTS_PROCESSES if named <= STARTS_PROCESSES else set()
        assert not named & UNSAFE, f"line {node.lineno}: {named & UNSAFE}"
