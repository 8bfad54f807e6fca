"""``backendmlp train``: from options to a folder with a model and its receipt."""

from __future__ import annotations

import shlex
import signal
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from backendmlp import backend as backends
from backendmlp.backend import Backend
from backendmlp.commands.choices import flags
from backendmlp.commands.progress import Progress
from backendmlp.commands.request import Request, new_config, resumed_config
from backendmlp.commands.stopping import Stop, stopping
from backendmlp.commands.telling import described, ending
from backendmlp.commands.together import refuse_others, together
from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.errors import InputError
from backendmlp.ranks import Ranks
from backendmlp.runs import folder as runs
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.parsing import Data
from backendmlp.runs.run import Every, Run
from backendmlp.runs.stored import CHECKPOINT, check_same, stored, unwritten
from backendmlp.runs.verification import open_data
from backendmlp.training.records import EpochRecord
from backendmlp.training.stopping import through


def run(request: Request) -> int:
    """Train as requested; returns the exit code.

    Of several processes that train together the first alone speaks.
    """

    def work(ranks: Ranks) -> int:
        quiet = request.quiet or ranks.rank > 0
        return _begin_or_resume(replace(request, quiet=quiet), ranks)

    if not request.distributed:
        refuse_others()
    return together(request.distributed, work)


def _begin_or_resume(request: Request, ranks: Ranks) -> int:
    if request.resume is not None and request.out is not None:
        raise InputError("--out and --resume are both given; a resumed run stays in its folder")
    if request.plot:
        from backendmlp.commands.plot import require_matplotlib

        require_matplotlib()
    backend = backends.select(request.backend, request.device)
    if request.resume is None:
        return _begin(request, backend, ranks)
    with runs.held(ranks, lambda: _folder(request)) as folder, backend.scope():
        found = ranks.first(lambda: stored(folder))
        if found is not None:
            return _resume(request, backend, folder, found, ranks)
        config, opened = new_config(request)
        _say_new(request, config, folder)
        return _train(request, config, backend, folder, None, ranks, opened)


def _begin(request: Request, backend: Backend, ranks: Ranks) -> int:
    """Train from the start."""
    config, opened = new_config(request)
    numerics = config.numerics
    with runs.held(ranks, lambda: _folder(request, numerics)) as folder, backend.scope():
        ranks.first(lambda: runs.refuse_run(folder))
        return _train(request, config, backend, folder, None, ranks, opened)


def _folder(request: Request, numerics: str = "") -> AbstractContextManager[Path]:
    """The run's folder: the one to go on in, the one asked for, or a new one below runs/."""
    if request.resume is not None:
        return runs.there(request.resume)
    if request.out is not None:
        return runs.made(request.out)
    return runs.made(Path("runs", _readable_name(request, numerics)), fresh=True)


def _resume(
    request: Request, backend: Backend, folder: Path, found: Checkpoint, ranks: Ranks
) -> int:
    config = resumed_config(request, found)
    lost, missing = ranks.first(lambda: (not (folder / CHECKPOINT).exists(), unwritten(folder)))
    if not lost or not through(config, found.epochs):
        if lost and not through(found.config, found.epochs):
            _say(request, f"there is no {CHECKPOINT}; going on after epoch {found.state.epoch}")
        return _train(request, config, backend, folder, found, ranks)
    _refuse_idle(request, folder)
    if missing:
        _say(request, f"{missing}; it is written again")
    if request.plot or missing:
        return _train(request, config, backend, folder, found, ranks)
    data = found.data
    if request.names_data:
        data = runs.data_of(request.origin().open())
    check_same(found, config, data)
    _say(request, _finished(folder, found))
    return 0


def _refuse_idle(request: Request, folder: Path) -> None:
    """Refuse options that would do nothing, since nothing is left to train."""
    idle = sorted(request.given & {"checkpoint_every", "keep_epochs"})
    if idle:
        raise InputError(
            f"the run in {str(folder)!r} is finished, and {flags(idle)} would do nothing; leave it "
            "out, or train on with more --epochs"
        )


