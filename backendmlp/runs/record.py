"""``run.json``, the receipt of a run: enough to repeat it anywhere and to check the repetition.

Numbers are written so that they read back exactly: Python prints the shortest text that gives the
same float64 again.  Format 2 holds all choices of a :class:`.Config`, and of each epoch what came
of validation data; format 1, which is still read, had seven choices and one hidden layer.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from importlib import metadata
from typing import Any

from backendmlp.backend import Backend
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.files import StrPath, read_bounded, write_atomically
from backendmlp.ranks import Ranks
from backendmlp.runs.parsing import (
    Data,
    parse_config,
    parse_data,
    parse_definition,
    parse_epochs,
)
from backendmlp.strictjson import JSONError, from_json, show, to_json
from backendmlp.training import stopping
from backendmlp.training.records import EpochRecord
from backendmlp.version import __version__

__all__ = ["Data", "Record", "parse_config", "parse_data", "read", "write"]

NAME = "run.json"
FORMAT = 2
LIMIT = 1 << 25  # bytes
MOST_EPOCHS = 20_000  # of a run that is recorded

# What an epoch takes at most in a receipt: without the digests of tensors, for each of these, and
# what a receipt holds beside its epochs and its configuration.
_EPOCH_BYTES, _TENSOR_BYTES, _ELSE_BYTES = 650, 85, 1 << 20


@dataclass(frozen=True)
class Record:
    """A run so far: what it was asked for, where it ran, and what each epoch came to.

    ``definition`` is the number of the definition that its bits follow, of :mod:`.config`;
    ``steps`` says what did the work at its end: "definition", "compiled" or "kernels".
    ``parallel`` says what of :func:`parallel` where several processes trained together, and
    ``diverged`` how, where the next epoch did: it would again.
    """

    config: Config
    backend: str
    device: str
    data: Data
    epochs: list[EpochRecord]
    versions: dict[str, str] = field(default_factory=lambda: versions())
    definition: int = 1
    steps: str | None = None
    parallel: dict[str, Any] | None = None
    diverged: str | None = None

    @property
    def through(self) -> bool:
        """Whether the run was at its end, early perhaps."""
        return stopping.through(self.config, self.epochs)

    @property
    def ending(self) -> EpochRecord | None:
        """The epoch whose weights the run ended with, or had when it stopped."""
        return stopping.ending(self.config, self.epochs)

    def as_dict(self) -> dict[str, Any]:
        ending = self.ending
        some = {"parallel": self.parallel, "diverged": self.diverged}
        return {
            "format": FORMAT,
            "definition": self.definition,
            "config": self.config.as_dict(),
            "backend": self.backend,
            "device": self.device,
            "steps": self.steps,
            "versions": self.versions,
            **{name: value for name, value in some.items() if value is not None},
            "data": self.data.as_dict(),
            "epochs": [epoch.as_dict() for epoch in self.epochs],
            "weights_sha256": ending.weights_sha256 if ending else None,
            "predictions_sha256": ending.predictions_sha256 if ending else None,
        }


_ENTRIES = {entry.name for entry in fields(Record)} | {
    *("format", "weights_sha256", "predictions_sha256")
}
_SEAL = "sha256"
_DIVERGED = "the training diverged in epoch"  # as every DivergenceError begins


class DamagedError(InputError):
    """A receipt that is not as backendmlp wrote it."""


class _NewerError(InputError):
    """A receipt of a later format."""


def versions(libraries: Iterable[str] = ()) -> dict[str, str]:
    """The versions that may matter to somebody who compares two runs."""
    found = {
        "backendmlp": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    for name in ("numpy", "array-api-compat", *libraries):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # a library goes by several distributions' names
            continue
    return found


def parallel(backend: Backend, ranks: Ranks) -> dict[str, Any] | None:
    """How several processes train together, each on its own backend; None for a single one."""
    if ranks.size == 1:
        return None
    mine = {
        "backend": backend.name,
        "device": backend.label,
        "versions": versions(backend.packages),
    }
    return {
        "ranks": ranks.size,
        "mpi": ranks.library,
        "split": "rows",
        "members": ranks.all(mine),
    }


def most_epochs(config: Config) -> int:
    """How many epochs a receipt of ``config`` can hold."""
    room = LIMIT - _ELSE_BYTES - len(to_json(config.as_dict(), indent=4))
    tensors = 2 * (len(config.hidden) + 1)
    return min(MOST_EPOCHS, room // (_EPOCH_BYTES + tensors * _TENSOR_BYTES))


def check_epochs(config: Config) -> None:
    """Refuse at its start a run whose receipt could not be read at its end."""
    most = most_epochs(config)
    if config.epochs > most:
        raise InputError(
            f"epochs is {config.epochs:,}, and a run in a folder has at most {most:,}, for "
            "the receipt's sake; choose fewer, with larger batches perhaps, or train by MLP.fit "
            "from Python"
        )


def write(path: StrPath, record: Record) -> None:
    """Write ``record`` to ``path``, atomically, with the digest of all that it says."""
    said = record.as_dict()
    text = to_json({**said, _SEAL: _seal(said)}, indent=2)
    write_atomically(path, text.encode() + b"\n")


def _seal(said: dict[str, Any]) -> str:
    """SHA-256 of what a receipt says, whatever its lines and the order of its entries."""
    return hashlib.sha256(to_json(said).encode(errors="surrogatepass")).hexdigest()


def read(path: StrPath) -> Record:
    """The record in ``path``; raises :class:`InputError` for one that is damaged or newer.

    Of one that is damaged, :class:`DamagedError`.
    """
    text = read_bounded(path, LIMIT)
    if _is_tensor_file(text):
        raise InputError(
            f"{str(path)!r} is a file of weights and no receipt; give the {NAME} of its run, or "
            "the run's folder"
        )
    if text[:4] == b"PK\3\4":
        raise InputError(
            f"{str(path)!r} is an archive, of data perhaps, and no receipt; give the {NAME} of a "
            "run, or its folder"
        )
    try:
        return parse(_opened(from_json(text)))
    except JSONError as error:
        raise DamagedError(f"receipt {str(path)!r} {error}") from error
    except InputError as error:
        kind = InputError if isinstance(error, _NewerError) else DamagedError
        raise kind(f"receipt {str(path)!r}: {error}") from error


def _opened(value: dict[str, Any]) -> dict[str, Any]:
    """``value`` without its digest, which not every receipt has, and which must be right."""
    _check_format(value.get("format"))
    said = {name: entry for name, entry in value.items() if name != _SEAL}
    if _SEAL in value and value[_SEAL] != _seal(said):
        raise InputError(f"its {_SEAL} is not that of what it says; use an undamaged file")
    return said


def _is_tensor_file(data: bytes) -> bool:
    """Whether ``data`` begin as a safetensors file does: a length, and the JSON of that length."""
    return len(data) > 8 and data[8:9] == b"{" and int.from_bytes(data[:8], "little") < len(data)


def parse(value: dict[str, Any]) -> Record:
    """The record that :meth:`Record.as_dict` described, in this format or an older one."""
    _check_format(value.get("format"))
    if unknown := set(value) - _ENTRIES:
        raise InputError(
            f"it has {show(min(unknown))}, which no receipt has; use a {NAME} that backendmlp wrote"
        )
    data = _section(value, "data", dict)
    config = parse_config(_section(value, "config", dict), old=value["format"] == 1)
    record = Record(
        config=config,
        backend=_section(value, "backend", str),
        device=_section(value, "device", str),
        data=parse_data(data),
        epochs=parse_epochs(_section(value, "epochs", list), config),
        versions=_parse_versions(_section(value, "versions", dict)),
        definition=parse_definition(value),
        steps=_parse_text(value, "steps"),
        parallel=_parse_parallel(value.get("parallel")),
        diverged=_parse_text(value, "diverged"),
    )
    _check_diverged(record)
    repeated = record.as_dict()
    for name in ("weights_sha256", "predictions_sha256"):
        if value.get(name) != repeated[name]:
            raise InputError(
                f"its {name} is not that of the epoch it ends with; use an undamaged file"
            )
    return record


def check_definition(number: int, known: int, numerics: str) -> None:
    """Raise :class:`InputError` where a run of definition ``number`` has other bits than ``known``.

    That is the number which this version computes for such data in ``numerics``.
    """
    if number != known:
        raise InputError(
            f"the run was made under definition {number} of {numerics} numerics, and this "
            f"version of backendmlp computes definition {known}, which has other bits; use the "
            "version that made it, or train anew"
        )


def _parse_versions(value: dict[str, Any]) -> dict[str, str]:
    for name, entry in value.items():
        if not isinstance(entry, str):
            raise InputError(f"its version of {show(name)} is {show(entry)}; use an undamaged file")
    return value


def _parse_text(value: dict[str, Any], name: str) -> str | None:
    """What not every receipt has."""
    found = value.get(name)
    if not isinstance(found, str | None):
        raise InputError(f"its {name} is {show(found)}; use an undamaged file")
    return found


def _check_diverged(record: Record) -> None:
    """Refuse a training that is said to have diverged elsewhere than behind its last epoch."""
    following = f"{_DIVERGED} {len(record.epochs) + 1}:"
    if record.diverged is not None and (
        record.through or not record.diverged.startswith(following)
    ):
        raise InputError(
            f"its diverged is {show(record.diverged)}, and it holds {len(record.epochs)} of "
            f"{record.config.epochs} epochs; use an undamaged file"
        )


def _parse_parallel(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    kinds = {"ranks": int, "mpi": str, "split": str, "members": list}
    if not _holds(value, kinds) or value["ranks"] < 2 or value["split"] != "rows":
        raise InputError(f"its parallel is {show(value)}; use an undamaged file")
    if len(value["members"]) != value["ranks"]:
        raise InputError("its parallel does not have a member for each rank; use an undamaged file")
    for member in value["members"]:
        if not _holds(member, {"backend": str, "device": str, "versions": dict}):
            raise InputError(f"a member of its parallel is {show(member)}; use an undamaged file")
        _parse_versions(member["versions"])
    return value


def _holds(value: Any, kinds: dict[str, type]) -> bool:
    """Whether ``value`` is an object with these entries and no other."""
    return (
        isinstance(value, dict)
        and set(value) == set(kinds)
        and all(type(value[name]) is kind for name, kind in kinds.items())
    )


def _check_format(number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError("it has no format number; use a file that backendmlp wrote")
    if number > FORMAT:
        raise _NewerError(
            f"it was written by a newer backendmlp (format {show(number)}); update yours"
        )


def _section(value: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(value.get(name), kind):
        raise InputError(f"it has no {name}; use a run.json that backendmlp wrote")
    return value[name]
