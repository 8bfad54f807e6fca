"""Who competes; nothing heavy is imported until a contestant's own process makes it."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import Any

from benchmarks.task import Contestant, Data, Task


@dataclass(frozen=True)
class Entry:
    """``maker`` is "module:class" below this package; ``package`` what must be installed."""

    label: str
    dtype: str
    maker: str
    options: dict[str, Any] = field(default_factory=dict)
    package: str = "numpy"
    gpu: bool = False

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None

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

_PRODUCTS = {
    f"products-{dtype}": Entry(f"bare products {dtype}", dtype, "plain:Products", {"dtype": dtype})
    for dtype in ("float32", "float64")
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
ENTRIES: dict[str, Entry] = {
    **_PRODUCTS,
    **dict(_ours(*numerics, *place) for place in _PLACES for numerics in _NUMERICS),
    "jax": Entry("JAX jit and scan", "float32", "peers:Jax", {}, "jax"),
    "keras": Entry("Keras 3 on JAX", "float32", "peers:Keras", {}, "keras"),
    "numpy": Entry("plain NumPy loop", "float32", "plain:Careful"),
    "torch": Entry("PyTorch eager", "float32", "peers:Torch", {}, "torch"),
    "sklearn": Entry("scikit-learn MLPClassifier", "float32", "peers:Sklearn", {}, "sklearn"),
    "notebook": Entry("notebook", "float64", "plain:Notebook"),
    **_GPU_PEERS,
}

CPU = (
    "products-float32", "ours-native-float32", "jax", "keras", "numpy", "torch", "sklearn",
    "products-float64", "ours-native-float64", "ours-bitwise-float64", "notebook",
)  # fmt: skip
BACKENDS = ("torch", "cupy", "torch-cuda")


def chosen(backends: tuple[str, ...]) -> list[str]:
    """The contestants' keys: those on the CPU, and ours and the GPU's peers for ``backends``."""
    keys = list(CPU)
    for backend in backends:
        keys += [f"ours-{numerics}-{dtype}-{backend}" for numerics, dtype in _NUMERICS]
    if set(backends) & {"cupy", "torch-cuda"}:
        keys += _GPU_PEERS
    return keys
