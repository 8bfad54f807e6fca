"""``backendmlp verify``: a receipt repeated."""

from __future__ import annotations

from pathlib import Path

from backendmlp import backend as backends
from backendmlp.commands.progress import Progress
from backendmlp.commands.together import note_others, together
from backendmlp.config import Config
from backendmlp.data.origin import origin
from backendmlp.ranks import Ranks
from backendmlp.runs import record as records
from backendmlp.runs.stored import receipt_of
from backendmlp.runs.verification import Verdict, hold, open_data


def verify(
    receipt: Path,
    *,
    backend: str,
    device: str | None,
    data: Path | None,
    dataset: str | None,
    distributed: bool,
    quiet: bool,
) -> int:
    """Print the verdict on ``receipt``, a run.json or its folder; returns the exit code."""

    def work(ranks: Ranks) -> int:
        record = ranks.first(lambda: records.read(receipt_of(receipt)))
        at = backends.select(backend, device)
        given = data is not None or dataset is not None
        source = origin(data, dataset).open() if given else open_data(record.data)
        count, silent = len(source.train_images), quiet or ranks.rank > 0
        repeated = len(record.epochs) + (record.diverged is not None)
        with Progress(repeated, count, quiet=silent) as progress:
            verdict = hold(receipt, record, at, source, progress.epoch, progress.images, ranks)
        if ranks.rank == 0:
            _say(verdict, record.config)
        return 0 if verdict.verified else 1

    if not (distributed or quiet):
        note_others("add --distributed to share it")
    return together(distributed, work)


def _say(verdict: Verdict, config: Config) -> None:
    print(verdict)
    if not verdict.verified and config.numerics == "native":
        print("native numerics promise no bits; train with --numerics bitwise for that")
