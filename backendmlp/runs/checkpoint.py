"""Where a training stands, in one file: written whole or not at all, and read with suspicion.

``checkpoint.safetensors`` holds, of :class:`backendmlp.training.trainer.State`, the parameters
``W1``, ``b1`` and so on, the optimiser's slots (``velocity.W1``), what the epoch's loss is made of
so far by the names of the loss (``totals`` and ``picked`` of cross-entropy); within an epoch all
that was learned before it (``before.W1``, ``before.velocity.W1``); the best epoch's parameters
where those are kept (``best.W1``); and, as JSON, the run's configuration, the number of its
definition, its data and the epochs so far.  The random state is the seed and the epoch's number:
streams are found by counter (see :mod:`backendmlp.random`), and an adaptive rate by replaying the
epochs, so nothing else has to be kept.  A ``sha256`` of all of it tells damage; an older file has
none, but weights are those that the digest of their epoch is of, in any file.

Formats 1 and 2, which are still read, are of one hidden layer and plain descent; format 1 had
nothing of before the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.config import Config
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.network.model import Parameters, shapes
from backendmlp.network.recipe import names
from backendmlp.runs import record as records
from backendmlp.runs.parsing import Data, parse_config, parse_data, parse_definition, parse_epochs
from backendmlp.strictjson import show
from backendmlp.tensorfile import TensorFileError, load_tensors, save_tensors
from backendmlp.training import stopping
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import State

FORMAT = 3
_KEY = "backendmlp-checkpoint"
_FILE_LIMIT = 1 << 32
_HEADER_LIMIT = records.LIMIT  # the epochs so far are in it, as in a receipt
_BEFORE, _BEST = "before.", "best."

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """Everything a training needs to go on."""

    config: Config
    data: Data
    state: State
    epochs: list[EpochRecord]
    definition: int = 1

    @property
    def through(self) -> bool:
        """Whether nothing is left to train, unless more epochs are asked for."""
        return stopping.through(self.config, self.epochs)

    @property
    def complete(self) -> bool:
        """Whether a training can go on from it, and not only its weights be looked at."""
        learned, recipe = self.state.learned, self.config.recipe()
        every = names(recipe, Parameters.of(learned).sizes)
        kept = stopping.best(self.config, self.epochs) is None or self.state.best is not None
        return set(learned) == set(every) and kept


def save(path: StrPath, checkpoint: Checkpoint) -> None:
    """Write ``checkpoint`` to ``path``; the one before stays until the new one is on the disk."""
    state = checkpoint.state
    tensors = {**state.learned, **state.parts}
    tensors |= {_BEFORE + name: value for name, value in (state.before or {}).items()}
    tensors |= {_BEST + name: value for name, value in (state.best or {}).items()}
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
        save_tensors(path, tensors, _KEY, metadata, _FILE_LIMIT, _HEADER_LIMIT, sealed=True)
    except TensorFileError as error:
        raise InputError(f"cannot save the checkpoint {str(path)!r}: it {error}") from error


def load(path: StrPath) -> Checkpoint:
    """The checkpoint in ``path``; raises :class:`InputError` for one damaged, foreign or newer."""
    try:
        tensors, metadata = load_tensors(path, _KEY, _FILE_LIMIT, _HEADER_LIMIT, _check_format)
        return _parse(tensors, metadata)
    except (TensorFileError, InputError) as error:
        raise InputError(f"checkpoint {str(path)!r} {error}") from error


def is_finite(tensors: Mapping[str, np.ndarray]) -> bool:
    return all(bool(np.isfinite(value).all()) for value in tensors.values())


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
        config = parse_config(dict(metadata["config"]), old=metadata["format"] < 3)
        data = parse_data(dict(metadata["data"]))
        epochs = parse_epochs(list(metadata["epochs"]), config)
        definition = parse_definition(metadata)
        epoch, position = metadata["random"]["epoch"], metadata["position"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is damaged ({error!s:.200}); use an undamaged file") from error
    if not (type(epoch) is int and type(position) is int and len(epochs) == epoch):
        raise InputError("is damaged (its position and its epochs differ); use an undamaged file")
    within = bool(position) and metadata["format"] > 1
    best = stopping.best(config, epochs) is not None
    _check_tensors(tensors, _expected(tensors, config, position, within, best), config)
    state = _state(tensors, config, epoch, position)
    _check_weights(state, config, epochs)
    return Checkpoint(config, data, state, epochs, definition)


def _check_weights(state: State, config: Config, epochs: list[EpochRecord]) -> None:
    """Refuse weights that are not those of their epochs; within one nothing says what they were."""
    ended = state.before if state.position else state.learned
    best = stopping.best(config, epochs)
    for record, learned in ((epochs[-1] if epochs else None, ended), (best, state.best)):
        if record is None or learned is None:
            continue
        if digest(Parameters.of(learned).as_dict()) != record.weights_sha256:
            raise InputError(
                f"is damaged (its weights after epoch {record.epoch} are not those that the epoch "
                "ended with); use an undamaged file"
            )


def _state(tensors: dict[str, np.ndarray], config: Config, epoch: int, position: int) -> State:
    parts = {name: tensors[name] for name in config.recipe().loss.parts}
    before, best = (
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        for prefix in (_BEFORE, _BEST)
    )
    learned = {
        name: value
        for name, value in tensors.items()
        if name not in parts and not name.startswith((_BEFORE, _BEST))
    }
    return State(epoch, position, learned, parts, before or None, best or None)


def _expected(
    tensors: dict[str, np.ndarray], config: Config, position: int, within: bool, best: bool
) -> Shapes:
    """The shapes of all tensors of a checkpoint by name, for a network of the sizes in it."""
    recipe = config.recipe()
    last = f"b{len(config.hidden) + 1}"
    if not {"W1", last} <= set(tensors) or not tensors["W1"].ndim == 2 == tensors[last].ndim + 1:
        raise InputError("is damaged (its tensors are not those of a training); use another")
    sizes = config.sizes(tensors["W1"].shape[0], tensors[last].shape[0])
    learned = names(recipe, sizes)
    expected = learned | dict.fromkeys(recipe.loss.parts, (position,))
    if within:
        expected |= {_BEFORE + name: shape for name, shape in learned.items()}
    if best:
        expected |= {_BEST + name: shape for name, shape in shapes(sizes).items()}
    return expected


def _check_tensors(tensors: dict[str, np.ndarray], expected: Shapes, config: Config) -> None:
    if set(tensors) != set(expected) or {str(x.dtype) for x in tensors.values()} != {config.dtype}:
        raise InputError("is damaged (its tensors are not those of a training); use another")
    if any(tensors[name].shape != shape for name, shape in expected.items()):
        raise InputError("is damaged (the shapes of its tensors do not fit); use another")
    if not is_finite(tensors):
        raise InputError("is damaged (a number in it is not finite); use another")
