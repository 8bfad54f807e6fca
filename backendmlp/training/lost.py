"""Whether a training can still succeed: told only where it is known, or else as a doubt."""

from __future__ import annotations

from typing import Any

from backendmlp.backend import namespace
from backendmlp.network import evaluation
from backendmlp.network.model import forward
from backendmlp.training.trainer import Trainer, calming

Array = Any

_TIMES_GUESSING = 10  # a loss so many times that of guessing, and of the start, is far off
_ASKED = 1000  # rows in one question


class Watch:
    """Looks at a training after each epoch, and says once what is wrong with it.

    A first epoch may begin with a few wild steps, and even a loss that rises may come down again.
    So a training counts as lost where its hidden units are dead and nothing moves them any more,
    or where it has ended far above guessing; a loss there that rises is told as what it is.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.guessing = trainer.guessing
        self._told = False
        self._last: float | None = None  # the loss at the end of the epoch before, if far above
        self._were_dead = False

    def after_epoch(self, loss: float) -> str | None:
        """What is wrong after an epoch of the mean ``loss``; None for nothing, or nothing new."""
        if self._told:
            return None
        said = self._far_off(loss) or self._dead(loss)
        self._told = said is not None
        return said

    @property
    def _remedy(self) -> str:
        return calming(self.trainer.config)

    def _far_off(self, loss: float) -> str | None:
        far = _TIMES_GUESSING * max(self.guessing, self.trainer.first_loss or 0.0)
        if not self.guessing or not loss > far:
            self._last = None
            return None
        now, before = self._loss_now(), self._last
        self._last = now if now > far else None
        if not now > far:
            return None
        found = f"{now:.3g}, and guessing has one of {self.guessing:.3g}"
        if (
            self.trainer.through and self.trainer.config.patience is None
        ):  # else by its best weights
            return f"the training is lost: it ends with a loss of {found}; {self._remedy}"
        if before is not None and now >= before:
            return (
                f"the training has gone astray: the loss after epoch {self.trainer.epoch} has "
                f"risen to {found}; it may not come back, {self._remedy} or scale the inputs"
            )
        return None

    def _loss_now(self) -> float:
        """The mean loss of the first rows as the network stands, without their steps' history."""
        trainer, rows = self.trainer, self.trainer.rows
        count = min(_ASKED, rows.inputs.shape[0])
        scores = trainer.score(rows.inputs[:count, :], rows.targets[:count, ...])
        return float(evaluation.loss(trainer.arithmetic, trainer.recipe.loss, scores))

    def _dead(self, loss: float) -> str | None:
        """Of hidden units that are dead; a good loss needs no look at them."""
        if not loss > self.guessing / 2 or not dead(self.trainer):
            self._were_dead = False
            return None
        for_good = self._were_dead or self.trainer.through or not _moves_on(self.trainer)
        self._were_dead = True
        if not for_good:
            return None
        return (
            f"the training is lost: after epoch {self.trainer.epoch} all units of a hidden layer "
            f"are zero, whatever the input, and nothing can be learned any more; {self._remedy}"
        )


def dead(trainer: Trainer) -> bool:
    """Whether units of one layer, one for one, answer to no input, of inputs that differ."""
    if trainer.recipe.activation.name != "relu" or not trainer.config.hidden:
        return False
    inputs = trainer.rows.inputs
    xp, silent = namespace(inputs), [True] * len(trainer.config.hidden)
    differ = False
    for start in range(0, inputs.shape[0], _ASKED):  # mostly the first rows tell of a living one
        rows = inputs[start : min(start + _ASKED, inputs.shape[0]), :]
        differ = differ or bool(xp.any(rows != inputs[:1, :]))
        found = forward(trainer.arithmetic, trainer.recipe.activation, trainer.parameters, rows)
        answers = [bool(xp.any(value > 0)) for value in found.values[1:]]
        silent = [was and not any_ for was, any_ in zip(silent, answers, strict=True)]
        if not any(silent):
            return False
    return differ


def _moves_on(trainer: Trainer) -> bool:
    """Whether weights move even without a gradient: by momentum, or by what makes them smaller."""
    config = trainer.config
    return bool(trainer.recipe.optimizer.slots or config.l2 or config.weight_decay)
