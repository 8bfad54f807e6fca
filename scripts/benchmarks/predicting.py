"""Predictions beside PyTorch's and scikit-learn's, in alternating rounds, in one process.

``cd scripts && python -m benchmarks.predicting``: milliseconds of a call, medians.  Ours start from
uint8 pixels; the peers are given float32 that was made ahead.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from backendmlp import MLP, load_sample

ROUNDS = {1: 300, 100: 200, 1000: 60, 60_000: 7}
Predict = Callable[[int], Any]


def contestants() -> dict[str, Predict]:
    """By name, what predicts the classes of the first so many images."""
    import torch
    from sklearn.neural_network import MLPClassifier

    data = load_sample()
    pixels = np.concatenate([data.train_images] * 6)
    floats = pixels.reshape(len(pixels), -1).astype(np.float32) / 255
    given = data.train_images, data.train_labels
    native, bitwise = (MLP(epochs=1, numerics=name).fit(*given) for name in ("native", "bitwise"))
    layers = torch.nn.Linear(784, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10)
    network = torch.nn.Sequential(*layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch does not converge
        sklearn = MLPClassifier((100,), max_iter=1).fit(floats[:2000], data.train_labels[:2000])

    def eager(count: int) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(floats[:count])).argmax(1).numpy()

    return {
        "native float32": lambda count: native.predict(pixels[:count]),
        "bitwise": lambda count: bitwise.predict(pixels[:count]),
        "PyTorch": eager,
        "scikit-learn": lambda count: sklearn.predict(floats[:count]),
    }


def main() -> None:
    everyone = contestants()
    print(f"{'images':>8}", *(f"{name:>16}" for name in everyone))
    for count, rounds in ROUNDS.items():
        seconds: dict[str, list[float]] = {name: [] for name in everyone}
        for number in range(rounds + 1):
            for name, predict in everyone.items():
                started = time.perf_counter()
                predict(count)
                if number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - started)
        found = {name: 1e3 * median(values) for name, values in seconds.items()}
        best = min(found["PyTorch"], found["scikit-learn"])
        print(f"{count:>8}", *(f"{ms:9.3f} ({ms / best:.2f})" for ms in found.values()))


if __name__ == "__main__":
    main()
