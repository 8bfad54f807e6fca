"""Where a training begins, and in which order it goes, as a caller asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backendmlp.backend import to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.network import model
from backendmlp.network.initial import initial
from backendmlp.network.schedules import FORESEEN
from backendmlp.training.given import Given
from backendmlp.training.trainer import Start, checked_order

Array = Any

_LARGEST = 2.0**450  # beyond it bitwise numerics ends, and nothing trains


def anew(config: Config, given: Given, parameters: Mapping[str, Array] | None = None) -> Start:
    """A start with ``parameters``, or with those that the seed draws."""
    sizes = sizes_for(config, given)
    if parameters is None:
        return Start(initial(sizes, config.activation, config.seed))
    if not isinstance(parameters, Mapping):
        raise InputError(
            f"parameters is {type(parameters).__name__}; give arrays by their names, as "
            "mlp.parameters has them"
        )
    require_shapes(parameters, sizes, "the initial parameters have")
    require_sane(parameters)
    return Start(dict(parameters))


def sizes_for(config: Config, given: Given) -> tuple[int, ...]:
    """Those of the network that ``config`` asks for, for data that are ``given``."""
    return config.sizes(given.rows.inputs.shape[1], given.outputs)


def require_shapes(arrays: Mapping[str, Array], sizes: tuple[int, ...], whose: str) -> None:
    """Refuse parameters that are not those of a network of ``sizes``."""
    wanted = model.shapes(sizes)
    found = {name: tuple(getattr(value, "shape", ())) for name, value in arrays.items()}
    if found != wanted:
        raise InputError(f"{whose} the shapes {found}; give {wanted}")


def require_same(before: tuple[int, ...], sizes: tuple[int, ...]) -> None:
    """Refuse to go on with a network of the sizes ``before`` as one of other ``sizes``."""
    if before[1:-1] != sizes[1:-1]:
        raise InputError(
            f"hidden is {sizes[1:-1]}, and the network that is to go on has {before[1:-1]}; give "
            "the same, or begin anew: with another model, or without a warm start"
        )
    for what, old, new in (("inputs", before[0], sizes[0]), ("targets", before[-1], sizes[-1])):
        if old != new:
            raise InputError(
                f"the {what} have {new} values each, and those that the model learned from {old}; "
                "give as many, or begin anew with another model"
            )


def require_sane(parameters: Mapping[str, Array]) -> None:
    """Refuse parameters that are no numbers, or larger than bitwise numerics goes."""
    for name, value in parameters.items():
        found = to_numpy(value)
        if found.dtype.kind not in "biuf":
            raise InputError(f"the initial parameter {name!r} has dtype {found.dtype}; give floats")
        if not (np.abs(found.astype(np.float64)) < _LARGEST).all():
            raise InputError(
                "the initial parameters hold NaN, infinity or numbers beyond 2**450; give smaller"
            )


def chained(arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The sizes of the network that ``arrays`` are of: features, hidden units, outputs."""
    layers = len(arrays) // 2
    weights = [arrays.get(f"W{layer}") for layer in range(1, layers + 1)]
    if not weights or any(W is None or W.ndim != 2 or 0 in W.shape for W in weights):
        raise InputError(
            f"the parameters are {sorted(arrays)}; give matrices 'W1', 'W2' ... and biases 'b1', "
            "'b2' ..., a pair for each layer"
        )
    sizes = weights[0].shape[0], *(W.shape[1] for W in weights)  # type: ignore[union-attr]
    require_shapes(arrays, sizes, "the parameters have")
    return sizes


def require_open(config: Config) -> None:
    """Refuse what only a training knows that sees all of its data, and its end."""
    for name, value, usual in (
        ("schedule", config.schedule, "constant"),
        ("warmup", config.warmup, 0.0),  # epochs, of steps that are not known
        ("class_weight", config.class_weight if config.class_weight == "balanced" else None, None),
        ("validation_split", config.validation_split, 0.0),
        ("patience", config.patience, None),
    ):
        if value != usual:
            raise InputError(
                f"{name} is {value!r}, and partial_fit never sees all data nor the end of a "
                "training; leave it out, or call fit"
            )


def require_endless(config: Config) -> None:
    """Refuse to go on where the rate's schedule has come to its end."""
    if config.schedule in FORESEEN:
        raise InputError(
            f"a {config.schedule} schedule ends with its training; a warm start goes on with "
            "another, as 'constant'"
        )


def orders(
    order: Sequence[Array] | None, epochs: int, first: int, count: int
) -> Callable[[int], Array] | None:
    """What gives each epoch its order of ``count`` rows; ``first`` is the first epoch's number.

    All are looked at before the first, so that none is refused when others have been learned from.
    """
    if order is None:
        return None
    if isinstance(order, str | Mapping) or not hasattr(order, "__len__"):
        raise InputError(
            f"order is {type(order).__name__}; give a list of arrays, the rows' numbers in the "
            f"order of each of {epochs} epochs"
        )
    if len(order) != epochs:
        raise InputError(
            f"the order has {len(order)} entries; give one for each of {epochs} epochs"
        )
    # Copies: what was looked at is what is used.
    kept = [
        np.array(checked_order(rows, count, first + number + 1))
        for number, rows in enumerate(order)
    ]
    return lambda epoch: kept[epoch - first]


def require_functions(name: str, value: Any) -> None:
    """Refuse what is no list of functions."""
    if not isinstance(value, tuple | list) or not all(map(callable, value)):
        what = "a function" if callable(value) else type(value).__name__
        raise InputError(f"{name} is {what}; give a list of functions, as {name}=[f]")
