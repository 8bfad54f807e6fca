"""Digests, written down, that every backend, thread count and CPU kernel must reproduce.

Two machines that never meet prove their parity by the same constants.  They stand in golden.json;
golden.py says how to renew one after a change that is meant to change bits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from conftest import open_or_skip

import backendmlp

GOLDEN = json.loads(golden.FILE.read_text())
KERNELS = golden.machine()["kernels"]
SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "NPY_DISABLE_CPU_FEATURES",
            "NPY_ENABLE_CPU_FEATURES", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
            "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "BACKENDMLP_COMPILED")  # fmt: skip
NAMES = {"Prescott": {"Prescott", "Katmai"}}  # what OpenBLAS calls a kernel it was asked for


@cache
def elsewhere(*options: str, **variables: str) -> dict[str, Any]:
    """What golden.py prints in a process of its own, under these environment variables."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    package = Path(backendmlp.__file__).parents[1]
    process = subprocess.run(
        [sys.executable, golden.__file__, *options],
        env={**environment, **variables, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def openblas(found: dict[str, Any]) -> dict[str, Any]:
    """The OpenBLAS that NumPy ran on; skips where it is another library, or can't be told."""
    pools = [pool for pool in found["machine"]["blas"] if pool["internal_api"] == "openblas"]
    if len(pools) != 1:
        pytest.skip(f"needs threadpoolctl and one OpenBLAS, found {found['machine']['blas']}")
    return pools[0]


def assert_golden(found: dict[str, Any]) -> None:
    assert {case: found[case] for case in GOLDEN} == GOLDEN


@pytest.mark.parametrize("case", GOLDEN)
def test_every_backend(backend, case):
    device = backend.label.partition(" ")[0]
    assert golden.run(case, backend.name, device) == GOLDEN[case]


# Published: whoever has these bits has them for good.
PUBLISHED = {
    "sample": "1d24c05548ccddcc",
    "wide": "6c605a1abb70bc4c",
}


def test_what_was_published_stays():
    for case, beginning in PUBLISHED.items():
        assert GOLDEN[case]["weights_sha256"][-1].startswith(beginning)


def test_the_cases_are_what_they_are_said_to_be():
    assert list(GOLDEN) == list(golden.CASES)
    for case in golden.CASES.values():
        size = case.settings["batch_size"]
        assert case.images % size not in (0, size)
    for case in set(golden.CASES) - {"wide"}:
        assert golden.CASES[case].settings["epochs"] >= 2
    assert golden.CASES["wide"].settings["hidden"] == 1024
    assert golden.CASES["wide"].settings["batch_size"] == 1000
    for case in GOLDEN.values():
        assert len(set(case["weights_sha256"])) == len(case["weights_sha256"])
        losses = [float.fromhex(loss) for loss in case["train_loss"]]
        assert losses == sorted(losses, reverse=True)


def test_what_is_learned_is_made_by_operations_that_have_one_result():
    """Standardised to within rounding; the middle of the brightness is where it is."""
    (x, y), (_, shown) = golden.given("regression")
    assert x.shape == (600, 49)
    assert y.shape == (600, 2)
    assert shown.shape == (golden.TEST_IMAGES, 2)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1.0, rtol=1e-12)
    dot = np.zeros((1, 28, 28), np.uint8)
    dot[0, 3, 20] = 9
    assert golden.middles(dot).tolist() == [[3 - 13.5, 20 - 13.5]]
    (x, y), _ = golden.given("features")
    assert x.shape == (500, 196)
    assert x.dtype == np.float64
    assert golden.blocks(dot, 2)[0].tolist().index(9) == 14 + 10


def test_a_file_with_other_bits_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "FILE", tmp_path / "golden.json")
    golden.FILE.write_text(json.dumps({"sample": 1, "wide": 2}))
    with pytest.raises(SystemExit, match="not written: sample came out with other bits"):
        golden.save({"sample": 0, "wide": 2, "new": 3}, [])
    assert json.loads(golden.FILE.read_text()) == {"sample": 1, "wide": 2}
    golden.save({"sample": 1, "wide": 2, "new": 3}, [])
    golden.save({"sample": 1, "wide": 9, "new": 3}, ["wide"])
    assert json.loads(golden.FILE.read_text()) == {"sample": 1, "wide": 9, "new": 3}


