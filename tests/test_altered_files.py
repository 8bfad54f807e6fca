"""Files of a run that somebody altered: what they then claim is found out, or refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import receipt, unseal

import backendmlp
from backendmlp import Config, InputError
from backendmlp.backend import select
from backendmlp.data.origin import Origin
from backendmlp.runs.modelfile import load_model, save_model
from backendmlp.runs.parsing import Data
from backendmlp.runs.run import Run

RANDOM = np.random.default_rng(5)
ROWS = RANDOM.integers(0, 256, (300, 2, 3), np.uint8)
CLASSES = np.arange(300) % 3
NAMES = ("cat", "dog", "owl")
REAL = RANDOM.normal(size=(300, 1))
REGRESSION = backendmlp.Dataset("rows", "", ROWS[:200], REAL[:200], ROWS[200:], REAL[200:])


def dataset(names: tuple[str, ...] = NAMES, rows: np.ndarray = ROWS) -> backendmlp.Dataset:
    return backendmlp.Dataset(
        "rows", "", rows[:200], CLASSES[:200], rows[200:], CLASSES[200:], names
    )


def stop_after(looks: int) -> Callable[[], bool]:
    left = iter(range(looks))
    return lambda: next(left, None) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    backendmlp.train_run(folder, dataset(), Config(hidden=3, epochs=2, optimizer="adam"))
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    found = receipt(folder)
    change(found)
    (folder / "run.json").write_text(json.dumps(found))


def edit_model(folder: Path, change: dict[str, Any]) -> None:
    parameters, metadata = load_model(folder / "model.safetensors")
    save_model(folder / "model.safetensors", parameters, {**metadata, **change})


def flip(name: str) -> Callable[[dict[str, np.ndarray]], None]:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name].reshape(-1)[0] += 2.0**-20

    return change


MODELS = {
    "names": ({"class_names": ["owl", "dog", "cat"]}, "has other class names than the data"),
    "shape": ({"image_shape": [6]}, "has the image_shape [6], and of these data it is [2, 3]"),
    "definition": ({"definition": 2}, "is of another definition than the receipt"),
    "data": ({"data": {"name": "rows", "path": None, "sha256": "0" * 64}}, "names other data"),
}


@pytest.mark.parametrize(("change", "words"), MODELS.values(), ids=MODELS)
def test_what_a_model_says_of_itself_is_verified(run, change, words):
    edit_model(run, change)
    verdict = backendmlp.verify(run, dataset())
    assert not verdict
    assert words in str(verdict)


def test_of_which_data_a_receipt_says_too_is_held_against_it_in_use(run):
    change, words = MODELS["data"]
    edit_model(run, change)
    with pytest.raises(InputError, match=words):
        backendmlp.resume_run(run, dataset(), epochs=3)


def test_names_of_classes_that_the_data_do_not_have_are_not_verified(run):
    """The data's SHA-256 is of numbers, and whoever has them by another way has no names."""
    verdict = backendmlp.verify(run, dataset(()))
    assert verdict
    assert (
        verdict.model == "model.safetensors agrees but for its classes' names, which nothing "
        "here says"
    )
    assert str(backendmlp.verify(run, dataset())).endswith(", model.safetensors agrees")


def test_a_regression_of_other_targets(tmp_path):
    backendmlp.train_run(tmp_path, REGRESSION, Config(hidden=3, epochs=1, loss="squared_error"))
    assert backendmlp.verify(tmp_path, REGRESSION)
    edit_model(tmp_path, {"flat": True})
    verdict = backendmlp.verify(tmp_path, REGRESSION)
    assert "has the flat True, and of these data it is False" in str(verdict)


MEMBER = {"backend": "numpy", "device": "cpu", "versions": {"numpy": "2"}}
PARALLEL = {"ranks": 2, "mpi": "MPICH", "split": "rows", "members": [MEMBER, MEMBER]}
RECEIPTS: dict[str, tuple[dict[str, Any], str]] = {
    "diverged": ({"diverged": "the training diverged in epoch 3: so"}, "its diverged is"),
    "another entry": ({"accuracy": 0.99}, "it has 'accuracy', which no receipt has"),
    "one rank": ({"parallel": {**PARALLEL, "ranks": 1, "members": [MEMBER]}}, "its parallel is"),
    "another split": ({"parallel": {**PARALLEL, "split": "columns"}}, "its parallel is"),
    "a rank more": ({"parallel": {**PARALLEL, "ranks": 3}}, "a member for each rank"),
    "numbers": ({"parallel": {**PARALLEL, "members": [1, 2]}}, "a member of its parallel is 1"),
    "a version": (
        {"parallel": {**PARALLEL, "members": [MEMBER, {**MEMBER, "versions": {"numpy": 2}}]}},
        "its version of 'numpy' is 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), RECEIPTS.values(), ids=RECEIPTS)
def test_what_no_receipt_says_is_refused(run, change, words):
    edit(run, lambda found: found.update(change))
    with pytest.raises(InputError, match=re.escape(words)):
        backendmlp.verify(run, dataset())


def test_what_several_ranks_say_is_read(run):
    edit(run, lambda found: found.update(parallel=PARALLEL))
    assert backendmlp.verify(run, dataset())


def test_no_epoch_took_less_than_no_time(run):
    edit(run, lambda found: found["epochs"][0].update(seconds=-0.5))
    with pytest.raises(InputError, match=r"the seconds of an epoch are -0\.5"):
        backendmlp.verify(run, dataset())


@pytest.mark.filterwarnings("ignore:the training (has gone astray|is lost):UserWarning")
@pytest.mark.parametrize(
    ("batch_size", "rate", "what"), [(200, 1e20, "test loss"), (50, 1e6, "loss or a weight")]
)
def test_a_training_that_diverged_does_so_again(tmp_path, batch_size, rate, what):
    sizes = {"hidden": (), "batch_size": batch_size}
    config = Config(**sizes, epochs=6, loss="squared_error", lr=rate)
    with pytest.raises(InputError, match=f"the {what} is not finite"):
        backendmlp.train_run(tmp_path, REGRESSION, config)
    count = len(json.loads((tmp_path / "run.json").read_text())["epochs"])
    verdict = backendmlp.verify(tmp_path, REGRESSION)
    assert verdict
    again = f", model.safetensors agrees; epoch {count + 1} diverged, as in the run"
    assert str(verdict).endswith(again)
    edit(tmp_path, lambda found: found["config"].update(lr=1e30))
    (tmp_path / "model.safetensors").unlink()
    verdict = backendmlp.verify(tmp_path / "run.json", REGRESSION)
    assert str(verdict).startswith("differs: epoch 1 of")


def test_a_training_that_is_said_to_have_diverged_and_goes_on(tmp_path):
    config = Config(hidden=3, epochs=3)
    backendmlp.train_run(tmp_path, dataset(), config, should_stop=stop_after(2))
    assert backendmlp.verify(tmp_path, dataset())
    edit(tmp_path, lambda found: found.update(diverged="the training diverged in epoch 3: so"))
    verdict = backendmlp.verify(tmp_path, dataset())
    assert str(verdict) == ("differs: epoch 3 diverged, and does not here (2 of 2 epochs agree)")
    edit(tmp_path, lambda found: found.update(diverged="the training diverged in epoch 2: so"))
    with pytest.raises(InputError, match=r"its diverged is .*, and it holds 2 of 3 epochs"):
        backendmlp.verify(tmp_path, dataset())


STOPS = {
    "after an epoch": ({}, 2, 0, "W1", "after epoch 2"),
    "within an epoch": ({}, 2, 1, "before.W1", "after epoch 2"),
    "the best": (
        {"patience": 9, "validation_split": 0.1, "lr": 0.02},
        5,
        0,
        "best.b1",
        "after epoch",
    ),
}


@pytest.mark.parametrize(
    ("choices", "epochs", "batches", "name", "words"), STOPS.values(), ids=STOPS
)
def test_weights_of_a_checkpoint_are_held_against_their_epochs(
    tmp_path, choices, epochs, batches, name, words
):
    data = dataset()
    config = Config(hidden=3, epochs=9, optimizer="adam", **choices)
    run = Run(tmp_path, select("numpy"), config, data, Data(Origin("rows"), data.sha256))
    run.begin()
    run.train(should_stop=stop_after(epochs))
    run.trainer.advance(batches)
    run.save_checkpoint()
    path = tmp_path / "checkpoint.safetensors"
    unseal(path)  # an older one, which is gone on with
    whole = path.read_bytes()
    backendmlp.resume_run(shutil.copytree(tmp_path, tmp_path / "copy"), data)
    unseal(path, flip(name))
    with pytest.raises(InputError, match=f"checkpoint '{path}' is damaged .*{words}"):
        backendmlp.resume_run(tmp_path, data)
    assert path.read_bytes() != whole
    assert "epochs': 9" not in (tmp_path / "run.json").read_text()


@pytest.mark.parametrize("missing", ["", "run.json", "model.safetensors"])
def test_the_final_state_is_held_against_its_epochs(run, missing):
    """It would be written over a good model, or trained on."""
    unseal(run / "final.safetensors", flip("W1"))
    if missing:
        (run / missing).unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"final.safetensors' is damaged .*after epoch 2"):
        backendmlp.resume_run(run, dataset(), epochs=None if missing else 3)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["mean.W1", "square.b2"])
