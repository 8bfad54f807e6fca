"""What runs leave in folders, and what is said where it was altered, lost, or is not theirs."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commandline import DIGEST, call, one_thread, receipt, train, write_data

from backendmlp import (
    Config,
    Dataset,
    DataWarning,
    InputError,
    files,
    resume_run,
    train_run,
    verify,
)
from backendmlp.data import load_folder, load_named
from backendmlp.data.catalogue import CATALOGUE, Entry
from backendmlp.data.dataset import FILES
from backendmlp.data.download import RemoteFile
from backendmlp.runs import run as runs
from backendmlp.runs.modelfile import load_model, save_model
from backendmlp.runs.stored import kept_numbers


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

    def test_a_damaged_receipt_is_no_dead_end(self, run: Path):
        path = receipt(run)["data"]["path"]
        whole = (run / "run.json").read_text()
        for damaged in (whole[:-20], "", "[]", whole.replace('"epochs": 2', '"epochs": -2')):
            (run / "run.json").write_text(damaged)
            for arguments in (
                ("train", "--resume", run),
                ("train", "--resume", run, "--epochs", 3),
                ("evaluate", run),
                ("export", run, "--to", "onnx"),
            ):
                code, out, err = call(*arguments)
                assert (code, out) == (2, "")
                assert "put an undamaged copy back, or use" in err
                assert ("train anew with another --out" in err) == (arguments[0] == "train")
        model = run / "model.safetensors"
        assert call("evaluate", model, "--data", path).code == 0

    def test_one_of_a_newer_version_stays(self, run: Path):
        (run / "run.json").write_text(json.dumps({**receipt(run), "format": 99}))
        err = call("train", "--resume", run).err
        assert "written by a newer backendmlp (format 99); update yours" in err
        assert "undamaged copy" not in err

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


class TestData:
    def test_a_named_set_is_found_where_it_was(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        found = load_folder(data)
        files = tuple(map(RemoteFile, FILES, (0,) * 4, found.file_sha256))
        names = tuple("abcdefghij")
        monkeypatch.setitem(CATALOGUE, "letters", Entry(files, (), names))
        monkeypatch.setenv("BACKENDMLP_DATA", str(data))
        options = "--dataset", "letters", "--epochs", 1, "--out", tmp_path / "run"
        assert train(*options).code == 0
        with one_thread():
            train_run(tmp_path / "python", load_named("letters"), Config(epochs=1))
        monkeypatch.delenv("BACKENDMLP_DATA")
        monkeypatch.setenv("BACKENDMLP_MIRROR", "http://localhost:1/")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for folder in (tmp_path / "run", tmp_path / "python"):
            assert receipt(folder)["data"]["found"] == str(data)
            assert call("evaluate", folder).code == 0
            assert call("verify", folder).code == 0
            assert load_model(folder / "model.safetensors")[1]["class_names"] == list(names)
        assert train("--resume", tmp_path / "python", "--epochs", 2).code == 0
        assert load_model(tmp_path / "python" / "model.safetensors")[1]["class_names"] == [*names]

    def test_a_model_on_other_data_than_its_own(self, run: Path, tmp_path: Path):
        other = write_data(tmp_path / "other", 900)
        words = f"other data than it was trained on: data, sha256 {receipt(run)['data']['sha256']}"
        assert words not in call("evaluate", run).out
        assert words in call("evaluate", run, "--data", other).out
        assert words in call("evaluate", run / "model.safetensors", "--data", other).out


class TestEpochs:
    def test_evenly_spread_and_always_the_last(self):
        assert kept_numbers(4, 4) == {1, 2, 3, 4}
        assert kept_numbers(5, 4) == {1, 3, 5}
        assert kept_numbers(6, 4) == {1, 3, 5, 6}
        assert kept_numbers(100, 4, best=50) == {1, 65, 50, 100}
        assert kept_numbers(7, 1, best=3) == {3, 7}
        for room in (2, 5, 9):
            there: set[int] = set()
            for number in range(1, 200):
                wanted = kept_numbers(number, room)
                assert wanted <= there | {number}
                assert len(wanted) <= room
                there = wanted

    def test_a_long_run_keeps_its_last_epochs(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(runs, "_KEPT_BYTES", 79510 * 8 * 3)
        options = "--data", data, "--batch-size", 500, "--epochs", 6, "--out", tmp_path
        assert train(*options).code == 0
        assert sorted(path.name[:4] for path in (tmp_path / "epochs").iterdir()) == [
            *("0001", "0005", "0006")
        ]


def test_mistakes_with_data_are_told_from_python_too(data: Path, tmp_path: Path):
    found = load_folder(data)
    arrays = [array.copy() for array in found.arrays]
    for labels in arrays[1::2]:
        labels[labels == 0] = 1
    own = Dataset("mine", "made here", *arrays)
    with one_thread():
        with pytest.warns(DataWarning, match="the training labels start at 1"):
            train_run(tmp_path, own, Config(epochs=1, batch_size=500))
        resume_run(tmp_path, own, epochs=2)


class TestOtherFiles:
    def test_each_is_told_from_the_others(self, run: Path):
        for command in ("verify", "plot"):
            err = call(command, run / "model.safetensors").err
            assert "is a file of weights and no receipt; give the run.json of its run" in err
        assert "is JSON, a receipt perhaps" in call("evaluate", run / "run.json").err
        assert "is JSON, a receipt perhaps" in call("predict", run / "run.json", "x.png").err

    def test_data_files_that_are_not_there(self, tmp_path: Path):
        err = train("--data", tmp_path / "nope.npz").err
        assert "nope.npz: no such file" in err

    def test_pickled_labels(self, tmp_path: Path):
        names = np.array(["a", "b"], object)
        x = np.zeros((2, 3))
        np.savez(tmp_path / "a.npz", x_train=x, y_train=names, x_test=x, y_test=names)
        err = train("--data", tmp_path / "a.npz").err
        assert "again with .astype(str) for the names of classes, or .astype('int64')" in err


class TestWords:
    @pytest.mark.parametrize("option", ["-lr", "--learningrate"])
    def test_a_rate_spelled_otherwise(self, option: str):
        assert call("train", option, "0.1").err == (
            f"Error: No such option {option!r}. Did you mean --lr?\n"
        )
        assert call("train", "-z").err == "Error: No such option '-z'.\n"

    def test_no_name_is_no_folder(self, data: Path):
        with pytest.raises(InputError, match="folder is ''"):
            train_run("", load_folder(data))
        with pytest.raises(InputError, match="folder is ''"):
            resume_run("")

    def test_a_finished_run_where_nothing_can_be_written(
        self, run: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def refuse(*_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(files, "_write_through", refuse)
        assert "is finished" in train("--resume", run).out
        code, _, err = train("--resume", run, "--epochs", 3)
        assert code == 2
        assert "the file system is read-only" in err


class TestTheWrongFileOrFolder:
    def test_an_archive_is_no_model_and_no_receipt(self, tmp_path: Path):
        np.savez(tmp_path / "d.npz", x=np.ones(3))
        for command in ("evaluate", "info"):
            assert "is an archive, of data perhaps, and no" in call(command, tmp_path / "d.npz").err
        for command in ("verify", "plot"):
            assert "data perhaps, and no receipt" in call(command, tmp_path / "d.npz").err
        (tmp_path / "m.onnx").write_bytes(b"\x08\x08\x12\nbackendmlp")
        assert "is not backendmlp's, or damaged" in call("info", tmp_path / "m.onnx").err

    def test_a_file_to_go_on_with(self, run: Path):
        said = call("train", "--resume", run / "run.json").err
        assert "is a file; give the folder of the run" in said

    def test_the_folder_of_several_runs(self, run: Path):
        for arguments in (
            ("train", "--resume"), ("evaluate",), ("verify",), ("info",), ("plot",),
        ):  # fmt: skip
            code, out, err = call(*arguments, run.parent)
            assert (code, out) == (2, "")
            assert err.endswith(f", as {str(run)!r}\n")

    def test_a_sweep_in_the_folder_of_a_run(self, run: Path, data: Path):
        before = contents(run)
        code, _, err = call("sweep", "--data", data, "--lr", 0.1, "--epochs", 1, "--out", run)
        assert code == 2
        assert "holds a run; choose another --out for the runs of a sweep" in err
        assert contents(run) == before

    def test_options_in_the_wrong_place_or_form(self, data: Path, tmp_path: Path):
        assert "follow a command" in call("--data", data).err
        assert "data go with --data or --dataset" in call("train", "mnist").err
        assert "--hidden" not in call("evaluate", "a", "b").err
        said = call("sweep", "--lr", "0.1,0.05", "--out", tmp_path / "s").err
        assert said.endswith("Give the option again for each value, as --lr 0.1 --lr 0.05.\n")
        assert call("train", "--lr", "0.1,0.05").err.endswith("is not a valid float.\n")
