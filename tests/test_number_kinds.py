"""Numbers of kinds that a library, or NumPy, does not have: the same result everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import import_or_skip

from backendmlp import MLP, digest

RANDOM = np.random.default_rng(6)
FEATURES = RANDOM.integers(-8, 9, (30, 4)) / 4.0  # which any kind of float holds
PIXELS = RANDOM.integers(0, 256, (30, 4), np.uint8)
CLASSES = np.arange(30) % 3
GIVEN = {"inputs": FEATURES, "labels": CLASSES, "weights": CLASSES + 1, "targets": CLASSES}


def fitted(backend: str, part: str, given: Any, pixels: Any = PIXELS) -> str:
    loss = "squared_error" if part == "targets" else "cross_entropy"
    mlp = MLP(3, epochs=1, backend=backend, loss=loss)
    labels = given if part in ("labels", "targets") else CLASSES
    weights = given if part == "weights" else None
    mlp.fit(given if part == "inputs" else pixels, labels, sample_weight=weights)
    return digest(mlp.parameters)


@pytest.mark.parametrize("part", GIVEN)
@pytest.mark.parametrize("kind", ["float16", "longdouble"])
def test_of_numpy(kind, part, backend):
    found = fitted(backend.name, part, GIVEN[part].astype(kind))
    assert found == fitted("numpy", part, GIVEN[part])


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "uint16"])
def test_of_torch(kind):
    torch = import_or_skip("torch")
    for part in ("labels", "weights", "targets"):
        given = torch.from_numpy(GIVEN[part]).to(getattr(torch, kind))
        expected = fitted("numpy", part, GIVEN[part])
        assert fitted("numpy", part, given) == expected
        assert fitted("torch", part, given, torch.from_numpy(PIXELS)) == expected
