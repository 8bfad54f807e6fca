"""The stand-in for CuPy refuses what CuPy 14.2 refuses, and sees what crosses to the host."""

from __future__ import annotations

import pytest
from test_cupy_path import python

REFUSED = {
    "take with a mode": "cupy.take(x, cupy.arange(2), axis=0, mode='clip')",
    "take from a host array": "cupy.take(x.get(), cupy.arange(2), axis=0)",
    "a maximum with a start": "cupy.max(x, initial=0.0)",
    "a selection by a number": "cupy.where(True, x, x)",
    "a search for a list": "cupy.searchsorted(x[0, :], [1.0])",
    "a search in a host array": "cupy.searchsorted(numpy.ones(3), x)",
    "a mixture": "x + x.get()",
    "the mixture turned round": "x.get() + x",
    "a silent copy to the host": "numpy.asarray(x)",
    "a list of numbers to join": "cupy.concatenate([x, [1.0]])",
    "a maximum of a host array": "cupy.max(x.get())",
    "a device that is not there": "cupy.cuda.Device(2)",
    "a device as a key": "{x.device: 1}",
    "an array of another device": "y * 2.0",
    "arrays of two devices": "cupy.concatenate([x, y])",
    "a slice of another device's array": "y[:1, :]",
    "what CuPy has and this does not": "cupy.cumsum(x)",
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    code = f"""
import cupy, numpy
x = cupy.asarray(numpy.ones((2, 3)))
with cupy.cuda.Device(1):
    y = cupy.asarray(numpy.ones((2, 3)))
for name, expression in {REFUSED!r}.items():
    try:
        eval(expression)
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        print(name, type(error).__name__, sep=": ")
    else:
        print(name, "accepted", sep=": ")
"""
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_is_refused(outcomes, what):
    assert outcomes[what] != "accepted"


CROSSINGS = """
import cupy, numpy
from cupy._device import counted, used
x = cupy.asarray(numpy.ones((2, 3)))
assert counted["to device"] == 1
x = (x + x)[:, :2].T
assert not counted["to host"] and x.get().flags.c_contiguous
one = cupy.max(x)
for look in (cupy.ndarray.get, cupy.ndarray.item, float, int, bool):
    before = counted["to host"]
    look(one)
    assert counted["to host"] == before + 1, look
del x, one
assert used == [0, 0], used
"""


def test_what_crosses_is_counted_and_memory_comes_back():
    done = python("-c", CROSSINGS)
    assert done.returncode == 0, done.stderr
