"""How a case that disagrees is made smaller, so that what is left of it tells why."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

from fuzzing.making import Case

TRY_SECONDS = 20.0


def minimised(case: Case, bad: Callable[[Case], bool]) -> Case:
    """A smaller case that is ``bad`` too."""
    deadline, again = time.monotonic() + TRY_SECONDS, True
    while again:
        again = False
        for change in _changes(case):
            smaller = change(copy.deepcopy(case))
            if time.monotonic() > deadline:
                return case
            if smaller != case and bad(smaller):
                case, again = smaller, True
    return case


def _changes(case: Case) -> Iterator[Callable[[Case], Case]]:
    """What may make a case smaller, the most effective first."""
    for key in ("batch", "batches"):
        yield lambda c, k=key: {**c, k: min(c[k], c["count"])}
    for less in (lambda n, least: least, lambda n, least: max(least, n // 2), _one_less):
        for key, least in (("count", 1), ("batch", 1), ("scored", 1), ("batches", 1)):
            yield lambda c, k=key, m=least, f=less: {**c, k: f(c[k], m)}
        if "given" not in case["start"]:
            for at in range(1, len(case["shape"]) - 1):
                yield lambda c, at=at: {**c, "shape": c["shape"][:at] + c["shape"][at + 1 :]}
            for at in range(len(case["shape"])):
                yield lambda c, at=at, f=less: _with_size(c, at, f)
    for name in case.get("choices", {}):
        yield lambda c, k=name: _without(c, k)
    for key, value in PLAINEST.items():
        yield lambda c, k=key, v=value: {**c, k: v}
    plain = {"settled": True, "biases": False, "scaled": False}
    for key, value in (*plain.items(), ("names", case["start"]["names"][:1])):
        yield lambda c, k=key, v=value: {**c, "start": {**c["start"], k: v}}


def _one_less(size: int, least: int) -> int:
    return max(least, size - 1)


def _with_size(case: Case, at: int, less: Callable[[int, int], int]) -> Case:
    if at < len(case["shape"]):  # a layer may be gone by now
        regression = case.get("choices", {}).get("loss") == "squared_error"
        last = at == len(case["shape"]) - 1 and not regression
        case["shape"][at] = less(case["shape"][at], 2 if last else 1)
        weights = case.get("choices", {}).get("class_weight")
        if isinstance(weights, list):
            case["choices"]["class_weight"] = weights[: case["shape"][-1]]
    return case


def _without(case: Case, name: str) -> Case:
    """Without a choice, and what is of use with it alone."""
    left = {
        k: v for k, v in case.get("choices", {}).items() if k not in (name, *TOGETHER.get(name, ()))
    }
    return {**case, "choices": left}


TOGETHER = {
    "optimizer": ("momentum", "beta_1", "beta_2", "epsilon"),
    "schedule": ("decay", "decay_every", "patience", "tol", "monitor"),
    "patience": ("tol", "monitor"),
    "validation_split": ("monitor",),
}


PLAINEST = {
    "epochs": 1,
    "layout": "rows",
    "threads": 1,
    "division": None,
    "order": "forwards",
    "labels": "in turn",
    "fill": "zeros",
    "weights": "none",
    "validated": False,
    "warm": None,
    "targets": "normal",
    "lr": 0.1,
    "shown": {"dtype": "float64", "spoilt": None},
}
