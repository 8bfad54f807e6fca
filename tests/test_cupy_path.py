"""Everything ``--backend cupy`` does, on a stand-in for CuPy that is as strict as CuPy is.

A process of its own each, in which ``import cupy`` finds ``stand_in/cupy``: no GPU is needed, and
nothing is said about a GPU's bits.  Those are for the other tests, on a machine with a GPU.  Where
g++ is at hand the stand-in compiles the kernels, and steps are theirs; else they are as defined.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import commandline as cl
import pytest
from conftest import needs_kernels

import backendmlp

TESTS = Path(__file__).resolve().parent
PACKAGE = Path(backendmlp.__file__).parents[1]


def python(
    *arguments: object, limit: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (TESTS / "stand_in", TESTS, PACKAGE)))
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=limit,
    )


def backendmlp_(*arguments: object) -> str:
    done = python("-m", "backendmlp", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_golden_runs_as_defined():
    given = TESTS / "golden.py", "--backend", "cupy", "--wide", "--check"
    done = python(*given, BACKENDMLP_KERNELS="0")
    assert done.returncode == 0, done.stderr


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize("how", ["1", "apart"])
def test_the_golden_runs_by_kernels(how):
    """The library decides that it is they who make the steps, and launches them."""
    done = python("-c", GOLDEN_BY_KERNELS, BACKENDMLP_KERNELS=how, limit=300)
    assert done.returncode == 0, done.stderr


GOLDEN_BY_KERNELS = """
import json, golden
from backendmlp.steps import kernels
from cupy._device import counted

made, makes = [], kernels.stepper
def noted(*given):
    made.append(makes(*given))
    return made[-1]
kernels.stepper = noted
digests = json.loads(golden.FILE.read_text())
for case in golden.CASES:
    if case != "wide":
        assert golden.run(case, "cupy") == digests[case], case
        assert made.pop().name == "kernels"
assert counted["launches"] and counted["compiled"] == 8  # of each case, for steps and scores
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cupy")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return cl.write_data(folder / "data")


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.slow
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
from backendmlp.training.trainer import Trainer

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
@pytest.mark.slow
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


@pytest.mark.slow
def test_a_training_that_diverges_is_told_in_a_sentence(folder, data):
    done = python(
        "-m", "backendmlp", "train", "--backend", "cupy", "--data", data, "--lr", 1e200,
        "--out", folder / "diverges",
    )  # fmt: skip
    assert done.returncode == 2
    assert "diverged" in done.stderr
    assert done.stderr.count("\n") == 1


