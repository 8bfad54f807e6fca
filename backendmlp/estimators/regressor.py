"""``MLPRegressor``: one real target or several."""

from __future__ import annotations

from typing import Any

from backendmlp.estimators.base import BaseMLP, both_or_none, or_as_before, validated
from backendmlp.estimators.scikit import RegressorMixin, column_or_1d

Array = Any


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor with the same bits on every machine.

    Named and used as scikit-learn's :class:`~sklearn.neural_network.MLPRegressor`, on top of
    :class:`backendmlp.MLP`.  The loss is half the squared error, summed over outputs, which
    scikit-learn averages over them; the gradients are the same.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer.
    activation, solver, alpha, batch_size, learning_rate, learning_rate_init, max_iter, shuffle, \
random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, \
validation_fraction, beta_1, beta_2, epsilon, n_iter_no_change, backend, device, numerics, dtype, \
callbacks
        As those of :class:`backendmlp.MLPClassifier`, with its defaults.

    Attributes
    ----------
    mlp_ : backendmlp.MLP
        The network; ``mlp_.save`` writes it to a file.
    coefs_, intercepts_ : list of ndarray
        Weights (inputs, outputs) and biases (outputs,) of each layer: read-only, in host memory.
    weights_sha256_ : str
        The digest of them.
    loss_curve_, validation_loss_curve_ : list of float
        Mean losses after each epoch; the latter is None without validation data.
    validation_scores_ : list of float or None
        R squared on the validation data.
    loss_, best_loss_, best_validation_score_ : float or None
        The last training loss; the least one, or with early stopping the best score.
    n_iter_, seed_, n_layers_, n_outputs_, n_features_in_, feature_names_in_, fitted_on_
        As those of :class:`backendmlp.MLPClassifier`.

    Notes
    -----
    Large targets train badly: standardise them, as with
    :class:`~sklearn.compose.TransformedTargetRegressor`.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> from backendmlp import MLPRegressor
    >>> X, y = make_regression(200, 4, random_state=0)
    >>> model = MLPRegressor(learning_rate_init=0.01).fit(X, y / y.std())
    >>> print(f"{model.score(X, y / y.std()):.2f}")
    1.00
    """

    _LOSS, _SCORE = "squared_error", "validation_r2"

    @or_as_before
    def fit(
        self,
        X: Array,
        y: Array,
        sample_weight: Array | None = None,
        *,
        X_val: Array | None = None,
        y_val: Array | None = None,
    ) -> MLPRegressor:
        """Train, from the start unless ``warm_start`` says otherwise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers; arrays, or tables of pandas or polars.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for, none negative.
        X_val, y_val : array-like, default=None
            Data to be shown after each epoch, for ``validation_loss_curve_``; with
            ``early_stopping`` they are watched, and no rows are held back.

        Returns
        -------
        self : MLPRegressor
        """
        x, targets = self._checked(X, y, reset=True)
        shown = None
        if both_or_none(X_val, y_val):
            shown = self._checked(X_val, y_val, reset=False)
        self._fit(x, targets, sample_weight, shown)
        self.out_activation_ = "identity"
        return self

    @or_as_before
    def partial_fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> MLPRegressor:
        """Learn once from these rows, in the order given, in batches of ``batch_size``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for.

        Returns
        -------
        self : MLPRegressor
        """
        x, targets = self._checked(X, y, reset=not hasattr(self, "mlp_"))
        self._fit_on(x, targets, sample_weight)
        self.out_activation_ = "identity"
        return self

    def predict(self, X: Array) -> Array:
        """The outputs for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_outputs)
            Of the shape that targets had.
        """
        x = self._shown(X, "predict")
        return self.mlp_.predict(x)

    def _checked(self, X: Array, y: Array, reset: bool) -> tuple[Array, Array]:
        """``X`` and ``y`` as floats on their devices."""
        x, targets = validated(self, X, y, reset=reset, multi_output=True, y_numeric=True)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = column_or_1d(targets, warn=True)
        return x, targets

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
