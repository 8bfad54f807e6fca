"""Sentences of the library as the command line says them: arguments become options here alone.

The library spells an argument as Python does, ``backend='numpy'`` or, without a value, ``device=``,
and going on with a run as ``resume_run``.
"""

from __future__ import annotations

import re

_OPTIONS = {
    "backend": "--backend",
    "device": "--device",
    "dataset": "--data or --dataset",
    "loss": "--loss",
    "out": "--out",
    "jobs": "--jobs",
    "inputs": "--inputs",
}
_ARGUMENT = re.compile(rf"\b({'|'.join(_OPTIONS)})=(?:'([^']*)')?(?![\w(\[])")


def as_options(sentence: str) -> str:
    """``sentence`` with options in the place of the arguments that stand for them."""

    def option(found: re.Match[str]) -> str:
        name, value = _OPTIONS[found[1]], found[2]
        return name if value is None else f"{name} {value}"

    return _ARGUMENT.sub(option, sentence).replace("resume_run", "--resume")
