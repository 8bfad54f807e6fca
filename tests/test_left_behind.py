"""What runs leave in folders, and what is said where it was altered, lost, or is not theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commandline import DIGEST, call, one_thread, receipt, train, write_data

from backendmlp import Config, InputError, train_run, verify
from backendmlp.data import load_folder
from backendmlp.runs.modelfile import load_model, save_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("left") / "data")


@pytest.fixture(scope="module")
def finished(data: Path) -> Path:
    folder = data.parent / "finished"
    assert train("--data", data, "--epochs", 2, "--out", folder, "--quiet").code == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def spoil(path: Path) -> None:
    """Flip the last bit of a weight."""
    parameters, metadata = load_model(path)
    parameters["W1"].view("<u8")[0, 0] ^= 1
    save_model(path, parameters, metadata)


def edit(folder: Path, **choices: object) -> None:
    found = receipt(folder)
    found["config"].update(choices)
    (folder / "run.json").write_text(json.dumps(found))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_verdict_is_true_where_all_agrees(run: Path):
    with one_thread():
        assert verify(run)
        spoil(run / "model.safetensors")
        assert not verify(run)


@pytest.mark.parametrize("name", ["model.safetensors", "final.safetensors", "epochs"])
def test_nobody_elses_files_are_written_over(name: str, data: Path, tmp_path: Path):
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    code, _, err = train("--data", data, "--epochs", 1, "--out", tmp_path)
    assert code == 2
    assert f"holds {name} already, which this run would write over" in err
    with pytest.raises(InputError, match="write over"):
        train_run(tmp_path, load_folder(data), Config(epochs=1))
    assert contents(tmp_path) == before


def test_no_epochs_of_another_run_stay_beside_new_ones(run: Path, data: Path):
    (run / "run.json").unlink()
    before = contents(run)
    err = train("--data", data, "--epochs", 1, "--out", run).err
    assert "holds model.safetensors and epochs already" in err
    assert contents(run) == before


def test_an_empty_folder_for_epochs_will_do(data: Path, tmp_path: Path):
    (tmp_path / "epochs").mkdir()
    assert train("--data", data, "--epochs", 1, "--out", tmp_path).code == 0


class TestFilesThatDoNotAgree:
    def test_a_model_with_another_bit(self, run: Path):
        spoil(run / "model.safetensors")
        picture = Path(__file__).parent / "nowhere.png"
        for arguments in (
            ("train", "--resume", run),
            ("train", "--resume", run, "--epochs", 3),
            ("evaluate", run),
            ("predict", run, picture),
            ("export", run, "--to", "onnx"),
        ):
            code, out, err = call(*arguments)
            assert (code, out) == (2, "")
            assert "model.safetensors is not what the receipt ends with: W1 differs" in err
            assert "delete model.safetensors to have it made again" in err
        code, _, err = call("info", run)
        assert code == 0
        assert "W1 differs" in err
        assert call("verify", run / "run.json", "--quiet").code == 1
        assert call("evaluate", run / "model.safetensors", "--data", receipt(run)["data"]["path"])

    def test_a_model_that_is_missing_is_made_again(self, run: Path):
        model = (run / "model.safetensors").read_bytes()
        (run / "model.safetensors").unlink()
        code, out, err = call("verify", run, "--quiet")
        assert (code, err) == (1, "")
        assert "model.safetensors is missing" in out
        code, out, err = train("--resume", run)
        assert (code, err) == (0, "")
        assert "there is no model.safetensors; it is written again" in out
        assert (run / "model.safetensors").read_bytes() == model
        assert call("verify", run, "--quiet").code == 0

    def test_a_receipt_with_another_rate(self, run: Path):
        edit(run, lr=0.2)
        for arguments in (("train", "--resume", run, "--epochs", 3), ("evaluate", run)):
            code, _, err = call(*arguments)
            assert code == 2
            assert "has another configuration than the receipt" in err

    def test_a_receipt_with_another_rate_beside_where_the_optimiser_stood(
        self, data: Path, tmp_path: Path
    ):
        options = "--optimizer", "adam", "--batch-size", 500, "--epochs", 1, "--out", tmp_path
        assert train("--data", data, *options).code == 0
        edit(tmp_path, lr=0.2)
        (tmp_path / "model.safetensors").unlink()
        code, _, err = train("--resume", tmp_path, "--epochs", 2)
        assert code == 2
        assert "final.safetensors has another configuration than the receipt" in err


class TestCheckpoints:
    def test_one_that_is_cut_short_can_be_done_without(self, data: Path, tmp_path: Path):
        with one_thread():
            told: list[object] = []
            train_run(
                tmp_path,
                load_folder(data),
                Config(epochs=2),
                on_epoch=told.append,
                should_stop=lambda: bool(told),
            )
        path = tmp_path / "checkpoint.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        code, _, err = train("--resume", tmp_path)
        assert code == 2
        assert "or delete it, and the run goes on after epoch 1" in err
        path.unlink()
        code, out, _ = train("--resume", tmp_path)
        assert code == 0
        assert DIGEST in out

    def test_a_run_that_was_killed(self, run: Path, data: Path, tmp_path: Path):
        with one_thread():
            train_run(tmp_path / "b", load_folder(data), Config(), should_stop=lambda: True)
        for name in ("run.json", "model.safetensors"):
            (tmp_path / "b" / name).unlink()
        for command in ("evaluate", "verify", "plot"):
            code, _, err = call(command, tmp_path / "b")
            assert code == 2
            assert "was killed before its end" in err
            assert "go on with it by --resume" in err
        code, out, _ = call("info", tmp_path / "b")
        assert code == 0
        assert "epochs         0 of 10" in out


def test_a_network_kept_of_an_epoch_says_of_which(run: Path):
    assert "after epoch    1 of 2" in call("info", run / "epochs" / "0001.safetensors").out
