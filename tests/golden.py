"""Two small trainings whose bits stand in ``golden.json``, runnable under any setting.

    python tests/golden.py [--backend B] [--device D] [--numerics N] [--dtype T] [--wide]

prints what came out as JSON, together with the BLAS and CPU kernels it ran on.  ``--wide`` adds
the wide case: 1024 hidden units and batches of 1000, where many BLAS libraries change algorithm.

After a change that is meant to change bits, and never otherwise:

    python tests/golden.py --write
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_suffix(".json")
CASES: dict[str, dict[str, int]] = {  # both with a last short batch: of 40 and of 100 images
    "sample": {"images": 1000, "hidden": 100, "epochs": 2, "batch_size": 64},
    "wide": {"images": 2100, "hidden": 1024, "epochs": 1, "batch_size": 1000},
}
TEST_IMAGES = 200


def run(
    case: str,
    backend: str = "numpy",
    device: str | None = None,
    numerics: str = "bitwise",
    dtype: str | None = None,
) -> dict[str, Any]:
    """The digests and losses of a case; losses as hexadecimal floats, which read back exactly."""
    from backendmlp import MLP, load_sample

    settings, data = dict(CASES[case]), load_sample()
    count = settings.pop("images")
    mlp = MLP(
        **settings,
        lr=0.1,
        seed=100,
        numerics=numerics,
        dtype=dtype,
        backend=backend,
        device=device,
    )
    mlp.fit(
        data.train_images[:count],
        data.train_labels[:count],
        test=(data.test_images[:TEST_IMAGES], data.test_labels[:TEST_IMAGES]),
    )
    return {
        "train_loss": [record.train_loss.hex() for record in mlp.history],
        "test_loss": [record.test_loss.hex() for record in mlp.history],
        "test_accuracy": [record.test_accuracy for record in mlp.history],
        "weights_sha256": [record.weights_sha256 for record in mlp.history],
        "predictions_sha256": [record.predictions_sha256 for record in mlp.history],
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--device")
    parser.add_argument("--numerics", default="bitwise")
    parser.add_argument("--dtype")
    parser.add_argument("--wide", action="store_true", help="the wide case too")
    parser.add_argument("--check", action="store_true", help=f"exit code 1 unless as {FILE.name}")
    parser.add_argument("--write", action="store_true", help=f"renew {FILE.name}, by NumPy")
    options = vars(parser.parse_args())
    wide, write, check = (options.pop(name) for name in ("wide", "write", "check"))
    if not importlib.util.find_spec("backendmlp"):  # not installed: the one beside this folder
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    if write:
        FILE.write_text(json.dumps({case: run(case) for case in CASES}, indent=2) + "\n")
        return
    found = {case: run(case, **options) for case in CASES if wide or case != "wide"}
    print(json.dumps({"machine": machine(), **found}, indent=2))
    if check:
        golden = json.loads(FILE.read_text())
        sys.exit(any(found[case] != golden[case] for case in found))


if __name__ == "__main__":
    main()
