"""What a person sees of a training: a bar while it runs, a line for each epoch."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm

from backendmlp.commands.telling import line, loss
from backendmlp.training.records import EpochRecord

_WIDE = 80  # columns that the bar's words take, and some for the bar itself
_NARROW = 56  # below which there is no room for the loss
_ECHO = 4  # columns left free at the right: a terminal writes ^C behind the bar


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm's bar, with the time ``left`` for all of the run, and short on a narrow terminal."""

    left = last = more = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm fills its format with."""
        found: dict[str, Any] = super().format_dict
        width = found["ncols"] or _WIDE
        rate = "{rate_fmt}" if width >= _WIDE else ""
        count = "{n_fmt}/{total_fmt} " if width >= _WIDE + 20 else ""
        more = self.more if width >= _WIDE + 40 else ""
        last = self.last if width >= _NARROW else ""
        words = ", ".join(word for word in (rate, self.left, last, more) if word)
        ending = f" {count}[{words}]" if words else ""
        found["bar_format"] = "{desc} {percentage:3.0f}%|{bar}|" + ending
        found["ncols"] = max(1, width - _ECHO)
        return found


class Progress:
    """A bar with epoch, images per second, time left and loss, where stderr is a terminal; lines.

    ``images`` is the size of an epoch, ``done`` how far into epoch ``epoch`` it starts, and
    ``counted_as`` what people are told that they are.
    """

    def __init__(
        self,
        epochs: int,
        images: int,
        *,
        epoch: int = 1,
        done: int = 0,
        quiet: bool = False,
        counted_as: str = "images",
    ) -> None:
        self.epochs, self.quiet = epochs, quiet
        self._bar = _Bar(
            total=images,
            initial=done,
            unit=f" {counted_as}",
            unit_scale=True,
            file=sys.stderr,
            disable=True if quiet else None,  # None: only where it is no terminal
            leave=False,
            dynamic_ncols=True,
        )
        self._first = epoch
        self._gone, self._ahead = 0, (epochs - epoch + 1) * images - done
        self._began = time.monotonic()
        self._name(epoch)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wipe()
        self._bar.close()

    def warm_up(self, begins: bool) -> None:
        """A device that compiles at first use ``begins`` to, or is through: no image goes by."""
        if begins:
            self._bar.set_description_str("preparing the device")
        else:
            self._began = time.monotonic()
            self._name(self._first)

    def images(self, count: int) -> None:
        """``count`` more images went by."""
        self._gone += count
        rest = max(0, self._ahead - self._gone)
        # By the clock, the scoring between the epochs included.
        self._bar.left = _left((time.monotonic() - self._began) / max(1, self._gone) * rest)
        self._bar.update(count)

    def warn(self, text: str) -> None:
        """Say what is amiss, beside the bar; it is no error, and nobody is too quiet for it."""
        self._wipe()
        print(f"Warning: {text}", file=sys.stderr, flush=True)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is through: print its line and begin the next one's bar."""
        if not self.quiet:
            self._wipe()
            print(line(record, self.epochs), flush=True)
        if record.epoch < self.epochs:
            self._bar.last = f"loss of epoch {record.epoch} {loss(record.train_loss)}"
            if record.validation_loss is not None:
                self._bar.more = f"validation {loss(record.validation_loss)}"
            self._bar.reset()
            self._name(record.epoch + 1)

    def _wipe(self) -> None:
        """Leave an empty line, also where ``^C`` stands behind the bar."""
        if not self._bar.disable:
            self._bar.clear()
            width = self._bar.format_dict["ncols"] + _ECHO - 1
            sys.stderr.write("\r" + " " * width + "\r")
            sys.stderr.flush()

    def _name(self, epoch: int) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self.epochs}")


def _left(seconds: float) -> str:
    """The time left for the run."""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"