def refusal(*arguments: object, **environment: str) -> str:
    """The one sentence with which the command line refuses, and leaves nothing behind."""
    done = python("-m", "backendmlp", *arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


SELECTING = {
    "no-blas": ("libcublas.so.13", "install CUDA's libraries with: pip install 'cupy-cuda"),
    "no-nvrtc": ("libnvrtc.so.13", "install CUDA's libraries with: pip install 'cupy-cuda"),
    "no-headers": ("CUDA headers", "install CUDA's libraries with: pip install 'cupy-cuda"),
    "old-driver": ("needs a CUDA GPU", "InsufficientDriver", "update the NVIDIA driver"),
    "old-gpu": ("NoKernelImageForDevice", "update the NVIDIA driver, or install the CuPy that"),
    "blas-without-memory": ("ALLOC_FAILED", "has too little memory to begin with"),
    "memory=40": ("Out of memory", "has too little memory to begin with"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", SELECTING)
def test_selecting_the_backend_tells_what_it_cannot_do_without(data, tmp_path, wrong):
    out = tmp_path / "run"
    options = "--backend", "cupy", "--data", data, "--out", out
    sentence = refusal("train", *options, STAND_IN_CUPY=wrong)
    for part in SELECTING[wrong]:
        assert part in sentence
    assert not out.exists()


@pytest.mark.slow
def test_what_the_environment_asks_of_kernels_must_be_known(data, tmp_path):
    out = tmp_path / "run"
    options = "--backend", "cupy", "--data", data, "--out", out
    for command in (("train", *options), ("info",)):
        sentence = refusal(*command, BACKENDMLP_KERNELS="foo")
        assert "BACKENDMLP_KERNELS is 'foo'; set it to 0 (no kernels), to 1 " in sentence
        assert "or to apart (a launch for each phase of a step), or unset it" in sentence
    assert not out.exists()


ONCE = """
import backendmlp
backendmlp.select("cupy")
from cupy._device import counted, emulation
assert emulation == "{setting}"
tried = []
for _ in range(3):
    for device in (None, "cuda:1"):
        backendmlp.select("cupy", device)
        tried.append(counted["to host"])
assert tried == [1, 2, 2, 2, 2, 2], tried
"""


@pytest.mark.parametrize("setting", ["0", "1"])
def test_a_device_is_tried_once_and_emulation_is_off_unless_asked_for(setting):
    asked = {"CUBLAS_EMULATE_DOUBLE_PRECISION": setting} if setting != "0" else {}
    done = python("-c", ONCE.format(setting=setting), **asked)
    assert done.returncode == 0, done.stderr


NOT_BITWISE = [
    ({"STAND_IN_CUPY": "float32-products"}, "products of float64 matrices are not exact"),
    ({"STAND_IN_CUPY": "max-drops-nan"}, "a maximum passes over NaN"),
    ({"CUBLAS_EMULATE_DOUBLE_PRECISION": "1"}, "CUBLAS_EMULATE_DOUBLE_PRECISION=1 is set"),
]
TRIED = """
import numpy
from backendmlp import InputError, MLP

x, y = numpy.zeros((4, 9), numpy.uint8), numpy.arange(4)
MLP(2, epochs=1, numerics="native", backend="cupy").fit(x, y).predict(x)
trained = MLP(2, epochs=1, backend="numpy").fit(x, y)
new = MLP(2, epochs=1, backend="cupy")
new.parameters = trained.parameters
for work in (lambda: new.predict(x), lambda: new.loss(x, y), lambda: new.fit(x, y)):
    try:
        work()
    except InputError as error:
        assert {reason!r} in str(error), error
    else:
        raise AssertionError("done all the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("environment", "reason"), NOT_BITWISE)
def test_a_device_that_cannot_be_bitwise_says_so_and_can_be_native(environment, reason):
    done = python("-c", TRIED.format(reason=reason), **environment)
    assert done.returncode == 0, done.stderr


TRANSFERS = """
import threading

import numpy
from backendmlp import Config, load_sample, random, select
from backendmlp.runs.prepare import prepare
from backendmlp.training.trainer import Trainer
from backendmlp.training.epochs import train

backend = select("cupy", "cuda:1")
from cupy._device import counted, pinned
def watched(name, what):  # what each call of a trainer's method adds to these counts
    method, found = getattr(Trainer, name), []
    def call(self, *given):
        before = [counted[x] for x in what]
        result = method(self, *given)
        found.append(tuple(counted[x] - y for x, y in zip(what, before)))
        return result
    setattr(Trainer, name, call)
    return found
drawn = random.permutation
drawing_threads = []
def drawing(*given):
    drawing_threads.append(threading.current_thread())
    return drawn(*given)
random.permutation = drawing
within = watched("advance", ("to host", "to device"))
scored = watched("score", ("to host", "allocations", "launches"))
with backend.scope():
    found = prepare(backend, Config(32, epochs=3, numerics="{numerics}"), load_sample())
    trainer, test = found.trainer, found.test
    ends, compiled = [], []
    for record in train(trainer, test):
        trainer.state()
        ends.append(counted["to host"])
        compiled.append(counted["compiled"])
# Kernels are sent the numbers of the steps of a call: four for each, as one array.
sent = 1 if trainer.stepper.name == "kernels" else 0
assert trainer.stepper.name == "{steps}"
assert within and set(within) == {{(0, sent)}}, within
assert [b - a for a, b in zip(ends, ends[1:])] == [3, 3], ends
beside = [thread is not threading.main_thread() for thread in drawing_threads]
assert beside == [False, True, True], beside  # all but the first, while the device is at work
if sent:  # each once in the warm-up; scores are three launches, for two parts and the outputs
    assert compiled == [2, 2, 2] and scored[1:] == [(0, 3, 3)] * 2, (compiled, scored)
assert pinned[0] < 1 << 20, pinned
"""


@pytest.mark.parametrize("numerics", ["bitwise", "native"])
@pytest.mark.parametrize("steps", ["definition", pytest.param("kernels", marks=needs_kernels)])
@pytest.mark.slow
def test_on_the_second_gpu_nothing_comes_back_within_an_epoch_and_three_arrays_at_its_end(
    numerics, steps
):
    """Operations outside the backend's scope are refused there."""
    code = TRANSFERS.format(numerics=numerics, steps=steps)
    done = python("-c", code, BACKENDMLP_KERNELS=str(int(steps == "kernels")))
    assert done.returncode == 0, done.stderr
