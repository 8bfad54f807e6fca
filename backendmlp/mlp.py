"""The multi-layer perceptron as a library's user meets it: fit, predict, loss, save, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np

from backendmlp import backend as backends
from backendmlp import inputs, memory, mistakes
from backendmlp.arithmetic import Arithmetic
from backendmlp.backend import Backend, namespace, to_numpy
from backendmlp.config import Config, definition, require_known, weights_of_some
from backendmlp.digests import digest, may_change, read_only
from backendmlp.distributed.joining import begin, joined
from backendmlp.errors import InputError
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Evaluation
from backendmlp.network.model import Parameters
from backendmlp.steps.scoring import Scorer
from backendmlp.training import beginning, stopping
from backendmlp.training.balance import by_name
from backendmlp.training.epochs import nothing, train, train_epoch, warn_caller
from backendmlp.training.given import Given, Pair, pair, shown_soon, taken
from backendmlp.training.records import EpochRecord
from backendmlp.training.trainer import DivergenceError, Start, Trainer

Array = Any

_SHOWN = ("hidden", "epochs", "batch_size", "lr", "seed", "numerics", "backend")  # in any repr
_CHOICES = frozenset(field.name for field in fields(Config))


class MLP:
    """Affine layers with an activation between them, trained by mini-batch gradient descent.

    By default one hidden layer of 100 units, ReLU, softmax and cross-entropy; the choices are those
    of :class:`backendmlp.Config`, by name; ``class_weight`` may also map classes, by their names or
    numbers, to what a row of them counts for.  They are kept in ``config``; to change one, put
    another in its place: ``mlp.config = dataclasses.replace(mlp.config, lr=0.01)``.

    Images are (N, ...) arrays: uint8 pixels, worth 1/255 a level, or floats (or booleans) that
    stand for themselves.  Arrays of CuPy or PyTorch stay on their device, and what comes back is of
    their library; all else, NumPy arrays, tables and nested lists, is worked on by ``backend`` and
    comes back as NumPy arrays.  Labels are whole numbers from 0, of any dtype, or the classes'
    names; with ``loss="squared_error"`` they are real numbers, (N,) or (N, C).  Bad input raises
    :class:`backendmlp.InputError`; data that can be used and are probably not meant so give a
    :class:`backendmlp.DataWarning`.

    After :meth:`fit`, :meth:`partial_fit` or :meth:`load`: ``parameters`` (read-only host arrays
    "W1" (F, H1), "b1" (H1,), "W2" (H1, H2) and so on; to change one, put another array in its
    place), ``history`` (a list of :class:`EpochRecord`), ``last_loss`` (the mean training loss of
    the last epoch or partial fit), ``class_names``, ``image_shape``, and
    ``unit`` ((F,) float64: what one of each column is worth where float features were settled, in
    bitwise numerics; else None).

    With ``warm_start`` another :meth:`fit` goes on where the last one ended, its optimiser too:
    two times five epochs are ten.  A model can be copied and pickled: the copy opens its backend
    when it is first used.
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = 100,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        lr: float | None = None,
        seed: int = 100,
        numerics: str = "bitwise",
        dtype: str | None = None,
        backend: str = "numpy",
        device: str | None = None,
        warm_start: bool = False,
        **choices: Any,
    ) -> None:
        require_known(choices)
        weights = choices.get("class_weight")
        self._by_class = None
        if isinstance(weights, Mapping):  # until the data tell which classes there are
            self._by_class = weights_of_some(weights, choices.get("loss"))
            choices["class_weight"] = None
        self.config = Config(
            hidden,  # type: ignore[arg-type]
            epochs,
            batch_size,
            lr,
            seed,
            numerics,
            dtype,
            **choices,  # type: ignore[arg-type]
        )
        self.to(backend, device)
        self.warm_start = warm_start
        self.parameters: dict[str, np.ndarray] = {}
        self.unit: np.ndarray | None = None
        self.history: list[EpochRecord] = []
        self.last_loss: float | None = None
        self.class_names: tuple[str, ...] = ()
        self.image_shape: tuple[int, ...] = ()
        self._slots: dict[str, np.ndarray] = {}  # the optimiser's
        self._steps = 0  # made so far, by which an optimiser knows how far it is
        self._course = self.config, stopping.begin(self.config)  # of an adaptive rate
        self.flat = True  # whether targets are (N,), and so are predictions of them
        self._pixels: bool | None = None  # whether it learned from some; None: a file's, see below
        self._columns: tuple[str, ...] | None = None  # of the table that it learned from
        self._scorer: tuple[list[Any], list[Array], Scorer] | None = None

    @classmethod
    def of(
        cls,
        parameters: Mapping[str, Array],
        *,
        class_names: Sequence[str] | None = None,
        image_shape: Sequence[int] | None = None,
        **choices: Any,
    ) -> MLP:
        """A model with somebody else's ``parameters``, "W1" (F, H1), "b1" (H1,) and so on.

        ``hidden`` follows from them.  It predicts, as it stands, for pixels and for features;
        training goes on with ``warm_start=True`` or :meth:`partial_fit`, where float features are
        settled as those ask for.
        """
        if not isinstance(parameters, Mapping):
            kind = type(parameters).__name__
            raise InputError(f"parameters is {kind}; give a dictionary of W1, b1, W2 and so on")
        if "hidden" in choices:
            raise InputError("hidden follows from the parameters; leave it out")
        arrays = {name: to_numpy(value) for name, value in parameters.items()}
        sizes = beginning.chained(arrays)
        result = cls(sizes[1:-1], **choices)
        beginning.require_sane(arrays)
        names = inputs.class_names(class_names, np.empty(0))
        if not result.config.regression:
            names = names or tuple(map(str, range(sizes[-1])))
            if len(names) != sizes[-1] or len(names) < 2:
                raise InputError(
                    f"there are {len(names)} classes and {sizes[-1]} outputs; give a name for each "
                    "of at least two outputs, or loss='squared_error'"
                )
        arithmetic = result.config.arithmetic()
        kept = model.settle(arithmetic, arrays).as_dict()
        result.parameters = {k: read_only(np.array(v)) for k, v in kept.items()}
        result.class_names, result.flat = names, sizes[-1] == 1
        result._pixels = False  # of either kind, and so neither is a mistake
        result.image_shape = tuple(image_shape or (sizes[0],))
        return result

    def to(self, backend: str, device: str | None = None) -> MLP:
        """Work on another backend from now on; returns the model itself."""
        self._backend: Backend | None = backends.select(backend, device)
        self._place = backend, device
        return self

    def forget_steps(self) -> MLP:
        """Let a warm start or partial fit begin the optimiser anew; weights and history stay."""
        self._slots, self._steps = {}, 0
        self._course = self.config, stopping.begin(self.config)
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
        sample_weight: Array | None = None,
        validation: tuple[Array, Array] | None = None,
        test: tuple[Array, Array] | None = None,
        class_names: Sequence[str] | None = None,
        parameters: Mapping[str, Array] | None = None,
        order: Sequence[Array] | None = None,
        on_epoch: Callable[[EpochRecord], None] = lambda record: None,
        callbacks: Sequence[Callable[[MLP, EpochRecord], Any]] = (),
        distributed: bool = False,
    ) -> MLP:
        """Train on ``images`` (N, ...) and ``labels`` (N,), from the start.

        ``sample_weight`` (N,), none negative, is what each row counts for.  ``validation``, a pair
        of images and labels, is evaluated after each epoch, and may end the training (``patience``
        in :class:`Config`); so are ``test`` data, which never change anything.  ``class_names`` has
        a name for each class, and so says how many there are; without it there are as many as the
        largest label asks for, called "0", "1" and so on, or as there are names among the labels,
        in the order of their characters.

        ``parameters`` replaces the random start, and ``order``, one array of indices (N,) for each
        epoch, the shuffles: with both, somebody else's run is repeated exactly.

        ``callbacks`` are called with the model, as it stands, and the record after each epoch; one
        that returns True ends the training.

        Images may be read where they lie: leave them as they are until this returns.  Whatever
        ends it before, an interrupt too, leaves the model as it was after the last whole
        epoch, or before the call where there was none; only a training that diverges keeps the
        weights that its error tells of.

        With ``distributed`` the processes that ``mpiexec`` started, each of which calls this with
        the same data, share each batch; all end with the bits of a single one.
        """
        on = self.warm_start and bool(self.parameters) and parameters is None
        beginning.require_functions("callbacks", callbacks)
        beginning.require_functions("on_epoch", [on_epoch])
        if on:
            beginning.require_endless(self.config)
        with self._going_back() as reached, joined(distributed) as ranks, self._scope(images) as at:
            given = self._given(at, images, labels, sample_weight, class_names, on)
            held, subset = given.held_back(at, self.config, validation)
            start = self._begin(given, parameters, on)
            tested = None
            if test is not None:
                tested = given.alike(at, self.config, *pair("test", test))
            if ranks.rank == 0:
                given.look(self.config, self.warm_start)
            count = given.rows.inputs.shape[0] if subset is None else len(subset)
            orders = beginning.orders(order, self.config.epochs, start.epoch, count)
            begin(ranks, self.config, lambda: _facts(given, start, tested, held, order))
            rows, unit = given.rows, given.unit
            trainer = Trainer(at, self.config, start, rows, orders, unit, subset, ranks)
            self.history = [*self.history] if start.settled else []  # copies have it too
            self._adopt(given)
            warn = warn_caller if ranks.rank == 0 else nothing
            with self._keeping(trainer):
                for record in train(trainer, tested, held, warn=warn):
                    self._keep(trainer)
                    self.history.append(record)
                    self.last_loss = record.train_loss
                    reached()
                    on_epoch(record)
                    # All ranks ask: some may have been given callbacks, and others none.
                    if ranks.most(bool(callbacks) and self._told(record, callbacks)):
                        break
                trainer.take_best()
        return self

    def partial_fit(
        self,
        images: Array,
        labels: Array,
        *,
        sample_weight: Array | None = None,
        class_names: Sequence[str] | None = None,
    ) -> MLP:
        """Learn from ``images`` (N, ...) and ``labels`` (N,) once, in the order given.

        A step is made for each ``batch_size`` of them, the last perhaps of fewer: batch after
        batch of an epoch gives the bits of :meth:`fit`.  The first call needs all ``class_names``,
        unless its labels show them; float features are settled as those of the first call ask for.
        Rows that all have a weight of zero are refused, as in scikit-learn: leave such a call out.
        """
        beginning.require_open(self.config)
        with self._going_back(), self._scope(images) as at:
            on = bool(self.parameters)
            given = self._given(at, images, labels, sample_weight, class_names, on)
            start = self._begin(given, None, on)
            if not on:
                given.look_at_inputs(self.config)
            one = replace(self.config, epochs=1, patience=None, tol=None, monitor=None)
            count = given.rows.inputs.shape[0]
            trainer = Trainer(
                at, one, start, given.rows, lambda epoch: np.arange(count), given.unit
            )
            if not start.settled:
                self.history = []
            self._adopt(given)
            with self._keeping(trainer):
                train_epoch(trainer)
                self.last_loss = trainer.finish_epoch()
        return self

    def predict(self, images: Array) -> Array:
        """The number of each image's most probable class, int64 (N,).

        Its name is ``class_names[number]``, also where the labels were names.  Of a regression,
        the outputs, of the targets' shape.
        """
        if not self.config.regression:
            return self._shown(images, lambda s, x: s.classes(x))
        return self._shown(images, lambda s, x: s.outputs(x)[:, 0] if self.flat else s.outputs(x))

    def predict_proba(self, images: Array) -> Array:
        """Softmax probabilities, (N, C)."""
        if self.config.regression:
            raise InputError("a regression has no probabilities; call predict")
        return self._shown(images, lambda s, x: s.outputs(x))

    def predict_log_proba(self, images: Array) -> Array:
        """The logarithms of :meth:`predict_proba`, (N, C); -inf of what is zero."""
        if self.config.regression:
            raise InputError("a regression has no probabilities; call predict")
        return self._shown(images, lambda s, x: _log(s.recipe.arithmetic, s.outputs(x)))

    def loss(self, images: Array, labels: Array) -> Array:
        """The mean loss, a 0-d array of the images' library."""

        def mean(scorer: Scorer, x: Array) -> Array:
            y = self._labels(images, labels, x.shape[0])
            recipe = scorer.recipe
            return evaluation.loss(recipe.arithmetic, recipe.loss, scorer.score(x, y))

        return self._shown(images, mean)

    def evaluate(self, images: Array, labels: Array) -> Evaluation:
        """Mean loss, and accuracy or R squared, on ``images`` (N, ...) and ``labels``."""
        result: list[Evaluation] = []

        def both(scorer: Scorer, x: Array) -> Array:
            y = self._labels(images, labels, x.shape[0])
            scores, recipe = scorer.score(x, y), scorer.recipe
            result.append(evaluation.evaluate(recipe.arithmetic, recipe.loss, scores, y))
            return scores.outputs

        self._shown(images, both)
        return result[0]

    def score(self, images: Array, labels: Array) -> float:
        """The accuracy, or R squared, on ``images`` (N, ...) and ``labels``.

        What scikit-learn can search and put into pipelines is :class:`backendmlp.MLPClassifier`.
        """
        return self.evaluate(images, labels).score

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to ``path`` as safetensors: all that predictions need, and its choices.

        What its optimiser has gathered is not kept: a loaded model that is trained on begins that
        anew.  ``train_run`` and ``resume_run`` keep it.
        """
        from backendmlp.runs.modelfile import described, save_model

        self._fitted()
        tensors = dict(self.parameters)
        if self.unit is not None:
            tensors["unit"] = self.unit
        about = self.class_names, self.image_shape, self.flat, self.unit
        metadata = described(self.config, *about)
        save_model(path, tensors, metadata)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, backend: str = "numpy", device: str | None = None
    ) -> MLP:
        """The model that :meth:`save` or ``backendmlp train`` wrote to ``path``.

        To train it on, set its ``warm_start`` or call :meth:`partial_fit`; its optimiser, and the
        count of its epochs and steps, begin anew.
        """
        from backendmlp.runs.modelfile import load_model

        parameters, metadata = load_model(path)
        result = cls(**metadata["config"], backend=backend, device=device)
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
        result.unit = None if unit is None else read_only(unit)
        result.parameters = {name: read_only(value) for name, value in parameters.items()}
        result.class_names = tuple(metadata["class_names"])
        result.image_shape = tuple(metadata["image_shape"])
        result.flat = metadata.get("flat", True)
        return result

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse what would be of no effect: choices are ``config``'s, and others are not known."""
        if name in _CHOICES:
            raise AttributeError(
                f"MLP has no attribute {name!r} of its own; write mlp.config = "
                f"dataclasses.replace(mlp.config, {name}={value!r:.80}), or make another MLP"
            )
        made = "_scorer" in self.__dict__  # the last that is set when a model is made
        if type(self) is MLP and made and name not in self.__dict__ and not hasattr(MLP, name):
            known = ", ".join(name for name in self.__dict__ if name[0] != "_")
            raise AttributeError(f"MLP has no attribute {name!r} to set; it has {known}")
        if name == "warm_start" and not isinstance(value, bool | np.bool_):
            raise InputError(f"warm_start is {value!r:.80}; give True or False")
        if name == "config":
            if not isinstance(value, Config):
                raise InputError(f"config is {type(value).__name__}; give a backendmlp.Config")
            if "config" in self.__dict__:
                self._by_class = None  # the new one says what there is to say
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        usual = {**Config().as_dict(), "device": None}
        choices = {**self.config.as_dict(), "backend": self._place[0], "device": self._place[1]}
        choices["hidden"] = self.config.hidden
        if len(self.config.hidden) == 1:
            choices["hidden"] = self.config.hidden[0]
        if self._by_class is not None:
            choices["class_weight"] = self._by_class
        shown = ", ".join(
            f"{k}={v!r}" for k, v in choices.items() if k in _SHOWN or v != usual.get(k)
        )
        return f"MLP({shown})  # {self._described()}"

    def _described(self) -> str:
        """In words: what was fitted, and how well where the weights are those of an epoch."""
        if not self.parameters:
            return "not fitted"
        try:
            found, outputs = digest(self.parameters), self._outputs
        except (InputError, LookupError, AttributeError):  # whatever somebody has put there
            return "weights of no known form"
        kind = "outputs" if self.config.regression else "classes"
        text = f"inputs {self.image_shape}, {outputs} {kind if outputs > 1 else kind[:6]}"
        for last in self.history[::-1]:
            if last.weights_sha256 == found:
                text += f", epoch {last.epoch}, train loss {last.train_loss:.4f}"
                if last.test_accuracy is not None:
                    text += f", test accuracy {last.test_accuracy:.2%}"
                if last.test_r2 is not None:
                    text += f", test R2 {last.test_r2:.4f}"
                break
        return f"{text}, weights sha256 {found[:12]}"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what belongs to this process: the open backend, and what is cached."""
        return {**self.__dict__, "_backend": None, "_scorer": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for value in (*self.parameters.values(), self.unit):
            if value is not None:
                read_only(value)

    @contextmanager
    def _going_back(self) -> Iterator[Callable[[], None]]:
        """Whatever is raised, the model is then as it was when the function was last called.

        Or to begin with.  A training that diverges keeps the weights that its error tells of.
        """
        kept, records = dict(vars(self)), len(self.history)

        def reached() -> None:
            nonlocal kept, records
            kept, records = dict(vars(self)), len(self.history)

        try:
            yield reached
        except DivergenceError:
            raise
        except BaseException:
            vars(self).clear()
            vars(self).update(kept)
            del self.history[records:]
            raise

    @contextmanager
    def _keeping(self, trainer: Trainer) -> Iterator[None]:
        """Keep what a training comes to, also where it diverges."""
        try:
            yield
        except DivergenceError:
            self._keep(trainer)
            raise
        self._keep(trainer)

    @contextmanager
    def _scope(self, images: Array) -> Iterator[Backend]:
        """The backend that trains on ``images``, within its scope."""
        at = self._backend_for(images)
        with at.scope(), memory.explained(at, self.config):
            yield at

    def _given(
        self,
        at: Backend,
        images: Array,
        labels: Array,
        sample_weight: Array | None,
        class_names: Sequence[str] | None,
        on: bool,
    ) -> Given:
        """What a caller gives to train on, checked and on its device; ``on`` from where it was."""
        if class_names is None and on and not self.config.regression:
            class_names = self.class_names
        if on:
            inputs.require_columns(images, self._columns, "training")
        unit = self.unit if on else None
        given = taken(at, self.config, images, labels, sample_weight, class_names, unit)
        if on:
            mistakes.look_at_shown(given.raw, self._saw_pixels, self.unit)
        if self._by_class is not None:
            weights = by_name(self._by_class, given.names)
            self.__dict__["config"] = replace(self.config, class_weight=weights)
        return given

    def _begin(self, given: Given, parameters: Mapping[str, Array] | None, on: bool) -> Start:
        """Where to begin: where the last training ended, or with parameters given or drawn."""
        if not on:
            return beginning.anew(self.config, given, parameters)
        sizes = beginning.sizes_for(self.config, given)
        beginning.require_same(Parameters.of(self.parameters).sizes, sizes)
        beginning.require_shapes(self.parameters, sizes, "the model's parameters have")
        learned = {**self.parameters, **self._slots}
        course = None
        began_with, reached = self._course
        # As many more epochs as you like: an adaptive rate does not depend on how many there are.
        if self.config.schedule == "adaptive" and self.config == replace(
            began_with, epochs=self.config.epochs
        ):
            course = reached
        return Start(learned, len(self.history), self._steps, True, course)

    def _adopt(self, given: Given) -> None:
        """Take over what predictions need to know of the data."""
        self.unit = None if given.unit is None else read_only(to_numpy(given.unit).copy())
        self.class_names, self.flat, self._pixels = given.names, given.flat, given.pixels
        self.image_shape, self._columns = given.image_shape, given.columns

    def _told(self, record: EpochRecord, callbacks: Sequence[Callable[..., Any]]) -> bool:
        """Whether one of the ``callbacks``, which see the model as it stands, ends the training."""
        told = [callback(self, record) for callback in callbacks]  # every one of them
        return any(answer is True for answer in told)

    def _keep(self, trainer: Trainer) -> None:
        learned = trainer.fetched()
        found = {k: read_only(value.copy()) for k, value in learned.items()}
        self.parameters = Parameters.of(found).as_dict()
        self._slots = {k: v for k, v in found.items() if k not in self.parameters}
        self._steps = trainer.steps
        self._course = self.config, replace(trainer.course, ended=False)

    def _fitted(self) -> None:
        if not self.parameters:
            raise InputError("the model has no weights yet; call fit first, or load a model")

    def _backend_for(self, x: Array) -> Backend:
        at = backends.of(x)
        return self.backend if at.name == "numpy" else at

    def _shown(self, images: Array, work: Callable[[Scorer, Array], Array]) -> Array:
        """What ``work`` makes of the images where they lie, in the images' own library."""
        self._fitted()
        inputs.require_columns(images, self._columns)
        at = self._backend_for(images)
        with at.scope(), memory.explained_use(at):
            scorer = self._scorer_on(at)
            sizes, dtype = scorer.sizes, scorer.recipe.arithmetic.dtype
            x = shown_soon(at, images, dtype, sizes, self._saw_pixels, scorer.unit)
            result = work(scorer, x)
            return result if at.owns(images) else to_numpy(result)

    def _labels(self, images: Array, labels: Array, count: int) -> Array:
        at, outputs = self._backend_for(images), self._outputs
        if self.config.regression:
            return inputs.targets(at, labels, count, self.config.dtype or "", outputs)
        return inputs.labels(at, labels, count, outputs, self.class_names)

    @property
    def _saw_pixels(self) -> bool | None:
        """Whether it learned from pixels; None where nobody knows, as of a native file."""
        if self._pixels is None and self.config.numerics == "bitwise":
            return self.unit is None
        return self._pixels

    @property
    def _outputs(self) -> int:
        return Parameters.of(self.parameters).sizes[-1]

    def _scorer_on(self, at: Backend) -> Scorer:
        """That of the last call, while nothing that it was made of has changed since."""
        arrays = [*self.parameters.values(), self.unit]
        made_of = [self.config, at.name, at.label, *map(id, arrays)]
        kept = self._scorer  # once: another thread may put its own there
        if kept is not None and kept[0] == made_of:
            return kept[2]
        scorer = Scorer(at, self.config.recipe(), self.parameters, self.unit)
        # Arrays that may be written to are not relied upon; the others are held, so that their ids
        # remain theirs.
        if not any(array is not None and may_change(array) for array in arrays):
            self._scorer = made_of, arrays, scorer
        return scorer


def _facts(
    given: Given, start: Start, test: Pair | None, validation: Pair | None, order: Any
) -> dict[str, str]:
    """Digests of what a training is given, by what is digested."""
    rows = given.rows
    shown = {"test": test, "validation": validation}
    arrays: dict[str, dict[str, Array]] = {
        "training data": {"inputs": rows.inputs, "targets": rows.targets, "weights": rows.weights},
        "initial parameters": dict(start.learned),
        "order": {str(epoch): x for epoch, x in enumerate(order or ())},
    }
    for name, both in shown.items():
        arrays[f"{name} data"] = {} if both is None else dict(zip("xy", both, strict=True))
    return {
        f"the digest of the {what}": digest(
            {name: to_numpy(x) for name, x in found.items() if x is not None}
        )
        for what, found in arrays.items()
    }


def _log(arithmetic: Arithmetic, x: Array) -> Array:
    """log x for x >= 0; minus infinity of zero, in every library without a word."""
    xp = namespace(x)
    some = x > 0.0
    return xp.where(some, arithmetic.log(xp.where(some, x, 1.0)), -xp.inf)
