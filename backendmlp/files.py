"""Files that are written whole or not at all, and read without surprises."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from backendmlp.errors import InputError

StrPath = str | os.PathLike[str]

_REASONS = {
    errno.EACCES: "permission denied; change its permissions or choose another place",
    errno.EDQUOT: "the disk quota is used up; delete something or choose another place",
    errno.EEXIST: "a file of that name is in the way; choose another name",
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ELOOP: "its symbolic links lead round in a circle; choose another path",
    errno.ENAMETOOLONG: "its name is too long; choose a shorter one",
    errno.ENOENT: "no such file or folder; check the path",
    errno.ENOSPC: "no space is left on the device; delete something or choose another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.ENXIO: "it is not a regular file; give the name of one",
    errno.EPERM: "the operation is not permitted; choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
}


def write_atomically(path: StrPath, data: bytes) -> None:
    """Write ``data`` to the file ``path``: whoever looks sees the old file or all of the new one.

    Where ``path`` is a symbolic link, the file that it leads to is replaced.  The data are on the
    disk, not only in the system's memory, when this returns.  Raises :class:`InputError` that
    names the path and the reason where the file cannot be written; nothing is left behind then.
    """
    with _explained("write", path), _naming("write", path):
        _require_regular(Path(path))
        target = Path(os.path.realpath(path))
        temporary = _temporary_name(target.parent)
        try:
            _write_through(temporary, data)
            os.replace(temporary, target)
        except BaseException:  # Ctrl-C too must not leave a temporary file
            _remove(temporary)
            raise
        _sync_folder(target.parent)


def writable_folder(path: StrPath) -> Path:
    """The folder ``path``, created where it is missing, after a trial file has been written to it.

    Called before hours of training rather than after them.  Raises :class:`InputError` where the
    folder cannot be created or written.
    """
    with _explained("write to folder", path), _naming("write to folder", path):
        folder = Path(path)
        if not os.path.lexists(folder):
            folder.mkdir(parents=True, exist_ok=True)
        trial = _temporary_name(folder)
        try:
            _write_through(trial, b"\0")  # one byte: a full disk lets empty files through
        finally:
            _remove(trial)
    return folder


@contextlib.contextmanager
def open_regular(path: StrPath) -> Iterator[BinaryIO]:
    """Open the regular file ``path`` for reading in binary; the one way in for every reader.

    Raises :class:`InputError` for a file that is missing, unreadable, or not a regular file (a
    FIFO is refused rather than waited for), and where reading it in the ``with`` block fails.
    """
    with _explained("read", path), _naming("read", path):
        file = _open(path)
    with file, _explained("read", path):
        yield file


def read_bounded(path: StrPath, limit: int, first: int | None = None) -> bytes:
    """The content of the regular file ``path``, which may have at most ``limit`` bytes.

    With ``first``, only so many bytes from its beginning.

    Raises :class:`InputError` as :func:`open_regular` does, and for a file that is larger.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise InputError(
                f"cannot read {shown(path)}: it has {size:,} bytes, more than the "
                f"{limit:,} that are allowed; check that it is the right file"
            )
        if first is not None:
            return file.read(first)
        data = file.read(size + 1)
        if len(data) != size:
            raise InputError(
                f"cannot read {shown(path)}: its size changed meanwhile; "
                "try again when nothing else writes to it"
            )
    return data


def shown(path: StrPath) -> str:
    """``path`` as an error names it: quoted and escaped if a terminal could not print it."""
    text = os.fsdecode(path)
    return text if text.isprintable() and text else repr(text)


def reason(error: OSError) -> str:
    """What the operating system says, without the error number and the path."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def _open(path: StrPath) -> BinaryIO:
    # A FIFO would block the open itself, hence O_NONBLOCK; Windows has it not, but needs O_BINARY.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _require_regular_mode(os.fstat(descriptor).st_mode)
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextlib.contextmanager
def _explained(doing: str, path: StrPath) -> Iterator[None]:
    """Turn what the operating system refuses into an :class:`InputError` about ``path``."""
    try:
        yield
    except OSError as error:
        why = _REASONS.get(error.errno or 0) or f"{reason(error)}; choose another path"
        raise InputError(f"cannot {doing} {shown(path)}: {why}") from error


@contextlib.contextmanager
def _naming(doing: str, path: StrPath) -> Iterator[None]:
    """Turn what no file can be called into an :class:`InputError` about ``path``."""
    try:
        yield
    except InputError:
        raise
    except TypeError as error:
        if isinstance(path, str | os.PathLike):
            raise
        raise InputError(f"cannot {doing} {path!r:.80}: give the path of a file") from error
    except ValueError as error:  # a zero byte, or characters that no file name can have
        raise InputError(
            f"cannot {doing} {shown(path)}: this cannot be a path ({error}); choose another"
        ) from error


def _require_regular(path: Path) -> None:
    """Refuse to replace a folder or a device (``/dev/null``!); a new name is welcome."""
    with contextlib.suppress(FileNotFoundError):
        _require_regular_mode(path.stat().st_mode)


def _require_regular_mode(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))


def _temporary_name(folder: Path) -> Path:
    """A fresh name in ``folder``: a rename is atomic only within one file system."""
    return folder / f".backendmlp-{secrets.token_hex(8)}.tmp"


def _write_through(path: Path, data: bytes) -> None:
    """Write the new file ``path``, down to the disk, with the permissions that the umask gives."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened and synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def require_uncut(x: Any) -> None:
    """Raise :class:`InputError` where the array ``x`` lies in a mapped file that was cut short.

    Reading what is no longer there would end the process by a signal (SIGBUS).
    """
    name = "a file of the data"
    while x is not None and not isinstance(x, mmap.mmap):
        name = getattr(x, "filename", None) or name
        x = getattr(x, "base", None)
    if x is not None and x.size() < len(x):
        raise InputError(
            f"{str(name)!r} was cut short while it was read: {len(x):,} bytes of it are in use and "
            f"{x.size():,} are left; restore it and begin again, or go on by resume_run"
        )
