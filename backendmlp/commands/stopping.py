"""Ctrl-C and SIGTERM as a question that a training can ask."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether a signal asked for the end, and which one: its number, or 0."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within, the first Ctrl-C or SIGTERM asks to stop; a second one stops at once."""
    stop = Stop()
    previous: dict[int, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, previous[number])

    for asked in (signal.SIGINT, signal.SIGTERM):
        previous[asked] = signal.signal(asked, ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
