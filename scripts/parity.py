"""Train on every backend, numerics and BLAS setting at hand, and print whether the bits agree.

A narrow and a wide network, and what ``tests/golden.py`` has of depth, other optimisers and losses,
and float features.
``python scripts/parity.py`` needs no option: on a machine with a CUDA GPU it gives the whole
evidence.  Each row is a process of its own, since a BLAS picks its threads and kernels on loading.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

# The package, unless it is installed, and the golden cases.
sys.path.extend(str(Path(__file__).resolve().parents[1] / part) for part in ("", "tests"))

import golden

from backendmlp import MLP, InputError, load_sample, select
from backendmlp.digests import digest
from backendmlp.steps import compiled
from backendmlp.training.epochs import predictions_digest

RUNS = {
    "784-100-10, batch 64, 2 epochs": {"hidden": 100, "batch_size": 64, "epochs": 2},
    "784-1024-10, batch 1000, 1 epoch": {"hidden": 1024, "batch_size": 1000, "epochs": 1},
}
IMAGES, TESTS = 2300, 500  # the last batch is short in both runs
# JAX computes on the CPU here; where it finds a GPU, it takes most of its memory all the same.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
GOLDEN = [case for case in golden.CASES if case not in ("sample", "wide")]  # which RUNS are like
_COLUMNS = ("backend", "device", "BLAS", "th", "kernels", "numerics", "narrow", "wide")
_COLUMNS += (*(case[:12] for case in GOLDEN), "equal")
NO_SIMD = "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"


@dataclass
class Setting:
    """One row: what is run, and what came of it."""

    backend: str
    device: str | None
    numerics: str
    dtype: str
    environment: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


def settings() -> Iterator[Setting]:
    """Every setting that can run here; the first one is what the others are compared with."""
    all_threads = str(os.cpu_count() or 1)
    others = _others()
    for kind, dtype in (("bitwise", "float64"), ("native", "float64"), ("native", "float32")):
        for environment in _cpu_environments(all_threads):
            yield Setting("numpy", None, kind, dtype, environment)
        for backend, device in others:
            for environment in _environments(backend, device, all_threads):
                yield Setting(backend, device, kind, dtype, environment)


def _environments(backend: str, device: str | None, all_threads: str) -> list[dict[str, str]]:
    """The settings of a backend besides NumPy, on one of its devices."""
    if (backend, device) == ("torch", "cpu"):
        return [dict.fromkeys(THREADS, count) for count in dict.fromkeys(("1", all_threads))]
    if backend == "cupy":
        return [{}, {"BACKENDMLP_KERNELS": "apart"}, {"BACKENDMLP_KERNELS": "0"}]
    return [{}]


def _cpu_environments(all_threads: str) -> list[dict[str, str]]:
    """NumPy's settings; with compiled steps where there are some, and without."""
    found = [dict.fromkeys(THREADS, count) for count in dict.fromkeys(("1", all_threads))]
    if platform.machine() in ("x86_64", "AMD64"):
        found += [{"OPENBLAS_CORETYPE": kernel} for kernel in ("Haswell", "Prescott")]
        found.append({"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": NO_SIMD})
    if compiled.available():
        without = {"BACKENDMLP_COMPILED": "0"}
        found += [{**dict.fromkeys(THREADS, all_threads), **without}, {**found[-1], **without}]
    return found


def _others() -> list[tuple[str, str | None]]:
    """The backends besides NumPy that can run, with each of their devices."""
    found: list[tuple[str, str | None]] = []
    candidates = [("cupy", f"cuda:{i}") for i in range(8)] + [("torch", "cpu")]
    candidates += [("torch", f"cuda:{i}") for i in range(8)]
    candidates += [("jax", "cpu"), ("array-api-strict", "device1")]
    for backend, device in candidates:
        try:
            select(backend, device)
        except InputError as error:
            if not device.startswith("cuda") or device == "cuda:0":
                click.echo(f"left out: {backend} on {device}: {error}", err=True)
            continue
        found.append((backend, device))
    return found


