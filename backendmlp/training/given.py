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
from backendmlp.training.balance import split

Array = Any
Pair = tuple[Array, Array]


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

    def alike(self, at: Backend, config: Config, images: Array, labels: Array) -> Pair:
        """Other ``images`` (M, ...) and ``labels`` or targets of the same kind, on the device."""
        dtype = config.dtype or ""
        x = inputs.images(at, images, dtype, self.rows.inputs.shape[1])
        if config.regression:
            y = inputs.targets(at, labels, x.shape[0], dtype, self.outputs)
        else:
            y = inputs.labels(at, labels, x.shape[0], self.outputs, self.names)
        return (x if self.unit is None else settled(x, self.unit)), y

    def held_back(
        self, at: Backend, config: Config, validation: Pair | None
    ) -> tuple[Pair | None, np.ndarray | None]:
        """Inputs and targets to validate with, and the numbers of the rows that are trained on.

        ``validation`` are those given by a caller; all rows are trained on then, which None means.
        """
        if validation is not None:
            if config.validation_split:
                raise InputError(
                    "validation data are given, and validation_split asks to hold back others; "
                    "leave one of them out"
                )
            return self.alike(at, config, *validation), None
        both = split(config.seed, self.rows.inputs.shape[0], config.validation_split)
        if both is None:
            if (config.monitor or "train_loss") != "train_loss":
                raise InputError(
                    f"{config.monitor} is to be monitored, and there are no validation data; "
                    "give some, or validation_split"
                )
            return None, None
        held = at.asarray(both[1], "int64")
        x, y = (at.xp.take(x, held, axis=0) for x in (self.rows.inputs, self.rows.targets))
        return (x, y), both[0]


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
