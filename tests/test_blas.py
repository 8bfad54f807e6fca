"""An OpenBLAS, NumPy's or a package's: found, told how many threads to take, left as it was."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
import threadpoolctl

from backendmlp.steps import blas


@pytest.fixture
def openblas() -> blas.OpenBLAS:
    found = blas.openblas()
    if found is None:
        pytest.skip("this NumPy does not multiply with the OpenBLAS of its wheels")
    return found


def threads() -> int:
    return next(
        entry["num_threads"]
        for entry in threadpoolctl.threadpool_info()
        if entry["user_api"] == "blas" and "numpy" in entry["filepath"]
    )


def test_threads_are_those_that_others_set(openblas):
    for count in (1, 2):
        with threadpoolctl.threadpool_limits(count, "blas"):
            assert openblas.threads == threads() == count


def test_one_thread_within_and_as_before_without(openblas):
    with threadpoolctl.threadpool_limits(2, "blas"):
        with openblas.single_threaded(), openblas.single_threaded():
            assert threads() == 1
            assert openblas.threads == 2
        assert threads() == 2
        with pytest.raises(ValueError, match="within"), openblas.single_threaded():
            raise ValueError("within")
        assert threads() == 2


@pytest.mark.parametrize("after", ["get", "set"])
def test_as_before_too_where_an_entry_is_interrupted(openblas, monkeypatch, after):
    """No ``with`` is there yet that would leave again."""
    call = getattr(openblas, f"_{after}_threads")

    def interrupted(*given):
        call(*given)
        setattr(openblas, f"_{after}_threads", call)
        raise KeyboardInterrupt

    with threadpoolctl.threadpool_limits(2, "blas"):
        with monkeypatch.context() as patch:
            patch.setattr(openblas, f"_{after}_threads", interrupted)
            with pytest.raises(KeyboardInterrupt), openblas.single_threaded():
                pass
        gc.collect()
        assert threads() == 2
        assert openblas.threads == 2
        with openblas.single_threaded():
            assert threads() == 1
        assert threads() == 2


@pytest.mark.parametrize(
    ("dtype", "real"), [("float32", ctypes.c_float), ("float64", ctypes.c_double)]
)
def test_the_address_is_that_of_a_product(openblas, dtype, real):
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    kinds = [*[ctypes.c_int] * 3, *[size] * 3, real, *[pointer, size] * 2, real, pointer, size]
    gemm = ctypes.CFUNCTYPE(None, *kinds)(openblas.address(dtype))
    a, b = np.arange(6, dtype=dtype).reshape(2, 3), np.arange(12, dtype=dtype).reshape(3, 4)
    c = np.ones((2, 4), dtype)
    gemm(101, 111, 111, 2, 4, 3, 2.0, a.ctypes.data, 3, b.ctypes.data, 4, 1.0, c.ctypes.data, 4)
    assert np.array_equal(c, 2 * (a @ b) + 1)


@pytest.mark.parametrize("library", ["libmkl_rt.so", "numpy.libs/without-such-names.so"])
def test_a_foreign_blas_is_not_used(monkeypatch, library):
    foreign = [{"user_api": "blas", "filepath": library}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: foreign)
    monkeypatch.setattr(ctypes, "CDLL", lambda path: object())
    monkeypatch.setattr(blas, "_packaged", list)
    assert blas.openblas.__wrapped__() is None


FORKED = """
import os, signal, sys, threading, time
import numpy as np
from backendmlp import MLP
from backendmlp.steps.blas import openblas

rng = np.random.default_rng(0)
images, labels = rng.integers(0, 256, (400, 30), dtype=np.uint8), np.arange(400) % 10

def digest(epochs):
    return MLP(30, epochs=epochs, batch_size=8).fit(images, labels).history[0].weights_sha256

def hold():  # the lock is taken when the fork comes, or nearly always
    while not over:
        with blas._lock:
            time.sleep(0.001)

blas, expected, over = openblas(), digest(1), []
if blas is not None:
    before = blas.threads
beside = [threading.Thread(target=lambda: [digest(5) for _ in iter(lambda: len(over), 1)])]
if blas is not None:
    beside.append(threading.Thread(target=hold))
for thread in beside:
    thread.start()
codes = []
for _ in range(8):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        right = digest(1) == expected and (blas is None or blas.threads == before)
        os._exit(0 if right else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
over.append(1)
for thread in beside:
    thread.join()
print(codes)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_child_forked_beside_a_training_trains_too():
    """It once waited for ever for a lock that a thread of its parent held."""
    process = subprocess.run(
        [sys.executable, "-c", FORKED],
        env={**os.environ, "PYTHONPATH": str(Path(blas.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.stdout == f"{[0] * 8}\n", process.stderr


@pytest.fixture
def packaged(monkeypatch) -> blas.OpenBLAS:
    """What is found beside a NumPy that multiplies with something else."""
    pytest.importorskip("scipy_openblas64")
    monkeypatch.setattr(blas, "_numpys", lambda: iter(["libmkl_rt.so"]))
    found = blas.openblas.__wrapped__()
    assert found is not None
    return found


def test_numpys_own_comes_first(openblas):
    assert openblas.name == "NumPy's OpenBLAS"


def test_without_numpys_own_the_package_multiplies(packaged, steps, monkeypatch):
    assert packaged.name == "scipy-openblas64"
    for module in (steps, steps.steps, steps.held):
        monkeypatch.setattr(module, "openblas", lambda: packaged)
    assert steps.describe() == "compiled, with scipy-openblas64"
    expected = json.loads(golden.FILE.read_text())["sample"]
    before = packaged.threads
    with threadpoolctl.threadpool_limits(2, "blas"):  # of this library too
        assert packaged.threads == 2
        assert golden.run("sample") == expected
        assert packaged.threads == 2
    assert packaged.threads == before


def test_the_package_takes_the_threads_that_the_environment_allows():
    pytest.importorskip("scipy_openblas64")
    code = """
from backendmlp.steps import blas
blas._numpys = lambda: iter(())
print(blas.openblas().name, blas.openblas().threads)
"""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    printed = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert printed == "scipy-openblas64 1\n"


def test_where_the_package_is_missing_nothing_is_found(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy_openblas64", None)
    assert blas._packaged() == []
