"""What the files of a run say, read with suspicion: configuration, data, epochs, digests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

from backendmlp.config import Config
from backendmlp.data.origin import Origin
from backendmlp.errors import InputError
from backendmlp.inputs import MAX_CLASSES
from backendmlp.strictjson import show
from backendmlp.training import stopping
from backendmlp.training.records import EpochRecord

# What a configuration was before networks had more layers than one and anything else to choose.
_FIRST = frozenset({"hidden", "epochs", "batch_size", "lr", "seed", "numerics", "dtype"})
_LISTS = ("hidden", "class_weight")
_LONGEST_VALUE = 80  # as text
_DIGEST = frozenset("0123456789abcdef")
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
        return {**self.origin.as_dict(), "sha256": self.sha256}


def parse_config(value: dict[str, Any], *, old: bool = False) -> Config:
    """A configuration with all its entries and no other; with those of then in an ``old`` file."""
    every = _FIRST if old else {entry.name for entry in fields(Config)}
    if set(value) != every:
        raise InputError(
            f"its config has {sorted(value)!s:.300}, not {sorted(every)!s:.800}; "
            "use a file that backendmlp wrote, or update backendmlp"
        )
    if isinstance(value["hidden"], list) == old:
        raise InputError(
            f"the hidden in its config is {show(value['hidden'])}; use an undamaged file"
        )
    for name, entry in value.items():
        # Config checks the rest; what it says about an entry repeats all of it.
        entries = entry if isinstance(entry, list) and name in _LISTS else [entry]
        if len(entries) > MAX_CLASSES or not all(map(_is_plain, entries)):
            raise InputError(f"the {name} in its config is {show(entry)}; use an undamaged file")
    return Config(**value)


def _is_plain(value: Any) -> bool:
    """No list or object, and short enough to be repeated in an error."""
    return isinstance(value, int | float | str | None) and len(repr(value)) <= _LONGEST_VALUE


def parse_definition(value: dict[str, Any]) -> int:
    """The definition's number in a file; those of before it had one have 1."""
    number = value.get("definition", 1)
    if type(number) is not int or not 1 <= number < 1000:
        raise InputError(f"its definition is {show(number)}, no number; use an undamaged file")
    return number


def parse_data(value: dict[str, Any]) -> Data:
    kinds = {"name": str, "path": (str, type(None)), "sha256": str, "found": str}
    entries = {"found", *value} == set(kinds)
    if not entries or not all(isinstance(entry, kinds[k]) for k, entry in value.items()):  # type: ignore[arg-type]
        raise InputError("its data entry needs name, path and sha256; use an undamaged file")
    origin = Origin(value["name"], value["path"], value.get("found"))
    return Data(origin, _digest(value["sha256"]))


def parse_epochs(value: list[Any], config: Config) -> list[EpochRecord]:
    """The records of a training under ``config``, as far as it went."""
    epochs = [_parse_epoch(entry) for entry in value]
    if [epoch.epoch for epoch in epochs] != list(range(1, len(epochs) + 1)):
        raise InputError("its epochs are not numbered 1, 2, 3...; use an undamaged file")
    if len(epochs) > config.epochs:
        raise InputError("it has more epochs than its config asks for; use an undamaged file")
    _check_course(epochs, config)
    return epochs


def _check_course(epochs: Sequence[EpochRecord], config: Config) -> None:
    """Refuse epochs that lack what decides over the training, or that lie beyond its end."""
    shown = {epoch.validation_loss is not None for epoch in epochs}
    measured = all(
        (epoch.validation_loss is None)
        == (epoch.validation_accuracy is None and epoch.validation_r2 is None)
        for epoch in epochs
    )
    validated = config.validation_split > 0 or (config.monitor or "train_loss") != "train_loss"
    if not measured or len(shown) > 1 or (validated and shown == {False}):
        raise InputError(
            "its epochs do not all hold what came of validation data; use an undamaged file"
        )
    if stopping.replayed(config, epochs[:-1]).ended:
        raise InputError("it has epochs after its training ended early; use an undamaged file")


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
        if name == "seconds" and entry < 0:  # type: ignore[operator]
            raise InputError(f"the {name} of an epoch are {show(entry)}; use an undamaged file")
        if name.endswith("_sha256") and entry is not None:
            for digest in entry.values() if isinstance(entry, dict) else (entry,):
                _digest(digest)
    return EpochRecord(**value)


def _digest(value: object) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= _DIGEST:
        raise InputError(f"{show(value)} is not a SHA-256 digest; use an undamaged file")
    return value
