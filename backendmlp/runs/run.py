"""A training in a folder: what it writes there, when, and how it goes on after an end of any kind.

==========================  =======================================================================
``checkpoint.safetensors``  where the training stands; gone once it is finished
``model.safetensors``       the trained network, when the training ends or is told to stop
``run.json``                the receipt: see :mod:`backendmlp.runs.record`
``epochs/0001.safetensors`` the network after each epoch, up to 64 MiB of them, unless the caller
                            wants none: what a verification on another machine compares with,
                            entry by entry
==========================  =======================================================================
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.runs import checkpoint as checkpoints
from backendmlp import inputs, memory
from backendmlp.network import model
from backendmlp.runs import record as records
from backendmlp.backend import Backend
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.config import Config, definition
from backendmlp.data import Dataset
from backendmlp.data.origin import Origin
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.files import writable_folder
from backendmlp.runs.modelfile import load_model, save_model
from backendmlp.runs.record import Data, Record
from backendmlp.training.trainer import DivergenceError, State, Trainer
from backendmlp.training.epochs import EpochRecord, never, nothing, train, warn_caller

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
RECORD = "run.json"
EPOCHS = "epochs"

_KEPT_BYTES = 1 << 26


@dataclass(frozen=True)
class Every:
    """How often to write a checkpoint: after so many epochs, or after so many seconds."""

    epochs: int | None = 1
    seconds: float | None = None


class Run:
    """A training of ``config`` on ``dataset`` that keeps itself in ``folder``.

    The caller holds the folder's lock (:mod:`backendmlp.runs.lock`).  Raises :class:`InputError` where
    the folder holds a run already, unless it is to be resumed, or cannot take what this one needs.
    """

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        config: Config,
        dataset: Dataset,
        data: Data,
        every: Every | None = None,
        keep_epochs: bool = True,
    ) -> None:
        records.check_epochs(config)
        self.folder, self.backend, self.config = folder, backend, config
        self.dataset, self.data = dataset, data
        self.every, self.keep_epochs = every or Every(), keep_epochs
        self.definition = definition(config.numerics, pixels=True)  # as a Dataset's images are
        self.epochs: list[EpochRecord] = []
        self.trainer, self.test = prepare(backend, config, dataset)
        self._saved = time.monotonic()

    @property
    def finished(self) -> bool:
        """Whether all epochs are trained and their results written."""
        return self._through() and not (self.folder / CHECKPOINT).exists()

    @property
    def weights_sha256(self) -> str | None:
        """The digest of the weights after the last finished epoch, None before the first."""
        return self.epochs[-1].weights_sha256 if self.epochs else None

    def begin(self) -> None:
        """Make sure of the folder and its space, and write the first checkpoint."""
        _remove_leftovers(self.folder)
        self._check_space()
        self.save_checkpoint()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``; raises :class:`InputError` where it is of another run."""
        _remove_leftovers(self.folder)
        check_same(checkpoint, self.config, self.data)
        shapes = {k: v.shape for k, v in checkpoint.state.parameters.items()}
        own = {k: v.shape for k, v in self.trainer.parameters.as_dict().items()}
        if shapes != own or checkpoint.state.position > self.trainer.count:
            raise InputError(
                f"the checkpoint in {str(self.folder)!r} does not fit the data; use another"
            )
        self.epochs = list(checkpoint.epochs)
        self.trainer.restore(checkpoint.state)

    def train(
        self,
        on_epoch: Callable[[EpochRecord], None] = nothing,
        on_progress: Callable[[int], None] = nothing,
        should_stop: Callable[[], bool] = never,
        on_warm_up: Callable[[bool], None] = nothing,
        warn: Callable[[str], None] = warn_caller,
    ) -> bool:
        """Train to the end, or until told to stop; whether it is finished.

        Whatever ends it, the folder then holds the last good weights and the epochs so far.
        """

        def progress(images: int) -> None:
            on_progress(images)
            self._save_in_time()

        epochs = train(
            self.trainer,
            self.test,
            on_warm_up=on_warm_up,
            on_progress=progress,
            should_stop=should_stop,
            warn=warn,
        )
        good, kept = self.trainer.state_before(), self.trainer.kept
        try:
            # A training that diverges overflows on its way, and says so itself.
            with np.errstate(over="ignore", invalid="ignore"):
                for epoch in epochs:
                    self._require_finite(epoch, good, kept)
                    good, kept = self.trainer.state_before(), self.trainer.kept
                    self.epochs.append(epoch)
                    self._after_epoch()
                    on_epoch(epoch)
        except DivergenceError:
            self._write_results()
            raise
        if not self._through():
            self.save_checkpoint()
        self._write_results()
        if self._through():
            (self.folder / CHECKPOINT).unlink(missing_ok=True)
        return self.finished

    def save_checkpoint(self) -> None:
        """Write where the training stands, within an epoch too, unless it is diverging.

        The last good checkpoint then stays; the end of the epoch will say what is wrong.
        """
        state = self.trainer.state()
        if not checkpoints.is_finite({**state.parameters, "picked": state.picked}):
            return
        checkpoints.save(
            self.folder / CHECKPOINT,
            Checkpoint(self.config, self.data, state, self.epochs, self.definition),
        )
        self._saved = time.monotonic()

    def _through(self) -> bool:
        return self.trainer.epoch >= self.config.epochs

    def _require_finite(self, epoch: EpochRecord, good: State, kept: str) -> None:
        """Test images can overflow where training images do not: the weights are no good either."""
        if epoch.test_loss is not None and not math.isfinite(epoch.test_loss):
            self.trainer.restore(good)
            raise DivergenceError(
                f"the training diverged in epoch {epoch.epoch}: the test loss is not finite any "
                f"more; the weights {kept} are kept, lower the learning rate (now "
                f"{self.config.lr:g})"
            )

    def _after_epoch(self) -> None:
        number = self.trainer.epoch
        if self.keep_epochs and number * self._model_bytes <= _KEPT_BYTES:
            kept = writable_folder(self.folder / EPOCHS)
            self._save_model(kept / f"{number:04d}.safetensors")
        if self.every.epochs is not None and number % self.every.epochs == 0:
            self.save_checkpoint()

    def _save_in_time(self) -> None:
        due = self.every.seconds
        if due is not None and time.monotonic() - self._saved >= due:
            self.save_checkpoint()

    def _write_results(self) -> None:
        self._save_model(self.folder / MODEL)
        record = Record(
            self.config,
            self.backend.name,
            self.backend.label,
            self.data,
            self.epochs,
            records.versions(self.backend.packages),
            self.definition,
        )
        records.write(self.folder / RECORD, record)

    def _save_model(self, path: Path) -> None:
        metadata = {
            "config": self.config.as_dict(),
            "class_names": list(self.dataset.class_names),
            "image_shape": list(self.dataset.image_shape),
            # Not where they lay: the same run gives the same bytes in every folder.
            "data": Data(Origin(self.data.origin.name), self.data.sha256).as_dict(),
        }
        save_model(path, self.trainer.fetched(), metadata)

    @property
    def _model_bytes(self) -> int:
        shape = (self.dataset.features, self.config.hidden, self.dataset.classes)
        return memory.parameter_count(*shape) * np.dtype(self.config.dtype).itemsize

    def _check_space(self) -> None:
        """Refuse before the first epoch what the disk will refuse later, as far as can be told."""
        kept = min(self.config.epochs * self._model_bytes, _KEPT_BYTES) * self.keep_epochs
        # The model, and a checkpoint beside the one it replaces: within an epoch each has two.
        needed = kept + 5 * self._model_bytes + 32 * self.trainer.count
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise InputError(
                f"folder {str(self.folder)!r} has {memory.readable(free)} of space left, and the "
                f"run needs about {memory.readable(needed)}; delete something or choose another "
                "--out"
            )


