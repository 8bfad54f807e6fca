"""backendmlp itself, through its Trainer, as users run it: the shuffle and the loss included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backendmlp import MLP
from backendmlp import backend as backends
from backendmlp.config import Config
from backendmlp.training.epochs import train_epoch
from backendmlp.training.given import taken
from backendmlp.training.trainer import Start, Trainer
from benchmarks.task import Contestant, Data, Predict, Task

_EPOCHS = 10**6  # never the last one: each epoch draws the next one's shuffle


class Ours(Contestant):
    """On pixels as they are or, as ``features``, on floats made of them ahead."""

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
        self.trainer = Trainer(at, self.config, Start(self.start), given.rows, unit=given.unit)
        self.on_gpu = backend == "cupy" or device is not None

    def epoch(self) -> None:
        train_epoch(self.trainer)
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
