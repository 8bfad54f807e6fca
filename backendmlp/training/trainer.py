"""The epoch loop: a fresh shuffle each epoch, mini-batches, a last short batch that counts fully.

A :class:`Trainer` can stop after any batch and say where it stands; started again from there, on
this backend or another, it goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import random
from backendmlp.arithmetic import demands
from backendmlp.backend import Backend, fetch, to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.files import require_uncut
from backendmlp.network import model
from backendmlp.network.evaluation import Scores
from backendmlp.network.model import Parameters
from backendmlp.steps import choose
from backendmlp.steps.definition import Stepper

Array = Any
Order = Callable[[int], Array]

_SHUFFLE = 3  # the number of the shuffles' random stream
_PIECE = 8192  # losses computed at one time


class DivergenceError(InputError):
    """The loss is no longer a number; the trainer holds the last good parameters."""


@dataclass
class State:
    """Where a training stands: ``position`` images into ``epoch`` (both from 0), in host memory.

    ``totals`` and ``picked`` (position,) are what the epoch's loss is made of so far.  ``before``
    are the parameters of before the epoch, to go back to if it diverges; None where those are
    ``parameters`` themselves (position 0), or unknown (a checkpoint of format 1).
    """

    epoch: int
    position: int
    parameters: dict[str, np.ndarray]
    totals: np.ndarray
    picked: np.ndarray
    before: dict[str, np.ndarray] | None = None


class Trainer:
    """Trains on ``images`` (N, F) and ``labels`` (N,), which lie on ``backend``'s device.

    ``parameters`` are in host memory or on the device; they are settled here, and never again,
    since settling twice is not settling once (a weight beyond 2**22 would change).  ``order`` gives
    an epoch's order of the images, (N,) indices; by default each epoch has a shuffle of its own,
    drawn from the seed.  ``unit`` (F,) is what one of each column is worth, where the images are
    settled features.
    """

    epoch: int
    position: int
    _indices: Array
    _totals: list[Array]
    _picked: list[Array]
    _fetched: dict[str, np.ndarray] | None  # the parameters as they stand, once asked for

    def __init__(
        self,
        backend: Backend,
        config: Config,
        parameters: dict[str, Array],
        images: Array,
        labels: Array,
        order: Order | None = None,
        unit: Array | None = None,
    ) -> None:
        self.backend, self.config = backend, config
        self.arithmetic = config.arithmetic()
        demands.require(backend, self.arithmetic)
        self.images, self.labels, self._unit = images, labels, unit
        self._order = order or self._shuffle
        given = self._on_device(parameters).as_dict()
        settled = model.settle(self.arithmetic, given, unit)
        self._go_on(settled, 0)

    @property
    def kept(self) -> str:
        """In words, the weights that the training falls back to if it diverges in this epoch."""
        return "of before that epoch" if self._before_known else "it went on with in that epoch"

    @property
    def parameters(self) -> Parameters:
        return self.stepper.parameters

    def fetched(self) -> dict[str, np.ndarray]:
        """The parameters in host memory, to be read only; they leave the device once an epoch."""
        if self._fetched is None:
            self._fetched = fetch(self.parameters.as_dict())
        return self._fetched

    @property
    def count(self) -> int:
        """The number of images in an epoch."""
        return self.images.shape[0]

    def warm_up(self) -> None:
        """A step of each size on a copy and an epoch's end, thrown away.

        A device compiles at first use, and is sent the tables that a size of batch needs.
        """
        step = self._new_stepper(self._on_device(self.fetched()))
        size = self.config.batch_size
        order = self._indices[: min(size + self.count % size, self.count)]
        totals, picked = step.advance(self.images, self.labels, order, size)
        losses = model.cross_entropy(self.arithmetic, totals, picked)
        fetch({"loss": model.mean(self.arithmetic, losses), **step.parameters.as_dict()})
        self.backend.synchronize()

    def advance(self, batches: int) -> bool:
        """Go through up to ``batches`` more mini-batches; whether the epoch is through."""
        size = self.config.batch_size
        stop = min(self.position + batches * size, self.count)
        if stop > self.position:
            require_uncut(self.images)
            self._fetched = None
            order = self._indices[self.position : stop]
            totals, picked = self.stepper.advance(self.images, self.labels, order, size)
            self._totals.append(totals)
            self._picked.append(picked)
            self.position = stop
        return self.position == self.count

    def score(self, images: Array, labels: Array) -> Scores:
        """What the network as it stands makes of ``images`` (N, F) and ``labels`` (N,)."""
        require_uncut(images)
        return self.stepper.score(images, labels)

    def finish_epoch(self) -> float:
        """Close the epoch and return its mean training loss, the first value fetched in it.

        The parameters leave the device with it, in one transfer.

        Raises :class:`DivergenceError` if the loss or a parameter is not finite; the parameters
        are then those of the end of the epoch before.
        """
        mean = model.mean(self.arithmetic, self._losses())
        fetched = fetch({"loss": mean, **self.parameters.as_dict()})
        loss = float(fetched.pop("loss"))
        if not (math.isfinite(loss) and all(np.isfinite(v).all() for v in fetched.values())):
            self.stepper = self._new_stepper(self._before)
            self._fetched = None
            raise DivergenceError(
                f"the training diverged in epoch {self.epoch + 1}: the loss or a weight is not "
                f"finite any more; the weights {self.kept} are kept, lower the learning rate "
                f"(now {self.config.lr:g})"
            )
        self._begin(self.epoch + 1)
        self._fetched = fetched
        return loss

    def _losses(self) -> Array:
        """The loss of each image of the epoch, (N,), piece by piece to stay within caches."""
        xp = self.backend.xp
        totals, picked = xp.concat(self._totals), xp.concat(self._picked)
        pieces = [slice(at, min(at + _PIECE, self.count)) for at in range(0, self.count, _PIECE)]
        return xp.concat(
            [model.cross_entropy(self.arithmetic, totals[p], picked[p]) for p in pieces]
        )

    def state(self) -> State:
        """Where the training stands, as host arrays of its own."""
        xp = self.backend.xp
        for parts in (self._totals, self._picked):
            if len(parts) > 1:
                parts[:] = [xp.concat(parts)]
        totals, picked = (np.empty(0, self.arithmetic.dtype) for _ in range(2))
        if self._totals:
            both = fetch({"totals": self._totals[0], "picked": self._picked[0]})
            totals, picked = both["totals"].copy(), both["picked"].copy()
        before = _copies(fetch(self._before.as_dict())) if self.position else None
        return State(self.epoch, self.position, _copies(self.fetched()), totals, picked, before)

    def state_before(self) -> State:
        """Where the training stood before the epoch it is in, or at the beginning of."""
        empty = np.empty(0, self.arithmetic.dtype)
        return State(self.epoch, 0, _copies(fetch(self._before.as_dict())), empty, empty)

    def restore(self, state: State) -> None:
        """Go on from ``state``, which another trainer, on any backend, has left."""
        self._go_on(self._on_device(state.parameters), state.epoch)
        self.position = state.position
        if state.position:
            self._totals = [self.backend.asarray(state.totals, self.arithmetic.dtype)]
            self._picked = [self.backend.asarray(state.picked, self.arithmetic.dtype)]
            self._before_known = state.before is not None
        if state.before is not None:
            self._before = self._on_device(state.before)

    def _go_on(self, parameters: Parameters, epoch: int) -> None:
        self.stepper = self._new_stepper(parameters)
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0
        self._totals, self._picked = [], []
        self._fetched = None
        self._before, self._before_known = self.parameters, True
        # After the last epoch there is no order to be had from a caller who gave one for each.
        if epoch < self.config.epochs:
            self._indices = self._checked(self._order(epoch))

    def _on_device(self, parameters: Mapping[str, Array]) -> Parameters:
        dtype = self.arithmetic.dtype
        on_device = {k: self.backend.asarray(v, dtype) for k, v in parameters.items()}
        return Parameters(**on_device, unit=self._unit)

    def _new_stepper(self, parameters: Parameters) -> Stepper:
        return choose.stepper(
            self.backend, self.arithmetic, parameters, self.config.lr, self.images
        )

    def _shuffle(self, epoch: int) -> np.ndarray:
        return random.permutation(random.stream(self.config.seed, _SHUFFLE, epoch), self.count)

    def _checked(self, order: Array) -> Array:
        order = to_numpy(order)
        if order.shape != (self.count,) or order.dtype.kind not in "iu":
            raise InputError(
                f"the order of epoch {self.epoch + 1} has shape {order.shape} and dtype "
                f"{order.dtype}; give {self.count} whole numbers, one for each image"
            )
        if order.min() < 0 or order.max() >= self.count:
            raise InputError(
                f"the order of epoch {self.epoch + 1} points outside the {self.count} images; "
                "give indices from 0"
            )
        return self.backend.asarray(order, "int64")


def _copies(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in arrays.items()}
