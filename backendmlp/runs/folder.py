"""Training in a folder, from the start or on from where it stopped: for Python and command line.

:func:`train_run` and :func:`resume_run` do what ``backendmlp train`` does; the functions below
them are what the command line is made of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from backendmlp import backend as backends
from backendmlp import memory
from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.data import Dataset, load_sample
from backendmlp.data.catalogue import is_named
from backendmlp.data.origin import Origin
from backendmlp.distributed.joining import begin, joined
from backendmlp.errors import InputError
from backendmlp.files import StrPath, writable_folder
from backendmlp.ranks import ALONE, Ranks
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.lock import locked
from backendmlp.runs.parsing import Data
from backendmlp.runs.prepare import common, sizes_of
from backendmlp.runs.run import Every, Run
from backendmlp.runs.stored import CHECKPOINT, EPOCHS, FINAL, MODEL, RECORD, stored
from backendmlp.runs.verification import checked, open_data
from backendmlp.training.epochs import never, nothing
from backendmlp.training.records import EpochRecord


def train_run(
    folder: StrPath,
    dataset: Dataset | None = None,
    config: Config | None = None,
    *,
    backend: str = "numpy",
    device: str | None = None,
    distributed: bool = False,
    checkpoint_epochs: int | None = 1,
    checkpoint_seconds: float | None = None,
    keep_epochs: bool = True,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
) -> Run:
    """Train ``config`` on ``dataset`` (the sample, if None) in ``folder``, as ``backendmlp train``.

    Warns (:class:`DataWarning`) of the classic mistakes with data, as :meth:`MLP.fit` does.

    The folder, made where it is missing, then holds ``model.safetensors``, the receipt
    ``run.json`` and, with ``keep_epochs``, the network after each epoch (beyond 64 MiB after every
    second, fourth and so on, and the last); while the training lasts, a checkpoint every so many
    epochs, or seconds where ``checkpoint_seconds`` is given.
    ``on_epoch`` is told each epoch's record, ``on_progress`` the images gone by since it was last
    told, and the training ends early, to be resumed, once ``should_stop`` says so.

    ``validation_split`` in ``config``, or validation data in ``dataset``, make a run that can end
    early and with its best epoch's weights; weights of rows come with ``dataset`` too.

    With ``distributed`` the processes that ``mpiexec`` started share each batch, to the bits of a
    single one; the first alone has the folder, and ``on_epoch`` and ``on_progress`` are called on
    all.

    The :class:`Run` that comes back has ``epochs``, ``finished`` and ``weights_sha256``.  Raises
    :class:`InputError` where the folder holds a run already or something asked for cannot be had.
    """
    at = backends.select(backend, device)
    every = _every(checkpoint_epochs, checkpoint_seconds)
    dataset = load_sample() if dataset is None else checked(dataset)
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise InputError(f"config is {type(config).__name__}; give a backendmlp.Config")
    with (
        joined(distributed) as ranks,
        held(ranks, lambda: made(named_place(folder))) as place,
        at.scope(),
    ):
        ranks.first(lambda: refuse_run(place))
        settings = (at, config, dataset, data_of(dataset), every, keep_epochs)
        with prepared(place, *settings, ranks=ranks) as run:
            run.train(on_epoch, on_progress, should_stop)
    return run


def resume_run(
    folder: StrPath,
    dataset: Dataset | None = None,
    *,
    epochs: int | None = None,
    backend: str = "numpy",
    device: str | None = None,
    distributed: bool = False,
    checkpoint_epochs: int | None = 1,
    checkpoint_seconds: float | None = None,
    keep_epochs: bool = True,
    on_epoch: Callable[[EpochRecord], None] = nothing,
    on_progress: Callable[[int], None] = nothing,
    should_stop: Callable[[], bool] = never,
) -> Run:
    """Go on with the run in ``folder``, on any backend, to the bits of one never interrupted.

    ``dataset`` must be the run's; if None, it is opened where the folder says it came from.  With
    ``epochs`` the run ends after so many in all: more than it was begun with, perhaps, also where
    it is finished; not of a schedule that depends on how many there are ("linear", "cosine"), and
    not of a run that ended early.  The rest is as in :func:`train_run`.
    """
    at = backends.select(backend, device)
    every = _every(checkpoint_epochs, checkpoint_seconds)
    with (
        joined(distributed) as ranks,
        held(ranks, lambda: there(named_place(folder))) as place,
        at.scope(),
    ):
        found = ranks.first(lambda: stored(place))
        if found is None:
            raise InputError(f"folder {str(place)!r} is empty: it holds no run; call train_run")
        config = found.config if epochs is None else replace(found.config, epochs=epochs)
        dataset = open_data(found.data) if dataset is None else checked(dataset)
        data = Data(found.data.origin, dataset.sha256)
        settings = (at, config, dataset, data, every, keep_epochs, found)
        with prepared(place, *settings, ranks=ranks) as run:
            if not run.finished:
                run.train(on_epoch, on_progress, should_stop)
    return run


def data_of(dataset: Dataset, origin: Origin | None = None) -> Data:
    """What a receipt says of ``dataset``: its name, the file or folder it was read from, if any."""
    source = os.path.abspath(dataset.source) if os.path.exists(dataset.source) else None
    if origin is None:
        named = is_named(dataset)
        origin = Origin(dataset.name, None if named else source, source if named else None)
    elif origin.path is None and is_named(dataset):
        origin = replace(origin, found=source)
    return Data(replace(origin, name=dataset.name), dataset.sha256)


@contextmanager
def made(folder: Path, fresh: bool = False) -> Iterator[Path]:
    """``folder``, made where it is missing and writable; it goes again if nothing comes into it.

    A ``fresh`` one is new, with a number after its name where that is taken.
    """
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    if fresh:
        folder = _claimed(folder)
        missing = [folder, *(place for place in missing if place in folder.parents)]
    try:
        yield writable_folder(folder)
    finally:
        with contextlib.suppress(OSError):  # not empty: as it should be
            for place in missing:
                place.rmdir()


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


def refuse_run(folder: Path) -> None:
    """Raise :class:`InputError` where ``folder`` holds a run, or what a run would write over."""
    taken = [name for name in (CHECKPOINT, RECORD, FINAL, MODEL, EPOCHS) if _holds(folder / name)]
    if {CHECKPOINT, RECORD} & set(taken):
        raise InputError(
            f"folder {str(folder)!r} holds a run already; choose another out=, or go on with that "
            "one by resume_run"
        )
    if taken:
        raise InputError(
            f"folder {str(folder)!r} holds {' and '.join(taken)} already, which this run would "
            "write over; choose another out=, or move what is there"
        )


def _holds(path: Path) -> bool:
    """Whether anything is at ``path``; an empty folder is nothing."""
    if path.is_dir() and not path.is_symlink():
        return any(path.iterdir())
    return os.path.lexists(path)


@contextmanager
def there(folder: Path) -> Iterator[Path]:
    """``folder``, which must be there to go on in; where all is done nothing has to be written."""
    if folder.is_file():
        raise InputError(f"{str(folder)!r} is a file; give the folder of the run to go on with")
    if not folder.is_dir():
        raise InputError(f"there is no folder {str(folder)!r} to go on with; check its name")
    yield folder


@contextmanager
def held(ranks: Ranks, opening: Callable[[], AbstractContextManager[Path]]) -> Iterator[Path]:
    """The folder that ``opening`` gives, locked by rank 0; the others know its name."""
    with ExitStack() as stack:

        def locking() -> Path:
            folder = stack.enter_context(opening())
            stack.enter_context(locked(folder))
            return folder

        yield ranks.first(locking)


@contextmanager
def prepared(
    folder: Path,
    backend: Backend,
    config: Config,
    dataset: Dataset,
    data: Data,
    every: Every,
    keep_epochs: bool,
    found: Checkpoint | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Run]:
    """A run that has begun, or gone back to ``found``; the caller holds the folder's lock."""
    begin(ranks, config, lambda: common(config, dataset))
    sizes, pixels = sizes_of(config, dataset), dataset.pixels
    with memory.explained(backend, config, sizes, len(dataset.train_images), pixels):
        fresh = found is None
        run = Run(
            folder, backend, config, dataset, data, every, keep_epochs, look=fresh, ranks=ranks
        )
        run.begin() if found is None else run.resume(found)
        yield run


def named_place(folder: StrPath) -> Path:
    """``folder`` as a path; an empty text, of a variable not set, is not the current one."""
    if not isinstance(folder, str | os.PathLike) or os.fspath(folder) == "":
        raise InputError(f"folder is {folder!r:.80}; name one, the current one as '.'")
    if "\0" in str(folder):
        raise InputError(f"folder is {folder!r:.80}, and no name has a zero byte; choose another")
    return Path(folder)


def _every(epochs: int | None, seconds: float | None) -> Every:
    for name, value in (("checkpoint_epochs", epochs), ("checkpoint_seconds", seconds)):
        if value is not None and not 0 < value < 1e12:
            raise InputError(f"{name} is {value!r}; give a number above zero")
    return Every(epochs if seconds is None else None, seconds)
