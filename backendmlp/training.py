"""A training from the first epoch to the last, and the record each epoch leaves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from backendmlp.backend import to_numpy
from backendmlp.digest import digest
from backendmlp.evaluation import classes, evaluate_and_fetch
from backendmlp.trainer import Trainer

Array = Any

# Between two looks at the outside world: many enough that beginning anew costs little, few enough
# that a look comes several times a second.
_FEWEST_IMAGES, _MOST_IMAGES, _SECONDS = 2048, 16384, 0.05


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch, counted from 1, came to.

    ``seconds`` is the time of its training alone.  The digests are those of
    :func:`backendmlp.digest.digest`: of all weights, of each by name, and of the test images'
    ``classes`` and ``probabilities``.
    """

    epoch: int
    train_loss: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    weights_sha256: str
    tensors_sha256: dict[str, str]
    predictions_sha256: str | None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, not copied: every checkpoint writes those of all epochs."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def train(
    trainer: Trainer,
    test: tuple[Array, Array] | None = None,
    *,
    on_warm_up: Callable[[bool], None] = lambda begins: None,
    on_progress: Callable[[int], None] = lambda images: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[EpochRecord]:
    """Train to the last epoch, yielding a record after each.

    ``test`` holds images (N, F) and labels (N,) on the trainer's device.  A device that may
    compile at first use is warmed up before the clock runs: ``on_warm_up`` is told True before and
    False after.  ``on_progress`` is told, a few times a second, how many images went by since the
    last call.  Ends early, perhaps within an epoch, once ``should_stop`` says so; the trainer can
    then be asked for its state.
    """
    if trainer.epoch < trainer.config.epochs and not trainer.backend.in_memory:
        on_warm_up(True)
        trainer.warm_up()
        on_warm_up(False)
    while trainer.epoch < trainer.config.epochs:
        seconds = train_epoch(trainer, on_progress, should_stop)
        if trainer.position < trainer.count:
            return
        started = time.perf_counter()
        loss = trainer.finish_epoch()
        yield _record(trainer, loss, seconds + time.perf_counter() - started, test)


def train_epoch(
    trainer: Trainer,
    on_progress: Callable[[int], None] = lambda images: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> float:
    """Train to the end of the epoch or until told to stop; returns the seconds it took."""
    size = trainer.config.batch_size
    images = _FEWEST_IMAGES
    seconds, through = 0.0, trainer.position == trainer.count
    while not through and not should_stop():
        before, started = trainer.position, time.perf_counter()
        through = trainer.advance(max(1, images // size))
        if through:
            trainer.backend.synchronize()
        took = time.perf_counter() - started
        if took < _SECONDS / 2:
            images = min(2 * images, _MOST_IMAGES)
        seconds += took
        on_progress(trainer.position - before)
    return seconds


def _record(
    trainer: Trainer, loss: float, seconds: float, test: tuple[Array, Array] | None
) -> EpochRecord:
    weights = trainer.fetched()
    test_loss = accuracy = predictions = None
    if test is not None:
        scores = trainer.score(*test)
        evaluation, probabilities = evaluate_and_fetch(trainer.arithmetic, scores, test[1])
        test_loss, accuracy = evaluation.loss, evaluation.accuracy
        predictions = predictions_digest(probabilities)
    return EpochRecord(
        trainer.epoch,  # finished epochs, so the number of this one counted from 1
        loss,
        test_loss,
        accuracy,
        seconds,
        digest(weights),
        {name: digest({name: value}) for name, value in weights.items()},
        predictions,
    )


def predictions_digest(probabilities: Array) -> str:
    """The digest of ``probabilities`` (N, C) and of the ``classes`` (N,) they amount to."""
    return digest(
        {"classes": to_numpy(classes(probabilities)), "probabilities": to_numpy(probabilities)}
    )
