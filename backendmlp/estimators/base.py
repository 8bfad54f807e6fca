"""What both estimators share: an :class:`backendmlp.MLP` fitted with scikit-learn's manners."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

import numpy as np

from backendmlp import backend as backends
from backendmlp.backend import namespace, to_numpy
from backendmlp.config import Config
from backendmlp.digests import digest
from backendmlp.errors import InputError, warn
from backendmlp.estimators import choices
from backendmlp.estimators.scikit import (
    BaseEstimator,
    ConvergenceWarning,
    array_api_dispatch,
    check_is_fitted,
    check_random_state,
    validate_data,
)
from backendmlp.inputs import no_numbers
from backendmlp.mlp import MLP
from backendmlp.training import stopping
from backendmlp.training.balance import split
from backendmlp.training.beginning import require_functions
from backendmlp.training.records import EpochRecord

Array = Any
P = ParamSpec("P")
T = TypeVar("T")


class BaseMLP(BaseEstimator):
    """An ``MLP`` in ``mlp_``; subclasses say what targets are."""

    _LOSS: str  # what the network makes small
    _SCORE: str  # the field of an epoch's record that early stopping watches
    mlp_: MLP
    seed_: int
    fitted_on_: tuple[str, str]
    loss_curve_: list[float]
    loss_: float | None

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = 100,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        backend: str = "numpy",
        device: str | None = None,
        numerics: str = "bitwise",
        dtype: str | None = None,
        callbacks: Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.backend = backend
        self.device = device
        self.numerics = numerics
        self.dtype = dtype
        self.callbacks = callbacks

    # -- what was fitted ---------------------------------------------------------------------------

    @property
    def coefs_(self) -> list[np.ndarray]:
        """Weights of each layer, (inputs, outputs) each: read-only, in host memory."""
        return [v for k, v in self._learned("coefs_").items() if k[0] == "W"]

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """Biases of each layer, (outputs,) each: read-only, in host memory."""
        return [v for k, v in self._learned("intercepts_").items() if k[0] == "b"]

    @property
    def weights_sha256_(self) -> str:
        """The digest of all weights and biases: in bitwise numerics the same on every machine."""
        return digest(self._learned("weights_sha256_"))

    def move_to(self, X: Array) -> Any:
        """Take ``X``, and what is like it, for predictions from now on; returns the estimator.

        For arrays of another library, or on another device, than it was fitted on, where
        scikit-learn's ``array_api_dispatch`` is on.  Weights lie in host memory and go where
        they are used, so this costs nothing.
        """
        check_is_fitted(self)
        self.fitted_on_ = _place(X)
        return self

    def _learned(self, attribute: str) -> dict[str, np.ndarray]:
        if not hasattr(self, "mlp_"):
            raise AttributeError(f"{attribute} is there after fit, and this one is not fitted yet")
        return self.mlp_.parameters

    # -- fitting -----------------------------------------------------------------------------------

    def _fit(
        self, x: Array, y: Array, sample_weight: Array | None, validation: Any, **of_classes: Any
    ) -> None:
        """Train on checked inputs ``x`` (N, F) and targets, from the start or on from before."""
        if self.callbacks is not None:
            require_functions("callbacks", self.callbacks)
        on = self.warm_start and hasattr(self, "mlp_")
        x, y, weight = _counting(x, y, sample_weight, self._one_batch())
        names = of_classes.pop("class_names", None)
        given = choices.translated(self.get_params(), x.shape[0])
        if validation is not None:
            given.pop("validation_split", None)  # it is watched instead of rows held back
        mlp = self._made(x, given, on, **of_classes)
        before = len(mlp.history)
        self.mlp_, self.fitted_on_ = mlp, _place(x)
        with choices.told_in_their_names():
            mlp.fit(
                x,
                y,
                sample_weight=weight,
                validation=validation,
                class_names=names,
                order=None if self.shuffle else _ascending(mlp.config, x.shape[0]),
                on_epoch=self._on_epoch if self.verbose else lambda record: None,
                callbacks=[self._calling(callback) for callback in self.callbacks or ()],
            )
        self._take_stock(mlp.history)
        self._warn_of_an_early_end(mlp.history[before:])

    def _fit_on(self, x: Array, y: Array, sample_weight: Array | None, **of_classes: Any) -> None:
        """Learn once from ``x`` and ``y``, from where it stands."""
        x, y, weight = _counting(x, y, sample_weight, self._one_batch())
        names = of_classes.pop("class_names", None)
        given = choices.for_partial_fit(self.get_params(), x.shape[0])
        on = hasattr(self, "mlp_")
        mlp = self._made(x, given, on, **of_classes)
        self.mlp_, self.fitted_on_ = mlp, _place(x)
        curve = self.loss_curve_ if on else []
        with choices.told_in_their_names():
            mlp.partial_fit(x, y, sample_weight=weight, class_names=names)
        self._take_stock(mlp.history)
        assert mlp.last_loss is not None
        self.loss_curve_ = [*curve, mlp.last_loss]
        self.n_iter_, self.loss_ = len(self.loss_curve_), mlp.last_loss

    def _made(self, x: Array, given: dict[str, Any], on: bool, **of_classes: Any) -> MLP:
        """An ``MLP`` with these choices that begins anew, or goes on where the last one ended."""
        if not on or isinstance(self.random_state, Integral):
            self.seed_ = self._seed()
        if given["dtype"] is None and self.numerics == "native":
            given["dtype"] = str(x.dtype).rpartition(".")[2]
        given |= of_classes | {"seed": self.seed_, "loss": self._LOSS}
        with choices.told_in_their_names():
            fresh = MLP(**given, backend=self.backend, device=self.device, warm_start=on)
        if not on:
            return fresh
        mlp = copy.copy(self.mlp_)
        if fresh.config.optimizer != mlp.config.optimizer:
            mlp.forget_steps()
        mlp.history, mlp.config, mlp.warm_start = list(mlp.history), fresh.config, True
        return mlp.to(self.backend, self.device)

    def _one_batch(self) -> int:
        """How many rows are one batch whatever they are; 0 where their number has a meaning."""
        counted = self.early_stopping or getattr(self, "class_weight", None) == "balanced"
        if counted or not isinstance(self.batch_size, Integral):
            return 0 if counted or self.batch_size != "auto" else choices.AUTO
        return int(self.batch_size)

    def _seed(self) -> Any:
        if self.random_state is None or isinstance(self.random_state, np.random.RandomState):
            return int(check_random_state(self.random_state).randint(2**31 - 1))
        if not isinstance(self.random_state, Integral):
            raise InputError(
                f"random_state is {self.random_state!r:.80}; give a whole number, None, or a "
                "RandomState of NumPy"
            )
        return self.random_state

    def _take_stock(self, history: Sequence[EpochRecord]) -> None:
        """What scikit-learn's attributes say of a training."""
        self.n_iter_ = len(history)
        self.loss_curve_ = [record.train_loss for record in history]
        self.loss_ = self.loss_curve_[-1] if history else None
        self.n_layers_ = len(self.mlp_.config.hidden) + 2
        self.n_outputs_ = self.intercepts_[-1].shape[0]
        scores = [getattr(record, self._SCORE) for record in history]
        seen = bool(scores) and scores[-1] is not None
        self.validation_scores_ = scores if seen else None
        losses = [record.validation_loss for record in history]
        self.validation_loss_curve_ = losses if seen else None
        known = [score for score in scores if score is not None]
        self.best_validation_score_ = max(known) if self.early_stopping and known else None
        self.best_loss_ = None if self.early_stopping else min(self.loss_curve_, default=None)

    def _warn_of_an_early_end(self, records: Sequence[EpochRecord]) -> None:
        """As scikit-learn does where the epochs ran out before the training had ended by itself."""
        config, course = self.mlp_.config, stopping.begin(self.mlp_.config)
        for record in records:
            course = stopping.after(course, config, record)
        if len(records) == config.epochs and not course.ended and config.patience is not None:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({config.epochs}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )

    def _on_epoch(self, record: EpochRecord) -> None:
        print(f"Iteration {record.epoch}, loss = {record.train_loss:.8f}")
        score = getattr(record, self._SCORE)
        if score is not None:
            print(f"Validation score: {score:f}")

    def _calling(self, callback: Callable[..., Any]) -> Callable[[MLP, EpochRecord], Any]:
        """Callers see the estimator, not what is within."""

        def call(_: MLP, record: EpochRecord) -> Any:
            self._take_stock(self.mlp_.history)
            return callback(self, record)

        return call

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    # -- predicting --------------------------------------------------------------------------------

    def _shown(self, X: Array, method: str) -> Array:
        """``X`` (N, F) checked, as floats, for a method of this name."""
        check_is_fitted(self)
        place = _place(X)
        if place != self.fitted_on_:
            raise InputError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace "
                f"and the same device as those passed to fit(): these are of {_told(place)}, those "
                f"were of {_told(self.fitted_on_)}; call move_to(X) first to predict from now on "
                "for what is like X"
            )
        return validated(self, X, reset=False)


