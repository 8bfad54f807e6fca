"""A contestant's process: makes it, warms it up, then runs one epoch whenever it is asked to.

``python -m benchmarks.worker TASK``: a line "epochs COUNT" in, a line of JSON out.  Only the
epochs are timed; the accuracy is taken between them.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from benchmarks.contestants import ENTRIES
from benchmarks.task import Task, load


def main() -> None:
    # Whatever a library prints must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    task = Task.decode(sys.argv[1])
    try:
        contestant = ENTRIES[task.contestant].make(task, load(task.folder))
        warm_up = contestant.run()
    except Exception as error:
        answer({"error": f"{type(error).__name__}: {error}", "absent": _is_absent(error)})
        raise
    answer({"warm_up": warm_up, "accuracy": contestant.accuracy()})
    for line in sys.stdin:
        seconds = sum(contestant.run() for _ in range(int(line.split()[1])))
        answer({"seconds": seconds, "accuracy": contestant.accuracy()})


def _is_absent(error: Exception) -> bool:
    """Whether this machine lacks what the contestant needs, rather than it being broken."""
    from backendmlp.errors import InputError

    return isinstance(error, ImportError | InputError)


if __name__ == "__main__":
    main()
