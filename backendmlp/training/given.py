"""What a caller gives to train on: checked, flattened, settled, and on its device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import inputs, memory, mistakes
from backendmlp.backend import Backend, namespace
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.features import Settling, Unsettled, feature_unit, needs_unit, settled, tell_clipped
from backendmlp.network.model import is_pixels
from backendmlp.steps.stepper import Rows
from backendmlp.training.balance import split

Array = Any
Pair = tuple[Array, Array]


@dataclass(frozen=True)
class Given:
    """``rows`` to train on, and what is known of them.

    ``names`` of the classes (() for a regression), how many ``outputs`` a network for them has,
    whether targets were ``flat`` (N,), the shape of one input, and the ``unit`` (F,) of features
    that were settled.  ``raw`` are the inputs before that; ``named`` says that somebody gave the
    classes other names than their numbers.  ``columns`` are the names of a table's.
    """

    rows: Rows
    raw: Array
    names: tuple[str, ...]
    outputs: int
    flat: bool
    image_shape: tuple[int, ...]
    unit: Array | None
    named: bool
    columns: tuple[str, ...] | None

    def look(self, config: Config, goes_on: bool = False) -> None:
        """Warn of the classic mistakes; ``goes_on`` says that another training may follow this one.

        Cheap beside reading the data: of pixels that are bright anywhere, and of floats, it takes
        a thousand rows.
        """
        self.look_at_inputs(config)
        assert config.lr is not None
        if not goes_on:
            mistakes.look_at_warmup(config.warmup, config.epochs, config.lr)
            mistakes.look_at_steps(config.decay_every, config.epochs, config.lr)
        if config.regression:
            mistakes.look_at_targets(self.rows.targets)
        elif not self.named:
            mistakes.look_at_labels(self.rows.targets, self.outputs)

    def look_at_inputs(self, config: Config) -> None:
        """The part of :meth:`look` that a part of the data is enough for."""
        assert config.lr is not None
        rate = config.lr if config.optimizer == "sgd" else 0.0
        mistakes.look_at_images(self.raw, self.image_shape, rate)

    @property
    def pixels(self) -> bool:
        """Whether the inputs are uint8 pixels."""
        return is_pixels(self.raw)

    def alike(
        self, at: Backend, config: Config, images: Array, labels: Array, which: str = "test"
    ) -> Pair:
        """Other ``images`` (M, ...) and ``labels`` or targets of the same kind, on the device.

        Warns where the images are of another scale.
        """
        dtype = config.dtype or ""
        inputs.require_columns(images, self.columns, which)
        x = inputs.images(at, images, dtype, self.rows.inputs.shape[1], which)
        if config.regression:
            y = inputs.targets(at, labels, x.shape[0], dtype, self.outputs, which)
        else:
            y = inputs.labels(at, labels, x.shape[0], self.outputs, self.names, which)
        return shown(x, self.pixels, self.unit), y

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
            return self.alike(at, config, *pair("validation", validation), "validation"), None
        both = split(config.seed, self.rows.inputs.shape[0], config.validation_split)
        if both is None:
            if (config.monitor or "train_loss") != "train_loss":
                raise InputError(
                    f"{config.monitor} is to be monitored, and there are no validation data; "
                    "give validation=(images, labels), or validation_split"
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
    which: str = "training",
) -> Given:
    """``images`` (N, ...), ``labels`` (N,) or targets, and weights (N,), on the device of ``at``.

    Raises :class:`InputError` for what is not like that.  Float features in bitwise numerics are
    settled, in ``unit`` where it is known.
    """
    dtype = config.dtype or ""
    x = inputs.images(at, images, dtype, which=which)
    count = x.shape[0]
    names: tuple[str, ...] = ()
    flat = True
    if config.regression:
        if class_names is not None and len(class_names):
            raise InputError(
                "class_names are given, and a regression has no classes; leave them out, or choose "
                "loss='cross_entropy'"
            )
        y = inputs.targets(at, labels, count, dtype, which=which)
        outputs, flat = y.shape[1], len(np.shape(labels)) < 2
    else:
        names = inputs.class_names(class_names, labels, which)
        y = inputs.labels(at, labels, count, len(names) or None, names, which)
        outputs = len(names) or inputs.count_classes(at, y, which)
        names = names or _numbers(outputs)
    weights = None
    if sample_weight is not None:
        weights = inputs.weights(at, sample_weight, count, dtype)
    settled_x, on_device = x, None
    if unit is not None and unit.shape[0] != x.shape[1]:
        raise InputError(
            f"the {inputs.called(images)} have {x.shape[1]} values each, and those that the model "
            f"learned from {unit.shape[0]}; give as many, or begin anew with another model"
        )
    if needs_unit(config.numerics, x):
        on_device = feature_unit(x) if unit is None else at.asarray(unit, "float64")
        settled_x = settled(x, on_device)
    shape = tuple(np.shape(images)[1:])
    rows = Rows(settled_x, _own(at, y), None if weights is None else _own(at, weights))
    named = class_names is not None and names != _numbers(outputs)
    columns = inputs.columns(images)
    return Given(rows, x, names, outputs, flat, shape, on_device, named, columns)


def pair(name: str, value: Any) -> Pair:
    """``value`` as images and labels, which the caller gave as ``name``."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        several = isinstance(value, tuple | list)
        found = f"{len(value)} entries" if several else type(value).__name__
        raise InputError(f"{name} is {found}; give a pair: {name}=(images, labels)")
    return value[0], value[1]


def shown_soon(
    at: Backend,
    images: Array,
    dtype: str,
    sizes: tuple[int, ...],
    pixels: bool | None,
    unit: Array | None,
) -> Array | Unsettled:
    """:func:`shown`, of ``images`` (N, ...) as a caller gives them, to a network of ``sizes``.

    Floats may be settled, and found not to be finite, by whoever reads them.
    """
    x = inputs.flat(at, images, sizes[0])
    memory.check_use(at, x.shape[0], 0 if unit is None else sizes[0], sizes[-1])

    def settle() -> Array:
        return shown(inputs.finite(at, x, dtype, inputs.called(images)), pixels, unit)

    def tell(found: Settling) -> None:
        if unit is not None:
            tell_clipped(found.clipped, found.values)
            mistakes.look_at_settled(found.largest, x, unit)

    # Floats that are shown to who learned from pixels are looked at first.
    return settle() if is_pixels(x) or (unit is None and pixels) else Unsettled(x, settle, tell)


def shown(x: Array, pixels: bool | None, unit: Array | None) -> Array:
    """Inputs ``x`` (N, F) as a network takes them that learned from others.

    Those were ``pixels`` or not, None where nobody knows, and settled in ``unit`` (F,) perhaps.
    Warns where these are of another scale.
    """
    mistakes.look_at_shown(x, pixels, unit)
    if unit is None:
        return x
    found = settled(x, unit)
    mistakes.look_at_settled(_largest(found), x, unit)
    return found


def _own(at: Backend, x: Array) -> Array:
    """A copy, which a caller who changes the original meanwhile does not reach."""
    return at.xp.asarray(x, copy=True)


def _largest(x: Array) -> int:
    """The largest size in int32 ``x``, none of which is the least there is."""
    xp = namespace(x)
    return max(int(xp.max(x)), -int(xp.min(x)))


def _numbers(classes: int) -> tuple[str, ...]:
    return tuple(map(str, range(classes)))
