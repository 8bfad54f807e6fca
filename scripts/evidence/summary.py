"""One page of all that was found, written anew whenever there is more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evidence.steps import Step

_TAIL = 30  # lines of one that failed


def write(folder: Path, steps: list[Step]) -> None:
    """Write ``summary.md``, and ``results.json`` with the same outcomes."""
    by_name = {step.name: step for step in steps}
    parts = [
        "# What this machine shows",
        _machine(by_name["machine"].found()),
        _outcomes(steps),
        *_parity(by_name.get("parity")),
        *_cells(folder / "benchmark.json", "Steps on the GPU"),
        *_cells(folder / "scaling.json", "Steps on the CPU"),
        *_tests(by_name.get("tests")),
        *_failures(steps),
    ]
    (folder / "summary.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    outcomes = [
        {"name": s.name, "outcome": s.outcome, "seconds": s.seconds, "note": s.note} for s in steps
    ]
    (folder / "results.json").write_text(json.dumps(outcomes, indent=1) + "\n", encoding="utf-8")


def _machine(found: dict[str, Any]) -> str:
    if not found:
        return "It did not say what it is."
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    rows = {
        "GPU": "; ".join(f"{name}: {label}" for name, label in found["devices"].items()) or "none",
        "nvidia-smi": found["nvidia-smi"].replace("\n", "<br>"),
        "CUDA": ", ".join(f"{name} {version}" for name, version in found["cuda"].items()),
        "steps on CuPy": ", ".join(f"{name}: {kind}" for name, kind in found["steps"].items()),
        "CPU": f"{found['cpu']}, {found['cores']} cores, {', '.join(found['blas'])}",
        "versions": f"Python {found['python']}, {versions}",
    }
    return _table(("", ""), [(name, text or "-") for name, text in rows.items()])


def _outcomes(steps: list[Step]) -> str:
    rows = [
        (step.title, step.outcome, f"{step.seconds:.0f}" if step.seconds else "", step.note)
        for step in steps
    ]
    return _table(("what", "outcome", "seconds", ""), rows)


def _parity(step: Step | None) -> list[str]:
    lines = [] if step is None else step.said().splitlines()
    kept = [line for line in lines if line.strip() and not line.startswith("training")]
    return ["## The parity table", _block("\n".join(kept))] if kept else []


def _cells(file: Path, title: str) -> list[str]:
    """The tables of a benchmark, as far as it came."""
    if not file.exists():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    parts = [f"## {title}"]
    for key in ("left_out", "broken"):
        parts += [f"- {key.replace('_', ' ')}: {k}: {v}" for k, v in found.get(key, {}).items()]
    for cell in found["cells"]:
        hidden = f", hidden {'-'.join(map(str, cell['hidden']))}" if "hidden" in cell else ""
        text = "\n".join(filter(None, (cell["table"], cell.get("agreement"))))
        parts += [f"Batch {cell['batch_size']}{hidden}", _block(text)]
    return parts


def _tests(step: Step | None) -> list[str]:
    lines = [] if step is None else step.said().strip().splitlines()
    return ["## The tests", _block(lines[-1])] if lines else []


def _failures(steps: list[Step]) -> list[str]:
    parts = []
    for step in steps:
        if step.outcome in ("FAILED", "out of time") and (said := step.said().strip()):
            tail = "\n".join(said.splitlines()[-_TAIL:])
            parts += [f"## {step.name}: {step.outcome}", _block(tail)]
    return parts


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)


def _block(text: str) -> str:
    return f"```\n{text}\n```"
