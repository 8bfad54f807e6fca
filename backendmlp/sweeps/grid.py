"""Every combination of the values that choices are to have, and the folder of its run."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from backendmlp.config import Config
from backendmlp.errors import InputError

_MOST_RUNS = 100_000
_LONGEST_NAME = 120


@dataclass(frozen=True)
class Point:
    """One run: the choices it does not share with all others, ``name`` of its folder and all of it.

    ``kind`` are those choices without the seed: runs of one kind are averaged.
    """

    varied: dict[str, Any]
    config: Config

    @property
    def kind(self) -> dict[str, Any]:
        return {name: value for name, value in self.varied.items() if name != "seed"}

    @property
    def name(self) -> str:
        text = "_".join(f"{name}={text_of(value)}" for name, value in self.varied.items()) or "run"
        safe = re.sub(r"[^A-Za-z0-9._=+-]", "-", text)
        if len(safe) <= _LONGEST_NAME and safe == text.replace(",", "-"):
            return safe
        return f"{safe[:_LONGEST_NAME]}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def grid(over: Mapping[str, Sequence[Any]], choices: Mapping[str, Any]) -> list[Point]:
    """A run for each combination of the values in ``over``, the last choice's changing first.

    ``choices`` are the same for all.  Raises :class:`InputError` where one is no choice, is given
    twice, or does not go with the others, and where runs could not be compared.
    """
    if not isinstance(over, Mapping):
        raise InputError(
            f"over is {type(over).__name__}; give a dict, of a list of values for each choice"
        )
    for name in (*over, *choices):
        if name not in {field.name for field in fields(Config)}:
            raise InputError(f"{name} is no choice of a training; see backendmlp.Config")
    if both := sorted(set(over) & set(choices)):
        raise InputError(f"{both[0]} is both varied and fixed; leave one of them out")
    values = {name: _several(name, found) for name, found in over.items()}
    if math.prod(map(len, values.values())) > _MOST_RUNS:
        raise InputError(f"the sweep has more than {_MOST_RUNS:,} runs; ask for fewer")
    points = []
    for combination in itertools.product(*values.values()):
        config = Config(**{**choices, **dict(zip(values, combination, strict=True))})
        # As the configuration has settled them: 100 units are (100,).
        points.append(Point({name: getattr(config, name) for name in values}, config))
    _require_different(points)
    if len({point.config.regression for point in points}) > 1:
        raise InputError(
            "some of the runs are regressions and others are of classes, which no one scale "
            "serves; sweep them apart"
        )
    return points


def text_of(value: Any) -> str:
    """A choice in words: (256, 128) as 256-128."""
    return "-".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _several(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not np.iterable(values):
        raise InputError(f"{name} is to be varied over {values!r:.80}; give a list of values")
    found = list(itertools.islice(values, _MOST_RUNS + 1))  # a range may have any length
    if not found:
        raise InputError(f"{name} is to be varied over no values; give at least one")
    return found


def _require_different(points: list[Point]) -> None:
    seen: dict[str, Point] = {}
    for point in points:
        same = seen.setdefault(point.name, point)
        if same is not point:
            raise InputError(
                f"the run {point.name} is asked for twice; give each value of a choice once"
            )
