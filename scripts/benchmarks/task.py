"""What a contestant is given: the same images, labels, order and initial weights for everyone."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backendmlp import random
from backendmlp.data import Dataset, load_named, load_sample
from backendmlp.errors import InputError
from backendmlp.network import model
from backendmlp.training.trainer import _SHUFFLE

Array = Any
ARRAYS = ("images", "labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Task:
    """One contestant's work; ``folder`` holds the arrays that :func:`store` left there."""

    contestant: str
    folder: str
    batch_size: int = 64
    hidden: int = 100
    threads: int = 1
    lr: float = 0.1
    seed: int = 100

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Task:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Data:
    """uint8 images (N, F) and int64 labels (N,), to train on and to test with."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


class Contestant(ABC):
    """Somebody's training loop.  It lives in a process of its own."""

    def __init__(self, task: Task, data: Data) -> None:
        self.task, self.data = task, data
        self.start = model.he_normal(data.images.shape[1], task.hidden, data.classes, task.seed)
        self.epochs = 0

    def order(self) -> np.ndarray:
        """The order of this epoch's images: the one that backendmlp shuffles them into."""
        bits = random.stream(self.task.seed, _SHUFFLE, self.epochs)
        return random.permutation(bits, len(self.data.images))

    def prepare(self) -> None:  # noqa: B027
        """Before each epoch and not timed, in the contestant's favour: take the order."""

    @abstractmethod
    def epoch(self) -> None:
        """One epoch, complete when it returns."""

    def weights(self) -> dict[str, np.ndarray] | None:
        """W1, b1, W2 and b2; None for one that trains nothing."""
        return None

    def seconds(self, work: Callable[[], None]) -> float:
        """How long ``work`` takes; overridden where a device keeps time itself."""
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def run(self) -> float:
        self.prepare()
        seconds = self.seconds(self.epoch)
        self.epochs += 1
        return seconds

    def accuracy(self) -> float | None:
        """The share of test images classified rightly, by the same code for everyone."""
        weights = self.weights()
        if weights is None:
            return None
        W1, b1, W2, b2 = (weights[name].astype(np.float64) for name in ("W1", "b1", "W2", "b2"))
        right = 0
        for start in range(0, len(self.data.test_images), 1000):
            rows = slice(start, start + 1000)
            hidden = np.maximum(self.data.test_images[rows] / 255.0 @ W1 + b1, 0.0)
            right += int(((hidden @ W2 + b2).argmax(axis=1) == self.data.test_labels[rows]).sum())
        return right / len(self.data.test_images)


def batches(count: int, size: int) -> list[slice]:
    """The rows of each mini-batch; the last may be short."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def open_dataset(quick: bool, say: Callable[[str], None]) -> Dataset:
    """Fashion-MNIST where it is at hand, and the sample, said aloud, where it is not."""
    if quick:
        say("data: the sample that comes with the package (--quick)")
        return load_sample()
    try:
        dataset = load_named("fashion-mnist", mirrors=[])
    except InputError as error:
        say(f"data: THE SAMPLE, repeated where more images are asked for; no full set: {error}")
        return load_sample()
    say(f"data: {dataset.name}")
    return dataset


def sized(dataset: Dataset, images: int) -> Data:
    """The set's first ``images`` training images; beyond its end it starts over."""
    rows = np.arange(images) % len(dataset.train_images)
    return Data(
        dataset.train_images.reshape(len(dataset.train_images), -1)[rows],
        dataset.train_labels[rows].astype(np.int64),
        dataset.test_images.reshape(len(dataset.test_images), -1),
        dataset.test_labels.astype(np.int64),
    )


def store(data: Data, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(data, name))


def load(folder: str | Path) -> Data:
    return Data(*(np.load(Path(folder) / f"{name}.npy") for name in ARRAYS))
