"""The threads that help with predictions stay, and bring nothing along from one to the next."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from conftest import forking

from backendmlp import MLP
from backendmlp.steps.compiled import library, scoring

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (2000, 40), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 2000)
UPWARD = 0x800  # of x86, for fesetround


@pytest.fixture(autouse=True)
def compiled(steps, monkeypatch):
    monkeypatch.setattr(scoring, "_WORTH_A_THREAD", 10_000)
    with threadpoolctl.threadpool_limits(3):
        yield steps


@pytest.fixture(params=["bitwise", "native"])
def mlp(request):
    found = MLP(30, epochs=1, numerics=request.param).fit(PIXELS[:300], LABELS[:300])
    found.predict_proba(PIXELS)  # from now on there are helpers
    return found


def helpers() -> dict[str, int]:
    """The helpers of this process by their number, with the signals that each blocks."""
    if sys.platform != "linux":
        pytest.skip("threads are looked at as Linux shows them")
    found = {}
    for path in Path("/proc/self/task").glob("*/status"):
        lines = (line.split(":", 1) for line in path.read_text().splitlines())
        shown = {name: value.strip() for name, value in lines}
        if shown["Name"] == "backendmlp":
            found[path.parent.name] = int(shown["SigBlk"], 16)
    return found


def two_helpers() -> dict[str, int]:
    """All, once those that three threads ask for are among them: they take a moment to begin."""
    until = time.monotonic() + 10
    while len(found := helpers()) < 2:
        assert time.monotonic() < until, found
        time.sleep(0.01)
    return found


def test_they_stay_and_are_no_more_than_are_needed(mlp):
    mlp.predict_proba(PIXELS)
    before = two_helpers()
    for _ in range(50):
        mlp.predict_proba(PIXELS)
    assert helpers() == before


def test_one_that_slept_wakes(mlp):
    expected = mlp.predict_proba(PIXELS).tobytes()
    for _ in range(5):
        time.sleep(0.02)  # a hundred times as long as it stays awake
        assert mlp.predict_proba(PIXELS).tobytes() == expected


def test_signals_are_left_to_the_threads_of_the_program(mlp):
    """One that the program blocks, to wait for it, would end the process in a helper."""
    assert helpers()
    for blocked in helpers().values():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
            assert blocked & 1 << number - 1


def test_they_round_as_whoever_asks():
    """One that was made by a thread that rounds upward would go on so."""
    try:
        set_round = ctypes.CDLL(ctypes.util.find_library("m")).fesetround
    except (AttributeError, OSError, TypeError):
        pytest.skip("no C library to change the mode with")
    native = MLP(30, epochs=1, numerics="native").fit(PIXELS[:300], LABELS[:300])
    bitwise = MLP(30, epochs=1).fit(PIXELS[:300], LABELS[:300])
    with threadpoolctl.threadpool_limits(1):
        expected = bitwise.predict_proba(PIXELS).tobytes()
    try:
        if set_round(UPWARD) != 0 or 1.0 + float("1e-17") == 1.0:
            pytest.skip("this processor's modes have other numbers")
        with threadpoolctl.threadpool_limits(7):  # helpers that nobody had before
            native.predict_proba(PIXELS)
    finally:
        set_round(0)
    for _ in range(5):
        with threadpoolctl.threadpool_limits(7):
            assert bitwise.predict_proba(PIXELS).tobytes() == expected


@forking
def test_a_forked_child_makes_helpers_of_its_own(mlp):
    expected = mlp.predict_proba(PIXELS).tobytes()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        alone = sys.platform != "linux" or not helpers()
        same = all(mlp.predict_proba(PIXELS).tobytes() == expected for _ in range(5))
        helped = sys.platform != "linux" or two_helpers()
        os._exit(0 if same and alone and helped else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mlp.predict_proba(PIXELS).tobytes() == expected


def test_they_stay_on_the_processors_that_whoever_asks_may_use(mlp):
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a process cannot be kept on fewer processors here")
    before, one = os.sched_getaffinity(0), {min(os.sched_getaffinity(0))}
    os.sched_setaffinity(0, one)
    try:
        expected = mlp.predict_proba(PIXELS).tobytes()
        assert one in [os.sched_getaffinity(int(thread)) for thread in helpers()]
    finally:
        os.sched_setaffinity(0, before)
    assert mlp.predict_proba(PIXELS).tobytes() == expected


@forking
def test_a_fork_between_two_rounds_of_a_prediction(mlp, monkeypatch):
    """As of a signal's handler: what is forgotten in the child was in use."""
    monkeypatch.setattr(scoring, "_ROUND", 500)
    expected, children = mlp.predict_proba(PIXELS).tobytes(), []
    score = scoring._Crowd.score

    def forking(self, *given):
        if not children:
            children.append(os.fork())
            signal.alarm(0 if children[0] else 20)
        return score(self, *given)

    monkeypatch.setattr(scoring._Crowd, "score", forking)
    found = mlp.predict_proba(PIXELS).tobytes() == expected
    if children == [0]:
        os._exit(0 if found else 1)
    assert found
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_an_interruption_between_two_workspaces(monkeypatch):
    """The first was given and forgotten, and what was there before is gone."""
    mlp = MLP(30, epochs=1).fit(PIXELS[:300], LABELS[:300])
    mlp.predict_proba(PIXELS[:2])
    give = library.Workspace.give

    def interrupted(self, job, numerics):
        self._memory = library.aligned(1 << 20)
        raise KeyboardInterrupt

    monkeypatch.setattr(library.Workspace, "give", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mlp.predict_proba(PIXELS)
    given = []
    monkeypatch.setattr(library.Workspace, "give", lambda *a: given.append(give(*a)))
    mlp.predict_proba(PIXELS[:2])
    assert given