def or_as_before(fit: Callable[P, T]) -> Callable[P, T]:
    """``fit``, or another method, of an estimator that is as it was before where it is refused.

    Or where it diverges, is interrupted, or ends by anything else.
    """

    @wraps(fit)
    def fitting(*given: P.args, **named: P.kwargs) -> T:
        entries = vars(given[0])
        before = dict(entries)
        try:
            return fit(*given, **named)
        except BaseException:
            entries.clear()
            entries.update(before)
            raise

    return fitting


def validated(estimator: BaseMLP, X: Array, y: Any = "no_validation", **how: Any) -> Any:
    """What scikit-learn's ``validate_data`` makes of ``X``, and perhaps of ``y``; ``X`` as floats.

    With ``y_numeric`` ``y`` too.  Texts and dates among them are told in a sentence that names
    their column.
    """
    if isinstance(y, np.ndarray) and y.dtype.kind == "T":  # texts of a kind that it knows not yet
        y = y.astype(object)
    try:
        found = validate_data(estimator, X, y, **how)
        if not isinstance(found, tuple):
            return floats(found)
        return floats(found[0]), floats(found[1]) if how.get("y_numeric") else found[1]
    except (TypeError, ValueError) as error:
        if odd := no_numbers(X):
            example = "days since the first" if odd[:5] == "dates" else "a OneHotEncoder does"
            raise InputError(
                f"X holds {odd}; leave it out, or make numbers of it, as {example}"
            ) from error
        if how.get("y_numeric") and (odd := no_numbers(y)):
            raise InputError(
                f"y holds {odd}; a regression needs numbers, and MLPClassifier tells classes apart"
            ) from error
        raise


