"""What a run is: every choice that its bits depend on, checked once."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any

from backendmlp import arithmetic
from backendmlp.errors import InputError

# Above what any machine has a use for, and low enough that no product of sizes overflows an int64:
# 2**24 hidden units times the 2**32 images that an IDX file can have, times 8 bytes, is 2**59.
LARGEST_HIDDEN = 2**24
LARGEST_COUNT = 2**53  # of epochs and of a batch; what every reader of JSON keeps exact


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
        largest = {"hidden": LARGEST_HIDDEN, "epochs": LARGEST_COUNT, "batch_size": LARGEST_COUNT}
        for name, limit in largest.items():
            object.__setattr__(self, name, positive_int(name, getattr(self, name), limit))
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


def positive_int(name: str, value: Any, largest: int) -> int:
    """``value`` as an int from 1 to ``largest``."""
    if not _is_whole(value) or not 1 <= int(value) <= largest:
        raise InputError(f"{name} is {_shown(value)}; give a whole number from 1 to {largest:,}")
    return int(value)


def positive_float(name: str, value: Any) -> float:
    """``value`` as a finite float above zero."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{name} is {_shown(value)}; give a finite number above zero")
    return number


def _seed(value: Any) -> int:
    if not _is_whole(value) or not 0 <= int(value) < 2**64:
        raise InputError(f"seed is {_shown(value)}; give a whole number from 0 to 2**64 - 1")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
