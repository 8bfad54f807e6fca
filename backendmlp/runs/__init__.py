"""Runs: trainings in folders, and the files that they leave."""
