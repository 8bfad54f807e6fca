"""Initial weights in host memory, drawn so that signals neither fade nor grow from layer to layer.

Each layer has a random stream of its own, so that its weights don't depend on the others' sizes.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from backendmlp import random

# Streams 3 and 4 are the shuffles' and the split's: the third layer's is the 101st and so on.
_BEYOND = 98


def initial(sizes: tuple[int, ...], activation: str, seed: int) -> dict[str, np.ndarray]:
    """Parameters of a network with ``sizes``, float64, by name: normal weights, biases zero.

    Their variance is 2 / fan-in with ReLU (He, Zhang, Ren and Sun, "Delving deep into rectifiers",
    2015, equation 10), else 2 / (fan-in + fan-out) (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010, equation 12).
    """
    found: dict[str, np.ndarray] = {}
    for layer, (rows, columns) in enumerate(pairwise(sizes), 1):
        fan = rows if activation == "relu" else rows + columns
        bits = random.stream(seed, layer if layer <= 2 else _BEYOND + layer)
        variates = random.normals(bits, rows * columns).reshape(rows, columns)
        found[f"W{layer}"] = np.sqrt(2.0 / fan) * variates
        found[f"b{layer}"] = np.zeros(columns)
    return found
