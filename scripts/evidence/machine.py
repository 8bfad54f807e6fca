"""What this machine is, as a line of JSON: its GPU, its libraries, and which steps run on them.

To be run as ``python -m evidence.machine``, with this folder's own and the package on the path.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import numpy as np
from benchmarks import report
from benchmarks.ours import Ours, kind
from benchmarks.task import Data, Task

from backendmlp import InputError, select
from evidence.steps import KINDS

_ASKED = "name,driver_version,memory.total,compute_cap,clocks.max.sm,power.limit"
_GPUS = (("cupy", "cuda"), ("torch", "cuda"))


def main() -> None:
    found = {**report.machine(os.cpu_count() or 1), "nvidia-smi": _nvidia_smi()}
    found |= {"devices": {}, "missing": {}, "cuda": {}, "steps": {}}
    for backend, device in _GPUS:
        try:
            found["devices"][backend] = select(backend, device).label
        except InputError as error:
            found["missing"][backend] = str(error)
    if "cupy" in found["devices"]:
        found["cuda"] |= _cuda()
        found["steps"] = {name: _kind(word) for name, word in KINDS.items()}
    if "torch" in found["devices"]:
        import torch

        found["cuda"]["PyTorch's"] = torch.version.cuda
    print(json.dumps(found))


def _nvidia_smi() -> str:
    if shutil.which("nvidia-smi") is None:
        return "not on the PATH"
    command = ["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return (done.stdout or done.stderr).strip()


def _cuda() -> dict[str, Any]:
    """The versions that CuPy sees, as 13000 for 13.0; what it does not tell is left out."""
    import cupy

    found = {}
    for name in ("driverGetVersion", "runtimeGetVersion"):
        try:
            found[name] = int(getattr(cupy.cuda.runtime, name)())
        except Exception as error:
            found[name] = f"not known: {error}"[:100]
    return found


def _kind(word: str) -> str:
    """Which steps run with ``word`` in the environment."""
    os.environ["BACKENDMLP_KERNELS"] = word
    images, labels = np.zeros((8, 784), np.uint8), np.arange(8)
    data, task = Data(images, labels, images, labels), Task("", "", 4)
    try:
        return kind(Ours(task, data, "bitwise", "float64", "cupy").trainer)
    except Exception as error:  # the rest of the machine is still to be told of
        return f"{type(error).__name__}: {error}"[:300]


if __name__ == "__main__":
    main()
