"""When a training has gone on long enough, and how an adaptive rate follows the losses.

The rules are those of scikit-learn's multi-layer perceptrons.  They depend on the epochs' records
alone, so that a resumed training finds its place by replaying them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backendmlp.config import Config
from backendmlp.network.schedules import ADAPTED, LEAST_ADAPTED
from backendmlp.training.records import EpochRecord


@dataclass(frozen=True)
class Course:
    """Where a training stands: its full ``rate``, and whether it has ``ended`` early.

    ``best`` is the least monitored value so far (a score counts negative), of ``best_epoch``
    (from 1; 0 before the first); ``stalled`` epochs went by without a better one.
    """

    rate: float
    best: float = math.inf
    best_epoch: int = 0
    stalled: int = 0
    ended: bool = False


def begin(config: Config) -> Course:
    return Course(config.lr)  # type: ignore[arg-type]


def after(course: Course, config: Config, record: EpochRecord) -> Course:
    """The course after an epoch with ``record``."""
    if config.patience is None:
        return course
    value = monitored(config, record)
    stalled = course.stalled + 1 if not value <= course.best - config.tol else 0  # type: ignore[operator]
    if value < course.best:
        course = replace(course, best=value, best_epoch=record.epoch)
    if stalled <= config.patience:
        return replace(course, stalled=stalled)
    if config.schedule == "adaptive" and course.rate > LEAST_ADAPTED:
        return replace(course, stalled=0, rate=course.rate / ADAPTED)
    return replace(course, stalled=stalled, ended=True)


def monitored(config: Config, record: EpochRecord) -> float:
    """What is to get smaller: a loss, or a score with its sign changed."""
    name = monitor(config, record)
    if name == "validation_score":
        found = record.validation_accuracy
        return -(record.validation_r2 if found is None else found)  # type: ignore[operator]
    return getattr(record, name)


def monitor(config: Config, record: EpochRecord) -> str:
    """What ``config`` monitors, or what it does where it does not say."""
    if config.monitor is not None:
        return config.monitor
    return "train_loss" if record.validation_loss is None else "validation_loss"


def keeps_best(config: Config, record: EpochRecord) -> bool:
    """Whether the training is to end with the weights of its best epoch."""
    return config.patience is not None and monitor(config, record) != "train_loss"


def replayed(
    config: Config, records: Iterable[EpochRecord], course: Course | None = None
) -> Course:
    """The course that epochs with ``records`` led to, from ``course`` or from the start."""
    course = course or begin(config)
    for record in records:
        course = after(course, config, record)
    return course


def through(config: Config, records: Sequence[EpochRecord]) -> bool:
    """Whether a training with ``records`` is at its end, early perhaps."""
    return len(records) >= config.epochs or replayed(config, records).ended


def best(config: Config, records: Sequence[EpochRecord]) -> EpochRecord | None:
    """The best epoch of ``records``, where its weights are kept."""
    number = replayed(config, records).best_epoch
    return records[number - 1] if number and keeps_best(config, records[number - 1]) else None


def ending(config: Config, records: Sequence[EpochRecord]) -> EpochRecord | None:
    """The epoch whose weights a training with ``records`` ends with, or has so far."""
    if not records:
        return None
    return (best(config, records) if through(config, records) else None) or records[-1]
