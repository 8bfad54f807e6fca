"""A trained network as an ONNX graph, for whatever runs those.

The graph repeats the definition in ``network/model.py``: pixels are divided by 255, features that
were settled are settled.  It computes in float64, whatever the network was trained in, and of
bitwise numerics it repeats the roundings too, after which no order of a sum matters: the logits are
the network's own.  Only the exponential, tanh and the logistic function are the runtime's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import product_bits, rounded
from backendmlp.digests import digest
from backendmlp.errors import InputError
from backendmlp.exchange import layers
from backendmlp.exchange.nodes import Nodes
from backendmlp.features import LARGEST
from backendmlp.files import StrPath, write_atomically
from backendmlp.mlp import MLP
from backendmlp.network.model import PIXEL_LEVELS, Parameters, entering

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

    It computes in float64, and features and results have the model's dtype.  ``dtype`` is another
    one for all of these: "float32", for runtimes that know no other, rounds as float32 does.
    ``inputs``, "uint8" or "float", need only be given for native numerics on flat arrays, where the
    default is float.  The same model gives the same bytes.
    """
    mlp = layers.network(model)
    own = mlp.config.dtype or "float64"
    inputs = inputs or _kind(mlp, model is not mlp)
    for name, value, known in (("dtype", dtype or own, _DTYPES), ("inputs", inputs, _INPUTS)):
        if value not in known:
            raise InputError(f"{name} is {value!r:.80}; give {known[0]!r} or {known[1]!r}")
    if inputs == "uint8" and mlp.unit is not None:
        raise InputError("the model was trained on features and takes no pixels; leave inputs= out")
    graph = _Graph(mlp, Nodes(dtype or "float64"), np.dtype(dtype or own), inputs == "uint8")
    proto = graph.made(None if mlp.config.regression else layers.labels(model))
    write_atomically(path, proto.SerializeToString(deterministic=True))


def _kind(mlp: MLP, features: bool) -> str:
    """What inputs the model was made for, as far as it knows."""
    if features or mlp.unit is not None:
        return "float"
    return "uint8" if mlp.config.numerics == "bitwise" or len(mlp.image_shape) > 1 else "float"


