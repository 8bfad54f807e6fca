"""Memory that runs out on a device, or on the host beside it: one sentence, and nothing lost.

The device is the stand-in for CuPy, whose allocations can be made to fail.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import commandline as cl
import numpy as np
import pytest
from test_cupy_path import backendmlp_, python

from backendmlp import Config, InputError, memory, select

# The command line, in which one call of a function finds no memory for one of its allocations.
FAULT = """
import importlib, sys
from cupy import _device
from backendmlp.cli import main

module, _, name = sys.argv[1].rpartition(".")
owner = importlib.import_module(module.rpartition(".")[0])
owner = getattr(owner, module.rpartition(".")[2])
usual, calls = getattr(owner, name), []
def failing(*arguments, **options):
    calls.append(1)
    if len(calls) == int(sys.argv[2]):
        _device.failing[0] = int(sys.argv[3])
    return usual(*arguments, **options)
setattr(owner, name, failing)
main(sys.argv[4:])
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cl.write_data(tmp_path_factory.mktemp("memory") / "data")


@pytest.fixture(scope="module")
def whole(data: Path) -> dict:
    """The receipt of the same training where nothing fails."""
    out = data.parent / "whole"
    backendmlp_("train", "--backend", "cupy", "--data", data, "--epochs", 3, "--out", out)
    return json.loads((out / "run.json").read_text())


def refused(where: str, call: int, allocation: int, *arguments: object) -> str:
    """The one sentence that the command line ends with."""
    done = python("-c", FAULT, where, call, allocation, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: device cuda:0 (a stand-in for a GPU) has too little mem")
    for part in ("GB are free", "choose a smaller batch size (now 64)", "or --backend numpy"):
        assert part in done.stderr
    return done.stderr


UPLOADS = "backendmlp.backend.Backend.asarray"
# By what fails: the call within the second epoch that fails, and which allocation of it.
LATER = {
    "a step": ("backendmlp.training.trainer.Trainer.advance", 2, 1),
    "an epoch's end": ("backendmlp.training.trainer.Trainer.finish_epoch", 2, 1),
    "an evaluation": ("backendmlp.training.trainer.Trainer.score", 2, 1),
}


@pytest.mark.parametrize("call", [1, 2, 5])
def test_at_upload_nothing_is_left_behind(data, tmp_path, call):
    out = tmp_path / "run"
    refused(UPLOADS, call, 1, "train", "--backend", "cupy", "--data", data, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("what", LATER)
@pytest.mark.slow
def test_within_an_epoch_what_was_learned_is_kept(data, tmp_path, whole, what):
    out = tmp_path / "run"
    common = "train", "--backend", "cupy", "--data", data, "--epochs", 3, "--out", out
    refused(*LATER[what], *common)
    kept = sorted(path.name for path in (out / "epochs").iterdir())
    assert kept == ["0001.safetensors"]
    backendmlp_("train", "--backend", "cupy", "--resume", out)
    ended = json.loads((out / "run.json").read_text())
    assert [e["weights_sha256"] for e in ended["epochs"]] == [
        e["weights_sha256"] for e in whole["epochs"]
    ]


SIZES = (784, 1000, 10)


def device(free: int = 1 << 40) -> object:
    """A backend with memory of its own, of which there is plenty."""
    label = "cuda:0 (made up)"
    return replace(
        select("numpy"), label=label, put=lambda array, values: None, free_memory=lambda: free
    )


def test_the_hosts_memory_is_counted_beside_the_devices(monkeypatch):
    config = Config(1000)
    needed = memory.host_estimate(config, SIZES, 60_000, 10_000)
    assert needed > 7 * memory.parameter_count(SIZES) * 8
    monkeypatch.setattr(memory, "free_host_memory", lambda: needed)
    monkeypatch.setattr(memory, "_allowed", lambda: iter(()))
    memory.check(device(), config, SIZES, 60_000, 10_000)
    monkeypatch.setattr(memory, "free_host_memory", lambda: needed - 1)
    with pytest.raises(
        InputError, match=r"^the host has too little memory .* cuda:0 .* needs abou"
    ):
        memory.check(device(), config, SIZES, 60_000, 10_000)
    monkeypatch.setattr(memory, "free_host_memory", lambda: None)
    memory.check(device(), config, SIZES, 60_000, 10_000)
    with pytest.raises(InputError, match=r"^device cuda:0 \(made up\) has too little memory: "):
        memory.check(device(1000), config, SIZES, 60_000, 10_000)


def test_what_an_optimiser_keeps_and_the_best_weights_are_on_the_host_too():
    plain, adam, patient = (
        memory.host_estimate(config, SIZES, 1000, 100)
        for config in (
            Config(1000),
            Config(1000, optimizer="adam"),
            Config(1000, patience=3, validation_split=0.1),
        )
    )
    weights = 8 * memory.parameter_count(SIZES)
    assert adam - plain == 2 * 6 * weights
    assert patient - plain == 3 * weights


def test_memory_that_runs_out_on_the_host_is_not_said_to_be_the_devices():
    backend = device()
    for at, words in ((backend, "the host has"), (select("numpy"), "device cpu has")):
        with (
            pytest.raises(InputError, match=f"^{words} too little memory"),
            memory.explained(at, Config(), SIZES, 1000),
        ):
            np.empty(1 << 60, np.uint8)
