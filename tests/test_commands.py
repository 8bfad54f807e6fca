"""What a user asks of a finished run, and how it is answered: data, descriptions, encodings."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from commandline import DIGEST, call, one_thread, receipt, train, write_data

from backendmlp import MLP, InputError, resume_run, verify
from backendmlp.cli import main
from backendmlp.data import load_folder
from backendmlp.runs.modelfile import load_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("commands") / "shoes")


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    folder = data.parent / "run"
    assert train("--data", data, "--epochs", 2, "--out", folder).code == 0
    return folder


class TestEvaluate:
    def test_a_run_is_scored_on_its_own_data(self, data: Path, run: Path):
        assert call("evaluate", run) == call("evaluate", run, "--data", data)
        assert f"data shoes, {data}" in call("evaluate", run).out.splitlines()

    def test_json_reads_back_exactly(self, data: Path, run: Path):
        found = json.loads(call("evaluate", run, "--format", "json").out)
        last = receipt(run)["epochs"][-1]
        for name in ("test_loss", "test_accuracy", "predictions_sha256"):
            assert found[name] == last[name]
        whole = load_folder(data)
        assert found["data"] == {"name": "shoes", "source": str(data), "sha256": whole.sha256}
        assert found["images"] == sum(entry["images"] for entry in found["classes"]) == 200
        right = sum(entry["accuracy"] * entry["images"] for entry in found["classes"])
        assert right == pytest.approx(200 * last["test_accuracy"])

    def test_a_model_file_knows_the_name_alone(self, data: Path, run: Path, tmp_path: Path):
        code, _, err = call("evaluate", run / "model.safetensors")
        assert code == 2
        assert "'shoes'" in err
        assert "--data" in err
        moved = write_data(tmp_path / "elsewhere" / "shoes")
        out = train("--data", moved, "--epochs", 2, "--out", tmp_path / "run", "--quiet")
        assert out.code == 0
        one, two = (folder / "model.safetensors" for folder in (run, tmp_path / "run"))
        assert one.read_bytes() == two.read_bytes()  # wherever the data lie

    def test_the_sample_is_found_by_its_name(self, run: Path, tmp_path: Path):
        assert train("--epochs", 1, "--batch-size", 1000, "--out", tmp_path).code == 0
        for path in (tmp_path, tmp_path / "model.safetensors"):
            result = call("evaluate", path)
            assert "data fashion-mnist-sample, shipped with backendmlp" in result.out

    def test_data_that_are_gone_or_changed(self, run: Path, tmp_path: Path):
        folder = shutil.copytree(run, tmp_path / "run")
        found = receipt(folder)
        found["data"]["path"] = str(tmp_path / "gone")
        (folder / "run.json").write_text(json.dumps(found))
        assert "name them with --data" in call("evaluate", folder).err
        write_data(tmp_path / "gone", test=100)
        assert "have changed" in call("evaluate", folder).err

    def test_a_model_that_names_no_data(self, data: Path, tmp_path: Path):
        whole = load_folder(data)
        mlp = MLP(epochs=1, batch_size=500).fit(whole.train_images, whole.train_labels)
        mlp.save(tmp_path / "m.safetensors")
        result = call("evaluate", tmp_path / "m.safetensors")
        assert (result.code, result.out) == (2, "")
        assert "does not say which data" in result.err
        assert call("evaluate", tmp_path / "m.safetensors", "--data", data).code == 0

    @pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
    @pytest.mark.parametrize(("shape", "counted_as"), [((4,), "rows"), ((2, 2), "images")])
    def test_features_are_rows(self, tmp_path: Path, loss: str, shape: tuple, counted_as: str):
        x, y = np.random.default_rng(1).normal(size=(60, *shape)), np.arange(60) % 3
        file, out = tmp_path / "f.npz", tmp_path / "run"
        np.savez(file, x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
        options = "--hidden", 3, "--epochs", 1, "--loss", loss, "--out", out, "--quiet"
        assert train("--data", file, *options).code == 0
        assert f"(20 {counted_as})" in call("evaluate", out).out
        found = json.loads(call("evaluate", out, "--format", "json").out)
        assert found[counted_as] == 20
        for entry in found.get("classes", ()):
            assert list(entry) == ["class", "accuracy", counted_as]
        assert ({"rows", "images"} & set(found)) == {counted_as}


class TestInfo:
    def test_of_a_folder(self, data: Path, run: Path):
        code, out, err = call("info", run)
        assert (code, err) == (0, "")
        assert out.count(f"weights sha256 {DIGEST}") == 2  # the receipt's and the model's
        whole = load_folder(data).sha256
        assert f"data           shoes, {data}, sha256 {whole}" in out
        assert f"data           shoes, sha256 {whole}" in out
        assert "network        784-100-10, inputs 28 x 28" in out
        assert "hidden 100, epochs 2, batch_size 64, lr 0.1, seed 100, numerics bitwise" in out
        assert "epochs         2 of 2" in out
        parts = [call("info", run / name).out for name in ("run.json", "model.safetensors")]
        assert "".join(parts) == out

    def test_of_a_model_of_features(self, tmp_path: Path):
        x = np.random.default_rng(1).normal(size=(50, 3))
        mlp = MLP(4, epochs=1).fit(x, x[:, 0] > 0, class_names=("no", "yes"))
        mlp.save(tmp_path / "m.safetensors")
        out = call("info", tmp_path / "m.safetensors").out
        assert f"weights sha256 {mlp.history[-1].weights_sha256}" in out
        assert "classes        no, yes" in out
        assert "definition     2" in out
        assert "data           unknown" in out

    @pytest.mark.parametrize("name", ["nothing", "empty", "text.json", "text.safetensors"])
    def test_of_what_is_none(self, name: str, tmp_path: Path):
        (tmp_path / "empty").mkdir()
        for file in ("text.json", "text.safetensors"):
            (tmp_path / file).write_text("weights: 3")
        result = call("info", tmp_path / name)
        assert (result.code, result.out) == (2, "")
        assert name in result.err
        assert result.err.count("\n") == 1

    def test_what_a_file_says_cannot_move_the_cursor(self, run: Path, tmp_path: Path):
        value = receipt(run)
        value["device"] = value["data"]["name"] = "\x1b[2J"
        (tmp_path / "run.json").write_text(json.dumps(value))
        assert "\x1b" not in call("info", tmp_path).out


class TestEncodings:
    """A terminal that knows ASCII alone, and paths that are not even Unicode."""

    def printed(self, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2)]
        with monkeypatch.context() as patch, one_thread():
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            with pytest.raises(SystemExit) as end:
                main([str(argument) for argument in arguments])
        out, err = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
        return int(end.value.code or 0), out + err

    @pytest.mark.skipif(sys.platform != "linux", reason="paths are Unicode elsewhere")
    @pytest.mark.parametrize("name", [b"\xc3\xbc", b"\xff"])
    def test_every_command(self, name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        odd = tmp_path / os.fsdecode(name)
        whole = write_data(odd)
        out, images = odd / "run", odd / "t10k-images-idx3-ubyte"
        shown = str(tmp_path) + "/" + ("\\xfc" if name == b"\xc3\xbc" else "\\udcff")
        for arguments in (
            ("train", "--data", whole, "--epochs", 1, "--out", out),
            ("train", "--resume", out),
            ("evaluate", out),
            ("evaluate", out, "--format", "json"),
            ("info", out),
            ("verify", out),
            ("predict", out, images),
            ("predict", out, images, "--format", "csv"),
            ("predict", out, images, "--format", "json"),
        ):
            code, text = self.printed(monkeypatch, *arguments)
            assert code == 0, text
            if arguments[0] != "verify" and "json" not in arguments:
                assert shown in text
        code, text = self.printed(monkeypatch, "evaluate", odd / "nothing")
        assert code == 2
        assert "Error: " in text
        with one_thread():
            assert verify(out).verified
            assert len(resume_run(out, epochs=2).epochs) == 2
        assert load_model(out / "model.safetensors")[1]["data"]["path"] is None


class TestWords:
    @pytest.mark.parametrize(
        ("option", "meant"),
        [
            ("--learning-rate", "--lr"),
            ("--learning_rate", "--lr"),
            ("--batchsize", "--batch-size"),
            ("--out-dir", "--out"),
            ("--hidden-units", "--hidden"),
            ("--epoch", "--epochs"),
        ],
    )
    def test_other_names_lead_to_ours(self, option: str, meant: str):
        code, out, err = call("train", option, "1")
        assert (code, out) == (2, "")
        assert option in err
        assert f"Did you mean {meant}?" in err

    def test_no_name_of_another_command(self):
        assert "--lr" not in call("verify", "--learning-rate", "1").err

    def test_a_device_that_is_no_cuda_device(self):
        pytest.importorskip("torch")
        err = call("train", "--backend", "torch", "--device", "mps").err
        assert "'mps' is not for backend 'torch'" in err
        assert "'cpu'" in err

    def test_warnings_are_one_line(
        self, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ):
        def warning(path: Path) -> None:
            warnings.warn("files of another set", UserWarning, stacklevel=1)

        monkeypatch.setattr("backendmlp.commands.info.describe", warning)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert call("info", run) == (0, "", "Warning: files of another set\n")


class TestDefinition:
    def test_receipts_and_checkpoints_carry_it(self, run: Path):
        assert receipt(run)["definition"] == 1

    @pytest.mark.parametrize("number", [2, 999])
    def test_another_one_is_named(self, number: int, run: Path, tmp_path: Path):
        folder = shutil.copytree(run, tmp_path / "run")
        value = receipt(folder)
        value["definition"] = number
        (folder / "run.json").write_text(json.dumps(value))
        for arguments in (("verify", folder), ("train", "--resume", folder, "--epochs", 3)):
            code, out, err = call(*arguments)
            assert (code, out) == (2, "")
            assert f"definition {number}" in err
            assert "computes definition 1" in err

    def test_none_is_the_first(self, run: Path, tmp_path: Path):
        value = receipt(run)
        del value["definition"]
        (tmp_path / "run.json").write_text(json.dumps(value))
        assert call("verify", tmp_path / "run.json").code == 0

    @pytest.mark.parametrize("number", [0, -1, 1.0, True, "1", None, 1000])
    def test_what_is_no_number(self, number: object, run: Path, tmp_path: Path):
        value = receipt(run)
        value["definition"] = number
        (tmp_path / "run.json").write_text(json.dumps(value))
        with pytest.raises(InputError, match="definition"):
            verify(tmp_path / "run.json")
