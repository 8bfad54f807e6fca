"""The parts of ``scripts/benchmark.py``: who competes, how they are timed, and what is shown."""
