"""What a run is: every choice that its bits depend on, checked once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from numbers import Integral
from typing import Any

from backendmlp import arithmetic
from backendmlp.errors import InputError
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.losses import LOSSES, CrossEntropy, SquaredError
from backendmlp.network.optimizers import Adam, Descent, Momentum, Optimizer
from backendmlp.network.recipe import Recipe
from backendmlp.network.schedules import SCHEDULES

Check = Callable[[str, Any], Any]

# Above what any machine has a use for, and low enough that no product of sizes overflows an int64:
# 2**24 hidden units times the 2**32 images that an IDX file can have, times 8 bytes, is 2**59.
LARGEST_HIDDEN = 2**24
LARGEST_COUNT = 2**53  # of epochs and of a batch; what every reader of JSON keeps exact
MOST_LAYERS = 64

MONITORS = ("train_loss", "validation_loss", "validation_score")
_LR = {"sgd": 0.1, "momentum": 0.01, "nesterov": 0.01, "adam": 0.001, "adamw": 0.001}
OPTIMIZERS = tuple(_LR)
_KNOWN = {
    "activation": tuple(ACTIVATIONS),
    "loss": tuple(LOSSES),
    "optimizer": OPTIMIZERS,
    "schedule": tuple(SCHEDULES),
}


@dataclass(frozen=True)
class Config:
    """A run's hyperparameters; raises :class:`InputError` for one out of range or without effect.

    None stands for what goes with the other choices, and for what they have no use for; it is
    settled when the configuration is made.

    =====================  ========================================================================
    ``hidden``             units of each hidden layer, a number or several; () for none at all
    ``activation``         of hidden units: "relu", "tanh", "logistic" or "identity"
    ``loss``               "cross_entropy", of classes, or "squared_error", of any real targets
    ``label_smoothing``    of cross-entropy: how much of a target is shared out among all classes
    ``lr``                 the learning rate: by default 0.1 for "sgd", 0.01 for "momentum" and
                           "nesterov", 0.001 for "adam" and "adamw"
    ``optimizer``          "sgd", plain gradient descent; "momentum", "nesterov", "adam", "adamw"
    ``momentum``           of "momentum" and "nesterov" (0.9)
    ``beta_1``, ``beta_2``, ``epsilon``  of "adam" and "adamw" (0.9, 0.999, 1e-8)
    ``l2``                 adds l2 / (2 n) times the sum of squared weights to the loss of a batch
                           of n rows (or of weight n), as scikit-learn's ``alpha``
    ``weight_decay``       decoupled: rate times so much of each weight goes in each step (0.01 for
                           "adamw", else 0)
    ``clip_norm``          the most that a gradient's norm over all parameters may be; in native
                           numerics a norm whose square is out of range (1.8e19 in float32) may make
                           a step of zero
    ``schedule``           of the rate: "constant", "step", "linear", "cosine", or "adaptive":
                           divided by five where the loss stalls
    ``decay``, ``decay_every``  of "step": times ``decay`` (0.1) each so many epochs (10)
    ``warmup``             epochs, perhaps a part of one, in which the rate climbs to ``lr``
    ``class_weight``       what a row of each class counts for: a number for each class, or
                           "balanced": rows / (classes * rows of the class)
    ``validation_split``   share of the training rows that is held back, drawn from the seed
    ``patience``           the training ends, or an adaptive rate is divided, after more than so
                           many epochs in a row without an improvement by more than ``tol`` (1e-4),
                           as in scikit-learn; 10 for "adaptive", else never
    ``monitor``            what is to improve: "train_loss", "validation_loss" or
                           "validation_score" (accuracy or R squared); by default the validation
                           loss where there are validation data.  With one of validation, the best
                           epoch's weights are what the training ends with
    =====================  ========================================================================
    """

    hidden: tuple[int, ...] = (100,)
    epochs: int = 10
    batch_size: int = 64
    lr: float | None = None
    seed: int = 100
    numerics: str = "bitwise"
    dtype: str | None = None
    activation: str = "relu"
    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    optimizer: str = "sgd"
    momentum: float | None = None
    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    l2: float = 0.0
    weight_decay: float | None = None
    clip_norm: float | None = None
    schedule: str = "constant"
    decay: float | None = None
    decay_every: int | None = None
    warmup: float = 0.0
    class_weight: str | tuple[float, ...] | None = None
    validation_split: float = 0.0
    patience: int | None = None
    tol: float | None = None
    monitor: str | None = None

    def __post_init__(self) -> None:
        for name, value in _settled(self).items():
            object.__setattr__(self, name, value)

    def arithmetic(self) -> arithmetic.Arithmetic:
        return arithmetic.choose(self.numerics, self.dtype)

    def recipe(self) -> Recipe:
        """What a step is made of."""
        return Recipe(
            self.arithmetic(),
            ACTIVATIONS[self.activation],
            SquaredError() if self.regression else CrossEntropy(self.label_smoothing),
            _optimizer(self),
            self.l2,
            self.clip_norm,
        )

    @property
    def regression(self) -> bool:
        """Whether targets are real numbers rather than classes."""
        return self.loss == "squared_error"

    def sizes(self, features: int, outputs: int) -> tuple[int, ...]:
        """(features, units of each hidden layer ..., outputs)."""
        return (features, *self.hidden, outputs)

    def as_dict(self) -> dict[str, Any]:
        """All choices, as JSON has them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _settled(c: Config) -> dict[str, Any]:
    """All choices of ``c``, checked, with what None stands for."""
    found: dict[str, Any] = {
        "hidden": _hidden(c.hidden),
        "epochs": positive_int("epochs", c.epochs, LARGEST_COUNT),
        "batch_size": positive_int("batch_size", c.batch_size, LARGEST_COUNT),
        "seed": _seed(c.seed),
        "dtype": arithmetic.checked_dtype(c.numerics, c.dtype),
        "label_smoothing": share("label_smoothing", c.label_smoothing),
        "l2": _at_least_zero("l2", c.l2),
        "warmup": _at_least_zero("warmup", c.warmup),
        "validation_split": share("validation_split", c.validation_split),
        "class_weight": _class_weight(c.class_weight),
    }
    for name, known in _KNOWN.items():
        found[name] = one_of(name, getattr(c, name), known)
    found["lr"] = positive_float("lr", _LR[c.optimizer] if c.lr is None else c.lr)
    if c.clip_norm is not None:
        found["clip_norm"] = positive_float("clip_norm", c.clip_norm)
    decay = 0.01 if c.optimizer == "adamw" else 0.0
    found["weight_decay"] = _at_least_zero(
        "weight_decay", decay if c.weight_decay is None else c.weight_decay
    )
    for name, (check, default, choice, users) in _OWN.items():
        found[name] = _of_use(c, name, check, default, choice, users)
    return found | _stopping(c) | _of_classes(c)


