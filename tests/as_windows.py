"""Every module and a training with its receipt, without what Windows lacks.

    python tests/as_windows.py FOLDER

A stand-in on another system: modules, functions and constants that Windows lacks are gone, folders
cannot be opened, files that are open can be neither replaced nor removed, text is cp1252 unless
said otherwise, and there is no /proc.  What NumPy and the standard library do for themselves they
have done before.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import io
import mmap
import os
import pkgutil
import select
import signal
import socket
import sys
import time
import types
import warnings
from contextlib import suppress
from pathlib import Path

ABSENT_MODULES = (
    "fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "posix",
    "curses", "crypt", "nis", "spwd", "_posixsubprocess", "_posixshmem",
)  # fmt: skip
ABSENT = {
    os: """
        chown fchown lchown chroot confstr ctermid environb eventfd fchdir fchmod fdatasync fork
        forkpty fpathconf fstatvfs getegid geteuid getgid getgroups getgrouplist getloadavg getpgid
        getpgrp getpriority getresuid getsid getuid getxattr initgroups killpg listxattr lockf
        major memfd_create minor mkfifo mknod nice openpty pathconf pipe2 posix_fadvise
        posix_fallocate posix_spawn pread preadv pwrite pwritev readv register_at_fork
        sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setpgid
        setpriority setsid setuid setxattr sync sysconf tcgetpgrp ttyname uname wait wait3
        wait4 waitid writev O_ASYNC O_CLOEXEC O_DIRECT O_DIRECTORY O_DSYNC O_NDELAY O_NOATIME
        O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_RSYNC O_SYNC O_TMPFILE RTLD_GLOBAL RTLD_LAZY
        RTLD_LOCAL RTLD_NOW EX_OK EX_USAGE EX_DATAERR EX_SOFTWARE WNOHANG
    """,
    signal: """
        SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTSTP
        SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ alarm getitimer pause
        pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait
        sigwaitinfo
    """,
    mmap: """
        MAP_ANON MAP_ANONYMOUS MAP_PRIVATE MAP_SHARED MAP_POPULATE PROT_EXEC PROT_READ PROT_WRITE
        MADV_DONTNEED MADV_RANDOM MADV_SEQUENTIAL MADV_WILLNEED
    """,
    time: """
        clock_getres clock_gettime clock_gettime_ns tzset pthread_getcpuclockid CLOCK_MONOTONIC
        CLOCK_PROCESS_CPUTIME_ID CLOCK_REALTIME CLOCK_THREAD_CPUTIME_ID
    """,
    select: "epoll poll",
    socket: "AF_UNIX socketpair",
}
LOCKED: list[int] = []
REAL_OPEN = open
USED = ("click", "numpy", "numpy.random", "PIL.Image", "pooch", "safetensors", "safetensors.numpy")
USED += ("subprocess", "tempfile", "threadpoolctl", "tqdm", "array_api_compat", "shutil", "ctypes")
USED += ("array_api_compat.numpy", "numpy.lib.format", "decimal", "gzip", "importlib.resources")


def take_away() -> None:
    for name in USED:
        importlib.import_module(name)
    for name in ABSENT_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in ABSENT.items():
        for name in names.split():
            with suppress(AttributeError):
                delattr(module, name)
    msvcrt = types.ModuleType("msvcrt")
    vars(msvcrt).update(LK_NBLCK=2, locking=lambda descriptor, *_: LOCKED.append(descriptor))
    sys.modules["msvcrt"] = msvcrt
    warnings.filterwarnings("error", category=EncodingWarning, module="backendmlp")
    builtins.open = io.open = without_proc(open)  # type: ignore[assignment]
    os.open = without_folders(os.open)  # type: ignore[assignment]
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, unless_open(getattr(os, name)))


def without_proc(function):
    def opened(file, mode="r", *arguments, **options):
        if sys._getframe(1).f_globals.get("__name__", "").startswith("backendmlp"):
            assert "b" in mode or "encoding" in options, f"{file}: whose encoding?"
            if str(file).startswith(("/proc", "/sys")):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return function(file, mode, *arguments, **options)

    return opened


def without_folders(function):
    def opened(path, *arguments, **options):
        if isinstance(path, (str, Path)) and os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return function(path, *arguments, **options)

    return opened


def unless_open(function):
    """``function`` of paths, refused for a file that this process has open or mapped."""
    listed = os.listdir

    def done(*paths, **options):
        busy = set()
        for name in listed("/proc/self/fd"):
            with suppress(OSError):
                busy.add(os.readlink(f"/proc/self/fd/{name}"))
        with REAL_OPEN("/proc/self/maps", encoding="utf-8") as file:
            maps = file.read()
        busy |= {line.split(maxsplit=5)[-1] for line in maps.splitlines()}
        for path in paths:
            if os.path.realpath(path) in busy:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return function(*paths, **options)

    return done


def import_all() -> None:
    import backendmlp
    import backendmlp.runs.lock

    for module in pkgutil.walk_packages(backendmlp.__path__, "backendmlp."):
        # The second is no module, and MPI on Windows is another library's business.
        if not module.name.endswith(("__main__", "libstep", "distributed.mpi")):
            with suppress(backendmlp.InputError):  # an extra that is not installed
                importlib.import_module(module.name)
    # The rest of the standard library would take the whole system for Windows.
    own = types.SimpleNamespace(**vars(os))
    own.name = "nt"
    backendmlp.runs.lock.os = own  # type: ignore[attr-defined]


def work(folder: str) -> None:
    from backendmlp.cli import main

    for arguments in (
        ["train", "--out", folder, "--hidden", "12", "--epochs", "1"],
        ["train", "--resume", folder, "--epochs", "2"],
        ["verify", str(Path(folder, "run.json"))],
        ["evaluate", str(Path(folder, "model.safetensors"))],
    ):
        try:
            main(arguments)
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    take_away()
    import_all()
    work(sys.argv[1])
    assert LOCKED, "no folder was locked"
