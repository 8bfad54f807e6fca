"""A trained network as an ONNX graph, for whatever runs those.

The graph repeats the definition in ``network/model.py``: pixels are divided by 255, features that
were settled are settled.  It computes in the dtype of its weights, each runtime in its own order,
so that its results are those of native numerics, not the same bits everywhere.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.exchange import layers
from backendmlp.features import LARGEST
from backendmlp.files import StrPath, write_atomically
from backendmlp.mlp import MLP
from backendmlp.network.model import PIXEL_LEVELS
from backendmlp.version import __version__

_OPSET, _IR = 17, 8  # of 2022: what every runtime of today reads, and all that is needed
_ROWS = "rows"  # the name of the batch size, which the graph leaves open
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid"}
_DTYPES = ("float32", "float64")
_INPUTS = ("uint8", "float")


def export_onnx(
    model: Any, path: StrPath, *, dtype: str | None = None, inputs: str | None = None
) -> None:
    """Write ``model``, an ``MLP`` or a fitted estimator, to ``path`` as ONNX.

    The graph takes ``images``, uint8 of the images' shape, or ``features``, floats (rows, F), any
    number of rows at a time.  It gives ``classes`` (rows,), labels as they were, and
    ``probabilities`` (rows, C); of a regression ``outputs``, of the targets' shape.

    ``dtype`` is what features have and what is computed in: by default float64 of bitwise numerics,
    whose probabilities it meets within 1e-6, and of native ones their own.  ``inputs``, "uint8" or
    "float", need only be given for native numerics on flat arrays, where the default is float.
    The same model gives the same bytes.
    """
    mlp, onnx = layers.network(model), _onnx()
    dtype = dtype or mlp.config.dtype or "float64"
    inputs = inputs or _kind(mlp, model is not mlp)
    for name, value, known in (("dtype", dtype, _DTYPES), ("inputs", inputs, _INPUTS)):
        if value not in known:
            raise InputError(f"{name} is {value!r:.80}; give {known[0]!r} or {known[1]!r}")
    if inputs == "uint8" and mlp.unit is not None:
        raise InputError("the model was trained on features and takes no pixels; leave inputs out")
    names = None if mlp.config.regression else layers.labels(model)
    proto = _Graph(onnx, dtype).of(mlp, inputs == "uint8", names)
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(path, proto.SerializeToString(deterministic=True))


def _kind(mlp: MLP, features: bool) -> str:
    """What inputs the model was made for, as far as it knows."""
    if features or mlp.unit is not None:
        return "float"
    return "uint8" if mlp.config.numerics == "bitwise" or len(mlp.image_shape) > 1 else "float"


@dataclass
class _Graph:
    """A graph that grows node by node, each behind the last one."""

    onnx: Any
    dtype: str
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def of(self, mlp: MLP, pixels: bool, names: np.ndarray | None) -> Any:
        """The model of a network with class ``names``, or of a regression."""
        helper = self.onnx.helper
        shape = mlp.image_shape if pixels else (math.prod(mlp.image_shape),)
        entry = "images" if pixels else "features"
        found = self._layers(mlp, entry, pixels, len(shape))
        outputs = self._outputs(mlp, found) if names is None else self._classes(found, names)
        kind = np.dtype("uint8" if pixels else self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "backendmlp",
            [self._value(entry, kind, shape)],
            outputs,
            self.constants,
        )
        proto = helper.make_model(
            graph,
            ir_version=_IR,
            opset_imports=[helper.make_opsetid("", _OPSET)],
            producer_name="backendmlp",
            producer_version=__version__,
        )
        helper.set_model_props(proto, {"weights_sha256": digest(mlp.parameters)})
        return proto

    def _layers(self, mlp: MLP, x: str, pixels: bool, dimensions: int) -> str:
        if dimensions > 1:
            x = self._node("Flatten", x, axis=1)
        if pixels:
            x = self._node("Cast", x, to=self._type(np.dtype(self.dtype)))
        W1, unit = mlp.parameters["W1"], mlp.unit
        if unit is not None:  # powers of two: no product with them is rounded
            x = self._node("Round", self._node("Mul", x, self._number("per_unit", 1.0 / unit)))
            bounds = (self._number(f"{s}est", v) for s, v in (("low", -LARGEST), ("high", LARGEST)))
            x = self._node("Clip", x, *bounds)
            W1 = W1 * unit[:, None]
        last = len(mlp.parameters) // 2
        for layer in range(1, last + 1):
            W = W1 if layer == 1 else mlp.parameters[f"W{layer}"]
            x = self._node("MatMul", x, self._number(f"W{layer}", W))
            if layer == 1 and pixels:
                x = self._node("Mul", x, self._number("level", 1.0 / PIXEL_LEVELS))
            x = self._node("Add", x, self._number(f"b{layer}", mlp.parameters[f"b{layer}"]))
            if layer < last and mlp.config.activation in _ACTIVATIONS:
                x = self._node(_ACTIVATIONS[mlp.config.activation], x)
        return x

    def _classes(self, z: str, names: np.ndarray) -> list[Any]:
        self._node("Softmax", z, axis=1, to_be="probabilities")
        numbers = self._node("ArgMax", "probabilities", axis=1, keepdims=0)
        values = _labels(names)
        self._node("Gather", self._constant("labels", values), numbers, axis=0, to_be="classes")
        return [
            self._value("classes", values.dtype, ()),
            self._value("probabilities", np.dtype(self.dtype), (len(names),)),
        ]

    def _outputs(self, mlp: MLP, z: str) -> list[Any]:
        """(rows, C), or (rows,) where targets were."""
        shape = () if mlp.flat else (mlp.parameters[f"b{len(mlp.parameters) // 2}"].shape[0],)
        if mlp.flat:
            axis = self._constant("axis", np.array([1], np.int64))
            self._node("Squeeze", z, axis, to_be="outputs")
        else:
            self._node("Identity", z, to_be="outputs")
        return [self._value("outputs", np.dtype(self.dtype), shape)]

    def _node(self, kind: str, *entries: str, to_be: str | None = None, **choices: Any) -> str:
        name = to_be or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, entries, [name], name=name, **choices))
        return name

    def _number(self, name: str, value: Any) -> str:
        return self._constant(name, np.asarray(value, self.dtype))

    def _constant(self, name: str, value: np.ndarray) -> str:
        tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        if value.ndim == 0:  # what ascontiguousarray has made a vector
            tensor = self.onnx.numpy_helper.from_array(np.array(value), name)
        self.constants.append(tensor)
        return name

    def _value(self, name: str, dtype: np.dtype, shape: Sequence[int]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), [_ROWS, *shape])

    def _type(self, dtype: np.dtype) -> int:
        if dtype.kind == "O":
            return self.onnx.TensorProto.STRING
        return self.onnx.helper.np_dtype_to_tensor_dtype(dtype)


def _labels(names: np.ndarray) -> np.ndarray:
    """Labels as ONNX has them: booleans, int64, float64 or texts (objects)."""
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    return names.astype(kinds.get(names.dtype.kind, object))


def _onnx() -> Any:
    try:
        found = importlib.import_module("onnx")
        for part in ("checker", "helper", "numpy_helper"):
            importlib.import_module(f"onnx.{part}")
        return found
    except ImportError as error:
        raise InputError(
            "the package 'onnx' is not installed; install it with: pip install 'backendmlp[onnx]'"
        ) from error
