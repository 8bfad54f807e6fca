"""A training that stops anywhere goes on anywhere, and ends with the same bits."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import exact
import numpy as np
import pytest
from commandline import (
    DIGEST,
    GOLDEN,
    call,
    leftovers,
    one_thread,
    receipt,
    train,
    unseal,
    weights_digest,
    write_data,
)
from conftest import open_or_skip

from backendmlp import InputError, digest
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config
from backendmlp.data import load_folder
from backendmlp.data.origin import origin
from backendmlp.network.evaluation import Evaluation
from backendmlp.runs import checkpoint
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.record import Data
from backendmlp.runs.run import CHECKPOINT, Every, Run
from backendmlp.training import epochs as training
from backendmlp.training.trainer import DivergenceError

CONFIG = Config(epochs=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("checkpoint") / "data")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def make(
    folder: Path, data: Path, backend: Backend, config: Config = CONFIG, every: Every | None = None
) -> Run:
    folder.mkdir(exist_ok=True)
    dataset = load_folder(data)
    return Run(folder, backend, config, dataset, Data(origin(data), dataset.sha256), every)


def after(images: int) -> Callable[[], bool]:
    """Stop once a look has been taken this many times."""
    looks = iter(range(images))
    return lambda: next(looks, None) is None


def begun(folder: Path, data: Path, backend: Backend, epochs: int, batches: int) -> Run:
    """A run stopped ``batches`` into the epoch after ``epochs``, as a signal would stop it."""
    run = make(folder, data, backend)
    run.begin()
    if epochs:
        run.train(should_stop=after(epochs))  # an epoch of 1000 images is one look
    run.trainer.advance(batches)
    assert not run.train(should_stop=lambda: True)
    return run


PLACES = ["numpy", "torch", "strict", "cupy"]


@pytest.mark.parametrize(("epochs", "batches"), [(0, 0), (0, 7), (1, 0), (1, 15)])
@pytest.mark.parametrize("place", PLACES)
def test_resumed_on_another_backend(
    place: str, epochs: int, batches: int, data: Path, tmp_path: Path
):
    first, second = open_or_skip("numpy"), open_or_skip(place)
    for start, goal in ((first, second), (second, first)):
        folder = tmp_path / start.name
        shutil.rmtree(folder, ignore_errors=True)
        begun(folder, data, start, epochs, batches)
        assert len(receipt(folder)["epochs"]) == epochs
        found = checkpoint.load(folder / CHECKPOINT)
        assert (found.state.epoch, found.state.position) == (epochs, 64 * batches)

        run = make(folder, data, goal)
        run.resume(found)
        assert run.train()
        assert weights_digest(folder / "model.safetensors") == DIGEST
        for name in ("train_loss", "test_loss"):
            values = [epoch[name].hex() for epoch in receipt(folder)["epochs"]]
            assert values == GOLDEN[name]
        assert leftovers(folder) == []


def test_a_chain_of_three_backends_by_the_command_line(data: Path, tmp_path: Path):
    open_or_skip("torch")
    open_or_skip("strict")
    folder = tmp_path / "run"
    begun(folder, data, open_or_skip("numpy"), 0, 5)
    run = make(folder, data, open_or_skip("torch"))
    run.resume(checkpoint.load(folder / CHECKPOINT))
    run.trainer.advance(7)
    run.save_checkpoint()
    result = train("--resume", folder, "--backend", "array-api-strict")
    assert f"weights sha256 {DIGEST}" in result.out
    assert receipt(folder)["backend"] == "array-api-strict"


def test_what_was_trained_is_not_trained_again(data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 3)
    lines = train("--resume", tmp_path).out.splitlines()
    assert [line[:9] for line in lines[:-2]] == ["epoch 2/2"]
    assert [epoch["epoch"] for epoch in receipt(tmp_path)["epochs"]] == [1, 2]


def test_a_run_stopped_before_its_first_checkpoint_begins(data: Path, tmp_path: Path):
    (tmp_path / ".backendmlp-0123456789abcdef.tmp").write_bytes(b"half")
    result = train("--resume", tmp_path, "--data", data, "--epochs", 2)
    assert f"weights sha256 {DIGEST}" in result.out
    assert leftovers(tmp_path) == []


def test_a_finished_run_has_nothing_to_resume(data: Path, tmp_path: Path):
    assert train("--data", data, "--epochs", 1, "--out", tmp_path / "a").code == 0
    before = (tmp_path / "a" / "run.json").read_bytes()
    for options in ((), ("--epochs", 1, "--data", data)):
        result = train("--resume", tmp_path / "a", *options)
        assert result.code == 0
        assert "is finished, after 1 epoch;" in result.out
    for options, words in (
        (("--lr", 3), "lr was 0.1 and is 3.0"),
        (("--checkpoint-every", 2), "--checkpoint-every would do nothing"),
        (("--no-keep-epochs",), "--keep-epochs would do nothing"),
    ):
        result = train("--resume", tmp_path / "a", *options)
        assert (result.code, result.out) == (2, "")
        assert words in result.err
    assert (tmp_path / "a" / "run.json").read_bytes() == before


@pytest.mark.parametrize("place", ["numpy", "torch"])
def test_a_finished_run_is_trained_on(place: str, data: Path, tmp_path: Path):
    assert train("--data", data, "--epochs", 1, "--out", tmp_path / "a").code == 0
    name = open_or_skip(place).name
    result = train("--resume", tmp_path / "a", "--epochs", 2, "--backend", name)
    assert [line[:9] for line in result.out.splitlines()[:-2]] == ["epoch 2/2"]
    assert f"weights sha256 {DIGEST}" in result.out
    assert weights_digest(tmp_path / "a" / "model.safetensors") == DIGEST
    assert receipt(tmp_path / "a")["config"]["epochs"] == 2
    assert leftovers(tmp_path / "a") == []
    assert call("verify", tmp_path / "a").code == 0


def test_an_interrupted_run_may_go_on_for_longer(data: Path, tmp_path: Path):
    run = make(tmp_path, data, open_or_skip("numpy"), Config(epochs=1))
    run.begin()
    run.trainer.advance(3)
    run.save_checkpoint()
    assert f"weights sha256 {DIGEST}" in train("--resume", tmp_path, "--epochs", 2).out


@pytest.mark.slow
def test_the_pictures_of_a_finished_run(data: Path, tmp_path: Path):
    pytest.importorskip("matplotlib")
    assert train("--data", data, "--epochs", 1, "--out", tmp_path / "a").code == 0
    before = (tmp_path / "a" / "run.json").read_bytes()
    result = train("--resume", tmp_path / "a", "--plot")
    assert (result.code, result.err) == (0, "")
    assert len(list((tmp_path / "a").glob("*.png"))) == 4
    assert (tmp_path / "a" / "run.json").read_bytes() == before


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """A finished run of features, and two files of the many that pictures of it could be."""
    x, y = np.random.default_rng(1).normal(size=(40, 4)), np.arange(40) % 2
    np.savez(tmp_path / "f.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    options = "--hidden", 3, "--epochs", 1, "--out", tmp_path / "a", "--quiet"
    assert train("--data", tmp_path / "f.npz", *options).code == 0
    for name in ("curves.svg", "confusion.png"):
        (tmp_path / "a" / name).write_text("as it was before")
    return tmp_path / "a"


@pytest.mark.slow
def test_pictures_are_drawn_anew_when_a_run_goes_on(pictured: Path):
    pytest.importorskip("matplotlib")
    result = train("--resume", pictured, "--epochs", 12)
    assert (result.code, result.err) == (0, "")
    assert "\ndrawn anew: confusion.png, curves.svg\n" in result.out
    pictures = {path.name for path in pictured.iterdir()} - {"model.safetensors", "run.json"}
    assert pictures == {"curves.svg", "confusion.png", "epochs"}
    assert (pictured / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert "<!-- 12 -->" in (pictured / "curves.svg").read_text()  # the last epoch, on its axis


def test_pictures_that_cannot_be_drawn_anew_are_said_to_be_old(
    pictured: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    result = train("--resume", pictured, "--epochs", 2, "--quiet")
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith(
        f"Warning: the pictures in {pictured} are of before the run went on: plots need"
    )
    assert result.err.count("\n") == 1
    assert len(receipt(pictured)["epochs"]) == 2
    assert (pictured / "curves.svg").read_text() == "as it was before"


def test_a_lost_checkpoint_costs_the_epoch_begun(data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 3)
    (tmp_path / CHECKPOINT).unlink()
    result = train("--resume", tmp_path)
    first, *_, weights, _ = result.out.splitlines()
    assert first == "there is no checkpoint.safetensors; going on after epoch 1"
    assert weights == f"weights sha256 {DIGEST}"


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_lost_checkpoint_and_no_weights(epochs: int, data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), epochs, 3)
    (tmp_path / CHECKPOINT).unlink()
    shutil.rmtree(tmp_path / "epochs", ignore_errors=True)
    result = train("--resume", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "has neither a checkpoint.safetensors nor the weights" in result.err


def test_a_finished_run_whose_weights_were_altered(data: Path, tmp_path: Path):
    options = ("--epochs", 1, "--no-keep-epochs")
    assert train("--data", data, "--out", tmp_path / "a", *options).code == 0
    assert not (tmp_path / "a" / "epochs").exists()
    model = tmp_path / "a" / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"\x3d")
    assert train("--resume", tmp_path / "a", "--epochs", 2).code == 2


def test_an_empty_folder_is_no_run(data: Path, tmp_path: Path):
    result = train("--resume", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"is empty: there is nothing to go on with; begin a run with --out {tmp_path}" in (
        result.err
    )
    result = train("--resume", tmp_path, "--data", data, "--epochs", 1)
    assert result.out.startswith(
        f"folder {tmp_path} is empty; a new run begins, on data, with hidden 100, epochs 1, "
    )


def test_killed_between_the_last_epoch_and_the_model(data: Path, tmp_path: Path):
    run = make(tmp_path, data, open_or_skip("numpy"))
    run.begin()
    for _ in range(2):
        run.train(should_stop=after(1))
    run.save_checkpoint()
    for name in ("run.json", "model.safetensors"):
        (tmp_path / name).unlink()
    assert f"weights sha256 {DIGEST}" in train("--resume", tmp_path).out
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("every", "expected"),
    [("2", [0, 2, 4]), ("3", [0, 3]), ("1", [0, 1, 2, 3, 4, 5]), ("0.000001m", None)],
)
def test_checkpoint_every(
    every: str,
    expected: list[int] | None,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    saved: list[tuple[int, int]] = []
    save = checkpoint.save

    def noted(path: Path, found: checkpoint.Checkpoint) -> None:
        saved.append((found.state.epoch, found.state.position))
        save(path, found)

    monkeypatch.setattr(checkpoint, "save", noted)
    options = ("--epochs", 5, "--batch-size", 16, "--checkpoint-every", every)
    assert train("--data", data, "--out", tmp_path / "a", *options).code == 0
    if expected is None:  # by the clock: within epochs, before their losses are known
        assert [position for _, position in saved[1:]] == [1000] * 5
    else:
        assert saved == [(epoch, 0) for epoch in expected]


def test_leftovers_of_killed_processes_go(data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 0)
    for place in (tmp_path, tmp_path / "epochs"):
        (place / ".backendmlp-00000000deadbeef.tmp").write_bytes(b"half a file")
    assert train("--resume", tmp_path).code == 0
    assert leftovers(tmp_path) == []
    assert sorted(path.name for path in (tmp_path / "epochs").iterdir()) == [
        "0001.safetensors",
        "0002.safetensors",
    ]


OTHERS = {
    "lr": (("--lr", "0.2"), "lr was 0.1 and is 0.2"),
    "hidden": (("--hidden", "50"), "hidden was 100 and is 50"),
    "seed": (("--seed", "1"), "seed was 100 and is 1"),
    "epochs": (("--epochs", "1"), "it has come to epoch 2, and epochs is 1"),
    "two": (("--batch-size", "8", "--lr", "1"), "batch_size was 64 and is 8; lr was 0.1 and is 1"),
    "numerics": (("--numerics", "native", "--dtype", "float64"), "numerics was bitwise"),
    "data": (("--data", "OTHER"), "the data had SHA-256"),
}


@pytest.mark.parametrize(("options", "words"), OTHERS.values(), ids=OTHERS)
def test_another_run_is_refused(options: tuple[str, ...], words: str, data: Path, tmp_path: Path):
    folder, other = tmp_path / "run", write_data(tmp_path / "other", 999)
    begun(folder, data, open_or_skip("numpy"), 1, 3)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    chosen = [str(other) if option == "OTHER" else option for option in options]
    result = train("--resume", folder, *chosen)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: the run cannot be resumed: ")
    assert words in result.err
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def replace(text: bytes) -> bytes:
        assert old in text
        return text.replace(old, new, 1)

    return replace


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "newer": (_replace(b'\\"format\\": 3,', b'\\"format\\": 7,'), "newer backendmlp (format 7)"),
    "cut short": (lambda text: text[:-1], "cut short"),
    "empty": (lambda text: b"", "cut short"),
    "another kind": (_replace(b"backendmlp-checkpoint", b"backendmlp-checkpoinx"), "another kind"),
    "a weight": (lambda text: text[:-8] + bytes(8), "its sha256 is not that of its content"),
    "a rate": (
        _replace(b'\\"lr\\": 0.1', b'\\"lr\\": 0.2'),
        "its sha256 is not that of its content",
    ),
}

# Of an older file, which has no digest of all of it.
DAMAGE_OF_OLD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another position": (_replace(b'\\"position\\": 192', b'\\"position\\": 191'), "shapes"),
    "another epoch": (
        _replace(b'\\"random\\": {\\"epoch\\": 1', b'\\"random\\": {\\"epoch\\": 2'),
        "epochs differ",
    ),
    "another format": (
        _replace(b'\\"format\\": 3,', b'\\"format\\": 1,'),
        "its config has",
    ),
    "NaN": (lambda text: text.replace(text[-8:], np.float64(np.nan).tobytes()), "not finite"),
}


@pytest.mark.parametrize("name", [*DAMAGE, *DAMAGE_OF_OLD])
def test_a_damaged_checkpoint_is_refused(name: str, data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 3)
    path = tmp_path / CHECKPOINT
    if name in DAMAGE_OF_OLD:
        unseal(path)
    damage, words = {**DAMAGE, **DAMAGE_OF_OLD}[name]
    path.write_bytes(damage(path.read_bytes()))
    before = path.read_bytes()
    result = call("train", "--resume", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"Error: checkpoint {str(path)!r} ")
    assert words in result.err
    assert path.read_bytes() == before


def test_a_checkpoint_reads_back_to_the_bit(data: Path, tmp_path: Path):
    run = begun(tmp_path, data, open_or_skip("numpy"), 1, 3)
    found, state = checkpoint.load(tmp_path / CHECKPOINT), run.trainer.state()
    assert (found.config, found.data, found.epochs) == (run.config, run.data, run.epochs)
    for name in ("learned", "before", "parts"):
        assert digest(getattr(found.state, name)) == digest(getattr(state, name))


def test_a_training_that_diverges_keeps_its_last_good_checkpoint(data: Path, tmp_path: Path):
    run = begun(tmp_path, data, open_or_skip("numpy"), 1, 0)
    before = (tmp_path / CHECKPOINT).read_bytes()
    state = run.trainer.state()
    state.learned["b2"][3] = np.nan
    run.trainer.restore(state)
    run.trainer.advance(3)
    run.save_checkpoint()
    assert (tmp_path / CHECKPOINT).read_bytes() == before


@pytest.mark.filterwarnings("ignore:the training is lost")
def test_weights_beyond_the_grid_are_resumed_to_the_bit(tmp_path: Path):
    """Settling what was settled moved weights above 2**22: another digest after --resume."""
    numpy, data = open_or_skip("numpy"), write_data(tmp_path / "data", 100)
    config = Config(hidden=10, epochs=3, batch_size=7, lr=1e8)
    assert make(tmp_path / "whole", data, numpy, config).train()
    digest = weights_digest(tmp_path / "whole" / "model.safetensors")
    for epochs, batches in ((0, 1), (0, 5), (1, 0), (1, 4)):
        folder = tmp_path / f"{epochs} {batches}"
        run = make(folder, data, numpy, config)
        run.begin()
        for _ in range(epochs):
            run.trainer.advance(15)
            run.epochs.append(next(training.train(run.trainer)))
        run.trainer.advance(batches)
        run.save_checkpoint()
        left = run.trainer.state().learned
        again = run.trainer.arithmetic.settle(left["W2"])
        assert (again != left["W2"]).any()  # or this test would show nothing
        run = make(folder, data, numpy, config)
        run.resume(checkpoint.load(folder / CHECKPOINT))
        for name, value in run.trainer.state().learned.items():
            assert exact.bits(value) == exact.bits(left[name])
        assert run.train()
        assert weights_digest(folder / "model.safetensors") == digest


def poisoned(run: Run) -> Run:
    """The run with a weight that is not finite any more, wherever it stands."""
    state = run.trainer.state()
    state.learned["b2"][3] = np.nan
    run.trainer.restore(state)
    return run


@pytest.mark.parametrize("batches", [0, 7])
def test_a_divergence_after_a_resume_keeps_the_weights_of_before_the_epoch(
    batches: int, data: Path, tmp_path: Path
):
    begun(tmp_path, data, open_or_skip("numpy"), 1, batches)
    run = make(tmp_path, data, open_or_skip("numpy"))
    run.resume(checkpoint.load(tmp_path / CHECKPOINT))
    if not batches:
        run.trainer.advance(1)
    with pytest.raises(DivergenceError, match=r"in epoch 2: .* of before that epoch are kept"):
        poisoned(run).train()
    kept = weights_digest(tmp_path / "model.safetensors")
    assert kept == weights_digest(tmp_path / "epochs" / "0001.safetensors")
    assert kept == receipt(tmp_path)["weights_sha256"]


def test_so_does_a_test_loss_that_is_not_finite(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 7)
    run = make(tmp_path, data, open_or_skip("numpy"))
    run.resume(checkpoint.load(tmp_path / CHECKPOINT))

    def overflowing(arithmetic, criterion, scores, targets):
        return Evaluation(float("inf"), 0.5), to_numpy(scores.outputs)

    monkeypatch.setattr(training, "evaluate_and_fetch", overflowing)
    with pytest.raises(DivergenceError, match=r"test loss .* of before that epoch are kept"):
        run.train()
    kept = weights_digest(tmp_path / "model.safetensors")
    assert kept == weights_digest(tmp_path / "epochs" / "0001.safetensors")


SEVEN = ("hidden", "epochs", "batch_size", "lr", "seed", "numerics", "dtype")


def in_format_1(folder: Path) -> None:
    """The folder's checkpoint as it was written before it had the weights of before the epoch."""
    found = checkpoint.load(folder / CHECKPOINT)
    found.state.before = None
    old = {k: v for k, v in found.config.as_dict().items() if k in SEVEN} | {"hidden": 100}
    with (
        mock.patch.object(checkpoint, "FORMAT", 1),
        mock.patch.object(Config, "as_dict", return_value=old),
    ):
        checkpoint.save(folder / CHECKPOINT, found)