def both_or_none(X_val: Any, y_val: Any) -> bool:
    """Whether there are validation data; raises :class:`InputError` for one without the other."""
    for name, one, other in (("X_val", X_val, y_val), ("y_val", y_val, X_val)):
        if one is None and other is not None:
            given = "y_val" if name == "X_val" else "X_val"
            raise InputError(f"{given} is given without {name}; give both or neither")
    return X_val is not None


def floats(x: Array) -> Array:
    """``x`` with float32 and float64 as they are, and all other numbers as float64.

    Whole numbers stand for themselves here, uint8 too: only :class:`backendmlp.MLP` takes those for
    pixels.
    """
    xp = namespace(x)
    if getattr(x.dtype, "kind", "") in tuple("mM"):  # scikit-learn lets a table of them alone pass
        raise TypeError("dates or times are no numbers")
    return x if x.dtype in (xp.float32, xp.float64) else xp.astype(x, xp.float64)


def _counting(x: Array, y: Array, weight: Array | None, batch: int) -> tuple[Array, Array, Any]:
    """Rows that count, and for how much.

    Those with a weight of zero are as if they were not there, and whole-number weights that fit
    into one ``batch`` together are repetitions, to the last bit; as scikit-learn understands
    weights, and its checks compare.
    """
    if weight is None or isinstance(weight, str | Mapping):
        return x, y, weight  # an MLP tells what is wrong with them
    weight = to_numpy(weight)
    weight = np.full(x.shape[0], weight) if weight.ndim == 0 else weight
    if weight.shape != (x.shape[0],) or weight.dtype.kind not in "biuf":
        return x, y, weight  # an MLP tells what is wrong with them
    weight = weight.astype(np.float64, copy=False)
    repeated = bool(np.all((weight >= 0) & (weight == np.floor(weight)))) and weight.sum() <= batch
    rows = np.repeat(np.arange(len(weight)), weight.astype(np.int64) if repeated else weight != 0)
    if len(rows) == 0:
        return x, y, weight
    if repeated:
        weight = None
    elif len(rows) < len(weight):
        weight = weight[rows]
    else:
        return x, y, weight
    at = backends.of(x)
    with at.scope():
        return at.xp.take(x, at.asarray(rows), axis=0), to_numpy(y)[rows], weight


def _place(X: Array) -> tuple[str, str]:
    """Library and device that predictions are to come from, where it is not always NumPy."""
    if not array_api_dispatch():
        return "numpy", "cpu"
    at = backends.of(X)
    return at.name, at.label.partition(" ")[0]


def _told(place: tuple[str, str]) -> str:
    return f"{place[0]} on {place[1]}"


def _ascending(config: Config, count: int) -> list[np.ndarray]:
    """The order of the rows as they came, for each epoch, of those that are not held back."""
    both = split(config.seed, count, config.validation_split)
    return [np.arange(count if both is None else len(both[0]))] * config.epochs
