"""The libraries people would use instead, each in its fastest fair form."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.ours import cuda_seconds
from benchmarks.task import Contestant, Data, Discipline, Predict, Task, batches

Array = Any


class Torch(Contestant):
    """Eager PyTorch without its DataLoader: floats on the device, a batch by ``index_select``."""

    def __init__(self, task: Task, data: Data, device: str = "cpu", dtype: str = "float32") -> None:
        super().__init__(task, data)
        import torch

        torch.set_num_threads(task.threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise ImportError("PyTorch finds no CUDA GPU here")
        torch.set_float32_matmul_precision("highest")  # on a GPU too: no TF32
        self.torch, self.device, self.dtype = torch, device, getattr(torch, dtype)
        self.x = torch.from_numpy(data.images).to(device).to(self.dtype).div_(255)
        self.y = torch.from_numpy(data.labels).to(device)
        self.net = self._network().to(device, self.dtype)
        self.optimizer = self._optimizer()
        self.batches = batches(len(data.images), task.batch_size)

    def _network(self) -> Any:
        torch, start = self.torch, self.start
        modules: list[Any] = []
        for layer in range(1, len(self.sizes)):
            affine = torch.nn.Linear(*self.sizes[layer - 1 : layer + 1], dtype=self.dtype)
            with torch.no_grad():
                affine.weight.copy_(torch.from_numpy(start[f"W{layer}"].T))
                affine.bias.copy_(torch.from_numpy(start[f"b{layer}"]))
            modules += [affine, torch.nn.ReLU()]
        return torch.nn.Sequential(*modules[:-1])

    def _optimizer(self, **options: Any) -> Any:
        optim, discipline, numbers = self.torch.optim, self.discipline, self.discipline.numbers
        common = {"lr": discipline.lr, **options}
        if discipline.optimizer == "adam":
            betas = numbers["beta_1"], numbers["beta_2"]
            return optim.Adam(
                self.net.parameters(), betas=betas, eps=numbers["epsilon"], fused=True, **common
            )
        momentum = numbers.get("momentum", 0.0)
        return optim.SGD(self.net.parameters(), momentum=momentum, fused=True, **common)

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
        found = (p.detach().cpu().numpy().T for p in self.net.parameters())
        return dict(zip(self.start, found, strict=True))

    def predictor(self) -> Predict:
        """From and to NumPy's arrays, as ours are asked."""
        torch, floats = self.torch, self.x.cpu().numpy()

        def predict(count: int) -> np.ndarray:
            with torch.inference_mode():
                x = torch.from_numpy(floats[:count]).to(self.device)
                return self.net(x).argmax(1).cpu().numpy()

        return predict

    def seconds(self, work: Callable[[], None]) -> float:
        return super().seconds(work) if self.device == "cpu" else cuda_seconds(work)


