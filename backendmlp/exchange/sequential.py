"""Weights to and from PyTorch's ``nn.Sequential``.

Beside ``backend.py`` the one module that names PyTorch: its models are made of its own classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from backendmlp.backend import select, to_numpy
from backendmlp.errors import InputError
from backendmlp.exchange import layers
from backendmlp.mlp import MLP

_ACTIVATIONS = {"ReLU": "relu", "Tanh": "tanh", "Sigmoid": "logistic", "Identity": "identity"}
_SHOWN = ("Softmax", "LogSoftmax", "Sigmoid")  # what may stand behind the last layer
_REMEDY = "give Linear layers with one kind of ReLU, Tanh, Sigmoid or nothing between them"


def to_torch(model: Any, *, softmax: bool = False) -> Any:
    """The network of ``model``, an ``MLP`` or a fitted estimator, as ``nn.Sequential``.

    It takes (N, F) floats (of pixels: divided by 255) of the weights' dtype, and gives logits
    (N, C), as ``CrossEntropyLoss`` wants them, or with ``softmax`` probabilities; of a regression
    the outputs.  The weights are copies.
    """
    mlp, torch = layers.network(model), _torch()
    shown: list[Any] = []
    last = len(mlp.parameters) // 2
    kinds = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}
    for layer in range(1, last + 1):
        W, b = (torch.from_numpy(mlp.parameters[f"{kind}{layer}"].copy()) for kind in "Wb")
        linear = torch.nn.Linear(*W.shape, dtype=W.dtype)
        with torch.no_grad():
            linear.weight.copy_(W.T)
            linear.bias.copy_(b)
        shown.append(linear)
        if layer < last and mlp.config.activation != "identity":
            shown.append(getattr(torch.nn, kinds[mlp.config.activation])())
    if softmax and not mlp.config.regression:
        shown.append(torch.nn.Softmax(dim=1))
    return torch.nn.Sequential(*shown)


def from_torch(
    module: Any,
    *,
    class_names: Sequence[str] | None = None,
    loss: str | None = None,
    **choices: Any,
) -> MLP:
    """An ``MLP`` with the weights of ``module``, an ``nn.Sequential`` of Linear layers.

    Or any module that computes what its layers do one after the other, which is tried.  Flatten and
    Dropout are passed over; what stands behind the last layer may be Softmax, LogSoftmax or
    Sigmoid.  ``loss`` is that of classes, but for a single output with nothing behind it.
    ``choices`` are those of :class:`backendmlp.Config` and of ``MLP``, but for ``hidden``; training
    goes on with ``warm_start=True`` or ``partial_fit``.
    """
    linear, between, behind = _parts(module)
    if len(set(between)) > 1 or len(behind) > 1 or (behind and behind[0] not in _SHOWN):
        found = ", ".join([*between, *behind])
        raise InputError(f"the module has the activations {found}; {_REMEDY}")
    _require_one_after_the_other(module, linear[0].in_features)
    weights = [to_numpy(layer.weight).T for layer in linear]
    biases = [
        to_numpy(layer.bias) if layer.bias is not None else to_numpy(layer.weight)[:, 0] * 0
        for layer in linear
    ]
    parameters = layers.named(weights, biases)
    single = biases[-1].shape == (1,)
    if behind == ["Sigmoid"]:
        if not single:
            raise InputError(
                "the module ends with a Sigmoid of several outputs, as of several labels for each "
                "row; give one with a class for each row"
            )
        parameters = layers.with_both(parameters)
    loss = loss or ("squared_error" if single and not behind else "cross_entropy")
    activation = _ACTIVATIONS[between[0]] if between else "relu"
    return MLP.of(parameters, class_names=class_names, activation=activation, loss=loss, **choices)


def _parts(module: Any) -> tuple[list[Any], list[str], list[str]]:
    """The Linear layers, what stands between each two of them, and behind the last."""
    if not hasattr(module, "children"):
        raise InputError(
            f"the module is {type(module).__name__}; give an nn.Sequential with such "
            "weights, or call MLP.of(parameters)"
        )
    linear: list[Any] = []
    kinds: list[list[str]] = []
    for leaf in _leaves(module):
        kind = type(leaf).__name__
        if kind == "Linear":
            linear.append(leaf)
            kinds.append([])
        elif kind not in ("Flatten", "Dropout", "Identity"):
            if not linear or kind not in {*_ACTIVATIONS, *_SHOWN}:
                raise InputError(f"the module has a {kind}; {_REMEDY}")
            kinds[-1].append(kind)
    if not linear or any(len(found) > 1 for found in kinds):
        raise InputError(f"the module has {len(linear)} Linear layers and {kinds}; {_REMEDY}")
    return linear, [(found or ["Identity"])[0] for found in kinds[:-1]], kinds[-1]


def _leaves(module: Any) -> Iterator[Any]:
    children = list(module.children())
    if not children:
        yield module
    for child in children:
        yield from _leaves(child)


def _torch() -> Any:
    select("torch")  # tells in a sentence what is missing
    import torch

    return torch


def _require_one_after_the_other(module: Any, width: int) -> None:
    """Refuse a ``module`` that computes something else than its layers in the order they stand in.

    A module of one's own may do so in its ``forward``; it is asked for a few rows of ``width``.
    """
    torch, tried = _torch(), copy.deepcopy(module).eval()
    like = next(tried.parameters())
    x = torch.sin(torch.arange(4.0 * width)).reshape(4, width).to(like)
    try:
        with torch.no_grad():
            found, expected = tried(x), torch.nn.Sequential(*_leaves(tried))(x)
        same = found.shape == expected.shape
        same = same and torch.allclose(found, expected, 1e-3, 1e-4, equal_nan=True)
    except Exception:  # whatever somebody's own ``forward`` may do
        same = False
    if not same:
        raise InputError(
            f"the module is a {type(module).__name__}, which computes something else than its "
            f"layers one after the other; {_REMEDY}, in an nn.Sequential"
        )
