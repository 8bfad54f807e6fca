"""What messages tell people to install works wherever they stand: the package is on no index."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from backendmlp.extras import install

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def extras() -> dict[str, list[str]]:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["project"]["optional-dependencies"]


def test_each_extra_is_its_packages(extras):
    for extra, packages in extras.items():
        command = install(extra)
        assert command.startswith("pip install '")
        assert "backendmlp" not in command
        named = {part.split(">")[0].split("<")[0] for part in command.split("'")[1::2]}
        assert named == {package.split(">")[0].split("<")[0] for package in packages}


def test_every_extra_that_is_asked_for_is_one(extras):
    asked = {
        text.split("install(")[1].split(")")[0].strip("\"'")
        for path in (ROOT / "backendmlp").rglob("*.py")
        for text in path.read_text(encoding="utf-8").splitlines()
        if "install('" in text or 'install("' in text
    }
    assert asked <= set(extras)
    assert {"plot", "sweep", "mpi"} <= asked


def test_a_checkout_that_was_never_installed(monkeypatch):
    def nothing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nothing)
    assert install("plot") == "pip install '.[plot]' (in the checkout)"
