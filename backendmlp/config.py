"""What a run is: every choice that its bits depend on, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from backendmlp import arithmetic
from backendmlp.errors import InputError


@dataclass(frozen=True)
class Config:
    """A run's hyperparameters; raises :class:`InputError` for one out of range.

    ``dtype`` None means the numerics' own: float64 for bitwise, float32 for native.
    """

    hidden: int = 100
    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.1
    seed: int = 100
    numerics: str = "bitwise"
    dtype: str | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "epochs", "batch_size"):
            object.__setattr__(self, name, positive_int(name, getattr(self, name)))
        object.__setattr__(self, "lr", positive_float("lr", self.lr))
        object.__setattr__(self, "seed", _seed(self.seed))
        object.__setattr__(self, "dtype", arithmetic.checked_dtype(self.numerics, self.dtype))

    def arithmetic(self) -> arithmetic.Arithmetic:
        return arithmetic.choose(self.numerics, self.dtype)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def definition(numerics: str, *, pixels: bool) -> int:
    """The number of the definition that a run's bits follow; it goes up when they change.

    2 for features in bitwise numerics, which are settled once when they come in; 1 for all else.
    """
    return 2 if numerics == "bitwise" and not pixels else 1


def positive_int(name: str, value: Any) -> int:
    """``value`` as an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < 1:
        raise InputError(f"{name} is {value!r}; give a whole number of at least 1")
    return int(value)


def positive_float(name: str, value: Any) -> float:
    """``value`` as a finite float above zero."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{name} is {value!r:.80}; give a finite number above zero")
    return number


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < 2**64:
        raise InputError(f"seed is {value!r}; give a whole number from 0 to 2**64 - 1")
    return int(value)
