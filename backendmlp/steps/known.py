"""What code in C and CUDA knows of recipes: its numbers for the choices, and their own."""

from __future__ import annotations

from backendmlp.network.losses import CrossEntropy
from backendmlp.network.optimizers import Adam, Momentum
from backendmlp.network.recipe import Recipe

# As compiled/job.h and kernels/job.h number them.
ACTIVATIONS = ("relu", "tanh", "logistic", "identity")
LOSSES = ("cross_entropy", "squared_error")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam")


def knows(recipe: Recipe) -> bool:
    """Whether there is a number for each choice."""
    return (
        recipe.activation.name in ACTIVATIONS
        and recipe.loss.name in LOSSES
        and recipe.optimizer.name in OPTIMIZERS
    )


def numbers(recipe: Recipe) -> dict[str, int]:
    return {
        "activation": ACTIVATIONS.index(recipe.activation.name),
        "loss": LOSSES.index(recipe.loss.name),
        "optimizer": OPTIMIZERS.index(recipe.optimizer.name),
    }


def smoothing(recipe: Recipe) -> float:
    """Of labels; zero where there is none."""
    return recipe.loss.smoothing if isinstance(recipe.loss, CrossEntropy) else 0.0


def kept(recipe: Recipe) -> tuple[float, float]:
    """What an optimiser keeps of its slots: the momentum, or Adam's betas; zero of what is not."""
    optimizer = recipe.optimizer
    if isinstance(optimizer, Momentum):
        return optimizer.momentum, 0.0
    if isinstance(optimizer, Adam):
        return optimizer.beta_1, optimizer.beta_2
    return 0.0, 0.0