class TorchGraph(Torch):
    """PyTorch with a step captured as a CUDA graph; a batch's place is counted on the device.

    The last batch, where it is short, has a graph of its own.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data, "cuda")
        torch, count = self.torch, len(data.images)
        self.indices = torch.arange(count, device="cuda")
        self.place = torch.zeros((), dtype=torch.int64, device="cuda")
        before = [p.detach().clone() for p in self.net.parameters()]
        self.whole, rest = divmod(count, task.batch_size)
        self.graph = self._graph(task.batch_size) if self.whole else None
        self.rest = self._graph(rest) if rest else None
        with torch.no_grad():
            for parameter, value in zip(self.net.parameters(), before, strict=True):
                parameter.copy_(value)
                for kept in self.optimizer.state[parameter].values():
                    if kept is not None:  # as velocity is of plain descent
                        kept.zero_()  # velocity, means, squares and the number of steps

    def _optimizer(self, **options: Any) -> Any:
        capturable = {"capturable": True} if self.discipline.optimizer == "adam" else {}
        return super()._optimizer(**capturable, **options)

    def _graph(self, size: int) -> Any:
        """A step on the next ``size`` rows, tried out and captured."""
        torch, window = self.torch, self.torch.arange(size, device="cuda")

        def work() -> None:
            self.step(self.indices.index_select(0, self.place + window))
            self.place += size

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.place.zero_()
                work()
            self.place.zero_()
        torch.cuda.current_stream().wait_stream(side)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        self.windows = [*getattr(self, "windows", ()), window]  # which the graph reads
        return graph

    def prepare(self) -> None:
        self.indices.copy_(self.torch.from_numpy(self.order()))
        self.place.zero_()

    def epoch(self) -> None:
        for _ in range(self.whole):
            self.graph.replay()
        if self.rest is not None:
            self.rest.replay()
        self.torch.cuda.synchronize()


class TorchCompiled(Torch):
    """PyTorch's compiler in its mode for small work, which makes CUDA graphs of what it compiles.

    The optimiser's step, one fused kernel, and the last batch, where it is short, stay eager.
    """

    def __init__(self, task: Task, data: Data, device: str = "cuda") -> None:
        super().__init__(task, data, device)
        torch, functional = self.torch, self.torch.nn.functional

        def loss(index: Array) -> Array:
            logits = self.net(self.x.index_select(0, index))
            return functional.cross_entropy(logits, self.y.index_select(0, index))

        self.loss = torch.compile(loss, mode="reduce-overhead", dynamic=False)
        for whole in (self.x, self.y):  # else they are copied into the graph's memory each step
            torch._dynamo.mark_static_address(whole)
        try:
            self.loss(torch.arange(task.batch_size, device=device)).backward()
        except Exception as error:  # no Triton, or nothing that compiles what it writes
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ImportError(f"torch.compile does not work here: {reason:.200}") from error

    def step(self, index: Array) -> None:
        if len(index) < self.task.batch_size:
            super().step(index)
            return
        self.torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(index).backward()
        self.optimizer.step()


class Jax(Contestant):
    """JAX and optax: one compiled scan over the epoch, the batch gathered from uint8 within it.

    Of eight forms tried with plain descent at batch 64 on a busy two-core machine this one was the
    fastest or level with it; the others: a checked gather, floats, rows permuted ahead by JAX or by
    NumPy, gradients by hand, one-hot targets, an unrolled scan.
    """

    def __init__(self, task: Task, data: Data, device: str = "cpu", dtype: str = "float32") -> None:
        super().__init__(task, data)
        import jax

        if dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        if device != "cpu":  # no TF32
            jax.config.update("jax_default_matmul_precision", "highest")
        try:
            self.device = jax.devices(device)[0]
        except RuntimeError as error:
            raise ImportError(f"JAX finds no such device: {error}") from error
        self.jax = jax
        # Put there, not only made there: else the second epoch, a timed one, compiles again.
        self.x = jax.device_put(data.images, self.device)
        self.y = jax.device_put(data.labels.astype(np.int32), self.device)
        start = {k: v.astype(dtype) for k, v in self.start.items()}
        optimizer = _optax(self.discipline)
        self.learned = jax.device_put((start, optimizer.init(start)), self.device)
        self.scan = jax.jit(_jax_epoch(optimizer, len(self.sizes) - 1, dtype), donate_argnums=0)

    def prepare(self) -> None:
        order, size = self.order().astype(np.int32), self.task.batch_size
        whole = len(order) // size * size
        parts = [order[:whole].reshape(-1, size), order[whole:][None, :]]
        self.parts = [self.jax.device_put(part, self.device) for part in parts if part.size]
        self.jax.block_until_ready(self.parts)

    def epoch(self) -> None:
        for part in self.parts:
            self.learned, _ = self.scan(self.learned, self.x, self.y, part)
        self.jax.block_until_ready(self.learned)

    def weights(self) -> dict[str, np.ndarray]:
        return {k: np.asarray(v) for k, v in self.learned[0].items()}


def _optax(discipline: Discipline) -> Any:
    numbers = discipline.numbers
    try:
        import optax
    except ImportError:
        if discipline.optimizer != "sgd":
            raise
        return _PlainDescent(discipline.lr)
    if discipline.optimizer == "adam":
        return optax.adam(discipline.lr, numbers["beta_1"], numbers["beta_2"], numbers["epsilon"])
    return optax.sgd(discipline.lr, numbers.get("momentum"))


class _PlainDescent:
    """What optax has for plain descent, where it is not installed."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def init(self, p: Any) -> tuple[()]:
        return ()

    def update(self, gradient: dict[str, Array], kept: Any, p: Any) -> tuple[Any, Any]:
        return {name: g * -self.lr for name, g in gradient.items()}, kept


