"""A property that is found once, and what it must not keep others from."""

from __future__ import annotations

import os
import signal
import threading

from conftest import forking

from backendmlp.once import once


class Thing:
    def __init__(self, wait: threading.Event | None = None) -> None:
        self.began, self.wait, self.times = threading.Event(), wait, 0

    @once
    def value(self) -> int:
        """What it is."""
        self.times += 1
        self.began.set()
        if self.wait is not None:
            self.wait.wait(20)
        return self.times


def test_it_is_found_once_for_each():
    one, other = Thing(), Thing()
    assert (one.value, one.value, other.value, one.times) == (1, 1, 1, 1)
    assert Thing.value.__doc__ == "What it is."


@forking
def test_a_child_does_not_wait_for_what_its_parent_was_finding():
    end = threading.Event()
    slow = Thing(end)
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    slow.began.wait(20)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if Thing().value == 1 else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    end.set()
    thread.join()
    assert status == 0
