"""The OpenBLAS of NumPy's wheels: found, told how many threads to take, and left as it was."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import threadpoolctl

from backendmlp import blas


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
    assert blas.openblas.__wrapped__() is None
