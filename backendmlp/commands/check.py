"""``backendmlp verify`` and ``backendmlp info``: a receipt repeated, and what is at hand for it."""

from __future__ import annotations

from pathlib import Path

from threadpoolctl import threadpool_info

from backendmlp import backend as backends
from backendmlp import compiled
from backendmlp import record as records
from backendmlp.commands.progress import Progress
from backendmlp.data.origin import origin
from backendmlp.errors import InputError
from backendmlp.verification import hold, open_data, receipt_of


def verify(
    receipt: Path,
    *,
    backend: str,
    device: str | None,
    data: Path | None,
    dataset: str | None,
    quiet: bool,
) -> int:
    """Print the verdict on ``receipt``, a run.json or its folder; returns the exit code."""
    record = records.read(receipt_of(receipt))
    at = backends.select(backend, device)
    given = data is not None or dataset is not None
    source = origin(data, dataset).open() if given else open_data(record.data)
    with Progress(len(record.epochs), len(source.train_images), quiet=quiet) as progress:
        verdict = hold(receipt, record, at, source, progress.epoch, progress.images)
    print(verdict)
    if not verdict.verified and record.config.numerics == "native":
        print("native numerics promise no bits; train with --numerics bitwise for that")
    return 0 if verdict.verified else 1


def info() -> None:
    """Print what a bug report or a comparison needs to know."""
    for name, version in records.versions(("torch", "jax", "cupy-cuda12x", "cupy-cuda13x")).items():
        print(f"{name:<18} {version}")
    for name in backends.names():
        try:
            print(f"backend {name:<18} on {backends.select(name).label}")
        except InputError as error:
            print(f"backend {name:<18} not usable: {error}")
    print(f"steps on numpy     {compiled.describe()}")
    for library in threadpool_info():
        kernels = library.get("architecture", "")
        print(
            f"{library['user_api']:<7} {library['internal_api']} {library.get('version') or ''} "
            f"{kernels} with {library['num_threads']} threads".replace("  ", " ")
        )
