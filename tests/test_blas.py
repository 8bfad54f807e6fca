"""One call of NumPy's own BLAS, and the two calls of NumPy that do without."""

import numpy as np
import pytest

from backendmlp import blas


@pytest.fixture(params=["one call", "two calls"])
def subtract_product(request, monkeypatch):
    if request.param == "two calls":
        monkeypatch.setattr(blas, "_gemm", lambda dtype: None)
    elif blas._gemm("float32") is None:
        pytest.skip("this NumPy has no OpenBLAS of its wheels")
    return blas.subtract_product


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("k", "m", "n"), [(1, 1, 1), (3, 5, 2), (64, 784, 100), (7, 1, 300)])
def test_takes_the_product_off(subtract_product, dtype, order, k, m, n):
    rng = np.random.default_rng(k)
    # Small whole numbers: any order of summation is exact, so equality is not too much to ask.
    a, b, c = (rng.integers(-9, 9, shape).astype(dtype) for shape in ((k, m), (k, n), (m, n)))
    expected = c - a.T @ b
    subtract_product((m, n), dtype)(c, a, np.asarray(b, order=order))
    assert np.array_equal(c, expected)


def test_a_blas_that_answers_wrongly_is_not_used():
    assert not blas._passes(lambda c, a, b: None, "float32")


def test_a_foreign_blas_is_not_used(monkeypatch):
    import threadpoolctl

    foreign = [{"user_api": "blas", "filepath": "libmkl_rt.so"}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: foreign)
    assert blas._gemm.__wrapped__("float32") is None
