"""``backendmlp train``: from options to a folder with a model and its receipt."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from backendmlp import backend as backends
from backendmlp import checkpoint as checkpoints
from backendmlp import memory
from backendmlp.backend import Backend
from backendmlp.commands.progress import Progress
from backendmlp.commands.stopping import stopping
from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.data.origin import Origin, origin
from backendmlp.errors import InputError
from backendmlp.files import writable_folder
from backendmlp.lock import locked
from backendmlp.record import Data
from backendmlp.run import CHECKPOINT, RECORD, Every, Run

_CHOICES = ("hidden", "epochs", "batch_size", "lr", "seed", "numerics", "dtype")


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
        if request.resume is not None and _is_finished(folder):
            _say(request, f"the run in {folder} is finished; there is nothing to resume")
            return 0
        return _train(request, config, backend, folder)


def _train(request: Request, config: Config, backend: Backend, folder: Path) -> int:
    checkpoint = _checkpoint(request, folder)
    source = origin(request.data, request.dataset)
    if checkpoint is not None:
        config = _resumed_config(request, checkpoint.config)
        if not request.given & {"data", "dataset"}:
            source = checkpoint.data.origin
    dataset = source.open()
    shape = (dataset.features, config.hidden, dataset.classes)
    with memory.explained(backend, config, shape, len(dataset.train_images)), stopping() as stop:
        every = Every(*request.checkpoint_every)
        data = Data(_named(source, dataset), dataset.sha256)
        training = Run(folder, backend, config, dataset, data, every)
        training.begin() if checkpoint is None else training.resume(checkpoint)
        trainer = training.trainer
        with Progress(
            config.epochs,
            trainer.count,
            epoch=min(trainer.epoch + 1, config.epochs),
            done=trainer.position,
            quiet=request.quiet,
        ) as progress:
            finished = training.train(progress.epoch, progress.images, stop, progress.warm_up)
    if request.plot and training.epochs:
        from backendmlp.commands.plot import plot_run

        plot_run(training)
    _say_end(request, training, finished)
    return 0 if finished else stop.exit_code


def _checkpoint(request: Request, folder: Path) -> checkpoints.Checkpoint | None:
    """What the folder holds to go on from; a new run refuses a folder that holds one already."""
    if request.resume is None:
        if any((folder / name).exists() for name in (CHECKPOINT, RECORD)):
            raise InputError(
                f"folder {str(folder)!r} holds a run already; choose another --out, or go on with "
                "it by --resume"
            )
        return None
    path = folder / CHECKPOINT
    if path.exists():
        return checkpoints.load(path)
    # A run that was killed before its first checkpoint is begun again with the options given.
    if any(not entry.name.startswith(".backendmlp-") for entry in folder.iterdir()):
        raise InputError(
            f"folder {str(folder)!r} holds no checkpoint, and other things; give a run's folder"
        )
    return None


def _resumed_config(request: Request, theirs: Config) -> Config:
    """The checkpoint's configuration with the options that the user spelled out in it."""
    spelled = {name: getattr(request, name) for name in request.given & set(_CHOICES)}
    return replace(theirs, **spelled)


def _is_finished(folder: Path) -> bool:
    return (folder / RECORD).exists() and not (folder / CHECKPOINT).exists()


def _named(source: Origin, dataset: Dataset) -> Origin:
    return replace(source, name=dataset.name)


@contextmanager
def _folder(request: Request) -> Iterator[Path]:
    """The run's folder, made where it is missing; it goes again if nothing comes into it."""
    if request.resume is not None and not os.path.lexists(request.resume):
        raise InputError(
            f"there is no folder {str(request.resume)!r} to go on with; check --resume"
        )
    asked = request.resume or request.out
    folder = asked or Path("runs", _readable_name(request))
    above = [place for place in folder.parents if not os.path.lexists(place)]
    made = [] if os.path.lexists(folder) else [folder]
    if asked is None:
        folder = _claimed(folder)
        made = [folder]
    try:
        yield writable_folder(folder)
    finally:
        with contextlib.suppress(OSError):  # not empty: as it should be
            for place in (*made, *above):
                place.rmdir()


def _readable_name(request: Request) -> str:
    data = request.data.resolve().name[:40] if request.data is not None else request.dataset
    stamp = time.strftime("%Y-%m-%d_%H%M%S")
    return f"{stamp}_{data or 'sample'}_{request.backend}_{request.numerics}"


def _claimed(folder: Path) -> Path:
    """``folder``, or its name with a number, made here and now: no other training has it."""
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}_{number}")
        try:
            candidate.mkdir(parents=True)
        except OSError:
            if os.path.lexists(candidate):
                continue  # another training was faster
        return candidate  # or whatever is wrong with the place is said when it is written to
    raise AssertionError


def _say(request: Request, text: str) -> None:
    if not request.quiet:
        print(text, flush=True)


def _say_end(request: Request, training: Run, finished: bool) -> None:
    if training.epochs:
        _say(request, f"weights sha256 {training.epochs[-1].weights_sha256}")
    if finished:
        _say(request, f"written to {training.folder}")
    else:
        at = f"epoch {training.trainer.epoch + 1}, image {training.trainer.position:,}"
        backend = "" if request.backend == "numpy" else f" --backend {request.backend}"
        resume = f"backendmlp train --resume {shlex.quote(str(training.folder))}{backend}"
        _say(request, f"stopped in {at}; go on with: {resume}")
