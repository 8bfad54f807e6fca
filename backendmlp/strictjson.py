"""JSON read strictly: UTF-8, no key twice, no NaN, no depth bombs; and written so as to be read."""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any

_REPR = reprlib.Repr()  # cuts what a hostile file would print by the megabyte
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother = 2, 80, 80
_LONGEST = 200  # characters of a value in a sentence


def show(value: object) -> str:
    """``value`` as a sentence names it, cut where it is long."""
    text = _REPR.repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class JSONError(ValueError):
    """What is wrong with a text that should be a JSON object."""


def to_json(value: dict[str, Any], indent: int | None = None) -> str:
    """``value`` as JSON; raises :class:`JSONError` for what JSON cannot hold."""
    try:
        if indent is None:
            return (
                "{" + ", ".join(f"{_line(key)}: {_line(value[key])}" for key in sorted(value)) + "}"
            )
        return json.dumps(value, allow_nan=False, indent=indent)
    except (TypeError, ValueError, RecursionError) as error:
        raise JSONError(f"holds what JSON cannot ({error}); use plain values") from error


def printed(value: Any) -> str:
    """``value`` as JSON to be printed; a number that is not finite, which JSON has not, as null."""
    return json.dumps(_finite(value), allow_nan=False, indent=2)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return list(map(_finite, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _line(value: Any) -> str:
    """``value`` in one line; a list entry by entry, because the encoder keeps a small string for
    each number until it is through: four times the text for the epochs of a long training.
    """
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    return json.dumps(value, allow_nan=False, sort_keys=True)


def from_json(text: bytes) -> dict[str, Any]:
    """The JSON object in ``text``; raises :class:`JSONError` for anything else."""
    if not text.strip():
        raise JSONError("is empty; use an undamaged file")
    try:
        value = json.loads(
            text.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise JSONError(f"is damaged JSON ({show(str(error))}); use an undamaged file") from error
    if not isinstance(value, dict):
        raise JSONError("is no JSON object; use a file that backendmlp wrote")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
