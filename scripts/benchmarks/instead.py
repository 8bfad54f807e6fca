"""What is done instead of all the rest: steps on a GPU, on cores, on ranks; estimators."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import device, estimators, goals, ranks, report
from benchmarks.contestants import ENTRIES
from benchmarks.rounds import compete
from benchmarks.session import Session, say, write
from benchmarks.task import DISCIPLINES


@dataclass
class Asked:
    """What of the options these care for."""

    batch_sizes: tuple[int, ...]
    hiddens: list[tuple[int, ...]]
    only: tuple[str, ...]
    seconds: float | None
    quick: bool
    json_file: Path | None


def on_device(session: Session, asked: Asked) -> None:
    """A table for each cell; the file has every one of them as soon as it is known."""
    keys = list(asked.only) or list(device.ON_DEVICE)
    hiddens = asked.hiddens or ([(100,)] if asked.quick else [])
    cells, seconds = device.cells(hiddens, asked.batch_sizes), asked.seconds
    started, found = time.monotonic(), []
    machine = report.machine(session.threads)
    task = session.task("", 64, DISCIPLINES["sgd"])
    with device.Race(task, session.images, session.rounds, say, keys) as race:
        for discipline, size in cells:
            if seconds is not None and time.monotonic() - started > seconds:
                say(f"LEFT OUT: batch {size}, {discipline.title}: no time left")
                continue
            results, steps = race.run((discipline, size)), -(-session.images // size)
            agreement, table = _agreement(session, results), ""
            if results:
                table = report.device_table(results, steps)
            say(f"\nbatch {size}, {discipline.title}, {session.images:,} images\n{table}")
            say(agreement)
            found.append(
                {
                    "hidden": discipline.hidden,
                    "batch_size": size,
                    "steps": steps,
                    "epochs_a_turn": device.epochs(session.images, size),
                    "table": table,
                    "agreement": agreement,
                    "results": [result.as_dict() for result in results.values()],
                }
            )
            session.failed |= bool(race.broken) or not results
            kept = {"machine": machine, "data": session.dataset.name, "images": session.images}
            kept |= {"rounds": session.rounds, "left_out": race.left_out, "broken": race.broken}
            write(asked.json_file, {**kept, "cells": found})


def _agreement(session: Session, results: goals.Results) -> str:
    """In words, whether all learn the same; and the bitwise ones to the bit."""
    others = device.of_other_bits(results)
    session.failed |= bool(others or goals.off(results))
    bits = [f"WRONG BITS: {ENTRIES[key].label}" for key in others]
    return "\n".join([report.agreement_text(results), *bits])


def scaling(session: Session, asked: Asked) -> None:
    """Ours on the CPU with more and more threads, in one alternating run."""
    counts = [2**power for power in range(20) if 2**power <= session.threads]
    found = []
    for size in asked.batch_sizes or (64, 1024):
        tasks = {
            f"{key} {count}": replace(session.task(key, size, DISCIPLINES["sgd"]), threads=count)
            for key in ("ours-native-float32", "ours-bitwise-float64")
            for count in counts
        }
        outcome = compete(tasks, session.rounds, say)
        session.failed |= bool(outcome.broken)
        steps = -(-session.images // size)
        table = report.scaling_table(outcome.results, steps)
        say(f"\nbatch {size}, steps on NumPy: {report.machine(1)['steps']}\n{table}")
        results = [result.as_dict() for result in outcome.results.values()]
        found.append({"batch_size": size, "steps": steps, "table": table, "results": results})
        write(asked.json_file, {"machine": report.machine(session.threads), "cells": found})


def on_ranks(session: Session, asked: Asked) -> None:
    """Ours on ranks beside threads; the bits of both are the same, or it failed."""
    cells: dict[int, goals.Results] = {}
    found: dict[str, Any] = {"machine": report.machine(session.threads), "images": session.images}
    for size in asked.batch_sizes or ranks.BATCH_SIZES:
        outcome = ranks.cell(session.task("", size, DISCIPLINES["sgd"]), session.rounds, say)
        cells[size] = results = outcome.results
        others = ranks.of_other_bits(results)
        session.failed |= bool(outcome.broken or others)
        say(f"\nbatch {size}, an epoch of {session.images:,} images takes\n{ranks.table(results)}")
        say(ranks.traffic_text(results, -(-session.images // size)))
        for name in others:
            say(f"WRONG BITS: {name}")
        kept = {name: result.as_dict() for name, result in results.items()}
        found.setdefault("cells", []).append({"batch_size": size, "results": kept})
        write(asked.json_file, found)
    write(asked.json_file, {**found, **_expect(cells, session.images)})
    say("\n" + report.checklist(ranks.verdicts(cells)))


def _expect(cells: dict[int, goals.Results], images: int) -> dict[str, Any]:
    """What is to be expected of more ranks than there are here."""
    last = list(cells.values())[-1]
    if (here := ranks.measured(last)) is None:
        say("nothing is expected of more ranks, since two were not measured")
        return {}
    seconds = {size: min(results["threads 1"].seconds) for size, results in cells.items()}
    work, sizes = ranks.work(seconds, images), ranks.meetings(last)
    say(f"\nan allreduce takes\n{ranks.allreduce_table(last)}")
    found = {}
    for network in (here, ranks.PUBLISHED):
        found[network.name] = shares = ranks.expected(work, network, sizes)
        say(f"\nefficiency to expect: {ranks.assumptions(work, network, sizes)}")
        say(ranks.expected_table(shares))
    return {"work": asdict(work), "network": asdict(here), "expected": found}


def of_estimators(session: Session, asked: Asked) -> None:
    """Both libraries' classifiers, a table for each set."""
    found, verdicts = [], []
    for one in estimators.sets(session.dataset, session.images, asked.quick):
        task = session.task("", 0, DISCIPLINES["sgd"])
        results, outcome = estimators.race(task, one, session.rounds, say)
        session.failed |= bool(outcome.broken or goals.off(outcome.results))
        say(f"\n{results.title}\n{results.table()}\n{report.agreement_text(outcome.results)}")
        found.append(results.as_dict())
        verdicts += results.verdicts()
        write(asked.json_file, {"machine": report.machine(session.threads), "sets": found})
    say("\n" + report.checklist(verdicts))


# By the option that asks for it.
MODES: dict[str, Callable[[Session, Asked], None]] = {
    "--device": on_device,
    "--scaling": scaling,
    "--ranks": on_ranks,
    "--estimators": of_estimators,
}
