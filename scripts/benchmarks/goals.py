"""What is asked of backendmlp's speed, and whether the figures of a run meet it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.contestants import BEFORE, ENTRIES
from benchmarks.rounds import Result
from benchmarks.task import DISCIPLINES, Discipline

Results = dict[str, Result]
Cells = dict[tuple[Discipline, int], Results]  # by batch size too
Predictions = dict[tuple[int, ...], Results]  # by units of the hidden layers
MEGABYTE = 1e6
# Between contestants: of accuracy, and of the loss as a share of the median one.
TOLERATED, TOLERATED_LOSS = 0.02, 0.1


@dataclass(frozen=True)
class Verdict:
    """A goal, its figure and its limit; ``figure`` None where nothing was measured."""

    goal: str
    figure: float | None
    limit: float

    @property
    def met(self) -> bool | None:
        return None if self.figure is None else self.figure <= self.limit


Where = Callable[[Discipline], bool]


def anywhere(discipline: Discipline) -> bool:
    return True


def plain(discipline: Discipline) -> bool:
    return discipline.plain


def first(discipline: Discipline) -> bool:
    return discipline == DISCIPLINES["sgd"]


def asked(discipline: Discipline) -> bool:
    """Depth, and optimisers that keep something."""
    return discipline in (DISCIPLINES["momentum"], DISCIPLINES["adam"])


@dataclass(frozen=True)
class RatioGoal:
    """``ours`` takes at most ``limit`` times what ``peer`` takes, in the cells that are meant."""

    ours: str
    peer: str
    limit: float
    where: Where = anywhere
    batch_sizes: tuple[int, ...] | None = None

    def applies(self, discipline: Discipline, batch_size: int) -> bool:
        return self.where(discipline) and batch_size in (self.batch_sizes or (batch_size,))


_NATIVE, _BITWISE = "ours-native-float32", "ours-bitwise-float64"
_NO_WORSE = 1.05  # times before: medians of one run move by so much
RATIO_GOALS = (
    RatioGoal(_NATIVE, "jax", 1.0),
    RatioGoal(_NATIVE, "torch", 0.5, plain),
    RatioGoal(_NATIVE, "products-float32", 1.25, plain),
    RatioGoal(_BITWISE, "sklearn", 1.0, first, (64,)),
    RatioGoal(_BITWISE, "notebook", 0.5, first, (64,)),
    RatioGoal(_BITWISE, "products-float64", 1.6, plain),
    RatioGoal(_BITWISE, "torch", 1.0, plain),
    RatioGoal(f"{_BITWISE}-features", _BITWISE, 1.5, plain),
    *(RatioGoal(ours, before, _NO_WORSE) for before, ours in BEFORE.items()),
    RatioGoal(_NATIVE, "torch", 0.5, asked, (64,)),
    RatioGoal(_NATIVE, "products-float32", 1.3, asked),
    RatioGoal(_BITWISE, "sklearn", 1.0, asked),
    RatioGoal(_BITWISE, "pass-float64", 1.4, asked),
    *(
        RatioGoal(f"{_NATIVE}-cupy", peer, 1.0, first, (64, 1024))
        for peer in ("torch-gpu", "torch-graph", "jax-gpu")
    ),
    RatioGoal(f"{_BITWISE}-cupy", "torch-gpu", 1.0, first, (64, 1024)),
)


def ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The ratio of the medians."""
    return median(a) / median(b)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slowed a whole round down drops out."""
    return median(x / y for x, y in zip(a, b, strict=True))


def ratio_verdicts(cells: Cells) -> list[Verdict]:
    """Every goal that is a ratio, in every cell it speaks of.

    Those of before are no goals where there is nothing of before.
    """
    return [
        _ratio_verdict(goal, f"batch {batch_size}, {discipline.title}", results)
        for (discipline, batch_size), results in cells.items()
        for goal in RATIO_GOALS
        if goal.applies(discipline, batch_size)
        and (goal.peer not in BEFORE or goal.peer in results)
    ]


def _ratio_verdict(goal: RatioGoal, where: str, results: Results) -> Verdict:
    ours, peer = results.get(goal.ours), results.get(goal.peer)
    figure = None if ours is None or peer is None else ratio(ours.seconds, peer.seconds)
    moonshot = " (moonshot)" if (goal.ours, goal.peer) == (_BITWISE, "torch") else ""
    text = f"{where}: {ENTRIES[goal.ours].label} / {ENTRIES[goal.peer].label}{moonshot}"
    return Verdict(text, figure, goal.limit)


def prediction_verdicts(predictions: Predictions) -> list[Verdict]:
    """Ours beside the faster of PyTorch and scikit-learn, with the first network."""
    results = predictions.get(DISCIPLINES["sgd"].hidden)
    if results is None:
        return []
    return [
        Verdict(
            f"predicting {count:,} images: {ENTRIES[key].label} / the faster of PyTorch and "
            "scikit-learn",
            beside_faster(results, key, count),
            limit,
        )
        for key, limit in ((_NATIVE, 1.0), (_BITWISE, 2.0))
        for count in (1, 100, 60_000)
    ]


def beside_faster(results: Results, key: str, count: int) -> float | None:
    """How many times as long as the faster of two peers ``key`` takes to predict ``count``."""
    found = {k: median(r.predictions[count]) for k, r in results.items() if count in r.predictions}
    if not {key, "torch", "sklearn"} <= set(found):
        return None
    return found[key] / min(found["torch"], found["sklearn"])


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


def final(values: Sequence[float]) -> float | None:
    """The mean over the last three epochs: a single epoch's accuracy swings by a point or two."""
    last = values[-3:]
    return sum(last) / len(last) if last else None


def off(results: Results) -> dict[str, str]:
    """By how much contestants miss the median accuracy or loss, if too much: in words."""
    found = {key: f"{100 * a:+.2f} points off the median accuracy"
             for key, a in _gaps(results, "accuracies").items()
             if not abs(a) <= TOLERATED}  # fmt: skip
    losses = _gaps(results, "losses", share=True)
    found |= {key: f"{100 * a:+.1f} % off the median loss" for key, a in losses.items()
              if not abs(a) <= TOLERATED_LOSS and key not in found}  # fmt: skip
    return found


def _gaps(results: Results, measure: str, share: bool = False) -> dict[str, float]:
    """What is between each contestant's final ``measure`` and the median one."""
    found = {key: a for key, r in results.items() if (a := final(getattr(r, measure))) is not None}
    middle = median(found.values()) if found else 0.0
    return {key: (a - middle) / (middle if share else 1.0) for key, a in found.items()}
