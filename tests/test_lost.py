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
from backendmlp.training.epochs import lost, nothing
from backendmlp.training.epochs import train as epochs_of
from backendmlp.training.trainer import Start, Trainer


def trainer(small: dict[str, Any], epochs: int = 3, b1: float = 0.0, **choices: Any) -> Trainer:
    """A training on ``small``, its hidden units' biases all begun at ``b1``."""
    start = initial((784, 20, 10), "relu", 1)
    start["b1"] = np.full(20, b1)
    config = Config(20, epochs=epochs, seed=1, **choices)
    rows = Rows(small["images"], small["labels"].astype(np.int64))
    return Trainer(backend.select("numpy"), config, Start(start), rows)


def test_a_loss_far_above_guessing_is_told_once(small: dict[str, Any]):
    told: list[str] = []
    list(epochs_of(trainer(small, lr=100.0), warn=told.append))
    assert len(told) == 1
    assert "the loss of epoch 1 is" in told[0]
    assert "guessing has one of 2.3; lower the learning rate (now 100)" in told[0]


def test_dead_hidden_units_are_told(small: dict[str, Any]):
    told: list[str] = []
    records = list(epochs_of(trainer(small, b1=-1e4), warn=told.append))
    assert len(told) == 1
    assert "after epoch 1 all units of a hidden layer are zero" in told[0]
    assert all(record.train_loss > 2 for record in records)


def test_one_living_unit_is_enough(small: dict[str, Any]):
    alive = trainer(small, b1=-1e4)
    start = {k: np.array(v) for k, v in alive.fetched().items()}
    start["b1"][7] = 0.0
    again = Trainer(alive.backend, alive.config, Start(start), alive.rows)
    assert lost(alive, 2.3) is not None
    assert lost(again, 2.3) is None


def test_images_that_are_all_the_same_kill_nothing(small: dict[str, Any]):
    black = {**small, "images": np.zeros_like(small["images"])}
    assert lost(trainer(black, b1=-1.0), 2.3) is None


def test_a_training_that_succeeds_hears_nothing(small: dict[str, Any]):
    list(epochs_of(trainer(small, lr=0.1), warn=pytest.fail))


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
    assert result.err.startswith("Warning: the training is lost: the loss of epoch 1 is ")
    assert result.err.count("\n") == 1
    assert len(receipt(tmp_path / "a")["epochs"]) == 2
