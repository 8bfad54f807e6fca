"""All golden digests on other processors, under emulation: arm64, riscv64, ppc64el, s390x.

    sudo apt-get install qemu-user-static && python scripts/emulated.py [ARCHITECTURE ...]

Unpacks Debian's own Python and NumPy for the processor into a folder (some 150 MB each; no root, no
chroot), adds the few pure Python packages that a training needs, and runs tests/golden.py --wide
there: the definition of a step, on the reference BLAS.  s390x is big-endian.  ``--wheels`` takes
NumPy and OpenBLAS of PyPI's wheels instead, and the compiled steps of a wheel that
scripts/wheels.py has built (``--wheels dist``).  Needs apt-get, dpkg-deb and pip.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {  # Debian's name: qemu's, and the folder of its libraries
    "amd64": ("x86_64", "x86_64-linux-gnu"),
    "arm64": ("aarch64", "aarch64-linux-gnu"),
    "riscv64": ("riscv64", "riscv64-linux-gnu"),
    "ppc64el": ("ppc64le", "powerpc64le-linux-gnu"),
    "s390x": ("s390x", "s390x-linux-gnu"),
}
DEFAULT = [name for name in ARCHITECTURES if name != "amd64"]
MIRROR = "http://deb.debian.org/debian"
PURE = ("array-api-compat", "threadpoolctl")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE")
    parser.add_argument("--release", default="trixie", help="of Debian")
    parser.add_argument("--folder", type=Path, default=Path.home() / ".cache/backendmlp-emulated")
    parser.add_argument("--wheels", type=Path, help="the folder of our wheels: arm64 alone")
    options = parser.parse_args()
    if set(options.architectures) - set(ARCHITECTURES):
        parser.error(f"architectures are {', '.join(ARCHITECTURES)}")
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} must be installed")
    different = 0
    for name in options.architectures or DEFAULT:
        root = system(name, options.release, options.folder)
        different += not report(name, root, packages(options.folder, options.wheels, root))
    return bool(different)


def system(name: str, release: str, folder: Path) -> Path:
    """A folder with ``release``'s Python and NumPy for ``name``, unpacked and not installed."""
    root = folder / f"{release}-{name}"
    if (root / "complete").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    apt = root / "apt"
    for part in ("lists/partial", "archives/partial"):
        (apt / part).mkdir(parents=True)
    (apt / "status").touch()
    (apt / "sources.list").write_text(f"deb {MIRROR} {release} main\n")
    settings = {
        "APT::Architecture": name, "APT::Architectures": name, "APT::Install-Recommends": "0",
        "Dir::Etc::sourcelist": apt / "sources.list", "Dir::Etc::sourceparts": "/nonexistent",
        "Dir::State::lists": apt / "lists", "Dir::State::status": apt / "status",
        "Dir::Cache": apt, "Dir::Cache::archives": apt / "archives",
        "APT::Sandbox::User": "", "Debug::NoLocking": "1",
    }  # fmt: skip
    get = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    if subprocess.run([*get, "update"]).returncode:
        sys.exit(f"Debian {release} cannot be had for {name} now; choose another --release")
    subprocess.run(
        [*get, "--download-only", "--yes", "install", "python3-numpy"],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    for part in ("bin", "lib", "lib64"):  # Debian has them below usr
        (root / "usr" / part).mkdir(parents=True)
        (root / part).symlink_to(f"usr/{part}")
    for package in sorted((apt / "archives").glob("*.deb")):
        archive = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True
        )
        # --keep-directory-symlink: a package must not replace lib by a folder of its own.
        unpack = ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(root)]
        subprocess.run(unpack, input=archive.stdout, check=True)
    libraries = root / "usr/lib" / ARCHITECTURES[name][1]
    for part in ("blas", "lapack"):  # what the alternatives of an installed system point to
        for library in (libraries / part).glob("*.so.3"):
            (libraries / library.name).symlink_to(f"{part}/{library.name}")
    shutil.rmtree(apt)
    (root / "complete").touch()
    return root


def packages(folder: Path, wheels: Path | None, root: Path) -> Path:
    """A folder with what else a training imports; with ``wheels``, with NumPy and ourselves."""
    target = folder / ("wheels" if wheels else "pure")
    shutil.rmtree(target, ignore_errors=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target]
    subprocess.run([*install, "--only-binary=:all:", *PURE], check=True)
    if wheels:
        version = max((root / "usr/bin").glob("python3.*[0-9]")).name.removeprefix("python")
        platform = [
            *("--only-binary=:all:", "--python-version", version, "--find-links", wheels),
            *("--platform=manylinux_2_28_aarch64", "--platform=manylinux_2_17_aarch64"),
        ]
        ours = ("numpy", "scipy-openblas64", "backendmlp")
        subprocess.run([*install, *platform, *ours], check=True)
    return target


def report(name: str, root: Path, beside: Path) -> bool:
    """Run the golden cases and say in one line what came out."""
    processor = ARCHITECTURES[name][0]
    names = (f"qemu-{processor}-static", f"qemu-{processor}")
    emulator = next(filter(None, map(shutil.which, names)), None)
    if emulator is None:
        sys.exit(f"{names[1]} must be installed (apt-get install qemu-user-static)")
    ours = () if (beside / "backendmlp").exists() else (ROOT,)
    process = subprocess.run(
        [emulator, "-L", root, root / "usr/bin/python3", ROOT / "tests/golden.py", "--wide"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": os.pathsep.join(map(str, (beside, *ours))),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(process.stdout)
    expected = json.loads((ROOT / "tests/golden.json").read_text())
    same = all(found[case] == expected[case] for case in expected)
    digests = "  ".join(found[case]["weights_sha256"][-1][:12] for case in expected)
    print(f"{name:<8} {described(found['machine'])}  {digests}  {'equal' if same else 'DIFFERENT'}")
    return same


def described(machine: dict[str, Any]) -> str:
    blas = " ".join(str(pool["internal_api"]) for pool in machine["blas"]) or "reference BLAS"
    steps = "compiled" if machine["compiled"] else "as defined"
    words = f"Python {machine['python']}, NumPy {machine['numpy']}, {blas}"
    return f"{words}, {machine['byteorder']}-endian, steps {steps}"


if __name__ == "__main__":
    sys.exit(main())
