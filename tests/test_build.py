"""The build: which compiler, what it asks PyPI for, and a package without the library."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

from building import compiler

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A PATH from which every compiler is gone, and no zig."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "BACKENDMLP_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)


def test_the_library_is_built_anew_when_any_of_its_files_changes():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    headers = {path.name for path in (ROOT / "backendmlp/steps/compiled").glob("*.h")}
    assert set(re.findall(r"backendmlp/steps/compiled/(\w+\.h)", text)) == headers


def test_the_machines_own_compiler_comes_first(monkeypatch):
    for name in ("CC", "BACKENDMLP_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler at hand")
    assert compiler.command() == ["cc"]
    assert compiler.requirements() == []


def test_without_a_compiler_zig_is_asked_for(bare):
    assert compiler.command() is None
    (wanted,) = compiler.requirements()
    assert wanted.startswith("ziglang")


def test_zig_compiles_where_it_is(bare, monkeypatch):
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: object())
    command = compiler.command()
    assert command[:4] == [sys.executable, "-m", "ziglang", "cc"]
    assert "-mcpu=baseline" in command  # not for this very processor


def test_a_compiler_that_cannot_compile_is_none(bare, tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert compiler.command() is None
    assert compiler.requirements()


@pytest.mark.parametrize("platform", compiler.TARGETS)
def test_another_platform_is_zigs(monkeypatch, platform):
    monkeypatch.setenv("BACKENDMLP_PLATFORM", platform)
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: object())
    assert compiler.command()[-2:] == ["-target", compiler.TARGETS[platform]]
    assert compiler.requirements()
    ending = {"m": ".so", "w": ".dll"}[platform[0]]
    assert compiler.suffix() == (".dylib" if platform.startswith("macosx") else ending)


def test_an_unknown_platform_is_named(monkeypatch):
    monkeypatch.setenv("BACKENDMLP_PLATFORM", "plan9")
    with pytest.raises(SystemExit, match="'plan9'; known are any, manylinux_2_17_x86_64"):
        compiler.command()


def wheel(tmp_path, source=None, **environment):
    """A wheel of a copy of this checkout, in whose step.c ``source`` stands."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path / "copy"
    # What is not the build's own subject is left out: it takes time and changes nothing.
    shutil.copytree(ROOT / "backendmlp", copy / "backendmlp", ignore=shutil.ignore_patterns("*.so"))
    shutil.copytree(ROOT / "building", copy / "building")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    if source is not None:
        (copy / "backendmlp/steps/compiled/step.c").write_text(source)
    code = "from building import backend; print(backend.build_wheel('out'))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    (built,) = (copy / "out").glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return built.name, archive.namelist()


SMALL = "int job_bytes(void) { return 0; }\n"  # compiles in no time


def test_one_wheel_serves_all_pythons_of_a_platform(tmp_path):
    if compiler.command() is None:
        pytest.skip("there is no C compiler at hand")
    name, files = wheel(tmp_path, SMALL)
    assert re.fullmatch(r"backendmlp-.*-py3-none-(?!any)\w+\.whl", name)
    assert f"backendmlp/steps/compiled/libstep{compiler.suffix()}" in files
    assert not [file for file in files if file.startswith(("building", "tests", "scripts"))]


@pytest.mark.parametrize(
    ("source", "environment"),
    [("#error it does not compile here\n", {}), (SMALL, {"BACKENDMLP_PLATFORM": "any"})],
    ids=["a compiler that fails", "no library wanted"],
)
def test_without_the_library_a_wheel_is_for_any_platform(tmp_path, source, environment):
    name, files = wheel(tmp_path, source, **environment)
    assert name.endswith("-py3-none-any.whl")
    assert "backendmlp/steps/compiled/steps.py" in files
    assert not [file for file in files if file.endswith((".so", ".dylib", ".dll"))]
