"""Windows, by a stand-in: nothing is used that it lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-in takes away what Linux has")
def test_a_run_needs_nothing_that_windows_lacks(tmp_path):
    script = Path(__file__).with_name("as_windows.py")
    process = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", script, tmp_path / "run"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        encoding="cp1252",
    )
    assert process.returncode == 0, process.stderr
    assert "verified: 2 of 2 epochs" in process.stdout
    assert (tmp_path / "run/.lock").exists()
