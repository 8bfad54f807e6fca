"""What runs came to, in one table: mean and spread over those that differ in the seed alone."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backendmlp.errors import InputError
from backendmlp.files import read_bounded, write_atomically
from backendmlp.runs.record import Record
from backendmlp.sweeps.grid import text_of

MEASURES = (
    "train_loss",
    *("validation_loss", "validation_accuracy", "validation_r2"),
    *("test_loss", "test_accuracy", "test_r2"),
)
# What says best which kind is best: of data that no step was made on, or, where there are no
# others, of those that are only to be reported.
_DECIDING = ("validation_accuracy", "validation_r2", "test_accuracy", "test_r2")

_LIMIT = 1 << 27  # bytes of a table that is read


@dataclass(frozen=True)
class Row:
    """Runs of one ``kind``: what each came to, by measure, and how many more ``diverged``."""

    kind: dict[str, Any]
    found: dict[str, list[float]]
    diverged: int

    @property
    def runs(self) -> int:
        return len(next(iter(self.found.values()), []))

    @property
    def name(self) -> str:
        return ", ".join(f"{name} {text_of(value)}" for name, value in self.kind.items()) or "all"

    def mean(self, measure: str) -> float | None:
        """Of the runs that did not diverge."""
        values = self._of(measure)
        return statistics.fmean(values) if values else None

    def spread(self, measure: str) -> float | None:
        """The standard deviation of a sample; None of less than two runs."""
        values = self._of(measure)
        return statistics.stdev(values) if len(values) > 1 else None

    def _of(self, measure: str) -> list[float]:
        if measure not in MEASURES:
            raise InputError(f"measure is {measure!r:.80}; give one of {', '.join(MEASURES)}")
        return self.found.get(measure, [])


def rows_of(runs: Iterable[tuple[dict[str, Any], Record]]) -> list[Row]:
    """A row for each kind, in the order in which they come."""
    kinds: dict[str, Row] = {}
    for kind, record in runs:
        row = kinds.get(repr(kind)) or Row(kind, {}, 0)
        kinds[repr(kind)] = _with(row, record)
    return list(kinds.values())


def deciding(rows: Sequence[Row]) -> str | None:
    """The measure by which kinds are compared, which all have; None where every run diverged."""
    found = [row.found for row in rows if row.runs]
    return next((name for name in _DECIDING if found and all(name in of for of in found)), None)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` as CSV, numbers so that they read back exactly."""
    shown = [name for name in MEASURES if any(row.found.get(name) for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [f"{name}_{what}" for name in shown for what in ("mean", "spread")]
    writer.writerow([*rows[0].kind, "runs", "diverged", *heads])
    for row in rows:
        values = [value for name in shown for value in (row.mean(name), row.spread(name))]
        writer.writerow([*_cells(row.kind), row.runs, row.diverged, *values])
    write_atomically(path, text.getvalue().encode())


def says_all_of(path: Path, rows: Sequence[Row]) -> bool:
    """Whether ``rows`` have all kinds of the table in ``path``, and of each as many runs."""
    ours = {_cells(row.kind): row.runs + row.diverged for row in rows}
    try:
        head, *theirs = csv.reader(io.StringIO(read_bounded(path, _LIMIT).decode()))
        kinds = len(rows[0].kind)
        same = head[: kinds + 2] == [*rows[0].kind, "runs", "diverged"]
        return same and all(
            ours.get(tuple(row[:kinds]), 0) >= int(row[kinds]) + int(row[kinds + 1])
            for row in theirs
        )
    except (InputError, ValueError, IndexError, csv.Error):  # somebody has made it their own
        return False


def _cells(kind: Mapping[str, Any]) -> tuple[str, ...]:
    """Choices as the command line takes them: (256, 128) as 256,128."""
    return tuple(
        ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
        for value in kind.values()
    )


def _with(row: Row, record: Record) -> Row:
    if record.diverged is not None or record.ending is None:
        return Row(row.kind, row.found, row.diverged + 1)
    found = {
        name: [*row.found.get(name, []), value]
        for name in MEASURES
        if (value := getattr(record.ending, name)) is not None
    }
    return Row(row.kind, found, row.diverged)