def _jax_epoch(optimizer: Any, last: int, dtype: str) -> Callable[..., Any]:
    """An epoch of a network of ``last`` layers, computed in ``dtype``."""
    import jax
    import jax.numpy as jnp

    def loss(p: dict[str, Array], x: Array, y: Array) -> Array:
        for layer in range(1, last):
            x = jax.nn.relu(x @ p[f"W{layer}"] + p[f"b{layer}"])
        shares = jax.nn.log_softmax(x @ p[f"W{last}"] + p[f"b{last}"])
        return -jnp.mean(jnp.take_along_axis(shares, y[:, None], 1))

    def epoch(learned: Any, images: Array, labels: Array, order: Array) -> Any:
        def step(learned: Any, index: Array) -> tuple[Any, Array]:
            p, kept = learned
            x = images.at[index].get(mode="promise_in_bounds").astype(dtype) * (1 / 255)
            y = labels.at[index].get(mode="promise_in_bounds")
            value, gradient = jax.value_and_grad(loss)(p, x, y)
            change, kept = optimizer.update(gradient, kept, p)
            return ({name: p[name] + change[name] for name in p}, kept), value

        return jax.lax.scan(step, learned, order)

    return epoch


class Keras(Contestant):
    """Keras 3 on JAX: ``fit`` for one epoch, its steps compiled and executed 128 at a time.

    The rows are laid out in the common order before each epoch, outside its time.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        dense = keras.layers.Dense
        self.net = keras.Sequential(
            [
                keras.Input((data.images.shape[1],)),
                *(dense(units, activation="relu") for units in self.discipline.hidden),
                dense(data.classes),
            ]
        )
        self.net.set_weights(list(self.start.values()))
        self.net.compile(
            self._optimizer(keras.optimizers),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=True,
            steps_per_execution=128,
        )
        self.x = np.empty(data.images.shape, np.float32)
        self.y = np.empty(data.labels.shape, np.int32)

    def _optimizer(self, optimizers: Any) -> Any:
        discipline = self.discipline
        kind = optimizers.Adam if discipline.optimizer == "adam" else optimizers.SGD
        return kind(discipline.lr, **discipline.numbers)

    def prepare(self) -> None:
        order = self.order()
        self.x[:] = self.data.images[order]
        self.x /= np.float32(255)
        self.y[:] = self.data.labels[order]

    def epoch(self) -> None:
        self.net.fit(self.x, self.y, self.task.batch_size, shuffle=False, verbose=0)

    def weights(self) -> dict[str, np.ndarray]:
        return dict(zip(self.start, self.net.get_weights(), strict=True))


class Sklearn(Contestant):
    """scikit-learn's MLPClassifier on float32, its own shuffle within its time.

    It takes no order, so the rows are laid out anew before each epoch: its shuffle, foreseen from
    its random state, then visits the images in the order that everyone has.  An epoch is one
    ``partial_fit``, which keeps what the optimiser has gathered; ``fit`` would begin it anew.
    """

    def __init__(self, task: Task, data: Data) -> None:
        super().__init__(task, data)
        import sklearn
        from sklearn.neural_network import MLPClassifier

        sklearn.set_config(assume_finite=True)
        warnings.simplefilter("ignore")  # that one epoch is not convergence
        self.x, self.y = data.floats(), data.labels.copy()
        self.net = MLPClassifier(
            self.discipline.hidden, alpha=0.0, learning_rate_init=self.discipline.lr,
            batch_size=min(task.batch_size, len(self.x)),
            random_state=np.random.RandomState(task.seed), **self._solver(),
        )  # fmt: skip
        self._begin()

    def _solver(self) -> dict[str, Any]:
        numbers = self.discipline.numbers
        if self.discipline.optimizer == "adam":
            return {"solver": "adam", **numbers}
        momentum = numbers.get("momentum", 0.0)
        return {"solver": "sgd", "momentum": momentum, "nesterovs_momentum": False}

    def _begin(self) -> None:
        """A first fit makes the attributes that the common initial weights then go into."""
        size = self.net.batch_size
        self.net.partial_fit(self.x[:size], self.y[:size], classes=range(self.data.classes))
        del self.net._optimizer  # made again, with nothing gathered
        for name, array in self.weights().items():
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
        self.net.partial_fit(self.x, self.y)

    def weights(self) -> dict[str, np.ndarray]:
        pairs = enumerate(zip(self.net.coefs_, self.net.intercepts_, strict=True), 1)
        return {f"{kind}{i}": x for i, pair in pairs for kind, x in zip("Wb", pair, strict=True)}

    def predictor(self) -> Predict:
        floats = self.data.floats()
        return lambda count: self.net.predict(floats[:count])
