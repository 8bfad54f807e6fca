"""``MLPClassifier``: labels of any kind, and their classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backendmlp.backend import to_numpy
from backendmlp.errors import InputError
from backendmlp.estimators.base import BaseMLP, both_or_none, or_as_before, validated
from backendmlp.estimators.labels import Labels
from backendmlp.estimators.scikit import ClassifierMixin, check_classification_targets

Array = Any


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier with the same bits on every machine.

    Named and used as scikit-learn's :class:`~sklearn.neural_network.MLPClassifier`, on top of
    :class:`backendmlp.MLP`, whose weights it has, to the last bit, for the same choices.  Always
    softmax and cross-entropy, so that two classes have two outputs.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer.
    activation : {'relu', 'tanh', 'logistic', 'identity'}, default='relu'
        Of hidden units.
    solver : {'adam', 'sgd', 'adamw'}, default='adam'
        'adamw' is ours: Adam with a decoupled weight decay of 0.01.  There is no 'lbfgs'.
    alpha : float, default=0.0001
        Adds alpha / (2 n) times the sum of squared weights to the loss of a batch of n rows.
    batch_size : int or 'auto', default='auto'
        Rows in a step; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'adaptive', 'linear', 'cosine'}, default='constant'
        For every solver, not for 'sgd' alone.  'adaptive' divides the rate by five where the loss
        stalls; 'linear' and 'cosine' are ours and fall to zero at ``max_iter``.  There is no
        'invscaling'.
    learning_rate_init : float, default=0.001
        The learning rate at the start.
    max_iter : int, default=200
        Epochs at most.
    shuffle : bool, default=True
        Whether each epoch has an order of its own; else rows are taken as they come.
    random_state : int, RandomState instance or None, default=100
        The seed of initial weights, shuffles and split.  The default is ours: the same call gives
        the same bits.  None draws a seed and keeps it in ``seed_``, as a RandomState does.
    tol : float, default=1e-4
        An epoch that is not better than the best by so much has stalled.
    verbose : bool, default=False
        Print the loss of each epoch.
    warm_start : bool, default=False
        Whether ``fit`` goes on where the last one ended, the solver's state too.
    momentum : float, default=0.9
        Of 'sgd'.
    nesterovs_momentum : bool, default=True
        Of 'sgd' with momentum.
    early_stopping : bool, default=False
        Hold back ``validation_fraction`` of the rows, end when their score stalls, and keep the
        best epoch's weights.  Otherwise the training loss ends the training.
    validation_fraction : float, default=0.1
        Drawn from the seed, not stratified.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        Of 'adam' and 'adamw'.
    n_iter_no_change : int or inf, default=10
        Stalled epochs before the training ends.
    class_weight : dict, 'balanced' or None, default=None
        What a row of each class counts for: {label: weight}, 1 for a label that is left out, or
        n_samples / (n_classes * rows of the class).
    backend : {'numpy', 'cupy', 'torch', 'jax'}, default='numpy'
        What works on host arrays.
    device : str or None, default=None
        Of the backend, as 'cuda'.
    numerics : {'bitwise', 'native'}, default='bitwise'
        The same bits everywhere, which is what this library is for, or the backend's own
        arithmetic.
    dtype : {'float32', 'float64'} or None, default=None
        Of native numerics; None takes that of X.
    callbacks : sequence of callable or None, default=None
        Called with the estimator and the epoch's record after each epoch; one that returns True
        ends the training.

    Attributes
    ----------
    mlp_ : backendmlp.MLP
        The network; ``mlp_.save`` writes it to a file.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels, in host memory.
    coefs_, intercepts_ : list of ndarray
        Weights (inputs, outputs) and biases (outputs,) of each layer: read-only, in host memory.
    weights_sha256_ : str
        The digest of them.
    loss_curve_, validation_loss_curve_ : list of float
        Mean losses after each epoch; the latter is None without validation data.
    validation_scores_ : list of float or None
        Accuracies on the validation data.
    loss_, best_loss_, best_validation_score_ : float or None
        The last training loss; the least one, or with early stopping the best score.
    n_iter_ : int
        Epochs so far, of warm starts and partial fits too.
    seed_ : int
        The seed that was used.
    n_layers_, n_outputs_, n_features_in_ : int
        Layers with those of inputs and outputs; classes; features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names that are all strings.
    fitted_on_ : tuple of str
        Library and device of X, where ``array_api_dispatch`` is on.

    Notes
    -----
    Numbers stand for themselves, uint8 too; only :class:`backendmlp.MLP` takes those for pixels.
    Rows with a sample weight of zero are as if they were not there.  Whole-number weights that fit
    into one batch together are repetitions, to the last bit, unless ``early_stopping`` or balanced
    classes count rows.

    With ``sklearn.set_config(array_api_dispatch=True)`` arrays of PyTorch, CuPy and others stay on
    their device and what comes back is of their library; labels that these have no type for, as
    texts, come back as NumPy arrays.  Predictions want X of the library and device it was fitted
    on, as everywhere in scikit-learn, until :meth:`move_to` says otherwise.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from backendmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(learning_rate_init=0.01))
    >>> print(f"{model.fit(X, y).score(X, y):.2f}")
    0.99
    """

    _LOSS, _SCORE = "cross_entropy", "validation_accuracy"
    _labels: Labels

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
        class_weight: Mapping[Any, float] | str | None = None,
        backend: str = "numpy",
        device: str | None = None,
        numerics: str = "bitwise",
        dtype: str | None = None,
        callbacks: Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            backend=backend,
            device=device,
            numerics=numerics,
            dtype=dtype,
            callbacks=callbacks,
        )
        self.class_weight = class_weight

    @property
    def classes_(self) -> np.ndarray:
        """The sorted labels, (n_classes,)."""
        if not hasattr(self, "_labels"):
            raise AttributeError("classes_ are there after fit, and this one is not fitted yet")
        return self._labels.values

    @or_as_before
    def fit(
        self,
        X: Array,
        y: Array,
        sample_weight: Array | None = None,
        *,
        X_val: Array | None = None,
        y_val: Array | None = None,
    ) -> MLPClassifier:
        """Train, from the start unless ``warm_start`` says otherwise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers; arrays, or tables of pandas or polars.
        y : array-like of shape (n_samples,)
            Labels: numbers, texts or booleans.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for, none negative.
        X_val, y_val : array-like, default=None
            Data to be shown after each epoch, for ``validation_loss_curve_``; with
            ``early_stopping`` they are watched, and no rows are held back.

        Returns
        -------
        self : MLPClassifier
        """
        x, targets = self._checked(X, y, reset=True)
        labels = Labels.of(targets)
        if self.warm_start and hasattr(self, "mlp_"):
            _require_same(labels, self._labels)
        self._labels = labels
        self._fit(
            x,
            labels.encode(targets),
            sample_weight,
            self._validation(X_val, y_val),
            class_names=labels.names,
            class_weight=labels.weights(self.class_weight),
        )
        self.out_activation_ = "softmax"
        return self

    @or_as_before
    def partial_fit(
        self,
        X: Array,
        y: Array,
        classes: Array | None = None,
        sample_weight: Array | None = None,
    ) -> MLPClassifier:
        """Learn once from these rows, in the order given, in batches of ``batch_size``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.
        y : array-like of shape (n_samples,)
            Labels that are among the classes.
        classes : array-like of shape (n_classes,), default=None
            All labels there will ever be; the first call needs them.
        sample_weight : array-like of shape (n_samples,), default=None
            What each row counts for.

        Returns
        -------
        self : MLPClassifier
        """
        first = not hasattr(self, "mlp_")
        if first and classes is None:
            raise InputError("classes must be passed on the first call to partial_fit")
        x, targets = self._checked(X, y, reset=first)
        labels = self._labels if classes is None else Labels.of(np.asarray(_host(classes)))
        if not first:
            _require_same(labels, self._labels)
        self._labels = labels
        self._fit_on(
            x,
            labels.encode(targets),
            sample_weight,
            class_names=labels.names,
            class_weight=labels.weights(self.class_weight),
        )
        self.out_activation_ = "softmax"
        return self

    def predict(self, X: Array) -> Array:
        """The most probable label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        y : array of shape (n_samples,)
            Labels, of equally probable ones the first.
        """
        x = self._shown(X, "predict")
        return self._labels.decode(self.mlp_.predict(x))

    def predict_proba(self, X: Array) -> Array:
        """The probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        x = self._shown(X, "predict_proba")
        return self.mlp_.predict_proba(x)

    def predict_log_proba(self, X: Array) -> Array:
        """The natural logarithm of each class's probability; -inf of what is zero.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers.

        Returns
        -------
        log_p : array of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        x = self._shown(X, "predict_log_proba")
        return self.mlp_.predict_log_proba(x)

    def _checked(self, X: Array, y: Array, reset: bool) -> tuple[Array, np.ndarray]:
        """``X`` as floats on its device, ``y`` (N,) in host memory."""
        y = None if y is None else _host(y)
        try:
            x, targets = validated(self, X, y, reset=reset)
        except TypeError as error:
            if "NA is ambiguous" not in str(error):
                raise
            raise InputError("y holds <NA>; give labels, none of them missing") from error
        try:
            check_classification_targets(targets)
        except TypeError as error:  # of labels that cannot be sorted, as texts and None
            kinds = sorted({type(label).__name__ for label in targets.flat})
            raise InputError(
                f"y holds labels of several kinds: {', '.join(kinds)[:200]}; give labels of one "
                "kind, none of them missing"
            ) from error
        return x, targets

    def _validation(self, X: Array, y: Array) -> tuple[Array, np.ndarray] | None:
        if not both_or_none(X, y):
            return None
        x, targets = self._checked(X, y, reset=False)
        return x, self._labels.encode(targets)


def _require_same(labels: Labels, before: Labels) -> None:
    if labels.values.tolist() != before.values.tolist():
        raise InputError(
            f"the classes are {labels.values.tolist()!r:.80}, and those before were "
            f"{before.values.tolist()!r:.80}; give the same, or begin anew"
        )


def _host(y: Any) -> Any:
    """Labels of another array library in host memory; what is no array as it is."""
    return to_numpy(y) if hasattr(y, "__array_namespace__") or hasattr(y, "detach") else y
