"""Small trainings whose bits stand in ``golden.json``, runnable under any setting.

    python tests/golden.py [--backend B] [--device D] [--numerics N] [--dtype T] [--wide]

prints what came out as JSON, together with the BLAS and CPU kernels it ran on.  ``--wide`` adds
the wide case: 1024 hidden units and batches of 1000, where many BLAS libraries change algorithm.

``--write`` adds cases that are not in the file yet, and refuses where one that is has other bits.
After a change that is meant to change the bits of some, and never otherwise:

    python tests/golden.py --renew CASE ...
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
TEST_IMAGES = 200

Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Case:
    """``settings`` of :class:`backendmlp.MLP`, on so many of the sample's images.

    ``data`` makes of images and labels, those to train on and those to test with, what is learned.
    """

    images: int
    data: Callable[[Pair, Pair], tuple[Pair, Pair]]
    settings: dict[str, Any]


# What is learned from.  All of it is made by operations of which IEEE 754 settles every bit, and of
# whole numbers that int64 holds.


def pixels(train: Pair, test: Pair) -> tuple[Pair, Pair]:
    """The images as they are."""
    return train, test


def features(train: Pair, test: Pair) -> tuple[Pair, Pair]:
    """Standardised sums of squares of 2 by 2 pixels, (n, 196) floats."""
    x, shown = standardised(blocks(train[0], 2), blocks(test[0], 2))
    return (x, train[1]), (shown, test[1])


def centres(train: Pair, test: Pair) -> tuple[Pair, Pair]:
    """Standardised sums of squares of 4 by 4 pixels, (n, 49), and where their middle is, (n, 2)."""
    x, shown = standardised(blocks(train[0], 4), blocks(test[0], 4))
    return (x, middles(train[0])), (shown, middles(test[0]))


def blocks(images: np.ndarray, side: int) -> np.ndarray:
    count, across = len(images), 28 // side
    cut = images.astype(np.int64).reshape(count, across, side, across, side)
    return cut.sum(axis=(2, 4)).reshape(count, -1)


def standardised(x: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers less their columns' means, over the standard deviations, of ``x``."""
    count, total = len(x), x.sum(axis=0)
    variance = count * (x * x).sum(axis=0) - total * total  # times count squared
    mean, spread = total / count, np.sqrt(np.maximum(variance, 1).astype(np.float64)) / count
    return (x - mean) / spread, (shown - mean) / spread


def middles(images: np.ndarray) -> np.ndarray:
    """The brightness's centre, from the picture's, in pixels down and across."""
    x = images.astype(np.int64)
    whole = np.maximum(x.sum(axis=(1, 2)), 1)
    down, across = (x.sum(axis=axis) @ np.arange(28) for axis in (2, 1))
    return np.stack([down / whole - 13.5, across / whole - 13.5], axis=1)


CASES = {  # each with a last short batch: of 40, of 100 images, and so on
    "sample": Case(1000, pixels, {"hidden": 100, "epochs": 2, "batch_size": 64, "lr": 0.1}),
    "wide": Case(2100, pixels, {"hidden": 1024, "epochs": 1, "batch_size": 1000, "lr": 0.1}),
    "three layers": Case(
        1000,
        pixels,
        {
            "hidden": (64, 32), "epochs": 2, "batch_size": 48, "optimizer": "adam", "lr": 0.005,
            "schedule": "cosine", "class_weight": (1, 0.5, 1.5, 1, 1, 0.75, 2, 1, 0.875, 1),
        },
    ),
    "regression": Case(
        600,
        centres,
        {
            "hidden": 40, "epochs": 2, "batch_size": 32, "loss": "squared_error",
            "optimizer": "nesterov", "lr": 0.005, "l2": 0.1,
        },
    ),
    "features": Case(
        500,
        features,
        {
            "hidden": (50,), "epochs": 2, "batch_size": 64, "activation": "tanh",
            "optimizer": "momentum", "lr": 0.02, "label_smoothing": 0.1,
        },
    ),
}  # fmt: skip


def run(
    case: str,
    backend: str = "numpy",
    device: str | None = None,
    numerics: str = "bitwise",
    dtype: str | None = None,
) -> dict[str, Any]:
    """The digests and losses of a case; losses as hexadecimal floats, which read back exactly."""
    from backendmlp import MLP

    choice = CASES[case]
    mlp = MLP(
        **choice.settings,
        seed=100,
        numerics=numerics,
        dtype=dtype,
        backend=backend,
        device=device,
    )
    (images, labels), test = given(case)
    mlp.fit(images, labels, test=test)
    score = "test_r2" if mlp.config.regression else "test_accuracy"
    return {
        "train_loss": [record.train_loss.hex() for record in mlp.history],
        "test_loss": [record.test_loss.hex() for record in mlp.history],
        score: [getattr(record, score) for record in mlp.history],
        "weights_sha256": [record.weights_sha256 for record in mlp.history],
        "predictions_sha256": [record.predictions_sha256 for record in mlp.history],
    }


def given(case: str) -> tuple[Pair, Pair]:
    """What the case trains on, and what it is tested with."""
    from backendmlp import load_sample

    data, count = load_sample(), CASES[case].images
    return CASES[case].data(
        (data.train_images[:count], data.train_labels[:count]),
        (data.test_images[:TEST_IMAGES], data.test_labels[:TEST_IMAGES]),
    )


def machine() -> dict[str, Any]:
    """What bits must not depend on: NumPy's version, its CPU kernels, the BLAS and its threads."""
    from backendmlp.steps import compiled

    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    found: dict[str, Any] = {"python": platform.python_version(), "byteorder": sys.byteorder}
    found |= {"numpy": np.__version__, "kernels": simd.get("found", []), "blas": []}
    found["compiled"] = compiled.available()
    if importlib.util.find_spec("threadpoolctl"):
        import threadpoolctl

        keys = ("internal_api", "architecture", "num_threads")
        found["blas"] = [
            {key: pool.get(key) for key in keys}
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        ]
    return found


def save(found: dict[str, Any], renewed: list[str]) -> None:
    """Write the file; what stands there must have come out again, but for what is ``renewed``."""
    known = json.loads(FILE.read_text())
    changed = [case for case in known if case not in renewed and found.get(case) != known[case]]
    if changed:
        sys.exit(f"not written: {', '.join(changed)} came out with other bits than {FILE.name} has")
    FILE.write_text(json.dumps(found, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--device")
    parser.add_argument("--numerics", default="bitwise")
    parser.add_argument("--dtype")
    parser.add_argument("--wide", action="store_true", help="the wide case too")
    parser.add_argument("--check", action="store_true", help=f"exit code 1 unless as {FILE.name}")
    parser.add_argument("--write", action="store_true", help=f"add to {FILE.name}, by NumPy")
    parser.add_argument(
        "--renew", nargs="+", choices=CASES, default=[], help="these anew, by NumPy"
    )
    options = vars(parser.parse_args())
    wide, write, renew, check = (options.pop(name) for name in ("wide", "write", "renew", "check"))
    if not importlib.util.find_spec("backendmlp"):  # not installed: the one beside this folder
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if write or renew:
        save({case: run(case) for case in CASES}, renew)
        return
    from backendmlp import InputError

    try:
        found = {case: run(case, **options) for case in CASES if wide or case != "wide"}
    except InputError as error:
        parser.error(str(error))
    print(json.dumps({"machine": machine(), **found}, indent=2))
    if check:
        golden = json.loads(FILE.read_text())
        sys.exit(any(found[case] != golden[case] for case in found))


if __name__ == "__main__":
    main()
