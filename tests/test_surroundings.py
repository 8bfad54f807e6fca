"""What else a process may have set, closed or wrapped, where a training is to run."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import import_or_skip, open_or_skip

import backendmlp
from backendmlp import MLP, InputError

CHOICES = {"hidden": 5, "batch_size": 40, "optimizer": "adam"}


@pytest.fixture
def pair():
    numbers = np.random.default_rng(0)
    return numbers.integers(0, 256, (120, 8), dtype=np.uint8), np.arange(120) % 3


@pytest.mark.parametrize("mode", [0x400, 0x800, 0xC00])  # down, up, towards zero
def test_another_rounding_mode_is_told_of(pair, mode):
    library = ctypes.util.find_library("m")
    try:
        set_round = ctypes.CDLL(library).fesetround
    except (AttributeError, OSError, TypeError):
        pytest.skip("no C library to change the mode with")
    trained = MLP(**CHOICES, epochs=1).fit(*pair)
    try:
        if set_round(mode) != 0 or 1.0 + float("1e-17") == 1.0 - float("1e-17"):
            pytest.skip("this processor's modes have other numbers")
        with pytest.raises(InputError, match="does not round to nearest"):
            MLP(**CHOICES, epochs=1).fit(*pair)
        with pytest.raises(InputError, match="does not round to nearest"):
            trained.predict(pair[0])
    finally:
        set_round(0)


def test_threads_of_pytorch_that_round_otherwise_are_told_of():
    """They keep the mode of whoever made them, which is not looked at where work is divided."""
    import_or_skip("torch")
    script = """
import ctypes, ctypes.util
import numpy as np, torch
set_round = ctypes.CDLL(ctypes.util.find_library("m")).fesetround
torch.set_num_threads(3)
if set_round(0x800):
    raise SystemExit(77)
(torch.rand(1 << 20) + 1).sum()
set_round(0)
from backendmlp import MLP, InputError
x, y = np.ones((20, 3), np.uint8), np.arange(20) % 2
MLP(3, epochs=1).fit(x, y)
try:
    MLP(3, epochs=1, backend="torch").fit(x, y)
except InputError as error:
    print(error)
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    if found.returncode == 77:
        pytest.skip("this processor's modes have other numbers")
    assert found.stdout.startswith("threads of backend 'torch' do not round to nearest"), found


FLAGS = {
    "jax_debug_nans": True,
    "jax_debug_infs": True,
    "jax_numpy_rank_promotion": "raise",
    "jax_transfer_guard": "disallow",
}


@pytest.mark.parametrize("flag", FLAGS)
def test_what_watches_over_other_programs_of_jax_does_not_end_ours(pair, flag):
    open_or_skip("jax")
    import jax

    kept = getattr(jax.config, flag)
    jax.config.update(flag, FLAGS[flag])
    try:
        mlp = MLP(**CHOICES, epochs=2, backend="jax").fit(*pair)
        shown = mlp.predict_proba(pair[0])
    finally:
        jax.config.update(flag, kept)
    known = MLP(**CHOICES, epochs=2).fit(*pair)
    assert backendmlp.digest(mlp.parameters) == backendmlp.digest(known.parameters)
    assert (shown == known.predict_proba(pair[0])).all()


def test_numbers_whose_sign_pytorch_has_yet_to_change():
    torch = import_or_skip("torch")
    numbers = np.random.default_rng(0).normal(size=(60, 4))
    labels = np.arange(60) % 2
    known = MLP(hidden=3, epochs=1).fit(numbers, labels)
    negated = torch._neg_view(torch.tensor(-numbers))
    for backend in ("numpy", "torch"):
        mlp = MLP(hidden=3, epochs=1, backend=backend).fit(negated, labels)
        assert mlp.history[-1].weights_sha256 == known.history[-1].weights_sha256
    assert (known.predict(negated).numpy() == known.predict(numbers)).all()


def test_texts_one_of_which_is_missing(pair):
    texts = np.array(["a", "b", "c"])[pair[1]].astype(object)
    texts[3] = None
    with_none = texts.astype(np.dtypes.StringDType(na_object=None))
    with pytest.raises(
        InputError, match=r"training labels hold None in row 3.*none of them missin"
    ):
        MLP(hidden=3, epochs=1).fit(pair[0], with_none)
    whole = np.array(["a", "b", "c"])[pair[1]]
    known = MLP(hidden=3, epochs=1).fit(pair[0], whole)
    mlp = MLP(hidden=3, epochs=1).fit(pair[0], whole.astype(np.dtypes.StringDType(na_object=None)))
    assert backendmlp.digest(mlp.parameters) == backendmlp.digest(known.parameters)


@pytest.mark.skipif(os.name == "nt", reason="by a shell's words")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_run_whose_caller_has_closed_its_streams(tmp_path, closed):
    words = '"$0" -m backendmlp train --epochs 1 --hidden 4 --out run ' + closed
    done = subprocess.run(
        ["sh", "-c", words, sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(backendmlp.__file__))},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    run = tmp_path / "run"
    assert sorted(path.name for path in run.iterdir()) == [
        "epochs",
        "model.safetensors",
        "run.json",
    ]
    assert backendmlp.verify(run).verified
