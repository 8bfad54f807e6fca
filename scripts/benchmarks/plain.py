"""Contestants of NumPy alone: the products that any step needs, a notebook, a careful loop."""

from __future__ import annotations

import numpy as np

from benchmarks.task import Contestant, Data, Task, batches

Arrays = tuple[np.ndarray, ...]


class Products(Contestant):
    """The five matrix products of every step and nothing else, into memory that is kept."""

    def __init__(self, task: Task, data: Data, dtype: str) -> None:
        super().__init__(task, data)
        features = data.images.shape[1]
        rng = np.random.default_rng(task.seed)

        def operand(*shape: int) -> np.ndarray:
            return rng.normal(scale=0.1, size=shape).astype(dtype)

        self.W1, self.W2 = operand(features, task.hidden), operand(task.hidden, data.classes)
        self.G1, self.G2 = np.empty_like(self.W1), np.empty_like(self.W2)
        count = len(data.images)
        sizes = [rows.stop - rows.start for rows in batches(count, task.batch_size)]
        shapes = (features, task.hidden, data.classes, data.classes, task.hidden)
        memory = {n: tuple(operand(n, width) for width in shapes) for n in set(sizes)}
        self.steps = [memory[n] for n in sizes]

    def epoch(self) -> None:
        for memory in self.steps:
            self.step(*memory)

    def step(
        self, x: np.ndarray, h: np.ndarray, z: np.ndarray, d2: np.ndarray, d1: np.ndarray
    ) -> None:
        np.matmul(x, self.W1, out=h)
        np.matmul(h, self.W2, out=z)
        np.matmul(h.T, d2, out=self.G2)
        np.matmul(d2, self.W2.T, out=d1)
        np.matmul(x.T, d1, out=self.G1)


class Loop(Contestant):
    """A NumPy training loop over ``self.W1`` and its like, which a subclass fills with life."""

    dtype: str

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        start = (self.start[name].astype(self.dtype) for name in ("W1", "b1", "W2", "b2"))
        self.W1, self.b1, self.W2, self.b2 = start
        self.batches = batches(len(data.images), task.batch_size)

    def prepare(self) -> None:
        self.indices = self.order()

    def epoch(self) -> None:
        for rows in self.batches:
            self.step(self.indices[rows])

    def step(self, index: np.ndarray) -> None:
        raise NotImplementedError

    def weights(self) -> dict[str, np.ndarray]:
        return {"W1": self.W1, "b1": self.b1, "W2": self.W2, "b2": self.b2}


class Notebook(Loop):
    """As a notebook from scratch goes: float64, one-hot targets, the loss recomputed each step."""

    dtype = "float64"

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        self.x = data.images / 255.0
        self.t = np.eye(data.classes)[data.labels]
        self.losses: list[float] = []

    def forward(self, x: np.ndarray) -> Arrays:
        z1 = x @ self.W1 + self.b1
        a1 = np.maximum(z1, 0)
        z2 = a1 @ self.W2 + self.b2
        e = np.exp(z2 - z2.max(axis=1, keepdims=True))
        return z1, a1, e / e.sum(axis=1, keepdims=True)

    def loss(self, x: np.ndarray, t: np.ndarray) -> float:
        return float(-np.sum(t * np.log(self.forward(x)[-1] + 1e-12)) / len(x))

    def gradients(self, x: np.ndarray, t: np.ndarray) -> Arrays:
        z1, a1, p = self.forward(x)
        d2 = (p - t) / len(x)
        d1 = (d2 @ self.W2.T) * (z1 > 0)
        return x.T @ d1, d1.sum(axis=0), a1.T @ d2, d2.sum(axis=0)

    def step(self, index: np.ndarray) -> None:
        x, t = self.x[index], self.t[index]
        W1, b1, W2, b2 = self.gradients(x, t)
        self.W1 = self.W1 - self.task.lr * W1
        self.b1 = self.b1 - self.task.lr * b1
        self.W2 = self.W2 - self.task.lr * W2
        self.b2 = self.b2 - self.task.lr * b2
        self.losses.append(self.loss(x, t))


class Careful(Loop):
    """What somebody who knows NumPy writes: float32, the batch taken from uint8, in-place steps."""

    dtype = "float32"

    def step(self, index: np.ndarray) -> None:
        x = self.data.images.take(index, axis=0).astype(np.float32)
        x *= np.float32(1 / 255)
        rows, labels = np.arange(len(index)), self.data.labels[index]
        h = x @ self.W1
        h += self.b1
        np.maximum(h, 0, out=h)
        z = h @ self.W2
        z += self.b2
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        z[rows, labels] -= 1
        z *= np.float32(self.task.lr / len(index))
        d1 = z @ self.W2.T
        d1 *= h > 0
        self.W2 -= h.T @ z
        self.b2 -= z.sum(axis=0)
        self.W1 -= x.T @ d1
        self.b1 -= d1.sum(axis=0)
