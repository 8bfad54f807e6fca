"""XLA's flag that keeps NaN in maxima: set where jaxlib knows it, and never where it does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import open_or_skip

from backendmlp import backend

FLAG = "xla_cpu_experimental_ynn_fusion_type"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A jaxlib whose only library is empty so far."""
    (tmp_path / "jaxlib").mkdir()
    (tmp_path / "jaxlib" / "__init__.py").touch()
    (tmp_path / "jaxlib" / "empty.so").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [name for name in sys.modules if name.partition(".")[0] == "jaxlib"]:
        monkeypatch.delitem(sys.modules, name)
    backend._known_to_jaxlib.cache_clear()
    yield tmp_path / "jaxlib"
    backend._known_to_jaxlib.cache_clear()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("before", ["", "--xla_other=1", f"--{FLAG}=LIBRARY"])
def test_it_is_set_where_it_is_known_and_nobody_has_set_it(folder, monkeypatch, known, before):
    monkeypatch.setenv("XLA_FLAGS", before)
    (folder / "core.so").write_bytes(b"\0" * 99 + (FLAG.encode() if known else b"xla") + b"\0")
    (folder / "notes.txt").write_bytes(FLAG.encode())
    backend._keep_maxima_of_jax()
    added = f"{before} --{FLAG}=".strip() if known and FLAG not in before else before
    assert os.environ["XLA_FLAGS"] == added


def test_the_jaxlib_here_starts_with_it():
    open_or_skip("jax")
    code = "import backendmlp as b; at = b.select('jax'); print(at.asarray([1.0]))"
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
