"""Trainings that cannot succeed any more: told once, in a sentence, and no bit is changed by it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import receipt, train, write_data

from backendmlp import MLP, Config, backend
from backendmlp.network.initial import initial
from backendmlp.steps.stepper import Rows
from backendmlp.training.epochs import nothing
from backendmlp.training.epochs import train as epochs_of
from backendmlp.training.lost import dead
from backendmlp.training.trainer import Start, Trainer


def trainer(
    small: dict[str, Any], epochs: int = 3, b1: float | np.ndarray = 0.0, **choices: Any
) -> Trainer:
    """A training on ``small``, its hidden units' biases all begun at ``b1``."""
    start = dict(initial((784, 20, 10), "relu", 1))
    start["b1"] = np.full(20, b1)
    config = Config(20, epochs=epochs, seed=1, **choices)
    rows = Rows(small["images"], small["labels"].astype(np.int64))
    return Trainer(backend.select("numpy"), config, Start(start), rows)


def test_a_loss_that_rises_far_above_guessing_is_told_once(small: dict[str, Any]):
    told: list[str] = []
    list(epochs_of(trainer(small, 5, lr=100.0, batch_size=8), warn=told.append))
    assert len(told) == 1
    assert "guessing has one of 2.3;" in told[0]
    assert "lower the learning rate (now 100)" in told[0]


def test_one_that_ends_there_is_lost(small: dict[str, Any]):
    told: list[str] = []
    list(epochs_of(trainer(small, 1, lr=100.0), warn=told.append))
    assert len(told) == 1
    assert told[0].startswith("the training is lost: it ends with a loss of ")


def test_dead_hidden_units_are_told(small: dict[str, Any]):
    told: list[str] = []
    records = list(epochs_of(trainer(small, b1=-1e4), warn=told.append))
    assert len(told) == 1
    assert "after epoch 1 all units of a hidden layer are zero" in told[0]
    assert all(record.train_loss > 2 for record in records)


def test_units_that_momentum_may_wake_are_watched_for_an_epoch_more(small: dict[str, Any]):
    told: list[str] = []
    list(epochs_of(trainer(small, b1=-1e4, optimizer="momentum"), warn=told.append))
    assert len(told) == 1
    assert "after epoch 2 all units" in told[0]


def test_one_living_unit_is_enough(small: dict[str, Any]):
    b1 = np.full(20, -1e4)
    assert dead(trainer(small, b1=b1))
    b1[7] = 0.0
    assert not dead(trainer(small, b1=b1))


def test_one_living_input_is_enough_wherever_it_is():
    """The first thousand rows are not all of them."""
    images = np.zeros((1500, 784), np.uint8)
    images[1] = 1
    rows = {"images": images, "labels": np.arange(1500) % 10}
    assert dead(trainer(rows, b1=-1.0))
    images[1400] = 255
    assert not dead(trainer(rows, b1=-1.0))


def test_images_that_are_all_the_same_kill_nothing(small: dict[str, Any]):
    black = {**small, "images": np.zeros_like(small["images"])}
    assert not dead(trainer(black, b1=-1.0))


def test_a_training_that_succeeds_hears_nothing(small: dict[str, Any]):
    list(epochs_of(trainer(small, lr=0.1), warn=pytest.fail))


@pytest.mark.parametrize(("scale", "lr"), [(1.0, 0.1), (10.0, 0.01)])
def test_nor_does_one_whose_first_steps_are_wild(scale: float, lr: float):
    """Flowers of Fisher's kind, in centimetres and millimetres: a first loss of 20 and more."""
    rng = np.random.default_rng(0)
    centres = [[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]]
    labels = np.arange(150) % 3
    x = np.round(np.array(centres)[labels] + rng.normal(size=(150, 4)) * 0.3, 1) * scale
    mlp = MLP(epochs=60, lr=lr)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        mlp.fit(x, labels)
    assert mlp.history[0].train_loss > 10 * np.log(3)
    assert mlp.score(x, labels) > 0.9
    assert [str(w.message) for w in told if "training is lost" in str(w.message)] == []


def test_nor_does_a_regression_of_one_value():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = np.random.default_rng(0).normal(size=(50, 3))
        MLP(4, epochs=2, loss="squared_error").fit(x, np.full(50, 7.0))


@pytest.mark.parametrize("choices", [{"lr": 100.0}, {"b1": -1e4}], ids=["high", "dead"])
def test_a_warning_changes_no_bit(small: dict[str, Any], choices: dict[str, Any]):
    told: list[str] = []
    one, two = (
        [record.weights_sha256 for record in epochs_of(trainer(small, **choices), warn=warn)]
        for warn in (told.append, nothing)
    )
    assert told
    assert one == two


def test_python_warns_where_it_was_called(small: dict[str, Any]):
    with pytest.warns(UserWarning, match="the training is lost"):
        MLP(20, epochs=1, lr=100.0).fit(small["images"], small["labels"])


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_the_command_line_says_it_in_one_line(quiet: tuple[str, ...], tmp_path: Path):
    data = write_data(tmp_path / "data", train=200, test=50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = train("--data", data, "--lr", 100, "--epochs", 2, "--out", tmp_path / "a", *quiet)
    assert result.code == 0
    assert result.err.startswith("Warning: the training ")
    assert "lower the learning rate (now 100)" in result.err
    assert result.err.count("\n") == 1
    assert len(receipt(tmp_path / "a")["epochs"]) == 2
