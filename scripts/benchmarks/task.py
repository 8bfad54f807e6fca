"""What a contestant is given: the same images, labels, order and initial weights for everyone."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from backendmlp import random
from backendmlp.data import Dataset, load_named, load_sample
from backendmlp.errors import InputError
from backendmlp.network.initial import initial
from backendmlp.training.trainer import _SHUFFLE

Array = Any
Predict = Callable[[int], np.ndarray]
ARRAYS = ("images", "labels", "test_images", "test_labels")

# Each optimiser's numbers, by the names that Config has for them, and how many arrays of a
# parameter's shape it keeps.
NUMBERS: dict[str, dict[str, float]] = {
    "sgd": {},
    "momentum": {"momentum": 0.9},
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
}
SLOTS = {"sgd": 0, "momentum": 1, "adam": 2}


@dataclass(frozen=True)
class Discipline:
    """What everyone trains: ReLU layers of ``hidden`` units, by an optimiser at a rate."""

    hidden: tuple[int, ...] = (100,)
    optimizer: str = "sgd"
    lr: float = 0.1
    batch_sizes: tuple[int, ...] = (64, 256, 1024)

    @property
    def title(self) -> str:
        return f"hidden {'-'.join(map(str, self.hidden))}, {self.optimizer}"

    @property
    def numbers(self) -> dict[str, float]:
        return NUMBERS[self.optimizer]

    @property
    def plain(self) -> bool:
        """Whether it is the first page's: plain descent with one hidden layer."""
        return len(self.hidden) == 1 and self.optimizer == "sgd"


DISCIPLINES = {
    "sgd": Discipline(),
    "momentum": Discipline((100,), "momentum", 0.01),
    "adam": Discipline((256, 128), "adam", 0.001),
}


@dataclass(frozen=True)
class Task:
    """One contestant's work; ``folder`` holds the arrays that :func:`store` left there.

    ``checkout`` is where the contestant's code is, if not here; ``ranks`` how many processes do it
    together, 0 of those who know of none.  ``passes`` over the rows are what a fit of an estimator
    takes.
    """

    contestant: str
    folder: str
    batch_size: int = 64
    discipline: Discipline = DISCIPLINES["sgd"]
    threads: int = 1
    seed: int = 100
    checkout: str = ""
    ranks: int = 0
    passes: int = 1

    def encode(self) -> str:
        """As JSON, without what is as usual, so that older checkouts know all that is in it."""
        usual = asdict(Task("", "", checkout=self.checkout))
        return json.dumps({k: v for k, v in asdict(self).items() if v != usual[k]})

    @classmethod
    def decode(cls, text: str) -> Task:
        found = {"contestant": "", "folder": "", **json.loads(text)}
        if "discipline" in found:
            lists = found["discipline"]
            tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in lists.items()}
            found["discipline"] = Discipline(**tuples)
        return cls(**found)


@dataclass(frozen=True)
class Data:
    """uint8 images (N, F) and int64 labels (N,), to train on and to test with.

    What estimators are given are floats.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def floats(self) -> np.ndarray:
        """The images as float32 from 0 to 1."""
        found = self.images.astype(np.float32)
        found /= np.float32(255)
        return found


class Contestant(ABC):
    """Somebody's training loop.  It lives in a process of its own.

    ``kind`` says which of backendmlp's steps do the work, "" of whoever does not tell.
    """

    kind = ""
    speaks = True  # of several processes that are one contestant, the first

    def __init__(self, task: Task, data: Data) -> None:
        self.task, self.data = task, data
        self.discipline = task.discipline
        self.sizes = (data.images.shape[1], *self.discipline.hidden, data.classes)
        self.start = initial(self.sizes, "relu", task.seed)  # W1, b1, W2 ... in this order
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
        """The parameters by name; None for one that trains nothing."""
        return None

    def predictor(self) -> Predict:
        """What gives the classes of the first so many images, by the network of one epoch."""
        raise NotImplementedError

    def lines(self, given: TextIO) -> Iterator[str]:
        """What it is asked to do, line by line."""
        return iter(given)

    def measure(self, what: str) -> dict[str, Any]:
        """What else it can tell of itself, by a word that it knows."""
        raise NotImplementedError(what)

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

    def measures(self) -> dict[str, float]:
        """Accuracy and loss on the test images, by the same code for everyone; {} without any."""
        weights = self.weights()
        if weights is None:
            return {}
        p = {name: value.astype(np.float64) for name, value in weights.items()}
        right, loss, count = 0, 0.0, len(self.data.test_images)
        for rows in batches(count, 1000):
            z = outputs(p, self.data.test_images[rows] / 255.0)
            labels = self.data.test_labels[rows]
            right += int((z.argmax(axis=1) == labels).sum())
            z -= z.max(axis=1, keepdims=True)
            loss += float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).sum())
        return {"accuracy": right / count, "loss": loss / count}


def outputs(p: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the last layer of the network ``p`` gives for ``x`` (n, F)."""
    for layer in range(1, len(p) // 2):
        x = np.maximum(x @ p[f"W{layer}"] + p[f"b{layer}"], 0.0)
    return x @ p[f"W{len(p) // 2}"] + p[f"b{len(p) // 2}"]


def layers(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """(what enters, what leaves) each layer."""
    return list(pairwise(sizes))


def batches(count: int, size: int) -> list[slice]:
    """The rows of each mini-batch; the last may be short."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def open_dataset(quick: bool, say: Callable[[str], None]) -> Dataset:
    """A full set where one is at hand, and the sample, said aloud, where none is."""
    if quick:
        say("data: the sample that comes with the package (--quick)")
        return load_sample()
    for name in ("fashion-mnist", "mnist"):
        try:
            dataset = load_named(name, mirrors=[])
        except InputError as error:
            say(f"data: no {name}: {error}")
        else:
            say(f"data: {dataset.name}")
            return dataset
    say("data: THE SAMPLE, repeated where more images are asked for")
    return load_sample()


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