@dataclass
class _Graph:
    """The graph of ``mlp``; features and results have the dtype ``shown``."""

    mlp: MLP
    nodes: Nodes
    shown: np.dtype
    pixels: bool

    def made(self, names: np.ndarray | None) -> Any:
        """The model of a network with class ``names``, or of a regression."""
        shape = self.mlp.image_shape if self.pixels else (math.prod(self.mlp.image_shape),)
        entry = "images" if self.pixels else "features"
        kind = np.dtype("uint8") if self.pixels else self.shown
        x = entry if len(shape) == 1 else self.nodes.node("Flatten", entry, axis=1)
        z = self._layers(self.nodes.cast(x, kind, self._computed))
        outputs = self._outputs(z) if names is None else self._classes(z, names)
        properties = {"weights_sha256": digest(self.mlp.parameters)}
        return self.nodes.model(self.nodes.value(entry, kind, shape), outputs, properties)

    @property
    def _parameters(self) -> dict[str, np.ndarray]:
        return entering(Parameters.of(self.mlp.parameters)).as_dict()

    @property
    def _computed(self) -> np.dtype:
        return np.dtype(self.nodes.dtype)

    @property
    def _rounds(self) -> bool:
        """Whether the roundings of bitwise numerics are repeated, for which it takes float64."""
        return self.mlp.config.numerics == "bitwise" and self._computed == np.float64

    def _layers(self, x: str) -> str:
        """What the last layer gives for inputs ``x``."""
        p, activation = self._parameters, self.mlp.config.activation
        z = self.nodes.node("Add", self._first(x), self.nodes.weights("b1", p["b1"]))
        for layer in range(2, len(p) // 2 + 1):
            if activation in _ACTIVATIONS:
                z = self.nodes.node(_ACTIVATIONS[activation], z)
            W, b = p[f"W{layer}"], p[f"b{layer}"]
            if self._rounds:
                left, right = product_bits(len(W))
                z, W = self._rounded(z, left), rounded(W, 0, right)
            product = self.nodes.node("MatMul", z, self.nodes.weights(f"W{layer}", W))
            z = self.nodes.node("Add", product, self.nodes.weights(f"b{layer}", b))
        return z

    def _first(self, x: str) -> str:
        """What the inputs stand for times W1."""
        W, unit, nodes = self._parameters["W1"], self.mlp.unit, self.nodes
        if unit is not None:  # powers of two: no product with them is rounded
            x = nodes.node("Round", nodes.node("Mul", x, nodes.number("per_unit", 1.0 / unit)))
            bounds = (nodes.number(f"{s}est", v) for s, v in (("low", -LARGEST), ("high", LARGEST)))
            x = nodes.node("Clip", x, *bounds)
            W = W * unit[:, None]
        if self._rounds:
            whole = {"beside_pixels": self.pixels, "beside_features": unit is not None}
            left, right = product_bits(len(W), **whole)
            x = x if any(whole.values()) else self._rounded(x, left)  # the others are exact
            W = rounded(W, 0, right)
        product = nodes.node("MatMul", x, nodes.weights("W1", W))
        if self.pixels:
            return nodes.node("Mul", product, nodes.number("level", 1.0 / PIXEL_LEVELS))
        return product

    def _rounded(self, x: str, bits: int) -> str:
        """Each row of ``x`` on the grid that :func:`backendmlp.arithmetic.bitwise.rounded` has.

        The power of two at or above its largest entry is |(q + p) - q| with q = 2**53 p, or p where
        that is zero: Rump, Ogita and Oishi, "Accurate floating-point summation" (2008).  A row
        beyond the range is NaN.
        """
        nodes = self.nodes
        top = nodes.node("ReduceMax", nodes.node("Abs", x), axes=[1], keepdims=1)
        q = nodes.node("Mul", top, nodes.number("unit_53", 2.0**53))
        power = nodes.node("Sub", nodes.node("Add", q, top), q)
        power = nodes.node("Max", power, top, nodes.number("least", 2.0**-const.WINDOW))
        beyond = nodes.node("Greater", top, nodes.number("most", 2.0**const.WINDOW))
        power = nodes.node("Where", beyond, nodes.number("nan", np.nan), power)
        grid = nodes.node("Mul", power, nodes.number(f"bits_{bits}", const.ROUND * 2.0**-bits))
        return nodes.node("Sub", nodes.node("Add", x, grid), grid)

    def _classes(self, z: str, names: np.ndarray) -> list[Any]:
        nodes = self.nodes
        found = nodes.node("Softmax", z, axis=1)
        nodes.cast(found, self._computed, self.shown, to_be="probabilities")
        numbers = self._most_probable(found, len(names))
        values = _labels(names)
        nodes.node("Gather", nodes.constant("labels", values), numbers, axis=0, to_be="classes")
        return [
            nodes.value("classes", values.dtype, ()),
            nodes.value("probabilities", self.shown, (len(names),)),
        ]

    def _most_probable(self, found: str, count: int) -> str:
        """As :func:`backendmlp.network.losses.classes`: runtimes disagree on a NaN's place."""
        nodes = self.nodes
        largest = nodes.node("ReduceMax", found, axes=[1], keepdims=1)
        columns = nodes.constant("columns", np.arange(count)[None, :])
        last = nodes.constant("last", np.array(count - 1))
        marked = nodes.node("Where", nodes.node("Equal", found, largest), columns, last)
        return nodes.node("ReduceMin", marked, axes=[1], keepdims=0)

    def _outputs(self, z: str) -> list[Any]:
        """(rows, C), or (rows,) where targets were."""
        nodes, p = self.nodes, self.mlp.parameters
        shape = () if self.mlp.flat else (p[f"b{len(p) // 2}"].shape[0],)
        if self.mlp.flat:
            z = nodes.node("Squeeze", z, nodes.constant("axis", np.array([1], np.int64)))
        nodes.cast(z, self._computed, self.shown, to_be="outputs")
        return [nodes.value("outputs", self.shown, shape)]


def _labels(names: np.ndarray) -> np.ndarray:
    """Labels as ONNX has them: booleans, int64, float64 or texts (objects)."""
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
    return names.astype(kinds.get(names.dtype.kind, object))
