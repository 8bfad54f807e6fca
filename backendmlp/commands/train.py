"""``backendmlp train``: from options to a folder with a model and its receipt."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backendmlp import backend as backends
from backendmlp.backend import Backend
from backendmlp.commands.choices import flags
from backendmlp.commands.progress import Progress
from backendmlp.commands.stopping import Stop, stopping
from backendmlp.commands.telling import described, ending
from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.data.origin import Origin, origin
from backendmlp.errors import InputError
from backendmlp.runs import folder as runs
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.lock import locked
from backendmlp.runs.record import Data
from backendmlp.runs.run import CHECKPOINT, Every, Run, check_same
from backendmlp.runs.verification import open_data

_DATA = frozenset({"data", "dataset"})


@dataclass(frozen=True)
class Request:
    """The options of ``train``.

    ``choices`` are those of a :class:`Config` that the user spelled out, by name; ``given`` the
    other options that were.
    """

    backend: str
    device: str | None
    data: Path | None
    dataset: str | None
    out: Path | None
    resume: Path | None
    checkpoint_every: tuple[int | None, float | None]
    keep_epochs: bool
    plot: bool
    quiet: bool
    choices: Mapping[str, Any]
    given: frozenset[str]

    @property
    def names_data(self) -> bool:
        return bool(self.given & _DATA)

    def origin(self) -> Origin:
        return origin(self.data, self.dataset)


def run(request: Request) -> int:
    """Train as requested; returns the exit code."""
    if request.resume is not None and request.out is not None:
        raise InputError("--out and --resume are both given; a resumed run stays in its folder")
    if request.plot:
        from backendmlp.commands.plot import require_matplotlib

        require_matplotlib()
    backend = backends.select(request.backend, request.device)
    if request.resume is None:
        return _begin(request, backend)
    with _folder(request) as folder, locked(folder), backend.scope():
        found = runs.stored(folder)
        if found is not None:
            return _resume(request, backend, folder, found)
        config, opened = _new_config(request)
        _say_new(request, config, folder)
        return _train(request, config, backend, folder, None, opened)


def _begin(request: Request, backend: Backend) -> int:
    """Train from the start."""
    config, opened = _new_config(request)
    with _folder(request, config.numerics) as folder, locked(folder), backend.scope():
        runs.refuse_run(folder)
        return _train(request, config, backend, folder, None, opened)


def _new_config(request: Request) -> tuple[Config, Dataset | None]:
    """The configuration asked for, and the data where they were opened for their classes' names."""
    weights = request.choices.get("class_weight")
    if not isinstance(weights, dict):
        return Config(**request.choices), None
    Config(**{**request.choices, "class_weight": "balanced"})  # what else is wrong is told at once
    dataset = request.origin().open()
    named = _weight_of_each(weights, dataset.class_names)
    return Config(**{**request.choices, "class_weight": named}), dataset


def _weight_of_each(weights: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The weights of classes with ``names``; one whose weight is not given counts 1."""
    for name in weights:
        if name not in names:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise InputError(
                f"--class-weight names {name[:80]!r}, which is none of the classes "
                f"{known or 'since there are no classes'}; check its spelling"
            )
    return tuple(weights.get(name, 1.0) for name in names)


def _folder(request: Request, numerics: str = "") -> AbstractContextManager[Path]:
    """The run's folder: the one to go on in, the one asked for, or a new one below runs/."""
    if request.resume is not None:
        runs.require_folder(request.resume)
        return runs.made(request.resume)
    if request.out is not None:
        return runs.made(request.out)
    return runs.made(Path("runs", _readable_name(request, numerics)), fresh=True)


def _resume(request: Request, backend: Backend, folder: Path, found: Checkpoint) -> int:
    config = _resumed_config(request, found)
    lost = not (folder / CHECKPOINT).exists()
    if found.state.epoch < config.epochs or not lost:
        if lost and found.state.epoch < found.config.epochs:
            _say(request, f"there is no {CHECKPOINT}; going on after epoch {found.state.epoch}")
        return _train(request, config, backend, folder, found)
    _refuse_idle(request, folder)
    if request.plot:
        return _train(request, config, backend, folder, found)
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
    opened: Dataset | None = None,
) -> int:
    dataset, data = _data(request, found, opened)
    dataset.outputs(config.regression)  # refuses targets that are not of the loss's kind
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


def _data(
    request: Request, found: Checkpoint | None, opened: Dataset | None
) -> tuple[Dataset, Data]:
    """The data asked for, which may be ``opened`` already, or those of the run to go on with."""
    if found is not None and not request.names_data:
        return open_data(found.data), found.data
    source = request.origin()
    dataset = source.open() if opened is None else opened
    return dataset, runs.data_of(dataset, source)


def _resumed_config(request: Request, found: Checkpoint) -> Config:
    """The checkpoint's configuration with the options that the user spelled out in it."""
    spelled, theirs = dict(request.choices), found.config
    if isinstance(weights := spelled.get("class_weight"), dict):
        spelled["class_weight"] = _weight_of_each(weights, open_data(found.data).class_names)
    try:
        return replace(theirs, **spelled)
    except InputError:
        # Another optimiser, say, has no use for the settings of the run's own: it is another run.
        differing = [
            f"{name} was {getattr(theirs, name)} and is {value}"
            for name, value in spelled.items()
            if name != "epochs" and getattr(theirs, name) != value
        ]
        if not differing:
            raise
        raise InputError(
            f"the run cannot be resumed: {'; '.join(differing)}; use the same, or start another "
            "run with --out"
        ) from None


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
        f"the run in {folder} is finished, after {found.state.epoch} epochs; there is nothing to "
        "resume, unless you ask for more --epochs"
    )


def _say_end(request: Request, training: Run) -> None:
    if training.epochs:
        if training.finished and (sentence := ending(training.config, training.epochs)):
            _say(request, sentence)
        _say(request, f"weights sha256 {training.weights_sha256}")
    if training.finished:
        _say(request, f"written to {training.folder}")
    else:
        at = f"epoch {training.trainer.epoch + 1}, image {training.trainer.position:,}"
        backend = "" if request.backend == "numpy" else f" --backend {request.backend}"
        resume = f"backendmlp train --resume {shlex.quote(str(training.folder))}{backend}"
        _say(request, f"stopped in {at}; go on with: {resume}")
