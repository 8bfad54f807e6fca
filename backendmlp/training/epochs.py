"""A training from the first epoch to the last, and the record each epoch leaves."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backendmlp.backend import to_numpy
from backendmlp.digests import digest
from backendmlp.network.evaluation import evaluate_and_fetch
from backendmlp.network.losses import classes
from backendmlp.training.lost import Watch
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import Trainer

__all__ = ["EpochRecord", "train"]

Array = Any
Pair = tuple[Array, Array]


def nothing(_: object) -> None:
    """A caller who wants to be told nothing."""


def never() -> bool:
    """A caller who never wants to stop."""
    return False


_MANY_BYTES = 1 << 20  # of weights: fewer are hashed before threads have begun

_FEWEST_ROWS, _MOST_ROWS, _SECONDS = 2048, 1 << 18, 0.05


@dataclass
class Pace:
    """How many rows to go through between two looks at the outside world.

    Many enough that beginning anew costs little, few enough that a look comes several times a
    second; what an epoch has taught serves the next.
    """

    rows: int = _FEWEST_ROWS

    def took(self, seconds: float) -> None:
        """Take in what the last such piece took."""
        if seconds < _SECONDS / 2:
            self.rows = min(2 * self.rows, _MOST_ROWS)
        elif seconds > 2 * _SECONDS:
            self.rows = max(self.rows // 2, _FEWEST_ROWS)


def warn_caller(text: str) -> None:
    """Warn whoever drives :func:`train`, as Python warns."""
    warnings.warn(text, UserWarning, stacklevel=4)  # past this, train and its driver


def train(
    trainer: Trainer,
    test: Pair | None = None,
    validation: Pair | None = None,
    *,
    on_warm_up: Callable[[bool], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
    warn: Callable[[str], None] = warn_caller,
) -> Iterator[EpochRecord]:
    """Train to the last epoch, or to where it ends early, yielding a record after each.

    ``test`` and ``validation`` hold inputs (N, F) and targets on the trainer's device.  A device
    that may compile at first use is warmed up before the clock runs: ``on_warm_up`` is told True
    before and False after.  ``on_progress`` is told, a few times a second, how many rows went by
    since the last call.  Stops, perhaps within an epoch, once ``should_stop`` says so; the trainer
    can then be asked for its state; of several ranks, one that says so stops all.  ``warn`` is told
    once, in a sentence, where the training is lost or has gone astray; it goes on all the same.
    """
    if not trainer.through and trainer.ranks.most(not trainer.backend.in_memory):
        on_warm_up(True)
        trainer.warm_up(test or validation)
        on_warm_up(False)
    watch, pace = Watch(trainer), Pace()
    while not trainer.through:
        seconds = train_epoch(trainer, on_progress, should_stop, pace)
        if trainer.position < trainer.count:
            return
        started = time.perf_counter()
        loss = trainer.finish_epoch()
        seconds += time.perf_counter() - started
        record = _record(trainer, loss, seconds, test, validation)
        trainer.follow(record)
        if (why := watch.after_epoch(loss)) is not None:
            warn(why)
        yield record
    trainer.take_best()


def train_epoch(
    trainer: Trainer,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
    pace: Pace | None = None,
) -> float:
    """Train to the end of the epoch or until told to stop; returns the seconds it took."""
    size, ranks, pace = trainer.config.batch_size, trainer.ranks, pace or Pace()
    seconds, through = 0.0, trainer.position == trainer.count
    while not through and not ranks.most(should_stop()):
        before, started = trainer.position, time.perf_counter()
        through = trainer.advance(max(1, pace.rows // size))
        trainer.backend.synchronize()  # a device that is only asked answers at once
        took = ranks.most(time.perf_counter() - started)  # else ranks would take other numbers
        pace.took(took)
        seconds += took
        on_progress(trainer.position - before)
    return seconds


def _record(
    trainer: Trainer, loss: float, seconds: float, test: Pair | None, validation: Pair | None
) -> EpochRecord:
    weights = trainer.weights()
    bytes_held = sum(value.nbytes for value in weights.values())
    threads = bytes_held >= _MANY_BYTES or not trainer.backend.in_memory
    # Neither a hash nor a device needs Python's lock.
    with ThreadPoolExecutor(2) if threads else _AtOnce() as pool:
        together = pool.submit(digest, weights)
        apart = pool.submit(lambda: {k: digest({k: value}) for k, value in weights.items()})
        tested, outputs = _evaluated(trainer, test)
        validated, _ = _evaluated(trainer, validation)
    return EpochRecord(
        trainer.epoch,  # finished epochs, so the number of this one counted from 1
        loss,
        tested.get("loss"),
        tested.get("accuracy"),
        seconds,
        together.result(),
        apart.result(),
        None if outputs is None else predictions_digest(outputs, trainer.config.regression),
        tested.get("r2"),
        validated.get("loss"),
        validated.get("accuracy"),
        validated.get("r2"),
    )


def _evaluated(trainer: Trainer, shown: Pair | None) -> tuple[dict[str, Any], Array | None]:
    """The evaluation's fields by name, none where nothing is shown, and the outputs."""
    if shown is None:
        return {}, None
    scores, recipe = trainer.score(*shown), trainer.recipe
    found, outputs = evaluate_and_fetch(recipe.arithmetic, recipe.loss, scores, shown[1])
    return vars(found), outputs


class _AtOnce(Executor):
    """In the place of threads where these take longer than the work."""

    def submit(self, work: Callable[..., Any], /, *of: Any, **more: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*of, **more))
        return done


def predictions_digest(outputs: Array, regression: bool = False) -> str:
    """The digest of ``outputs`` (N, C): of probabilities together with the classes (N,)."""
    if regression:
        return digest({"outputs": to_numpy(outputs)})
    return digest({"classes": to_numpy(classes(outputs)), "probabilities": to_numpy(outputs)})
