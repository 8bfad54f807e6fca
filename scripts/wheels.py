"""The sdist, and a wheel for every platform, from one Linux machine: zig compiles for all of them.

    pip install build auditwheel && python scripts/wheels.py [--out dist] [PLATFORM ...]

Wheels are built from the sdist, not from the checkout.  Linux wheels must be what their names say,
by auditwheel; those for macOS and Windows are compiled and not looked at here.  ``any`` is the
wheel without the library, for the rest of the world.  docs/platforms.md says what was run where.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from building.compiler import TARGETS

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help="all, if none is named")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    known = [*TARGETS, "any"]
    if set(options.platforms) - set(known):
        parser.error(f"platforms are {', '.join(known)}")
    sdist = build_sdist(options.out)
    for platform in options.platforms or known:
        wheel = build_wheel(sdist, options.out, platform)
        print(f"{wheel.name}  {wheel.stat().st_size:,} bytes{checked(wheel, platform)}", flush=True)


def build_sdist(out: Path) -> Path:
    call("-m", "build", "--sdist", "--outdir", str(out), str(ROOT))
    return max(out.glob("backendmlp-*.tar.gz"), key=lambda path: path.stat().st_mtime)


def build_wheel(sdist: Path, out: Path, platform: str) -> Path:
    """The wheel of ``sdist`` for ``platform``; exits where it has another name than it should."""
    for old in out.glob(f"backendmlp-*-{platform}.whl"):
        old.unlink()
    options = ("--quiet", "--no-deps", "--no-cache-dir", "--wheel-dir", str(out))
    call("-m", "pip", "wheel", *options, str(sdist), BACKENDMLP_PLATFORM=platform)
    found = list(out.glob(f"backendmlp-*-py3-none-{platform}.whl"))
    if len(found) != 1:
        sys.exit(f"no wheel for {platform} came out: could zig compile the library?")
    return found[0]


def checked(wheel: Path, platform: str) -> str:
    """What auditwheel says of a Linux wheel; exits where it does not deserve its name."""
    if "linux" not in platform:
        return ""
    # This machine's own libraries are not those that a wheel for another will meet.
    show = ("-m", "auditwheel", "show", "--ldpaths", "/nonexistent", str(wheel))
    said = " ".join(call(*show).split())
    # Of musl it judges by the C library that it runs on: there, that nothing else is needed counts.
    expected = '{ "libc.so": null }' if platform.startswith("musl") else f'"{platform}"'
    if expected not in said:
        sys.exit(f"{wheel.name} is not what its name says: {said}")
    return ", which needs libc.so alone" if platform.startswith("musl") else ", as auditwheel says"


def call(*arguments: str, **environment: str) -> str:
    found = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return found.stdout


if __name__ == "__main__":
    main()
