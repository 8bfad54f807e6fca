"""How the paths of a case are compared with the definition, undisturbed, as raw bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fuzzing.going import (
    DEFINITION,
    IMPLEMENTATIONS,
    Entry,
    Implementation,
    members_of,
    possible,
    went,
)
from fuzzing.making import Case

SMALLEST_NORMAL = 2.0**-1022


@dataclass(frozen=True)
class Disagreement:
    path: list[list[Any]]
    what: str
    flushed: bool = False  # a subnormal number became zero, and nothing else

    def __str__(self) -> str:
        way = " -> ".join(f"{name}" + (f" ({n})" if n is not None else "") for name, n in self.path)
        return f"{way}: {self.what}"


def disagreements(
    case: Case, implementations: Mapping[str, Implementation] = IMPLEMENTATIONS
) -> list[Disagreement]:
    """Where the paths of ``case`` that can be gone here differ from the definition."""
    expected = went(case, DEFINITION, implementations)
    found = []
    for path in case["paths"]:
        if not possible(path, implementations):
            continue
        members = {member for name, _ in path for member in members_of(name)}
        flushes = any(implementations[name].flushes for name in members)
        if flushes and _begins_below(case):
            continue
        try:
            one = _difference(path, expected, went(case, path, implementations), flushes)
        except Exception as error:  # whatever it is, the definition did not raise it
            one = Disagreement(path, f"{type(error).__name__}: {error}")
        found += [one] if one else []
    return found


def _begins_below(case: Case) -> bool:
    """Whether numbers below 2**-1022 are put in by hand, as no training leaves them.

    Of the network; or of what each row counts for, which checks refuse that are not tried here.
    """
    start, rows = case["start"], case.get("weights")
    return (start["kind"] == "subnormal" and not start["settled"]) or rows == "subnormal"


def _difference(
    path: list[list[Any]], expected: list[Entry], found: list[Entry], flushes: bool
) -> Disagreement | None:
    """The first thing that differs; where subnormals are flushed, the first that is not that."""
    flushed = None
    for (name, one), (other, two) in zip(expected, found, strict=False):
        if name != other:
            return Disagreement(path, f"{other} where the definition has {name}")
        if isinstance(one, str):
            if one != two:
                return Disagreement(path, f"{name}: {two!r} where the definition has {one!r}")
        elif _patterns(one) != _patterns(two):
            only = flushes and only_flushed(one, two)
            difference = Disagreement(path, f"{name}: {_first(one, two)}", only)
            if not only:
                return difference
            flushed = flushed or difference
    if len(expected) != len(found):
        return Disagreement(path, f"{len(found)} results where the definition has {len(expected)}")
    return flushed


def _patterns(x: np.ndarray) -> tuple[Any, ...]:
    return x.dtype, x.shape, x.tobytes()


def only_flushed(one: np.ndarray, two: np.ndarray) -> bool:
    if one.dtype != np.float64 or one.shape != two.shape:
        return False
    same = one.view(np.uint64) == two.view(np.uint64)
    return bool((same | ((np.abs(one) < SMALLEST_NORMAL) & (two == 0.0))).all())


def _first(one: np.ndarray, two: np.ndarray) -> str:
    if one.dtype != two.dtype or one.shape != two.shape:
        return f"{two.dtype} {two.shape} where the definition has {one.dtype} {one.shape}"
    one, two = np.atleast_1d(one), np.atleast_1d(two)
    kind = np.uint64 if one.dtype.itemsize == 8 else np.uint32
    differ = np.argwhere(one.view(kind) != two.view(kind))
    at = tuple(differ[0].tolist())
    seen = [f"{float(x[at]).hex()} ({x[at]:.17g})" for x in (two, one)]
    return (
        f"{len(differ)} of {one.size} differ, at {at} {seen[0]} where the definition has "
        + (seen[1])
    )
