"""Arrays of libraries that are none of the backends, by DLPack."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backendmlp import MLP, InputError, digest
from backendmlp.backend import to_numpy


class Speaks:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, x: np.ndarray, device: tuple[int, int] = (1, 0)) -> None:
        self.x, self.device = x, device

    def __dlpack__(self, **choices: Any) -> Any:
        if self.device != (1, 0):
            raise BufferError("it lies on a GPU")
        return self.x.__dlpack__(**choices)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def test_it_is_taken_without_a_copy():
    x = np.ones((4, 3))
    assert np.shares_memory(to_numpy(Speaks(x)), x)


def test_a_model_trains_on_it_as_on_numpys_arrays():
    x, y = np.random.default_rng(1).normal(size=(20, 3)), np.arange(20) % 2
    one = MLP(3, epochs=1).fit(Speaks(x), Speaks(y))
    assert digest(one.parameters) == digest(MLP(3, epochs=1).fit(x, y).parameters)
    assert one.predict(Speaks(x)).tolist() == one.predict(x).tolist()


def test_what_lies_elsewhere_is_told():
    with pytest.raises(InputError, match=r"cannot be had by DLPack .*move it to the"):
        MLP(3).fit(Speaks(np.ones((4, 3)), (2, 0)), np.arange(4) % 2)
