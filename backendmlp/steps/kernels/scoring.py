"""A network shown inputs by kernels: the steps of a training, which learn nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.backend import Kernels
from backendmlp.network import evaluation
from backendmlp.network.evaluation import Scores
from backendmlp.network.optimizers import Descent
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.kernels.held import Held
from backendmlp.steps.kernels.room import Room

Array = Any

_FEWEST = 1000  # rows worth compiling for: the definition takes one pass for as many
_BATCH = 1024  # rows in a step: enough for all blocks, and as few as the definition has in a pass
_STEPS = 64  # of a launch: a few milliseconds, after which the host looks up


class HeldScorer:
    """What the network that is ``held``, as it stands, makes of inputs; of one thread."""

    def __init__(self, held: Held, apart: bool) -> None:
        self._held, self._apart = held, apart
        # Nothing is learned.
        self._recipe = replace(held.recipe, optimizer=Descent(), l2=0.0, clip_norm=None)
        self._room: Room | None = None
        self._seen = 0  # changes of what is held, at the last call

    def score(self, inputs: Array, targets: Array | None) -> Scores:
        """The scores of ``inputs`` (N, F) with ``targets`` (N,) or (N, C), or outputs alone.

        Inputs of another kind than those held for are scored as defined.
        """
        held, xp = self._held, self._held.xp
        if str(np.dtype(inputs.dtype)) != held.kind:
            return self._as_defined(inputs, targets)
        count, outputs = inputs.shape[0], held.sizes[-1]
        if inputs.shape != (count, held.sizes[0]):
            raise IndexError(f"inputs of the shape {inputs.shape} are not those of this network")
        found = Scores((), held.empty((count, outputs)))
        if targets is not None:
            classes = self._recipe.loss.name == "cross_entropy"
            if targets.shape != ((count,) if classes else (count, outputs)):
                raise IndexError(
                    f"targets of the shape {targets.shape} are not those of {count} rows"
                )
            targets = xp.astype(targets, xp.int64 if classes else held.real, copy=False)
            parts = tuple(held.empty((count,)) for _ in self._recipe.loss.parts)
            found = Scores(parts, found.outputs)
        if count:
            self._launch(inputs, targets, found)
        return found

    def _launch(self, inputs: Array, targets: Array | None, found: Scores) -> None:
        """One launch after the other; between any two the host may be interrupted."""
        room, kernels = self._ready(), self._held.kernels
        given, count, most = room.job, inputs.shape[0], _STEPS * int(room.job["batch"][0])
        for start in range(0, count, most):
            rows = slice(start, min(start + most, count))
            if start:
                kernels.wait()
            shown = kernels.ordered(inputs[rows, :])
            given["inputs"] = kernels.address(shown)
            given["targets"], given["part_0"], given["part_1"] = 0, 0, 0
            given["outputs"] = kernels.address(found.outputs[rows, :])
            if targets is not None:
                wanted = kernels.ordered(targets[rows, ...])
                given["targets"] = kernels.address(wanted)
            for number, part in enumerate(found.parts):
                given[f"part_{number}"] = kernels.address(part[rows])
            given["count"] = rows.stop - start
            room.go(-(-(rows.stop - start) // int(given["batch"][0])))

    def _ready(self) -> Room:
        """Room for the network as it stands."""
        held = self._held
        if self._room is None:
            self._room = Room(held, self._recipe, _BATCH, learns=False, apart=self._apart)
        elif self._seen != held.changes:
            self._room.begin_anew()
        self._seen = held.changes
        return self._room

    def _as_defined(self, inputs: Array, targets: Array | None) -> Scores:
        p = self._held.learned().parameters
        if targets is None:
            return Scores((), evaluation.outputs(self._recipe, p, inputs))
        return evaluation.score(self._recipe, p, inputs, targets)


class KernelScorer:
    """A network that does not change, for inputs of the kind of ``inputs``; threads may share it.

    Each has a workspace of its own, since nobody knows on which of CuPy's streams it is.
    """

    def __init__(
        self,
        kernels: Kernels,
        recipe: Recipe,
        learned: Learned,
        inputs: Array,
        apart: bool = False,
    ) -> None:
        self._held = Held(kernels, recipe, learned, inputs)
        self._apart, self._own = apart, threading.local()

    def score(self, inputs: Array, targets: Array | None) -> Scores | None:
        """The scores of ``inputs`` (N, F), with ``targets`` or for their outputs alone.

        None of few rows, which the definition shows before kernels are compiled.
        """
        if inputs.shape[0] < _FEWEST:
            return None
        if not hasattr(self._own, "scorer"):
            self._own.scorer = HeldScorer(self._held, self._apart)
        scorer: HeldScorer = self._own.scorer
        return scorer.score(inputs, targets)
