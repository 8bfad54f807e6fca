"""Where a training stands, in one file: written whole or not at all, and read with suspicion.

``checkpoint.safetensors`` holds the tensors ``W1``, ``b1``, ``W2``, ``b2``, ``totals`` and
``picked`` of :class:`backendmlp.training.trainer.State`, within an epoch also ``before.W1`` and so on, and,
as JSON, the run's configuration, the number of its definition, its data and the epochs so far.
(Format 1, which is still read, had nothing of before the epoch.)  The random state is the seed and
the epoch's number: streams are found by counter (see :mod:`backendmlp.random`), so nothing else has
to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.runs import record as records
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.runs.record import Data
from backendmlp.strictjson import show
from backendmlp.tensorfile import TensorFileError, load_tensors, save_tensors
from backendmlp.training.trainer import State
from backendmlp.training.epochs import EpochRecord

FORMAT = 2
_KEY = "backendmlp-checkpoint"
_FILE_LIMIT = 1 << 32
_HEADER_LIMIT = records.LIMIT  # the epochs so far are in it, as in a receipt
_PARAMETERS = ("W1", "b1", "W2", "b2")
_LOSSES = ("totals", "picked")
_BEFORE = "before."


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on."""

    config: Config
    data: Data
    state: State
    epochs: list[EpochRecord]
    definition: int = 1


def save(path: StrPath, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path``; the one before stays until the new one is on the disk."""
    state = checkpoint.state
    tensors = {**state.parameters, "totals": state.totals, "picked": state.picked}
    tensors |= {_BEFORE + name: value for name, value in (state.before or {}).items()}
    metadata = {
        "format": FORMAT,
        "definition": checkpoint.definition,
        "config": checkpoint.config.as_dict(),
        "data": checkpoint.data.as_dict(),
        "random": {"generator": "Philox", "seed": checkpoint.config.seed, "epoch": state.epoch},
        "position": state.position,
        "epochs": [epoch.as_dict() for epoch in checkpoint.epochs],
    }
    try:
        save_tensors(path, tensors, _KEY, metadata, _FILE_LIMIT, _HEADER_LIMIT)
    except TensorFileError as error:
        raise InputError(f"cannot save the checkpoint {str(path)!r}: it {error}") from error


def load(path: StrPath) -> Checkpoint:
    """The checkpoint in ``path``; raises :class:`InputError` for one damaged, foreign or newer."""
    try:
        tensors, metadata = load_tensors(path, _KEY, _FILE_LIMIT, _HEADER_LIMIT, _check_format)
        return _parse(tensors, metadata)
    except (TensorFileError, InputError) as error:
        raise InputError(f"checkpoint {str(path)!r} {error}") from error


def _check_format(metadata: dict[str, Any]) -> None:
    number = metadata.get("format")
    if type(number) is not int or number < 1:
        raise TensorFileError("has no valid format number; use one that backendmlp wrote")
    if number > FORMAT:
        raise TensorFileError(
            f"was written by a newer backendmlp (format {show(number)}); update yours"
        )


def _parse(tensors: dict[str, np.ndarray], metadata: dict[str, Any]) -> Checkpoint:
    try:
        config = records.parse_config(dict(metadata["config"]))
        data = records.parse_data(dict(metadata["data"]))
        epochs = records.parse_epochs(list(metadata["epochs"]))
        definition = records.parse_definition(metadata)
        epoch, position = metadata["random"]["epoch"], metadata["position"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is damaged ({error!s:.200}); use an undamaged file") from error
    if not (type(epoch) is int and type(position) is int and len(epochs) == epoch <= config.epochs):
        raise InputError("is damaged (its position and its epochs differ); use an undamaged file")
    names = [*_PARAMETERS, *_LOSSES]
    if position and metadata["format"] > 1:
        names += [_BEFORE + name for name in _PARAMETERS]
    _check_tensors(tensors, names, config, position)
    parameters, before = (
        {name: tensors[prefix + name] for name in _PARAMETERS if prefix + name in tensors}
        for prefix in ("", _BEFORE)
    )
    state = State(epoch, position, parameters, tensors["totals"], tensors["picked"], before or None)
    return Checkpoint(config, data, state, epochs, definition)


def _check_tensors(
    tensors: dict[str, np.ndarray], names: list[str], config: Config, position: int
) -> None:
    dtypes = {str(value.dtype) for value in tensors.values()}
    if set(tensors) != set(names) or dtypes != {config.dtype}:
        raise InputError("is damaged (its tensors are not those of a training); use another")
    W1, b1, W2, b2 = (tensors[name].shape for name in _PARAMETERS)
    fit = len(W1) == len(W2) == 2 and b1 == W1[1:] == W2[:1] == (config.hidden,) and b2 == W2[1:]
    expected = {name: tensors[name].shape for name in _PARAMETERS}
    expected |= dict.fromkeys(_LOSSES, (position,))
    if not fit or any(tensors[n].shape != expected[n.removeprefix(_BEFORE)] for n in names):
        raise InputError("is damaged (the shapes of its tensors do not fit); use another")
    if not is_finite(tensors):
        raise InputError("is damaged (a number in it is not finite); use another")


def is_finite(tensors: dict[str, np.ndarray]) -> bool:
    return all(bool(np.isfinite(value).all()) for value in tensors.values())
