"""One digest, written down, that every backend, thread count and CPU kernel must reproduce.

Two machines that never meet prove their parity by the same constant.  It stands in golden.json;
golden.py says how to renew it after a change that is meant to change bits.
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


def test_the_cases_are_what_they_are_said_to_be():
    for case in golden.CASES.values():
        assert case["images"] % case["batch_size"] not in (0, case["batch_size"])
    assert golden.CASES["sample"]["epochs"] >= 2
    assert golden.CASES["wide"]["hidden"] == 1024
    assert golden.CASES["wide"]["batch_size"] == 1000
    for case in GOLDEN.values():
        assert len(set(case["weights_sha256"])) == len(case["weights_sha256"])


@pytest.fixture(params=["definition", "compiled-steps"])
def kind(request) -> dict[str, str]:
    """The variables for the definition, and for compiled steps where they can run."""
    if request.param == "definition":
        return {"BACKENDMLP_COMPILED": "0"}
    request.getfixturevalue("steps")
    return {}


def test_steps_are_of_the_kind_that_was_asked_for(kind):
    assert elsewhere("--wide", **kind)["machine"]["compiled"] is (not kind)


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads(kind, threads):
    found = elsewhere("--wide", OPENBLAS_NUM_THREADS=str(threads), **kind)
    assert_golden(found)
    if openblas(found)["num_threads"] != threads:
        pytest.skip(f"OpenBLAS can't be given {threads} threads here; the digests are equal")


@pytest.mark.parametrize("kernel", ["Prescott", "Haswell", "native"])
def test_any_blas_kernel(kind, kernel):
    variables = kind if kernel == "native" else {"OPENBLAS_CORETYPE": kernel, **kind}
    found = elsewhere("--wide", **variables)
    assert_golden(found)
    architecture = openblas(found)["architecture"]
    if kernel != "native" and architecture not in NAMES.get(kernel, {kernel}):
        pytest.skip(f"OpenBLAS runs its {architecture} kernels here; the digests are equal")


@pytest.mark.skipif(not KERNELS, reason="this NumPy dispatches to no CPU features here")
@pytest.mark.parametrize("kept", range(len(KERNELS)))
def test_any_dispatch_of_numpy(kept):
    """With all of NumPy's optional CPU features off, then all but the lowest, and so on."""
    disabled = {"NPY_DISABLE_CPU_FEATURES": " ".join(KERNELS[kept:])}
    found = elsewhere("--wide", BACKENDMLP_COMPILED="0", **disabled)
    assert found["machine"]["kernels"] == KERNELS[:kept]
    assert_golden(found)


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
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
