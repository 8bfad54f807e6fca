"""What is asked of backendmlp's speed, and whether the figures of a run meet it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contestants import ENTRIES
from benchmarks.rounds import Result

Results = dict[str, Result]
Cells = dict[tuple[int, int], Results]  # by hidden units and batch size
MEGABYTE = 1e6
TOLERATED = 0.02  # of accuracy, between contestants


@dataclass(frozen=True)
class Verdict:
    """A goal, its figure and its limit; ``figure`` None where nothing was measured."""

    goal: str
    figure: float | None
    limit: float

    @property
    def met(self) -> bool | None:
        return None if self.figure is None else self.figure <= self.limit


@dataclass(frozen=True)
class RatioGoal:
    """``ours`` takes at most ``limit`` times what ``peer`` takes, in all cells or those named."""

    ours: str
    peer: str
    limit: float
    batch_sizes: tuple[int, ...] | None = None
    hidden: tuple[int, ...] | None = None

    def applies(self, hidden: int, batch_size: int) -> bool:
        return (self.batch_sizes is None or batch_size in self.batch_sizes) and (
            self.hidden is None or hidden in self.hidden
        )


_NATIVE, _BITWISE = "ours-native-float32", "ours-bitwise-float64"
RATIO_GOALS = (
    RatioGoal(_NATIVE, "jax", 1.0),
    RatioGoal(_NATIVE, "torch", 0.5),
    RatioGoal(_NATIVE, "products-float32", 1.25),
    RatioGoal(_BITWISE, "sklearn", 1.0, (64,), (100,)),
    RatioGoal(_BITWISE, "notebook", 0.5, (64,), (100,)),
    RatioGoal(_BITWISE, "products-float64", 1.6),
    RatioGoal(_BITWISE, "torch", 1.0),
    *(
        RatioGoal(f"{_NATIVE}-cupy", peer, 1.0, (64, 1024), (100,))
        for peer in ("torch-gpu", "torch-graph", "jax-gpu")
    ),
    RatioGoal(f"{_BITWISE}-cupy", "torch-gpu", 1.0, (64, 1024), (100,)),
)


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The ratio of the medians."""
    return median(a) / median(b)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slowed a whole round down drops out."""
    return median(x / y for x, y in zip(a, b, strict=True))


def ratio_verdicts(cells: Cells) -> list[Verdict]:
    """Every goal that is a ratio, in every cell it speaks of."""
    found = []
    for goal in RATIO_GOALS:
        for (hidden, batch_size), results in cells.items():
            if goal.applies(hidden, batch_size):
                found.append(_ratio_verdict(goal, hidden, batch_size, results))
    return found


def _ratio_verdict(goal: RatioGoal, hidden: int, batch_size: int, results: Results) -> Verdict:
    ours, peer = results.get(goal.ours), results.get(goal.peer)
    figure = None if ours is None or peer is None else ratio(ours.seconds, peer.seconds)
    moonshot = " (moonshot)" if (goal.ours, goal.peer) == (_BITWISE, "torch") else ""
    text = (
        f"batch {batch_size}, hidden {hidden}: {ENTRIES[goal.ours].label} / "
        f"{ENTRIES[goal.peer].label}{moonshot}"
    )
    return Verdict(text, figure, goal.limit)


def spread(values: Iterable[float]) -> float:
    """How much larger the largest is than the smallest: 0.1 for ten per cent."""
    values = list(values)
    return max(values) / min(values) - 1


def growth_verdicts(per_image: dict[str, dict[int, float]]) -> list[Verdict]:
    """``per_image``: for each contestant, the seconds an image takes by the number of images."""
    return [
        Verdict(f"growth: spread of time per image, {ENTRIES[key].label}", spread(v.values()), 0.1)
        for key, v in per_image.items()
    ]


def memory_verdicts(megabytes: dict[str, float], data_bytes: int) -> list[Verdict]:
    """``megabytes``: what a training takes beyond the bare interpreter with NumPy."""
    limit = data_bytes / MEGABYTE + 120
    return [Verdict(f"memory in MB, training {key}", v, limit) for key, v in megabytes.items()]


def startup_verdicts(seconds: dict[str, float]) -> list[Verdict]:
    """``seconds``: medians by the names of :data:`benchmarks.whole.STARTUPS`."""

    def figure(name: str, over: float | None = 1.0) -> float | None:
        return seconds[name] / over if name in seconds and over else None

    return [
        Verdict("start: import backendmlp / import numpy",
                figure("import backendmlp", seconds.get("import numpy")), 1.3),
        Verdict("start: backendmlp --help, seconds", figure("--help"), 0.3),
        Verdict("start: from the command to the first batch, seconds",
                figure("first batch"), 0.5),
    ]  # fmt: skip


def final_accuracy(result: Result) -> float | None:
    """The mean over the last three epochs: a single epoch's swings by a point or two."""
    last = result.accuracies[-3:]
    return sum(last) / len(last) if last else None


def off(results: Results) -> dict[str, float]:
    """By how much contestants miss the median accuracy, for those that miss it by too much."""
    found = {key: a for key, r in results.items() if (a := final_accuracy(r)) is not None}
    if not found:
        return {}
    middle = median(found.values())
    return {key: a - middle for key, a in found.items() if not abs(a - middle) <= TOLERATED}
