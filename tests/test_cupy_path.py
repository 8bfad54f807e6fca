"""Everything ``--backend cupy`` does, on a stand-in for CuPy that is as strict as CuPy is.

A process of its own each, in which ``import cupy`` finds ``stand_in/cupy``: no GPU is needed, and
nothing is said about a GPU's bits.  Those are for the other tests, on a machine with a GPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import commandline as cl
import pytest

import backendmlp

TESTS = Path(__file__).resolve().parent
PACKAGE = Path(backendmlp.__file__).parents[1]


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (TESTS / "stand_in", TESTS, PACKAGE)))
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def backendmlp_(*arguments: object) -> str:
    done = python("-m", "backendmlp", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_golden_runs():
    done = python(TESTS / "golden.py", "--backend", "cupy", "--wide", "--check")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cupy")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return cl.write_data(folder / "data")


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_the_command_line(folder, data, numerics):
    common = "--data", data, "--epochs", 3, "--numerics", numerics
    run, other = folder / numerics, folder / f"{numerics}-numpy"
    trained = backendmlp_("train", "--backend", "cupy", *common, "--plot", "--out", run)
    receipt = json.loads((run / "run.json").read_text())
    assert receipt["device"] == "cuda:0 (a stand-in for a GPU)"
    assert "weights sha256" in trained
    for backend in ("cupy", "numpy"):
        found = backendmlp_("evaluate", run, "--backend", backend, "--data", data)
        assert f"{receipt['epochs'][-1]['test_accuracy']:.2%}" in found
    predicted = backendmlp_(
        "predict", run, data / "t10k-images-idx3-ubyte", "--backend", "cupy", "--format", "json"
    )
    assert len(json.loads(predicted)) > 1
    if numerics == "bitwise":
        assert "verified: 3 of 3 epochs" in backendmlp_("verify", run, "--backend", "numpy")
        backendmlp_("train", *common, "--out", other)
        assert "verified: 3 of 3 epochs" in backendmlp_("verify", other, "--backend", "cupy")


WITHIN_AN_EPOCH = """
import sys
from pathlib import Path
from backendmlp.cli import main
from backendmlp.trainer import Trainer

advance, calls = Trainer.advance, []
def stopping(self, batches):
    calls.append(1)
    if len(calls) == 4:
        import os, signal
        os.kill(os.getpid(), signal.SIGINT)
    return advance(self, 1)
Trainer.advance = stopping
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("first", "second"), [("cupy", "numpy"), ("numpy", "cupy")])
def test_a_run_goes_on_on_the_other_backend(folder, data, first, second):
    common = "--data", data, "--epochs", 2, "--batch-size", 16
    run, whole = folder / f"from-{first}", folder / f"whole-{first}"
    stopped = python("-c", WITHIN_AN_EPOCH, "train", "--backend", first, *common, "--out", run)
    assert (run / "checkpoint.safetensors").exists(), stopped.stderr
    backendmlp_("train", "--backend", second, *common[:2], "--resume", run)
    backendmlp_("train", *common, "--out", whole)
    ends = [json.loads((place / "run.json").read_text())["epochs"][-1] for place in (run, whole)]
    assert ends[0]["weights_sha256"] == ends[1]["weights_sha256"]


ARRAYS = """
import cupy, numpy
from backendmlp import MLP, load_sample

data = load_sample()
images = cupy.asarray(data.train_images[:200].reshape(200, 784))
labels = cupy.asarray(data.train_labels[:200])
for x in (images, cupy.asarray(images.get() / 255)):
    mlp = MLP(8, epochs=2, numerics="{numerics}").fit(x, labels, test=(x, labels))
    for found in (mlp.predict(x), mlp.predict_proba(x), mlp.loss(x, labels)):
        assert type(found) is cupy.ndarray, type(found)
    assert mlp.loss(x, labels).shape == ()
    assert type(mlp.parameters["W1"]) is numpy.ndarray
    assert 0 < mlp.evaluate(x, labels).accuracy < 1
    assert type(mlp.predict(x.get())) is numpy.ndarray
"""


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
def test_arrays_of_the_device_go_in_and_come_out(numerics):
    done = python("-c", ARRAYS.format(numerics=numerics))
    assert done.returncode == 0, done.stderr


def test_a_training_that_diverges_is_told_in_a_sentence(folder, data):
    done = python(
        "-m", "backendmlp", "train", "--backend", "cupy", "--data", data, "--lr", 1e200,
        "--out", folder / "diverges",
    )  # fmt: skip
    assert done.returncode == 2
    assert "diverged" in done.stderr
    assert done.stderr.count("\n") == 1
