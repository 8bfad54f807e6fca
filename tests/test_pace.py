"""How many rows go by between two looks at the outside world."""

from __future__ import annotations

import numpy as np
import pytest

from backendmlp import MLP
from backendmlp.training import epochs
from backendmlp.training.epochs import Pace
from backendmlp.training.trainer import Trainer


def test_pieces_grow_while_they_are_quick_and_shrink_where_they_are_slow():
    pace = Pace()
    least = pace.rows
    pace.took(0.0)
    assert pace.rows == 2 * least
    pace.took(0.05)
    assert pace.rows == 2 * least
    for _ in range(3):
        pace.took(60.0)
    assert pace.rows == least
    for _ in range(100):
        pace.took(0.0)
    assert least < pace.rows < 10**6


def test_an_epoch_begins_at_the_pace_of_the_one_before(monkeypatch):
    monkeypatch.setattr(epochs, "_SECONDS", 1e9)  # so quick is everything
    asked: list[tuple[int, int]] = []
    advance = Trainer.advance

    def counted(self, batches):
        asked.append((self.epoch, batches))
        return advance(self, batches)

    monkeypatch.setattr(Trainer, "advance", counted)
    rows = 5000
    MLP(hidden=4, epochs=3, batch_size=1000).fit(np.zeros((rows, 8), np.uint8), np.arange(rows) % 3)
    assert [batches for epoch, batches in asked if epoch == 0] == [2, 4]
    assert [epoch for epoch, _ in asked] == [0, 0, 1, 2]


@pytest.mark.parametrize("looks", [1, 3])
def test_a_training_stops_at_the_look_that_says_so(looks, monkeypatch):
    monkeypatch.setattr(epochs, "_SECONDS", 0.0)  # so slow is everything: it stays with the fewest
    pace, told, seen = Pace(), [], []

    class Counting:
        """So much of a trainer as an epoch needs."""

        position, count = 0, 10**6
        config = type("config", (), {"batch_size": 64})
        ranks = type("ranks", (), {"most": staticmethod(lambda said: said)})
        backend = type("backend", (), {"synchronize": staticmethod(lambda: seen.append("waited"))})

        def advance(self, batches):
            self.position += 64 * batches
            return False

    epochs.train_epoch(Counting(), told.append, lambda: len(told) == looks, pace)
    assert told == [2048] * looks
    assert seen == ["waited"] * looks  # a device that was not waited for would not have stopped
