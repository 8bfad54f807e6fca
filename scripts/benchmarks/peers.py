"""The libraries people would use instead, each in its fastest fair form."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.ours import cuda_seconds
from benchmarks.task import Contestant, Data, Task, batches

Array = Any


class Torch(Contestant):
    """Eager PyTorch without its DataLoader: floats on the device, a batch by ``index_select``."""

    def __init__(self, task: Task, data: Data, device: str = "cpu") -> None:
        super().__init__(task, data)
        import torch

        torch.set_num_threads(task.threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise ImportError("PyTorch finds no CUDA GPU here")
        self.torch, self.device = torch, device
        self.x = torch.from_numpy(data.images).to(device).float().div_(255)
        self.y = torch.from_numpy(data.labels).to(device)
        self.net = self._network().to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=task.lr)
        self.batches = batches(len(data.images), task.batch_size)

    def _network(self) -> Any:
        torch, start = self.torch, self.start
        features, hidden = start["W1"].shape
        first = torch.nn.Linear(features, hidden)
        last = torch.nn.Linear(hidden, self.data.classes)
        with torch.no_grad():
            for layer, number in ((first, "1"), (last, "2")):
                layer.weight.copy_(torch.from_numpy(start["W" + number].T))
                layer.bias.copy_(torch.from_numpy(start["b" + number]))
        return torch.nn.Sequential(first, torch.nn.ReLU(), last)

    def prepare(self) -> None:
        self.indices = self.torch.from_numpy(self.order()).to(self.device)

    def epoch(self) -> None:
        for rows in self.batches:
            self.step(self.indices[rows])
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def step(self, index: Array) -> None:
        logits = self.net(self.x.index_select(0, index))
        loss = self.torch.nn.functional.cross_entropy(logits, self.y.index_select(0, index))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def weights(self) -> dict[str, np.ndarray]:
        W1, b1, W2, b2 = (p.detach().cpu().numpy() for p in self.net.parameters())
        return {"W1": W1.T, "b1": b1, "W2": W2.T, "b2": b2}

    def seconds(self, work: Callable[[], None]) -> float:
        return super().seconds(work) if self.device == "cpu" else cuda_seconds(work)


class TorchGraph(Torch):
    """PyTorch with a step captured as a CUDA graph; a batch's place is counted on the device."""

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data, "cuda")
        torch, count = self.torch, len(data.images)
        self.indices = torch.arange(count, device="cuda")
        self.place = torch.zeros((), dtype=torch.int64, device="cuda")
        self.window = torch.arange(task.batch_size, device="cuda")
        before = [p.detach().clone() for p in self.net.parameters()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.place.zero_()
                self._captured()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._captured()
        with torch.no_grad():
            for parameter, value in zip(self.net.parameters(), before, strict=True):
                parameter.copy_(value)

    def _captured(self) -> None:
        self.step(self.indices.index_select(0, self.place + self.window))
        self.place += self.task.batch_size

    def prepare(self) -> None:
        self.indices.copy_(self.torch.from_numpy(self.order()))
        self.place.zero_()

    def epoch(self) -> None:
        whole, rest = divmod(len(self.indices), self.task.batch_size)
        for _ in range(whole):
            self.graph.replay()
        if rest:
            self.step(self.indices[-rest:])
        self.torch.cuda.synchronize()


class Jax(Contestant):
    """JAX: one compiled scan over the epoch, the batch gathered from uint8 within it.

    Of eight forms tried at batch 64 on a busy two-core machine this one was the fastest or level
    with it; the others: a checked gather, floats, rows permuted ahead by JAX or by NumPy,
    gradients by hand, one-hot targets, an unrolled scan.
    """

    def __init__(self, task: Task, data: Data, device: str = "cpu") -> None:
        super().__init__(task, data)
        import jax
        import jax.numpy as jnp

        try:
            self.device = jax.devices(device)[0]
        except RuntimeError as error:
            raise ImportError(f"JAX finds no such device: {error}") from error
        self.jax = jax
        # Put there, not only made there: else the second epoch, a timed one, compiles again.
        self.x = jax.device_put(data.images, self.device)
        self.y = jax.device_put(data.labels.astype(np.int32), self.device)
        start = {k: v.astype(np.float32) for k, v in self.start.items()}
        self.p = jax.device_put(start, self.device)
        self.scan = jax.jit(_jax_epoch(jax, jnp, task.lr), donate_argnums=0)

    def prepare(self) -> None:
        order, size = self.order().astype(np.int32), self.task.batch_size
        whole = len(order) // size * size
        parts = [order[:whole].reshape(-1, size), order[whole:][None, :]]
        self.parts = [self.jax.device_put(part, self.device) for part in parts if part.size]

    def epoch(self) -> None:
        for part in self.parts:
            self.p, _ = self.scan(self.p, self.x, self.y, part)
        self.jax.block_until_ready(self.p)

    def weights(self) -> dict[str, np.ndarray]:
        return {k: np.asarray(v) for k, v in self.p.items()}


def _jax_epoch(jax: Any, jnp: Any, lr: float) -> Callable[..., Any]:
    def loss(p: dict[str, Array], x: Array, y: Array) -> Array:
        hidden = jax.nn.relu(x @ p["W1"] + p["b1"])
        shares = jax.nn.log_softmax(hidden @ p["W2"] + p["b2"])
        return -jnp.mean(jnp.take_along_axis(shares, y[:, None], 1))

    def epoch(p: dict[str, Array], images: Array, labels: Array, order: Array) -> Any:
        def step(p: dict[str, Array], index: Array) -> tuple[dict[str, Array], Array]:
            x = images.at[index].get(mode="promise_in_bounds").astype(jnp.float32) * (1 / 255)
            y = labels.at[index].get(mode="promise_in_bounds")
            value, change = jax.value_and_grad(loss)(p, x, y)
            return jax.tree.map(lambda a, b: a - lr * b, p, change), value

        return jax.lax.scan(step, p, order)

    return epoch


class Keras(Contestant):
    """Keras 3 on JAX: ``fit`` for one epoch, its steps compiled and executed 128 at a time.

    The rows are laid out in the common order before each epoch, outside its time.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        self.net = keras.Sequential(
            [
                keras.Input((data.images.shape[1],)),
                keras.layers.Dense(task.hidden, activation="relu"),
                keras.layers.Dense(data.classes),
            ]
        )
        self.net.set_weights([self.start[name] for name in ("W1", "b1", "W2", "b2")])
        self.net.compile(
            keras.optimizers.SGD(task.lr),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
            steps_per_execution=128,
        )
        self.x = np.empty(data.images.shape, np.float32)
        self.y = np.empty(data.labels.shape, np.int32)

    def prepare(self) -> None:
        order = self.order()
        self.x[:] = self.data.images[order]
        self.x /= np.float32(255)
        self.y[:] = self.data.labels[order]

    def epoch(self) -> None:
        self.net.fit(self.x, self.y, self.task.batch_size, shuffle=False, verbose=0)

    def weights(self) -> dict[str, np.ndarray]:
        return dict(zip(("W1", "b1", "W2", "b2"), self.net.get_weights(), strict=True))


class Sklearn(Contestant):
    """scikit-learn's MLPClassifier on float32, its own shuffle within its time.

    It takes no order, so the rows are laid out anew before each epoch: its shuffle, foreseen from
    its random state, then visits the images in the order that everyone has.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        import sklearn
        from sklearn.neural_network import MLPClassifier

        sklearn.set_config(assume_finite=True)
        warnings.simplefilter("ignore")  # that one epoch is not convergence
        self.x = data.images.astype(np.float32) / np.float32(255)
        self.y = data.labels.copy()
        self.net = MLPClassifier(
            (task.hidden,), solver="sgd", momentum=0.0, alpha=0.0, learning_rate="constant",
            learning_rate_init=task.lr, batch_size=min(task.batch_size, len(self.x)), max_iter=1,
            warm_start=True, random_state=np.random.RandomState(task.seed),
        )  # fmt: skip
        self._begin()

    def _begin(self) -> None:
        """A first fit makes the attributes that the common initial weights then go into."""
        self.net.fit(self.x, self.y)
        for array, name in zip(self.net.coefs_ + self.net.intercepts_, _NAMES, strict=True):
            array[...] = self.start[name]

    def prepare(self) -> None:
        from sklearn.utils import shuffle

        rows = np.arange(len(self.y))
        visited = shuffle(rows, random_state=copy.deepcopy(self.net.random_state))
        order = self.order()
        self.y[visited] = self.data.labels[order]
        self.x[visited] = self.data.images[order]
        self.x /= np.float32(255)

    def epoch(self) -> None:
        self.net.fit(self.x, self.y)

    def weights(self) -> dict[str, np.ndarray]:
        return dict(zip(_NAMES, self.net.coefs_ + self.net.intercepts_, strict=True))


_NAMES = ("W1", "W2", "b1", "b2")
