"""Weights to and from scikit-learn's own multi-layer perceptrons."""

from __future__ import annotations

from typing import Any

import numpy as np

from backendmlp.errors import InputError
from backendmlp.estimators import choices
from backendmlp.estimators.base import BaseMLP
from backendmlp.estimators.classifier import MLPClassifier
from backendmlp.estimators.labels import Labels
from backendmlp.estimators.regressor import MLPRegressor
from backendmlp.estimators.scikit import check_is_fitted, label_binarizer, neural_network
from backendmlp.exchange import layers
from backendmlp.mlp import MLP

_SOLVERS = {"adam": "adam", "adamw": "adam"}


def from_sklearn(estimator: Any, **parameters: Any) -> BaseMLP:
    """Our estimator with the weights of a fitted ``MLPClassifier`` or ``MLPRegressor`` of theirs.

    Its parameters are taken over, but for those that ``parameters`` give; where there is no
    counterpart, Adam stands for 'lbfgs' and a constant rate for 'invscaling'.  Training goes on
    with ``warm_start=True`` or ``partial_fit``; the solver begins anew.
    """
    theirs = neural_network()
    if not isinstance(estimator, theirs.MLPClassifier | theirs.MLPRegressor):
        raise InputError(
            f"the estimator is of type {type(estimator).__name__}; give scikit-learn's "
            "MLPClassifier or MLPRegressor"
        )
    check_is_fitted(estimator)
    classes = isinstance(estimator, theirs.MLPClassifier)
    if classes and estimator.out_activation_ == "logistic" and estimator.n_outputs_ > 1:
        raise InputError("the estimator has several labels for each row; give one with classes")
    ours = (MLPClassifier if classes else MLPRegressor)(**_taken(estimator, parameters))
    weights = layers.named(estimator.coefs_, estimator.intercepts_)
    if classes and estimator.n_outputs_ == 1:
        weights = layers.with_both(weights)
    if classes:
        ours._labels = Labels(np.asarray(estimator.classes_))  # type: ignore[union-attr]
    _fill(ours, weights, estimator)
    return ours


def to_sklearn(model: Any) -> Any:
    """scikit-learn's own estimator with the weights of ``model``, an ``MLP`` or estimator of ours.

    For features, not pixels.  It predicts, and can be trained on with ``partial_fit`` or
    ``warm_start=True``; its solver begins anew.
    """
    mlp, theirs = layers.network(model), neural_network()
    config, weights = mlp.config, dict(mlp.parameters)
    found = (theirs.MLPRegressor if config.regression else theirs.MLPClassifier)(
        hidden_layer_sizes=config.hidden,
        activation=config.activation,
        solver=_SOLVERS.get(config.optimizer, "sgd"),
        alpha=config.l2,
        batch_size=config.batch_size,
        learning_rate="adaptive" if config.schedule == "adaptive" else "constant",
        learning_rate_init=config.lr,
        max_iter=config.epochs,
        momentum=config.momentum or 0.0,
        nesterovs_momentum=config.optimizer == "nesterov",
        **{k: v for k in ("beta_1", "beta_2", "epsilon") if (v := getattr(config, k)) is not None},
    )
    if not config.regression:
        values = layers.labels(model)
        found.classes_ = values
        found._label_binarizer = label_binarizer(values)
        weights = layers.with_one(weights) if len(values) == 2 else weights
    _fill_theirs(found, weights, mlp)
    return found


def _taken(estimator: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    known = (MLPClassifier if hasattr(estimator, "classes_") else MLPRegressor)().get_params()
    found = {k: v for k, v in estimator.get_params().items() if k in known}
    for name, usable in (("solver", choices.SOLVERS), ("learning_rate", choices.RATES)):
        if found[name] not in usable:
            found[name] = known[name]
    found["hidden_layer_sizes"] = tuple(W.shape[1] for W in estimator.coefs_[:-1])
    return found | parameters


def _fill(ours: BaseMLP, weights: dict[str, np.ndarray], estimator: Any) -> None:
    given = choices.translated(ours.get_params(), choices.AUTO)
    ours.seed_ = ours._seed()
    if given["dtype"] is None and ours.numerics == "native":
        given["dtype"] = str(weights["W1"].dtype)
    names = ours._labels.names if isinstance(ours, MLPClassifier) else None
    hidden = given.pop("hidden")
    with choices.told_in_their_names():
        ours.mlp_ = MLP.of(
            weights,
            class_names=names,
            loss=ours._LOSS,
            seed=ours.seed_,
            backend=ours.backend,
            device=ours.device,
            **given,
        )
    assert ours.mlp_.config.hidden == hidden
    ours.n_features_in_, ours.fitted_on_ = estimator.n_features_in_, ("numpy", "cpu")
    if hasattr(estimator, "feature_names_in_"):
        ours.feature_names_in_ = estimator.feature_names_in_
    ours.out_activation_ = "softmax" if names else "identity"
    ours._take_stock([])


def _fill_theirs(found: Any, weights: dict[str, np.ndarray], mlp: MLP) -> None:
    found.coefs_ = [v.copy() for k, v in weights.items() if k[0] == "W"]
    found.intercepts_ = [v.copy() for k, v in weights.items() if k[0] == "b"]
    found.n_features_in_ = weights["W1"].shape[0]
    found.n_layers_, found.n_outputs_ = len(mlp.config.hidden) + 2, len(found.intercepts_[-1])
    shown = "logistic" if found.n_outputs_ == 1 else "softmax"
    found.out_activation_ = "identity" if mlp.config.regression else shown
    found.n_iter_, found.t_, found._no_improvement_count = len(mlp.history), 0, 0
    found.loss_curve_ = [record.train_loss for record in mlp.history]
    found.best_loss_ = min(found.loss_curve_, default=np.inf)
    found.loss_ = found.loss_curve_[-1] if found.loss_curve_ else None
    found.validation_scores_ = found.best_validation_score_ = None
    found._random_state = np.random.RandomState(mlp.config.seed % 2**32)
