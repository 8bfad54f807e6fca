"""What models of other libraries have in common with ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.mlp import MLP


def network(model: Any) -> MLP:
    """The ``MLP`` that ``model`` is, or that a fitted estimator holds."""
    found = getattr(model, "mlp_", model)
    if not isinstance(found, MLP):
        kind = type(model).__name__
        if hasattr(model, "steps"):
            raise InputError(
                f"the model is a {kind}; give its last step alone, as pipeline[-1], which then "
                "takes what the others make of the inputs"
            )
        if hasattr(model, "move_to"):  # an estimator of ours
            raise InputError(f"the {kind} is not fitted yet; call fit first")
        raise InputError(f"the model is of type {kind}; give an MLP, or a fitted estimator")
    if not found.parameters:
        raise InputError("the model has no weights yet; call fit first, or load a model")
    return found


def labels(model: Any) -> np.ndarray:
    """What the classes of ``model`` are called, (C,): its labels, or its class names."""
    if hasattr(model, "classes_"):
        return np.asarray(model.classes_)
    names = network(model).class_names
    numbers = tuple(map(str, range(len(names))))
    return np.arange(len(names)) if names == numbers else np.asarray(names)


def named(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters by name, of weights (inputs, outputs) and biases (outputs,) of each layer."""
    found: dict[str, np.ndarray] = {}
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True), 1):
        found |= {f"W{layer}": np.array(W), f"b{layer}": np.array(b)}
    return found


def with_both(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One logistic output z as two of a softmax, 0 and z: the same probabilities."""
    last = len(parameters) // 2
    W, b = parameters[f"W{last}"], parameters[f"b{last}"]
    both = {f"W{last}": np.hstack([np.zeros_like(W), W]), f"b{last}": np.array([0.0, *b])}
    return parameters | both


def with_one(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two outputs of a softmax as one logistic one: their difference."""
    last = len(parameters) // 2
    W, b = parameters[f"W{last}"], parameters[f"b{last}"]
    return parameters | {f"W{last}": W[:, 1:] - W[:, :1], f"b{last}": b[1:] - b[:1]}