def _train(
    request: Request,
    config: Config,
    backend: Backend,
    folder: Path,
    found: Checkpoint | None,
    ranks: Ranks,
    opened: Dataset | None = None,
) -> int:
    dataset, data = _data(request, found, opened)
    dataset.outputs(config.regression)  # refuses targets that are not of the loss's kind
    every = Every(*request.checkpoint_every)
    settings = (backend, config, dataset, data, every, request.keep_epochs, found)
    with stopping() as stop, runs.prepared(folder, *settings, ranks=ranks) as training:
        finished = training.finished or _watched(request, training, stop)
    if training.epochs and ranks.rank == 0:
        _draw(request, training)
    _say_end(request, training)
    # 128 plus the signal's number, as shells have it; it may have come to one rank alone.
    return 0 if finished else 128 + int(ranks.most(stop.signal))


def _draw(request: Request, training: Run) -> None:
    """The pictures that were asked for, or that a run which went on has of before."""
    if request.plot:
        from backendmlp.commands.plot import plot_run

        plot_run(training)
    elif request.resume is not None:
        from backendmlp.commands.plot import replot_run

        if (sentence := replot_run(training)) is not None:
            _say(request, sentence)


def _watched(request: Request, training: Run, stop: Stop) -> bool:
    """Train where a person sees it."""
    trainer = training.trainer
    failed: list[OSError] = []

    def tell(record: EpochRecord) -> None:
        """What nobody takes, a closed pipe or a full disk, ends it as a signal does."""
        try:
            progress.epoch(record)
        except OSError as error:
            failed.append(error)
            stop.signal = signal.SIGTERM

    with Progress(
        training.config.epochs,
        trainer.count,
        epoch=min(trainer.epoch + 1, training.config.epochs),
        done=trainer.position,
        quiet=request.quiet,
        counted_as=training.dataset.counted_as,
    ) as progress:
        finished = training.train(
            tell,
            progress.images,
            stop,
            progress.warm_up,
            progress.warn,
        )
    if failed:
        raise failed[0]
    return finished


def _data(
    request: Request, found: Checkpoint | None, opened: Dataset | None
) -> tuple[Dataset, Data]:
    """The data asked for, which may be ``opened`` already, or those of the run to go on with."""
    if found is not None and not request.names_data:
        return open_data(found.data), found.data
    source = request.origin()
    dataset = source.open() if opened is None else opened
    return dataset, runs.data_of(dataset, source)


def _readable_name(request: Request, numerics: str) -> str:
    data = request.data.resolve().name[:40] if request.data is not None else request.dataset
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    return f"{stamp}_{data or 'sample'}_{request.backend}_{numerics}"


def _say(request: Request, text: str) -> None:
    if not request.quiet:
        print(text, flush=True)


def _say_new(request: Request, config: Config, folder: Path) -> None:
    """A run that was killed before its first checkpoint begins again, if its options are given."""
    if not request.choices and not request.names_data:
        raise InputError(
            f"folder {str(folder)!r} is empty: there is nothing to go on with; begin a run with "
            f"--out {shlex.quote(str(folder))}"
        )
    source = request.origin().name
    _say(
        request,
        f"folder {folder} is empty; a new run begins, on {source}, with {described(config)}",
    )


def _finished(folder: Path, found: Checkpoint) -> str:
    return (
        f"the run in {folder} is finished, after {found.state.epoch} "
        f"epoch{'s' * (found.state.epoch != 1)}; there is nothing to resume, unless you ask for "
        "more --epochs"
    )


def _say_end(request: Request, training: Run) -> None:
    if training.epochs:
        if training.finished and (sentence := ending(training.config, training.epochs)):
            _say(request, sentence)
        when = "" if training.finished else f" after epoch {len(training.epochs)}"
        _say(request, f"weights sha256 {training.weights_sha256}{when}")
    if training.finished:
        _say(request, f"written to {training.folder}")
    else:
        thing = training.dataset.counted_as.removesuffix("s")
        at = f"epoch {training.trainer.epoch + 1}, {thing} {training.trainer.position:,}"
        backend = "" if request.backend == "numpy" else f" --backend {request.backend}"
        resume = f"backendmlp train --resume {shlex.quote(str(training.folder))}{backend}"
        _say(request, f"stopped in {at}; go on with: {resume}")
