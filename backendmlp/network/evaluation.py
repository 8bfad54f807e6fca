"""Loss, classes and probabilities of a trained network on images it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import device_of, fetch, namespace
from backendmlp.network import model
from backendmlp.network.model import Forward, Parameters

Array = Any

# JAX on a CPU takes smaller numbers, the subnormal ones, for zero, so they are zero everywhere;
# this one too, to which a smaller one may have been rounded.  A step needs no such care: it rounds
# softmax to a grid first, which is never finer than 2**-450 less 51 bits.
_SMALLEST = 2.0**-1022
_ROWS = 1000  # rows in one pass: bounds the memory, and in bitwise numerics cannot change a bit


@dataclass(frozen=True)
class Evaluation:
    """``loss``: the mean cross-entropy; ``accuracy``: the share of right answers."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Scores:
    """What a network makes of N labelled images, on their device.

    Softmax ``totals`` (N,) and ``picked`` logits (N,), of which :func:`model.cross_entropy` is
    made, and ``probabilities`` (N, C).
    """

    totals: Array
    picked: Array
    probabilities: Array


def probabilities(arithmetic: Arithmetic, p: Parameters, images: Array) -> Array:
    """Softmax probabilities, (N, C), of ``images`` (N, F)."""
    xp = namespace(images)
    return xp.concat([_shares(f) for _, f in _passes(arithmetic, p, images)])


def classes(probabilities: Array) -> Array:
    """Each row's most probable class, int64 (N,); of equal ones the first, in every library."""
    xp, device = namespace(probabilities), device_of(probabilities)
    count = probabilities.shape[1]
    columns = xp.arange(count, dtype=xp.int64, device=device)
    last = xp.asarray(count - 1, dtype=xp.int64, device=device)
    largest = xp.max(probabilities, axis=1, keepdims=True)
    return xp.min(xp.where(probabilities == largest, columns[None, :], last), axis=1)


def score(arithmetic: Arithmetic, p: Parameters, images: Array, labels: Array) -> Scores:
    """The scores of ``images`` (N, F) with ``labels`` (N,)."""
    xp = namespace(images)
    totals, own, shares = [], [], []
    for rows, f in _passes(arithmetic, p, images):
        totals.append(f.totals)
        own.append(model.picked(f, labels[rows]))
        shares.append(_shares(f))
    return Scores(xp.concat(totals), xp.concat(own), xp.concat(shares))


def loss(arithmetic: Arithmetic, scores: Scores) -> Array:
    """The mean cross-entropy, a 0-d array: it stays on its device."""
    return model.mean(arithmetic, model.cross_entropy(arithmetic, scores.totals, scores.picked))


def evaluate(arithmetic: Arithmetic, scores: Scores, labels: Array) -> Evaluation:
    """The evaluation of images with ``scores`` and ``labels`` (N,)."""
    return _evaluation(fetch(_measures(arithmetic, scores, labels)), labels)


def evaluate_and_fetch(
    arithmetic: Arithmetic, scores: Scores, labels: Array
) -> tuple[Evaluation, np.ndarray]:
    """:func:`evaluate`, and the probabilities (N, C), which leave the device together with it."""
    measures = _measures(arithmetic, scores, labels)
    fetched = fetch({**measures, "probabilities": scores.probabilities})
    return _evaluation(fetched, labels), fetched["probabilities"]


def _shares(f: Forward) -> Array:
    """Softmax, with zero for what is not above the smallest normal number."""
    shares = model.probabilities(f)
    return namespace(shares).where(shares <= _SMALLEST, 0.0, shares)


def _measures(arithmetic: Arithmetic, scores: Scores, labels: Array) -> dict[str, Array]:
    xp = namespace(labels)
    right = xp.sum(xp.astype(classes(scores.probabilities) == labels, xp.int64))
    return {"loss": loss(arithmetic, scores), "right": right}


def _evaluation(fetched: dict[str, np.ndarray], labels: Array) -> Evaluation:
    return Evaluation(float(fetched["loss"]), int(fetched["right"]) / labels.shape[0])


def _passes(
    arithmetic: Arithmetic, p: Parameters, images: Array
) -> Iterator[tuple[slice, Forward]]:
    """Forward passes over ``images`` (N, F), in order, each with its rows."""
    for start in range(0, images.shape[0], _ROWS):
        rows = slice(start, min(start + _ROWS, images.shape[0]))
        yield rows, model.forward(arithmetic, p, images[rows, :])
