"""One training at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backendmlp.errors import InputError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; raises :class:`InputError` where another one holds it.

    The lock is on the folder itself, so no file is left behind, and the system gives it back when
    the process ends, however it ends.  Where folders cannot be locked (Windows) nothing is held.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another training is writing to {str(folder)!r}; wait for it, "
                "or choose another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)
