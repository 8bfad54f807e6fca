"""``python scripts/train.py --backend numpy``: the same as ``backendmlp train``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from backendmlp.cli import main

main(["train", *sys.argv[1:]])
