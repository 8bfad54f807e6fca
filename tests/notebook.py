"""The notebook's mathematics, transcribed: plain NumPy in float64, a line for each formula.

It shares no code with the package: one-hot targets, probabilities, the textbook's derivatives.
"""

from __future__ import annotations

import numpy as np


def train(
    images: np.ndarray,
    labels: np.ndarray,
    parameters: dict[str, np.ndarray],
    orders: list[np.ndarray],
    batch_size: int,
    lr: float,
) -> tuple[list[float], dict[str, np.ndarray]]:
    """Each epoch's mean training loss, and the parameters after the last.

    ``images`` (N, F) are pixels from 0 to 255, ``labels`` (N,), ``orders`` one (N,) an epoch.
    """
    x = images.astype(np.float64) / 255.0
    targets = np.eye(parameters["b2"].size)[labels]
    W1, b1, W2, b2 = (parameters[name].astype(np.float64) for name in ("W1", "b1", "W2", "b2"))
    history = []
    for order in orders:
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            n, X, T = len(rows), x[rows], targets[rows]

            z1 = X @ W1 + b1
            a1 = np.where(z1 > 0, z1, 0.0)
            z2 = a1 @ W2 + b2
            powers = np.exp(z2 - z2.max(axis=1, keepdims=True))
            P = powers / powers.sum(axis=1, keepdims=True)
            loss = -np.sum(T * np.log(P)) / n
            total += loss * n

            dz2 = (P - T) / n
            dW2, db2 = a1.T @ dz2, dz2.sum(axis=0)
            dz1 = (dz2 @ W2.T) * (z1 > 0)
            dW1, db1 = X.T @ dz1, dz1.sum(axis=0)

            W1, b1 = W1 - lr * dW1, b1 - lr * db1
            W2, b2 = W2 - lr * dW2, b2 - lr * db2
        history.append(total / len(order))
    return history, {"W1": W1, "b1": b1, "W2": W2, "b2": b2}
