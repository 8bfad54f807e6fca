"""Fetching a data set from the first mirror that delivers exactly the bytes that are expected."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from backendmlp.data.idx import CHUNK, GZIP_MAGIC
from backendmlp.errors import InputError
from backendmlp.files import reason, shown


@dataclass(frozen=True)
class RemoteFile:
    """A file that mirrors offer as ``name.gz``, with size and SHA-256 of its plain contents.

    Checksums are over the plain bytes because each mirror may have compressed them its own way.
    """

    name: str
    size: int
    sha256: str


class _MirrorError(Exception):
    """What a mirror did wrong, worded to follow its address."""


def download(
    files: Sequence[RemoteFile],
    mirrors: Sequence[str],
    folder: Path,
    *,
    advice: str,
    timeout: float = 30.0,
    total_timeout: float = 900.0,
    progressbar: bool = False,
) -> None:
    """Make ``folder`` with all of ``files``, uncompressed and verified, or leave nothing behind.

    The folder appears at once when it is complete, so another process never sees half of it.

    :param mirrors: addresses that a file's name is appended to, tried in order.
    :param advice: what to do instead, for the error when no mirror delivers.
    :param timeout: how many seconds a mirror may be silent.
    :param total_timeout: how many seconds a mirror may take for a file in all.
    :raises InputError: no mirror delivers one of the files, or the folder cannot be written.
    """
    source = _Mirrors(list(mirrors), advice, timeout, total_timeout, progressbar)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            staged = Path(scratch) / folder.name
            staged.mkdir()
            for file in files:
                source.fetch(file, staged)
            _publish(staged, folder, files)
    except OSError as error:
        raise InputError(
            f"{shown(folder)} cannot be written: {reason(error)}; make room for it, or {advice}"
        ) from error


def _publish(staged: Path, folder: Path, files: Iterable[RemoteFile]) -> None:
    try:
        os.replace(staged, folder)
    except OSError:
        # Another process may have been faster; whoever loads the files checks them anyway.
        if not all((folder / file.name).is_file() for file in files):
            raise


@dataclass
class _Mirrors:
    """The addresses to ask, in order, and how."""

    addresses: list[str]
    advice: str
    timeout: float
    total_timeout: float
    progressbar: bool

    def fetch(self, file: RemoteFile, folder: Path) -> None:
        """Put ``file`` into ``folder``."""
        failures: dict[str, list[str]] = {}
        for address in self.addresses:
            try:
                self._fetch_from(address, file, folder)
            except _MirrorError as failure:
                failures.setdefault(str(failure), []).append(address)
            else:
                # Asked first from now on, lest each file wait for the same silent mirror.
                self.addresses.remove(address)
                self.addresses.insert(0, address)
                return
        told = "; ".join(f"{', '.join(places)} {why}" for why, places in failures.items())
        raise InputError(
            f"{file.name}.gz cannot be downloaded ({told or 'no mirror is named'}); {self.advice}"
        )

    def _fetch_from(self, address: str, file: RemoteFile, folder: Path) -> None:
        url = f"{address.rstrip('/')}/{file.name}.gz"
        with tempfile.TemporaryFile(dir=folder.parent) as archive:
            target = _Bounded(archive, file.size)
            _request(url, target, self.timeout, self.total_timeout, self.progressbar)
            archive.seek(0)
            _unpack(archive, folder / file.name, file)


class _Bounded:
    """The file that a mirror's answer is written to, as long as it can be the right one."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file = file
        # Gzip adds a few bytes to each block that it cannot compress, and a header.
        self.room = size + size // 100 + 1024

    def write(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise _MirrorError("answered with a wrong file (too long)")
        self.file.write(data)

    def flush(self) -> None:
        """Called after each write; the file is flushed when it is read again."""


def _request(
    url: str, target: _Bounded, timeout: float, total_timeout: float, progressbar: bool
) -> None:
    # Imported here because both are slow to import, and few runs download anything.
    import pooch
    import requests

    answers: list[requests.Response] = []

    def keep(response: requests.Response, **_: Any) -> None:
        answers.append(response)

    fetch = pooch.HTTPDownloader(
        progressbar=progressbar,
        chunk_size=2**16,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        hooks={"response": keep},
    )

    def work() -> None:
        try:
            fetch(url, target, None)
        finally:
            for answer in answers:
                answer.close()

    try:
        _call_within(total_timeout, work, lambda: _shut_down(answers))
    except requests.HTTPError as error:
        raise _MirrorError(f"answered {answers[-1].status_code}") from error
    except requests.Timeout as error:
        raise _MirrorError(f"did not answer within {timeout:g} s") from error
    except requests.RequestException as error:
        raise _MirrorError("broke off" if answers else "cannot be reached") from error
    except ValueError as error:
        raise _MirrorError(f"cannot be asked ({error})") from error


def _call_within(seconds: float, work: Callable[[], None], abandon: Callable[[], None]) -> None:
    """Call ``work`` in a thread of its own, and ``abandon`` it when its time is over.

    A server that sends a byte now and then is never silent, and reading what it sends, or asking
    for its address, has no limit of its own that would end it.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    try:
        if not wait([done], seconds).done:
            raise _MirrorError(f"took longer than {seconds:g} s in all")
    finally:
        if not done.done():  # Ctrl-C too ends the waiting
            abandon()
    done.result()


def _shut_down(answers: Iterable[Any]) -> None:
    """End the reading of ``answers`` in another thread, which then closes them."""
    for answer in answers:
        # urllib3 cannot before 2.3, and says so in its own ways where the answer is over already.
        with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):
            answer.raw.shutdown()


def _unpack(archive: IO[bytes], path: Path, file: RemoteFile) -> None:
    """Write the plain contents of ``archive`` to ``path``, if they are those of ``file``."""
    # A server that declares the compression as its own has the client undo it on the way.
    gzipped = archive.read(2) == GZIP_MAGIC
    archive.seek(0)
    try:
        stream = gzip.GzipFile(fileobj=archive) if gzipped else archive
        with stream, open(path, "wb") as target:
            digest = _copy(stream, target, file.size)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _MirrorError("answered with damaged gzip") from error
    if digest != file.sha256:
        raise _MirrorError("answered with a wrong file (its checksum differs)")


def _copy(stream: Any, target: IO[bytes], size: int) -> str:
    """Copy at most ``size`` + 1 bytes, enough to get another checksum; return the SHA-256."""
    digest = hashlib.sha256()
    left = size + 1
    while chunk := stream.read(min(CHUNK, left)):
        digest.update(chunk)
        target.write(chunk)
        left -= len(chunk)
    return digest.hexdigest()
