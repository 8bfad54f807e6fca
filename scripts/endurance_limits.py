"""A limit on the memory of a process and its page cache: a control group of Linux."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_ROOT = Path("/sys/fs/cgroup")
_FILES = {  # limit and peak, of the second version and of the first
    _ROOT: ("memory.max", "memory.peak"),
    _ROOT / "memory": ("memory.limit_in_bytes", "memory.max_usage_in_bytes"),
}


@contextmanager
def memory_limit(size: int) -> Iterator[tuple[str, Callable[[], None], Callable[[], str]]]:
    """The limit's name, a function for the process to enter it, and one that tells its peak."""
    group, peak = _make(size)
    try:
        yield (
            "a control group",
            lambda: _enter(group),
            lambda: f" (peak {int((group / peak).read_text()) / 1e6:,.0f} MB, its cache included)",
        )
    finally:
        group.rmdir()


def _make(size: int) -> tuple[Path, str]:
    for root, (limit, peak) in _FILES.items():
        group = root / f"backendmlp-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if not (group / limit).exists():  # a mere folder: the controllers are mounted below
                raise FileNotFoundError(limit)
            (group / limit).write_text(str(size))
            return group, peak
        except OSError:
            group.rmdir()
    raise click.ClickException("no control group can be made here: run as root, on Linux")


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
