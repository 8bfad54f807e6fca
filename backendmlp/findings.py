"""What the folder of a run has to show: its epochs, its network, and what that does wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from backendmlp.backend import to_numpy
from backendmlp.data import Dataset
from backendmlp.errors import InputError
from backendmlp.files import StrPath, shown
from backendmlp.mlp import MLP
from backendmlp.network.losses import classes_in_memory
from backendmlp.runs.parsing import Data
from backendmlp.runs.record import Record
from backendmlp.runs.stored import model_of, receipt_of

MAX_MISTAKES = 25


@dataclass(frozen=True)
class Mistake:
    """A test image (rows, columns), two numbers of classes, the wrong one's probability."""

    image: np.ndarray
    true: int
    predicted: int
    probability: float


def require_epochs(run: StrPath, record: Record) -> None:
    """Refuse a ``run`` that has nothing to draw."""
    if not record.epochs:
        raise InputError(f"run {shown(run)} has no finished epoch; there is nothing to plot yet")


def read_network(run: StrPath) -> MLP:
    """The network of ``run``."""
    return MLP.load(model_of(receipt_of(run).parent))


def require_same(dataset: Dataset, data: Data) -> None:
    """Refuse another data set than the run's."""
    if dataset.sha256 != data.sha256:
        raise InputError(
            f"{shown(dataset.source)} has the SHA-256 {dataset.sha256[:16]}..., and the run was "
            f"made with {data.sha256[:16]}...; give the run's own data"
        )


def picture_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(rows, columns) of inputs of ``shape`` that are gray pictures, None of others."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):  # one channel, before or behind
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    return (shape[0], shape[1]) if len(shape) == 2 else None


def try_regression(mlp: MLP, dataset: Dataset, images: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """The targets of the test data, and what ``mlp`` predicts for them: (N, C) float64 each."""
    images = dataset.test_images if images is None else images
    true = np.asarray(dataset.test_labels, np.float64)
    predicted = to_numpy(mlp.predict(images)).astype(np.float64)
    return true.reshape(len(true), -1), predicted.reshape(len(true), -1)


def try_network(mlp: MLP, dataset: Dataset, images: Any = None) -> tuple[np.ndarray, list[Mistake]]:
    """What ``mlp`` makes of the test images: counts (C, C), a row for each true class, mistakes.

    ``images`` are the test images where they lie on a device.  The mistakes are the most confident
    ones, at most :data:`MAX_MISTAKES`.
    """
    images = dataset.test_images if images is None else images
    shares = to_numpy(mlp.predict_proba(images))
    labels = np.asarray(dataset.test_labels).astype(np.int64)
    classes = classes_in_memory(shares)
    shape = picture_shape(dataset.image_shape) or dataset.image_shape
    counts = np.zeros((shares.shape[1],) * 2, np.int64)
    np.add.at(counts, (labels, classes), 1)
    wrong = np.flatnonzero(classes != labels)
    surest = wrong[np.argsort(-shares[wrong, classes[wrong]], kind="stable")][:MAX_MISTAKES]
    return counts, [
        Mistake(
            np.asarray(dataset.test_images[i]).reshape(shape),
            int(labels[i]),
            int(classes[i]),
            float(shares[i, classes[i]]),
        )
        for i in surest
    ]
