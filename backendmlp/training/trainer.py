"""The epoch loop: a fresh shuffle each epoch, mini-batches, a last short batch that counts fully.

A :class:`Trainer` can stop after any batch and say where it stands; started again from there, on
this backend or another, it goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backendmlp import random
from backendmlp.arithmetic import demands
from backendmlp.backend import Backend, fetch, to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.files import require_uncut
from backendmlp.network import evaluation, model, schedules
from backendmlp.network.evaluation import Scores
from backendmlp.network.model import Parameters
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned
from backendmlp.ranks import ALONE, Ranks
from backendmlp.steps import choose
from backendmlp.steps.stepper import Rows, Stepper
from backendmlp.training import balance, stopping
from backendmlp.training.records import EpochRecord

Array = Any
Order = Callable[[int], Array]
Arrays = dict[str, np.ndarray]

_SHUFFLE = 3  # the number of the shuffles' random stream
_PIECE = 8192  # losses computed at one time
_SHOWN = 1000  # rows scored to warm up
_LARGE = 0.1  # of penalties: that they may be what a training goes astray by


class DivergenceError(InputError):
    """The loss is no longer a number; the trainer holds the last good parameters."""


@dataclass
class State:
    """Where a training stands: ``position`` rows into ``epoch`` (both from 0), in host memory.

    ``learned`` are the parameters and the optimiser's slots by name, ``parts`` what the epoch's
    loss is made of so far, (position,) each.  ``before`` is what was learned before the epoch, to
    go back to if it diverges; None where that is ``learned`` itself (position 0), or unknown (a
    checkpoint of format 1).  ``best`` are the parameters of the best epoch, where those are kept.
    """

    epoch: int
    position: int
    learned: Arrays
    parts: Arrays
    before: Arrays | None = None
    best: Arrays | None = None


@dataclass(frozen=True)
class Start:
    """Where a training begins that goes on from another: after ``epoch`` epochs and ``steps``.

    ``learned`` are parameters in host memory or on the device, and slots perhaps; the parameters
    are settled here, and never again, since settling twice is not settling once (a weight beyond
    2**22 would change).  ``course`` is how far an adaptive rate has come.
    """

    learned: Mapping[str, Array]
    epoch: int = 0
    steps: int = 0
    settled: bool = False
    course: stopping.Course | None = None


class Trainer:
    """Trains on ``rows``, which lie on ``backend``'s device, from ``start``.

    ``order`` gives an epoch's order of the rows, (n,) indices; by default each epoch has a shuffle
    of its own, drawn from the seed.  ``unit`` (F,) is what one of each column is worth, where the
    inputs are settled features.  ``subset`` (n,) are the numbers of the rows to train on, if not
    all of them.  With ``ranks`` each of several processes has such a trainer, of the same rows, and
    all that is learned; they share the work of each batch.
    """

    epoch: int
    position: int
    stepper: Stepper
    _indices: Array
    _parts: list[tuple[Array, ...]]
    _fetched: Arrays | None  # what is learned as it stands, once asked for
    _drawn: tuple[int, Future[np.ndarray]] | None = None  # an epoch, and its shuffle, drawn ahead

    # Of the first batch, before any step; None before the first epoch ends, or if it was resumed.
    first_loss: float | None

    def __init__(
        self,
        backend: Backend,
        config: Config,
        start: Start,
        rows: Rows,
        order: Order | None = None,
        unit: Array | None = None,
        subset: np.ndarray | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.backend, self.config, self.recipe = backend, config, config.recipe()
        self.ranks = ranks
        self.arithmetic = self.recipe.arithmetic
        demands.require(backend, self.arithmetic)
        self._unit, self._subset, self._start = unit, subset, start
        self._order = order or self._shuffle
        learned = self._on_device(start.learned)
        if not start.settled:
            parameters = model.settle(self.arithmetic, learned.parameters.as_dict(), unit)
            learned = replace(learned, parameters=parameters)
        outputs = learned.parameters.sizes[-1]
        self.rows = balance.weighed(backend, config, rows, outputs, subset)
        self.course = start.course or stopping.begin(config)
        self._best: Arrays | None = None
        self.first_loss: float | None = None
        self._go_on(learned, start.epoch)

    @property
    def kept(self) -> str:
        """In words, the weights that the training falls back to if it diverges in this epoch."""
        return "of before that epoch" if self._before_known else "it went on with in that epoch"

    @property
    def parameters(self) -> Parameters:
        return self.stepper.learned.parameters

    @property
    def count(self) -> int:
        """The number of rows in an epoch."""
        return self.rows.inputs.shape[0] if self._subset is None else len(self._subset)

    @property
    def last(self) -> int:
        """How many epochs the training has been through at its end, if it does not end early."""
        return self._start.epoch + self.config.epochs

    @property
    def through(self) -> bool:
        """Whether it is at its end, early perhaps."""
        return self.epoch >= self.last or self.course.ended

    @property
    def guessing(self) -> float:
        """The mean loss of a network that knows nothing but what targets are like."""
        return balance.guessing(self.config, self.rows, self.parameters.sizes[-1])

    @property
    def steps(self) -> int:
        """How many steps were made, in trainings before this one too."""
        return self._first_step(self.epoch, self.position)

    def fetched(self) -> Arrays:
        """All that is learned, in host memory, to be read only; it leaves the device once."""
        if self._fetched is None:
            self._fetched = fetch(self.stepper.learned.as_dict(self.recipe))
        return self._fetched

    def weights(self) -> Arrays:
        """The parameters in host memory, to be read only."""
        return Parameters.of(self.fetched()).as_dict()

    def warm_up(self, shown: tuple[Array, Array] | None = None) -> None:
        """A step of each size on a copy and an epoch's end, thrown away.

        A device compiles at first use, and is sent the tables that a size of batch needs; what is
        ``shown`` after each epoch, inputs and targets, is scored too, a piece of it.
        """
        stepper = self._new_stepper(self._on_device(self.fetched()))
        size = self.config.batch_size
        order = self._indices[: min(size + self.count % size, self.count)]
        parts = stepper.advance(self.rows, order, size, self._coefficients(0, order.shape[0]))
        mean = evaluation.mean(self.arithmetic, self.recipe.loss.rows(self.arithmetic, parts))
        fetch({"loss": mean, **stepper.learned.as_dict(self.recipe)})
        if shown is not None:
            count = min(_SHOWN, shown[0].shape[0])
            inputs, targets = shown[0][:count, :], shown[1][:count, ...]
            scores = stepper.score(inputs, targets)
            evaluation.evaluate_and_fetch(self.arithmetic, self.recipe.loss, scores, targets)
        self.backend.synchronize()

    def advance(self, batches: int) -> bool:
        """Go through up to ``batches`` more mini-batches; whether the epoch is through."""
        size = self.config.batch_size
        stop = min(self.position + batches * size, self.count)
        if stop > self.position:
            require_uncut(self.rows.inputs)
            self._fetched = None
            order = self._indices[self.position : stop]
            coefficients = self._coefficients(self.position, stop - self.position)
            self._parts.append(self.stepper.advance(self.rows, order, size, coefficients))
            self.position = stop
            if stop == self.count:
                self._draw_ahead()
        return self.position == self.count

    def score(self, inputs: Array, targets: Array) -> Scores:
        """What the network as it stands makes of ``inputs`` (N, F) and ``targets``."""
        require_uncut(inputs)
        return self.stepper.score(inputs, targets)

    def finish_epoch(self) -> float:
        """Close the epoch and return its mean training loss, the first value fetched in it.

        What is learned leaves the device with it, in one transfer.

        Raises :class:`DivergenceError` if the loss or a number learned is not finite; what is
        learned is then that of the end of the epoch before.
        """
        learned = self.stepper.learned
        fetched = fetch({**self._mean_losses(), **learned.as_dict(self.recipe)})
        loss, begun = float(fetched.pop("loss")), fetched.pop("first", None)
        if not (math.isfinite(loss) and all(np.isfinite(v).all() for v in fetched.values())):
            self.stepper = self._new_stepper(self._before)
            self._fetched = None
            if self._before_known:  # the steps taken back do not count
                self.position, self._parts = 0, []
            raise DivergenceError(
                f"the training diverged in epoch {self.epoch + 1}: the loss or a weight is not "
                f"finite any more; the weights {self.kept} are kept, {calming(self.config)}"
            )
        if begun is not None:
            self.first_loss = float(begun)
        self._begin(self.epoch + 1, learned)
        self._fetched = fetched
        return loss

    def follow(self, record: EpochRecord) -> None:
        """Take in what an epoch came to: a rate may change, and the training end."""
        best = self.course.best_epoch
        self.course = stopping.after(self.course, self.config, record)
        if self.course.best_epoch > best and stopping.keeps_best(self.config, record):
            self._best = _copies(self.weights())

    def replay(self, records: Iterable[EpochRecord]) -> None:
        """Find the course again that epochs with ``records`` led to."""
        self.course = stopping.replayed(self.config, records, self._start.course)

    def take_best(self) -> None:
        """Put the best epoch's parameters in the place of the last ones', where they are kept."""
        if self._best is not None:
            learned = {**self.fetched(), **self._best}
            self.stepper = self._new_stepper(self._on_device(learned))
            self._fetched = None

    def state(self) -> State:
        """Where the training stands, as host arrays of its own."""
        self._join_parts()
        names = self.recipe.loss.parts
        parts = {name: np.empty(0, self.arithmetic.dtype) for name in names}
        if self._parts:
            parts = _copies(fetch(dict(zip(names, self._parts[0], strict=True))))
        before = _copies(fetch(self._before.as_dict(self.recipe))) if self.position else None
        return State(self.epoch, self.position, _copies(self.fetched()), parts, before, self._best)

    def state_before(self) -> State:
        """Where the training stood before the epoch it is in, or at the beginning of."""
        parts = {name: np.empty(0, self.arithmetic.dtype) for name in self.recipe.loss.parts}
        learned = _copies(fetch(self._before.as_dict(self.recipe)))
        return State(self.epoch, 0, learned, parts, best=self._best)

    def restore(self, state: State) -> None:
        """Go on from ``state``, which another trainer, on any backend, has left."""
        self._go_on(self._on_device(state.learned), state.epoch)
        self.position, self._best = state.position, state.best
        if state.position:
            dtype = self.arithmetic.dtype
            self._parts = [tuple(self.backend.asarray(x, dtype) for x in state.parts.values())]
            self._before_known = state.before is not None
        if state.before is not None:
            self._before = self._on_device(state.before)

    def _mean_losses(self) -> dict[str, Array]:
        """The epoch's mean loss, and of the first epoch that of its first batch, before any step.

        In the host's memory rows' losses are found piece by piece, to stay within caches.
        """
        self._join_parts()
        xp, parts = self.backend.xp, self._parts[0]
        size = _PIECE if self.backend.in_memory else self.count
        pieces = [slice(at, min(at + size, self.count)) for at in range(0, self.count, size)]
        losses = [
            self.recipe.loss.rows(self.arithmetic, tuple(x[piece] for x in parts))
            for piece in pieces
        ]
        weights = self.rows.weights
        if weights is not None:
            weights = xp.take(weights, self._indices, axis=0)
        found, size = xp.concat(losses), min(self.config.batch_size, self.count)
        means = {"loss": evaluation.mean(self.arithmetic, found, weights)}
        if self.epoch == self._start.epoch:
            first = None if weights is None else weights[:size]
            means["first"] = evaluation.mean(self.arithmetic, found[:size], first)
        return means

    def _join_parts(self) -> None:
        if len(self._parts) > 1:
            concat = self.backend.xp.concat
            self._parts[:] = [tuple(concat(x) for x in zip(*self._parts, strict=True))]

    def _first_step(self, epoch: int, position: int) -> int:
        size = self.config.batch_size
        per_epoch = -(-self.count // size)
        return self._start.steps + (epoch - self._start.epoch) * per_epoch - (-position // size)

    def _coefficients(self, position: int, count: int) -> Coefficients:
        """The numbers of the steps on ``count`` rows from ``position`` on, in this epoch."""
        first, steps = self._first_step(self.epoch, position), -(-count // self.config.batch_size)
        course = schedules.course(
            self.config.epochs,
            -(-self.count // self.config.batch_size),
            self.config.warmup,
            self.config.decay,
            self.config.decay_every,
        )
        rates = schedules.rates(self.config.schedule, self.course.rate, first, steps, course)
        return self.recipe.optimizer.coefficients(rates, first, self.config.weight_decay or 0.0)

    def _go_on(self, learned: Learned, epoch: int) -> None:
        self.stepper = self._new_stepper(learned)
        self._begin(epoch, self.stepper.learned)

    def _begin(self, epoch: int, learned: Learned) -> None:
        """Begin an epoch with what is ``learned``, nobody else's to change."""
        self.epoch, self.position = epoch, 0
        self._parts = []
        self._fetched = None
        self._before, self._before_known = learned, True
        # After the last epoch there is no order to be had from a caller who gave one for each.
        if epoch < self.last:
            self._indices = self._checked(self._order(epoch))

    def _on_device(self, learned: Mapping[str, Array]) -> Learned:
        dtype = self.arithmetic.dtype
        on_device = {k: self.backend.asarray(v, dtype) for k, v in learned.items()}
        found = Learned.of(self.recipe, on_device, self._unit)
        return replace(found, parameters=model.entering(found.parameters))

    def _new_stepper(self, learned: Learned) -> Stepper:
        return choose.stepper(self.backend, self.recipe, learned, self.rows, self.ranks)

    def _shuffle(self, epoch: int) -> np.ndarray:
        drawn, self._drawn = self._drawn, None
        if drawn is not None and drawn[0] == epoch:
            return drawn[1].result()
        return self._permutation(epoch)

    def _permutation(self, epoch: int) -> np.ndarray:
        return random.permutation(random.stream(self.config.seed, _SHUFFLE, epoch), self.count)

    def _draw_ahead(self) -> None:
        """Draw the next epoch's shuffle beside a device that is still at work on this one.

        In a thread, since a GPU's epoch can end before it is drawn.
        """
        following = self.epoch + 1
        if self._order == self._shuffle and following < self.last and not self.backend.in_memory:
            pool = ThreadPoolExecutor(1)  # one for each: a process forked later has no threads
            self._drawn = following, pool.submit(self._permutation, following)
            pool.shutdown(wait=False)

    def _checked(self, order: Array) -> Array:
        found = checked_order(order, self.count, self.epoch + 1)
        return self.backend.asarray(found if self._subset is None else self._subset[found], "int64")


def calming(config: Config) -> str:
    """What a user can do about a training that goes astray."""
    large = {"l2": config.l2, "weight_decay": config.weight_decay or 0.0}
    more = [f"{name} (now {value:g})" for name, value in large.items() if value >= _LARGE]
    return " or ".join([f"lower the learning rate (now {config.lr:g})", *more])


def checked_order(order: Array, count: int, epoch: int) -> np.ndarray:
    """The ``order`` of ``count`` rows in the epoch with this number, int64 (count,)."""
    try:
        found = to_numpy(order)
    except (TypeError, ValueError):  # lists of different lengths
        found = np.empty(())
    if found.shape != (count,) or found.dtype.kind not in "iu":
        raise InputError(
            f"the order of epoch {epoch} has shape {found.shape} and dtype {found.dtype}; give "
            f"{count} whole numbers, one for each row"
        )
    if found.min() < 0 or found.max() >= count:
        raise InputError(
            f"the order of epoch {epoch} points outside the {count} rows; give indices from 0"
        )
    return found.astype(np.int64, copy=False)


def _copies(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: value.copy() for name, value in arrays.items()}
