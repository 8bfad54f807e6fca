"""What a caller gives to train on: checked, flattened, settled, and on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import inputs, mistakes
from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.features import feature_unit, needs_unit, settled
from backendmlp.steps.stepper import Rows

Array = Any


@dataclass(frozen=True)
class Given:
    """``rows`` to train on, and what is known of them.

    ``names`` of the classes (() for a regression), how many ``outputs`` a network for them has,
    whether targets were ``flat`` (N,), the shape of one input, and the ``unit`` (F,) of features
    that were settled.  ``raw`` are the inputs before that; ``named`` says that the caller did.
    """

    rows: Rows
    raw: Array
    names: tuple[str, ...]
    outputs: int
    flat: bool
    image_shape: tuple[int, ...]
    unit: Array | None
    named: bool

    def look(self, config: Config) -> None:
        """Warn of the classic mistakes with data."""
        mistakes.look_at_images(self.raw)
        if config.regression:
            mistakes.look_at_targets(self.rows.targets)
        elif not self.named:
            mistakes.look_at_labels(self.rows.targets, self.outputs)


def taken(
    at: Backend,
    config: Config,
    images: Array,
    labels: Array,
    sample_weight: Array | None = None,
    class_names: Sequence[str] | None = None,
    unit: np.ndarray | None = None,
) -> Given:
    """``images`` (N, ...), ``labels`` (N,) or targets, and weights (N,), on the device of ``at``.

    Raises :class:`InputError` for what is not like that.  Float features in bitwise numerics are
    settled, in ``unit`` where it is known.
    """
    dtype = config.dtype or ""
    x = inputs.images(at, images, dtype)
    count = x.shape[0]
    names: tuple[str, ...] = ()
    flat = True
    if config.regression:
        if class_names:
            raise InputError("class_names are given, and a regression has no classes")
        y = inputs.targets(at, labels, count, dtype)
        outputs, flat = y.shape[1], len(np.shape(labels)) < 2
    else:
        names = inputs.class_names(class_names, labels)
        y = inputs.labels(at, labels, count, len(names) or None, names)
        outputs = len(names) or inputs.count_classes(at, y)
        names = names or tuple(map(str, range(outputs)))
    weights = None
    if sample_weight is not None:
        weights = inputs.weights(at, sample_weight, count, dtype)
    settled_x, on_device = x, None
    if needs_unit(config.numerics, x):
        on_device = feature_unit(x) if unit is None else at.asarray(unit, "float64")
        settled_x = settled(x, on_device)
    shape = tuple(np.shape(images)[1:])
    rows = Rows(settled_x, y, weights)
    return Given(rows, x, names, outputs, flat, shape, on_device, class_names is not None)
