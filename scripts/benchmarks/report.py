"""What is printed: the machine, a table for each cell, ratios, accuracies, the goals."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from backendmlp.steps import compiled
from benchmarks.contestants import ENTRIES
from benchmarks.goals import Results, Verdict, beside_faster, final, off, paired_ratio, ratio

_PACKAGES = (
    "backendmlp", "numpy", "torch", "jax", "jaxlib", "optax", "keras", "scikit-learn",
    "cupy-cuda12x", "cupy-cuda13x",
)  # fmt: skip


def machine(threads: int) -> dict[str, Any]:
    """Where the figures come from."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    blas = [
        f"{found['internal_api']} {found.get('version')} {found.get('architecture', '')}".strip()
        for found in threadpool_info()
        if found["user_api"] == "blas"
    ]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "blas": blas,
        "gpu": _gpu(),
        "steps": "compiled" if compiled.available() else "as defined",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: v for name in _PACKAGES if (v := _version(name))},
    }


def machine_text(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    gpu = f"; GPU {found['gpu']}" if found["gpu"] else ""
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads each{gpu}; "
        f"{found['system']}; BLAS: {', '.join(found['blas']) or 'unknown'}; "
        f"backendmlp's steps on NumPy: {found['steps']}; "
        f"Python {found['python']}, {versions}"
    )


def table(results: Results) -> str:
    """Seconds an epoch: median, smallest and largest, and the ratio to the products of its type."""
    rows = [("", "median s", "min-max s", "x products", "(paired)", "accuracy", "loss")]
    for key, result in results.items():
        entry, accuracy, loss = ENTRIES[key], final(result.accuracies), final(result.losses)
        products = results.get(f"products-{entry.dtype}")
        rows.append(
            (
                entry.label,
                f"{median(result.seconds):.4f}",
                f"{min(result.seconds):.4f}-{max(result.seconds):.4f}",
                *_ratios(result.seconds, products.seconds if products else None),
                "" if accuracy is None else f"{100 * accuracy:.2f} %",
                "" if loss is None else f"{loss:.4f}",
            )
        )
    return aligned(rows)


_BESIDE = {
    "torch-gpu": "/ eager", "torch-graph": "/ graphs", "jax-gpu": "/ JAX",
    "torch-gpu-float64": "/ eager 64", "jax-gpu-float64": "/ JAX 64",
}  # fmt: skip


def device_table(results: Results, steps: int) -> str:
    """Microseconds a step of an epoch of ``steps``, and ratios of medians to the peers there."""
    beside = {peer: head for peer, head in _BESIDE.items() if peer in results}
    rows = [("", "by", "us a step", "min-max", *beside.values(), "loss")]
    for key, result in results.items():
        each = [1e6 * seconds / steps for seconds in result.seconds]
        loss = final(result.losses)
        rows.append(
            (
                ENTRIES[key].label,
                result.steps,
                f"{median(each):.2f}",
                f"{min(each):.2f}-{max(each):.2f}",
                *(f"{ratio(result.seconds, results[peer].seconds):.3f}" for peer in beside),
                "" if loss is None else f"{loss:.4f}",
            )
        )
    return aligned(rows, left=(0, 1))


def scaling_table(results: Results, steps: int) -> str:
    """Epochs by contestant and number of threads, "KEY THREADS", and how many times as fast."""
    rows, alone = [("", "threads", "s an epoch", "us a step", "times as fast")], {}
    for name, result in results.items():
        key, _, threads = name.rpartition(" ")
        seconds = median(result.seconds)
        first = alone.setdefault(key, seconds)
        figures = f"{seconds:.4f}", f"{1e6 * seconds / steps:.1f}", f"{first / seconds:.2f}"
        rows.append((ENTRIES[key].label, threads, *figures))
    return aligned(rows)


def ratio_table(results: Results) -> str:
    """Ours to each of the others: ratio of medians, and in brackets median of paired ratios."""
    ours = [key for key in results if key.startswith("ours-")]
    rows = [("", *(ENTRIES[key].label.removeprefix("backendmlp ") for key in ours))]
    for peer in results:
        if peer not in ours:
            cells = (" ".join(_ratios(results[k].seconds, results[peer].seconds)) for k in ours)
            rows.append((f"/ {ENTRIES[peer].label}", *cells))
    return aligned(rows)


def prediction_table(results: Results) -> str:
    """Milliseconds of a call, and the ratio to the faster of PyTorch and scikit-learn."""
    counts = sorted({count for result in results.values() for count in result.predictions})
    rows = [("images", *(f"{count:,}" for count in counts))]
    for key, result in results.items():
        cells = []
        for count in counts:
            seconds, beside = result.predictions.get(count), beside_faster(results, key, count)
            text = f"{1e3 * median(seconds):.3f} ms" if seconds else ""
            cells.append(text if beside is None else f"{text} ({beside:.2f})")
        rows.append((ENTRIES[key].label, *cells))
    return aligned(rows)


def agreement_text(results: Results) -> str:
    """One line where all agree, and a loud one for each contestant that does not."""
    wrong = off(results)
    if not wrong:
        return "all agree: accuracies within 2 points of the median, losses within 10 %"
    return "\n".join(f"WRONG: {ENTRIES[key].label} is {text}" for key, text in wrong.items())


def checklist(verdicts: Sequence[Verdict]) -> str:
    """The goals, each with its figure, its limit and whether it is met."""
    rows = [("", "figure", "limit", "goal")]
    for verdict in verdicts:
        figure = "-" if verdict.figure is None else f"{verdict.figure:.3g}"
        word = {True: "yes", False: "NO", None: "not measured"}[verdict.met]
        rows.append((word, figure, f"{verdict.limit:.4g}", verdict.goal))
    return aligned(rows, left=(0, 3))


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """``rows`` in columns, flush right but for the columns ``left``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _ratios(a: Sequence[float], b: Sequence[float] | None) -> tuple[str, str]:
    return ("", "") if b is None else (f"{ratio(a, b):.2f}", f"({paired_ratio(a, b):.2f})")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown CPU"


def _gpu() -> str | None:
    try:
        import cupy

        return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except Exception:  # no CuPy, no driver, no GPU: then there is none to speak of
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        if name != "backendmlp":
            return None
        import backendmlp

        return backendmlp.__version__
