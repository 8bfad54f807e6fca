"""Every choice of a run as an option of the command line: the one table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import click

from backendmlp.arithmetic import NUMERICS
from backendmlp.commands.options import ClassWeights, Hidden, Known, Option
from backendmlp.config import MONITORS, OPTIMIZERS, Config
from backendmlp.network.activations import ACTIVATIONS
from backendmlp.network.losses import LOSSES
from backendmlp.network.schedules import SCHEDULES


@dataclass(frozen=True)
class Choice:
    """A choice of :class:`backendmlp.Config` as an option: what it takes and what help says."""

    name: str
    kind: Any
    help: str
    default: str | None = None  # where the one of Config says too little
    section: str = "Options"
    metavar: str | None = None

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def option(self, several: bool = False) -> Callable[..., Any]:
        """The option; its value is None where the user does not give it, or () of ``several``."""
        default = getattr(_DEFAULTS, self.name) if self.default is None else self.default
        text = self.help + (f"  [default: {default}]" if default not in (None, "", 0.0) else "")
        return click.option(
            self.flag,
            self.name,
            cls=Option,
            type=self.kind,
            metavar=self.metavar,
            help=text,
            section=self.section,
            multiple=several,
        )


_DEFAULTS = Config()
_NETWORK = "Network and loss"
_DESCENT = "Optimizer"
_RATE = "Learning rate"
_ENDING = "Weights, validation and early stopping"
COMPUTING = "Where and how it is computed"

CHOICES = (
    Choice(
        "hidden",
        Hidden(),
        "Hidden units, of each layer, as 256,128; none for softmax regression.",
        "100",
        metavar="N[,N...]",
    ),
    Choice("epochs", int, "Times through the data."),
    Choice(
        "batch_size",
        int,
        "Rows in a step; 1 for stochastic descent, all of them for full-batch.",
    ),
    Choice("lr", float, "The learning rate.", "0.1; momentum 0.01, adam 0.001"),
    Choice("optimizer", Known(OPTIMIZERS), "How a gradient becomes a step."),
    Choice("seed", int, "Of the initial weights and the shuffles."),
    Choice("activation", Known(tuple(ACTIVATIONS)), "Of hidden units.", section=_NETWORK),
    Choice(
        "loss",
        Known(tuple(LOSSES)),
        "Of classes, or of any real targets: a regression.",
        section=_NETWORK,
    ),
    Choice(
        "label_smoothing",
        float,
        "How much of a label is shared out among all classes.",
        "0",
        section=_NETWORK,
    ),
    Choice("momentum", float, "Of momentum and nesterov.", "0.9", section=_DESCENT),
    Choice("beta_1", float, "Of adam and adamw.", "0.9", section=_DESCENT),
    Choice("beta_2", float, "Of adam and adamw.", "0.999", section=_DESCENT),
    Choice("epsilon", float, "Of adam and adamw.", "1e-08", section=_DESCENT),
    Choice(
        "l2",
        float,
        "Adds L2 / (2 n) times the sum of squared weights to the loss of a batch of n rows.",
        "0",
        section=_DESCENT,
    ),
    Choice(
        "weight_decay",
        float,
        "Decoupled: how much of each weight goes in a step, times the rate.",
        "0; adamw 0.01",
        section=_DESCENT,
    ),
    Choice(
        "clip_norm",
        float,
        "The most that a gradient's norm over all parameters may be.",
        section=_DESCENT,
    ),
    Choice(
        "schedule",
        Known(tuple(SCHEDULES)),
        "How the rate goes on; adaptive divides it by five where the loss stalls.",
        section=_RATE,
    ),
    Choice("decay", float, "Of step: the rate is multiplied by it.", "0.1", section=_RATE),
    Choice("decay_every", int, "Of step: after so many epochs.", "10", section=_RATE),
    Choice(
        "warmup", float, "Epochs, perhaps a part of one, in which it climbs.", "0", section=_RATE
    ),
    Choice(
        "class_weight",
        ClassWeights(),
        "What a row of each class counts for; names not given count 1.",
        section=_ENDING,
        metavar="balanced|W,W,...|NAME=W,...",
    ),
    Choice(
        "validation_split",
        float,
        "Share of the training rows to validate with, drawn from the seed.",
        "0",
        section=_ENDING,
    ),
    Choice(
        "patience",
        int,
        "End after more than so many epochs without a better one; if validated, its weights stay.",
        "to the end; adaptive 10",
        section=_ENDING,
    ),
    Choice("tol", float, "By how much better an epoch has to be.", "0.0001", section=_ENDING),
    Choice(
        "monitor",
        Known(MONITORS),
        "What is to be better.",
        "validation_loss where there are validation data",
        section=_ENDING,
    ),
    Choice(
        "numerics",
        Known(NUMERICS),
        "The same bits everywhere, or the library's own arithmetic.",
        section=COMPUTING,
    ),
    Choice(
        "dtype",
        Known(("float32", "float64")),
        "Of native numerics; bitwise computes in float64.",
        "float32",
        section=COMPUTING,
    ),
)
"""Every choice of a configuration, in the order of the help."""

NAMES = frozenset(choice.name for choice in CHOICES)


def choice_options(command: Callable[..., Any], several: bool = False) -> Callable[..., Any]:
    """``command`` with an option for each choice; of ``several`` values, it may be given again."""
    for choice in reversed(CHOICES):
        command = choice.option(several)(command)
    return command


def varied_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """:func:`choice_options` that may be given several times."""
    return choice_options(command, several=True)


def flags(names: Iterable[str]) -> str:
    """Options as the user spells them, in words."""
    return " and ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
