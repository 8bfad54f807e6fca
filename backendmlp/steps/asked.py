"""What the environment asks of the steps that take the place of the definition."""

from __future__ import annotations

import os
from collections.abc import Collection

from backendmlp.errors import InputError


def asked(variable: str, known: Collection[str], meaning: str) -> str:
    """What the environment says by ``variable``, one of ``known``; "1" where it says nothing.

    Raises :class:`InputError` for anything else, and tells the ``meaning`` of those.
    """
    said = os.environ.get(variable) or "1"
    if said not in known:
        raise InputError(f"{variable} is {said!r:.80}; set it {meaning}, or unset it")
    return said
