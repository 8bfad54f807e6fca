"""The C compiler of a build: the machine's own where it works, else zig's, which PyPI has.

``BACKENDMLP_PLATFORM=manylinux_2_17_aarch64`` in the environment builds for that platform instead
of this one, by zig; ``any`` builds without the library.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Platforms as wheels name them, and as zig does.
TARGETS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
    "musllinux_1_2_x86_64": "x86_64-linux-musl",
    "musllinux_1_2_aarch64": "aarch64-linux-musl",
    "macosx_11_0_arm64": "aarch64-macos.11.0",
    "macosx_11_0_x86_64": "x86_64-macos.11.0",
    "win_amd64": "x86_64-windows-gnu",
}
# Where PyPI has zig; elsewhere asking for it would end the installation.
ZIG = (
    "ziglang>=0.13; (sys_platform == 'linux' or sys_platform == 'darwin' or "
    "sys_platform == 'win32') and (platform_machine == 'x86_64' or platform_machine == 'aarch64' "
    "or platform_machine == 'arm64' or platform_machine == 'AMD64')"
)
# What the steps need of a compiler, without their length.
_TRIAL = """
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
double trial(double x) { return exp(x); }
"""


def platform() -> str | None:
    """The platform to build for, where it is not this machine's own."""
    chosen = os.environ.get("BACKENDMLP_PLATFORM") or None
    if chosen not in (None, "any", *TARGETS):
        raise SystemExit(f"BACKENDMLP_PLATFORM is {chosen!r}; known are any, {', '.join(TARGETS)}")
    return chosen


def requirements() -> list[str]:
    """What a build must have installed beside setuptools, so that there is a compiler."""
    if platform() == "any":
        return []
    return [ZIG] if platform() is not None or _own() is None else []


def command() -> list[str] | None:
    """How a compiler that takes GCC's options is called; None where there is none."""
    target = None if platform() is None else TARGETS[platform()]
    own = _own() if target is None else None
    if own is not None or not importlib.util.find_spec("ziglang"):
        return own
    if sys.platform == "win32" and target is None:
        target = TARGETS["win_amd64"]
    # Baseline: without it zig compiles for this very processor, and a container's image moves.
    zig = [sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline", "-s"]
    return zig if target is None else [*zig, "-target", target]


def suffix() -> str:
    """How a shared library's name ends where the library will run."""
    system = platform() or sys.platform
    if system.startswith("win"):
        return ".dll"
    return ".dylib" if system.startswith(("macosx", "darwin")) else ".so"


def _own() -> list[str] | None:
    """The machine's compiler, once it has shown that it can make a shared library."""
    candidates = [shlex.split(os.environ.get("CC", ""))]
    if sys.platform != "win32":  # Microsoft's lacks the threads, MinGW's needs libraries beside it
        candidates += [[name] for name in ("cc", "gcc", "clang")]
    return next((found for found in candidates if found and _works(found)), None)


def _works(candidate: list[str]) -> bool:
    if shutil.which(candidate[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder, "trial.c"), Path(folder, "trial.so")
        source.write_text(_TRIAL)
        try:
            link(candidate, [str(source)], str(built), [], ["-pthread"])
        except (OSError, subprocess.CalledProcessError):
            return False
        return built.exists()


def link(
    compiler: list[str], sources: list[str], to: str, compile_args: list[str], link_args: list[str]
) -> None:
    """Make the shared library ``to`` of ``sources``; CalledProcessError where that fails."""
    position = [] if to.endswith(".dll") else ["-fPIC"]
    call = [*compiler, *compile_args, *position, "-shared", *sources, "-o", to, *link_args, "-lm"]
    subprocess.run(call, check=True)
