"""Small data made by formulas, which no file has to hold."""

from __future__ import annotations

import numpy as np

from backendmlp import Dataset


def dataset() -> Dataset:
    """80 + 16 pictures of 4 x 5 pixels in three classes, which the files in ``old`` are of."""
    row, column = np.arange(96)[:, None], np.arange(20)[None, :]
    labels = (np.arange(96) * 7 // 4 % 3).astype(np.uint8)
    levels = row * 37 + column * column * 11 + labels[:, None] * column * 53
    images = (levels % 256).astype(np.uint8).reshape(96, 4, 5)
    names = ("a", "b", "c")
    return Dataset("formula", "here", images[:80], labels[:80], images[80:], labels[80:], names)


def targets(validation: bool = True) -> Dataset:
    """70 + 20 rows of five features with two targets each, with weights, and validation data."""
    x = np.arange(110 * 5).reshape(110, 5) * 37 % 101 / 101.0 - 0.5
    y = np.stack([x[:, 0] * x[:, 1] - x[:, 2], x @ np.arange(5.0)], axis=1)
    weights = np.arange(70) % 4 / 3.0
    held = (x[90:], y[90:]) if validation else None
    more = {"train_weights": weights, "validation": held}
    return Dataset("targets", "here", x[:70], y[:70], x[70:90], y[70:90], **more)
