"""What the trainer asks of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from backendmlp.network.evaluation import Scores
from backendmlp.network.losses import Parts
from backendmlp.network.optimizers import Coefficients
from backendmlp.network.recipe import Learned

Array = Any


@dataclass(frozen=True)
class Rows:
    """What is learned from: ``inputs`` (N, F), ``targets`` (N,) or (N, C), ``weights`` (N,).

    Weights are of the arithmetic's dtype, none negative; None: all rows count alike.
    """

    inputs: Array
    targets: Array
    weights: Array | None = None


class Stepper(Protocol):
    """It owns what is learned while it runs."""

    @property
    def name(self) -> str:
        """What does the work: "definition", "compiled" or "kernels"."""

    @property
    def learned(self) -> Learned: ...

    def advance(self, rows: Rows, order: Array, size: int, coefficients: Coefficients) -> Parts:
        """Learn from the rows ``order`` (n,), a step for each ``size`` of them.

        The last step may have fewer; ``coefficients`` has an entry for each step.  Returns the
        parts of each row's loss before its step, (n,) each: what :meth:`.Loss.rows` takes.  Nothing
        is fetched from the device.
        """

    def score(self, inputs: Array, targets: Array) -> Scores:
        """What the network as it stands makes of ``inputs`` (N, F) and ``targets``."""
