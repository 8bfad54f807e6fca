"""What ends a training before its time, or is changed behind its back, spoils nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from conftest import import_or_skip

import backendmlp
from backendmlp import MLP, Dataset, InputError
from backendmlp.training.trainer import Trainer


@pytest.fixture
def pair():
    numbers = np.random.default_rng(0)
    return numbers.integers(0, 256, (120, 8), dtype=np.uint8), np.arange(120) % 3


def bits(mlp: MLP) -> str:
    return backendmlp.digest(mlp.parameters)


def interrupted(monkeypatch, after: int) -> None:
    """Ctrl-C comes in the batch after so many."""
    advance, made = Trainer.advance, [0]

    def advancing(self, batches):
        if made[0] == after:
            raise KeyboardInterrupt
        made[0] += 1
        return advance(self, 1)

    monkeypatch.setattr(Trainer, "advance", advancing)


CHOICES = {"hidden": 5, "batch_size": 40, "optimizer": "adam"}  # three batches an epoch


@pytest.mark.parametrize(("after", "epochs"), [(1, 0), (4, 1), (6, 2), (8, 2)])
def test_an_interrupted_training_is_that_of_its_whole_epochs(pair, monkeypatch, after, epochs):
    with monkeypatch.context() as patch:
        interrupted(patch, after)
        mlp = MLP(**CHOICES, epochs=3)
        with pytest.raises(KeyboardInterrupt):
            mlp.fit(*pair)
    assert len(mlp.history) == epochs
    if not epochs:
        assert mlp.parameters == {}
        assert mlp.class_names == ()
        return
    assert bits(mlp) == mlp.history[-1].weights_sha256
    assert mlp.last_loss == mlp.history[-1].train_loss
    mlp.warm_start, mlp.config = True, replace(mlp.config, epochs=3 - epochs)
    assert bits(mlp.fit(*pair)) == bits(MLP(**CHOICES, epochs=3).fit(*pair))


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_an_interrupted_training_leaves_the_model_before_it(pair, monkeypatch, how):
    mlp = MLP(**CHOICES, epochs=2).fit(*pair)
    before = bits(mlp), mlp.history, mlp.last_loss, mlp.class_names
    told = list(mlp.history)
    interrupted(monkeypatch, 1)
    names = {"class_names": ["a", "b", "c"]} if how == "partial_fit" else {}
    with pytest.raises(KeyboardInterrupt):
        getattr(mlp, how)(pair[0], pair[1], **names)
    assert (bits(mlp), mlp.history, mlp.last_loss, mlp.class_names) == before
    assert mlp.history == told


def test_a_callback_that_fails_leaves_the_epoch_it_was_told_of(pair):
    def failing(mlp, record):
        if record.epoch == 2:
            raise RuntimeError("no more")

    mlp = MLP(**CHOICES, epochs=3)
    with pytest.raises(RuntimeError, match="no more"):
        mlp.fit(*pair, callbacks=[failing])
    assert [record.epoch for record in mlp.history] == [1, 2]
    assert bits(mlp) == mlp.history[-1].weights_sha256


def test_a_refused_fit_leaves_the_choices(pair):
    mlp = MLP(hidden=5, epochs=1, class_weight={"0": 2.0})
    with pytest.raises(InputError, match="order"):
        mlp.fit(*pair, order=[])
    assert mlp.config.class_weight is None


def test_a_copy_learns_on_its_own(pair):
    mlp = MLP(**CHOICES, epochs=1, warm_start=True).fit(*pair)
    other = copy.copy(mlp)
    other.fit(*pair)
    assert [len(mlp.history), len(other.history)] == [1, 2]
    assert bits(mlp.fit(*pair)) == bits(other)


@pytest.mark.parametrize("first", [2, 3, 5])
def test_an_adaptive_rate_goes_on_however_the_epochs_are_divided(pair, first):
    choices = {**CHOICES, "schedule": "adaptive", "patience": 1, "tol": 10.0}
    whole = MLP(**choices, epochs=7).fit(*pair)
    mlp = MLP(**choices, epochs=first, warm_start=True).fit(*pair)
    mlp.config = replace(mlp.config, epochs=7 - first)
    assert bits(mlp.fit(*pair)) == bits(whole)


@pytest.mark.parametrize("what", ["labels", "sample_weight", "order"])
def test_what_a_callback_changes_of_a_callers_arrays_is_not_read_again(pair, what):
    images, labels = pair
    given = {
        "labels": labels,
        "sample_weight": np.ones(120),
        "order": [np.arange(120)[::-1].copy() for _ in range(3)],
    }
    told = MLP(**CHOICES, epochs=3).fit(images, **copy.deepcopy(given))

    def spoiling(mlp, record):
        for array in given["order"] if what == "order" else [given[what]]:
            array[...] = 1

    mlp = MLP(**CHOICES, epochs=3).fit(images, **given, callbacks=[spoiling])
    assert bits(mlp) == bits(told)


def test_a_data_set_that_somebody_changes_has_another_digest(pair):
    images, labels = pair
    data = Dataset("mine", "here", images, labels, images, labels)
    before = data.sha256
    images[0, 0] ^= 1
    changed = data.sha256
    assert changed != before
    fixed = images.copy()
    fixed.flags.writeable = False
    again = Dataset("mine", "here", fixed, labels, fixed, labels)
    assert again.sha256 == changed


def test_an_interrupted_estimator_is_the_one_before(pair, monkeypatch):
    import_or_skip("sklearn")
    images, labels = pair
    one = backendmlp.MLPClassifier(hidden_layer_sizes=5, max_iter=2, n_iter_no_change=2, tol=0.0)
    with pytest.warns(Warning, match="converged"):
        one.fit(images / 255.0, labels)
    before = one.predict_proba(images / 255.0)
    interrupted(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        one.fit(images / 255.0, np.where(labels == 1, "old", "new"))
    assert (one.predict_proba(images / 255.0) == before).all()
    assert one.classes_.tolist() == [0, 1, 2]
