"""Train the same network on every implementation, and compare all that comes of it as raw bits.

    python scripts/fuzz_bits.py --seconds 3600
    python scripts/fuzz_bits.py --replay FILE

A case is a small dict that JSON can hold: sizes of layers, the choices of a configuration, how
inputs, targets, weights, order and starting parameters are made, the rate, the threads, and the
paths on which the training is taken (``fuzzing/going.py``).  The definition on NumPy, undisturbed,
is what each path is compared with.  ``tests/test_fuzz_bits.py`` replays kept cases and draws some
hundred.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
# Threads that wait by spinning starve one another; read by OpenMP when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from fuzzing.comparing import Disagreement, disagreements
from fuzzing.drawing import draw
from fuzzing.going import IMPLEMENTATIONS, Implementation, possible
from fuzzing.making import Case
from fuzzing.smaller import minimised


@dataclass
class Search:
    """What a search has seen so far, and where it puts what it finds."""

    folder: Path
    implementations: Mapping[str, Implementation]
    counts: Counter[str]

    def try_one(self, case: Case) -> str | None:
        """What is to be said of ``case``; None where all agree."""
        paths = [path for path in case["paths"] if possible(path, self.implementations)]
        case = {**case, "paths": paths}
        (self.folder / "last.json").write_text(json.dumps(case))  # should the process end with it
        self.counts["cases"] += 1
        for path in case["paths"]:
            self.counts[_kind(path)] += 1
        found = disagreements(case, self.implementations)
        self.counts["subnormals flushed to zero"] += sum(one.flushed for one in found)
        found = [one for one in found if not one.flushed]
        if not found:
            return None
        self.counts["disagreements"] += 1
        return self._said({**case, "paths": [found[0].path]}, found)

    def _said(self, case: Case, found: list[Disagreement]) -> str:
        case = minimised(case, lambda smaller: bool(self._bad(smaller)))
        path = self.folder / f"disagreement-{self.counts['disagreements']}.json"
        path.write_text(json.dumps([case]) + "\n")
        again = shlex.join(["python", "scripts/fuzz_bits.py", "--replay", str(path)])
        least = self._bad(case)
        return "\n".join([*map(str, found), f"made smaller: {least}", json.dumps(case), again])

    def _bad(self, case: Case) -> Disagreement | None:
        try:
            found = disagreements(case, self.implementations)
        except Exception:  # not a case at all
            return None
        return next((one for one in found if not one.flushed), None)


def _kind(path: list[list[Any]]) -> str:
    """What paths are counted by."""
    ranks = sorted({name.count("+") + 1 for name, _ in path})
    if ranks == [1]:
        return path[0][0] if len(path) == 1 else "resumed"
    if len(path) > 1:
        return "ranks, resumed on others" if len(ranks) > 1 else "ranks, resumed on as many"
    mixed = " of several kinds" if len(set(path[0][0].split("+"))) > 1 else ""
    return f"{ranks[0]} ranks{mixed}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--cases", type=int, help="how many at most (no limit)")
    parser.add_argument("--seed", type=int, default=0, help="the first case's number (0)")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, help="on these alone")
    parser.add_argument("--replay", type=Path, help="the cases in this file")
    parser.add_argument("--found", type=Path, help="folder for what is found (temporary)")
    options = parser.parse_args(arguments)
    folder = options.found or Path(tempfile.mkdtemp(prefix="found-bits-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = ("definition", *(options.only or IMPLEMENTATIONS))
    used = {name: IMPLEMENTATIONS[name] for name in IMPLEMENTATIONS if name in wanted}
    search = Search(folder, used, Counter())
    names = [name for name in used if possible([[name, None]], used)]
    print(f"implementations: {', '.join(names)}; what is found: {folder}", flush=True)
    return run(search, replayed(options) if options.replay else drawn(options))


def replayed(options: argparse.Namespace) -> Iterator[Case]:
    found = json.loads(options.replay.read_text())
    yield from found if isinstance(found, list) else [found]


def drawn(options: argparse.Namespace) -> Iterator[Case]:
    deadline, number = time.monotonic() + options.seconds, options.seed
    while time.monotonic() < deadline and number - options.seed != options.cases:
        yield draw(number)
        number += 1


def run(search: Search, cases: Iterator[Case]) -> int:
    """1 where something disagreed."""
    with tqdm(cases, unit="case", mininterval=1.0) as progress:
        for case in progress:
            said = search.try_one(case)
            if said is not None:
                progress.write(said, file=sys.stdout)
    for what, count in search.counts.items():
        print(f"{count:9,} {what}")
    return int(search.counts["disagreements"] > 0)


if __name__ == "__main__":
    sys.exit(main())
