"""What a person sees of a training: a bar while it runs, a line for each epoch."""

from __future__ import annotations

import sys
from types import TracebackType

from tqdm import tqdm

from backendmlp.training import EpochRecord


class Progress:
    """A bar with epoch, loss and images per second, where stderr is a terminal; and lines.

    ``images`` is the size of an epoch, ``done`` how far into epoch ``epoch`` it starts.
    """

    def __init__(
        self, epochs: int, images: int, *, epoch: int = 1, done: int = 0, quiet: bool = False
    ) -> None:
        self.epochs, self.quiet = epochs, quiet
        self._bar = tqdm(
            total=images,
            initial=done,
            unit=" images",
            unit_scale=True,
            file=sys.stderr,
            disable=True if quiet else None,  # None: only where it is no terminal
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_fmt}{postfix}]",
        )
        self._first = epoch
        self._name(epoch)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    def warm_up(self, begins: bool) -> None:
        """A device that compiles at first use ``begins`` to, or is through: no image goes by."""
        if begins:
            self._bar.set_description_str("preparing the device")
        else:
            self._name(self._first)

    def images(self, count: int) -> None:
        """``count`` more images went by."""
        self._bar.update(count)

    def warn(self, text: str) -> None:
        """Say what is amiss, beside the bar; it is no error, and nobody is too quiet for it."""
        self._bar.clear()
        print(f"Warning: {text}", file=sys.stderr, flush=True)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is through: print its line and begin the next one's bar."""
        if not self.quiet:
            self._bar.clear()
            print(line(record, self.epochs), flush=True)
        if record.epoch < self.epochs:
            self._bar.reset()
            self._name(record.epoch + 1)
            self._bar.set_postfix_str(f"loss {_loss(record.train_loss)}")

    def _name(self, epoch: int) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self.epochs}")


def line(record: EpochRecord, epochs: int) -> str:
    """One epoch in words."""
    parts = [
        f"epoch {record.epoch:>{len(str(epochs))}}/{epochs}",
        f"train loss {_loss(record.train_loss)}",
    ]
    if record.test_loss is not None and record.test_accuracy is not None:
        parts += [
            f"test loss {_loss(record.test_loss)}",
            f"test accuracy {record.test_accuracy:.2%}",
        ]
    return "  ".join([*parts, f"{record.seconds:.2f} s"])


def _loss(value: float) -> str:
    return f"{value:.4f}" if value < 1e6 else f"{value:.3e}"  # no 300 digits of a divergence
