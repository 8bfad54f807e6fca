"""The package's training is the notebook's: the same losses from the same start and order."""

from __future__ import annotations

import notebook
import numpy as np
import pytest

import backendmlp


def start(hidden: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {
        "W1": rng.normal(0, np.sqrt(2 / 784), (784, hidden)),
        "b1": rng.normal(0, 0.1, hidden),
        "W2": rng.normal(0, np.sqrt(2 / hidden), (hidden, 10)),
        "b2": rng.normal(0, 0.1, 10),
    }


@pytest.mark.parametrize(
    ("count", "batch_size", "lr"),
    [(40, 1, 0.02), (300, 64, 0.1), (300, 300, 0.1)],
    ids=["batch-1", "batch-64-and-44", "full-batch"],
)
def test_the_loss_history_is_the_notebooks(small, count, batch_size, lr):
    images, labels = small["images"][:count], small["labels"][:count]
    orders = [np.random.default_rng(epoch).permutation(count) for epoch in range(4)]
    mlp = backendmlp.MLP(
        30, epochs=4, batch_size=batch_size, lr=lr, numerics="native", dtype="float64"
    )
    mlp.fit(images, labels, parameters=start(30), order=orders)

    losses, parameters = notebook.train(images, labels, start(30), orders, batch_size, lr)
    assert [record.train_loss for record in mlp.history] == pytest.approx(losses, rel=1e-12, abs=0)
    for name, value in parameters.items():
        np.testing.assert_allclose(mlp.parameters[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert losses[-1] < losses[0]


def test_bitwise_training_follows_the_notebook(small):
    """Fewer bits, the same mathematics: as near to it as float32 would be."""
    orders = [np.random.default_rng(epoch).permutation(300) for epoch in range(3)]
    mlp = backendmlp.MLP(30, epochs=3)
    mlp.fit(small["images"], small["labels"], parameters=start(30), order=orders)
    losses, _ = notebook.train(small["images"], small["labels"], start(30), orders, 64, 0.1)
    assert [record.train_loss for record in mlp.history] == pytest.approx(losses, rel=1e-6, abs=0)
