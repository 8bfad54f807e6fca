"""Whatever is wrong with what the user gives: one sentence, exit code 2, nothing half-written."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Result, call, receipt, train, weights_digest, write_data
from conftest import open_or_skip
from safetensors.numpy import load_file

from backendmlp.data import write_idx
from backendmlp.runs.checkpoint import load as load_checkpoint

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = (
    f"{part}-ubyte"
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("bad") / "data", 200, 50)


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    folder = data.parent / "run"
    assert train("--data", data, "--epochs", 1, "--out", folder).code == 0
    return folder


def assert_refused(result: Result, *words: str) -> None:
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert len(result.err) < 700
    for word in words:
        assert word in result.err


OPTIONS = {
    **{
        f"{option} {value}": ((f"--{option}", value), (option.replace("-", "_"), value))
        for option in ("hidden", "epochs", "batch-size")
        for value in ("0", "-1")
        if (option, value) != ("hidden", "0")  # which is no hidden layer at all
    },
    **{
        f"{option} {value}": ((f"--{option}", value), (f"--{option}", value))
        for option in ("hidden", "epochs", "batch-size", "seed")
        for value in ("many", "1.5", "nan", "")
    },
    "lr 0": (("--lr", "0"), ("lr is 0.0",)),
    "lr below 0": (("--lr", "-0.1"), ("lr is -0.1",)),
    "lr nan": (("--lr", "nan"), ("lr is nan",)),
    "lr inf": (("--lr", "inf"), ("lr is inf",)),
    "lr beyond floats": (("--lr", "1e400"), ("lr is inf",)),
    "lr no number": (("--lr", "fast"), ("--lr", "fast")),
    "seed below 0": (("--seed", "-1"), ("seed is -1",)),
    "seed too large": (("--seed", str(2**64)), (f"seed is {2**64}",)),
    "float32 and bitwise": (("--dtype", "float32"), ("float32", "bitwise")),
    "unknown dtype": (("--dtype", "float16", "--numerics", "native"), ("--dtype", "float16")),
    "unknown numerics": (("--numerics", "exact"), ("--numerics", "exact")),
    "unknown backend": (("--backend", "paddle"), ("backend 'paddle' is unknown",)),
    "unknown device": (("--device", "cuda:1"), ("device 'cuda:1'", "numpy")),
    "unknown option": (("--learning-rate", "1"), ("--learning-rate",)),
    "unknown data set": (("--dataset", "cifar"), ("'cifar'", "fashion-mnist")),
    "two data sets": (("--data", ".", "--dataset", "mnist"), ("both given",)),
    "no data": (("--data", "nowhere"), ("nowhere", "cannot be read")),
    "zero byte in data": (("--data", "a\0b"), ("--data", "a\\x00b")),
    "zero byte in out": (("--out", "a\0b"), ("--out", "a\\x00b")),
    "empty out": (("--out", ""), ("--out", "''")),
    "resume and out": (("--resume", "a", "--out", "b"), ("--out and --resume",)),
    "resume of nothing": (("--resume", "nowhere"), ("nowhere", "check its name")),
    "checkpoint every 0": (("--checkpoint-every", "0"), ("--checkpoint-every",)),
    "checkpoint every nan": (("--checkpoint-every", "nanm"), ("--checkpoint-every", "nanm")),
    "hidden that fill any memory": (("--hidden", 2**24), ("too little memory", "are free")),
    **{
        f"{name} beyond any machine {number}": ((f"--{name}", number), ("is ", "from 1 to", limit))
        for name, limit in (
            ("hidden", "16,777,216"),
            ("epochs", "9,007,199,254,740,992"),
            ("batch-size", "9,007,199,254,740,992"),
        )
        for number in (2**53 + 1, 2**63, 2**64, 2**64 + 7, 10**30)
    },
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), OPTIONS.values(), ids=OPTIONS)
def test_options_of_train(
    arguments: tuple[Any, ...],
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    assert_refused(train(*arguments), *words)
    assert list(tmp_path.iterdir()) == []  # no folder below runs/ either


def test_batch_larger_than_memory(tmp_path: Path):
    # 64 million images of one pixel, which compress well on the disk: the batch does not fit.
    images = np.zeros((64_000_000, 1, 1), np.uint8)
    labels = np.zeros(len(images), np.uint8)
    labels[1] = 1
    folder = tmp_path / "many"
    folder.mkdir()
    for name, array in ((TRAIN_IMAGES, images), (TRAIN_LABELS, labels)):
        write_idx(folder / name, array)
    write_idx(folder / TEST_IMAGES, images[:5])
    write_idx(folder / TEST_LABELS, labels[:5])
    out = tmp_path / "out"
    result = train("--data", folder, "--batch-size", 10**9, "--out", out)
    assert_refused(result, "batch size (now 1,000,000,000)", " GB, and ")
    assert not out.exists()


@pytest.mark.parametrize("place", ["numpy", "torch", "strict"])
def test_loss_that_turns_nan(place: str, data: Path, tmp_path: Path):
    name, out = open_or_skip(place).name, tmp_path / "out"
    result = train("--data", data, "--lr", "1e300", "--out", out, "--backend", name)
    assert_refused(result, "diverged in epoch 1", "1e+300")
    checkpoint = load_checkpoint(out / "checkpoint.safetensors")
    model = load_file(out / "model.safetensors")
    assert all(np.array_equal(model[k], v) for k, v in checkpoint.state.learned.items())
    assert receipt(out)["epochs"] == []
    assert call("evaluate", out, "--data", data).code == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_native_loss_that_turns_nan_warns_of_nothing_else(dtype: str, data: Path, tmp_path: Path):
    options = ("--numerics", "native", "--dtype", dtype, "--lr", "1e300")
    assert_refused(train("--data", data, "--out", tmp_path / "out", *options), "diverged")


def test_nan_in_a_later_epoch_keeps_the_weights_of_the_one_before(data: Path, tmp_path: Path):
    out = tmp_path / "out"
    lr = next(10.0**k for k in range(20, 310, 4) if _diverges_late(data, tmp_path / "try", 10.0**k))
    result = train("--data", data, "--lr", lr, "--out", out, "--epochs", 9, "--batch-size", 200)
    epochs = receipt(out)["epochs"]
    assert result.code == 2
    assert f"diverged in epoch {len(epochs) + 1}" in result.err
    assert weights_digest(out / "model.safetensors") == epochs[-1]["weights_sha256"]


def _diverges_late(data: Path, folder: Path, lr: float) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    options = ("--lr", lr, "--epochs", 9, "--batch-size", 200, "--quiet")
    code = train("--data", data, "--out", folder, *options).code
    return code == 2 and len(receipt(folder)["epochs"]) > 0


OUTS = {
    "a file": ("file", "is a file"),
    "below a file": ("file/out", "part of the path is a file"),
    "a loop of links": ("loop", "symbolic links"),
    "below a loop": ("loop/out", "symbolic links"),
    "a dangling link": ("dangling", "no such file or folder"),
    "a name too long": ("x" * 300, "too long"),
    "not ours to write": ("/proc/1/out", "/proc/1/out"),
}


@pytest.mark.parametrize(("out", "words"), OUTS.values(), ids=OUTS)
def test_out_that_cannot_be_written(
    out: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert_refused(train("--out", out), words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "loop"]
    assert (tmp_path / "file").read_text() == "mine"


def test_folder_that_holds_a_run(finished: Path, data: Path):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert_refused(train("--data", data, "--out", finished), str(finished), "--resume")
    assert before == {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}


def test_folder_of_other_things_is_not_resumed(tmp_path: Path):
    (tmp_path / "letter.txt").write_text("Dear")
    assert_refused(train("--resume", tmp_path), str(tmp_path), "holds no run: it has neither")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("These are no images at all.")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _gz_by_name(path: Path) -> None:
    path.rename(path.with_name(path.name + ".gz"))


def _promise(path: Path) -> None:
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 28, 28) + bytes(100))


def _labels_for_images(path: Path) -> None:
    write_idx(path, np.zeros(200, np.uint8))


def _one_less(path: Path) -> None:
    write_idx(path, np.zeros((199, 28, 28), np.uint8))


def _other_size(path: Path) -> None:
    write_idx(path, np.zeros((50, 14, 14), np.uint8))


def _other_classes(path: Path) -> None:
    write_idx(path, np.full(50, 77, np.uint8))


FILES = {
    "cut short": (TRAIN_IMAGES, _cut, "is truncated"),
    "too long": (TRAIN_LABELS, _grow, "goes on after its data"),
    "zero bytes": (TEST_IMAGES, _empty, "is empty (0 bytes)"),
    "no IDX": (TEST_LABELS, _text, "is not an IDX file"),
    "missing": (TRAIN_LABELS, Path.unlink, "lacks train-labels-idx1-ubyte"),
    "a folder": (TRAIN_IMAGES, _folder, "is a folder"),
    ".gz by name alone": (TRAIN_IMAGES, _gz_by_name, "is not gzipped"),
    "2^31 images promised": (TRAIN_IMAGES, _promise, "is truncated"),
    "mislabelled": (TRAIN_IMAGES, _labels_for_images, "is mislabelled"),
    "another count": (TRAIN_IMAGES, _one_less, "199 images"),
    "another size": (TEST_IMAGES, _other_size, "14 x 14"),
    "a label outside the classes": (TEST_LABELS, _other_classes, "label 77"),
}


@pytest.mark.parametrize(("name", "spoil", "words"), FILES.values(), ids=FILES)
def test_data(name: str, spoil: Any, words: str, data: Path, tmp_path: Path):
    folder, out = tmp_path / "spoilt", tmp_path / "out"
    shutil.copytree(data, folder)
    spoil(folder / name)
    assert_refused(train("--data", folder, "--out", out), name.removesuffix(".gz"), words)
    assert not out.exists()
