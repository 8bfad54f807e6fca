"""What a person is told of a training, in words."""

from __future__ import annotations

from collections.abc import Sequence

from backendmlp.config import Config
from backendmlp.training import stopping
from backendmlp.training.records import EpochRecord

_MEASURES = {"accuracy": "accuracy", "r2": "R2"}


def line(record: EpochRecord, epochs: int) -> str:
    """One epoch in words."""
    parts = [
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}",
        f"train loss {loss(record.train_loss)}",
    ]
    for data in ("validation", "test"):
        if (found := getattr(record, f"{data}_loss")) is not None:
            parts += [f"{data} loss {loss(found)}", f"{data} {score(record, data)}"]
    return "  ".join([*parts, f"{record.seconds:.2f} s"])


def score(record: EpochRecord, data: str) -> str:
    """The measure of an epoch on ``data``, "test" or "validation": its name and its value."""
    for field, name in _MEASURES.items():
        if (value := getattr(record, f"{data}_{field}")) is not None:
            return measure(name, value)
    return ""


def measure(name: str, value: float) -> str:
    """A measure with its name: accuracy in percent, R squared as a number."""
    return f"{name} {value:.2%}" if name == "accuracy" else f"{name} {value:.4f}"


def loss(value: float) -> str:
    return f"{value:.4f}" if value < 1e6 else f"{value:.3e}"  # no 300 digits of a divergence


def ending(config: Config, records: Sequence[EpochRecord]) -> str | None:
    """How a training came to its end that was watched by its ``patience``; None for another."""
    if config.patience is None or not records:
        return None
    course, last = stopping.begin(config), records[-1]
    for record in records:
        course = stopping.after(course, config, record)
    what = stopping.monitor(config, last).replace("_", " ").replace("train ", "training ")
    kept = stopping.keeps_best(config, last) and course.best_epoch > 0
    weights = f"the weights are those of epoch {course.best_epoch}"
    if course.ended:
        text = f"ended after epoch {last.epoch}: no better {what} for {course.stalled} epochs"
        return f"{text}; {weights}" if kept else text
    return f"{weights}, which has the best {what}" if kept else None


def described(config: Config) -> str:
    """The choices of ``config`` in words, without those that have no use or are zero."""
    found = config.as_dict().items()
    return ", ".join(
        f"{name} {_value(value)}"
        for name, value in found
        if value is not None and not (isinstance(value, float) and value == 0.0)
    )


def plain(text: str) -> str:
    """What a file says, without what it could do to a terminal."""
    return text if text.isprintable() else repr(text)


def _value(value: object) -> str:
    """A choice in words; no hidden layers at all are ``none``."""
    return "-".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