def prepare(backend: Backend, config: Config, dataset: Dataset) -> tuple[Trainer, tuple[Any, Any]]:
    """A trainer at the first epoch, and the test images and labels, on ``backend``'s device."""
    arithmetic = config.arithmetic()
    shape = (dataset.features, config.hidden, dataset.classes)
    memory.check(backend, config, shape, len(dataset.train_images), len(dataset.test_images))

    def on_device(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        x = inputs.images(backend, images, arithmetic.dtype)
        return x, inputs.labels(backend, labels, len(images), dataset.classes)

    start = model.he_normal(*shape, config.seed)
    x, y = on_device(dataset.train_images, dataset.train_labels)
    trainer = Trainer(backend, config, start, x, y)
    return trainer, on_device(dataset.test_images, dataset.test_labels)


def check_same(checkpoint: Checkpoint, config: Config, data: Data) -> None:
    """Raise :class:`InputError` saying what differs where a checkpoint is of another run."""
    records.check_definition(checkpoint.definition, checkpoint.config)
    theirs, ours = checkpoint.config.as_dict(), config.as_dict()
    differing = [
        f"{k} was {theirs[k]} and is {ours[k]}"
        for k in ours
        if theirs[k] != ours[k] and k != "epochs"  # no bit of an epoch depends on how many follow
    ]
    reached = checkpoint.state.epoch + (checkpoint.state.position > 0)
    if config.epochs < reached:
        differing.append(f"it is in epoch {reached} and was to end after {config.epochs}")
    if checkpoint.data.sha256 != data.sha256:
        differing.append(
            f"the data had SHA-256 {checkpoint.data.sha256[:16]}... and have {data.sha256[:16]}..."
        )
    if differing:
        raise InputError(
            f"the run cannot be resumed: {'; '.join(differing)}; "
            "use the same, or start another run with --out"
        )


def kept_weights(folder: Path, epoch: EpochRecord, last: bool) -> dict[str, np.ndarray] | None:
    """The weights after ``epoch``, the ``last`` of its run perhaps, just as its receipt says.

    None where the run's ``folder`` does not have them.
    """
    kept = folder / EPOCHS / f"{epoch.epoch:04d}.safetensors"
    for path in (folder / MODEL, kept) if last else (kept,):
        with suppress(InputError):
            parameters = load_model(path)[0]
            if digest(parameters) == epoch.weights_sha256:
                return parameters
    return None


def _remove_leftovers(folder: Path) -> None:
    """Delete what a killed process was writing; the lock says that none writes now."""
    for place in (folder, folder / EPOCHS):
        for leftover in place.glob(".backendmlp-*.tmp"):
            leftover.unlink(missing_ok=True)
