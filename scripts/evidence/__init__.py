"""What scripts/gpu_evidence.py asks of a machine with a GPU."""
