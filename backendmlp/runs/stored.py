"""What a run has left in its folder: where it stands, the weights of its epochs, half files."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.config import Config
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.files import StrPath
from backendmlp.network.schedules import FORESEEN
from backendmlp.runs import checkpoint as checkpoints
from backendmlp.runs import record as records
from backendmlp.runs.checkpoint import Checkpoint
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.parsing import Data
from backendmlp.runs.record import Record
from backendmlp.training import stopping
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import State

CHECKPOINT = "checkpoint.safetensors"
FINAL = "final.safetensors"
MODEL = "model.safetensors"
RECORD = records.NAME
EPOCHS = "epochs"

Weights = dict[str, np.ndarray]


def stored(folder: Path) -> Checkpoint | None:
    """Where the run in ``folder`` stands: its checkpoint, or the end of its last epoch.

    None for a folder that is empty but for what a killed process was writing.  Raises
    :class:`InputError` where there is nothing to go on from.
    """
    path = folder / CHECKPOINT
    if path.exists():
        try:
            return checkpoints.load(path)
        except InputError as error:
            raise InputError(f"{error}{_without(folder)}") from error
    if (folder / RECORD).exists() or (folder / FINAL).exists():
        return _recorded(folder)
    if any(not entry.name.startswith(".backendmlp-") for entry in folder.iterdir()):
        raise InputError(
            f"folder {str(folder)!r} holds no run: it has neither {CHECKPOINT} nor {RECORD}; give "
            f"the folder of one{run_below(folder)}"
        )
    return None


def _recorded(folder: Path) -> Checkpoint:
    """Where a run without a checkpoint stands, by its receipt, or else by the state it ended in."""
    if (folder / FINAL).exists() and receipt_lost(folder):
        found = checkpoints.load(folder / FINAL)
        require_agreement(folder, Record(found.config, "", "", found.data, found.epochs))
        return found
    record = _receipt(folder, ", or train anew with another --out")
    require_agreement(folder, record)
    return _finished(folder, record) if record.through else _lost(folder, record)


def receipt_lost(folder: Path) -> str:
    """In words, that the receipt in ``folder`` is missing or damaged; "" where it is not."""
    if not (folder / RECORD).exists():
        return f"there is no {RECORD}"
    try:
        records.read(folder / RECORD)
    except records.DamagedError:
        return f"{RECORD} is damaged"
    return ""


def unwritten(folder: Path) -> str:
    """In words, which result of a finished run ``folder`` lacks; "" where it has both."""
    if not (folder / MODEL).exists():
        return f"there is no {MODEL}"
    return receipt_lost(folder)


def _receipt(folder: Path, otherwise: str = "") -> Record:
    """The receipt in ``folder``; raises :class:`InputError` that says what to do without it."""
    try:
        return records.read(folder / RECORD)
    except records.DamagedError as error:
        what = str(error).removesuffix("; use an undamaged file")
        raise InputError(
            f"{what}; put an undamaged copy back, or use {str(folder / MODEL)!r} by "
            f"itself{otherwise}"
        ) from error


def _without(folder: Path) -> str:
    """What could be done without the checkpoint of ``folder``, to end a sentence; "" if nothing."""
    with suppress(InputError):
        found = _recorded(folder)
        return f"; or delete it, and the run goes on after epoch {found.state.epoch}"
    return ""


def receipt_of(path: StrPath) -> Path:
    """The receipt in the folder ``path``, or the receipt ``path`` itself."""
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise InputError(f"{path!r:.80} is no run; give the path of its folder or receipt")
    if not os.path.isdir(path):
        return Path(path)
    require_ended(Path(path), RECORD)
    return Path(path, RECORD)


def model_of(path: StrPath) -> Path:
    """The model in the folder ``path``, or the model ``path`` itself, for use.

    Raises :class:`InputError` for a run that has none, and where it is not what its receipt says.
    """
    if not os.path.isdir(path):
        return Path(path)
    folder = Path(path)
    require_ended(folder, MODEL)
    if (folder / RECORD).exists():
        require_agreement(folder, _receipt(folder))
    return folder / MODEL


def require_ended(folder: Path, name: str) -> None:
    """Raise :class:`InputError` where ``folder`` has no ``name``, which runs write at their end."""
    if os.path.lexists(folder / name):
        return
    if (folder / CHECKPOINT).exists():
        raise InputError(
            f"the run in {str(folder)!r} was killed before its end, and has no {name} yet; go on "
            "with it by resume_run, if nobody is training there"
        )
    raise InputError(
        f"folder {str(folder)!r} has no {name}; give the folder of a run that has ended"
        f"{run_below(folder)}"
    )


def run_below(folder: Path) -> str:
    """One of the runs in the folders of ``folder``, as a sweep has them, to end a sentence."""
    found = sorted(folder.glob(f"*/{RECORD}"))
    return f", as {str(found[0].parent)!r}" if found else ""


def require_agreement(folder: Path, record: Record) -> None:
    """Raise :class:`InputError` where the model in ``folder`` is not what ``record`` says.

    One that is missing may be made again.  Of a run that stopped within an epoch no receipt
    describes the weights; one that has a checkpoint may have been killed while it wrote.
    """
    if not (folder / MODEL).exists() or (folder / CHECKPOINT).exists():
        return
    if (why := disagreement(record, *load_model(folder / MODEL))) is not None:
        raise InputError(
            f"in {str(folder)!r} {why}: one of the two was altered, or is of another run; put the "
            f"right one back, or delete {MODEL} to have it made again by going on with the run"
        )


def disagreement(record: Record, parameters: Weights, metadata: dict[str, Any]) -> str | None:
    """In which way a model, as it was read, is not what ``record`` says, None where it is."""
    if metadata["config"] != record.config.as_dict():
        return f"{MODEL} has another configuration than the receipt"
    if metadata.get("data", {"sha256": record.data.sha256})["sha256"] != record.data.sha256:
        return f"{MODEL} names other data than the receipt, by their SHA-256"
    if metadata.get("definition", record.definition) != record.definition:
        return f"{MODEL} is of another definition than the receipt"
    weights = {name: value for name, value in parameters.items() if name != "unit"}
    ending = record.ending
    if ending is None or not record.through or digest(weights) == ending.weights_sha256:
        return None
    expected = ending.tensors_sha256
    names = [name for name, value in weights.items() if digest({name: value}) != expected.get(name)]
    return f"{MODEL} is not what the receipt ends with: {named(names)}"


def named(names: list[str]) -> str:
    """The tensors that differ, in words."""
    return f"{', '.join(names)} {'differs' if len(names) == 1 else 'differ'}"


def _finished(folder: Path, record: Record) -> Checkpoint:
    """A finished run: with the state it ended in, or with the weights that it gave alone."""
    path = folder / FINAL
    if path.exists() and (found := checkpoints.load(path)).epochs == record.epochs:
        if replace(found.config, epochs=record.config.epochs) != record.config:
            raise InputError(
                f"in {str(folder)!r} {FINAL} has another configuration than the receipt: one of "
                "the two was altered, or is of another run; put the right one back"
            )
        return replace(found, config=record.config)
    ending = record.ending
    weights = None if ending is None else kept_weights(folder, ending, last=True)
    if weights is None:
        raise _nothing_left(folder)
    last = ending == record.epochs[-1]
    return _of_weights(record, weights, weights if last else None)


def _lost(folder: Path, record: Record) -> Checkpoint:
    """A run that was to go on and whose checkpoint is gone, from the weights kept of its epochs."""
    if not record.epochs:
        raise _nothing_left(folder)
    weights = kept_weights(folder, record.epochs[-1], last=True)
    best = stopping.best(record.config, record.epochs)
    best_weights = None if best is None else kept_weights(folder, best, last=False)
    if weights is None or (best is not None and best_weights is None):
        raise _nothing_left(folder)
    found = _of_weights(record, weights, best_weights)
    if not found.complete:
        raise InputError(
            f"the run in {str(folder)!r} has no {CHECKPOINT}, which held what its optimiser "
            f"({record.config.optimizer}) had gathered; train anew with another --out"
        )
    return found


def _of_weights(record: Record, weights: Weights, best: Weights | None) -> Checkpoint:
    """The end of the last epoch, as far as weights say where a training stood."""
    none = np.empty(0, record.config.dtype)
    parts = dict.fromkeys(record.config.recipe().loss.parts, none)
    kept = best if stopping.best(record.config, record.epochs) else None
    state = State(len(record.epochs), 0, weights, parts, best=kept)
    return Checkpoint(record.config, record.data, state, record.epochs, record.definition)


def _nothing_left(folder: Path) -> InputError:
    return InputError(
        f"the run in {str(folder)!r} has neither a {CHECKPOINT} nor the weights that its "
        "receipt ends with; train anew with another --out"
    )


def kept_weights(folder: Path, epoch: EpochRecord, last: bool) -> Weights | None:
    """The weights after ``epoch``, the one that its run ended with perhaps, as its receipt says.

    None where the run's ``folder`` does not have them.
    """
    kept = folder / EPOCHS / f"{epoch.epoch:04d}.safetensors"
    for path in (folder / MODEL, kept) if last else (kept,):
        with suppress(InputError):
            parameters = load_model(path)[0]
            parameters.pop("unit", None)
            if digest(parameters) == epoch.weights_sha256:
                return parameters
    return None


def kept_numbers(number: int, room: int, best: int = 0) -> set[int]:
    """Which of the epochs 1 to ``number`` are kept where there is ``room`` for so many.

    Evenly spread, those that were kept before among them; the last, and the ``best`` if there is
    one, always.
    """
    always = {number, best or number}
    step, every = 1, always | set(range(1, number + 1))
    while len(every) > room and step < number:
        step *= 2
        every = always | set(range(1, number + 1, step))
    return every if len(every) <= room else always


def remove_leftovers(folder: Path) -> None:
    """Delete what a killed process was writing; the lock says that none writes now."""
    for place in (folder, folder / EPOCHS):
        for leftover in place.glob(".backendmlp-*.tmp"):
            leftover.unlink(missing_ok=True)


def check_same(checkpoint: Checkpoint, config: Config, data: Data) -> None:
    """Raise :class:`InputError` saying what differs where a checkpoint is of another run."""
    theirs, ours = checkpoint.config.as_dict(), config.as_dict()
    differing = [
        f"{k} was {_shown(theirs[k])} and is {_shown(ours[k])}"
        for k in ours
        if theirs[k] != ours[k] and k != "epochs"
    ]
    if not differing and (why := _no_other_epochs(checkpoint, config)):
        differing.append(why)
    if checkpoint.data.sha256 != data.sha256:
        differing.append(
            f"the data had SHA-256 {checkpoint.data.sha256[:16]}... and have {data.sha256[:16]}..."
        )
    if differing:
        raise InputError(
            f"the run cannot be resumed: {'; '.join(differing)}; "
            "use the same, or start another run with --out"
        )


def _no_other_epochs(checkpoint: Checkpoint, config: Config) -> str | None:
    """Why the run cannot be one of so many epochs as ``config`` asks for."""
    theirs, epochs = checkpoint.config, checkpoint.epochs
    reached = checkpoint.state.epoch + (checkpoint.state.position > 0)
    if config.epochs < reached:
        return f"it has come to epoch {reached}, and epochs is {config.epochs}"
    if config.epochs != theirs.epochs and config.schedule in FORESEEN:
        return (
            f"epochs was {theirs.epochs} and is {config.epochs}, on which all rates of a "
            f"{config.schedule} schedule depend"
        )
    if config.epochs > theirs.epochs and stopping.replayed(config, epochs).ended:
        return f"it ended early, after epoch {len(epochs)}, and more epochs change nothing"
    if not checkpoint.complete and not stopping.through(config, epochs):
        return f"it is finished, and the {FINAL} is gone that it could be trained on from"
    return None


def _shown(value: object) -> str:
    """A choice in words; of several units or weights, the first."""
    if not isinstance(value, list):
        return str(value)
    return ",".join(map(str, value[:8])) + (",..." if len(value) > 8 else "") or "none"
