"""What is asked of ``backendmlp train``, and the configuration that it comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backendmlp.config import Config
from backendmlp.data import Dataset
from backendmlp.data.origin import Origin, origin
from backendmlp.errors import InputError
from backendmlp.runs.checkpoint import Checkpoint
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
    distributed: bool
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


def new_config(request: Request) -> tuple[Config, Dataset | None]:
    """The configuration asked for, and the data where they were opened for their classes' names."""
    weights = request.choices.get("class_weight")
    if not isinstance(weights, dict):
        return Config(**request.choices), None
    Config(**{**request.choices, "class_weight": "balanced"})  # what else is wrong is told at once
    dataset = request.origin().open()
    named = weight_of_each(weights, dataset.class_names)
    return Config(**{**request.choices, "class_weight": named}), dataset


def weight_of_each(weights: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The weights of classes with ``names``; one whose weight is not given counts 1."""
    for name in weights:
        if name not in names:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise InputError(
                f"--class-weight names {name[:80]!r}, which is none of the classes "
                f"{known or 'since there are no classes'}; check its spelling"
            )
    return tuple(weights.get(name, 1.0) for name in names)


def resumed_config(request: Request, found: Checkpoint) -> Config:
    """The checkpoint's configuration with the options that the user spelled out in it."""
    spelled, theirs = dict(request.choices), found.config
    if isinstance(weights := spelled.get("class_weight"), dict):
        spelled["class_weight"] = weight_of_each(weights, open_data(found.data).class_names)
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
