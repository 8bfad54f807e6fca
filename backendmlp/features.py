"""Float features in bitwise numerics: settled once, as whole numbers on a grid for each column.

What comes out is int32 of at most :data:`FEATURE_BITS` bits, which the products take as it stands.
A column's grid is fixed by its largest training value: that has 17 bits, later values 8 times of
headroom.  Only comparisons, products by powers of two and roundings to whole numbers take part,
value by value, so a row settles to the same bits on every machine and beside any other rows.
Predictions may leave it to compiled code that reads the features (:class:`Unsettled`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import FEATURE_BITS, power_of_two
from backendmlp.backend import device_of, namespace, to_numpy
from backendmlp.errors import InputError, warn
from backendmlp.network.model import PIXEL_LEVELS, is_pixels
from backendmlp.once import once

Array = Any

TRAINING_BITS = 17  # of the largest training value of a column
LARGEST = 2**FEATURE_BITS
_FEWEST_STEPS = 16  # of a grid that a column should span
_NAMED = 5  # columns named in one sentence
_VALUES = 1 << 20  # settled at one time, to stay near the caches and bound the memory


@dataclass(frozen=True)
class Settling:
    """What is told of features once they are settled.

    How many of ``values`` were ``clipped``, and the ``largest`` of all in size, in units.
    """

    values: int
    clipped: int
    largest: int


class Unsettled:
    """Float features (N, F) that fast code may check, and settle, while it reads them.

    ``values`` are as they were given, perhaps not finite.  ``settle`` checks and settles them as
    defined, or in native numerics checks them alone; ``tell`` says what there is to say of a
    :class:`Settling`.
    """

    def __init__(
        self, values: Array, settle: Callable[[], Array], tell: Callable[[Settling], None]
    ) -> None:
        self.values, self.tell, self._settle = values, tell, settle

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @once
    def settled(self) -> Array:
        """Whole numbers, int32, as :func:`settled` has them."""
        return self._settle()


def needs_unit(numerics: str, x: Array) -> bool:
    """Whether inputs ``x`` are features that these numerics settle."""
    return numerics == "bitwise" and not is_pixels(x)


def feature_unit(x: Array) -> Array:
    """What one of each settled column is worth: (F,) float64 powers of two, of training features.

    ``x`` (N, F) float64, finite.  Raises :class:`InputError` for values beyond 2**450, and warns
    of columns that vary by so little beside their size that the grid swallows it.
    """
    xp = namespace(x)
    top = xp.max(xp.abs(x), axis=0)
    unit = _unit(top)
    if not bool(xp.all(xp.isfinite(unit))):
        raise InputError(
            f"the features hold numbers beyond 2**{const.WINDOW}; give smaller, best standardised"
        )
    spread = xp.max(x, axis=0) - xp.min(x, axis=0)
    swallowed = to_numpy((spread > 0.0) & (spread < unit * _FEWEST_STEPS))
    vanishing = swallowed & to_numpy(_is_tiny(top))
    if vanishing.any() and not bool(xp.all(_is_tiny(top))):  # else it is told of all of them
        warn(
            f"feature {_columns(vanishing, 'holds', 'hold')} numbers below 2**-{const.WINDOW} "
            "alone, which bitwise numerics take for zero; standardise the features"
        )
    if (swallowed & ~vanishing).any():
        warn(
            f"feature {_columns(swallowed & ~vanishing, 'varies', 'vary')} by less than "
            f"{_FEWEST_STEPS} parts in {1 << TRAINING_BITS} of the largest value there, which "
            "bitwise numerics round away; standardise the features (subtract each column's mean, "
            "divide by its standard deviation)"
        )
    return unit


def settled(x: Array, unit: Array) -> Array:
    """``x`` (N, F) in units of ``unit`` (F,), rounded half to even: int32, at most 2**20 in size.

    ``x`` is finite float64, or uint8 pixels, which stand for 1/255 each.  Warns where values lie
    beyond 8 times the training range, and so are clipped.
    """
    xp = namespace(x, unit)
    pieces, clipped = [], 0
    for rows in _pieces(x):
        steps = _in_units(rows, unit)
        if bool(xp.max(steps) > LARGEST) or bool(xp.min(steps) < -LARGEST):
            clipped += int(xp.sum(xp.astype(xp.abs(steps) > LARGEST, xp.int64)))
            steps = _clipped(steps)
        pieces.append(_whole(steps))
    tell_clipped(clipped, x.shape[0] * x.shape[1])
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces)


def tell_clipped(clipped: int, values: int) -> None:
    """Warn where some of so many values were clipped."""
    if clipped:
        warn(
            f"{clipped} of the {values} feature values lie beyond "
            f"{LARGEST >> TRAINING_BITS} times the range of the training features and were "
            "clipped; scale them as the training features were"
        )


def _is_tiny(top: Array) -> Array:
    """Whether no product can tell numbers of at most ``top`` from zero; a library may not try."""
    return top < 2.0**-const.WINDOW


def _unit(top: Array) -> Array:
    """Of columns up to ``top`` (F,): NaN beyond 2**450, and that of zeros for tiny numbers."""
    xp = namespace(top)
    return power_of_two(xp.where(_is_tiny(top), _number(top, 1.0), top)) * 2.0**-TRAINING_BITS


def _in_units(x: Array, unit: Array) -> Array:
    xp = namespace(x, unit)
    x = xp.astype(x, xp.float64) * (1.0 / PIXEL_LEVELS) if is_pixels(x) else x
    return x * (1.0 / unit)  # memory of our own


def _clipped(steps: Array) -> Array:
    xp = namespace(steps)
    for bound, beyond in ((LARGEST, steps > LARGEST), (-LARGEST, steps < -LARGEST)):
        steps = xp.where(beyond, _number(steps, bound), steps)
    return steps


def _whole(steps: Array) -> Array:
    """The nearest whole numbers, half to even: int32; ``steps`` are written over."""
    xp = namespace(steps)
    steps += const.ROUND
    steps -= const.ROUND
    return xp.astype(steps, xp.int32)


def _number(like: Array, value: float) -> Array:
    xp = namespace(like)
    return xp.asarray(value, dtype=xp.float64, device=device_of(like))


def _pieces(x: Array) -> Iterator[Array]:
    rows = max(1, _VALUES // x.shape[1])
    for start in range(0, x.shape[0], rows):
        yield x[start : min(start + rows, x.shape[0]), :]


def _columns(which: np.ndarray, one: str, several: str) -> str:
    """The columns that are marked in ``which`` (F,), and the verb that goes with so many."""
    columns = np.flatnonzero(which).tolist()
    named = ", ".join(map(str, columns[:_NAMED])) + (", ..." if len(columns) > _NAMED else "")
    return f"column {named} {one}" if len(columns) == 1 else f"columns {named} {several}"
