"""backendmlp itself, through its Trainer, as users run it: the shuffle and the loss included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backendmlp import backend as backends
from backendmlp import inputs
from backendmlp.backend import to_numpy
from backendmlp.config import Config
from backendmlp.training.epochs import train_epoch
from backendmlp.training.trainer import Trainer
from benchmarks.task import Contestant, Data, Task

_EPOCHS = 10**6  # never the last one: each epoch draws the next one's shuffle


class Ours(Contestant):
    def __init__(
        self,
        task: Task,
        data: Data,
        numerics: str,
        dtype: str,
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(task, data)
        at = backends.select(backend, device)
        config = Config(task.hidden, _EPOCHS, task.batch_size, task.lr, task.seed, numerics, dtype)
        x = inputs.images(at, data.images, dtype)
        y = inputs.labels(at, data.labels, len(data.images))
        self.trainer = Trainer(at, config, self.start, x, y)
        self.on_gpu = backend == "cupy" or device is not None

    def epoch(self) -> None:
        train_epoch(self.trainer)
        self.trainer.finish_epoch()
        self.trainer.backend.synchronize()

    def weights(self) -> dict[str, np.ndarray]:
        return {k: to_numpy(v) for k, v in self.trainer.parameters.as_dict().items()}

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
