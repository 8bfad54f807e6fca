"""What ``backendmlp predict`` prints: for people, as CSV and as JSON, both to read back exactly."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from backendmlp.mlp import MLP
from backendmlp.network.losses import classes_in_memory
from backendmlp.strictjson import printed

Printer = Callable[[MLP, Sequence[str], np.ndarray], None]


def _classes_text(mlp: MLP, names: Sequence[str], shares: np.ndarray) -> None:
    best = _best(mlp, shares)
    widths = max(map(len, names)), max(map(len, mlp.class_names))
    for name, label, row in zip(names, best, shares, strict=True):
        print(f"{name:<{widths[0]}}  {label:<{widths[1]}}  {row.max():7.2%}")


def _classes_csv(mlp: MLP, names: Sequence[str], shares: np.ndarray) -> None:
    rows = zip(names, _best(mlp, shares), shares, strict=True)
    _write_csv(
        ["image", "class", *mlp.class_names],
        ([name, label, *map(float, row)] for name, label, row in rows),
    )


def _classes_json(mlp: MLP, names: Sequence[str], shares: np.ndarray) -> None:
    rows = zip(names, _best(mlp, shares), shares, strict=True)
    _write_json(
        {
            "image": name,
            "class": label,
            "probabilities": dict(zip(mlp.class_names, map(float, row), strict=True)),
        }
        for name, label, row in rows
    )


def _numbers_text(mlp: MLP, names: Sequence[str], outputs: np.ndarray) -> None:
    width = max(map(len, names))
    for name, row in zip(names, outputs, strict=True):
        print(f"{name:<{width}}  " + "  ".join(f"{value:12.6g}" for value in row))


def _numbers_csv(mlp: MLP, names: Sequence[str], outputs: np.ndarray) -> None:
    count = outputs.shape[1]
    heads = ["output"] if count == 1 else [f"output {number}" for number in range(count)]
    rows = zip(names, outputs, strict=True)
    _write_csv(["input", *heads], ([name, *map(float, row)] for name, row in rows))


def _numbers_json(mlp: MLP, names: Sequence[str], outputs: np.ndarray) -> None:
    rows = zip(names, outputs, strict=True)
    _write_json({"input": name, "outputs": list(map(float, row))} for name, row in rows)


def _best(mlp: MLP, shares: np.ndarray) -> list[str]:
    """The name of each row's most probable class, as :meth:`MLP.predict` finds it."""
    return [mlp.class_names[label] for label in classes_in_memory(shares)]


def _write_csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)


def _write_json(entries: Iterable[dict[str, Any]]) -> None:
    print(printed(list(entries)))


PRINTERS: dict[tuple[str, bool], Printer] = {
    ("text", False): _classes_text,
    ("csv", False): _classes_csv,
    ("json", False): _classes_json,
    ("text", True): _numbers_text,
    ("csv", True): _numbers_csv,
    ("json", True): _numbers_json,
}
"""By the form asked for, and whether the model is a regression."""
