"""Full and read-only disks, paths that cannot be, memory that runs out: none loses a run."""

import contextlib
import os
import subprocess
import sys

import commandline as cl
import numpy as np
import pytest

from backendmlp import Config, InputError, memory, select
from backendmlp.checkpoint import load

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
        pytest.raises(InputError, match=r"needs about [\d,]+ bytes.*smaller batch size"),
        memory.explained(select("numpy"), Config(), (784, 100, 10), 1000),
    ):
        np.empty(1 << 60, np.uint8)
