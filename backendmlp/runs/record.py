"""``run.json``, the receipt of a run: enough to repeat it anywhere and to check the repetition.

Numbers are written so that they read back exactly: Python prints the shortest text that gives the
same float64 again.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields
from importlib import metadata
from typing import Any

from backendmlp.config import Config, definition
from backendmlp.data.origin import Origin
from backendmlp.errors import InputError
from backendmlp.files import StrPath, read_bounded, write_atomically
from backendmlp.strictjson import JSONError, from_json, show, to_json
from backendmlp.training.epochs import EpochRecord
from backendmlp.version import __version__

FORMAT = 1
LIMIT = 1 << 24  # bytes
MOST_EPOCHS = 20_000  # of a run that is recorded, each with its 760 bytes at most

_DIGEST = "0123456789abcdef"
_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "str": (str,),
    "str | None": (str, type(None)),
    "dict[str, str]": (dict,),
}


@dataclass(frozen=True)
class Data:
    """Which data a run saw: where they came from, and the digest that they must have again."""

    origin: Origin
    sha256: str

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self.origin), "sha256": self.sha256}


@dataclass(frozen=True)
class Record:
    """A run so far: what it was asked for, where it ran, and what each epoch came to.

    ``definition`` is the number of the definition that its bits follow, of :mod:`.config`.
    """

    config: Config
    backend: str
    device: str
    data: Data
    epochs: list[EpochRecord]
    versions: dict[str, str] = field(default_factory=lambda: versions())
    definition: int = 1

    def as_dict(self) -> dict[str, Any]:
        last = self.epochs[-1] if self.epochs else None
        return {
            "format": FORMAT,
            "definition": self.definition,
            "config": self.config.as_dict(),
            "backend": self.backend,
            "device": self.device,
            "versions": self.versions,
            "data": self.data.as_dict(),
            "epochs": [epoch.as_dict() for epoch in self.epochs],
            "weights_sha256": last.weights_sha256 if last else None,
            "predictions_sha256": last.predictions_sha256 if last else None,
        }


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


def check_epochs(config: Config) -> None:
    """Refuse at its start a run whose receipt could not be read at its end."""
    if config.epochs > MOST_EPOCHS:
        raise InputError(
            f"epochs is {config.epochs:,}, and a run in a folder has at most {MOST_EPOCHS:,}, for "
            "the receipt's sake; choose fewer, with larger batches perhaps, or train by MLP.fit "
            "from Python"
        )


def write(path: StrPath, record: Record) -> None:
    """Write ``record`` to ``path``, atomically."""
    write_atomically(path, to_json(record.as_dict(), indent=2).encode() + b"\n")


def read(path: StrPath) -> Record:
    """The record in ``path``; raises :class:`InputError` for one that is damaged or newer."""
    text = read_bounded(path, LIMIT)
    try:
        return parse(from_json(text))
    except (JSONError, InputError) as error:
        raise InputError(f"receipt {str(path)!r}: {error}") from error


def parse(value: dict[str, Any]) -> Record:
    """The record that :meth:`Record.as_dict` described."""
    _check_format(value.get("format"))
    data = _section(value, "data", dict)
    record = Record(
        config=parse_config(_section(value, "config", dict)),
        backend=_section(value, "backend", str),
        device=_section(value, "device", str),
        data=parse_data(data),
        epochs=parse_epochs(_section(value, "epochs", list)),
        versions=_parse_versions(_section(value, "versions", dict)),
        definition=parse_definition(value),
    )
    if len(record.epochs) > record.config.epochs:
        raise InputError("it has more epochs than its config asks for; use an undamaged file")
    repeated = record.as_dict()
    for name in ("weights_sha256", "predictions_sha256"):
        if value.get(name) != repeated[name]:
            raise InputError(f"its {name} is not that of its last epoch; use an undamaged file")
    return record


def parse_config(value: dict[str, Any]) -> Config:
    """A configuration with all its entries and no other."""
    expected = {entry.name for entry in fields(Config)}
    if set(value) != expected:
        raise InputError(
            f"its config has {sorted(value)!s:.300}, not {sorted(expected)}; "
            "use a file that backendmlp wrote, or update backendmlp"
        )
    for name, entry in value.items():
        # Config checks the rest; what it says about an entry repeats all of it.
        if not isinstance(entry, (int, float, str, type(None))) or len(repr(entry)) > 80:
            raise InputError(f"the {name} in its config is {show(entry)}; use an undamaged file")
    return Config(**value)


def parse_definition(value: dict[str, Any]) -> int:
    """The definition's number in a receipt or checkpoint; those of before it had one have 1."""
    number = value.get("definition", 1)
    if type(number) is not int or not 1 <= number < 1000:
        raise InputError(f"its definition is {show(number)}, no number; use an undamaged file")
    return number


def check_definition(number: int, config: Config) -> None:
    """Raise :class:`InputError` where this version does not compute definition ``number``."""
    known = definition(config.numerics, pixels=True)
    if number != known:
        raise InputError(
            f"the run was made under definition {number} of {config.numerics} numerics, and this "
            f"version of backendmlp computes definition {known}, which has other bits; use the "
            "version that made it, or train anew"
        )


def _parse_versions(value: dict[str, Any]) -> dict[str, str]:
    for name, entry in value.items():
        if not isinstance(entry, str):
            raise InputError(f"its version of {show(name)} is {show(entry)}; use an undamaged file")
    return value


def parse_data(value: dict[str, Any]) -> Data:
    kinds = {"name": str, "path": (str, type(None)), "sha256": str}
    if set(value) != set(kinds) or not all(isinstance(value[k], kinds[k]) for k in kinds):  # type: ignore[arg-type]
        raise InputError("its data entry needs name, path and sha256; use an undamaged file")
    return Data(Origin(value["name"], value["path"]), _digest(value["sha256"]))


def parse_epochs(value: list[Any]) -> list[EpochRecord]:
    epochs = [_parse_epoch(entry) for entry in value]
    if [epoch.epoch for epoch in epochs] != list(range(1, len(epochs) + 1)):
        raise InputError("its epochs are not numbered 1, 2, 3...; use an undamaged file")
    return epochs


def _parse_epoch(value: Any) -> EpochRecord:
    known = {entry.name: entry for entry in fields(EpochRecord)}
    required = {name for name, entry in known.items() if entry.default is MISSING}
    if not isinstance(value, dict) or not required <= set(value) <= set(known):
        raise InputError(f"one of its epochs does not hold {sorted(known)}; use an undamaged file")
    for name, entry in value.items():
        kinds = _KINDS[str(known[name].type)]
        if isinstance(entry, bool) or not isinstance(entry, kinds):
            raise InputError(f"the {name} of an epoch is {show(entry)}; use an undamaged file")
        if isinstance(entry, (int, float)) and not abs(entry) <= sys.float_info.max:
            raise InputError(f"the {name} of an epoch is not finite; use an undamaged file")
        if name.endswith("_sha256") and entry is not None:
            for digest in entry.values() if isinstance(entry, dict) else (entry,):
                _digest(digest)
    return EpochRecord(**value)


def _check_format(number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError("it has no format number; use a file that backendmlp wrote")
    if number > FORMAT:
        raise InputError(
            f"it was written by a newer backendmlp (format {show(number)}); update yours"
        )


def _section(value: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(value.get(name), kind):
        raise InputError(f"it has no {name}; use a run.json that backendmlp wrote")
    return value[name]


def _digest(value: object) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set(_DIGEST):
        raise InputError(f"{show(value)} is not a SHA-256 digest; use an undamaged file")
    return value
