"""The compiled steps as the trainer sees them."""

from __future__ import annotations

import ctypes
import operator
from dataclasses import replace
from typing import Any

import numpy as np

from backendmlp.arithmetic import Arithmetic
from backendmlp.arithmetic import constants as const
from backendmlp.arithmetic.bitwise import FEATURE_BITS, PIXEL_BITS, product_bits
from backendmlp.network import evaluation, model
from backendmlp.network.evaluation import Scores
from backendmlp.network.model import Parameters
from backendmlp.steps.blas import openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.definition import Step

Array = Any

_FEWEST_UNITS = 12  # of a thread: with fewer, products so narrow are slow
_FEWEST_ROWS = 64  # of a thread: with fewer, adding up what each found takes as long
_FEWEST_PRODUCTS = 1 << 22  # likewise: with fewer, threads spend their time beginning and meeting
_SCORED = 256  # images in a pass that learns nothing
_PAGE = 4096
_LARGEST = 2.0**100  # of bitwise.h
_MOST_PATIENCE = 64  # steps of the definition in a row
_MOST_NUMBERS = 1 << 56  # some of each kind, of 8 bytes: C counts them in 63 bits


class CompiledStep:
    """Native numerics, float32 or float64, on images of the kind of ``images``.

    ``division`` says among how many threads the hidden units are divided, and among how many the
    rows of each of these; without it, units first, and rows where batches are large.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        parameters: Parameters,
        rate: float,
        images: Array,
        division: tuple[int, int] | None = None,
    ) -> None:
        blas = openblas()
        assert blas is not None
        self.arithmetic, self.rate, self._blas = arithmetic, rate, blas
        features, hidden, classes = parameters.shape
        if min(features, hidden, classes) < 1:
            raise ValueError(f"parameters of the sizes {parameters.shape} make no network")
        self._threads, self._division = blas.threads, division
        groups = division[0] if division else min(blas.threads, max(1, hidden // _FEWEST_UNITS))
        self._job = library.Job(
            features=features, hidden=hidden, classes=classes, threads=groups, groups=groups,
            rate=rate, levels=model.levels(images), gemm=blas.address(arithmetic.dtype),
            kind=library.PIXELS if images.dtype == np.uint8 else library.OWN,
        )  # fmt: skip
        bitwise = arithmetic.name == "bitwise"
        self._name = "bitwise" if bitwise else f"native_{arithmetic.dtype}"  # of its functions
        self._unit = parameters.unit
        self._kind = images.dtype.newbyteorder("=")
        self._bounds = [hidden * group // groups for group in range(groups + 1)]
        self._workspace = np.empty(0, np.uint8)
        self._load(parameters)

    @property
    def groups(self) -> int:
        """Among how many groups of threads the hidden units are divided."""
        return self._job.groups

    def watch(self) -> Array:
        """An array (library.PHASES,) to which the seconds of one thread are added from now on."""
        self._seconds = np.zeros(len(library.PHASES))
        self._job.seconds = _address(self._seconds)
        return self._seconds

    @property
    def parameters(self) -> Parameters:
        own = self._joined(), self.b1.copy(), self.W2.copy(), self.b2.copy()
        return Parameters(*own, unit=self._unit)

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        totals, picked = (np.empty(len(order), self.arithmetic.dtype) for _ in range(2))
        if len(order):
            self._run(images, labels, order, size, totals, picked)
        return totals, picked

    def score(self, images: Array, labels: Array) -> Scores:
        count, classes = len(images), self._job.classes
        if images.dtype == self._kind and _readable(images):
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
        nothing is learned.  The one place where anything that C is handed may come from outside:
        here it is checked.
        """
        job = self._job
        labels, order = (np.require(x, np.int64, ("C", "A")) for x in (labels, order))
        kind = images.dtype.newbyteorder("=")
        if images.shape != (len(labels), job.features) or kind != self._kind:
            raise IndexError(f"images {images.dtype} {images.shape} are not those of this step")
        if labels.ndim != 1 or order.ndim != 1 or not len(order) == len(totals) == len(picked):
            raise IndexError("labels, order and results are not as long as each other")
        if order.min() < 0 or order.max() >= len(labels):
            raise IndexError(f"the order points outside the {len(labels)} images")
        if not _readable(images):  # C reads whole rows, one behind the other
            images, labels = np.ascontiguousarray(images[order], self._kind), labels[order]
            order = np.arange(len(order))
        job.images, job.labels, job.order = map(_address, (images, labels, order))
        job.totals, job.picked = _address(totals), _address(picked)
        job.probabilities = None if probabilities is None else _address(probabilities)
        job.count, job.batch = len(order), _batch_rows(size, len(order))
        job.threads = job.groups * self._fellows(job.batch)
        self._make_room()
        with self._blas.single_threaded():
            if getattr(library.library(), f"steps_{self._name}")(ctypes.byref(job)):
                raise MemoryError("no threads could be started for the steps of a training")
        return job.done

    def _fellows(self, batch: int) -> int:
        """Among how many threads of a group the rows of a batch are divided."""
        if self._division:
            return self._division[1]
        job = self._job
        products = batch * job.features * (job.hidden // job.groups)
        worth = min(batch // _FEWEST_ROWS, products // _FEWEST_PRODUCTS)
        return max(1, min(self._threads // job.groups, worth))

    def _make_room(self) -> None:
        """A workspace that is large enough and begins with a page."""
        job = self._job
        if job.threads * job.batch * (job.features + job.hidden + job.classes) >= _MOST_NUMBERS:
            raise MemoryError(f"batches of {job.batch} rows need more than any machine's memory")
        measure = getattr(library.library(), f"workspace_{self._name}")
        measure.restype = ctypes.c_int64
        needed = measure(ctypes.byref(self._job)) + _PAGE
        if len(self._workspace) < needed:
            self._workspace = np.empty(needed, np.uint8)
            self._job.workspace = -(-_address(self._workspace) // _PAGE) * _PAGE

    def _load(self, parameters: Parameters) -> None:
        """Take copies of ``parameters``; each group's part of W1 lies in one piece."""
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
        """W1 (F, H) of the groups' parts."""
        features = self._job.features
        parts = np.split(self.W1, [features * bound for bound in self._bounds[1:-1]])
        return np.concatenate([part.reshape(features, -1) for part in parts], axis=1)


class CompiledBitwiseStep(CompiledStep):
    """Bitwise numerics on pixels or settled features; W1 is held in whole units of its grid.

    Where a weight leaves the range in which that is exact, the definition does the step; and where
    the one after does not fit either, the next 2, 4, 8 ... before compiled ones are tried again.
    """

    def __init__(
        self,
        arithmetic: Arithmetic,
        parameters: Parameters,
        rate: float,
        images: Array,
        division: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(arithmetic, parameters, rate, images, division)
        self._definition: Step | None = None  # holds the parameters while it makes steps
        self._defined_left, self._patience = 0, 1
        job = self._job
        job.grid, job.limit = const.GRID, _LARGEST / const.GRID
        if parameters.unit is None:
            job.input_bits = PIXEL_BITS
            self._worth = np.ones(job.features)
            # 2**bits in units: the definition's rounding to that many bits is then the identity.
            job.exact = 2.0 ** product_bits(job.features, beside_pixels=True)[1]
        else:
            job.kind, job.input_bits, job.exact = library.FEATURES, FEATURE_BITS, -1.0
            self._unit = self._worth = np.array(parameters.unit, np.float64)
        job.unit = _address(self._worth)
        job.exp_inverse, job.exp_high, job.exp_low, job.exp_lowest, job.exp_offset = (
            const.EXP_INVERSE, const.EXP_HIGH, const.EXP_LOW, const.EXP_LOWEST, const.EXP_OFFSET,
        )  # fmt: skip
        job.exp_table = _address(const.exp_table())

    @property
    def parameters(self) -> Parameters:
        if self._definition is not None:
            return self._definition.parameters
        p = super().parameters
        return replace(p, W1=p.W1 * const.GRID)

    def advance(self, images: Array, labels: Array, order: Array, size: int) -> tuple[Array, Array]:
        totals, picked = (np.empty(len(order)) for _ in range(2))
        size = _batch_rows(size, len(order))
        start = 0
        # Threads that OpenBLAS wakes for the definition would spin beside ours.
        with self._blas.single_threaded():
            while start < len(order):
                visit = self._define if self._defined_left else self._compute
                rest = slice(start, None)
                start += visit(images, labels, order[rest], size, totals[rest], picked[rest])
        return totals, picked

    def score(self, images: Array, labels: Array) -> Scores:
        self._take_back()
        return super().score(images, labels)

    def _compute(self, *batches: Any) -> int:
        """Compiled steps, up to one that the definition is to make; returns the images visited."""
        self._take_back()
        done = self._run(*batches)
        if done < len(batches[2]):
            self._patience = 1 if done else min(2 * self._patience, _MOST_PATIENCE)
            self._defined_left = self._patience
        return done

    def _define(
        self, images: Array, labels: Array, order: Array, size: int, totals: Array, picked: Array
    ) -> int:
        """As many steps by the definition as were put down for it; returns the images visited."""
        if self._definition is None:
            self._definition = Step(self.arithmetic, self.parameters, self.rate)
        order = order[: self._defined_left * size]
        found = self._definition.advance(images, labels, order, size)
        totals[: len(order)], picked[: len(order)] = found
        self._defined_left -= -(-len(order) // size)
        return len(order)

    def _take_back(self) -> None:
        """The parameters where compiled steps find them."""
        if self._definition is not None:
            self._load(self._definition.parameters)
            self._definition = None

    def _load(self, parameters: Parameters) -> None:
        super()._load(replace(parameters, W1=parameters.W1 * (1.0 / const.GRID)))


def _batch_rows(size: int, count: int) -> int:
    """Rows of a batch: ``size``, or all ``count`` of them where there are no more."""
    if operator.index(size) < 1:
        raise ValueError(f"batches of {size} rows; give at least 1")
    return min(operator.index(size), max(count, 1))


def _readable(x: Array) -> bool:
    """Whether C can read ``x`` (N, F) as it lies."""
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative)


def _address(x: Array) -> int:
    return x.ctypes.data
