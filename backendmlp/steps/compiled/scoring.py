"""A network that does not change, shown images by compiled code: their rows divided by threads."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from backendmlp.network.evaluation import Scores
from backendmlp.steps.compiled import library

Array = Any

_PIECE = 2048  # rows of one call
_BATCH = 256  # rows in one pass
_WORTH_A_THREAD = 1 << 25  # products; a thread begins in the time of a few million
_PAGE = 4096
_ROWS = np.arange(_PIECE, dtype=np.int64)
_NO_LABELS = np.zeros(_PIECE, np.int64)


_SCORERS: weakref.WeakSet[CompiledScorer] = weakref.WeakSet()


def _begin_anew() -> None:
    for scorer in list(_SCORERS):
        scorer.begin_anew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_begin_anew)


class CompiledScorer:
    """What ``step``, of one thread, makes of images; nothing is learned, threads may share it."""

    def __init__(self, step: Any) -> None:
        self._step = step
        self.begin_anew()
        _SCORERS.add(self)
        self._dtype = np.dtype(step.arithmetic.dtype)

    def begin_anew(self) -> None:
        """Forget whoever is at work: after a fork those threads and their lock are not there."""
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []

    def score(self, images: Array, labels: Array | None) -> Scores | None:
        """The scores of ``images`` (N, F), with ``labels`` (N,) or for their probabilities alone.

        None where the weights are outside what compiled code computes.
        """
        count, job = len(images), self._step._job
        totals, picked = np.empty(count, self._dtype), np.empty(count, self._dtype)
        found = Scores(totals, picked, np.empty((count, job.classes), self._dtype))
        if labels is not None:
            labels = np.ascontiguousarray(labels, np.int64)
        with self._lock, self._step._blas.single_threaded():
            threads = 1 + count * job.features * job.hidden // _WORTH_A_THREAD
            # Taken, so that threads which an interruption leaves at work keep theirs to themselves.
            workers, self._workers = self._workers, []
            threads = min(threads, self._step._blas.threads)
            whole = self._run(workers, threads, images, labels, found)
            self._workers = workers
        return found if whole else None

    def _run(
        self,
        workers: list[_Worker],
        threads: int,
        images: Array,
        labels: Array | None,
        found: Scores,
    ) -> bool:
        """Whether all went well; each thread takes the next piece that nobody has taken."""
        while len(workers) < threads:
            workers.append(_Worker(self._step))
        rows = min(_PIECE, -(-len(images) // threads))
        pieces = iter([slice(at, at + rows) for at in range(0, len(images), rows)])
        if threads == 1:
            return workers[0].work(pieces, images, labels, found)
        fine: list[bool] = []

        def work(worker: _Worker) -> None:
            try:
                fine.append(worker.work(pieces, images, labels, found))
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
    """A job on the weights of ``step``, with a workspace and output biases of its own."""

    def __init__(self, step: Any) -> None:
        self._job = library.Job.from_buffer_copy(step._job)
        self._pointer = ctypes.byref(self._job)
        self._call = getattr(library.library(), f"steps_{step._name}")
        self._b2 = step.b2.copy()  # which a call writes back as it was
        self._job.b2 = self._b2.ctypes.data
        self._job.order, self._job.batch, self._job.count = _ROWS.ctypes.data, _BATCH, _PIECE
        measure = getattr(library.library(), f"workspace_{step._name}")
        measure.restype = ctypes.c_int64
        self._workspace = np.empty(measure(self._pointer) + _PAGE, np.uint8)
        self._job.workspace = -(-self._workspace.ctypes.data // _PAGE) * _PAGE

    def work(
        self, pieces: Iterator[slice], images: Array, labels: Array | None, found: Scores
    ) -> bool:
        """Score one of the ``pieces`` after the other; False where one could not be."""
        job, size = self._job, found.totals.itemsize
        totals, picked, shares = (
            x.ctypes.data for x in (found.totals, found.picked, found.probabilities)
        )
        none, own = _NO_LABELS.ctypes.data, None if labels is None else labels.ctypes.data
        for rows in pieces:
            start, piece = rows.start, np.require(images[rows], None, ("C", "A"))
            job.images, job.count = piece.ctypes.data, len(piece)
            job.labels = none if own is None else own + start * 8
            job.totals, job.picked = totals + start * size, picked + start * size
            job.probabilities = shares + start * size * job.classes
            if self._call(self._pointer) or job.done != job.count:
                return False
        return True