# One process on the plainest kernels stands for the definition in everybody's every run.
DEFINITION_SLOW = pytest.mark.parametrize(
    "kind",
    [pytest.param("definition", marks=pytest.mark.slow), "compiled-steps"],
    indirect=True,
)


@pytest.fixture(params=["definition", "compiled-steps"])
def kind(request) -> dict[str, str]:
    """The variables for the definition, and for compiled steps where they can run."""
    if request.param == "definition":
        return {"BACKENDMLP_COMPILED": "0"}
    request.getfixturevalue("steps")
    return {}


def test_steps_are_of_the_kind_that_was_asked_for(kind):
    assert elsewhere(**kind)["machine"]["compiled"] is (not kind)


@pytest.mark.parametrize("threads", [1, 2])
@DEFINITION_SLOW
def test_any_number_of_threads(kind, threads):
    found = elsewhere("--wide", OPENBLAS_NUM_THREADS=str(threads), **kind)
    assert_golden(found)
    if openblas(found)["num_threads"] != threads:
        pytest.skip(f"OpenBLAS can't be given {threads} threads here; the digests are equal")


@pytest.mark.parametrize(
    "kernel",
    ["Prescott", *(pytest.param(x, marks=pytest.mark.slow) for x in ("Haswell", "native"))],
)
@DEFINITION_SLOW
def test_any_blas_kernel(kind, kernel):
    variables = kind if kernel == "native" else {"OPENBLAS_CORETYPE": kernel, **kind}
    found = elsewhere("--wide", **variables)
    assert_golden(found)
    architecture = openblas(found)["architecture"]
    if kernel != "native" and architecture not in NAMES.get(kernel, {kernel}):
        pytest.skip(f"OpenBLAS runs its {architecture} kernels here; the digests are equal")


@pytest.mark.slow
@pytest.mark.skipif(not KERNELS, reason="this NumPy dispatches to no CPU features here")
@pytest.mark.parametrize("kept", range(len(KERNELS)))
def test_any_dispatch_of_numpy(kept):
    """With all of NumPy's optional CPU features off, then all but the lowest, and so on."""
    disabled = {"NPY_DISABLE_CPU_FEATURES": " ".join(KERNELS[kept:])}
    found = elsewhere("--wide", BACKENDMLP_COMPILED="0", **disabled)
    assert found["machine"]["kernels"] == KERNELS[:kept]
    assert_golden(found)


@pytest.mark.slow
def test_everything_at_its_plainest():
    """SSE kernels in BLAS and in NumPy, one thread: about what a machine of 2004 would do."""
    found = elsewhere(
        "--wide",
        OPENBLAS_CORETYPE="Prescott",
        OPENBLAS_NUM_THREADS="1",
        BACKENDMLP_COMPILED="0",
        NPY_DISABLE_CPU_FEATURES=" ".join(KERNELS),
    )
    assert_golden(found)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_the_promise_is_not_empty(dtype):
    """Native numerics come out differently in settings where bitwise ones may not."""
    native = "--numerics", "native", "--dtype", dtype
    here, plain = elsewhere(*native), elsewhere(*native, OPENBLAS_CORETYPE="Prescott")
    if here["machine"]["blas"] == plain["machine"]["blas"]:
        pytest.skip("there is one set of BLAS kernels here, so nothing to tell apart")
    if here["sample"]["weights_sha256"] == plain["sample"]["weights_sha256"]:
        pytest.skip(f"native {dtype} happens to give the same bits on both kernels here")
    assert here["sample"]["weights_sha256"][0] != plain["sample"]["weights_sha256"][0]
    losses = [[float.fromhex(x) for x in run["sample"]["train_loss"]] for run in (here, plain)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.mark.parametrize(
    "variables",
    [
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        {
            "ATEN_CPU_CAPABILITY": "default",
            "OMP_NUM_THREADS": "1",
            "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        },
    ],
    ids=["one-thread", "two-threads", "plainest-kernels"],
)
def test_any_setting_of_torch(variables):
    """PyTorch's CPU build brings another BLAS and other kernels."""
    open_or_skip("torch")
    assert_golden(elsewhere("--wide", "--backend", "torch", **variables))
