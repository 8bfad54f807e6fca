"""``backendmlp info``: what a run, a receipt or a model is, and what is at hand on this machine."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from threadpoolctl import threadpool_info

from backendmlp import backend as backends
from backendmlp.commands.telling import described, plain, score
from backendmlp.config import Config
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.network.model import Parameters
from backendmlp.runs import checkpoint as checkpoints
from backendmlp.runs import record as records
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.parsing import Data
from backendmlp.runs.stored import CHECKPOINT, MODEL, RECORD, require_agreement, run_below
from backendmlp.steps import compiled, kernels

# The configuration, its definition's number, and the data where they are known.
_Choices = tuple[Config, int, Data | None]


def describe(path: Path) -> None:
    """Print what the run in the folder ``path``, or the receipt or model file ``path``, is."""
    if not path.is_dir():
        _say_choices((_describe_receipt if path.suffix == ".json" else _describe_model)(path))
        return
    found = {
        RECORD: _describe_receipt,
        MODEL: _describe_model,
        CHECKPOINT: _describe_checkpoint,
    }
    present = [name for name in found if (path / name).exists()]
    if not present:
        raise InputError(
            f"folder {str(path)!r} has neither {RECORD} nor {MODEL}; give a receipt, a model file "
            f"or the folder of a finished run{run_below(path)}"
        )
    said = None
    for name in present:
        if (choices := found[name](path / name)) != said:  # as a rule all files have the same
            _say_choices(choices)
        said = choices
    if {RECORD, MODEL} <= set(present):
        try:
            require_agreement(path, records.read(path / RECORD))
        except InputError as error:
            print(f"Warning: {error}", file=sys.stderr, flush=True)


def _describe_checkpoint(path: Path) -> _Choices:
    found = checkpoints.load(path)
    position = found.state.position
    within = f", and {position:,} rows of the next" if position else ""
    print(f"checkpoint     {path}, of a run that {_fate(path.parent)}")
    print(f"epochs         {len(found.epochs)} of {found.config.epochs}{within}")
    return found.config, found.definition, found.data


def _fate(folder: Path) -> str:
    """Why the run in ``folder`` has a checkpoint."""
    with suppress(InputError):
        record = records.read(folder / RECORD)
        if record.diverged is not None:
            return f"diverged after it, in epoch {len(record.epochs) + 1}"
    return "is not at its end"


def _describe_receipt(path: Path) -> _Choices:
    record = records.read(path)
    last = record.ending
    print(f"receipt        {path}")
    print(f"made on        {plain(record.backend)}, {plain(record.device)}{_by(record)}")
    if record.parallel is not None:
        print(f"together       {record.parallel['ranks']} ranks, {plain(record.parallel['mpi'])}")
    print(f"epochs         {len(record.epochs)} of {record.config.epochs}")
    if record.diverged is not None:
        print(f"ended          {plain(record.diverged)}")
    if last is not None:
        print(f"weights sha256 {last.weights_sha256}")
        for data in ("validation", "test"):
            if found := score(last, data):
                name, _, value = found.partition(" ")
                print(f"{f'{data} {name}':<14} {value}")
    return record.config, record.definition, record.data


def _by(record: records.Record) -> str:
    """What did the steps of a run, where its receipt says so."""
    return "" if record.steps is None else f", steps: {plain(record.steps)}"


def _describe_model(path: Path) -> _Choices:
    parameters, metadata = load_model(path)
    try:
        config = records.parse_config(metadata["config"])
    except InputError as error:
        raise InputError(f"model file {str(path)!r}: {error}") from error
    parameters.pop("unit", None)  # of no step's making
    sizes = Parameters.of(parameters).sizes
    shape = " x ".join(map(str, metadata["image_shape"]))
    names = ", ".join(metadata["class_names"])
    data = metadata.get("data")
    print(f"model          {path}")
    print(f"network        {'-'.join(map(str, sizes))}, inputs {shape}")
    print("targets        real numbers" if config.regression else f"classes        {names}")
    found = digest(parameters)
    print(f"weights sha256 {found}")
    if (epoch := _epoch_of(path, found)) is not None:
        print(f"after epoch    {epoch}")
    known = None if data is None else records.parse_data(data)
    return config, metadata.get("definition", 1), known


def _epoch_of(path: Path, sha256: str) -> str | None:
    """Which epoch of the run in whose folder ``path`` lies a network is from, if there is one."""
    found = None
    for folder in path.absolute().parents[:2]:
        with suppress(InputError):
            record = records.read(folder / RECORD)
            for epoch in record.epochs:
                if epoch.weights_sha256 == sha256:
                    return f"{epoch.epoch} of {len(record.epochs)}"
            found = f"none of those in {RECORD}: a run stopped within one, perhaps"
    return found


def _say_choices(choices: _Choices) -> None:
    config, definition, data = choices
    print(f"configuration  {described(config)}")
    print(f"definition     {definition}")
    if data is None:
        print("data           unknown")
    else:
        found = data.origin.path or data.origin.found
        place = "" if found is None else f", {plain(found)}"
        print(f"data           {plain(data.origin.name)}{place}, sha256 {data.sha256}")


def machine() -> None:
    """Print what a bug report or a comparison needs to know."""
    for name, version in records.versions(("torch", "jax", "cupy-cuda12x", "cupy-cuda13x")).items():
        print(f"{name:<18} {version}")
    for name in backends.names():
        try:
            print(f"backend {name:<18} on {backends.select(name).label}")
        except InputError as error:
            print(f"backend {name:<18} not usable: {error}")
    print(f"steps on numpy     {compiled.describe()}")
    print(f"steps on cupy      {kernels.describe()}")
    for library in threadpool_info():
        name = library["prefix" if library["user_api"] == "openmp" else "internal_api"]
        more = (library.get("version"), library.get("architecture"))
        words = " ".join(word for word in (name, *more) if word)
        print(f"{library['user_api']:<18} {words} with {library['num_threads']} threads")
