"""Who competes; nothing heavy is imported until a contestant's own process makes it."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.task import Contestant, Data, Discipline, Task


@dataclass(frozen=True)
class Entry:
    """``maker`` is "module:class" below this package; ``package`` what must be installed.

    One that is ``plain`` takes part in plain descent with one hidden layer alone.  ``environment``
    is what its process finds set.
    """

    label: str
    dtype: str
    maker: str
    options: dict[str, Any] = field(default_factory=dict)
    package: str = "numpy"
    gpu: bool = False
    plain: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

    def takes_part(self, discipline: Discipline) -> bool:
        return discipline.plain or not self.plain

    def make(self, task: Task, data: Data) -> Contestant:
        module, _, name = self.maker.partition(":")
        make = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        return make(task, data, **self.options)


def _ours(
    numerics: str, dtype: str, backend: str = "numpy", device: str | None = None
) -> tuple[str, Entry]:
    place = backend if device is None else f"{backend}-{device}"
    options = {"numerics": numerics, "dtype": dtype, "backend": backend, "device": device}
    label = f"backendmlp {numerics} {dtype}" + ("" if place == "numpy" else f", {place}")
    gpu = backend == "cupy" or device is not None
    key = f"ours-{numerics}-{dtype}" + ("" if place == "numpy" else f"-{place}")
    return key, Entry(label, dtype, "ours:Ours", options, backend, gpu)


_NUMERICS = (("native", "float32"), ("native", "float64"), ("bitwise", "float64"))
_PLACES = (("numpy", None), ("torch", None), ("cupy", None), ("torch", "cuda"))

_FEATURES = "ours-bitwise-float64-features"
_DTYPES = ("float32", "float64")
_PRODUCTS = {
    f"products-{dtype}": Entry(f"bare products {dtype}", dtype, "plain:Products", {"dtype": dtype})
    for dtype in _DTYPES
}
_PASSES = {
    f"pass-{dtype}": Entry(
        f"products and a pass {dtype}", dtype, "plain:ProductsAndPass", {"dtype": dtype}
    )
    for dtype in _DTYPES
}
_OURS = dict(_ours(*numerics, *place) for place in _PLACES for numerics in _NUMERICS)
_OF_FEATURES = {
    _FEATURES: Entry(
        "backendmlp bitwise float64, features", "float64", "ours:Ours",
        {"numerics": "bitwise", "dtype": "float64", "features": True}, plain=True,
    )
}  # fmt: skip
# Those of another checkout, an older one perhaps, by the names that its own table has for them.
BEFORE = {f"before-{key}": key for key in (f"ours-{n}-{dtype}" for n, dtype in _NUMERICS)}
_OF_BEFORE = {
    key: replace(_OURS[name], label=f"before: {_OURS[name].label}", plain=True)
    for key, name in BEFORE.items()
}
_GPU_PEERS = {
    "torch-gpu": Entry(
        "PyTorch eager, GPU", "float32", "peers:Torch", {"device": "cuda"}, "torch", gpu=True
    ),
    "torch-graph": Entry(
        "PyTorch with CUDA graphs", "float32", "peers:TorchGraph", {}, "torch", gpu=True
    ),
    "jax-gpu": Entry(
        "JAX jit and scan, GPU", "float32", "peers:Jax", {"device": "gpu"}, "jax", gpu=True
    ),
}
# By the environment's word for them: a launch for all steps of a call, one for each phase, none.
_KERNELS = {"kernels": "", "apart": "apart", "definition": "0"}


def _on_device(name: str, numerics: str, dtype: str, steps: str) -> Entry:
    maker, what = {
        "steps": ("Steps", steps),
        "scores": ("Scored", f"all rows scored, {steps}"),
        "fit": ("Fit", "a whole epoch by MLP.fit"),
        "tested": ("Tested", "a whole epoch by MLP.fit, tested"),
    }[name]
    options = {"numerics": numerics, "dtype": dtype, "backend": "cupy"}
    set_ = {"BACKENDMLP_KERNELS": _KERNELS[steps]}
    label = f"backendmlp {numerics} {dtype}, {what}"
    return Entry(label, dtype, f"ours:{maker}", options, "cupy", True, environment=set_)


# Steps alone on a GPU, for benchmarks.device.
ON_DEVICE = {
    **{
        f"device-{numerics}-{steps}": _on_device("steps", numerics, dtype, steps)
        for numerics, dtype in (_NUMERICS[0], _NUMERICS[2])
        for steps in _KERNELS
    },
    **{
        f"device-{numerics}-{name}": _on_device(name, numerics, dtype, "kernels")
        for numerics, dtype in (_NUMERICS[0], _NUMERICS[2])
        for name in ("fit", "scores")
    },
    "device-bitwise-tested": _on_device("tested", "bitwise", "float64", "kernels"),
    "device-bitwise-scores-definition": _on_device("scores", "bitwise", "float64", "definition"),
    "torch-gpu": _GPU_PEERS["torch-gpu"],
    "torch-graph": _GPU_PEERS["torch-graph"],
    "torch-compile": Entry(
        "PyTorch compiled, reduce-overhead", "float32", "peers:TorchCompiled", {}, "torch", True
    ),
    "jax-gpu": _GPU_PEERS["jax-gpu"],
    "torch-gpu-float64": Entry(
        "PyTorch eager, GPU, float64", "float64", "peers:Torch",
        {"device": "cuda", "dtype": "float64"}, "torch", True,
    ),
    "jax-gpu-float64": Entry(
        "JAX jit and scan, GPU, float64", "float64", "peers:Jax",
        {"device": "gpu", "dtype": "float64"}, "jax", True,
    ),
}  # fmt: skip


def _estimator(maker: str, label: str, dtype: str, **choices: Any) -> Entry:
    options = {"dtype": dtype, **choices}
    return Entry(label, dtype, f"classifiers:{maker}", options, "sklearn")


# MLPClassifier of both libraries, for benchmarks.estimators.
ESTIMATORS = {
    "estimator-native": _estimator(
        "Ours", "backendmlp native float32", "float32", numerics="native"
    ),
    "estimator-bitwise": _estimator(
        "Ours", "backendmlp bitwise float64", "float64", numerics="bitwise"
    ),
    "estimator-sklearn": _estimator("Theirs", "scikit-learn float32", "float32"),
    "estimator-sklearn-float64": _estimator("Theirs", "scikit-learn float64", "float64"),
}
ENTRIES: dict[str, Entry] = {
    **_PRODUCTS,
    **_PASSES,
    **_OURS,
    **_OF_FEATURES,
    **_OF_BEFORE,
    "ours-ranks": Entry(
        "backendmlp bitwise float64, ranks", "float64", "ranked:OnRanks",
        {"numerics": "bitwise", "dtype": "float64"}, "mpi4py",
    ),
    "jax": Entry("JAX jit and scan, optax", "float32", "peers:Jax", {}, "optax"),
    "keras": Entry("Keras 3 on JAX", "float32", "peers:Keras", {}, "keras"),
    "numpy": Entry("plain NumPy loop", "float32", "plain:Careful", plain=True),
    "torch": Entry("PyTorch eager", "float32", "peers:Torch", {}, "torch"),
    "sklearn": Entry("scikit-learn MLPClassifier", "float32", "peers:Sklearn", {}, "sklearn"),
    "notebook": Entry("notebook", "float64", "plain:Notebook", plain=True),
    **_GPU_PEERS,
    **ON_DEVICE,
    **ESTIMATORS,
}  # fmt: skip

CPU = (
    "products-float32", "pass-float32", "ours-native-float32", "jax", "keras", "numpy", "torch",
    "sklearn", "products-float64", "pass-float64", "ours-native-float64", "ours-bitwise-float64",
    _FEATURES, "notebook",
)  # fmt: skip
PREDICTING = (
    "ours-native-float32", "ours-bitwise-float64", _FEATURES, "torch", "sklearn",
)  # fmt: skip
BACKENDS = ("torch", "cupy", "torch-cuda")


def chosen(backends: tuple[str, ...], before: bool = False) -> list[str]:
    """The contestants' keys: those on the CPU, ours and the GPU's peers for ``backends``.

    With ``before`` also those of another checkout.
    """
    keys = [*CPU, *(BEFORE if before else ())]
    for backend in backends:
        keys += [f"ours-{numerics}-{dtype}-{backend}" for numerics, dtype in _NUMERICS]
    if set(backends) & {"cupy", "torch-cuda"}:
        keys += _GPU_PEERS
    return keys
