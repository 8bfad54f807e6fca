"""Labels of any kind, and the numbers of their classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp.backend import to_numpy
from backendmlp.data.checks import is_name
from backendmlp.errors import InputError

Array = Any


@dataclass(frozen=True)
class Labels:
    """The sorted, different labels ``values`` (C,), in host memory; their index is the number."""

    values: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray) -> Labels:
        """Those among ``y`` (N,); raises :class:`InputError` where there are fewer than two."""
        values = np.unique(y)
        if len(values) < 2:
            found = f"one class only, {values.tolist()[0]!r:.80}" if len(values) else "no class"
            raise InputError(f"y holds {found}; give labels of at least two")
        return cls(values)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """The numbers of ``y`` (N,), int64; raises :class:`InputError` for another label."""
        found, inverse = np.unique(y, return_inverse=True)
        unknown = [label for label in found.tolist() if label not in set(self.values.tolist())]
        if unknown:
            raise InputError(f"a label is {unknown[0]!r:.80}, which is none of the classes before")
        return np.searchsorted(self.values, found).astype(np.int64)[inverse.reshape(-1)]

    def decode(self, numbers: Array) -> Array:
        """The labels with ``numbers`` (N,): in the library of these where it has such labels."""
        at = backends.of(numbers)
        if at.name == "numpy" or self.values.dtype.kind not in "biuf":
            return self.values[to_numpy(numbers)]
        with at.scope():
            return at.xp.take(at.asarray(self.values), numbers, axis=0)

    @property
    def names(self) -> tuple[str, ...]:
        """What the classes are called in files: as they are written, or by their numbers."""
        written = tuple(map(str, self.values.tolist()))
        if all(map(is_name, written)) and len(set(written)) == len(written):
            return written
        return tuple(map(str, range(len(written))))

    def weights(self, given: Any) -> Any:
        """``class_weight`` as an ``MLP`` takes it, of a mapping from labels; what is not in it: 1.

        As in scikit-learn a label that is none of the classes is an error only where some class has
        no weight: that may be a mistake in writing, the other one a fold without a rare class.
        """
        if not isinstance(given, Mapping):
            return given
        values = self.values.tolist()
        unknown = [label for label in given if label not in values]
        if unknown and any(value not in given for value in values):
            known = ", ".join(map(repr, values[:10])) + (", ..." if len(values) > 10 else "")
            raise InputError(
                f"class_weight has {unknown[0]!r:.80}, which is none of the classes {known:.300}; "
                "give labels as they are in y"
            )
        return tuple(given.get(value, 1.0) for value in values)
