"""The epoch loop: a fresh shuffle each epoch, mini-batches, a last short batch that counts fully.

A :class:`Trainer` can stop after any batch and say where it stands; started again from there, on
this backend or another, it goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp import model, random
from backendmlp.backend import Backend, to_numpy
from backendmlp.config import Config
from backendmlp.errors import InputError
from backendmlp.evaluation import Scores
from backendmlp.model import Parameters
from backendmlp.step import Stepper, stepper

Array = Any
Order = Callable[[int], Array]

_SHUFFLE = 3  # the number of the shuffles' random stream
_PIECE = 8192  # losses computed at one time


class DivergenceError(InputError):
    """The loss is no longer a number; the trainer holds the last good parameters."""


@dataclass
class State:
    """Where a training stands: ``position`` images into ``epoch`` (both from 0), in host memory.

    ``totals`` and ``picked`` (position,) are what the epoch's loss is made of so far.
    """

    epoch: int
    position: int
    parameters: dict[str, np.ndarray]
    totals: np.ndarray
    picked: np.ndarray


class Trainer:
    """Trains on ``images`` (N, F) and ``labels`` (N,), which lie on ``backend``'s device.

    ``parameters`` are in host memory or on the device.  ``order`` gives an epoch's order of the
    images, (N,) indices; by default each epoch has a shuffle of its own, drawn from the seed.
    ``unit`` (F,) is what one of each column is worth, where the images are settled features.
    """

    epoch: int
    position: int
    _indices: Array
    _totals: list[Array]
    _picked: list[Array]

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
        self.images, self.labels, self._unit = images, labels, unit
        self._order = order or self._shuffle
        self.stepper = self._new_stepper(parameters)
        self._begin(0)

    @property
    def parameters(self) -> Parameters:
        return self.stepper.parameters

    @property
    def count(self) -> int:
        """The number of images in an epoch."""
        return self.images.shape[0]

    def advance(self, batches: int) -> bool:
        """Go through up to ``batches`` more mini-batches; whether the epoch is through."""
        size = self.config.batch_size
        stop = min(self.position + batches * size, self.count)
        if stop > self.position:
            order = self._indices[self.position : stop]
            totals, picked = self.stepper.advance(self.images, self.labels, order, size)
            self._totals.append(totals)
            self._picked.append(picked)
            self.position = stop
        return self.position == self.count

    def score(self, images: Array, labels: Array) -> Scores:
        """What the network as it stands makes of ``images`` (N, F) and ``labels`` (N,)."""
        return self.stepper.score(images, labels)

    def finish_epoch(self) -> float:
        """Close the epoch and return its mean training loss, the first value fetched in it.

        Raises :class:`DivergenceError` if the loss or a parameter is not finite; the parameters
        are then those of the end of the epoch before.
        """
        xp = self.backend.xp
        loss = float(model.mean(self.arithmetic, self._losses()))
        if not (math.isfinite(loss) and _finite(xp, self.parameters)):
            self.stepper = self._new_stepper(self._good.as_dict())
            raise DivergenceError(
                f"the training diverged in epoch {self.epoch + 1}: the loss or a weight is not "
                f"finite any more; the weights of before that epoch are kept, lower the learning "
                f"rate (now {self.config.lr:g})"
            )
        self._begin(self.epoch + 1)
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
        empty = np.empty(0, self.arithmetic.dtype)
        totals, picked = (
            to_numpy(parts[0]).copy() if parts else empty for parts in (self._totals, self._picked)
        )
        parameters = {k: to_numpy(v).copy() for k, v in self.parameters.as_dict().items()}
        return State(self.epoch, self.position, parameters, totals, picked)

    def restore(self, state: State) -> None:
        """Go on from ``state``, which another trainer, on any backend, has left."""
        self.stepper = self._new_stepper(dict(state.parameters))
        self._begin(state.epoch)
        self.position = state.position
        if state.position:
            self._totals = [self.backend.asarray(state.totals, self.arithmetic.dtype)]
            self._picked = [self.backend.asarray(state.picked, self.arithmetic.dtype)]

    def _begin(self, epoch: int) -> None:
        self.epoch, self.position = epoch, 0
        self._totals, self._picked = [], []
        self._good = self.parameters
        # After the last epoch there is no order to be had from a caller who gave one for each.
        if epoch < self.config.epochs:
            self._indices = self._checked(self._order(epoch))

    def _new_stepper(self, parameters: dict[str, Array]) -> Stepper:
        dtype = self.arithmetic.dtype
        on_device = {k: self.backend.asarray(v, dtype) for k, v in parameters.items()}
        settled = model.settle(self.arithmetic, on_device, self._unit)
        return stepper(self.backend, self.arithmetic, settled, self.config.lr, self.images)

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


def _finite(xp: Any, parameters: Parameters) -> bool:
    return all(bool(xp.all(xp.isfinite(value))) for value in parameters.as_dict().values())
