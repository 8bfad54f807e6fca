"""Models to and from other libraries: PyTorch, scikit-learn, ONNX.

>>> from backendmlp.exchange import from_torch, to_torch  # doctest: +SKIP

Loaded on first use, each with its library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backendmlp.exchange.graph import export_onnx
    from backendmlp.exchange.perceptrons import from_sklearn, to_sklearn
    from backendmlp.exchange.sequential import from_torch, to_torch

_HOMES = {
    "export_onnx": "graph",
    "from_sklearn": "perceptrons",
    "from_torch": "sequential",
    "to_sklearn": "perceptrons",
    "to_torch": "sequential",
}

__all__ = ["export_onnx", "from_sklearn", "from_torch", "to_sklearn", "to_torch"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
