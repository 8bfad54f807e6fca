"""A data set and a configuration made ready to train: what a run and its verification share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import memory
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config, definition
from backendmlp.data import Dataset
from backendmlp.network.initial import initial
from backendmlp.ranks import ALONE, Ranks
from backendmlp.runs.modelfile import described
from backendmlp.training.given import Pair, taken
from backendmlp.training.trainer import Start, Trainer
from backendmlp.version import __version__


@dataclass(frozen=True)
class Prepared:
    """A trainer at the first epoch, and what its network is shown after each.

    ``metadata`` is what a model file says of the network, and ``unit`` (F,), in host memory, what
    one of each column is worth where features were settled.
    """

    trainer: Trainer
    test: Pair
    validation: Pair | None
    metadata: dict[str, Any]
    unit: np.ndarray | None

    @property
    def parameter_count(self) -> int:
        return memory.parameter_count(self.trainer.parameters.sizes)


def prepare(
    backend: Backend,
    config: Config,
    dataset: Dataset,
    *,
    look: bool = False,
    ranks: Ranks = ALONE,
) -> Prepared:
    """All of it on ``backend``'s device; raises :class:`InputError` for what does not fit.

    With ``look``, warns of the classic mistakes with data.
    """
    sizes = sizes_of(config, dataset)
    counts = len(dataset.train_images), len(dataset.test_images)
    memory.check(backend, config, sizes, *counts, dataset.pixels)
    given = taken(
        backend,
        config,
        dataset.train_images,
        dataset.train_labels,
        dataset.train_weights,
        None if config.regression else dataset.class_names,
    )
    if look:
        given.look(config)
    validation, subset = given.held_back(backend, config, dataset.validation)
    start = Start(initial(sizes, config.activation, config.seed))
    trainer = Trainer(
        backend, config, start, given.rows, unit=given.unit, subset=subset, ranks=ranks
    )
    test = given.alike(backend, config, dataset.test_images, dataset.test_labels)
    unit = None if given.unit is None else to_numpy(given.unit)
    metadata = described(config, given.names, given.image_shape, given.flat, unit)
    return Prepared(trainer, test, validation, metadata, unit)


def sizes_of(config: Config, dataset: Dataset) -> tuple[int, ...]:
    """Those of the network that ``config`` asks for, for ``dataset``."""
    return config.sizes(dataset.features, dataset.outputs(config.regression))


def definition_of(config: Config, dataset: Dataset) -> int:
    """The number of the definition that the bits of a run on ``dataset`` follow."""
    return definition(config.numerics, pixels=dataset.pixels)


def common(config: Config, dataset: Dataset) -> dict[str, Any]:
    """What ranks must have in common beside the configuration, by what it is called."""
    return {
        "the version of backendmlp": __version__,
        "the definition": definition_of(config, dataset),
        "the data's SHA-256": dataset.sha256,
    }
