"""Train again what a receipt describes, and compare every epoch to the last bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp import memory
from backendmlp.runs import record as records
from backendmlp.backend import Backend, to_numpy
from backendmlp.data import Dataset
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.record import Data, Record
from backendmlp.runs.run import MODEL, RECORD, kept_weights, prepare
from backendmlp.strictjson import show
from backendmlp.training.trainer import Trainer
from backendmlp.training.epochs import EpochRecord, nothing, train

_VALUES = ("train_loss", "test_loss", "test_accuracy", "predictions_sha256")


@dataclass(frozen=True)
class Verdict:
    """How many epochs agreed, of how many, and what differs in the first that does not.

    ``model`` says how the model file in the run's folder stands to the receipt, where it was held
    against it; one that differs is the ``difference``.
    """

    agreed: int
    total: int
    weights_sha256: str
    difference: str | None = None
    model: str | None = None

    @property
    def verified(self) -> bool:
        return self.difference is None

    def __str__(self) -> str:
        of = f"{self.agreed} of {self.total} epochs"
        if self.difference is None:
            model = "" if self.model is None else f", {self.model}"
            return f"verified: {of}, weights sha256 {self.weights_sha256}{model}"
        if self.agreed == self.total:
            return f"differs: {self.difference} ({of} agree)"
        return f"differs: epoch {self.agreed + 1} of {self.total}: {self.difference}"


def verify(
    receipt: StrPath,
    dataset: Dataset | None = None,
    *,
    backend: str = "numpy",
    device: str | None = None,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
) -> Verdict:
    """Repeat the run of ``receipt``, a run.json or its folder, as ``backendmlp verify`` does.

    ``dataset`` is the run's; if None, it is opened where the receipt says it came from.  Given a
    folder, its model file is held against the receipt too.  ``on_epoch`` is told the record of
    each epoch repeated, ``on_progress`` the images gone by.  Raises :class:`InputError` where the
    run cannot be repeated.
    """
    record = records.read(receipt_of(receipt))
    at = backends.select(backend, device)
    dataset = open_data(record.data) if dataset is None else checked(dataset)
    return hold(receipt, record, at, dataset, on_epoch, on_progress)


def receipt_of(path: StrPath) -> Path:
    """The receipt in the folder ``path``, or the receipt ``path`` itself."""
    return Path(path, RECORD) if os.path.isdir(path) else Path(path)


def checked(dataset: Any) -> Dataset:
    """``dataset``; raises :class:`InputError` for anything but a :class:`Dataset`."""
    if isinstance(dataset, Dataset):
        return dataset
    raise InputError(
        f"dataset is {type(dataset).__name__}; give a backendmlp.Dataset, of uint8 images and "
        "labels (for other features there is MLP.fit)"
    )


def open_data(data: Data) -> Dataset:
    """The data set that a receipt or a model file names, just as it was."""
    name, path = data.origin.name, data.origin.path
    try:
        dataset = data.origin.open()
    except InputError as error:
        where = f" in {path!r}" if path is not None else ""
        raise InputError(
            f"the run's data, {name!r}{where} when it was made, cannot be had here ({error}); "
            "name them with --data or --dataset"
        ) from error
    if dataset.sha256 != data.sha256:
        raise InputError(
            f"the run's data, {name!r} from {dataset.source}, have changed: their SHA-256 is "
            f"{dataset.sha256} and was {data.sha256}; name the right ones with --data or --dataset"
        )
    return dataset


def hold(
    receipt: StrPath,
    record: Record,
    backend: Backend,
    dataset: Dataset,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
) -> Verdict:
    """The verdict on ``record``, which was read from ``receipt``, a run.json or its folder."""
    folder = receipt_of(receipt).parent
    verdict = _repeat(record, folder, backend, dataset, on_epoch, on_progress)
    return _with_model(verdict, record, folder) if os.path.isdir(receipt) else verdict


def _repeat(
    record: Record,
    folder: Path,
    backend: Backend,
    dataset: Dataset,
    on_epoch: Callable[[EpochRecord], None],
    on_progress: Callable[[int], None],
) -> Verdict:
    """Train again up to the first epoch that differs.

    ``folder`` is the run's, where the weights of its epochs may lie.
    """
    if not record.epochs:
        raise InputError("the receipt holds no finished epoch; there is nothing to verify")
    records.check_definition(record.definition, record.config)
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
            record.epochs, train(trainer, test, on_progress=on_progress, warn=nothing), strict=False
        ):
            on_epoch(ours)
            difference = _difference(theirs, ours, trainer, folder, total)
            if difference is not None:
                return Verdict(ours.epoch - 1, total, ours.weights_sha256, difference)
            weights = ours.weights_sha256
    return Verdict(total, total, weights)


def _with_model(verdict: Verdict, record: Record, folder: Path) -> Verdict:
    """``verdict``, with what the model file in ``folder`` is to it."""
    if not verdict.verified:
        return verdict
    if not (folder / MODEL).exists():
        return replace(verdict, model=f"but its {MODEL} is missing")
    try:
        parameters, metadata = load_model(folder / MODEL)
    except InputError as error:
        return replace(verdict, difference=str(error))
    if digest(parameters) == verdict.weights_sha256:
        if metadata["config"] == record.config.as_dict():
            return replace(verdict, model=f"{MODEL} agrees")
        return replace(verdict, difference=f"{MODEL} has another configuration than the receipt")
    if verdict.total < record.config.epochs:  # stopped within an epoch, which no receipt describes
        return replace(
            verdict, model=f"but {MODEL} is of later, within epoch {verdict.total + 1}, or altered"
        )
    expected = record.epochs[-1].tensors_sha256
    names = [
        name for name, value in parameters.items() if digest({name: value}) != expected.get(name)
    ]
    return replace(
        verdict,
        difference=f"{MODEL} is not what the receipt ends with: {_named(names)}",
    )


def _named(names: list[str]) -> str:
    """The tensors that differ, in words."""
    return f"{', '.join(names)} {'differs' if len(names) == 1 else 'differ'}"


def _difference(
    theirs: EpochRecord, ours: EpochRecord, trainer: Trainer, folder: Path, total: int
) -> str | None:
    unlike = [k for k, v in ours.tensors_sha256.items() if theirs.tensors_sha256.get(k) != v]
    if theirs.weights_sha256 != ours.weights_sha256:
        return "; ".join(_compare(theirs, unlike, trainer, folder, ours.epoch == total))
    for name in _VALUES:
        theirs_value, ours_value = getattr(theirs, name), getattr(ours, name)
        if theirs_value != ours_value:
            return f"the weights agree, but {name} was {theirs_value} and is {ours_value}"
    if theirs.tensors_sha256 != ours.tensors_sha256:
        unlike += map(show, sorted(set(theirs.tensors_sha256) - set(ours.tensors_sha256)))
        return (
            f"the weights agree, but in the receipt's tensors_sha256 {_named(unlike):.200}: "
            "it is damaged"
        )
    return None


def _compare(
    theirs: EpochRecord, names: list[str], trainer: Trainer, folder: Path, last: bool
) -> list[str]:
    """For each tensor that differs: how many entries, and by how much at most."""
    if not names:
        return ["the digest of the weights differs, and that of no tensor: the receipt is damaged"]
    recorded = kept_weights(folder, theirs, last)
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