def test_what_an_optimiser_gathered_is_held_against_the_digest_of_the_file(run, name):
    path = run / "final.safetensors"
    stored = path.read_bytes()
    length = int.from_bytes(stored[:8], "little")
    first = json.loads(stored[8 : 8 + length])[name]["data_offsets"][0]
    altered = bytearray(stored)
    altered[8 + length + first] ^= 1
    path.write_bytes(altered)
    with pytest.raises(InputError, match="its sha256 is not that of its content"):
        backendmlp.resume_run(run, dataset(), epochs=3)
    path.write_bytes(stored)
    assert len(backendmlp.resume_run(run, dataset(), epochs=3).epochs) == 3


def test_a_bit_flipped_in_a_models_unit_or_names_is_told(tmp_path):
    features = np.random.default_rng(1).normal(size=(40, 5))
    mlp = backendmlp.MLP(3, epochs=1).fit(features, ["a", "c"] * 20)
    path = tmp_path / "model.safetensors"
    mlp.save(path)
    whole = path.read_bytes()
    for place in (len(whole) - 2, whole.index(b'[\\"a\\"') + 3):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged"):
            backendmlp.MLP.load(path)
    path.write_bytes(whole)
    assert backendmlp.MLP.load(path).class_names == ("a", "c")


def test_a_receipt_that_was_damaged_is_not_gone_on_from(tmp_path):
    run = tmp_path / "run"
    config = Config(hidden=3, epochs=2, schedule="adaptive")  # whose losses decide the rate
    backendmlp.train_run(run, dataset(), config)
    text = (run / "run.json").read_text()
    for digit in ("seconds", "train_loss", "test_accuracy"):
        at = text.index(f'"{digit}": ') + len(digit) + 4
        damaged = f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}"
        (run / "run.json").write_text(damaged)
        for use in (backendmlp.verify, backendmlp.figures):
            with pytest.raises(InputError, match="its sha256 is not that of what it says"):
                use(run)
        with pytest.raises(InputError, match="its sha256 is not that of what it says"):
            backendmlp.resume_run(run, dataset(), epochs=5)
    (run / "run.json").write_text(json.dumps(json.loads(text)))  # lines do not count
    assert backendmlp.verify(run, dataset())


def test_a_receipt_without_a_digest_is_read(run):
    edit(run, lambda found: None)
    assert "sha256" not in json.loads((run / "run.json").read_text())
    assert backendmlp.verify(run, dataset())
