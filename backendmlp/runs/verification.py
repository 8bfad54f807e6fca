"""Train again what a receipt describes, and compare every epoch to the last bit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp import memory
from backendmlp.backend import Backend
from backendmlp.data import Dataset
from backendmlp.digests import digest
from backendmlp.distributed.joining import begin, joined
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.ranks import ALONE, Ranks
from backendmlp.runs import record as records
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.parsing import Data
from backendmlp.runs.prepare import Prepared, common, definition_of, prepare, sizes_of
from backendmlp.runs.record import Record
from backendmlp.runs.stored import MODEL, disagreement, kept_weights, named, receipt_of
from backendmlp.strictjson import show
from backendmlp.training.epochs import nothing, train
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import DivergenceError, Trainer

_VALUES = (
    *("train_loss", "validation_loss", "validation_accuracy", "validation_r2"),
    *("test_loss", "test_accuracy", "test_r2", "predictions_sha256"),
)


@dataclass(frozen=True)
class Verdict:
    """How many epochs agreed, of how many, and what differs in the first that does not.

    ``model`` says how the model file in the run's folder stands to the receipt and the data, where
    it was held against them; one that differs is the ``difference``.  ``diverged`` is the epoch
    after those in which the run did, if it did, and one that does not here differs.  A verdict is
    true where all agree.
    """

    agreed: int
    total: int
    weights_sha256: str
    difference: str | None = None
    model: str | None = None
    diverged: int | None = None

    @property
    def verified(self) -> bool:
        return self.difference is None

    def __bool__(self) -> bool:
        return self.verified

    def __str__(self) -> str:
        of = f"{self.agreed} of {_epochs(self.total)}"
        if self.difference is None:
            model = "" if self.model is None else f", {self.model}"
            again = f"; epoch {self.diverged} diverged, as in the run" * bool(self.diverged)
            return f"verified: {of}, weights sha256 {self.weights_sha256}{model}{again}"
        if self.agreed == self.total:
            return f"differs: {self.difference} ({of} agree{'s' * (self.agreed == 1)})"
        return f"differs: epoch {self.agreed + 1} of {self.total}: {self.difference}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def verify(
    receipt: StrPath,
    dataset: Dataset | None = None,
    *,
    backend: str = "numpy",
    device: str | None = None,
    distributed: bool = False,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
) -> Verdict:
    """Repeat the run of ``receipt``, a run.json or its folder, as ``backendmlp verify`` does.

    ``dataset`` is the run's; if None, it is opened where the receipt says it came from.  The
    model file beside it is held against the receipt and the data too, and missed in a folder
    without one; ``docs/receipts.md`` says what nobody can check.
    ``on_epoch`` is told the record of each epoch repeated, ``on_progress`` the images gone by.
    With ``distributed`` the processes that ``mpiexec`` started repeat it together, however many
    made the run, or a single one; the first alone reads the run's files, and all have the verdict.
    Raises :class:`InputError` where the run cannot be repeated.
    """
    at = backends.select(backend, device)
    with joined(distributed) as ranks:
        record = ranks.first(lambda: records.read(receipt_of(receipt)))
        dataset = open_data(record.data) if dataset is None else checked(dataset)
        return hold(receipt, record, at, dataset, on_epoch, on_progress, ranks)


def checked(dataset: Any) -> Dataset:
    """``dataset``; raises :class:`InputError` for anything but a :class:`Dataset`."""
    if isinstance(dataset, Dataset):
        return dataset
    raise InputError(
        f"dataset is {type(dataset).__name__}; give a backendmlp.Dataset, of images or features "
        "and labels or targets"
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
            f"the run's data, {name!r} ({dataset.source}), have changed: their SHA-256 is "
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
    ranks: Ranks = ALONE,
) -> Verdict:
    """The verdict on ``record``, which was read from ``receipt``, a run.json or its folder."""
    folder = ranks.first(lambda: receipt_of(receipt).parent)
    verdict, ready = _repeat(record, folder, backend, dataset, on_epoch, on_progress, ranks)

    def with_model() -> Verdict:
        if os.path.isdir(receipt) or (folder / MODEL).exists():
            return _with_model(verdict, ready, record, folder)
        return verdict  # a receipt travels alone

    return ranks.first(with_model)


def _repeat(
    record: Record,
    folder: Path,
    backend: Backend,
    dataset: Dataset,
    on_epoch: Callable[[EpochRecord], None],
    on_progress: Callable[[int], None],
    ranks: Ranks,
) -> tuple[Verdict, Prepared]:
    """Train again up to the first epoch that differs; the verdict, and what was trained.

    Of a run that diverged, through the epoch that did.
    ``folder`` is the run's, where the weights of its epochs may lie, for the first of ``ranks``.
    """
    if not record.epochs and record.diverged is None:
        raise InputError("the receipt holds no finished epoch; there is nothing to verify")
    if dataset.sha256 != record.data.sha256:
        raise InputError(
            f"the data have SHA-256 {dataset.sha256}, and the run was made with "
            f"{record.data.sha256}; give that data set (--data)"
        )
    config, total = record.config, len(record.epochs)
    records.check_definition(record.definition, definition_of(config, dataset), config.numerics)
    begin(ranks, config, lambda: common(config, dataset))
    sizes, pixels = sizes_of(config, dataset), dataset.pixels
    with (
        backend.scope(),
        np.errstate(over="ignore", invalid="ignore"),
        memory.explained(backend, config, sizes, len(dataset.train_images), pixels),
    ):
        ready = prepare(backend, config, dataset, ranks=ranks)
        ending = record.ending
        sha256 = digest(ready.trainer.weights()) if ending is None else ending.weights_sha256
        epochs = train(
            ready.trainer, ready.test, ready.validation, on_progress=on_progress, warn=nothing
        )
        # An interrupted run's receipt has fewer epochs than it was configured for.
        for theirs in record.epochs:
            try:
                ours = next(epochs)
            except DivergenceError as error:
                found = digest(ready.trainer.weights())
                return Verdict(theirs.epoch - 1, total, found, str(error)), ready
            on_epoch(ours)
            unlike = partial(_difference, theirs, ours, ready.trainer, folder, record)
            if (difference := ranks.first(unlike)) is not None:
                return Verdict(ours.epoch - 1, total, ours.weights_sha256, difference), ready
        if record.diverged is None:
            return Verdict(total, total, sha256), ready
        difference = None if _diverges(epochs) else f"epoch {total + 1} diverged, and does not here"
    return Verdict(total, total, sha256, difference, diverged=total + 1), ready


def _diverges(epochs: Iterator[EpochRecord]) -> bool:
    """Whether the next epoch does, in its training or on other data."""
    try:
        found = next(epochs, None)
    except DivergenceError:
        return True
    return found is not None and found.overflowed is not None


def _with_model(verdict: Verdict, ready: Prepared, record: Record, folder: Path) -> Verdict:
    """``verdict``, with what the model file in ``folder`` is to it."""
    if not verdict.verified:
        return verdict
    if not (folder / MODEL).exists():
        return replace(verdict, difference=f"{MODEL} is missing")
    try:
        parameters, metadata = load_model(folder / MODEL)
    except InputError as error:
        return replace(verdict, difference=str(error))
    if not _same(parameters.pop("unit", None), ready.unit):
        return replace(verdict, difference=f"{MODEL} has another unit than the data have")
    why = disagreement(record, parameters, metadata) or _unlike_data(metadata, ready.metadata)
    if why is not None:
        return replace(verdict, difference=why)
    if digest(parameters) == verdict.weights_sha256:
        agrees = f"{MODEL} agrees"
        if metadata["class_names"] != ready.metadata["class_names"]:
            agrees += " but for its classes' names, which nothing here says"
        return replace(verdict, model=agrees)
    # Stopped within an epoch, which no receipt describes.
    later = f"but {MODEL} is from later, within epoch {verdict.total + 1}, or was altered"
    return replace(verdict, model=later)


def _unlike_data(metadata: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """In which way a model's ``metadata`` are not those ``expected`` of the data.

    Classes have names there or here perhaps, and elsewhere numbers: the data's SHA-256 is of these.
    """
    names = [found["class_names"] for found in (metadata, expected)]
    if names[0] != names[1] and not any(map(_are_numbers, names)):
        return f"{MODEL} has other class names than the data: {show(names[0])}"
    for entry, usual in (("image_shape", None), ("flat", None), ("definition", 1)):
        theirs, ours = metadata.get(entry, usual), expected.get(entry, usual)
        if theirs != ours:
            return f"{MODEL} has the {entry} {show(theirs)}, and of these data it is {show(ours)}"
    return None


def _are_numbers(names: list[str]) -> bool:
    return names == list(map(str, range(len(names))))


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _difference(
    theirs: EpochRecord, ours: EpochRecord, trainer: Trainer, folder: Path, record: Record
) -> str | None:
    unlike = [k for k, v in ours.tensors_sha256.items() if theirs.tensors_sha256.get(k) != v]
    if theirs.weights_sha256 != ours.weights_sha256:
        return "; ".join(_compare(theirs, unlike, trainer, folder, theirs == record.ending))
    for name in _VALUES:
        theirs_value, ours_value = getattr(theirs, name), getattr(ours, name)
        if repr(theirs_value) != repr(ours_value):  # tells -0.0 from 0.0
            return f"the weights agree, but {name} was {theirs_value} and is {ours_value}"
    if theirs.tensors_sha256 != ours.tensors_sha256:
        unlike += map(show, sorted(set(theirs.tensors_sha256) - set(ours.tensors_sha256)))
        return (
            f"the weights agree, but in the receipt's tensors_sha256 {named(unlike):.200}: "
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
    found = trainer.weights()
    return [_gap(name, found[name], recorded[name]) for name in names if name in recorded] or [
        "its tensors are those of another network"
    ]


def _gap(name: str, ours: np.ndarray, theirs: np.ndarray) -> str:
    # As the digest sees them: the sign of a zero counts, the dtype does not.
    a, b = ours.astype("<f8"), theirs.astype("<f8")
    if a.shape != b.shape:
        return f"{name} has shape {a.shape}, and had {b.shape}"
    count = np.count_nonzero(a.view("<u8") != b.view("<u8"))
    return (
        f"{name} differs in {count:,} of {a.size:,} entries, by at most {np.abs(a - b).max():.3g}"
    )
