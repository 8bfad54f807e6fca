"""The Windows library under Wine: its threads and its compiler give the bits of this machine's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

from building import compiler

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "backendmlp/steps/compiled"
OPTIONS = ["-std=gnu11", "-O2", "-ffp-contract=off", "-pthread"]


def digests(folder, library, *wine, **environment):
    """What tests/steps.c, compiled for the platform in force, prints of ``library``'s steps."""
    program, printed = folder / "steps.exe", folder / "printed"
    driver = [*OPTIONS, f"-I{SOURCES}", str(ROOT / "tests/steps.c"), "-o", str(program), "-lm"]
    subprocess.run([*compiler.command(), *driver], check=True)
    with open(printed, "w") as file:  # no pipe: Wine's server would hold it for a while
        subprocess.run(
            [*wine, str(program), str(library)],
            env={**os.environ, **environment},
            stdout=file,
            timeout=300,
            check=True,
        )
    found = [line.split() for line in printed.read_text().splitlines()]
    assert [line[0] for line in found] == ["1/1", "2/1", "2/2", "3/1", "3/3", "4/1", "4/2", "4/4"]
    return found


@pytest.fixture
def here(steps, tmp_path):
    if sys.platform != "linux" or compiler.command() is None:
        pytest.skip("there is no C compiler at hand, or this is not Linux")
    (tmp_path / "here").mkdir()
    return digests(tmp_path / "here", SOURCES / "libstep.so")


def test_any_threads_give_the_same_bits_with_other_products_than_blas(here):
    (found,) = {tuple(line[1:]) for line in here}
    assert len(set(found)) == len(found)
    assert all(int(digest, 16) for digest in found)  # zero: it could not be run


@pytest.mark.skipif(shutil.which("wine") is None, reason="wine is not installed")
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
@pytest.mark.slow
def test_windows_gives_the_same_bits_as_this_machine(here, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKENDMLP_PLATFORM", "win_amd64")
    library = tmp_path / "libstep.dll"
    source = str(SOURCES / "step.c")
    compiler.link(compiler.command(), [source], str(library), OPTIONS, ["-pthread"])
    settings = {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all"}
    settings["WINEDLLOVERRIDES"] = "mscoree,mshtml,winemenubuilder.exe="  # nothing to look for
    assert digests(tmp_path, library, "wine", **settings) == here
