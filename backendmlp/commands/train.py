"""``backendmlp train``: from options to a folder with a model and its receipt."""

from __future__ import annotations

import shlex
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backendmlp import backend as backends
from backendmlp.backend import Backend
from backendmlp.commands.progress import Progress
from backendmlp.commands.stopping import Stop, stopping
from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.runs import folder as runs
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.lock import locked
from backendmlp.runs.record import Data
from backendmlp.runs.run import CHECKPOINT, Every, Run, check_same
from backendmlp.runs.verification import open_data

_CHOICES = ("hidden", "epochs", "batch_size", "lr", "seed", "numerics", "dtype")
_DATA = frozenset({"data", "dataset"})


@dataclass(frozen=True)
class Request:
    """The options of ``train``; ``given`` are those that the user spelled out."""

    backend: str
    device: str | None
    numerics: str
    dtype: str | None
    data: Path | None
    dataset: str | None
    hidden: int
    epochs: int
    batch_size: int
    lr: float
    seed: int
    out: Path | None
    resume: Path | None
    checkpoint_every: tuple[int | None, float | None]
    keep_epochs: bool
    plot: bool
    quiet: bool
    given: frozenset[str]

    def choices(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CHOICES}


def run(request: Request) -> int:
    """Train as requested; returns the exit code."""
    if request.resume is not None and request.out is not None:
        raise InputError("--out and --resume are both given; a resumed run stays in its folder")
    if request.plot:
        from backendmlp.commands.plot import require_matplotlib

        require_matplotlib()
    config = Config(**request.choices())
    backend = backends.select(request.backend, request.device)
    with _folder(request) as folder, locked(folder), backend.scope():
        if request.resume is None:
            runs.refuse_run(folder)
            return _train(request, config, backend, folder, None)
        found = runs.stored(folder)
        if found is None:
            _say_new(request, config, folder)
            return _train(request, config, backend, folder, None)
        return _resume(request, backend, folder, found)


def _folder(request: Request) -> AbstractContextManager[Path]:
    """The run's folder: the one to go on in, the one asked for, or a new one below runs/."""
    if request.resume is not None:
        runs.require_folder(request.resume)
        return runs.made(request.resume)
    if request.out is not None:
        return runs.made(request.out)
    return runs.made(Path("runs", _readable_name(request)), fresh=True)


def _resume(request: Request, backend: Backend, folder: Path, found: Checkpoint) -> int:
    config = _resumed_config(request, found.config)
    lost = not (folder / CHECKPOINT).exists()
    if found.state.epoch < config.epochs or not lost:
        if lost and found.state.epoch < found.config.epochs:
            _say(request, f"there is no {CHECKPOINT}; going on after epoch {found.state.epoch}")
        return _train(request, config, backend, folder, found)
    _refuse_idle(request, folder)
    if request.plot:
        return _train(request, config, backend, folder, found)
    data = found.data
    if request.given & _DATA:
        data = runs.data_of(origin(request.data, request.dataset).open())
    check_same(found, config, data)
    _say(request, _finished(folder, found))
    return 0


def _refuse_idle(request: Request, folder: Path) -> None:
    """Refuse options that would do nothing, since nothing is left to train."""
    idle = sorted(request.given & {"checkpoint_every", "keep_epochs"})
    if idle:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in idle)
        raise InputError(
            f"the run in {str(folder)!r} is finished, and {names} would do nothing; leave it out, "
            "or train on with more --epochs"
        )


def _train(
    request: Request, config: Config, backend: Backend, folder: Path, found: Checkpoint | None
) -> int:
    dataset, data = _data(request, found)
    every = Every(*request.checkpoint_every)
    settings = (backend, config, dataset, data, every, request.keep_epochs, found)
    with stopping() as stop, runs.prepared(folder, *settings) as training:
        finished = training.finished or _watched(request, training, stop)
    if request.plot and training.epochs:
        from backendmlp.commands.plot import plot_run

        plot_run(training)
    _say_end(request, training)
    return 0 if finished else stop.exit_code


def _watched(request: Request, training: Run, stop: Stop) -> bool:
    """Train where a person sees it."""
    trainer = training.trainer
    with Progress(
        training.config.epochs,
        trainer.count,
        epoch=min(trainer.epoch + 1, training.config.epochs),
        done=trainer.position,
        quiet=request.quiet,
    ) as progress:
        return training.train(
            progress.epoch, progress.images, stop, progress.warm_up, progress.warn
        )


def _data(request: Request, found: Checkpoint | None) -> tuple[Dataset, Data]:
    """The data asked for, or those of the run to go on with."""
    if found is not None and not request.given & _DATA:
        return open_data(found.data), found.data
    source = origin(request.data, request.dataset)
    dataset = source.open()
    return dataset, runs.data_of(dataset, source)


def _resumed_config(request: Request, theirs: Config) -> Config:
    """The checkpoint's configuration with the options that the user spelled out in it."""
    spelled = {name: getattr(request, name) for name in request.given & set(_CHOICES)}
    return replace(theirs, **spelled)


def _readable_name(request: Request) -> str:
    data = request.data.resolve().name[:40] if request.data is not None else request.dataset
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    return f"{stamp}_{data or 'sample'}_{request.backend}_{request.numerics}"


def _say(request: Request, text: str) -> None:
    if not request.quiet:
        print(text, flush=True)


def _say_new(request: Request, config: Config, folder: Path) -> None:
    """A run that was killed before its first checkpoint begins again, if its options are given."""
    if not request.given & {*_CHOICES, *_DATA}:
        raise InputError(
            f"folder {str(folder)!r} is empty: there is nothing to go on with; begin a run with "
            f"--out {shlex.quote(str(folder))}"
        )
    choices = ", ".join(f"{name} {value}" for name, value in config.as_dict().items())
    source = origin(request.data, request.dataset).name
    _say(request, f"folder {folder} is empty; a new run begins, on {source}, with {choices}")


def _finished(folder: Path, found: Checkpoint) -> str:
    return (
        f"the run in {folder} is finished, after {found.state.epoch} epochs; there is nothing to "
        "resume, unless you ask for more --epochs"
    )


def _say_end(request: Request, training: Run) -> None:
    if training.epochs:
        _say(request, f"weights sha256 {training.weights_sha256}")
    if training.finished:
        _say(request, f"written to {training.folder}")
    else:
        at = f"epoch {training.trainer.epoch + 1}, image {training.trainer.position:,}"
        backend = "" if request.backend == "numpy" else f" --backend {request.backend}"
        resume = f"backendmlp train --resume {shlex.quote(str(training.folder))}{backend}"
        _say(request, f"stopped in {at}; go on with: {resume}")
