"""A training in a folder: what it writes there, when, and how it goes on after an end of any kind.

==========================  =======================================================================
``checkpoint.safetensors``  where the training stands; gone once it is finished
``final.safetensors``       the same of a finished run that could be trained on with more epochs,
                            where the model alone would not do: see :meth:`Run._keeps_final`
``model.safetensors``       the trained network, when the training ends or is told to stop
``run.json``                the receipt: see :mod:`backendmlp.runs.record`
``epochs/0001.safetensors`` the network after each epoch, unless the caller wants none: what a
                            verification on another machine compares with, entry by entry.  Where
                            they exceed 64 MiB, every second one is kept, every fourth and so on,
                            and always the last and the best; none where one alone exceeds it
==========================  =======================================================================
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backendmlp import memory
from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.data.origin import Origin
from backendmlp.errors import InputError
from backendmlp.files import writable_folder
from backendmlp.network.model import Parameters
from backendmlp.network.schedules import FORESEEN
from backendmlp.ranks import ALONE, Ranks
from backendmlp.runs import checkpoint as checkpoints
from backendmlp.runs import record as records
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.modelfile import save_model
from backendmlp.runs.parsing import Data
from backendmlp.runs.prepare import definition_of, prepare
from backendmlp.runs.record import Record
from backendmlp.runs.stored import (
    CHECKPOINT,
    EPOCHS,
    FINAL,
    MODEL,
    RECORD,
    check_same,
    kept_numbers,
    remove_leftovers,
    unwritten,
)
from backendmlp.training import stopping
from backendmlp.training.epochs import never, nothing, train, warn_caller
from backendmlp.training.given import Pair
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import DivergenceError, State, calming

_KEPT_BYTES = 1 << 26


@dataclass(frozen=True)
class Every:
    """How often to write a checkpoint: after so many epochs, or after so many seconds."""

    epochs: int | None = 1
    seconds: float | None = None


class Run:
    """A training of ``config`` on ``dataset`` that keeps itself in ``folder``.

    The caller holds the folder's lock (:mod:`backendmlp.runs.lock`).  Raises :class:`InputError`
    where the folder cannot take what the run needs, or the data do not fit it.  With ``look``,
    warns of the classic mistakes with data.  Of several ``ranks``, which call the same methods, the
    first alone writes, and warns.
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
        *,
        look: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        records.check_epochs(config)
        self._writes = ranks.rank == 0
        self.folder, self.backend, self.config = folder, backend, config
        self.dataset, self.data = dataset, data
        self.every, self.keep_epochs = every or Every(), keep_epochs
        self.definition = definition_of(config, dataset)
        self.epochs: list[EpochRecord] = []
        self._prepared = prepare(backend, config, dataset, look=look and self._writes, ranks=ranks)
        self.trainer = self._prepared.trainer
        self.parallel = records.parallel(backend, ranks)
        self._saved = time.monotonic()
        self._look()

    def __repr__(self) -> str:
        told = f"{len(self.epochs)} of {self.config.epochs} epochs in {str(self.folder)!r}"
        if self.epochs:
            told += f", weights sha256 {(self.weights_sha256 or '')[:12]}"
        return f"<Run: {told}>"

    @property
    def test(self) -> Pair:
        """The test data's inputs and targets, on the device."""
        return self._prepared.test

    @property
    def finished(self) -> bool:
        """Whether the training is at its end, early perhaps, and its results are written."""
        return self.trainer.through and self._written

    @property
    def weights_sha256(self) -> str | None:
        """The digest of the weights after the last finished epoch, None before the first.

        Of a run that is at its end, those of the best epoch where they are kept.
        """
        ending = stopping.ending(self.config, self.epochs)
        return ending.weights_sha256 if ending else None

    def begin(self) -> None:
        """Make sure of the folder and its space, and write the first checkpoint."""
        if self._writes:
            remove_leftovers(self.folder)
            self._check_space()
            self.save_checkpoint()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from ``checkpoint``; raises :class:`InputError` where it is of another run."""
        if self._writes:
            remove_leftovers(self.folder)
        records.check_definition(checkpoint.definition, self.definition, self.config.numerics)
        check_same(checkpoint, self.config, self.data)
        sizes = Parameters.of(checkpoint.state.learned).sizes
        fit = sizes == self.trainer.parameters.sizes
        if not fit or checkpoint.state.position > self.trainer.count:
            raise InputError(
                f"the checkpoint in {str(self.folder)!r} does not fit the data; use another"
            )
        self.epochs = list(checkpoint.epochs)
        self.trainer.restore(checkpoint.state)
        self.trainer.replay(self.epochs)
        if self._writes and not self.finished:
            writable_folder(self.folder)

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
            self._prepared.test,
            self._prepared.validation,
            on_warm_up=on_warm_up,
            on_progress=progress,
            should_stop=should_stop,
            warn=warn if self._writes else nothing,
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
        except DivergenceError as error:
            self._write_results(str(error))
            raise
        if not self.trainer.through:
            self.save_checkpoint()
        self._write_results()
        if self.trainer.through:
            self._put_checkpoint_away()
        self._look()
        return self.finished

    def save_checkpoint(self) -> None:
        """Write where the training stands, within an epoch too, unless it is diverging.

        The last good checkpoint then stays; the end of the epoch will say what is wrong.
        """
        if not self._writes:
            return
        state = self.trainer.state()
        if not checkpoints.is_finite({**state.learned, **state.parts}):
            return
        checkpoints.save(
            self.folder / CHECKPOINT,
            Checkpoint(self.config, self.data, state, self.epochs, self.definition),
        )
        self._saved = time.monotonic()

    @property
    def _keeps_final(self) -> bool:
        """Whether a finished run needs more than its model to be trained on, and can be at all."""
        on = self.config.schedule not in FORESEEN and not self.trainer.course.ended
        best = stopping.best(self.config, self.epochs)
        return on and (bool(self.trainer.recipe.optimizer.slots) or best is not None)

    def _put_checkpoint_away(self) -> None:
        """The last step of a run; whoever is killed before it resumes and comes to it again."""
        if not self._writes:
            return
        if self._keeps_final and (self.folder / CHECKPOINT).exists():
            os.replace(self.folder / CHECKPOINT, self.folder / FINAL)
            return
        (self.folder / CHECKPOINT).unlink(missing_ok=True)
        if not self._keeps_final:
            (self.folder / FINAL).unlink(missing_ok=True)

    def _require_finite(self, epoch: EpochRecord, good: State, kept: str) -> None:
        """Other images can overflow where training images do not: the weights are no good then."""
        if (name := epoch.overflowed) is not None:
            self.trainer.restore(good)
            self.trainer.replay(self.epochs)
            raise DivergenceError(
                f"the training diverged in epoch {epoch.epoch}: the {name} is not finite any more; "
                f"the weights {kept} are kept, {calming(self.config)}"
            )

    def _after_epoch(self) -> None:
        if not self._writes:
            return
        number = self.trainer.epoch
        if self.keep_epochs and self._model_bytes <= _KEPT_BYTES:
            kept = writable_folder(self.folder / EPOCHS)
            self._save_model(kept / f"{number:04d}.safetensors")
            self._thin_out(kept)
        due = self.every.epochs is not None and number % self.every.epochs == 0
        # The best weights are about to take the place of the last, which training on would need.
        if due or (self.trainer.through and self._keeps_final):
            self.save_checkpoint()

    def _thin_out(self, folder: Path) -> None:
        """Of more epochs than there is room for, keep some evenly, the last, and the best."""
        number, best = self.trainer.epoch, self.trainer.course.best_epoch
        wanted = kept_numbers(number, _KEPT_BYTES // self._model_bytes, best)
        for path in folder.glob("[0-9]*.safetensors"):
            if path.stem.isdecimal() and int(path.stem) < number and int(path.stem) not in wanted:
                path.unlink()

    def _save_in_time(self) -> None:
        due = self.every.seconds
        if due is not None and time.monotonic() - self._saved >= due:
            self.save_checkpoint()

    def _look(self) -> None:
        """See whether the results are written, and nothing is left to resume from."""
        self._written = self.trainer.ranks.first(
            lambda: not (self.folder / CHECKPOINT).exists() and not unwritten(self.folder)
        )

    def _write_results(self, diverged: str | None = None) -> None:
        if not self._writes:
            return
        self._save_model(self.folder / MODEL)
        record = Record(
            self.config,
            self.backend.name,
            self.backend.label,
            self.data,
            self.epochs,
            records.versions(self.backend.packages),
            self.definition,
            self.trainer.stepper.name,
            self.parallel,
            diverged,
        )
        records.write(self.folder / RECORD, record)

    def _save_model(self, path: Path) -> None:
        # Not where the data lay: the same run gives the same bytes in every folder.
        data = Data(Origin(self.data.origin.name), self.data.sha256).as_dict()
        tensors, unit = self.trainer.weights(), self._prepared.unit
        save_model(
            path,
            tensors if unit is None else {**tensors, "unit": unit},
            {**self._prepared.metadata, "data": data},
        )

    @property
    def _model_bytes(self) -> int:
        return self._prepared.parameter_count * np.dtype(self.config.dtype).itemsize

    def _check_space(self) -> None:
        """Refuse before the first epoch what the disk will refuse later, as far as can be told."""
        recipe = self.trainer.recipe
        kept = min(self.config.epochs * self._model_bytes, _KEPT_BYTES) * self.keep_epochs
        # A checkpoint beside the one it replaces: within an epoch each has all twice, and perhaps
        # the best weights.
        copies = 2 * (1 + len(recipe.optimizer.slots)) + (self.config.patience is not None)
        parts = 8 * len(recipe.loss.parts) * self.trainer.count
        needed = kept + self._model_bytes + 2 * (copies * self._model_bytes + parts)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise InputError(
                f"folder {str(self.folder)!r} has {memory.readable(free)} of space left, and the "
                f"run needs about {memory.readable(needed)}; delete something or choose another "
                "--out"
            )
