"""Ctrl-C, SIGTERM and a closed terminal as a question that a training can ask."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], None]


class Stop:
    """Whether a signal asked for the end, and which one: its number, or 0."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0


@contextmanager
def interrupted_by_others() -> Iterator[Stop]:
    """Within, SIGTERM and SIGHUP interrupt as Ctrl-C does; which one it was, is told."""
    stop = Stop()
    previous: dict[int, Any] = {}

    def interrupt(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        raise KeyboardInterrupt

    _listen(("SIGTERM", "SIGHUP"), interrupt, previous)
    try:
        yield stop
    finally:
        _listen_as_before(previous)


def _listen(names: tuple[str, ...], handler: Handler, previous: dict[int, Any]) -> None:
    """Set a handler for those that there are, and note what was there; Windows lacks SIGHUP.

    Where that is ignored it stays so: nohup is to outlive its terminal.
    """
    for name in names:
        asked = getattr(signal, name, None)
        outlives = name == "SIGHUP" and asked and signal.getsignal(asked) == signal.SIG_IGN
        if asked is not None and not outlives:
            previous[asked] = signal.signal(asked, handler)


def _listen_as_before(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within, the first Ctrl-C, SIGTERM or SIGHUP asks to stop; a second one stops at once."""
    stop = Stop()
    previous: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, previous[number])

    _listen(("SIGINT", "SIGTERM", "SIGHUP"), ask, previous)
    try:
        yield stop
    finally:
        _listen_as_before(previous)
