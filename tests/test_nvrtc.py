"""What NVIDIA's compiler makes of the kernels: it needs no GPU, only ``nvidia-cuda-nvrtc``.

That they compile for GPUs old and new; that no product is joined with a sum but where the source
says so, since then the product is exact; and that what they use of a multiprocessor is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest
from conftest import REQUIRED
from kernels import nvrtc

from backendmlp.arithmetic import choose
from backendmlp.network.losses import LOSSES
from backendmlp.network.optimizers import Adam, Descent
from backendmlp.network.recipe import ACTIVATIONS, Recipe
from backendmlp.steps.kernels import job, scoring, source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        nvrtc.found() is None and "nvrtc" not in REQUIRED,
        reason="nvidia-cuda-nvrtc is not installed",
    ),
]

# Bytes that a block may share, at most, where it asks for them.
MEMORY = {"sm_75": 64 << 10, "sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10}
NUMERICS = {
    "bitwise": ("bitwise", "float64"),
    "native float32": ("native", "float32"),
    "native float64": ("native", "float64"),
}
JOINED = re.compile(r"\b(?:fma|mad)\.(?:r[nzmp]\.)?(?:ftz\.)?(?:sat\.)?f(?:32|64)\b")


@dataclass
class Gpu:
    """What options depend on of :class:`backendmlp.backend.Kernels`."""

    memory: int
    blocks: int = 132


def compiled(
    architecture: str, numerics: str, task: dict[str, Any], *flags: str, apart: bool = False
) -> nvrtc.Compiled:
    """The kernels for the steps of a task, or for its scores where it learns nothing."""
    arithmetic = choose(*NUMERICS[numerics])
    recipe = replace(Recipe(arithmetic), **task["recipe"])
    kind = task["kind"] if numerics == "bitwise" or task["kind"] == "uint8" else arithmetic.dtype
    gpu = Gpu(MEMORY[architecture])
    found = job.choices(recipe, kind, task["weighted"], task.get("learns", True))
    options = job.options(recipe, task["sizes"], task["batch"], found, gpu, apart)
    return nvrtc.compiled(source.text(), architecture, (*options, *flags))


SMALL = {
    "recipe": {"optimizer": Descent()},
    "sizes": (784, 100, 10),
    "batch": 64,
    "kind": "uint8",
    "weighted": False,
}
LARGE = {
    "recipe": {"optimizer": Adam(0.9, 0.999, 1e-8), "l2": 0.01, "clip_norm": 1.0},
    "sizes": (784, 1024, 10),
    "batch": 1024,
    "kind": "int32",
    "weighted": True,
}


SCORES = {"recipe": {}, "batch": scoring._BATCH, "weighted": False, "learns": False}
SHOWN_SMALL, SHOWN_LARGE = {**SMALL, **SCORES}, {**LARGE, **SCORES}
FITTED = {
    "small pixels": SMALL,
    "large features": LARGE,
    "small pixels scored": SHOWN_SMALL,
    "large features scored": SHOWN_LARGE,
}


# All of the newest that was seen, and of the others what asks for most.
VARIANTS = [
    pytest.param(
        *variant,
        id="-".join(variant),
        marks=() if "sm_90" in variant or "large features" in variant else pytest.mark.long,
    )
    for variant in product(MEMORY, NUMERICS, FITTED)
]


@pytest.mark.parametrize(("architecture", "numerics", "task"), VARIANTS)
def test_it_compiles_and_fits_a_multiprocessor(architecture, numerics, task):
    found = compiled(architecture, numerics, FITTED[task])
    assert found.cubin.startswith(b"\x7fELF")
    assert set(found.used) == {"begin", "gather_first", "steps"}
    for name, (stack, stores, loads, registers) in found.used.items():
        assert (stack, stores, loads) == (0, 0, 0), f"{name} has {found.used[name]}"
        assert registers * job.LANES <= 65536, name  # and 255 of a thread is the most there is
    # All that a block shares is what is asked for at the launch.
    assert not re.search(r"[1-9]\d* bytes smem", found.log)
    assert job.memory(Gpu(MEMORY[architecture])) <= MEMORY[architecture]


@pytest.mark.parametrize("task", [LARGE, SHOWN_LARGE], ids=["steps", "scores"])
def test_phases_apart_compile_too(task):
    found = compiled("sm_90", "bitwise", task, apart=True)
    assert {"phase_prepare", "phase_forward", "phase_lose"} <= set(found.used)
    learns = {"phase_back", "phase_learn", "phase_use"}
    assert learns & set(found.used) == (learns if task is LARGE else set())


TASKS = {
    "small pixels": SMALL,
    "large features": LARGE,
    "tanh": {
        **LARGE,
        "sizes": (784, 50, 40, 10),
        "batch": 64,
        "recipe": {"activation": ACTIVATIONS["tanh"], "loss": LOSSES["cross_entropy"](0.1)},
    },
    "logistic": {**SMALL, "recipe": {"activation": ACTIVATIONS["logistic"]}},
    "small pixels scored": SHOWN_SMALL,
    "tanh scored": {
        **SHOWN_LARGE,
        "recipe": {"activation": ACTIVATIONS["tanh"], "loss": LOSSES["cross_entropy"](0.1)},
    },
}


@pytest.mark.parametrize("task", TASKS)
def test_in_bitwise_numerics_nothing_is_joined_but_what_was_asked_for(task):
    assert JOINED.search(compiled("sm_90", "bitwise", TASKS[task]).ptx)
    assert not JOINED.search(compiled("sm_90", "bitwise", TASKS[task], "-DNO_FMA").ptx)


@pytest.mark.parametrize("task", [SMALL, SHOWN_SMALL], ids=["steps", "scores"])
@pytest.mark.parametrize("numerics", ["native float32", "native float64"])
def test_in_native_numerics_only_products_of_matrices_are_joined(numerics, task):
    """But for CUDA's own exponential function, which a squared error has no use for."""
    task = {**task, "recipe": {"loss": LOSSES["squared_error"]()}}
    assert JOINED.search(compiled("sm_90", numerics, task).ptx)
    assert not JOINED.search(compiled("sm_90", numerics, task, "-DNO_FMA").ptx)
