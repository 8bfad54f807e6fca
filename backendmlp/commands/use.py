"""``backendmlp evaluate`` and ``backendmlp predict``: a trained model at work."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp.commands import printing
from backendmlp.commands.telling import loss, measure, plain
from backendmlp.commands.together import note_others
from backendmlp.data import Dataset, load_inputs, read_pictures
from backendmlp.data.npz import is_archive
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.files import shown
from backendmlp.findings import picture_shape
from backendmlp.mlp import MLP
from backendmlp.network.losses import classes as classes_of
from backendmlp.runs.modelfile import load_model
from backendmlp.runs.parsing import Data, parse_data
from backendmlp.runs.record import read
from backendmlp.runs.stored import RECORD, model_of
from backendmlp.runs.verification import open_data
from backendmlp.strictjson import printed
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
    """Print the loss, the accuracy, also of each class, or R squared, on which data; and a digest.

    The data are those asked for, or else those that the model was trained on; the digest is of the
    predictions.
    """
    note_others("start one alone: --distributed is for train and verify")
    mlp = _load(path, backend, device)
    given = data is not None or dataset is not None
    known = _known_data(path)
    source = origin(data, dataset).open() if given else open_data(_trained_on(path, known))
    part, whole = source.parts[2], source.source
    _require_width(mlp, part if whole in part else f"{part} of {whole}", source.features)
    regression = mlp.config.regression
    if not regression and source.classes > len(mlp.class_names):
        raise InputError(
            f"the data have {source.classes} classes, the model {len(mlp.class_names)}; "
            "give data of the classes it was trained on"
        )
    labels = source.test_labels if regression else _labels_of(mlp, source)
    found = mlp.evaluate(source.test_images, labels)
    outputs = _outputs(mlp, source.test_images)
    result: dict[str, Any] = {
        "data": {"name": source.name, "source": source.source, "sha256": source.sha256},
        "trained_on": known and {"name": known.origin.name, "sha256": known.sha256},
        source.counted_as: len(source.test_labels),
        "test_loss": found.loss,
    }
    if regression:
        result["test_r2"] = found.r2
    else:
        result["test_accuracy"] = found.accuracy
        result["classes"] = _by_class(mlp, labels, outputs, source.counted_as)
    result["predictions_sha256"] = predictions_digest(outputs, regression)
    {"text": _print_scores, "json": _print_result}[form](result)


def predict(
    path: Path, images: Sequence[Path], *, backend: str, device: str | None, form: str
) -> None:
    """Print each input's class and probability, or what a regression gives; all of it as CSV, JSON.

    Inputs are pictures, or rows of ``.npz`` files.
    """
    mlp = _load(path, backend, device)
    found = [(_outputs(mlp, x), names) for x, names in _read_inputs(mlp, path, images)]
    outputs = np.concatenate([part for part, _ in found])
    names = [name for _, part in found for name in part]
    printing.PRINTERS[form, mlp.config.regression](mlp, names, outputs)


def _outputs(mlp: MLP, images: Any) -> np.ndarray:
    """Probabilities (N, C), or what a regression gives, (N, C) also where that is one number."""
    if mlp.config.regression:
        found = np.asarray(mlp.predict(images))
        return found.reshape(len(found), -1)
    return np.asarray(mlp.predict_proba(images))


def _labels_of(mlp: MLP, source: Dataset) -> np.ndarray:
    """The test labels by the model's numbers: other data may number the same names otherwise."""
    theirs, ours = source.class_names, mlp.class_names
    if not _are_names(theirs) or not _are_names(ours) or theirs == ours[: len(theirs)]:
        return source.test_labels
    unknown = [name for name in theirs if name not in ours]
    if unknown:
        raise InputError(
            f"the data have a class {unknown[0]!r:.80}, which the model does not know; give data "
            f"of the classes {', '.join(map(repr, ours[:10])):.300}"
        )
    return np.asarray([ours.index(name) for name in theirs])[source.test_labels]


def _are_names(names: Sequence[str]) -> bool:
    """Whether classes have other names than their numbers."""
    return list(names) != list(map(str, range(len(names))))


def _by_class(
    mlp: MLP, labels: np.ndarray, shares: np.ndarray, counted_as: str
) -> list[dict[str, Any]]:
    """The accuracy of each class that there are test data of."""
    right = classes_of(shares) == labels
    found = []
    for label, name in enumerate(mlp.class_names):
        own = right[labels == label]
        if own.size:
            found.append({"class": name, "accuracy": float(np.mean(own)), counted_as: own.size})
    return found


def _read_inputs(
    mlp: MLP, model: Path, paths: Sequence[Path]
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Inputs and what to call each of them: pictures one after another at one time."""
    for archive, group in itertools.groupby(paths, is_archive):
        if not archive:
            shape = _picture_shape(model, mlp.image_shape)
            yield read_pictures(list(group), shape)
            continue
        for path in group:
            x, _ = load_inputs(path)
            _require_width(mlp, shown(path), math.prod(x.shape[1:]))
            yield x, [f"{shown(path)}[{row}]" for row in range(len(x))]


def _require_width(mlp: MLP, what: str, width: int) -> None:
    """Refuse inputs of another ``width`` than the model's, by the name of where they lie."""
    takes = mlp.parameters["W1"].shape[0]
    if width != takes:
        raise InputError(
            f"{what} has {width} values for each input, and the model takes {takes}; give inputs "
            "like those that it was trained on"
        )


def _known_data(path: Path) -> Data | None:
    """The data of the run in the folder ``path``, or those that the model file ``path`` names."""
    if path.is_dir() and (path / RECORD).exists():
        return read(path / RECORD).data
    data = load_model(model_of(path))[1].get("data")
    return None if data is None else parse_data(data)


def _trained_on(path: Path, known: Data | None) -> Data:
    if known is None:
        raise InputError(
            f"model file {str(path)!r} does not say which data it was trained on; name those to "
            "evaluate it on with --data or --dataset"
        )
    return known


def _print_scores(result: dict[str, Any]) -> None:
    if "test_r2" in result:
        score = measure("R2", result["test_r2"])
    else:
        score = measure("accuracy", result["test_accuracy"])
    things = "images" if "images" in result else "rows"
    print(f"test loss {loss(result['test_loss'])}  test {score}  ({result[things]:,} {things})")
    for entry in result.get("classes", ()):
        print(f"  {entry['class']:<16} {entry['accuracy']:7.2%}  of {entry[things]:,}")
    print(f"data {result['data']['name']}, {result['data']['source']}")
    known = result["trained_on"]
    if known is not None and known["sha256"] != result["data"]["sha256"]:
        print(
            f"other data than it was trained on: {plain(known['name'])}, sha256 {known['sha256']}"
        )
    print(f"predictions sha256 {result['predictions_sha256']}")


def _print_result(result: dict[str, Any]) -> None:
    print(printed(result))


def _picture_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of the pictures that a model with inputs of ``shape`` takes."""
    found = picture_shape(shape)
    if found is None:
        raise InputError(
            f"model file {str(path)!r} takes inputs of shape {shape}, which picture files cannot "
            "give; give an .npz file, written with numpy.savez(FILE, x=...), or choose a model of "
            "gray pictures"
        )
    return found


def _load(path: Path, backend: str, device: str | None) -> MLP:
    return MLP.load(model_of(path), backend=backend, device=device)
