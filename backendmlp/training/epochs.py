"""A training from the first epoch to the last, and the record each epoch leaves."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from backendmlp.backend import namespace, to_numpy
from backendmlp.digests import digest
from backendmlp.network.evaluation import classes, evaluate_and_fetch
from backendmlp.network.model import forward
from backendmlp.training.trainer import Trainer

Array = Any


def nothing(_: object) -> None:
    """A caller who wants to be told nothing."""


def never() -> bool:
    """A caller who never wants to stop."""
    return False


# Between two looks at the outside world: many enough that beginning anew costs little, few enough
# that a look comes several times a second.
_FEWEST_IMAGES, _MOST_IMAGES, _SECONDS = 2048, 16384, 0.05


# When a training is given up for lost: a mean loss so many times that of guessing, and the first
# images, if no hidden unit answers to any of them.
_TIMES_GUESSING, _ASKED = 10, 1000


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch, counted from 1, came to.

    ``seconds`` is the time of its training alone.  The digests are those of
    :func:`backendmlp.digests.digest`: of all weights, of each by name, and of the test images'
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


def warn_caller(text: str) -> None:
    """Warn whoever drives :func:`train`, as Python warns."""
    warnings.warn(text, UserWarning, stacklevel=4)  # past this, train and its driver


def train(
    trainer: Trainer,
    test: tuple[Array, Array] | None = None,
    *,
    on_warm_up: Callable[[bool], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
    warn: Callable[[str], None] = warn_caller,
) -> Iterator[EpochRecord]:
    """Train to the last epoch, yielding a record after each.

    ``test`` holds images (N, F) and labels (N,) on the trainer's device.  A device that may
    compile at first use is warmed up before the clock runs: ``on_warm_up`` is told True before and
    False after.  ``on_progress`` is told, a few times a second, how many images went by since the
    last call.  Ends early, perhaps within an epoch, once ``should_stop`` says so; the trainer can
    then be asked for its state.  ``warn`` is told once, in a sentence, where the training is lost;
    it goes on all the same.
    """
    if trainer.epoch < trainer.config.epochs and not trainer.backend.in_memory:
        on_warm_up(True)
        trainer.warm_up()
        on_warm_up(False)
    warned = False
    while trainer.epoch < trainer.config.epochs:
        seconds = train_epoch(trainer, on_progress, should_stop)
        if trainer.position < trainer.count:
            return
        started = time.perf_counter()
        loss = trainer.finish_epoch()
        if not warned and (why := lost(trainer, loss)):
            warned = True
            warn(why)
        yield _record(trainer, loss, seconds + time.perf_counter() - started, test)


def train_epoch(
    trainer: Trainer,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
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


def lost(trainer: Trainer, loss: float) -> str | None:
    """Why a training is lost whose last epoch had the mean ``loss``; None if it may succeed."""
    guessing = math.log(trainer.parameters.shape[2])
    remedy = f"lower the learning rate (now {trainer.config.lr:g})"
    if loss > _TIMES_GUESSING * guessing:
        return (
            f"the training is lost: the loss of epoch {trainer.epoch} is {loss:.3g}, and guessing "
            f"has one of {guessing:.3g}; {remedy}"
        )
    if loss > guessing / 2 and _dead(trainer):  # a good loss needs no look at the hidden units
        return (
            f"the training is lost: after epoch {trainer.epoch} all hidden units are zero, "
            f"whatever the image, and nothing can be learned any more; {remedy}"
        )
    return None


def _dead(trainer: Trainer) -> bool:
    """Whether no hidden unit answers to any of the first images, which are not all the same."""
    images = trainer.images[: min(_ASKED, trainer.count), :]
    xp = namespace(images)
    if not bool(xp.any(images != images[:1, :])):
        return False
    return not bool(xp.any(forward(trainer.arithmetic, trainer.parameters, images).hidden > 0))


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
