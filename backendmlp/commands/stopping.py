"""Ctrl-C, SIGTERM and a closed terminal as a question that a training can ask."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether a signal asked for the end, and which one: its number, or 0."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        return self.signal != 0


def stopping() -> AbstractContextManager[Stop]:
    """Within, the first Ctrl-C, SIGTERM or SIGHUP asks to stop; a second one stops at once."""
    return _listening(("SIGINT", "SIGTERM", "SIGHUP"), signal.signal)


def interrupted_by_others() -> AbstractContextManager[Stop]:
    """Within, SIGTERM and SIGHUP interrupt as Ctrl-C does; which one it was, is told."""

    def interrupt(number: int, before: Any) -> None:
        raise KeyboardInterrupt

    return _listening(("SIGTERM", "SIGHUP"), interrupt)


@contextmanager
def _listening(names: Sequence[str], then: Callable[[int, Any], object]) -> Iterator[Stop]:
    """Within, a signal is noted, and ``then`` called with it and the handler that was there before.

    Windows lacks SIGHUP; where that is ignored it stays so: nohup is to outlive its terminal.
    """
    stop = Stop()
    previous: dict[int, Any] = {}

    def heard(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        then(number, previous[number])

    for name in names:
        asked = getattr(signal, name, None)
        outlives = name == "SIGHUP" and asked and signal.getsignal(asked) == signal.SIG_IGN
        if asked is not None and not outlives:
            previous[asked] = signal.signal(asked, heard)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
