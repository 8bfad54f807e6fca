"""``python scripts/train.py --backend numpy``: the same as ``backendmlp train``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # unless it is installed

from backendmlp.__main__ import main

main(["train", *sys.argv[1:]])
