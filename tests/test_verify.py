"""A receipt is repeated to the last bit, or the first difference is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import DIGEST, call, receipt, train, write_data
from conftest import open_or_skip

from backendmlp import Config, Dataset, InputError, digests, train_run, verify
from backendmlp.data import load_folder
from backendmlp.runs.modelfile import load_model, save_model

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("verify") / "data")


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    folder = data.parent / "run"
    assert train("--data", data, "--epochs", 2, "--out", folder).code == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return shutil.copytree(finished, tmp_path / "run")


def edit(run: Path, change: Edit) -> None:
    found = receipt(run)
    change(found)
    (run / "run.json").write_text(json.dumps(found))


def tamper(run: Path, epoch: int, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the weights of an epoch and every digest of them, as a run that differs has them."""
    path = run / "epochs" / f"{epoch:04d}.safetensors"
    parameters, metadata = load_model(path)
    change(parameters)
    save_model(path, parameters, metadata)

    def note(found: dict[str, Any]) -> None:
        entry = found["epochs"][epoch - 1]
        entry["weights_sha256"] = digests.digest(parameters)
        entry["tensors_sha256"] = {k: digests.digest({k: v}) for k, v in parameters.items()}
        found["weights_sha256"] = found["epochs"][-1]["weights_sha256"]

    edit(run, note)


@pytest.mark.parametrize("place", ["numpy", "torch", "jax", "strict", "strict-device1", "cupy"])
def test_verified(place: str, finished: Path):
    backend = open_or_skip(place)
    device = ("--device", "device1") if place == "strict-device1" else ()
    code, out, err = call("verify", finished / "run.json", "--backend", backend.name, *device)
    assert (code, err) == (0, "")
    *epochs, verdict = out.splitlines()
    assert [line[:9] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    agrees = "model.safetensors agrees"
    assert verdict == f"verified: 2 of 2 epochs, weights sha256 {DIGEST}, {agrees}"


def test_quiet_prints_the_verdict_alone_and_a_folder_will_do(finished: Path):
    agrees = f"verified: 2 of 2 epochs, weights sha256 {DIGEST}, model.safetensors agrees\n"
    assert call("verify", finished / "run.json", "--quiet") == (0, agrees, "")
    assert call("verify", finished, "--quiet") == (0, agrees, "")


def _flip(bit: int) -> Callable[[Path], None]:
    def flip(model: Path) -> None:
        data = bytearray(model.read_bytes())
        data[-3 - 8 * 40] ^= bit  # the last tensors are the biases
        model.write_bytes(data)

    return flip


def _other_weight(model: Path) -> None:
    parameters, metadata = load_model(model)
    parameters["b1"][7] += 2.0**-20
    save_model(model, parameters, metadata)


def _other_config(model: Path) -> None:
    parameters, metadata = load_model(model)
    metadata["config"]["lr"] = 0.2
    save_model(model, parameters, metadata)


MODELS: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "one bit": (_flip(1), 1, "is damaged: its sha256 is not that of its content"),
    "another weight": (_other_weight, 1, "model.safetensors is not what the receipt ends with: b1"),
    "cut short": (lambda path: path.write_bytes(path.read_bytes()[:-1]), 1, "is cut short"),
    "another rate": (_other_config, 1, "has another configuration than the receipt"),
    "missing": (Path.unlink, 1, "differs: model.safetensors is missing (2 of 2 epochs agree)"),
}


@pytest.mark.parametrize(("spoil", "expected", "words"), MODELS.values(), ids=MODELS)
def test_the_model_in_the_folder(
    spoil: Callable[[Path], Any], expected: int, words: str, run: Path
):
    spoil(run / "model.safetensors")
    code, out, err = call("verify", run, "--quiet")
    assert (code, err) == (expected, "")
    assert words in out
    beside = call("verify", run / "run.json", "--quiet")
    assert beside.code == (1 if (run / "model.safetensors").exists() else 0)


def test_from_python(run: Path, data: Path):
    told: list[int] = []
    verdict = verify(run, on_epoch=lambda epoch: told.append(epoch.epoch))
    assert (verdict.verified, verdict.agreed, verdict.total) == (True, 2, 2)
    assert verdict.weights_sha256 == DIGEST
    assert told == [1, 2]
    edit(run, _predictions)
    assert not verify(run / "run.json", load_folder(data)).verified
    with pytest.raises(InputError, match="no such file"):
        verify(run / "nowhere.json")


