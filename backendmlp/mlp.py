"""The two-layer perceptron as a library's user meets it: fit, predict, loss, save, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp import evaluation, inputs, model
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.evaluation import Evaluation
from backendmlp.features import feature_unit, needs_unit, settled
from backendmlp.model import Parameters
from backendmlp.trainer import Trainer
from backendmlp.training import EpochRecord, train

Array = Any

_LARGEST = 2.0**450  # beyond it bitwise numerics ends, and nothing trains


class MLP:
    """Affine, ReLU, affine, softmax; trained by mini-batch gradient descent on cross-entropy.

    Images are (N, ...) arrays: uint8 pixels, worth 1/255 a level, or floats.  Arrays of CuPy or
    PyTorch stay on their device, and what comes back is of their library; NumPy arrays are worked
    on by ``backend`` and come back as NumPy arrays.  Bad input raises
    :class:`backendmlp.InputError`.

    After :meth:`fit` or :meth:`load`: ``parameters`` (host arrays "W1" (F, H), "b1" (H,), "W2"
    (H, C), "b2" (C,)), ``history`` (a list of :class:`EpochRecord`), ``class_names``,
    ``image_shape``.
    """

    def __init__(
        self,
        hidden: int = 100,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        lr: float = 0.1,
        seed: int = 100,
        numerics: str = "bitwise",
        dtype: str | None = None,
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        self.config = Config(hidden, epochs, batch_size, lr, seed, numerics, dtype)
        self.backend = backends.select(backend, device)
        self.parameters: dict[str, np.ndarray] = {}
        self.unit: np.ndarray | None = None  # of settled features, see features.py
        self.history: list[EpochRecord] = []
        self.class_names: tuple[str, ...] = ()
        self.image_shape: tuple[int, ...] = ()

    def fit(
        self,
        images: Array,
        labels: Array,
        *,
        test: tuple[Array, Array] | None = None,
        parameters: Mapping[str, Array] | None = None,
        order: Sequence[Array] | None = None,
        on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    ) -> MLP:
        """Train on ``images`` (N, ...) and ``labels`` (N,), from the start.

        ``test`` is evaluated after each epoch.  ``parameters`` replaces the He-normal start, and
        ``order``, one array of indices (N,) for each epoch, the shuffles: with both, somebody
        else's run is repeated exactly.
        """
        arithmetic, at = self.config.arithmetic(), self._backend_for(images)
        with at.scope():
            x = inputs.images(at, images, arithmetic.dtype)
            y = inputs.labels(at, labels, x.shape[0])
            classes = inputs.count_classes(at, y)
            start = self._start(parameters, x.shape[1], classes)
            unit = feature_unit(x) if needs_unit(self.config.numerics, x) else None
            x = x if unit is None else settled(x, unit)
            trainer = Trainer(
                at, self.config, start, x, y, _orders(order, self.config.epochs), unit
            )
            shown = None
            if test is not None:
                test_x = inputs.images(at, test[0], arithmetic.dtype, x.shape[1])
                test_x = test_x if unit is None else settled(test_x, unit)
                shown = test_x, inputs.labels(at, test[1], test_x.shape[0], classes)
            self.history = []
            self.unit = None if unit is None else to_numpy(unit).copy()
            self.class_names = tuple(map(str, range(classes)))
            self.image_shape = tuple(np.shape(images)[1:])
            try:
                for record in train(trainer, shown):
                    self.history.append(record)
                    on_epoch(record)
            finally:
                self._keep(trainer.parameters)
        return self

    def predict(self, images: Array) -> Array:
        """The most probable class of each image, int64 (N,)."""
        return self._on_device(images, lambda at, p, x: evaluation.classes(_shares(self, p, x)))

    def predict_proba(self, images: Array) -> Array:
        """Softmax probabilities, (N, C)."""
        return self._on_device(images, lambda at, p, x: _shares(self, p, x))

    def loss(self, images: Array, labels: Array) -> Array:
        """The mean cross-entropy, a 0-d array of the images' library."""

        def mean(at: Backend, p: Parameters, x: Array) -> Array:
            y = inputs.labels(at, labels, x.shape[0], p.shape[2])
            arithmetic = self.config.arithmetic()
            return evaluation.loss(arithmetic, evaluation.score(arithmetic, p, x, y))

        return self._on_device(images, mean)

    def evaluate(self, images: Array, labels: Array) -> Evaluation:
        """Mean cross-entropy and accuracy on ``images`` (N, ...) and ``labels`` (N,)."""
        result: list[Evaluation] = []

        def both(at: Backend, p: Parameters, x: Array) -> Array:
            y = inputs.labels(at, labels, x.shape[0], p.shape[2])
            arithmetic = self.config.arithmetic()
            scores = evaluation.score(arithmetic, p, x, y)
            result.append(evaluation.evaluate(arithmetic, scores, y))
            return scores.probabilities

        self._on_device(images, both)
        return result[0]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to ``path`` as safetensors, with its configuration and class names."""
        from backendmlp.modelfile import save_model

        self._fitted()
        save_model(
            path,
            self.parameters,
            {
                "config": self.config.as_dict(),
                "class_names": list(self.class_names),
                "image_shape": list(self.image_shape),
            },
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, backend: str = "numpy", device: str | None = None
    ) -> MLP:
        """The model that :meth:`save` or ``backendmlp train`` wrote to ``path``."""
        from backendmlp.modelfile import load_model

        parameters, metadata = load_model(path)
        try:
            result = cls(**metadata["config"], backend=backend, device=device)
        except TypeError as error:
            raise InputError(f"{path}: its configuration is not of this version") from error
        result.parameters = parameters
        result.class_names = tuple(metadata["class_names"])
        result.image_shape = tuple(metadata["image_shape"])
        return result

    def _start(
        self, parameters: Mapping[str, Array] | None, features: int, classes: int
    ) -> dict[str, Array]:
        hidden = self.config.hidden
        if parameters is None:
            return dict(model.he_normal(features, hidden, classes, self.config.seed))
        shapes = {
            "W1": (features, hidden), "b1": (hidden,), "W2": (hidden, classes), "b2": (classes,)
        }  # fmt: skip
        given = {name: tuple(getattr(value, "shape", ())) for name, value in parameters.items()}
        if given != shapes:
            raise InputError(f"the initial parameters have the shapes {given}; give {shapes}")
        if not all((np.abs(to_numpy(value)) < _LARGEST).all() for value in parameters.values()):
            raise InputError(
                "the initial parameters hold NaN, infinity or numbers beyond 2**450; give smaller"
            )
        return dict(parameters)

    def _keep(self, parameters: Parameters) -> None:
        self.parameters = {k: to_numpy(v).copy() for k, v in parameters.as_dict().items()}

    def _fitted(self) -> None:
        if not self.parameters:
            raise InputError("the model has no weights yet; call fit first, or load a model")

    def _backend_for(self, x: Array) -> Backend:
        at = backends.of(x)
        return self.backend if at.name == "numpy" else at

    def _on_device(
        self, images: Array, work: Callable[[Backend, Parameters, Array], Array]
    ) -> Array:
        """What ``work`` makes of the images where they lie, in the images' own library."""
        self._fitted()
        arithmetic, at = self.config.arithmetic(), self._backend_for(images)
        with at.scope():
            x = inputs.images(at, images, arithmetic.dtype, self.parameters["W1"].shape[0])
            on_device = {k: at.asarray(v, arithmetic.dtype) for k, v in self.parameters.items()}
            unit = None if self.unit is None else at.asarray(self.unit, arithmetic.dtype)
            x = x if unit is None else settled(x, unit)
            result = work(at, model.settle(arithmetic, on_device, unit), x)
            return result if at.owns(images) else to_numpy(result)


def _shares(mlp: MLP, p: Parameters, x: Array) -> Array:
    return evaluation.probabilities(mlp.config.arithmetic(), p, x)


def _orders(order: Sequence[Array] | None, epochs: int) -> Callable[[int], Array] | None:
    if order is None:
        return None
    if len(order) != epochs:
        raise InputError(
            f"the order has {len(order)} entries; give one for each of {epochs} epochs"
        )
    return order.__getitem__
