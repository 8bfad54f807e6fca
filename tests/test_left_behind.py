"""What runs leave in folders, and what is said where it was altered, lost, or is somebody else's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commandline import DIGEST, call, one_thread, receipt, train, write_data

import backendmlp
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
