"""scikit-learn's names for choices, and what :class:`backendmlp.Config` calls them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from backendmlp.config import share
from backendmlp.errors import InputError

SOLVERS = ("adam", "sgd", "adamw")
RATES = ("constant", "adaptive", "linear", "cosine")
AUTO = 200  # rows in a batch called "auto", or all of them where they are fewer

# Where the meaning is the same and only the name is not.
_NAMES = {
    "hidden": "hidden_layer_sizes",
    "activation": "activation",
    "l2": "alpha",
    "lr": "learning_rate_init",
    "epochs": "max_iter",
    "numerics": "numerics",
    "dtype": "dtype",
}
_FLAGS = ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping")
_TOLD = {
    "batch_size": "batch_size",
    "patience": "n_iter_no_change",
    "validation_split": "validation_fraction",
    "seed": "random_state",
    "schedule": "learning_rate",
    **_NAMES,
}


def translated(given: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The choices of an ``MLP`` that trains on ``rows`` rows, of an estimator's parameters.

    Without the seed and the weights of classes.  Raises :class:`InputError` for what has no
    counterpart.
    """
    for name in _FLAGS:
        if not isinstance(given[name], bool | np.bool_):
            raise InputError(f"{name} is {given[name]!r:.80}; give True or False")
    found = {ours: given[theirs] for ours, theirs in _NAMES.items()}
    found["hidden"] = _hidden(given["hidden_layer_sizes"])
    for name in ("momentum", "validation_fraction", "beta_1", "beta_2"):  # used or not
        share(name, given[name])
    batch = given["batch_size"]
    if isinstance(batch, str) and batch != "auto":
        raise InputError(f"batch_size is {batch!r:.80}; give a whole number, or 'auto'")
    found["batch_size"] = min(AUTO, rows) if isinstance(batch, str) and batch == "auto" else batch
    return found | _optimizer(given) | _schedule(given) | _stopping(given)


def for_partial_fit(given: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Those of an ``MLP`` that sees its data piece by piece, and so never the end of them."""
    if given["early_stopping"]:
        raise InputError(
            "early_stopping is True, and partial_fit never sees all data; leave it out, or call fit"
        )
    if given["learning_rate"] == "adaptive":
        raise InputError(
            "learning_rate is 'adaptive', and partial_fit never sees all data; choose 'constant', "
            "or call fit"
        )
    without = ("patience", "tol", "monitor", "validation_split")
    return {k: v for k, v in translated(given, rows).items() if k not in without}


@contextmanager
def told_in_their_names() -> Iterator[None]:
    """Sentences about a choice call it what the user calls it."""
    try:
        yield
    except InputError as error:
        name, _, rest = str(error).partition(" ")
        if _TOLD.get(name, name) == name:
            raise
        raise InputError(f"{_TOLD[name]} {rest}") from error


def _hidden(sizes: Any) -> Any:
    """Any sequence of sizes as a tuple; an array of them too."""
    if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
        return sizes
    return tuple(sizes)


def _optimizer(given: Mapping[str, Any]) -> dict[str, Any]:
    solver = given["solver"]
    if solver not in SOLVERS:
        raise InputError(
            f"solver is {solver!r:.80}; give 'adam', 'sgd', or 'adamw', which scikit-learn has not"
        )
    if solver in ("adam", "adamw"):
        return {"optimizer": solver, **{k: given[k] for k in ("beta_1", "beta_2", "epsilon")}}
    if given["momentum"] == 0:
        return {"optimizer": "sgd"}
    name = "nesterov" if given["nesterovs_momentum"] else "momentum"
    return {"optimizer": name, "momentum": given["momentum"]}


def _schedule(given: Mapping[str, Any]) -> dict[str, Any]:
    rate = given["learning_rate"]
    if rate not in RATES:
        known = ", ".join(map(repr, RATES))
        raise InputError(f"learning_rate is {rate!r:.80}; give one of {known}")
    return {"schedule": rate}


def _stopping(given: Mapping[str, Any]) -> dict[str, Any]:
    """As scikit-learn does: the training loss is watched where no score is."""
    found: dict[str, Any] = {}
    if given["early_stopping"]:
        found["validation_split"] = given["validation_fraction"]
    patience = given["n_iter_no_change"]
    if isinstance(patience, float) and patience == math.inf:
        if given["early_stopping"] or given["learning_rate"] == "adaptive":
            raise InputError(
                "n_iter_no_change is inf, and early_stopping and an adaptive rate wait for it; "
                "give a number of epochs"
            )
        return found
    monitor = "validation_score" if given["early_stopping"] else "train_loss"
    return found | {"patience": patience, "tol": given["tol"], "monitor": monitor}