@pytest.mark.parametrize("batches", [0, 7])
def test_a_checkpoint_of_format_1_goes_on_too(batches: int, data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, batches)
    in_format_1(tmp_path)
    assert f"weights sha256 {DIGEST}" in train("--resume", tmp_path).out


def test_and_says_which_weights_it_keeps_when_it_diverges(data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 1, 7)
    in_format_1(tmp_path)
    run = make(tmp_path, data, open_or_skip("numpy"))
    run.resume(checkpoint.load(tmp_path / CHECKPOINT))
    expected = run.trainer.state().learned
    run.trainer.advance(1)
    run.trainer.stepper = run.trainer._new_stepper(
        run.trainer._on_device({k: v * np.nan for k, v in expected.items()})
    )
    with pytest.raises(DivergenceError, match="weights it went on with in that epoch are kept"):
        run.train()
    for name, value in load_model(tmp_path / "model.safetensors")[0].items():
        assert np.array_equal(value, expected[name])


def test_a_checkpoint_of_data_that_do_not_fit(data: Path, tmp_path: Path):
    begun(tmp_path, data, open_or_skip("numpy"), 0, 15)
    few = write_data(tmp_path / "few", 300)
    found = checkpoint.load(tmp_path / CHECKPOINT)
    run = make(tmp_path, few, open_or_skip("numpy"))
    mine: dict[str, Any] = json.loads(json.dumps(found.config.as_dict()))
    forged = checkpoint.Checkpoint(Config(**mine), run.data, found.state, [])
    with pytest.raises(InputError, match="does not fit the data"):
        run.resume(forged)
