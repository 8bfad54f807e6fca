"""The compiled steps as the trainer sees them."""

from __future__ import annotations

import ctypes
import operator
from itertools import pairwise
from typing import Any

import numpy as np

from backendmlp.network import evaluation
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.steps.blas import openblas
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.held import Held
from backendmlp.steps.compiled.library import address
from backendmlp.steps.definition import Step
from backendmlp.steps.stepper import Rows, Stepper

Array = Any

_FEWEST_UNITS = 12  # of a thread: with fewer, products so narrow are slow
_FEWEST_ROWS = 64  # of a thread: with fewer, adding up what each found takes as long
_MANY_ROWS = 128  # of a thread: with as many, rows are divided sooner than units
_FEWEST_PRODUCTS = 1 << 22  # likewise: with fewer, threads spend their time beginning and meeting
_SCORED = 256  # rows in a pass that learns nothing
_MOST_PATIENCE = 64  # steps of the definition in a row
_MOST_NUMBERS = 1 << 56  # some of each kind, of 8 bytes: C counts them in 63 bits


class CompiledStep:
    """Native numerics, float32 or float64, on inputs of the kind of ``rows.inputs``.

    ``division`` says among how many threads the hidden units are divided, and among how many the
    rows of each of these.  Without it units are divided while batches are small: their weights
    never leave a core's cache.  Of a large batch rows are, so that each is made real numbers once.
    """

    name = "compiled"

    def __init__(
        self,
        recipe: Recipe,
        learned: Learned,
        rows: Rows,
        division: tuple[int, int] | None = None,
    ) -> None:
        sizes = learned.parameters.sizes
        if division and len(sizes) == 2:  # no units to divide
            division = 1, division[0] * division[1]
        self.recipe, self._division = recipe, division
        # One hidden layer counts, that with the most products.
        layers = [(a * b, b) for a, b in pairwise(sizes)]
        _, self._units = max(layers[:-1], default=(0, 1))
        self._hidden = sum(sizes[1:-1])
        self._products = sum(products for products, _ in layers)
        blas = openblas()
        assert blas is not None
        self._threads = blas.threads
        self._held = Held(recipe, learned, rows.inputs, self._groups(1))
        self._blas, self._job = blas, self._held.job
        self._workspace = library.Workspace()

    @property
    def groups(self) -> int:
        """Among how many groups of threads the hidden units are divided."""
        return self._held.groups

    @property
    def learned(self) -> Learned:
        return self._held.learned()

    def watch(self) -> Array:
        """An array (library.PHASES,) to which the seconds of one thread are added from now on."""
        self._seconds = np.zeros(len(library.PHASES))
        self._job.seconds = address(self._seconds)
        return self._seconds

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        parts = self._empty_parts(len(order))
        if len(order):
            self._run(rows, order, size, coefficients, parts)
        return parts

    def score(self, inputs: Array, targets: Array) -> Scores:
        if inputs.dtype.newbyteorder("=") == self._held.kind:
            parts = self._empty_parts(len(inputs))
            shown = np.empty((len(inputs), self._held.sizes[-1]), self.recipe.arithmetic.dtype)
            if self._show(Rows(inputs, targets), parts, shown) == len(inputs):
                return Scores(parts, shown)
        return evaluation.score(self.recipe, self.learned.parameters, inputs, targets)

    def _run(
        self, rows: Rows, order: Array, size: int, coefficients: Coefficients, parts: Parts
    ) -> int:
        """Learn from the rows ``order``; returns how many of them, those of whole steps."""
        order = np.require(order, np.int64, ("C", "A"))
        if order.ndim != 1 or any(len(part) != len(order) for part in parts):
            raise IndexError("order and results are not as long as each other")
        if order.min() < 0 or order.max() >= len(rows.inputs):
            raise IndexError(f"the order points outside the {len(rows.inputs)} rows")
        # Whole batches decide, so that bits of native numerics do not depend on where a call ends.
        batch, size = _batch_rows(size, len(rows.inputs)), _batch_rows(size, len(order))
        columns = [np.require(x, np.float64, ("C", "A")) for x in coefficients.columns]
        if any(x.shape != (-(-len(order) // size),) for x in columns):
            raise IndexError("there are not as many coefficients as steps")
        if not _readable(rows.inputs):  # C reads whole rows, one behind the other
            rows = Rows(*(None if x is None else x[order] for x in _arrays(rows)))
            order = np.arange(len(order))
        job = self._job
        job.scale, job.size, job.epsilon, job.decay = map(address, columns)
        job.outputs = None
        self._held.divide(self._groups(batch))
        return self._call(rows, order, size, self._fellows(batch), parts)

    def _show(self, rows: Rows, parts: Parts, shown: Array) -> int:
        """Scores of ``rows`` as they lie; returns of how many."""
        if not len(shown):
            return 0
        self._job.outputs, size = address(shown), _batch_rows(_SCORED, len(shown))
        return self._call(rows, None, size, self._fellows(size), parts)

    def _call(self, rows: Rows, order: Array | None, size: int, fellows: int, parts: Parts) -> int:
        """The one place where anything that C is handed may come from outside: it is checked.

        But for ``order``, which is, and points into the rows; without it all of them are visited.
        """
        job, held = self._job, self._held
        inputs, targets, weights = self._checked(rows)
        job.inputs, job.targets, job.order = address(inputs), address(targets), None
        job.weights = None if weights is None else address(weights)
        count = len(rows.inputs)
        if order is not None:
            job.order, count = address(order), len(order)
        job.part_0, job.part_1 = (*map(address, parts), None)[:2]
        job.count, job.batch = count, size
        job.threads = job.groups * fellows
        if job.threads * job.batch * sum(held.sizes) >= _MOST_NUMBERS:
            raise MemoryError(f"batches of {job.batch} rows need more than any machine's memory")
        self._workspace.give(job, held.numerics)
        with self._blas.single_threaded():
            if library.functions(held.numerics)[0](ctypes.byref(job)):
                raise MemoryError("no threads could be started for the steps of a training")
        return job.done

    def _checked(self, rows: Rows) -> tuple[Array, Array, Array | None]:
        """Inputs, targets and weights as C reads them."""
        held, count = self._held, len(rows.inputs)
        dtype, classes = self.recipe.arithmetic.dtype, self.recipe.loss.name == "cross_entropy"
        inputs, weights = rows.inputs, rows.weights
        if inputs.shape[1:] != held.sizes[:1] or inputs.dtype.newbyteorder("=") != held.kind:
            raise IndexError(f"inputs {inputs.dtype} {inputs.shape} are not those of this step")
        inputs = np.require(inputs, held.kind, ("C", "A"))
        targets = np.require(rows.targets, np.int64 if classes else dtype, ("C", "A"))
        if targets.shape != ((count,) if classes else (count, held.sizes[-1])):
            raise IndexError(f"targets of the shape {targets.shape} are not those of {count} rows")
        if weights is not None:
            weights = np.require(weights, dtype, ("C", "A"))
            if weights.shape != (count,):
                raise IndexError(f"there are {weights.shape} weights for {count} rows")
        return inputs, targets, weights

    def _groups(self, batch: int) -> int:
        """Among how many threads the units of hidden layers are divided."""
        if self._division:
            return self._division[0]
        first = 1  # threads that rows are divided among before units are
        if batch >= self._hidden:  # else adding up gradients takes as long as is saved
            most = min(batch // _MANY_ROWS, batch * self._products // _FEWEST_PRODUCTS)
            first = _largest_divisor(self._threads, most)
        return min(self._threads // first, max(1, self._units // _FEWEST_UNITS))

    def _fellows(self, batch: int) -> int:
        """Among how many threads of a group the rows of a batch are divided."""
        if self._division:
            return self._division[1]
        products = batch * self._products // self._job.groups
        worth = min(batch // _FEWEST_ROWS, products // _FEWEST_PRODUCTS)
        return max(1, min(self._threads // self._job.groups, worth))

    def _empty_parts(self, count: int) -> Parts:
        dtype = self.recipe.arithmetic.dtype
        return tuple(np.empty(count, dtype) for _ in self.recipe.loss.parts)


class CompiledBitwiseStep(CompiledStep):
    """Bitwise numerics on pixels or settled features.

    Where a number leaves the range in which all is exact, the definition does the step; and where
    the one after does not fit either, the next 2, 4, 8 ... before compiled ones are tried again.
    """

    def __init__(
        self,
        recipe: Recipe,
        learned: Learned,
        rows: Rows,
        division: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(recipe, learned, rows, division)
        self._definition: Stepper | None = None  # holds what is learned while it makes steps
        self._defined_left, self._patience = 0, 1

    @property
    def learned(self) -> Learned:
        return super().learned if self._definition is None else self._definition.learned

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        parts = self._empty_parts(len(order))
        size = _batch_rows(size, len(order))
        start = 0
        # Threads that OpenBLAS wakes for the definition would spin beside ours.
        with self._blas.single_threaded():
            while start < len(order):
                visit = self._define if self._defined_left else self._compute
                rest = tuple(part[start:] for part in parts)
                left = Coefficients(*(x[start // size :] for x in coefficients.columns))
                start += visit(rows, order[start:], size, left, rest)
        return parts

    def score(self, inputs: Array, targets: Array) -> Scores:
        self._take_back()
        return super().score(inputs, targets)

    def _compute(self, *batches: Any) -> int:
        """Compiled steps, up to one that the definition is to make; returns the rows visited."""
        self._take_back()
        done = self._run(*batches)
        if done < len(batches[1]):
            self._patience = 1 if done else min(2 * self._patience, _MOST_PATIENCE)
            self._defined_left = self._patience
        return done

    def _define(
        self, rows: Rows, order: Array, size: int, coefficients: Coefficients, parts: Parts
    ) -> int:
        """As many steps by the definition as were put down for it; returns the rows visited."""
        if self._definition is None:
            self._definition = self._new_definition()
        order = order[: self._defined_left * size]
        for part, found in zip(
            parts, self._definition.advance(rows, order, size, coefficients), strict=True
        ):
            part[: len(order)] = found
        self._defined_left -= -(-len(order) // size)
        return len(order)

    def _new_definition(self) -> Stepper:
        return Step(self.recipe, self.learned)

    def _take_back(self) -> None:
        """What is learned where compiled steps find it."""
        if self._definition is not None:
            self._held.load(self._definition.learned)
            self._definition = None


def _arrays(rows: Rows) -> tuple[Array, Array, Array | None]:
    return rows.inputs, rows.targets, rows.weights


def _batch_rows(size: int, count: int) -> int:
    """Rows of a batch: ``size``, or all ``count`` of them where there are no more."""
    if operator.index(size) < 1:
        raise ValueError(f"batches of {size} rows; give at least 1")
    return min(operator.index(size), max(count, 1))


def _largest_divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` that is no larger than ``most``, but at least 1."""
    return next((n for n in range(min(number, most), 1, -1) if number % n == 0), 1)


def _readable(x: Array) -> bool:
    """Whether C can read ``x`` (N, F) as it lies."""
    return bool(x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative)
