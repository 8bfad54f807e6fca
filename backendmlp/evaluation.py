"""Loss, classes and probabilities of a trained network on images it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backendmlp import model
from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import device_of, namespace
from backendmlp.model import Forward, Parameters

Array = Any

_ROWS = 1000  # rows in one pass: bounds the memory, and in bitwise numerics cannot change a bit


@dataclass(frozen=True)
class Evaluation:
    """``loss``: the mean cross-entropy; ``accuracy``: the share of right answers."""

    loss: float
    accuracy: float


def probabilities(arithmetic: Arithmetic, p: Parameters, images: Array) -> Array:
    """Softmax probabilities, (N, C), of ``images`` (N, F)."""
    xp = namespace(images)
    return xp.concat([model.probabilities(f) for _, f in _passes(arithmetic, p, images)])


def classes(probabilities: Array) -> Array:
    """Each row's most probable class, int64 (N,); of equal ones the first, in every library."""
    xp, device = namespace(probabilities), device_of(probabilities)
    count = probabilities.shape[1]
    columns = xp.arange(count, dtype=xp.int64, device=device)
    last = xp.asarray(count - 1, dtype=xp.int64, device=device)
    largest = xp.max(probabilities, axis=1, keepdims=True)
    return xp.min(xp.where(probabilities == largest, columns[None, :], last), axis=1)


def score(
    arithmetic: Arithmetic, p: Parameters, images: Array, labels: Array
) -> tuple[Array, Array]:
    """The mean cross-entropy, a 0-d array, and the probabilities (N, C), both on the device."""
    xp = namespace(images)
    totals, own, shares = [], [], []
    for rows, f in _passes(arithmetic, p, images):
        totals.append(f.totals)
        own.append(model.picked(f, labels[rows]))
        shares.append(model.probabilities(f))
    losses = model.cross_entropy(arithmetic, xp.concat(totals), xp.concat(own))
    return model.mean(arithmetic, losses), xp.concat(shares)


def evaluate(
    arithmetic: Arithmetic, p: Parameters, images: Array, labels: Array
) -> tuple[Evaluation, Array]:
    """The evaluation on ``images`` (N, F) and ``labels`` (N,), and the probabilities (N, C)."""
    xp = namespace(images)
    loss, shares = score(arithmetic, p, images, labels)
    right = xp.sum(xp.astype(classes(shares) == labels, xp.int64))
    return Evaluation(float(loss), int(right) / images.shape[0]), shares


def _passes(
    arithmetic: Arithmetic, p: Parameters, images: Array
) -> Iterator[tuple[slice, Forward]]:
    """Forward passes over ``images`` (N, F), in order, each with its rows."""
    for start in range(0, images.shape[0], _ROWS):
        rows = slice(start, min(start + _ROWS, images.shape[0]))
        yield rows, model.forward(arithmetic, p, images[rows, :])
