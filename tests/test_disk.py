"""Full and read-only disks, paths that cannot be, memory that runs out: none loses a run."""

import contextlib
import os
import subprocess
import sys

import commandline as cl
import numpy as np
import pytest

from backendmlp import MLP, Config, InputError, memory, select
from backendmlp.data.origin import Origin
from backendmlp.network.model import shapes
from backendmlp.runs import record as records
from backendmlp.runs.checkpoint import Checkpoint, load, save
from backendmlp.runs.record import Data
from backendmlp.training.epochs import EpochRecord
from backendmlp.training.trainer import State

LINUX = sys.platform == "linux"
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cl.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if not LINUX or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root on Linux can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, leave):
    """Leave so many bytes of space."""
    free = os.statvfs(folder)
    with open(folder / "filler", "wb") as file, contextlib.suppress(OSError):
        file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - leave))


def refused(result):
    assert result.code == 2
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    return result.err


def test_a_full_disk_is_told_before_the_first_epoch(small_disk, data):
    fill(small_disk, MEGABYTE)
    message = refused(cl.train("--data", data, "--out", small_disk / "run"))
    assert "space" in message
    assert not list(small_disk.glob("run/*"))


@pytest.mark.slow
def test_a_disk_that_fills_meanwhile_keeps_the_last_checkpoint(small_disk, data):
    folder = small_disk / "run"
    process = cl.start("train", "--data", data, "--epochs", 8, "--out", folder)
    while not (folder / "epochs" / "0002.safetensors").exists():
        assert process.poll() is None
    fill(small_disk, 0)
    assert "no space is left" in refused(cl.end(process))
    assert load(folder / "checkpoint.safetensors").state.epoch >= 1

    (small_disk / "filler").unlink()
    assert cl.end(cl.start("train", "--resume", folder)).code == 0
    alone = small_disk.parent / "alone"
    assert cl.end(cl.start("train", "--data", data, "--epochs", 8, "--out", alone)).code == 0
    assert cl.receipt(folder)["weights_sha256"] == cl.receipt(alone)["weights_sha256"]
    assert cl.leftovers(folder) == []


def test_a_read_only_disk(small_disk, data):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert "read-only" in refused(cl.train("--data", data, "--out", small_disk / "run"))


def test_a_path_that_is_a_file(tmp_path, data):
    (tmp_path / "file").write_text("kept")
    refused(cl.train("--data", data, "--out", tmp_path / "file"))
    refused(cl.train("--data", data, "--out", tmp_path / "file" / "below"))
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_a_loop_of_symbolic_links(tmp_path, data):
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert "circle" in refused(cl.train("--data", data, "--out", tmp_path / "one"))


@pytest.mark.skipif(not LINUX, reason="limits of memory are the system's own")
def test_too_little_memory_is_told_before_anything_is_taken(tmp_path, data):
    folder = tmp_path / "run"
    process = cl.start(
        "train", "--data", data, "--hidden", 60000, "--out", folder, kilobytes=1500 << 10
    )
    message = refused(cl.end(process))
    assert "too little memory" in message
    assert "batch size" in message


def test_memory_that_runs_out_meanwhile_is_told_with_the_size():
    with (
        pytest.raises(InputError, match=r"needs about [\d.]+ MB, and .*smaller batch size"),
        memory.explained(select("numpy"), Config(), (784, 100, 10), 1000),
    ):
        np.empty(1 << 60, np.uint8)


@pytest.mark.parametrize("name", ["fit", "predict", "evaluate", "loss"])
def test_memory_that_runs_out_from_python(name, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    x, y = np.zeros((4, 3), np.uint8), np.arange(4) % 2
    x[::2] = 200
    mlp = MLP(4, epochs=1).fit(x, y)
    monkeypatch.setattr("backendmlp.inputs.flat", full)
    with pytest.raises(InputError, match=r"device cpu has too little memory for .*[GM]B are free"):
        getattr(mlp, name)(*((x,) if name == "predict" else (x, y)))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (12_345, "12.3 kB"),
        (10**9, "1.0 GB"),
        (123_456_789, "123 MB"),
        (7_654_321 * 10**12, "7,654,321 TB"),
    ],
)
def test_sizes_in_words(size, words):
    assert memory.readable(size) == words


def test_more_epochs_than_a_receipt_can_hold(tmp_path, data):
    folder = tmp_path / "run"
    message = refused(cl.train("--data", data, "--epochs", 20_001, "--out", folder))
    assert "at most 20,000" in message
    assert not folder.exists()


LONG = {
    "two layers": Config(2, dtype="float64"),
    "many layers": Config((2,) * 64, optimizer="adam", patience=3, monitor="validation_loss"),
    "regression": Config((), loss="squared_error", validation_split=0.5, patience=3),
    "many classes": Config(2, class_weight=(1 / 3,) * 60_000),
}


@pytest.mark.parametrize("config", LONG.values(), ids=LONG)
def test_the_longest_run_fits_its_receipt_and_its_checkpoint(config, tmp_path):
    sha = "a" * 64
    loss = -1.2345678901234567e-300  # as long as a number can be
    values = dict.fromkeys(("validation_loss", "validation_accuracy", "validation_r2"), loss)
    weights = {name: np.zeros(shape) for name, shape in shapes(config.sizes(3, 2)).items()}
    tensors = dict.fromkeys(weights, sha)
    epochs = [
        EpochRecord(number, loss, loss, loss, loss, sha, tensors, sha, loss, **values)
        for number in range(1, 101)
    ]
    origin = Data(Origin("n" * 255, "p" * 4096), sha)
    parts = dict.fromkeys(config.recipe().loss.parts, np.zeros(0))
    found = {"r": [], "c": []}
    for count in (0, 100):
        record = records.Record(config, "numpy", "cpu", origin, epochs[:count])
        records.write(tmp_path / "r", record)
        state = State(count, 0, weights, parts)
        save(tmp_path / "c", Checkpoint(config, origin, state, epochs[:count]))
        for name, sizes in found.items():
            sizes.append((tmp_path / name).stat().st_size)
    most = records.most_epochs(config)
    assert most == (records.MOST_EPOCHS if len(config.hidden) < 9 else most)
    assert most > 2_000
    for empty, full in found.values():
        assert empty + (full - empty) * most / 100 < records.LIMIT
