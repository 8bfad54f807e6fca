"""The two-layer perceptron as a library's user meets it: fit, predict, loss, save, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp import inputs, memory, mistakes
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config, definition
from backendmlp.errors import InputError
from backendmlp.features import feature_unit, needs_unit, settled
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Evaluation
from backendmlp.steps.scoring import Scorer
from backendmlp.training.epochs import EpochRecord, train
from backendmlp.training.trainer import Trainer

Array = Any

_LARGEST = 2.0**450  # beyond it bitwise numerics ends, and nothing trains


class MLP:
    """Affine, ReLU, affine, softmax; trained by mini-batch gradient descent on cross-entropy.

    Images are (N, ...) arrays: uint8 pixels, worth 1/255 a level, or floats (or booleans) that
    stand for themselves.  Arrays of CuPy or PyTorch stay on their device, and what comes back is of
    their library; all else, NumPy arrays, tables and nested lists, is worked on by ``backend`` and
    comes back as NumPy arrays.  Labels are whole numbers from 0, of any dtype, or the classes'
    names.  Bad input raises :class:`backendmlp.InputError`; data that can be used and are probably
    not meant so give a :class:`backendmlp.DataWarning`.

    After :meth:`fit` or :meth:`load`: ``parameters`` (read-only host arrays "W1" (F, H), "b1" (H,),
    "W2" (H, C), "b2" (C,); to change one, put another array in its place), ``history`` (a list of
    :class:`EpochRecord`), ``class_names``, ``image_shape``, and ``unit`` ((F,) float64: what one of
    each column is worth where float features were settled, in bitwise numerics; else None).

    A model can be copied and pickled: the copy opens its backend when it is first used.
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
        self.to(backend, device)
        self.parameters: dict[str, np.ndarray] = {}
        self.unit: np.ndarray | None = None
        self.history: list[EpochRecord] = []
        self.class_names: tuple[str, ...] = ()
        self.image_shape: tuple[int, ...] = ()
        self._scorer: tuple[list[Any], list[Array], Scorer] | None = None

    def to(self, backend: str, device: str | None = None) -> MLP:
        """Work on another backend from now on; returns the model itself."""
        self._backend: Backend | None = backends.select(backend, device)
        self._place = backend, device
        return self

    @property
    def backend(self) -> Backend:
        """Where host arrays are worked on; raises :class:`InputError` where it cannot be had."""
        if self._backend is None:
            try:
                self._backend = backends.select(*self._place)
            except InputError as error:
                raise InputError(
                    f"{error}; or move this model to another backend, as with mlp.to('numpy')"
                ) from error
        return self._backend

    def fit(
        self,
        images: Array,
        labels: Array,
        *,
        test: tuple[Array, Array] | None = None,
        class_names: Sequence[str] | None = None,
        parameters: Mapping[str, Array] | None = None,
        order: Sequence[Array] | None = None,
        on_epoch: Callable[[EpochRecord], None] = lambda record: None,
    ) -> MLP:
        """Train on ``images`` (N, ...) and ``labels`` (N,), from the start.

        ``test``, a pair of images and labels, is evaluated after each epoch.  ``class_names`` has a
        name for each class, and so says how many there are; without it there are as many as the
        largest label asks for, called "0", "1" and so on, or as there are names among the labels,
        in the order of their characters.  ``parameters`` replaces the He-normal start, and
        ``order``, one array of indices (N,) for each epoch, the shuffles: with both, somebody
        else's run is repeated exactly.
        """
        arithmetic, at = self.config.arithmetic(), self._backend_for(images)
        with at.scope(), memory.explained(at, self.config):
            x = inputs.images(at, images, arithmetic.dtype)
            names = inputs.class_names(class_names, labels)
            y = inputs.labels(at, labels, x.shape[0], len(names) or None, names)
            classes = len(names) or inputs.count_classes(at, y)
            names = names or tuple(map(str, range(classes)))
            start = self._start(parameters, x.shape[1], classes)
            shown = None
            if test is not None:
                test_x = inputs.images(at, _pair(test)[0], arithmetic.dtype, x.shape[1])
                shown = test_x, inputs.labels(at, test[1], test_x.shape[0], classes, names)
            mistakes.look_at_images(x)
            if class_names is None:
                mistakes.look_at_labels(y, classes)
            unit = None
            if needs_unit(self.config.numerics, x):
                unit = feature_unit(x)
                x = settled(x, unit)
                shown = shown and (settled(shown[0], unit), shown[1])
            trainer = Trainer(
                at, self.config, start, x, y, _orders(order, self.config.epochs), unit
            )
            self.history = []
            self.unit = None if unit is None else _read_only(to_numpy(unit).copy())
            self.class_names = names
            self.image_shape = tuple(np.shape(images)[1:])
            try:
                for record in train(trainer, shown):
                    self.history.append(record)
                    on_epoch(record)
            finally:
                self._keep(trainer.fetched())
        return self

    def predict(self, images: Array) -> Array:
        """The number of each image's most probable class, int64 (N,).

        Its name is ``class_names[number]``, also where the labels were names.
        """
        return self._shown(images, lambda s, x: s.classes(x))

    def predict_proba(self, images: Array) -> Array:
        """Softmax probabilities, (N, C)."""
        return self._shown(images, lambda s, x: s.probabilities(x))

    def loss(self, images: Array, labels: Array) -> Array:
        """The mean cross-entropy, a 0-d array of the images' library."""

        def mean(scorer: Scorer, x: Array) -> Array:
            y = self._labels(images, labels, x.shape[0])
            return evaluation.loss(scorer.arithmetic, scorer.score(x, y))

        return self._shown(images, mean)

    def evaluate(self, images: Array, labels: Array) -> Evaluation:
        """Mean cross-entropy and accuracy on ``images`` (N, ...) and ``labels`` (N,)."""
        result: list[Evaluation] = []

        def both(scorer: Scorer, x: Array) -> Array:
            y = self._labels(images, labels, x.shape[0])
            scores = scorer.score(x, y)
            result.append(evaluation.evaluate(scorer.arithmetic, scores, y))
            return scores.probabilities

        self._shown(images, both)
        return result[0]

    def score(self, images: Array, labels: Array) -> float:
        """The accuracy on ``images`` (N, ...) and ``labels`` (N,), as in scikit-learn."""
        return self.evaluate(images, labels).accuracy

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to ``path`` as safetensors, with its configuration and class names."""
        from backendmlp.runs.modelfile import save_model

        self._fitted()
        tensors = dict(self.parameters)
        metadata: dict[str, Any] = {
            "config": self.config.as_dict(),
            "class_names": list(self.class_names),
            "image_shape": list(self.image_shape),
        }
        if self.unit is not None:
            tensors["unit"] = self.unit
            metadata["definition"] = definition(self.config.numerics, pixels=False)
        save_model(path, tensors, metadata)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, backend: str = "numpy", device: str | None = None
    ) -> MLP:
        """The model that :meth:`save` or ``backendmlp train`` wrote to ``path``."""
        from backendmlp.runs.modelfile import load_model

        parameters, metadata = load_model(path)
        try:
            result = cls(**metadata["config"], backend=backend, device=device)
        except TypeError as error:
            raise InputError(f"{path}: its configuration is not of this version") from error
        unit = parameters.pop("unit", None)
        if unit is not None and result.config.numerics != "bitwise":
            raise InputError(
                f"model file {str(path)!r} has a unit, which is for bitwise numerics alone; train "
                "it anew"
            )
        known = definition(result.config.numerics, pixels=unit is None)
        if (found := metadata.get("definition", 1)) != known:
            raise InputError(
                f"model file {str(path)!r} was made under definition {found}; this version "
                f"computes definition {known}; train it anew"
            )
        result.unit = None if unit is None else _read_only(unit)
        result.parameters = {name: _read_only(value) for name, value in parameters.items()}
        result.class_names = tuple(metadata["class_names"])
        result.image_shape = tuple(metadata["image_shape"])
        return result

    def __repr__(self) -> str:
        choices = {**self.config.as_dict(), "backend": self._place[0], "device": self._place[1]}
        shown = ", ".join(f"{k}={v!r}" for k, v in choices.items() if v is not None)
        return f"MLP({shown})  # {self._described()}"

    def _described(self) -> str:
        """In words: what was fitted."""
        if not self.parameters:
            return "not fitted"
        text = f"inputs {self.image_shape}, {len(self.class_names)} classes"
        if self.history:
            last = self.history[-1]
            accuracy = last.test_accuracy
            text += f", epoch {last.epoch}, train loss {last.train_loss:.4f}"
            text += "" if accuracy is None else f", test accuracy {accuracy:.2%}"
            text += f", weights sha256 {last.weights_sha256[:12]}"
        return text

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what belongs to this process: the open backend, and what is cached."""
        return {**self.__dict__, "_backend": None, "_scorer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in (*self.parameters.values(), self.unit):
            if value is not None:
                _read_only(value)

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

    def _keep(self, parameters: Mapping[str, np.ndarray]) -> None:
        self.parameters = {k: _read_only(value.copy()) for k, value in parameters.items()}

    def _fitted(self) -> None:
        if not self.parameters:
            raise InputError("the model has no weights yet; call fit first, or load a model")

    def _backend_for(self, x: Array) -> Backend:
        at = backends.of(x)
        return self.backend if at.name == "numpy" else at

    def _shown(self, images: Array, work: Callable[[Scorer, Array], Array]) -> Array:
        """What ``work`` makes of the images where they lie, in the images' own library."""
        self._fitted()
        at = self._backend_for(images)
        with at.scope(), memory.explained_use(at):
            scorer = self._scorer_on(at)
            features = self.parameters["W1"].shape[0]
            x = inputs.images(at, images, scorer.arithmetic.dtype, features)
            x = x if scorer.unit is None else settled(x, scorer.unit)
            result = work(scorer, x)
            return result if at.owns(images) else to_numpy(result)

    def _labels(self, images: Array, labels: Array, count: int) -> Array:
        at, names = self._backend_for(images), self.class_names
        return inputs.labels(at, labels, count, self.parameters["W2"].shape[1], names)

    def _scorer_on(self, at: Backend) -> Scorer:
        """That of the last call, while nothing that it was made of has changed since."""
        arrays = [*self.parameters.values(), self.unit]
        made_of = [self.config, at.name, at.label, *map(id, arrays)]
        if self._scorer is not None and self._scorer[0] == made_of:
            return self._scorer[2]
        scorer = Scorer(at, self.config.arithmetic(), self.parameters, self.unit)
        # Arrays that may be written to are not relied upon; the others are held, so that their ids
        # remain theirs.
        if not any(array is not None and array.flags.writeable for array in arrays):
            self._scorer = made_of, arrays, scorer
        return scorer


def _read_only(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


def _pair(test: Any) -> tuple[Array, Array]:
    if not isinstance(test, tuple | list) or len(test) != 2:
        found = f"{len(test)} entries" if isinstance(test, tuple | list) else type(test).__name__
        raise InputError(f"test is {found}; give a pair: test=(images, labels)")
    return test[0], test[1]


def _orders(order: Sequence[Array] | None, epochs: int) -> Callable[[int], Array] | None:
    if order is None:
        return None
    if len(order) != epochs:
        raise InputError(
            f"the order has {len(order)} entries; give one for each of {epochs} epochs"
        )
    return order.__getitem__
