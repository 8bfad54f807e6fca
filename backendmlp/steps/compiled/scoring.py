"""A network that does not change, shown inputs by compiled code: their rows divided by threads."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import weakref
from collections.abc import Iterator
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

_PIECE = 2048  # rows of one call
_BATCH = 256  # rows in one pass
_WORTH_A_THREAD = 1 << 25  # products; a thread begins in the time of a few million
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
        self.begin_anew()
        _SCORERS.add(self)

    def begin_anew(self) -> None:
        """Forget whoever is at work: after a fork those threads and their lock are not there."""
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def score(self, inputs: Array, targets: Array | None) -> Scores | None:
        """The scores of ``inputs`` (N, F), with ``targets`` or for their outputs alone.

        None where the network is outside what compiled code computes.
        """
        found = self.read(inputs, targets)
        return None if found is None else found[0]

    def read(self, inputs: Array, targets: Array | None) -> tuple[Scores, Settling] | None:
        """Likewise, and what was settled on the way; None also for features that are not finite."""
        count = len(inputs)
        found = Scores((), np.empty((count, self._outputs), self._dtype))
        if targets is not None:
            targets = np.ascontiguousarray(targets, self._targets)
            parts = tuple(np.empty(count, self._dtype) for _ in self._held.recipe.loss.parts)
            found = Scores(parts, found.outputs)
        with self._lock:
            # Taken, so that threads which an interruption leaves at work keep theirs to themselves.
            workers, self._workers = self._workers, []
            if count * self._products < _ALONE:
                whole = self._run(workers, 1, inputs, targets, found)
            else:
                with self._held.blas.single_threaded():
                    threads = 1 + count * self._products // _WORTH_A_THREAD
                    threads = min(threads, self._held.blas.threads)
                    whole = self._run(workers, threads, inputs, targets, found)
            self._workers = workers
            if not whole:
                return None
            clipped = sum(worker.clipped for worker in workers)
            largest = max(worker.largest for worker in workers)
        return found, Settling(count * self._features, clipped, int(largest))

    def _run(
        self,
        workers: list[_Worker],
        threads: int,
        inputs: Array,
        targets: Array | None,
        found: Scores,
    ) -> bool:
        """Whether all went well; each thread takes the next piece that nobody has taken."""
        while len(workers) < threads:
            workers.append(_Worker(self._held))
        for worker in workers:
            worker.clipped, worker.largest = 0, 0.0
        count = len(inputs)
        if threads == 1 and count <= _PIECE:
            return workers[0].work(inputs, 0, targets, found)
        rows = min(_PIECE, -(-count // threads))
        pieces = iter([slice(at, at + rows) for at in range(0, count, rows)])
        if threads == 1:
            return workers[0].work_on(pieces, inputs, targets, found)
        fine: list[bool] = []

        def work(worker: _Worker) -> None:
            try:
                fine.append(worker.work_on(pieces, inputs, targets, found))
            except Exception:  # the definition, asked instead, says what is wrong
                fine.append(False)

        others = [threading.Thread(target=work, args=(w,)) for w in workers[1:threads]]
        for other in others:
            other.start()
        work(workers[0])
        for other in others:
            other.join()
        return fine == [True] * threads


class _Worker:
    """A job on what is ``held``, with a workspace of its own."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._job = library.Job.from_buffer_copy(held.job)
        self._pointer = ctypes.byref(self._job)
        self._call = library.functions(held.numerics)[0]
        self._kind, self._features = held.kind, held.sizes[0]
        self._workspace = library.Workspace()
        self._bounds = np.zeros(1 + 2 * (len(held.sizes) - 1))
        self._job.bounds = address(self._bounds)
        self._room = 0  # rows of a batch that there is room for
        self.clipped, self.largest = 0, 0.0  # of features settled since they were set so

    def work_on(
        self, pieces: Iterator[slice], inputs: Array, targets: Array | None, found: Scores
    ) -> bool:
        """Score one of the ``pieces`` after the other; False where one could not be."""
        return all(self.work(inputs[rows], rows.start, targets, found) for rows in pieces)

    def work(self, piece: Array, start: int, targets: Array | None, found: Scores) -> bool:
        """Score a ``piece`` of the inputs, of which ``start`` rows come before it."""
        job, count = self._job, len(piece)
        flags = piece.flags
        if not (flags.c_contiguous and flags.aligned and piece.dtype == self._kind):
            piece = np.require(piece, self._kind, ("C", "A"))
        if piece.shape != (count, self._features):
            raise IndexError(f"inputs of the shape {piece.shape} are not those of this network")
        job.inputs, job.outputs = address(piece), _beyond(found.outputs, start)
        job.targets, job.part_0, job.part_1 = None, None, None
        if targets is not None:
            job.targets = _beyond(targets, start)
            job.part_0, job.part_1 = (*(_beyond(x, start) for x in found.parts), None)[:2]
        job.count, job.batch = count, min(count, _BATCH) or 1
        if job.batch > self._room:
            self._workspace.give(job, self._held.numerics)
            self._room = job.batch
        if self._call(self._pointer) or job.done != count:
            return False
        self.clipped += job.clipped
        self.largest = max(self.largest, job.largest)
        return True


def _beyond(x: Array, rows: int) -> int:
    return address(x) + rows * x.itemsize * math.prod(x.shape[1:])
