"""Trainings in a folder, from Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commandline import DIGEST, call, one_thread, receipt, write_data

import backendmlp
from backendmlp import Config, InputError, resume_run, train_run
from backendmlp.data import Dataset, load_folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_folder(write_data(tmp_path_factory.mktemp("runs") / "data"))


def test_trained_stopped_resumed_and_verified(data: Dataset, tmp_path: Path):
    folder, told, gone = tmp_path / "new" / "run", [], []
    with one_thread():
        run = train_run(
            folder,
            data,
            Config(epochs=2),
            keep_epochs=False,
            on_epoch=lambda epoch: told.append(epoch.epoch),
            on_progress=gone.append,
            should_stop=lambda: bool(told),
        )
        assert (run.finished, told, sum(gone), len(run.epochs)) == (False, [1], 1000, 1)
        assert receipt(folder)["data"]["path"] == data.source
        run = resume_run(folder, keep_epochs=False)
        assert (run.finished, run.weights_sha256) == (True, DIGEST)
        assert backendmlp.verify(folder).verified
        assert call("verify", folder).code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "run.json"]


def test_a_finished_run_is_given_back_and_trained_on(data: Dataset, tmp_path: Path):
    with one_thread():
        train_run(tmp_path, data, Config(epochs=1))
        before = (tmp_path / "run.json").read_bytes()
        assert resume_run(tmp_path, data).finished
        assert (tmp_path / "run.json").read_bytes() == before
        assert resume_run(tmp_path, data, epochs=2).weights_sha256 == DIGEST


def test_data_made_in_memory_are_given_again(data: Dataset, tmp_path: Path):
    own = Dataset("mine", "made here", *(array.copy() for array in data.arrays))
    with one_thread():
        train_run(tmp_path, own, Config(epochs=1))
        with pytest.raises(InputError, match="the run's data, 'mine' when it was made, cannot be"):
            backendmlp.verify(tmp_path)
        with pytest.raises(InputError, match="'mine' when it was made, cannot be"):
            resume_run(tmp_path, epochs=2)
        assert backendmlp.verify(tmp_path, own).verified


def test_folders_that_will_not_do(data: Dataset, tmp_path: Path):
    with pytest.raises(InputError, match="there is no folder"):
        resume_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is empty: it holds no run"):
        resume_run(tmp_path)
    with pytest.raises(InputError, match="checkpoint_seconds is 0"):
        train_run(tmp_path / "a", data, checkpoint_seconds=0)
    with one_thread():
        train_run(tmp_path / "a", data, Config(epochs=1))
    with pytest.raises(InputError, match="holds a run already"):
        train_run(tmp_path / "a", data)
    assert not (tmp_path / "nowhere").exists()


def test_the_digest_of_any_arrays(data: Dataset, tmp_path: Path):
    arrays = {"b": np.arange(3), "a": np.ones((2, 1), np.float32)}
    assert backendmlp.digest(arrays) == backendmlp.digest(dict(sorted(arrays.items())))
    assert backendmlp.digest(arrays) != backendmlp.digest({**arrays, "b": np.arange(1, 4)})


def test_what_is_no_data_set(data: Dataset, tmp_path: Path):
    features = np.zeros((20, 28, 28)), np.arange(20) % 2
    with one_thread():
        train_run(tmp_path / "run", data, Config(epochs=1))
    for call_with in (
        lambda: train_run(tmp_path / "a", features),
        lambda: resume_run(tmp_path / "run", features),
        lambda: backendmlp.verify(tmp_path / "run", features),
    ):
        with pytest.raises(InputError, match=r"dataset is tuple; give a backendmlp\.Dataset"):
            call_with()
    with pytest.raises(InputError, match=r"config is dict; give a backendmlp\.Config"):
        train_run(tmp_path / "a", data, {"epochs": 1})
    assert not (tmp_path / "a").exists()
