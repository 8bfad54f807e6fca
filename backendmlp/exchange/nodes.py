"""The nodes of an ONNX graph, one behind another, and the constants that they take."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.extras import install
from backendmlp.version import __version__

_OPSET, _IR = 17, 8  # of 2022: what every runtime of today reads, and all that is needed
_ROWS = "rows"  # the name of the batch size, which the graph leaves open


@dataclass
class Nodes:
    """A graph that grows node by node; what is computed has ``dtype``."""

    dtype: str
    onnx: Any = field(default_factory=lambda: _onnx())
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, kind: str, *entries: str, to_be: str | None = None, **choices: Any) -> str:
        """Another node; the name of what it gives."""
        name = to_be or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, entries, [name], name=name, **choices))
        return name

    def cast(self, x: str, given: np.dtype, wanted: np.dtype, to_be: str | None = None) -> str:
        """``x`` of dtype ``given`` as ``wanted``; another name costs a node in any case."""
        if given != wanted:
            return self.node("Cast", x, to=self._type(wanted), to_be=to_be)
        return x if to_be is None else self.node("Identity", x, to_be=to_be)

    def number(self, name: str, value: Any) -> str:
        """A constant, or an array of them, to compute with."""
        return self.constant(name, np.asarray(value, self.dtype))

    def weights(self, name: str, value: np.ndarray) -> str:
        """Weights to compute with; in half the bytes where float32 holds every one of them."""
        small = np.asarray(value, np.float32)
        if self.dtype == "float32" or not np.array_equal(small, value):
            return self.number(name, value)
        return self.cast(self.constant(name, small), small.dtype, np.dtype(self.dtype))

    def constant(self, name: str, value: np.ndarray) -> str:
        """Kept once: a name that is there already stands for the same value."""
        if all(constant.name != name for constant in self.constants):
            tensor = self.onnx.numpy_helper.from_array(np.array(value, order="C"), name)
            self.constants.append(tensor)
        return name

    def value(self, name: str, dtype: np.dtype, shape: Sequence[int]) -> Any:
        """What goes in or comes out: rows of ``shape``."""
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), [_ROWS, *shape])

    def model(self, entry: Any, outputs: list[Any], properties: dict[str, str]) -> Any:
        """The whole of it, checked."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "backendmlp", [entry], outputs, self.constants)
        proto = helper.make_model(
            graph,
            ir_version=_IR,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            producer_name="backendmlp",
            producer_version=__version__,
        )
        helper.set_model_props(proto, properties)
        self.onnx.checker.check_model(proto, full_check=True)
        return proto

    def _type(self, dtype: np.dtype) -> int:
        if dtype.kind == "O":
            return self.onnx.TensorProto.STRING
        return self.onnx.helper.np_dtype_to_tensor_dtype(dtype)


def _onnx() -> Any:
    try:
        found = importlib.import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
        return found
    except ImportError as error:
        raise InputError(
            f"the package 'onnx' is not installed; install it with: {install('onnx')}"
        ) from error
