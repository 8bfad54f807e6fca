"""Whatever ends a training, it goes on to the digest of the one that nothing disturbed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import commandline as cl
import pytest

from backendmlp import MLP, load_sample

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

EPOCHS = 12
MOMENTS = random.randrange(2**32)  # printed where a test fails


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return cl.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def options(data):
    return "--data", data, "--epochs", EPOCHS


@pytest.fixture(scope="module")
def undisturbed(options, tmp_path_factory):
    """The digest at the end, and how long a process lives."""
    folder, began = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    assert cl.end(cl.start("train", "--out", folder, *options)).code == 0
    return cl.receipt(folder)["weights_sha256"], time.monotonic() - began


def wait_for(path):
    for _ in range(cl.SECONDS * 1000):
        if path.exists():
            return
        time.sleep(0.001)
    pytest.fail(f"{path.name} did not appear")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_saves_and_leaves_with_its_code(tmp_path, options, undisturbed, number, code):
    before = signal.signal(number, signal.SIG_DFL)  # of what is ignored here, as by nohup, also
    try:
        process = cl.start("train", "--out", tmp_path, *options)
    finally:
        signal.signal(number, before)
    wait_for(tmp_path / "epochs" / "0001.safetensors")
    process.send_signal(number)
    result = cl.end(process)
    assert (result.code, result.err) == (code, "")
    assert f"go on with: backendmlp train --resume {tmp_path}" in result.out
    assert 1 <= len(cl.receipt(tmp_path)["epochs"]) < EPOCHS
    MLP.load(tmp_path / "model.safetensors")

    assert cl.end(cl.start("train", "--resume", tmp_path)).code == 0
    assert cl.receipt(tmp_path)["weights_sha256"] == undisturbed[0]
    assert cl.leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "kill", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 6))]
)
def test_killed_at_any_moment(tmp_path, options, undisturbed, kill):
    digest, lasting = undisturbed
    moment = random.Random(f"{MOMENTS} {kill}").uniform(0, lasting)
    folder = tmp_path / "run"
    process = cl.start("train", "--out", folder, *options)
    wait_for(folder)  # before that there is nothing to lose
    time.sleep(moment)
    process.kill()
    cl.end(process)
    assert cl.end(cl.start("train", "--resume", folder, *options)).code == 0, (MOMENTS, kill)
    assert cl.receipt(folder)["weights_sha256"] == digest
    assert cl.leftovers(folder) == []


CUT = """
import os, sys
from backendmlp import InputError, MLP, load_folder
data = load_folder(sys.argv[1])
path = os.path.join(sys.argv[1], sys.argv[2] + "-images-idx3-ubyte")
mlp = MLP(8, epochs=3)
try:
    mlp.fit(data.train_images, data.train_labels, test=(data.test_images, data.test_labels),
            on_epoch=lambda epoch: os.truncate(path, 100_000))
except InputError as error:
    print(len(mlp.history), error)
"""


@pytest.mark.parametrize(("part", "size"), [("train", 784_016), ("t10k", 156_816)])
def test_data_that_are_cut_short_while_they_are_read(tmp_path, part, size):
    """It was once the end of the process by a signal, SIGBUS, without a word."""
    data = cl.write_data(tmp_path / "data")
    process = subprocess.run(
        [sys.executable, "-c", CUT, str(data), part],
        env={**os.environ, "PYTHONPATH": str(cl.ROOT)},
        capture_output=True,
        text=True,
        timeout=cl.SECONDS,
    )
    assert (process.returncode, process.stderr) == (0, "")
    path = str(data / f"{part}-images-idx3-ubyte")
    assert process.stdout.startswith(f"1 {path!r} was cut short while it was read: {size:,} bytes")


def test_a_second_training_into_the_folder_is_refused(tmp_path, options, undisturbed):
    first = cl.start("train", "--out", tmp_path, *options)
    wait_for(tmp_path / "checkpoint.safetensors")
    second = cl.train("--resume", tmp_path)
    assert (second.code, second.err.count("\n")) == (2, 1)
    assert "another training is writing" in second.err
    assert cl.end(first).code == 0
    assert cl.receipt(tmp_path)["weights_sha256"] == undisturbed[0]


def test_runs_at_once_reach_the_same_digest(tmp_path, options, undisturbed):
    folders = [tmp_path / str(number) for number in range(2)]
    processes = [cl.start("train", "--out", folder, *options) for folder in folders]
    assert [cl.end(process).code for process in processes] == [0] * len(folders)
    assert {cl.receipt(folder)["weights_sha256"] for folder in folders} == {undisturbed[0]}


def test_two_threads_train_two_models():
    sample, found = load_sample(), {}
    images, labels = sample.train_images[:600], sample.train_labels[:600]

    def train(name, seed):
        mlp = MLP(epochs=3, seed=seed).fit(images, labels)
        found[name] = [record.weights_sha256 for record in mlp.history]

    with cl.one_thread():
        for seed in (1, 2):
            train(f"alone {seed}", seed)
        threads = [threading.Thread(target=train, args=(f"beside {s}", s)) for s in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found["alone 1"] == found["beside 1"] != found["alone 2"] == found["beside 2"]
