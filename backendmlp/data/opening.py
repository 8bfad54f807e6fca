"""Opening files that a user names, so that whatever is wrong with one ends in a sentence."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from backendmlp.errors import InputError
from backendmlp.files import StrPath


def shown(path: StrPath) -> str:
    """``path`` as an error names it: quoted and escaped if a terminal could not print it."""
    text = os.fspath(path)
    return text if text.isprintable() and text else repr(text)


def reason(error: OSError) -> str:
    """What the operating system says, without the error number and the path."""
    return (error.strerror or str(error) or type(error).__name__).lower()


@contextmanager
def open_regular(path: StrPath) -> Iterator[BinaryIO]:
    """Open an ordinary file for reading in binary.

    :raises InputError: the file is missing, unreadable or not an ordinary file, or reading it
        inside the ``with`` block fails.
    """
    try:
        _refuse_special(path)
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(
            f"{shown(path)} cannot be read: {reason(error)}; check its name and permissions"
        ) from error


def _refuse_special(path: StrPath) -> None:
    # Looked at before it is opened: opening a pipe waits for a writer, perhaps for ever.
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a NUL byte, or a character the file system cannot encode
        raise InputError(f"{shown(path)} cannot be the name of a file; correct it") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"{shown(path)} is a folder; name a file in it")
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown(path)} is a pipe or a device; name an ordinary file")