def _of_use(
    c: Config, name: str, check: Check, default: Any, choice: str, users: tuple[str, ...]
) -> Any:
    """The value of ``name``, which has a use only where ``choice`` is one of ``users``."""
    value, chosen = getattr(c, name), getattr(c, choice)
    if chosen in users:
        return check(name, default if value is None else value)
    if value is not None:
        known = " or ".join(map(repr, users))
        raise InputError(
            f"{name} is {_shown(value)}, and {choice} {chosen!r} has no use for it; leave it out, "
            f"or choose {choice} {known}"
        )
    return None


def _stopping(c: Config) -> dict[str, Any]:
    patience = 10 if c.patience is None and c.schedule == "adaptive" else c.patience
    if patience is None:
        for name in ("tol", "monitor"):
            if getattr(c, name) is not None:
                raise InputError(
                    f"{name} is {_shown(getattr(c, name))}, and without patience nothing is ended "
                    "early; give patience too, or leave it out"
                )
        return {}
    if c.monitor is not None:
        one_of("monitor", c.monitor, MONITORS)
    return {
        "patience": positive_int("patience", patience, LARGEST_COUNT),
        "tol": _at_least_zero("tol", 1e-4 if c.tol is None else c.tol),
    }


def _of_classes(c: Config) -> dict[str, Any]:
    """Nothing; raises :class:`InputError` where what is for classes is asked of other targets."""
    if c.loss == "squared_error":
        for name in ("label_smoothing", "class_weight"):
            if getattr(c, name):
                raise InputError(
                    f"{name} is {_shown(getattr(c, name))}, and the squared error knows no "
                    "classes; leave it out"
                )
    return {}


def _optimizer(c: Config) -> Optimizer:
    if c.optimizer == "sgd":
        return Descent()
    if c.optimizer in ("momentum", "nesterov"):
        assert c.momentum is not None
        return Momentum(c.momentum, c.optimizer == "nesterov")
    assert c.beta_1 is not None and c.beta_2 is not None and c.epsilon is not None  # noqa: PT018
    return Adam(c.beta_1, c.beta_2, c.epsilon)


# What other libraries call our choices, where spelling alone does not lead there.
_ELSEWHERE = {
    "alpha": "l2",
    "early_stopping": "patience",
    "hidden_layer_sizes": "hidden",
    "learning_rate": "lr",
    "learning_rate_init": "lr",
    "max_iter": "epochs",
    "n_iter_no_change": "patience",
    "random_state": "seed",
    "solver": "optimizer",
    "units": "hidden",
    "validation_fraction": "validation_split",
}


def require_known(names: Iterable[str]) -> None:
    """Raise TypeError, as Python does for an unknown argument, and suggest a known one."""
    known = [field.name for field in fields(Config)]
    for name in names:
        if name not in known:
            near = [_ELSEWHERE[name]] if name in _ELSEWHERE else get_close_matches(name, known)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise TypeError(f"MLP() got an unexpected keyword argument {name!r}; {hint}")


