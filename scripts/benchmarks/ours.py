"""backendmlp itself, through its Trainer, as users run it: the shuffle and the loss included."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backendmlp import MLP
from backendmlp import backend as backends
from backendmlp.config import Config
from backendmlp.ranks import ALONE, Ranks
from backendmlp.training.epochs import Pace, train_epoch
from backendmlp.training.given import taken
from backendmlp.training.trainer import Start, Trainer
from benchmarks.task import Contestant, Data, Predict, Task

_EPOCHS = 10**6  # never the last one: each epoch draws the next one's shuffle
_FEW = 20  # steps that stand for an epoch
_FITTED = 3  # epochs of a fit


class Ours(Contestant):
    """On pixels as they are or, as ``features``, on floats made of them ahead."""

    ranks: Ranks = ALONE

    def __init__(
        self,
        task: Task,
        data: Data,
        numerics: str,
        dtype: str,
        backend: str = "numpy",
        device: str | None = None,
        features: bool = False,
    ) -> None:
        super().__init__(task, data)
        at = backends.select(backend, device)
        discipline = self.discipline
        self.config = Config(
            discipline.hidden,
            _EPOCHS,
            task.batch_size,
            discipline.lr,
            task.seed,
            numerics,
            dtype,
            optimizer=discipline.optimizer,
            **discipline.numbers,  # type: ignore[arg-type]
        )
        self.x = data.floats() if features else data.images
        given = taken(at, self.config, self.x, data.labels)
        start = Start(self.start)
        self.trainer = Trainer(
            at, self.config, start, given.rows, unit=given.unit, ranks=self.ranks
        )
        self.on_gpu = backend == "cupy" or device is not None
        self.pace = Pace()

    def epoch(self) -> None:
        train_epoch(self.trainer, pace=self.pace)
        self.trainer.finish_epoch()
        self.trainer.backend.synchronize()

    def weights(self) -> dict[str, np.ndarray]:
        return self.trainer.weights()

    def predictor(self) -> Predict:
        backend = self.trainer.backend.name
        mlp = MLP(**{**self.config.as_dict(), "epochs": 1}, backend=backend)
        mlp.fit(self.x, self.data.labels, parameters=self.start)
        return lambda count: mlp.predict(self.x[:count])

    def seconds(self, work: Callable[[], None]) -> float:
        if not self.on_gpu:
            return super().seconds(work)
        return cupy_seconds(work) if self.trainer.backend.name == "cupy" else cuda_seconds(work)


class Steps(Ours):
    """The steps of an epoch alone, in the calls of :func:`train_epoch`; its end is not timed.

    Of the definition, which a GPU takes milliseconds for, a few steps stand for the epoch.
    """

    def __init__(self, task: Task, data: Data, **options: Any) -> None:
        super().__init__(task, data, **options)
        self.kind = kind(self.trainer)
        self.sampled = self.kind == "definition" and self.trainer.backend.put is not None

    def run(self) -> float:
        if self.sampled:
            return self._few()
        self.prepare()
        seconds = self.seconds(lambda: train_epoch(self.trainer, pace=self.pace))
        self.trainer.finish_epoch()
        self.epochs += 1
        return seconds

    def _few(self) -> float:
        """The time of an epoch, by that of a few steps."""
        trainer, before = self.trainer, self.trainer.position

        def work() -> None:
            trainer.advance(_FEW)
            trainer.backend.synchronize()

        seconds, size = self.seconds(work), self.task.batch_size
        done = -(-trainer.position // size) - before // size
        if trainer.position == trainer.count:
            trainer.finish_epoch()
        return seconds / done * -(-trainer.count // size)

    def measures(self) -> dict[str, float]:
        return {} if self.sampled else super().measures()


class Fit(Ours):
    """Whole epochs by :meth:`MLP.fit`, the digest of each included, on arrays of the device.

    Timed by the clock, from the end of the first epoch to that of the last.
    """

    def __init__(self, task: Task, data: Data, **options: Any) -> None:
        super().__init__(task, data, **options)
        self.kind = kind(self.trainer)
        if self.kind == "definition" and self.trainer.count > _FEW * task.batch_size:
            raise ImportError("no kernels here, and the definition would take too long")
        rows, self.at = self.trainer.rows, self.trainer.backend
        self.inputs, self.targets = rows.inputs, rows.targets
        self.choices = {**self.config.as_dict(), "epochs": _FITTED, "backend": self.at.name}

    def test(self) -> tuple[Any, Any] | None:
        """What is scored after each epoch: nothing."""
        return None

    def run(self) -> float:
        ends: list[float] = []
        with self.at.scope():
            MLP(**self.choices).fit(
                self.inputs,
                self.targets,
                parameters=self.start,
                test=self.test(),
                on_epoch=lambda record: ends.append(time.perf_counter()),
            )
        return (ends[-1] - ends[0]) / (len(ends) - 1)

    def measures(self) -> dict[str, float]:
        return {}


class Tested(Fit):
    """With the test images, which lie on the device too."""

    def test(self) -> tuple[Any, Any]:
        data = self.data
        return self.at.asarray(data.test_images), self.at.asarray(data.test_labels)


class Scored(Ours):
    """Every training image shown once, as after an epoch, by an untrained network."""

    def __init__(self, task: Task, data: Data, **options: Any) -> None:
        super().__init__(task, data, **options)
        self.kind = kind(self.trainer)

    def epoch(self) -> None:
        rows, at = self.trainer.rows, self.trainer.backend
        with at.scope():
            self.trainer.score(rows.inputs, rows.targets)
            at.synchronize()

    def measures(self) -> dict[str, float]:
        return {}


def kind(trainer: Trainer) -> str:
    """Which step does a trainer's work: "compiled", "kernels", "definition"."""
    return type(trainer.stepper).__module__.split(".")[2]


def cupy_seconds(work: Callable[[], None]) -> float:
    """``work`` timed by the GPU, with CuPy's events."""
    import cupy

    started, ended = cupy.cuda.Event(), cupy.cuda.Event()
    started.record()
    work()
    ended.record()
    ended.synchronize()
    return cupy.cuda.get_elapsed_time(started, ended) / 1e3


def cuda_seconds(work: Callable[[], None]) -> float:
    """``work`` timed by the GPU, with PyTorch's events."""
    import torch

    started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    started.record()
    work()
    ended.record()
    ended.synchronize()
    return started.elapsed_time(ended) / 1e3