def test_a_receipt_of_another_machine_says_where_its_data_were(run: Path):
    edit(run, lambda found: found["data"].update(path="/home/else/data"))
    code, out, err = call("verify", run)
    assert (code, out) == (2, "")
    assert "the run's data, 'data' in '/home/else/data' when it was made" in err
    assert err.endswith("name them with --data or --dataset\n")


def test_data_that_have_changed(run: Path, tmp_path: Path):
    other = write_data(tmp_path / "other", 999)
    edit(run, lambda found: found["data"].update(path=str(other)))
    code, out, err = call("verify", run)
    assert (code, out) == (2, "")
    assert "have changed: their SHA-256 is" in err


def test_a_receipt_travels_alone_and_is_given_its_data(finished: Path, data: Path, tmp_path: Path):
    alone = shutil.copy(finished / "run.json", tmp_path)
    moved = shutil.copytree(data, tmp_path / "moved")
    edit(tmp_path, lambda found: found["data"].update(path="/nowhere"))
    assert call("verify", alone).code == 2
    assert call("verify", alone, "--data", moved).code == 0


def test_other_data_are_refused(finished: Path, tmp_path: Path):
    code, out, err = call("verify", finished, "--data", write_data(tmp_path / "other", 999))
    assert (code, out) == (2, "")
    assert receipt(finished)["data"]["sha256"] in err


def test_an_interrupted_run_is_verified_as_far_as_it_went(run: Path):
    def cut(found: dict[str, Any]) -> None:
        found["epochs"].pop()
        for name in ("weights_sha256", "predictions_sha256"):
            found[name] = found["epochs"][-1][name]

    edit(run, cut)
    verdict = f"verified: 1 of 1 epoch, weights sha256 {receipt(run)['weights_sha256']}"
    later = "but model.safetensors is from later, within epoch 2, or was altered"
    assert call("verify", run, "--quiet") == (0, f"{verdict}, {later}\n", "")
    (run / "model.safetensors").unlink()
    assert call("verify", run / "run.json", "--quiet") == (0, f"{verdict}\n", "")


@pytest.mark.parametrize(
    ("lr", "far", "done"), [(1e300, 1.0, 0), (1e40, 1.0, 1), (0.1, 1e200, 0)], ids=str
)
def test_of_a_run_that_diverged_the_epoch_that_did_is_repeated_too(
    lr: float, far: float, done: int, tmp_path: Path
):
    """In its first epoch, in a later one, and on test data alone, whose targets are ``far`` out."""
    rows = np.random.default_rng(1).normal(size=(20, 3))
    given = Dataset("rows", "made here", rows, rows[:, 0], rows, far * rows[:, 0])
    config = Config((), loss="squared_error", lr=lr, batch_size=20, epochs=9)
    with pytest.raises(InputError, match="the training diverged in epoch"):
        train_run(tmp_path, given, config)
    count = len(receipt(tmp_path)["epochs"])
    assert count == done
    verdict = verify(tmp_path, given)
    assert verdict
    assert (verdict.agreed, verdict.diverged) == (count, count + 1)
    epochs = "1 of 1 epoch" if done else "0 of 0 epochs"
    assert str(verdict) == (
        f"verified: {epochs}, weights sha256 {verdict.weights_sha256}, model.safetensors agrees; "
        f"epoch {count + 1} diverged, as in the run"
    )
    said = call("info", tmp_path).out
    assert f"of a run that diverged after it, in epoch {count + 1}\n" in said
    assert "not at its end" not in said


def test_a_divergence_that_is_none_here_differs(run: Path):
    def cut(found: dict[str, Any]) -> None:
        found["epochs"].pop()
        found["diverged"] = "the training diverged in epoch 2: so"
        for name in ("weights_sha256", "predictions_sha256"):
            found[name] = found["epochs"][-1][name]

    edit(run, cut)
    said = "differs: epoch 2 diverged, and does not here (1 of 1 epoch agrees)\n"
    assert call("verify", run / "run.json", "--quiet") == (1, said, "")


def _three_weights(parameters: dict[str, np.ndarray]) -> None:
    parameters["W1"][100:103, 7] += 2.0**-20
    parameters["b2"][4] += 0.5


