"""scripts/parity.py goes on where a row cannot run, and says why it did not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from test_cupy_path import python

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import parity  # noqa: E402


def test_a_device_that_cannot_be_bitwise_refuses_in_its_sentence(tmp_path):
    request = {"backend": "cupy", "device": "cuda:0", "numerics": "bitwise", "dtype": "float64"}
    request["weights"] = str(tmp_path / "weights.npz")
    done = python(
        SCRIPTS / "parity.py", "--worker", json.dumps(request), STAND_IN_CUPY="max-drops-nan"
    )
    assert done.returncode == 0, done.stderr
    assert "a maximum passes over NaN" in json.loads(done.stdout)["refused"]


def test_rows_that_came_to_no_end_are_named_and_left_out(capsys, tmp_path):
    rows = [parity.Setting("numpy", None, "bitwise", "float64") for _ in range(3)]
    rows[0].result = {"refused": "it cannot"}
    rows[1].result = {"failed": "it ended with 7: no reason"}
    rows[2].result = {"digests": {}}
    assert parity.ran(rows) == rows[2:]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "left out: numpy on cpu, bitwise float64: it cannot",
        "FAILED: numpy on cpu, bitwise float64: it ended with 7: no reason",
    ]


def test_a_row_whose_process_fails_says_so(tmp_path):
    row = parity.Setting("numpy", None, "no such numerics", "float64")
    parity.run_all([row], tmp_path, 1)
    assert "no such numerics" in str(row.result)


@pytest.mark.slow
def test_rows_that_ran_are_kept(tmp_path):
    """In two processes at a time, and with the same digests."""
    rows = [parity.Setting("numpy", None, "bitwise", "float64") for _ in range(2)]
    parity.run_all(rows, tmp_path, 2)
    assert parity.ran(rows) == rows
    assert rows[0].result["digests"] == rows[1].result["digests"]
    head, *lines = parity.table(rows)
    assert lines[0].endswith(" the reference")
    assert lines[1].endswith(" equal")
    assert len(head.split()) > 8
