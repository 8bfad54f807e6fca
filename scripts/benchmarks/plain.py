"""Contestants of NumPy alone: the products that any step needs, a notebook, a careful loop."""

from __future__ import annotations

import numpy as np

from benchmarks.task import SLOTS, Contestant, Data, Task, batches, layers

Arrays = tuple[np.ndarray, ...]

_PIECE = 1 << 16  # numbers of each array in a piece of the pass; 4096 to 16384 were slower


class Products(Contestant):
    """The matrix products of every step and nothing else, into memory that is kept.

    Each layer has one forward, one for its weights' gradient and, but for the first, one for the
    deltas before it.
    """

    def __init__(self, task: Task, data: Data, dtype: str) -> None:
        super().__init__(task, data)
        rng = np.random.default_rng(task.seed)

        def operand(*shape: int, scale: float = 1.0) -> np.ndarray:
            return rng.normal(scale=scale, size=shape).astype(dtype)

        # Of such sizes that nothing runs away or fades, also where changes are added to weights.
        self.weights_of = [operand(*shape, scale=shape[0] ** -0.5) for shape in layers(self.sizes)]
        self.changes = [np.empty_like(W) for W in self.weights_of]
        steps = [rows.stop - rows.start for rows in batches(len(data.images), task.batch_size)]
        memory = {  # of each size of batch: what enters and leaves the layers, deltas behind each
            n: ([operand(n, width) for width in self.sizes],
                [operand(n, width, scale=1e-8) for width in self.sizes[1:]])
            for n in set(steps)
        }  # fmt: skip
        self.steps = [self.products(*memory[n]) for n in steps]

    def products(self, values: list[np.ndarray], deltas: list[np.ndarray]) -> dict[str, Arrays]:
        """Factors and result of each product of a step, in order, by what it is."""
        last, found = len(self.weights_of), {}
        for i, W in enumerate(self.weights_of):
            found[f"{_name('H', i)} W{i + 1}"] = values[i], W, values[i + 1]
        for i in reversed(range(last)):
            found[f"{_name('H', i)}^T D{i + 1}"] = values[i].T, deltas[i], self.changes[i]
            if i:
                found[f"D{i + 1} W{i + 1}^T"] = deltas[i], self.weights_of[i].T, deltas[i - 1]
        return found

    def epoch(self) -> None:
        for products in self.steps:
            for a, b, out in products.values():
                np.matmul(a, b, out=out)


def _name(letter: str, layer: int) -> str:
    """Of what enters a layer, counted from 0."""
    return f"{letter}{layer}" if layer else "X"


class ProductsAndPass(Products):
    """The products, and in each step one pass over the parameters and what the optimiser keeps.

    The pass is the least that any optimiser reads and writes, whatever it computes: the change is
    read, and each parameter and each array kept for it read and written once, by one addition; by
    pieces that stay in the second-level cache for all of it.  One thread does it, as NumPy does.
    """

    def __init__(self, task: Task, data: Data, dtype: str) -> None:
        super().__init__(task, data, dtype)
        updated = list(zip(self.weights_of, self.changes, strict=True))
        updated += [(np.zeros(n, dtype), np.zeros(n, dtype)) for n in self.sizes[1:]]  # biases
        self.pieces: list[tuple[np.ndarray, list[np.ndarray]]] = []
        for parameter, change in updated:
            kept = [np.zeros_like(parameter) for _ in range(SLOTS[self.discipline.optimizer])]
            flat = [array.reshape(-1) for array in (change, parameter, *kept)]
            for start in range(0, parameter.size, _PIECE):
                own, *written = (array[start : start + _PIECE] for array in flat)
                self.pieces.append((own, written))

    def epoch(self) -> None:
        for products in self.steps:
            for a, b, out in products.values():
                np.matmul(a, b, out=out)
            for change, arrays in self.pieces:
                for array in arrays:
                    np.add(array, change, out=array)


class Loop(Contestant):
    """A NumPy loop of plain descent with one hidden layer, which a subclass fills with life."""

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
        self.W1 = self.W1 - self.discipline.lr * W1
        self.b1 = self.b1 - self.discipline.lr * b1
        self.W2 = self.W2 - self.discipline.lr * W2
        self.b2 = self.b2 - self.discipline.lr * b2
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
        z *= np.float32(self.discipline.lr / len(index))
        d1 = z @ self.W2.T
        d1 *= h > 0
        self.W2 -= h.T @ z
        self.b2 -= z.sum(axis=0)
        self.W1 -= x.T @ d1
        self.b1 -= d1.sum(axis=0)
