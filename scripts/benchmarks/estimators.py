"""``MLPClassifier`` of both libraries on images, digits and rows like covertype's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backendmlp.data import Dataset
from benchmarks.contestants import ENTRIES, ESTIMATORS
from benchmarks.goals import Results, Verdict, final, paired_ratio
from benchmarks.report import aligned
from benchmarks.rounds import Outcome, Worker, compete
from benchmarks.task import Data, Discipline, Task, sized, store

_USUAL = Discipline((100,), "adam"), 200  # what both take by default, and rows of a batch
PEER = "estimator-sklearn"
_FEW = 1000  # rows of a smaller prediction
_COVERTYPE = 100_000  # rows, of the 581,012 of the real one


@dataclass(frozen=True)
class Set:
    """Rows to be told apart, and how many passes over them a fit takes."""

    name: str
    data: Data
    passes: int

    @property
    def title(self) -> str:
        rows, columns = self.data.images.shape
        return f"{self.name}, {rows:,} x {columns}, {self.passes} epochs"


def sets(images: Dataset, count: int, quick: bool) -> Iterator[Set]:
    """Floats as people have them: from 0 to 1, or standardised."""
    found = sized(images, count)
    scaled = replace(found, images=found.floats(), test_images=found.test_images / np.float32(255))
    more = 30 if quick else None  # of few rows: else nobody has learned yet
    yield Set(images.name, scaled, more or 10)
    yield Set("digits", _digits(), 30)
    yield Set("like covertype", _like_covertype(_COVERTYPE // (20 if quick else 1)), more or 5)


def _digits() -> Data:
    from sklearn.datasets import load_digits

    return _split(*load_digits(return_X_y=True))


def _like_covertype(rows: int) -> Data:
    """As many columns and classes as the real set, which is not at hand everywhere."""
    from sklearn.datasets import make_classification

    return _split(
        *make_classification(
            rows, 54, n_informative=20, n_redundant=10, n_classes=7, class_sep=2.0, random_state=0
        )
    )


def _split(x: np.ndarray, y: np.ndarray) -> Data:
    """Every fourth row to test with; standardised by the others."""
    test = np.arange(len(x)) % 4 == 3
    mean, deviation = x[~test].mean(axis=0), x[~test].std(axis=0)
    x = ((x - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)
    return Data(x[~test], y[~test].astype(np.int64), x[test], y[test].astype(np.int64))


@dataclass(frozen=True)
class Found:
    """A set's fits and predictions."""

    title: str
    rows: int
    fits: Results
    predictions: Results

    def table(self) -> str:
        """Seconds of a fit and of predictions, and paired ratios to scikit-learn's float32."""
        counts = _counts(self.rows)
        head = [f"predict {count:,}" for count in counts]
        table = [("", "fit s", "(paired)", *(c for h in head for c in (f"{h} ms", "")), "accuracy")]
        for key, fit in self.fits.items():
            cells = [f"{median(fit.seconds):.3f}", _bracket(self.ratio(key))]
            for count in counts:
                if (calls := self._calls(key, count)) is not None:
                    cells += [f"{1e3 * median(calls):.3f}", _bracket(self.ratio(key, count))]
                else:
                    cells += ["", ""]
            accuracy = final(fit.accuracies)
            cells.append("" if accuracy is None else f"{100 * accuracy:.2f} %")
            table.append((ENTRIES[key].label, *cells))
        return aligned(table)

    def ratio(self, key: str, count: int | None = None) -> float | None:
        """The median of the rounds' ratios to scikit-learn's: of fits, or of predictions."""
        ours, peer = self._calls(key, count), self._calls(PEER, count)
        return None if ours is None or peer is None else paired_ratio(ours, peer)

    def _calls(self, key: str, count: int | None) -> list[float] | None:
        results = self.fits if count is None else self.predictions
        if key not in results:
            return None
        return results[key].seconds if count is None else results[key].predictions.get(count)

    def verdicts(self) -> list[Verdict]:
        """Ahead in native float32, and level or ahead in bitwise."""
        whole = {"fit": None, **{f"predict {count:,}": count for count in _counts(self.rows)}}
        return [
            Verdict(f"{self.title}: {what}: {ENTRIES[key].label}", self.ratio(key, count), 1.0)
            for key in ("estimator-native", "estimator-bitwise")
            for what, count in whole.items()
        ]

    def as_dict(self) -> dict[str, Any]:
        found = {"fits": self.fits, "predictions": self.predictions}
        results = {k: [result.as_dict() for result in v.values()] for k, v in found.items()}
        return {"set": self.title, "table": self.table(), **results}


def race(task: Task, found: Set, rounds: int, say: Callable[[str], None]) -> tuple[Found, Outcome]:
    """Fits of ``found`` in alternating rounds, and then predictions of its rows."""
    store(found.data, Path(task.folder))
    discipline, batch_size = _USUAL
    task = replace(task, batch_size=batch_size, discipline=discipline, passes=found.passes)
    tasks = {key: replace(task, contestant=key) for key in ESTIMATORS}
    fits = compete(tasks, rounds, say)
    rows = len(found.data.images)

    def predict(worker: Worker) -> None:
        for count in _counts(rows):
            worker.predict(count)

    left = {key: task for key, task in tasks.items() if key in fits.results}
    predictions = compete(left, rounds, say, predict)
    return Found(found.title, rows, fits.results, predictions.results), fits


def _counts(rows: int) -> list[int]:
    return [1, min(_FEW, rows), rows]


def _bracket(ratio: float | None) -> str:
    return "" if ratio is None else f"({ratio:.2f})"
