"""``backendmlp evaluate`` and ``backendmlp predict``: a trained model at work."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from backendmlp.data import read_pictures
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.mlp import MLP
from backendmlp.run import MODEL
from backendmlp.training import predictions_digest


def evaluate(
    path: Path, *, backend: str, device: str | None, data: Path | None, dataset: str | None
) -> None:
    """Print loss, accuracy, the accuracy of each class and the predictions' digest."""
    mlp = _load(path, backend, device)
    source = origin(data, dataset).open()
    if source.classes > len(mlp.class_names):
        raise InputError(
            f"the data have {source.classes} classes, the model {len(mlp.class_names)}; "
            "give data of the classes it was trained on"
        )
    found = mlp.evaluate(source.test_images, source.test_labels)
    shares = mlp.predict_proba(source.test_images)
    count = len(source.test_labels)
    print(f"test loss {found.loss:.4f}  test accuracy {found.accuracy:.2%}  ({count:,} images)")
    predicted = mlp.predict(source.test_images)
    for label, name in enumerate(mlp.class_names):
        own = source.test_labels == label
        if own.any():
            print(f"  {name:<16} {np.mean(predicted[own] == label):7.2%}  of {own.sum():,}")
    print(f"predictions sha256 {predictions_digest(shares)}")


def predict(
    path: Path, images: Sequence[Path], *, backend: str, device: str | None, form: str
) -> None:
    """Print each image's class and probability, or all classes' probabilities as CSV or JSON."""
    mlp = _load(path, backend, device)
    pictures, names = read_pictures(images, _picture_shape(path, mlp.image_shape))
    shares, classes = mlp.predict_proba(pictures), mlp.predict(pictures)
    {"text": _print_text, "csv": _print_csv, "json": _print_json}[form](mlp, names, shares, classes)


def _picture_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the pictures that a model with inputs of ``shape`` takes."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):  # one channel, before or behind
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    if len(shape) != 2:
        raise InputError(
            f"model file {str(path)!r} takes inputs of shape {shape}, which picture files cannot "
            "give; predict from Python, or choose a model of gray pictures"
        )
    rows, columns = shape
    return rows, columns


def _load(path: Path, backend: str, device: str | None) -> MLP:
    return MLP.load(path / MODEL if path.is_dir() else path, backend=backend, device=device)


def _rows(
    mlp: MLP, names: Sequence[str], shares: np.ndarray, classes: np.ndarray
) -> Iterator[tuple[str, str, np.ndarray]]:
    for name, row, label in zip(names, shares, classes, strict=True):
        yield name, mlp.class_names[label], row


def _print_text(mlp: MLP, names: Sequence[str], shares: np.ndarray, classes: np.ndarray) -> None:
    widths = max(map(len, names)), max(map(len, mlp.class_names))
    for name, best, row in _rows(mlp, names, shares, classes):
        print(f"{name:<{widths[0]}}  {best:<{widths[1]}}  {row.max():7.2%}")


def _print_csv(mlp: MLP, names: Sequence[str], shares: np.ndarray, classes: np.ndarray) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "class", *mlp.class_names])
    for name, best, row in _rows(mlp, names, shares, classes):
        writer.writerow([name, best, *map(float, row)])


def _print_json(mlp: MLP, names: Sequence[str], shares: np.ndarray, classes: np.ndarray) -> None:
    entries = [
        {
            "image": name,
            "class": best,
            "probabilities": dict(zip(mlp.class_names, map(float, row), strict=True)),
        }
        for name, best, row in _rows(mlp, names, shares, classes)
    ]
    print(json.dumps(entries, indent=2))
