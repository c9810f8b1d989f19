"""Benchmarks: `python -m tests.bench symbolic`.  They measure and judge nothing: the exit status is 0."""
