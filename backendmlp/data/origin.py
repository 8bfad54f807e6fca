"""Where a data set comes from, in a form that can be written down and opened again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches

from backendmlp.data.catalogue import (
    CATALOGUE,
    SAMPLE,
    letters,
    load_found,
    load_named,
    load_sample,
)
from backendmlp.data.dataset import Dataset, load_folder
from backendmlp.data.npz import load_file
from backendmlp.errors import InputError


@dataclass(frozen=True)
class Origin:
    """The embedded sample, a set of the catalogue by its ``name``, or what lies at ``path``.

    A set of the catalogue may say in which folder it was ``found``, where it is looked for first.
    """

    name: str
    path: str | None = None
    found: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Its entries by name, for JSON."""
        found = {} if self.found is None else {"found": self.found}
        return {"name": self.name, "path": self.path, **found}

    def open(self) -> Dataset:
        """The data set; raises :class:`InputError` where it is not at hand or bad."""
        if self.path is not None:
            is_file = os.path.exists(self.path) or self.path.lower().endswith(".npz")
            whole = is_file and not os.path.isdir(self.path)
            return load_file(self.path) if whole else load_folder(self.path)
        if self.name == SAMPLE:
            return load_sample()
        if self.name in CATALOGUE:
            there = None if self.found is None else load_found(self.name, self.found)
            return load_named(self.name) if there is None else there
        near = get_close_matches(self.name, (SAMPLE, *CATALOGUE), 1)
        meant = f"did you mean {near[0]!r}, of" if near else "known are"
        known = ", ".join((SAMPLE, *CATALOGUE))
        raise InputError(f"data set {self.name!r:.80} is unknown; {meant} {known}")


def name_of_set(text: str) -> str:
    """The known name that ``text`` is another spelling of, or ``text`` itself."""
    known = {letters(name): name for name in (SAMPLE, *CATALOGUE)}
    return known.get(letters(text), text)


def origin(place: str | os.PathLike[str] | None = None, name: str | None = None) -> Origin:
    """The origin that a command asks for: a place, a name, or neither, which is the sample."""
    if place is not None and name is not None:
        raise InputError("--data and --dataset are both given; give one")
    if place is not None:
        path = os.path.abspath(place)
        return Origin(os.path.basename(path) or "data", path)
    return Origin(name_of_set(name or SAMPLE))
