"""A device that computes otherwise than IEEE 754 says is found out, and only bitwise refuses it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import backendmlp
from backendmlp import arithmetic
from backendmlp.arithmetic import demands
from backendmlp.backend import Backend


def bent(**functions: Any) -> Backend:
    """NumPy as another library, with some functions of its own."""
    honest = backendmlp.select("numpy")
    names = {name: getattr(honest.xp, name) for name in dir(honest.xp)}
    xp = SimpleNamespace(**{**names, **functions})
    return replace(honest, xp=xp, in_memory=False, label=f"bent {sorted(functions)}")


def in_float32(function: Any) -> Any:
    return lambda *arrays, **k: function(*(a.astype("f4") for a in arrays), **k).astype("f8")


def in_slices(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A product from the uppermost bits of its factors, as in emulation with too few slices."""
    return ((a // 2) * 2) @ b


def last_bit_lost(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a @ b) // 2) * 2


def with_zeros_left_out(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A product that skips the terms of zeros on the right, as reference BLAS once did."""
    product = a @ b
    product[:, ~b.any(axis=0)] = 0.0
    return product


class Reciprocal(np.ndarray):
    """Divides as some compilers do: times the reciprocal."""

    def __truediv__(self, other: np.ndarray) -> np.ndarray:
        return self * (1.0 / np.asarray(other))


BENT = {
    "products of float64 matrices are not exact": [
        {"matmul": in_float32(np.matmul)},
        {"matmul": in_slices},
        {"matmul": last_bit_lost},
    ],
    "sums of float64 are not exact": [{"sum": in_float32(np.sum)}],
    "float64 is not rounded as IEEE 754 says": [
        {"asarray": lambda x, **_: np.asarray(x, "f4").astype("f8")}
    ],
    "quotients of float64 are not correctly rounded": [
        {"asarray": lambda x, **_: np.asarray(x).view(Reciprocal)}
    ],
    "square roots of float64 are off by more than a unit": [
        {"sqrt": lambda x: np.sqrt(x) * (1.0 - 2.0**-51)}
    ],
    "a maximum passes over NaN": [{"max": np.fmax.reduce}],
    "a product passes over NaN": [{"matmul": with_zeros_left_out}],
    "a search does not find NaN behind all numbers": [
        {"searchsorted": lambda table, x, side: np.searchsorted(table, np.nan_to_num(x), side)}
    ],
}


def test_every_trial_can_fail():
    assert set(BENT) == set(demands._TRIALS)


@pytest.mark.parametrize(
    ("what", "functions"), [(what, each) for what, all_ in BENT.items() for each in all_]
)
def test_what_a_device_does_otherwise_is_found(what, functions):
    backend = bent(**functions)
    assert not demands._TRIALS[what](backend)
    with pytest.raises(backendmlp.InputError, match="cannot give bitwise results: ") as caught:
        demands.require(backend, arithmetic.choose("bitwise"))
    if "asarray" not in functions:  # which is part of every trial
        assert what in str(caught.value)
    demands.require(backend, arithmetic.choose("native"))


def test_every_backend_here_does_as_demanded(backend):
    with backend.scope():
        demands.require(backend, arithmetic.choose("bitwise"))


def test_a_setting_that_alters_float64_is_refused_by_name():
    backend = replace(backendmlp.select("numpy"), altered="SOME_SWITCH=1")
    with pytest.raises(backendmlp.InputError, match="bitwise results: SOME_SWITCH=1 is set; "):
        demands.require(backend, arithmetic.choose("bitwise"))
    demands.require(backend, arithmetic.choose("native"))


def test_a_device_is_tried_once(monkeypatch):
    backend = bent(matmul=lambda a, b: a @ b)
    demands.require(backend, arithmetic.choose("bitwise"))
    monkeypatch.setattr(demands, "_TRIALS", {"anything": lambda backend: False})
    demands.require(backend, arithmetic.choose("bitwise"))
