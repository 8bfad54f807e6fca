"""What each row counts for, and what a network is worth that only guesses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from backendmlp import random
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.steps.stepper import Rows

Array = Any

_SPLIT = 4  # the number of the split's random stream


def weighed(
    backend: Backend, config: Config, rows: Rows, outputs: int, subset: np.ndarray | None
) -> Rows:
    """``rows`` with the weights of their classes in their own."""
    if config.class_weight is None:
        return rows
    by_class = class_weights(config, rows.targets, outputs, subset)
    own = backend.xp.take(backend.asarray(by_class, config.dtype), rows.targets, axis=0)
    found = own if rows.weights is None else rows.weights * own
    if float(backend.xp.max(found)) == 0.0:
        raise InputError(
            "class_weight leaves no row that counts: those of classes with a weight above zero are "
            "not there, or have sample weights of zero; give other weights"
        )
    return Rows(rows.inputs, rows.targets, found)


def class_weights(
    config: Config, labels: Array, outputs: int, subset: np.ndarray | None
) -> np.ndarray:
    """What a row of each class counts for, (outputs,) float64.

    "balanced" is rows / (classes * rows of the class), as scikit-learn's; a class that no row is of
    has no weight.
    """
    if isinstance(config.class_weight, tuple):
        if len(config.class_weight) != outputs:
            raise InputError(
                f"class_weight has {len(config.class_weight)} numbers for {outputs} classes; give "
                "one for each"
            )
        return np.array(config.class_weight)
    found = to_numpy(labels)
    counts = np.bincount(found if subset is None else found[subset], minlength=outputs)
    present = counts > 0
    return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)


def by_name(weights: Mapping[Any, float], names: Sequence[str]) -> tuple[float, ...]:
    """A weight for each of the classes with ``names``, of those given by name or number.

    One that is not given counts 1.
    """
    found = [1.0] * len(names)
    numbers = {name: number for number, name in enumerate(names)}
    for key, weight in weights.items():
        number = numbers.get(key) if isinstance(key, str) else key
        whole = isinstance(number, Integral) and not isinstance(number, bool)
        if not whole or not 0 <= number < len(names):  # type: ignore[operator]
            known = ", ".join(map(repr, names[:10])) + (", ..." if len(names) > 10 else "")
            raise InputError(
                f"class_weight names {key!r:.80}, which is none of the classes {known:.300}; give "
                f"their names, or numbers from 0 to {len(names) - 1}"
            )
        found[number] = weight  # type: ignore[index]
    return tuple(found)


def split(seed: int, count: int, share: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The numbers of the rows to train on and of those held back, in order, of ``count``.

    None where ``share``, the part held back, is zero.  Raises :class:`InputError` where either
    would be empty.
    """
    if share == 0.0:
        return None
    held = int(share * count + 0.5)
    if not 0 < held < count:
        raise InputError(
            f"validation_split is {share:g}, and of {count} rows that leaves {held} to validate "
            f"with and {count - held} to train on; give another, or more rows"
        )
    order = random.permutation(random.stream(seed, _SPLIT), count)
    return np.sort(order[held:]), np.sort(order[:held])


def guessing(config: Config, rows: Rows, outputs: int) -> float:
    """The mean loss of a network that knows nothing but what targets are like."""
    if not config.regression:
        return math.log(outputs)
    targets = to_numpy(rows.targets).astype(np.float64, copy=False)
    return 0.5 * float(np.square(targets - targets.mean(axis=0)).sum(axis=1).mean())
