"""Compiled steps on several ranks, each of which computes some rows of every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backendmlp.backend import Backend
from backendmlp.distributed.gathering import own_rows, parts_of_all, scores_of_all
from backendmlp.distributed.step import SharedStep, whole_mass
from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned, Recipe
from backendmlp.ranks import Ranks
from backendmlp.steps.compiled import library
from backendmlp.steps.compiled.library import address
from backendmlp.steps.compiled.steps import CompiledBitwiseStep
from backendmlp.steps.stepper import Rows

Array = Any


class SharedCompiledStep(CompiledBitwiseStep):
    """Calls MPI twice a step, from C, by the thread that called :meth:`advance`.

    Where a number leaves the range of compiled steps on any rank, or a batch has fewer rows than
    there are ranks, all leave the step to the definition, at the same time.
    """

    def __init__(
        self,
        backend: Backend,
        recipe: Recipe,
        learned: Learned,
        rows: Rows,
        ranks: Ranks,
        division: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(recipe, learned, rows, division)
        self.backend, self.ranks = backend, ranks
        sizes = learned.parameters.sizes
        self._places = np.zeros(2 * sum(sizes[1:-1]) + sizes[-1] + 1, np.int16)
        self._sums = np.zeros(sum(value.size for value in learned.parameters.as_dict().values()))
        self._error: BaseException | None = None
        self._meetings = (
            self._meeting(lambda: ranks.largest(self._places)),
            self._meeting(lambda: ranks.total(self._sums)),
        )  # held as long as C may call them
        self._job.places, self._job.sums = address(self._places), address(self._sums)
        self._job.agree, self._job.add = self._meetings

    def score(self, inputs: Array, targets: Array) -> Scores:
        return scores_of_all(self.ranks, self.recipe, inputs, targets, super().score)

    def _run(
        self, rows: Rows, order: Array, size: int, coefficients: Coefficients, parts: Parts
    ) -> int:
        """Compiled steps of whole batches, of which ``order`` holds all rows, also others'."""
        done, full = 0, len(order) // size * size
        for start, stop, batch in ((0, full, size), (full, len(order), len(order) - full)):
            if start == stop:
                continue
            if batch < self.ranks.size:
                break
            first = start // size
            piece = Coefficients(
                *(x[first : first + (stop - start) // batch] for x in coefficients.columns)
            )
            found = tuple(part[start:stop] for part in parts)
            some = self._run_alike(rows, order[start:stop], batch, piece, found)
            done += some
            if some < stop - start:
                break
        return done

    def _run_alike(
        self, rows: Rows, order: Array, batch: int, coefficients: Coefficients, parts: Parts
    ) -> int:
        """Steps on batches of ``batch`` rows each; returns the rows of those that were made."""
        counts = [batch] * (len(order) // batch)
        mine = order[own_rows(self.ranks, counts)]
        share = len(mine) // len(counts)
        mass = None
        if rows.weights is not None:
            batches = order.reshape(-1, batch)
            mass = np.array([float(whole_mass(self.recipe, rows, index)) for index in batches])
        self._job.whole, self._job.mass = batch, None if mass is None else address(mass)
        own = self._empty_parts(len(mine))
        try:
            steps = super()._run(rows, mine, share, coefficients, own) // share
        finally:
            self._job.whole, self._job.mass = 0, None
        if self._error is not None:
            raise self._error
        found = [part[: steps * share] for part in own]
        for part, all_ in zip(parts, parts_of_all(self.ranks, found, counts[:steps]), strict=True):
            part[: steps * batch] = all_
        return steps * batch

    def _new_definition(self) -> SharedStep:
        return SharedStep(self.backend, self.recipe, self.learned, self.ranks)

    def _meeting(self, meet: Callable[[], None]) -> Any:
        """``meet`` for C, through which no exception can pass."""

        def call() -> int:
            try:
                meet()
            except BaseException as error:
                self._error = error
                return 1
            return 0

        return library.MEETING(call)
