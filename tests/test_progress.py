"""The bar of a training on a terminal, wide and narrow, and what is left of it."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from backendmlp.commands import progress
from backendmlp.commands.progress import Progress
from backendmlp.training.epochs import EpochRecord


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What was drawn, one over the other or below."""
        return self.getvalue().replace("\n", "\r").split("\r")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that it is, to be set by the test."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(
    monkeypatch: pytest.MonkeyPatch, *arguments: Any, width: int = 100, **options: Any
) -> tuple[Terminal, Progress]:
    """A bar on a terminal of so many columns; pytest puts its own stderr in place before a test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: (width, 25))
    return terminal, Progress(*arguments, **options)


def record(epoch: int) -> EpochRecord:
    return EpochRecord(epoch, 0.5, 0.6, 0.7, 1.0, "a" * 64, {}, None)


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_loss_is_an_epochs_and_the_time_left_the_runs(
    width: int,
    clock: list[float],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    terminal, progress = shown(monkeypatch, 10, 1000, epoch=3, width=width)
    with progress as bar:
        bar.images(500)
        clock[0] += 20.0  # for half an epoch
        bar.images(500)
        bar.epoch(record(3))
        bar._bar.refresh()
    assert "epoch  3/10  train loss 0.5000" in capsys.readouterr().out
    drawn = terminal.getvalue()
    assert "2:20 left, loss of epoch 3 0.5000]" in drawn  # seven epochs of 20 s
    assert ("images/s" in drawn) == (width >= 80)
    assert ("/1.00k" in drawn) == (width >= 100)
    assert max(map(len, terminal.lines()[1:])) < width


@pytest.mark.parametrize("width", [60, 100, 140])
def test_validation_is_shown_where_there_is_room(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    terminal, progress = shown(monkeypatch, 10, 1000, width=width)
    with progress as bar:
        bar.epoch(replace(record(1), validation_loss=0.55, validation_accuracy=0.7))
        bar.images(10)
        bar._bar.refresh()
    assert "validation loss 0.5500  validation accuracy 70.00%  test" in capsys.readouterr().out
    assert (", validation 0.5500]" in terminal.getvalue()) == (width >= 120)
    assert max(map(len, terminal.lines()[1:])) < width


@pytest.mark.parametrize("width", [60, 100, 140])
def test_nothing_is_left_where_control_c_was_echoed(width: int, monkeypatch: pytest.MonkeyPatch):
    terminal, progress = shown(monkeypatch, 10, 1000, width=width)
    with progress as bar:
        bar.images(10)
        bar._bar.refresh()
        assert len(terminal.lines()[-1]) == width - 4  # room for the echo
        terminal.write("^C")
    blank = terminal.getvalue().rpartition("^C")[2].split("\r")
    assert max(map(len, blank)) == width - 1
    assert not "".join(blank).strip()


def test_quiet_draws_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    terminal, progress = shown(monkeypatch, 2, 1000, quiet=True)
    with progress as bar:
        bar.images(1000)
        bar.epoch(record(1))
    assert (terminal.getvalue(), capsys.readouterr().out) == ("", "")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0:00 left"), (59.1, "1:00 left"), (7384, "2:03:04 left")]
)
def test_time_in_words(seconds: float, words: str):
    assert progress._left(seconds) == words
