"""Every backend that can run here, and small real data, for all tests.

``BACKENDMLP_REQUIRE=cupy,torch,compiled,sklearn`` turns the skips of these backends, of the
compiled steps, or of packages that a test needs, into failures: a machine that has a GPU must not
pass by leaving the GPU out.  ``kernels`` asks for g++, which compiles the kernels for a processor,
and ``nvrtc`` for NVIDIA's compiler of them, which needs no GPU.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from kernels import on_cpu

import backendmlp
from backendmlp.backend import Backend
from backendmlp.steps import compiled

PLACES = {
    "numpy": ("numpy", None),
    "torch": ("torch", None),
    "torch-cuda": ("torch", "cuda"),
    "strict": ("array-api-strict", "CPU_DEVICE"),
    "strict-device1": ("array-api-strict", "device1"),
    "cupy": ("cupy", None),
    "jax": ("jax", None),
}
# One process a core: more threads than cores only wait.  NumPy has read it before in this process;
# the tests' workers and the subprocesses read it anew.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Threads that wait by spinning starve one another where tests share a machine; read by OpenMP when
# PyTorch is imported, here or in a subprocess.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# SciPy reads it when it is imported; scikit-learn's checks of other libraries' arrays need it.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
PACKAGES = ("sklearn", "onnx", "onnxruntime", "pandas", "polars", "mpi4py", "joblib")
REQUIRED = set(os.environ.get("BACKENDMLP_REQUIRE", "").replace(" ", "").split(",")) - {""}


def forking(test: Any) -> Any:
    """A test that forks this process."""
    marks = (
        pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork"),
        pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
        # Of JAX in another test of the same process, which is not used in this one.
        pytest.mark.filterwarnings("ignore:.*fork.*JAX:RuntimeWarning"),
    )
    for mark in marks:
        test = mark(test)
    return test


def open_or_skip(place: str) -> Backend:
    """The backend at ``place``; where it can't run, the test is skipped with the reason."""
    try:
        return backendmlp.select(*PLACES[place])
    except backendmlp.InputError as error:
        if place in REQUIRED:
            pytest.fail(f"BACKENDMLP_REQUIRE asks for {place!r}: {error}")
        pytest.skip(str(error))


def import_or_skip(package: str) -> ModuleType:
    """``package``; where it is not installed, the test, or all tests of the module, are skipped."""
    assert package in (*PACKAGES, "torch")
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if package in REQUIRED:
            pytest.fail(f"BACKENDMLP_REQUIRE asks for {package!r}: {error}")
        pytest.skip(f"{package} is not installed", allow_module_level=True)


# Of tests that compile the kernels for a processor.
needs_kernels = pytest.mark.skipif(
    on_cpu.COMPILER is None and "kernels" not in REQUIRED, reason="g++ is not on the PATH"
)


def pytest_sessionstart() -> None:
    known = [*PLACES, "compiled", "kernels", "nvrtc", *PACKAGES]
    if REQUIRED - set(known):
        raise pytest.UsageError(f"BACKENDMLP_REQUIRE is {sorted(REQUIRED)}; known are {known}")


@pytest.fixture(scope="session")
def steps() -> ModuleType:
    """:mod:`backendmlp.steps.compiled`, where its steps can run."""
    if not compiled.available():
        reason = "no compiled steps: no C compiler at installation, or not NumPy's own OpenBLAS"
        pytest.fail(reason) if "compiled" in REQUIRED else pytest.skip(reason)
    return compiled


@pytest.fixture(params=PLACES)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend in turn, NumPy too."""
    yield from within(open_or_skip(request.param))


@pytest.fixture(params=[place for place in PLACES if place != "numpy"])
def other(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Every backend but NumPy, to be compared with it."""
    yield from within(open_or_skip(request.param))


def within(backend: Backend) -> Iterator[Backend]:
    """A test that makes arrays itself does so where the library does: in the backend's scope.

    NumPy's scope keeps quiet about what overflows, and a test should hear it.
    """
    with nullcontext() if backend.in_memory else backend.scope():
        yield backend


@pytest.fixture(scope="session")
def sample() -> backendmlp.Dataset:
    return backendmlp.load_sample()


@pytest.fixture(scope="session")
def small(sample: backendmlp.Dataset) -> dict[str, Any]:
    """300 real training and 100 real test images, flat and read-only."""
    arrays = {
        "images": sample.train_images[:300].reshape(300, -1),
        "labels": sample.train_labels[:300],
        "test_images": sample.test_images[:100].reshape(100, -1),
        "test_labels": sample.test_labels[:100],
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays
