"""The commands as a user runs them: train, evaluate, predict, info, and what they leave."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from commandline import (
    DIGEST,
    GOLDEN,
    ROOT,
    call,
    end,
    leftovers,
    receipt,
    start,
    train,
    weights_digest,
    write_data,
)
from conftest import open_or_skip
from PIL import Image

from backendmlp import MLP, Config
from backendmlp.data import load_folder, write_idx

EPOCH = re.compile(
    r"epoch \d/2  train loss \d\.\d{4}  test loss \d\.\d{4}  test accuracy \d\d\.\d\d%  \d\.\d\d s"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("cli") / "shoes")


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    folder = data.parent / "run"
    assert train("--data", data, "--epochs", 2, "--out", folder).code == 0
    return folder


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("trian", " Did you mean train?"),
        ("EVAL", " Did you mean evaluate?"),
        ("resume", " Did you mean train --resume DIR?"),
        ("version", " Did you mean --version?"),
        ("zzz", ""),
    ],
)
def test_an_unknown_command_leads_to_the_closest_and_names_all(name: str, meant: str):
    code, out, err = call(name, "--lr", 1)
    assert (code, out) == (2, "")
    assert err == (
        f"Error: No such command {name!r}.{meant} There are evaluate, export, info, plot, predict, "
        "sweep, train, verify.\n"
    )


def test_train_prints_each_epoch_and_the_digest(data: Path, tmp_path: Path):
    result = train("--data", data, "--epochs", 2, "--out", tmp_path / "a")
    *epochs, weights, written = result.out.splitlines()
    assert len(epochs) == 2
    assert all(EPOCH.fullmatch(line) for line in epochs)
    assert weights == f"weights sha256 {DIGEST}"
    assert written == f"written to {tmp_path / 'a'}"
    assert result.err == ""  # no bar where stderr is no terminal
    assert leftovers(tmp_path / "a") == []


def test_quiet_prints_nothing(data: Path, tmp_path: Path):
    result = train("--data", data, "--epochs", 1, "--out", tmp_path / "a", "--quiet")
    assert result == (0, "", "")


def test_receipt(data: Path, run: Path):
    found = receipt(run)
    assert found["format"] == 2
    assert found["config"] == Config(epochs=2).as_dict()
    first = {"hidden": [100], "batch_size": 64, "lr": 0.1, "seed": 100, "dtype": "float64"}
    assert first.items() <= found["config"].items()
    assert (found["backend"], found["device"]) == ("numpy", "cpu")
    assert found["versions"]["numpy"] == np.__version__
    assert found["data"] == {
        "name": "shoes",
        "path": str(data),
        "sha256": load_folder(data).sha256,
    }
    assert [epoch["epoch"] for epoch in found["epochs"]] == [1, 2]
    for name in ("train_loss", "test_loss"):  # to the last bit, as other backends find them
        assert [epoch[name].hex() for epoch in found["epochs"]] == GOLDEN[name]
    for name in ("test_accuracy", "weights_sha256", "predictions_sha256"):
        assert [epoch[name] for epoch in found["epochs"]] == GOLDEN[name]
    assert all(epoch["seconds"] > 0 for epoch in found["epochs"])


def test_anybody_can_recompute_the_digest(run: Path):
    assert receipt(run)["weights_sha256"] == DIGEST
    assert weights_digest(run / "model.safetensors") == DIGEST
    for epoch in receipt(run)["epochs"]:
        kept = run / "epochs" / f"{epoch['epoch']:04d}.safetensors"
        assert weights_digest(kept) == epoch["weights_sha256"]


@pytest.mark.parametrize("place", ["torch", "strict"])
def test_other_backends_write_the_same_model(place: str, data: Path, run: Path, tmp_path: Path):
    name = open_or_skip(place).name
    out = tmp_path / "a"
    assert train("--data", data, "--epochs", 2, "--out", out, "--backend", name).code == 0
    assert receipt(out)["backend"] == name
    assert (out / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_folder_below_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # within one second, most likely
        assert train("--data", data, "--epochs", 1, "--quiet").code == 0
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(re.match(r"\d{4}-\d\d-\d\d_\d{6}_shoes_numpy_bitwise", name) for name in folders)


def test_evaluate(data: Path, run: Path):
    code, out, err = call("evaluate", run, "--data", data)
    assert (code, err) == (0, "")
    epoch = receipt(run)["epochs"][-1]
    first, *classes, named, last = out.splitlines()
    assert named == f"data shoes, {data}"
    assert first == (
        f"test loss {epoch['test_loss']:.4f}  test accuracy {epoch['test_accuracy']:.2%}"
        "  (200 images)"
    )
    assert len(classes) == 10
    assert last == f"predictions sha256 {epoch['predictions_sha256']}"


def test_predict_reads_idx_and_png_and_writes_what_reads_back(
    data: Path, run: Path, tmp_path: Path
):
    images = load_folder(data).test_images[:3]
    write_idx(tmp_path / "three.gz", images)
    Image.fromarray(images[0]).save(tmp_path / "shoe.png")
    paths = tmp_path / "three.gz", tmp_path / "shoe.png"
    names = [f"{paths[0]}[{i}]" for i in range(3)] + [str(paths[1])]
    mlp = MLP.load(run / "model.safetensors")
    shares = mlp.predict_proba(images[[0, 1, 2, 0]])
    classes = [mlp.class_names[i] for i in mlp.predict(images[[0, 1, 2, 0]])]

    entries = json.loads(call("predict", run, *paths, "--format", "json").out)
    assert [entry["image"] for entry in entries] == names
    assert [entry["class"] for entry in entries] == classes
    assert [list(entry["probabilities"].values()) for entry in entries] == shares.tolist()

    rows = list(csv.reader(io.StringIO(call("predict", run, *paths, "--format", "csv").out)))
    assert rows[0] == ["image", "class", *mlp.class_names]
    assert [tuple(row[:2]) for row in rows[1:]] == [*zip(names, classes, strict=True)]
    assert [[float(value) for value in row[2:]] for row in rows[1:]] == shares.tolist()

    lines = call("predict", run / "model.safetensors", *paths).out.splitlines()
    assert [line.split() for line in lines] == [
        [name, best, f"{max(row):.2%}"]
        for name, best, row in zip(names, classes, shares, strict=True)
    ]


def test_info_names_backends_blas_and_versions():
    out = call("info").out
    for text in (
        "backendmlp",
        "python",
        "backend numpy",
        "backend cupy",
        "steps on numpy",
        "blas",
        "threads",
    ):
        assert text in out


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "verify", "info", ""])
def test_help(command: str):
    code, out, err = call(*filter(None, [command, "--help"]))
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: backendmlp {command}".rstrip())
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("program", [["scripts/train.py"], ["-m", "backendmlp", "train"]])
def test_in_a_process_of_its_own(program: list[str], data: Path, tmp_path: Path):
    command = [sys.executable, *program, "--data", data, "--epochs", "2", "--out", tmp_path / "a"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"weights sha256 {DIGEST}" in done.stdout


def test_bar_on_a_terminal(tmp_path: Path):
    # Long enough that the bar, which is drawn ten times a second, is seen within an epoch.
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    process = start(
        "train", "--epochs", 2, "--batch-size", 8, "--out", tmp_path / "a", stderr=terminal
    )
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(controller, 1 << 16):
            shown += piece
    except OSError:  # how a pseudo-terminal says that the other end is closed
        pass
    os.close(controller)
    assert end(process).code == 0
    text = shown.decode()
    assert "epoch 1/2" in text
    assert re.search(r"epoch 2/2 .*images/s, 0:\d\d left, loss of epoch 1 \d\.\d{4}", text)


def test_plot_writes_four_pictures(data: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    assert train("--data", data, "--epochs", 1, "--out", tmp_path / "a", "--plot").code == 0
    pictures = sorted((tmp_path / "a").glob("*.png"))
    assert len(pictures) == 4
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) > 300


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_output_that_cannot_be_written(run: Path):
    with open("/dev/full", "w") as full:
        result = end(start("evaluate", run, stdout=full))
    assert result.code == 2
    assert re.fullmatch(
        r"Error: the output cannot be written or read: No space left on device.*\n", result.err
    )
