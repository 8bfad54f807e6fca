"""The kernels' source: its files, one behind the other."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

_FILES = ("job.h", "numbers.h", "product.h", "phases.h", "loss.h", "learn.h", "step.cu")


@lru_cache(maxsize=2)
def text(device: Path | None = None) -> str:
    """All of it, for what ``device`` says of the machine; by default a GPU."""
    here = Path(__file__).parent
    files = [device or here / "device.h", *(here / name for name in _FILES)]
    return "\n".join(f'#line 1 "{file.name}"\n{file.read_text("utf-8")}' for file in files)
