"""``backendmlp export``: a trained model for other programs."""

from __future__ import annotations

from pathlib import Path

from backendmlp.errors import InputError
from backendmlp.exchange import export_onnx
from backendmlp.files import shown
from backendmlp.mlp import MLP
from backendmlp.runs.stored import model_of


def export(path: Path, *, to: str, out: Path | None, dtype: str | None, inputs: str | None) -> None:
    """Write the model of ``path``, a file or a run's folder, to ``out``, and say where it is."""
    file = model_of(path)
    target = out or file.with_suffix(f".{to}")
    if target.exists() and target.suffix != f".{to}":
        raise InputError(
            f"{shown(target)} is there already, and its name is none of an earlier export; choose "
            f"another --out, ending in .{to}"
        )
    export_onnx(MLP.load(file), target, dtype=dtype, inputs=inputs)
    print(f"wrote {shown(target)}")
