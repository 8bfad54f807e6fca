"""Train again what a receipt describes, and compare every epoch to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp import memory
from backendmlp.backend import Backend, to_numpy
from backendmlp.data import Dataset
from backendmlp.digest import digest
from backendmlp.errors import InputError
from backendmlp.modelfile import load_model
from backendmlp.record import Record
from backendmlp.run import EPOCHS, MODEL, prepare
from backendmlp.trainer import Trainer
from backendmlp.training import EpochRecord, train

_VALUES = ("train_loss", "test_loss", "test_accuracy", "predictions_sha256", "tensors_sha256")


@dataclass(frozen=True)
class Verdict:
    """How many epochs agreed, of how many, and what differs in the first that does not."""

    agreed: int
    total: int
    weights_sha256: str
    difference: str | None = None

    def __str__(self) -> str:
        if self.difference is None:
            of = f"{self.agreed} of {self.total} epochs"
            return f"verified: {of}, weights sha256 {self.weights_sha256}"
        return f"differs: epoch {self.agreed + 1} of {self.total}: {self.difference}"


def verify(
    record: Record,
    folder: Path,
    backend: Backend,
    dataset: Dataset,
    on_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
    on_progress: Callable[[int], None] = lambda images: None,
) -> Verdict:
    """Repeat the run of ``record`` on ``backend`` up to the first epoch that differs.

    ``folder`` is the run's, where the weights of its epochs may lie.  Raises :class:`InputError`
    where it cannot be repeated: ``dataset`` is another, or the record holds no epochs.
    """
    if not record.epochs:
        raise InputError("the receipt holds no finished epoch; there is nothing to verify")
    if dataset.sha256 != record.data.sha256:
        raise InputError(
            f"the data have SHA-256 {dataset.sha256}, and the run was made with "
            f"{record.data.sha256}; give that data set with --data"
        )
    total, weights = len(record.epochs), ""
    shape = (dataset.features, record.config.hidden, dataset.classes)
    with (
        backend.scope(),
        np.errstate(over="ignore", invalid="ignore"),
        memory.explained(backend, record.config, shape, len(dataset.train_images)),
    ):
        trainer, test = prepare(backend, record.config, dataset)
        # An interrupted run's receipt has fewer epochs than it was configured for.
        for theirs, ours in zip(
            record.epochs, train(trainer, test, on_progress=on_progress), strict=False
        ):
            on_epoch(ours)
            difference = _difference(theirs, ours, trainer, folder, total)
            if difference is not None:
                return Verdict(ours.epoch - 1, total, ours.weights_sha256, difference)
            weights = ours.weights_sha256
    return Verdict(total, total, weights)


def _difference(
    theirs: EpochRecord, ours: EpochRecord, trainer: Trainer, folder: Path, total: int
) -> str | None:
    if theirs.weights_sha256 != ours.weights_sha256:
        names = [k for k, v in ours.tensors_sha256.items() if theirs.tensors_sha256.get(k) != v]
        return "; ".join(_compare(theirs, names, trainer, folder, ours.epoch == total))
    for name in _VALUES:
        theirs_value, ours_value = getattr(theirs, name), getattr(ours, name)
        if theirs_value != ours_value:
            return f"the weights agree, but {name} was {theirs_value} and is {ours_value}"
    return None


def _compare(
    theirs: EpochRecord, names: list[str], trainer: Trainer, folder: Path, last: bool
) -> list[str]:
    """For each tensor that differs: how many entries, and by how much at most."""
    if not names:
        return ["the digest of the weights differs, and that of no tensor: the receipt is damaged"]
    recorded = _recorded(theirs, folder, last)
    if recorded is None:
        return [f"{name} differs (its entries in that epoch are not at hand)" for name in names]
    return [_gap(name, getattr(trainer.parameters, name), recorded[name]) for name in names]


def _gap(name: str, ours: Any, theirs: np.ndarray) -> str:
    # As the digest sees them: the sign of a zero counts, the dtype does not.
    a, b = to_numpy(ours).astype("<f8"), theirs.astype("<f8")
    if a.shape != b.shape:
        return f"{name} has shape {a.shape}, and had {b.shape}"
    count = np.count_nonzero(a.view("<u8") != b.view("<u8"))
    return (
        f"{name} differs in {count:,} of {a.size:,} entries, by at most {np.abs(a - b).max():.3g}"
    )


def _recorded(theirs: EpochRecord, folder: Path, last: bool) -> dict[str, np.ndarray] | None:
    """The run's weights of that epoch, where its folder has them just as the receipt says."""
    kept = folder / EPOCHS / f"{theirs.epoch:04d}.safetensors"
    for path in (kept, folder / MODEL) if last else (kept,):
        with suppress(InputError):
            parameters = load_model(path)[0]
            if digest(parameters) == theirs.weights_sha256:
                return parameters
    return None
