"""A network that does not change, shown inputs by compiled code: their rows divided by threads."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from itertools import pairwise
from typing import Any

import numpy as np

from backendmlp.features import Settling
from backendmlp.network.evaluation import Scores
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.held import Held
from backendmlp.steps.compiled.library import address

Array = Any

_ROUND = 1 << 14  # rows of one call, within which nobody can interrupt it
_PIECE = 512  # rows that a thread takes at one time, at most
_BATCH = 256  # rows in one pass
_WORTH_A_THREAD = 1 << 20  # products in float64: some 30 us
_ALONE = 1 << 18  # products that an OpenBLAS computes with one thread whatever it may take


_SCORERS: weakref.WeakSet[CompiledScorer] = weakref.WeakSet()


def _begin_anew() -> None:
    for scorer in list(_SCORERS):
        scorer.begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_anew)


class CompiledScorer:
    """What a network makes of inputs; nothing is learned, threads may share it.

    In bitwise numerics its weights are rounded as their products ask for.
    """

    def __init__(
        self, recipe: Recipe, learned: Learned, inputs: Array, unsettled: bool = False
    ) -> None:
        self._held = Held(recipe, learned, inputs, unsettled=unsettled)
        self._held.job.rounded = 1
        self._dtype = np.dtype(recipe.arithmetic.dtype)
        self._targets = np.dtype(np.int64 if recipe.loss.name == "cross_entropy" else self._dtype)
        sizes = self._held.sizes
        self._features, self._outputs = sizes[0], sizes[-1]
        self._products = sum(a * b for a, b in pairwise(sizes))
        self._worth = _WORTH_A_THREAD * 8 // self._dtype.itemsize
        self._call = library.scores(self._held.numerics)
        self.begin_anew()
        _SCORERS.add(self)

    def begin_anew(self) -> None:
        """Forget whoever is at work: after a fork those threads and their lock are not there."""
        self._lock = threading.Lock()
        self._crowd = _Crowd(self._held, 0)

    def score(self, inputs: Array, targets: Array | None) -> Scores | None:
        """The scores of ``inputs`` (N, F), with ``targets`` or for their outputs alone.

        None where the network is outside what compiled code computes.
        """
        found = self.read(inputs, targets)
        return None if found is None else found[0]

    def read(self, inputs: Array, targets: Array | None) -> tuple[Scores, Settling] | None:
        """Likewise, and what was settled on the way; None too for features that are not finite."""
        count = len(inputs)
        if inputs.shape != (count, self._features):
            raise IndexError(f"inputs of the shape {inputs.shape} are not those of this network")
        found = Scores((), np.empty((count, self._outputs), self._dtype))
        if targets is not None:
            targets = np.ascontiguousarray(targets, self._targets)
            parts = tuple(np.empty(count, self._dtype) for _ in self._held.recipe.loss.parts)
            found = Scores(parts, found.outputs)
        with self._lock:
            if count * self._products < _ALONE:
                seen = self._rounds(1, inputs, targets, found)
            else:
                with self._held.blas.single_threaded():
                    threads = 1 + min(count, _ROUND) * self._products // self._worth
                    threads = min(threads, self._held.blas.threads, count)
                    seen = self._rounds(threads, inputs, targets, found)
        return None if seen is None else (found, seen)

    def _rounds(
        self, threads: int, inputs: Array, targets: Array | None, found: Scores
    ) -> Settling | None:
        """What was settled of all; None where not all could be scored."""
        if len(self._crowd.jobs) < threads:
            self._crowd = _Crowd(self._held, threads)
        crowd, clipped, largest = self._crowd, 0, 0.0  # a fork in between puts another there
        for start in range(0, len(inputs), _ROUND):
            rows = slice(start, start + _ROUND)
            piece = inputs[rows]
            flags = piece.flags
            if not (flags.c_contiguous and flags.aligned and piece.dtype == self._held.kind):
                piece = np.require(piece, self._held.kind, ("C", "A"))
            shown = None if targets is None else targets[rows]
            parts = tuple(part[rows] for part in found.parts)
            if not crowd.score(
                self._call, threads, piece, shown, Scores(parts, found.outputs[rows])
            ):
                return None
            for job in crowd.jobs[:threads]:
                clipped, largest = clipped + job.clipped, max(largest, job.largest)
        return Settling(inputs.size, clipped, int(largest))


class _Crowd:
    """Jobs on what is ``held``, one for each of some ``threads``, and workspaces of their own."""

    def __init__(self, held: Held, threads: int) -> None:
        self._numerics = held.numerics
        self.jobs = (library.Job * threads)(*[held.job] * threads)
        self._workspaces = [library.Workspace() for _ in range(threads)]
        self._bounds = np.zeros((threads, 1 + 2 * (len(held.sizes) - 1)))
        self._room = 0  # rows of a batch that each has room for
        for job, bounds in zip(self.jobs, self._bounds, strict=True):
            job.bounds = address(bounds)

    def score(
        self, call: Any, threads: int, inputs: Array, targets: Array | None, found: Scores
    ) -> bool:
        """Whether so many ``threads`` scored all of the ``inputs``, which lie row by row."""
        count = len(inputs)
        pieces = threads * -(-count // (threads * _PIECE))
        rows = -(-count // pieces)
        self._make_room(min(rows, _BATCH))
        parts = (*map(address, found.parts), None, None)[:2]
        for job in self.jobs[:threads]:
            job.inputs, job.outputs = address(inputs), address(found.outputs)
            job.targets = None if targets is None else address(targets)
            job.part_0, job.part_1 = parts
            job.count, job.batch = count, min(rows, _BATCH)
        call(ctypes.addressof(self.jobs), threads, rows)
        return sum(job.done for job in self.jobs[:threads]) == count

    def _make_room(self, rows: int) -> None:
        if rows <= self._room:
            return
        self._room = 0  # whatever interrupts this, nobody relies on what is half done
        for job, workspace in zip(self.jobs, self._workspaces, strict=True):
            job.count = job.batch = rows
            workspace.give(job, self._numerics)
        self._room = rows
