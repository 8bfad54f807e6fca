"""Every choice of a configuration on the command line, and regressions from start to end there."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import Result, call, leftovers, receipt, train, write_data

from backendmlp import Config, load_file, load_sample
from backendmlp.cli import cli
from backendmlp.commands.choices import CHOICES
from backendmlp.commands.telling import ending
from backendmlp.mlp import MLP
from backendmlp.training.records import EpochRecord


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("choices") / "shoes", 300, 100)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features with two real targets, weights and validation data."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(260, 4))
    y = np.stack([x[:, 0] - x[:, 1], np.abs(x[:, 2])], axis=1) + rng.normal(0, 0.1, (260, 2))
    path = tmp_path_factory.mktemp("numbers") / "numbers.npz"
    parts = {"train": slice(0, 160), "test": slice(160, 220), "valid": slice(220, 260)}
    arrays = {
        f"{k}_{part}": a[rows] for part, rows in parts.items() for k, a in (("x", x), ("y", y))
    }
    np.savez(path, **arrays, w_train=rng.uniform(1, 2, 160))
    return path


@pytest.fixture(scope="module")
def run(numbers: Path) -> Path:
    folder = numbers.parent / "run"
    options = ("--loss", "squared_error", "--optimizer", "adam", "--hidden", "16,8", "--lr", 0.05)
    result = train("--data", numbers, *options, "--epochs", 90, "--patience", 2, "--out", folder)
    assert result.code == 0, result.err
    (folder / "said").write_text(result.out)
    return folder


def refused(result: Result) -> str:
    """The one sentence of a mistake."""
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1), result
    return result.err


def test_the_table_has_every_choice():
    assert {choice.name for choice in CHOICES} == {f.name for f in dataclasses.fields(Config)}
    assert len(CHOICES) == len({choice.name for choice in CHOICES})


def test_help_has_sections_with_what_a_newcomer_needs_first():
    code, text, _ = call("train", "--help")
    assert code == 0
    first, *others = text.split("\n\nNetwork and loss:")
    assert len(others) == 1
    for option in ("--data", "--hidden", "--epochs", "--lr", "--optimizer", "--out", "--resume"):
        assert f"  {option} " in first
    for choice in CHOICES:
        assert text.count(f"\n  {choice.flag} ") == 1
    for option in cli.commands["train"].params:
        assert option.help


EVERYTHING = {
    "hidden": ("24,12", [24, 12]),
    "epochs": ("2", 2),
    "batch_size": ("50", 50),
    "lr": ("0.02", 0.02),
    "seed": ("7", 7),
    "activation": ("tanh", "tanh"),
    "label_smoothing": ("0.1", 0.1),
    "optimizer": ("adamw", "adamw"),
    "beta_1": ("0.8", 0.8),
    "beta_2": ("0.99", 0.99),
    "epsilon": ("1e-6", 1e-6),
    "l2": ("0.001", 0.001),
    "weight_decay": ("0.02", 0.02),
    "clip_norm": ("5", 5.0),
    "schedule": ("step", "step"),
    "decay": ("0.5", 0.5),
    "decay_every": ("1", 1),
    "warmup": ("0.5", 0.5),
    "class_weight": ("balanced", "balanced"),
    "validation_split": ("0.1", 0.1),
    "patience": ("3", 3),
    "tol": ("0.001", 0.001),
    "monitor": ("validation-score", "validation_score"),
}


def test_every_choice_reaches_the_receipt(data: Path, tmp_path: Path):
    options = [x for k, (text, _) in EVERYTHING.items() for x in ("--" + k.replace("_", "-"), text)]
    result = train("--data", data, *options, "--out", tmp_path / "a")
    assert result.code == 0, result.err
    config = receipt(tmp_path / "a")["config"]
    assert config == {**Config().as_dict(), **{k: v for k, (_, v) in EVERYTHING.items()}}
    line = result.out.splitlines()[0]
    assert "train loss" in line
    assert line.index("validation loss") < line.index("validation accuracy")
    assert line.index("validation accuracy") < line.index("test loss")
    said = call("info", tmp_path / "a").out
    assert "hidden 24-12, " in said
    assert "784-24-12-10" in said
    assert call("verify", tmp_path / "a", "--quiet").code == 0


@pytest.mark.parametrize("text", ["none", "0", "None"])
def test_no_hidden_layer_is_softmax_regression(text: str, data: Path, tmp_path: Path):
    assert train("--data", data, "--hidden", text, "--epochs", 1, "--out", tmp_path / "a").code == 0
    assert receipt(tmp_path / "a")["config"]["hidden"] == []
    assert "network        784-10, inputs 28 x 28" in call("info", tmp_path / "a").out
    assert "hidden none" in call("info", tmp_path / "a").out


def test_weights_of_classes_by_name(tmp_path: Path):
    options = ("--epochs", 1, "--hidden", 3, "--batch-size", 1000)
    result = train("--class-weight", "Ankle boot=2,Bag=0.5", *options, "--out", tmp_path / "a")
    assert result.code == 0, result.err
    assert receipt(tmp_path / "a")["config"]["class_weight"] == [1.0] * 8 + [0.5, 2.0]
    again = train("--resume", tmp_path / "a", "--class-weight", "Bag=0.5,Ankle boot=2")
    assert "is finished" in again.out
    other = train("--resume", tmp_path / "a", "--class-weight", "Bag=1")
    assert "class_weight was" in refused(other)


MISTAKES = {
    "--hidden 256 128": "several layers with commas: --hidden 256,128",
    "--hidden x": "'x' is no number of units; give one for each hidden layer, as 256,128, or none",
    "--hidden 4,": "'4,' is no number of units",
    "--hidden -3": "hidden is -3; give a whole number from 1",
    "--dropout 0.5": "there is no dropout here",
    "--sample-weight w": "w_train in --data FILE.npz",
    "--solver adam": "Did you mean --optimizer?",
    "--optimiser adam": "Did you mean --optimizer?",
    "--nesterov": "Did you mean --optimizer nesterov?",
    "--alpha 1": "Did you mean --l2?",
    "--weight_decay 1": "Did you mean --weight-decay?",
    "--early-stopping": "Did you mean --patience?",
    "--hidden_layer_sizes 3": "Did you mean --hidden?",
    "--loss mse": "Did you mean 'squared_error'?",
    "--activation sigmoid": "Did you mean 'logistic'?",
    "--activation gelu": "'gelu' is not one of 'relu', 'tanh'",
    "--momentum 0.9": "choose optimizer 'momentum' or 'nesterov'",
    "--decay 0.5": "choose schedule 'step'",
    "--tol 0.1": "without patience nothing is ended early",
    "--patience 0": "patience is 0; give a whole number",
    "--validation-split 1": "validation_split is 1.0; give a number from 0 to below 1",
    "--validation-split 0.00001": "leaves 0 to validate with",
    "--patience 3 --monitor validation_loss": "there are no validation data",
    "--class-weight Coot=1": "'Coot', which is none of the classes T-shirt/top, Trouser",
    "--class-weight 1,2": "class_weight has 2 numbers for 10 classes",
    "--class-weight Bag": "weighs no classes; give balanced, a number for each class",
    "--class-weight Bag=1,Bag=2": "weighs 'Bag' twice",
    "--class-weight Bag=-1": "class_weight of class 8 is -1.0; give a finite number",
    "--loss squared_error --class-weight balanced": "the squared error knows no classes",
    "--loss squared_error --class-weight Bag=2": "the squared error knows no classes",
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.items(), ids=MISTAKES)
def test_mistakes_end_in_one_sentence(
    options: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert words in refused(train(*options.split(" ")))
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_keeps_its_choices(data: Path, tmp_path: Path):
    out = tmp_path / "a"
    options = ("--optimizer", "momentum", "--epochs", 1, "--hidden", 5)
    assert train("--data", data, *options, "--out", out).code == 0
    assert train("--resume", out, "--optimizer", "momentum", "--epochs", 2).code == 0
    # Adam has no use for the run's momentum, and that is not what is to be told.
    assert "optimizer was momentum and is adam" in refused(
        train("--resume", out, "--optimizer", "adam")
    )
    assert "momentum was 0.9 and is 0.5" in refused(train("--resume", out, "--momentum", 0.5))


class TestRegression:
    def test_an_early_end_is_told(self, run: Path, numbers: Path):
        *epochs, end, weights, _ = (run / "said").read_text().splitlines()
        records = receipt(run)["epochs"]
        best = min(records, key=lambda epoch: epoch["validation_loss"])
        assert len(epochs) == len(records) < 90
        last = records[-1]
        assert f"validation R2 {last['validation_r2']:.4f}" in epochs[-1]
        assert f"test R2 {last['test_r2']:.4f}" in epochs[-1]
        assert end == (
            f"ended after epoch {len(records)}: no better validation loss for 3 epochs; the "
            f"weights are those of epoch {best['epoch']}"
        )
        assert weights == f"weights sha256 {best['weights_sha256']}"
        assert leftovers(run) == ["said"]

    def test_evaluate(self, run: Path, numbers: Path):
        code, out, err = call("evaluate", run)
        assert (code, err) == (0, "")
        found = json.loads(call("evaluate", run, "--format", "json").out)
        data = load_file(numbers)
        own = MLP.load(run / "model.safetensors").evaluate(data.test_images, data.test_labels)
        assert (found["test_loss"], found["test_r2"]) == (own.loss, own.r2)
        assert out.splitlines()[0] == (f"test loss {own.loss:.4f}  test R2 {own.r2:.4f}  (60 rows)")
        assert "classes" not in found
        kept = [epoch["predictions_sha256"] for epoch in receipt(run)["epochs"]]
        assert found["predictions_sha256"] in kept

    def test_predict(self, run: Path, numbers: Path, tmp_path: Path):
        data = load_file(numbers)
        expected = MLP.load(run / "model.safetensors").predict(data.test_images)
        names = [f"{numbers}[{row}]" for row in range(60)]
        entries = json.loads(call("predict", run, numbers, "--format", "json").out)
        assert [entry["input"] for entry in entries] == names
        np.testing.assert_array_equal([entry["outputs"] for entry in entries], expected)
        head, *rows = csv.reader(io.StringIO(call("predict", run, numbers, "--format", "csv").out))
        assert head == ["input", "output 0", "output 1"]
        np.testing.assert_array_equal([list(map(float, row[1:])) for row in rows], expected)
        lines = call("predict", run, numbers).out.splitlines()
        assert [line.split()[0] for line in lines] == names
        np.testing.assert_allclose([list(map(float, x.split()[1:])) for x in lines], expected, 1e-5)

    def test_describe(self, run: Path):
        out = call("info", run).out
        assert "network        4-16-8-2, inputs 4\ntargets        real numbers" in out
        assert "test R2        0." in out

    def test_plot(self, run: Path, tmp_path: Path):
        pytest.importorskip("matplotlib")
        assert call("plot", run, "--out", tmp_path).code == 0
        assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "predictions.png"}

    def test_what_is_refused(self, run: Path, numbers: Path, data: Path, tmp_path: Path):
        said = refused(train("--data", numbers, "--out", tmp_path / "a"))
        assert "y_train in" in said
        assert "--loss squared_error" in said
        assert "takes inputs of shape (4,), which picture files cannot give" in refused(
            call("predict", run, data / "t10k-images-idx3-ubyte")
        )
        np.savetxt(tmp_path / "t.csv", np.ones((3, 4)), delimiter=",")
        assert "here of a table of features alone: " in refused(
            call("predict", run, tmp_path / "t.csv")
        )
        np.savez(tmp_path / "b.npz", x=np.ones((3, 5)))
        assert "b.npz has 5 values for each input, and the model takes 4" in refused(
            call("predict", run, tmp_path / "b.npz")
        )

    def test_labels_may_be_targets(self, data: Path, tmp_path: Path):
        options = ("--loss", "squared_error", "--lr", 0.01, "--epochs", 1, "--hidden", 4)
        assert train("--data", data, *options, "--out", tmp_path / "a").code == 0
        assert "test_r2" in receipt(tmp_path / "a")["epochs"][0]

    def test_classes_with_names_are_no_targets(self, data: Path, tmp_path: Path):
        x, y = np.ones((20, 3)) * np.arange(20)[:, None], np.array(["cat", "dog"] * 10)
        np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        for source in (("--data", tmp_path / "a.npz"), ("--dataset", "fashion-mnist-sample")):
            options = ("--loss", "squared_error", "--out", tmp_path / "run")
            said = refused(train(*source, *options))
            assert "names classes, as" in said
            assert "choose --loss cross_entropy to tell classes apart" in said
            assert not (tmp_path / "run").exists()

    def test_targets_and_features_of_another_size_are_warned_of(self, tmp_path: Path):
        rng = np.random.default_rng(1)
        x, y = rng.uniform(0, 255, (20, 3)), rng.normal(size=20) * 1000
        np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        options = ("--loss", "squared_error", "--lr", 1e-9, "--epochs", 1)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            result = train("--data", tmp_path / "a.npz", *options, "--out", tmp_path / "run")
        assert result.code == 0
        assert "Warning: the inputs are floats from" in result.err
        assert "Warning: the targets go from" in result.err


def test_predict_of_pictures_in_an_archive(data: Path, tmp_path: Path):
    out = tmp_path / "a"
    assert train("--data", data, "--epochs", 1, "--out", out).code == 0
    images = load_sample().test_images[:3]
    np.savez(tmp_path / "b.npz", x=images)
    both = call(
        "predict", out, tmp_path / "b.npz", data / "t10k-images-idx3-ubyte", "--format", "csv"
    )
    rows = list(csv.reader(io.StringIO(both.out)))
    assert len(rows) == 1 + 3 + 100
    assert [row[1:] for row in rows[1:4]] == [row[1:] for row in rows[4:7]]


def records(*losses: float) -> list[EpochRecord]:
    rest: dict[str, Any] = {"seconds": 1.0, "weights_sha256": "", "tensors_sha256": {}}
    none: dict[str, Any] = {"test_loss": None, "test_accuracy": None, "predictions_sha256": None}
    return [
        EpochRecord(n, loss, **rest, **none, validation_loss=loss, validation_accuracy=1 - loss)
        for n, loss in enumerate(losses, 1)
    ]


def test_endings_in_words():
    found = records(0.5, 0.3, 0.4, 0.35)
    assert ending(Config(), found) is None
    assert ending(Config(patience=1), []) is None
    assert ending(Config(patience=1), found) == (
        "ended after epoch 4: no better validation loss for 2 epochs; the weights are those of "
        "epoch 2"
    )
    assert ending(Config(patience=1, monitor="train_loss"), found) == (
        "ended after epoch 4: no better training loss for 2 epochs"
    )
    assert ending(Config(patience=5, monitor="validation_score"), found) == (
        "the weights are those of epoch 2, which has the best validation score"
    )
    assert ending(Config(patience=5, monitor="train_loss"), found) is None
