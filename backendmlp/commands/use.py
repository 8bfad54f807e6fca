"""``backendmlp evaluate`` and ``backendmlp predict``: a trained model at work."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.data import read_pictures
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.mlp import MLP
from backendmlp.network.evaluation import classes as classes_of
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.record import Data, parse_data, read
from backendmlp.runs.run import MODEL, RECORD
from backendmlp.runs.verification import open_data
from backendmlp.training.epochs import predictions_digest


def evaluate(
    path: Path,
    *,
    backend: str,
    device: str | None,
    data: Path | None,
    dataset: str | None,
    form: str,
) -> None:
    """Print loss, accuracy, the accuracy of each class, on which data, and the predictions' digest.

    The data are those asked for, or else those that the model was trained on.
    """
    mlp = _load(path, backend, device)
    given = data is not None or dataset is not None
    source = origin(data, dataset).open() if given else open_data(_trained_on(path))
    if source.classes > len(mlp.class_names):
        raise InputError(
            f"the data have {source.classes} classes, the model {len(mlp.class_names)}; "
            "give data of the classes it was trained on"
        )
    found = mlp.evaluate(source.test_images, source.test_labels)
    shares = mlp.predict_proba(source.test_images)
    right = classes_of(shares) == source.test_labels
    classes = []
    for label, name in enumerate(mlp.class_names):
        own = right[source.test_labels == label]
        if own.size:
            entry = {"class": name, "accuracy": float(np.mean(own)), "images": own.size}
            classes.append(entry)
    result = {
        "data": {"name": source.name, "source": source.source, "sha256": source.sha256},
        "images": len(source.test_labels),
        "test_loss": found.loss,
        "test_accuracy": found.accuracy,
        "classes": classes,
        "predictions_sha256": predictions_digest(shares),
    }
    {"text": _print_scores, "json": _print_result}[form](result)


def predict(
    path: Path, images: Sequence[Path], *, backend: str, device: str | None, form: str
) -> None:
    """Print each image's class and probability, or all classes' probabilities as CSV or JSON."""
    mlp = _load(path, backend, device)
    pictures, names = read_pictures(images, _picture_shape(path, mlp.image_shape))
    shares, classes = mlp.predict_proba(pictures), mlp.predict(pictures)
    {"text": _print_text, "csv": _print_csv, "json": _print_json}[form](mlp, names, shares, classes)


def _trained_on(path: Path) -> Data:
    """The data of the run in the folder ``path``, or those that the model file ``path`` names."""
    if path.is_dir() and (path / RECORD).exists():
        return read(path / RECORD).data
    data = load_model(_model_file(path))[1].get("data")
    if data is None:
        raise InputError(
            f"model file {str(path)!r} does not say which data it was trained on; name those to "
            "evaluate it on with --data or --dataset"
        )
    return parse_data(data)


def _print_scores(result: dict[str, Any]) -> None:
    print(
        f"test loss {result['test_loss']:.4f}  test accuracy {result['test_accuracy']:.2%}  "
        f"({result['images']:,} images)"
    )
    for entry in result["classes"]:
        print(f"  {entry['class']:<16} {entry['accuracy']:7.2%}  of {entry['images']:,}")
    print(f"data {result['data']['name']}, {result['data']['source']}")
    print(f"predictions sha256 {result['predictions_sha256']}")


def _print_result(result: dict[str, Any]) -> None:
    print(json.dumps(result, indent=2))


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
    return MLP.load(_model_file(path), backend=backend, device=device)


def _model_file(path: Path) -> Path:
    return path / MODEL if path.is_dir() else path


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
