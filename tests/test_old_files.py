"""What earlier versions left is still read, verified and gone on with, to the bits they reached.

``tests/old`` was written by the last version whose networks had one hidden layer: a finished run,
its checkpoints in formats 1 and 2, and models.  The digests here are those that it printed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import open_or_skip
from formula import dataset

import backendmlp
from backendmlp import MLP, Config, InputError, resume_run, verify
from backendmlp.runs import checkpoint, record
from backendmlp.runs.stored import CHECKPOINT

OLD = Path(__file__).with_name("old")
CONFIG = Config(6, epochs=3, batch_size=16, lr=0.3, seed=5)
DIGEST = "9372044c93308418efb216baa6158ebcd1a5f1974e883df3e9906d3af8454553"
AFTER_FOUR_EPOCHS = "fecae3b047338040e705f0d504441dee7b7df7d3ceae7b7ee5535481d9187f5b"
OF_FEATURES = "09cbf1b7cbb905ad7046c3787b44d8300455ae2537990cd52f15c6a46341503d"
PREDICTIONS = {
    "run/model": "0e728965007017fb02dfada50200d4ad484ab70e671b93521e5c0753e8fbcc08",
    "model-2": "5dd3d46e5056ce9295aee40d39e7491bd9c764c552f86df174167fa0e18ccb5d",
}


def features() -> np.ndarray:
    return np.arange(96 * 5).reshape(96, 5) * 37 % 101 / 101.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(OLD / "run", tmp_path / "run")


@pytest.mark.parametrize("place", ["numpy", "torch", "strict"])
def test_a_receipt_is_verified(place: str):
    verdict = verify(OLD / "run", dataset(), backend=open_or_skip(place).name)
    assert str(verdict) == (
        f"verified: 3 of 3 epochs, weights sha256 {DIGEST}, model.safetensors agrees"
    )


def test_a_receipt_holds_what_it_held():
    text = json.loads((OLD / "run" / "run.json").read_text())
    assert (text["format"], len(text["config"])) == (1, 7)
    found = record.read(OLD / "run" / "run.json")
    assert (found.config, found.definition, found.ending.weights_sha256) == (CONFIG, 1, DIGEST)


def test_a_finished_run_is_trained_on(run: Path):
    assert resume_run(run, dataset()).weights_sha256 == DIGEST
    assert json.loads((run / "run.json").read_text())["format"] == 1  # there was nothing to do
    assert resume_run(run, dataset(), epochs=4).weights_sha256 == AFTER_FOUR_EPOCHS
    assert json.loads((run / "run.json").read_text())["format"] == record.FORMAT
    assert verify(run, dataset()).verified


@pytest.mark.parametrize("place", ["numpy", "torch"])
@pytest.mark.parametrize("stands", ["epoch", "within"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_checkpoint_is_resumed(number: int, stands: str, place: str, tmp_path: Path):
    shutil.copy(OLD / f"checkpoint-{number}-{stands}.safetensors", tmp_path / CHECKPOINT)
    found = checkpoint.load(tmp_path / CHECKPOINT)
    assert (found.config, found.through, found.complete) == (CONFIG, False, True)
    assert (found.state.before is not None) == (number == 2 and stands == "within")
    run = resume_run(tmp_path, dataset(), backend=open_or_skip(place).name)
    assert (run.finished, run.weights_sha256) == (True, DIGEST)


def test_models_predict_what_they_did(tmp_path: Path):
    for name, inputs in (("run/model", dataset().test_images), ("model-2", features()[80:])):
        mlp = MLP.load(OLD / f"{name}.safetensors")
        assert (mlp.config, mlp.class_names) == (CONFIG, ("a", "b", "c"))
        assert (mlp.unit is None) == (name != "model-2")
        assert backendmlp.digest({"p": mlp.predict_proba(inputs)}) == PREDICTIONS[name]
        mlp.save(tmp_path / "new")
        again = MLP.load(tmp_path / "new")
        assert backendmlp.digest({"p": again.predict_proba(inputs)}) == PREDICTIONS[name]
    assert backendmlp.digest(MLP.load(OLD / "model-2.safetensors").parameters) == OF_FEATURES
    assert MLP.load(OLD / "model-1-native.safetensors").config.dtype == "float32"


def test_an_old_format_has_nothing_of_the_new_one(run: Path):
    path = run / "run.json"
    whole = json.loads(path.read_text())
    for hidden in ([6], 0, True, None):
        whole["config"]["hidden"] = hidden
        path.write_text(json.dumps(whole))
        with pytest.raises(InputError, match="hidden"):
            record.read(path)
