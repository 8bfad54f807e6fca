"""``backendmlp sweep``: many runs, a line for each when it is done, a table and a picture."""

from __future__ import annotations

import importlib.util
import math
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backendmlp.commands.request import weight_of_each
from backendmlp.commands.stopping import interrupted_by_others
from backendmlp.commands.telling import measure
from backendmlp.commands.together import note_others
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.sweeps.sweep import PICTURE, TABLE, Sweep, Swept
from backendmlp.sweeps.sweep import sweep as run_all
from backendmlp.sweeps.table import Row, deciding


def sweep(
    out: Path,
    given: Mapping[str, Sequence[Any]],
    *,
    seeds: int | None,
    jobs: int | None,
    backend: str,
    device: str | None,
    data: Path | None,
    dataset: str | None,
    keep_epochs: bool,
    quiet: bool,
) -> None:
    """Train all that ``given`` asks for, a tuple of values for each choice."""
    if not quiet:
        note_others("start one, which trains several networks at a time (--distributed is train's)")
    source = origin(data, dataset).open()
    named = given.get("class_weight", ())
    if any(isinstance(weights, dict) for weights in named):
        names = source.class_names
        weights = [weight_of_each(w, names) if isinstance(w, dict) else w for w in named]
        given = {**given, "class_weight": weights}
    over, choices = _parted(given, seeds)
    count = 0

    def say(run: Swept) -> None:
        nonlocal count
        count += 1
        if not quiet:
            print(f"{count:>4}  {run.point.name}  {_came_to(run)}", flush=True)

    try:
        with interrupted_by_others() as stop:
            found = run_all(
                out,
                over,
                source,
                jobs=jobs,
                backend=backend,
                device=device,
                keep_epochs=keep_epochs,
                on_run=say,
                **choices,
            )
    except KeyboardInterrupt:
        print(
            f"Interrupted; the same command goes on, as long as --out is {shlex.quote(str(out))}",
            file=sys.stderr,
        )
        sys.exit(128 + (stop.signal or signal.SIGINT))
    if not quiet:
        _print_rows(found.rows)
        _say_former(found)
        print(f"written to {out / TABLE}")
    if importlib.util.find_spec("matplotlib") is not None and deciding(found.rows):
        from backendmlp.plots import save_figures, sweep_figure

        for path in save_figures(out, {Path(PICTURE).stem: sweep_figure(found.rows)}):
            if not quiet:
                print(f"written to {path}")


def _say_former(found: Sweep) -> None:
    """What of former sweeps is in the folder, if anything."""
    parts = []
    if count := len(found.others):
        runs = f"{count:,} other run{'s are' if count > 1 else ' is'}"
        parts.append(f"{runs} in {found.folder} and not in this table")
    if found.former is not None:
        parts.append(f"the table before it is kept as {found.former.name}")
    if parts:
        print("; ".join(parts))


def _parted(
    given: Mapping[str, Sequence[Any]], seeds: int | None
) -> tuple[dict[str, Sequence[Any]], dict[str, Any]]:
    """The choices with several values, and those that are the same for all runs."""
    over = {name: values for name, values in given.items() if len(values) > 1}
    choices = {name: values[0] for name, values in given.items() if len(values) == 1}
    if seeds is not None:
        if seeds < 1:
            raise InputError(f"--seeds is {seeds}; give a number above zero")
        if "seed" in over:
            raise InputError(
                f"--seeds counts {seeds} on from one --seed, and {len(over['seed'])} are given; "
                "leave --seeds out, or give one --seed"
            )
        first = choices.pop("seed", 100)
        over["seed"] = range(first, first + seeds)
    return over, choices


def _came_to(run: Swept) -> str:
    if run.diverged is not None:
        return "diverged"
    ending = run.record.ending
    assert ending is not None
    for data in ("validation", "test"):
        for field, name in (("accuracy", "accuracy"), ("r2", "R2")):
            if (value := getattr(ending, f"{data}_{field}")) is not None:
                return f"{data} {measure(name, value)}"
    return ""


def _print_rows(rows: Sequence[Row]) -> None:
    """The kinds of runs, the best first."""
    name = deciding(rows)
    if name is None:
        print("every run diverged; lower the learning rate")
        return
    data, field = name.split("_")
    rows = sorted(rows, key=lambda row: _or_least(row.mean(name)), reverse=True)
    width = max(len(row.name) for row in rows)
    for row in rows:
        mean, spread = row.mean(name), row.spread(name)
        runs = f"{row.runs} run{'s' * (row.runs != 1)}"
        lost = f", {row.diverged} diverged" if row.diverged else ""
        if mean is None:
            print(f"{row.name:<{width}}  ({row.diverged} diverged)")
            continue
        label = measure("R2" if field == "r2" else field, mean)
        plus = "" if not spread else f" ± {_short(field, spread)}"
        print(f"{row.name:<{width}}  {data} {label}{plus}  ({runs}{lost})")


def _or_least(mean: float | None) -> float:
    return -math.inf if mean is None else mean


def _short(field: str, spread: float) -> str:
    return f"{spread:.2%}" if field == "accuracy" else f"{spread:.4f}"
