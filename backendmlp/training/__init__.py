"""Training: the epoch loop, and what becomes of it."""
