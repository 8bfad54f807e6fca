"""The pictures of ``backendmlp train --plot``: what a finished run has to show."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from backendmlp import evaluation
from backendmlp.backend import to_numpy
from backendmlp.errors import InputError
from backendmlp.plots import save_plots
from backendmlp.run import Run

_MISTAKES = 25
_CURVES = ("epoch", "train_loss", "test_loss", "test_accuracy")


def require_matplotlib() -> None:
    """Refuse before a training rather than after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib; install it: pip install 'backendmlp[plot]'")


def plot_run(run: Run) -> None:
    """Draw curves, confusion matrix, hidden units and the most confident mistakes of ``run``."""
    trainer, dataset = run.trainer, run.dataset
    probabilities = evaluation.probabilities(trainer.arithmetic, trainer.parameters, run.test[0])
    classes = to_numpy(evaluation.classes(probabilities))
    shares, labels = to_numpy(probabilities), np.asarray(dataset.test_labels)
    confusion = np.zeros((dataset.classes,) * 2, np.int64)
    np.add.at(confusion, (labels, classes), 1)
    save_plots(
        run.folder,
        [{name: getattr(epoch, name) for name in _CURVES} for epoch in run.epochs],
        confusion,
        to_numpy(trainer.parameters.W1),
        dataset.image_shape,
        dataset.class_names,
        _most_confident_mistakes(dataset.test_images, labels, classes, shares),
    )


def _most_confident_mistakes(
    images: np.ndarray, labels: np.ndarray, classes: np.ndarray, shares: np.ndarray
) -> list[dict[str, Any]]:
    wrong = np.flatnonzero(classes != labels)
    surest = wrong[np.argsort(-shares[wrong, classes[wrong]], kind="stable")][:_MISTAKES]
    return [
        {
            "image": np.asarray(images[i]),
            "true": int(labels[i]),
            "predicted": int(classes[i]),
            "probability": float(shares[i, classes[i]]),
        }
        for i in surest
    ]
