"""Spoilt models, receipts and pictures: one sentence on stderr and exit code 2."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import call, receipt, train, write_data
from PIL import Image
from safetensors.numpy import load_file, save_file
from test_bad_input import assert_refused

from backendmlp.data import write_idx


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("models") / "data", 200, 50)


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    folder = data.parent / "run"
    assert train("--data", data, "--epochs", 2, "--out", folder).code == 0
    return folder


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _other_kind(path: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, path)


def _newer(path: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text.replace(b'\\"format\\": 3,', b'\\"format\\": 9,', 1))
    assert path.read_bytes() != text


def _giant_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**30) + b"{}")


def _nan(path: Path) -> None:
    text = path.read_bytes()
    path.write_bytes(text[:-8] + struct.pack("<d", float("nan")))


MODELS = {
    "cut short": (_cut, "cut short"),
    "of another kind": (_other_kind, "another kind"),
    "newer": (_newer, "newer backendmlp (format 9)"),
    "empty": (lambda path: path.write_bytes(b""), "cut short"),
    "text": (lambda path: path.write_text("weights: 3"), "model.safetensors"),
    "a header of a gigabyte": (_giant_header, "damaged at its start"),
    "NaN": (_nan, "NaN"),
    "missing": (Path.unlink, "no such file"),
}


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(("spoil", "words"), MODELS.values(), ids=MODELS)
def test_model(
    spoil: Callable[[Path], Any], words: str, command: str, data: Path, finished: Path,
    tmp_path: Path,
):  # fmt: skip
    model = Path(shutil.copy(finished / "model.safetensors", tmp_path))
    spoil(model)
    more = ("--data", data) if command == "evaluate" else (data / "t10k-images-idx3-ubyte",)
    assert_refused(call(command, model, *more), str(model), words)


def _edit(**changes: Any) -> Callable[[Path], Any]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps({**receipt(path.parent), **changes}))

    return edit


def _more_epochs(path: Path) -> None:
    found = receipt(path.parent)
    found["epochs"].append({**found["epochs"][-1], "epoch": 3})
    path.write_text(json.dumps(found))


def _nested(path: Path) -> None:
    path.write_text('{"format": 1, "config": ' + "[" * 100_000 + "]" * 100_000 + "}")


RECEIPTS = {
    "cut short": (_cut, "damaged JSON"),
    "newer": (_edit(format=9), "newer backendmlp (format 9)"),
    "no format": (_edit(format=True), "no format number"),
    "nested 100,000 deep": (_nested, "damaged JSON"),
    "no object": (lambda path: path.write_text("[1]"), "no JSON object"),
    "a key twice": (lambda path: path.write_text('{"format": 1, "format": 1}'), "twice"),
    "NaN": (lambda path: path.write_text('{"format": NaN}'), "NaN"),
    "no epochs": (_edit(epochs=None), "no epochs"),
    "a digest that is none": (_edit(data={"name": "a", "path": None, "sha256": "0"}), "SHA-256"),
    "a config of other entries": (_edit(config={"hidden": 3}), "config"),
    "another last digest": (_edit(weights_sha256="0" * 64), "weights_sha256"),
    "an empty run": (_edit(epochs=[], weights_sha256=None, predictions_sha256=None), "no finished"),
    "epochs beyond the last": (_more_epochs, "more epochs"),
    "no path to data": (
        _edit(data={"name": "a", "path": "/nowhere/data", "sha256": "0" * 64}),
        "/nowhere/data",
    ),
    "other data": (
        _edit(data={"name": "fashion-mnist-sample", "path": None, "sha256": "0" * 64}),
        "and was " + 64 * "0",
    ),
    "missing": (Path.unlink, "no such file"),
}


@pytest.mark.parametrize(("spoil", "words"), RECEIPTS.values(), ids=RECEIPTS)
def test_receipt(spoil: Callable[[Path], Any], words: str, finished: Path, tmp_path: Path):
    path = Path(shutil.copy(finished / "run.json", tmp_path))
    spoil(path)
    assert_refused(call("verify", path), words)


def _picture(path: Path, size: tuple[int, int] = (28, 28)) -> None:
    Image.new("L", size).save(path, "PNG")


def _bomb(path: Path) -> None:
    """A picture of 2^31 pixels a side, by its header."""
    header = struct.pack(">2I5B", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(b"IHDR" + header)))


def _flipped(path: Path) -> None:
    _picture(path)
    text = bytearray(path.read_bytes())
    text[50] ^= 1
    path.write_bytes(text)


def _cut_picture(path: Path) -> None:
    _picture(path)
    path.write_bytes(path.read_bytes()[:-5])


PICTURES = {
    "another size": (lambda path: _picture(path, (32, 28)), "28 x 32"),
    "cut short": (_cut_picture, "cut off"),
    "a flipped bit": (_flipped, "checksum"),
    "a bomb": (_bomb, "pixels"),
    "neither PNG nor IDX": (lambda path: path.write_text("GIF89a"), "neither a PNG nor an IDX"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "labels": (lambda path: write_idx(path, np.zeros(9, np.uint8)), "mislabelled"),
    "a folder": (Path.mkdir, "is a folder"),
    "missing": (lambda path: None, "cannot read"),
}


@pytest.mark.parametrize(("make", "words"), PICTURES.values(), ids=PICTURES)
def test_picture(make: Callable[[Path], Any], words: str, finished: Path, tmp_path: Path):
    make(tmp_path / "picture.png")
    assert_refused(call("predict", finished, tmp_path / "picture.png"), "picture.png", words)


def test_data_of_other_images_or_classes_than_the_model(data: Path, finished: Path, tmp_path: Path):
    tensors = load_file(finished / "model.safetensors")
    assert tensors["W1"].shape == (784, 100)
    for name, shape, classes in (("small", (14, 14), 10), ("more", (28, 28), 12)):
        folder = tmp_path / name
        folder.mkdir()
        images, labels = np.zeros((24, *shape), np.uint8), np.arange(24, dtype=np.uint8) % classes
        for part, array in (("images-idx3", images), ("labels-idx1", labels)):
            write_idx(folder / f"train-{part}-ubyte", array)
            write_idx(folder / f"t10k-{part}-ubyte", array)
    assert_refused(call("evaluate", finished, "--data", tmp_path / "small"), "196", "784")
    assert_refused(call("evaluate", finished, "--data", tmp_path / "more"), "12 classes")
