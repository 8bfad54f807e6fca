"""``python -m backendmlp``."""

from backendmlp.cli import main

main()
