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

    The system gives the lock back when the process ends, however it ends.  The lock is on the
    folder itself, so no file is left behind; Windows locks files alone, and there an empty file
    ``.lock`` in the folder is held.
    """
    descriptor = os.open(*((folder, os.O_RDONLY) if os.name != "nt" else _file(folder)))
    try:
        try:
            _lock(descriptor)
        except OSError as error:
            raise InputError(
                f"another training is writing to {str(folder)!r}; wait for it, "
                "or choose another --out"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _file(folder: Path) -> tuple[Path, int]:
    return folder / ".lock", os.O_RDWR | os.O_CREAT


def _lock(descriptor: int) -> None:
    """Take the lock at once; OSError where another process has it."""
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
