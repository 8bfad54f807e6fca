"""A contestant's process: makes it, warms it up, then runs epochs or predicts, as it is asked to.

``python -m benchmarks.worker TASK``: a line "epochs COUNT", "predict IMAGES", "measure WHAT" or
"task TASK" in, a line of JSON out.  Only the epochs and predictions are timed; accuracy and loss
are taken between them.  Another task makes the contestant anew, in the same process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from benchmarks.contestants import ENTRIES
from benchmarks.task import Contestant, Predict, Task, load

_MOST_CALLS, _MOST_IMAGES = 100, 20_000  # in a turn of predictions


def main() -> None:
    # Whatever a library prints must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any], speaks: bool = True) -> None:
        if speaks:
            print(json.dumps(message), file=answers, flush=True)

    def begun(text: str) -> Contestant:
        task = Task.decode(text)
        try:
            contestant = ENTRIES[task.contestant].make(task, load(task.folder))
            warm_up = contestant.run()
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}", "absent": _is_absent(error)})
            raise
        told = {"warm_up": warm_up, "steps": contestant.kind, **contestant.measures()}
        answer(told, contestant.speaks)
        return contestant

    contestant = begun(sys.argv[1])
    predict: Predict | None = None
    for line in contestant.lines(sys.stdin):
        word, _, rest = line.strip().partition(" ")
        if word == "epochs":
            seconds = sum(contestant.run() for _ in range(int(rest)))
            answer({"seconds": seconds, **contestant.measures()}, contestant.speaks)
        elif word == "task":
            del contestant  # before another takes its memory
            contestant, predict = begun(rest), None
        elif word == "measure":
            answer(contestant.measure(rest), contestant.speaks)
        else:
            predict = predict or contestant.predictor()
            answer(_predicted(contestant, predict, int(rest)))


def _predicted(contestant: Contestant, predict: Predict, count: int) -> dict[str, float]:
    """The median seconds of a call, and the share of its images that it classified rightly."""
    right = float(np.mean(predict(count) == contestant.data.labels[:count]))
    calls = max(1, min(_MOST_CALLS, _MOST_IMAGES // count))
    seconds = [_seconds(predict, count) for _ in range(calls)]
    return {"seconds": median(seconds), "accuracy": right}


def _seconds(predict: Callable[[int], Any], count: int) -> float:
    started = time.perf_counter()
    predict(count)
    return time.perf_counter() - started


def _is_absent(error: Exception) -> bool:
    """Whether this machine lacks what the contestant needs, rather than it being broken."""
    from backendmlp.errors import InputError

    return isinstance(error, ImportError | InputError)


if __name__ == "__main__":
    main()
