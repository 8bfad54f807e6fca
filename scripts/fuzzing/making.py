"""What a case is made of: inputs, targets, weights of rows, orders, starting parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.network.initial import initial

Case = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """``raw`` pixels or floats (N, F) and those to be scored; targets of both; weights of rows.

    ``start`` are the starting parameters.
    """

    raw: np.ndarray
    scored: np.ndarray
    targets: np.ndarray
    scored_targets: np.ndarray
    weights: np.ndarray | None
    start: dict[str, np.ndarray]


def problem(case: Case) -> Problem:
    count, scored = case["count"], case["scored"]
    fill = (PIXELS if case["inputs"] == "pixels" else FEATURES)[case["fill"]]
    x = fill(rng_of(case, 0), (count + scored, case["shape"][0]))
    y = _targets(case, count + scored)
    weights = WEIGHTS[case.get("weights", "none")](rng_of(case, 9), count)
    factor = case["seed"] % 3 * 5  # 0, 5 or 10 times as large as in training: clipped beyond 8
    later = x[count:] if x.dtype == np.uint8 else x[count:] * factor
    start = starts(case)
    if case["start"]["scaled"] and x.dtype == np.float64:
        top = np.abs(x[:count]).max(axis=0)
        start["W1"] /= np.where(top > 1e-9, top, 1.0)[:, None]
    return Problem(x[:count], later, y[:count], y[count:], weights, start)


def _targets(case: Case, count: int) -> np.ndarray:
    outputs, rng = case["shape"][-1], rng_of(case, 1)
    if case.get("choices", {}).get("loss") == "squared_error":
        return TARGETS[case["targets"]](rng, (count, outputs))
    return LABELS[case["labels"]](rng, count, outputs)


def rng_of(case: Case, purpose: int) -> np.random.Generator:
    return np.random.default_rng([case["seed"], purpose])


def _random_pixels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    x[:, rng.random(shape[1]) < 0.2] = 0
    return x


def _sparse_pixels(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return np.where(rng.random(shape) < 0.05, _random_pixels(rng, shape), np.uint8(0))


PIXELS: dict[str, Callable[..., np.ndarray]] = {
    "random": _random_pixels,
    "sparse": _sparse_pixels,
    "zeros": lambda rng, shape: np.zeros(shape, np.uint8),
    "full": lambda rng, shape: np.full(shape, 255, np.uint8),
    "black or white": lambda rng, shape: rng.integers(0, 2, shape, dtype=np.uint8) * np.uint8(255),
    "one row": lambda rng, shape: np.repeat(_random_pixels(rng, (1, shape[1])), shape[0], axis=0),
}


def _columns(powers: float) -> Callable[..., np.ndarray]:
    def fill(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        scale = 10.0 ** rng.uniform(-powers, powers, shape[1])
        scale[rng.random(shape[1]) < 0.1] = 0.0
        return rng.normal(size=shape) * scale

    return fill


FEATURES: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "units apart": _columns(5.0),
    "units far apart": _columns(11.0),
    "units of all sizes": _columns(130.0),
    "zeros": lambda rng, shape: np.zeros(shape),
    "negative zeros": lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.0, 1.0),
    "whole": lambda rng, shape: rng.integers(-3, 4, shape).astype(np.float64),
    "subnormal": lambda rng, shape: rng.normal(size=shape) * 1e-310,
}

LABELS: dict[str, Callable[..., np.ndarray]] = {
    "any": lambda rng, count, classes: rng.integers(0, classes, count),
    "missing": lambda rng, count, classes: rng.integers(0, max(1, classes // 2), count),
    "last": lambda rng, count, classes: np.full(count, classes - 1),
    "in turn": lambda rng, count, classes: np.arange(count) % classes,
    "halves": lambda rng, count, classes: np.repeat([1, 0], [count // 2, count - count // 2]),
}

TARGETS: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "large": lambda rng, shape: rng.normal(size=shape) * 1e6,
    "zeros": lambda rng, shape: np.zeros(shape),
    "all the same": lambda rng, shape: np.full(shape, 0.1),
    "one huge": lambda rng, shape: _one_huge(rng, rng.normal(size=shape), 2.0**200),
    "squares out of range": lambda rng, shape: rng.normal(size=shape) * 2.0**230,
    "out of range": lambda rng, shape: rng.normal(size=shape) * 2.0**460,
    "all sizes": lambda rng, shape: rng.normal(size=shape) * 10.0 ** rng.uniform(-80, 60, shape),
    "subnormal": lambda rng, shape: rng.normal(size=shape) * 1e-310,
}

WEIGHTS: dict[str, Callable[..., np.ndarray | None]] = {
    "none": lambda rng, count: None,
    "exponential": lambda rng, count: rng.exponential(size=count),
    "half of them zero": lambda rng, count: np.where(rng.random(count) < 0.5, 0.0, 1.0),
    "one above zero": lambda rng, count: np.eye(1, count, int(rng.integers(count)))[0],
    "zeros": lambda rng, count: np.zeros(count),
    "large": lambda rng, count: rng.exponential(size=count) * 1e30,
    "huge": lambda rng, count: rng.exponential(size=count) * 1e140,
    "tiny": lambda rng, count: rng.exponential(size=count) * 1e-140,
    "all sizes": lambda rng, count: 10.0 ** rng.uniform(-300, 130, count),
    "subnormal": lambda rng, count: rng.integers(0, 4, count) * 5e-324,
}

ORDERS: dict[str, Callable[..., np.ndarray]] = {
    "shuffled": lambda rng, count: rng.permutation(count),
    "forwards": lambda rng, count: np.arange(count),
    "backwards": lambda rng, count: np.arange(count)[::-1],
    "repeating": lambda rng, count: rng.integers(0, count, count),
    "by kind": lambda rng, count: np.argsort(np.arange(count) % 3, kind="stable").astype(np.int32),
}


def _padded(x: np.ndarray) -> np.ndarray:
    wide = np.full((len(x), x.shape[1] + 3), 77, x.dtype)
    wide[:, 1:-2] = x
    return wide[:, 1:-2]


def _unaligned(x: np.ndarray) -> np.ndarray:
    return np.frombuffer(b"\x01" + x.tobytes(), x.dtype, x.size, 1).reshape(x.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "from below": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "from the right": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "padded": _padded,
    "unaligned, read-only": _unaligned,
    "one row for all": lambda x: np.broadcast_to(x[:1], x.shape),
}


def starts(case: Case) -> dict[str, np.ndarray]:
    """The starting weights; ``given`` ones, lists of numbers, in the place of others."""
    start, rng = case["start"], rng_of(case, 2)
    activation = case.get("choices", {}).get("activation", "relu")
    p = initial(tuple(case["shape"]), activation, case["seed"])
    if start["biases"]:
        for name in p:
            if name.startswith("b"):
                p[name] = rng.normal(size=p[name].shape)
    for name in start["names"]:
        if name not in p:  # of a layer that a smaller case has not
            continue
        p[name] = STARTS[start["kind"]](rng, p[name], 2.0 ** start["power"])
    p.update({name: np.array(v, np.float64) for name, v in start.get("given", {}).items()})
    return p


def _one_huge(rng: np.random.Generator, x: np.ndarray, scale: float) -> np.ndarray:
    x = x.copy()
    x.flat[rng.integers(x.size)] = scale
    return x


def _some_off_grid(rng: np.random.Generator, x: np.ndarray, scale: float) -> np.ndarray:
    return np.where(rng.random(x.shape) < 0.2, np.round(x) + 2.0**-30, x)


STARTS: dict[str, Callable[..., np.ndarray]] = {
    "he": lambda rng, x, scale: x,
    "scaled": lambda rng, x, scale: x * scale,
    "zeros": lambda rng, x, scale: np.zeros_like(x),
    "negative zeros": lambda rng, x, scale: np.where(rng.random(x.shape) < 0.7, -0.0, x),
    "ties": lambda rng, x, scale: np.full_like(x, 0.5),
    "large ties": lambda rng, x, scale: np.full_like(x, scale),
    "one huge": _one_huge,
    "off the grid": _some_off_grid,
    "beyond 2**22": lambda rng, x, scale: rng.normal(size=x.shape) * 2.0**24,
    "subnormal": lambda rng, x, scale: rng.integers(-3, 4, x.shape) * 5e-324,
    "dead": lambda rng, x, scale: -np.abs(x) - 1e4,
}
