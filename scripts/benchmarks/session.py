"""One call of the benchmark: who takes part in it, and all that it finds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from backendmlp.data import Dataset
from benchmarks import goals, report
from benchmarks.contestants import BEFORE, ENTRIES, PREDICTING
from benchmarks.rounds import Turn, Worker, compete, one_epoch
from benchmarks.task import Discipline, Task

_PREDICTED = (1, 100, 1000, 60_000)  # images of a call


@dataclass
class Session:
    """One call of the benchmark: what was asked for, and what has been found."""

    threads: int
    rounds: int
    images: int
    keys: list[str]
    dataset: Dataset
    folder: Path
    before: Path | None = None
    cells: goals.Cells = field(default_factory=dict)
    predictions: goals.Predictions = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    growth: dict[str, dict[int, float]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    startup: dict[str, float] = field(default_factory=dict)
    failed: bool = False

    def task(self, contestant: str, batch_size: int, discipline: Discipline) -> Task:
        """What ``contestant`` is to do; one of before goes by its present name there."""
        checkout = str(self.before) if contestant in BEFORE else ""
        name = BEFORE.get(contestant, contestant)
        data = str(self.folder / "data")
        return Task(name, data, batch_size, discipline, self.threads, checkout=checkout)

    def measure(self, discipline: Discipline, batch_size: int) -> None:
        """One table: everyone at this discipline and batch size."""
        results = self.compete(self.keys, discipline, batch_size)
        self.cells[discipline, batch_size] = results
        say(f"\nbatch {batch_size}, {discipline.title}, {self.images:,} images; an epoch takes")
        say(report.table(results))
        say("\nratios of medians (and the median of the rounds' ratios)")
        say(report.ratio_table(results))
        say("\n" + report.agreement_text(results))

    def predict(self, discipline: Discipline) -> None:
        """One table: predictions by networks that everyone has trained for an epoch."""
        counts = sorted({min(count, self.images) for count in _PREDICTED})

        def turn(worker: Worker) -> None:
            for count in counts:
                worker.predict(count)

        keys = [key for key in self.keys if key in PREDICTING]
        results = self.compete(keys, discipline, 64, turn)
        self.predictions[discipline.hidden] = results
        say(f"\npredictions, {discipline.title}; a call takes (beside the faster peer)")
        say(report.prediction_table(results))
        say("\n" + report.agreement_text(results))

    def compete(
        self, keys: list[str], discipline: Discipline, batch_size: int, turn: Turn = one_epoch
    ) -> goals.Results:
        tasks = {
            key: self.task(key, batch_size, discipline)
            for key in keys
            if key not in self.left_out and ENTRIES[key].takes_part(discipline)
        }
        outcome = compete(tasks, self.rounds, say, turn)
        self.left_out |= outcome.absent
        self.failed |= bool(outcome.broken or goals.off(outcome.results))
        return outcome.results

    def verdicts(self) -> list[goals.Verdict]:
        pixels = self.images * self.dataset.features
        return [
            *goals.ratio_verdicts(self.cells),
            *goals.prediction_verdicts(self.predictions),
            *goals.startup_verdicts(self.startup),
            *goals.memory_verdicts(self.memory, pixels),
            *goals.growth_verdicts(self.growth),
        ]

    def as_dict(self) -> dict[str, Any]:
        cells = [
            {
                "discipline": asdict(discipline),
                "batch_size": size,
                "results": [result.as_dict() for result in found.values()],
            }
            for (discipline, size), found in self.cells.items()
        ]
        predictions = [
            {"hidden": hidden, "results": [result.as_dict() for result in found.values()]}
            for hidden, found in self.predictions.items()
        ]
        return {
            "machine": report.machine(self.threads),
            "data": self.dataset.name,
            "images": self.images,
            "rounds": self.rounds,
            "labels": {key: ENTRIES[key].label for key in self.keys},
            "left_out": self.left_out,
            "cells": cells,
            "predictions": predictions,
            "growth": self.growth,
            "memory": self.memory,
            "startup": self.startup,
            "goals": [{**asdict(verdict), "met": verdict.met} for verdict in self.verdicts()],
        }


def say(text: str) -> None:
    click.echo(text)


def write(json_file: Path | None, found: dict[str, Any]) -> None:
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