def _sign_of_a_zero(parameters: dict[str, np.ndarray]) -> None:
    W1 = parameters["W1"]
    W1[tuple(np.argwhere(W1 == 0)[0])] *= -1.0


@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("place", ["numpy", "torch"])
def test_differing_entries_are_counted(place: str, epoch: int, run: Path):
    tamper(run, epoch, _three_weights)
    result = call("verify", run, "--backend", open_or_skip(place).name, "--quiet")
    assert result == (
        1,
        f"differs: epoch {epoch} of 2: W1 differs in 3 of 78,400 entries, by at most 9.54e-07; "
        "b2 differs in 1 of 10 entries, by at most 0.5\n",
        "",
    )


def test_the_sign_of_a_zero_is_a_difference(run: Path):
    parameters = load_model(run / "epochs" / "0002.safetensors")[0]
    if not (parameters["W1"] == 0).any():
        tamper(run, 2, lambda parameters: parameters["b1"].__setitem__(0, -parameters["b1"][0]))
        expected = "b1 differs in 1 of 100"
    else:
        tamper(run, 2, _sign_of_a_zero)
        expected = "W1 differs in 1 of 78,400 entries, by at most 0"
    assert expected in call("verify", run, "--quiet").out


def test_weights_that_are_not_the_receipts_are_not_compared(run: Path):
    tamper(run, 2, _three_weights)
    for spoil in (
        lambda path: path.write_bytes(b"damaged"),
        lambda path: shutil.copy(run / "epochs" / "0001.safetensors", path),
        Path.unlink,
    ):
        spoil(run / "epochs" / "0002.safetensors")
        code, out, err = call("verify", run, "--quiet")
        assert (code, err) == (1, "")
        assert out == (
            "differs: epoch 2 of 2: W1 differs (its entries in that epoch are not at hand); "
            "b2 differs (its entries in that epoch are not at hand)\n"
        )


def test_the_model_stands_for_the_last_epoch(run: Path):
    tamper(run, 2, _three_weights)
    shutil.move(run / "epochs" / "0002.safetensors", run / "model.safetensors")
    assert "W1 differs in 3 of 78,400 entries" in call("verify", run, "--quiet").out


def _one_ulp(name: str) -> Edit:
    def change(found: dict[str, Any]) -> None:
        entry = found["epochs"][1]
        entry[name] = float(np.nextafter(entry[name], 9))

    return change


def _predictions(found: dict[str, Any]) -> None:
    found["epochs"][1]["predictions_sha256"] = found["predictions_sha256"] = "0" * 64


def _tensor(found: dict[str, Any]) -> None:
    found["epochs"][1]["tensors_sha256"]["W2"] = "0" * 64


def _whole(found: dict[str, Any]) -> None:
    found["epochs"][1]["weights_sha256"] = found["weights_sha256"] = "0" * 64


VALUES = {
    "train_loss": (_one_ulp("train_loss"), "the weights agree, but train_loss was "),
    "test_loss": (_one_ulp("test_loss"), "the weights agree, but test_loss was "),
    "accuracy": (_one_ulp("test_accuracy"), "the weights agree, but test_accuracy was "),
    "predictions": (_predictions, "the weights agree, but predictions_sha256 was 000"),
    "one tensor's digest": (_tensor, "but in the receipt's tensors_sha256 W2 differs: it is"),
    "the weights' digest": (_whole, "the receipt is damaged"),
}


@pytest.mark.parametrize(("change", "words"), VALUES.values(), ids=VALUES)
def test_a_value_of_the_second_epoch(change: Edit, words: str, run: Path):
    edit(run, change)
    code, out, err = call("verify", run, "--quiet")
    assert (code, err) == (1, "")
    assert out.startswith("differs: epoch 2 of 2: ")
    assert words in out


def test_native_numerics_promise_no_bits(data: Path, tmp_path: Path):
    open_or_skip("torch")
    options = ("--numerics", "native", "--epochs", 2, "--out", tmp_path / "run")
    assert train("--data", data, *options).code == 0
    assert call("verify", tmp_path / "run", "--quiet").code == 0  # the same library repeats itself
    code, out, err = call("verify", tmp_path / "run", "--backend", "torch", "--quiet")
    assert (code, err) == (1, "")
    verdict, remark = out.splitlines()
    assert verdict.startswith("differs: epoch 1 of 2: W1 differs in ")
    assert remark == "native numerics promise no bits; train with --numerics bitwise for that"
