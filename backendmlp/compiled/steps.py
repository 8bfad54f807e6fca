"""The compiled steps as the trainer sees them."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from backendmlp import evaluation, model
from backendmlp.arithmetic import Arithmetic
from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import product_bits
from backendmlp.blas import openblas
from backendmlp.compiled import library
from backendmlp.evaluation import Scores
from backendmlp.model import Parameters
from backendmlp.step import Step

Array = Any

_FEWEST_UNITS = 12  # of a thread: with fewer, products so narrow are slow
_SCORED = 256  # images in a pass that learns nothing
_PAGE = 4096


class CompiledStep:
    """Native numerics, float32 or float64, on images of the kind of ``images``."""

    def __init__(
        self,
        arithmetic: Arithmetic,
        parameters: Parameters,
        rate: float,
        images: Array,
        threads: int | None = None,
    ) -> None:
        blas = openblas()
        assert blas is not None
        self.arithmetic, self.rate, self._blas = arithmetic, rate, blas
        features, hidden, classes = parameters.shape
        threads = threads or min(blas.threads, max(1, hidden // _FEWEST_UNITS))
        self._job = library.Job(
            features=features, hidden=hidden, classes=classes, threads=threads, rate=rate,
            levels=model.levels(images), gemm=blas.address(arithmetic.dtype),
            pixels=images.dtype == np.uint8,
        )  # fmt: skip
        bitwise = arithmetic.name == "bitwise"
        self._name = "bitwise" if bitwise else f"native_{arithmetic.dtype}"  # of its functions
        self._kind = images.dtype
        self._bounds = [hidden * thread // threads for thread in range(threads + 1)]
        self._workspace = np.empty(0, np.uint8)
        self._load(parameters)

    @property
    def threads(self) -> int:
        """Among how many threads the hidden units are divided."""
        return self._job.threads

    def watch(self) -> Array:
        """An array (library.PHASES,) to which the seconds of one thread are added from now on."""
        self._seconds = np.zeros(len(library.PHASES))
        self._job.seconds = _address(self._seconds)
        return self._seconds

    @property
    def parameters(self) -> Parameters:
        return Parameters(self._joined(), self.b1.copy(), self.W2.copy(), self.b2.copy())

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        totals, picked = (np.empty(len(order), self.arithmetic.dtype) for _ in range(2))
        self._run(images, labels, order, size, totals, picked)
        return totals, picked

    def score(self, images: Array, labels: Array) -> Scores:
        count, classes = len(images), self._job.classes
        if images.dtype == self._kind and images.flags.c_contiguous:
            results = [np.empty(shape, self.arithmetic.dtype) for shape in (count, count)]
            results.append(np.empty((count, classes), self.arithmetic.dtype))
            if self._run(images, labels, np.arange(count), _SCORED, *results) == count:
                return Scores(*results)
        return evaluation.score(self.arithmetic, self.parameters, images, labels)

    def _run(
        self,
        images: Array,
        labels: Array,
        order: Array,
        size: int,
        totals: Array,
        picked: Array,
        probabilities: Array | None = None,
    ) -> int:
        """Go through ``order`` by batches of ``size``; returns how many images were visited.

        The results go into ``totals`` and ``picked``; where ``probabilities`` are wanted too,
        nothing is learned.
        """
        job = self._job
        labels, order = (np.ascontiguousarray(x, np.int64) for x in (labels, order))
        fit = images.shape == (len(labels), job.features) and images.dtype == self._kind
        if not (fit and order.min() >= 0 and order.max() < len(labels)):
            raise IndexError("images, labels and their order do not fit each other")
        job.images, job.labels, job.order = map(_address, (images, labels, order))
        job.totals, job.picked = _address(totals), _address(picked)
        job.probabilities = None if probabilities is None else _address(probabilities)
        job.count, job.batch = len(order), size
        self._make_room()
        with self._blas.single_threaded():
            if getattr(library.library(), f"steps_{self._name}")(ctypes.byref(job)):
                raise MemoryError("no threads could be started for the steps of a training")
        return job.done

    def _make_room(self) -> None:
        """A workspace that is large enough and begins with a page."""
        measure = getattr(library.library(), f"workspace_{self._name}")
        measure.restype = ctypes.c_int64
        needed = measure(ctypes.byref(self._job)) + _PAGE
        if len(self._workspace) < needed:
            self._workspace = np.empty(needed, np.uint8)
            self._job.workspace = -(-_address(self._workspace) // _PAGE) * _PAGE

    def _load(self, parameters: Parameters) -> None:
        """Take copies of ``parameters``; each thread's part of W1 lies in one piece."""
        dtype, job = self.arithmetic.dtype, self._job
        W1, b1, W2, b2 = (np.array(v, dtype, order="C") for v in parameters.as_dict().values())
        shapes = (
            (job.features, job.hidden),
            (job.hidden,),
            (job.hidden, job.classes),
            (job.classes,),
        )
        if tuple(value.shape for value in (W1, b1, W2, b2)) != shapes:
            raise ValueError(f"the parameters do not have the shapes {shapes}")
        parts = zip(self._bounds[:-1], self._bounds[1:], strict=True)
        self.W1 = np.concatenate([W1[:, start:stop].reshape(-1) for start, stop in parts])
        self.b1, self.W2, self.b2 = b1, W2, b2
        job.W1, job.b1, job.W2, job.b2 = map(_address, (self.W1, b1, W2, b2))

    def _joined(self) -> Array:
        """W1 (F, H) of the threads' parts."""
        features = self._job.features
        parts = np.split(self.W1, [features * bound for bound in self._bounds[1:-1]])
        return np.concatenate([part.reshape(features, -1) for part in parts], axis=1)


class CompiledBitwiseStep(CompiledStep):
    """Bitwise numerics on pixels; W1 is held in units of its grid, as whole numbers.

    Where a weight leaves the range in which that is exact, the definition does the step.
    """

    def __init__(self, arithmetic: Arithmetic, *others: Any) -> None:
        super().__init__(arithmetic, *others)
        job = self._job
        job.grid = const.GRID
        # 2**bits in units: the definition's rounding to that many bits is then the identity.
        job.limit = 2.0 ** product_bits(job.features, beside_pixels=True)[1]
        job.exp_inverse, job.exp_high, job.exp_low, job.exp_lowest, job.exp_offset = (
            const.EXP_INVERSE, const.EXP_HIGH, const.EXP_LOW, const.EXP_LOWEST, const.EXP_OFFSET,
        )  # fmt: skip
        job.exp_table = _address(const.exp_table())

    @property
    def parameters(self) -> Parameters:
        p = super().parameters
        return Parameters(p.W1 * const.GRID, p.b1, p.W2, p.b2)

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        totals, picked = (np.empty(len(order)) for _ in range(2))
        start = 0
        while start < len(order):
            rest = slice(start, None)
            start += self._run(images, labels, order[rest], size, totals[rest], picked[rest])
            if start < len(order):
                batch = slice(start, start + size)
                totals[batch], picked[batch] = self._defined(images, labels, order[batch], size)
                start += size
        return totals, picked

    def _defined(self, *batch: Any) -> tuple[Array, Array]:
        step = Step(self.arithmetic, self.parameters, self.rate)
        result = step.advance(*batch)
        self._load(step.parameters)
        return result

    def _load(self, parameters: Parameters) -> None:
        p = parameters
        super()._load(Parameters(p.W1 * (1.0 / const.GRID), p.b1, p.W2, p.b2))


def _address(x: Array) -> int:
    return x.ctypes.data