def run(setting: Setting, weights: Path) -> None:
    """Run ``setting`` in a process of its own and keep what it prints, its weights in a file."""
    request = {**asdict(setting), "weights": str(weights)}
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS", "NPY_", "BACKENDMLP"))
    }
    process = subprocess.run(
        [sys.executable, __file__, "--worker", json.dumps(request)],
        env={**environment, **setting.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        setting.result = {"failed": f"it ended with {process.returncode}: {process.stderr[-2000:]}"}
        return
    setting.result = json.loads(process.stdout.splitlines()[-1])
    setting.result["weights"] = str(weights)


def run_all(rows: list[Setting], folder: Path, jobs: int) -> None:
    """Run every row, ``jobs`` at a time."""

    def one(number: int) -> None:
        run(rows[number], folder / f"{number}.npz")

    with (
        ThreadPoolExecutor(jobs) as pool,
        click.progressbar(length=len(rows), label="training", file=sys.stderr) as bar,
    ):
        for _ in pool.map(one, range(len(rows))):
            bar.update(1)


def ran(rows: list[Setting]) -> list[Setting]:
    """The rows that came to an end; of the others it is said why they did not."""
    for row in rows:
        for word, text in (("left out", "refused"), ("FAILED", "failed")):
            if text in row.result:
                where = f"{row.backend} on {row.device or 'cpu'}, {row.numerics} {row.dtype}"
                click.echo(f"{word}: {where}: {row.result[text]}", err=True)
    return [row for row in rows if "digests" in row.result]


def work(request: dict[str, Any]) -> dict[str, Any]:
    """In the process of a row: train all there is; or else the sentence that refuses to."""
    try:
        return _work(request)
    except InputError as error:  # as of a device that cannot do what bitwise numerics ask of it
        return {"refused": str(error)}


def _work(request: dict[str, Any]) -> dict[str, Any]:
    """Digests, and where it ran."""
    data, found, weights = load_sample(), {}, {}
    for name, shape in RUNS.items():
        mlp = MLP(
            **shape,
            numerics=request["numerics"],
            dtype=request["dtype"],
            backend=request["backend"],
            device=request["device"],
        ).fit(data.train_images[:IMAGES], data.train_labels[:IMAGES])
        tested = mlp.predict_proba(data.test_images[:TESTS])
        found[name] = {
            "weights": digest(mlp.parameters),
            "predictions": predictions_digest(tested),
            "losses": [epoch.train_loss.hex() for epoch in mlp.history],
        }
        weights.update({f"{name}/{k}": v for k, v in mlp.parameters.items()})
    np.savez(request["weights"], **weights)
    backend = request["backend"]
    for case in GOLDEN:
        run = golden.run(case, backend, request["device"], request["numerics"], request["dtype"])
        found[case] = {
            "weights": run["weights_sha256"][-1],
            "predictions": run["predictions_sha256"][-1],
            "losses": run["train_loss"],
        }
    steps = os.environ.get("BACKENDMLP_KERNELS", "") if backend == "cupy" else ""
    steps = {"0": "as defined"}.get(steps, steps)
    if backend == "numpy" and compiled.available():
        steps = "compiled"
    return {"digests": found, "device": mlp.backend.label, "steps": steps, **_blas(backend)}


def _blas(backend: str) -> dict[str, Any]:
    """The BLAS that a backend on the CPU multiplies with, its threads and its kernels."""
    if backend == "torch":
        import torch

        name = "mkl" if torch.backends.mkl.is_available() else "not mkl"
        kernels = torch.backends.cpu.get_cpu_capability()
        return {"blas": name, "threads": torch.get_num_threads(), "kernels": kernels}
    from threadpoolctl import threadpool_info

    blas = next(entry for entry in threadpool_info() if entry["user_api"] == "blas")
    kernels = blas.get("architecture", "-")
    if "NPY_DISABLE_CPU_FEATURES" in os.environ:
        kernels += " no SIMD"
    return {"blas": blas["internal_api"], "threads": blas["num_threads"], "kernels": kernels}


def difference(one: str, other: str) -> float:
    """The largest difference between any two weights of two rows, narrow or wide."""
    with np.load(one) as a, np.load(other) as b:
        return max(float(np.abs(a[k].astype(np.float64) - b[k]).max()) for k in a.files)


def table(rows: list[Setting]) -> list[str]:
    """The rows in words; each is compared with the first of its numerics and dtype."""
    form = "{:<16} {:<34} {:<8} {:>2} {:<18} {:<15} " + "{:<12} " * (2 + len(GOLDEN)) + "{}"
    lines = [form.format(*_COLUMNS)]
    first: dict[tuple[str, str], Setting] = {}
    for row in rows:
        reference = first.setdefault((row.numerics, row.dtype), row)
        result, digests = row.result, list(row.result["digests"].values())
        equal = result["digests"] == reference.result["digests"]
        gap = difference(result["weights"], reference.result["weights"])
        result["equal"], result["largest_difference"] = equal, gap
        blas = ("-", "", "-") if "cuda" in result["device"] else None
        lines.append(
            form.format(
                ", ".join(filter(None, (row.backend, result["steps"]))),
                result["device"][:34],
                *(blas or (result["blas"], result["threads"], result["kernels"])),
                row.numerics + ("" if row.numerics == "bitwise" else f" {row.dtype}"),
                *(entry["weights"][:12] for entry in digests),
                "the reference" if row is reference else "equal" if equal else f"differs {gap:.1e}",
            )
        )
    return lines


@click.command()
@click.option("--json", "record", type=click.Path(path_type=Path), help="Write the record to FILE.")
@click.option("--jobs", type=click.IntRange(1), default=1, help="Rows at a time.  Default: 1.")
@click.option("--worker", hidden=True)
def main(record: Path | None, jobs: int, worker: str | None) -> None:
    """Train on every backend, numerics and BLAS setting at hand; say whether the bits agree.

    Exit code 1 if any bitwise row differs, or any row failed; what a device cannot do is left out.
    """
    if worker is not None:
        click.echo(json.dumps(work(json.loads(worker))))
        return
    every = list(settings())
    with tempfile.TemporaryDirectory() as folder:
        run_all(every, Path(folder), jobs)
        rows = ran(every)
        click.echo("\n".join(table(rows)))
    if record is not None:
        entries = [{**asdict(row), "result": _public(row.result)} for row in every]
        record.write_text(json.dumps({"runs": RUNS, "rows": entries}, indent=2) + "\n")
    bitwise = [row.result["equal"] for row in rows if row.numerics == "bitwise"]
    click.echo(f"bitwise: {sum(bitwise)} of {len(bitwise)} settings give the same bits")
    failed = any("failed" in row.result for row in every)
    sys.exit(0 if all(bitwise) and not failed else 1)


def _public(result: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in result.items() if k != "weights"}


if __name__ == "__main__":
    main()
