"""Hostile inputs at every door of gpsym: `python -m tests.fuzz`."""