def definition(numerics: str, *, pixels: bool) -> int:
    """The number of the definition that a run's bits follow; it goes up when they change.

    2 for features in bitwise numerics, which are settled once when they come in; 1 for all else.
    """
    return 2 if numerics == "bitwise" and not pixels else 1


def positive_int(name: str, value: Any, largest: int) -> int:
    """``value`` as an int from 1 to ``largest``."""
    if not _is_whole(value) or not 1 <= int(value) <= largest:
        raise InputError(f"{name} is {_shown(value)}; give a whole number from 1 to {largest:,}")
    return int(value)


def positive_float(name: str, value: Any) -> float:
    """``value`` as a finite float above zero."""
    number = _number(value)
    if not number > 0:
        raise InputError(f"{name} is {_shown(value)}; give a finite number above zero")
    return number


def one_of(name: str, value: Any, known: tuple[str, ...]) -> str:
    """``value``, which is one of the ``known``."""
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name} is {_shown(value)}; give one of {', '.join(map(repr, known))}")
    return value


def _at_least_zero(name: str, value: Any) -> float:
    if _number(value) == 0.0:
        return 0.0
    if not _number(value) > 0:
        raise InputError(f"{name} is {_shown(value)}; give a finite number, zero or above")
    return positive_float(name, value)


def share(name: str, value: Any) -> float:
    """``value`` as a float from 0 to below 1."""
    if not 0 <= _number(value) < 1:
        raise InputError(f"{name} is {_shown(value)}; give a number from 0 to below 1")
    return float(value)


def _number(value: Any) -> float:
    """``value`` as a float; NaN for what is no finite number."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if abs(number) < math.inf else math.nan


def _hidden(value: Any) -> tuple[int, ...]:
    """Units of each hidden layer, of a number or of several."""
    if not isinstance(value, tuple | list):
        if not _is_whole(value) or not value:
            raise InputError(
                f"hidden is {_shown(value)}; give a whole number from 1 to {LARGEST_HIDDEN:,}, "
                "several for several layers, as (200, 100), or () for none"
            )
        return (positive_int("hidden", value, LARGEST_HIDDEN),)
    if len(value) > MOST_LAYERS:
        raise InputError(f"hidden has {len(value)} layers; give at most {MOST_LAYERS}")
    for layer, units in enumerate(value, 1):
        if not _is_whole(units) or not 1 <= int(units) <= LARGEST_HIDDEN:
            if len(value) == 1:
                positive_int("hidden", units, LARGEST_HIDDEN)
            raise InputError(
                f"hidden is {_shown(tuple(value))}, with {_shown(units)} in layer {layer}; give "
                f"whole numbers from 1 to {LARGEST_HIDDEN:,}, as (200, 100)"
            )
    return tuple(map(int, value))


def weights_of_some(value: Mapping[Any, Any], loss: Any) -> dict[Any, float]:
    """Weights of some classes, by name or number, checked; :class:`Config` takes those of all."""
    if loss == "squared_error":
        raise InputError(
            f"class_weight is {_shown(value)}, and the squared error knows no classes; leave it out"
        )
    found = {name: _at_least_zero(f"class_weight of {name!r:.80}", w) for name, w in value.items()}
    if not found:
        raise InputError("class_weight is empty; give weights by classes, or leave it out")
    return found


def _class_weight(value: Any) -> str | tuple[float, ...] | None:
    if value is None or (isinstance(value, str) and value == "balanced"):
        return value
    if isinstance(value, Mapping):
        raise InputError(
            "class_weight has weights by classes, which only MLP knows to put in order; give one "
            "for each class, in their order"
        )
    if not isinstance(value, tuple | list) or len(value) < 2:
        raise InputError(
            f"class_weight is {_shown(value)}; give 'balanced', or a number for each class"
        )
    found = tuple(
        _at_least_zero(f"class_weight of class {number}", weight)
        for number, weight in enumerate(value)
    )
    if not any(found):
        raise InputError("class_weight is zero for every class; give one that counts")
    return found


_ADAMS = ("adam", "adamw")
# Choices that only some others have a use for: how they are checked, what None stands for, and
# where they belong.
_OWN: dict[str, tuple[Check, Any, str, tuple[str, ...]]] = {
    "momentum": (share, 0.9, "optimizer", ("momentum", "nesterov")),
    "beta_1": (share, 0.9, "optimizer", _ADAMS),
    "beta_2": (share, 0.999, "optimizer", _ADAMS),
    "epsilon": (lambda n, v: positive_float(n, v), 1e-8, "optimizer", _ADAMS),
    "decay": (lambda n, v: positive_float(n, v), 0.1, "schedule", ("step",)),
    "decay_every": (lambda n, v: positive_int(n, v, LARGEST_COUNT), 10, "schedule", ("step",)),
}


def _seed(value: Any) -> int:
    if not _is_whole(value) or not 0 <= int(value) < 2**64:
        raise InputError(f"seed is {_shown(value)}; give a whole number from 0 to 2**64 - 1")
    return int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
