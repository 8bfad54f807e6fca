"""The record that each epoch leaves."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch, counted from 1, came to.

    ``seconds`` is the time of its training alone.  The digests are those of
    :func:`backendmlp.digests.digest`: of all weights, of each by name, and of what the test rows
    came to: their ``classes`` and ``probabilities``, or their ``outputs``.  Losses and measures of
    data that were not given are None, and so is the accuracy of a regression, whose measure is R
    squared, or R squared of classes.
    """

    epoch: int
    train_loss: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    weights_sha256: str
    tensors_sha256: dict[str, str]
    predictions_sha256: str | None
    test_r2: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_r2: float | None = None

    @property
    def overflowed(self) -> str | None:
        """What is not finite of other rows than those trained on, in words; None for nothing."""
        for data in ("test", "validation"):
            for measure, words in (("loss", "loss"), ("r2", "R2")):
                value = getattr(self, f"{data}_{measure}")
                if value is not None and not math.isfinite(value):
                    return f"{data} {words}"
        return None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, not copied: every checkpoint writes those of all epochs.

        Without what most runs do not have.
        """
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        optional = {field.name for field in fields(self) if field.default is not MISSING}
        return {k: v for k, v in found.items() if v is not None or k not in optional}
